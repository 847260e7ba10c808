"""Long-running operations without waiting: begun here, kept as a token, asked about by any process later.

The SDK's own pollers start a thread each that polls for ever (20 calls, 20 threads; azure-core 1.41). A token is JSON
of 3 to 14 KB with the operation's signed addresses and no access signature of data; it lives in the catalog.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

from azure.core.exceptions import HttpResponseError
from azure.core.polling.base_polling import BadResponse, BadStatus, OperationFailed
from azure.mgmt.core.polling.arm_polling import ARMPolling

from tasks.errors import CloudFailed, NotReady, SnapfleetError, Transient
from tasks.states import OperationState
from workers.azure.errors import shorten
from workers.driver import Operation, Progress
from workers.pace import Pace

_ENDED_BADLY = frozenset({"failed", "canceled", "cancelled"})
# Statuses that say nothing about the operation: the service has no answer just now.
_BUSY = frozenset({408, 429})
# Longer than that nobody waits for a reason: what failed is told without one. ARM's throttles pass within minutes.
_UNTOLD_FOR = timedelta(hours=1)


class Untold(Transient):
    """Azure does not say just now why an operation failed."""

    code = "untold"


class Manual(ARMPolling):
    """A polling method that asks only when it is told to."""

    def run(self) -> None:
        """Nothing runs by itself."""

    def result(self) -> Any:
        """What a finished operation gives. Raises the SDK's errors."""
        address = self._operation.get_final_get_url(self._pipeline_response)
        if address:
            self._pipeline_response = self.request_status(address)
        return self.resource()

    def step(self) -> tuple[str, dict[str, Any]]:
        """One question: the operation's status and its document. Raises the SDK's errors, HttpResponseError for an
        answer with any other status than a success."""
        try:
            self.update_status()
        except BadStatus:  # no error of the SDK's family, and without the answer
            raise HttpResponseError(response=self._pipeline_response.http_response) from None
        document = self._pipeline_response.http_response.json() or {}
        return self.status(), document


def begin(method: Any, *arguments: Any, **more: Any) -> str:
    """Call a `begin_` method; the token of the operation that it began. Raises the SDK's errors for a refusal."""
    token: str = method(*arguments, polling=Manual(), **more).continuation_token()
    return token


def finish(patience: float, method: Any, *arguments: Any) -> Any:
    """Call a `begin_` method of an operation that takes moments, and wait for its result, `patience` seconds at most.

    Raises NotReady when it takes longer, CloudFailed when it failed, the SDK's errors for a refusal.
    """
    polling = Manual()
    method(*arguments, polling=polling)
    until, pause, never = time.monotonic() + patience, 0.05, threading.Event()
    while not polling.finished():
        if time.monotonic() > until:
            raise NotReady("Azure takes longer than usual.", code="slow-operation")
        never.wait(pause)
        pause = min(1.0, pause * 2)
        status, document = polling.step()
        if status.lower() in _ENDED_BADLY:
            told = document.get("error") or {}
            reason = shorten(str(told.get("message", ""))) or "no reason given."
            raise CloudFailed(f"Azure failed an operation ({told.get('code', status)}): {reason}")
    return polling.result()


def failure(resume: Callable[[str, Manual], Any], token: str, what: str) -> SnapfleetError | None:
    """Why an operation failed, by one question about it; None when it did not, or nobody knows of it any more.

    `resume` calls the `begin_` method again with a token and a polling method. An operation that failed is told with
    status 200: its document has the error. Raises Untold where Azure is too busy to say, and the SDK's errors where it
    is not reached: neither is an answer.
    """
    polling = Manual()
    try:
        resume(token, polling)
        status, document = polling.step()
    except HttpResponseError as error:
        code = int(error.status_code or 0)
        if code in _BUSY or code >= 500:
            raise Untold(f"Azure does not say just now ({code}) how {what} ended.") from None
        return None  # it is gone, or not for our role to read
    except (BadResponse, OperationFailed):
        return None
    if status.lower() not in _ENDED_BADLY:
        return None
    told = document.get("error") or {}
    reason = shorten(str(told.get("message", ""))) or "no reason given."
    return CloudFailed(f"Azure failed {what} ({told.get('code', status)}): {reason}")


def patient(operation: Operation, pace: Pace, ask: Callable[[Operation], Progress]) -> Progress:
    """What `ask` answers about an operation; while it raises Untold the operation counts as running and is asked about
    again, alone: it must not keep an answer from the others. After an hour it has failed without a reason."""
    try:
        return ask(operation)
    except Untold:
        since = str(operation.detail.get("untold_at") or pace.clock.timer().isoformat())
        age = pace.age(since) or timedelta(0)
        if age > _UNTOLD_FOR:
            return ask(replace(operation, detail={**operation.detail, "token": ""}))
        wait = pace.again(age)
        return Progress(operation.external_id, OperationState.RUNNING, ask_again=wait, detail={"untold_at": since})
