"""What S3 would charge for: requests and bytes by operation and storage class, and what is stored."""

import threading
from collections import defaultdict
from typing import Any

NAMES = ("account", "bucket", "operation", "storage_class", "tier")


class Usage:
    """Counters by (account that asked, bucket, operation, storage class, retrieval tier)."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._rows: dict[tuple[str, ...], list[int]] = defaultdict(lambda: [0, 0, 0])

    def add(self, row: tuple[str, ...], received: int, sent: int) -> None:
        with self._lock:
            counts = self._rows[row]
            counts[0] += 1
            counts[1] += received
            counts[2] += sent

    def listed(self) -> list[dict[str, Any]]:
        """`count` requests, `received` and `sent` bytes of bodies; requests that were refused count too."""
        with self._lock:
            rows = [(k, list(v)) for k, v in self._rows.items()]
        return [dict(zip(NAMES, key, strict=True)) | {"count": n, "received": i, "sent": o} for key, (n, i, o) in rows]

    def clear(self) -> None:
        with self._lock:
            self._rows.clear()


def stored() -> list[dict[str, Any]]:
    """Objects (every version counts) and bytes, by bucket and storage class."""
    from moto.s3.models import FakeKey, s3_backends

    sums: dict[tuple[str, str, str], list[int]] = defaultdict(lambda: [0, 0])
    for name, (partition, account) in list(s3_backends.bucket_accounts.items()):
        for _, versions in list(s3_backends[account][partition].buckets[name].keys.lists()):
            for version in versions:
                if isinstance(version, FakeKey):
                    row = sums[account, name, version.storage_class or "STANDARD"]
                    row[0] += 1
                    row[1] += version.size
    names = ("account", "bucket", "storage_class")
    return [dict(zip(names, key, strict=True)) | {"objects": n, "bytes": b} for key, (n, b) in sums.items()]
