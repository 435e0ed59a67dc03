"""Shipments, the documents: TIMS's shipment as frames -> Channel Advisor's shipment as staged rows.

In: parsed shipments, their sales orders in `ref`, what has been told of each order. Out: `Staged`. Never: a call to a
system; another content for a shipment that the channel has been told of.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import sqlalchemy as sa

from crossdock.flow import Staged
from crossdock.flows import documents, unreadable
from crossdock.flows.orders import transform as orders_transform
from crossdock.mapping import language, lookups, problems
from crossdock.mapping.frames import LINE, ROW, Frames
from crossdock.mapping.parse import Parsed
from crossdock.rules import settings as rule_settings
from crossdock.rules import shipping
from crossdock.rules.shipping import Sold
from crossdock.store import database, deliveries, raw
from crossdock.store.tables import stage_channel_shipment, stage_channel_shipment_line, stage_sales_order_line

ENTITY = "channel_shipment"
TOLD = ("ChannelAdvisorOrderID", "SellerFulfillmentID", "ShippedDate", "Carrier", "ServiceClass", "TrackingNumber")
TOLD_LINE = ("OrderItemID", "SKU", "Quantity")
# States of the parcels that count for kits, if they have a `parcel`.
COUNTED = ("staged", "ready", "delivered", "unchanged", "left_out")


class _Order(NamedTuple):
    """A sales order as a shipment needs it. `sold` by ExternalLineID; `odd` are lines that no line sold stands for."""

    source: str
    version: datetime
    sold: dict[str, Sold]
    odd: set[str]


class _Verdict(NamedTuple):
    state: str
    reason: str = ""
    counts: bool = False  # its parcel counts for the kits of its order


def transform(connection: sa.Connection, parsed: Parsed, keys: Sequence[str], altered: Sequence[str | None]) -> Staged:
    """The staged shipments of a batch, those that have been reported as they were."""
    source = parsed.frames.header
    kept = pd.Series([keys[position] for position in parsed.kept], dtype="str")
    existing = _orders(connection, source["SalesOrderID"].dropna().unique().tolist())
    parcels = _parcels(parsed.frames)
    linked = deliveries.links(connection, ENTITY, kept.tolist())
    elsewhere = _marketplace_locations()
    rows = source.to_dict("records")
    made_at = documents.moments(source["CreatedAt"])
    verdicts = [
        _Verdict("unchanged")
        if key in linked
        else _verdict(row, parcel, existing.get(row["SalesOrderID"]), moment, elsewhere)
        for key, row, parcel, moment in zip(kept, rows, parcels, made_at, strict=True)
    ]
    header = source.assign(SellerFulfillmentID=shipping.fulfillment_ids(kept))
    services, unknown = shipping.carriers(header, lookups.read("carriers", keys=2))
    header = header.join(services)

    sent, folded, odd = _fold(connection, kept, rows, parcels, verdicts, existing)
    lines = _lines(sent, existing, rows)
    loads = np.array([verdict.state == "staged" for verdict in folded], dtype=bool)
    found = problems.concat([unknown, odd])
    target, mapping_errors = language.load("shipment").apply(Frames(header, lines), explained=found)
    found = problems.concat([found, mapping_errors])

    made = pd.DataFrame(
        {
            "key": kept,
            "state": pd.Series([verdict.state for verdict in folded], dtype="str"),
            "reason": pd.Series([verdict.reason or np.nan for verdict in folded], dtype="str"),
            **{name: target.header[name] for name in TOLD},
            "sales_order_id": source["SalesOrderID"],
            "parcel": pd.Series(
                [database.to_json(p) if v.counts else np.nan for p, v in zip(parcels, folded, strict=True)], dtype="str"
            ),
            "order_version": documents.versions(source["SalesOrderID"], existing),
        }
    )
    body = target.lines.assign(key=kept.array.take(target.lines[ROW].to_numpy()), position=target.lines[LINE])
    body = body[loads[body[ROW].to_numpy()]]
    made["content_hash"] = pd.Series(
        [
            raw.digest(database.to_json([*map(str, fields), sorted(items.items())]).encode())
            for fields, items in zip(made[list(TOLD)].itertuples(index=False, name=None), sent, strict=True)
        ],
        dtype="str",
    )
    alerts = _corrections(connection, made[kept.isin(list(linked)).to_numpy()])
    made, body = _as_reported(connection, made, body[["key", "position", *TOLD_LINE]], list(linked))
    found = found[loads[found[ROW].to_numpy()]].reset_index(drop=True)
    made, found = unreadable.joined(made, found, parsed, keys)
    return Staged(made, body, found, alerts)


def _verdict(
    row: Mapping[str, Any],
    parcel: Mapping[str, int],
    order: _Order | None,
    made_at: pd.Timestamp,
    elsewhere: frozenset[str],
) -> _Verdict:
    """Whether the channel is to hear of a shipment that it has not heard of."""
    if row["Source"] == orders_transform.SOURCE:
        return _Verdict("left_out", "The channel made this shipment itself.")
    if row["PostingMode"] == "automatic":
        return _Verdict("left_out", "Its order was typed into TIMS; no channel knows it.")
    if row["LocationID"] in elsewhere:
        return _Verdict("left_out", "The marketplace holds and ships these goods.")
    if order is None:
        return _Verdict("waiting", f"Its sales order {row['SalesOrderID']} has not been read yet.")
    if order.source != orders_transform.SOURCE:
        return _Verdict("left_out", f"Its order is not from Channel Advisor but from {order.source}.")
    if parcel.keys() - order.sold.keys() - order.odd and order.version < made_at:
        return _Verdict("waiting", f"Its sales order {row['SalesOrderID']} has changed and is to be read again.")
    return _Verdict("staged", counts=True)


def _marketplace_locations() -> frozenset[str]:
    settings = rule_settings.load()
    return frozenset(site.marketplace_location for site in (settings.default, *settings.sites.values()))


def _parcels(frames: Frames) -> list[dict[str, int]]:
    """Units by ExternalLineID of each shipment."""
    parcels: list[dict[str, int]] = [{} for _ in range(len(frames.header))]
    lines = frames.lines
    for row, line, units in zip(lines[ROW], lines["ExternalLineID"], lines["Quantity"].fillna(0), strict=True):
        parcels[row][str(line)] = parcels[row].get(str(line), 0) + int(units)
    return parcels


def _orders(connection: sa.Connection, ids: Sequence[str]) -> dict[str, _Order]:
    """The sales orders by SalesOrderID, with what each of their lines is a part of."""
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
        found[number] = _Order(row.source, row.version, sold, odd)
    return found


def _fold(
    connection: sa.Connection,
    keys: pd.Series,
    rows: Sequence[Mapping[str, Any]],
    parcels: Sequence[dict[str, int]],
    verdicts: Sequence[_Verdict],
    existing: Mapping[str, _Order],
) -> tuple[list[dict[int, int]], list[_Verdict], pd.DataFrame]:
    """(units to tell by OrderItemID, verdicts, problems) of each shipment; within an order the earliest comes first."""
    fresh = [n for n, verdict in enumerate(verdicts) if verdict.state == "staged"]
    before, reported = _before(connection, [rows[n]["SalesOrderID"] for n in fresh], [keys[n] for n in fresh])
    sent: list[dict[int, int]] = [{} for _ in rows]
    after = list(verdicts)
    odd: list[tuple[int, str]] = []
    for n in sorted(fresh, key=lambda n: (str(rows[n]["ShippedAt"]), keys[n])):
        number, order = rows[n]["SalesOrderID"], existing[rows[n]["SalesOrderID"]]
        strange = sorted(parcels[n].keys() - order.sold.keys())
        if strange:
            odd += [(n, line) for line in strange]
            continue
        sent[n] = shipping.fold(parcels[n], before.get(number, ()), reported.get(number, {}), order.sold)
        before.setdefault(number, []).append(parcels[n])
        of_order = reported.setdefault(number, {})
        for item, units in sent[n].items():
            of_order[item] = of_order.get(item, 0) + units
        if not sent[n]:
            after[n] = _Verdict("left_out", "It completes no kit; the parcel that does will tell of it.", counts=True)
    return (
        sent,
        after,
        problems.make(
            [n for n, _ in odd],
            field="Lines.ExternalLineID",
            rule="line_not_on_channel",
            value=[line for _, line in odd],
            line=[line for _, line in odd],
            message='Line "{value}" of its sales order is no line of the channel\'s order, or part of an unknown kit.',
            do="Sync the order (`crossdock sync orders --key ORDER`) and replay this, or report the parcel on the "
            "channel by hand and dismiss it.",
        ),
    )


def _before(
    connection: sa.Connection, orders_: Sequence[str], mine: Sequence[str]
) -> tuple[dict[str, list[dict[str, int]]], dict[str, dict[int, int]]]:
    """What other shipments of the orders hold and have told: those on their way, reported, or completing no kit."""
    stage, lines = stage_channel_shipment, stage_channel_shipment_line
    others = sa.and_(
        documents.among(stage.c.sales_order_id, orders_),
        stage.c.state.in_(COUNTED),
        stage.c.parcel.is_not(None),
        ~documents.among(stage.c.key, mine),
    )
    before: dict[str, list[dict[str, int]]] = {}
    for number, parcel in connection.execute(sa.select(stage.c.sales_order_id, stage.c.parcel).where(others)):
        before.setdefault(number, []).append(parcel)
    reported: dict[str, dict[int, int]] = {}
    units = (
        sa.select(stage.c.sales_order_id, lines.c.OrderItemID, sa.func.sum(lines.c.Quantity))
        .join(stage, stage.c.key == lines.c.key)
        .where(others)
        .group_by(stage.c.sales_order_id, lines.c.OrderItemID)
    )
    for number, item, total in connection.execute(units):
        reported.setdefault(number, {})[item] = int(total)
    return before, reported


def _lines(
    sent: Sequence[Mapping[int, int]], existing: Mapping[str, _Order], rows: Sequence[Mapping[str, Any]]
) -> pd.DataFrame:
    """The lines to tell, in the columns that the mapping reads."""
    made: list[tuple[int, int, int, str, int]] = []
    for n, items in enumerate(sent):
        if items:
            names = {part.order_item: part.sku for part in existing[rows[n]["SalesOrderID"]].sold.values()}
            made += [(n, place, item, names[item], units) for place, (item, units) in enumerate(sorted(items.items()))]
    frame = pd.DataFrame(made, columns=[ROW, LINE, "OrderItemID", "SoldSKU", "Quantity"])
    return frame.astype({ROW: "int64", LINE: "int64", "OrderItemID": "Int64", "SoldSKU": "str", "Quantity": "Int64"})


def _as_reported(
    connection: sa.Connection, header: pd.DataFrame, lines: pd.DataFrame, linked: list[str]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Shipments that the channel knows keep what it was told: it keeps the first report whatever comes after."""
    if not linked:
        return header, lines
    old, body = documents.as_staged(connection, stage_channel_shipment, stage_channel_shipment_line, linked)
    old["state"], old["reason"] = "unchanged", pd.Series(np.nan, index=old.index, dtype="str")
    whole = pd.concat([header[~header["key"].isin(linked)], old[header.columns]], ignore_index=True)
    whole = whole.set_index("key").loc[header["key"]].reset_index()  # in their places: problems name rows by them
    return whole, pd.concat([lines, body[lines.columns]], ignore_index=True)


def _corrections(connection: sa.Connection, again: pd.DataFrame) -> list[dict]:
    """A notice for each reported shipment whose carrier or tracking TIMS has corrected since."""
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
    """Nothing beside the documents themselves is looked at."""
    return frames
