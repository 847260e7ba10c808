"""Snapshots of Redshift clusters: taken, carried to another region, shared, restored from, deleted.

"CreateClusterSnapshot", "DescribeClusterSnapshots", "AuthorizeSnapshotAccess", "RevokeSnapshotAccess",
"RestoreFromClusterSnapshot", "DeleteClusterSnapshot" (Redshift API reference); "Sharing snapshots", "Cross-Region
snapshot copy" (management guide). That a carried manual snapshot has its source's name is how the console shows it.
"""

import re
from typing import Any

from deploy.sandbox import redshift, redshift_clusters, relational
from deploy.sandbox.call import Call, operation
from deploy.sandbox.errors import AwsError, required
from deploy.sandbox.redshift import Warehouses, here
from deploy.sandbox.relational import Database, DbSnapshot

_ARN = re.compile(r"arn:aws[a-z-]*:redshift:([\w-]+):(\d{12}):snapshot:([^/]+)/(.+)")
_TOLD = ("NodeType", "NumberOfNodes", "DBName", "MasterUsername", "AvailabilityZone", "EnhancedVpcRouting")


def view(one: DbSnapshot, now: Any) -> dict[str, Any]:
    spec = {name: value for name, value in one.spec.items() if name != "retention"}
    return {
        **spec,
        "SnapshotIdentifier": one.name,
        "SnapshotArn": one.arn,
        "SnapshotCreateTime": one.created_at,
        "Status": one.state(now),
        "SnapshotType": one.kind,
        "OwnerAccount": one.account,
        "Encrypted": one.key is not None,
        "KmsKeyId": one.key,
        "TotalBackupSizeInMegaBytes": 2048.0,
        "BackupProgressInMegaBytes": 20.48 * one.percent(now),
        "ManualSnapshotRetentionPeriod": one.spec.get("retention", -1),
        "AccountsWithRestoreAccess": [{"AccountId": who} for who in one.shared_with],
        "Tags": relational.tag_list(one.tags),
    }


def find(call: Call, name: str) -> DbSnapshot:
    found = here(call).snapshots.get((name or "").lower())
    if found is None:
        raise AwsError("ClusterSnapshotNotFound", f"Snapshot {name} not found.", 404)
    return found


def _retention(parameters: dict) -> int:
    days = int(parameters.get("ManualSnapshotRetentionPeriod") or -1)
    if days != -1 and not 1 <= days <= 3653:
        raise AwsError("InvalidRetentionPeriodFault", "ManualSnapshotRetentionPeriod is -1 or 1 to 3,653.")
    return days


@operation("redshift", "CreateClusterSnapshot")
def create_cluster_snapshot(call: Call, parameters: dict) -> dict:
    held = redshift_clusters.find(call, required(parameters, "ClusterIdentifier"))
    name, days = redshift.check_name(required(parameters, "SnapshotIdentifier")), _retention(parameters)
    kept = here(call)
    if name in kept.snapshots:
        raise AwsError("ClusterSnapshotAlreadyExists", f"The snapshot {name} exists already.")
    if held.state(call.now) != "available":
        raise AwsError("InvalidClusterState", f"{held.name} is {held.state(call.now)}.")
    if len(kept.snapshots) >= call.config.redshift_snapshots_per_region:
        raise AwsError("ClusterSnapshotQuotaExceeded", "The request would exceed the number of cluster snapshots.")
    spec = {key: held.spec[key] for key in _TOLD if key in held.spec}
    spec |= {"ClusterIdentifier": held.name, "Port": held.spec["port"], "retention": days}
    made = _put(call, kept, name, spec, held.rows, held.key, relational.given_tags(parameters), "backup_seconds")
    fault = call.spoiled(held.name)
    if fault is not None and fault.kind == "snapshot_error":
        made.failure = fault.message
    copying = held.spec.get("ClusterSnapshotCopyStatus")
    if copying:
        call.world.at(made.ready_at, lambda: _carry(call, made, copying))
    return {"Snapshot": view(made, call.now)}


def _put(
    call: Call, kept: Warehouses, name: str, spec: dict, rows: dict, key: str | None, tags: dict, lasts: str
) -> DbSnapshot:
    arn = f"arn:aws:redshift:{call.region}:{call.account}:snapshot:{spec['ClusterIdentifier']}/{name}"
    ready_at = call.now + relational.seconds(call, lasts)
    made = DbSnapshot(
        name, arn, call.account, call.region, False, spec, call.now, ready_at, dict(rows), key, tags=dict(tags)
    )
    kept.snapshots[name] = made
    return made


def _carry(call: Call, source: DbSnapshot, copying: dict[str, Any]) -> None:
    """A finished snapshot goes to the region that its cluster copies to, under the key of the grant there."""
    region = copying["DestinationRegion"]
    kept = redshift.there(call, call.account, region)
    if source.name not in here(call).snapshots or source.failure:
        return
    key = kept.grants[copying["SnapshotCopyGrantName"]] if source.key else None
    away = Call(call.world, call.faults, call.principal, call.operation, call.account, region, source.ready_at)
    spec = {**source.spec, "SourceRegion": source.region, "retention": copying["ManualSnapshotRetentionPeriod"]}
    _put(away, kept, source.name, spec, source.rows, key, {}, "backup_copy_seconds")


