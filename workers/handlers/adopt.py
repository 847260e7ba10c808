"""Adopting a repository: its archives become recovery points of this catalog, from the bucket and the key alone.

For a catalog that was lost, or another installation that takes over. Nothing in the bucket is changed. What the
catalog knows already stays as it is, so that adopting twice changes nothing.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from tasks.catalog import Account, Job, Part, Point, Policy, Repository, Resource, Transfer, rows, session, transaction
from tasks.catalog.archives import ARCHIVE, repository_destination
from tasks.catalog.transitions import finish_job
from tasks.errors import Invalid
from tasks.secrets import unseal
from tasks.states import PointState
from workers import fence
from workers.adoption import Archive, adoptable
from workers.context import Context
from workers.handlers.discover import storable
from workers.ledger import CatalogCommits
from workers.provenance import Origin
from workers.repositories import Place, open_place, place_of, translated
from workers.repository.generations import read_index
from workers.repository.keys import Passphrase
from workers.repository.manifest import Generation

# Points written in one transaction, and reasons that are told one by one.
_BATCH, _TOLD = 100, 50
_GIB = 1 << 30


def run(context: Context, job: Job) -> None:
    """Read every manifest and write what is missing in the catalog; with `dry_run` only say what that is.

    Raises the family: a wrong key, another program's place, a newer version.
    """
    place = _place(context, job)
    repository = open_place(context, place)
    with translated():
        index = read_index(repository)
    found = adoptable(index.generations, _known(place.name))
    found.skipped += [f"{name}: {error.text}" for name, error in sorted(index.unreadable.items())]
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


def _place(context: Context, job: Job) -> Place:
    """The repository of the catalog, or the one that the wish describes. Its key is sealed there as in the catalog."""
    spec = job.spec
    with session():
        if Repository.get_or_none(Repository.name == spec["repository"]) is not None:
            return place_of(context, spec["repository"])
        account = Account.get_by_id(job.account_id)
        key = unseal(context.keys, spec.get("key_sealed", ""), f"repository.key.{spec['repository']}")
        if not key:
            raise Invalid(f"The repository {spec['repository']!r} has no key.", advice="Give one with --key.")
        opened = context.account(account)
    return Place(spec["repository"], spec["url"], job.region, account.id, opened, Passphrase(key.reveal()))


def _known(name: str) -> set[str]:
    with session():
        query = Part.select(Part.external_id).join(Point).where(Point.destination == repository_destination(name))
        made = Transfer.select(Transfer.generation).where(Transfer.generation != "")  # also of jobs that still run
        return {identity for (identity,) in [*rows(query), *rows(made)]}


def _write_place(context: Context, job: Job, place: Place) -> None:
    spec = job.spec
    written = {"name": place.name, "account": place.account.name, "url": place.url, "region": place.region}
    with transaction():
        fence.keep(job)
        if Repository.get_or_none(Repository.name == place.name) is None:
            reference = {"key": spec["key"]} if spec.get("key") else {}
            Repository.create(
                name=place.name,
                spec={**written, **reference},
                key_sealed=spec["key_sealed"],
                created_at=context.clock.now(),
            )


def _write(context: Context, place: Place, archives: Sequence[Archive], accounts: Mapping[str, Account]) -> int:
    """Points and their parts; resources that discovery has not seen are written as gone. How many points."""
    policies = {row.name: row.id for row in Policy.select().where(Policy.deleted_at.is_null())}
    for one in archives:
        origin = one.origin
        policy = policies.get(origin.policy) or _keeper(context, place.name)
        resource = _resource(origin, accounts[origin.account], context.clock.timer())
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
        )
        Part.insert_many([_part(point.id, *disk) for disk in one.disks]).execute()
    return len(archives)


def _keeper(context: Context, repository: str) -> int:
    """The policy of points whose own is not in this estate: it has no rule, so nothing of them expires."""
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
