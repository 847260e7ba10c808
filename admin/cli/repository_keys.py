"""`snapfleet repository keys`, `add-key`, `remove-key`, `rotate-key`: who can open a repository."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from admin.cli.command import command
from admin.cli.context import Context
from admin.cli.output import columns
from admin.cli.repository_work import follow_work
from admin.requests_repository import checked_arn, request_keys, sealed_file, sealed_key
from tasks.errors import Invalid

F = TypeVar("F", bound=Callable[..., Any])
_SLOTS = columns("slot", "kind", "workers use it=estate")
_wait = click.option("--wait", is_flag=True, help="Wait until a worker has done it, and exit by its outcome.")


@command(name="keys", example="snapfleet repository keys cold")
@click.argument("name")
def repository_keys(at: Context, name: str) -> int | None:
    """List the key slots of a repository.

    Each opens it: by a passphrase, a key file or a key in AWS KMS. Waits for the worker that looks.
    """
    return _ask(at, name, "list", {}, True)


def key_options(command: F) -> F:
    """The three ways to name a key, as options of a command."""
    for option in (
        click.option("--kms-key", "--kms", "kms", default="", metavar="ARN", help="A key of AWS KMS."),
        click.option("--key-file", type=click.Path(path_type=Path), help="A file of at least 32 random bytes."),
        click.option("--key", default="", metavar="env:NAME", help="A passphrase, read there, or from file:PATH."),
    ):
        command = option(command)
    return command


def chosen_key(at: Context, name: str, key: str, key_file: Path | None, kms: str) -> dict[str, str]:
    """The one key that was named, sealed for its way to a worker; empty for none. Raises Invalid."""
    if sum(map(bool, (key, key_file, kms))) > 1:
        raise Invalid("Give one of --key, --key-file and --kms-key.")
    if kms:
        return {"how": "kms", "kms_key": checked_arn(kms), "reference": kms}
    if key_file is not None:
        sealed = sealed_file(name, key_file, at.settings.master_key())
        return {"how": "file", "key_sealed": sealed, "reference": str(key_file.absolute())}
    if key:
        return {"how": "passphrase", "key_sealed": sealed_key(name, key, at.settings.master_key()), "reference": key}
    return {}


def _some_key(at: Context, name: str, key: str, key_file: Path | None, kms: str) -> dict[str, str]:
    found = chosen_key(at, name, key, key_file, kms)
    if not found:
        raise Invalid("Give one of --key, --key-file and --kms-key.")
    return found


@command(name="add-key", example="snapfleet repository add-key cold --kms-key arn:aws:kms:us-east-1:111111111111:key/k")
@click.argument("name")
@key_options
@_wait
def repository_add_key(at: Context, name: str, key: str, key_file: Path | None, kms: str, wait: bool) -> int | None:
    """Let another key open a repository; nothing in it is written anew.

    For a second person, a safe, or a key that never leaves KMS. `python -m workers.repository` takes each kind.
    """
    at.open()
    return _ask(at, name, "add", _some_key(at, name, key, key_file, kms), wait)


@command(name="remove-key", example="snapfleet repository remove-key cold 0123456789abcdef")
@click.argument("name")
@click.argument("slot")
@_wait
def repository_remove_key(at: Context, name: str, slot: str, wait: bool) -> int | None:
    """Remove a key slot, but never the one that workers use, nor the last.

    Whoever had the key may have kept what it opened: what was readable to them stays so.
    """
    return _ask(at, name, "remove", {"slot": slot}, wait)


@command(name="rotate-key", example="snapfleet repository rotate-key cold --key env:COLD_KEY_2")
@click.argument("name")
@key_options
@_wait
def repository_rotate_key(at: Context, name: str, key: str, key_file: Path | None, kms: str, wait: bool) -> int | None:
    """Exchange the key that workers open a repository by; nothing in it is written anew.

    For a key of the same or another kind: workers use the new one from then on, and the old one opens nothing any more.
    Write it into the estate file before that is applied again.
    """
    at.open()
    return _ask(at, name, "rotate", _some_key(at, name, key, key_file, kms), wait)


def _ask(at: Context, name: str, action: str, options: dict[str, str], wait: bool) -> int | None:
    at.open()
    number = request_keys(name, action, options, who=at.who, clock=at.clock)
    said = f"Asked a worker; see `snapfleet repository keys {name}`."
    return follow_work(at, number, lambda _: said, what=f"{action} a key of {name}", wait=wait, rows=("slots", _SLOTS))
