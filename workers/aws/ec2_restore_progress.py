"""How the steps of a restore get on: grouped questions, always by filter, so that one missing id spoils no answer."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from tasks.errors import CloudFailed, Gone, Impossible, SnapfleetError
from tasks.states import OperationState
from workers.aws.ec2_describe import batches
from workers.aws.errors import shorten, translated
from workers.aws.session import Client, Clients
from workers.driver import Operation, Progress
from workers.pace import Pace

RESTORE_KINDS = frozenset({"volume", "instance", "attachment", "replace-root", "registered-image"})
# A start or stop that was just accepted may still be answered with the state before it.
STALE = timedelta(seconds=30)
Thing = Mapping[str, Any]


def restore_progress(clients: Clients, operations: Sequence[Operation], pace: Pace | None = None) -> list[Progress]:
    """One answer per operation, in the order asked; all of one account and region. Raises only the family."""
    found: dict[str, dict[str, Thing]] = {"task": _tasks(clients, operations)}
    for described in ("volume", "instance", "image"):
        ids = {one.external_id for one in operations if _KINDS.get(one.kind, ("",))[0] == described}
        found[described] = describe_by_id(clients, described, sorted(ids))
    things = [found.get(_KINDS.get(one.kind, ("",))[0], {}).get(one.external_id) for one in operations]
    return [_progress(one, thing, pace or Pace()) for one, thing in zip(operations, things, strict=True)]


def describe_by_id(clients: Clients, kind: str, ids: Sequence[str]) -> dict[str, Thing]:
    """AWS's descriptions of volumes, snapshots, instances or images that exist, by id."""
    found: dict[str, Thing] = {}
    ec2 = clients.read()
    with translated(f"describe {kind}"):
        for some in batches(ids):
            filters = [{"Name": f"{kind}-id", "Values": list(some)}]
            found |= {thing[_ID[kind]]: thing for thing in _described(ec2, kind, filters)}
    return found


_ID = {"volume": "VolumeId", "snapshot": "SnapshotId", "instance": "InstanceId", "image": "ImageId"}


def _described(ec2: Client, kind: str, filters: list[dict[str, Any]]) -> Iterable[Thing]:
    if kind == "image":
        images: list[Thing] = ec2.describe_images(Filters=filters)["Images"]
        return images
    pages = ec2.get_paginator(f"describe_{kind}s").paginate(Filters=filters)
    if kind in ("volume", "snapshot"):
        return [one for page in pages for one in page[f"{kind.title()}s"]]
    return [one for page in pages for group in page["Reservations"] for one in group["Instances"]]


def _tasks(clients: Clients, operations: Sequence[Operation]) -> dict[str, Thing]:
    """Replace-root tasks by id; the API filters them by instance only."""
    instances = sorted({str(one.detail.get("instance_id", "")) for one in operations if one.kind == "replace-root"})
    tasks: dict[str, Thing] = {}
    with translated("DescribeReplaceRootVolumeTasks"):
        for some in batches(instances):
            filters = [{"Name": "instance-id", "Values": list(some)}]
            for page in clients.read().get_paginator("describe_replace_root_volume_tasks").paginate(Filters=filters):
                tasks |= {task["ReplaceRootVolumeTaskId"]: task for task in page["ReplaceRootVolumeTasks"]}
    return tasks


def attachment_to(volume: Thing, instance_id: str) -> Thing:
    """The volume's attachment to this instance, {} when there is none (any more)."""
    mine = [one for one in volume.get("Attachments", []) if one.get("InstanceId") == instance_id]
    return mine[0] if mine and mine[0].get("State") != "detached" else {}


def volumes_held(instance: Thing, status: str = "") -> dict[str, str]:
    """The volumes that an instance holds, by device; only those of this status ('attached') where one is given."""
    mappings = [one for one in instance.get("BlockDeviceMappings", []) if "Ebs" in one]
    return {one["DeviceName"]: one["Ebs"]["VolumeId"] for one in mappings if status in ("", one["Ebs"].get("Status"))}


def platform_problem(image: Thing, wanted: str) -> str:
    """Why an image registered from snapshots is no image of this platform; '' when it is one.

    EC2 takes the licence from the snapshots' own metadata and says nothing when there is none (EC2 API reference,
    RegisterImage): then PlatformDetails of the new image shows another platform than the instance had.
    """
    shown = str(image.get("PlatformDetails", ""))
    if wanted in ("", shown) or (wanted == "Linux/UNIX" and not shown):
        return ""
    return f"The image registered from the snapshots shows {shown or 'no platform'!r}, and the instance was {wanted!r}."


