"""The two answers that every service gives alike: it goes on, and it is not there."""

from datetime import timedelta

from tasks.errors import Gone
from tasks.states import OperationState
from workers.driver import Operation, Progress
from workers.pace import Pace


def running(operation: Operation, pace: Pace, percent: int) -> Progress:
    """Not ended yet; the next question waits as long as it has already taken."""
    age = pace.age(operation.detail.get("started_at")) or timedelta(0)
    return Progress(operation.external_id, OperationState.RUNNING, percent=percent, ask_again=pace.again(age))


def absent(operation: Operation, pace: Pace, at_once: bool = False) -> Progress:
    """Missing just after its making says nothing. Without a start, it counts from now."""
    age = pace.age(operation.detail.get("started_at"))
    if not at_once and (age is None or age < pace.grace):
        seen = {} if age is not None else {"started_at": pace.clock.timer().isoformat()}
        return Progress(operation.external_id, OperationState.RUNNING, ask_again=pace.floor, detail=seen)
    error = Gone(f"The {operation.kind} {operation.external_id} does not exist any more: somebody else deleted it.")
    return Progress(operation.external_id, OperationState.GONE, error=error)
