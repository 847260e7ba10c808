"""Restores of Azure SQL databases: a new one from whatever the point is, then its settings; nothing is overwritten."""

from typing import Any

import pytest

from coordinator.restore import RestoreRequest, plan_restore
from coordinator.restore_facts import PartFacts, PointFacts
from coordinator.restore_plan import RestorePlan
from tasks.errors import Impossible, Invalid

pytestmark = pytest.mark.unit

SERVERS = "/subscriptions/s/resourcegroups/app/providers/microsoft.sql/servers"
HOME, COPY = f"{SERVERS}/home", f"{SERVERS}/home/databases/snapfleet-abc"
CAPTURED = {
    "id": f"{HOME}/databases/orders",
    "server_id": HOME,
    "sku": {"name": "S0", "tier": "Standard"},
    "redundancy": "Geo",
    "retention": {"short_term": {"retentionDays": 7}},
    "server": {"version": "12.0", "firewall": {}},
}


def plan(
    kind: str = "database", part: str = COPY, region: str = "westeurope", more: Any = None, **given: str
) -> RestorePlan:
    point = PointFacts(
        id="rp-1",
        type="azure-sql",
        resource_id=CAPTURED["id"],
        resource_name="orders",
        account="az",
        region=region,
        parts=(PartFacts(part, size_gib=32),),
        home_account="az",
        home_region="westeurope",
        attributes={**CAPTURED, **(more or {})},
        tags={"team": "a"},
    )
    return plan_restore(point, RestoreRequest(kind, settings=given))


def test_a_copy_becomes_a_new_database_on_its_own_server_and_is_compared() -> None:
    """Feature 27"""
    made, settled = plan().steps
    assert dict(made.params) == {
        "from": "database",
        "source_id": COPY,
        "server_id": HOME,
        "name": "orders-rp-1",
        "sku": {"name": "S0", "tier": "Standard"},
        "redundancy": "Geo",
        "tags": {"team": "a"},
    }
    assert settled.kind == "azure-sql-settle"
    assert settled.params["server"] == CAPTURED["server"]


def test_another_server_name_and_size_are_taken_as_given() -> None:
    made = plan(server=f"{SERVERS}/other", name="orders_2", sku="S3").steps[0]
    assert (made.params["server_id"], made.params["name"], made.params["sku"]) == (f"{SERVERS}/other", "orders_2", "S3")


@pytest.mark.parametrize("given", [{"name": "a/b"}, {"name": "ends."}, {"server": "other"}, {"server": COPY}])
def test_a_name_or_server_that_azure_would_refuse_is_refused_first(given: dict[str, str]) -> None:
    with pytest.raises(Invalid):
        plan(**given)


def test_a_point_in_another_region_comes_back_on_the_server_that_holds_it() -> None:
    """Feature 47"""
    away = f"{SERVERS}/away/databases/snapfleet-def"
    assert plan(part=away, region="northeurope").steps[0].params["server_id"] == f"{SERVERS}/away"


def test_a_moment_is_taken_from_automatic_backups_on_the_databases_own_server() -> None:
    """Feature 27: whatever the point is, a database comes back as of any moment that Azure keeps."""
    planned = plan(at="2026-11-22T16:05:00+02:00", part="https://a.blob.core.windows.net/c/snapfleet-abc.bacpac")
    made = planned.steps[0].params
    assert (made["from"], made["at"]) == ("moment", "2026-11-22T14:05:00+00:00")
    assert (made["source_id"], made["server_id"]) == (CAPTURED["id"], HOME)
    assert any("not this point" in text for text in planned.warnings)


@pytest.mark.parametrize(
    ("given", "kind"),
    [
        ({"at": "yesterday"}, Invalid),
        ({"at": "2026-11-22T14:05:00"}, Invalid),
        ({"at": "2026-11-22T14:05:00Z", "server": f"{SERVERS}/other"}, Invalid),
        ({"at": "2026-11-22T14:05:00Z", "kind": "geo-database", "server": HOME}, Invalid),
        ({"at": "2026-11-22T14:05:00Z", "region": "northeurope"}, Impossible),
    ],
)
def test_a_moment_without_a_zone_and_one_on_another_server_are_refused(given: dict[str, str], kind: type) -> None:
    with pytest.raises(kind):
        plan(**given)


def test_a_file_needs_the_identity_that_reads_it_and_takes_the_one_that_wrote_it() -> None:
    file = "https://a.blob.core.windows.net/c/snapfleet-abc.bacpac"
    with pytest.raises(Invalid, match="identity"):
        plan(part=file)
    made = plan(part=file, more={"export_identity": "me"}).steps[0]
    assert (made.params["from"], made.params["identity"], made.params["server_id"]) == ("export", "me", HOME)


def test_a_long_term_backup_is_restored_as_one() -> None:
    backup = (
        "/subscriptions/s/providers/microsoft.sql/locations/l/longtermretentionservers/x/longtermretentiondatabases"
    )
    backup += "/orders/longtermretentionbackups/1;2;hot"
    assert plan(part=backup).steps[0].params["from"] == "long-term"


def test_a_geo_restore_says_that_it_is_not_this_point_and_wants_a_server() -> None:
    """Feature 47: the way back when a region is down."""
    with pytest.raises(Invalid, match="server"):
        plan("geo-database")
    found = plan("geo-database", server=f"{SERVERS}/away")
    assert found.steps[0].params["source_id"] == f"{HOME}/recoverableDatabases/orders"
    assert any("not this point" in text for text in found.warnings)


def test_without_geo_replicated_backups_there_is_no_geo_restore() -> None:
    with pytest.raises(Impossible):
        plan("geo-database", server=f"{SERVERS}/away", more={"redundancy": "Local"})


def test_what_was_in_a_pool_comes_back_in_the_pool_that_is_named_or_with_a_warning() -> None:
    pooled = {"sku": {"name": "ElasticPool", "tier": "Standard"}}
    found = plan(more=pooled)
    assert "sku" not in found.steps[0].params
    assert any("elastic pool" in text for text in found.warnings)
    assert plan(more=pooled, pool="/pools/one").steps[0].params["pool_id"] == "/pools/one"
