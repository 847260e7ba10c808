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


def plan_file_system(draft: Draft, values: Mapping[str, Any], tags: Mapping[str, str]) -> None:
    """An EFS file system: its files into a new one or an existing one; a new one is then set up and mounted."""
    part, into = draft.point.parts[0], str(values.get("into", ""))
    made = {name: values[name] for name in ("into", "items", "kms_key", "performance_mode") if name in values}
    if draft.point.captured("encrypted", False) or values.get("kms_key"):
        made["encrypted"] = True
    target = into or "a new file system"
    why = f"Bring the files of {draft.point.resource_id} back into {target}, from {part.snapshot_id}."
    creates = () if into else ("restore",)
    draft.add("restore", "restore-file-system", {"backup_id": part.snapshot_id, **made}, why, creates)
    draft.notes.append("AWS Backup puts the files into a folder aws-backup-restore_TIME and overwrites nothing.")
    if into:
        return
    beside = {name: value for name, value in values.items() if name not in made}
    params = {"file_system_id": ref("restore", "resource_id"), **beside, "tags": dict(tags)}
    if draft.point.here:
        params["here"] = True
    elif draft.point.captured("policy"):
        draft.warnings.append("The file system's policy names what exists at home, and is left out.")
    draft.add("configure", "configure-file-system", params, "Set up the new file system as the old one was.")
