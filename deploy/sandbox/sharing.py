"""Snapshots across accounts: who may see one, and createVolumePermission.

"ModifySnapshotAttribute", "DescribeSnapshotAttribute" (EC2 API reference); "Share an Amazon EBS snapshot" (EBS user
guide): a snapshot encrypted with the default key cannot be shared, an encrypted one cannot be made public.
"""

from typing import Any

from deploy.sandbox import kms
from deploy.sandbox.call import Call, operation
from deploy.sandbox.errors import AwsError, bad_value, missing, required
from deploy.sandbox.world import World

EVERYONE = "all"
CHANGES_MAX = 500  # ModifySnapshotAttribute: "up to 500 modifications to a snapshot in a single operation"


def visible_snapshot(world: World, account: str, region: str, snapshot_id: str) -> Any:
    """A snapshot of the account itself, or one shared with it or with everyone; InvalidSnapshot.NotFound else."""
    for kind in (
        world.region(account, region).snapshots,
        world.shares[region, account],
        world.shares[region, EVERYONE],
    ):
        if snapshot_id in kind:
            return kind[snapshot_id]
    raise missing("snap", snapshot_id)


def visible(world: World, account: str, region: str) -> list[Any]:
    """Everything an account may see in a region: without OwnerIds this includes public snapshots of strangers."""
    every = dict(world.region(account, region).snapshots)
    every |= world.shares[region, account]
    every |= world.shares[region, EVERYONE]
    return sorted(every.values(), key=lambda s: s.sequence)


def share(world: World, snapshot: Any, who: str) -> None:
    snapshot.shared_with[who] = None
    world.shares[snapshot.region, who][snapshot.id] = snapshot


def unshare(world: World, snapshot: Any, who: str) -> None:
    snapshot.shared_with.pop(who, None)
    world.shares[snapshot.region, who].pop(snapshot.id, None)


def forget(world: World, snapshot: Any) -> None:
    for who in list(snapshot.shared_with):
        unshare(world, snapshot, who)


def permission_changes(parameters: dict, structure: str) -> list[tuple[str, str]]:
    """(add or remove, account or all) from either of the two ways a request may say it."""
    nested = parameters.get(structure) or {}
    rows = [("add", e) for e in nested.get("Add", [])] + [("remove", e) for e in nested.get("Remove", [])]
    changes = [(verb, e.get("UserId") or e.get("Group", "")) for verb, e in rows]
    verb = parameters.get("OperationType")
    names = [*(parameters.get("UserIds") or []), *(parameters.get("GroupNames") or parameters.get("UserGroups") or [])]
    if names and verb not in ("add", "remove"):
        raise bad_value(f"Value ({verb}) for parameter operationType is invalid.")
    changes += [(verb, n) for n in names]
    if not changes:
        raise AwsError("MissingParameter", "The request must say which permissions to change.")
    if len(changes) > CHANGES_MAX:
        raise bad_value(f"At most {CHANGES_MAX} modifications in one call.")
    for _, who in changes:
        if who != EVERYONE and not (who.isdigit() and len(who) == 12):
            raise AwsError("InvalidUserID.Malformed", f"Invalid user id: {who}")
    return changes


def owned(call: Call, parameters: dict) -> Any:
    """The caller's own snapshot that a request names as SnapshotId."""
    identifier = required(parameters, "SnapshotId")
    if identifier not in call.here.snapshots:
        raise missing("snap", identifier)
    return call.here.snapshots[identifier]


@operation("ec2", "ModifySnapshotAttribute")
def modify_snapshot_attribute(call: Call, parameters: dict) -> dict:
    snapshot = owned(call, parameters)
    if parameters.get("Attribute", "createVolumePermission") != "createVolumePermission":
        raise bad_value("Only createVolumePermission can be modified.")
    changes = permission_changes(parameters, "CreateVolumePermission")
    adding = [who for verb, who in changes if verb == "add"]
    if adding and kms.is_default(snapshot.key):
        text = "Encrypted snapshots with EBS default key cannot be shared"
        raise AwsError("OperationNotPermitted", text)
    if EVERYONE in adding and snapshot.key:
        raise AwsError("OperationNotPermitted", "Encrypted snapshots cannot be shared publicly")
    for verb, who in changes:
        (share if verb == "add" else unshare)(call.world, snapshot, who)
    return {"Return": True}


@operation("ec2", "DescribeSnapshotAttribute")
def describe_snapshot_attribute(call: Call, parameters: dict) -> dict:
    snapshot, attribute = owned(call, parameters), required(parameters, "Attribute")
    if attribute == "productCodes":
        return {"SnapshotId": snapshot.id, "ProductCodes": []}
    if attribute != "createVolumePermission":
        raise bad_value(f"Value ({attribute}) for parameter attribute is invalid.")
    who = [{"Group": w} if w == EVERYONE else {"UserId": w} for w in snapshot.shared_with]
    return {"SnapshotId": snapshot.id, "CreateVolumePermissions": who}


@operation("ec2", "ResetSnapshotAttribute")
def reset_snapshot_attribute(call: Call, parameters: dict) -> dict:
    forget(call.world, owned(call, parameters))
    return {"Return": True}
