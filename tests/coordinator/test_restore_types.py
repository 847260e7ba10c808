"""Restores of types other than instances and volumes: options from the table, captured values, what stays behind."""

from typing import Any

import pytest

from coordinator.restore import RestoreRequest, plan_restore
from coordinator.restore_draft import Draft
from coordinator.restore_facts import PartFacts, PointFacts
from coordinator.restore_options import chosen
from tasks.errors import Invalid
from tasks.resources import TABLE

pytestmark = pytest.mark.unit

CAPTURED = {
    "instance_class": "db.t3.micro",
    "subnet_group": "private",
    "security_group_ids": ["sg-1", "sg-2"],
    "multi_az": True,
    "port": 5432,
    "deletion_protection": False,
}


def draft(region: str = "us-east-1", **settings: str) -> Draft:
    point = PointFacts(
        id="rp-1",
        type="rds",
        resource_id="db-ABC",
        account="prod",
        region=region,
        parts=(PartFacts("snap-1", size_gib=20),),
        home_account="prod",
        home_region="us-east-1",
        attributes=CAPTURED,
    )
    return Draft(point, RestoreRequest("database", settings=settings))


def values(region: str = "us-east-1", **settings: str) -> tuple[dict[str, Any], Draft]:
    one = draft(region, **settings)
    return chosen(one, TABLE["rds"]), one


def test_what_is_not_asked_for_is_as_it_was_captured() -> None:
    found, one = values(id="again")
    assert found == {
        "id": "again",
        "class": "db.t3.micro",
        "subnet_group": "private",
        "security_groups": ["sg-1", "sg-2"],
        "multi_az": True,
        "port": 5432,
        "deletion_protection": False,
    }
    assert one.warnings == []


def test_given_values_are_read_as_the_options_type() -> None:
    found, _ = values(id="again", multi_az="no", port="3306", security_groups="sg-9, sg-8", subnet_group="none")
    assert (found["multi_az"], found["port"], found["security_groups"]) == (False, 3306, ["sg-9", "sg-8"])
    assert "subnet_group" not in found


def test_elsewhere_what_exists_only_at_home_is_left_out_with_a_warning() -> None:
    found, one = values("eu-west-1", id="again", security_groups="sg-there")
    assert "subnet_group" not in found
    assert found["security_groups"] == ["sg-there"]
    assert [word for word in one.warnings if "private" in word and "prod, us-east-1" in word]


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({}, "--set id"),
        ({"id": "x", "colour": "red"}, "'colour'"),
        ({"id": "x", "multi_az": "perhaps"}, "yes or no"),
        ({"id": "x", "port": "http"}, "whole number"),
    ],
)
def test_wrong_options_are_refused_with_what_they_take(settings: dict[str, str], text: str) -> None:
    with pytest.raises(Invalid, match=text):
        values(**settings)


def test_options_of_types_do_not_go_with_instances() -> None:
    point = PointFacts("rp-1", "instance", "i-1", "prod", "us-east-1", (PartFacts("snap-1"),))
    with pytest.raises(Invalid, match="--set"):
        plan_restore(point, RestoreRequest("volume", settings={"id": "x"}))
    with pytest.raises(Invalid, match="--to does not take 'database'"):
        plan_restore(point, RestoreRequest("database"))
