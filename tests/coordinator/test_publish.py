"""The outbox goes to the broker: nothing lost, nothing sent past its turn, side by side without sending twice."""

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random

import pytest

from coordinator.admission import USUAL as USUAL_ADMISSION
from coordinator.admission import Admission, Candidate
from coordinator.candidates import read_candidates, ready_jobs
from coordinator.publish import BATCH, COUNT_FRESH, Memory, _locked, publish
from coordinator.sharing import Share
from tasks.catalog import Budget, Job, Outbox, database, look_up_rows, session, transaction
from tasks.catalog.budgets import calls_of, lower
from tasks.catalog.copy_slots import note_others, note_refusal
from tasks.catalog.transitions import add_job, add_jobs
from tasks.chains import copy_chain
from tasks.lanes import LANES, Lane
from tasks.limits import USUAL, Pace
from tasks.messages import JobMessage
from tasks.states import JobState
from tasks.telemetry import Counters
from tests.coordinator.house import MINUTE, House, Queue


def jobs(house: House, count: int, **columns: object) -> list[int]:
    account = house.account() if not columns.get("account") else columns["account"]
    row = {"kind": "discover", "lane": str(Lane.DISCOVER), "account": account, "region": "us-east-1", **columns}
    with transaction():
        return add_jobs([dict(row) for _ in range(count)], house.clock.timer())


def send(house: House, queue: Queue | None = None) -> int:
    with session():
        return publish(queue or house.queue, Counters(), house.clock.timer())


def test_a_confirmed_message_leaves_the_outbox_and_a_refused_one_stays(house: House) -> None:
    first, second = jobs(house, 2)

    class Half(Queue):
        def publish(self, messages: list[tuple[Lane, JobMessage]]) -> list[bool]:  # type: ignore[override]
            super().publish(messages)
            return [message.job == first for _, message in messages]

    assert send(house, Half()) == 1
    with session():
        assert {row.id: row.state for row in Job.select()} == {first: JobState.QUEUED, second: JobState.PENDING}
    assert send(house) == 1
    assert [message.job for _, message in house.queue.sent] == [second]


def test_a_crash_between_the_confirm_and_the_commit_sends_again_and_the_claim_drops_one(house: House) -> None:
    (job,) = jobs(house, 1, kind="snapshot", lane=str(Lane.SNAPSHOT))

    class Dies(Queue):
        def publish(self, messages: list[tuple[Lane, JobMessage]]) -> list[bool]:  # type: ignore[override]
            super().publish(messages)
            raise KeyboardInterrupt

    dying = Dies()
    with pytest.raises(KeyboardInterrupt):
        send(house, dying)
    assert house.outbox() == 1
    assert send(house) == 1
    assert [message.job for _, message in (*dying.sent, *house.queue.sent)] == [job, job]
    assert house.deliver([*dying.sent, *house.queue.sent]) == 1


def test_a_broker_that_is_away_costs_nothing_but_time(house: House) -> None:
    jobs(house, 3)
    house.queue.available = False
    assert send(house) == 0
    assert house.outbox() == 3
    house.queue.available = True
    assert send(house) == 3
    assert house.outbox() == 0


def test_coordinators_that_publish_at_once_send_each_message_once(house: House) -> None:
    jobs(house, 300)
    queues = [Queue() for _ in range(4)]
    errors: list[BaseException] = []
    start = threading.Barrier(len(queues))

    def drain(queue: Queue) -> None:
        try:
            start.wait()
            for _ in range(12):
                send(house, queue)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=drain, args=(queue,)) for queue in queues]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    sent = [message.job for queue in queues for _, message in queue.sent]
    assert len(sent) == len(set(sent))
    with session():
        queued = Job.select().where(Job.state == JobState.QUEUED).count()
    assert queued == len(sent) == min(300, LANES[Lane.DISCOVER].capacity)


OPEN = Admission(capacity=dict.fromkeys(Lane, 10**6), starts=Pace(per_second=1e6, burst=10**6))


def send_share(house: House, queue: Queue, share: Share) -> int:
    with session():
        return publish(queue, Counters(), house.clock.timer(), OPEN, share=share)


