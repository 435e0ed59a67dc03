"""Reads the tax inside the prices of sites that give none: lookups/taxes.csv.

In: the file. Out: the rate of a site, country and category on a day. Never: a float; a guess where no row fits. A file
that cannot be understood is a ConfigError that names the row.

A rate is whole ten-thousandths of a percent: 20 % is 200,000.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from fnmatch import fnmatchcase
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any

import msgspec
import pycountry
from msgspec import Meta

from crossdock import config
from crossdock.config import Day, Finding, SiteCell, Struct
from crossdock.settings import config_dir

LOOKUP = "taxes"
SHIPPING = "shipping"  # used in place of a category
HUNDRED = 100 * 10_000  # percent, in the unit of a rate
_A_RATE = "20 for 20 percent, 0 for none"


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


class _Written(Struct, frozen=True, kw_only=True):
    """One row of the file."""

    site: SiteCell | None = None
    country: str = ""
    category: str = ""
    start: Day = msgspec.field(name="from")
    rate: Annotated[str, Meta(min_length=1, extra={"wrong": "{text!r} is no rate"}, description=_A_RATE)]
    note: str = ""

    def problems(self) -> Iterator[tuple[str, str]]:
        if self.country and pycountry.countries.get(alpha_2=self.country.upper()) is None:
            yield "country", f"country: {self.country!r} is no country of ISO 3166; write GB, DE"
        try:
            rate = Decimal(self.rate)
        except InvalidOperation:
            yield "rate", f"rate: {self.rate!r} is no rate; write {_A_RATE}"
            return
        if not (rate.is_finite() and 0 <= rate < 100 and rate * 10_000 == (rate * 10_000).to_integral_value()):
            yield "rate", f"the rate {self.rate} must be 0 or more, below 100, with 4 decimals at most"

    def row(self) -> Row:
        site = "" if self.site is None else str(self.site)
        rate = int(Decimal(self.rate) * 10_000)
        return Row(site, self.country.upper(), self.category.casefold(), self.start.isoformat(), rate)


def load(folder: Path | None = None) -> TaxRules:
    """The rules, read again only when the file has changed; none where there is no file. Raises ConfigError with
    all findings."""
    table = _table(folder)
    if table is None:
        return TaxRules()
    if table.findings:
        raise config.refusal(table.findings)
    return _rules(table)


def check(folder: Path | None = None) -> Sequence[Finding]:
    """All errors of the file."""
    table = _table(folder)
    return table.findings if table else ()


def _table(folder: Path | None) -> config.Table[_Written] | None:
    path = (folder or config_dir() / "lookups") / f"{LOOKUP}.csv"
    return config.read_csv(path, _Written, keys=4) if path.exists() else None


@lru_cache(maxsize=8)
def _rules(table: config.Table[_Written]) -> TaxRules:
    rows = [row.row() for row in table.rows.values()]
    return TaxRules(tuple(sorted(rows, key=lambda row: row.rank, reverse=True)))


# What the files hold, for whoever shows them as forms: (type, columns of the key).
FORMS: dict[str, tuple[Any, int]] = {f"lookups/{LOOKUP}.csv": (_Written, 4)}
