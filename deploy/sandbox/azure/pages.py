"""Access to the bytes of disks and snapshots: shared access signatures, and the page endpoint behind them.

Sources: managed disks documentation ("Upload a VHD to Azure", incremental snapshots: "Differential ranges"), the Blob
REST reference (Get Blob, Get Page Ranges, Put Page) and recordings: beginGetAccess answers 202 with an empty body and
the address is told by the operation's Location. At most five snapshots of one family have a signature at once.
A snapshot reads as a VHD: its bytes, then a footer of 512 bytes that no reader of the disk may take for content.
"""

import secrets
from collections.abc import Iterable, Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

from deploy.sandbox.azure.state import Operation, Refusal, Thing, World
from deploy.sandbox.blocks import BLOCK, GIB, ZEROS

FOOTER = 512
PAGE = 512
# What a difference is told in; finer than a block, so that blocks change in part.
GRAIN = 4096
LARGEST_WRITE = 4 << 20
MOST_OF_FAMILY = 5
_FOUR_TB = 4096  # GiB: no difference across a resize over this line
_UPLOADS = ("ReadyToUpload", "ActiveUpload")
Answer = tuple[int, dict[str, str], Any]
Range = tuple[int, int, bool]  # first byte, byte after the last, cleared


def grant(world: World, thing: Thing, body: dict[str, Any], base: str) -> Operation:
    """Give out a signature. One that is active is given again, for its level."""
    refresh(world, thing)
    level, state = str(body.get("access")), str(thing.properties.get("diskState", "Unattached"))
    if level not in ("Read", "Write") or not int(body.get("durationInSeconds", 0)):
        raise Refusal(400, "InvalidParameter", "The access or its duration is not valid.")
    if thing.provisioning(world.now()) != "Succeeded":
        raise Refusal(409, "OperationNotAllowed", f"{thing.name} is not ready.")
    if level == "Write" and (thing.kind != "disks" or state not in _UPLOADS):
        raise Refusal(409, "OperationNotAllowed", f"Write access to {thing.name} in state {state} is not allowed.")
    if level == "Read" and (state in _UPLOADS or thing.fields.get("managedBy")):
        raise Refusal(409, "OperationNotAllowed", f"Read access to {thing.name} in state {state} is not allowed.")
    if "_access" not in thing.fields:
        _meter_family(world, thing)
    until = world.now() + int(body["durationInSeconds"])
    held = thing.fields.get("_access") or {"token": secrets.token_hex(8), "signature": secrets.token_urlsafe(32)}
    thing.fields["_access"] = {**held, "level": level, "until": until}
    thing.properties["diskState"] = "ActiveUpload" if level == "Write" else "ActiveSAS"
    made = world.begin("DiskOperations", thing, thing.subscription, thing.location, world.settings["access_seconds"])
    query = f"sv=2018-03-28&sr=b&sp={level[0].lower()}&sig={held['signature']}"
    made.answer = {"accessSAS": f"{base}/pages/{held['token']}/abcd?{query}"}
    return made


def _meter_family(world: World, thing: Thing) -> None:
    family = thing.properties.get("incrementalSnapshotFamilyId")
    if not family:
        return
    active = [
        one
        for one in world.of_kind(thing.kind)
        if one.properties.get("incrementalSnapshotFamilyId") == family and _counts(world, one)
    ]
    if len(active) >= MOST_OF_FAMILY:
        text = f"At most {MOST_OF_FAMILY} snapshots of one family can have an access signature at once."
        raise Refusal(409, "OperationNotAllowed", text)
    most = "signatures of a family", "most"
    world.counts[most] = max(world.counts[most], len(active) + 1)


def _counts(world: World, thing: Thing) -> bool:
    """A signature counts until the operation that takes it back is over."""
    return is_active(world, thing) or thing.fields.get("_closing", 0.0) > world.now()


