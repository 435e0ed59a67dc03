"""The mapping files' language: read a table, check it against both contracts, run it on frames.

In: `include/config/mappings/<name>.yaml`; frames of source documents to which the flow's rules have added their columns.
Out: frames of target documents, and one problem for each value that the table cannot turn into its target.
Never: row by row; a default that the table does not name; a table that does not fit the contracts.

A table reads like this:

    mapping: How a Channel Advisor order becomes a TIMS sales order
    source: channel_advisor Order
    target: tims SalesOrderCreate
    fields:
      - target: ExternalOrderID
        from: ChannelAdvisorOrderID      # a source path, or a list of which the first given value counts
        convert: to text                 # one converter, or a list; `shorten to: 500` where one takes an argument
      - target: ShippingAddress.City
        from: ShipTo.City                # a column that a named rule adds to the source document
        rule: harmonise_addresses
      - target: PaymentStatus
        from: PaymentStatus
        lookup: payment_status           # include/config/lookups/payment_status.csv, first column to second
      - target: Source
        constant: ChannelAdvisor
    children:
      target: LineItems
      from: OrderItems
      key: ExternalLineID                # names a line in problems
      fields: [...]                      # paths relative to the line; `head.TaxRemittedBy` is the document's

More words: `default` (used when nothing is given), `required` (yes, no, or `later`: load fills it in; as the contract
says if absent), `missing: default` (a code that the lookup does not have gets the default instead of a problem), `note`.
`not_sent` names target fields that stay out, each with its reason. `ExternalIDs[0].ID` is a field of a list's first entry.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from crossdock.errors import ConfigError
from crossdock.mapping import contracts, lookups, problems
from crossdock.mapping.contracts import Document, Field
from crossdock.mapping.converters import CONVERTERS
from crossdock.mapping.frames import CENT, LINE, ROW, Frames, scaled, written
from crossdock.mapping.registry import NamedRule, named_rules
from crossdock.mapping.suggest import did_you_mean
from crossdock.mapping.yamls import Finding, Reader, line_of

OF_HEAD = "head."  # in a line's `from`: a column of the document
_FIELD_WORDS = ("target", "from", "convert", "lookup", "missing", "default", "constant", "required", "rule", "note")
_TABLE_WORDS = ("mapping", "source", "target", "fields", "children", "not_sent")
_CHILD_WORDS = ("target", "from", "key", "fields")
_DTYPES = {"integer": "Int64", "number": "Int64", "boolean": "boolean", "text": "str", "moment": "str", "date": "str"}
_EDIT = "Correct it in Channel Advisor or edit this record's payload, then replay it."


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
class Mapping:
    """One mapping file. `source` and `target` are (system, schema)."""

    name: str
    file: Path
    title: str
    source: tuple[str, str]
    target: tuple[str, str]
    fields: tuple[FieldMap, ...]
    children: Children | None
    not_sent: dict[str, str]
    lines: dict[str, int] = field(hash=False, compare=False)
    shape: tuple[Finding, ...] = ()  # what is wrong with the file itself

    @property
    def source_document(self) -> Document:
        return contracts.document(*self.source)

    @property
    def target_document(self) -> Document:
        return contracts.document(*self.target)

    def check(self) -> list[Finding]:
        """Everything in which the table does not fit the contracts, converters, lookups and rules; sorted by line."""
        found = list(self.shape)
        if not any(self.lines.get(word) and getattr(self, word) == ("", "") for word in ("source", "target")):
            found += _Checker(self).findings()
        return sorted(set(found), key=lambda one: (one.line, one.says))

    def apply(self, frames: Frames, explained: pd.DataFrame | None = None) -> tuple[Frames, pd.DataFrame]:
        """The target documents of `frames` and the problems of those that the table cannot turn.

        Heads and lines of the result stand in the order of `frames`, row by row; columns are target paths. `explained`
        are problems found earlier by the rules: a value missing for a reason given there is not reported again.
        Raises ConfigError where a column that a rule should have added is not there.
        """
        run = _Run(self, frames, problems.empty() if explained is None else explained)
        return run.frames(), problems.concat(run.found)


# ---- reading -------------------------------------------------------------------------------------------------------


def mappings_folder() -> Path:
    return lookups.config_folder() / "mappings"


def names(folder: Path | None = None) -> list[str]:
    """All mappings that there are."""
    return sorted(one.stem for one in (folder or mappings_folder()).glob("*.yaml"))


def load(name: str, folder: Path | None = None) -> Mapping:
    """The mapping `name`, checked; read again only when its file has changed. Raises ConfigError with all findings."""
    path = (folder or mappings_folder()) / f"{name}.yaml"
    if not path.exists():
        raise ConfigError(f"There is no mapping {name!r} in {path.parent}{did_you_mean(name, names(path.parent))}")
    return _load(path, path.stat().st_mtime_ns)


@lru_cache(maxsize=32)
def _load(path: Path, _changed: int) -> Mapping:
    mapping = read(path)
    findings = mapping.check()
    if findings:
        rest = f" (and {len(findings) - 1} more)" if len(findings) > 1 else ""
        raise ConfigError(f"{findings[0]}{rest}.", do="Correct the file; `crossdock mapping check` lists everything.")
    return mapping


def read(path: Path) -> Mapping:
    """The mapping as written. Raises ConfigError, one sentence with the line, where it is no YAML or no table."""
    return _Reader(path).mapping()


class _Reader(Reader):
    """Turns YAML nodes into a Mapping and remembers on which line everything stands."""

    def mapping(self) -> Mapping:
        root = self.root()
        words = self.words(root, _TABLE_WORDS, "a mapping")
        for word in ("mapping", "source", "target", "fields"):
            if word not in words:
                self.report(root, f"the mapping does not say its `{word}`")
        children = words.get("children")
        return Mapping(
            name=self.path.stem,
            file=self.path,
            title=self.text(words.get("mapping")),
            source=self.schema(words.get("source")),
            target=self.schema(words.get("target")),
            fields=tuple(self.fields(words.get("fields"))),
            children=self.children(children) if children is not None else None,
            not_sent={key.value: self.text(value) for key, value in self.pairs(words.get("not_sent"), "`not_sent`")},
            lines={word: line_of(node) for word, node in words.items()},
            shape=tuple(self.findings),
        )

    def schema(self, node: yaml.Node | None) -> tuple[str, str]:
        system, _, name = self.text(node).partition(" ")
        try:
            contracts.document(system, name)
        except ConfigError as error:
            if node is not None:
                self.report(node, f"{error.message.rstrip('.')}; {error.do}" if error.do else error.message)
            return "", ""
        return system, name

    def children(self, node: yaml.Node) -> Children:
        words = self.words(node, _CHILD_WORDS, "`children`")
        for word in _CHILD_WORDS:
            if word not in words:
                self.report(node, f"`children` does not say its `{word}`")
        return Children(
            self.text(words.get("target")),
            self.text(words.get("from")),
            self.text(words.get("key")),
            line_of(node),
            tuple(self.fields(words.get("fields"))),
        )

    def fields(self, node: yaml.Node | None) -> Iterator[FieldMap]:
        for entry in self.entries(node, "`fields`"):
            words = self.words(entry, _FIELD_WORDS, "a field")
            if "target" not in words:
                self.report(entry, "this field does not say its `target`")
                continue
            yield self.field(words)

    def field(self, words: dict[str, yaml.Node]) -> FieldMap:
        sources = self.value(words.get("from"))
        required = self.value(words.get("required"))
        misses = self.text(words.get("missing")) or "problem"
        made = FieldMap(
            target=self.text(words["target"]),
            line=line_of(words["target"]),
            sources=tuple(map(str, sources)) if isinstance(sources, list) else (str(sources),) if sources else (),
            convert=tuple(self.steps(words.get("convert"))),
            lookup=self.text(words.get("lookup")) or None,
            misses=misses,
            default=self.value(words.get("default")),
            constant=self.value(words.get("constant")),
            required=required,
            rule=self.text(words.get("rule")) or None,
            note=self.text(words.get("note")),
            lines={word: line_of(node) for word, node in words.items()},
        )
        if required not in (None, True, False, "later"):
            self.report(words["required"], f"`required` is yes, no or later, not {required!r}")
            made = replace(made, required=None)
        if misses not in ("problem", "default"):
            self.report(words["missing"], f"`missing` is problem or default, not {misses!r}")
        elif misses == "default" and made.default is None:
            self.report(words["missing"], "`missing: default` needs a `default`")
        if made.constant is not None and (made.sources or made.rule or made.lookup or made.convert):
            self.report(
                words["constant"], f"{made.target} has a `constant`, so nothing else can say where it comes from"
            )
        elif made.constant is None and not made.sources and made.rule is None and made.default is None:
            self.report(words["target"], f"{made.target} comes from nowhere; give it `from`, `rule` or `constant`")
        return made

    def steps(self, node: yaml.Node | None) -> Iterator[Step]:
        """`to text`, `[trim, to text]`, `{shorten to: 500}` or a list of such."""
        if node is None:
            return
        for entry in node.value if isinstance(node, yaml.SequenceNode) else [node]:
            if isinstance(entry, yaml.MappingNode):
                for key, value in entry.value:
                    yield Step(str(key.value), self.value(value), line_of(key))
            else:
                yield Step(self.text(entry), None, line_of(entry))


# ---- checking ------------------------------------------------------------------------------------------------------


def target_field(document: Document, path: str) -> Field | None:
    """The contract's field for a target path, which may name an entry of a list (`ExternalIDs[0].ID`)."""
    outer, bracket, inner = path.partition("[")
    if not bracket:
        return document.fields.get(path)
    whole = document.fields.get(outer)
    number, _, rest = inner.partition("].")
    if whole is None or whole.items is None or not number.isdigit():
        return None
    return target_field(whole.items, rest)


