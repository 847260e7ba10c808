"""Restore plans: golden plans that a person can review, wrong wishes, and what holds for every plan."""

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from coordinator.restore import (
    HostFacts,
    PartFacts,
    PointFacts,
    RestorePlan,
    RestoreRequest,
    plan_restore,
    render,
    resolve,
)
from coordinator.restore_facts import VOLUME_TYPES, option, part_facts
from coordinator.restore_plan import STEP_KINDS, references
from tasks.errors import Gone, Impossible, Internal, Invalid

pytestmark = pytest.mark.unit

ROOT = PartFacts("snap-root", "vol-root", "/dev/xvda", 8, "gp3", 3000, 125, tags={"Name": "web root"})
DATA = PartFacts("snap-data", "vol-data", "/dev/sdf", 500, "io2", 9000, encrypted=True, delete_on_termination=True)
ATTRIBUTES: dict[str, Any] = {
    "instance_type": "m6i.large",
    "zone": "us-east-1a",
    "subnet_id": "subnet-1",
    "security_group_ids": ["sg-1", "sg-2"],
    "private_ip": "10.0.0.20",
    "key_name": "ops",
    "profile_arn": "arn:aws:iam::111111111111:instance-profile/web",
    "user_data": "c2VjcmV0",
    "platform_details": "Linux/UNIX",
    "architecture": "x86_64",
    "boot_mode": "uefi",
    "ena_support": True,
    "root_device": "/dev/xvda",
    "metadata_options": {"HttpTokens": "required"},
}
POINT = PointFacts(
    id="7",
    type="instance",
    resource_id="i-web",
    account="prod",
    region="us-east-1",
    parts=(ROOT, DATA),
    resource_name="web",
    home_account="prod",
    home_region="us-east-1",
    attributes=ATTRIBUTES,
    tags={"Name": "web", "aws:autoscaling:groupName": "x", "snapfleet:job": "old"},
)
HOST = HostFacts(
    "i-web",
    "us-east-1a",
    "running",
    "/dev/xvda",
    "10.0.0.20",
    {"/dev/xvda": "vol-root", "/dev/sdf": "vol-data", "/dev/sdg": "vol-other"},
)
VOLUME = PointFacts(
    "8", "volume", "vol-data", "prod", "us-east-1", (replace(DATA, device=""),), attributes={"zone": "us-east-1b"}
)
BIG = replace(POINT, parts=(replace(ROOT, size_gib=200),))
COPY = replace(POINT, account="vault", region="eu-central-1")


def plan(point: PointFacts, **wish: Any) -> RestorePlan:
    return plan_restore(point, RestoreRequest.from_json(wish))


def steps(plan_: RestorePlan) -> list[str]:
    return [step.name for step in plan_.steps]


def params(plan_: RestorePlan, name: str) -> Any:
    return next(step.params for step in plan_.steps if step.name == name)


def test_a_whole_instance_is_planned_as_it_was() -> None:
    assert render(plan(POINT, kind="instance")) == [
        "Restore point 7 of instance i-web 'web' to a new instance in prod, us-east-1",
        "  1. register-image   Register a temporary image over the snapshots of the point, to launch from.",
        "       architecture: x86_64",
        "       ena_support: true",
        "       platform_details: Linux/UNIX",
        "       boot_mode: uefi",
        "       root_device: /dev/xvda",
        '       volumes: [{"delete_on_termination": false, "device": "/dev/xvda", "size_gib": 8, "snapshot_id": '
        '"snap-root", "volume_type": "gp3"}, {"delete_on_termination": true, "device": "/dev/sdf", "iops": 9000, '
        '"size_gib": 500, "snapshot_id": "snap-data", "volume_type": "io2"}]',
        "  2. run-instance     Launch a m6i.large with 2 volume(s) from the temporary image.",
        "       image_id: <register-image.image_id>",
        "       instance_type: m6i.large",
        "       subnet_id: subnet-1",
        '       security_group_ids: ["sg-1", "sg-2"]',
        "       private_ip: 10.0.0.20",
        "       key: ops",
        "       profile: arn:aws:iam::111111111111:instance-profile/web",
        "       user_data: captured",
        '       volumes: [{"delete_on_termination": false, "device": "/dev/xvda", "size_gib": 8, "volume_type": '
        '"gp3"}, {"delete_on_termination": true, "device": "/dev/sdf", "iops": 9000, "size_gib": 500, '
        '"volume_type": "io2"}]',
        '       tags: {"Name": "web"}',
        '       metadata_options: {"HttpTokens": "required"}',
        "  3. tag-resources    Tag each new volume as its source was.",
        "       instance_id: <run-instance.instance_id>",
        '       volumes: {"/dev/xvda": {"Name": "web root"}}',
        "  4. deregister-image Remove the temporary image; the snapshots of the point stay.",
        "       image_id: <register-image.image_id>",
        "note: Blocks are fetched from the snapshot at first use: the first reads are slower than usual.",
        "in all: 4 steps, 2 volumes, 508 GiB, interrupts nothing",
    ]


