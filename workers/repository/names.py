"""Where objects lie below a repository's prefix. FORMAT.md section 2."""

import re
from dataclasses import dataclass

CONFIG = "repository.json"
KEYS, LEASES, PARTS, PACKS, MAPS = "keys/", "leases/", "parts/", "packs/", "maps/"
GENERATIONS, TOMBS, PROBES = "generations/", "tombs/", "probe/"
DATA, MAP = 1, 2  # kinds of pack
_FOLDERS = {DATA: PACKS, MAP: MAPS}
_PACK = re.compile(r"^(packs|maps)/([0-9a-f]{32})/([0-9a-f]{16})-([0-9a-f]{8})$")
_GENERATION = re.compile(r"^generations/[0-9a-f]{16}/([0-9a-f]{64})$")
_JOB = re.compile(r"^[0-9a-f]{32}$")
_OTHERS = re.compile(
    r"repository\.json|(keys|probe)/[0-9a-f]{16}|leases/[0-9a-f]{32}|parts/[0-9a-f]{32}/[0-9a-f]{12}|tombs/[0-9a-f]{64}"
)


@dataclass(frozen=True, order=True, slots=True)
class Pack:
    """A pack's identity: the job that made it, one run of a process within the job, a number within the run.

    The run is random, so that two processes that work on one job by mistake never write the same name.
    """

    job: str
    run: str
    number: int

    def name(self, kind: int) -> str:
        """Where it lies."""
        return f"{_FOLDERS[kind]}{self.job}/{self.run}-{self.number:08x}"


def pack_of(name: str) -> Pack | None:
    """The pack that lies at a name; None when the name is not one of ours."""
    found = _PACK.match(name)
    return Pack(found[2], found[3], int(found[4], 16)) if found else None


def lease_name(job: str) -> str:
    """Where a job's lease lies. Raises ValueError unless `job` has 32 hex digits."""
    if not _JOB.match(job):
        raise ValueError("a job's id has 32 hex digits")
    return LEASES + job


def part_name(job: str, start: int) -> str:
    """Where the part of a job lies that begins at block `start`."""
    return f"{PARTS}{job}/{start:012x}"


def generation_name(label: str, identity: str) -> str:
    """Where a manifest lies: by its lineage's label, then by what proves its content."""
    return f"{GENERATIONS}{label}/{identity}"


def identity_of(name: str) -> str | None:
    """The identity in a manifest's name; None for a foreign name."""
    found = _GENERATION.match(name)
    return found[1] if found else None


def tomb_name(identity: str) -> str:
    """Where the tombstone of a manifest lies."""
    return TOMBS + identity


def is_ours(name: str) -> bool:
    """Whether an object is named as one of this format's."""
    return bool(_PACK.fullmatch(name) or _GENERATION.fullmatch(name) or _OTHERS.fullmatch(name))
