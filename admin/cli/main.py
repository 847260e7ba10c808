"""The program `snapfleet`: commands found by name, loaded when used, and errors as one sentence with the next step.

Exit codes: 0 done, 1 failed, 2 wrong usage, 3 partly done, 4 refused by a guard.
"""

import importlib
import json
import os
import sys
from collections.abc import Sequence
from typing import Any

import click

from admin.safe import safe
from tasks.errors import Exit, SnapfleetError

# Name to module and first line of help. The line stands here as well so that `snapfleet --help` loads no module; a
# test compares it with the command's own.
COMMANDS = {
    "init": ("init", "Set this installation up: home, keys, catalog, first user."),
    "apply": ("estate", "Make the estate as a file says."),
    "export": ("estate", "Print the estate as a file."),
    "run": ("run", "Back up a policy now."),
    "runs": ("run", "List runs."),
    "run-show": ("run", "Show one run with its jobs and reasons."),
    "cancel": ("run", "Cancel what has not started of a run."),
    "points": ("points", "List recovery points."),
    "point": ("points", "Show one recovery point with its parts and copies."),
    "orphans": ("orphans", "List snapshots that carry this installation's tag and had no record."),
    "drift": ("drift", "List snapshots whose tags somebody took off or changed."),
    "why": ("why", "Say why something is as it is."),
    "hold": ("points", "Keep a recovery point whatever retention says."),
    "release": ("points", "Let a held recovery point age again."),
    "restore": ("restore", "Restore from a recovery point."),
    "restores": ("restore", "List restores."),
    "repository": ("repository", "Manage repositories of archives."),
    "cleanup": ("cleanup", "Run retention now, or show what it would remove."),
    "confirm": ("cleanup", "Confirm a deletion plan that the brake stopped."),
    "retention": ("retention", "List retention rules."),
    "policies": ("policies", "List policies."),
    "schedules": ("policies", "List schedules."),
    "accounts": ("accounts", "List accounts."),
    "account": ("account", "Look at one account: what its roles may do."),
    "iam": ("iam", "Print the rights that roles need."),
    "resources": ("accounts", "List discovered resources."),
    "discover": ("accounts", "Look at what exists now."),
    "capabilities": ("accounts", "List what can be done with each type of resource."),
    "status": ("status", "Show whether all is well."),
    "forecast": ("status", "Show the load of a day, hour by hour."),
    "queue": ("queue", "Show how the queue is."),
    "processes": ("queue", "List processes and how they are."),
    "dead": ("queue", "Deal with messages that could not be delivered."),
    "alerts": ("alerts", "List open alerts."),
    "audit": ("audit", "List who asked for what."),
    "users": ("users", "Manage who may log in to the page."),
    "tokens": ("tokens", "Manage tokens for metrics and the API."),
    "doctor": ("doctor", "Check this installation."),
    "state": ("state", "Back this installation up, and put it back."),
    "upgrade": ("upgrade", "Bring the catalog to this version's schema."),
    "version": ("upgrade", "Print the version."),
    "completion": ("completion", "Print shell completion."),
    "up": ("processes", "Run everything in one process."),
    "coordinator": ("processes", "Run a coordinator."),
    "worker": ("processes", "Run a worker."),
    "workers": ("fleet", "List workers, and how many are needed."),
    "drain": ("fleet", "Let the whole fleet come to a standstill."),
    "resume": ("fleet", "Let a fleet that stands still go on."),
    "web": ("processes", "Run the admin page."),
}


class Commands(click.Group):
    """The top of the program: a command's module is imported when the command is named."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - as above
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"admin.cli.{COMMANDS[cmd_name][0]}")
        found: click.Command = getattr(module, cmd_name.replace("-", "_"))
        return found

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - as above
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in COMMANDS.items()])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            from difflib import get_close_matches

            near = get_close_matches(args[0], COMMANDS, n=2)
            hint = f"Did you mean {' or '.join(near)}?" if near else "See `snapfleet --help`."
            raise click.UsageError(f"There is no command {args[0]!r}. {hint}", ctx)
        return super().resolve_command(ctx, args)


@click.command(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
def program() -> None:
    """Backup, recovery and disaster recovery for large cloud estates.

    Settings come from SNAPFLEET_… variables and snapfleet.toml in SNAPFLEET_HOME. Exit codes: 0 done, 1 failed, 2 wrong
    usage, 3 partly done, 4 refused by a guard.
    """


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the program and exit with its code; never shows a traceback unless SNAPFLEET_DEBUG is set."""
    sys.exit(run(list(sys.argv[1:] if arguments is None else arguments)))


def run(arguments: list[str]) -> int:
    """Run the program; its exit code."""
    if not arguments:
        arguments = ["--help"]
    as_json = wants_json(arguments)
    try:
        code = program.main(args=arguments, prog_name="snapfleet", standalone_mode=False)
        sys.stdout.flush()
        return int(code or 0)
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except click.UsageError as error:
        path = error.ctx.command_path if error.ctx else "snapfleet"
        advice = "" if "`snapfleet" in error.message or "Did you mean" in error.message else f"See `{path} --help`."
        return _fail(Exit.USAGE, "usage", _one_line(error), advice, as_json)
    except click.ClickException as error:
        return _fail(Exit.FAILED, "failed", _one_line(error), "", as_json)
    except (click.Abort, KeyboardInterrupt):
        return _fail(Exit.FAILED, "stopped", "Stopped; nothing more was asked for.", "", as_json)
    except SnapfleetError as error:
        return _fail(error.exit, error.code, error.text, error.advice, as_json, problems=_problems(error))
    except (SystemExit, BrokenPipeError):  # nobody reads on: `snapfleet points | head`; click exits then by itself
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.__stdout__.fileno() if sys.__stdout__ else 1)
        return int(Exit.DONE)
    except Exception as error:
        if os.environ.get("SNAPFLEET_DEBUG"):
            raise
        text = f"Something unexpected went wrong ({type(error).__name__})."
        return _fail(Exit.FAILED, "internal", text, "Set SNAPFLEET_DEBUG=1 and run it again to see where.", as_json)


def _one_line(error: click.ClickException) -> str:
    """What click says, which it may spread over lines."""
    return " ".join(error.format_message().split())


def wants_json(arguments: Sequence[str]) -> bool:
    """Whether `--output json` is among the arguments: errors before parsing has finished follow it too."""
    pairs = zip(arguments, [*arguments[1:], ""], strict=True)
    return any(
        item in {"--output=json", "-ojson", "-o=json"} or (item in {"-o", "--output"} and following == "json")
        for item, following in pairs
    )


def _problems(error: SnapfleetError) -> list[dict[str, Any]]:
    """The problems of an estate file, each with its line."""
    return [
        {"line": item.line, "field": item.field, "text": item.text, "shown": line}
        for item, line in zip(getattr(error, "problems", ()), getattr(error, "lines", list)(), strict=False)
    ]


def _fail(
    code: int, word: str, text: str, advice: str, as_json: bool, *, problems: Sequence[dict[str, Any]] = ()
) -> int:
    if as_json:
        document: dict[str, Any] = {"error": word, "text": text, "advice": advice, "exit": int(code)}
        if problems:
            document["problems"] = [{key: item[key] for key in ("line", "field", "text")} for item in problems]
        sys.stderr.write(json.dumps(document, ensure_ascii=True) + "\n")
    else:
        for item in problems:
            sys.stderr.write(safe(item["shown"]) + "\n")
        sys.stderr.write(safe(f"{text} {advice}".strip()) + "\n")
    return int(code)