def test_data_and_root_are_swapped_in_one_stop_and_the_old_volumes_are_kept() -> None:
    lines = render(plan(replace(POINT, host=HOST), kind="in-place"))
    assert [line for line in lines if not line.startswith("      ")] == [
        "Restore point 7 of instance i-web 'web' in place on i-web",
        "  1. create-volume    Make a 8 GiB gp3 volume from snap-root, as vol-root was.",
        "  2. create-volume    Make a 500 GiB io2 volume from snap-data, as vol-data was.",
        "  3. check-volumes    Make sure that i-web still has vol-root at /dev/xvda, vol-data at /dev/sdf; if not, it "
        "is left as it is.",
        "  4. stop-instance    Stop i-web, so that nothing writes during the swap.",
        "  5. detach-volume    Detach vol-root from /dev/xvda; it is kept.",
        "  6. attach-volume    Attach the new volume to i-web as /dev/xvda.",
        "  7. detach-volume    Detach vol-data from /dev/sdf; it is kept.",
        "  8. attach-volume    Attach the new volume to i-web as /dev/sdf.",
        "  9. start-instance   Start i-web with the restored volumes.",
        " 10. tag-resources    Let /dev/sdf be deleted with the instance, as before.",
        "note: Root and data volumes are swapped in one stop, so that old and restored data never mix.",
        "note: Kept, detached: vol-root (was /dev/xvda).",
        "note: Kept, detached: vol-data (was /dev/sdf).",
        "note: Left as they are: vol-other.",
        "note: Blocks are fetched from the snapshot at first use: the first reads are slower than usual.",
        "in all: 10 steps, 2 volumes, 508 GiB, interrupts the machine in use",
    ]


def test_a_root_alone_is_replaced_by_a_task_of_the_same_lineage() -> None:
    made = plan(replace(POINT, host=HOST), kind="in-place", volumes=["vol-root"])
    assert steps(made) == ["replace-root", "tag-root"]
    assert params(made, "replace-root") == {"instance_id": "i-web", "snapshot_id": "snap-root"}
    assert "Kept, detached: vol-root (was /dev/xvda)." in made.notes


@pytest.mark.parametrize(
    "host",
    [
        replace(HOST, state="stopped"),
        replace(HOST, volumes={"/dev/xvda": "vol-newer"}),
    ],
)
def test_a_root_is_swapped_when_no_task_can_replace_it(host: HostFacts) -> None:
    made = plan(replace(POINT, host=host), kind="in-place", volumes=["vol-root"])
    assert params(made, "detach-xvda")["volume_id"] == host.volumes["/dev/xvda"]
    assert ("stop" in steps(made), "start" in steps(made)) == (host.state == "running", host.state == "running")
    with pytest.raises(Impossible, match="--root swap"):
        plan(replace(POINT, host=host), kind="in-place", volumes=["vol-root"], root="replace")


def test_a_replaced_root_comes_before_the_swap_so_that_it_never_writes_to_restored_data() -> None:
    made = plan(replace(POINT, host=HOST), kind="in-place", root="replace")
    assert steps(made) == [
        "check-all", "replace-root", "tag-root", "create-sdf", "check", "stop", "detach-sdf", "attach-sdf", "start",
        "settle",
    ]  # fmt: skip
    assert params(made, "check-all")["volumes"] == {"/dev/xvda": "vol-root", "/dev/sdf": "vol-data"}
    assert params(made, "check")["volumes"] == {"/dev/sdf": "vol-data"}


def test_a_place_that_was_seen_empty_is_looked_at_before_a_stopped_machine_is_touched() -> None:
    made = plan(replace(VOLUME, host=replace(HOST, state="stopped")), kind="in-place")
    assert steps(made)[:3] == ["create-snap-data", "check", "detach-snap-data"]
    empty = replace(HOST, volumes={"/dev/xvda": "vol-root"})
    made = plan(replace(POINT, host=empty), kind="in-place", volumes=["/dev/sdf"])
    assert params(made, "check")["volumes"] == {"/dev/sdf": ""}


