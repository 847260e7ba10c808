"""The product's own EBS and S3 clients against the sandbox: two implementations of the documents must agree."""

import random

import boto3

from deploy.sandbox.sts import ROOT_PREFIX, ROOT_SECRET
from tests.deploy.blocks import BLOCK
from tests.deploy.estate import HOME, PROD, VAULT, shown, snapshot, volume
from tests.workers.repository.volumes import KEY
from workers.repository.archive import archive
from workers.repository.clock import host_clock
from workers.repository.ebs import EbsClient, EbsSink, EbsSource, start_snapshot
from workers.repository.pipeline import Tuning
from workers.repository.repository import create
from workers.repository.restore import restore
from workers.repository.s3 import S3Store, s3_client
from workers.repository.sigv4 import Credentials

TUNING = Tuning(pack_bytes=8 << 20, compute=1, uploads=1)


def blocks_of(sandbox, account: str) -> EbsClient:
    """The product's client of the EBS direct APIs, which signs by itself."""
    return EbsClient(sandbox.url, HOME, lambda: Credentials(ROOT_PREFIX + account, ROOT_SECRET, None))


def test_snapshots_go_into_a_bucket_and_come_out_as_snapshots_of_another_account(sandbox):
    """feature 82: bytes compared; the second archive reads the changed block only, and zeros come back as zeros."""
    session = boto3.Session(ROOT_PREFIX + VAULT, ROOT_SECRET)
    bucket = s3_client(sandbox.url, HOME, session)
    bucket.create_bucket(Bucket="repo")
    repo = create(S3Store(bucket, "repo", "volumes"), KEY, host_clock)
    ec2, noise = sandbox.client(PROD), random.Random(1)
    vol = volume(ec2)
    for index in (0, 1, 5, 100, 2047):
        sandbox.write(PROD, HOME, vol, index * BLOCK, noise.randbytes(BLOCK))
    first, source = snapshot(ec2, vol), blocks_of(sandbox, PROD)
    base = archive(repo, vol, EbsSource(source, first, readers=2), host_clock(), tuning=TUNING)
    sandbox.write(PROD, HOME, vol, 7 * BLOCK, noise.randbytes(BLOCK))
    sandbox.write(PROD, HOME, vol, 5 * BLOCK, bytes(BLOCK))
    second, read = snapshot(ec2, vol), sandbox.count("GetSnapshotBlock", "ok")
    changes = EbsSource(source, second, base=first, readers=2)
    later = archive(repo, vol, changes, host_clock(), base=base, tuning=TUNING)
    assert sandbox.count("GetSnapshotBlock", "ok") == read + 1
    vault = blocks_of(sandbox, VAULT)
    for generation, original in ((base, first), (later, second)):
        made = start_snapshot(vault, 1 << 30, f"restore-{original}", {"from": original})
        restore(repo, generation, EbsSink(vault, made, 1 << 30), TUNING)
        assert shown(sandbox.client(VAULT), made)["State"] == "completed"
        assert sandbox.sha256(VAULT, HOME, made) == sandbox.sha256(PROD, HOME, original)
