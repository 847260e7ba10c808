"""`snapfleet state` as it is typed: what an operator is told when an installation is put back somewhere else."""

from base64 import b64encode
from pathlib import Path

import pytest

from tests.admin.cli.conftest import Cli

pytestmark = pytest.mark.unit
LOST = "postgresql://old.example/snapfleet"


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    file = tmp_path / "state.key"
    file.write_text("a secret of many words")
    return file


def another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty place, named by the environment from now on."""
    home = tmp_path / "another"
    monkeypatch.setenv("SNAPFLEET_HOME", str(home))
    monkeypatch.setenv("SNAPFLEET_CATALOG_URL", f"sqlite:///{tmp_path}/another.sqlite")
    return home


def test_settings_that_lead_away_from_what_was_put_back_are_named(
    cli: Cli, home: Path, key_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next process without the variable would work on the catalog of the lost installation, if that is still
    there."""
    (home / "snapfleet.toml").write_text(f'catalog_url = "{LOST}"\nthreads = 4\n')
    file = str(tmp_path / "x.state")
    made = cli("state", "backup", file, "--key-file", str(key_file), "-o", "json").json
    assert "keys/master.key" in made["files"]
    another(tmp_path, monkeypatch)
    asked = ("state", "restore", file, "--key-file", str(key_file))
    assert cli(*asked, "--dry-run").code == 0
    said = cli(*asked)
    assert said.code == 0
    assert "snapfleet.toml names another catalog_url" in said.out
    assert cli(*asked, "--force", "-o", "json").json["elsewhere"] == ["catalog_url"]


def test_a_backup_without_the_master_key_asks_for_the_command_that_prints_it_before_anything_is_touched(
    cli: Cli, home: Path, key_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`snapfleet init`, which a missing key file asks for, would make another key."""
    file, vault = str(tmp_path / "x.state"), tmp_path / "vault"
    (home / "keys" / "master.key").rename(vault)
    monkeypatch.setenv("SNAPFLEET_KEY_COMMAND", f"cat {vault}")
    assert cli("state", "backup", file, "--key-file", str(key_file)).code == 0
    place = another(tmp_path, monkeypatch)
    asked = ("state", "restore", file, "--key-file", str(key_file), "-o", "json")
    monkeypatch.delenv("SNAPFLEET_KEY_COMMAND")
    refused = cli(*asked, "--dry-run")
    assert refused.code == 2
    assert "SNAPFLEET_KEY_COMMAND" in refused.error["advice"]
    strange = tmp_path / "strange"
    strange.write_bytes(b64encode(bytes(32)))
    monkeypatch.setenv("SNAPFLEET_KEY_COMMAND", f"cat {strange}")
    assert "is not this bundle's" in cli(*asked).error["text"]
    assert not place.exists()
    monkeypatch.setenv("SNAPFLEET_KEY_COMMAND", f"cat {vault}")
    assert cli(*asked).json["elsewhere"] == []
