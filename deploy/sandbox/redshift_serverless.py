"""Snapshots of Redshift Serverless: taken of namespaces, carried, shared by policy, restored into a namespace, deleted.

"CreateSnapshot", "ListSnapshots", "PutResourcePolicy", "RestoreFromSnapshot", "DeleteSnapshot" (Redshift Serverless API
reference); "Snapshots and recovery points" (management guide): a namespace needs a workgroup for both, and a restore
replaces its database.
"""

import json
from typing import Any

from deploy.sandbox import redshift, relational, rest
from deploy.sandbox.call import Call, operation
from deploy.sandbox.describing import unseen
from deploy.sandbox.errors import AwsError, required
from deploy.sandbox.redshift import here
from deploy.sandbox.redshift_namespaces import (
    SERVICE,
    given_tags,
    missing,
    namespace,
    namespace_view,
    workgroup,
    workgroups_of,
)
from deploy.sandbox.relational import DbSnapshot

_PAGE = 100
_STATES = {"creating": "CREATING", "copying": "COPYING", "available": "AVAILABLE", "failed": "FAILED"}


def view(one: DbSnapshot, now: Any) -> dict[str, Any]:
    return {
        "snapshotName": one.name,
        "snapshotArn": one.arn,
        "namespaceName": one.spec["namespaceName"],
        "namespaceArn": one.spec["namespaceArn"],
        "adminUsername": one.spec.get("adminUsername"),
        "ownerAccount": one.account,
        "status": _STATES[one.state(now)],
        "kmsKeyId": one.key or "AWS_OWNED_KMS_KEY",
        "snapshotCreateTime": one.created_at,
        "snapshotRetentionPeriod": one.spec.get("retention", -1),
        "totalBackupSizeInMegaBytes": 2048.0,
        "backupProgressInMegaBytes": 20.48 * one.percent(now),
        "accountsWithRestoreAccess": list(one.shared_with),
    }


def find(call: Call, name: str) -> DbSnapshot:
    found = here(call).points.get((name or "").lower())
    if found is None:
        raise missing("snapshot", name)
    return found


@operation(SERVICE, "CreateSnapshot")
def create_snapshot(call: Call, parameters: dict) -> dict:
    held = namespace(call, required(parameters, "namespaceName"))
    name = redshift.check_name(required(parameters, "snapshotName"))
    if name in here(call).points:
        raise AwsError("ConflictException", f"The snapshot {name} exists already.", 400)
    if not workgroups_of(call, held.name) or namespace_view(held, call.now)["status"] != "AVAILABLE":
        raise AwsError("ConflictException", f"The namespace {held.name} has no workgroup, or is not available.", 400)
    if len(here(call).points) >= call.config.redshift_snapshots_per_region:
        raise AwsError("ServiceQuotaExceededException", "The number of snapshots would exceed its quota.", 400)
    spec = {"namespaceName": held.name, "namespaceArn": held.arn, "retention": parameters.get("retentionPeriod", -1)}
    spec |= {"adminUsername": held.spec.get("adminUsername")}
    made = _put(call, name, spec, held.rows, held.key, given_tags(parameters), "backup_seconds")
    fault = call.spoiled(held.name)
    if fault is not None and fault.kind == "snapshot_error":
        made.failure = fault.message
    if held.spec.get("copying"):
        call.world.at(made.ready_at, lambda: _carry(call, made, held.spec["copying"]))
    return {"snapshot": view(made, call.now)}


def _put(call: Call, name: str, spec: dict, rows: dict, key: str | None, tags: dict, lasts: str) -> DbSnapshot:
    arn = f"arn:aws:redshift-serverless:{call.region}:{call.account}:snapshot/{redshift.guid(call)}"
    ready_at = call.now + relational.seconds(call, lasts)
    made = DbSnapshot(
        name, arn, call.account, call.region, False, spec, call.now, ready_at, dict(rows), key, tags=dict(tags)
    )
    return here(call).points.setdefault(name, made)


def _carry(call: Call, source: DbSnapshot, copying: dict[str, Any]) -> None:
    region = copying["destinationRegion"]
    if source.name not in here(call).points or source.failure:
        return
    away = Call(call.world, call.faults, call.principal, call.operation, call.account, region, source.ready_at)
    key = redshift.new_key(away, copying["destinationKmsKeyId"], encrypted=False) if source.key else None
    spec = {**source.spec, "retention": copying["snapshotRetentionPeriod"]}
    made = _put(away, source.name, spec, source.rows, key, {}, "backup_copy_seconds")
    made.copied_from = source


def _visible(call: Call, parameters: dict) -> list[DbSnapshot]:
    owner = parameters.get("ownerAccount") or call.account
    kept = redshift.there(call, owner, call.region).points.values()
    return [one for one in kept if owner == call.account or call.account in one.shared_with]


