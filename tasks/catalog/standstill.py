"""A standstill of the whole fleet: nothing new begins, what was begun comes to its end, until somebody ends it.

It is one row, so that every coordinator and command sees it at once, whichever process wrote it. For a move to other
servers, a risky upgrade or a change in the accounts.
"""

import json
from dataclasses import dataclass
from datetime import datetime

from tasks.catalog.database import transaction
from tasks.catalog.estate import Meta
from tasks.catalog.job import Job
from tasks.states import JobState

KEY = "fleet:standstill"
# What is on its way: in the broker, in a worker's hands, or in the cloud's.
ON_ITS_WAY = (JobState.QUEUED, JobState.RUNNING, JobState.WAITING)


@dataclass(frozen=True)
class Standstill:
    """Who asked for it, and since when (machine time)."""

    who: str
    since: datetime


def standstill() -> Standstill | None:
    """The standstill that is in force. Reads inside the caller's session."""
    row = Meta.get_or_none(Meta.key == KEY)
    if row is None:
        return None
    read = json.loads(row.value)
    return Standstill(read["who"], datetime.fromisoformat(read["since"]))


def begin_standstill(who: str, at: datetime) -> bool:
    """Let nothing new begin; False when that is so already."""
    with transaction():
        value = json.dumps({"who": who, "since": at.isoformat()})
        return bool(Meta.insert(key=KEY, value=value).on_conflict_ignore().returning(Meta.key).execute())


def end_standstill() -> bool:
    """Let work begin again; False when nothing stood still."""
    with transaction():
        return bool(Meta.delete().where(Meta.key == KEY).execute())


def on_its_way() -> int:
    """Jobs that a standstill waits for. Reads inside the caller's session."""
    return int(Job.select().where(Job.state.in_(list(ON_ITS_WAY))).count())
