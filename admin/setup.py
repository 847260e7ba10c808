"""Setting an installation up, step by step, each of which finds what is there already and leaves it.

A catalog belongs to one master key. A second host joins by bringing that key: a new one beside an existing catalog
would make its secrets unreadable, so that is refused.
"""

import re
import secrets
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urlparse

from tasks.catalog import Audit, Meta, User, open_catalog, session, transaction
from tasks.catalog.audit import KEY_ID, sign_audit_with
from tasks.catalog.era import take_over
from tasks.catalog.migrate import migrate
from tasks.errors import Invalid, Refused
from tasks.secrets import MasterKey
from tasks.settings import Settings

_ID = re.compile(r"[0-9a-f]{16}")  # as `secrets.token_hex(8)` makes it


@dataclass
class Setup:
    """What there is now, and what of it was made by this call."""

    installation: str = ""
    made: list[str] = field(default_factory=list)
    has_users: bool = False


def sqlite_path(url: str) -> Path | None:
    """The file of an embedded catalog; None for a catalog on a server."""
    parsed = urlparse(url)
    return Path(unquote(parsed.path)) if parsed.scheme == "sqlite" else None


def prepare_home(home: Path) -> bool:
    """Make the home folder, for its owner only; False when it was there. Raises Invalid where it cannot be made."""
    if home.is_dir():
        return False
    try:
        home.mkdir(parents=True, mode=0o700)
    except OSError as error:
        text = f"The folder {home} cannot be made: {error.strerror}."
        raise Invalid(text, advice="Choose another with SNAPFLEET_HOME.") from None
    return True


def write_settings(home: Path, values: dict[str, str]) -> Path | None:
    """Add settings to snapfleet.toml; None when there is nothing to add. Raises Invalid for what must not be there."""
    wanted = {name: value for name, value in values.items() if value}
    for name, value in wanted.items():
        if urlparse(value).password:
            text = f"{name} holds a password, and no secret is written to snapfleet.toml."
            raise Invalid(text, advice=f"Set SNAPFLEET_{name.upper()} in the environment instead.")
        if not value.isprintable() or '"' in value or "\\" in value:
            raise Invalid(f"{name} holds characters that no URL has.")
    file = home / "snapfleet.toml"
    lines = file.read_text().splitlines() if file.exists() else []
    kept = [line for line in lines if line.partition("=")[0].strip() not in wanted]
    if not wanted:
        return None
    new = "\n".join([*kept, *(f'{name} = "{value}"' for name, value in wanted.items())]) + "\n"
    file.write_text(new)
    file.chmod(0o600)
    return file


def prepare_catalog(settings: Settings, installation: str = "") -> Setup:
    """Key, schema and installation id: a new one, or that of a lost `installation`, which this one then is.

    Raises Refused when the catalog is another key's or another installation's, Invalid for an id that is none,
    Unavailable without a catalog.
    """
    if installation and not _ID.fullmatch(installation):
        text = f"{installation!r} is no id of an installation: it has 16 digits and letters from a to f."
        raise Invalid(text, advice="Everything that it made carries its id as the tag snapfleet:installation.")
    found = Setup()
    open_catalog(settings.catalog)
    applied = migrate()
    found.made += [f"schema {name}" for name in applied]
    with session():
        known = {row.key: row.value for row in Meta.select().where(Meta.key.in_(["installation", KEY_ID]))}
    there = bool(settings.key_command) or settings.key_path.exists()
    if known.get(KEY_ID) and not there:
        raise Refused(
            f"This catalog is in use with a master key that is not at {settings.key_path}.",
            advice="Bring keys/master.key from the host that was set up first.",
        )
    key = settings.master_key() if there else MasterKey.create(settings.key_path)
    found.made += [] if there else [f"key {settings.key_path}"]
    if known.get(KEY_ID, key.key_id) != key.key_id:
        raise Refused(
            f"The master key {settings.key_place} is not this catalog's.", advice="Bring the key that belongs to it."
        )
    sign_audit_with(lambda: key)
    with transaction():
        wanted = installation or secrets.token_hex(8)
        for name, value in (("installation", wanted), (KEY_ID, key.key_id)):
            if name not in known:
                Meta.insert(key=name, value=value).on_conflict_ignore().execute()
        found.installation = Meta.get_by_id("installation").value
        found.has_users = User.select().exists()
        if installation not in ("", found.installation):
            text = f"This catalog is of the installation {found.installation}."
            raise Refused(text, advice="Take over a lost one's id with an empty home and catalog.")
        if "installation" not in known:
            _begin(settings, found, taken_over=bool(installation))
    return found


def _begin(settings: Settings, found: Setup, *, taken_over: bool) -> None:
    clock = settings.clock()
    if taken_over:
        take_over(clock.now(), clock.timer())
    found.made.append(f"installation {found.installation}" + (", taken over" if taken_over else ""))
    action = "init.take-over" if taken_over else "init"
    Audit.create(at=clock.timer(), who="init", action=action, subject=found.installation)
