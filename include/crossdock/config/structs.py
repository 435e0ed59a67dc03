"""Configuration as typed structs: one way from a YAML file to checked values.

In: a path and the msgspec type that its content has. Out: a `File`: the value, the line of everything in it, and all
that is wrong with it. Never: a name that is passed over; a value made of one of another type.

A struct forbids unknown fields. What a type cannot say stands in its method `problems`, as pairs of a field's name and
what is wrong with it; what needs another file, too, is reported through `File.finding` by whoever reads both.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from decimal import Decimal
from functools import cache, lru_cache
from pathlib import Path
from typing import Annotated, Any, ClassVar, Generic, Literal, TypeVar, get_args, get_origin

import msgspec
import yaml

from crossdock.config.nodes import Finding, Reader, Stamp, line_of, plain, refusal, shown, stamp
from crossdock.config.suggest import did_you_mean, nearest

T = TypeVar("T")
Place = tuple[str | int, ...]  # words, and positions in lists, from the root to a value

_NOTHING: Any = object()  # stands for a value that is wrong
_AS_WRITTEN = {"as_written": True}
# Any one value, taken as the text that stands there: `0100` and `NO` keep their characters.
Written = Annotated[str, msgspec.Meta(extra=_AS_WRITTEN)]
Scalar = Annotated[str | int | bool, msgspec.Meta(description="one value")]  # a number with a point is its text
Text = Annotated[str, msgspec.Meta(min_length=1)]
SiteID = Annotated[int, msgspec.Meta(ge=1, description="the number of a site")]
# A percentage, which may be written with its sign.
Percent = Annotated[Decimal, msgspec.Meta(description="a percentage", extra={"percent": True})]
Currency = Annotated[str, msgspec.Meta(pattern="^[A-Z]{3}$", description="a code such as GBP")]


class Struct(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Base of what a file holds. `problems`: what the types cannot say, as (field or the place of one below, what is
    wrong)."""

    what: ClassVar[str] = ""  # how messages call it, "a field"; else it is called by its place in the file

    def problems(self) -> Iterable[tuple[str | Place, str]]:
        return ()


@dataclass(frozen=True, eq=False)
class File(Generic[T]):
    """One file as read. The same object until the file changes, so it may be the key of a cache."""

    path: Path
    value: T | None  # None where too much is wrong for there to be one
    findings: tuple[Finding, ...]
    lines: Mapping[Place, int]

    def has(self, *place: str | int) -> bool:
        """Whether the file itself says something there."""
        return place in self.lines

    def line(self, *place: str | int) -> int:
        """Where it stands, or else what it would stand in."""
        return next(self.lines[place[:end]] for end in range(len(place), -1, -1) if place[:end] in self.lines)

    def finding(self, place: Place, message: str) -> Finding:
        return Finding(self.path, self.line(*place), message)


def load(path: Path, kind: type[T]) -> T:
    """The file's content, read again only when it has changed. Raises ConfigError with everything that is wrong."""
    file = read(path, kind)
    if file.findings or file.value is None:
        raise refusal(file.findings)
    return file.value


def read(path: Path, kind: type[T]) -> File[T]:
    """The file, and what is wrong with it in `findings`. Raises ConfigError where it cannot be read at all."""
    return _read(stamp(path), typing.cast(typing.Hashable, kind))


@lru_cache(maxsize=512)  # several roots of settings
def _read(file: Stamp, kind: Any) -> File[Any]:
    walker = _Walker(file.path)
    value = walker.make(kind, walker.root(), ())
    found = tuple(sorted(walker.findings, key=lambda one: one.line))
    return File(file.path, None if value is _NOTHING else value, found, walker.lines)


@dataclass(frozen=True)
class _Shape:
    """What a type is, taken apart once."""

    form: str  # struct, dict, list or value
    inner: tuple[Any, ...] = ()
    empty: bool = False  # nothing is a value, too
    kind: Any = None  # the type, without None


