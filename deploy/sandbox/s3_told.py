"""What an S3 request that changes something carries, under the names of botocore's model, as the call log keeps it.

Headers and query of every such request; of bodies only those that say what to do (a batch of deletions, the parts of an
upload, settings of a bucket), never an object's content.
"""

from collections.abc import Mapping
from functools import cache
from typing import Any
from xml.etree import ElementTree

from deploy.sandbox import wire
from deploy.sandbox.http import Request

_PLACES = ("header", "querystring")
_TRANSPORT = ("ContentLength", "ContentMD5")  # how the body is sent, not what is asked for
_BODY_MOST = 1 << 20  # characters; DeleteObjects with 1,000 keys of 1,024 bytes is about as long


def told(operation: str, request: Request) -> dict[str, Any]:
    """The members of one request; {} for what only reads."""
    if request.method in ("GET", "HEAD"):
        return {}
    found: dict[str, Any] = {}
    for member, place, name in _members(operation):
        given = request.headers if place == "header" else request.query
        if given.get(name):
            found[member] = given[name]
    return found | _body(operation, request)


@cache
def _members(operation: str) -> tuple[tuple[str, str, str], ...]:
    """(member, where it goes, its name there)."""
    model = wire.operation_model("s3", operation)
    shapes = model.input_shape.members if model is not None and model.input_shape is not None else {}
    found = []
    for member, shape in shapes.items():
        place, name = shape.serialization.get("location"), shape.serialization.get("name", member)
        if place in _PLACES and member not in _TRANSPORT and not member.startswith("Checksum"):
            found.append((member, place, name.lower() if place == "header" else name))
    return tuple(found)


def _body(operation: str, request: Request) -> dict[str, Any]:
    model = wire.operation_model("s3", operation)
    shape = model.input_shape if model is not None else None
    payload = shape.serialization.get("payload") if shape is not None else None
    if not payload or shape.members[payload].type_name != "structure" or len(request.body) > _BODY_MOST:
        return {}
    try:
        root = ElementTree.fromstring(request.body)
    except ElementTree.ParseError:
        return {}
    return {payload: _read(shape.members[payload], root)}


def _read(shape: Any, node: ElementTree.Element) -> Any:
    """An element as the model's shape sees it."""
    if shape.type_name == "structure":
        return _structure(shape, node)
    if shape.type_name == "list":
        return [_read(shape.member, child) for child in node]
    return node.text or ""


def _structure(shape: Any, node: ElementTree.Element) -> dict[str, Any]:
    children: Mapping[str, list[ElementTree.Element]] = _by_name(node)
    found: dict[str, Any] = {}
    for member, inner in shape.members.items():
        some = children.get(inner.serialization.get("name", member), [])
        if some and inner.type_name == "list" and inner.serialization.get("flattened"):
            found[member] = [_read(inner.member, child) for child in some]
        elif some:
            found[member] = _read(inner, some[0])
    return found


def _by_name(node: ElementTree.Element) -> dict[str, list[ElementTree.Element]]:
    found: dict[str, list[ElementTree.Element]] = {}
    for child in node:
        found.setdefault(child.tag.rpartition("}")[2], []).append(child)
    return found
