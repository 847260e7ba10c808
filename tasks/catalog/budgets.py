"""Paces that the whole fleet shares: how far ahead of time the next call of a name is due (GCRA, one instant a name).

The coordinator spends what it publishes; a worker that a cloud throttles spends the rest, so that admission starts
less there at once, whoever used the cloud's limit up.
"""

import json
from collections.abc import Mapping
from datetime import datetime, timedelta

from tasks.catalog.database import database
from tasks.catalog.fields import is_postgres
from tasks.catalog.fleet import Budget

_SPEND = """
INSERT INTO budget (name, tat_at)
SELECT u.name, %(at)s::timestamptz + u.seconds * interval '1 second'
FROM json_to_recordset(%(spent)s::json) AS u(name text, seconds double precision) ORDER BY u.name
ON CONFLICT (name) DO UPDATE
SET tat_at = GREATEST(budget.tat_at, %(at)s::timestamptz) + (EXCLUDED.tat_at - %(at)s::timestamptz)"""


def starts_of(account: int, region: str) -> str:
    """The name of the pace at which work is started in a place."""
    return f"starts:{account}:{region}"


def spend(amounts: Mapping[str, timedelta], at: datetime) -> None:
    """Move each name's instant ahead, from `at` or from where it is already. Call inside a transaction.

    Rows are locked in the order of their names, so that no two coordinators wait for each other.
    """
    if not amounts:
        return
    if is_postgres(database):
        spent = [{"name": name, "seconds": amounts[name].total_seconds()} for name in sorted(amounts)]
        database.execute_sql(_SPEND, {"at": at, "spent": json.dumps(spent)})
        return
    for name in sorted(amounts):
        row = Budget.get_or_none(Budget.name == name)
        base = max(at, row.tat_at) if row is not None else at
        due = base + amounts[name]
        Budget.insert(name=name, tat_at=due).on_conflict(
            conflict_target=[Budget.name], update={Budget.tat_at: due}
        ).execute()
