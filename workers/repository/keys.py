"""Who can open a repository: key slots, each holding the master key wrapped by something of the operator's.

The master key is random and never changes; a slot is made from a passphrase, a key file or a key service. Rotation
adds a slot and removes another: nothing is written anew. Whoever once had the master key keeps being able to read,
so a leaked master key means a new repository. FORMAT.md section 3.
"""

import hashlib
import hmac
import json
import os
import secrets
from dataclasses import dataclass
from typing import Any, Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from workers.repository.crypt import derive
from workers.repository.errors import Damaged, Missing, Unsuitable, WrongKey
from workers.repository.names import KEYS
from workers.repository.store import Store

MASTER_BYTES = 32
# scrypt with 32 MiB and about 0.1 s a guess (RFC 7914 names N=2^14 for interactive use in 2009; twice that now).
SCRYPT = {"n": 1 << 15, "r": 8, "p": 1}
# What opens a repository never changes, so that any older copy is as good.
PUT_BACK = "Put it back from an older version in the bucket, or from a copy: nobody can read the archives without."
_KINDS = {"passphrase": "a passphrase", "file": "a key file", "service": "a key of KMS"}
_SERVICE_ADVICE = "Enable the key, allow kms:Decrypt on it to who opens the repository, or use another slot's key."
# A slot that asks for more than 1 GiB of memory is hostile.
_SCRYPT_LIMIT = 1 << 30


class Key(Protocol):
    """Something that wraps the master key. `kind` is written into the slot."""

    @property
    def kind(self) -> str:
        """As in the slot."""

    def wrap(self, master: bytes, context: str) -> dict[str, Any]:
        """What the slot needs to be unwrapped again; `context` must be given again then."""

    def unwrap(self, slot: dict[str, Any], context: str) -> bytes | None:
        """The master key, None when this key is not the slot's. Raises PermissionError with the reason when a key
        service refuses."""


class KeyService(Protocol):
    """A key service such as KMS: encrypts small secrets under a key that never leaves it."""

    def encrypt(self, secret: bytes, context: dict[str, str]) -> bytes:
        """At most 4 KiB in; the opaque blob."""

    def decrypt(self, blob: bytes, context: dict[str, str]) -> bytes:
        """Raises PermissionError when this identity or key cannot."""


@dataclass(frozen=True, repr=False)
class Passphrase:
    """A passphrase, stretched by scrypt."""

    text: str
    kind: str = "passphrase"

    def wrap(self, master: bytes, context: str) -> dict[str, Any]:
        salt = os.urandom(16)
        return {"salt": salt.hex(), **SCRYPT, "wrapped": _wrap(self._stretch(salt, **SCRYPT), master, context)}

    def unwrap(self, slot: dict[str, Any], context: str) -> bytes | None:
        sizes = {name: int(slot[name]) for name in SCRYPT}
        if not 0 < 128 * sizes["n"] * sizes["r"] <= _SCRYPT_LIMIT or not 0 < sizes["p"] <= 16:
            return None
        return _unwrap(self._stretch(bytes.fromhex(slot["salt"]), **sizes), slot["wrapped"], context)

    def _stretch(self, salt: bytes, n: int, r: int, p: int) -> bytes:
        return hashlib.scrypt(self.text.encode(), salt=salt, n=n, r=r, p=p, maxmem=_SCRYPT_LIMIT + (64 << 20), dklen=32)


@dataclass(frozen=True, repr=False)
class KeyFile:
    """The content of a key file, 32 random bytes or more. Raises ValueError for less."""

    content: bytes
    kind: str = "file"

    def __post_init__(self) -> None:
        if len(self.content) < MASTER_BYTES:
            raise ValueError("a key file holds at least 32 random bytes")

    def wrap(self, master: bytes, context: str) -> dict[str, Any]:
        salt = os.urandom(16)
        return {"salt": salt.hex(), "wrapped": _wrap(self._key(salt), master, context)}

    def unwrap(self, slot: dict[str, Any], context: str) -> bytes | None:
        return _unwrap(self._key(bytes.fromhex(slot["salt"])), slot["wrapped"], context)

    def _key(self, salt: bytes) -> bytes:
        return derive(self.content, salt, "slot/file")


@dataclass(frozen=True, repr=False)
class ServiceKey:
    """A key that lives in a key service, reached through a port."""

    service: KeyService
    kind: str = "service"

    def wrap(self, master: bytes, context: str) -> dict[str, Any]:
        return {"wrapped": self.service.encrypt(master, {"snapfleet:repository": context}).hex()}

    def unwrap(self, slot: dict[str, Any], context: str) -> bytes | None:
        return self.service.decrypt(bytes.fromhex(slot["wrapped"]), {"snapfleet:repository": context})


def _wrap(key: bytes, master: bytes, context: str) -> str:
    nonce = os.urandom(12)
    return (nonce + AESGCM(key).encrypt(nonce, master, context.encode())).hex()


