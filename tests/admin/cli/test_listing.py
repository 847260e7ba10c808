"""Lists: valid JSON, plain text where nobody watches, and names that do no harm."""

import io
import json
import re
from datetime import timedelta

import pytest

from admin.cli.output import Output, columns, shown_span
from admin.safe import safe
from tasks.catalog import Audit, Token, User, transaction
from tests.admin.catalogue import AT, HOSTILE, add_point, aged, seed, seed_rest
from tests.admin.cli.conftest import Cli

pytestmark = pytest.mark.unit

LISTS = (
    "points", "runs", "runs show 1", "run-show run-1", "point 1", "restores", "restores show 1", "policies",
    "schedules", "schedules preview nightly", "accounts", "resources", "capabilities", "alerts", "alerts --all",
    "why rp-1", "why run-1", "why job-1", "why restore-1", "why web", "why i-00000000000000000",
    "why web --slot 2026-11-10T01:30", "audit", "audit list", "audit verify", "orphans", "orphans --all", "drift",
    "queue", "queue status", "processes", "retention", "retention simulate --policy web --until 2030-01-01",
    "dead", "dead list", "dead list --all", "users", "users list", "tokens", "tokens list",
    "cleanup --dry-run", "export", "version", "upgrade --dry-run", "doctor --wait 0",
)  # fmt: skip
# What a terminal would act on, or show as something else.
HARMFUL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff]")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def hostile(cli: Cli) -> Cli:
    """A catalog in which every name is hostile."""
    seed(HOSTILE)
    seed_rest(HOSTILE[2])
    aged(4)
    with transaction():
        Audit.create(at=AT, who=HOSTILE[3], action="x", subject=HOSTILE[4], detail={"a": HOSTILE[5]})
        User.create(name=HOSTILE[2], password_hash="x", created_at=AT)
        Token.create(name=HOSTILE[8], digest="y", created_at=AT)
    return cli


@pytest.mark.parametrize("command", LISTS)
def test_no_name_reaches_a_terminal_as_anything_but_text(hostile: Cli, command: str) -> None:
    said = hostile(*command.split())
    assert said.code == 0, said.err
    assert said.out.strip()
    assert not HARMFUL.search(said.out + said.err)


@pytest.mark.parametrize("command", LISTS)
def test_every_list_is_valid_json_of_harmless_characters(hostile: Cli, command: str) -> None:
    said = hostile(*command.split(), "--output", "json")
    assert said.code == 0, said.err
    assert said.json is not None
    assert said.out.isascii()
    assert not HARMFUL.search(said.out)


def test_a_name_with_a_line_break_forges_no_row(hostile: Cli) -> None:
    forged = [line for line in hostile("resources").out.splitlines() if line.startswith("rp-9")]
    assert forged == []


@pytest.mark.parametrize("name", HOSTILE)
def test_a_table_on_a_terminal_shows_every_name_as_it_is_written(name: str) -> None:
    stream = Terminal()
    Output(stream=stream).rows([{"name": name, "state": "failed"}], columns("name", "state"))
    drawn = re.sub(r"\x1b\[[0-9;]*m", "", stream.getvalue())
    assert not HARMFUL.search(drawn)
    assert safe(name).split()[0][:10] in drawn


def test_no_colour_is_shown_where_none_is_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    shown = {}
    for wanted in ("", "1"):
        monkeypatch.setenv("NO_COLOR", wanted)
        stream = Terminal()
        Output(stream=stream).rows([{"state": "failed"}], columns("state"))
        shown[wanted] = stream.getvalue()
    assert "\x1b[31m" in shown[""]
    assert "\x1b[31m" not in shown["1"]


def test_a_table_for_a_program_is_plain_whole_and_aligned() -> None:
    stream = io.StringIO()
    rows = [{"id": "rp-1", "size": 8, "name": "x" * 300}, {"id": "rp-22", "size": 1024, "name": ""}]
    Output(stream=stream).rows(rows, columns("id", "GiB#=size", "name"))
    assert stream.getvalue().splitlines() == [
        "ID      GIB  NAME",
        "rp-1      8  " + "x" * 300,
        "rp-22  1024",
    ]


