"""Instances: their states, what a restore needs to know about them, and how often each has booted.

"DescribeInstances", "StartInstances", "StopInstances", "TerminateInstances", "RebootInstances" (EC2 API reference);
"Amazon EC2 instance state changes" (EC2 user guide).
"""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from deploy.sandbox import network
from deploy.sandbox.call import Call, operation
from deploy.sandbox.describing import Fields, check_page, named, page, select, tag_list
from deploy.sandbox.errors import AwsError, missing, required
from deploy.sandbox.volumes import drop_volume

CODES = {"pending": 0, "running": 16, "shutting-down": 32, "terminated": 48, "stopping": 64, "stopped": 80}
ARRIVES = {"pending": "running", "shutting-down": "terminated", "stopping": "stopped"}
METADATA_DEFAULT = {
    "HttpTokens": "optional",
    "HttpPutResponseHopLimit": 1,
    "HttpEndpoint": "enabled",
    "State": "applied",
}
FORGOTTEN = timedelta(hours=1)  # terminated instances stay visible for about an hour


@dataclass(eq=False)
class Instance:
    """An instance. `facts` are members of the answer that never change by themselves; `interfaces` likewise."""

    id: str
    sequence: int
    owner: str
    region: str
    zone: str
    image_id: str
    kind: str
    root_device: str
    created_at: datetime
    reservation: str
    launched_at: datetime
    subnet_id: str
    vpc_id: str
    private_ip: str
    phase: str = "pending"
    phase_until: datetime | None = None
    platform_details: str = "Linux/UNIX"
    user_data: str = ""
    protected: bool = False
    interfaces: list[dict[str, Any]] = field(default_factory=list)
    groups: list[dict[str, str]] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)
    image_details: dict[str, Any] = field(default_factory=dict)
    volumes: dict[str, Any] = field(default_factory=dict)  # device: volume
    root_lineage: list[str] = field(default_factory=list)  # volumes that were its root by launch or replacement
    tags: dict[str, str] = field(default_factory=dict)
    boots: list[dict[str, str]] = field(default_factory=list)
    doomed: str = ""  # why it will terminate instead of running

    def state(self, now: datetime) -> str:
        if self.phase_until is not None and now >= self.phase_until:
            arrived = "terminated" if self.doomed and self.phase == "pending" else ARRIVES[self.phase]
            self.phase, self.phase_until = arrived, None
        return self.phase

    def move(self, phase: str, until: datetime) -> None:
        self.phase, self.phase_until = phase, until

    def boot(self, now: datetime, reason: str) -> None:
        """Record that the guest went down and came up, and why: a backup must never be the reason."""
        self.boots.append({"at": now.isoformat(), "reason": reason})

    def shown_state(self, now: datetime) -> dict[str, Any]:
        name = self.state(now)
        return {"Code": CODES[name], "Name": name}

    def view(self, now: datetime) -> dict[str, Any]:
        windows = "Windows" in self.platform_details
        dead = self.state(now) == "terminated"
        return {
            "InstanceId": self.id,
            "ImageId": self.image_id,
            "InstanceType": self.kind,
            "State": self.shown_state(now),
            "StateReason": {"Code": self.doomed, "Message": self.doomed} if dead and self.doomed else None,
            "LaunchTime": self.launched_at,
            "RootDeviceName": self.root_device,
            "RootDeviceType": "ebs",
            "Platform": "windows" if windows else None,
            "PlatformDetails": self.platform_details,
            "UsageOperation": "RunInstances:0002" if windows else "RunInstances",
            "Hypervisor": "xen",
            "SubnetId": None if dead else self.subnet_id,
            "VpcId": None if dead else self.vpc_id,
            "PrivateIpAddress": None if dead else self.private_ip,
            "SecurityGroups": [] if dead else self.groups,
            "NetworkInterfaces": [] if dead else self.interfaces,
            "BlockDeviceMappings": [self._mapping(v) for v in self.volumes.values()],
            "Tags": tag_list(self.tags),
            **self.image_details,
            **self.facts,
        }

    @staticmethod
    def _mapping(volume: Any) -> dict[str, Any]:
        ebs = {
            "VolumeId": volume.id,
            "Status": "attached",
            "AttachTime": volume.attached_at,
            "DeleteOnTermination": volume.delete_on_termination,
        }
        return {"DeviceName": volume.device, "Ebs": ebs}


FIELDS: Fields = {
    "instance-id": lambda i, _: i.id,
    "instance-state-name": lambda i, now: i.state(now),
    "instance-state-code": lambda i, now: str(CODES[i.state(now)]),
    "instance-type": lambda i, _: i.kind,
    "image-id": lambda i, _: i.image_id,
    "availability-zone": lambda i, _: i.zone,
    "subnet-id": lambda i, _: i.subnet_id,
    "network-interface.subnet-id": lambda i, _: i.subnet_id,
    "vpc-id": lambda i, _: i.vpc_id,
    "private-ip-address": lambda i, _: i.private_ip,
    "reservation-id": lambda i, _: i.reservation,
    "platform": lambda i, _: "windows" if "Windows" in i.platform_details else None,
    "key-name": lambda i, _: i.facts.get("KeyName"),
    "client-token": lambda i, _: i.facts.get("ClientToken"),
    "root-device-name": lambda i, _: i.root_device,
    "instance.group-id": lambda i, _: [g["GroupId"] for g in i.groups],
    "block-device-mapping.volume-id": lambda i, _: [v.id for v in i.volumes.values()],
}


