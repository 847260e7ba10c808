"""Snapshots of DB instances and DB clusters: taken, copied, shared, restored from, deleted.

"CreateDBSnapshot", "CopyDBSnapshot", "ModifyDBSnapshotAttribute", "RestoreDBInstanceFromDBSnapshot", their cluster
counterparts (RDS API reference); "Copying a DB snapshot", "Sharing a DB snapshot" (RDS user guide); "Sharing cluster
snapshots" (DocumentDB developer guide: a shared snapshot is copied inside its region only).
"""

import re
from typing import Any
from urllib.parse import parse_qs, urlsplit

from deploy.sandbox import kms, rds_databases, relational
from deploy.sandbox.call import Call, operation
from deploy.sandbox.errors import AwsError, bad_combination, bad_value, required
from deploy.sandbox.relational import Database, DbSnapshot, here

SHARED_MOST = 20  # ModifyDBSnapshotAttribute: accounts that a manual snapshot can be shared with
_ARN = re.compile(r"arn:aws[a-z-]*:rds:([\w-]+):(\d{12}):(snapshot|cluster-snapshot):(.+)")
_KINDS = {
    False: (
        "DBSnapshot",
        "DBSnapshotIdentifier",
        "DBSnapshotNotFound",
        "DBSnapshotAlreadyExists",
        "InvalidDBSnapshotState",
    ),
    True: (
        "DBClusterSnapshot",
        "DBClusterSnapshotIdentifier",
        "DBClusterSnapshotNotFoundFault",
        "DBClusterSnapshotAlreadyExistsFault",
        "InvalidDBClusterSnapshotStateFault",
    ),
}
# What a snapshot tells of its database.
TOLD = (
    "Engine", "EngineVersion", "EngineMode", "AllocatedStorage", "Port", "MasterUsername", "LicenseModel",
    "StorageType", "Iops", "StorageThroughput", "AvailabilityZone", "IAMDatabaseAuthenticationEnabled",
)  # fmt: skip


def view(one: DbSnapshot, now: Any) -> dict[str, Any]:
    _, identifier, *_ = _KINDS[one.cluster]
    source = one.copied_from.arn if one.copied_from else None
    keys = {"StorageEncrypted": one.key is not None} if one.cluster else {"Encrypted": one.key is not None}
    named = {"DBClusterSnapshotArn": one.arn} if one.cluster else {"DBSnapshotArn": one.arn}
    from_ = {"SourceDBClusterSnapshotArn": source} if one.cluster else {"SourceDBSnapshotIdentifier": source}
    if one.copied_from and not one.cluster and one.copied_from.region != one.region:
        from_["SourceRegion"] = one.copied_from.region
    spec = {name: value for name, value in one.spec.items() if name not in ("group names", "KmsKeyId")}
    return {
        **spec,
        **keys,
        **named,
        **from_,
        identifier: one.name,
        "Status": one.state(now),
        "SnapshotType": one.kind,
        "PercentProgress": one.percent(now),
        "SnapshotCreateTime": one.created_at,
        "KmsKeyId": one.key,
        "TagList": relational.tag_list(one.tags),
    }


def find(call: Call, name: str, cluster: bool, state: str = "") -> DbSnapshot:
    """The caller's own snapshot, by name; NotFound, or the wrong state when one is asked for."""
    *_, missing, _, wrong = _KINDS[cluster]
    found = here(call).shelf(cluster).get(name.lower())
    if found is None:
        raise AwsError(missing, f"{_KINDS[cluster][0]} {name} not found.", 404)
    if state and found.state(call.now) != state:
        raise AwsError(wrong, f"{name} is {found.state(call.now)}, not {state}.")
    return found


def visible(call: Call, named: str, cluster: bool) -> DbSnapshot:
    """A snapshot by name, or by ARN: of the caller or shared with it."""
    found = _ARN.fullmatch(named)
    if found is None:
        return find(call, named, cluster)
    region, account, _, name = found.groups()
    held = call.world.region(account, region).kept(relational.Kept).shelf(cluster).get(name.lower())
    if held is None or (account != call.account and call.account not in held.shared_with):
        raise AwsError(_KINDS[cluster][2], f"The source snapshot {named} could not be found.", 404)
    return held


