"""Adopting a repository at an address: the wish becomes a standing job of a worker, who alone reads the bucket."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from coordinator.repositories import KEY_FIELDS
from tasks.catalog import Account, Job, Repository
from tasks.catalog.transitions import add_jobs, requeue_idle
from tasks.errors import Invalid
from tasks.lanes import Lane

ADOPT = "adopt"


def ask_adopt(wish: Mapping[str, Any], at: datetime) -> int:
    """Have a worker take over what lies at `url`; the job's id. Call inside a transaction.

    A repository that the estate has is found by its address. For another the wish names it: `name`, `account` and
    `region`. A key that it brings (KEY_FIELDS, sealed for that name) opens it from then on; without one the worker sees
    whether KMS opens it. Raises Invalid.
    """
    spec = _spec(wish)
    account = Account.get_or_none(Account.name == spec.pop("account"), Account.enabled)
    if account is None:
        raise Invalid("The account of the repository is not in the estate.", advice="Add it and apply, then adopt.")
    region, key = spec.pop("region"), f"{ADOPT}:{spec['repository']}"
    if wish.get("dry_run"):
        spec["dry_run"] = True
    known = Job.get_or_none(Job.key == key)
    if known is not None:
        requeue_idle([known.id], at, spec=spec, account=account.id, region=region)
        return int(known.id)
    columns = {"kind": ADOPT, "lane": str(Lane.REPOSITORY), "key": key, "spec": spec, "settled": True}
    return add_jobs([{**columns, "account": account.id, "region": region, "max_attempts": 3, "retry_wait_s": 30}], at)[
        0
    ]


def _spec(wish: Mapping[str, Any]) -> dict[str, Any]:
    url, name = str(wish["url"]).rstrip("/"), str(wish.get("name") or "")
    key = {field: wish[field] for field in KEY_FIELDS if wish.get(field)}
    for row in Repository.select():
        if row.spec["url"].rstrip("/") == url:
            if key and name != row.name:
                advice = f"Give --name {row.name}, or leave the key out."
                raise Invalid(f"The estate calls the repository at {url} {row.name!r}.", advice=advice)
            return {"repository": row.name, "account": row.spec["account"], "region": row.spec["region"], **key}
    missing = [option for option in ("name", "account", "region") if not wish.get(option)]
    if missing:
        raise Invalid(
            f"The estate has no repository at {url}, so --{missing[0]} is needed.",
            advice="Give --name, --account, --region and its key, or apply an estate file that has it.",
        )
    if Repository.get_or_none(Repository.name == name) is not None:
        raise Invalid(f"The repository {name!r} of the estate lies at another address.", advice="Choose another name.")
    return {"repository": name, "url": url, "account": wish["account"], "region": wish["region"], **key}
