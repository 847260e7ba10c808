"""`snapfleet init`: from nothing to an installation that runs, in one command that may be repeated."""

import os
import sys
from pathlib import Path

import click

from admin.access import add_user
from admin.cli.command import command
from admin.cli.context import Context
from admin.cli.users import choose_password
from admin.setup import prepare_catalog, prepare_home, write_settings
from tasks.settings import DEFAULT_HOME, load_settings


@command(example="snapfleet init --yes")
@click.option("--home", type=click.Path(file_okay=False, path_type=Path), help="Home folder; default SNAPFLEET_HOME.")
@click.option("--catalog-url", default="", metavar="URL", help="postgresql://…; without it SQLite in the home folder.")
@click.option("--broker-url", default="", metavar="URL", help="amqps://…; without it `snapfleet up` runs everything.")
@click.option("--user", default="admin", show_default=True, help="The first administrator of the page.")
@click.option("--installation", default="", metavar="ID", help="Take over the id of an installation that was lost.")
@click.option("--yes", is_flag=True, help="Ask nothing.")
def init(
    at: Context, home: Path | None, catalog_url: str, broker_url: str, user: str, installation: str, yes: bool
) -> None:
    """Set this installation up: home, keys, catalog, first user.

    What is there already stays. The password of the first administrator comes from SNAPFLEET_ADMIN_PASSWORD or the
    keyboard; otherwise one is made and shown once.

    With --installation this is the lost installation from now on, and may delete what that one made: never while the
    old one still runs anywhere. It is for a catalog that was lost without a backup; `snapfleet state rebuild` then
    writes its recovery points again.
    """
    ask = not yes and sys.stdin.isatty()
    usual = Path(os.environ.get("SNAPFLEET_HOME", DEFAULT_HOME)).expanduser()
    if home is None:
        home = Path(click.prompt("Home folder", default=str(usual), err=True)).expanduser() if ask else usual
    home = home.absolute()
    made = [f"home {home}"] if prepare_home(home) else []
    file = write_settings(home, {"catalog_url": catalog_url, "broker_url": broker_url})
    settings = load_settings({**os.environ, "SNAPFLEET_HOME": str(home)})
    found = prepare_catalog(settings, installation)
    made += [*([f"settings {file}"] if file else []), *found.made]
    shown = ""
    if not found.has_users:
        password, own = choose_password(user, ask=ask)
        add_user(user, password, "admin", who="init", clock=settings.clock())
        shown = password if own else ""
        made.append(f"user {user}")
    after = ["snapfleet discover --wait", "snapfleet state rebuild --wait"] if installation else []
    _say(at, home, found.installation, made, shown, after, embedded=settings.embedded)


def _say(
    at: Context, home: Path, installation: str, made: list[str], password: str, after: list[str], *, embedded: bool
) -> None:
    elsewhere = home != Path(os.environ.get("SNAPFLEET_HOME", DEFAULT_HOME)).expanduser().absolute()
    steps = [
        *([f"export SNAPFLEET_HOME={home}"] if elsewhere else []),
        "snapfleet doctor",
        *(["snapfleet up"] if embedded else ["snapfleet coordinator", "snapfleet worker", "snapfleet web"]),
        "snapfleet apply -f estate.yaml",
        *after,
    ]
    if at.output.json:
        document = {"installation": installation, "home": str(home), "made": made, "next": steps}
        at.output.value({**document, **({"password": password} if password else {})})
        return
    for item in made:
        at.output.line(f"made {item}")
    if not made:
        at.output.line("Everything is there already.")
    if password:
        at.output.line(f"Password, shown once: {password}")
    at.output.line(f"Installation {installation} is ready. Next:")
    for step in steps:
        at.output.line(f"  {step}")
