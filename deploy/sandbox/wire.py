"""The wire of AWS's query protocols (EC2, and STS/IAM's older one): parameters in, XML out, driven by botocore's model.

Readers and writers are built once for each shape, so that a page of a thousand snapshots costs milliseconds.
"""

import json
import threading
from collections.abc import Callable
from datetime import datetime
from functools import cache
from typing import Any
from urllib.parse import parse_qsl
from xml.sax.saxutils import escape

import botocore.session
from botocore.model import OperationModel, Shape

from deploy.sandbox.errors import AwsError, bad_value

EC2_NAMESPACE = "http://ec2.amazonaws.com/doc/2016-11-15/"

SIGNED_AS = {"elasticfilesystem": "efs"}  # where requests are signed with another name than botocore's
_session = botocore.session.get_session()


@cache
def service_model(service: str):
    return _session.get_service_model(service)


@cache
def operation_model(service: str, operation: str) -> OperationModel | None:
    model = service_model(service)
    return model.operation_model(operation) if operation in model.operation_names else None


def form(body: bytes) -> dict[str, str]:
    return dict(parse_qsl(body.decode("utf-8"), keep_blank_values=True))


def read_parameters(service: str, operation: str, fields: dict[str, str]) -> dict[str, Any]:
    """The request's parameters under botocore's member names."""
    model = operation_model(service, operation)
    if model is None or model.input_shape is None:
        return {}
    tree: dict[str, Any] = {}
    for name, value in fields.items():
        node, *rest = tree, *name.split(".")
        for part in rest[:-1]:
            node = node.setdefault(part, {})
            if not isinstance(node, dict):
                raise bad_value(f"Invalid parameter {name}")
        node[rest[-1]] = value
    return _read(model.input_shape, tree, service == "ec2")


@cache
def _wire_names(shape: Any, ec2: bool) -> dict[str, tuple[str, Shape]]:
    names = {}
    for member, inner in shape.members.items():
        wire = inner.serialization.get("queryName") if ec2 else None
        if wire is None:
            wire = inner.serialization.get("name", member)
            wire = wire[0].upper() + wire[1:] if ec2 else wire
        names[wire] = (member, inner)
    return names


def _read(shape: Any, node: Any, ec2: bool) -> Any:
    kind = shape.type_name
    if kind == "structure":
        names = _wire_names(shape, ec2)
        return {names[k][0]: _read(names[k][1], v, ec2) for k, v in node.items() if k in names}
    if kind == "list":
        if not isinstance(node, dict):
            return []
        items = node if ec2 else node.get(shape.member.serialization.get("name", "member"), node)
        return [_read(shape.member, items[k], ec2) for k in sorted(items, key=int)]
    try:
        if kind == "boolean":
            return {"true": True, "false": False}[node.lower()]
        if kind in ("integer", "long"):
            return int(node)
        if kind in ("double", "float"):
            return float(node)
    except (KeyError, ValueError, AttributeError):
        raise bad_value(f"Invalid value '{node}' for a {kind}") from None
    return node


def iso(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"


Writer = Callable[[Any, list[str]], None]
# By the shape's identity, with the shape itself: botocore makes shapes anew when two threads ask at once, and the id of
# one that is thrown away would soon be another's.
_writers: dict[int, tuple[Any, Writer]] = {}
_building = threading.RLock()


def _writer(shape: Any) -> Writer:
    with _building:  # whoever comes meanwhile waits: the stand-in of a half-built writer would call itself for ever
        if id(shape) not in _writers:
            inside = lambda value, out: _writers[id(shape)][1](value, out)  # noqa: E731 - for shapes inside themselves
            _writers[id(shape)] = shape, inside
            _writers[id(shape)] = shape, _build_writer(shape)
        return _writers[id(shape)][1]


def _build_writer(shape: Any) -> Writer:
    if shape.type_name == "structure":
        members = [
            (name, *_tags(inner.serialization.get("name", name)), _writer(inner))
            for name, inner in shape.members.items()
        ]

        def structure(value: dict, out: list[str]) -> None:
            for name, opening, closing, write in members:
                inner = value.get(name)
                if inner is not None:
                    out.append(opening)
                    write(inner, out)
                    out.append(closing)

        return structure
    if shape.type_name == "list":
        item, (opening, closing) = _writer(shape.member), _tags(shape.member.serialization.get("name", "member"))

        def listing(value: list, out: list[str]) -> None:
            for entry in value:
                out.append(opening)
                item(entry, out)
                out.append(closing)

        return listing
    if shape.type_name == "boolean":
        return lambda value, out: out.append("true" if value else "false")
    if shape.type_name == "timestamp":
        return lambda value, out: out.append(iso(value))
    return lambda value, out: out.append(escape(str(value)))


def _tags(name: str) -> tuple[str, str]:
    return f"<{name}>", f"</{name}>"


def write_result(service: str, operation: str, result: dict[str, Any], request_id: str) -> bytes:
    """The XML answer of an EC2 or query-protocol operation."""
    model = operation_model(service, operation)
    out: list[str] = []
    if model is not None and model.output_shape is not None:
        _writer(model.output_shape)(result, out)
    elif result:
        out.append("<return>true</return>")
    if service == "ec2":
        xmlns = service_model("ec2").metadata.get("xmlNamespace", EC2_NAMESPACE)
        inner = f"<requestId>{request_id}</requestId>{''.join(out)}"
        return f'<{operation}Response xmlns="{xmlns}">{inner}</{operation}Response>'.encode()
    inner = f"<{operation}Result>{''.join(out)}</{operation}Result>"
    inner += f"<ResponseMetadata><RequestId>{request_id}</RequestId></ResponseMetadata>"
    return f"<{operation}Response>{inner}</{operation}Response>".encode()


def write_error(service: str, error: AwsError, request_id: str) -> tuple[bytes, dict[str, str]]:
    """The body and the headers of an error in the protocol that the service speaks."""
    service = SIGNED_AS.get(service, service)
    protocol = service_model(service).metadata["protocol"] if service in _session.get_available_services() else "query"
    code, message = escape(error.code), escape(error.message)
    if protocol == "ec2":
        text = f"<Response><Errors><Error><Code>{code}</Code><Message>{message}</Message></Error></Errors>"
        return f"{text}<RequestID>{request_id}</RequestID></Response>".encode(), {"Content-Type": "text/xml"}
    if protocol == "query":
        text = f"<ErrorResponse><Error><Type>Sender</Type><Code>{code}</Code><Message>{message}</Message></Error>"
        return f"{text}<RequestId>{request_id}</RequestId></ErrorResponse>".encode(), {"Content-Type": "text/xml"}
    if protocol == "rest-xml":
        text = f"<Error><Code>{code}</Code><Message>{message}</Message><RequestId>{request_id}</RequestId></Error>"
        return text.encode(), {"Content-Type": "application/xml"}
    told = {"__type": error.code, "message": error.message}
    if error.reason:
        told["Reason"] = error.reason
    return json.dumps(told).encode(), {"Content-Type": "application/x-amz-json-1.1", "x-amzn-errortype": error.code}