def _add(call: Call, cluster: bool, name: str, **more: Any) -> DbSnapshot:
    kept, (_, _, _, exists, _) = here(call), _KINDS[cluster]
    key = relational.check_name(name, 63 if cluster else 255)
    if key in kept.shelf(cluster):
        raise AwsError(exists, f"Cannot create the snapshot because one with the identifier {name} already exists.")
    if sum(one.kind == "manual" for one in kept.shelf(cluster).values()) >= call.config.db_snapshots_per_region:
        raise AwsError("SnapshotQuotaExceeded", "The request would exceed the allowed number of manual snapshots.")
    arn = relational.arn(call, "cluster-snapshot" if cluster else "snapshot", key)
    made = DbSnapshot(key, arn, call.account, call.region, cluster, created_at=call.now, **more)
    fault = call.spoiled(name)
    if fault is not None and fault.kind == "snapshot_error":
        made.failure = fault.message
    kept.shelf(cluster)[key] = made
    return made


def _take(call: Call, parameters: dict, held: Database, cluster: bool) -> dict:
    if held.state(call.now) not in ("available", "storage-optimization"):
        code = "InvalidDBClusterStateFault" if cluster else "InvalidDBInstanceState"
        raise AwsError(code, f"{held.name} is not in the available state: {held.state(call.now)}.")
    ready_at = call.now + relational.seconds(call, "backup_seconds")
    group = held.spec["group names"]["OptionGroup"]
    spec = {name: held.spec[name] for name in TOLD if name in held.spec}
    spec |= {"DBClusterIdentifier": held.name} if cluster else {"DBInstanceIdentifier": held.name}
    spec |= {"DbClusterResourceId": held.resource_id} if cluster else {"DbiResourceId": held.resource_id}
    spec |= {} if cluster else {"OptionGroupName": group}
    made = _add(
        call, cluster, required(parameters, _KINDS[cluster][1]), spec=spec, ready_at=ready_at, rows=dict(held.rows),
        key=held.key, tags=relational.given_tags(parameters),
        options=bool(here(call).groups.get(("OptionGroup", group), {}).get("persistent")),
    )  # fmt: skip
    held.busy_until = ready_at
    return {_KINDS[cluster][0]: view(made, call.now)}


@operation("rds", "CreateDBSnapshot")
def create_db_snapshot(call: Call, parameters: dict) -> dict:
    held = rds_databases.find_instance(call, required(parameters, "DBInstanceIdentifier"))
    if "DBClusterIdentifier" in held.spec:
        raise AwsError("InvalidParameterValue", "A member of a cluster has no snapshots of its own.")
    return _take(call, parameters, held, cluster=False)


@operation("rds", "CreateDBClusterSnapshot")
def create_db_cluster_snapshot(call: Call, parameters: dict) -> dict:
    held = rds_databases.find_cluster(call, required(parameters, "DBClusterIdentifier"))
    return _take(call, parameters, held, cluster=True)


def _describe(call: Call, parameters: dict, cluster: bool) -> dict:
    noun, identifier, *_ = _KINDS[cluster]
    fields = {
        "db-cluster-snapshot-id" if cluster else "db-snapshot-id": lambda one: one.name,
        "db-cluster-id" if cluster else "db-instance-id": lambda one: one.spec.get(
            "DBClusterIdentifier" if cluster else "DBInstanceIdentifier"
        ),
        "snapshot-type": lambda one: one.kind,
        "engine": lambda one: one.spec["Engine"],
    }
    name = parameters.get(identifier)
    rows = [visible(call, name, cluster)] if name else list(here(call).shelf(cluster).values())
    if parameters.get("SnapshotType"):
        rows = [one for one in rows if one.kind == parameters["SnapshotType"]]
    some, marker = relational.paged(relational.filtered(call, rows, parameters, fields), parameters)
    return {f"{noun}s": [view(one, call.now) for one in some], "Marker": marker}


@operation("rds", "DescribeDBSnapshots")
def describe_db_snapshots(call: Call, parameters: dict) -> dict:
    return _describe(call, parameters, cluster=False)


@operation("rds", "DescribeDBClusterSnapshots")
def describe_db_cluster_snapshots(call: Call, parameters: dict) -> dict:
    return _describe(call, parameters, cluster=True)


