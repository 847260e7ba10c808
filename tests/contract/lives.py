"""What happens to each type in its journey: everything that its drivers can do, at least once."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from tests.contract.databases import make_aurora, make_documentdb, rig_of, shared_key
from tests.contract.databases import make_instance as make_instance_of_rds
from tests.contract.journeys import Journey
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
from tests.contract.test_volume_driver import make_volume
from tests.deploy.vaulting import subnet
from tests.sandbox import Sandbox
from workers.driver import CopyRequest, Destination, Scope


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
    one.restore(point, "in-place", "restore-3", host=resource)
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
    return {"instance": instance, "volume": volume, "dynamodb": table, "efs": files}[kind](cloud)


TYPES = (
    "instance", "volume", "rds", "aurora", "documentdb", "dynamodb", "efs",
    "fsx-lustre", "fsx-ontap", "fsx-windows", "fsx-openzfs",
)  # fmt: skip
