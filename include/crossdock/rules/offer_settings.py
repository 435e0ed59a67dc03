"""How much of the stock an analyst wants offered: locations, buffers, caps, shares.

In: config/stock_offers.yaml and lookups/stock_rules.csv. Out: one frozen `Offers`, and the terms of any SKU. Never: a
guess. A file that cannot be understood is a ConfigError that names the file, the row and the nearest right word.
"""

from __future__ import annotations

import difflib
import fnmatch
import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from decimal import Decimal, InvalidOperation
from functools import cached_property
from pathlib import Path
from typing import Any

from crossdock.errors import ConfigError
from crossdock.mapping import lookups
from crossdock.mapping.yamls import Finding
from crossdock.settings import config_dir, read_yaml

FILE, LOOKUP = "stock_offers.yaml", "stock_rules"
COLUMNS = ("sku", "site", "buffer", "cap", "share_percent", "note")
WORDS = ("locations", "defaults", "margin_seconds", "accuracy_percent")
MOST_UNITS = 9_999_999
EVERYWHERE = ""  # the site of terms that hold for all sites together


@dataclass(frozen=True)
class Terms:
    """What is held back of a SKU."""

    buffer: int = 0
    cap: int | None = None  # None = no limit
    share_percent: int = 100


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
        """Changes with whatever may change a quantity."""
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
        """What of both files bears on a SKU; the same text means the same terms."""
        return f"{self._everywhere} {json.dumps({site: _short(terms) for site, terms in sorted(self.of(sku).items())})}"

    @cached_property
    def _everywhere(self) -> str:
        return hashlib.sha256(json.dumps(sorted(self.locations.items())).encode()).hexdigest()[:8]


def load(folder: Path | None = None) -> Offers:
    """Both files as they are now. Raises ConfigError."""
    content = read_yaml(FILE)
    where = f"include/config/{FILE}"
    _check_names(where, content, WORDS)
    locations = content.get("locations")
    if not isinstance(locations, dict) or not locations:
        raise ConfigError(f"{where}: locations names no location.", do="Write `TIMS location: Code of the center`.")
    given = content.get("defaults") or {}
    if not isinstance(given, dict):
        raise ConfigError(f"{where}: defaults must be a list of `name: value`.", do="Correct the file.")
    _check_names(f"{where}: defaults", given, COLUMNS[2:5])
    return Offers(
        locations={str(name): str(code) for name, code in locations.items()},
        default=_terms(f"{where}: defaults", {name: "" if value is None else value for name, value in given.items()}),
        margin=timedelta(seconds=_number(where, "margin_seconds", content.get("margin_seconds", 60), 86_400)),
        accuracy=_percent(where, content.get("accuracy_percent", "99.9")) / 100,
        rows=_rows(folder),
    )


def check() -> Iterator[Finding]:
    """What is wrong with both files, the first thing of each."""
    for path, read in ((config_dir() / FILE, load), (config_dir() / "lookups" / f"{LOOKUP}.csv", _rows)):
        try:
            read()
        except ConfigError as error:
            line = re.match(r"\S+:(\d+)", error.message)
            yield Finding(path, int(line[1]) if line else 1, f"{error.message} {error.do}".strip())
            return  # the first file is read together with the second


def _rows(folder: Path | None = None) -> dict[tuple[str, str], Terms]:
    table = lookups.read(LOOKUP, folder, keys=2)
    if table.columns != COLUMNS:
        raise ConfigError(f"{table.path}: the header must be {','.join(COLUMNS)}.", do="Correct it.")
    found: dict[tuple[str, str], Terms] = {}
    for row in table.rows.values():
        where = f"{table.path}: the row of {row['sku'] or 'no SKU'}" + (f", site {row['site']}" if row["site"] else "")
        if not row["sku"]:
            raise ConfigError(f"{where} names no sku.", do="Write a SKU or a pattern; * stands for all.")
        if row["site"] and not (row["site"].isascii() and row["site"].isdigit()):
            raise ConfigError(f"{where}: {row['site']!r} is no SiteID.", do="Use the number of the site, or nothing.")
        key = row["sku"].casefold(), row["site"] and str(int(row["site"]))
        if key in found:
            raise ConfigError(f"{where} stands there a second time.", do="Remove one of the rows.")
        found[key] = _terms(where, {name: row[name] for name in COLUMNS[2:5]})
    return found


def _terms(where: str, values: Mapping[str, Any]) -> Terms:
    buffer, cap, share = (values.get(name, "") for name in COLUMNS[2:5])
    return Terms(
        0 if buffer == "" else _number(where, "buffer", buffer, MOST_UNITS),
        None if cap == "" else _number(where, "cap", cap, MOST_UNITS),
        100 if share == "" else _number(where, "share_percent", share, 100),
    )


def _short(terms: Terms) -> list[int | None]:
    return [terms.buffer, terms.cap, terms.share_percent]


def _is_pattern(sku: str) -> bool:
    return bool(set(sku) & set("*?["))


def _number(where: str, name: str, value: Any, most: int) -> int:
    text = str(value)
    if isinstance(value, bool) or not (text.isascii() and text.isdigit()) or int(text) > most:
        raise ConfigError(f"{where}: {name} is {value!r}.", do=f"Write a whole number from 0 to {most}.")
    return int(text)


def _percent(where: str, value: Any) -> Decimal:
    try:
        percent = Decimal(str(value))
    except InvalidOperation:
        percent = Decimal(-1)
    if not 0 <= percent <= 100:
        raise ConfigError(f"{where}: accuracy_percent is {value!r}.", do="Write a number from 0 to 100.")
    return percent


def _check_names(where: str, values: Mapping[Any, Any], allowed: tuple[str, ...]) -> None:
    for name in values:
        if name not in allowed:
            near = difflib.get_close_matches(str(name), allowed, 1)
            hint = f"Did you mean {near[0]}?" if near else f"Known are {', '.join(allowed)}."
            raise ConfigError(f"{where}: {name!r} is unknown.", do=hint)