def test_one_volume_of_a_point_is_made_again_with_its_type_and_speed() -> None:
    made = plan(POINT, kind="volume", volumes=["/dev/sdf"], tags={"for": "audit"})
    assert [(step.kind, step.params, step.creates) for step in made.steps] == [
        (
            "create-volume",
            {
                "snapshot_id": "snap-data",
                "zone": "us-east-1a",
                "size_gib": 500,
                "volume_type": "io2",
                "iops": 9000,
                "tags": {"for": "audit"},
            },
            ("volume",),
        )
    ]


def test_a_volume_is_attached_where_it_was_unless_that_device_is_taken() -> None:
    host = replace(HOST, instance_id="i-other", volumes={"/dev/sda1": "vol-1", "/dev/sdf": "vol-2"})
    made = plan(replace(POINT, host=host), kind="volume", attach_to="i-other")
    assert params(made, "attach-xvda")["device"] == "/dev/xvda"
    assert params(made, "attach-sdf") == {
        "volume_id": {"$ref": "create-sdf.volume_id"},
        "instance_id": "i-other",
        "device": "/dev/sdg",
    }
    assert params(made, "create-sdf")["zone"] == host.zone


def test_a_volume_point_goes_back_in_place() -> None:
    made = plan(replace(VOLUME, host=HOST), kind="in-place")
    assert [step.kind for step in made.steps] == [
        "create-volume", "check-volumes", "stop-instance", "detach-volume", "attach-volume", "start-instance",
        "tag-resources",
    ]  # fmt: skip
    assert made.steps[4].params["device"] == "/dev/sdf"


def test_every_option_overrides_what_was_captured() -> None:
    made = plan(
        POINT, kind="instance", type="t3.nano", subnet="subnet-9", security_groups=["sg-9"], address="10.9.0.4",
        profile="none", key="none", user_data="none", tags={"Name": "drill"}, volume_type="gp2",
        kms_key="alias/mine", start=False,
    )  # fmt: skip
    run = params(made, "run-instance")
    assert {name: run.get(name) for name in ("instance_type", "subnet_id", "security_group_ids", "private_ip")} == {
        "instance_type": "t3.nano", "subnet_id": "subnet-9", "security_group_ids": ["sg-9"], "private_ip": "10.9.0.4",
    }  # fmt: skip
    assert not {"key", "profile", "user_data"} & set(run)
    assert run["tags"] == {"Name": "drill"}
    assert [(v["volume_type"], v.get("iops"), v["kms_key_id"], v["encrypted"]) for v in run["volumes"]] == [
        ("gp2", None, "alias/mine", True)
    ] * 2
    assert made.steps[-1].kind == "stop-instance"


def test_a_copy_needs_its_own_subnet_and_groups_and_goes_without_key_and_profile() -> None:
    with pytest.raises(Invalid, match=r"--subnet and --security-group.*copy in vault, eu-central-1"):
        plan(COPY, kind="instance")
    made = plan(COPY, kind="instance", subnet="subnet-dr", security_groups=["sg-dr"])
    run = params(made, "run-instance")
    assert not {"key", "profile", "private_ip"} & set(run)
    assert [warning.split(":")[0] for warning in made.warnings] == [
        "The address will be a new one, not 10.0.0.20",
        "Without key ops",
        "Without profile arn",
    ]


def test_a_profile_stays_within_its_account_where_only_the_region_is_another() -> None:
    made = plan(replace(POINT, region="eu-west-1"), kind="instance", subnet="subnet-dr", security_groups=["sg-dr"])
    assert params(made, "run-instance")["profile"] == ATTRIBUTES["profile_arn"]
    assert "key" not in params(made, "run-instance")


def test_the_address_is_a_new_one_while_the_old_instance_exists() -> None:
    made = plan(replace(POINT, host=HOST), kind="instance")
    assert "private_ip" not in params(made, "run-instance")
    assert any("10.0.0.20" in warning and "--address" in warning for warning in made.warnings)
    assert params(plan(replace(POINT, host=HOST), kind="instance", address="original"), "run-instance")[
        "private_ip"
    ] == "10.0.0.20"  # fmt: skip


