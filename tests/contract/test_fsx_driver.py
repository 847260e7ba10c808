"""The contract, kept by the four kinds of FSx in both ways; and what only they have."""

from collections.abc import Callable
from typing import Any

import pytest

from tasks import errors
from tasks.states import OperationState
from tests.contract.rig import AWAY, HOME, PROD, TAGS, VAULT
from tests.contract.service_rig import ServiceRig
from tests.contract.service_suite import ServiceContract, VaultContract
from tests.deploy.test_fsx import CONFIGURATIONS, DIRECTORY
from tests.deploy.vaulting import subnet
from tests.sandbox import Sandbox
from workers.aws.fsx_describe import describe
from workers.aws.keys import DefaultKeys
from workers.driver import (
    TAG_INSTALLATION,
    TAG_JOB,
    CopyRequest,
    Created,
    Destination,
    FindsTagged,
    Point,
    Resource,
    RestoreStep,
)

WORDS = {"fsx-lustre": "LUSTRE", "fsx-windows": "WINDOWS", "fsx-openzfs": "OPENZFS"}
EVERY = [*WORDS, "fsx-ontap"]
DIRECTORIES = [f"{account}/{region}/{DIRECTORY}" for account in (PROD, VAULT) for region in (HOME, AWAY)]


def make_system(cloud: Sandbox, word: str, account: str = PROD, region: str = HOME, **more: Any) -> str:
    """A file system with two files."""
    cloud.configure(directories=DIRECTORIES)
    asked = {"FileSystemType": word, "StorageCapacity": 1200, "SubnetIds": [subnet(cloud, account, region)]}
    asked |= {**CONFIGURATIONS[word], **more}
    made = str(cloud.client(account, region, "fsx").create_file_system(**asked)["FileSystem"]["FileSystemId"])
    for name in ("share/a.txt", "b.txt"):
        cloud.write_file(account, region, made, name, f"{name} of {word}".encode())
    return made


def machine(cloud: Sandbox, account: str = PROD, region: str = HOME, **more: Any) -> str:
    """A storage virtual machine of a new ONTAP file system."""
    system = make_system(cloud, "ONTAP", account, region, **more)
    fsx = cloud.client(account, region, "fsx")
    made = fsx.create_storage_virtual_machine(FileSystemId=system, Name="svm")
    return str(made["StorageVirtualMachine"]["StorageVirtualMachineId"])


def make_volume(cloud: Sandbox, tags: list[dict[str, str]] | None = None, **more: Any) -> str:
    """An ONTAP volume with a file."""
    settings = {
        "StorageVirtualMachineId": machine(cloud, **more),
        "JunctionPath": "/v",
        "SizeInMegabytes": 1024,
        "SecurityStyle": "MIXED",
        "StorageEfficiencyEnabled": True,
        "TieringPolicy": {"Name": "AUTO", "CoolingPeriod": 31},
    }
    asked = {"VolumeType": "ONTAP", "Name": "vol1", "OntapConfiguration": settings, **({"Tags": tags} if tags else {})}
    made = str(cloud.client(PROD, HOME, "fsx").create_volume(**asked)["Volume"]["VolumeId"])
    cloud.write_file(PROD, HOME, made, "c.txt", b"on a volume")
    return made


def maker(kind: str) -> Callable[..., str]:
    if kind == "fsx-ontap":
        return make_volume
    return lambda cloud, **more: make_system(
        cloud, WORDS[kind], **{("Tags" if key == "tags" else key): value for key, value in more.items()}
    )


def drop(cloud: Sandbox, name: str) -> None:
    fsx = cloud.client(PROD, HOME, "fsx")
    if name.startswith("fsvol-"):
        fsx.delete_volume(VolumeId=name)
    else:
        fsx.delete_file_system(FileSystemId=name)


def native(cloud: Sandbox, kind: str) -> ServiceRig:
    strange = "backup-00000000000000000"
    ways = {"create": "CreateBackup", "read": "DescribeBackups", "delete": "DeleteBackup", "strange": strange}
    return ServiceRig(cloud, kind, maker(kind), ways=ways, drop=drop)


