"""SQL databases of the emulated Azure: how they are made, exported and imported, and what they hold (rows by name).

Sources: Microsoft.Sql's swagger (2023-08-01-preview) for create modes, mutability and shapes; "Copy a transactionally
consistent copy of a database" (a copy is of a moment after the request); "Export to a bacpac" (an export of a live
database is not consistent); recordings (a PUT answers 202 with an operation object). What is written once only
(createMode, sourceDatabaseId, restorePointInTime) never comes back.
"""

import uuid
from datetime import datetime
from typing import Any

from deploy.sandbox.azure.state import Operation, Refusal, Thing, World, stamp

_ONCE = (
    "createMode", "sourceDatabaseId", "restorePointInTime", "sourceDatabaseDeletionDate", "sourceResourceId",
    "longTermRetentionBackupResourceId", "recoverableDatabaseId", "restorableDroppedDatabaseId",
    "recoveryServicesRecoveryPointId", "sampleName", "performCutover", "manualCutover",
)  # fmt: skip
_REDUNDANCY, _COLLATION = "Geo", "SQL_Latin1_General_CP1_CI_AS"
_DROPPED = "restorableDroppedDatabases"
_OF_DROPPED = ("maxSizeBytes", "creationDate", "earliestRestoreDate")
EXPORTS = "/exports/"
"""The path of the one blob container that takes bacpac files here."""


def rows_of(thing: Thing) -> dict[str, str]:
    """What a database holds."""
    found: dict[str, str] = thing.fields.setdefault("_rows", {})
    return found


def write_rows(world: World, thing: Thing, rows: dict[str, str]) -> None:
    """As an application would write; the log keeps what was there before, for restores to a moment."""
    thing.fields.setdefault("_history", []).append((world.now(), dict(rows_of(thing))))
    thing.fields["_rows"] = {**rows_of(thing), **rows}


def put_database(world: World, resource_id: str, server: Thing, body: dict[str, Any]) -> tuple[Thing, Operation]:
    """Create a database in one of its modes, or change the tags and size of one that exists."""
    found = world.get(resource_id)
    properties = body.get("properties") or {}
    if found is not None:
        found.tags = dict(body.get("tags", found.tags))
        found.properties |= {key: value for key, value in properties.items() if key not in _ONCE}
        return found, begin(world, found, "UpdateLogicalDatabase", 0.0)
    if str(body["location"]).replace(" ", "").lower() != server.location:
        raise Refusal(400, "LocationMismatch", "A database is made in the region of its server.")
    mode = properties.get("createMode", "Default")
    source, rows = _content(world, server, properties, mode)
    now = world.now()
    seconds = world.settings["sql_copy_seconds"]
    sku = (
        body.get("sku")
        or (source.fields.get("sku") if source else None)
        or {"name": "GP_Gen5_2", "tier": "GeneralPurpose"}
    )
    made = Thing(resource_id, "databases", server.location, dict(body.get("tags") or {}), begun=now, ends=now + seconds)
    made.fields = {"sku": sku, "kind": "v12.0,user", "_rows": rows, "_mode": mode}
    if isinstance(body.get("identity"), dict):
        made.fields["identity"] = body["identity"]
    made.properties = {
        **_usual(world, sku, source),
        **{key: value for key, value in properties.items() if key not in _ONCE},
    }
    return world.put(made), begin(world, made, "CreateLogicalDatabase", seconds)


def _usual(world: World, sku: dict[str, Any], source: Thing | None) -> dict[str, Any]:
    now = world.now()
    return {
        "collation": source.properties.get("collation", _COLLATION) if source else _COLLATION,
        "maxSizeBytes": source.properties["maxSizeBytes"] if source else 32 << 30,
        "databaseId": str(uuid.uuid4()),
        "creationDate": stamp(now),
        "currentServiceObjectiveName": str(sku["name"]),
        "requestedServiceObjectiveName": str(sku["name"]),
        "currentSku": {"name": str(sku["name"]), **({"tier": sku["tier"]} if sku.get("tier") else {})},
        "catalogCollation": _COLLATION,
        "zoneRedundant": False,
        "readScale": "Disabled",
        "earliestRestoreDate": stamp(now),
        "currentBackupStorageRedundancy": _REDUNDANCY,
        "requestedBackupStorageRedundancy": _REDUNDANCY,
        "isLedgerOn": False,
        "isInfraEncryptionEnabled": False,
    }


