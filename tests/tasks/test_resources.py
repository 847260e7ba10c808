"""The capability table: whole, usable only where there is a driver, and every footnote with its source."""

import pytest

from tasks.resources import TABLE, TYPES, type_of
from workers.aws import DRIVERS

pytestmark = pytest.mark.unit

AWS = (
    "instance volume rds aurora redshift documentdb dynamodb efs fsx-lustre fsx-ontap fsx-windows fsx-openzfs s3"
).split()


def test_the_table_has_every_type_of_the_guide() -> None:
    """Feature 42: the AWS matrix."""
    assert {name for name, kind in TABLE.items() if kind.cloud == "aws"} == set(AWS)
    assert all(name == kind.name for name, kind in TABLE.items())


def test_a_type_is_usable_exactly_when_a_driver_is_registered_for_it() -> None:
    assert {name for name, kind in TYPES.items() if kind.cloud == "aws"} == set(DRIVERS)


def test_every_usable_type_says_what_it_needs_and_how_it_is_restored() -> None:
    """Feature 75: rights are data beside the type."""
    for kind in TYPES.values():
        assert kind.restores, kind.name
        assert kind.backup_actions, kind.name
        assert kind.restore_actions, kind.name
        assert kind.copy_slots > 0, kind.name
        assert len({one.name for one in kind.restore_options}) == len(kind.restore_options)


def test_every_footnote_names_its_source_and_has_a_code_of_its_own() -> None:
    for kind in TABLE.values():
        assert len({rule.code for rule in kind.rules}) == len(kind.rules)
        assert all(rule.source and rule.text.endswith(".") for rule in kind.rules)


def test_types_of_one_service_share_its_copy_slots() -> None:
    """They are counted together, so they must agree."""
    slots: dict[str, set[int]] = {}
    for kind in TABLE.values():
        slots.setdefault(kind.service, set()).add(kind.copy_slots)
    assert all(len(found) == 1 for found in slots.values())


def test_an_unknown_type_is_refused_with_the_known_ones() -> None:
    with pytest.raises(KeyError, match="known are"):
        type_of("mainframe")
