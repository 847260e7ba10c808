"""What all Describe operations share: ids, filters, pages and the lag of tag filters.

"Listing and filtering your resources" and each operation's page in the EC2 API reference: filters are ANDed, values
ORed; a named id that does not exist fails the call; MaxResults is 5 to 1000 and cannot go with ids.
"""

import base64
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from typing import Any

from deploy.sandbox.call import Call
from deploy.sandbox.errors import AwsError, bad_combination, bad_value, missing
from deploy.sandbox.wildcards import matcher

MAX_FILTER_VALUES = 200  # "Listing and filtering your resources": the limit of values in a request's filters

Fields = dict[str, Callable[[Any, Any], Any]]  # filter name: (resource, now) -> text, list of texts or None


def token_of(resource: Any) -> str:
    return base64.urlsafe_b64encode(f"after:{resource.sequence}".encode()).decode()


def _after(token: str | None) -> int:
    if not token:
        return 0
    try:
        word, number = base64.urlsafe_b64decode(token).decode().split(":")
        if word != "after":
            raise ValueError(word)
        return int(number)
    except ValueError:
        raise AwsError("InvalidNextToken.Malformed", "The pagination token is malformed.") from None


def check_page(parameters: dict, ids: str) -> None:
    """MaxResults within its bounds and not together with ids."""
    limit = parameters.get("MaxResults")
    if limit is None:
        return
    if parameters.get(ids):
        raise bad_combination(f"The parameter {ids} cannot be used with the parameter maxResults")
    if not 5 <= limit <= 1000:
        raise bad_value(f"Value ( {limit} ) for parameter maxResults is invalid. Expecting a value between 5 and 1000.")


def named(call: Call, kind: dict[str, Any], prefix: str, ids: list[str]) -> list[Any]:
    """The resources with these ids; the first missing one fails the call."""
    for identifier in ids:
        if identifier not in kind or hidden(call, kind[identifier], always=False):
            raise missing(prefix, identifier)
    return [kind[i] for i in dict.fromkeys(ids)]


def hidden(call: Call, resource: Any, always: bool) -> bool:
    """Whether a young resource is still unseen; `always` is for tag filters, which lag more than ids do."""
    if always and call.now - resource.created_at < timedelta(seconds=call.config.list_lag_seconds):
        return True
    return unseen(call, resource.created_at, always)


def unseen(call: Call, created_at: datetime, always: bool = False) -> bool:
    """Whether a planted fault hides what is that young: from every description, or from those by tags alone."""
    fault = call.stale
    if fault is None or not (always or fault.hide == "all"):
        return False
    return call.now - created_at < timedelta(seconds=fault.seconds)


def select(call: Call, kind: dict[str, Any], chosen: list | None, filters: list[dict], fields: Fields) -> list:
    """Those of `chosen` (None: all of `kind`) that pass every filter, in order of creation."""
    if sum(len(f.get("Values", [])) for f in filters) > MAX_FILTER_VALUES:
        raise AwsError("FilterLimitExceeded", "The maximum number of filter values specified on a single call is 200.")
    tests, narrowed, by_tags = [], None, False
    for entry in filters:
        name, values = entry.get("Name", ""), entry.get("Values", [])
        ids: set[str] | None = None
        if name == "tag-key" or name.startswith("tag:"):
            by_tags = True
            index = call.here.tags
            ids = set(index.with_key(values) if name == "tag-key" else index.with_value(name[4:], values))
        elif name in fields:
            tests.append((fields[name], matcher(values)))
            own = not kind.keys().isdisjoint(values)  # a filter may name another kind: the tasks of an instance
            ids = set(values) if own and name in IDS and not any(c in v for v in values for c in "*?\\") else None
        else:
            raise bad_value(f"The filter '{name}' is invalid")
        if ids is not None:
            narrowed = ids if narrowed is None else narrowed & ids
    return [c for c in _among(kind, chosen, narrowed) if not hidden(call, c, by_tags) and _passes(c, call.now, tests)]


def _among(kind: dict[str, Any], chosen: list | None, narrowed: set[str] | None) -> Iterable[Any]:
    """What filters by id or tag leave to look at, without walking through everything."""
    if narrowed is None:
        return kind.values() if chosen is None else chosen
    if chosen is None:
        return sorted((kind[i] for i in narrowed if i in kind), key=lambda r: r.sequence)
    return [c for c in chosen if c.id in narrowed]


IDS = ("snapshot-id", "volume-id", "instance-id", "image-id")


def _passes(resource: Any, now: Any, tests: list) -> bool:
    for field, fits in tests:
        value = field(resource, now)
        if isinstance(value, str):
            if not fits(value):
                return False
        elif value is None or not any(fits(v) for v in value):
            return False
    return True


def page(resources: list[Any], parameters: dict) -> tuple[list[Any], str | None]:
    """One page, and the token of the next; everything when MaxResults is not given."""
    after, limit = _after(parameters.get("NextToken")), parameters.get("MaxResults")
    rest = [r for r in resources if r.sequence > after] if after else resources
    if limit is None or len(rest) <= limit:
        return rest, None
    return rest[:limit], token_of(rest[limit - 1])


def tag_list(tags: dict[str, str]) -> list[dict[str, str]]:
    return [{"Key": k, "Value": v} for k, v in tags.items()]
