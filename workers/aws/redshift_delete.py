"""Deleting snapshots, temporary clusters and namespaces and loans that are ours, and finding what carries a key.

A snapshot that others may restore is deleted only after every authorization is revoked (DeleteClusterSnapshot, Redshift
API reference). What the cluster carried to another region has come without our tags, and may be without them still:
there its name, which nobody else makes, and its coming from elsewhere say that it is ours.
"""

from collections.abc import Mapping

from tasks.errors import NotReady
from tasks.states import OperationState
from workers.aws import redshift_clusters, redshift_serverless
from workers.aws.aws_backup_points import Removal, foreign, outdated
from workers.aws.redshift_backup import house_of
from workers.aws.redshift_copying import CLUSTER
from workers.aws.redshift_serverless import NAMESPACE, SERVICE, WORKGROUP, arn_of, listed_tags
from workers.aws.redshift_snap import House, Snap
from workers.aws.session import Clients
from workers.aws.tags import OUR_NAME, is_ours, name_for, read_tags
from workers.driver import TAG_OUTDATED, Deleted, Found, Part, Point

_STATES: Mapping[str, OperationState] = {
    "creating": OperationState.RUNNING,
    "available": OperationState.DONE,
}


def houses(clients: Clients) -> tuple[House, ...]:
    """The services that can hold something there."""
    return (redshift_clusters, redshift_serverless) if redshift_serverless.is_offered(clients) else (redshift_clusters,)


def find(clients: Clients, key: str) -> list[Found]:
    """The snapshot, copy, temporary cluster or namespace that was made under this key."""
    name, found = name_for(key), []
    for house in houses(clients):
        snap = house.snapshot(clients, name)
        if snap is not None:
            found.append(Found("snapshot", name, _STATES.get(snap.state, OperationState.FAILED)))
    if redshift_clusters.cluster(clients, name) is not None:
        found.append(Found("cluster", name, OperationState.RUNNING))
    if redshift_serverless.is_offered(clients) and arn_of(clients, NAMESPACE, name) is not None:
        found.append(Found("namespace", name, OperationState.RUNNING))
    return found


def delete(clients: Clients, owners: Mapping[str, Clients], points: list[Point]) -> list[Deleted]:
    """Delete the parts of points of one account and region, or tag them where the account may not delete.

    `owners` are the clients of the accounts whose snapshots are lent, by the loan's ARN.
    """
    removal = Removal(clients)
    parts = {part.external_id: part for point in points for part in point.parts}

    def act(there: Clients, part: Part) -> Deleted:
        owner = owners.get(part.external_id)
        return _delete_one(there, part) if owner is None else _revoke(there, part, owner)

    return [removal.one(part, act) for part in parts.values()]


def _revoke(clients: Clients, part: Part, owner: Clients) -> Deleted:
    """End a loan: the source stays."""
    house_of(part.attributes).unshare(owner, part.external_id, clients.number())
    return Deleted(part.external_id, "deleted")


def _delete_one(clients: Clients, part: Part) -> Deleted:
    """Raises what keeps it. What a part is, is looked up: a part that was found again knows only its name."""
    name, known = part.external_id, part.attributes
    if known.get(NAMESPACE):
        return _delete_namespace(clients, name)
    for house in () if known.get(CLUSTER) else (house_of(known),) if "serverless" in known else houses(clients):
        snap = house.snapshot(clients, name)
        if snap is not None and snap.state != "gone":
            return _delete_snapshot(house, clients, snap)
    found = redshift_clusters.cluster(clients, name)
    if found is None and "serverless" not in known and len(houses(clients)) > 1:
        return _delete_namespace(clients, name)
    if found is None or found["ClusterStatus"] == "deleting":
        return Deleted(name, "already-gone")
    if not is_ours(read_tags(found.get("Tags")), clients.account.installation):
        raise foreign(name)
    if not clients.account.may_delete:
        redshift_clusters.tag(clients, redshift_clusters.cluster_arn(clients, name), {TAG_OUTDATED: "true"})
        raise outdated(clients, name)
    clients.read("redshift").delete_cluster(ClusterIdentifier=name, SkipFinalClusterSnapshot=True)
    return Deleted(name, "deleted")


def _delete_snapshot(house: House, clients: Clients, snap: Snap) -> Deleted:
    tags = house.tags_of(clients, snap)
    if not is_ours(tags, clients.account.installation) and not (snap.carried and OUR_NAME.fullmatch(snap.name)):
        raise foreign(snap.name)
    if not clients.account.may_delete:
        house.tag(clients, snap.arn, {TAG_OUTDATED: "true"})
        raise outdated(clients, snap.name)
    for number in snap.shared_with:
        house.unshare(clients, snap.arn, number)
    house.delete(clients, snap.name)
    return Deleted(snap.name, "deleted")


def _delete_namespace(clients: Clients, name: str) -> Deleted:
    """A temporary namespace and its workgroup, without a last snapshot: it came from one. Raises NotReady while AWS
    takes the workgroup away: the namespace goes after it ("DeleteNamespace")."""
    arns = {kind: arn_of(clients, kind, name) for kind in (WORKGROUP, NAMESPACE)}
    held = {kind: arn for kind, arn in arns.items() if arn is not None}
    if not held:
        return Deleted(name, "already-gone")
    if not all(is_ours(listed_tags(clients, arn), clients.account.installation) for arn in held.values()):
        raise foreign(name)
    if not clients.account.may_delete:
        for arn in held.values():
            redshift_serverless.tag(clients, arn, {TAG_OUTDATED: "true"})
        raise outdated(clients, name)
    client = clients.read(SERVICE)
    try:
        if WORKGROUP in held:
            client.delete_workgroup(workgroupName=name)
        if NAMESPACE in held:
            client.delete_namespace(namespaceName=name)
    except client.exceptions.ConflictException:
        raise NotReady(f"The temporary namespace {name} is busy.", code="namespace-busy") from None
    return Deleted(name, "deleted")
