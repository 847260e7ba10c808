"""A stand-in for S3 that keeps names and sizes and no content: fast enough not to be what a measurement measures.

It answers what a sync of whole buckets asks for, in AWS's shapes, and STS's GetCallerIdentity. It checks nothing. Run
as `python -m tests.bench.thin_buckets KEYS`; it prints its port. `/bench` tells what was asked, `/bench?touch=N`
overwrites N objects of the source first.
"""

import asyncio
import bisect
import json
import sys
from collections import Counter
from email.utils import formatdate
from time import gmtime, strftime, time
from urllib.parse import parse_qs, quote, unquote, urlsplit

PAGE = 1000
SIZE = 4096
XML = "http://s3.amazonaws.com/doc/2006-03-01/"
IDENTITY = (
    '<GetCallerIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><GetCallerIdentityResult>'
    "<Arn>arn:aws:iam::111111111111:root</Arn><UserId>U</UserId><Account>111111111111</Account>"
    "</GetCallerIdentityResult></GetCallerIdentityResponse>"
)
ENCRYPTION = (
    f'<ServerSideEncryptionConfiguration xmlns="{XML}"><Rule><ApplyServerSideEncryptionByDefault><SSEAlgorithm>AES256'
    "</SSEAlgorithm></ApplyServerSideEncryptionByDefault></Rule></ServerSideEncryptionConfiguration>"
)
UPLOAD = f'<InitiateMultipartUploadResult xmlns="{XML}"><UploadId>1</UploadId></InitiateMultipartUploadResult>'


class Bucket:
    """Sorted names, and of each its digest and age."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.held: dict[str, tuple[str, float]] = {}

    def put(self, name: str, digest: str) -> None:
        if name not in self.held:
            bisect.insort(self.names, name)
        self.held[name] = (digest, time())

    def listed(self, query: dict[str, list[str]]) -> str:
        prefix, most = query.get("prefix", [""])[0], int(query.get("max-keys", [PAGE])[0])
        after = query.get("continuation-token", query.get("start-after", [""]))[0]
        first = bisect.bisect_right(self.names, after) if after else bisect.bisect_left(self.names, prefix)
        found = [one for one in self.names[first : first + most] if one.startswith(prefix)]
        more = first + most < len(self.names) and len(found) == most
        rows = "".join(self._row(name) for name in found)
        token = f"<NextContinuationToken>{quote(found[-1])}</NextContinuationToken>" if more else ""
        said = f"<IsTruncated>{str(more).lower()}</IsTruncated><KeyCount>{len(found)}</KeyCount>{token}"
        return f'<ListBucketResult xmlns="{XML}">{said}<EncodingType>url</EncodingType>{rows}</ListBucketResult>'

    def _row(self, name: str) -> str:
        digest, at = self.held[name]
        return (
            f"<Contents><Key>{quote(name)}</Key><LastModified>{strftime('%Y-%m-%dT%H:%M:%S.000Z', gmtime(at))}"
            f"</LastModified><ETag>&quot;{digest}&quot;</ETag><Size>{SIZE}</Size><StorageClass>STANDARD</StorageClass>"
            "</Contents>"
        )


class Store:
    """All buckets, and a count of each kind of request."""

    def __init__(self, keys: int) -> None:
        self.buckets = {"data": Bucket(), "safe": Bucket()}
        self.asked: Counter[str] = Counter()
        for number in range(keys):
            self.buckets["data"].put(f"folder-{number % 97:02}/object-{number:09}", f"{number:032x}")

    def answer(self, method: str, target: str, headers: dict[str, str]) -> tuple[int, dict[str, str], str]:
        parts = urlsplit(target)
        query = parse_qs(parts.query, keep_blank_values=True)
        name, _, key = unquote(parts.path).lstrip("/").partition("/")
        if name == "bench":
            return 200, {}, self._bench(query)
        if not name:
            if method == "POST":
                return 200, {}, IDENTITY
            rows = "".join(f"<Bucket><Name>{one}</Name></Bucket>" for one in sorted(self.buckets))
            return 200, {}, f'<ListAllMyBucketsResult xmlns="{XML}"><Buckets>{rows}</Buckets></ListAllMyBucketsResult>'
        if name not in self.buckets:
            return 404, {}, ""
        bucket = self.buckets[name]
        return self._object(method, bucket, key, query, headers) if key else self._bucket(method, name, bucket, query)

    def _bench(self, query: dict[str, list[str]]) -> str:
        names = self.buckets["data"].names
        for number in range(int(query.get("touch", ["0"])[0])):
            self.buckets["data"].put(names[number * 97 % len(names)], f"f{number:031x}")
        told = {"asked": dict(self.asked), "kept": len(self.buckets["safe"].names)}
        self.asked.clear()
        return json.dumps(told)

    def _bucket(
        self, method: str, name: str, bucket: Bucket, query: dict[str, list[str]]
    ) -> tuple[int, dict[str, str], str]:
        if method == "HEAD":
            self.asked["HeadBucket"] += 1
            return 200, {}, ""
        if "location" in query:
            return 200, {}, f'<LocationConstraint xmlns="{XML}"/>'
        if "versioning" in query:
            return 200, {}, f'<VersioningConfiguration xmlns="{XML}"/>'
        if "encryption" in query:
            return 200, {}, ENCRYPTION
        if "tagging" in query:
            return 404, {}, "<Error><Code>NoSuchTagSet</Code><Message>none</Message></Error>"
        self.asked[f"ListObjectsV2 {name}"] += 1
        return 200, {}, bucket.listed(query)

    def _object(
        self, method: str, bucket: Bucket, key: str, query: dict[str, list[str]], headers: dict[str, str]
    ) -> tuple[int, dict[str, str], str]:
        if "uploads" in query:
            return 200, {}, UPLOAD
        if "uploadId" in query:
            return 204, {}, ""
        if "tagging" in query:
            return 200, {}, f'<Tagging xmlns="{XML}"><TagSet/></Tagging>'
        if method == "HEAD":
            self.asked["HeadObject"] += 1
            digest, at = bucket.held[key]
            told = {"ETag": f'"{digest}"', "Last-Modified": formatdate(at, usegmt=True), "Content-Length": str(SIZE)}
            return 200, told, ""
        source, _, of = unquote(headers["x-amz-copy-source"]).lstrip("/").partition("/")
        self.asked["CopyObject"] += 1
        digest = self.buckets[source].held[of][0]
        bucket.put(key, digest)
        return 200, {}, f'<CopyObjectResult xmlns="{XML}"><ETag>&quot;{digest}&quot;</ETag></CopyObjectResult>'


async def _serve(store: Store, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while True:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()
            return
        method, target, _ = head[0].split(" ", 2)
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)}
        if length := int(headers.get("content-length", 0)):
            await reader.readexactly(length)
        status, more, body = store.answer(method, target, headers)
        sent = body.encode()
        more = {"Content-Length": str(len(sent)), "Date": formatdate(usegmt=True), **more}
        lines = "".join(f"{name}: {value}\r\n" for name, value in more.items())
        writer.write(f"HTTP/1.1 {status} OK\r\n{lines}\r\n".encode() + sent)
        await writer.drain()


async def main() -> None:
    """Serve until killed."""
    store = Store(int(sys.argv[1]))
    server = await asyncio.start_server(lambda r, w: _serve(store, r, w), "127.0.0.1", 0, backlog=256)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