@cache
def _shape(kind: Any) -> _Shape:
    bare = _bare(kind)
    if get_origin(bare) in (typing.Union, types.UnionType):
        others = [one for one in get_args(bare) if one is not type(None)]
        shapes = [_shape(one) for one in others]
        if len(others) > 1 and any(one.form != "value" for one in shapes):
            return _Shape("either", tuple(others), type(None) in get_args(bare))
        return replace(shapes[0], empty=len(others) < len(get_args(bare)), kind=kind if len(others) > 1 else others[0])
    origin = get_origin(bare) or bare
    if isinstance(origin, type) and issubclass(origin, msgspec.Struct):
        return _Shape("struct", kind=bare)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return _Shape("dict", get_args(bare), kind=kind)
    if origin in (list, tuple):
        return _Shape("list", (get_args(bare)[0], origin), kind=kind)
    return _Shape("value", kind=kind)


class _Walker(Reader):
    """Goes through the nodes and the type at once."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.lines: dict[Place, int] = {}

    def make(self, kind: Any, node: yaml.Node | None, place: Place) -> Any:
        """The value of a node, or _NOTHING where it is wrong, which is reported."""
        self.lines.setdefault(place, line_of(node))
        shape = _shape(kind)
        nothing = node is None or (isinstance(node, yaml.ScalarNode) and plain(node) is None)
        if nothing and shape.empty:
            return None
        if shape.form == "either":
            shape = _shape(self.one_of(shape.inner, node))
        if shape.form == "struct":
            return self.struct(shape.kind, None if nothing else node, place)
        if shape.form == "dict":
            return self.named(shape.inner, None if nothing else node, place)
        if shape.form == "list":
            return self.listed(shape.inner, None if nothing else node, place)
        return self.leaf(shape.kind, node, place)

    def one_of(self, kinds: tuple[Any, ...], node: yaml.Node | None) -> Any:
        """Of several types the one that the node looks like."""
        forms: tuple[str, ...] = ("value",)
        if isinstance(node, yaml.CollectionNode):
            forms = ("struct", "dict") if isinstance(node, yaml.MappingNode) else ("list",)
        return next((one for one in kinds if _shape(one).form in forms), kinds[0])

    def struct(self, kind: Any, node: yaml.Node | None, place: Place) -> Any:
        fields = {one.encode_name: one for one in fields_of(kind)}
        rest = next((name for name, one in fields.items() if extra_of(one.type).get("rest")), "")
        of_others = get_args(_bare(fields.pop(rest).type))[1] if rest else None
        given: dict[str, Any] = {}
        others: dict[str, Any] = {}
        unknown = []
        own_name = getattr(kind, "what", "")
        what = own_name or _called(place)
        if node is not None and not isinstance(node, yaml.MappingNode):
            self.report(node, f"{what} should be `word: value` pairs, {shown(node)}; its words are {_listed(fields)}")
            return _NOTHING
        for key, value in self.pairs(node, what):
            word = key.value
            if word not in fields and rest:
                self.lines[*place, word] = line_of(key)
                others[word] = self.make(of_others, value, (*place, word))
                continue
            if word not in fields:
                hint = did_you_mean(word, fields) or f"; there are {_listed(fields)}"
                self.report(key, f"{what} has no word {word!r}{hint}")
                unknown.append(word)
                continue
            self.lines[*place, word] = line_of(key)
            given[word] = self.make(fields[word].type, value, (*place, word))
        meant = {nearest(word, fields) for word in unknown}
        whole = True
        for word, one in fields.items():
            if not one.required:
                continue
            if word not in given and word not in meant:
                near = nearest(word, others)
                hint = f"; is it meant by {near!r}?" if near else f"; add {describe(one.type)}"
                line = self.lines[(*place, near) if near else place]
                self.findings.append(Finding(self.path, line, f"{what} does not say its `{word}`{hint}"))
            whole = whole and given.get(word, _NOTHING) is not _NOTHING
        if not whole:
            return _NOTHING
        stated = {fields[word].name: value for word, value in given.items() if value is not _NOTHING}
        if rest:
            stated[rest] = {word: value for word, value in others.items() if value is not _NOTHING}
        made = kind(**stated)
        for name, message in made.problems() if isinstance(made, Struct) else ():
            below = (name,) if isinstance(name, str) else name
            line = self.lines.get((*place, *below), self.lines[place])
            self.findings.append(
                Finding(self.path, line, f"{_called(place)}: {message}" if place and not own_name else message)
            )
        return made

    def named(self, kinds: tuple[Any, ...], node: yaml.Node | None, place: Place) -> Any:
        key_kind, kind = kinds
        made = {}
        for key, value in self.pairs(node, _called(place)):
            word = self.leaf(key_kind, key, place, of_key=True)
            if word is _NOTHING:
                continue
            self.lines[*place, word] = line_of(key)
            one = self.make(kind, value, (*place, word))
            if one is not _NOTHING:
                made[word] = one
        return made if node is None or isinstance(node, yaml.MappingNode) else _NOTHING

    def listed(self, kinds: tuple[Any, ...], node: yaml.Node | None, place: Place) -> Any:
        kind, origin = kinds
        made = [
            self.make(kind, one, (*place, position))
            for position, one in enumerate(self.entries(node, _called(place)))
        ]  # fmt: skip
        if node is not None and not isinstance(node, yaml.SequenceNode):
            return _NOTHING
        kept = [position for position, one in enumerate(made) if one is not _NOTHING]
        if len(kept) < len(made):
            self.renumber(place, {old: new for new, old in enumerate(kept)})
        return origin(made[position] for position in kept)

    def renumber(self, place: Place, kept: Mapping[int, int]) -> None:
        """Gives the lines of a list's entries the positions that these have once the wrong ones are left out."""
        depth = len(place)
        within = {one: self.lines.pop(one) for one in list(self.lines) if len(one) > depth and one[:depth] == place}
        for one, line in within.items():
            if one[depth] in kept:
                self.lines[(*place, kept[int(one[depth])], *one[depth + 1 :])] = line

    def leaf(self, kind: Any, node: yaml.Node | None, place: Place, *, of_key: bool = False) -> Any:
        what = _called(place)
        if node is None or not isinstance(node, yaml.ScalarNode):
            self.report(node, f"{what} should be {describe(kind)}{f', {shown(node)}' if node else ''}")
            return _NOTHING
        if extra_of(kind).get("as_written"):
            value: Any = None if plain(node) is None else " ".join(node.value.split())
        else:
            value = _typed(kind, node)
        try:
            return msgspec.convert(value, kind)
        except msgspec.ValidationError:
            written = "empty" if value is None else _quoted(node)
            message = f"{what} has {written}" if of_key else f"{what} is {written}"
            self.report(node, f"{message}{instead(kind, node, value)}")
            return _NOTHING


