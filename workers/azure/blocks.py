"""Blocks of Azure's snapshots and disks, and places in Azure Blob, entered with the credentials of a subscription.

What an archive reads is a snapshot, by its changed page ranges; what a restore from a repository writes is a disk that
was made for an upload. Both need an access signature for as long as the work lasts (`opened`).
"""

import hashlib
import secrets
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from azure.core.exceptions import ResourceNotFoundError

from tasks.errors import Impossible, Invalid, NotReady
from workers.azure import lro, restore, snapshots
from workers.azure.access import UPLOADS, Access
from workers.azure.clients import Clients, Subscriptions
from workers.azure.errors import translated
from workers.azure.ids import id_of, normal, read_id
from workers.azure.instants import is_restore_point
from workers.azure.pages import Pages, PageSource, UploadSink
from workers.azure.seats import Places, family_of
from workers.azure.tags import fit_tags
from workers.azure.vhd import FOOTER_BYTES, footer
from workers.blocks import Foreign
from workers.driver import TAG_JOB, Account
from workers.repository.azureauth import Authority, Bearer, authority_of
from workers.repository.azureblob import BlobStore
from workers.repository.azurewire import BlobWire
from workers.repository.errors import Missing, StoreUnavailable, Unrelated
from workers.repository.kms import Kms
from workers.repository.places import azure_place
from workers.repository.store import Store

# An empty disk is made in a moment; a snapshot's restore could not be begun before it is.
_PATIENCE = 20.0
# DiskRP swagger, CreationData.uploadSizeBytes: 20 MiB to 32 TiB, and the footer.
_MOST = 35_183_298_347_520


class AzureBlocks:
    """Implements workers.blocks.Blocks; safe to be shared by threads. Use it through `opened`."""

    makes, output = "azure-disk", "disk_id"

    def __init__(self, subscriptions: Subscriptions) -> None:
        self._subscriptions = subscriptions
        self._lock = threading.Lock()
        self._held: dict[str, Access] = {}
        self._holder = secrets.token_hex(8)

    @contextmanager
    def opened(self) -> Iterator["AzureBlocks"]:
        work = AzureBlocks(self._subscriptions)
        try:
            yield work
        finally:
            work._shut()

    def _shut(self) -> None:
        """Take back the right to read, whatever became of the work; an upload goes on in the next slice."""
        for access in self._held.values():
            if read_id(access.resource_id).kind != "disks":
                access.shut()
        self._held.clear()

    def _access(self, clients: Clients, resource_id: str, level: str = "Read", places: Places | None = None) -> Access:
        with self._lock:
            key = normal(resource_id)
            if key not in self._held:
                self._held[key] = Access(clients, key, level, places)
            return self._held[key]

    def _pages(self, access: Access) -> Pages:
        return Pages(access, *self._subscriptions.way())

    # --- places ---

    def store(self, account: Account, region: str, url: str, sse_key: str = "") -> Store:  # noqa: ARG002 - both are S3's
        name, container, prefix = azure_place(url)
        endpoint = self._subscriptions.blob_endpoint(name)
        proxy, bundle = self._subscriptions.way(endpoint)
        wire = BlobWire(endpoint, name, container, self._authority(account, name), proxy=proxy, ca_bundle=bundle)
        return BlobStore(wire, prefix)

    def _authority(self, account: Account, name: str) -> Authority:
        """The secret that the estate gives for storage, else the subscription's own identity."""
        if account.storage_secret:
            return authority_of(name, account.storage_secret.reveal())
        return Bearer(lambda: self._subscriptions.storage_token(account))

    def key_service(self, account: Account, region: str, key: str) -> Kms:  # noqa: ARG002 - there is none
        raise Impossible("Key slots of AWS KMS are made in AWS accounts.", code="no-key-service")

    def snapshots(
        self,
        account: Account,  # noqa: ARG002 - nothing is imported
        region: str,  # noqa: ARG002
        tags: Mapping[str, str],  # noqa: ARG002
    ) -> Iterator[Foreign]:
        raise Impossible("Snapshots of others are imported from AWS only.", code="no-foreign-snapshots")

    # --- reading ---

    def source(self, account: Account, region: str, snapshot_id: str, base: str | None = None) -> PageSource:  # noqa: ARG002
        clients = self._subscriptions.at(account)
        now = self._model(clients, snapshot_id)
        if base is not None:
            _assert_related(now, self._model(clients, base))
        needed = [normal(one) for one in (snapshot_id, base) if one]
        places = Places(clients.seats, family_of(now), needed, self._holder)
        before = self._access(clients, base, places=places) if base is not None else None
        return PageSource(self._pages(self._access(clients, snapshot_id, places=places)), _size(now), before)

    def _model(self, clients: Clients, snapshot_id: str) -> dict[str, Any]:
        if is_restore_point(snapshot_id):
            text = "Restore points are not archived: leave `consistency` out where a machine goes to a repository."
            raise Impossible(text, code="restore-point")
        with translated("a look at a snapshot"):
            found = snapshots.get(clients, snapshot_id)
        if found is None:
            raise Missing(f"Azure does not know the snapshot {read_id(snapshot_id).name} any more.")
        if found.get("properties", {}).get("provisioningState") != "Succeeded":
            raise StoreUnavailable(f"The snapshot {read_id(snapshot_id).name} is not ready.")
        return found

    # --- writing ---

    def begin(
        self,
        account: Account,
        region: str,
        size: int,
        token: str,
        tags: Mapping[str, str],
        kms_key: str = "",  # noqa: ARG002 - a disk is sealed by the encryption set among its wishes
        wishes: Mapping[str, Any] | None = None,
    ) -> str:
        params, clients = dict(wishes or {}), self._subscriptions.at(account)
        if size + FOOTER_BYTES > _MOST:
            raise Impossible(f"Azure takes no disk of {size} bytes as an upload.", code="too-large")
        group, name = str(params["group"]), str(params["name"])
        made_id = id_of(clients.subscription, group, "disks", name)
        there = _get(clients, group, name)
        if there is not None and not _is_for(there, token):
            advice = "Choose another with --set name=..."
            raise Invalid(f"There is a disk called {name} in {group} already.", code="name-taken", advice=advice)
        if there is None:
            fitted, _ = fit_tags(token, tags, params.get("tags", {}))
            body = restore.upload_disk(region, params, fitted, size + FOOTER_BYTES)
            with translated(f"the making of {name}"):
                lro.finish(_PATIENCE, clients.compute.disks.begin_create_or_update, group, name, body)
        return made_id

    def sink(self, account: Account, region: str, snapshot_id: str, size: int) -> UploadSink:  # noqa: ARG002
        clients = self._subscriptions.at(account)
        return UploadSink(self._pages(self._access(clients, snapshot_id, "Write")), size)

    def complete(self, account: Account, region: str, snapshot_id: str, blocks: int) -> None:  # noqa: ARG002
        """Write the footer and end the upload; a disk whose upload is over already is left as it is."""
        clients, parts = self._subscriptions.at(account), read_id(snapshot_id)
        model = _get(clients, parts.group, parts.name)
        if model is None:
            raise Missing(f"The disk {parts.name} is not there any more.")
        properties = model.get("properties", {})
        if properties.get("diskState") not in UPLOADS:
            return
        size = int(properties.get("creationData", {}).get("uploadSizeBytes") or 0) - FOOTER_BYTES
        access = self._access(clients, snapshot_id, "Write")
        identity = hashlib.sha256(normal(snapshot_id).encode()).digest()[:16]
        self._pages(access).write(size, footer(size, identity))
        access.close(wait=True)
        if (_get(clients, parts.group, parts.name) or {}).get("properties", {}).get("diskState") in UPLOADS:
            raise NotReady(f"The upload of {parts.name} is not over yet.", code="upload-open")


