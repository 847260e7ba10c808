"""What Azure Blob adds to the stores' contract: who may enter, tiers, locks, lost answers (feature 82, feature C20).

Azurite is the server where it knows a thing; versions, immutability and slow rehydration, which it does not know, are
answered as the REST reference says.
"""

import base64
import hashlib
import hmac
import secrets
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.azurite import ACCOUNT, Azurite
from tests.workers.repository.blob_server import BlobServer
from tests.workers.repository.volumes import KEY, TUNING, Disk, Snapshot, content
from workers.repository.archive import archive
from workers.repository.azureauth import Bearer, Sas, SharedKey, authority_of
from workers.repository.azureblob import BlobStore
from workers.repository.azurewire import VERSION, BlobWire
from workers.repository.clock import host_clock
from workers.repository.errors import AccessRefused, Archived, Conflict, Missing, StoreUnavailable, Unsuitable
from workers.repository.generations import read_index
from workers.repository.places import store_at
from workers.repository.repository import create, open_repository
from workers.repository.store import Put, Thaw


def signature(server: Azurite, container: str, permissions: str, hours: float) -> str:
    """A service SAS for a container (REST reference, "Create a service SAS", version 2020-12-06 and later)."""
    until = (datetime.now(UTC) + timedelta(hours=hours)).strftime("%Y-%m-%dT%H:%M:%SZ")
    facts = [permissions, "", until, f"/blob/{ACCOUNT}/{container}", "", "", "", VERSION, "c", *[""] * 7]
    digest = hmac.new(base64.b64decode(server.key), "\n".join(facts).encode(), hashlib.sha256).digest()
    quoted = base64.b64encode(digest).decode().replace("+", "%2B").replace("/", "%2F").replace("=", "%3D")
    return f"?sv={VERSION}&se={until.replace(':', '%3A')}&sr=c&sp={permissions}&sig={quoted}"


# --- who may enter ---


def test_a_signature_opens_its_container_with_its_rights_and_until_its_time(azurite: Azurite) -> None:
    name = f"sas{secrets.token_hex(6)}"
    azurite.wire(name)
    full = BlobStore(azurite.wire(name, Sas(signature(azurite, name, "racwdl", 1))), "p")
    full.create("o", b"1")
    assert [one.name for one in full.list("")] == ["o"]
    reader = BlobStore(azurite.wire(name, Sas(signature(azurite, name, "rl", 1))), "p")
    assert reader.get("o")[0] == b"1"
    with pytest.raises(AccessRefused):
        reader.put("o", b"2")
    late = signature(azurite, name, "racwdl", -1)
    with pytest.raises(AccessRefused) as caught:
        BlobStore(azurite.wire(name, Sas(late)), "p").get("o")
    assert late.rpartition("=")[2] not in str(caught.value)
    assert full.delete(["o"]) == {}


def test_a_wrong_key_is_refused_and_not_told(azurite: Azurite) -> None:
    wrong = base64.b64encode(b"wrong" * 8).decode()
    store = BlobStore(BlobWire(azurite.endpoint, ACCOUNT, "any", SharedKey(ACCOUNT, wrong)))
    with pytest.raises(AccessRefused) as caught:
        store.get("o")
    assert wrong not in str(caught.value)


def test_a_secret_tells_by_itself_whether_it_is_a_key_or_a_signature() -> None:
    assert isinstance(authority_of(ACCOUNT, "?sv=1&sig=abc"), Sas)
    assert isinstance(authority_of(ACCOUNT, base64.b64encode(b"k").decode()), SharedKey)
    for wrong in ("not a key!", "?sv=1"):
        with pytest.raises(Unsuitable):
            authority_of(ACCOUNT, wrong)


def test_nothing_secret_goes_over_plain_http_but_to_this_machine() -> None:
    with pytest.raises(Unsuitable, match="HTTPS"):
        BlobWire("http://blob.example.com", ACCOUNT, "c", Bearer(lambda: "token"))


def test_a_container_that_is_not_there_is_told(azurite: Azurite) -> None:
    wire = BlobWire(azurite.endpoint, ACCOUNT, "absent", SharedKey(ACCOUNT, azurite.key))
    with pytest.raises(Unsuitable, match="no such container"):
        BlobStore(wire).put("o", b"x")


