"""A repository that is open: its store, keys, leases and the reading of its objects.

`create` makes one, `open_repository` opens one; everything else takes the handle. FORMAT.md sections 2 and 3.
"""

import hmac
import json
import secrets
from collections import OrderedDict
from dataclasses import dataclass
from datetime import timedelta
from threading import Lock
from typing import Any

from workers.repository.clock import Clock, host_clock, stamp
from workers.repository.crypt import GENERATION, VERSION, Sealer, derive
from workers.repository.errors import (
    AccessRefused,
    Conflict,
    Damaged,
    Missing,
    Newer,
    RepositoryError,
    Unsuitable,
    WrongKey,
)
from workers.repository.keys import (
    MASTER_BYTES,
    PUT_BACK,
    Key,
    KeyFile,
    add_slot,
    check_slot,
    descriptions,
    remove_slot,
    slots,
    unlock,
)
from workers.repository.lease import Leases
from workers.repository.manifest import Generation, SegmentRef, decode_manifest, encode_manifest
from workers.repository.names import (
    CONFIG,
    DATA,
    GENERATIONS,
    KEYS,
    LEASES,
    MAP,
    PROBES,
    generation_name,
    identity_of,
    is_ours,
)
from workers.repository.pack import TAIL, Footer, open_footer, proved
from workers.repository.segment import Place, Segment, decode_segment
from workers.repository.store import PLAIN, CommitStore, MirroredCommits, Put, Store, StoreCommits, probe

_FORMAT = "snapfleet-repository"
# Footers of the packs that readers are at; each has some 7 KB.
_FOOTERS = 512
# S3 refuses requests that are 15 minutes off; leases are given up after hours, so a third of that is no danger.
_CLOCK_TOLERANCE = timedelta(minutes=5)


@dataclass(frozen=True)
class Config:
    """What repository.json says. `outside` means that leases are kept by an outside CommitStore."""

    id: str
    version: int
    created_at: str
    outside: bool


