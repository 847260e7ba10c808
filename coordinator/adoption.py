"""Adopting a repository at an address: the wish becomes a standing job of a worker, who alone reads the bucket."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from tasks.catalog import Account, Job, Repository
from tasks.catalog.transitions import add_jobs, requeue_idle
from tasks.errors import Invalid
from tasks.lanes import Lane

ADOPT = "adopt"


def ask_adopt(wish: Mapping[str, Any], at: datetime) -> int:
    """Have a worker take over what lies at `url`; the job's id. Call inside a transaction.

    A repository that the estate has is found by its address. For another the wish names it: `name`, `account`,
    `region` and `key_sealed` (sealed for that name, with `key`, where it was read). Raises Invalid.
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
    url = str(wish["url"]).rstrip("/")
    for row in Repository.select():
        if row.spec["url"].rstrip("/") == url:
            return {"repository": row.name, "account": row.spec["account"], "region": row.spec["region"]}
    name = str(wish.get("name") or "")
    missing = [option for option in ("name", "account", "region", "key") if not wish.get(option)]
    if missing:
        raise Invalid(
            f"The estate has no repository at {url}, so --{missing[0]} is needed.",
            advice="Give --name, --account, --region and --key, or apply an estate file that has it.",
        )
    if Repository.get_or_none(Repository.name == name) is not None:
        raise Invalid(f"The repository {name!r} of the estate lies at another address.", advice="Choose another name.")
    taken = {key: wish[key] for key in ("account", "region", "key", "key_sealed")}
    return {"repository": name, "url": url, **taken}
