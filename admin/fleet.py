"""The fleet's workers as an operator sees and steers them: who works on what, drains, and a standstill of everything.

A drain is a wish in the worker's own row, which it reads at each heartbeat: it needs no coordinator, and it is there
again after a restart under the same name.
"""

from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Any

from admin.queries import Row, near
from admin.queries_estate import list_processes
from tasks.catalog import Audit, Job, Process, Resource, session, transaction
from tasks.catalog.fleet import DRAIN, SILENT_AFTER
from tasks.catalog.standstill import begin_standstill, end_standstill
from tasks.clock import Clock
from tasks.errors import Invalid, Refused

# A worker reads the wish within a heartbeat (5 s), and what runs ends within the time that a call may take (25 s).
DRAINED_WITHIN = timedelta(seconds=30)


def list_workers(clock: Clock) -> list[Row]:
    """Workers that reported lately, each with what it has in hand: job, kind, lane, resource, since."""
    with session():
        rows = _live(clock)
        jobs = {entry["job"] for row in rows for entry in _jobs(row)}
        query: Any = Job.select(Job.id, Job.region, Resource.external_id).join(Resource).where(Job.id.in_(sorted(jobs)))
        known = {job.id: job.resource.external_id for job in query} if jobs else {}
        return [_worker(row, known) for row in rows]


def _live(clock: Clock) -> list[Process]:
    since = clock.timer() - SILENT_AFTER
    return list(Process.select().where(Process.role == "worker", Process.seen_at >= since).order_by(Process.name))


def _jobs(row: Process) -> list[dict[str, Any]]:
    """What a worker says it has in hand; an older one says nothing."""
    return [entry for entry in row.detail.get("jobs", ()) if isinstance(entry, dict) and "job" in entry]


def _worker(row: Process, known: dict[int, str]) -> Row:
    keys = ("name", "lanes", "pool", "threads", "busy", "version", "draining", "wanted", "started_at", "seen_at")
    working = [
        {
            **{key: entry.get(key, "") for key in ("job", "kind", "lane")},
            "resource": known.get(entry["job"], ""),
            "since": datetime.fromisoformat(entry["since"]) if entry.get("since") else None,
        }
        for entry in _jobs(row)
    ]
    return {**{key: getattr(row, key) for key in keys}, "state": state_of(row), "working": working}


def list_lives(clock: Clock) -> list[Row]:
    """Every process that is known, each with its `state`: alive, draining, drained, or silent for those that reported
    nothing lately: a killed one stays known for a day."""
    since = clock.timer() - SILENT_AFTER
    return [{**row, "state": _life(row, alive=row["seen_at"] >= since)} for row in list_processes()]


def _life(row: Row, *, alive: bool) -> str:
    if not alive:
        return "silent"
    if row["draining"] or row["wanted"]:
        return "draining" if row["busy"] or not row["draining"] else "drained"
    return "alive"


def state_of(row: Process) -> str:
    """A live worker in a word: working, idle, draining (something is still in hand) or drained."""
    if row.draining or row.wanted == DRAIN:
        return "drained" if row.draining and not row.busy else "draining"
    return "working" if row.busy else "idle"


def ask_drain(name: str, *, drain: bool, who: str, clock: Clock) -> list[str]:
    """Write down that a worker should take nothing more, or (not `drain`) take messages again; the names it was.

    `name` is a worker's, or a host's for all workers there. Raises Invalid when there is none such.
    """
    with transaction():
        rows = list(Process.select().where(Process.role == "worker").order_by(Process.name))
        chosen = [row.name for row in rows if name in (row.name, row.name.partition(":")[0])]
        if not chosen:
            names = [row.name for row in rows]
            raise Invalid(f"There is no worker {name!r}.", advice=near(name, names) or "See `snapfleet worker list`.")
        Process.update(wanted=DRAIN if drain else "").where(Process.name.in_(chosen)).execute()
        action, detail = "worker.drain" if drain else "worker.undrain", {"workers": chosen}
        Audit.create(at=clock.timer(), who=who, action=action, subject=name[:200], detail=detail)
    return chosen


def undrained(names: Collection[str], clock: Clock) -> list[Row]:
    """Those of these workers that live and have something in hand or may still take something."""
    return [row for row in list_workers(clock) if row["name"] in names and row["state"] != "drained"]


def drained(names: Collection[str], clock: Clock) -> bool:
    """Whether each of these workers has nothing in hand and takes nothing, or is gone."""
    return not undrained(names, clock)


def ask_standstill(*, who: str, clock: Clock) -> None:
    """Let nothing new begin anywhere. Raises Refused when that is so already."""
    with transaction():
        if not begin_standstill(who, clock.timer()):
            raise Refused("The fleet stands still already.", advice="End it with `snapfleet resume`.")
        Audit.create(at=clock.timer(), who=who, action="fleet.drain", subject="fleet")


def ask_resume(*, who: str, clock: Clock) -> None:
    """Let work begin again. Raises Refused when nothing stands still."""
    with transaction():
        if not end_standstill():
            raise Refused("The fleet does not stand still.")
        Audit.create(at=clock.timer(), who=who, action="fleet.resume", subject="fleet")
