"""Faults that the control plane plants: each matches some calls and spoils them in one named way.

Kinds that meet the request before it is applied: `throttle`, `internal` (500), `error` (any code), `denied`,
`expired`, `timeout_before` and `drop_before` (no answer, nothing done), `slow`. After it was applied: `timeout_after`
and `drop_after` (done, answer lost). In what the caller sees or gets: `stale` (new resources stay unseen for
`seconds`, by tag filters or, with `hide: all`, everywhere), `snapshot_error` (the snapshot or copy ends in `error`
with `message`), `vanish` (what was made is gone after `seconds`). In the data of an answer: `corrupt` (one byte is
another), `truncate` (the connection ends in the middle).
"""

import random
import threading
from dataclasses import asdict, dataclass, field
from itertools import count

BEFORE = ("throttle", "internal", "error", "denied", "expired", "timeout_before", "drop_before")
AFTER = ("timeout_after", "drop_after")
RESULT = ("snapshot_error", "vanish")
DATA = ("corrupt", "truncate")
OTHER = ("slow", "stale")
KINDS = BEFORE + AFTER + RESULT + DATA + OTHER

TIMEOUT_SECONDS = 5.0  # how long a caller waits for nothing unless the fault says otherwise

_ids = count(1)


@dataclass
class Fault:
    """Empty `operation`, `account`, `region` or `resource` match everything; `count` None means for ever.

    `resource` is a substring of the request's parameters; for `snapshot_error` and `vanish` of the ids that the new
    snapshot was made from, so that one member of a multi-volume set can be hit.
    """

    kind: str
    operation: str = ""
    account: str = ""
    region: str = ""
    resource: str = ""
    count: int | None = None
    probability: float = 1.0
    seconds: float = 0.0
    code: str = "InternalError"
    status: int = 500
    message: str = "An internal error has occurred"
    hide: str = "tags"
    hits: int = 0
    id: int = field(default_factory=lambda: next(_ids))

    def __post_init__(self) -> None:
        if self.kind.startswith("timeout") and not self.seconds:
            self.seconds = TIMEOUT_SECONDS
        if self.kind not in KINDS:
            raise ValueError(f"no such fault: {self.kind}; there are {', '.join(KINDS)}")

    def matches(self, operation: str, account: str, region: str, resource: str) -> bool:
        return (
            self.count != 0
            and self.operation in ("", operation)
            and self.account in ("", account)
            and self.region in ("", region)
            and self.resource in resource
        )


class Faults:
    """The planted faults, in the order they were planted; the first match of the wanted kinds is spent."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._faults: list[Fault] = []
        self._dice = random.Random(7)

    def add(self, settings: dict) -> Fault:
        fault = Fault(**settings)
        with self._lock:
            self._faults.append(fault)
        return fault

    def take(self, kinds: tuple[str, ...], operation: str, account: str, region: str, resource: str) -> Fault | None:
        if not self._faults:
            return None
        with self._lock:
            for fault in self._faults:
                if fault.kind not in kinds or not fault.matches(operation, account, region, resource):
                    continue
                if self._dice.random() >= fault.probability:
                    continue
                fault.hits += 1
                if fault.count is not None:
                    fault.count -= 1
                return fault
        return None

    def listed(self) -> list[dict]:
        with self._lock:
            return [asdict(f) for f in self._faults]

    def remove(self, fault_id: int | None = None) -> None:
        """Remove one fault, or all of them."""
        with self._lock:
            self._faults = [f for f in self._faults if fault_id is not None and f.id != fault_id]
