"""What can be set in a running sandbox: how long work takes, which limits hold, how strictly requests are checked."""

from dataclasses import asdict, dataclass, field, fields


@dataclass
class Config:
    """Durations are seconds. `limits` overrides request buckets: {"CreateSnapshot": [burst, per second]}."""

    snapshot_seconds: float = 3.0
    snapshot_seconds_per_gib: float = 0.0
    copy_seconds: float | None = None  # None: as long as a snapshot
    volume_seconds: float = 0.2
    instance_seconds: float = 1.0
    tier_seconds: float = 2.0  # real archiving and restoring take hours
    replace_root_seconds: float = 2.0
    deregister_lag_seconds: float = 0.0  # how long a root snapshot stays in use after its image is deregistered
    image_seconds: float = 0.2  # an image follows its last snapshot by a moment
    # EC2 API error codes, SnapshotCreationPerVolumeRateExceeded: "wait at least 15 seconds between ..."
    snapshot_interval_seconds: float = 15.0
    pending_per_volume: int = 5  # EBS quotas: concurrent snapshots per gp/io volume
    copies_per_destination: int = 20  # EBS quotas: concurrent snapshot copies per destination region
    snapshots_per_region: int = 100_000  # EBS quotas: snapshots per region
    ebs_pending_snapshots: int = 100  # EBS quotas: pending snapshots per account, StartSnapshot
    ebs_empty_pages: bool = False  # EBS direct FAQ: a page may be empty and have a next one; here every other page
    s3_copy_most: int = 5 << 30  # CopyObject (S3 API reference): a larger object is copied part by part
    s3_page_max: int = 1000  # MaxKeys, "ListObjectsV2" (S3 API reference): never more keys in one page
    # RestoreObject by tier; "Archive retrieval options" (S3 user guide): minutes to 48 hours on AWS
    s3_restore_seconds: dict[str, float] = field(
        default_factory=lambda: {"Expedited": 1.0, "Standard": 3.0, "Bulk": 6.0}
    )
    backup_seconds: float = 3.0  # backups of DynamoDB and FSx, and jobs of AWS Backup: minutes to an hour on AWS
    backup_copy_seconds: float = 3.0
    backup_restore_seconds: float = 3.0
    fsx_copies_per_destination: int = 5  # CopyBackup, FSx API reference: five at once for a destination region
    fsx_user_backups: int = 500  # FSx quotas: user-initiated backups per account and region
    directories: list[str] = field(default_factory=list)  # "account/region/d-...": managed Microsoft ADs that exist
    organization: list[str] = field(default_factory=list)  # accounts in one organization; empty: all of them
    management_account: str = "100000000000"
    database_seconds: float = 2.0  # creating or restoring a DB instance or cluster takes minutes on AWS
    db_snapshots_per_region: int = 100  # "Quotas for Amazon RDS": manual snapshots per region and account
    db_copies_per_destination: int = 20  # "Copying a DB snapshot": in progress to one destination region
    cluster_copies_per_destination: int = 5  # "Quotas for Amazon Aurora"; DocumentDB alike
    db_two_hops: bool = False  # the RDS guide's older rule: a shared snapshot is copied inside its region only
    # "Copy an Amazon EBS snapshot": what is shared and encrypted is copied in its region first, on from there next
    ebs_two_hops: bool = False
    metering: bool = True
    redshift_snapshots_per_region: int = 20  # "Quotas and limits in Amazon Redshift": user snapshots per region
    meter_scale: float = 1.0
    limits: dict[str, list[float]] = field(default_factory=dict)
    list_lag_seconds: float = 0.0  # how long a new resource stays unseen by tag filters
    check_signatures: bool = True
    recent_calls: int = 5000

    def update(self, changes: dict) -> None:
        """Change some settings; ValueError names one that does not exist."""
        known = {f.name for f in fields(self)}
        for name in changes:
            if name not in known:
                raise ValueError(f"no such setting: {name}; there are {', '.join(sorted(known))}")
        for name, value in changes.items():
            setattr(self, name, value)

    def as_dict(self) -> dict:
        return asdict(self)
