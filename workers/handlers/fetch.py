"""The restore step that makes a snapshot out of a generation in a repository, in slices, each a checkpoint.

Blocks are written in ranges; what a worker wrote after its last checkpoint is written again, which changes nothing.
"""

from typing import Any

from tasks.catalog import Job, RestoreStep, session, transaction
from tasks.catalog.transitions import start_waiting
from tasks.crash import reach
from tasks.errors import NotReady
from workers import driver, fence, operations, steps
from workers.context import Context, token
from workers.handlers.tiering import ask_back, wait_for_packs
from workers.repositories import (
    blocks_of,
    checkpoint,
    go_on_later,
    open_place,
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

# Blocks between two looks at the clock, 1 GiB: some seconds, and a checkpoint costs a statement.
RANGE = 2048


def run(context: Context, job: Job, point: driver.Point, tags: dict[str, str]) -> None:
    """Write the generation's blocks into a new snapshot, for one slice at most; then wait for EBS to complete it."""
    params: dict[str, Any] = job.spec["params"]
    with session():
        place = place_of(context, params["repository"])
    blocks = blocks_of(context, point.resource.type)
    repository = open_place(context, blocks, place)
    where = (point.account, job.region)
    size = int(params["size_gib"]) << 30
    with translated():
        generation = read_index(repository, _lineage(point, params["generation"])).of(params["generation"])
    transfer = transfer_of(context, job, params["generation"], generation=generation.id, blocks=generation.blocks)
    at = transfer.next_block * generation.block_bytes
    meter = context.meters.begin(job, context.clock.timer(), generation.blocks * generation.block_bytes, at)
    if _is_cold(point, params["generation"]) and not _back(context, job, repository, generation, transfer.next_block):
        return
    if not transfer.snapshot_id:
        with translated():
            made = blocks.begin(*where, size, token(job), tags, params.get("kms_key_id", ""))
        reach("fetch.begun")
        _record(context, job, made)
        checkpoint(context, job, transfer, snapshot_id=made)
    late = slice_end(context)
    while transfer.next_block < generation.blocks:
        first, stop = transfer.next_block, min(generation.blocks, transfer.next_block + RANGE)
        try:
            with translated():
                sink = blocks.sink(*where, transfer.snapshot_id, size)
                done = restore(repository, generation, sink, first=first, stop=stop)
        except NotReady as error:
            if error.code != Archived.code or _back(context, job, repository, generation, first):
                raise
            return
        reach("fetch.written")
        figures = {
            "written": int(transfer.figures.get("written", 0)) + sink.written,
            "read_bytes": int(transfer.figures.get("read_bytes", 0)) + done.read_bytes,
        }
        checkpoint(context, job, transfer, next_block=stop, figures=figures)
        meter.reached(stop * generation.block_bytes, done.written_bytes)
        if late() and stop < generation.blocks:
            go_on_later(context, job)
            return
    with translated():
        blocks.complete(*where, transfer.snapshot_id, int(transfer.figures.get("written", 0)))
    reach("fetch.completed")
    _wait(context, job, driver.Operation("snapshot", transfer.snapshot_id, point.account, job.region))


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


def _record(context: Context, job: Job, snapshot_id: str) -> None:
    """What was made is known before a block is in it, so that an undo finds it."""
    with transaction():
        fence.keep(job)
        steps.record_creations(context, job, [driver.Created("snapshot", snapshot_id)])
        RestoreStep.update(outputs={"snapshot_id": snapshot_id}).where(
            RestoreStep.restore == job.restore_id, RestoreStep.number == job.spec["step"]
        ).execute()
        steps.mirror(job)


def _wait(context: Context, job: Job, operation: driver.Operation) -> None:
    with transaction():
        fence.keep(job)
        operations.begin(context, job, job.service, [operation])
        start_waiting(job)
        steps.mirror(job)
