"""What a bucket lacks of another, told from listings: every change is seen, and nothing is copied twice. feature 25"""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workers.aws.s3_compare import compared, missing, needs, same
from workers.buckets import Entry, Held

pytestmark = pytest.mark.unit

T = datetime(2026, 3, 1, tzinfo=UTC)
OLD = Entry(10, "aa", T)


def at(seconds: int, **more: object) -> Entry:
    return replace(OLD, at=T + timedelta(seconds=seconds), **more)


def held(key: str, *entries: Entry, deleted: bool = False) -> Held:
    return Held(key, entries, deleted)


def test_a_copy_has_the_size_and_the_digest_and_is_not_older() -> None:
    assert same(OLD, at(0), opaque=False)
    assert same(OLD, at(9), opaque=False)
    assert not same(OLD, at(9, size=11), opaque=False)
    assert not same(OLD, at(9, etag="bb"), opaque=False)
    assert not same(at(5), at(4), opaque=False)  # written again since: its metadata may have changed


def test_where_a_digest_tells_nothing_a_copy_is_strictly_younger() -> None:
    """KMS and multipart: listings are dated in whole seconds, so a tie is a change."""
    assert same(OLD, at(1, etag="bb"), opaque=True)
    assert same(at(0, etag="aa-3"), at(1, etag="cc"), opaque=False)
    assert not same(OLD, at(0, etag="bb"), opaque=True)


def test_what_vanished_is_told_and_never_copied() -> None:
    assert needs(None, held("k", OLD), versions=False, opaque=False).vanished
    assert not needs(None, held("k", OLD, deleted=True), versions=True, opaque=False).vanished
    hidden = needs(held("k", OLD, deleted=True), held("k", at(1)), versions=True, opaque=False)
    assert (hidden.copies, hidden.vanished, hidden.hide) == ((), True, False)


def test_versions_of_what_was_deleted_before_it_was_ever_copied_are_hidden_again() -> None:
    todo = needs(held("k", OLD, at(1, etag="bb"), deleted=True), None, versions=True, opaque=False)
    assert (len(todo.copies), todo.hide, todo.vanished) == (2, True, False)


def test_only_the_versions_after_those_that_are_there_are_copied() -> None:
    one, two, three = (at(n, etag=f"e{n}") for n in range(3))
    copies = [replace(entry, at=entry.at + timedelta(hours=1)) for entry in (one, two, three)]
    assert missing([one, two, three], copies[:2], opaque=False) == (three,)
    assert missing([two, three], copies, opaque=False) == ()  # the source's life cycle took the first
    assert missing([one, one], copies[:1], opaque=False) == (one,)


def test_an_older_version_that_shows_again_in_the_source_is_copied_to_the_top() -> None:
    one, two = at(0, etag="e0"), at(1, etag="e1")
    there = [replace(entry, at=entry.at + timedelta(hours=1)) for entry in (one, two)]
    todo = needs(held("k", one), held("k", *there), versions=True, opaque=False)
    assert todo.copies == (one,)
    back = needs(held("k", one), held("k", there[0], deleted=True), versions=True, opaque=False)
    assert back.copies == (one,)


KEYS = st.dictionaries(
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=3), st.integers(0, 2), max_size=12
)


@given(KEYS, KEYS, st.integers(1, 5))
@settings(deadline=None)
def test_pages_of_any_size_find_exactly_what_differs(source: dict[str, int], target: dict[str, int], page: int) -> None:
    """Keys in UTF-8 order on both sides, a page boundary anywhere; what is copied makes both sides equal."""

    def listed(side: dict[str, int], later: int) -> list[Held]:
        order = sorted(side, key=lambda key: key.encode())
        return [held(key, at(later, etag=f"e{side[key]}")) for key in order]

    pages = list(
        compared(iter(listed(source, 0)), iter(listed(target, 5)), until="", versions=False, opaque=False, keys=page)
    )
    todo = {one.key: one for found in pages for one in found.todo}
    assert {key for key, one in todo.items() if one.copies} == {k for k in source if target.get(k) != source[k]}
    assert {key for key, one in todo.items() if one.vanished} == set(target) - set(source)
    assert sum(found.objects for found in pages) == len(source)
    assert sum(found.there for found in pages) == len(target)
    assert [found.last for found in pages[:-1]] == sorted(found.last for found in pages[:-1])
    assert pages[-1].last == ""
