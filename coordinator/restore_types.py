"""Restores of everything that is not an EC2 instance or volume: the type's own planner, or the one step that most need.

A planner gets the draft and the values chosen for the type's restore options, and adds steps whose kinds and params its
driver's `start_restore` knows.
"""

from collections.abc import Callable, Mapping
from typing import Any

from coordinator.restore_disks import clean_tags
from coordinator.restore_draft import Draft
from coordinator.restore_facts import option
from coordinator.restore_options import chosen
from coordinator.restore_storage import plan_table
from tasks.errors import Invalid
from tasks.resources import type_of

Planner = Callable[[Draft, Mapping[str, Any]], None]
PLANNERS: Mapping[str, Planner] = {
    "dynamodb": lambda draft, values: plan_table(draft, values, tags_of(draft)),
}
"""By type. Types without one get a step `restore-KIND` {backup_id, tags, and every chosen option}."""

_TAKEN = frozenset({"kind", "settings", "tags", "account", "region"})


def plan_typed(draft: Draft) -> None:
    """Add the steps of a restore of this type. Raises Invalid (an option) or Impossible (and why)."""
    kind = type_of(draft.point.type)
    request = draft.request
    if request.kind not in kind.restores:
        raise Invalid(
            f"A point of {kind.name} is not restored --to {request.kind}; it takes {', '.join(kind.restores)}.",
            code="option-value",
        )
    for name in sorted(set(request.to_json()) - _TAKEN):
        raise Invalid(f"{option(name)} is for instances and volumes; see --set.", code="option-value")
    draft.title = f"to a new {request.kind} in {draft.point.account}, {draft.point.region}"
    PLANNERS.get(kind.name, _one_step)(draft, chosen(draft, kind))


def tags_of(draft: Draft) -> dict[str, str]:
    """The tags of the new resource: those of the old one and those asked for."""
    return clean_tags(draft.point.tags, draft.request.tags, draft.warnings)


def _one_step(draft: Draft, values: Mapping[str, Any]) -> None:
    part, what = draft.point.parts[0], draft.request.kind
    params = {"backup_id": part.snapshot_id, **values, "tags": tags_of(draft)}
    why = f"Make a {what} from {part.snapshot_id}, as {draft.point.resource_id} was."
    draft.add("restore", f"restore-{what}", params, why, (what,))
