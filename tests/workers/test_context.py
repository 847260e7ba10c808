"""From rows to what drivers take, and where the drivers come from."""

from dataclasses import replace
from pathlib import Path

import pytest

from tasks.catalog import Account, Part, session, transaction
from tasks.errors import Impossible, Invalid
from tasks.resources import TYPES
from tasks.secrets import MasterKey, Secret, seal
from tasks.settings import Settings
from tasks.telemetry import Counters
from tests.workers.world import World
from workers.settings import load_drivers


def test_a_sealed_external_id_opens_for_its_own_account_only(world: World) -> None:
    """Feature 2: a sealed value that was moved to another row does not open."""
    sealed = seal(MasterKey(bytes(32)), Secret("xid-7"), "account.external_id.prod")
    with transaction():
        Account.update(external_id_sealed=sealed).where(Account.id == world.account.id).execute()
        thief = Account.create(name="thief", external_id_sealed=sealed)
        mine = Account.get_by_id(world.account.id)
    opened = world.context.account(mine)
    assert opened.external_id == Secret("xid-7")
    assert "xid-7" not in repr(opened)
    with pytest.raises(Invalid, match=r"moved or changed|does not open"):
        world.context.account(thief)


def test_a_point_is_given_to_a_driver_as_it_was_taken(world: World) -> None:
    """What changed in the resource since then is not what a restore makes."""
    point = world.good_point()
    world.cloud.instance("i-1", volumes=1, name="renamed", tags={"now": "different"})
    with session():
        value = world.context.point(world.points()[0])
        ids = [part.external_id for part in Part.select().where(Part.point == point.id)]
    assert [part.external_id for part in value.parts] == ids
    assert len(value.resource.attributes["volumes"]) == 2
    assert value.resource.tags == {}


def test_a_type_without_a_driver_is_impossible_and_not_a_crash(world: World) -> None:
    bare = replace(world.context, drivers={})
    with pytest.raises(Impossible, match="volume"):
        bare.driver_of("volume")
    with pytest.raises(Impossible, match="ec2"):
        bare.drivers_of("ec2")


def test_types_of_one_service_share_their_driver(world: World) -> None:
    assert len(world.context.drivers_of("ec2")) == 1
    assert world.context.drivers_of("") == world.context.drivers_of("ec2")


@pytest.mark.unit
@pytest.mark.parametrize("name", ["nowhere:build", "tests.fakes.driver:missing", "tests.fakes.driver", ":", "..:x"])
def test_drivers_that_cannot_be_loaded_are_refused_by_name(name: str, tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, drivers=name)
    with pytest.raises(Invalid, match="MODULE:FUNCTION"):
        load_drivers(settings, Counters(), settings.clock())


@pytest.mark.unit
def test_the_built_in_drivers_cover_every_type(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, proxy="proxy.example:3128", proxy_user="u")
    assert set(load_drivers(settings, Counters(), settings.clock())) == set(TYPES)


@pytest.mark.unit
@pytest.mark.parametrize("proxy", ["proxy.example", "proxy.example:", ":3128", "proxy.example:http"])
def test_a_proxy_that_is_no_address_is_refused(proxy: str, tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, proxy=proxy)
    with pytest.raises(Invalid, match="HOST:PORT"):
        load_drivers(settings, Counters(), settings.clock())


def test_everything_begun_for_a_run_says_which(world: World) -> None:
    with session():
        tags = world.context.tags(world.snapshot_job(), "i-1")
    assert tags["snapfleet:run"] == f"run-{world.run.id}"
