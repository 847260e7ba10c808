"""Restores: a recovery point and a wish in, a plan with reasons out. Pure; nothing here is done, everything is said.

Rules. What is not asked for stays as it was. A point is restored where it lies; a copy is a point of its own. Where
a copy lies, subnets and security groups of the source do not exist, so both must be given; a key pair belongs to a
region and a profile to an account, so they are left out there with a warning. What can be made without harm is made
first; a machine in use is stopped as late as possible, and nothing that it had is deleted.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from coordinator.restore_disks import chosen_parts, clean_tags, disk_of, is_root, root_device
from coordinator.restore_facts import (
    AUTO,
    NONE,
    ORIGINAL,
    HostFacts,
    PartFacts,
    PointFacts,
    RestoreRequest,
    check_request,
    missing,
    option,
    wrong,
)
from coordinator.restore_plan import PlannedStep, RestorePlan, ref, render, resolve
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

# Device names for further volumes on hvm instances (EC2 user guide, device naming: /dev/sd[f-p] is recommended).
FREE_DEVICES = tuple(f"/dev/sd{letter}" for letter in "fghijklmnop")
# Attributes that a new instance takes over by the same name.
KEPT_BY_INSTANCE = ("ebs_optimized", "tenancy", "metadata_options", "termination_protection")
# Attributes that an image must be registered with, or the machine may not boot (EC2 API, RegisterImage).
KEPT_BY_IMAGE = ("architecture", "boot_mode", "ena_support", "sriov_net_support", "tpm_support", "virtualization_type")


@dataclass
class _Draft:
    point: PointFacts
    request: RestoreRequest
    title: str = ""
    steps: list[PlannedStep] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    interrupts: bool = False

    def add(self, name: str, kind: str, params: Mapping[str, Any], why: str, creates: tuple[str, ...] = ()) -> str:
        kept = {key: value for key, value in params.items() if value not in ("", None, {}, [])}
        self.steps.append(PlannedStep(name, kind, kept, why, creates))
        return name

    def plan(self, parts: Sequence[PartFacts]) -> RestorePlan:
        return RestorePlan(
            point_id=self.point.id,
            kind=self.request.kind,
            account=self.point.account,
            region=self.point.region,
            title=f"Restore point {self.point.id} of {_named(self.point)} {self.title}",
            steps=tuple(self.steps),
            notes=tuple(self.notes),
            warnings=tuple(self.warnings),
            estimate={
                "volumes": len(parts),
                "size_gib": sum(part.size_gib for part in parts),
                "interrupts": self.interrupts,
            },
        )


def plan_restore(point: PointFacts, request: RestoreRequest) -> RestorePlan:
    """The exact steps of a restore. Raises Invalid (an option), Gone (no such instance) or Impossible (and why)."""
    check_request(request)
    for name, here in (("account", point.account), ("region", point.region)):
        if getattr(request, name) not in ("", here):
            advice = "Restore the copy that lies there, or copy the point there first."
            raise Invalid(f"This point is restored where it lies: {option(name)} {here}.", advice=advice)
    if not point.parts:
        raise Invalid(f"Point {point.id} holds no snapshot that could be restored.", code="no-parts")
    parts = chosen_parts(point, request)
    draft = _Draft(point, request)
    {"volume": _plan_volumes, "instance": _plan_instance, "in-place": _plan_in_place}[request.kind](draft, parts)
    draft.notes.append("Blocks are fetched from the snapshot at first use: the first reads are slower than usual.")
    return draft.plan(parts)


def _plan_volumes(draft: _Draft, parts: Sequence[PartFacts]) -> None:
    point, request = draft.point, draft.request
    host = _host(point, request.attach_to) if request.attach_to else None
    zone = _zone(point, request, host)
    draft.title = f"to {len(parts)} new volume(s) in {point.account}, {zone}"
    if request.device and len(parts) > 1:
        raise Invalid("--device places one volume: choose it with --volume.", code="option-value")
    made = [(part, _create(draft, part, zone)) for part in parts]
    taken = set(host.volumes) if host else set()
    for part, step in made:
        if host:
            device = _free_device(request, part, host, taken)
            taken.add(device)
            _attach(draft, step, host.instance_id, device, _slug(part))


def _plan_in_place(draft: _Draft, parts: Sequence[PartFacts]) -> None:
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
    places = [(part, _place(part, point, host)) for part in parts]
    draft.interrupts = host.state == "running"
    rest = [(part, device) for part, device in places if not _replace_root(draft, host, part, device, len(parts))]
    if rest:
        _swap(draft, host, rest)


def _replace_root(draft: _Draft, host: HostFacts, part: PartFacts, device: str, count: int) -> bool:
    """Plan a replace-root task when that is the way for this part; False: it is swapped like the others."""
    if device != host.root_device:
        return False
    request, way = draft.request, draft.request.root
    problem = ""
    if host.volumes.get(device) != part.source_id:
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


def _swap(draft: _Draft, host: HostFacts, places: Sequence[tuple[PartFacts, str]]) -> None:
    running = host.state == "running"
    made = [(part, device, _create(draft, part, host.zone)) for part, device in places]
    if running:
        _power(draft, "stop", host.instance_id, f"Stop {host.instance_id}, so that nothing writes during the swap.")
    for part, device, step in made:
        old = host.volumes.get(device)
        if old:
            params = {"volume_id": old, "instance_id": host.instance_id, "device": device}
            why = f"Detach {old} from {device}; it is kept."
            draft.add(f"detach-{_slug(part)}", "detach-volume", params, why, ("detachment",))
            draft.notes.append(f"Kept, detached: {old} (was {device}).")
        _attach(draft, step, host.instance_id, device, _slug(part))
    if running and draft.request.start:
        _power(draft, "start", host.instance_id, f"Start {host.instance_id} with the restored volumes.")
    left = sorted(set(host.volumes.values()) - {host.volumes.get(device) for _, device in places})
    if left:
        draft.notes.append(f"Left as they are: {', '.join(left)}.")
    draft.notes.append("An attached volume is not deleted with its instance, whatever the old one was set to.")


def _plan_instance(draft: _Draft, parts: Sequence[PartFacts]) -> None:
    point, request = draft.point, draft.request
    if point.type != "instance":
        raise Invalid("--to instance needs a point of an instance; this is one volume.", advice="Use --to volume.")
    root = next((part for part in parts if is_root(part, point)), None)
    if root is None:
        raise Invalid("A whole instance needs its root volume.", advice="Add it with --volume, or use --to volume.")
    _check_bootable(draft)
    disks = [disk_of(part, request, draft.warnings, is_boot=part is root) for part in parts]
    draft.title = f"to a new instance in {point.account}, {point.region}"
    image: object = point.image_id
    if not point.image_id:
        image = ref(_register(draft, parts, disks), "image_id")
    run = _run(draft, image, parts, disks)
    tags = {part.device: clean_tags(part.tags, request.tags, draft.warnings) for part in parts}
    named = {device: given for device, given in tags.items() if given}
    if named:
        params = {"instance_id": ref(run, "instance_id"), "volumes": named}
        draft.add("tag-volumes", "tag-resources", params, "Tag each new volume as its source was.")
    if not point.image_id:
        params = {"image_id": ref("register-image", "image_id")}
        why = "Remove the temporary image; the snapshots of the point stay."
        draft.add("deregister-image", "deregister-image", params, why)
    if not request.start:
        draft.steps.append(
            PlannedStep("stop", "stop-instance", {"instance_id": ref(run, "instance_id")}, "Stop the new instance.")
        )
        draft.notes.append("EC2 cannot make an instance without starting it: it boots once, then it is stopped.")


def _check_bootable(draft: _Draft) -> None:
    platform = str(draft.point.captured("platform_details"))
    if draft.point.image_id or platform in ("", "Linux/UNIX"):
        return
    if "windows" in platform.lower() or "sql" in platform.lower():
        raise Impossible(
            f"An image registered from snapshots does not carry the licence of {platform!r}, and EC2 would not run it.",
            code="needs-image",
            advice="Use a point taken in mode image, or restore with --to volume and attach it to an instance launched "
            "from an image of the same system, or restore --to in-place.",
        )
    draft.warnings.append(f"{platform}: if the temporary image does not show this platform, the restore stops there.")


def _register(draft: _Draft, parts: Sequence[PartFacts], disks: Sequence[Mapping[str, Any]]) -> str:
    point = draft.point
    mappings = [
        {
            "device": part.device,
            "snapshot_id": part.snapshot_id,
            "delete_on_termination": part.delete_on_termination,
            **{name: value for name, value in disk.items() if name not in ("encrypted", "kms_key_id")},
        }
        for part, disk in zip(parts, disks, strict=True)
    ]
    params = {name: point.captured(name, None) for name in (*KEPT_BY_IMAGE, "platform_details")}
    params |= {"root_device": root_device(point), "volumes": mappings}
    why = "Register a temporary image over the snapshots of the point, to launch from."
    return draft.add("register-image", "register-image", params, why, ("image",))


def _run(draft: _Draft, image: object, parts: Sequence[PartFacts], disks: Sequence[Mapping[str, Any]]) -> str:
    point, request = draft.point, draft.request
    instance_type = request.type or point.captured("instance_type")
    if not instance_type:
        raise missing("type", "the point does not say which type the instance had")
    volumes = [
        {"device": part.device, "delete_on_termination": part.delete_on_termination, **disk}
        for part, disk in zip(parts, disks, strict=True)
    ]
    left_out = sorted({part.device for part in point.parts} - {part.device for part in parts})
    params = {
        "image_id": image,
        "instance_type": instance_type,
        **_network(draft),
        **_identity(draft),
        "volumes": volumes,
        "skip_devices": left_out if point.image_id else [],
        "tags": clean_tags(point.tags, request.tags, draft.warnings),
        **{name: point.captured(name, None) for name in KEPT_BY_INSTANCE},
    }
    if len(point.captured("interfaces", [])) > 1:
        draft.warnings.append("The instance had several network interfaces: only the first is made again.")
    why = f"Launch a {instance_type} with {len(parts)} volume(s) from {point.image_id or 'the temporary image'}."
    return draft.add("run-instance", "run-instance", params, why, ("instance",))


def _network(draft: _Draft) -> dict[str, Any]:
    point, request = draft.point, draft.request
    absent = [name for name in ("subnet", "security_groups") if not point.here and not getattr(request, name)]
    if absent:
        why = f"the point is a copy in {point.account}, {point.region}, where the source's own do not exist"
        raise Invalid(f"Needed: {' and '.join(option(name) for name in absent)}; {why}.", code="option-missing")
    zone = str(point.captured("zone")) if point.here else ""
    if request.zone and request.zone != zone and not request.subnet:
        raise missing("subnet", f"a subnet lies in one zone, and the one that was used is not in {request.zone}")
    groups = list(request.security_groups) or list(point.captured("security_group_ids", []))
    subnet = request.subnet or str(point.captured("subnet_id"))
    if request.subnet and point.here and not request.security_groups and subnet != point.captured("subnet_id"):
        draft.warnings.append("The security groups are the old ones: they must be in the same VPC as the given subnet.")
    return {
        "subnet_id": subnet,
        "zone": "" if subnet else request.zone or zone,
        "security_group_ids": [] if groups == [NONE] else groups,
        "private_ip": _address(draft, moved=not point.here or subnet != point.captured("subnet_id")),
    }


def _address(draft: _Draft, moved: bool) -> str:
    point, wanted = draft.point, draft.request.address
    original = str(point.captured("private_ip"))
    in_use = point.here and point.host is not None and point.host.instance_id == point.resource_id
    if wanted == ORIGINAL:
        if not original:
            raise wrong("address", ORIGINAL, f"{AUTO} or an IPv4 address; the point holds no address")
        if in_use:
            draft.warnings.append(f"{point.resource_id} still exists: {original} is free only once it is gone.")
        return original
    if wanted or not original:
        return "" if wanted in ("", AUTO) else wanted
    if in_use or moved:
        reason = f"{point.resource_id} still exists" if in_use else "the subnet is another"
        draft.warnings.append(f"The address will be a new one, not {original}: {reason} (--address sets it).")
        return ""
    return original


def _identity(draft: _Draft) -> dict[str, Any]:
    """Key pair, profile and user data. User data may hold secrets: the plan only says that it is taken over."""
    point, request = draft.point, draft.request
    has = {
        "key": (str(point.captured("key_name")), point.here, "a key pair belongs to one region of one account"),
        "profile": (
            str(point.captured("profile_arn")),
            (point.home_account or point.account) == point.account,
            "a profile belongs to one account",
        ),
    }
    result: dict[str, Any] = {}
    for name, (captured, valid, reason) in has.items():
        given = getattr(request, name)
        if not given and captured and not valid:
            draft.warnings.append(f"Without {name} {captured}: {reason} ({option(name)} sets one).")
        value = given or (captured if valid else "")
        result[name] = "" if value == NONE else value
    captures = request.user_data == ORIGINAL and bool(point.captured("user_data"))
    return {**result, "user_data": "captured" if captures else ""}


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
    if not zone.startswith(point.region):
        raise wrong("zone", zone, f"a zone of {point.region}")
    return zone


def _place(part: PartFacts, point: PointFacts, host: HostFacts) -> str:
    """The device at which this part's volume is, or was."""
    now = [device for device, volume in host.volumes.items() if volume == part.source_id]
    device = now[0] if now else part.device or str(point.captured("device"))
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


