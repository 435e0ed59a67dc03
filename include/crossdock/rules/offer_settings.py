"""Reads how much of the stock an analyst wants offered: locations, buffers, caps, shares.

In: config/stock_offers.yaml and lookups/stock_rules.csv. Out: one frozen `Offers`, and the terms of any SKU. Never: a
guess. A file that cannot be understood is a ConfigError that names the file, the row and the nearest right word.
"""

from __future__ import annotations

import fnmatch
import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

from msgspec import Meta
from msgspec.structs import asdict

from crossdock import config
from crossdock.config import Finding, SiteCell, Struct, Text
from crossdock.settings import config_dir

FILE, LOOKUP = "stock_offers.yaml", "stock_rules"
MOST_UNITS = 9_999_999
Units = Annotated[int, Meta(ge=0, le=MOST_UNITS)]
_A_SKU = "a SKU or a pattern, * stands for all"
EVERYWHERE = ""  # the site of terms that hold for all sites together


class Terms(Struct, frozen=True):
    """The terms of a SKU: how much of it is held back."""

    buffer: Units = 0
    cap: Units | None = None  # None = no limit
    share_percent: Annotated[int, Meta(ge=0, le=100)] = 100


class _Row(Struct, frozen=True, kw_only=True):
    """One row of stock_rules.csv."""

    sku: Annotated[str, Meta(min_length=1, extra={"wrong": "the row names no sku"}, description=_A_SKU)]
    site: SiteCell | None = None
    buffer: Units = 0
    cap: Units | None = None
    share_percent: Annotated[int, Meta(ge=0, le=100)] = 100
    note: str = ""


class _Written(Struct, frozen=True):
    """stock_offers.yaml."""

    locations: dict[Text, Text]
    defaults: Terms = Terms()
    margin_seconds: Annotated[int, Meta(ge=0, le=86_400)] = 60
    accuracy_percent: Decimal = Decimal("99.9")

    def problems(self) -> Iterator[tuple[str, str]]:
        if not self.locations:
            yield "locations", "locations names no location; write `TIMS location: Code of the center`"
        if not 0 <= self.accuracy_percent <= 100:
            yield "accuracy_percent", f"accuracy_percent is {self.accuracy_percent}; write a number from 0 to 100"


@dataclass(frozen=True)
class Offers:
    """Both files. `rows`: (SKU or pattern in lower case, site) -> terms, as written."""

    locations: Mapping[str, str]  # TIMS location -> Code of the center
    default: Terms = field(default_factory=Terms)
    margin: timedelta = timedelta(0)
    accuracy: Decimal = Decimal("0.999")  # share of SKUs
    rows: Mapping[tuple[str, str], Terms] = field(default_factory=dict)

    @cached_property
    def sites(self) -> frozenset[int]:
        """Sites that any row names."""
        return frozenset(int(site) for _, site in self.rows if site != EVERYWHERE)

    @cached_property
    def digest(self) -> str:
        """A hash of all settings that may change a quantity."""
        parts = [sorted(self.locations.items()), asdict(self.default)]
        rows = [[*key, asdict(terms)] for key, terms in self.rows.items()]
        return hashlib.sha256(json.dumps([*parts, rows]).encode()).hexdigest()[:16]

    @cached_property
    def _named(self) -> dict[str, dict[str, Terms]]:
        named: dict[str, dict[str, Terms]] = {}
        for (sku, site), terms in self.rows.items():
            if not _is_pattern(sku):
                named.setdefault(sku, {})[site] = terms
        return named

    @cached_property
    def _patterns(self) -> list[tuple[re.Pattern[str], str, Terms]]:
        """The longest first; `sorted` keeps the order of rows of one length."""
        rows = [(sku, site, terms) for (sku, site), terms in self.rows.items() if _is_pattern(sku)]
        return [
            (re.compile(fnmatch.translate(sku)), site, terms)
            for sku, site, terms in sorted(rows, key=lambda row: -len(row[0]))
        ]

    def of(self, sku: str) -> dict[str, Terms]:
        """The terms of a SKU by site; EVERYWHERE is always among them."""
        folded = sku.strip().casefold()
        found = dict(self._named.get(folded, {}))
        for pattern, site, terms in self._patterns:
            if site not in found and pattern.match(folded):
                found[site] = terms
        found.setdefault(EVERYWHERE, self.default)
        return found

    def fingerprint(self, sku: str) -> str:
        """The terms of a SKU as text; the same text means the same terms."""
        return f"{self._everywhere} {json.dumps({site: _short(terms) for site, terms in sorted(self.of(sku).items())})}"

    @cached_property
    def _everywhere(self) -> str:
        return hashlib.sha256(json.dumps(sorted(self.locations.items())).encode()).hexdigest()[:8]


def load(folder: Path | None = None) -> Offers:
    """Both files as they are now. Raises ConfigError."""
    written = config.load(config_dir() / FILE, _Written)
    rows, found = _rows(folder)
    if found:
        raise config.refusal(found)
    return Offers(
        locations=written.locations,
        default=written.defaults,
        margin=timedelta(seconds=written.margin_seconds),
        accuracy=written.accuracy_percent / 100,
        rows=rows,
    )


def check() -> Iterator[Finding]:
    """All errors of both files."""
    yield from config.read(config_dir() / FILE, _Written).findings
    yield from _rows()[1]


def _rows(folder: Path | None = None) -> tuple[dict[tuple[str, str], Terms], list[Finding]]:
    """The table's terms and its errors."""
    table = config.read_csv((folder or config_dir() / "lookups") / f"{LOOKUP}.csv", _Row, keys=2)
    made: dict[tuple[str, str], Terms] = {}
    found = list(table.findings)
    for place, row in table.rows.items():
        key = row.sku.casefold(), EVERYWHERE if row.site is None else str(row.site)
        if key in made:
            found.append(table.finding(place, f"the row of {row.sku} stands here a second time; remove one of the two"))
        made[key] = Terms(row.buffer, row.cap, row.share_percent)
    return made, found


def _short(terms: Terms) -> list[int | None]:
    return [terms.buffer, terms.cap, terms.share_percent]


def _is_pattern(sku: str) -> bool:
    return bool(set(sku) & set("*?["))


# What the files hold, for whoever shows them as forms: (type, columns of the key).
FORMS: dict[str, tuple[Any, int]] = {FILE: (_Written, 0), f"lookups/{LOOKUP}.csv": (_Row, 2)}
