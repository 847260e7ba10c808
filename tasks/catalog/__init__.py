"""The catalog: the only truth. Tables by subject; every change of a state goes through `transitions`."""

from tasks.catalog.alert import Alert, Delivery
from tasks.catalog.audit import Audit, Token, User
from tasks.catalog.database import (
    after_fork,
    close_catalog,
    database,
    database_time,
    lock_rows,
    open_catalog,
    session,
    transaction,
)
from tasks.catalog.estate import Account, Meta, Resource, Scan
from tasks.catalog.fleet import Budget, Counter, DeadLetter, Lease, Process, Request
from tasks.catalog.job import Job, MissedSlots, Operation, Outbox, Run
from tasks.catalog.point import Part, Point
from tasks.catalog.policy import Policy, PolicySchedule, Repository, Schedule
from tasks.catalog.restore import Creation, Restore, RestoreStep

MODELS = (
    Meta,
    Account,
    Resource,
    Scan,
    Schedule,
    Repository,
    Policy,
    PolicySchedule,
    Run,
    MissedSlots,
    Job,
    Operation,
    Outbox,
    Point,
    Part,
    Restore,
    RestoreStep,
    Creation,
    Lease,
    Process,
    Request,
    DeadLetter,
    Counter,
    Budget,
    Alert,
    Delivery,
    Audit,
    User,
    Token,
)

__all__ = [
    "MODELS",
    "Account",
    "Alert",
    "Audit",
    "Budget",
    "Counter",
    "Creation",
    "DeadLetter",
    "Delivery",
    "Job",
    "Lease",
    "Meta",
    "MissedSlots",
    "Operation",
    "Outbox",
    "Part",
    "Point",
    "Policy",
    "PolicySchedule",
    "Process",
    "Repository",
    "Request",
    "Resource",
    "Restore",
    "RestoreStep",
    "Run",
    "Scan",
    "Schedule",
    "Token",
    "User",
    "after_fork",
    "close_catalog",
    "database",
    "database_time",
    "lock_rows",
    "open_catalog",
    "session",
    "transaction",
]
