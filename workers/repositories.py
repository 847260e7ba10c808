"""Repositories as handlers use them: opened with the estate's key and account, errors as the family's, slices of
time."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from tasks.catalog import Account, Job, Repository, Transfer, session, transaction
from tasks.catalog.transitions import requeue
from tasks.errors import CloudFailed, Denied, Impossible, Invalid, NotReady, Refused, SnapfleetError, Transient
from workers import driver, fence
from workers.blocks import Blocks
from workers.context import Context
from workers.ledger import CatalogCommits
from workers.repokeys import estate_key, given_key
from workers.repository import errors as engine
from workers.repository.keys import Key
from workers.repository.repository import Repository as Opened
from workers.repository.repository import create, open_repository
from workers.repository.store import Store

KMS_ADVICE = "Allow kms:Encrypt and kms:Decrypt on the key to the role of the repository's account; see its key policy."
_KIND = {
    engine.AccessRefused: Denied,
    engine.Fenced: CloudFailed,  # the job was given up there: only a new one can make a generation
    engine.Archived: NotReady,
    engine.Unsuitable: Impossible,
    engine.WrongKey: Refused,
    engine.Newer: Refused,
}


@dataclass(frozen=True)
class Place:
    """A repository of the estate with the account that it lies in."""

    name: str
    url: str
    region: str
    account_id: int
    account: driver.Account
    key: Key
    sse_key: str = ""  # the store's own encryption


@contextmanager
def translated() -> Iterator[None]:
    """The engine's edge: its errors inside come out as the family's, with the engine's code and advice. What a key
    service refuses to encrypt is Denied."""
    try:
        yield
    except PermissionError as error:
        raise Denied(str(error), advice=KMS_ADVICE) from None
    except engine.RepositoryError as error:
        raise _family(error) from None


def _family(error: engine.RepositoryError) -> SnapfleetError:
    kind = next((ours for theirs, ours in _KIND.items() if isinstance(error, theirs)), None)
    if kind is None:
        kind = Transient if error.passing else Refused
    code = None if kind is CloudFailed else error.code
    return kind(error.text, code=code, advice=error.advice)


def place_of(context: Context, name: str, wish: Mapping[str, Any] | None = None) -> Place:
    """A repository by name; call inside a session. A `wish` that brings a key (`how`) takes the place of the estate's.

    Raises Invalid when the estate has no such repository, or not its key.
    """
    row = Repository.get_or_none(Repository.name == name)
    if row is None:
        raise Invalid(f"There is no repository {name!r}.", advice="Add it to the estate file and apply it.")
    account = Account.get_or_none(Account.name == row.spec["account"], Account.enabled)
    if account is None:
        raise Invalid(f"The account {row.spec['account']!r} of the repository {name!r} was removed.")
    entered, region = context.account(account), row.spec["region"]
    if wish is not None and "how" in wish:
        key = given_key(context, name, wish, entered, region, lambda: blocks_of(context, "volume"))
    else:
        key = estate_key(context, name, row.spec, row.key_sealed, entered, lambda: blocks_of(context, "volume"))
    return Place(name, row.spec["url"], region, account.id, entered, key, row.spec.get("sse_kms_key", ""))


def blocks_of(context: Context, type_name: str) -> Blocks:
    """Block access for a resource type. Raises Impossible when this worker's driver has none."""
    found: Blocks | None = getattr(context.driver_of(type_name), "blocks", None)
    if found is None:
        raise Impossible(f"This worker has no access to the blocks of a {type_name}.", code="no-blocks")
    return found


@contextmanager
def opened_blocks(context: Context, type_name: str) -> Iterator[Blocks]:
    """Block access for a resource type, for one piece of work: what it opened is shut at the end. Raises Impossible."""
    blocks: Any = blocks_of(context, type_name)
    opened = getattr(blocks, "opened", None)
    if opened is None:
        yield blocks
        return
    with opened() as work:
        yield work


def blocks_at(context: Context, place: Place) -> Blocks:
    """Access to the cloud that a repository lies in, whatever its archives are of. Raises Impossible."""
    return blocks_for(context, place.url)


