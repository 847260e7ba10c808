"""Azure's managed disks and virtual machines.

Sources: the managed disks documentation ("Create an incremental snapshot", "Copy an incremental snapshot to a new
region", limits) and the swagger of Microsoft.Compute. Copies stay in the subscription; 100 run at once for each
subscription and region, of which some are left to others.
"""

from tasks.resources.kind import Option, ResourceType, Rule

_COPY_SLOTS = 90
_NOTES = (
    "archives are of changed page ranges, in S3 or Azure Blob, and are restored to any region or subscription",
    "snapshots are incremental, and are copied to other regions in the order in which they were taken",
    "across subscriptions nothing is copied: Azure takes no incremental snapshot out of its disk's subscription",
)
_BACKUP = (
    "Microsoft.Compute/disks/read",
    "Microsoft.Compute/snapshots/read",
    "Microsoft.Compute/snapshots/write",
    "Microsoft.Compute/locations/DiskOperations/read",
)
_COPY = ("Microsoft.Compute/snapshots/read", "Microsoft.Compute/snapshots/write")
_DELETE = (
    "Microsoft.Compute/snapshots/read",
    "Microsoft.Compute/snapshots/write",
    "Microsoft.Compute/snapshots/delete",
)
_RESTORE_DISK = (
    "Microsoft.Compute/disks/read",
    "Microsoft.Compute/disks/write",
    "Microsoft.Compute/snapshots/read",
    "Microsoft.Compute/virtualMachines/read",
    "Microsoft.Compute/virtualMachines/attachDetachDataDisks/action",
)
_RESTORE_VM = (
    *_RESTORE_DISK,
    "Microsoft.Compute/virtualMachines/write",
    "Microsoft.Network/networkInterfaces/read",
    "Microsoft.Network/networkInterfaces/write",
    "Microsoft.Network/networkInterfaces/join/action",
    "Microsoft.Network/virtualNetworks/subnets/join/action",
    "Microsoft.Network/networkSecurityGroups/join/action",
)
_UNDO_DISK = (
    "Microsoft.Compute/disks/read",
    "Microsoft.Compute/disks/delete",
    "Microsoft.Compute/disks/endGetAccess/action",
    "Microsoft.Compute/virtualMachines/read",
    "Microsoft.Compute/virtualMachines/attachDetachDataDisks/action",
)
_UNDO_VM = (
    *_UNDO_DISK,
    "Microsoft.Compute/virtualMachines/delete",
    "Microsoft.Network/networkInterfaces/read",
    "Microsoft.Network/networkInterfaces/delete",
)
# Reading blocks of a snapshot for a repository, and writing those of a disk from one.
_ARCHIVE = (
    "Microsoft.Compute/disks/read",
    "Microsoft.Compute/snapshots/read",
    "Microsoft.Compute/snapshots/beginGetAccess/action",
    "Microsoft.Compute/snapshots/endGetAccess/action",
    "Microsoft.Compute/disks/endGetAccess/action",
)
_FETCH = (
    "Microsoft.Compute/disks/read",
    "Microsoft.Compute/disks/write",
    "Microsoft.Compute/disks/beginGetAccess/action",
    "Microsoft.Compute/disks/endGetAccess/action",
)
# Restore points of machines (`consistency`).
_COLLECTIONS = "Microsoft.Compute/restorePointCollections"
_POINTS = tuple(f"{_COLLECTIONS}{inner}/{verb}" for inner in ("", "/restorePoints") for verb in ("read", "write"))
_POINT_DISKS = f"{_COLLECTIONS}/restorePoints/diskRestorePoints/read"
_DELETE_POINTS = tuple(
    f"{_COLLECTIONS}{inner}/{verb}" for inner in ("", "/restorePoints") for verb in ("read", "delete")
)
# Restores in place: the machine stops, gets other disks, and starts.
_POWER = (
    "Microsoft.Compute/virtualMachines/instanceView/read",
    "Microsoft.Compute/virtualMachines/start/action",
    "Microsoft.Compute/virtualMachines/deallocate/action",
)
_IN_PLACE = (*_POWER, "Microsoft.Compute/virtualMachines/write")
_DISK_OPTIONS = (
    Option("name", "name of the new disk, or the beginning of the names of several"),
    Option("group", "resource group of what is made", captured="group"),
    Option("sku", "kind of the new disks, such as Premium_LRS; default: each as it was"),
    Option("zone", "availability zone", captured="zone", local=True),
    Option("attach_to", "id of a machine that takes the disk"),
    Option("lun", "LUN at that machine; default: the first free one", "number"),
    Option("start", "start the machine again, with --to in-place; default: yes", "flag"),
)

