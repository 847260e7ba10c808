"""Rows of the catalog as the facts that pure decisions take. Reads only; decides nothing."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from coordinator.expiry import PointFact, Rule
from coordinator.plan import PolicyFacts, SourceFacts
from coordinator.restore_facts import HostFacts, PointFacts, RestoreRequest, host_facts, part_facts
from coordinator.restore_facts import PartFacts as RestorePart
from coordinator.targets import ResourceFact, resolve
from tasks.catalog import (
    Account,
    Job,
    Meta,
    Part,
    Point,
    Policy,
    PolicySchedule,
    Resource,
    Restore,
    Schedule,
)
from tasks.states import JOB_OPEN, PointState, RestoreState


def policy_facts(policy: Policy) -> PolicyFacts:
    """A policy's row."""
    return PolicyFacts(policy.id, policy.name, policy.priority, policy.spec, installation())


def resource_facts(targets: Sequence[Mapping[str, Any]], accounts: Mapping[str, int]) -> list[ResourceFact]:
    """Discovered resources that these targets could mean: of their types, in usable accounts.

    Whole estates pass here, so attributes (large) are not read.
    """
    names = {number: name for name, number in accounts.items()}
    types = {name for target in targets for name in ([target["type"]] if "id" in target else target.get("types") or ())}
    where = [Resource.account.in_(list(names))]
    if types and all("id" in target or target.get("types") for target in targets):
        where.append(Resource.type.in_(sorted(types)))
    query = Resource.select(
        Resource.id,
        Resource.account,
        Resource.region,
        Resource.type,
        Resource.external_id,
        Resource.parent_id,
        Resource.name,
        Resource.tags,
        Resource.gone_at,
    ).where(*where)
    return [
        ResourceFact(
            row.id,
            names[row.account_id],
            row.region,
            row.type,
            row.external_id,
            row.parent_id,
            row.name,
            row.tags,
            row.gone_at is not None,
        )
        for row in query.iterator()
    ]


def source_facts(point: Point) -> SourceFacts:
    """A point that may be copied, with what its parts say about keys."""
    parts = list(Part.select().where(Part.point == point.id))
    resource = Resource.get_by_id(point.resource_id)
    return SourceFacts(
        point.id,
        point.resource_id,
        resource.type,
        Account.get_by_id(point.account_id).name,
        point.region,
        len(parts),
        default_key=any(part.attributes.get("default_key") for part in parts),
    )


def installation() -> str:
    """This installation's id: part of every derived key, so that two installations never adopt each other's work."""
    return str(Meta.get_by_id("installation").value)


def rules_of(policy: Policy) -> tuple[Rule, dict[str, Rule]]:
    """A policy's retention rule, and those of its copies' places by 'ACCOUNT/REGION' where a DR entry has its own.

    A DR entry without an account keeps copies in the source's, so its rule is written for every account it can mean.
    """
    spec = policy.spec
    zone = _zone_of(policy)
    keep = {kind: int(count) for kind, count in (spec.get("keep") or {}).items()}
    rule = Rule(generations=spec.get("generations"), keep=keep, zone=zone)
    names = [row.name for row in Account.select(Account.name)]
    places: dict[str, Rule] = {}
    for entry in spec.get("dr") or ():
        if entry.get("generations"):
            own = Rule(generations=int(entry["generations"]), zone=zone)
            accounts = [entry["account"]] if entry.get("account") else names
            places |= {f"{account}/{entry['region']}": own for account in accounts}
    return rule, places


def _zone_of(policy: Policy) -> str:
    """The zone whose calendar the policy's days and weeks follow: its first schedule's."""
    first = (
        Schedule.select()
        .join(PolicySchedule)
        .where(PolicySchedule.policy == policy.id)
        .order_by(PolicySchedule.id)
        .first()
    )
    return str(first.spec.get("time_zone", "UTC")) if first else "UTC"


def retention_facts(policy: Policy) -> list[PointFact]:
    """Every point of the policy that is not deleted, as retention judges it."""
    points = list(
        Point.select().where(Point.policy == policy.id, Point.state.not_in([PointState.DELETED, PointState.LOST]))
    )
    used = users_of([point.id for point in points])
    left = _left(policy, points)
    return [
        PointFact(
            id=point.id,
            target=str(point.resource_id),
            taken_at=point.taken_at,
            state=PointState(point.state),
            destination=point.destination,
            run_id=point.run_id,
            good_at=point.completed_at,
            held=point.held or None,
            locked_until=point.locked_until_at,
            in_use=tuple(sorted(used.get(point.id, ()))),
            left_at=left.get(point.resource_id),
            kind=point.kind,
        )
        for point in points
    ]


