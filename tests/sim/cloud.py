"""The cloud's port: EC2's rules in memory, late to show what it has made, and not always truthful.

A creating call is sent and takes effect later than it was sent, also when its sender has died or given up by then.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from tasks import errors
from tasks.states import OperationState
from tests.fakes.cloud import Call, FakeCloud, Thing
from tests.fakes.driver import FakeDriver
from tests.sim.world import World
from workers import driver
from workers.aws.ec2_lookup import one_of_several

# How long a creating call may take before its sender gives up, and how much later than that it may still take effect:
# within the pause that the drivers make before they create again (workers.aws.errors.GUARD).
PATIENCE, LATEST = 35.0, 60.0
GUARD = timedelta(seconds=90)
LAG = 30.0  # how late a look may show what was made; with LATEST within the least that a lease has left at a call
GRACE = 180.0  # how long the drivers take an absence for such a delay (workers.pace.Pace.grace)


class SimCloud(FakeCloud):
    """FakeCloud in dictionaries; tells `on_remove` of what is about to vanish."""

    def __init__(self, world: World) -> None:
        self.things: dict[str, Thing] = {}
        self.settings: dict[str, int] = {}
        self.made: list[Thing] = []
        self._world, self._last = world, 0
        self.on_remove: Callable[[Thing], None] = lambda _: None

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Nobody comes between in one moment, and what is refused is refused before it changes anything."""
        yield

    def new_id(self, prefix: str) -> str:
        self._last += 1
        return f"{prefix}-{self._last:04x}"

    def put(self, thing: Thing) -> Thing:
        if thing.key and thing.id not in self.things:
            thing.doc["made_at"] = self._world.now
            thing.doc["ready_at"] = self._world.now + self._world.dice.uniform(5, 120)
            late = self._world.chance(self._world.weather.lag)
            thing.doc["seen_at"] = self._world.now + (self._world.dice.uniform(1, LAG) if late else 0)
            self.made.append(thing)
        self.things[thing.id] = thing
        return thing

    def get(self, thing_id: str) -> Thing | None:
        return self.things.get(thing_id)

    def remove(self, thing_id: str) -> None:
        thing = self.things.get(thing_id)
        if thing is not None:
            self.on_remove(thing)
            del self.things[thing_id]

    def of_kind(self, kind: str) -> list[Thing]:
        return [one for one in self.things.values() if one.kind == kind]

    def snapshots_of(self, volume: str) -> list[Thing]:
        return [one for one in self.of_kind("snapshot") if one.doc["source"] == volume]

    def with_key(self, key: str) -> list[Thing]:
        return [one for one in self.things.values() if one.key == key or one.key.startswith(f"{key}/")]

    def take_fault(self, method: str) -> str:
        return ""

    def set(self, name: str, value: int) -> None:
        self.settings[name] = value

    def setting(self, name: str, default: int) -> int:
        return self.settings.get(name, default)

    def log(self, method: str, account: str, region: str, subject: str) -> None:
        if method.startswith("create:"):
            self._world.tell("cloud", f"{method} {subject}")

    def calls(self, method: str = "") -> list[Call]:
        return []

    def visible(self, thing: Thing) -> bool:
        """Whether a look shows it by now."""
        return float(thing.doc.get("seen_at", 0.0)) <= self._world.now


@dataclass
class _Answer:
    """What a call that was sent will have led to."""

    value: Any = None
    error: Exception | None = None
    there: bool = False


