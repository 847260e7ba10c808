"""Restores of FSx: a new file system of a backup, or a new ONTAP volume in a virtual machine that exists.

AWS Backup keeps its points of FSx as backups of FSx, which the same calls restore. Both calls have a token; what they
make carries our tags from its beginning.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from botocore.exceptions import ClientError

from tasks.errors import CloudFailed, Gone, InUse, Invalid, Refused, SnapfleetError
from tasks.states import OperationState
from workers.aws.errors import shorten, translate, translated
from workers.aws.fsx_backup import fsx_token
from workers.aws.fsx_describe import BATCH, CONFIGURATION, ONTAP
from workers.aws.session import Client, Clients
from workers.aws.tags import fit_tags, is_ours, part_key, read_tags, write_tags
from workers.driver import Created, Operation, Point, Progress, RestoreStep, StepStarted
from workers.pace import Pace

FILE_SYSTEM, VOLUME = "file-system", "volume"
KINDS = frozenset({FILE_SYSTEM, VOLUME})
_DONE = frozenset({"AVAILABLE", "CREATED"})
_OVER = frozenset({"DELETING", "FAILED"})


@dataclass(frozen=True)
class FsxRestore:
    """One step to begin, with the tools."""

    clients: Clients
    point: Point
    step: RestoreStep
    key: str
    tags: Mapping[str, str]
    pace: Pace

    def start(self) -> StepStarted:
        """Begin the step. Raises Invalid for one that is unknown."""
        if self.step.kind == "restore-file-system" and self.point.resource.type != ONTAP:
            return self._restore_system()
        if self.step.kind == "restore-volume" and self.point.resource.type == ONTAP:
            return self._restore_volume()
        raise Invalid(f"There is no restore step {self.step.kind!r} for {self.point.resource.type}.", code="bad-step")

    def _backup(self) -> str:
        """The backup's id in FSx: a recovery point of AWS Backup has it at the end of its ARN."""
        wanted = str(self.step.params.get("backup_id", ""))
        if not wanted or all(part.external_id != wanted for part in self.point.parts):
            raise Gone(f"The recovery point has no backup {wanted}.")
        return wanted.rsplit("/", 1)[-1]

    def _common(self) -> dict[str, Any]:
        tags, _ = fit_tags(self.key, self.tags, self.step.params.get("tags", {}))
        token = fsx_token(part_key(self.key, self.step.kind))
        return {"BackupId": self._backup(), "ClientRequestToken": token, "Tags": write_tags(tags)}

    def _started(self, kind: str, name: str) -> StepStarted:
        detail = {"started_at": self.pace.clock.timer().isoformat()}
        operation = Operation(kind, name, self.clients.account, self.clients.region, detail)
        return StepStarted((operation,), (Created(kind, name),), {f"{kind.replace('-', '_')}_id": name})

    def _restore_system(self) -> StepStarted:
        params, kind = self.step.params, self.point.resource.type
        subnets = list(params.get("subnets") or ())
        if not subnets:
            raise Invalid("A new file system needs --set subnets=...", code="option-missing")
        optional = {
            "SecurityGroupIds": list(params.get("security_groups") or ()),
            "KmsKeyId": params.get("kms_key"),
            "StorageType": params.get("storage_type"),
            "StorageCapacity": params.get("storage_capacity"),
            CONFIGURATION[kind]: self._configuration(kind),
        }
        request = {**self._common(), "SubnetIds": subnets, **{k: v for k, v in optional.items() if v}}
        with translated("CreateFileSystemFromBackup"):
            made = self.clients.read("fsx").create_file_system_from_backup(**request)["FileSystem"]
        return self._started(FILE_SYSTEM, str(made["FileSystemId"]))

    def _configuration(self, kind: str) -> dict[str, Any]:
        """As captured; what the options say counts before it."""
        params, wanted = self.step.params, dict(self.point.resource.attributes.get("settings") or {})
        asked = {
            "DeploymentType": params.get("deployment_type"),
            "ThroughputCapacity": params.get("throughput"),
            "PreferredSubnetId": params.get("preferred_subnet"),
        }
        wanted |= {name: value for name, value in asked.items() if value}
        if kind == "fsx-windows":
            if not params.get("directory"):
                raise Invalid(
                    "A Windows file system is restored into a managed directory: none is known here.",
                    code="option-missing",
                    advice="Name one with --set directory=d-...",
                )
            wanted["ActiveDirectoryId"] = params["directory"]
            if params.get("aliases"):
                wanted["Aliases"] = list(params["aliases"])
        if "MULTI_AZ" not in str(wanted.get("DeploymentType", "")):
            wanted.pop("PreferredSubnetId", None)
        return wanted

    def _restore_volume(self) -> StepStarted:
        params = self.step.params
        machine, name = str(params.get("machine", "")), str(params.get("name", ""))
        if not machine or not name:
            raise Invalid("A volume needs --set machine=svm-... and --set name=...", code="option-missing")
        wanted = dict(self.point.resource.attributes.get("settings") or {})
        wanted["StorageVirtualMachineId"] = machine
        wanted.pop("JunctionPath", None)
        if params.get("junction_path"):
            wanted["JunctionPath"] = params["junction_path"]
        with translated("CreateVolumeFromBackup"):
            made = self.clients.read("fsx").create_volume_from_backup(
                Name=name, OntapConfiguration=wanted, **self._common()
            )["Volume"]
        return self._started(VOLUME, str(made["VolumeId"]))


