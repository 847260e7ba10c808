"""EC2: instances and EBS volumes.

Sources: the EBS and EC2 user guides (copying across regions is CopySnapshot in the destination; across accounts a
share and a copy; a snapshot under the default aws/ebs key cannot be shared).
"""

from tasks.resources.kind import ResourceType

_INSTANCE_RESTORES = ("volume", "instance", "in-place")
_EBS_NOTES = (
    "across accounts a customer-managed key is needed: snapshots under the default aws/ebs key cannot be shared",
)
# 20 snapshot copies at once per destination region, not adjustable (EBS quotas page); two are left to others.
_EBS_COPY_SLOTS = 18

# EBS user guide, "How Amazon EBS encryption works": what a principal needs on the keys of volumes and snapshots.
EBS_KEY_ACTIONS = (
    "kms:DescribeKey",
    "kms:CreateGrant",
    "kms:Decrypt",
    "kms:GenerateDataKeyWithoutPlaintext",
    "kms:ReEncryptFrom",
    "kms:ReEncryptTo",
)

# "Permissions for EBS direct APIs" (EBS user guide): reading for archives, writing what comes from one.
_ARCHIVE = ("ebs:ListSnapshotBlocks", "ebs:ListChangedBlocks", "ebs:GetSnapshotBlock")
_FETCH = (
    "ebs:StartSnapshot",
    "ebs:PutSnapshotBlock",
    "ebs:CompleteSnapshot",
    "ec2:CreateTags",
    "ec2:DescribeSnapshots",
)
_RESTORE_VOLUME = (
    "ec2:DescribeInstances",
    "ec2:DescribeVolumes",
    "ec2:DescribeSnapshots",
    "ec2:DescribeImages",
    "ec2:CreateVolume",
    "ec2:AttachVolume",
    "ec2:DetachVolume",
    "ec2:StartInstances",
    "ec2:StopInstances",
    "ec2:ModifyInstanceAttribute",
    "ec2:CreateTags",
)
# Taking back gives back as well: what was detached is attached again, what was stopped is started.
_UNDO_VOLUME = (
    "ec2:DescribeInstances",
    "ec2:DescribeVolumes",
    "ec2:DescribeSnapshots",
    "ec2:DescribeImages",
    "ec2:DeleteVolume",
    "ec2:DeleteSnapshot",
    "ec2:AttachVolume",
    "ec2:DetachVolume",
    "ec2:StartInstances",
    "ec2:StopInstances",
)

KINDS = (
    ResourceType(
        name="instance",
        cloud="aws",
        service="ec2",
        id_prefix="i-",
        cross_region=True,
        cross_account=True,
        repository=True,
        cold=True,
        copy_slots=_EBS_COPY_SLOTS,
        copy_limit=20,
        notes=_EBS_NOTES,
        restores=_INSTANCE_RESTORES,
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
            *_RESTORE_VOLUME,
            "ec2:RegisterImage",
            "ec2:RunInstances",
            "ec2:CreateReplaceRootVolumeTask",
            "ec2:DescribeReplaceRootVolumeTasks",
            "iam:PassRole",
        ),
        undo_actions=(
            *_UNDO_VOLUME,
            "ec2:ModifyInstanceAttribute",
            "ec2:DeregisterImage",
            "ec2:TerminateInstances",
        ),
        delete_actions=(
            "ec2:DescribeImages",
            "ec2:DescribeSnapshots",
            "ec2:DeleteSnapshot",
            "ec2:DeregisterImage",
            "ec2:CreateTags",
        ),
        archive_actions=_ARCHIVE,
        fetch_actions=_FETCH,
        key_actions=EBS_KEY_ACTIONS,
    ),
    ResourceType(
        name="volume",
        cloud="aws",
        service="ec2",
        id_prefix="vol-",
        cross_region=True,
        cross_account=True,
        repository=True,
        cold=True,
        copy_slots=_EBS_COPY_SLOTS,
        copy_limit=20,
        notes=_EBS_NOTES,
        restores=("volume", "in-place"),
        backup_actions=(
            "ec2:DescribeVolumes",
            "ec2:DescribeSnapshots",
            "ec2:DescribeImages",  # what an earlier attempt made is looked for in every form
            "ec2:CreateSnapshot",
            "ec2:CreateTags",
        ),
        copy_actions=(
            "ec2:CopySnapshot",
            "ec2:ModifySnapshotAttribute",
            "ec2:DescribeSnapshots",
            "ec2:CreateTags",
        ),
        restore_actions=_RESTORE_VOLUME,
        undo_actions=_UNDO_VOLUME,
        delete_actions=("ec2:DescribeSnapshots", "ec2:DeleteSnapshot", "ec2:CreateTags"),
        archive_actions=_ARCHIVE,
        fetch_actions=_FETCH,
        key_actions=EBS_KEY_ACTIONS,
    ),
)
