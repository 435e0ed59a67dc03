"""$filter: read into a tree, checked against the types of the model, evaluated on a node.

In: the text of a filter. Out: a predicate; what a filter needs of a property (values, bounds), so that not every row is
looked at. Never: a comparison of two types (an enum or text without quotes, a time in quotes: BadQuery).

Known: eq ne gt ge lt le, and or not, brackets, null, `Labels/any(l: l/Name eq 'X')` and `all`, contains startswith
endswith length indexof substring tolower toupper trim concat, year month day hour minute second, round floor ceiling.
Text compares without case, as the live service does.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Protocol

from sandbox.channel_advisor_v1.schema import Entity, Property, entities
from sandbox.kernel import clock


class BadQuery(Exception):
    """A query option that cannot be answered; a sentence as OData says it."""


class Node(Protocol):
    """What a filter is evaluated on."""

    values: dict[str, Any]

    def link(self, name: str) -> Any: ...


Predicate = Callable[[Node], Any]
_TOKEN = re.compile(
    r"\s*(?:(?P<text>'(?:[^']|'')*')"
    r"|(?P<time>\d{4}-\d\d-\d\d(?:T\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:Z|[+-]\d\d:\d\d)?)?)"
    r"|(?P<number>-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?[mMdDlLfF]?)"
    r"|(?P<word>[A-Za-z_][A-Za-z0-9_]*)"
    r"|(?P<sign>[(),/:]))"
)
_COMPARE = {
    "eq": operator.eq, "ne": operator.ne, "gt": operator.gt, "ge": operator.ge, "lt": operator.lt, "le": operator.le,
}  # fmt: skip
_TURNED = {"gt": "lt", "ge": "le", "lt": "gt", "le": "ge", "eq": "eq", "ne": "ne"}
_KIND_NAMES = {"eq": "Equal", "ne": "NotEqual", "gt": "GreaterThan", "ge": "GreaterThanOrEqual", "lt": "LessThan",
               "le": "LessThanOrEqual"}  # fmt: skip
NUMBERS = ("Byte", "Int32", "Int64", "Decimal", "Double")


@dataclass(frozen=True)
class Value:
    """A typed part of a filter. `read` gives it of a node; `name` is a plain property's, `constant` a literal's."""

    kind: str  # String, Number, DateTimeOffset, Boolean, Enum, Null
    read: Predicate
    name: str = ""
    constant: Any = None
    property: Property | None = None


@dataclass(frozen=True)
class Compare:
    property: str
    operator: str
    value: Any


@dataclass(frozen=True)
class Junction:
    """`all`: and; else or."""

    parts: tuple[Any, ...]
    all: bool


@dataclass(frozen=True)
class Filter:
    """`holds` on a node; `tree` of Compare and Junction, None for a part that says nothing of a plain property."""

    holds: Predicate
    tree: Any

    def values(self, name: str) -> set[Any] | None:
        """The values that a property must have; None where the filter does not say."""
        return _values(self.tree, name)

    def bounds(self, *names: str) -> tuple[Any, Any]:
        """(least, most) that one of these properties can have, both inclusive; None where it is open."""
        return _bounds(self.tree, names)

    def is_only_of(self, *names: str) -> bool:
        """Whether the filter is nothing but bounds of these properties."""
        parts = self.tree.parts if isinstance(self.tree, Junction) and self.tree.all else (self.tree,)
        return all(isinstance(p, Compare) and p.property in names for p in parts)


def _values(tree: Any, name: str) -> set[Any] | None:
    if isinstance(tree, Compare):
        return {tree.value} if tree.property == name and tree.operator == "eq" else None
    if not isinstance(tree, Junction):
        return None
    found = [_values(part, name) for part in tree.parts]
    stated = [each for each in found if each is not None]
    if tree.all:
        return set.intersection(*stated) if stated else None
    return set.union(*stated) if len(stated) == len(found) else None


def _bounds(tree: Any, names: tuple[str, ...]) -> tuple[Any, Any]:
    if isinstance(tree, Compare) and tree.property in names and tree.value is not None:
        least = tree.value if tree.operator in ("eq", "gt", "ge") else None
        most = tree.value if tree.operator in ("eq", "lt", "le") else None
        return least, most
    if not isinstance(tree, Junction):
        return None, None
    pairs = [_bounds(part, names) for part in tree.parts]
    lows, highs = [low for low, _ in pairs if low is not None], [high for _, high in pairs if high is not None]
    if tree.all:
        return max(lows, default=None), min(highs, default=None)
    return (
        min(lows) if len(lows) == len(pairs) else None,
        max(highs) if len(highs) == len(pairs) else None,
    )


def read(text: str, entity: Entity) -> Filter:
    """The filter of rows of an entity. BadQuery."""
    parser = _Parser(_tokens(text), {"": entity})
    value, tree = parser.either()
    if parser.kind() != "end":
        raise BadQuery(f"Syntax error at position {parser.place()} in '{text}'.")
    if value.kind != "Boolean":
        raise BadQuery("The $filter expression must evaluate to a single boolean value.")
    return Filter(value.read, tree)


def _tokens(text: str) -> list[tuple[str, str, int]]:
    found, place = [], 0
    while text[place:].strip():
        match = _TOKEN.match(text, place)
        if not match or match.lastgroup is None:
            raise BadQuery(f"Syntax error at position {place} in '{text}'.")
        found.append((match.lastgroup, match.group(match.lastgroup), match.start(match.lastgroup)))
        place = match.end()
    return [*found, ("end", "", len(text))]


def comparable(property: Property, value: Any) -> Any:
    """A property's value as filters and orders compare it: times as ticks, text without case."""
    if value is None:
        return None
    if property.kind == "DateTimeOffset":
        return clock.parse(value)
    if property.kind == "String":
        return value.casefold()
    return value


