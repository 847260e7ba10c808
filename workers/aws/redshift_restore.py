"""Restores of warehouses: a new cluster, or a namespace of Redshift Serverless, and taking a failed restore back.

Steps: restore-cluster {backup_id, id, options, tags} -> cluster; name-cluster {cluster, id} -> cluster_id;
make-namespace {id, workgroup, options, tags} -> namespace, workgroup; restore-namespace {backup_id, namespace,
workgroup ('' for its only one)}.

RestoreFromClusterSnapshot takes no tags, and a name of the operator's choice could be somebody else's cluster. So a
cluster is restored under a name made from the step's key, tagged, and given its own name when it is there: what exists
under the key's name is ours, whichever call was lost. What is left out gets AWS's default.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import ClientError

from tasks.errors import Invalid, NotReady, Refused
from workers.aws import redshift_clusters, redshift_serverless
from workers.aws.errors import translated
from workers.aws.rds_backup import snapshot_tags
from workers.aws.redshift_backup import Tools
from workers.aws.redshift_clusters import code_of
from workers.aws.redshift_copy import restore_or_find
from workers.aws.redshift_copying import CLUSTER
from workers.aws.redshift_serverless import NAMESPACE, SERVICE, WORKGROUP, arn_of
from workers.aws.session import Clients
from workers.aws.tags import is_ours, name_for, part_key, read_tags
from workers.driver import TAG_JOB, Created, Point, RestoreStep, StepStarted

# Ours: theirs, for RestoreFromClusterSnapshot.
_CLUSTER_NAMES = {
    "node_type": "NodeType", "nodes": "NumberOfNodes", "subnet_group": "ClusterSubnetGroupName",
    "security_groups": "VpcSecurityGroupIds", "parameter_group": "ClusterParameterGroupName",
    "zone": "AvailabilityZone", "multi_az": "MultiAZ", "public": "PubliclyAccessible", "elastic_ip": "ElasticIp",
    "port": "Port", "routing": "EnhancedVpcRouting", "roles": "IamRoles", "default_role": "DefaultIamRoleArn",
    "kms_key": "KmsKeyId", "maintenance_window": "PreferredMaintenanceWindow", "track": "MaintenanceTrackName",
    "auto_upgrade": "AllowVersionUpgrade", "automated_retention": "AutomatedSnapshotRetentionPeriod",
    "manual_retention": "ManualSnapshotRetentionPeriod", "relocation": "AvailabilityZoneRelocation",
    "snapshot_schedule": "SnapshotScheduleIdentifier", "managed_password": "ManageMasterPassword",
    "password_key": "MasterPasswordSecretKmsKeyId", "network_type": "IpAddressType",
}  # fmt: skip
_NAMESPACE_NAMES = {
    "database": "dbName", "roles": "iamRoles", "default_role": "defaultIamRoleArn", "kms_key": "kmsKeyId",
    "logs": "logExports", "managed_password": "manageAdminPassword", "password_key": "adminPasswordSecretKmsKeyId",
}  # fmt: skip
_WORKGROUP_NAMES = {
    "base_capacity": "baseCapacity", "max_capacity": "maxCapacity", "subnets": "subnetIds",
    "security_groups": "securityGroupIds", "public": "publiclyAccessible", "routing": "enhancedVpcRouting",
    "port": "port", "parameters": "configParameters", "network_type": "ipAddressType", "track": "trackName",
    "price_performance": "pricePerformanceTarget",
}  # fmt: skip


@dataclass(frozen=True)
class _Step:
    """One step to begin, with the tools."""

    tools: Tools
    clients: Clients
    point: Point
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

    def own_key(self, name: str) -> str:
        """The same for this step for ever; another for another step under the same key."""
        return part_key(self.key, f"{self.kind}/{name}")

    def own_tags(self, name: str) -> dict[str, str]:
        return snapshot_tags(self.own_key(name), self.tags, self.params.get("tags", {}))[0]

    def given(self, names: Mapping[str, str]) -> dict[str, Any]:
        """The params in AWS's names."""
        return {theirs: self.params[ours] for ours, theirs in names.items() if self.params.get(ours) is not None}

    def source(self) -> dict[str, str]:
        """What names the snapshot: its ARN when it is another account's."""
        wanted = self.need("backup_id")
        return {"arn": wanted} if wanted.startswith("arn:") else {"name": wanted}


def start_step(
    tools: Tools, clients: Clients, point: Point, step: RestoreStep, key: str, tags: Mapping[str, str]
) -> StepStarted:
    """Begin one step of a restore plan whose references are resolved. Raises the family."""
    begin = _BEGIN.get(step.kind)
    if begin is None:
        raise Invalid(f"There is no restore step {step.kind!r} for redshift.", code="bad-step")
    return begin(_Step(tools, clients, point, step.kind, step.params, key, tags))


def _restore_cluster(step: _Step) -> StepStarted:
    clients, wanted = step.clients, step.need("id").lower()
    key = step.own_key(wanted)
    name = name_for(key)
    found = redshift_clusters.cluster(clients, name)
    taken = redshift_clusters.cluster(clients, wanted)
    if taken is not None and not (found is None and read_tags(taken.get("Tags")).get(TAG_JOB) == key):
        raise _taken(wanted)
    if found is None and taken is not None:  # restored and renamed by an earlier attempt
        return _followed(step, CLUSTER, wanted, {"cluster": wanted})
    if found is None:
        owner = step.source().get("arn", "")
        snapshot = {"SnapshotArn": owner} if owner else {"SnapshotIdentifier": step.need("backup_id")}
        asked = {"ClusterIdentifier": name, **snapshot, **step.given(_CLUSTER_NAMES)}
        with translated("RestoreFromClusterSnapshot", guard=step.tools.pace.guard):
            create = clients.create("redshift").restore_from_cluster_snapshot
            found, _ = restore_or_find(clients, name, lambda: create(**asked))
    if not is_ours(read_tags(found.get("Tags")), clients.account.installation):
        redshift_clusters.tag(clients, redshift_clusters.cluster_arn(clients, name), step.own_tags(wanted))
    return _followed(step, CLUSTER, name, {"cluster": name}, created=(Created(CLUSTER, name),))


