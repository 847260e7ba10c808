"""Namespaces and workgroups of Redshift Serverless: made, listed, deleted, tagged, and their copying to a region.

"CreateNamespace", "CreateWorkgroup", "ListNamespaces", "ListTagsForResource", "CreateSnapshotCopyConfiguration"
(Redshift Serverless API reference). Tags are not told with what is listed.
"""

from typing import Any

from deploy.sandbox import redshift, relational, rest
from deploy.sandbox.call import Call, operation
from deploy.sandbox.errors import AwsError, required
from deploy.sandbox.redshift import here
from deploy.sandbox.relational import Database

SERVICE = "redshift-serverless"
_NAMESPACE = ("dbName", "iamRoles", "defaultIamRoleArn", "logExports", "adminUsername")
_WORKGROUP = (
    "baseCapacity", "maxCapacity", "enhancedVpcRouting", "publiclyAccessible", "securityGroupIds", "subnetIds", "port",
    "configParameters", "ipAddressType", "trackName", "pricePerformanceTarget",
)  # fmt: skip
_PAGE = 100


def missing(kind: str, name: str) -> AwsError:
    return AwsError("ResourceNotFoundException", f"The {kind} {name} does not exist.", 404)


def given_tags(parameters: dict) -> dict[str, str]:
    return {one["key"]: one.get("value", "") for one in parameters.get("tags") or []}


def namespace(call: Call, name: str) -> Database:
    found = here(call).namespaces.get((name or "").lower())
    if found is None:
        raise missing("namespace", name)
    return found


def workgroup(call: Call, name: str) -> Database:
    found = here(call).workgroups.get((name or "").lower())
    if found is None:
        raise missing("workgroup", name)
    return found


def workgroups_of(call: Call, name: str) -> list[Database]:
    return [one for one in here(call).workgroups.values() if one.spec["namespaceName"] == name]


def namespace_view(one: Database, now: Any) -> dict[str, Any]:
    busy = one.busy_until is not None and now < one.busy_until
    told = {key: one.spec[key] for key in (*_NAMESPACE, "adminPasswordSecretArn") if key in one.spec}
    return {
        **told,
        "namespaceName": one.name,
        "namespaceId": one.resource_id,
        "namespaceArn": one.arn,
        "status": "MODIFYING" if busy else "AVAILABLE",
        "kmsKeyId": one.key or "AWS_OWNED_KMS_KEY",
        "creationDate": one.created_at,
    }


def workgroup_view(one: Database, now: Any) -> dict[str, Any]:
    told = {key: one.spec[key] for key in (*_WORKGROUP, "namespaceName") if key in one.spec}
    return {
        **told,
        "workgroupName": one.name,
        "workgroupId": one.resource_id,
        "workgroupArn": one.arn,
        "status": "CREATING" if now < one.ready_at else "AVAILABLE",
        "creationDate": one.created_at,
    }


def _add(call: Call, shelf: dict[str, Database], kind: str, name: str, spec: dict, tags: dict) -> Database:
    name = redshift.check_name(name)
    if name in shelf:
        raise AwsError("ConflictException", f"The {kind} {name} exists already.", 400)
    number = redshift.guid(call)
    arn = f"arn:aws:redshift-serverless:{call.region}:{call.account}:{kind}/{number}"
    ready_at = call.now + relational.seconds(call, "database_seconds")
    return shelf.setdefault(name, Database(name, number, arn, spec, call.now, ready_at, tags=tags))


@operation(SERVICE, "CreateNamespace")
def create_namespace(call: Call, parameters: dict) -> dict:
    spec = {key: parameters[key] for key in _NAMESPACE if parameters.get(key) is not None}
    spec.setdefault("dbName", "dev")
    if parameters.get("manageAdminPassword"):
        spec["adminPasswordSecretArn"] = f"arn:aws:secretsmanager:{call.region}:{call.account}:secret:redshift"
    key = redshift.new_key(call, parameters.get("kmsKeyId"), encrypted=False)
    spec |= {"KmsKeyId": key} if key else {}
    shelf, name = here(call).namespaces, required(parameters, "namespaceName")
    made = _add(call, shelf, "namespace", name, spec, given_tags(parameters))
    return {"namespace": namespace_view(made, call.now)}


