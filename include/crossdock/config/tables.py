"""CSV files that people edit: one way from a table to checked rows.

In: a path and the struct of a row, whose fields are the columns. Out: a `Table`: rows by key, the line of each, and all
that is wrong with the file. Never: two answers for one key; a cell that is passed over.

The first row that is no remark (#) names the columns. A cell may be empty where its field has a default. What a type
cannot say of a row stands in the struct's method `problems`.
"""

from __future__ import annotations

import csv
import io
import re
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Generic, TypeVar

import msgspec
import yaml

from crossdock.config.nodes import Finding, Stamp, refusal, stamp
from crossdock.config.structs import Struct, choices_of, describe, extra_of, instead, leaves
from crossdock.config.suggest import did_you_mean
from crossdock.errors import ConfigError

R = TypeVar("R")
BESIDE = " / "  # between the parts of a key of several columns
# Cells that several tables have.
Day = Annotated[
    date, msgspec.Meta(description="a day such as 2011-01-31", extra={"wrong": "{name}: {text!r} is no day"})
]
SiteCell = Annotated[
    int, msgspec.Meta(ge=0, description="the number of the site, or nothing",
                      extra={"wrong": "{name}: {text!r} is no SiteID"})
]  # fmt: skip
_WHOLE = re.compile(r"-?[0-9]+")


@dataclass(frozen=True, eq=False)
class Table(Generic[R]):
    """One file as read. The same object until the file changes, so it may be the key of a cache. The parts of a key of
    several columns are joined by BESIDE."""

    path: Path
    columns: tuple[str, ...]
    rows: Mapping[str, R]  # without those that are wrong
    lines: Mapping[str, int]  # where each key stands
    findings: tuple[Finding, ...]

    def finding(self, key: str, message: str) -> Finding:
        return Finding(self.path, self.lines.get(key, 1), message)


def load_csv(path: Path, kind: type[R], *, keys: int = 1) -> Table[R]:
    """The table, read again only when it has changed. Raises ConfigError with everything that is wrong."""
    table = read_csv(path, kind, keys=keys)
    if table.findings:
        raise refusal(table.findings)
    return table


def read_csv(path: Path, kind: type[R], *, keys: int = 1) -> Table[R]:
    """The table, whose first `keys` columns are its key, and what is wrong with it in `findings`. `kind`: the struct
    of a row, or `dict` where the file alone says which columns there are. Raises ConfigError where it cannot be
    read at all."""
    return _read(stamp(path), typing.cast(typing.Hashable, kind), keys)


@lru_cache(maxsize=256)  # several roots of settings
def _read(file: Stamp, kind: Any, keys: int) -> Table[Any]:
    return _TableReader(file.path, kind, keys).table()


