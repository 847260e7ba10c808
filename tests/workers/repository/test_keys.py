"""Who opens a repository: slots, rotation, key services, outside leases, and creation in unsuitable places."""

import json
from datetime import timedelta

import pytest

from tests.workers.repository.volumes import KEY, TUNING, Disk, Hand, Snapshot, content, repository
from workers.repository.archive import archive
from workers.repository.errors import Conflict, Damaged, RepositoryError, Unsuitable, WrongKey
from workers.repository.generations import read_index
from workers.repository.keys import KeyFile, Passphrase, ServiceKey
from workers.repository.memory import MemoryStore
from workers.repository.repair import repair
from workers.repository.repository import create, open_repository
from workers.repository.store import PLAIN, Features, Put, StoreCommits
from workers.repository.verify import verify

pytestmark = pytest.mark.unit


class Service:
    """A key service: encrypts by masking, and knows contexts."""

    def __init__(self, able: bool = True) -> None:
        self.able = able
        self.contexts: list[dict[str, str]] = []

    def encrypt(self, secret: bytes, context: dict[str, str]) -> bytes:
        self.contexts.append(context)
        return bytes(255 - byte for byte in secret)

    def decrypt(self, blob: bytes, context: dict[str, str]) -> bytes:
        if not self.able or context not in self.contexts:
            raise PermissionError
        return bytes(255 - byte for byte in blob)


@pytest.mark.long
def test_keys_are_changed_without_writing_any_object_anew() -> None:
    store = MemoryStore()
    repo = create(store, Passphrase("old"))
    generation = archive(repo, "v", Snapshot(Disk(20).bytes()), repo.clock(), tuning=TUNING)
    before = {stat.name: store.get(stat.name) for stat in store.list("") if not stat.name.startswith("keys/")}
    (old,) = repo.key_slots()
    repo.add_key(Passphrase("new"))
    repo.remove_key(old)
    assert {stat.name: store.get(stat.name) for stat in store.list("") if not stat.name.startswith("keys/")} == before
    with pytest.raises(WrongKey):
        open_repository(store, Passphrase("old"))
    again = open_repository(store, Passphrase("nonsense"), Passphrase("new"))
    assert content(again, generation) == Disk(20).bytes()


def test_the_last_key_is_never_removed() -> None:
    repo = repository()
    with pytest.raises(Unsuitable, match="last key"):
        repo.remove_key(repo.key_slots()[0])


def test_a_slot_that_the_store_keeps_is_never_said_to_be_removed() -> None:
    clock = Hand()
    store = MemoryStore(clock)
    repo = create(store, KEY, clock)
    slot = repo.add_key(Passphrase("leaked"))
    store.extend_lock(f"keys/{slot}", clock() + timedelta(days=9))
    with pytest.raises(Unsuitable, match=r"locked until 2026-11-10.*again when its lock is over"):
        repo.remove_key(slot)
    clock.pass_by(days=10)
    repo.remove_key(slot)
    assert slot not in repo.key_slots()


def test_a_key_service_opens_with_the_repositorys_own_context() -> None:
    store, service = MemoryStore(), Service()
    create(store, ServiceKey(service))
    assert service.contexts[0]["snapfleet:repository"].startswith("snapfleet/slot/")
    open_repository(store, ServiceKey(service))
    service.able = False
    with pytest.raises(WrongKey):
        open_repository(store, ServiceKey(service))


def test_an_exported_key_opens_the_repository() -> None:
    repo = repository()
    open_repository(repo.store, KeyFile(repo.export_key()), clock=repo.clock)
    assert len(repo.key_slots()) == 2


def test_a_lifecycle_rule_that_would_eat_packs_is_refused_at_creation() -> None:
    class Eaten(MemoryStore):
        def features(self) -> Features:
            return Features(warnings=("Lifecycle rule 'eat' deletes objects of this repository: remove it.",))

    store = Eaten()
    with pytest.raises(Unsuitable, match="eat"):
        create(store, KEY)
    assert not list(store.list(""))


def test_a_slot_that_asks_for_endless_memory_opens_nothing() -> None:
    slot = {"salt": "00" * 16, "n": 1 << 40, "r": 8, "p": 1, "wrapped": "00" * 60}
    assert Passphrase("x").unwrap(slot, "c") is None


def test_a_passphrase_costs_who_guesses_32_mib_and_a_tenth_of_a_second() -> None:
    """What a new slot asks for, whatever other tests do with it for the sake of their time."""
    slot = Passphrase("three words here").wrap(bytes(32), "main")
    assert 128 * slot["n"] * slot["r"] * slot["p"] >= 32 << 20


def test_keys_do_not_show_themselves() -> None:
    assert "secret" not in repr(Passphrase("secret"))
    assert "aaaa" not in repr(KeyFile(b"a" * 32))
    with pytest.raises(ValueError, match="32"):
        KeyFile(b"short")


def test_a_place_that_is_taken_is_refused() -> None:
    store = MemoryStore()
    create(store, KEY)
    with pytest.raises(Conflict, match="already"):
        create(store, KEY)


