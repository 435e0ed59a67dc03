"""Suites of checks: what must be true of target documents before they are sent, judged by Great Expectations.

In: `include/config/checks/<name>.yaml`; frames of target documents. Out: one problem per failing row and rule, and
the validation result to keep. Never: a rule that normal data fails (a failing rule costs by the row); values of
people's data in a kept result; a rule that could not be run taken as passed.

A suite runs once over the heads and once over the lines of a batch. Great Expectations needs about 10 ms for each
expectation, however small the batch, so a tick of 43 orders would spend a second on a hundred of them. What the
contract says of every field is therefore five expectations and not a hundred: for each kind of rule (missing, too long,
unknown code, wrong form, out of range) a whole number per row, whose bits are the fields that break it; it must be 0.
Columns that hold a number are handed over as plain int64, on which Great Expectations is fast.
"""

from __future__ import annotations

import logging
import os
import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache, lru_cache
from pathlib import Path
from typing import Annotated, Any

import msgspec
import numpy as np
import pandas as pd
from msgspec import Meta

from crossdock import config
from crossdock.config import Finding, Scalar, Struct, Written, did_you_mean
from crossdock.errors import ConfigError
from crossdock.mapping import contracts, problems
from crossdock.mapping.contracts import Document, Field
from crossdock.mapping.frames import CENT, LINE, ROW, Frames, count_by_header, sum_by_header, written
from crossdock.settings import config_dir
from crossdock.steps import plain

SAMPLE = 20  # keys of failing rows that a kept result names
KINDS = ("missing", "too_long", "unknown_code", "wrong_form", "out_of_range")
_ARGUMENTS = ("min_value", "max_value", "strict_min", "strict_max", "value_set", "regex", "regex_list", "mostly")
_ENOUGH = 18_000_000_000_000_000  # no amount is larger; 500 of them still fit into int64


@dataclass(frozen=True)
class Rule:
    """One rule of a suite. `arguments` go to the expectation; `bits` are the fields behind a contract rule's bits."""

    expect: str
    column: str
    rule: str
    field: str
    shows: str
    money: bool
    message: str
    do: str
    arguments: dict[str, Any]
    line: int
    bits: tuple[str, ...] = ()
    lines: tuple[tuple[str, int], ...] = ()  # of each argument


@dataclass(frozen=True)
class Suite:
    """One checks file."""

    name: str
    file: Path
    title: str
    target: tuple[str, str]
    key: str
    children: str  # the target's list of lines; "" where it has none
    line_key: str
    given: dict[str, dict[str, str]]  # columns that the flow adds, in words: {"head": {...}, "lines": {...}}
    header: tuple[Rule, ...]
    lines: tuple[Rule, ...]
    except_: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = field(default=(), compare=False)

    @property
    def head_document(self) -> Document:
        return contracts.document(*self.target)

    @property
    def line_document(self) -> Document:
        if not self.children:
            return Document(self.target[0], "")
        inner = self.head_document.fields[self.children].items
        assert inner
        return inner


def run(
    name: str, frames: Frames, *, now: datetime | None = None, folder: Path | None = None
) -> tuple[pd.DataFrame, dict]:
    """Judges `frames` (columns: target paths, and what the suite's `given` asks for) by the suite `name`.

    Returns the problems and the result to keep, JSON-able: {"suite", "title", "success", "rows", "rejected", "head",
    "lines"}, the last two as Great Expectations' own validation results without the rows' values. Raises ConfigError
    where the suite is wrong, or asks for a column that is not there.
    """
    suite = load(name, folder)
    found, kept = [], {}
    source = _context().data_sources.add_pandas("crossdock")
    for part in _parts(suite, frames, now):
        kept[part.name], failing = _validate(source, suite, part.name, part.table, part.rules, part.keys)
        found += [part.problems(rule, at) for rule, at in failing]
    every = problems.concat(found)
    return every, {
        "suite": name,
        "title": suite.title,
        "success": not len(every),
        "rows": len(frames.header),
        "rejected": int(every["_row"].nunique()),
        **kept,
    }


