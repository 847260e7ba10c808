"""The restore step that makes a snapshot, disk or file of a generation in a repository, in slices, each a checkpoint.

Blocks are written in ranges; what a worker wrote after its last checkpoint is written again, which changes nothing.
"""

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from tasks.catalog import Job, RestoreStep, Transfer, session, transaction
from tasks.catalog.transitions import start_waiting
from tasks.crash import reach
from tasks.errors import NotReady
from workers import driver, fence, operations, steps
from workers.blocks import Target
from workers.context import Context, token
from workers.handlers import filing
from workers.handlers.tiering import ask_back, wait_for_packs
from workers.progress import Meter
from workers.repositories import (
    checkpoint,
    go_on_later,
    open_place,
    opened_blocks,
    place_of,
    slice_end,
    transfer_of,
    translated,
)
from workers.repository.errors import Archived
from workers.repository.generations import read_index
from workers.repository.manifest import Generation
from workers.repository.repository import Repository
from workers.repository.restore import restore

# Steps of restores that are done here.
KINDS = ("restore-snapshot", "restore-disk", filing.STEP)
# Blocks between two looks at the clock, 1 GiB: some seconds, and a checkpoint costs a statement.
RANGE = 2048


def run(context: Context, job: Job, point: driver.Point, tags: dict[str, str]) -> None:
    """Write the generation's blocks into what was made for them, for one slice at most; then wait until it is whole."""
    params: dict[str, Any] = job.spec["params"]
    with session():
        place = place_of(context, params["repository"])
    repository = open_place(context, place)
    with translated():
        generation = read_index(repository, _lineage(point, params["generation"])).of(params["generation"])
    transfer = transfer_of(context, job, params["generation"], generation=generation.id, blocks=generation.blocks)
    if job.spec["kind"] == filing.STEP and not filing.is_mine(context, job, transfer, repository, generation):
        return
    at = transfer.next_block * generation.block_bytes
    meter = context.meters.begin(job, context.clock.timer(), generation.blocks * generation.block_bytes, at)
    if _is_cold(point, params["generation"]) and not _back(context, job, repository, generation, transfer.next_block):
        return
    with _target(context, job, point, transfer, generation) as target:
        work = _Work(context, job, target, point.account, repository, generation, transfer, meter)
        _begin(work, tags)
        if not _write(work):
            return
        with translated():
            target.complete(point.account, job.region, transfer.snapshot_id, int(transfer.figures.get("written", 0)))
    reach("fetch.completed")
    if job.spec["kind"] == filing.STEP:
        filing.finish(context, job, transfer, generation)
    else:
        _wait(context, job, driver.Operation(target.makes, transfer.snapshot_id, point.account, job.region))


def _target(
    context: Context, job: Job, point: driver.Point, transfer: Transfer, generation: Generation
) -> AbstractContextManager[Target]:
    if job.spec["kind"] == filing.STEP:
        return filing.opened_file(context, job, transfer, generation)
    return opened_blocks(context, point.resource.type)


@dataclass(frozen=True)
class _Work:
    """What one slice of a fetch has in hand."""

    context: Context
    job: Job
    target: Target
    account: driver.Account
    repository: Repository
    generation: Generation
    transfer: Transfer
    meter: Meter

    @property
    def size(self) -> int:
        """Bytes of what is made."""
        return int(self.job.spec["params"]["size_gib"]) << 30


def _begin(work: _Work, tags: dict[str, str]) -> None:
    """Make what the blocks go into, unless an earlier slice has."""
    context, job, params = work.context, work.job, work.job.spec["params"]
    if work.transfer.snapshot_id:
        return
    more = {"wishes": params["disk"]} if "disk" in params else {}
    with translated():
        where = (work.account, job.region, work.size)
        made = work.target.begin(*where, token(job), tags, params.get("kms_key_id", ""), **more)
    reach("fetch.begun")
    _record(context, job, work.target, made, sum(count for _, count in work.generation.lost))
    checkpoint(context, job, work.transfer, snapshot_id=made)


def _write(work: _Work) -> bool:
    """Whether all blocks are written; when not, the job was put back in line."""
    context, job, generation, transfer = work.context, work.job, work.generation, work.transfer
    late = slice_end(context)
    if transfer.next_block >= generation.blocks:
        return True
    with translated():
        sink = work.target.sink(work.account, job.region, transfer.snapshot_id, work.size)
    while transfer.next_block < generation.blocks:
        first, stop, before = transfer.next_block, min(generation.blocks, transfer.next_block + RANGE), sink.written
        try:
            with translated():
                done = restore(work.repository, generation, sink, first=first, stop=stop)
        except NotReady as error:
            if error.code != Archived.code or _back(context, job, work.repository, generation, first):
                raise
            return False
        reach("fetch.written")
        figures = {
            "written": int(transfer.figures.get("written", 0)) + sink.written - before,
            "read_bytes": int(transfer.figures.get("read_bytes", 0)) + done.read_bytes,
        }
        checkpoint(context, job, transfer, next_block=stop, figures=figures)
        work.meter.reached(stop * generation.block_bytes, done.written_bytes)
        if late() and stop < generation.blocks:
            go_on_later(context, job)
            return False
    return True


def _is_cold(point: driver.Point, generation: str) -> bool:
    """Whether the catalog knows of a move to a cold class; what it does not know comes out at the first read."""
    return any(part.external_id == generation and part.attributes.get("storage_class") for part in point.parts)


def _back(context: Context, job: Job, repository: Repository, generation: Generation, first: int) -> bool:
    """Whether all packs can be read; else they were asked for, and the job waits without a thread."""
    with translated():
        ready, packs = ask_back(repository, generation, first)
    if ready < packs:
        wait_for_packs(context, job, ready, packs)
    return ready == packs


def _lineage(point: driver.Point, generation: str) -> str | None:
    """Where the generation's manifest is looked for; everywhere when the catalog does not know."""
    part = next((one for one in point.parts if one.external_id == generation), None)
    return str(part.attributes["lineage"]) if part is not None and part.attributes.get("lineage") else None


def _record(context: Context, job: Job, target: Target, made: str, lost: int) -> None:
    """What was made is known before a block is in it, so that an undo finds it; and what repair had lost of it."""
    known = {target.output: made, **({"lost_blocks": lost} if lost else {})}
    with transaction():
        fence.keep(job)
        steps.record_creations(context, job, [driver.Created(target.makes, made)])
        RestoreStep.update(outputs=known).where(
            RestoreStep.restore == job.restore_id, RestoreStep.number == job.spec["step"]
        ).execute()
        steps.mirror(job)


def _wait(context: Context, job: Job, operation: driver.Operation) -> None:
    with transaction():
        fence.keep(job)
        operations.begin(context, job, job.service, [operation])
        start_waiting(job)
        steps.mirror(job)
