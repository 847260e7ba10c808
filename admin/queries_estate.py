"""Questions to the catalog about the estate and its keepers: accounts, resources, policies, schedules, alerts, who."""

from collections.abc import Sequence
from datetime import datetime
from itertools import islice
from typing import Any
from zoneinfo import ZoneInfo

from peewee import fn

from admin.iam import needs_look
from admin.protection import judge_targets, rpo_of
from admin.queries import LIMIT, Row, near
from coordinator.due import Grid, slots_between
from coordinator.rpo_state import UNPROTECTED
from tasks.catalog import (
    Account,
    Alert,
    Audit,
    DeadLetter,
    Job,
    Point,
    Policy,
    PolicySchedule,
    Process,
    Resource,
    Run,
    Scan,
    Schedule,
    Token,
    User,
    session,
)
from tasks.catalog.freshness import target_freshness
from tasks.errors import Denied, Invalid
from tasks.resources import TABLE
from tasks.resources.rights import exportable
from tasks.states import JOB_TERMINAL, JobState, PointState

_BATCH = 5_000  # ids in one query; SQLite takes 32,766 parameters
_BY_PLACE = (Account.name, Resource.region, Resource.external_id)
# Attributes are large and never listed.
_SHOWN_OF_RESOURCES = (
    Resource.id,
    Resource.external_id,
    Resource.name,
    Resource.type,
    Resource.region,
    Resource.tags,
    Resource.seen_at,
    Resource.gone_at,
)


def list_accounts() -> list[Row]:
    """Accounts with the last contact, and how many resources were found in each."""
    with session():
        counted: Any = (
            Resource.select(Resource.account, fn.COUNT(Resource.id).alias("n"))
            .where(Resource.gone_at.is_null())
            .group_by(Resource.account)
            .tuples()
        )
        found = dict(counted)
        looks: Any = Scan.select(Scan.account, fn.MIN(Scan.finished_at).alias("at")).group_by(Scan.account)
        looked = {row.account_id: Scan.finished_at.python_value(row.at) for row in looks}
        return [
            {
                "name": row.name,
                "cloud": row.cloud,
                "kind": row.kind,
                "number": row.number,
                "regions": row.regions,
                "state": str(row.state) if row.enabled else "removed",
                "resources": found.get(row.id, 0),
                "looked_at": looked.get(row.id),
                "checked_at": row.checked_at,
                "note": row.state_text,
            }
            for row in Account.select().order_by(Account.name)
        ]


def list_resources(
    now: datetime, *, account: str = "", kind: str = "", rpo: str = "", gone: bool = False, limit: int = LIMIT
) -> list[Row]:
    """Discovered resources with the newest good point of each, and at calendar time `now` their `rpo`."""
    with session():
        query: Any = Resource.select(*_SHOWN_OF_RESOURCES, Account.name).join(Account)
        if account:
            query = query.where(Account.name == account)
        if kind:
            query = query.where(Resource.type == kind)
        if not gone:
            query = query.where(Resource.gone_at.is_null())
        rows = _in_state(query.order_by(*_BY_PLACE), rpo, now, limit)
        states = rpo_of([row.id for row in rows], now)
        good = _last_good([row.id for row in rows])
        return [
            {
                "id": row.external_id,
                "name": row.name,
                "type": row.type,
                "account": row.account.name,
                "region": row.region,
                "tags": row.tags,
                "rpo": states[row.id],
                "last_good_at": good.get(row.id),
                "seen_at": row.seen_at,
                "gone_at": row.gone_at,
            }
            for row in rows
        ]


def _in_state(query: Any, rpo: str, now: datetime, limit: int) -> list[Any]:
    """The first rows that are in a state; without one, the first of all."""
    if not rpo:
        return list(query.limit(limit))
    found = judge_targets(target_freshness(now), now)
    return list(islice((row for row in query if str(found.get(row.id, UNPROTECTED)) == rpo), limit))


