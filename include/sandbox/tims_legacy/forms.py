"""How the older installation writes values, and reads them back strictly.

In: a value of the books or of a request. Out: the other one. Never: a value in a form that it does not know.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

_MOMENT = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d")
_DAY = re.compile(r"(\d\d)\.(\d\d)\.(\d{4})")
_AMOUNT = re.compile(r"-?\d{1,13}(,\d{1,8})?")


class WrongForm(ValueError):
    """A value that is not written as it has to be; the text says how."""


@dataclass(frozen=True)
class Form:
    """One kind of value: `show` writes it, `read` takes it or raises WrongForm."""

    show: Callable[[Any], Any]
    read: Callable[[Any], Any]


def _show_moment(value: str) -> str:
    return value[:19].replace("T", " ")


def _read_moment(value: Any) -> str:
    if not isinstance(value, str) or not _MOMENT.fullmatch(value):
        raise WrongForm("a moment is written 2011-01-31 13:05:09, in UTC")
    return f"{value[:10]}T{value[11:]}Z"


def _show_day(value: str) -> str:
    return f"{value[8:10]}.{value[5:7]}.{value[:4]}"


def _read_day(value: Any) -> str:
    match = _DAY.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise WrongForm("a day is written 31.01.2011")
    return f"{match[3]}-{match[2]}-{match[1]}"


def _show_amount(value: str) -> str:
    return value.replace(".", ",")


def _read_amount(value: Any) -> str:
    if not isinstance(value, str) or not _AMOUNT.fullmatch(value):
        raise WrongForm("an amount is a text with a comma, 1234,50")
    return value.replace(",", ".")


def _read_flag(value: Any) -> bool:
    if value not in ("Y", "N"):
        raise WrongForm("write Y or N")
    return bool(value == "Y")


def codes(table: Mapping[str, str]) -> Form:
    """Codes of the books by the word that stands for each here."""
    back = {word: code for code, word in table.items()}

    def read(value: Any) -> str:
        if value not in back:
            raise WrongForm(f"write one of {', '.join(sorted(back))}")
        return back[value]

    return Form(lambda value: table[value], read)


PLAIN = Form(lambda value: value, lambda value: value)
MOMENT = Form(_show_moment, _read_moment)
DAY = Form(_show_day, _read_day)
AMOUNT = Form(_show_amount, _read_amount)
FLAG = Form(lambda value: "Y" if value else "N", _read_flag)
ORDER_STATE = codes({
    "Open": "NEW", "OnHold": "HELD", "Allocated": "RESERVED", "PartiallyFulfilled": "PART-SHIPPED",
    "Fulfilled": "SHIPPED", "Cancelled": "CANCELLED", "Closed": "DONE",
})  # fmt: skip
REMITTER = codes({"Seller": "S", "Marketplace": "M"})
