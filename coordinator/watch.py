"""Policies with `backup_on_add`: a resource that joins such a policy is backed up at once, not at the next slot."""

from datetime import datetime, timedelta

from coordinator.lease import Held, still_held
from coordinator.looks import Looks, ask_for_looks, read_looks
from coordinator.members import note_members
from coordinator.targets import scopes_of
from tasks.catalog import Policy, transaction

# How often the accounts of such policies are looked at; a new machine is protected within this time.
LOOK_EVERY = timedelta(minutes=15)


def watch_additions(held: Held, now: datetime, at: datetime) -> int:
    """Ask for looks that are due and start runs for resources that joined; how many runs. Under the sweep lease."""
    looks = read_looks()
    _look(held, looks, at)
    return note_members(held, looks, now, at)


def _look(held: Held, looks: Looks, at: datetime) -> None:
    scopes = {
        scope
        for policy in Policy.select().where(Policy.enabled, Policy.deleted_at.is_null())
        if policy.spec.get("backup_on_add")
        for scope in scopes_of(policy.spec.get("targets") or (), looks.regions)
    }
    # One that failed is asked again at the same pace, not every few seconds.
    since = at - LOOK_EVERY
    due = [scope for scope in looks.stale(scopes, since) if not looks.refusal(scope, since)]
    if due:
        with transaction():
            if still_held(held):
                ask_for_looks(looks, due, at)
