"""A mapping table as a value: what the reader makes of a file, the checker compares and the runner runs.

In: nothing. Out: fields, their sources and converters, and the line of each word. Never: a file, a frame.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from crossdock.config.nodes import Finding
from crossdock.mapping import contracts
from crossdock.mapping.contracts import Document, Field
from crossdock.mapping.plan import Plan, in_order
from crossdock.mapping.registry import LINES, LISTS, MADE, NamedRule, named_rules

OF_HEAD = "head."  # in a line's `from`: a column of the document


@dataclass(frozen=True)
class Step:
    """One converter in a field's chain, with its argument."""

    name: str
    argument: Any
    line: int

    def __str__(self) -> str:
        return self.name if self.argument is None else f"{self.name} {self.argument}"


@dataclass(frozen=True)
class FieldMap:
    """One row of a table: where one target field comes from."""

    target: str
    line: int
    sources: tuple[str, ...] = ()
    convert: tuple[Step, ...] = ()
    lookup: str | None = None
    misses: str = "problem"  # or "default"
    default: Any = None
    constant: Any = None
    required: Any = None  # True, False, "later"; None = as the contract says
    rule: str | None = None
    note: str = ""
    lines: dict[str, int] = field(default_factory=dict, hash=False, compare=False)  # line of each word

    def at(self, word: str) -> int:
        return self.lines.get(word, self.line)


@dataclass(frozen=True)
class Children:
    """The table of a document's lines."""

    target: str
    source: str
    key: str
    line: int
    fields: tuple[FieldMap, ...]


@dataclass(frozen=True)
class Table:
    """What one mapping file says. `source` and `target` are (system, schema)."""

    name: str
    file: Path
    title: str
    source: tuple[str, str]
    target: tuple[str, str]
    fields: tuple[FieldMap, ...]
    children: Children | None
    not_sent: dict[str, str]
    lines: dict[str, int] = field(hash=False, compare=False)
    rules: tuple[str, ...] = ()  # those that run besides the ones that fields name
    after: str = ""  # the mapping whose rules have made the columns; this one runs none
    shape: tuple[Finding, ...] = ()  # what is wrong with the file itself

    @property
    def source_document(self) -> Document:
        return contracts.document(*self.source)

    @property
    def target_document(self) -> Document:
        return contracts.document(*self.target)

    @property
    def lookups(self) -> Path:
        """The folder of its lookups: beside the folder of all mappings."""
        folder = self.file.parent
        return (folder if "/" not in self.name else folder.parent).parent / "lookups"

    @property
    def reads(self) -> set[str]:
        """What is read of the source: the leaves that fields and rules name, those of lists behind the list's path."""
        rules = named_rules()
        of = {name for rule in self.named if rule in rules for name in rules[rule].reads}
        lines = f"{self.children.source}." if self.children else ""
        fields = {path for one in self.fields for path in one.sources}
        below = {path for one in self.children.fields for path in one.sources} if self.children else set()
        return {
            *fields,
            *(path.removeprefix(OF_HEAD) if path.startswith(OF_HEAD) else lines + path for path in below),
            *(lines + name.removeprefix(LINES) if name.startswith(LINES) else name.removeprefix(LISTS) for name in of),
        }

    @property
    def every_field(self) -> tuple[FieldMap, ...]:
        return (*self.fields, *(self.children.fields if self.children else ()))

    @cached_property
    def named(self) -> dict[str, int]:
        """The rules that the table names, each with the line where it does so first; `rules` come first."""
        named = {name: self.lines.get(f"rules.{name}", 1) for name in self.rules}
        for one in self.every_field:
            if one.rule:
                named.setdefault(one.rule, one.at("rule"))
        return named

    @cached_property
    def plan(self) -> Plan:
        """The table's rules in their order; unknown ones are left out, which the check says."""
        rules = named_rules()
        return in_order([] if self.after else [rules[name] for name in self.named if name in rules])


def target_field(document: Document, path: str) -> Field | None:
    """The contract's field for a target path, which may name an entry of a list (`ExternalIDs[0].ID`)."""
    outer, bracket, inner = path.partition("[")
    if not bracket:
        return document.fields.get(path)
    whole = document.fields.get(outer)
    number, _, rest = inner.partition("].")
    if whole is None or whole.items is None or not (number.isascii() and number.isdecimal()):
        return None
    return target_field(whole.items, rest)


def sources_of(one: FieldMap, rule: NamedRule | None, *, of_line: bool = False) -> tuple[str, ...]:
    """The columns that a field reads: as said, or the rule's column of the target's name."""
    return one.sources or ((one.target,) if rule and one.target in written_by(rule, of_line=of_line) else ())


def written_by(rule: NamedRule | None, *, of_line: bool = False) -> tuple[str, ...]:
    """The columns that a rule adds to the heads, or to the lines, by the names that a table uses."""
    if rule is None:
        return ()
    if not of_line:
        return tuple(name for name in rule.writes if not name.startswith((LINES, MADE)))
    return tuple(name.partition(".")[2] for name in rule.writes if name.startswith((LINES, MADE)))
