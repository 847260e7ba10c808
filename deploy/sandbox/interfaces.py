"""DescribeNetworkInterfaces, for those of instances and of FSx: who has a private address, and in which groups.

"DescribeNetworkInterfaces" (EC2 API reference).
"""

from typing import Any

from deploy.sandbox import fsx
from deploy.sandbox.call import Call, operation
from deploy.sandbox.errors import AwsError, bad_value
from deploy.sandbox.wildcards import matcher

FIELDS = {
    "network-interface-id": lambda n: [n["NetworkInterfaceId"]],
    "subnet-id": lambda n: [n["SubnetId"]],
    "vpc-id": lambda n: [n["VpcId"]],
    "status": lambda n: [n["Status"]],
    "private-ip-address": lambda n: [n["PrivateIpAddress"]],
    "addresses.private-ip-address": lambda n: [a["PrivateIpAddress"] for a in n["PrivateIpAddresses"]],
    "attachment.instance-id": lambda n: [n["Attachment"].get("InstanceId", "")],
    "group-id": lambda n: [g["GroupId"] for g in n["Groups"]],
}


@operation("ec2", "DescribeNetworkInterfaces")
def describe_network_interfaces(call: Call, parameters: dict) -> dict:
    rows: list[dict[str, Any]] = []
    for instance in call.here.instances.values():
        if instance.state(call.now) != "terminated":
            for held in instance.interfaces:
                rows.append({**held, "Attachment": {**held["Attachment"], "InstanceId": instance.id}})
    rows += call.here.kept(fsx.Kept).interfaces.values()
    wanted = parameters.get("NetworkInterfaceIds") or []
    known = {r["NetworkInterfaceId"]: r for r in rows}
    for identifier in wanted:
        if identifier not in known:
            text = f"The networkInterface ID '{identifier}' does not exist"
            raise AwsError("InvalidNetworkInterfaceID.NotFound", text)
    rows = [known[i] for i in wanted] if wanted else rows
    for entry in parameters.get("Filters", []):
        if entry["Name"] not in FIELDS:
            raise bad_value(f"The filter '{entry['Name']}' is invalid")
        field, fits = FIELDS[entry["Name"]], matcher(entry.get("Values", []))
        rows = [r for r in rows if any(fits(v) for v in field(r))]
    return {"NetworkInterfaces": rows}
