"""Tables and file systems are protected, lost and restored by one `snapfleet up`, each from every place.

DynamoDB, EFS and the four kinds of FSx through AWS Backup, because the policy has a DR entry in another account; a file
system of another policy by FSx's own backups. Items and files are compared with what comes back from the point at home,
from the copy in another region and from the one in another account.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
import yaml

from tests.contract.service_rig import DEFAULT_ROLE
from tests.deploy.test_fsx import CONFIGURATIONS, DIRECTORY
from tests.deploy.vaulting import advanced_tables, cross_account, items, subnet, table
from tests.sandbox import FAST, SOON, Sandbox, start
from tests.scenario.installation import Installation

PROD, VAULT, HOME, AWAY, FAR = "111111111111", "222222222222", "us-east-1", "eu-west-1", "eu-central-1"
ALIAS = "alias/estate"
SYSTEMS = {"fsx-lustre": "LUSTRE", "fsx-windows": "WINDOWS", "fsx-openzfs": "OPENZFS"}
TYPES = ["dynamodb", "efs", *SYSTEMS, "fsx-ontap"]
PLACES = {"": (PROD, HOME), f"prod/{AWAY}": (PROD, AWAY), f"vault/{FAR}": (VAULT, FAR)}
GOLD, SILVER = [{"Key": "backup", "Value": "gold"}], [{"Key": "backup", "Value": "silver"}]
ESTATE = {
    "version": 1,
    "accounts": [
        {"name": "prod", "role_arn": f"arn:aws:iam::{PROD}:role/snapfleet", "regions": [HOME, AWAY]},
        {"name": "vault", "kind": "dr", "role_arn": f"arn:aws:iam::{VAULT}:role/snapfleet-dr", "regions": [FAR]},
    ],
    "policies": [
        {
            "name": "storage",
            "targets": [{"tag": {"backup": "gold"}, "types": TYPES, "accounts": ["prod"], "regions": [HOME]}],
            "generations": 1,
            "dr": [{"region": AWAY}, {"account": "vault", "region": FAR, "kms_key": ALIAS}],
        },
        {
            "name": "near",
            "targets": [{"tag": {"backup": "silver"}, "types": TYPES, "accounts": ["prod"], "regions": [HOME]}],
            "generations": 1,
            "dr": [{"region": AWAY}],
        },
    ],
}
NEEDED = (len(TYPES)) * len(PLACES) + 2


@dataclass
class Story:
    """What there is to look at afterwards."""

    sandbox: Sandbox
    here: Installation
    names: dict[str, str] = field(default_factory=dict)  # by type, and 'near' for the silver one
    wanted: dict[str, Any] = field(default_factory=dict)
    points: list[dict[str, Any]] = field(default_factory=list)
    restored: dict[tuple[str, str], Any] = field(default_factory=dict)


def _key(sandbox: Sandbox, account: str, region: str) -> str:
    """A customer key that both accounts may use, behind the alias."""
    who = [f"arn:aws:iam::{one}:root" for one in (PROD, VAULT)]
    allow = {"Effect": "Allow", "Principal": {"AWS": who}, "Action": "kms:*", "Resource": "*"}
    kms = sandbox.client(account, region, "kms")
    policy = json.dumps({"Version": "2012-10-17", "Statement": [allow]})
    made = kms.create_key(Policy=policy)["KeyMetadata"]
    kms.create_alias(AliasName=ALIAS, TargetKeyId=made["KeyId"])
    return str(made["Arn"])


def _make(story: Story, key: str) -> None:
    cloud = story.sandbox
    table(cloud, "orders", Tags=GOLD)
    fsx, efs = cloud.client(PROD, HOME, "fsx"), cloud.client(PROD, HOME, "efs")
    story.names = {"dynamodb": "orders"}
    story.names["efs"] = efs.create_file_system(CreationToken="t", Tags=GOLD)["FileSystemId"]
    for kind, word in [*SYSTEMS.items(), ("near", "OPENZFS")]:
        asked = {"FileSystemType": word, "StorageCapacity": 1200, "SubnetIds": [subnet(cloud)], **CONFIGURATIONS[word]}
        given = {"Tags": SILVER} if kind == "near" else {"Tags": GOLD, "KmsKeyId": key}
        story.names[kind] = fsx.create_file_system(**asked, **given)["FileSystem"]["FileSystemId"]
    machine = _machine(cloud, PROD, HOME, KmsKeyId=key)
    settings = {"StorageVirtualMachineId": machine, "JunctionPath": "/v", "SizeInMegabytes": 1024}
    made = fsx.create_volume(VolumeType="ONTAP", Name="vol1", OntapConfiguration=settings, Tags=GOLD)
    story.names["fsx-ontap"] = made["Volume"]["VolumeId"]
    _write(story, "first")


def _machine(cloud: Sandbox, account: str, region: str, **more: Any) -> str:
    fsx = cloud.client(account, region, "fsx")
    net = [subnet(cloud, account, region)]
    made = fsx.create_file_system(
        FileSystemType="ONTAP", StorageCapacity=1200, SubnetIds=net, **CONFIGURATIONS["ONTAP"], **more
    )
    machine = fsx.create_storage_virtual_machine(FileSystemId=made["FileSystem"]["FileSystemId"], Name="svm")
    return str(machine["StorageVirtualMachine"]["StorageVirtualMachineId"])


def _write(story: Story, text: str) -> None:
    """New content everywhere."""
    cloud = story.sandbox
    cloud.client(PROD, HOME, "dynamodb").put_item(TableName="orders", Item={"id": {"S": text}})
    for kind, name in story.names.items():
        if kind != "dynamodb":
            cloud.write_file(PROD, HOME, name, f"{text}.txt", f"{text} of {kind}".encode())


def _content(story: Story, kind: str, account: str, region: str, name: str) -> Any:
    if kind == "dynamodb":
        return items(story.sandbox, name, account, region)
    files = story.sandbox.files(account, region, name)
    return {path.split("/", 1)[-1] if kind == "efs" else path: digest for path, digest in files.items()}


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    """Set up, back up twice, lose everything, restore."""
    directories = [f"{account}/{region}/{DIRECTORY}" for account, region in PLACES.values()]
    process, url = start(**FAST, **SOON, metering=False, directories=directories)
    sandbox = Sandbox(url, FAST)
    for number, role in ((PROD, "snapfleet"), (VAULT, "snapfleet-dr")):
        sandbox.role(f"arn:aws:iam::{number}:role/{role}")
        sandbox.role(f"arn:aws:iam::{number}:{DEFAULT_ROLE}")
    cross_account(sandbox)
    advanced_tables(sandbox, PROD, HOME)
    _key(sandbox, VAULT, FAR)
    home = tmp_path_factory.mktemp("storage") / "home"
    settings = {"poll_floor_seconds": "0.2", "tick_seconds": "0.2", "retention_seconds": "1"}
    told = Story(sandbox, Installation(home, sandbox.environment, **settings))
    try:
        _make(told, _key(sandbox, PROD, HOME))
        _protect(told)
        _lose(told)
        _restore(told)
        yield told
    finally:
        told.here.kill()
        process.kill()
        process.wait()


def _protect(story: Story) -> None:
    here = story.here
    here.type("init", "--yes")
    file = here.home.parent / "estate.yaml"
    file.write_text(yaml.safe_dump(ESTATE))
    here.type("apply", "-f", str(file))
    here.up()
    for policy in ("storage", "near"):
        assert here.type("run", policy, "--wait")["state"] == "done"
    old = {point["id"] for point in here.type("points")}
    _write(story, "second")
    story.wanted = {kind: _content(story, kind, PROD, HOME, name) for kind, name in story.names.items()}
    for policy in ("storage", "near"):
        assert here.type("run", policy, "--wait")["state"] == "done"

    def only_the_second() -> list[dict[str, Any]]:
        good = [point for point in here.type("points") if point["state"] == "good"]
        return [] if old & {point["id"] for point in good} or len(good) < NEEDED else good

    story.points = here.until("the first points are gone", only_the_second, 90)


def _lose(story: Story) -> None:
    cloud = story.sandbox
    cloud.client(PROD, HOME, "dynamodb").delete_table(TableName="orders")
    cloud.client(PROD, HOME, "efs").delete_file_system(FileSystemId=story.names["efs"])
    fsx = cloud.client(PROD, HOME, "fsx")
    fsx.delete_volume(VolumeId=story.names["fsx-ontap"])
    for kind in (*SYSTEMS, "near"):
        fsx.delete_file_system(FileSystemId=story.names[kind])


def _restore(story: Story) -> None:
    """All at once, then each is looked at."""
    begun = {}
    for point in story.points:
        kind, place = _kind(story, point), point["destination"]
        words = {"dynamodb": "table", "fsx-ontap": "volume"}
        given = [word for pair in _options(story, kind, place).items() for word in ("--set", "=".join(pair))]
        begun[kind, place] = story.here.type("restore", point["id"], "--to", words.get(kind, "file-system"), *given)
    for (kind, place), restore in begun.items():
        name = restore["restore"]

        def ended(name: str = name) -> Any:
            shown = story.here.type("restores", "show", name)
            return shown if shown["state"] not in ("requested", "running", "undoing") else None

        shown = story.here.until(f"{name} has ended", ended)
        assert shown["state"] == "done", shown
        account, region = PLACES[place]
        story.restored[kind, place] = _content(story, kind, account, region, _made(story, kind, place, shown))


def _kind(story: Story, point: dict[str, Any]) -> str:
    return "near" if point["policy"] == "near" else str(point["type"])


def _options(story: Story, kind: str, place: str) -> dict[str, str]:
    account, region = PLACES[place]
    if kind == "dynamodb":
        return {"name": "back"}
    if kind == "fsx-ontap":
        return {"machine": _machine(story.sandbox, account, region)} if place else {}
    if kind == "efs" or not place:
        return {}
    there = {"subnets": subnet(story.sandbox, account, region)}
    return {**there, "directory": DIRECTORY} if kind == "fsx-windows" else there


def _made(story: Story, kind: str, place: str, shown: dict[str, Any]) -> str:
    """What a restore has made: EFS's name comes with the end of its job."""
    if kind != "efs":
        return "back" if kind == "dynamodb" else str(shown["made"][0]["id"])
    account, region = PLACES[place]
    left = story.sandbox.client(account, region, "efs").describe_file_systems()["FileSystems"]
    (only,) = left
    return str(only["FileSystemId"])


