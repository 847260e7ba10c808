"""Who can open a repository: key slots are listed, added and removed, and the key that workers use is exchanged.

No object of the repository but the slots is touched. Keys come sealed and leave in no result, log or error.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from tasks.catalog import Job, Repository, session, transaction
from tasks.catalog.transitions import finish_job
from tasks.errors import Invalid, Refused
from workers import fence
from workers.context import Context
from workers.repokeys import FIELDS, columns_of, given_key
from workers.repositories import Place, blocks_of, open_place, place_of, translated
from workers.repository.errors import Unsuitable
from workers.repository.keys import Key, kinds, opened_by
from workers.repository.repository import Repository as Opened

Result = dict[str, Any]


def run(context: Context, job: Job) -> None:
    """Do what the job's `action` says. Raises the family."""
    action = job.spec["action"]
    if action not in _ACTIONS:
        raise Invalid(f"The keys of a repository cannot be asked to {action!r}.", code="unknown-verb")
    with session():
        place = place_of(context, job.spec["repository"])
    opened = open_place(context, place)
    result = _ACTIONS[action](context, job, place, opened)
    with transaction():
        fence.keep(job)
        finish_job(job, context.clock.timer(), result=result)


def _list(_context: Context, _job: Job, place: Place, opened: Opened) -> Result:
    with translated():
        ours = opened_by(opened.store, opened.config.id, place.key)
        found = kinds(opened.store)
    return {"slots": [{"slot": slot, "kind": kind, "estate": slot in ours} for slot, kind in sorted(found.items())]}


def _add(context: Context, job: Job, place: Place, opened: Opened) -> Result:
    """Adding the same key again finds its slot: a message may come twice."""
    key = _key(context, job, place)
    with translated():
        known = opened_by(opened.store, opened.config.id, key)
        slot = known[0] if known else opened.add_key(key)
    return {"slot": slot, "kind": key.kind, "added": not known}


def _key(context: Context, job: Job, place: Place) -> Key:
    aws = partial(blocks_of, context, "volume")
    return given_key(context, place.name, job.spec, place.account, place.region, aws)


def _remove(_context: Context, job: Job, place: Place, opened: Opened) -> Result:
    slot = str(job.spec["slot"])
    with translated():
        if slot not in opened.key_slots():
            raise Invalid(f"There is no key slot {slot!r}.", advice="See `snapfleet repository keys`.")
        if slot in opened_by(opened.store, opened.config.id, place.key):
            raise Refused(
                "Workers open the repository by this slot.",
                advice="Exchange it with `snapfleet repository rotate-key`.",
            )
        opened.remove_key(slot)
    return {"removed": slot}


def _rotate(context: Context, job: Job, place: Place, opened: Opened) -> Result:
    """First a slot for the new key, then the catalog uses it, and only then the old one's slots go."""
    new = _key(context, job, place)
    with translated():
        if "old" not in job.spec:
            old = opened_by(opened.store, opened.config.id, place.key)
            ours = opened_by(opened.store, opened.config.id, new)
            if set(ours) & set(old):
                raise Refused("That is the key which the repository has.")
            if not ours:
                opened.add_key(new)
            _use(context, job, place, old)
    kept = [why for slot in job.spec["old"] if (why := _kept(opened, slot))]
    removed = [slot for slot in job.spec["old"] if slot not in opened.key_slots()]
    told = {"problems": len(kept), "told": kept} if kept else {}
    return {"removed": removed, FIELDS[job.spec["how"]]: job.spec["reference"], **told}


def _kept(opened: Opened, slot: str) -> str:
    """Remove a slot of the old key; why the store keeps it, '' when it is gone. The new key is in use either way."""
    with translated():
        try:
            opened.remove_key(slot)
        except Unsuitable as error:
            return str(error)
    return ""


def _use(context: Context, job: Job, place: Place, old: list[str]) -> None:
    """The catalog has the new key, and the job knows what is left to do: both or neither."""
    with transaction():
        fence.keep(job, spec={**job.spec, "old": old})
        row = Repository.get(Repository.name == place.name)
        columns = columns_of(context, place.name, row.spec, job.spec)
        Repository.update(**columns).where(Repository.id == row.id).execute()


_ACTIONS: Mapping[str, Callable[[Context, Job, Place, Opened], Result]] = {
    "list": _list,
    "add": _add,
    "remove": _remove,
    "rotate": _rotate,
}
