"""FSx: Lustre, NetApp ONTAP volumes, Windows with managed AD, OpenZFS.

Sources: the FSx user guides ("Working with backups", "Copying backups") and API reference (CopyBackup: same account,
five at once per destination region); across accounts AWS Backup, whose file systems and vaults need customer keys (AWS
Backup developer guide, "Creating backup copies across AWS accounts").
"""

from dataclasses import replace

from tasks.resources.kind import Option, ResourceType, Rule
from tasks.resources.vaults import (
    VAULT_BACKUP_ACTIONS,
    VAULT_COPY_ACTIONS,
    VAULT_KEY_ACTIONS,
)

_COPY_SLOTS = 4  # CopyBackup: five at once per destination region and account; one is left to others
_CUSTOMER_KEY = Rule(
    "customer-key",
    "account",
    "Across accounts FSx goes through AWS Backup, which shares only what lies under a customer-managed key: encrypt "
    "the file system with one.",
    "AWS Backup developer guide, Creating backup copies across AWS accounts",
    found={"default_key": (True,)},
)
_VAULT_KEY = Rule(
    "vault-key",
    "account",
    "The other account's vault must lie under a customer-managed key: name it as kms_key in this DR entry.",
    "AWS Backup developer guide, Creating backup copies across AWS accounts",
    needs="kms_key",
)
_NETWORK = (
    Option("subnets", "subnets: two for two zones", "list", captured="subnet_ids", local=True, required=True),
    Option("security_groups", "security groups", "list", captured="security_group_ids", local=True),
    Option("kms_key", "encrypt with this key", captured="kms_key_id", local=True),
)
_DEPLOYMENT = Option("deployment_type", "deployment type", captured="deployment_type")
_THROUGHPUT = Option("throughput", "throughput capacity in MB per second", "number", captured="throughput")
_PREFERRED = Option("preferred_subnet", "subnet of the active server", captured="preferred_subnet", local=True)
_STORAGE = Option("storage_type", "storage type", captured="storage_type")
_BACKUP_ACTIONS = (
    "fsx:DescribeFileSystems",
    "fsx:DescribeVolumes",
    "fsx:CreateBackup",
    "fsx:DescribeBackups",
    "fsx:ListTagsForResource",
    "fsx:TagResource",
    "ec2:DescribeNetworkInterfaces",
    # recovery points of FSx have FSx's tags, and are restored by FSx itself
    *(action for action in VAULT_BACKUP_ACTIONS if action != "backup:ListTags" and "RestoreJob" not in action),
)
_LOOKS = ("fsx:DescribeFileSystems", "fsx:DescribeVolumes")
_RESTORE_ACTIONS = (
    "fsx:CreateFileSystemFromBackup",
    *_LOOKS,
    "fsx:TagResource",
    # CreateFileSystem, FSx API reference: what it does in the caller's name
    "ec2:CreateNetworkInterface",
    "ec2:DescribeSubnets",
    "iam:CreateServiceLinkedRole",
)
_DELETE_ACTIONS = (
    "fsx:DescribeBackups",
    "fsx:DeleteBackup",
    "fsx:ListTagsForResource",
    "fsx:TagResource",
    "backup:DescribeRecoveryPoint",
    "backup:DeleteRecoveryPoint",
)
_NOTE = "across accounts through AWS Backup; file system and vaults need customer-managed keys"
_WINDOWS = ResourceType(
    name="fsx-windows",
    cloud="aws",
    service="fsx",
    id_prefix="fs-",
    cross_region=True,
    cross_account=True,
    repository=False,
    cold=False,
    copy_slots=_COPY_SLOTS,
    copy_limit=5,
    vault="cross",
    notes=(_NOTE, "restores need the same or a trusted directory"),
    rules=(_CUSTOMER_KEY, _VAULT_KEY),
    restores=("file-system",),
    restore_options=(
        *_NETWORK,
        _PREFERRED,
        Option("directory", "managed directory", captured="directory", local=True, required=True),
        Option("aliases", "DNS aliases, once the old file system has given them up", "list"),
        _DEPLOYMENT,
        _THROUGHPUT,
        _STORAGE,
    ),
    backup_actions=_BACKUP_ACTIONS,
    copy_actions=("fsx:CopyBackup", "fsx:DescribeBackups", "fsx:TagResource", *VAULT_COPY_ACTIONS),
    restore_actions=(*_RESTORE_ACTIONS, "ds:DescribeDirectories"),
    undo_actions=(*_LOOKS, "fsx:DeleteFileSystem"),
    delete_actions=_DELETE_ACTIONS,
    key_actions=VAULT_KEY_ACTIONS,
)

KINDS = (
    replace(
        _WINDOWS,
        name="fsx-lustre",
        restore_actions=_RESTORE_ACTIONS,
        notes=(_NOTE, "persistent deployments without an S3 data repository only"),
        restore_options=(*_NETWORK, _DEPLOYMENT),
        rules=(
            Rule(
                "lustre-scratch",
                "any",
                "FSx for Lustre keeps and copies backups of persistent deployments only.",
                "FSx for Lustre user guide, Working with backups",
                found={"deployment_type": ("SCRATCH_1", "SCRATCH_2")},
            ),
            Rule(
                "lustre-data-repository",
                "any",
                "FSx for Lustre backs up no file system that is linked to an S3 data repository.",
                "FSx for Lustre user guide, Working with backups",
                found={"data_repository": (True,)},
            ),
            _CUSTOMER_KEY,
            _VAULT_KEY,
        ),
    ),
    replace(
        _WINDOWS,
        name="fsx-ontap",
        copy_actions=VAULT_COPY_ACTIONS,
        restore_actions=("fsx:CreateVolumeFromBackup", *_LOOKS, "fsx:TagResource"),
        undo_actions=(*_LOOKS, "fsx:DeleteVolume"),
        id_prefix="fsvol-",
        vault="any",
        notes=(_NOTE, "native backups of ONTAP volumes are not copied: dr entries go through AWS Backup"),
        restores=("volume",),
        restore_options=(
            Option("name", "name of the new volume", captured="volume_name", required=True),
            Option("machine", "storage virtual machine", captured="machine", local=True, required=True),
            Option("junction_path", "where it is mounted; free in the machine", captured="junction_path"),
        ),
    ),
    _WINDOWS,
    replace(
        _WINDOWS,
        name="fsx-openzfs",
        restore_actions=_RESTORE_ACTIONS,
        notes=(_NOTE, "not to another region from Intelligent-Tiering storage"),
        restore_options=(
            *_NETWORK,
            _PREFERRED,
            _DEPLOYMENT,
            _THROUGHPUT,
            _STORAGE,
            Option("storage_capacity", "GiB, not less than it was", "number", captured="storage_capacity"),
        ),
        rules=(
            Rule(
                "openzfs-intelligent-tiering",
                "region",
                "FSx for OpenZFS copies no backup of Intelligent-Tiering storage to another region.",
                "FSx for OpenZFS user guide, Copying backups",
                found={"storage_type": ("INTELLIGENT_TIERING",)},
            ),
            _CUSTOMER_KEY,
            _VAULT_KEY,
        ),
    ),
)
