"""Wishes about repositories: each is one row that a coordinator picks up, with an audit row beside it."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from admin.estate_checks import kms_key as checked_kms
from admin.estate_checks import name as checked_name
from admin.estate_checks import secret as checked_secret
from admin.estate_secrets import read_key_file
from admin.queries import find_point
from admin.queries_repository import find_repository
from admin.requests import request
from tasks.catalog import session
from tasks.clock import Clock
from tasks.errors import Invalid
from tasks.secrets import KeyWrapper, seal
from tasks.settings import read_secret


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


def request_archive(point: str, repository: str = "", *, who: str, clock: Clock) -> int:
    """Ask that a point is archived at once, into its policy's repository where none is named; the wish's id."""
    with session():
        row = find_point(point)
    if repository:
        find_repository(repository)
    payload = {"point": row.id, **({"repository": repository} if repository else {})}
    return request("archive", payload, subject=f"rp-{row.id}", who=who, clock=clock)


def _checked(option: str, check: Callable[[Any], Any], given: str) -> None:
    """As the estate file checks it. Raises Invalid."""
    try:
        check(given) if given else None
    except ValueError as error:
        raise Invalid(f"{option} {error}.") from None


def request_keys(name: str, action: str, options: Mapping[str, str], *, who: str, clock: Clock) -> int:
    """Ask for something to be done with a repository's key slots: list, add, remove or rotate; the wish's id."""
    find_repository(name)
    payload = {"name": name, "action": action, **options}
    return request("keys", payload, subject=f"repository {name}", who=who, clock=clock)


def checked_arn(arn: str) -> str:
    """The ARN of a key of AWS KMS. Raises Invalid for anything else."""
    _checked("--kms-key", checked_kms, arn)
    return arn


def sealed_key(name: str, reference: str, master: KeyWrapper) -> str:
    """The passphrase that `env:NAME` or `file:PATH` names, sealed for its way to a worker. Raises Invalid."""
    _checked("--key", checked_secret, reference)
    return seal(master, read_secret(reference, os.environ), f"repository.slot.{name}")


def sealed_file(name: str, file: Path, master: KeyWrapper) -> str:
    """A key file's content, sealed for its way to a worker. Raises Invalid for one that is short or cannot be read."""
    return seal(master, read_key_file(file), f"repository.slot.{name}")


@dataclass(frozen=True)
class AdoptWish:
    """A repository to be taken over: its address, and for one that the estate has not, how it is called and entered.

    `key` is what opens it, sealed for that name; empty where the estate has it, or KMS.
    """

    url: str
    name: str = ""
    account: str = ""
    region: str = ""
    key: Mapping[str, str] = field(default_factory=dict)
    dry_run: bool = False


def request_adopt(wish: AdoptWish, *, who: str, clock: Clock) -> int:
    """Ask that a repository's archives become recovery points; the wish's id.

    Raises Invalid for an address that is none, and a name that no estate file could have.
    """
    _checked("--name", checked_name, wish.name)
    if not wish.url.startswith(("s3://", "azure://")):
        advice = "Write s3://BUCKET/PREFIX or azure://ACCOUNT/CONTAINER/PREFIX."
        raise Invalid(f"{wish.url!r} is no address of a repository.", advice=advice)
    given = {name: value for name, value in asdict(wish).items() if value and name != "key"} | dict(wish.key)
    return request("adopt", given, subject=f"repository {wish.name or wish.url}", who=who, clock=clock)


@dataclass(frozen=True)
class DeleteWish:
    """A repository that is to go: by the name that the estate has for it, or by its address, account and region."""

    name: str = ""
    url: str = ""
    account: str = ""
    region: str = ""


def request_deletion(wish: DeleteWish, confirm: str = "", *, who: str, clock: Clock) -> int:
    """Ask what would go, or with `confirm` (the address) that it goes; the wish's id.

    Raises Invalid unless it is a name that there is or an address, and not both.
    """
    if bool(wish.name) == bool(wish.url):
        raise Invalid("Which repository is not clear.", advice="Give its name, or --path with --account and --region.")
    if wish.name:
        find_repository(wish.name)
    elif not wish.url.startswith(("s3://", "azure://")):
        advice = "Write s3://BUCKET/PREFIX or azure://ACCOUNT/CONTAINER/PREFIX."
        raise Invalid(f"{wish.url!r} is no address of a repository.", advice=advice)
    given = {name: value for name, value in {**asdict(wish), "confirm": confirm}.items() if value}
    return request("delete", given, subject=f"repository {wish.name or wish.url}", who=who, clock=clock)
