"""`snapfleet completion`, and the values that completion offers.

Values come from the catalog, and only if it answers: whoever presses TAB must never see an error or wait.
"""

from collections.abc import Callable
from typing import Any

import click

from admin.cli.command import command
from admin.cli.context import Context
from tasks.errors import Invalid

_OFFERED = 50  # more than fits on a screen is no help


@command(example='eval "$(snapfleet completion bash)"')
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(at: Context, shell: str) -> None:
    """Print shell completion.

    Evaluate it in the shell's start-up file, or write it where the shell looks for completions.
    """
    from click.shell_completion import get_completion_class

    from admin.cli.main import program

    found = get_completion_class(shell)
    if found is None:
        raise Invalid(f"There is no completion for {shell}.")
    script = found(program, {}, "snapfleet", "_SNAPFLEET_COMPLETE").source()
    if at.output.json:
        at.output.value({"shell": shell, "script": script})
    else:
        at.output.stream.write(script + "\n")


def _offer(find: Callable[[str], list[str]]) -> Callable[[click.Context, click.Parameter, str], list[str]]:
    def complete(_context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
        try:
            from admin.cli.context import require_catalog
            from tasks.catalog import open_catalog, session
            from tasks.settings import load_settings

            settings = load_settings()
            require_catalog(settings)
            open_catalog(settings.catalog)
            with session():
                return find(incomplete)
        except Exception:  # noqa: BLE001 - TAB offers nothing rather than an error in the middle of a line
            return []

    return complete


def _policies(start: str) -> list[str]:
    from tasks.catalog import Policy

    query: Any = Policy.select(Policy.name).where(Policy.name.startswith(start), Policy.deleted_at.is_null())
    return [row.name for row in query.order_by(Policy.name).limit(_OFFERED)]


def _points(start: str) -> list[str]:
    from tasks.catalog import Point
    from tasks.states import PointState

    digits = start.removeprefix("rp-")
    query: Any = Point.select(Point.id).where(Point.state == PointState.GOOD).order_by(Point.id.desc())
    found = [
        f"rp-{row.id}" for row in query.limit(5000) if str(row.id).startswith(digits if digits.isdecimal() else "")
    ]
    return found[:_OFFERED]


def _things(start: str) -> list[str]:
    """What `why` is mostly asked about: policies, points when that is how it begins, and resources by id."""
    from tasks.catalog import Resource

    if start.startswith("rp"):
        return _points(start)
    query: Any = Resource.select(Resource.external_id).where(Resource.external_id.startswith(start))
    ids = [row.external_id for row in query.order_by(Resource.external_id).limit(_OFFERED)] if start else []
    return [*_policies(start), *ids][:_OFFERED]


complete_thing = _offer(_things)
complete_policy = _offer(_policies)
complete_point = _offer(_points)