def _presigned_region(parameters: dict) -> str:
    """The region that the presigned URL was signed for; '' without one."""
    query = parse_qs(urlsplit(parameters.get("PreSignedUrl") or "").query)
    credential = (query.get("X-Amz-Credential") or [""])[0].split("/")
    return credential[2] if len(credential) > 2 else ""


def _check_copies(call: Call, cluster: bool) -> None:
    """20 copies at once into a region, 5 of clusters ("Quotas for Amazon RDS", "Quotas for Amazon Aurora")."""
    most = call.config.cluster_copies_per_destination if cluster else call.config.db_copies_per_destination
    running = [one for one in here(call).shelf(cluster).values() if one.state(call.now) == "copying"]
    if len(running) >= most:
        raise AwsError("SnapshotQuotaExceeded", "The maximum number of snapshot copies in progress is reached.")


def _copy_key(call: Call, source: DbSnapshot, key_id: str | None, moved: bool) -> str | None:
    """The key of a copy: wanted where an encrypted snapshot leaves its region or account, never for what is plain in
    a cluster (CopyDBClusterSnapshot: "If you specify a value for KmsKeyId when copying an unencrypted ... error")."""
    if source.key is None:
        if key_id and source.cluster:
            raise bad_combination("KmsKeyId cannot be specified when copying an unencrypted cluster snapshot.")
        return relational.new_key(call, key_id, encrypted=False)
    if moved and not key_id:
        raise bad_value("KmsKeyId is required to copy an encrypted snapshot to another region or account.")
    if not kms.usable(call, source.key) and source.account == call.account:
        raise relational.key_refused(source.key)
    if source.account != call.account:
        shared = kms.find(source.account, source.region, source.key)
        if shared is None or not kms.policy_allows(shared, call.account):
            raise relational.key_refused(source.key)
    return relational.new_key(call, key_id, encrypted=True) if key_id else source.key


def _copy(call: Call, parameters: dict, cluster: bool) -> dict:
    noun, _, _, _, wrong = _KINDS[cluster]
    named, target = required(parameters, f"Source{noun}Identifier"), required(parameters, f"Target{noun}Identifier")
    source = visible(call, named, cluster)
    moved, across = source.region != call.region, source.account != call.account
    if moved and _presigned_region(parameters) != source.region:
        raise bad_value("PreSignedUrl is required to copy a snapshot from another region.")
    if across and (moved and (source.spec["Engine"] == "docdb" or call.config.db_two_hops)):
        raise bad_value("A shared snapshot can only be copied in the region in which it was shared.")
    if source.state(call.now) != "available":
        raise AwsError(wrong, f"{named} is {source.state(call.now)}, not available.")
    key = _copy_key(call, source, parameters.get("KmsKeyId"), moved or across)
    _check_copies(call, cluster)
    ready_at = call.now + relational.seconds(call, "backup_copy_seconds")
    tags = relational.given_tags(parameters)
    if parameters.get("CopyTags") and not tags:
        tags = dict(source.tags)
    made = _add(
        call, cluster, target, spec=dict(source.spec), ready_at=ready_at, rows=dict(source.rows), key=key,
        copied_from=source, tags=tags, options=source.options,
    )  # fmt: skip
    return {noun: view(made, call.now)}


@operation("rds", "CopyDBSnapshot")
def copy_db_snapshot(call: Call, parameters: dict) -> dict:
    return _copy(call, parameters, cluster=False)


@operation("rds", "CopyDBClusterSnapshot")
def copy_db_cluster_snapshot(call: Call, parameters: dict) -> dict:
    return _copy(call, parameters, cluster=True)


def _share(call: Call, parameters: dict, cluster: bool) -> dict:
    noun, identifier, _, _, wrong = _KINDS[cluster]
    held = find(call, required(parameters, identifier), cluster)
    if required(parameters, "AttributeName") != "restore":
        raise bad_value("AttributeName must be restore.")
    adding = parameters.get("ValuesToAdd") or []
    if adding and held.state(call.now) != "available":
        raise AwsError(wrong, f"{held.name} is {held.state(call.now)}.")
    if adding and kms.is_default(held.key):
        raise bad_value("You can't share a snapshot that is encrypted with the default AWS KMS key.")
    if adding and held.options:
        raise bad_value("You can't share a snapshot that uses a persistent or permanent option.")
    if "all" in adding and held.key:
        raise bad_value("You can't share an encrypted snapshot as public.")
    after = [one for one in [*held.shared_with, *adding] if one not in (parameters.get("ValuesToRemove") or [])]
    if len(set(after)) > SHARED_MOST:
        raise AwsError("SharedSnapshotQuotaExceeded", "You can share a snapshot with at most 20 accounts.")
    held.shared_with = list(dict.fromkeys(after))
    attributes = [{"AttributeName": "restore", "AttributeValues": held.shared_with}]
    return {f"{noun}AttributesResult": {identifier: held.name, f"{noun}Attributes": attributes}}


