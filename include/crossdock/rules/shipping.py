"""Makes shipments for the channel: key, carrier, units.

In: TIMS's shipments, what was sent of their orders before, the lookup of carriers. Out: columns of Channel
Advisor's ShipmentCreate, and problems. Never: a carrier guessed; a kit reported twice, or before all its parts left.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import NamedTuple

import numpy as np
import pandas as pd

from crossdock.config import Struct, Text, nearest
from crossdock.mapping import lookups, problems
from crossdock.mapping.converters import by_distinct
from crossdock.mapping.frames import LINE, ROW, Frames
from crossdock.mapping.jsontext import to_json
from crossdock.mapping.registry import KEY, Columns, rule


class Sold(NamedTuple):
    """The channel's line behind a line of the sales order, how many of it are in one unit sold, and what was sold: a
    kit, or the item itself."""

    order_item: int
    per_unit: int
    sku: str


@dataclass(frozen=True)
class SalesOrder:
    """A sales order as a shipment needs it. `sold` by ExternalLineID; `odd` are lines without a line of the channel."""

    source: str
    version: datetime
    sold: Mapping[str, Sold]
    odd: Collection[str]


@dataclass(frozen=True)
class ShipmentContext:
    """The context of the shipment rules: what they need beside columns. By SalesOrderID: `orders`, `before` (the other
    parcels of the order that count) and `reported` (units by OrderItemID that those have reported), each with its key.
    `linked`: shipments that the channel knows; `elsewhere`: locations of marketplaces; `carriers`: the lookup;
    `channel`: source of the channel's documents."""

    orders: Mapping[str, SalesOrder]
    linked: Collection[str]
    elsewhere: Collection[str]
    carriers: lookups.Lookup
    before: Mapping[str, Sequence[tuple[str, Mapping[str, int]]]]
    reported: Mapping[str, Sequence[tuple[str, int, int]]]
    channel: str


@rule("name_fulfillment", reads=[KEY], writes=["SellerFulfillmentID"])
def name_fulfillment(frames: Frames, context: object) -> Columns:
    """The digits of the ShipmentID, for Amazon takes nothing else; for an id without digits, a number computed from
    it."""
    return Columns(pd.DataFrame({"SellerFulfillmentID": fulfillment_ids(frames.header[KEY])}))


def fulfillment_ids(shipments: pd.Series) -> pd.Series:
    """The fulfillment id of each ShipmentID."""
    return by_distinct(shipments, fulfillment_id, "str")


def fulfillment_id(shipment: str) -> str:
    """The fulfillment id of one ShipmentID."""
    return re.sub(r"[^0-9]", "", shipment) or str(int(sha256(shipment.encode()).hexdigest()[:12], 16))


# ---- carriers ------------------------------------------------------------------------------------------------------


class Carrier(Struct, frozen=True, kw_only=True):
    """One row of carriers.csv."""

    tims_carrier: str = ""
    tims_service: str = ""
    carrier: Text
    service_class: str = ""


def read_carriers() -> lookups.Lookup:
    return lookups.read("carriers", keys=2, row=Carrier)


@rule("channel_carrier", reads=["Carrier", "ServiceLevel"], writes=["ChannelCarrier", "ChannelService"])
def channel_carrier(frames: Frames, context: ShipmentContext) -> Columns:
    """Carrier and service in the channel's names, by config/lookups/carriers.csv; case and blanks do not matter."""
    columns, found = carriers(frames.header, context.carriers)
    return Columns(columns, problems=found)


