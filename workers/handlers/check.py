"""Can an account be entered and asked? The answer goes to whoever asked, and to the account's row."""

import re

from tasks.catalog import Account, Job, session, transaction
from tasks.catalog.transitions import MAX_TEXT, finish_job
from tasks.errors import CredentialsRefused, SnapfleetError
from tasks.states import AccountState
from workers import driver, fence
from workers.context import Context

_NUMBER = re.compile(r"account (\d{12})\b")  # how a contact check names what it reached


def run(context: Context, job: Job) -> None:
    """Ask every driver of the account's services and write what they say into the job's result."""
    with session():
        account = context.account(job.account)
    checks: list[driver.Check] = []
    for one in context.drivers_of(job.service):
        try:
            checks += one.check(account, job.region)
        except SnapfleetError as error:
            checks.append(driver.Check("contact", "missing", str(error)))
    contact = next((one for one in checks if one.name == "contact"), None)
    broken = contact.text if contact and contact.outcome != "ok" else ""
    found = _NUMBER.search(contact.text) if contact and not broken else None
    result = {"checks": [{"name": one.name, "outcome": one.outcome, "text": one.text} for one in checks]}
    with transaction():
        fence.keep(job)
        note_contact(context, job.account_id, CredentialsRefused(broken, advice="") if broken else None)
        if found:
            Account.update(number=found[1]).where(Account.id == job.account_id, Account.number == "").execute()
        finish_job(job, context.clock.timer(), result=result)


def note_contact(context: Context, account_id: int, error: SnapfleetError | None) -> None:
    """Write down what the last contact with an account said. Call inside a transaction."""
    state = AccountState.UNREACHABLE if isinstance(error, CredentialsRefused) else AccountState.REACHABLE
    text = str(error)[:MAX_TEXT] if state is AccountState.UNREACHABLE else ""
    Account.update(state=state, state_text=text, checked_at=context.clock.timer()).where(
        Account.id == account_id
    ).execute()