@cache
def fields_of(kind: Any) -> tuple[Any, ...]:
    """The fields of a struct, as msgspec has them; it looks their types up anew each time."""
    return msgspec.structs.fields(kind)


def _bare(kind: Any) -> Any:
    """A type without what is noted of it."""
    return get_args(kind)[0] if get_origin(kind) is Annotated else kind


def _called(place: Place) -> str:
    """A place in words."""
    return ".".join(map(str, place)) or "the file"


def _listed(words: Iterable[str]) -> str:
    return ", ".join(f"`{word}`" for word in words)


def _quoted(node: yaml.ScalarNode) -> str:
    """A value as it stands in the file."""
    text = node.value if len(node.value) <= 60 else f"{node.value[:59]}…"
    return repr(text) if node.style or node.tag.endswith(":str") else text


def _typed(kind: Any, node: yaml.ScalarNode) -> Any:
    """The value of a node, as the type wants it: numbers with a point exact, days and moments as such."""
    value = plain(node)
    wanted = leaves(kind)
    if isinstance(value, str) and value.endswith("%") and extra_of(kind).get("percent"):
        node = yaml.ScalarNode("tag:yaml.org,2002:float", value[:-1])
    if node.tag.endswith(":float") and wanted & {float, Decimal}:
        try:
            number = Decimal(node.value)
        except ArithmeticError:
            return value
        return number if number.is_finite() else value
    if date in wanted and isinstance(value, str):
        try:
            return date.fromisoformat(value)
        except ValueError:
            return value
    if datetime in wanted and isinstance(value, str):
        try:
            moment = (
                datetime.fromisoformat(value) if node.style or not node.tag.endswith(":timestamp") else _moment(node)
            )
        except ValueError:
            return value
        return moment.replace(tzinfo=moment.tzinfo or UTC)
    if Decimal in wanted and isinstance(value, str):
        return {}  # a number in quotes is none
    return value


