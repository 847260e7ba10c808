"""Copies of warehouses' snapshots, in the ways that Redshift has.

Facts ("Sharing snapshots", "Cross-Region snapshot copy", Redshift management guide): another account can restore a
shared snapshot, and neither copy nor delete it. So a copy there is either the loan itself (share-only: it goes with its
source), or made of a temporary cluster that is restored there (materialise): two hops, the first of which makes the
cluster as an intermediate point, the second a snapshot of it, which is full; of Serverless through a temporary
namespace (workers.aws.redshift_temporary). To another region the cluster copies by itself, under the source's name;
that copy is only found.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from botocore.exceptions import ClientError

from tasks.errors import Denied, Gone, Impossible, NotReady
from workers.aws import redshift_clusters, redshift_temporary
from workers.aws.ec2_copy import partition, same_account
from workers.aws.errors import translated
from workers.aws.redshift_backup import SNAPSHOT, check_ours, follow, house_of, part_of, taken
from workers.aws.redshift_copying import CARRIED, CLUSTER, FULL, SHARE, Copying
from workers.aws.redshift_serverless import NAMESPACE
from workers.aws.session import Clients
from workers.aws.tags import name_for
from workers.driver import TAG_JOB, Destination, Part, Point, Started

MATERIALISE = "materialise"
# RA3 clusters cannot switch automated snapshots off (RestoreFromClusterSnapshot, AutomatedSnapshotRetentionPeriod).
_LEAST_AUTOMATED_DAYS = 1
_FULL = FULL.format(what="cluster")
_ELSEWHERE = (
    "{name} did not copy its snapshots to {region} when this one was made{other}. Allow it with options.cluster_copy: "
    "yes in the DR entry; snapshots from the next backup on are copied."
)


def plan_copy_problem(point: Point, destination: Destination) -> str:
    """'' or why AWS can never make this copy, from what is known of both ends; no call."""
    if partition(point.region) != partition(destination.region):
        return f"AWS copies nothing between {point.region} and {destination.region}: they belong to separate clouds."
    if same_account(point.account, destination.account):
        return ""
    if point.region != destination.region:
        return "A shared Redshift snapshot can only be restored in its own region."
    if any(part.attributes.get("default_key") for part in point.parts):
        return "A snapshot under the account's default key (aws/redshift) can be shared with nobody."
    return ""


def start_copy(copying: Copying) -> Started:
    """Begin a copy, or adopt what this key began."""
    problem = plan_copy_problem(copying.point, copying.destination)
    if problem:
        raise Impossible(problem, code="copy-impossible")
    if copying.part.attributes.get(CLUSTER):
        return _of_temporary(copying)
    if copying.part.attributes.get(NAMESPACE):
        return redshift_temporary.of_temporary(copying)
    if copying.source.number() == copying.target.number():
        return _carried(copying)
    if copying.request.options.get("mode") == MATERIALISE:
        serverless = bool(copying.part.attributes.get("serverless"))
        return redshift_temporary.temporary(copying) if serverless else _temporary(copying)
    return _lent(copying)


def _lent(copying: Copying) -> Started:
    """The right to restore the source itself."""
    part, house = copying.part, house_of(copying.part.attributes)
    copying.request.proceed()
    house.share(copying.source, str(part.attributes["arn"]), copying.target.number())
    arn, owner = str(part.attributes["arn"]), copying.source.number()
    detail = {"owner": owner, "serverless": house.SERVERLESS, "created_at": part.attributes.get("created_at", "")}
    there = replace(part, external_id=arn, attributes={**part.attributes, "owner": owner, "lent": True})
    return Started((copying.tools.operation(SHARE, arn, copying.target, **detail),), (there,), lent=True)


def _carried(copying: Copying) -> Started:
    """The copy that the cluster makes itself; it may not be there yet."""
    part, place = copying.part, copying.target.region
    house, found = house_of(part.attributes), copying.point.resource.attributes
    made = house.snapshot(copying.target, part.external_id)
    if made is None and found.get("copy_region") != place:
        if house.snapshot(copying.source, part.external_id) is None:
            raise Gone(f"The snapshot {part.external_id} does not exist any more.")
        other = f", but to {found['copy_region']}" if found.get("copy_region") else ""
        text = _ELSEWHERE.format(name=found.get("name", "The cluster"), region=place, other=other)
        raise Impossible(text, code="not-carried")
    copying.request.proceed()
    created = part.attributes.get("created_at", "")
    detail = {"serverless": house.SERVERLESS, "created_at": created, "tags": copying.tags}
    operation = copying.tools.operation(CARRIED, part.external_id, copying.target, **detail)
    attributes: dict[str, Any] = {"serverless": house.SERVERLESS, "carried": True, "source_snapshot": part.external_id}
    if made is None:
        return Started((operation,), (replace(part, kms_key_id="", attributes=attributes),))
    there = part_of(copying.tools, copying.target, made, **attributes)
    return Started((operation,), (there,), adopted=True)


def _temporary(copying: Copying) -> Started:
    """The first hop of a materialised copy: a cluster in the other account, named after the wish."""
    name, part, target = name_for(copying.request.key), copying.part, copying.target
    found = redshift_clusters.cluster(target, name)
    adopted = found is not None
    if found is None:
        redshift_clusters.share(copying.source, str(part.attributes["arn"]), target.number())
        found, adopted = _restored(copying, name)
    if TAG_JOB not in {tag["Key"] for tag in found.get("Tags") or []}:
        redshift_clusters.tag(target, redshift_clusters.cluster_arn(target, name), copying.tags)
    made = Part(
        external_id=name,
        source_id=part.source_id,
        size_gib=part.size_gib,
        encrypted=bool(found.get("Encrypted")),
        kms_key_id=str(found.get("KmsKeyId") or ""),
        attributes={CLUSTER: True, "source_snapshot": part.external_id},
    )
    return Started((copying.tools.operation(CLUSTER, name, target),), (made,), warnings=(_FULL,), adopted=adopted)


def _restored(copying: Copying, name: str) -> tuple[dict[str, Any], bool]:
    options = copying.request.options
    asked: dict[str, Any] = {
        "ClusterIdentifier": name,
        "SnapshotIdentifier": copying.part.external_id,
        "OwnerAccount": copying.source.number(),
        "PubliclyAccessible": False,
        "AutomatedSnapshotRetentionPeriod": _LEAST_AUTOMATED_DAYS,
        **({"KmsKeyId": copying.destination.kms_key} if copying.destination.kms_key else {}),
        **({"ClusterSubnetGroupName": options["subnet_group"]} if options.get("subnet_group") else {}),
    }
    client = copying.target.create("redshift")
    copying.request.proceed()
    try:
        with translated("RestoreFromClusterSnapshot", guard=copying.tools.pace.guard):
            return restore_or_find(copying.target, name, lambda: client.restore_from_cluster_snapshot(**asked))
    except (Gone, Denied) as error:  # a share takes a moment to be seen by the other account
        unseen = isinstance(error, Gone) or "AccessToSnapshotDenied" in error.text
        if unseen and redshift_clusters.snapshot(copying.source, copying.part.external_id) is not None:
            text = f"{copying.target.account.name} does not see {copying.part.external_id} yet. {error.text}"
            raise NotReady(text, code="share-unseen") from None
        raise


def restore_or_find(clients: Clients, name: str, call: Callable[[], Any]) -> tuple[dict[str, Any], bool]:
    """The cluster that a call makes, or that is there under its name, and whether it was."""
    try:
        return dict(call()["Cluster"]), False
    except ClientError as error:
        if redshift_clusters.code_of(error) != "ClusterAlreadyExists":
            raise
    found = redshift_clusters.cluster(clients, name)
    if found is None:
        raise NotReady(f"The cluster {name} exists and cannot be seen yet.", code="cluster-unseen")
    return found, True


def _of_temporary(copying: Copying) -> Started:
    """The second hop: a snapshot of the temporary cluster, which belongs to the other account alone."""
    target, key = copying.target, copying.request.key
    house = redshift_clusters
    made = None if copying.request.fresh else house.snapshot(target, name_for(key))
    adopted = made is not None
    if made is None:
        made, adopted = taken(copying.tools, house, target, copying.part.external_id, copying.request, copying.tags)
    check_ours(made, key)
    source = copying.part.attributes.get("source_snapshot", "")
    part = part_of(copying.tools, target, made, serverless=False, source_snapshot=source)
    part = replace(part, source_id=copying.part.source_id, size_gib=part.size_gib or copying.part.size_gib)
    operation = follow(copying.tools, SNAPSHOT, made, target, serverless=False)
    return Started((operation,), (part,), warnings=(_FULL,), adopted=adopted)
