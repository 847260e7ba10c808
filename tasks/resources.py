"""Resource types and what can be done with each: the guide's matrix as data.

Admission, `apply`, `doctor` and `capabilities` read this table; drivers are bound to its names. Sources of the AWS
cells: the EBS and EC2 user guides (copying across regions is CopySnapshot in the destination; across accounts a
share and a copy; a snapshot under the default aws/ebs key cannot be shared).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True)
class ResourceType:
    """One kind of thing that a policy can name.

    `service` groups calls to the cloud: discovery and polls of one service in one account and region go together.
    `copy_slots` is how many copies the cloud runs at once per destination account and region. The actions are what a
    role needs for each verb; `key_actions` go with customer-managed keys, and must be allowed by the key's policy too.
    """

    name: str
    cloud: str
    service: str
    id_prefix: str
    cross_region: bool
    cross_account: bool
    repository: bool
    cold: bool
    copy_slots: int
    notes: tuple[str, ...] = ()
    backup_actions: tuple[str, ...] = ()
    copy_actions: tuple[str, ...] = ()
    restore_actions: tuple[str, ...] = ()
    delete_actions: tuple[str, ...] = ()
    key_actions: tuple[str, ...] = ()


_EBS_NOTES = (
    "across accounts a customer-managed key is needed: snapshots under the default aws/ebs key cannot be shared",
)
# 20 snapshot copies at once per destination region, not adjustable (EBS quotas page); two are left to others.
_EBS_COPY_SLOTS = 18

# EBS user guide, "How Amazon EBS encryption works": what a principal needs on the keys of volumes and snapshots.
_EBS_KEY_ACTIONS = (
    "kms:DescribeKey",
    "kms:CreateGrant",
    "kms:Decrypt",
    "kms:GenerateDataKeyWithoutPlaintext",
    "kms:ReEncryptFrom",
    "kms:ReEncryptTo",
)

TYPES: Mapping[str, ResourceType] = MappingProxyType(
    {
        "instance": ResourceType(
            name="instance",
            cloud="aws",
            service="ec2",
            id_prefix="i-",
            cross_region=True,
            cross_account=True,
            repository=True,
            cold=False,
            copy_slots=_EBS_COPY_SLOTS,
            notes=_EBS_NOTES,
            backup_actions=(
                "ec2:DescribeInstances",
                "ec2:DescribeInstanceAttribute",
                "ec2:DescribeVolumes",
                "ec2:DescribeSnapshots",
                "ec2:DescribeImages",
                "ec2:CreateSnapshots",
                "ec2:CreateSnapshot",
                "ec2:CreateImage",
                "ec2:CreateTags",
            ),
            copy_actions=(
                "ec2:CopySnapshot",
                "ec2:CopyImage",
                "ec2:ModifySnapshotAttribute",
                "ec2:DescribeSnapshots",
                "ec2:DescribeImages",
                "ec2:CreateTags",
            ),
            restore_actions=(
                "ec2:CreateVolume",
                "ec2:AttachVolume",
                "ec2:DetachVolume",
                "ec2:RegisterImage",
                "ec2:DeregisterImage",
                "ec2:RunInstances",
                "ec2:StartInstances",
                "ec2:StopInstances",
                "ec2:ModifyInstanceAttribute",
                "ec2:TerminateInstances",
                "ec2:DeleteVolume",
                "ec2:CreateReplaceRootVolumeTask",
                "ec2:DescribeReplaceRootVolumeTasks",
                "ec2:CreateTags",
                "iam:PassRole",
            ),
            delete_actions=("ec2:DeleteSnapshot", "ec2:DeregisterImage", "ec2:CreateTags"),
            key_actions=_EBS_KEY_ACTIONS,
        ),
        "volume": ResourceType(
            name="volume",
            cloud="aws",
            service="ec2",
            id_prefix="vol-",
            cross_region=True,
            cross_account=True,
            repository=True,
            cold=False,
            copy_slots=_EBS_COPY_SLOTS,
            notes=_EBS_NOTES,
            backup_actions=(
                "ec2:DescribeVolumes",
                "ec2:DescribeSnapshots",
                "ec2:CreateSnapshot",
                "ec2:CreateTags",
            ),
            copy_actions=(
                "ec2:CopySnapshot",
                "ec2:ModifySnapshotAttribute",
                "ec2:DescribeSnapshots",
                "ec2:CreateTags",
            ),
            restore_actions=(
                "ec2:CreateVolume",
                "ec2:AttachVolume",
                "ec2:DetachVolume",
                "ec2:StartInstances",
                "ec2:StopInstances",
                "ec2:ModifyInstanceAttribute",
                "ec2:DeleteVolume",
                "ec2:CreateTags",
            ),
            delete_actions=("ec2:DeleteSnapshot", "ec2:CreateTags"),
            key_actions=_EBS_KEY_ACTIONS,
        ),
    }
)


def type_of(name: str) -> ResourceType:
    """The type called `name`. Raises KeyError with the known names when there is none."""
    try:
        return TYPES[name]
    except KeyError:
        raise KeyError(f"no resource type {name!r}; known are {', '.join(sorted(TYPES))}") from None