def test_windows_without_an_image_is_refused_with_the_way_out() -> None:
    windows = replace(POINT, attributes={**ATTRIBUTES, "platform_details": "Windows"})
    with pytest.raises(Impossible) as refusal:
        plan(windows, kind="instance")
    assert refusal.value.code == "needs-image"
    assert "mode image" in str(refusal.value)
    made = plan(replace(windows, image_id="ami-1"), kind="instance")
    assert [step.kind for step in made.steps] == ["run-instance", "tag-resources"]
    assert params(made, "run-instance")["image_id"] == "ami-1"
    assert plan(replace(windows, host=HOST), kind="in-place", root="replace").steps


WINDOWS = replace(
    POINT,
    attributes={**ATTRIBUTES, "platform_details": "Windows"},
    base_image_id="ami-old",
    base_image_devices=("/dev/xvda", "/dev/sdf"),
)


def test_windows_is_launched_from_an_older_image_and_gets_the_volumes_of_the_point() -> None:
    """What mode image-once keeps its first image for."""
    made = plan(WINDOWS, kind="instance")
    assert [line for line in render(made) if line[:4].strip().rstrip(".").isdigit()] == [
        "  1. run-instance     Launch a m6i.large from ami-old.",
        "  2. stop-instance    Stop it: a root volume comes off a stopped instance only.",
        "  3. create-volume    Make a 8 GiB gp3 volume from snap-root, as vol-root was.",
        "  4. create-volume    Make a 500 GiB io2 volume from snap-data, as vol-data was.",
        "  5. detach-volume    Detach the image's own root volume.",
        "  6. attach-volume    Attach the new volume to the new instance as /dev/xvda.",
        "  7. attach-volume    Attach the new volume to the new instance as /dev/sdf.",
        "  8. tag-resources    Let /dev/sdf be deleted with the instance, as before.",
        "  9. delete-volume    Delete the image's own root volume.",
        " 10. start-instance   Start it with the restored volumes.",
    ]
    assert params(made, "run-instance")["skip_devices"] == ["/dev/sdf"]
    assert params(made, "create-sdf")["zone"] == {"$ref": "run-instance.zone"}
    assert params(made, "drop-root") == {"volume_id": {"$ref": "run-instance.volumes./dev/xvda"}}
    assert "user_data" not in params(made, "run-instance")
    assert any("user data" in warning for warning in made.warnings)


def test_an_image_that_is_named_is_launched_from_whatever_the_system_is() -> None:
    made = plan(POINT, kind="instance", image="ami-mine", start=False)
    assert params(made, "run-instance")["image_id"] == "ami-mine"
    assert "start" not in steps(made)
    windows = replace(WINDOWS, base_image_id="", base_image_devices=())
    with pytest.raises(Impossible, match="--image"):
        plan(windows, kind="instance")
    assert params(plan(windows, kind="instance", image="ami-stock"), "run-instance")["image_id"] == "ami-stock"


def test_volumes_left_out_of_an_image_are_named_to_the_launch() -> None:
    made = plan(replace(POINT, image_id="ami-1"), kind="instance", volumes=["vol-root"])
    assert params(made, "run-instance")["skip_devices"] == ["/dev/sdf"]


