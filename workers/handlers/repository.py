"""What is done with a repository as a whole: create it, count it, verify it, prune it, and (mending) repair it.

What was found goes to the job's result, for whoever asked, and to the repository's row, for whoever looks later.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Any

from tasks.catalog import Job, Part, Point, Repository, rows, session, transaction
from tasks.catalog.archives import repository_destination
from tasks.catalog.transitions import finish_job
from tasks.errors import Invalid
from tasks.states import PointState
from workers import fence
from workers.context import Context
from workers.handlers.locking import lock
from workers.handlers.mending import compaction, repairing
from workers.handlers.tiering import tier
from workers.progress import Meter
from workers.repokeys import columns_of
from workers.repositories import (
    Place,
    go_on_later,
    make_place,
    open_place,
    place_of,
    slice_end,
    store_of,
    translated,
)
from workers.repository import repository as engine
from workers.repository.cold import early_deletion_cost
from workers.repository.errors import AccessRefused
from workers.repository.generations import read_index
from workers.repository.liveness import Margins
from workers.repository.locks import locks_of
from workers.repository.names import MAPS, PACKS
from workers.repository.prune import PrunePlan, execute_prune, plan_prune
from workers.repository.verify import Verified, verify

# Problems that are told one by one; the count says how many there are.
_TOLD, _MOST_TOLD = 20, 1000
# Bytes of packs that one turn of a verification reads: half a minute at the 300 MiB/s that two cores prove.
TURN_BYTES = 8 << 30
Facts = dict[str, Any]


def run(context: Context, job: Job) -> None:
    """Do the job's verb and write down what was found. Raises the family."""
    name, verb = job.spec["repository"], job.spec["verb"]
    if verb not in _VERBS:
        raise Invalid(f"A repository cannot be asked to {verb!r}.", code="unknown-verb")
    with session():
        place = place_of(context, name, job.spec)
    facts = _VERBS[verb](context, place, job)
    if facts is None:
        return
    at = context.clock.timer()
    facts["at"] = at.isoformat()
    with transaction():
        fence.keep(job)
        row = Repository.get_or_none(Repository.name == name)
        if row is not None:
            told = {**row.facts, verb: facts, **_scrubbed(row.facts, job.spec, facts)}
            Repository.update(facts=told).where(Repository.id == row.id).execute()
        finish_job(job, at, result=facts)


def _scrubbed(before: Facts, spec: Mapping[str, Any], facts: Facts) -> Facts:
    """Where the daily shares are, and which packs they found damaged: a clean share says nothing of the others, so what
    one found stays until it is clean itself, or a repair or a full verification looked at everything."""
    scrub = dict(before.get("scrub") or {})
    found = dict(scrub.get("found") or {})
    packs = [line for line in facts.get("told", ()) if line.startswith((PACKS, MAPS))]
    if spec["verb"] == "verify" and spec.get("share"):
        number, shares = spec["share"]
        found |= {f"{number}/{shares}": packs}
        if spec.get("daily"):
            scrub["next"] = (number + 1) % shares
    elif spec["verb"] == "verify" and spec.get("full"):
        found = {"full": packs}
    elif spec["verb"] == "repair" and not spec.get("dry_run"):
        found = {}
    else:
        return {}
    return {"scrub": {**scrub, "found": {name: lines for name, lines in found.items() if lines}}}


def _create(context: Context, place: Place, job: Job) -> Facts:
    with translated():  # first: whoever may not see the settings cannot tell a rule that would eat packs
        features = store_of(context, place).features()
    opened, made = make_place(context, place, lock=bool(job.spec.get("lock_days")))
    if "how" in job.spec:  # from now on workers open it by the key that the wish brought
        with transaction():
            fence.keep(job)
            row = Repository.get(Repository.name == place.name)
            columns = columns_of(context, place.name, row.spec, job.spec)
            Repository.update(**columns).where(Repository.id == row.id).execute()
    leases = "catalog" if opened.config.outside else "store"
    return {
        "id": opened.config.id,
        "created": made,
        "leases": leases,
        "warnings": [*features.warnings, *features.notes],
    }


def _stats(context: Context, place: Place, _job: Job) -> Facts:
    opened = _opened(context, place)
    with translated():
        index = read_index(opened)
        stored: dict[str, int] = {}
        objects = 0
        for folder in (PACKS, MAPS):
            for one in opened.store.list(folder):
                kind = one.storage_class or "STANDARD"
                stored[kind] = stored.get(kind, 0) + one.size
                objects += 1
    return {
        "id": opened.config.id,
        "generations": len(index.generations),
        "volumes": len({one.lineage for one in index.generations}),
        "volume_bytes": sum({one.lineage: one.size for one in index.generations}.values()),
        "stored_bytes": sum(stored.values()),
        "by_class": stored,
        "objects": objects,
        "unfinished": len(index.open_jobs()),
        "unreadable": len(index.broken()),
    }


