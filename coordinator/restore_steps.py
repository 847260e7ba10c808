"""Steps that several kinds of restore share."""

from collections.abc import Sequence

from coordinator.restore_disks import clean_tags, disk_of, is_root
from coordinator.restore_draft import Draft
from coordinator.restore_facts import HostFacts, PartFacts
from coordinator.restore_plan import ref


def create(draft: Draft, part: PartFacts, zone: object) -> str:
    """Add the step that makes a volume again; `zone` is a name or a reference. Returns the step."""
    disk = disk_of(part, draft.request, draft.warnings, is_boot=is_root(part, draft.point))
    params = {
        "snapshot_id": part.snapshot_id,
        "zone": zone,
        **disk,
        "tags": clean_tags(part.tags, draft.request.tags, draft.warnings),
    }
    source = part.source_id or part.device
    why = f"Make a {part.size_gib} GiB {disk['volume_type']} volume from {part.snapshot_id}, as {source} was."
    return draft.add(f"create-{slug(part)}", "create-volume", params, why, ("volume",))


def attach(draft: Draft, step: str, instance_id: object, device: str, part: PartFacts) -> None:
    """Add the step that attaches what `step` makes."""
    params = {"volume_id": ref(step, "volume_id"), "instance_id": instance_id, "device": device}
    name = instance_id if isinstance(instance_id, str) else "the new instance"
    why = f"Attach the new volume to {name} as {device}."
    draft.add(f"attach-{slug(part)}", "attach-volume", params, why, ("attachment",))


def check(draft: Draft, name: str, host: HostFacts, devices: Sequence[str]) -> None:
    """Add the step that compares what a machine holds at these devices with what is planned; '' for a free one.

    It is a step of its own, so that what it saw is in the catalog before anything is taken off: a volume that is off
    when its step begins was taken off by an attempt whose answer was lost.
    """
    volumes = {device: host.volumes.get(device, "") for device in devices}
    held = ", ".join(f"{volume or 'nothing'} at {device}" for device, volume in volumes.items())
    why = f"Make sure that {host.instance_id} still has {held}; if not, it is left as it is."
    draft.add(name, "check-volumes", {"instance_id": host.instance_id, "volumes": volumes}, why)


def power(draft: Draft, verb: str, instance_id: object, why: str) -> None:
    """Add a step that stops or starts an instance."""
    creates = ("stop",) if verb == "stop" else ()
    draft.add(verb, f"{verb}-instance", {"instance_id": instance_id}, why, creates)


def slug(part: PartFacts) -> str:
    """A word for step names: the device's last part, else the snapshot's id; letters, digits and hyphens."""
    word = part.device.rsplit("/", 1)[-1] or part.snapshot_id
    return "".join(char if char.isascii() and char.isalnum() else "-" for char in word)
