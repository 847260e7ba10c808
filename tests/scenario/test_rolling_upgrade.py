"""A running fleet of real processes goes from one version of the messages to the next without a failed run.

There is one version of the messages so far (1). So what is mixed here is honest about that: bodies recorded from the
first commit that had signed messages, a coordinator that sends what is least in version 1, and one that sends fields
which only a later version would have. The schema is the present one throughout.
"""

import os
from pathlib import Path
from typing import Any

import pytest

from tasks.catalog import Counter, DeadLetter, Job, Run, session
from tasks.lanes import Lane
from tasks.messages import JobMessage, MessageRefused, SignedEncoder
from tasks.states import JobState, RunState
from tests.scenario.fleet import Fleet, Seat
from tests.tasks.poison import KEYS

OTHER = Path(__file__).parent / "other_version"
POLICIES = {
    "first": {"targets": [{"tag": {"backup": "gold"}, "types": ["volume"]}], "generations": 3},
    "second": {
        "targets": [{"tag": {"backup": "gold"}, "types": ["volume"]}],
        "generations": 2,
        "dr": [{"account": "vault", "region": "eu-central-1"}],
    },
}
# Recorded on 2026-11-22 from the code of the commit that brought signed messages, with the keys of these tests.
RECORDED = (
    b"k1:35f6578a832ea66a46b5bcec7d50479e8c071eaa7887d4331d39b4ddfdb4348f:"
    b'{"queue_name":"snapfleet.snapshot.v1","actor_name":"snapshot","args":[],"kwargs":{"v":1,"job":41,"attempt":1,'
    b'"fence":3,"trace":"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"},"options":{},'
    b'"message_id":"d669c5de-f3b4-43cb-a1b7-82a187cae4bb","message_timestamp":1795365128614}',
    b"k1:3d056936ae6149e9c1e58379cedf4286acffb9028fe773345818449ade3be83c:"
    b'{"queue_name":"snapfleet.poll.v1","actor_name":"poll","args":[],"kwargs":{"v":1,"job":7,"attempt":0,"fence":0,'
    b'"trace":""},"options":{},"message_id":"9ea12b70-a02d-41a2-b51c-d3935d06f9d1","message_timestamp":1795365128618}',
)


@pytest.mark.unit
def test_bodies_that_an_earlier_commit_has_sent_are_still_read() -> None:
    """Feature C21: what lies in a queue during an upgrade was written by the version before."""
    read = [SignedEncoder(KEYS).decode_message(body) for body in RECORDED]
    assert [(one.queue_name, JobMessage.from_wire(one.kwargs).job) for one in read] == [
        ("snapfleet.snapshot.v1", 41),
        ("snapfleet.poll.v1", 7),
    ]


@pytest.mark.unit
def test_a_version_that_is_not_known_is_refused_and_never_guessed() -> None:
    """Feature C21: a message of version 2 goes to the dead letters, and its job stays in the catalog."""
    with pytest.raises(MessageRefused) as refused:
        JobMessage.from_wire({"v": 2, "job": 1, "attempt": 0, "fence": 0})
    assert refused.value.reason == "unknown-version"
    assert JobMessage.from_wire({"v": 1, "job": 1, "attempt": 0, "fence": 0, "not_after": 5}).job == 1


def speak(seat: Seat, version: str) -> None:
    """Replace a seat's process, drained, by one that speaks as another version ('' as the present one)."""
    root = seat.env["PYTHONPATH"].split(os.pathsep)[-1]
    seat.env |= {"PYTHONPATH": os.pathsep.join([str(OTHER), root]) if version else root, "SPEAKS": version}
    seat.stop()  # the supervisor starts the new one


@pytest.mark.timeout(240)
def test_a_fleet_is_replaced_piece_by_piece_without_a_failed_run(
    tmp_path: Path, postgres_catalog_url: str, rabbitmq_vhost: str
) -> None:
    """Feature C21: old coordinator with new workers, then new with old ones, while runs come every 4.5 seconds."""
    fleet = Fleet(tmp_path, postgres_catalog_url, rabbitmq_vhost)
    fleet.estate(4, POLICIES, {"every": "15m", "starts_at": "2026-01-01T00:00"})
    coordinators = [fleet.seat("coordinator") for _ in range(2)]
    workers = [fleet.seat("worker") for _ in range(2)]
    for seat in (*coordinators, *workers):
        speak(seat, "before")
    fleet.start()
    try:
        fleet.until("runs of the version before", lambda: _done() >= 2, 90)
        for number, (seats, version) in enumerate(((workers, ""), (coordinators, "after"), (coordinators, "")), 1):
            for seat in seats:  # one after the other, as an operator would
                began = _done()
                speak(seat, version)
                fleet.until(f"runs after step {number}", lambda began=began: _done() > began, 60)
        assert all(seat.process is not None and seat.process.poll() is None for seat in (*coordinators, *workers))
    finally:
        fleet.stop()
    with session():
        states = {str(run.state) for run in Run.select(Run.state)}
        failed: Any = Job.select().where(Job.state == JobState.FAILED)
        assert [(job.kind, job.error_text) for job in failed] == []
        assert states <= {RunState.DONE, RunState.OPEN, RunState.RESOLVING}
        assert DeadLetter.select().count() == 0
        refused = Counter.select().where(Counter.name == "snapfleet_messages_refused_total").count()
        assert refused == 0
        assert {job.lane for job in Job.select(Job.lane).distinct()} >= {Lane.SNAPSHOT, Lane.COPY, Lane.POLL}


def _done() -> int:
    with session():
        return int(Run.select().where(Run.state == RunState.DONE).count())
