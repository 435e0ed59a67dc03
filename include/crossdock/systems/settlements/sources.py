"""Who pays out, read from `include/config/payouts.yaml`.

In: the file. Out: typed, immutable sources by name. Never: a guess; what cannot be understood is a ConfigError.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass, fields
from typing import Any
from zoneinfo import ZoneInfo

from crossdock.errors import ConfigError
from crossdock.settings import read_yaml
from crossdock.systems.settlements import table

FILE = "payouts.yaml"
PERIODS = {"amazon_v2": "joined", "amazon_v1": "joined", "ebay": "none", "walmart": "joined"}  # default by format


@dataclass(frozen=True)
class Source:
    """One source of settlement files; see the file for what each field means."""

    name: str
    channel: str
    format: str
    currency: str
    zone: str
    folder: str = ""
    periods: str = ""
    day_first: bool = False
    encoding: str = ""


def load() -> dict[str, Source]:
    """All sources by name. Raises ConfigError naming the source and the nearest right word."""
    content = read_yaml(FILE)
    listed = content.get("sources") or {}
    if set(content) - {"sources"} or not isinstance(listed, dict):
        raise ConfigError(f"include/config/{FILE} must hold `sources` and nothing else.", do="Correct the file.")
    return {str(name): _source(str(name), values) for name, values in listed.items()}


def of(name: str) -> Source:
    """The source of that name. Raises ConfigError where there is none."""
    every = load()
    if name not in every:
        raise ConfigError(f"include/config/{FILE} does not name {name!r}.", do=f"Known are: {', '.join(every)}.")
    return every[name]


def _source(name: str, values: Any) -> Source:
    allowed = [one.name for one in fields(Source) if one.name != "name"]
    if not re.fullmatch(r"[a-z0-9_]{1,40}", name):
        raise ConfigError(f"include/config/{FILE}: {name!r} is no name of a source.", do="Use a-z, 0-9 and _.")
    if not isinstance(values, dict):
        raise ConfigError(f"include/config/{FILE}: {name} must be a list of `name: value`.", do="Correct the file.")
    for key in values:
        if key not in allowed:
            near = difflib.get_close_matches(str(key), allowed, 1)
            raise ConfigError(
                f"include/config/{FILE}: {name} has no setting {key!r}.",
                do=f"Did you mean {near[0]}?" if near else f"The settings are: {', '.join(allowed)}.",
            )
    missing = [key for key in ("channel", "format", "currency", "zone") if not values.get(key)]
    if missing:
        raise ConfigError(f"include/config/{FILE}: {name} does not say its {', '.join(missing)}.", do="Add it.")
    form = str(values["format"])
    made = Source(
        name,
        **{"folder": f"settlements/{name}", "periods": PERIODS.get(form, ""), **values},
    )
    if form not in PERIODS:
        raise ConfigError(
            f"include/config/{FILE}: {name}: there is no format {form!r}.", do=f"Use one of {', '.join(PERIODS)}."
        )
    if made.periods not in ("joined", "none"):
        raise ConfigError(f"include/config/{FILE}: {name}: periods is {made.periods!r}.", do="Use joined or none.")
    table.known_encoding(made.encoding, f"include/config/{FILE}: {name}")
    try:
        ZoneInfo(made.zone)
    except Exception as error:
        raise ConfigError(
            f"include/config/{FILE}: {name}: there is no time zone {made.zone!r}.", do="Use a name like Europe/London."
        ) from error
    return made
