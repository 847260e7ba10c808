"""What every driver keeps that can tell what is still there: bound by the suites of EC2 and of the other services.

What is gone is told after somebody deleted it; what only lost its tags, or cannot be told, counts as there.
"""

from functools import partial
from typing import Any

from tests.contract.rig import HOME, PROD, TAGS, Rig
from workers.driver import (
    TAG_INSTALLATION,
    TAG_JOB,
    FindsOneByOne,
    FindsTagged,
    Part,
    Point,
    Presence,
    SeesPresent,
    Tagged,
)

# Of another form than anything that a driver of AWS makes.
STRANGE = Part("https://bucket.example/file")


class PresenceContract:
    """feature C11: the compare of catalog and cloud, both ways."""

    def test_what_is_there_is_told_with_its_tags_and_what_somebody_deleted_is_not(self, rig: Any) -> None:
        kept, gone = rig.taken(), rig.taken("job-2")
        rig.driver.delete([gone])
        found = self.asked(rig, kept, gone)
        assert set(found) == {one.external_id for one in (*kept.parts, STRANGE)}
        told = [tags for one, tags in found.items() if tags is not None and one != STRANGE.external_id]
        assert all(tags[TAG_INSTALLATION] == TAGS[TAG_INSTALLATION] and "job-1" in tags[TAG_JOB] for tags in told)
        if isinstance(rig.driver, FindsOneByOne):
            self.asked_one_by_one(rig, kept, found)
        if isinstance(rig.driver, FindsTagged):
            listed = {one.external_id: one for one in self.listed(rig)}
            for part in kept.parts:
                self.tells_of(listed.get(part.external_id), part, found[part.external_id] is None)
            untag(rig, kept)
            assert not {part.external_id for part in kept.parts} & {one.external_id for one in self.listed(rig)}
            bare = self.asked(rig, kept)
            assert set(bare) == set(found)
            assert all(TAG_INSTALLATION not in (bare[part.external_id] or {}) for part in kept.parts)

    def asked_one_by_one(self, rig: Any, kept: Point, found: Presence) -> None:
        """What no list tells the tags of says it when asked, as the rebuilding of a catalog does; what lists tell, and
        what has no tags, is not told of a second time."""
        listed = partial(rig.driver.tagged_one_by_one, rig.production, HOME)
        assert listed("another") == []
        slow = {one.external_id: one for one in listed(TAGS[TAG_INSTALLATION])}
        for part in kept.parts:
            bare = (rig.type, part.attributes.get("way")) == ("dynamodb", "native")
            one = slow.pop(part.external_id, None)
            self.tells_of(one, part, untold=bare or found[part.external_id] is not None)
            if one is not None:
                assert (one.tags[TAG_JOB], one.type) == ("job-1", rig.type)
        assert slow == {}

    def asked(self, rig: Rig, *points: Point) -> Presence:
        assert isinstance(rig.driver, SeesPresent)
        return rig.driver.present(rig.production, HOME, [STRANGE, *(part for one in points for part in one.parts)])

    def listed(self, rig: Any) -> list[Tagged]:
        assert rig.driver.tagged(rig.production, HOME, "another") == []
        found: list[Tagged] = rig.driver.tagged(rig.production, HOME, TAGS[TAG_INSTALLATION])
        return found

    def tells_of(self, one: Tagged | None, part: Part, untold: bool) -> None:
        """What is listed says of a good point's part what the backup recorded; what tells no tags is not listed."""
        assert (one is None) == untold
        if one is not None:
            assert (one.complete, one.source_id, one.size_gib) == (True, part.source_id, part.size_gib)
            assert (one.encrypted, one.kms_key_id) == (part.encrypted, part.kms_key_id)
            attributes = {name: part.attributes[name] for name in one.attributes if name in part.attributes}
            assert one.attributes == attributes


def untag(rig: Rig, point: Point) -> None:
    """Somebody takes our tags off: each service has its own call for that."""
    keys = [TAG_INSTALLATION, TAG_JOB]
    for part in point.parts:
        name, known = part.external_id, part.attributes
        service = {"instance": "ec2", "volume": "ec2", "aurora": "rds"}.get(rig.type, rig.type.split("-")[0])
        client = rig.sandbox.client(PROD, HOME, "redshift-serverless" if known.get("serverless") else service)
        if service == "ec2":
            client.delete_tags(Resources=[name], Tags=[{"Key": key} for key in keys])
        elif service == "rds":
            client.remove_tags_from_resource(ResourceName=known["arn"], TagKeys=keys)
        elif service == "fsx":
            arn = (
                name
                if name.startswith("arn:")
                else client.describe_backups(BackupIds=[name])["Backups"][0]["ResourceARN"]
            )
            client.untag_resource(ResourceARN=arn, TagKeys=keys)
        elif known.get("serverless"):
            client.untag_resource(resourceArn=known["arn"], tagKeys=keys)
        else:
            client.delete_tags(ResourceName=known["arn"], TagKeys=keys)
