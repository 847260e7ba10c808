"""EBS direct APIs, reading: which blocks a snapshot has, what changed, their data, rights, quotas and speed."""

import http.client
import os
from pathlib import Path
from typing import Any

from tests.deploy.blocks import BLOCK, changed, checksum, content, data, listed, pages, reason, written
from tests.deploy.estate import AWAY, HOME, PROD, VAULT, key, refused, share, snapshot, volume


def test_a_snapshot_of_a_volume_lists_and_returns_its_written_blocks(sandbox):
    """AWS, "ListSnapshotBlocks", "GetSnapshotBlock": written blocks in numerical order, 512 KiB each, with checksum."""
    ec2, ebs = sandbox.client(PROD), sandbox.client(PROD, service="ebs")
    vol = volume(ec2)
    sandbox.write(PROD, HOME, vol, 7 * BLOCK, data(7))
    sandbox.write(PROD, HOME, vol, 3 * BLOCK + 5, b"within")
    snap = snapshot(ec2, vol)
    answer = ebs.list_snapshot_blocks(SnapshotId=snap)
    assert [b["BlockIndex"] for b in answer["Blocks"]] == [3, 7]
    assert (answer["BlockSize"], answer["VolumeSize"], answer.get("NextToken")) == (BLOCK, 1, None)
    got = ebs.get_snapshot_block(SnapshotId=snap, **answer["Blocks"][1])
    body = got["BlockData"].read()
    assert (got["DataLength"], got["ChecksumAlgorithm"], got["Checksum"]) == (BLOCK, "SHA256", checksum(body))
    assert body == data(7)
    assert content(ebs, snap)[3][5:11] == b"within"


def test_a_snapshot_stays_as_it_was_when_the_volume_goes_on(sandbox):
    """AWS, "Amazon EBS snapshots": a snapshot is a point in time; so are its blocks."""
    ec2, ebs = sandbox.client(PROD), sandbox.client(PROD, service="ebs")
    vol = volume(ec2)
    sandbox.write(PROD, HOME, vol, 0, data(1))
    snap = snapshot(ec2, vol)
    sandbox.write(PROD, HOME, vol, 0, data(2))
    assert content(ebs, snap) == {0: data(1)}


def test_changed_blocks_name_new_gone_and_differing_blocks(sandbox):
    """AWS, "ListChangedBlocks": FirstBlockToken is absent where only the second snapshot has the block."""
    ec2, ebs = sandbox.client(PROD), sandbox.client(PROD, service="ebs")
    vol = volume(ec2)
    for index in (0, 1, 2):
        sandbox.write(PROD, HOME, vol, index * BLOCK, data(index + 1))
    first = snapshot(ec2, vol)
    sandbox.write(PROD, HOME, vol, 0, data(9))
    sandbox.write(PROD, HOME, vol, BLOCK, bytes(BLOCK))
    sandbox.write(PROD, HOME, vol, 5 * BLOCK, data(5))
    second = snapshot(ec2, vol)
    assert changed(ebs, first, second) == {0: "12", 1: "1", 5: "2"}
    assert changed(ebs, second, second) == {}
    block = ebs.list_changed_blocks(FirstSnapshotId=first, SecondSnapshotId=second)["ChangedBlocks"][0]
    old = ebs.get_snapshot_block(SnapshotId=first, BlockIndex=0, BlockToken=block["FirstBlockToken"])
    assert old["BlockData"].read() == data(1)


def test_snapshots_of_different_volumes_cannot_be_compared(sandbox):
    """AWS, "ValidationException": UNRELATED_SNAPSHOTS; both must be of the same volume and snapshot lineage."""
    ec2, ebs = sandbox.client(PROD), sandbox.client(PROD, service="ebs")
    one, other = snapshot(ec2, volume(ec2)), snapshot(ec2, volume(ec2))
    compare = {"FirstSnapshotId": one, "SecondSnapshotId": other}
    reason("ValidationException", "UNRELATED_SNAPSHOTS", ebs.list_changed_blocks, **compare)
    reason("ValidationException", "INVALID_SNAPSHOT_ID", ebs.list_changed_blocks, SecondSnapshotId=other)


