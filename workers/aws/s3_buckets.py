"""Buckets kept in step on S3: listings compared, objects copied inside S3, deletions sent in batches.

Every call is made by the account that owns the target; reading the source is granted to it by the source's bucket
policy (or by its role, in the same account).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any

from tasks.errors import CloudFailed, Denied, Gone, SnapfleetError
from workers.aws import s3_listing, s3_prepare
from workers.aws.errors import translated
from workers.aws.s3_calls import Passed
from workers.aws.s3_compare import compared
from workers.aws.s3_objects import Copier, Sizes
from workers.aws.session import Client, Sessions
from workers.buckets import Copied, Held, Page, Pair, Todo, Upload, shown
from workers.driver import Account, Resource

EXAMPLES = 5  # objects named in a report of what could not be copied
_DELETES = 1000  # keys in one DeleteObjects (S3 API reference)


@dataclass(frozen=True)
class S3Buckets:
    """Implements workers.buckets.Buckets; safe to be shared by threads."""

    sessions: Sessions
    sizes: Sizes = Sizes()

    def prepare(self, reader: Account, writer: Account, source: Resource, options: Mapping[str, str]) -> Pair:
        with translated("a look at the buckets"):
            return s3_prepare.prepare(self.sessions, reader, writer, source, options)

    def prepare_restore(self, writer: Account, wish: Mapping[str, Any], tags: Mapping[str, str]) -> Pair:
        with translated("a look at the buckets"):
            return s3_prepare.prepare_restore(self.sessions, writer, wish, tags)

    def now(self, writer: Account, pair: Pair) -> datetime:
        with translated("HeadBucket"):
            said = self._client(writer, pair.target_region).head_bucket(Bucket=pair.target)
        return _dated(said)

    def bounds(
        self, writer: Account, pair: Pair, after: str, every: int, late: Callable[[], bool]
    ) -> tuple[list[str], str, bool]:
        found: list[str] = []
        last, count = after, 0
        with translated("ListObjectsV2"):
            for held in self._listed(writer, pair, after, ""):
                last, count = held.key, count + 1
                if count % every == 0:
                    found.append(held.key)
                    if late():
                        return found, last, False
        return found, last, True

    def pages(self, writer: Account, pair: Pair, after: str, until: str) -> Iterator[Page]:
        client = self._client(writer, pair.target_region)
        owner = {"ExpectedBucketOwner": pair.target_owner} if pair.target_owner else {}
        listing = s3_listing.versions if pair.versions else s3_listing.objects
        targets = listing(client, pair.target, pair.target_prefix, after, until, **owner)
        sources = self._listed(writer, pair, after, until)
        with translated("a listing"):
            yield from compared(sources, targets, until=until, versions=pair.versions, opaque=pair.opaque)

    def _listed(self, writer: Account, pair: Pair, after: str, until: str) -> Iterator[Held]:
        client = self._client(writer, pair.source_region)
        where = (client, pair.source, pair.source_prefix, after, until)
        owner = {"ExpectedBucketOwner": pair.source_owner} if pair.source_owner else {}
        if pair.as_of:
            return s3_listing.objects_as_of(*where, datetime.fromisoformat(pair.as_of), **owner)
        return (s3_listing.versions if pair.versions else s3_listing.objects)(*where, **owner)

    def large(self, _pair: Pair, page: Page) -> list[Todo]:
        return [one for one in page.todo if any(entry.size > self.sizes.whole for entry in one.copies)]

    def copy(self, writer: Account, pair: Pair, page: Page, width: int) -> Copied:
        copier, outcome = self._copier(writer, pair), Copied()
        big = {one.key for one in self.large(pair, page)}
        small = [one for one in page.todo if one.copies and one.key not in big]
        denied: SnapfleetError | None = None
        waits: SnapfleetError | None = None
        with ThreadPoolExecutor(max(1, width), "copy") as pool:
            tasks = [pool.submit(self._copy_one, copier, one) for one in small]
            for one, task in zip(small, tasks, strict=True):
                error = task.exception()
                if error is None:
                    _add(outcome, len(one.copies), task.result())
                elif isinstance(error, Passed):
                    _pass(outcome, pair, one.key, error)
                elif isinstance(error, Denied):
                    denied = error
                    _pass(outcome, pair, one.key, Passed(error.text, "denied"))
                elif isinstance(error, SnapfleetError):
                    waits = waits or error
                    for other in tasks:
                        other.cancel()
                    break
                else:
                    raise error
        if waits is not None:
            raise waits
        if denied is not None and not outcome.copied:
            raise denied
        return outcome

    def _copy_one(self, copier: Copier, todo: Todo) -> int:
        """All versions of one key, oldest first; the bytes. What is gone by now is not missed."""
        moved = 0
        for entry in todo.copies:
            try:
                moved += copier.copy(todo.key, entry)
            except Gone as error:
                if error.code == "no-bucket":
                    raise
        return moved

    def copy_large(
        self, writer: Account, pair: Pair, todo: Todo, known: Upload | None, note: Callable[[Upload | None], None],
        late: Callable[[], bool], width: int
    ) -> Copied | None:  # fmt: skip
        copier, outcome = self._copier(writer, pair), Copied()
        for entry in todo.copies:
            try:
                if entry.size <= self.sizes.whole:
                    moved: int | None = copier.copy(todo.key, entry)
                else:
                    mine = known is not None and (known.key, known.version) == (todo.key, entry.version)
                    upload = known if known is not None and mine else self._begin(copier, todo.key, entry, note)
                    moved = self._go_on(copier, entry, upload, note, late, width)
                    known = None
                if moved is None:
                    return None
                _add(outcome, 1, moved)
            except Passed as error:
                _pass(outcome, pair, todo.key, error)
            except Gone as error:
                if error.code == "no-bucket":
                    raise
        return outcome

    def _begin(self, copier: Copier, key: str, entry: Any, note: Callable[[Upload | None], None]) -> Upload:
        upload = copier.begin(key, entry)
        note(upload)
        return upload

    def _go_on(
        self, copier: Copier, entry: Any, upload: Upload, note: Callable[[Upload | None], None],
        late: Callable[[], bool], width: int
    ) -> int | None:  # fmt: skip
        try:
            moved = copier.go_on(entry, upload, late, width)
        except Gone:
            copier.abort(upload)
            note(None)
            raise CloudFailed(
                f"{shown(upload.key)} changed while it was copied.", code="source-changes", wait=timedelta(seconds=5)
            ) from None
        if moved is not None:
            note(None)
        return moved

    def abort(self, writer: Account, pair: Pair, upload: Upload) -> None:
        self._copier(writer, pair).abort(upload)

    def delete(self, writer: Account, pair: Pair, keys: Sequence[str]) -> int:
        client = self._client(writer, pair.target_region)
        owner = {"ExpectedBucketOwner": pair.target_owner} if pair.target_owner else {}
        gone = 0
        for start in range(0, len(keys), _DELETES):
            named = [{"Key": pair.target_prefix + key} for key in keys[start : start + _DELETES]]
            with translated("DeleteObjects"):
                said = client.delete_objects(Bucket=pair.target, Delete={"Objects": named, "Quiet": True}, **owner)
            failed = said.get("Errors", ())
            gone += len(named) - len(failed)
            if failed:
                first = failed[0]
                text = f"{len(failed)} objects could not be deleted from {pair.target}, first {shown(first['Key'])}"
                if first.get("Code") == "AccessDenied":
                    raise Denied(f"{text}: {first['Code']}.", advice="Grant s3:DeleteObject, or lift their locks.")
                raise CloudFailed(f"{text}: {first.get('Code', 'no reason given')}.")
        return gone

    def _client(self, writer: Account, region: str) -> Client:
        return self.sessions.at(writer, region).read("s3")

    def _copier(self, writer: Account, pair: Pair) -> Copier:
        target = self.sessions.at(writer, pair.target_region).create("s3")
        return Copier(pair, self._client(writer, pair.source_region), target, self.sizes)


def _dated(said: Mapping[str, Any]) -> datetime:
    """The time that S3 says an answer is of ("Common response headers", S3 API reference)."""
    return parsedate_to_datetime(said["ResponseMetadata"]["HTTPHeaders"]["date"]).astimezone(UTC)


def _add(outcome: Copied, count: int, size: int) -> None:
    outcome.copied += count
    outcome.copied_bytes += size


def _pass(outcome: Copied, pair: Pair, key: str, error: Passed) -> None:
    if error.code == "archived" and pair.skip_archived:
        outcome.left_out += 1
        return
    outcome.failed += 1
    if len(outcome.examples) < EXAMPLES:
        outcome.examples.append(f"{shown(key)}: {error.text}")
