"""Changes a mapping file as its text: a line, a word of a line, a rule, a field that is not sent.

In: the text of a file, a change. Out: the text with that change and no other: every other byte, comment and order
stays. Never: a text that says anything else than asked (each change is read back and compared); a file with anchors or
lists in one line, which a person edits by hand.

A line is named by its part (`fields`, or `children` for those of a document's lines) and its target. What it says are
its words as the language has them: `from` is a path or a list of paths, `convert` a list of (name, argument or None),
the others are single values.
"""

from __future__ import annotations

import copy
import json
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import yaml

from crossdock.config.nodes import plain
from crossdock.errors import ConfigError

Part = Literal["fields", "children"]
Words = Mapping[str, Any]  # None takes a word away
WORDS = ("target", "from", "rule", "convert", "lookup", "missing", "default", "constant", "required", "note")
_MARKS = frozenset("&*!")  # without these characters there is no anchor and no tag
_FAST: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
BYTE_ORDER_MARK = "\ufeff"
WIDTH = 120  # of a line written between braces
_BY_HAND = "Change the file by hand, or write it as docs/MAPPINGS.md shows, a `- target:` for each field."
_UNSEEN = ("Cc", "Cf", "Cs", "Zl", "Zp", "Co", "Cn")  # kinds of characters that are written by their number


@dataclass(frozen=True)
class Splice:
    """One stretch of a text in place of another; `undone` is exact."""

    start: int
    removed: str
    added: str

    def applied(self, text: str) -> str:
        return text[: self.start] + self.added + text[self.start + len(self.removed) :]

    def undone(self, text: str) -> str:
        return Splice(self.start, self.added, self.removed).applied(text)


def splice(before: str, after: str) -> Splice:
    """The shortest stretch by which two texts differ."""
    most = min(len(before), len(after))
    start = next((at for at in range(most) if before[at] != after[at]), most)
    tail = next((at for at in range(most - start) if before[-1 - at] != after[-1 - at]), most - start)
    return Splice(start, before[start : len(before) - tail], after[start : len(after) - tail])


def line_text(text: str, part: Part, target: str) -> str | None:
    """A line as it stands in the file, without its dash; None where it is not there."""
    file = _File(text)
    try:
        _, entry = _found(file.entries(part), target)
    except ConfigError:
        return None
    first = entry.pairs[0][0].start_mark
    rows = file.text[entry.dash + 1 : entry.end].strip().splitlines()
    indent = " " * first.column
    return "\n".join(row.removeprefix(indent) for row in rows)


# ---- the changes ---------------------------------------------------------------------------------------------------


def add_line(text: str, part: Part, words: Words) -> str:
    """Adds a line: behind those of the same object, otherwise at the end of its part."""
    words = _given(words)
    file = _File(text)
    entries = file.entries(part)
    target = words["target"]
    if any(one.target == target for one in entries):
        raise ConfigError(f"{target} is mapped already.", do="Change its line instead of adding a second one.")
    parent = target.rpartition(".")[0]
    beside = [at for at, one in enumerate(entries) if parent and one.target.rpartition(".")[0] == parent]
    after = beside[-1] if beside else len(entries) - 1

    def change(content: Any) -> None:
        _list(content, part).insert(after + 1, _content(words))

    if not entries:
        sequence, key = file.sequence(part)
        indent = " " * (key.start_mark.column + 2)
        body = f"{file.newline}{indent}- {_braces(words)}"
        start = file.after_colon(key)
        return file.changed(start, file.end(sequence), body, change)
    neighbour = entries[after]
    indent = " " * neighbour.dash_column
    flow = neighbour.flow and "note" not in words and len(indent) + 2 + len(_braces(words)) <= WIDTH
    body = f"- {_braces(words)}" if flow else _block(words, indent, file.newline)
    at = file.line_end(neighbour.end)
    return file.changed(at, at, f"{file.newline}{indent}{body}", change)


