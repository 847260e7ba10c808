"""S3 as a block repository meets it: moto keeps the objects; what moto does not check or gets wrong is decided before.

Checksums, conditions, Object Lock, retrievals, bucket policies and batch deletes are answered here, each in the
module that cites AWS's document. One lock makes a check and the write that it guards a single step.
"""

from dataclasses import dataclass, replace
from email.utils import format_datetime
from typing import Any

from deploy.sandbox import kms, s3_access, s3_archive, s3_buckets, s3_conditions, s3_copies, s3_deletes, s3_locks
from deploy.sandbox.call import Call
from deploy.sandbox.errors import AwsError
from deploy.sandbox.http import Request, Response
from deploy.sandbox.s3_body import plain
from deploy.sandbox.s3_route import Target, target
from deploy.sandbox.s3_told import told

READERS = ("GetObject", "HeadObject")
VERSION_READERS = (*READERS, "GetObjectRetention", "PutObjectRetention", "GetObjectLegalHold", "RestoreObject")
UPLOADS = ("UploadPart", "UploadPartCopy", "CompleteMultipartUpload", "AbortMultipartUpload", "ListParts")
WRITES = ("PutObject", "CopyObject", "CreateMultipartUpload")


@dataclass
class Asked:
    """One request to an existing bucket; `version` is the object version that it names or the current one."""

    call: Call
    request: Request
    target: Target
    bucket: Any
    version: Any = None
    copy_most: int = 0


def route(request: Request) -> tuple[str, dict[str, Any]]:
    """(operation, what it is about) for the log, for faults and for the role's permissions."""
    found = target(request)
    named = {"Bucket": found.bucket, "Key": found.key, "VersionId": found.version}
    return found.operation, {k: v for k, v in named.items() if v} | told(found.operation, request)


def answer(cloud: Any, call: Call, request: Request) -> Response:
    """Do what a request asks for, and count it."""
    asked, kind, response = target(request), "", Response(500)
    try:
        request = plain(request)
        with cloud.moto_lock:
            account = s3_access.check(call, asked, request.headers)
            if asked.operation == "ListBuckets":
                response = s3_buckets.listed(call.account, asked.query)
            elif asked.operation == "CreateBucket":
                response = cloud.moto.handle(request, account)
            else:
                work = Asked(call, request, asked, s3_access.bucket_of(asked.bucket))
                work.version = _version(work)
                work.copy_most = cloud.world.config.s3_copy_most
                kind = _class(work)
                response = _answer(cloud, work, account)
    finally:
        tier = s3_archive.tier_of(request.body) if asked.operation == "RestoreObject" else ""
        row = (call.account, asked.bucket, asked.operation, kind, tier)
        cloud.s3_usage.add(row, len(request.body), len(response.body))
    # "Common response headers" (S3 API reference): the time at which S3 answered.
    response.headers.setdefault("Date", format_datetime(call.now, usegmt=True))
    return response


def _answer(cloud: Any, work: Asked, account: str) -> Response:
    call, request, wanted, bucket = work.call, work.request, work.target, work.bucket
    _check(work)
    if wanted.operation == "GetObjectRetention":
        return s3_locks.get_retention(work.version, bucket)
    if wanted.operation == "GetObjectLegalHold":
        return s3_locks.get_legal_hold(work.version, bucket)
    if wanted.operation == "RestoreObject":
        return s3_archive.restore(call, request, work.version)
    bypass = s3_locks.bypasses(call, request.headers)
    if wanted.operation == "DeleteObjects":
        return s3_deletes.delete(s3_access.backend(account), bucket, request, bypass)
    uploads = set(bucket.multiparts)
    upload = bucket.multiparts.get(wanted.query.get("uploadId", ""))
    response = cloud.moto.handle(_for_moto(request, wanted, bypass), account)
    if wanted.operation in READERS:
        s3_locks.conceal(call, response)
    if wanted.operation == "CopyObject" and response.status < 300:
        s3_copies.carry(request.headers, bucket, s3_conditions.current(bucket, wanted.key)[0])
    if wanted.operation == "CreateMultipartUpload" and response.status < 300:
        made = next(u for u in bucket.multiparts if u not in uploads)
        s3_locks.remember(bucket.multiparts[made], request.headers)
    if wanted.operation == "CompleteMultipartUpload" and response.status < 300 and upload is not None:
        s3_locks.carry(bucket, upload, bucket.keys[wanted.key])
    return response


