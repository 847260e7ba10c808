"""Can an account be entered, and may its role look at a service? Contact, then one harmless read for each right."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from botocore.exceptions import BotoCoreError, ClientError

from tasks.errors import Denied
from workers.aws.contact import contact
from workers.aws.errors import translate
from workers.aws.session import Client, Clients
from workers.driver import Check


@dataclass(frozen=True)
class Look:
    """One read that changes nothing: the action it proves, the service's client, and what stops working without."""

    action: str
    service: str
    ask: Callable[[Client], object]
    loss: str


def check(clients: Clients, looks: Sequence[Look]) -> list[Check]:
    """Contact first: when the account cannot be entered, that is the only answer."""
    first = contact(clients)
    return [first] if first.outcome != "ok" else [first, *(_look(clients, one) for one in looks)]


def _look(clients: Clients, look: Look) -> Check:
    try:
        look.ask(clients.read(look.service))
    except (BotoCoreError, ClientError) as error:
        found = translate(error, operation=look.action)
        if isinstance(found, Denied):
            return Check(look.action, "missing", f"Without {look.action} {look.loss}.")
        return Check(look.action, "unknown", found.text)
    return Check(look.action, "ok")


VAULT_LOOKS = (
    Look(
        "backup:ListBackupJobs",
        "backup",
        lambda backup: backup.list_backup_jobs(MaxResults=1),
        "nothing that goes through AWS Backup is followed",
    ),
    Look(
        "backup:ListCopyJobs",
        "backup",
        lambda backup: backup.list_copy_jobs(MaxResults=1),
        "no copy between vaults is followed",
    ),
)
