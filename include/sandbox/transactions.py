"""Reads the real transactions as they are.

In: the file (the shipped January or any other part of the data set, .csv or .csv.gz). Out: invoices with their lines,
in the order of the file. Never: a correction; what looks wrong is what the shop had.

Money is an int of ten-thousandths of a pound; moments are UTC (the file has London's local time).
"""

from __future__ import annotations

import csv
import gzip
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import NamedTuple
from zoneinfo import ZoneInfo

SAMPLE = Path(__file__).parent / "data" / "online_retail_2011_01.csv.gz"
LONDON = ZoneInfo("Europe/London")
COLUMNS = ["InvoiceNo", "StockCode", "Description", "Quantity", "InvoiceDate", "UnitPrice", "CustomerID", "Country"]
SCALE = 10_000


class BadData(ValueError):
    """The sandbox cannot make a world of the file; the text says why."""


class Line(NamedTuple):
    code: str
    description: str
    quantity: int
    price: int


@dataclass
class Invoice:
    number: str
    at: datetime
    customer: str | None
    country: str
    lines: list[Line] = field(default_factory=list)

    @property
    def is_order(self) -> bool:
        """Not a cancellation (C…), not an adjustment of bad debt (A…), and not one of the stock write-offs."""
        return self.number.isdigit() and any(line.quantity > 0 for line in self.lines)

    @property
    def is_return(self) -> bool:
        return self.number.startswith("C")


@cache
def pounds(text: str) -> int:
    """`2.55` is 25500; more than 4 decimals is an error, never a rounding."""
    sign = -1 if text.startswith("-") else 1
    whole, _, fraction = text.lstrip("-").partition(".")
    if len(fraction) > 4 or not (whole + fraction).isdigit():
        raise BadData(f'The price "{text}" is no amount of at most 4 decimals.')
    return sign * (int(whole or 0) * SCALE + int(fraction.ljust(4, "0")))


def read(path: Path | str | None = None) -> list[Invoice]:
    """All invoices of the file in the order of their first lines. Raises BadData with what is wrong and where."""
    path = Path(path) if path else SAMPLE
    invoices: dict[str, Invoice] = {}
    moments: dict[str, datetime] = {}
    for number, row in _rows(path):
        try:
            name, code, description, quantity, at, price, customer, country = row
            invoice = invoices.get(name)
            if invoice is None:
                moment = moments.get(at)
                if moment is None:
                    moment = moments[at] = datetime.fromisoformat(at).replace(tzinfo=LONDON).astimezone(UTC)
                invoice = invoices[name] = Invoice(name, moment, customer.partition(".")[0] or None, country)
            invoice.lines.append(Line(code, description, int(quantity), pounds(price)))
        except ValueError as wrong:
            raise BadData(f"{path}, line {number}: {wrong}") from None
    if not invoices:
        raise BadData(f"{path} holds no transactions.")
    return list(invoices.values())


def _rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    try:
        opened = gzip.open if path.suffix == ".gz" else open
        with opened(path, "rt", encoding="utf-8", newline="") as text:
            rows = csv.reader(text)
            header = next(rows, [])
            if header != COLUMNS:
                raise BadData(f"{path} does not begin with the columns {', '.join(COLUMNS)}.")
            yield from enumerate(rows, start=2)
    except (OSError, EOFError, UnicodeDecodeError) as wrong:
        raise BadData(f"{path} cannot be read: {wrong}") from None