def revoke(world: World, thing: Thing) -> Operation:
    """Take the signature back. It ends an upload: a disk without its footer is no disk."""
    thing.fields.pop("_access", None)
    state = thing.properties.get("diskState")
    if state in _UPLOADS and not _sound(thing):
        thing.failure = ("InvalidVhd", f"The footer of {thing.name} is missing or wrong.")
    if state in ("ActiveSAS", "ActiveUpload"):
        thing.properties["diskState"] = "Unattached"
    seconds = world.settings["access_seconds"]
    thing.fields["_closing"] = world.now() + seconds
    return world.begin("DiskOperations", None, thing.subscription, thing.location, seconds)


def _sound(thing: Thing) -> bool:
    """Whether the footer is that of a fixed VHD of the disk's size (VHD image format specification)."""
    footer = thing.fields.get("_footer", b"")
    if len(footer) != FOOTER or footer[:8] != b"conectix" or thing.content is None:
        return False
    stated = int.from_bytes(footer[64:68], "big")
    check = ~sum(footer[:64] + bytes(4) + footer[68:]) & 0xFFFFFFFF
    fixed, size = int.from_bytes(footer[60:64], "big") == 2, int.from_bytes(footer[48:56], "big")
    return stated == check and fixed and size == thing.content.gib * GIB


def is_active(world: World, thing: Thing) -> bool:
    """Whether a signature of it opens anything now."""
    return bool(thing.fields.get("_access")) and thing.fields["_access"]["until"] > world.now()


def refresh(world: World, thing: Thing) -> None:
    """A signature whose time is over is none; an upload goes on waiting for the next."""
    if thing.fields.get("_access") and not is_active(world, thing):
        del thing.fields["_access"]
        if thing.properties.get("diskState") == "ActiveSAS":
            thing.properties["diskState"] = "Unattached"


def handle(world: World, method: str, path: str, query: dict[str, str], environ: dict[str, Any], raw: bytes) -> Answer:
    """A request under /pages/."""
    fault = world.take_fault(method, "pages", "", query.get("comp", ""))
    world.counts[f"{method} pages {query.get('comp', '')}".strip(), fault["kind"] if fault else "ok"] += 1
    if fault:
        raise Refusal(int(fault.get("status", 503)), fault.get("code", "ServerBusy"), "A planted error.")
    thing = _opened(world, path, query, "w" if method == "PUT" else "r")
    content = thing.content
    if content is None:
        raise Refusal(404, "BlobNotFound", "The blob has no content.")
    size = content.gib * GIB
    start, stop = _range(environ, size + FOOTER)
    if method == "PUT" and query.get("comp") == "page":
        _write(thing, start, stop, raw, environ, size)
        return 201, {"Content-Type": "text/plain"}, b""
    if query.get("comp") == "pagelist":
        previous = environ.get("HTTP_X_MS_PREVIOUS_SNAPSHOT_URL", "")
        ranges = _difference(world, thing, previous) if previous else _written(thing)
        page = _page(list(_clipped(ranges, start, stop)), query)
        return 200, {"Content-Type": "application/xml", "x-ms-blob-content-length": str(size + FOOTER)}, page
    if method != "GET":
        raise Refusal(405, "UnsupportedHttpVerb", "The resource does not support the specified HTTP verb.")
    data = b"".join(content.read(start, min(stop, size) - start)) if start < size else b""
    if stop > size:
        data += (b"conectix" + bytes(FOOTER - 8))[max(0, start - size) : stop - size]
    return 206, {"Content-Type": "application/octet-stream"}, data


def _opened(world: World, path: str, query: dict[str, str], right: str) -> Thing:
    token = path.split("/")[2]
    for thing in world.things.values():
        held = thing.fields.get("_access")
        if held and held["token"] == token:
            if not is_active(world, thing) or held["signature"] != query.get("sig"):
                break
            if right == "w" and held["level"] != "Write":
                raise Refusal(403, "AuthorizationPermissionMismatch", "The signature does not allow this.")
            return thing
    raise Refusal(403, "AuthenticationFailed", "The signature is wrong, over or revoked.")


