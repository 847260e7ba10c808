"""FakeDriver: a driver over FakeCloud with EC2's rules, for tests of everything that stands above the drivers.

Workers take it through the setting `drivers`: SNAPFLEET_DRIVERS=tests.fakes.driver:build_drivers, with the cloud's
file in SNAPFLEET_FAKE_CLOUD. Faults (FakeCloud.fault): throttle, denied, credentials, gone, lost-request (nothing was
done), lost-response (done, and the answer lost), error-state (the first object made will fail), slow (half a second),
two-hops (a copy wants them), bug (an exception that is not of the family).
"""

import json
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from tasks import errors
from tasks.states import OperationState
from tests.fakes.cloud import FakeCloud, Thing
from workers import driver

# EBS quotas page: five pending snapshots of one gp3 volume; 20 copies at once to one destination region.
PENDING_A_VOLUME, COPIES_A_REGION = 5, 20
_ERRORS: Mapping[str, Callable[[], Exception]] = {
    "throttle": lambda: errors.Throttled("Request limit exceeded."),
    "denied": lambda: errors.Denied("You are not authorized to perform this operation."),
    "credentials": lambda: errors.CredentialsRefused("The role cannot be assumed."),
    "gone": lambda: errors.Gone("It does not exist."),
    "lost-request": lambda: errors.Transient("The connection was refused."),
    "two-hops": lambda: errors.Impossible("It takes two hops.", code="two-hops"),
    "bug": lambda: ValueError("arn:aws:iam::123456789012:role/with-a-name-that-must-not-show"),
}


def build_drivers(*_: object) -> dict[str, driver.Driver]:
    """What the setting `drivers` names: one driver for both types, over the file in SNAPFLEET_FAKE_CLOUD."""
    fake = FakeDriver(FakeCloud(os.environ["SNAPFLEET_FAKE_CLOUD"]))
    return {"instance": fake, "volume": fake}