def carriers(header: pd.DataFrame, table: lookups.Lookup) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Carrier and service of each shipment.

    Returns (columns, problems): a pair that the table lacks is a problem that names the nearest one."""
    given = header[["Carrier", "ServiceLevel"]].fillna("")
    pairs = pd.Series([_pair(*pair) for pair in given.itertuples(index=False, name=None)], dtype="str")
    existing = {_pair(row["tims_carrier"], row["tims_service"]): row for row in table.rows.values()}
    found = pd.DataFrame(
        {
            column: pd.Series([existing.get(pair, {}).get(name) for pair in pairs], dtype="str")
            for column, name in (("ChannelCarrier", "carrier"), ("ChannelService", "service_class"))
        }
    )
    unknown = np.flatnonzero(~pairs.isin(list(existing)).to_numpy())
    written = [lookups.BESIDE.join(pair) for pair in given.iloc[unknown].itertuples(index=False, name=None)]
    near = [nearest(pair, table.rows) for pair in written]
    return found, problems.make(
        unknown,
        field="Carrier",
        rule="unknown_carrier",
        value=written,
        message=[
            '"{value}" (carrier / service) is not in config/lookups/carriers.csv.'
            + (f' The nearest there is "{one}".' if one else "")
            for one in near
        ],
        do="Add the pair to include/config/lookups/carriers.csv, or correct the shipment in TIMS; then replay it.",
    )


def _pair(carrier: str, service: str) -> str:
    return lookups.BESIDE.join(" ".join(part.split()).casefold() for part in (carrier, service))


# ---- units ---------------------------------------------------------------------------------------------------------


def fold(
    parcel: Mapping[str, int],
    before: Iterable[Mapping[str, int]],
    reported: Mapping[int, int],
    sold: Mapping[str, Sold],
) -> dict[int, int]:
    """The units that one parcel reports, counted as they were sold.

    `parcel`: units by ExternalLineID; `before`: the other parcels of the order that count, in any order; `reported`:
    units by OrderItemID that those have reported. Returns the units by OrderItemID that this parcel reports: those
    complete with it, less those reported. Their sum over all parcels is all complete units, in whichever sequence they
    come."""
    left: Counter[str] = Counter(parcel)
    for other in before:
        left.update(other)
    touched = {sold[line].order_item for line in parcel}
    complete: dict[int, int] = {}
    for line, part in sold.items():
        if part.order_item in touched:
            whole = left[line] // part.per_unit
            complete[part.order_item] = min(complete.get(part.order_item, whole), whole)
    stated = {item: units - reported.get(item, 0) for item, units in complete.items()}
    return {item: units for item, units in stated.items() if units > 0}


# ---- rules that decide ---------------------------------------------------------------------------------------------

TELLS = "staged"


@rule(
    "shipment_news",
    reads=[KEY, "Source", "PostingMode", "LocationID", "SalesOrderID", "CreatedAt", "lines.ExternalLineID"],
    writes=["news", "news_reason"],
)
def shipment_news(frames: Frames, context: ShipmentContext) -> Columns:
    """Decides whether a shipment is sent to the channel. Left out are shipments that the channel made itself, those of
    orders typed into TIMS, and goods that the marketplace ships. One whose order has not been read, or has changed
    since, waits."""
    header = frames.header
    lines: list[set[str]] = [set() for _ in range(len(header))]
    for row, line in zip(frames.lines[ROW], frames.lines["ExternalLineID"], strict=True):
        lines[row].add(str(line))
    created = pd.to_datetime(header["CreatedAt"], utc=True, format="ISO8601", errors="coerce")
    names = (KEY, "Source", "PostingMode", "LocationID", "SalesOrderID")
    each = zip(*(header[name].tolist() for name in names), created, lines, strict=True)
    news = [
        ("unchanged", "") if key in context.linked else _news(source, mode, location, number, made_at, some, context)
        for key, source, mode, location, number, made_at, some in each
    ]
    return Columns(
        pd.DataFrame(
            {
                "news": pd.Series([state for state, _ in news], dtype="str"),
                "news_reason": pd.Series([reason or np.nan for _, reason in news], dtype="str"),
            }
        )
    )


def _news(
    source: str,
    mode: str,
    location: str,
    number: str,
    made_at: pd.Timestamp,
    lines: Collection[str],
    context: ShipmentContext,
) -> tuple[str, str]:
    """(state, reason) of a shipment that the channel does not have."""
    if source == context.channel:
        return "left_out", "The channel made this shipment itself."
    if mode == "automatic":
        return "left_out", "Its order was typed into TIMS; no channel knows it."
    if location in context.elsewhere:
        return "left_out", "The marketplace holds and ships these goods."
    order = context.orders.get(number)
    if order is None:
        return "waiting", f"Its sales order {number} has not been read yet."
    if order.source != context.channel:
        return "left_out", f"Its order is not from Channel Advisor but from {order.source}."
    if set(lines) - order.sold.keys() - set(order.odd) and order.version < made_at:
        return "waiting", f"Its sales order {number} has changed and is to be read again."
    return TELLS, ""


@rule(
    "fold_kits",
    reads=[
        KEY, "SalesOrderID", "ShippedAt", "news", "news_reason", "lines.ExternalLineID", "lines.Quantity",
    ],
    writes=["state", "reason", "parcel", "made.OrderItemID", "made.SoldSKU", "made.Quantity"],
)  # fmt: skip
def fold_kits(frames: Frames, context: ShipmentContext) -> Columns:
    """Counts units as they were sold: a kit is shipped once all its parts have left, in whichever parcels; within an
    order the earliest parcel comes first. A parcel that completes nothing is left out: the one that completes the kit
    reports it."""
    header = frames.header
    keys, numbers, shipped = (header[name].tolist() for name in (KEY, "SalesOrderID", "ShippedAt"))
    states, reasons = header["news"].tolist(), header["news_reason"].tolist()
    parcels = _parcels(frames)
    fresh = [n for n, state in enumerate(states) if state == TELLS]
    mine = {keys[n] for n in fresh}
    before = {number: [parcel for key, parcel in held if key not in mine] for number, held in context.before.items()}
    reported: dict[str, Counter[int]] = {}
    for number, held in context.reported.items():
        for key, item, units in held:
            if key not in mine:
                reported.setdefault(number, Counter())[item] += units
    sent: list[dict[int, int]] = [{} for _ in keys]
    odd: list[tuple[int, str]] = []
    for n in sorted(fresh, key=lambda n: (str(shipped[n]), keys[n])):
        number, order = numbers[n], context.orders[numbers[n]]
        strange = sorted(parcels[n].keys() - order.sold.keys())
        if strange:
            odd += [(n, line) for line in strange]
            continue
        sent[n] = fold(parcels[n], before.get(number, ()), reported.get(number, {}), order.sold)
        before.setdefault(number, []).append(parcels[n])
        reported.setdefault(number, Counter()).update(sent[n])
        if not sent[n]:
            states[n], reasons[n] = "left_out", "It completes no kit; the parcel that does will tell of it."
    columns = pd.DataFrame(
        {
            "state": pd.Series(states, dtype="str"),
            "reason": pd.Series(reasons, dtype="str"),
            "parcel": pd.Series(
                [to_json(parcel) if keys[n] in mine else np.nan for n, parcel in enumerate(parcels)], dtype="str"
            ),
        }
    )
    return Columns(columns, made=_sent_lines(sent, numbers, context), problems=_no_line(odd))


def _parcels(frames: Frames) -> list[dict[str, int]]:
    """Units by ExternalLineID of each shipment."""
    parcels: list[dict[str, int]] = [{} for _ in range(len(frames.header))]
    lines = frames.lines
    for row, line, units in zip(lines[ROW], lines["ExternalLineID"], lines["Quantity"].fillna(0), strict=True):
        parcels[row][str(line)] = parcels[row].get(str(line), 0) + int(units)
    return parcels


def _sent_lines(sent: Sequence[Mapping[int, int]], numbers: Sequence[str], context: ShipmentContext) -> pd.DataFrame:
    made: list[tuple[int, int, int, str, int]] = []
    for n, items in enumerate(sent):
        if items:
            names = {part.order_item: part.sku for part in context.orders[numbers[n]].sold.values()}
            made += [(n, place, item, names[item], units) for place, (item, units) in enumerate(sorted(items.items()))]
    frame = pd.DataFrame(made, columns=[ROW, LINE, "OrderItemID", "SoldSKU", "Quantity"])
    return frame.astype({ROW: "int64", LINE: "int64", "OrderItemID": "Int64", "SoldSKU": "str", "Quantity": "Int64"})


def _no_line(odd: Sequence[tuple[int, str]]) -> pd.DataFrame:
    return problems.make(
        [n for n, _ in odd],
        field="Lines.ExternalLineID",
        rule="line_not_on_channel",
        value=[line for _, line in odd],
        line=[line for _, line in odd],
        message='Line "{value}" of its sales order is no line of the channel\'s order, or part of an unknown kit.',
        do="Sync the order (`crossdock sync orders --key ORDER`) and replay this, or report the parcel on the channel "
        "by hand and dismiss it.",
    )
