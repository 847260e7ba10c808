"""Which recovery points may go, and why each other one stays. Pure: facts, rules and `now` in, verdicts out.

Every target ages on its own at every destination (a line): a sick target freezes no other. Points that one run made
for a line are one generation, which is good when all of them are; they stay and go together.

- The newest `generations` good generations stay, and the newest good one of each period that `keep` counts, and those
  younger than `keep_for`. Periods without a good point are not counted, so a target that fails keeps what it has.
  The newest of a period is also the newest of its day, week and month until that period gets a newer one, and nothing
  ever becomes wanted again: evaluating daily or once at the end leaves the same points.
- The newest `floor` good generations of a line never go.
- One that is damaged takes no whole one's place: it stays for as long as if it were whole, and the whole ones are
  counted without it.
- What is being created is not touched. A failed attempt goes once a later good one exists; the newest attempt stays.
- A hold, a lock that has not ended, and use by a copy or restore keep a generation whatever the rule says.
- A target that left the policy (or whose policy was deleted) ages on unchanged for LEFT_GRACE, since it may come back.
  Then `generations` no longer protects it, and `keep` counts periods of the calendar back from now, so that its points
  run out as they would have beside newer ones. The floor stays until somebody removes it by hand.

Measured 2026-11-22, 2-core, Python 3.11: 90,000 points of 3,000 targets judged in 1.1 s.
"""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from coordinator.brake import BRAKE_SHARE, Brake, brake
from coordinator.expiry import ExpiryPlan, PointFact, PointId, Rule, Verdict
from coordinator.periods import KINDS, name_of, periods_of
from coordinator.reason import Reason
from coordinator.wallclock import to_epoch, zone_of
from tasks.states import PointState

__all__ = [
    "BRAKE_SHARE",
    "INTERMEDIATE_GRACE",
    "LEFT_GRACE",
    "Brake",
    "ExpiryPlan",
    "PointFact",
    "PointId",
    "Rule",
    "Step",
    "Verdict",
    "brake",
    "plan_expiry",
    "simulate",
]

# An account that could not be reached or a tag removed by mistake is noticed and mended within a month.
LEFT_GRACE = timedelta(days=30)

# Between two hops of a copy nothing may be under way for a while (queues, retries); a day is beyond any of them.
INTERMEDIATE_GRACE = timedelta(days=1)

_DAMAGED = Reason("damaged", "something of it is lost, so that it takes no whole one's place")
_GOING = (PointState.EXPIRING, PointState.OUTDATED, PointState.DELETED, PointState.LOST)


def plan_expiry(
    facts: Iterable[PointFact], rule: Rule, now: datetime, destinations: Mapping[str, Rule] | None = None
) -> ExpiryPlan:
    """Judge all points of one policy; `destinations` gives the rule of a copy's place where it differs from `rule`.

    Pass every point of the policy that is not deleted: counts are per line, and the brake weighs the whole policy.
    """
    by_line: dict[tuple[str, str], list[PointFact]] = defaultdict(list)
    known: dict[PointId, PointFact] = {}
    for fact in sorted(facts, key=lambda fact: fact.order):
        by_line[fact.line].append(fact)
        known[fact.id] = fact
    verdicts: dict[PointId, Verdict] = {}
    tiers = {}
    for line, points in by_line.items():
        used = (destinations or {}).get(line[1], rule)
        tiers[line] = used.tiers
        verdicts.update((verdict.point_id, verdict) for verdict in _judge_line(points, used, now))
    expire = tuple(point for point, fact in known.items() if not verdicts[point].keep and fact.state not in _GOING)
    return ExpiryPlan(verdicts, expire, _hash(expire), known, tiers)


@dataclass(frozen=True)
class Step:
    """One pass of a simulation: the slots taken since the last, what expired then, how many points remain."""

    at: datetime
    taken: tuple[datetime, ...]
    expired: tuple[datetime, ...]
    kept: int


