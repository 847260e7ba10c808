"""As whom an account is entered for what: roles of their own for deleting and for restoring, where it has them.

`cleanup_role_arn` and `restore_role_arn` of an account's settings stand beside its `role_arn`, which backs up, copies
and follows. So no role both creates and deletes (tasks.resources.rights says what each needs). The external id is the
same for all three. Where an account names one role only, that one does everything.
"""

from collections.abc import Iterator
from dataclasses import replace

from tasks import catalog
from tasks.resources.rights import DUTIES
from workers import driver

_OWN = {"cleanup": "cleanup_role_arn", "restore": "restore_role_arn"}
# Restore plans take away what only carried them: an image, a staging snapshot, a volume that was replaced.
_REMOVING = ("delete-", "deregister-")


def entered(account: driver.Account, row: catalog.Account, duty: str) -> driver.Account:
    """The account as it is entered for a duty."""
    arn = str(row.settings.get(_OWN.get(duty, ""), ""))
    return replace(account, role_arn=arn) if arn else account


def duty_of_step(kind: str) -> str:
    """Which role does a step of a restore."""
    return "cleanup" if kind.startswith(_REMOVING) else "restore"


def identities(account: driver.Account, row: catalog.Account) -> Iterator[driver.Account]:
    """The account as each identity that it is entered as, with the duties that this one has."""
    by_role: dict[str, list[str]] = {}
    for duty in DUTIES:
        by_role.setdefault(entered(account, row, duty).role_arn, []).append(duty)
    for arn, duties in by_role.items():
        yield replace(account, role_arn=arn, duties=tuple(duties))
