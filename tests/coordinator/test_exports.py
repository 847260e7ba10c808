"""Exports of databases: which runs get one, as which job, and what is refused with AWS's reason."""

from typing import Any

import pytest

from coordinator.exports import (
    NOT_RESTORABLE,
    export_destination,
    export_due,
    is_export,
    plan_cold,
    plan_export,
)
from coordinator.plan import PolicyFacts
from coordinator.routes import Refusal, SourceFacts
from tasks.catalog import Job
from tasks.resources import TYPES
from tasks.resources.rights import exportable
from tests.coordinator.test_plan import policy

pytestmark = pytest.mark.unit
ENTRY = {"bucket": "acme", "prefix": "dbs", "role_arn": "arn:aws:iam::111111111111:role/x", "kms_key": "alias/x"}


def source(**more: Any) -> SourceFacts:
    facts = {"point_id": 7, "resource_id": 3, "resource_type": "rds", "account": "prod", "region": "us-east-1"}
    return SourceFacts(**{**facts, "parts": 1, "found": {"engine": "postgres"}, **more})


def planned(facts: PolicyFacts, **more: Any) -> dict[str, Any] | Refusal:
    return plan_export(facts, 1, source(**more), ENTRY, {"prod": 1}, 50)


def test_an_export_is_a_job_where_its_snapshot_lies() -> None:
    """Feature 42: it needs no copy and goes to a bucket of the same account and region."""
    row = planned(policy(export=ENTRY))
    assert isinstance(row, dict)
    assert (row["kind"], row["account"], row["region"], row["service"]) == ("copy", 1, "us-east-1", "rds")
    assert row["spec"]["destination"] == "export:acme"
    assert row["spec"]["options"] == {
        "export_bucket": "acme", "export_prefix": "dbs", "export_role": ENTRY["role_arn"], "export_key": "alias/x"
    }  # fmt: skip
    assert row["key"] == planned(policy(export=ENTRY))["key"]  # type: ignore[index]
    assert row["key"] != planned(policy(export=ENTRY), point_id=8)["key"]  # type: ignore[index]


@pytest.mark.parametrize(("ordinal", "due"), [(1, True), (2, False), (3, False), (4, True)])
def test_every_nth_successful_run_exports_and_the_first_does(ordinal: int, due: bool) -> None:
    assert bool(export_due(policy(export={**ENTRY, "every": 3}), ordinal)) is due


def test_without_an_export_in_the_policy_nothing_is_due() -> None:
    assert export_due(policy(), 1) == {}


@pytest.mark.parametrize(("more", "why"), [
    ({"found": {"engine": "oracle-ee"}}, "not of oracle-ee"),
    ({"found": {}}, "not of this engine"),
    ({"resource_type": "aurora"}, "exports no backups of aurora"),
])  # fmt: skip
def test_what_aws_does_not_export_is_refused_with_the_reason(more: dict[str, Any], why: str) -> None:
    found = planned(policy(export=ENTRY), **more)
    assert isinstance(found, Refusal)
    assert (found.code, why in found.text) == ("no-export", True)


def test_a_cold_class_is_a_job_of_its_own_after_the_export() -> None:
    """Feature 42: the same run, the same place, on the lane that moves data."""
    assert "class" not in planned(policy(export=ENTRY))["spec"]  # type: ignore[index]
    row = plan_export(policy(), 1, source(), {**ENTRY, "class": "deep-archive"}, {"prod": 1}, 50)
    assert isinstance(row, dict)
    assert row["spec"]["class"] == "DEEP_ARCHIVE"
    done = Job(key=row["key"], run=1, account=1, region="us-east-1", service="rds", resource=3, point_id=9,
               priority=50, max_attempts=4, retry_wait_s=60, spec=row["spec"])  # fmt: skip
    cold = plan_cold(done)
    assert (cold["kind"], cold["lane"], cold["point_id"], cold["spec"]) == (
        "export-cold", "repository", 9, {"class": "DEEP_ARCHIVE"}
    )  # fmt: skip
    assert cold["key"] == f"export-cold:{row['key']}"


def test_exports_are_told_from_copies_and_only_databases_have_them() -> None:
    assert is_export(export_destination("acme"))
    assert not any(is_export(one) for one in ("", "prod/eu-west-1", "repository:cold"))
    assert {name for name, kind in TYPES.items() if exportable(kind)} == {"rds"}
    assert "cannot be restored" in NOT_RESTORABLE
