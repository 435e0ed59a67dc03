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

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pandas as pd

from crossdock import config
from crossdock.config import Finding, Scalar, Struct, Written, did_you_mean
from crossdock.errors import ConfigError
from crossdock.mapping import columns, contracts, problems, watch
from crossdock.mapping.checker import Checker
from crossdock.mapping.frames import Frames
from crossdock.mapping.registry import named_rules
from crossdock.mapping.runner import run
from crossdock.mapping.table import Children, FieldMap, Step, Table
from crossdock.settings import config_dir

_Step = Written | dict[Written, Scalar | None]  # a converter, or one with its argument


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
        seen = watch.begin(self.name)
        prepared = self.plan.run(frames, context, seen)
        for column in also:
            if column not in prepared.frames.header:
                makers = [one.name for one in named_rules().values() if column in one.writes]
                raise ConfigError(
                    f"{self.file}: no rule of the table makes the column {column!r}, which the flow needs.",
                    do=f"Name the rule that does under `rules`: {' or '.join(makers)}.",
                )
        target, errors = run(self, prepared.frames, prepared.of_documents(prepared.problems), seen)
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
        return run(self, frames, problems.empty() if explained is None else explained, watch.begin(self.name))


# ---- reading -------------------------------------------------------------------------------------------------------


def mappings_folder() -> Path:
    return config_dir() / "mappings"


def names(folder: Path | None = None) -> list[str]:
    """All mappings that there are."""
    return sorted(one.stem for one in (folder or mappings_folder()).glob("*.yaml"))


def all_names(folder: Path | None = None) -> list[str]:
    """All mappings, with those of the dialects of a system, which stand in folders of their own:
    `channel_advisor_v1/order`."""
    folder = folder or mappings_folder()
    below = sorted(f"{one.parent.name}/{one.stem}" for one in folder.glob("*/*.yaml"))
    return [*names(folder), *below]


def idle_rules(folder: Path | None = None) -> list[Finding]:
    """The rules that no table names: they never run."""
    folder = folder or mappings_folder()
    used = {rule for name in all_names(folder) for rule in read(folder / f"{name}.yaml").named}
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
    return _load(name, config.read(path, _Written))


@lru_cache(maxsize=128)
def _load(name: str, file: config.File[_Written]) -> Mapping:
    mapping = _mapping(name, file)
    findings = mapping.check()
    if findings:
        raise config.refusal(findings)
    return mapping


def read(path: Path) -> Mapping:
    """The mapping as written. Raises ConfigError, one sentence with the line, where it is no YAML or no table."""
    dialect = f"{path.parent.name}/" if path.parent.parent.name == mappings_folder().name else ""
    return _mapping(dialect + path.stem, config.read(path, _Written))


class _Field(Struct, frozen=True, kw_only=True):
    """One entry of `fields`."""

    what = "a field"

    target: Written
    sources: Written | tuple[Written, ...] | None = msgspec.field(name="from", default=None)
    convert: _Step | tuple[_Step, ...] | None = None
    lookup: Written | None = None
    missing: Written = "problem"
    default: Scalar | None = None
    constant: Scalar | None = None
    required: Scalar | None = None
    rule: Written | None = None
    note: Written | None = None

    def problems(self) -> Iterator[tuple[str, str]]:
        if self.required not in (None, True, False, "later"):
            yield "required", f"`required` is yes, no or later, not {self.required!r}"
        if self.missing not in ("problem", "default"):
            yield "missing", f"`missing` is problem or default, not {self.missing!r}"
        elif self.missing == "default" and self.default is None:
            yield "missing", "`missing: default` needs a `default`"
        if self.constant is not None and (self.sources or self.rule or self.lookup or self.convert):
            yield "constant", f"{self.target} has a `constant`, so nothing else can say where it comes from"
        elif self.constant is None and not self.sources and self.rule is None and self.default is None:
            yield "target", f"{self.target} comes from nowhere; give it `from`, `rule` or `constant`"


