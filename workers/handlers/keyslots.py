"""Who can open a repository: key slots are listed, added and removed, and the estate's passphrase is exchanged.

No object of the repository but the slots is touched. Keys come sealed and leave in no result, log or error.
"""

import binascii
from collections.abc import Callable, Mapping
from typing import Any

from tasks.catalog import Job, Repository, session, transaction
from tasks.catalog.transitions import finish_job
from tasks.errors import Denied, Invalid, Refused
from tasks.secrets import seal, unseal
from workers import fence
from workers.context import Context
from workers.repositories import Place, blocks_of, open_place, place_of, translated
from workers.repository.keys import Key, KeyFile, Passphrase, ServiceKey, kinds, opened_by
from workers.repository.repository import Repository as Opened

Result = dict[str, Any]


def run(context: Context, job: Job) -> None:
    """Do what the job's `action` says. Raises the family."""
    action = job.spec["action"]
    if action not in _ACTIONS:
        raise Invalid(f"The keys of a repository cannot be asked to {action!r}.", code="unknown-verb")
    with session():
        place = place_of(context, job.spec["repository"])
    opened = open_place(context, blocks_of(context, "volume"), place)
    result = _ACTIONS[action](context, job, place, opened)
    with transaction():
        fence.keep(job)
        finish_job(job, context.clock.timer(), result=result)


def _list(_context: Context, _job: Job, place: Place, opened: Opened) -> Result:
    with translated():
        ours = opened_by(opened.store, opened.config.id, place.passphrase)
        found = kinds(opened.store)
    return {"slots": [{"slot": slot, "kind": kind, "estate": slot in ours} for slot, kind in sorted(found.items())]}


def _add(context: Context, job: Job, place: Place, opened: Opened) -> Result:
    """Adding the same key again finds its slot: a message may come twice."""
    key = _key(context, job, place)
    with translated():
        known = opened_by(opened.store, opened.config.id, key)
        try:
            slot = known[0] if known else opened.add_key(key)
        except PermissionError as error:
            raise Denied(str(error), advice="Allow kms:Encrypt and kms:Decrypt on the key.") from None
    return {"slot": slot, "kind": key.kind, "added": not known}


def _key(context: Context, job: Job, place: Place) -> Key:
    spec = job.spec
    if spec["how"] == "kms":
        service = blocks_of(context, "volume").key_service(place.account, place.region, spec["kms_key"])
        return ServiceKey(service)
    secret = unseal(context.keys, spec["key_sealed"], f"repository.slot.{place.name}").reveal()
    if spec["how"] == "passphrase":
        return Passphrase(secret)
    try:
        return KeyFile(binascii.unhexlify(secret))
    except ValueError:
        raise Invalid("A key file holds at least 32 random bytes.") from None


def _remove(_context: Context, job: Job, place: Place, opened: Opened) -> Result:
    slot = str(job.spec["slot"])
    with translated():
        if slot not in opened.key_slots():
            raise Invalid(f"There is no key slot {slot!r}.", advice="See `snapfleet repository keys`.")
        if slot in opened_by(opened.store, opened.config.id, place.passphrase):
            raise Refused(
                "Workers open the repository by this slot.",
                advice="Exchange it with `snapfleet repository rotate-key`.",
            )
        opened.remove_key(slot)
    return {"removed": slot}


def _rotate(context: Context, job: Job, place: Place, opened: Opened) -> Result:
    """First a slot for the new passphrase, then the catalog uses it, and only then the old one's slots go."""
    spec = job.spec
    new = Passphrase(unseal(context.keys, spec["key_sealed"], f"repository.slot.{place.name}").reveal())
    with translated():
        if "old" not in spec:
            if new == place.passphrase:
                raise Refused("That is the passphrase which the repository has.")
            old = opened_by(opened.store, opened.config.id, place.passphrase)
            if not opened_by(opened.store, opened.config.id, new):
                opened.add_key(new)
            _use(context, job, place, old)
        for slot in job.spec["old"]:
            opened.remove_key(slot)
    return {"removed": job.spec["old"], "key": spec["reference"]}


def _use(context: Context, job: Job, place: Place, old: list[str]) -> None:
    """The catalog has the new passphrase, and the job knows what is left to do: both or neither."""
    spec: Mapping[str, Any] = job.spec
    secret = unseal(context.keys, spec["key_sealed"], f"repository.slot.{place.name}")
    sealed = seal(context.keys, secret, f"repository.key.{place.name}")
    with transaction():
        fence.keep(job, spec={**spec, "old": old})
        row = Repository.get(Repository.name == place.name)
        Repository.update(key_sealed=sealed, spec={**row.spec, "key": spec["reference"]}).where(
            Repository.id == row.id
        ).execute()


_ACTIONS: Mapping[str, Callable[[Context, Job, Place, Opened], Result]] = {
    "list": _list,
    "add": _add,
    "remove": _remove,
    "rotate": _rotate,
}
