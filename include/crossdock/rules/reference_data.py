"""TIMS's reference data as frames in which rules look things up.

In: typed copies of TIMS's reference data. Out: nothing; it is only carried. Never: a call to TIMS.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import pandas as pd


def _frame(**columns: str) -> pd.DataFrame:
    return pd.DataFrame({name: pd.Series(dtype=kind) for name, kind in columns.items()})


@dataclass
class ReferenceData:
    """`items` is unique by SKU; `item_codes` has one row per SKU and per alternate SKU; `customers` is unique by
    CustomerID; `customer_keys` holds the keys by which customers are found (see customers.py); `shared`, as (phone,
    number) and (email, address), values that too many buyers have to be keys. Money is int64 x 10,000; KitComponents is
    a list of (SKU, units in one kit) or None. `time_zone` is the company's."""

    items: pd.DataFrame = field(
        default_factory=lambda: _frame(
            SKU="str", Status="str", Type="str", KitComponents="object", Cost="int64", ListPrice="int64", Category="str"
        )
    )
    item_codes: pd.DataFrame = field(default_factory=lambda: _frame(code="str", folded="str", kind="str", SKU="str"))
    customers: pd.DataFrame = field(default_factory=lambda: _frame(CustomerID="str", Status="str", Name="str"))
    customer_keys: pd.DataFrame = field(default_factory=lambda: _frame(kind="str", value="str", CustomerID="str"))
    shared: frozenset[tuple[str, str]] = frozenset()
    time_zone: str = "UTC"