class SimDriver(FakeDriver):
    """FakeDriver over a network: a call takes time, and nobody holds a connection to the catalog meanwhile."""

    def __init__(self, cloud: SimCloud, world: World) -> None:
        super().__init__(cloud)
        self._sim, self._world = cloud, world

    # --- the network ---

    def _begin(self, method: str) -> None:
        world = self._world
        if world.depth():
            world.defects.append(f"a session of the catalog was open during {method}")
        world.calls[method] += 1
        if world.chance(world.weather.throttle):
            raise errors.Throttled("Request limit exceeded.")
        if world.chance(world.weather.lost_request):
            raise errors.Transient("The connection was refused.")

    @contextmanager
    def _call(self, method: str, account: str, region: str, subject: str = "") -> Iterator[str]:
        """A call that may be repeated: the look-ups, deletions, and what has a token of its own."""
        world = self._world
        world.step(method)
        self._begin(method)
        world.sleep(world.dice.uniform(0.01, 0.4))
        yield ""
        world.sleep(world.dice.uniform(0.01, 0.4))
        if world.chance(world.weather.lost_answer):
            raise errors.Transient("The answer was lost.", code="unknown-effect")

    def _send(self, method: str, subject: str, effect: Callable[[str], Any]) -> Any:
        """A creating call without a token: sent once. Its effect comes when it comes."""
        world, answer = self._world, _Answer()
        self._begin(method)
        fate = "error-state" if world.chance(world.weather.error_state) else ""
        late = world.chance(world.weather.late)
        sender = world.current.process.name if world.current else ""
        world.tell(sender, f"sends {method} {subject}{', which comes late' if late else ''} {fate}".rstrip())
        out = world.dice.uniform(PATIENCE, LATEST) if late else world.dice.uniform(0.01, 3.0)

        def arrive() -> None:
            try:
                answer.value = effect(fate)
            except errors.SnapfleetError as error:
                answer.error = error
            answer.there = True

        world.at(world.now + out, arrive)
        if late or world.chance(world.weather.lost_answer):
            world.sleep(PATIENCE)
            raise errors.Transient("The answer was lost.", code="unknown-effect", wait=GUARD)
        world.sleep(out + world.dice.uniform(0.01, 3.0))
        if answer.error is not None:
            raise answer.error
        return answer.value

    def _look(self, account: driver.Account, region: str, key: str) -> list[Thing]:
        with self._call("find", account.name, region, key):
            return [one for one in self._sim.with_key(key) if self._sim.visible(one)]

    def find(self, account: driver.Account, region: str, key: str) -> list[driver.Found]:
        return [driver.Found(one.kind, one.id, self._state(one)) for one in self._look(account, region, key)]

    # --- backup and copy ---

    def start_backup(self, resource: driver.Resource, request: driver.BackupRequest) -> driver.Started:
        """Look first unless fresh, ask whether to go on, create once."""
        account, region = resource.account, resource.region
        now = self.cloud.get(resource.external_id)
        if now is None:
            raise errors.Gone(f"{resource.external_id} does not exist.")
        volumes = [now] if now.kind == "volume" else self._volumes_of(now.id)
        made = [] if request.fresh else self._one_set(self._look(account, region, request.key))
        adopted = bool(made)
        if not made:
            self._world.step("proceed")
            request.proceed()  # from here to the call nothing stops a process but its death
            made = self._send("start_backup", request.key, lambda fate: self._set(volumes, request, fate))
        captured = dict(self._resource(now, account).attributes)
        return self._started(account, region, made, captured, adopted)

    def _set(self, volumes: list[Thing], request: driver.BackupRequest, fate: str) -> list[Thing]:
        """All of the set or none: a quota is met before anything is made."""
        bad = self._world.dice.randrange(len(volumes))
        made = [self._snapshot(one, request, fate if n == bad else "") for n, one in enumerate(volumes)]
        for one in made:
            one.doc["seen_at"], one.doc["set"] = made[0].doc["seen_at"], made[0].id
        return made

    def _one_set(self, found: list[Thing]) -> list[Thing]:
        """Of several sets (a create that was repeated after all) the one the driver would choose: a living, old one."""
        first = min(found, key=lambda one: (one.doc.get("fate") == "error", one.doc["made_at"]), default=None)
        return [] if first is None else [one for one in found if one.doc["set"] == first.doc["set"]]

    def start_copy(
        self, point: driver.Point, destination: driver.Destination, request: driver.CopyRequest
    ) -> driver.Started:
        """All is looked for before anything is begun, as the drivers do: a look that is refused between two creating
        calls would bring the next attempt before the first of them is to be seen."""
        made, begun = [], list[Thing]()
        place = destination.account.name, destination.region
        keys = {f"{request.key}/{part.external_id}": part for part in point.parts}
        looked = (
            {} if request.fresh else {key: self._look(destination.account, destination.region, key) for key in keys}
        )
        for key, part in keys.items():
            found = looked.get(key)
            if not found:
                self._world.step("proceed")
                request.proceed()
                with one_of_several(begun, GUARD):
                    found = [self._send("start_copy", key, self._copying(part, place, key, request))]
                begun += found
            made.append(min(found, key=lambda one: (one.doc.get("fate") == "error", one.doc["made_at"])))
        adopted = not begun
        return self._started(destination.account, destination.region, made, {"copy": True}, adopted)

    def _copying(
        self, part: driver.Part, place: tuple[str, str], key: str, request: driver.CopyRequest
    ) -> Callable[[str], Thing]:
        return lambda fate: self._copy(part, place, key, request, fate)

    # --- following ---

    def _state(self, thing: Thing) -> OperationState:
        if float(thing.doc.get("ready_at", 0.0)) > self._world.now:
            return OperationState.RUNNING
        return OperationState.FAILED if thing.doc.get("fate") == "error" else OperationState.DONE

    def _progress(self, operation: driver.Operation) -> driver.Progress:
        """What is not to be seen yet is taken for young, as the drivers do within their grace."""
        thing = self.cloud.get(operation.external_id)
        if thing is not None and not self._sim.visible(thing):
            return driver.Progress(operation.external_id, OperationState.RUNNING)
        return replace(super()._progress(operation), ask_again=timedelta(seconds=30))
