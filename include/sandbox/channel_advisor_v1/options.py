"""Query options: `$filter`, `$expand` with options of its own, `$select`, `$orderby`, `$top`, `$skip`, `$count`,
`exported`, `profileid`.

In: a query as sent; names of options and of properties in any case. Out: typed options. Never: an option that is read
and not obeyed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from urllib.parse import parse_qsl

from sandbox.channel_advisor_v1 import odata
from sandbox.channel_advisor_v1.odata import BadQuery
from sandbox.channel_advisor_v1.schema import Entity, Link, Property, entities

_INVALID = "The query specified in the URI is not valid. "
DEEPEST = 5  # levels of $expand


@dataclass(frozen=True)
class Options:
    """`text`: the options as they were sent, for links."""

    filter: odata.Filter | None = None
    filter_text: str = ""
    select: frozenset[str] | None = None
    expand: dict[str, Options] = field(default_factory=dict)
    orderby: tuple[tuple[Property, bool], ...] = ()
    orderby_text: str = ""
    top: int | None = None
    skip: int = 0
    count: bool = False
    exported: bool | None = None
    profile: int | None = None
    text: str = ""

    @property
    def is_nested(self) -> bool:
        """Whether something is expanded within what is expanded."""
        return any(below.expand for below in self.expand.values())


def read(query: str, entity: Entity) -> Options:
    """The options of a request. BadQuery."""
    try:
        pairs = parse_qsl(query, keep_blank_values=True, errors="strict", max_num_fields=100)
    except ValueError:
        raise BadQuery(f"{_INVALID}It cannot be read.") from None
    return _read(pairs, entity, 0)


def _read(pairs: Iterable[tuple[str, str]], entity: Entity, depth: int) -> Options:
    found: dict[str, str] = {}
    for name, value in pairs:
        key = name.strip().lower()
        if key.startswith("$") and key in found:
            raise BadQuery(f"{_INVALID}Query parameter '{name}' is specified multiple times.")
        found[key] = value
    wrong = [name for name in found if name.startswith("$") and name not in _KNOWN]
    if wrong:
        raise BadQuery(f"{_INVALID}The query parameter '{wrong[0]}' is not supported.")
    top = found.get("$top")
    return Options(
        filter=odata.read(found["$filter"], entity) if found.get("$filter") else None,
        filter_text=found.get("$filter", ""),
        select=_select(found.get("$select"), entity),
        expand=_expand(found.get("$expand", ""), entity, depth),
        orderby=tuple(_orderby(found.get("$orderby", ""), entity)),
        orderby_text=found.get("$orderby", ""),
        top=None if top is None else _number("$top", top),
        skip=_number("$skip", found.get("$skip", "0")),
        count=_flag("$count", found.get("$count", "false")),
        exported=_flag("exported", found["exported"]) if "exported" in found else None,
        profile=_number("profileid", found["profileid"]) if "profileid" in found else None,
    )


_KNOWN = ("$filter", "$select", "$expand", "$orderby", "$top", "$skip", "$count", "$format")


def _number(name: str, text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) < 2**31):
        raise BadQuery(f"{_INVALID}Invalid value '{text}' for {name} query option found.")
    return int(text)


def _flag(name: str, text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise BadQuery(f"{_INVALID}Invalid value '{text}' for {name} found.")
    return text.lower() == "true"


def property_of(entity: Entity, name: str) -> Property:
    prop = entity.properties.get(name.strip().lower())
    if prop is None:
        raise BadQuery(f"{_INVALID}Could not find a property named '{name.strip()}' on type '{entity.type}'.")
    return prop


def link_of(entity: Entity, name: str) -> Link:
    prop = entity.links.get(name.strip().lower())
    if prop is None:
        raise BadQuery(f"{_INVALID}Could not find a property named '{name.strip()}' on type '{entity.type}'.")
    return prop


def _select(text: str | None, entity: Entity) -> frozenset[str] | None:
    if text is None or text.strip() == "*":
        return None
    names = [name.strip() for name in text.split(",") if name.strip()]
    return frozenset(property_of(entity, name).name for name in names if name.lower() not in entity.links)


def _orderby(text: str, entity: Entity) -> Iterator[tuple[Property, bool]]:
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, _, direction = part.partition(" ")
        if direction.strip().lower() not in ("", "asc", "desc"):
            raise BadQuery(f"{_INVALID}'{direction.strip()}' is no direction of $orderby.")
        yield property_of(entity, name), direction.strip().lower() == "desc"


def _expand(text: str, entity: Entity, depth: int) -> dict[str, Options]:
    """Options of every navigation that is expanded, by its name."""
    if text and depth >= DEEPEST:
        raise BadQuery(f"{_INVALID}$expand goes deeper than {DEEPEST} levels.")
    found = {}
    for part in _parted(text, ","):
        name, bracket, rest = part.partition("(")
        if bracket and not rest.endswith(")"):
            raise BadQuery(f"{_INVALID}Syntax error in $expand: '{part}'.")
        link = link_of(entity, name)
        inner = rest[:-1] if bracket else ""
        pairs = []
        for option in _parted(inner, ";"):
            key, sign, value = option.partition("=")
            if not sign:
                raise BadQuery(f"{_INVALID}Syntax error in $expand: '{option}'.")
            pairs.append((key.strip(), value))
        below = _read(pairs, entities()[link.target], depth + 1)
        found[link.name] = Options(**(below.__dict__ | {"text": "&".join(f"{k}={v}" for k, v in pairs)}))
    return found


def _parted(text: str, sign: str) -> Iterator[str]:
    """The parts between a sign outside brackets and quotes, without blanks around them."""
    depth, quoted, start = 0, False, 0
    for place, letter in enumerate(text):
        if letter == "'":
            quoted = not quoted
        elif not quoted:
            depth += (letter == "(") - (letter == ")")
            if letter == sign and depth == 0:
                yield from filter(None, [text[start:place].strip()])
                start = place + 1
    if depth or quoted:
        raise BadQuery(f"{_INVALID}Syntax error: a bracket or a quote is not closed in '{text}'.")
    yield from filter(None, [text[start:].strip()])
