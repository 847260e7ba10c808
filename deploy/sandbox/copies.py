"""CopySnapshot, called in the destination region.

"CopySnapshot" (EC2 API reference); "Copy an Amazon EBS snapshot" (EBS user guide): the source must be completed, tags
do not travel, a copy's volume id is arbitrary, a key that cannot be used shows only later as state `error`.
"""

from datetime import timedelta

from deploy.sandbox import kms
from deploy.sandbox.call import Call, operation
from deploy.sandbox.errors import AwsError, bad_value, required
from deploy.sandbox.sharing import visible_snapshot
from deploy.sandbox.snapshots import Snapshot, add, spoil
from deploy.sandbox.tags import specified

COPIED_VOLUME = "vol-ffffffff"


def check_slots(call: Call, wanted: int = 1) -> None:
    """ResourceLimitExceeded when too many copies run into this region already."""
    here = call.here
    here.copies = [c for c in here.copies if call.now < c.ready_at and not c.gone]
    if len(here.copies) + wanted > call.config.copies_per_destination:
        text = "Too many snapshot copies in progress. The limit is {} for this destination region."
        raise AwsError("ResourceLimitExceeded", text.format(call.config.copies_per_destination))


def new_key(call: Call, source: Snapshot, encrypted: bool | None, key_id: str | None) -> tuple[str | None, str | None]:
    """(key of the copy, why it will fail) for what a copy request says about encryption."""
    if encrypted is False:
        raise bad_value("The parameter Encrypted cannot be false; omit it.")
    if key_id and not encrypted:
        text = "The parameter KmsKeyId requires the parameter Encrypted to be set."
        raise AwsError("InvalidParameterDependency", text)
    if not source.key and not encrypted:
        return None, None
    arn, usable = kms.chosen(call, key_id)
    readable = kms.usable(call, source.key)
    return arn, None if usable and readable else kms.NOT_ACCESSIBLE


def copy(call: Call, source: Snapshot, key: str | None, failure: str | None, description: str) -> Snapshot:
    """Begin a copy into the caller's account and region. It is incremental when an earlier copy still stands."""
    config, world = call.config, call.world
    base = config.snapshot_seconds if config.copy_seconds is None else config.copy_seconds
    seconds = base + config.snapshot_seconds_per_gib * source.size
    earlier = [
        s for s in call.here.lineage[source.origin].values() if s.key == key and s.state(call.now) == "completed"
    ]
    known = set(earlier[-1].blocks.cells.items()) if earlier else set()
    made = Snapshot(
        id=world.new_id("snap"),
        sequence=next(world.sequence),
        owner=call.account,
        region=call.region,
        volume_id=COPIED_VOLUME,
        size=source.size,
        created_at=call.now,
        ready_at=call.now + timedelta(seconds=seconds),
        blocks=source.blocks.frozen(),
        origin=source.origin,
        key=key,
        description=description,
        billing=source.billing,
        failure=failure,
        copied_from=source,
        transferred=len(source.blocks.cells.items() - known),
    )
    call.here.copies.append(made)
    return made


@operation("ec2", "CopySnapshot")
def copy_snapshot(call: Call, parameters: dict) -> dict:
    source_id, region = required(parameters, "SourceSnapshotId"), required(parameters, "SourceRegion")
    if parameters.get("DestinationRegion") not in (None, call.region):
        raise bad_value("CopySnapshot must be sent to the destination region.")
    tags = specified(parameters, "snapshot")["snapshot"]
    source = visible_snapshot(call.world, call.account, region, source_id)
    if call.config.ebs_two_hops and source.key and source.owner != call.account and region != call.region:
        raise bad_value("An encrypted snapshot can only be copied in the region in which it was shared.")
    state = source.state(call.now)
    if state != "completed":
        raise AwsError("IncorrectState", f"Snapshot {source_id} is in the '{state}' state; it must be completed.")
    if source.tier == "archive":
        raise AwsError("IncorrectState", f"The snapshot '{source_id}' is archived.")
    key, failure = new_key(call, source, parameters.get("Encrypted"), parameters.get("KmsKeyId"))
    check_slots(call)
    description = parameters.get("Description") or f"[Copied {source_id} from {region}]"
    made = copy(call, source, key, failure, description)
    add(call, made, tags)
    spoil(call, made, source_id)
    return {"SnapshotId": made.id, "Tags": [{"Key": k, "Value": v} for k, v in tags.items()]}