def _unwrap(key: bytes, wrapped: str, context: str) -> bytes | None:
    blob = bytes.fromhex(wrapped)
    try:
        return AESGCM(key).decrypt(blob[:12], blob[12:], context.encode())
    except InvalidTag:
        return None


def add_slot(store: Store, repository: str, master: bytes, key: Key, description: bytes) -> str:
    """Write a slot for `key`; its id, 16 hex digits. It repeats the repository's `description`, which proves itself, so
    that no single object is all that opens an archive."""
    slot = secrets.token_hex(8)
    facts = {"version": 1, "kind": key.kind, **key.wrap(master, _context(repository, slot))}
    facts["repository"] = description.decode()
    facts["proof"] = _proof(slot, facts, master)
    store.create(KEYS + slot, json.dumps(facts, sort_keys=True).encode())
    return slot


def check_slot(store: Store, slot: str, master: bytes) -> None:
    """Raises Damaged when a slot is not as it was written; Missing."""
    body = store.get(KEYS + slot)[0]
    try:
        facts = json.loads(body)
        proof = facts.pop("proof")
        facts["proof"] = _proof(slot, facts, master)
        sound = proof == facts["proof"] and body == json.dumps(facts, sort_keys=True).encode()
    except (ValueError, KeyError, TypeError, AttributeError):
        sound = False
    if not sound:
        raise Damaged(KEYS + slot, "it is not as it was written")


def _proof(slot: str, facts: dict[str, Any], master: bytes) -> str:
    text = slot.encode() + json.dumps(facts, sort_keys=True).encode()
    return hmac.digest(derive(master, b"", "slot"), text, "sha256").hex()


def slots(store: Store) -> list[str]:
    """Ids of the key slots."""
    return [stat.name.removeprefix(KEYS) for stat in store.list(KEYS)]


def descriptions(store: Store) -> list[bytes]:
    """What slots say the repository's description is, each once; whether it is, its proof tells."""
    found: dict[bytes, None] = {}
    for slot in slots(store):
        try:
            found[str(json.loads(store.get(KEYS + slot)[0])["repository"]).encode()] = None
        except (ValueError, KeyError, TypeError, Missing):
            continue  # damaged, or of a version that did not repeat it
    return list(found)


def kinds(store: Store) -> dict[str, str]:
    """What kind of key opens each slot: passphrase, file, service; 'unreadable' for one that is damaged."""
    found = {}
    for slot in slots(store):
        try:
            found[slot] = str(json.loads(store.get(KEYS + slot)[0])["kind"])
        except (ValueError, KeyError, TypeError, Missing):
            found[slot] = "unreadable"
    return found


def opened_by(store: Store, repository: str, key: Key) -> list[str]:
    """The slots that a key opens: those to be removed when the key is no longer to be trusted."""
    found = []
    for slot, kind in kinds(store).items():
        if kind == key.kind:
            facts = json.loads(store.get(KEYS + slot)[0])
            try:
                opens = key.unwrap(facts, _context(repository, slot)) is not None
            except (ValueError, KeyError, TypeError, PermissionError):
                continue
            found += [slot] if opens else []
    return found


def remove_slot(store: Store, slot: str) -> None:
    """Remove a slot. Raises Unsuitable when it is the last, as nobody could open the repository again, and when the
    store keeps it."""
    if set(slots(store)) <= {slot}:
        raise Unsuitable("The last key slot stays: without it the repository could never be opened again.")
    for why in store.delete([KEYS + slot]).values():
        advice = "Its key opens the repository until then: remove it again when its lock is over."
        raise Unsuitable(f"The store keeps the key slot {slot} ({why}).", advice=advice)


def unlock(store: Store, repository: str, keys: tuple[Key, ...]) -> bytes:
    """The master key, by the first slot that one of the keys opens. Raises WrongKey, Missing."""
    found = slots(store)
    if not found:
        raise Missing("The repository has no key slot.", advice=PUT_BACK)
    refusals: set[str] = set()
    taken: set[str] = set()
    for slot in found:
        try:
            facts = json.loads(store.get(KEYS + slot)[0])
            taken.add(_KINDS.get(facts["kind"], "an unknown kind of key"))
            for key in keys:
                master = key.unwrap(facts, _context(repository, slot)) if facts["kind"] == key.kind else None
                if master is not None and len(master) == MASTER_BYTES:
                    return master
        except (ValueError, KeyError, TypeError, Missing):
            continue  # a slot that is damaged or was just removed opens nothing; another may
        except PermissionError as refusal:
            refusals.add(str(refusal))
    if refusals:
        reasons = " ".join(sorted(refusals))
        raise WrongKey(f"No key slot opens with what was given. {reasons}", advice=_SERVICE_ADVICE)
    if not taken:
        raise WrongKey("None of its key slots can be read.", advice=PUT_BACK)
    raise WrongKey(f"No key slot opens with what was given; there are slots for {' and '.join(sorted(taken))}.")


def _context(repository: str, slot: str) -> str:
    return f"snapfleet/slot/{repository}/{slot}"
