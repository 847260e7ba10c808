"""The driver of Redshift: provisioned clusters, and namespaces of Redshift Serverless."""

from collections.abc import Mapping, Sequence

from workers.aws import (
    redshift_backup,
    redshift_clusters,
    redshift_copy,
    redshift_delete,
    redshift_lookup,
    redshift_progress,
    redshift_restore,
    redshift_serverless,
)
from workers.aws.errors import translated
from workers.aws.keys import DefaultKeys
from workers.aws.redshift_backup import DEFAULT_KEY_ALIAS, Tools
from workers.aws.redshift_copying import Copying
from workers.aws.service_checks import Look
from workers.aws.service_driver import ServiceDriver
from workers.aws.session import Clients, Sessions
from workers.driver import (
    Account,
    BackupRequest,
    CopyRequest,
    Created,
    Deleted,
    Destination,
    Found,
    Operation,
    Part,
    Point,
    Presence,
    Progress,
    Resource,
    ResourcePage,
    RestoreStep,
    Scope,
    Started,
    StepStarted,
    Tagged,
)
from workers.pace import Pace

_SERVERLESS = "serverless:"  # how the pages of namespaces begin, which come after those of clusters
_SMALL = 20  # the smallest page of Redshift (MaxRecords, API reference)


class RedshiftDriver(ServiceDriver):
    """Implements workers.driver.Driver; safe to be shared by threads."""

    types: tuple[str, ...] = ("redshift",)
    looks = (
        Look(
            "redshift:DescribeClusters",
            "redshift",
            lambda redshift: redshift.describe_clusters(MaxRecords=_SMALL),
            "clusters are not found",
        ),
        Look(
            "redshift:DescribeClusterSnapshots",
            "redshift",
            lambda redshift: redshift.describe_cluster_snapshots(SnapshotType="manual", MaxRecords=_SMALL),
            "no backup of a cluster can be followed to its end",
        ),
        Look(
            "redshift-serverless:ListNamespaces",
            "redshift-serverless",
            lambda serverless: serverless.list_namespaces(maxResults=1),
            "neither clusters nor namespaces are found",
        ),
        Look(
            "redshift-serverless:ListSnapshots",
            "redshift-serverless",
            lambda serverless: serverless.list_snapshots(maxResults=1),
            "no backup of a namespace can be followed to its end",
        ),
    )

    def __init__(self, sessions: Sessions, pace: Pace | None = None) -> None:
        super().__init__(sessions, pace)
        self._tools = Tools(self._pace, DefaultKeys(DEFAULT_KEY_ALIAS))

    def _discover(self, clients: Clients, scope: Scope, page: str | None) -> ResourcePage:
        """Clusters first, then namespaces."""
        del scope
        if page is None or not page.startswith(_SERVERLESS):
            found, more = redshift_clusters.page(clients, page or "")
            after = _SERVERLESS if redshift_serverless.is_offered(clients) else None
            return ResourcePage(tuple(found), more or after)
        found, more = redshift_serverless.page(clients, page.removeprefix(_SERVERLESS))
        return ResourcePage(tuple(found), _SERVERLESS + more if more else None)

    def _backup(self, clients: Clients, resource: Resource, request: BackupRequest) -> Started:
        target = self._at(resource.account, request.options.get("copy_region") or resource.region)
        return redshift_backup.start_backup(self._tools, clients, target, resource, request)

    def plan_copy_problem(self, point: Point, destination: Destination) -> str:
        return redshift_copy.plan_copy_problem(point, destination)

    def start_copy(self, point: Point, destination: Destination, request: CopyRequest) -> Started:
        source = self._at(point.account, point.region)
        target = self._at(destination.account, destination.region)
        with translated("a copy"):
            return redshift_copy.start_copy(Copying(self._tools, source, target, destination, request, point))

    def _restore(
        self, clients: Clients, point: Point, step: RestoreStep, key: str, tags: Mapping[str, str]
    ) -> StepStarted:
        return redshift_restore.start_step(self._tools, clients, point, step, key, tags)

    def _undo(self, clients: Clients, created: Created) -> str:
        return redshift_restore.undo(clients, created)

    def _progress(self, clients: Clients, operations: Sequence[Operation]) -> dict[str, Progress]:
        return redshift_progress.progress(clients, operations, self._pace)

    def find(self, account: Account, region: str, key: str) -> list[Found]:
        with translated("a look-up"):
            return redshift_delete.find(self._at(account, region), key)

    def tagged(self, account: Account, region: str, installation: str) -> list[Tagged]:
        """Snapshots of clusters; what Serverless holds tells its tags one by one only."""
        with translated("a look for what is ours"):
            return redshift_lookup.tagged(self._tools, self._at(account, region), installation)

    def tagged_one_by_one(self, account: Account, region: str, installation: str) -> list[Tagged]:
        with translated("a look for what is ours"):
            return redshift_lookup.tagged_one_by_one(self._tools, self._at(account, region), installation)

    def present(self, account: Account, region: str, parts: Sequence[Part]) -> Presence:
        with translated("a look for recovery points"):
            return redshift_lookup.present(self._at(account, region), parts)

    def _delete(self, clients: Clients, points: list[Point]) -> list[Deleted]:
        owners = {
            part.external_id: self._at(point.resource.account, point.region)
            for point in points
            for part in point.parts
            if part.attributes.get("lent")
        }
        return redshift_delete.delete(clients, owners, points)