def test_the_environment_opens_an_address_for_break_glass(azurite: Azurite, monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"env{secrets.token_hex(6)}"
    azurite.wire(name)
    monkeypatch.setenv("AZURE_STORAGE_KEY", azurite.key)
    store = store_at(f"azure://{ACCOUNT}/{name}/some/where", azurite.endpoint)
    store.put("o", b"x")
    monkeypatch.delenv("AZURE_STORAGE_KEY")
    monkeypatch.setenv("AZURE_STORAGE_SAS_TOKEN", signature(azurite, name, "rl", 1))
    assert store_at(store.url, azurite.endpoint).get("o")[0] == b"x"
    monkeypatch.delenv("AZURE_STORAGE_SAS_TOKEN")
    with pytest.raises(Unsuitable, match="AZURE_STORAGE_KEY"):
        store_at(store.url, azurite.endpoint)
    with pytest.raises(Unsuitable, match="no address"):
        store_at("azure://account", azurite.endpoint)


# --- a whole repository ---


def test_a_repository_lives_in_a_container(azurite: Azurite, tmp_path: Path) -> None:
    clock, disk = host_clock, Disk(60)
    store = azurite.store()
    made = create(store, KEY, clock)
    assert not made.config.outside  # Azure's own conditions are enough for leases
    first = archive(made, "v", Snapshot(disk.bytes()), clock(), tuning=TUNING)
    again = open_repository(store, KEY, clock=clock)
    (found,) = read_index(again).generations
    assert found.id == first.id
    assert content(again, found) == disk.bytes()


# --- tiers ---


def test_tiers_are_written_moved_and_told(azurite: Azurite) -> None:
    store = azurite.store()
    store.put("packs/cool", b"x", Put(storage_class="COOL"))
    store.put("packs/hot", b"x")
    assert {one.name: one.storage_class for one in store.list("packs/")} == {"packs/cool": "COOL", "packs/hot": ""}
    store.reclass("packs/hot", "COLD")
    assert store.stat("packs/hot").storage_class == "COLD"
    assert store.get("packs/hot")[0] == b"x"
    with pytest.raises(Unsuitable):
        store.reclass("packs/hot", "GLACIER")
    assert store.features().cold_classes == {"ARCHIVE"}


def test_an_archived_blob_is_not_read_and_comes_back_by_asking(azurite: Azurite) -> None:
    store = azurite.store()
    store.put("packs/o", b"x")
    store.reclass("packs/o", "ARCHIVE")
    assert store.stat("packs/o").storage_class == "ARCHIVE"
    for call in (
        lambda: store.get("packs/o"),
        lambda: store.read("packs/o", 0, 1),
        lambda: store.reclass("packs/o", ""),
    ):
        with pytest.raises(Archived):
            call()
    states = [store.thaw(["packs/o"], 1, "Standard")["packs/o"] for _ in range(3)]
    assert states[0] is Thaw.UNDERWAY
    assert states[-1] is Thaw.READY
    assert store.get("packs/o")[0] == b"x"


@pytest.fixture
def server() -> Iterator[BlobServer]:
    made = BlobServer()
    yield made
    made.close()


def _store(server: BlobServer) -> BlobStore:
    return BlobStore(BlobWire(server.endpoint, "acct", "c", SharedKey("acct", "a2V5")), "p")


def test_a_retrieval_is_asked_for_once_and_polled(server: BlobServer) -> None:
    store = _store(server)
    server.rehydrates = 3
    store.put("o", b"x", Put(storage_class="ARCHIVE"))
    states = [store.thaw(["o"], 1, "Expedited")["o"] for _ in range(5)]
    assert states == [Thaw.UNDERWAY] * 4 + [Thaw.READY]
    tiers = [one for one in server.calls if one[0] == "PUT" and "comp=tier" in one[1]]
    assert [one[2]["x-ms-rehydrate-priority"] for one in tiers] == ["High"]


# --- answers that are lost ---


def test_a_write_whose_answer_was_lost_is_ones_own_success(server: BlobServer) -> None:
    """409 after If-None-Match and 412 after If-Match say only that something is there: it is looked at."""
    store = _store(server)
    server.lose = 1
    tag = store.create("o", b"mine")
    server.lose = 1
    new = store.replace("o", b"newer", tag)
    assert store.get("o") == (b"newer", new)
    with pytest.raises(Conflict):
        store.create("o", b"other")
    with pytest.raises(Conflict):
        store.replace("o", b"other", tag)


def test_a_busy_account_is_waited_for(server: BlobServer) -> None:
    store = _store(server)
    server.busy = 2
    store.put("o", b"x")
    assert store.get("o")[0] == b"x"


def test_a_server_that_is_not_there_is_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workers.repository.azurewire._ATTEMPTS", 2)
    with pytest.raises(StoreUnavailable):
        BlobStore(BlobWire("http://127.0.0.1:9/a", "a", "c", SharedKey("a", "a2V5"))).get("o")


# --- locks and versions ---


def test_a_locked_blob_stays_and_the_reason_is_told(server: BlobServer) -> None:
    """feature C20: locks are extended, never shortened."""
    store, until = _store(server), datetime.now(UTC).replace(microsecond=0) + timedelta(days=2)
    assert store.features().object_lock
    store.put("packs/locked", b"x", Put(retain_until=until))
    store.put("packs/free", b"x")
    assert store.delete(["packs/locked", "packs/free"]) == {"packs/locked": "locked"}
    assert store.get("packs/locked")[0] == b"x"  # not even hidden
    store.extend_lock("packs/locked", until + timedelta(days=3))
    asked = len(server.calls)
    store.extend_lock("packs/locked", until)
    assert [one[0] for one in server.calls[asked:]] == ["HEAD"]
    assert server.blobs["p/packs/locked"].until == until + timedelta(days=3)
    with pytest.raises(Missing):
        store.extend_lock("packs/none", until)


def test_a_container_without_version_level_immutability_says_so(azurite: Azurite) -> None:
    store = azurite.store()
    store.put("o", b"x")
    assert not store.features().object_lock
    with pytest.raises(Unsuitable, match="locks nothing"):
        store.extend_lock("o", datetime.now(UTC) + timedelta(days=1))


def test_what_is_deleted_in_a_container_with_versions_is_gone_for_good(server: BlobServer) -> None:
    store = _store(server)
    for body in (b"1", b"2"):
        store.put("o", body)
    assert store.delete(["o"]) == {}
    assert server.blobs == {}
    assert server.versions == {}


def test_soft_delete_is_told_because_it_bills(server: BlobServer) -> None:
    server.soft_delete_days = 14
    assert any("14 days" in text for text in _store(server).features().notes)
    create(_store(server), KEY)
