"""S3 buckets, kept in step with another bucket.

Sources: S3 API reference (CopyObject: 5 GiB at most, tags and metadata go along; UploadPartCopy), S3 user guide
("Copying objects", "Bucket owner granting cross-account bucket permissions", "Controlling ownership of objects").
"""

from tasks.resources.kind import Option, ResourceType, Rule

_KEEPING = (
    Option("bucket", "the bucket that takes the copies, in any region of the partition", required=True),
    Option("account", "the account that owns it, whose role copies; default: the source's own"),
    Option("prefix", "what keys begin with there; {bucket} stands for the source's name"),
    Option("versions", "every version is copied, in order", choices=("yes", "no")),
    Option(
        "delete", "what vanished from the source goes there too; dry-run only counts", choices=("no", "yes", "dry-run")
    ),
    Option("delete_most", "percent of the objects there that one sync may delete; default 20", "number"),
    Option("kms_key", "encrypt the copies with this key of the destination's region"),
    Option("archived", "skip leaves objects in archive classes out; default: they fail the sync", choices=("skip",)),
)
# What one principal needs to copy: reading one bucket and writing another, also part by part.
_COPYING = (
    "s3:GetBucketLocation",
    "s3:GetBucketVersioning",
    "s3:GetEncryptionConfiguration",
    "s3:ListBucket",
    "s3:ListBucketVersions",
    "s3:GetObject",
    "s3:GetObjectVersion",
    "s3:GetObjectTagging",
    "s3:GetObjectVersionTagging",
    "s3:PutObject",
    "s3:PutObjectTagging",
    "s3:AbortMultipartUpload",
    "s3:ListBucketMultipartUploads",
    "s3:ListMultipartUploadParts",
)

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
        copy_slots=2,  # nothing of it goes through copies; a number that no other type shares
        notes=(
            "objects are copied from bucket to bucket, named by options.bucket, in any region or account; cold: by "
            "their own storage classes",
            "there is no snapshot of a bucket: a point is the last sync, and an instant where the other bucket keeps "
            "versions",
        ),
        rules=(
            Rule(
                "bucket-options",
                "any",
                "A bucket is kept in the bucket that its target names in options.bucket, in any region or account: dr "
                "entries do not apply to it.",
                "Amazon S3 user guide, Copying objects",
            ),
        ),
        backup_options=_KEEPING,
        restores=("bucket",),
        restore_options=(
            Option("bucket", "the bucket to restore into; made when there is none", captured="bucket", local=False),
            Option("account", "the account that owns it, whose role copies; default: where the bucket was"),
            Option("region", "where the bucket is made, if there is none; default: where it was"),
            Option("prefix", "only keys that begin with this"),
            Option("kms_key", "encrypt what is restored with this key"),
            Option("archived", "skip leaves objects in archive classes out", choices=("skip",)),
        ),
        backup_actions=("s3:ListAllMyBuckets", "s3:GetBucketTagging", *_COPYING),
        look_actions=(  # of buckets alone: to list their keys is for whoever copies
            "s3:ListAllMyBuckets",
            "s3:GetBucketTagging",
            "s3:GetBucketVersioning",
            "s3:GetEncryptionConfiguration",
        ),
        restore_actions=(
            *_COPYING,
            "s3:GetBucketTagging",  # whether a bucket is one that an earlier attempt made and did not finish
            "s3:CreateBucket",
            "s3:PutBucketVersioning",
            "s3:PutEncryptionConfiguration",
            "s3:PutBucketTagging",
        ),
        delete_actions=("s3:DeleteObject",),
        key_actions=("kms:Decrypt", "kms:GenerateDataKey"),
    ),
)