class Repository:
    """Handle of an open repository; safe to be shared by threads."""

    def __init__(
        self, store: Store, config: Config, master: bytes, clock: Clock, commits: CommitStore | None = None
    ) -> None:
        self.store, self.config, self.clock = store, config, clock
        self.sealer = Sealer(master)
        self._master = master
        self._may_write = commits is not None or not config.outside
        if config.outside and commits is not None:
            ledger: CommitStore = MirroredCommits(commits, store)
        else:
            ledger = StoreCommits(store, LEASES)
        self.leases = Leases(ledger, self.sealer, clock)
        self._footers: OrderedDict[str, Footer] = OrderedDict()
        self._lock = Lock()

    def assert_writable(self) -> None:
        """Raises Unsuitable for a writer that does not know the outside ledger of leases."""
        if not self._may_write:
            raise Unsuitable(
                "This repository's store cannot do conditional writes, so its leases live in a catalog.",
                advice="Write to it through the installation that created it; reading works from anywhere.",
            )

    def footer(self, place: Place, kind: int = DATA) -> Footer:
        """A pack's footer, by one ranged read. Raises Missing, Archived, Damaged, Newer."""
        name = place.pack.name(kind)
        with self._lock:
            if name in self._footers:
                return self._footers[name]
        length = place.footer + TAIL.size
        tail = self.store.read(name, max(0, place.size - length), length)
        footer = open_footer(self.sealer, name, tail, place.footer)
        self.keep_footer(name, footer)
        return footer

    def keep_footer(self, name: str, footer: Footer) -> None:
        """Remember a footer that came with a whole pack."""
        with self._lock:
            self._footers[name] = footer
            if len(self._footers) > _FOOTERS:
                self._footers.popitem(last=False)

    def segment(self, generation: Generation, number: int) -> Segment:
        """One segment of a generation's map. Raises Missing, Damaged, Newer."""
        first = number * 32_768
        blocks = min(32_768, generation.blocks - first)
        ref = generation.segments[number]
        if ref is None:
            return Segment.empty(first, blocks)
        segment = self.stored_segment(ref)
        if segment.first != first or len(segment) != blocks:
            raise Damaged(ref.place.pack.name(MAP), "a map segment is for other blocks than the manifest says")
        return segment

    def stored_segment(self, ref: SegmentRef) -> Segment:
        """The segment a reference points at, its content proved. Raises Missing, Damaged, Newer."""
        name = ref.place.pack.name(MAP)
        frame = self.store.read(name, ref.offset, ref.length)
        if len(frame) != ref.length:
            raise Damaged(name, "it is truncated")
        return decode_segment(name, proved(self.sealer, name, MAP, frame, ref.size, ref.digest))

    def write_manifest(self, generation: Generation, how: Put = PLAIN) -> str:
        """Write a manifest, which does not count before its job is committed; its identity."""
        payload = encode_manifest(generation)
        identity = self.sealer.identity(payload)
        name = generation_name(self.sealer.label(generation.lineage), identity)
        self.store.put(name, self.sealer.seal(GENERATION, name, payload), how)
        return identity

    def read_manifest(self, name: str) -> Generation:
        """The manifest at a name, its content proved by the name. Raises Missing, Damaged, Newer."""
        identity = identity_of(name)
        if identity is None:
            raise Damaged(name, "its name is not a manifest's")
        payload = self.sealer.open(GENERATION, name, self.store.get(name)[0])
        if not hmac.compare_digest(self.sealer.identity(payload), identity):
            raise Damaged(name, "its content is not what its name proves")
        return decode_manifest(name, payload, identity)

    def add_key(self, key: Key) -> str:
        """Let another key open the repository; the slot's id."""
        return add_slot(self.store, self.config.id, self._master, key, _encode(self.config, self._master))

    def export_key(self) -> bytes:
        """Make a key file and a slot for it: what to keep in a safe. Raises as `add_key`."""
        content = secrets.token_bytes(MASTER_BYTES)
        self.add_key(KeyFile(content))
        return content

    def remove_key(self, slot: str) -> None:
        """Remove a key slot, but never the last."""
        remove_slot(self.store, slot)

    def key_slots(self) -> list[str]:
        """Ids of the key slots."""
        return slots(self.store)

    def check_description(self) -> None:
        """Raises Missing, Damaged when repository.json is not as it was written: opened by what a key slot repeats."""
        if self.store.get(CONFIG)[0] != _encode(self.config, self._master):
            raise Damaged(CONFIG, "it was changed by somebody without the key")

    def put_back_description(self) -> bool:
        """Write repository.json again where it is not as it was written; whether that was so."""
        try:
            self.check_description()
        except (Missing, Damaged):
            self.store.put(CONFIG, _encode(self.config, self._master))
            return True
        return False

    def check_key(self, slot: str) -> None:
        """Raises Damaged when a key slot is not as it was written, whoever can open it."""
        check_slot(self.store, slot, self._master)


def create(
    store: Store,
    key: Key,
    clock: Clock = host_clock,
    commits: CommitStore | None = None,
    need_object_lock: bool = False,
) -> Repository:
    """Make a repository in an empty place. The config is written last: without it there is no repository.

    Raises Unsuitable (other objects are there; no conditional writes and no `commits`; no Object Lock where it is
    needed; a lifecycle rule that would eat packs; a clock that is off), Conflict (there is one already).
    """
    if any(True for _ in store.list(CONFIG)):
        raise Conflict(f"{store.url} holds a repository already.")
    _check_empty(store)
    _check_settings(store, need_object_lock)
    outside = not probe(store)
    if outside and commits is None:
        raise Unsuitable(
            f"{store.url} ignores conditional writes, so two workers could harm each other.",
            advice="Create the repository through a catalog, which then keeps its leases.",
        )
    check_clock(store, clock)
    master, identity = secrets.token_bytes(MASTER_BYTES), secrets.token_hex(16)
    config = Config(identity, VERSION, stamp(clock()), outside)
    description = _encode(config, master)
    slot = add_slot(store, identity, master, key, description)
    try:
        store.create(CONFIG, description)
    except Conflict:
        store.delete([f"keys/{slot}"])
        raise
    return Repository(store, config, master, clock, commits)