def _moment(node: yaml.ScalarNode) -> datetime:
    made = yaml.constructor.SafeConstructor().construct_yaml_timestamp(node)
    return made if isinstance(made, datetime) else datetime(made.year, made.month, made.day, tzinfo=UTC)


def leaves(kind: Any) -> set[Any]:
    """The plain types of which a value may be."""
    bare = _bare(kind)
    if get_origin(bare) in (typing.Union, types.UnionType):
        return {one for inner in get_args(bare) for one in leaves(inner)}
    return {bare} if get_origin(bare) is None else {Literal}


def extra_of(kind: Any) -> dict[str, Any]:
    """What `Meta(extra=...)` says of a type, None of an `X | None` aside: `as_written`; `percent`: a number that may
    end in %; `wrong`: what to say of a cell that is none, with {name} and {text}; `rest`: a dict of all words that the
    struct's other fields do not name."""
    metas = get_args(kind)[1:] if get_origin(kind) is Annotated else ()
    found = {
        word: one.extra[word] for one in metas if isinstance(one, msgspec.Meta) and one.extra for word in one.extra
    }
    if not found and get_origin(kind) in (typing.Union, types.UnionType):
        return next((extra for one in get_args(kind) if (extra := extra_of(one))), {})
    return found


def instead(kind: Any, node: yaml.ScalarNode, value: Any) -> str:
    """What to write instead of a wrong value."""
    choices = choices_of(kind)
    if choices:
        near = nearest(node.value, choices, at_least=70)
        return f"; did you mean {near!r}? It is {describe(kind)}" if near else f"; write {describe(kind)}"
    wanted = leaves(kind)
    if wanted == {str} and value is not None and not isinstance(value, str):
        return f"; put it in quotes to be a text: {node.value!r}"
    if wanted & {int, float, Decimal, bool} and node.style in ("'", '"'):
        return f"; write {describe(kind)}, without quotes"
    return f"; write {describe(kind)}"


def choices_of(kind: Any) -> tuple[str, ...]:
    bare = _bare(kind)
    return tuple(map(str, get_args(bare))) if get_origin(bare) is Literal else ()


_NAMES = {
    int: "a whole number", float: "a number", Decimal: "a number", bool: "yes or no", str: "a text",
    datetime: "a day or a moment, such as 2011-01-31 or 2011-01-31T09:00Z", date: "a day such as 2011-01-31",
}  # fmt: skip


@cache
def describe(kind: Any) -> str:
    """A type in words: what to write. `Meta(description=...)` says it itself."""
    shape = _shape(kind)
    if shape.form in ("struct", "dict"):
        return "`word: value` pairs"
    if shape.form == "list":
        return "a list, each entry beginning with `-`"
    if shape.form == "either":
        return " or ".join(describe(one) for one in shape.inner)
    metas = [one for one in get_args(shape.kind)[1:] if get_origin(shape.kind) is Annotated]
    stated = next((one.description for one in metas if isinstance(one, msgspec.Meta) and one.description), None)
    if stated:
        return stated
    if choices := choices_of(shape.kind):
        return f"one of {', '.join(choices)}"
    name = " or ".join(sorted(_NAMES.get(one, "a value") for one in leaves(shape.kind)))
    least, most = (
        next((getattr(one, bound) for one in metas if getattr(one, bound, None) is not None), None)
        for bound in ("ge", "le")
    )
    if least is not None and most is not None:
        return f"{name} from {least:,} to {most:,}"
    above = next((one.gt for one in metas if getattr(one, "gt", None) is not None), None)
    return (
        f"{name} above {above}" if above is not None else f"{name} of {least:,} or more" if least is not None else name
    )
