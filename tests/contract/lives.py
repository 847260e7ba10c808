"""What happens to each type in its journey: everything that its drivers can do, at least once."""

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from tests.contract.databases import make_aurora, make_documentdb, rig_of, shared_key
from tests.contract.databases import make_instance as make_instance_of_rds
from tests.contract.journeys import Journey, as_duty
from tests.contract.rig import AWAY, HOME, PROD, TAGS, VAULT, Rig
from tests.contract.service_rig import ServiceRig
from tests.contract.test_database_drivers import groups
from tests.contract.test_dynamodb_driver import full_table
from tests.contract.test_dynamodb_driver import native as own_table
from tests.contract.test_dynamodb_driver import vaulted as kept_table
from tests.contract.test_efs_driver import drop as drop_files
from tests.contract.test_efs_driver import full as full_files
from tests.contract.test_efs_driver import make_files
from tests.contract.test_fsx_driver import machine, maker
from tests.contract.test_fsx_driver import native as own_system
from tests.contract.test_fsx_driver import vaulted as kept_system
from tests.contract.test_instance_driver import make_instance
from tests.contract.test_s3_driver import make_bucket
from tests.contract.test_volume_driver import make_volume
from tests.contract.warehouses import (
    CARRY,
    LEND,
    MELT,
    WarehouseRig,
    clusters,
    make_namespace,
    make_warehouse,
    namespaces,
)
from tests.deploy.vaulting import subnet
from tests.integration.test_sync import READS, lend
from tests.sandbox import Sandbox
from workers.aws.redshift_temporary import UnderWay
from workers.aws.s3 import S3Driver
from workers.aws.s3_buckets import S3Buckets
from workers.aws.s3_objects import Sizes
from workers.buckets import Pair
from workers.cooling import CoolsExports
from workers.driver import Account, CopyRequest, Destination, Scope, always


def instance(cloud: Sandbox) -> list[Journey]:
    one = Journey(Rig(cloud, "instance", make_instance))
    rig = one.rig
    resource = rig.resource()
    one.check()
    many = frozenset(f"vol-{number:017x}" for number in range(45))
    point = one.back_up(resource, "job-1")
    one.back_up(resource, "job-2", exclude=many | {str(resource.attributes["volumes"][-1]["id"])})
    image = one.back_up(resource, "job-3", mode="image")
    one.copy(point, rig.away(), "copy-1")
    one.copy(image, rig.away(), "copy-2")
    far = one.copy(point, Destination(rig.vault, AWAY), "copy-3")
    assert far is not None
    one.restore(point, "volume", "restore-1", host=resource, attach_to=resource.external_id, device="/dev/sdx",
                volumes=["/dev/sdf"])  # fmt: skip
    one.restore(point, "instance", "restore-2", address="auto")
    root = str(resource.attributes["root_device"])
    one.restore(point, "in-place", "restore-3", host=resource, volumes=[root], root="replace")
    one.restore(point, "in-place", "restore-4", host=rig.found(resource.external_id))
    one.undo()
    one.delete()
    return [one.over()]


def volume(cloud: Sandbox) -> list[Journey]:
    one = Journey(Rig(cloud, "volume", make_volume))
    machine = cloud.machine(PROD, HOME, data=1)
    disk = next(m["Ebs"]["VolumeId"] for m in machine["BlockDeviceMappings"] if m["DeviceName"] == "/dev/sdf")
    resource = one.rig.found(str(disk))
    one.check()
    point = one.back_up(resource, "job-1")
    one.copy(point, one.rig.away(), "copy-1")
    one.copy(point, Destination(one.rig.vault, HOME), "copy-2")
    pages = one.rig.driver.discover(Scope(one.rig.production, HOME, ("instance",)), None)
    host = next(found for found in pages.resources if found.external_id == machine["InstanceId"])
    attach = {"attach_to": host.external_id, "device": "/dev/sdx"}
    one.restore(point, "volume", "restore-1", host=host, **attach)
    one.restore(point, "in-place", "restore-2", host=host)
    one.undo()
    one.delete()
    return [one.over()]


def database(cloud: Sandbox, kind: str) -> list[Journey]:
    rig = rig_of(cloud, kind)
    one = Journey(rig)
    key = shared_key(rig, PROD, HOME)
    one.check()
    point = one.back_up(rig.found(_sealed(cloud, kind, key)), "job-1")
    other = one.back_up(rig.resource(), "job-2")
    one.copy(point, Destination(rig.production, AWAY, shared_key(rig, PROD, AWAY)), "copy-1")
    one.copy(other, rig.away(), "copy-2")
    one.copy(point, Destination(rig.vault, HOME, shared_key(rig, VAULT, HOME)), "copy-3")
    if kind == "rds":
        _export(one, point, key)
    word = "database" if kind == "rds" else "cluster"
    settings = {"id": "again", "deletion_protection": "yes"}
    one.restore(point, word, "restore-1", settings=settings)
    one.undo()
    one.delete()
    return [one.over()]


