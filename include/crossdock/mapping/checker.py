"""Whether a mapping table fits both contracts, the converters, the lookups and the rules.

In: a Table. Out: findings with file, line and the nearest right name. Never: a frame, a row.
"""

from __future__ import annotations

import re
from typing import Any

from crossdock.config.nodes import Finding
from crossdock.config.suggest import did_you_mean
from crossdock.errors import ConfigError
from crossdock.mapping import lookups
from crossdock.mapping.contracts import Document, Field
from crossdock.mapping.converters import CONVERTERS
from crossdock.mapping.frames import CENT, scaled
from crossdock.mapping.registry import NamedRule, named_rules
from crossdock.mapping.table import OF_HEAD, Children, FieldMap, Table, sources_of, target_field


def source_type(field: Field) -> str:
    return "number" if field.money else field.type


class Checker:
    """Compares one table with both contracts."""

    def __init__(self, mapping: Table) -> None:
        self.mapping = mapping
        self.source = mapping.source_document
        self.target = mapping.target_document
        self.rules = named_rules()
        fields = (*mapping.fields, *(mapping.children.fields if mapping.children else ()))
        self.used = sorted({one.rule for one in fields if one.rule in self.rules})  # no other rule runs for this table
        self.found: list[Finding] = []

    def report(self, line: int, message: str) -> None:
        self.found.append(Finding(self.mapping.file, line, message))

    def findings(self) -> list[Finding]:
        mapping, children = self.mapping, self.mapping.children
        for one in mapping.fields:
            self.field(one, self.source, self.target, below=None)
        self.twice(mapping.fields)
        self.complete(mapping.fields, self.target, mapping.lines.get("fields", 1))
        for path in mapping.not_sent:
            if path not in self.target.fields:
                choices = did_you_mean(path, self.target.fields)
                self.report(mapping.lines[f"not_sent.{path}"], f"{self.target.name} has no field {path!r}{choices}")
        if children:
            self.children(children)
        return self.found

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
        made_whole = field is not None and field.type == "array" and one.rule is not None
        if field is None or (field.type in ("object", "array") and not made_whole):
            valid = [path for path, inner in target.fields.items() if inner.type not in ("object", "array")]
            if field is not None:
                self.report(one.line, f"{one.target} is {_a(field.type)}; map the fields inside it")
            else:
                self.report(one.line, f"{target.name} has no field {one.target!r}{did_you_mean(one.target, valid)}")
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
            message = (
                f"the rule {rule.name} does not write {one.target!r}; say with `from` which of its columns is meant"
            )
            self.report(one.at("rule"), f"{message}{did_you_mean(one.target, rule.writes)}")
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
            writers = [used for used in self.used if name in self.rules[used].writes]
            if writers and rule is None:
                self.report(line, f"{path!r} is a column of the rule {writers[0]}; say so with `rule: {writers[0]}`")
            else:
                choices = [*(rule.writes if rule else ()), *document.leaves]
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
        folder = self.mapping.file.parent.parent / "lookups"
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
