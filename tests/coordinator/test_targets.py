"""Which resources a policy means: ids, tags, exclusions, and what it names in vain."""

import pytest

from coordinator.targets import ResourceFact, resolve, scopes_of
from tasks.resources import TYPES

pytestmark = pytest.mark.unit


def instance(number: int, name: str, account: str = "prod", region: str = "us-east-1", **tags: str) -> ResourceFact:
    return ResourceFact(number, account, region, "instance", name, tags=tags)


def volume(number: int, name: str, parent: str = "", **tags: str) -> ResourceFact:
    return ResourceFact(number, "prod", "us-east-1", "volume", name, parent_id=parent, tags=tags)


def by_id(kind: str, name: str, **more: object) -> dict[str, object]:
    return {"type": kind, "id": name, "region": "us-east-1", "account": "prod", **more}


def names(resolved: object) -> list[str]:
    return [item.resource.external_id for item in resolved.targets]  # type: ignore[attr-defined]


def test_a_resource_matched_by_several_targets_is_taken_once() -> None:
    resolved = resolve(
        [by_id("instance", "i-1"), {"tag": {"backup": "gold"}, "types": ["instance"]}],
        [instance(1, "i-1", backup="gold")],
    )
    assert names(resolved) == ["i-1"]


def test_exclusions_of_several_targets_add_up() -> None:
    """feature 13"""
    resolved = resolve(
        [
            by_id("instance", "i-1", volumes={"exclude": ["vol-a"]}),
            by_id("instance", "i-1", volumes={"exclude": ["vol-b"]}),
        ],
        [instance(1, "i-1")],
    )
    assert resolved.targets[0].exclude == ("vol-a", "vol-b")


def test_a_tagged_volume_is_left_to_its_instance_in_the_same_run() -> None:
    found = [instance(1, "i-1", backup="gold"), volume(2, "vol-a", "i-1", backup="gold")]
    resolved = resolve([{"tag": {"backup": "gold"}, "types": ["instance", "volume"]}], found)
    assert names(resolved) == ["i-1"]


def test_a_volume_named_by_id_is_taken_whether_or_not_it_is_attached() -> None:
    """feature 14"""
    found = [instance(1, "i-1", backup="gold"), volume(2, "vol-a", "i-1")]
    resolved = resolve([{"tag": {"backup": "gold"}, "types": ["instance"]}, by_id("volume", "vol-a")], found)
    assert names(resolved) == ["i-1", "vol-a"]
    assert names(resolve([by_id("volume", "vol-a")], [volume(2, "vol-a")])) == ["vol-a"]


def test_a_volume_excluded_from_its_instance_but_tagged_is_taken_on_its_own() -> None:
    found = [instance(1, "i-1"), volume(2, "vol-a", "i-1", backup="gold")]
    targets = [
        by_id("instance", "i-1", volumes={"exclude": ["vol-a"]}),
        {"tag": {"backup": "gold"}, "types": ["volume"]},
    ]
    assert names(resolve(targets, found)) == ["i-1", "vol-a"]


def test_a_tagged_disk_of_azure_is_left_to_its_machine_unless_it_is_excluded_there() -> None:
    """feature 26: all or some disks of a machine, as of an instance."""
    place = ("azure", "westeurope")
    found = [
        ResourceFact(1, *place, "azure-vm", "/vm/a", tags={"backup": "gold"}),
        ResourceFact(2, *place, "azure-disk", "/disk/a-0", parent_id="/vm/a", tags={"backup": "gold"}),
        ResourceFact(3, *place, "azure-disk", "/disk/free", tags={"backup": "gold"}),
        ResourceFact(4, *place, "volume", "vol-a", parent_id="/vm/a", tags={"backup": "gold"}),
    ]
    tagged = {"tag": {"backup": "gold"}}
    assert names(resolve([tagged], found)) == ["/disk/free", "/vm/a", "vol-a"]
    resolved = resolve([{**tagged, "volumes": {"exclude": ["/disk/a-0"]}}], found)
    assert names(resolved) == ["/disk/a-0", "/disk/free", "/vm/a", "vol-a"]
    assert resolved.targets[2].exclude == ("/disk/a-0",)


def test_every_tag_of_a_target_must_match_and_a_star_matches_any_value() -> None:
    found = [instance(1, "i-1", backup="gold", stage="prod"), instance(2, "i-2", backup="gold"), instance(3, "i-3")]
    assert names(resolve([{"tag": {"backup": "gold", "stage": "prod"}}], found)) == ["i-1"]
    assert names(resolve([{"tag": {"backup": "*"}}], found)) == ["i-1", "i-2"]


def test_what_is_gone_is_not_taken_and_an_id_that_is_gone_is_a_problem() -> None:
    gone = ResourceFact(1, "prod", "us-east-1", "instance", "i-1", tags={"backup": "gold"}, gone=True)
    resolved = resolve([by_id("instance", "i-1"), {"tag": {"backup": "gold"}}], [gone])
    assert names(resolved) == []
    assert [(problem.target, problem.code) for problem in resolved.problems] == [("i-1", "gone")]
    assert "not there any more" in resolved.problems[0].text


def test_an_id_never_seen_is_a_problem_that_names_the_place() -> None:
    resolved = resolve([by_id("instance", "i-9")], [])
    assert "was not found in prod/us-east-1" in resolved.problems[0].text


def test_targets_name_the_places_that_must_have_been_looked_at() -> None:
    """feature 8"""
    regions = {"prod": ("us-east-1", "eu-west-1"), "vault": ("eu-central-1",)}
    assert scopes_of([{"tag": {"a": "b"}, "types": ["instance"], "accounts": ["prod"]}], regions) == {
        ("prod", "us-east-1", "ec2"),
        ("prod", "eu-west-1", "ec2"),
    }
    assert scopes_of([by_id("volume", "vol-a")], regions) == {("prod", "us-east-1", "ec2")}
    places = (("prod", "us-east-1"), ("prod", "eu-west-1"), ("vault", "eu-central-1"))
    everywhere = {(*place, kind.service) for place in places for kind in TYPES.values() if kind.name != "s3"}
    assert scopes_of([{"tag": {"a": "b"}}], regions) == everywhere
    assert scopes_of([{**by_id("volume", "vol-a"), "account": "gone"}], regions) == set()


def test_a_tag_alone_means_no_bucket_since_nobody_said_where_it_is_kept() -> None:
    """feature 25: buckets that carry a policy's tag are taken when the target names the other bucket, or the type."""
    bucket = ResourceFact(9, "prod", "us-east-1", "s3", "data", tags={"backup": "gold"})
    plain = {"tag": {"backup": "gold"}}
    for target, taken in ((plain, []), ({**plain, "options": {"bucket": "safe"}}, ["data"])):
        assert [one.resource.external_id for one in resolve([target], [bucket]).targets] == taken
        assert ("prod", "us-east-1", "s3") in scopes_of([target], {"prod": ["us-east-1"]}) or not taken