def test_a_place_with_anything_else_in_it_is_refused_and_not_touched() -> None:
    """Another program's keys/ and ours would be mixed; archives without their description need it, not a new one."""
    for names, words in (
        (["config", "data/00/00", "keys/11"], "used by something else: there is config"),
        ([f"leases/{'0' * 32}"], "whose repository.json is gone"),
    ):
        store = MemoryStore()
        for name in names:
            store.put(name, b"x")
        with pytest.raises(Unsuitable, match=words):
            create(store, KEY)
        assert [stat.name for stat in store.list("")] == names
    store = MemoryStore()
    for name, body in (("", b""), ("keys/0123456789abcdef", b"of a creation that died"), ("probe/00", b"x")):
        store.put(name, body)
    create(store, KEY)


def test_key_slots_that_are_lost_say_what_to_put_back() -> None:
    repo = repository()
    archive(repo, "v", Snapshot(Disk(20).bytes()), repo.clock(), tuning=TUNING)
    repo.store.delete([stat.name for stat in repo.store.list("keys/")])
    with pytest.raises(RepositoryError, match="older version in the bucket"):
        open_repository(repo.store, KEY)


@pytest.mark.parametrize("harm", ["gone", "of another id", "noise"])
def test_a_description_that_is_lost_is_told_by_a_key_slot_and_written_again_by_a_repair(harm: str) -> None:
    """Archives and restores go on meanwhile, a verification names it, and a wrong key still opens nothing."""
    repo = repository()
    first = archive(repo, "v", Snapshot(Disk(20).bytes()), repo.clock(), tuning=TUNING)
    was = repo.store.get("repository.json")[0]
    if harm == "gone":
        repo.store.delete(["repository.json"])
    else:
        other = json.dumps({**json.loads(was), "id": "0" * 32}).encode() if harm == "of another id" else b"noise"
        repo.store.put("repository.json", other)
    with pytest.raises(RepositoryError):
        open_repository(repo.store, Passphrase("another"))
    found = open_repository(repo.store, KEY)
    archive(found, "v", Snapshot(Disk(20).bytes()), repo.clock(), tuning=TUNING)
    assert content(found, first) == Disk(20).bytes()
    assert [problem.name for problem in verify(found).problems] == ["repository.json"]
    assert repair(found, verify(found, full=True)).described
    assert repo.store.get("repository.json")[0] == was
    assert verify(open_repository(repo.store, KEY), full=True).sound


def test_what_a_slot_says_of_another_repository_opens_nothing() -> None:
    """Somebody without the key may write any slot: only a description whose proof holds is taken."""
    repo, other = repository(), repository()
    archive(repo, "v", Snapshot(Disk(20).bytes()), repo.clock(), tuning=TUNING)
    theirs = other.store.get(f"keys/{other.key_slots()[0]}")[0]
    (slot,) = repo.key_slots()
    mine = json.loads(repo.store.get(f"keys/{slot}")[0])
    repo.store.put(f"keys/{slot}", json.dumps({**mine, "repository": json.loads(theirs)["repository"]}).encode())
    repo.store.delete(["repository.json"])
    with pytest.raises(Damaged, match="gone"):
        open_repository(repo.store, KEY)


class Careless(MemoryStore):
    """A store that ignores conditions."""

    def create(self, name: str, body: bytes, how: Put = PLAIN) -> str:
        return self.put(name, body, how)

    def replace(self, name: str, body: bytes, tag: str) -> str:
        self.get(name)
        return self.put(name, body)


def test_without_conditional_writes_the_leases_live_outside_and_foreign_writers_are_refused() -> None:
    store, ledger = Careless(), StoreCommits(MemoryStore(), "leases/")
    with pytest.raises(Unsuitable, match="conditional"):
        create(store, KEY)
    repo = create(store, KEY, commits=ledger)
    disk = Disk(30)
    generation = archive(repo, "v", Snapshot(disk.bytes()), repo.clock(), tuning=TUNING)
    assert ledger.names() == [f"leases/{generation.id}"]
    stranger = open_repository(store, KEY)
    assert content(stranger, read_index(stranger).generations[0]) == disk.bytes()
    with pytest.raises(Unsuitable, match="catalog"):
        archive(stranger, "v", Snapshot(disk.bytes()), repo.clock(), tuning=TUNING)


def test_no_object_lock_where_it_is_asked_for_is_refused() -> None:
    class Plain(MemoryStore):
        def features(self) -> Features:
            return Features()

    with pytest.raises(Unsuitable, match="Object Lock"):
        create(Plain(), KEY, need_object_lock=True)
    create(MemoryStore(), KEY, need_object_lock=True)


def test_a_clock_that_is_off_is_refused_and_nothing_is_left_behind() -> None:
    clock = Hand()
    store = MemoryStore(clock)
    with pytest.raises(Unsuitable, match="clock"):
        create(store, KEY, lambda: clock.at + timedelta(hours=1))
    assert not list(store.list(""))