def _sealed(cloud: Sandbox, kind: str, key: str) -> str:
    """An encrypted database, with what takes a step of its own when it is restored."""
    more: dict[str, Any] = {"name": "sealed", "StorageEncrypted": True, "KmsKeyId": key}
    if kind == "rds":
        groups(cloud)
        return make_instance_of_rds(cloud, MaxAllocatedStorage=500, OptionGroupName="plain", **more)
    return make_aurora(cloud, **more) if kind == "aurora" else make_documentdb(cloud, **more)


def _export(one: Journey, point: Any, key: str) -> None:
    role, rig = f"arn:aws:iam::{PROD}:role/exports", one.rig
    rig.sandbox.role(role)
    rig.sandbox.client(PROD, HOME, "s3").create_bucket(Bucket="exports")
    asked = {"export_bucket": "exports", "export_role": role, "export_key": key}
    made = rig.driver.start_copy(point, Destination(rig.production, HOME), CopyRequest("export-1", TAGS, options=asked))
    rig.driver.progress(made.operations)
    assert isinstance(rig.driver, CoolsExports)
    assert rig.driver.cool_export(point, made.parts[0], "GLACIER_IR", lambda: False, always).moved
    one.looked_for(replace(point, parts=made.parts))
    one.points.append(replace(point, parts=made.parts))


def table(cloud: Sandbox) -> list[Journey]:
    own = Journey(own_table(cloud))
    resource = own.rig.found(full_table(cloud))
    own.check()
    point = own.back_up(resource, "job-1")
    own.restore(point, "table", "restore-1", settings={"name": "back"})
    own.undo()
    own.delete()
    own.over()
    cloud.reset()
    kept = Journey(kept_table(cloud))
    point = kept.back_up(kept.rig.found(full_table(cloud)), "job-1")
    _vaulted(kept, point)
    kept.restore(point, "table", "restore-1", settings={"name": "back"})
    kept.undo()
    kept.delete()
    return [own, kept.over()]


def files(cloud: Sandbox) -> list[Journey]:
    ways = {"create": "StartBackupJob", "read": "ListBackupJobs", "delete": "DeleteRecoveryPoint", "strange": "NO-JOB"}
    rig = ServiceRig(cloud, "efs", make_files, mode="vault", ways=ways, drop=drop_files)
    one = Journey(rig)
    resource = rig.found(full_files(rig))
    one.check()
    point = one.back_up(resource, "job-1")
    _vaulted(one, point)
    one.restore(point, "file-system", "restore-1", settings={})
    one.undo()
    one.delete()
    return [one.over()]


def system(cloud: Sandbox, kind: str) -> list[Journey]:
    made = []
    for make in (own_system, kept_system):
        cloud.reset()
        rig = make(cloud, kind)
        one = Journey(rig)
        key = rig.shared_key(PROD, HOME)
        resource = rig.found(maker(kind)(cloud, KmsKeyId=key, tags=[{"Key": "team", "Value": "a"}]))
        one.check()
        point = one.back_up(resource, "job-1")
        if rig.mode == "vault":
            _vaulted(one, point)
        else:
            one.copy(point, rig.away(), "copy-1")
        more: dict[str, Any] = {"machine": machine(cloud), "name": "again", "junction_path": "/again"}
        settings = more if kind == "fsx-ontap" else {"subnets": subnet(cloud)}
        one.restore(point, "volume" if kind == "fsx-ontap" else "file-system", "restore-1", settings=settings)
        one.undo()
        one.delete()
        made.append(one.over())
    return made


def warehouse(cloud: Sandbox) -> list[Journey]:
    """A cluster of one's own and a namespace of Redshift Serverless: two services, one type."""
    return [_cluster(cloud), _namespace(cloud)]


def _cluster(cloud: Sandbox) -> Journey:
    one = Journey(clusters(cloud))
    rig = one.rig
    assert isinstance(rig, ServiceRig)
    carried = {**CARRY, "copy_key": rig.shared_key(PROD, AWAY)}
    made = make_warehouse(cloud, "sealed", Encrypted=True, KmsKeyId=rig.shared_key(PROD, HOME))
    resource = rig.found(made)
    one.check()
    point = one.back_up(resource, "job-1", options=carried)
    one.copy(point, rig.away(), "copy-1", cluster_copy="yes")
    there = Destination(rig.vault, HOME, rig.shared_key(VAULT, HOME))
    lent = one.copy(point, there, "copy-2", **LEND)
    middle = one.copy(point, there, "copy-3", **MELT)
    assert lent is not None
    assert middle is not None
    one.copy(middle, there, "copy-4", **MELT)
    one.restore(point, "cluster", "restore-1", settings={"id": "again"})
    one.restore(lent, "cluster", "restore-2", settings={"id": "lent", "kms_key": there.kms_key})
    one.undo()
    one.delete()
    return one.over()


