"""Redshift clusters and Serverless namespaces of the emulated AWS, and a rig that speaks of them."""

from dataclasses import dataclass, replace
from typing import Any

from tests.contract.rig import AWAY, HOME, PROD, TAGS
from tests.contract.service_rig import ServiceRig
from tests.sandbox import Sandbox
from workers.driver import Account, CopyRequest, Destination, Point, Started

CLUSTER_WAYS = {
    "create": "CreateClusterSnapshot", "read": "DescribeClusterSnapshots", "delete": "DeleteClusterSnapshot",
    "strange": "snapfleet-none",
}  # fmt: skip
NAMESPACE_WAYS = {
    "create": "CreateSnapshot", "read": "ListSnapshots", "delete": "DeleteSnapshot", "strange": "snapfleet-none"
}  # fmt: skip

LEND, MELT = {"mode": "share-only"}, {"mode": "materialise"}
CARRY = {"copy_region": AWAY, "copy_key": ""}


@dataclass
class WarehouseRig(ServiceRig):
    """Content is read and written as rows."""

    tokened: bool = False
    serverless: bool = False

    def rows(self, name: str, owner: Account | None = None, region: str = HOME) -> dict[str, str]:
        return self.sandbox.rows((owner or self.production).number, region, name)

    def client(self, owner: Account | None = None, region: str = HOME) -> Any:
        """The owner's root, past the driver."""
        service = "redshift-serverless" if self.serverless else "redshift"
        return self.sandbox.client((owner or self.production).number, region, service)


def make_warehouse(cloud: Sandbox, name: str = "", **more: Any) -> str:
    """A provisioned cluster with content; its namespace's id."""
    redshift = cloud.client(PROD, HOME, "redshift")
    name = name or f"sales-{len(redshift.describe_clusters()['Clusters'])}"
    asked: dict[str, Any] = {
        "ClusterIdentifier": name,
        "NodeType": "ra3.large",
        "NumberOfNodes": 2,
        "MasterUsername": "admin1",
        "MasterUserPassword": "Not-a-secret-1",
        "Tags": [{"Key": "team", "Value": "a"}],
    }
    made = redshift.create_cluster(**{**asked, **more})["Cluster"]
    cloud.write_rows(PROD, HOME, name, "orders", f"rows of {name}")
    return str(made["ClusterNamespaceArn"]).rpartition(":")[2]


def make_namespace(cloud: Sandbox, name: str = "", group: Any = None, **more: Any) -> str:
    """A namespace with a workgroup and content; its id. `group` are the workgroup's settings, False for none."""
    serverless = cloud.client(PROD, HOME, "redshift-serverless")
    name = name or f"lake-{len(serverless.list_namespaces()['namespaces'])}"
    tags = more.pop("tags", [{"key": "team", "value": "a"}])
    made = serverless.create_namespace(namespaceName=name, adminUsername="admin1", tags=tags, **more)["namespace"]
    if group is not False:
        serverless.create_workgroup(workgroupName=f"{name}-group", namespaceName=name, **(group or {}))
    cloud.write_rows(PROD, HOME, name, "orders", f"rows of {name}")
    return str(made["namespaceId"])


def drop(cloud: Sandbox, name: str) -> None:
    cloud.destroy(PROD, HOME, name)


def clusters(cloud: Sandbox) -> WarehouseRig:
    return WarehouseRig(cloud, "redshift", make_warehouse, ways=CLUSTER_WAYS, drop=drop)


def namespaces(cloud: Sandbox) -> WarehouseRig:
    return WarehouseRig(cloud, "redshift", make_namespace, ways=NAMESPACE_WAYS, drop=drop, serverless=True)


def copied(rig: WarehouseRig, point: Point, to: Destination, key: str = "copy-1", **options: str) -> Point:
    """A finished copy, as a point of its own."""
    request = CopyRequest(key, TAGS, options=options)
    started: Started = rig.finished(rig.driver.start_copy(point, to, request))
    return replace(point, account=to.account, region=to.region, parts=started.parts)