def _last_good(resources: list[int]) -> dict[int, datetime]:
    """When each resource was last backed up well where it lies."""
    found: dict[int, datetime] = {}
    for start in range(0, len(resources), _BATCH):
        points: Any = (
            Point.select(Point.resource, fn.MAX(Point.taken_at).alias("at"))
            .where(Point.resource.in_(resources[start : start + _BATCH]), Point.state == PointState.GOOD)
            .where(Point.destination == "")
            .group_by(Point.resource)
        )
        found |= {point.resource_id: Point.taken_at.python_value(point.at) for point in points}
    return found


def list_policies() -> list[Row]:
    """Policies with their schedules, next start and last run."""
    with session():
        joined: Any = PolicySchedule.select(PolicySchedule, Schedule.name).join(Schedule).order_by(Schedule.name)
        schedules: dict[int, list[Any]] = {}
        for row in joined:
            schedules.setdefault(row.policy_id, []).append(row)
        last: Any = Run.select(Run.policy, fn.MAX(Run.id).alias("newest")).group_by(Run.policy).tuples()
        newest: dict[int, int] = dict(last)
        runs: Any = Run.select().where(Run.id.in_(list(newest.values())))
        by_policy = {run.policy_id: run for run in runs} if newest else {}
        policies: Any = Policy.select().where(Policy.deleted_at.is_null()).order_by(Policy.name)
        return [_policy(row, schedules.get(row.id, []), by_policy.get(row.id)) for row in policies]


def _policy(row: Any, joined: list[Any], run: Any) -> Row:
    starts = [item.next_start_at for item in joined if item.next_start_at is not None]
    return {
        "name": row.name,
        "enabled": row.enabled,
        "priority": row.priority,
        "schedules": [item.schedule.name for item in joined],
        "targets": len(row.spec.get("targets", ())),
        "generations": row.spec.get("generations"),
        "next_start_at": min(starts) if starts and row.enabled else None,
        "last_run": f"run-{run.id}" if run else "",
        "last_state": str(run.state) if run else "",
        "version": row.version,
    }


def list_schedules() -> list[Row]:
    """Schedules with the policies they start and the next slot."""
    with session():
        joined: Any = PolicySchedule.select(PolicySchedule, Policy.name).join(Policy).order_by(Policy.name)
        rows: dict[int, list[Any]] = {}
        for row in joined:
            rows.setdefault(row.schedule_id, []).append(row)
        found = []
        for schedule in Schedule.select().order_by(Schedule.name):
            pairs = rows.get(schedule.id, [])
            slots = [pair.next_slot_at for pair in pairs if pair.next_slot_at is not None]
            found.append(
                {
                    "name": schedule.name,
                    "every": schedule.spec.get("every", ""),
                    "time_zone": schedule.spec.get("time_zone", "UTC"),
                    "policies": [pair.policy.name for pair in pairs],
                    "next_slot_at": min(slots) if slots else None,
                }
            )
        return found


def preview_schedule(name: str, count: int, now: datetime) -> list[Row]:
    """The next slots of a schedule after `now`, in UTC and on the wall clock of its zone."""
    with session():
        row = Schedule.get_or_none(Schedule.name == name)
        if row is None:
            names = [other.name for other in Schedule.select(Schedule.name)]
            raise Invalid(f"There is no schedule {name!r}.", advice=near(name, names) or "See `snapfleet schedules`.")
    grid = Grid.from_spec(row.spec)
    until = datetime.max.replace(tzinfo=now.tzinfo, year=9998)
    zone = ZoneInfo(grid.time_zone)
    slots = islice(slots_between(grid, now, until), count)
    return [{"slot_at": slot, "local": f"{slot.astimezone(zone):%a %Y-%m-%d %H:%M %Z}"} for slot in slots]


