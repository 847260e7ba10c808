"""The driver of Azure SQL databases. Each method binds a subscription and translates errors."""

from collections.abc import Mapping, Sequence

from azure.core.exceptions import AzureError

from tasks.errors import Invalid
from tasks.states import OperationState
from workers.azure import (
    lro,
    sql_backup,
    sql_copies,
    sql_delete,
    sql_describe,
    sql_export,
    sql_long_term,
    sql_lookup,
    sql_restore,
)
from workers.azure.clients import Clients
from workers.azure.describe import region_of
from workers.azure.entered import Entered, Work
from workers.azure.errors import translate, translated
from workers.azure.ids import name_for
from workers.azure.sql_ids import DatabaseId, read_sql
from workers.driver import (
    TAG_JOB,
    Account,
    Check,
    Deleted,
    Found,
    Operation,
    Part,
    Point,
    Presence,
    Progress,
    Tagged,
)

_COPY = "azure-sql-copy"
_LONG_TERM = "azure-sql-long-term"


class SqlDriver(Entered):
    """Implements workers.driver.Driver for 'azure-sql'; safe to be shared by threads."""

    types: tuple[str, ...] = ("azure-sql",)

    work = Work(
        discover=sql_describe.discover,
        start_backup=sql_backup.start_backup,
        plan_copy_problem=sql_backup.plan_copy_problem,
        start_copy=sql_backup.start_copy,
        start_step=sql_restore.start_step,
        undo=sql_delete.undo,
    )

    def check(self, account: Account, region: str) -> list[Check]:  # noqa: ARG002 - entered as a whole
        try:
            next(iter(self._at(account).sql.servers.list().by_page()), None)
        except AzureError as error:
            return [Check("Microsoft.Sql/servers/read", "missing", str(translate(error, "the list of SQL servers")))]
        return [Check("Microsoft.Sql/servers/read", "ok", "SQL servers are listed")]

    def progress(self, operations: Sequence[Operation]) -> list[Progress]:
        if not operations:
            return []
        clients = self._at(operations[0].account)
        with translated("progress"):
            followed = [one.external_id for one in operations if one.kind in (_COPY, sql_restore.KIND)]
            known = sql_copies.models(clients, followed) if followed else {}
            return [lro.patient(one, self._pace, lambda it: self._asked(clients, it, known)) for one in operations]

    def _asked(self, clients: Clients, operation: Operation, known: Mapping[str, Mapping[str, object]]) -> Progress:
        model = known.get(operation.external_id)
        if operation.kind == _COPY:
            return sql_copies.progress(clients, operation, model, self._pace)
        if operation.kind == sql_restore.KIND:
            return sql_restore.progress(clients, operation, model, self._pace)
        if operation.kind == sql_export.KIND:
            return sql_export.progress(clients, operation, self._pace)
        if operation.kind == _LONG_TERM:
            return sql_long_term.progress(clients, operation)
        error = Invalid(f"This version follows no operation of kind {operation.kind!r}.")
        return Progress(operation.external_id, OperationState.FAILED, error=error)

    def find(self, account: Account, region: str, key: str) -> list[Found]:
        """Copies under this key on the servers of the region; the staging copy of an export has this name too."""
        clients, name = self._at(account), name_for(key)
        found = []
        with translated("a look-up"):
            for server in clients.sql.servers.list():
                if region_of(server.as_dict()) != region:
                    continue
                parts = read_sql(server.id)
                place = DatabaseId(parts.subscription, parts.group, parts.server, name)
                model = sql_describe.get(clients, place)
                if model is not None and (model.get("tags") or {}).get(TAG_JOB) == key:
                    online = model.get("properties", {}).get("status") == "Online"
                    state = OperationState.DONE if online else OperationState.RUNNING
                    found.append(Found("database", place.database(name), state))
        return found

    def tagged(self, account: Account, region: str, installation: str) -> list[Tagged]:
        """Every copy and staging copy there that carries this installation's tag. Raises the family."""
        with translated("a look-up"):
            return sql_lookup.tagged(self._at(account), region, installation)

    def present(self, account: Account, region: str, parts: Sequence[Part]) -> Presence:  # noqa: ARG002 - the shape
        """Those copies that are there, in whichever region. Raises the family."""
        with translated("a look for recovery points"):
            return sql_lookup.present(self._at(account), parts)

    def delete(self, points: Sequence[Point]) -> list[Deleted]:
        answers: list[Deleted] = []
        for point in points:
            answers += sql_delete.delete(self._at(point.account), point, self._pace)
        return answers
