"""Whether resources keep what their policies promise: the rows behind "RPO met, at risk, breached".

Functions read inside the caller's session; `now` is calendar time.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

from coordinator.due import next_slot
from coordinator.rpo import readable_grid, slots_by_policy
from coordinator.rpo_state import UNPROTECTED, RpoState, rpo_state, worst
from tasks.catalog import PolicySchedule, Schedule
from tasks.catalog.freshness import TargetFreshness, target_freshness

STATES = (*map(str, RpoState), UNPROTECTED)


def rpo_of(resources: Collection[int], now: datetime) -> dict[int, str]:
    """The state of each of these resources, of which a catalog's page shows a few hundred."""
    found = judge_targets(target_freshness(now, resources), now)
    return {resource: str(found.get(resource, UNPROTECTED)) for resource in resources}


def judge_targets(targets: Sequence[TargetFreshness], now: datetime) -> dict[int, RpoState]:
    """The worst state of each resource among its policies. Those that no policy covers are missing."""
    states: dict[int, list[RpoState]] = defaultdict(list)
    for (resource, _), state in judge_pairs(targets, now).items():
        states[resource].append(state)
    judged = {resource: worst(found) for resource, found in states.items()}
    return {resource: state for resource, state in judged.items() if state is not None}


def judge_pairs(targets: Sequence[TargetFreshness], now: datetime) -> dict[tuple[int, int], RpoState]:
    """The state of each target of each policy, by (resource, policy)."""
    specs: Any = Schedule.select(Schedule.id, Schedule.spec).tuples()
    joins: Any = PolicySchedule.select(PolicySchedule.policy, PolicySchedule.schedule).tuples()
    grids, pairs = dict(specs), list(joins)
    slots, following = slots_by_policy(grids.items(), pairs, now), next_slots(grids, pairs, now)
    states: dict[tuple[int, int], RpoState] = {}
    for one in targets:
        policy = one.policy_id
        state = rpo_state(one.newest_point_at, one.first_slot_at, slots.get(policy, ()), following.get(policy), now)
        states[one.resource_id, policy] = state
    return states


def next_slots(grids: Mapping[int, Any], pairs: Sequence[tuple[int, int]], now: datetime) -> dict[int, datetime]:
    """The next slot of each policy; a schedule that many policies share is worked out once."""
    readable = {schedule: readable_grid(spec) for schedule, spec in grids.items()}
    upcoming = {schedule: next_slot(grid, now) if grid else None for schedule, grid in readable.items()}
    found: dict[int, datetime] = {}
    for policy, schedule in pairs:
        slot = upcoming[schedule]
        if slot is not None:
            found[policy] = min(found.get(policy, slot), slot)
    return found


def count_states(targets: Sequence[TargetFreshness], resources: int, now: datetime) -> dict[str, int]:
    """How many of the `resources` that exist are in each state, zeros included."""
    counts = Counter(str(state) for state in judge_targets(targets, now).values())
    covered = sum(counts.values())
    return {**dict.fromkeys(STATES, 0), **counts, UNPROTECTED: max(0, resources - covered)}
