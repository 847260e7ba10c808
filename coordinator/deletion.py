"""Deleting a repository: the wish becomes a job of a worker, who alone reaches the bucket."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import uuid4

from tasks.catalog import Account, Repository
from tasks.catalog.deletion import DELETE, refuse_while_needed, repositories_at, same_place
from tasks.catalog.transitions import add_jobs
from tasks.errors import Invalid
from tasks.lanes import Lane


def ask_deletion(wish: Mapping[str, Any], at: datetime) -> int:
    """Have a worker look at what would go at a repository's place, or with `confirm` (its address) delete it; the
    job's id. Call inside a transaction.

    The wish has the `name` of a repository of the estate, or `url`, `account` and `region`. Raises Invalid, Refused
    (points, policies or work that need it).
    """
    spec, place = _place(wish)
    if "confirm" in wish and same_place(str(wish["confirm"])) != same_place(spec["url"]):
        raise Invalid(f"{wish['confirm']!r} is not its address, {spec['url']}.", advice="Nothing was deleted.")
    refuse_while_needed(spec["url"])
    account = Account.get_or_none(Account.name == place["account"], Account.enabled)
    if account is None:
        raise Invalid(f"The account {place['account']!r} is not in the estate.", advice="Add it and apply, then ask.")
    new = {
        "kind": DELETE,
        "lane": str(Lane.REPOSITORY),
        "key": f"{DELETE}:{uuid4().hex}",
        "account": account.id,
        "region": place["region"],
        "spec": {**spec, **({"confirm": wish["confirm"]} if "confirm" in wish else {})},
        "chain": f"{DELETE}:{same_place(spec['url'])}",
        "settled": True,
        "max_attempts": 3,
        "retry_wait_s": 30,
    }
    return add_jobs([new], at)[0]


def _place(wish: Mapping[str, Any]) -> tuple[dict[str, str], Mapping[str, Any]]:
    """The job's spec (`repository`: '' where the estate has none there), and what says account and region."""
    name = str(wish.get("name") or "")
    rows = list(Repository.select().where(Repository.name == name)) if name else repositories_at(str(wish["url"]))
    if rows:
        return {"repository": rows[0].name, "url": str(rows[0].spec["url"])}, rows[0].spec
    if name:
        advice = "One that was taken out of the estate file is named by --path, --account and --region."
        raise Invalid(f"There is no repository {name!r}.", advice=advice)
    missing = [option for option in ("account", "region") if not wish.get(option)]
    if missing:
        raise Invalid(f"The estate has no repository at {wish['url']}, so --{missing[0]} is needed.")
    return {"repository": "", "url": str(wish["url"]).rstrip("/")}, wish
