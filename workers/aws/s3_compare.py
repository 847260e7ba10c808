"""What a target bucket lacks of a source bucket, told from their listings alone. Pure.

An ETag is a digest of the content for objects written in one piece and not encrypted under KMS; else it only names a
version (S3 API reference, "Object", ETag). Where it tells nothing, an object is the same when it has the same size and
the target's is younger: whoever overwrote the source later left a younger one there. Times in listings are whole
seconds, so a tie counts as changed there.

Tags can change without a trace in a listing: such a change alone is not seen.
"""

from collections.abc import Iterator, Sequence

from workers.buckets import Entry, Held, Page, Todo

PAGE_KEYS = 1000  # what S3 lists at once
# At some 80 MB a second for each of sixteen copies, a page is over in two minutes (to be seen on real AWS).
PAGE_BYTES = 64 << 30


def same(source: Entry, target: Entry, opaque: bool) -> bool:
    """Whether the target's version is a copy of the source's."""
    if source.size != target.size or target.at < source.at:
        return False
    if source.etag == target.etag:
        return True
    untold = opaque or "-" in source.etag or "-" in target.etag
    return untold and target.at > source.at


def missing(source: Sequence[Entry], target: Sequence[Entry], opaque: bool) -> tuple[Entry, ...]:
    """The source's versions, oldest first, that have no copy in the target, in the target's order of making.

    Versions that the source has lost meanwhile are passed over in the target. Once one is missing, all later ones are:
    they have to become younger than it.
    """
    place = 0
    for index, one in enumerate(source):
        found = next((at for at in range(place, len(target)) if same(one, target[at], opaque)), None)
        if found is None:
            return tuple(source[index:])
        place = found + 1
    return ()


def needs(source: Held | None, target: Held | None, versions: bool, opaque: bool) -> Todo:
    """What one key needs so that the target is as the source. At least one side has it."""
    key = source.key if source is not None else target.key if target is not None else ""
    old = target.versions if target is not None else ()
    shows = target is not None and not target.deleted
    if source is None or not source.versions:
        return Todo(key, vanished=shows)
    live = not source.deleted
    newest = source.versions[-1]
    if versions:
        copies = missing(source.versions, old, opaque)
        current = bool(old) and shows and same(newest, old[-1], opaque)
        if live and not copies and not current:
            copies = (newest,)
        return Todo(key, copies, hide=bool(copies) and not live and not shows, vanished=shows and not live)
    if not live:
        return Todo(key, vanished=shows)
    return Todo(key, () if shows and same(newest, old[-1], opaque) else (newest,))


def compared(
    sources: Iterator[Held],
    targets: Iterator[Held],
    *,
    until: str,
    versions: bool,
    opaque: bool,
    keys: int = PAGE_KEYS,
    most: int = PAGE_BYTES,
) -> Iterator[Page]:
    """Pages of both listings walked side by side; of both, two pages of keys are in memory. The last page ends at
    `until`."""
    todo: list[Todo] = []
    seen = objects = size = there = moving = 0
    for key, source, target in _paired(sources, targets):
        one = needs(source, target, versions, opaque)
        if one.copies or one.vanished:
            todo.append(one)
        if source is not None and source.versions and not source.deleted:
            objects, size = objects + 1, size + source.versions[-1].size
        there += target is not None and not target.deleted
        seen, moving = seen + 1, moving + sum(entry.size for entry in one.copies)
        if seen >= keys or moving >= most:
            yield Page(key, tuple(todo), objects, size, there)
            todo, seen, objects, size, there, moving = [], 0, 0, 0, 0, 0
    yield Page(until, tuple(todo), objects, size, there)


def _paired(sources: Iterator[Held], targets: Iterator[Held]) -> Iterator[tuple[str, Held | None, Held | None]]:
    """Both listings merged by key. Code points order as UTF-8 bytes do, which is S3's order."""
    source, target = next(sources, None), next(targets, None)
    while source is not None or target is not None:
        key = min(one.key for one in (source, target) if one is not None)
        mine = source if source is not None and source.key == key else None
        theirs = target if target is not None and target.key == key else None
        yield key, mine, theirs
        source = next(sources, None) if mine is not None else source
        target = next(targets, None) if theirs is not None else target