@operation(SERVICE, "GetSnapshot")
def get_snapshot(call: Call, parameters: dict) -> dict:
    wanted = (parameters.get("snapshotName") or "").lower(), parameters.get("snapshotArn")
    found = [one for one in _visible(call, parameters) if one.name == wanted[0] or one.arn == wanted[1]]
    if not found:
        raise missing("snapshot", str(wanted[0] or wanted[1]))
    return {"snapshot": view(found[0], call.now)}


@operation(SERVICE, "ListSnapshots")
def list_snapshots(call: Call, parameters: dict) -> dict:
    since, name = redshift.moment(parameters.get("startTime")), parameters.get("namespaceName")
    rows = [
        one
        for one in _visible(call, parameters)
        if (since is None or one.created_at >= since)
        and (not name or one.spec["namespaceName"] == name)
        and not unseen(call, one.created_at)
    ]
    some, token = rest.paged(rows, parameters, _PAGE, "maxResults", "nextToken")
    return {"snapshots": [view(one, call.now) for one in some], "nextToken": token}


@operation(SERVICE, "DeleteSnapshot")
def delete_snapshot(call: Call, parameters: dict) -> dict:
    held = find(call, required(parameters, "snapshotName"))
    if held.state(call.now) == "creating":
        raise AwsError("ConflictException", f"{held.name} is being created.", 400)
    del here(call).points[held.name]
    here(call).policies.pop(held.arn, None)
    return {"snapshot": {**view(held, call.now), "status": "DELETED"}}


def _owned(call: Call, arn: str) -> DbSnapshot:
    held = next((one for one in here(call).points.values() if one.arn == arn), None)
    if held is None:
        raise missing("snapshot", arn)
    return held


@operation(SERVICE, "PutResourcePolicy")
def put_resource_policy(call: Call, parameters: dict) -> dict:
    """The principals of the policy are whom the snapshot is shared with."""
    held = _owned(call, required(parameters, "resourceArn"))
    names: list[str] = []
    try:
        for statement in json.loads(required(parameters, "policy"))["Statement"]:
            who = statement["Principal"]["AWS"]
            if "redshift-serverless:RestoreFromSnapshot" in statement["Action"]:
                names += [who] if isinstance(who, str) else who
    except (ValueError, KeyError, TypeError):
        raise AwsError("ValidationException", "The policy is malformed.", 400) from None
    held.shared_with = list(dict.fromkeys(name.split(":")[4] if name.startswith("arn:") else name for name in names))
    here(call).policies[held.arn] = parameters["policy"]
    return {"resourcePolicy": {"resourceArn": held.arn, "policy": parameters["policy"]}}


@operation(SERVICE, "GetResourcePolicy")
def get_resource_policy(call: Call, parameters: dict) -> dict:
    held = _owned(call, required(parameters, "resourceArn"))
    if held.arn not in here(call).policies:
        raise missing("resource policy of", held.arn)
    return {"resourcePolicy": {"resourceArn": held.arn, "policy": here(call).policies[held.arn]}}


@operation(SERVICE, "DeleteResourcePolicy")
def delete_resource_policy(call: Call, parameters: dict) -> dict:
    held = _owned(call, required(parameters, "resourceArn"))
    here(call).policies.pop(held.arn, None)
    held.shared_with = []
    return {}


@operation(SERVICE, "RestoreFromSnapshot")
def restore_from_snapshot(call: Call, parameters: dict) -> dict:
    """The namespace's database becomes the snapshot's; what was in it is gone."""
    held = namespace(call, required(parameters, "namespaceName"))
    group = workgroup(call, required(parameters, "workgroupName"))
    arn = parameters.get("snapshotArn")
    owner = arn.split(":")[4] if arn else parameters.get("ownerAccount")
    name = (parameters.get("snapshotName") or "").lower()
    found = [one for one in _visible(call, {"ownerAccount": owner}) if (one.arn == arn if arn else one.name == name)]
    if not found:
        raise missing("snapshot", str(arn or name))
    source = found[0]
    if source.state(call.now) != "available":
        raise AwsError("ConflictException", f"{source.name} is not available.", 400)
    if group.spec["namespaceName"] != held.name or call.now < group.ready_at:
        raise AwsError("ConflictException", f"{group.name} is no available workgroup of {held.name}.", 400)
    if namespace_view(held, call.now)["status"] != "AVAILABLE":
        raise AwsError("ConflictException", f"The namespace {held.name} is not available.", 400)
    redshift.check_key(call, source)
    held.rows.clear()
    held.rows.update(source.rows)
    held.busy_until = call.now + relational.seconds(call, "backup_restore_seconds")
    return {"namespace": namespace_view(held, call.now), "snapshotName": source.name}
