"""A reader of a repository in a folder, written from FORMAT.md alone; it shares no code with the engine."""

import hashlib
import hmac
import json
import struct
from pathlib import Path

import zstandard
from cryptography.hazmat.primitives.ciphers.aead import AESGCM


def mac(key: bytes, data: bytes) -> bytes:
    return hmac.new(key, data, hashlib.sha256).digest()


class Reader:
    def __init__(self, root: Path, passphrase: str | None = None, key_file: bytes | None = None) -> None:
        self.root = root
        config = json.loads((root / "repository.json").read_text())
        assert (config["format"], config["version"]) == ("snapfleet-repository", 1)
        self.master = self.unlock(config["id"], passphrase, key_file)
        proof = config.pop("proof")
        assert mac(self.derived(b"", "config"), json.dumps(config, sort_keys=True).encode()).hex() == proof

    @staticmethod
    def derive(secret: bytes, salt: bytes, purpose: str) -> bytes:
        return mac(mac(salt, secret), b"snapfleet/1/" + purpose.encode() + b"\x01")

    def derived(self, salt: bytes, purpose: str) -> bytes:
        return self.derive(self.master, salt, purpose)

    def unlock(self, identity: str, passphrase: str | None, key_file: bytes | None) -> bytes:
        for path in (self.root / "keys").iterdir():
            slot = json.loads(path.read_text())
            if slot["kind"] == "passphrase" and passphrase is not None:
                n, r, p = slot["n"], slot["r"], slot["p"]
                salt = bytes.fromhex(slot["salt"])
                key = hashlib.scrypt(passphrase.encode(), salt=salt, n=n, r=r, p=p, maxmem=1 << 30, dklen=32)
            elif slot["kind"] == "file" and key_file is not None:
                key = self.derive(key_file, bytes.fromhex(slot["salt"]), "slot/file")
            else:
                continue
            blob = bytes.fromhex(slot["wrapped"])
            return AESGCM(key).decrypt(blob[:12], blob[12:], f"snapfleet/slot/{identity}/{path.name}".encode())
        raise LookupError("no slot")

    def opened(self, kind: int, name: str, sealed: bytes) -> bytes:
        header, body = sealed[:24], sealed[24:]
        magic, version, found, _, salt = struct.unpack("<4sBBH16s", header)
        assert (magic, version, found) == (b"SNFL", 1, kind)
        key = self.derived(salt, f"object/{kind}")
        return zstandard.decompress(AESGCM(key).decrypt(bytes(12), body, header + name.encode()))

    def read(self, kind: int, name: str) -> bytes:
        return self.opened(kind, name, (self.root / name).read_bytes())

    def frame(self, kind: int, frame: bytes, digest: bytes) -> bytes:
        salt, counter, flags, found, _ = struct.unpack("<16sIBBH", frame[:24])
        assert found == kind
        key = self.derived(salt, f"frame/{kind}")
        body = AESGCM(key).decrypt(counter.to_bytes(12, "little"), frame[24:], frame[20:24] + digest)
        content = body if flags & 1 else zstandard.decompress(body)
        assert hashlib.sha256(content).digest() == digest
        return content

    def pack(self, name: str) -> list[bytes]:
        """The contents of a data pack's frames."""
        data = (self.root / name).read_bytes()
        assert (data[:4], data[-4:]) == (b"SNPK", b"KPNS")
        (length,) = struct.unpack("<I", data[-8:-4])
        footer = self.opened(5, name, data[-8 - length : -8])
        (count,) = struct.unpack("<I", footer[:4])
        lengths = struct.unpack(f"<{count}I", footer[4 : 4 + 4 * count])
        hashes = footer[4 + 8 * count :]
        at, contents = 16, []
        for number, stored in enumerate(lengths):
            contents.append(self.frame(1, data[at : at + stored], hashes[32 * number : 32 * number + 32]))
            at += stored
        return contents

    def segment(self, content: bytes) -> tuple[int, list[tuple[str, int] | None]]:
        """First block, and for each block its pack's name and frame."""
        first, blocks, runs, _, packs = struct.unpack("<QIHHI", content[:20])
        at, names = 20, []
        for _ in range(runs):
            names.append((content[at : at + 16].hex(), content[at + 16 : at + 24].hex()))
            at += 24
        owners = struct.unpack(f"<{packs}H", content[at : at + 2 * packs])
        numbers = struct.unpack(f"<{packs}I", content[at + 2 * packs : at + 6 * packs])
        at += 14 * packs
        where = struct.unpack(f"<{blocks}H", content[at : at + 2 * blocks])
        frames = struct.unpack(f"<{blocks}H", content[at + 2 * blocks : at + 4 * blocks])
        table = [f"packs/{names[o][0]}/{names[o][1]}-{n:08x}" for o, n in zip(owners, numbers, strict=True)]
        return first, [None if p == 65535 else (table[p], f) for p, f in zip(where, frames, strict=True)]

    def generations(self) -> dict[str, tuple[dict, bytes]]:
        """Facts and segment rows of every generation that counts, by id."""
        best: dict[str, tuple[tuple[str, str], dict, bytes]] = {}
        for path in (self.root / "generations").glob("*/*"):
            name = path.relative_to(self.root).as_posix()
            payload = self.read(3, name)
            assert mac(self.derived(b"", "identity"), payload).hex() == path.name
            (length,) = struct.unpack("<I", payload[:4])
            facts = json.loads(payload[4 : 4 + length])
            lease_path = self.root / "leases" / facts["job"]
            if not lease_path.exists() or (self.root / "tombs" / path.name).exists():
                continue
            lease = json.loads(self.read(1, f"leases/{facts['job']}"))
            if lease["state"] != "committed" or name not in lease["manifests"]:
                continue
            rank = (facts["created_at"], path.name)
            if facts["generation"] not in best or rank > best[facts["generation"]][0]:
                best[facts["generation"]] = (rank, facts, payload[4 + length :])
        return {identity: (facts, rows) for identity, (_, facts, rows) in best.items()}

    def restore(self, generation: str) -> bytes:
        facts, rows = self.generations()[generation]
        volume, unit = bytearray(facts["size"]), facts["block_bytes"]
        packs: dict[str, list[bytes]] = {}
        for number in range(facts["segments"]):
            owner, _, offset, length, _, digest = struct.unpack("<HHIII32s", rows[48 * number : 48 * number + 48])
            if owner == 65535:
                continue
            job, run, serial, _, _ = facts["maps"][owner]
            data = (self.root / f"maps/{job}/{run}-{serial:08x}").read_bytes()
            first, blocks = self.segment(self.frame(2, data[offset : offset + length], digest))
            for block, where in enumerate(blocks, first):
                if where is not None:
                    name, frame = where
                    packs[name] = packs.get(name) or self.pack(name)
                    volume[block * unit : block * unit + len(packs[name][frame])] = packs[name][frame]
        return bytes(volume)
