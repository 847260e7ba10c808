"""Namespaces of Redshift Serverless and their snapshots: a `House` (workers.aws.redshift_snap).

Names as in the Redshift Serverless API reference. A ConflictException of CreateSnapshot means a name that exists or a
namespace that is busy: a look tells which. Tags are told only when asked for by ARN.
"""

import json
from collections.abc import Mapping
from typing import Any

from botocore.exceptions import ClientError

from tasks.errors import Gone, NotReady
from workers.aws.ec2_copy import partition
from workers.aws.redshift_clusters import code_of
from workers.aws.redshift_snap import BACKSTOP_DAYS, Snap, gib, written
from workers.aws.session import Clients
from workers.driver import Resource

SERVERLESS = True
SERVICE = "redshift-serverless"
NAMESPACE, WORKGROUP = "namespace", "workgroup"
PAGE = 100  # maxResults at most
# What a resource policy must allow for another account to restore a snapshot ("PutResourcePolicy", its example).
_ALLOWED = ["redshift-serverless:RestoreFromSnapshot"]
_STATES = {"AVAILABLE": "available", "FAILED": "failed", "CANCELLED": "failed", "DELETED": "gone"}
_OF_NAMESPACES = {
    "identifier": "namespaceName", "arn": "namespaceArn", "state": "status", "database": "dbName", "logs": "logExports",
    "admin": "adminUsername", "default_role": "defaultIamRoleArn", "password_key": "adminPasswordSecretKmsKeyId",
}  # fmt: skip
_OF_WORKGROUPS = {
    "workgroup": "workgroupName", "base_capacity": "baseCapacity", "max_capacity": "maxCapacity", "port": "port",
    "subnet_ids": "subnetIds", "security_group_ids": "securityGroupIds", "public": "publiclyAccessible",
    "routing": "enhancedVpcRouting", "parameters": "configParameters", "network_type": "ipAddressType",
    "track": "trackName", "price_performance": "pricePerformanceTarget",
}  # fmt: skip


def is_offered(clients: Clients) -> bool:
    """Whether the region has Serverless, as far as the SDK knows; a region that it has not heard of is asked."""
    known = clients.sessions.session(clients.account, clients.region).get_available_regions
    where = partition(clients.region)
    return clients.region in known(SERVICE, where) or clients.region not in known("redshift", where)


def read_tags(rows: Any) -> dict[str, str]:
    """Serverless writes keys small."""
    return {str(one["key"]): str(one.get("value", "")) for one in rows or ()}


def write_tags(tags: Mapping[str, str]) -> list[dict[str, str]]:
    """The other way round."""
    return [{"key": key, "value": value} for key, value in tags.items()]


def listed_tags(clients: Clients, arn: str) -> dict[str, str]:
    """The tags of what has this ARN."""
    return read_tags(clients.read(SERVICE).list_tags_for_resource(resourceArn=arn)["tags"])


def arn_of(clients: Clients, kind: str, name: str) -> str | None:
    """The ARN of a namespace or workgroup, None when there is none."""
    client = clients.read(SERVICE)
    try:
        if kind == NAMESPACE:
            return str(client.get_namespace(namespaceName=name)["namespace"]["namespaceArn"])
        return str(client.get_workgroup(workgroupName=name)["workgroup"]["workgroupArn"])
    except client.exceptions.ResourceNotFoundException:
        return None


def page(clients: Clients, token: str) -> tuple[list[Resource], str]:
    """One page of namespaces, each with its workgroup, and the token of the next, '' after the last."""
    more = {"nextToken": token} if token else {}
    answer = clients.read(SERVICE).list_namespaces(maxResults=PAGE, **more)
    groups = _workgroups(clients) if answer["namespaces"] else {}
    found = [_read_namespace(clients, one, groups) for one in answer["namespaces"]]
    return found, str(answer.get("nextToken") or "")


