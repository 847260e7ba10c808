"""Restore plans of databases: an RDS instance, and Aurora and DocumentDB clusters with their members. Pure.

Facts used: a restored cluster has no instances until they are created (RestoreDBClusterFromSnapshot, RDS API
reference); Serverless v1 has none at all, and AWS has ended it, so that what was v1 comes back as v2 unless asked for;
gp3 takes iops and throughput from 400 GiB only ("Amazon RDS DB instance storage"); a Multi-AZ DB cluster has one class
for all of its instances and makes them itself ("Multi-AZ DB cluster deployments").
"""

from collections.abc import Mapping
from typing import Any

from coordinator.restore_draft import Draft
from coordinator.restore_plan import ref

# gp3 volumes are striped from this size on, and only then have a speed of their own (Oracle: from 200 GiB).
_STRIPED_GIB = 400
_SPEED = ("iops", "storage_throughput")
_AFTERWARDS = ("maintenance_window", "max_storage")
_SERVERLESS_CLASS = "db.serverless"
# Capacity units of Serverless v2 go from 0.5 (Aurora user guide); one v1 unit is as large as one of v2.
_LEAST, _MOST = "0.5", "16"


def plan_database(draft: Draft, values: Mapping[str, Any], tags: Mapping[str, str]) -> None:
    """A new DB instance, and then what only a modification can set."""
    part = draft.point.parts[0]
    chosen = dict(values)
    if chosen.get("multi_az"):
        chosen.pop("zone", None)  # AWS chooses both zones of a Multi-AZ instance, and refuses one that is named
    if (chosen.get("storage_type") == "gp3" and part.size_gib < _STRIPED_GIB) or chosen.get("storage_type") == "gp2":
        for name in _SPEED:
            if name not in draft.request.settings:
                chosen.pop(name, None)
    params = {"backup_id": part.snapshot_id, **chosen, "tags": tags}
    why = f"Make a database {chosen['id']} from {part.snapshot_id}, as {draft.point.resource_name} was."
    draft.add("restore", "restore-database", params, why, ("database",))
    later = {name: draft.point.captured(name, None) for name in _AFTERWARDS}
    later = {name: value for name, value in later.items() if value}
    if later:
        what = " and ".join(name.replace("_", " ") for name in later)
        params = {"id": ref("restore", "database_id"), **later}
        draft.add("settle", "settle-database", params, f"Set its {what} as before.")
    draft.notes.append("A new endpoint: clients are pointed to it by hand. Logins and passwords are those of the time.")


def plan_cluster(draft: Draft, values: Mapping[str, Any], tags: Mapping[str, str]) -> None:
    """A new cluster, and its members when it is there."""
    part = draft.point.parts[0]
    chosen = {name: value for name, value in values.items() if name not in ("class", "members", "serverless_v1")}
    params = {
        "backup_id": part.snapshot_id,
        "engine": draft.point.captured("engine"),
        **chosen,
        **_mode(draft, values),
        "tags": tags,
    }
    why = f"Make a cluster {values['id']} from {part.snapshot_id}, as {draft.point.resource_name} was."
    draft.add("restore", "restore-cluster", params, why, ("cluster",))
    if params.get("engine_mode") != "serverless" and "cluster_class" not in params:
        for number, member in enumerate(_members(draft, values), 1):
            _member(draft, str(values["id"]), number, member, tags)
    roles = draft.point.captured("roles", [])
    if roles:
        draft.notes.append(f"Roles that were attached are not attached again: {', '.join(roles)}.")
    draft.notes.append(
        "New endpoints: clients are pointed to them by hand. Logins and passwords are those of the time."
    )


def _mode(draft: Draft, values: Mapping[str, Any]) -> dict[str, Any]:
    """How Serverless comes back, and Multi-AZ DB clusters, whose three instances come with them."""
    whole = values.get("class") or draft.point.captured("cluster_class")
    if draft.point.captured("cluster_class"):
        return {"cluster_class": whole, "iops": draft.point.captured("iops", None)}
    if draft.point.captured("engine_mode") != "serverless":
        return {}
    if values.get("serverless_v1"):
        return {"engine_mode": "serverless", "scaling": draft.point.captured("scaling", {})}
    draft.warnings.append(
        "It was Aurora Serverless v1, which AWS has ended: it comes back as Serverless v2. If its engine version has "
        "no v2, name one that has with --set engine_version=... ."
    )
    return {"min_capacity": values.get("min_capacity", _LEAST), "max_capacity": values.get("max_capacity", _MOST)}


def _members(draft: Draft, values: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The members as they were, as many as asked for, of the class asked for."""
    held = [dict(one) for one in draft.point.captured("members", [])]
    if draft.point.captured("engine_mode") == "serverless":
        held = [{"class": _SERVERLESS_CLASS}]
    count = values.get("members", len(held))
    if not held and count:
        held = [{"class": values.get("class", "")}]
    found = [dict(held[min(number, len(held) - 1)]) for number in range(count)]
    for number, one in enumerate(found):
        one["class"] = values.get("class") or one.get("class", "")
        if number >= len(held):
            one.pop("zone", None)
    if not found:
        draft.warnings.append("The cluster gets no instance: nothing can connect to it. See --set members=... .")
    return found


def _member(draft: Draft, cluster: str, number: int, member: Mapping[str, Any], tags: Mapping[str, str]) -> None:
    here = draft.point.here
    params = {
        "cluster_id": ref("restore", "cluster_id"),
        "id": f"{cluster}-{number}",
        "engine": draft.point.captured("engine"),
        **{name: member.get(name) for name in ("class", "public", "tier", "ca", "auto_minor_upgrade")},
        **({name: member.get(name) for name in ("zone", "parameter_group")} if here else {}),
        "tags": tags,
    }
    if not here and member.get("parameter_group"):
        draft.warnings.append(f"The parameter group {member['parameter_group']} of a member is left out there.")
    why = f"Add the instance {cluster}-{number} ({member['class']})."
    draft.add(f"member-{number}", "create-member", params, why, ("member",))
