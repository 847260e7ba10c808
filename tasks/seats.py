"""Seats: a limit on how many things of one family may be open at once, whoever opens them.

A family's seats are kept as thing -> holder -> until when (seconds since the epoch). Several holders of one thing share
its seat, since the cloud counts things. A seat ends by itself, so that what a dead process held comes back. Pure.
"""

from collections.abc import Collection, Mapping

Held = dict[str, dict[str, float]]


def current(held: Mapping[str, Mapping[str, float]], at: float) -> Held:
    """What is still held at `at`."""
    rest = {thing: {one: until for one, until in holders.items() if until > at} for thing, holders in held.items()}
    return {thing: holders for thing, holders in rest.items() if holders}


def taken(
    held: Mapping[str, Mapping[str, float]], things: Collection[str], holder: str, most: int, at: float, until: float
) -> Held | None:
    """The seats after `holder` has taken or prolonged those of `things`, all of them; None when `most` leaves too few.
    What is open already is never refused."""
    found = current(held, at)
    if set(things) - set(found) and len({*found, *things}) > most:
        return None
    for thing in things:
        holders = found.setdefault(thing, {})
        holders[holder] = max(until, holders.get(holder, until))
    return found


def left(held: Mapping[str, Mapping[str, float]], thing: str, holder: str, at: float) -> tuple[Held, bool]:
    """The seats after `holder` has left one that others share, and False; True, and nothing left, when it is the last:
    it shuts the thing first, and frees its seat after that."""
    found = current(held, at)
    holders = found.get(thing, {})
    if not set(holders) - {holder}:
        return found, True
    holders.pop(holder, None)
    return found, False


def freed(held: Mapping[str, Mapping[str, float]], thing: str, holder: str, at: float) -> Held:
    """The seats without `holder`'s in one thing; '' is everybody's."""
    found = current(held, at)
    rest = {one: until for one, until in found.pop(thing, {}).items() if holder and one != holder}
    return {**found, **({thing: rest} if rest else {})}