def list_capabilities() -> list[Row]:
    """What can be done with each type of resource.

    `repository` is true, false, or 'export' where no images are kept but backups are exported; `notes` say which.
    """
    return [
        {
            "type": kind.name,
            "cloud": kind.cloud,
            "service": kind.service,
            "cross_region": kind.cross_region,
            "cross_account": kind.cross_account,
            "repository": kind.repository or ("export" if exportable(kind) else False),
            "cold": kind.cold,
            "copy_slots": kind.copy_slots,
            "notes": list(kind.notes),
            "usable": kind.built,
            "options": [one.name for one in (*kind.backup_options, *kind.copy_options)],
            "restores": list(kind.restores),
            "restore_options": [one.name for one in kind.restore_options],
        }
        for kind in TABLE.values()
    ]


def list_alerts(*, every: bool = False, limit: int = LIMIT) -> list[Row]:
    """Open alerts, or with `every` cleared ones too; newest first."""
    keys = ("severity", "title", "text", "count", "raised_at", "seen_at", "cleared_at", "key")
    with session():
        query: Any = Alert.select().order_by(Alert.id.desc()).limit(limit)
        if not every:
            query = query.where(Alert.open_key.is_null(False))
        return [{key: getattr(row, key) for key in keys} for row in query]


def list_letters(*, every: bool = False, limit: int = LIMIT) -> list[Row]:
    """Dead letters that nobody dealt with yet, or with `every` all of them; newest first."""
    keys = ("id", "lane", "reason", "job_id", "state", "received_at", "handled_by", "body")
    with session():
        query: Any = DeadLetter.select().order_by(DeadLetter.id.desc()).limit(limit)
        if not every:
            query = query.where(DeadLetter.state == "open")
        return [{key: getattr(row, key) for key in keys} for row in query]


def list_processes() -> list[Row]:
    """Processes that reported themselves."""
    keys = (
        "name", "role", "lanes", "pool", "threads", "busy", "version", "draining", "wanted", "started_at", "seen_at",
    )  # fmt: skip
    with session():
        return [{key: getattr(row, key) for key in keys} for row in Process.select().order_by(Process.name)]


def list_looks(jobs: Sequence[int], asked_at: datetime) -> list[Row]:
    """The looks of these jobs: `state` is open until one that was asked for at `asked_at` has ended, done or failed.

    It is not-granted where the cloud denied a look that nothing depends on: no policy and no recovery point.
    """
    with session():
        query: Any = Job.select(Job, Account).join(Account).where(Job.id.in_(list(jobs)))
        specs = [dict(one.spec) for one in Policy.select(Policy.spec).where(Policy.deleted_at.is_null())]
        return [
            {
                "account": row.account.name,
                "region": row.region,
                "service": row.service,
                "state": _look_state(row, asked_at, specs),
                "found": row.result.get("found") if row.state == JobState.DONE else None,
                "note": row.error_text if row.state == JobState.FAILED else row.result.get("note", ""),
            }
            for row in query.order_by(Account.name, Job.region)
        ]


def _look_state(row: Job, asked_at: datetime, specs: Sequence[Row]) -> str:
    if row.state not in JOB_TERMINAL or row.finished_at is None or row.finished_at < asked_at:
        return "open"
    if row.state == JobState.DONE:
        return "done"
    denied = row.error_code == Denied.code and not needs_look(row.account, row.service, specs)
    return "not-granted" if denied else "failed"


def list_audit(*, limit: int = LIMIT) -> list[Row]:
    """Who asked for what, newest first."""
    keys = ("id", "at", "who", "action", "subject", "detail")
    with session():
        return [
            {key: getattr(row, key) for key in keys} for row in Audit.select().order_by(Audit.id.desc()).limit(limit)
        ]


def list_users() -> list[Row]:
    """Who may log in; never a hash."""
    keys = ("name", "role", "created_at", "disabled_at")
    with session():
        return [{key: getattr(row, key) for key in keys} for row in User.select().order_by(User.name)]


def list_tokens() -> list[Row]:
    """Service tokens by name; never a digest."""
    keys = ("name", "scope", "created_at", "expires_at")
    with session():
        return [{key: getattr(row, key) for key in keys} for row in Token.select().order_by(Token.name)]
