"""Can an account be entered and asked? The answer goes to whoever asked, and to the account's row."""

import re

from tasks.catalog import Account, Job, session, transaction
from tasks.catalog.transitions import MAX_TEXT, finish_job
from tasks.errors import CredentialsRefused, SnapfleetError
from tasks.states import AccountState
from workers import driver, fence
from workers.context import Context
from workers.duties import identities

_NUMBER = re.compile(r"account (\d{12})\b")  # how a contact check names what it reached


def run(context: Context, job: Job) -> None:
    """Ask every driver of the account's services, as each role of the account, and write down what they say."""
    with session():
        accounts = list(identities(context.account(job.account), job.account))
    rows: list[tuple[driver.Account, driver.Check]] = []
    for account in accounts:
        for one in context.drivers_of(job.service):
            try:
                rows += [(account, check) for check in one.check(account, job.region)]
            except SnapfleetError as error:
                rows.append((account, driver.Check("contact", "missing", str(error))))
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
