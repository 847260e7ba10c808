"""Access to blocks that a dead worker left open: found and shut after each look at the place, where blocks are moved.

Whoever moves blocks shuts what it opened, however it ends; only a killed process does not. What it left opens nothing
any more after a quarter of an hour by itself, and is shut here before that.
"""

import logging
from datetime import timedelta
from typing import Protocol, runtime_checkable

from tasks.catalog import Job, Transfer, rows, session
from tasks.errors import SnapfleetError
from tasks.states import JOB_OPEN
from workers.context import Context
from workers.driver import Account

_log = logging.getLogger(__name__)
# Nothing that was opened before is open any more (workers.azure.access, SECONDS), with room for clocks.
LATELY = timedelta(hours=6)


@runtime_checkable
class Shuts(Protocol):
    """A driver whose blocks are read by rights that have to be taken back."""

    def shut_forgotten(self, account: Account, region: str, in_use: frozenset[str]) -> list[str]:
        """Take back what no work needs any more; the ids of what was open. Raises the family."""


def shut_forgotten(context: Context, job: Job) -> int:
    """Shut what was left open in the account and region of a look; how many. Never raises the family: a look is good
    without it, and the next one tries again."""
    shutters = [one for one in context.drivers_of(job.service) if isinstance(one, Shuts)]
    if not shutters:
        return 0
    with session():
        used = _lately(job, context.clock.timer() - LATELY)
        account = context.account(job.account)
    if not used:
        return 0
    in_use = frozenset(name for name, is_open in used.items() if is_open)
    shut: list[str] = []
    for one in shutters:
        try:
            shut += one.shut_forgotten(account, job.region, in_use)
        except SnapfleetError as error:
            _log.warning("a look for forgotten access in %s failed: %s", account.name, error.code)
    if shut:
        _log.warning(
            "access to %d snapshots or disks in %s had been left open and was revoked", len(shut), account.name
        )
        context.counters.add("snapfleet_access_forgotten_total", len(shut))
    return len(shut)


def _lately(job: Job, since: object) -> dict[str, bool]:
    """Snapshots and disks whose blocks were moved lately there, and whether that still goes on."""
    query = (
        Transfer.select(Transfer.snapshot_id, Job.state)
        .join(Job)
        .where(
            Job.account == job.account_id, Job.region == job.region, Job.service == job.service,
            Transfer.changed_at > since, Transfer.snapshot_id != "",
            # Says nothing new, but has indexes: without it every job that ever was is looked at.
            Job.state.in_(list(JOB_OPEN)) | (Job.finished_at > since),
        )
    )  # fmt: skip
    found: dict[str, bool] = {}
    for name, state in rows(query):
        found[name] = found.get(name, False) or state in JOB_OPEN
    return found
