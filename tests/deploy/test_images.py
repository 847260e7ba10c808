"""Machine images of the sandbox. "CreateImage", "RegisterImage", "CopyImage", "DeregisterImage": EC2 API reference."""

import pytest

from tests.deploy.estate import AWAY, HOME, PROD, VAULT, key, refused, snapshot, tags, volume

ROOT = "/dev/xvda"


def image(ec2, machine, name="nightly", **more):
    return ec2.create_image(InstanceId=machine["InstanceId"], Name=name, NoReboot=True, **more)["ImageId"]


def described(ec2, image_id):
    return ec2.describe_images(ImageIds=[image_id])["Images"][0]


def test_creating_an_image_reboots_unless_told_not_to(sandbox):
    """CreateImage, NoReboot: "Default: false"; the instance is shut down and rebooted."""
    ec2, machine = sandbox.client(PROD), sandbox.machine(PROD)
    image(ec2, machine)
    assert sandbox.boots(PROD, HOME, machine["InstanceId"]) == ["RunInstances"]
    ec2.create_image(InstanceId=machine["InstanceId"], Name="careless")
    assert sandbox.boots(PROD, HOME, machine["InstanceId"])[1:] == ["CreateImage without NoReboot"]


def test_a_name_is_taken_once_per_account_and_region(sandbox):
    """AWS, "Error codes": InvalidAMIName.Duplicate; names are the token of CreateImage."""
    ec2, machine = sandbox.client(PROD), sandbox.machine(PROD)
    first = image(ec2, machine, "one")
    asked = {"InstanceId": machine["InstanceId"], "NoReboot": True}
    assert first in refused("InvalidAMIName.Duplicate", ec2.create_image, Name="one", **asked)
    refused("InvalidAMIName.Malformed", ec2.create_image, Name="bad*name", **asked)
    ec2.deregister_image(ImageId=first)
    image(ec2, machine, "one")


def test_the_mappings_are_the_volumes_and_no_device_leaves_one_out(sandbox):
    """CreateImage: a snapshot for each attached volume; NoDevice in BlockDeviceMappings suppresses a device."""
    ec2, machine = sandbox.client(PROD), sandbox.machine(PROD, data=2)
    made = image(
        ec2,
        machine,
        BlockDeviceMappings=[{"DeviceName": "/dev/sdg", "NoDevice": ""}],
        TagSpecifications=tags("image", a="1") + tags("snapshot", b="2"),
    )
    held = described(ec2, made)
    assert [m["DeviceName"] for m in held["BlockDeviceMappings"]] == [ROOT, "/dev/sdf"]
    assert held["Tags"] == [{"Key": "a", "Value": "1"}]
    ids = [m["Ebs"]["SnapshotId"] for m in held["BlockDeviceMappings"]]
    for held in ec2.describe_snapshots(SnapshotIds=ids)["Snapshots"]:
        assert held["Tags"] == [{"Key": "b", "Value": "2"}]


def test_an_image_is_pending_after_its_snapshots_are_completed_and_fails_with_them(sandbox):
    """Image states: pending, available, failed; the image follows its snapshots."""
    sandbox.configure(snapshot_seconds=10, image_seconds=10)
    ec2, machine = sandbox.client(PROD), sandbox.machine(PROD)
    good = image(ec2, machine, "good")
    sandbox.advance(11)
    held = described(ec2, good)
    assert held["State"] == "pending"
    ids = [m["Ebs"]["SnapshotId"] for m in held["BlockDeviceMappings"]]
    assert {s["State"] for s in ec2.describe_snapshots(SnapshotIds=ids)["Snapshots"]} == {"completed"}
    refused("InvalidAMIID.Unavailable", ec2.run_instances, ImageId=good, MinCount=1, MaxCount=1)
    sandbox.advance(10)
    assert described(ec2, good)["State"] == "available"
    sandbox.fault("snapshot_error", operation="CreateImage", count=1)
    bad = image(ec2, machine, "bad")
    sandbox.advance(11)
    assert described(ec2, bad)["State"] == "failed"


def test_an_instance_from_an_image_has_the_images_data(sandbox):
    """RunInstances: the image's mappings, changed by the request's, become volumes with the snapshots' data."""
    ec2, machine = sandbox.client(PROD), sandbox.machine(PROD)
    for mapping in machine["BlockDeviceMappings"]:
        sandbox.write(PROD, HOME, mapping["Ebs"]["VolumeId"], 0, mapping["DeviceName"].encode())
    made = image(ec2, machine)
    changed = [
        {"DeviceName": "/dev/sdf", "Ebs": {"VolumeType": "io2", "Iops": 300, "VolumeSize": 5, "Encrypted": True}}
    ]
    fresh = sandbox.machine(PROD, ImageId=made, BlockDeviceMappings=changed)
    volumes = {m["DeviceName"]: m["Ebs"]["VolumeId"] for m in fresh["BlockDeviceMappings"]}
    for device, held in volumes.items():
        assert sandbox.read(PROD, HOME, held, 0, 9).rstrip(b"\0") == device.encode()
    data = ec2.describe_volumes(VolumeIds=[volumes["/dev/sdf"]])["Volumes"][0]
    assert (data["VolumeType"], data["Iops"], data["Size"], data["Encrypted"]) == ("io2", 300, 5, True)