def _create(draft: _Draft, part: PartFacts, zone: str) -> str:
    disk = disk_of(part, draft.request, draft.warnings, is_boot=is_root(part, draft.point))
    params = {
        "snapshot_id": part.snapshot_id,
        "zone": zone,
        **disk,
        "tags": clean_tags(part.tags, draft.request.tags, draft.warnings),
    }
    source = part.source_id or part.device
    why = f"Make a {part.size_gib} GiB {disk['volume_type']} volume from {part.snapshot_id}, as {source} was."
    return draft.add(f"create-{_slug(part)}", "create-volume", params, why, ("volume",))


def _attach(draft: _Draft, step: str, instance_id: str, device: str, slug: str) -> None:
    params = {"volume_id": ref(step, "volume_id"), "instance_id": instance_id, "device": device}
    why = f"Attach the new volume to {instance_id} as {device}."
    draft.add(f"attach-{slug}", "attach-volume", params, why, ("attachment",))


def _power(draft: _Draft, verb: str, instance_id: str, why: str) -> None:
    creates = ("stop",) if verb == "stop" else ()
    draft.add(verb, f"{verb}-instance", {"instance_id": instance_id}, why, creates)


def _slug(part: PartFacts) -> str:
    """A word for step names: the device's last part, else the snapshot's id; letters, digits and hyphens."""
    word = part.device.rsplit("/", 1)[-1] or part.snapshot_id
    return "".join(char if char.isascii() and char.isalnum() else "-" for char in word)


def _named(point: PointFacts) -> str:
    name = f" {point.resource_name!r}" if point.resource_name else ""
    return f"{point.type} {point.resource_id}{name}"