class _TableReader:
    """Opens one table and collects what is wrong with it."""

    def __init__(self, path: Path, kind: Any, keys: int) -> None:
        self.path, self.kind, self.keys = path, kind, keys
        self.fields = {} if kind is dict else {one.encode_name: one for one in msgspec.structs.fields(kind)}
        self.findings: list[Finding] = []

    def table(self) -> Table[Any]:
        records = self.records()
        if not records:
            raise ConfigError(
                f"{self.path} is empty.", do="Its first row names its columns; the first column is the key."
            )
        (line, header), *rest = records
        columns = tuple(header)
        made: dict[str, Any] = {}
        lines: dict[str, int] = {}
        if self.is_header(line, columns):
            for number, cells in rest:
                if len(cells) != len(columns):
                    message = f"{len(cells)} values for {len(columns)} columns; put quotes around commas"
                    self.report(number, message)
                    continue
                key = BESIDE.join(cells[: self.keys])
                if key in lines:
                    message = f"{key!r} stands here a second time, first in line {lines[key]}; remove one of the rows"
                    self.report(number, message)
                    continue
                lines[key] = number
                row = self.row(number, dict(zip(columns, cells, strict=True)))
                if row is not None:
                    made[key] = row
        return Table(self.path, columns, made, lines, tuple(sorted(self.findings, key=lambda one: one.line)))

    def records(self) -> list[tuple[int, list[str]]]:
        """The rows that are no remarks, each with the line in which it stands."""
        try:
            text = self.path.read_bytes().decode("utf-8-sig")
        except FileNotFoundError:
            raise ConfigError(
                f"{self.path} is missing.", do="Restore it from the repository, or correct CROSSDOCK_CONFIG_DIR."
            ) from None
        except OSError as error:
            reason = error.strerror or type(error).__name__
            raise ConfigError(f"{self.path} cannot be read: {reason}.", do="Make it a file that we may read.") from None
        except UnicodeDecodeError as error:
            line = self.path.read_bytes().count(b"\n", 0, error.start) + 1
            raise ConfigError(f"{self.path}:{line}: this is not UTF-8.", do="Save the file as UTF-8 text.") from None
        made = []
        for number, row in enumerate(text.splitlines(), 1):
            if not row.strip() or row.lstrip().startswith("#"):
                continue
            try:
                (cells,) = csv.reader(io.StringIO(row), strict=True)
            except (csv.Error, ValueError):
                self.report(number, "a quote is opened and not closed, or stands inside a cell; write it twice")
                continue
            made.append((number, [cell.strip() for cell in cells]))
        return made

    def is_header(self, line: int, columns: tuple[str, ...]) -> bool:
        """Whether these are the columns that the rows should have; reported where not."""
        wanted = tuple(self.fields)
        if not wanted:
            if len(columns) < max(2, self.keys) or len(set(columns)) < len(columns) or not all(columns):
                self.report(line, f"the header {','.join(columns)!r} does not name two or more columns")
                return False
            return True
        if columns == wanted:
            return True
        absent = [one for one in wanted if one not in columns]
        hints = [f"{one!r} is none{did_you_mean(one, absent)}" for one in columns if one not in wanted]
        self.report(line, "; ".join([f"the header must be {','.join(wanted)}", *hints]))
        return False

    def row(self, line: int, cells: dict[str, str]) -> Any:
        """One row as its struct; None where it is wrong, which is reported."""
        if self.kind is dict:
            return cells
        before = len(self.findings)
        given = {}
        for name, field in self.fields.items():
            if cells[name] or field.required:
                given[field.name] = self.cell(line, name, field.type, cells[name])
        if len(self.findings) > before:
            return None
        made = self.kind(**given)
        for _, message in made.problems() if isinstance(made, Struct) else ():
            self.report(line, message)
        return made if len(self.findings) == before else None

    def cell(self, line: int, name: str, kind: Any, text: str) -> Any:
        value = _typed(kind, text)
        try:
            if value == "" and str not in leaves(kind):
                raise msgspec.ValidationError
            return msgspec.convert(value, kind)
        except msgspec.ValidationError:
            message = (
                extra_of(kind)
                .get("wrong", "{name} is {text!r}" if text else "{name} is empty")
                .format(name=name, text=text)
            )
            if not text and not choices_of(kind):
                self.report(line, f"{message}; write {describe(kind)}")
            else:
                self.report(line, f"{message}{instead(kind, yaml.ScalarNode('', text), value)}")
            return None

    def report(self, line: int, message: str) -> None:
        self.findings.append(Finding(self.path, line, message))


def _typed(kind: Any, text: str) -> Any:
    """A cell as its type wants it; the text where it cannot be that."""
    wanted = leaves(kind)
    try:
        if int in wanted and _WHOLE.fullmatch(text):
            return int(text)
        if Decimal in wanted:
            number = Decimal(text.removesuffix("%") if extra_of(kind).get("percent") else text)
            return number if number.is_finite() else text
        if datetime in wanted:
            return datetime.fromisoformat(text)
        if date in wanted:
            day = date.fromisoformat(text)
            return day if day.isoformat() == text else text
    except (InvalidOperation, ValueError):
        return text
    return text