def test_pages_follow_their_token_and_start_where_asked(sandbox):
    """AWS, "ListSnapshotBlocks": MaxResults 100 to 10000; with NextToken, StartingBlockIndex is ignored."""
    ebs = sandbox.client(PROD, service="ebs")
    snap = written(ebs, {i: data(i + 1) for i in range(0, 260, 2)})
    found = pages(ebs.list_snapshot_blocks, "Blocks", SnapshotId=snap, MaxResults=100)
    assert [len(p) for p in found] == [100, 30]
    assert [b["BlockIndex"] for p in found for b in p] == list(range(0, 260, 2))
    late = ebs.list_snapshot_blocks(SnapshotId=snap, StartingBlockIndex=21, MaxResults=100)
    assert late["Blocks"][0]["BlockIndex"] == 22
    more = ebs.list_snapshot_blocks(SnapshotId=snap, NextToken=late["NextToken"], StartingBlockIndex=0)
    assert more["Blocks"][0]["BlockIndex"] == 222
    plain = sandbox.client(PROD, service="ebs", parameter_validation=False)
    for wrong in (99, 10_001):
        outside = {"SnapshotId": snap, "MaxResults": wrong}
        reason("ValidationException", "INVALID_PARAMETER_VALUE", plain.list_snapshot_blocks, **outside)


def test_a_page_may_be_empty_and_have_a_next_one(sandbox):
    """AWS, "FAQs for EBS direct APIs": an empty page with a next token is not the last one."""
    ebs = sandbox.client(PROD, service="ebs")
    snap = written(ebs, {i: data(i + 1) for i in range(101)})
    sandbox.configure(ebs_empty_pages=True)
    found = pages(ebs.list_snapshot_blocks, "Blocks", SnapshotId=snap)
    assert [len(p) for p in found] == [0, 100, 0, 1]


def test_tokens_end_and_belong_to_what_they_were_given_for(sandbox):
    """AWS, "FAQs for EBS direct APIs": block tokens last seven days, page tokens 60 minutes."""
    ebs = sandbox.client(PROD, service="ebs")
    snap, other = written(ebs, {i: data(i + 1) for i in range(101)}), written(ebs, {0: data(1)})
    answer = ebs.list_snapshot_blocks(SnapshotId=snap)
    first, second = answer["Blocks"][:2]
    assert first["BlockToken"] != ebs.list_snapshot_blocks(SnapshotId=snap)["Blocks"][0]["BlockToken"]
    wrong = {"SnapshotId": snap, "BlockIndex": 0, "BlockToken": second["BlockToken"]}
    reason("ValidationException", "INVALID_BLOCK_TOKEN", ebs.get_snapshot_block, **wrong)
    reason("ValidationException", "INVALID_BLOCK_TOKEN", ebs.get_snapshot_block, SnapshotId=other, **first)
    reason("ValidationException", "INVALID_BLOCK_TOKEN", ebs.get_snapshot_block, **wrong | {"BlockToken": "QUJD"})
    page = {"NextToken": answer["NextToken"]}
    reason("ValidationException", "INVALID_PAGE_TOKEN", ebs.list_snapshot_blocks, SnapshotId=other, **page)
    assert len(ebs.list_snapshot_blocks(SnapshotId=snap, **page)["Blocks"]) == 1
    sandbox.advance(3601)
    reason("ValidationException", "INVALID_PAGE_TOKEN", ebs.list_snapshot_blocks, SnapshotId=snap, **page)
    ebs.get_snapshot_block(SnapshotId=snap, **first)
    sandbox.advance(7 * 86400)
    reason("ValidationException", "INVALID_BLOCK_TOKEN", ebs.get_snapshot_block, SnapshotId=snap, **first)


