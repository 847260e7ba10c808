"""Seats: a limit on how many things of one family may be open at once, whoever opens them.

A family's seats are kept as thing -> holder -> until when (seconds since the epoch). Several holders of one thing share
its seat, since the cloud counts things. A seat ends by itself, so that what a dead process held comes back. Pure.
"""

from collections.abc import Collection, Mapping

Held = dict[str, dict[str, float]]
# Before a holder's name: it has left and is shutting the thing.
_SHUTTING = "-"


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
    """The seats after `holder` has left one that others share, and False; True when it is the last: it shuts the thing
    first, and frees its seat after that. '' is everybody.

    Whoever is shutting it already is nobody to leave it to: it was opened again meanwhile. A right lives as long as the
    last one who asked for it wished, so those that stay hold the seat as long as that, even if they are dead.
    """
    found = current(held, at)
    holders = found.pop(thing, {})
    most = max(holders.values(), default=at)
    shutting = {one: until for one, until in holders.items() if one.startswith(_SHUTTING)}
    others = [one for one in holders if holder and one != holder and one not in shutting]
    if others:
        return {**found, thing: {**shutting, **dict.fromkeys(others, most)}}, False
    return {**found, thing: {**shutting, _SHUTTING + holder: most}}, True


def freed(held: Mapping[str, Mapping[str, float]], thing: str, holder: str, at: float) -> Held:
    """The seats without `holder`'s in one thing that it has shut; who took it meanwhile keeps it."""
    found = current(held, at)
    rest = {one: until for one, until in found.pop(thing, {}).items() if one not in (holder, _SHUTTING + holder)}
    return {**found, **({thing: rest} if rest else {})}
