"""EBS snapshots: one volume or all of an instance at one instant, pending for a while, then completed or in error.

"CreateSnapshot", "CreateSnapshots", "DescribeSnapshots", "DeleteSnapshot" (EC2 API reference); "Amazon EBS snapshots"
(EBS user guide).
"""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from deploy.sandbox import sharing
from deploy.sandbox.blocks import BLOCK, BlockMap
from deploy.sandbox.call import Call, operation
from deploy.sandbox.describing import Fields, check_page, hidden, page, select, tag_list
from deploy.sandbox.errors import AwsError, bad_combination, bad_value, missing, required
from deploy.sandbox.locks import check_unlocked
from deploy.sandbox.tags import checked, specified
from deploy.sandbox.volumes import Volume, owned_volume
from deploy.sandbox.wire import iso

EXCLUDED_MAX = 40  # InstanceSpecification.ExcludeDataVolumeIds, EC2 API reference


@dataclass(eq=False)
class Snapshot:
    """A point in time of a volume. `origin` is the volume that the data came from, also in copies."""

    id: str
    sequence: int
    owner: str
    region: str
    volume_id: str
    size: int
    created_at: datetime
    ready_at: datetime
    blocks: BlockMap
    origin: str
    key: str | None = None
    description: str = ""
    billing: str = "Linux/UNIX"
    failure: str | None = None
    copied_from: Any = None
    transferred: int = 0
    tier: str = "standard"
    tiering: str = ""  # the last tiering operation and how far it is
    tiering_at: datetime | None = None
    lock: Any = None
    tags: dict[str, str] = field(default_factory=dict)
    shared_with: dict[str, None] = field(default_factory=dict)
    together: list["Snapshot"] = field(default_factory=list)  # the multi-volume set, itself included
    root_of: dict[str, None] = field(default_factory=dict)  # registered images
    gone: bool = False
    writing: Any = None  # what EBS direct APIs put into it so far
    listings: dict[str, list[int]] = field(default_factory=dict)  # sorted block indexes, by the snapshot compared with

    def state(self, now: datetime) -> str:
        if now < self.ready_at:
            return "pending"
        return "error" if self.failed() else "completed"

    def failed(self) -> bool:
        """One member of a multi-volume set that fails puts the others in error too."""
        return self.failure is not None or any(s.failure is not None for s in self.together)

    def progress(self, now: datetime) -> str:
        if now >= self.ready_at:
            return "0%" if self.failed() else "100%"
        if self.writing is not None and not self.writing.sealed:
            return f"{self.writing.percent}%"
        whole = (self.ready_at - self.created_at).total_seconds()
        return f"{int(99 * (now - self.created_at).total_seconds() / whole)}%"

    def view(self, now: datetime) -> dict[str, Any]:
        state = self.state(now)
        return {
            "SnapshotId": self.id,
            "VolumeId": self.volume_id,
            "VolumeSize": self.size,
            "OwnerId": self.owner,
            "State": state,
            "StateMessage": (self.failure or "") if state == "error" else None,
            "StartTime": self.created_at,
            "Progress": self.progress(now),
            "Description": self.description,
            "Encrypted": self.key is not None,
            "KmsKeyId": self.key,
            "StorageTier": self.tier,
            "CompletionTime": self.ready_at if state == "completed" else None,
            "FullSnapshotSizeInBytes": len(self.blocks.cells) * BLOCK if state == "completed" else None,
            "Tags": tag_list(self.tags),
        }


FIELDS: Fields = {
    "snapshot-id": lambda s, _: s.id,
    "volume-id": lambda s, _: s.volume_id,
    "volume-size": lambda s, _: str(s.size),
    "owner-id": lambda s, _: s.owner,
    "status": lambda s, now: s.state(now),
    "progress": lambda s, now: s.progress(now),
    "description": lambda s, _: s.description,
    "encrypted": lambda s, _: "true" if s.key else "false",
    "start-time": lambda s, _: iso(s.created_at),
    "storage-tier": lambda s, _: s.tier,
}


