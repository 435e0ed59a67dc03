"""Reads phone numbers as E.164.

In: the number as typed by the buyer, and the country to read it in. Out: "+442079460123", or nothing.
Never: a refused order; a number that is not one person's. A number that the library cannot read is left out with a
warning, and so is one with an extension: E.164 has no place for it, and without it the number belongs to many people.
None and "" are "not given" and make no warning.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pandas as pd
import phonenumbers

from crossdock.mapping import problems
from crossdock.mapping.frames import Frames
from crossdock.mapping.registry import Columns, rule
from crossdock.rules.vectorize import TEXT, column, distinct, values_at

_ROWS = "01234567890123456789 98765432109876543210"


@lru_cache(maxsize=65_536)
def e164(number: str, country: str | None) -> str | None:
    """The number in E.164, read as dialled in `country` unless it begins with +. None if it cannot be dialled, has an
    extension, or is a placeholder ("000000" of two buyers must not make them one customer)."""
    try:
        parsed = phonenumbers.parse(number, country)
    except phonenumbers.NumberParseException:
        return None
    if parsed.extension or not phonenumbers.is_valid_number(parsed):
        return None
    digits = phonenumbers.national_significant_number(parsed)
    if len(set(digits)) == 1 or digits in _ROWS:
        return None
    text = phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.E164)
    return text if 8 <= len(text) <= 16 else None


@rule("phone", reads=["CustomerInfo.Phone", "ShipTo.CountryCode"], writes=["Customer.Phone"])
def read(frames: Frames, context: object) -> Columns:
    """The buyer's phone number in E.164; one that cannot be read is left out with a warning."""
    field = "CustomerInfo.Phone"
    numbers, countries = column(frames.header, field), frames.header["ShipTo.CountryCode"]
    codes, first = distinct(numbers, countries)
    pairs = zip(values_at(numbers, first), values_at(countries, first), strict=True)
    found = [(given, e164(given, country) if given else None) for given, country in pairs]
    unread = np.array([bool(given) and got is None for given, got in found], dtype=bool)
    result = pd.array([got for _, got in found], dtype=TEXT).take(codes)
    rows = np.flatnonzero(unread[codes]) if len(codes) else np.empty(0, dtype=np.int64)
    warnings = problems.make(
        rows,
        field=field,
        rule="phone_unreadable",
        value=values_at(numbers, rows),
        message=f"{field} is no phone number that can be read, or has an extension, which TIMS has no place for; the "
        "customer is kept without it.",
        do="Nothing; add the number to the customer in TIMS if you know it.",
    )
    return Columns(pd.DataFrame({"Customer.Phone": pd.Series(result, index=numbers.index)}), warnings=warnings)
