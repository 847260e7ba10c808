"""One object from bucket to bucket, inside S3: whole up to 5 GiB, above that part by part.

CopyObject (S3 API reference) takes metadata and tags over by itself; the storage class it does not, and what the object
is encrypted with follows the target. CreateMultipartUpload takes nothing over, so everything is read and said again.
What is copied is exactly what was looked at: the ETag is a condition of every copy. A copy that was overtaken by a
newer version is made anew.
"""

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any
from urllib.parse import urlencode

from tasks.errors import Gone
from workers.aws.s3_calls import Passed, answered, needed
from workers.aws.session import Client
from workers.buckets import Entry, Pair, Upload

GIB = 1 << 30
COPY_MOST = 5 * GIB  # CopyObject, S3 API reference
PARTS_MOST = 10_000  # "Amazon S3 multipart upload limits"
PART = GIB // 4  # seconds each; what is lost of a broken-off slice at most
ARCHIVED = frozenset({"GLACIER", "DEEP_ARCHIVE"})
_TRIES = 3  # with an object that is overwritten while it is copied
# What an object says about itself, by the name in HeadObject and in CreateMultipartUpload.
_SAID = (
    "CacheControl", "ContentDisposition", "ContentEncoding", "ContentLanguage", "ContentType", "Expires", "Metadata",
    "WebsiteRedirectLocation",
)  # fmt: skip