@pytest.mark.parametrize(
    ("point", "wish", "says"),
    [
        (POINT, {"kind": "cluster"}, r"--to does not take 'cluster'; it takes volume, instance, in-place"),
        (POINT, {"kind": "volume", "colour": "red"}, "no option 'colour'"),
        (POINT, {"kind": "volume", "volume_type": "gp9"}, "--volume-type .* gp2, gp3"),
        (POINT, {"kind": "volume", "volumes": "vol-root"}, "--volume .* a list of names"),
        (POINT, {"kind": "volume", "volumes": ["vol-nope"]}, "--volume .* vol-root, vol-data"),
        (POINT, {"kind": "instance", "address": "10.0.0.999"}, "--address .* original, auto or an IPv4 address"),
        (POINT, {"kind": "volume", "address": "auto"}, "--address goes with --to instance only"),
        (POINT, {"kind": "instance", "volumes": ["vol-data"]}, "needs its root volume"),
        (POINT, {"kind": "volume", "region": "eu-west-1"}, "--region us-east-1"),
        (POINT, {"kind": "volume", "account": "vault"}, "--account prod"),
        (POINT, {"kind": "volume", "zone": "eu-west-1a"}, "--zone .* a zone of us-east-1"),
        (POINT, {"kind": "volume", "zone": "us-east-1a; rm"}, "--zone .* a zone of us-east-1"),
        (COPY, {"kind": "volume"}, "--zone is needed"),
        (COPY, {"kind": "in-place"}, "--to volume or --to instance"),
        (POINT, {"kind": "volume", "tags": {"aws:x": "y"}}, "--tag"),
        (POINT, {"kind": "volume", "iops": 100, "volume_type": "gp2"}, "--iops goes with"),
        (POINT, {"kind": "volume", "throughput": 200}, "--throughput goes with gp3"),
        (POINT, {"kind": "volume", "volumes": ["vol-root"], "volume_type": "io1"}, "--iops is needed"),
        (POINT, {"kind": "volume", "volumes": ["vol-root"], "volume_type": "st1"}, "starts at 125 GiB"),
        (BIG, {"kind": "volume", "volumes": ["vol-root"], "volume_type": "st1"}, "cannot be of it"),
        (POINT, {"kind": "volume", "device": "/dev/sdh"}, "--attach-to is needed"),
        (POINT, {"kind": "volume", "start": "no"}, "--no-start .* true or false"),
        (POINT, {"kind": "instance", "zone": "us-east-1c"}, "--subnet is needed"),
        (VOLUME, {"kind": "instance"}, "--to volume"),
        (replace(POINT, parts=()), {"kind": "volume"}, "holds no snapshot"),
        (replace(POINT, host=replace(HOST, state="stopping")), {"kind": "in-place"}, "running or stopped"),
    ],
)
def test_a_wrong_wish_is_refused_with_the_option_and_what_it_takes(
    point: PointFacts, wish: dict[str, Any], says: str
) -> None:
    with pytest.raises(Invalid, match=says):
        plan(point, **wish)


def test_an_instance_that_is_gone_cannot_be_restored_in_place() -> None:
    for wish in ({"kind": "in-place"}, {"kind": "volume", "attach_to": "i-web"}):
        with pytest.raises(Gone, match="--to instance"):
            plan(POINT, **wish)


def test_a_hostile_name_cannot_forge_a_line_of_the_plan() -> None:
    hostile = replace(POINT, resource_name="x\n  9. run-instance", tags={"a\x1b[2J": "b\r\nnote: all well"})
    for line in render(plan(hostile, kind="instance")):
        assert line.isprintable()


def test_what_a_launch_cannot_make_as_it_was_is_said() -> None:
    odd = {
        **ATTRIBUTES,
        "interfaces": [{"public_ip": "3.3.3.3", "elastic": True}, {"public_ip": ""}],
        "source_dest_check": False,
        "lifecycle": "spot",
        "placement": {"Tenancy": "dedicated", "GroupName": "rack"},
    }
    made = plan(replace(POINT, attributes=odd), kind="instance")
    assert [warning.split(":")[0] for warning in made.warnings] == [
        "The instance had several network interfaces",
        "Elastic addresses stay where they are",
        "The source/destination check was off",
        "The instance was spot",
    ]
    assert params(made, "run-instance")["tenancy"] == "dedicated"
    assert params(made, "run-instance")["placement_group"] == "rack"


def test_a_part_that_knows_little_is_completed_from_the_volume_it_was_taken_of() -> None:
    """The snapshots of an image carry no tags and no device of their own."""
    captured = {"volumes": [{"id": "vol-1", "device": "/dev/sdf", "type": "io2", "iops": 7000, "tags": {"a": "b"}}]}
    part = part_facts(
        snapshot_id="snap-1", source_id="vol-1", device="", size_gib=4, found={"type": ""}, captured=captured
    )
    assert (part.device, part.type, part.iops, part.tags) == ("/dev/sdf", "io2", 7000, {"a": "b"})
    alone = part_facts(
        snapshot_id="snap-2",
        source_id="vol-2",
        device="",
        size_gib=4,
        found={"type": "gp3"},
        captured={"type": "gp2", "tags": {"c": "d"}},
    )
    assert (alone.type, alone.tags) == ("gp3", {"c": "d"})


def test_user_data_is_taken_over_without_standing_in_the_plan() -> None:
    assert "c2VjcmV0" not in json.dumps(plan(POINT, kind="instance").to_json())


def test_a_reference_to_nothing_is_our_own_defect() -> None:
    assert resolve({"a": [{"$ref": "x.id"}]}, {"x": {"id": 5}}) == {"a": [5]}
    with pytest.raises(Internal, match="'x'"):
        resolve({"$ref": "x.id"}, {})


