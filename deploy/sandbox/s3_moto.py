"""What is changed inside moto's S3: it follows the sandbox's clock, and a few of its answers are AWS's then."""

from datetime import datetime, timedelta
from typing import Any

from deploy.sandbox import s3_versions
from deploy.sandbox.config import Config
from deploy.sandbox.world import World

_followed: list[World] = []


def follow(world: World) -> None:
    """The world whose clock and settings count; moto's S3 is one for the process."""
    _followed[:] = [world]


def now() -> datetime:
    return _followed[0].clock.now()


def config() -> Config:
    return _followed[0].config


def apply() -> None:
    """Correct moto's S3 once for the process."""
    from moto.s3 import models

    models.utcnow = lambda: now().replace(tzinfo=None)
    _policies_are_checked_before(models)
    _archives(models)
    _locks(models)
    _pages(models)
    _encryption(models)


def _policies_are_checked_before(models: Any) -> None:
    """s3_access decides; moto would take conditions as met."""
    from moto.iam.access_control import PermissionResult

    models.FakeBucket.get_permission = lambda *_: PermissionResult.NEUTRAL


def _archives(models: Any) -> None:
    """A restore is a state over time: `restored_at` and `expires_at`, instead of a count of looks."""
    key = models.FakeKey
    key.restored_at = key.expires_at = None

    def status(self: Any) -> str | None:
        if self.restored_at is None:
            return None
        return "RESTORED" if self.restored_at <= now() else "IN_PROGRESS"

    key.status = property(status, lambda self, value: None)
    key._expiry = property(lambda self: self.expires_at if self.restored_at else None, lambda self, value: None)


def _locks(models: Any) -> None:
    def default_retention(self: Any) -> str:
        days = (self.default_lock_days or 0) + 365 * (self.default_lock_years or 0)
        return (now() + timedelta(days=days)).strftime("%Y-%m-%dT%H:%M:%SZ")

    def put_object_lock_configuration(
        self: Any, bucket_name: str, lock_enabled: bool, mode: Any = None, days: Any = None, years: Any = None
    ) -> None:
        """Also for a bucket with objects, if it is versioned ("Configuring S3 Object Lock", S3 user guide)."""
        bucket = self.get_bucket(bucket_name)
        if not bucket.is_versioned:
            text = "Versioning must be 'Enabled' on the bucket to apply a Object Lock configuration"
            raise models.InvalidBucketState(text)
        bucket.object_lock_enabled = bucket.object_lock_enabled or lock_enabled
        bucket.default_lock_mode = mode
        bucket.default_lock_days, bucket.default_lock_years = days or None, years or None

    models.FakeBucket.default_retention = default_retention
    models.S3Backend.put_object_lock_configuration = put_object_lock_configuration


def _pages(models: Any) -> None:
    original = models.S3Backend._truncate_result

    def truncate(self: Any, result_keys: Any, max_keys: int) -> Any:
        return original(self, result_keys, min(max_keys, config().s3_page_max))

    def list_multipart_uploads(self: Any, bucket_name: str) -> dict[str, Any]:
        """In the order of their keys (ListMultipartUploads)."""
        held = self.get_bucket(bucket_name).multiparts
        return {i: held[i] for i in sorted(held, key=lambda i: held[i].key_name)}

    versions = models.S3Backend.list_object_versions

    def list_object_versions(
        self: Any, bucket_name: str, delimiter: Any = None, key_marker: Any = None, max_keys: Any = 1000,
        prefix: str = "", version_id_marker: Any = None,
    ) -> Any:  # fmt: skip
        if delimiter:
            return versions(self, bucket_name, delimiter, key_marker, max_keys, prefix, version_id_marker)
        most = min(max_keys if max_keys is not None else 1000, config().s3_page_max)
        return s3_versions.listed(self.get_bucket(bucket_name), key_marker, most, prefix or "", version_id_marker)

    models.S3Backend._truncate_result = truncate
    models.S3Backend.list_object_versions = list_object_versions
    models.S3Backend.list_multipart_uploads = list_multipart_uploads


def _encryption(models: Any) -> None:
    """Every bucket encrypts with SSE-S3 at least ("Setting default server-side encryption", S3 user guide)."""
    rule = {"Rule": {"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}, "BucketKeyEnabled": False}}
    original = models.FakeBucket.__init__

    def init(self: Any, *args: Any, **named: Any) -> None:
        original(self, *args, **named)
        self.encryption = rule

    models.FakeBucket.__init__ = init
    models.S3Backend.delete_bucket_encryption = lambda self, name: setattr(self.get_bucket(name), "encryption", rule)
