"""Wishes become work: each row is accepted or refused in one transaction with what it leads to."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from coordinator.recover import begin_restore
from coordinator.resolve import ask_for_looks
from coordinator.standing import wake
from coordinator.tick import start_run
from tasks.catalog import Account, DeadLetter, Job, Meta, Point, Policy, Request, Run, lock_rows, transaction
from tasks.catalog.transitions import MAX_TEXT, cancel_job, publish_again, requeue
from tasks.errors import Invalid, Refused, SnapfleetError
from tasks.lanes import Lane
from tasks.resources import TYPES
from tasks.states import JOB_OPEN, JobState, PointState, RequestState, RunState

REQUESTS_A_TICK = 50
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
    try:
        with transaction():
            row = lock_rows(Request.select().where(Request.state == RequestState.NEW).order_by(Request.id)).first()
            if row is None:
                return False
            result = HANDLERS[row.kind](Wish(row.payload, row.requested_by, now, at))
            Request.update(state=RequestState.ACCEPTED, result=result, handled_at=at).where(
                Request.id == row.id
            ).execute()
    except SnapfleetError as error:
        _refuse(row, error.code, str(error), at)
    except (KeyError, TypeError, ValueError) as error:
        _refuse(row, "malformed", f"The request is malformed ({type(error).__name__}).", at)
    return True


def _refuse(row: Request, code: str, text: str, at: datetime) -> None:
    with transaction():
        Request.update(state=RequestState.REFUSED, error_code=code, error_text=text[:MAX_TEXT], handled_at=at).where(
            Request.id == row.id, Request.state == RequestState.NEW
        ).execute()


def _run(wish: Wish) -> Result:
    policy = _policy(wish.payload["policy"])
    run = start_run(
        policy,
        wish.now,
        wish.at,
        trigger="manual",
        reason=f"Asked for by {wish.who}.",
        only=wish.payload.get("resources") or (),
    )
    if run is None:
        raise Invalid("A run of this policy was asked for at this very instant.", advice="Ask again.")
    return {"run": run}


def _policy(name: str) -> Policy:
    policy = Policy.get_or_none(Policy.name == name, Policy.deleted_at.is_null())
    if policy is None:
        raise Invalid(f"There is no policy {name!r}.", advice="See `snapfleet policies`.")
    return policy


def _restore(wish: Wish) -> Result:
    keep = bool(wish.payload.get("keep_on_failure"))
    return {"restore": begin_restore(int(wish.payload["point"]), wish.payload["request"], keep, wish.who, wish.at)}


def _places(payload: Mapping[str, Any]) -> list[tuple[Account, str, str]]:
    query = Account.select().where(Account.enabled)
    if payload.get("account"):
        query = query.where(Account.name == payload["account"])
    accounts = list(query)
    if payload.get("account") and not accounts:
        raise Invalid(f"There is no account {payload['account']!r}.", advice="See `snapfleet accounts`.")
    return [
        (row, region, service)
        for row in accounts
        for region in row.regions
        for service in sorted({kind.service for kind in TYPES.values() if kind.cloud == row.cloud})
    ]


def _discover(wish: Wish) -> Result:
    places = _places(wish.payload)
    accounts = {row.name: row for row, _, _ in places}
    return {
        "jobs": ask_for_looks([(row.name, region, service, "") for row, region, service in places], accounts, wish.at)
    }


def _check(wish: Wish) -> Result:
    return {
        "jobs": [
            wake("check", Lane.DISCOVER, row.id, region, name, wish.at) for row, region, name in _places(wish.payload)
        ]
    }


def _cleanup(wish: Wish) -> Result:
    Meta.insert(key="retention:now", value=wish.who).on_conflict(
        conflict_target=[Meta.key], update={Meta.value: wish.who}
    ).execute()
    return {}


def _confirm(wish: Wish) -> Result:
    policy = Policy.get_or_none(Policy.name == wish.payload["policy"])
    if policy is None:
        raise Invalid(f"There is no policy {wish.payload['policy']!r}.", advice="See `snapfleet policies`.")
    key, value = f"confirm:{policy.id}", str(wish.payload["hash"])
    Meta.insert(key=key, value=value).on_conflict(conflict_target=[Meta.key], update={Meta.value: value}).execute()
    return _cleanup(wish)


def _hold(wish: Wish) -> Result:
    reason = str(wish.payload["reason"]).strip()
    if not reason:
        raise Invalid("A hold needs a reason.", advice="Give one with --reason.")
    changed = (
        Point.update(held=reason[:MAX_TEXT])
        .where(Point.id == int(wish.payload["point"]), Point.state.in_([PointState.GOOD, PointState.CREATING]))
        .execute()
    )
    if not changed:
        raise Refused(f"Point rp-{wish.payload['point']} cannot be held: it is not there or on its way out.")
    return {"point": int(wish.payload["point"])}


def _release(wish: Wish) -> Result:
    if not Point.update(held="").where(Point.id == int(wish.payload["point"])).execute():
        raise Invalid(f"There is no point rp-{wish.payload['point']}.", advice="See `snapfleet points`.")
    return {"point": int(wish.payload["point"])}


def _cancel(wish: Wish) -> Result:
    run = Run.get_or_none(Run.id == int(wish.payload["run"]))
    if run is None:
        raise Invalid(f"There is no run-{wish.payload['run']}.", advice="See `snapfleet runs`.")
    Run.update(state=RunState.CANCELLED, finished_at=wish.at, reason=f"Cancelled by {wish.who}.").where(
        Run.id == run.id, Run.state == RunState.RESOLVING
    ).execute()
    jobs = list(Job.select().where(Job.run == run.id, Job.state.in_([JobState.PENDING, JobState.QUEUED])))
    cancelled = sum(cancel_job(job, wish.at, f"Cancelled by {wish.who}.") for job in jobs)
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
        elif job is not None and job.state == JobState.FAILED:
            requeue(job, wish.at, attempt=0, claims=0, settled=False, finished_at=None)
            sent += 1
        _close_letter(letter, "requeued", wish)
    return {"requeued": sent}


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
    "cleanup": _cleanup,
    "confirm": _confirm,
    "hold": _hold,
    "release": _release,
    "cancel": _cancel,
    "requeue": _requeue,
    "drop": _drop,
}