def wave(house: House, count: int) -> None:
    row = {"kind": "snapshot", "lane": str(Lane.SNAPSHOT), "account": house.account(), "service": "ec2"}
    with transaction():
        add_jobs([{**row, "region": f"r-{n % 50}"} for n in range(count)], house.clock.timer())


@pytest.mark.usefixtures("catalog")
@pytest.mark.parametrize("catalog", ["postgresql"], indirect=True)
def test_of_more_than_a_batch_coordinators_that_publish_at_once_send_a_batch_each(tmp_path: Path) -> None:
    house, other = House(tmp_path), Queue()
    wave(house, 2 * BATCH + 200)

    class Meanwhile(Queue):
        def publish(self, messages: list[tuple[Lane, JobMessage]]) -> list[bool]:  # type: ignore[override]
            with ThreadPoolExecutor(1) as pool:
                assert pool.submit(send_share, house, other, Share(1, 2)).result(timeout=30) == BATCH
            return super().publish(messages)

    first = Meanwhile()
    assert send_share(house, first, Share(0, 2)) == BATCH
    assert {message.job % 2 for _, message in first.sent} == {0}
    assert {message.job % 2 for _, message in other.sent} == {1}


def test_the_share_of_a_coordinator_that_publishes_nothing_is_sent_by_the_other_and_a_restore_before_all(
    house: House,
) -> None:
    wave(house, 2 * BATCH + 200)
    urgent = set(jobs(house, 2, kind="restore-step", lane=str(Lane.RESTORE), account=1))
    while send_share(house, house.queue, Share(0, 2)):
        assert len(house.queue.sent) % BATCH == 0 or not house.outbox()
    assert {message.job for _, message in house.queue.sent[:2]} == urgent
    assert len(house.queue.sent) == 2 * BATCH + 202


def test_a_message_put_off_while_it_was_looked_at_is_not_sent(house: House) -> None:
    (job,) = jobs(house, 1)
    at = house.clock.timer()
    old = Candidate(job, Lane.DISCOVER, 1, "us-east-1", 50, 1, fence=7)
    with transaction():
        assert _locked([old], at) == []
        Outbox.update(ready_at=at + MINUTE).execute()
        assert _locked([Candidate(job, Lane.DISCOVER, 1, "us-east-1", 50, 1)], at) == []


@pytest.mark.usefixtures("catalog")
@pytest.mark.parametrize("catalog", ["postgresql"], indirect=True)
def test_each_waiting_job_is_read_for_its_own_place_only(tmp_path: Path) -> None:
    """By the figures of a quiet hour, in which nothing is pending, every place read all that is pending."""
    house = House(tmp_path)
    row = {"kind": "discover", "lane": str(Lane.DISCOVER), "account": house.account()}
    with transaction():
        add_jobs([{**row, "region": f"r-{n}", "chain": f"c-{n}"} for n in range(300)], house.clock.timer())
    read = "SELECT seq_tup_read + idx_tup_fetch FROM pg_stat_xact_user_tables WHERE relname = %s"
    with transaction():
        look_up_rows()
        assert len(read_candidates(house.clock.timer(), {Lane.DISCOVER: 1000})) == 300
        for table in ("job", "outbox"):
            assert database.execute_sql(read, [table]).fetchone()[0] < 10 * 300


@pytest.mark.usefixtures("catalog")
@pytest.mark.parametrize("catalog", ["postgresql"], indirect=True)
def test_figures_of_an_outbox_that_was_empty_do_not_make_each_place_read_what_waits_elsewhere(tmp_path: Path) -> None:
    """Found by the dispatch bench: analysed between two waves, the outbox was read once for each place."""
    house = House(tmp_path)
    row = {"kind": "discover", "lane": str(Lane.DISCOVER), "account": house.account()}
    wave = [{**row, "region": f"r-{n % 300}"} for n in range(3000)]
    with transaction():
        add_jobs(wave, house.clock.timer())
        Outbox.delete().execute()
    with session():
        database.execute_sql("ANALYZE outbox")
    with transaction():
        add_jobs(wave, house.clock.timer())
    read = "SELECT seq_tup_read + idx_tup_fetch FROM pg_stat_xact_user_tables WHERE relname = 'outbox'"
    with transaction():
        look_up_rows()
        assert len(read_candidates(house.clock.timer(), {Lane.DISCOVER: 300})) == 600
        assert database.execute_sql(read).fetchone()[0] < 3 * 3000
    shared = """SELECT attname FROM pg_index JOIN pg_attribute ON attrelid = indrelid AND attnum = ANY(indkey)
        WHERE indrelid = 'outbox'::regclass GROUP BY attname HAVING count(*) > 1"""
    with session():
        assert database.execute_sql(shared).fetchall() == []  # else a look for it by the wrong one reads all of it


