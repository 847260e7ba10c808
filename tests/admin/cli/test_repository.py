"""`snapfleet repository`: what is asked for, what is shown, and the key that leaves by one command only."""

import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from admin.costs import BLOCKS_A_GIB, Load, estimate, prices, snapshots_month
from coordinator.requests import handle_requests
from tasks.catalog import (
    Account,
    Audit,
    Job,
    Part,
    Point,
    Policy,
    Repository,
    Request,
    Resource,
    Run,
    session,
    transaction,
)
from tasks.clock import host_time
from tasks.progress import Progress
from tasks.secrets import Secret, seal, unseal
from tasks.settings import load_settings
from tasks.states import JobState
from tests.admin.catalogue import AT, heartbeat, seed
from tests.admin.cli.conftest import Cli
from workers.repository.cold import monthly_prices

pytestmark = pytest.mark.unit

PASSPHRASE = "planted-repository-passphrase"
KMS = "arn:aws:kms:us-east-1:111111111111:key/11111111-2222-3333-4444-555555555555"
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
            Job.update(
                state=state, result=result, error_code="refused", error_text=text, finished_at=host_time()
            ).where(Job.kind == kind, Job.state == JobState.PENDING).execute()

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
    rows = estimate(Load(1, 1024), 1.0, prices())
    standard = next(row for row in rows if row["class"] == "STANDARD")
    assert standard["ebs_requests"] == 1024 * BLOCKS_A_GIB + 210
    assert 6.29 < standard["once_usd"] < 6.29 + standard["s3_requests"] * 0.005 / 1000 + 0.01
    assert standard["month_usd"] > next(row for row in rows if row["class"] == "DEEP_ARCHIVE")["month_usd"]
    keep()
    said = cli("repository", "estimate", "web", "-o", "json")
    assert [row["archive"] for row in said.json["costs"]].count("first") == 7
    assert said.json["size_gib"] >= 0


def test_listing_what_changed_costs_next_to_nothing_however_many_volumes_there_are() -> None:
    """feature 82: $0.0006 for a thousand requests, as the price list says, and one such for each volume."""
    rows = estimate(Load(90_000, 90_000), 0.0, prices())
    puts = rows[0]["s3_requests"] / 1000 * prices()["classes"]["STANDARD"]["put_per_1000"]
    assert round(rows[0]["once_usd"] - puts, 3) == 0.054


def test_what_keeping_costs_is_the_same_wherever_it_is_told() -> None:
    """An estimate has its prices from one file, the cost of an early deletion from the engine's."""
    given = prices()
    told = {name: row["gib_month"] for name, row in (given["classes"] | given["azure"]["classes"]).items()}
    assert {name: told[name] for name in monthly_prices()} == monthly_prices()


def test_an_estimate_of_azures_disks_has_the_tiers_of_azure_blob_and_no_requests_of_ebs(cli: Cli) -> None:
    """feature 28, feature 82: what is archived decides what reading costs, the place what keeping does."""
    disks = Load(2, 100, azure_volumes=2, azure_gib=100, into_azure=True)
    rows = {row["class"]: row for row in estimate(disks, 1.0, prices())}
    assert sorted(rows) == ["ARCHIVE", "COLD", "COOL", "HOT"]
    assert {row["ebs_requests"] for row in rows.values()} == {0}
    assert rows["HOT"]["month_usd"] == round(56 * 0.018, 4)
    assert rows["HOT"]["once_usd"] == round(rows["HOT"]["s3_requests"] * 0.0055 / 1000, 4)
    assert rows["ARCHIVE"]["month_usd"] < rows["COLD"]["month_usd"] < rows["COOL"]["month_usd"]
    into_s3 = estimate(Load(2, 100, azure_volumes=2, azure_gib=100), 1.0, prices())
    assert {row["class"] for row in into_s3} >= {"STANDARD"}
    mixed = estimate(Load(3, 300, azure_volumes=2, azure_gib=100), 1.0, prices())
    assert mixed[0]["ebs_requests"] == estimate(Load(1, 200), 1.0, prices())[0]["ebs_requests"]
    assert snapshots_month(Load(3, 300, azure_volumes=2, azure_gib=100), prices()) == 15.0


