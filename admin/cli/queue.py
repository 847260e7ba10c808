"""`snapfleet queue` and `dead`: how the work flows, and messages that could not be delivered."""

import socket
from collections.abc import Mapping
from typing import Any

import click

from admin.cli.command import command, group
from admin.cli.context import Context
from admin.cli.follow import settle
from admin.cli.output import columns
from admin.fleet import list_lives
from admin.health import queue_health
from admin.queries import LIMIT
from admin.queries_estate import list_letters
from admin.requests import request_letters
from tasks.errors import Exit

_LANES = columns(
    "lane", "ready#", "in broker#=in_broker", "delayed#", "running#", "waiting#", "oldest s#=oldest_age_s",
    "workers#=consumers", "threads#", "per min#=rate_per_min", "dead#",
)  # fmt: skip
_PROCESSES = columns("process=name", "role", "state", "lanes", "threads#", "busy#", "version", "seen=seen_at")
_NOBODY = "No process has reported itself; start `snapfleet up`."
_LETTERS = columns("id#", "lane", "reason", "job#=job_id", "state", "received=received_at")


@group(example="snapfleet queue status")
def queue(at: Context) -> None:
    """Show how the queue is.

    The same as `snapfleet queue status`.
    """
    _status(at)


@command(name="status", example="snapfleet queue status")
def queue_status(at: Context) -> None:
    """Show each lane, and the processes that work."""
    _status(at)


queue.add_command(queue_status)


def _status(at: Context) -> None:
    lanes: list[Mapping[str, Any]] = [dict(lane) for lane in queue_health(at.clock)]
    running = list_lives(at.clock)
    if at.output.json:
        at.output.value({"lanes": lanes, "processes": running})
        return
    at.output.rows(lanes, _LANES)
    at.output.line()
    at.output.rows(running, _PROCESSES, _NOBODY)


@command(example="snapfleet processes")
@click.option("--here", is_flag=True, help="Those of this host only; exit 1 when none of them lives: a health check.")
def processes(at: Context, here: bool) -> int | None:
    """List processes and how they are.

    Coordinators, workers and pages report themselves every five seconds. One that was killed is silent, and is shown
    for a day.
    """
    at.open()
    host = socket.gethostname()
    rows = [row for row in list_lives(at.clock) if not here or row["name"].partition(":")[0] == host]
    at.output.rows(rows, _PROCESSES, _NOBODY)
    return int(Exit.FAILED) if here and all(row["state"] == "silent" for row in rows) else None


@group(example="snapfleet dead list")
def dead(at: Context) -> None:
    """Deal with messages that could not be delivered.

    The same as `snapfleet dead list`.
    """
    at.open()
    at.output.rows(list_letters(), _LETTERS, "No dead letters.")


@command(name="list", example="snapfleet dead list --all")
@click.option("--all", "every", is_flag=True, help="Those already dealt with, too.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=LIMIT, show_default=True, help="The newest so many.")
def dead_list(at: Context, every: bool, limit: int) -> None:
    """List dead letters with their reasons."""
    at.open()
    at.output.rows(list_letters(every=every, limit=limit), _LETTERS, "No dead letters.")


@command(name="requeue", example="snapfleet dead requeue all")
@click.argument("letter")
def dead_requeue(at: Context, letter: str) -> None:
    """Give the jobs behind dead letters a fresh message.

    LETTER is a number from `snapfleet dead list`, or all. The letter itself is never sent again.
    """
    wish = request_letters("requeue", letter, who=at.who, clock=at.clock)
    settle(at, wish, lambda got: f"{got['requeued']} jobs go again.")


@command(name="drop", example="snapfleet dead drop 7")
@click.argument("letter")
def dead_drop(at: Context, letter: str) -> None:
    """Close dead letters without doing anything.

    LETTER is a number from `snapfleet dead list`, or all.
    """
    wish = request_letters("drop", letter, who=at.who, clock=at.clock)
    settle(at, wish, lambda got: f"{got['dropped']} letters are closed.")


for _verb in (dead_list, dead_requeue, dead_drop):
    dead.add_command(_verb)
