"""What `--set NAME=VALUE` and the captured attributes say about what is restored. Pure."""

from collections.abc import Mapping
from typing import Any

from coordinator.restore_draft import Draft
from coordinator.restore_facts import NONE
from tasks.errors import Invalid
from tasks.resources import Option, ResourceType

_FLAGS: Mapping[str, bool] = {"yes": True, "true": True, "no": False, "false": False}


def chosen(draft: Draft, kind: ResourceType) -> dict[str, Any]:
    """The value of every restore option of the type that has one: as given, else as captured.

    `none` leaves a captured value out. What exists only where the resource was is left out elsewhere, with a warning.
    Raises Invalid for an option that the type has not, a value that it does not take, and one that is needed.
    """
    given = draft.request.settings
    known = {option.name: option for option in kind.restore_options}
    for name in given:
        if name not in known:
            allowed = ", ".join(known) or "none"
            raise Invalid(
                f"A restore of {kind.name} has no option {name!r}; it takes {allowed}.", code="unknown-option"
            )
    found = {}
    for name, option in known.items():
        value = _read(option, given[name]) if name in given else _captured(draft, option)
        if value is None and option.required:
            raise Invalid(f"--set {name}=... is needed: {option.about}.", code="option-missing")
        if value is not None:
            found[name] = value
    return found


def _captured(draft: Draft, option: Option) -> Any:
    value = draft.point.captured(option.captured, None) if option.captured else None
    if value in (None, "", [], {}):
        return None
    if option.local and not draft.point.here:
        if not option.required:
            where = f"{draft.point.home_account}, {draft.point.home_region}"
            draft.warnings.append(f"{option.about} {_plain(value)} exists in {where} only and is left out: --set it.")
        return None
    return value


def _plain(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _read(option: Option, text: str) -> Any:
    if text == NONE and not option.required:
        return None
    if option.choices and text not in option.choices:
        raise _wrong(option, text, " or ".join(option.choices))
    if option.value == "flag":
        if text.lower() not in _FLAGS:
            raise _wrong(option, text, "yes or no")
        return _FLAGS[text.lower()]
    if option.value == "number":
        if not (text.isascii() and text.isdigit()):
            raise _wrong(option, text, "a whole number from 0")
        return int(text)
    if option.value == "list":
        return [item.strip() for item in text.split(",") if item.strip()]
    return text


def _wrong(option: Option, text: str, allowed: str) -> Invalid:
    return Invalid(f"--set {option.name} does not take {text!r}; it takes {allowed}.", code="option-value")