def blocks_for(context: Context, url: str) -> Blocks:
    """Access to the cloud that an address lies in. Raises Impossible."""
    return blocks_of(context, "azure-disk" if url.startswith("azure:") else "volume")


def store_of(context: Context, place: Place) -> Store:
    """The store that a repository lies in, entered. Raises the engine's family."""
    return blocks_at(context, place).store(place.account, place.region, place.url, place.sse_key)


def open_place(context: Context, place: Place) -> Opened:
    """The open repository. Raises the family: Refused with the code wrong-key, newer-version, object-missing ..."""
    with translated():
        try:
            store = store_of(context, place)
            ledger = CatalogCommits(place.url)
            commits = ledger if ledger.is_owned() else None
            return open_repository(store, place.key, clock=context.clock.timer, commits=commits)
        except engine.Missing as error:
            raise Refused(
                f"There is no repository at {place.url} yet: {error.text}",
                code=error.code,
                advice=f"Check its address, or run `snapfleet repository create {place.name}`.",
            ) from None


def make_place(context: Context, place: Place, lock: bool = False) -> tuple[Opened, bool]:
    """The repository, created when there is none; whether it was. Another key or a foreign one there is refused."""
    with translated():
        store = store_of(context, place)
        try:
            ledger = CatalogCommits(place.url)
            made = create(store, place.key, context.clock.timer, ledger, need_object_lock=lock)
            if made.config.outside:
                ledger.own()
            return made, True
        except engine.Conflict:
            if lock and not store.features().object_lock:
                text = f"{place.url} has no Object Lock, which the estate file asks for with `lock`."
                raise Impossible(text, code="unsuitable", advice="Leave `lock` out, or use another bucket.") from None
            return open_place(context, place), False


def locked_until(context: Context, job: Job) -> datetime | None:
    """Until when nobody may delete what this job writes or looks after; None without Object Lock."""
    days = job.spec.get("lock_days")
    return context.clock.now() + timedelta(days=days) if days else None


def slice_end(context: Context) -> Callable[[], bool]:
    """What says that a slice of work is over, or that this worker should hand back what it has; the engine gets at
    least one block further in each."""
    until = context.clock.timer() + context.slice
    return lambda: context.draining.is_set() or context.clock.timer() >= until


def transfer_of(context: Context, job: Job, volume: str, **columns: Any) -> Transfer:
    """Where this attempt's epoch of the job is with a volume; a new row when it has not begun. Raises FenceLost."""
    with session():
        found = Transfer.get_or_none(Transfer.job == job.id, Transfer.volume == volume, Transfer.epoch == job.epoch)
    if found is not None:
        row: Transfer = found
        return row
    at = context.clock.timer()
    with transaction():
        fence.keep(job)
        made: Transfer = Transfer.create(
            job=job.id, volume=volume, epoch=job.epoch, started_at=at, changed_at=at, **columns
        )
    return made


def checkpoint(context: Context, job: Job, row: Transfer, **columns: Any) -> None:
    """Write how far a transfer is. Raises FenceLost: a worker that was overtaken writes nothing."""
    columns["changed_at"] = context.clock.timer()
    with transaction():
        fence.keep(job)
        Transfer.update(**columns).where(Transfer.id == row.id).execute()
    for name, value in columns.items():
        setattr(row, name, value)


def added(figures: Mapping[str, int], more: Mapping[str, int]) -> dict[str, int]:
    """Figures of earlier slices and of this one."""
    return {name: int(figures.get(name, 0)) + int(more.get(name, 0)) for name in {*figures, *more}}


def go_on_later(context: Context, job: Job) -> None:
    """The slice is over and the work is not: the job waits in line for its next slice. It got further, so what failed
    or died before counts no more: a volume that takes days outlives any number of restarts."""
    at = context.clock.timer()
    with transaction():
        fence.keep(job)
        told = context.meters.told(job, at)
        requeue(job, at, attempt=0, claims=0, error_code="", error_text="", **told)
