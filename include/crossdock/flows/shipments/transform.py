"""Shipments, the documents: TIMS's shipment as frames -> Channel Advisor's shipment as staged rows.

In: parsed shipments, their sales orders in `ref`, what was reported of each order. Out: `Staged`. Never: a call to a
system; another content for a shipment that was reported.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import numpy as np
import pandas as pd
import sqlalchemy as sa

from crossdock.flow import Staged
from crossdock.flows import documents, unreadable
from crossdock.flows.orders import transform as orders_transform
from crossdock.mapping import language, problems
from crossdock.mapping.frames import LINE, ROW, Frames
from crossdock.mapping.parse import Parsed
from crossdock.mapping.registry import KEY
from crossdock.rules import settings as rule_settings
from crossdock.rules.shipping import SalesOrder, ShipmentContext, Sold, read_carriers
from crossdock.store import database, deliveries, raw, registry
from crossdock.store.tables import stage_channel_shipment, stage_channel_shipment_line, stage_sales_order_line

ENTITY = "channel_shipment"
TOLD = registry.fields(stage_channel_shipment)
TOLD_LINE = registry.fields(stage_channel_shipment_line)
# States of shipments whose parcels (where they have one) count when kits are folded.
COUNTED = ("staged", "ready", "would_be", "delivered", "unchanged", "left_out")


def transform(connection: sa.Connection, parsed: Parsed, keys: Sequence[str], altered: Sequence[str | None]) -> Staged:
    """The staged shipments of a batch. Reported ones stay as they were."""
    frames = documents.keyed(parsed, keys)
    kept = frames.header[KEY]
    context = load_context(connection, kept.tolist(), frames.header["SalesOrderID"].dropna().unique().tolist())
    done = language.load("shipment").apply(frames, context, also=("state", "reason", "parcel"))
    source, target = done.source.header, done.target
    loads = source["state"].eq("staged").to_numpy(dtype=bool)
    found = problems.concat([done.problems, done.errors])

    made = pd.DataFrame(
        {
            "key": kept,
            "state": source["state"],
            "reason": source["reason"],
            **{name: target.header[name] for name in TOLD},
            "sales_order_id": source["SalesOrderID"],
            "parcel": source["parcel"],
            "order_version": documents.versions(source["SalesOrderID"], context.orders),
        }
    )
    body = target.lines.assign(key=kept.array.take(target.lines[ROW].to_numpy()), position=target.lines[LINE])
    body = body[loads[body[ROW].to_numpy()]]
    made["content_hash"] = _content(made, target.lines)
    linked = list(context.linked)
    alerts = _corrections(connection, made[kept.isin(linked).to_numpy()])
    made, body = _as_reported(connection, made, body[["key", "position", *TOLD_LINE]], linked)
    found = found[loads[found[ROW].to_numpy()]].reset_index(drop=True)
    made, found = unreadable.joined(made, found, parsed, keys)
    return Staged(made, body, found, alerts)


def load_context(connection: sa.Connection, keys: Sequence[str], numbers: Sequence[str]) -> ShipmentContext:
    """Reads what the rules need besides the shipments `keys` of the sales orders `numbers`."""
    before, reported = _before(connection, numbers)
    return ShipmentContext(
        _orders(connection, numbers),
        list(deliveries.links(connection, ENTITY, keys)),
        _marketplace_locations(),
        read_carriers(),
        before,
        reported,
        orders_transform.SOURCE,
    )


def _content(header: pd.DataFrame, lines: pd.DataFrame) -> pd.Series:
    """Hashes the fields that are sent."""
    sent: list[list[tuple[int, int]]] = [[] for _ in range(len(header))]
    for row, item, units in zip(*(lines[name].tolist() for name in (ROW, "OrderItemID", "Quantity")), strict=True):
        sent[row].append((item, units))
    return pd.Series(
        [
            raw.digest(database.to_json([*map(str, fields), items]).encode())
            for fields, items in zip(header[list(TOLD)].itertuples(index=False, name=None), sent, strict=True)
        ],
        dtype="str",
    )


def _marketplace_locations() -> frozenset[str]:
    settings = rule_settings.load()
    return frozenset(site.marketplace_location for site in (settings.default, *settings.sites.values()))


def _orders(connection: sa.Connection, ids: Sequence[str]) -> dict[str, SalesOrder]:
    """Reads the sales orders by SalesOrderID, with the kit that each of their lines is a part of."""
    rows = documents.sales_orders(connection, ids)
    table = stage_sales_order_line
    per_kit = {
        (key, line): int(units)
        for key, line, units in connection.execute(
            sa.select(table.c.key, table.c.ExternalLineID, table.c.units_per_kit).where(
                documents.among(table.c.key, [row.external_order_id for row in rows.values()])
            )
        )
    }
    found = {}
    for number, row in rows.items():
        sold: dict[str, Sold] = {}
        odd: set[str] = set()
        for line in row.payload["LineItems"]:
            name = line["ExternalLineID"]
            kit = line["KitParentSKU"]
            item = name.partition(":")[0]
            units = per_kit.get((row.external_order_id, name)) if kit else 1
            if item.isascii() and item.isdigit() and units:
                sold[name] = Sold(int(item), units, kit or line["SKU"])
            else:
                odd.add(name)
        found[number] = SalesOrder(row.source, row.version, sold, odd)
    return found


def _before(
    connection: sa.Connection, orders_: Sequence[str]
) -> tuple[dict[str, list[tuple[str, dict[str, int]]]], dict[str, list[tuple[str, int, int]]]]:
    """Reads the parcels of earlier shipments of the orders, and the units that they report, each with the shipment's
    key: of those under way, reported, or without a complete kit."""
    stage, lines = stage_channel_shipment, stage_channel_shipment_line
    those = sa.and_(
        documents.among(stage.c.sales_order_id, orders_), stage.c.state.in_(COUNTED), stage.c.parcel.is_not(None)
    )
    before: dict[str, list[tuple[str, dict[str, int]]]] = {}
    for number, key, parcel in connection.execute(
        sa.select(stage.c.sales_order_id, stage.c.key, stage.c.parcel).where(those)
    ):
        before.setdefault(number, []).append((key, parcel))
    reported: dict[str, list[tuple[str, int, int]]] = {}
    units = sa.select(stage.c.sales_order_id, stage.c.key, lines.c.OrderItemID, lines.c.Quantity).join(
        stage, stage.c.key == lines.c.key
    )
    for number, key, item, quantity in connection.execute(units.where(those)):
        reported.setdefault(number, []).append((key, item, int(quantity)))
    return before, reported


def _as_reported(
    connection: sa.Connection, header: pd.DataFrame, lines: pd.DataFrame, linked: list[str]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Puts reported shipments back as they were staged: the channel keeps the first report in any case."""
    if not linked:
        return header, lines
    old, body = documents.as_staged(connection, stage_channel_shipment, stage_channel_shipment_line, linked)
    old["state"], old["reason"] = "unchanged", pd.Series(np.nan, index=old.index, dtype="str")
    whole = pd.concat([header[~header["key"].isin(linked)], old[header.columns]], ignore_index=True)
    whole = whole.set_index("key").loc[header["key"]].reset_index()  # in their old places: problems refer to them
    return whole, pd.concat([lines, body[lines.columns]], ignore_index=True)


