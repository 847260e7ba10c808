"""Snapshots: begun for disks, copied to other regions, followed, found again.

Every snapshot is incremental and has a name made from its wish's key: a look by name tells what an earlier attempt has
made. A PUT on a name in use changes its tags and takes no new snapshot (azure-cli 28879), so whatever carries another
wish's tag, or is older than the wish, never counts.
"""

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from azure.core.exceptions import AzureError, HttpResponseError, ResourceNotFoundError

from tasks.errors import CloudFailed, Gone, InUse, Invalid, NotReady, SnapfleetError
from tasks.states import OperationState
from workers.azure import lro
from workers.azure.clients import Clients
from workers.azure.describe import region_of
from workers.azure.errors import shorten, translate
from workers.azure.ids import id_of, name_for, normal, read_id
from workers.azure.limits import SNAPSHOT
from workers.azure.tags import fit_tags
from workers.driver import (
    TAG_INSTALLATION,
    TAG_JOB,
    TAG_SOURCE,
    TAKEN_AT,
    Operation,
    OutOfTurn,
    Part,
    Presence,
    Progress,
    Tagged,
    untold,
)
from workers.pace import Pace

log = logging.getLogger("snapfleet.azure")

# Clocks of Azure and of the database may differ by this much before a snapshot counts as older than its wish.
_SKEW = timedelta(minutes=10)
_CONFLICT = 409
# How a refusal may tell that a younger snapshot of the disk lies there, and that another copy runs. "in order to" is no
# order, and "try again later" tells nothing of age.
_ORDER = re.compile(r"\border\b(?! to\b)|outoforder|chronolog|newer|more recent|sequence\b", re.IGNORECASE)
_RUNS = re.compile(
    r"(cop(y|ies|ied)\w*.*(in ?progress|under ?way|at a time|at once|concurrent|simultan|running|already being)|"
    r"(in ?progress|concurrent|simultan|another|ongoing|being|running)\b.*\bcop(y|ies|ied))",
    re.IGNORECASE,
)
# From so many questions at once on the subscription's snapshots are listed: a page holds more than one answer.
_LIST_FROM = 10
_TYPES = (("/virtualmachines/", "azure-vm"), ("/disks/", "azure-disk"))


@dataclass(frozen=True)
class Wish:
    """One snapshot to make. `source` is a disk, or a snapshot in another region (`copy`)."""

    key: str
    source: str
    region: str
    group: str
    copy: bool
    tags: Mapping[str, str]
    user_tags: Mapping[str, str]
    fresh: bool

    @property
    def name(self) -> str:
        return name_for(self.key)


def start(clients: Clients, wish: Wish, pace: Pace, proceed: Any) -> tuple[Operation, bool, list[str]]:
    """Begin a snapshot or adopt the one of this wish: its operation, whether it was there, warnings.

    Raises the SDK's errors, NotReady when another wish has the name, OutOfTurn when another copy of the disk is in its
    way.
    """
    kind = "azure-copy" if wish.copy else "azure-snapshot"
    snapshot_id = id_of(clients.subscription, wish.group, "snapshots", wish.name)
    detail: dict[str, Any] = {"started_at": pace.clock.timer().isoformat(), "key": wish.key, "source": wish.source}
    there = None if wish.fresh else get(clients, snapshot_id)
    if there is not None and _left_behind(clients, snapshot_id, there, wish.key):
        text = f"The snapshot {wish.name}, which an earlier refusal left behind, is being deleted."
        raise NotReady(text, code="deleting", wait=pace.floor)
    if there is not None:
        if (there.get("tags") or {}).get(TAG_JOB) != wish.key:
            raise NotReady(f"The snapshot {wish.name} has our name and another job's tag.", code="name-taken")
        detail["adopted"] = True
        return Operation(kind, snapshot_id, clients.account, wish.region, detail), True, []
    tags, lost = fit_tags(wish.key, wish.tags, wish.user_tags)
    body = {
        "location": wish.region,
        "tags": tags,
        "sku": {"name": "Standard_LRS"},
        "properties": {
            "creationData": {"createOption": "CopyStart" if wish.copy else "Copy", "sourceResourceId": wish.source},
            "incremental": True,
        },
    }
    if not wish.copy:
        clients.starts.begin(SNAPSHOT, normal(wish.source))
    proceed()
    try:
        token = lro.begin(clients.compute.snapshots.begin_create_or_update, wish.group, wish.name, body)
    except HttpResponseError as error:
        if error.status_code == _CONFLICT:
            _clean_up(clients, snapshot_id, wish.key)
        refused = _out_of_turn(wish, error)
        if refused is not None:
            raise refused from None
        raise
    return Operation(kind, snapshot_id, clients.account, wish.region, {**detail, "token": token}), False, lost


