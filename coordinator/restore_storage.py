"""Restores of tables and file systems whose backups leave out what stands beside the content: a step for each half."""

from collections.abc import Mapping
from typing import Any

from coordinator.restore_draft import Draft
from coordinator.restore_plan import ref


def plan_table(draft: Draft, values: Mapping[str, Any], tags: Mapping[str, str]) -> None:
    """A DynamoDB table: made of its backup, then its settings (RestoreTableFromBackup leaves them out)."""
    part = draft.point.parts[0]
    made = {name: values[name] for name in ("name", "kms_key", "billing_mode") if name in values}
    why = f"Make the table {values['name']} from {part.snapshot_id}, as {draft.point.resource_id} was."
    draft.add("restore", "restore-table", {"backup_id": part.snapshot_id, **made}, why, ("table",))
    beside = {name: value for name, value in values.items() if name not in made and name != "scaling"}
    if values.get("scaling"):
        beside["scaling"] = True
    params = {"table": ref("restore", "table"), **beside, "tags": dict(tags)}
    draft.add("configure", "configure-table", params, "Set again what a restored table comes without.")
