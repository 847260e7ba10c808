"""Setting up: one command from nothing, silent when asked to be, and harmless when repeated."""

import stat
from pathlib import Path

import pytest

from admin.cli.main import run
from admin.web.passwords import verify_password
from tasks.catalog import Meta, User, close_catalog, session
from tasks.catalog.era import awaits_rebuild, read_era
from tasks.secrets import MasterKey

PASSWORD = "a-password-of-my-own"


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where nothing is yet."""
    for name in ("CATALOG_URL", "BROKER_URL", "KEY_FILE", "ADMIN_PASSWORD"):
        monkeypatch.delenv(f"SNAPFLEET_{name}", raising=False)
    monkeypatch.setenv("SNAPFLEET_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def test_everything_is_made_in_one_silent_call(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """feature 4"""
    assert run(["init", "--yes"]) == 0
    said = capsys.readouterr()
    assert said.err == ""
    (password,) = [line.split()[-1] for line in said.out.splitlines() if "shown once" in line]
    with session():
        user = User.get_by_id("admin")
        assert Meta.get_by_id("installation").value in said.out
    assert verify_password(user.password_hash, password)
    assert stat.S_IMODE(place.stat().st_mode) == 0o700
    assert stat.S_IMODE((place / "keys" / "master.key").stat().st_mode) == 0o600
    assert "snapfleet up" in said.out
    close_catalog()


def test_a_home_that_cannot_be_made_is_named(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    place.write_text("a file")
    monkeypatch.setenv("SNAPFLEET_HOME", str(place / "below"))
    assert run(["init", "--yes"]) == 2
    assert capsys.readouterr().err == (
        f"The folder {place}/below cannot be made: Not a directory. Choose another with SNAPFLEET_HOME.\n"
    )


def test_repeating_it_changes_nothing(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(["init", "--yes"])
    with session():
        before = [(row.key, row.value) for row in Meta.select()], [row.password_hash for row in User.select()]
    capsys.readouterr()
    assert run(["init", "--yes"]) == 0
    assert capsys.readouterr().out.startswith("Everything is there already.\n")
    with session():
        assert before == ([(row.key, row.value) for row in Meta.select()], [row.password_hash for row in User.select()])
    close_catalog()


def test_a_password_from_the_environment_is_taken_and_not_shown(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SNAPFLEET_ADMIN_PASSWORD", PASSWORD)
    assert run(["init", "--yes", "--user", "maria", "-o", "json"]) == 0
    assert PASSWORD not in capsys.readouterr().out
    with session():
        assert verify_password(User.get_by_id("maria").password_hash, PASSWORD)
    close_catalog()


def test_a_catalog_in_use_is_not_given_a_second_key(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """feature 94: a new key beside sealed secrets would lose them all."""
    run(["init", "--yes"])
    key = place / "keys" / "master.key"
    key.unlink()
    assert run(["init", "--yes"]) == 4
    assert "Bring keys/master.key" in capsys.readouterr().err
    assert not key.exists()
    MasterKey.create(key)
    assert run(["init", "--yes"]) == 4
    close_catalog()


def test_settings_given_as_flags_are_kept_and_secrets_are_refused(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["init", "--yes", "--catalog-url", "postgresql://me:secret@db/snapfleet"]) == 2
    assert "secret" not in capsys.readouterr().err.replace("no secret is written", "")
    url = f"sqlite://{place / 'other.sqlite'}"
    assert run(["init", "--yes", "--catalog-url", url]) == 0
    assert (place / "snapfleet.toml").read_text() == f'catalog_url = "{url}"\n'
    assert (place / "other.sqlite").exists()
    assert run(["points"]) == 0
    close_catalog()


def test_a_fleet_catalog_is_set_up_and_asked_like_an_embedded_one(
    place: Path, database_url: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SNAPFLEET_CATALOG_URL", database_url)
    monkeypatch.setenv("SNAPFLEET_ADMIN_PASSWORD", PASSWORD)
    monkeypatch.setenv("SNAPFLEET_BROKER_URL", "amqp://guest:guest@127.0.0.1:1/")
    assert run(["init", "--yes"]) == run(["init", "--yes"]) == 0
    said = capsys.readouterr().out
    assert "snapfleet coordinator" in said
    assert "snapfleet up" not in said
    monkeypatch.delenv("SNAPFLEET_BROKER_URL")
    assert run(["doctor", "--wait", "0"]) == run(["upgrade"]) == run(["policies"]) == 0
    assert capsys.readouterr().err == ""
    close_catalog()


def test_a_password_that_is_too_short_is_refused(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SNAPFLEET_ADMIN_PASSWORD", "short")
    assert run(["init", "--yes"]) == 2
    assert "12 to 256 characters" in capsys.readouterr().err
    close_catalog()


def test_the_id_of_a_lost_installation_is_taken_over_by_an_empty_catalog_alone(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """feature C11: an era whose number no earlier one can have had, so that nothing of the lost one's is adopted."""
    assert run(["init", "--yes", "--installation", "not-an-id"]) == 2
    assert "no id of an installation" in capsys.readouterr().err
    assert run(["init", "--yes", "--installation", "00c0ffee00c0ffee"]) == 0
    assert "snapfleet state rebuild" in capsys.readouterr().out
    with session():
        era = read_era()
        assert (Meta.get_by_id("installation").value, awaits_rebuild("1:us-east-1:ec2")) == ("00c0ffee00c0ffee", True)
    assert era is not None
    assert era.number > 1_700_000_000
    assert run(["init", "--yes", "--installation", "00c0ffee00c0ffee"]) == 0
    assert run(["init", "--yes", "--installation", "11c0ffee00c0ffee"]) == 4
    assert "is of the installation 00c0ffee00c0ffee" in capsys.readouterr().err
    with session():
        assert read_era() == era
    close_catalog()