PARTS = st.builds(
    PartFacts,
    snapshot_id=st.from_regex(r"snap-[0-9a-f]{6}", fullmatch=True),
    source_id=st.sampled_from(["vol-root", "vol-data", "vol-third"]),
    device=st.sampled_from(["/dev/xvda", "/dev/sdf", "/dev/sdg"]),
    size_gib=st.integers(1, 1000),
    type=st.sampled_from(["gp3", "gp3", "gp2", "io1", "st1", ""]),
    iops=st.integers(0, 20000),
    tags=st.dictionaries(st.text(max_size=9), st.text(max_size=9), max_size=60),
)
POINTS = st.builds(
    replace,
    st.just(POINT),
    parts=st.lists(PARTS, min_size=1, max_size=3, unique_by=(lambda p: p.device, lambda p: p.source_id)).map(tuple),
    image_id=st.sampled_from(["", "ami-1"]),
    base_image_id=st.sampled_from(["", "ami-2"]),
    attributes=st.sampled_from([ATTRIBUTES, {**ATTRIBUTES, "platform_details": "Windows"}]),
    region=st.sampled_from(["us-east-1", "us-east-1", "eu-west-1"]),
    host=st.sampled_from([None, HOST, replace(HOST, state="stopped")]),
)
DISKS = {
    "volume_type": st.sampled_from(["gp3", "gp2", "io2"]),
    "iops": st.integers(1, 9000),
    "kms_key": st.just("alias/k"),
}
WISHES = st.one_of(
    st.fixed_dictionaries(
        {"kind": st.just("volume"), "zone": st.just("us-east-1a")}, optional={**DISKS, "attach_to": st.just("i-web")}
    ),
    st.fixed_dictionaries(
        {"kind": st.just("instance")},
        optional={**DISKS, "subnet": st.just("subnet-2"), "security_groups": st.just(["sg-3"]), "start": st.booleans()},
    ),
    st.fixed_dictionaries(
        {"kind": st.just("in-place")},
        optional={**DISKS, "root": st.sampled_from(["auto", "replace", "swap"]), "start": st.booleans()},
    ),
)
OUTPUTS = {
    "create-volume": {"volume_id"},
    "register-image": {"image_id"},
    "run-instance": {"instance_id", "zone", "volumes"},
    "replace-root": {"task_id"},
}
UNDONE = {"volume", "image", "instance", "attachment", "detachment", "stop"}
MUST_UNDO = {
    "create-volume": "volume",
    "register-image": "image",
    "run-instance": "instance",
    "attach-volume": "attachment",
}


@pytest.mark.long
@settings(deadline=None, max_examples=300)
@given(point=POINTS, wish=WISHES)
def test_every_plan_refers_backwards_only_and_can_be_undone(point: PointFacts, wish: dict[str, Any]) -> None:
    try:
        made = plan(point, **wish)
    except (Invalid, Gone, Impossible):
        event("refused")
        return
    event(f"planned: {made.kind}")
    known: dict[str, dict[str, Any]] = {}
    for step in made.steps:
        assert step.kind in STEP_KINDS
        assert step.name not in known
        for name, output in references(step.params):
            assert output.partition(".")[0] in known[name]
        resolved = resolve(step.params, known)
        assert not list(references(resolved))
        assert set(step.creates) <= UNDONE
        assert step.kind not in MUST_UNDO or MUST_UNDO[step.kind] in step.creates
        if step.kind == "create-volume":
            assert step.params["volume_type"] in VOLUME_TYPES
        assert len(step.params.get("tags", {})) <= 44
        known[step.name] = {name: f"{step.name}-{name}" for name in OUTPUTS.get(step.kind, set()) - {"volumes"}}
        if "volumes" in OUTPUTS.get(step.kind, set()):
            known[step.name]["volumes"] = {"/dev/xvda": "vol-of-the-image"}
    assert made.steps
    assert RestorePlan.from_json(json.loads(json.dumps(made.to_json()))).to_json() == made.to_json()
    assert all(line.isprintable() for line in render(made))


def test_a_request_survives_json_and_every_field_has_a_word_on_the_command_line() -> None:
    request = RestoreRequest.from_json({"kind": "volume", "volumes": ["/dev/sdf"], "tags": {"a": "b"}, "start": False})
    assert RestoreRequest.from_json(json.loads(json.dumps(request.to_json()))) == request
    words = [option(name) for name in RestoreRequest.__dataclass_fields__]
    assert len(set(words)) == len(words)
