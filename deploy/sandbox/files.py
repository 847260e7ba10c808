"""What file systems hold, as path and bytes: the emulated guests write here, backups freeze it, restores bring it back.

EFS restores land in a folder of their own ("Restoring an Amazon EFS file system", AWS Backup developer guide).
"""

import hashlib
from collections.abc import Mapping

Files = dict[str, bytes]


def digests(files: Mapping[str, bytes]) -> dict[str, str]:
    """SHA-256 of each file, by path."""
    return {path: hashlib.sha256(data).hexdigest() for path, data in sorted(files.items())}


def size_of(files: Mapping[str, bytes]) -> int:
    return sum(len(data) for data in files.values())
