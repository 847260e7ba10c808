"""AWS error codes and SDK exceptions, translated once into the family of tasks.errors. The tables are the translation.

Sources: the EC2 API error code pages, botocore.retries.standard (which codes it repeats by itself), and the service
models of botocore 1.44. Codes that no table names are refusals when the answer was 4xx and passing when it was 5xx.
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from botocore import exceptions as sdk
from botocore.parsers import ResponseParserError

from tasks.errors import (
    CredentialsExpired,
    CredentialsRefused,
    Denied,
    Gone,
    Impossible,
    Internal,
    InUse,
    Invalid,
    NotReady,
    QuotaReached,
    SnapfleetError,
    Throttled,
    Transient,
)

EXPIRED_CODES = frozenset({"RequestExpired", "ExpiredToken", "ExpiredTokenException"})
THROTTLED_CODES = frozenset(
    {
        "Throttling", "ThrottlingException", "ThrottledException", "RequestThrottledException", "RequestThrottled",
        "RequestLimitExceeded", "EC2ThrottledException", "TooManyRequestsException", "BandwidthLimitExceeded",
        "PriorRequestNotComplete", "ProvisionedThroughputExceededException", "SlowDown",
    }
)  # fmt: skip
# A slot or an allowance is used up. LimitExceededException means quota in every service that sends it here.
_QUOTA = frozenset(
    {
        "ResourceLimitExceeded", "ConcurrentSnapshotLimitExceeded", "PendingSnapshotLimitExceeded",
        "SnapshotLimitExceeded", "SnapshotCreationPerVolumeRateExceeded", "ConcurrentLimitExceededException",
        "ServiceQuotaExceededException", "LimitExceededException", "VolumeLimitExceeded", "InstanceLimitExceeded",
        "VcpuLimitExceeded", "MaxIOPSLimitExceeded", "LimitExceededFault", "ExportTaskLimitReachedFault",
        "TooManyBuckets",
    }
)  # fmt: skip
_NOT_READY = frozenset(
    {
        "IncorrectState", "IncorrectInstanceState", "InsufficientInstanceCapacity", "InsufficientVolumeCapacity",
        "InsufficientCapacity", "ConcurrentCreateImageNoRebootLimitExceeded", "InvalidAMIName.Duplicate",
        "IncorrectModificationState",
        "ContinuousBackupsUnavailableException", "TableInUseException", "ResourceInUseException",
        "BackupInProgress", "SourceBackupUnavailable", "IncorrectFileSystemLifeCycleState",
        "InvalidResourceStateException",
        "InvalidDBInstanceState", "InvalidDBClusterStateFault", "InvalidDBSnapshotState",
        "InvalidDBClusterSnapshotStateFault", "InsufficientDBInstanceCapacity", "InsufficientDBClusterCapacityFault",
        "InsufficientStorageClusterCapacity",
        "InvalidClusterState", "InvalidClusterSnapshotState", "InsufficientClusterCapacity",
    }
)  # fmt: skip
_IN_USE = frozenset(
    {
        "InvalidSnapshot.InUse", "VolumeInUse", "DependencyViolation", "InvalidAMIID.InUse", "BackupInUseException",
        "BackupBeingCopied", "BackupRestoring", "FileSystemInUse",
    }
)  # fmt: skip
_DENIED = frozenset(
    {
        "UnauthorizedOperation", "AccessDenied", "AccessDeniedException", "OptInRequired", "Blocked",
        "UnauthorizedAccess", "AccessToSnapshotDenied", "DependentServiceAccessDenied",
    }
)  # fmt: skip
_REFUSED_ENTRY = frozenset(
    {
        "AuthFailure", "InvalidClientTokenId", "SignatureDoesNotMatch", "UnrecognizedClientException",
        "InvalidAccessKeyId", "InvalidToken", "IncompleteSignature", "MissingAuthenticationToken",
        "RegionDisabledException",
    }
)  # fmt: skip
_TRANSIENT = frozenset(
    {
        "InternalError", "InternalFailure", "ServiceUnavailable", "ServiceUnavailableException", "Unavailable",
        "RequestTimeout", "RequestTimeoutException", "DependencyFailureException", "ServerInternal",
    }
)  # fmt: skip
_INVALID = frozenset({"FilterLimitExceeded", "TagLimitExceeded", "RequestEntityTooLarge"})
_IMPOSSIBLE = frozenset({"UnsupportedOperation", "OperationNotPermitted", "InvalidAction"})
_BY_CODE: Mapping[str, type[SnapfleetError]] = {
    code: kind
    for codes, kind in (
        (EXPIRED_CODES, CredentialsExpired), (THROTTLED_CODES, Throttled), (_QUOTA, QuotaReached),
        (_NOT_READY, NotReady), (_IN_USE, InUse), (_DENIED, Denied), (_REFUSED_ENTRY, CredentialsRefused),
        (_TRANSIENT, Transient), (_IMPOSSIBLE, Impossible),
        (_INVALID, Invalid),
    )
    for code in codes
}  # fmt: skip
_BY_PATTERN: tuple[tuple[re.Pattern[str], type[SnapfleetError]], ...] = (
    (re.compile(r"NotFound(Fault)?$|\.Unavailable$|NotFoundException$|^NoSuch|^KMS\.NotFoundException$"), Gone),
    (re.compile(r"Throttl|RequestLimit"), Throttled),
    (re.compile(r"LimitExceeded$|QuotaExceeded(Fault)?$"), QuotaReached),
    (re.compile(r"^KMS|Kms", re.IGNORECASE), Invalid),
    (re.compile(r"^Invalid|^Missing|^Malformed|^Validation|\.Malformed$|Mismatch$"), Invalid),
)
_ENTERING = frozenset({"AssumeRole", "GetCallerIdentity"})  # a refusal of these shuts the account, not one action
_ENCODED = re.compile(r"\s*Encoded authorization failure message:\s*\S+")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]+")
_LENGTH = 300  # characters of an AWS message: the reason stands at its beginning


def outcome_code(parsed: Mapping[str, Any] | None, exception: Exception | None) -> str:
    """A short word for metrics: 'ok', AWS's error code, or the SDK exception's class name."""
    if isinstance(exception, sdk.ClientError):
        parsed = exception.response
    elif exception is not None:
        return type(exception).__name__
    return str((parsed or {}).get("Error", {}).get("Code", "ok"))[:64] or "unknown"


def translate(error: Exception, *, operation: str = "", guard: timedelta | None = None) -> SnapfleetError:
    """The family's error for an SDK exception. `operation` names the call when the exception does not.

    `guard`: the call creates without a token, so where its effect is unknown that long passes before the next look.
    """
    if isinstance(error, SnapfleetError):
        return error
    name = operation or "a call"
    answer = _from_answer(error) if isinstance(error, sdk.ClientError) else _from_sdk(error, name)
    if guard is not None and isinstance(answer, Transient):
        answer.wait, answer.code = guard, "unknown-effect"
    return answer


@contextmanager
def translated(operation: str = "", guard: timedelta | None = None) -> Iterator[None]:
    """The driver's edge: SDK exceptions inside come out as the family."""
    try:
        yield
    except (sdk.BotoCoreError, sdk.ClientError, ResponseParserError) as error:
        raise translate(error, operation=operation, guard=guard) from None


