"""Trying retention rules out: what is kept, why, and what is refused."""

import pytest

from tasks.catalog import Policy, transaction
from tests.admin.catalogue import seed
from tests.admin.cli.conftest import Cli

pytestmark = pytest.mark.unit
YEAR = ("--from", "2026-12-31T12:00", "--until", "2027-12-31T12:00")


def test_a_rule_is_simulated_on_the_calendar_of_one_schedule(cli: Cli) -> None:
    """feature C14: seven days, four weeks and twelve months overlap; the newest of a day is also that of its month."""
    seed()
    found = cli(
        "retention", "simulate", "--keep", "daily=7,weekly=4,monthly=12", "--schedule", "nightly", *YEAR, "-o", "json"
    ).json
    local = [row["local"].split()[1] for row in found["kept"]]
    days = ["2027-12-31", "2027-12-30", "2027-12-29", "2027-12-28", "2027-12-27", "2027-12-26", "2027-12-25"]
    weeks = ["2027-12-19", "2027-12-12"]
    months = [
        "2027-11-30", "2027-10-31", "2027-09-30", "2027-08-31", "2027-07-31", "2027-06-30", "2027-05-31",
        "2027-04-30", "2027-03-31", "2027-02-28", "2027-01-31",
    ]  # fmt: skip
    assert local == days + weeks + months
    assert [reason["code"] for reason in found["kept"][0]["reasons"]] == ["daily", "weekly", "monthly", "floor"]
    assert (found["taken"], found["expired"]) == (365, 365 - len(local))
    assert found["most"] >= len(local)


def test_a_policy_brings_its_own_rule_and_schedules_and_flags_replace_the_rule(cli: Cli) -> None:
    """feature C14"""
    seed()
    own = cli("retention", "simulate", "--policy", "web", *YEAR, "-o", "json").json
    assert own["rule"] == {"generations": 2, "keep": {}, "time_zone": "UTC"}
    assert len(own["kept"]) == 2
    more = cli("retention", "simulate", "--policy", "web", "--generations", "30", *YEAR, "-o", "json").json
    assert len(more["kept"]) == 30
    said = cli("retention", "simulate", "--policy", "web", *YEAR).out
    assert said.splitlines()[-1] == "365 taken, 363 expired, 2 kept; at most 2."


def test_rules_are_listed_with_those_of_places_that_have_their_own(cli: Cli) -> None:
    seed()
    with transaction():
        spec = {"generations": 2, "keep": {"daily": 7}, "dr": [{"account": "prod", "region": "eu-1", "generations": 9}]}
        Policy.update(spec=spec).execute()
    rows = cli("retention", "-o", "json").json
    assert [(row["destination"], row["generations"], row["keep"]) for row in rows] == [
        ("", 2, {"daily": 7}),
        ("prod/eu-1", 9, {"daily": 7}),
    ]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--keep", "daily=x", "--schedule", "nightly"], "Write daily=7,weekly=4."),
        (["--keep", "dayly=1", "--schedule", "nightly"], "'dayly' is not one of hourly"),
        (["--keep", "daily=0", "--schedule", "nightly"], "at least 1"),
        (["--keep", "daily=1", "--schedule", "nigtly"], "Did you mean nightly?"),
        (["--keep", "daily=1"], "Name one with --schedule."),
        (["--schedule", "nightly"], "This rule keeps everything."),
        (["--policy", "wbe"], "Did you mean web?"),
        (["--policy", "web", "--from", "2029-01-01"], "--until must be later"),
    ],
)
def test_what_cannot_be_simulated_is_one_sentence(cli: Cli, options: list[str], words: str) -> None:
    seed()
    said = cli("retention", "simulate", "--until", "2028-01-01", *options)
    assert said.code == 2
    assert words in said.err
    assert said.err.count("\n") == 1
