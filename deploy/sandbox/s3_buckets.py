"""ListBuckets: an account's buckets by name, with their regions, in pages.

"ListBuckets" (S3 API reference): BucketRegion is told when a request has at least one parameter; MaxBuckets is 1 to
10,000, and a continuation token goes on after it.
"""

import base64
from typing import Any
from xml.sax.saxutils import escape

from deploy.sandbox import s3_access
from deploy.sandbox.errors import AwsError
from deploy.sandbox.http import Response

NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/"
MOST = 10_000


def listed(account: str, query: dict[str, str]) -> Response:
    """Answer one ListBuckets; InvalidArgument (400)."""
    asked = {name: value for name, value in query.items() if name != "x-id"}
    try:
        most = int(asked.get("max-buckets", MOST))
        after = base64.b64decode(asked.get("continuation-token", "")).decode()
    except ValueError:
        raise AwsError("InvalidArgument", "The continuation token or MaxBuckets is not valid.", 400) from None
    if not 1 <= most <= MOST:
        raise AwsError("InvalidArgument", "MaxBuckets must be between 1 and 10000.", 400)
    wanted, region, prefix = [], asked.get("bucket-region"), asked.get("prefix", "")
    for name, bucket in sorted(s3_access.backend(account).buckets.items()):
        if name > after and name.startswith(prefix) and region in (None, bucket.region_name):
            wanted.append(bucket)
    shown = "".join(_bucket(one, bool(asked)) for one in wanted[:most])
    token = base64.b64encode(wanted[most - 1].name.encode()).decode() if len(wanted) > most else ""
    more = f"<ContinuationToken>{token}</ContinuationToken>" if token else ""
    owner = f"<Owner><ID>{account}</ID></Owner>"
    body = (
        f'<ListAllMyBucketsResult xmlns="{NAMESPACE}">{owner}<Buckets>{shown}</Buckets>{more}</ListAllMyBucketsResult>'
    )
    return Response(200, {"Content-Type": "application/xml"}, body.encode())


def _bucket(bucket: Any, with_region: bool) -> str:
    region = f"<BucketRegion>{bucket.region_name}</BucketRegion>" if with_region else ""
    made = f"<CreationDate>{bucket.creation_date_ISO8601}</CreationDate>"
    return f"<Bucket><Name>{escape(bucket.name)}</Name>{made}{region}</Bucket>"