def judge(
    name: str, frames: Frames, *, now: datetime | None = None, folder: Path | None = None
) -> pd.DataFrame:  # fmt: skip
    """The problems that `run` finds, for somebody who waits: there is no result to keep. Great Expectations is asked
    only where `plain` cannot say what a rule refuses."""
    suite = load(name, folder)
    found = []
    for part in _parts(suite, frames, now):
        refused = [(rule, plain.refused(rule.expect, rule.arguments, part.table[rule.column])) for rule in part.rules]
        failing = {rule.rule: np.flatnonzero(one) for rule, one in refused if one is not None}
        rest = tuple(rule for rule, one in refused if one is None)
        if rest:
            source = _context().data_sources.add_pandas("crossdock")
            failing |= {
                rule.rule: at for rule, at in _validate(source, suite, part.name, part.table, rest, part.keys)[1]
            }
        found += [part.problems(rule, failing[rule.rule]) for rule in part.rules if len(failing.get(rule.rule, ()))]
    return problems.concat(found)


@dataclass(frozen=True)
class _Part:
    """The heads, or the lines, of what a suite judges. `of_row`: the document of each line; None for heads."""

    name: str
    table: pd.DataFrame  # the columns that the rules look at
    rules: tuple[Rule, ...]
    keys: np.ndarray
    shown: pd.DataFrame
    of_row: np.ndarray | None
    line_keys: pd.Series

    def problems(self, rule: Rule, at: np.ndarray) -> pd.DataFrame:
        return _problems(rule, at, self.table, self.shown, self.of_row, self.line_keys)


def _parts(suite: Suite, frames: Frames, now: datetime | None) -> tuple[_Part, _Part]:
    header = _head_columns(suite, frames, now or datetime.now(UTC))
    lines = _line_columns(suite, frames)
    keys = frames.header[suite.key].fillna("").to_numpy(dtype=object)
    rows = frames.lines[ROW].to_numpy()
    line_keys = frames.lines[suite.line_key] if suite.children else frames.lines[LINE]
    return (
        _Part("head", header, suite.header, keys, frames.header, None, line_keys),
        _Part("lines", lines, suite.lines, keys[rows], frames.lines, rows, line_keys),
    )


# ---- reading a suite -----------------------------------------------------------------------------------------------


def folder_of_checks() -> Path:
    return config_dir() / "checks"


def names(folder: Path | None = None) -> list[str]:
    """All suites that there are."""
    return sorted(one.stem for one in (folder or folder_of_checks()).glob("*.yaml"))


def load(name: str, folder: Path | None = None) -> Suite:
    """The suite `name`, read again only when its file has changed. Raises ConfigError with all findings."""
    path = (folder or folder_of_checks()) / f"{name}.yaml"
    if not path.exists():
        raise ConfigError(f"There is no suite {name!r} in {path.parent}{did_you_mean(name, names(path.parent))}")
    suite = read(path)
    if suite.findings:
        raise config.refusal(suite.findings)
    return suite


def read(path: Path) -> Suite:
    """The suite as written, with everything that is wrong with it in `findings`. Raises ConfigError for no YAML."""
    return _suite(config.read(path, _Written))


_Argument = Scalar | tuple[Scalar, ...] | None


class _ContractRule(Struct, frozen=True):
    """What is said of one kind of rule that the contract makes."""

    rule: Written
    message: Written = msgspec.field(name="says")
    do: Written


class _Contract(Struct, frozen=True, kw_only=True):
    """`contract`: the kinds of rules, and the fields to which none applies."""

    except_: tuple[Written, ...] = msgspec.field(name="except", default=())
    missing: _ContractRule | None = None
    too_long: _ContractRule | None = None
    unknown_code: _ContractRule | None = None
    wrong_form: _ContractRule | None = None
    out_of_range: _ContractRule | None = None


class _Rule(Struct, frozen=True, kw_only=True):
    """One entry of `head_rules` or `line_rules`; other words are arguments of the expectation."""

    what = "this rule"

    expect: Written
    column: Written
    rule: Written
    message: Written = msgspec.field(name="says")
    do: Written
    field: Written = ""
    shows: Written = ""
    money: bool = False
    arguments: Annotated[dict[str, _Argument], Meta(extra={"rest": True})] = msgspec.field(default_factory=dict)

    def problems(self) -> Iterator[tuple[str, str]]:
        for word, value in self.arguments.items():
            if isinstance(value, tuple) and not word.endswith(("_set", "_list")):
                yield word, f"`{word}` should be one value, and here is a list"


