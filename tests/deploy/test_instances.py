"""Instances of the sandbox. "RunInstances", "DescribeInstances", "TerminateInstances": EC2 API reference."""

import pytest

from tests.deploy.estate import HOME, PROD, refused, snapshot, tags
from tests.sandbox import BASE_IMAGE

BASE = {"ImageId": BASE_IMAGE, "MinCount": 1, "MaxCount": 1}


@pytest.fixture
def network(sandbox):
    """A subnet and a security group of their own."""
    ec2 = sandbox.client(PROD)
    vpc = ec2.create_vpc(CidrBlock="10.9.0.0/16")["Vpc"]["VpcId"]
    subnet = ec2.create_subnet(VpcId=vpc, CidrBlock="10.9.1.0/24", AvailabilityZone="us-east-1b")["Subnet"]["SubnetId"]
    group = ec2.create_security_group(GroupName="app", Description="app", VpcId=vpc)["GroupId"]
    return {"SubnetId": subnet, "SecurityGroupIds": [group]}


def test_what_a_restore_needs_is_kept_and_returned(sandbox, network):
    """DescribeInstances and DescribeInstanceAttribute return what RunInstances was given."""
    ec2 = sandbox.client(PROD)
    ec2.create_key_pair(KeyName="ops", KeyType="ed25519")
    iam = sandbox.client(PROD, service="iam")
    iam.create_instance_profile(InstanceProfileName="app")
    machine = sandbox.machine(
        PROD,
        **network,
        InstanceType="t3.small",
        PrivateIpAddress="10.9.1.50",
        KeyName="ops",
        IamInstanceProfile={"Name": "app"},
        UserData="#!/bin/sh\necho hello\n",
        MetadataOptions={"HttpTokens": "required"},
        EbsOptimized=True,
        DisableApiTermination=True,
        TagSpecifications=tags("instance", Name="web") + tags("volume", of="web"),
    )
    assert machine["PrivateIpAddress"] == "10.9.1.50"
    assert machine["NetworkInterfaces"][0]["SubnetId"] == machine["SubnetId"] == network["SubnetId"]
    assert [g["GroupId"] for g in machine["SecurityGroups"]] == network["SecurityGroupIds"]
    assert machine["Placement"]["AvailabilityZone"] == "us-east-1b"
    assert (machine["KeyName"], machine["EbsOptimized"], machine["InstanceType"]) == ("ops", True, "t3.small")
    assert machine["IamInstanceProfile"]["Arn"] == f"arn:aws:iam::{PROD}:instance-profile/app"
    assert machine["MetadataOptions"]["HttpTokens"] == "required"
    assert [m["Ebs"]["DeleteOnTermination"] for m in machine["BlockDeviceMappings"]] == [True, False]
    here = {"InstanceId": machine["InstanceId"]}
    data = ec2.describe_instance_attribute(Attribute="userData", **here)["UserData"]["Value"]
    assert data == "IyEvYmluL3NoCmVjaG8gaGVsbG8K"
    assert ec2.describe_instance_attribute(Attribute="disableApiTermination", **here)["DisableApiTermination"]["Value"]
    refused("OperationNotPermitted", ec2.terminate_instances, InstanceIds=[machine["InstanceId"]])


def test_a_private_address_is_held_once_and_released_on_termination(sandbox, network):
    """AWS, "Error codes": InvalidIPAddress.InUse; an address outside the subnet is an InvalidParameterValue."""
    ec2 = sandbox.client(PROD)
    asked = {**BASE, **network, "PrivateIpAddress": "10.9.1.77"}
    first = ec2.run_instances(**asked)["Instances"][0]["InstanceId"]
    refused("InvalidIPAddress.InUse", ec2.run_instances, **asked)
    refused("InvalidParameterValue", ec2.run_instances, **{**asked, "PrivateIpAddress": "10.8.1.77"})
    refused("InvalidParameterValue", ec2.run_instances, **{**asked, "PrivateIpAddress": "10.9.1.2"})
    who = [{"Name": "addresses.private-ip-address", "Values": ["10.9.1.77"]}]
    assert ec2.describe_network_interfaces(Filters=who)["NetworkInterfaces"][0]["Attachment"]["InstanceId"] == first
    ec2.terminate_instances(InstanceIds=[first])
    assert ec2.describe_network_interfaces(Filters=who)["NetworkInterfaces"] == []
    ec2.run_instances(**asked)


