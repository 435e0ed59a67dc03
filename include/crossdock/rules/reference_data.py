"""TIMS's reference data as rules look things up in it: what a batch needs, and no more.

In: codes, SKUs, keys of a batch. Out: frames of what TIMS has of them. Never: a call to TIMS; a look at a database,
which whoever runs the rules gives them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import pandas as pd

ByKind = Mapping[str, Collection[str]]  # values of keys (see customers.py) or contacts (email, phone), each once
Contact = tuple[str, str]  # (email, address) or (phone, number)


class Reference(Protocol):
    """Looks up TIMS's items and customers. Money is int64 x 10,000. What nobody knows has no row; rows come in no
    order."""

    @property
    def time_zone(self) -> str:
        """The company's."""

    def items_of(self, skus: Collection[str]) -> pd.DataFrame:
        """The items with these SKUs, a row each: SKU, Status, Type, KitComponents (a list of (SKU, units in one kit) or
        None), Cost, ListPrice, Category."""

    def codes_of(self, codes: Collection[str], folded: Collection[str]) -> pd.DataFrame:
        """The SKUs and alternate SKUs that are spelt like one of `codes`, or in lower case like one of `folded`: code,
        folded, kind (sku or alternate), SKU."""

    def every_code(self) -> list[str]:
        """All SKUs and alternate SKUs in lower case, each once, sorted. It takes long: only to find the nearest ones to
        a code that nobody knows."""

    def keys_of(self, keys: ByKind) -> pd.DataFrame:
        """Of the customers that have one of these keys, those keys and all external ones: kind, value, CustomerID."""

    def customers_of(self, ids: Collection[str]) -> pd.DataFrame:
        """The customers with these CustomerIDs, a row each: CustomerID, Status, Name."""

    def shared_of(self, contacts: ByKind) -> Collection[Contact]:
        """Which of the contacts too many buyers have to be keys."""


def _frame(**columns: str) -> pd.DataFrame:
    return pd.DataFrame({name: pd.Series(dtype=kind) for name, kind in columns.items()})


@dataclass
class ReferenceData:
    """A `Reference` of whole tables. `items` is unique by SKU; `item_codes` has one row per SKU and per alternate SKU;
    `customers` is unique by CustomerID; `customer_keys` holds the keys by which customers are found; `shared`, values
    that too many buyers have to be keys."""

    items: pd.DataFrame = field(
        default_factory=lambda: _frame(
            SKU="str", Status="str", Type="str", KitComponents="object", Cost="int64", ListPrice="int64", Category="str"
        )
    )
    item_codes: pd.DataFrame = field(default_factory=lambda: _frame(code="str", folded="str", kind="str", SKU="str"))
    customers: pd.DataFrame = field(default_factory=lambda: _frame(CustomerID="str", Status="str", Name="str"))
    customer_keys: pd.DataFrame = field(default_factory=lambda: _frame(kind="str", value="str", CustomerID="str"))
    shared: frozenset[Contact] = frozenset()
    time_zone: str = "UTC"

    def items_of(self, skus: Collection[str]) -> pd.DataFrame:
        return self.items[self.items["SKU"].isin(list(skus))]

    def codes_of(self, codes: Collection[str], folded: Collection[str]) -> pd.DataFrame:
        table = self.item_codes
        return table[table["code"].isin(list(codes)) | table["folded"].isin(list(folded))]

    def every_code(self) -> list[str]:
        return sorted(set(self.item_codes["folded"].tolist()))

    def keys_of(self, keys: ByKind) -> pd.DataFrame:
        table, wanted = self.customer_keys, {(kind, value) for kind, values in keys.items() for value in values}
        named = [key in wanted for key in zip(table["kind"].tolist(), table["value"].tolist(), strict=True)]
        found = pd.Series(named, index=table.index, dtype=bool)
        theirs = table["CustomerID"].isin(table.loc[found, "CustomerID"].tolist()) & table["kind"].eq("external")
        return table[found | theirs]

    def customers_of(self, ids: Collection[str]) -> pd.DataFrame:
        return self.customers[self.customers["CustomerID"].isin(list(ids))]

    def shared_of(self, contacts: ByKind) -> Collection[Contact]:
        return {(kind, value) for kind, value in self.shared if value in contacts[kind]}
