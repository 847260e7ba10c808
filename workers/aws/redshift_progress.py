"""Asking about many snapshots, clusters and namespaces in few calls. Only `available` means good.

One list of manual snapshots answers for all of them ("DescribeClusterSnapshots", StartTime: those from the oldest on),
one more for each owner whose loans are followed.
"""

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from botocore.exceptions import ClientError

from tasks.errors import CloudFailed, Invalid
from tasks.states import OperationState
from workers.aws import redshift_clusters, redshift_serverless
from workers.aws.following import absent, running
from workers.aws.redshift_backup import SNAPSHOT, house_of
from workers.aws.redshift_copying import CARRIED, CLUSTER, SHARE
from workers.aws.redshift_serverless import NAMESPACE, WORKGROUP
from workers.aws.redshift_snap import House, Snap
from workers.aws.session import Clients
from workers.driver import Operation, Progress
from workers.pace import Pace

_SNAPSHOTS = frozenset({SNAPSHOT, CARRIED, SHARE})
# States of a cluster that it does not leave by itself ("Cluster status", Redshift management guide).
_FAILED = re.compile(r"^failed|^incompatible|^hardware-failure|^storage-full")
_GOING = frozenset({"deleting", "final-snapshot"})


def progress(clients: Clients, operations: Sequence[Operation], pace: Pace) -> dict[str, Progress]:
    """The answer about each, by id; kinds of other versions are left out."""
    answers = _of_snapshots(clients, [one for one in operations if one.kind in _SNAPSHOTS], pace)
    clusters = [one for one in operations if one.kind == CLUSTER]
    known = redshift_clusters.described(clients) if clusters else {}
    answers |= {one.external_id: _of_cluster(one, known, pace) for one in clusters}
    for one in operations:
        if one.kind in (NAMESPACE, WORKGROUP):
            answers[one.external_id] = _of_serverless(clients, one, pace)
    return answers


def _of_snapshots(clients: Clients, operations: Sequence[Operation], pace: Pace) -> dict[str, Progress]:
    found: dict[str, Progress] = {}
    groups: dict[tuple[bool, str], list[Operation]] = {}
    for one in operations:
        key = bool(one.detail.get("serverless")), str(one.detail.get("owner", "")) if one.kind == SHARE else ""
        groups.setdefault(key, []).append(one)
    for (serverless, owner), some in groups.items():
        house = house_of({"serverless": serverless})
        starts = [str(one.detail.get("created_at") or "") for one in some]
        known = house.snapshots(clients, since=min(starts), owner=owner)
        found |= {one.external_id: _of_snapshot(one, known.get(one.external_id), pace) for one in some}
        _tag(clients, house, [one for one in some if one.kind == CARRIED], known)
    return found


def _tag(clients: Clients, house: House, arrived: Sequence[Operation], known: Mapping[str, Snap]) -> None:
    """What AWS itself has copied gets its tags when it is there; a copy is as good without them."""
    for one in arrived:
        snap = known.get(one.external_id)
        if snap is not None and snap.state == "available" and one.detail.get("tags"):
            with suppress(ClientError):
                house.tag(clients, snap.arn, one.detail["tags"])


def _of_snapshot(operation: Operation, snap: Snap | None, pace: Pace) -> Progress:
    if snap is None or snap.state == "gone":
        return absent(operation, pace)
    if snap.state == "failed":
        error = CloudFailed(f"AWS ended the {operation.kind} {operation.external_id} without success.")
        return Progress(operation.external_id, OperationState.FAILED, error=error)
    if snap.state != "available":
        return running(operation, pace, snap.percent)
    detail = {"size_gib": snap.size_gib, "encrypted": snap.encrypted, "kms_key_id": snap.kms_key_id}
    return Progress(operation.external_id, OperationState.DONE, percent=100, detail=detail)


def _of_cluster(operation: Operation, known: Mapping[str, Mapping[str, Any]], pace: Pace) -> Progress:
    """Available, and all of its data there: a restored cluster answers while its data still comes."""
    row = known.get(operation.external_id)
    if row is None:
        if known.get(str(operation.detail.get("was", ""))):
            return running(operation, pace, 0)  # AWS has not renamed it yet
        return absent(operation, pace)
    state, coming = str(row["ClusterStatus"]), row.get("RestoreStatus") or {}
    if state in _GOING:
        return absent(operation, pace, at_once=True)
    if _FAILED.search(state) or coming.get("Status") == "failed":
        error = CloudFailed(f"AWS ended the restore of the cluster {operation.external_id} as {state!r}.")
        return Progress(operation.external_id, OperationState.FAILED, error=error, detail={"state_message": state})
    if state.startswith("available") and coming.get("Status", "completed") == "completed":
        return Progress(operation.external_id, OperationState.DONE, percent=100)
    size = float(coming.get("SnapshotSizeInMegaBytes") or 0)
    return running(operation, pace, int(99 * float(coming.get("ProgressInMegaBytes") or 0) / size) if size > 0 else 0)


def _of_serverless(clients: Clients, operation: Operation, pace: Pace) -> Progress:
    """A namespace or workgroup by name: restores are few, and each is asked about by itself."""
    client, name = clients.read(redshift_serverless.SERVICE), operation.external_id
    if operation.detail.get("refused"):
        return Progress(name, OperationState.FAILED, error=Invalid(str(operation.detail["refused"])))
    try:
        if operation.kind == WORKGROUP:
            state = str(client.get_workgroup(workgroupName=name)["workgroup"]["status"])
        else:
            state = str(client.get_namespace(namespaceName=name)["namespace"]["status"])
    except client.exceptions.ResourceNotFoundException:
        return absent(operation, pace)
    if state == "AVAILABLE":
        return Progress(name, OperationState.DONE, percent=100)
    if state == "DELETING":
        return absent(operation, pace, at_once=True)
    if state not in ("CREATING", "MODIFYING"):
        return Progress(name, OperationState.FAILED, error=Invalid(f"The {operation.kind} {name} is {state}."))
    return running(operation, pace, 0)
