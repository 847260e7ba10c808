"""Databases of the emulated AWS, and a rig that speaks of them by type."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from tests.contract.rig import HOME, PROD, TAGS
from tests.contract.service_rig import ServiceRig
from tests.deploy.estate import key
from tests.sandbox import Sandbox
from workers.driver import Account, Point, RestoreStep

INSTANCE_WAYS = {
    "create": "CreateDBSnapshot", "read": "DescribeDBSnapshots", "delete": "DeleteDBSnapshot",
    "copy": "CopyDBSnapshot", "share": "ModifyDBSnapshotAttribute", "strange": "snapfleet-none",
}  # fmt: skip
CLUSTER_WAYS = {
    "create": "CreateDBClusterSnapshot", "read": "DescribeDBClusterSnapshots", "delete": "DeleteDBClusterSnapshot",
    "copy": "CopyDBClusterSnapshot", "share": "ModifyDBClusterSnapshotAttribute", "strange": "snapfleet-none",
}  # fmt: skip


@dataclass
class DatabaseRig(ServiceRig):
    """`kind` is the type's engine family; content is read and written as rows."""

    tokened: bool = False

    def rows(self, name: str, owner: Account | None = None, region: str = HOME) -> dict[str, str]:
        return self.sandbox.rows((owner or self.production).number, region, name)

    @property
    def clustered(self) -> bool:
        return self.type != "rds"

    def client(self, owner: Account | None = None, region: str = HOME) -> Any:
        """The owner's root, past the driver."""
        service = "docdb" if self.type == "documentdb" else "rds"
        return self.sandbox.client((owner or self.production).number, region, service)

    def snapshot(self, name: str, owner: Account | None = None, region: str = HOME) -> dict[str, Any]:
        client = self.sandbox.client((owner or self.production).number, region, "rds")
        if self.clustered:
            answer = client.describe_db_cluster_snapshots(DBClusterSnapshotIdentifier=name)
            return dict(answer["DBClusterSnapshots"][0])
        return dict(client.describe_db_snapshots(DBSnapshotIdentifier=name)["DBSnapshots"][0])

    def database(self, name: str, owner: Account | None = None, region: str = HOME) -> dict[str, Any]:
        """A restored one, as AWS describes it."""
        client = self.sandbox.client((owner or self.production).number, region, "rds")
        if self.clustered:
            return dict(client.describe_db_clusters(DBClusterIdentifier=name)["DBClusters"][0])
        return dict(client.describe_db_instances(DBInstanceIdentifier=name)["DBInstances"][0])

    def restored(self, point: Point, name: str, **params: Any) -> dict[str, Any]:
        """A new database from a point, by the first step of a plan."""
        kind = "restore-cluster" if self.clustered else "restore-database"
        asked = {"backup_id": point.parts[0].external_id, "id": name, "tags": {"team": "a"}, **params}
        if self.clustered:
            asked.setdefault("engine", point.resource.attributes["engine"])
        step = RestoreStep(kind, asked)
        started = self.driver.start_restore(point, step, "restore-1", TAGS)
        self.followed(started)
        return self.database(name, point.account, point.region)


def make_instance(cloud: Sandbox, name: str = "", **more: Any) -> str:
    rds = cloud.client(PROD, HOME, "rds")
    name = name or f"orders-{len(rds.describe_db_instances()['DBInstances'])}"
    asked: dict[str, Any] = {
        "DBInstanceIdentifier": name,
        "DBInstanceClass": "db.t3.micro",
        "Engine": "postgres",
        "EngineVersion": "16.3",
        "AllocatedStorage": 20,
        "MasterUsername": "admin1",
        "MasterUserPassword": "not-a-secret",
        "Tags": [{"Key": "team", "Value": "a"}],
    }
    made = rds.create_db_instance(**{**asked, **more})["DBInstance"]
    cloud.write_rows(PROD, HOME, name, "orders", f"rows of {name}")
    return str(made["DbiResourceId"])


def make_cluster(cloud: Sandbox, engine: str, members: int = 1, name: str = "", **more: Any) -> str:
    service = "docdb" if engine == "docdb" else "rds"
    client = cloud.client(PROD, HOME, service)
    name = name or f"orders-{len(client.describe_db_clusters()['DBClusters'])}"
    asked: dict[str, Any] = {
        "DBClusterIdentifier": name,
        "Engine": engine,
        "EngineVersion": "5.0.0",
        "MasterUsername": "admin1",
        "MasterUserPassword": "not-a-secret",
        "Tags": [{"Key": "team", "Value": "a"}],
    }
    made = client.create_db_cluster(**{**asked, **more})["DBCluster"]
    for number in range(members):
        client.create_db_instance(
            DBInstanceIdentifier=f"{name}-{number}",
            DBInstanceClass="db.r6g.large",
            Engine=engine,
            DBClusterIdentifier=name,
            PromotionTier=number,
        )
    cloud.write_rows(PROD, HOME, name, "orders", f"rows of {name}")
    return str(made["DbClusterResourceId"])


def make_aurora(cloud: Sandbox, **more: Any) -> str:
    return make_cluster(cloud, "aurora-postgresql", **more)


def make_documentdb(cloud: Sandbox, **more: Any) -> str:
    return make_cluster(cloud, "docdb", **more)


def drop(cloud: Sandbox, name: str) -> None:
    cloud.destroy(PROD, HOME, name)


def rig_of(cloud: Sandbox, kind: str) -> DatabaseRig:
    makers: Mapping[str, Callable[[Sandbox], str]] = {
        "rds": make_instance,
        "aurora": make_aurora,
        "documentdb": make_documentdb,
    }
    ways = INSTANCE_WAYS if kind == "rds" else CLUSTER_WAYS
    return DatabaseRig(cloud, kind, makers[kind], ways=ways, drop=drop)


def encrypted(rig: DatabaseRig, key_id: str | None = None) -> Point:
    """A point of an encrypted database; under the account's default key unless one is given."""
    more: dict[str, Any] = {"StorageEncrypted": True, **({"KmsKeyId": key_id} if key_id else {})}
    makers = {"rds": make_instance, "aurora": make_aurora, "documentdb": make_documentdb}
    resource = rig.found(makers[rig.type](rig.sandbox, name="sealed", **more))
    return rig.point(resource, rig.finished(rig.backup(resource, "job-sealed")))


def shared_key(rig: DatabaseRig, number: str, region: str) -> str:
    """A key of an account that production and the vault may use."""
    others = {rig.production.number, rig.vault.number} - {number}
    return key(rig.sandbox, number, region, *others)


def copy_of(point: Point, account: Account, region: str, parts: Any) -> Point:
    return replace(point, account=account, region=region, parts=parts)
