"""Azure SQL databases are protected, lost and restored by one `snapfleet up`: at home and from the other region.

The story is told once for the module. Rows that were written into a database are compared with those of what is
restored from its copy, from the copy in the other region and from the exported file.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest
import yaml

from deploy.sandbox.azure import seed, seed_sql
from deploy.sandbox.azure.client import AzureControl
from tests.azure import QUICK, start_azure
from tests.scenario.installation import Installation

SERVER = seed_sql.server_id(seed.SUBSCRIPTION, seed.GROUP, seed_sql.HOME_SERVER).lower()
AWAY_SERVER = seed_sql.server_id(seed.SUBSCRIPTION, seed.GROUP, seed_sql.AWAY_SERVER).lower()
ORDERS = f"{SERVER}/databases/orders"
IDENTITY = f"/subscriptions/{seed.SUBSCRIPTION}/resourcegroups/app/providers/x/userassignedidentities/exporter"
SECRET = {"AZURE_SECRET": seed.SECRET}


def estate(container: str) -> dict[str, Any]:
    account = {
        "name": "az", "cloud": "azure", "subscription_id": seed.SUBSCRIPTION, "tenant_id": seed.TENANT,
        "client_id": seed.CLIENT, "client_secret": "env:AZURE_SECRET", "regions": [seed.HOME, seed.AWAY],
    }  # fmt: skip
    target = {"tag": {"owner": "orders"}, "types": ["azure-sql"], "accounts": ["az"], "regions": [seed.HOME]}
    export = {"way": "export", "container": container, "identity": IDENTITY}
    entry = {"region": seed.AWAY, "options": {"server": AWAY_SERVER}}
    return {
        "version": 1,
        "accounts": [account],
        "policies": [
            {"name": "copies", "targets": [target], "generations": 2, "dr": [entry]},
            {"name": "files", "targets": [{**target, "options": export}], "generations": 2},
        ],
    }


@dataclass
class Story:
    """What there is to look at afterwards."""

    cloud: AzureControl
    here: Installation
    file: Any
    points: list[dict[str, Any]] = field(default_factory=list)
    restored: dict[str, dict[str, str]] = field(default_factory=dict)

    def databases(self) -> list[str]:
        return [str(one["id"]).lower() for one in self.cloud.things("databases")]


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    process, cloud = start_azure(tmp_path_factory.mktemp("azure"))
    cloud.ask("POST", "config", {**QUICK, "sql_copy_seconds": 0.3, "export_seconds": 0.3})
    cloud.seed(kind="sql")
    home = tmp_path_factory.mktemp("sql") / "home"
    settings = {"poll_floor_seconds": "0.2", "tick_seconds": "0.2"}
    told = Story(cloud, Installation(home, {**cloud.environment(), **SECRET}, **settings), home.parent / "estate.yaml")
    try:
        _protect(told)
        _lose_and_restore(told)
        yield told
    finally:
        told.here.kill()
        process.kill()
        process.wait()


def _protect(story: Story) -> None:
    here = story.here
    here.type("init", "--yes")
    story.file.write_text(yaml.safe_dump(estate(f"{story.cloud.url}/exports/c")))
    here.type("apply", "-f", str(story.file))
    here.up()
    for policy in ("copies", "files"):
        assert here.type("run", policy, "--wait")["state"] == "done"
    story.cloud.ask("POST", "rows", {"id": ORDERS, "rows": {"second": "written later"}})
    for policy in ("copies", "files"):
        assert here.type("run", policy, "--wait")["state"] == "done"
    story.points = [one for one in here.type("points") if one["state"] == "good"]


def _lose_and_restore(story: Story) -> None:
    at = ("--set", f"at={datetime.now(UTC).isoformat()}", "--set", "name=then")
    story.cloud.ask("POST", "rows", {"id": ORDERS, "rows": {"third": "a mistake"}})
    done = story.here.type("restore", story.points[0]["id"], "--to", "database", *at, "--wait")
    made = [item["id"] for item in done["made"] if item["kind"] == "azure-sql-database"]
    story.restored["moment"] = story.cloud.ask("GET", "rows", id=made[0])
    story.cloud.destroy(ORDERS)
    newest = {
        (one["policy"], one["destination"]): one for one in sorted(story.points, key=lambda one: int(one["id"][3:]))
    }
    for number, ((policy, place), point) in enumerate(newest.items()):
        words = ("restore", point["id"], "--to", "database", "--set", f"name=back-{number}", "--wait")
        done = story.here.type(*words)
        made = [item["id"] for item in done["made"] if item["kind"] == "azure-sql-database"]
        story.restored[f"{policy} {place}".strip()] = story.cloud.ask("GET", "rows", id=made[0])


def test_what_is_restored_from_each_place_holds_the_rows_of_the_last_backup(story: Story) -> None:
    """Feature 27, feature 47: copied, copied to the other region, exported, lost, restored from each; and
    before that as of a moment that no point is of."""
    rows = {"first": "rows of orders", "second": "written later"}
    assert story.restored == {"moment": rows, "copies": rows, f"copies az/{seed.AWAY}": rows, "files": rows}


def test_exports_leave_no_staging_copy_beside_the_copies_of_both_runs(story: Story) -> None:
    copies = [one for one in story.databases() if one.rsplit("/", 1)[1].startswith("snapfleet-")]
    assert len([one for one in copies if one.startswith(SERVER + "/")]) == 2
    assert len([one for one in copies if one.startswith(AWAY_SERVER + "/")]) == 2
    assert len(story.cloud.ask("GET", "bacpacs")) == 2


def test_no_secret_and_no_password_was_sent_to_the_sql_service_or_printed(story: Story) -> None:
    assert seed.SECRET not in "".join(story.here.said)
    assert seed.SECRET not in str(story.cloud.calls())
    assert "dministratorLoginPassword" not in str(story.cloud.calls("POST"))


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        ({"region": seed.AWAY}, "name it by options"),
        ({"account": "other", "region": seed.AWAY, "options": {"server": AWAY_SERVER}}, "another account"),
    ],
)
def test_a_copy_that_azure_cannot_make_is_refused_by_apply_with_the_reason(
    story: Story, entry: dict[str, Any], reason: str
) -> None:
    """Feature 47: across regions only, and onto a server."""
    wish = estate(f"{story.cloud.url}/exports/c")
    wish["accounts"].append({**wish["accounts"][0], "name": "other", "kind": "dr"})
    wish["policies"][0]["dr"] = [entry]
    path = story.here.home.parent / "refused.yaml"
    path.write_text(yaml.safe_dump(wish))
    story.here.type("apply", "-f", str(path), accept=(2, 4))
    assert reason in "".join(story.here.said[-2:])
