"""The mapping files' language: read a table, check it against both contracts, run it on frames.

In: `include/config/mappings/<name>.yaml`; frames of source documents with the columns that the flow's rules add.
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
says if absent), `missing: default` (a code that the lookup does not have gets the default and is no problem), `note`.
`not_sent` names target fields that stay out, each with its reason. `ExternalIDs[0].ID` is of a list's first entry; a
whole list may be mapped where a rule makes it, as JSON.

Rules run before the fields, each after those whose columns it reads: the ones that fields name, and those under
`rules`, which clean, decide or judge without being a field. `after: sales_order` says that the columns are those that
another table's rules have made; such a table runs none.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd
import yaml

from crossdock import config
from crossdock.config import Finding, Reader, did_you_mean, line_of
from crossdock.errors import ConfigError
from crossdock.mapping import columns, contracts, problems
from crossdock.mapping.checker import Checker
from crossdock.mapping.frames import Frames
from crossdock.mapping.registry import named_rules
from crossdock.mapping.runner import run
from crossdock.mapping.table import Children, FieldMap, Step, Table
from crossdock.settings import config_dir

_FIELD_WORDS = ("target", "from", "convert", "lookup", "missing", "default", "constant", "required", "rule", "note")
_TABLE_WORDS = ("mapping", "source", "target", "after", "rules", "fields", "children", "not_sent")
_CHILD_WORDS = ("target", "from", "key", "fields")


@dataclass
class Applied:
    """What a table makes of a batch. `source`: the frames with the rules' columns. `problems` are the rules', `errors`
    the table's own; these and `warnings` point at the source's rows. `records`: the source's heads with the rules'
    columns; where a rule makes several documents of one record, `source` has the documents, and `origin` the row of
    each."""

    source: Frames
    target: Frames
    problems: pd.DataFrame
    errors: pd.DataFrame
    warnings: pd.DataFrame
    origin: np.ndarray | None
    records: pd.DataFrame


@dataclass(frozen=True)
class Mapping(Table):
    """A table that can be checked, and run on frames."""

    def check(self) -> list[Finding]:
        """Everything in which the table does not fit the contracts, converters, lookups and rules; sorted by line."""
        found = list(self.shape)
        if all(self.source) and all(self.target):  # otherwise there is no contract to compare with
            folder = self.file.parent
            others = [read(folder / f"{self.after}.yaml")] if self.after in names(folder) else []
            found += [*Checker(self, others).findings(), *columns.findings(self)]
        return sorted(set(found), key=lambda one: (one.line, one.message))

    def apply(self, frames: Frames, context: object, also: Sequence[str] = ()) -> Applied:
        """Runs the table's rules on source documents, then turns them into target documents.

        `context`: what the rules need that is no column. `also`: columns of the heads that the flow takes besides.
        Raises ConfigError where a rule reads or writes another column than it declares, and where no rule of the table
        makes one of `also`.
        """
        prepared = self.plan.run(frames, context)
        for column in also:
            if column not in prepared.frames.header:
                makers = [one.name for one in named_rules().values() if column in one.writes]
                raise ConfigError(
                    f"{self.file}: no rule of the table makes the column {column!r}, which the flow needs.",
                    do=f"Name the rule that does under `rules`: {' or '.join(makers)}.",
                )
        target, errors = self.turn(prepared.frames, explained=prepared.of_documents(prepared.problems))
        return Applied(
            prepared.frames,
            target,
            prepared.problems,
            prepared.of_source(errors),
            prepared.warnings,
            prepared.origin,
            prepared.frames.header if prepared.records is None else prepared.records,
        )

    def turn(self, frames: Frames, explained: pd.DataFrame | None = None) -> tuple[Frames, pd.DataFrame]:
        """The target documents of `frames`, with the rules' columns, and the problems of those that the table cannot
        turn.

        Heads and lines of the result stand in the order of `frames`, row by row; columns are target paths. `explained`
        are problems found earlier by the rules: a value missing for a reason given there is not reported again.
        Raises ConfigError where a column that a rule should have added is not there.
        """
        return run(self, frames, problems.empty() if explained is None else explained)


# ---- reading -------------------------------------------------------------------------------------------------------


def mappings_folder() -> Path:
    return config_dir() / "mappings"


def names(folder: Path | None = None) -> list[str]:
    """All mappings that there are."""
    return sorted(one.stem for one in (folder or mappings_folder()).glob("*.yaml"))


def idle_rules(folder: Path | None = None) -> list[Finding]:
    """The rules that no table names: they never run."""
    folder = folder or mappings_folder()
    used = {rule for name in names(folder) for rule in read(folder / f"{name}.yaml").named}
    return [
        Finding(rule.file, rule.line, f"no mapping names the rule {name!r}; it never runs")
        for name, rule in sorted(named_rules().items())
        if name not in used
    ]


def load(name: str, folder: Path | None = None) -> Mapping:
    """The mapping `name`, checked; read again only when its file has changed. Raises ConfigError with all findings."""
    path = (folder or mappings_folder()) / f"{name}.yaml"
    if not path.exists():
        raise ConfigError(f"There is no mapping {name!r} in {path.parent}{did_you_mean(name, names(path.parent))}")
    return _load(config.stamp(path))


@lru_cache(maxsize=32)
def _load(file: config.Stamp) -> Mapping:
    mapping = read(file.path)
    findings = mapping.check()
    if findings:
        raise config.refusal(findings)
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
        not_sent = self.pairs(words.get("not_sent"), "`not_sent`")
        rules = list(self.entries(words["rules"], "`rules`")) if "rules" in words else []
        return Mapping(
            name=self.path.stem,
            file=self.path,
            title=self.text(words.get("mapping")),
            source=self.schema(words.get("source")),
            target=self.schema(words.get("target")),
            fields=tuple(self.fields(words.get("fields"))),
            children=self.children(children) if children is not None else None,
            not_sent={key.value: self.text(value) for key, value in not_sent},
            lines={
                **{word: line_of(node) for word, node in words.items()},
                **{f"not_sent.{key.value}": line_of(key) for key, _ in not_sent},
                **{f"rules.{self.text(node)}": line_of(node) for node in rules},
            },
            rules=tuple(dict.fromkeys(map(self.text, rules))),
            after=self.text(words.get("after")),
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
