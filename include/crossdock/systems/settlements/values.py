"""Amounts, moments and order numbers as marketplaces write them.

In: columns of text. Out: whole ten-thousandths, RFC 3339 moments in UTC. Each distinct text is read once.
Never: a float; a guess where a number may be read in two ways; a date in the zone of this machine.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from decimal import Decimal
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd

from crossdock.mapping.frames import SCALE
from crossdock.systems.settlements.shape import RETRY_ADVICE, Refused

_LARGEST = 10**15  # 11 digits before the point: no settlement has more, and sums stay within int64

# ---- amounts -------------------------------------------------------------------------------------------------------

_DECIMAL_COMMA = re.compile(r",\d{1,2}$|,\d{4}$|^0*,\d+$|\.\d{3}(?:\.\d{3})+$|\.\d{3},")
_DECIMAL_POINT = re.compile(r"\.\d{1,2}$|\.\d{4}$|^0*\.\d+$|,\d{3}(?:,\d{3})+$|,\d{3}\.")
_POINT = re.compile(r"[1-9]\d{0,2}(?:,\d{3})+(?:\.\d{1,4})?|\d*(?:\.\d{1,4})?")
_COMMA = re.compile(r"[1-9]\d{0,2}(?:\.\d{3})+(?:,\d{1,4})?|\d*(?:,\d{1,4})?")


def amounts(*columns: pd.Series) -> list[np.ndarray]:
    """The columns as int64 x 10,000; "" is 0. All are written alike: whether a comma is the decimal point is decided
    once for the file. Raises Refused for what is no amount, or for both ways of writing in one file."""
    found = [pd.factorize(column) for column in columns]
    texts = {text for _, distinct in found for text in distinct}
    bare = {text: _bare(text) for text in texts}
    commas = sorted(text for text, (_, digits) in bare.items() if _DECIMAL_COMMA.search(digits))
    points = sorted(text for text, (_, digits) in bare.items() if _DECIMAL_POINT.search(digits))
    if commas and points:
        raise Refused(
            "mixed_decimals",
            f'The file writes amounts in two ways: "{commas[0]}" and "{points[0]}".',
            RETRY_ADVICE,
            commas[0],
        )
    read = {text: _units(text, *bare[text], comma=bool(commas)) for text in texts}
    return [
        np.array([read[text] for text in distinct], dtype=np.int64)[codes]
        if len(distinct)
        else np.zeros(0, dtype=np.int64)
        for codes, distinct in found
    ]


def _bare(text: str) -> tuple[int, str]:
    """Sign and digits with their separators: "(1,234.50)", "-1 234,50", "12.50-", "$12.50" and "1,234円" are all
    understood."""
    digits = "".join(one for one in text if unicodedata.category(one) != "Sc")
    digits = re.sub(r"[\s'\u2019円元원]", "", digits)
    sign = 1
    if digits.startswith("(") and digits.endswith(")"):
        sign, digits = -1, digits[1:-1]
    if digits[:1] in ("-", "\u2212", "+"):
        sign, digits = (sign if digits[0] == "+" else -sign), digits[1:]
    elif digits.endswith("-"):
        sign, digits = -sign, digits[:-1]
    return sign, digits


def _units(text: str, sign: int, digits: str, *, comma: bool) -> int:
    if not text:
        return 0
    form, thousands, point = (_COMMA, ".", ",") if comma else (_POINT, ",", ".")
    if not digits or not form.fullmatch(digits) or digits in (".", ","):
        raise Refused("unreadable_amount", f'"{text}" is no amount.', RETRY_ADVICE, text)
    units = Decimal(digits.replace(thousands, "").replace(point, ".")) * SCALE
    if units >= _LARGEST:
        raise Refused("unreadable_amount", f'"{text}" is larger than any settlement.', RETRY_ADVICE, text)
    return sign * int(units)


# ---- moments -------------------------------------------------------------------------------------------------------

_HOURS = {
    "Z": 0, "UTC": 0, "GMT": 0, "WET": 0, "WEST": 1, "BST": 1, "CET": 1, "MEZ": 1, "CEST": 2, "MESZ": 2, "EET": 2,
    "EEST": 3, "PST": -8, "PDT": -7, "MST": -7, "MDT": -6, "CST": -6, "CDT": -5, "EST": -5, "EDT": -4, "JST": 9,
    "AEST": 10, "AEDT": 11,
}  # fmt: skip
_MONTHS = {
    name: number
    for number, names in enumerate(
        (
            "jan january januar janv janvier ene enero gen gennaio",
            "feb february februar fév fevr févr février febrero febbraio",
            "mar march märz mär mrz mars marzo",
            "apr april avr avril abr abril aprile",
            "may mai mayo mag maggio",
            "jun june juni juin junio giu giugno",
            "jul july juli juil juillet julio lug luglio",
            "aug august aoû août ago agosto",
            "sep sept september septembre septiembre set settembre",
            "oct october okt oktober octobre octubre ott ottobre",
            "nov november novembre noviembre",
            "dec december dez dezember déc décembre dic diciembre dicembre",
        ),
        1,
    )
    for name in names.split()
}
_TIME = (
    r"(?:[T,\s]+(?:at\s+)?(?P<h>\d{1,2}):(?P<mi>\d\d)(?::(?P<s>\d\d)(?:[.,](?P<f>\d{1,9}))?)?"
    r"\s*(?P<ap>[AaPp]\.?[Mm]\.?)?)?"
)
_ZONE = r"\s*(?P<z>Z|[A-Z]{2,5}|(?:UTC|GMT)?\s?[+-]\d{1,2}(?::?\d\d)?)?"
_FORMS = tuple(
    re.compile(day + _TIME + _ZONE)
    for day in (
        r"(?P<y>\d{4})[-/.](?P<m>\d{1,2})[-/.](?P<d>\d{1,2})",
        r"(?P<d>\d{1,2})\.(?P<m>\d{1,2})\.(?P<y>\d{4})",
        r"(?P<a>\d{1,2})[/-](?P<b>\d{1,2})[/-](?P<y>\d{4})",
        r"(?P<n>[^\W\d_]{3,10})\.?\s+(?P<d>\d{1,2}),?\s+(?P<y>\d{4})",
        r"(?P<d>\d{1,2})\.?[\s-]+(?P<n>[^\W\d_]{3,10})\.?,?[\s-]+(?P<y>\d{4})",
    )
)


def moments(column: pd.Series, zone: str, *, day_first: bool = False) -> pd.Series:
    """The column as RFC 3339 in UTC; "" stays "". A date alone is noon of that day in `zone`, so that it is the same
    day nearly everywhere; a time without a zone is meant in `zone`. Raises Refused for what is no date."""
    return _by_distinct(column, lambda text: moment(text, zone, day_first=day_first) if text else "")


def moment(text: str, zone: str, *, day_first: bool = False, alone: tuple[int, int] = (12, 0)) -> str:
    """One moment; `alone` is the time of a date without one."""
    for form in _FORMS:
        if match := form.fullmatch(text):
            parts = match.groupdict()
            break
    else:
        raise Refused("unreadable_date", f'"{text}" is no date that this format uses.', RETRY_ADVICE, text)
    try:
        made = _moment(parts, ZoneInfo(zone), day_first, alone)
    except (ValueError, KeyError):
        raise Refused("unreadable_date", f'"{text}" is no date that this format uses.', RETRY_ADVICE, text) from None
    fraction = f".{made.microsecond:06d}".rstrip("0") if made.microsecond else ""
    return f"{made:%Y-%m-%dT%H:%M:%S}{fraction}Z"


def _moment(parts: dict[str, str | None], zone: tzinfo, day_first: bool, alone: tuple[int, int]) -> datetime:
    month, day = parts.get("m"), parts.get("d")
    if parts.get("a"):
        day, month = (parts["a"], parts["b"]) if day_first else (parts["b"], parts["a"])
    number = _MONTHS[(parts["n"] or "").lower()] if parts.get("n") else int(month or 0)
    hour, minute = alone
    if parts["h"]:
        hour, minute = int(parts["h"]), int(parts["mi"] or 0)
        half = (parts["ap"] or "").lower()[:1]
        if half:
            hour = hour % 12 + (12 if half == "p" else 0)
    micro = int(f"{parts['f'] or '':0<6}"[:6])
    there = _zone(parts["z"], zone)
    local = datetime(int(parts["y"] or 0), number, int(day or 0), hour, minute, int(parts["s"] or 0), micro, there)
    return local.astimezone(UTC)


def _zone(text: str | None, default: tzinfo) -> tzinfo:
    if not text:
        return default
    if text in _HOURS:
        return timezone(timedelta(hours=_HOURS[text]))
    found = re.fullmatch(r"(?:UTC|GMT)?\s?([+-])(\d{1,2}):?(\d\d)?", text)
    if not found:
        raise ValueError(text)
    away = timedelta(hours=int(found[2]), minutes=int(found[3] or 0))
    return timezone(away if found[1] == "+" else -away)


# ---- order numbers -------------------------------------------------------------------------------------------------

_DAMAGED = re.compile(r"\d(?:[.,]\d+)?[eE]\+\d+")


def undamaged(*columns: pd.Series) -> None:
    """Raises Refused where a spreadsheet has turned a number into 1.19111E+14: its last digits are gone for good."""
    for column in columns:
        for text in pd.unique(column):
            if text and _DAMAGED.fullmatch(text):
                raise Refused(
                    "damaged_number",
                    f'"{text}" was an order or settlement number before a spreadsheet made it a rounded number; '
                    "its last digits are lost.",
                    RETRY_ADVICE,
                    text,
                )


def _by_distinct(column: pd.Series, function: Callable[[str], str]) -> pd.Series:
    codes, distinct = pd.factorize(column)
    made = pd.array([function(text) for text in distinct], dtype="str")
    return pd.Series(made.take(codes), index=column.index, dtype="str")
