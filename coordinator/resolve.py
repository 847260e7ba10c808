"""A run that has begun becomes jobs: first a fresh look at what exists, then targets, then one transaction.

Nothing is planned from a look older than `discover_seconds`; a look that fails or takes too long does not hold the
run up: what was known before is backed up, and the run says so.
"""

import json
import logging
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any, NamedTuple

from peewee import InterfaceError, OperationalError, PeeweeException

from coordinator.facts import installation, resource_facts
from coordinator.looks import Looks, Scope, ask_for_looks, read_looks
from coordinator.named import is_named, named_facts
from coordinator.plan import PolicyFacts, plan_snapshots
from coordinator.targets import Problem, Resolved, ResourceFact, kept_id, resolve, scopes_of
from tasks.catalog import Job, Point, Policy, Run, lock_rows, look_up_rows, rows, transaction
from tasks.catalog.bulk import find_rows, insert_rows, update_rows
from tasks.catalog.era import Era, read_era
from tasks.catalog.transitions import add_jobs
from tasks.crash import reach
from tasks.errors import SnapfleetError
from tasks.states import JOB_OPEN, JobState, PointState, RunState

log = logging.getLogger("snapfleet.coordinator")

# A look at one account, region and service takes seconds to a minute; after this long the run goes on without it.
LOOK_PATIENCE = timedelta(minutes=5)
# Runs looked through in one round: some wait for looks, and must not hide those that can be planned.
EXAMINED_A_TICK = 1000
# What one round plans at most, so that a wave of runs does not keep what is planned from being published: runs that
# mean resources by tags each read the estate; the others are a few rows each.
ESTATES_A_TICK = 20
JOBS_A_TICK = 2000
_decode = json.JSONDecoder().raw_decode  # of what the database wrote: nothing stands before it or after
_UNREADABLE = (SnapfleetError, KeyError, TypeError, ValueError, AttributeError)


class _Begun(NamedTuple):
    """A run that has begun, as it is locked; it has the row's names and values."""

    id: int
    policy: int
    slot_at: datetime
    trigger: str
    reason: str
    created_at: datetime
    only: Sequence[str]


class _Policy(NamedTuple):
    """A policy, with the names and values of its row."""

    id: int
    name: str
    priority: int
    deleted_at: datetime | None
    spec: Mapping[str, Any]
    named: Sequence[Mapping[str, Any]]  # its targets when it names all of them by id; none when it means some by tags


@dataclass
class _Planned:
    """What a run becomes: jobs for the resources it means, or an end without any."""

    run: _Begun
    state: RunState
    targets: int = 0
    jobs: Sequence[dict[str, Any]] = ()
    problems: Sequence[dict[str, str]] = ()
    reason: str = ""
    waits: bool = False  # some of its jobs are in line now


def resolve_runs(at: datetime, freshness: timedelta, touched: set[int] | None = None) -> int:
    """Plan the runs whose looks are fresh (machine time `at`), ask for the looks of the others; how many planned.
    Adds to `touched` those that have nothing to wait for.

    All of a round are planned in one transaction, with their rows locked: other coordinators plan others. When the
    database refuses what one of them would write, they are planned one by one, and only that one fails.
    """
    try:
        planned = _round(at, freshness)
    except (OperationalError, InterfaceError):
        raise
    except PeeweeException:
        log.exception("Runs could not be planned together; they are planned one by one.")
        waiting = rows(Run.select(Run.id).where(Run.state == RunState.RESOLVING).order_by(Run.id).limit(ESTATES_A_TICK))
        return sum(_alone(number, at, freshness) for (number,) in waiting)
    if touched is not None:
        touched.update(one.run.id for one in planned if not one.waits)
    return len(planned)


def _alone(number: int, at: datetime, freshness: timedelta) -> int:
    try:
        return len(_round(at, freshness, only=number))
    except (OperationalError, InterfaceError):
        raise
    except PeeweeException as error:
        problem = Problem(f"run-{number}", "malformed", f"What it would write is refused ({type(error).__name__}).")
        columns = {"state": RunState.FAILED, "finished_at": at, "problems": [problem.to_json()]}
        with transaction():
            return int(Run.update(**columns).where(Run.id == number, Run.state == RunState.RESOLVING).execute())


