"""`snapfleet repository keys`, `add-key`, `remove-key`, `rotate-key`: who can open a repository."""

from pathlib import Path

import click

from admin.cli.command import command
from admin.cli.context import Context
from admin.cli.output import columns
from admin.cli.repository_work import follow_work
from admin.requests_repository import request_keys, sealed_file, sealed_key
from tasks.errors import Invalid

_SLOTS = columns("slot", "kind", "workers use it=estate")
_wait = click.option("--wait", is_flag=True, help="Wait until a worker has done it, and exit by its outcome.")


@command(name="keys", example="snapfleet repository keys cold")
@click.argument("name")
def repository_keys(at: Context, name: str) -> int | None:
    """List the key slots of a repository.

    Each opens it: by a passphrase, a key file or a key in AWS KMS. Waits for the worker that looks.
    """
    return _ask(at, name, "list", {}, True)


@command(name="add-key", example="snapfleet repository add-key cold --kms arn:aws:kms:us-east-1:111111111111:key/k")
@click.argument("name")
@click.option("--key", default="", metavar="env:NAME", help="A passphrase, read there, or from file:PATH.")
@click.option("--key-file", type=click.Path(path_type=Path), help="A file of at least 32 random bytes.")
@click.option("--kms", default="", metavar="ARN", help="A key of AWS KMS in the repository's account.")
@_wait
def repository_add_key(at: Context, name: str, key: str, key_file: Path | None, kms: str, wait: bool) -> int | None:
    """Let another key open a repository; nothing in it is written anew.

    For a second person, a safe, or a key that never leaves KMS. `python -m workers.repository` takes each kind.
    """
    if sum(map(bool, (key, key_file, kms))) != 1:
        raise Invalid("Give one of --key, --key-file and --kms.")
    at.open()
    master = at.settings.master_key()
    if kms:
        options = {"how": "kms", "kms_key": kms}
    elif key_file is not None:
        options = {"how": "file", "key_sealed": sealed_file(name, key_file, master)}
    else:
        options = {"how": "passphrase", "key_sealed": sealed_key(name, key, master)}
    return _ask(at, name, "add", options, wait)


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
@click.option("--key", required=True, metavar="env:NAME", help="The new passphrase, read there, or from file:PATH.")
@_wait
def repository_rotate_key(at: Context, name: str, key: str, wait: bool) -> int | None:
    """Exchange the passphrase of a repository; nothing in it is written anew.

    Workers use the new one from then on, and the old one opens nothing any more. Write the new `key` into the estate
    file before it is applied again.
    """
    at.open()
    sealed = sealed_key(name, key, at.settings.master_key())
    return _ask(at, name, "rotate", {"key_sealed": sealed, "reference": key}, wait)


def _ask(at: Context, name: str, action: str, options: dict[str, str], wait: bool) -> int | None:
    at.open()
    number = request_keys(name, action, options, who=at.who, clock=at.clock)
    said = f"Asked a worker; see `snapfleet repository keys {name}`."
    return follow_work(at, number, lambda _: said, what=f"{action} a key of {name}", wait=wait, rows=("slots", _SLOTS))