def _namespace(cloud: Sandbox) -> Journey:
    cloud.reset()
    one = Journey(namespaces(cloud))
    rig = one.rig
    assert isinstance(rig, WarehouseRig)
    resource = rig.found(make_namespace(cloud, kmsKeyId=rig.shared_key(PROD, HOME)))
    carried = {**CARRY, "copy_key": rig.shared_key(PROD, AWAY)}
    point = one.back_up(resource, "job-1", options=carried)
    one.copy(point, rig.away(), "copy-1", cluster_copy="yes")
    one.copy(point, Destination(rig.vault, HOME), "copy-2", **LEND)
    there = Destination(rig.vault, HOME, rig.shared_key(VAULT, HOME))
    middle = one.copy(point, there, "copy-3", **MELT)
    assert middle is not None
    with pytest.raises(UnderWay):
        one.copy(middle, there, "copy-4", **MELT)
    one.copy(middle, there, "copy-4", **MELT)
    _read_by_others_too(rig, str(point.parts[0].attributes["arn"]))
    one.restore(point, "namespace", "restore-1", settings={"id": "again"})
    make_namespace(cloud, "other")
    one.restore(point, "namespace", "restore-2", settings={"into": "other", "replace": "yes"})
    one.undo()
    one.delete()
    return one.over()


def _read_by_others_too(rig: WarehouseRig, arn: str) -> None:
    """Another account may restore the snapshot, by its owner's own wish."""
    policy = json.loads(rig.client().get_resource_policy(resourceArn=arn)["resourcePolicy"]["policy"])
    policy["Statement"][0]["Principal"]["AWS"].append("999999999999")
    rig.client().put_resource_policy(resourceArn=arn, policy=json.dumps(policy))


def bucket(cloud: Sandbox) -> list[Journey]:
    """Kept in step in another account, with versions and part by part; what vanished deleted there; restored."""
    one = Journey(Rig(cloud, "s3", make_bucket))
    rig, s3 = one.rig, cloud.client(PROD, HOME, "s3")
    assert isinstance(rig.driver, S3Driver)
    rig.driver.buckets = S3Buckets(rig.sessions, Sizes(whole=6 << 20, part=5 << 20))
    rig.make(cloud)
    make_bucket(cloud, "safe", AWAY, VAULT)
    for owner, name, region in ((PROD, "data", HOME), (VAULT, "safe", AWAY)):
        on = {"Status": "Enabled"}
        cloud.client(owner, region, "s3").put_bucket_versioning(Bucket=name, VersioningConfiguration=on)
    lend(cloud, PROD, "data", READS, rig.vault.role_arn)
    restorer = as_duty(rig.production, "restore")
    lend(cloud, VAULT, "safe", READS, restorer.role_arn, AWAY)
    for body in (b"x", b"y"):
        s3.put_object(Bucket="data", Key="small", Body=body, Tagging="team=a")
    s3.put_object(Bucket="data", Key="large", Body=b"z" * (7 << 20), Tagging="team=a")
    one.check()
    buckets, resource = rig.driver.buckets, rig.found("data")
    pair = buckets.prepare(rig.production, rig.vault, resource, {"bucket": "safe", "versions": "yes"})
    _in_step(buckets, rig.vault, pair)
    later = buckets.now(rig.vault, pair) + timedelta(seconds=5)
    place = {"bucket": "safe", "prefix": "", "region": AWAY, "owner": VAULT, "versioned": True}
    like = {name: resource.attributes[name] for name in ("versioning", "encryption")}
    wish = {"bucket": "back", "region": HOME, "from": {**place, "as_of": later.isoformat()}, "like": like}
    for _ in range(2):  # the worker died between the call and its record
        back = buckets.prepare_restore(restorer, wish, TAGS)
    _in_step(buckets, restorer, back)
    assert s3.get_object(Bucket="back", Key="small")["Body"].read() == b"y"
    assert s3.head_object(Bucket="back", Key="large")["ContentLength"] == 7 << 20
    buckets.delete(as_duty(rig.vault, "cleanup"), pair, ["small"])
    return [one.over()]


def _in_step(buckets: S3Buckets, writer: Account, pair: Pair) -> None:
    """Every page copied, also what goes part by part."""
    for page in buckets.pages(writer, pair, "", ""):
        assert buckets.copy(writer, pair, page, 4).failed == 0
        for todo in buckets.large(pair, page):
            assert buckets.copy_large(writer, pair, todo, None, lambda _: None, lambda: False, 4)


def _vaulted(one: Journey, point: Any) -> None:
    rig = one.rig
    assert isinstance(rig, ServiceRig)
    one.copy(point, rig.away(), "copy-1")
    one.copy(point, Destination(rig.vault, AWAY, rig.shared_key(VAULT, AWAY)), "copy-2")


def live(cloud: Sandbox, kind: str) -> Sequence[Journey]:
    """The journeys of a type."""
    if kind in ("rds", "aurora", "documentdb"):
        return database(cloud, kind)
    if kind.startswith("fsx-"):
        return system(cloud, kind)
    lives = {
        "instance": instance,
        "volume": volume,
        "dynamodb": table,
        "efs": files,
        "redshift": warehouse,
        "s3": bucket,
    }
    return lives[kind](cloud)


TYPES = (
    "instance", "volume", "rds", "aurora", "documentdb", "dynamodb", "efs",
    "fsx-lustre", "fsx-ontap", "fsx-windows", "fsx-openzfs", "redshift", "s3",
)  # fmt: skip
