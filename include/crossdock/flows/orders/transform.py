"""Orders, the documents: Channel Advisor's orders as frames -> TIMS's sales orders and customers as staged rows.

In: parsed orders, and what `ref` and `ops.link` know. Out: `Staged`. Never: a call to a system.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from crossdock.errors import ConfigError
from crossdock.flow import Staged
from crossdock.flows import unreadable
from crossdock.flows.documents import among
from crossdock.mapping import language, problems
from crossdock.mapping.frames import LINE, ROW, Frames, sum_by_header
from crossdock.mapping.parse import Parsed
from crossdock.reference.lookups import Lookups
from crossdock.rules import orders as rules
from crossdock.rules import settings as rule_settings
from crossdock.rules.customers import is_house, sites_of
from crossdock.rules.order_changes import CHANNEL, CROSSDOCK
from crossdock.rules.order_context import OrderContext
from crossdock.rules.settings import Settings
from crossdock.rules.shipping import fulfillment_id
from crossdock.rules.statuses import read_statuses
from crossdock.rules.times import sortable
from crossdock.rules.vectorize import column, map_text
from crossdock.store import database, registry
from crossdock.store.tables import (
    ADDRESS,
    ops_link,
    ref_customer,
    ref_item,
    ref_sales_order,
    stage_buyer,
    stage_customer,
    stage_sales_order,
    stage_sales_order_line,
)
from crossdock.systems import times

SOURCE = "ChannelAdvisor"  # Source of sales orders, and of shipments made by the channel
STATES = {"load": "staged", "wait": "waiting", "leave_out": "left_out"}
HEAD_COLUMNS = registry.fields(stage_sales_order)
# Columns of the rules that are staged besides the target's, or that decide how to stage.
_ALSO = (
    "verdict", "verdict_reason", "linked", "personal_data", "cancel_all", "marketplace_fulfilled", "mixed", "location",
    "own_location", "customer_action", "customer_key", "customer_match", "rounding_difference", "OrderedAt",
    "addressed",
)  # fmt: skip
LINE_COLUMNS = registry.fields(stage_sales_order_line)
# Replaces, in the checks, an address that the channel has erased, so that no check fails. It is not sent.
KEPT = {"Name": "kept as it is in TIMS", "Line1": "kept as it is in TIMS", "City": "kept", "CountryCode": "US"}
NEVER_REPEAT = timedelta(days=3650)  # a site that no configuration names raises one notice


def transform(connection: sa.Connection, parsed: Parsed, keys: Sequence[str], altered: Sequence[str | None]) -> Staged:
    """The staged orders of a batch. Also stages new customers, and the buyer data of the orders."""
    kept = pd.Series([keys[position] for position in parsed.kept], dtype="str")
    context = load_context(connection, kept)
    done = language.load("sales_order").apply(parsed.frames, context, also=_ALSO)
    enriched, made, target = done.source.header, done.source.made, done.target
    if made is None:
        raise ConfigError(
            "sales_order.yaml: no rule makes the lines of the sales order.", do="Name explode_kits in its `children`."
        )
    loads = enriched["verdict"].eq("load").to_numpy(dtype=bool)
    refused = done.problems[loads[done.problems[ROW].to_numpy()]]
    # Fields that are missing because personal data were erased are no reason of their own: before the first load one
    # reason covers them all, afterwards TIMS keeps its own values.
    judged = loads & enriched["personal_data"].to_numpy(dtype=bool)
    found = problems.concat([refused, done.errors[judged[done.errors[ROW].to_numpy()]]])
    # An item blocked after TIMS took the order does not stop later changes; TIMS checks new lines by itself.
    late = found["rule"].eq("item_blocked") & enriched["linked"].to_numpy(dtype=bool)[found[ROW].to_numpy()]
    found = found[~late].reset_index(drop=True)

    shipped = sum_by_header(Frames(enriched, made), made["QuantityShipped"])
    header = _header(kept, enriched, target.header, shipped)
    header["warnings"] = _warnings(done.warnings, len(header), [altered[position] for position in parsed.kept])
    lines = _lines(kept, made, target.lines, loads)
    header["content_hash"] = _content(header, lines)
    _stage_customers(connection, rules.newcomers(enriched, refused))
    _stage_buyers(connection, enriched, context.settings)
    header, found = unreadable.joined(
        header, found, parsed, keys, warnings="[]", cancelled=False, record_shipments=False
    )
    return Staged(header, lines.drop(columns=ROW), found, _alerts(done.warnings, kept, parsed.unknown))


def load_context(connection: sa.Connection, keys: pd.Series) -> OrderContext:
    """Reads what the rules need besides the orders."""
    settings = rule_settings.load()
    linked = _linked(connection, keys)
    return OrderContext(
        Lookups(connection, settings.shared_above),
        settings,
        *read_statuses(),
        linked,
        _inclusive(connection, linked),
    )


def enrich_for_checks(connection: sa.Connection, frames: Frames) -> Frames:
    """Adds what the suite checks besides: the status of each line's item and of the customer.

    For an order that TIMS has already, its customer, items that were blocked since, and an address that the channel
    has erased are not checked again.
    """
    header, lines = frames.header.copy(), frames.lines.copy()
    linked = header["key"].isin([str(key) for key in _linked(connection, header["key"])])
    customers = dict(
        connection.execute(
            sa.select(ref_customer.c.customer_id, ref_customer.c.status).where(
                among(ref_customer.c.customer_id, header["CustomerID"].dropna().unique().tolist())
            )
        ).all()
    )
    status = (
        header["CustomerID"].map(customers).mask(header["CustomerID"].isna() & header["customer_key"].notna(), "new")
    )
    header["customer_status"] = status.mask(linked, "Active").astype("str")
    items = dict(
        connection.execute(
            sa.select(ref_item.c.sku, ref_item.c.status).where(
                among(ref_item.c.sku, lines["SKU"].dropna().unique().tolist())
            )
        ).all()
    )
    item_status = map_text(lines["SKU"], items.get)
    kept = linked.to_numpy()[lines[ROW].to_numpy()] & item_status.eq("Blocked").to_numpy(dtype=bool)
    lines["item_status"] = item_status.mask(kept, "Active").astype("str")
    for prefix in ("ShippingAddress", "BillingAddress"):
        erased = linked & (header[f"{prefix}.Name"].isna() | header[f"{prefix}.Line1"].isna())
        for part in ADDRESS if erased.any() else ():
            column = f"{prefix}.{part}"
            header[column] = header[column].mask(erased, KEPT.get(part))
    return Frames(header, lines)


def _linked(connection: sa.Connection, keys: pd.Series) -> set[int]:
    """Finds the ChannelAdvisorOrderIDs of the batch that have a sales order."""
    found = connection.scalars(
        sa.select(ops_link.c.source_key).where(
            ops_link.c.entity == "sales_order",
            ops_link.c.source_key == sa.any_(sa.bindparam("keys", keys.tolist(), type_=sa.ARRAY(sa.Text))),
        )
    )
    return {int(key) for key in found}


def _inclusive(connection: sa.Connection, keys: Collection[int]) -> dict[int, bool]:
    """Reads PricesIncludeTax of sales orders by ChannelAdvisorOrderID: as TIMS has it, or as sent if not read yet."""
    staged, held = stage_sales_order.c, ref_sales_order.c
    in_tims = sa.cast(held.payload["PricesIncludeTax"].astext, sa.Boolean)
    rows = connection.execute(
        sa.select(staged.key, sa.func.coalesce(in_tims, staged["PricesIncludeTax"]).label("inclusive"))
        .outerjoin(ref_sales_order, sa.and_(held.external_order_id == staged.key, held.source == staged["Source"]))
        .where(staged.key.in_([str(key) for key in keys]))
    )
    return {int(row.key): row.inclusive for row in rows if row.inclusive is not None}


def _header(keys: pd.Series, enriched: pd.DataFrame, target: pd.DataFrame, shipped: np.ndarray) -> pd.DataFrame:
    """Makes the staged headers: the target columns, and those that load needs besides."""
    create = enriched["customer_action"] == "create"
    columns: dict[str, Any] = {
        "key": keys,
        "state": enriched["verdict"].map(STATES).astype("str"),
        "reason": enriched["verdict_reason"].replace("", np.nan).astype("str"),
        "customer_key": enriched["customer_key"].where(create).astype("str"),
        **{name: target[name] for name in HEAD_COLUMNS},
        "cancelled": enriched["cancel_all"].astype(bool),
        "record_shipments": _record_shipments(enriched, shipped),
        "rounding_difference": enriched["rounding_difference"],
        "location_id": enriched["location"],
        "held_by": _held_by(enriched["OrderStatus"], target["OrderStatus"]),
        "own_location_id": enriched["own_location"],
        "marketplace_order_id": enriched["OrderID"],
    }
    return pd.DataFrame(columns)


def _held_by(at_channel: pd.Series, in_tims: pd.Series) -> np.ndarray:
    """Who wants an order on hold: the channel, or a rule of ours."""
    by = np.where(at_channel.eq("OnHold"), CHANNEL, CROSSDOCK).astype(object)
    by[~in_tims.eq("OnHold").to_numpy(dtype=bool, na_value=False)] = np.nan
    return by


def _record_shipments(enriched: pd.DataFrame, shipped: np.ndarray) -> np.ndarray:
    """Whether an order's shipments are to be recorded in TIMS: those of the marketplace, or made before the order's
    first read. Later shipments of an order that TIMS ships come from TIMS and are not recorded back."""
    fulfilled = enriched[["marketplace_fulfilled", "mixed"]].to_numpy(dtype=bool).any(axis=1)
    return (shipped > 0) & (fulfilled | ~enriched["linked"].to_numpy(dtype=bool))


def _lines(keys: pd.Series, enriched: pd.DataFrame, target: pd.DataFrame, loads: np.ndarray) -> pd.DataFrame:
    """Makes the target lines of the orders to be loaded, in the columns of the stage table, and `_row`."""
    lines = pd.DataFrame(
        {
            ROW: enriched[ROW].to_numpy(),
            "key": keys.array.take(enriched[ROW].to_numpy()),
            "position": enriched[LINE].to_numpy(),
            **{name: target[name].array for name in LINE_COLUMNS},
            "OrderItemID": enriched["OrderItemID"].astype("str").array,
            "quantity_cancelled": enriched["QuantityCancelled"].to_numpy(),
            "quantity_shipped": enriched["QuantityShipped"].to_numpy(),
            "units_per_kit": enriched["UnitsPerKit"].to_numpy(),
        }
    )
    return lines[loads[lines[ROW].to_numpy()]].reset_index(drop=True)


def _content(header: pd.DataFrame, lines: pd.DataFrame) -> pd.Series:
    """Hashes the order's target state: an equal hash needs no call. The customer does not count, for it is not changed.
    Shipped units count only where the channel's shipments are recorded in TIMS; others come from TIMS."""
    compared = [name for name in (*HEAD_COLUMNS, "cancelled", "record_shipments") if name != "CustomerID"]
    heads = _hashed(header[compared])
    recorded = header["record_shipments"].to_numpy(dtype=bool)[lines[ROW].to_numpy()]
    each = _hashed(
        lines[[*LINE_COLUMNS, "quantity_cancelled"]].assign(shipped=lines["quantity_shipped"].where(recorded, 0))
    )
    whole = np.zeros(len(header), dtype="uint64")
    np.add.at(whole, lines[ROW].to_numpy(), each)  # the order of lines means nothing to TIMS
    return pd.Series([f"{a:016x}{b:016x}" for a, b in zip(heads.tolist(), whole.tolist(), strict=True)], dtype="str")