KINDS = (
    ResourceType(
        name="azure-disk",
        cloud="azure",
        service="azure-compute",
        id_prefix="/subscriptions/",
        cross_region=True,
        cross_account=False,
        repository=True,
        cold=True,
        copy_slots=_COPY_SLOTS,
        copies_in_order=True,
        notes=_NOTES,
        restores=("disk", "in-place"),
        restore_options=_DISK_OPTIONS,
        backup_actions=_BACKUP,
        copy_actions=_COPY,
        restore_actions=(*_RESTORE_DISK, *_IN_PLACE),
        archive_actions=_ARCHIVE,
        fetch_actions=_FETCH,
        undo_actions=(*_UNDO_DISK, *_IN_PLACE),
        delete_actions=_DELETE,
    ),
    ResourceType(
        name="azure-vm",
        cloud="azure",
        service="azure-compute",
        id_prefix="/subscriptions/",
        cross_region=True,
        cross_account=False,
        repository=True,
        cold=True,
        copy_slots=_COPY_SLOTS,
        copies_in_order=True,
        notes=(
            *_NOTES,
            "the disks of a machine are taken one after the other; with `consistency` at one instant: a restore point",
            "restore points are restored where they lie: they are not copied, and not kept in a repository",
        ),
        rules=(
            Rule(
                "restore-point",
                "any",
                "A restore point is not copied; leave `consistency` out where the backups of a machine go elsewhere.",
                "Azure virtual machine documentation, virtual machine restore points",
                found={"restore_point": ("crash", "application")},
            ),
        ),
        backup_options=(
            Option(
                "consistency",
                "take all disks at one instant, as a restore point that is consistent for a crash or for applications",
                choices=("crash", "application"),
            ),
        ),
        restores=("vm", "disk", "in-place"),
        restore_options=(
            Option("name", "name of the new machine, with which the names of its disks begin"),
            Option("group", "resource group of what is made", captured="group"),
            Option("size", "size of the machine", captured="size"),
            Option("sku", "kind of the new disks, such as Premium_LRS; default: each as it was"),
            Option("zone", "availability zone", captured="zone", local=True),
            Option("subnet", "id of the subnet of the new interface", captured="subnet_id", local=True),
            Option("subnets", "ids of the subnets of its other interfaces; default: as they were, or `subnet`", "list"),
            Option("addresses", "keep: those that the old interfaces had; default: free ones", choices=("keep",)),
            Option("security_group", "id of its network security group", captured="security_group_id", local=True),
            Option("disk", "id of the one disk to restore, with --to disk and --to in-place"),
            Option("start", "start the machine again, with --to in-place; default: yes", "flag"),
            Option("attach_to", "id of a machine that takes the disk, with --to disk"),
            Option("lun", "LUN at that machine; default: the first free one", "number"),
        ),
        backup_actions=(
            "Microsoft.Compute/virtualMachines/read",
            "Microsoft.Network/networkInterfaces/read",
            *_BACKUP,
            *_POINTS,
        ),
        copy_actions=_COPY,
        restore_actions=(*_RESTORE_VM, *_POWER, _POINT_DISKS),
        archive_actions=_ARCHIVE,
        fetch_actions=_FETCH,
        undo_actions=(*_UNDO_VM, *_IN_PLACE),
        delete_actions=(*_DELETE, *_DELETE_POINTS),
    ),
)