def test_registering_from_snapshots_keeps_the_mappings(sandbox):
    """RegisterImage: root and data snapshots as mappings; a root snapshot must be among them."""
    ec2 = sandbox.client(PROD)
    root, data = (snapshot(ec2, volume(ec2, size)) for size in (2, 3))
    mappings = [
        {"DeviceName": ROOT, "Ebs": {"SnapshotId": root, "VolumeType": "gp3", "DeleteOnTermination": False}},
        {"DeviceName": "/dev/sdf", "Ebs": {"SnapshotId": data}},
    ]
    modern = {"Architecture": "x86_64", "VirtualizationType": "hvm", "EnaSupport": True}
    refused(
        "InvalidParameterCombination",
        ec2.register_image,
        Name="no-root",
        RootDeviceName="/dev/sda1",
        BlockDeviceMappings=mappings,
    )
    made = ec2.register_image(Name="rebuilt", RootDeviceName=ROOT, BlockDeviceMappings=mappings, **modern)["ImageId"]
    held = {m["DeviceName"]: m["Ebs"] for m in described(ec2, made)["BlockDeviceMappings"]}
    assert (held[ROOT]["VolumeSize"], held[ROOT]["VolumeType"], held[ROOT]["DeleteOnTermination"]) == (2, "gp3", False)
    assert (held["/dev/sdf"]["VolumeSize"], held["/dev/sdf"]["VolumeType"]) == (3, "gp2")
    machine = sandbox.machine(PROD, ImageId=made, InstanceType="t3.small", BlockDeviceMappings=[])
    assert len(machine["BlockDeviceMappings"]) == 2


@pytest.mark.parametrize("left_out", ["Architecture", "VirtualizationType", "EnaSupport"])
def test_a_modern_type_does_not_start_an_image_registered_carelessly(sandbox, left_out):
    """RegisterImage defaults are i386 and paravirtual, without ENA; Nitro types need x86_64, hvm and ENA."""
    ec2 = sandbox.client(PROD)
    details = {"Architecture": "x86_64", "VirtualizationType": "hvm", "EnaSupport": True}
    del details[left_out]
    mapping = {"DeviceName": ROOT, "Ebs": {"SnapshotId": snapshot(ec2, volume(ec2))}}
    made = ec2.register_image(Name="old", RootDeviceName=ROOT, BlockDeviceMappings=[mapping], **details)["ImageId"]
    code = "InvalidParameterValue" if left_out == "Architecture" else "InvalidParameterCombination"
    refused(code, ec2.run_instances, ImageId=made, MinCount=1, MaxCount=1, InstanceType="m5.large")


def test_the_root_snapshot_of_a_registered_image_cannot_be_deleted(sandbox):
    """DeleteSnapshot: InvalidSnapshot.InUse for the root device's snapshot until the image is deregistered."""
    ec2, machine = sandbox.client(PROD), sandbox.machine(PROD)
    made = image(ec2, machine)
    root, data = (m["Ebs"]["SnapshotId"] for m in described(ec2, made)["BlockDeviceMappings"])
    assert made in refused("InvalidSnapshot.InUse", ec2.delete_snapshot, SnapshotId=root)
    ec2.delete_snapshot(SnapshotId=data)
    ec2.deregister_image(ImageId=made)
    ec2.delete_snapshot(SnapshotId=root)
    refused("InvalidAMIID.NotFound", ec2.describe_images, ImageIds=[made])


def test_deregistering_can_delete_the_snapshots_and_says_what_became_of_each(sandbox):
    """DeregisterImage, DeleteAssociatedSnapshots: success, or skipped for one that another image uses."""
    ec2, machine = sandbox.client(PROD), sandbox.machine(PROD)
    made = image(ec2, machine)
    root, data = (m["Ebs"]["SnapshotId"] for m in described(ec2, made)["BlockDeviceMappings"])
    mapping = {"DeviceName": ROOT, "Ebs": {"SnapshotId": root}}
    ec2.register_image(Name="second", RootDeviceName=ROOT, BlockDeviceMappings=[mapping])
    results = ec2.deregister_image(ImageId=made, DeleteAssociatedSnapshots=True)["DeleteSnapshotResults"]
    assert {r["SnapshotId"]: r["ReturnCode"] for r in results} == {root: "skipped", data: "success"}
    refused("InvalidSnapshot.NotFound", ec2.describe_snapshots, SnapshotIds=[data])