def _hashed(frame: pd.DataFrame) -> np.ndarray:
    if frame.empty:
        return np.zeros(0, dtype="uint64")
    return pd.util.hash_pandas_object(frame, index=False).to_numpy()


def _warnings(warnings: pd.DataFrame, count: int, altered: Sequence[str | None]) -> pd.Series:
    """What was corrected or left out, per order, as JSON."""
    texts = np.full(count, "[]", dtype=object)
    # Field and rule, without the value: it may be personal data and stays in raw.
    for row, found in problems.by_row(warnings, ("field", "rule", "line", "says")).items():
        texts[row] = database.to_json(found)
    for row, what in enumerate(altered):
        if what:
            before = database.from_json(texts[row])
            note = {"field": "", "rule": "control_characters", "line": "", "says": f"Removed before storing: {what}."}
            texts[row] = database.to_json([*before, note])
    return pd.Series(texts, dtype="str")


def _stage_customers(connection: sa.Connection, customers: pd.DataFrame) -> None:
    """Stages the customers to be created. One that exists by now keeps its CustomerID."""
    if customers.empty:
        return
    made, _ = language.load("customer").turn(Frames(customers, customers.iloc[:0].assign(**{LINE: 0})))
    paths = list(made.header.columns)
    columns = [made.header[path].to_numpy(dtype=object, na_value=None).tolist() for path in paths]
    rows = [
        {
            "key": key,
            "batch_id": 0,  # several batches may need it; `load` of the first creates it
            "version": datetime.fromisoformat("2000-01-01T00:00:00+00:00"),
            "state": "ready",
            "document": _nested(dict(zip(paths, values, strict=True))),
        }
        for key, values in zip(customers["customer_key"].tolist(), zip(*columns, strict=True), strict=True)
    ]
    statement = database.insert_all(stage_customer, rows)
    connection.execute(
        statement.on_conflict_do_update(
            index_elements=[stage_customer.c.key],
            set_={"document": statement.excluded.document},
            where=stage_customer.c.customer_id.is_(None),
        )
    )


