"""Can an account be entered, and may its role look at a service? Contact, then one harmless read for each right."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from botocore.exceptions import BotoCoreError, ClientError

from tasks.errors import Denied
from tasks.resources import TYPES
from tasks.resources.rights import granted, is_deletion
from workers.aws.contact import contact
from workers.aws.errors import translate
from workers.aws.session import Client, Clients
from workers.aws.simulate import completed
from workers.driver import Check


@dataclass(frozen=True)
class Look:
    """One read that changes nothing: the action it proves, the service's client, and what stops working without."""

    action: str
    service: str
    ask: Callable[[Client], object]
    loss: str


def check(clients: Clients, looks: Sequence[Look], types: Sequence[str] = ()) -> list[Check]:
    """Contact first: when the account cannot be entered, that is the only answer. Then what each look shows, and what
    IAM says of the other actions that these types need of this identity."""
    first = contact(clients)
    if first.outcome != "ok":
        return [first]
    needed = needs(clients, types)
    seen = [_look(clients, one) for one in looks if not types or one.action in needed]
    return [first, *completed(clients, types, seen)]


def needs(clients: Clients, types: Sequence[str]) -> set[str]:
    """The actions that these types need of this identity."""
    kinds = [TYPES[name] for name in types if name in TYPES]
    found = {action for duty in clients.account.duties for action in granted(kinds, duty)}
    return {action for action in found if clients.account.may_delete or not is_deletion(action)}


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
