"""`snapfleet status`, `forecast` and `workers needed`: is all well, what will come, and who is needed for it."""

from datetime import date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import click

from admin.cli.command import command
from admin.cli.context import Context
from admin.cli.output import columns, shown_span
from admin.figures import overview, read_slow
from admin.load import forecast_day
from coordinator.elastic import Need
from coordinator.elastic_facts import read_needs
from tasks.catalog import session
from tasks.catalog.standstill import standstill
from tasks.errors import Invalid

_HOURS = columns("hour", "runs#", "snapshots#", "copies#", "archives#", "calls#", "work", "too much=note")
_CROWDED = columns("slot=slot_at", "start=start_at", "policy", "place", "jobs#", "takes")
_NEEDS = columns("pool", "workers#", "needed#", "threads#", "backlog", "clears in=clears", "most of it=lane")


@command(example="snapfleet status")
def status(at: Context) -> None:
    """Show whether all is well.

    How many resources keep what their policies promise (met, at risk, breached), runs of the last day, alerts, and
    whether there are enough workers.
    """
    at.open()
    with session():
        now = at.clock.now()
        figures: dict[str, Any] = overview(read_slow(now), at.clock.timer(), now)
        found = read_needs(at.clock.timer(), at.clock.now(), at.settings.threads)
        still = standstill()
    figures["standstill_since"] = still.since if still else None
    figures |= {"workers": sum(one.workers for one in found), "workers_needed": sum(one.needed for one in found)}
    if at.output.json:
        at.output.value(figures)
        return
    at.output.record(figures, list(figures))


@command(name="needed", example="snapfleet workers needed --output json")
def workers_needed(at: Context) -> None:
    """Say how many workers are needed.

    So many that what waits is done before the next slot of its policy, and that new work does not pile up; by worker
    pool. `backlog` is the work that waits in thread time, `clears in` how long the workers there are need for it.
    """
    at.open()
    with session():
        found = read_needs(at.clock.timer(), at.clock.now(), at.settings.threads)
    rows = [_need(one) for one in found]
    if not at.output.json:
        rows = [
            {
                **row,
                "backlog": shown_span(row["backlog"]),
                "clears": shown_span(row["clears"]) if row["threads"] or not row["backlog"] else "never",
            }
            for row in rows
        ]
    at.output.rows(rows, _NEEDS)


def _need(one: Need) -> dict[str, Any]:
    lane, most = max(one.backlog.items(), key=lambda item: item[1])
    seconds = {
        "backlog": timedelta(seconds=round(sum(one.backlog.values()))),
        "clears": timedelta(seconds=round(sum(one.clears.values()))),
    }
    lanes = {
        str(key): {"backlog_s": round(value, 1), "clears_s": round(one.clears[key], 1)}
        for key, value in one.backlog.items()
    }
    return {
        "pool": one.pool or "common",
        "workers": one.workers,
        "needed": one.needed,
        "threads": one.threads,
        **seconds,
        "lane": str(lane) if most else "",
        "lanes": lanes,
    }


@command(example="snapfleet forecast --day 2026-12-01 --time-zone Europe/Berlin")
@click.option("--day", type=click.DateTime(["%Y-%m-%d"]), help="Which day; without it tomorrow.")
@click.option("--time-zone", default="UTC", show_default=True, help="The zone of the day and of what is shown.")
def forecast(at: Context, day: datetime | None, time_zone: str) -> None:
    """Show the load of a day, hour by hour.

    Runs, jobs, calls and work from the schedules, each policy at its own place in their spread, with the targets of the
    policies' newest runs; and the slots that an account cannot take in time at the pace that clouds allow.
    """
    at.open()
    try:
        zone = ZoneInfo(time_zone)
    except (KeyError, ValueError):
        raise Invalid(f"There is no time zone {time_zone!r}.", advice="Write one such as Europe/Berlin.") from None
    chosen: date = day.date() if day else (at.clock.now().astimezone(zone) + timedelta(days=1)).date()
    found = forecast_day(chosen, zone, at.clock)
    if at.output.json:
        at.output.value(found)
        return
    at.output.line(f"{found['day']} ({found['time_zone']}), with {found['threads']} threads of workers:")
    at.output.rows([{**row, "note": _note(row)} for row in found["hours"]], _HOURS)
    at.output.line()
    at.output.rows(found["over_capacity"], _CROWDED, "No slot is over capacity.")
    if found["unreadable"]:
        at.output.line(f"Schedules that cannot be read, so not counted: {', '.join(found['unreadable'])}.")
    if found["unknown"]:
        at.output.line(f"Without a run so far, so not counted: {', '.join(found['unknown'])}.")


def _note(row: dict[str, Any]) -> str:
    """What does not fit into an hour."""
    places = [f"{item['place']} (+{item['left']})" for item in row["saturated"]]
    return ", ".join([*places[:3], *(["…"] if len(places) > 3 else []), *(["workers"] if row["workers_short"] else [])])
