"""The networks that moto keeps: zones, subnets, security groups, key pairs, profiles; and private addresses."""

import ipaddress
from typing import Any

from deploy.sandbox.errors import AwsError, bad_value
from deploy.sandbox.world import Region

RESERVED_LOW = 4  # "Subnet CIDR blocks" (VPC user guide): AWS keeps the first four addresses and the last


def backend(account: str, region: str) -> Any:
    """moto's EC2 of one account and region."""
    from moto.ec2 import ec2_backends

    return ec2_backends[account][region]


def zone(account: str, region: str, name: str | None, zone_id: str | None = None) -> tuple[str, str]:
    """(name, id) of an availability zone; InvalidZone.NotFound for one that is not in the region."""
    for candidate in backend(account, region).describe_availability_zones():
        if name == candidate.name or (name is None and zone_id == candidate.zone_id):
            return candidate.name, candidate.zone_id
    raise AwsError("InvalidZone.NotFound", f"The zone '{name or zone_id}' does not exist.")


def subnet(account: str, region: str, identifier: str | None, wanted_zone: str | None) -> Any:
    """A subnet by id, or the default one of a zone."""
    subnets = [s for by_zone in backend(account, region).subnets.values() for s in by_zone.values()]
    if identifier:
        for candidate in subnets:
            if candidate.id == identifier:
                return candidate
        raise AwsError("InvalidSubnetID.NotFound", f"The subnet ID '{identifier}' does not exist")
    for candidate in subnets:
        if candidate.default_for_az and wanted_zone in (None, candidate.availability_zone):
            return candidate
    raise AwsError("MissingInput", f"No default subnet for availability zone '{wanted_zone}'.")


def groups(account: str, region: str, ids: list[str], vpc_id: str) -> list[dict[str, str]]:
    """Security groups as an instance shows them; the VPC's default group when none is named."""
    held = backend(account, region)
    if not ids:
        default = held.get_default_security_group(vpc_id)
        return [{"GroupId": default.id, "GroupName": default.name}] if default else []
    result = []
    for identifier in ids:
        group = held.get_security_group_from_id(identifier)
        if group is None:
            raise AwsError("InvalidGroup.NotFound", f"The security group '{identifier}' does not exist")
        if group.vpc_id != vpc_id:
            raise bad_value(f"Security group {identifier} and the subnet belong to different networks.")
        result.append({"GroupId": group.id, "GroupName": group.name})
    return result


def take_address(here: Region, net: Any, wanted: str | None, owner: str) -> str:
    """Give an address of the subnet to `owner`; InvalidIPAddress.InUse when the wanted one is taken."""
    taken, cidr = here.addresses[net.id], net.cidr
    if wanted is None:
        start = int(cidr.network_address)
        for number in range(start + RESERVED_LOW + len(taken), start + cidr.num_addresses - 1):
            candidate = str(ipaddress.ip_address(number))
            if candidate not in taken:
                taken[candidate] = owner
                return candidate
        for number in range(start + RESERVED_LOW, start + cidr.num_addresses - 1):
            candidate = str(ipaddress.ip_address(number))
            if candidate not in taken:
                taken[candidate] = owner
                return candidate
        raise AwsError("InsufficientFreeAddressesInSubnet", f"No free address in subnet {net.id}.")
    address = ipaddress.ip_address(wanted)
    place = int(address) - int(cidr.network_address)
    if address not in cidr or place < RESERVED_LOW or place == cidr.num_addresses - 1:
        raise bad_value(f"Address {wanted} does not fall within the subnet's address range")
    if wanted in taken:
        raise AwsError("InvalidIPAddress.InUse", f"Address {wanted} is in use.")
    taken[wanted] = owner
    return wanted


def free_addresses(here: Region, owner: str) -> None:
    for taken in here.addresses.values():
        for address in [a for a, who in taken.items() if who == owner]:
            del taken[address]


def check_key_pair(account: str, region: str, name: str | None) -> None:
    if name and name not in backend(account, region).key_pairs:
        raise AwsError("InvalidKeyPair.NotFound", f"The key pair '{name}' does not exist")


def profile_arn(account: str, profile: dict[str, str] | None) -> str | None:
    """The ARN of an instance profile given by name or ARN; it must exist in IAM."""
    if not profile:
        return None
    from moto.iam import iam_backends

    for held in iam_backends[account]["aws"].instance_profiles.values():
        if held.name == profile.get("Name") or held.arn == profile.get("Arn"):
            return held.arn
    raise bad_value(f"Value ({profile.get('Name') or profile.get('Arn')}) for parameter iamInstanceProfile is invalid.")