def source_type(field: Field) -> str:
    return "number" if field.money else field.type


class _Checker:
    """Compares one table with both contracts."""

    def __init__(self, mapping: Mapping) -> None:
        self.mapping = mapping
        self.source = mapping.source_document
        self.target = mapping.target_document
        self.rules = named_rules()
        self.found: list[Finding] = []

    def report(self, line: int, says: str) -> None:
        self.found.append(Finding(self.mapping.file, line, says))

    def findings(self) -> list[Finding]:
        mapping, children = self.mapping, self.mapping.children
        for one in mapping.fields:
            self.field(one, self.source, self.target, below=None)
        self.twice(mapping.fields)
        self.complete(mapping.fields, self.target, mapping.lines.get("fields", 1))
        for path in mapping.not_sent:
            if path not in self.target.fields:
                choices = did_you_mean(path, self.target.fields)
                self.report(mapping.lines["not_sent"], f"{self.target.name} has no field {path!r}{choices}")
        if children:
            self.children(children)
        return self.found

    def children(self, children: Children) -> None:
        lists = {path: one for path, one in self.target.fields.items() if one.items}
        inner_target = lists.get(children.target)
        if inner_target is None:
            says = f"{self.target.name} has no list {children.target!r}{did_you_mean(children.target, lists)}"
            self.report(children.line, says)
        lists = {path: one for path, one in self.source.fields.items() if one.items}
        inner_source = lists.get(children.source)
        if inner_source is None:
            says = f"{self.source.name} has no list {children.source!r}{did_you_mean(children.source, lists)}"
            self.report(children.line, says)
        if inner_target is None or inner_source is None:
            return
        below = inner_source.items
        into = inner_target.items
        assert below and into
        for one in children.fields:
            self.field(one, self.source, into, below=below)
        self.twice(children.fields)
        self.complete(children.fields, into, children.line)
        targets = [one.target for one in children.fields]
        if children.key not in targets:
            self.report(
                children.line, f"no field of the lines is {children.key!r}{did_you_mean(children.key, targets)}"
            )

    def twice(self, fields: tuple[FieldMap, ...]) -> None:
        seen: dict[str, int] = {}
        for one in fields:
            if one.target in seen:
                self.report(one.line, f"{one.target} is mapped a second time; first in line {seen[one.target]}")
            seen.setdefault(one.target, one.line)

    def complete(self, fields: tuple[FieldMap, ...], document: Document, line: int) -> None:
        """Every required target field is mapped, also inside optional objects and lists of which a part is mapped."""
        mapped = {one.target for one in fields}
        children = self.mapping.children.target if self.mapping.children else None
        for path, one in document.fields.items():
            if not one.required:
                continue
            inside = document.parents(path)
            wanted = all(parent.required and not parent.nullable for parent in inside) or any(
                name.startswith(f"{inside[-1].path}.") for name in mapped
            )
            if one.type == "array":
                given = path == children or any(name.startswith(f"{path}[") for name in mapped)
            else:
                given = path in mapped or one.type == "object"
            if wanted and not given:
                near = did_you_mean(path, mapped - set(document.fields))
                hint = (
                    f"; is {near.removeprefix('; did you mean ').rstrip('?')} meant to be it?"
                    if "did you" in near
                    else ""
                )
                self.report(line, f"{document.name} needs {path}, and no field maps it{hint}")
        for path, one in document.fields.items():
            entries = {name.split("]")[0] + "]" for name in mapped if name.startswith(f"{path}[")}
            for entry in sorted(entries):
                for name, inner in one.items.fields.items() if one.items else ():
                    if inner.required and f"{entry}.{name}" not in mapped:
                        self.report(line, f"{document.name} needs {entry}.{name}, and no field maps it")

    def field(self, one: FieldMap, source: Document, target: Document, below: Document | None) -> None:
        field = target_field(target, one.target)
        if field is None or field.type in ("object", "array"):
            known = [path for path, inner in target.fields.items() if inner.type not in ("object", "array")]
            if field is not None:
                self.report(one.line, f"{one.target} is {_a(field.type)}; map the fields inside it")
            else:
                self.report(one.line, f"{target.name} has no field {one.target!r}{did_you_mean(one.target, known)}")
            field = None
        rule = self.rule(one)
        kinds = [self.source_kind(one, path, source, below, rule) for path in sources_of(one, rule)]
        given = self.converted(one, [kind for kind in kinds if kind])
        if field is None:
            return
        needed = "number" if field.money else field.type
        for kind in given:
            if not _fits(kind, needed):
                hint = _ways(kind, needed)
                self.report(one.at("from"), f"{one.target} is {_a(needed)}, but what arrives is {_a(kind)}{hint}")
        for word, value in (("constant", one.constant), ("default", one.default)):
            wrong = value is not None and _misfit(value, field)
            if wrong:
                self.report(one.at(word), f"the {word} of {one.target} {wrong}")
        if one.required is False and one.target in target.fields and target.must_have(one.target):
            self.report(one.at("required"), f"{target.name} requires {one.target}; it cannot be `required: no`")
        self.codes(one, field, source, below, rule)

    def rule(self, one: FieldMap) -> NamedRule | None:
        if one.rule is None:
            return None
        rule = self.rules.get(one.rule)
        if rule is None:
            self.report(one.at("rule"), f"there is no rule {one.rule!r}{did_you_mean(one.rule, self.rules)}")
        elif not one.sources and one.target not in rule.writes:
            says = f"the rule {rule.name} does not write {one.target!r}; say with `from` which of its columns is meant"
            self.report(one.at("rule"), f"{says}{did_you_mean(one.target, rule.writes)}")
        return rule

    def source_kind(
        self, one: FieldMap, path: str, source: Document, below: Document | None, rule: NamedRule | None
    ) -> str | None:
        """The type of a source path; None where it is unknown (reported) or a rule's column."""
        line = one.at("from")
        document, name = (below, path) if below else (source, path)
        if below and path.startswith(OF_HEAD):
            document, name = source, path.removeprefix(OF_HEAD)
        if rule and name in rule.writes:
            return None
        assert document
        field = document.fields.get(name)
        if field is None:
            if one.rule and rule is None:
                return None  # the rule is unknown, which is said already
            writers = [known.name for known in self.rules.values() if name in known.writes]
            if writers and rule is None:
                self.report(line, f"{path!r} is a column of the rule {writers[0]}; say so with `rule: {writers[0]}`")
            else:
                choices = [*(rule.writes if rule else ()), *document.leaves]
                whose = f"{document.name} has no field {name!r}" + (
                    f", the rule {rule.name} no such column" if rule else ""
                )
                self.report(line, f"{whose}{did_you_mean(name, choices)}")
            return None
        if field.type in ("object", "array"):
            self.report(line, f"{path} is {_a(field.type)}; say which field inside it is meant")
            return None
        return source_type(field)

    def converted(self, one: FieldMap, kinds: list[str]) -> list[str]:
        """The types after converters and lookup, beginning with those of the sources."""
        for step in one.convert:
            known = CONVERTERS.get(step.name)
            if known is None:
                self.report(step.line, f"there is no converter {step.name!r}{did_you_mean(step.name, CONVERTERS)}")
                kinds = []
                continue
            if known.argument and not known.accepts(step.argument):
                wrong = "nothing" if step.argument is None else repr(step.argument)
                self.report(step.line, f"`{step.name}` wants {known.argument}, not {wrong}")
            elif not known.argument and step.argument is not None:
                self.report(step.line, f"`{step.name}` takes no argument")
            for kind in kinds:
                if not any(_fits(kind, taken) for taken in known.takes):
                    self.report(
                        step.line, f"`{step.name}` takes {' or '.join(known.takes)}, but what arrives is {_a(kind)}"
                    )
            kinds = [known.gives] if known.gives else kinds
        if one.lookup is None:
            return kinds
        table = self.lookup(one)
        if any(kind in ("number", "boolean") for kind in kinds):
            self.report(one.at("lookup"), f"a lookup takes text or a whole number, but what arrives is {_a(kinds[0])}")
        return ["text"] if table else []

    def lookup(self, one: FieldMap) -> lookups.Lookup | None:
        name, _, column = (one.lookup or "").partition(".")
        folder = self.mapping.file.parent.parent / "lookups"
        known = lookups.names(folder)
        if name not in known:
            self.report(one.at("lookup"), f"there is no lookup {name!r} in {folder}{did_you_mean(name, known)}")
            return None
        try:
            table = lookups.read(name, folder)
        except ConfigError as error:
            self.report(one.at("lookup"), f"the lookup {name!r} cannot be read: {error.message}")
            return None
        if column and column not in table.columns[1:]:
            choices = did_you_mean(column, table.columns[1:])
            self.report(one.at("lookup"), f"the lookup {name!r} has no column {column!r}{choices}")
            return None
        return table

    def codes(
        self, one: FieldMap, field: Field, source: Document, below: Document | None, rule: NamedRule | None
    ) -> None:
        """Every code that the source may send has a code that the target takes."""
        given: set[str] = set()
        for path in sources_of(one, rule):
            document, name = (below, path) if below else (source, path)
            if below and path.startswith(OF_HEAD):
                document, name = source, path.removeprefix(OF_HEAD)
            held = document.fields.get(name) if document else None
            if held and not (rule and name in rule.writes):
                given |= set(held.codes)
        if one.lookup:
            name, _, column = one.lookup.partition(".")
            folder = self.mapping.file.parent.parent / "lookups"
            try:
                table = lookups.read(name, folder)
                answers = {key: row[column or table.columns[1]] for key, row in table.rows.items()}
            except (ConfigError, KeyError):
                return  # said already
            for code in sorted(given - set(answers)):
                if one.misses == "problem":
                    self.report(
                        one.at("lookup"), f"the lookup {name!r} does not have {code!r}, which {one.sources[0]} may be"
                    )
            given = set(answers.values())
        if field.codes and not one.convert:
            for code in sorted(given - set(field.codes)):
                where = f"the lookup {one.lookup!r} gives" if one.lookup else f"{', '.join(one.sources)} may be"
                hint = did_you_mean(code, field.codes) if one.lookup else "; a lookup must say what it becomes"
                self.report(
                    one.at("lookup" if one.lookup else "from"),
                    f"{where} {code!r}, which {one.target} does not take{hint}",
                )


