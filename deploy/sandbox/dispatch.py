"""The way of every AWS request: who calls, faults, throttling, permission, dry run, the operation, the log.

The order is AWS's as far as it shows: an expired session before throttling, throttling before permission, permission
before the parameters are looked at ("Error codes for the Amazon EC2 API").
"""

import json
import logging
import re
import secrets
import threading
import time
from dataclasses import dataclass
from typing import Any

from deploy.sandbox import ebsdirect_http, kms, rest, s3, s3_moto, signing, sts, wire
from deploy.sandbox.call import Call, Principal
from deploy.sandbox.calls import CallLog
from deploy.sandbox.errors import AwsError, missing
from deploy.sandbox.faults import AFTER, BEFORE, DATA, Fault, Faults
from deploy.sandbox.http import Request, Response
from deploy.sandbox.metering import Meter, blocks_throttled
from deploy.sandbox.operations import OPERATIONS
from deploy.sandbox.passthrough import Moto
from deploy.sandbox.s3_usage import Usage
from deploy.sandbox.world import World

log = logging.getLogger("sandbox")

OURS = re.compile(
    r"Volume|Snapshot|Image|Instances$|InstanceAttribute|InstanceStatus|ReplaceRoot|AttachNetwork|AssociateAddress|AssociateIam"
)
SERVICES = ("application-autoscaling", "dynamodb", "ec2", "iam", "kms", "s3", "sts")
QUERY = ("ec2", "iam", "rds", "redshift", "sts")  # parameters come as a form
MOTOS = ("DescribeInstanceTypes", "DescribeInstanceTypeOfferings", "GetEbsEncryptionByDefault")
NAMED = {"VolumeId": "vol", "InstanceId": "i", "ImageId": "ami"}

EXPIRED = {
    "ec2": ("RequestExpired", "Request has expired.", 400),
    "query": ("ExpiredToken", "The token has expired", 403),
}
WRONG_SIGNATURE = {"ec2": "AuthFailure", "ebs": "InvalidSignatureException"}
UNKNOWN_KEY = {
    "s3": "InvalidAccessKeyId",
    "sts": "InvalidClientTokenId",
    "iam": "InvalidClientTokenId",
    "ec2": "AuthFailure",
}


class Lost(Exception):
    """The caller gets no answer."""

    def __init__(self, fault: Fault):
        super().__init__(fault.kind)
        self.fault = fault


@dataclass
class Asked:
    """A request as far as it could be understood before anything was checked."""

    service: str
    region: str
    operation: str
    parameters: dict[str, Any]
    credential: signing.Credential
    account: str = ""
    arn: str = ""


