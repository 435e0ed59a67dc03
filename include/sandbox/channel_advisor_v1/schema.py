"""The metadata model of REST v1: entities, their properties and navigation, enums, parameters of actions.

In: `include/contracts/channel_advisor_v1_schema.json`. Out: typed tables, neutral documents, what a value breaks.
Never: a property that the model does not name.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from decimal import Decimal
from functools import cache
from typing import Any

import msgspec

from sandbox.kernel import clock, contract

FILE = contract.FOLDER / "channel_advisor_v1_schema.json"
NAMESPACE = "ChannelAdvisor.RestApi.V1.Models"
_NEUTRAL: dict[str, Any] = {"String": "", "Boolean": False, "Decimal": Decimal("0.0000"), "Double": 0}
_RANGES = {"Byte": (0, 255), "Int32": (-(2**31), 2**31 - 1), "Int64": (-(2**63), 2**63 - 1)}
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,7})?Z")


@dataclass(frozen=True)
class Property:
    """`kind`: String, Int32, Decimal, DateTimeOffset, ..., Enum, Complex; `many`: a collection of it."""

    name: str
    kind: str
    nullable: bool
    many: bool = False
    members: tuple[str, ...] = ()  # of an Enum
    enum: str = ""  # its name
    complex: str = ""

    @property
    def type(self) -> str:
        """The type's name as messages have it."""
        return f"{NAMESPACE}.{self.enum}" if self.kind == "Enum" else f"Edm.{self.kind}"

    @property
    def neutral(self) -> Any:
        if self.nullable:
            return None
        if self.many:
            return []
        return self.members[0] if self.kind == "Enum" else _NEUTRAL.get(self.kind, 0)

    def wrong(self, value: Any, *, sent: bool = False) -> str | None:
        """What a value breaks, as a sentence. `sent`: by a client, which may write a time with an offset or as a date,
        an integer as 3.0."""
        if value is None:
            return None if self.nullable else f"{self.name} must not be null."
        if self.many:
            if not isinstance(value, list):
                return f"{self.name} is a list."
            one = Property(self.name, self.kind, nullable=False, members=self.members, complex=self.complex)
            return next((wrong for each in value if (wrong := one.wrong(each, sent=sent))), None)
        if self.kind == "Complex":
            if not isinstance(value, dict):
                return f"{self.name} is an object."
            return next(iter(findings(complexes()[self.complex], value, sent=sent, whole=not sent)), None)
        return None if _fits(self, value, sent) else f"Cannot convert {value!r} of {self.name} to {self.kind}."


def _fits(property: Property, value: Any, sent: bool) -> bool:
    kind = property.kind
    if kind in _RANGES:
        least, most = _RANGES[kind]
        if sent and isinstance(value, Decimal) and value == value.to_integral_value():
            value = int(value)
        return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most
    if kind in ("Decimal", "Double"):
        return isinstance(value, (int, Decimal, float)) and not isinstance(value, bool)
    if kind == "Boolean":
        return isinstance(value, bool)
    if kind == "Enum":
        return value in property.members
    if kind != "DateTimeOffset":
        return isinstance(value, str)
    if not sent:
        return isinstance(value, str) and bool(_TIME.fullmatch(value))
    try:
        clock.parse(value)
    except (ValueError, TypeError):
        return False
    return True


@dataclass(frozen=True)
class Link:
    """A navigation property."""

    name: str
    target: str
    many: bool


@dataclass(frozen=True)
class Entity:
    """Properties and links by their names in small letters: everything behind `?` may be written in any case."""

    name: str
    key: tuple[str, ...]
    properties: dict[str, Property]
    links: dict[str, Link] = field(default_factory=dict)

    @property
    def type(self) -> str:
        return f"{NAMESPACE}.{self.name}"

    def neutral(self) -> dict[str, Any]:
        """A document with nothing given: null where that is allowed."""
        return {each.name: each.neutral for each in self.properties.values()}


@cache
def _model() -> dict[str, Any]:
    return msgspec.json.decode(FILE.read_bytes())


def _property(name: str, described: dict[str, Any]) -> Property:
    written, nullable = described["type"], described["nullable"]
    many = written.startswith("Collection(")
    written = written.removeprefix("Collection(").removesuffix(")")
    if written.startswith("enum:"):
        return Property(name, "Enum", nullable, many, tuple(_model()["enums"][written[5:]]), written[5:])
    if written.startswith("complex:"):
        return Property(name, "Complex", nullable, many, complex=written[8:])
    return Property(name, written.removeprefix("Edm."), nullable, many)


def _properties(described: dict[str, Any]) -> dict[str, Property]:
    return {name.lower(): _property(name, each) for name, each in described.items()}


@cache
def entities() -> dict[str, Entity]:
    return {
        name: Entity(
            name,
            tuple(each.get("key") or ()),
            _properties(each["properties"]),
            {
                link.lower(): Link(link, to["type"], bool(to["collection"]))
                for link, to in each.get("navigation", {}).items()
            },
        )
        for name, each in _model()["entities"].items()
    }


@cache
def enums() -> dict[str, tuple[str, ...]]:
    return {name: tuple(members) for name, members in _model()["enums"].items()}


@cache
def complexes() -> dict[str, Entity]:
    return {name: Entity(name, (), _properties(each)) for name, each in _model()["complexTypes"].items()}


@cache
def sets() -> dict[str, tuple[str, Entity]]:
    """Entity sets by their names in small letters: (name, entity)."""
    return {
        name.lower(): (name, entities()[entity])
        for name, entity in _model()["entitySets"].items()
        if entity in entities()
    }


@cache
def parameters(action: str) -> Entity:
    """The parameters of an action, e.g. `OrderItems(ID)/Adjust`; each may be left out."""
    described = _model()["actions"][action].get("params", {})
    read = {}
    for name, written in described.items():
        base = written.removesuffix("!")
        inner = base.removeprefix("Collection(").removesuffix(")")
        kind = "enum" if inner in _model()["enums"] else "complex" if inner in _model()["complexTypes"] else ""
        typed = base.replace(inner, f"{kind}:{inner}") if kind else base
        read[name] = {"type": typed, "nullable": not written.endswith("!")}
    return Entity(action, (), _properties(read))


def findings(entity: Entity, document: Any, *, sent: bool = False, whole: bool = True) -> list[str]:
    """What a document breaks of the model, with what is nested in it. `whole`: every property must be there.
    Annotations (`Items@odata.nextLink`) are let through."""
    if not isinstance(document, dict):
        return [f"{entity.name} is an object."]
    wrong = []
    for name, value in document.items():
        prop = entity.properties.get(name.lower())
        link = entity.links.get(name.lower())
        if prop is not None and prop.name == name:
            if found := prop.wrong(value, sent=sent):
                wrong.append(found)
        elif link is not None and link.name == name and not sent:
            below = value if link.many else [value] if value is not None else []
            wrong += [f"{name}: {each}" for doc in below for each in findings(entities()[link.target], doc)]
        elif "@odata." not in name:
            wrong.append(f"The property '{name}' does not exist on type '{entity.type}'.")
    if whole:
        wrong += [f"{each.name} is missing." for each in entity.properties.values() if each.name not in document]
    return wrong
