"""The context of the order rules: what they need beside columns.

In: nothing. Out: nothing; it is only carried. Never: a look at a file or a database.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

import pandas as pd

from crossdock.mapping import lookups
from crossdock.rules.reference_data import Reference
from crossdock.rules.settings import Settings


@dataclass(frozen=True)
class OrderContext:
    """`linked`: the ChannelAdvisorOrderIDs that have a sales order in TIMS. `inclusive`: PricesIncludeTax of those
    sales orders, by ChannelAdvisorOrderID. `newest`: the newest UpdatedDate read so far by its number; an older
    version is left out. `order_status` and `payment_status`: the lookups of these names."""

    reference: Reference
    settings: Settings
    order_status: lookups.Lookup
    payment_status: lookups.Lookup
    linked: Collection[int] = ()
    inclusive: Mapping[int, bool] = field(default_factory=dict)
    newest: pd.Series | None = None
