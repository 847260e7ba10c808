"""Which ready jobs admission may choose from: the first few of each place's line, however long the lines are.

A place is a lane, an account, a region and a service: what holds back one service there holds up no other. On
PostgreSQL each place costs a few steps down one index, so that a round takes as long at a hundred thousand waiting jobs
as at a thousand; while a batch takes all that is ready, those are looked up one by one instead, in half the time.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from operator import itemgetter
from typing import Any

from peewee import SQL, Select, fn

from coordinator.admission import Candidate
from tasks.catalog import Job, Outbox, database, rows
from tasks.catalog.bulk import array_of
from tasks.catalog.fields import is_postgres
from tasks.chains import IN_ORDER
from tasks.lanes import Lane
from tasks.states import JobState

# Candidates of one place at most, and at least: what goes first may have to wait for a slot.
MOST, LEAST = 60, 2
# All of a lane's candidates, as a multiple of its room: some are turned away, and none of the room should stay empty.
SPARE = 2
# Written out as the index of open chains has it: SQLite takes a partial index for a condition of the same words only,
# and looks at every job for each job without it (13 s for 5,000 of them, measured 2026-11-22).
_OPEN_AHEAD = "\"ahead\".\"state\" IN ('pending', 'queued', 'running', 'waiting')"
Row = tuple[Any, ...]  # lane, account, region, service, job, priority, slots, attempt, fence
_LANES = {str(lane): lane for lane in Lane}
_IN_FLIGHT = (JobState.QUEUED, JobState.RUNNING, JobState.WAITING)

# Each step of the recursion jumps to the next place of the index, whatever lies between.
_PLACES = """
WITH RECURSIVE place AS (
  (SELECT lane, account_id, region, service FROM outbox ORDER BY lane, account_id, region, service LIMIT 1)
  UNION ALL
  SELECT n.lane, n.account_id, n.region, n.service FROM place p CROSS JOIN LATERAL (
    SELECT lane, account_id, region, service FROM outbox o
    WHERE (o.lane, o.account_id, o.region, o.service) > (p.lane, p.account_id, p.region, p.service)
    ORDER BY o.lane, o.account_id, o.region, o.service LIMIT 1) n
) SELECT lane, account_id, region, service FROM place"""

# The states are written out, so that the planner sees that the index of open chains will do; and IS TRUE, so that it
# takes no other index: by the figures of a quiet hour it read all of a lane, or all that is pending, for each place
# (727 ms instead of 5 for a thousand places, measured 2026-11-23). `+ 0` is how the index of lines has it.
_READY = """(o.ready_at <= %s) IS TRUE
    AND (j.state IN ('pending', 'queued')) IS TRUE
    AND (j.chain = '' OR j.state = 'queued' OR NOT EXISTS (
      SELECT 1 FROM job a WHERE a.chain = j.chain AND a.id <> j.id
      AND a.state IN ('pending', 'queued', 'running', 'waiting')
      AND (a.state <> 'pending' OR CASE WHEN a.priority = j.priority OR starts_with(j.chain, %s)
        THEN a.id < j.id ELSE a.priority > j.priority END)))"""
_FIRST = """
SELECT p.lane, p.account, p.region, p.service, c.*
FROM unnest(%s::text[], %s::bigint[], %s::text[], %s::text[], %s::int[]) AS p(lane, account, region, service, most)
CROSS JOIN LATERAL (
  SELECT o.job_id, o.priority, j.slots, j.attempt, j.fence
  FROM outbox o JOIN job j ON j.id = o.job_id
  WHERE o.lane = p.lane AND o.account_id = p.account AND o.region = p.region AND o.service = p.service
    AND READY
  ORDER BY o.priority DESC, o.job_id + 0 LIMIT p.most) c""".replace("READY", _READY)
_ALL = """
SELECT c.* FROM unnest((SELECT %s::bigint[])) AS u(job) CROSS JOIN LATERAL (
  SELECT o.lane, o.account_id, o.region, o.service, o.job_id, o.priority, j.slots, j.attempt, j.fence
  FROM outbox o JOIN job j ON j.id = o.job_id
  WHERE o.job_id = u.job AND READY OFFSET 0) c""".replace("READY", _READY)


def ready_jobs(at: datetime, most: int) -> list[int]:
    """Jobs whose messages may go by their time, `most` at most."""
    ready = Outbox.select(Outbox.job).where(Outbox.ready_at <= at).order_by(Outbox.ready_at).limit(most)
    return [job for (job,) in rows(ready)]


def read_candidates(at: datetime, room: Mapping[Lane, int], ready: Sequence[int] = ()) -> list[Candidate]:
    """Ready jobs of the lanes in `room`, the first of each account, region and service, whose chain is free; `ready`
    are all whose time has come, where they are few.

    Jobs of one chain go one at a time: what is on its way first, then higher priority, then the older; in a chain that
    keeps its order (tasks.chains) the older alone. A job whose message is only sent again is on its way itself.
    """
    if not is_postgres(database):
        return _from_windows(at, room)
    return _in_turn(_all(at, room, ready) if ready else _from_lines(at, room))


def _all(at: datetime, room: Mapping[Lane, int], ready: Sequence[int]) -> list[Row]:
    found = database.execute_sql(_ALL, [array_of(sorted(ready)), at, IN_ORDER]).fetchall()
    lines = [row for row in found if row[0] in room]
    lines.sort(key=itemgetter(5), reverse=True)  # the older ones of a priority stay before the younger
    lines.sort(key=itemgetter(0, 1, 2, 3))
    return lines


def _from_lines(at: datetime, room: Mapping[Lane, int]) -> list[Row]:
    places = [row for row in database.execute_sql(_PLACES).fetchall() if row[0] in room]
    crowds = Counter(lane for lane, *_ in places)
    if not places:
        return []
    shares = {lane: share(room[_LANES[lane]], crowd) for lane, crowd in crowds.items()}
    lanes, *others = zip(*places, strict=True)
    first = [*map(array_of, (lanes, *others, [shares[lane] for lane in lanes])), at, IN_ORDER]
    return list(database.execute_sql(_FIRST, first).fetchall())


def _in_turn(lines: Iterable[Row]) -> list[Candidate]:
    """The rows of a place come one after the other, in the order of their turns."""
    found: list[Candidate] = []
    before, turn = None, 0
    for lane, account, region, service, job, priority, slots, attempt, fence in lines:
        place = lane, account, region, service
        before, turn = place, turn + 1 if place == before else 1
        found.append(Candidate(job, _LANES[lane], account, region, priority, turn, slots, attempt, fence, service))
    return found


def share(room: int, places: int) -> int:
    """How many candidates one of `places` gives for so much room."""
    return min(MOST, max(LEAST, -(-SPARE * room // max(1, places))))


def ready_among(at: datetime, jobs: Sequence[int]) -> list[Candidate]:
    """Those of these jobs whose time has come and whose chain is free."""
    if is_postgres(database):
        return _in_turn(_all(at, dict.fromkeys(Lane, 1), jobs))
    return _from_windows(at, dict.fromkeys(Lane, 1), Outbox.job.in_(list(jobs)))


def jobs_ahead(jobs: Sequence[int]) -> dict[int, list[int]]:
    """By job those of its chain that go before it; of these jobs the ones that have any."""
    other = Job.alias("ahead")
    pairs = Job.select(Job.id, other.id).join(other, on=_goes_ahead(other)).where(Job.id.in_(list(jobs)))
    found: dict[int, list[int]] = defaultdict(list)
    for job, ahead in rows(pairs.where(Job.state == JobState.PENDING, Job.chain != "").order_by(Job.id, other.id)):
        found[job].append(ahead)
    return found


def _goes_ahead(other: Any) -> Any:
    """The condition under which another job (`ahead` in SQL) keeps one of its chain back."""
    by_age = (other.priority == Job.priority) | (fn.SUBSTR(Job.chain, 1, len(IN_ORDER)) == IN_ORDER)
    goes_before = (by_age & (other.id < Job.id)) | (~by_age & (other.priority > Job.priority))
    its_turn = other.state.in_(_IN_FLIGHT) | ((other.state == JobState.PENDING) & goes_before)
    return SQL(_OPEN_AHEAD) & (other.chain == Job.chain) & (other.id != Job.id) & its_turn


def _from_windows(at: datetime, room: Mapping[Lane, int], which: Any = None) -> list[Candidate]:
    """The same by a look at all of them, or at those for which the expression `which` holds; for the embedded size."""
    other = Job.alias("ahead")
    blocked = other.select(SQL("1")).where(_goes_ahead(other))
    turn = fn.ROW_NUMBER().over(
        partition_by=[Outbox.lane, Job.account, Job.region, Job.service], order_by=[Outbox.priority.desc(), Outbox.job]
    )
    ranked: Select = (
        Outbox.select(
            Outbox.job.alias("job_id"),
            Outbox.lane.alias("lane"),
            Job.account.alias("account_id"),
            Job.region.alias("region"),
            Outbox.priority.alias("priority"),
            turn.alias("turn"),
            Job.slots.alias("slots"),
            Job.attempt.alias("attempt"),
            Job.fence.alias("fence"),
            Job.service.alias("service"),
        )
        .join(Job, on=(Outbox.job == Job.id))
        .where(
            Outbox.lane.in_(list(room)),
            Outbox.ready_at <= at,
            Job.state.in_([JobState.PENDING, JobState.QUEUED]),
            (Job.chain == "") | (Job.state == JobState.QUEUED) | ~fn.EXISTS(blocked),
        )
    )
    if which is not None:
        ranked = ranked.where(which)
    first: Any = Select([ranked], [SQL("*")]).where(SQL("turn") <= MOST).bind(database)
    return [Candidate(job, _LANES[lane], *rest) for job, lane, *rest in rows(first)]