def test_only_completed_snapshots_that_are_not_archived_or_gone_are_read(sandbox):
    """AWS, "FAQs for EBS direct APIs": completed snapshots only; archived ones must be restored first; none public."""
    ec2, ebs = sandbox.client(PROD), sandbox.client(PROD, service="ebs")
    vol = volume(ec2)
    snap = snapshot(ec2, vol)
    sandbox.configure(snapshot_seconds=60, tier_seconds=0)
    pending = snapshot(ec2, vol)
    reason("ValidationException", "INVALID_SNAPSHOT_ID", ebs.list_snapshot_blocks, SnapshotId=pending)
    sandbox.advance(61)
    ebs.list_snapshot_blocks(SnapshotId=pending)
    ec2.modify_snapshot_tier(SnapshotId=snap, StorageTier="archive")
    reason("ValidationException", "INVALID_SNAPSHOT_ID", ebs.list_snapshot_blocks, SnapshotId=snap)
    ec2.delete_snapshot(SnapshotId=pending)
    reason("ResourceNotFoundException", "SNAPSHOT_NOT_FOUND", ebs.list_snapshot_blocks, SnapshotId=pending)
    public = next(s for s in ec2.describe_snapshots()["Snapshots"] if s["OwnerId"] != PROD)["SnapshotId"]
    reason("ValidationException", "INVALID_SNAPSHOT_ID", ebs.list_snapshot_blocks, SnapshotId=public)


def test_a_shared_snapshot_is_read_by_the_other_account_with_its_key(sandbox):
    """AWS, "Permissions to use AWS KMS keys" (EBS direct APIs): sharing and kms:Decrypt are both needed."""
    ec2, other = sandbox.client(PROD), sandbox.client(VAULT, service="ebs")
    arn, closed = key(sandbox, PROD, HOME, VAULT), key(sandbox, PROD, HOME)
    snaps = {}
    for name, used in (("plain", None), ("open", arn), ("closed", closed)):
        vol = volume(ec2, **({"Encrypted": True, "KmsKeyId": used} if used else {}))
        sandbox.write(PROD, HOME, vol, 0, data(4))
        snaps[name] = snapshot(ec2, vol)
    reason("ResourceNotFoundException", "SNAPSHOT_NOT_FOUND", other.list_snapshot_blocks, SnapshotId=snaps["plain"])
    for snap in snaps.values():
        share(ec2, snap, VAULT)
    assert content(other, snaps["plain"]) == content(other, snaps["open"]) == {0: data(4)}
    denied = {"SnapshotId": snaps["closed"]}
    reason("AccessDeniedException", "DEPENDENCY_ACCESS_DENIED", other.list_snapshot_blocks, **denied)


def test_a_role_needs_the_right_to_each_operation_and_to_decrypt(sandbox):
    """AWS, "Control access to EBS direct APIs using IAM": ebs:GetSnapshotBlock and kms:Decrypt."""
    ec2 = sandbox.client(PROD)
    snap = snapshot(ec2, volume(ec2, Encrypted=True, KmsKeyId=key(sandbox, PROD, HOME)))
    arn = f"arn:aws:iam::{PROD}:role/reader"
    sandbox.role(arn, allowed=["ebs:List*"])
    ebs = sandbox.role_client(arn, None, HOME, "ebs")
    reason("AccessDeniedException", "DEPENDENCY_ACCESS_DENIED", ebs.list_snapshot_blocks, SnapshotId=snap)
    sandbox.role(arn, allowed=["ebs:List*", "kms:Decrypt"])
    ebs = sandbox.role_client(arn, None, HOME, "ebs")
    ebs.list_snapshot_blocks(SnapshotId=snap)
    refused("AccessDeniedException", ebs.start_snapshot, VolumeSize=1)


def test_copies_are_read_and_compared_like_their_sources(sandbox):
    """AWS, "Copy an Amazon EBS snapshot": a copy has the data; copies of one volume are of one lineage."""
    ec2, away = sandbox.client(PROD), sandbox.client(PROD, AWAY)
    ebs = sandbox.client(PROD, AWAY, "ebs")
    vol, copies = volume(ec2), []
    for index in (1, 2):
        sandbox.write(PROD, HOME, vol, index * BLOCK, data(index))
        source = snapshot(ec2, vol)
        copies.append(away.copy_snapshot(SourceRegion=HOME, SourceSnapshotId=source)["SnapshotId"])
    assert content(ebs, copies[1]) == {1: data(1), 2: data(2)}
    assert changed(ebs, *copies) == {2: "2"}


