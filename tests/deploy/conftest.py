"""Buckets that the tests of S3 begin with."""

from typing import Any

import pytest

from tests.deploy.objects import client


@pytest.fixture
def s3(sandbox: Any) -> Any:
    """The vault account's S3, with a bucket `repo`."""
    made = client(sandbox)
    made.create_bucket(Bucket="repo")
    return made


@pytest.fixture
def locking(sandbox: Any) -> Any:
    """The vault account's S3, with a bucket `vault` that has Object Lock."""
    made = client(sandbox)
    made.create_bucket(Bucket="vault", ObjectLockEnabledForBucket=True)
    return made
