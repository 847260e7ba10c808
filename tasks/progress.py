"""How far a job is that moves bytes: what its worker writes every few seconds, and what people are shown."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any


@dataclass(frozen=True)
class Progress:
    """`done` of `total` bytes are dealt with; `moved` bytes had to be read or deleted for that, where what did not
    change or is zeros is passed over. `rate` is bytes moved a second and `pace` bytes dealt with a second, both of the
    present message's work, 0 while that is too short to tell."""

    done: int
    total: int
    moved: int
    rate: int
    pace: int
    began_at: str  # ISO, machine time, of the job's first message
    changed_at: str

    def to_json(self) -> dict[str, Any]:
        """As the catalog keeps it."""
        return asdict(self)

    @classmethod
    def of(cls, value: Any) -> "Progress | None":
        """What the catalog keeps; None for nothing, and for what another version wrote otherwise."""
        try:
            return cls(**value) if isinstance(value, Mapping) else None
        except TypeError:
            return None

    @property
    def percent(self) -> int:
        """0 to 100; 100 only when everything is done."""
        return min(100, 100 * self.done // self.total) if self.total else 0

    @property
    def seconds_left(self) -> int | None:
        """At the present pace; None while there is none."""
        return max(0, self.total - self.done) // self.pace if self.pace else None

    def joined(self, other: "Progress") -> "Progress":
        """Of two workers at one task, as one."""
        return replace(
            self,
            **{name: getattr(self, name) + getattr(other, name) for name in ("done", "total", "moved", "rate", "pace")},
            began_at=min(self.began_at, other.began_at),
            changed_at=max(self.changed_at, other.changed_at),
        )


def measured(
    done: int, total: int, moved: int, before: tuple[int, int], began_at: datetime, since_at: datetime, at: datetime
) -> Progress:
    """Progress now, where `before` is (done, moved) at `since_at`, when the present message's work began; pure."""
    seconds = (at - since_at).total_seconds()
    rate, pace = (max(0, moved - before[1]) / seconds, max(0, done - before[0]) / seconds) if seconds > 0 else (0, 0)
    return Progress(done, total, moved, int(rate), int(pace), began_at.isoformat(), at.isoformat())