def test_an_image_is_copied_with_its_snapshots_and_a_token(sandbox):
    """CopyImage: called in the destination, ClientToken makes it idempotent, tags only with CopyImageTags."""
    home, away, machine = sandbox.client(PROD), sandbox.client(PROD, AWAY), sandbox.machine(PROD)
    made = image(home, machine, TagSpecifications=tags("image", a="1"))
    asked = {"SourceRegion": HOME, "SourceImageId": made, "Name": "far", "ClientToken": "copy-1"}
    one, two = away.copy_image(**asked)["ImageId"], away.copy_image(**asked)["ImageId"]
    assert one == two
    held = described(away, one)
    assert (held["State"], held["Tags"], held["SourceImageId"]) == ("available", [], made)
    copied = held["BlockDeviceMappings"][1]["Ebs"]["SnapshotId"]
    original = described(home, made)["BlockDeviceMappings"][1]["Ebs"]["SnapshotId"]
    assert sandbox.fingerprint(PROD, AWAY, copied) == sandbox.fingerprint(PROD, HOME, original)


def test_a_shared_image_can_be_launched_by_the_other_account(sandbox):
    """AWS, "Share an AMI": launch permission suffices to launch, not to see the snapshots."""
    prod, vault, machine = sandbox.client(PROD), sandbox.client(VAULT), sandbox.machine(PROD)
    made = image(prod, machine)
    refused("InvalidAMIID.NotFound", vault.describe_images, ImageIds=[made])
    prod.modify_image_attribute(ImageId=made, LaunchPermission={"Add": [{"UserId": VAULT}]})
    assert described(vault, made)["OwnerId"] == PROD
    assert len(sandbox.machine(VAULT, ImageId=made, BlockDeviceMappings=[])["BlockDeviceMappings"]) == 2
    root = described(prod, made)["BlockDeviceMappings"][0]["Ebs"]["SnapshotId"]
    refused("InvalidSnapshot.NotFound", vault.describe_snapshots, SnapshotIds=[root])


def test_a_windows_image_keeps_its_billing_through_snapshots(sandbox):
    """RegisterImage: "billing data" comes with the snapshot's metadata; PlatformDetails of the new image shows it."""
    ec2 = sandbox.client(PROD)
    machine = sandbox.machine(PROD, ImageId="ami-0ba5e000000000002", data=0)
    assert machine["Platform"] == "windows"
    root = snapshot(ec2, machine["BlockDeviceMappings"][0]["Ebs"]["VolumeId"])
    mapping = {"DeviceName": "/dev/sda1", "Ebs": {"SnapshotId": root}}
    made = ec2.register_image(Name="win", RootDeviceName="/dev/sda1", BlockDeviceMappings=[mapping])["ImageId"]
    assert described(ec2, made)["PlatformDetails"] == "Windows"


def test_an_image_under_the_default_key_cannot_be_shared(sandbox):
    """AWS, "Share an AMI": images with snapshots under the default AWS managed key cannot be shared."""
    ec2 = sandbox.client(PROD)
    root = [{"DeviceName": ROOT, "Ebs": {"Encrypted": True}}]
    sealed = image(ec2, sandbox.machine(PROD, BlockDeviceMappings=root), "sealed")
    asked = {"LaunchPermission": {"Add": [{"UserId": VAULT}]}}
    refused("InvalidParameter", ec2.modify_image_attribute, ImageId=sealed, **asked)
    root[0]["Ebs"]["KmsKeyId"] = key(sandbox, PROD, HOME)
    ec2.modify_image_attribute(ImageId=image(ec2, sandbox.machine(PROD, BlockDeviceMappings=root), "open"), **asked)


def test_a_root_snapshot_may_stay_in_use_for_a_moment_after_deregistration(sandbox):
    """AWS, "Eventual consistency": InvalidSnapshot.InUse shortly after DeregisterImage goes away by itself."""
    sandbox.configure(deregister_lag_seconds=30)
    ec2, machine = sandbox.client(PROD), sandbox.machine(PROD)
    made = image(ec2, machine)
    root = described(ec2, made)["BlockDeviceMappings"][0]["Ebs"]["SnapshotId"]
    ec2.deregister_image(ImageId=made)
    refused("InvalidSnapshot.InUse", ec2.delete_snapshot, SnapshotId=root)
    sandbox.advance(31)
    ec2.delete_snapshot(SnapshotId=root)