@operation(SERVICE, "CreateWorkgroup")
def create_workgroup(call: Call, parameters: dict) -> dict:
    home = namespace(call, required(parameters, "namespaceName"))
    if workgroups_of(call, home.name):
        raise AwsError("ConflictException", f"The namespace {home.name} has a workgroup already.", 400)
    spec = {key: parameters[key] for key in _WORKGROUP if parameters.get(key) is not None}
    spec = {"baseCapacity": 128, "port": 5439, "publiclyAccessible": False, "enhancedVpcRouting": False, **spec}
    spec.setdefault("securityGroupIds", ["sg-default"])
    spec.setdefault("subnetIds", ["subnet-default"])
    spec["namespaceName"] = home.name
    name = required(parameters, "workgroupName")
    made = _add(call, here(call).workgroups, "workgroup", name, spec, given_tags(parameters))
    return {"workgroup": workgroup_view(made, call.now)}


@operation(SERVICE, "GetNamespace")
def get_namespace(call: Call, parameters: dict) -> dict:
    return {"namespace": namespace_view(namespace(call, required(parameters, "namespaceName")), call.now)}


@operation(SERVICE, "GetWorkgroup")
def get_workgroup(call: Call, parameters: dict) -> dict:
    return {"workgroup": workgroup_view(workgroup(call, required(parameters, "workgroupName")), call.now)}


@operation(SERVICE, "ListNamespaces")
def list_namespaces(call: Call, parameters: dict) -> dict:
    some, token = rest.paged(list(here(call).namespaces.values()), parameters, _PAGE, "maxResults", "nextToken")
    return {"namespaces": [namespace_view(one, call.now) for one in some], "nextToken": token}


@operation(SERVICE, "ListWorkgroups")
def list_workgroups(call: Call, parameters: dict) -> dict:
    some, token = rest.paged(list(here(call).workgroups.values()), parameters, _PAGE, "maxResults", "nextToken")
    return {"workgroups": [workgroup_view(one, call.now) for one in some], "nextToken": token}


@operation(SERVICE, "DeleteWorkgroup")
def delete_workgroup(call: Call, parameters: dict) -> dict:
    held = workgroup(call, required(parameters, "workgroupName"))
    del here(call).workgroups[held.name]
    return {"workgroup": {**workgroup_view(held, call.now), "status": "DELETING"}}


@operation(SERVICE, "DeleteNamespace")
def delete_namespace(call: Call, parameters: dict) -> dict:
    held = namespace(call, required(parameters, "namespaceName"))
    if workgroups_of(call, held.name):
        raise AwsError("ConflictException", f"The namespace {held.name} has a workgroup.", 400)
    del here(call).namespaces[held.name]
    return {"namespace": {**namespace_view(held, call.now), "status": "DELETING"}}


def _tags(call: Call, parameters: dict) -> dict[str, str]:
    held = here(call).tagged(required(parameters, "resourceArn"))
    if held is None:
        raise missing("resource", parameters["resourceArn"])
    return held


@operation(SERVICE, "ListTagsForResource")
def list_tags_for_resource(call: Call, parameters: dict) -> dict:
    return {"tags": [{"key": key, "value": value} for key, value in _tags(call, parameters).items()]}


@operation(SERVICE, "TagResource")
def tag_resource(call: Call, parameters: dict) -> dict:
    _tags(call, parameters).update(given_tags(parameters))
    return {}


@operation(SERVICE, "UntagResource")
def untag_resource(call: Call, parameters: dict) -> dict:
    held = _tags(call, parameters)
    for key in parameters.get("tagKeys") or []:
        held.pop(key, None)
    return {}


@operation(SERVICE, "CreateSnapshotCopyConfiguration")
def create_snapshot_copy_configuration(call: Call, parameters: dict) -> dict:
    held, region = namespace(call, required(parameters, "namespaceName")), required(parameters, "destinationRegion")
    if held.spec.get("copying"):
        raise AwsError("ConflictException", f"{held.name} copies its snapshots already.", 400)
    held.spec["copying"] = {
        "namespaceName": held.name,
        "destinationRegion": region,
        "destinationKmsKeyId": parameters.get("destinationKmsKeyId"),
        "snapshotRetentionPeriod": parameters.get("snapshotRetentionPeriod", -1),
        "snapshotCopyConfigurationId": redshift.guid(call),
    }
    return {"snapshotCopyConfiguration": held.spec["copying"]}


@operation(SERVICE, "ListSnapshotCopyConfigurations")
def list_snapshot_copy_configurations(call: Call, parameters: dict) -> dict:
    name = parameters.get("namespaceName")
    held = [namespace(call, name)] if name else list(here(call).namespaces.values())
    return {"snapshotCopyConfigurations": [one.spec["copying"] for one in held if one.spec.get("copying")]}
