"""Asking about many snapshots, databases and clusters in few calls. Only `available` means good."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from tasks.errors import CloudFailed, Invalid, SnapfleetError
from tasks.states import OperationState
from workers.aws.following import absent, running
from workers.aws.rds_calls import FILTER_MOST, Answer, Family, describe_named
from workers.aws.session import Clients
from workers.driver import Operation, Progress
from workers.pace import Pace

SNAPSHOT_KINDS = frozenset({"snapshot", "copy"})
# States of a DB instance or cluster that it does not leave by itself ("Viewing DB instance status", RDS user guide).
_FAILED = re.compile(r"^failed|^incompatible|^inaccessible|^restore-error|^insufficient|^storage-full")
GOING = frozenset({"deleting", "deleted"})


def progress(family: Family, clients: Clients, operations: Sequence[Operation], pace: Pace) -> list[Progress]:
    """The answer about each, in the order asked."""
    snapshots = [one.external_id for one in operations if one.kind in SNAPSHOT_KINDS]
    found = describe_named(family, family.read(clients), list(dict.fromkeys(snapshots)))
    databases = _databases(family, clients, "database", operations)
    clusters = _databases(family, clients, "cluster", operations)
    answers = []
    for one in operations:
        if one.kind in SNAPSHOT_KINDS:
            answers.append(_of_snapshot(one, found.get(one.external_id), pace))
        elif one.kind in ("database", "cluster"):
            answers.append(_of_database(one, (clusters if one.kind == "cluster" else databases), pace))
        else:  # begun by another version: it must not keep the others from being followed
            error = Invalid(f"This version follows no operation of kind {one.kind!r}.")
            answers.append(Progress(one.external_id, OperationState.FAILED, error=error))
    return answers


def _databases(family: Family, clients: Clients, kind: str, operations: Sequence[Operation]) -> dict[str, Answer]:
    names = list(dict.fromkeys(one.external_id for one in operations if one.kind == kind))
    method, member, identifier, by = (
        ("describe_db_clusters", "DBClusters", "DBClusterIdentifier", "db-cluster-id")
        if kind == "cluster"
        else ("describe_db_instances", "DBInstances", "DBInstanceIdentifier", "db-instance-id")
    )
    found: dict[str, Answer] = {}
    for start in range(0, len(names), FILTER_MOST):
        filters = [{"Name": by, "Values": names[start : start + FILTER_MOST]}]
        for page in family.read(clients).get_paginator(method).paginate(Filters=filters):
            found |= {row[identifier].lower(): row for row in page[member]}
    return found


def _of_snapshot(operation: Operation, snapshot: Mapping[str, Any] | None, pace: Pace) -> Progress:
    if snapshot is None or snapshot["Status"] in GOING:
        return absent(operation, pace)
    detail = {
        "size_gib": int(snapshot.get("AllocatedStorage") or 0),
        "encrypted": bool(snapshot.get("Encrypted") or snapshot.get("StorageEncrypted")),
        "kms_key_id": str(snapshot.get("KmsKeyId") or ""),
    }
    state = str(snapshot["Status"])
    if state == "available":
        return Progress(operation.external_id, OperationState.DONE, percent=100, detail=detail)
    if _FAILED.search(state):
        return _failed(operation, state)
    return running(operation, pace, min(99, int(snapshot.get("PercentProgress") or 0)))


def _of_database(operation: Operation, found: Mapping[str, Answer], pace: Pace) -> Progress:
    row = found.get(operation.external_id)
    if row is None:
        return absent(operation, pace)
    state = str(row.get("Status") or row.get("DBInstanceStatus") or "")
    if state == "available":
        return Progress(operation.external_id, OperationState.DONE, percent=100)
    if state in GOING:
        return absent(operation, pace, at_once=True)
    if _FAILED.search(state):
        return _failed(operation, state)
    return running(operation, pace, 0)


def _failed(operation: Operation, state: str) -> Progress:
    error: SnapfleetError = CloudFailed(f"AWS ended the {operation.kind} {operation.external_id} as {state!r}.")
    if "encryption" in state or "key" in state:
        error = Invalid(error.text, code="kms-key", advice="Give the role and the destination the use of the KMS key.")
    return Progress(operation.external_id, OperationState.FAILED, error=error, detail={"state_message": state})
