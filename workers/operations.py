"""What the cloud does for a job, as rows: begun by handlers, asked about and closed by polls."""

from collections.abc import Sequence
from typing import Any

from tasks.catalog import Account, Job, Operation
from tasks.states import OPERATION_BAD, OperationState
from workers import driver
from workers.context import Context, is_first


def begin(context: Context, job: Job, service: str, begun: Sequence[driver.Operation]) -> None:
    """Write the operations of this attempt; those of an earlier attempt go, since they decide nothing any more."""
    at = context.clock.timer()
    if not is_first(job):
        Operation.delete().where(Operation.job == job.id).execute()
    Operation.insert_many(
        [
            {
                "job": job.id,
                "account": _asked_in(job, one.account),
                "region": one.region,
                "service": service,
                "kind": one.kind,
                "external_id": one.external_id,
                "next_poll_at": at + context.settings.poll_floor,
                "started_at": at,
                "detail": dict(one.detail),
            }
            for one in {(one.kind, one.external_id): one for one in begun}.values()
        ]
    ).execute()


def _asked_in(job: Job, account: driver.Account) -> int:
    """Where an operation is asked about: a copy between vaults is its source's, the others are the job's own."""
    if job.kind != "copy" or account.name == job.account.name:
        return int(job.account_id)
    return int(Account.get(Account.name == account.name).id)


def of_job(job: Job) -> list[Operation]:
    """All operations of a job, in the order in which they were begun."""
    return list(Operation.select().where(Operation.job == job.id).order_by(Operation.id))


def closing(row: Operation, answer: driver.Progress) -> dict[str, Any]:
    """The columns with which an operation is closed; the retry verdict is kept for the job's last answer."""
    detail = {**row.detail, **answer.detail}
    columns: dict[str, Any] = {"percent": 100 if answer.state is OperationState.DONE else answer.percent}
    if answer.state in OPERATION_BAD:  # where the driver gives no reason, the state is one
        columns |= {"error_code": f"cloud-{answer.state}"}
    if answer.error is not None:
        detail["retry"] = str(answer.error.retry)
        columns |= {"error_code": answer.error.code, "error_text": str(answer.error)}
    return {**columns, "polls": row.polls + 1, "detail": detail}