class FakeDriver:
    """Implements workers.driver.Driver."""

    types: tuple[str, ...] = ("instance", "volume")

    def __init__(self, cloud: FakeCloud) -> None:
        self.cloud = cloud

    @contextmanager
    def _call(self, method: str, account: str, region: str, subject: str = "") -> Iterator[str]:
        """One call: logged when it arrives, its effects one transaction, its answer perhaps lost."""
        self.cloud.before_call(method)
        fault = self.cloud.take_fault(method)
        self.cloud.log(method, account, region, subject)
        if fault == "slow":
            threading.Event().wait(0.5)
        if fault in _ERRORS:
            raise _ERRORS[fault]()
        with self.cloud.transaction():
            yield fault
        if fault == "lost-response":
            raise errors.Transient("The answer was lost.", code="unknown-effect")

    # --- looking ---

    def check(self, account: driver.Account, region: str) -> list[driver.Check]:
        with self._call("check", account.name, region):
            return [driver.Check("contact", "ok", "account 123456789012"), driver.Check("ec2:CreateSnapshots", "ok")]

    def discover(self, scope: driver.Scope, page: str | None) -> driver.ResourcePage:
        with self._call("discover", scope.account.name, scope.region, page or ""):
            start, size = int(page or 0), self.cloud.setting("page", 100)
            everything = [
                self._resource(thing, scope.account)
                for kind in scope.types
                for thing in self.cloud.of_kind(kind)
                if (thing.account, thing.region) == (scope.account.name, scope.region) and not thing.key
            ]
            end = start + size
            return driver.ResourcePage(tuple(everything[start:end]), str(end) if end < len(everything) else None)

    def _resource(self, thing: Thing, account: driver.Account) -> driver.Resource:
        attributes = dict(thing.doc)
        if thing.kind == "instance":
            attributes["volumes"] = [{"id": one.id, **one.doc} for one in self._volumes_of(thing.id)]
        return driver.Resource(
            thing.kind, thing.id, account, thing.region, thing.doc["name"], thing.doc["tags"], attributes
        )

    def _volumes_of(self, instance_id: str) -> list[Thing]:
        return [one for one in self.cloud.of_kind("volume") if one.doc["instance"] == instance_id]

    def find(self, account: driver.Account, region: str, key: str) -> list[driver.Found]:
        with self._call("find", account.name, region, key):
            found = self.cloud.with_key(key)
        return [driver.Found(one.kind, one.id, self._state(one)) for one in found]

    # --- backup and copy ---

    def start_backup(self, resource: driver.Resource, request: driver.BackupRequest) -> driver.Started:
        place = resource.account.name, resource.region
        with self._call("start_backup", *place, resource.external_id) as fault:
            now = self.cloud.get(resource.external_id)
            if now is None:
                raise errors.Gone(f"{resource.external_id} does not exist.")
            all_volumes = [now] if now.kind == "volume" else self._volumes_of(now.id)
            volumes = [one for one in all_volumes if one.id not in request.exclude]
            if not volumes:
                raise errors.Invalid("Every volume is excluded.", code="nothing-left")
            made = self.cloud.with_key(request.key)
            adopted = bool(made)
            if not made:
                request.proceed()
                made = [
                    self._snapshot(one, request, fault if number == 0 else "") for number, one in enumerate(volumes)
                ]
                if request.mode == "image":
                    made.append(self._image(place, request.key, [one.id for one in made]))
            captured = dict(self._resource(now, resource.account).attributes)
        return self._started(resource.account, resource.region, made, captured, adopted)

    def _snapshot(self, volume: Thing, request: driver.BackupRequest, fault: str) -> Thing:
        pending = [one for one in self.cloud.snapshots_of(volume.id) if self._state(one) is OperationState.RUNNING]
        if len(pending) >= PENDING_A_VOLUME:
            raise errors.QuotaReached("ConcurrentSnapshotLimitExceeded: five snapshots of this volume are pending.")
        doc = {
            "source": volume.id,
            "device": volume.doc["device"],
            "size_gib": volume.doc["size_gib"],
            "encrypted": volume.doc["encrypted"],
            "default_key": volume.doc.get("default_key", False),
            "tags": dict(request.tags),
        }
        return self._make("snapshot", (volume.account, volume.region), request.key, doc, fault)

    def _image(self, place: tuple[str, str], key: str, snapshots: list[str]) -> Thing:
        return self._make("image", place, key, {"snapshots": snapshots, "tags": {driver.TAG_INSTALLATION: "it"}})

    def _make(
        self, kind: str, place: tuple[str, str], key: str, doc: dict[str, Any], fault: str = "", prefix: str = ""
    ) -> Thing:
        fate = "error" if fault == "error-state" else "done"
        names = {"snapshot": "snap", "image": "ami", "volume": "vol", "instance": "i"}
        thing_id = self.cloud.new_id(prefix or names[kind])
        self.cloud.log(f"create:{kind}", *place, thing_id)
        return self.cloud.put(Thing(thing_id, kind, *place, key, {**doc, "fate": fate, "asked": 0}))

    def _started(
        self, account: driver.Account, region: str, made: list[Thing], captured: dict[str, Any], adopted: bool
    ) -> driver.Started:
        image = next((one.id for one in made if one.kind == "image"), "")
        snapshots = [one for one in made if one.kind == "snapshot"]
        begun = [one for one in made if one.kind == "image"] if image else snapshots
        kind = "copy" if captured.get("copy") else "snapshot"
        return driver.Started(
            operations=tuple(driver.Operation("image" if image else kind, one.id, account, region) for one in begun),
            parts=() if image else tuple(self._part(one) for one in snapshots),
            image_id=image,
            captured={} if captured.get("copy") else captured,
            adopted=adopted,
        )

    def _part(self, snapshot: Thing) -> driver.Part:
        doc = snapshot.doc
        attributes = {"default_key": True} if doc.get("default_key") else {}
        return driver.Part(
            snapshot.id, doc["source"], doc["device"], doc["size_gib"], doc["encrypted"], attributes=attributes
        )

    def plan_copy_problem(self, point: driver.Point, destination: driver.Destination) -> str:
        """A snapshot under the default aws/ebs key cannot be shared (EBS user guide, Share a snapshot)."""
        shared = point.account.name != destination.account.name
        if shared and any(part.attributes.get("default_key") for part in point.parts):
            return "A snapshot under the default key cannot be shared."
        return ""

    def start_copy(
        self, point: driver.Point, destination: driver.Destination, request: driver.CopyRequest
    ) -> driver.Started:
        """Part by part, as CopySnapshot is: what is under way when the quota is met stays under way."""
        made, adopted = [], True
        place = destination.account.name, destination.region
        for part in point.parts:
            with self._call("start_copy", *place, part.external_id) as fault:
                key = f"{request.key}/{part.external_id}"
                found = next(iter(self.cloud.with_key(key)), None)
                if found is None:
                    request.proceed()
                    found, adopted = self._copy(part, place, key, request, fault), False
                made.append(found)
        return self._started(destination.account, destination.region, made, {"copy": True}, adopted)

    def _copy(
        self, part: driver.Part, place: tuple[str, str], key: str, request: driver.CopyRequest, fault: str
    ) -> Thing:
        source = self.cloud.get(part.external_id)
        if source is None:
            raise errors.Gone(f"InvalidSnapshot.NotFound: {part.external_id}")
        if self._state(source) is not OperationState.DONE:
            raise errors.NotReady(f"IncorrectState: {part.external_id} is not completed.")
        running = [
            one
            for one in self.cloud.of_kind("snapshot")
            if one.doc.get("copy") and one.region == place[1] and self._state(one) is OperationState.RUNNING
        ]
        if len(running) >= COPIES_A_REGION:
            raise errors.QuotaReached("ResourceLimitExceeded: 20 copies are in progress.")
        doc = {**source.doc, "copy": source.id, "tags": dict(request.tags), "default_key": False}
        return self._make("snapshot", place, key, doc, fault)

    # --- following ---

    def _state(self, thing: Thing) -> OperationState:
        if thing.doc.get("asked", 1) < self.cloud.setting("answers", 0):
            return OperationState.RUNNING
        return OperationState.FAILED if thing.doc.get("fate") == "error" else OperationState.DONE

    def progress(self, operations: Sequence[driver.Operation]) -> list[driver.Progress]:
        first = operations[0]
        with self._call("progress", first.account.name, first.region, str(len(operations))):
            return [self._progress(one) for one in operations]

    def _progress(self, operation: driver.Operation) -> driver.Progress:
        thing = self.cloud.get(operation.external_id)
        if thing is None:
            gone = errors.Gone(f"{operation.external_id} does not exist any more.")
            return driver.Progress(operation.external_id, OperationState.GONE, error=gone)
        state = self._state(thing)
        self.cloud.put(Thing(**{**thing.__dict__, "doc": {**thing.doc, "asked": thing.doc.get("asked", 0) + 1}}))
        if state is OperationState.RUNNING:
            return driver.Progress(thing.id, state, percent=50)
        if state is OperationState.FAILED:
            return driver.Progress(thing.id, state, error=errors.CloudFailed(f"{thing.id} is in state error."))
        detail: dict[str, Any] = {f"{thing.kind}_id": thing.id}
        if thing.kind == "image":
            snapshots = [self.cloud.get(one) for one in thing.doc["snapshots"]]
            detail = {"parts": [dict(self._part(one).__dict__) for one in snapshots if one is not None]}
        return driver.Progress(thing.id, state, percent=100, detail=detail)

    # --- restore ---

    def start_restore(
        self, point: driver.Point, step: driver.RestoreStep, key: str, tags: Mapping[str, str]
    ) -> driver.StepStarted:
        place = point.account.name, point.region
        kinds = {"create-volume": "volume", "register-image": "image", "run-instance": "instance"}
        with self._call("start_restore", *place, step.kind) as fault:
            kind = kinds.get(step.kind)
            if step.kind in ("delete-volume", "deregister-image"):
                gone = str(step.params.get("volume_id") or step.params.get("image_id"))
                self.cloud.remove(gone)
                return driver.StepStarted(removed=(gone,))
            if kind is None:
                return driver.StepStarted(outputs={"done": step.kind})
            snapshot = step.params.get("snapshot_id")
            if snapshot is not None and self.cloud.get(snapshot) is None:
                raise errors.Gone(f"InvalidSnapshot.NotFound: {snapshot}")
            token = f"{key}/{step.kind}/{json.dumps(dict(step.params), sort_keys=True)}"
            made = next((one for one in self.cloud.of_kind(kind) if one.key == token), None)
            if made is None:
                doc = {"tags": dict(tags), "name": "", "instance": "", "device": "", "snapshots": [], "size_gib": 8}
                made = self._make(kind, place, token, {**doc, "params": dict(step.params)}, fault)
        operation = driver.Operation(kind, made.id, point.account, point.region)
        return driver.StepStarted((operation,), (driver.Created(kind, made.id),), {f"{kind}_id": made.id})

    def undo_restore(
        self, account: driver.Account, region: str, created: Sequence[driver.Created]
    ) -> list[driver.Deleted]:
        answers = []
        for one in reversed(created):
            with self._call("undo_restore", account.name, region, one.external_id):
                known = self.cloud.get(one.external_id)
                tag = known.doc["tags"].get(driver.TAG_JOB, "") if known else ""
                if known and one.keys and not any(tag.startswith(f"{key}-") for key in one.keys):
                    refused = errors.Refused("Not of this restore.", code="not-ours")
                    answers.append(driver.Deleted(one.external_id, "kept", refused))
                    continue
                self.cloud.remove(one.external_id)
            answers.append(driver.Deleted(one.external_id, "deleted" if known else "already-gone"))
        return answers

    # --- deletion ---

    def delete(self, points: Sequence[driver.Point]) -> list[driver.Deleted]:
        """Images before their snapshots: DeleteSnapshot refuses the snapshot of a registered AMI (EC2 reference)."""
        wanted = [(point, one) for point in points if (one := point.image_id)]
        wanted += [(point, part.external_id) for point in points for part in point.parts]
        return [self._delete_one(point, external_id) for point, external_id in wanted]

    def _delete_one(self, point: driver.Point, external_id: str) -> driver.Deleted:
        with self._call("delete", point.account.name, point.region, external_id):
            thing = self.cloud.get(external_id)
            if thing is None:
                return driver.Deleted(external_id, "already-gone")
            if not thing.doc["tags"].get(driver.TAG_INSTALLATION):
                return driver.Deleted(external_id, "kept", errors.Refused("Not ours.", code="not-ours"))
            if not point.account.may_delete:
                thing.doc["tags"][driver.TAG_OUTDATED] = "true"
                self.cloud.put(thing)
                return driver.Deleted(external_id, "kept", errors.Refused("Tagged.", code="outdated"))
            if any(external_id in image.doc["snapshots"] for image in self.cloud.of_kind("image")):
                return driver.Deleted(external_id, "kept", errors.InUse("InvalidSnapshot.InUse: an image uses it."))
            self.cloud.remove(external_id)
            return driver.Deleted(external_id, "deleted")