def _stage_buyers(connection: sa.Connection, enriched: pd.DataFrame, settings: Settings) -> None:
    """Stages the buyer data of orders that TIMS does not have yet, in the form of a new customer. Of an order that TIMS
    has, the data staged before its first load stay, for the order's date is the same. Data of ambiguous buyers are
    staged, too: they show which contacts many buyers share."""
    action = enriched["customer_action"]
    wanted = action.isin(["create", "ask"]) | (action.eq("use") & ~enriched["CustomerID"].isin(settings.guest_accounts))
    wanted &= enriched["verdict"].eq("load") & enriched["OrderedAt"].notna() & ~is_house(enriched)
    header = enriched[wanted.to_numpy(dtype=bool)].reset_index(drop=True)
    if header.empty:
        return
    made = language.load("customer").turn(Frames(header, header.iloc[:0].assign(**{ROW: 0, LINE: 0})))[0].header
    create = header["customer_action"] == "create"
    buyers = pd.DataFrame(
        {
            "key": header["ChannelAdvisorOrderID"].astype("str"),
            "version": sortable(column(header, "UpdatedDate")).fillna(""),
            "customer_id": header["CustomerID"].mask(create),
            "customer_key": header["customer_key"].where(create),
            "site": sites_of(header),
            "OrderDate": header["OrderedAt"],
            "Email": made["Email"],
            "Phone": made["Phone"],
            **{f"BillingAddress.{part}": made[f"BillingAddress.{part}"] for part in ADDRESS},
            # Placeholder texts are no address of the buyer.
            **{
                f"ShippingAddress.{part}": made[f"ShippingAddresses[0].{part}"].where(header["addressed"])
                for part in ADDRESS
            },
        }
    )
    connection.exec_driver_sql("CREATE TEMP TABLE incoming_buyer (LIKE stage.buyer INCLUDING DEFAULTS) ON COMMIT DROP")
    database.copy_in(connection, stage_buyer, buyers, into="incoming_buyer")
    columns = list(buyers.columns)
    incoming = sa.table("incoming_buyer", *(sa.column(name) for name in columns))
    written = insert(stage_buyer).from_select(columns, sa.select(incoming), include_defaults=False)
    connection.execute(
        written.on_conflict_do_update(
            index_elements=[stage_buyer.c.key],
            set_={name: written.excluded[name] for name in columns},
            where=sa.and_(stage_buyer.c.state == "staged", stage_buyer.c.version <= written.excluded.version),
        )
    )


