"""Long-running operations without waiting: begun here, kept as a token, asked about by any process later.

The SDK's own pollers start a thread each that polls for ever (20 calls, 20 threads; azure-core 1.41). A token is JSON
of 3 to 14 KB with the operation's signed addresses and no access signature of data; it lives in the catalog.
"""

import threading
import time
from collections.abc import Callable
from typing import Any

from azure.core.exceptions import HttpResponseError
from azure.core.polling.base_polling import BadResponse, BadStatus, OperationFailed
from azure.mgmt.core.polling.arm_polling import ARMPolling

from tasks.errors import CloudFailed, NotReady, SnapfleetError
from workers.azure.errors import shorten, translate

_ENDED_BADLY = frozenset({"failed", "canceled", "cancelled"})


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
        """One question: the operation's status and its document. Raises the SDK's errors."""
        self.update_status()
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
    status 200: its document has the error. Raises the SDK's errors where Azure is not reached: that is no answer.
    """
    polling = Manual()
    try:
        resume(token, polling)
        status, document = polling.step()
    except HttpResponseError as error:
        return None if error.status_code in (404, 410) else translate(error, what)
    except (BadStatus, BadResponse, OperationFailed):  # what the SDK says of an address that is gone
        return None
    if status.lower() not in _ENDED_BADLY:
        return None
    told = document.get("error") or {}
    reason = shorten(str(told.get("message", ""))) or "no reason given."
    return CloudFailed(f"Azure failed {what} ({told.get('code', status)}): {reason}")
