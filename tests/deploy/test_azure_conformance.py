"""The emulated Azure is held to the official examples: each is replayed, and request and answer are held to the swagger
files. What is not emulated is listed here by its operation or its example, with the reason."""

from collections import Counter

import pytest

from tests.azure_specs import swagger
from tests.azure_specs.replay import play

pytestmark = pytest.mark.unit

# Operations that this product calls nowhere.
NOT_EMULATED = frozenset(
    f"{group}_{name}"
    for group, names in {
        "VirtualMachines": "AssessPatches Capture ConvertToManagedDisks Generalize InstallPatches "
        "ListAvailableSizes ListByLocation PerformMaintenance PowerOff Reapply Redeploy Reimage Restart "
        "RetrieveBootDiagnosticsData RunCommand SimulateEviction",
        "VirtualMachineScaleSetVMs": "RunCommand",
        "VirtualMachineExtensions": "CreateOrUpdate Delete Get List Update",
        "VirtualMachineRunCommands": "Get List",  # Azure's own, of a region
        "VirtualMachineScaleSetVMRunCommands": "CreateOrUpdate Delete Get List Update",
        "Databases": "Failover ListByElasticPool ListInaccessibleByServer Pause Rename Resume UpgradeDataWarehouse",
        "DatabaseExtensions": "CreateOrUpdate Get",
        "FirewallRules": "Replace",
        "LongTermRetentionBackups": "ChangeAccessTier ChangeAccessTierByResourceGroup Copy CopyByResourceGroup "
        "ListByLocation ListByResourceGroupLocation ListByResourceGroupServer ListByServer Update "
        "UpdateByResourceGroup",
        "Servers": "CheckNameAvailability ImportDatabase RefreshStatus",
    }.items()
    for name in names.split()
)
# Examples of operations that are there, which ask for something that is refused: reason -> examples.
REFUSED = {
    "disks from images, blobs and elastic SANs": (
        "Disk_Create_FromAPlatformImage",
        "Disk_Create_ByImportingBlobFromTheSameSubscription",
        "Disk_Create_ByImportingBlobFromADifferentSubscription",
        "Disk_Create_WithSecurityProfile",
        "Disk_Create_FromImportSecure",
        "Disk_Create_FromUploadPreparedSecure",
        "Disk_Create_ConfidentialVMSupportedDiskEncryptedWithCMK",
        "Disk_Create_FromAnAzureComputeGalleryImage",
        "Disk_Create_FromAnAzureComputeGalleryDirectSharedImage",
        "Disk_Create_FromAnAzureComputeGalleryCommunityImage",
        "Disk_Create_FromAnElasticSanVolumeSnapshot",
    ),
    "an Upload disk needs uploadSizeBytes": ("Disk_Create_PerformancePlus",),
    "full snapshots of snapshots, blobs and elastic SANs": (
        "Snapshot_Create_FromAnExistingSnapshot",
        "Snapshot_Create_ByImportingAnUnmanagedBlobFromTheSameSubscription",
        "Snapshot_Create_ByImportingAnUnmanagedBlobFromADifferentSubscription",
        "Snapshot_Create_FromAnElasticSanVolumeSnapshot",
    ),
    "machines on unmanaged disks, on copies made with them, and with public addresses only": (
        "VirtualMachine_Create_WithDataDisksFromSourceResource",
        "VirtualMachine_Create_PlatformImageVmWithUnmanagedOsAndDataDisks",
        "VirtualMachine_Create_CustomImageVmFromAnUnmanagedGeneralizedOsImage",
        "VirtualMachine_Create_WithNetworkInterfaceConfiguration",
        "VirtualMachine_Create_WithNetworkInterfaceConfigurationDnsSettings",
    ),
    "replicas, and dedicated pools across subscriptions": (
        "CreateDatabaseSecondaryMode",
        "CreateDatabaseNamedReplica",
        "CreateDatabaseStandbyMode",
        "CreateDwDatabaseCrossSubscriptionPITR",
        "CreateDwDatabaseCrossSubscriptionRecovery",
        "CreateDwDatabaseCrossSubscriptionRestore",
    ),
}


def test_the_official_examples_are_answered_as_the_swagger_files_say(capsys: pytest.CaptureFixture[str]) -> None:
    """Feature 3: zero invalid; what is skipped is exactly what is listed."""
    figures: Counter[str] = Counter()
    invalid, refused, unknown = [], set(), set()
    for operation in swagger.operations():
        for name, example in operation.examples():
            wrong, code = play(operation, example)
            figures["replayed"] += 1
            figures["skipped" if code else "invalid" if wrong else "valid"] += 1
            invalid += [f"{operation.id} {name}: {one}" for one in wrong]
            if code == "InvalidResourceType":
                unknown.add(operation.id)
            elif code:
                refused.add(name)
    with capsys.disabled():
        print(f"\nofficial Azure examples: {dict(figures)}; {len(unknown)} operations not emulated")
    assert invalid == []
    assert unknown == NOT_EMULATED
    assert refused == {name for names in REFUSED.values() for name in names}
    assert figures["valid"] > 150


@pytest.mark.parametrize(
    ("body", "wrong"),
    [
        ({"location": 5}, "5 is not of type 'string'"),
        ({"location": "westus", "colour": "red"}, "'colour' was unexpected"),
        ({}, "'location' is a required property"),
        ({"location": "westus", "properties": {"timeCreated": "2026-01-01T00:00:00Z"}}, "'timeCreated' was unexpected"),
    ],
)
def test_a_request_that_is_not_as_the_swagger_says_is_noticed(body: dict[str, object], wrong: str) -> None:
    operation = next(one for one in swagger.operations() if one.id == "Snapshots_CreateOrUpdate")
    assert any(wrong in text for text in swagger.request_errors(operation, body))


@pytest.mark.parametrize(
    ("status", "headers", "body", "wrong"),
    [
        (299, {}, {}, "not declared"),
        (202, {}, None, "without the address of its operation"),
        (200, {}, {"location": "l", "name": "n"}, "without a resource id"),
        (200, {}, {"id": "i", "location": "l", "properties": {"createMode": "Copy"}}, "'createMode' was unexpected"),
        (200, {}, {"id": "i", "location": "l", "properties": {"creationDate": "yesterday"}}, "is not a 'date-time'"),
    ],
)
def test_an_answer_that_is_not_as_the_swagger_says_is_noticed(
    status: int, headers: dict[str, str], body: object, wrong: str
) -> None:
    operation = next(one for one in swagger.operations() if one.id == "Databases_CreateOrUpdate")
    assert any(wrong in text for text in swagger.answer_errors(operation, status, headers, body))
