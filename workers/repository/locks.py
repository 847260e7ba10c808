"""Which objects are locked, asked of the store before anything relies on their going."""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime

from workers.repository.errors import AccessRefused, Missing, Unsuitable
from workers.repository.store import Store

# Questions that wait side by side: a TiB has 12,000 packs.
_TOGETHER = 32


def locks_of(store: Store, names: Iterable[str], at: datetime) -> dict[str, datetime]:
    """Until when objects are locked, for those that are at `at`; empty in a store without locks.

    Raises AccessRefused where this identity may not read locks, so that nobody takes silence for leave; Unsuitable
    where the store cannot tell.
    """
    if not store.features().object_lock:
        return {}
    ask: Callable[[str], datetime | None] | None = getattr(store, "locked_until", None)
    if ask is None:
        raise Unsuitable(f"{store.url} has locks that cannot be read.", advice="Nothing there is deleted or moved.")

    def end(name: str) -> datetime | None:
        try:
            return ask(name)
        except Missing:
            return None  # gone since it was listed

    listed = list(names)
    with ThreadPoolExecutor(_TOGETHER) as pool:
        ends = zip(listed, pool.map(end, listed), strict=True)
        return {name: until for name, until in ends if until is not None and until > at}


def lasts(store: Store, name: str, until: datetime) -> bool:
    """Whether an object is locked until then at least; not where that may not be read."""
    ask: Callable[[str], datetime | None] | None = getattr(store, "locked_until", None)
    try:
        end = ask(name) if ask is not None else None
    except AccessRefused:
        return False
    except Missing:
        return True
    return end is not None and end >= until
