"""ListObjectVersions without a delimiter, in S3's order and pages.

"ListObjectVersions" (S3 API reference): keys in UTF-8 binary order, versions of a key from the newest to the oldest; a
key marker alone goes on after that key, with a version marker after that version. moto sorts equal times the wrong way
round and copies all versions of a bucket for each page.
"""

import copy
from typing import Any


def listed(
    bucket: Any, key_marker: str | None, max_keys: int, prefix: str, version_marker: str | None
) -> tuple[list[Any], list[str], list[Any], str | None, str | None]:
    """(versions, common prefixes, delete markers, next key marker, next version marker)."""
    from moto.s3.models import FakeKey

    versions: list[Any] = []
    markers: list[Any] = []
    last: Any = None
    names = sorted(name for name in bucket.keys if name.startswith(prefix) and name >= (key_marker or ""))
    for name in names:
        for index, held in enumerate(reversed(bucket.keys.getlist(name, []))):
            if name == key_marker and (not version_marker or _is_before(bucket, name, index, version_marker)):
                continue
            if len(versions) + len(markers) >= max_keys:
                return versions, [], markers, last.name, last.version_id
            last = copy.copy(held)
            last.is_latest = index == 0
            (versions if isinstance(held, FakeKey) else markers).append(last)
    return versions, [], markers, None, None


def _is_before(bucket: Any, name: str, index: int, version_marker: str) -> bool:
    """Whether the index-th newest version was in an earlier page."""
    ids = [str(one.version_id) for one in reversed(bucket.keys.getlist(name, []))]
    return version_marker in ids and index <= ids.index(version_marker)
