"""The wire of AWS's JSON protocols, driven by botocore's model: which operation a REST request is, and JSON out.

Services are known by the name that requests are signed with ("Service authorization reference").
"""

import json
import re
from datetime import UTC, datetime
from functools import cache
from typing import Any
from urllib.parse import unquote

from deploy.sandbox.errors import AwsError
from deploy.sandbox.http import Request
from deploy.sandbox.wire import operation_model, service_model

REST = {"backup": "backup", "elasticfilesystem": "efs"}  # signed name: botocore's name
JSON = {"dynamodb": "dynamodb", "fsx": "fsx", "redshift-serverless": "redshift-serverless"}
MODELS = {**REST, **JSON}


@cache
def _routes(service: str) -> list[tuple[str, re.Pattern[str], str]]:
    """(method, pattern of the path, operation), those with most literal text first."""
    found = []
    for name in service_model(service).operation_names:
        http = operation_model(service, name).http
        path = http["requestUri"].partition("?")[0].rstrip("/")
        pattern = "".join(
            f"(?P<{part[1:-1].rstrip('+')}>{'.+' if part.endswith('+}') else '[^/]+'})"
            if part.startswith("{")
            else re.escape(part)
            for part in re.split(r"(\{[^}]+\})", path)
        )
        literal = len(re.sub(r"\{[^}]+\}", "", path))
        found.append((literal, http["method"], re.compile(pattern + "/?$"), name))
    return [one[1:] for one in sorted(found, key=lambda one: -one[0])]


def read(request: Request, signed: str) -> tuple[str, dict[str, Any]]:
    """(operation, parameters) of a REST request, as botocore names them."""
    service = REST[signed]
    for method, pattern, name in _routes(service):
        found = pattern.match(request.path) if method == request.method else None
        if found:
            return name, _parameters(request, operation_model(service, name).input_shape, found.groupdict())
    return f"{request.method} {request.path}", {}


def _parameters(request: Request, shape: Any, path: dict[str, str]) -> dict[str, Any]:
    if shape is None:
        return {}
    try:
        body = json.loads(request.body) if request.body else {}
    except ValueError:
        raise AwsError("SerializationException", "The request body is not JSON.") from None
    query, given = request.query, {}
    for member, inner in shape.members.items():
        location = inner.serialization.get("location")
        wire = inner.serialization.get("name", member)
        if location == "uri" and wire in path:
            given[member] = unquote(path[wire])
        elif location == "querystring" and wire in query:
            given[member] = _typed(inner.type_name, query[wire])
        elif location is None and wire in body:
            given[member] = body[wire]
    return given


def _typed(kind: str, text: str) -> Any:
    if kind in ("integer", "long"):
        return int(text)
    if kind == "boolean":
        return text == "true"
    if kind == "timestamp":
        moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    return [text] if kind == "list" else text


def write(signed: str, operation: str, result: dict[str, Any]) -> tuple[int, dict[str, str], bytes]:
    """(status, headers, body) of an answer: members without a value are left out, times are seconds."""
    model = operation_model(MODELS[signed], operation)
    status = int(model.http.get("responseCode", 200)) if signed in REST else 200
    headers = {"Content-Type": "application/x-amz-json-1.1" if signed in JSON else "application/json"}
    body = b"" if status == 204 else json.dumps(_plain(result)).encode()
    return status, headers, body


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items() if v is not None}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return value.timestamp() if isinstance(value, datetime) else value


def paged(rows: list[Any], parameters: dict[str, Any], most: int, size: str = "MaxResults", token: str = "NextToken"):
    """(the page that was asked for, token of the next one or None); `most` is the service's largest page."""
    start = int(parameters.get(token) or 0)
    limit = min(int(parameters.get(size) or most), most)
    return rows[start : start + limit], str(start + limit) if start + limit < len(rows) else None
