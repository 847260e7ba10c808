"""`snapfleet drain`, `resume`, `workers`, and the verbs of `snapfleet worker`: who works, and who should stop."""

import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import click

from admin.cli.command import command, group
from admin.cli.context import Context
from admin.cli.output import columns, shown_value
from admin.cli.status import workers_needed
from admin.fleet import DRAINED_WITHIN, ask_drain, ask_resume, ask_standstill, drained, list_workers, undrained
from tasks.catalog import session
from tasks.catalog.standstill import on_its_way
from tasks.errors import Exit

_WORKERS = columns("worker=name", "state", "pool", "lanes", "busy#", "threads#", "works on=works_on", "seen=seen_at")
_LOOK_SECONDS = 0.5
_NOBODY = "No worker has reported itself; start `snapfleet worker`."


def show_workers(at: Context) -> None:
    """Print the live workers."""
    at.open()
    rows = list_workers(at.clock)
    shown = rows if at.output.json else [{**row, "works_on": _works_on(at, row["working"])} for row in rows]
    at.output.rows(shown, _WORKERS, _NOBODY)


def _works_on(at: Context, working: list[dict[str, Any]]) -> str:
    """The oldest three things in hand, each with how long it has been there."""
    now = at.clock.timer()
    parts = [
        f"{item['kind']} {item['resource'] or item['job']} ({shown_value(now - item['since'])})"
        for item in working[:3]
        if item["since"]
    ]
    return ", ".join(parts) + (f" and {len(working) - 3} more" if len(working) > 3 else "")


@group(example="snapfleet workers")
def workers(at: Context) -> None:
    """List workers, and how many are needed.

    The same as `snapfleet worker list`.
    """
    show_workers(at)


workers.add_command(workers_needed)


@command(name="list", example="snapfleet worker list")
def worker_list(at: Context) -> None:
    """List workers with what each has in hand."""
    show_workers(at)


@command(name="drain", example="snapfleet worker drain host-a:4711:worker --wait")
@click.argument("name")
@click.option("--wait", is_flag=True, help="Wait until nothing is in hand; exit 1 when that takes over 30 seconds.")
def worker_drain(at: Context, name: str, wait: bool) -> int | None:
    """Let a worker take nothing more.

    It returns what it has not begun, finishes what runs, and stays there. NAME is a worker's, or a host's for all
    workers on it.
    """
    at.open()
    names = ask_drain(name, drain=True, who=at.who, clock=at.clock)
    over = wait and _until(lambda: drained(names, at.clock), DRAINED_WITHIN)
    silent = sorted(set(names) - {row["name"] for row in list_workers(at.clock)})
    left = undrained(names, at.clock) if wait and not over else []
    text = f"Drained: {', '.join(names)}." if over else f"Asked to drain: {', '.join(names)}."
    notes = [
        f" {row['name']} still works on {_works_on(at, row['working']) or 'nothing it has reported'}." for row in left
    ]
    if silent:
        which = f"{silent[0]} has" if len(silent) == 1 else f"{', '.join(silent)} have"
        notes.append(f" {which} reported nothing lately: gone, or without the catalog.")
    at.output.result({"workers": names, "drained": over, "left": left, "silent": silent}, text + "".join(notes))
    return int(Exit.FAILED) if wait and not over else None


@command(name="undrain", example="snapfleet worker undrain host-a:4711:worker")
@click.argument("name")
def worker_undrain(at: Context, name: str) -> None:
    """Let a drained worker take messages again."""
    at.open()
    names = ask_drain(name, drain=False, who=at.who, clock=at.clock)
    at.output.result({"workers": names}, f"Asked to go on: {', '.join(names)}.")


@command(example="snapfleet drain --wait 600")
@click.option("--wait", type=click.IntRange(0, 86_400), default=0, metavar="SECONDS", help="Wait until nothing runs.")
def drain(at: Context, wait: int) -> int | None:
    """Let the whole fleet come to a standstill.

    Nothing new is published and no new wish is taken; what was begun is followed to its end. Slots that come meanwhile
    run after `snapfleet resume`. With --wait: exit 1 when something still runs after that time.
    """
    at.open()
    ask_standstill(who=at.who, clock=at.clock)

    def left() -> int:
        with session():
            return on_its_way()

    still = 0 if wait and _until(lambda: not left(), timedelta(seconds=wait)) else left()
    text = f"{still} jobs are still on their way." if still else "Nothing runs."
    at.output.result({"on_its_way": still}, f"Nothing new begins until `snapfleet resume`. {text}")
    return int(Exit.FAILED) if wait and still else None


@command(example="snapfleet resume")
def resume(at: Context) -> None:
    """Let a fleet that stands still go on."""
    at.open()
    ask_resume(who=at.who, clock=at.clock)
    at.output.result({"resumed": True}, "Work begins again.")


def _until(reached: Callable[[], bool], within: timedelta) -> bool:
    for _ in range(int(within.total_seconds() / _LOOK_SECONDS)):
        if reached():
            return True
        threading.Event().wait(_LOOK_SECONDS)
    return reached()
