"""docs/commands.md, written from the commands themselves: `python -m admin.cli.reference > docs/commands.md`."""

import sys
from collections.abc import Iterator
from typing import Any

import click

from admin.cli.main import COMMANDS, program

_HEAD = """# Commands

Every command takes `-o/--output table|json`. Exit codes: 0 done, 1 failed, 2 wrong usage, 3 partly done, 4 refused by a
guard. Errors go to standard error as one sentence with the next step; with `--output json` as a JSON object.
`--wait` follows work to its end and exits by its outcome; Ctrl-C stops the waiting, not the work.

This page is written by `python -m admin.cli.reference`.
"""


def walk() -> Iterator[tuple[str, click.Command]]:
    """Every command with its full name, groups before their verbs."""
    top = click.Context(program, info_name="snapfleet")
    for name in COMMANDS:
        found = program.get_command(top, name)
        if found is None:
            continue
        yield name, found
        if isinstance(found, click.Group):
            yield from ((f"{name} {verb}", item) for verb, item in sorted(found.commands.items()))


def reference() -> str:
    """The page as Markdown."""
    return _HEAD + "".join(_section(name, found) for name, found in walk())


def _section(name: str, found: Any) -> str:
    with click.Context(found, info_name=f"snapfleet {name}") as context:
        usage = found.collect_usage_pieces(context)
        text = " ".join((found.help or "").split("\n\n")[0].split())
        more = [" ".join(part.split()) for part in (found.help or "").split("\n\n")[1:]]
        options = [
            f"| `{', '.join(item.opts)}` | {_help(item)} |"
            for item in found.params
            if isinstance(item, click.Option) and item.name not in {"output_format", "help"}
        ]
    body = "\n\n".join([text, *more])
    table = "\n\n| option | meaning |\n|---|---|\n" + "\n".join(options) if options else ""
    line = f"snapfleet {name} {' '.join(usage)}".replace("COMMAND [ARGS]...", "[COMMAND]")
    return f"\n## snapfleet {name}\n\n`{line}`\n\n{body}{table}\n\nExample: `{found.example}`\n"


def _help(option: click.Option) -> str:
    text = (option.help or "").replace("|", "\\|")
    choices = f" One of {', '.join(option.type.choices)}." if isinstance(option.type, click.Choice) else ""
    return f"{text}{choices}"


if __name__ == "__main__":
    sys.stdout.write(reference())