def _visible(call: Call, parameters: dict) -> list[DbSnapshot]:
    """The caller's own, or those that another account has shared with it."""
    owner = parameters.get("OwnerAccount") or call.account
    kept = redshift.there(call, owner, call.region).snapshots.values()
    return [one for one in kept if owner == call.account or call.account in one.shared_with]


@operation("redshift", "DescribeClusterSnapshots")
def describe_cluster_snapshots(call: Call, parameters: dict) -> dict:
    found = _visible(call, parameters)
    name = (parameters.get("SnapshotIdentifier") or "").lower()
    if name:
        found = [one for one in found if one.name == name]
        if not found:
            raise AwsError("ClusterSnapshotNotFound", f"Snapshot {name} not found.", 404)
    since = redshift.moment(parameters.get("StartTime"))
    cluster, kind = parameters.get("ClusterIdentifier"), parameters.get("SnapshotType")
    rows = [
        one
        for one in found
        if (not cluster or one.spec["ClusterIdentifier"] == cluster)
        and (not kind or one.kind == kind)
        and (since is None or one.created_at >= since)
        and not relational.hidden(call, one, always=True)
    ]
    some, marker = relational.paged(rows, parameters)
    return {"Snapshots": [view(one, call.now) for one in some], "Marker": marker}


@operation("redshift", "AuthorizeSnapshotAccess")
def authorize_snapshot_access(call: Call, parameters: dict) -> dict:
    held, who = find(call, parameters.get("SnapshotIdentifier", "")), required(parameters, "AccountWithRestoreAccess")
    if held.state(call.now) != "available":
        raise AwsError("InvalidClusterSnapshotState", f"{held.name} is {held.state(call.now)}.")
    if who in held.shared_with:
        raise AwsError("AuthorizationAlreadyExists", f"{who} may restore {held.name} already.")
    if len(held.shared_with) >= redshift.SHARED_MOST:
        raise AwsError("AuthorizationQuotaExceeded", "A snapshot is shared with at most 20 accounts.")
    held.shared_with.append(who)
    return {"Snapshot": view(held, call.now)}


@operation("redshift", "RevokeSnapshotAccess")
def revoke_snapshot_access(call: Call, parameters: dict) -> dict:
    held, who = find(call, parameters.get("SnapshotIdentifier", "")), required(parameters, "AccountWithRestoreAccess")
    if who not in held.shared_with:
        raise AwsError("AuthorizationNotFound", f"{who} may not restore {held.name}.", 404)
    held.shared_with.remove(who)
    return {"Snapshot": view(held, call.now)}


@operation("redshift", "DeleteClusterSnapshot")
def delete_cluster_snapshot(call: Call, parameters: dict) -> dict:
    held = find(call, required(parameters, "SnapshotIdentifier"))
    if held.state(call.now) == "creating" or held.kind != "manual" or held.shared_with:
        raise AwsError(
            "InvalidClusterSnapshotState", f"{held.name} is {held.state(call.now)}, or others may still restore it."
        )
    del here(call).snapshots[held.name]
    return {"Snapshot": {**view(held, call.now), "Status": "deleted"}}


@operation("redshift", "RestoreFromClusterSnapshot")
def restore_from_cluster_snapshot(call: Call, parameters: dict) -> dict:
    source = _source(call, parameters)
    if source.state(call.now) != "available":
        raise AwsError("InvalidClusterSnapshotState", f"{source.name} is {source.state(call.now)}.")
    redshift.check_key(call, source)
    spec = redshift_clusters.spec_of(call, parameters)
    for name in _TOLD:
        if name in source.spec and parameters.get(name) is None:
            spec[name] = source.spec[name]
    if not parameters.get("AvailabilityZone"):
        spec["AvailabilityZone"] = f"{call.region}a"
    spec["port"] = int(parameters.get("Port") or source.spec["Port"])
    spec["restored"] = True
    key = redshift.new_key(call, parameters.get("KmsKeyId"), encrypted=False) or source.key
    request = {name: value for name, value in parameters.items() if name != "Tags"}  # the operation has none
    held: Database = redshift_clusters.add(call, request, spec, key, source.rows, "backup_restore_seconds")
    return {"Cluster": redshift_clusters.view(held, call.now)}


def _source(call: Call, parameters: dict) -> DbSnapshot:
    name, owner = parameters.get("SnapshotIdentifier"), parameters.get("OwnerAccount") or call.account
    if parameters.get("SnapshotArn"):
        found = _ARN.fullmatch(parameters["SnapshotArn"])
        if not found or found[1] != call.region:
            raise AwsError("ClusterSnapshotNotFound", f"{parameters['SnapshotArn']} not found.", 404)
        owner, name = found[2], found[4]
    held = redshift.there(call, owner, call.region).snapshots.get((name or "").lower())
    if held is None:
        raise AwsError("ClusterSnapshotNotFound", f"Snapshot {name} not found.", 404)
    if owner != call.account and call.account not in held.shared_with:
        raise AwsError("AccessToSnapshotDenied", f"{call.account} may not restore {name}.", 400)
    return held
