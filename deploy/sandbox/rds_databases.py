"""DB instances and DB clusters: made, described, modified, deleted, tagged; groups that they refer to.

"CreateDBInstance", "CreateDBCluster", "DescribeDBInstances", "DescribeDBClusters", "DeleteDBInstance",
"DeleteDBCluster", "AddTagsToResource" (RDS API reference). A cluster's content lives in its volume, not in its members.
"""

from typing import Any

from deploy.sandbox import relational
from deploy.sandbox.call import Call, operation
from deploy.sandbox.errors import AwsError, required
from deploy.sandbox.relational import Database, here

INSTANCE_FIELDS = {
    "db-instance-id": lambda one: one.name,
    "dbi-resource-id": lambda one: one.resource_id,
    "db-cluster-id": lambda one: one.spec.get("DBClusterIdentifier", ""),
    "engine": lambda one: one.spec["Engine"],
}
CLUSTER_FIELDS = {
    "db-cluster-id": lambda one: one.name,
    "db-cluster-resource-id": lambda one: one.resource_id,
    "engine": lambda one: one.spec["Engine"],
}
# Members of a request that the view shows under the same name, and those that it shows otherwise.
SAME = (
    "Engine", "EngineVersion", "EngineMode", "DBInstanceClass", "DBClusterInstanceClass", "AllocatedStorage",
    "StorageType", "Iops", "StorageThroughput", "MultiAZ", "PubliclyAccessible", "AvailabilityZone",
    "AvailabilityZones", "MasterUsername", "AutoMinorVersionUpgrade", "LicenseModel", "CopyTagsToSnapshot",
    "DeletionProtection", "NetworkType", "BackupRetentionPeriod", "PreferredBackupWindow",
    "PreferredMaintenanceWindow", "MaxAllocatedStorage", "PromotionTier", "Port", "DBName", "DatabaseName",
    "ServerlessV2ScalingConfiguration", "ReadReplicaSourceDBInstanceIdentifier",
)  # fmt: skip
GROUPS = {
    "DBSubnetGroup": ("DBSubnetGroupName", "DBSubnetGroupNotFoundFault"),
    "DBParameterGroup": ("DBParameterGroupName", "DBParameterGroupNotFound"),
    "DBClusterParameterGroup": ("DBClusterParameterGroupName", "DBClusterParameterGroupNotFound"),
    "OptionGroup": ("OptionGroupName", "OptionGroupNotFoundFault"),
}


def spec_of(call: Call, parameters: dict, engine: str) -> dict[str, Any]:
    """What the view of a new database shows, of what the request says; groups must exist."""
    spec = {name: parameters[name] for name in SAME if parameters.get(name) is not None}
    spec["Engine"] = engine
    spec.setdefault("Port", 3306 if "mysql" in engine or engine == "mariadb" else 27017 if engine == "docdb" else 5432)
    spec["IAMDatabaseAuthenticationEnabled"] = bool(parameters.get("EnableIAMDatabaseAuthentication"))
    groups = parameters.get("VpcSecurityGroupIds") or ["sg-default"]
    spec["VpcSecurityGroups"] = [{"VpcSecurityGroupId": one, "Status": "active"} for one in groups]
    if parameters.get("EnableCloudwatchLogsExports"):
        spec["EnabledCloudwatchLogsExports"] = parameters["EnableCloudwatchLogsExports"]
    spec["group names"] = {kind: chosen_group(call, parameters, kind) for kind in GROUPS}
    if parameters.get("ScalingConfiguration"):
        spec["ScalingConfigurationInfo"] = parameters["ScalingConfiguration"]
    if parameters.get("CACertificateIdentifier"):
        spec["CACertificateIdentifier"] = parameters["CACertificateIdentifier"]
    return spec


def chosen_group(call: Call, parameters: dict, kind: str) -> str:
    member, fault = GROUPS[kind]
    name = parameters.get(member)
    if name and not name.startswith("default") and (kind, name) not in here(call).groups:
        raise AwsError(fault, f"{kind} {name} not found.", 404)
    return name or "default"


def instance_view(one: Database, now: Any) -> dict[str, Any]:
    spec = dict(one.spec)
    groups = spec.pop("group names")
    certificate = spec.get("CACertificateIdentifier", "rds-ca-rsa2048-g1")
    return {
        **spec,
        "DBInstanceIdentifier": one.name,
        "DBInstanceStatus": one.state(now),
        "DbiResourceId": one.resource_id,
        "DBInstanceArn": one.arn,
        "InstanceCreateTime": one.created_at,
        "StorageEncrypted": one.key is not None,
        "CACertificateIdentifier": certificate,
        "Endpoint": {"Address": f"{one.name}.sandbox", "Port": spec["Port"]},
        "DBSubnetGroup": {"DBSubnetGroupName": groups["DBSubnetGroup"]},
        "DBParameterGroups": [{"DBParameterGroupName": groups["DBParameterGroup"]}],
        "OptionGroupMemberships": [{"OptionGroupName": groups["OptionGroup"], "Status": "in-sync"}],
        "TagList": relational.tag_list(one.tags),
    }


