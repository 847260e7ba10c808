"""Policies with `backup_on_add`: a resource that joins such a policy is backed up at once, not at the next slot."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from coordinator.facts import resource_facts
from coordinator.resolve import ask_for_looks
from coordinator.targets import resolve, scopes_of
from coordinator.tick import start_run
from tasks.catalog import Account, Job, Point, Policy, Resource, Scan, transaction

# How often the accounts of such policies are looked at; a new machine is protected within this time.
LOOK_EVERY = timedelta(minutes=15)


def watch_additions(now: datetime, at: datetime) -> int:
    """Ask for looks that are due and start runs for resources that joined; how many runs."""
    started = 0
    for policy in Policy.select().where(Policy.enabled, Policy.deleted_at.is_null()):
        if policy.spec.get("backup_on_add"):
            started += _watch(policy, now, at)
    return started


def _watch(policy: Policy, now: datetime, at: datetime) -> int:
    accounts = {row.name: row for row in Account.select().where(Account.enabled)}
    targets = policy.spec.get("targets") or ()
    with transaction():
        _look(targets, accounts, at)
    ids = {name: row.id for name, row in accounts.items()}
    matched = {item.resource.id: item.resource for item in resolve(targets, resource_facts(targets, ids)).targets}
    known = {row.resource_id for row in Point.select(Point.resource).where(Point.policy == policy.id).distinct()}
    known |= {row.resource_id for row in Job.select(Job.resource).where(Job.kind == "snapshot").distinct()}
    # Only what appeared after the policy was there: a new policy starts with its next slot, as operators expect.
    young = {
        row.id
        for row in Resource.select(Resource.id).where(
            Resource.id.in_(list(matched.keys() - known)), Resource.found_at > policy.changed_at
        )
    }
    joined = sorted(matched[number].external_id for number in young)
    if not joined:
        return 0
    with transaction():
        run = start_run(policy, now, at, trigger="added", reason=f"{len(joined)} joined the policy.", only=joined)
    return int(run is not None)


def _look(targets: Sequence[Mapping[str, Any]], accounts: dict[str, Account], at: datetime) -> None:
    stale = []
    for name, region, service in sorted(scopes_of(targets, {n: tuple(a.regions) for n, a in accounts.items()})):
        scan = Scan.get_or_none(Scan.account == accounts[name].id, Scan.region == region, Scan.service == service)
        if scan is None or scan.finished_at is None or scan.finished_at < at - LOOK_EVERY:
            stale.append((name, region, service, ""))
    ask_for_looks(stale, accounts, at)
