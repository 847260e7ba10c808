"""Protection that looks well and is not: pure rules over facts that only the catalog as a whole shows.

They are looked at as seldom as stale points are. Every condition is one of a policy, so that it stays one alert while
it lasts, whatever the number of targets.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from coordinator.alert_rules import Condition

# A tick takes a due slot within seconds; what is this late without any run will not come by itself.
NEVER_AFTER = timedelta(minutes=5)
# A pause for maintenance lasts days; one of more than a week has usually been forgotten.
PAUSED_AFTER = timedelta(days=7)
# Machines come and go from night to night; losing a fifth of them at once is rather a changed tag or a lost account.
COVERAGE_PERCENT = 80
DETECTOR_FAMILIES = (
    "never-ran",
    "paused-too-long",
    "coverage-dropped",
    "zero-data",
    "completed-with-warnings",
    "tags-unread",
)


@dataclass(frozen=True)
class Coverage:
    """The targets of a policy's newest planned scheduled run, and of the one before it."""

    policy: str
    run: int
    targets: int
    before: int


@dataclass(frozen=True)
class NewestPoints:
    """Of the newest good points of a policy's targets: how many are empty or carry warnings, and one of each."""

    policy: str
    empty: int
    empty_point: int | None
    warned: int
    warned_point: int | None


@dataclass(frozen=True)
class UnreadTags:
    """Of what a policy would choose by tags: how many of a type may not have theirs read, and one of them."""

    policy: str
    type: str
    count: int
    example: str


@dataclass(frozen=True)
class Doubts:
    """What the detectors look at. Calendar times."""

    idle: Sequence[tuple[str, datetime]] = ()  # enabled policy without any run, and the start that passed
    paused: Sequence[tuple[str, datetime]] = ()  # disabled policy, and when it was last changed
    coverage: Sequence[Coverage] = ()
    points: Sequence[NewestPoints] = ()
    unread: Sequence[UnreadTags] = ()


def detect(doubts: Doubts, now: datetime) -> list[Condition]:
    """Everything that the detectors find at calendar time `now`."""
    return [
        *_never_ran(doubts.idle, now),
        *_paused(doubts.paused, now),
        *_coverage(doubts.coverage),
        *_empty(doubts.points),
        *_warned(doubts.points),
        *_unread(doubts.unread),
    ]


def _never_ran(idle: Sequence[tuple[str, datetime]], now: datetime) -> Iterator[Condition]:
    for policy, due_at in idle:
        if now - due_at > NEVER_AFTER:
            yield Condition(
                f"never-ran:{policy}",
                "critical",
                f"Policy {policy} has never run",
                f"Its first run was due at {due_at:%Y-%m-%d %H:%M} UTC.",
                {"policy": policy},
            )


def _paused(paused: Sequence[tuple[str, datetime]], now: datetime) -> Iterator[Condition]:
    for policy, since in paused:
        if now - since > PAUSED_AFTER:
            yield Condition(
                f"paused-too-long:{policy}",
                "warning",
                f"Policy {policy} has been disabled for more than {PAUSED_AFTER.days} days",
                f"It protects nothing new, and was last changed at {since:%Y-%m-%d %H:%M} UTC.",
                {"policy": policy},
            )


def _coverage(coverage: Sequence[Coverage]) -> Iterator[Condition]:
    for one in coverage:
        if one.targets * 100 < one.before * COVERAGE_PERCENT:
            yield Condition(
                f"coverage-dropped:{one.policy}",
                "warning",
                f"Policy {one.policy} covers {one.targets} targets instead of {one.before}",
                f"run-{one.run} found fewer than {COVERAGE_PERCENT} % of the targets of the run before it.",
                {"policy": one.policy, "run": one.run, "targets": one.targets, "before": one.before},
            )


def _empty(points: Sequence[NewestPoints]) -> Iterator[Condition]:
    for one in points:
        if one.empty:
            yield Condition(
                f"zero-data:{one.policy}",
                "critical",
                f"Policy {one.policy} has recovery points without data",
                f"{one.empty} of its targets have a newest good point of no size or parts, as rp-{one.empty_point}.",
                {"policy": one.policy, "targets": one.empty, "point": one.empty_point},
            )


def _warned(points: Sequence[NewestPoints]) -> Iterator[Condition]:
    for one in points:
        if one.warned:
            yield Condition(
                f"completed-with-warnings:{one.policy}",
                "info",
                f"Policy {one.policy} has recovery points with warnings",
                f"{one.warned} of its targets have a newest good point with warnings, as rp-{one.warned_point}.",
                {"policy": one.policy, "targets": one.warned, "point": one.warned_point},
            )


def _unread(unread: Sequence[UnreadTags]) -> Iterator[Condition]:
    for one in unread:
        yield Condition(
            f"tags-unread:{one.policy}/{one.type}",
            "warning",
            f"Policy {one.policy} chooses by tags that may not be read",
            f"The tags of {one.count} {one.type}, as of {one.example}, are refused: those known before count, and "
            "what was tagged since is not protected. Let the account's role read them, in the resource's own policy "
            "too.",
            {"policy": one.policy, "type": one.type, "targets": one.count},
        )