def reservations(instances: list[Instance], now: datetime) -> list[dict[str, Any]]:
    grouped: dict[str, dict[str, Any]] = {}
    for instance in instances:
        held = grouped.setdefault(
            instance.reservation,
            {"ReservationId": instance.reservation, "OwnerId": instance.owner, "Groups": [], "Instances": []},
        )
        held["Instances"].append(instance.view(now))
    return list(grouped.values())


@operation("ec2", "DescribeInstances")
def describe_instances(call: Call, parameters: dict) -> dict:
    check_page(parameters, "InstanceIds")
    held, ids = call.here.instances, parameters.get("InstanceIds") or []
    chosen: Any = named(call, held, "i", ids) if ids else None
    shown, token = page(select(call, held, chosen, parameters.get("Filters", []), FIELDS), parameters)
    return {"Reservations": reservations(shown, call.now), "NextToken": token}


@operation("ec2", "DescribeInstanceStatus")
def describe_instance_status(call: Call, parameters: dict) -> dict:
    check_page(parameters, "InstanceIds")
    held, ids = call.here.instances, parameters.get("InstanceIds") or []
    chosen: Any = named(call, held, "i", ids) if ids else None
    found = select(call, held, chosen, parameters.get("Filters", []), FIELDS)
    if not parameters.get("IncludeAllInstances"):
        found = [i for i in found if i.state(call.now) == "running"]
    shown, token = page(found, parameters)
    good = {"Status": "ok", "Details": [{"Name": "reachability", "Status": "passed"}]}
    rows = [
        {
            "InstanceId": i.id,
            "AvailabilityZone": i.zone,
            "InstanceState": i.shown_state(call.now),
            "InstanceStatus": good,
            "SystemStatus": good,
        }
        for i in shown
    ]
    return {"InstanceStatuses": rows, "NextToken": token}


def _named(call: Call, parameters: dict) -> list[Instance]:
    found = []
    for identifier in required(parameters, "InstanceIds"):
        if identifier not in call.here.instances:
            raise missing("i", identifier)
        found.append(call.here.instances[identifier])
    return found


def _change(call: Call, parameters: dict, allowed: dict[str, str | None]) -> list[tuple[Instance, dict]]:
    """Move instances; `allowed` maps a state to the phase to enter, None to stay. Others are IncorrectInstanceState."""
    found = _named(call, parameters)
    for instance in found:
        if instance.state(call.now) not in allowed:
            text = f"The instance '{instance.id}' is not in a state from which it can be changed so."
            raise AwsError("IncorrectInstanceState", text)
    until = call.now + timedelta(seconds=call.config.instance_seconds)
    rows = []
    for instance in found:
        before = instance.shown_state(call.now)
        phase = allowed[instance.state(call.now)]
        if phase:
            instance.move(phase, until)
        current = instance.shown_state(call.now)
        rows.append((instance, {"InstanceId": instance.id, "PreviousState": before, "CurrentState": current}))
    return rows


@operation("ec2", "StartInstances")
def start_instances(call: Call, parameters: dict) -> dict:
    for instance in _named(call, parameters):
        if instance.root_device not in instance.volumes:
            text = f"Invalid value '{instance.id}' for instanceId. Instance does not have a volume attached at root"
            raise AwsError("IncorrectInstanceState", f"{text} ({instance.root_device})")
    rows = _change(call, parameters, {"stopped": "pending", "running": None, "pending": None})
    for instance, row in rows:
        if row["PreviousState"]["Name"] == "stopped":
            instance.launched_at = call.now
            instance.boot(call.now, "StartInstances")
    return {"StartingInstances": [row for _, row in rows]}


@operation("ec2", "StopInstances")
def stop_instances(call: Call, parameters: dict) -> dict:
    rows = _change(call, parameters, {"running": "stopping", "stopping": None, "stopped": None})
    return {"StoppingInstances": [row for _, row in rows]}


@operation("ec2", "RebootInstances")
def reboot_instances(call: Call, parameters: dict) -> dict:
    for instance in _named(call, parameters):
        instance.boot(call.now, "RebootInstances")
    return {"Return": True}


@operation("ec2", "TerminateInstances")
def terminate_instances(call: Call, parameters: dict) -> dict:
    for instance in _named(call, parameters):
        if instance.protected:
            text = f"The instance '{instance.id}' may not be terminated. Modify its 'disableApiTermination' attribute."
            raise AwsError("OperationNotPermitted", text)
    living = dict.fromkeys(("pending", "running", "stopping", "stopped"), "shutting-down")
    rows = _change(call, parameters, living | {"shutting-down": None, "terminated": None})
    here = call.here
    for instance, _ in rows:
        release(call.world, here, instance)
        call.world.at(call.now + FORGOTTEN, partial(forget, here, instance))
    return {"TerminatingInstances": [row for _, row in rows]}


def release(world: Any, here: Any, instance: Instance) -> None:
    """Give up addresses and volumes: those marked DeleteOnTermination go, the others become available."""
    network.free_addresses(here, instance.id)
    for volume in list(instance.volumes.values()):
        if volume.delete_on_termination:
            drop_volume(world, here, volume)
        else:
            volume.instance, volume.device, volume.attached_at = None, "", None
    instance.volumes.clear()


def forget(here: Any, instance: Instance) -> None:
    here.instances.pop(instance.id, None)
    here.tags.forget(instance)