class _Parser:
    """Recursive descent; `scope` holds the entity of each range variable, "" that of the row."""

    def __init__(self, tokens: list[tuple[str, str, int]], scope: dict[str, Entity]) -> None:
        self.tokens, self.scope, self.at = tokens, scope, 0

    # ---- tokens ----
    def kind(self) -> str:
        return self.tokens[self.at][0]

    def text(self) -> str:
        return self.tokens[self.at][1]

    def place(self) -> int:
        return self.tokens[self.at][2]

    def next(self) -> tuple[str, str]:
        kind, text, _ = self.tokens[self.at]
        self.at += 1
        return kind, text

    def sign(self, sign: str) -> bool:
        if self.kind() == "sign" and self.text() == sign:
            self.at += 1
            return True
        return False

    def word(self, *words: str) -> str | None:
        if self.kind() == "word" and self.text() in words:
            return self.next()[1]
        return None

    def need(self, sign: str) -> None:
        if not self.sign(sign):
            raise BadQuery(f"'{sign}' expected at position {self.place()}.")

    # ---- logic ----
    def either(self) -> tuple[Value, Any]:
        return self._joined("or", self.both, any, all_=False)

    def both(self) -> tuple[Value, Any]:
        return self._joined("and", self.negated, all, all_=True)

    def _joined(self, word: str, below: Callable[[], tuple[Value, Any]], join: Any, *, all_: bool) -> tuple[Value, Any]:
        found = [below()]
        while self.word(word):
            found.append(below())
        if len(found) == 1:
            return found[0]
        for value, _ in found:
            if value.kind != "Boolean":
                raise BadQuery(f"The operands of '{word}' must be boolean.")
        reads = [value.read for value, _ in found]
        tree = Junction(tuple(tree for _, tree in found), all=all_)
        return Value("Boolean", lambda node: join(read(node) for read in reads)), tree

    def negated(self) -> tuple[Value, Any]:
        if self.word("not"):
            value, _ = self.negated()
            if value.kind != "Boolean":
                raise BadQuery("The operand of 'not' must be boolean.")
            read = value.read
            return Value("Boolean", lambda node: not read(node)), None
        return self.comparison()

    def comparison(self) -> tuple[Value, Any]:
        left, tree = self.operand()
        sign = self.word(*_COMPARE)
        if sign is None:
            return left, tree
        right, _ = self.operand()
        left, right = _same_type(left, right, sign)
        return Value("Boolean", _compared(left, right, sign)), _plain(left, right, sign)

    # ---- operands ----
    def operand(self) -> tuple[Value, Any]:
        if self.sign("("):
            found = self.either()
            self.need(")")
            return found
        kind, text = self.next()
        if kind == "text":
            return _constant("String", text[1:-1].replace("''", "'")), None
        if kind == "time":
            try:
                moment = text if len(text) == 10 or text[-1] == "Z" or text[-6] in "+-" else f"{text}Z"
                return _constant(
                    "DateTimeOffset", clock.parse(re.sub(r"(T\d\d:\d\d)(Z|[+-])", r"\1:00\2", moment))
                ), None
            except ValueError as error:
                raise BadQuery(f"'{text}' is no moment.") from error
        if kind == "number":
            return _constant("Number", Decimal(text.rstrip("mMdDlLfF"))), None
        if kind != "word":
            raise BadQuery(f"Syntax error at position {self.tokens[self.at - 1][2]}.")
        if text in ("true", "false"):
            return _constant("Boolean", text == "true"), None
        if text == "null":
            return _constant("Null", None), None
        if self.kind() == "sign" and self.text() == "(":
            return self.function(text), None
        return self.path(text), None

    def path(self, first: str) -> Value:
        """A property, that of a linked entity, or `any` and `all` of a collection."""
        if first in self.scope and first:
            self.need("/")
            entity, reach = self.scope[first], _variable(first)
            first = self.next()[1]
        else:
            entity, reach = self.scope[""], _itself
        while True:
            prop = entity.properties.get(first.lower())
            if prop is not None:
                return _property(prop, reach, is_plain=reach is _itself)
            link = entity.links.get(first.lower())
            if link is None:
                raise BadQuery(f"Could not find a property named '{first}' on type '{entity.type}'.")
            self.need("/")
            target = entities()[link.target]
            if link.many:
                return self.quantified(reach, link.name, target)
            entity, reach = target, _followed(reach, link.name)
            first = self.next()[1]

    def quantified(self, reach: Predicate, name: str, target: Entity) -> Value:
        word = self.next()[1].lower()
        if word not in ("any", "all"):
            raise BadQuery(f"'{word}' is no function of a collection; known: any, all.")
        self.need("(")
        if word == "any" and self.sign(")"):
            return Value("Boolean", lambda node: bool(reach(node).link(name)))
        variable = self.next()[1]
        self.need(":")
        outer = self.scope
        self.scope = outer | {variable: target}
        value, _ = self.either()
        self.scope = outer
        self.need(")")
        read, join = value.read, any if word == "any" else all
        return Value(
            "Boolean", lambda node: join(read(_Bound(node, variable, each)) for each in reach(node).link(name))
        )

    def function(self, name: str) -> Value:
        self.need("(")
        arguments = [self.operand()[0]]
        while self.sign(","):
            arguments.append(self.operand()[0])
        self.need(")")
        described = _FUNCTIONS.get(name.lower())
        if described is None:
            raise BadQuery(f"An unknown function with name '{name}' was found.")
        takes, gives, work = described
        kinds = ["String" if each.kind == "Enum" else each.kind for each in arguments]
        if kinds not in ([*takes], [*takes, "Number"] if name.lower() == "substring" else None):
            raise BadQuery(
                f"No function signature for the function with name '{name}' matches the specified arguments."
            )
        reads = [each.read for each in arguments]

        def result(node: Node) -> Any:
            given = [read(node) for read in reads]
            return None if None in given else work(*given)

        return Value(gives, result)