def test_members_of_a_set_are_read_one_by_one(sandbox):
    """AWS, "CreateSnapshots": each snapshot of the set is a snapshot like any other."""
    machine = sandbox.machine(PROD, data=2)
    disks = [m["Ebs"]["VolumeId"] for m in machine["BlockDeviceMappings"]]
    for number, vol in enumerate(disks):
        sandbox.write(PROD, HOME, vol, 0, data(number + 1))
    asked = {"InstanceSpecification": {"InstanceId": machine["InstanceId"]}}
    made = sandbox.client(PROD).create_snapshots(**asked)["Snapshots"]
    ebs = sandbox.client(PROD, service="ebs")
    assert {s["VolumeId"]: content(ebs, s["SnapshotId"]) for s in made} == {
        vol: {0: data(number + 1)} for number, vol in enumerate(disks)
    }


def test_requests_are_throttled_by_account_and_operation(sandbox):
    """AWS, "Amazon EBS endpoints and quotas": requests a second; RequestThrottledException, ACCOUNT_THROTTLED."""
    ebs, other = sandbox.client(PROD, service="ebs"), sandbox.client(VAULT, service="ebs")
    snap, theirs = written(ebs, {}), written(other, {})
    sandbox.configure(metering=True, limits={"ListSnapshotBlocks": [2, 0.001]})
    for _ in range(2):
        ebs.list_snapshot_blocks(SnapshotId=snap)
    reason("RequestThrottledException", "ACCOUNT_THROTTLED", ebs.list_snapshot_blocks, SnapshotId=snap)
    other.list_snapshot_blocks(SnapshotId=theirs)
    patient = sandbox.client(PROD, service="ebs", retries={"mode": "standard", "total_max_attempts": 4})
    sandbox.fault("throttle", operation="StartSnapshot", count=2)
    patient.start_snapshot(VolumeSize=1)
    assert sandbox.count("StartSnapshot", "RequestThrottledException", PROD) == 2


def test_faults_strike_single_blocks(sandbox):
    """AWS, "Error retries": server errors and lost connections are retried; a damaged block shows by its checksum."""
    ebs = sandbox.client(PROD, service="ebs")
    snap = written(ebs, {0: data(1), 1: data(2)})
    blocks = listed(ebs, snap)
    sandbox.fault("internal", operation="GetSnapshotBlock", resource="'BlockIndex': '1'", count=1)
    ebs.get_snapshot_block(SnapshotId=snap, **blocks[0])
    refused("InternalServerException", ebs.get_snapshot_block, SnapshotId=snap, **blocks[1])
    sandbox.fault("corrupt", operation="GetSnapshotBlock", count=1)
    got = ebs.get_snapshot_block(SnapshotId=snap, **blocks[0])
    body = got["BlockData"].read()
    assert (len(body), checksum(body) == got["Checksum"]) == (BLOCK, False)
    assert ebs.get_snapshot_block(SnapshotId=snap, **blocks[0])["BlockData"].read() == data(1)


def test_a_wrong_signature_is_refused(sandbox):
    """AWS, "Signature Version 4": a request signed with another secret is not the account's."""
    forged = sandbox.client_with("AKIASANDBOX0" + PROD, "guessed", None, HOME, "ebs")
    refused("InvalidSignatureException", forged.start_snapshot, VolumeSize=1)


def test_blocks_are_served_fast_over_kept_connections(sandbox):
    """A block repository reads at 150 MiB/s and more: the sandbox needs less than a core for that."""
    ebs = sandbox.client(PROD, service="ebs")
    snap = written(ebs, {i: data(i + 1) for i in range(8)})
    seen: dict[str, Any] = {}
    ebs.meta.events.register("before-send.ebs.GetSnapshotBlock", lambda request, **_: seen.update(request=request))
    ebs.get_snapshot_block(SnapshotId=snap, **listed(ebs, snap)[0])["BlockData"].read()
    request = seen["request"]
    headers = {k: v.decode() if isinstance(v, bytes) else v for k, v in request.headers.items()}
    line = http.client.HTTPConnection(sandbox.url.removeprefix("http://"))
    began = cpu_seconds(sandbox.pid)
    for _ in range(200):
        line.request("GET", request.url.removeprefix(sandbox.url), headers=headers)
        assert len(line.getresponse().read()) == BLOCK
    line.close()
    assert (cpu_seconds(sandbox.pid) - began) * 150 < 100


def cpu_seconds(pid: int) -> float:
    """What a process has used, which a busy host changes less than it changes the time that passes."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
