"""Who called what and how it ended: counts for assertions, and the latest calls with their parameters."""

import threading
from collections import Counter, deque


class CallLog:
    """Counts by (account, region, operation, outcome); outcome is `ok`, an error code or a fault's name."""

    def __init__(self, recent: int):
        self._lock = threading.Lock()
        self._counts: Counter = Counter()
        self._recent: deque = deque(maxlen=recent)

    def add(self, entry: dict) -> None:
        with self._lock:
            self._counts[entry["account"], entry["region"], entry["operation"], entry["outcome"]] += 1
            self._recent.append(entry)

    def counts(self) -> list[dict]:
        names = ("account", "region", "operation", "outcome")
        with self._lock:
            return [dict(zip(names, key, strict=True), count=n) for key, n in self._counts.items()]

    def recent(self, limit: int, operation: str | None = None) -> list[dict]:
        """The latest calls, oldest first, at most `limit`, of one operation if named."""
        with self._lock:
            chosen = [e for e in self._recent if operation in (None, e["operation"])]
        return chosen[-limit:]

    def clear(self) -> None:
        with self._lock:
            self._counts.clear()
            self._recent.clear()