def simulate(
    rule: Rule, slots: Iterable[datetime], until: datetime, pass_every: timedelta = timedelta(days=1)
) -> tuple[list[Step], list[datetime]]:
    """Retention of one healthy target: (passes, slots still kept at `until`).

    Each slot up to `until` becomes a good point; a pass runs after the first slot that is `pass_every` past the last
    pass, and one at `until`. The same `plan_expiry` decides as in production.
    """
    alive: list[datetime] = []
    fresh: list[datetime] = []
    steps: list[Step] = []
    last: datetime | None = None
    for slot in slots:
        if slot > until:
            break
        fresh.append(slot)
        if last is None or slot - last >= pass_every:
            alive, step = _pass(rule, alive, fresh, slot)
            steps.append(step)
            last, fresh = slot, []
    alive, step = _pass(rule, alive, fresh, until)
    return [*steps, step], alive


def _pass(
    rule: Rule, alive: Sequence[datetime], fresh: Sequence[datetime], at: datetime
) -> tuple[list[datetime], Step]:
    points = [*alive, *fresh]
    facts = [PointFact(n, "simulated", slot, PointState.GOOD) for n, slot in enumerate(points)]
    gone = set(plan_expiry(facts, rule, at).expire)
    kept = [slot for n, slot in enumerate(points) if n not in gone]
    expired = tuple(slot for n, slot in enumerate(points) if n in gone)
    return kept, Step(at, tuple(fresh), expired, len(kept))


@dataclass(frozen=True, eq=False)
class _Generation:
    """What one run made for one line."""

    points: tuple[PointFact, ...]

    @property
    def taken_at(self) -> datetime:
        return self.points[-1].taken_at

    def all_in(self, state: PointState) -> bool:
        return all(point.state is state for point in self.points)

    def any_in(self, state: PointState) -> bool:
        return any(point.state is state for point in self.points)

    @property
    def damaged(self) -> bool:
        return any(point.damaged for point in self.points)


def _judge_line(points: Sequence[PointFact], rule: Rule, now: datetime) -> list[Verdict]:
    verdicts = [_gone(point) for point in points if point.state in _GOING]
    present = [point for point in points if point.state not in _GOING]
    verdicts += [_intermediate(point, now) for point in present if point.kind == "intermediate"]
    newest_first = _generations(point for point in present if point.kind != "intermediate")
    good = [generation for generation in newest_first if generation.all_in(PointState.GOOD)]
    whole = [generation for generation in good if not generation.damaged]
    wanted = {**_wanted(good, rule, now), **_wanted(whole, rule, now)}
    for generation in newest_first:
        if generation in wanted:
            why, want = wanted[generation], bool(wanted[generation])
            outcome = [*(why or [_outlived(rule)]), *([Reason("former_rule", rule.former)] if rule.former else [])]
            outcome += [_DAMAGED] if generation.damaged else []
        else:
            want, reason = _unfinished(generation, newest_first[0], whole)
            outcome = [reason]
        verdicts += _protect(generation.points, want, outcome, now)
    return verdicts


def _generations(points: Iterable[PointFact]) -> list[_Generation]:
    """Newest first. A point without a run is a generation of its own."""
    by_run: dict[tuple[str, PointId], list[PointFact]] = defaultdict(list)
    for point in points:
        by_run[("point", point.id) if point.run_id is None else ("run", point.run_id)].append(point)
    found = [_Generation(tuple(members)) for members in by_run.values()]
    return sorted(found, key=lambda generation: generation.points[-1].order, reverse=True)


def _wanted(good: Sequence[_Generation], rule: Rule, now: datetime) -> dict[_Generation, list[Reason]]:
    """For each good generation (newest first) the reasons to keep it; none: it has outlived the rule."""
    left_at = good[0].points[-1].left_at if good else None
    left = left_at is not None and now - left_at >= LEFT_GRACE
    found: dict[_Generation, list[Reason]] = {generation: [] for generation in good}
    for rank, generation in enumerate(good, start=1):
        why = found[generation]
        if rule.generations is not None and rank <= rule.generations and not left:
            why.append(Reason("generation", f"number {rank} of the {rule.generations} newest good generations"))
        if rule.keep_for is not None and now - generation.taken_at <= rule.keep_for:
            why.append(Reason("keep_for", f"younger than {rule.keep_for.days} days"))
        if not rule.tiers:
            why.append(Reason("no_rule", "no rule limits how long it is kept"))
    for kind in rule.keep:
        for generation, reason in _newest_of_periods(good, rule, kind, now if left else None):
            found[generation].append(reason)
    for generation in good[: rule.floor]:
        found[generation].append(Reason("floor", f"one of the last {rule.floor} good, which never go"))
    return found


