"""CreateReplaceRootVolumeTask: another root volume under a running instance.

"Replace the root volume for an Amazon EC2 instance" (EC2 user guide): from a snapshot of the original or a previous
root volume of the same instance, from an image, or from the launch state; the instance is rebooted.
"""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from deploy.sandbox import network
from deploy.sandbox.call import Call, operation
from deploy.sandbox.describing import Fields, check_page, named, page, select, tag_list
from deploy.sandbox.errors import AwsError, bad_combination, missing, required
from deploy.sandbox.idempotency import once
from deploy.sandbox.images import visible_image
from deploy.sandbox.sharing import visible_snapshot
from deploy.sandbox.tags import specified
from deploy.sandbox.volumes import Volume, attach, drop_volume, new_volume
from deploy.sandbox.wire import iso


@dataclass(eq=False)
class Task:
    """pending for the first third of its time, then in-progress, then succeeded."""

    id: str
    sequence: int
    instance_id: str
    created_at: datetime
    done_at: datetime
    source: dict[str, str]
    delete_old: bool
    failed: bool = False
    tags: dict[str, str] = field(default_factory=dict)

    def state(self, now: datetime) -> str:
        if now >= self.done_at:
            return "failed" if self.failed else "succeeded"
        early = now < self.created_at + (self.done_at - self.created_at) / 3
        return "pending" if early else "in-progress"

    def view(self, now: datetime) -> dict[str, Any]:
        done = now >= self.done_at
        return {
            "ReplaceRootVolumeTaskId": self.id,
            "InstanceId": self.instance_id,
            "TaskState": self.state(now),
            "StartTime": iso(self.created_at),
            "CompleteTime": iso(self.done_at) if done else None,
            "DeleteReplacedRootVolume": self.delete_old,
            "Tags": tag_list(self.tags),
            **self.source,
        }


FIELDS: Fields = {"instance-id": lambda t, _: t.instance_id}


@operation("ec2", "CreateReplaceRootVolumeTask")
@once("ClientToken")
def create_replace_root_volume_task(call: Call, parameters: dict) -> dict:
    instance_id = required(parameters, "InstanceId")
    if instance_id not in call.here.instances:
        raise missing("i", instance_id)
    instance = call.here.instances[instance_id]
    if instance.state(call.now) != "running":
        raise AwsError("IncorrectInstanceState", f"The instance '{instance_id}' is not running.")
    if any(t.instance_id == instance_id and call.now < t.done_at for t in call.here.tasks.values()):
        raise AwsError("ReplaceRootVolumeTaskInProgress", f"A task for '{instance_id}' is in progress.")
    old = instance.volumes[instance.root_device]
    fresh, source = _replacement(call, parameters, instance, old)
    task = Task(
        id=call.world.new_id("replacevol"),
        sequence=next(call.world.sequence),
        instance_id=instance_id,
        created_at=call.now,
        done_at=call.now + timedelta(seconds=call.config.replace_root_seconds),
        source=source,
        delete_old=bool(parameters.get("DeleteReplacedRootVolume")),
    )
    call.here.tasks[task.id] = task
    call.here.tags.put(task, specified(parameters, "replace-root-volume-task")["replace-root-volume-task"])
    world, here = call.world, call.here
    world.at(task.done_at, lambda: _finish(world, here, task, instance, fresh))
    return {"ReplaceRootVolumeTask": task.view(call.now)}


def _replacement(call: Call, parameters: dict, instance: Any, old: Volume) -> tuple[Volume, dict[str, str]]:
    snapshot_id, image_id = parameters.get("SnapshotId"), parameters.get("ImageId")
    if snapshot_id and image_id:
        raise bad_combination("SnapshotId and ImageId cannot both be specified.")
    held = None
    if image_id:
        image = visible_image(call, call.region, image_id)
        wanted = {m["DeviceName"]: m.get("Ebs", {}) for m in image.mappings}[image.root_device]
        held = next(s for s in image.snapshots if s.id == wanted["SnapshotId"])
        source = {"ImageId": image_id}
    else:
        snapshot_id = snapshot_id or old.snapshot_id
        held = visible_snapshot(call.world, call.account, call.region, snapshot_id)
        if parameters.get("SnapshotId") and held.volume_id not in instance.root_lineage:
            text = f"The snapshot {snapshot_id} was not created from the root volume of {instance.id}."
            raise AwsError("InvalidParameterValue", text)
        source = {"SnapshotId": snapshot_id}
    asked: dict[str, Any] = {"SnapshotId": held.id, "VolumeType": old.kind, "Size": max(old.size, held.size)}
    if old.kind in ("io1", "io2", "gp3"):
        asked["Iops"] = old.iops
    if old.kind == "gp3":
        asked["Throughput"] = old.throughput
    zone = network.zone(call.account, call.region, instance.zone)
    return new_volume(call, zone, asked, dict(old.tags), held), source


def _finish(world: Any, here: Any, task: Task, instance: Any, fresh: Volume) -> None:
    old = instance.volumes.get(instance.root_device)
    if instance.id not in here.instances or old is None or fresh.id not in here.volumes:
        task.failed = True
        return
    keep = old.delete_on_termination
    instance.volumes.pop(old.device)
    old.instance, old.device, old.attached_at = None, "", None
    attach(fresh, instance, instance.root_device, task.done_at, keep)
    fresh.root_of = instance.id
    instance.root_lineage.append(fresh.id)
    instance.boot(task.done_at, "CreateReplaceRootVolumeTask")
    if task.delete_old:
        drop_volume(world, here, old)


@operation("ec2", "DescribeReplaceRootVolumeTasks")
def describe_replace_root_volume_tasks(call: Call, parameters: dict) -> dict:
    check_page(parameters, "ReplaceRootVolumeTaskIds")
    held, ids = call.here.tasks, parameters.get("ReplaceRootVolumeTaskIds") or []
    chosen: Any = named(call, held, "replacevol", ids) if ids else None
    shown, token = page(select(call, held, chosen, parameters.get("Filters", []), FIELDS), parameters)
    return {"ReplaceRootVolumeTasks": [t.view(call.now) for t in shown], "NextToken": token}
