"""How accounts are entered: by the environment, a profile, a role; through a proxy; with credentials that renew."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tasks.secrets import Secret
from tests.proxy import login_proxy
from tests.sandbox import Sandbox
from workers.aws.credentials import assumed_role
from workers.aws.session import AwsSettings, Sessions
from workers.driver import Account

REGION = "us-east-1"
ROLE = "arn:aws:iam::111111111111:role/snapfleet"


@pytest.fixture
def cloud(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> Sandbox:
    for name, value in sandbox.environment.items():
        monkeypatch.setenv(name, value)
    sandbox.role(ROLE, external_id="sesame")
    return sandbox


@pytest.fixture
def proxy() -> Iterator[tuple[int, list[str]]]:
    with login_proxy("robot", "p@ss") as found:
        yield found


def test_without_a_role_the_environment_says_who_we_are(cloud: Sandbox) -> None:
    assert Sessions().number(Account("here"), REGION) == "333333333333"


def test_a_role_is_assumed_with_its_external_id_under_a_name_that_tells_who_came(cloud: Sandbox) -> None:
    account = Account("production", role_arn=ROLE, external_id=Secret("sesame"))
    clients = Sessions().at(account, REGION)
    assert clients.number() == "111111111111"
    clients.read().describe_volumes()
    asked = cloud.calls("AssumeRole")[-1]["parameters"]
    assert (asked["ExternalId"], asked["RoleSessionName"]) == ("sesame", "snapfleet-production")
    assert cloud.count("AssumeRole") == 1


def test_a_profile_is_the_way_in_where_one_is_named(
    cloud: Sandbox, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    config = tmp_path / "config"
    key, secret = cloud.environment["AWS_ACCESS_KEY_ID"], cloud.environment["AWS_SECRET_ACCESS_KEY"]
    config.write_text(
        f"[profile ops]\naws_access_key_id={key.replace('3' * 12, '5' * 12)}\naws_secret_access_key={secret}\n"
    )
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    assert Sessions().number(Account("ops", profile="ops"), REGION) == "555555555555"


def test_a_known_number_is_not_asked_for(cloud: Sandbox) -> None:
    assert Sessions().number(Account("here", number="777777777777"), REGION) == "777777777777"
    assert cloud.count("GetCallerIdentity") == 0


def test_credentials_are_renewed_before_they_end() -> None:
    """Feature 61: a call never starts with credentials that are about to run out."""
    made: list[datetime] = []

    class Sts:
        def assume_role(self, **_: object) -> dict[str, dict[str, object]]:
            made.append(datetime.now(UTC))
            lasts = timedelta(minutes=5) if len(made) == 1 else timedelta(hours=1)
            named = {"AccessKeyId": f"key-{len(made)}", "SecretAccessKey": "s", "SessionToken": "t"}
            return {"Credentials": {**named, "Expiration": made[-1] + lasts}}

    credentials = assumed_role(Sts, ROLE, Secret(""), "production")
    assert credentials.get_frozen_credentials().access_key == "key-1"
    assert credentials.get_frozen_credentials().access_key == "key-2"
    assert credentials.get_frozen_credentials().access_key == "key-2"


def test_all_traffic_goes_through_a_proxy_with_a_login(cloud: Sandbox, proxy: tuple[int, list[str]]) -> None:
    """Feature 72: address, port, user and password, set once."""
    port, hosts = proxy
    settings = AwsSettings(
        proxy_address="127.0.0.1", proxy_port=port, proxy_user="robot", proxy_password=Secret("p@ss")
    )
    account = Account("production", role_arn=ROLE, external_id=Secret("sesame"))
    Sessions(settings).at(account, REGION).read().describe_volumes()
    assert len(hosts) == cloud.count("AssumeRole") + cloud.count("DescribeVolumes") == 2


def test_hosts_in_no_proxy_are_reached_directly(
    cloud: Sandbox, proxy: tuple[int, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    port, hosts = proxy
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    settings = AwsSettings(proxy_address="127.0.0.1", proxy_port=port)
    assert Sessions(settings).number(Account("here"), REGION) == "333333333333"
    assert hosts == []
