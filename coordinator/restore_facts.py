"""What a restore is planned from: the facts about a recovery point, and what the operator asked for. Pure.

The captured attributes keep the names that the drivers' discovery writes: `zone`, `instance_type`, `subnet_id`,
`security_group_ids`, `private_ip`, `key_name`, `profile_arn`, `user_data`, `platform_details`, `root_device` and
`volumes` for an instance; `zone` and `attachments` for a volume; `name` and `tags` for both.
"""

import ipaddress
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from tasks.errors import Invalid
from tasks.resources import TABLE

EC2_KINDS = ("volume", "instance", "in-place")
FILE = "file"  # what any archive can become, whatever it is of
KINDS = (*dict.fromkeys(word for kind in TABLE.values() for word in kind.restores), FILE)
VOLUME_TYPES = ("gp2", "gp3", "io1", "io2", "st1", "sc1", "standard")
ROOT_WAYS = ("auto", "replace", "swap")
USER_DATA = ("original", "none")
NONE = "none"  # leaves a captured value out
ORIGINAL = "original"
AUTO = "auto"
# EC2 allows 50 tags on a resource (EC2 user guide, tag restrictions); five of them and the job's own are ours.
USER_TAGS = 44


@dataclass(frozen=True)
class PartFacts:
    """One snapshot of a point. `iops` in operations and `throughput` in MiB per second, 0 where unknown."""

    snapshot_id: str
    source_id: str = ""
    device: str = ""
    size_gib: int = 0
    type: str = ""
    iops: int = 0
    throughput: int = 0
    encrypted: bool = False
    kms_key_id: str = ""
    delete_on_termination: bool = False
    tags: Mapping[str, str] = field(default_factory=dict)
    lost_blocks: int = 0  # of an archive: what a repair gave up


@dataclass(frozen=True)
class HostFacts:
    """An instance or machine that exists now and takes restored volumes. `volumes` maps device to volume id, `caching`
    how Azure caches what is there."""

    instance_id: str
    zone: str
    state: str = "running"
    root_device: str = ""
    private_ip: str = ""
    volumes: Mapping[str, str] = field(default_factory=dict)
    caching: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class PointFacts:
    """A recovery point where it lies (`account`, `region`) and the resource it is of (`home_account`, `home_region`).

    `host` is the instance as it is now: the one the point is of (or that its volume is attached to), or, when the
    request names another with `attach_to`, that one. None means that it does not exist or was never seen.
    `base_image_id` is an image of the same resource from another point in the same place, with its devices: what a
    point of snapshots needs when its system's licence is only in an image.
    `repository` names the one that an archive lies in: its parts' snapshot ids are generations there, and `account` and
    `region` are where it is restored to.
    `lost` says what was gone of it when it was last looked for.
    """

    id: str
    type: str
    resource_id: str
    account: str
    region: str
    parts: tuple[PartFacts, ...]
    resource_name: str = ""
    home_account: str = ""
    home_region: str = ""
    image_id: str = ""
    base_image_id: str = ""
    base_image_devices: tuple[str, ...] = ()
    attributes: Mapping[str, Any] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    host: HostFacts | None = None
    repository: str = ""
    lost: str = ""

    @property
    def here(self) -> bool:
        """Whether the point lies where its resource was, so that subnets, groups, keys and zones exist there."""
        return (self.home_account or self.account, self.home_region or self.region) == (self.account, self.region)

    def captured(self, name: str, default: Any = "") -> Any:
        """An attribute of the resource as it was when the point was taken."""
        value = self.attributes.get(name)
        return default if value is None else value


def part_facts(
    *,
    snapshot_id: str,
    source_id: str,
    device: str,
    size_gib: int,
    found: Mapping[str, Any],
    captured: Mapping[str, Any],
) -> PartFacts:
    """A part from the catalog. `found` are the part's own attributes, `captured` the point's.

    What the part does not know (the snapshots of an image know no tags) is taken from the volume it was taken of.
    """
    volumes: Sequence[Mapping[str, Any]] = captured.get("volumes") or [captured]
    source = next((one for one in volumes if one.get("id", source_id) == source_id), {})
    facts = {**source, **{name: value for name, value in found.items() if value not in (None, "", 0)}}
    return PartFacts(
        snapshot_id=snapshot_id,
        source_id=source_id,
        device=device or str(facts.get("device", "")),
        size_gib=size_gib,
        type=str(facts.get("type", "")),
        iops=int(facts.get("iops") or 0),
        throughput=int(facts.get("throughput") or 0),
        encrypted=bool(facts.get("encrypted")),
        kms_key_id=str(facts.get("kms_key_id", "")),
        delete_on_termination=bool(facts.get("delete_on_termination")),
        tags=dict(facts.get("tags") or {}),
        lost_blocks=int(found.get("lost_blocks") or 0),
    )


def host_facts(instance_id: str, attributes: Mapping[str, Any]) -> HostFacts:
    """An instance as last discovered, as the host of restored volumes."""
    return HostFacts(
        instance_id=instance_id,
        zone=str(attributes.get("zone", "")),
        state=str(attributes.get("state") or "running"),
        root_device=str(attributes.get("root_device", "")),
        private_ip=str(attributes.get("private_ip", "")),
        volumes={
            **{str(one["device"]): str(one["id"]) for one in attributes.get("volumes") or () if one.get("device")},
            **{azure_place(one): str(one["id"]) for one in attributes.get("disks") or ()},
        },
        caching={azure_place(one): str(one.get("caching") or "None") for one in attributes.get("disks") or ()},
    )