@pytest.mark.usefixtures("catalog")
@pytest.mark.parametrize("catalog", ["postgresql"], indirect=True)
def test_few_that_are_ready_go_in_the_same_turns_as_the_first_of_many(tmp_path: Path) -> None:
    house, dice = House(tmp_path), Random(7)
    accounts, at = [house.account("a"), house.account("b")], house.clock.timer()
    with transaction():
        for n in range(120):
            add_job(
                lane=dice.choice([Lane.COPY, Lane.SNAPSHOT]), at=at, ready_at=at + dice.choice([0, 0, 1]) * MINUTE,
                kind="copy", account=dice.choice(accounts), region=dice.choice(["r", "s"]), service="ec2",
                priority=dice.choice([50, 60]), chain=dice.choice(["", f"c-{n // 4}", "in-order:1"]),
                state=dice.choice([JobState.PENDING, JobState.PENDING, JobState.QUEUED, JobState.DONE]),
            )  # fmt: skip
    room = {Lane.COPY: 1000, Lane.SNAPSHOT: 1000}
    with session():
        ready = ready_jobs(at, 1000)
        lines = read_candidates(at, room)
        assert 30 < len(lines) < len(ready) < 120
        assert read_candidates(at, room, ready) == lines
        assert {one.lane for one in read_candidates(at, {Lane.COPY: 10}, ready)} == {Lane.COPY}


def test_a_chain_goes_one_at_a_time_what_was_asked_for_first_and_else_in_order(house: House) -> None:
    """feature 12: an on-demand job does not wait behind its own target's backlog."""
    first, second = jobs(house, 2, chain="snapshot:1")
    assert send(house) == 1
    assert house.queue.sent[-1][1].job == first
    (wished,) = jobs(house, 1, account=1, chain="snapshot:1", priority=1000)
    assert send(house) == 0
    with transaction():
        Job.update(state=JobState.DONE).where(Job.id == first).execute()
    assert send(house) == 1
    assert house.queue.sent[-1][1].job == wished
    with transaction():
        Job.update(state=JobState.DONE).where(Job.id == wished).execute()
    assert send(house) == 1
    assert house.queue.sent[-1][1].job == second


def test_in_a_chain_that_keeps_its_order_the_older_goes_first_whatever_was_asked_for(house: House) -> None:
    """feature 47: Azure copies the snapshots of a disk in the order in which they were taken."""
    chain = copy_chain(1, "prod/northeurope", in_order=True)
    (old,) = jobs(house, 1, chain=chain)
    (wished,) = jobs(house, 1, account=1, chain=chain, priority=1000)
    assert send(house) == 1
    assert house.queue.sent[-1][1].job == old
    with transaction():
        Job.update(state=JobState.DONE).where(Job.id == old).execute()
    assert send(house) == 1
    assert house.queue.sent[-1][1].job == wished


def test_starts_in_one_place_keep_the_clouds_pace_whoever_publishes(house: House) -> None:
    jobs(house, 200, kind="snapshot", lane=str(Lane.SNAPSHOT), service="ec2")
    for _ in range(4):
        send(house)
    assert len(house.queue.sent) == 60
    for _ in range(3):
        taken()
        house.clock.advance(MINUTE / 6)
        send(house)
    assert len(house.queue.sent) == 150
    with session():
        assert [row.name for row in Budget.select()] == ["calls:1:us-east-1:ec2.create-snapshot"]


def taken() -> None:
    with transaction():
        Job.update(state=JobState.DONE).where(Job.state == JobState.QUEUED).execute()