def cluster_view(call: Call, one: Database) -> dict[str, Any]:
    spec = dict(one.spec)
    groups = spec.pop("group names")
    mine = [row for row in here(call).instances.values() if row.spec.get("DBClusterIdentifier") == one.name]
    members = [
        {
            "DBInstanceIdentifier": row.name,
            "IsClusterWriter": number == 0,
            "PromotionTier": row.spec.get("PromotionTier", 1),
            "DBClusterParameterGroupStatus": "in-sync",
        }
        for number, row in enumerate(mine)
    ]
    return {
        **spec,
        "DBClusterIdentifier": one.name,
        "Status": one.state(call.now),
        "DbClusterResourceId": one.resource_id,
        "DBClusterArn": one.arn,
        "ClusterCreateTime": one.created_at,
        "StorageEncrypted": one.key is not None,
        "DBSubnetGroup": groups["DBSubnetGroup"],
        "DBClusterParameterGroup": groups["DBClusterParameterGroup"],
        "DBClusterMembers": members,
        "TagList": relational.tag_list(one.tags),
    }


def add_instance(call: Call, parameters: dict, spec: dict[str, Any], key: str | None, rows: dict[str, str]) -> Database:
    name = relational.check_name(required(parameters, "DBInstanceIdentifier"), 63)
    if name in here(call).instances:
        raise AwsError("DBInstanceAlreadyExists", "DB instance already exists")
    return here(call).instances.setdefault(name, _new(call, "db", name, spec, key, rows, parameters))


def add_cluster(call: Call, parameters: dict, spec: dict[str, Any], key: str | None, rows: dict[str, str]) -> Database:
    name = relational.check_name(required(parameters, "DBClusterIdentifier"), 63)
    if name in here(call).clusters:
        raise AwsError("DBClusterAlreadyExistsFault", "DB Cluster already exists")
    return here(call).clusters.setdefault(name, _new(call, "cluster", name, spec, key, rows, parameters))


def _new(call: Call, kind: str, name: str, spec: dict, key: str | None, rows: dict, parameters: dict) -> Database:
    ready_at = call.now + relational.seconds(call, "database_seconds")
    held = Database(
        name, relational.new_id(call, kind), relational.arn(call, kind, name), {**spec}, call.now, ready_at, dict(rows)
    )
    if key:
        held.spec["KmsKeyId"] = key
    held.tags = relational.given_tags(parameters)
    return held


@operation("rds", "CreateDBInstance")
def create_db_instance(call: Call, parameters: dict) -> dict:
    cluster = parameters.get("DBClusterIdentifier")
    spec = spec_of(call, parameters, required(parameters, "Engine"))
    spec["DBInstanceClass"] = required(parameters, "DBInstanceClass")
    key = None
    if cluster:
        held = find_cluster(call, cluster)
        if held.state(call.now) not in ("available", "backing-up"):
            raise AwsError("InvalidDBClusterStateFault", f"Cluster {cluster} is {held.state(call.now)}.")
        spec["DBClusterIdentifier"], spec["Port"] = held.name, held.spec["Port"]
        spec["group names"]["DBSubnetGroup"] = held.spec["group names"]["DBSubnetGroup"]
    else:
        key = relational.new_key(call, parameters.get("KmsKeyId"), bool(parameters.get("StorageEncrypted")))
        spec.setdefault("AllocatedStorage", 20)
    return {"DBInstance": instance_view(add_instance(call, parameters, spec, key, {}), call.now)}


@operation("rds", "CreateDBCluster")
def create_db_cluster(call: Call, parameters: dict) -> dict:
    spec = spec_of(call, parameters, required(parameters, "Engine"))
    spec.setdefault("EngineMode", "provisioned")
    encrypted = bool(parameters.get("StorageEncrypted")) or spec["EngineMode"] == "serverless"
    key = relational.new_key(call, parameters.get("KmsKeyId"), encrypted)
    return {"DBCluster": cluster_view(call, add_cluster(call, parameters, spec, key, {}))}


def find_instance(call: Call, name: str) -> Database:
    found = here(call).instances.get((name or "").lower())
    if found is None:
        raise AwsError("DBInstanceNotFound", f"DBInstance {name} not found.", 404)
    return found


def find_cluster(call: Call, name: str) -> Database:
    found = here(call).clusters.get((name or "").lower())
    if found is None:
        raise AwsError("DBClusterNotFoundFault", f"DBCluster {name} not found.", 404)
    return found


@operation("rds", "DescribeDBInstances")
def describe_db_instances(call: Call, parameters: dict) -> dict:
    name = parameters.get("DBInstanceIdentifier")
    rows = [find_instance(call, name)] if name else list(here(call).instances.values())
    some, marker = relational.paged(relational.filtered(call, rows, parameters, INSTANCE_FIELDS), parameters)
    return {"DBInstances": [instance_view(one, call.now) for one in some], "Marker": marker}