class _Lines(Struct, frozen=True):
    what = "`lines`"

    target: Written = ""
    key: Written = ""


class _Given(Struct, frozen=True):
    what = "`given`"

    header: dict[Written, Written | None] = msgspec.field(name="head", default_factory=dict)
    lines: dict[Written, Written | None] = msgspec.field(default_factory=dict)


class _Written(Struct, frozen=True, kw_only=True):
    """A checks file."""

    what = "a suite"

    suite: Written
    target: Written
    key: Written
    lines: _Lines | None = None  # of a target without lines there is nothing to say
    given: _Given
    contract: _Contract
    head_rules: tuple[_Rule, ...]
    line_rules: tuple[_Rule, ...] = ()


_RULE_WORDS = tuple(word for word in _Rule.__struct_fields__ if word != "arguments")


@lru_cache(maxsize=128)
def _suite(file: config.File[_Written]) -> Suite:
    """What a file says, held against the contract of its target."""
    written = file.value
    if written is None:
        return Suite(file.path.stem, file.path, "", ("", ""), "", "", "", {}, (), (), findings=file.findings)
    found = list(file.findings)
    lines = written.lines or _Lines()
    system, _, schema = written.target.partition(" ")
    try:
        document = contracts.document(system, schema)
        inner = document.fields.get(lines.target)
        below = inner.items if inner else None if written.lines else Document(system, "")
    except ConfigError as error:
        found.append(file.finding(("target",), str(error)))
        document, below = Document(system, schema), None
    if document.fields and below is None:
        lists = [path for path, one in document.fields.items() if one.items]
        message = f"{document.name} has no list {lines.target!r}{did_you_mean(lines.target, lists)}"
        found.append(file.finding(("lines",), message))
    below = below or Document(system, "")
    for at, path in enumerate(written.contract.except_):
        if path not in document.fields:
            message = f"{document.name} has no field {path!r}{did_you_mean(path, document.fields)}"
            found.append(file.finding(("contract", "except", at), message))
    given = {
        part: {column: words or "" for column, words in columns.items()}
        for part, columns in (("head", written.given.header), ("lines", written.given.lines))
    }
    columns = {*document.leaves, *HEAD_COLUMNS, *given["head"]}
    line_columns = {*below.leaves, *LINE_COLUMNS, *given["lines"]}
    header = _rules(file, "head_rules", written.head_rules, columns, document, found)
    of_lines = _rules(file, "line_rules", written.line_rules, line_columns, below, found)
    return Suite(
        name=file.path.stem,
        file=file.path,
        title=written.suite,
        target=(system, schema),
        key=written.key,
        children=lines.target,
        line_key=lines.key,
        given=given,
        header=(*_contract_rules(file, written.contract, document, written.contract.except_), *header),
        lines=(*_contract_rules(file, written.contract, below, ()), *of_lines),
        except_=written.contract.except_,
        findings=tuple(sorted(set(found), key=lambda one: one.line)),
    )


def _contract_rules(
    file: config.File[_Written], contract: _Contract, document: Document, excepted: tuple[str, ...]
) -> list[Rule]:
    rules = []
    for kind in KINDS:
        words: _ContractRule | None = getattr(contract, kind)
        bits = tuple(path for path in bound_by(kind, document) if path not in excepted)
        if words and bits:
            rules.append(
                Rule(
                    "column_values_to_be_between", kind, words.rule, "", "", False, words.message, words.do,
                    {"min_value": 0, "max_value": 0}, file.line("contract", kind), bits,
                )
            )  # fmt: skip
    return rules


def _rules(
    file: config.File[_Written],
    part: str,
    written: tuple[_Rule, ...],
    columns: set[str],
    document: Document,
    found: list[Finding],
) -> list[Rule]:
    rules: list[Rule] = []
    for at, one in enumerate(written):
        rule = _one_rule(file, (part, at), one, columns, document, found)
        if any(rule.rule == other.rule for other in rules):
            found.append(file.finding((part, at), f"the rule {rule.rule!r} stands here a second time"))
        rules.append(rule)
    return rules


