"""YAML files as forms: every word of a file with its type, its value, and what the file's remarks say of it.

In: the text of a file and the msgspec type that its content has. Out: `Field`s, which stand inside one another. Never:
a value that is not as it stands in the file; a second opinion on what is wrong with it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, get_args

import msgspec
import yaml

from crossdock.config import yaml_text
from crossdock.config.nodes import line_of, plain
from crossdock.config.structs import _bare, _shape, choices_of, describe, extra_of, fields_of, leaves
from crossdock.config.yaml_text import Place

MOST_DEPTH = 12
_WORD = re.compile(r"^(\s*)([a-z_][\w.]*(?:, [a-z_][\w.]*)*)(?:\s{2,}| )(\S.*)$")


@dataclass(frozen=True)
class Field:
    """One word of a file. `form`: section (words of its own), list (of single values), value, or text: only the file's
    text can hold it. `line` 0: the file does not say it. `default`: what holds then."""

    place: Place
    name: str
    form: str
    line: int = 0
    value: str = ""
    entries: tuple[str, ...] = ()
    write: str = ""  # what to write, in words
    choices: tuple[str, ...] = ()
    as_text: bool = False
    required: bool = False
    default: str = ""
    help: str = ""
    can_go: bool = False  # it may be taken away
    takes: str = ""  # of a section: what the name of a new word is; "": none can be added
    why_text: str = ""
    fields: tuple[Field, ...] = ()
    new: tuple[Field, ...] = field(default=())  # what a new word of it would hold; one without a place for a value


def form(text: str, kind: Any) -> Field:
    """The whole file. Raises ConfigError where it is no YAML."""
    root = yaml_text.root(text)
    return _Maker(text, yaml_text.shared(root)).field(kind, root, (), "", required=True)


def intro(text: str) -> str:
    """What the remarks at the top of a file say of it as a whole."""
    return _split_head(text)[0]


def kind_at(kind: Any, place: Place) -> Any:
    """The type of what stands at a place; None where the type knows no such place."""
    for step in place:
        shape = _shape(kind)
        if shape.form == "either":
            wanted = ("list",) if isinstance(step, int) else ("struct", "dict")
            shape = next((one for one in map(_shape, shape.inner) if one.form in wanted), shape)
        if shape.form == "struct":
            named_fields = {one.encode_name: one.type for one in fields_of(shape.kind)}
            rest = next((word for word, one in named_fields.items() if extra_of(one).get("rest")), "")
            inner = get_args(_bare(named_fields[rest]))[1] if rest else None
            kind = named_fields.get(str(step), inner)
        elif shape.form == "dict":
            kind = shape.inner[1]
        elif shape.form == "list":
            kind = shape.inner[0]
        else:
            return None
        if kind is None:
            return None
    return kind


def is_text(kind: Any) -> bool:
    """Whether a value of this type, or an entry of this list, is a text, whatever it looks like."""
    if kind is None:
        return False
    shape = _shape(kind)
    if shape.form == "either":
        shape = _shape(_of_either(shape.inner, None))
    if shape.form == "list":
        return is_text(shape.inner[0])
    return shape.form == "value" and not extra_of(shape.kind).get("as_written") and leaves(shape.kind) == {str}


class _Maker:
    def __init__(self, text: str, shared: set[int]) -> None:
        self.lines = text.splitlines()
        self.words = _split_head(text)[1]
        self.shared = shared
        self.seen: dict[int, Place] = {}

    def field(self, kind: Any, node: yaml.Node | None, place: Place, name: str, **more: Any) -> Field:
        """One word with all that stands below it."""
        line = more.pop("line", line_of(node) if node is not None else 0)
        shape = _shape(kind)
        facts: dict[str, Any] = {"line": line, "write": describe(kind), "help": self.help(name, line), **more}
        if node is not None and id(node) in self.shared:
            first = self.seen.setdefault(id(node), place)
            why = "Others are as this one, by an alias." if first == place else f"As {_called(first)}, by an alias."
            return Field(place, name, "text", **facts, why_text=why)
        if shape.form == "either":
            shape = _shape(_of_either(shape.inner, node))
            facts["write"] = describe(shape.kind) if shape.form == "value" else facts["write"]
        if len(place) > MOST_DEPTH:
            return Field(place, name, "text", **facts)
        if shape.form == "struct":
            return Field(place, name, "section", **facts, fields=tuple(self.struct(shape.kind, node, place)),
                         takes=_rest(shape.kind))  # fmt: skip
        if shape.form == "dict":
            return self.named(shape, node, place, name, facts)
        if shape.form == "list":
            return self.listed(shape, node, place, name, facts)
        return self.single(shape.kind, node, place, name, facts)

    def struct(self, kind: Any, node: yaml.Node | None, place: Place) -> Iterator[Field]:
        given = _pairs(node)
        named_fields = {one.encode_name: one for one in fields_of(kind)}
        rest = next((word for word, one in named_fields.items() if extra_of(one.type).get("rest")), "")
        for word, one in named_fields.items():
            if word == rest:
                continue
            key, value = given.get(word, (None, None))
            yield self.field(
                one.type, value, (*place, word), word, line=line_of(key) if key is not None else 0,
                required=one.required, default=_default(one), can_go=key is not None and not one.required,
            )  # fmt: skip
        inner = get_args(_bare(named_fields[rest].type))[1] if rest else Any
        for word, (key, value) in given.items():
            if word in named_fields and word != rest:
                continue
            if rest:
                yield self.field(inner, value, (*place, word), word, line=line_of(key), can_go=True)
            else:
                yield Field((*place, word), word, "text", line_of(key), can_go=True,
                            why_text="The file has no such word.")  # fmt: skip

    def named(self, shape: Any, node: yaml.Node | None, place: Place, name: str, facts: dict[str, Any]) -> Field:
        key_kind, kind = shape.inner
        fields = tuple(
            self.field(kind, value, (*place, word), word, line=line_of(key), can_go=True)
            for word, (key, value) in _pairs(node).items()
        )
        new = (self.field(kind, None, (), ""),)
        return Field(place, name, "section", **facts, fields=fields, takes=describe(key_kind), new=new)

    def listed(self, shape: Any, node: yaml.Node | None, place: Place, name: str, facts: dict[str, Any]) -> Field:
        kind, _ = shape.inner
        entries = node.value if isinstance(node, yaml.SequenceNode) else []
        empty = node is None or isinstance(node, yaml.SequenceNode) or plain(node) is None
        single = _shape(kind).form == "value"
        if single and empty and all(isinstance(one, yaml.ScalarNode) for one in entries):
            facts |= {"write": describe(kind), "choices": choices_of(kind)}
            return Field(place, name, "list", **facts, entries=tuple(str(one.value) for one in entries),
                         as_text=is_text(kind))  # fmt: skip
        if not entries:
            return Field(place, name, "text", **facts)
        fields = tuple(self.field(kind, one, (*place, at), str(at + 1)) for at, one in enumerate(entries))
        return Field(place, name, "section", **facts, fields=fields)

    def single(self, kind: Any, node: yaml.Node | None, place: Place, name: str, facts: dict[str, Any]) -> Field:
        facts |= {"choices": choices_of(kind) or _yes_no(kind, node), "as_text": is_text(kind)}
        if node is None:
            return Field(place, name, "value", **facts)
        if not isinstance(node, yaml.ScalarNode):
            return Field(place, name, "text", **facts, why_text="More than one value stands here.")
        if node.style in ("|", ">") or node.start_mark.line != node.end_mark.line:
            return Field(place, name, "text", **{**facts, "value": str(node.value)}, why_text="It has several lines.")
        return Field(place, name, "value", **{**facts, "value": str(node.value)})

    def help(self, name: str, line: int) -> str:
        """What the file says of a word: behind it, in the remark right above it, or at the top of the file."""
        if 0 < line <= len(self.lines):
            behind = re.search(r"\s#\s?(.*)$", self.lines[line - 1])
            if behind and not re.search(r"""["'][^"']*\s#""", self.lines[line - 1]):
                return behind[1].strip()
            above: list[str] = []
            at = line - 2
            column = len(self.lines[line - 1]) - len(self.lines[line - 1].lstrip())
            while column and at >= 0 and re.match(rf"^ {{{column}}}#", self.lines[at]):
                above.insert(0, self.lines[at].strip().removeprefix("#").strip())
                at -= 1
            if above:
                return " ".join(above)
        return self.words.get(name, "")


def _split_head(text: str) -> tuple[str, dict[str, str]]:
    """(what the remarks say of the file, what they say of single words)."""
    of_all: list[str] = []
    words: dict[str, str] = {}
    last: list[str] = []
    indent = 0
    for line in text.splitlines():
        if line.strip() and not line.lstrip().startswith("#"):
            if words or of_all:
                last = []
            if not line.startswith((" ", "#")) and not of_all and not words:
                break
            continue
        if not line.startswith("#"):
            last = []
            continue
        remark = line.removeprefix("#")
        column = len(remark) - len(remark.lstrip())
        found = _WORD.match(remark)
        if last and column > indent + 2:
            for word in last:
                words[word] += f" {remark.strip()}"
        elif found and column >= 2:
            last = found[2].split(", ")
            indent = column
            for word in last:
                words.setdefault(word, found[3].strip())
        else:
            last = []
            of_all.append(remark.removeprefix(" "))
    opening = []
    for line in text.splitlines():
        if not line.startswith("#"):
            break
        opening.append(line.removeprefix("#").removeprefix(" "))
    kept = [line for line in opening if line in of_all]
    return "\n".join(kept).strip(), words


def _pairs(node: yaml.Node | None) -> dict[str, tuple[yaml.Node, yaml.Node]]:
    if not isinstance(node, yaml.MappingNode):
        return {}
    return {
        str(key.value): (key, value)
        for key, value in node.value
        if isinstance(key, yaml.ScalarNode) and not key.tag.endswith(":merge")
    }


def _of_either(kinds: tuple[Any, ...], node: yaml.Node | None) -> Any:
    forms: tuple[str, ...] = ("value",)
    if isinstance(node, yaml.CollectionNode):
        forms = ("struct", "dict") if isinstance(node, yaml.MappingNode) else ("list",)
    return next((one for one in kinds if _shape(one).form in forms), kinds[0])


def _rest(kind: Any) -> str:
    return "a word" if any(extra_of(one.type).get("rest") for one in fields_of(kind)) else ""


def _yes_no(kind: Any, node: yaml.Node | None) -> tuple[str, ...]:
    if leaves(kind) - {type(None)} != {bool}:
        return ()
    written = str(node.value) if isinstance(node, yaml.ScalarNode) else ""
    return ("true", "false") if written in ("true", "false") else ("yes", "no")


def _default(one: Any) -> str:
    """What holds where a word is absent, in words; "" where nothing simple does."""
    value = one.default
    if value is msgspec.NODEFAULT or value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (list, tuple)):
        return ", ".join(map(str, value))
    return "" if isinstance(value, (msgspec.Struct, Mapping)) else str(value)


def _called(place: Place) -> str:
    return ".".join(map(str, place)) or "the file"