def _round(at: datetime, freshness: timedelta, only: int | None = None) -> list[_Planned]:
    which = (Run.state == RunState.RESOLVING) if only is None else (Run.state == RunState.RESOLVING) & (Run.id == only)
    if not rows(Run.select(Run.id).where(which).limit(1)):
        return []
    looks = read_looks()
    with transaction():
        columns = [getattr(Run, name) for name in _Begun._fields[:-1]]
        begun = Run.select(*columns, Run.only.cast("text")).where(which).order_by(Run.id).limit(EXAMINED_A_TICK)
        waiting = [_Begun._make((*row, _names(only))) for *row, only in rows(lock_rows(begun))]
        wanted, columns = sorted({(run.policy,) for run in waiting}), ["id", "name", "priority", "deleted_at", "spec"]
        found = find_rows(Policy, ["id"], wanted, columns, as_text=["spec"])
        policies = {row[0]: _Policy._make((*row, *_read(spec))) for *row, spec in found}
        planner = _Planner(looks, policies, at, freshness)
        planned = planner.plan(waiting)
        ask_for_looks(looks, planner.wanted, at)
        _write(planned, at)
        reach("coordinator.plan-before-commit")
    reach("coordinator.plan-committed")
    return planned


@lru_cache(maxsize=1024)  # nearly always none
def _names(only: str) -> tuple[str, ...]:
    return tuple(json.loads(only))


@lru_cache(maxsize=4096)  # read once and asked every night
def _read(spec: str) -> tuple[Mapping[str, Any], Sequence[Mapping[str, Any]]]:
    """A policy's spec, and its targets if it names all of them by id."""
    read = _decode(spec)[0]
    targets = read.get("targets") if isinstance(read, Mapping) else None
    return read, targets if isinstance(targets, list) and all(map(is_named, targets)) else ()


class _Planner:
    """Plans the runs of one round: reads what they need, decides, writes nothing. `wanted` are looks to ask for."""

    def __init__(self, looks: Looks, policies: Mapping[int, _Policy], at: datetime, freshness: timedelta) -> None:
        self._looks, self._policies, self._at, self._freshness = looks, policies, at, freshness
        self._ids = {name: row.id for name, row in looks.accounts.items()}
        self._regions = looks.regions
        self._installation = ""
        self._era: Era | None = None
        self._named: Mapping[tuple[str, str, str, str], ResourceFact] = {}
        self.wanted: set[Scope] = set()

    def plan(self, waiting: Sequence[_Begun]) -> list[_Planned]:
        """Those of the runs that can be planned now, as many as one round takes."""
        self._installation, self._era = installation(), read_era()
        named = [target for run in waiting for target in self._policies[run.policy].named]
        self._named = named_facts(named, self._ids)
        planned: list[_Planned] = []
        jobs = estates = 0
        seen: set[int] = set()
        for run in waiting:
            # The second of two runs of a policy sees what the first one wrote: in another round.
            found = None if run.policy in seen else self._plan_or_fail(run)
            if found is None:
                continue
            seen.add(run.policy)
            planned.append(found)
            jobs += len(found.jobs)
            estates += not self._policies[run.policy].named
            if jobs >= JOBS_A_TICK or estates >= ESTATES_A_TICK:
                break
        return planned

    def _plan_or_fail(self, run: _Begun) -> _Planned | None:
        policy = self._policies[run.policy]
        try:
            return self._plan(run, policy)
        except _UNREADABLE as error:
            log.exception("run-%d of policy %s cannot be planned.", run.id, policy.name)
            problem = Problem(policy.name, "malformed", f"The policy cannot be read ({type(error).__name__}).")
            return _Planned(run, RunState.FAILED, problems=[problem.to_json()])

    def _plan(self, run: _Begun, policy: _Policy) -> _Planned | None:
        """None while the looks that the run needs are on their way."""
        if policy.deleted_at is not None:
            return _Planned(run, RunState.CANCELLED, reason="The policy was removed before the run was planned.")
        targets = policy.spec.get("targets") or ()
        stale = self._looks.stale(scopes_of(targets, self._regions), run.created_at - self._freshness)
        unanswered = [scope for scope in stale if not self._looks.refusal(scope, run.created_at)]
        if unanswered and self._at - run.created_at < LOOK_PATIENCE:
            self.wanted.update(unanswered)
            return None
        resolved = self._resolved(run, targets)
        facts = PolicyFacts(policy.id, policy.name, policy.priority, policy.spec, self._installation)
        manual, slot = run.trigger == "manual", run.slot_at.isoformat()
        jobs = plan_snapshots(facts, run.id, slot, manual, resolved.targets, self._ids, _imaged(policy))
        if self._era is not None and self._era.looks_first(run.slot_at):
            jobs = [{**job, "fence": 1} for job in jobs]  # no first attempt: it looks for what was made before it
        late = [_stale_look(scope, self._looks.refusal(scope, run.created_at)) for scope in stale]
        problems = [problem.to_json() for problem in (*resolved.problems, *late)]
        if not jobs and not problems:
            problems = [Problem(policy.name, "no-targets", "No resource matches this policy's targets.").to_json()]
        return _Planned(run, RunState.OPEN, len(resolved.targets), jobs, problems)

    def _resolved(self, run: _Begun, targets: Sequence[Mapping[str, Any]]) -> Resolved:
        if self._policies[run.policy].named:
            places = [(one["account"], one["region"], one["type"], one["id"]) for one in targets]
            facts = [self._named[place] for place in places if place in self._named]
        else:
            facts = resource_facts(targets, self._ids)
        resolved = resolve(targets, facts)
        return _only(resolved, run.only) if run.only else resolved


