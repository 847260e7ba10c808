"""Deleting database snapshots that carry our tag, and finding what carries a key."""

from collections.abc import Mapping, Sequence

from botocore.exceptions import BotoCoreError, ClientError

from tasks.errors import (
    CredentialsExpired,
    CredentialsRefused,
    Gone,
    InUse,
    NotReady,
    Refused,
    SnapfleetError,
    Throttled,
)
from tasks.states import OperationState
from workers.aws.errors import translate
from workers.aws.rds_calls import Answer, Family, describe_named
from workers.aws.session import Clients
from workers.aws.tags import is_ours, name_for, read_tags
from workers.driver import TAG_OUTDATED, Deleted, Found, Point

_STOPS = (CredentialsExpired, CredentialsRefused, Throttled)  # the next call would meet the same
_STATES: Mapping[str, OperationState] = {
    "creating": OperationState.RUNNING,
    "copying": OperationState.RUNNING,
    "available": OperationState.DONE,
}


def find(family: Family, clients: Clients, key: str) -> list[Found]:
    """The snapshot or copy that was made under this key."""
    found = describe_named(family, family.read(clients), [name_for(key)])
    return [
        Found("snapshot", name, _STATES.get(str(row["Status"]), OperationState.FAILED)) for name, row in found.items()
    ]


def delete(family: Family, clients: Clients, points: Sequence[Point]) -> list[Deleted]:
    """Delete the snapshots of one account and region, or tag them where the account may not delete."""
    names = list(dict.fromkeys(part.external_id for point in points for part in point.parts))
    known = describe_named(family, family.read(clients), names)
    answers: list[Deleted] = []
    stop: SnapfleetError | None = None
    for name in names:
        answer = Deleted(name, "kept", stop) if stop else _one(family, clients, name, known.get(name))
        stop = answer.error if isinstance(answer.error, _STOPS) else stop
        answers.append(answer)
    return answers


def _one(family: Family, clients: Clients, name: str, found: Answer | None) -> Deleted:
    if found is None:
        return Deleted(name, "already-gone")
    client = family.read(clients)
    try:
        if not is_ours(_tags(family, clients, found), clients.account.installation):
            return Deleted(name, "kept", _foreign(name))
        if not clients.account.may_delete:
            client.add_tags_to_resource(ResourceName=found[family.arn], Tags=[{"Key": TAG_OUTDATED, "Value": "true"}])
            text = f"{clients.account.name} may not delete: {name} is tagged as outdated for its own administrators."
            return Deleted(name, "kept", Refused(text, code="outdated"))
        family.called(client, family.delete, **{family.identifier: name})
    except (BotoCoreError, ClientError) as error:
        return _refused(name, translate(error, operation="a deletion"))
    return Deleted(name, "deleted")


def _tags(family: Family, clients: Clients, found: Answer) -> dict[str, str]:
    """RDS answers with tags; DocumentDB has to be asked for them."""
    if "TagList" in found:
        return read_tags(found["TagList"])
    return read_tags(family.read(clients).list_tags_for_resource(ResourceName=found[family.arn])["TagList"])


def _refused(name: str, error: SnapfleetError) -> Deleted:
    if isinstance(error, Gone):
        return Deleted(name, "already-gone")
    if isinstance(error, NotReady):  # still being made or copied: "InvalidDBSnapshotState" (DeleteDBSnapshot)
        error = InUse(error.text)
    return Deleted(name, "kept", error)


def _foreign(name: str) -> Refused:
    return Refused(
        f"{name} does not carry this product's tag, so it is not deleted.",
        code="not-ours",
        advice="Delete it by hand if it is really ours: somebody removed its tags.",
    )
