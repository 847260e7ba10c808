"""Why a policy runs or not, what became of one of its slots, which policies cover a resource, and why others do not."""

from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

from admin.protection import judge_pairs, next_slots
from admin.queries import Row, near
from admin.why import Asking, reasons_of_run, shown, told
from coordinator.coverage import Coverage, coverage
from coordinator.due import Grid, Track, decide, slots_between, start_of
from coordinator.reason import Reason
from coordinator.rpo import readable_grid
from coordinator.rpo_state import UNPROTECTED, RpoState, worst
from coordinator.targets import MACHINES, ResourceFact, kept_id
from tasks.catalog import (
    Account,
    Job,
    Membership,
    MissedSlots,
    Point,
    Policy,
    PolicySchedule,
    Process,
    Resource,
    Run,
    Schedule,
    rows,
    session,
)
from tasks.catalog.fleet import SILENT_AFTER
from tasks.catalog.freshness import target_freshness
from tasks.errors import Invalid
from tasks.states import AccountState, JobState, PointState

_TOLD = 20  # policies that do not cover a resource, targets that are late: told one by one, the others counted
_NEAR = 500  # names that a misspelt one is compared with
_SECOND = timedelta(seconds=1)
_ADVICE = "Name a policy, a resource by id or name, or rp-N, run-N, job-N, restore-N."


def explain_named(thing: str, asking: Asking) -> Row:
    """A policy or a resource by its name or id; `policy:NAME` and `resource:ID` say which is meant. Raises Invalid."""
    with session():
        if not thing.startswith("resource:"):
            policy = Policy.get_or_none(Policy.name == thing.removeprefix("policy:"))
            if policy is not None:
                return _of_policy(policy, asking)
        if not thing.startswith("policy:"):
            resource = _resource(thing.removeprefix("resource:"))
            if resource is not None:
                return _of_resource(resource, asking)
        raise Invalid(f"There is nothing called {thing!r}.", advice=near(thing, _known(thing)) or _ADVICE)


def _known(thing: str) -> Iterator[str]:
    yield from (name for (name,) in rows(Policy.select(Policy.name).where(Policy.deleted_at.is_null()).limit(_NEAR)))
    like = Resource.external_id.startswith(thing[:4]) | Resource.name.startswith(thing[:4])
    for names in rows(Resource.select(Resource.external_id, Resource.name).where(like).limit(_NEAR)):
        yield from filter(None, names)


def _resource(text: str) -> Resource | None:
    """The resource of that id, or the only one of that name. Raises Invalid when there are several."""
    for same in (Resource.external_id == kept_id(text), Resource.name == text):
        found = list(Resource.select(Resource, Account).join(Account).where(same).order_by(Resource.id).limit(_TOLD))
        present = [row for row in found if row.gone_at is None] or found
        if len(present) > 1:
            named = ", ".join(f"{row.external_id} in {row.account.name}/{row.region}" for row in present)
            raise Invalid(f"{text!r} is {named}.", advice="Ask by an id that is only one's.")
        if present:
            return present[0]
    return None


def explain_slot(name: str, slot: datetime, asking: Asking) -> Row:
    """What became of one slot of a policy, or will. Raises Invalid for what is no policy."""
    with session():
        policy = Policy.get_or_none(Policy.name == name.removeprefix("policy:"))
        if policy is None:
            raise Invalid(f"There is no policy {name!r}.", advice="See `snapfleet policies`.")
        state, reasons = _slot(policy, slot, asking)
    return {"thing": f"{policy.name} at {shown(slot)}", "kind": "slot", "state": state, "reasons": told(reasons)}


def _slot(policy: Policy, slot: datetime, asking: Asking) -> tuple[str, list[Reason]]:
    run = Run.get_or_none(Run.policy == policy.id, Run.slot_at == slot)
    if run is not None:
        late = run.created_at - slot
        reasons = [Reason("run", f"run-{run.id} began {int(late.total_seconds())} s after it")]
        return str(run.state), reasons + reasons_of_run(run, asking)
    missed = MissedSlots.select().where(
        MissedSlots.policy == policy.id, MissedSlots.first_at <= slot, MissedSlots.last_at >= slot
    )
    tracks = _tracks(policy)
    on_grid = [track for track, _ in tracks if any(slots_between(track.grid, slot - _SECOND, slot))]
    if not on_grid:
        return "none", [Reason("no-slot", "no schedule of the policy has a slot there")]
    for row in missed.order_by(MissedSlots.id.desc()).limit(1):
        text = f"one of {row.count} slots that nobody was there to run, noted at {shown(row.recorded_at)}: {row.reason}"
        return "missed", [Reason(row.code, text)]
    start = min(start_of(track.grid, slot, policy.name) for track in on_grid)
    if start > asking.now:
        return "waiting", [Reason("not_due", f"it starts at {shown(start)}")]
    if any(track.after < slot for track in on_grid):
        return "late", [*_why_late(asking), *_disabled(policy)]
    text = "it was passed over: the policy was disabled or new then, or its schedule another; `snapfleet audit` tells"
    return "passed", [Reason("passed-over", text)]