def sources_of(one: FieldMap, rule: NamedRule | None) -> tuple[str, ...]:
    """The columns that a field reads: as said, or the rule's column of the target's name."""
    return one.sources or ((one.target,) if rule and one.target in rule.writes else ())


def _a(kind: str) -> str:
    words = {"integer": "a whole number", "number": "an amount", "array": "a list", "object": "an object"}
    return words.get(kind, f"a {kind}" if kind in ("moment", "date", "boolean") else kind)


def _fits(kind: str, needed: str) -> bool:
    return kind == needed or (needed == "text" and kind in ("moment", "date"))


def _ways(kind: str, needed: str) -> str:
    ways = [name for name, one in CONVERTERS.items() if one.gives == needed and any(_fits(kind, t) for t in one.takes)]
    return f"; `convert: {ways[0]}` would do" if ways else ""


def _misfit(value: Any, field: Field) -> str:
    """Why a written constant does not fit a field; "" if it does."""
    if field.money:
        try:
            units = scaled(str(value))
        except ValueError as error:
            return f"is no amount: {error}"
        return "has more than two decimals" if field.places == 2 and units % CENT else ""
    wanted = {"integer": int, "boolean": bool}.get(field.type, str)
    if not isinstance(value, wanted) or (wanted is int and isinstance(value, bool)):
        return f"is {value!r}, but the field is {_a(field.type)}" + ("; put it in quotes" if wanted is str else "")
    if field.codes and value not in field.codes:
        return f"is {value!r}, which the contract does not take{did_you_mean(str(value), field.codes)}"
    if isinstance(value, str):
        if field.max_length and len(value) > field.max_length:
            return f"has {len(value)} characters; the contract takes {field.max_length}"
        if field.pattern and not re.search(field.pattern, value):
            return f"is {value!r}, but the contract wants {field.pattern}"
    return ""


