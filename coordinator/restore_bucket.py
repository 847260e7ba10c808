"""The restore of a bucket: one step that copies objects back, into the bucket they came from or another. Pure."""

from collections.abc import Mapping
from typing import Any

from coordinator.restore_draft import Draft
from coordinator.restore_facts import missing
from tasks.errors import Invalid

_GIB = 1 << 30
# What the step is told of the place where the objects are kept; figures stay in the point.
_PLACE = ("bucket", "prefix", "region", "owner", "versioned", "opaque", "as_of")


def plan_bucket(draft: Draft, values: Mapping[str, Any], tags: Mapping[str, str]) -> None:
    """Copy every object of the point, or those under a prefix, back into a bucket; it is made if there is none."""
    point, kept = draft.point, dict(draft.point.captured("sync", {}))
    if not kept:
        raise Invalid(f"Point {point.id} does not say where its objects are.", code="no-parts")
    if draft.request.tags:
        raise Invalid("--tag is not for buckets: objects come back with their own tags.", code="option-value")
    bucket, prefix = str(values.get("bucket") or point.resource_id), str(values.get("prefix", ""))
    account, region = str(values.get("account") or point.home_account), str(values.get("region") or point.home_region)
    if not account:
        raise missing("settings", "--set account=... says whose bucket it is")
    if bucket == kept["bucket"]:
        raise Invalid(f"{bucket} is where the objects are kept.", advice="Restore into another bucket.")
    like = {name: point.captured(name) for name in ("versioning", "encryption") if point.captured(name)}
    if region != point.home_region or account != point.home_account:
        like.pop("encryption", None)  # its key exists at home only
    params = {
        "bucket": bucket,
        "account": account,
        "region": region,
        "prefix": prefix,
        "kms_key": values.get("kms_key", ""),
        "archived": values.get("archived", ""),
        "from": {name: kept[name] for name in _PLACE if name in kept},
        "like": {**like, "tags": dict(tags)},
    }
    which = f"the objects under {prefix!r}" if prefix else "all objects"
    why = f"Copy {which} of {point.resource_id} from {kept['bucket']} into {bucket} of {account}."
    draft.title = f"into the bucket {bucket} of {account}"
    draft.add("copy", "restore-bucket", params, why)
    _tell(draft, kept, prefix)


def _tell(draft: Draft, kept: Mapping[str, Any], prefix: str) -> None:
    amount = f"{kept.get('objects', 0)} objects, {kept.get('bytes', 0) / _GIB:.1f} GiB"
    draft.notes.append(f"The point has {amount}{', of which those under the prefix are copied' if prefix else ''}.")
    if kept.get("versioned"):
        draft.notes.append(f"As of {kept['as_of']}: what was changed or deleted there since is not in it.")
    else:
        draft.warnings.append(f"{kept['bucket']} keeps no versions: what is there now is restored.")
    draft.notes.append("Nothing is deleted: objects that the bucket has besides stay, and equal ones are not copied.")
    draft.notes.append("What a restore that breaks off has copied stays, and another one goes on from there.")
