"""The whole installation as one file and back, on both databases and from one to the other."""

import resource
import signal
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from admin.audit import verify_audit
from admin.bundle import Writer, read_bundle
from admin.setup import prepare_catalog, prepare_home
from admin.state import KEY_FILE, TABLES, back_up, inspect, table_rows
from admin.state_restore import restore
from coordinator.facts import policy_facts
from coordinator.resolve import resolve_runs
from tasks.catalog import Job, Policy, Run, close_catalog, open_catalog, session, transaction
from tasks.catalog.audit import Anchor
from tasks.catalog.era import read_era
from tasks.errors import Invalid, Refused
from tasks.secrets import MasterKey, Secret
from tasks.settings import Settings
from tasks.states import RunState
from tests.admin.catalogue import AT, HOSTILE, heartbeat, seed, seed_rest

SECRET = Secret("a passphrase of many words")
NOW = datetime(2026, 12, 1, tzinfo=UTC)


def installation(home: Path, url: str) -> Settings:
    """A home with key, settings and a catalog in which every kind of row is there."""
    made = Settings(home=home, catalog_url=url)
    home.mkdir(mode=0o700)
    prepare_catalog(made)
    (home / "snapfleet.toml").write_text('threads = "4"\n')
    seed(HOSTILE[:8])
    seed_rest(HOSTILE[4])
    heartbeat()
    return made


def everything() -> dict[str, list[Any]]:
    with session():
        return {model._meta.table_name: list(table_rows(model)) for model in TABLES}


def other(request: pytest.FixtureRequest, url: str) -> str:
    """An empty catalog on the database that `url` is not on."""
    name = "postgres_catalog_url" if url.startswith("sqlite") else "sqlite_url"
    return str(request.getfixturevalue(name))


