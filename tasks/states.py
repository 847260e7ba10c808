"""The states of everything that has one, and the edges between them. Anything not listed here cannot happen."""

from collections.abc import Mapping
from enum import StrEnum


class RunState(StrEnum):
    """A policy at one slot."""

    RESOLVING = "resolving"  # waits for a fresh look at what exists
    OPEN = "open"  # jobs are planned and not all are finished
    DONE = "done"
    PARTIAL = "partial"  # some targets have a good point, some have not
    FAILED = "failed"
    CANCELLED = "cancelled"


class JobState(StrEnum):
    """One step for one resource."""

    PENDING = "pending"  # may be published when its time has come
    QUEUED = "queued"  # a message is (or was) on its way
    RUNNING = "running"  # claimed by a worker, under a lease
    WAITING = "waiting"  # the cloud works; nothing of ours is held
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


class PointState(StrEnum):
    """A recovery point, or one part of it."""

    CREATING = "creating"
    GOOD = "good"  # the cloud said completed
    FAILED = "failed"
    EXPIRING = "expiring"  # marked with a reason; cleanup re-checks and deletes
    OUTDATED = "outdated"  # would be deleted, but the account may only be tagged
    DELETED = "deleted"
    LOST = "lost"  # somebody else deleted it


class OperationState(StrEnum):
    """What the cloud does for us."""

    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    GONE = "gone"


class RestoreState(StrEnum):
    """A restore as a whole."""

    REQUESTED = "requested"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    UNDOING = "undoing"  # it failed; what it made is being removed
    CANCELLED = "cancelled"


class RequestState(StrEnum):
    """A wish from the command line or the page."""

    NEW = "new"
    ACCEPTED = "accepted"
    REFUSED = "refused"


class AccountState(StrEnum):
    """What the last contact with an account said."""

    UNKNOWN = "unknown"
    REACHABLE = "reachable"
    UNREACHABLE = "unreachable"


JOB_EDGES: Mapping[JobState, frozenset[JobState]] = {
    JobState.PENDING: frozenset({JobState.QUEUED, JobState.RUNNING, JobState.CANCELLED, JobState.FAILED}),
    JobState.QUEUED: frozenset({JobState.RUNNING, JobState.PENDING, JobState.CANCELLED, JobState.FAILED}),
    JobState.RUNNING: frozenset({JobState.WAITING, JobState.DONE, JobState.FAILED, JobState.PENDING}),
    JobState.WAITING: frozenset({JobState.DONE, JobState.FAILED, JobState.PENDING}),
    JobState.DONE: frozenset({JobState.PENDING}),  # standing jobs (poll, discover) only
    JobState.FAILED: frozenset({JobState.PENDING}),  # an operator's requeue, standing jobs
    JobState.CANCELLED: frozenset(),
}
POINT_EDGES: Mapping[PointState, frozenset[PointState]] = {
    PointState.CREATING: frozenset({PointState.GOOD, PointState.FAILED, PointState.LOST}),
    PointState.GOOD: frozenset({PointState.EXPIRING, PointState.LOST}),
    PointState.FAILED: frozenset({PointState.EXPIRING}),
    PointState.EXPIRING: frozenset({PointState.DELETED, PointState.OUTDATED, PointState.GOOD, PointState.FAILED}),
    PointState.OUTDATED: frozenset({PointState.DELETED}),
    PointState.LOST: frozenset({PointState.DELETED, PointState.GOOD}),  # out of a recycle bin, for one
    PointState.DELETED: frozenset(),
}
JOB_OPEN = frozenset({JobState.PENDING, JobState.QUEUED, JobState.RUNNING, JobState.WAITING})
JOB_TERMINAL = frozenset(JobState) - JOB_OPEN
RUN_OPEN = frozenset({RunState.RESOLVING, RunState.OPEN})
RUN_TERMINAL = frozenset(RunState) - RUN_OPEN
# Where something ends otherwise than wanted: the catalog takes no row in one of these states without a reason code
# (`tasks.catalog.fields.says_why`). What is `done` or `good` needs none.
JOB_BAD = JOB_TERMINAL - {JobState.DONE}
RUN_BAD = RUN_TERMINAL - {RunState.DONE}
OPERATION_BAD = frozenset({OperationState.FAILED, OperationState.GONE})
RESTORE_BAD = frozenset({RestoreState.FAILED, RestoreState.UNDOING, RestoreState.CANCELLED})
POINT_BAD = frozenset({PointState.FAILED, PointState.LOST})
POINT_LEAVING = frozenset({PointState.EXPIRING, PointState.OUTDATED, PointState.DELETED})  # by our own decision
