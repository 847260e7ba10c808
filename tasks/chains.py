"""Names of chains: jobs of one chain go one at a time, first what is on its way, then by priority, then the older.

In a chain whose name begins with IN_ORDER the older goes first whatever its priority: where the cloud wants things in
the order in which they were made, a wish of today must not overtake what waits since yesterday.
"""

IN_ORDER = "in-order:"


def copy_chain(resource: int, place: str, *, in_order: bool) -> str:
    """The chain of a resource's copies to `place` ('ACCOUNT/REGION')."""
    return f"{IN_ORDER if in_order else ''}copy:{resource}:{place}"
