"""Reads the tax inside the prices of sites that tell none: lookups/taxes.csv.

In: the file. Out: the rate of a site, country and category on a day. Never: a float; a guess where no row fits. A file
that cannot be understood is a ConfigError that names the row.

A rate is whole ten-thousandths of a percent: 20 % is 200,000.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal, InvalidOperation
from fnmatch import fnmatchcase
from functools import lru_cache
from pathlib import Path

import pycountry

from crossdock import config
from crossdock.config import Finding
from crossdock.mapping import lookups

LOOKUP, KEYS = "taxes", 4
COLUMNS = ("site", "country", "category", "from", "rate", "note")
SHIPPING = "shipping"  # used in place of a category
HUNDRED = 100 * 10_000  # percent, in the unit of a rate


@dataclass(frozen=True)
class Row:
    """One row; "" as site, country or category means all. `start`: ISO date."""

    site: str
    country: str
    category: str
    start: str
    rate: int

    def fits(self, site: str, country: str, category: str, day: str) -> bool:
        """Whether the row applies to an order of that day."""
        return (
            self.site in ("", site)
            and self.country in ("", country)
            and (not self.category or fnmatchcase(category, self.category))
            and self.start <= day
        )

    @property
    def rank(self) -> tuple[bool, bool, bool, str]:
        return bool(self.site), bool(self.country), bool(self.category), self.start


@dataclass(frozen=True)
class TaxRules:
    """The rows, the one that counts first."""

    rows: tuple[Row, ...] = ()

    def rate(self, site: str, country: str, category: str, day: str) -> int | None:
        """The rate inside prices; None where no row applies. `category`: of the item, or SHIPPING."""
        category = category.casefold()
        return next((row.rate for row in self.rows if row.fits(site, country.upper(), category, day)), None)


def load(folder: Path | None = None) -> TaxRules:
    """The rules, read again only when the file has changed; none where there is no file. Raises ConfigError with
    all findings."""
    if LOOKUP not in lookups.names(folder):
        return TaxRules()
    rules, findings = _read(_ByIdentity(lookups.read(LOOKUP, folder, keys=KEYS)))
    if findings:
        raise config.refusal(findings)
    return rules


def check(folder: Path | None = None) -> Sequence[Finding]:
    """All errors of the file."""
    if LOOKUP not in lookups.names(folder):
        return ()
    return _read(_ByIdentity(lookups.read(LOOKUP, folder, keys=KEYS)))[1]


@dataclass(frozen=True)
class _ByIdentity:
    """A table as a cache's key: `lookups.read` gives the same one until its file has changed."""

    table: lookups.Lookup

    def __hash__(self) -> int:
        return id(self.table)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _ByIdentity) and other.table is self.table


@lru_cache(maxsize=8)
def _read(held: _ByIdentity) -> tuple[TaxRules, tuple[Finding, ...]]:
    table = held.table
    if table.columns != COLUMNS:
        return TaxRules(), (Finding(table.path, 1, f"the header must be {','.join(COLUMNS)}"),)
    rows, found = [], []
    for key, row in table.rows.items():
        message = _wrong(row)
        if message:
            found.append(Finding(table.path, table.lines[key], message))
        else:
            site = row["site"] and str(int(row["site"]))
            rate = int(Decimal(row["rate"]) * 10_000)
            rows.append(Row(site, row["country"].upper(), row["category"].casefold(), row["from"], rate))
    return TaxRules(tuple(sorted(rows, key=lambda row: row.rank, reverse=True))), tuple(found)


def _wrong(row: dict[str, str]) -> str:
    """The error of a row; "" if it has none."""
    if row["site"] and not (row["site"].isascii() and row["site"].isdigit()):
        return f"{row['site']!r} is no SiteID"
    if row["country"] and pycountry.countries.get(alpha_2=row["country"].upper()) is None:
        return f"{row['country']!r} is no country of ISO 3166; write GB, DE"
    try:
        if date.fromisoformat(row["from"]).isoformat() != row["from"]:
            raise ValueError
    except ValueError:
        return f"{row['from']!r} is no day; write 2011-01-04"
    try:
        rate = Decimal(row["rate"])
    except InvalidOperation:
        return f"{row['rate']!r} is no rate; write 20 for 20 percent, 0 for none"
    if not (rate.is_finite() and 0 <= rate < 100 and rate * 10_000 == (rate * 10_000).to_integral_value()):
        return f"the rate {row['rate']} must be 0 or more, below 100, with 4 decimals at most"
    return ""
