"""The one place of the engine that reads the host's clock. Every other module is handed a Clock.

Clocks decide only when a silent job is given up; whether collecting is safe never depends on one.
"""

from collections.abc import Callable
from datetime import UTC, datetime

Clock = Callable[[], datetime]


def host_clock() -> datetime:
    """The host's wall clock, aware UTC."""
    return datetime.now(UTC)


def stamp(at: datetime) -> str:
    """An instant as it is written into objects: ISO 8601 in UTC, to the second."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def instant(text: str) -> datetime:
    """Read what `stamp` wrote. Raises ValueError on anything else."""
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
