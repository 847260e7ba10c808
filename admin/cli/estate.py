"""`snapfleet apply` and `snapfleet export`: the estate as code."""

import sys
from pathlib import Path

import click

from admin.cli.command import command
from admin.cli.context import Context
from admin.estate import write_estate
from admin.estate_catalog import apply_estate, current_estate, points_left
from admin.estate_plan import Change, EstatePlan
from tasks.errors import Invalid

_SIGNS = {"add": "+", "change": "~", "remove": "-"}
_DONE = {"add": "added", "change": "changed", "remove": "removed"}


@command(example="snapfleet apply -f estate.yaml --dry-run")
@click.option("-f", "--file", "file", required=True, metavar="FILE", help="The estate file; - reads standard input.")
@click.option("--dry-run", is_flag=True, help="Print what would change, and change nothing.")
@click.option("--prune", is_flag=True, help="Remove what the file does not name. Recovery points stay.")
def apply(at: Context, file: str, dry_run: bool, prune: bool) -> None:
    """Make the estate as a file says.

    Everything in the file is checked before anything is written: a wrong file changes nothing. Applying the same file
    twice changes nothing. What the file does not name stays, unless --prune is given. Of what changed policies mean
    just now it says what would not be copied or kept as they ask, with the cloud's reason; and of places that a policy
    stops naming how many points lie there and by which rule they go on.
    """
    text = _read(file)
    clock = at.clock
    plan = apply_estate(
        text,
        name="standard input" if file == "-" else file,
        key=at.settings.master_key(),
        clock=clock,
        who=at.who,
        prune=prune,
        dry_run=dry_run,
    )
    if at.output.json:
        at.output.value({**plan.to_json(), "dry_run": dry_run})
        return
    _print(at, plan, dry_run)


def _print(at: Context, plan: EstatePlan, dry_run: bool) -> None:
    for change in plan.changes:
        at.output.line(f"{_SIGNS[change.action]} {change.section} {change.name}")
        for item in change.fields if change.action == "change" else ():
            at.output.line(f"    {item.field}: {_shown(item.before)} -> {_shown(item.after)}")
        _warn(at, change)
    for section, name in plan.left:
        at.output.line(f"  {section} {name} is not in the file and stays (--prune removes it)")
    for cost in plan.costs:
        at.output.line(f"! {cost['policy']}, dr {cost['destination']}: {cost['text']}")
    for one in plan.unmet:
        some = f"{one['count']} of {one['type']}, as {one['example']}"
        at.output.line(f"! {one['policy']}, {one['what']}: not for {some}: {one['text']}")
    for one in plan.kept:
        at.output.line(f"! {one['policy']}, {one['destination']}: {one['points']} points there {one['text']}")
    if not plan.changes:
        at.output.line("Nothing to change.")
        return
    counts = {word: sum(item.action == word for item in plan.changes) for word in _SIGNS}
    if dry_run:
        words = ", ".join(f"{count} to {word}" for word, count in counts.items() if count)
        at.output.line(f"Dry run: {words}; nothing was changed.")
        return
    at.output.line("Applied: " + ", ".join(f"{count} {_DONE[word]}" for word, count in counts.items() if count) + ".")


def _warn(at: Context, change: Change) -> None:
    if change.section == "accounts" and change.action == "remove":
        count = points_left(change.name)
        if count:
            at.output.line(f"    it holds {count} recovery points, which stay and are no longer cleaned up")


def _shown(value: object) -> str:
    return "(nothing)" if value is None else str(value)


def _read(file: str) -> str:
    try:
        return sys.stdin.read() if file == "-" else Path(file).read_text(encoding="utf-8")
    except OSError as error:
        raise Invalid(f"{file} cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise Invalid(f"{file} is not UTF-8 text.") from None


@command(example="snapfleet export > estate.yaml")
def export(at: Context) -> None:
    """Print the estate as a file.

    The file applies again as it is. Secrets are never exported: it names where each one is read.
    """
    at.open()
    estate = current_estate()
    if at.output.json:
        at.output.value(
            {name: dict(estate.section(name)) for name in ("accounts", "schedules", "repositories", "policies")}
        )
        return
    at.output.stream.write(write_estate(estate))
