"""A snapshot of a warehouse as the driver reads it, of a cluster or of a namespace of Redshift Serverless alike.

A house is a module that speaks to one of the two services: `workers.aws.redshift_clusters` and
`workers.aws.redshift_serverless`. Both take a snapshot's name once in an account and region: the name is the token.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from workers.aws.session import Clients
from workers.driver import Resource

# AWS deletes manual snapshots by itself after so many days (3,653 is the longest, CreateClusterSnapshot): a backstop
# for installations that nobody looks after any more, ten years beyond which no policy of ours is meant to keep.
BACKSTOP_DAYS = 3653
# Days that the cluster's automated snapshots stay in the region that it copies to: they are not ours, and the least
# that EnableSnapshotCopy takes.
AUTOMATED_DAYS = 1


@dataclass(frozen=True)
class Snap:
    """One manual snapshot. `state` is 'creating', 'available', 'failed' or 'gone'; `created_at` is ISO text.

    `tags` is None where the service does not tell them with the snapshot. `carried`: it came from another region.
    """

    name: str
    arn: str
    state: str
    source: str
    created_at: str
    owner: str
    size_gib: int
    encrypted: bool
    kms_key_id: str
    percent: int
    shared_with: tuple[str, ...] = ()
    tags: Mapping[str, str] | None = None
    carried: bool = False


class House(Protocol):
    """What can be asked of either service; `clients` says where."""

    SERVERLESS: bool

    def current(self, clients: Clients, resource: Resource) -> Resource:
        """The warehouse as it is now. Raises Gone."""

    def snapshot(self, clients: Clients, name: str) -> Snap | None:
        """Our own snapshot of this name."""

    def snapshots(self, clients: Clients, *, since: str = "", owner: str = "") -> dict[str, Snap]:
        """All manual snapshots of the account by name, or those that `owner` has shared with it by ARN."""

    def take(self, clients: Clients, client: Any, name: str, source: str, tags: Mapping[str, str]) -> Snap | None:
        """Begin a snapshot; None when there is one of this name."""

    def carry(self, clients: Clients, target: Clients, resource: Resource, key: str, tags: Mapping[str, str]) -> str:
        """Have all later snapshots copied to the target's region; the region to which they go now."""

    def share(self, clients: Clients, snap: str, number: str) -> None:
        """Let another account restore a snapshot (`snap` is its ARN); twice changes nothing."""

    def unshare(self, clients: Clients, snap: str, number: str) -> None:
        """Take that back. Raises Gone for a snapshot that does not exist."""

    def tags_of(self, clients: Clients, snap: Snap) -> Mapping[str, str]:
        """The snapshot's tags."""

    def tag(self, clients: Clients, arn: str, tags: Mapping[str, str]) -> None:
        """Add tags to what has this ARN."""

    def delete(self, clients: Clients, name: str) -> None:
        """Delete a snapshot that nobody else may restore any more."""


def written(moment: Any) -> str:
    """An instant of an answer as ISO text, '' for none."""
    return moment.isoformat() if isinstance(moment, datetime) else ""


def gib(megabytes: Any) -> int:
    """Whole GiB, at least one of what is not empty."""
    size = float(megabytes or 0)
    return max(1, round(size / 1024)) if size else 0
