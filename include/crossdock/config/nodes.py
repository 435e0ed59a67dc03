"""YAML files that people edit, read so that every mistake has a file and a line.

In: a path. Out: nodes, and plain values of them. Never: a stack trace for a missing colon; a date or a float made of
what somebody wrote (`2011-01-04` and `0.10` stay text, and so does `0x10`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from crossdock.config.suggest import ended
from crossdock.errors import ConfigError

MOST_NODES = 100_000  # of one file, every alias written out
MOST_DEPTH = 50  # lists and pairs inside one another
MOST_OPENED = (
    2_000  # lists and pairs of a file that is read by the loader in C, which dies of too many inside each other
)
_OPENING = ("[", "{", "- ", "-\t", "? ", "?\t")
SHOWN = 20  # findings in one error
_CORE = "tag:yaml.org,2002:"
_TAGS = {_CORE + name for name in ("null", "bool", "int", "float", "str", "timestamp", "seq", "map", "merge", "value")}
_FAST: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_WHOLE = re.compile(r"-?(0|[1-9][0-9]{0,99})")  # a longer one is read as text: Python refuses to count so far


@dataclass(frozen=True)
class Finding:
    """One thing wrong with a file: what, and what to write instead."""

    file: Path
    line: int
    message: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.message}"


def refusal(findings: Sequence[Finding]) -> ConfigError:
    """All findings of a file as one error, in the order of its lines."""
    shown = [ended(str(one)) for one in findings[:SHOWN]]
    more = [f"And {len(findings) - SHOWN} more."] if len(findings) > SHOWN else []
    return ConfigError(
        "\n".join([*shown, *more]),
        do="Correct the file; nothing was done. `crossdock mapping check` looks at all files.",
    )


@dataclass(frozen=True)
class Stamp:
    """A file as it was last written: the key of a cache of what is made of it."""

    path: Path
    changed: tuple[int, int, int]


def stamp(path: Path) -> Stamp:
    """The file as it is now; of one that cannot be read, too, for its reader says what is the matter."""
    try:
        seen = path.stat()
    except OSError:
        return Stamp(path, (0, 0, 0))
    return Stamp(path, (seen.st_mtime_ns, seen.st_size, seen.st_ino))


class Reader:
    """Opens one file and collects what is wrong with its shape."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.findings: list[Finding] = []

    def root(self) -> yaml.Node | None:
        """The file's content. Raises ConfigError, one sentence with file and line, where it cannot be read at all."""
        text = self._text()
        try:
            root = composed(text)
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            line = mark.line if mark else 0
            raise self._refused(line + 1, *_why(error, text.splitlines()[line : line + 1])) from None
        except yaml.reader.ReaderError as error:
            line = text.count("\n", 0, error.position) + 1
            message = f"this is not YAML: the character U+{ord(text[error.position]):04X} stands here"
            raise self._refused(line, message, "Remove it; it cannot be seen in most editors.") from None
        except RecursionError:
            raise self._refused(1, "this is nested too deep to be read", "See the comments for its shape.") from None
        if root is not None:
            _Weigher(self).weigh(root)
        return root

    def _text(self) -> str:
        try:
            content = self.path.read_bytes()
        except FileNotFoundError:
            raise ConfigError(
                f"{self.path} is missing.", do="Restore it from the repository, or correct CROSSDOCK_CONFIG_DIR."
            ) from None
        except OSError as error:
            reason = error.strerror or type(error).__name__
            raise ConfigError(f"{self.path} cannot be read: {reason}.", do="Make it a file that we may read.") from None
        try:
            return content.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            line = content.count(b"\n", 0, error.start) + 1
            message = f"this is not YAML: the byte {content[error.start]:#04x} is not UTF-8"
            raise self._refused(line, message, "Save the file as UTF-8 text.") from None

    def _refused(self, line: int, message: str, do: str) -> ConfigError:
        return ConfigError(f"{Finding(self.path, line, message)}.", do=f"{do} Nothing was done.")

    def report(self, node: yaml.Node | None, message: str) -> None:
        self.findings.append(Finding(self.path, line_of(node), message))

    def pairs(self, node: yaml.Node | None, what: str) -> list[tuple[yaml.Node, yaml.Node]]:
        """The `word: value` pairs of a node, each word once; those of `<<: *anchor` behind its own."""
        if node is None:
            return []
        if not isinstance(node, yaml.MappingNode):
            self.report(node, f"{what} should be `word: value` pairs, {shown(node)}")
            return []
        seen: set[str] = set()
        kept: list[tuple[yaml.Node, yaml.Node]] = []
        combined: list[tuple[yaml.Node, yaml.Node]] = []
        for key, value in node.value:
            if key.tag == f"{_CORE}merge":
                for one in value.value if isinstance(value, yaml.SequenceNode) else [value]:
                    combined += self.pairs(one, "what `<<` names")
            elif not isinstance(key, yaml.ScalarNode):
                self.report(key, f"{what} has a word that is no text, {shown(key)}")
            elif key.value in seen:
                self.report(key, f"{key.value!r} stands here a second time; remove one of the two")
            else:
                kept.append((key, value))
                seen.add(key.value)
        for key, value in combined:
            if key.value not in seen:
                kept.append((key, value))
                seen.add(key.value)
        return kept

    def entries(self, node: yaml.Node | None, what: str) -> list[yaml.Node]:
        """The entries of a list."""
        if node is None:
            return []
        if isinstance(node, yaml.SequenceNode):
            return node.value
        self.report(node, f"{what} should be a list, each entry beginning with `-`, {shown(node)}")
        return []


