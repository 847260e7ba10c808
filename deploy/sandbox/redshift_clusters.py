"""Redshift clusters: made, described, renamed, deleted, tagged; what they refer to, and their copying to a region.

"CreateCluster", "DescribeClusters", "ModifyCluster", "DeleteCluster", "EnableSnapshotCopy", "CreateSnapshotCopyGrant",
"CreateTags" (Redshift API reference); "Managing clusters" (management guide).
"""

from typing import Any

from deploy.sandbox import redshift, relational
from deploy.sandbox.call import Call, operation
from deploy.sandbox.errors import AwsError, required
from deploy.sandbox.redshift import here
from deploy.sandbox.relational import Database

# Members of a request that the view shows under the same name.
SAME = (
    "NodeType", "NumberOfNodes", "DBName", "MasterUsername", "AvailabilityZone", "PreferredMaintenanceWindow",
    "AutomatedSnapshotRetentionPeriod", "ManualSnapshotRetentionPeriod", "AllowVersionUpgrade", "PubliclyAccessible",
    "EnhancedVpcRouting", "MaintenanceTrackName", "SnapshotScheduleIdentifier", "DefaultIamRoleArn", "IpAddressType",
    "MasterPasswordSecretKmsKeyId",
)  # fmt: skip
_GROUPS = {
    "ClusterSubnetGroup": ("ClusterSubnetGroupName", "ClusterSubnetGroupNotFoundFault"),
    "ClusterParameterGroup": ("ClusterParameterGroupName", "ClusterParameterGroupNotFound"),
}


def spec_of(call: Call, parameters: dict) -> dict[str, Any]:
    """What the view of a new cluster shows of a request; groups must exist."""
    spec = {name: parameters[name] for name in SAME if parameters.get(name) is not None}
    for kind, (member, fault) in _GROUPS.items():
        name = parameters.get(member)
        if name and not name.startswith("default") and (kind, name) not in here(call).groups:
            raise AwsError(fault, f"{kind} {name} not found.", 400)
    spec["ClusterSubnetGroupName"] = parameters.get("ClusterSubnetGroupName") or "default"
    group = parameters.get("ClusterParameterGroupName") or "default.redshift-2.0"
    spec["ClusterParameterGroups"] = [{"ParameterGroupName": group, "ParameterApplyStatus": "in-sync"}]
    groups = parameters.get("VpcSecurityGroupIds") or ["sg-default"]
    spec["VpcSecurityGroups"] = [{"VpcSecurityGroupId": one, "Status": "active"} for one in groups]
    spec["IamRoles"] = [{"IamRoleArn": one, "ApplyStatus": "in-sync"} for one in parameters.get("IamRoles") or []]
    spec["port"] = int(parameters.get("Port") or 5439)
    spec["MultiAZ"] = "Enabled" if parameters.get("MultiAZ") else "Disabled"
    relocation = "enabled" if parameters.get("AvailabilityZoneRelocation") else "disabled"
    spec["AvailabilityZoneRelocationStatus"] = relocation
    if parameters.get("ManageMasterPassword"):
        spec["MasterPasswordSecretArn"] = f"arn:aws:secretsmanager:{call.region}:{call.account}:secret:redshift"
    if parameters.get("ElasticIp"):
        spec["ElasticIpStatus"] = {"ElasticIp": parameters["ElasticIp"], "Status": "active"}
    spec.setdefault("AvailabilityZone", f"{call.region}a")
    spec.setdefault("NumberOfNodes", 1)
    return spec


def view(one: Database, now: Any) -> dict[str, Any]:
    spec = {name: value for name, value in one.spec.items() if name not in ("port", "restored")}
    restored = one.spec.get("restored")
    status = {"RestoreStatus": {"Status": "completed" if now >= one.ready_at else "restoring"}} if restored else {}
    return {
        **spec,
        **status,
        "ClusterIdentifier": one.name,
        "ClusterStatus": one.state(now),
        "ClusterNamespaceArn": one.arn.replace(":cluster:", ":namespace:").rsplit(":", 1)[0] + f":{one.resource_id}",
        "ClusterCreateTime": one.created_at,
        "Encrypted": one.key is not None,
        "Endpoint": {"Address": f"{one.name}.sandbox", "Port": one.spec["port"]},
        "Tags": relational.tag_list(one.tags),
    }


def add(call: Call, parameters: dict, spec: dict[str, Any], key: str | None, rows: dict, seconds: str) -> Database:
    name = redshift.check_name(required(parameters, "ClusterIdentifier"))
    if name in here(call).clusters:
        raise AwsError("ClusterAlreadyExists", f"Cluster {name} already exists.")
    ready_at = call.now + relational.seconds(call, seconds)
    held = Database(name, redshift.guid(call), arn(call, "cluster", name), spec, call.now, ready_at, dict(rows))
    held.tags = relational.given_tags(parameters)
    if key:
        held.spec["KmsKeyId"] = key
    return here(call).clusters.setdefault(name, held)


def arn(call: Call, kind: str, name: str) -> str:
    return f"arn:aws:redshift:{call.region}:{call.account}:{kind}:{name}"


def find(call: Call, name: str) -> Database:
    found = here(call).clusters.get((name or "").lower())
    if found is None:
        raise AwsError("ClusterNotFound", f"Cluster {name} not found.", 404)
    return found


