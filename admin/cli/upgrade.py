"""`snapfleet upgrade` and `version`."""

from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed

import click

from admin.cli.command import command
from admin.cli.context import Context
from tasks.catalog.migrate import migrate, pending


@command(example="snapfleet upgrade --dry-run")
@click.option("--dry-run", is_flag=True, help="Print what is missing, and change nothing.")
def upgrade(at: Context, dry_run: bool) -> None:
    """Bring the catalog to this version's schema.

    Two at once do no harm: one waits. Stop processes of the version before when a step is called `post`.
    """
    at.open(current=False)
    names = pending() if dry_run else migrate()
    words = "Missing" if dry_run else "Applied"
    text = f"{words}: {', '.join(names)}." if names else "The catalog has this version's schema."
    at.output.result({"applied": [] if dry_run else names, "missing": names if dry_run else []}, text)


@command(example="snapfleet version")
def version(at: Context) -> None:
    """Print the version."""
    try:
        found = installed("snapfleet")
    except PackageNotFoundError:
        found = "unknown"
    at.output.result({"version": found}, f"snapfleet {found}")
