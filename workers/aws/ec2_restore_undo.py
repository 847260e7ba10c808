"""Taking a failed restore back: what it made goes, what it took apart is put together again.

Only what carries our tag is deleted. Every part of this may run again: what is gone already is success, and what
cannot go yet is answered as kept, with an error that says whether trying again helps.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from tasks.errors import Gone, InUse, NotReady, Refused, SnapfleetError
from workers.aws.ec2_describe import volumes_of
from workers.aws.ec2_restore_progress import attachment_to, describe_by_id, volumes_held
from workers.aws.errors import translate, translated
from workers.aws.session import Clients
from workers.aws.tags import is_ours, key_filter, read_tags
from workers.driver import TAG_JOB, Created, Deleted

GONE = "already-gone"
DONE = "deleted"
_CONNECTIONS = ("attachment", "detachment")
_OVER = ("shutting-down", "terminated")


def undo(clients: Clients, created: Sequence[Created]) -> list[Deleted]:
    """Take back what steps reported as created (in the order it was made), last made first; one answer for each.

    A stopped machine is started again when its own volumes are back. It is also started when one cannot go back because
    a volume that is not this restore's has its place, every other place that the restore emptied is taken too, and the
    root is there: then it is as complete as before, without a mixture of old and restored data, and its owner chose
    what is in the place. It stays stopped while a place is empty or holds what the restore made.
    """
    answers: list[Deleted] = []
    ours = {one.external_id for one in created if one.kind == "instance"}
    halting = _halt(clients, created, ours)
    unfinished = False
    for one in reversed(created):
        if _machine(one) in ours:  # it goes as a whole, and sets its volumes free
            answers.append(Deleted(one.external_id, GONE))
        elif one.kind == "stop" and unfinished and not _is_whole(clients, one.external_id, created):
            waits = NotReady(f"{one.external_id} is started once its volumes are back.")
            answers.append(Deleted(one.external_id, "kept", waits))
        elif _machine(one) in halting and one.kind in _CONNECTIONS:
            waits = NotReady(f"{_machine(one)} is being stopped first.")
            answers.append(Deleted(one.external_id, "kept", waits))
            unfinished = True
        else:
            answer = _undo_one(clients, one)
            answers.append(answer)
            unfinished = unfinished or (one.kind in _CONNECTIONS and answer.outcome == "kept")
    return answers


def _machine(one: Created) -> str:
    """The instance that a stop or a connection is about, '' for what is made."""
    if one.kind in _CONNECTIONS:
        return one.external_id.split(":", 2)[1]
    return one.external_id if one.kind == "stop" else ""


def _halt(clients: Clients, created: Sequence[Created], ours: set[str]) -> set[str]:
    """The machines that must be stopped again before their volumes can go back: a root comes off a stopped one only.

    Those among them that run are told to stop here.
    """
    stopped = {one.external_id for one in created if one.kind == "stop"} - ours
    pairs = [one.external_id.split(":", 2) for one in created if one.kind == "attachment"]
    volumes = {volume: instance for volume, instance, _ in pairs if instance in stopped}
    if not volumes:
        return set()
    now = describe_by_id(clients, "volume", list(volumes))
    machines = sorted({volumes[name] for name, volume in now.items() if attachment_to(volume, volumes[name])})
    states = {
        name: instance["State"]["Name"] for name, instance in describe_by_id(clients, "instance", machines).items()
    }
    running = [name for name, state in states.items() if state == "running"]
    if running:
        with translated("StopInstances"):
            clients.read().stop_instances(InstanceIds=running)
    return {name for name, state in states.items() if state in ("running", "pending", "stopping")}


def _is_whole(clients: Clients, instance_id: str, created: Sequence[Created]) -> bool:
    """Whether a machine has its root and, in every place that was emptied, a volume that this restore did not make."""
    pairs = [(one.kind, *one.external_id.split(":", 2)) for one in created if one.kind in _CONNECTIONS]
    made = {one.external_id for one in created if one.kind == "volume"}
    made |= {volume for kind, volume, _, _ in pairs if kind == "attachment"}
    needed = {device for kind, _, machine, device in pairs if kind == "detachment" and machine == instance_id}
    try:
        instance = describe_by_id(clients, "instance", [instance_id]).get(instance_id, {})
    except SnapfleetError:
        return False  # nothing is known of it just now: the next attempt asks again
    held = volumes_held(instance, "attached")
    needed.add(str(instance.get("RootDeviceName", "")))
    return needed <= held.keys() and not made & set(held.values())


def _undo_one(clients: Clients, one: Created) -> Deleted:
    take_back = _UNDO.get(one.kind)
    if take_back is None:
        return Deleted(one.external_id, "kept", Refused(f"Nothing takes back a {one.kind!r}."))
    try:
        return Deleted(one.external_id, take_back(clients, one.external_id))
    except Gone:
        return Deleted(one.external_id, GONE)
    except SnapfleetError as error:
        return Deleted(one.external_id, "kept", error)
    except (ClientError, BotoCoreError) as error:
        refused = translate(error, operation=f"undo {one.kind}")
        return (
            Deleted(one.external_id, GONE) if isinstance(refused, Gone) else Deleted(one.external_id, "kept", refused)
        )


def _found(clients: Clients, kind: str, external_id: str) -> Mapping[str, Any]:
    """The thing as it is. Raises Gone when it is not, Refused when it carries no tag of ours."""
    thing = describe_by_id(clients, kind, [external_id]).get(external_id)
    if thing is None:
        raise Gone(f"{external_id} does not exist any more.")
    if not is_ours(read_tags(thing.get("Tags")), clients.account.installation):
        raise Refused(f"{external_id} does not carry our tag, so it stays.", code="not-ours")
    return thing


def _undo_volume(clients: Clients, volume_id: str) -> str:
    volume = _found(clients, "volume", volume_id)
    if volume["State"] in ("deleting", "deleted"):
        return GONE
    if volume.get("Attachments"):
        instance = volume["Attachments"][0].get("InstanceId")
        raise InUse(f"{volume_id} is still attached to {instance}.", wait=timedelta(seconds=15))
    clients.read().delete_volume(VolumeId=volume_id)
    return DONE


def _undo_snapshot(clients: Clients, snapshot_id: str) -> str:
    _found(clients, "snapshot", snapshot_id)
    clients.read().delete_snapshot(SnapshotId=snapshot_id)
    return DONE


def _undo_image(clients: Clients, image_id: str) -> str:
    _found(clients, "image", image_id)
    clients.read().deregister_image(ImageId=image_id)  # its snapshots are the recovery point's and stay
    return DONE


def _undo_instance(clients: Clients, instance_id: str) -> str:
    """Terminate the instance with its volumes, whatever they were to do at its end."""
    ec2 = clients.read()
    instance = _found(clients, "instance", instance_id)
    key = read_tags(instance.get("Tags")).get(TAG_JOB, "")
    over = instance["State"]["Name"] in _OVER
    if not over:
        held = volumes_of(ec2, [instance_id]).get(instance_id, [])
        mine = [volume for volume in held if _is_of(clients, volume, key)]
        marks = [
            {"DeviceName": attachment_to(volume, instance_id)["Device"], "Ebs": {"DeleteOnTermination": True}}
            for volume in mine
        ]
        if marks:
            ec2.modify_instance_attribute(InstanceId=instance_id, BlockDeviceMappings=marks)
        ec2.terminate_instances(InstanceIds=[instance_id])
    left = _left_volumes(clients, key)
    for volume_id in left:
        ec2.delete_volume(VolumeId=volume_id)
    return GONE if over and not left else DONE


def _is_of(clients: Clients, volume: Mapping[str, Any], key: str) -> bool:
    tags = read_tags(volume.get("Tags"))
    return is_ours(tags, clients.account.installation) and bool(key) and tags.get(TAG_JOB) == key


def _left_volumes(clients: Clients, key: str) -> list[str]:
    """Volumes of the same launch that are attached to nothing any more."""
    if not key:
        return []
    filters = [key_filter([key]), {"Name": "status", "Values": ["available"]}]
    found = clients.read().describe_volumes(Filters=filters)["Volumes"]
    return [volume["VolumeId"] for volume in found if _is_of(clients, volume, key)]


def _undo_attachment(clients: Clients, name: str) -> str:
    volume_id, instance_id, _ = name.split(":", 2)
    now = attachment_to(_found(clients, "volume", volume_id), instance_id)
    if not now:
        return GONE
    if now.get("State") != "detaching":
        clients.read().detach_volume(VolumeId=volume_id, InstanceId=instance_id)
    return DONE


def _undo_detachment(clients: Clients, name: str) -> str:
    """Attach the customer's own volume again where it was."""
    volume_id, instance_id, device = name.split(":", 2)
    volume = describe_by_id(clients, "volume", [volume_id]).get(volume_id)
    if volume is None:
        raise Refused(f"{volume_id} does not exist any more, so it cannot be attached to {instance_id} again.")
    now = attachment_to(volume, instance_id)
    if now.get("State") == "detaching":
        raise NotReady(f"{volume_id} is still being detached from {instance_id}.")
    if now:
        return GONE
    try:
        clients.read().attach_volume(VolumeId=volume_id, InstanceId=instance_id, Device=device)
    except ClientError as error:
        refused = translate(error)
        raise NotReady(f"{volume_id} cannot go back to {instance_id} yet. {refused.text}") from None
    return DONE


def _undo_stop(clients: Clients, instance_id: str) -> str:
    instance = describe_by_id(clients, "instance", [instance_id]).get(instance_id)
    if instance is None or instance["State"]["Name"] in _OVER:
        return GONE
    if instance["State"]["Name"] in ("running", "pending"):
        return GONE
    if instance["State"]["Name"] == "stopping":
        raise NotReady(f"{instance_id} is still stopping.")
    clients.read().start_instances(InstanceIds=[instance_id])
    return DONE


_UNDO: Mapping[str, Callable[[Clients, str], str]] = {
    "volume": _undo_volume,
    "snapshot": _undo_snapshot,
    "image": _undo_image,
    "instance": _undo_instance,
    "attachment": _undo_attachment,
    "detachment": _undo_detachment,
    "stop": _undo_stop,
}
