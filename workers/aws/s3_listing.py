"""Listings of buckets as streams, a page in memory at a time.

S3 lists in UTF-8 binary order of keys, and versions of a key from the newest to the oldest (ListObjectsV2,
ListObjectVersions, S3 API reference). Delete markers come in a list of their own, dated in whole seconds.
"""

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any

from workers.aws.session import Client
from workers.buckets import Entry, Held


def objects(client: Client, bucket: str, prefix: str, after: str, until: str, **owner: str) -> Iterator[Held]:
    """What a bucket shows under a prefix, keys without it, in (after, until]."""
    start = {"StartAfter": prefix + after} if after else {}
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix, **start, **owner)
    for page in pages:
        for one in page.get("Contents", ()):
            key = str(one["Key"])[len(prefix) :]
            if until and key > until:
                return
            yield Held(key, (_entry(one),))


def versions(client: Client, bucket: str, prefix: str, after: str, until: str, **owner: str) -> Iterator[Held]:
    """Every version under a prefix, by key."""
    for key, kept, markers in _by_key(client, bucket, prefix, after, until, **owner):
        hidden = any(marker["IsLatest"] for marker in markers)
        yield Held(key, tuple(_entry(one) for one in reversed(kept)), hidden)


def objects_as_of(
    client: Client, bucket: str, prefix: str, after: str, until: str, at: datetime, **owner: str
) -> Iterator[Held]:
    """What a bucket showed at an instant. Where a version and a marker of one second cannot be told apart in order,
    the object is taken to be there."""
    for key, kept, markers in _by_key(client, bucket, prefix, after, until, **owner):
        newest = next((one for one in kept if one["LastModified"] <= at), None)
        gone = next((one for one in markers if one["LastModified"] <= at), None)
        if newest is None:
            continue
        if gone is not None:
            later, tie = gone["LastModified"] > newest["LastModified"], gone["LastModified"] == newest["LastModified"]
            if later or (tie and gone["IsLatest"]):
                continue
        yield Held(key, (_entry(newest),))


_Found = tuple[str, list[Mapping[str, Any]], list[Mapping[str, Any]]]


def _by_key(client: Client, bucket: str, prefix: str, after: str, until: str, **owner: str) -> Iterator[_Found]:
    """Key, versions and delete markers, newest first; a key whose versions go over several pages comes once."""
    start = {"KeyMarker": prefix + after} if after else {}
    pages = client.get_paginator("list_object_versions").paginate(Bucket=bucket, Prefix=prefix, **start, **owner)
    open_key: str | None = None
    kept: list[Mapping[str, Any]] = []
    markers: list[Mapping[str, Any]] = []
    for full, is_version, one in _rows(pages):
        key = full[len(prefix) :]
        if key != open_key:
            if open_key is not None:
                yield open_key, kept, markers
            if until and key > until:
                return
            open_key, kept, markers = key, [], []
        (kept if is_version else markers).append(one)
    if open_key is not None:
        yield open_key, kept, markers


def _rows(pages: Iterable[Mapping[str, Any]]) -> Iterator[tuple[str, bool, Mapping[str, Any]]]:
    for page in pages:
        rows = [(str(one["Key"]), True, one) for one in page.get("Versions", ())]
        rows += [(str(one["Key"]), False, one) for one in page.get("DeleteMarkers", ())]
        yield from sorted(rows, key=lambda row: row[0])


def _entry(one: Mapping[str, Any]) -> Entry:
    version = str(one.get("VersionId") or "")
    return Entry(
        int(one["Size"]), str(one["ETag"]).strip('"'), one["LastModified"], str(one.get("StorageClass") or "STANDARD"),
        version,
    )  # fmt: skip
