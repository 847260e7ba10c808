"""Secrets of an estate: read where the file says, sealed for the catalog, never exported.

A reference that cannot be read is a problem at its line, unless the catalog already holds the secret under the same
reference: then it is kept, so that a machine without the secrets can apply everything else.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from admin.estate import Estate
from admin.estate_sections import SECRETS
from admin.estate_yaml import Located, load
from tasks.errors import Invalid
from tasks.secrets import KeyWrapper, Secret, seal, unseal
from tasks.settings import read_secret

Place = tuple[str, str, str]  # section, name, field
FIELDS = {"accounts": SECRETS, "repositories": ("key",)}


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
    missing: list[tuple[Place, str]] = []
    for section, keys in FIELDS.items():
        for name, spec in wanted.section(section).items():
            for at in [(section, name, item) for item in keys if item in spec]:
                reference = spec[at[2]]
                same = current.section(section).get(name, {}).get(at[2]) == reference and bool(held.get(at))
                try:
                    given = read_secret(reference, environment)
                except Invalid as error:
                    if same:
                        sealed[at] = held[at]
                    else:
                        missing.append((at, str(error)))
                    continue
                if same and _opens_to(held[at], given, key, at):
                    sealed[at] = held[at]
                    continue
                sealed[at] = seal(key, given, place_of(at))
                rotated += [at] if same else []
    if missing:
        _refuse(load(text, file_name), missing)
    return Secrets(sealed, tuple(rotated))


def _opens_to(sealed: str, given: Secret, key: KeyWrapper, at: Place) -> bool:
    return unseal(key, sealed, place_of(at)) == given


def _refuse(file: Located, missing: list[tuple[Place, str]]) -> None:
    for (section, name, key), words in missing:
        items = file.data.get(section) or []
        index = next(number for number, item in enumerate(items) if item.get("name") == name)
        file.report((section, index, key), words)
    file.raise_problems()
