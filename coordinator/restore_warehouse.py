"""Restore plans of Redshift: a new cluster, or a namespace of Redshift Serverless. Pure.

Facts used: a cluster is restored without tags and gets its name when it is there (workers.aws.redshift_restore); a
restore into a namespace replaces its database, and needs a workgroup ("RestoreFromSnapshot", API reference).
"""

from collections.abc import Mapping
from typing import Any

from coordinator.restore_draft import Draft
from coordinator.restore_plan import ref
from tasks.errors import Invalid

_NAMESPACE_ONLY = frozenset({"into", "replace", "workgroup", "base_capacity", "max_capacity", "subnets", "logs"})
_BOTH = frozenset(
    {
        "id", "security_groups", "public", "port", "routing", "roles", "default_role", "kms_key", "managed_password",
        "password_key", "network_type", "track",
    }
)  # fmt: skip
_LOGINS = "A new endpoint: clients are pointed to it by hand. Logins and passwords are those of the time."


def plan_warehouse(draft: Draft, values: Mapping[str, Any], tags: Mapping[str, str]) -> None:
    """The steps for what the point is of. Raises Invalid for options of the other kind, and for what is missing."""
    serverless = bool(draft.point.captured("serverless", False))
    what = "namespace" if serverless else "cluster"
    if draft.request.kind != what:
        text = f"A point of a Redshift {what} is restored --to {what}."
        raise Invalid(text, code="option-value")
    for name in draft.request.settings:
        if name not in _BOTH and (name in _NAMESPACE_ONLY) != serverless:
            raise Invalid(f"--set {name} is not for a {what}.", code="option-value")
    if serverless:
        _namespace(draft, values, tags)
    else:
        _cluster(draft, values, tags)


def _cluster(draft: Draft, values: Mapping[str, Any], tags: Mapping[str, str]) -> None:
    name, part = _name(values), draft.point.parts[0]
    chosen = {key: value for key, value in values.items() if key not in _NAMESPACE_ONLY}
    if chosen.get("multi_az"):
        chosen.pop("zone", None)  # AWS chooses the zones of a Multi-AZ cluster
    if draft.point.captured("manual_retention", None):
        chosen["manual_retention"] = draft.point.captured("manual_retention")
    params = {"backup_id": part.snapshot_id, **chosen, "tags": tags}
    why = f"Make a cluster from {part.snapshot_id}, as {draft.point.resource_name} was."
    draft.add("restore", "restore-cluster", params, why, ("cluster",))
    params = {"cluster": ref("restore", "cluster"), "id": name}
    draft.add("name", "name-cluster", params, f"Call it {name}.", ("cluster",))
    draft.notes.append(_LOGINS)


def _namespace(draft: Draft, values: Mapping[str, Any], tags: Mapping[str, str]) -> None:
    part, into = draft.point.parts[0], str(values.get("into", ""))
    target: dict[str, Any] = {"backup_id": part.snapshot_id}
    if into:
        if values.get("replace") != "yes":
            text = f"Everything in the database of {into} is replaced: say so with --set replace=yes."
            raise Invalid(text, code="option-missing")
        target |= {"namespace": into, "workgroup": values.get("workgroup", "")}
        draft.interrupts = True
        draft.title = f"into the namespace {into} in {draft.point.account}, {draft.point.region}"
        draft.warnings.append(f"What the database of {into} holds now is lost.")
    else:
        name = _name(values)
        chosen = {key: value for key, value in values.items() if key not in ("into", "replace")}
        as_it_was = ("database", "parameters", "price_performance")
        chosen |= {key: draft.point.captured(key, None) for key in as_it_was}
        if "kms_key" not in chosen and draft.point.here:
            chosen["kms_key"] = draft.point.captured("kms_key_id", None)
        params = {**chosen, "workgroup": values.get("workgroup", f"{name}-workgroup"), "tags": tags}
        why = f"Make a namespace {name} with a workgroup, as {draft.point.resource_name} was."
        draft.add("make", "make-namespace", params, why, ("namespace", "workgroup"))
        target |= {"namespace": ref("make", "namespace"), "workgroup": ref("make", "workgroup")}
        target |= {"managed_password": True} if values.get("managed_password") else {}
        draft.notes.append(_LOGINS)
    why = f"Bring the database of {draft.point.resource_name} back from {part.snapshot_id}."
    draft.add("restore", "restore-namespace", target, why)


def _name(values: Mapping[str, Any]) -> str:
    if not values.get("id"):
        raise Invalid("--set id=... is needed: name of the new cluster or namespace.", code="option-missing")
    return str(values["id"])