def _content(world: World, server: Thing, properties: dict[str, Any], mode: str) -> tuple[Thing | None, dict[str, str]]:
    """The source of a new database and the rows that come with it."""
    if mode == "Default":
        return None, {}
    if mode == "Copy":
        source = _source(world, server, properties)
        if str(source.fields["sku"].get("tier")) == "DataWarehouse":
            raise Refusal(400, "InvalidParameterValue", "Copy is not supported for the DataWarehouse edition.")
        return source, dict(rows_of(source))
    if mode == "PointInTimeRestore":
        source = _source(world, server, properties)
        return source, _rows_at(world, source, str(properties.get("restorePointInTime", "")))
    if mode == "Restore":
        dropped = world.get(str(properties.get("sourceDatabaseId", "")))
        if dropped is None or dropped.kind != _DROPPED:
            raise Refusal(400, "InvalidRestorableDroppedDatabaseId", "Invalid restorable dropped database identifier.")
        return dropped, _rows_at(world, dropped, str(properties.get("restorePointInTime", "")))
    if mode == "Recovery":
        wanted = str(properties.get("recoverableDatabaseId") or properties.get("sourceDatabaseId") or "")
        return _geo_backup(world, wanted)
    if mode == "RestoreLongTermRetentionBackup":
        wanted = str(properties.get("longTermRetentionBackupResourceId", "")).lower()
        backup = world.get(wanted)
        if backup is None:
            raise Refusal(404, "LongTermRetentionBackupNotFound", "The long-term retention backup was not found.")
        return world.get(str(backup.fields["_database"])), dict(rows_of(backup))
    raise Refusal(400, "InvalidCreateMode", f"The create mode {mode!r} is not emulated.")


def _geo_backup(world: World, wanted: str) -> tuple[Thing, dict[str, str]]:
    """The last geo-replicated backup: it outlives its server, and is as old as the last write before now."""
    original = wanted.lower().replace("/recoverabledatabases/", "/databases/")
    found = world.things.get(original)
    if found is None or found.properties.get("currentBackupStorageRedundancy") not in ("Geo", "GeoZone"):
        raise Refusal(404, "RecoverableDatabaseNotFound", "There is no geo-replicated backup of this database.")
    return found, dict(rows_of(found))


def keep_dropped(world: World, thing: Thing) -> None:
    """A dropped database's automatic backups stay for a while, under an id that has the time of its deletion."""
    server, at = thing.id.rsplit("/databases/", 1)[0], thing.gone_at or world.now()
    kept = Thing(f"{server}/restorableDroppedDatabases/{thing.name},{int(at * 1e7)}", _DROPPED, thing.location, ends=at)
    kept.fields = {"sku": thing.fields["sku"], "_rows": dict(rows_of(thing))}
    kept.fields["_history"] = list(thing.fields.get("_history", []))
    kept.properties = {
        "databaseName": thing.name,
        **{name: thing.properties[name] for name in _OF_DROPPED if name in thing.properties},
        "deletionDate": stamp(at),
        "backupStorageRedundancy": thing.properties.get("currentBackupStorageRedundancy", _REDUNDANCY),
    }
    world.put(kept)


def _source(world: World, server: Thing, properties: dict[str, Any]) -> Thing:
    source = world.get(str(properties.get("sourceDatabaseId", "")))
    if source is None or source.kind != "databases":
        raise Refusal(404, "SourceDatabaseNotFound", "The source database was not found.")
    if source.subscription.lower() != server.subscription.lower():
        raise Refusal(400, "InvalidParameterValue", "The source belongs to another subscription.")
    if status(world, source) != "Online":
        raise Refusal(409, "SourceDatabaseNotOnline", f"The source database {source.name} is not online.")
    return source


def _rows_at(world: World, source: Thing, text: str) -> dict[str, str]:
    """What it held at a moment that its automatic backups reach over."""
    if not text and source.kind == "databases":
        raise Refusal(400, "MissingRestorePointInTime", "Missing restore point in time.")
    at = datetime.fromisoformat(text).timestamp() if text else float("inf")
    earliest = datetime.fromisoformat(str(source.properties["earliestRestoreDate"])).timestamp()
    if text and not earliest <= at <= (source.ends if source.kind != "databases" else world.now()):
        raise Refusal(400, "InvalidRestorePointInTime", "The restore point in time is outside the retention period.")
    return next((dict(rows) for when, rows in source.fields.get("_history", []) if when > at), dict(rows_of(source)))