def test_interfaces_and_instance_level_network_do_not_mix(sandbox, network):
    """RunInstances: with NetworkInterfaces, subnets, groups and addresses belong to the interface."""
    ec2 = sandbox.client(PROD)
    wanted = {
        "DeviceIndex": 0,
        "SubnetId": network["SubnetId"],
        "Groups": network["SecurityGroupIds"],
        "PrivateIpAddresses": [
            {"PrivateIpAddress": "10.9.1.10", "Primary": True},
            {"PrivateIpAddress": "10.9.1.11", "Primary": False},
        ],
    }
    refused(
        "InvalidParameterCombination",
        ec2.run_instances,
        NetworkInterfaces=[wanted],
        SubnetId=network["SubnetId"],
        **BASE,
    )
    machine = ec2.run_instances(NetworkInterfaces=[wanted], **BASE)["Instances"][0]
    held = machine["NetworkInterfaces"][0]["PrivateIpAddresses"]
    assert [(a["PrivateIpAddress"], a["Primary"]) for a in held] == [("10.9.1.10", True), ("10.9.1.11", False)]


def test_a_client_token_launches_once(sandbox):
    """RunInstances, ClientToken: the same token gives the same instance, other parameters a mismatch."""
    ec2 = sandbox.client(PROD)
    ids = {ec2.run_instances(ClientToken="r-1", **BASE)["Instances"][0]["InstanceId"] for _ in range(2)}
    assert len(ids) == 1
    refused("IdempotentParameterMismatch", ec2.run_instances, ClientToken="r-1", InstanceType="t3.nano", **BASE)


def test_what_does_not_exist_is_refused_and_leaves_nothing_behind(sandbox):
    """AWS, "Error codes": a NotFound of its own for each key pair, group, subnet and snapshot."""
    ec2 = sandbox.client(PROD)
    ghost = [{"DeviceName": "/dev/sdf", "Ebs": {"SnapshotId": "snap-00000000000000000"}}]
    refused("InvalidKeyPair.NotFound", ec2.run_instances, KeyName="none", **BASE)
    refused("InvalidGroup.NotFound", ec2.run_instances, SecurityGroupIds=["sg-00000000000000000"], **BASE)
    refused("InvalidSubnetID.NotFound", ec2.run_instances, SubnetId="subnet-00000000000000000", **BASE)
    refused("InvalidParameterValue", ec2.run_instances, IamInstanceProfile={"Name": "none"}, **BASE)
    refused("InvalidSnapshot.NotFound", ec2.run_instances, BlockDeviceMappings=ghost, **BASE)
    refused("InvalidAMIID.NotFound", ec2.run_instances, **{**BASE, "ImageId": "ami-00000000000000000"})
    assert sandbox.state(PROD, HOME)["instances"] == sandbox.state(PROD, HOME)["volumes"] == []


def test_termination_deletes_marked_volumes_and_frees_the_others(sandbox):
    """TerminateInstances: volumes with DeleteOnTermination go, the others become available."""
    ec2, machine = sandbox.client(PROD), sandbox.machine(PROD)
    root, data = (m["Ebs"]["VolumeId"] for m in machine["BlockDeviceMappings"])
    ec2.terminate_instances(InstanceIds=[machine["InstanceId"]])
    refused("InvalidVolume.NotFound", ec2.describe_volumes, VolumeIds=[root])
    assert ec2.describe_volumes(VolumeIds=[data])["Volumes"][0]["State"] == "available"
    held = ec2.describe_instances(InstanceIds=[machine["InstanceId"]])["Reservations"][0]["Instances"][0]
    assert held["State"]["Name"] == "terminated"
    refused("IncorrectInstanceState", ec2.create_snapshots, InstanceSpecification={"InstanceId": machine["InstanceId"]})