def _workgroups(clients: Clients) -> dict[str, dict[str, Any]]:
    """Workgroups by namespace."""
    pages = clients.read(SERVICE).get_paginator("list_workgroups").paginate(PaginationConfig={"PageSize": PAGE})
    return {one["namespaceName"]: one for answer in pages for one in answer["workgroups"]}


def workgroup_of(clients: Clients, namespace: str) -> str:
    """The name of a namespace's workgroup. Raises Gone."""
    found = _workgroups(clients).get(namespace)
    if found is None:
        raise Gone(f"The namespace {namespace} has no workgroup, without which nothing is restored into it.")
    return str(found["workgroupName"])


def _read_namespace(clients: Clients, one: Mapping[str, Any], groups: Mapping[str, Mapping[str, Any]]) -> Resource:
    group = groups.get(one["namespaceName"], {})
    found = {ours: one.get(theirs) for ours, theirs in _OF_NAMESPACES.items()}
    found |= {ours: group.get(theirs) for ours, theirs in _OF_WORKGROUPS.items()}
    key = str(one.get("kmsKeyId") or "")
    own = listed_tags(clients, one["namespaceArn"])
    # A tag on the workgroup counts too: that is what people see as their warehouse.
    beside = listed_tags(clients, group["workgroupArn"]) if group else {}
    found |= {
        "roles": list(one.get("iamRoles") or []),
        "encrypted": key.startswith("arn:"),
        "kms_key_id": key if key.startswith("arn:") else "",
        "managed_password": bool(one.get("adminPasswordSecretArn")),
        "own_tags": own,
        "workgroup_tags": beside,
        "serverless": True,
    }
    attributes = {name: value for name, value in found.items() if value not in (None, "", [], {})}
    tags = {**beside, **own}
    return Resource(
        "redshift", one["namespaceId"], clients.account, clients.region, one["namespaceName"], tags, attributes
    )


def current(clients: Clients, resource: Resource) -> Resource:
    """The namespace as it is now. Raises Gone."""
    name = str(resource.attributes["identifier"])
    try:
        one = clients.read(SERVICE).get_namespace(namespaceName=name)["namespace"]
    except ClientError as error:
        if code_of(error) != "ResourceNotFoundException":
            raise
        one = {}
    if one.get("namespaceId") != resource.external_id:
        raise Gone(f"The namespace {name} does not exist any more.")
    return _read_namespace(clients, one, _workgroups(clients))


def _read(clients: Clients, one: Mapping[str, Any]) -> Snap:
    key, total = str(one.get("kmsKeyId") or ""), float(one.get("totalBackupSizeInMegaBytes") or 0)
    arn = str(one["snapshotArn"])
    return Snap(
        name=str(one["snapshotName"]),
        arn=arn,
        state=_STATES.get(str(one["status"]), "creating"),
        source=str(one.get("namespaceName") or ""),
        created_at=written(one.get("snapshotCreateTime")),
        owner=str(one.get("ownerAccount") or clients.number()),
        size_gib=gib(total),
        encrypted=key.startswith("arn:"),
        kms_key_id=key if key.startswith("arn:") else "",
        percent=int(99 * min(1.0, float(one.get("backupProgressInMegaBytes") or 0) / total)) if total else 0,
        shared_with=tuple(one.get("accountsWithRestoreAccess") or ()),
        carried=f":{clients.region}:" not in str(one.get("namespaceArn") or f":{clients.region}:"),
    )


def snapshot(clients: Clients, name: str) -> Snap | None:
    """Our own snapshot of this name."""
    try:
        return _read(clients, clients.read(SERVICE).get_snapshot(snapshotName=name)["snapshot"])
    except ClientError as error:
        if code_of(error) != "ResourceNotFoundException":
            raise
        return None


def snapshots(clients: Clients, *, since: str = "", owner: str = "") -> dict[str, Snap]:
    """All snapshots by name; those shared by `owner` by ARN."""
    asked: dict[str, Any] = {"PaginationConfig": {"PageSize": PAGE}}
    asked |= {"ownerAccount": owner} if owner else {}
    asked |= {"startTime": since} if since else {}
    pages = clients.read(SERVICE).get_paginator("list_snapshots").paginate(**asked)
    found = [_read(clients, one) for answer in pages for one in answer["snapshots"]]
    return {one.arn if owner else one.name: one for one in found}


