"""Payloads as people look at them: a document as a list of its parts, and edits of single values.

In: a JSON document, paths such as `OrderItems[0].SKU`. Out: parts with depth and path; an edited copy.
Never: a change of the document that was given; a text of digits that becomes a number.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from crossdock.errors import ConfigError
from crossdock.mapping.contracts import Document
from crossdock.store import database

_PART = re.compile(r"([^.\[\]]+)|\[([0-9]{1,6})\]")
MOST = 5_000  # parts of a document that are shown


@dataclass(frozen=True)
class Part:
    """One part of a document: an object or a list (`value` None, `count` parts below), or a value as text.
    `at_fault`: a rule has found something wrong with it."""

    path: str
    name: str
    depth: int
    kind: str  # object, list, text, number, boolean, null
    value: str | None = None
    count: int = 0
    at_fault: bool = False


def parts(document: Any, faults: frozenset[str] = frozenset()) -> list[Part]:
    """The parts of a document, top to bottom; at most MOST."""
    found = []
    for part in _parts(document, "", "", 0, faults):
        found.append(part)
        if len(found) == MOST:
            break
    return found


def _parts(value: Any, path: str, name: str, depth: int, faults: frozenset[str]) -> Iterator[Part]:
    at_fault = path in faults
    if isinstance(value, Mapping):
        if path:
            yield Part(path, name, depth, "object", count=len(value), at_fault=at_fault)
        for key, below in value.items():
            yield from _parts(below, f"{path}.{key}" if path else str(key), str(key), depth + bool(path), faults)
    elif isinstance(value, list):
        yield Part(path, name, depth, "list", count=len(value), at_fault=at_fault)
        for number, below in enumerate(value):
            yield from _parts(below, f"{path}[{number}]", f"{number + 1}", depth + 1, faults)
    else:
        yield Part(path, name, depth, kind_of(value), as_text(value), at_fault=at_fault)


def ordered(value: Any, document: Document, path: str = "") -> Any:
    """A copy with the fields in the order in which the contract names them, what it does not name last."""
    if isinstance(value, Mapping):
        place = {name: number for number, name in enumerate(document.fields)}
        below = {name: f"{path}.{name}" if path else str(name) for name in value}
        names = sorted(value, key=lambda name: (place.get(below[name], len(place)), below[name]))
        return {name: ordered(value[name], document, below[name]) for name in names}
    if isinstance(value, list):
        field = document.fields.get(path)
        inner = field.items if field else None
        return [ordered(each, inner) if inner else ordered(each, document, path) for each in value]
    return value


def kind_of(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    return "text" if isinstance(value, str) else "number"


def as_text(value: Any) -> str:
    """A value as people read and write it."""
    if value is None:
        return ""
    return value if isinstance(value, str) else database.to_json(value)


def faults_of(document: Any, reasons: Sequence[Mapping[str, Any]], key_of_line: str = "") -> frozenset[str]:
    """The paths of the values that reasons are about: by the field's own path, else by the value that it names, else
    by the field's name. `key_of_line`: the field by which reasons name a line."""
    leaves = [part for part in _parts(document, "", "", 0, frozenset()) if part.kind not in ("object", "list")]
    found: set[str] = set()
    for reason in reasons:
        field, value, line = (str(reason.get(name) or "") for name in ("field", "value", "line"))
        within = _line(leaves, key_of_line, line) if line and key_of_line else ""
        near = [part for part in leaves if part.path.startswith(within)] if within else leaves
        last = field.rpartition(".")[2].partition("[")[0]
        for same in (
            [part.path for part in near if part.path.removeprefix(within).lstrip(".") == field],
            [part.path for part in near if value and part.value == value and part.name == last],
            [part.path for part in near if value and part.value == value],
            [part.path for part in near if part.name == last],
        ):
            if same:
                found.update(same[:20])
                break
    return frozenset(found)


def _line(leaves: Sequence[Part], key: str, line: str) -> str:
    """The path of the list's entry whose `key` is `line`."""
    for part in leaves:
        if part.name == key and part.value == line.partition(":")[0]:
            return part.path.rpartition(".")[0]
    return ""


def changed(document: Any, changes: Mapping[str, Any]) -> Any:
    """A copy of the document with other values at some paths. A text stays a text; of anything else the new value is
    JSON if it reads as such. Raises ConfigError for a path that is not there."""
    result = copy.deepcopy(document)
    for path, value in changes.items():
        _set(result, path, value)
    return result


def _set(document: Any, path: str, value: Any) -> None:
    steps = steps_of(path)
    for step in steps[:-1]:
        document = _below(document, step, path)
    last = steps[-1]
    current = _below(document, last, path, missing=None)
    if isinstance(value, str) and not isinstance(current, str):
        value = _read(value)
    document[last] = value


def _read(text: str) -> Any:
    """A value as a person writes it: JSON where it begins like JSON, else text; nothing is null."""
    if text == "":
        return None
    try:
        return database.from_json(text) if text[:1] in '"[{-0123456789tfn' else text
    except ValueError:
        return text


def steps_of(path: str) -> list[str | int]:
    """The names and numbers of a path. Raises ConfigError where it is none."""
    steps: list[str | int] = []
    position = 0
    for found in _PART.finditer(path):
        between = path[position : found.start()]
        if between not in ("", ".") or (between == "." and not steps):
            break
        steps.append(found[1] if found[1] is not None else int(found[2]))
        position = found.end()
    if not steps or position != len(path):
        raise ConfigError(f"{path!r} names no field.", do="Write it like ShippingAddress.Country or OrderItems[0].SKU.")
    return steps


def _below(document: Any, step: str | int, path: str, missing: Any = ...) -> Any:
    try:
        if isinstance(step, int) and not isinstance(document, list):
            raise TypeError(step)
        return document[step]
    except (KeyError, IndexError, TypeError) as error:
        if missing is not ... and isinstance(document, dict):
            return missing
        raise ConfigError(
            f"The payload has no {path}.", do="Take a field that the record has; nothing was changed."
        ) from error
