"""Adopting a repository: its archives become recovery points of this catalog, from the bucket and the key alone.

For a catalog that was lost, or another installation that takes over. Nothing in the bucket is changed. What the
catalog knows already stays as it is, so that adopting twice changes nothing.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from functools import partial
from typing import Any

from tasks.catalog import Account, Job, Part, Point, Policy, Repository, Resource, Transfer, rows, session, transaction
from tasks.catalog.archives import ARCHIVE, repository_destination
from tasks.catalog.point import BLOCKS_LOST, BLOCKS_LOST_TEXT
from tasks.catalog.transitions import finish_job
from tasks.errors import Refused
from tasks.states import PointState
from workers import driver, fence
from workers.adoption import Archive, adoptable
from workers.context import Context
from workers.handlers.discover import storable
from workers.ledger import CatalogCommits
from workers.provenance import Origin
from workers.repokeys import columns_of, given_key, service_key, ways_in
from workers.repositories import Place, blocks_for, blocks_of, open_place, place_of, store_of, translated
from workers.repository.errors import Damaged, WrongKey
from workers.repository.generations import read_index
from workers.repository.keys import ServiceKey, kinds
from workers.repository.manifest import Generation
from workers.repository.repository import Repository as Opened
from workers.repository.repository import read_config

# Points written in one transaction, and reasons that are told one by one.
_BATCH, _TOLD = 100, 50
_GIB = 1 << 30


def run(context: Context, job: Job) -> None:
    """Read every manifest and write what is missing in the catalog; with `dry_run` only say what that is.

    Raises the family: a wrong key, another program's place, a newer version.
    """
    place, repository = _opened(context, job)
    with translated():
        index = read_index(repository)
    found = adoptable(index.generations, _known(place.name))
    for name in sorted(index.broken()):
        why = index.unreadable[name].text if name in index.unreadable else "it, or the lease of its job, is gone."
        found.skipped.append(f"{name}: {why} Repair the repository, and adopt it again.")
    with session():
        accounts = {row.name: row for row in Account.select()}
    ready = [one for one in found.archives if one.origin.account in accounts]
    strange = sorted({one.origin.account for one in found.archives} - set(accounts))
    found.skipped += [f"The estate has no account {name!r}: add it, and adopt again." for name in strange]
    made = 0
    if not job.spec.get("dry_run"):
        _write_place(context, job, place)
        if repository.config.outside:
            with translated():
                CatalogCommits(place.url).own(repository.store)
        for start in range(0, len(ready), _BATCH):
            with transaction():
                fence.keep(job)
                made += _write(context, place, ready[start : start + _BATCH], accounts)
    facts: dict[str, Any] = {
        "id": repository.config.id,
        "repository": place.name,
        "opened_by": place.key.kind,
        "generations": len(index.generations),
        "points": made if not job.spec.get("dry_run") else len(ready),
        "already": found.known,
        "resources": len({(one.origin.account, one.origin.region, one.origin.resource) for one in ready}),
        "skipped": len(found.skipped),
        "told": found.skipped[:_TOLD],
        "dry_run": bool(job.spec.get("dry_run")),
    }
    if repository.config.outside:
        facts["warning"] = "The catalog that was lost kept this repository's leases: it must never run again."
    _finish(context, job, place.name, facts)


def _opened(context: Context, job: Job) -> tuple[Place, Opened]:
    """The repository, opened by the key that the wish brings, the catalog has, or KMS. Raises the family; where the key
    is not one of its slots', with what these are."""
    with session():
        known = Repository.get_or_none(Repository.name == job.spec["repository"])
        account = context.account(Account.get_by_id(job.account_id))
        place = place_of(context, known.name, job.spec) if known else None
    place = place or _unknown(context, job, account)
    try:
        return place, open_place(context, place)
    except Refused as error:
        if error.code != WrongKey.code:
            raise
        with translated():
            found = kinds(store_of(context, place))
        raise Refused(error.text, code=error.code, advice=ways_in(found.values())) from None


def _unknown(context: Context, job: Job, account: driver.Account) -> Place:
    """A repository that the catalog does not have. Without a key it opens where a slot says that KMS does: what KMS
    encrypted names its key."""
    spec, region = job.spec, job.region
    aws = partial(blocks_of, context, "volume")
    if "how" in spec:
        key = given_key(context, spec["repository"], spec, account, region, aws)
    else:
        with translated():
            store = blocks_for(context, spec["url"]).store(account, region, spec["url"])
            with suppress(Damaged):  # what a key slot repeats of it will do
                read_config(store)  # first whether there is one at all
            found = set(kinds(store).values())
        if "service" not in found or spec["url"].startswith("azure:"):
            raise Refused(f"No key was given for {spec['url']}.", code=WrongKey.code, advice=ways_in(found))
        key = service_key(aws(), account, region, "")
    return Place(spec["repository"], spec["url"], region, job.account_id, account, key)