@pytest.mark.parametrize("kind", TYPES)
def test_what_is_restored_from_each_place_is_what_was_backed_up_last(story: Story, kind: str) -> None:
    """Features 19, 20, 21, 22, 23, 24, 42: backed up, copied twice, lost, restored from each copy."""
    found = {place: content for (one, place), content in story.restored.items() if one == kind}
    assert found == dict.fromkeys(PLACES, story.wanted[kind])


def test_without_another_account_fsx_copies_its_own_backups(story: Story) -> None:
    """Feature 24: no vault where none is needed."""
    found = {place: content for (one, place), content in story.restored.items() if one == "near"}
    assert found == dict.fromkeys(("", f"prod/{AWAY}"), story.wanted["near"])
    copies = story.sandbox.calls("CopyBackup")
    assert {one["region"] for one in copies} == {AWAY}
    assert len(copies) == 2


def test_copies_between_vaults_were_begun_and_followed_in_their_source(story: Story) -> None:
    """Feature 46: the vault in the other account lies under the key that the policy names."""
    assert {(one["account"], one["region"]) for one in story.sandbox.calls("StartCopyJob")} == {(PROD, HOME)}
    vault = story.sandbox.client(VAULT, FAR, "backup").describe_backup_vault(BackupVaultName="snapfleet")
    key = story.sandbox.client(VAULT, FAR, "kms").describe_key(KeyId=ALIAS)["KeyMetadata"]["Arn"]
    assert vault["EncryptionKeyArn"] == key


def test_the_first_generation_is_gone_from_every_vault(story: Story) -> None:
    for account, region in PLACES.values():
        backup = story.sandbox.client(account, region, "backup")
        held = backup.list_recovery_points_by_backup_vault(BackupVaultName="snapfleet")["RecoveryPoints"]
        assert len(held) == len(TYPES)