@pytest.mark.long
def test_an_installation_is_put_back_as_it_was_on_either_database(
    catalog: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """Features 69, 52 and C23: every row, the key, the settings, the audit; who ran then is not there any more."""
    lost = installation(tmp_path / "lost", catalog)
    before, file = everything(), tmp_path / "x.state"
    told = back_up(lost, file, SECRET, NOW)
    assert told.tables["point"] == 8
    assert told.files == ["snapfleet.toml", KEY_FILE]
    assert file.stat().st_mode & 0o777 == 0o600
    close_catalog()
    new = Settings(home=tmp_path / "new", catalog_url=other(request, catalog))
    assert restore(new, file, SECRET, force=False, who="ada", dry_run=True).tables == told.tables
    assert not new.home.exists()
    restore(new, file, SECRET, force=False, who="ada")
    after = everything()
    assert (new.home / KEY_FILE).read_bytes() == (lost.home / KEY_FILE).read_bytes()
    assert (new.home / "snapfleet.toml").read_text() == 'threads = "4"\n'
    for name in before.keys() - {"meta", "audit", "job"}:
        assert after[name] == before[name], name
    assert [row["action"] for row in after["audit"][len(before["audit"]) :]] == ["state.restore"]
    chain = verify_audit(Anchor.parse(told.audit))  # it goes on, by the key that was in the file, from where that ends
    assert (chain["whole"], chain["rows"]) == (True, len(before["audit"]) + 1)
    with transaction():  # numbers go on after those that were given
        newest = max(row["id"] for row in before["run"])
        made = Run.create(policy=Policy.get().id, slot_at=NOW, created_at=NOW)
        assert made.id > newest


@pytest.mark.long
def test_a_place_in_use_is_refused_unless_somebody_insists(catalog: str, tmp_path: Path) -> None:
    used = installation(tmp_path / "home", catalog)
    file = tmp_path / "x.state"
    back_up(used, file, SECRET, NOW)
    with pytest.raises(Refused, match="holds an installation"):
        restore(used, file, SECRET, force=False, who="ada")
    with pytest.raises(Refused, match="catalog holds an installation"):
        restore(replace(used, home=tmp_path / "elsewhere"), file, SECRET, force=False, who="ada")
    with transaction():
        Policy.update(name="changed").execute()
    restore(used, file, SECRET, force=True, who="ada")
    with session():
        assert Policy.get().name == "web"
    with pytest.raises(Invalid, match="there already"):
        back_up(used, file, SECRET, NOW)


def test_a_restore_that_fails_leaves_key_settings_and_catalog_as_they_were(catalog: str, tmp_path: Path) -> None:
    """Insisted upon over an installation, its key was replaced before its catalog was: the secrets of the one that
    stayed did not open any more."""
    lost = installation(tmp_path / "lost", catalog)
    file, bad = tmp_path / "x.state", tmp_path / "bad.state"
    back_up(lost, file, SECRET, NOW)
    names = {"point": "policy", "policy": "point"}
    with Writer(bad, SECRET) as writer:  # every hash is right, and its rows do not fit into their tables
        for record in read_bundle(file, SECRET):
            if record.get("end", {}).get("table") in names:
                record["end"]["table"] = names[record["end"]["table"]]
            writer.add(record)
    used = replace(lost, home=tmp_path / "used")
    prepare_home(used.home)
    MasterKey.create(used.key_path)
    key, before = used.key_path.read_bytes(), everything()
    with pytest.raises(Invalid, match="another order"):
        restore(used, bad, SECRET, force=True, who="ada")
    assert used.key_path.read_bytes() == key
    assert not (used.home / "snapfleet.toml").exists()
    assert everything() == before


def test_what_was_lost_after_the_backup_is_looked_for_and_not_made_again(catalog: str, tmp_path: Path) -> None:
    """Feature 69: a slot that runs anew has the token it had, whatever numbers its rows get; its attempt is no first
    one, so that it looks; tokens that name rows are other ones."""
    home = installation(tmp_path / "home", catalog)
    file = tmp_path / "x.state"
    back_up(home, file, SECRET, NOW)
    slot = AT + timedelta(days=1)
    first = _planned(slot)
    with session():
        keys = policy_facts(Policy.get()).installation
    restore(home, file, SECRET, force=True, who="ada")
    with transaction():
        assert read_era() is not None
        earlier = AT - timedelta(days=3)
        Run.create(policy=Policy.get().id, slot_at=earlier, state=RunState.DONE, created_at=AT)  # takes the lost number
    again = _planned(slot)
    assert {key for key, _ in first} == {key for key, _ in again}
    assert {fence for _, fence in first} == {0}
    assert {fence for _, fence in again} == {1}
    with session():
        assert policy_facts(Policy.get()).installation != keys


def _planned(slot: datetime) -> list[tuple[str, int]]:
    """Keys and fences of the jobs that a run of this slot gets."""
    with transaction():
        run = Run.create(policy=Policy.get().id, slot_at=slot, created_at=AT)
    with session():
        for later in (timedelta(0), timedelta(minutes=6)):
            resolve_runs(AT + later, timedelta(days=999))
        return [(job.key, job.fence) for job in Job.select().where(Job.run == run.id)]


@pytest.mark.unit
def test_another_secret_and_a_newer_schema_are_refused_before_anything_is_touched(
    sqlite_url: str, tmp_path: Path
) -> None:
    open_catalog(sqlite_url)
    lost = installation(tmp_path / "lost", sqlite_url)
    file, new = tmp_path / "x.state", Settings(home=tmp_path / "new")
    back_up(lost, file, SECRET, NOW)
    with pytest.raises(Invalid, match="passphrase or key file is another"):
        restore(new, file, Secret("another passphrase"), force=False, who="ada")
    with pytest.raises(Invalid, match="at least 12"):
        back_up(lost, tmp_path / "y.state", Secret("short"), NOW)
    newer = tmp_path / "newer.state"
    with Writer(newer, SECRET) as writer:
        for record in read_bundle(file, SECRET):
            if "state" in record:
                record["state"]["schema"].append("9999_pre_future")
            writer.add(record)
    with pytest.raises(Invalid, match="newer than this version"):
        restore(new, newer, SECRET, force=False, who="ada")
    assert not new.home.exists()
    close_catalog()


@pytest.mark.unit
@pytest.mark.parametrize("room", [16, 2 << 10])
def test_a_backup_that_cannot_be_written_says_why_and_leaves_nothing_behind(
    sqlite_url: str, tmp_path: Path, room: int
) -> None:
    open_catalog(sqlite_url)
    home = installation(tmp_path / "home", sqlite_url)
    with pytest.raises(Invalid, match="cannot be written: No such file or directory"):
        back_up(home, tmp_path / "nowhere" / "x.state", SECRET, NOW)
    folder = tmp_path / "small"
    folder.mkdir()
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, limit[1]))  # as a full disk, it takes a part and then no more
    try:
        with pytest.raises(Invalid, match="cannot be written: File too large"):
            back_up(home, folder / "x.state", SECRET, NOW)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
        signal.signal(signal.SIGXFSZ, before)
    assert list(folder.iterdir()) == []
    close_catalog()


@pytest.mark.long
@pytest.mark.unit
def test_a_bundle_that_was_changed_anywhere_is_refused(sqlite_url: str, tmp_path: Path) -> None:
    """Each byte is authenticated: one that differs, a cut end and an added one are all seen."""
    open_catalog(sqlite_url)
    file = tmp_path / "x.state"
    back_up(installation(tmp_path / "lost", sqlite_url), file, SECRET, NOW)
    close_catalog()
    whole = file.read_bytes()
    assert b"snapfleet-state" in whole
    assert b"sqlite" not in whole[200:]
    length = len(whole)
    bad = tmp_path / "bad.state"
    for place in (5, 60, 100, length // 2, length - 1):
        bad.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(Invalid):
            inspect(bad, SECRET)
    for text in (whole[:-1], whole[: length // 2], whole + b"x", whole.splitlines(keepends=True)[0], b"", b"{}\n"):
        bad.write_bytes(text)
        with pytest.raises(Invalid):
            inspect(bad, SECRET)


@pytest.mark.long
@pytest.mark.unit
@settings(deadline=None, max_examples=5)
@given(rows=st.lists(st.dictionaries(st.text(max_size=5), st.text(max_size=200), max_size=3), max_size=20))
def test_what_is_written_is_what_is_read_whatever_it_holds(
    rows: list[dict[str, str]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    file = tmp_path_factory.mktemp("bundle") / "x.state"
    with Writer(file, SECRET) as writer:
        for row in rows:
            writer.add(row)
    assert list(read_bundle(file, SECRET)) == rows