def _name_cluster(step: _Step) -> StepStarted:
    """Give the cluster its own name; a repeat finds it there."""
    clients, name, wanted = step.clients, step.need("cluster"), step.need("id").lower()
    found = redshift_clusters.cluster(clients, name)
    if found is not None and name != wanted:
        try:
            clients.read("redshift").modify_cluster(ClusterIdentifier=name, NewClusterIdentifier=wanted)
        except ClientError as error:
            if code_of(error) == "ClusterAlreadyExists":
                raise _taken(wanted) from None
            raise
    operation = step.tools.operation(CLUSTER, wanted, clients, was=name)
    return StepStarted((operation,), (Created(CLUSTER, wanted),), {"cluster_id": wanted}, removed=(name,))


def _taken(name: str) -> Invalid:
    text = f"{name} exists already and is not of this restore."
    return Invalid(text, code="identifier-taken", advice="Choose another --set id=... .")


def _followed(
    step: _Step, kind: str, name: str, outputs: Mapping[str, Any], created: tuple[Created, ...] = ()
) -> StepStarted:
    return StepStarted((step.tools.operation(kind, name, step.clients),), created, outputs)


def _make_namespace(step: _Step) -> StepStarted:
    """A namespace and its workgroup; each is adopted when it carries this step's key."""
    clients, name = step.clients, step.need("id").lower()
    group = step.need("workgroup").lower()
    client = clients.create(SERVICE)
    tags = redshift_serverless.write_tags(step.own_tags(name))
    asked = {"namespaceName": name, "tags": tags, **step.given(_NAMESPACE_NAMES)}
    _made(step, NAMESPACE, name, lambda: client.create_namespace(**asked))
    asked = {"workgroupName": group, "namespaceName": name, "tags": tags, **step.given(_WORKGROUP_NAMES)}
    _made(step, WORKGROUP, group, lambda: client.create_workgroup(**asked))
    created = (Created(NAMESPACE, name), Created(WORKGROUP, group))
    return _followed(step, WORKGROUP, group, {"namespace": name, "workgroup": group}, created)


def _made(step: _Step, kind: str, name: str, create: Callable[[], Any]) -> None:
    found = arn_of(step.clients, kind, name)
    if found is None:
        try:
            with translated(f"the {kind}", guard=step.tools.pace.guard):
                create()
            return
        except Invalid as error:
            found = arn_of(step.clients, kind, name)
            if found is None:
                raise error from None
    if redshift_serverless.listed_tags(step.clients, found).get(TAG_JOB) != step.own_key(step.need("id").lower()):
        raise _taken(name)


def _restore_namespace(step: _Step) -> StepStarted:
    """The namespace's database becomes the snapshot's; a repeat makes it so once more."""
    clients, name = step.clients, step.need("namespace")
    held = clients.read(SERVICE).get_namespace(namespaceName=name)["namespace"]
    if held["status"] == "AVAILABLE":  # else an earlier attempt has begun it
        source = step.source()
        given: dict[str, Any] = {"snapshotArn": source["arn"]} if "arn" in source else {"snapshotName": source["name"]}
        given |= {"manageAdminPassword": True} if step.params.get("managed_password") else {}
        group = str(step.params.get("workgroup") or redshift_serverless.workgroup_of(clients, name))
        try:
            with translated("RestoreFromSnapshot", guard=step.tools.pace.guard):
                clients.create(SERVICE).restore_from_snapshot(namespaceName=name, workgroupName=group, **given)
        except Invalid as error:
            if "ConflictException" in error.text:
                raise NotReady(f"The namespace {name} is busy. {error.text}", code="namespace-busy") from None
            raise
    return _followed(step, NAMESPACE, name, {"namespace_id": name})


def undo(clients: Clients, created: Created) -> str:
    """Remove what a restore made, without a last snapshot: it came from one. Raises what keeps it."""
    name = created.external_id
    if created.kind == CLUSTER:
        found = redshift_clusters.cluster(clients, name)
        if found is None or found["ClusterStatus"] == "deleting":
            return "already-gone"
        if not is_ours(read_tags(found.get("Tags")), clients.account.installation):
            raise _strange(name)
        clients.read("redshift").delete_cluster(ClusterIdentifier=name, SkipFinalClusterSnapshot=True)
        return "deleted"
    arn = arn_of(clients, created.kind, name)
    if arn is None:
        return "already-gone"
    if not is_ours(redshift_serverless.listed_tags(clients, arn), clients.account.installation):
        raise _strange(name)
    client = clients.read(SERVICE)
    try:
        if created.kind == NAMESPACE:
            client.delete_namespace(namespaceName=name)
        else:
            client.delete_workgroup(workgroupName=name)
    except client.exceptions.ConflictException:  # its workgroup is still going, or it is still being made
        raise NotReady(f"The {created.kind} {name} is busy.", code="namespace-busy") from None
    return "deleted"


def _strange(name: str) -> Refused:
    return Refused(f"{name} does not carry our tag, so it stays.", code="not-ours")


_BEGIN: Mapping[str, Callable[[_Step], StepStarted]] = {
    "restore-cluster": _restore_cluster,
    "name-cluster": _name_cluster,
    "make-namespace": _make_namespace,
    "restore-namespace": _restore_namespace,
}
