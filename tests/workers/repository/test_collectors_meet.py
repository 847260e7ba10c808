"""Two collectors and an archive at once: what one of them has not seen yet must not be garbage to it.

Found by seed 12096 of the engine's spree, 2026-11-22: a collector that had looked at the leases, and was overtaken by
an archive and by another collector before it read the manifests, deleted packs of the generation that was new.
"""

from collections.abc import Callable
from datetime import timedelta

import pytest

from tests.workers.repository.volumes import KEY, TUNING, Disk, Hand, Snapshot, content, repository
from workers.repository.archive import archive
from workers.repository.generations import manifest_name, read_index
from workers.repository.liveness import Margins
from workers.repository.memory import MemoryStore
from workers.repository.prune import execute_prune, hide, plan_prune
from workers.repository.repository import open_repository
from workers.repository.verify import verify

pytestmark = pytest.mark.unit
NOW = Margins(timedelta(0), timedelta(0))


class Overtaken:
    """A store that lets something happen once: before the manifests are listed, or before the first one is read."""

    def __init__(self, store: MemoryStore, moment: str, happens: Callable[[], None]) -> None:
        self._store, self._moment, self._happens = store, moment, happens
        self.url = store.url
        self._looked = False
        self.happened = False

    def __getattr__(self, name: str) -> object:
        method = getattr(self._store, name)

        def call(*arguments: object, **options: object) -> object:
            where = str(arguments[0]) if arguments else ""
            if name == "list" and where == "leases/":
                self._looked = True
            if self._looked and name == self._moment and where.startswith("generations/") and not self.happened:
                self.happened = True
                self._happens()
            return method(*arguments, **options)

        return call


@pytest.mark.parametrize("moment", ["list", "get"])
def test_a_collector_that_is_overtaken_by_an_archive_and_another_collector_takes_nothing_that_is_needed(
    moment: str,
) -> None:
    """feature C9"""
    clock, disk = Hand(), Disk(60)
    store = MemoryStore(clock)
    repo = repository(clock, store)
    states = [disk.bytes()]
    first = archive(repo, "v", Snapshot(states[0]), clock(), tuning=TUNING)
    plan = plan_prune(repo, [first.id], NOW)
    assert plan.delete, "by then nothing else needs what the first generation has"
    for _ in range(2):
        disk.change(4)
        states.append(disk.bytes())
        clock.pass_by(hours=1)
    second = archive(repo, "v", Snapshot(states[1], states[0]), clock(), first, tuning=TUNING)

    def meanwhile() -> None:
        third = archive(repo, "v", Snapshot(states[2], states[1]), clock(), second, tuning=TUNING)
        hide(repo, manifest_name(repo, second), "expired")
        execute_prune(repo, plan_prune(repo, [], NOW))
        assert content(repo, third) == states[2]

    overtaken = Overtaken(store, moment, meanwhile)
    execute_prune(open_repository(overtaken, KEY, clock=clock), plan)
    assert overtaken.happened
    (left,) = read_index(repo).generations
    assert content(repo, left) == states[2]
    assert verify(repo, full=True).sound