class Cloud:
    """All emulated accounts behind one endpoint."""

    def __init__(self, world: World):
        self.world = world
        self.faults, self.meter = Faults(), Meter(world.config)
        self.calls = CallLog(world.config.recent_calls)
        self.moto, self.s3_usage = Moto(), Usage()
        s3_moto.follow(world)
        self.directory = sts.attach(world)
        self.moto_lock = threading.RLock()

    def handle(self, request: Request) -> Response:
        began, request_id = time.monotonic(), secrets.token_hex(8)
        credential = signing.parse(request.headers.get("authorization", ""))
        if credential is None:
            error = AwsError("MissingAuthenticationToken", "The request must be signed.", 403)
            body, headers = wire.write_error("ec2", error, request_id)
            return Response(error.status, headers, body)
        service = credential.service
        asked = Asked(service, credential.region, *_understood(request, service), credential)
        outcome = "ok"
        try:
            response = self._answer(request, asked, request_id)
            if response.status >= 400:
                outcome = f"http {response.status}"
        except AwsError as error:
            outcome = error.code
            body, headers = wire.write_error(service, error, request_id)
            response = Response(error.status, headers, body)
        except Lost as lost:
            outcome = lost.fault.kind
            response = Response(lost=True, hold=lost.fault.seconds)
        except Exception as crash:  # a bug of the sandbox must reach the test that met it
            log.exception("%s:%s", service, asked.operation)
            outcome = "crash"
            error = AwsError("InternalFailure", f"sandbox: {type(crash).__name__}: {crash}", 500)
            body, headers = wire.write_error(service, error, request_id)
            response = Response(500, headers, body)
        self._log(asked, outcome, began)
        return response

    def _log(self, asked: Asked, outcome: str, began: float) -> None:
        self.calls.add(
            {
                "at": self.world.clock.now().isoformat(),
                "account": asked.account,
                "region": asked.region,
                "service": asked.service,
                "operation": asked.operation,
                "outcome": outcome,
                "parameters": asked.parameters,
                "principal": asked.arn,
                "seconds": round(time.monotonic() - began, 6),
            }
        )

    def _answer(self, request: Request, asked: Asked, request_id: str) -> Response:
        principal = self._authenticate(request, asked)
        asked.account, asked.arn = principal.account, principal.arn
        own = OPERATIONS.get((asked.service, asked.operation))
        if asked.service in QUERY:
            asked.parameters = wire.read_parameters(asked.service, asked.operation, wire.form(request.body))
        elif "x-amz-target" in request.headers and asked.service not in rest.REST:
            asked.parameters = json.loads(request.body or b"{}")
        facts = (asked.operation, asked.account, asked.region, _searchable(request, asked))
        slow = self.faults.take(("slow",), *facts)
        if slow is not None:
            time.sleep(slow.seconds)
        fault = self.faults.take(BEFORE, *facts)
        if fault is not None:
            raise _spoil(fault, asked)
        if asked.service == "ec2":
            self.meter.check(asked.account, asked.region, asked.operation, asked.parameters)
        if asked.service == "ebs":
            self.meter.check_blocks(asked.account, asked.region, asked.operation)
        free = asked.service == "s3" or asked.operation == "GetCallerIdentity"  # S3 looks at bucket policies too
        if not free and not principal.allows(f"{asked.service}:{asked.operation}"):
            raise _denied(asked)
        if asked.service == "ebs":
            response = ebsdirect_http.answer(self._call(principal, asked), request, asked.parameters)
        elif asked.service == "s3":
            response = self._s3(request, principal, asked)
        else:
            own_answer = own is not None
            response = self._own(own, principal, asked, request_id, facts) if own_answer else self._moto(request, asked)
        fault = self.faults.take(AFTER, *facts)
        if fault is not None:
            raise Lost(fault)
        fault = self.faults.take(DATA, *facts) if response.body else None
        if fault is not None:
            _damage(response, fault)
        return response

    def _authenticate(self, request: Request, asked: Asked) -> Principal:
        credential = asked.credential
        try:
            who = self.directory.principal(
                credential.access_key, request.headers.get("x-amz-security-token"), self.world.clock.now()
            )
        except AwsError as error:
            raise _credential_error(asked.service, error) from None
        if self.world.config.check_signatures:
            secret = self.directory.secret_of(credential.access_key) or ""
            if not signing.valid(credential, secret, request):
                code = WRONG_SIGNATURE.get(asked.service, "SignatureDoesNotMatch")
                raise AwsError(code, "The request signature does not match the signature you provided.", 403)
            if not signing.body_matches(request):
                text = "The provided 'x-amz-content-sha256' header does not match what was computed."
                raise AwsError("XAmzContentSHA256Mismatch", text, 400)
        return who

    def _call(self, principal: Principal, asked: Asked) -> Call:
        """A call whose operation takes the world's lock itself."""
        world = self.world
        with world.lock:
            now = world.settle()
        return Call(world, self.faults, principal, asked.operation, asked.account, asked.region, now)

    def _s3(self, request: Request, principal: Principal, asked: Asked) -> Response:
        try:
            return s3.answer(self, self._call(principal, asked), request)
        except NotImplementedError as error:
            raise AwsError("NotImplemented", f"moto does not answer {asked.operation}: {error}", 501) from error

    def _own(self, own: Any, principal: Principal, asked: Asked, request_id: str, facts: tuple) -> Response:
        world = self.world
        with world.lock:
            now = world.settle()
            call = Call(world, self.faults, principal, asked.operation, asked.account, asked.region, now)
            parameters = dict(asked.parameters)
            if parameters.pop("DryRun", False):
                _check_named(call, parameters)
                raise AwsError("DryRunOperation", "Request would have succeeded, but DryRun flag is set.", 412)
            if asked.operation.startswith(("Describe", "List")):
                call.stale = self.faults.take(("stale",), *facts)
            result = own(call, parameters)
        if asked.service in rest.MODELS:
            return Response(*rest.write(asked.service, asked.operation, result))
        body = wire.write_result(asked.service, asked.operation, result, request_id)
        return Response(200, {"Content-Type": "text/xml;charset=UTF-8"}, body)

    def _moto(self, request: Request, asked: Asked) -> Response:
        if asked.service not in SERVICES:
            raise AwsError("InvalidAction", f"The sandbox has no service {asked.service}.", 501)
        if asked.service == "ec2" and OURS.search(asked.operation) and asked.operation not in MOTOS:
            raise AwsError("InvalidAction", f"The sandbox has no {asked.operation}.", 501)
        if asked.service == "ec2" and asked.parameters.get("DryRun"):
            raise AwsError("DryRunOperation", "Request would have succeeded, but DryRun flag is set.", 412)
        try:
            with self.moto_lock:
                return self.moto.handle(
                    request, kms.answering_account(asked.account, asked.operation, asked.parameters)
                )
        except (NotImplementedError, AttributeError) as error:
            text = f"moto does not answer {asked.service} {asked.operation}: {error}"
            raise AwsError("InvalidAction", text, 501) from error