def test_states_take_a_moment_and_the_type_changes_only_when_stopped(sandbox):
    """AWS, "Instance state changes": pending, stopping; the type can be modified while stopped."""
    sandbox.configure(instance_seconds=30)
    ec2 = sandbox.client(PROD)
    machine = ec2.run_instances(**BASE)["Instances"][0]
    here = machine["InstanceId"]
    assert machine["State"]["Name"] == "pending"
    sandbox.advance(31)
    change = {"InstanceId": here, "InstanceType": {"Value": "m5.large"}}
    refused("IncorrectInstanceState", ec2.modify_instance_attribute, **change)
    assert ec2.stop_instances(InstanceIds=[here])["StoppingInstances"][0]["CurrentState"]["Name"] == "stopping"
    sandbox.advance(31)
    ec2.modify_instance_attribute(**change)
    ec2.start_instances(InstanceIds=[here])
    assert sandbox.boots(PROD, HOME, here) == ["RunInstances", "StartInstances"]
    refused("InvalidParameterCombination", ec2.modify_instance_attribute, EbsOptimized={"Value": True}, **change)


def test_the_root_is_replaced_from_a_snapshot_of_the_same_root_only(sandbox):
    """AWS, "Replace the root volume": a snapshot of its own root; pending, in-progress, succeeded."""
    sandbox.configure(replace_root_seconds=30)
    ec2, machine = sandbox.client(PROD), sandbox.machine(PROD)
    here, root = machine["InstanceId"], machine["BlockDeviceMappings"][0]["Ebs"]["VolumeId"]
    sandbox.write(PROD, HOME, root, 0, b"healthy")
    good = snapshot(ec2, root)
    sandbox.write(PROD, HOME, root, 0, b"ruined!")
    wrong = snapshot(ec2, machine["BlockDeviceMappings"][1]["Ebs"]["VolumeId"])
    copied = ec2.copy_snapshot(SourceRegion=HOME, SourceSnapshotId=good)["SnapshotId"]
    for bad in (wrong, copied):
        refused("InvalidParameterValue", ec2.create_replace_root_volume_task, InstanceId=here, SnapshotId=bad)
    asked = {"InstanceId": here, "SnapshotId": good, "ClientToken": "swap", "DeleteReplacedRootVolume": True}
    task = ec2.create_replace_root_volume_task(**asked)["ReplaceRootVolumeTask"]["ReplaceRootVolumeTaskId"]

    def state():
        return ec2.describe_replace_root_volume_tasks(ReplaceRootVolumeTaskIds=[task])["ReplaceRootVolumeTasks"][0][
            "TaskState"
        ]

    seen = [state()]
    for _ in range(2):
        sandbox.advance(16)
        seen.append(state())
    assert seen == ["pending", "in-progress", "succeeded"]
    fresh = sandbox.instance(PROD, HOME, here)["volumes"]["/dev/xvda"]
    assert sandbox.read(PROD, HOME, fresh, 0, 7) == b"healthy"
    refused("InvalidVolume.NotFound", ec2.describe_volumes, VolumeIds=[root])
    assert sandbox.boots(PROD, HOME, here)[-1] == "CreateReplaceRootVolumeTask"
    ec2.create_replace_root_volume_task(InstanceId=here, SnapshotId=snapshot(ec2, fresh))


def test_an_instance_whose_volume_cannot_be_decrypted_terminates_instead_of_running(sandbox):
    """AWS, "Troubleshoot instance launch issues": a key problem ends the launch with Client.InternalError."""
    sandbox.configure(instance_seconds=30)
    ec2 = sandbox.client(PROD)
    sealed = [{"DeviceName": "/dev/sdf", "Ebs": {"VolumeSize": 1, "Encrypted": True, "KmsKeyId": "alias/none"}}]
    made = ec2.run_instances(BlockDeviceMappings=sealed, **BASE)["Instances"][0]
    assert made["State"]["Name"] == "pending"
    sandbox.advance(31)
    held = ec2.describe_instances(InstanceIds=[made["InstanceId"]])["Reservations"][0]["Instances"][0]
    assert (held["State"]["Name"], held["StateReason"]["Code"]) == ("terminated", "Client.InternalError")
    assert held["BlockDeviceMappings"] == []
