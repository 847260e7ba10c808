"""Moving archives to a cold storage class, and asking for them back. Nothing here decides when."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

from tasks.catalog import Job, Part, session, transaction
from tasks.catalog.transitions import requeue
from workers import fence
from workers.context import Context
from workers.repositories import Place, go_on_later, open_place, slice_end, translated
from workers.repository.cold import MovePlan, execute_move, plan_move
from workers.repository.generations import Index, read_index
from workers.repository.manifest import Generation
from workers.repository.names import PACKS
from workers.repository.repository import Repository
from workers.repository.restore import packs_of
from workers.repository.store import Thaw

# Packs moved between two looks at the clock: S3 copies 32 MiB in half a second.
_STEP = 32
# Requests for objects at once: latency is all, and a TiB has 12,000 packs.
_TOGETHER = 32
# How long what was retrieved stays readable: a restore of 64 TiB, with a weekend in between.
DAYS = 7
# Standard retrieval takes 3 to 5 hours from Flexible Retrieval and up to 12 from Deep Archive (S3 user guide,
# "Archive retrieval options"); asking costs a request for each pack that is not back yet.
TIER, POLL = "Standard", timedelta(minutes=15)


def tier(context: Context, place: Place, job: Job) -> dict[str, Any] | None:
    """Move what only the points of `moves` (class to ids) need; None when the rest follows with the next message.

    What a warmer generation shares stays until that one moves too. What cannot be moved is told and tried again.
    """
    repository, late = open_place(context, place), slice_end(context)
    with translated():
        index = read_index(repository)
    facts: dict[str, Any] = {"moved": 0, "moved_bytes": 0, "shared_bytes": 0, "kept": 0, "points": 0}
    for name, points in sorted(job.spec["moves"].items()):
        chosen = _generations(index, points)
        with translated():
            plan = _left(repository, plan_move(repository, chosen, index.generations, name))
        packs = list(plan.packs)
        meter = context.meters.begin(job, context.clock.timer(), sum(plan.packs.values()))
        facts["shared_bytes"] += plan.shared
        for start in range(0, len(packs), _STEP):
            step = {pack: plan.packs[pack] for pack in packs[start : start + _STEP]}
            with translated():
                kept = execute_move(repository, MovePlan(name, step, 0))
            meter.reached(sum(plan.packs[pack] for pack in packs[: start + _STEP]), sum(step.values()))
            facts["kept"] += len(kept)
            facts["moved"] += len(step) - len(kept)
            facts["moved_bytes"] += sum(size for pack, size in step.items() if pack not in kept)
            if late() and start + _STEP < len(packs):
                go_on_later(context, job)
                return None
        facts["points"] += _note(job, points, name)
    return facts


def _generations(index: Index, points: Sequence[int]) -> list[Generation]:
    with session():
        wanted = {part.external_id for part in Part.select(Part.external_id).where(Part.point.in_(points))}
    return [one for one in index.generations if one.id in wanted]


def _left(repository: Repository, plan: MovePlan) -> MovePlan:
    """Without the packs that are there already: one listing tells of all of them."""
    there = {one.name for one in repository.store.list(PACKS) if one.storage_class == plan.storage_class}
    return MovePlan(
        plan.storage_class, {name: size for name, size in plan.packs.items() if name not in there}, plan.shared
    )


def _note(job: Job, points: Sequence[int], storage_class: str) -> int:
    with transaction():
        fence.keep(job)
        for part in Part.select().where(Part.point.in_(points)):
            if part.attributes.get("storage_class") != storage_class:
                noted = {**part.attributes, "storage_class": storage_class}
                Part.update(attributes=noted).where(Part.id == part.id).execute()
    return len(points)


def ask_back(repository: Repository, generation: Generation, first: int = 0) -> tuple[int, int]:
    """Ask for every archived pack of a generation from block `first` on: how many are readable by now, of how many."""
    names = sorted(packs_of(repository, generation, first))

    def one(name: str) -> bool:
        return repository.store.thaw([name], DAYS, TIER)[name] is Thaw.READY

    with ThreadPoolExecutor(_TOGETHER) as pool:
        return sum(pool.map(one, names)), len(names)


def wait_for_packs(context: Context, job: Job, ready: int, packs: int) -> None:
    """The job waits in line until it is time to ask again; no thread and no attempt is used up meanwhile."""
    at = context.clock.timer()
    text = f"{ready} of {packs} packs are back from cold storage, which takes up to 12 hours. It goes on by itself."
    with transaction():
        fence.keep(job)
        requeue(job, at, at + POLL, attempt=0, claims=0, error_code="retrieving", error_text=text)