def vaulted(cloud: Sandbox, kind: str) -> ServiceRig:
    ways = {
        "create": "StartBackupJob", "read": "ListBackupJobs", "delete": "DeleteRecoveryPoint", "strange": "NO-JOB"
    }  # fmt: skip
    rig = ServiceRig(cloud, kind, maker(kind), mode="vault", ways=ways, drop=drop)
    key = rig.shared_key(PROD, HOME)
    rig.make = lambda cloud: maker(kind)(cloud, KmsKeyId=key)
    return rig


class TestOpenZfs(ServiceContract):
    """Feature 24: FSx's own backups of a file system."""

    @pytest.fixture
    def rig(self, cloud: Sandbox) -> ServiceRig:
        return native(cloud, "fsx-openzfs")


class TestOntap(ServiceContract):
    """Feature 22: FSx's own backups of a volume."""

    @pytest.fixture
    def rig(self, cloud: Sandbox) -> ServiceRig:
        return native(cloud, "fsx-ontap")


class TestWindows(ServiceContract):
    """Feature 23: FSx's own backups of a Windows file system, joined to its directory."""

    @pytest.fixture
    def rig(self, cloud: Sandbox) -> ServiceRig:
        return native(cloud, "fsx-windows")


class TestLustre(ServiceContract):
    """Feature 21: FSx's own backups of a persistent Lustre file system."""

    @pytest.fixture
    def rig(self, cloud: Sandbox) -> ServiceRig:
        return native(cloud, "fsx-lustre")


class TestVault(VaultContract):
    """Features 21, 42, 46: FSx through AWS Backup, under customer-managed keys."""

    @pytest.fixture
    def rig(self, cloud: Sandbox) -> ServiceRig:
        return vaulted(cloud, "fsx-lustre")


def captured(rig: ServiceRig, name: str) -> dict[str, Any]:
    """All that a backup captures, without what names this one."""
    one = Resource(rig.type, name, rig.production, HOME)
    found, warnings = describe(rig.sessions.at(rig.production, HOME), one, DefaultKeys("alias/aws/fsx"))
    assert warnings == []
    users = {k: v for k, v in found.tags.items() if not k.startswith("snapfleet:")}
    return {**{k: v for k, v in found.attributes.items() if k not in ("arn", "data_repository")}, "tags": users}


def wish(rig: ServiceRig, point: Point, **more: Any) -> dict[str, Any]:
    """The params of a restore that leaves everything as it was."""
    old = point.resource.attributes
    params = {"backup_id": point.parts[0].external_id, "tags": {"team": "a"}, **more}
    if rig.type == "fsx-ontap":
        return {"machine": old["machine"], "name": old["volume_name"], "junction_path": old["junction_path"], **params}
    names = {"subnets": "subnet_ids", "security_groups": "security_group_ids", "kms_key": "kms_key_id"}
    names |= {"directory": "directory", "storage_type": "storage_type", "throughput": "throughput"}
    return {**{ours: old[theirs] for ours, theirs in names.items() if old.get(theirs)}, **params}


def kind_of(rig: ServiceRig) -> str:
    return "volume" if rig.type == "fsx-ontap" else "file-system"


@pytest.mark.parametrize("kind", EVERY)
@pytest.mark.parametrize("mode", ["snapshots", "vault"])
def test_everything_captured_is_on_what_is_restored(cloud: Sandbox, kind: str, mode: str) -> None:
    """Features 21, 22, 23, 24: content, configuration, network, directory and tags come back."""
    rig = native(cloud, kind) if mode == "snapshots" else vaulted(cloud, kind)
    key = rig.shared_key(PROD, HOME)
    name = maker(kind)(cloud, KmsKeyId=key, tags=[{"Key": "team", "Value": "a"}])
    resource = rig.found(name)
    point = rig.point(resource, rig.finished(rig.backup(resource)))
    before, files = captured(rig, name), cloud.files(PROD, HOME, name)
    drop(cloud, name)
    step = f"restore-{kind_of(rig)}"
    for _ in range(2):  # the same step twice makes one
        made = rig.step(point, step, **wish(rig, point))[f"{kind_of(rig).replace('-', '_')}_id"]
    assert captured(rig, made) == before
    assert kind == "fsx-ontap" or before["security_group_ids"]
    assert cloud.files(PROD, HOME, made) == files
    assert len(rig.driver.find(rig.production, HOME, "job-1")) == 1