def test_an_estimate_follows_the_policys_targets_and_its_repositorys_place(cli: Cli) -> None:
    """feature 82: the cloud of the volumes, and the address of the repository."""
    keep()
    with session():
        point = Point.get()
    with transaction():
        Part.create(point=point.id, external_id="snap-9", source_id="vol-9", size_gib=8)
    before = cli("repository", "estimate", "web", "-o", "json").json
    assert {row["class"] for row in before["costs"]} >= {"STANDARD"}
    with transaction():
        Resource.update(type="azure-disk").where(Resource.id == point.resource_id).execute()
    after = cli("repository", "estimate", "web", "-o", "json").json
    assert after["costs"][0]["ebs_requests"] < before["costs"][0]["ebs_requests"]
    with transaction():
        row = Policy.get(Policy.name == "web")
        Policy.update(spec={**row.spec, "repository": {"name": "cold"}}).where(Policy.id == row.id).execute()
        place = Repository.get(Repository.name == "cold")
        Repository.update(spec={**place.spec, "url": "azure://acct/c"}).where(Repository.id == place.id).execute()
    assert {row["class"] for row in cli("repository", "estimate", "web", "-o", "json").json["costs"]} == {
        "HOT", "COOL", "COLD", "ARCHIVE",
    }  # fmt: skip
    assert "One snapshot of each costs" in cli("repository", "estimate", "web").out


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
    sealed = unseal(load_settings().master_key(), job.spec["key_sealed"], "repository.slot.old")
    assert (sealed.reveal(), job.spec["how"], job.spec["reference"]) == (PASSPHRASE, "passphrase", f"file:{file}")
    content = tmp_path / "cold.key"
    content.write_bytes(bytes(range(32)))
    assert cli(*asked, "--key-file", str(content), "--key", f"file:{file}").code == 2
    assert cli(*asked, "--key-file", str(content)).code == 0
    assert cli(*asked, "--kms-key", "arn:aws:kms:us-east-1:111111111111:key/k").code == 0
    with session():
        given = [row.payload for row in Request.select().where(Request.kind == "adopt").order_by(Request.id)]
    assert [one["how"] for one in given] == ["passphrase", "file", "kms"]
    assert bytes(range(32)).hex() not in str(given)
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


def test_a_key_file_leaves_as_it_was_and_a_key_of_kms_never(cli: Cli, tmp_path: Path) -> None:
    """feature 82: what cannot be exported says what to do instead."""
    keep()
    content, file = bytes(range(64)), tmp_path / "cold.key"
    sealed = seal(load_settings().master_key(), Secret(content.hex()), "repository.key_file.cold")
    spec = {"account": "prod", "url": "s3://acme/cold", "region": "us-east-1"}
    with transaction():
        Repository.update(spec={**spec, "key_file": "/safe/cold"}, key_sealed=sealed).execute()
    assert cli("repository", "export-key", "cold", str(file)).code == 0
    assert file.read_bytes() == content
    with transaction():
        Repository.update(spec={**spec, "kms_key": KMS}, key_sealed="").execute()
    said = cli("repository", "export-key", "cold", str(tmp_path / "other"))
    assert (said.code, "add-key cold --key-file" in said.err) == (4, True)
    assert not (tmp_path / "other").exists()


def test_a_repository_is_created_with_the_key_that_is_named(cli: Cli, tmp_path: Path) -> None:
    """feature 82: a passphrase, a key file or a key of KMS; one of them."""
    keep()
    file = tmp_path / "file"
    file.write_bytes(b"planted key file of 32 bytes.....")
    assert cli("repository", "create", "cold", "--kms-key", "alias/x").code == 2
    assert cli("repository", "create", "cold", "--kms-key", KMS, "--key-file", str(file)).code == 2
    assert cli("repository", "create", "cold", "--kms-key", KMS).code == 0
    assert cli("repository", "create", "cold", "--key-file", str(file)).code == 0
    assert cli("repository", "create", "cold").code == 0
    with session():
        wishes = [row.payload for row in Request.select().order_by(Request.id)]
    assert wishes[0] == {"name": "cold", "verb": "create", "how": "kms", "kms_key": KMS, "reference": KMS}
    assert (wishes[1]["how"], wishes[1]["reference"]) == ("file", str(file))
    assert wishes[2] == {"name": "cold", "verb": "create"}
    assert file.read_bytes().hex() not in str(wishes)


