"""S3 buckets, kept in step with another bucket.

Source: S3 user guide ("Copying objects", CopyObject and UploadPartCopy).
"""

from tasks.resources.kind import Option, ResourceType

KINDS = (
    ResourceType(
        name="s3",
        cloud="aws",
        service="s3",
        id_prefix="",
        cross_region=True,
        cross_account=True,
        repository=False,
        cold=True,
        copy_slots=2,  # a sync of one bucket is many requests
        built=False,
        notes=("objects are copied from bucket to bucket: there is no snapshot of a bucket",),
        backup_options=(
            Option("bucket", "the bucket that takes the copies"),
            Option("delete", "what is deleted in the source is deleted there too", choices=("yes",)),
        ),
        restores=("bucket",),
    ),
)
