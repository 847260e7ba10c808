"""How S3's answers are read where one object of many thousands may go wrong without stopping the others."""

from collections.abc import Callable
from typing import Any, TypeVar

from botocore.exceptions import BotoCoreError, ClientError
from botocore.parsers import ResponseParserError

from tasks.errors import Denied, Gone, SnapfleetError, Throttled, Transient
from workers.aws.errors import shorten, translate

_T = TypeVar("_T")
# HeadObject has no body, so its errors are bare numbers (S3 API reference).
_ABSENT = frozenset({"404", "NoSuchKey", "NoSuchVersion", "NoSuchUpload"})
_OVERTAKEN = frozenset({"412", "PreconditionFailed", "409", "ConditionalRequestConflict"})
_BUSY = frozenset({"503", "SlowDown", "ServiceUnavailable"})


class Passed(Exception):
    """One object that cannot be copied while the others can; `code` says which kind of reason."""

    def __init__(self, text: str, code: str) -> None:
        super().__init__(text)
        self.text, self.code = text, code


def needed(operation: str, call: Callable[[], _T]) -> _T:
    """As `answered`, where there must be an answer. Raises Gone when what the call names is not there."""
    found = answered(operation, call)
    if found is None:
        raise Gone(f"S3 has no such thing any more ({operation}).")
    return found


def answered(operation: str, call: Callable[[], _T]) -> _T | None:
    """The call's answer; None when its condition did not hold or what it names is not there.

    Raises Passed when S3 refuses this one object, and the family for what concerns all of them.
    """
    try:
        return call()
    except ClientError as error:
        code = str(error.response.get("Error", {}).get("Code", ""))
        if code in _ABSENT | _OVERTAKEN:
            return None
        raise _refusal(error, code, operation) from None
    except (BotoCoreError, ResponseParserError) as error:
        raise translate(error, operation=operation) from None


def _refusal(error: ClientError, code: str, operation: str) -> Exception:
    if code in _BUSY:
        return Throttled(f"S3 asked to slow down ({operation}).")
    if code == "InvalidObjectState":
        return Passed("it lies in an archive class, which is copied only after a retrieval", "archived")
    if code == "NoSuchBucket":
        return Gone("The bucket does not exist any more.", code="no-bucket")
    if code in ("403", "AccessDenied"):
        return Denied(f"S3 refused {operation} for an object.")
    found: SnapfleetError = translate(error, operation=operation)
    if isinstance(found, Throttled | Transient) or found.retry != "never" or isinstance(found, Denied):
        return found
    detail: Any = error.response.get("Error", {}).get("Message") or code
    return Passed(f"S3 refused {operation}: {shorten(str(detail))} ({shorten(code)})", "refused")
