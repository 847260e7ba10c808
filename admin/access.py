"""Who may log in, and with which tokens: rows of the catalog, each change with an audit row beside it."""

import secrets
from datetime import timedelta

from admin.queries import near
from admin.web.passwords import hash_password
from admin.web.tokens import new_token
from tasks.catalog import Audit, Token, User, transaction
from tasks.clock import Clock
from tasks.errors import Invalid, Refused

ROLES = ("viewer", "admin")
SCOPES = ("metrics", "api")


def new_password() -> str:
    """A password nobody chose: 144 random bits as 24 letters, digits, `-` and `_`."""
    return secrets.token_urlsafe(18)


def add_user(name: str, password: str, role: str, *, who: str, clock: Clock) -> None:
    """Let somebody log in. Raises Invalid for a name that exists, an odd name, or a password of the wrong length."""
    if not (1 <= len(name) <= 64 and name.isprintable() and not name.isspace()):
        raise Invalid("A user's name has 1 to 64 printable characters.")
    hashed = hash_password(password)
    with transaction():
        if User.get_or_none(User.name == name) is not None:
            raise Invalid(f"There is a user {name!r} already.", advice="Use `snapfleet users passwd` to change it.")
        User.create(name=name, password_hash=hashed, role=role, created_at=clock.timer())
        Audit.create(at=clock.timer(), who=who, action="user.add", subject=name, detail={"role": role})


def set_password(name: str, password: str, *, who: str, clock: Clock) -> None:
    """Give a user another password, and let them in again when they were disabled."""
    hashed = hash_password(password)
    with transaction():
        _user(name)
        User.update(password_hash=hashed, disabled_at=None).where(User.name == name).execute()
        Audit.create(at=clock.timer(), who=who, action="user.passwd", subject=name)


def disable_user(name: str, *, who: str, clock: Clock) -> None:
    """Keep somebody out. Raises Refused for the last administrator who can log in."""
    with transaction():
        user = _user(name)
        others = User.select().where(User.role == "admin", User.disabled_at.is_null(), User.name != name).count()
        if user.role == "admin" and not others:
            raise Refused(f"{name} is the last administrator.", advice="Add another one first.")
        User.update(disabled_at=clock.timer()).where(User.name == name).execute()
        Audit.create(at=clock.timer(), who=who, action="user.disable", subject=name)


def _user(name: str) -> User:
    user = User.get_or_none(User.name == name)
    if user is None:
        names = [row.name for row in User.select(User.name)]
        raise Invalid(f"There is no user {name!r}.", advice=near(name, names) or "See `snapfleet users list`.")
    return user


def create_token(name: str, scope: str, lifetime: timedelta | None, *, who: str, clock: Clock) -> str:
    """Make a token; its text is returned once and stored nowhere. Raises Invalid for a name that exists."""
    text, digest = new_token()
    at = clock.timer()
    with transaction():
        if Token.get_or_none(Token.name == name) is not None:
            raise Invalid(f"There is a token {name!r} already.", advice="Revoke it first, or take another name.")
        expires_at = at + lifetime if lifetime else None
        Token.create(name=name, digest=digest, scope=scope, created_at=at, expires_at=expires_at)
        Audit.create(at=at, who=who, action="token.create", subject=name, detail={"scope": scope})
    return text


def revoke_token(name: str, *, who: str, clock: Clock) -> None:
    """Make a token worthless. Raises Invalid when there is none of that name."""
    with transaction():
        if not Token.delete().where(Token.name == name).execute():
            names = [row.name for row in Token.select(Token.name)]
            raise Invalid(f"There is no token {name!r}.", advice=near(name, names) or "See `snapfleet tokens list`.")
        Audit.create(at=clock.timer(), who=who, action="token.revoke", subject=name)
