"""Clients are shared, bounded, and made in two flavours; no test here calls anything."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from tasks.lanes import LANES, Lane
from tasks.secrets import Secret
from workers.aws.credentials import session_name
from workers.aws.session import AwsSettings, Sessions
from workers.driver import Account
from workers.fence import CALL

pytestmark = pytest.mark.unit
PRODUCTION = Account("production", number="111111111111", role_arn="arn:aws:iam::111111111111:role/backup")
PROXY = AwsSettings(
    proxy_address="proxy.example", proxy_port=3128, proxy_user="ro bot", proxy_password=Secret("p@ss/word")
)


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_PROFILE", "AWS_ENDPOINT_URL", "NO_PROXY", "no_proxy", "HTTPS_PROXY", "https_proxy"):
        monkeypatch.delenv(name, raising=False)


def test_reads_are_tried_five_times_and_creates_are_sent_once() -> None:
    """Feature 31: the SDK never repeats a create by itself."""
    clients = Sessions().at(PRODUCTION, "eu-central-1")
    assert clients.read().meta.config.retries == {"mode": "standard", "total_max_attempts": 5}
    assert clients.create().meta.config.retries == {"mode": "standard", "total_max_attempts": 1}


def test_credentials_are_fetched_in_less_time_than_a_lease_is_long() -> None:
    """They are fetched inside a creating call: what takes longer would outlive the right to make it."""
    config = Sessions().at(PRODUCTION, "eu-central-1").read("sts").meta.config
    longest = config.retries["total_max_attempts"] * (config.connect_timeout + config.read_timeout)
    assert longest + 35 < CALL.total_seconds() < LANES[Lane.SNAPSHOT].lease.total_seconds()


def test_a_client_is_made_once_for_an_account_region_service_and_flavour() -> None:
    sessions = Sessions()
    with ThreadPoolExecutor(8) as pool:
        barrier = threading.Barrier(8)

        def ask(_: int) -> object:
            barrier.wait()
            return sessions.at(PRODUCTION, "eu-central-1").read()

        assert len({id(client) for client in pool.map(ask, range(8))}) == 1
    assert sessions.at(PRODUCTION, "eu-central-1").create() is not sessions.at(PRODUCTION, "eu-central-1").read()
    assert sessions.at(PRODUCTION, "eu-west-1").read() is not sessions.at(PRODUCTION, "eu-central-1").read()


def test_the_cache_of_clients_is_bounded_and_drops_what_was_used_longest_ago() -> None:
    """Hundreds of accounts do not fill a worker's memory."""
    sessions = Sessions(AwsSettings(clients=2))
    first = sessions.client(PRODUCTION, "eu-central-1", "ec2", "read")
    sessions.client(PRODUCTION, "eu-west-1", "ec2", "read")
    assert sessions.client(PRODUCTION, "eu-central-1", "ec2", "read") is first
    sessions.client(PRODUCTION, "us-east-1", "ec2", "read")
    assert sessions.client(PRODUCTION, "eu-central-1", "ec2", "read") is first
    assert len(sessions._clients) == 2


def test_another_external_id_makes_another_session() -> None:
    sessions = Sessions()
    changed = Account(**{**vars(PRODUCTION), "external_id": Secret("new")})
    old = sessions.client(PRODUCTION, "eu-west-1", "ec2", "read")
    assert sessions.client(changed, "eu-west-1", "ec2", "read") is not old


def test_the_data_of_aws_models_is_loaded_once_for_all_accounts() -> None:
    """About a tenth of the memory of a loader for each."""
    sessions = Sessions()
    other = Account("other", role_arn="arn:aws:iam::222222222222:role/backup")
    for account in (PRODUCTION, other):
        sessions.client(account, "eu-west-1", "ec2", "read")
    loaders = {id(session.get_component("data_loader")) for session in sessions._sessions.values()}
    assert len(loaders) == 1


def test_a_proxy_is_used_with_its_login_encoded_and_its_password_unseen() -> None:
    """Feature 72: AWS is reached through a proxy with a login."""
    client = Sessions(PROXY).at(PRODUCTION, "eu-west-1").read()
    assert client.meta.config.proxies["https"] == "http://ro%20bot:p%40ss%2Fword@proxy.example:3128"
    assert "p@ss" not in repr(PROXY)


def test_no_proxy_wins_over_a_configured_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "ec2.eu-west-1.amazonaws.com")
    sessions = Sessions(PROXY)
    assert sessions.at(PRODUCTION, "eu-west-1").read().meta.config.proxies == {}
    assert sessions.at(PRODUCTION, "eu-central-1").read().meta.config.proxies


def test_without_a_configured_proxy_the_environment_decides() -> None:
    assert Sessions().at(PRODUCTION, "eu-west-1").read().meta.config.proxies is None


@pytest.mark.parametrize("name", ["production", "Ünïcode & spaces", "x" * 200, ""])
def test_every_account_name_makes_a_session_name_that_sts_takes(name: str) -> None:
    made = session_name(name)
    assert 2 <= len(made) <= 64
    assert set(made) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_+=,.@-")
