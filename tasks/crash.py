"""Named crash points: the lines between which a process may die, so that tests can kill it exactly there.

Off unless SNAPFLEET_CRASH_AT is set in the environment as `NAME` or `NAME:NTH`, or several with commas between: then
the process writes a line to the file in SNAPFLEET_CRASH_LOG, synced to disk, and kills itself (SIGKILL, as the kernel
would) when the first of these points is reached for the nth time. A point that the file already names is passed, so
that a supervisor can start the process again in the same environment. For tests only; an operator never sets it. A
simulator that is a whole fleet in one process listens instead (`listen`), and decides itself who dies.
"""

import itertools
import os
import signal
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

# Name -> what has just happened when the point is reached. Every literal in the code is here, and nothing else is.
POINTS: dict[str, str] = {
    "claim.before": "a message arrived and its job is not claimed yet",
    "claim.after": "the job is claimed (committed) and its handler has not begun",
    "job.failing": "an attempt failed and the failure is not recorded yet",
    "job.failed": "the failure is committed and the message is not acknowledged",
    "snapshot.intended": "the point row exists and the cloud has not been called",
    "snapshot.called": "the cloud has begun the backup and nothing of it is in the catalog",
    "snapshot.parts": "inside the transaction: some parts are written, others and the job's state are not",
    "snapshot.recorded": "the backup is committed and the message is not acknowledged",
    "copy.intended": "the copy's point row exists and the cloud has not been called",
    "copy.called": "the cloud has begun the copy and nothing of it is in the catalog",
    "copy.recorded": "the copy is committed and the message is not acknowledged",
    "poll.asked": "the cloud has answered and no answer is written",
    "poll.between": "one job's answers are committed, the next one's are not",
    "poll.concluding": "inside the transaction: a job's operations are closed, its point and state are not",
    "poll.recorded": "all answers are committed and the poll itself is still running",
    "archive.opened": "the right to make a generation is in the repository and nothing else",
    "archive.stored": "a slice's blocks are in the repository and its checkpoint is not in the catalog",
    "archive.committed": "a volume's generation exists and the catalog does not know it",
    "archive.shared": "an archive waits for the parts of its big volumes (committed), and none is planned",
    "archive.recorded": "the archive is good (committed) and the message is not acknowledged",
    "part.planned": "inside the transaction: the parts of a big volume, or its archive's next turn, are written",
    "part.stored": "a slice of a part is in the repository and its checkpoint is not in the catalog",
    "part.recorded": "a part is done (committed) and the message is not acknowledged",
    "fetch.begun": "the cloud has begun a snapshot for a generation's blocks and the catalog does not know it",
    "fetch.written": "a range of blocks is written to the snapshot and its checkpoint is not in the catalog",
    "fetch.completed": "the cloud was told that all blocks are written and the job does not wait for it yet",
    "forget.marked": "the guards of archives were passed (committed) and nothing is hidden yet",
    "forget.hidden": "generations are hidden and the catalog still says expiring",
    "sync.intended": "a sync's point row and its pair of buckets are committed, and nothing else",
    "sync.shared": "a sync waits for its parts (committed), and none is planned",
    "sync.planned": "inside the transaction: the parts of a sync, or its next turn, are written",
    "sync.copied": "a page's objects are copied or deleted and its checkpoint is not in the catalog",
    "sync.recorded": "a sync or a part of it is done (committed) and the message is not acknowledged",
    "restore.created": "the cloud has made something for a step and the catalog does not know it",
    "restore.recorded": "what the step made is committed and the message is not acknowledged",
    "undo.removed": "the cloud has removed what a restore made and the catalog does not know it",
    "cleanup.marked": "the guards were passed and committed, nothing is deleted yet",
    "cleanup.deleted": "the cloud has deleted and the catalog still says expiring",
    "cleanup.recorded": "the deletion is committed and the message is not acknowledged",
    "discover.page": "one page of resources is committed, the next is not asked for",
    "discover.recorded": "the look is committed and the message is not acknowledged",
    "rebuild.written": "some points of a place are written again from tags (committed), and the rest is not",
    "rebuild.adopted": "an orphan is a good point (committed), and the next one that was asked for is not",
    "coordinator.slots-before-commit": "inside the transaction: runs, jobs of some and the schedules are written",
    "coordinator.slots-committed": "runs are committed and most of them not planned, no message is published",
    "coordinator.plan-before-commit": "inside the transaction: jobs and outbox rows of runs from before are written",
    "coordinator.plan-committed": "a run's jobs are committed and no message is published",
    "coordinator.before-publish": "outbox rows are locked and the broker has nothing yet",
    "coordinator.published-before-commit": "the broker has confirmed and the outbox rows are still there",
    "coordinator.settle-before-commit": "inside the transaction: follow-up jobs are written, nothing is settled",
    "coordinator.mark-before-commit": "inside the transaction: points are marked as expiring",
}


_wishes: dict[str, tuple[int, Iterator[int]]] = {}  # by name: at which pass, and the passes so far
_logs: list[Path] = []  # one, or none
_listeners: list[Callable[[str], None]] = []


def listen(listener: Callable[[str], None] | None) -> None:
    """Tell `listener` of every point that is reached; None ends it. What it raises is the death."""
    _listeners[:] = [] if listener is None else [listener]


def arm(environment: Mapping[str, str]) -> None:
    """Take the wishes of an environment: done once at the start of a process."""
    log = environment.get("SNAPFLEET_CRASH_LOG")
    _logs[:] = [Path(log)] if log else []
    _wishes.clear()
    for wish in filter(None, environment.get("SNAPFLEET_CRASH_AT", "").split(",")):
        name, _, nth = wish.partition(":")
        _wishes[name] = int(nth or 1), itertools.count(1)  # next() of it is atomic, so threads count together


def reach(name: str) -> None:
    """Die here when this is a chosen point; otherwise nothing, at the cost of two comparisons."""
    if _listeners:
        _listeners[0](name)
    if name in _wishes:
        nth, passes = _wishes[name]
        if next(passes) == nth and not _happened(name):
            _die(name)


def _happened(name: str) -> bool:
    return any(log.exists() and name in log.read_text().split() for log in _logs)


def _die(name: str) -> None:
    for log in _logs:
        with log.open("a") as file:
            file.write(f"{name}\n")
            file.flush()
            os.fsync(file.fileno())
    os.kill(os.getpid(), signal.SIGKILL)


arm(os.environ)
