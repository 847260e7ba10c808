"""Redshift's provisioned clusters and their snapshots: a `House` (workers.aws.redshift_snap).

Names as in the Redshift API reference. Our id of a cluster is that of its namespace (ClusterNamespaceArn), which AWS
never reuses: an identifier can be changed, and another cluster may take it.
"""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from botocore.exceptions import ClientError

from tasks.errors import Gone
from workers.aws.ec2_copy import partition
from workers.aws.redshift_snap import AUTOMATED_DAYS, BACKSTOP_DAYS, Snap, gib, written
from workers.aws.session import Clients
from workers.aws.tags import read_tags, write_tags
from workers.driver import Resource

SERVERLESS = False
PAGE = 100  # MaxRecords at most
_STATES = {"available": "available", "final snapshot": "available", "failed": "failed", "deleted": "gone"}
# Ours: theirs, of what DescribeClusters shows.
_NAMES = {
    "identifier": "ClusterIdentifier", "state": "ClusterStatus", "node_type": "NodeType", "nodes": "NumberOfNodes",
    "database": "DBName", "admin": "MasterUsername", "version": "ClusterVersion", "public": "PubliclyAccessible",
    "routing": "EnhancedVpcRouting", "encrypted": "Encrypted", "kms_key_id": "KmsKeyId",
    "maintenance_window": "PreferredMaintenanceWindow", "track": "MaintenanceTrackName",
    "auto_upgrade": "AllowVersionUpgrade", "automated_retention": "AutomatedSnapshotRetentionPeriod",
    "manual_retention": "ManualSnapshotRetentionPeriod", "snapshot_schedule": "SnapshotScheduleIdentifier",
    "default_role": "DefaultIamRoleArn", "password_key": "MasterPasswordSecretKmsKeyId",
    "network_type": "IpAddressType",
}  # fmt: skip


def code_of(error: ClientError) -> str:
    """AWS's error code."""
    return str(error.response.get("Error", {}).get("Code", ""))


def page(clients: Clients, marker: str) -> tuple[list[Resource], str]:
    """One page of clusters, and the marker of the next, '' after the last."""
    more = {"Marker": marker} if marker else {}
    answer = clients.read("redshift").describe_clusters(MaxRecords=PAGE, **more)
    return [read_cluster(clients, one) for one in answer["Clusters"]], str(answer.get("Marker") or "")


def described(clients: Clients) -> dict[str, dict[str, Any]]:
    """All clusters there, by identifier."""
    pages = clients.read("redshift").get_paginator("describe_clusters").paginate(PaginationConfig={"PageSize": PAGE})
    return {one["ClusterIdentifier"]: one for answer in pages for one in answer["Clusters"]}


def cluster(clients: Clients, name: str) -> dict[str, Any] | None:
    """One cluster by identifier."""
    try:
        found: dict[str, Any] = clients.read("redshift").describe_clusters(ClusterIdentifier=name)["Clusters"][0]
    except ClientError as error:
        if code_of(error) != "ClusterNotFound":
            raise
        return None
    return found


def read_cluster(clients: Clients, one: Mapping[str, Any]) -> Resource:
    """A cluster with all that a restore needs to make it again."""
    zoned = str(one.get("MultiAZ", "")).lower() == "enabled"
    found = {ours: one[theirs] for ours, theirs in _NAMES.items() if one.get(theirs) not in (None, "", [])}
    groups = [row["ParameterGroupName"] for row in one.get("ClusterParameterGroups", [])]
    more = {
        "arn": cluster_arn(clients, one["ClusterIdentifier"]),
        "port": one.get("Endpoint", {}).get("Port"),
        "subnet_group": _own(one.get("ClusterSubnetGroupName")),
        "parameter_group": _own(groups[0] if groups else ""),
        "security_group_ids": [row["VpcSecurityGroupId"] for row in one.get("VpcSecurityGroups", [])],
        "roles": [row["IamRoleArn"] for row in one.get("IamRoles", [])],
        "zone": "" if zoned else one.get("AvailabilityZone", ""),
        "multi_az": zoned,
        "relocation": str(one.get("AvailabilityZoneRelocationStatus", "")).lower() == "enabled",
        "managed_password": bool(one.get("MasterPasswordSecretArn")),
        "copy_region": (one.get("ClusterSnapshotCopyStatus") or {}).get("DestinationRegion", ""),
        "serverless": False,
    }
    attributes = {**found, **{name: value for name, value in more.items() if value not in (None, "", [])}}
    number = str(one.get("ClusterNamespaceArn") or "").rpartition(":")[2] or one["ClusterIdentifier"]
    tags = read_tags(one.get("Tags"))
    return Resource("redshift", number, clients.account, clients.region, one["ClusterIdentifier"], tags, attributes)


def _own(group: Any) -> str:
    """A group's name; '' for AWS's default one, which a restore gets by naming none."""
    name = str(group or "")
    return "" if name.startswith("default") else name


def cluster_arn(clients: Clients, name: str) -> str:
    """What CreateTags calls a cluster."""
    return f"arn:{partition(clients.region)}:redshift:{clients.region}:{clients.number()}:cluster:{name}"


def current(clients: Clients, resource: Resource) -> Resource:
    """The cluster as it is now, under whatever identifier. Raises Gone."""
    known = str(resource.attributes.get("identifier", ""))
    one = cluster(clients, known) if known else None
    found = read_cluster(clients, one) if one else None
    if found is not None and found.external_id == resource.external_id:
        return found
    for one in described(clients).values():
        found = read_cluster(clients, one)
        if found.external_id == resource.external_id:
            return found
    raise Gone(f"{known or resource.external_id} does not exist any more.")