def _nested(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Makes a document of {"ExternalIDs[0].ID": x, "BillingAddress.City": y}, without missing values."""
    document: dict[str, Any] = {}
    for path, value in flat.items():
        if value is None:
            continue
        *parents, last = path.split(".")
        place: Any = document
        for name in parents:
            if name.endswith("]"):
                name, number = name[:-1].split("[")
                entries = place.setdefault(name, [])
                while len(entries) <= int(number):
                    entries.append({})
                place = entries[int(number)]
            else:
                place = place.setdefault(name, {})
        place[last] = value
    return document


def _alerts(warnings: pd.DataFrame, keys: pd.Series, unknown: set[str]) -> list[dict]:
    """Makes the alerts of a batch."""
    sent = warnings[warnings["rule"].isin(rules.ALERTS)]
    alerts = [
        {
            "kind": rule,
            "key": value if rule in rules.ALERTED_ONCE else f"order {key}",
            "title": f"Order {key}: {rule.replace('_', ' ')}",
            "body": f"{message} {do}",
            "severity": "notice",
            "window": NEVER_REPEAT if rule in rules.ALERTED_ONCE else timedelta(hours=4),
        }
        for key, rule, value, message, do in zip(
            keys.array.take(sent[ROW]), sent["rule"], sent["value"], sent["says"], sent["do"], strict=True
        )
    ]
    if unknown:
        names = ", ".join(sorted(unknown)[:10])
        alerts.append(
            {
                "kind": "schema_drift",
                "key": names,
                "title": "Channel Advisor sends fields that its contract does not name",
                "body": f"{names}. They are ignored; look whether one of them matters.",
                "severity": "notice",
                "window": NEVER_REPEAT,
            }
        )
    return alerts


# ---- shipments that the channel has made ---------------------------------------------------------------------------


def shipment(document: Mapping[str, Any], units_per_kit: Mapping[str, int]) -> dict[str, Any]:
    """Makes TIMS's ShipmentCreate of a Channel Advisor shipment, with `units` by ExternalLineID in place of Lines, and
    `number`, the seller's own key of it.

    A kit's units become units of its parts: `units_per_kit` has one entry per line of the sales order.
    """
    parts = {
        "ExternalReference": str(document["ShipmentID"]),
        "ShippedAt": times.write(times.read(document["ShippedDate"])),
        "Carrier": document.get("Carrier"),
        "ServiceLevel": document.get("ServiceClass"),
        "TrackingNumber": document.get("TrackingNumber"),
    }
    units: dict[str, int] = {}
    for item in document["Items"]:
        for line, per_kit in units_per_kit.items():
            if line.partition(":")[0] == str(item["OrderItemID"]):
                units[line] = units.get(line, 0) + int(item["Quantity"]) * per_kit
    given = {name: value for name, value in parts.items() if value is not None}
    return {**given, "units": units, "number": document.get("SellerFulfillmentID")}


def unknown(shipments: Sequence[dict[str, Any]], there: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Finds the channel's shipments (made by `shipment`) that TIMS does not have, ready to be recorded but for their
    lines.

    TIMS has a shipment if it was recorded before under the channel's ShipmentID, or if TIMS has sent it: with the
    number under which we report it, or else the same moment, tracking number and units. Each shipment of TIMS matches
    one of the channel's. Our own records of reports do not count: they may be lost, or older than both systems.
    """
    own = {one["ExternalReference"] for one in there if one["Source"] == SOURCE}
    sent = [one for one in there if one["Source"] != SOURCE]
    new = [one for one in shipments if one["ExternalReference"] not in own]
    for same in (_same_number, _same_parcel):
        for shipment in list(new):
            found = next((one for one in sent if same(shipment, one)), None)
            if found is not None:
                new.remove(shipment)
                sent.remove(found)
    return [{name: value for name, value in one.items() if name != "number"} for one in new]


def _same_number(shipment: Mapping[str, Any], sent: Mapping[str, Any]) -> bool:
    return shipment.get("number") == fulfillment_id(sent["ShipmentID"])


def _same_parcel(shipment: Mapping[str, Any], sent: Mapping[str, Any]) -> bool:
    return (
        times.read(shipment["ShippedAt"]) == times.read(sent["ShippedAt"])
        and (shipment.get("TrackingNumber") or "") == (sent["TrackingNumber"] or "")
        and {line: units for line, units in shipment["units"].items() if units} == units_of([sent])
    )


def units_of(shipments: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """Sums the units of TIMS's shipments by ExternalLineID."""
    units: dict[str, int] = {}
    for one in shipments:
        for line in one["Lines"]:
            units[line["ExternalLineID"]] = units.get(line["ExternalLineID"], 0) + line["Quantity"]
    return units


def shipment_without_record(key: str, moment: datetime, units: Mapping[str, int]) -> dict[str, Any]:
    """Makes the shipment of a shipped order of which the channel lists none: these units, at the time of the order's
    last change."""
    return {"ExternalReference": f"order-{key}", "ShippedAt": times.write(moment), "units": dict(units)}


def shipment_lines(
    units: Mapping[str, int], lines: Sequence[Mapping[str, Any]], open_units: dict[int, int]
) -> list[dict[str, int]]:
    """Makes the lines of a ShipmentCreate, at most a line's open units, and reduces `open_units` (by LineNo)."""
    taken: list[dict[str, int]] = []
    for line in lines:
        quantity = min(units.get(line["ExternalLineID"], 0), open_units[line["LineNo"]])
        if quantity > 0:
            open_units[line["LineNo"]] -= quantity
            taken.append({"SalesOrderLineNo": line["LineNo"], "Quantity": quantity})
    return taken
