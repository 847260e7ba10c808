"""The plan for a whole new instance: from the point's image where it has one, else from its snapshots. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any

from coordinator.restore_disks import clean_tags, disk_of, is_root, root_device
from coordinator.restore_draft import Draft
from coordinator.restore_facts import AUTO, NONE, ORIGINAL, PartFacts, PointFacts, missing, option, wrong
from coordinator.restore_plan import ref
from coordinator.restore_steps import attach, create, power
from tasks.errors import Impossible, Invalid

# Attributes that a new instance takes over by the same name.
KEPT_BY_INSTANCE = ("ebs_optimized", "metadata_options", "monitoring")
# Attributes that an image must be registered with, or the machine may not boot (EC2 API, RegisterImage).
KEPT_BY_IMAGE = ("architecture", "ena_support", "sriov_net_support", "tpm_support", "virtualization_type")


def plan_instance(draft: Draft, parts: Sequence[PartFacts]) -> None:
    """Add the steps that make the instance. Raises Invalid and Impossible."""
    point, request = draft.point, draft.request
    if point.type != "instance":
        raise Invalid("--to instance needs a point of an instance; this is one volume.", advice="Use --to volume.")
    root = next((part for part in parts if is_root(part, point)), None)
    if root is None:
        raise Invalid("A whole instance needs its root volume.", advice="Add it with --volume, or use --to volume.")
    draft.title = f"to a new instance in {point.account}, {point.region}"
    base = _base_image(draft)
    if base:
        _through_image(draft, parts, root, base)
        return
    disks = [disk_of(part, request, draft.warnings, is_boot=part is root) for part in parts]
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
        draft.add("stop", "stop-instance", {"instance_id": ref(run, "instance_id")}, "Stop the new instance.")
        draft.notes.append("EC2 cannot make an instance without starting it: it boots once, then it is stopped.")


def _base_image(draft: Draft) -> str:
    """The image to launch from before the volumes are exchanged; '' when the point itself can be launched."""
    point = draft.point
    platform = str(point.captured("platform_details") or point.captured("platform"))
    if draft.request.image or point.image_id or platform in ("", "Linux/UNIX"):
        return draft.request.image
    if "windows" in platform.lower() or "sql" in platform.lower():
        if point.base_image_id:
            return point.base_image_id
        raise Impossible(
            f"An image registered from snapshots does not carry the licence of {platform!r}, and EC2 would not run it.",
            code="needs-image",
            advice="Name an image of the same system with --image, or use a point taken in mode image, or restore with "
            "--to in-place.",
        )
    draft.warnings.append(f"{platform}: if the temporary image does not show this platform, the restore stops there.")
    return ""


def _through_image(draft: Draft, parts: Sequence[PartFacts], root: PartFacts, image: str) -> None:
    """Launch from an image that has the licence, stop, and exchange its volumes for those of the point."""
    point = draft.point
    run = _run(draft, image, [], [], skip=[device for device in point.base_image_devices if device != root.device])
    instance = ref(run, "instance_id")
    power(draft, "stop", instance, "Stop it: a root volume comes off a stopped instance only.")
    made = [(part, create(draft, part, ref(run, "zone"))) for part in parts]
    old = {"volume_id": ref(run, f"volumes.{root.device}"), "instance_id": instance, "device": root.device}
    draft.add("detach-root", "detach-volume", old, "Detach the image's own root volume.", ("detachment",))
    for part, step in made:
        attach(draft, step, instance, part.device, part)
    ending = [part.device for part in parts if part.delete_on_termination]
    if ending:
        marks = {"instance_id": instance, "delete_on_termination": ending}
        why = f"Let {', '.join(ending)} be deleted with the instance, as before."
        draft.add("settle", "tag-resources", marks, why)
    draft.add("drop-root", "delete-volume", {"volume_id": old["volume_id"]}, "Delete the image's own root volume.")
    if draft.request.start:
        power(draft, "start", instance, "Start it with the restored volumes.")
    draft.notes.append(f"The instance boots once from {image} before its volumes are exchanged.")


def _register(draft: Draft, parts: Sequence[PartFacts], disks: Sequence[Mapping[str, Any]]) -> str:
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
    boot_mode = point.captured("boot_mode_wanted") or point.captured("boot_mode")
    params |= {"boot_mode": boot_mode, "root_device": root_device(point), "volumes": mappings}
    why = "Register a temporary image over the snapshots of the point, to launch from."
    return draft.add("register-image", "register-image", params, why, ("image",))


def _run(
    draft: Draft,
    image: object,
    parts: Sequence[PartFacts],
    disks: Sequence[Mapping[str, Any]],
    skip: Sequence[str] = (),
) -> str:
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
        **_identity(draft, first_boot_is_ours=bool(parts)),
        "volumes": volumes,
        "skip_devices": list(skip) or (left_out if point.image_id and parts else []),
        "tags": clean_tags(point.tags or point.captured("tags", {}), request.tags, draft.warnings),
        **_placement(point),
        **{name: point.captured(name, None) for name in KEPT_BY_INSTANCE},
    }
    _warn_of_losses(draft)
    origin = image if isinstance(image, str) else "the temporary image"
    why = f"Launch a {instance_type} {f'with {len(parts)} volume(s) ' if parts else ''}from {origin}."
    return draft.add("run-instance", "run-instance", params, why, ("instance",))


def _placement(point: PointFacts) -> dict[str, str]:
    placement: Mapping[str, str] = point.captured("placement", {})
    tenancy = placement.get("Tenancy", "")
    group = placement.get("GroupName", "") if point.here else ""
    return {"tenancy": "" if tenancy == "default" else tenancy, "placement_group": group}


def _warn_of_losses(draft: Draft) -> None:
    """Say what a launch cannot make as it was."""
    interfaces: Sequence[Mapping[str, Any]] = draft.point.captured("interfaces", [])
    if len(interfaces) > 1:
        draft.warnings.append("The instance had several network interfaces: only the first is made again.")
    elastic = [str(one["public_ip"]) for one in interfaces if one.get("elastic")]
    if elastic:
        draft.warnings.append(f"Elastic addresses stay where they are: {', '.join(elastic)}.")
    if draft.point.captured("source_dest_check", True) is False:
        draft.warnings.append("The source/destination check was off: it is on in the new instance.")
    if draft.point.captured("lifecycle"):
        draft.warnings.append(f"The instance was {draft.point.captured('lifecycle')}: the new one is on demand.")


def _network(draft: Draft) -> dict[str, Any]:
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


def _address(draft: Draft, moved: bool) -> str:
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


def _identity(draft: Draft, first_boot_is_ours: bool) -> dict[str, Any]:
    """Key pair, profile and user data. User data may hold secrets: the plan only says that it is taken over.

    Where the first boot is that of an image whose root is then exchanged, user data would run in the wrong system.
    """
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
    if captures and not first_boot_is_ours:
        draft.warnings.append("The user data is left out: it would run in the image's own system.")
        captures = False
    return {**result, "user_data": "captured" if captures else ""}
