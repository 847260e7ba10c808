"""The estate as a value: accounts, schedules, repositories and policies, by name, in one canonical form.

`read_estate` makes it from a file (every problem at once, each with its line), `estate_catalog` from the catalog;
both give equal values for an equal estate, so that comparing them says what a file would change. `to_document` gives
the file's form back: `read_estate(dump(to_document(x))) == x`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from admin.estate_buckets import check_buckets
from admin.estate_checks import WRONG, Field, list_of, record, whole
from admin.estate_policies import DEFAULT_PRIORITY, check_policy, policy_record
from admin.estate_sections import account_record, check_account, check_repository, read_schedule, repository_record
from admin.estate_yaml import Located, dump, load
from tasks.resources import TYPES, ResourceType

Spec = dict[str, Any]
SECTIONS = ("accounts", "schedules", "repositories", "policies")
VERSION = 1
# What a field is when it is absent; `to_document` leaves these out again.
DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    "accounts": {"cloud": "aws", "kind": "backup", "may_delete": True},
    "schedules": {},
    "repositories": {},
    "policies": {"enabled": True, "priority": DEFAULT_PRIORITY},
}


@dataclass(frozen=True)
class Estate:
    """Each section maps a name to its fields, without the name itself; secrets are references only."""

    accounts: Mapping[str, Spec] = field(default_factory=dict)
    schedules: Mapping[str, Spec] = field(default_factory=dict)
    repositories: Mapping[str, Spec] = field(default_factory=dict)
    policies: Mapping[str, Spec] = field(default_factory=dict)

    def section(self, name: str) -> Mapping[str, Spec]:
        """One of SECTIONS."""
        found: Mapping[str, Spec] = getattr(self, name)
        return found


def read_estate(
    text: str,
    name: str = "estate.yaml",
    existing: Estate | None = None,
    types: Mapping[str, ResourceType] = TYPES,
    versioning: Mapping[str, str] | None = None,
) -> Estate:
    """Read and check a file. `existing` is what stays beside it, so that a policy may name what only the catalog has.

    Raises EstateRefused with every problem: unknown fields, wrong values, repeated names, names of nothing, and what
    a resource type cannot do (`types` is the capability table). `versioning` is what is known of buckets.
    """
    file = load(text, name)
    readers = {
        "accounts": record(account_record),
        "schedules": read_schedule,
        "repositories": record(repository_record),
        "policies": record(policy_record(types)),
    }
    shape = {"version": Field(whole(VERSION, VERSION), required=True)}
    shape |= {section: Field(_named(section, reader), default={}) for section, reader in readers.items()}
    read = record(shape)(file, (), file.data if file.data is not None else {})
    if read is not WRONG:
        kept = existing or Estate()
        sections = {section: dict(read.get(section) or {}) for section in SECTIONS}
        known = {section: {**kept.section(section), **sections[section]} for section in SECTIONS}
        _check_references(file, known, types)
        check_buckets(file, known["policies"], known["accounts"], versioning or {})
    file.raise_problems()
    return Estate(**sections)


def _named(section: str, reader: Callable[[Located, Any, Any], Any]) -> Callable[[Located, Any, Any], Any]:
    """A list of records with unique names, as a mapping from name to record."""

    def read(file: Located, path: Any, value: Any) -> Any:
        items = list_of(reader, unique=False)(file, path, value)
        if items is WRONG:
            return WRONG
        found: dict[str, Spec] = {}
        for index, item in enumerate(value):
            name = item.get("name") if isinstance(item, dict) else None
            if isinstance(name, str) and name in found:
                file.report((*path, index), f"a second one of {section} is called {name!r}")
            elif isinstance(name, str):
                found[name] = {}
        taken = {item.pop("name"): item for item in items if "name" in item}
        return {name: taken.get(name, {}) for name in found}

    return read


def _check_references(
    file: Located, known: Mapping[str, Mapping[str, Spec]], types: Mapping[str, ResourceType]
) -> None:
    data = file.data if isinstance(file.data, dict) else {}
    for section in SECTIONS:
        items = data.get(section)
        for index, item in enumerate(items if isinstance(items, list) else ()):
            name = item.get("name") if isinstance(item, dict) else None
            spec = known[section].get(name) if isinstance(name, str) else None
            path = (section, index)
            if not spec:
                continue
            if section == "accounts":
                check_account(file, path, spec)
            elif section == "repositories":
                check_repository(file, path, spec)
                if spec.get("account", "") not in known["accounts"]:
                    file.report((*path, "account"), f"there is no account {spec.get('account')!r}")
            elif section == "policies":
                check_policy(file, path, spec, known, types)


def to_document(estate: Estate) -> dict[str, Any]:
    """The file's form: lists of records with their names first, and nothing that is at its default."""
    document: dict[str, Any] = {"version": VERSION}
    for section in SECTIONS:
        usual = DEFAULTS[section]
        items = [
            {"name": name, **{key: value for key, value in spec.items() if key not in usual or value != usual[key]}}
            for name, spec in sorted(estate.section(section).items())
        ]
        if items:
            document[section] = items
    return document


def write_estate(estate: Estate) -> str:
    """The estate as a file."""
    return dump(to_document(estate))
