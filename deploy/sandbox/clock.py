"""The emulated clouds' time: the host's, moved by an offset that the control plane may set."""

from datetime import UTC, datetime, timedelta


class Clock:
    """`now()` is aware UTC. Moving the offset forward finishes whatever was under way."""

    def __init__(self) -> None:
        self.offset = timedelta(0)

    def now(self) -> datetime:
        return datetime.now(UTC) + self.offset
