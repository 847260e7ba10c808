"""The error family. Every error answers: try again? whose fault? what should the operator do? which exit code?

Rules
1. A cloud's error code is translated once, at the driver's edge; above it only this family exists.
2. The text is one sentence without secrets and without a traceback, safe to show to an operator.
3. `retry` is the whole retry verdict: handlers and the coordinator read it and never look at codes.
4. A class is a verdict; the `code` says which case it was and is what tests, metrics and alerts name.
"""

from datetime import timedelta
from enum import IntEnum, StrEnum


class Retry(StrEnum):
    """What the next step of a failed attempt is."""

    NEVER = "never"  # the same call would fail the same way: tell the operator
    ATTEMPT = "attempt"  # again after a pause; counts as an attempt
    FREE = "free"  # again after a pause; the cloud asked us to wait, so it burns no attempt, for a day at most


class Exit(IntEnum):
    """Exit codes of the command line (fixed surface)."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    PARTLY = 3
    REFUSED = 4


class SnapfleetError(Exception):
    """Base of the family. `code` is a short kebab-case reason; `advice` says what to do next."""

    retry = Retry.NEVER
    exit = Exit.FAILED
    code = "failed"
    advice = ""
    wait = timedelta(0)
    renews = False  # of Retry.FREE: what we wait for is seen to be under way, so that the day begins anew

    def __init__(
        self, text: str, *, code: str | None = None, advice: str | None = None, wait: timedelta | None = None
    ) -> None:
        super().__init__(text)
        self.text = text
        self.code = code or type(self).code
        self.advice = type(self).advice if advice is None else advice
        self.wait = type(self).wait if wait is None else wait

    def __str__(self) -> str:
        return f"{self.text} {self.advice}".strip()


class Throttled(SnapfleetError):
    """The cloud asked us to slow down: wait, burn no attempt. After several in a row others go first there."""

    retry, code, wait = Retry.FREE, "throttled", timedelta(seconds=10)


class QuotaReached(SnapfleetError):
    """No slot is free just now (copies in flight, snapshots pending): wait for one, burn no attempt."""

    retry, code, wait = Retry.FREE, "quota-reached", timedelta(seconds=60)


class NotReady(SnapfleetError):
    """The resource is in a state in which the cloud refuses the call; it usually passes."""

    retry, code, wait = Retry.ATTEMPT, "not-ready", timedelta(seconds=60)


class Transient(SnapfleetError):
    """The cloud or the network failed; whether the call took effect may be unknown."""

    retry, code, wait = Retry.ATTEMPT, "transient", timedelta(seconds=15)


class CredentialsExpired(SnapfleetError):
    """The session ran out: new credentials are fetched, then the call goes again."""

    retry, code, wait = Retry.ATTEMPT, "credentials-expired", timedelta(seconds=1)


class CredentialsRefused(SnapfleetError):
    """The account cannot be entered at all: role, external id or key are wrong. Isolates that account."""

    code = "credentials-refused"
    advice = "Check the role and the external id with `snapfleet doctor`."


class Denied(SnapfleetError):
    """An action that the role does not allow."""

    code = "denied"
    advice = "Allow the action for this role, then run again."


class Gone(SnapfleetError):
    """What the call names does not exist (any more)."""

    code = "gone"


class InUse(SnapfleetError):
    """Something else still needs what should be deleted."""

    retry, code, wait = Retry.ATTEMPT, "in-use", timedelta(minutes=5)


class Impossible(SnapfleetError):
    """The cloud can never do this (a default key shared across accounts, say): refused with its reason."""

    code, exit = "impossible", Exit.REFUSED


class Invalid(SnapfleetError):
    """The request is wrong: a parameter the cloud refuses, a setting, a file."""

    code, exit = "invalid", Exit.USAGE


class CloudFailed(SnapfleetError):
    """The operation was accepted and then failed in the cloud (a snapshot in state error)."""

    retry, code, wait = Retry.ATTEMPT, "cloud-failed", timedelta(minutes=1)


class Internal(SnapfleetError):
    """Our own defect: recorded with its type, never with its traceback in a message."""

    retry, code, wait = Retry.ATTEMPT, "internal", timedelta(seconds=30)


class Unavailable(SnapfleetError):
    """The catalog or the broker cannot be reached."""

    retry, code, wait = Retry.FREE, "unavailable", timedelta(seconds=5)


class Refused(SnapfleetError):
    """A guard said no: a floor, a lock, a brake, a missing confirmation."""

    code, exit = "refused", Exit.REFUSED


class FenceLost(SnapfleetError):
    """Somebody else holds the job by now: this attempt must stop and write nothing."""

    code = "fence-lost"
