"""An answer that is lost says nothing about what happened: the same job, tried again, makes one generation."""

import pytest

from tests.workers.repository.volumes import KEY, TUNING, Disk, Faulty, Hand, Snapshot, content, repository
from workers.repository.archive import archive
from workers.repository.errors import StoreUnavailable
from workers.repository.generations import read_index
from workers.repository.liveness import Margins
from workers.repository.memory import MemoryStore
from workers.repository.prune import execute_prune, plan_prune
from workers.repository.repository import open_repository

pytestmark = pytest.mark.unit

JOB = "ab" * 16


@pytest.mark.parametrize("happens", [True, False])
@pytest.mark.parametrize("call", ["create", "put", "replace", "delete", "get", "list"])
def test_a_job_that_is_tried_again_after_a_lost_answer_makes_one_generation(call: str, happens: bool) -> None:
    clock, disk = Hand(), Disk(80)
    store = MemoryStore(clock)
    repository(clock, store)
    faulty = Faulty(store, [])
    repo = open_repository(faulty, KEY, clock=clock)
    faulty.faults.extend([(call, happens)])
    attempts = 0
    while True:
        attempts += 1
        try:
            archive(repo, "v", Snapshot(disk.bytes()), clock(), tuning=TUNING, job=JOB)
            break
        except StoreUnavailable:
            assert attempts < 4
    assert not faulty.faults
    (generation,) = read_index(repo).generations
    assert generation.id == JOB
    assert content(repo, generation) == disk.bytes()
    clock.pass_by(days=3)
    execute_prune(repo, plan_prune(repo, [], Margins()))
    execute_prune(repo, plan_prune(repo, [], Margins()))
    assert content(repo, generation) == disk.bytes()
    assert not plan_prune(repo, [], Margins()).delete
