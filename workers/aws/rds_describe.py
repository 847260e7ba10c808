"""Looking at databases: what exists, and all of it that a restore needs to make it again.

Our id of a database is the one that AWS never reuses (DbiResourceId, DbClusterResourceId): an identifier can be
changed, and another database may take it ("Renaming a DB instance", RDS user guide).
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tasks.errors import Gone
from workers.aws.rds_calls import AURORA, DOCUMENTDB, FILTER_MOST, RDS, Answer, Family
from workers.aws.session import Clients
from workers.aws.tags import read_tags
from workers.driver import Resource, ResourcePage

# DescribeDBClusters of RDS also answers with DocumentDB's and Neptune's (API reference); RDS Custom is not snapshotted
# like the others.
_CLUSTER_ENGINES = ("aurora", "mysql", "postgres")
_OTHERS = ("docdb", "neptune", "custom-")
# Ours: theirs, for what both an instance and a cluster show.
_SHARED = {
    "engine": "Engine",
    "engine_version": "EngineVersion",
    "port": "Port",
    "kms_key_id": "KmsKeyId",
    "storage_type": "StorageType",
    "iops": "Iops",
    "storage_throughput": "StorageThroughput",
    "deletion_protection": "DeletionProtection",
    "copy_tags": "CopyTagsToSnapshot",
    "iam_auth": "IAMDatabaseAuthenticationEnabled",
    "logs": "EnabledCloudwatchLogsExports",
    "network_type": "NetworkType",
    "public": "PubliclyAccessible",
    "auto_minor_upgrade": "AutoMinorVersionUpgrade",
    "backup_retention": "BackupRetentionPeriod",
    "backup_window": "PreferredBackupWindow",
    "maintenance_window": "PreferredMaintenanceWindow",
    "size_gib": "AllocatedStorage",
}
_OF_INSTANCES = {
    "identifier": "DBInstanceIdentifier",
    "state": "DBInstanceStatus",
    "instance_class": "DBInstanceClass",
    "multi_az": "MultiAZ",
    "license_model": "LicenseModel",
    "max_storage": "MaxAllocatedStorage",
    "ca": "CACertificateIdentifier",
    "encrypted": "StorageEncrypted",
}
_OF_CLUSTERS = {
    "identifier": "DBClusterIdentifier",
    "state": "Status",
    "engine_mode": "EngineMode",
    "cluster_class": "DBClusterInstanceClass",
    "zones": "AvailabilityZones",
    "encrypted": "StorageEncrypted",
}
_OF_MEMBERS = {
    "identifier": "DBInstanceIdentifier",
    "class": "DBInstanceClass",
    "zone": "AvailabilityZone",
    "public": "PubliclyAccessible",
    "tier": "PromotionTier",
    "ca": "CACertificateIdentifier",
    "auto_minor_upgrade": "AutoMinorVersionUpgrade",
}


def discover(family: Family, clients: Clients, page: str | None) -> ResourcePage:
    """One page of databases of this family."""
    more = {"Marker": page} if page else {}
    if family is RDS:
        answer = clients.read("rds").describe_db_instances(MaxRecords=FILTER_MOST, **more)
        found = [_instance(clients, one) for one in answer["DBInstances"] if _is_plain(one)]
        return ResourcePage(tuple(found), answer.get("Marker") or None)
    answer = family.read(clients).describe_db_clusters(MaxRecords=FILTER_MOST, **more)
    clusters = [one for one in answer["DBClusters"] if _is_of(family, one)]
    members = _members(family, clients, [one["DBClusterIdentifier"] for one in clusters])
    found = [_cluster(family, clients, one, members) for one in clusters]
    return ResourcePage(tuple(found), answer.get("Marker") or None)


def describe(family: Family, clients: Clients, resource: Resource) -> Resource:
    """The database as it is now, under whatever identifier. Raises Gone when there is none with this resource id."""
    known = str(resource.attributes.get("identifier", ""))
    client = family.read(clients)
    if family is RDS:
        rows = client.describe_db_instances(Filters=[{"Name": "dbi-resource-id", "Values": [resource.external_id]}])
        found = [_instance(clients, one) for one in rows["DBInstances"]]
    elif family is AURORA:
        filters = [{"Name": "db-cluster-resource-id", "Values": [resource.external_id]}]
        rows = client.describe_db_clusters(Filters=filters)
        found = _clusters(family, clients, rows["DBClusters"])
    else:
        rows = client.describe_db_clusters(Filters=[{"Name": "db-cluster-id", "Values": [known]}])
        found = _clusters(family, clients, rows["DBClusters"])
    for one in found:
        if one.external_id == resource.external_id:
            return one
    raise Gone(f"{known or resource.external_id} does not exist any more.")


def _clusters(family: Family, clients: Clients, rows: Sequence[Answer]) -> list[Resource]:
    members = _members(family, clients, [one["DBClusterIdentifier"] for one in rows])
    return [_cluster(family, clients, one, members) for one in rows]


def _is_plain(one: Mapping[str, Any]) -> bool:
    return not one.get("DBClusterIdentifier") and not str(one["Engine"]).startswith(_OTHERS)


def _is_of(family: Family, one: Mapping[str, Any]) -> bool:
    if family is DOCUMENTDB:
        return bool(one["Engine"] == "docdb")
    return str(one["Engine"]).startswith(_CLUSTER_ENGINES)


def _members(family: Family, clients: Clients, clusters: Sequence[str]) -> dict[str, list[Answer]]:
    """The instances of these clusters, by cluster."""
    found: dict[str, list[Answer]] = {name: [] for name in clusters}
    if not clusters:
        return found
    filters = [{"Name": "db-cluster-id", "Values": list(clusters)}]
    for page in family.read(clients).get_paginator("describe_db_instances").paginate(Filters=filters):
        for one in page["DBInstances"]:
            found.setdefault(one["DBClusterIdentifier"], []).append(one)
    return found


def _taken(one: Mapping[str, Any], *tables: Mapping[str, str]) -> dict[str, Any]:
    names = {ours: theirs for table in tables for ours, theirs in table.items()}
    return {ours: one[theirs] for ours, theirs in names.items() if one.get(theirs) not in (None, "", [])}


def _instance(clients: Clients, one: Mapping[str, Any]) -> Resource:
    attributes = {
        **_taken(one, _SHARED, _OF_INSTANCES),
        **({"port": one["Endpoint"]["Port"]} if one.get("Endpoint", {}).get("Port") else {}),
        "subnet_group": _own(one.get("DBSubnetGroup", {}).get("DBSubnetGroupName", "")),
        "security_group_ids": _groups(one),
        "parameter_group": _first(one, "DBParameterGroups", "DBParameterGroupName"),
        "option_group": _first(one, "OptionGroupMemberships", "OptionGroupName"),
        **_directory(one),
    }
    if not one.get("MultiAZ"):
        attributes["zone"] = one.get("AvailabilityZone", "")
    name, tags = str(one["DBInstanceIdentifier"]), read_tags(one.get("TagList"))
    return Resource("rds", one["DbiResourceId"], clients.account, clients.region, name, tags, attributes)


def _cluster(
    family: Family, clients: Clients, one: Mapping[str, Any], members: Mapping[str, Iterable[Answer]]
) -> Resource:
    name = str(one["DBClusterIdentifier"])
    roles = {row["DBInstanceIdentifier"]: bool(row.get("IsClusterWriter")) for row in one.get("DBClusterMembers", [])}
    mine = [
        {
            **_taken(row, _OF_MEMBERS),
            "writer": roles.get(row["DBInstanceIdentifier"], False),
            "parameter_group": _first(row, "DBParameterGroups", "DBParameterGroupName"),
        }
        for row in members.get(name, ())
    ]
    mine.sort(key=lambda row: (not row["writer"], row["identifier"]))
    own = _tags(family, clients, one)
    attributes = {
        **_taken(one, _SHARED, _OF_CLUSTERS),
        "subnet_group": _own(one.get("DBSubnetGroup", "")),
        "parameter_group": _own(one.get("DBClusterParameterGroup", "")),
        "security_group_ids": _groups(one),
        "members": mine,
        "roles": [row["RoleArn"] for row in one.get("AssociatedRoles", []) if row.get("RoleArn")],
        "own_tags": own,
        **_directory(one),
        **_scaling(one),
    }
    # A tag on a member counts for the cluster: that is where other products look for it.
    given = {key: value for row in members.get(name, ()) for key, value in read_tags(row.get("TagList")).items()} | own
    return Resource(family.type, one["DbClusterResourceId"], clients.account, clients.region, name, given, attributes)


def _tags(family: Family, clients: Clients, one: Mapping[str, Any]) -> dict[str, str]:
    """RDS answers with tags; DocumentDB has to be asked for them cluster by cluster."""
    if family is not DOCUMENTDB:
        return read_tags(one.get("TagList"))
    return read_tags(clients.read("docdb").list_tags_for_resource(ResourceName=one["DBClusterArn"])["TagList"])


def _own(group: Any) -> str:
    """A group's name; '' for AWS's default one, which a restore gets by naming none."""
    name = str(group)
    return "" if name.startswith("default") else name


def _first(one: Mapping[str, Any], members: str, name: str) -> str:
    return _own(next((row[name] for row in one.get(members, [])), ""))


def _groups(one: Mapping[str, Any]) -> list[str]:
    return [row["VpcSecurityGroupId"] for row in one.get("VpcSecurityGroups", [])]


def _directory(one: Mapping[str, Any]) -> dict[str, Any]:
    member: Mapping[str, Any] = next(iter(one.get("DomainMemberships", [])), {})
    names = {"domain": member.get("Domain"), "domain_role": member.get("IAMRoleName")}
    return {name: value for name, value in names.items() if value}


def _scaling(one: Mapping[str, Any]) -> dict[str, Any]:
    """Capacity of Serverless, v2 or v1, as text: the units of v2 go by halves."""
    held = one.get("ServerlessV2ScalingConfiguration") or one.get("ScalingConfigurationInfo") or {}
    names = {"min_capacity": held.get("MinCapacity"), "max_capacity": held.get("MaxCapacity")}
    found: dict[str, Any] = {name: f"{value:g}" for name, value in names.items() if value is not None}
    if one.get("ScalingConfigurationInfo"):
        found["scaling"] = dict(one["ScalingConfigurationInfo"])
    return found
