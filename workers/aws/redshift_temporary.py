"""A copy of a Serverless snapshot that is the other account's own, made through a temporary namespace there.

Another account may restore a shared snapshot and do nothing else with it ("PutResourcePolicy", Redshift Serverless API
reference). So the first hop makes an empty namespace with a workgroup, as an intermediate point; the second restores
the snapshot into it (RestoreFromSnapshot replaces a namespace's database, which here has none), takes a snapshot of it
when that is over, and the namespace goes. A tag of ours says that the restore was begun: AWS tells nobody later.
"""

from typing import Any

from tasks.errors import Denied, Gone, Impossible, Invalid, NotReady, Retry
from workers.aws import redshift_serverless
from workers.aws.errors import translated
from workers.aws.redshift_backup import SNAPSHOT, check_ours, follow, part_of, taken
from workers.aws.redshift_copying import FULL, Copying
from workers.aws.redshift_serverless import NAMESPACE, SERVICE, WORKGROUP, arn_of, listed_tags
from workers.aws.redshift_snap import Snap
from workers.aws.tags import name_for
from workers.driver import TAG_JOB, Part, Started

TAG_RESTORED = "snapfleet:restored"  # on a temporary namespace: the snapshot whose restore into it was begun
_FULL = FULL.format(what="namespace")


class UnderWay(NotReady):
    """AWS makes or fills a namespace, and only a later look can say that it is over: that costs no attempt."""

    retry = Retry.FREE


def temporary(copying: Copying) -> Started:
    """The first hop: a namespace and its workgroup in the other account, closed to the world, named after the wish."""
    name, part, target = name_for(copying.request.key), copying.part, copying.target
    made, refused = False, ""
    if arn_of(target, NAMESPACE, name) is None:
        redshift_serverless.share(copying.source, str(part.attributes["arn"]), target.number())
        made = _made(copying, name, "CreateNamespace", _namespace_asked(copying))
    if arn_of(target, WORKGROUP, name) is None:
        try:
            made = _made(copying, name, "CreateWorkgroup", _workgroup_asked(copying)) or made
        except (Denied, Invalid, Impossible) as error:
            refused = error.text  # the namespace is there: recorded, so that it is taken away, with the reason
    found = target.read(SERVICE).get_namespace(namespaceName=name)["namespace"]
    if listed_tags(target, found["namespaceArn"]).get(TAG_JOB) != copying.request.key:
        raise NotReady(f"The namespace {name} has our name and another job's tag.")
    key = str(found.get("kmsKeyId") or "")
    there = Part(
        external_id=name,
        source_id=part.source_id,
        size_gib=part.size_gib,
        encrypted=key.startswith("arn:"),
        kms_key_id=key if key.startswith("arn:") else "",
        attributes={
            NAMESPACE: True,
            "serverless": True,
            "source_snapshot": part.external_id,
            "owner": copying.source.number(),
        },
    )
    operation = copying.tools.operation(WORKGROUP, name, target, **({"refused": refused} if refused else {}))
    return Started((operation,), (there,), warnings=(_FULL,), adopted=not made)


def _made(copying: Copying, name: str, call: str, asked: dict[str, Any]) -> bool:
    """Make what there is none of; whether it was this call."""
    client = copying.target.create(SERVICE)
    create = client.create_namespace if call == "CreateNamespace" else client.create_workgroup
    copying.request.proceed()
    try:
        with translated(call, guard=copying.tools.pace.guard):
            create(**asked)
    except Invalid as error:
        if "ConflictException" not in error.text:
            raise
        if arn_of(copying.target, NAMESPACE if call == "CreateNamespace" else WORKGROUP, name) is None:
            raise _under_way(copying, f"The namespace {name} is still being made.", "namespace-busy") from None
        return False
    return True


def _namespace_asked(copying: Copying) -> dict[str, Any]:
    key = copying.destination.kms_key
    asked = {"namespaceName": name_for(copying.request.key), "tags": redshift_serverless.write_tags(copying.ours)}
    return {**asked, **({"kmsKeyId": key} if key else {})}


def _workgroup_asked(copying: Copying) -> dict[str, Any]:
    """As large as the source's, because a small one holds only so much data ("Compute capacity", management guide)."""
    name, found = name_for(copying.request.key), copying.point.resource.attributes
    asked: dict[str, Any] = {
        "workgroupName": name,
        "namespaceName": name,
        "publiclyAccessible": False,
        "tags": redshift_serverless.write_tags(copying.ours),
    }
    if found.get("base_capacity"):
        asked["baseCapacity"] = int(found["base_capacity"])
    subnets = [one.strip() for one in str(copying.request.options.get("subnets", "")).split(",") if one.strip()]
    return {**asked, **({"subnetIds": subnets} if subnets else {})}


def of_temporary(copying: Copying) -> Started:
    """The second hop: what was lent is restored into the namespace, and a snapshot taken of that."""
    target, key = copying.target, copying.request.key
    made: Snap | None = None if copying.request.fresh else redshift_serverless.snapshot(target, name_for(key))
    adopted = made is not None
    if made is None:
        _fill(copying)
        source = copying.part.external_id
        made, adopted = taken(copying.tools, redshift_serverless, target, source, copying.request, copying.tags)
    check_ours(made, key)
    lent = copying.part.attributes.get("source_snapshot", "")
    part = part_of(copying.tools, target, made, serverless=True, source_snapshot=lent, arn=made.arn)
    operation = follow(copying.tools, SNAPSHOT, made, target, serverless=True)
    return Started((operation,), (part,), warnings=(_FULL,), adopted=adopted)


def _fill(copying: Copying) -> None:
    """Have the lent snapshot restored. Raises UnderWay until it is, and Gone when the namespace is not there."""
    target, name = copying.target, copying.part.external_id
    arn = arn_of(target, NAMESPACE, name)
    if arn is None:
        raise Gone(f"The temporary namespace {name} does not exist any more.")
    state = str(target.read(SERVICE).get_namespace(namespaceName=name)["namespace"]["status"])
    begun = TAG_RESTORED in listed_tags(target, arn)
    if state == "AVAILABLE" and begun:
        return
    if state == "AVAILABLE":
        _restore(copying, name)
    elif state != "MODIFYING":
        raise NotReady(f"The temporary namespace {name} is {state}.", code="namespace-busy")
    if not begun:  # an earlier attempt may have begun it and died before the tag
        redshift_serverless.tag(target, arn, {TAG_RESTORED: str(copying.part.attributes["source_snapshot"])})
    raise _under_way(copying, f"The snapshot is being restored into the temporary namespace {name}.", "restoring")


def _under_way(copying: Copying, text: str, code: str) -> UnderWay:
    return UnderWay(text, code=code, wait=copying.tools.pace.floor)


def _restore(copying: Copying, name: str) -> None:
    found = copying.part.attributes
    client = copying.target.create(SERVICE)
    copying.request.proceed()
    try:
        with translated("RestoreFromSnapshot", guard=copying.tools.pace.guard):
            client.restore_from_snapshot(
                namespaceName=name,
                workgroupName=name,
                snapshotName=found["source_snapshot"],
                ownerAccount=found["owner"],
            )
    except (Gone, Denied) as error:  # a policy takes a moment to be seen by the other account
        raise NotReady(
            f"{copying.target.account.name} does not see it yet. {error.text}", code="share-unseen"
        ) from None
    except Invalid as error:
        if "ConflictException" not in error.text:
            raise
        raise _under_way(copying, f"The namespace {name} is busy. {error.text}", "namespace-busy") from None
