"""The two changes of state that every job of a worker goes through, for many jobs at once: taken, and done.

Part of `tasks.catalog.transitions`, and by its rules: compare-and-set under the fence. Statements are fixed texts, so
that PostgreSQL plans them once, and one round trip takes new jobs and ends others: each commit is a wait for the disk.
"""

import json
from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import cache
from typing import Any, NamedTuple

from peewee import Tuple, fn

from tasks.catalog.bulk import columns_of, models_of, update_rows
from tasks.catalog.database import database
from tasks.catalog.fields import is_postgres
from tasks.catalog.job import Job
from tasks.states import JobState


class Wanted(NamedTuple):
    """A message's job, the fence it names, and who would take it, from when and for how long."""

    job: int
    fence: int
    owner: str
    at: datetime
    lease: timedelta


class Ended(NamedTuple):
    """A running job under its fence that has done what it was for, when, and what it found out."""

    job: int
    fence: int
    at: datetime
    result: dict[str, Any]


def take_and_end(wanted: Sequence[Wanted], ended: Sequence[Ended]) -> tuple[list[Job | None], set[int]]:
    """Take jobs and end others: for each wanted one its row, and the ids of those ended ones that nobody had taken
    over. Call inside a session (PostgreSQL: one statement when all are wanted by one owner) or a transaction.

    A job is taken if its fence is still the message's and nobody holds it; of two messages for one job the first gets
    it; None for a duplicate or a stale message. The attempt counts before the work starts, so that a job that kills its
    worker cannot run for ever.
    """
    firsts = {(one.job, one.fence): one for one in reversed(wanted)}
    by_terms: dict[tuple[str, timedelta], list[Wanted]] = {}
    for one in firsts.values():
        by_terms.setdefault((one.owner, one.lease), []).append(one)
    taken: dict[tuple[int, int], Job] = {}
    done: set[int] = set()
    for same in by_terms.values() or [[]]:
        jobs, ids = _write(same, ended)
        taken |= {(row.id, row.fence - 1): row for row in jobs}
        done, ended = done | ids, ()
    return [taken.pop((one.job, one.fence), None) for one in wanted], done


def _write(wanted: Sequence[Wanted], ended: Sequence[Ended]) -> tuple[list[Job], set[int]]:
    if not is_postgres(database):
        return (_take_slowly(wanted) if wanted else []), _end_slowly(ended)
    parameters: list[Any] = []
    if ended:
        rows = sorted(ended, key=lambda one: one.job)
        parameters += [[one.job for one in rows], [one.fence for one in rows], [one.at for one in rows]]
        parameters.append([json.dumps(one.result) for one in rows])
    if wanted:
        # In the order in which `mark_published` writes them: messages arrive before their publisher has committed.
        pairs = sorted((one.job, one.fence) for one in wanted)
        until, at = max(one.at + one.lease for one in wanted), max(one.at for one in wanted)
        parameters += [wanted[0].owner, until, at, [job for job, _ in pairs], [fence for _, fence in pairs]]
    if not parameters:
        return [], set()
    rows_ = database.execute_sql(_statement(bool(wanted), bool(ended)), parameters).fetchall()
    done = set(rows_[0][0]) if ended else set()
    return (models_of(Job, [row[1:] for row in rows_ if row[1] is not None]) if wanted else []), done


# Arrays, because the planner takes them for short and looks for each job by its id: it takes a JSON document for a
# hundred rows and reads the whole table, or the index of states, full of what was running a moment ago.
_DONE = f"""
UPDATE job SET state = '{JobState.DONE}', finished_at = u.at, result = u.result::jsonb, error_code = '',
error_text = '', lease_owner = '', lease_until_at = NULL
FROM unnest(%s::bigint[], %s::int[], %s::timestamptz[], %s::text[]) AS u(id, fence, at, result)
WHERE job.id = u.id AND job.fence = u.fence AND (job.state = '{JobState.RUNNING}') IS TRUE RETURNING job.id"""
_TAKEN = f"""
UPDATE job SET state = '{JobState.RUNNING}', fence = job.fence + 1, attempt = job.attempt + 1, claims = job.claims + 1,
lease_owner = %s, lease_until_at = %s, started_at = COALESCE(job.started_at, %s)
FROM unnest(%s::bigint[], %s::int[]) AS u(id, fence)
WHERE job.id = u.id AND job.fence = u.fence AND (job.state IN ('{JobState.PENDING}', '{JobState.QUEUED}')) IS TRUE
RETURNING """


@cache
def _statement(taking: bool, ending: bool) -> str:
    """One of three texts that the server plans once each: to build one anew with the query builder took half of a
    claim. Its rows: the ids that were ended, in each row again, and the columns of a job that was taken, or nothing."""
    ids = "(SELECT COALESCE(array_agg(id), '{}') FROM done) AS ids"
    if not taking:
        return f"WITH done AS ({_DONE}) SELECT {ids}, NULL"
    taken = f"taken AS ({_TAKEN}{columns_of(Job)})"
    if not ending:
        return f"WITH {taken} SELECT NULL, taken.* FROM taken"
    return f"WITH done AS ({_DONE}), {taken} SELECT {ids}, taken.* FROM (VALUES (1)) AS one LEFT JOIN taken ON true"


def _take_slowly(wanted: Sequence[Wanted]) -> list[Job]:
    at = max(one.at for one in wanted)
    return list(
        Job.update(
            state=JobState.RUNNING,
            fence=Job.fence + 1,
            attempt=Job.attempt + 1,
            claims=Job.claims + 1,
            lease_owner=wanted[0].owner,
            lease_until_at=at + wanted[0].lease,
            started_at=fn.COALESCE(Job.started_at, at),
        )
        .where(
            Tuple(Job.id, Job.fence).in_(sorted((one.job, one.fence) for one in wanted)),
            Job.state.in_([JobState.PENDING, JobState.QUEUED]),
        )
        .returning(Job)
        .execute()
    )


def _end_slowly(ended: Sequence[Ended]) -> set[int]:
    rows = [{"id": one.job, "fence": one.fence, "finished_at": one.at, "result": one.result} for one in ended]
    same = {"state": JobState.DONE, "error_code": "", "error_text": "", "lease_owner": "", "lease_until_at": None}
    given = f"\"state\" = '{JobState.RUNNING}'"
    return {
        number for (number,) in update_rows(Job, rows, by=["id", "fence"], same=same, given=given, returning=["id"])
    }