def _newest_of_periods(
    good: Sequence[_Generation], rule: Rule, kind: str, back_from: datetime | None
) -> Iterator[tuple[_Generation, Reason]]:
    """The newest generation of each of the rule's newest periods of that kind.

    `back_from` counts the calendar's periods back from an instant; None counts those that hold a good generation.
    """
    zone, index, count = zone_of(rule.zone), KINDS.index(kind), rule.keep[kind]
    current = None if back_from is None else periods_of(zone, to_epoch(back_from))[index]
    seen = set[int]()
    for generation in good:
        second = to_epoch(generation.taken_at)
        period = periods_of(zone, second)[index]
        if period in seen:
            continue
        seen.add(period)
        place = len(seen) if current is None else current - period + 1
        if place > count:
            return
        text = f"newest of {name_of(zone, second, kind)}, number {place} of {count} kept {kind}"
        yield generation, Reason(kind, text)


def _outlived(rule: Rule) -> Reason:
    return Reason("outlived", f"nothing of the rule wants it any more ({rule.text})")


def _unfinished(generation: _Generation, newest: _Generation, good: Sequence[_Generation]) -> tuple[bool, Reason]:
    """Keep or not, for a generation that is not good."""
    if generation.any_in(PointState.CREATING):
        return True, Reason("creating", "its run is still making points")
    if generation is newest:
        return True, Reason("newest_attempt", "the newest attempt, which failed")
    if not good or good[0].points[-1].order < generation.points[-1].order:
        return True, Reason("no_later_good", "failed, and no later attempt was good")
    return False, Reason("failed_superseded", "failed, and a later attempt was good")


def _protect(points: Sequence[PointFact], want: bool, reasons: Sequence[Reason], now: datetime) -> Iterator[Verdict]:
    """What keeps a point whatever the rule says comes first, and keeps the rest of its generation too."""
    guards = {point.id: _guards(point, now) for point in points}
    guarded = [str(point) for point, found in guards.items() if found]
    for point in points:
        own = guards[point.id]
        if guarded and not own and not want:
            own = [Reason("together", f"belongs to point {guarded[0]} of the same run, which must stay")]
        yield Verdict(point.id, want or bool(own), (*own, *reasons))


def _guards(point: PointFact, now: datetime) -> list[Reason]:
    found = []
    if point.held:
        found.append(Reason("held", f"held: {point.held}"))
    if point.locked_until is not None and point.locked_until > now:
        found.append(Reason("locked", f"locked until {point.locked_until:%Y-%m-%d %H:%M} UTC"))
    if point.in_use:
        found.append(Reason("in_use", f"in use by {', '.join(point.in_use)}"))
    return found


def _intermediate(point: PointFact, now: datetime) -> Verdict:
    if point.state is PointState.CREATING or now - (point.good_at or point.taken_at) < INTERMEDIATE_GRACE:
        return Verdict(point.id, True, (Reason("intermediate", "a step of a copy that may go on"),))
    done = Reason("intermediate_done", "a step of a copy that no copy uses any more")
    return next(_protect([point], False, [done], now))


def _gone(point: PointFact) -> Verdict:
    return Verdict(point.id, False, (Reason(point.state.value, f"already {point.state.value}"),))


def _hash(expire: Sequence[PointId]) -> str:
    """Short enough to type, long enough that no other plan of the policy has it."""
    return hashlib.sha256("\n".join(sorted(map(str, expire))).encode()).hexdigest()[:16]
