"""Attributes of instances that DescribeInstances does not show, and those that can be changed.

"DescribeInstanceAttribute", "ModifyInstanceAttribute", "ModifyInstanceMetadataOptions" (EC2 API reference).
"""

from typing import Any

from deploy.sandbox import network
from deploy.sandbox.call import Call, operation
from deploy.sandbox.errors import AwsError, bad_combination, bad_value, missing, required
from deploy.sandbox.instances import Instance

WHILE_STOPPED = ("InstanceType", "UserData", "EbsOptimized", "EnaSupport", "Kernel", "Ramdisk")


def _owned(call: Call, parameters: dict) -> Instance:
    identifier = required(parameters, "InstanceId")
    if identifier not in call.here.instances:
        raise missing("i", identifier)
    return call.here.instances[identifier]


@operation("ec2", "DescribeInstanceAttribute")
def describe_instance_attribute(call: Call, parameters: dict) -> dict:
    instance, attribute = _owned(call, parameters), required(parameters, "Attribute")
    readers: dict[str, Any] = {
        "userData": lambda: {"UserData": {"Value": instance.user_data} if instance.user_data else {}},
        "instanceType": lambda: {"InstanceType": {"Value": instance.kind}},
        "disableApiTermination": lambda: {"DisableApiTermination": {"Value": instance.protected}},
        "ebsOptimized": lambda: {"EbsOptimized": {"Value": instance.facts.get("EbsOptimized", False)}},
        "rootDeviceName": lambda: {"RootDeviceName": {"Value": instance.root_device}},
        "groupSet": lambda: {"Groups": instance.groups},
        "sourceDestCheck": lambda: {"SourceDestCheck": {"Value": instance.facts.get("SourceDestCheck", True)}},
        "instanceInitiatedShutdownBehavior": lambda: {"InstanceInitiatedShutdownBehavior": {"Value": "stop"}},
        "blockDeviceMapping": lambda: {"BlockDeviceMappings": instance.view(call.now)["BlockDeviceMappings"]},
    }
    if attribute not in readers:
        raise bad_value(f"Value ({attribute}) for parameter attribute is invalid. Unknown attribute.")
    return {"InstanceId": instance.id, **readers[attribute]()}


@operation("ec2", "ModifyInstanceAttribute")
def modify_instance_attribute(call: Call, parameters: dict) -> dict:
    instance = _owned(call, parameters)
    changed = [k for k in parameters if k not in ("InstanceId", "Attribute", "Value")]
    if parameters.get("Attribute"):
        name = parameters["Attribute"][0].upper() + parameters["Attribute"][1:]
        parameters = {**parameters, name: {"Value": parameters.get("Value")}}
        changed = [name]
    if len(changed) != 1:
        raise bad_combination("Fields for multiple attribute types specified: exactly one can be modified.")
    name = changed[0]
    if name in WHILE_STOPPED and instance.state(call.now) != "stopped":
        text = f"The instance '{instance.id}' is not in the 'stopped' state."
        raise AwsError("IncorrectInstanceState", text)
    _apply(call, instance, name, parameters[name])
    return {"Return": True}


def _apply(call: Call, instance: Instance, name: str, given: Any) -> None:
    value = given.get("Value") if isinstance(given, dict) else given
    if name == "InstanceType":
        instance.kind = value
    elif name == "UserData":
        instance.user_data = value or ""
    elif name == "DisableApiTermination":
        instance.protected = value in (True, "true")
    elif name in ("EbsOptimized", "SourceDestCheck"):
        instance.facts[name] = value in (True, "true")
    elif name == "Groups":
        instance.groups = network.groups(call.account, call.region, given, instance.vpc_id)
        instance.interfaces[0]["Groups"] = instance.groups
    elif name == "BlockDeviceMappings":
        for entry in given:
            volume = instance.volumes.get(entry.get("DeviceName"))
            if volume is None:
                raise bad_value(f"No device is currently mapped at {entry.get('DeviceName')}")
            wanted = entry.get("Ebs", {}).get("DeleteOnTermination")
            volume.delete_on_termination = volume.delete_on_termination if wanted is None else wanted
    else:
        raise AwsError("InvalidAction", f"The sandbox does not modify the attribute {name}.", 501)


@operation("ec2", "ModifyInstanceMetadataOptions")
def modify_instance_metadata_options(call: Call, parameters: dict) -> dict:
    instance = _owned(call, parameters)
    changes = {k: v for k, v in parameters.items() if k != "InstanceId"}
    instance.facts["MetadataOptions"] = instance.facts["MetadataOptions"] | changes
    return {"InstanceId": instance.id, "InstanceMetadataOptions": instance.facts["MetadataOptions"]}
