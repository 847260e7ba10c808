"""`snapfleet state rebuild` and `orphans adopt` as they are typed: what is asked for and told (feature C11)."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tasks.catalog import Account, Job, Point, transaction
from tasks.catalog.point import ORPHAN
from tasks.clock import host_time
from tasks.states import JobState, PointState
from tests.admin.catalogue import heartbeat, seed
from tests.admin.cli.conftest import Cli
from tests.admin.cli.test_work import Background, coordinate, requests

pytestmark = pytest.mark.unit
HOSTILE = "snap-1[/red]\x1b[31m"


@pytest.fixture
def one_place(home: Path) -> None:
    seed(("web-1", "web-2"))
    with transaction():
        Account.update(regions=["us-east-1"]).execute()
    heartbeat()


def ended(kind: str, of: Callable[[Job], dict[str, Any]], broken: str = "") -> Callable[[], None]:
    """A coordinator and a worker whose jobs of a kind end at once; those of the service `broken` badly."""

    def step() -> None:
        coordinate()
        with transaction():
            for job in list(Job.select().where(Job.kind == kind)):
                bad = {"state": JobState.FAILED, "error_code": "denied", "error_text": "no right"}
                columns = bad if job.service == broken else {"state": JobState.DONE, "result": of(job)}
                Job.update(**columns, finished_at=host_time()).where(Job.id == job.id).execute()

    return step


def of_place(job: Job) -> dict[str, Any]:
    listed = job.service == "ec2"
    point = {"resource": "i-1", "policy": "web", "destination": "", "taken_at": "2026-11-20T01:00:00+00:00"}
    left = [{**point, "parts": HOSTILE, "why": "It was made twice."}] if listed else []
    return {
        "points": int(listed), "failed": len(left), "already": 0, "running": 0, "linked": 0, "listed": listed,
        "skipped": [f"{HOSTILE}: told"] if listed else [], "written": [{**point, "parts": "snap-2"}] if listed else [],
        "left": left, "dry_run": job.kind != "rebuild",
    }  # fmt: skip


@pytest.mark.usefixtures("one_place")
def test_a_rebuilding_is_refused_until_the_estate_was_seen_and_then_tells_of_every_place(
    cli: Cli, background: Background
) -> None:
    background(ended("rebuild-look", of_place))
    refused = cli("state", "rebuild", "--dry-run", "--wait")
    assert refused.code == 4
    assert "what is there would count as gone" in refused.err
    said = cli("state", "rebuild", "--dry-run", "--unseen", "--wait")
    assert said.code == 0, said.err
    assert "\x1b" not in said.out
    assert "It was made twice." in said.out
    assert "snap-2" in said.out
    told = cli("state", "rebuild", "--dry-run", "--unseen", "--wait", "-o", "json").json
    assert [row["result"]["points"] for row in told["places"] if row["result"]["listed"]] == [1]
    assert requests()[-1] == ("rebuild", {"dry_run": True, "unseen": True})


@pytest.mark.usefixtures("one_place")
def test_a_place_that_cannot_be_rebuilt_is_told_and_the_exit_code_says_so(cli: Cli, background: Background) -> None:
    background(ended("rebuild", of_place, broken="rds"))
    said = cli("state", "rebuild", "--unseen", "--wait")
    assert said.code == 3
    assert "no right" in said.out


@pytest.mark.usefixtures("one_place")
def test_orphans_are_named_or_all_and_each_that_is_not_adopted_says_why(cli: Cli, background: Background) -> None:
    assert cli("orphans", "adopt").code == cli("orphans", "adopt", "rp-1", "--all").code == 2
    whys: dict[int, str] = {}

    def told(job: Job) -> dict[str, Any]:
        found = [(number, whys.get(number, "")) for number in job.spec["points"]]
        return {"orphans": [{"id": f"rp-{number}", "adopted": not why, "why": why} for number, why in found]}

    background(ended("orphan-adopt", told))
    refused = cli("orphans", "adopt", "rp-1", "--wait")
    assert (refused.code, "rp-1 is no orphan." in refused.err) == (4, True)
    with transaction():
        some = [row.id for row in Point.select(Point.id).order_by(Point.id).limit(2)]
        Point.update(state=PointState.FAILED, error_code=ORPHAN).where(Point.id.in_(some)).execute()
    whys[some[0]] = "It is not complete."
    said = cli("orphans", "adopt", *(f"rp-{number}" for number in some), "--wait")
    assert (said.code, "It is not complete." in said.out) == (3, True)
    assert cli("orphans", "-o", "json").code == 0
