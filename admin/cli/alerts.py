"""`snapfleet alerts` and `audit`: what is wrong, and who asked for what."""

from typing import Any

import click

from admin.cli.command import command
from admin.cli.context import Context
from admin.cli.output import columns, shown_value
from admin.queries import LIMIT
from admin.queries_estate import list_alerts, list_audit

_ALERTS = columns("severity", "title", "text", "count#", "raised=raised_at", "seen=seen_at", "cleared=cleared_at")
_AUDIT = columns("at", "who", "action", "subject", "what")


@command(example="snapfleet alerts --all")
@click.option("--all", "every", is_flag=True, help="Cleared ones, too.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=LIMIT, show_default=True, help="The newest so many.")
def alerts(at: Context, every: bool, limit: int) -> None:
    """List open alerts.

    An alert stays open while its cause lasts and clears by itself.
    """
    at.open()
    at.output.rows(list_alerts(every=every, limit=limit), _ALERTS, "No open alerts.")


@command(example="snapfleet audit --limit 20")
@click.option("--limit", type=click.IntRange(1, 10_000), default=LIMIT, show_default=True, help="The newest so many.")
def audit(at: Context, limit: int) -> None:
    """List who asked for what."""
    at.open()
    rows = list_audit(limit=limit)
    shown = rows if at.output.json else [{**row, "what": _what(row["detail"])} for row in rows]
    at.output.rows(shown, _AUDIT, "Nobody has asked for anything yet.")


def _what(detail: dict[str, Any]) -> str:
    """The detail in a table: of a changed record the fields, whose values only JSON shows."""
    if "fields" in detail:
        return ", ".join(dict.fromkeys(item["field"].removesuffix("[]") for item in detail["fields"]))
    return shown_value(detail)
