"""The driver of S3: buckets are found here; they are kept in step by jobs of their own (workers.handlers.sync).

There is no snapshot of a bucket and no operation to ask about: a recovery point says where the objects were copied to
and, where that bucket keeps versions, as of when. Deleting a point deletes no object.
"""

from collections.abc import Mapping, Sequence

from tasks.errors import Impossible, Invalid
from tasks.states import OperationState
from workers.aws.errors import translated
from workers.aws.s3_buckets import S3Buckets
from workers.aws.s3_describe import discover
from workers.aws.s3_objects import Sizes
from workers.aws.service_checks import Look, check
from workers.aws.session import Sessions
from workers.driver import (
    Account,
    BackupRequest,
    Check,
    CopyRequest,
    Created,
    Deleted,
    Destination,
    Found,
    Operation,
    Point,
    Progress,
    Resource,
    ResourcePage,
    RestoreStep,
    Scope,
    Started,
    StepStarted,
)
from workers.pace import Pace

_NO_COPY = "A bucket is kept in the bucket that its policy names, in any region or account: it takes no dr entries."


class S3Driver:
    """Implements workers.driver.Driver for the type 's3'. `buckets` is what its jobs work with."""

    types: tuple[str, ...] = ("s3",)
    looks = (Look("s3:ListAllMyBuckets", "s3", lambda one: one.list_buckets(MaxBuckets=1), "no bucket is discovered"),)

    def __init__(self, sessions: Sessions, _pace: Pace | None = None, sizes: Sizes | None = None) -> None:
        self._sessions = sessions
        self.buckets = S3Buckets(sessions, sizes or Sizes())

    def check(self, account: Account, region: str) -> list[Check]:
        return check(self._sessions.at(account, region), self.looks, self.types)

    def discover(self, scope: Scope, page: str | None) -> ResourcePage:
        with translated("discovery"):
            return discover(self._sessions.at(scope.account, scope.region), page)

    def start_backup(self, resource: Resource, _request: BackupRequest) -> Started:
        raise Impossible(f"A bucket is kept in step by jobs of its own, not by a backup of {resource.external_id}.")

    def plan_copy_problem(self, _point: Point, _destination: Destination) -> str:
        return _NO_COPY

    def start_copy(self, _point: Point, _destination: Destination, _request: CopyRequest) -> Started:
        raise Impossible(_NO_COPY)

    def start_restore(self, _point: Point, step: RestoreStep, _key: str, _tags: Mapping[str, str]) -> StepStarted:
        raise Impossible(f"A bucket is restored by jobs of its own, not by {step.kind}.")

    def undo_restore(self, _account: Account, _region: str, created: Sequence[Created]) -> list[Deleted]:
        return [Deleted(one.external_id, "already-gone") for one in created]

    def progress(self, operations: Sequence[Operation]) -> list[Progress]:
        return [
            Progress(
                one.external_id,
                OperationState.FAILED,
                error=Invalid(f"This version follows no operation of kind {one.kind!r}."),
            )
            for one in operations
        ]

    def find(self, _account: Account, _region: str, _key: str) -> list[Found]:
        return []

    def delete(self, points: Sequence[Point]) -> list[Deleted]:
        """Points are only records: the objects belong to the newest sync, versions to the bucket's life cycle."""
        return [Deleted(part.external_id, "deleted") for point in points for part in point.parts]
