"""Can an account be entered and asked? The answer goes to whoever asked, and to the account's row."""

import re
from collections.abc import Mapping
from typing import Any

from tasks.catalog import Account, Job, Repository, session, transaction
from tasks.catalog.transitions import MAX_TEXT, finish_job
from tasks.errors import CredentialsRefused, SnapfleetError
from tasks.states import AccountState
from workers import driver, fence
from workers.context import Context
from workers.duties import identities
from workers.repositories import blocks_of

_NUMBER = re.compile(r"account (\d{12})\b")  # how a contact check names what it reached


def run(context: Context, job: Job) -> None:
    """Ask every driver of the account's services, as each role of the account, and write down what they say."""
    with session():
        accounts = list(identities(context.account(job.account), job.account))
        kept = _repositories(job)
    rows: list[tuple[driver.Account, driver.Check]] = []
    for account in accounts:
        for one in context.drivers_of(job.service):
            try:
                rows += [(account, check) for check in one.check(account, job.region)]
            except SnapfleetError as error:
                rows.append((account, driver.Check("contact", "missing", str(error))))
        rows += [(account, check) for name, spec in kept for check in _of_repository(context, account, name, spec)]
    contacts = [check for _, check in rows if check.name == "contact"]
    broken = next((check.text for check in contacts if check.outcome != "ok"), "")
    found = _NUMBER.search(contacts[0].text) if contacts and not broken else None
    result = {"checks": [_row(account, check, len(accounts) > 1) for account, check in rows]}
    with transaction():
        fence.keep(job)
        note_contact(context, job.account_id, CredentialsRefused(broken, advice="") if broken else None)
        if found:
            Account.update(number=found[1]).where(Account.id == job.account_id, Account.number == "").execute()
        finish_job(job, context.clock.timer(), result=result)


def _repositories(job: Job) -> list[tuple[str, Mapping[str, Any]]]:
    """The repositories that this job asks about: those of its account in its region, each once. Call in a session."""
    regions = [*job.account.regions, job.region]
    found = [(row.name, row.spec) for row in Repository.select() if row.spec["account"] == job.account.name]
    homes = {name: spec["region"] if spec["region"] in regions else regions[0] for name, spec in found}
    return [(name, spec) for name, spec in found if job.service == "ec2" and homes[name] == job.region]


def _of_repository(context: Context, account: driver.Account, name: str, spec: Mapping[str, Any]) -> list[driver.Check]:
    """What the account may do with a repository, which is entered by the role that backs up."""
    if "snapshot" not in account.duties:
        return []
    try:
        ask = getattr(blocks_of(context, "volume"), "check", None)
        return list(ask(account, spec["region"], name, spec)) if ask is not None else []
    except SnapfleetError as error:
        return [driver.Check("iam:SimulatePrincipalPolicy", "unknown", f"The repository {name}: {error}")]


def _row(account: driver.Account, check: driver.Check, several: bool) -> dict[str, str]:
    """One answer; `role` says whose it is where an account has several."""
    role = ", ".join(account.duties) if several else ""
    return {"name": check.name, "outcome": check.outcome, "text": check.text, "role": role}


def note_contact(context: Context, account_id: int, error: SnapfleetError | None) -> None:
    """Write down what the last contact with an account said. Call inside a transaction."""
    state = AccountState.UNREACHABLE if isinstance(error, CredentialsRefused) else AccountState.REACHABLE
    text = str(error)[:MAX_TEXT] if state is AccountState.UNREACHABLE else ""
    Account.update(state=state, state_text=text, checked_at=context.clock.timer()).where(
        Account.id == account_id
    ).execute()
