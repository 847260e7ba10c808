"""Repair and compaction as operators ask for them, over the emulated AWS."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from admin.queries_repository import list_repositories
from coordinator.alerts import evaluate
from tasks.catalog import Job, Restore, RestoreStep, session, transaction
from tasks.states import JobState, PointState
from tests.deploy.estate import PROD, VAULT
from tests.integration.test_repository_pipeline import BLOCK, HOME, Archiving, asked, made, parts_of, restored_hash


@pytest.fixture
def archiving(archiving: Archiving) -> Archiving:
    """With its repository, and a policy that keeps long."""
    made(archiving)
    archiving.protect(keep="90d")
    return archiving


def objects(house: Archiving, folder: str) -> dict[str, int]:
    """Objects of the repository by name, with their sizes."""
    found: Any = house.sandbox.client(VAULT, service="s3").list_objects_v2(Bucket="cold", Prefix=f"main/{folder}")
    return {one["Key"]: one["Size"] for one in found.get("Contents", ())}


def flip(house: Archiving, name: str, where: int) -> None:
    """One bit of an object is another."""
    s3: Any = house.sandbox.client(VAULT, service="s3")
    body = bytearray(s3.get_object(Bucket="cold", Key=name)["Body"].read())
    body[where] ^= 4
    s3.put_object(Bucket="cold", Key=name, Body=bytes(body))


def test_one_flipped_bit_costs_one_block_which_repair_lists_and_the_next_archive_brings_back(
    archiving: Archiving,
) -> None:
    """feature C13: what is sound is saved, what is lost is told, and nothing is deleted."""
    for index in (1, 700, 1999):
        archiving.write(index)
    archiving.back_up()
    (point,) = archiving.archives()
    generation = parts_of(point)[0].external_id
    assert asked(archiving, "repair").result["generations"] == 0
    before = objects(archiving, "")
    (pack,) = objects(archiving, "packs/")
    flip(archiving, pack, 5000)
    seen = asked(archiving, "repair", dry_run=True).result
    assert (seen["lost"], seen["leases"]) == ({generation: 1}, [])
    assert objects(archiving, "generations/") == {n: s for n, s in before.items() if "generations/" in n}
    done = asked(archiving, "repair").result
    assert done["lost"] == {generation: 1}
    assert pack.removeprefix("main/") in done["told"][0]
    assert set(before) <= set(objects(archiving, ""))
    verified = asked(archiving, "verify", full=True).result
    assert (verified["affected"], verified["lost"]) == ([], {generation: 1})
    was = archiving.sandbox.fingerprint(PROD, HOME, archiving.disk)
    assert parts_of(point)[0].attributes["lost_blocks"] == 1
    (harmed,) = archiving.archives()
    assert (harmed.state, harmed.error_code) == (PointState.GOOD, "blocks-lost")
    assert restored_hash(archiving, point) != was
    with session():
        (plan,) = [row.plan for row in Restore.select()]
        (fetched,) = RestoreStep.select().where(RestoreStep.kind == "restore-snapshot")
    assert "1 blocks of" in str(plan)
    assert fetched.outputs["lost_blocks"] == 1
    again = archiving.back_up()
    assert "lost blocks" in again.result["full"][0]
    assert restored_hash(archiving, archiving.archives()[-1]) == was


def test_a_point_of_which_nothing_is_left_is_lost_once_repair_gave_it_up(archiving: Archiving) -> None:
    """feature C13: retention counts it no more, so that the last one that can be restored stays."""
    archiving.write(1)
    archiving.back_up()
    (manifest,) = objects(archiving, "generations/")
    archiving.write(2)
    archiving.back_up()
    first, second = archiving.archives()
    (newest,) = objects(archiving, "generations/").keys() - {manifest}
    s3: Any = archiving.sandbox.client(VAULT, service="s3")
    s3.put_object(Bucket="cold", Key=newest, Body=b"noise")
    assert asked(archiving, "repair", dry_run=True).result["given_up"] == []
    assert asked(archiving, "repair").result["points_lost"] == [f"rp-{second.id}"]
    assert [point.id for point in archiving.archives()] == [first.id]
    assert asked(archiving, "verify").result["problems"] == 0
    assert "not in the repository" not in str(archiving.back_up().result["full"])


def test_what_one_share_found_damaged_is_told_through_clean_shares_until_a_repair(archiving: Archiving) -> None:
    """feature C13: a scrub reads another thirtieth tomorrow, and the flipped bit is still there."""
    archiving.write(1)
    archiving.back_up()
    (pack,) = objects(archiving, "packs/")
    flip(archiving, pack, 5000)

    def problems() -> int:
        evaluate(archiving.clock)
        (row,) = list_repositories()
        assert (row["problems"] > 0) == bool([one for one in archiving.alerts("repository-damaged") if one.open_key])
        return int(row["problems"])

    found = [(asked(archiving, "verify", share=[number, 2]).result["problems"], problems()) for number in (0, 1, 0, 1)]
    hit, miss = (0, 1) if found[0][0] else (1, 0)
    assert [found[hit], found[miss + 2], found[hit + 2]] == [(1, 1), (0, 1), (1, 1)]
    asked(archiving, "repair")
    asked(archiving, "verify")
    assert problems() == 0


def test_a_long_repair_goes_on_message_by_message(archiving: Archiving) -> None:
    """Each message does a turn, and what earlier ones found stays in the result."""
    archiving.write(1)
    archiving.back_up()
    (pack,) = objects(archiving, "packs/")
    flip(archiving, pack, 5000)
    archiving.context = replace(archiving.context, slice=timedelta(0))
    number = archiving.wished("repository", name="cold", verb="repair")["job"]
    with transaction():
        job = Job.get_by_id(number)
        Job.update(spec={**job.spec, "going": {"next": 0, "turns": 4, "facts": {}}}).where(Job.id == number).execute()
    archiving.work(timedelta(minutes=1))
    with session():
        job = Job.get_by_id(number)
    assert (job.state, job.fence, job.result["generations"]) == (JobState.DONE, 4, 1)


def test_what_is_needed_is_moved_out_of_sparse_packs_and_the_rest_goes_after_the_grace(archiving: Archiving) -> None:
    """feature 82: only where it pays; a dry run says what would be won, and every byte comes back."""
    for index in range(24):
        archiving.write(index)
    archiving.back_up()
    assert asked(archiving, "compact", dry_run=True).result["packs"] == 0
    for index in range(20):
        archiving.write(index)
    archiving.back_up()
    archiving.clock.advance(timedelta(days=100))
    archiving.clean()
    seen = asked(archiving, "compact", dry_run=True).result
    assert seen["packs"] == 1
    assert seen["freed_bytes"] > 16 * BLOCK > seen["moved_bytes"]
    done = asked(archiving, "compact").result
    assert [done[name] for name in ("packs", "freed_bytes")] == [1, seen["freed_bytes"]]
    archiving.clock.advance(timedelta(days=3))
    assert asked(archiving, "prune", dry_run=True).result["freed_bytes"] > 16 * BLOCK
    assert asked(archiving, "verify", full=True).result["problems"] == 0
    assert restored_hash(archiving, archiving.archives()[-1]) == archiving.sandbox.fingerprint(
        PROD, HOME, archiving.disk
    )
