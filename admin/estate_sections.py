"""The records of an estate file beside its policies: accounts, schedules, repositories."""

from typing import Any

from admin.estate_checks import (
    WRONG,
    Field,
    choice,
    did_you_mean,
    duration,
    flag,
    kms_key,
    list_of,
    matching,
    name,
    plain,
    region,
    secret,
    text,
)
from admin.estate_yaml import Located, Path
from coordinator.grid import DisabledRange, Grid
from tasks.lanes import POOL
from tasks.limits import FAMILIES, SHARE
from tasks.resources import TYPES

_UUID = matching(
    r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}", "an id such as 00000000-0000-0000-0000-000000000001"
)
# IAM user guide, identifiers: partitions aws, aws-cn, aws-us-gov; role names may have a path.
_ROLE = matching(r"arn:aws[a-z-]*:iam::\d{12}:role/[\w+=,.@/-]+", "a role such as arn:aws:iam::111111111111:role/NAME")


def _pool(value: Any) -> str:
    """A worker pool's name."""
    if not isinstance(value, str) or not POOL.fullmatch(value):
        raise ValueError(f"{value!r} is not a worker pool: 1 to 32 small letters, digits or '-'")
    return value


def _region_pools(value: Any) -> dict[str, str]:
    """Regions to worker pools."""
    if not isinstance(value, dict) or not value:
        raise ValueError("is not a mapping of regions to worker pools, such as {eu-west-1: site-a}")
    return {region(key): _pool(pool) for key, pool in sorted(value.items())}


def _limits(value: Any) -> dict[str, Any]:
    """An account's own limits, in the form that `tasks.limits.Limits` reads."""
    shape = "{share: 0.6, requests: {ec2.create-snapshot: [100, 5]}, copy_slots: {ec2: 18}}"
    if not isinstance(value, dict) or not value or not set(value) <= {"share", "requests", "copy_slots"}:
        raise ValueError(f"is not a mapping such as {shape}")
    share, requests, slots = value.get("share", SHARE), value.get("requests") or {}, value.get("copy_slots") or {}
    if isinstance(share, bool) or not isinstance(share, int | float) or not 0 < share <= 1:
        raise ValueError(f"share: {share!r} is not a part of the cloud's limits: above 0, at most 1")
    for family, bucket in requests.items():
        if family not in FAMILIES:
            raise ValueError(f"requests: {family!r} is no family of calls; there are {', '.join(FAMILIES)}")
        good = isinstance(bucket, list) and len(bucket) == 2 and all(type(one) in (int, float) for one in bucket)
        if not good or min(bucket) <= 0:
            raise ValueError(f"requests: {family} is not [size, per second], two numbers above 0")
    for service, count in slots.items():
        if service not in _SERVICES or type(count) is not int or count < 1:
            raise ValueError(f"copy_slots: {service}: {count!r} is not a service ({', '.join(_SERVICES)}) and a number")
    return {key: dict(item) if isinstance(item, dict) else item for key, item in sorted(value.items())}


_SERVICES = tuple(sorted({kind.service for kind in TYPES.values()}))
AWS_ONLY = (
    "role_arn",
    "cleanup_role_arn",
    "restore_role_arn",
    "external_id",
    "profile",
    "backup_vault",
    "backup_role_arn",
)
AZURE_ONLY = ("subscription_id", "tenant_id", "client_id", "client_secret", "storage_secret")
SECRETS = ("external_id", "client_secret", "storage_secret")

account_record = {
    "name": Field(plain(name), required=True),
    "cloud": Field(choice("aws", "azure"), default="aws"),
    "kind": Field(choice("backup", "dr"), default="backup"),
    "role_arn": Field(_ROLE),
    "cleanup_role_arn": Field(_ROLE),
    "restore_role_arn": Field(_ROLE),
    "external_id": Field(plain(secret)),
    "profile": Field(plain(text)),
    "backup_vault": Field(plain(name)),
    "backup_role_arn": Field(_ROLE),
    "subscription_id": Field(_UUID),
    "tenant_id": Field(_UUID),
    "client_id": Field(_UUID),
    "client_secret": Field(plain(secret)),
    "storage_secret": Field(plain(secret)),
    "regions": Field(list_of(plain(region), least=1), required=True),
    "may_delete": Field(plain(flag), default=True),
    "pool": Field(plain(_pool)),
    "region_pools": Field(plain(_region_pools)),
    "limits": Field(plain(_limits)),
}
repository_record = {
    "name": Field(plain(name), required=True),
    "account": Field(plain(name), required=True),
    "url": Field(
        matching(r"(s3|azure)://[^/\s]+(/[^\s]*)?", "s3://BUCKET/PREFIX or azure://ACCOUNT/CONTAINER/PREFIX"),
        required=True,
    ),
    "region": Field(plain(region), required=True),
    "key": Field(plain(secret)),
    "key_file": Field(plain(text)),
    "kms_key": Field(plain(kms_key)),
    "sse_kms_key": Field(plain(kms_key)),
    "lock": Field(plain(duration)),
}
_SCHEDULE_FIELDS = ("name", "description", "every", "starts_at", "ends_at", "time_zone", "days", "disabled", "spread")
# Values that stand in for a wrong one, so that the other fields are still judged.
_STAND_IN = {"every": "1mo", "starts_at": "1970-01-01"}


