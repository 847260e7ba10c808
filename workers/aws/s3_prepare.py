"""Before a sync or a restore: both buckets are looked at, and every right that it needs is tried without harm.

Reading is tried by a listing and a look at the first object, writing by an upload that is begun and given up at once.
Rights across accounts come from bucket policies, so a simulation of the role alone would not tell (IAM user guide,
"Cross-account policy evaluation logic").
"""

from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import Any

from botocore.exceptions import ClientError

from tasks.errors import Denied, Gone, Impossible, Invalid
from workers.aws.errors import translate
from workers.aws.session import Client, Sessions
from workers.aws.tags import fit_tags, write_tags
from workers.buckets import Pair
from workers.driver import TAG_JOB, Account, Resource

# What a refusal says of the object and not of the right to it.
_OF_THE_OBJECT = ("404", "NoSuchKey", "InvalidObjectState")
PROBE = ".snapfleet-check"  # the key of the upload that is given up; no object ever has it
_PERMISSIVE = {"us-east-1": "", "EU": "eu-west-1"}  # GetBucketLocation: null is us-east-1, EU an old name


def prepare(sessions: Sessions, reader: Account, writer: Account, source: Resource, options: Mapping[str, str]) -> Pair:
    """The pair of a sync, decided from the options and what the buckets are like. Raises the family."""
    name, prefix = options.get("bucket", ""), prefix_of(options, source.external_id)
    if not name:
        raise Invalid("The target names no bucket to keep this one in.", advice="Give its options `bucket: NAME`.")
    if name == source.external_id:
        raise Impossible("The bucket is its own destination.", code="same-bucket", advice="Name another bucket.")
    owner = sessions.number(writer, source.region)
    probe = _Probe(sessions, writer, source.region)
    region = probe.region_of(name, owner)
    versioned = _versioned(probe.at(region), name)
    versions = options.get("versions") == "yes"
    if versions and not versioned:
        raise Impossible(
            f"Versions are asked for, and {name} keeps none.", code="not-versioned", advice="Enable versioning there."
        )
    own = sessions.at(reader, source.region).read("s3")
    kms = [_default_key(client, bucket) for client, bucket in ((own, source.external_id), (probe.at(region), name))]
    key = options.get("kms_key", "")
    if kms[0] and not kms[1] and not key and region != source.region:
        raise Impossible(
            f"{source.external_id} is encrypted under keys of KMS and {name} is not.", code="kms-key-needed",
            advice="Give options.kms_key, or set a default key of KMS there.",
        )  # fmt: skip
    pair = Pair(
        source.external_id, source.region, name, region,
        target_prefix=prefix, source_owner=sessions.number(reader, source.region), target_owner=owner,
        versions=versions, versioned=versioned, opaque=bool(kms[0] or kms[1] or key), kms_key=key,
        keeps_kms=bool(kms[1]), skip_archived=options.get("archived") == "skip",
    )  # fmt: skip
    probe.read(pair)
    probe.write(pair)
    return pair


def prefix_of(options: Mapping[str, str], bucket: str) -> str:
    """What keys begin with in the target; `{bucket}` stands for the source's name."""
    return options.get("prefix", "").replace("{bucket}", bucket)


def prepare_restore(sessions: Sessions, writer: Account, wish: Mapping[str, Any], tags: Mapping[str, str]) -> Pair:
    """The pair of a restore. `wish`: bucket, region (where it is made if there is none), from (the sync's place as the
    point has it), prefix, kms_key, and `like` (settings of a new bucket). Raises the family."""
    place, name, prefix = wish["from"], str(wish["bucket"]), str(wish.get("prefix", ""))
    if name == place["bucket"]:
        raise Impossible("The bucket is the one that the objects are kept in.", code="same-bucket")
    owner = sessions.number(writer, place["region"])
    probe = _Probe(sessions, writer, str(wish.get("region") or place["region"]))
    region = probe.region_or_made(name, owner, wish.get("like") or {}, tags)
    key = str(wish.get("kms_key", ""))
    kms = _default_key(probe.at(region), name)
    pair = Pair(
        place["bucket"], place["region"], name, region,
        source_prefix=place["prefix"] + prefix, target_prefix=prefix,
        source_owner=str(place.get("owner", "")), target_owner=owner,
        versioned=_versioned(probe.at(region), name), as_of=place["as_of"] if place.get("versioned") else "",
        opaque=bool(place.get("opaque") or kms or key), kms_key=key, keeps_kms=bool(kms),
        skip_archived=wish.get("archived") == "skip",
    )  # fmt: skip
    probe.read(pair)
    probe.write(pair)
    return pair


