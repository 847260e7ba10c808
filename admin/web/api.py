"""The same as the pages, as JSON, for whoever is logged in or carries a token with the scope api. It only reads."""

from typing import Any

from flask import Blueprint, abort

from admin.health import queue_health
from admin.queries_estate import list_alerts
from admin.web import lists
from admin.web.guard import clock
from admin.web.pages import before, processes, word

bp = Blueprint("api", __name__, url_prefix="/api/v1")


@bp.get("/queues")
def queues() -> Any:
    """The health of every lane."""
    return {"rows": queue_health(clock())}


@bp.get("/runs")
def runs() -> Any:
    """Runs; `policy`, `state` and `before` narrow the list."""
    return lists.runs(word("policy"), word("state"), before())


@bp.get("/runs/<int(max=9223372036854775807):number>")
def run(number: int) -> Any:
    """One run with a page of its jobs."""
    return {**(lists.run(number) or abort(404)), "jobs": lists.jobs(number, word("state"), before())}


@bp.get("/resources")
def resources() -> Any:
    """Resources; `text`, `kind` and `before` narrow the list."""
    return lists.resources(clock().now(), word("text"), word("kind"), before())


@bp.get("/points")
def points() -> Any:
    """Recovery points; `state` and `before` narrow the list."""
    return lists.points(None, word("state"), before())


@bp.get("/alerts")
def alerts() -> Any:
    """Open alerts."""
    return {"rows": list_alerts()}


@bp.get("/processes")
def listed_processes() -> Any:
    """Processes that reported themselves."""
    return {"rows": processes()}
