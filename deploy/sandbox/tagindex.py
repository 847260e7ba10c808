"""Tags of one account and region, found by key and by value without looking at every resource."""

from collections import defaultdict
from typing import Any

from deploy.sandbox.wildcards import matcher


class TagIndex:
    """Keeps `resource.tags` and the index in step: change tags only through here."""

    def __init__(self) -> None:
        self._ids: dict[str, dict[str, dict[str, None]]] = defaultdict(lambda: defaultdict(dict))

    def put(self, resource: Any, tags: dict[str, str]) -> None:
        """Add tags, replacing the values of keys that are there."""
        for key, value in tags.items():
            old = resource.tags.get(key)
            if old is not None:
                self._ids[key][old].pop(resource.id, None)
            resource.tags[key] = value
            self._ids[key][value][resource.id] = None

    def remove(self, resource: Any, tags: dict[str, str | None]) -> None:
        """Remove keys; with a value, only where the value is that one (DeleteTags, EC2 API reference)."""
        for key, value in tags.items():
            old = resource.tags.get(key)
            if old is not None and value in (None, old):
                del resource.tags[key]
                self._ids[key][old].pop(resource.id, None)

    def forget(self, resource: Any) -> None:
        for key, value in resource.tags.items():
            self._ids[key][value].pop(resource.id, None)

    def with_key(self, patterns: list[str]) -> dict[str, None]:
        found: dict[str, None] = {}
        for key in self._chosen(self._ids, patterns):
            for ids in self._ids[key].values():
                found |= ids
        return found

    def with_value(self, key: str, patterns: list[str]) -> dict[str, None]:
        found: dict[str, None] = {}
        if key in self._ids:
            for value in self._chosen(self._ids[key], patterns):
                found |= self._ids[key][value]
        return found

    @staticmethod
    def _chosen(names: dict, patterns: list[str]) -> list[str]:
        if any("*" in p or "?" in p for p in patterns):
            fits = matcher(patterns)
            return [n for n in names if fits(n)]
        return [p for p in patterns if p in names]
