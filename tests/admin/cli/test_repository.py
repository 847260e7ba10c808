"""`snapfleet repository`: what is asked for, what is shown, and the key that leaves by one command only."""

import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from admin.costs import BLOCKS_A_GIB, estimate, prices
from coordinator.requests import handle_requests
from tasks.catalog import Account, Audit, Job, Point, Repository, Request, session, transaction
from tasks.clock import host_time
from tasks.secrets import Secret, seal, unseal
from tasks.settings import load_settings
from tasks.states import JobState
from tests.admin.catalogue import AT, heartbeat, seed
from tests.admin.cli.conftest import Cli

pytestmark = pytest.mark.unit

PASSPHRASE = "planted-repository-passphrase"
Background = Callable[[Callable[[], None]], None]


def keep() -> None:
    """A repository of the estate, its key sealed, and facts that workers left."""
    seed()
    key = load_settings().master_key()
    with transaction():
        Account.get_or_create(name="prod", defaults={"regions": ["us-east-1"]})
        Repository.create(
            name="cold",
            spec={"account": "prod", "url": "s3://acme/cold", "region": "us-east-1", "key": "env:K"},
            key_sealed=seal(key, Secret(PASSPHRASE), "repository.key.cold"),
            facts={"stats": {"stored_bytes": 77}, "verify": {"problems": 0, "at": "2026-11-22T00:00:00+00:00"}},
            created_at=AT,
        )


def worker(state: JobState, result: dict[str, Any], text: str = "", kind: str = "repository") -> Callable[[], None]:
    """A coordinator that takes wishes up, and a worker that does what is asked of a repository."""

    def step() -> None:
        heartbeat()
        handle_requests(host_time(), host_time())
        with transaction():
            Job.update(state=state, result=result, error_text=text, finished_at=host_time()).where(
                Job.kind == kind, Job.state == JobState.PENDING
            ).execute()

    return step


def test_a_repository_is_listed_and_shown_with_what_workers_found_and_never_with_its_key(cli: Cli) -> None:
    """feature 82"""
    keep()
    listed = cli("repository", "list")
    assert "s3://acme/cold" in listed.out
    shown = cli("repository", "show", "cold", "-o", "json")
    assert shown.json["facts"]["stats"] == {"stored_bytes": 77}
    assert shown.json["under_way"] == []
    assert PASSPHRASE not in listed.out + shown.out + cli("repository", "show", "cold").out
    assert cli("repository", "show", "warm").code == 2


def test_what_is_asked_of_a_repository_is_a_wish_and_its_outcome_is_the_exit_code(
    cli: Cli, background: Background
) -> None:
    keep()
    assert cli("repository", "verify", "cold", "--share", "30/30").code == 2
    assert cli("repository", "verify", "warm").code == 2
    background(worker(JobState.DONE, {"problems": 0, "packs": 3}))
    said = cli("repository", "verify", "cold", "--share", "3/30", "--wait", "-o", "json")
    assert (said.code, said.json) == (0, {"problems": 0, "packs": 3})
    with session():
        wish = Request.get()
        job = Job.get(Job.kind == "repository")
    assert wish.payload == {"name": "cold", "verb": "verify", "share": [3, 30]}
    assert (job.lane, job.spec["share"]) == ("repository", [3, 30])


@pytest.mark.parametrize(
    ("state", "result", "text", "code"),
    [(JobState.DONE, {"problems": 2}, "", 1), (JobState.FAILED, {}, "No key slot opens with what was given.", 4)],
)
def test_damage_and_refusals_are_told(
    cli: Cli, background: Background, state: JobState, result: dict[str, Any], text: str, code: int
) -> None:
    """feature 84: a script sees by the exit code that something is wrong."""
    keep()
    background(worker(state, result, text))
    said = cli("repository", "verify", "cold", "--full", "--wait")
    assert said.code == code
    assert text in said.err


def test_the_key_is_written_to_a_new_private_file_and_nowhere_else(cli: Cli, tmp_path: Path) -> None:
    """feature 82: with the passphrase and the bucket alone everything can be restored."""
    keep()
    file = tmp_path / "cold.key"
    said = cli("repository", "export-key", "cold", str(file))
    assert said.code == 0
    assert PASSPHRASE not in said.out + said.err
    assert file.read_text() == PASSPHRASE
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert cli("repository", "export-key", "cold", str(file)).code == 4


def test_an_estimate_names_requests_bytes_and_dollars_for_each_class(cli: Cli) -> None:
    """feature 82: reading 1 TiB costs $6.29 in requests for blocks, as the price list says."""
    rows = estimate(1024, 1, 1.0, {**prices(), "ebs_list_per_1000_requests": 0.0})
    standard = next(row for row in rows if row["class"] == "STANDARD")
    assert standard["ebs_requests"] == 1024 * BLOCKS_A_GIB + 210
    assert 6.29 < standard["once_usd"] < 6.29 + standard["s3_requests"] * 0.005 / 1000 + 0.01
    assert standard["month_usd"] > next(row for row in rows if row["class"] == "DEEP_ARCHIVE")["month_usd"]
    keep()
    said = cli("repository", "estimate", "web", "-o", "json")
    assert [row["archive"] for row in said.json["costs"]].count("first") == 4
    assert said.json["size_gib"] >= 0


