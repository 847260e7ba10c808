"""What a dry run says that a restore from an archive costs."""

import pytest

from admin.costs import prices
from admin.restore_costs import estimate_restore
from tasks.catalog import Part, Point, Repository, transaction
from tests.admin.catalogue import AT, seed
from tests.admin.cli.conftest import Cli

pytestmark = pytest.mark.unit


def test_writing_is_billed_by_the_block_and_cold_classes_bill_each_gib_read() -> None:
    """feature 82, feature 83: 1 TiB written is $12.58 in requests for blocks, as the price list says."""
    given = prices()
    (warm,) = estimate_restore({"STANDARD": 1024}, given)
    assert 12.58 < warm["once_usd"] < 12.60
    cold, again = estimate_restore({"GLACIER": 1024, "STANDARD": 1024}, given)
    assert (again, cold["class"]) == (warm, "GLACIER")
    assert cold["once_usd"] - warm["once_usd"] == pytest.approx(cold["read_gib"] * 0.01, abs=1)
    assert estimate_restore({}, given) == []


def test_a_dry_run_says_what_it_costs_by_the_class_that_the_archive_lies_in(cli: Cli) -> None:
    """feature 82: beside the plan; a snapshot's costs nothing to read."""
    seed()
    with transaction():
        where = {"account": "prod", "url": "s3://acme/cold", "region": "us-east-1"}
        place = Repository.create(name="cold", spec=where, created_at=AT)
        source = Point.get(Point.state == "good")
        columns = {"resource": source.resource_id, "policy": source.policy_id, "account": source.account_id}
        lies = {"region": "us-east-1", "destination": "repository:cold", "kind": "archive", "state": "good"}
        point = Point.create(**columns, **lies, taken_at=AT, attributes={})
        disk = {"device": "/dev/sda1", "size_gib": 8, "state": "good", "attributes": {"storage_class": "GLACIER"}}
        Part.create(point=point, external_id="a" * 32, source_id="vol-1", **disk)
    asked = ("restore", f"rp-{point.id}", "--to", "volume", "--zone", "us-east-1a", "--dry-run")
    said = cli(*asked, "-o", "json")
    assert said.code == 0, said.err
    assert said.json["costs"] == estimate_restore({"GLACIER": 8}, prices())
    assert "USD ONCE" in cli(*asked).out
    assert "costs" not in cli("restore", f"rp-{source.id}", *asked[2:], "-o", "json").json
    (file,) = cli("restore", f"rp-{point.id}", "--to", "file", "--dry-run", "-o", "json").json["costs"]
    assert (file["ebs_requests"], file["s3_requests"]) == (0, said.json["costs"][0]["s3_requests"])
    assert file["once_usd"] < said.json["costs"][0]["once_usd"]
    with transaction():
        Repository.update(spec={**where, "url": "azure://acct/c"}).where(Repository.id == place.id).execute()
    assert "costs" not in cli(*asked, "-o", "json").json
