"""Design mutants: the product with one layer of defence taken out, each of which the simulator must notice.

A mutant names its layer, what goes wrong in its seeds, and which other layers are off, because they would hide it: with
those off and the layer in place the same seeds pass, which is that layer's own test.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from unittest import mock

from peewee import Model

from coordinator import main, reconcile, sweep, tick
from coordinator.expiry import ExpiryPlan
from coordinator.lease import Held
from tasks.catalog import Job, Point, Run, database, transaction
from tasks.catalog.bulk import insert_rows, update_rows
from tasks.catalog.claims import Ended, Wanted, take_and_end
from tasks.catalog.transitions import fail_attempt, move_points, requeue
from tasks.errors import SnapfleetError
from tasks.states import JobState, OperationState, PointState
from tests.sim import broker, fleet
from tests.sim.story import Options
from tests.sim.world import Weather, World
from workers import app, fence, operations, points, steps, together
from workers.handlers import cleanup, copy, poll, snapshot

Patch = contextlib.AbstractContextManager[Any]
Breaks = Callable[[World], Sequence[Patch]]


@dataclass(frozen=True)
class Mutant:
    """`breaks` takes the layer out; `off` takes out what would hide it; `options` make the seeds meet it."""

    name: str
    layer: str
    breaks: Breaks
    weather: Weather
    off: Breaks | None = None
    options: Options = field(default_factory=Options)
    sees: str = ""  # the figure that tells; the layers that are off spoil others

    @property
    def hidden(self) -> bool:
        """Whether other layers would hide it."""
        return self.off is not None

    @contextlib.contextmanager
    def applied(self, world: World, *, layer_in_place: bool = False) -> Iterator[None]:
        """The product as this mutant, or (for the control) with only the hiding layers off."""
        off = self.off(world) if self.off else ()
        with contextlib.ExitStack() as stack:
            for patch in (*off, *(() if layer_in_place else self.breaks(world))):
                stack.enter_context(patch)
            yield


def _set(owner: Any, name: str, value: Any) -> Patch:
    return mock.patch.object(owner, name, value)


# --- claims, fences, leases ---


def _claim_anything(wanted: Sequence[Wanted], ended: Sequence[Ended]) -> tuple[list[Job | None], set[int]]:
    for one in wanted:
        Job.update(
            state=JobState.RUNNING,
            fence=Job.fence + 1,
            claims=Job.claims + 1,
            lease_owner=one.owner,
            lease_until_at=one.at + one.lease,
        ).where(Job.id == one.job).execute()
    return [Job.get_or_none(Job.id == one.job) for one in wanted], take_and_end((), ended)[1]


def _take_back_everything(_held: Held, _which: Any, at: datetime) -> list[Job]:
    running = list(Job.select().where(Job.state == JobState.RUNNING))
    for job in running:
        with contextlib.suppress(SnapfleetError), transaction():
            requeue(job, at)
    return running


def _same_epoch(job: Job, error: SnapfleetError, at: datetime, *, over: bool = False) -> Any:
    epoch = job.epoch
    decision = fail_attempt(job, error, at, over=over)
    Job.update(epoch=epoch).where(Job.id == job.id).execute()
    return decision


def _new_point_each_time(job: Job, **columns: Any) -> int:
    with transaction():
        made = Point.create(run=job.run_id, **columns)
        fence.keep(job, point_id=made.id)
    return int(made.id)


# --- messages ---


def _believe(_: broker.SimBroker, messages: Sequence[Any]) -> list[bool]:
    _publish(_, messages)
    return [True] * len(messages)


_publish = broker.SimBroker.publish


def _nothing_again(*_: Any, **__: Any) -> int:
    return 0


# --- slots ---


def _move_later(world: World) -> Sequence[Patch]:
    """Schedules move on in a transaction of their own, some time after their runs."""

    def later(model: type[Model], moves: Sequence[Any], *arguments: Any) -> None:
        def now() -> None:
            with transaction():
                update_rows(model, moves, *arguments)

        world.at(world.now + 30, now)

    return [_set(tick, "update_rows", later)]


def _run_later(world: World) -> Sequence[Patch]:
    """Schedules move on first; runs are written in a transaction of their own, if their coordinator still lives, and
    planned later."""

    def insert(model: type[Model], rows: Sequence[Any], **how: Any) -> Any:
        if model is not Run or not rows or rows[0]["trigger"] != "schedule":
            return insert_rows(model, rows, **how)
        process = world.current.process if world.current else None

        def start() -> None:
            if process is None or process.alive:
                with transaction():
                    insert_rows(model, rows, **how)

        world.at(world.now + 20, start)
        return [(row["policy"], 0) for row in rows]

    return [_set(tick, "insert_rows", insert), _set(tick, "_plan", lambda *_: [])]


def _without_unique_slots(_: World) -> Sequence[Patch]:
    @contextlib.contextmanager
    def dropped() -> Iterator[None]:
        for name, unique in [(row[1], row[2]) for row in database.execute_sql("pragma index_list(run)")]:
            columns = [row[2] for row in database.execute_sql(f"pragma index_info('{name}')")]
            if unique and columns == ["policy_id", "slot_at"]:
                database.execute_sql(f'drop index "{name}"')
        yield

    return [dropped()]


# --- deleting ---


def _mark_all(plan: ExpiryPlan, now: datetime) -> int:
    """A plan that went wrong: every good point goes, copied from or not."""
    ids = [one for one, fact in plan.facts.items() if fact.state is PointState.GOOD]
    return move_points([int(one) for one in ids], PointState.EXPIRING, expire_code="wrong", marked_at=now)


def _wrong_plan(_: World) -> Sequence[Patch]:
    return [_set(sweep, "_mark", _mark_all)]


def _closed_only(job: Job) -> list[Any]:
    return [row for row in _of_job(job) if row.state is not OperationState.RUNNING]


_of_job = operations.of_job
MUTANTS: Sequence[Mutant] = (
    Mutant(
        "any-claim",
        "the claim's compare-and-set",
        lambda _: [_set(together, "take_and_end", _claim_anything)],
        Weather(duplicate=0.8, delay=0.3, lag=0.8, overtaken=0.05),
    ),
    Mutant(
        "no-fence-before-the-call",
        "the fence asked right before a creating call",
        lambda _: [_set(fence, "may_create", lambda *_: None)],
        Weather(freeze=0.3, freeze_seconds=(200, 400), freeze_at="proceed"),
        options=Options(targets=(2, 4)),
    ),
    Mutant(
        "take-back-without-expiry",
        "the lease",
        lambda _: [_set(reconcile, "_take_back", _take_back_everything)],
        Weather(lag=0.9, overtaken=0.1, late=0.2),
    ),
    Mutant(
        "silent-copies-at-once",
        "the lease's end as the earliest for a silent worker's copy",
        # Sweeps as often as in production: a sweep that comes late would do what the layer does.
        lambda _: [_set(reconcile, "ready_at", lambda _job, at: at), _set(fleet, "SWEEP_EVERY", main.SWEEP_EVERY)],
        Weather(crash_point=0.1, lag=1.0, late=0.7),
    ),
    Mutant(
        "no-adoption",
        "the look for what an earlier attempt made",
        lambda _: [_set(module, "is_first", lambda _job: True) for module in (snapshot, copy)],
        Weather(crash_point=0.02, death=0.001, lost_answer=0.1),
    ),
    Mutant(
        "no-wait-after-an-own-failure",
        "the pause in which tags appear",
        lambda _: [_set(app, "_FINDS_BY_TAG", frozenset())],
        Weather(catalog=0.01, lag=1.0),
    ),
    Mutant(
        "no-epoch",
        "the epoch in the cloud's token",
        lambda _: [_set(module, "fail_attempt", _same_epoch) for module in (app, poll)],
        Weather(error_state=0.3),
    ),
    Mutant(
        "a-new-intent-each-time",
        "the intent row",
        lambda _: [_set(points, "intend", _new_point_each_time)],
        Weather(lost_answer=0.15, crash_point=0.02),
    ),
    Mutant(
        "no-reconciler",
        "the reconciler",
        lambda _: [_set(main, "reconcile", _nothing_again)],
        Weather(purge=0.3, crash_point=0.02, death=0.001),
    ),
    Mutant(
        "no-confirms",
        "the publisher's confirms and the outbox",
        lambda _: [_set(broker.SimBroker, "publish", _believe)],
        Weather(unconfirmed=0.3),
        off=lambda _: [_set(main, "reconcile", _nothing_again)],
    ),
    Mutant(
        "slots-not-unique",
        "UNIQUE(policy, slot)",
        _without_unique_slots,
        Weather(overtaken=0.05),
        off=_move_later,
    ),
    Mutant("run-after-its-schedule", "run and schedule in one transaction", _run_later, Weather(crash_point=0.2)),
    Mutant(
        "no-floor-at-deletion",
        "the floor in the marking transaction",
        lambda _: [_set(cleanup, "_another_good", lambda _row: True)],
        Weather(overtaken=0.02),
        off=_wrong_plan,
        sees="below_floor",
    ),
    Mutant(
        "good-when-one-part-is",
        "every operation of a point asked for",
        lambda _: [
            _set(poll, "_is_plain", lambda _answer: False),
            _set(operations, "of_job", _closed_only),
        ],
        Weather(error_state=0.4),
    ),
    Mutant(
        "restores-forget",
        "the record of what a restore made",
        lambda _: [_set(steps, "record_creations", lambda *_: None)],
        Weather(),
        options=Options(slots=3),
    ),
)
