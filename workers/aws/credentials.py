"""Credentials of an assumed role: fetched at first use, renewed ahead of their end, never written anywhere."""

import logging
import re
from collections.abc import Callable
from typing import Any

from botocore.credentials import DeferredRefreshableCredentials

from tasks.secrets import Secret

# AssumeRole, RoleSessionName: 2 to 64 characters of [\w+=,.@-] (STS API reference); botocore checks only the minimum.
_NOT_IN_SESSION_NAME = re.compile(r"[^A-Za-z0-9_+=,.@-]")
_SESSION_NAME_LENGTH = 64
# One hour: the default of a role, and the most that AWS allows when a role assumes a role.
_SECONDS = 3600


def _without_traceback(record: logging.LogRecord) -> bool:
    record.exc_info = None
    return True


# botocore logs a traceback for every role that it may not assume; the error itself is raised and shown as a sentence
logging.getLogger("botocore.credentials").addFilter(_without_traceback)


def session_name(account_name: str) -> str:
    """A valid RoleSessionName that tells the account's owner who came: it is what CloudTrail shows."""
    return ("snapfleet-" + _NOT_IN_SESSION_NAME.sub("-", account_name))[:_SESSION_NAME_LENGTH]


def assumed_role(
    sts: Callable[[], Any], role_arn: str, external_id: Secret, account_name: str
) -> DeferredRefreshableCredentials:
    """Credentials of `role_arn`; botocore renews them from 15 minutes before their end, under its own lock.

    `sts` makes the client that assumes the role. Its errors come out of the call that needed the credentials.
    """

    def fetch() -> dict[str, str]:
        request = {"RoleArn": role_arn, "RoleSessionName": session_name(account_name), "DurationSeconds": _SECONDS}
        if external_id:
            request["ExternalId"] = external_id.reveal()
        got = sts().assume_role(**request)["Credentials"]
        return {
            "access_key": got["AccessKeyId"],
            "secret_key": got["SecretAccessKey"],
            "token": got["SessionToken"],
            "expiry_time": got["Expiration"].isoformat(),
        }

    return DeferredRefreshableCredentials(refresh_using=fetch, method="snapfleet-assume-role")