def azure_place(disk: Mapping[str, Any]) -> str:
    """Where an Azure machine holds a disk: 'os' or 'lun-N'."""
    return "os" if disk.get("role") == "os" else f"lun-{disk.get('lun')}"


@dataclass(frozen=True)
class RestoreRequest:
    """What the operator wants. An empty value means: as it was. JSON names are the field names.

    `kind`: 'volume' (new volumes, attached to `attach_to` when given), 'instance' (a new one) or 'in-place'; for other
    types one of their own words, with their options in `settings`; for any archive 'file' (each volume's image).
    `volumes` selects by volume id, device or snapshot id; `profile`, `key` and `security_groups` take 'none'.
    `image` is launched from, and its volumes are then exchanged for those of the point.
    """

    kind: str
    volumes: tuple[str, ...] = ()
    attach_to: str = ""
    device: str = ""
    image: str = ""
    type: str = ""
    subnet: str = ""
    security_groups: tuple[str, ...] = ()
    address: str = ""
    zone: str = ""
    profile: str = ""
    key: str = ""
    user_data: str = ORIGINAL
    tags: Mapping[str, str] = field(default_factory=dict)
    volume_type: str = ""
    iops: int = 0
    throughput: int = 0
    kms_key: str = ""
    start: bool = True
    root: str = AUTO
    account: str = ""
    region: str = ""
    settings: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "RestoreRequest":
        """Read and check a request. Raises Invalid, which names the option and what it takes."""
        unknown = sorted(set(value) - set(cls.__dataclass_fields__))
        if unknown:
            allowed = ", ".join(sorted(cls.__dataclass_fields__))
            raise Invalid(f"A restore has no option {unknown[0]!r}; it takes {allowed}.", code="unknown-option")
        read = {name: _typed(name, given) for name, given in value.items()}
        request = cls(**{"kind": "", **read})
        check_request(request)
        return request

    def to_json(self) -> dict[str, Any]:
        """The request as `from_json` reads it; what was not asked for is left out."""
        plain = _defaults()
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items() if v != plain[k]}


def _defaults() -> dict[str, Any]:
    """The value of every option that was not given."""
    return asdict(RestoreRequest(kind=""))


def option(name: str) -> str:
    """The command line's word for a field of the request."""
    words = {
        "kind": "--to",
        "volumes": "--volume",
        "security_groups": "--security-group",
        "tags": "--tag",
        "start": "--no-start",
        "settings": "--set",
    }
    return words.get(name, "--" + name.replace("_", "-"))


def wrong(name: str, given: object, allowed: str) -> Invalid:
    """The error for a value that an option does not take."""
    return Invalid(f"{option(name)} does not take {given!r}; it takes {allowed}.", code="option-value")


def missing(name: str, why: str) -> Invalid:
    """The error for an option without which this restore cannot be planned."""
    return Invalid(f"{option(name)} is needed: {why}.", code="option-missing")


def _typed(name: str, given: Any) -> Any:
    """A JSON value as the field's own type; Invalid when it is of another."""
    plain = _defaults()[name]
    if isinstance(plain, bool):
        fits, allowed = isinstance(given, bool), "true or false"
    elif isinstance(plain, int):
        fits, allowed = isinstance(given, int) and not isinstance(given, bool) and given >= 0, "a number from 0"
    elif isinstance(plain, tuple):
        fits = isinstance(given, list | tuple) and all(isinstance(item, str) and item for item in given)
        given, allowed = tuple(given) if fits else given, "a list of names"
    elif isinstance(plain, dict):
        fits = isinstance(given, Mapping) and all(isinstance(x, str) for pair in given.items() for x in pair)
        given, allowed = dict(given) if fits else given, "KEY=VALUE"
    else:
        fits, allowed = isinstance(given, str), "a text"
    if not fits:
        raise wrong(name, given, allowed)
    return given


def check_request(request: RestoreRequest) -> None:
    """Refuse values that no point can make right. Raises Invalid with the option and the allowed values."""
    choices = {"kind": KINDS, "root": ROOT_WAYS, "user_data": USER_DATA}
    for name, allowed in choices.items():
        if getattr(request, name) not in allowed:
            raise wrong(name, getattr(request, name), ", ".join(allowed))
    if request.volume_type and request.volume_type not in VOLUME_TYPES:
        raise wrong("volume_type", request.volume_type, ", ".join(VOLUME_TYPES))
    if request.address not in ("", ORIGINAL, AUTO) and not _is_address(request.address):
        raise wrong("address", request.address, f"{ORIGINAL}, {AUTO} or an IPv4 address")
    for tag in request.tags:
        if not tag or len(tag) > 128 or tag.lower().startswith(("aws:", "snapfleet:")):
            raise wrong("tags", tag, "keys of 1 to 128 characters that do not start with aws: or snapfleet:")
    _check_fits_kind(request)


def _check_fits_kind(request: RestoreRequest) -> None:
    only = {
        "instance": ("image", "type", "subnet", "security_groups", "address", "profile", "key"),
        "volume": ("attach_to", "device"),
        "in-place": (),
    }
    for kind, names in only.items():
        for name in names:
            if request.kind != kind and getattr(request, name):
                raise Invalid(f"{option(name)} goes with --to {kind} only.", code="option-value")
    if request.root != AUTO and request.kind != "in-place":
        raise Invalid("--root goes with --to in-place only.", code="option-value")
    if request.device and not request.attach_to:
        raise missing("attach_to", "--device says where on an instance the volume goes")
    if request.device and not request.device.startswith(("/dev/", "xvd")):
        raise wrong("device", request.device, "a device name such as /dev/sdf")


def _is_address(text: str) -> bool:
    try:
        ipaddress.IPv4Address(text)
    except ValueError:
        return False
    return True
