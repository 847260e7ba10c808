"""`snapfleet state`: the whole installation as one encrypted file, and back."""

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import click

from admin.cli.command import command, group
from admin.cli.context import Context
from admin.cli.rebuilding import state_rebuild
from admin.state import Summary, back_up, inspect
from admin.state_restore import elsewhere, restore
from tasks.errors import Invalid
from tasks.secrets import Secret

PASSPHRASE = "SNAPFLEET_STATE_PASSPHRASE"  # noqa: S105 - the name of a variable
_SHOWN = ("installation", "made_at", "version", "schema", "key_id", "audit", "rows", "files")
_key_file = click.option(
    "--key-file",
    type=click.Path(dir_okay=False, path_type=Path),
    help=f"A file with the secret; without it {PASSPHRASE}, or the keyboard.",
)
_file = click.argument("file", type=click.Path(dir_okay=False, path_type=Path))


@group(example="snapfleet state backup /backup/snapfleet-2026-12-01.state --key-file /etc/snapfleet/state.key")
def state(_at: Context) -> None:
    """Back this installation up, and put it back."""
    raise click.UsageError("Say backup, show, restore or rebuild.")


@command(name="backup", example="snapfleet state backup snapfleet.state --key-file state.key")
@_file
@_key_file
def state_backup(at: Context, file: Path, key_file: Path | None) -> None:
    """Write catalog, master key and settings into one encrypted file.

    While everything runs; then the file is read back and checked. With SNAPFLEET_KEY_COMMAND the master key is not in
    it. Keep the passphrase or key file where this installation cannot be lost with it.
    """
    at.open()
    secret = _secret(key_file, twice=True)
    _say(at, back_up(at.settings, file, secret, at.clock.timer()), f"Backed up into {file}, and read back.")


@command(name="show", example="snapfleet state show snapfleet.state --key-file state.key")
@_file
@_key_file
def state_show(at: Context, file: Path, key_file: Path | None) -> None:
    """Check a backup to its last byte, and say what is in it."""
    _say(at, inspect(file, _secret(key_file)), f"{file} is whole.")


@command(name="restore", example="snapfleet state restore snapfleet.state --key-file state.key --dry-run")
@_file
@_key_file
@click.option("--dry-run", is_flag=True, help="Check everything, and change nothing.")
@click.option("--force", is_flag=True, help="Lose the installation that is there.")
def state_restore(at: Context, file: Path, key_file: Path | None, dry_run: bool, force: bool) -> None:
    """Put an installation back from its backup.

    Into an empty home and an empty catalog, on either database. Make sure that nothing of the lost installation runs
    any more. What was begun after the backup is found again by its tags when its slot runs anew.
    """
    found = restore(at.settings, file, _secret(key_file), force=force, who=at.who, dry_run=dry_run)
    done = f"{file} is whole, and can be put back here." if dry_run else "Put back, and compared with the backup."
    others = [] if dry_run else elsewhere(at.settings)
    _say(at, found, done, {"elsewhere": others})
    for name in others if not at.output.json else ():
        variable = f"SNAPFLEET_{name.upper()}"
        at.output.line(f"snapfleet.toml names another {name} than was used here: correct it, or keep {variable} set.")


for _verb in (state_backup, state_show, state_restore, state_rebuild):
    state.add_command(_verb)


def _say(at: Context, found: Summary, text: str, more: Mapping[str, object] = MappingProxyType({})) -> None:
    if at.output.json:
        at.output.value({**found.to_json(), **more})
        return
    at.output.line(text)
    at.output.record(found.to_json(), _SHOWN)


def _secret(key_file: Path | None, *, twice: bool = False) -> Secret:
    """The secret of the file: never an argument, which others on the host could read."""
    if key_file is not None:
        try:
            return Secret(key_file.read_text().strip())
        except (OSError, UnicodeDecodeError):
            raise Invalid(f"The key file {key_file} cannot be read.") from None
    given = os.environ.get(PASSPHRASE, "")
    if not given and sys.stdin.isatty():
        given = click.prompt("Passphrase", hide_input=True, confirmation_prompt=twice, err=True)
    if not given:
        raise Invalid("There is no passphrase.", advice=f"Give --key-file FILE, or set {PASSPHRASE}.")
    return Secret(given)
