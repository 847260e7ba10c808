"""Wishes become work: each row is accepted or refused in one transaction with what it leads to."""

import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from peewee import InterfaceError, OperationalError

from coordinator.adoption import ask_adopt
from coordinator.archive_now import ask_archive
from coordinator.deletion import ask_deletion
from coordinator.importing import ask_import
from coordinator.judge import points_of_plan
from coordinator.looks import Looks, Scope, ask_for_looks, read_looks, services_of
from coordinator.rebuilding import ask_orphans, ask_rebuild
from coordinator.recover import begin_restore
from coordinator.repositories import KEY_FIELDS, ask_keys, ask_repository
from coordinator.standing import Place, wake_all
from coordinator.tick import start_run
from coordinator.tiering import moves_of
from tasks.catalog import (
    DeadLetter,
    Job,
    Part,
    Point,
    Policy,
    Request,
    Restore,
    Run,
    lock_rows,
    rows,
    set_meta,
    transaction,
)
from tasks.catalog.point import SUPERSEDED
from tasks.catalog.standstill import standstill
from tasks.catalog.transitions import CANCELLED, MAX_TEXT, cancel_jobs, move_point, publish_again, requeue
from tasks.errors import Invalid, Refused, SnapfleetError, Unavailable
from tasks.lanes import Lane
from tasks.states import JOB_OPEN, RUN_OPEN, JobState, PointState, RequestState, RestoreState, RunState

log = logging.getLogger("snapfleet.coordinator")

REQUESTS_A_TICK = 50
RETENTION_NOW = "retention:now"  # the Meta row that asks for a retention pass
# Refused while the fleet stands still.
_BEGINS = frozenset(
    {"run", "restore", "repository", "archive", "import", "adopt", "delete", "cleanup", "confirm", "rebuild", "orphans"}
)
Result = dict[str, Any]


@dataclass(frozen=True)
class Wish:
    """What somebody asked for, and the two readings of the clock at which it is taken up."""

    payload: Mapping[str, Any]
    who: str
    now: datetime
    at: datetime


def handle_requests(now: datetime, at: datetime) -> int:
    """Take up new wishes, oldest first; how many were handled."""
    handled = 0
    while handled < REQUESTS_A_TICK and _handle_next(now, at):
        handled += 1
    return handled


def _handle_next(now: datetime, at: datetime) -> bool:
    row = None
    try:
        with transaction():
            row = lock_rows(Request.select().where(Request.state == RequestState.NEW).order_by(Request.id)).first()
            if row is None:
                return False
            if row.kind not in HANDLERS:
                raise Invalid(f"A coordinator of this version does not know how to {row.kind!r}.", code="unknown-kind")
            _refuse_while_standing(row.kind)
            result = HANDLERS[row.kind](Wish(row.payload, row.requested_by, now, at))
            Request.update(state=RequestState.ACCEPTED, result=result, handled_at=at).where(
                Request.id == row.id
            ).execute()
    except (Unavailable, OperationalError, InterfaceError):
        raise  # the catalog is away: the wish is still new, and is taken up when it is back
    except SnapfleetError as error:
        _refuse(row, error.code, str(error), at)
    except Exception as error:  # a wish that cannot be read must not come back at every tick
        log.exception("Request %s was refused on a defect or a malformed payload.", row and row.id)
        _refuse(row, "malformed", f"The request is malformed ({type(error).__name__}).", at)
    return True


def _refuse_while_standing(kind: str) -> None:
    still = standstill() if kind in _BEGINS else None
    if still is not None:
        raise Refused(
            f"The fleet has been standing still since {still.since:%Y-%m-%d %H:%M} UTC, asked for by {still.who}.",
            code="standstill",
            advice="End it with `snapfleet resume`, then ask again.",
        )


def _refuse(row: Request | None, code: str, text: str, at: datetime) -> None:
    if row is None:
        raise Unavailable("The requests could not be read.")
    with transaction():
        Request.update(state=RequestState.REFUSED, error_code=code, error_text=text[:MAX_TEXT], handled_at=at).where(
            Request.id == row.id, Request.state == RequestState.NEW
        ).execute()


def _run(wish: Wish) -> Result:
    """Also of a policy that is disabled: that switches its schedules off, not an operator's own wish."""
    policy = _policy(wish.payload["policy"])
    only = [str(name) for name in wish.payload.get("resources") or ()]
    reason = f"Asked for by {wish.who}." + ("" if policy.enabled else " The policy is disabled.")
    for moment in range(REQUESTS_A_TICK + 1):  # wishes of one round meet at one reading of the clock
        slot = wish.now + timedelta(microseconds=moment)
        run = start_run(policy, slot, wish.at, trigger="manual", reason=reason, only=only)
        if run is not None:
            return {"run": run}
    raise Invalid("Too many runs of this policy were asked for at this very instant.", advice="Ask again.")