def _one_rule(
    file: config.File[_Written],
    place: config.Place,
    one: _Rule,
    columns: set[str],
    document: Document,
    found: list[Finding],
) -> Rule:
    shows = one.shows or one.column
    for word, name in {one.column: "column", shows: "shows" if one.shows else "column"}.items():
        if word not in columns:
            found.append(file.finding((*place, name), f"no column is called {word!r}{did_you_mean(word, columns)}"))
    expect, arguments = one.expect, {word: _plain(value) for word, value in one.arguments.items()}
    codes = arguments.get("value_set")
    if isinstance(codes, str) and codes in NAMED_SETS:
        expect, _ = "column_values_to_match_regex", arguments.pop("value_set")
        arguments["regex"] = NAMED_SETS[codes]()
    elif isinstance(codes, str):
        message = f"no set of codes is called {codes!r}{did_you_mean(codes, NAMED_SETS)}"
        found.append(file.finding((*place, "value_set"), message))
    held = document.fields.get(shows)
    return Rule(
        expect, one.column, one.rule, one.field or one.column, shows, one.money or bool(held and held.money),
        one.message, one.do, arguments, file.line(*place),
        lines=tuple((word, file.line(*place, word)) for word in one.arguments),
    )  # fmt: skip


def _plain(value: _Argument) -> Any:
    return list(value) if isinstance(value, tuple) else value


def check(path: Path) -> list[Finding]:
    """Everything that is wrong with a checks file, also what only Great Expectations can tell."""
    suite = read(path)
    found = list(suite.findings)
    valid = _expectation_names()
    for rule in (*suite.header, *suite.lines):
        if rule.expect not in valid:
            found.append(
                Finding(path, rule.line, f"there is no expectation {rule.expect!r}{did_you_mean(rule.expect, valid)}")
            )
            continue
        words = set(_class_of(rule.expect).__fields__)
        unknown = [word for word in rule.arguments if word not in words]
        for word in unknown:
            near = did_you_mean(word, [*_RULE_WORDS, *(words & set(_ARGUMENTS))])
            found.append(
                Finding(
                    path,
                    dict(rule.lines).get(word, rule.line),
                    f"{rule.expect} does not take this: it has no word {word!r}{near}",
                )
            )
        if unknown:
            continue
        try:
            _expectation(rule)
        except (TypeError, ValueError) as error:
            reason = " ".join(str(error).split())
            found.append(Finding(path, rule.line, f"{rule.expect} does not take this: {reason}"))
    return sorted(found, key=lambda one: one.line)


def _countries() -> str:
    import pycountry

    return f"^(?:{'|'.join(sorted(country.alpha_2 for country in pycountry.countries))})$"


def _currencies() -> str:
    import pycountry

    return f"^(?:{'|'.join(sorted(currency.alpha_3 for currency in pycountry.currencies))})$"


# `value_set: countries`; as one pattern, for Great Expectations copies a list of codes hundreds of times
NAMED_SETS: dict[str, Callable[[], str]] = {"countries": cache(_countries), "currencies": cache(_currencies)}


# ---- columns that rules look at ------------------------------------------------------------------------------------

# name: what it is; a suite may use them beside the document's own fields
HEAD_COLUMNS = {
    "copies": "how often the document's key stands in the batch",
    "line_count": "number of lines",
    "discount_difference": "DiscountTotal - (sum of DiscountAmount + ShippingDiscountAmount)",
    "tax_difference": "TaxTotal - (sum of TaxAmount + ShippingTaxAmount)",
    "total_difference": "TotalAmount - (sum of round2(Quantity x Price) - DiscountTotal + ShippingAmount "
    "+ GiftWrapAmount + TaxTotal unless PricesIncludeTax)",
    "shipping_discount_excess": "ShippingDiscountAmount - ShippingAmount",
    "order_year": "year of OrderDate",
    "hours_ahead": "whole hours by which OrderDate lies ahead of now",
    **dict.fromkeys(KINDS, "fields that break this rule of the contract"),
}
LINE_COLUMNS = {
    "copies": "how often the line's key stands in its document",
    "discount_excess": "DiscountAmount - round2(Quantity x Price)",
    **dict.fromkeys(KINDS, "fields that break this rule of the contract"),
}


