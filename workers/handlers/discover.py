"""Looking at what exists in one account and region, page by page; what was not seen any more is gone."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

from peewee import EXCLUDED

from tasks.catalog import Job, Resource, Scan, session, transaction
from tasks.catalog.transitions import MAX_TEXT, finish_job
from tasks.crash import reach
from tasks.errors import CredentialsRefused, Denied, FenceLost, SnapfleetError, Unavailable
from workers import driver, fence
from workers.context import Context
from workers.forgotten import shut_forgotten
from workers.handlers.check import note_contact

_KEPT = (Resource.name, Resource.parent_id, Resource.attributes, Resource.seen_at, Resource.gone_at)


def run(context: Context, job: Job) -> None:
    """Write every resource of the types in the job's spec. Raises what a driver raises, after noting it at the scan.

    Nothing becomes gone unless the last page was read: a look that broke off says nothing about what it did not see.
    One whose worker drains ends at its next page and costs no attempt.
    """
    began_at = context.clock.timer()  # a scan is as old as its start: what came later may be missing in it
    types: list[str] = list(job.spec["types"])
    try:
        looks = [_look(context, job, one, types, began_at) for one in context.drivers_of(job.service)]
    except (FenceLost, Unavailable):
        raise  # whoever looks next notes how its own look ends
    except SnapfleetError as error:
        _note_failure(context, job, error)
        raise
    found, unread = sum(count for count, _ in looks), [one for _, some in looks for one in some]
    shut_forgotten(context, job)
    with transaction():
        fence.keep(job)
        Resource.update(gone_at=began_at).where(
            Resource.account == job.account_id,
            Resource.region == job.region,
            Resource.type.in_(types),
            Resource.seen_at < began_at,
            Resource.gone_at.is_null(),
        ).execute()
        _upsert_scan(job, finished_at=began_at, found=found, error_code="", error_text="")
        Scan.update(wanted_at=None).where(_here(job), Scan.wanted_at <= began_at).execute()
        note_contact(context, job.account_id, None)
        finish_job(job, context.clock.timer(), result={"found": found, **_noted(unread)})
    context.counters.add("snapfleet_scans_total", service=job.service, result="ok")
    reach("discover.recorded")


def _look(
    context: Context, job: Job, finder: driver.Driver, types: list[str], at: datetime
) -> tuple[int, list[driver.Resource]]:
    """How many resources there are, and those whose tags may not be read."""
    wanted = tuple(name for name in types if context.drivers.get(name) is finder)
    with session():
        scope = driver.Scope(context.account(job.account), job.region, wanted)
    found, page = 0, None
    unread: list[driver.Resource] = []
    while wanted:
        answer = finder.discover(scope, page)
        unread += [one for one in answer.resources if _is_unread(one)]
        found += _write_page(job, answer.resources, at)
        reach("discover.page")
        page = answer.next_page
        if page is None:
            break
        if context.draining.is_set():
            raise Unavailable("Its worker drains, and another one looks.", code="handed-back", wait=timedelta(0))
    return found, unread


def _is_unread(one: driver.Resource) -> bool:
    return "tags" in one.attributes.get(driver.UNREAD, ())


def _noted(unread: list[driver.Resource]) -> dict[str, str]:
    """What the look tells beside its count."""
    if not unread:
        return {}
    text = f"The tags of {len(unread)} found here may not be read, as those of {unread[0].external_id}: "
    return {"note": storable(text)[:MAX_TEXT] + "those known before count."}


def _write_page(job: Job, resources: Iterable[driver.Resource], at: datetime) -> int:
    known = {(one.type, one.external_id): one for one in resources}
    with transaction():
        fence.keep(job)
        # Tags that may not be read choose as they did before: nothing leaves its policy because a right is missing.
        for columns, unread in (((*_KEPT, Resource.tags), False), (_KEPT, True)):
            rows = [_row(job, one, at) for one in known.values() if _is_unread(one) == unread]
            if rows:
                Resource.insert_many(rows).on_conflict(
                    conflict_target=[Resource.account, Resource.region, Resource.type, Resource.external_id],
                    update={column: getattr(EXCLUDED, column.column_name) for column in columns},
                ).execute()
    return len(known)


def _row(job: Job, one: driver.Resource, at: datetime) -> dict[str, Any]:
    return {
        "account": job.account_id,
        "region": job.region,
        "type": one.type,
        "external_id": one.external_id,
        "name": storable(one.name),
        "parent_id": one.parent_id,
        "tags": storable(dict(one.tags)),
        "attributes": storable(dict(one.attributes)),
        "found_at": at,
        "seen_at": at,
        "gone_at": None,
    }


def storable(value: Any) -> Any:
    """The value without NUL characters and lone surrogates, which PostgreSQL takes in no text and no JSON."""
    if isinstance(value, str):
        return value.replace("\x00", "").encode("utf-8", "replace").decode("utf-8")
    if isinstance(value, dict):
        return {storable(name): storable(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [storable(item) for item in value]
    return value


def _note_failure(context: Context, job: Job, error: SnapfleetError) -> None:
    result = "denied" if isinstance(error, Denied) else "failed"
    context.counters.add("snapfleet_scans_total", service=job.service, result=result)
    with transaction():
        fence.keep(job)
        _upsert_scan(job, error_code=error.code, error_text=str(error)[:MAX_TEXT])
        if isinstance(error, CredentialsRefused):
            note_contact(context, job.account_id, error)


def _here(job: Job) -> Any:
    return (Scan.account == job.account_id) & (Scan.region == job.region) & (Scan.service == job.service)


def _upsert_scan(job: Job, **columns: Any) -> None:
    Scan.insert(account=job.account_id, region=job.region, service=job.service, **columns).on_conflict(
        conflict_target=[Scan.account, Scan.region, Scan.service],
        update={getattr(Scan, name): value for name, value in columns.items()},
    ).execute()
