"""DeleteObjects: up to 1,000 keys in one request, each with its own outcome.

"DeleteObjects" (S3 API reference): a locked version is an Error of its own, in quiet mode only errors are told, and
the request must carry a checksum of its body.
"""

from typing import Any
from xml.etree import ElementTree
from xml.sax.saxutils import escape

from deploy.sandbox.errors import AwsError
from deploy.sandbox.http import Request, Response
from deploy.sandbox.s3_conditions import current

KEYS_MAX = 1000
NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/"


def _asked(body: bytes) -> tuple[list[dict[str, str]], bool]:
    """(what to delete, quiet); MalformedXML (400) for anything but 1 to 1,000 keys."""
    try:
        root = ElementTree.fromstring(body)
    except ElementTree.ParseError:
        root = ElementTree.Element("none")
    found = [
        {child.tag.rpartition("}")[2]: child.text or "" for child in node}
        for node in root
        if node.tag.rpartition("}")[2] == "Object"
    ]
    quiet = any(n.tag.rpartition("}")[2] == "Quiet" and (n.text or "").strip() == "true" for n in root)
    if not 1 <= len(found) <= KEYS_MAX or any(not f.get("Key") for f in found):
        text = "The XML you provided was not well-formed or did not validate against our published schema"
        raise AwsError("MalformedXML", text, 400)
    return found, quiet


def _one(backend: Any, bucket: Any, asked: dict[str, str], bypass: bool) -> tuple[str, dict[str, str]]:
    """("Deleted" or "Error", members) for one key."""
    from moto.s3.exceptions import AccessDeniedByLock

    key, version = asked["Key"], asked.get("VersionId")
    named = {"Key": key} | ({"VersionId": version} if version else {})
    if "ETag" in asked:
        held, _ = current(bucket, key)
        if held is None or asked["ETag"].strip('"') != held.etag.strip('"'):
            return "Error", named | {"Code": "PreconditionFailed", "Message": "The condition did not hold."}
    try:
        _, meta = backend.delete_object(bucket.name, key, version_id=version, bypass=bypass)
    except AccessDeniedByLock:
        text = "Access Denied because object protected by object lock."
        return "Error", named | {"Code": "AccessDenied", "Message": text}
    if meta.get("delete-marker") and not version:
        named |= {"DeleteMarker": "true", "DeleteMarkerVersionId": meta["version-id"]}
    return "Deleted", named


def delete(backend: Any, bucket: Any, request: Request, bypass: bool) -> Response:
    """Answer one DeleteObjects."""
    headers = request.headers
    if "content-md5" not in headers and not any(h.startswith("x-amz-checksum-") for h in headers):
        raise AwsError("InvalidRequest", "Missing required header for this request: Content-MD5", 400)
    asked, quiet = _asked(request.body)
    rows = [_one(backend, bucket, a, bypass) for a in asked]
    parts = [
        f"<{kind}>" + "".join(f"<{n}>{escape(v)}</{n}>" for n, v in members.items()) + f"</{kind}>"
        for kind, members in rows
        if not (quiet and kind == "Deleted")
    ]
    body = f'<DeleteResult xmlns="{NAMESPACE}">{"".join(parts)}</DeleteResult>'
    return Response(200, {"Content-Type": "application/xml"}, body.encode())