def _policy(name: Any) -> Policy:
    if not isinstance(name, str):
        raise TypeError("a policy is named by text")
    policy = Policy.get_or_none(Policy.name == name, Policy.deleted_at.is_null())
    if policy is None:
        raise Invalid(f"There is no policy {name!r}.", advice="See `snapfleet policies`.")
    return policy


def _restore(wish: Wish) -> Result:
    keep = bool(wish.payload.get("keep_on_failure"))
    return {"restore": begin_restore(int(wish.payload["point"]), wish.payload["request"], keep, wish.who, wish.at)}


def _scopes(looks: Looks, name: str | None) -> list[Scope]:
    if name and name not in looks.accounts:
        raise Invalid(f"There is no account {name!r}.", advice="See `snapfleet accounts`.")
    return [
        (row.name, region, service)
        for row in looks.accounts.values()
        if not name or row.name == name
        for region in row.regions
        for service in sorted(services_of(row.cloud))
    ]


def _discover(wish: Wish) -> Result:
    looks = read_looks()
    return {"jobs": ask_for_looks(looks, _scopes(looks, wish.payload.get("account")), wish.at, again=True)}


def _check(wish: Wish) -> Result:
    looks = read_looks()
    places = [
        Place(looks.accounts[account].id, region, service)
        for account, region, service in _scopes(looks, wish.payload.get("account"))
    ]
    return {"jobs": wake_all("check", Lane.DISCOVER, places, wish.at)}


def _repository(wish: Wish) -> Result:
    """A worker does it: the coordinator never touches a cloud."""
    name, verb = str(wish.payload["name"]), str(wish.payload["verb"])
    wanted = ("full", "share", "dry_run", "early", *(KEY_FIELDS if verb == "create" else ()))
    options = {key: wish.payload[key] for key in wanted if key in wish.payload}
    if verb == "tier":
        options["moves"] = moves_of(name, wish.now)
        if not options["moves"]:
            raise Refused(f"No archive in {name} has come of age for a cold class.", code="nothing-to-move")
    if verb == "lock":
        raise Invalid("Locks are extended by themselves, where the estate file has `lock` for a repository.")
    return {"job": ask_repository(name, verb, options, wish.at)}


def _import(wish: Wish) -> Result:
    return {"job": ask_import(wish.payload, wish.at)}


def _keys(wish: Wish) -> Result:
    return {"job": ask_keys(wish.payload, wish.at)}


def _adopt(wish: Wish) -> Result:
    return {"job": ask_adopt(wish.payload, wish.at)}


def _rebuild(wish: Wish) -> Result:
    return {"jobs": ask_rebuild(wish.payload, wish.at)}


def _orphans(wish: Wish) -> Result:
    return {"jobs": ask_orphans(wish.payload, wish.at)}


def _delete(wish: Wish) -> Result:
    return {"job": ask_deletion(wish.payload, wish.at)}


def _archive(wish: Wish) -> Result:
    return {"job": ask_archive(int(wish.payload["point"]), str(wish.payload.get("repository") or ""), wish.at)}


def _cleanup(wish: Wish) -> Result:
    set_meta(RETENTION_NOW, wish.who)
    return {}


def _confirm(wish: Wish) -> Result:
    """What is confirmed are the points of that plan, and no later ones: those are weighed by themselves."""
    policy = Policy.get_or_none(Policy.name == wish.payload["policy"])
    if policy is None:
        raise Invalid(f"There is no policy {wish.payload['policy']!r}.", advice="See `snapfleet policies`.")
    points = points_of_plan(policy, str(wish.payload["hash"]), wish.now)
    set_meta(f"confirm:{policy.id}", json.dumps(points))
    _cleanup(wish)
    return {"points": len(points)}


def _hold(wish: Wish) -> Result:
    reason = str(wish.payload["reason"]).strip()
    if not reason:
        raise Invalid("A hold needs a reason.", advice="Give one with --reason.")
    states = [PointState.GOOD, PointState.CREATING, PointState.FAILED]  # of the last are orphans, which hold data too
    number = int(wish.payload["point"])
    _take_back(number)
    if not Point.update(held=reason[:MAX_TEXT]).where(Point.id == number, Point.state.in_(states)).execute():
        raise Refused(f"Point rp-{wish.payload['point']} cannot be held: it is not there or on its way out.")
    return {"point": int(wish.payload["point"])}