def remove_line(text: str, part: Part, target: str) -> str:
    """Removes a line; remarks that stand above it stay."""
    file = _File(text)
    entries = file.entries(part)
    at, entry = _found(entries, target)

    def change(content: Any) -> None:
        del _list(content, part)[at]

    if len(entries) == 1:
        _, key = file.sequence(part)
        return file.changed(file.after_colon(key), entry.end, " []", change)
    return file.changed(*file.whole_lines(entry.dash, entry.end), "", change)


def change_line(text: str, part: Part, target: str, words: Words) -> str:
    """Says other words of a line; those that are None are taken away, all others stay as they are."""
    for word, value in words.items():
        text = _change_word(text, part, target, word, value)
        target = value if word == "target" else target
    return text


def add_rule(text: str, name: str) -> str:
    """Adds a rule to those that run besides the ones that fields name."""
    file = _File(text)
    pair = file.pair(file.root, "rules")
    shown = scalar(name, flow=False)

    def change(content: Any) -> None:
        content["rules"] = [*(content.get("rules") or []), name]

    if pair is None:
        at = file.line_start(file.wanted(file.root, "fields")[0].start_mark.index)
        return file.changed(at, at, f"rules:{file.newline}  - {shown}{file.newline}{file.newline}", change)
    key, node = pair
    if not node.value:
        indent = " " * (key.start_mark.column + 2)
        return file.changed(file.after_colon(key), file.end(node), f"{file.newline}{indent}- {shown}", change)
    items = file.items(node)
    at = file.line_end(file.end(items[-1][0]))
    return file.changed(at, at, f"{file.newline}{' ' * items[-1][2]}- {shown}", change)


def remove_rule(text: str, name: str) -> str:
    """Removes a rule from those that run besides."""
    file = _File(text)
    key, node = file.wanted(file.root, "rules")
    items = file.items(node)
    at = next((at for at, (one, _, _) in enumerate(items) if one.value == name), None)
    if at is None:
        raise ConfigError(f"{name!r} is not among the rules.", do="Look at `rules` of the mapping.")

    def change(content: Any) -> None:
        del content["rules"][at]
        if not content["rules"]:
            del content["rules"]

    if len(items) > 1:
        return file.changed(*file.whole_lines(items[at][1], file.end(items[at][0])), "", change)
    start, end = file.whole_lines(key.start_mark.index, file.end(node))
    if file.text.startswith(file.newline, end):  # the empty line behind it
        end += len(file.newline)
    return file.changed(start, end, "", change)


def set_not_sent(text: str, path: str, reason: str | None) -> str:
    """Says why a target field stays out; None: it no longer does."""
    file = _File(text)
    found = file.pair(file.root, "not_sent")
    pairs = found[1].value if found and isinstance(found[1], yaml.MappingNode) else []
    if found and isinstance(found[1], yaml.MappingNode) and found[1].flow_style:
        raise ConfigError("`not_sent` stands in one line.", do=_BY_HAND)
    held = next(((key, node) for key, node in pairs if key.value == path), None)
    shown = f"{scalar(path, flow=False)}: {scalar(reason or '', flow=False)}"

    def change(content: Any) -> None:
        content.setdefault("not_sent", {})
        content["not_sent"] = content["not_sent"] or {}
        if reason is None:
            content["not_sent"].pop(path, None)
        else:
            content["not_sent"][path] = reason
        if not content["not_sent"]:
            del content["not_sent"]

    if reason is None:
        if held is None:
            return text
        if len(pairs) > 1:
            return file.changed(*file.whole_lines(held[0].start_mark.index, file.end(held[1])), "", change)
        assert found
        return file.changed(*file.whole_lines(found[0].start_mark.index, file.end(found[1])), "", change)
    if held:
        return file.changed(file.after_colon(held[0]), file.end(held[1]), f" {scalar(reason, flow=False)}", change)
    if pairs:
        at, indent = file.line_end(file.end(pairs[-1][1])), " " * pairs[-1][0].start_mark.column
        return file.changed(at, at, f"{file.newline}{indent}{shown}", change)
    if found:
        return file.changed(file.after_colon(found[0]), file.end(found[1]), f"{file.newline}  {shown}", change)
    at = file.line_end(file.end(file.root))
    return file.changed(at, at, f"{file.newline}not_sent:{file.newline}  {shown}", change)


