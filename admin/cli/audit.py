"""`snapfleet audit`: who asked for what, and whether anybody has changed that since."""

from typing import Any

import click

from admin.audit import verify_audit
from admin.cli.command import command, group
from admin.cli.context import Context
from admin.cli.output import columns, shown_value
from admin.queries import LIMIT
from admin.queries_estate import list_audit
from tasks.catalog.audit import Anchor
from tasks.errors import Exit

_AUDIT = columns("row#=id", "at", "who", "action", "subject", "what")
_limit = click.option(
    "--limit", type=click.IntRange(1, 10_000), default=LIMIT, show_default=True, help="The newest so many."
)


@group(example="snapfleet audit --limit 20")
@_limit
def audit(at: Context, limit: int) -> None:
    """List who asked for what.

    The same as `snapfleet audit list`. Rows are a chain, so that a row that somebody changes, removes or puts in is
    noticed by `snapfleet audit verify`.
    """
    _list(at, limit)


@command(name="list", example="snapfleet audit list --limit 20")
@_limit
def audit_list(at: Context, limit: int) -> None:
    """List who asked for what, newest first."""
    _list(at, limit)


def _list(at: Context, limit: int) -> None:
    at.open()
    rows = list_audit(limit=limit)
    shown = rows if at.output.json else [{**row, "what": _what(row["detail"])} for row in rows]
    at.output.rows(shown, _AUDIT, "Nobody has asked for anything yet.")


def _what(detail: dict[str, Any]) -> str:
    """The detail in a table: of a changed record the fields, whose values only JSON shows."""
    if "fields" in detail:
        return ", ".join(dict.fromkeys(item["field"].removesuffix("[]") for item in detail["fields"]))
    return shown_value(detail)


@command(name="verify", example="snapfleet audit verify")
@click.option("--anchor", default="", metavar="COUNT:LINK", help="An end of the chain that was noted earlier.")
def audit_verify(at: Context, anchor: str) -> int:
    """Check that no row was changed, removed or put in.

    Prints the end of the chain. Note it elsewhere: rows that are cut off the end, and nothing else, can only be
    noticed by an end that was noted before. It is also in the coordinator's log and in each `state backup`. Exits with
    1 when something is wrong.
    """
    at.open()
    found = verify_audit(Anchor.parse(anchor) if anchor else None)
    if at.output.json:
        at.output.value(found)
    else:
        for problem in found["problems"]:
            at.output.line(f"{problem['text']} ({problem['code']})")
        more = f" And {found['more']} more." if found["more"] else ""
        said = "The audit is whole" if found["whole"] else "The audit is not as it was written"
        at.output.line(f"{said}: {found['rows']} rows.{more}")
        at.output.line(f"anchor: {found['anchor']}")
    return int(Exit.DONE if found["whole"] else Exit.FAILED)


for _verb in (audit_list, audit_verify):
    audit.add_command(_verb)