@operation("redshift", "CreateCluster")
def create_cluster(call: Call, parameters: dict) -> dict:
    required(parameters, "MasterUsername")
    required(parameters, "NodeType")
    key = redshift.new_key(call, parameters.get("KmsKeyId"), bool(parameters.get("Encrypted")))
    held = add(call, parameters, spec_of(call, parameters), key, {}, "database_seconds")
    return {"Cluster": view(held, call.now)}


@operation("redshift", "DescribeClusters")
def describe_clusters(call: Call, parameters: dict) -> dict:
    name = parameters.get("ClusterIdentifier")
    held = [find(call, name)] if name else list(here(call).clusters.values())
    some, marker = relational.paged(held, parameters)
    return {"Clusters": [view(one, call.now) for one in some], "Marker": marker}


@operation("redshift", "ModifyCluster")
def modify_cluster(call: Call, parameters: dict) -> dict:
    held = find(call, required(parameters, "ClusterIdentifier"))
    if held.state(call.now) != "available":
        raise AwsError("InvalidClusterState", f"{held.name} is {held.state(call.now)}.")
    held.spec |= {name: parameters[name] for name in SAME if parameters.get(name) is not None}
    if parameters.get("NewClusterIdentifier"):
        new = redshift.check_name(parameters["NewClusterIdentifier"])
        if new in here(call).clusters:
            raise AwsError("ClusterAlreadyExists", f"Cluster {new} already exists.")
        here(call).clusters[new] = here(call).clusters.pop(held.name)
        held.name, held.arn = new, arn(call, "cluster", new)
    return {"Cluster": view(held, call.now)}


@operation("redshift", "DeleteCluster")
def delete_cluster(call: Call, parameters: dict) -> dict:
    held = find(call, required(parameters, "ClusterIdentifier"))
    if not parameters.get("SkipFinalClusterSnapshot") and not parameters.get("FinalClusterSnapshotIdentifier"):
        raise AwsError("InvalidParameterCombination", "FinalClusterSnapshotIdentifier is required unless skipped.")
    del here(call).clusters[held.name]
    return {"Cluster": {**view(held, call.now), "ClusterStatus": "deleting"}}


@operation("redshift", "EnableSnapshotCopy")
def enable_snapshot_copy(call: Call, parameters: dict) -> dict:
    held, region = find(call, required(parameters, "ClusterIdentifier")), required(parameters, "DestinationRegion")
    if held.spec.get("ClusterSnapshotCopyStatus"):
        raise AwsError("SnapshotCopyAlreadyEnabledFault", f"{held.name} copies its snapshots already.")
    if region == call.region:
        raise AwsError("UnknownSnapshotCopyRegionFault", "The destination is the cluster's own region.")
    grant = parameters.get("SnapshotCopyGrantName")
    if grant and grant not in redshift.there(call, call.account, region).grants:
        raise AwsError("SnapshotCopyGrantNotFoundFault", f"There is no grant {grant} in {region}.")
    if held.key and not grant:
        raise AwsError("SnapshotCopyGrantNotFoundFault", "An encrypted cluster needs a grant in the destination.")
    held.spec["ClusterSnapshotCopyStatus"] = {
        "DestinationRegion": region,
        "RetentionPeriod": parameters.get("RetentionPeriod") or 7,
        "ManualSnapshotRetentionPeriod": parameters.get("ManualSnapshotRetentionPeriod") or -1,
        "SnapshotCopyGrantName": grant,
    }
    return {"Cluster": view(held, call.now)}


@operation("redshift", "DisableSnapshotCopy")
def disable_snapshot_copy(call: Call, parameters: dict) -> dict:
    held = find(call, required(parameters, "ClusterIdentifier"))
    held.spec.pop("ClusterSnapshotCopyStatus", None)
    return {"Cluster": view(held, call.now)}


@operation("redshift", "CreateSnapshotCopyGrant")
def create_snapshot_copy_grant(call: Call, parameters: dict) -> dict:
    name = redshift.check_name(required(parameters, "SnapshotCopyGrantName"))
    if name in here(call).grants:
        raise AwsError("SnapshotCopyGrantAlreadyExistsFault", f"The grant {name} exists already.")
    here(call).grants[name] = redshift.new_key(call, parameters.get("KmsKeyId"), encrypted=True) or ""
    shown = {"SnapshotCopyGrantName": name, "KmsKeyId": here(call).grants[name]}
    return {"SnapshotCopyGrant": {**shown, "Tags": parameters.get("Tags") or []}}


@operation("redshift", "CreateTags")
def create_tags(call: Call, parameters: dict) -> dict:
    held = here(call).tagged(required(parameters, "ResourceName"))
    if held is None:
        raise AwsError("ResourceNotFoundFault", f"{parameters['ResourceName']} not found.", 404)
    held |= relational.given_tags(parameters)
    return {}


@operation("redshift", "DeleteTags")
def delete_tags(call: Call, parameters: dict) -> dict:
    held = here(call).tagged(required(parameters, "ResourceName")) or {}
    for key in parameters.get("TagKeys") or []:
        held.pop(key, None)
    return {}


def _create_group(kind: str) -> None:
    member = _GROUPS[kind][0] if kind == "ClusterSubnetGroup" else "ParameterGroupName"

    @operation("redshift", f"Create{kind}")
    def create(call: Call, parameters: dict) -> dict:
        name = required(parameters, member)
        here(call).groups[kind, name] = {}
        return {kind: {member: name}}


for _kind in _GROUPS:
    _create_group(_kind)