def _head_columns(suite: Suite, frames: Frames, now: datetime) -> pd.DataFrame:
    header, lines = frames.header, frames.lines
    wanted = {rule.column for rule in suite.header}
    made = _contract_columns(suite.head_document, suite.header, header)
    if "copies" in wanted:
        made["copies"] = _copies(header[suite.key])
    if "line_count" in wanted:
        made["line_count"] = count_by_header(frames)
    if wanted & {"discount_difference", "tax_difference", "total_difference", "shipping_discount_excess"}:
        amount = {name: _amount(header, name) for name in _HEAD_AMOUNTS}
        gross = sum_by_header(frames, _gross(lines))
        charges = amount["ShippingAmount"] + amount["GiftWrapAmount"]
        inclusive = header["PricesIncludeTax"].fillna(False).to_numpy(dtype=bool)
        tax = np.where(inclusive, 0, amount["TaxTotal"])
        discount = sum_by_header(frames, _amount(lines, "DiscountAmount")) + amount["ShippingDiscountAmount"]
        duty = sum_by_header(frames, _amount(lines, "TaxAmount")) + amount["ShippingTaxAmount"]
        made["discount_difference"] = amount["DiscountTotal"] - discount
        made["tax_difference"] = amount["TaxTotal"] - duty
        made["total_difference"] = amount["TotalAmount"] - (gross - amount["DiscountTotal"] + charges + tax)
        made["shipping_discount_excess"] = amount["ShippingDiscountAmount"] - amount["ShippingAmount"]
    if wanted & {"order_year", "hours_ahead"}:
        made["order_year"], made["hours_ahead"] = _dates(header["OrderDate"], now)
    return _table(suite, "head", wanted, made, header)


def _line_columns(suite: Suite, frames: Frames) -> pd.DataFrame:
    lines = frames.lines
    wanted = {rule.column for rule in suite.lines}
    made = _contract_columns(suite.line_document, suite.lines, lines)
    if "copies" in wanted:
        made["copies"] = _copies(lines[suite.line_key], within=lines[ROW].to_numpy())
    if "discount_excess" in wanted:
        made["discount_excess"] = _amount(lines, "DiscountAmount") - _gross(lines)
    return _table(suite, "lines", wanted, made, lines)


def _table(suite: Suite, part: str, wanted: set[str], made: dict[str, np.ndarray], frame: pd.DataFrame) -> pd.DataFrame:
    """The wanted columns: made ones, and the document's own, numbers as plain int64 where none is missing."""
    for name in sorted(wanted - set(made)):
        if name not in frame:
            what = suite.given.get(part, {}).get(name)
            raise ConfigError(
                f"The suite {suite.name} looks at the {part} column {name!r}, which is not there.",
                do=f"The flow must add it: {what}." if what else "The frame must hold every field of the target.",
            )
        values = frame[name]
        whole = pd.api.types.is_integer_dtype(values.dtype) and not values.isna().any()
        made[name] = values.to_numpy(dtype=np.int64) if whole else values
    return pd.DataFrame(made, index=pd.RangeIndex(len(frame)), copy=False)


_HEAD_AMOUNTS = (
    "ShippingAmount", "ShippingDiscountAmount", "ShippingTaxAmount", "GiftWrapAmount", "DiscountTotal", "TaxTotal",
    "TotalAmount",
)  # fmt: skip


def _amount(frame: pd.DataFrame, name: str) -> np.ndarray:
    """int64, missing as 0, held within what sums can bear (larger ones break the contract's form anyway)."""
    return np.clip(frame[name].fillna(0).to_numpy(dtype=np.int64), -_ENOUGH, _ENOUGH)