def restore_progress(clients: Clients, operations: Sequence[Operation], pace: Pace) -> dict[str, Progress]:
    """File systems and volumes that are being made, by id."""
    answers: dict[str, Progress] = {}
    for kind in sorted(KINDS):
        mine = {one.external_id: one for one in operations if one.kind == kind}
        found = things(clients.read("fsx"), kind, list(mine)) if mine else {}
        answers |= {name: _progress(one, found.get(name), pace) for name, one in mine.items()}
    return answers


def things(fsx: Client, kind: str, ids: Sequence[str]) -> dict[str, Mapping[str, Any]]:
    """File systems or volumes by id; one unknown id fails a whole call, so that then each is asked for alone."""
    found: dict[str, Mapping[str, Any]] = {}
    for start in range(0, len(ids), BATCH):
        some = ids[start : start + BATCH]
        try:
            found |= _described(fsx, kind, some)
        except ClientError as error:
            if not isinstance(translate(error), Gone):
                raise
            if len(some) > 1:
                for one in some:
                    found |= things(fsx, kind, [one])
    return found


def _described(fsx: Client, kind: str, ids: Sequence[str]) -> dict[str, Mapping[str, Any]]:
    if kind == VOLUME:
        return {one["VolumeId"]: one for one in fsx.describe_volumes(VolumeIds=list(ids))["Volumes"]}
    systems = fsx.describe_file_systems(FileSystemIds=list(ids))["FileSystems"]
    return {one["FileSystemId"]: one for one in systems}


def _progress(operation: Operation, thing: Mapping[str, Any] | None, pace: Pace) -> Progress:
    age, name = pace.age(operation.detail.get("started_at")), operation.external_id
    if thing is None and (age is None or age < pace.grace):
        return Progress(name, OperationState.RUNNING, ask_again=pace.floor)
    if thing is None:
        return Progress(name, OperationState.GONE, error=Gone(f"{name} does not exist any more."))
    state = str(thing["Lifecycle"])
    if state in _DONE:
        return Progress(name, OperationState.DONE, 100, detail={"dns_name": str(thing.get("DNSName", ""))})
    if state in _OVER or state.startswith("MISCONFIGURED"):
        return Progress(name, OperationState.FAILED, error=_failure(name, thing, state))
    return Progress(name, OperationState.RUNNING, ask_again=pace.again(age or timedelta(0)))


def _failure(name: str, thing: Mapping[str, Any], state: str) -> SnapfleetError:
    why = thing.get("FailureDetails") or thing.get("LifecycleTransitionReason") or {}
    return CloudFailed(f"FSx ended {name} as {state}: {shorten(str(why.get('Message', ''))) or 'no reason given'}.")


def undo_made(clients: Clients, created: Created) -> str:
    """Delete what a restore made, without a last backup of it. Raises Refused for anything else's."""
    fsx, name = clients.read("fsx"), created.external_id
    thing = things(fsx, created.kind, [name]).get(name)
    if thing is None or thing["Lifecycle"] == "DELETING":
        return "already-gone"
    if not is_ours(read_tags(thing.get("Tags")), clients.account.installation):
        raise Refused(f"{name} does not carry our tag, so it stays.", code="not-ours")
    if thing["Lifecycle"] == "CREATING":
        raise InUse(f"{name} is still being created.", wait=timedelta(minutes=1))
    if created.kind == VOLUME:
        fsx.delete_volume(VolumeId=name, OntapConfiguration={"SkipFinalBackup": True})
        return "deleted"
    member = {
        "LUSTRE": "LustreConfiguration", "WINDOWS": "WindowsConfiguration", "OPENZFS": "OpenZFSConfiguration"
    }[str(thing["FileSystemType"])]  # fmt: skip
    fsx.delete_file_system(FileSystemId=name, **{member: {"SkipFinalBackup": True}})
    return "deleted"
