"""Exports of databases to object storage: which runs get one, and the job that makes it. Pure.

An export is tables as Parquet, written by RDS itself from a good snapshot: for reading, for audits, for the record. It
is no recovery point: nothing can be restored from it but by loading the tables by hand. It ages like a copy, on a line
of its own (`export:BUCKET`). RDS writes into S3 Standard; where the policy names a class, a job after it moves the
objects there.
"""

from collections.abc import Mapping
from typing import Any

from coordinator.plan import PolicyFacts, derived_key
from coordinator.routes import Refusal, SourceFacts
from tasks.catalog import Job
from tasks.lanes import Lane
from tasks.resources import TYPES
from tasks.resources.rds import EXPORT_CLASSES, EXPORT_ENGINES
from tasks.resources.rights import exportable

EXPORT = "export"
_PREFIX = "export:"
COOLING = "export-cold"
NOT_RESTORABLE = (
    "an export: tables as Parquet, for reading. A database cannot be restored from it; choose a point of the same "
    "database without it, or load the tables by hand."
)


def export_destination(bucket: str) -> str:
    """What exports into a bucket have as their destination."""
    return f"{_PREFIX}{bucket}"


def is_export(destination: str) -> bool:
    """Whether a point of this destination is an export."""
    return destination.startswith(_PREFIX)


def export_due(policy: PolicyFacts, ordinal: int) -> Mapping[str, Any]:
    """The policy's export if its turn is on this successful run (the first one has it); empty for none."""
    wanted: Mapping[str, Any] = policy.spec.get("export") or {}
    return {} if not wanted or (ordinal - 1) % int(wanted.get("every", 1)) else wanted


def plan_export(
    policy: PolicyFacts,
    run_id: int | None,
    source: SourceFacts,
    entry: Mapping[str, Any],
    accounts: Mapping[str, int],
    priority: int,
) -> dict[str, Any] | Refusal:
    """The job that exports one good snapshot, in the account and region where it lies."""
    kind, engine = TYPES[source.resource_type], str(source.found.get("engine", ""))
    place = f"{source.account}/{source.region}"
    if not exportable(kind):
        return Refusal(place, "no-export", f"AWS exports no backups of {kind.name} from here.")
    if not engine.startswith(EXPORT_ENGINES):
        text = f"RDS exports snapshots of MySQL, MariaDB and PostgreSQL, not of {engine or 'this engine'}."
        return Refusal(place, "no-export", text)
    attempts, wait = policy.retries
    return {
        "kind": "copy",
        "lane": str(Lane.COPY),
        "key": derived_key(policy.installation, EXPORT, source.point_id, entry["bucket"]),
        "run": run_id,
        "account": accounts[source.account],
        "region": source.region,
        "service": kind.service,
        "resource": source.resource_id,
        "priority": priority,
        "max_attempts": attempts,
        "retry_wait_s": wait,
        "chain": f"export:{source.resource_id}:{entry['bucket']}",
        "spec": {
            "point": source.point_id,
            "destination": export_destination(entry["bucket"]),
            "role": EXPORT,
            **({"class": EXPORT_CLASSES[entry["class"]]} if entry.get("class") else {}),
            "options": {
                "export_bucket": entry["bucket"],
                "export_prefix": str(entry.get("prefix", "")),
                "export_role": entry["role_arn"],
                "export_key": entry["kms_key"],
            },
        },
    }


def plan_cold(job: Job) -> dict[str, Any]:
    """The job that moves what a finished export has written to the class in its spec."""
    return {
        "kind": COOLING,
        "lane": str(Lane.REPOSITORY),
        "key": f"{COOLING}:{job.key}",
        "run": job.run_id,
        "account": job.account_id,
        "region": job.region,
        "service": job.service,
        "resource": job.resource_id,
        "point_id": job.point_id,
        "priority": job.priority,
        "max_attempts": job.max_attempts,
        "retry_wait_s": job.retry_wait_s,
        "spec": {"class": job.spec["class"]},
    }
