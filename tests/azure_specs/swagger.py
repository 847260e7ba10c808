"""Swagger files as JSON Schema: operations by path, their examples, and what is wrong with a request or an answer."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from jsonschema import Draft7Validator, FormatChecker

ROOT = Path(__file__).parent / "specification"
_COMPUTE = ROOT / "compute/resource-manager/Microsoft.Compute"
_SQL = ROOT / "sql/resource-manager/Microsoft.Sql/preview/2023-08-01-preview"
FILES = (
    *(_COMPUTE / "DiskRP/stable/2023-10-02" / f"{name}.json" for name in ("disk", "snapshot")),
    *(_COMPUTE / "ComputeRP/stable/2024-03-01" / f"{name}.json" for name in ("virtualMachine", "runCommand")),
    *(
        _SQL / f"{name}.json"
        for name in (
            "Databases", "Servers", "FirewallRules", "VirtualNetworkRules", "LongTermRetentionBackups",
            "LongTermRetentionPolicies", "BackupShortTermRetentionPolicies", "RecoverableDatabases",
            "DatabaseExtensions", "RestorableDroppedDatabases",
        )
    ),
)  # fmt: skip
_METHODS = ("get", "put", "post", "patch", "delete", "head")
FORMATS = FormatChecker(formats=())
FORMATS.checks("date-time", raises=ValueError)(lambda text: bool(datetime.fromisoformat(str(text))))


@dataclass(frozen=True)
class Operation:
    """One operation of a swagger file."""

    file: Path
    id: str
    method: str
    path: str
    spec: Mapping[str, Any] = field(compare=False, hash=False)

    @property
    def parameters(self) -> list[Mapping[str, Any]]:
        return [resolve(one, self.file)[0] for one in self.spec.get("parameters", ())]

    def examples(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """The operation's examples by the name of their file."""
        for one in self.spec.get("x-ms-examples", {}).values():
            path = self.file.parent / one["$ref"]
            yield path.stem, json.loads(path.read_text())


@cache
def document(file: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(file.read_text())
    return found


def operations() -> list[Operation]:
    """Every operation of the files."""
    return [
        Operation(file, spec["operationId"], method, path, spec)
        for file in FILES
        for path, methods in document(file)["paths"].items()
        for method, spec in methods.items()
        if method in _METHODS
    ]


def resolve(node: Mapping[str, Any], file: Path) -> tuple[Mapping[str, Any], Path]:
    """What a node or its reference is, and the file that it stands in."""
    while "$ref" in node:
        name, _, pointer = str(node["$ref"]).partition("#")
        file = (file.parent / name).resolve() if name else file
        found: Any = document(file)
        for part in pointer.strip("/").split("/"):
            found = found[unquote(part)]
        node = found
    return node, file


class Schemas:
    """JSON Schemas of one direction: what may stand in a request, or in an answer."""

    def __init__(self, *, request: bool):
        self.request = request
        self._names: dict[int, str] = {}
        self._definitions: dict[str, Any] = {}

    def errors(self, node: Mapping[str, Any], file: Path, value: Any) -> list[str]:
        """What of a value is not as the node says."""
        schema = {**self._of(node, file), "definitions": self._definitions}
        found = Draft7Validator(schema, format_checker=FORMATS).iter_errors(value)
        return [f"{'/'.join(map(str, one.absolute_path))}: {one.message[:200]}" for one in found]

    def _of(self, node: Mapping[str, Any], file: Path) -> dict[str, Any]:
        nullable = bool(node.get("x-nullable"))
        node, file = resolve(node, file)
        nullable = nullable or bool(node.get("x-nullable"))
        if not ("properties" in node or "allOf" in node):
            return _or_null(self._plain(node, file), nullable)
        if id(node) not in self._names:  # definitions refer to themselves
            name = f"d{len(self._names)}"
            self._names[id(node)] = name
            self._definitions[name] = self._object(node, file)
        return _or_null({"$ref": f"#/definitions/{self._names[id(node)]}"}, nullable)

    def _plain(self, node: Mapping[str, Any], file: Path) -> dict[str, Any]:
        keep = ("type", "format", "minimum", "maximum", "minLength", "maxLength", "pattern", "minItems", "maxItems")
        found = {name: node[name] for name in keep if name in node}
        if "enum" in node and not node.get("x-ms-enum", {}).get("modelAsString", True):
            found["enum"] = node["enum"]
        if "items" in node:
            found["items"] = self._of(node["items"], file)
        if isinstance(node.get("additionalProperties"), dict):
            inner = self._of(node["additionalProperties"], file)
            found["additionalProperties"] = _or_null(inner, self.request)  # in a request null takes an entry away
        return found

    def _object(self, node: Mapping[str, Any], file: Path) -> dict[str, Any]:
        """An object with what it inherits. What is neither declared nor allowed in this direction is refused."""
        properties: dict[str, Any] = {}
        required: set[str] = set()
        open_ended = False
        for part, place in _with_bases(node, file):
            required |= set(part.get("required", ()))
            open_ended = open_ended or "discriminator" in part or bool(part.get("additionalProperties"))
            for name, one in part.get("properties", {}).items():
                properties[name] = self._of(one, place) if self._stands(one, place) else None
        allowed = {name: schema for name, schema in properties.items() if schema is not None}
        found: dict[str, Any] = {"type": "object", "properties": allowed, "required": sorted(required & set(allowed))}
        return found if open_ended else {**found, "additionalProperties": False}

    def _stands(self, node: Mapping[str, Any], file: Path) -> bool:
        target, _ = resolve(node, file)
        told = {**target, **node}
        if self.request:
            return not told.get("readOnly")
        return not told.get("x-ms-secret") and "read" in told.get("x-ms-mutability", ("read",))


def _or_null(schema: dict[str, Any], nullable: bool) -> dict[str, Any]:
    return {"anyOf": [schema, {"type": "null"}]} if nullable else schema


def _with_bases(node: Mapping[str, Any], file: Path) -> Iterator[tuple[Mapping[str, Any], Path]]:
    for one in node.get("allOf", ()):
        base, place = resolve(one, file)
        yield from _with_bases(base, place)
    yield node, file


REQUEST, ANSWER = Schemas(request=True), Schemas(request=False)


def request_errors(operation: Operation, body: Any) -> list[str]:
    """What is wrong with a request's body."""
    for one in operation.parameters:
        if one.get("in") == "body":
            return REQUEST.errors(one["schema"], operation.file, body)
    return [] if body in (None, {}) else ["a body where none is taken"]


def answer_errors(operation: Operation, status: int, headers: Mapping[str, str], body: Any) -> list[str]:
    """What is wrong with an answer."""
    declared = operation.spec["responses"].get(str(status))
    if declared is None:
        return [f"status {status} is not declared: {body}"]
    found = []
    if status == 202 and not {"Location", "Azure-AsyncOperation"} & set(headers):
        found.append("a 202 without the address of its operation")
    schema = resolve(declared, operation.file)[0].get("schema")
    if schema is None or (body is None and status == 202):
        return found
    item = operation.path.endswith("}") and operation.method in ("get", "put", "patch")
    if item and status < 202 and not {"id", "value"} & set(body or {}):
        found.append("an answer without a resource id")
    if status == 202 and "microsoft.sql" in operation.path.lower():
        return found  # recordings: an operation object, whatever the file says
    return found + ANSWER.errors(schema, operation.file, body)


def matcher(path: str) -> re.Pattern[str]:
    """A path template as an expression."""
    return re.compile(re.sub(r"\\\{\w+\\\}", "[^/]+", re.escape(path)), re.I)
