"""A mapping table, run on the frames of one batch.

In: a checked Table; frames of source documents with the columns of the rules. Out: frames of target documents, and
problems. Never: row by row; two reports of one cause.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from crossdock.errors import ConfigError
from crossdock.mapping import columns, lookups, problems, watch
from crossdock.mapping.contracts import Document, Field
from crossdock.mapping.converters import CONVERTERS
from crossdock.mapping.frames import CENT, LINE, ROW, Frames, scaled, written
from crossdock.mapping.registry import LINES, named_rules
from crossdock.mapping.table import OF_HEAD, FieldMap, Table, sources_of, target_field
from crossdock.mapping.watch import Seen, Station

_DTYPES = {
    "integer": "Int64",
    "number": "Int64",
    "boolean": "boolean",
    "text": "str",
    "moment": "str",
    "date": "str",
    "array": "str",  # a list that a rule makes, as JSON
}
_COLUMNS = {"integer": "Int64", "money": "Int64", "boolean": "boolean"}  # of the registry of columns; others are text
_FITS = {
    "str": pd.api.types.is_string_dtype,
    "Int64": pd.api.types.is_integer_dtype,
    "boolean": pd.api.types.is_bool_dtype,
}
_EDIT = "Correct it in Channel Advisor or edit this record's payload, then replay it."


def run(
    mapping: Table, frames: Frames, explained: pd.DataFrame, seen: Seen | None = None
) -> tuple[Frames, pd.DataFrame]:
    """See `Mapping.turn`. `seen`: takes down what is done, where somebody watches."""
    target, found = _run(mapping, frames, explained, seen)
    if seen is not None:
        seen.source, seen.target = frames, target
    return target, found


def _run(mapping: Table, frames: Frames, explained: pd.DataFrame, seen: Seen | None) -> tuple[Frames, pd.DataFrame]:
    children = mapping.children
    body = frames.lines if frames.made is None else frames.made
    heads = _Fields(mapping, mapping.fields, frames.header, mapping.target_document, frames, explained, seen=seen)
    header = _whole(heads.made(), mapping, columns.FIELDS)
    if children is None:
        return Frames(header, body[[ROW, LINE]].copy()), problems.concat(heads.found)
    document = mapping.target_document.fields[children.target].items
    if document is None:
        raise ConfigError(f"{mapping.name}: {children.target} is no list of objects.", do="Check the mapping first.")
    below = _Fields(mapping, children.fields, body, document, frames, explained, children.source, children.key, seen)
    lines = _whole(below.made(), mapping, columns.LINES)
    lines.insert(0, ROW, body[ROW])
    lines.insert(1, LINE, body[LINE])
    return Frames(header, lines), problems.concat([*heads.found, *below.found])


def _whole(made: pd.DataFrame, mapping: Table, part: str) -> pd.DataFrame:
    """The target columns with those that the mapping once filled and no longer does: empty, so that nothing is sent."""
    kinds = columns.registered().get(mapping.name, {}).get(part, {})
    lacking = {
        path: pd.Series(pd.array([None] * len(made), dtype=_COLUMNS.get(kind, "str")), index=made.index)
        for path, kind in kinds.items()
        if path not in made
    }
    return made.assign(**lacking) if lacking else made


class _Fields:
    """The fields of the heads, or of the lines, of one batch. `source` and `key` are set for lines: the source's list,
    and the target field that names a line."""

    def __init__(
        self,
        mapping: Table,
        fields: tuple[FieldMap, ...],
        frame: pd.DataFrame,
        document: Document,
        frames: Frames,
        explained: pd.DataFrame,
        source: str = "",
        key: str = "",
        seen: Seen | None = None,
    ) -> None:
        self.seen = seen
        self.mapping = mapping
        self.fields = fields
        self.frame = frame
        self.document = document
        self.header = frames.header
        self.prefix = f"{source}." if source else ""
        self.key = key
        self.row = frame[ROW].to_numpy() if source else np.arange(len(frame))
        self.explained: dict[str, list[np.ndarray]] = {}  # rows that have a problem, by its field
        self.note(explained)
        self.lookups = mapping.lookups
        self.rules = named_rules()
        self.columns: dict[str, pd.Series] = {}
        self.found: list[pd.DataFrame] = []

    def made(self) -> pd.DataFrame:
        for one in sorted(self.fields, key=lambda one: one.target != self.key):  # the key first: problems name lines
            self.columns[one.target] = self.column(one)
        made = pd.DataFrame({one.target: self.columns[one.target] for one in self.fields}, index=self.frame.index)
        for one in self.fields:
            self.report_missing(one, made)
        return made

    # ---- one field

    def column(self, one: FieldMap) -> pd.Series:
        """The target column of one field: sources, converters, lookup, default; and what went wrong on the way."""
        field = self.field(one)
        dtype = _DTYPES["number" if field.money else field.type]
        if one.constant is not None:
            return self.saw(one, watch.CONSTANT, "", self.constant(one.constant, field))
        values = self.given(one, dtype)
        for step in one.convert:
            valid = CONVERTERS[step.name]
            turned = valid(values, step.argument)
            if not valid.empties:
                lost = (turned.isna() & values.notna()).to_numpy(dtype=bool)
                message = f"{{field}} is {{value}}, which cannot be read: {step}."
                self.report(lost, one, "cannot_convert", message, _EDIT, values)
            values = self.saw(one, watch.CONVERT, str(step), turned)
        if one.lookup:
            values = self.saw(one, watch.LOOKUP, one.lookup, self.looked_up(one, values))
        if not _FITS[dtype](values.dtype):
            raise ConfigError(
                f"{self.mapping.name}: {one.target} is {dtype}, but what arrives is a column of {values.dtype}.",
                do="Add a converter to the mapping, or correct the rule.",
            )
        values = values.astype(dtype)
        if one.default is not None:
            values = values.where(values.notna(), self.constant(one.default, field))
            self.saw(one, watch.DEFAULT, "", values)
        if field.places == 2:
            third = (values % CENT != 0).fillna(False).to_numpy(dtype=bool)
            message = "{field} is {value}; TIMS keeps two decimals, and an amount is not rounded in silence."
            self.report(third, one, "third_decimal", message, _EDIT, values, written)
        return values

    def saw(self, one: FieldMap, kind: str, name: str, values: pd.Series) -> pd.Series:
        if self.seen is not None:
            self.seen.stations.append(Station(one.target, bool(self.prefix), kind, name, values))
        return values

    def field(self, one: FieldMap) -> Field:
        field = target_field(self.document, one.target)
        if field is None:
            raise ConfigError(f"{self.document.name} has no field {one.target!r}.", do="Check the mapping first.")
        return field

    def constant(self, value: Any, field: Field) -> pd.Series:
        if field.money:
            return pd.Series(scaled(str(value)), index=self.frame.index, dtype="Int64")
        return pd.Series(value, index=self.frame.index, dtype=_DTYPES[field.type])

    def given(self, one: FieldMap, dtype: str) -> pd.Series:
        """The first given value of the field's sources; a column of nothing where it has none."""
        values = None
        for path in sources_of(one, self.rules.get(one.rule or ""), of_line=bool(self.prefix)):
            more = self.saw(one, watch.SOURCE, path, self.read(path, one))
            values = more if values is None else values.where(values.notna(), more)
        if values is None:
            return pd.Series(pd.array([None] * len(self.frame), dtype=dtype), index=self.frame.index)
        return values

    def read(self, path: str, one: FieldMap) -> pd.Series:
        """A column of the frame; of the heads, one value per line, where the path begins with `head.`."""
        of_head = bool(self.prefix) and path.startswith(OF_HEAD)
        frame, name = (self.header, path.removeprefix(OF_HEAD)) if of_head else (self.frame, path)
        if name not in frame:
            blame = f"the rule {one.rule} has not been run" if one.rule else "the frame was not read by the contract"
            raise ConfigError(
                f"{self.mapping.name}: {one.target} needs the column {path!r}, which is not there: {blame}.",
                do="Look at the mapping: `crossdock mapping check`.",
            )
        values = frame[name]
        return pd.Series(values.array.take(self.row), index=self.frame.index) if of_head else values

    def looked_up(self, one: FieldMap, values: pd.Series) -> pd.Series:
        name, _, column = (one.lookup or "").partition(".")
        table = lookups.read(name, self.lookups)
        if one.misses == "problem":
            missed = table.missed(values).to_numpy(dtype=bool) & ~self.accounted_for(one)
            message = f'{{field}} is "{{value}}", which the table {name} does not know.'
            do = f"Ask what it means and add it to include/config/lookups/{name}.csv, then replay the record."
            self.report(missed, one, "not_in_lookup", message, do, values)
        return table.values(values, column or None)

    # ---- what is missing

    def report_missing(self, one: FieldMap, made: pd.DataFrame) -> None:
        missing = made[one.target].isna().to_numpy(dtype=bool)
        if one.required in (False, "later") or not missing.any():
            return
        if one.required is None:
            if not self.field(one).required:
                return
            around = one.target.rpartition(".")[0] + "."
            if around != "." and not self.always(one.target):  # an optional object: if it is there, it must be whole
                beside = [name for name in made.columns if name.startswith(around)]
                missing = missing & np.logical_or.reduce([made[name].notna().to_numpy() for name in beside])
                if not missing.any():
                    return
        needs = "TIMS" if self.document.system == "tims" else f"the {self.document.name.partition('.')[0]}"
        message = f"{{field}} is missing; {needs} needs it as {one.target}."
        self.report(missing & ~self.accounted_for(one), one, "missing_field", message, _EDIT, None)

    def always(self, target: str) -> bool:
        """Whether the object around a field is in every document."""
        return target in self.document.fields and self.document.must_have(target)

    def accounted_for(self, one: FieldMap) -> np.ndarray:
        """Rows where a problem is known already that concerns what this field is made of."""
        rule = self.rules.get(one.rule or "")
        made_of = self.mapping.plan.sources_of(rule.reads) if rule else set()
        reads = {path.removeprefix(self.prefix) for path in (*one.sources, one.target)}
        children = self.mapping.children
        list_ = f"{children.source}." if children else ""
        reads |= {
            (list_ + path.removeprefix(LINES) if path.startswith(LINES) else path).removeprefix(self.prefix)
            for path in made_of
        }
        mine = [rows for path in reads for rows in self.explained.get(path, ())]
        return np.isin(self.row, np.concatenate(mine)) if mine else np.zeros(len(self.row), dtype=bool)

    def note(self, found: pd.DataFrame) -> None:
        """Keeps which rows these problems explain."""
        rows = found[ROW].to_numpy()
        codes, fields = pd.factorize(found["field"])
        for code, path in enumerate(fields.tolist()):
            self.explained.setdefault(path.removeprefix(self.prefix), []).append(rows[codes == code])

    def report(
        self,
        mask: np.ndarray,
        one: FieldMap,
        rule: str,
        message: str,
        do: str,
        values: pd.Series | None,
        shown: Any = str,
    ) -> None:
        """Problems of the marked rows, named by the source field where a person can change it, else by the target."""
        at = np.flatnonzero(mask)
        if not len(at):
            return
        source = one.sources[0] if one.sources and not one.rule else ""
        field = source.removeprefix(OF_HEAD) if source.startswith(OF_HEAD) else self.prefix + (source or one.target)
        given = [] if values is None else values.iloc[at].tolist()
        texts = ["" if value is pd.NA or value != value else shown(value) for value in given] or ""
        line = self.columns[self.key].iloc[at] if self.key in self.columns else ""
        made = problems.make(self.row[at], field=field, rule=rule, value=texts, message=message, do=do, line=line)
        self.note(made)
        self.found.append(made)
