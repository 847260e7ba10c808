"""The shape that every command shares: an example in its help, `--output`, and one context object.

    @command(example="snapfleet points --policy web")
    @click.option("--policy", …)
    def points(at: Context, policy: str) -> int | None:

A command returns its exit code, None meaning done.
"""

from collections.abc import Callable
from functools import wraps
from typing import Any

import click

Body = Callable[..., int | None]


def command(*, example: str, name: str | None = None) -> Callable[[Body], Any]:
    """Make a function a command. `example` is shown at the end of its help and stands in docs/commands.md."""

    def decorate(body: Body) -> Any:
        made: Any = click.command(name, epilog=_epilog(example))(_output_option(_with_context(body)))
        made.example = example
        return made

    return decorate


def group(*, example: str, name: str | None = None) -> Callable[[Body], Any]:
    """Like `command`, for one that has verbs below it and does something without a verb as well."""

    def decorate(body: Body) -> Any:
        @wraps(body)
        def run(*args: Any, **kwargs: Any) -> int | None:
            if click.get_current_context().invoked_subcommand is not None:
                return None
            return _with_context(body)(*args, **kwargs)

        made: Any = click.group(name, invoke_without_command=True, epilog=_epilog(example))(_output_option(run))
        made.example = example
        return made

    return decorate


def _epilog(example: str) -> str:
    return f"\b\nExample:\n  {example}"


def _output_option(run: Body) -> Body:
    option = click.option(
        "-o",
        "--output",
        "output_format",
        type=click.Choice(["table", "json"]),
        default="table",
        show_default=True,
        help="How the answer is printed.",
    )
    return option(run)


def _with_context(body: Body) -> Body:
    @wraps(body)
    def run(*args: Any, output_format: str, **kwargs: Any) -> int | None:
        from admin.cli.context import Context
        from admin.cli.output import Output

        return body(Context(Output(output_format)), *args, **kwargs)

    return run
