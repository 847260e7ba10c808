"""What confines an action beside its name: resources, and conditions on tags and services.

Source: the service authorization reference (which resource types an action is checked against, which of them know
tags), the EC2 user guide ("Grant permission to tag resources during creation"), the EBS user guide, the KMS developer
guide ("Permissions for AWS services in key policies"). An action that is not here is allowed for every resource: reads
know none, and of copies across accounts AWS checks what lies in the other account too, whose tags nobody sees here.
`DUTY/action` is for one duty alone. None of it was run against AWS itself.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_TAG = "snapfleet:installation"


@dataclass(frozen=True)
class Limit:
    """`resources` are ARN patterns with {partition} and {account}; `condition` is a name in CONDITIONS, '' for none."""

    resources: tuple[str, ...] = ("*",)
    condition: str = ""


CONDITIONS: Mapping[str, Mapping[str, Any]] = {
    # what carries our installation's tag
    "ours": {"StringLike": {f"aws:ResourceTag/{_TAG}": "{installation}"}},
    # what is made or tagged with it in this very call
    "tagged": {"StringLike": {f"aws:RequestTag/{_TAG}": "{installation}"}},
    "on-creation": {
        "StringEquals": {
            "ec2:CreateAction": [
                "CopyImage", "CopySnapshot", "CreateImage", "CreateReplaceRootVolumeTask", "CreateSnapshot",
                "CreateSnapshots", "CreateVolume", "RegisterImage", "RunInstances", "StartSnapshot",
            ]
        }
    },
    "for-services": {"Bool": {"kms:GrantIsForAWSResource": "true"}},
    "pass": {
        "StringEquals": {
            "iam:PassedToService": [
                "backup.amazonaws.com", "ec2.amazonaws.com", "export.rds.amazonaws.com", "rds.amazonaws.com",
            ]
        }
    },
    "fsx-role": {"StringEquals": {"iam:AWSServiceName": "fsx.amazonaws.com"}},
}  # fmt: skip

_SNAPSHOTS = ("arn:{partition}:ec2:*::snapshot/*",)
_IMAGES = ("arn:{partition}:ec2:*::image/*",)
_VOLUMES = ("arn:{partition}:ec2:*:{account}:volume/*",)
_INSTANCES = ("arn:{partition}:ec2:*:{account}:instance/*",)
_NEW_IMAGES = (*_IMAGES, *_SNAPSHOTS)
_NEW_MACHINES = (*_INSTANCES, *_VOLUMES, "arn:{partition}:ec2:*:{account}:network-interface/*")
# What a launch names and does not make ("Actions, resources, and condition keys for Amazon EC2", RunInstances).
_LAUNCHED_WITH = (
    *_NEW_IMAGES,
    *(
        f"arn:{{partition}}:ec2:*:{{account}}:{one}/*"
        for one in ("subnet", "security-group", "key-pair", "placement-group", "capacity-reservation")
    ),
    "arn:{partition}:license-manager:*:{account}:license-configuration:*",
)
_ROLES = ("arn:{partition}:iam::{account}:role/*",)
_BACKUPS = ("arn:{partition}:dynamodb:*:{account}:table/*/backup/*",)
_OURS = (Limit(condition="ours"),)

LIMITS: Mapping[str, tuple[Limit, ...]] = {
    "ec2:CreateSnapshot": (Limit(_VOLUMES), Limit(_SNAPSHOTS, "tagged")),
    "ec2:CreateSnapshots": (Limit((*_INSTANCES, *_VOLUMES)), Limit(_SNAPSHOTS, "tagged")),
    "ec2:CreateImage": (Limit(_INSTANCES), Limit(_NEW_IMAGES, "tagged")),
    "ec2:CreateVolume": (Limit(_SNAPSHOTS), Limit(_VOLUMES, "tagged")),
    "ec2:RegisterImage": (Limit(_SNAPSHOTS), Limit(_IMAGES, "tagged")),
    "ec2:RunInstances": (Limit(_LAUNCHED_WITH), Limit(_NEW_MACHINES, "tagged")),
    "ec2:CreateTags": (Limit(condition="on-creation"),),
    "cleanup/ec2:CreateTags": (Limit(condition="ours"),),  # to mark what is outdated
    # A root volume that AWS replaced has no tag of ours, and gets the old one's tags back.
    "restore/ec2:CreateTags": (Limit(condition="on-creation"), Limit(_VOLUMES)),
    "ec2:ModifySnapshotAttribute": (Limit(_SNAPSHOTS, "ours"),),
    "ec2:DeleteSnapshot": (Limit(_SNAPSHOTS, "ours"),),
    "ec2:DeregisterImage": (Limit(_IMAGES, "ours"),),
    "ec2:DeleteVolume": (Limit(_VOLUMES, "ours"),),
    "ec2:TerminateInstances": (Limit(_INSTANCES, "ours"),),
    "ebs:ListSnapshotBlocks": (Limit(_SNAPSHOTS),),
    "ebs:ListChangedBlocks": (Limit(_SNAPSHOTS),),
    "ebs:GetSnapshotBlock": (Limit(_SNAPSHOTS),),
    "ebs:StartSnapshot": (Limit(_SNAPSHOTS, "tagged"),),
    "ebs:PutSnapshotBlock": (Limit(_SNAPSHOTS, "ours"),),
    "ebs:CompleteSnapshot": (Limit(_SNAPSHOTS, "ours"),),
    **dict.fromkeys(
        (
            "rds:DeleteDBSnapshot", "rds:DeleteDBClusterSnapshot", "rds:DeleteDBInstance", "rds:DeleteDBCluster",
            "rds:ModifyDBSnapshotAttribute", "rds:ModifyDBClusterSnapshotAttribute",
            "fsx:DeleteBackup", "fsx:DeleteFileSystem", "fsx:DeleteVolume",
            "redshift:DeleteClusterSnapshot", "redshift:DeleteCluster",
            "redshift-serverless:DeleteSnapshot", "redshift-serverless:DeleteNamespace",
            "redshift-serverless:DeleteWorkgroup",
        ),
        _OURS,
    ),
    "dynamodb:DeleteBackup": (Limit(_BACKUPS),),
    "kms:CreateGrant": (Limit(condition="for-services"),),
    "iam:PassRole": (Limit(_ROLES, "pass"),),
    "iam:CreateServiceLinkedRole": (Limit(_ROLES, "fsx-role"),),
    "iam:GetRole": (Limit(_ROLES),),
    "iam:SimulatePrincipalPolicy": (Limit(_ROLES),),
}  # fmt: skip
