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
    field ('kms_key', or 'options.NAME'). With both, only when both hold; with neither, always.
    """

    code: str
    crosses: Literal["region", "account", "both", "any"]
    text: str
    source: str
    found: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    needs: str = ""


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
    `copy_slots` is how many copies of it the cloud runs at once per destination account and region. `built`: a driver
    is registered for it; the others are in the table, and refused wherever they are named.
    `apart`: a copy crosses either an account or a region, so that both take two hops. `vault` says when backups are
    made through AWS Backup, as 'vault' in place of the usual mode: 'always', for policies whose DR entries 'cross'
    accounts, or for 'any' DR entry.
    `restores` are the words of `--to`. The actions are what a role needs for each verb; `key_actions` go with
    customer-managed keys, and must be allowed by the key's policy too.
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
    notes: tuple[str, ...] = ()
    backup_actions: tuple[str, ...] = ()
    copy_actions: tuple[str, ...] = ()
    restore_actions: tuple[str, ...] = ()
    delete_actions: tuple[str, ...] = ()
    key_actions: tuple[str, ...] = ()
    built: bool = True
    apart: bool = False
    vault: Literal["", "always", "cross", "any"] = ""
    rules: tuple[Rule, ...] = ()
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


def _holds(rule: Rule, entry: Mapping[str, Any], found: Mapping[str, Any] | None) -> bool:
    lacks = bool(rule.needs) and not _given(entry, rule.needs)
    if rule.needs and not lacks:
        return False
    if not rule.found:
        return True
    return found is not None and any(found.get(name) in values for name, values in rule.found.items())


def _given(entry: Mapping[str, Any], name: str) -> bool:
    part, _, inner = name.partition(".")
    value = entry.get(part)
    return bool(value.get(inner)) if inner and isinstance(value, Mapping) else bool(value) and not inner