def _verify(context: Context, place: Place, job: Job) -> Facts | None:
    """Structure and presence; with `share` [k, n] also that share of all packs byte by byte; with `full` all of them.

    What is read is cut into turns of some gigabytes, done one after the other within a slice; the next message goes on
    with the next turn. A generation that the catalog knows and that is not there was rolled back, or lost.
    """
    opened, spec, late = _opened(context, place), dict(job.spec), slice_end(context)
    share = (0, 1) if spec.get("full") else tuple(spec["share"]) if spec.get("share") else None
    with session():
        expected = _expected(place.name)
    with translated():
        stored = sum(one.size for one in opened.store.list(PACKS)) if share else 0
    chosen = stored // (share or (0, 1))[1]
    going = spec.get("going") or {"next": 0, "turns": max(1, chosen // TURN_BYTES), "sums": {}}
    meter = context.meters.begin(job, context.clock.timer(), chosen, going["sums"].get("read_bytes", 0))
    while going["next"] < going["turns"]:
        turn = None if share is None else (share[0] + share[1] * going["next"], share[1] * going["turns"])
        read = going["sums"].get("read_bytes", 0)
        with translated():
            found = verify(opened, turn, expected=expected, progress=partial(_count, meter, read))
        going = {**going, "next": going["next"] + 1, "sums": _summed(going["sums"], found)}
        if late() and going["next"] < going["turns"]:
            with transaction():
                fence.keep(job, spec={**spec, "going": going})
            go_on_later(context, job)
            return None
    facts: Facts = going["sums"]
    told = [*_dangers(opened), *facts["told"]]
    return {**facts, "problems": len(told), "told": told[:_TOLD]}


def _dangers(opened: engine.Repository) -> list[str]:
    """What somebody has set since that would eat a repository; nothing where this role may not read settings."""
    with translated():
        try:
            return list(opened.store.features().warnings)
        except AccessRefused:
            return []


def _count(meter: Meter, read: int, found: Verified) -> None:
    meter.moved_to(read + found.read_bytes)


def _summed(before: Facts, found: Verified) -> Facts:
    """What all turns have seen: structure is looked at in each, bytes in one only."""
    told = [f"{one.name}: {one.kind}: {one.detail}" for one in found.problems[:_MOST_TOLD]]
    return {
        "generations": found.generations,
        "packs": found.packs,
        "archived": found.archived,
        "read_packs": before.get("read_packs", 0) + found.read_packs,
        "read_bytes": before.get("read_bytes", 0) + found.read_bytes,
        "told": list(dict.fromkeys([*before.get("told", ()), *told]))[:_MOST_TOLD],
        "lost": dict(list(found.lost.items())[:_TOLD]),
        "affected": sorted({*before.get("affected", ()), *found.affected})[:_TOLD],
    }


def _expected(name: str) -> list[str]:
    """The generations that the catalog calls good."""
    query = (
        Part.select(Part.external_id)
        .join(Point)
        .where(Point.destination == repository_destination(name), Point.state == PointState.GOOD)
    )
    return [identity for (identity,) in rows(query)]


def _prune(context: Context, place: Place, job: Job) -> Facts:
    """Take away what nothing needs any more and what waited for its grace; with `dry_run` only say what that is.

    Cold objects stay until the time is over for which they are billed however early they go: deleting them would save
    nothing. With `early` they go too.
    """
    opened = _opened(context, place)
    with translated():
        plan = plan_prune(opened, (), _margins(context))
        early = {name: plan.delete[name] for name in plan.early}
        if not job.spec.get("early"):
            plan = replace(plan, delete={name: size for name, size in plan.delete.items() if name not in early})
        facts = {
            "freed_bytes": plan.freed,
            "later_bytes": plan.later,
            "live_bytes": plan.live,
            "dead_in_use_bytes": plan.dead_in_use,
            "objects": len(plan.delete),
            "early": len(early),
            "early_bytes": sum(early.values()),
            "early_days": max(plan.early.values(), default=0),
            "early_usd": early_deletion_cost(opened, early, plan.early),
            "given_up": len(plan.revoke),
        }
        if job.spec.get("dry_run"):
            return {**facts, **_held(opened, plan)}
        meter = context.meters.begin(job, context.clock.timer(), plan.freed)
        done = execute_prune(opened, plan, progress=meter.moved_to)
    return {**facts, "objects": len(done.deleted), "freed_bytes": sum(done.deleted.values()), "kept": len(done.kept)}


def _held(opened: engine.Repository, plan: PrunePlan) -> Facts:
    """What locks keep of what would go, and when the last of them ends. What is locked goes with a later prune."""
    locked = locks_of(opened.store, plan.delete, opened.clock())
    held = sum(plan.delete[name] for name in locked)
    return {
        "objects": len(plan.delete) - len(locked),
        "freed_bytes": plan.freed - held,
        "locked": len(locked),
        "locked_bytes": held,
        "locked_until": max(locked.values()).isoformat() if locked else "",
    }


def _margins(context: Context) -> Margins:
    patience = timedelta(seconds=context.settings.grace_seconds)
    return Margins(grace=patience, silence=patience)


def _opened(context: Context, place: Place) -> engine.Repository:
    return open_place(context, place)


_VERBS: Mapping[str, Callable[[Context, Place, Job], Facts | None]] = {
    "create": _create,
    "stats": _stats,
    "verify": _verify,
    "prune": _prune,
    "tier": tier,
    "lock": lock,
    "compact": compaction,
    "repair": repairing,
}
