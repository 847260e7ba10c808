"""A database's long-term retention in Azure, set from a policy's `keep` and held to it.

"Long-term retention" (Azure SQL documentation): each weekly full backup is kept for the weekly span, the first of each
month for the monthly one, that of one week of the year for the yearly one; a change applies to backups made from then
on. So `keep: {weekly: 4, monthly: 12}` is four weeks of weekly and twelve months of monthly backups.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any

from tasks.errors import Invalid, NotReady
from workers.azure import lro, sql_describe
from workers.azure.clients import Clients
from workers.azure.sql_ids import DatabaseId

NONE = "PT0S"
SPANS = ("weeklyRetention", "monthlyRetention", "yearlyRetention")
_OURS = {"weekly": ("weeklyRetention", "W"), "monthly": ("monthlyRetention", "M"), "yearly": ("yearlyRetention", "Y")}
# The week whose backup is kept for years: the first, so that the calendar's year begins with it.
_WEEK = 1
_SPAN = re.compile(r"P(\d+)([DWMY])")
_UNITS = {"D": ("days", 1), "W": ("days", 7), "M": ("months", 1), "Y": ("months", 12)}
# A policy is a row of the server: setting it took the service moments in every recording.
_PATIENCE = 20.0


def wished(keep: str) -> dict[str, Any]:
    """Azure's policy for a policy's `keep`, as planning writes it: 'weekly=4,monthly=12'. Raises Invalid when it has
    nothing that Azure's long-term retention could keep."""
    counts = dict(one.partition("=")[::2] for one in keep.split(",") if one)
    found = {theirs: f"P{counts[ours]}{unit}" for ours, (theirs, unit) in _OURS.items() if counts.get(ours, "0") != "0"}
    if not found:
        text = "The policy's keep has neither weekly, monthly nor yearly: Azure's long-term retention counts those."
        raise Invalid(text, code="no-long-term-keep", advice="Write keep: {weekly: 4, monthly: 12}, for instance.")
    return {**dict.fromkeys(SPANS, NONE), **found, "weekOfYear": _WEEK if "yearlyRetention" in found else 0}


def hold(
    clients: Clients, parts: DatabaseId, keep: str, now: Mapping[str, Any], proceed: Callable[[], None]
) -> tuple[Mapping[str, Any], list[str]]:
    """Set the long-term retention when it is not as `keep` asks, and read it back: the policy that Azure has then, and
    what is to be told. Raises the SDK's errors, Invalid."""
    wish = wished(keep)
    if not drift(now, wish):
        return now, []
    proceed()
    told = [f"Azure's long-term retention was not as the policy asks and is set: {'; '.join(drift(now, wish))}."]
    method = clients.sql.long_term_retention_policies.begin_create_or_update
    try:
        lro.finish(_PATIENCE, method, *parts.place, "default", {"properties": wish})
    except NotReady:
        return now, [*told, "Azure takes its time over that: the next run looks again."]
    after = sql_describe.retention(clients, parts)["long_term"]
    left = drift(after, wish)
    return after, [*told, *([f"Azure keeps it otherwise all the same: {'; '.join(left)}."] if left else [])]


def drift(now: Mapping[str, Any], wish: Mapping[str, Any]) -> list[str]:
    """What of a database's long-term retention is not as wished, one text each; twelve months are a year."""
    found = [
        f"{name} {now.get(name, NONE)} instead of {wish[name]}"
        for name in SPANS
        if _span(str(now.get(name, NONE))) != _span(str(wish[name]))
    ]
    if wish["weekOfYear"] and now.get("weekOfYear") != wish["weekOfYear"]:
        found.append(f"weekOfYear {now.get('weekOfYear', 0)} instead of {wish['weekOfYear']}")
    return found


def _span(text: str) -> tuple[str, int] | str:
    found = _SPAN.fullmatch(text)
    if found is None:
        return text
    unit, worth = _UNITS[found[2]]
    return unit, int(found[1]) * worth