@pytest.mark.parametrize("kind", WORDS)
def test_a_native_copy_is_made_by_its_destination_and_restored_there(cloud: Sandbox, kind: str) -> None:
    """Features 21, 23, 24, 42: to a second region without AWS Backup."""
    rig = native(cloud, kind)
    point = rig.taken()
    name = point.resource.external_id
    files = cloud.files(PROD, HOME, name)
    there = rig.copied(point, rig.away())
    again = rig.driver.start_copy(point, rig.away(), CopyRequest("copy-1", TAGS))
    assert (again.adopted, [part.external_id for part in again.parts]) == (True, [there.parts[0].external_id])
    sent = rig.sandbox.calls("CopyBackup")
    assert [(one["region"], one["parameters"]["SourceRegion"]) for one in sent] == [(AWAY, HOME)]
    assert len(sent[0]["parameters"]["ClientRequestToken"]) <= 63
    assert "KmsKeyId" not in sent[0]["parameters"]
    assert {tag["Key"] for tag in sent[0]["parameters"]["Tags"]} >= {*TAGS, "snapfleet:job"}
    assert [one.outcome for one in rig.driver.delete([point])] == ["deleted"]
    drop(cloud, name)
    params = wish(rig, there, subnets=[subnet(cloud, PROD, AWAY)], security_groups=[], kms_key="")
    made = rig.step(there, "restore-file-system", **params)["file_system_id"]
    assert cloud.files(PROD, AWAY, made) == files
    assert [one.outcome for one in rig.driver.delete([there])] == ["deleted"]


@pytest.mark.parametrize("kind", EVERY)
def test_a_copy_in_another_account_is_restored_when_the_original_is_gone(cloud: Sandbox, kind: str) -> None:
    """Features 42, 46: through vaults, under customer-managed keys."""
    rig = vaulted(cloud, kind)
    point = rig.taken()
    name = point.resource.external_id
    files = cloud.files(PROD, HOME, name)
    there = rig.copied(point, Destination(rig.vault, AWAY, rig.shared_key(VAULT, AWAY)))
    assert there.parts[0].attributes.get("default_key") is None
    rig.driver.delete([point])
    drop(cloud, name)
    more: dict[str, Any] = {"subnets": [subnet(cloud, VAULT, AWAY)], "security_groups": [], "kms_key": ""}
    if kind == "fsx-ontap":
        more = {"machine": machine(cloud, VAULT, AWAY)}
    made = rig.step(there, f"restore-{kind_of(rig)}", **wish(rig, there, **more))
    assert cloud.files(VAULT, AWAY, made[f"{kind_of(rig).replace('-', '_')}_id"]) == files
    assert [one.outcome for one in rig.driver.delete([there])] == ["deleted"]


def test_a_create_carries_token_and_tags_of_both(cloud: Sandbox) -> None:
    rig = native(cloud, "fsx-openzfs")
    name = make_system(cloud, "OPENZFS", Tags=[{"Key": "team", "Value": "a"}])
    rig.backup(rig.found(name))
    sent = rig.parameters("CreateBackup")
    tags = {tag["Key"]: tag["Value"] for tag in sent["Tags"]}
    assert (sent["FileSystemId"], tags["team"], tags["snapfleet:job"]) == (name, "a", "job-1")
    assert 1 <= len(sent["ClientRequestToken"]) <= 63
    assert "VolumeId" not in sent


def test_scratch_and_linked_lustre_are_refused_before_any_call(cloud: Sandbox) -> None:
    """Features 21, 45."""
    rig = native(cloud, "fsx-lustre")
    scratch = make_system(cloud, "LUSTRE", LustreConfiguration={"DeploymentType": "SCRATCH_2"})
    linked = {"DeploymentType": "PERSISTENT_1", "ImportPath": "s3://b"}
    for name in (scratch, make_system(cloud, "LUSTRE", LustreConfiguration=linked)):
        with pytest.raises(errors.Impossible):
            rig.backup(rig.found(name))
    assert rig.sandbox.count("CreateBackup") == 0


