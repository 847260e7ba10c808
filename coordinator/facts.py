"""Rows of the catalog as the facts that pure decisions take. Reads only; decides nothing."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from peewee import SQL

from coordinator.archive import held_bases
from coordinator.expiry import PointFact
from coordinator.plan import PolicyFacts
from coordinator.restore_facts import HostFacts, PointFacts, RestoreRequest, host_facts, part_facts
from coordinator.restore_facts import PartFacts as RestorePart
from coordinator.routes import SourceFacts
from coordinator.targets import ResourceFact
from tasks.catalog import (
    Account,
    Job,
    Membership,
    Meta,
    Part,
    Point,
    Policy,
    Resource,
    Restore,
    Run,
    rows,
)
from tasks.catalog.archives import ARCHIVE, repository_of
from tasks.catalog.era import read_era
from tasks.catalog.images import RESTORING, base_image_of, images_in_use
from tasks.catalog.job import UNSETTLED
from tasks.catalog.point import DAMAGED, DELETED_ELSEWHERE
from tasks.catalog.shares import lent
from tasks.errors import Invalid
from tasks.states import JOB_OPEN, AccountState, PointState

# A policy that names more resources than this is read like one that goes by tags: a statement's parameters are limited.
_NAMED_AT_MOST = 1000


def policy_facts(policy: Policy) -> PolicyFacts:
    """A policy's row."""
    return PolicyFacts(policy.id, policy.name, policy.priority, policy.spec, token_base())


def resource_facts(targets: Sequence[Mapping[str, Any]], accounts: Mapping[str, int]) -> list[ResourceFact]:
    """Discovered resources that these targets could mean: of their types, in usable accounts.

    Whole estates pass here, so attributes (large) are not read.
    """
    names = {number: name for name, number in accounts.items()}
    types = {name for target in targets for name in ([target["type"]] if "id" in target else target.get("types") or ())}
    where = [Resource.account.in_(list(names))]
    if types and all("id" in target or target.get("types") for target in targets):
        where.append(Resource.type.in_(sorted(types)))
    if targets and all("id" in target for target in targets) and len(targets) <= _NAMED_AT_MOST:
        where.append(Resource.external_id.in_({target["id"] for target in targets}))
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
        ResourceFact(number, names[account], region, kind, external_id, parent, name, tags, gone_at is not None)
        for number, account, region, kind, external_id, parent, name, tags, gone_at in rows(query)
    ]


def source_facts(points: Sequence[Point]) -> dict[int, SourceFacts]:
    """Points that may be copied, with what their parts say about keys, by id."""
    if not points:
        return {}
    parts: dict[int, list[Part]] = defaultdict(list)
    for part in Part.select(Part.point, Part.attributes, Part.encrypted).where(
        Part.point.in_([point.id for point in points])
    ):
        parts[part.point_id].append(part)
    resources = Resource.id.in_({point.resource_id for point in points})
    types = dict(rows(Resource.select(Resource.id, Resource.type).where(resources)))
    names = dict(rows(Account.select(Account.id, Account.name)))
    return {
        point.id: SourceFacts(
            point.id,
            point.resource_id,
            types[point.resource_id],
            names[point.account_id],
            point.region,
            len(parts[point.id]),
            default_key=any(part.attributes.get("default_key") for part in parts[point.id]),
            encrypted=any(part.encrypted for part in parts[point.id]),
            found=point.attributes,
            halfway=point.kind == "intermediate",
        )
        for point in points
    }


def token_base() -> str:
    """What keys begin with that name rows: the installation, and since the catalog was put back its era."""
    era = read_era()
    return installation() if era is None else f"{installation()}/{era.number}"


def installation() -> str:
    """This installation's id: part of every derived key, so that two installations never adopt each other's work."""
    return str(Meta.get_by_id("installation").value)


def retention_facts(policy: Policy) -> list[PointFact]:
    """Every point of the policy that is not deleted, as retention judges it. Wide columns are not read.

    A failed attempt stands by itself, without its run: it must not spoil the generation that a retry made good.
    """
    used, left = users_of(policy), _left(policy)
    query = Point.select(
        Point.id,
        Point.resource,
        Point.taken_at,
        Point.state,
        Point.destination,
        Point.run,
        Point.completed_at,
        Point.held,
        Point.locked_until_at,
        Point.kind,
        Point.error_code.in_(DAMAGED),
    ).where(Point.policy == policy.id, Point.state.not_in([PointState.DELETED, PointState.LOST]))
    return [
        PointFact(
            id=number,
            target=str(resource),
            taken_at=taken_at,
            state=state,
            destination=place,
            run_id=None if state == PointState.FAILED else run,
            good_at=good_at,
            held=held or None,
            locked_until=locked_until,
            in_use=tuple(sorted(used.get(number, ()))),
            left_at=policy.deleted_at or left.get(resource),
            kind=kind,
            damaged=bool(damaged),
        )
        for number, resource, taken_at, state, place, run, good_at, held, locked_until, kind, damaged in rows(query)
    ]


