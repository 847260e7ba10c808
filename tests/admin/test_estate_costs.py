"""What a policy's copies cost beyond their storage is told before anything runs."""

from typing import Any

import pytest

from admin.estate_policies import costs_of
from tasks.resources import TABLE

pytestmark = pytest.mark.unit


def costs(*entries: Any, **target: Any) -> list[tuple[str, bool]]:
    spec = {"targets": [{"tag": {"backup": "gold"}, **target}], "dr": list(entries)}
    return [(one["destination"], one["full"]) for one in costs_of(spec, TABLE)]


def test_a_materialised_copy_is_called_full_and_billed_by_the_hour() -> None:
    """Feature 43: Redshift across accounts."""
    entry = {"account": "vault", "region": "us-east-1", "options": {"mode": "materialise"}}
    assert costs(entry, types=["redshift"]) == [("vault/us-east-1", True)]
    text = costs_of({"targets": [{"type": "redshift"}], "dr": [entry]}, TABLE)[0]["text"]
    assert "billed by the hour" in text
    assert "always full" in text
    assert costs({**entry, "options": {"mode": "share-only"}}, types=["redshift"]) == []


def test_copying_by_the_cluster_itself_is_told_as_a_cost_even_if_the_target_names_no_type() -> None:
    entry = {"region": "eu-west-1", "options": {"cluster_copy": "yes"}}
    assert costs(entry) == [("eu-west-1", False)]
    assert costs({"region": "eu-west-1"}, types=["redshift", "rds"]) == []