def _change_word(text: str, part: Part, target: str, word: str, value: Any) -> str:
    _require_word(word)
    file = _File(text)
    at, entry = _found(file.entries(part), target)
    held = next((pair for pair in entry.pairs if pair[0].value == word), None)
    if value is None and (held is None or word == "target"):
        return text

    def change(content: Any) -> None:
        line = _list(content, part)[at]
        if value is None:
            del line[word]
        else:
            line[word] = _content({word: value})[word]

    if value is None:
        assert held
        return file.changed(*file.stretch_of(entry, held), "", change)
    if held:
        shown = written(word, value, flow=entry.flow)
        if plain(held[1]) == _content({word: value})[word]:
            return text  # it says so, in whatever way
        key, node = held
        if not isinstance(node, yaml.ScalarNode) and node.start_mark.line != key.start_mark.line:
            return file.changed(file.after_colon(key), file.end(node), f" {shown}", change)
        if node.start_mark.index == node.end_mark.index:  # nothing stands there
            return file.changed(file.after_colon(key), file.after_colon(key), f" {shown}", change)
        return file.changed(node.start_mark.index, file.end(node), shown, change)
    before = [pair for pair in entry.pairs if pair[0].value in WORDS[: WORDS.index(word)]] or entry.pairs[:1]
    last = file.end(before[-1][1])
    shown = f"{word}: {written(word, value, flow=entry.flow)}"
    if entry.flow:
        return file.changed(last, last, f", {shown}", change)
    last = file.line_end(last)
    indent = " " * entry.pairs[0][0].start_mark.column
    return file.changed(last, last, f"{file.newline}{indent}{shown}", change)


# ---- where things stand --------------------------------------------------------------------------------------------

Pair = tuple[yaml.Node, yaml.Node]


@dataclass(frozen=True)
class _Entry:
    """One line of the file. `dash` and `end`: where it begins and ends."""

    target: str
    pairs: list[Pair]
    flow: bool
    dash: int
    dash_column: int
    end: int