def test_an_import_is_a_wish_and_a_dry_run_lists_what_would_be_taken_in(cli: Cli, background: Background) -> None:
    """feature 7: what is typed reaches the coordinator as filters, times as UTC, and wrong ones are refused at once."""
    keep()
    asked = ("repository", "import", "cold", "--account", "prod", "--region", "us-east-1", "--tag", "team=web")
    assert cli(*asked[:-1], "team").code == 2
    assert cli(*asked, "--since", "yesterday").code == 2
    assert cli("repository", "import", "warm", *asked[3:]).code == 2
    found = {"snapshot": "snap-7", "volume": "vol-7", "size_gib": 8, "taken_at": "2025-01-01T00:00:00+00:00"}
    background(worker(JobState.DONE, {"snapshots": 1, "told": [], "found": [found]}, kind="import-look"))
    said = cli(*asked, "--since", "2025-01-01", "--volume", "vol-7", "--keep", "7y", "--dry-run")
    assert said.code == 0
    assert "snap-7" in said.out
    with session():
        job = Job.get(Job.kind == "import-look")
        imports = Job.select().where(Job.kind == "import").count()
    wanted = {"tags": {"team": "web"}, "since": "2025-01-01T00:00:00+00:00", "volumes": ["vol-7"], "keep": "7y"}
    assert job.spec == {"repository": "cold", **wanted, "dry_run": True}
    assert (job.lane, job.region, imports) == ("discover", "us-east-1", 0)


def test_an_adoption_carries_its_passphrase_sealed_and_refuses_what_no_estate_could_say(
    cli: Cli, background: Background, tmp_path: Path
) -> None:
    """feature 82: the passphrase is read where --key says, and is in no row, audit or answer in clear."""
    keep()
    file = tmp_path / "key"
    file.write_text(PASSPHRASE)
    asked = ("repository", "adopt", "s3://acme/old", "--name", "old", "--account", "prod", "--region", "us-east-1")
    for wrong in (("--key", PASSPHRASE), ("--key", f"file:{file}", "--name", "a b"), ("--key", "env:NOT_THERE")):
        said = cli(*asked, *wrong)
        assert said.code == 2
        assert PASSPHRASE not in said.out + said.err
    assert cli("repository", "adopt", "http://acme").code == 2
    background(worker(JobState.DONE, {"points": 3, "told": []}, kind="adopt"))
    said = cli(*asked, "--key", f"file:{file}", "--wait", "-o", "json")
    assert (said.code, said.json) == (0, {"points": 3, "told": []})
    with session():
        job, wish, audit = Job.get(Job.kind == "adopt"), Request.get(Request.kind == "adopt"), Audit.get()
    assert PASSPHRASE not in str([job.spec, wish.payload, audit.detail]) + said.out
    sealed = unseal(load_settings().master_key(), job.spec["key_sealed"], "repository.key.old")
    assert sealed.reveal() == PASSPHRASE
    assert cli("repository", "adopt", "s3://acme/cold/", "--dry-run").code == 0


def test_an_archive_now_names_its_point_and_its_repository(cli: Cli) -> None:
    """feature 82: what is asked for reaches the coordinator; a point or repository that there is not is refused."""
    keep()
    with session():
        point = Point.get()
    assert cli("repository", "archive", "rp-99999").code == 2
    assert cli("repository", "archive", f"rp-{point.id}", "--to", "warm").code == 2
    assert cli("repository", "archive", f"rp-{point.id}", "--to", "cold").code == 0
    with session():
        wish = Request.get(Request.kind == "archive")
    assert wish.payload == {"point": point.id, "repository": "cold"}


def test_keys_travel_sealed_and_one_kind_is_given_at_a_time(cli: Cli, background: Background, tmp_path: Path) -> None:
    """feature 82: no key is in a row, an audit or an answer in clear."""
    keep()
    short, file = tmp_path / "short", tmp_path / "file"
    short.write_bytes(b"x")
    file.write_bytes(b"planted key file of 32 bytes.....")
    assert cli("repository", "add-key", "cold").code == 2
    assert cli("repository", "add-key", "cold", "--kms", "arn", "--key", "env:K").code == 2
    assert cli("repository", "add-key", "cold", "--key-file", str(short)).code == 2
    assert cli("repository", "rotate-key", "cold", "--key", PASSPHRASE).code == 2
    background(
        worker(JobState.DONE, {"slots": [{"slot": "0a", "kind": "file", "estate": False}]}, kind="repository-keys")
    )
    said = cli("repository", "add-key", "cold", "--key-file", str(file), "--wait")
    assert said.code == 0
    assert "0a" in cli("repository", "keys", "cold").out
    with session():
        told = str([(row.payload) for row in Request.select()]) + str([row.detail for row in Audit.select()])
        told += str([job.spec for job in Job.select()])
    assert file.read_bytes().hex() not in told + said.out
    with session():
        job = Job.get(Job.kind == "repository-keys")
    master = load_settings().master_key()
    assert unseal(master, job.spec["key_sealed"], "repository.slot.cold").reveal() == file.read_bytes().hex()
