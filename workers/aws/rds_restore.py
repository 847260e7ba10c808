"""Restores of databases: a new one from a snapshot, its members, and taking a failed restore back.

Steps: restore-database {backup_id, id, options, tags}; settle-database {id, maintenance_window, max_storage};
restore-cluster {backup_id, id, engine, options, tags} -> cluster_id; create-member {cluster_id, id, class, ...}.
The new identifier is the token: what exists under it is adopted when it carries this step's key, and refused else.
What is left out gets AWS's default: default VPC, security group and parameter group ("Restoring to a DB instance").
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from tasks.errors import Gone, Invalid, Refused, SnapfleetError
from workers.aws.errors import translate, translated
from workers.aws.rds_backup import Tools, snapshot_tags
from workers.aws.rds_calls import Answer, Family
from workers.aws.session import Clients
from workers.aws.tags import is_ours, part_key, read_tags, write_tags
from workers.driver import TAG_JOB, Created, Deleted, RestoreStep, StepStarted

# Ours: theirs, for RestoreDBInstanceFromDBSnapshot, RestoreDBClusterFromSnapshot and CreateDBInstance.
_NAMES = {
    "class": "DBInstanceClass",
    "cluster_class": "DBClusterInstanceClass",
    "subnet_group": "DBSubnetGroupName",
    "security_groups": "VpcSecurityGroupIds",
    "option_group": "OptionGroupName",
    "zone": "AvailabilityZone",
    "zones": "AvailabilityZones",
    "multi_az": "MultiAZ",
    "public": "PubliclyAccessible",
    "port": "Port",
    "storage_type": "StorageType",
    "iops": "Iops",
    "storage_throughput": "StorageThroughput",
    "iam_auth": "EnableIAMDatabaseAuthentication",
    "deletion_protection": "DeletionProtection",
    "auto_minor_upgrade": "AutoMinorVersionUpgrade",
    "copy_tags": "CopyTagsToSnapshot",
    "ca": "CACertificateIdentifier",
    "logs": "EnableCloudwatchLogsExports",
    "domain": "Domain",
    "domain_role": "DomainIAMRoleName",
    "license_model": "LicenseModel",
    "network_type": "NetworkType",
    "backup_retention": "BackupRetentionPeriod",
    "backup_window": "PreferredBackupWindow",
    "maintenance_window": "PreferredMaintenanceWindow",
    "max_storage": "MaxAllocatedStorage",
    "kms_key": "KmsKeyId",
    "engine": "Engine",
    "engine_version": "EngineVersion",
    "engine_mode": "EngineMode",
    "tier": "PromotionTier",
}
_TAKEN = ("DBInstanceAlreadyExists", "DBClusterAlreadyExistsFault")
_INSTANCE = ("describe_db_instances", "DBInstances", "DBInstanceIdentifier", "DBInstanceArn", "db-instance-id")
_CLUSTER = ("describe_db_clusters", "DBClusters", "DBClusterIdentifier", "DBClusterArn", "db-cluster-id")


@dataclass(frozen=True)
class _Step:
    """One step to begin, with the tools."""

    tools: Tools
    clients: Clients
    kind: str
    params: Mapping[str, Any]
    key: str
    tags: Mapping[str, str]

    def need(self, name: str) -> str:
        """A param without which the step is no step. Raises Invalid."""
        value = self.params.get(name)
        if not isinstance(value, str) or not value:
            raise Invalid(f"The restore step {self.kind} lacks {name!r}.", code="bad-step")
        return value

    @property
    def own_key(self) -> str:
        """The same for this step for ever; another for another step under the same key."""
        return part_key(self.key, f"{self.kind}/{self.need('id')}")

    def request(self, *left_out: str) -> dict[str, Any]:
        """The params in AWS's names, and our tags in the same call."""
        given = {theirs: self.params[ours] for ours, theirs in _NAMES.items() if ours in self.params}
        tags, _ = snapshot_tags(self.own_key, self.tags, self.params.get("tags", {}))
        return {**{name: value for name, value in given.items() if name not in left_out}, "Tags": write_tags(tags)}


def start_step(tools: Tools, clients: Clients, step: RestoreStep, key: str, tags: Mapping[str, str]) -> StepStarted:
    """Begin one step of a restore plan whose references are resolved. Raises the family."""
    begin = _BEGIN.get(step.kind)
    if begin is None:
        raise Invalid(f"There is no restore step {step.kind!r} for {tools.family.type}.", code="bad-step")
    return begin(_Step(tools, clients, step.kind, step.params, key, tags))


def _restore_database(step: _Step) -> StepStarted:
    request = {
        **step.request(),
        "DBInstanceIdentifier": step.need("id"),
        "DBSnapshotIdentifier": step.need("backup_id"),
    }
    if step.params.get("parameter_group"):
        request["DBParameterGroupName"] = step.params["parameter_group"]
    return _made(step, "restore_db_instance_from_db_snapshot", request, _INSTANCE, "database")


def _settle_database(step: _Step) -> StepStarted:
    """What a restore does not take: the window for maintenance and how far storage may grow."""
    names = {ours: _NAMES[ours] for ours in ("maintenance_window", "max_storage") if ours in step.params}
    name = step.need("id")
    step.clients.read("rds").modify_db_instance(
        DBInstanceIdentifier=name,
        ApplyImmediately=True,
        **{theirs: step.params[ours] for ours, theirs in names.items()},
    )
    operation = step.tools.operation("database", name, step.clients.account, step.clients.region)
    return StepStarted((operation,), (), {"database_id": name})