@operation("rds", "DescribeDBClusters")
def describe_db_clusters(call: Call, parameters: dict) -> dict:
    name = parameters.get("DBClusterIdentifier")
    rows = [find_cluster(call, name)] if name else list(here(call).clusters.values())
    some, marker = relational.paged(relational.filtered(call, rows, parameters, CLUSTER_FIELDS), parameters)
    return {"DBClusters": [cluster_view(call, one) for one in some], "Marker": marker}


@operation("rds", "ModifyDBInstance")
def modify_db_instance(call: Call, parameters: dict) -> dict:
    held = find_instance(call, required(parameters, "DBInstanceIdentifier"))
    _modify(held, parameters)
    new = (parameters.get("NewDBInstanceIdentifier") or held.name).lower()
    here(call).instances[new] = here(call).instances.pop(held.name)
    held.name = new
    return {"DBInstance": instance_view(held, call.now)}


@operation("rds", "ModifyDBCluster")
def modify_db_cluster(call: Call, parameters: dict) -> dict:
    held = find_cluster(call, required(parameters, "DBClusterIdentifier"))
    _modify(held, parameters)
    return {"DBCluster": cluster_view(call, held)}


def _modify(held: Database, parameters: dict) -> None:
    held.spec |= {name: parameters[name] for name in SAME if parameters.get(name) is not None}


@operation("rds", "DeleteDBInstance")
def delete_db_instance(call: Call, parameters: dict) -> dict:
    held = find_instance(call, required(parameters, "DBInstanceIdentifier"))
    _check_deletion(held, parameters, member="DBClusterIdentifier" in held.spec)
    del here(call).instances[held.name]
    return {"DBInstance": {**instance_view(held, call.now), "DBInstanceStatus": "deleting"}}


@operation("rds", "DeleteDBCluster")
def delete_db_cluster(call: Call, parameters: dict) -> dict:
    held = find_cluster(call, required(parameters, "DBClusterIdentifier"))
    _check_deletion(held, parameters, member=False)
    if any(row.spec.get("DBClusterIdentifier") == held.name for row in here(call).instances.values()):
        raise AwsError("InvalidDBClusterStateFault", "Cluster cannot be deleted, it still contains DB instances.")
    del here(call).clusters[held.name]
    return {"DBCluster": {**cluster_view(call, held), "Status": "deleting"}}


def _check_deletion(held: Database, parameters: dict, member: bool) -> None:
    if held.spec.get("DeletionProtection"):
        raise AwsError("InvalidParameterCombination", "Cannot delete protected DB: disable deletion protection first.")
    if not member and not parameters.get("SkipFinalSnapshot") and not parameters.get("FinalDBSnapshotIdentifier"):
        raise AwsError("InvalidParameterCombination", "FinalDBSnapshotIdentifier is required unless it is skipped.")


def _named(call: Call, parameters: dict) -> Any:
    name = required(parameters, "ResourceName")
    for one in here(call).everything():
        if one.arn == name:
            return one
    code = "DBInstanceNotFound" if ":db:" in name else "DBSnapshotNotFound"
    code = "DBClusterNotFoundFault" if ":cluster:" in name else code
    raise AwsError(code, f"{name} not found.", 404)


@operation("rds", "AddTagsToResource")
def add_tags_to_resource(call: Call, parameters: dict) -> dict:
    _named(call, parameters).tags |= relational.given_tags(parameters)
    return {}


@operation("rds", "RemoveTagsFromResource")
def remove_tags_from_resource(call: Call, parameters: dict) -> dict:
    held = _named(call, parameters)
    for key in parameters.get("TagKeys") or []:
        held.tags.pop(key, None)
    return {}


@operation("rds", "ListTagsForResource")
def list_tags_for_resource(call: Call, parameters: dict) -> dict:
    return {"TagList": relational.tag_list(_named(call, parameters).tags)}


def _create_group(kind: str) -> None:
    member = GROUPS[kind][0]

    @operation("rds", f"Create{kind}")
    def create(call: Call, parameters: dict) -> dict:
        name = required(parameters, member)
        here(call).groups[kind, name] = {
            member: name,
            "persistent": "TDE" in (parameters.get("OptionGroupDescription") or ""),
        }
        return {kind: {member: name}}


for _kind in GROUPS:
    _create_group(_kind)


@operation("rds", "DescribeOptionGroups")
def describe_option_groups(call: Call, parameters: dict) -> dict:
    wanted = parameters.get("OptionGroupName")
    found = [one for (kind, name), one in here(call).groups.items() if kind == "OptionGroup" and wanted in (None, name)]
    if wanted and not found and not wanted.startswith("default"):
        raise AwsError("OptionGroupNotFoundFault", f"Specified OptionGroupName: {wanted} not found.", 404)
    options = [{"OptionName": "TDE", "Persistent": True, "Permanent": True}]
    rows = [
        {"OptionGroupName": one["OptionGroupName"], "Options": options if one["persistent"] else []} for one in found
    ]
    return {"OptionGroupsList": rows}
