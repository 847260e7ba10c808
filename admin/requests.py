"""Wishes: each is one row that a coordinator picks up, with an audit row beside it. Nothing is done here.

What can be seen to be wrong at once (no such policy, no such point) is refused here, with close matches; everything
else the coordinator decides, in the transaction that acts.
"""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from admin.queries import find_point, find_policy, find_run
from coordinator.restore_facts import RestoreRequest
from tasks.catalog import Account, Audit, Process, Repository, Request, session, transaction
from tasks.clock import Clock
from tasks.errors import Invalid, Refused
from tasks.states import RequestState

# Coordinators report themselves every 5 s; three missed reports mean that nobody is there.
FRESH = timedelta(seconds=15)


def somebody_runs(clock: Clock) -> bool:
    """Whether a coordinator is there to take up a wish."""
    with session():
        since = clock.timer() - FRESH
        return bool(Process.select().where(Process.role == "coordinator", Process.seen_at >= since).exists())


def request(kind: str, payload: Mapping[str, Any], *, subject: str, who: str, clock: Clock) -> int:
    """Write a wish and its audit row; returns the wish's id."""
    with transaction():
        row = Request.create(kind=kind, payload=dict(payload), requested_by=who, created_at=clock.timer())
        Audit.create(at=clock.timer(), who=who, action=kind, subject=subject, detail=dict(payload))
        return int(row.id)


def request_run(policy: str, resources: Sequence[str] = (), *, who: str, clock: Clock) -> int:
    """Ask for a run of a policy now; `resources` (external ids) narrows it."""
    with session():
        row = find_policy(policy)
    payload: dict[str, Any] = {"policy": row.name, **({"resources": list(resources)} if resources else {})}
    return request("run", payload, subject=f"policy {row.name}", who=who, clock=clock)


def request_restore(point: str, wish: RestoreRequest, keep_on_failure: bool, *, who: str, clock: Clock) -> int:
    """Ask for a restore of a point."""
    with session():
        row = find_point(point)
    payload = {"point": row.id, "request": wish.to_json(), "keep_on_failure": keep_on_failure}
    return request("restore", payload, subject=f"rp-{row.id}", who=who, clock=clock)


def request_repository(name: str, verb: str, options: Mapping[str, Any], *, who: str, clock: Clock) -> int:
    """Ask that a worker does something with a repository: create, stats, verify or prune."""
    with session():
        if not Repository.select().where(Repository.name == name).exists():
            raise Invalid(f"There is no repository {name!r}.", advice="Add it to the estate file and apply it.")
    return request(
        "repository", {"name": name, "verb": verb, **options}, subject=f"repository {name}", who=who, clock=clock
    )


def request_hold(point: str, reason: str, *, who: str, clock: Clock) -> int:
    """Ask that a point is kept whatever retention says, for a reason."""
    if not reason.strip():
        raise Invalid("A hold needs a reason.", advice="Give one with --reason.")
    with session():
        row = find_point(point)
    payload = {"point": row.id, "reason": reason.strip()}
    return request("hold", payload, subject=f"rp-{row.id}", who=who, clock=clock)


def request_release(point: str, *, who: str, clock: Clock) -> int:
    """Ask that a held point ages again. Raises Refused when it is not held."""
    with session():
        row = find_point(point)
    if not row.held:
        raise Refused(f"Point rp-{row.id} is not held.")
    return request("release", {"point": row.id}, subject=f"rp-{row.id}", who=who, clock=clock)


def request_cancel(run: str, *, who: str, clock: Clock) -> int:
    """Ask that what has not started of a run does not start."""
    with session():
        row = find_run(run)
    return request("cancel", {"run": row.id}, subject=f"run-{row.id}", who=who, clock=clock)


def request_cleanup(*, who: str, clock: Clock) -> int:
    """Ask for a retention pass now."""
    return request("cleanup", {}, subject="retention", who=who, clock=clock)


def request_confirm(policy: str, plan_hash: str, *, who: str, clock: Clock) -> int:
    """Confirm the plan that the deletion brake stopped, by its hash."""
    with session():
        row = find_policy(policy, deleted=True)
    payload = {"policy": row.name, "hash": plan_hash}
    return request("confirm", payload, subject=f"policy {row.name}", who=who, clock=clock)


def request_look(kind: str, account: str | None, *, who: str, clock: Clock) -> int:
    """Ask for a look at an account, or at all: kind `discover` (what exists) or `check` (may we enter)."""
    with session():
        if account and Account.get_or_none(Account.name == account, Account.enabled) is None:
            raise Invalid(f"There is no account {account!r}.", advice="See `snapfleet accounts`.")
    return request(kind, {"account": account}, subject=f"account {account or '*'}", who=who, clock=clock)


def request_letters(verb: str, letter: str, *, who: str, clock: Clock) -> int:
    """Ask that a dead letter (or `all`) is followed up: verb `requeue` or `drop`."""
    if letter != "all" and not letter.isdecimal():
        raise Invalid(
            f"{letter!r} is not the number of a letter.", advice="Take one from `snapfleet dead list`, or `all`."
        )
    wanted: Any = letter if letter == "all" else int(letter)
    return request(verb, {"letter": wanted}, subject=f"letter {letter}", who=who, clock=clock)


def answer(request_id: int) -> dict[str, Any] | None:
    """What became of a wish: its result, or None while nobody took it up.

    Raises Refused with the coordinator's reason when it said no.
    """
    with session():
        row = Request.get_by_id(request_id)
    if row.state == RequestState.NEW:
        return None
    if row.state == RequestState.REFUSED:
        raise Refused(row.error_text, code=row.error_code)
    return dict(row.result)
