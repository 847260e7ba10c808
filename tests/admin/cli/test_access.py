"""Users and tokens: shown once, stored as hashes, and every change with a name to it."""

import hashlib

import pytest

from admin.web.passwords import verify_password
from tasks.catalog import Audit, Token, User, session
from tests.admin.cli.conftest import Cli

pytestmark = pytest.mark.unit


@pytest.mark.long
def test_a_user_is_added_changed_and_disabled(cli: Cli) -> None:
    added = cli("users", "add", "maria", "--role", "admin", "-o", "json").json
    with session():
        assert verify_password(User.get_by_id("maria").password_hash, added["password"])
    assert cli("users", "add", "maria").code == 2
    last = cli("users", "disable", "maria")
    assert (last.code, last.err) == (4, "maria is the last administrator. Add another one first.\n")
    cli("users", "add", "joe", "--role", "admin")
    assert cli("users", "disable", "maria").code == 0
    assert [row["name"] for row in cli("users", "list", "-o", "json").json if row["disabled_at"]] == ["maria"]
    changed = cli("users", "passwd", "maria", "-o", "json").json
    with session():
        user = User.get_by_id("maria")
        assert verify_password(user.password_hash, changed["password"])
        assert user.disabled_at is None
        actions = [row.action for row in Audit.select().where(Audit.action.startswith("user")).order_by(Audit.id)]
    assert actions == ["user.add", "user.add", "user.disable", "user.passwd"]
    assert cli("users", "passwd", "mraia").err == "There is no user 'mraia'. Did you mean maria?\n"


def test_a_token_is_shown_once_and_only_its_digest_is_kept(cli: Cli) -> None:
    text = cli("tokens", "create", "prometheus", "--expires", "30d", "-o", "json").json["token"]
    with session():
        row = Token.get_by_id("prometheus")
        assert row.digest == hashlib.sha256(text.encode()).hexdigest()
        assert (row.expires_at - row.created_at).days == 30
    for command in (["tokens", "list"], ["audit"], ["audit", "-o", "json"]):
        assert text not in cli(*command).out
    assert cli("tokens", "create", "prometheus").code == 2
    assert cli("tokens", "create", "other", "--expires", "soon").code == 2
    assert cli("tokens", "revoke", "prometheus").code == 0
    assert cli("tokens", "revoke", "prometheus").code == 2