def _moment(text: str) -> int:
    """Ticks; seconds and zone may be left out. BadQuery."""
    zoned = text if len(text) == 10 or text[-1] == "Z" or text[-6] in "+-" else f"{text}Z"
    try:
        return clock.parse(re.sub(r"(T\d\d:\d\d)(Z|[+-])", r"\1:00\2", zoned))
    except ValueError as error:
        raise BadQuery(f"'{text}' is no moment.") from error


class _Bound:
    """A node with a range variable beside it."""

    def __init__(self, node: Any, name: str, each: Any) -> None:
        self.values, self.link = node.values, node.link
        self.variables = getattr(node, "variables", {}) | {name: each}


def _itself(node: Node) -> Any:
    return node


def _variable(name: str) -> Predicate:
    return lambda node: node.variables[name]  # type: ignore[attr-defined]


def _followed(reach: Predicate, name: str) -> Predicate:
    def follow(node: Node) -> Any:
        here = reach(node)
        return None if here is None else here.link(name)

    return follow


def _constant(kind: str, value: Any) -> Value:
    if kind == "String":
        return Value(kind, lambda _: value.casefold(), constant=value)
    return Value(kind, lambda _: value, constant=value)


def _property(prop: Property, reach: Predicate, *, is_plain: bool) -> Value:
    kind = "Number" if prop.kind in NUMBERS else prop.kind

    def get(node: Node) -> Any:
        here = reach(node)
        return None if here is None else comparable(prop, here.values[prop.name])

    return Value(kind, get, name=prop.name if is_plain else "", property=prop)