def _read(clients: Clients, one: Mapping[str, Any]) -> Snap:
    name, source = str(one["SnapshotIdentifier"]), str(one["ClusterIdentifier"])
    owner, region = str(one.get("OwnerAccount") or clients.number()), clients.region
    arn = f"arn:{partition(region)}:redshift:{region}:{owner}:snapshot:{source}/{name}"
    total = float(one.get("TotalBackupSizeInMegaBytes") or 0)
    return Snap(
        name=name,
        arn=str(one.get("SnapshotArn") or arn),
        state=_STATES.get(str(one["Status"]), "creating"),
        source=source,
        created_at=written(one.get("SnapshotCreateTime")),
        owner=owner,
        size_gib=gib(total),
        encrypted=bool(one.get("Encrypted")),
        kms_key_id=str(one.get("KmsKeyId") or ""),
        percent=int(99 * min(1.0, float(one.get("BackupProgressInMegaBytes") or 0) / total)) if total else 0,
        shared_with=tuple(row["AccountId"] for row in one.get("AccountsWithRestoreAccess") or []),
        tags=read_tags(one.get("Tags")),
        carried=bool(one.get("SourceRegion")),
    )


def snapshot(clients: Clients, name: str) -> Snap | None:
    """Our own snapshot of this name."""
    try:
        rows = clients.read("redshift").describe_cluster_snapshots(SnapshotIdentifier=name)["Snapshots"]
    except ClientError as error:
        if code_of(error) != "ClusterSnapshotNotFound":
            raise
        return None
    return _read(clients, rows[0]) if rows else None


def snapshots(clients: Clients, *, since: str = "", owner: str = "") -> dict[str, Snap]:
    """All manual snapshots by name; those shared by `owner` by ARN."""
    asked: dict[str, Any] = {"SnapshotType": "manual", "PaginationConfig": {"PageSize": PAGE}}
    asked |= {"OwnerAccount": owner} if owner else {}
    asked |= {"StartTime": since} if since else {}
    pages = clients.read("redshift").get_paginator("describe_cluster_snapshots").paginate(**asked)
    found = [_read(clients, one) for answer in pages for one in answer["Snapshots"]]
    return {one.arn if owner else one.name: one for one in found}


def take(clients: Clients, client: Any, name: str, source: str, tags: Mapping[str, str]) -> Snap | None:
    """Begin a snapshot; None when there is one of this name."""
    try:
        made = client.create_cluster_snapshot(
            SnapshotIdentifier=name,
            ClusterIdentifier=source,
            ManualSnapshotRetentionPeriod=BACKSTOP_DAYS,
            Tags=write_tags(tags),
        )["Snapshot"]
    except ClientError as error:
        if code_of(error) != "ClusterSnapshotAlreadyExists":
            raise
        return None
    return _read(clients, made)


def carry(clients: Clients, target: Clients, resource: Resource, key: str, tags: Mapping[str, str]) -> str:
    """Have later snapshots copied to the target's region; the region to which they go now."""
    known = str(resource.attributes.get("copy_region", ""))
    if known:
        return known
    grant: dict[str, str] = {}
    if resource.attributes.get("encrypted"):
        grant = {"SnapshotCopyGrantName": _grant(target, key, tags)}
    try:
        clients.create("redshift").enable_snapshot_copy(
            ClusterIdentifier=resource.attributes["identifier"],
            DestinationRegion=target.region,
            RetentionPeriod=AUTOMATED_DAYS,
            ManualSnapshotRetentionPeriod=BACKSTOP_DAYS,
            **grant,
        )
    except ClientError as error:
        if code_of(error) != "SnapshotCopyAlreadyEnabledFault":
            raise
        return str(current(clients, resource).attributes.get("copy_region", ""))
    return target.region


def _grant(target: Clients, key: str, tags: Mapping[str, str]) -> str:
    """The grant in the destination region under which encrypted snapshots arrive; one for each key."""
    name = "snapfleet-" + hashlib.sha256(f"{target.region}|{key}".encode()).hexdigest()[:40]
    try:
        target.create("redshift").create_snapshot_copy_grant(
            SnapshotCopyGrantName=name, Tags=write_tags(tags), **({"KmsKeyId": key} if key else {})
        )
    except ClientError as error:
        if code_of(error) != "SnapshotCopyGrantAlreadyExistsFault":
            raise
    return name


def name_in(arn: str) -> str:
    """A snapshot's name from its ARN."""
    return arn.rpartition("/")[2]


def share(clients: Clients, snap: str, number: str) -> None:
    """Let another account restore a snapshot; twice changes nothing."""
    _ignoring(("AuthorizationAlreadyExists",), clients.read("redshift").authorize_snapshot_access, snap, number)


def unshare(clients: Clients, snap: str, number: str) -> None:
    """Take that back; what was not shared is fine."""
    _ignoring(("AuthorizationNotFound",), clients.read("redshift").revoke_snapshot_access, snap, number)


def _ignoring(codes: Sequence[str], call: Any, snap: str, number: str) -> None:
    try:
        call(SnapshotIdentifier=name_in(snap), AccountWithRestoreAccess=number)
    except ClientError as error:
        if code_of(error) not in codes:
            raise


def tags_of(_clients: Clients, snap: Snap) -> Mapping[str, str]:
    """The snapshot's tags, which come with it."""
    return snap.tags or {}


def tag(clients: Clients, arn: str, tags: Mapping[str, str]) -> None:
    """Add tags."""
    clients.read("redshift").create_tags(ResourceName=arn, Tags=write_tags(tags))


def delete(clients: Clients, name: str) -> None:
    """Delete a snapshot that nobody else may restore any more."""
    clients.read("redshift").delete_cluster_snapshot(SnapshotIdentifier=name)
