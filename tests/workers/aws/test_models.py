"""Clients are made from models without what no driver calls, and with everything that one does."""

import re
from pathlib import Path

import botocore.loaders
import pytest
from botocore import xform_name
from botocore.utils import parse_timestamp

import workers.aws
from workers.aws.models import EC2_OPERATIONS, instant, models
from workers.aws.session import Sessions
from workers.driver import Account

pytestmark = pytest.mark.unit


def test_every_ec2_operation_that_the_drivers_name_is_in_the_model() -> None:
    """A missing one would be an AttributeError on the day of a restore."""
    model = botocore.loaders.create_loader().load_service_model("ec2", "service-2")
    known = {xform_name(name): name for name in model["operations"]}
    sources = "\n".join(path.read_text() for path in Path(workers.aws.__file__).parent.glob("*.py"))
    called = {known[word] for word in set(re.findall(r"\b[a-z]+(?:_[a-z]+)+\b", sources)) if word in known}
    called -= {"DescribeExportTasks"}  # RDS has one of the same name, and that is the one that is called
    assert {"CreateSnapshots", "RunInstances", "DescribeReplaceRootVolumeTasks"} <= called
    assert called == EC2_OPERATIONS


@pytest.mark.long
def test_a_client_has_the_named_operations_and_their_pages() -> None:
    client = Sessions().at(Account("production"), "eu-central-1").read()
    assert callable(client.describe_snapshots)
    assert client.can_paginate("describe_snapshots")
    assert not hasattr(client, "create_vpc")


def test_other_services_keep_all_of_their_operations() -> None:
    whole = botocore.loaders.create_loader().load_service_model("sts", "service-2")
    assert models().load_service_model("sts", "service-2")["operations"] == whole["operations"]


@pytest.mark.parametrize(
    "written",
    [
        "2026-11-22T12:32:45.168Z",
        "2026-11-22T12:32:45Z",
        "2026-11-22T12:32:45+01:00",
        "2026-11-22T12:32:45",
        "Sun, 22 Nov 2026 12:32:45 GMT",
        1795350765,
        "1795350765",
    ],
)
def test_times_are_read_as_botocore_reads_them(written: object) -> None:
    assert instant(written) == parse_timestamp(written)
