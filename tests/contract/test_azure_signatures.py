"""Five signatures of a disk's snapshots at once, by our own count: many archives, several processes (feature 28)."""

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from deploy.sandbox.azure import seed
from tasks.catalog import session
from tasks.catalog.fleet import SeatFamily
from tasks.errors import QuotaReached, Throttled
from tests.azure import AzureRig
from tests.contract.test_azure_blocks import Disk, open_things
from workers.azure.seats import MOST
from workers.repository.source import BLOCK_BYTES
from workers.seats import FleetSeats

_PATIENCE = 60.0


class Fleet:
    """Two processes' drivers that share a catalog, and archives of one disk's snapshots that all begin at once."""

    def __init__(self, rig: AzureRig, disk: Disk):
        self.disk, self.rig = disk, rig
        self.drivers: list[Any] = [rig.another(seats=FleetSeats(rig.clock)) for _ in range(2)]
        self.begun = threading.Barrier(8)
        self.deferred: list[str] = []

    def read(self, number: int, snapshot: str, base: str | None) -> bytes:
        """The first block of a snapshot by a job that is put off as often as it must be."""
        self.begun.wait(_PATIENCE)
        while True:
            try:
                return self._read(number, snapshot, base)
            except QuotaReached as error:
                self.deferred.append(error.code)
                threading.Event().wait(0.05)

    def _read(self, number: int, snapshot: str, base: str | None) -> bytes:
        with self.drivers[number % 2].blocks.opened() as blocks:
            source = blocks.source(self.rig.account, seed.HOME, snapshot, base)
            (ref,) = source.blocks(0, 1)
            threading.Event().wait(0.1)  # as long as work with it takes
            into = memoryview(bytearray(BLOCK_BYTES))
            source.read(ref, into)
            return bytes(into[:8])

    def read_all(self, wanted: list[tuple[str, str | None]]) -> list[bytes]:
        with ThreadPoolExecutor(8) as pool:
            futures = [pool.submit(self.read, number, *one) for number, one in enumerate(wanted)]
            return [future.result(_PATIENCE) for future in futures]


def test_eight_archives_of_a_family_at_once_never_open_more_than_five_snapshots(
    azure: AzureRig, embedded_catalog: str
) -> None:
    """feature 28: whole reads, and reads of differences, which need two each; Azure refuses none of them."""
    azure.cloud.ask("POST", "config", {"snapshots_per_disk_and_5_minutes": 0, "access_seconds": 0.05})
    fleet, taken = Fleet(azure, Disk(azure)), []
    for number in range(9):
        fleet.disk.put(0, b"%08d" % number + bytes(4088))
        azure.driver = azure.another()  # a process takes seven in five minutes
        taken.append(fleet.disk.snapshot())
    assert fleet.read_all([(one, None) for one in taken[1:]]) == [b"%08d" % number for number in range(1, 9)]
    assert azure.cloud.count("signatures of a family", "most") == MOST
    assert set(fleet.deferred) == {"signatures-taken"}
    fleet.read_all(list(zip(taken[1:], taken[:-1], strict=True)))
    assert azure.cloud.count("signatures of a family", "most") == MOST
    assert [call for call in azure.calls if call[3] == "409"] == [], "Azure never had to refuse"
    assert open_things(azure) == []


def test_what_others_still_read_is_not_shut_and_the_last_one_shuts_it(azure: AzureRig, embedded_catalog: str) -> None:
    """Workers that archive ranges of one volume read the same snapshot."""
    disk = Disk(azure)
    disk.put(0, b"x" * 4096)
    taken, where = disk.snapshot(), (azure.account, seed.HOME)
    one, two = (azure.another(seats=FleetSeats(azure.clock)) for _ in range(2))
    with one.blocks.opened() as mine:  # type: ignore[attr-defined]
        list(mine.source(*where, taken).blocks(0, 1))
        with two.blocks.opened() as others:  # type: ignore[attr-defined]
            list(others.source(*where, taken).blocks(0, 1))
        assert [item.lower() for item in open_things(azure)] == [taken]
    assert open_things(azure) == []


def test_who_opens_a_snapshot_that_a_dead_worker_was_shutting_shuts_it_again(
    azure: AzureRig, embedded_catalog: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """feature 28: it died when Azure had taken the right back and before it gave back its seat."""
    disk = Disk(azure)
    taken, where = disk.snapshot(), (azure.account, seed.HOME)
    dead, alive = FleetSeats(azure.clock), FleetSeats(azure.clock)
    monkeypatch.setattr(dead, "free", lambda *_: None)
    for one in (dead, alive):
        driver: Any = azure.another(seats=one)
        with driver.blocks.opened() as blocks:
            list(blocks.source(*where, taken).blocks(0, 1))
            assert [item.lower() for item in open_things(azure)] == [taken]
        assert open_things(azure) == []


def test_a_seat_taken_for_a_snapshot_that_was_never_opened_is_given_back(
    azure: AzureRig, embedded_catalog: str
) -> None:
    """feature 28: a refused grant of the first of two leaves no seat of the second, nor what others left to it."""
    disk = Disk(azure)
    base = disk.snapshot()
    now, where, kept = disk.snapshot(), (azure.account, seed.HOME), FleetSeats(azure.clock)
    first, second = (azure.another(seats=kept) for _ in range(2))
    with second.blocks.opened() as blocks:  # type: ignore[attr-defined]
        source = blocks.source(*where, now, base)
        with first.blocks.opened() as others:  # type: ignore[attr-defined]
            list(others.source(*where, base).blocks(0, 1))
            azure.cloud.fault("throttle", method="POST", type="snapshots")
            with pytest.raises(Throttled):
                list(source.blocks(0, 1))
        assert [item.lower() for item in open_things(azure)] == [base], "left to the one that has its seat"
    assert open_things(azure) == []
    with session():
        assert [one.held for one in SeatFamily.select()] == [{}]
