"""Who a request comes from, and AssumeRole: external ids are checked and sessions expire.

"AssumeRole" (STS API reference); "How to use an external ID" (IAM user guide). Access keys of the form
AKIASANDBOX0<account> belong to that account's root, for tests and seeds.
"""

import re
import secrets
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from fnmatch import fnmatchcase

from deploy.sandbox.call import Call, Principal, operation
from deploy.sandbox.errors import AwsError, required
from deploy.sandbox.world import World

ROOT_PREFIX = "AKIASANDBOX0"
ROOT_SECRET = "sandbox-secret-of-no-value"
CHAINED_SECONDS = 3600  # "Role chaining limits your session to a maximum of one hour"


@dataclass
class Role:
    """A role that can be assumed. Patterns are like `ec2:Delete*`; a denial wins; empty `trusted` trusts everyone."""

    arn: str
    external_id: str | None = None
    allowed: list[str] = field(default_factory=lambda: ["*"])
    denied: list[str] = field(default_factory=list)
    trusted: list[str] = field(default_factory=list)
    max_session_seconds: int = 3600

    def allows(self, action: str) -> bool:
        if any(fnmatchcase(action, p) for p in self.denied):
            return False
        return any(fnmatchcase(action, p) for p in self.allowed)


@dataclass
class Session:
    """Temporary credentials."""

    principal: Principal
    secret: str
    token: str
    expires_at: datetime


class Directory:
    """Roles and sessions of all accounts."""

    def __init__(self) -> None:
        self.roles: dict[str, Role] = {}
        self.sessions: dict[str, Session] = {}

    def clear(self) -> None:
        self.roles.clear()
        self.sessions.clear()

    def put_role(self, settings: dict) -> Role:
        role = Role(**settings)
        self.roles[role.arn] = role
        _show_in_iam(role)
        return role

    def expire_all(self) -> None:
        """Let every session end now (kept, so that they are told apart from unknown ones)."""
        for session in self.sessions.values():
            session.expires_at = session.expires_at.replace(year=2000)

    def secret_of(self, access_key: str) -> str | None:
        if access_key in self.sessions:
            return self.sessions[access_key].secret
        return ROOT_SECRET if access_key.startswith(ROOT_PREFIX) else None

    def principal(self, access_key: str, token: str | None, now: datetime) -> Principal:
        """Who owns a key. AuthFailure for an unknown one, RequestExpired for a session that has ended."""
        session = self.sessions.get(access_key)
        if session is not None and secrets.compare_digest(session.token, token or ""):
            if session.expires_at <= now:
                raise AwsError("RequestExpired", "Request has expired.")
            return session.principal
        account = access_key.removeprefix(ROOT_PREFIX)
        if access_key.startswith(ROOT_PREFIX) and re.fullmatch(r"\d{12}", account):
            return Principal(account, f"arn:aws:iam::{account}:root", account)
        raise AwsError("AuthFailure", "AWS was not able to validate the provided access credentials", 401)


def _show_in_iam(role: Role) -> None:
    """Let GetRole and ListRoles of the role's account find it."""
    from moto.iam import iam_backends

    account, path = role.arn.split(":")[4:6]
    *folders, name = path.removeprefix("role/").split("/")
    held = iam_backends[account]["aws"]
    if not any(r.name == name for r in held.roles.values()):
        text = "/" + "".join(f"{f}/" for f in folders)
        held.create_role(name, '{"Version":"2012-10-17","Statement":[]}', text, None, "", [], "3600")


def _invalid(message: str) -> AwsError:
    return AwsError("ValidationError", message)


@operation("sts", "AssumeRole")
def assume_role(call: Call, parameters: dict) -> dict:
    directory: Directory = call.world.directory
    arn, name = required(parameters, "RoleArn"), required(parameters, "RoleSessionName")
    if not re.fullmatch(r"[\w+=,.@-]{2,64}", name, re.ASCII):
        raise _invalid("Value at 'roleSessionName' failed to satisfy constraint: [\\w+=,.@-]*, 2 to 64 characters")
    role = directory.roles.get(arn)
    trusted = role is not None and (not role.trusted or call.principal.account in role.trusted)
    if role is None or not trusted or (role.external_id or None) != parameters.get("ExternalId", role.external_id):
        raise _denied(call, arn)
    if role.external_id and parameters.get("ExternalId") != role.external_id:
        raise _denied(call, arn)
    seconds = parameters.get("DurationSeconds", CHAINED_SECONDS)
    limit = min(role.max_session_seconds, CHAINED_SECONDS) if call.principal.role else role.max_session_seconds
    if seconds < 900 or seconds > limit:
        raise _invalid("The requested DurationSeconds exceeds the MaxSessionDuration set for this role.")
    return _session(call, directory, role, name, timedelta(seconds=seconds))


def _denied(call: Call, arn: str) -> AwsError:
    who = call.principal.arn
    text = f"User: {who} is not authorized to perform: sts:AssumeRole on resource: {arn}"
    return AwsError("AccessDenied", text, 403)


def _session(call: Call, directory: Directory, role: Role, name: str, lasts: timedelta) -> dict:
    account, role_name = role.arn.split(":")[4], role.arn.rsplit("/", 1)[-1]
    assumed = f"arn:aws:sts::{account}:assumed-role/{role_name}/{name}"
    user_id = f"AROA{abs(hash(role.arn)):016X}"[:20] + f":{name}"
    key = "ASIA" + secrets.token_hex(8).upper()
    principal = Principal(account, assumed, user_id, role)
    made = Session(principal, secrets.token_urlsafe(30), secrets.token_urlsafe(90), call.now + lasts)
    _forget_old(directory, call.now)
    directory.sessions[key] = made
    return {
        "Credentials": {
            "AccessKeyId": key,
            "SecretAccessKey": made.secret,
            "SessionToken": made.token,
            "Expiration": made.expires_at,
        },
        "AssumedRoleUser": {"AssumedRoleId": user_id, "Arn": assumed},
        "PackedPolicySize": 0,
    }


def _forget_old(directory: Directory, now: datetime) -> None:
    if len(directory.sessions) > 10_000:
        directory.sessions = {k: s for k, s in directory.sessions.items() if s.expires_at > now}


@operation("sts", "GetCallerIdentity")
def get_caller_identity(call: Call, parameters: dict) -> dict:
    who = call.principal
    return {"Account": who.account, "Arn": who.arn, "UserId": who.user_id}


def attach(world: World) -> Directory:
    """Give a world its directory."""
    world.directory = Directory()
    return world.directory