def status(world: World, thing: Thing) -> str:
    """The state that a database shows."""
    if world.now() >= thing.ends:
        return str(thing.fields.get("_status", "Online"))
    return "Copying" if thing.fields.get("_mode") == "Copy" else "Creating"


def begin(world: World, thing: Thing | None, name: str, seconds: float, at: Thing | None = None) -> Operation:
    """An operation of Microsoft.Sql; `name` is what its object says."""
    where = thing or at
    assert where is not None
    made = world.begin("databaseAzureAsyncOperation", thing, where.subscription, where.location, seconds)
    made.title, made.group = name, where.group
    return made


# --- bacpac files ---


def export(world: World, database: Thing, body: dict[str, Any]) -> Operation:
    """POST export: one at a time for a database; a blob that exists fails it in the end."""
    _credentials(body)
    if any(one["ends"] > world.now() for one in transfers(world, database)):
        raise Refusal(409, "ImportExportOperationInProgress", "An import or export of this database is under way.")
    return _transfer(world, database, "Export", str(body["storageUri"]))


def import_into(world: World, database: Thing, body: dict[str, Any]) -> Operation:
    """POST import: the rows of a bacpac file into an empty database."""
    _credentials(body)
    if rows_of(database):
        raise Refusal(409, "DatabaseNotEmpty", f"The database {database.name} is not empty.")
    if str(body["storageUri"]) not in world.bacpacs:
        raise Refusal(400, "BlobNotFound", "The bacpac file was not found.")
    return _transfer(world, database, "Import", str(body["storageUri"]))


def _credentials(body: dict[str, Any]) -> None:
    """A managed identity needs no password, anything else does (Databases - Export, 2025-01-01)."""
    managed = str(body.get("authenticationType", "")).lower() == "managedidentity"
    if not body.get("administratorLogin") or managed == bool(body.get("administratorLoginPassword")):
        raise Refusal(400, "InvalidParameterValue", "The administrator's login or password does not fit its type.")


def _transfer(world: World, database: Thing, what: str, uri: str) -> Operation:
    seconds = world.settings["export_seconds"]
    number = str(uuid.uuid4())
    fault = database.fields.pop("_next_export", "")
    row = {
        "id": number, "type": what, "uri": uri, "begun": world.now(), "ends": world.now() + seconds,
        "error": fault or ("The blob exists already." if what == "Export" and uri in world.bacpacs else ""),
        "rows": dict(rows_of(database)),
    }  # fmt: skip
    database.fields.setdefault("_transfers", []).append(row)
    operation = begin(world, database, what, seconds)
    operation.family, operation.extra = "importExportOperationResults", row
    return operation


def transfers(world: World, database: Thing) -> list[dict[str, Any]]:
    """The imports and exports of a database; those that are over have left their file."""
    found: list[dict[str, Any]] = database.fields.get("_transfers", [])
    for one in found:
        gone = database.gone_at is not None and database.gone_at < one["ends"]
        if one["ends"] > world.now() or one["error"] or gone:
            continue
        if one["type"] == "Export":
            world.bacpacs.setdefault(one["uri"], one["rows"])
        else:
            database.fields["_rows"] = dict(world.bacpacs.get(one["uri"], {}))
    return found


def transfer_view(world: World, database: Thing, row: dict[str, Any], kind: str) -> dict[str, Any]:
    """One import or export as Microsoft.Sql shows it."""
    over = row["ends"] <= world.now()
    state = "InProgress" if not over else "Failed" if row["error"] else "Completed"
    properties = {
        "requestId": row["id"],
        "requestType": row["type"],
        "queuedTime": stamp(row["begun"]),
        "lastModifiedTime": stamp(min(world.now(), row["ends"])),
        "blobUri": row["uri"],
        "serverName": database.id.split("/")[8],
        "databaseName": database.name,
        "status": state,
        **({"errorMessage": row["error"]} if over and row["error"] else {}),
    }
    return {
        "id": f"{database.id}/{kind}/{row['id']}",
        "name": row["id"],
        "type": f"Microsoft.Sql/servers/databases/{kind}",
        "properties": properties,
    }
