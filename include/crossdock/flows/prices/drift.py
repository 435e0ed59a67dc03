"""A full compare: what the target holds, and which records are not there as they should be."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from itertools import islice
from typing import TYPE_CHECKING

import pandas as pd
import sqlalchemy as sa

from crossdock.flows.prices.load import ChannelPrice, decoded, whole
from crossdock.store import database
from crossdock.store.tables import (
    ref_channel_price,
)

if TYPE_CHECKING:
    from crossdock.runtime import Runtime


COPIED = 2_000  # prices a COPY of a full read


def snapshot_target(runtime: Runtime) -> None:
    """Reads all prices of the channel into `ref`, in place of what was there; one that changes may come twice."""
    columns = [column.name for column in ref_channel_price.columns]
    records = (record for page in runtime.channel_advisor.pages("prices") for record in page.records)
    prices = map(decoded, records)
    with runtime.engine.begin() as connection:
        portions = iter(lambda: list(islice(prices, COPIED)), [])
        database.replace(connection, ref_channel_price, (_frame(some, columns) for some in portions))


def _frame(rows: Sequence[tuple[str, ChannelPrice, datetime]], columns: Sequence[str]) -> pd.DataFrame:
    """Prices as a COPY takes them."""
    values = zip(*((sku, *price, version) for sku, price, version in rows), strict=True)
    made = {}
    for name, each in zip(columns, values, strict=True):
        if isinstance(ref_channel_price.c[name].type, sa.Numeric):
            made[name] = pd.Series([whole(one) for one in each], dtype="Int64")
        else:
            made[name] = pd.Series([one.isoformat() if isinstance(one, datetime) else one for one in each], dtype="str")
    return pd.DataFrame(made)


_AMISS = sa.text("""
SELECT DISTINCT s.key FROM stage.price s JOIN stage.price_line l ON l.key = s.key
LEFT JOIN ref.channel_price c ON c.sku = l.sku AND l.listing_id IS NULL
LEFT JOIN ref.channel_listing g ON g.listing_id = l.listing_id
WHERE s.state IN ('delivered', 'unchanged') AND CASE WHEN l.listing_id IS NULL THEN
  (s."Price", s."Currency", s."MinPrice", s."MaxPrice", s."RetailPrice", s."Promotion.PromotionID",
   s."Promotion.Price", CAST(s."Promotion.StartDate" AS timestamptz), CAST(s."Promotion.EndDate" AS timestamptz))
  IS DISTINCT FROM (c.price, c.currency_code, c.min_price, c.max_price, c.retail_price, c.promotion_id,
   c.promotion_price, c.promotion_start, c.promotion_end)
  ELSE g.listing_id IS NOT NULL AND g.status <> 'Ended' AND l."Price" IS DISTINCT FROM g.price END
ORDER BY s.key
""")


def find_drift(connection: sa.Connection) -> Sequence[str]:
    """Items whose prices are not at the channel as they were sent."""
    return connection.scalars(_AMISS).all()
