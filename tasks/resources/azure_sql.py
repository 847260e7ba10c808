"""Azure SQL databases.

Sources: the guide's table (SQL servers go to other regions only); Azure SQL documentation ("Copy a transactionally
consistent copy of a database", "Long-term retention", "Export to a BACPAC file", "Recover using automated backups");
Microsoft.Sql's operations for the rights. Copies stay in the subscription: ARM copies databases inside one only.
"""

from tasks.resources.kind import Option, ResourceType, Rule

# Each copy is a database that is being created; ARM lets a subscription create a few dozen at once in a region and
# answers 429 beyond (error SubscriptionTooManyCreateUpdateRequests): a share of that, and the rest waits here.
_COPY_SLOTS = 20
_READ = ("Microsoft.Sql/servers/read", "Microsoft.Sql/servers/databases/read")
_MAKE = (
    *_READ,
    "Microsoft.Sql/servers/databases/write",
    "Microsoft.Sql/locations/databaseAzureAsyncOperation/read",
    "Microsoft.Sql/locations/databaseOperationResults/read",
)
_TRANSFER = (
    "Microsoft.Sql/servers/databases/extensions/read",
    "Microsoft.Sql/locations/importExportOperationResults/read",
)
_SETTINGS = (
    "Microsoft.Sql/servers/firewallRules/read",
    "Microsoft.Sql/servers/virtualNetworkRules/read",
    "Microsoft.Sql/servers/databases/backupShortTermRetentionPolicies/read",
    "Microsoft.Sql/servers/databases/backupLongTermRetentionPolicies/read",
)
_LONG_TERM = "Microsoft.Sql/locations/longTermRetentionServers/longTermRetentionDatabases/longTermRetentionBackups/read"
_DELETE = "Microsoft.Sql/servers/databases/delete"

KINDS = (
    ResourceType(
        name="azure-sql",
        cloud="azure",
        service="azure-sql",
        id_prefix="/subscriptions/",
        cross_region=True,
        cross_account=False,
        repository=False,
        cold=False,
        copy_slots=_COPY_SLOTS,
        polls_begin=True,
        notes=(
            "a backup is a database copy on the same server, billed as a database, or an export, or Azure's long-term "
            "retention",
            "copies go to a server in another region of the same subscription, and nowhere else",
            "an export is a bacpac file in a blob container, not an archive of the repository engine",
        ),
        rules=(
            Rule(
                "needs-server",
                "region",
                "A copy of a database lies on a server: name it by options: {server: ID} in this DR entry.",
                "Azure SQL documentation, Copy a transactionally consistent copy of a database",
                needs="options.server",
            ),
        ),
        backup_options=(
            Option("way", "how it is backed up; default: copy", choices=("copy", "export", "long-term")),
            Option("sku", "service objective of the copy, in the tier of its source; default: as its source"),
            Option("container", "blob container of exports, https://ACCOUNT.blob.core.windows.net/CONTAINER"),
            Option("identity", "id of the server's managed identity that writes the file of an export"),
            Option("retention", "with way: long-term, set Azure's long-term retention from keep", choices=("keep",)),
        ),
        copy_options=(
            Option("server", "id of the server in the other region that takes the copies"),
            Option("sku", "service objective of the copies"),
            Option("pool", "id of the elastic pool there that takes the copies"),
        ),
        restores=("database", "geo-database"),
        restore_options=(
            Option("name", "name of the new database"),
            Option("at", "moment to take from Azure's automatic backups, such as 2026-11-22T14:05:00Z, not this point"),
            Option("server", "id of its server; default: the one that holds the copy"),
            Option("sku", "service objective; default: as it was"),
            Option("pool", "id of an elastic pool on its server"),
            Option("redundancy", "of its automatic backups", captured="redundancy"),
            Option("identity", "id of the server's managed identity that reads the file of an export"),
        ),
        backup_actions=(
            *_MAKE,
            *_SETTINGS,
            _LONG_TERM,
            "Microsoft.Sql/servers/databases/backupLongTermRetentionPolicies/write",
            "Microsoft.Sql/servers/databases/export/action",
            *_TRANSFER,
        ),
        copy_actions=_MAKE,
        restore_actions=(
            *_MAKE,
            *_SETTINGS,
            "Microsoft.Sql/servers/databases/backupShortTermRetentionPolicies/write",
            "Microsoft.Sql/servers/databases/backupLongTermRetentionPolicies/write",
            "Microsoft.Sql/servers/recoverableDatabases/read",
            "Microsoft.Sql/servers/restorableDroppedDatabases/read",
            "Microsoft.Sql/servers/databases/import/action",
            *_TRANSFER,
        ),
        undo_actions=(*_READ, _DELETE),
        delete_actions=(
            *_READ,
            "Microsoft.Sql/servers/databases/write",
            _DELETE,
            _LONG_TERM,
            "Microsoft.Storage/storageAccounts/blobServices/containers/blobs/delete",
        ),
    ),
)
