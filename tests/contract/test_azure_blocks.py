"""Blocks of Azure's disks: what changed is read, what was archived comes back, and no signature stays (feature 28)."""

import logging
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from deploy.sandbox.azure import seed
from tasks import errors
from tasks.secrets import Secret
from tests.azure import TAGS, AzureRig
from tests.workers.repository.blob_server import BlobServer
from tests.workers.repository.volumes import KEY
from workers.azure.blocks import AzureBlocks
from workers.azure.clients import AzureSettings, Subscriptions
from workers.azure.ids import name_for
from workers.azure.pages import PageSource
from workers.azure.seats import MOST
from workers.driver import Account, Created
from workers.repository.archive import archive
from workers.repository.clock import host_clock
from workers.repository.errors import AccessRefused, Missing, Unrelated
from workers.repository.manifest import Generation
from workers.repository.memory import MemoryStore
from workers.repository.repository import Repository, create
from workers.repository.restore import restore
from workers.repository.source import BLOCK_BYTES

GIB = 1 << 30
KIB = 1024
AT = datetime(2026, 11, 1, tzinfo=UTC)


@dataclass
class Bytes:
    """A disk as the tests know it: pages of 4 KiB that are not zero; and a sink that is filled like one."""

    pages: dict[int, bytes] = field(default_factory=dict)
    proves: bool = False

    def put(self, start: int, data: bytes) -> None:
        for at in range(0, len(data), 4096):
            page = data[at : at + 4096]
            if page.count(0) == len(page):
                self.pages.pop((start + at) // 4096, None)
            else:
                self.pages[(start + at) // 4096] = page

    def write(self, index: int, content: Any, digest: bytes) -> None:
        self.put(index * BLOCK_BYTES, bytes(content))

    def finish(self) -> None:
        pass


class Disk:
    """A disk in the emulated Azure and what it should hold; snapshots of it, archived one after the other."""

    def __init__(self, rig: AzureRig, gib: int = 1):
        self.rig, self.gib = rig, gib
        self.name = f"prop-{secrets.token_hex(6)}"
        self.group = seed.GROUP
        self.blocks: AzureBlocks = rig.driver.blocks  # type: ignore[attr-defined]
        self.clients = rig.driver._at(rig.account)  # type: ignore[attr-defined]
        self.held = Bytes()
        self.repository: Repository = create(MemoryStore(), KEY, host_clock)
        self.before: tuple[str, Generation] | None = None
        self.generations: list[tuple[Generation, dict[int, bytes], int]] = []
        self.why: list[str] = []
        self._make({"createOption": "Empty"}, gib)

    @property
    def id(self) -> str:
        base = f"/subscriptions/{seed.SUBSCRIPTION}/resourceGroups/{self.group}/providers/Microsoft.Compute"
        return f"{base}/disks/{self.name}"

    def _make(self, creation: dict[str, Any], gib: int) -> None:
        body = {"location": seed.HOME, "properties": {"creationData": creation, "diskSizeGB": gib}}
        self.clients.compute.disks.begin_create_or_update(self.group, self.name, body).result()

    def put(self, start: int, data: bytes) -> None:
        self.rig.cloud.write(self.id, start, data)
        self.held.put(start, data)

    def grow(self) -> None:
        self.gib += 1
        self._make({"createOption": "Empty"}, self.gib)

    def remake(self) -> None:
        """Another disk of the same name: nothing of the old one is in it."""
        self.clients.compute.disks.begin_delete(self.group, self.name).result()
        self.held = Bytes()
        self._make({"createOption": "Empty"}, self.gib)

    def snapshot(self) -> str:
        started = self.rig.backup(self.rig.resource(self.name), key=secrets.token_hex(8))
        return started.parts[0].external_id

    def archive(self) -> str:
        """Take a snapshot, archive what changed (all, where Azure cannot tell); the snapshot."""
        taken = self.snapshot()
        with self.blocks.opened() as blocks:
            source, base = self._source(blocks, taken)
            made = archive(self.repository, "v", source, AT + timedelta(hours=len(self.generations)), base)
        self.before = (taken, made)
        self.generations.append((made, dict(self.held.pages), self.gib))
        return taken

    def _source(self, blocks: AzureBlocks, taken: str) -> tuple[PageSource, Generation | None]:
        where = (self.rig.account, seed.HOME)
        if self.before is None:
            return blocks.source(*where, taken), None
        try:
            return blocks.source(*where, taken, self.before[0]), self.before[1]
        except Unrelated as error:
            self.why.append(error.text)
            return blocks.source(*where, taken), self.before[1]

    def restored(self, generation: Generation) -> dict[int, bytes]:
        sink = Bytes()
        restore(self.repository, generation, sink)
        return sink.pages


def open_things(rig: AzureRig) -> list[str]:
    """What has a signature that opens something."""
    return [one["id"] for kind in ("snapshots", "disks") for one in rig.cloud.things(kind) if one["open"]]


@pytest.fixture
def disk(azure: AzureRig) -> Disk:
    azure.cloud.ask("POST", "config", {"snapshots_per_disk_and_5_minutes": 0})
    return Disk(azure)


# --- what is read ---


def test_a_full_archive_and_one_of_changes_come_back_byte_for_byte(disk: Disk) -> None:
    disk.put(0, secrets.token_bytes(3 << 20))
    disk.put(GIB - 4096, b"end!" * 1024)
    disk.archive()
    disk.put(5 * KIB * 4, secrets.token_bytes(8192))
    disk.put(700 << 20, secrets.token_bytes(4096))
    disk.archive()
    for generation, wanted, _ in disk.generations:
        assert disk.restored(generation) == wanted
    assert disk.generations[1][0].base
    assert disk.why == []


def test_an_archive_of_changes_reads_what_changed_alone(disk: Disk) -> None:
    disk.put(0, secrets.token_bytes(16 << 20))
    disk.archive()
    read = disk.rig.cloud.count("GET pages")
    disk.put(9 << 20, b"x" * 4096)
    disk.archive()
    assert disk.rig.cloud.count("GET pages") == read + 1
    assert disk.generations[1][0].figures["read_bytes"] == BLOCK_BYTES


def test_neighbouring_blocks_are_read_four_mebibytes_at_a_time(disk: Disk) -> None:
    disk.put(0, secrets.token_bytes(16 << 20))
    disk.archive()
    assert disk.rig.cloud.count("GET pages") == 4


def test_what_was_cleared_is_zeros_and_a_block_cleared_in_part_keeps_the_rest(disk: Disk) -> None:
    """Ranges that were cleared are told apart from those that were written: to ignore them brings old bytes back."""
    disk.put(0, b"a" * (2 * BLOCK_BYTES))
    disk.archive()
    disk.put(0, bytes(BLOCK_BYTES + 8192))
    disk.archive()
    generation, wanted, _ = disk.generations[1]
    assert disk.restored(generation) == wanted
    assert len(wanted) == (BLOCK_BYTES - 8192) // 4096


def test_a_disk_that_was_made_anew_or_grew_is_read_whole_and_that_is_said(disk: Disk) -> None:
    disk.put(0, b"old" * 4096)
    disk.archive()
    disk.grow()
    disk.archive()
    disk.remake()
    disk.put(1 << 20, b"new!" * 1024)
    disk.archive()
    assert [text for text in disk.why if "size" in text]
    assert [text for text in disk.why if "made anew" in text]
    for generation, wanted, gib in disk.generations:
        assert generation.size == gib * GIB
        assert disk.restored(generation) == wanted


def test_many_ranges_come_in_pages(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workers.azure.pages._PAGE", 3)
    for number in range(10):
        disk.put(number * 3 * BLOCK_BYTES, b"x" * 4096)
    disk.archive()
    generation, wanted, _ = disk.generations[0]
    assert disk.restored(generation) == wanted
    assert disk.rig.cloud.count("GET pages pagelist") == 4


# Few places, so that what is cleared was often written before: an archive that misses clears must be caught.
_place = st.one_of(st.integers(0, 400), st.integers(GIB // 4096 - 200, GIB // 4096 - 1))
_write = st.tuples(st.just("write"), _place, st.integers(1, 300), st.integers(1, 255))
_clear = st.tuples(st.just("clear"), _place, st.integers(1, 600), st.just(0))
_whole = st.tuples(st.sampled_from(["grow", "remake"]), st.just(0), st.just(0), st.just(0))
_epoch = st.lists(st.one_of(_write, _clear, _write, _clear, _whole), max_size=5)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(_epoch, min_size=2, max_size=4))
def test_whatever_happens_to_a_disk_every_generation_comes_back(azure: AzureRig, epochs: list[list[Any]]) -> None:
    """feature 28: random writes, clears, resizes and recreations; every byte that is restored is compared."""
    azure.cloud.ask("POST", "config", {"snapshots_per_disk_and_5_minutes": 0})
    disk = Disk(azure)
    for steps in epochs:
        for verb, page, count, value in steps:
            if verb == "grow":
                disk.grow()
            elif verb == "remake":
                disk.remake()
            else:
                length = min(count * 4096, disk.gib * GIB - page * 4096)
                disk.put(page * 4096, bytes([value]) * length)
        disk.archive()
    for generation, wanted, gib in disk.generations:
        assert generation.size == gib * GIB
        assert disk.restored(generation) == wanted
    assert open_things(azure) == []


# --- signatures ---


def test_signatures_are_open_while_blocks_are_read_and_never_after(disk: Disk) -> None:
    disk.put(0, b"x" * 4096)
    taken = disk.snapshot()
    with disk.blocks.opened() as blocks:
        source = blocks.source(disk.rig.account, seed.HOME, taken)
        assert open_things(disk.rig) == []  # only when it is needed
        list(source.blocks(0, 2048))
        assert [one.lower() for one in open_things(disk.rig)] == [taken]
    assert open_things(disk.rig) == []
    with pytest.raises(ZeroDivisionError), disk.blocks.opened() as blocks:
        list(blocks.source(disk.rig.account, seed.HOME, taken).blocks(0, 2048))
        raise ZeroDivisionError
    assert open_things(disk.rig) == []


def test_a_signature_is_in_no_log_error_or_representation(disk: Disk, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    disk.put(0, b"x" * 4096)
    taken = disk.snapshot()
    told: list[str] = []
    with disk.blocks.opened() as blocks:
        source = blocks.source(disk.rig.account, seed.HOME, taken)
        access = blocks._access(disk.clients, taken)
        secret = access.address().reveal().rpartition("sig=")[2]
        told += [repr(access.address()), repr(access), repr(vars(source))]
        disk.rig.cloud.fault("error", method="GET", type="pages", status=409, code="Strange", count=9)
        with pytest.raises(Exception) as caught:
            list(source.blocks(0, 2048))
        told.append(repr(caught.value) + str(caught.value))
    disk.rig.cloud.ask("DELETE", "faults")
    assert len(secret) > 20
    assert all(secret not in text for text in [*told, caplog.text])


def test_a_signature_that_was_revoked_or_ran_out_meanwhile_is_granted_again(disk: Disk) -> None:
    """Another worker that reads the same snapshot takes it back at its end; a sweep may too."""
    disk.put(0, b"x" * 4096)
    disk.put(8 << 20, b"y" * 4096)
    taken = disk.snapshot()
    with disk.blocks.opened() as blocks:
        source = blocks.source(disk.rig.account, seed.HOME, taken)
        refs = list(source.blocks(0, 2048))
        with disk.blocks.opened() as other:
            list(other.source(disk.rig.account, seed.HOME, taken).blocks(0, 1))
        into = memoryview(bytearray(BLOCK_BYTES))
        assert source.read(refs[0], into) == (BLOCK_BYTES, None)
        disk.rig.cloud.ask("POST", "advance", {"seconds": 2000})
        source.read(refs[1], into)
        assert bytes(into[:4096]) == b"y" * 4096
    assert open_things(disk.rig) == []


def test_no_more_signatures_of_a_family_are_asked_for_than_azure_gives(disk: Disk) -> None:
    """feature 28: the sixth is not asked for and costs no attempt; nor does Azure's refusal because of others."""
    taken = [disk.snapshot() for _ in range(MOST + 1)]
    where = (disk.rig.account, seed.HOME)
    with disk.blocks.opened() as blocks:
        for one in taken[:-1]:
            list(blocks.source(*where, one).blocks(0, 1))
        asked = disk.rig.cloud.count("POST snapshots")
        with pytest.raises(errors.QuotaReached) as caught:
            list(blocks.source(*where, taken[-1]).blocks(0, 1))
        assert (caught.value.code, caught.value.retry) == ("signatures-taken", errors.Retry.FREE)
        assert disk.rig.cloud.count("POST snapshots") == asked
        stranger: Any = disk.rig.another()
        with stranger.blocks.opened() as others, pytest.raises(errors.QuotaReached) as caught:
            list(others.source(*where, taken[-1]).blocks(0, 1))
        assert (caught.value.code, caught.value.retry) == ("signatures-refused", errors.Retry.FREE)
    assert open_things(disk.rig) == []


def test_what_a_dead_worker_left_open_is_found_and_shut_and_what_is_in_use_is_left(disk: Disk) -> None:
    """feature 28: the sweep proves that nothing stays open, and touches nothing that is not ours."""
    other = Disk(disk.rig)
    left, used = disk.snapshot(), other.snapshot()
    lost: list[Iterator[Any]] = []
    for rig_disk, one in ((disk, left), (other, used)):
        access = rig_disk.blocks._access(rig_disk.clients, one)
        access.address()
        lost.append(iter(()))
    foreign = disk.snapshot()
    disk.rig.cloud.change(foreign, tags={})
    disk.blocks._access(disk.clients, foreign).address()
    driver: Any = disk.rig.another()
    assert driver.shut_forgotten(disk.rig.account, seed.HOME, frozenset({used})) == [left]
    assert sorted(one.lower() for one in open_things(disk.rig)) == sorted([used, foreign])
    assert driver.shut_forgotten(disk.rig.account, seed.AWAY, frozenset()) == []
    assert driver.shut_forgotten(disk.rig.account, seed.HOME, frozenset()) == [used]


def test_a_lost_answer_to_a_grant_leaves_nothing_open(disk: Disk) -> None:
    taken = disk.snapshot()
    disk.rig.cloud.fault("drop_after", method="POST", type="snapshots")
    with pytest.raises(errors.Transient), disk.blocks.opened() as blocks:
        list(blocks.source(disk.rig.account, seed.HOME, taken).blocks(0, 1))
    assert open_things(disk.rig) == []


def test_a_busy_page_endpoint_is_waited_for(disk: Disk) -> None:
    disk.put(0, b"x" * 4096)
    disk.rig.cloud.fault("error", method="GET", type="pages", status=503, code="ServerBusy", count=2)
    disk.archive()
    assert disk.restored(disk.generations[0][0]) == disk.held.pages


def test_a_snapshot_that_is_gone_is_missing(disk: Disk) -> None:
    taken = disk.snapshot()
    disk.rig.cloud.destroy(taken)
    with pytest.raises(Missing), disk.blocks.opened() as blocks:
        blocks.source(disk.rig.account, seed.HOME, taken)


# --- writing ---


def _upload(disk: Disk, name: str, token: str = "t-0") -> tuple[AzureBlocks, Account, str]:
    wishes = {"group": seed.GROUP, "name": name, "sku": "Premium_LRS", "os_type": "Linux", "tags": {"a": "b"}}
    made = disk.blocks.begin(disk.rig.account, seed.HOME, GIB, token, TAGS, "", wishes)
    return disk.blocks, disk.rig.account, made


def test_a_generation_becomes_a_disk_byte_for_byte_in_several_slices(disk: Disk) -> None:
    disk.put(0, secrets.token_bytes(3 << 20))
    disk.put(GIB - 8192, b"end!" * 2048)
    taken = disk.archive()
    blocks, account, made = _upload(disk, "back")
    assert _upload(disk, "back")[2] == made  # the same again for the same wish
    generation = disk.generations[0][0]
    for first, stop in ((0, 4), (4, generation.blocks)):
        with blocks.opened() as work:
            restore(disk.repository, generation, work.sink(account, seed.HOME, made, GIB), first=first, stop=stop)
    with blocks.opened() as work:
        work.complete(account, seed.HOME, made, 9)
        work.complete(account, seed.HOME, made, 9)
    assert disk.rig.cloud.sha256(made) == disk.rig.cloud.sha256(taken)
    assert open_things(disk.rig) == []
    (model,) = [one for one in disk.clients.compute.disks.list() if one.name == "back"]
    shown = model.as_dict()
    assert shown["properties"]["diskState"] == "Unattached"
    assert shown["properties"]["provisioningState"] == "Succeeded"  # the footer was right
    assert (shown["sku"]["name"], shown["tags"]["a"]) == ("Premium_LRS", "b")


def test_a_name_that_something_else_has_is_never_written_to(disk: Disk) -> None:
    _upload(disk, "mine")
    with pytest.raises(errors.Invalid) as caught:
        _upload(disk, "mine", "other-0")
    assert caught.value.code == "name-taken"


def test_a_later_attempt_goes_on_with_the_upload_of_an_earlier_one_and_leaves_a_whole_disk_alone(disk: Disk) -> None:
    blocks, account, made = _upload(disk, "again", "t-0")
    assert _upload(disk, "again", "t-1")[2] == made
    with blocks.opened() as work:
        work.complete(account, seed.HOME, made, 0)
    with pytest.raises(errors.Invalid):
        _upload(disk, "again", "t-2")


def test_an_upload_that_was_given_up_is_revoked_and_removed(disk: Disk) -> None:
    blocks, account, made = _upload(disk, "half")
    with blocks.opened() as work:
        work.sink(account, seed.HOME, made, GIB).write(0, b"x" * BLOCK_BYTES, b"")
    created = [Created("azure-disk", made)]
    first = disk.rig.driver.undo_restore(account, seed.HOME, created)
    assert (first[0].outcome, getattr(first[0].error, "code", "")) == ("kept", "deleting")
    answers = [disk.rig.driver.undo_restore(account, seed.HOME, created)[0].outcome for _ in range(3)]
    assert answers[-1] == "already-gone"
    assert open_things(disk.rig) == []


def test_a_snapshot_that_is_still_open_is_shut_and_then_deleted(disk: Disk) -> None:
    resource = disk.rig.resource(disk.name)
    started = disk.rig.backup(resource, key="job-open")
    point = disk.rig.point(resource, started)
    disk.blocks._access(disk.clients, started.parts[0].external_id).address()
    outcomes = [disk.rig.driver.delete([point])[0].outcome for _ in range(4)]
    assert outcomes[-1] == "already-gone"
    assert name_for("job-open") not in " ".join(disk.rig.snapshots())


def test_a_signature_cannot_be_used_beyond_its_right(disk: Disk) -> None:
    taken = disk.snapshot()
    with disk.blocks.opened() as work, pytest.raises(AccessRefused):
        work._pages(work._access(disk.clients, taken)).write(0, bytes(512))


# --- places in Azure Blob ---


@pytest.mark.parametrize(("secret", "said"), [("", "Bearer "), ("a2V5", "SharedKey acct:"), ("?sv=1&sig=s", "")])
def test_a_repository_is_entered_by_the_subscriptions_own_identity_or_by_a_secret(
    azure: AzureRig, secret: str, said: str
) -> None:
    """Feature 3: a token of Entra, the storage account's key, or a signature."""
    server = BlobServer()
    reach = AzureSettings(
        endpoint=azure.cloud.url, authority=azure.cloud.url, ca=azure.cloud.ca, blob_endpoint=server.endpoint
    )
    account = replace(azure.account, storage_secret=Secret(secret))
    store = AzureBlocks(Subscriptions(reach)).store(account, seed.HOME, "azure://acct/c/some/where")
    store.put("o", b"x")
    method, target, headers = server.calls[-1]
    server.close()
    assert (method, target.partition("?")[0]) == ("PUT", "/c/some/where/o")
    assert headers.get("authorization", "").startswith(said)
    assert ("sig=s" in target) == secret.startswith("?")


def test_storage_accounts_are_found_in_the_cloud_of_the_settings() -> None:
    reach = Subscriptions(AzureSettings(cloud="china"))
    assert reach.blob_endpoint("acct") == "https://acct.blob.core.chinacloudapi.cn"
    private = Subscriptions(AzureSettings(blob_endpoint="https://{account}.privatelink.example"))
    assert private.blob_endpoint("acct") == "https://acct.privatelink.example"
