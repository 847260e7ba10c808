"""What every cloud service must promise, and the values that cross that line.

A driver knows a cloud and no job: it never touches the catalog or the queue, never sleeps, never decides about time
or policy. What the world promises: every method is idempotent for a key, returns within seconds, takes many where
the cloud takes many, and raises only the family of `tasks.errors`. Returning from a `start_` method does not mean
that anything is good: only `progress` may say so, and only when the cloud said completed.

Keys: `request.key` names one wish for ever. It is written as the tag `snapfleet:job` by the creating call itself
(or as the client token, or the name), so that `find` can tell what an earlier attempt made. A driver looks up before
it creates, and creates with exactly one attempt of the SDK (aws.md rule 1: botocore re-sends creates by itself).
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Protocol, runtime_checkable

from tasks.errors import NotReady, SnapfleetError
from tasks.resources.rights import DUTIES
from tasks.secrets import Secret
from tasks.states import OperationState

# Tags on everything created (fixed surface).
TAG_INSTALLATION = "snapfleet:installation"
TAG_JOB = "snapfleet:job"
TAG_RUN = "snapfleet:run"
TAG_POLICY = "snapfleet:policy"
TAG_SOURCE = "snapfleet:source"
TAG_VOLUME = "snapfleet:source-volume"  # on a copy where the cloud does not tell it: what its source was taken of
TAG_OUTDATED = "snapfleet:outdated"  # set instead of deleting where an account may not delete
# Of a part's attributes, where copies keep an order: when the cloud began the snapshot, as it told (ISO 8601, with its
# zone). A copy keeps that of its source.
TAKEN_AT = "taken_at"
# Of a resource's attributes: what of it may not be read, such as ["tags"]. Tags of which that is said are not known to
# be none: those known before stay.
UNREAD = "unread"


@dataclass(frozen=True)
class Account:
    """An account and how it is entered. `number` is the cloud's own id of it ('' while unknown)."""

    name: str
    cloud: str = "aws"
    number: str = ""
    role_arn: str = ""
    external_id: Secret = Secret("")
    profile: str = ""
    may_delete: bool = True
    tenant_id: str = ""
    client_id: str = ""
    client_secret: Secret = Secret("")
    storage_secret: Secret = Secret("")  # key or signature of the storage account that its repositories lie in
    installation: str = ""  # only what carries its tag may be deleted there; '' asks for any installation's
    backup_vault: str = ""  # AWS Backup's vault for what this product makes there
    backup_role_arn: str = ""  # the role that AWS Backup assumes
    duties: tuple[str, ...] = DUTIES  # what this identity is for (tasks.resources.rights); a check asks for no more


@dataclass(frozen=True)
class Scope:
    """Where to look: one account, one region, the types of one service."""

    account: Account
    region: str
    types: tuple[str, ...]


@dataclass(frozen=True)
class Resource:
    """Something that can be protected. `attributes` is JSON: all that a restore needs to make it as it was.

    For an instance `attributes['volumes']` lists its volumes as {id, device, size_gib, type, encrypted, ...}.
    """

    type: str
    external_id: str
    account: Account
    region: str
    name: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    attributes: Mapping[str, Any] = field(default_factory=dict)
    parent_id: str = ""


@dataclass(frozen=True)
class ResourcePage:
    """One page of discovery; `next_page` is None on the last one."""

    resources: tuple[Resource, ...]
    next_page: str | None = None


def always() -> None:
    """A `proceed` for whoever cannot be overtaken: nothing stands against the call."""


