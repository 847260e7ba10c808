"""How states look: a colour, a glyph and a word each, so that none of the three is needed to tell them apart."""

from datetime import datetime, timedelta
from typing import NamedTuple


class Mark(NamedTuple):
    """`tone` names a colour of the style sheet. Nothing that is unfinished is ever green."""

    tone: str
    glyph: str


_MARKS = {
    "done": Mark("good", "✓"),
    "good": Mark("good", "✓"),
    "alive": Mark("good", "✓"),
    "running": Mark("busy", "▶"),
    "open": Mark("busy", "▶"),
    "waiting": Mark("wait", "◔"),
    "creating": Mark("wait", "◔"),
    "queued": Mark("queued", "◎"),
    "pending": Mark("idle", "○"),
    "resolving": Mark("queued", "◌"),
    "draining": Mark("wait", "◒"),
    "drained": Mark("idle", "◇"),
    "met": Mark("good", "✓"),
    "at-risk": Mark("warn", "▲"),
    "breached": Mark("bad", "✕"),
    "unprotected": Mark("idle", "○"),
    "partial": Mark("warn", "◐"),
    "warning": Mark("warn", "▲"),
    "expiring": Mark("warn", "◷"),
    "outdated": Mark("warn", "◫"),
    "failed": Mark("bad", "✕"),
    "critical": Mark("bad", "✕"),
    "lost": Mark("bad", "?"),
    "silent": Mark("bad", "✕"),
    "cancelled": Mark("idle", "⊘"),
    "deleted": Mark("idle", "■"),
    "dropped": Mark("idle", "■"),
    "requeued": Mark("queued", "↻"),
    "info": Mark("busy", "i"),
    "working": Mark("busy", "▶"),
    "idle": Mark("idle", "○"),
    "behind": Mark("warn", "◷"),
    "dead letters": Mark("warn", "▲"),
    "no worker": Mark("bad", "✕"),
    "missing": Mark("bad", "✕"),
    "unknown": Mark("idle", "?"),
}
_UNKNOWN = Mark("idle", "·")
_STEPS = ((timedelta(days=2), "d", timedelta(days=1)), (timedelta(hours=2), "h", timedelta(hours=1)))


def mark_of(state: str) -> Mark:
    """The mark of a state; a dot for one that has none."""
    return _MARKS.get(state, _UNKNOWN)


def age(value: datetime | float | None, at: datetime | None = None) -> str:
    """A duration in seconds, or the time since an instant, short: `12 s`, `7 min`, `5 h`, `3 d`."""
    if value is None:
        return "never"
    past = (at - value) if isinstance(value, datetime) and at else timedelta(seconds=value)  # type: ignore[arg-type]
    for least, unit, step in _STEPS:
        if past >= least:
            return f"{past // step} {unit}"
    seconds = max(0, int(past.total_seconds()))
    return f"{seconds} s" if seconds < 120 else f"{seconds // 60} min"
