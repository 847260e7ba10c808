"""Restores: a recovery point and a wish in, a plan with reasons out. Pure; nothing here is done, everything is said.

Rules. What is not asked for stays as it was. A point is restored where it lies; a copy is a point of its own. Where
a copy lies, subnets and security groups of the source do not exist, so both must be given; a key pair belongs to a
region and a profile to an account, so they are left out there with a warning. What can be made without harm is made
first; a machine in use is stopped as late as possible, and nothing that it had is deleted. What it holds is known as
last discovered, so a step compares that with the machine itself right before anything of it is stopped or taken off.
"""

import re
from collections.abc import Sequence
from typing import Any

from coordinator.restore_archive import from_repository, into_disks, into_files
from coordinator.restore_disks import chosen_parts, clean_tags
from coordinator.restore_draft import Draft
from coordinator.restore_facts import (
    EC2_KINDS,
    FILE,
    HostFacts,
    PartFacts,
    PointFacts,
    RestoreRequest,
    check_request,
    missing,
    option,
    wrong,
)
from coordinator.restore_instance import plan_instance
from coordinator.restore_plan import PlannedStep, RestorePlan, render, resolve
from coordinator.restore_steps import attach, check, create, power, slug
from coordinator.restore_types import plan_typed
from tasks.errors import Gone, Impossible, Invalid

__all__ = [
    "HostFacts",
    "PartFacts",
    "PlannedStep",
    "PointFacts",
    "RestorePlan",
    "RestoreRequest",
    "plan_restore",
    "render",
    "resolve",
]

_EC2 = ("instance", "volume")
# Device names for further volumes on hvm instances (EC2 user guide, device naming: /dev/sd[f-p] is recommended).
FREE_DEVICES = tuple(f"/dev/sd{letter}" for letter in "fghijklmnop")


def plan_restore(point: PointFacts, request: RestoreRequest) -> RestorePlan:
    """The exact steps of a restore. Raises Invalid (an option), Gone (no such instance) or Impossible (and why)."""
    check_request(request)
    for name, here in (("account", point.account), ("region", point.region)):
        if getattr(request, name) not in ("", here):
            advice = "Restore the copy that lies there, or copy the point there first."
            raise Invalid(f"This point is restored where it lies: {option(name)} {here}.", advice=advice)
    if not point.parts:
        raise Invalid(f"Point {point.id} holds no snapshot that could be restored.", code="no-parts")
    draft = Draft(point, request)
    if request.kind == FILE:
        return into_files(draft, chosen_parts(point, request))
    if point.type not in _EC2:
        plan_typed(draft)
        return into_disks(draft.plan(()), point) if point.repository else draft.plan(())
    if request.kind not in EC2_KINDS:
        raise wrong("kind", request.kind, ", ".join(EC2_KINDS))
    if request.settings:
        raise Invalid(f"--set is not for a point of type {point.type}.", code="option-value")
    parts = chosen_parts(point, request)
    {"volume": _plan_volumes, "instance": plan_instance, "in-place": _plan_in_place}[request.kind](draft, parts)
    if point.repository:
        return from_repository(draft.plan(parts), point, parts, request)
    draft.notes.append("Blocks are fetched from the snapshot at first use: the first reads are slower than usual.")
    return draft.plan(parts)


def _plan_volumes(draft: Draft, parts: Sequence[PartFacts]) -> None:
    point, request = draft.point, draft.request
    host = _host(point, request.attach_to) if request.attach_to else None
    zone = _zone(point, request, host)
    draft.title = f"to {len(parts)} new volume(s) in {point.account}, {zone}"
    if request.device and len(parts) > 1:
        raise Invalid("--device places one volume: choose it with --volume.", code="option-value")
    made = [(part, create(draft, part, zone)) for part in parts]
    taken = set(host.volumes) if host else set()
    for part, step in made:
        if host:
            device = _free_device(request, part, host, taken)
            taken.add(device)
            attach(draft, step, host.instance_id, device, part)


def _plan_in_place(draft: Draft, parts: Sequence[PartFacts]) -> None:
    point, request = draft.point, draft.request
    if not point.here:
        raise Invalid(
            f"A copy in {point.account}, {point.region} cannot replace volumes of {point.resource_id} elsewhere.",
            advice="Restore it with --to volume or --to instance, or restore the original point in place.",
        )
    instance_id = point.resource_id if point.type == "instance" else (point.host.instance_id if point.host else "")
    host = _host(point, instance_id)
    if host.state not in ("running", "stopped"):
        raise Invalid(f"{host.instance_id} is {host.state}; in place needs it running or stopped.", code="host-state")
    if request.zone not in ("", host.zone):
        raise wrong("zone", request.zone, f"{host.zone}, where {host.instance_id} is")
    draft.title = f"in place on {host.instance_id}"
    places = [(part, _place(part, host)) for part in parts]
    draft.interrupts = host.state == "running"
    if request.root == "replace" and len(places) > 1:  # the root is replaced before the others are compared
        check(draft, "check-all", host, [device for _, device in places])
    rest = [(part, device) for part, device in places if not _replace_root(draft, host, part, device, len(parts))]
    if rest:
        _swap(draft, host, rest)