def _stale_look(scope: Scope, why: str) -> Problem:
    place = f"{scope[0]}/{scope[1]}"
    return Problem(place, "stale-look", f"{place} could not be looked at: {why or 'no answer yet.'}")


def _write(planned: Sequence[_Planned], at: datetime) -> None:
    """Runs, jobs and messages, in a statement or two for each."""
    look_up_rows()
    in_line = _in_line(planned)
    jobs, overlapping = [], []
    for one in planned:
        waiting = in_line[one.run.policy] if one.run.trigger == "schedule" else set()
        own = [job for job in one.jobs if job["resource"] not in waiting]
        one.waits = bool(own)
        jobs += own
        overlapping += [job for job in one.jobs if job["resource"] in waiting]
    add_jobs(jobs, at)
    _note_overlaps(overlapping, at)
    update_rows(
        Run,
        [
            {
                "id": one.run.id,
                "state": one.state,
                "targets": one.targets,
                "problems": list(one.problems),
                "reason": one.reason or one.run.reason,
                "planned_at": at if one.state is RunState.OPEN else None,
                "finished_at": None if one.state is RunState.OPEN else at,
            }
            for one in planned
        ],
    )


def _in_line(planned: Sequence[_Planned]) -> defaultdict[int, set[int]]:
    """By policy the resources whose backup for an earlier run has not begun yet. That one keeps its place in line and
    stands for this run's too: otherwise a backlog would grow for ever, and its end would be many snapshots of one
    moment."""
    chains = {str(job["chain"]) for one in planned if one.run.trigger == "schedule" for job in one.jobs}
    keys, not_begun = [(chain,) for chain in sorted(chains)], "\"state\" IN ('pending', 'queued')"
    waiting = find_rows(Job, ["chain"], keys, ["run", "resource", "kind"], given=not_begun)
    runs = {run for run, _, kind in waiting if kind == "snapshot"}
    policies = dict(find_rows(Run, ["id"], [(run,) for run in sorted(runs)], ["id", "policy"]))
    found: defaultdict[int, set[int]] = defaultdict(set)
    for run, resource, kind in waiting:
        if kind == "snapshot":
            found[policies[run]].add(resource)
    return found


def _note_overlaps(jobs: Sequence[dict[str, Any]], at: datetime) -> None:
    """Each target of a run has a job, also one that is not done because the run before has not come to it yet."""
    ended = {
        "state": JobState.CANCELLED,
        "created_at": at,
        "not_before_at": at,
        "finished_at": at,
        "settled": True,
        "error_code": "overlapped",
        "error_text": "Its backup for an earlier run had not begun yet and stands for this one too.",
    }
    insert_rows(Job, [{**job, **ended} for job in jobs], ignore=True)


def _only(resolved: Resolved, asked: Sequence[str]) -> Resolved:
    wanted = [kept_id(name) for name in asked]
    targets = tuple(item for item in resolved.targets if item.resource.external_id in wanted)
    found = {item.resource.external_id for item in targets}
    missing = [
        Problem(name, "not-a-target", f"{name} is not a target of this policy.") for name in wanted if name not in found
    ]
    problems = tuple(item for item in resolved.problems if item.target in wanted)
    named = {item.target for item in problems}
    return Resolved(targets, (*problems, *(item for item in missing if item.target not in named)))


def _imaged(policy: _Policy) -> frozenset[int]:
    """Resources of the policy that have an image, or one on its way: `image-once` makes no second one."""
    if policy.spec.get("mode") != "image-once":
        return frozenset()
    good = Point.select(Point.resource).where(
        Point.policy == policy.id, Point.kind == "image", Point.state == PointState.GOOD, Point.destination == ""
    )
    begun = (
        Job.select(Job.resource, Job.spec)
        .join(Run)
        .where(Run.policy == policy.id, Job.kind == "snapshot", Job.state.in_(list(JOB_OPEN)))
    )
    return frozenset(
        {resource for (resource,) in rows(good)}
        | {resource for resource, spec in rows(begun) if spec.get("mode") == "image"}
    )
