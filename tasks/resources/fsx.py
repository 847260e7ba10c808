"""FSx: Lustre, NetApp ONTAP volumes, Windows with managed AD, OpenZFS.

Sources: the FSx user guides ("Working with backups", "Copying backups") and API reference (CopyBackup: same account,
five at once per destination region); across accounts AWS Backup, whose file systems and vaults need customer keys (AWS
Backup developer guide, "Creating backup copies across AWS accounts").
"""

from dataclasses import replace

from tasks.resources.kind import ResourceType, Rule

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
    built=False,
    vault="cross",
    notes=(_NOTE, "restores need the same or a trusted directory"),
    rules=(_CUSTOMER_KEY, _VAULT_KEY),
    restores=("file-system",),
)

KINDS = (
    replace(
        _WINDOWS,
        name="fsx-lustre",
        notes=(_NOTE, "persistent deployments without an S3 data repository only"),
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
        id_prefix="fsvol-",
        vault="any",
        notes=(_NOTE, "native backups of ONTAP volumes are not copied: dr entries go through AWS Backup"),
        restores=("volume",),
    ),
    _WINDOWS,
    replace(
        _WINDOWS,
        name="fsx-openzfs",
        notes=(_NOTE, "not to another region from Intelligent-Tiering storage"),
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
