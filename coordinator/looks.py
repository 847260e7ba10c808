"""How fresh the looks at accounts are, and asking for new ones: read once a round, for all runs and policies."""

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache, lru_cache
from typing import NamedTuple

from coordinator.standing import Place, wake_all
from tasks.catalog import Account, Job, Scan, rows
from tasks.catalog.transitions import BATCH
from tasks.lanes import Lane
from tasks.resources import TYPES
from tasks.states import JobState

# A look that was asked for this long ago is on its way, or has just failed: asking again would only repeat it.
JUST_ASKED = timedelta(seconds=30)
Scope = tuple[str, str, str]  # account's name, region, service


class Usable(NamedTuple):
    """What looks need to know of an account that is in use."""

    name: str
    id: int
    cloud: str
    regions: Sequence[str]


@dataclass(frozen=True)
class Looks:
    """The usable accounts by name; by scope when the last good look began, when one was asked for, and which failed."""

    accounts: Mapping[str, Usable]
    finished: Mapping[Scope, datetime]
    wanted: Mapping[Scope, datetime]
    failed: Mapping[Scope, tuple[datetime, str]]

    @property
    def regions(self) -> dict[str, tuple[str, ...]]:
        """Each account's regions."""
        return {name: tuple(row.regions) for name, row in self.accounts.items()}

    def stale(self, scopes: Iterable[Scope], since: datetime) -> list[Scope]:
        """Those without a good look that began since then. A service that the account's cloud has not is no matter."""
        return sorted(
            scope
            for scope in scopes
            if scope[2] in services_of(self.accounts[scope[0]].cloud)
            and (scope not in self.finished or self.finished[scope] < since)
        )

    def refusal(self, scope: Scope, since: datetime) -> str:
        """Why a look failed since then; '' when none has been answered that way."""
        failed_at, text = self.failed.get(scope, (since, ""))
        return text if failed_at >= since else ""


@cache
def services_of(cloud: str) -> frozenset[str]:
    """The services of a cloud that are looked at."""
    return frozenset(kind.service for kind in TYPES.values() if kind.cloud == cloud)


@lru_cache(maxsize=1024)  # most accounts have the same
def _regions(text: str) -> tuple[str, ...]:
    return tuple(json.loads(text))


def read_looks() -> Looks:
    """The state of all looks at usable accounts: three statements."""
    columns = [Account.name, Account.id, Account.cloud, Account.regions.cast("text")]
    known = rows(Account.select(*columns).where(Account.enabled))
    accounts = {name: Usable(name, number, cloud, _regions(text)) for name, number, cloud, text in known}
    names = {row.id: name for name, row in accounts.items()}
    finished, wanted, failed = {}, {}, {}
    scans = Scan.select(Scan.account, Scan.region, Scan.service, Scan.finished_at, Scan.wanted_at)
    for account, region, service, finished_at, wanted_at in rows(scans):
        if account in names and finished_at is not None:
            finished[names[account], region, service] = finished_at
        if account in names and wanted_at is not None:
            wanted[names[account], region, service] = wanted_at
    refused = Job.select(Job.account, Job.region, Job.service, Job.finished_at, Job.error_text).where(
        Job.lane == Lane.DISCOVER, Job.kind == "discover", Job.state == JobState.FAILED
    )
    for account, region, service, finished_at, text in rows(refused):
        if account in names:
            failed[names[account], region, service] = (finished_at, text or "the look failed.")
    return Looks(accounts, finished, wanted, failed)


def ask_for_looks(looks: Looks, scopes: Collection[Scope], at: datetime, *, again: bool = False) -> list[int]:
    """Wake the discover jobs of scopes, except (without `again`) those asked for a moment ago; their ids.

    Call inside a transaction.
    """
    due = [scope for scope in scopes if again or not _just_asked(looks, scope, at)]
    wanted = [
        {"account": looks.accounts[account].id, "region": region, "service": service, "wanted_at": at}
        for account, region, service in due
    ]
    for start in range(0, len(wanted), BATCH):
        Scan.insert_many(wanted[start : start + BATCH]).on_conflict(
            conflict_target=[Scan.account, Scan.region, Scan.service], update={Scan.wanted_at: at}
        ).execute()
    places = [_place(looks.accounts[account], region, service) for account, region, service in due]
    return wake_all("discover", Lane.DISCOVER, places, at)


def _just_asked(looks: Looks, scope: Scope, at: datetime) -> bool:
    return scope in looks.wanted and timedelta(0) <= at - looks.wanted[scope] < JUST_ASKED


def _place(account: Usable, region: str, service: str) -> Place:
    types = [name for name, kind in TYPES.items() if kind.service == service and kind.cloud == account.cloud]
    return Place(account.id, region, service, {"types": types})
