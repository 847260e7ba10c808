"""Spans of time as people write them in an estate file: `15m 4h 1d 2w 3mo 1y`."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

UNITS = ("m", "h", "d", "w", "mo", "y")

_WRITTEN = re.compile(r"([1-9][0-9]{0,4})(mo|m|h|d|w|y)")

# A month and a year are taken at their longest: a duration guards data, so it may end late and never early.
_LONGEST = {
    "m": timedelta(minutes=1),
    "h": timedelta(hours=1),
    "d": timedelta(days=1),
    "w": timedelta(weeks=1),
    "mo": timedelta(days=31),
    "y": timedelta(days=366),
}


@dataclass(frozen=True)
class Interval:
    """`count` times `unit` (one of UNITS); `str()` gives the written form back."""

    unit: str
    count: int

    def __post_init__(self) -> None:
        if self.unit not in UNITS:
            raise ValueError(f"interval: unit {self.unit!r} is not one of {', '.join(UNITS)}")
        if not 1 <= self.count <= 99_999:
            raise ValueError(f"interval: count {self.count} is not within 1 to 99999")

    @classmethod
    def parse(cls, written: object, field: str, units: Sequence[str] = UNITS) -> "Interval":
        """Read `15m` and the like; ValueError names `field` and the allowed units."""
        found = _WRITTEN.fullmatch(written.strip()) if isinstance(written, str) else None
        if found is None or found[2] not in units:
            raise ValueError(
                f"{field}: {written!r} is not a whole number followed by one of {', '.join(units)} (such as 4h)"
            )
        return cls(found[2], int(found[1]))

    def __str__(self) -> str:
        return f"{self.count}{self.unit}"

    @property
    def duration(self) -> timedelta:
        """The span as a timedelta; a month counts 31 days and a year 366, so that nothing ends early."""
        return _LONGEST[self.unit] * self.count
