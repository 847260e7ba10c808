"""Which worker processes are silent, and which of their jobs go on before their leases end.

A process that reports no more is as a rule dead, but it may also be frozen, or cut off from the catalog in the middle
of a creating call. Its lease guards that call and the time until a tag can be found, so what a silence may bring
forward is only what is harmless beside it:

- Polls only ask a cloud, take seconds, and two of one place have always been safe together: after two missed beats
  another worker takes them, as everything that the cloud has ended waits for them, copy slots too. Not so where a poll
  itself begins the next step (`polls_begin`).
- Looks (`LOOKS`) are harmless twice as well, but may take minutes: another worker takes them when their own is silent.
- Jobs that fill copy slots become pending, and ready when the lease would have ended, never earlier: nothing is made
  sooner or twice, the line of their chain stays as it is, and only the slots are free at once. If the cloud had begun
  that copy already, its slot is in truth taken: one copy more is refused then, is put off without costing an attempt,
  and the refusal holds the number of slots down for a while (`coordinator.copy_slots`). To look for the copy sooner
  instead would need a second kind of attempt, that counts as none and creates nothing, for one refused call.
- All others stay where they are until their lease ends: nothing waits for them, and archives and parts of syncs have
  their own rights in their stores.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from peewee import SQL, fn

from tasks.catalog import Job, Process
from tasks.catalog.fleet import BEAT, SILENT_AFTER
from tasks.catalog.transitions import CLAIMS_BEYOND_ATTEMPTS
from tasks.resources import TYPES

POLLS_AFTER = 2 * BEAT
LOOKS = frozenset({"discover", "check"})
_BEGIN = sorted({kind.service for kind in TYPES.values() if kind.polls_begin})
# While the catalog answered nobody for so long, nobody who beats every `BEAT` has been silent for longer than usual.
GAP = SILENT_AFTER - BEAT


@dataclass
class Attention:
    """Since when a coordinator has reached the catalog without a gap.

    After a gap, of its own or of the catalog's, everybody seems silent: nobody is called so until all have had the time
    to report again.
    """

    since: datetime | None = None
    last: datetime | None = None

    def look(self, at: datetime) -> bool:
        """The catalog was reached at machine time `at`; whether who has not reported by now is silent."""
        if self.last is None or self.since is None or not self.last <= at <= self.last + GAP:
            self.since = at
        self.last = at
        return at - self.since >= SILENT_AFTER


def of_silent(at: datetime, lease: timedelta, *, attentive: bool) -> Any:
    """The condition on running jobs that go on without waiting for the end of their lease at machine time `at`. No
    lease is shorter than `lease`.

    Their owner's process has not reported for `SILENT_AFTER` (polls: `POLLS_AFTER`, whatever `attentive` says); or it
    has no row, because it took its leave, never reported, or was followed by another of its name (`disown`), and it is
    as long since it took the job or renewed its lease. A job that has been claimed too often to be given to anybody
    again waits for the end of its lease, as what its worker may have begun is given up then.
    """
    polls = (Job.kind == "poll") & Job.service.not_in(_BEGIN) & _unheard(at - POLLS_AFTER, lease)
    others = ((Job.slots > 0) | Job.kind.in_(sorted(LOOKS))) & _unheard(at - SILENT_AFTER, lease)
    spared = Job.claims < Job.max_attempts + CLAIMS_BEYOND_ATTEMPTS
    return (polls | others if attentive else polls) & spared


def _unheard(since: datetime, lease: timedelta) -> Any:
    rows = Process.select(SQL("1")).where(Process.name == Job.lease_owner)
    begun = fn.EXISTS(rows) | (Job.lease_until_at <= since + lease)
    return begun & ~fn.EXISTS(rows.where(Process.seen_at > since))


def ready_at(job: Job, at: datetime) -> datetime:
    """When a job that is taken back may go to a worker again: see above; at once when its lease has ended."""
    return max(at, job.lease_until_at) if job.slots else at