@operation("rds", "ModifyDBSnapshotAttribute")
def modify_db_snapshot_attribute(call: Call, parameters: dict) -> dict:
    return _share(call, parameters, cluster=False)


@operation("rds", "ModifyDBClusterSnapshotAttribute")
def modify_db_cluster_snapshot_attribute(call: Call, parameters: dict) -> dict:
    return _share(call, parameters, cluster=True)


def _delete(call: Call, parameters: dict, cluster: bool) -> dict:
    noun, identifier, _, _, wrong = _KINDS[cluster]
    held = find(call, required(parameters, identifier), cluster)
    if held.kind != "manual" or held.state(call.now) == "creating":
        raise AwsError(wrong, f"{held.name} is {held.state(call.now)} and of type {held.kind}.")
    del here(call).shelf(cluster)[held.name]
    return {noun: {**view(held, call.now), "Status": "deleted"}}


@operation("rds", "DeleteDBSnapshot")
def delete_db_snapshot(call: Call, parameters: dict) -> dict:
    return _delete(call, parameters, cluster=False)


@operation("rds", "DeleteDBClusterSnapshot")
def delete_db_cluster_snapshot(call: Call, parameters: dict) -> dict:
    return _delete(call, parameters, cluster=True)


@operation("rds", "RestoreDBInstanceFromDBSnapshot")
def restore_db_instance_from_db_snapshot(call: Call, parameters: dict) -> dict:
    source = visible(call, required(parameters, "DBSnapshotIdentifier"), cluster=False)
    if source.state(call.now) != "available":
        raise AwsError("InvalidDBSnapshotState", f"{source.name} is {source.state(call.now)}.")
    if source.account != call.account and source.key:
        raise bad_value("A shared encrypted snapshot cannot be restored: copy it first.")
    if parameters.get("MultiAZ") and parameters.get("AvailabilityZone"):
        raise bad_combination("AvailabilityZone cannot be given for a Multi-AZ DB instance.")
    spec = rds_databases.spec_of(call, parameters, source.spec["Engine"])
    kept = ("EngineVersion", "AllocatedStorage", "MasterUsername", "LicenseModel", "StorageType", "Iops", "Port")
    spec = {**{name: source.spec[name] for name in kept if name in source.spec}, **spec}
    if not parameters.get("Port"):
        spec["Port"] = source.spec["Port"]
    spec.setdefault("DBInstanceClass", "db.t3.micro")
    if source.key and not kms.usable(call, source.key):
        raise relational.key_refused(source.key)
    made = rds_databases.add_instance(call, parameters, spec, source.key, source.rows)
    return {"DBInstance": rds_databases.instance_view(made, call.now)}


@operation("rds", "RestoreDBClusterFromSnapshot")
def restore_db_cluster_from_snapshot(call: Call, parameters: dict) -> dict:
    source = visible(call, required(parameters, "SnapshotIdentifier"), cluster=True)
    if source.state(call.now) != "available":
        raise AwsError("InvalidDBClusterSnapshotStateFault", f"{source.name} is {source.state(call.now)}.")
    if required(parameters, "Engine") != source.spec["Engine"]:
        raise AwsError("InvalidRestoreFault", f"The snapshot is of {source.spec['Engine']}.")
    spec = rds_databases.spec_of(call, parameters, source.spec["Engine"])
    kept = ("EngineVersion", "MasterUsername")
    spec = {**{name: source.spec[name] for name in kept if name in source.spec}, **spec}
    spec.setdefault("EngineMode", "provisioned")
    key = relational.new_key(call, parameters.get("KmsKeyId") or source.key, encrypted=False)
    made = rds_databases.add_cluster(call, parameters, spec, key, source.rows)
    return {"DBCluster": rds_databases.cluster_view(call, made)}
