"""Access signatures of disks and snapshots: given for a piece of work, never kept, shown or logged, taken back at once.

A signature opens a whole disk to whoever has its address, so it lives as short as Azure allows the work to be done in:
it expires by itself, is granted again when the work goes on, and is revoked when it ends, however it ends. What a dead
process left is revoked by `shut_forgotten`. An upload is the exception that Azure makes: revoking ends it ("Upload a
VHD to Azure", managed disks documentation), so between two slices of a restore its signature only runs out.
"""

import logging
import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from azure.core.exceptions import ResourceNotFoundError

from tasks.errors import NotReady, QuotaReached, SnapfleetError
from tasks.secrets import Secret
from workers.azure import lro
from workers.azure.clients import Clients
from workers.azure.errors import translated
from workers.azure.ids import normal, read_id
from workers.azure.seats import Places, family_of
from workers.azure.tags import is_ours

_log = logging.getLogger(__name__)
# Longer than a slice of work with its last blocks and its checkpoint; the bound for what a dead process leaves open.
SECONDS = 900
# Granting took the service 0.2 s (recording of the SDK's tests); the wait is in place, for there is nothing to resume.
_PATIENCE = 30.0
# How long a seat is held without being given back: the signature's time, from when Azure has answered at the latest.
_SEATED = timedelta(seconds=SECONDS + 2 * _PATIENCE)
# States of a disk or snapshot with a signature.
OPEN = frozenset({"ActiveSAS", "ActiveSASFrozen", "ActiveUpload"})
UPLOADS = frozenset({"ReadyToUpload", "ActiveUpload"})


def collection_of(clients: Clients, resource_id: str) -> Any:
    """The SDK's operations for a disk or a snapshot."""
    return clients.compute.disks if read_id(resource_id).kind.lower() == "disks" else clients.compute.snapshots


class Access:
    """The right to the bytes of one disk or snapshot, granted when first needed. Safe to be shared by threads."""

    def __init__(self, clients: Clients, resource_id: str, level: str = "Read", places: Places | None = None) -> None:
        self.resource_id = resource_id
        self._clients, self._level, self._places = clients, level, places
        self._lock = threading.Lock()
        self._address: Secret | None = None
        self._opened = False

    def address(self) -> Secret:
        """The signed address. Raises the family: QuotaReached while no more may be given out for this disk."""
        with self._lock:
            if self._address is None:
                self._address = self._grant()
            return self._address

    def renewed(self, refused: Secret) -> Secret:
        """Another address, because this one was refused: its time was over, or another process revoked it."""
        with self._lock:
            if self._address is None or self._address == refused:
                self._address = self._grant()
            return self._address

    def _grant(self) -> Secret:
        parts, collection = read_id(self.resource_id), collection_of(self._clients, self.resource_id)
        wish = {"access": self._level, "durationInSeconds": SECONDS, "fileFormat": "VHD"}
        if self._places is not None:
            self._places.take(_SEATED)
        self._opened = True  # whatever the answer is: it may have been granted
        try:
            with translated(f"access to {parts.name}"):
                found = lro.finish(_PATIENCE, collection.begin_grant_access, parts.group, parts.name, wish)
        except NotReady as error:
            if self._places is None or error.code != NotReady.code:
                raise
            # all seats of the fleet were counted: it is others who read this disk's snapshots now
            raise QuotaReached(error.text, code="signatures-refused") from None
        address = str(getattr(found, "access_sas", "") or "")
        if not address:
            raise NotReady(f"Azure gave no address for {parts.name}.", code="no-access")
        return Secret(address)

    def close(self, *, wait: bool = False) -> None:
        """Take the right back; with `wait` only return when that is done. Raises the family."""
        with self._lock:
            self._address = None
            if self._places is None:
                if self._opened:
                    revoke(self._clients, self.resource_id, wait=wait)
            # who never opened what it had a seat of may be the last that others left it to
            elif self._places.taken and self._places.leave(self.resource_id):
                revoke(self._clients, self.resource_id, wait=True)  # a seat is free when Azure has done it
                self._places.free(self.resource_id)
            self._opened = False

    def shut(self) -> None:
        """As `close`, for the end of work that may have failed: what cannot be told now is found later."""
        try:
            self.close()
        except SnapfleetError as error:
            name = read_id(self.resource_id).name
            _log.warning("access to %s could not be revoked and will be found later: %s", name, error.code)


def revoke(clients: Clients, resource_id: str, *, wait: bool = False) -> bool:
    """Revoke what a disk or snapshot has; one that is gone has nothing. Whether that is done, with `wait`. Raises the
    family."""
    parts, collection = read_id(resource_id), collection_of(clients, resource_id)
    try:
        with translated(f"the end of access to {parts.name}"):
            try:
                if wait:
                    lro.finish(_PATIENCE, collection.begin_revoke_access, parts.group, parts.name)
                else:
                    lro.begin(collection.begin_revoke_access, parts.group, parts.name)
            except ResourceNotFoundError:
                return True
    except NotReady:
        if wait:
            raise
        return False
    return wait


def shut_forgotten(clients: Clients, region: str, in_use: frozenset[str], region_of: Callable[[Any], str]) -> list[str]:
    """Revoke the signatures of our snapshots and uploads that no work needs any more; the ids. Raises the family.

    `in_use` names snapshots and disks that are being read or written; their families are left alone, because an
    archive reads the snapshot before too. Work that is hit all the same is granted access again.
    """
    kept, open_ones = {normal(one) for one in in_use}, {}
    with translated("a look for open access"):
        for collection in (clients.compute.snapshots, clients.compute.disks):
            models = [item.as_dict() for item in collection.list()]
            ours = [one for one in models if is_ours(one.get("tags"), clients.account.installation)]
            mine = [one for one in ours if region_of(one) == region]
            busy = {family_of(one) for one in mine if normal(one["id"]) in kept}
            for one in mine:
                state = one.get("properties", {}).get("diskState", "")
                if family_of(one) not in busy and state in OPEN:
                    open_ones[normal(one["id"])] = family_of(one)
    for name, family in open_ones.items():
        places = Places(clients.seats, family, [name])
        places.clear(name)
        revoke(clients, name, wait=True)
        places.cleared(name)
    return list(open_ones)
