"""Blocks of EBS snapshots and places in S3, entered with the credentials of an account."""

from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import unquote, urlsplit

import botocore.session

from tasks.resources.repository import rights_of
from workers.aws.ec2_foreign import list_foreign
from workers.aws.errors import translated
from workers.aws.session import Sessions
from workers.aws.simulate import check_named
from workers.blocks import Foreign
from workers.driver import Account, Check
from workers.repository.ebs import EbsClient, EbsSink, EbsSource, complete_snapshot, start_snapshot
from workers.repository.errors import Unsuitable
from workers.repository.kms import Kms
from workers.repository.s3 import S3Store, s3_client
from workers.repository.s3wire import Wire
from workers.repository.sigv4 import Credentials, Provider
from workers.repository.store import Store

# A worker has several threads, and each of its archives has readers of its own: 16 connections keep a volume's reads
# in flight at 30 ms of latency (16 x 33 blocks/s = 264 MiB/s, more than two cores compress) without a storm of them.
READERS = 16


class AwsBlocks:
    """Implements workers.blocks.Blocks; safe to be shared by threads."""

    makes, output = "snapshot", "snapshot_id"

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions

    def store(self, account: Account, region: str, url: str, sse_key: str = "") -> Store:
        parts = urlsplit(url)
        if parts.scheme != "s3" or not parts.netloc:
            raise Unsuitable(f"{url} is no place in S3.", advice="Write s3://BUCKET/PREFIX.")
        with translated("S3"):
            made = _Makes(self._sessions.session(account, region))
            address = str(self._sessions.client(account, region, "s3", "read").meta.endpoint_url)
            proxy, bundle = self._sessions.way(account, region, address)
        client = s3_client(
            None if ".amazonaws.com" in address else address,
            region,
            made,
            {"http": proxy, "https": proxy} if proxy else {},
        )
        held = self._credentials(account, region)
        wire = Wire(address, parts.netloc, region, held, proxy=proxy, ca_bundle=bundle)
        encryption = {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": sse_key} if sse_key else {}
        return S3Store(client, parts.netloc, unquote(parts.path), encryption, wire)

    def check(self, account: Account, region: str, name: str, spec: Mapping[str, Any]) -> list[Check]:
        """What IAM says of the account's rights on a repository of the estate, nothing being tried there."""
        with translated("a look at rights"):
            clients = self._sessions.at(account, region)
            partition = str(clients.read("sts").meta.partition)
            return check_named(clients, rights_of(spec, partition), f"the repository {name}")

    def snapshots(self, account: Account, region: str, tags: Mapping[str, str]) -> Iterator[Foreign]:
        with translated("a look at snapshots"):
            yield from list_foreign(self._sessions.at(account, region), tags)

    def key_service(self, account: Account, region: str, key: str) -> Kms:
        with translated("KMS"):
            return Kms(self._sessions.client(account, region, "kms", "read"), key)

    def source(self, account: Account, region: str, snapshot_id: str, base: str | None = None) -> EbsSource:
        return EbsSource(self._ebs(account, region), snapshot_id, base, readers=READERS)

    def begin(
        self,
        account: Account,
        region: str,
        size: int,
        token: str,
        tags: Mapping[str, str],
        kms_key: str = "",
        wishes: Mapping[str, Any] | None = None,  # noqa: ARG002 - of disks
    ) -> str:
        return start_snapshot(self._ebs(account, region), size, token, dict(tags), kms_key or None)

    def sink(self, account: Account, region: str, snapshot_id: str, size: int) -> EbsSink:
        return EbsSink(self._ebs(account, region), snapshot_id, size, completes=False)

    def complete(self, account: Account, region: str, snapshot_id: str, blocks: int) -> None:
        complete_snapshot(self._ebs(account, region), snapshot_id, blocks)

    def _ebs(self, account: Account, region: str) -> EbsClient:
        with translated("EBS"):
            endpoint = str(self._sessions.client(account, region, "ebs", "read").meta.endpoint_url)
            proxy, bundle = self._sessions.way(account, region, endpoint)
        return EbsClient(endpoint, region, self._credentials(account, region), proxy=proxy, ca_bundle=bundle)

    def _credentials(self, account: Account, region: str) -> Provider:
        """What signs requests now; temporary credentials renew themselves."""
        with translated("credentials"):
            held = self._sessions.session(account, region).get_credentials()

        def credentials() -> Credentials:
            now: Any = None
            with translated("credentials"):
                now = held.get_frozen_credentials() if held is not None else None
            if now is None:
                raise Unsuitable(f"There are no AWS credentials for {account.name}.")
            return Credentials(now.access_key, now.secret_key, now.token or "")

        return credentials


class _Makes:
    """A botocore session as boto3's: the engine asks it for one client, with a configuration of its own."""

    def __init__(self, session: botocore.session.Session) -> None:
        self._session = session

    def client(self, service: str, **how: Any) -> Any:
        return self._session.create_client(service, **how)
