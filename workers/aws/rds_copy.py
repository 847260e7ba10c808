"""Copies of database snapshots: shared by the owner across accounts, begun in the destination.

Facts (RDS and Aurora user guides, "Copying a DB snapshot"; DocumentDB developer guide, "Copying cluster snapshots"; API
references): an encrypted copy that leaves its region or account names a key of the destination; a key given for an
unencrypted cluster snapshot is an error; SourceRegion makes the SDK add the presigned URL that another region's copy
needs; one call may cross account and region for RDS and Aurora, older rules want two.
"""

from dataclasses import dataclass, replace
from typing import Any

from botocore.exceptions import ClientError

from tasks.errors import Gone, Impossible, Invalid, NotReady, SnapfleetError
from workers.aws.ec2_copy import partition, same_account
from workers.aws.errors import translated
from workers.aws.rds_backup import Tools, check_ours, creating, described, existing, part_of, snapshot_tags
from workers.aws.rds_calls import Answer
from workers.aws.session import Clients
from workers.aws.tags import TAG_SOURCE_SNAPSHOT, name_for, write_tags
from workers.driver import CopyRequest, Destination, Part, Point, Started

DEFAULT_KEY_ALIAS = "alias/aws/rds"  # KmsKeyId takes an alias; it is AWS's own key of RDS in the destination
_SHARED_KEY = (
    "{name} is encrypted with the account's default key (aws/rds), which AWS lets nobody share: copy it under a "
    "customer-managed key in its own account first, and copy that to the other account."
)
_STAYS_PLAIN = "The snapshot is not encrypted, and AWS does not encrypt it by copying: kms_key was left out."


def plan_copy_problem(point: Point, destination: Destination) -> str:
    """'' or why AWS can never make this copy, from what is known of both ends; no call."""
    if partition(point.region) != partition(destination.region):
        return f"AWS copies nothing between {point.region} and {destination.region}: they belong to separate clouds."
    if same_account(point.account, destination.account):
        return ""
    for part in point.parts:
        if part.attributes.get("default_key"):
            return _SHARED_KEY.format(name=part.external_id)
    if point.resource.attributes.get("persistent_options"):
        return "AWS shares no snapshot whose option group has a persistent or permanent option (such as TDE)."
    return ""


@dataclass(frozen=True)
class Copying:
    """One copy to begin: the clients of both ends, and the wish."""

    tools: Tools
    source: Clients
    target: Clients
    destination: Destination
    request: CopyRequest

    @property
    def across(self) -> bool:
        return self.source.number() != self.target.number()

    @property
    def away(self) -> bool:
        return self.source.region != self.target.region


def start_copy(copying: Copying, point: Point) -> Started:
    """Begin the copy of a point's snapshot, or adopt what this key began."""
    problem = plan_copy_problem(point, copying.destination)
    if problem:
        raise Impossible(problem, code="copy-impossible")
    tools, target = copying.tools, copying.target
    part, name = point.parts[0], name_for(copying.request.key)
    made = None if copying.request.fresh else described(tools.family, target, name)
    adopted, warnings = made is not None, []
    if made is None:
        if copying.across:
            _share(copying, part)
        made, adopted = _copy(copying, point, part, name)
    check_ours(tools.family, made, copying.request.key)
    if copying.destination.kms_key and tools.family.clustered and not part.encrypted:
        warnings.append(_STAYS_PLAIN)
    copied = part_of(tools, target, made)
    copied = replace(
        copied,
        source_id=part.source_id,
        size_gib=copied.size_gib or part.size_gib,
        attributes={**copied.attributes, "source_snapshot": part.external_id},
    )
    operation = tools.operation("copy", name, target.account, target.region, source=part.external_id)
    return Started((operation,), (copied,), warnings=tuple(warnings), adopted=adopted)


def _share(copying: Copying, part: Part) -> None:
    """Let the other account copy the snapshot; doing it twice changes nothing."""
    family = copying.tools.family
    family.called(
        family.read(copying.source),
        family.share,
        **{family.identifier: part.external_id},
        AttributeName="restore",
        ValuesToAdd=[copying.target.number()],
    )


def _copy(copying: Copying, point: Point, part: Part, name: str) -> tuple[Answer, bool]:
    family = copying.tools.family
    tags, _ = snapshot_tags(
        copying.request.key,
        {**copying.request.tags, TAG_SOURCE_SNAPSHOT: part.external_id},
        dict(point.resource.attributes.get("tags", {})),
    )
    parameters = {
        f"Source{family.noun}Identifier": _arn(copying, part),
        f"Target{family.noun}Identifier": name,
        "Tags": write_tags(tags),
        **_key(copying, part),
        **({"SourceRegion": copying.source.region} if copying.away else {}),
    }
    try:
        with translated(family.copy, guard=copying.tools.pace.guard):
            return _called(copying, parameters, name)
    except Gone as error:
        raise _missing_source(copying, part, error) from None
    except Invalid as error:
        if copying.across and copying.away:
            text = f"{error.text} It takes two hops: across the region first, then across the account."
            raise Impossible(text, code="two-hops") from None
        raise


def _called(copying: Copying, parameters: dict[str, Any], name: str) -> tuple[Answer, bool]:
    family = copying.tools.family
    client = creating(copying.tools, copying.target, copying.request)
    try:
        made: Answer = family.called(client, family.copy, **parameters)[family.noun]
    except ClientError as error:
        if error.response.get("Error", {}).get("Code") != family.taken:
            raise
        return existing(family, copying.target, name), True
    return made, False


def _key(copying: Copying, part: Part) -> dict[str, str]:
    """KmsKeyId as the rules of each kind want it."""
    key = copying.destination.kms_key
    if not part.encrypted:
        return {"KmsKeyId": key} if key and not copying.tools.family.clustered else {}
    if key:
        return {"KmsKeyId": key}
    return {"KmsKeyId": DEFAULT_KEY_ALIAS} if copying.across or copying.away else {}


def _arn(copying: Copying, part: Part) -> str:
    known = str(part.attributes.get("arn", ""))
    if known:
        return known
    kind = "cluster-snapshot" if copying.tools.family.clustered else "snapshot"
    region, number = copying.source.region, copying.source.number()
    return f"arn:{partition(region)}:rds:{region}:{number}:{kind}:{part.external_id}"


def _missing_source(copying: Copying, part: Part, error: Gone) -> SnapfleetError:
    """A share takes a moment to be seen by the other account: only what its owner misses too is gone."""
    if copying.across and described(copying.tools.family, copying.source, part.external_id) is not None:
        return NotReady(f"{copying.target.account.name} does not see {part.external_id} yet.", code="share-unseen")
    return error