def _understood(request: Request, service: str) -> tuple[str, dict]:
    """(operation, parameters) as far as the path and the headers tell them."""
    if service == "ebs":
        return ebsdirect_http.route(request)
    if service in rest.REST:
        return rest.read(request, service)
    return s3.route(request) if service == "s3" else (_operation_name(request, service), {})


def _operation_name(request: Request, service: str) -> str:
    target = request.headers.get("x-amz-target")
    if target:
        return target.rsplit(".", 1)[-1]
    if service in QUERY:
        found = re.search(rb"(?:^|&)Action=(\w+)", request.body)
        return found[1].decode() if found else "?"
    return f"{request.method} {request.path}"


def _searchable(request: Request, asked: Asked) -> str:
    return str(asked.parameters) if asked.parameters else request.target


def _spoil(fault: Fault, asked: Asked) -> Exception:
    if fault.kind in ("timeout_before", "drop_before"):
        return Lost(fault)
    if fault.kind == "throttle":
        if asked.service == "ec2":
            return AwsError("RequestLimitExceeded", "Request limit exceeded.", 503)
        if asked.service == "ebs":
            return blocks_throttled()
        if asked.service == "s3":
            return AwsError("SlowDown", "Please reduce your request rate.", 503)
        return AwsError("ThrottlingException", "Rate exceeded", 400)
    if fault.kind == "denied":
        return _denied(asked)
    if fault.kind == "expired":
        return AwsError(*EXPIRED.get(asked.service, EXPIRED["query"]))
    if fault.kind == "internal" and asked.service == "ebs":
        return AwsError("InternalServerException", "An internal error has occurred", 500)
    if fault.kind == "internal":
        return AwsError("InternalError", "An internal error has occurred", 500)
    return AwsError(fault.code, fault.message, fault.status)


def _damage(response: Response, fault: Fault) -> None:
    middle = len(response.body) // 2
    if fault.kind == "truncate":
        response.cut = middle
        return
    body = bytearray(response.body)
    body[middle] ^= 0xFF
    response.body = bytes(body)


def _denied(asked: Asked) -> AwsError:
    if asked.service == "ec2":
        return AwsError("UnauthorizedOperation", "You are not authorized to perform this operation.", 403)
    text = f"User: {asked.arn} is not authorized to perform: {asked.service}:{asked.operation}"
    if asked.service == "ebs":
        return AwsError("AccessDeniedException", text, 403, "UNAUTHORIZED_ACCOUNT")
    plain = asked.service in ("rds", "redshift", "sts", "iam", "s3")
    return AwsError("AccessDenied" if plain else "AccessDeniedException", text, 403)


def _credential_error(service: str, error: AwsError) -> AwsError:
    """The same trouble in the words of each service."""
    if error.code == "RequestExpired":
        if service in ("rds", "redshift", "sts", "iam", "s3"):
            return AwsError("ExpiredToken", "The security token included in the request is expired", 403)
        return error if service == "ec2" else AwsError("ExpiredTokenException", error.message, 400)
    return AwsError(UNKNOWN_KEY.get(service, "UnrecognizedClientException"), error.message, error.status)


def _check_named(call: Call, parameters: dict) -> None:
    """A dry run of something that does not exist says so."""
    for name, prefix in NAMED.items():
        identifier = parameters.get(name)
        kind = call.here.kind_of(identifier or "")
        if identifier and kind is not None and identifier not in kind and prefix != "ami":
            raise missing(prefix, identifier)
