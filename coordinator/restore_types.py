"""Restores of everything that is not an EC2 instance or volume: the type's own planner, or the one step that most need.

A planner gets the draft, the values chosen for the type's restore options and the tags of what is made, and adds steps
whose kinds and params its driver's `start_restore` knows.
"""

from collections.abc import Callable, Mapping
from typing import Any

from coordinator.restore_azure import plan_azure
from coordinator.restore_azure_sql import plan_sql
from coordinator.restore_bucket import plan_bucket
from coordinator.restore_database import plan_cluster, plan_database
from coordinator.restore_disks import clean_tags
from coordinator.restore_draft import Draft
from coordinator.restore_facts import option
from coordinator.restore_options import chosen
from coordinator.restore_storage import plan_file_system, plan_table
from coordinator.restore_warehouse import plan_warehouse
from tasks.errors import Invalid
from tasks.resources import type_of

Planner = Callable[[Draft, Mapping[str, Any], Mapping[str, str]], None]
PLANNERS: Mapping[str, Planner] = {
    "rds": plan_database,
    "aurora": plan_cluster,
    "documentdb": plan_cluster,
    "dynamodb": plan_table,
    "efs": plan_file_system,
    "s3": plan_bucket,
    "redshift": plan_warehouse,
    "azure-disk": plan_azure,
    "azure-vm": plan_azure,
    "azure-sql": plan_sql,
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
    tags = clean_tags(draft.point.tags, request.tags, draft.warnings)
    PLANNERS.get(kind.name, _one_step)(draft, chosen(draft, kind), tags)


def _one_step(draft: Draft, values: Mapping[str, Any], tags: Mapping[str, str]) -> None:
    part, what = draft.point.parts[0], draft.request.kind
    params = {"backup_id": part.snapshot_id, **values, "tags": tags}
    why = f"Make a {what} from {part.snapshot_id}, as {draft.point.resource_id} was."
    draft.add("restore", f"restore-{what}", params, why, (what,))
