"""Secrets of an estate: read where the file says, sealed for the catalog, never exported.

A reference that cannot be read is a problem at its line, unless the catalog already holds the secret under the same
reference: then it is kept, so that a machine without the secrets can apply everything else.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from admin.estate import Estate
from admin.estate_sections import SECRETS
from admin.estate_yaml import Located, load
from tasks.errors import Invalid
from tasks.secrets import KeyWrapper, Secret, seal, unseal
from tasks.settings import read_secret

# STS AssumeRole, ExternalId: its length constraints (STS API reference).
_SHORTEST, _LONGEST = 2, 1224
_LENGTH = "secret-length"
Place = tuple[str, str, str]  # section, name, field
FIELDS = {"accounts": SECRETS, "repositories": ("key", "key_file")}
# As strong as the key that it wraps.
SHORTEST_KEY_FILE = 32


def place_of(at: Place) -> str:
    """Where a sealed secret belongs (tasks.secrets): `account.external_id.NAME`, `repository.key.NAME`."""
    section, name, key = at
    return f"{'account' if section == 'accounts' else 'repository'}.{key}.{name}"


@dataclass(frozen=True)
class Secrets:
    """Sealed texts by place; `rotated` are those whose value changed under an unchanged reference."""

    sealed: Mapping[Place, str] = field(default_factory=dict)
    rotated: tuple[Place, ...] = ()


def collect_secrets(
    text: str,
    file_name: str,
    *,
    wanted: Estate,
    current: Estate,
    held: Mapping[Place, str],
    key: KeyWrapper,
    environment: Mapping[str, str],
) -> Secrets:
    """Read every secret that `wanted` refers to; `held` is what the catalog has. Raises EstateRefused with lines."""
    sealed: dict[Place, str] = {}
    rotated: list[Place] = []
    wrong: list[tuple[Place, str]] = []
    for at, reference in _references(wanted):
        section, name, field_name = at
        same = current.section(section).get(name, {}).get(field_name) == reference and bool(held.get(at))
        try:
            given = _read(field_name, reference, environment)
        except Invalid as error:
            if same and error.code != _LENGTH:
                sealed[at] = held[at]
            else:
                wrong.append((at, str(error)))
            continue
        if same and unseal(key, held[at], place_of(at)) == given:
            sealed[at] = held[at]
            continue
        sealed[at] = seal(key, given, place_of(at))
        rotated += [at] if same else []
    if wrong:
        _refuse(load(text, file_name), wrong)
    return Secrets(sealed, tuple(rotated))


def _references(wanted: Estate) -> Iterator[tuple[Place, str]]:
    """Every secret that an estate names, and where it is read."""
    for section, keys in FIELDS.items():
        for name, spec in wanted.section(section).items():
            yield from (((section, name, key), spec[key]) for key in keys if key in spec)


def _read(field_name: str, reference: str, environment: Mapping[str, str]) -> Secret:
    if field_name == "key_file":
        return read_key_file(Path(reference))
    given = read_secret(reference, environment)
    if field_name == "external_id" and not _SHORTEST <= len(given.reveal()) <= _LONGEST:
        raise Invalid(f"An external id has {_SHORTEST} to {_LONGEST} characters.", code=_LENGTH)
    return given


def read_key_file(file: Path) -> Secret:
    """A key file's content in hex. Raises Invalid for one that is short or cannot be read."""
    try:
        content = file.read_bytes()
    except OSError as error:
        raise Invalid(f"{file} cannot be read: {error.strerror}.") from None
    if len(content) < SHORTEST_KEY_FILE:
        raise Invalid(
            "A key file holds at least 32 random bytes.", code=_LENGTH, advice="head -c 64 /dev/urandom makes some."
        )
    return Secret(content.hex())


def _refuse(file: Located, wrong: list[tuple[Place, str]]) -> None:
    for (section, name, key), words in wrong:
        items = file.data.get(section) or []
        index = next(number for number, item in enumerate(items) if item.get("name") == name)
        file.report((section, index, key), words)
    file.raise_problems()
