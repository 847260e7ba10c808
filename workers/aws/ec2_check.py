"""Can an account be entered, and may its role do what backups need? Harmless reads and dry runs only.

EC2 answers a dry run with DryRunOperation (allowed) or UnauthorizedOperation (not); anything else says nothing. A
dry run needs something real to name, so an account without volumes or snapshots leaves some answers unknown.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from tasks.errors import Denied, SnapfleetError
from workers.aws.contact import contact
from workers.aws.errors import translate
from workers.aws.service_checks import needs
from workers.aws.session import Clients
from workers.aws.simulate import completed
from workers.aws.tags import is_ours, read_tags, specify
from workers.driver import TAG_INSTALLATION, Check

TYPES = ("instance", "volume")
_SMALL = 5  # the smallest page that these calls take
_READS: tuple[tuple[str, str, str], ...] = (
    ("ec2:DescribeInstances", "describe_instances", "instances are not found"),
    ("ec2:DescribeVolumes", "describe_volumes", "volumes are not found"),
    ("ec2:DescribeSnapshots", "describe_snapshots", "no backup can be followed to its end"),
    ("ec2:DescribeImages", "describe_images", "backups as images cannot be followed"),
)
_OWN: Mapping[str, dict[str, Any]] = {
    "describe_snapshots": {"OwnerIds": ["self"]},
    "describe_images": {"Owners": ["self"]},
}


@dataclass(frozen=True)
class _Trial:
    """One dry run: the kind of thing it names, its parameters for (that thing, region), and what fails without it."""

    action: str
    method: str
    subject: str
    params: Callable[[Mapping[str, Any], str], dict[str, Any]]
    loss: str
    tagged: tuple[str, ...] = ()  # what it would make: roles may be confined to what carries our tag


_TRIALS = (
    _Trial(
        "ec2:CreateSnapshots",
        "create_snapshots",
        "instance",
        lambda one, _: {"InstanceSpecification": {"InstanceId": one["InstanceId"]}},
        "instances are not backed up",
        ("snapshot",),
    ),
    _Trial(
        "ec2:CreateImage",
        "create_image",
        "instance",
        lambda one, _: {"InstanceId": one["InstanceId"], "Name": "snapfleet-check", "NoReboot": True},
        "instances are not backed up as images",
        ("image", "snapshot"),
    ),
    _Trial(
        "ec2:CreateSnapshot",
        "create_snapshot",
        "volume",
        lambda one, _: {"VolumeId": one["VolumeId"]},
        "volumes are not backed up",
        ("snapshot",),
    ),
    _Trial(
        "ec2:CopySnapshot",
        "copy_snapshot",
        "snapshot",
        lambda one, region: {"SourceSnapshotId": one["SnapshotId"], "SourceRegion": region},
        "nothing is copied here",
        ("snapshot",),
    ),
    _Trial(
        "ec2:ModifySnapshotAttribute",
        "modify_snapshot_attribute",
        "snapshot",
        lambda one, _: {
            "SnapshotId": one["SnapshotId"],
            "Attribute": "createVolumePermission",
            "OperationType": "add",
            "UserIds": ["000000000000"],
        },
        "nothing is copied to other accounts",
    ),
    _Trial(
        "ec2:DeleteSnapshot",
        "delete_snapshot",
        "snapshot",
        lambda one, _: {"SnapshotId": one["SnapshotId"]},
        "old recovery points stay and cost",
    ),
    _Trial(
        "ec2:CreateVolume",
        "create_volume",
        "volume",
        lambda one, _: {"Size": one["Size"], "AvailabilityZone": one["AvailabilityZone"]},
        "no volume is restored",
        ("volume",),
    ),
    _Trial(
        "ec2:RunInstances",
        "run_instances",
        "instance",
        lambda one, _: _like(one),
        "no instance is restored",
        ("instance", "volume", "network-interface"),
    ),
    _Trial(
        "ec2:RegisterImage",
        "register_image",
        "snapshot",
        lambda one, _: {
            "Name": "snapfleet-check",
            "RootDeviceName": "/dev/xvda",
            "BlockDeviceMappings": [{"DeviceName": "/dev/xvda", "Ebs": {"SnapshotId": one["SnapshotId"]}}],
        },
        "no instance is restored from snapshots",
        ("image",),
    ),
)


def _like(instance: Mapping[str, Any]) -> dict[str, Any]:
    subnet = {"SubnetId": instance["SubnetId"]} if instance.get("SubnetId") else {}
    kind = {"ImageId": instance["ImageId"], "InstanceType": instance["InstanceType"]}
    return {**kind, **subnet, "MinCount": 1, "MaxCount": 1}


def check(clients: Clients) -> list[Check]:
    """Contact first: when the account cannot be entered, that is the only answer."""
    first = contact(clients)
    if first.outcome != "ok":
        return [first]
    needed = needs(clients, TYPES)
    checks, answers = [], {}
    for action, method, loss in _READS:
        if action in needed:
            answer, answers[method] = _read(clients, action, method, loss)
            checks.append(answer)
    tried = [one for one in checks + _dry_runs(clients, answers, needed) if one.name in needed]
    return [first, *completed(clients, TYPES, tried)]


def _read(clients: Clients, action: str, method: str, loss: str) -> tuple[Check, Mapping[str, Any]]:
    try:
        answer = getattr(clients.read(), method)(MaxResults=_SMALL, **_OWN.get(method, {}))
    except (BotoCoreError, ClientError) as error:
        return _verdict(action, translate(error, operation=action), loss), {}
    return Check(action, "ok"), answer


def _dry_runs(clients: Clients, answers: Mapping[str, Mapping[str, Any]], needed: set[str]) -> list[Check]:
    groups = answers.get("describe_instances", {}).get("Reservations", [])
    snapshots = answers.get("describe_snapshots", {}).get("Snapshots", [])
    mine = clients.account.installation
    subjects: dict[str, Mapping[str, Any] | None] = {
        "instance": next((one for group in groups for one in group["Instances"]), None),
        "volume": next(iter(answers.get("describe_volumes", {}).get("Volumes", [])), None),
        "snapshot": next((one for one in snapshots if is_ours(read_tags(one.get("Tags")), mine)), None),
    }
    trials = [trial for trial in _TRIALS if clients.account.may_delete or trial.method != "delete_snapshot"]
    trials = [trial for trial in trials if trial.action in needed]
    return [_dry_run(clients, trial, subjects[trial.subject]) for trial in trials]


def _dry_run(clients: Clients, trial: _Trial, subject: Mapping[str, Any] | None) -> Check:
    if subject is None:
        return Check(trial.action, "unknown", f"there is no {trial.subject} here to try it on")
    tag = {TAG_INSTALLATION: clients.account.installation or "check"}
    marked = {"TagSpecifications": specify(tag, *trial.tagged)} if trial.tagged else {}
    try:
        getattr(clients.read(), trial.method)(DryRun=True, **trial.params(subject, clients.region), **marked)
    except ClientError as error:
        if error.response.get("Error", {}).get("Code") == "DryRunOperation":
            return Check(trial.action, "ok")
        return _verdict(trial.action, translate(error, operation=trial.action), trial.loss)
    except BotoCoreError as error:
        return _verdict(trial.action, translate(error, operation=trial.action), trial.loss)
    return Check(trial.action, "unknown", "the dry run was not answered as one")


def _verdict(action: str, error: SnapfleetError, loss: str) -> Check:
    if isinstance(error, Denied):
        return Check(action, "missing", f"Without {action} {loss}.")
    return Check(action, "unknown", error.text)