def _of_policy(policy: Policy, asking: Asking) -> Row:
    reasons = [*_disabled(policy), *_next(policy, asking)]
    newest = Run.select().where(Run.policy == policy.id).order_by(Run.id.desc()).first()
    if newest is not None:
        told_of = reasons_of_run(newest, asking)
        reasons += [Reason(one.code, f"run-{newest.id} ({newest.state}): {one.text}") for one in told_of]
    lately = MissedSlots.select().where(MissedSlots.policy == policy.id).order_by(MissedSlots.id.desc()).limit(3)
    for row in lately:
        span = shown(row.first_at) if row.count == 1 else f"{shown(row.first_at)} to {shown(row.last_at)}"
        reasons.append(Reason(row.code, f"{row.count} slots were missed ({span}): {row.reason}"))
    reasons += _late_targets(policy, asking)
    state = "removed" if policy.deleted_at else "enabled" if policy.enabled else "disabled"
    return {"thing": policy.name, "kind": "policy", "state": state, "reasons": told(reasons)}


def _disabled(policy: Policy) -> list[Reason]:
    if policy.deleted_at is not None:
        return [Reason("policy-removed", f"the policy was removed at {shown(policy.deleted_at)}")]
    text = "the policy is disabled: its slots are passed over, and it runs only when asked for"
    return [] if policy.enabled else [Reason("policy-disabled", text)]


def _tracks(policy: Policy) -> list[tuple[Track, PolicySchedule]]:
    """The policy's schedules where they stand, those that can be read."""
    joined: Any = PolicySchedule.select(PolicySchedule, Schedule).join(Schedule)
    found = []
    for row in joined.where(PolicySchedule.policy == policy.id):
        grid: Grid | None = readable_grid(row.schedule.spec)
        if grid is not None and row.last_slot_at is not None:
            found.append((Track(grid, row.last_slot_at), row))
    return found


def _next(policy: Policy, asking: Asking) -> list[Reason]:
    """What the due-slot decision says now."""
    tracks = [track for track, _ in _tracks(policy)]
    count = PolicySchedule.select().where(PolicySchedule.policy == policy.id).count()
    if not count:
        return [Reason("no-schedule", "no schedule starts it: it runs only when asked for")]
    found = [Reason("unreadable-schedule", "a schedule of it cannot be read by this version")] * (len(tracks) < count)
    decision = decide(policy.name, tracks, asking.now)
    found.append(decision.reason)
    if decision.run is not None:
        found += _why_late(asking)
    elif decision.next_at is not None and any(track.grid.spread for track in tracks):
        found.append(Reason("spread", "it starts after its nominal slot, at its own place in the schedule's spread"))
    return found


def _why_late(asking: Asking) -> list[Reason]:
    """Why a slot that is due has not been started."""
    alive = Process.select().where(Process.role == "coordinator", Process.seen_at > asking.at - SILENT_AFTER)
    if alive.exists():
        return [Reason("next-round", "it is due, and a coordinator starts it in one of its next rounds")]
    text = (
        "no coordinator has reported lately: start one; the newest slot runs then, and earlier ones are noted as missed"
    )
    return [Reason("no-coordinator", text)]


def _late_targets(policy: Policy, asking: Asking) -> list[Reason]:
    """How many targets are in which state, and the worst by name."""
    mine = [one for one in target_freshness(asking.now) if one.policy_id == policy.id]
    states = {resource: state for (resource, _), state in judge_pairs(mine, asking.now).items()}
    counts = Counter(str(state) for state in states.values())
    if not counts:
        return []
    found = [Reason("rpo", ", ".join(f"{count} {state}" for state, count in sorted(counts.items())))]
    late = sorted(one for one, state in states.items() if state in (RpoState.BREACHED, RpoState.AT_RISK))
    for row in Resource.select(Resource.id, Resource.external_id).where(Resource.id.in_(late[:_TOLD])):
        found.append(Reason(f"rpo-{states[row.id]}", f"{row.external_id} is {states[row.id]}"))
    return found