def _same_type(left: Value, right: Value, sign: str) -> tuple[Value, Value]:
    """Both, an enum's text as its member. BadQuery when their types do not go together."""
    if left.kind == "Enum" and right.kind == "String":
        return left, _member(left, right)
    if right.kind == "Enum" and left.kind == "String":
        return _member(right, left), right
    if "Null" in (left.kind, right.kind):
        if sign not in ("eq", "ne"):
            raise BadQuery(f"'{sign}' does not take null.")
        return left, right
    if left.kind != right.kind:
        raise BadQuery(
            "A binary operator with incompatible types was detected. Found operand types "
            f"'{_shown(left)}' and '{_shown(right)}' for operator kind '{_KIND_NAMES[sign]}'."
        )
    return left, right


def _shown(value: Value) -> str:
    if value.property is not None:
        return value.property.type
    return {"Number": "Edm.Int32"}.get(value.kind, f"Edm.{value.kind}")


def _member(enum: Value, text: Value) -> Value:
    members = enum.property.members if enum.property else ()
    if text.constant is not None and text.constant not in members:
        raise BadQuery(f"The string '{text.constant}' is not a valid enumeration type constant.")
    return Value("Enum", lambda _: text.constant, constant=text.constant)


def _compared(left: Value, right: Value, sign: str) -> Predicate:
    one, other, compare = left.read, right.read, _COMPARE[sign]

    def holds(node: Node) -> bool:
        a, b = one(node), other(node)
        if a is None or b is None:
            return (a is b) if sign == "eq" else (a is not b) if sign == "ne" else False
        return bool(compare(a, b))

    return holds


def _plain(left: Value, right: Value, sign: str) -> Compare | None:
    """The comparison of a plain property with a literal."""
    if left.name and not right.name and right.property is None and right.kind in (left.kind, "Null"):
        return Compare(left.name, sign, right.read(None) if right.kind != "Null" else None)  # type: ignore[arg-type]
    if right.name and not left.name and left.property is None and left.kind in (right.kind, "Null"):
        return Compare(right.name, _TURNED[sign], left.read(None) if left.kind != "Null" else None)  # type: ignore[arg-type]
    return None


def _part(start: int, end: int) -> Callable[[int], int]:
    return lambda ticks: int(clock.text(ticks)[start:end])


def _substring(text: str, start: Decimal, length: Decimal | None = None) -> str:
    return text[int(start) :] if length is None else text[int(start) : int(start) + int(length)]


_FUNCTIONS: dict[str, tuple[tuple[str, ...], str, Callable[..., Any]]] = {
    "contains": (("String", "String"), "Boolean", lambda text, part: part in text),
    "startswith": (("String", "String"), "Boolean", str.startswith),
    "endswith": (("String", "String"), "Boolean", str.endswith),
    "length": (("String",), "Number", len),
    "indexof": (("String", "String"), "Number", str.find),
    "substring": (("String", "Number"), "String", _substring),
    "tolower": (("String",), "String", str.lower),
    "toupper": (("String",), "String", str.casefold),
    "trim": (("String",), "String", str.strip),
    "concat": (("String", "String"), "String", operator.add),
    "year": (("DateTimeOffset",), "Number", _part(0, 4)),
    "month": (("DateTimeOffset",), "Number", _part(5, 7)),
    "day": (("DateTimeOffset",), "Number", _part(8, 10)),
    "hour": (("DateTimeOffset",), "Number", _part(11, 13)),
    "minute": (("DateTimeOffset",), "Number", _part(14, 16)),
    "second": (("DateTimeOffset",), "Number", _part(17, 19)),
    "round": (("Number",), "Number", lambda number: Decimal(number).to_integral_value()),
    "floor": (("Number",), "Number", math.floor),
    "ceiling": (("Number",), "Number", math.ceil),
}