def users_of(point_ids: Sequence[int]) -> dict[int, set[str]]:
    """What unfinished work depends on these points: copies from them, restores of them."""
    wanted = set(point_ids)
    used: dict[int, set[str]] = defaultdict(set)
    copies = Job.select(Job.id, Job.spec).where(Job.kind == "copy", Job.state.in_(list(JOB_OPEN)))
    for job in copies:
        if job.spec.get("point") in wanted:
            used[job.spec["point"]].add(f"copy:{job.id}")
    restores = Restore.select(Restore.id, Restore.point).where(
        Restore.state.in_([RestoreState.REQUESTED, RestoreState.RUNNING, RestoreState.UNDOING])
    )
    for restore in restores:
        if restore.point_id in wanted:
            used[restore.point_id].add(f"restore:{restore.id}")
    return used


def _left(policy: Policy, points: Sequence[Point]) -> dict[int, datetime]:
    """Since when each resource is no target of the policy any more: its last backup, or the policy's deletion."""
    newest: dict[int, datetime] = {}
    for point in points:
        newest[point.resource_id] = max(newest.get(point.resource_id, point.taken_at), point.taken_at)
    if policy.deleted_at is not None:
        return dict.fromkeys(newest, policy.deleted_at)
    accounts = {row.name: row.id for row in Account.select().where(Account.enabled)}
    targets = policy.spec.get("targets") or ()
    current = {item.resource.id for item in resolve(targets, resource_facts(targets, accounts)).targets}
    return {resource: last for resource, last in newest.items() if resource not in current}


def restore_point_facts(point: Point, request: RestoreRequest) -> PointFacts:
    """A point as the restore planner needs it, with the instance that takes its volumes, as last discovered."""
    resource = Resource.get_by_id(point.resource_id)
    parts = Part.select().where(Part.point == point.id, Part.state.not_in([PointState.DELETED, PointState.LOST]))
    home = Account.get_by_id(resource.account_id)
    base_image_id, base_image_devices = _base_image(point)
    return PointFacts(
        id=f"rp-{point.id}",
        type=resource.type,
        resource_id=resource.external_id,
        account=Account.get_by_id(point.account_id).name,
        region=point.region,
        parts=tuple(_part_facts(part, point) for part in parts),
        resource_name=resource.name,
        home_account=home.name,
        home_region=resource.region,
        image_id=point.image_id,
        base_image_id=base_image_id,
        base_image_devices=base_image_devices,
        attributes=point.attributes,
        tags=point.attributes.get("tags", resource.tags),
        host=_host_facts(point, resource, request),
    )


def _base_image(point: Point) -> tuple[str, tuple[str, ...]]:
    """The newest image of the same resource in the same place and its devices; ('', ()) when there is none."""
    image = (
        Point.select()
        .where(
            Point.resource == point.resource_id,
            Point.account == point.account_id,
            Point.region == point.region,
            Point.state == PointState.GOOD,
            Point.image_id != "",
        )
        .order_by(Point.taken_at.desc())
        .first()
    )
    if image is None or point.image_id:
        return "", ()
    return image.image_id, tuple(part.device for part in Part.select().where(Part.point == image.id) if part.device)


def _part_facts(part: Part, point: Point) -> RestorePart:
    return part_facts(
        snapshot_id=part.external_id,
        source_id=part.source_id,
        device=part.device,
        size_gib=part.size_gib,
        found={**part.attributes, "encrypted": bool(part.encrypted), "kms_key_id": part.kms_key_id},
        captured=point.attributes,
    )


def _host_facts(point: Point, resource: Resource, request: RestoreRequest) -> HostFacts | None:
    wanted = request.attach_to or (resource.external_id if resource.type == "instance" else resource.parent_id)
    host = Resource.get_or_none(
        Resource.external_id == wanted,
        Resource.type == "instance",
        Resource.account == point.account_id,
        Resource.region == point.region,
        Resource.gone_at.is_null(),
    )
    if host is None:
        return None
    return host_facts(host.external_id, host.attributes)
