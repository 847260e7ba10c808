"""Restores of EFS: files into a new or an existing file system, then all that a new one comes without.

AWS Backup puts files into a folder `aws-backup-restore_<time>` and overwrites nothing. What `configure-file-system`
finds there already is left alone, so that it may run again.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from tasks.errors import Gone, InUse, Invalid, NotReady, Refused
from tasks.states import OperationState
from workers.aws import aws_backup
from workers.aws.efs_describe import describe, mount_targets
from workers.aws.session import Client, Clients
from workers.aws.tags import fit_tags, is_ours, name_for, part_key, read_tags, token_for, write_tags
from workers.driver import Created, Operation, Point, Progress, RestoreStep, StepStarted
from workers.pace import Pace

FILE_SYSTEM, RESTORE = "file-system", "restore"
_SMALLEST_TOKEN = 40  # characters of a digest that name one thing for ever


@dataclass(frozen=True)
class FileSystemRestore:
    """One step to begin, with the tools."""

    clients: Clients
    point: Point
    step: RestoreStep
    key: str
    tags: Mapping[str, str]
    pace: Pace

    def start(self) -> StepStarted:
        """Begin the step. Raises Invalid for one that is unknown."""
        if self.step.kind == "restore-file-system":
            return self._restore()
        if self.step.kind == "configure-file-system":
            return self._configure()
        raise Invalid(f"There is no restore step {self.step.kind!r} for file systems.", code="bad-step")

    def _need(self, name: str) -> str:
        value = self.step.params.get(name)
        if not isinstance(value, str) or not value:
            raise Invalid(f"The restore step {self.step.kind} lacks {name!r}.", code="bad-step")
        return value

    def _restore(self) -> StepStarted:
        params, backup = self.step.params, self._need("backup_id")
        if all(part.external_id != backup for part in self.point.parts):
            raise Gone(f"The recovery point has no backup {backup}.")
        metadata = _into(str(params["into"])) if params.get("into") else self._new()
        if params.get("items"):
            metadata["ItemsToRestore"] = json.dumps(list(params["items"]))
        token = token_for(part_key(self.key, "restore-file-system"))
        operation = aws_backup.start_restore(self.clients, backup, "EFS", metadata, token, self.pace)
        # the new file system's name comes with the job's end: until then the job stands for it
        made = () if params.get("into") else (Created(RESTORE, operation.external_id),)
        return StepStarted((operation,), made, {})

    def _new(self) -> dict[str, str]:
        params, key = self.step.params, str(self.step.params.get("kms_key", ""))
        encrypted = bool(key or params.get("encrypted"))
        metadata = {
            "file-system-id": str(self.point.resource.external_id),
            "newFileSystem": "true",
            "CreationToken": name_for(self.key),
            "Encrypted": "true" if encrypted else "false",
            "PerformanceMode": str(params.get("performance_mode") or "generalPurpose"),
        }
        return {**metadata, "KmsKeyId": key} if key else metadata

    def _configure(self) -> StepStarted:
        name, params, efs = self._need("file_system_id"), self.step.params, self.clients.read("efs")
        now = describe(self.clients, name)
        if now.attributes["state"] != "available":
            raise NotReady(f"The file system {name} is {now.attributes['state']}.")
        tags, _ = fit_tags(self.key, self.tags, params.get("tags", {}))
        efs.tag_resource(ResourceId=name, Tags=write_tags(tags))
        captured = self.point.resource.attributes
        if captured.get("lifecycle"):
            efs.put_lifecycle_configuration(FileSystemId=name, LifecyclePolicies=captured["lifecycle"])
        self._throughput(efs, name, now.attributes)
        if captured.get("automatic_backups"):
            efs.put_backup_policy(FileSystemId=name, BackupPolicy={"Status": "ENABLED"})
        if params.get("here") and captured.get("policy"):
            old = str(self.point.resource.external_id)
            efs.put_file_system_policy(FileSystemId=name, Policy=str(captured["policy"]).replace(old, name))
        self._mount(efs, name)
        self._access_points(efs, name)
        detail = {"started_at": self.pace.clock.timer().isoformat()}
        operation = Operation(FILE_SYSTEM, name, self.clients.account, self.clients.region, detail)
        return StepStarted((operation,), (), {"file_system_id": name})

    def _throughput(self, efs: Client, name: str, now: Mapping[str, Any]) -> None:
        mode = str(self.step.params.get("throughput_mode", ""))
        if not mode or mode == now["throughput_mode"]:
            return
        speed = float(self.point.resource.attributes.get("throughput") or 0)
        provisioned = {"ProvisionedThroughputInMibps": speed} if mode == "provisioned" else {}
        efs.update_file_system(FileSystemId=name, ThroughputMode=mode, **provisioned)

    def _mount(self, efs: Client, name: str) -> None:
        """A mount target in each wanted subnet that has none; with its own groups where it is the old subnet."""
        held = {str(one["SubnetId"]) for one in mount_targets(efs, name)}
        before = {one["subnet"]: one["groups"] for one in self.point.resource.attributes.get("mounts") or ()}
        given = list(self.step.params.get("security_groups") or ())
        for subnet in self.step.params.get("subnets") or ():
            if subnet in held:
                continue
            mine = before.get(subnet)
            groups = mine if mine and set(mine) <= set(given) else given
            efs.create_mount_target(
                FileSystemId=name, SubnetId=subnet, **({"SecurityGroups": groups} if groups else {})
            )

    def _access_points(self, efs: Client, name: str) -> None:
        for point in self.point.resource.attributes.get("access_points") or ():
            digest = hashlib.sha256(part_key(name, json.dumps(point, sort_keys=True)).encode()).hexdigest()
            tags, _ = fit_tags(self.key, self.tags, point.get("tags", {}))
            asked = {"PosixUser": point["user"]} if point.get("user") else {}
            try:
                efs.create_access_point(
                    ClientToken=digest[:_SMALLEST_TOKEN],
                    FileSystemId=name,
                    RootDirectory=point["root"],
                    Tags=write_tags(tags),
                    **asked,
                )
            except efs.exceptions.AccessPointAlreadyExists:
                continue


def _into(name: str) -> dict[str, str]:
    """Into a file system that exists: nothing about it changes."""
    return {"file-system-id": name, "newFileSystem": "false"}


def file_system_progress(clients: Clients, operations: Sequence[Operation], pace: Pace) -> dict[str, Progress]:
    """File systems that were set up, by id: done when all their mount targets are available."""
    answers = {}
    for one in operations:
        if one.kind == FILE_SYSTEM:
            states = {target["LifeCycleState"] for target in mount_targets(clients.read("efs"), one.external_id)}
            answers[one.external_id] = _progress(one, states, pace)
    return answers


def _progress(operation: Operation, states: set[str], pace: Pace) -> Progress:
    name = operation.external_id
    if states & {"error", "deleting", "deleted"}:
        error = Invalid(f"A mount target of {name} ended as {', '.join(sorted(states))}.", code="mount-target")
        return Progress(name, OperationState.FAILED, error=error)
    if states <= {"available"}:
        return Progress(name, OperationState.DONE, 100)
    age = pace.age(operation.detail.get("started_at")) or timedelta(0)
    return Progress(name, OperationState.RUNNING, ask_again=pace.again(age))


def undo_restore(clients: Clients, job: str) -> str:
    """Delete the file system that a restore job made: its mount targets first. Raises InUse while they go."""
    backup, efs = clients.read("backup"), clients.read("efs")
    try:
        shown = backup.describe_restore_job(RestoreJobId=job)
    except backup.exceptions.ResourceNotFoundException:
        return "already-gone"
    if shown["Status"] in ("PENDING", "RUNNING"):
        raise InUse(f"The restore job {job} is still {shown['Status']}.", wait=timedelta(seconds=30))
    name = str(shown.get("CreatedResourceArn", "")).rsplit("/", 1)[-1]
    if not name:
        return "already-gone"
    found = efs.describe_file_systems(FileSystemId=name)["FileSystems"][0]
    ours = is_ours(read_tags(found.get("Tags")), clients.account.installation)
    if not (ours or str(found["CreationToken"]).startswith("snapfleet-")):
        raise Refused(f"The file system {name} was not made by a restore of ours, so it stays.", code="not-ours")
    targets = mount_targets(efs, name)
    for target in targets:
        efs.delete_mount_target(MountTargetId=target["MountTargetId"])
    if targets and mount_targets(efs, name):
        raise InUse(f"The mount targets of {name} are being deleted.", wait=timedelta(seconds=30))
    efs.delete_file_system(FileSystemId=name)
    return "deleted"
