"""Big volumes on several workers: jobs that archive a range each, and one that makes a single generation of them all.

The archive job (or import, of a snapshot that others made) takes the right to make the generation, notes what it
builds on and waits. The coordinator plans the parts, which share that right: whatever they do happens twice without
harm, since a stretch of blocks is entered in the repository once. When all are done it wakes the job, which commits.
What a part's worker had stored before it died is not read again, whoever goes on.
"""

from collections.abc import Sequence
from typing import Any

from tasks.catalog import Job, Resource, Transfer, session, transaction
from tasks.catalog.archives import PART_LOST, parts_of_archives
from tasks.catalog.transitions import finish_job, start_waiting
from tasks.crash import reach
from tasks.errors import CloudFailed, Gone
from tasks.states import JobState
from workers import fence
from workers.archiving import Task, archive_range, close_volume, figures_of, how_of
from workers.context import Context
from workers.progress import Watched
from workers.repositories import (
    added,
    checkpoint,
    go_on_later,
    open_place,
    opened_blocks,
    place_of,
    slice_end,
    transfer_of,
    translated,
)
from workers.repository import archive as engine
from workers.repository.errors import Fenced, Missing, Unrelated
from workers.repository.lease import COMMITTED
from workers.repository.pipeline import Figures
from workers.repository.repository import Repository
from workers.repository.source import BLOCK_BYTES


def run(context: Context, job: Job) -> None:
    """Archive what is left of the job's range, for one slice at most. Raises the family; FenceLost when overtaken."""
    spec = job.spec
    with session():
        lead = Job.get_or_none(Job.id == spec["lead"])
        if lead is None or (lead.state, lead.epoch, lead.point_id) != (JobState.WAITING, spec["epoch"], job.point_id):
            raise Gone("The archive that this part is of does not wait for it any more.", code="archive-over")
        place = place_of(context, spec["repository"])
        account = context.account(job.account)
        type_name = Resource.get_by_id(lead.resource_id).type
    repository = open_place(context, place)
    start, stop = spec["start"], spec["stop"]
    transfer = transfer_of(context, job, spec["volume"], snapshot_id=spec["snapshot"], blocks=stop - start)
    with opened_blocks(context, type_name) as blocks:
        done = _slice(context, job, repository, lambda: blocks.source(account, job.region, *_snapshots(spec)))
    reach("part.stored")
    if done is not None:
        figures = added(transfer.figures, figures_of(done))
        checkpoint(context, job, transfer, next_block=done.next - start, figures=figures, done=done.finished)
        if not done.finished:
            go_on_later(context, job)
            return
    at = context.clock.timer()
    with transaction():
        fence.keep(job)
        finish_job(job, at, result={"figures": dict(transfer.figures)}, **context.meters.told(job, at))
    reach("part.recorded")


def _snapshots(spec: dict[str, Any]) -> tuple[str, str | None]:
    """What is read, and what it is the difference to."""
    return spec["snapshot"], spec["since"] or None


def _slice(context: Context, job: Job, repository: Repository, opened: Any) -> engine.Slice | None:
    """A slice of the range; None when the whole volume is a generation already.

    Raises Gone with the code `archive-lost` when only the archive as a whole can begin anew.
    """
    spec, late = job.spec, slice_end(context)
    try:
        with translated():
            try:
                started = engine.resume_archive(repository, spec["engine"])
                if started.lease.state == COMMITTED:
                    return None
                source = opened()
            except (Missing, Unrelated, Fenced) as error:
                raise CloudFailed(error.text) from None
        begun = context.meters.begin(job, context.clock.timer(), (spec["stop"] - spec["start"]) * BLOCK_BYTES)
        watched = Watched(source, begun, -spec["start"] * BLOCK_BYTES)
        how = how_of(context, job)
        return archive_range(context, repository, started, watched, spec["start"], spec["stop"], late, how)
    except CloudFailed as error:
        raise Gone(error.text, code=PART_LOST, advice="The archive begins anew.") from None


def gather(task: Task, repository: Repository, volumes: Sequence[Transfer]) -> bool:
    """Commit the volumes whose parts are all done and have the others archived; whether all are generations now.

    When not, the job waits. Raises the family: CloudFailed when the right to make a generation was taken away.
    """
    asked = {row["volume"]: row for row in _asked(task.job)}
    with session():
        parts = parts_of_archives([task.job])[task.job.id]
    left = []
    for transfer in volumes:
        of_it = [one for one in parts if one.spec["volume"] == transfer.volume]
        wish = asked.get(transfer.volume)
        if wish is not None and of_it and all(one.state is JobState.DONE for one in of_it):
            _commit(task, repository, transfer, of_it, wish)
        else:
            left.append(wish or _wish(task, repository, transfer))
    if left:
        at = task.context.clock.timer()
        with transaction():
            fence.keep(task.job)
            told = task.context.meters.told(task.job, at)
            start_waiting(task.job, result={"epoch": task.job.epoch, "split": left}, **told)
        reach("archive.shared")
    return not left


def _asked(job: Job) -> list[dict[str, Any]]:
    """What an earlier turn of this epoch asked for."""
    return list(job.result.get("split", ())) if job.result.get("epoch") == job.epoch else []


def _wish(task: Task, repository: Repository, transfer: Transfer) -> dict[str, Any]:
    """Begin a volume and say what its parts have in common. Decided once: all of them must read the same."""
    opened = task.open(repository, transfer)
    reach("archive.opened")
    columns = {"blocks": opened.started.blocks, "why_full": opened.why_full}
    checkpoint(task.context, task.job, transfer, **columns)
    return {
        "volume": transfer.volume,
        "snapshot": transfer.snapshot_id,
        "since": opened.since,
        "engine": opened.started.id,
        "blocks": opened.started.blocks,
    }


def _commit(task: Task, repository: Repository, transfer: Transfer, parts: Sequence[Job], wish: dict[str, Any]) -> None:
    figures: dict[str, int] = {}
    for one in parts:
        figures = added(figures, one.result["figures"])
    with translated():
        started = engine.resume_archive(repository, wish["engine"])
        generation = engine.commit_archive(repository, started, task.taken_at, (), task.how(), Figures(**figures))
    reach("archive.committed")
    close_volume(task.context, task.job, transfer, generation, figures, transfer.why_full)
