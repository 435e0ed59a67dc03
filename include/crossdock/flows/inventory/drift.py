"""The full compare: reads all that the target holds, and finds the records that differ."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from itertools import islice
from typing import TYPE_CHECKING

import msgspec
import pandas as pd
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import aggregate_order_by

from crossdock.flows.inventory.requeue import NAME
from crossdock.rules import offer_settings
from crossdock.store import accuracy, alerts, database, sql
from crossdock.store.tables import (
    ref_channel_level,
)
from crossdock.systems import times

if TYPE_CHECKING:
    from crossdock.runtime import Runtime


LEVELS_AT_ONCE = 5_000  # levels per COPY


# ---- full compare --------------------------------------------------------------------------------------------------


class _Level(msgspec.Struct):
    SKU: str
    DistributionCenterID: int
    AvailableQuantity: int
    UpdatedDate: str


_level = msgspec.json.Decoder(_Level)


def snapshot_target(runtime: Runtime) -> None:
    """Replaces the levels in `ref` by all levels of the channel. A level that changes meanwhile may come twice."""
    records = (record for page in runtime.channel_advisor.pages("inventory") for record in page.records)
    levels = (_level.decode(record) for record in records)
    with runtime.engine.begin() as connection:
        portions = iter(lambda: list(islice(levels, LEVELS_AT_ONCE)), [])
        database.replace(connection, ref_channel_level, map(_frame, portions))


def _frame(levels: Sequence[_Level]) -> pd.DataFrame:
    """Makes the frame of levels for COPY."""
    return pd.DataFrame(
        {
            "sku": pd.Series([each.SKU for each in levels], dtype="str"),
            "center_id": [each.DistributionCenterID for each in levels],
            "available": [each.AvailableQuantity for each in levels],
            "version": pd.Series([times.read(each.UpdatedDate).isoformat() for each in levels], dtype="str"),
        }
    )


_each = sql.statement(__package__, "compared").columns(sa.column("key", sa.Text), sa.column("is_equal", sa.Boolean))
_one = _each.subquery("one")
# Counted by Postgres: of a quarter of a million SKUs only those that differ come here.
_COMPARED = sa.select(
    sa.func.count().label("compared"),
    sa.func.count().filter(_one.c.is_equal).label("equal"),
    sa.func.array_agg(aggregate_order_by(_one.c.key, _one.c.key), type_=sa.ARRAY(sa.Text))
    .filter(~_one.c.is_equal)
    .label("different"),
)


def find_drift(connection: sa.Connection) -> Sequence[str]:
    """Finds SKUs whose quantities at the channel differ from those last sent. Notes how many are equal."""
    compared, equal, different = connection.execute(_COMPARED).one()
    accuracy.note(connection, NAME, compared=compared, equal=equal)
    least = offer_settings.load().accuracy
    if compared and equal < least * compared:
        alerts.raise_alert(
            connection,
            kind="inventory_accuracy",
            key=NAME,
            flow=NAME,
            title=f"Inventory: only {accuracy.percentage_text(compared, equal)} before the repair",
            body=f"Fewer than {least:.2%} of the SKUs were offered by Channel Advisor as they should be. The compare "
            "has written them again. Find out who else writes quantities: docs/runbook.md, inventory_accuracy.",
            window=timedelta(hours=12),
        )
    return different or []