def _of_resource(resource: Resource, asking: Asking) -> Row:
    pairs = judge_pairs(target_freshness(asking.now, [resource.id]), asking.now)
    state = worst(pairs.values()) or UNPROTECTED
    found, missed = told(_place(resource)), []
    fact, machine = _fact(resource), _machine(resource)
    unnamed = 0
    for policy in Policy.select().where(Policy.deleted_at.is_null()).order_by(Policy.name):
        answer = _coverage(policy, fact, machine)
        if answer.covered:
            reasons = [*answer.reasons, *_disabled(policy), *_kept(policy, resource, pairs, asking)]
            found += told(reasons, policy=policy.name)
        elif [one.code for one in answer.reasons] == ["not-named"]:
            unnamed += 1
        else:
            missed += told(answer.reasons, policy=policy.name)
    found += told(_left(resource))
    found += missed[:_TOLD]
    if len(missed) > _TOLD:
        found += told([Reason("not-meant", f"{len(missed) - _TOLD} more targets of policies do not mean it")])
    if unnamed:
        found += told([Reason("not-named", f"{unnamed} policies name other resources by id, and not this one")])
    return {"thing": resource.external_id, "kind": resource.type, "state": str(state), "reasons": found}


def _coverage(policy: Policy, fact: ResourceFact, machine: ResourceFact | None) -> Coverage:
    """As far as the policy can be read, which planning says too."""
    try:
        return coverage(policy.spec.get("targets") or (), fact, machine)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        text = f"the policy's targets cannot be read ({type(error).__name__})"
        return Coverage(False, (Reason("malformed", text),))


def _fact(row: Resource) -> ResourceFact:
    place = (row.account.name, row.region, row.type, row.external_id, row.parent_id, row.name)
    return ResourceFact(row.id, *place, tags=row.tags, gone=row.gone_at is not None)


def _machine(resource: Resource) -> ResourceFact | None:
    """The machine that a disk is attached to."""
    holder = resource.parent_id and Resource.get_or_none(
        Resource.account == resource.account_id,
        Resource.external_id == resource.parent_id,
        Resource.type.in_(list(MACHINES)),
    )
    return _fact(holder) if holder else None


def _place(resource: Resource) -> list[Reason]:
    """What keeps everything in its account from being backed up."""
    account = resource.account
    if not account.enabled:
        return [Reason("account-removed", f"the account {account.name} was removed from the estate")]
    if account.state == AccountState.UNREACHABLE:
        return [Reason("account-unreachable", f"the account {account.name} cannot be entered: {account.state_text}")]
    return []


def _kept(
    policy: Policy, resource: Resource, pairs: dict[tuple[int, int], RpoState], asking: Asking
) -> Iterator[Reason]:
    """Whether the policy keeps what it promises for this resource, and what became of its newest attempt."""
    state = pairs.get((resource.id, policy.id))
    good = Point.policy == policy.id, Point.resource == resource.id, Point.state == PointState.GOOD
    newest = Point.select().where(*good, Point.destination == "").order_by(Point.taken_at.desc()).first()
    schedules = PolicySchedule.select(PolicySchedule.schedule).where(PolicySchedule.policy == policy.id)
    grids = {row.id: row.spec for row in Schedule.select().where(Schedule.id.in_(schedules))}
    following = next_slots(grids, [(policy.id, number) for number in grids], asking.now).get(policy.id)
    last = f"last good point rp-{newest.id} of {shown(newest.taken_at)}" if newest else "no good point yet"
    after = f"next slot {shown(following)}" if following else "no slot to come"
    yield Reason(f"rpo-{state or RpoState.WAITING}", f"{last}; {after}")
    tried = (
        Job.select(Job, Run)
        .join(Run)
        .where(Run.policy == policy.id, Job.resource == resource.id, Job.kind == "snapshot")
    )
    job = tried.order_by(Job.id.desc()).first()
    if job is not None and job.state != JobState.DONE:
        text = job.error_text or f"it is {job.state}; `snapfleet why job-{job.id}` tells more"
        yield Reason(job.error_code or str(job.state), f"job-{job.id} of run-{job.run_id}: {text}")


def _left(resource: Resource) -> list[Reason]:
    """Policies that it was a target of."""
    rows: Any = Membership.select(Membership, Policy).join(Policy)
    rows = rows.where(Membership.resource == resource.id, Membership.left_at.is_null(False)).order_by(Membership.id)
    return [Reason("left", f"it has not been a target of {row.policy.name} since {shown(row.left_at)}") for row in rows]