class _Children(Struct, frozen=True, kw_only=True):
    what = "`children`"

    target: Written
    source: Written = msgspec.field(name="from")
    key: Written
    fields: tuple[_Field, ...]


class _Written(Struct, frozen=True, kw_only=True):
    """A mapping file."""

    what = "a mapping"

    title: Written = msgspec.field(name="mapping")
    source: Written
    target: Written
    after: Written = ""
    rules: tuple[Written, ...] = ()
    fields: tuple[_Field, ...]
    children: _Children | None = None
    not_sent: dict[Written, Written] = msgspec.field(default_factory=dict)


def _mapping(name: str, file: config.File[_Written]) -> Mapping:
    """The table, with the line of everything in it."""
    written = file.value
    if written is None:
        nothing = ("", "")
        return Mapping(name, file.path, "", nothing, nothing, (), None, {}, {}, shape=file.findings)
    found = list(file.findings)
    children = written.children
    lines = {str(place[0]): _start(file, place) for place in file.lines if len(place) == 1}
    return Mapping(
        name=name,
        file=file.path,
        title=written.title,
        source=_schema(file, "source", written.source, found),
        target=_schema(file, "target", written.target, found),
        fields=_fields(file, ("fields",), written.fields),
        children=None if children is None else _children(file, children),
        not_sent=written.not_sent,
        lines={
            **lines,
            **{f"not_sent.{path}": file.line("not_sent", path) for path in written.not_sent},
            **{f"rules.{name}": file.line("rules", at) for at, name in enumerate(written.rules)},
        },
        rules=tuple(dict.fromkeys(written.rules)),
        after=written.after,
        shape=tuple(found),
    )


def _children(file: config.File[_Written], one: _Children) -> Children:
    fields = _fields(file, ("children", "fields"), one.fields)
    return Children(one.target, one.source, one.key, _start(file, ("children",)), fields)


def _start(file: config.File[_Written], place: config.Place) -> int:
    """Where what stands at a place begins: a list with its first entry."""
    below = (line for one, line in file.lines.items() if len(one) == len(place) + 1 and one[:-1] == place)
    return min(below, default=file.line(*place))


def _schema(file: config.File[_Written], word: str, text: str, found: list[Finding]) -> tuple[str, str]:
    system, _, name = text.partition(" ")
    try:
        contracts.document(system, name)
    except ConfigError as error:
        message = f"{error.message.rstrip('.')}; {error.do}" if error.do else error.message
        found.append(file.finding((word,), message))
        return "", ""
    return system, name


def _fields(file: config.File[_Written], place: config.Place, fields: Iterable[_Field]) -> tuple[FieldMap, ...]:
    return tuple(_field(file, (*place, at), one) for at, one in enumerate(fields))


def _field(file: config.File[_Written], place: config.Place, one: _Field) -> FieldMap:
    return FieldMap(
        target=one.target,
        line=file.line(*place, "target"),
        sources=(one.sources,) if isinstance(one.sources, str) else one.sources or (),
        convert=tuple(_steps(file, (*place, "convert"), one.convert)),
        lookup=one.lookup,
        misses=one.missing,
        default=one.default,
        constant=one.constant,
        required=one.required,
        rule=one.rule,
        note=one.note or "",
        lines={
            str(under[-1]): line for under, line in file.lines.items()
            if len(under) == len(place) + 1 and under[:-1] == place
        },
    )  # fmt: skip


def _steps(file: config.File[_Written], place: config.Place, given: Any) -> Iterator[Step]:
    """`to text`, `[trim, to text]`, `{shorten to: 500}` or a list of such."""
    if isinstance(given, tuple):
        for at, one in enumerate(given):
            yield from _steps(file, (*place, at), one)
    elif isinstance(given, dict):
        for name, argument in given.items():
            yield Step(name, argument, file.line(*place, name))
    elif given is not None:
        yield Step(given, None, file.line(*place))
