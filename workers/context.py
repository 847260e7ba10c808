"""What a handler is given, and how catalog rows become the values that drivers take.

The builders read rows inside a session and return plain values, so that no connection is needed, or held, while a
driver is called.
"""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta

from tasks import catalog
from tasks.clock import Clock
from tasks.errors import Impossible
from tasks.lanes import Lane
from tasks.resources import TYPES
from tasks.secrets import KeyWrapper, unseal
from tasks.settings import Settings
from tasks.telemetry import Counters
from workers import driver, fence
from workers.progress import Meters
from workers.strain import Strain

# How long blocks are moved for one message: the lanes that move data allow six minutes, and the rest is for what was
# read last to be stored and the checkpoint to be written.
SLICE = timedelta(minutes=4, seconds=30)


@dataclass(frozen=True)
class Context:
    """The tools of one worker process. `owner` is how it signs its leases: HOST:PID:worker."""

    settings: Settings
    clock: Clock
    drivers: Mapping[str, driver.Driver]
    keys: KeyWrapper
    installation: str
    counters: Counters
    owner: str
    strain: Strain = field(default_factory=Strain)
    meters: Meters = field(default_factory=Meters)
    slice: timedelta = SLICE
    draining: threading.Event = field(default_factory=threading.Event)  # set: what can stop between two steps stops

    def driver_of(self, type_name: str) -> driver.Driver:
        """The driver of a resource type. Raises Impossible when this process has none."""
        if type_name not in self.drivers:
            raise Impossible(f"This worker has no driver for the type {type_name!r}.", code="no-driver")
        return self.drivers[type_name]

    def drivers_of(self, service: str) -> list[driver.Driver]:
        """The drivers of a service ('' for all), each once. Raises Impossible when this process has none."""
        names = [name for name, kind in TYPES.items() if service in ("", kind.service) and name in self.drivers]
        found = list({id(self.drivers[name]): self.drivers[name] for name in names}.values())
        if not found:
            raise Impossible(f"This worker has no driver for the service {service!r}.", code="no-driver")
        return found

    def lease(self, lane: Lane) -> timedelta:
        """How long a claim in this lane is good without renewal."""
        return self.settings.lease(lane)

    def proceed(self, job: catalog.Job) -> Callable[[], None]:
        """What a driver calls before it makes something for this job; it raises FenceLost for one taken over."""
        return lambda: fence.may_create(job, self.clock.timer(), self.lease(Lane(job.lane)))

    def account(self, row: catalog.Account) -> driver.Account:
        """An account as drivers enter it, its external id unsealed. Raises Invalid when it does not open."""
        return driver.Account(
            name=row.name,
            cloud=row.cloud,
            number=row.number,
            role_arn=row.role_arn,
            external_id=unseal(self.keys, row.external_id_sealed, f"account.external_id.{row.name}"),
            profile=row.profile,
            may_delete=row.may_delete,
            installation=self.installation,
            backup_vault=row.settings.get("backup_vault", ""),
            backup_role_arn=row.settings.get("backup_role_arn", ""),
            tenant_id=row.settings.get("tenant_id", ""),
            client_id=row.settings.get("client_id", ""),
            client_secret=unseal(
                self.keys, row.settings.get("client_secret_sealed", ""), f"account.client_secret.{row.name}"
            ),
            storage_secret=unseal(
                self.keys, row.settings.get("storage_secret_sealed", ""), f"account.storage_secret.{row.name}"
            ),
        )

    def resource(self, row: catalog.Resource) -> driver.Resource:
        """A resource as last discovered."""
        return driver.Resource(
            type=row.type,
            external_id=row.external_id,
            account=self.account(row.account),
            region=row.region,
            name=row.name,
            tags=row.tags,
            attributes=row.attributes,
            parent_id=row.parent_id,
        )

    def point(self, row: catalog.Point) -> driver.Point:
        """A recovery point with its parts; its resource is as captured when the point was taken."""
        resource = self.resource(row.resource)
        if row.attributes:
            tags = row.attributes.get("tags", resource.tags)
            resource = replace(resource, attributes=row.attributes, tags=tags)
        rows = catalog.Part.select().where(catalog.Part.point == row.id).order_by(catalog.Part.id)
        return driver.Point(
            account=self.account(row.account),
            region=row.region,
            resource=resource,
            parts=tuple(part(one) for one in rows),
            image_id=row.image_id,
        )

    def tags(self, job: catalog.Job, source: str) -> dict[str, str]:
        """The tags for everything that this job creates; `source` is the id of what it is made from."""
        tags = {driver.TAG_INSTALLATION: self.installation, driver.TAG_JOB: token(job), driver.TAG_SOURCE: source}
        if job.run is not None:
            tags[driver.TAG_RUN] = f"run-{job.run.id}"
            tags[driver.TAG_POLICY] = job.run.policy.name
        return tags


def part(row: catalog.Part) -> driver.Part:
    """One part of a recovery point."""
    return driver.Part(
        external_id=row.external_id,
        source_id=row.source_id,
        device=row.device,
        size_gib=row.size_gib,
        encrypted=bool(row.encrypted),
        kms_key_id=row.kms_key_id,
        attributes=row.attributes,
    )


def is_first(job: catalog.Job) -> bool:
    """Whether no attempt before this one can have called the cloud for this job: the fence counts every claim."""
    return job.fence == 1 and job.epoch == 0


def token(job: catalog.Job) -> str:
    """The job's token in the cloud: one wish, one epoch."""
    return f"{job.key}-{job.epoch}"