class _Probe:
    """The looks of one account, which is to write."""

    def __init__(self, sessions: Sessions, writer: Account, region: str) -> None:
        self._sessions, self._writer, self._region = sessions, writer, region

    def at(self, region: str) -> Client:
        return self._sessions.at(self._writer, region).read("s3")

    def region_of(self, bucket: str, owner: str) -> str:
        """Where a bucket of the account lies. Raises Invalid when there is none of that name."""
        client = self.at(self._region)
        try:
            said = client.get_bucket_location(Bucket=bucket, ExpectedBucketOwner=owner)
        except ClientError as error:
            found = translate(error, operation="GetBucketLocation")
            if isinstance(found, Gone):
                raise Invalid(f"There is no bucket {bucket}.", code="no-bucket", advice="Make it first.") from None
            if isinstance(found, Denied):
                raise self._denied(bucket, "s3:GetBucketLocation", "or it belongs to another account") from None
            raise found from None
        place = str(said.get("LocationConstraint") or "us-east-1")
        return _PERMISSIVE.get(place) or place

    def region_or_made(self, bucket: str, owner: str, like: Mapping[str, Any], tags: Mapping[str, str]) -> str:
        """As `region_of`; the bucket is made as the lost one was where there is none; an empty one without tags gets
        its settings."""
        try:
            region = self.region_of(bucket, owner)
        except Invalid as error:
            if error.code != "no-bucket":
                raise
            region = ""
        if region and not self._is_bare(bucket, region):
            return region
        mine = {"Bucket": bucket, "ExpectedBucketOwner": owner}
        client = self._sessions.at(self._writer, region or self._region).create("s3")
        where = {} if self._region == "us-east-1" else {"LocationConstraint": self._region}
        if not region:
            with suppress(client.exceptions.BucketAlreadyOwnedByYou):
                client.create_bucket(Bucket=bucket, **({"CreateBucketConfiguration": where} if where else {}))
        if like.get("versioning") == "Enabled":
            client.put_bucket_versioning(**mine, VersioningConfiguration={"Status": "Enabled"})
        if like.get("encryption"):
            client.put_bucket_encryption(**mine, ServerSideEncryptionConfiguration=like["encryption"])
        fitted, _ = fit_tags(tags.get(TAG_JOB, ""), tags, like.get("tags") or {})
        client.put_bucket_tagging(**mine, Tagging={"TagSet": write_tags(fitted)})
        return region or self._region

    def _is_bare(self, bucket: str, region: str) -> bool:
        """Whether a bucket has neither tags nor objects: an earlier attempt may have made it and come no further."""
        client = self.at(region)
        if client.list_objects_v2(Bucket=bucket, MaxKeys=1).get("KeyCount"):
            return False
        try:
            client.get_bucket_tagging(Bucket=bucket)
        except ClientError as error:
            return error.response.get("Error", {}).get("Code") == "NoSuchTagSet"
        return False

    def read(self, pair: Pair) -> None:
        """List the source and read its first object's facts and tags."""
        client = self.at(pair.source_region)
        owner = {"ExpectedBucketOwner": pair.source_owner} if pair.source_owner else {}
        asked = {"Bucket": pair.source, "Prefix": pair.source_prefix, "MaxKeys": 1, **owner}
        listed = self._try(pair.source, "s3:ListBucket", lambda: client.list_objects_v2(**asked))
        if pair.versions or pair.as_of:
            asked = {"Bucket": pair.source, "Prefix": pair.source_prefix, "MaxKeys": 1, **owner}
            self._try(pair.source, "s3:ListBucketVersions", lambda: client.list_object_versions(**asked))
        for one in listed.get("Contents", ()):
            named = {"Bucket": pair.source, "Key": one["Key"], **owner}
            self._try(pair.source, "s3:GetObject", partial(client.head_object, **named), absent=True)
            self._try(pair.source, "s3:GetObjectTagging", partial(client.get_object_tagging, **named), absent=True)

    def write(self, pair: Pair) -> None:
        """Begin an upload with a tag, and give it up."""
        client = self.at(pair.target_region)
        named = {"Bucket": pair.target, "Key": pair.target_prefix + PROBE, "ExpectedBucketOwner": pair.target_owner}
        key = {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": pair.kms_key} if pair.kms_key else {}
        rights = "s3:PutObject and s3:PutObjectTagging" + (" and kms:GenerateDataKey" if key else "")
        begun = self._try(
            pair.target, rights, lambda: client.create_multipart_upload(**named, Tagging="snapfleet=check", **key)
        )
        self._try(
            pair.target,
            "s3:AbortMultipartUpload",
            lambda: client.abort_multipart_upload(**named, UploadId=begun["UploadId"]),
        )
        self._try(pair.target, "s3:ListBucket", lambda: client.list_objects_v2(Bucket=pair.target, MaxKeys=1))

    def _try(self, bucket: str, right: str, call: Callable[[], Any], *, absent: bool = False) -> Any:
        try:
            return call()
        except ClientError as error:
            if absent and error.response.get("Error", {}).get("Code") in _OF_THE_OBJECT:
                return None
            code = error.response.get("Error", {}).get("Code")
            found = translate(error, operation=right)
            if isinstance(found, Denied) or code == "403":
                raise self._denied(bucket, right) from None
            raise found from None

    def _denied(self, bucket: str, right: str, more: str = "") -> Denied:
        who = self._writer.role_arn or f"the identity of {self._writer.name}"
        text = f"{who} may not do {right} in {bucket}{', ' + more if more else ''}."
        return Denied(
            text,
            advice="One principal reads the source and writes the target: grant it in the role, and across accounts in "
            "the bucket policy too (docs/types/s3.md).",
        )


def _versioned(client: Client, bucket: str) -> bool:
    return bool(client.get_bucket_versioning(Bucket=bucket).get("Status") == "Enabled")


def _default_key(client: Client, bucket: str) -> str:
    """The KMS algorithm that a bucket encrypts with by default; '' for S3's own keys."""
    said = client.get_bucket_encryption(Bucket=bucket)["ServerSideEncryptionConfiguration"]["Rules"]
    found = [str(rule.get("ApplyServerSideEncryptionByDefault", {}).get("SSEAlgorithm", "")) for rule in said]
    return next((one for one in found if one.startswith("aws:kms")), "")
