"""One contract suite for every store: memory, folder, S3 as moto and as the thin stand-in know it, by the SDK and
by the wire, and Azure Blob as Azurite knows it."""

import secrets
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest

from tests.azurite import Azurite
from tests.workers.repository.servers import CREDENTIALS, bucket
from workers.repository.errors import (
    AccessRefused,
    Archived,
    Conflict,
    Missing,
    RepositoryError,
    StoreUnavailable,
    Unsuitable,
)
from workers.repository.folder import FolderStore
from workers.repository.memory import MemoryStore
from workers.repository.places import store_at
from workers.repository.s3 import S3Store
from workers.repository.s3wire import Wire, error_of
from workers.repository.store import PLAIN, Put, Store, Thaw, probe, read_into


@pytest.fixture(params=["memory", "folder", "moto", "thin", "moto-wire", "thin-wire", "azurite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    if request.param == "memory":
        return MemoryStore()
    if request.param == "folder":
        return FolderStore(tmp_path / "repository")
    if request.param == "azurite":
        server: Azurite = request.getfixturevalue("azurite")
        return server.store()
    name = f"bucket-{secrets.token_hex(4)}"
    endpoint = (
        request.getfixturevalue("moto_endpoint") if "moto" in request.param else request.getfixturevalue("thin")[1]
    )
    wire = Wire(endpoint, name, "us-east-1", lambda: CREDENTIALS) if "wire" in request.param else None
    return S3Store(bucket(endpoint, name), name, "some/prefix", wire=wire)


def test_what_was_put_is_read_listed_and_gone_when_deleted(store: Store) -> None:
    store.put("packs/a/1", b"one")
    store.put("packs/a/2", bytearray(b"two!"))
    store.put("maps/b", b"")
    store.put("maps/b", memoryview(b"three of four")[:5])
    assert store.get("packs/a/1")[0] == b"one"
    assert store.get("maps/b")[0] == b"three"
    assert [(s.name, s.size) for s in store.list("packs/")] == [("packs/a/1", 3), ("packs/a/2", 4)]
    assert [s.name for s in store.list("packs/a/2")] == ["packs/a/2"]
    assert [s.name for s in store.list("")] == ["maps/b", "packs/a/1", "packs/a/2"]
    assert abs(store.stat("packs/a/1").modified_at - datetime.now(UTC)) < timedelta(minutes=1)
    assert store.delete(["packs/a/1", "packs/a/1", "never/there"]) == {}
    assert [s.name for s in store.list("packs/")] == ["packs/a/2"]


def test_what_is_not_there_is_missing_in_every_call(store: Store) -> None:
    for call in (
        lambda: store.get("no"),
        lambda: store.read("no", 0, 5),
        lambda: store.stat("no"),
        lambda: store.replace("no", b"x", '"tag"'),
    ):
        with pytest.raises(Missing):
            call()


def test_ranges_end_where_the_object_ends(store: Store) -> None:
    store.put("o", bytes(range(100)))
    assert store.read("o", 10, 5) == bytes(range(10, 15))
    assert store.read("o", 95, 50) == bytes(range(95, 100))
    assert store.read("o", 200, 5) == b""
    assert store.read("o", 0, 100) == bytes(range(100))


def test_an_object_is_created_once(store: Store) -> None:
    store.create("o", b"first")
    with pytest.raises(Conflict):
        store.create("o", b"second")
    assert store.get("o")[0] == b"first"


def test_creating_again_with_the_same_bytes_is_ones_own_success(store: Store) -> None:
    tag = store.create("o", b"mine")
    assert store.create("o", b"mine") == tag
    new = store.replace("o", b"newer", tag)
    assert store.replace("o", b"newer", tag) == new


def test_an_object_is_replaced_only_by_who_saw_its_last_state(store: Store) -> None:
    first = store.create("o", b"1")
    second = store.replace("o", b"2", first)
    with pytest.raises(Conflict):
        store.replace("o", b"3", first)
    assert store.get("o") == (b"2", second)
    store.replace("o", b"3", second)


def test_of_many_who_create_and_replace_at_once_one_wins(store: Store) -> None:
    tag = store.create("o", b"start")
    won: list[tuple[str, int]] = []

    def one(number: int) -> None:
        for name, write in (
            ("new", lambda: store.create("new", b"%d" % number)),
            ("o", lambda: store.replace("o", b"%d" % number, tag)),
        ):
            try:
                write()
                won.append((name, number))
            except Conflict:
                pass

    threads = [threading.Thread(target=one, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(name for name, _ in won) == ["new", "o"]
    assert {name: store.get(name)[0] for name, _ in won} == {name: b"%d" % number for name, number in won}


def test_a_store_with_conditional_writes_passes_the_probe_and_keeps_nothing_of_it(store: Store) -> None:
    assert probe(store)
    assert not list(store.list("probe/"))


def test_many_objects_are_listed_in_order_and_deleted_in_one_go(store: Store) -> None:
    names = [f"packs/{number:05}" for number in range(1205 if isinstance(store, MemoryStore) else 12)]
    for name in names:
        store.put(name, b"x")
    assert [s.name for s in store.list("packs/")] == names
    assert store.delete(names) == {}
    assert not list(store.list(""))


def test_a_store_that_ignores_conditions_is_found_out() -> None:
    class Careless(MemoryStore):
        def create(self, name: str, body: bytes, how: Put = PLAIN) -> str:
            return self.put(name, body, how)

        def replace(self, name: str, body: bytes, tag: str) -> str:
            return self.put(name, body)

    assert not probe(Careless())


def test_listings_of_more_than_a_page_are_whole(thin: Any) -> None:
    world, endpoint = thin
    world.page = 7
    store = S3Store(bucket(endpoint, "big"), "big")
    for number in range(30):
        store.put(f"packs/{number:05}", b"")
    assert len(list(store.list("packs/"))) == 30
    assert world.counts["GET bucket"] >= 5
    assert store.delete([f"packs/{number:05}" for number in range(30)]) == {}
    assert not list(store.list(""))


@pytest.fixture(params=["memory", "moto"])
def locking(request: pytest.FixtureRequest) -> Iterator[Store]:
    if request.param == "memory":
        yield MemoryStore()
        return
    name = f"locked-{secrets.token_hex(4)}"
    yield S3Store(bucket(request.getfixturevalue("moto_endpoint"), name, ObjectLockEnabledForBucket=True), name, "p")


def test_a_locked_object_stays_and_the_reason_is_told(locking: Store) -> None:
    """feature C20: locks are respected, and extended, never shortened."""
    until = datetime.now(UTC) + timedelta(days=2)
    locking.put("packs/locked", b"x", Put(retain_until=until))
    locking.put("packs/free", b"x")
    kept = locking.delete(["packs/locked", "packs/free"])
    assert list(kept) == ["packs/locked"]
    assert "locked" in kept["packs/locked"]
    locking.extend_lock("packs/locked", until + timedelta(days=2))
    assert list(locking.delete(["packs/locked"])) == ["packs/locked"]
    assert locking.features().object_lock


def test_a_bucket_that_locks_everything_by_itself_is_told_because_it_bills(moto_endpoint: str) -> None:
    """A note, no danger: leases are replaced there, and what is pruned goes when its lock ends."""
    client = bucket(moto_endpoint, "held", ObjectLockEnabledForBucket=True)
    assert S3Store(client, "held").features().notes == ()
    rule = {"ObjectLockEnabled": "Enabled", "Rule": {"DefaultRetention": {"Mode": "GOVERNANCE", "Days": 9}}}
    client.put_object_lock_configuration(Bucket="held", ObjectLockConfiguration=rule)
    found = S3Store(client, "held").features()
    assert (found.warnings, "9 days (GOVERNANCE)" in found.notes[0]) == ((), True)


def test_what_is_deleted_in_a_bucket_with_versions_is_gone_for_good(moto_endpoint: str) -> None:
    client = bucket(moto_endpoint, "versions")
    client.put_bucket_versioning(Bucket="versions", VersioningConfiguration={"Status": "Enabled"})
    store = S3Store(client, "versions")
    for body in (b"1", b"2"):
        store.put("o", body)
    assert store.delete(["o"]) == {}
    left = client.list_object_versions(Bucket="versions")
    assert not left.get("Versions")
    assert not left.get("DeleteMarkers")


def test_an_archived_object_is_retrieved_by_asking_again_until_it_is_there(moto_endpoint: str) -> None:
    store = S3Store(bucket(moto_endpoint, "cold"), "cold")
    store.put("packs/cold", b"x", Put(storage_class="DEEP_ARCHIVE"))
    store.put("packs/warm", b"x")
    assert store.stat("packs/cold").storage_class == "DEEP_ARCHIVE"
    assert store.stat("packs/warm").storage_class == ""
    with pytest.raises(Archived):
        store.get("packs/cold")
    states = store.thaw(["packs/cold", "packs/warm"], 2, "Bulk")
    assert states["packs/warm"] is Thaw.READY
    assert store.thaw(["packs/cold"], 2, "Bulk")["packs/cold"] in (Thaw.READY, Thaw.UNDERWAY)


def test_an_object_moves_to_another_class(moto_endpoint: str) -> None:
    store = S3Store(bucket(moto_endpoint, "classes"), "classes")
    store.put("packs/o", b"x")
    store.reclass("packs/o", "STANDARD_IA")
    assert store.stat("packs/o").storage_class == "STANDARD_IA"
    assert store.get("packs/o")[0] == b"x"


def test_server_side_encryption_is_asked_for(moto_endpoint: str) -> None:
    client = bucket(moto_endpoint, "sse")
    S3Store(client, "sse", encryption={"ServerSideEncryption": "AES256"}).put("o", b"x")
    assert client.head_object(Bucket="sse", Key="o")["ServerSideEncryption"] == "AES256"


def test_a_lifecycle_rule_that_would_eat_packs_is_told(moto_endpoint: str) -> None:
    client = bucket(moto_endpoint, "rules")
    rule = {"ID": "eat", "Status": "Enabled", "Filter": {"Prefix": ""}, "Expiration": {"Days": 3}}
    client.put_bucket_lifecycle_configuration(Bucket="rules", LifecycleConfiguration={"Rules": [rule]})
    assert "eat" in S3Store(client, "rules", "p").features().warnings[0]


def test_a_lifecycle_rule_that_cannot_meet_our_objects_is_no_danger(moto_endpoint: str) -> None:
    """Another prefix, also beside a size; tags, as our objects carry none; uploads that were given up."""
    client = bucket(moto_endpoint, "harmless")
    tag, gone = {"Key": "a", "Value": "b"}, {"Expiration": {"Days": 3}}
    filters = [{"Prefix": "other/"}, {"And": {"Prefix": "other/", "ObjectSizeGreaterThan": 9}}, {"Tag": tag}]
    rules = [{"ID": str(n), "Status": "Enabled", "Filter": one, **gone} for n, one in enumerate(filters)]
    parts = {"AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 3}}
    rules.append({"ID": "parts", "Status": "Enabled", "Filter": {"Prefix": ""}, **parts})
    client.put_bucket_lifecycle_configuration(Bucket="harmless", LifecycleConfiguration={"Rules": rules})
    assert S3Store(client, "harmless", "p").features().warnings == ()
    rules[1]["Filter"] = {"And": {"Prefix": "p/packs/", "ObjectSizeGreaterThan": 9}}
    client.put_bucket_lifecycle_configuration(Bucket="harmless", LifecycleConfiguration={"Rules": rules})
    assert "'1' deletes" in S3Store(client, "harmless", "p").features().warnings[0]


def test_a_busy_store_is_waited_for_and_a_missing_bucket_is_told(thin: Any) -> None:
    world, endpoint = thin
    store = S3Store(bucket(endpoint, "busy"), "busy")
    world.limit = 3
    for number in range(5):
        store.put(f"o{number}", b"x")
    assert world.counts["PUT"] > 5
    with pytest.raises(Unsuitable, match="no such bucket"):
        S3Store(bucket(endpoint, "other"), "absent").put("o", b"x")


def test_a_server_that_is_not_there_is_unavailable_not_missing() -> None:
    from tests.workers.repository.servers import impatient

    with pytest.raises(StoreUnavailable):
        S3Store(impatient("http://127.0.0.1:9"), "b").get("o")


@pytest.mark.parametrize(("code", "kind", "step"), [
    ("RequestTimeTooSkewed", Unsuitable, "Set the clock"),
    ("NoSuchBucket", Unsuitable, "Create it first"),
    ("AccessDenied", AccessRefused, "rights below the repository's prefix"),
    ("InvalidObjectState", Archived, "retrieval"),
])  # fmt: skip
def test_what_s3_refuses_comes_with_the_next_step(code: str, kind: type[RepositoryError], step: str) -> None:
    """feature 82: a clock that is off, a missing bucket, missing rights, an archived object."""
    error = error_of(code, "packs/x", "s3://b")
    assert (type(error), step in str(error)) == (kind, True)


def test_addresses_name_stores(tmp_path: Path) -> None:
    assert store_at(f"file://{tmp_path}/r").url.endswith("/r")
    for wrong in ("ftp://x", "s3://", "nonsense"):
        with pytest.raises(RepositoryError, match="no address"):
            store_at(wrong)


class Agents(BaseHTTPRequestHandler):
    """A server that has nothing and remembers who asked."""

    seen: ClassVar[list[str]] = []

    def do_HEAD(self) -> None:
        self.seen.append(self.headers.get("user-agent", ""))
        self.send_response(404)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


def test_an_address_in_s3_is_opened_as_workers_open_it_with_what_the_environment_has(
    thin: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When nothing else is left objects move over the same lean wire, and missing credentials are said at once."""
    _, endpoint = thin
    bucket(endpoint, "glass")
    for name in ("AWS_PROFILE", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nowhere")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nowhere")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", endpoint)
    with pytest.raises(Unsuitable, match="no AWS credentials"):
        store_at("s3://glass/some/prefix")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", CREDENTIALS.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", CREDENTIALS.secret_key)
    store = store_at("s3://glass/some/prefix")
    store.put("packs/a", b"content")
    assert bytes(read_into(store, "packs/a", 3, memoryview(bytearray(4)))) == b"tent"
    assert [stat.name for stat in store.list("packs/")] == ["packs/a"]
    assert store.delete(["packs/a"]) == {}
    with HTTPServer(("127.0.0.1", 0), Agents) as server:
        threading.Thread(target=server.handle_request, daemon=True).start()
        with pytest.raises(Missing):
            store_at("s3://glass/p", f"http://127.0.0.1:{server.server_port}").stat("packs/a")
    assert len(Agents.seen) == 1
    assert "boto" not in Agents.seen[0].lower()
