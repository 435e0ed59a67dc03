"""The full compare: reads all that the target holds, and finds the records that differ."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from itertools import islice
from typing import TYPE_CHECKING

import pandas as pd
import sqlalchemy as sa

from crossdock.flows.prices.load import ChannelPrice, decoded, whole
from crossdock.store import database, sql
from crossdock.store.tables import (
    ref_channel_price,
)

if TYPE_CHECKING:
    from crossdock.runtime import Runtime


COPIED = 2_000  # prices per COPY


def snapshot_target(runtime: Runtime) -> None:
    """Replaces the prices in `ref` by all prices of the channel. A price that changes meanwhile may come twice."""
    columns = [column.name for column in ref_channel_price.columns]
    records = (record for page in runtime.channel_advisor.pages("prices") for record in page.records)
    prices = map(decoded, records)
    with runtime.engine.begin() as connection:
        portions = iter(lambda: list(islice(prices, COPIED)), [])
        database.replace(connection, ref_channel_price, (_frame(some, columns) for some in portions))


def _frame(rows: Sequence[tuple[str, ChannelPrice, datetime]], columns: Sequence[str]) -> pd.DataFrame:
    """Makes the frame of prices for COPY."""
    values = zip(*((sku, *price, version) for sku, price, version in rows), strict=True)
    made = {}
    for name, each in zip(columns, values, strict=True):
        if isinstance(ref_channel_price.c[name].type, sa.Numeric):
            made[name] = pd.Series([whole(one) for one in each], dtype="Int64")
        else:
            made[name] = pd.Series([one.isoformat() if isinstance(one, datetime) else one for one in each], dtype="str")
    return pd.DataFrame(made)


_DRIFT = sql.statement(__package__, "drift")


def find_drift(connection: sa.Connection) -> Sequence[str]:
    """Finds items whose prices at the channel differ from those sent."""
    return connection.scalars(_DRIFT).all()
