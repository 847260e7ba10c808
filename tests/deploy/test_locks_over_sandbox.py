"""Locks as the product's store reads and keeps them, against a server that keeps to S3's documents."""

from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.deploy.estate import HOME, VAULT
from tests.deploy.objects import PATH, now
from workers.repository.errors import AccessRefused, Missing
from workers.repository.locks import locks_of
from workers.repository.s3 import S3Store
from workers.repository.store import Put

RIGHTS = ("s3:GetObjectRetention", "s3:GetObjectLegalHold")


def as_role(sandbox: Any, *denied: str) -> S3Store:
    """The store as a role sees it that lacks something."""
    arn = f"arn:aws:iam::{VAULT}:role/keeper"
    sandbox.role(arn, denied=list(denied))
    held = sandbox.assume(arn, None)
    session = (held["AccessKeyId"], held["SecretAccessKey"], held["SessionToken"])
    return S3Store(sandbox.client_with(*session, HOME, "s3", s3=PATH), "vault", "p")


@pytest.fixture
def filled(sandbox: Any, locking: Any) -> datetime:
    """A locked pack, one under a legal hold, one of which only the version before is locked, and a free one; until
    when."""
    store, until = S3Store(locking, "vault", "p"), now(sandbox).replace(microsecond=0) + timedelta(days=2)
    for name in ("packs/locked", "packs/under"):
        store.put(name, b"x", Put(retain_until=until))
    for name in ("packs/under", "packs/held", "packs/free"):
        store.put(name, b"y")
    locking.put_object_legal_hold(Bucket="vault", Key="p/packs/held", LegalHold={"Status": "ON"})
    return until


def test_locks_are_asked_for_version_by_version_and_silence_is_not_taken_for_leave(
    sandbox: Any, filled: datetime
) -> None:
    """feature C20: AWS leaves the lock out of a HEAD for whoever may not read it; then nobody says that nothing is."""
    store = as_role(sandbox)
    names = ["packs/locked", "packs/under", "packs/held", "packs/free", "packs/gone"]
    forever = datetime.max.replace(tzinfo=UTC)
    found = locks_of(store, names, now(sandbox))
    assert found == {"packs/locked": filled, "packs/under": filled, "packs/held": forever}
    assert set(locks_of(store, names, filled)) == {"packs/held"}
    with pytest.raises(Missing):
        store.locked_until("packs/gone")
    for right in RIGHTS:
        with pytest.raises(AccessRefused, match="Allow s3:GetObjectRetention and s3:GetObjectLegalHold"):
            locks_of(as_role(sandbox, right), names, now(sandbox))
    with pytest.raises(AccessRefused, match="settings"):
        locks_of(as_role(sandbox, "s3:GetBucketObjectLockConfiguration"), names, now(sandbox))


def test_an_object_that_moves_leaves_no_version_behind_but_a_locked_one_and_its_lock_moves_too(
    sandbox: Any, locking: Any, filled: datetime
) -> None:
    """feature C20: nobody may delete it in its new class before its time; nothing is billed twice without need. Who
    may not read the lock moves nothing."""
    with pytest.raises(AccessRefused):
        as_role(sandbox, *RIGHTS).reclass("packs/locked", "GLACIER_IR")
    store = as_role(sandbox)
    for name in ("packs/locked", "packs/free"):
        store.reclass(name, "GLACIER_IR")
        assert store.stat(name).storage_class == "GLACIER_IR"
    left = Counter(one["Key"] for one in locking.list_object_versions(Bucket="vault", Prefix="p/packs/")["Versions"])
    assert (left["p/packs/locked"], left["p/packs/free"]) == (2, 1)
    moved = locking.get_object_retention(Bucket="vault", Key="p/packs/locked")["Retention"]
    assert moved == {"Mode": "COMPLIANCE", "RetainUntilDate": filled}
    sandbox.advance(3 * 86400)
    as_role(sandbox).reclass("packs/locked", "STANDARD_IA")
    assert not locks_of(as_role(sandbox), ["packs/locked"], now(sandbox))