@dataclass(frozen=True)
class BackupRequest:
    """`mode` is 'snapshots', 'image' or 'vault' (through AWS Backup); `exclude` names volumes; tags go on everything
    created; `options` are those of the type (its table's `backup_options`).

    `fresh` says that nobody can have called the cloud with this key before, and that the resource was looked at
    shortly before: then nothing is looked up first, so that calls grow with the work and not with twice the work.

    `proceed` is called directly before every call that creates without a token of the cloud's own. It raises FenceLost
    when the wish is somebody else's by now (this worker was paused, or its look-ups took too long): nothing is made.
    """

    key: str
    tags: Mapping[str, str]
    description: str = ""
    mode: str = "snapshots"
    exclude: frozenset[str] = frozenset()
    reboot: bool = False
    fresh: bool = False
    proceed: Callable[[], None] = always
    options: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Part:
    """One object in the cloud that belongs to a recovery point: usually one snapshot of one volume.

    Its attribute `default_key` says that it lies under the account's default key, which nobody else can use.
    """

    external_id: str
    source_id: str = ""
    device: str = ""
    size_gib: int = 0
    encrypted: bool = False
    kms_key_id: str = ""
    attributes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Operation:
    """Something the cloud does for us: `external_id` can be asked about, in this account and region."""

    kind: str  # 'snapshot', 'copy', 'image', 'volume', 'instance', 'attachment', 'replace-root' ...
    external_id: str
    account: Account
    region: str
    detail: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Started:
    """What a start began. `captured` is the resource as found at this moment (for the restore).

    `lent`: a copy that is nothing of its own, only the right to use its source. `taken_at` is set where the cloud had
    made the backup before it was asked for, by its own timetable.
    """

    operations: tuple[Operation, ...]
    parts: tuple[Part, ...] = ()
    image_id: str = ""
    captured: Mapping[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    adopted: bool = False  # an earlier attempt had made it; nothing was created now
    lent: bool = False
    taken_at: datetime | None = None


@dataclass(frozen=True)
class Progress:
    """The answer about one operation, in the order asked. `detail` is JSON to keep (state message, new ids); its
    `attributes` go to those of the part that the operation made."""

    external_id: str
    state: OperationState
    percent: int = 0
    ask_again: timedelta = timedelta(seconds=15)
    error: SnapfleetError | None = None
    detail: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Point:
    """A recovery point as a driver needs it: where it lies, its parts, and the resource it is of."""

    account: Account
    region: str
    resource: Resource  # with the attributes captured when it was taken
    parts: tuple[Part, ...]
    image_id: str = ""


@dataclass(frozen=True)
class Destination:
    """Where a copy goes. An empty `kms_key` means: the source's way of encryption, default key there."""

    account: Account
    region: str
    kms_key: str = ""


@dataclass(frozen=True)
class CopyRequest:
    """`key`, `fresh` and `proceed` as in BackupRequest; `options` are the DR entry's (the table's `copy_options`)."""

    key: str
    tags: Mapping[str, str]
    description: str = ""
    fresh: bool = False
    proceed: Callable[[], None] = always
    options: Mapping[str, str] = field(default_factory=dict)


class OutOfTurn(NotReady):
    """The cloud refuses a copy for another one of the same disk. `too_late`: by what it says a younger one lies there,
    which never passes. It costs an attempt unless the catalog knows of the other one (`workers.turns`)."""

    code = "copy-in-turn"

    def __init__(self, text: str, *, too_late: bool = False, wait: timedelta | None = None) -> None:
        super().__init__(text, wait=wait)
        self.too_late = too_late


@dataclass(frozen=True)
class RestoreStep:
    """One step of a restore plan, its references to earlier steps already replaced by what those made."""

    kind: str
    params: Mapping[str, Any]


@dataclass(frozen=True)
class Created:
    """Something a restore step made, which an undo would remove."""

    kind: str  # 'volume', 'image', 'instance', ...
    external_id: str
    # Of the jobs of its restore, for an undo: what lies under its name now carries one of them, or is another's. () for
    # any. Ids that a cloud gives out once need none.
    keys: tuple[str, ...] = ()


@dataclass(frozen=True)
class StepStarted:
    """What a restore step began, made and took away again; `outputs` is what later steps refer to.

    `removed` has the external ids of what an earlier step made and what is not there any more.
    """

    operations: tuple[Operation, ...] = ()
    created: tuple[Created, ...] = ()
    outputs: Mapping[str, Any] = field(default_factory=dict)
    removed: tuple[str, ...] = ()


@dataclass(frozen=True)
class Found:
    """Something that carries our key: what an earlier attempt has made."""

    kind: str
    external_id: str
    state: OperationState


@dataclass(frozen=True)
class Deleted:
    """What became of one deletion: 'deleted', 'already-gone', or 'kept' with the error that says why."""

    external_id: str
    outcome: str
    error: SnapfleetError | None = None


@dataclass(frozen=True)
class Check:
    """One answer of `check`: an action or a contact, 'ok', 'missing' or 'unknown', and what stops working."""

    name: str
    outcome: str
    text: str = ""


class Driver(Protocol):
    """One service of one cloud. Bound to type names in the cloud package's DRIVERS."""

    types: tuple[str, ...]

    def check(self, account: Account, region: str) -> list[Check]:
        """Can the account be entered and asked? Harmless reads and dry runs only."""

    def discover(self, scope: Scope, page: str | None) -> ResourcePage:
        """What exists: ids, names, tags, and the attributes that a restore needs."""

    def start_backup(self, resource: Resource, request: BackupRequest) -> Started:
        """Begin; adopt what an earlier attempt with this key has made. Gone when the resource does not exist."""

    def start_copy(self, point: Point, destination: Destination, request: CopyRequest) -> Started:
        """Begin copying every part to the destination (sharing first across accounts); adopt what is there."""

    def plan_copy_problem(self, point: Point, destination: Destination) -> str:
        """'' or the cloud's reason why this copy cannot work, without calling the cloud."""

    def start_restore(self, point: Point, step: RestoreStep, key: str, tags: Mapping[str, str]) -> StepStarted:
        """Begin one step of a restore, idempotent for `key`."""

    def undo_restore(self, account: Account, region: str, created: Sequence[Created]) -> list[Deleted]:
        """Remove what a failed restore made, last made first; already gone is success."""

    def progress(self, operations: Sequence[Operation]) -> list[Progress]:
        """Ask about many operations of ONE account and region in as few calls as the cloud allows."""

    def find(self, account: Account, region: str, key: str) -> list[Found]:
        """Everything there that carries this key."""

    def delete(self, points: Sequence[Point]) -> list[Deleted]:
        """Delete every part of each point (images before their snapshots); one answer per part and image.

        Where `point.account.may_delete` is false nothing is deleted: TAG_OUTDATED is set and 'kept' answered.
        """


@dataclass(frozen=True)
class Script:
    """A text for the shell of a machine's guest, run once for a key and `name` ('before', 'after'), within `seconds`.
    `must`: when it fails, so does what it is for; else that is only told."""

    name: str
    text: str
    seconds: int
    must: bool = True


@runtime_checkable
class RunsScripts(Protocol):
    """A driver that can run a text inside a guest without waiting for it: the place for scripts around a backup.

    `progress` follows the operation. Its detail has `script` (how it ended), `exit_code`, `output` and `error`, which
    are the guest's own words, cut and cleaned: nobody interprets them. Needs rights that no role has by default.
    """

    def start_script(self, machine: Resource, script: Script, key: str, tags: Mapping[str, str]) -> Operation:
        """Begin a script, or adopt what this key began."""

    def end_script(self, operation: Operation) -> bool:
        """Take away what running it left in the cloud; whether that is gone. Raises NotReady while it goes."""


@runtime_checkable
class SeesCopies(Protocol):
    """A driver whose cloud can tell in one cheap question what copies of others run into a place."""

    def copies_of_others(self, account: Account, region: str, installation: str) -> int:
        """How many copies run there that do not carry this installation's tag."""


@dataclass(frozen=True)
class Tagged:
    """Something in the cloud that carries an installation's tag, and when it was begun.

    The rest is what a good point's part of it records, so that a lost catalog is written again from it. `complete`: the
    cloud says that nothing of it is missing; it neither runs nor failed. `attributes` are those of the part as far as
    the thing itself tells, such as `default_key`; of a copy `source_snapshot`, what it is a copy of. `type` is the
    resource type of what it is of, '' where only the catalog can tell; `home` is where that lies, as the account's
    number and the region, if the thing itself tells.
    """

    kind: str  # 'snapshot' or 'image'
    external_id: str
    began_at: datetime
    tags: Mapping[str, str]
    source_id: str = ""
    size_gib: int = 0
    complete: bool = True
    device: str = ""
    encrypted: bool = False
    kms_key_id: str = ""
    attributes: Mapping[str, Any] = field(default_factory=dict)
    type: str = ""
    home: tuple[str, str] | None = None


@runtime_checkable
class FindsTagged(Protocol):
    """A driver whose cloud lists by tag, in few questions, what an installation made; of what it lists without tags
    (points in AWS Backup's vaults) nothing is told."""

    def tagged(self, account: Account, region: str, installation: str) -> list[Tagged]:
        """Every snapshot and image there that carries this installation's tag."""


@runtime_checkable
class FindsOneByOne(Protocol):
    """A driver whose cloud lists something without its tags and tells those of each thing when asked: a question for
    each, which is too much for a daily look and not for writing a lost catalog again."""

    def tagged_one_by_one(self, account: Account, region: str, installation: str) -> list[Tagged]:
        """What carries this installation's tag there and no list tells of; nothing that `FindsTagged` has found."""


@runtime_checkable
class RebuildsParts(Protocol):
    """A driver whose parts record more of what they are of than the thing in the cloud tells, such as a device."""

    def part_again(self, one: Tagged, resource: Resource) -> Part:
        """The part as a backup of the resource, as it is known, would have recorded it. No call."""


Presence = dict[str, Mapping[str, str] | None]
"""What is there, by id, with its tags; None where the cloud does not tell them along, or deletion asks for none."""


def untold(parts: Iterable[Part]) -> Presence:
    """Parts of which a driver cannot tell whether they are there: as if they were."""
    return {part.external_id: None for part in parts}


@runtime_checkable
class SeesPresent(Protocol):
    """A driver whose cloud can be asked, in few questions, whether what points consist of is still there."""

    def present(self, account: Account, region: str, parts: Sequence[Part]) -> Presence:
        """Those of `parts` (an image is one by its id alone) that are there, whatever tags they carry; one in a recycle
        bin is not. Also those of which it cannot be told, so that nobody believes that they are gone."""
