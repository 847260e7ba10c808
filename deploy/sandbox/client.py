"""A client of the control plane, for the command line and for tests."""

import http.client
import json
from typing import Any
from urllib.parse import urlencode, urlsplit


class ControlError(Exception):
    """The control plane refused; the text is its reason."""


class ControlClient:
    """Speaks to the control plane of the sandbox at `url`."""

    def __init__(self, url: str):
        self.url = url
        self._host = urlsplit(url).netloc

    def ask(self, method: str, path: str, body: Any = None, **query: Any) -> Any:
        """One request; the answer's JSON. ControlError for anything but success."""
        raw = body if isinstance(body, bytes) else (b"" if body is None else json.dumps(body).encode())
        answer = self._raw(method, path, raw, query)
        return json.loads(answer) if answer else None

    def _raw(self, method: str, path: str, body: bytes, query: dict) -> bytes:
        connection = http.client.HTTPConnection(self._host, timeout=300)
        try:
            chosen = {k: v for k, v in query.items() if v is not None}
            connection.request(method, f"/sandbox/{path}?{urlencode(chosen)}", body)
            response = connection.getresponse()
            answer = response.read()
        finally:
            connection.close()
        if response.status >= 300:
            raise ControlError(answer.decode(errors="replace"))
        return answer

    def configure(self, **settings: Any) -> dict:
        return self.ask("POST", "config", settings)

    def seed(self, **settings: Any) -> dict:
        return self.ask("POST", "seed", settings)

    def reset(self) -> None:
        self.ask("POST", "reset")

    def fault(self, kind: str, **settings: Any) -> dict:
        return self.ask("POST", "faults", {"kind": kind, **settings})

    def faults(self) -> list[dict]:
        return self.ask("GET", "faults")

    def clear_faults(self) -> None:
        self.ask("DELETE", "faults")

    def role(self, arn: str, external_id: str | None = None, **settings: Any) -> dict:
        return self.ask("POST", "roles", {"arn": arn, "external_id": external_id, **settings})

    def expire_sessions(self) -> None:
        self.ask("POST", "expire")

    def advance(self, seconds: float) -> str:
        return self.ask("POST", "clock", {"advance": seconds})["now"]

    def calls(self, operation: str | None = None, recent: int = 1000) -> list[dict]:
        """The latest calls with their parameters, oldest first."""
        return self.ask("GET", "calls", operation=operation, recent=recent)["recent"]

    def count(self, operation: str, outcome: str | None = None, account: str | None = None) -> int:
        """How many calls of an operation ended so."""
        rows = self.ask("GET", "calls", recent=0)["counts"]
        return sum(
            r["count"]
            for r in rows
            if r["operation"] == operation and outcome in (None, r["outcome"]) and account in (None, r["account"])
        )

    def clear_calls(self) -> None:
        self.ask("DELETE", "calls")

    def s3_usage(self) -> dict[str, list[dict]]:
        """`requests` by account, bucket, operation, storage class and tier; `stored` by bucket and storage class."""
        return self.ask("GET", "s3")

    def clear_s3_usage(self) -> None:
        self.ask("DELETE", "s3")

    def write(self, account: str, region: str, volume: str, offset: int, data: bytes) -> None:
        """What a guest does: write a byte range of its volume."""
        self.ask("PUT", f"volumes/{account}/{region}/{volume}/data", data, offset=offset)

    def read(self, account: str, region: str, identifier: str, offset: int = 0, length: int | None = None) -> bytes:
        """Bytes of a volume or snapshot."""
        path = f"{_kind(identifier)}/{account}/{region}/{identifier}/data"
        return self._raw("GET", path, b"", {"offset": offset, "length": length})

    def write_file(self, account: str, region: str, identifier: str, path: str, data: bytes) -> None:
        """What a guest does: write a file of an EFS or FSx file system, or of an ONTAP volume."""
        self.ask("PUT", f"files/{account}/{region}/{identifier}/{path}", data)

    def files(self, account: str, region: str, identifier: str) -> dict[str, str]:
        """SHA-256 of each file of a file system or volume, by path."""
        return self.ask("GET", f"files/{account}/{region}/{identifier}")

    def sha256(self, account: str, region: str, identifier: str) -> str:
        return self.ask("GET", f"{_kind(identifier)}/{account}/{region}/{identifier}/sha256")["sha256"]

    def fingerprint(self, account: str, region: str, identifier: str) -> str:
        return self.ask("GET", f"{_kind(identifier)}/{account}/{region}/{identifier}/fingerprint")["fingerprint"]

    def rows(self, account: str, region: str, name: str) -> dict[str, str]:
        """What a database, a cluster or a snapshot of one holds: a text for each table."""
        return self.ask("GET", f"rows/{account}/{region}/{name}")

    def write_rows(self, account: str, region: str, name: str, table: str, text: str) -> None:
        self.ask("PUT", f"rows/{account}/{region}/{name}/{table}", text.encode())

    def resource(self, account: str, region: str, identifier: str) -> dict:
        return self.ask("GET", f"{_kind(identifier)}/{account}/{region}/{identifier}")

    def boots(self, account: str, region: str, instance: str) -> list[str]:
        """Why an instance has booted, each time."""
        return [b["reason"] for b in self.ask("GET", f"instances/{account}/{region}/{instance}")["reasons"]]

    def instance(self, account: str, region: str, instance: str) -> dict:
        return self.ask("GET", f"instances/{account}/{region}/{instance}")

    def state(self, account: str, region: str) -> dict:
        return self.ask("GET", f"state/{account}/{region}")

    def destroy(self, account: str, region: str, *identifiers: str) -> None:
        self.ask("POST", "destroy", {"account": account, "region": region, "ids": list(identifiers)})

    def fail(self, account: str, region: str, *identifiers: str, message: str = "Client.InternalError") -> None:
        body = {"account": account, "region": region, "ids": list(identifiers), "message": message}
        self.ask("POST", "fail", body)


def _kind(identifier: str) -> str:
    return "volumes" if identifier.startswith("vol-") else "snapshots"
