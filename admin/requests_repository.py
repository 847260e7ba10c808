"""Wishes about repositories: each is one row that a coordinator picks up, with an audit row beside it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from admin.queries_repository import find_repository
from admin.requests import request
from tasks.clock import Clock
from tasks.errors import Invalid


@dataclass(frozen=True)
class ImportWish:
    """Which snapshots of others a repository is to take in, and how long they stay there ('' and empty: any, always).

    `since` and `until` are ISO dates or times, UTC unless they say otherwise; `until` is exclusive.
    """

    account: str
    region: str
    tags: Mapping[str, str] = field(default_factory=dict)
    since: str = ""
    until: str = ""
    volumes: Sequence[str] = ()
    policy: str = ""
    keep: str = ""
    dry_run: bool = False

    def to_json(self) -> dict[str, Any]:
        """Only what was asked for. Raises Invalid for a time that is none."""
        found = {
            "account": self.account,
            "region": self.region,
            "tags": dict(self.tags),
            "since": _moment("--since", self.since),
            "until": _moment("--until", self.until),
            "volumes": list(self.volumes),
            "policy": self.policy,
            "keep": self.keep,
            "dry_run": self.dry_run,
        }
        return {name: value for name, value in found.items() if value}


def _moment(option: str, text: str) -> str:
    if not text:
        return ""
    try:
        given = datetime.fromisoformat(text)
    except ValueError:
        raise Invalid(f"{option} does not take {text!r}.", advice="Write a date such as 2026-01-31.") from None
    return (given if given.tzinfo else given.replace(tzinfo=UTC)).isoformat()


def request_import(repository: str, wish: ImportWish, *, who: str, clock: Clock) -> int:
    """Ask for snapshots of others in a repository; the wish's id."""
    find_repository(repository)
    payload = {"repository": repository, **wish.to_json()}
    return request("import", payload, subject=f"repository {repository}", who=who, clock=clock)
