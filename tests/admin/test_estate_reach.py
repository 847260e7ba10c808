"""What a policy asks for and would not be carried out is told before anything runs, by type and with the reason."""

from typing import Any

import pytest

from admin.estate_reach import Reached, left_out, meant, unmet
from coordinator.targets import ResourceFact
from tasks.resources import TABLE, TYPES

pytestmark = pytest.mark.unit
GOLD = {"tag": {"backup": "gold"}}
CLOUDS = {"prod": "aws", "vault": "aws", "blue": "azure"}


def resource(kind: str, name: str = "", number: int = 1, **attributes: Any) -> Reached:
    fact = ResourceFact(number, "prod", "us-east-1", kind, name or f"{kind}-{number}", tags={"backup": "gold"})
    return Reached(fact, attributes)


def told(spec: dict[str, Any], *found: Reached) -> list[tuple[str, str, int]]:
    return [
        (one["what"], one["type"], one["count"]) for one in unmet({"targets": [GOLD], **spec}, found, TYPES, CLOUDS)
    ]


def test_a_copy_that_some_types_under_a_tag_cannot_have_is_told_once_for_each_with_its_reason() -> None:
    """Feature 42, feature 43: the table's footnotes, with their sources; what can be copied is not named."""
    spec = {"targets": [GOLD], "dr": [{"account": "vault", "region": "us-east-1"}]}
    found = [
        resource("instance", number=1),
        *(resource("redshift", number=n) for n in (2, 3)),
        resource("s3", number=4),
    ]
    rows = unmet(spec, found, TYPES, CLOUDS)
    assert [(one["what"], one["type"], one["count"], one["example"]) for one in rows] == [
        ("dr vault/us-east-1", "redshift", 2, "redshift-2"),
        ("dr vault/us-east-1", "s3", 1, "s3-4"),
    ]
    assert "options.mode" in rows[0]["text"]
    assert "Sharing snapshots" in rows[0]["text"]


def test_what_only_the_resource_itself_tells_is_told_of_a_named_type_too() -> None:
    """Feature 45, feature 46: a scratch file system has no copies, whatever the policy says."""
    dr = [{"region": "eu-west-1"}]
    assert told({"dr": dr}, resource("fsx-lustre", deployment_type="SCRATCH_2")) == [
        ("dr prod/eu-west-1", "fsx-lustre", 1)
    ]
    assert told({"dr": dr}, resource("fsx-lustre", deployment_type="PERSISTENT_2")) == []


def test_a_copy_into_another_cloud_or_to_where_it_lies_is_told() -> None:
    assert told({"dr": [{"account": "blue", "region": "westeurope"}]}, resource("volume")) == [
        ("dr blue/westeurope", "volume", 1)
    ]
    assert told({"dr": [{"region": "us-east-1"}]}, resource("volume")) == [("dr prod/us-east-1", "volume", 1)]


def test_what_cannot_be_kept_in_a_repository_or_in_the_cold_is_told() -> None:
    """Feature 42: databases have exports, and are no archives."""
    wanted = {"repository": {"name": "cold", "archive": {"class": "glacier", "after": "30d"}}}
    assert told(wanted, resource("volume"), resource("rds", number=2), resource("efs", number=3)) == [
        ("repository cold", "efs", 1), ("repository cold", "rds", 1)
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "engine", "expected"),
    [("rds", "postgres", 0), ("rds", "oracle-ee", 1), ("aurora", "aurora-mysql", 1), ("volume", "", 1)],
)
def test_what_is_not_exported_is_told(kind: str, engine: str, expected: int) -> None:
    assert len(told({"export": {"bucket": "acme"}}, resource(kind, engine=engine))) == expected


def test_what_carries_the_tag_and_needs_an_option_of_its_target_is_told_as_unprotected() -> None:
    """Feature 25: a bucket is kept where its target says, so that a tag without that means no bucket."""
    facts = [resource("s3", "pictures").fact, resource("volume", number=2).fact]
    rows = left_out({"targets": [GOLD]}, facts, TYPES)
    assert [(one["what"], one["type"], one["example"]) for one in rows] == [("targets", "s3", "pictures")]
    assert "options.bucket" in rows[0]["text"]
    assert left_out({"targets": [{**GOLD, "types": ["volume"]}]}, facts, TYPES) == []
    assert [fact.type for fact in meant({"targets": [GOLD]}, facts)] == ["volume"]


def test_every_type_of_the_table_is_judged_without_a_defect() -> None:
    """Whatever a tag hangs on, the plan can be made."""
    spec = {"dr": [{"account": "vault", "region": "eu-west-1"}, {"region": "eu-west-1"}], "repository": {"name": "r"}}
    rows = told({**spec, "export": {"bucket": "b"}}, *(resource(kind, number=n) for n, kind in enumerate(TABLE)))
    assert {kind for _, kind, _ in rows} == set(TYPES)
