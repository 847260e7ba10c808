"""Database copies: begun or adopted under a name made from the wish's key, and followed by what the server shows.

"Copy a transactionally consistent copy of a database" (Azure SQL documentation): a copy is of a moment after it was
asked for, and is a database like any other when it is online.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from azure.core.exceptions import ResourceNotFoundError

from tasks.errors import CloudFailed, Gone, NotReady, SnapfleetError
from tasks.states import OperationState
from workers.azure import lro, sql_describe
from workers.azure.clients import Clients
from workers.azure.ids import name_for, normal
from workers.azure.sql_ids import DatabaseId, read_sql
from workers.azure.tags import fit_tags
from workers.driver import TAG_JOB, Operation, Progress
from workers.pace import Pace

_UNDER_WAY = frozenset({"Copying", "Creating", "Restoring", "Recovering", "RecoveryPending"})
# Whole, whatever the server does with it now: a serverless database falls asleep by itself.
WHOLE = frozenset({"Online", "Paused", "Pausing", "Resuming", "Scaling", "AutoClosed"})
# From so many questions at once about one server on its databases are listed.
_LIST_FROM = 4


@dataclass(frozen=True)
class Wish:
    """One database to make on a server. `properties` say of what; `fresh` that nobody can have made it before."""

    key: str
    server: DatabaseId
    region: str
    properties: Mapping[str, Any]
    tags: Mapping[str, str]
    user_tags: Mapping[str, str] = field(default_factory=dict)
    sku: Mapping[str, Any] = field(default_factory=dict)
    name: str = ""
    fresh: bool = False

    @property
    def place(self) -> DatabaseId:
        """Where it will be: under the name given, else under one made from the key."""
        name = self.name or name_for(self.key)
        return DatabaseId(self.server.subscription, self.server.group, self.server.server, name)


def begin(
    clients: Clients, wish: Wish, pace: Pace, proceed: Callable[[], None]
) -> tuple[dict[str, Any], bool, list[str]]:
    """Begin making a database, or adopt what this key has made: the operation's detail, whether it was there, warnings.

    Raises the SDK's errors, NotReady when the name is another wish's.
    """
    detail: dict[str, Any] = {"started_at": pace.clock.timer().isoformat(), "key": wish.key}
    there = None if wish.fresh else sql_describe.get(clients, wish.place)
    if there is not None:
        if (there.get("tags") or {}).get(TAG_JOB) != wish.key:
            text = f"The database {wish.place.name} on {wish.server.server} exists and is not of this job."
            raise NotReady(text, code="name-taken")
        return detail, True, []
    tags, lost = fit_tags(wish.key, wish.tags, wish.user_tags)
    body = {
        "location": wish.region,
        "tags": tags,
        **({"sku": dict(wish.sku)} if wish.sku else {}),
        "properties": {name: value for name, value in wish.properties.items() if value not in (None, "")},
    }
    proceed()
    token = lro.begin(clients.sql.databases.begin_create_or_update, *wish.place.place, body)
    return {**detail, "token": token}, False, lost


def models(clients: Clients, ids: Sequence[str]) -> dict[str, dict[str, Any]]:
    """The databases with these ids that exist, in as few calls as each server allows. Raises the SDK's errors."""
    servers: dict[str, list[str]] = {}
    for one in dict.fromkeys(ids):
        servers.setdefault(read_sql(one).server_id, []).append(one)
    found: dict[str, dict[str, Any]] = {}
    for wanted in servers.values():
        parts = read_sql(wanted[0])
        if len(wanted) >= _LIST_FROM:
            found |= _on_server(clients, parts)
            continue
        for one in wanted:
            model = sql_describe.get(clients, read_sql(one))
            if model is not None:
                found[one] = model
    return found


def _on_server(clients: Clients, server: DatabaseId) -> dict[str, dict[str, Any]]:
    """The databases of a server; none of one that was deleted with all that it had."""
    try:
        listed = clients.sql.databases.list_by_server(server.group, server.server)
        return {normal(item.id): item.as_dict() for item in listed}
    except ResourceNotFoundError:
        return {}


def progress(clients: Clients, operation: Operation, model: Mapping[str, Any] | None, pace: Pace) -> Progress:
    """How far a database is, from its model: only what is online, or asleep, is done. Raises the SDK's errors."""
    place = operation.detail.get("database") or operation.external_id
    if model is None:
        return _absent(clients, operation, str(place), pace)
    if (model.get("tags") or {}).get(TAG_JOB) != operation.detail.get("key"):
        return _ended(operation, CloudFailed(f"The database {read_sql(place).name} carries another job's tag."))
    state = str(model.get("properties", {}).get("status", ""))
    if state in WHOLE:
        size = sql_describe.size_gib(model.get("properties", {}))
        detail = {"token": "", "size_gib": size, "unique_id": model.get("properties", {}).get("databaseId", "")}
        return Progress(operation.external_id, OperationState.DONE, percent=100, detail=detail)
    if state in _UNDER_WAY:
        age = pace.age(operation.detail.get("started_at")) or timedelta(0)
        return Progress(operation.external_id, OperationState.RUNNING, ask_again=pace.again(age))
    told = _told(clients, operation, str(place))
    return _ended(operation, told or CloudFailed(f"Azure left the database {read_sql(place).name} in state {state!r}."))


def _absent(clients: Clients, operation: Operation, place: str, pace: Pace) -> Progress:
    """Not there: its operation may say why; shortly after its making that says nothing."""
    told = _told(clients, operation, place)
    if told:
        return _ended(operation, told)
    age = pace.age(operation.detail.get("started_at"))
    if age is not None and age < pace.grace:
        return Progress(operation.external_id, OperationState.RUNNING, ask_again=pace.floor)
    error = Gone(f"The database {read_sql(place).name} does not exist any more: somebody else deleted it.")
    return Progress(operation.external_id, OperationState.GONE, error=error, detail={"token": ""})


def _told(clients: Clients, operation: Operation, place: str) -> SnapfleetError | None:
    """What the operation itself says; None when it did not fail or its address is gone."""
    token, parts = operation.detail.get("token"), read_sql(place)
    if not token:
        return None

    def resume(text: str, polling: lro.Manual) -> Any:
        method = clients.sql.databases.begin_create_or_update
        return method(*parts.place, None, continuation_token=text, polling=polling)

    return lro.failure(resume, str(token), f"the database {parts.name}")


def _ended(operation: Operation, error: SnapfleetError) -> Progress:
    return Progress(operation.external_id, OperationState.FAILED, error=error, detail={"token": ""})
