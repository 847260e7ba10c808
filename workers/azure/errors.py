"""Azure's error codes and the SDK's exceptions, translated once into the family of tasks.errors.

The SDK's classes go by status (every 409 is ResourceExistsError), so the code decides, and the status only where no
table names the code. Codes: Azure's compute error reference and its recordings; the text is Azure's own, shortened.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from azure.core import exceptions as sdk

from tasks.errors import (
    CloudFailed,
    CredentialsExpired,
    CredentialsRefused,
    Denied,
    Gone,
    Internal,
    InUse,
    Invalid,
    NotReady,
    QuotaReached,
    Retry,
    SnapfleetError,
    Throttled,
    Transient,
)
from workers.pace import GUARD

_THROTTLED = frozenset(
    {
        "TooManyRequests", "SubscriptionRequestsThrottled", "ResourceRequestsThrottled", "RateLimitExceeded",
        "ServerBusy",
        # of Microsoft.Sql (Databases - Create Or Update, its table of error codes)
        "SubscriptionTooManyCreateUpdateRequests", "SubscriptionTooManyRequests",
    }
)  # fmt: skip
_QUOTA = frozenset(
    {"SnapshotsLimitReached", "CopyLimitReached", "QuotaExceeded", "ResourceQuotaExceeded", "SkuNotAvailable"}
)
_DENIED = frozenset({"AuthorizationFailed", "LinkedAuthorizationFailed", "Forbidden", "RequestDisallowedByPolicy"})
_REFUSED_ENTRY = frozenset(
    {
        "InvalidAuthenticationToken", "InvalidAuthenticationTokenTenant", "SubscriptionNotFound",
        "InvalidSubscriptionId", "DisabledSubscription", "ReadOnlyDisabledSubscription",
        "MissingSubscriptionRegistration",
    }
)  # fmt: skip
_GONE = frozenset(
    {
        "ResourceNotFound", "NotFound", "ResourceGroupNotFound", "CopySourceNotFound", "ParentResourceNotFound",
        "SourceDatabaseNotFound", "ServerNotInSubscriptionResourceGroup", "DatabaseDoesNotExist",
    }
)  # fmt: skip
_IN_USE = frozenset({"ResourceInUse", "DiskInUse", "SnapshotInUse", "ConflictingUserInput"})
_LOCKED = frozenset({"ScopeLocked", "ReadOnlyScope"})
_LENGTH = 300  # of Azure's own text; the rest is rarely about the case
_ADDRESS = re.compile(r"https?://\S+")  # may hold a signature


class UnderWay(NotReady):
    """Azure is doing what was asked for, and only a later look can say that it is over: that costs no attempt."""

    retry = Retry.FREE


@contextmanager
def translated(what: str) -> Iterator[None]:
    """Turn what the SDK raises inside into the family; errors of the family pass."""
    try:
        yield
    except sdk.AzureError as error:
        raise translate(error, what) from None


def translate(error: sdk.AzureError, what: str) -> SnapfleetError:
    """The family's error for one of the SDK's. `what` names the call in the text."""
    if isinstance(error, sdk.HttpResponseError):
        return _of_answer(error, what)
    if isinstance(error, sdk.ServiceResponseError):
        # the request was sent: whether it took effect is unknown
        return Transient(f"Azure's answer to {what} was lost.", code="unknown-effect", wait=GUARD)
    if isinstance(error, sdk.ServiceRequestError):
        return Transient(f"Azure could not be reached for {what}.")
    return Internal(f"{what} failed in the SDK: {type(error).__name__}.", code="azure-sdk")


def _of_answer(error: sdk.HttpResponseError, what: str) -> SnapfleetError:
    told = getattr(error, "error", None)
    code = str(getattr(told, "code", "") or "")
    status = int(error.status_code or 0)
    if isinstance(error, sdk.ClientAuthenticationError) and (not code or "AADSTS" in str(error.message)):
        return CredentialsRefused(f"Azure refused {what}: {shorten(str(error.message))}")
    reason = shorten(str(getattr(told, "message", "") or error.message))
    text = f"Azure refused {what} ({code or status}): {reason}"
    if status == 200:  # an operation that was accepted and failed
        return CloudFailed(f"Azure failed {what} ({code}): {reason}")
    return refusal(code, status, text, _wait(error))


def refusal(code: str, status: int, text: str, wait: timedelta | None = None) -> SnapfleetError:
    """The family's error for a code, or for a status whose code no table names."""
    if code == "ExpiredAuthenticationToken":
        return CredentialsExpired(text)
    tables: tuple[tuple[frozenset[str], type[SnapfleetError]], ...] = (
        (_REFUSED_ENTRY, CredentialsRefused), (_DENIED, Denied), (_QUOTA, QuotaReached), (_GONE, Gone),
        (_IN_USE, InUse), (_THROTTLED, Throttled),
    )  # fmt: skip
    for names, kind in tables:
        if code in names:
            return kind(text, wait=wait)
    if code in _LOCKED:
        return Denied(text, code="locked", advice="Remove the lock of the resource, or let the backup be kept.")
    return _by_status(status, text, wait)


def _by_status(status: int, text: str, wait: timedelta | None) -> SnapfleetError:
    by_status: dict[int, type[SnapfleetError]] = {
        401: CredentialsRefused, 403: Denied, 404: Gone, 408: Transient, 409: NotReady, 412: NotReady, 429: Throttled,
    }  # fmt: skip
    kind = by_status.get(status, Transient if status >= 500 else Invalid)
    return kind(text, wait=wait)


def _wait(error: sdk.HttpResponseError) -> timedelta | None:
    """What the answer's Retry-After asks for, in seconds; None without one."""
    headers = getattr(error.response, "headers", None) or {}
    text = str(headers.get("Retry-After", ""))
    return timedelta(seconds=min(int(text), 3600)) if text.isdigit() else None


def shorten(text: str) -> str:
    """Azure's text in one line, without addresses, which may be signed."""
    return _ADDRESS.sub("(address)", " ".join(text.split()))[:_LENGTH]