def _range(environ: dict[str, Any], size: int) -> tuple[int, int]:
    text = str(environ.get("HTTP_X_MS_RANGE") or environ.get("HTTP_RANGE") or "bytes=0-").removeprefix("bytes=")
    first, _, last = text.partition("-")
    if int(first) >= size:
        raise Refusal(416, "InvalidRange", "The range is beyond the end.")
    return int(first), min(int(last) + 1 if last else size, size)


def _write(thing: Thing, start: int, stop: int, raw: bytes, environ: dict[str, Any], size: int) -> None:
    update = environ.get("HTTP_X_MS_PAGE_WRITE", "").lower() == "update"
    if not update or start % PAGE or stop % PAGE or stop - start != len(raw) or len(raw) > LARGEST_WRITE:
        raise Refusal(400, "InvalidPageRange", "The page range is not valid.")
    if stop > size:
        thing.fields["_footer"] = raw[size - start :]
        raw = raw[: size - start]
    if raw and thing.content is not None:
        thing.content.write(start, raw)


def _written(thing: Thing) -> Iterator[Range]:
    content = thing.content
    if content is None:
        return
    for index in sorted(content.cells):
        yield from _compared(index, content.store.get(content.cells[index]), ZEROS)


def _difference(world: World, thing: Thing, previous: str) -> Iterator[Range]:
    """What changed since the snapshot behind another signature, which must be active too, older, and of this family."""
    parts = urlsplit(previous)
    query = {key: values[0] for key, values in parse_qs(parts.query).items()}
    before = _opened(world, parts.path, query, "r")
    names = ("incrementalSnapshotFamilyId",)
    if any(before.properties.get(name) != thing.properties.get(name) for name in names):
        raise Refusal(409, "PreviousSnapshotNotFound", "The previous snapshot is of another family.")
    if before.begun > thing.begun:
        raise Refusal(409, "PreviousSnapshotCannotBeNewer", "The previous snapshot is newer.")
    old, new = before.content, thing.content
    if old is None or new is None:
        return
    if min(old.gib, new.gib) <= _FOUR_TB < max(old.gib, new.gib):
        raise Refusal(409, "PreviousSnapshotOperationNotSupported", "The disk was resized over 4 TiB in between.")
    for index in sorted({*old.cells, *new.cells}):
        if old.cells.get(index) != new.cells.get(index):
            yield from _compared(index, new.store.get(new.cells.get(index)), old.store.get(old.cells.get(index)))


def _compared(index: int, new: bytes, old: bytes) -> Iterator[Range]:
    zero = bytes(GRAIN)
    for at in range(0, BLOCK, GRAIN):
        grain = new[at : at + GRAIN]
        if grain != old[at : at + GRAIN]:
            start = index * BLOCK + at
            yield start, start + GRAIN, grain == zero


def _clipped(ranges: Iterable[Range], start: int, stop: int) -> Iterator[Range]:
    """Ranges inside a window, neighbours of a kind as one."""
    last: Range | None = None
    for first, end, cleared in ranges:
        if end <= start or first >= stop:
            continue
        one = (max(first, start), min(end, stop), cleared)
        if last and last[1] == one[0] and last[2] == cleared:
            last = (last[0], one[1], cleared)
            continue
        if last:
            yield last
        last = one
    if last:
        yield last


def _page(ranges: list[Range], query: dict[str, str]) -> bytes:
    most, begin = int(query.get("maxresults", 10_000)), int(query.get("marker") or 0)
    shown = ranges[begin : begin + most]
    # the service tells written ranges before cleared ones of a page: readers must not rely on their order
    items = "".join(
        f"<{name}><Start>{first}</Start><End>{end - 1}</End></{name}>"
        for name, kind in (("PageRange", False), ("ClearRange", True))
        for first, end, cleared in shown
        if cleared is kind
    )
    marker = str(begin + most) if begin + most < len(ranges) else ""
    return f'<?xml version="1.0"?><PageList>{items}<NextMarker>{marker}</NextMarker></PageList>'.encode()
