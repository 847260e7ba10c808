"""The right to do what only one coordinator should do at a time: estate-wide sweeps.

It is economy, not safety: ticking and publishing are harmless side by side. A lease expires; a taker raises the
fence, and whoever writes under an old fence changes nothing (`still_held` is asked inside the writing transaction).
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from tasks.catalog import Lease, hold_rows, transaction

# Renewed at every sweep (5 s), so a live holder keeps it; a dead one is followed at the next sweep of another after
# this time: within 15 s in all.
TTL = timedelta(seconds=9)
# When the clock has been set, processes go by the old time for up to 30 s (tasks.clock): what ends later than anybody
# could have asked for, by more than this, was written under a clock that was ahead.
CLOCKS_DIFFER = timedelta(minutes=1)


@dataclass(frozen=True)
class Held:
    """A lease as it was taken: its name, holder and fence."""

    name: str
    holder: str
    fence: int


def take(name: str, holder: str, at: datetime, ttl: timedelta = TTL) -> Held | None:
    """Take or renew the lease; None while somebody else holds it. `at` is machine time.

    One that ends later than anybody could have asked for has lapsed too: the clock was ahead when it was taken, and
    its holder may be dead. A holder that lives finds its fence outdated, as after any takeover.
    """
    latest = at + ttl + CLOCKS_DIFFER
    with transaction():
        Lease.insert(name=name, holder="", fence=0, until_at=at - ttl).on_conflict_ignore().execute()
        renewed = (
            Lease.update(until_at=at + ttl)
            .where(Lease.name == name, Lease.holder == holder, Lease.until_at.between(at, latest))
            .execute()
        )
        if not renewed:
            Lease.update(holder=holder, fence=Lease.fence + 1, until_at=at + ttl).where(
                Lease.name == name, (Lease.until_at < at) | (Lease.until_at > latest)
            ).execute()
        row = Lease.get_by_id(name)
        return Held(name, holder, row.fence) if row.holder == holder else None


def give_back(held: Held, at: datetime) -> None:
    """Let others have it at once: at an orderly stop."""
    with transaction():
        Lease.update(until_at=at - timedelta(seconds=1)).where(
            Lease.name == held.name, Lease.holder == held.holder, Lease.fence == held.fence
        ).execute()


def renew(held: Held, at: datetime, ttl: timedelta = TTL) -> bool:
    """Go on holding it, in the middle of long work; False when somebody has taken it."""
    with transaction():
        return bool(
            Lease.update(until_at=at + ttl)
            .where(Lease.name == held.name, Lease.holder == held.holder, Lease.fence == held.fence)
            .execute()
        )


def still_held(held: Held) -> bool:
    """Whether nobody has taken it since; ask inside the transaction that writes. Nobody can until that one ends."""
    row = hold_rows(Lease.select().where(Lease.name == held.name)).first()
    return row is not None and (row.holder, row.fence) == (held.holder, held.fence)