def test_workers_that_come_back_find_no_more_messages_of_a_place_than_its_bucket_holds(house: House) -> None:
    """feature C2: what lies in the broker is taken all at once, beside the burst that has come back meanwhile."""
    jobs(house, 300, kind="snapshot", lane=str(Lane.SNAPSHOT), service="ec2")
    send(house)
    house.clock.advance(MINUTE)
    assert send(house) == 0
    taken()
    assert send(house) == 60


def test_an_account_may_have_buckets_and_a_share_of_its_own(house: House) -> None:
    """feature C2"""
    account = house.account(settings={"limits": {"share": 0.5, "requests": {"ec2.create-snapshot": [20, 2]}}})
    jobs(house, 300, kind="snapshot", lane=str(Lane.SNAPSHOT), service="ec2", account=account)
    assert send(house) == 10
    taken()
    house.clock.advance(MINUTE / 20)
    assert send(house) == 3


def test_a_throttle_lowers_the_pace_of_the_whole_fleet_and_it_grows_back(house: House) -> None:
    """feature C2: halved at once, its burst gone, and a tenth more a minute later."""
    jobs(house, 900, kind="snapshot", lane=str(Lane.SNAPSHOT), service="ec2")
    name, usual = calls_of(1, "us-east-1", "ec2.create-snapshot"), USUAL.pace("ec2.create-snapshot")
    with transaction():
        assert lower(name, usual, house.clock.timer()) == 0.5
        assert lower(name, usual, house.clock.timer()) == 0.5  # of the same moment
    assert send(house) == 0
    house.clock.advance(MINUTE / 6)
    assert 15 <= send(house) <= 16
    taken()
    house.clock.advance(MINUTE * 10)
    assert send(house) == 60


def test_each_family_of_calls_has_a_pace_of_its_own(house: House) -> None:
    """feature C2: copies do not wait for the snapshots of the same place, nor databases for machines."""
    jobs(house, 100, kind="snapshot", lane=str(Lane.SNAPSHOT), service="ec2")
    jobs(house, 100, kind="snapshot", lane=str(Lane.SNAPSHOT), service="rds", account=1)
    jobs(house, 20, kind="copy", lane=str(Lane.COPY), service="ec2", account=1, slots=2)
    assert send(house) == 60 + 30 + 9


def test_messages_are_counted_anew_for_each_batch_unless_every_lane_has_room_for_a_hundred(house: House) -> None:
    at, roomy = house.clock.timer(), Admission(capacity=dict.fromkeys(Lane, 300_000))
    memory = Memory()
    assert memory.queued(roomy, at) is None
    memory.note(Counter({Lane.COPY: 150_000}), at)
    assert memory.queued(roomy, at) == {Lane.COPY: 150_000}
    assert memory.queued(USUAL_ADMISSION, at) is None
    assert memory.queued(roomy, at + COUNT_FRESH) is None
    memory.counted[Lane.COPY] += 60_000
    assert memory.queued(roomy, at) is None


def test_what_was_sent_counts_before_it_is_counted_again(house: House) -> None:
    jobs(house, 30)
    memory = Memory()
    with session():
        publish(house.queue, Counters(), house.clock.timer(), memory=memory)
    assert memory.counted[Lane.DISCOVER] == 30


def test_copies_of_others_and_a_refusal_of_the_cloud_take_slots(house: House) -> None:
    """feature C3: EBS runs twenty copies into a region; 14 of others leave 6, a refusal leaves what runs, and both
    are forgotten after a while."""
    jobs(house, 60, kind="copy", lane=str(Lane.COPY), service="ec2", slots=1)
    with transaction():
        note_others(1, "us-east-1", "ec2", 14, house.clock.timer())
    assert send(house) == 6
    with transaction():
        Job.update(state=JobState.WAITING).where(Job.state == JobState.QUEUED).execute()
        assert note_refusal(1, "us-east-1", "ec2", house.clock.timer()) == 6
    house.clock.advance(MINUTE)
    assert send(house) == 0
    house.clock.advance(MINUTE * 4)
    assert send(house) == 0  # others' copies are still fresh
    house.clock.advance(MINUTE * 7)
    assert send(house) == 6  # of 12 that a refusal twelve minutes ago allows by now
