"""Tags that somebody took off or changed, as people see them: what to put back, and where."""

from admin.queries import Row
from tasks.catalog import session
from tasks.catalog.drift import read_drift


def list_drift() -> list[Row]:
    """Things of points that do not carry their tags, as the last look at each place found them."""
    with session():
        found = read_drift()
    return [
        {
            "id": f"rp-{one.point}",
            "account": place.account,
            "region": place.region,
            "service": place.service,
            "holds": one.external_id,
            "tags": dict(one.tags),
            "put_back": " ".join(f"{name}={value}" for name, value in sorted(one.tags.items())),
        }
        for place in found
        for one in place.things
    ]
