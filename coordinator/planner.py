"""What a run that has begun becomes: its targets among what was discovered, and a job for each. Reads, writes nothing.

Nothing is planned from a look older than it may be; a look that fails or takes too long does not hold the run up: what
was known before is backed up, and the run says so.
"""

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any, NamedTuple

from coordinator.facts import installation, resource_facts
from coordinator.looks import Looks, Scope
from coordinator.named import is_named, named_facts
from coordinator.plan import PolicyFacts, plan_snapshots
from coordinator.targets import Problem, Resolved, ResourceFact, ResourceKey, kept_id, resolve, resolve_among, scopes_of
from tasks.catalog import Job, Point, Run, rows
from tasks.catalog.era import Era, read_era
from tasks.errors import SnapfleetError
from tasks.states import JOB_OPEN, PointState, RunState

log = logging.getLogger("snapfleet.coordinator")

# A look at one account, region and service takes seconds to a minute; after this long the run goes on without it.
LOOK_PATIENCE = timedelta(minutes=5)
# What one round plans at most, so that a wave of runs does not keep what is planned from being published: runs that
# mean resources by tags each read the estate; the others are a few rows each.
ESTATES_A_TICK = 20
JOBS_A_TICK = 2000
_decode = json.JSONDecoder().raw_decode  # of what the database wrote: nothing stands before it or after
_UNREADABLE = (SnapfleetError, KeyError, TypeError, ValueError, AttributeError)


UNWRITTEN = 0  # the id of a run that has no row yet


class Begun(NamedTuple):
    """A run that has begun, as it is locked or will be written; it has the row's names and values."""

    id: int  # UNWRITTEN until it has a row
    policy: int
    slot_at: datetime
    trigger: str
    reason: str
    created_at: datetime
    only: Sequence[str]


class PolicyRow(NamedTuple):
    """A policy, with the names and values of its row."""

    id: int
    name: str
    priority: int
    deleted_at: datetime | None
    spec: Mapping[str, Any]
    named: Sequence[Mapping[str, Any]]  # its targets when it names all of them by id; none when it means some by tags


@dataclass
class Planned:
    """What a run becomes: jobs for the resources it means, or an end without any."""

    run: Begun
    state: RunState
    targets: int = 0
    jobs: Sequence[dict[str, Any]] = ()
    problems: Sequence[dict[str, str]] = ()
    reason: str = ""
    code: str = ""  # why it ends without any, where no problem says it
    waits: bool = False  # some of its jobs are in line now

    def columns(self, at: datetime) -> dict[str, Any]:
        """What its row says from machine time `at` on."""
        return {
            "state": self.state,
            "targets": self.targets,
            "problems": list(self.problems),
            "reason": self.reason or self.run.reason,
            "error_code": "" if self.state is RunState.OPEN else self.code or self.problems[0]["code"],
            "planned_at": at if self.state is RunState.OPEN else None,
            "finished_at": None if self.state is RunState.OPEN else at,
        }

    def written_as(self, number: int) -> None:
        """Its row has this id now."""
        self.run = self.run._replace(id=number)
        for job in self.jobs:
            job["run"] = number


@lru_cache(maxsize=4096)  # read once and asked every night
def read_spec(spec: str) -> tuple[Mapping[str, Any], Sequence[Mapping[str, Any]]]:
    """A policy's spec, and its targets if it names all of them by id."""
    read = _decode(spec)[0]
    targets = read.get("targets") if isinstance(read, Mapping) else None
    return read, targets if isinstance(targets, list) and all(map(is_named, targets)) else ()


class Planner:
    """Plans the runs of one round: reads what they need, decides, writes nothing. `wanted` are looks to ask for."""

    def __init__(self, looks: Looks, policies: Mapping[int, PolicyRow], at: datetime, freshness: timedelta) -> None:
        self._looks, self._policies, self._at, self._freshness = looks, policies, at, freshness
        self._ids = {name: row.id for name, row in looks.accounts.items()}
        self._regions = looks.regions
        self._installation = ""
        self._era: Era | None = None
        self._named: Mapping[ResourceKey, ResourceFact] = {}
        self.wanted: set[Scope] = set()

    def plan(self, waiting: Sequence[Begun]) -> list[Planned]:
        """Those of the runs that can be planned now, as many as one round takes."""
        self._installation, self._era = installation(), read_era()
        named = [target for run in waiting for target in self._policies[run.policy].named]
        self._named = named_facts(named, self._ids)
        planned: list[Planned] = []
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

    def _plan_or_fail(self, run: Begun) -> Planned | None:
        policy = self._policies[run.policy]
        try:
            return self._plan(run, policy)
        except _UNREADABLE as error:
            log.exception("The run of policy %s for %s cannot be planned.", policy.name, run.slot_at)
            problem = Problem(policy.name, "malformed", f"The policy cannot be read ({type(error).__name__}).")
            return Planned(run, RunState.FAILED, problems=[problem.to_json()])

    def _plan(self, run: Begun, policy: PolicyRow) -> Planned | None:
        """None while the looks that the run needs are on their way."""
        if policy.deleted_at is not None:
            reason = "The policy was removed before the run was planned."
            return Planned(run, RunState.CANCELLED, reason=reason, code="policy-removed")
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
        return Planned(run, RunState.OPEN, len(resolved.targets), jobs, problems)

    def _resolved(self, run: Begun, targets: Sequence[Mapping[str, Any]]) -> Resolved:
        if self._policies[run.policy].named:
            resolved = resolve_among(targets, self._named)
        else:
            resolved = resolve(targets, resource_facts(targets, self._ids))
        return _only(resolved, run.only) if run.only else resolved


def _stale_look(scope: Scope, why: str) -> Problem:
    place = f"{scope[0]}/{scope[1]}"
    return Problem(place, "stale-look", f"{place} could not be looked at: {why or 'no answer yet.'}")


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


def _imaged(policy: PolicyRow) -> frozenset[int]:
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
