"""Reads how far amounts of marketplaces may differ from ours: config/tolerances.yaml, in units of the currency.

In: the file. Out: `Tolerances`. Never: a value that is not a number, or one below 0.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from crossdock import config
from crossdock.config import Struct
from crossdock.settings import config_dir

Units = Annotated[
    int, Meta(ge=0, description="a whole number of the currency's smallest unit, 0 for no tolerance")
]  # fmt: skip


class Refunds(Struct, frozen=True):
    """The tolerance of a return that gives back more than is left."""

    a_unit: Units
    a_return: Units


class Settlements(Struct, frozen=True):
    """The tolerance between a settlement and an order's documents."""

    a_line: Units
    an_order: Units


class Tolerances(Struct, frozen=True):
    """The whole file."""

    refunds: Refunds
    settlements: Settlements


def read() -> config.File[Tolerances]:
    return config.read(config_dir() / "tolerances.yaml", Tolerances)


def load() -> Tolerances:
    """The file as it is now. Raises ConfigError that names the setting."""
    return config.load(config_dir() / "tolerances.yaml", Tolerances)
