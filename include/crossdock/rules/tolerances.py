"""How far amounts of marketplaces may be from ours, from config/tolerances.yaml, in units of the currency.

In: the file. Out: `Tolerances`. Never: a number that is none, or one below 0.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass, fields
from typing import Any

from crossdock.errors import ConfigError
from crossdock.settings import read_yaml

FILE = "tolerances.yaml"


@dataclass(frozen=True)
class Refunds:
    """Of a return that gives back more than is left."""

    a_unit: int
    a_return: int


@dataclass(frozen=True)
class Settlements:
    """Of a settlement against an order's documents."""

    a_line: int
    an_order: int


@dataclass(frozen=True)
class Tolerances:
    """The whole file."""

    refunds: Refunds
    settlements: Settlements


def load() -> Tolerances:
    """The file as it is now. Raises ConfigError that names the setting."""
    content = _words(read_yaml(FILE), ("refunds", "settlements"), "")
    return Tolerances(
        Refunds(**_part(Refunds, content["refunds"], "refunds")),
        Settlements(**_part(Settlements, content["settlements"], "settlements")),
    )


def _part(kind: type[Refunds | Settlements], values: Any, name: str) -> dict[str, int]:
    given = _words(values, tuple(one.name for one in fields(kind)), f"{name}: ")
    for word, value in given.items():
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            raise ConfigError(
                f"include/config/{FILE}: {name}: {word} is {value!r}.",
                do="Give a whole number of the currency's smallest unit, 0 for no tolerance.",
            )
    return given


def _words(values: Any, wanted: tuple[str, ...], where: str) -> dict[str, Any]:
    """The settings of one part; each must be there, and no other."""
    given = values if isinstance(values, dict) else {}
    for word in given:
        if word not in wanted:
            near = difflib.get_close_matches(str(word), wanted, 1)
            hint = f"Did you mean {near[0]}?" if near else f"The settings are: {', '.join(wanted)}."
            raise ConfigError(f"include/config/{FILE}: {where}there is no setting {word!r}.", do=hint)
    for word in wanted:
        if word not in given:
            raise ConfigError(f"include/config/{FILE}: {where}{word} is missing.", do="Set it; 0 means no tolerance.")
    return given