def _out_of_turn(wish: Wish, error: HttpResponseError) -> OutOfTurn | None:
    """A refusal of a copy for another one of the disk. Azure documents neither code nor status for it, so that every
    conflict that no table names counts, and what is told by its words."""
    told = translate(error, "a copy")
    if not wish.copy or not isinstance(told, NotReady | InUse | Invalid):
        return None
    ordered, runs = _ORDER.search(told.text), _RUNS.search(told.text)
    if not isinstance(told, NotReady) and not ordered and not runs:
        return None
    return OutOfTurn(told.text, too_late=bool(ordered and not runs), wait=max(told.wait, NotReady.wait))


def _left_behind(clients: Clients, snapshot_id: str, model: Mapping[str, Any], key: str) -> bool:
    """Whether this is what a refusal for a limit may leave: our own snapshot, failed. Its deletion is begun."""
    ours = (model.get("tags") or {}).get(TAG_JOB) == key
    if not ours or model.get("properties", {}).get("provisioningState") != "Failed":
        return False
    parts = read_id(snapshot_id)
    lro.begin(clients.compute.snapshots.begin_delete, parts.group, parts.name)
    return True


def _clean_up(clients: Clients, snapshot_id: str, key: str) -> None:
    """After a refusal. What cannot be looked at or deleted now is met by the next attempt, by its name."""
    try:
        model = get(clients, snapshot_id)
        if model is not None:
            _left_behind(clients, snapshot_id, model, key)
    except (AzureError, SnapfleetError) as error:
        log.info("what a refusal may have left of %s could not be looked at: %s", snapshot_id, type(error).__name__)


def get(clients: Clients, snapshot_id: str) -> dict[str, Any] | None:
    """A snapshot's model, None when there is none. Raises the SDK's other errors."""
    parts = read_id(snapshot_id)
    try:
        found: dict[str, Any] = clients.compute.snapshots.get(parts.group, parts.name).as_dict()
    except ResourceNotFoundError:
        return None
    return found


def progress(clients: Clients, operations: Sequence[Operation], pace: Pace) -> dict[str, Progress]:
    """The answer about each snapshot, by its id. Raises the SDK's errors."""
    wanted = {one.external_id for one in operations}
    if len(wanted) >= _LIST_FROM:
        found = {normal(item.id): item.as_dict() for item in clients.compute.snapshots.list()}
    else:
        found = {one: model for one in wanted if (model := get(clients, one)) is not None}
    return {
        one.external_id: lro.patient(one, pace, lambda it: _of(clients, it, found.get(it.external_id), pace))
        for one in operations
    }


def _of(clients: Clients, operation: Operation, model: Mapping[str, Any] | None, pace: Pace) -> Progress:
    if model is None:
        return _absent(clients, operation, pace)
    properties = model.get("properties", {})
    state, percent = str(properties.get("provisioningState", "")), properties.get("completionPercent")
    problem = _stranger(operation, model) or _broken_copy(properties)
    if problem:
        return _failed(operation, CloudFailed(problem))
    if state == "Failed":
        return _failed(operation, _reason(clients, operation))
    if state == "Succeeded" and (percent is None or percent >= 100):
        return Progress(operation.external_id, OperationState.DONE, percent=100, detail=_learnt(operation, properties))
    age = pace.age(operation.detail.get("started_at")) or timedelta(0)
    shown = int(percent or 0) if operation.kind == "azure-copy" else 0
    return Progress(operation.external_id, OperationState.RUNNING, percent=min(99, shown), ask_again=pace.again(age))


def _learnt(operation: Operation, properties: Mapping[str, Any]) -> dict[str, Any]:
    """What is known at the end; the token has served. The ids tell which snapshots hold changes of one another, and
    from which disk of its name each was taken, the time which of a disk is the older: they are kept with the part."""
    kept = _told_of(properties)
    if operation.kind == "azure-snapshot" and properties.get("timeCreated"):
        kept[TAKEN_AT] = str(properties["timeCreated"])
    return {"token": "", "size_gib": int(properties.get("diskSizeGB", 0)), "attributes": kept}


def _told_of(properties: Mapping[str, Any]) -> dict[str, Any]:
    known = {
        "family_id": properties.get("incrementalSnapshotFamilyId"),
        "snapshot_unique_id": properties.get("uniqueId"),
        "source_unique_id": properties.get("creationData", {}).get("sourceUniqueId"),
    }
    return {name: str(value) for name, value in known.items() if value}


def _stranger(operation: Operation, model: Mapping[str, Any]) -> str:
    """Why a snapshot of our name is not this wish's; '' when it is."""
    if (model.get("tags") or {}).get(TAG_JOB) != operation.detail.get("key"):
        return f"The snapshot {operation.external_id} carries another job's tag."
    made, since = model.get("properties", {}).get("timeCreated"), operation.detail.get("started_at")
    if operation.detail.get("adopted") or not made or not since:
        return ""
    if datetime.fromisoformat(str(made)) < datetime.fromisoformat(str(since)) - _SKEW:
        return f"The snapshot {operation.external_id} is older than the wish for it: Azure took no new one."
    return ""