# ---- running -------------------------------------------------------------------------------------------------------


class _Run:
    """One application of a mapping to one batch."""

    def __init__(self, mapping: Mapping, frames: Frames, explained: pd.DataFrame) -> None:
        self.mapping = mapping
        self.source = frames
        self.rules = named_rules()
        self.lookups = mapping.file.parent.parent / "lookups"
        self.explained = explained
        self.found: list[pd.DataFrame] = []

    def frames(self) -> Frames:
        mapping, children = self.mapping, self.mapping.children
        head = self.table(mapping.fields, self.source.head, mapping.target_document, None)
        self.required(mapping.fields, head, mapping.target_document, None)
        if children is None:
            return Frames(head, self.source.lines[[ROW, LINE]].copy())
        document = mapping.target_document.fields[children.target].items
        assert document
        lines = self.table(children.fields, self.source.lines, document, children)
        self.required(children.fields, lines, document, children)
        lines.insert(0, ROW, self.source.lines[ROW])
        lines.insert(1, LINE, self.source.lines[LINE])
        return Frames(head, lines)

    def table(
        self, fields: tuple[FieldMap, ...], frame: pd.DataFrame, document: Document, children: Children | None
    ) -> pd.DataFrame:
        made: dict[str, pd.Series] = {}
        key = children.key if children else ""
        for one in sorted(fields, key=lambda one: one.target != key):  # the lines' key first: problems name lines by it
            field = target_field(document, one.target)
            assert field
            names = made.get(key)
            made[one.target] = self.column(one, field, frame, names, children)
        return pd.DataFrame({one.target: made[one.target] for one in fields}, index=frame.index)

    def column(
        self, one: FieldMap, field: Field, frame: pd.DataFrame, names: pd.Series | None, children: Children | None
    ) -> pd.Series:
        dtype = _DTYPES["number" if field.money else field.type]
        if one.constant is not None:
            return _constant(one.constant, field, frame.index)
        values = self.given(one, frame)
        if values is None:
            values = pd.Series(pd.array([None] * len(frame), dtype=dtype), index=frame.index)
        original = values
        for step in one.convert:
            known = CONVERTERS[step.name]
            turned = known(values, step.argument)
            if not known.empties:
                lost = turned.isna() & values.notna()
                says = f"{{field}} is {{value}}, which cannot be read: {step}."
                self.problem(lost, one, names, "cannot_convert", original, says, _EDIT)
            values = turned
        if one.lookup:
            values = self.looked_up(one, values, names)
        if values.dtype != dtype:
            values = _as(values, dtype, one, self.mapping)
        if one.default is not None:
            values = values.where(values.notna(), _constant(one.default, field, frame.index))
        if field.places == 2:
            third = (values % CENT != 0).fillna(False)
            if third.any():
                shown = values[third].map(written)
                says = "{field} is {value}; TIMS keeps two decimals, and an amount is not rounded in silence."
                self.problem(third, one, names, "third_decimal", shown.reindex(values.index), says, _EDIT)
        return values

    def given(self, one: FieldMap, frame: pd.DataFrame) -> pd.Series | None:
        """The first given value of the field's sources."""
        rule = self.rules.get(one.rule or "")
        values = None
        for path in sources_of(one, rule):
            more = self.read(path, frame, one)
            values = more if values is None else values.where(values.notna(), more)
        return values

    def read(self, path: str, frame: pd.DataFrame, one: FieldMap) -> pd.Series:
        lines = frame is self.source.lines
        whole, name = (
            (self.source.head, path.removeprefix(OF_HEAD)) if lines and path.startswith(OF_HEAD) else (frame, path)
        )
        if name not in whole:
            blame = f"the rule {one.rule} has not been run" if one.rule else "the frame was not read by the contract"
            raise ConfigError(
                f"{self.mapping.name}: {one.target} needs the column {path!r}, which is not there: {blame}.",
                do="The flow must run its rules before the mapping.",
            )
        values = whole[name]
        if whole is frame:
            return values
        return pd.Series(values.array.take(frame[ROW].to_numpy()), index=frame.index)

    def looked_up(self, one: FieldMap, values: pd.Series, names: pd.Series | None) -> pd.Series:
        name, _, column = (one.lookup or "").partition(".")
        table = lookups.read(name, self.lookups)
        if one.misses == "problem":
            says = f'{{field}} is "{{value}}", which the table {name} does not know.'
            do = f"Ask what it means and add it to include/config/lookups/{name}.csv, then replay the record."
            self.problem(table.missed(values), one, names, "not_in_lookup", values, says, do)
        return table.values(values, column or None)

    def required(
        self, fields: tuple[FieldMap, ...], made: pd.DataFrame, document: Document, children: Children | None
    ) -> None:
        names = made[children.key] if children else None
        for one in fields:
            if one.required == "later":
                continue
            missing = made[one.target].isna()
            if not missing.any():
                continue
            if one.required is None and one.target in document.fields and not document.must_have(one.target):
                if not document.fields[one.target].required:
                    continue
                around = document.parents(one.target)[-1].path + "."
                beside = [name for name in made.columns if name.startswith(around)]
                missing &= made[beside].notna().any(axis=1)  # the object is there, so it must be whole
            elif one.required is None and one.target not in document.fields:  # an entry of a list
                inner = target_field(document, one.target)
                if inner is None or not inner.required:
                    continue
                around = one.target.rpartition(".")[0] + "."
                beside = [name for name in made.columns if name.startswith(around)]
                missing &= made[beside].notna().any(axis=1)
            elif one.required is False:
                continue
            says = f"{{field}} is missing; TIMS needs it as {one.target}."
            self.problem(
                missing & ~self.accounted_for(one, made, names), one, names, "missing_field", None, says, _EDIT
            )

    def accounted_for(self, one: FieldMap, made: pd.DataFrame, names: pd.Series | None) -> np.ndarray:
        """Rows where a problem is known already that explains why the field is missing."""
        row = made.index.to_numpy() if names is None else self.source.lines[ROW].to_numpy()
        rule = self.rules.get(one.rule or "")
        reads = {*one.sources, one.target, *(rule.reads if rule else ())}
        if one.lookup or one.convert:
            known = [found for found in self.found if found["rule"].isin(["not_in_lookup", "cannot_convert"]).any()]
        else:
            known = []
        every = pd.concat([self.explained, *known]) if known else self.explained
        if not len(every):
            return np.zeros(len(made), dtype=bool)
        prefix = f"{self.mapping.children.source}." if self.mapping.children else ""
        fields = every["field"].str.removeprefix(prefix) if prefix else every["field"]
        mine = every[fields.isin(list(reads)) | every["field"].isin(list(reads))]
        hit = np.isin(row, mine["_row"].to_numpy())
        if names is not None and hit.any():
            pairs = set(zip(mine["_row"].tolist(), mine["line"].tolist(), strict=True))
            own = ["" if name is None or name != name else str(name) for name in names[hit].tolist()]
            hit[hit] = [(r, n) in pairs or (r, "") in pairs for r, n in zip(row[hit].tolist(), own, strict=True)]
        return hit

    def problem(
        self,
        mask: pd.Series,
        one: FieldMap,
        names: pd.Series | None,
        rule: str,
        values: pd.Series | None,
        says: str,
        do: str,
    ) -> None:
        at = np.flatnonzero(mask.to_numpy(dtype=bool))
        if not len(at):
            return
        rows = at if names is None else self.source.lines[ROW].to_numpy()[at]
        prefix = f"{self.mapping.children.source}." if names is not None and self.mapping.children else ""
        field = one.sources[0] if one.sources and not one.rule else one.target
        if one.sources and not one.rule:
            field = prefix + field if not field.startswith(OF_HEAD) else field.removeprefix(OF_HEAD)
        shown = "" if values is None else values.iloc[at].astype(object).where(values.iloc[at].notna(), "").tolist()
        line = "" if names is None else names.iloc[at].astype(object).where(names.iloc[at].notna(), "").tolist()
        self.found.append(problems.make(rows, field=field, rule=rule, value=shown, says=says, do=do, line=line))


def _constant(value: Any, field: Field, index: pd.Index) -> pd.Series:
    if field.money:
        return pd.Series(scaled(str(value)), index=index, dtype="Int64")
    return pd.Series(value, index=index, dtype=_DTYPES[field.type])


def _as(values: pd.Series, dtype: str, one: FieldMap, mapping: Mapping) -> pd.Series:
    """The values in the target's column type. Raises ConfigError where a rule's column is of another kind."""
    kind, text = values.dtype, dtype == "str"
    if text != (isinstance(kind, pd.StringDtype) or kind == object) or pd.api.types.is_float_dtype(kind):
        raise ConfigError(
            f"{mapping.name}: {one.target} is {dtype}, but {', '.join(one.sources) or one.rule} is a column of {kind}.",
            do="Add a converter to the mapping, or correct the rule.",
        )
    return values.astype(dtype)