def _restore_cluster(step: _Step) -> StepStarted:
    request = {
        **step.request(),
        "DBClusterIdentifier": step.need("id"),
        "SnapshotIdentifier": step.need("backup_id"),
        **_capacity(step.params),
    }
    if step.params.get("parameter_group"):
        request["DBClusterParameterGroupName"] = step.params["parameter_group"]
    return _made(step, "restore_db_cluster_from_snapshot", request, _CLUSTER, "cluster")


def _capacity(params: Mapping[str, Any]) -> dict[str, Any]:
    """Scaling of Serverless: v1 has a mode of its own, v2 is a range that members of class db.serverless use."""
    if params.get("engine_mode") == "serverless":
        held = dict(params.get("scaling") or {})
        limits = {"MinCapacity": params.get("min_capacity"), "MaxCapacity": params.get("max_capacity")}
        return {"ScalingConfiguration": held | {name: int(float(value)) for name, value in limits.items() if value}}
    if params.get("min_capacity") and params.get("max_capacity"):
        limits = {"MinCapacity": float(params["min_capacity"]), "MaxCapacity": float(params["max_capacity"])}
        return {"ServerlessV2ScalingConfiguration": limits}
    return {}


def _create_member(step: _Step) -> StepStarted:
    request = {
        **step.request(),
        "DBInstanceIdentifier": step.need("id"),
        "DBClusterIdentifier": step.need("cluster_id"),
    }
    if step.params.get("parameter_group"):
        request["DBParameterGroupName"] = step.params["parameter_group"]
    return _made(step, "create_db_instance", request, _INSTANCE, "member")


def _made(step: _Step, method: str, request: dict[str, Any], kind: tuple[str, ...], word: str) -> StepStarted:
    """Create under the chosen identifier, or adopt what this step created before."""
    family, name = step.tools.family, str(step.params["id"]).lower()
    found = _found(family, step.clients, kind, name)
    if found is None:
        with translated(method, guard=step.tools.pace.guard):
            try:
                getattr(step.clients.create(family.client), method)(**request)
            except ClientError as error:
                if error.response.get("Error", {}).get("Code") not in _TAKEN:
                    raise
                found = _found(family, step.clients, kind, name) or {}
    if found is not None and _tags(family, step.clients, found, kind).get(TAG_JOB) != step.own_key:
        raise Invalid(
            f"{name} exists already and is not of this restore.",
            code="identifier-taken",
            advice="Choose another --set id=... .",
        )
    operation = "cluster" if word == "cluster" else "database"
    began = step.tools.operation(operation, name, step.clients.account, step.clients.region)
    return StepStarted((began,), (Created(word, name),), {f"{word}_id": name})


def _found(family: Family, clients: Clients, kind: tuple[str, ...], name: str) -> Answer | None:
    method, member, _, _, by = kind
    rows = getattr(family.read(clients), method)(Filters=[{"Name": by, "Values": [name]}])[member]
    return rows[0] if rows else None


def _tags(family: Family, clients: Clients, found: Mapping[str, Any], kind: tuple[str, ...]) -> dict[str, str]:
    if "TagList" in found:
        return read_tags(found["TagList"])
    if kind[3] not in found:
        return {}
    return read_tags(family.read(clients).list_tags_for_resource(ResourceName=found[kind[3]])["TagList"])


def undo(family: Family, clients: Clients, created: Sequence[Created]) -> list[Deleted]:
    """Delete what a failed restore made, last made first, without a last snapshot: it came from one."""
    return [_undo_one(family, clients, one) for one in reversed(created)]


def _undo_one(family: Family, clients: Clients, one: Created) -> Deleted:
    kind = _CLUSTER if one.kind == "cluster" else _INSTANCE
    try:
        found = _found(family, clients, kind, one.external_id)
        if found is None or str(found.get("Status") or found.get("DBInstanceStatus")) == "deleting":
            return Deleted(one.external_id, "already-gone")
        if not is_ours(_tags(family, clients, found, kind), clients.account.installation):
            raise Refused(f"{one.external_id} does not carry our tag, so it stays.", code="not-ours")
        _delete(family, clients, one.kind, one.external_id, bool(found.get("DeletionProtection")))
    except SnapfleetError as error:
        return Deleted(one.external_id, "kept", error)
    except (ClientError, BotoCoreError) as error:
        refused = translate(error, operation=f"undo {one.kind}")
        gone = isinstance(refused, Gone)
        return Deleted(one.external_id, "already-gone" if gone else "kept", None if gone else refused)
    return Deleted(one.external_id, "deleted")


def _delete(family: Family, clients: Clients, kind: str, name: str, protected: bool) -> None:
    client = family.read(clients)
    if kind == "cluster":
        if protected:
            client.modify_db_cluster(DBClusterIdentifier=name, DeletionProtection=False, ApplyImmediately=True)
        client.delete_db_cluster(DBClusterIdentifier=name, SkipFinalSnapshot=True)
        return
    if protected:
        client.modify_db_instance(DBInstanceIdentifier=name, DeletionProtection=False, ApplyImmediately=True)
    if kind == "member":
        client.delete_db_instance(DBInstanceIdentifier=name)
    else:
        client.delete_db_instance(DBInstanceIdentifier=name, SkipFinalSnapshot=True, DeleteAutomatedBackups=True)


_BEGIN: Mapping[str, Callable[[_Step], StepStarted]] = {
    "restore-database": _restore_database,
    "settle-database": _settle_database,
    "restore-cluster": _restore_cluster,
    "create-member": _create_member,
}
