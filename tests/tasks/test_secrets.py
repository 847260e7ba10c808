"""Secrets: hidden when shown, sealed for one place, under a key that lies outside the catalog."""

import base64
import shlex
import sys
from pathlib import Path

import pytest

from tasks.errors import Invalid
from tasks.secrets import MasterKey, Secret, seal, unseal
from tasks.settings import Settings

pytestmark = pytest.mark.unit

KEY = MasterKey(bytes(range(32)))
PLACE = "account.external_id.prod"


def printing(text: str) -> str:
    """A command that prints a text."""
    return f"{shlex.quote(sys.executable)} -c {shlex.quote(f'print({text!r})')}"


def test_a_secret_hides_itself_in_every_form_of_showing() -> None:
    """feature 94"""
    secret = Secret("hunter2")
    for shown in (str(secret), repr(secret), f"{secret}", f"{[secret]}", "%s" % secret):  # noqa: UP031
        assert "hunter2" not in shown
    assert secret.reveal() == "hunter2"


def test_a_sealed_secret_opens_only_in_its_place_and_under_its_key() -> None:
    sealed = seal(KEY, Secret("hunter2"), PLACE)
    assert "hunter2" not in sealed
    assert unseal(KEY, sealed, PLACE) == Secret("hunter2")
    with pytest.raises(Invalid):
        unseal(KEY, sealed, "account.external_id.vault")
    with pytest.raises(Invalid):
        unseal(MasterKey(bytes(32)), sealed, PLACE)


def test_sealing_twice_gives_two_texts_and_nothing_stays_nothing() -> None:
    assert seal(KEY, Secret("x"), PLACE) != seal(KEY, Secret("x"), PLACE)
    assert seal(KEY, Secret(""), PLACE) == ""
    assert unseal(KEY, "", PLACE) == Secret("")


@pytest.mark.parametrize("text", ["{}", "[]", "nonsense", '{"v":1,"k":"!","n":"","c":""}'])
def test_a_malformed_seal_is_refused_in_words(text: str) -> None:
    with pytest.raises(Invalid):
        unseal(KEY, text, PLACE)


def test_a_key_file_is_made_once_for_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "master.key"
    first = MasterKey.create(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert MasterKey.create(path).key_id == first.key_id == MasterKey.load(path).key_id


def test_a_missing_or_broken_key_file_names_itself_and_the_next_step(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="snapfleet init"):
        MasterKey.load(tmp_path / "none")
    (tmp_path / "bad").write_text("not base64!")
    with pytest.raises(Invalid, match="bad"):
        MasterKey.load(tmp_path / "bad")


def test_a_key_may_come_from_a_command_that_asks_a_kms(tmp_path: Path) -> None:
    text = base64.b64encode(bytes(range(32))).decode()
    settings = Settings(home=tmp_path, key_command=printing(text))
    assert settings.master_key().key_id == KEY.key_id


@pytest.mark.parametrize(
    "command", [f"{sys.executable} -c 'raise SystemExit(3)'", "/no/such/program", "'", printing("leak me")]
)
def test_a_key_command_that_fails_is_told_without_what_it_printed(command: str, tmp_path: Path) -> None:
    with pytest.raises(Invalid) as caught:
        Settings(home=tmp_path, key_command=command).master_key()
    assert "leak" not in str(caught.value)
    assert "key command" in str(caught.value)


def test_keys_for_different_purposes_differ() -> None:
    assert len({KEY.derive(purpose) for purpose in (b"message signatures", b"web session", b"key id")}) == 3
