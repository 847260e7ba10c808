"""Who is a target of which policy, and since when not any more: facts for retention and for `backup_on_add`.

A look is taken at every policy once an hour of the calendar, and, where a policy backs up at once what joins it or
means a place that was never looked at, whenever an account was looked at. Nothing leaves because an account is switched
off or cannot be entered.
"""

import hashlib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from peewee import SQL, fn

from coordinator.facts import resource_facts
from coordinator.lease import Held, still_held
from coordinator.looks import Looks
from coordinator.targets import resolve, scopes_of
from coordinator.tick import start_run
from tasks.catalog import Account, Job, Membership, Meta, Point, Policy, Resource, Run, rows, set_meta, transaction
from tasks.catalog.transitions import BATCH
from tasks.states import AccountState

_EVER = datetime.min.replace(tzinfo=UTC)


def note_members(held: Held, looks: Looks, now: datetime, at: datetime) -> int:
    """Bring memberships up to date and back up what joined a policy that wants it; how many runs were started."""
    marks = {row.key: row.value for row in Meta.select().where(Meta.key.startswith("members:"))}
    newest = hashlib.sha256(repr(sorted(looks.finished.items())).encode()).hexdigest()[:16]
    started = 0
    for policy in Policy.select().where(Policy.deleted_at.is_null()).order_by(Policy.id):
        key = f"members:{policy.id}"
        mark, before = f"{policy.version}:{format(now, '%Y-%m-%dT%H')}", marks.get(key, "")
        if before != mark and (_wants_at_once(policy) or _unlooked(policy, looks)):
            mark = f"{policy.version}:{newest}"
        if before == mark:
            continue
        same_version = before.startswith(f"{policy.version}:")
        if _wants_at_once(policy) and not same_version and _unlooked(policy, looks):
            continue  # what the first look finds has not joined: it was there
        matched = _matched(policy, looks)
        with transaction():
            if not still_held(held):
                return started
            joined = _note(policy, matched, now)
            # A policy that is new or was changed starts with its next slot, as operators expect.
            if same_version and _wants_at_once(policy):
                started += _back_up(policy, [matched[number] for number in joined], now, at)
            set_meta(key, mark)
    return started


def _wants_at_once(policy: Policy) -> bool:
    return bool(policy.enabled and policy.spec.get("backup_on_add"))


def _unlooked(policy: Policy, looks: Looks) -> bool:
    """Whether some place of the policy was never looked at, and no look there has failed."""
    scopes = looks.stale(scopes_of(policy.spec.get("targets") or (), looks.regions), _EVER)
    return any(scope not in looks.failed for scope in scopes)


def _matched(policy: Policy, looks: Looks) -> dict[int, str]:
    """The resources that the policy means now, by id, with the cloud's own ids."""
    targets: Sequence[Mapping[str, Any]] = policy.spec.get("targets") or ()
    accounts = {name: row.id for name, row in looks.accounts.items()}
    found = resolve(targets, resource_facts(targets, accounts)).targets
    return {item.resource.id: item.resource.external_id for item in found}


def _note(policy: Policy, matched: Mapping[int, str], now: datetime) -> list[int]:
    """Write what changed; the resources that joined, came back included."""
    known: dict[int, datetime | None] = dict(
        rows(Membership.select(Membership.resource, Membership.left_at).where(Membership.policy == policy.id))
    )
    new = sorted(matched.keys() - known.keys())
    back = sorted(number for number in matched if known.get(number) is not None)
    gone = _really_gone([number for number, left in known.items() if left is None and number not in matched])
    _insert(policy, new, now, None)
    _insert(policy, _really_gone(_unnoticed(policy, matched)), now, now)
    _update(policy, back, None)
    _update(policy, gone, now)
    return new + back


def _really_gone(resources: Sequence[int]) -> list[int]:
    """Those of accounts that are in use and can be entered: of the others nobody knows."""
    return [
        number
        for start in range(0, len(resources), BATCH)
        for (number,) in rows(
            Resource.select(Resource.id)
            .join(Account)
            .where(
                Resource.id.in_(list(resources[start : start + BATCH])),
                Account.enabled,
                Account.state != AccountState.UNREACHABLE,
            )
        )
    ]


def _unnoticed(policy: Policy, matched: Mapping[int, str]) -> list[int]:
    """Resources with points of the policy that came and went between two looks."""
    member = Membership.select(SQL("1")).where(Membership.policy == policy.id, Membership.resource == Point.resource)
    query = Point.select(Point.resource).distinct().where(Point.policy == policy.id, ~fn.EXISTS(member))
    return [number for (number,) in rows(query) if number not in matched]


def _insert(policy: Policy, resources: Sequence[int], now: datetime, left_at: datetime | None) -> None:
    for start in range(0, len(resources), BATCH):
        Membership.insert_many(
            [
                {"policy": policy.id, "resource": number, "joined_at": now, "left_at": left_at}
                for number in resources[start : start + BATCH]
            ]
        ).on_conflict_ignore().execute()


def _update(policy: Policy, resources: Sequence[int], left_at: datetime | None) -> None:
    for start in range(0, len(resources), BATCH):
        Membership.update(left_at=left_at).where(
            Membership.policy == policy.id, Membership.resource.in_(list(resources[start : start + BATCH]))
        ).execute()


def _back_up(policy: Policy, joined: Sequence[str], now: datetime, at: datetime) -> int:
    """Start one run for what joined, without what a run of the policy has taken up already."""
    planned = {
        external_id
        for start in range(0, len(joined), BATCH)
        for (external_id,) in rows(
            Job.select(Resource.external_id)
            .join(Run)
            .switch(Job)
            .join(Resource)
            .where(
                Run.policy == policy.id,
                Job.kind == "snapshot",
                Resource.external_id.in_(list(joined[start : start + BATCH])),
            )
        )
    }
    only = sorted(set(joined) - planned)
    if not only:
        return 0
    run = start_run(policy, now, at, trigger="added", reason=f"{len(only)} joined the policy.", only=only)
    return int(run is not None)
