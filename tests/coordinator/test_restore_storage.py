"""Restores of tables and file systems: made first, then set up as they were."""

from typing import Any

import pytest

from coordinator.restore import RestoreRequest, plan_restore
from coordinator.restore_facts import PartFacts, PointFacts
from tasks.errors import Invalid

pytestmark = pytest.mark.unit

TABLE = {
    "ttl": "until",
    "pitr": True,
    "stream": "NEW_IMAGE",
    "deletion_protection": False,
    "table_class": "STANDARD",
    "scaling": [{"resource": "", "policies": []}],
}
BACKUP = "arn:aws:dynamodb:us-east-1:111111111111:table/orders/backup/1"


def point(type_: str, attributes: dict[str, Any], region: str = "us-east-1") -> PointFacts:
    return PointFacts(
        id="rp-1",
        type=type_,
        resource_id="orders",
        account="prod",
        region=region,
        parts=(PartFacts(BACKUP),),
        home_account="prod",
        home_region="us-east-1",
        attributes=attributes,
        tags={"team": "a", "snapfleet:job": "old"},
    )


def test_a_table_is_made_and_then_set_up_as_it_was() -> None:
    """feature 19"""
    plan = plan_restore(point("dynamodb", TABLE), RestoreRequest("table", settings={"name": "back", "pitr": "no"}))
    made, configured = plan.steps
    assert (made.kind, dict(made.params)) == ("restore-table", {"backup_id": BACKUP, "name": "back"})
    assert configured.kind == "configure-table"
    assert dict(configured.params) == {
        "table": {"$ref": "restore.table"},
        "ttl": "until",
        "stream": "NEW_IMAGE",
        "table_class": "STANDARD",
        "pitr": False,
        "deletion_protection": False,
        "scaling": True,
        "tags": {"team": "a"},
    }


def test_a_table_needs_a_name_and_keeps_away_from_scaling_on_request() -> None:
    with pytest.raises(Invalid, match="--set name"):
        plan_restore(point("dynamodb", TABLE), RestoreRequest("table"))
    settings = {"name": "back", "scaling": "none", "kms_key": "key-1"}
    made, configured = plan_restore(point("dynamodb", TABLE), RestoreRequest("table", settings=settings)).steps
    assert made.params["kms_key"] == "key-1"
    assert "scaling" not in configured.params


EFS = {
    "encrypted": True,
    "kms_key_id": "arn:aws:kms:us-east-1:111111111111:key/k",
    "performance_mode": "generalPurpose",
    "throughput_mode": "elastic",
    "subnet_ids": ["subnet-1"],
    "security_group_ids": ["sg-1"],
    "policy": "{}",
}


def test_a_file_system_comes_back_as_it_was_where_it_was() -> None:
    """feature 20"""
    made, configured = plan_restore(point("efs", EFS), RestoreRequest("file-system")).steps
    assert dict(made.params) == {
        "backup_id": BACKUP, "encrypted": True, "kms_key": EFS["kms_key_id"], "performance_mode": "generalPurpose"
    }  # fmt: skip
    assert dict(configured.params) == {
        "file_system_id": {"$ref": "restore.resource_id"},
        "throughput_mode": "elastic",
        "subnets": ["subnet-1"],
        "security_groups": ["sg-1"],
        "tags": {"team": "a"},
        "here": True,
    }


def test_elsewhere_networks_keys_and_policies_stay_behind_with_a_warning() -> None:
    plan = plan_restore(point("efs", EFS, "eu-west-1"), RestoreRequest("file-system", settings={"subnets": "subnet-9"}))
    made, configured = plan.steps
    assert "kms_key" not in made.params
    assert made.params["encrypted"] is True
    assert configured.params["subnets"] == ["subnet-9"]
    assert "here" not in configured.params
    assert len(plan.warnings) == 3


def test_into_an_existing_file_system_nothing_but_files_goes() -> None:
    settings = {"into": "fs-1", "items": "/a, /b"}
    (only,) = plan_restore(point("efs", EFS), RestoreRequest("file-system", settings=settings)).steps
    assert (only.params["into"], only.params["items"], only.creates) == ("fs-1", ["/a", "/b"], ())
