"""`snapfleet users`: who may log in to the page. Passwords are asked for, read from a variable, or made; never argv."""

import os
import sys

import click

from admin.access import ROLES, add_user, disable_user, new_password, set_password
from admin.cli.command import command, group
from admin.cli.context import Context
from admin.cli.output import columns
from admin.queries_estate import list_users

_USERS = columns("name", "role", "created=created_at", "disabled=disabled_at")
PASSWORD_VARIABLE = "SNAPFLEET_ADMIN_PASSWORD"  # noqa: S105 - the name of a variable


def choose_password(name: str, *, ask: bool) -> tuple[str, bool]:
    """A password and whether it was made here: from the variable, from the keyboard (`ask`), or a random one."""
    given = os.environ.get(PASSWORD_VARIABLE, "")
    if not given and ask and sys.stdin.isatty():
        prompt = f"Password for {name} (empty: one is made)"
        given = click.prompt(
            prompt, default="", hide_input=True, confirmation_prompt=True, show_default=False, err=True
        )
    return (given, False) if given else (new_password(), True)


@group(example="snapfleet users list")
def users(at: Context) -> None:
    """Manage who may log in to the page.

    The same as `snapfleet users list`.
    """
    _list(at)


@command(name="list", example="snapfleet users list")
def users_list(at: Context) -> None:
    """List who may log in."""
    _list(at)


def _list(at: Context) -> None:
    at.open()
    at.output.rows(list_users(), _USERS, "Nobody may log in; add somebody with `snapfleet users add`.")


@command(name="add", example="snapfleet users add maria --role viewer")
@click.argument("name")
@click.option("--role", type=click.Choice(ROLES), default="viewer", show_default=True, help="viewer sees, admin acts.")
def users_add(at: Context, name: str, role: str) -> None:
    """Let somebody log in.

    The password comes from SNAPFLEET_ADMIN_PASSWORD or the keyboard; otherwise one is made and shown once.
    """
    clock = at.clock
    password, made = choose_password(name, ask=True)
    add_user(name, password, role, who=at.who, clock=clock)
    _say(at, name, f"{name} may log in as {role}.", password if made else "")


@command(name="passwd", example="snapfleet users passwd maria")
@click.argument("name")
def users_passwd(at: Context, name: str) -> None:
    """Change a password, and let its owner in again when they were disabled."""
    clock = at.clock
    password, made = choose_password(name, ask=True)
    set_password(name, password, who=at.who, clock=clock)
    _say(at, name, f"The password of {name} is changed.", password if made else "")


@command(name="disable", example="snapfleet users disable maria")
@click.argument("name")
def users_disable(at: Context, name: str) -> None:
    """Keep somebody out."""
    disable_user(name, who=at.who, clock=at.clock)
    _say(at, name, f"{name} may no longer log in.", "")


def _say(at: Context, name: str, text: str, password: str) -> None:
    shown = {"password": password} if password else {}
    at.output.result({"user": name, **shown}, f"{text} Password, shown once: {password}" if password else text)


for _verb in (users_list, users_add, users_passwd, users_disable):
    users.add_command(_verb)
