"""Bindings of worker pools: what they mean for queue names, alerts, the doctor and the estate file."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from admin.doctor import WARN, _pools, _processes
from admin.estate import read_estate, write_estate
from admin.estate_catalog import apply_estate, current_estate
from admin.estate_yaml import EstateRefused
from coordinator.alert_facts import read_facts
from coordinator.alert_rules import conditions
from tasks.catalog import Account, Process, session, transaction
from tasks.catalog.fleet import DRAIN
from tasks.catalog.pools import Pools, read_fleet, read_pools
from tasks.catalog.transitions import add_job
from tasks.lanes import Lane, lane_of, pool_of, queue_name
from tasks.messages import JobMessage, SignedEncoder, envelope
from tasks.secrets import MasterKey
from tasks.settings import Settings
from tests.tasks.poison import KEYS

FILE = """version: 1
accounts:
- name: gov
  regions: [us-east-1, eu-west-1]
  pool: site-a
  region_pools: {eu-west-1: site-b}
"""


@pytest.mark.unit
def test_a_pools_queue_is_named_after_lane_and_pool_and_read_back() -> None:
    name = queue_name(Lane.COPY, "site-a")
    assert (name, lane_of(name), pool_of(name)) == ("snapfleet.copy.v1.site-a", Lane.COPY, "site-a")
    assert (lane_of("snapfleet.copy.v1.XQ"), pool_of("snapfleet.copy.v1.XQ")) == (Lane.COPY, "")
    for wrong in ("Site", "a.b", "a" * 33, "-a", "a b"):
        with pytest.raises(ValueError, match="not the name of a worker pool"):
            queue_name(Lane.COPY, wrong)


@pytest.mark.unit
def test_the_pool_of_a_message_is_its_queue_and_no_part_of_what_it_says() -> None:
    """Workers of before pools read it: the payload is the same."""
    sent = envelope(Lane.COPY, JobMessage(1, 0, 0, pool="site-a"))
    assert sent.kwargs == envelope(Lane.COPY, JobMessage(1, 0, 0)).kwargs
    encoder = SignedEncoder(KEYS)
    assert encoder.decode_message(encoder.encode(sent.asdict())).queue_name == "snapfleet.copy.v1.site-a"


@pytest.mark.unit
def test_a_regions_pool_goes_before_its_accounts() -> None:
    pools = Pools({1: "a"}, {(1, "west"): "b", (2, "west"): "c"})
    assert [pools.of(*place) for place in ((1, "east"), (1, "west"), (2, "west"), (2, "east"))] == ["a", "b", "c", ""]
    assert pools.names == ["a", "b", "c"]
    assert pools.stranded("copy", 1, "east", {("copy", "b")})
    assert not pools.stranded("copy", 2, "east", ())


def test_the_estate_file_binds_accounts_and_regions(catalog: str, tmp_path: Path) -> None:
    """Feature C19: what is applied is what is exported, and what the coordinator reads."""
    clock = Settings(home=tmp_path).clock()
    apply_estate(FILE, name="f", key=MasterKey(bytes(32)), clock=clock, who="ada")
    assert read_estate(write_estate(current_estate())) == read_estate(FILE)
    with session():
        number = Account.get().id
        assert read_pools() == Pools({number: "site-a"}, {(number, "eu-west-1"): "site-b"})
    with pytest.raises(EstateRefused) as refused:
        read_estate(FILE.replace("eu-west-1: site-b", "ap-south-1: Site B"))
    assert "is not a worker pool" in str(refused.value.problems)


def test_a_pool_with_work_and_without_workers_is_an_alert_and_a_line_of_the_doctor(
    catalog: str, tmp_path: Path
) -> None:
    at = datetime.now(UTC)
    settings = replace(Settings(home=tmp_path), catalog_url=catalog)
    with transaction():
        account = Account.create(name="gov", regions=["us-east-1"], settings={"pool": "site-a"})
        add_job(
            lane=Lane.SNAPSHOT,
            at=at - timedelta(minutes=5),
            kind="snapshot",
            account=account,
            region="us-east-1",
            key="k",
        )
        for name, pool in (("common", ""), ("lost", "site-z")):
            Process.create(name=name, role="worker", lanes=list(Lane), pool=pool, started_at=at, seen_at=at)
    with session():
        found = conditions(read_facts(at, at), at)
    assert [one.key for one in found] == ["pool-without-worker:site-a"]
    lines = {line.name: line for line in _pools(settings, settings.clock())}
    assert (lines["pool site-a"].outcome, lines["pool site-a"].text) == (WARN, "no worker is in it")
    assert "snapfleet worker --pool site-a" in lines["pool site-a"].advice
    assert "no account is bound" in lines["pool site-z"].text
    with transaction():
        Process.create(name="site", role="worker", lanes=list(Lane), pool="site-a", started_at=at, seen_at=at)
    with session():
        assert conditions(read_facts(at, at), at) == []


def test_a_pool_whose_workers_an_operator_has_drained_has_none_while_one_that_stops_is_still_there(
    catalog: str, tmp_path: Path
) -> None:
    """A drained worker stays for hours: messages sent to it would fill the lane for all pools, and nobody is told. One
    that got SIGTERM is replaced within seconds."""
    at = datetime.now(UTC)
    settings = replace(Settings(home=tmp_path), catalog_url=catalog)
    late = {
        "lane": Lane.SNAPSHOT,
        "at": at - timedelta(minutes=5),
        "kind": "snapshot",
        "region": "us-east-1",
        "key": "k",
    }
    with transaction():
        add_job(account=Account.create(name="gov", regions=["us-east-1"], settings={"pool": "site-a"}), **late)
        Process.create(name="c", role="coordinator", started_at=at, seen_at=at)
        for name, pool in (("common", ""), ("site", "site-a")):
            Process.create(name=name, role="worker", lanes=list(Lane), pool=pool, started_at=at, seen_at=at)
        Process.update(draining=True).where(Process.name == "site").execute()
    with session():
        assert (Lane.SNAPSHOT, "site-a") in read_fleet(at).served
    with transaction():
        Process.update(wanted=DRAIN).where(Process.role == "worker").execute()
    with session():
        assert read_fleet(at).served == frozenset()
        assert [one.key for one in conditions(read_facts(at, at), at)] == ["pool-without-worker:site-a"]
    (line,) = _pools(settings, settings.clock())
    assert (line.outcome, line.text) == (WARN, "all its workers are drained")
    assert "snapfleet worker undrain" in line.advice
    (line,) = _processes(settings, settings.clock())
    assert (line.outcome, line.text) == (WARN, "all workers of the common pool are drained")
    assert "snapfleet worker undrain" in line.advice