def _known(name: str) -> set[str]:
    with session():
        query = Part.select(Part.external_id).join(Point).where(Point.destination == repository_destination(name))
        made = Transfer.select(Transfer.generation).where(Transfer.generation != "")  # also of jobs that still run
        return {identity for (identity,) in [*rows(query), *rows(made)]}


def _write_place(context: Context, job: Job, place: Place) -> None:
    """The catalog has the repository, and workers open it from now on by what opened it."""
    wish = job.spec
    if "how" not in wish and isinstance(place.key, ServiceKey):
        wish = {"how": "kms", "reference": str(getattr(place.key.service, "key", ""))}
    written = {"name": place.name, "account": place.account.name, "url": place.url, "region": place.region}
    with transaction():
        fence.keep(job)
        row = Repository.get_or_none(Repository.name == place.name)
        if row is None:
            columns = columns_of(context, place.name, written, wish)
            Repository.create(name=place.name, created_at=context.clock.now(), **columns)
        elif "how" in job.spec:
            Repository.update(**columns_of(context, place.name, row.spec, wish)).where(
                Repository.id == row.id
            ).execute()


def _write(context: Context, place: Place, archives: Sequence[Archive], accounts: Mapping[str, Account]) -> int:
    """Points and their parts; resources that discovery has not seen are written as gone. How many points."""
    # A policy that names another repository has no rule for what lies here, and its own may be far shorter.
    policies = {
        row.name: row.id
        for row in Policy.select().where(Policy.deleted_at.is_null())
        if (row.spec.get("repository") or {}).get("name") == place.name
    }
    for one in archives:
        origin = one.origin
        policy = policies.get(origin.policy) or _keeper(context, place.name)
        resource = _resource(origin, accounts[origin.account], context.clock.timer())
        partly = any(disk.lost for _, disk in one.disks)
        point = Point.create(
            resource=resource,
            policy=policy,
            account=place.account_id,
            region=place.region,
            destination=repository_destination(place.name),
            kind=ARCHIVE,
            state=PointState.GOOD,
            consistency=origin.consistency,
            attributes=storable(dict(origin.captured)),
            size_gib=sum(-(-disk.size // _GIB) for _, disk in one.disks),
            taken_at=one.newest.taken_at,
            completed_at=one.newest.created_at,
            error_code=BLOCKS_LOST if partly else "",
            error_text=BLOCKS_LOST_TEXT if partly else "",
        )
        Part.insert_many([_part(point.id, *disk) for disk in one.disks]).execute()
    return len(archives)


def _keeper(context: Context, repository: str) -> int:
    """The policy of points whose own is not in this estate, or does not name the repository: it has no rule, so nothing
    of them expires."""
    at: datetime = context.clock.now()
    columns = {"enabled": False, "deleted_at": at, "created_at": at, "changed_at": at}
    spec = {"targets": [], "repository": {"name": repository}}
    known = Policy.get_or_none(Policy.name == f"adopted:{repository}")
    return int((known or Policy.create(name=f"adopted:{repository}", spec=spec, **columns)).id)


def _resource(origin: Origin, account: Account, at: datetime) -> int:
    known = Resource.get_or_none(
        Resource.account == account.id,
        Resource.region == origin.region,
        Resource.type == origin.type,
        Resource.external_id == origin.resource,
    )
    if known is not None:
        return int(known.id)
    captured = storable(dict(origin.captured))
    columns = {"found_at": at, "seen_at": at, "gone_at": at, "attributes": captured, "name": captured.get("name", "")}
    key = {"account": account.id, "region": origin.region, "type": origin.type, "external_id": origin.resource}
    return int(Resource.create(**key, **columns).id)


def _part(point: int, origin: Origin, disk: Generation) -> dict[str, Any]:
    attributes = {
        **storable(dict(origin.disk)),
        "snapshot_id": origin.snapshot,
        "lineage": disk.lineage,
        "stored_bytes": int(disk.figures.get("stored_bytes", 0)),
    }
    if disk.lost:
        attributes["lost_blocks"] = sum(count for _, count in disk.lost)
    return {
        "point": point,
        "external_id": disk.id,
        "source_id": origin.volume,
        "device": origin.device,
        "size_gib": -(-disk.size // _GIB),
        "encrypted": int(origin.encrypted),
        "kms_key_id": origin.kms_key_id,
        "state": PointState.GOOD,
        "attributes": attributes,
    }


def _finish(context: Context, job: Job, name: str, facts: Mapping[str, Any]) -> None:
    at = context.clock.timer()
    with transaction():
        fence.keep(job)
        row = Repository.get_or_none(Repository.name == name)
        if row is not None and not facts["dry_run"]:
            found = {**facts, "at": at.isoformat()}
            Repository.update(facts={**row.facts, "adopt": found}).where(Repository.id == row.id).execute()
        finish_job(job, at, result=dict(facts))