class _Weigher:
    """Refuses what only looks small: aliases that hold themselves, or that grow beyond all measure written out."""

    def __init__(self, reader: Reader) -> None:
        self.reader = reader
        self.weights: dict[int, int] = {}
        self.above: set[int] = set()

    def weigh(self, node: yaml.Node) -> int:
        """How many nodes there are in this one, itself included."""
        refused = self.reader._refused
        if id(node) in self.above:
            raise refused(line_of(node), "this holds itself by an alias", "Write out what is meant.")
        if node.tag not in _TAGS:
            name = node.tag.replace(_CORE, "!!")
            raise refused(line_of(node), f"the tag {name} means nothing here", "Remove it.")
        if id(node) not in self.weights:
            self.above.add(id(node))
            if len(self.above) > MOST_DEPTH:
                raise refused(line_of(node), "this is nested too deep", "See the file's comments for its shape.")
            weight = 1 + sum(self.weigh(one) for one in _within(node))
            if weight > MOST_NODES:
                raise refused(
                    line_of(node), f"this is more than {MOST_NODES:,} values, its aliases written out",
                    "Shorten it, or write fewer aliases inside one another.",
                )  # fmt: skip
            self.above.discard(id(node))
            self.weights[id(node)] = weight
        return self.weights[id(node)]


def _within(node: yaml.Node) -> Iterable[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        return (one for pair in node.value for one in pair)
    return node.value if isinstance(node, yaml.SequenceNode) else ()


def composed(text: str) -> yaml.Node | None:
    """The node tree. The loader in C is fast; the one in Python has the better words for what is wrong, and an end when
    lists stand inside one another without one."""
    if sum(map(text.count, _OPENING)) > MOST_OPENED:
        return yaml.compose(text, Loader=yaml.SafeLoader)
    try:
        return yaml.compose(text, Loader=_FAST)
    except (yaml.YAMLError, UnicodeError):
        return yaml.compose(text, Loader=yaml.SafeLoader)


def _why(error: yaml.MarkedYAMLError, line: Sequence[str]) -> tuple[str, str]:
    """What is wrong with a line that is no YAML, and what to do about it."""
    if line and "\t" in line[0][: len(line[0]) - len(line[0].lstrip())]:
        return "this is not YAML: the line begins with a tab", "Indent it with spaces."
    return (
        f"this is not YAML: {error.problem or error.context}",
        "Look at the indentation, colons and quotes of this line and the one before.",
    )


class _Construct(yaml.constructor.SafeConstructor):
    """Plain values; a date, a number with a point and one that is not written in decimal stay the text they are."""

    yaml_constructors = {  # noqa: RUF012 (the base class has it like this)
        **yaml.constructor.SafeConstructor.yaml_constructors,
        f"{_CORE}timestamp": yaml.constructor.SafeConstructor.construct_yaml_str,
        f"{_CORE}float": yaml.constructor.SafeConstructor.construct_yaml_str,
        f"{_CORE}int": lambda self, node: _whole(self.construct_scalar(node)),
        f"{_CORE}bool": lambda self, node: self.bool_values.get(node.value.lower(), node.value),
        f"{_CORE}null": lambda self, node: None if node.value.lower() in ("", "~", "null") else node.value,
    }


def _whole(text: str) -> int | str:
    return int(text) if _WHOLE.fullmatch(text) else text


def plain(node: yaml.Node) -> Any:
    """The value of a node: text, whole number, yes or no, None, lists and dicts of these."""
    return _Construct().construct_document(node)


def line_of(node: yaml.Node | None) -> int:
    return node.start_mark.line + 1 if node is not None else 1


def shown(node: yaml.Node) -> str:
    """What stands there instead, in words."""
    if isinstance(node, yaml.MappingNode):
        return "and here are `word: value` pairs"
    if isinstance(node, yaml.SequenceNode):
        return "and here is a list"
    return "and here is nothing" if plain(node) is None else f"and here is {str(node.value)[:60]!r}"