def test_what_fsx_does_not_copy_is_refused_before_any_call(cloud: Sandbox) -> None:
    """Features 42, 45: other accounts, ONTAP volumes and Intelligent-Tiering."""
    rig = native(cloud, "fsx-openzfs")
    point = rig.taken()
    assert "AWS Backup" in rig.driver.plan_copy_problem(point, Destination(rig.vault, HOME))
    tiered = rig.found(make_system(cloud, "OPENZFS", StorageType="INTELLIGENT_TIERING"))
    point = rig.point(tiered, rig.finished(rig.backup(tiered, "job-2")))
    assert "Intelligent-Tiering" in rig.driver.plan_copy_problem(point, rig.away())
    ontap = native(cloud, "fsx-ontap")
    assert "ONTAP" in ontap.driver.plan_copy_problem(ontap.taken("job-3"), ontap.away())
    with pytest.raises(errors.Impossible):
        rig.driver.start_copy(point, rig.away(), CopyRequest("copy-1", TAGS))
    assert rig.sandbox.count("CopyBackup") == 0


def test_under_the_default_key_nothing_goes_to_another_account(cloud: Sandbox) -> None:
    """Feature 46: seen at the backup, refused before the copy."""
    rig = vaulted(cloud, "fsx-openzfs")
    resource = rig.found(make_system(cloud, "OPENZFS"))
    point = rig.point(resource, rig.finished(rig.backup(resource)))
    assert point.parts[0].attributes["default_key"] is True
    assert "customer-managed" in rig.driver.plan_copy_problem(point, Destination(rig.vault, AWAY))
    with pytest.raises(errors.Impossible):
        rig.driver.start_copy(point, Destination(rig.vault, AWAY), CopyRequest("copy-1", TAGS))
    assert rig.driver.plan_copy_problem(point, rig.away()) == ""


def test_five_copies_at_once_and_the_sixth_waits_without_an_attempt(cloud: Sandbox) -> None:
    rig = native(cloud, "fsx-openzfs")
    points = [rig.taken(f"job-{n}") for n in range(6)]
    cloud.configure(backup_copy_seconds=100.0)
    for n, point in enumerate(points[:5]):
        rig.driver.start_copy(point, rig.away(), CopyRequest(f"copy-{n}", TAGS))
    with pytest.raises(errors.QuotaReached) as caught:
        rig.driver.start_copy(points[5], rig.away(), CopyRequest("copy-5", TAGS))
    assert caught.value.retry is errors.Retry.FREE
    kept = rig.driver.delete([points[0]])[0]
    assert (kept.outcome, type(kept.error)) == ("kept", errors.InUse)


def test_a_windows_restore_without_its_directory_says_what_it_needs(cloud: Sandbox) -> None:
    """Feature 23."""
    rig = native(cloud, "fsx-windows")
    point = rig.taken()
    assert point.resource.attributes["directory"] == DIRECTORY
    params = {**wish(rig, point), "directory": ""}
    with pytest.raises(errors.Invalid, match="directory"):
        rig.driver.start_restore(point, RestoreStep("restore-file-system", params), "restore-1", TAGS)
    params["directory"] = "d-0000000000"
    with pytest.raises(errors.Invalid, match="d-0000000000"):
        rig.driver.start_restore(point, RestoreStep("restore-file-system", params), "restore-1", TAGS)


@pytest.mark.parametrize("kind", ["fsx-windows", "fsx-ontap"])
def test_an_undo_takes_away_what_a_restore_made_and_nothing_else(cloud: Sandbox, kind: str) -> None:
    rig = native(cloud, kind)
    point = rig.taken()
    step = RestoreStep(f"restore-{kind_of(rig)}", wish(rig, point))
    started = rig.driver.start_restore(point, step, "restore-1", TAGS)
    rig.followed(started)
    outcomes = [rig.undone(rig.production, *started.created)[0].outcome for _ in range(2)]
    assert outcomes == ["deleted", "already-gone"]
    kept = rig.undone(rig.production, Created(kind_of(rig), point.resource.external_id))
    assert [(one.outcome, one.error and one.error.code) for one in kept] == [("kept", "not-ours")]


def test_one_unknown_backup_among_many_spoils_no_answer(cloud: Sandbox) -> None:
    """DescribeBackups fails as a whole for one unknown id."""
    rig = native(cloud, "fsx-openzfs")
    resource = rig.resource()
    operations = [rig.backup(resource, f"job-{n}").operations[0] for n in range(7)]
    cloud.client(PROD, HOME, "fsx").delete_backup(BackupId=operations[3].external_id)
    rig.clock.advance(rig.pace.grace)
    states = [one.state for one in rig.driver.progress(operations)]
    assert states == [OperationState.GONE if n == 3 else OperationState.DONE for n in range(7)]