def users_of(policy: Policy) -> dict[int, set[str]]:
    """What unfinished work depends on points of this policy, by point id: copies from them, restores of them, the
    jobs that made them while what follows (their copies and archives) is not planned yet; and images that restores of
    other points launch from."""
    used: dict[int, set[str]] = defaultdict(set)
    copies = (
        Job.select(Job.id, Job.spec)
        .join(Run)
        .where(Run.policy == policy.id, Job.kind == "copy", Job.state.in_(list(JOB_OPEN)))
    )
    for number, spec in rows(copies):
        used[spec["point"]].add(f"copy:{number}")
    unsettled = Job.select(Job.id, Job.point_id).where(SQL(UNSETTLED), Job.point_id.is_null(False))
    for number, point in rows(unsettled):
        used[point].add(f"job:{number}")
    restores = (
        Restore.select(Restore.id, Restore.point)
        .join(Point)
        .where(Point.policy == policy.id, Restore.state.in_(RESTORING))
    )
    for number, point in rows(restores):
        used[point].add(f"restore:{number}")
    for point, users in (*held_bases(policy).items(), *images_in_use(Point.policy == policy.id).items()):
        used[point] |= users
    for point, number in lent(Point.policy == policy.id).items():
        used[point].add(f"share:rp-{number}")
    return used


def _left(policy: Policy) -> dict[int, datetime]:
    """Since when each resource that was a target of the policy is none any more (`coordinator.members` notes it).

    Not those in accounts that are switched off or cannot be entered: nobody can say that anything left there.
    """
    query = (
        Membership.select(Membership.resource, Membership.left_at)
        .join(Resource)
        .join(Account)
        .where(
            Membership.policy == policy.id,
            Membership.left_at.is_null(False),
            Account.enabled,
            Account.state != AccountState.UNREACHABLE,
        )
    )
    return dict(rows(query))


def check_restorable(point: Point) -> None:
    """Raises Invalid for a point that nothing can be restored from. One that somebody else deleted from may be tried:
    some of it may be left, or all of it back since the last look; the cloud says so before anything is touched."""
    tried = point.state == PointState.LOST and point.error_code == DELETED_ELSEWHERE
    if point.state not in (PointState.GOOD, PointState.OUTDATED) and not tried:
        raise Invalid(f"Point rp-{point.id} is {point.state}, so nothing can be restored from it.")


def restore_point_facts(point: Point, request: RestoreRequest) -> PointFacts:
    """A point as the restore planner needs it, with the instance that takes its volumes, as last discovered."""
    resource = Resource.get_by_id(point.resource_id)
    lost = point.state == PointState.LOST  # what is gone of it is tried too: it may be back since the last look
    gone = [PointState.DELETED] if lost else [PointState.DELETED, PointState.LOST]
    parts = Part.select().where(Part.point == point.id, Part.state.not_in(gone))
    home = Account.get_by_id(resource.account_id)
    base_image_id, base_image_devices = _base_image(point)
    account, region = place_of_restore(point, resource, request)
    return PointFacts(
        id=f"rp-{point.id}",
        type=resource.type,
        resource_id=resource.external_id,
        account=account.name,
        region=region,
        parts=tuple(_part_facts(part, point) for part in parts),
        resource_name=resource.name,
        home_account=home.name,
        home_region=resource.region,
        image_id=point.image_id,
        base_image_id=base_image_id,
        base_image_devices=base_image_devices,
        attributes=point.attributes,
        tags=point.attributes.get("tags", resource.tags),
        host=_host_facts(account, region, resource, request),
        repository=repository_of(point.destination),
        lost=point.error_text if lost else "",
    )


def place_of_restore(point: Point, resource: Resource, request: RestoreRequest) -> tuple[Account, str]:
    """Where a point is restored: where it lies; from a repository anywhere, and where its resource was unless asked.

    Raises Invalid for an account that the estate has not.
    """
    if point.kind != ARCHIVE:
        return Account.get_by_id(point.account_id), point.region
    region = request.region or resource.region
    if not request.account:
        return Account.get_by_id(resource.account_id), region
    account = Account.get_or_none(Account.name == request.account, Account.enabled)
    if account is None:
        raise Invalid(f"There is no account {request.account!r}.", advice="See `snapfleet accounts`.")
    return account, region


def _base_image(point: Point) -> tuple[str, tuple[str, ...]]:
    """The newest image of the same resource in the same place and its devices; ('', ()) when there is none."""
    image = base_image_of(point).first()
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


def _host_facts(account: Account, region: str, resource: Resource, request: RestoreRequest) -> HostFacts | None:
    wanted = request.attach_to or (resource.external_id if resource.type == "instance" else resource.parent_id)
    host = Resource.get_or_none(
        Resource.external_id == wanted,
        Resource.type.in_(("instance", "azure-vm")),
        Resource.account == account.id,
        Resource.region == region,
        Resource.gone_at.is_null(),
    )
    if host is None:
        return None
    return host_facts(host.external_id, host.attributes)
