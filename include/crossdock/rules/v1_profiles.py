"""The profiles of an account whose products are kept, and what their SKUs are called.

In: the chosen profiles, a SKU and its profile. Out: one name for both, by which the flows know a product: the SKU
itself in the first profile, `profile:SKU` in every other one. Never: one name for two products.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Profiles:
    """The profiles whose products are kept, the first one first; () where the token covers one alone."""

    kept: tuple[int, ...] = ()

    def name_of(self, sku: str, profile: int) -> str:
        """The name of a SKU in a profile. One of the first that reads like a name has the profile in front, too."""
        if len(self.kept) < 2 or (profile == self.kept[0] and self.parted(sku)[1] == sku):
            return sku
        return f"{profile}:{sku}"

    def parted(self, name: str) -> tuple[int, str]:
        """Profile and SKU of a name; profile 0 where none is chosen."""
        number, colon, sku = name.partition(":")
        if len(self.kept) > 1 and colon and number.isascii() and number.isdecimal() and int(number) in self.kept:
            return int(number), sku
        return (self.kept[0] if self.kept else 0), name

    def by_profile(self, names: Iterable[str]) -> dict[int, list[str]]:
        """The SKUs of names, by profile; each once."""
        found: dict[int, dict[str, None]] = {}
        for name in names:
            profile, sku = self.parted(name)
            found.setdefault(profile, {})[sku] = None
        return {profile: list(skus) for profile, skus in found.items()}


def kept_of(chosen: tuple[int, ...], currencies: Mapping[int, str]) -> tuple[int, ...]:
    """Of the chosen profiles the first, and those whose prices are in its currency: the flows know one."""
    return tuple(one for one in chosen if currencies.get(one) == currencies.get(chosen[0]))