def _gross(lines: pd.DataFrame) -> np.ndarray:
    """round2(Quantity x Price) of each line, half away from zero, scaled by 10,000."""
    quantity, price = (lines[name].fillna(0).to_numpy(dtype=np.int64) for name in ("Quantity", "Price"))
    large = np.abs(price) > _ENOUGH // np.maximum(np.abs(quantity), 1)
    product = np.where(large, 0, quantity) * price
    product[large] = np.where((quantity[large] < 0) == (price[large] < 0), _ENOUGH, -_ENOUGH)
    return np.sign(product) * ((np.abs(product) + CENT // 2) // CENT) * CENT


def _copies(keys: pd.Series, within: np.ndarray | None = None) -> np.ndarray:
    """How often each key occurs (within its document); a missing key counts once."""
    codes, distinct = pd.factorize(keys)
    whole = codes if within is None else np.where(codes < 0, -1, within * max(1, len(distinct)) + codes)
    groups, _ = pd.factorize(whole)
    count = np.bincount(groups, minlength=1)[groups] if len(groups) else np.zeros(0, dtype=np.int64)
    return np.where(codes < 0, 1, count).astype(np.int64)


def _dates(moments: pd.Series, now: datetime) -> tuple[np.ndarray, np.ndarray]:
    """Year and whole hours ahead of now; a moment that cannot be read (its form is another rule's) as this year, 0."""
    read = pd.to_datetime(moments, utc=True, errors="coerce", format="ISO8601")
    read = read.fillna(pd.Timestamp(now))
    hours_ahead = (read - pd.Timestamp(now)) // pd.Timedelta(hours=1)
    return read.dt.year.to_numpy(dtype=np.int64), hours_ahead.to_numpy(dtype=np.int64)


# ---- what the contract says of every field -------------------------------------------------------------------------


def bound_by(kind: str, document: Document) -> list[str]:
    """The fields of a document that a kind of contract rule binds, in the contract's order."""
    tests = {
        "missing": lambda one: one.required,
        "too_long": lambda one: one.max_length is not None and one.type == "text",
        "unknown_code": lambda one: bool(one.codes),
        "wrong_form": lambda one: bool(one.pattern) and not one.money,
        "out_of_range": lambda one: one.money or one.minimum is not None or bool(one.min_length),
    }
    return [path for path, one in document.leaves.items() if tests[kind](one)]


def _contract_columns(document: Document, rules: tuple[Rule, ...], frame: pd.DataFrame) -> dict[str, np.ndarray]:
    """For each kind of rule an int64 column whose bits are the fields that break it."""
    columns = {}
    for rule in rules:
        if rule.bits:
            bits = np.zeros(len(frame), dtype=np.int64)
            for number, path in enumerate(rule.bits):
                broken = _broken(rule.column, document, document.fields[path], frame)
                if broken is not None:
                    bits |= broken.astype(np.int64) << number
            columns[rule.column] = bits
    return columns


def _broken(kind: str, document: Document, one: Field, frame: pd.DataFrame) -> np.ndarray | None:
    """bool per row: the field breaks this kind of rule; None where no row does. A missing one breaks `missing` only."""
    if one.path not in frame:
        return np.ones(len(frame), dtype=bool) if kind == "missing" and document.must_have(one.path) else None
    values = frame[one.path]
    if kind == "missing":
        broken = values.isna().to_numpy(dtype=bool)
        if broken.any() and not document.must_have(one.path):
            around = document.parents(one.path)[-1].path + "."
            beside = [frame[name].notna().to_numpy() for name in frame if name.startswith(around)]
            broken = broken & np.logical_or.reduce(beside)
        return broken if broken.any() else None
    if kind == "out_of_range" and not isinstance(values.dtype, pd.StringDtype):
        low, high = _range(one)
        numbers = values.fillna(low).to_numpy(dtype=np.int64)
        return (numbers < low) | (numbers > high)
    if kind == "too_long":
        return (values.str.len() > one.max_length).to_numpy(dtype=bool)
    if kind == "out_of_range":  # of a text: too short
        return (values.str.len() < one.min_length).to_numpy(dtype=bool)
    if kind == "unknown_code":
        return (values.notna() & ~values.isin(one.codes)).to_numpy(dtype=bool)
    codes, distinct = pd.factorize(values)
    wrong = np.array([re.search(one.pattern or "", text) is None for text in distinct.tolist()] + [False], dtype=bool)
    return wrong[codes]


def _range(one: Field) -> tuple[int, int]:
    if one.money:
        most = 10**17 - 1  # 13 digits before the point
        signed = (one.pattern or "").startswith("^-?") or (one.type == "number" and one.minimum is None)
        return (-most if signed else 0), most
    return one.minimum or 0, one.maximum if one.maximum is not None else 2**63 - 1


# ---- running and telling -------------------------------------------------------------------------------------------


_IMPORTING = threading.Lock()  # two threads in the middle of it would see modules that are half there


def prepare() -> None:
    """Imports what a check needs, ahead of the first one: it costs seconds."""
    _great_expectations()


def _great_expectations() -> Any:
    """Imported where it is first needed."""
    os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")
    with _IMPORTING:
        import great_expectations

    return great_expectations


def _context() -> Any:
    """A context in memory, new for each run: an old one would keep the frames that it has seen."""
    great_expectations = _great_expectations()
    from great_expectations.data_context.types.base import (
        DataContextConfig,
        InMemoryStoreBackendDefaults,
        ProgressBarsConfig,
    )

    config = DataContextConfig(
        store_backend_defaults=InMemoryStoreBackendDefaults(),
        progress_bars=ProgressBarsConfig(globally=False, metric_calculations=False),
        analytics_enabled=False,
    )
    return great_expectations.get_context(mode="ephemeral", project_config=config)


def _camel(expect: str) -> str:
    return "Expect" + "".join(part.capitalize() for part in expect.split("_"))


def _expectation_names() -> list[str]:
    every = vars(_great_expectations().expectations)
    snake = (re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower() for name in every if name.startswith("ExpectColumn"))
    return sorted(name.removeprefix("expect_") for name in snake if "_values_" in name or "_value_" in name)


@cache
def _class_of(expect: str) -> Any:
    """Great Expectations' class, whose expectations keep their configuration once it is made: a validation asks for it
    seventy times, and each time it is made anew from the fields, a third of what a validation costs."""
    theirs = getattr(_great_expectations().expectations, _camel(expect))
    from great_expectations.compatibility import pydantic

    def configuration(self: Any) -> Any:
        if self._kept is None:
            self._kept = theirs.configuration.fget(self)
        return self._kept

    registry = logging.getLogger("great_expectations.expectations.registry")
    level = registry.level
    registry.setLevel(logging.ERROR)  # it warns that the class takes the place of its parent, as it should
    try:
        return type(theirs)(
            theirs.__name__,
            (theirs,),
            {
                "__module__": theirs.__module__,
                "__doc__": theirs.__doc__,
                "_kept": pydantic.PrivateAttr(None),
                "configuration": property(configuration),
            },
        )
    finally:
        registry.setLevel(level)


def _expectation(rule: Rule) -> Any:
    made = _class_of(rule.expect)
    words = f"{rule.column}: {rule.message} {rule.do}"
    return made(column=rule.column, description=words, meta={"rule": rule.rule}, **rule.arguments)


def _validate(
    source: Any, suite: Suite, part: str, table: pd.DataFrame, rules: tuple[Rule, ...], keys: np.ndarray
) -> tuple[dict, list[tuple[Rule, np.ndarray]]]:
    """Great Expectations' result to keep, and the positions of the rows that each rule refuses."""
    asset = source.add_dataframe_asset(f"{suite.name}.{part}")
    batch = asset.add_batch_definition_whole_dataframe("batch").get_batch({"dataframe": table})
    result = _judged(suite, batch, rules, "BASIC")
    refused = tuple(rule for rule, one in zip(rules, result.results, strict=True) if not one.success)
    named = (
        _judged(suite, batch, refused, "COMPLETE").results if refused else []
    )  # only now: it costs half as much again
    failing = [
        (rule, np.asarray(one.result["unexpected_index_list"], dtype=np.int64))
        for rule, one in zip(refused, named, strict=True)
    ]
    return _kept(result.to_json_dict(), keys, {rule.rule: at for rule, at in failing}), failing


def _judged(suite: Suite, batch: Any, rules: tuple[Rule, ...], detail: str) -> Any:
    """The validation result, in the order of `rules`. Raises ConfigError where a rule could not be run."""
    expectations = [_expectation(rule) for rule in rules]
    whole = _great_expectations().ExpectationSuite(name=suite.name, expectations=expectations)
    result = batch.validate(whole, result_format={"result_format": detail, "return_unexpected_index_query": False})
    order = {rule.rule: number for number, rule in enumerate(rules)}
    result.results.sort(key=lambda one: order[one.expectation_config.meta["rule"]])
    for rule, one in zip(rules, result.results, strict=True):
        if one.exception_info.get("raised_exception", True):
            raise ConfigError(
                f"{suite.file}:{rule.line}: the rule {rule.rule} could not be run: "
                f"{one.exception_info.get('exception_message') or 'Great Expectations gave no reason'}",
                do="Correct the rule, or the type of its column.",
            )
    return result


def _kept(result: dict, keys: np.ndarray, failing: dict[str, np.ndarray]) -> dict:
    """The result as it is kept: counts, and the keys of some failing documents; no values, for they may be personal."""
    for one in result["results"]:
        held = one["result"]
        for name in ("unexpected_list", "unexpected_index_list", "partial_unexpected_counts", "unexpected_index_query"):
            held.pop(name, None)
        at = failing.get(one["expectation_config"]["meta"]["rule"])
        held["partial_unexpected_list"] = [] if at is None else [str(key) for key in keys[at[:SAMPLE]]]
        held["partial_unexpected_index_list"] = None
    result["meta"].pop("batch_markers", None)
    return result


def _problems(
    rule: Rule,
    at: np.ndarray,
    table: pd.DataFrame,
    shown: pd.DataFrame,
    of_row: np.ndarray | None,
    line_keys: pd.Series,
) -> pd.DataFrame:
    """The problems of one rule: one per failing row, or per failing row and field of a contract rule."""
    if rule.bits:
        bits = table[rule.column].to_numpy()[at]
        parts = [(path, path, at[(bits >> number) & 1 == 1]) for number, path in enumerate(rule.bits)]
    else:
        parts = [(rule.field, rule.shows, at)]
    found = []
    for path, name, rows in parts:
        if not len(rows):
            continue
        values = shown.get(name, table.get(name))
        texts = (
            [""] * len(rows) if values is None else [_text(value, rule, values) for value in values.iloc[rows].tolist()]
        )
        lines = "" if of_row is None else line_keys.iloc[rows].fillna("").tolist()
        number = rows if of_row is None else of_row[rows]
        found.append(
            problems.make(number, field=path, rule=rule.rule, value=texts, message=rule.message, do=rule.do, line=lines)
        )
    return problems.concat(found)


def _text(value: Any, rule: Rule, values: pd.Series) -> str:
    if value is None or value is pd.NA or value != value:
        return ""
    if rule.money or (rule.bits and rule.column == "out_of_range" and values.name in _MONEY):
        return written(int(value))
    return str(value)


_MONEY = frozenset((*_HEAD_AMOUNTS, "Price", "DiscountAmount", "TaxAmount"))


# ---- Data Docs -----------------------------------------------------------------------------------------------------


def build_data_docs(results: list[dict], folder: Path) -> Path:
    """Great Expectations' Data Docs of kept results, as a site in `folder`; returns its index.html.

    Each result may carry `batch` (a name for people) and `at` (ISO moment) beside what `run` returned.
    """
    from great_expectations.core.expectation_validation_result import ExpectationSuiteValidationResultSchema
    from great_expectations.core.run_identifier import RunIdentifier
    from great_expectations.data_context.types.resource_identifiers import (
        ExpectationSuiteIdentifier,
        ValidationResultIdentifier,
    )

    folder.mkdir(parents=True, exist_ok=True)
    context = _context()
    context.add_data_docs_site(
        "crossdock",
        {
            "class_name": "SiteBuilder",
            "show_how_to_buttons": False,
            "site_index_builder": {"class_name": "DefaultSiteIndexBuilder"},
            "store_backend": {"class_name": "TupleFilesystemStoreBackend", "base_directory": str(folder.resolve())},
        },
    )
    for number, kept in enumerate(results):
        moment = datetime.fromisoformat(kept["at"]) if kept.get("at") else datetime.now(UTC)
        name = str(kept.get("batch", number))
        for part in ("head", "lines"):
            result = ExpectationSuiteValidationResultSchema().load(kept[part])
            key = ValidationResultIdentifier(
                expectation_suite_identifier=ExpectationSuiteIdentifier(f"{kept['suite']}.{part}"),
                run_id=RunIdentifier(run_name=name, run_time=moment),
                batch_identifier=f"{name}-{part}",
            )
            result.meta["run_id"] = key.run_id
            context.validation_results_store.set(key, result)
    context.build_data_docs(site_names=["crossdock"])
    return folder / "index.html"


FORM = _Written  # what a checks file holds, for whoever shows it as a form
