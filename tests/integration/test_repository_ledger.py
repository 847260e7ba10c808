"""A store that ignores conditional writes: the catalog keeps the leases, and other writers are refused."""

from typing import Any

import pytest

from tasks.states import JobState
from tests.coordinator.house import DAY
from tests.deploy.estate import PROD
from tests.integration.test_repository_adopt import Adopting, Lose, after_the_loss
from tests.integration.test_repository_pipeline import HOME, Archiving, asked, restored_hash
from workers.ledger import CatalogCommits
from workers.repository.errors import Conflict, Missing
from workers.repository.memory import MemoryStore

__all__ = ["after_the_loss"]


class Careless:
    """A store that writes whatever the condition is, as rclone's S3 server does."""

    def __init__(self, store: Any) -> None:
        self._store = store

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def create(self, name: str, body: bytes, *how: Any) -> str:
        return str(self._store.put(name, body, *how))

    def replace(self, name: str, body: bytes, tag: str) -> str:
        self._store.get(name)
        return str(self._store.put(name, body))


class CarelessBlocks:
    """Blocks whose stores are careless."""

    def __init__(self, blocks: Any) -> None:
        self._blocks = blocks

    def __getattr__(self, name: str) -> Any:
        return getattr(self._blocks, name)

    def store(self, *where: Any) -> Careless:
        return Careless(self._blocks.store(*where))


def careless(house: Archiving) -> None:
    """From now on the house's bucket ignores conditions."""
    driver = house.context.drivers["volume"]
    driver.blocks = CarelessBlocks(driver.blocks)


@pytest.fixture
def archiving(archiving: Archiving) -> Archiving:
    """With a bucket that ignores conditions."""
    careless(archiving)
    return archiving


def test_without_conditional_writes_the_catalog_keeps_the_leases_and_other_catalogs_only_read(
    archiving: Archiving, after_the_loss: Lose
) -> None:
    """feature C9: found out when the repository is created; a foreign writer is refused until it takes over."""
    made = asked(archiving, "create")
    assert (made.state, made.result["leases"]) == (JobState.DONE, "catalog")
    archiving.protect(keep="90d")
    for index in (1, 2):
        archiving.write(index)
        assert archiving.back_up().state == JobState.DONE
    assert len(CatalogCommits("s3://cold/main").names()) == 2
    was = archiving.sandbox.fingerprint(PROD, HOME, archiving.disk)
    assert restored_hash(archiving, archiving.archives()[-1]) == was
    assert asked(archiving, "verify", full=True).result["problems"] == 0
    archiving.sandbox.advance(360)  # the house's clock went on as well
    assert asked(archiving, "prune").state == JobState.DONE
    house: Adopting = after_the_loss()
    careless(house)
    Archiving.repository(house, "found", "a long passphrase")
    volume = {"type": "volume", "region": HOME, "account": "prod", "id": house.disk}
    house.policy("gold", targets=[volume], generations=3, repository={"name": "found", "keep": "90d"})
    refused = house.back_up()
    assert (refused.state, "live in a catalog" in refused.error_text) == (JobState.FAILED, True)
    assert house.adopt().result["warning"].startswith("The catalog that was lost")
    assert len(CatalogCommits("s3://cold/main").names()) == 2
    house.clock.advance(DAY)
    house.write(3)
    assert house.back_up().state == JobState.DONE
    assert restored_hash(house, house.archives()[-1]) == house.sandbox.fingerprint(PROD, HOME, house.disk)


def test_the_catalogs_compare_and_set_has_one_winner_and_knows_its_own_success(catalog: str) -> None:
    """feature C9: on both databases, as the contract of every store says."""
    assert catalog
    ledger, other = CatalogCommits("s3://a/b/"), CatalogCommits("s3://a/c")
    first = ledger.create("leases/1", b"open")
    assert ledger.create("leases/1", b"open") == first
    with pytest.raises(Conflict):
        ledger.create("leases/1", b"another")
    second = ledger.replace("leases/1", b"committed", first)
    assert ledger.replace("leases/1", b"committed", first) == second
    with pytest.raises(Conflict):
        ledger.replace("leases/1", b"revoked", first)
    assert (ledger.get("leases/1"), ledger.names(), other.names()) == ((b"committed", second), ["leases/1"], [])
    ledger.own()
    assert (ledger.is_owned(), other.is_owned(), ledger.names()) == (True, False, ["leases/1"])
    ledger.remove(["leases/1", "leases/2"])
    for gone in (lambda: ledger.get("leases/1"), lambda: ledger.replace("leases/1", b"x", second)):
        with pytest.raises(Missing):
            gone()
    copies = MemoryStore()
    copies.put("leases/7", b"copied")
    ledger.own(copies)
    ledger.own(copies)
    assert ledger.get("leases/7")[0] == b"copied"