def open_repository(
    store: Store, *keys: Key, clock: Clock = host_clock, commits: CommitStore | None = None
) -> Repository:
    """Open a repository. Raises Missing (there is none), WrongKey, Newer, Damaged.

    Where repository.json is gone or was changed, what a key slot repeats of it will do: nothing stops for that, and a
    verification tells of it.
    """
    tried = b""
    try:
        config, tried = read_config(store)
        return Repository(store, config, _proved(store, config, tried, keys), clock, commits)
    except (Damaged, WrongKey) as refused:
        for body in descriptions(store):
            if body != tried:
                try:
                    config = _decode(body)
                    return Repository(store, config, _proved(store, config, body, keys), clock, commits)
                except RepositoryError:
                    continue
        raise refused


def _proved(store: Store, config: Config, body: bytes, keys: tuple[Key, ...]) -> bytes:
    """The master key that a description's proof was made with. Raises WrongKey, Missing, Damaged."""
    master = unlock(store, config.id, keys)
    if not hmac.compare_digest(body, _encode(config, master)):
        raise Damaged(CONFIG, "it was changed by somebody without the key", advice=PUT_BACK)
    return master


def read_config(store: Store) -> tuple[Config, bytes]:
    """What repository.json says, not proved, and its bytes. Raises Missing (there is none), Newer, Damaged."""
    try:
        body = store.get(CONFIG)[0]
    except Missing:
        if any(True for _ in store.list(GENERATIONS)):
            raise Damaged(CONFIG, "it is gone, and archives are there", advice=PUT_BACK) from None
        raise Missing(f"{store.url} holds no repository.", advice="Check the address and the prefix.") from None
    return _decode(body), body


def _check_empty(store: Store) -> None:
    """Raises Unsuitable for a place of another program, or with what is left of a repository. What a creation that
    died leaves, and the placeholder that consoles make for a folder, are in nobody's way."""
    for stat in store.list(""):
        if stat.name.startswith(PROBES) or (stat.name.startswith(KEYS) and is_ours(stat.name)):
            continue
        if not stat.size and (not stat.name or stat.name.endswith("/")):
            continue
        if is_ours(stat.name):
            raise Unsuitable(f"{store.url} has archives whose repository.json is gone.", advice=PUT_BACK)
        raise Unsuitable(
            f"{store.url} is used by something else: there is {stat.name}.", advice="Choose another prefix."
        )


def _check_settings(store: Store, need_object_lock: bool) -> None:
    try:
        features = store.features()
    except AccessRefused:
        if need_object_lock:
            raise
        return  # an identity that may not read settings may still archive
    if need_object_lock and not features.object_lock:
        raise Unsuitable(
            f"{store.url} has no Object Lock.", advice="It can only be switched on when a bucket is created."
        )
    if features.warnings:
        raise Unsuitable(features.warnings[0])


def check_clock(store: Store, clock: Clock) -> None:
    """Raises Unsuitable when the host's clock is further off the store's than five minutes. Writes one object."""
    name = f"probe/{secrets.token_hex(8)}"
    before = clock()
    store.put(name, b"clock")
    written = store.stat(name).modified_at
    off = max(before - written, written - clock(), timedelta(0))  # a slow store is no wrong clock
    store.delete([name])
    if off > _CLOCK_TOLERANCE:
        raise Unsuitable(f"This host's clock is {off} off the store's.", advice="Set the clock, then try again.")


def _facts(config: Config) -> dict[str, Any]:
    return {
        "format": _FORMAT,
        "version": config.version,
        "id": config.id,
        "created_at": config.created_at,
        "leases": "outside" if config.outside else "store",
    }


def _proof(config: Config, master: bytes) -> str:
    text = json.dumps(_facts(config), sort_keys=True).encode()
    return hmac.digest(derive(master, b"", "config"), text, "sha256").hex()


def _encode(config: Config, master: bytes) -> bytes:
    return json.dumps(_facts(config) | {"proof": _proof(config, master)}, sort_keys=True).encode()


def _decode(body: bytes) -> Config:
    try:
        facts = json.loads(body)
        if facts["format"] != _FORMAT:
            raise RepositoryError(f"{CONFIG} belongs to another program.", advice="Choose another prefix.")
        if facts["version"] > VERSION:
            raise Newer(f"The repository has version {facts['version']}; this program knows up to {VERSION}.")
        return Config(facts["id"], facts["version"], facts["created_at"], facts["leases"] == "outside")
    except (ValueError, KeyError, TypeError):
        raise Damaged(CONFIG, "it is no repository's description", advice=PUT_BACK) from None
