"""What is said about a resource type: capabilities, rules with their reasons, options, rights. Data only."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Value = Literal["text", "number", "flag", "list"]


@dataclass(frozen=True)
class Rule:
    """A footnote of the table as a condition that refuses copies; `text` is the cloud's reason, `source` its document.

    A copy that `crosses` the border named ('region', 'account', 'both' at once, or 'any') is refused when one of the
    captured attributes in `found` has one of the values given there, or, with `needs`, when the DR entry lacks that
    field ('kms_key', or 'options.NAME'), or, with `given`, when fields of the entry have one of the values named. Of
    these all that a rule has must hold; one that has none refuses always.
    """

    code: str
    crosses: Literal["region", "account", "both", "any"]
    text: str
    source: str
    found: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    needs: str = ""
    given: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class Cost:
    """What copies by a DR entry cost beyond their storage, told before anything runs.

    It applies when the entry has one of the values in `given`. `full`: every such copy holds everything again.
    """

    text: str
    given: Mapping[str, tuple[str, ...]]
    full: bool = False


@dataclass(frozen=True)
class Option:
    """A value that an operator may give: for a restore (`--set NAME=VALUE`), a copy or a backup (`options` in files).

    Restores: what is not given is taken from the captured attribute `captured` ('' for none). `local` values exist only
    in the account and region of the resource: elsewhere they are left out with a warning, or, when `required`, asked
    for. `required` without a captured value is asked for anywhere.
    """

    name: str
    about: str
    value: Value = "text"
    choices: tuple[str, ...] = ()
    captured: str = ""
    local: bool = False
    required: bool = False


@dataclass(frozen=True)
class ResourceType:
    """One kind of thing that a policy can name.

    `service` groups calls to the cloud: discovery and polls of one service in one account and region go together, and
    `copy_slots` is how many copies of it we have running at once per destination account and region, and `copy_limit`
    how many the cloud runs there, those of others included (0: no such limit is known). `built`: a driver is registered
    for it; the others are in the table, and refused wherever they are named.
    `apart`: a copy crosses either an account or a region, so that both take two hops. `vault` says when backups are
    made through AWS Backup, as 'vault' in place of the usual mode: 'always', for policies whose DR entries 'cross'
    accounts, or for 'any' DR entry.
    `temporary` are the options with which a copy to another account is made of something temporary there, in two hops.
    `carried`: the cloud itself copies to another region, all backups from its setting on, so that the setting is made
    with the backup, and the copy is only found.
    `polls_begin`: a question about what goes on there also begins its next step (an export after its copy).
    `copies_in_order`: the cloud copies one snapshot of a disk at a time, in the order in which they were taken.
    `restores` are the words of `--to`. The actions are exactly what a role needs for each verb, its reads included
    (tasks.resources.rights makes policies of them): `undo_actions` take a failed restore back, `archive_actions` read
    what goes into a repository or export it, `cooling_actions` move exports to a cold class, `fetch_actions` write what
    comes from a repository, `key_actions` go with customer-managed keys, and must be allowed by the key's policy too;
    `look_actions`, where these are not all that `backup_actions` describe and list, are what discovery asks. What
    deletes stands among `delete_actions` and `undo_actions` alone.
    """

    name: str
    cloud: str
    service: str
    id_prefix: str
    cross_region: bool
    cross_account: bool
    repository: bool
    cold: bool
    copy_slots: int
    copy_limit: int = 0
    notes: tuple[str, ...] = ()
    backup_actions: tuple[str, ...] = ()
    copy_actions: tuple[str, ...] = ()
    restore_actions: tuple[str, ...] = ()
    delete_actions: tuple[str, ...] = ()
    key_actions: tuple[str, ...] = ()
    undo_actions: tuple[str, ...] = ()
    archive_actions: tuple[str, ...] = ()
    cooling_actions: tuple[str, ...] = ()
    fetch_actions: tuple[str, ...] = ()
    look_actions: tuple[str, ...] = ()
    built: bool = True
    apart: bool = False
    vault: Literal["", "always", "cross", "any"] = ""
    temporary: Mapping[str, str] = field(default_factory=dict)
    carried: bool = False
    copies_in_order: bool = False
    polls_begin: bool = False
    rules: tuple[Rule, ...] = ()
    costs: tuple[Cost, ...] = ()
    restores: tuple[str, ...] = ()
    backup_options: tuple[Option, ...] = ()
    copy_options: tuple[Option, ...] = ()
    restore_options: tuple[Option, ...] = ()

    def broken(
        self, *, region: bool, account: bool, entry: Mapping[str, Any], found: Mapping[str, Any] | None = None
    ) -> Rule | None:
        """The first rule that refuses a copy which crosses a `region`, an `account`, or both.

        `found` are captured attributes; None while nothing is known of a resource: then only what a DR entry lacks
        counts.
        """
        crossed = {"region": region, "account": account, "both": region and account, "any": True}
        return next((rule for rule in self.rules if crossed[rule.crosses] and _holds(rule, entry, found)), None)

    def costs_of(self, entry: Mapping[str, Any]) -> tuple[Cost, ...]:
        """What copies by this DR entry cost beyond their storage."""
        return tuple(cost for cost in self.costs if _has(entry, cost.given))

    def is_temporary(self, entry: Mapping[str, Any]) -> bool:
        """Whether a copy to another account by this DR entry goes through something temporary there."""
        return bool(self.temporary) and _has(entry, {f"options.{key}": (one,) for key, one in self.temporary.items()})


def _holds(rule: Rule, entry: Mapping[str, Any], found: Mapping[str, Any] | None) -> bool:
    if (rule.needs and _read(entry, rule.needs)) or not _has(entry, rule.given):
        return False
    if not rule.found:
        return True
    return found is not None and any(found.get(name) in values for name, values in rule.found.items())


def _has(entry: Mapping[str, Any], given: Mapping[str, tuple[str, ...]]) -> bool:
    return all(_read(entry, name) in values for name, values in given.items())


def _read(entry: Mapping[str, Any], name: str) -> Any:
    """A field of a DR entry; `part.inner` is a field inside a field. None for what it lacks."""
    part, _, inner = name.partition(".")
    value = entry.get(part)
    if not inner:
        return value
    return value.get(inner) if isinstance(value, Mapping) else None