def _version(work: Asked) -> Any:
    """The version that a request is about; NoSuchKey or NoSuchVersion (404) where it must exist."""
    wanted, held = work.target, None
    if not wanted.key:
        return None
    if wanted.version:
        versions = work.bucket.keys.getlist(wanted.key, [])
        held = next((v for v in versions if str(v.version_id) == wanted.version), None)
        held = held if hasattr(held, "lock_mode") else None
    else:
        held, _ = s3_conditions.current(work.bucket, wanted.key)
    if held is None and wanted.operation in VERSION_READERS[2:]:
        code = "NoSuchVersion" if wanted.version else "NoSuchKey"
        raise AwsError(code, "The specified key or version does not exist.", 404)
    if held is not None:
        s3_archive.refresh(held, work.call.now)
    return held


def _class(work: Asked) -> str:
    """The storage class that a request is charged by."""
    upload = work.bucket.multiparts.get(work.target.query.get("uploadId", ""))
    if upload is not None:
        return str(upload.storage or "STANDARD")
    if work.target.operation in WRITES:
        return work.request.headers.get("x-amz-storage-class", "STANDARD")
    return str(work.version.storage_class) if work.version is not None else ""


def _check(work: Asked) -> None:
    """What AWS refuses and moto would not."""
    call, request, wanted, bucket = work.call, work.request, work.target, work.bucket
    name, headers = wanted.operation, request.headers
    upload_id = wanted.query.get("uploadId")
    done = work.version is not None and getattr(work.version.multipart, "id", "") == upload_id
    if name in UPLOADS and not done:
        upload = bucket.multiparts.get(upload_id)
        if upload is None or upload.key_name != wanted.key:
            raise AwsError("NoSuchUpload", "The specified upload does not exist.", 404)
    if not (done and name == "CompleteMultipartUpload"):  # a repeated completion is answered like the first
        s3_conditions.check(bucket, name, wanted.key, headers)
    if name in WRITES:
        s3_locks.check_headers(call, headers)
        _check_key(call, bucket, headers)
    if name in s3_copies.COPIES:
        s3_copies.check(call, name, headers, work.copy_most)
    if name == "GetObject" and work.version is not None:
        s3_archive.check_readable(work.version, call.now)
    if name in READERS and work.version is not None:
        _usable(call, work.version.kms_key_id if work.version.encryption == "aws:kms" else None, "kms:Decrypt")
    if name == "PutObjectRetention" and bucket.object_lock_enabled:
        s3_locks.check_retention(call, request, work.version)
    if s3_locks.forbids_suspension(bucket, wanted, request.body):
        text = "An Object Lock configuration is present on this bucket, so the versioning state cannot be changed."
        raise AwsError("InvalidBucketState", text, 409)
    _check_token(wanted, bucket)


def _check_key(call: Call, bucket: Any, headers: dict[str, str]) -> None:
    """The KMS key that a new object will be encrypted with must be usable."""
    rule = bucket.encryption["Rule"]["ApplyServerSideEncryptionByDefault"]
    algorithm = headers.get("x-amz-server-side-encryption") or rule["SSEAlgorithm"]
    key = headers.get("x-amz-server-side-encryption-aws-kms-key-id") or rule.get("KMSMasterKeyID")
    _usable(call, key if algorithm == "aws:kms" else None, "kms:GenerateDataKey")


def _usable(call: Call, key_id: str | None, action: str) -> None:
    if not key_id:
        return
    key = kms.find(call.account, call.region, key_id)
    if key is None or not kms.usable(call, key.arn, action):
        raise s3_access.denied(f"{action} on {key_id}")


def _check_token(wanted: Target, bucket: Any) -> None:
    token = wanted.query.get("continuation-token")
    known = s3_access.backend(bucket.account_id)._pagination_tokens
    if wanted.operation == "ListObjectsV2" and token and token not in known:
        raise AwsError("InvalidArgument", "The continuation token provided is incorrect", 400)


def _for_moto(request: Request, wanted: Target, bypass: bool) -> Request:
    """The request without what was decided already."""
    headers = dict(request.headers)
    if wanted.operation in s3_conditions.GUARDED:
        for name in s3_conditions.CONDITIONS:
            headers.pop(name, None)
    if not bypass:
        headers.pop(s3_locks.BYPASS, None)
    if request.method == "PUT" and wanted.operation != "PutObject":
        headers.setdefault("content-md5", "checked")  # moto demands one of more operations than S3 does
    return replace(request, headers=headers)
