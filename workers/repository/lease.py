"""Leases: the right of a job to make generations, and the one write that makes them count. FORMAT.md section 8.

A lease goes open -> committed or open -> revoked, by compare-and-set, never back. A manifest counts only while the
lease of its job is committed and names it.
"""

import json
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timedelta

from workers.repository.clock import Clock, instant, stamp
from workers.repository.crypt import LEASE, Sealer
from workers.repository.errors import Conflict, Damaged, Fenced, Missing
from workers.repository.names import LEASES, lease_name
from workers.repository.store import CommitStore

OPEN, COMMITTED, REVOKED = "open", "committed", "revoked"
# Twice as long as a worker may reasonably be without its store; renewing costs one small write.
RENEW_AFTER = timedelta(minutes=10)


@dataclass(frozen=True)
class Lease:
    """A job's facts. `pins` are names of manifests whose blocks the job builds on; `manifests`
    the names of those it made."""

    job: str
    kind: str
    lineage: str
    state: str
    started_at: datetime
    changed_at: datetime
    pins: tuple[str, ...] = ()
    manifests: tuple[str, ...] = ()
    size: int = 0
    block_bytes: int = 0
    source: dict[str, str] = field(default_factory=dict)
    tag: str = ""

    @property
    def name(self) -> str:
        """Where it lies."""
        return lease_name(self.job)


class Leases:
    """Reads and changes leases; safe to be shared by threads and processes."""

    def __init__(self, commits: CommitStore, sealer: Sealer, clock: Clock) -> None:
        self._commits, self._sealer, self._clock = commits, sealer, clock

    def open(self, lease: Lease) -> Lease:
        """Write a new open lease. When the job has one already (a message that came twice), that one.

        Raises Fenced when the job is revoked.
        """
        try:
            tag = self._commits.create(lease.name, self._sealed(lease))
            return replace(lease, tag=tag)
        except Conflict:
            found = self.read(lease.job)
            if found.state == REVOKED:
                raise Fenced(f"Job {lease.job} was given up.") from None
            return found

    def read(self, job: str) -> Lease:
        """Raises Missing, Damaged."""
        name = lease_name(job)
        body, tag = self._commits.get(name)
        return replace(_decode(name, self._sealer.open(LEASE, name, body)), tag=tag)

    def jobs(self) -> list[str]:
        """Every job that has a lease."""
        return [name.removeprefix(LEASES) for name in self._commits.names()]

    def commit(self, lease: Lease, manifests: tuple[str, ...]) -> Lease:
        """The commit point. Raises Fenced when the lease was revoked or another process committed other manifests."""
        return self._change(lease, COMMITTED, manifests)

    def revoke(self, lease: Lease) -> Lease:
        """Give a job up: it can never commit from then on. Raises Conflict when it has just changed."""
        return self._write(lease, replace(lease, state=REVOKED, changed_at=self._clock()))

    def renew(self, lease: Lease) -> Lease:
        """Say that the job is alive, at most every RENEW_AFTER. Raises Fenced."""
        if self._clock() - lease.changed_at < RENEW_AFTER:
            return lease
        return self._change(lease, OPEN, ())

    def unpin(self, lease: Lease, kind: str) -> Lease:
        """Let go of what the job builds on, and note its kind anew. Raises Fenced when it changed meanwhile."""
        try:
            return self._write(lease, replace(lease, kind=kind, pins=(), changed_at=self._clock()))
        except (Conflict, Missing):
            raise Fenced(f"Job {lease.job} changed while it was started.") from None

    def forget(self, jobs: list[str]) -> None:
        """Delete leases of jobs of which nothing is left."""
        self._commits.remove([lease_name(job) for job in jobs])

    def _change(self, lease: Lease, state: str, manifests: tuple[str, ...]) -> Lease:
        for _ in range(8):  # another worker of the job may renew between our reading and writing
            if lease.state == COMMITTED == state and lease.manifests == manifests:
                return lease
            if lease.state != OPEN:
                raise Fenced(f"Job {lease.job} is {lease.state}.")
            try:
                return self._write(lease, replace(lease, state=state, manifests=manifests, changed_at=self._clock()))
            except Conflict:
                lease = self.read(lease.job)
            except Missing:
                raise Fenced(f"Job {lease.job} was given up and cleared away.") from None
        raise Conflict(f"The lease of job {lease.job} changes too often.")

    def _write(self, lease: Lease, new: Lease) -> Lease:
        return replace(new, tag=self._commits.replace(lease.name, self._sealed(new), lease.tag))

    def _sealed(self, lease: Lease) -> bytes:
        facts = asdict(lease) | {"started_at": stamp(lease.started_at), "changed_at": stamp(lease.changed_at)}
        del facts["tag"]
        return self._sealer.seal(LEASE, lease.name, json.dumps(facts, sort_keys=True).encode())


def _decode(name: str, payload: bytes) -> Lease:
    try:
        facts = json.loads(payload)
        lease = Lease(
            job=facts["job"],
            kind=facts["kind"],
            lineage=facts["lineage"],
            state=facts["state"],
            started_at=instant(facts["started_at"]),
            changed_at=instant(facts["changed_at"]),
            pins=tuple(facts["pins"]),
            manifests=tuple(facts["manifests"]),
            size=facts["size"],
            block_bytes=facts["block_bytes"],
            source=facts["source"],
        )
    except (KeyError, ValueError, TypeError):
        raise Damaged(name, "it is no well-formed lease") from None
    if lease.state not in (OPEN, COMMITTED, REVOKED):
        raise Damaged(name, "it is in an unknown state")
    return lease