@dataclass(frozen=True)
class Sizes:
    """Bytes: up to which an object is copied whole, and of one part above. Other values than AWS's are for tests."""

    whole: int = COPY_MOST
    part: int = PART

    def part_of(self, size: int) -> int:
        """The part size for an object: as usual, or larger where that were too many parts."""
        return max(self.part, -(-size // PARTS_MOST))


@dataclass(frozen=True)
class Copier:
    """The clients of one pair, both entered as the account that owns the target."""

    pair: Pair
    source: Client  # at the source's region, may ask again by itself
    target: Client  # at the target's region, sends once
    sizes: Sizes

    def copy(self, key: str, entry: Entry) -> int:
        """Copy one version; the bytes. Raises Gone when it is not there any more, Passed for what cannot be copied,
        and the family."""
        for _ in range(_TRIES):
            head = self.head(key, entry)
            if self._is_there(key, entry, head):
                return 0
            sent = answered("CopyObject", partial(self._copy, key, entry, head))
            if sent is None:
                continue
            if entry.version or not self._is_untold(head) or self.head(key, entry)["ETag"] == head["ETag"]:
                return int(head["ContentLength"])
        raise Passed("it is overwritten faster than it can be copied", "source-changes")

    def head(self, key: str, entry: Entry) -> Mapping[str, Any]:
        """The version as it is now."""
        asked = {**self._version(entry), **_owner("ExpectedBucketOwner", self.pair.source_owner)}
        named = {"Bucket": self.pair.source, "Key": self.pair.source_prefix + key}
        found: Mapping[str, Any] | None = answered("HeadObject", lambda: self.source.head_object(**named, **asked))
        if found is None:
            raise Gone(f"{key} is not there any more.")
        self._check_archived(found)
        return found

    def _is_untold(self, head: Mapping[str, Any]) -> bool:
        """Whether the object's ETag says nothing about its content, so that only its age will tell a change."""
        return self.pair.opaque or "-" in head["ETag"] or _under_kms(head)

    def _is_there(self, key: str, entry: Entry, head: Mapping[str, Any]) -> bool:
        """Whether a younger copy exists of an object that alone in its bucket lies under a key of KMS: no listing
        tells that."""
        if self.pair.opaque or entry.version or not _under_kms(head):
            return False
        there = answered("HeadObject", lambda: self.target.head_object(**self._to(key)))
        if there is None or int(there["ContentLength"]) != int(head["ContentLength"]):
            return False
        return bool(there["LastModified"] > head["LastModified"])

    def _check_archived(self, head: Mapping[str, Any]) -> None:
        stored, restored = head.get("StorageClass", ""), 'ongoing-request="false"' in str(head.get("Restore", ""))
        if (stored in ARCHIVED and not restored) or head.get("ArchiveStatus"):
            raise Passed(f"it lies in {stored}, which is copied only after a retrieval", "archived")

    def _version(self, entry: Entry) -> dict[str, str]:
        return {"VersionId": entry.version} if entry.version else {}

    def _from(self, key: str, entry: Entry) -> dict[str, Any]:
        where = {"Bucket": self.pair.source, "Key": self.pair.source_prefix + key, **self._version(entry)}
        return {"CopySource": where, **_owner("ExpectedSourceBucketOwner", self.pair.source_owner)}

    def _to(self, key: str) -> dict[str, Any]:
        named = {"Bucket": self.pair.target, "Key": self.pair.target_prefix + key}
        return {**named, **_owner("ExpectedBucketOwner", self.pair.target_owner)}

    def _copy(self, key: str, entry: Entry, head: Mapping[str, Any]) -> Any:
        return self.target.copy_object(
            **self._to(key), **self._from(key, entry), **self._kept(head), CopySourceIfMatch=head["ETag"]
        )

    def _kept(self, head: Mapping[str, Any]) -> dict[str, Any]:
        """Storage class and encryption: what a copy would not take over."""
        kept: dict[str, Any] = {}
        if head.get("StorageClass", "STANDARD") != "STANDARD":
            kept["StorageClass"] = head["StorageClass"]
        if self.pair.kms_key:
            return {**kept, "ServerSideEncryption": "aws:kms", "SSEKMSKeyId": self.pair.kms_key}
        if not _under_kms(head) or self.pair.keeps_kms:
            return kept
        if self.pair.source_region != self.pair.target_region:
            raise Passed("it is encrypted under a key of its own region: give options.kms_key", "kms-key-needed")
        return {**kept, "ServerSideEncryption": head["ServerSideEncryption"], "SSEKMSKeyId": head["SSEKMSKeyId"]}

    # --- part by part ---

    def begin(self, key: str, entry: Entry) -> Upload:
        """Begin an upload that will be as the version is; what an earlier attempt began and nobody noted is ended."""
        head = self.head(key, entry)
        for left in self._left_over(key):
            self.abort(Upload(key, "", left, 0))
        asked: dict[str, Any] = {name: head[name] for name in _SAID if head.get(name)}
        tags = self._tags(key, entry) if head.get("TagCount") else ""
        asked |= {**self._kept(head), **({"Tagging": tags} if tags else {})}
        made = needed("CreateMultipartUpload", lambda: self.target.create_multipart_upload(**self._to(key), **asked))
        part = self.sizes.part_of(int(head["ContentLength"]))
        return Upload(key, str(head["ETag"]).strip('"'), str(made["UploadId"]), part, entry.version)

    def _tags(self, key: str, entry: Entry) -> str:
        asked = {"Bucket": self.pair.source, "Key": self.pair.source_prefix + key, **self._version(entry)}
        asked |= _owner("ExpectedBucketOwner", self.pair.source_owner)
        found = needed("GetObjectTagging", lambda: self.source.get_object_tagging(**asked))
        return urlencode({tag["Key"]: tag["Value"] for tag in found["TagSet"]})

    def _left_over(self, key: str) -> Iterator[str]:
        to = self._to(key)
        name = to.pop("Key")
        found = needed("ListMultipartUploads", lambda: self.target.list_multipart_uploads(**to, Prefix=name))
        return (str(one["UploadId"]) for one in found.get("Uploads", ()) if one["Key"] == name)

    def go_on(self, entry: Entry, upload: Upload, late: Callable[[], bool], width: int) -> int | None:
        """Copy the parts that are not there yet and complete the upload; the bytes, None when it was late before that.

        Raises Gone when the upload or the version it began with is not there any more.
        """
        head = self.head(upload.key, entry)
        if str(head["ETag"]).strip('"') != upload.source_etag:
            raise Gone(f"{upload.key} was overwritten while it was copied.")
        size = int(head["ContentLength"])
        done = self._parts(upload)
        numbers = [one for one in range(1, max(1, -(-size // upload.part_bytes)) + 1) if one not in done]
        with ThreadPoolExecutor(width, "part") as pool:
            for start in range(0, len(numbers), width):
                if late():
                    return None
                some = numbers[start : start + width]
                done |= dict(pool.map(lambda number: self._part(entry, upload, number, size), some))
        parts = [{"PartNumber": number, "ETag": done[number]} for number in sorted(done)]
        whole = {"UploadId": upload.id, "MultipartUpload": {"Parts": parts}}
        said = answered(
            "CompleteMultipartUpload", lambda: self.target.complete_multipart_upload(**self._to(upload.key), **whole)
        )
        if said is None:
            raise Gone(f"The upload of {upload.key} is not there any more.")
        return size

    def _parts(self, upload: Upload) -> dict[int, str]:
        pages = self.target.get_paginator("list_parts")
        listed = answered("ListParts", lambda: list(pages.paginate(**self._to(upload.key), UploadId=upload.id)))
        if listed is None:
            raise Gone(f"The upload of {upload.key} is not there any more.")
        return {int(part["PartNumber"]): str(part["ETag"]) for page in listed for part in page.get("Parts", ())}

    def _part(self, entry: Entry, upload: Upload, number: int, size: int) -> tuple[int, str]:
        first = (number - 1) * upload.part_bytes
        span = f"bytes={first}-{min(size, first + upload.part_bytes) - 1}"
        asked = {**self._from(upload.key, entry), "CopySourceIfMatch": f'"{upload.source_etag}"'}
        place = {**self._to(upload.key), "UploadId": upload.id, "PartNumber": number}
        made = answered("UploadPartCopy", lambda: self.target.upload_part_copy(**place, **asked, CopySourceRange=span))
        if made is None:
            raise Gone(f"{upload.key} was overwritten while it was copied.")
        return number, str(made["CopyPartResult"]["ETag"])

    def abort(self, upload: Upload) -> None:
        """End an upload: its parts are billed until then."""
        answered(
            "AbortMultipartUpload",
            lambda: self.target.abort_multipart_upload(**self._to(upload.key), UploadId=upload.id),
        )


def _under_kms(head: Mapping[str, Any]) -> bool:
    return str(head.get("ServerSideEncryption", "")).startswith("aws:kms")


def _owner(name: str, number: str) -> dict[str, str]:
    """Refuse a bucket that has come to be somebody else's: names of deleted buckets are free for all."""
    return {name: number} if number else {}
