"""What is done with a repository as a whole: create it, count it, verify it, prune it.

What was found goes to the job's result, for whoever asked, and to the repository's row, for whoever looks later.
"""

from collections.abc import Callable, Mapping
from typing import Any

from tasks.catalog import Job, Repository, session, transaction
from tasks.catalog.transitions import finish_job
from tasks.errors import Invalid
from workers import fence
from workers.context import Context
from workers.repositories import Place, blocks_of, make_place, open_place, place_of, translated
from workers.repository import repository as engine
from workers.repository.generations import read_index
from workers.repository.names import MAPS, PACKS
from workers.repository.prune import execute_prune, plan_prune
from workers.repository.verify import verify

# Problems that are told one by one; the count says how many there are.
_TOLD = 20
Facts = dict[str, Any]


def run(context: Context, job: Job) -> None:
    """Do the job's verb and write down what was found. Raises the family."""
    name, verb = job.spec["repository"], job.spec["verb"]
    if verb not in _VERBS:
        raise Invalid(f"A repository cannot be asked to {verb!r}.", code="unknown-verb")
    with session():
        place = place_of(context, name)
    facts = _VERBS[verb](context, place, job.spec)
    at = context.clock.timer()
    facts["at"] = at.isoformat()
    with transaction():
        fence.keep(job)
        row = Repository.get_or_none(Repository.name == name)
        if row is not None:
            Repository.update(facts={**row.facts, verb: facts}).where(Repository.id == row.id).execute()
        finish_job(job, at, result=facts)


def _create(context: Context, place: Place, _spec: Mapping[str, Any]) -> Facts:
    blocks = blocks_of(context, "volume")
    opened, made = make_place(context, blocks, place)
    with translated():
        features = opened.store.features()
    return {"id": opened.config.id, "created": made, "warnings": list(features.warnings)}


def _stats(context: Context, place: Place, _spec: Mapping[str, Any]) -> Facts:
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
        "unreadable": len(index.unreadable) + len(index.lost),
    }


def _verify(context: Context, place: Place, spec: Mapping[str, Any]) -> Facts:
    """Structure and presence; with `share` [k, n] also that share of all packs byte by byte; with `full` all of them.

    `expected` are the generations that the catalog knows: one that is gone was rolled back, or lost.
    """
    opened = _opened(context, place)
    share = spec.get("share")
    with translated():
        found = verify(
            opened, (int(share[0]), int(share[1])) if share else None, bool(spec.get("full")), spec.get("expected", ())
        )
    return {
        "generations": found.generations,
        "packs": found.packs,
        "read_packs": found.read_packs,
        "read_bytes": found.read_bytes,
        "archived": found.archived,
        "problems": len(found.problems),
        "told": [f"{one.name}: {one.kind}: {one.detail}" for one in found.problems[:_TOLD]],
        "affected": sorted(found.affected)[:_TOLD],
    }


def _prune(context: Context, place: Place, spec: Mapping[str, Any]) -> Facts:
    """Take away what nothing needs any more and what waited for its grace; with `dry_run` only say what that is."""
    opened = _opened(context, place)
    with translated():
        plan = plan_prune(opened, ())
        facts = {
            "freed_bytes": plan.freed,
            "later_bytes": plan.later,
            "live_bytes": plan.live,
            "dead_in_use_bytes": plan.dead_in_use,
            "objects": len(plan.delete),
            "early": len(plan.early),
            "given_up": len(plan.revoke),
        }
        if spec.get("dry_run"):
            return facts
        done = execute_prune(opened, plan)
    return {**facts, "objects": len(done.deleted), "freed_bytes": sum(done.deleted.values()), "kept": len(done.kept)}


def _opened(context: Context, place: Place) -> engine.Repository:
    return open_place(context, blocks_of(context, "volume"), place)


_VERBS: Mapping[str, Callable[[Context, Place, Mapping[str, Any]], Facts]] = {
    "create": _create,
    "stats": _stats,
    "verify": _verify,
    "prune": _prune,
}