def _take_back(number: int) -> None:
    """A point that is marked and that no cleanup has begun with is as it was before. Its row is locked before its parts
    are read: a cleanup locks it too, and marks the parts before it deletes the first."""
    marked = [Point.id == number, Point.state == PointState.EXPIRING, Point.expire_code != SUPERSEDED]
    for point in lock_rows(Point.select().where(*marked)):
        states = {state for (state,) in rows(Part.select(Part.state).where(Part.point == number))}
        if states and states <= {PointState.GOOD, PointState.FAILED}:
            back = PointState.GOOD if point.completed_at else PointState.FAILED
            move_point(number, back, expire_code="", expire_text="", marked_at=None)


def _release(wish: Wish) -> Result:
    if not Point.update(held="").where(Point.id == int(wish.payload["point"])).execute():
        raise Invalid(f"There is no point rp-{wish.payload['point']}.", advice="See `snapfleet points`.")
    return {"point": int(wish.payload["point"])}


def _cancel(wish: Wish) -> Result:
    run = Run.get_or_none(Run.id == int(wish.payload["run"]))
    if run is None:
        raise Invalid(f"There is no run-{wish.payload['run']}.", advice="See `snapfleet runs`.")
    if run.state not in RUN_OPEN:
        raise Refused(f"run-{run.id} has ended: it is {run.state}.", code="run-ended")
    reason = f"Cancelled by {wish.who}."
    why = {"error_code": CANCELLED, "reason": reason}
    ended = (
        Run.update(state=RunState.CANCELLED, finished_at=wish.at, cancelled_at=wish.at, **why)
        .where(Run.id == run.id, Run.state == RunState.RESOLVING)
        .execute()
    )
    if not ended:
        Run.update(cancelled_at=wish.at).where(Run.id == run.id).execute()
    cancelled = cancel_jobs(Job.run == run.id, wish.at, reason)
    working = Job.select().where(Job.run == run.id, Job.state.in_(list(JOB_OPEN))).count()
    return {"run": run.id, "cancelled": cancelled, "finishing": working}


def _letters(payload: Mapping[str, Any]) -> list[DeadLetter]:
    query = DeadLetter.select().where(DeadLetter.state == "open").order_by(DeadLetter.id)
    if payload["letter"] != "all":
        query = query.where(DeadLetter.id == int(payload["letter"]))
    letters = list(query)
    if not letters and payload["letter"] != "all":
        raise Invalid(f"There is no open dead letter {payload['letter']}.", advice="See `snapfleet dead list`.")
    return letters


def _requeue(wish: Wish) -> Result:
    """The letter itself is never sent again: its job, if it has one that is not finished, gets a fresh message."""
    sent = 0
    for letter in _letters(wish.payload):
        job = Job.get_or_none(Job.id == letter.job_id) if letter.job_id else None
        if job is not None and job.state == JobState.QUEUED:
            publish_again(job, wish.at)
            sent += 1
        elif job is not None and job.state == JobState.FAILED and _still_wanted(job):
            requeue(job, wish.at, attempt=0, claims=0, settled=False, finished_at=None)
            sent += 1
        _close_letter(letter, "requeued", wish)
    return {"requeued": sent}


def _still_wanted(job: Job) -> bool:
    """A step of a restore that has ended, and was perhaps undone, must not make things again."""
    if job.restore_id is None:
        return True
    restore = Restore.get_or_none(Restore.id == job.restore_id)
    return restore is not None and restore.state in (RestoreState.RUNNING, RestoreState.UNDOING)


def _drop(wish: Wish) -> Result:
    letters = _letters(wish.payload)
    for letter in letters:
        _close_letter(letter, "dropped", wish)
    return {"dropped": len(letters)}


def _close_letter(letter: DeadLetter, state: str, wish: Wish) -> None:
    DeadLetter.update(state=state, handled_at=wish.at, handled_by=wish.who).where(DeadLetter.id == letter.id).execute()


HANDLERS: Mapping[str, Callable[[Wish], Result]] = {
    "run": _run,
    "restore": _restore,
    "discover": _discover,
    "check": _check,
    "repository": _repository,
    "archive": _archive,
    "import": _import,
    "adopt": _adopt,
    "rebuild": _rebuild,
    "orphans": _orphans,
    "delete": _delete,
    "keys": _keys,
    "cleanup": _cleanup,
    "confirm": _confirm,
    "hold": _hold,
    "release": _release,
    "cancel": _cancel,
    "requeue": _requeue,
    "drop": _drop,
}
