"""Tables as they are, and what a restore leaves out and is set again afterwards.

RestoreTableFromBackup (DynamoDB API reference) brings back items, keys, indexes, capacity and encryption. Auto scaling,
tags, stream settings, time to live, point-in-time recovery, deletion protection and the table class do not come back.
"""

from collections.abc import Callable, Mapping
from typing import Any

from botocore.exceptions import ClientError

from tasks.errors import Gone
from workers.aws.errors import translate, translated
from workers.aws.session import Clients
from workers.aws.tags import read_tags
from workers.driver import Resource, ResourcePage

# Two further calls a table: a page stays within seconds.
_PAGE = 25
_GIB = 1 << 30
_SCALING = "dynamodb"  # namespace of Application Auto Scaling
_RULES = ("TargetTrackingScalingPolicyConfiguration", "StepScalingPolicyConfiguration")


def discover(clients: Clients, page: str | None) -> ResourcePage:
    """A page of tables. ListTables is in order of name; the token is the last name."""
    dynamodb = clients.read("dynamodb")
    answer = dynamodb.list_tables(Limit=_PAGE, **({"ExclusiveStartTableName": page} if page else {}))
    found = []
    for name in answer["TableNames"]:
        try:
            found.append(describe(clients, name))
        except Gone:
            continue  # dropped between the two calls
    return ResourcePage(tuple(found), answer.get("LastEvaluatedTableName"))


def describe(clients: Clients, name: str) -> Resource:
    """One table with its tags. Raises Gone."""
    dynamodb = clients.read("dynamodb")
    with translated("DescribeTable"):
        table = dynamodb.describe_table(TableName=name)["Table"]
        tags = _tags(dynamodb, table["TableArn"])
    return Resource("dynamodb", name, clients.account, clients.region, name, tags, _attributes(table))


def _tags(dynamodb: Any, arn: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for page in dynamodb.get_paginator("list_tags_of_resource").paginate(ResourceArn=arn):
        found |= read_tags(page.get("Tags"))
    return found


def _attributes(table: Mapping[str, Any]) -> dict[str, Any]:
    stream, sse = table.get("StreamSpecification", {}), table.get("SSEDescription", {})
    capacity = table.get("ProvisionedThroughput", {})
    return {
        "arn": table["TableArn"],
        "state": table["TableStatus"],
        "key_schema": {one["KeyType"]: one["AttributeName"] for one in table.get("KeySchema", [])},
        "billing_mode": table.get("BillingModeSummary", {}).get("BillingMode") or "PROVISIONED",
        "read_capacity": int(capacity.get("ReadCapacityUnits") or 0),
        "write_capacity": int(capacity.get("WriteCapacityUnits") or 0),
        "indexes": sorted(
            one["IndexName"]
            for kind in ("GlobalSecondaryIndexes", "LocalSecondaryIndexes")
            for one in table.get(kind, [])
        ),
        "stream": str(stream.get("StreamViewType", "")) if stream.get("StreamEnabled") else "",
        "encryption": str(sse.get("SSEType", "")) if sse.get("Status") == "ENABLED" else "",
        "kms_key_id": str(sse.get("KMSMasterKeyArn", "")),
        "table_class": table.get("TableClassSummary", {}).get("TableClass") or "STANDARD",
        "deletion_protection": bool(table.get("DeletionProtectionEnabled")),
        "items": int(table.get("ItemCount") or 0),
        "size_bytes": int(table.get("TableSizeBytes") or 0),
    }


def size_gib(size_bytes: int) -> int:
    """Whole GiB, rounded up."""
    return -(-size_bytes // _GIB)


def settings(clients: Clients, name: str, indexes: list[str]) -> tuple[dict[str, Any], list[str]]:
    """What stands beside a table (time to live, recovery, scaling), and a warning for what may not be read."""
    dynamodb = clients.read("dynamodb")
    found: dict[str, Any] = {}
    warnings = []
    readers: dict[str, Callable[[], Any]] = {
        "ttl": lambda: _ttl(dynamodb.describe_time_to_live(TableName=name)["TimeToLiveDescription"]),
        "pitr": lambda: _pitr(dynamodb.describe_continuous_backups(TableName=name)["ContinuousBackupsDescription"]),
        "scaling": lambda: _scaling(clients, name, indexes),
    }
    for setting, read in readers.items():
        try:
            found[setting] = read()
        except ClientError as error:
            warnings.append(f"The setting {setting} was not captured. {translate(error).text}")
    return found, warnings


def _ttl(description: Mapping[str, Any]) -> str:
    """The attribute that says when an item ends, '' for none."""
    on = description.get("TimeToLiveStatus") in ("ENABLED", "ENABLING")
    return str(description.get("AttributeName", "")) if on else ""


def _pitr(description: Mapping[str, Any]) -> bool:
    recovery = description.get("PointInTimeRecoveryDescription", {})
    return bool(recovery.get("PointInTimeRecoveryStatus") == "ENABLED")


def _scaling(clients: Clients, name: str, indexes: list[str]) -> list[dict[str, Any]]:
    """Scalable targets of the table and its indexes, each with its policies; resources named from the table on."""
    scaling, table = clients.read("application-autoscaling"), f"table/{name}"
    found = []
    ids = [table, *(f"{table}/index/{index}" for index in indexes)]
    for page in scaling.get_paginator("describe_scalable_targets").paginate(ServiceNamespace=_SCALING, ResourceIds=ids):
        for target in page["ScalableTargets"]:
            policies = [
                {"name": one["PolicyName"], "type": one["PolicyType"], **{k: one[k] for k in _RULES if one.get(k)}}
                for part in scaling.get_paginator("describe_scaling_policies").paginate(
                    ServiceNamespace=_SCALING,
                    ResourceId=target["ResourceId"],
                    ScalableDimension=target["ScalableDimension"],
                )
                for one in part["ScalingPolicies"]
            ]
            found.append(
                {
                    "resource": target["ResourceId"].removeprefix(table),
                    "dimension": target["ScalableDimension"],
                    "least": int(target["MinCapacity"]),
                    "most": int(target["MaxCapacity"]),
                    "policies": policies,
                }
            )
    return found