def test_an_empty_list_says_so_and_is_an_empty_array_for_programs(cli: Cli) -> None:
    assert cli("points").out == "No recovery points match.\n"
    assert cli("points", "-o", "json").json == []


def test_times_are_utc_and_spans_are_short() -> None:
    stream = io.StringIO()
    Output("json", stream).value({"at": AT, "for": timedelta(minutes=3)})
    assert json.loads(stream.getvalue()) == {"at": "2026-11-10T12:00:00+00:00", "for": 180.0}
    assert [shown_span(timedelta(seconds=n)) for n in (0, 59, 3600, 90_061)] == ["0s", "59s", "1h", "1d 1h"]


def test_points_are_found_by_resource_policy_state_and_destination(cli: Cli) -> None:
    found = seed(("web-1", "db-1"))
    resource, point = found["rows"][1]
    with transaction():
        add_point(resource, found["policy"], AT, destination="vault/eu-central-1", copy_of=point.id)

    def ids(*options: str) -> list[str]:
        return [row["id"] for row in cli("points", *options, "-o", "json").json]

    assert ids() == ["rp-3", "rp-2", "rp-1"]
    assert ids("--resource", "db-1") == ids("--resource", resource.external_id) == ["rp-3", "rp-2"]
    assert ids("--destination", "vault/eu-central-1") == ["rp-3"]
    assert ids("--destination", "home", "--limit", "1") == ["rp-2"]
    assert ids("--policy", "web", "--state", "failed") == []
    assert cli("points", "--policy", "wbe").err == "There is no policy 'wbe'. Did you mean web?\n"


def test_why_names_every_reason_that_keeps_a_point_or_lets_it_go(cli: Cli) -> None:
    """feature 10"""
    seed()
    aged(2)
    assert cli("why", "rp-1").out == (
        "rp-1 goes:\n  nothing of the rule wants it any more (generations 2) (outlived)\n"
    )
    kept = cli("why", "3", "-o", "json").json
    assert kept["keep"] is True
    assert [reason["code"] for reason in kept["reasons"]] == ["generation", "floor"]


def test_capabilities_are_a_list_with_the_fields_that_others_read(cli: Cli) -> None:
    found = cli("capabilities", "--output", "json").json
    assert {"type", "cross_region", "cross_account", "repository", "cold", "notes"} <= set(found[0])
    assert {"instance", "volume"} <= {row["type"] for row in found if row["usable"]}
    assert {"rds", "efs", "s3"} <= {row["type"] for row in found}


def test_what_is_only_exported_says_so_in_the_column_of_repositories(cli: Cli) -> None:
    """Feature 42: RDS snapshots go to S3 as exports, which the footnote tells from a repository's archives."""
    found = {row["type"]: row for row in cli("capabilities", "--output", "json").json}
    kept = {name: row["repository"] for name, row in found.items()}
    assert (kept["rds"], kept["instance"], kept["aurora"]) == ("export", True, False)
    assert [name for name, cell in kept.items() if cell == "export"] == ["rds"]
    assert any("exported to S3" in note for note in found["rds"]["notes"])
    (line,) = [line.split() for line in cli("capabilities").out.splitlines() if line.startswith("rds ")]
    assert line[:7] == ["rds", "aws", "yes", "yes", "yes", "export", "yes"]


def test_a_preview_shows_slots_in_utc_and_on_the_wall_clock(cli: Cli) -> None:
    """feature 32"""
    seed()
    rows = cli("schedules", "preview", "nightly", "--count", "3", "-o", "json").json
    assert len(rows) == 3
    assert all(row["slot_at"].endswith("T01:30:00+00:00") and row["local"].endswith("01:30 UTC") for row in rows)
    assert "Did you mean nightly?" in cli("schedules", "preview", "nigthly").err
