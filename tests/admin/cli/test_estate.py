"""`apply` and `export` as they are typed."""

import io
import time
from pathlib import Path

import pytest

from admin.cli.main import run
from tasks.catalog import Account, Resource, transaction
from tests.admin.catalogue import AT
from tests.admin.cli.conftest import Cli
from tests.admin.estates import SECRET, SMALL

pytestmark = pytest.mark.unit


@pytest.fixture
def file(home: Path) -> Path:
    path = home / "estate.yaml"
    path.write_text(SMALL)
    return path


def test_an_estate_is_applied_once_and_then_there_is_nothing_to_change(cli: Cli, file: Path) -> None:
    """feature 5"""
    dry = cli("apply", "-f", str(file), "--dry-run")
    assert dry.out.splitlines()[-1] == "Dry run: 4 to add; nothing was changed."
    first = cli("apply", "-f", str(file))
    assert first.code == 0
    assert first.out.splitlines() == [
        "+ accounts prod",
        "+ accounts vault",
        "+ schedules nightly",
        "+ policies web",
        "Applied: 4 added.",
    ]
    assert cli("apply", "-f", str(file)).out == "Nothing to change.\n"
    assert cli("apply", "-f", str(file), "-o", "json").json == {
        "changes": [],
        "left": [],
        "costs": [],
        "unmet": [],
        "kept": [],
        "dry_run": False,
    }


def test_a_change_is_shown_field_by_field(cli: Cli, file: Path) -> None:
    cli("apply", "-f", str(file))
    file.write_text(
        SMALL.replace("generations: 14", "generations: 3").replace("accounts: [prod]}", "regions: [us-east-1]}")
    )
    said = cli("apply", "-f", str(file))
    assert said.out.splitlines()[:2] == ["~ policies web", "    targets[]: "
    "{'tag': {'backup': 'gold'}, 'types': ['instance', 'volume'], 'accounts': ['prod']} -> (nothing)"]  # fmt: skip
    assert "    generations: 14 -> 3" in said.out
    assert said.out.splitlines()[-1] == "Applied: 1 changed."


def test_what_some_type_under_a_tag_cannot_have_is_told_before_anything_is_written(cli: Cli, file: Path) -> None:
    """feature 42: in a dry run too; a type that the target names is refused as ever."""
    cli("apply", "-f", str(file))
    with transaction():
        place = {"account": Account.get(name="prod"), "region": "us-east-1", "found_at": AT, "seen_at": AT}
        place |= {"tags": {"backup": "gold"}}
        Resource.create(type="volume", external_id="vol-1", **place)
        for name in ("sales", "lake"):
            Resource.create(type="redshift", external_id=name, attributes={"identifier": name}, **place)
        Resource.create(type="s3", external_id="pictures", **place)
    file.write_text(SMALL.replace("types: [instance, volume], ", ""))
    for words in (("--dry-run",), ()):
        said = cli("apply", "-f", str(file), *words)
        assert said.code == 0
        lines = [line for line in said.out.splitlines() if line.startswith("! ")]
        assert [line.partition(": ")[0] for line in lines] == ["! web, dr vault/eu-central-1", "! web, targets"]
        assert "not for 2 of redshift, as lake: A shared Redshift snapshot can only be restored" in lines[0]
        assert "not for 1 of s3, as pictures: s3 needs options.bucket" in lines[1]
    file.write_text(
        SMALL.replace("[instance, volume]", "[redshift]") + "    dr: [{account: vault, region: us-east-1}]\n"
    )
    refused = cli("apply", "-f", str(file))
    assert refused.code == 2
    assert "redshift: Another account can restore a shared Redshift snapshot but not copy it" in refused.err


def test_what_the_file_does_not_name_is_said_and_removed_only_with_prune(cli: Cli, file: Path) -> None:
    cli("apply", "-f", str(file))
    file.write_text("version: 1\n")
    kept = cli("apply", "-f", str(file))
    assert "policies web is not in the file and stays (--prune removes it)" in kept.out
    assert kept.out.splitlines()[-1] == "Nothing to change."
    assert cli("apply", "-f", str(file), "--prune").out.splitlines()[-1] == "Applied: 4 removed."
    assert cli("policies", "-o", "json").json == []


def test_every_problem_is_printed_with_its_line_and_the_exit_says_usage(cli: Cli, file: Path) -> None:
    file.write_text(SMALL.replace("every: 1d", "every: 1q").replace("daily: 7", "daily: 0"))
    said = cli("apply", "-f", str(file))
    assert said.code == 2
    assert said.err.splitlines() == [
        f"{file}:16: schedules.nightly.every: "
        "'1q' is not a whole number followed by one of m, h, d, w, mo (such as 4h)",
        f"{file}:28: policies.web.keep.daily: 0 is not a whole number from 1 to 10000",
        f"{file} has 2 problems; nothing was changed. Correct the lines named, then apply again.",
    ]
    error = cli("apply", "-f", str(file), "-o", "json").error
    assert [item["line"] for item in error["problems"]] == [16, 28]
    assert error["exit"] == 2


def test_what_is_exported_applies_from_standard_input(cli: Cli, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cli("apply", "-f", str(file))
    exported = cli("export").out
    assert SECRET not in exported
    monkeypatch.setattr("sys.stdin", io.StringIO(exported))
    assert run(["apply", "-f", "-", "--prune"]) == 0
    assert set(cli("export", "-o", "json").json) == {"accounts", "schedules", "repositories", "policies"}
    assert cli("export").out == exported


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", None])
def test_a_file_that_cannot_be_read_is_one_sentence(cli: Cli, home: Path, content: bytes | None) -> None:
    path = home / "odd.yaml"
    if content is not None:
        path.write_bytes(content)
    said = cli("apply", "-f", str(path))
    assert said.code == 2
    assert said.err.count("\n") == 1


def test_a_file_with_hostile_names_does_nothing_to_a_terminal(cli: Cli, file: Path) -> None:
    file.write_text(SMALL.replace("name: web", 'name: "\\e[31m[/red]\\u202e"'))
    said = cli("apply", "-f", str(file))
    assert said.code == 2
    assert said.err.replace("\n", "").isprintable()


@pytest.mark.long
def test_an_estate_of_ten_thousand_targets_applies_in_seconds(cli: Cli, file: Path) -> None:
    targets = "".join(
        f"      - {{type: instance, id: i-{number:017x}, region: us-east-1, account: prod}}\n"
        for number in range(10_000)
    )
    text = SMALL.replace("    targets:\n", "    targets:\n" + targets)
    file.write_text(text)
    began = time.monotonic()
    assert cli("apply", "-f", str(file)).code == 0
    file.write_text(text.replace("i-00000000000000001,", "i-fffff,"))
    changed = cli("apply", "-f", str(file), "-o", "json").json
    assert len(changed["changes"][0]["fields"]) == 2
    assert time.monotonic() - began < 60  # 6 s on an idle host; comparing each with each would take minutes
