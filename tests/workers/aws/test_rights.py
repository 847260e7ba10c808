"""The rights that the documentation asks for are those that the drivers use."""

import ast
from pathlib import Path

import botocore.session
import pytest
from botocore import xform_name

from tasks.resources import TYPES

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
    "": ("ec2", "sts", "kms"),
}
PREFIXES = {"efs": "elasticfilesystem"}  # what IAM calls a service that the SDK calls otherwise


def known_calls(services: tuple[str, ...]) -> dict[str, str]:
    """service:Operation by the name of a client's method; of two services with one name the first counts."""
    session = botocore.session.get_session()
    return {
        xform_name(name): f"{PREFIXES.get(service, service)}:{name}"
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
    listed = {
        action
        for kind in TYPES.values()
        for action in (
            *kind.backup_actions, *kind.copy_actions, *kind.restore_actions, *kind.delete_actions, *kind.key_actions
        )
    }  # fmt: skip
    calls = used()
    assert len(calls) > 20
    assert calls - ENTERING - listed == set()
    # What EC2 does in the caller's name: passing a profile's role, using the keys of volumes and snapshots.
    assert {one for one in listed - calls if one.startswith("ec2:")} - NETWORKING == set()
