"""Which volumes a restore makes, and exactly how each is made. Pure.

Facts of EBS used here (EBS user guide, volume types): CreateVolume makes gp2 unless a type is given, so the type is
always given; iops belong to io1, io2 and gp3 (3000 are included in gp3), throughput to gp3 (125 MiB/s are included);
st1 and sc1 start at 125 GiB and cannot boot, io1 and io2 at 4 GiB.
"""

from collections.abc import Mapping
from typing import Any

from coordinator.restore_facts import USER_TAGS, PartFacts, PointFacts, RestoreRequest, missing, wrong
from tasks.errors import Invalid

GP3_IOPS = 3000
GP3_THROUGHPUT = 125
HDD = ("st1", "sc1")
SMALLEST_GIB = {"st1": 125, "sc1": 125, "io1": 4, "io2": 4}
USUAL_ROOTS = ("/dev/sda1", "/dev/xvda")


def root_device(point: PointFacts) -> str:
    """The device the instance boots from: as captured, else the usual name that one of the parts has."""
    usual = [part.device for part in point.parts if part.device in USUAL_ROOTS]
    return str(point.captured("root_device")) or (usual[0] if usual else "")


def is_root(part: PartFacts, point: PointFacts) -> bool:
    """Whether this part is the root volume of the point's instance."""
    return point.type == "instance" and bool(part.device) and part.device == root_device(point)


def chosen_parts(point: PointFacts, request: RestoreRequest) -> tuple[PartFacts, ...]:
    """The parts that the request selects, in the point's order; all when none is named. Invalid on an unknown name."""
    if not request.volumes:
        return point.parts
    known = {name for part in point.parts for name in _names(part)}
    for wanted in request.volumes:
        if wanted not in known:
            listed = ", ".join(part.source_id or part.snapshot_id for part in point.parts)
            raise wrong("volumes", wanted, f"a volume id, device or snapshot of this point: {listed}")
    return tuple(part for part in point.parts if _names(part) & set(request.volumes))


def _names(part: PartFacts) -> set[str]:
    return {part.source_id, part.device, part.snapshot_id} - {""}


def disk_of(part: PartFacts, request: RestoreRequest, warnings: list[str], is_boot: bool) -> dict[str, Any]:
    """Size, type, speed and key of a new volume: as it was, or as asked. Adds to `warnings` what is not as it was."""
    kind = request.volume_type or part.type
    if not kind:
        kind = "gp3"
        warnings.append(f"The type of {part.source_id or part.snapshot_id} was not captured: it is made as gp3.")
    smallest = SMALLEST_GIB.get(kind, 0)
    if (kind in HDD and is_boot) or part.size_gib < smallest:
        why = f"it starts at {smallest} GiB" if part.size_gib < smallest else "a boot volume cannot be of it"
        raise Invalid(f"{part.source_id or part.snapshot_id} cannot be {kind}: {why}.", code="option-value")
    disk: dict[str, Any] = {"size_gib": part.size_gib, "volume_type": kind, **_speed(part, request, kind)}
    if request.kms_key:
        disk |= {"encrypted": True, "kms_key_id": request.kms_key}
    return disk


def _speed(part: PartFacts, request: RestoreRequest, kind: str) -> dict[str, int]:
    if request.iops and kind not in ("io1", "io2", "gp3"):
        raise Invalid(f"--iops goes with io1, io2 and gp3, not with {kind}.", code="option-value")
    if request.throughput and kind != "gp3":
        raise Invalid(f"--throughput goes with gp3, not with {kind}.", code="option-value")
    speed: dict[str, int] = {}
    iops = request.iops or part.iops
    if kind in ("io1", "io2"):
        if not request.iops and part.type not in ("io1", "io2"):
            raise missing("iops", f"{kind} has no default, and {part.source_id or part.snapshot_id} was {part.type}")
        speed["iops"] = iops
    elif kind == "gp3" and iops > GP3_IOPS:
        speed["iops"] = iops
    throughput = request.throughput or (part.throughput if part.type == "gp3" else 0)
    if kind == "gp3" and throughput > GP3_THROUGHPUT:
        speed["throughput"] = throughput
    return speed


def clean_tags(was: Mapping[str, str], asked: Mapping[str, str], warnings: list[str]) -> dict[str, str]:
    """The tags of something new: as they were, then as asked. Tags of AWS and our own are never taken over."""
    kept = {key: value for key, value in was.items() if not key.lower().startswith(("aws:", "snapfleet:"))}
    merged = {**asked, **{key: value for key, value in sorted(kept.items()) if key not in asked}}
    if len(merged) > USER_TAGS:
        warnings.append(f"Only {USER_TAGS} of {len(merged)} tags are kept: EC2 allows 50 with ours.")
    return dict(list(merged.items())[:USER_TAGS])