def take(clients: Clients, client: Any, name: str, source: str, tags: Mapping[str, str]) -> Snap | None:
    """Begin a snapshot; None when there is one of this name. Raises NotReady for a busy namespace."""
    try:
        made = client.create_snapshot(
            snapshotName=name, namespaceName=source, retentionPeriod=BACKSTOP_DAYS, tags=write_tags(tags)
        )["snapshot"]
    except ClientError as error:
        if code_of(error) != "ConflictException":
            raise
        if snapshot(clients, name) is None:
            raise NotReady(f"The namespace {source} is busy, or has no workgroup.", code="namespace-busy") from None
        return None
    return _read(clients, made)


def carry(clients: Clients, target: Clients, resource: Resource, key: str, tags: Mapping[str, str]) -> str:
    """Have later snapshots copied to the target's region; the region to which they go now."""
    del tags  # the setting has none
    name = resource.attributes["identifier"]
    known = clients.read(SERVICE).list_snapshot_copy_configurations(namespaceName=name)["snapshotCopyConfigurations"]
    if known:
        return str(known[0]["destinationRegion"])
    under = {"destinationKmsKeyId": key} if key and resource.attributes.get("encrypted") else {}
    try:
        clients.create(SERVICE).create_snapshot_copy_configuration(
            namespaceName=name, destinationRegion=target.region, snapshotRetentionPeriod=BACKSTOP_DAYS, **under
        )
    except ClientError as error:
        if code_of(error) != "ConflictException":
            raise
        raise NotReady(f"The namespace {name} is busy.", code="namespace-busy") from None
    return target.region


def share(clients: Clients, snap: str, number: str) -> None:
    """Let another account restore a snapshot; twice changes nothing."""
    _put(clients, snap, [*_readers(clients, snap), number])


def unshare(clients: Clients, snap: str, number: str) -> None:
    """Take that back; what was not shared is fine."""
    before = _readers(clients, snap)
    left = [one for one in before if number not in one.split(":")]
    if left:
        _put(clients, snap, left)
    elif before:
        clients.read(SERVICE).delete_resource_policy(resourceArn=snap)


def _put(clients: Clients, snap: str, readers: list[str]) -> None:
    who = list(dict.fromkeys(readers))
    statement = {"Sid": "Snapfleet", "Effect": "Allow", "Principal": {"AWS": who}, "Action": _ALLOWED}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    clients.read(SERVICE).put_resource_policy(resourceArn=snap, policy=policy)


def _readers(clients: Clients, snap: str) -> list[str]:
    """Whom the snapshot's policy names. Raises Gone where there is no such snapshot."""
    try:
        held = clients.read(SERVICE).get_resource_policy(resourceArn=snap)["resourcePolicy"]["policy"]
    except ClientError as error:
        if code_of(error) != "ResourceNotFoundException":
            raise
        return []  # no policy yet; a snapshot that is gone is told by the call that follows
    found: list[str] = []
    for statement in json.loads(held).get("Statement", []):
        named = statement.get("Principal", {}).get("AWS", [])
        found += [named] if isinstance(named, str) else named
    return found


def tags_of(clients: Clients, snap: Snap) -> Mapping[str, str]:
    """The snapshot's tags."""
    return listed_tags(clients, snap.arn)


def tag(clients: Clients, arn: str, tags: Mapping[str, str]) -> None:
    """Add tags."""
    clients.read(SERVICE).tag_resource(resourceArn=arn, tags=write_tags(tags))


def delete(clients: Clients, name: str) -> None:
    """Delete a snapshot. Raises NotReady while it is being made."""
    try:
        clients.read(SERVICE).delete_snapshot(snapshotName=name)
    except ClientError as error:
        if code_of(error) != "ConflictException":
            raise
        raise NotReady(f"The snapshot {name} is still being made.") from None
