"""Who pays out, read from `include/config/payouts.yaml`.

In: the file. Out: typed, immutable sources by name. Never: a guess; what cannot be understood is a ConfigError.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from crossdock import config
from crossdock.config import Currency, Struct, Text
from crossdock.errors import ConfigError
from crossdock.settings import config_dir
from crossdock.systems import deposits

FILE = "payouts.yaml"
PERIODS: dict[str, Literal["joined", "none"]] = {
    "amazon_v2": "joined", "amazon_v1": "joined", "ebay": "none", "walmart": "joined",
}  # default by format  # fmt: skip


class Source(deposits.Source, frozen=True, kw_only=True):
    """One source of settlement files; see the file for what each word means."""

    channel: Text
    format: Literal["amazon_v2", "amazon_v1", "ebay", "walmart"]
    currency: Currency
    periods: Literal["joined", "none"] | None = None


class Payouts(Struct, frozen=True):
    """The whole file."""

    sources: dict[deposits.Name, Source] = msgspec.field(default_factory=dict)


def read() -> config.File[Payouts]:
    return config.read(config_dir() / FILE, Payouts)


def load() -> dict[str, Source]:
    """All sources by name. Raises ConfigError naming the source and the nearest right word."""
    listed = config.load(config_dir() / FILE, Payouts).sources
    return {
        name: msgspec.structs.replace(
            one, folder=one.folder or f"settlements/{name}", periods=one.periods or PERIODS[one.format]
        )
        for name, one in listed.items()
    }


def of(name: str) -> Source:
    """The source of that name. Raises ConfigError where there is none."""
    every = load()
    if name not in every:
        raise ConfigError(f"{config_dir() / FILE} does not name {name!r}.", do=f"Known are: {', '.join(every)}.")
    return every[name]