def _progress(operation: Operation, thing: Thing | None, pace: Pace) -> Progress:
    age = pace.age(operation.detail.get("started_at"))
    young = age is not None and age < pace.grace
    again = pace.again(age or timedelta(0))
    name = operation.external_id
    if operation.kind not in _KINDS:
        return Progress(name, OperationState.FAILED, error=Gone(f"Nothing can be asked about a {operation.kind!r}."))
    if thing is None:
        if young:
            return Progress(name, OperationState.RUNNING, ask_again=again)
        return Progress(name, OperationState.GONE, error=Gone(f"{name} does not exist any more."))
    verdict = _KINDS[operation.kind][1](_Asked(operation, age is not None and age < STALE), thing)
    if isinstance(verdict, SnapfleetError):
        state = OperationState.GONE if isinstance(verdict, Gone) else OperationState.FAILED
        return Progress(name, state, error=verdict)
    if verdict is None:
        return Progress(name, OperationState.RUNNING, ask_again=again)
    return Progress(name, OperationState.DONE, 100, detail=verdict)


# Each judge answers what exists now (done), None (still at it) or the error.
Verdict = Mapping[str, Any] | SnapfleetError | None


@dataclass(frozen=True)
class _Asked:
    """An operation, and whether its call is so fresh that the description may still be of the time before."""

    operation: Operation
    fresh: bool


def _judge_volume(asked: _Asked, volume: Thing) -> Verdict:
    state = volume["State"]
    if state in ("available", "in-use"):
        return {"volume_id": asked.operation.external_id, "state": state}
    if state == "creating":
        return None
    if state == "error":
        return CloudFailed(
            f"The volume {asked.operation.external_id} could not be made.",
            advice="Check that its snapshot exists and that the account may use its KMS key.",
        )
    return Gone(f"The volume {asked.operation.external_id} is {state}.")


def _judge_instance(asked: _Asked, instance: Thing) -> Verdict:
    state, want = instance["State"]["Name"], asked.operation.detail.get("want", "running")
    attached = [one for one in instance.get("BlockDeviceMappings", []) if "Ebs" in one]
    if state == want:
        if any(one["Ebs"].get("Status") == "attaching" for one in attached):
            return None
        return {
            "instance_id": asked.operation.external_id,
            "state": state,
            "private_ip": instance.get("PrivateIpAddress", ""),
            "volumes": volumes_held(instance),
        }
    if state in ("pending", "stopping") or (asked.fresh and state in ("running", "stopped")):
        return None
    reason = shorten(str(instance.get("StateReason", {}).get("Message", "")))
    why = f" ({reason})" if reason else ""
    if state == "running":
        return None
    return CloudFailed(f"The instance {asked.operation.external_id} is {state} and not {want}{why}.")


def _judge_attachment(asked: _Asked, volume: Thing) -> Verdict:
    instance = str(asked.operation.detail.get("instance_id", ""))
    now = attachment_to(volume, instance)
    if asked.operation.detail.get("want") == "detached":
        return None if now else {"volume_id": asked.operation.external_id}
    if now.get("State") == "attached":
        return {"volume_id": asked.operation.external_id, "instance_id": instance, "device": now.get("Device", "")}
    if now or asked.fresh:
        return None
    return CloudFailed(f"The volume {asked.operation.external_id} was not attached to {instance}.")


def _judge_replacement(asked: _Asked, task: Thing) -> Verdict:
    state, instance = task["TaskState"], asked.operation.detail.get("instance_id", "")
    if state == "succeeded":
        return {"instance_id": instance, "task_id": asked.operation.external_id}
    if state == "failed-detached":
        return CloudFailed(
            f"{instance} has lost its root volume and did not get the new one.",
            code="root-detached",
            advice="Attach the old root volume again: the plan of the restore names it.",
        )
    if state == "failed":
        return CloudFailed(f"The root volume of {instance} was not replaced; the old one is in use.")
    return None


def _judge_image(asked: _Asked, image: Thing) -> Verdict:
    state = image.get("State", "pending")
    if state == "available":
        problem = platform_problem(image, str(asked.operation.detail.get("platform_details", "")))
        if problem:
            return Impossible(problem, code="needs-image", advice="Restore from a point taken in mode image.")
        return {"image_id": asked.operation.external_id}
    if state in ("pending", "transient"):
        return None
    reason = shorten(str(image.get("StateReason", {}).get("Message", "")))
    return CloudFailed(f"The image {asked.operation.external_id} is {state}{f' ({reason})' if reason else ''}.")


Judge = Callable[[_Asked, Thing], Verdict]
# operation kind -> what is described for it, and who judges the description
_KINDS: Mapping[str, tuple[str, Judge]] = {
    "volume": ("volume", _judge_volume),
    "instance": ("instance", _judge_instance),
    "attachment": ("volume", _judge_attachment),
    "replace-root": ("task", _judge_replacement),
    "registered-image": ("image", _judge_image),
}