def shorten(message: str) -> str:
    """A message from AWS, fit for an operator's eyes: one line, no encoded blob, no control characters, not long."""
    text = _CONTROL.sub(" ", _ENCODED.sub("", message)).strip().rstrip(".")
    return text if len(text) <= _LENGTH else text[: _LENGTH - 1] + "…"


def _from_answer(error: sdk.ClientError) -> SnapfleetError:
    answer: Mapping[str, Any] = error.response
    code = str(answer.get("Error", {}).get("Code", "")).removeprefix("Client.").removeprefix("Server.")
    message = shorten(str(answer.get("Error", {}).get("Message", "")))
    status = int(answer.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    kind = _kind(code, status)
    if kind is Denied and error.operation_name in _ENTERING:
        kind = CredentialsRefused
    elif code == "AuthFailure" and message.startswith("Not authorized for"):
        kind = Denied  # EC2 says so about an image or a snapshot of somebody else
    text = f"AWS refused {error.operation_name}: {message or 'no reason given'} ({shorten(code) or status})."
    return kind(text, code=_reason(kind, code), **_extra(code))


def _kind(code: str, status: int) -> type[SnapfleetError]:
    if code in _BY_CODE:
        return _BY_CODE[code]
    for pattern, kind in _BY_PATTERN:
        if pattern.search(code):
            return kind
    return Transient if status >= 500 else Invalid


def _reason(kind: type[SnapfleetError], code: str) -> str | None:
    if kind is Invalid and "kms" in code.lower():
        return "kms-key"
    if code == "OptInRequired":
        return "region-not-enabled"
    return None


def _extra(code: str) -> dict[str, Any]:
    if code == "SnapshotCreationPerVolumeRateExceeded":
        return {"wait": timedelta(seconds=20)}  # AWS's page on this error: at least 15 s between two
    if code == "OptInRequired":
        return {"advice": "Enable the region for this account, or take it out of the estate."}
    return {}


def _from_sdk(error: Exception, operation: str) -> SnapfleetError:
    if isinstance(
        error,
        sdk.NoCredentialsError | sdk.PartialCredentialsError | sdk.ProfileNotFound | sdk.CredentialRetrievalError
        | sdk.TokenRetrievalError | sdk.SSOError | sdk.InvalidConfigError | sdk.ConfigParseError,
    ):  # fmt: skip
        return CredentialsRefused(f"There are no usable AWS credentials for {operation} ({type(error).__name__}).")
    if isinstance(error, sdk.ProxyConnectionError):
        return Transient(f"The proxy did not answer for {operation}.", code="proxy")
    if isinstance(error, sdk.SSLError):
        return Transient(f"The TLS connection for {operation} failed.", advice="Check the clock and the CA bundle.")
    if isinstance(error, sdk.HTTPClientError | sdk.ConnectionError | ResponseParserError):
        return Transient(f"AWS did not answer {operation} ({type(error).__name__}).")
    if isinstance(error, sdk.ParamValidationError | sdk.UnknownEndpointError | sdk.InvalidRegionError):
        return Invalid(f"The SDK refused {operation} ({type(error).__name__}).")
    return Internal(f"The SDK failed in {operation} ({type(error).__name__}).")
