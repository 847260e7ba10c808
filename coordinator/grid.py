"""The shape of a schedule: which instants it names, read from and written to the estate file's form.

`coordinator.slots` does the arithmetic. The rules, as the estate file states them:
- `every` in m and h counts in UTC from `starts_at`; d, w and mo follow the wall clock of `time_zone`.
- A wall time that a clock change skips runs once, at the instant of the change; one that occurs twice runs the
  first time.
- `mo` keeps the day of `starts_at`, or the last day of a shorter month, without drifting.
- `ends_at` is exclusive: no slot at or after it.
- `days` is a mask for m, h and d; with w and mo the start decides the weekday and `days` is refused.
- `days` and `disabled` are judged by the wall clock of the nominal slot, not by the start that `spread` moves.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from functools import cached_property
from typing import Any

from coordinator.interval import Interval
from coordinator.wallclock import DAY, END_OF_TIME, day_of, instant, wall_seconds, weekday, zone_of

DAY_NAMES = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
GRID_UNITS = ("m", "h", "d", "w", "mo")
_SPREAD_UNITS = ("m", "h", "d")
_FIELDS = ("every", "starts_at", "ends_at", "time_zone", "days", "disabled", "spread")
_ROW_FIELDS = ("name", "description")  # belong to the schedule's row, not to its grid
_RANGE_FIELDS = ("days", "date", "from", "to")
_DAY_MINUTES = 24 * 60


@dataclass(frozen=True)
class DisabledRange:
    """From `start` up to and without `end` (minutes of the day), beginning on each of `days` (0 = Monday; empty = every
    day) or on one date, `on`. An `end` before `start` is on the following day."""

    days: tuple[int, ...] = ()
    on: date | None = None
    start: int = 0
    end: int = _DAY_MINUTES

    def __post_init__(self) -> None:
        if self.days and self.on is not None:
            raise ValueError("disabled: give days or date, not both")
        if not (0 <= self.start < _DAY_MINUTES and 0 < self.end <= _DAY_MINUTES) or self.start == self.end:
            raise ValueError('disabled: from and to must differ and lie within "00:00" and "24:00"')

    def closed(self, day: int) -> list[tuple[int, int]]:
        """What it closes of a local day, as seconds of that day [from, to)."""
        found = []
        spans = self.end < self.start
        if self._begins_on(day):
            found.append((self.start * 60, DAY if spans else self.end * 60))
        if spans and self._begins_on(day - 1):
            found.append((0, self.end * 60))
        return found

    def _begins_on(self, day: int) -> bool:
        if self.on is not None:
            return day == day_of(self.on)
        return not self.days or weekday(day) in self.days

    @classmethod
    def from_spec(cls, spec: object) -> "DisabledRange":
        """Read `{days: [fri], from: "22:00", to: "02:00"}` or `{date: 2026-12-24}`; ValueError names the field."""
        if not isinstance(spec, Mapping):
            raise ValueError(f"disabled: {spec!r} is not a mapping of {', '.join(_RANGE_FIELDS)}")
        _refuse_unknown(spec, _RANGE_FIELDS, "disabled")
        if not any(spec.get(field) is not None for field in _RANGE_FIELDS):
            raise ValueError(f"disabled: an empty range; give at least one of {', '.join(_RANGE_FIELDS)}")
        if (spec.get("from") is None) != (spec.get("to") is None):
            raise ValueError("disabled: from and to go together; leave both out for whole days")
        on = spec.get("date")
        return cls(
            days=_read_days(spec.get("days"), "disabled.days"),
            on=None if on is None else _read_wall(on, "disabled.date").date(),
            start=_read_minutes(spec.get("from", 0), "disabled.from"),
            end=_read_minutes(spec.get("to", _DAY_MINUTES), "disabled.to"),
        )

    def to_spec(self) -> dict[str, Any]:
        """The form that `from_spec` reads, of strings and lists only."""
        spec: dict[str, Any] = {}
        if self.days:
            spec["days"] = [DAY_NAMES[day] for day in self.days]
        if self.on is not None:
            spec["date"] = self.on.isoformat()
        if (self.start, self.end) != (0, _DAY_MINUTES) or not spec:
            spec["from"], spec["to"] = _write_minutes(self.start), _write_minutes(self.end)
        return spec


@dataclass(frozen=True)
class Grid:
    """The instants of one schedule. `starts_at` and `ends_at` are naive wall times of `time_zone`; `days` are 0 (Mon)
    to 6, empty for every day; `spread` is the window over which policies are spread after each slot."""

    every: Interval
    starts_at: datetime
    ends_at: datetime | None = None
    time_zone: str = "UTC"
    days: tuple[int, ...] = ()
    disabled: tuple[DisabledRange, ...] = ()
    spread: timedelta = timedelta(0)

    def __post_init__(self) -> None:
        if self.every.unit not in GRID_UNITS:
            raise ValueError(f"every: {self.every} is not in one of {', '.join(GRID_UNITS)}")
        zone_of(self.time_zone)
        if self.starts_at.tzinfo is not None or (self.ends_at is not None and self.ends_at.tzinfo is not None):
            raise ValueError("starts_at and ends_at: wall times without an offset; time_zone says where")
        if self.ends_at is not None and self.ends_at <= self.starts_at:
            raise ValueError("ends_at: must be later than starts_at")
        if not all(0 <= day < len(DAY_NAMES) for day in self.days):
            raise ValueError("days: 0 (Monday) to 6 (Sunday)")
        if self.days and self.every.unit in ("w", "mo"):
            raise ValueError("days: not for w and mo, where the weekday or date of starts_at decides; leave days out")
        if not timedelta(0) <= self.spread < self.every.duration:
            raise ValueError(f"spread: must be shorter than every ({self.every})")
        if self.spread % timedelta(minutes=1):
            raise ValueError("spread: must be whole minutes")

    def __hash__(self) -> int:
        return self._hash

    @cached_property
    def _hash(self) -> int:
        shape = (self.every, self.starts_at, self.ends_at, self.time_zone)
        return hash((*shape, self.days, self.disabled, self.spread))

    @cached_property
    def first(self) -> int:
        """`starts_at` as an instant, whether or not a slot falls on it."""
        return instant(zone_of(self.time_zone), wall_seconds(self.starts_at))

    @cached_property
    def end(self) -> int:
        """`ends_at` as an instant, exclusive."""
        if self.ends_at is None:
            return END_OF_TIME
        return instant(zone_of(self.time_zone), wall_seconds(self.ends_at))

    def open_spans(self, day: int) -> list[tuple[int, int]]:
        """What `days` and `disabled` leave of a local day, as seconds of that day [from, to), in order."""
        if self.days and weekday(day) not in self.days:
            return []
        spans, opened = [], 0
        for start, end in sorted(cut for closed in self.disabled for cut in closed.closed(day)):
            if start > opened:
                spans.append((opened, start))
            opened = max(opened, end)
        return [*spans, (opened, DAY)] if opened < DAY else spans

    def is_open(self, day: int, second: int) -> bool:
        """Whether a slot at that second of that local day is neither masked nor disabled."""
        if self.days and weekday(day) not in self.days:
            return False
        return not any(a <= second < b for closed in self.disabled for a, b in closed.closed(day))

    @classmethod
    def from_spec(cls, spec: Mapping[str, Any]) -> "Grid":
        """Read a schedule of the estate file (`name` and `description` are passed over).

        ValueError names the field and what it may be. Dates may be strings or what a YAML reader makes of them.
        """
        _refuse_unknown(spec, _FIELDS, "schedule", also=_ROW_FIELDS)
        for field in ("every", "starts_at"):
            if spec.get(field) is None:
                raise ValueError(f"{field}: missing; a schedule needs every and starts_at")
        ends_at, spread, disabled = spec.get("ends_at"), spec.get("spread"), spec.get("disabled") or []
        if isinstance(disabled, str | Mapping) or not isinstance(disabled, Sequence):
            raise ValueError("disabled: must be a list of ranges")
        return cls(
            every=Interval.parse(spec["every"], "every", GRID_UNITS),
            starts_at=_read_wall(spec["starts_at"], "starts_at"),
            ends_at=None if ends_at is None else _read_wall(ends_at, "ends_at"),
            time_zone=_read_zone(spec.get("time_zone") or "UTC"),
            days=_read_days(spec.get("days"), "days"),
            disabled=tuple(DisabledRange.from_spec(entry) for entry in disabled),
            spread=timedelta(0) if not spread else Interval.parse(spread, "spread", _SPREAD_UNITS).duration,
        )

    def to_spec(self) -> dict[str, Any]:
        """The form that `from_spec` reads, of strings and lists only; what is at its default is left out."""
        spec: dict[str, Any] = {"every": str(self.every), "starts_at": _write_wall(self.starts_at)}
        if self.ends_at is not None:
            spec["ends_at"] = _write_wall(self.ends_at)
        spec["time_zone"] = self.time_zone
        if self.days:
            spec["days"] = [DAY_NAMES[day] for day in self.days]
        if self.disabled:
            spec["disabled"] = [entry.to_spec() for entry in self.disabled]
        if self.spread:
            spec["spread"] = f"{self.spread // timedelta(minutes=1)}m"
        return spec


def _refuse_unknown(spec: Mapping[str, Any], known: Sequence[str], what: str, also: Sequence[str] = ()) -> None:
    unknown = sorted(str(field) for field in spec if field not in known and field not in also)
    if unknown:
        raise ValueError(f"{what}: unknown field {unknown[0]!r}; allowed are {', '.join(known)}")


def _read_wall(written: object, field: str) -> datetime:
    """A wall time to the second; a bare date is its midnight."""
    wall = written
    if isinstance(written, str):
        try:
            wall = datetime.fromisoformat(written.strip())
        except ValueError:
            wall = None
    if isinstance(wall, date) and not isinstance(wall, datetime):
        wall = datetime.combine(wall, time())
    if not isinstance(wall, datetime) or not 1970 <= wall.year < 9999:
        raise ValueError(f"{field}: {written!r} is not a date and time such as 2026-11-01T00:07")
    if wall.tzinfo is not None:
        raise ValueError(f"{field}: {written!r} carries an offset; write the wall time, time_zone says where")
    return wall.replace(microsecond=0)


def _write_wall(wall: datetime) -> str:
    return wall.isoformat(timespec="seconds" if wall.second else "minutes")


def _read_zone(written: object) -> str:
    if not isinstance(written, str):
        raise ValueError(f"time_zone: {written!r} is not an IANA zone such as Europe/Berlin or UTC")
    return zone_of(written).key


def _read_days(written: object, field: str) -> tuple[int, ...]:
    if written is None:
        return ()
    names = [written] if isinstance(written, str) else written
    if not isinstance(names, Sequence) or not names or any(name not in DAY_NAMES for name in names):
        raise ValueError(f"{field}: {written!r} is not a list of {', '.join(DAY_NAMES)}")
    return tuple(sorted({DAY_NAMES.index(name) for name in names}))


def _read_minutes(written: object, field: str) -> int:
    """Minutes of the day from "22:00". A YAML reader takes an unquoted 22:00 for the number 1320, which is the same."""
    if isinstance(written, int) and not isinstance(written, bool) and 0 <= written <= _DAY_MINUTES:
        return written
    hour, _, minute = str(written).partition(":")
    if isinstance(written, str) and len(minute) == 2 and (hour + minute).isascii() and (hour + minute).isdigit():
        total = int(hour) * 60 + int(minute)
        if int(minute) < 60 and total <= _DAY_MINUTES:
            return total
    raise ValueError(f'{field}: {written!r} is not a time of day such as "22:00" ("24:00" ends a day)')


def _write_minutes(minutes: int) -> str:
    return f"{minutes // 60:02}:{minutes % 60:02}"
