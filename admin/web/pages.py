"""The pages. Each reads what it shows, renders one template, and works without a script."""

from typing import Any

from flask import Blueprint, abort, current_app, render_template, request

from admin.figures import Estate, overview
from admin.fleet import list_lives, list_workers
from admin.health import queue_health, word_of
from admin.progress import moving
from admin.queries_estate import list_alerts, list_letters
from admin.rights import last_checks
from admin.web import lists
from admin.web.guard import clock
from tasks.catalog.standstill import standstill
from tasks.resources import TYPES
from tasks.states import JobState, PointState, RunState

bp = Blueprint("pages", __name__)
LARGEST = 2**63 - 1  # the catalog's numbers are 64-bit integers


def processes() -> list[dict[str, Any]]:
    """Processes, each with whether it reported lately."""
    working = {row["name"]: row["working"] for row in list_workers(clock())}
    return [{**row, "working": working.get(row["name"], [])} for row in list_lives(clock())]


def before() -> int | None:
    """Where the asked-for page begins."""
    given = request.args.get("before", type=int)
    return None if given is None else max(0, min(given, LARGEST))


def word(name: str) -> str:
    """A filter from the address, cut to a length that a name may have."""
    return request.args.get(name, "")[:200]


@bp.get("/", endpoint="overview")
def overview_page() -> str:
    """How the queue and the fleet are now."""
    estate: Estate = current_app.extensions["snapfleet_estate"]
    figures = overview(estate.slow(clock().now()), clock().timer(), clock().now())
    return render_template(
        "overview.html",
        figures=figures,
        still=standstill(),
        lanes=[{**lane, "word": word_of(lane)} for lane in queue_health(clock())],
        processes=processes(),
        alerts=list_alerts(limit=10),
        runs=lists.runs()["rows"][:10],
        moving=moving(),
    )


@bp.get("/runs")
def runs() -> str:
    """Runs, newest first."""
    found = lists.runs(word("policy"), word("state"), before())
    return render_template("runs.html", list=found, policies=lists.policy_names(), states=list(RunState))


@bp.get("/runs/<int(max=9223372036854775807):number>")
def run(number: int) -> str:
    """One run with its jobs."""
    found = lists.run(number) or abort(404)
    listed = lists.jobs(number, word("state"), before())
    return render_template("run.html", run=found, list=listed, states=list(JobState))


@bp.get("/resources")
def resources() -> str:
    """What exists and how well it is protected."""
    found = lists.resources(clock().now(), word("text"), word("kind"), before())
    return render_template("resources.html", list=found, kinds=sorted(TYPES))


@bp.get("/resources/<int(max=9223372036854775807):number>")
def resource(number: int) -> str:
    """One resource with its recovery points, and why each is as it is."""
    found = lists.resource(number, clock().now()) or abort(404)
    listed = lists.points(number, word("state"), before())
    return render_template("resource.html", resource=found, list=listed, states=list(PointState))


@bp.get("/points")
def points() -> str:
    """Recovery points of all resources."""
    return render_template("points.html", list=lists.points(None, word("state"), before()), states=list(PointState))


@bp.get("/alerts")
def alerts() -> str:
    """Open alerts, or every one."""
    every = bool(word("every"))
    return render_template("alerts.html", alerts=list_alerts(every=every), every=every)


@bp.get("/dead-letters")
def letters() -> str:
    """Messages that nobody could read."""
    every = bool(word("every"))
    return render_template("letters.html", letters=list_letters(every=every), every=every)


@bp.get("/rights")
def rights() -> str:
    """What the last checks of all accounts found missing, or could not tell."""
    rows = last_checks()
    left = [row for row in rows if row["outcome"] != "OK"]
    return render_template("rights.html", rows=left[: lists.PAGE * 10], allowed=len(rows) - len(left))


@bp.get("/missed")
def missed() -> str:
    """Slots that no coordinator was there for."""
    return render_template("missed.html", list=lists.missed(before()))
