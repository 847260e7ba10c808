"""What an estate file would change: additions, changes and removals with every field's old and new value. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from admin.estate import SECTIONS, Estate
from admin.estate_checks import same_as


@dataclass(frozen=True)
class FieldChange:
    """One field: its path (`keep.daily`, `targets[]`), the value before and the value after; None is absence."""

    field: str
    before: Any
    after: Any


@dataclass(frozen=True)
class Change:
    """One record of a section. `action` is add, change or remove."""

    section: str
    name: str
    action: str
    fields: tuple[FieldChange, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Plain values, as printed and as audited."""
        fields = [{"field": item.field, "before": item.before, "after": item.after} for item in self.fields]
        return {"section": self.section, "name": self.name, "action": self.action, "fields": fields}


@dataclass(frozen=True)
class EstatePlan:
    """Changes in the order in which they are made; `left` names what is absent from the file and stays.

    `costs` are those of the policies among the changes: {policy, destination, full, text}; `unmet` is what these ask
    for and would not be carried out for what they mean just now: {policy, what, type, count, example, text}; `kept` are
    recovery points in places that a policy stops naming: {policy, destination, points, rule, text}.
    """

    changes: tuple[Change, ...]
    left: tuple[tuple[str, str], ...] = ()
    costs: tuple[Mapping[str, Any], ...] = ()
    unmet: tuple[Mapping[str, Any], ...] = ()
    kept: tuple[Mapping[str, Any], ...] = ()

    def of(self, section: str, *actions: str) -> list[Change]:
        """The changes of one section with one of these actions."""
        return [item for item in self.changes if item.section == section and item.action in actions]

    def to_json(self) -> dict[str, Any]:
        """The plan as `apply --output json` prints it."""
        return {
            "changes": [item.to_json() for item in self.changes],
            "left": [{"section": section, "name": name} for section, name in self.left],
            "costs": [dict(one) for one in self.costs],
            "unmet": [dict(one) for one in self.unmet],
            "kept": [dict(one) for one in self.kept],
        }


def plan_changes(
    current: Estate, wanted: Estate, *, prune: bool = False, rotated: Sequence[tuple[str, str, str]] = ()
) -> EstatePlan:
    """Compare what is with what is wanted. What the file lacks is removed with `prune` only.

    `rotated` names secrets, as (section, name, field), whose reference is the same and whose value is another.
    """
    changes: list[Change] = []
    left: list[tuple[str, str]] = []
    removals: list[Change] = []
    for section in SECTIONS:
        before, after = current.section(section), wanted.section(section)
        for name in sorted(after):
            if name not in before:
                changes.append(Change(section, name, "add", tuple(_differences("", {}, after[name]))))
                continue
            fields = list(_differences("", before[name], after[name]))
            secrets = [
                FieldChange(key, "(sealed)", "(another value)") for s, n, key in rotated if (s, n) == (section, name)
            ]
            if fields or secrets:
                changes.append(Change(section, name, "change", (*fields, *secrets)))
        for name in sorted(set(before) - set(after)):
            if prune:
                removals.append(Change(section, name, "remove"))
            else:
                left.append((section, name))
    return EstatePlan((*changes, *reversed(removals)), tuple(left))


def _differences(path: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[FieldChange]:
    for key in [*after, *(key for key in before if key not in after)]:
        old, new, field = before.get(key), after.get(key), f"{path}{key}"
        if old == new:
            continue
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            yield from _differences(f"{field}.", old, new)
        elif isinstance(old, list) and isinstance(new, list):
            yield from _entries(field, old, new)
        else:
            yield FieldChange(field, old, new)


def _entries(field: str, old: list[Any], new: list[Any]) -> Iterator[FieldChange]:
    """Entries that went and came; an order that alone changed is shown whole."""
    before, after = {same_as(item) for item in old}, {same_as(item) for item in new}
    gone = [item for item in old if same_as(item) not in after]
    come = [item for item in new if same_as(item) not in before]
    if not gone and not come:
        yield FieldChange(field, old, new)
    for item in gone:
        yield FieldChange(f"{field}[]", item, None)
    for item in come:
        yield FieldChange(f"{field}[]", None, item)