def check_account(file: Located, path: Path, spec: dict[str, Any]) -> None:
    """What fields of an account say together: each cloud has its own."""
    azure = spec.get("cloud") == "azure"
    for key in AWS_ONLY if azure else AZURE_ONLY:
        if key in spec:
            file.report((*path, key), f"is for {'aws' if azure else 'azure'} accounts; this one is {spec['cloud']}")
    if azure and "subscription_id" not in spec:
        file.report(path, "subscription_id is missing")
    for key in spec.get("region_pools", {}):
        if key not in spec.get("regions", ()):
            file.report((*path, "region_pools", key), "is not among the account's regions")
    for key in ("external_id", "cleanup_role_arn", "restore_role_arn"):
        if key in spec and "role_arn" not in spec:
            file.report((*path, key), "goes with role_arn")


def check_repository(file: Located, path: Path, spec: dict[str, Any]) -> None:
    """What fields of a repository say together: it opens by one key."""
    given = [key for key in ("key", "key_file", "kms_key") if key in spec]
    for key in given[1:]:
        file.report((*path, key), f"goes without {given[0]}: workers open a repository by one key")
    if "kms_key" in spec and str(spec.get("url", "")).startswith("azure:"):
        file.report((*path, "kms_key"), "is a key of AWS, which an account of Azure cannot use; give key or key_file")
    if "sse_kms_key" in spec and str(spec.get("url", "")).startswith("azure:"):
        file.report((*path, "sse_kms_key"), "is for s3:// repositories; Azure encrypts as the storage account says")


def read_schedule(file: Located, path: Path, value: Any) -> Any:
    """A schedule in the form that `Grid.to_spec` writes, with its name; every wrong field is reported."""
    if not isinstance(value, dict):
        file.report(path, f"is not a mapping with {', '.join(_SCHEDULE_FIELDS)}")
        return WRONG
    given = {key: item for key, item in value.items() if item is not None}
    for key in [key for key in given if key not in _SCHEDULE_FIELDS]:
        near = did_you_mean(key, _SCHEDULE_FIELDS)
        file.report((*path, key), f"unknown field; allowed are {', '.join(_SCHEDULE_FIELDS)}{near}")
        del given[key]
    head = {}
    for key, read in (("name", plain(name)), ("description", plain(text))):
        taken = read(file, (*path, key), given.pop(key)) if key in given else WRONG
        if taken is not WRONG:
            head[key] = taken
    if "name" not in value:
        file.report(path, "name is missing")
    _check_ranges(file, path, given)
    return {**head, **_grid(file, path, given)}


def _check_ranges(file: Located, path: Path, given: dict[str, Any]) -> None:
    """Judge each disabled range at its own line; the wrong ones are left out."""
    ranges = given.get("disabled")
    if not isinstance(ranges, list):
        return
    kept = []
    for index, entry in enumerate(ranges):
        try:
            DisabledRange.from_spec(entry)
            kept.append(entry)
        except ValueError as error:
            file.report((*path, "disabled", index), _without_field(str(error)))
    given["disabled"] = kept


def _grid(file: Located, path: Path, given: dict[str, Any]) -> dict[str, Any]:
    """The grid's canonical form. Each round reports one wrong field and goes on without it."""
    for _ in range(len(_SCHEDULE_FIELDS) + len(_STAND_IN)):
        try:
            return Grid.from_spec(given).to_spec()
        except ValueError as error:
            words = str(error)
            field = words.partition(":")[0].split(" ")[0].partition(".")[0]
            known = field in _SCHEDULE_FIELDS
            at = (*path, field) if known and field in given else path
            file.report(at, _without_field(words) if at != path else words)
            if not known or given.get(field) == _STAND_IN.get(field, ""):
                return {}
            given.pop(field, None)
            if field in _STAND_IN:
                given[field] = _STAND_IN[field]
    return {}


def _without_field(words: str) -> str:
    field, colon, rest = words.partition(": ")
    return rest if colon and " " not in field else words
