"""The program as a whole: every command has help, an example and a place in the documentation."""

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import click
import pytest

from admin.cli.main import COMMANDS, run, wants_json
from admin.cli.reference import reference, walk
from tests.admin.cli.conftest import Cli

pytestmark = pytest.mark.unit

DOCS = Path(__file__).parent.parent.parent.parent / "docs" / "commands.md"
FIXED = (
    "apply export run points restore cleanup doctor init up coordinator worker web capabilities completion "
    "queue+status dead+list dead+requeue dead+drop users+add tokens+create schedules+preview runs+show"
).split()


def test_there_are_commands_to_look_at() -> None:
    names = {name for name, _ in walk()}
    assert {item.replace("+", " ") for item in FIXED} <= names
    assert len(names) > 45


@pytest.mark.parametrize(("name", "found"), list(walk()), ids=[name for name, _ in walk()])
def test_each_command_has_help_an_example_and_an_output_option(name: str, found: click.Command) -> None:
    example = getattr(found, "example", "")
    assert "snapfleet" in example
    assert re.search(rf"snapfleet {name.split()[0]}\b", example)
    assert len((found.help or "").split("\n")[0]) >= 10
    options = {word for item in found.params for word in item.opts}
    assert {"-o", "--output"} <= options
    assert [item.opts for item in found.params if isinstance(item, click.Option) and not item.help] == []


@pytest.mark.parametrize("name", sorted({name for name, _ in walk()}))
def test_help_is_shown_with_the_example(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*name.split(), "--help"]) == 0
    shown = capsys.readouterr().out
    assert "Example:" in shown
    assert "Usage: snapfleet" in shown


def test_the_listing_says_the_same_as_each_command_does() -> None:
    own = {name: (found.help or "").split("\n")[0] for name, found in walk() if " " not in name}
    assert {name: line for name, (_, line) in COMMANDS.items()} == own


def test_the_documentation_is_what_the_commands_say() -> None:
    """Write it again with `python -m admin.cli.reference > docs/commands.md`."""
    assert DOCS.read_text() == reference()


def test_every_example_of_the_documentation_is_a_command_that_parses() -> None:
    for name, found in walk():
        words = found.example.split("snapfleet ")[1].split(" > ")[0].rstrip(')"').replace('"audit 2026-11', "x").split()
        assert words[: len(name.split())] == name.split() or name.split()[0] == words[0]
        rest = words[len(name.split()) :] if words[: len(name.split())] == name.split() else []
        if not isinstance(found, click.Group):
            found.make_context(name, rest)


def test_help_loads_no_catalog_and_answers_in_a_moment() -> None:
    code = (
        "import sys\nfrom admin.cli.main import run\nrun(['--help'])\n"
        "heavy = {'peewee', 'rich', 'flask', 'dramatiq', 'pika', 'yaml', 'cryptography'} & set(sys.modules)\n"
        "sys.exit(f'loaded {heavy}' if heavy else 0)"
    )
    took = []
    for _ in range(3):
        began = time.perf_counter()
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        took.append(time.perf_counter() - began)
        assert done.returncode == 0, done.stderr
    assert min(took) < 1.0  # 0.12 s on an idle host; the machine that runs the tests is busy


def test_an_unknown_command_is_answered_with_close_ones(cli: Cli) -> None:
    said = cli("aply")
    assert (said.code, said.err) == (2, "There is no command 'aply'. Did you mean apply?\n")


def test_wrong_usage_is_one_sentence_with_the_next_step(cli: Cli) -> None:
    said = cli("points", "--limit", "many")
    assert said.code == 2
    assert said.err == (
        "Invalid value for '--limit': 'many' is not a valid integer range. See `snapfleet points --help`.\n"
    )


def test_a_choice_that_is_missing_is_told_on_one_line(cli: Cli) -> None:
    said = cli("restore", "rp-1")
    assert said.code == 2
    assert "\\x0a" not in said.err
    assert "Choose from: volume, instance" in said.err


@pytest.mark.parametrize("port", ["0", "99999", "-1"])
def test_a_port_that_is_none_is_refused_with_its_setting(cli: Cli, monkeypatch: pytest.MonkeyPatch, port: str) -> None:
    monkeypatch.setenv("SNAPFLEET_PORT", port)
    said = cli("status")
    assert said.err == f"The setting port is {port}, which is not a port. Write 1 to 65535.\n"


@pytest.mark.parametrize("way", [["-o", "json"], ["-ojson"], ["--output=json"], ["--output", "json"]])
def test_errors_follow_the_output_that_was_asked_for(cli: Cli, way: list[str]) -> None:
    assert wants_json(way)
    said = cli("points", "--limit", "many", *way)
    assert said.error["exit"] == said.code == 2
    assert said.error["error"] == "usage"
    said = cli("runs", "show", "run-7", *way)
    assert said.error == {
        "error": "invalid", "text": "There is no run 'run-7'.", "advice": "See `snapfleet runs`.", "exit": 2
    }  # fmt: skip


def test_a_defect_is_a_sentence_and_a_traceback_only_when_asked_for(
    cli: Cli, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / "snapfleet.toml").mkdir()
    said = cli("points")
    assert said.code == 1
    assert said.err == (
        "Something unexpected went wrong (IsADirectoryError). Set SNAPFLEET_DEBUG=1 and run it again to see where.\n"
    )
    monkeypatch.setenv("SNAPFLEET_DEBUG", "1")
    with pytest.raises(IsADirectoryError):
        cli("points")


def test_a_catalog_that_is_away_is_one_sentence(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SNAPFLEET_CATALOG_URL", "postgresql://nobody@127.0.0.1:1/none")
    said = cli("points")
    assert said.code == 1
    assert said.err.startswith("The catalog cannot be reached (")
    assert said.err.count("\n") == 1


def test_an_installation_that_was_not_set_up_names_init(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SNAPFLEET_CATALOG_URL", f"sqlite://{tmp_path / 'none.sqlite'}")
    said = cli("points")
    assert said.code == 2
    assert "Run `snapfleet init` first" in said.err
    assert not (tmp_path / "none.sqlite").exists()


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_printed_for_each_shell(cli: Cli, shell: str) -> None:
    said = cli("completion", shell)
    assert said.code == 0
    assert "_SNAPFLEET_COMPLETE" in said.out


def test_completion_offers_nothing_rather_than_an_error(tmp_path: Path) -> None:
    env = {**os.environ, "SNAPFLEET_HOME": str(tmp_path / "none"), "_SNAPFLEET_COMPLETE": "bash_complete"}
    env |= {"COMP_WORDS": "snapfleet run w", "COMP_CWORD": "2"}
    done = subprocess.run([sys.executable, "-m", "admin.cli"], env=env, capture_output=True, text=True, check=False)
    assert (done.stdout.strip(), done.stderr) == ("", "")


def test_a_reader_that_stops_reading_is_no_error(home: Path) -> None:
    call = f"{sys.executable} -m admin.cli capabilities | head -1"
    done = subprocess.run(["bash", "-o", "pipefail", "-c", call], capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert done.stderr == ""