class _File:
    """A text with the places of its nodes."""

    def __init__(self, text: str) -> None:
        self.mark = BYTE_ORDER_MARK if text.startswith(BYTE_ORDER_MARK) else ""
        text = text.removeprefix(self.mark)  # the loader's places do not count it
        self.text = text
        first = text.find("\n")
        self.newline = "\r\n" if first > 0 and text[first - 1] == "\r" else "\n"
        try:
            for token in yaml.scan(text, Loader=yaml.SafeLoader) if _MARKS & set(text) else ():
                if isinstance(token, (yaml.AnchorToken, yaml.AliasToken, yaml.TagToken)):
                    line = token.start_mark.line + 1
                    raise ConfigError(f"Line {line} has an anchor or a tag, which is edited by hand.", do=_BY_HAND)
            root = yaml.compose(text, Loader=_FAST)
        except (yaml.YAMLError, RecursionError) as error:
            raise ConfigError("This is no YAML that can be changed.", do=f"Correct it first: {error}") from None
        if not isinstance(root, yaml.MappingNode) or root.flow_style:
            raise ConfigError("This is no mapping file.", do=_BY_HAND)
        self.root = root

    def changed(self, start: int, end: int, new: str, change: Callable[[Any], None]) -> str:
        """The text with `new` from start to end. Raises ConfigError unless it then says what it said, with `change`."""
        made = self.text[:start] + new + self.text[end:]
        wanted = copy.deepcopy(plain(self.root))
        change(wanted)
        try:
            root = yaml.compose(made, Loader=_FAST)
            same = root is not None and plain(root) == wanted
        except yaml.YAMLError:
            same = False
        if not same:
            raise ConfigError("The file is written in a way in which this cannot be changed.", do=_BY_HAND)
        return self.mark + made

    # ---- nodes

    def pair(self, node: yaml.MappingNode, word: str) -> Pair | None:
        return next(((key, value) for key, value in node.value if key.value == word), None)

    def wanted(self, node: yaml.MappingNode, word: str) -> Pair:
        found = self.pair(node, word)
        if found is None:
            raise ConfigError(f"The file has no `{word}`.", do=_BY_HAND)
        return found

    def sequence(self, part: Part) -> tuple[yaml.Node, yaml.Node]:
        """The list of a part, and the word that it stands behind."""
        node: Any = self.root
        if part == "children":
            node = self.wanted(self.root, "children")[1]
            if not isinstance(node, yaml.MappingNode) or node.flow_style:
                raise ConfigError("`children` stands in one line.", do=_BY_HAND)
        key, found = self.wanted(node, "fields")
        return found, key

    def items(self, node: yaml.Node) -> list[tuple[yaml.Node, int, int]]:
        """Each entry of a list, with the place and the column of its dash."""
        if not isinstance(node, yaml.SequenceNode) or (node.flow_style and node.value):
            raise ConfigError("A list stands in one line.", do=_BY_HAND)
        found = []
        for one in node.value:
            dash = self.text.rindex("-", 0, one.start_mark.index)
            column = dash - self.line_start(dash)
            if self.text[dash + 1 : one.start_mark.index].strip() or self.text[dash - column : dash].strip():
                raise ConfigError("An entry of a list does not begin its line.", do=_BY_HAND)
            found.append((one, dash, column))
        return found

    def entries(self, part: Part) -> list[_Entry]:
        found = []
        for one, dash, column in self.items(self.sequence(part)[0]):
            target = self.pair(one, "target") if isinstance(one, yaml.MappingNode) else None
            if not isinstance(one, yaml.MappingNode) or target is None:
                raise ConfigError("A field of the file has no `target`.", do=_BY_HAND)
            found.append(_Entry(str(target[1].value), one.value, bool(one.flow_style), dash, column, self.end(one)))
        return found

    # ---- places

    def line_start(self, at: int) -> int:
        return self.text.rfind("\n", 0, at) + 1

    def line_end(self, at: int) -> int:
        """Where the line ends, before its line break."""
        end = self.text.find("\n", at)
        end = len(self.text) if end < 0 else end
        return end - 1 if self.text[at:end].endswith("\r") else end

    def whole_lines(self, start: int, end: int) -> tuple[int, int]:
        """The lines that hold a stretch, with their line break; at the end of a text the one before."""
        first, last = self.line_start(start), self.text.find("\n", end)
        if last >= 0:
            return first, last + 1
        return max(0, first - len(self.newline)), len(self.text)

    def after_colon(self, key: yaml.Node) -> int:
        return self.text.index(":", key.end_mark.index) + 1

    def stretch_of(self, entry: _Entry, pair: Pair) -> tuple[int, int]:
        """What is removed along with a word."""
        at = next(number for number, one in enumerate(entry.pairs) if one[0] is pair[0])
        if at == 0:
            following = entry.pairs[1][0].start_mark.index if len(entry.pairs) > 1 else self.end(pair[1])
            return pair[0].start_mark.index, following
        if entry.flow:
            return self.end(entry.pairs[at - 1][1]), self.end(pair[1])
        return self.whole_lines(pair[0].start_mark.index, self.end(pair[1]))

    def end(self, node: yaml.Node) -> int:
        """Where what a node says ends; marks of blocks reach to what comes next."""
        if isinstance(node, yaml.ScalarNode):
            if node.style in ("|", ">"):
                return len(self.text[: node.end_mark.index].rstrip(" \r\n"))
            return node.end_mark.index
        if not isinstance(node, yaml.CollectionNode) or node.flow_style or not node.value:
            return node.end_mark.index
        last = node.value[-1]
        return self.end(last[1] if isinstance(node, yaml.MappingNode) else last)