def _get(clients: Clients, group: str, name: str) -> dict[str, Any] | None:
    with translated(f"a look at {name}"):
        try:
            found: dict[str, Any] = clients.compute.disks.get(group, name).as_dict()
        except ResourceNotFoundError:
            return None
    return found


def _is_for(model: Mapping[str, Any], token: str) -> bool:
    """Whether a disk is this wish's: made for it, or for an earlier attempt and not whole yet. A token is KEY-EPOCH."""
    tag = str((model.get("tags") or {}).get(TAG_JOB, ""))
    waits = model.get("properties", {}).get("diskState") in UPLOADS
    return tag == token or (waits and tag.rpartition("-")[0] == token.rpartition("-")[0])


def _size(model: Mapping[str, Any]) -> int:
    """The disk's bytes, without the footer that its pages end with."""
    properties = model.get("properties", {})
    return int(properties.get("diskSizeBytes") or int(properties.get("diskSizeGB", 0)) << 30)


def _assert_related(now: Mapping[str, Any], before: Mapping[str, Any]) -> None:
    """Raises Unrelated unless both are of the same disk, and the difference between them can be told."""
    new, old = now.get("properties", {}), before.get("properties", {})
    if new.get("creationData", {}).get("sourceUniqueId") != old.get("creationData", {}).get("sourceUniqueId"):
        raise Unrelated("The disk is another one than before: it was made anew under its name.")
    if new.get("incrementalSnapshotFamilyId") != old.get("incrementalSnapshotFamilyId"):
        raise Unrelated("The snapshots are of different families, so Azure tells no difference between them.")
    if _size(now) != _size(before):
        raise Unrelated("The disk has another size than before.")
