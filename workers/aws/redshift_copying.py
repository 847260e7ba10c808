"""One copy of a warehouse's snapshot to begin: the clients of both ends, and the wish."""

from dataclasses import dataclass

from workers.aws.rds_backup import snapshot_tags
from workers.aws.redshift_backup import Tools
from workers.aws.session import Clients
from workers.aws.tags import TAG_SOURCE_SNAPSHOT
from workers.driver import CopyRequest, Destination, Part, Point

CARRIED, SHARE, CLUSTER = "carried", "share", "cluster"  # kinds of operations; snapshots and namespaces are others
FULL = "A full copy: it was made through a temporary {what}, whose hours are billed."


@dataclass(frozen=True)
class Copying:
    """What is to be copied, where to, and the tools."""

    tools: Tools
    source: Clients
    target: Clients
    destination: Destination
    request: CopyRequest
    point: Point

    @property
    def part(self) -> Part:
        return self.point.parts[0]

    @property
    def ours(self) -> dict[str, str]:
        """Our tags alone, in characters that Redshift takes."""
        ours = {**self.request.tags, TAG_SOURCE_SNAPSHOT: self.part.external_id}
        return snapshot_tags(self.request.key, ours, {})[0]

    @property
    def tags(self) -> dict[str, str]:
        """Ours and the warehouse's own."""
        ours = {**self.request.tags, TAG_SOURCE_SNAPSHOT: self.part.external_id}
        users = dict(self.point.resource.attributes.get("tags", {}))
        return snapshot_tags(self.request.key, ours, users)[0]
