"""Gives the smallest amount of each currency.

In: ISO 4217 codes. Out: the unit in which amounts are divided, rounded and tolerated, in cents: 100 for a currency
without decimals (JPY), 1 for all others, also those with three (KWD), for documents of TIMS have two places.
Never: a unit that does not divide the amounts at hand: amounts in cents are divided in cents.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache

import numpy as np
import pandas as pd
from babel.numbers import get_currency_precision

PLACES = 2  # of TIMS's documents


@cache
def places(code: str | None) -> int:
    """Decimals of a currency; two for an unknown code."""
    return get_currency_precision((code or "").strip().upper())


def unit(code: str | None) -> int:
    """The smallest amount of a currency that a document can hold, in cents."""
    return 10 ** max(PLACES - places(code), 0)


def unit_of(code: str | None, amounts: Iterable[int]) -> int:
    """The unit of these amounts (cents): the currency's own, or a cent where one of them is not a multiple of that."""
    own = unit(code)
    return own if own == 1 or all(amount % own == 0 for amount in amounts) else 1


def units(codes: pd.Series) -> np.ndarray:
    """The unit of each code."""
    places, distinct = pd.factorize(codes)
    return np.array([*(unit(code) for code in distinct), 1], dtype=np.int64)[places]  # -1: no code, a cent
