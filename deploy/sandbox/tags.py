"""CreateTags, DeleteTags, DescribeTags and the tags in TagSpecifications.

"Tag your Amazon EC2 resources" (EC2 user guide): at most 50 tags a resource, keys to 128 and values to 256
characters, the prefix `aws:` is reserved.
"""

from typing import Any

from deploy.sandbox import network
from deploy.sandbox.call import Call, operation
from deploy.sandbox.errors import AwsError, bad_value, missing, required
from deploy.sandbox.wildcards import matcher

TYPES = {
    "vol": "volume",
    "snap": "snapshot",
    "ami": "image",
    "i": "instance",
    "replacevol": "replace-root-volume-task",
}


def checked(tags: list[dict[str, str]]) -> dict[str, str]:
    """Tags of a request as a dictionary, or the error that AWS would give."""
    result: dict[str, str] = {}
    for tag in tags:
        key, value = tag.get("Key", ""), tag.get("Value", "")
        if not key or len(key) > 128:
            raise bad_value("Tag keys must be between 1 and 128 characters")
        if len(value) > 256:
            raise bad_value("Tag value exceeds the maximum length of 256 characters")
        if key.lower().startswith("aws:"):
            raise bad_value("Tag keys starting with 'aws:' are reserved for internal use")
        if any(ord(c) < 32 and c not in "\t\n\r" for c in key + value):
            raise bad_value("Tags must not hold characters that XML cannot carry")
        if key in result:
            raise bad_value(f"Duplicate tag key '{key}' specified.")
        result[key] = value
    if len(result) > 50:
        raise AwsError("TagLimitExceeded", "The maximum number of tags for a resource is 50.")
    return result


def specified(parameters: dict[str, Any], *types: str) -> dict[str, dict[str, str]]:
    """TagSpecifications by resource type; a type that the operation does not create is refused."""
    result: dict[str, dict[str, str]] = {t: {} for t in types}
    for entry in parameters.get("TagSpecifications", []):
        kind = entry.get("ResourceType")
        if kind not in types:
            raise bad_value(f"'{kind}' is not a valid taggable resource type for this operation.")
        result[kind] = checked(entry.get("Tags", []))
    return result


def _owned(call: Call, identifier: str) -> Any:
    kind = call.here.kind_of(identifier)
    if kind is None:
        return None
    if identifier not in kind:
        raise missing(identifier.split("-", 1)[0], identifier)
    return kind[identifier]


@operation("ec2", "CreateTags")
def create_tags(call: Call, parameters: dict) -> dict:
    tags = checked(required(parameters, "Tags"))
    found = [(i, _owned(call, i)) for i in required(parameters, "Resources")]
    for _, resource in found:
        if resource is not None and len(resource.tags | tags) > 50:
            raise AwsError("TagLimitExceeded", "The maximum number of tags for a resource is 50.")
    for identifier, resource in found:
        if resource is None:
            network.backend(call.account, call.region).create_tags([identifier], tags)
        else:
            call.here.tags.put(resource, tags)
    return {"Return": True}


@operation("ec2", "DeleteTags")
def delete_tags(call: Call, parameters: dict) -> dict:
    for identifier in required(parameters, "Resources"):
        resource = _owned(call, identifier)
        wanted = {t["Key"]: t.get("Value") for t in parameters.get("Tags", [])}
        if resource is None:
            network.backend(call.account, call.region).delete_tags([identifier], wanted)
        else:
            call.here.tags.remove(resource, wanted or dict.fromkeys(resource.tags))
    return {"Return": True}


@operation("ec2", "DescribeTags")
def describe_tags(call: Call, parameters: dict) -> dict:
    here, rows = call.here, []
    for kind in (here.instances, here.volumes, here.snapshots, here.images, here.tasks):
        for resource in kind.values():
            name = TYPES[resource.id.split("-", 1)[0]]
            rows += [(resource.id, name, k, v) for k, v in resource.tags.items()]
    for tag in network.backend(call.account, call.region).describe_tags():
        rows.append((tag["resource_id"], tag["resource_type"], tag["key"], tag["value"]))
    columns = {"resource-id": 0, "resource-type": 1, "key": 2, "value": 3}
    for entry in parameters.get("Filters", []):
        name, fits = entry["Name"], matcher(entry.get("Values", []))
        if name.startswith("tag:"):
            rows = [r for r in rows if r[2] == name[4:] and fits(r[3])]
        elif name in columns:
            rows = [r for r in rows if fits(r[columns[name]])]
        else:
            raise bad_value(f"The filter '{name}' is invalid")
    start, limit = int(parameters.get("NextToken") or 0), parameters.get("MaxResults") or len(rows)
    names = ("ResourceId", "ResourceType", "Key", "Value")
    answer: dict[str, Any] = {"Tags": [dict(zip(names, r, strict=True)) for r in rows[start : start + limit]]}
    if start + limit < len(rows):
        answer["NextToken"] = str(start + limit)
    return answer