def check_limits(call: Call, volume: Volume) -> None:
    """What keeps a volume from being snapshotted right now."""
    if volume.state(call.now) not in ("available", "in-use"):
        raise AwsError("IncorrectState", f"The volume '{volume.id}' is '{volume.state(call.now)}'.")
    config = call.config
    gap = timedelta(seconds=config.snapshot_interval_seconds)
    volume.recent = [s for s in volume.recent if call.now < s.ready_at or call.now - s.created_at < gap]
    if any(call.now - s.created_at < gap for s in volume.recent):
        text = "The maximum per volume CreateSnapshot request rate has been exceeded. Use an increasing or variable "
        raise AwsError("SnapshotCreationPerVolumeRateExceeded", text + "sleep interval between requests.")
    most = 1 if volume.kind in ("st1", "sc1") else config.pending_per_volume
    if sum(call.now < s.ready_at for s in volume.recent) >= most:
        text = f"Maximum allowed in-progress snapshots for a single volume exceeded: {volume.id}"
        raise AwsError("ConcurrentSnapshotLimitExceeded", text)
    if len(call.here.snapshots) >= config.snapshots_per_region:
        raise AwsError("SnapshotLimitExceeded", "The maximum number of snapshots is reached.")


def take(call: Call, volume: Volume, description: str, tags: dict[str, str], *also: str) -> Snapshot:
    """Freeze a volume now; limits were checked. `also` are ids that a planted fault may name."""
    config, world = call.config, call.world
    seconds = config.snapshot_seconds + config.snapshot_seconds_per_gib * volume.size
    snapshot = Snapshot(
        id=world.new_id("snap"),
        sequence=next(world.sequence),
        owner=call.account,
        region=call.region,
        volume_id=volume.id,
        size=volume.size,
        created_at=call.now,
        ready_at=call.now + timedelta(seconds=seconds),
        blocks=volume.blocks.frozen(),
        origin=volume.id,
        key=volume.key,
        description=description,
        billing=volume.billing,
    )
    volume.recent.append(snapshot)
    add(call, snapshot, tags)
    spoil(call, snapshot, volume.id, *also)
    return snapshot


def add(call: Call, snapshot: Snapshot, tags: dict[str, str]) -> None:
    call.here.snapshots[snapshot.id] = snapshot
    call.here.tags.put(snapshot, tags)
    if snapshot.copied_from is not None:
        call.here.lineage[snapshot.origin][snapshot.id] = snapshot


def spoil(call: Call, snapshot: Snapshot, *identifiers: str) -> None:
    """Let a planted fault strike the new snapshot."""
    fault = call.spoiled(*identifiers)
    if fault is None:
        return
    if fault.kind == "snapshot_error":
        snapshot.failure = fault.message
    else:
        when = call.now + timedelta(seconds=fault.seconds)
        call.world.at(when, lambda here=call.here: drop_snapshot(call.world, here, snapshot))


def drop_snapshot(world: Any, here: Any, snapshot: Snapshot) -> None:
    """Take a snapshot out of existence; a copy still being made from it fails."""
    snapshot.gone = True
    here.snapshots.pop(snapshot.id, None)
    here.lineage[snapshot.origin].pop(snapshot.id, None)
    here.tags.forget(snapshot)
    sharing.forget(world, snapshot)
    now = world.clock.now()
    for region in world.regions.values():
        for copy in region.copies:
            if copy.copied_from is snapshot and now < copy.ready_at:
                copy.failure = "Source snapshot was deleted"
    world.block_gone()


@operation("ec2", "CreateSnapshot")
def create_snapshot(call: Call, parameters: dict) -> dict:
    volume = owned_volume(call, required(parameters, "VolumeId"))
    tags = specified(parameters, "snapshot")["snapshot"]
    check_limits(call, volume)
    return take(call, volume, parameters.get("Description", ""), tags).view(call.now)


@operation("ec2", "CreateSnapshots")
def create_snapshots(call: Call, parameters: dict) -> dict:
    wanted = required(parameters, "InstanceSpecification")
    instance_id = required(wanted, "InstanceId")
    if instance_id not in call.here.instances:
        raise missing("i", instance_id)
    instance = call.here.instances[instance_id]
    if instance.state(call.now) not in ("running", "stopped"):
        raise AwsError("IncorrectInstanceState", f"The instance '{instance_id}' is not running or stopped.")
    chosen = _members(instance, wanted)
    given = specified(parameters, "snapshot")["snapshot"]
    copied = parameters.get("CopyTagsFromSource")
    if copied not in (None, "volume"):
        raise bad_value(f"Value ({copied}) for parameter CopyTagsFromSource is invalid.")
    tags = {v.id: checked(tag_list(_own_tags(v) | given if copied else given)) for v in chosen}
    for volume in chosen:
        check_limits(call, volume)
    made = [take(call, v, parameters.get("Description", ""), tags[v.id], instance_id) for v in chosen]
    for snapshot in made:
        snapshot.together = made
    return {"Snapshots": [s.view(call.now) for s in made]}