def _replace_root(draft: Draft, host: HostFacts, part: PartFacts, device: str, count: int) -> bool:
    """Plan a replace-root task when that is the way for this part; False: it is swapped like the others."""
    if device != host.root_device:
        return False
    request, way = draft.request, draft.request.root
    problem = ""
    if draft.point.repository:
        problem = "EC2 takes a snapshot of its lineage only, and one from a repository has none"
    elif host.volumes.get(device) != part.source_id:
        problem = f"the root volume is no longer {part.source_id}, and EC2 takes a snapshot of the same lineage only"
    elif host.state != "running":
        problem = "the instance is not running"
    elif request.volume_type or request.kms_key or request.iops or request.throughput:
        problem = "a replaced root volume keeps its type and key"
    elif not request.start:
        problem = "EC2 reboots the instance, and --no-start asks that it stays stopped"
    if way == "replace" and problem:
        raise Impossible(f"The root volume cannot be replaced: {problem}.", advice="Use --root swap.")
    if way == "auto" and count > 1:
        draft.notes.append("Root and data volumes are swapped in one stop, so that old and restored data never mix.")
    if way == "swap" or problem or (way == "auto" and count > 1):
        return False
    params: dict[str, Any] = {"instance_id": host.instance_id, "snapshot_id": part.snapshot_id}
    why = f"Replace the root volume of {host.instance_id} from {part.snapshot_id}; EC2 reboots it."
    draft.add("replace-root", "replace-root", params, why)
    tags = clean_tags(part.tags, draft.request.tags, draft.warnings)
    if tags:
        params = {"instance_id": host.instance_id, "volumes": {device: tags}}
        draft.add("tag-root", "tag-resources", params, "Tag the new root volume as the old one was.")
    draft.notes.append(f"Kept, detached: {host.volumes[device]} (was {device}).")
    draft.warnings.append("A replaced root volume is not put back by itself if a later step fails.")
    return True


def _swap(draft: Draft, host: HostFacts, places: Sequence[tuple[PartFacts, str]]) -> None:
    running = host.state == "running"
    made = [(part, device, create(draft, part, host.zone)) for part, device in places]
    check(draft, "check", host, [device for _, device in places])
    if running:
        power(draft, "stop", host.instance_id, f"Stop {host.instance_id}, so that nothing writes during the swap.")
    for part, device, step in made:
        old = host.volumes.get(device)
        if old:
            params = {"volume_id": old, "instance_id": host.instance_id, "device": device}
            why = f"Detach {old} from {device}; it is kept."
            draft.add(f"detach-{slug(part)}", "detach-volume", params, why, ("detachment",))
            draft.notes.append(f"Kept, detached: {old} (was {device}).")
        attach(draft, step, host.instance_id, device, part)
    if running and draft.request.start:
        power(draft, "start", host.instance_id, f"Start {host.instance_id} with the restored volumes.")
    ending = [device for part, device, _ in made if part.delete_on_termination]
    if ending:
        marks: dict[str, Any] = {"instance_id": host.instance_id, "delete_on_termination": ending}
        why = f"Let {', '.join(ending)} be deleted with the instance, as before."
        draft.add("settle", "tag-resources", marks, why)
    left = sorted(set(host.volumes.values()) - {host.volumes.get(device) for _, device in places})
    if left:
        draft.notes.append(f"Left as they are: {', '.join(left)}.")


def _host(point: PointFacts, instance_id: str) -> HostFacts:
    host = point.host
    if host is None or not instance_id or host.instance_id != instance_id:
        what = instance_id or f"the instance of {point.resource_id}"
        raise Gone(
            f"{what} is not known in {point.account}, {point.region}.",
            code="unknown-instance",
            advice="Restore with --to instance or --to volume, or run discovery if it is new.",
        )
    return host


def _zone(point: PointFacts, request: RestoreRequest, host: HostFacts | None) -> str:
    if host is not None and request.zone not in ("", host.zone):
        raise wrong("zone", request.zone, f"{host.zone}, where {host.instance_id} is")
    zone = host.zone if host else request.zone or (str(point.captured("zone")) if point.here else "")
    if not zone:
        raise missing("zone", f"a volume lies in one zone of {point.region}")
    if not re.fullmatch(re.escape(point.region) + "[a-z0-9-]{1,40}", zone):  # us-east-1a, us-west-2-lax-1a
        raise wrong("zone", zone, f"a zone of {point.region}")
    return zone


def _place(part: PartFacts, host: HostFacts) -> str:
    """The device at which this part's volume is, or was."""
    now = [device for device, volume in host.volumes.items() if volume == part.source_id]
    device = now[0] if now else part.device
    if not device:
        raise Invalid(f"{part.source_id} is not attached to {host.instance_id}.", advice="Use --to volume.")
    return device


def _free_device(request: RestoreRequest, part: PartFacts, host: HostFacts, taken: set[str]) -> str:
    free = [device for device in FREE_DEVICES if device not in taken]
    if request.device:
        if request.device in taken:
            raise wrong("device", request.device, f"a free device of {host.instance_id}: {', '.join(free)}")
        return request.device
    if part.device and part.device not in taken:
        return part.device
    if not free:
        raise missing("device", f"{host.instance_id} has none of the usual names free")
    return free[0]
