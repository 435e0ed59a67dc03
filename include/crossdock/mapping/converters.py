"""The converters that a mapping may name: one column in, one column out, run once per distinct value.

In: a column of a frame. Out: a column of the same length and index. Never: a loop per row, a float, a silent default.

The first sentence of each docstring is shown in documentation and pages; the second says what becomes of null, 0 and
"". A given value that becomes missing is a problem of its row, unless the converter is marked `empties`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import pandas as pd

from crossdock.mapping.frames import CENT, SCALE

POUND = 45_359_237  # hundred-millionths of a kilogram


@dataclass(frozen=True)
class Converter:
    """`takes` and `gives` are types of crossdock.mapping.contracts; `gives` None means: as taken."""

    name: str
    function: Callable[..., pd.Series]
    takes: tuple[str, ...]
    gives: str | None
    argument: str  # what its argument means, "" if it takes none
    accepts: Callable[[Any], bool]
    empties: bool

    @property
    def docstring(self) -> str:
        return " ".join((inspect.getdoc(self.function) or "").split())

    def __call__(self, values: pd.Series, argument: Any = None) -> pd.Series:
        return self.function(values, argument) if self.argument else self.function(values)


CONVERTERS: dict[str, Converter] = {}


def converter(
    name: str,
    *,
    takes: tuple[str, ...],
    gives: str | None = None,
    argument: str = "",
    accepts: Callable[[Any], bool] = lambda given: True,
    empties: bool = False,
) -> Callable[[Callable[..., pd.Series]], Callable[..., pd.Series]]:
    def register(function: Callable[..., pd.Series]) -> Callable[..., pd.Series]:
        CONVERTERS[name] = Converter(name, function, takes, gives, argument, accepts, empties)
        return function

    return register


def by_distinct(values: pd.Series, function: Callable[[Any], Any], dtype: str) -> pd.Series:
    """Applies `function` to each distinct given value; missing stays missing, and None becomes missing."""
    codes, distinct = pd.factorize(values)
    made = pd.array([function(one) for one in distinct.tolist()], dtype=dtype)
    return pd.Series(made.take(codes, allow_fill=True), index=values.index)


def _count(given: Any) -> bool:
    return isinstance(given, int) and not isinstance(given, bool) and given > 0


def _text(given: Any) -> bool:
    return isinstance(given, str) and given != ""


def _zone(given: Any) -> bool:
    try:
        ZoneInfo(given)
    except (ZoneInfoNotFoundError, ValueError, TypeError, OSError):
        return False
    return True


@converter("to text", takes=("integer",), gives="text")
def to_text(values: pd.Series) -> pd.Series:
    """Writes a whole number as text. Null stays null, 0 becomes "0"."""
    return by_distinct(values, str, "str")


@converter("to whole number", takes=("text",), gives="integer")
def to_whole_number(values: pd.Series) -> pd.Series:
    """Reads text as a whole number. Null stays null; "" and any other text that is not a number is a problem."""

    def read(text: str) -> int | None:
        try:
            return int(text) if abs(int(text)) < 2**63 else None
        except ValueError:
            return None

    return by_distinct(values, read, "Int64")


@converter("to amount", takes=("text", "integer"), gives="number")
def to_amount(values: pd.Series) -> pd.Series:
    """Reads text or a whole number as an exact amount of at most four decimals. Null stays null, 0 becomes 0.00, ""
    and any other text that is not an amount is a problem."""

    def read(given: str | int) -> int | None:
        try:
            units = Decimal(given) * SCALE
            return int(units) if units == units.to_integral_value() and abs(units) < 10**18 else None
        except (InvalidOperation, ValueError, OverflowError):
            return None

    return by_distinct(values, read, "Int64")


@converter("trim", takes=("text",))
def trim(values: pd.Series) -> pd.Series:
    """Removes blanks at both ends. Null stays null, "" stays ""; blanks alone become ""."""
    return by_distinct(values, str.strip, "str")


@converter("upper case", takes=("text",))
def upper_case(values: pd.Series) -> pd.Series:
    """Writes text in capitals. Null stays null, "" stays ""."""
    return by_distinct(values, str.upper, "str")


@converter("lower case", takes=("text",))
def lower_case(values: pd.Series) -> pd.Series:
    """Writes text in small letters. Null stays null, "" stays ""."""
    return by_distinct(values, str.lower, "str")


@converter("empty to null", takes=("text",), empties=True)
def empty_to_null(values: pd.Series) -> pd.Series:
    """Treats empty text as not given. Null stays null, "" becomes null."""
    return by_distinct(values, lambda text: text or None, "str")


@converter("null to zero", takes=("integer", "number"))
def null_to_zero(values: pd.Series) -> pd.Series:
    """Treats a value that is not given as 0. Null becomes 0, 0 stays 0."""
    return values.fillna(0)


@converter("shorten to", takes=("text",), argument="the most characters", accepts=_count)
def shorten(values: pd.Series, most: int) -> pd.Series:
    """Cuts free text at a word and ends it with "…" when it is longer. Null stays null, "" stays ""."""

    def truncate(text: str) -> str:
        if len(text) <= most:
            return text
        start = text[: most - 1]
        whole = start if text[most - 1] == " " else start.rpartition(" ")[0] or start
        return whole.rstrip() + "…"

    return by_distinct(values, truncate, "str")


@converter("begin with", takes=("text",), argument="the text put before", accepts=_text)
def begin_with(values: pd.Series, start: str) -> pd.Series:
    """Puts a fixed text before the value. Null stays null, "" becomes the fixed text alone."""
    return by_distinct(values, lambda text: start + text, "str")


@converter("to microseconds", takes=("moment",))
def to_microseconds(values: pd.Series) -> pd.Series:
    """Cuts a moment to six fractional digits, never rounds. Null stays null."""

    def truncate(moment: str) -> str:
        whole, dot, rest = moment.partition(".")
        return f"{whole}.{rest.rstrip('Z')[:6]}Z" if dot else moment

    return by_distinct(values, truncate, "str")


@converter("to date in", takes=("moment",), gives="date", argument="the time zone, e.g. Europe/London", accepts=_zone)
def to_date(values: pd.Series, zone: str) -> pd.Series:
    """Takes the calendar date of a moment in a time zone. Null stays null; a text that is not a moment is a problem."""
    there = ZoneInfo(zone)

    def read(moment: str) -> str | None:
        whole, _, _ = moment.rstrip("Z").partition(".")
        try:
            return datetime.fromisoformat(whole + "+00:00").astimezone(there).date().isoformat()
        except ValueError:
            return None

    return by_distinct(values, read, "str")


@converter("round to cents", takes=("number",))
def round_to_cents(values: pd.Series) -> pd.Series:
    """Rounds an amount to two decimals, halves away from zero. Null stays null, 0 stays 0."""
    return ((values.abs() + CENT // 2) // CENT * CENT).where(values >= 0, -((values.abs() + CENT // 2) // CENT * CENT))


@converter("kilograms to pounds", takes=("text",), gives="number")
def kilograms_to_pounds(values: pd.Series) -> pd.Series:
    """Turns kilograms into pounds of exactly 0.45359237 kg, rounded to four decimals, halves away from zero. Null stays
    null, 0 becomes 0; "" and any other text that is not a weight is a problem."""

    def turn(text: str) -> int | None:
        try:
            kilograms = Decimal(text) * 1_000_000
        except InvalidOperation:
            return None
        if not kilograms.is_finite() or kilograms != kilograms.to_integral_value() or abs(kilograms) >= 10**13:
            return None
        whole, pound = abs(int(kilograms)) * SCALE * 100, POUND
        pounds = (2 * whole + pound) // (2 * pound)
        return -pounds if kilograms < 0 else pounds

    return by_distinct(values, turn, "Int64")


@converter("to yes or no", takes=("integer",), gives="boolean")
def to_yes_or_no(values: pd.Series) -> pd.Series:
    """Turns 0 into no and every other number into yes. Null stays null."""
    return (values != 0).astype("boolean")


@converter("turn sign", takes=("integer", "number"))
def turn_sign(values: pd.Series) -> pd.Series:
    """Makes an amount above 0 negative and the other way round. Null stays null, 0 stays 0."""
    return -values