def _broken_copy(properties: Mapping[str, Any]) -> str:
    error = properties.get("copyCompletionError") or {}
    if not error:
        return ""
    return f"Azure ended the copy ({error.get('errorCode', '')}): {shorten(str(error.get('errorMessage', '')))}"


def _absent(clients: Clients, operation: Operation, pace: Pace) -> Progress:
    """Not to be seen: its operation may say why; shortly after its making that says nothing."""
    told = operation.detail.get("token") and _told(clients, operation)
    if told:
        return _failed(operation, told)
    age = pace.age(operation.detail.get("started_at"))
    if age is not None and age < pace.grace:
        return Progress(operation.external_id, OperationState.RUNNING, ask_again=pace.floor)
    error = Gone(f"The snapshot {operation.external_id} does not exist any more: somebody else deleted it.")
    return Progress(operation.external_id, OperationState.GONE, error=error, detail={"token": ""})


def _reason(clients: Clients, operation: Operation) -> SnapfleetError:
    told = operation.detail.get("token") and _told(clients, operation)
    return told or CloudFailed(f"Azure failed the snapshot {operation.external_id} and does not say why any more.")


def _told(clients: Clients, operation: Operation) -> SnapfleetError | None:
    """What the operation itself says; None when it did not fail or its address is gone."""
    parts, method = read_id(operation.external_id), clients.compute.snapshots.begin_create_or_update

    def resume(token: str, polling: lro.Manual) -> Any:
        return method(parts.group, parts.name, None, continuation_token=token, polling=polling)

    return lro.failure(resume, str(operation.detail["token"]), f"the snapshot {parts.name}")


def _failed(operation: Operation, error: SnapfleetError) -> Progress:
    return Progress(operation.external_id, OperationState.FAILED, error=error, detail={"token": ""})


def with_key(clients: Clients, key: str) -> list[dict[str, Any]]:
    """Every snapshot of the subscription under a key, those of its parts included. Raises the SDK's errors."""
    models = (item.as_dict() for item in clients.compute.snapshots.list())
    return [one for one in models if _carries(one, key)]


def tagged(clients: Clients, region: str, installation: str) -> list[Tagged]:
    """The snapshots of a region that carry an installation's tag. Raises the SDK's errors."""
    models = {normal(str(item.id)): item.as_dict() for item in clients.compute.snapshots.list()}
    return [
        _tagged(one, model, models)
        for one, model in models.items()
        if (model.get("tags") or {}).get(TAG_INSTALLATION) == installation and region_of(model) == region
    ]


def _tagged(snapshot_id: str, model: Mapping[str, Any], models: Mapping[str, Mapping[str, Any]]) -> Tagged:
    """A snapshot; what a copy has from its source is read there, in the list of the same subscription."""
    tags, properties = dict(model["tags"]), model["properties"]
    source = normal(str(properties.get("creationData", {}).get("sourceResourceId", "")))
    first, attributes = properties, _told_of(properties)
    if "/snapshots/" in source:
        first = models.get(source, {}).get("properties", {})
        attributes |= {"source_snapshot": source}
        source = normal(str(first.get("creationData", {}).get("sourceResourceId", "")))
    if first.get("timeCreated"):
        attributes[TAKEN_AT] = str(first["timeCreated"])
    key = str((first.get("encryption") or {}).get("diskEncryptionSetId") or "")
    percent = properties.get("completionPercent")
    whole = properties.get("provisioningState") == "Succeeded" and (percent is None or percent >= 100)
    return Tagged(
        "snapshot",
        snapshot_id,
        datetime.fromisoformat(str(properties["timeCreated"])),
        tags,
        source,
        int(properties.get("diskSizeGB", 0)),
        complete=whole and not _broken_copy(properties),
        encrypted=bool(key),
        kms_key_id=key,
        attributes=attributes,
        type=next((kind for word, kind in _TYPES if word in normal(tags.get(TAG_SOURCE, ""))), ""),
    )


def present(clients: Clients, parts: Sequence[Part]) -> Presence:
    """Those snapshots that are there; of other kinds of parts (a machine's restore points) nothing is told, so all.
    What is not in the subscription's list is asked for by itself: a role sees only the groups that it has rights in,
    and is refused what it may not see. Raises the SDK's errors."""
    wanted = {one.external_id for one in parts if "/snapshots/" in one.external_id}
    listed = ((normal(str(item.id)), item) for item in clients.compute.snapshots.list())
    found = {one: item.as_dict() for one, item in listed if one in wanted}
    found |= {one: model for one in wanted - set(found) if (model := get(clients, one)) is not None}
    others = untold(one for one in parts if one.external_id not in wanted)
    return {**others, **{one: dict(model.get("tags") or {}) for one, model in found.items()}}


def _carries(model: Mapping[str, Any], key: str) -> bool:
    tag = str((model.get("tags") or {}).get(TAG_JOB, ""))
    return tag == key or tag.startswith(f"{key}/")