def test_a_failed_backup_is_tried_again_and_one_over_its_key_is_not(cloud: Sandbox) -> None:
    rig = native(cloud, "fsx-openzfs")
    resource = rig.resource()
    for message, retry in (("Internal trouble", errors.Retry.ATTEMPT), ("KMS key is disabled", errors.Retry.NEVER)):
        cloud.fault("snapshot_error", operation="CreateBackup", count=1, message=message)
        error = rig.driver.progress(rig.backup(resource, f"job-{message}").operations)[0].error
        assert error is not None
        assert (error.retry, message in error.text) == (retry, True)


def test_discovery_walks_systems_and_volumes(cloud: Sandbox) -> None:
    rig = native(cloud, "fsx-ontap")
    volumes = {make_volume(cloud) for _ in range(2)}
    other = make_system(cloud, "OPENZFS")
    assert {rig.found(name).parent_id[:3] for name in volumes} == {"fs-"}
    with pytest.raises(LookupError):
        rig.found(other)


def test_a_restored_file_system_is_asked_for_with_all_that_aws_would_else_choose_itself(cloud: Sandbox) -> None:
    """The wire: token, tags, network, key and configuration in the creating call; capacity is the backup's own."""
    rig = native(cloud, "fsx-windows")
    key = rig.shared_key(PROD, HOME)
    resource = rig.found(make_system(cloud, "WINDOWS", KmsKeyId=key, Tags=[{"Key": "team", "Value": "a"}]))
    point = rig.point(resource, rig.finished(rig.backup(resource)))
    rig.step(point, "restore-file-system", **wish(rig, point))
    sent = rig.parameters("CreateFileSystemFromBackup")
    old = point.resource.attributes
    assert sent["BackupId"] == point.parts[0].external_id
    assert (sent["SubnetIds"], sent["SecurityGroupIds"]) == (old["subnet_ids"], old["security_group_ids"])
    assert (sent["KmsKeyId"], sent["StorageType"]) == (key, "SSD")
    assert "StorageCapacity" not in sent
    windows = sent["WindowsConfiguration"]
    assert (windows["ActiveDirectoryId"], windows["ThroughputCapacity"]) == (DIRECTORY, 32)
    assert "PreferredSubnetId" not in windows
    assert "Aliases" not in windows
    assert 1 <= len(sent["ClientRequestToken"]) <= 63
    tags = {tag["Key"]: tag["Value"] for tag in sent["Tags"]}
    assert tags.items() >= {**TAGS, "team": "a", "snapfleet:job": "restore-1"}.items()


def test_a_restored_volume_and_a_deletion_go_out_under_tokens(cloud: Sandbox) -> None:
    rig = native(cloud, "fsx-ontap")
    point = rig.taken()
    rig.step(point, "restore-volume", **wish(rig, point, name="vol2", junction_path="/w"))
    sent = rig.parameters("CreateVolumeFromBackup")
    ontap = sent["OntapConfiguration"]
    assert (sent["Name"], ontap["JunctionPath"], ontap["SecurityStyle"]) == ("vol2", "/w", "MIXED")
    assert ontap["StorageVirtualMachineId"] == point.resource.attributes["machine"]
    assert 1 <= len(sent["ClientRequestToken"]) <= 63
    rig.driver.delete([point])
    gone = rig.parameters("DeleteBackup")
    assert gone["BackupId"] == point.parts[0].external_id
    assert 1 <= len(gone["ClientRequestToken"]) <= 63


def test_what_people_take_of_a_restored_volume_is_not_ours_though_it_carries_our_tags(cloud: Sandbox) -> None:
    """feature C11: CopyTagsToBackups. As an orphan it would be listed; a restore has no policy."""
    rig = native(cloud, "fsx-ontap")
    point = rig.taken()
    tags = [{"Key": TAG_INSTALLATION, "Value": TAGS[TAG_INSTALLATION]}, {"Key": TAG_JOB, "Value": "restore-1"}]
    cloud.client(PROD, HOME, "fsx").create_backup(VolumeId=point.resource.external_id, Tags=tags)
    assert isinstance(rig.driver, FindsTagged)
    found = rig.driver.tagged(rig.production, HOME, TAGS[TAG_INSTALLATION])
    assert [one.external_id for one in found] == [part.external_id for part in point.parts]
