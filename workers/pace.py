"""How patient the drivers are: when to ask again, and how long an absence means nothing."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from tasks.clock import Clock, SystemClock

# Tags are eventually consistent: after an answer was lost, what was made may not be findable for a minute or two, and a
# second look before that would make it twice.
GUARD = timedelta(seconds=90)


@dataclass(frozen=True)
class Pace:
    """Intervals of one installation; the sandbox and tests use short ones.

    `floor` and `ceiling` bound the time between two questions about one operation, `grace` is how long what was just
    made may be missing from a description (EC2 is eventually consistent; minutes have been seen), `guard` is how
    long nobody creates again after an answer was lost.
    """

    floor: timedelta = timedelta(seconds=15)
    ceiling: timedelta = timedelta(minutes=5)
    grace: timedelta = timedelta(minutes=3)
    guard: timedelta = GUARD
    clock: Clock = field(default_factory=SystemClock)

    def again(self, age: timedelta) -> timedelta:
        """When to ask next: after as long as it has already taken, so that the questions double in distance."""
        return min(self.ceiling, max(self.floor, age))

    def age(self, started_at: object) -> timedelta | None:
        """How long ago an ISO instant was, None when there is none."""
        if not isinstance(started_at, str) or not started_at:
            return None
        return max(timedelta(0), self.clock.timer() - datetime.fromisoformat(started_at))
