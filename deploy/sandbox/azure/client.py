"""A client of the control plane, for the demo and for tests."""

import base64
import json
import ssl
import urllib.request
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlencode


class AzureControl:
    """Speaks to the emulated Azure at `url`, whose authority's certificate is the file `ca`."""

    def __init__(self, url: str, ca: str):
        self.url, self.ca = url, ca
        self._context = ssl.create_default_context(cafile=ca)

    def ask(self, method: str, name: str, body: Any = None, **query: Any) -> Any:
        """One request; the answer's JSON. ValueError with the reason when it was refused."""
        address = f"{self.url}/sandbox/{name}?{urlencode(query)}"
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(address, data=data, method=method)
        opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=self._context)
        )
        try:
            with opener.open(request, timeout=120) as answer:
                return json.loads(answer.read())
        except HTTPError as error:
            raise ValueError(error.read().decode()) from None

    def environment(self) -> dict[str, str]:
        """What Snapfleet needs to reach this Azure."""
        return {
            "SNAPFLEET_AZURE_ENDPOINT": self.url,
            "SNAPFLEET_AZURE_AUTHORITY": self.url,
            "SNAPFLEET_AZURE_CA": self.ca,
        }

    def seed(self, **wish: Any) -> Any:
        return self.ask("POST", "seed", wish)

    def write(self, disk_id: str, offset: int, data: bytes) -> None:
        """As a guest would write."""
        self.ask("POST", "write", {"id": disk_id, "offset": offset, "data": base64.b64encode(data).decode()})

    def sha256(self, disk_id: str) -> str:
        return str(self.ask("GET", "sha256", id=disk_id)["sha256"])

    def destroy(self, *ids: str) -> None:
        self.ask("POST", "destroy", {"ids": list(ids)})

    def change(self, resource_id: str, **wish: Any) -> None:
        self.ask("POST", "change", {"id": resource_id, **wish})

    def fault(self, kind: str, **wish: Any) -> None:
        self.ask("POST", "faults", {"kind": kind, **wish})

    def things(self, kind: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.ask("GET", "things", kind=kind)
        return found

    def calls(self, method: str = "", kind: str = "") -> list[dict[str, Any]]:
        """The latest calls with their bodies, oldest first."""
        recent = self.ask("GET", "calls")["recent"]
        return [one for one in recent if method in ("", one["method"]) and kind in ("", one["type"])]

    def count(self, operation: str, outcome: str = "ok") -> int:
        """How many calls such as 'PUT snapshots' ended so."""
        counts = self.ask("GET", "calls")["counts"]
        return sum(one["count"] for one in counts if (one["operation"], one["outcome"]) == (operation, outcome))