def _found(entries: Sequence[_Entry], target: str) -> tuple[int, _Entry]:
    for at, one in enumerate(entries):
        if one.target == target:
            return at, one
    raise ConfigError(f"{target} is not mapped.", do="Add a line for it.")


def _list(content: Any, part: Part) -> list:
    whole = content["children"] if part == "children" else content
    whole["fields"] = whole["fields"] or []
    return whole["fields"]


# ---- how things are written ----------------------------------------------------------------------------------------


def _given(words: Words) -> dict[str, Any]:
    """The words that say something, in their order."""
    for word in words:
        _require_word(word)
    given = {word: words[word] for word in WORDS if words.get(word) not in (None, "", [], ())}
    if not isinstance(given.get("target"), str):
        raise ConfigError("A line without a target says nothing.", do="Choose the target field.")
    return given


def _require_word(word: str) -> None:
    if word not in WORDS:
        raise ConfigError(f"A line has no word {word!r}.", do=f"The words are: {', '.join(WORDS)}.")


def _content(words: Words) -> dict[str, Any]:
    """The words as the reader has them."""
    made: dict[str, Any] = {}
    for word, value in words.items():
        if word == "from" and not isinstance(value, str):
            made[word] = value[0] if len(value) == 1 else list(value)
        elif word == "convert":
            steps = [name if argument is None else {name: argument} for name, argument in value]
            made[word] = steps[0] if len(steps) == 1 else steps
        else:
            made[word] = value
    return made


def _braces(words: Words) -> str:
    return "{" + ", ".join(f"{word}: {written(word, value, flow=True)}" for word, value in words.items()) + "}"


def _block(words: Words, indent: str, newline: str) -> str:
    rows = [f"{word}: {written(word, value, flow=False)}" for word, value in words.items()]
    return "- " + f"{newline}{indent}  ".join(rows)


def written(word: str, value: Any, *, flow: bool) -> str:
    """The value of a word as it stands in a file."""
    return _written(_content({word: value})[word], flow=flow)


def _written(value: Any, *, flow: bool) -> str:
    if isinstance(value, list):
        return "[" + ", ".join(_written(one, flow=True) for one in value) + "]"
    if isinstance(value, dict):
        pairs = (f"{scalar(name, flow=True)}: {_written(one, flow=True)}" for name, one in value.items())
        return "{" + ", ".join(pairs) + "}"
    return scalar(value, flow=flow)


def scalar(value: Any, *, flow: bool) -> str:
    """A text, whole number or yes or no: without quotes where it is read back as it is."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return str(value)
    if not isinstance(value, str):
        raise ConfigError(
            "A value is a text, a whole number, or yes or no.", do="Write a number with a point in quotes."
        )
    return value if _is_plain(value, flow=flow) else _quoted(value)


def _is_plain(text: str, *, flow: bool) -> bool:
    if not text or "\n" in text or any(unicodedata.category(one) in _UNSEEN for one in text):
        return False
    sample = f"- {{k: {text}, l: m}}" if flow else f"- k: {text}"
    wanted = [{"k": text, "l": "m"}] if flow else [{"k": text}]
    try:
        node = yaml.compose(sample, Loader=yaml.SafeLoader)
        return node is not None and plain(node) == wanted and node.value[0].value[0][1].style is None
    except (yaml.YAMLError, ValueError):
        return False


def _quoted(text: str) -> str:
    """In double quotes; what cannot be seen is written by its number."""
    made = []
    for one in text:
        if unicodedata.category(one) not in _UNSEEN:
            made.append(json.dumps(one, ensure_ascii=False)[1:-1])
        elif ord(one) <= 0xFFFF:
            made.append(f"\\u{ord(one):04X}")
        else:
            made.append(f"\\U{ord(one):08X}")
    return '"' + "".join(made) + '"'