def _corrections(connection: sa.Connection, again: pd.DataFrame) -> list[dict]:
    """Makes a notice for each reported shipment whose carrier or tracking TIMS has corrected since."""
    if again.empty:
        return []
    old, _ = documents.as_staged(connection, stage_channel_shipment, stage_channel_shipment_line, again["key"].tolist())
    details = ["Carrier", "ServiceClass", "TrackingNumber"]
    both = again[["key", *details]].merge(
        old[["key", *details, "ChannelAdvisorOrderID"]], on="key", suffixes=("", "_old")
    )
    changed = np.logical_or.reduce([both[name].fillna("") != both[f"{name}_old"].fillna("") for name in details])
    return [
        {
            "kind": "shipment_corrected",
            "key": key,
            "title": f"Shipment {key}: carrier or tracking was corrected after the channel had been told",
            "body": f"Channel Advisor keeps the first report of order {order}. Correct it there by hand if the buyer "
            "needs it.",
            "severity": "notice",
            "window": timedelta(days=1),
        }
        for key, order in both.loc[changed, ["key", "ChannelAdvisorOrderID"]].itertuples(index=False, name=None)
    ]


def enrich_for_checks(connection: sa.Connection, frames: Frames) -> Frames:
    """Adds nothing: the suite checks the documents alone."""
    return frames
