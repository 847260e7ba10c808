"""Paces that the whole fleet shares: how far ahead of time the next call of a name is due (GCRA, one instant a name).

The coordinator spends what it publishes. For all other calls a worker takes a few at a time and counts them in memory,
so that no call costs a question to the catalog; what a worker that died had taken comes back as time passes. A throttle
lowers the share of the whole fleet at once, whoever used the cloud's limit up.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from peewee import SQL

from tasks import limits
from tasks.catalog.bulk import array_of
from tasks.catalog.database import database
from tasks.catalog.estate import Account
from tasks.catalog.fields import is_postgres
from tasks.catalog.fleet import Budget
from tasks.limits import Limits, Pace

_SPEND = """
INSERT INTO budget (name, tat_at, share)
SELECT u.name, %(at)s::timestamptz + u.micros * interval '1 microsecond', 1
FROM unnest(%(names)s::text[], %(micros)s::bigint[]) AS u(name, micros)
ON CONFLICT (name) DO UPDATE
SET tat_at = GREATEST(budget.tat_at, %(at)s::timestamptz) + (EXCLUDED.tat_at - %(at)s::timestamptz)"""
_MICROSECOND = timedelta(microseconds=1)
Place = tuple[int, str, str]
"""An account's id, a region, and a family of calls."""


def calls_of(account: int, region: str, family: str) -> str:
    """The name of the pace of one family of calls in a place."""
    return f"calls:{account}:{region}:{family}"


def spend(amounts: Mapping[str, timedelta], at: datetime) -> None:
    """Move each name's instant ahead, from `at` or from where it is already. Call inside a transaction.

    Rows are locked in the order of their names, so that no two coordinators wait for each other.
    """
    if not amounts:
        return
    if is_postgres(database):
        names = sorted(amounts)
        micros = array_of([amounts[name] // _MICROSECOND for name in names])
        database.execute_sql(_SPEND, {"at": at, "names": array_of(names), "micros": micros})
        return
    for name in sorted(amounts):
        row = Budget.get_or_none(Budget.name == name)
        base = max(at, row.tat_at) if row is not None else at
        _write(name, tat_at=base + amounts[name])


def take_calls(name: str, usual: Pace, wanted: int, at: datetime, *, anyway: bool = False) -> int:
    """Take up to `wanted` calls from a pace; how many there were. `anyway` takes all of them: what goes ahead of
    others runs into debt, and the others wait for that. Call inside a transaction."""
    row = _held(name, at)
    pace = usual.scaled(limits.share_at(row.share, row.lowered_at, at))
    count = wanted if anyway else min(wanted, pace.allowed(row.tat_at, at))
    if count:
        Budget.update(tat_at=pace.spent(row.tat_at, at, count)).where(Budget.name == name).execute()
    return count


def lower(name: str, usual: Pace, at: datetime) -> float:
    """The cloud throttled a call of this pace: its bucket is empty, and the fleet's share of it goes down. The new
    share. Call inside a transaction."""
    row = _held(name, at)
    share = limits.lowered(row.share, row.lowered_at, at)
    if share != row.share:
        pace = usual.scaled(share)
        due = max(row.tat_at, at + pace.worth(pace.burst))
        Budget.update(share=share, lowered_at=at, tat_at=due).where(Budget.name == name).execute()
    return share


def read_limits() -> dict[int, Limits]:
    """The limits of the accounts that have some of their own, by account."""
    found: Any = Account.select(Account.id, Account.settings).where(SQL("settings <> '{}'"))
    return {number: Limits.of(settings) for number, settings in found.tuples() if settings.get("limits")}


def read_paces(at: datetime) -> dict[Place, tuple[datetime, float]]:
    """Of each pace that is not as it would be by itself: its instant, and the share it has now."""
    found: dict[Place, tuple[datetime, float]] = {}
    query: Any = Budget.select(Budget.name, Budget.tat_at, Budget.share, Budget.lowered_at).where(
        Budget.name.startswith("calls:"), (Budget.tat_at > at) | Budget.lowered_at.is_null(False)
    )
    for name, tat_at, share, lowered_at in query.tuples():
        _, account, region, family = name.split(":", 3)
        found[int(account), region, family] = (tat_at, limits.share_at(share, lowered_at, at))
    return found


def _held(name: str, at: datetime) -> Budget:
    """The row, made when there is none, locked until the transaction ends."""
    Budget.insert(name=name, tat_at=at).on_conflict_ignore().execute()
    query: Any = Budget.select().where(Budget.name == name)
    row: Budget = (query.for_update("FOR UPDATE") if is_postgres(database) else query).get()
    return row


def _write(name: str, **columns: object) -> None:
    update = {getattr(Budget, column): value for column, value in columns.items()}
    Budget.insert(name=name, **columns).on_conflict(conflict_target=[Budget.name], update=update).execute()
