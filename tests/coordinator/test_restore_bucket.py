"""The way back of a bucket: one step, told with its figures before anything is done. feature 25"""

from typing import Any

import pytest

from coordinator.restore import PartFacts, PointFacts, RestoreRequest, plan_restore, render
from tasks.errors import Invalid

pytestmark = pytest.mark.unit

KEPT = {
    "bucket": "safe", "prefix": "data/", "region": "eu-west-1", "owner": "222222222222", "versioned": True,
    "opaque": False, "as_of": "2026-03-01T12:00:00+00:00", "objects": 1200, "bytes": 5 << 30, "copied": 7,
}  # fmt: skip


def point(**kept: Any) -> PointFacts:
    found = {"sync": {**KEPT, **kept}, "bucket": "data", "versioning": "Enabled", "encryption": {"Rules": []}}
    return PointFacts(
        id="rp-7", type="s3", resource_id="data", account="vault", region="eu-west-1",
        parts=(PartFacts("s3://safe/data/", size_gib=5),), home_account="prod", home_region="us-east-1",
        attributes={**found, "encryption": {"Rules": [1]}}, tags={"team": "a"},
    )  # fmt: skip


def test_a_bucket_is_restored_where_it_was_unless_asked_otherwise() -> None:
    (step,) = plan_restore(point(), RestoreRequest("bucket")).steps
    assert (step.kind, step.params["bucket"], step.params["account"], step.params["region"]) == (
        "restore-bucket", "data", "prod", "us-east-1"
    )  # fmt: skip
    assert step.params["from"] == {name: KEPT[name] for name in list(KEPT)[:7]}
    assert step.params["like"] == {"versioning": "Enabled", "encryption": {"Rules": [1]}, "tags": {"team": "a"}}


def test_elsewhere_the_key_of_the_original_does_not_exist() -> None:
    (step,) = plan_restore(point(), RestoreRequest("bucket", settings={"bucket": "b", "region": "eu-west-1"})).steps
    assert "encryption" not in step.params["like"]


def test_a_dry_run_tells_how_much_there_is_and_of_when() -> None:
    lines = render(plan_restore(point(), RestoreRequest("bucket", settings={"prefix": "a/"})))
    assert any("1200 objects, 5.0 GiB, of which those under the prefix are copied" in line for line in lines)
    assert any("As of 2026-03-01T12:00:00+00:00" in line for line in lines)
    plain = plan_restore(point(versioned=False), RestoreRequest("bucket"))
    assert plain.warnings == ("safe keeps no versions: what is there now is restored.",)


@pytest.mark.parametrize(
    "request_", [RestoreRequest("bucket", settings={"bucket": "safe"}), RestoreRequest("bucket", tags={"a": "b"})]
)
def test_what_makes_no_sense_is_refused(request_: RestoreRequest) -> None:
    with pytest.raises(Invalid):
        plan_restore(point(), request_)