def test_what_an_archive_would_cost_is_said_and_nothing_is_asked_for(cli: Cli, background: Background) -> None:
    """feature 82: a first one is full, a later one of what changed; an import's is that of all it would take in."""
    keep()
    with session():
        point = Point.get()
    with transaction():
        Part.create(point=point.id, external_id="snap-1", source_id="vol-1", size_gib=100)
    asked = ("repository", "archive", f"rp-{point.id}", "--to", "cold", "--dry-run")
    first = cli(*asked, "-o", "json").json
    assert (first["first"], first["size_gib"]) == (True, sum_of_parts(point))
    with transaction():
        columns = {"policy": point.policy_id, "account": point.account_id, "region": point.region}
        Point.create(
            resource=point.resource_id,
            kind="archive",
            destination="repository:cold",
            state="good",
            taken_at=AT,
            **columns,
        )
    later = cli(*asked, "-o", "json").json
    assert later["first"] is False
    assert later["costs"][0]["once_usd"] < first["costs"][0]["once_usd"] / 20
    assert "USD A MONTH" in cli(*asked).out
    found = [{"snapshot": f"snap-{n}", "volume": "vol-7", "size_gib": 8, "taken_at": "2025-01-01"} for n in range(2)]
    background(worker(JobState.DONE, {"snapshots": 2, "found": found}, kind="import-look"))
    said = cli("repository", "import", "cold", "--account", "prod", "--region", "us-east-1", "--dry-run", "-o", "json")
    assert said.json["costs"][0]["ebs_requests"] == 8 * BLOCKS_A_GIB + 2 + 328 + 1
    with session():
        assert not Job.select().where(Job.kind == "archive").exists()


def test_a_deletion_is_shown_first_and_its_address_travels_as_the_consent(cli: Cli, background: Background) -> None:
    """feature 84: what is not clear is refused at once, and without a terminal nothing is deleted but by --confirm."""
    keep()
    path = ("--path", "s3://acme/old", "--account", "prod", "--region", "us-east-1")
    for wrong in ((), ("cold", *path), ("warm",), ("--path", "http://acme")):
        assert cli("repository", "delete", *wrong).code == 2
    found = {"url": "s3://acme/old", "repository": True, "objects": 7, "foreign": 30, "told": ["notes"], "blocked": ""}
    background(worker(JobState.DONE, found, kind="repository-delete"))
    said = cli("repository", "delete", *path)
    assert said.code == 0
    assert "stays: notes" in said.out
    assert "stays: 29 more" in said.out
    assert "Nothing was deleted. To delete it: --confirm s3://acme/old" in said.out
    assert cli("repository", "delete", *path, "-o", "json").json == found
    assert cli("repository", "delete", *path, "--confirm", "s3://acme/other").code == 4
    assert cli("repository", "delete", *path, "--confirm", "s3://acme/old", "--wait").code == 0
    with session():
        specs = [job.spec for job in Job.select().where(Job.kind == "repository-delete").order_by(Job.id)]
    assert [spec.get("confirm") for spec in specs] == [None, None, "s3://acme/old"]


def sum_of_parts(point: Point) -> int:
    """GiB of a point's parts."""
    with session():
        return sum(part.size_gib for part in Part.select().where(Part.point == point.id))


def test_how_far_each_job_is_stands_beside_it_with_rate_and_time_left(cli: Cli) -> None:
    """feature 82: archives, restores, verifications; figures as JSON, words for people, and nothing of what is over."""
    keep()
    far = Progress(25 << 30, 100 << 30, 10 << 30, 100 << 20, 250 << 20, AT.isoformat(), AT.isoformat()).to_json()
    with transaction():
        run = Run.get()
        account = Account.get(Account.name == "prod")
        row = {"account": account.id, "region": "us-east-1", "progress": far, "not_before_at": AT, "created_at": AT}
        lane = {**row, "lane": "repository", "state": JobState.RUNNING}
        Job.create(kind="archive", key="a", run=run.id, spec={"repository": "cold"}, **lane)
        Job.create(kind="repository", key="v", spec={"repository": "cold", "verb": "verify"}, **lane)
        Job.create(
            kind="repository", key="p", spec={"repository": "cold", "verb": "prune"}, **{**lane, "state": "done"}
        )
    found = cli("repository", "show", "cold", "-o", "json").json["under_way"]
    assert [one["kind"] for one in found] == ["archive", "verify"]
    assert {(one["percent"], one["mib_per_second"], one["seconds_left"]) for one in found} == {(25, 100.0, 307)}
    assert found[0]["done_bytes"] == 25 << 30
    assert "5m 7s" in cli("repository", "show", "cold").out
    shown = cli("runs", "show", f"run-{run.id}")
    assert any("archive" in line and "25" in line and "5m 7s" in line for line in shown.out.splitlines())
