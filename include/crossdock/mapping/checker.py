"""Whether a mapping table fits both contracts, the converters, the lookups and the rules.

In: a Table. Out: findings with file, line and the nearest right name. Never: a frame, a row.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from typing import Any

from crossdock.config.nodes import Finding
from crossdock.config.suggest import did_you_mean
from crossdock.errors import ConfigError
from crossdock.mapping import lookups
from crossdock.mapping.contracts import Document, Field
from crossdock.mapping.converters import CONVERTERS
from crossdock.mapping.frames import CENT, scaled
from crossdock.mapping.registry import EVERYTHING, KEY, LINES, LISTS, MADE, REFUSED, NamedRule, named_rules
from crossdock.mapping.table import OF_HEAD, Children, FieldMap, Table, sources_of, target_field, written_by


def source_type(field: Field) -> str:
    """The type in which a record's field is read: an amount that the contract writes as text is text."""
    return "number" if field.type == "double" else field.type


def target_type(field: Field) -> str:
    """The type in which a target field is filled: an amount is a number, in whatever way the contract writes it."""
    return "number" if field.money else field.type


class Checker:
    """Compares one table with both contracts."""

    def __init__(self, mapping: Table, others: Sequence[Table] = ()) -> None:
        self.mapping = mapping
        self.others = others
        self.source = mapping.source_document
        self.target = mapping.target_document
        self.rules = named_rules()
        self.used = sorted(set(mapping.named) & self.rules.keys())  # no other rule runs for this table
        self.found: list[Finding] = []

    def report(self, line: int, message: str) -> None:
        self.found.append(Finding(self.mapping.file, line, message))

    def findings(self) -> list[Finding]:
        mapping, children = self.mapping, self.mapping.children
        for one in mapping.fields:
            self.field(one, self.source, self.target, below=None)
        self.twice(mapping.fields)
        self.wholes(mapping.fields)
        self.complete(mapping.fields, self.target, mapping.lines.get("fields", 1))
        for path in mapping.not_sent:
            if path not in self.target.fields:
                choices = did_you_mean(path, self.target.fields)
                self.report(mapping.lines[f"not_sent.{path}"], f"{self.target.name} has no field {path!r}{choices}")
        if children:
            self.children(children)
        for name in mapping.rules:
            if name not in self.rules:
                self.report(mapping.named[name], f"there is no rule {name!r}{did_you_mean(name, self.rules)}")
        if mapping.after:
            self.after()
        else:
            self.inputs()
            self.order()
        return self.found

    # ---- rules

    def after(self) -> None:
        """Of a table whose columns another one's rules have made: that one names them too."""
        folder = self.mapping.file.parent
        other = next((one for one in self.others if one.name == self.mapping.after), None)
        line = self.mapping.lines["after"]
        if other is None:
            choices = did_you_mean(self.mapping.after, sorted(one.stem for one in folder.glob("*.yaml")))
            self.report(line, f"there is no mapping {self.mapping.after!r} in {folder}{choices}")
            return
        if self.mapping.rules:
            self.report(self.mapping.lines["rules"], f"with `after` no rule runs; name them in {other.file.name}")
        for name in self.used:
            if name not in other.named:
                message = f"the rule {name} does not run: {other.file.name}, whose columns these are, does not name it"
                self.report(self.mapping.named[name], f"{message}; add it to its `rules`")

    def inputs(self) -> None:
        """Whatever a rule reads is there: in the source, or made by a rule of the table. Nothing is made twice."""
        makers: dict[str, str] = {}
        used = [self.rules[name] for name in self.used]
        for rule in used:
            for column in rule.writes:
                if column in rule.reads:
                    continue
                if column in makers:
                    message = f"the rules {makers[column]} and {rule.name} both write {column!r}; name one of them"
                    self.report(self.mapping.named[rule.name], message)
                makers.setdefault(column, rule.name)
        there = {KEY, REFUSED, EVERYTHING, *self.source.leaves, *makers}
        children = self.mapping.children
        for path, one in self.source.fields.items():
            if one.items and (children is None or path == children.source):
                there |= {LINES + name for name in one.items.leaves}
        there |= {LISTS + path for path in of_lists(self.source)}
        for rule in used:
            for column in sorted(set(rule.reads) - there):
                others = [one.name for one in self.rules.values() if column in one.writes and column not in one.reads]
                hint = (
                    f"; the rule {others[0]} does: add it to `rules`" if others else did_you_mean(column, sorted(there))
                )
                message = f"the rule {rule.name} reads {column!r}, which nobody makes{hint}"
                self.report(self.mapping.named[rule.name], message)
        kinds = {rule.context: rule.name for rule in used if rule.context}
        if len(kinds) > 1:
            words = " and ".join(f"{name} ({kind})" for kind, name in kinds.items())
            first = max(self.mapping.named[name] for name in kinds.values())
            self.report(first, f"rules of two flows cannot run together, for they need other contexts: {words}")

    def order(self) -> None:
        circle = self.mapping.plan.circle
        if circle:
            places = ", ".join(f"{rule.name} ({rule.file.name}:{rule.line})" for rule in circle)
            line = max(self.mapping.named[rule.name] for rule in circle)
            self.report(line, f"these rules wait for one another, each for what another one writes: {places}")

    # ---- fields

    def children(self, children: Children) -> None:
        lists = {path: one for path, one in self.target.fields.items() if one.items}
        inner_target = lists.get(children.target)
        if inner_target is None:
            message = f"{self.target.name} has no list {children.target!r}{did_you_mean(children.target, lists)}"
            self.report(children.line, message)
        lists = {path: one for path, one in self.source.fields.items() if one.items}
        inner_source = lists.get(children.source)
        if inner_source is None:
            message = f"{self.source.name} has no list {children.source!r}{did_you_mean(children.source, lists)}"
            self.report(children.line, message)
        if inner_target is None or inner_source is None:
            return
        below = inner_source.items
        into = inner_target.items
        if below is None or into is None:  # the lists were chosen for having entries of their own
            return
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

    def wholes(self, fields: tuple[FieldMap, ...]) -> None:
        """A list that one line fills as a whole has no lines for its entries."""
        whole = {one.target for one in fields if "[" not in one.target}
        for one in fields:
            list_, bracket, _ = one.target.partition("[")
            if bracket and list_ in whole:
                self.report(
                    one.line, f"{one.target} is a part of {list_}, which another line fills as a whole; keep one"
                )

    def complete(self, fields: tuple[FieldMap, ...], document: Document, line: int) -> None:
        """Every required target field is mapped, also inside optional objects and lists of which a part is mapped."""
        mapped = {one.target for one in fields}
        children = self.mapping.children.target if self.mapping.children else None
        for path in lacking(document, mapped, children):
            near = did_you_mean(path, mapped - set(document.fields))
            hint = (
                f"; is {near.removeprefix('; did you mean ').rstrip('?')} meant to be it?" if "did you" in near else ""
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
        made_whole = field is not None and field.type == "array" and one.rule is not None
        if field is None or (field.type in ("object", "array") and not made_whole):
            valid = [path for path, inner in target.fields.items() if inner.type not in ("object", "array")]
            if field is not None:
                self.report(one.line, f"{one.target} is {_a(field.type)}; map the fields inside it")
            else:
                self.report(one.line, f"{target.name} has no field {one.target!r}{did_you_mean(one.target, valid)}")
            field = None
        rule = self.rule(one, of_line=below is not None)
        kinds = [
            self.source_kind(one, path, source, below, rule) for path in sources_of(one, rule, of_line=bool(below))
        ]
        given = self.converted(one, [kind for kind in kinds if kind])
        if field is None:
            return
        needed = target_type(field)
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

    def rule(self, one: FieldMap, *, of_line: bool) -> NamedRule | None:
        if one.rule is None:
            return None
        rule = self.rules.get(one.rule)
        if rule is None:
            self.report(one.at("rule"), f"there is no rule {one.rule!r}{did_you_mean(one.rule, self.rules)}")
        elif not one.sources and one.target not in written_by(rule, of_line=of_line):
            message = (
                f"the rule {rule.name} does not write {one.target!r}; say with `from` which of its columns is meant"
            )
            self.report(one.at("rule"), f"{message}{did_you_mean(one.target, written_by(rule, of_line=of_line))}")
        elif one.sources and not set(one.sources) & set(written_by(rule, of_line=of_line)):
            message = f"the rule {rule.name} does not write {one.sources[0]!r}"
            near = did_you_mean(one.sources[0], written_by(rule, of_line=of_line))
            if one.sources[0] in self.source.leaves:
                self.report(one.at("rule"), f"{message}, which is the source's own; leave `rule` out{near}")
        return rule

    def source_kind(
        self, one: FieldMap, path: str, source: Document, below: Document | None, rule: NamedRule | None
    ) -> str | None:
        """The type of a source path; None where it is unknown (reported) or a rule's column."""
        line = one.at("from")
        document, name = (below, path) if below else (source, path)
        if below and path.startswith(OF_HEAD):
            document, name = source, path.removeprefix(OF_HEAD)
        written = written_by(rule, of_line=bool(below) and not path.startswith(OF_HEAD))
        if name in written:
            return None
        assert document
        field = document.fields.get(name)
        if field is None:
            if one.rule and rule is None:
                return None  # the rule is unknown, which is said already
            writers = [used for used in self.used if name in written_by(self.rules[used], of_line=bool(below))]
            if writers and rule is None:
                self.report(line, f"{path!r} is a column of the rule {writers[0]}; say so with `rule: {writers[0]}`")
            else:
                choices = [*written, *document.leaves]
                if document is below:
                    choices += [OF_HEAD + one for one in source.leaves]
                owner = f"{document.name} has no field {name!r}" + (
                    f", the rule {rule.name} no such column" if rule else ""
                )
                self.report(line, f"{owner}{did_you_mean(name, choices)}")
            return None
        if field.type in ("object", "array"):
            self.report(line, f"{path} is {_a(field.type)}; say which field inside it is meant")
            return None
        maker, columns = lines_made(self.mapping)
        if document is below and maker and name not in columns:
            message = f"the lines are those that the rule {maker} makes, and it gives them no {name!r}"
            self.report(line, f"{message}{did_you_mean(name, columns)}")
        return source_type(field)

    def converted(self, one: FieldMap, kinds: list[str]) -> list[str]:
        """The types after converters and lookup, beginning with those of the sources."""
        for step in one.convert:
            valid = CONVERTERS.get(step.name)
            if valid is None:
                self.report(step.line, f"there is no converter {step.name!r}{did_you_mean(step.name, CONVERTERS)}")
                kinds = []
                continue
            if valid.argument and not valid.accepts(step.argument):
                wrong = "nothing" if step.argument is None else repr(step.argument)
                self.report(step.line, f"`{step.name}` wants {valid.argument}, not {wrong}")
            elif not valid.argument and step.argument is not None:
                self.report(step.line, f"`{step.name}` takes no argument")
            for kind in kinds:
                if not any(_fits(kind, taken) for taken in valid.takes):
                    self.report(
                        step.line, f"`{step.name}` takes {' or '.join(valid.takes)}, but what arrives is {_a(kind)}"
                    )
            kinds = [valid.gives] if valid.gives else kinds
        if one.lookup is None:
            return kinds
        table = self.lookup(one)
        if any(kind in ("number", "boolean") for kind in kinds):
            self.report(one.at("lookup"), f"a lookup takes text or a whole number, but what arrives is {_a(kinds[0])}")
        return ["text"] if table else []

    def lookup(self, one: FieldMap) -> lookups.Lookup | None:
        name, _, column = (one.lookup or "").partition(".")
        folder = self.mapping.lookups
        valid = lookups.names(folder)
        if name not in valid:
            self.report(one.at("lookup"), f"there is no lookup {name!r} in {folder}{did_you_mean(name, valid)}")
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
        for path in sources_of(one, rule, of_line=bool(below)):
            document, name = (below, path) if below else (source, path)
            if below and path.startswith(OF_HEAD):
                document, name = source, path.removeprefix(OF_HEAD)
            held = document.fields.get(name) if document else None
            if held and name not in written_by(rule, of_line=bool(below)):
                given |= set(held.codes)
        if one.lookup:
            name, _, column = one.lookup.partition(".")
            folder = self.mapping.lookups
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


def of_lists(document: Document) -> Iterator[str]:
    """The leaves of all lists of a document, at any depth."""
    for path, one in document.fields.items():
        if one.items:
            yield from (f"{path}.{name}" for name in (*one.items.leaves, *of_lists(one.items)))


def lines_made(mapping: Table) -> tuple[str, tuple[str, ...]]:
    """The rule that makes the target's lines of the source's, and the columns that these have; "" where none does."""
    rules = [rule for rule in mapping.plan.rules if any(name.startswith(MADE) for name in rule.writes)]
    columns = [name.removeprefix(MADE) for rule in rules for name in rule.writes if name.startswith(MADE)]
    return (rules[0].name if rules else ""), tuple(dict.fromkeys(columns))


def lacking(document: Document, mapped: Collection[str], children: str | None) -> Iterator[str]:
    """The required target fields that nothing maps. `children`: the list that the lines fill."""
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
            yield path


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
        if field.min_length and len(value) < field.min_length:
            return f"has {len(value)} characters; the contract wants {field.min_length} or more"
        if field.pattern and not re.search(field.pattern, value):
            return f"is {value!r}, but the contract wants {field.pattern}"
    return ""