def _own_tags(volume: Volume) -> dict[str, str]:
    return {k: v for k, v in volume.tags.items() if not k.lower().startswith("aws:")}


def _members(instance: Any, wanted: dict) -> list[Volume]:
    """The volumes of a multi-volume snapshot; the root cannot be excluded by id, only by ExcludeBootVolume."""
    excluded = wanted.get("ExcludeDataVolumeIds") or []
    if len(excluded) > EXCLUDED_MAX:
        raise bad_value(f"ExcludeDataVolumeIds may hold at most {EXCLUDED_MAX} volumes.")
    attached = {v.id for v in instance.volumes.values()}
    root = instance.volumes.get(instance.root_device)
    for identifier in excluded:
        if root is not None and identifier == root.id:
            raise bad_value(f"The root volume {identifier} cannot be in ExcludeDataVolumeIds; use ExcludeBootVolume.")
        if identifier not in attached:
            raise bad_value(f"The volume {identifier} is not attached to the instance {instance.id}.")
    chosen = [v for v in instance.volumes.values() if v.id not in excluded]
    if wanted.get("ExcludeBootVolume"):
        chosen = [v for v in chosen if v is not root]
    if not chosen:
        raise bad_combination("No volumes are left to snapshot.")
    return chosen


@operation("ec2", "DescribeSnapshots")
def describe_snapshots(call: Call, parameters: dict) -> dict:
    check_page(parameters, "SnapshotIds")
    own, ids = call.here.snapshots, parameters.get("SnapshotIds") or []
    owners = ["self" if o == call.account else o for o in parameters.get("OwnerIds") or []]
    chosen: list[Snapshot] | None
    if ids:
        chosen = [_by_id(call, i) for i in dict.fromkeys(ids)]
    elif owners == ["self"] and not parameters.get("RestorableByUserIds"):
        chosen = None
    else:
        chosen = sharing.visible(call.world, call.account, call.region)
    if owners and owners != ["self"]:
        accounts = {call.account if o == "self" else o for o in owners}
        chosen = [s for s in chosen if s.owner in accounts]
    elif owners and ids:
        chosen = [s for s in chosen if s.owner == call.account]
    restorers = parameters.get("RestorableByUserIds") or []
    if restorers and chosen is not None:
        who = {call.account if r == "self" else r for r in restorers}
        chosen = [s for s in chosen if s.owner in who or who & set(s.shared_with)]
    found = select(call, own, chosen, parameters.get("Filters", []), FIELDS)
    shown, token = page(found, parameters)
    return {"Snapshots": [_seen(s, call) for s in shown], "NextToken": token}


def _seen(snapshot: Snapshot, call: Call) -> dict:
    """Tags are private to the owner: another account sees none."""
    view = snapshot.view(call.now)
    return view if snapshot.owner == call.account else {**view, "Tags": []}


def _by_id(call: Call, snapshot_id: str) -> Snapshot:
    snapshot = sharing.visible_snapshot(call.world, call.account, call.region, snapshot_id)
    if hidden(call, snapshot, always=False):
        raise missing("snap", snapshot_id)
    return snapshot


@operation("ec2", "DeleteSnapshot")
def delete_snapshot(call: Call, parameters: dict) -> dict:
    delete_owned(call, sharing.owned(call, parameters))
    return {"Return": True}


def delete_owned(call: Call, snapshot: Snapshot) -> None:
    """Delete unless a registered image has it as its root; a pending one goes when it completes."""
    check_unlocked(snapshot, call.now)
    if snapshot.root_of:
        text = f"The snapshot {snapshot.id} is currently in use by {next(iter(snapshot.root_of))}"
        raise AwsError("InvalidSnapshot.InUse", text)
    started = snapshot.writing is not None and not snapshot.writing.sealed  # would be pending for ever
    if call.now < snapshot.ready_at and not started:
        here = call.here
        call.world.at(snapshot.ready_at, lambda: drop_snapshot(call.world, here, snapshot))
        return
    drop_snapshot(call.world, call.here, snapshot)
