"""The rights that the documentation asks for are those that the drivers use."""

import ast
from pathlib import Path

import botocore.session
import pytest
from botocore import xform_name

from tasks.resources import TYPES
from tasks.resources.rights import FEATURES, actions_of

pytestmark = pytest.mark.unit
DRIVERS = Path(__file__).parent.parent.parent.parent / "workers" / "aws"
# The base identity's way in; sts:GetCallerIdentity needs no right (STS API reference).
ENTERING = {"sts:AssumeRole", "sts:GetCallerIdentity"}
# What file systems do in the network in the caller's name (CreateMountTarget, EFS API reference).
NETWORKING = {"ec2:DescribeSubnets", "ec2:DescribeNetworkInterfaces", "ec2:CreateNetworkInterface"}


# Which services' clients the files of a driver use, by the beginning of their names; the others are EC2's.
SERVICES = {
    "dynamodb": ("dynamodb", "application-autoscaling"),
    "efs": ("efs", "ec2"),
    "fsx": ("fsx", "ec2"),
    "aws_backup": ("backup", "fsx"),
    "service_checks": ("backup",),
    "rds": ("rds",),
    "redshift_serverless": ("redshift-serverless",),
    "redshift": ("redshift", "redshift-serverless"),
    "s3": ("s3",),
    "": ("ec2", "sts", "kms"),
}
# Operations of S3 whose right has another name: "Required permissions for Amazon S3 API operations" (S3 user guide).
RIGHTS = {
    "s3:HeadObject": "s3:GetObject",
    "s3:CopyObject": "s3:PutObject",
    "s3:CreateMultipartUpload": "s3:PutObject",
    "s3:UploadPartCopy": "s3:PutObject",
    "s3:CompleteMultipartUpload": "s3:PutObject",
    "s3:ListParts": "s3:ListMultipartUploadParts",
    "s3:ListMultipartUploads": "s3:ListBucketMultipartUploads",
    "s3:ListObjectsV2": "s3:ListBucket",
    "s3:HeadBucket": "s3:ListBucket",
    "s3:ListObjectVersions": "s3:ListBucketVersions",
    "s3:ListBuckets": "s3:ListAllMyBuckets",
    "s3:DeleteObjects": "s3:DeleteObject",
    "s3:GetBucketEncryption": "s3:GetEncryptionConfiguration",
    "s3:PutBucketEncryption": "s3:PutEncryptionConfiguration",
}
PREFIXES = {"efs": "elasticfilesystem"}  # what IAM calls a service that the SDK calls otherwise


def known_calls(services: tuple[str, ...]) -> dict[str, str]:
    """service:Operation by the name of a client's method; of two services with one name the first counts."""
    session = botocore.session.get_session()
    return {
        xform_name(name): RIGHTS.get(f"{service}:{name}", f"{PREFIXES.get(service, service)}:{name}")
        for service in reversed(services)
        for name in session.get_service_model(service).operation_names
    }


def used() -> set[str]:
    """service:Operation of every method of a client that the drivers name."""
    calls = {start: known_calls(services) for start, services in SERVICES.items()}
    found = set()
    for path in DRIVERS.glob("*.py"):
        known = calls[next(start for start in SERVICES if path.name.startswith(start))]
        named = set()
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute):
                named.add(node.attr)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                named.add(node.value)
        found |= {known[name] for name in named & set(known)}
    return found


def test_every_call_that_a_driver_makes_is_among_the_rights_it_is_said_to_need() -> None:
    """A right that is missing here fails in somebody's account at night."""
    listed = {action for kind in TYPES.values() for feature in FEATURES for action in actions_of(kind, feature)}
    calls = used()
    assert len(calls) > 20
    assert calls - ENTERING - listed == set()
    # What EC2 does in the caller's name: passing a profile's role, using the keys of volumes and snapshots.
    assert {one for one in listed - calls if one.startswith("ec2:")} - NETWORKING == set()
