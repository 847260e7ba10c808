"""`snapfleet alerts`: what is wrong."""

import click

from admin.cli.command import command
from admin.cli.context import Context
from admin.cli.output import columns
from admin.queries import LIMIT
from admin.queries_estate import list_alerts

_ALERTS = columns("severity", "title", "text", "count#", "raised=raised_at", "seen=seen_at", "cleared=cleared_at")


@command(example="snapfleet alerts --all")
@click.option("--all", "every", is_flag=True, help="Cleared ones, too.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=LIMIT, show_default=True, help="The newest so many.")
def alerts(at: Context, every: bool, limit: int) -> None:
    """List open alerts.

    An alert stays open while its cause lasts and clears by itself.
    """
    at.open()
    at.output.rows(list_alerts(every=every, limit=limit), _ALERTS, "No open alerts.")
