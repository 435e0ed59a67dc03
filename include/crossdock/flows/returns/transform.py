"""Returns, the documents: Channel Advisor's returns as frames -> credit memos and stock adjustments as staged rows.

In: parsed returns, and their orders in `ref` and `stage`. Out: `Staged`; a header is a return, its lines are those of
its documents. Never: a call to a system; other documents for a return of which any was sent already.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import sqlalchemy as sa

from crossdock.flow import SOURCE, Staged
from crossdock.flows import documents, unreadable
from crossdock.mapping import language, problems
from crossdock.mapping.frames import CENT, ROW, Frames, scaled, sum_by_header, written
from crossdock.mapping.parse import Parsed
from crossdock.mapping.registry import KEY
from crossdock.rules import returns as rules
from crossdock.rules import settings as rule_settings
from crossdock.rules import tolerances
from crossdock.rules.money import round_cents
from crossdock.rules.returns import ReturnContext
from crossdock.store import database, sql
from crossdock.store.tables import (
    CREDIT_AMOUNTS,
    ref_company,
    ref_credit_memo,
    ref_invoice,
    ref_item,
    ref_period,
    ref_sales_order,
    ref_shipment,
    stage_credit_memo,
    stage_credit_memo_line,
    stage_sales_order,
    stage_sales_order_line,
)

CREDIT_MEMO, ADJUSTMENT = "credit_memo", "stock_adjustment"
_ALSO = ("state", "reason", "sales_order_id", "parents", "worked", "credit")  # columns of the rules
INSIDE = "PricesIncludeTax"
HEAD = ("CurrencyCode", "Reason", "CreditDate", "PostingDate", "Memo")
AMOUNTS = (*CREDIT_AMOUNTS, "Amount", "DiscountAmount", "TaxAmount", "RoundingAmount", "UnitCost")
NUMBERS = ("order_line", "InvoiceLineNo", "Quantity", "QuantityDelta")
TEXTS = (
    "entity", "document", "OrderItem", "InvoiceID", "TaxRemittedBy", "ShippingTaxRemittedBy", "ShipmentID", "SKU",
    "LocationID", "ReasonCode",
)  # fmt: skip

PARENTS = sql.statement(__package__, "parents")


def transform(connection: sa.Connection, parsed: Parsed, keys: Sequence[str], altered: Sequence[str | None]) -> Staged:
    """The staged returns of a batch. One that was sent stays as it is; if it has changed since, it is dead."""
    frames = documents.keyed(parsed, keys)
    kept = frames.header[KEY].tolist()
    posted = _posted(connection, kept)
    items = rules.items_of(frames.lines, len(kept))
    currency = frames.header["Currency"].tolist()
    hashes = [_content(items[row], currency[row]) for row in range(len(kept))]
    new = np.array([key not in posted for key in kept], dtype=bool)
    fresh = np.flatnonzero(new)
    returns = frames.keep(new)
    done = language.load("credit_memo").apply(returns, load_context(connection, returns.header), also=_ALSO)
    header, lines = _documents(done, fresh, hashes)
    old_head, old_lines, changes = _unaltered(np.flatnonzero(~new).tolist(), kept, posted, frames.header, hashes)
    worked = problems.concat([done.problems, done.errors.drop_duplicates()])
    found = problems.concat([worked.assign(**{ROW: fresh[worked[ROW].to_numpy()]}), changes])
    whole = pd.concat([header, old_head], ignore_index=True).sort_values("row", ignore_index=True).drop(columns="row")
    whole, found = unreadable.joined(whole, found, parsed, keys)
    return Staged(whole, pd.concat([lines, old_lines], ignore_index=True), found)


def load_context(connection: sa.Connection, header: pd.DataFrame) -> ReturnContext:
    """Reads what the rules need besides the returns `header`, of which nothing was sent yet."""
    worked = rules.states(header)[0].eq(rules.WORK)
    numbers = sorted(set(header.loc[worked, "ChannelAdvisorOrderID"].astype("str")))
    orders = Orders(connection, numbers, header.loc[worked, KEY].tolist())
    zone, periods = company(connection)
    tolerance = tolerances.load().refunds
    return ReturnContext(
        orders.open_orders, orders.ids, orders.parents, orders.skipped, tolerance, zone, periods, orders.held_back
    )


def enrich_for_checks(connection: sa.Connection, frames: Frames) -> Frames:
    """Adds the sums over all credit memos of each return, for the checks."""
    header, lines = frames.header.copy(), frames.lines
    of_memo = (lines["entity"] == CREDIT_MEMO).to_numpy()
    own = of_memo & lines["InvoiceLineNo"].isna().to_numpy()
    whole = Frames(header, lines)
    for name in CREDIT_AMOUNTS:
        header[name] = sum_by_header(whole, lines[name].where(own))
    header["ShippingTaxRemittedBy"] = "Seller"
    header["documents"] = np.bincount(lines[ROW].to_numpy()[own | ~of_memo], minlength=len(header))
    difference = (
        header["refund_total"].fillna(0) - header["Total"] - header["MarketplaceRemittedTax"]
        - header["uncredited"].fillna(0)
        - sum_by_header(whole, lines["RoundingAmount"].where(own))
    )  # fmt: skip
    # A return that transform has refused has no credit memos: no reason of its own.
    header["refund_difference"] = difference.where(header["problems"] == "[]", 0).astype("int64")
    header["total_difference_of_parts"] = header["Total"] - (
        header["SubTotal"] - header["DiscountTotal"] + header["ShippingAmount"] + header["GiftWrapAmount"]
        + sum_by_header(whole, lines["TaxTotal"].where(own & ~lines[INSIDE].fillna(False).to_numpy(dtype=bool)))
        - header["MarketplaceRemittedTax"]
    )  # fmt: skip
    body = lines[of_memo & ~own].reset_index(drop=True)
    body["discount_above_amount"] = (body["DiscountAmount"] - body["Amount"]).astype("int64")
    return Frames(header, body)


def _content(items: Sequence[Mapping[str, Any]], currency: Any) -> str:
    """Hashes the return's units and money. Its status, dates and notes change no posted document."""
    text = repr((str(currency), sorted(repr(sorted(item.items())) for item in items)))
    return hashlib.sha256(text.encode()).hexdigest()[:32]


# ---- documents -------------------------------------------------------------------------------------------------------


def _documents(done: language.Applied, fresh: np.ndarray, hashes: Sequence[str]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Makes (staged headers with `row`, staged lines) of returns of which nothing was sent yet; `fresh`: their rows
    among all."""
    records, target = done.records, done.target
    origin = np.arange(len(records)) if done.origin is None else done.origin
    at = np.full(len(records), -1, dtype=np.int64)
    at[origin[::-1]] = np.arange(len(origin))[::-1]  # the first credit memo of each return
    header = pd.DataFrame(
        {
            "row": fresh,
            "key": records[KEY],
            "state": records["state"],
            "reason": records["reason"],
            "content_hash": pd.Series([hashes[row] for row in fresh], dtype="str"),
            "status": records["Status"].astype("str"),
            "order_key": records["ChannelAdvisorOrderID"].astype("str"),
            "sales_order_id": records["sales_order_id"],
            "parents": records["parents"],
            "refund_total": records["RefundTotal"].astype("Int64"),
            "uncredited": pd.Series([one.uncredited * CENT for one in records["worked"]], dtype="Int64"),
            **{name: pd.Series(target.header[name].array.take(at, allow_fill=True)) for name in HEAD},
        }
    )
    memos = [
        (key, credit, worked)
        for key, credit, worked in zip(*(done.source.header[name] for name in (KEY, "credit", "worked")), strict=True)
    ]
    return header, _lines(memos, target)


def _lines(memos: Sequence[tuple[str, rules.Credit, rules.Worked]], target: Frames) -> pd.DataFrame:
    """Makes the staged lines: the amounts and lines of each credit memo, then the stock adjustments of the return."""
    rows: list[dict[str, Any]] = []
    heads, bodies = target.header.to_dict("records"), defaultdict(list)
    for line in target.lines.to_dict("records"):
        bodies[line[ROW]].append(line)
    position: Counter[str] = Counter()

    def add(key: str, **values: Any) -> None:
        rows.append({"key": key, "position": position[key], **values})
        position[key] += 1

    for number, (key, credit, _) in enumerate(memos):
        if not credit.invoice:  # a stock adjustment without a credit memo
            continue
        memo = heads[number]
        shared = {"entity": CREDIT_MEMO, "document": memo["ExternalReference"], "InvoiceID": memo["InvoiceID"]}
        own = {name: memo[name] for name in (*CREDIT_AMOUNTS, "ShippingTaxRemittedBy", INSIDE)}
        add(key, **shared, **own, RoundingAmount=credit.rounding * CENT)
        for line, made in zip(bodies[number], credit.lines.values(), strict=True):
            add(key, **shared, OrderItem=made.order_item, order_line=made.order_line,
                **{name: line[name] for name in _LINE})  # fmt: skip
    for key, worked in {key: worked for key, _, worked in memos}.items():
        for move in worked.movements:
            add(
                key, entity=ADJUSTMENT, document=f"ret:{key}:{move.reference}", ShipmentID=move.shipment,
                OrderItem=move.reference.partition(":")[0], order_line=move.order_line, SKU=move.sku,
                LocationID=move.location, QuantityDelta=move.quantity, ReasonCode=move.reason, UnitCost=move.unit_cost,
            )  # fmt: skip
    return _typed(pd.DataFrame(rows, columns=["key", "position", *TEXTS, *NUMBERS, *AMOUNTS, INSIDE]))


_LINE = ("InvoiceLineNo", "Quantity", "Amount", "DiscountAmount", "TaxAmount", "TaxRemittedBy")


def _typed(lines: pd.DataFrame) -> pd.DataFrame:
    types = {"key": "str", "position": "int64"} | dict.fromkeys(TEXTS, "str")
    return lines.astype(types | dict.fromkeys((*NUMBERS, *AMOUNTS), "Int64") | {INSIDE: "boolean"})


# ---- posted returns --------------------------------------------------------------------------------------------------


@dataclass
class _Posted:
    """Staged returns of which something was sent: headers by key, and their lines."""

    header: dict[str, dict[str, Any]]
    lines: pd.DataFrame

    def __contains__(self, key: str) -> bool:
        return key in self.header


_SENT = sql.statement(__package__, "sent")


def _posted(connection: sa.Connection, keys: Sequence[str]) -> _Posted:
    sent = list(connection.scalars(_SENT, {"keys": list(keys)}))
    table, lines = stage_credit_memo, stage_credit_memo_line
    names = ("key", "content_hash", "order_key", "sales_order_id", "refund_total", "uncredited", *HEAD)
    header = database.copy_out(connection, sa.select(*(table.c[n] for n in names)).where(table.c.key.in_(sent)))
    body = database.copy_out(connection, sa.select(lines).where(lines.c.key.in_(sent)))
    return _Posted({row["key"]: row for row in header.to_dict("records")}, _typed(body))


def _unaltered(
    sent: Sequence[int], keys: Sequence[str], posted: _Posted, returns: pd.DataFrame, hashes: Sequence[str]
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Stages posted returns as before, with their new status; a problem where the return has changed since."""
    status, total = returns["Status"].tolist(), returns["RefundTotal"].tolist()
    rows, found = [], []
    for row in sent:
        was = posted.header[keys[row]]
        rows.append({"row": row, **was, "state": "staged", "status": status[row]})
        if hashes[row] != was["content_hash"]:
            before, now = (written(int(amount)) for amount in (was["refund_total"], total[row]))
            message = f"The return has changed after it was posted: it gives back {now}, posted is {before}."
            found.append((row, rules.Finding("RefundTotal", "changed_after_posting", "", now, message)))
        elif status[row] == "Rejected":
            message = "The return has been rejected after it was posted."
            found.append((row, rules.Finding("Status", "rejected_after_posting", "", "Rejected", message)))
    names = ["row", "key", "state", "reason", "content_hash", "status", "order_key", "sales_order_id", "parents",
             "refund_total", "uncredited", *HEAD]  # fmt: skip
    header = pd.DataFrame(rows, columns=names)
    texts = [name for name in names if name not in ("row", "refund_total", "uncredited")]
    types = {"row": "int64", "refund_total": "Int64", "uncredited": "Int64"} | dict.fromkeys(texts, "str")
    return header.astype(types), posted.lines, problems.concat(rules.findings(row, [finding]) for row, finding in found)


# ---- orders ----------------------------------------------------------------------------------------------------------


def company(connection: sa.Connection) -> tuple[str, pd.DataFrame]:
    """Reads (time zone, posting periods) of the company."""
    zone = connection.scalar(sa.select(ref_company.c.time_zone)) or "UTC"
    periods = database.copy_out(connection, sa.select(ref_period.c.id, ref_period.c.start_date, ref_period.c.status))
    return zone, periods


_ON_THEIR_WAY = sql.statement(__package__, "on_their_way")


class Orders:
    """Orders by ChannelAdvisorOrderID (`open_orders`), reduced by what other returns have taken of them."""

    def __init__(self, connection: sa.Connection, keys: Sequence[str], own: Sequence[str]) -> None:
        """`own`: the returns that are worked now. Their documents in TIMS, from before a loss of this database, do not
        count."""
        self._connection, self._keys = connection, list(keys)
        self._own = set(own)
        self._site = {site.channel: site for site in rule_settings.load().sites.values() if site.channel}
        self._default = rule_settings.load().default
        staged, line, order = stage_sales_order.c, stage_sales_order_line.c, ref_sales_order.c
        states = sa.select(staged.key, staged.state).where(staged.key.in_(self._keys))
        state = dict(connection.execute(states).all())
        self.skipped = {key for key, one in state.items() if one == "left_out"}
        self.held_back = {key for key, one in state.items() if one == "would_be"}
        self.parents = {row.order_key: row.parents for row in self._rows(PARENTS)}
        units = sa.select(line.key.label("order_key"), line["ExternalLineID"], line.units_per_kit)
        units = units.where(line.key.in_(self._keys))
        self._units = {(row.order_key, row.ExternalLineID): row.units_per_kit for row in connection.execute(units)}
        self._shipments = self._of(ref_shipment)
        self._invoices = self._of(ref_invoice)
        self._memos = self._of(ref_credit_memo)
        self._way = defaultdict(list)
        for row in self._rows(_ON_THEIR_WAY, own=list(own)):
            self._way[row.order_key].append(row)
        self._kinds = self._stocked()
        orders = connection.execute(self._of_orders(order.id, order.payload)).all()
        self.ids = {row.order_key: row.id for row in orders}
        self.open_orders = {row.order_key: self._order(row.order_key, row.payload) for row in orders}

    def _rows(self, statement: sa.TextClause, **more: Any) -> list[sa.Row]:
        return list(self._connection.execute(statement, {"keys": self._keys, **more}))

    def _of_orders(self, *what: sa.ColumnElement[Any]) -> sa.Select:
        """Selects `what` of the orders, with their keys."""
        order = ref_sales_order.c
        of_channel = sa.and_(order.source == "ChannelAdvisor", order.external_order_id.in_(self._keys))
        return (
            sa.select(order.external_order_id.label("order_key"), *what)
            .select_from(ref_sales_order)
            .where(of_channel)
            .order_by(order.id)
        )

    def _of(self, table: sa.Table) -> dict[str, list[dict[str, Any]]]:
        documents_of = self._of_orders(table.c.payload).join(table, table.c.sales_order_id == ref_sales_order.c.id)
        rows = self._connection.execute(documents_of)
        found: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for row in rows:
            found[row.order_key].append(row.payload)
        return found

    def _stocked(self) -> dict[str, str]:
        skus = {line["SKU"] for each in self._shipments.values() for one in each for line in one["Lines"]}
        rows = self._connection.execute(sa.select(ref_item.c.sku, ref_item.c.type).where(ref_item.c.sku.in_(skus)))
        return {row.sku: row.type for row in rows}

    def _order(self, key: str, payload: Mapping[str, Any]) -> rules.Order:
        shipments = sorted(self._shipments[key], key=lambda one: (one["ShippedAt"], one["ShipmentID"]))
        invoices = sorted(
            (one for one in self._invoices[key] if one["Status"] != "Voided"),
            key=lambda one: (one["PostingDate"], one["CreatedAt"], one["InvoiceID"]),
        )
        shipped, invoiced = Counter[int](), Counter[int]()
        for each, counter in ((shipments, shipped), (invoices, invoiced)):
            for document in each:
                for line in document["Lines"]:
                    counter[line["SalesOrderLineNo"]] += line["Quantity"]
        lines = []
        for line in payload["LineItems"]:
            sold = line["Quantity"] - line["QuantityCancelled"]
            number, external = line["LineNo"], line["ExternalLineID"]
            lines.append(
                rules.OrderLine(
                    number, external, line["SKU"], self._units.get((key, external), 1),
                    max(sold - invoiced[number], 0), max(sold - shipped[number], 0),
                    self._kinds.get(line["SKU"], "Inventory") == "Inventory", sold,
                )
            )  # fmt: skip
        order = rules.Order(lines, [_invoice(one) for one in invoices], self._parcels(shipments, payload["Channel"]))
        self._take_off(key, order, {one["InvoiceID"]: one["ShipmentID"] for one in invoices})
        return order

    def _parcels(self, shipments: Sequence[Mapping[str, Any]], channel: str) -> list[rules.Parcel]:
        site = self._site.get(channel, self._default)
        parcels = []
        for one in shipments:
            held = one["LocationID"] == site.marketplace_location  # goods shipped by the marketplace come back to it
            location = one["LocationID"] if held else site.returns_location
            parcels += [
                rules.Parcel(
                    one["ShipmentID"], line["SalesOrderLineNo"], line["Quantity"], scaled(line["UnitCost"]), location
                )
                for line in one["Lines"]
            ]
        return parcels

    def _take_off(self, key: str, order: rules.Order, shipment_of: Mapping[str, str | None]) -> None:
        """Reduces an order by what other credit memos and returns have taken already."""
        invoices = {invoice.id: invoice for invoice in order.invoices}
        seen = set()
        for memo in self._memos[key]:
            reference = memo["ExternalReference"]
            if memo["Source"] == SOURCE and reference.split(":")[1:2] and reference.split(":")[1] in self._own:
                continue
            seen.add(reference)
            if memo["InvoiceID"] in invoices:
                _credit_off(invoices[memo["InvoiceID"]], memo)
            if memo["Restock"]:  # a person has entered it in TIMS
                _restock_off(order, shipment_of.get(memo["InvoiceID"]), memo, invoices.get(memo["InvoiceID"]))
        for row in self._way[key]:
            if row.entity == CREDIT_MEMO and row.document not in seen and row.InvoiceID in invoices:
                _staged_off(invoices[row.InvoiceID], row)
            elif row.entity == ADJUSTMENT and row.QuantityDelta > 0:
                _units_off(order, row.ShipmentID, row.order_line, row.QuantityDelta)


def _cents(text: str | Decimal | None) -> int:
    return 0 if text is None else scaled(str(text)) // CENT


def _invoice(document: Mapping[str, Any]) -> rules.Invoice:
    lines = [
        rules.InvoiceLine(
            line["LineNo"], line["SalesOrderLineNo"], line["Quantity"],
            int(round_cents(np.array([line["Quantity"] * scaled(line["UnitPrice"])]))[0]),
            _cents(line["DiscountAmount"]), _cents(line["TaxAmount"]), line["TaxRemittedBy"],
        )
        for line in document["Lines"]
    ]  # fmt: skip
    return rules.Invoice(
        document["InvoiceID"], lines, _cents(document["ShippingAmount"]), _cents(document["ShippingDiscountAmount"]),
        _cents(document["ShippingTaxAmount"]), _cents(document["GiftWrapAmount"]), document["ShippingTaxRemittedBy"],
        document["CurrencyCode"], bool(document.get("PricesIncludeTax")),
    )  # fmt: skip


def _credit_off(invoice: rules.Invoice, memo: Mapping[str, Any]) -> None:
    invoice.shipping -= _cents(memo["ShippingAmount"])
    invoice.shipping_discount -= _cents(memo["ShippingDiscountAmount"])
    invoice.shipping_tax -= _cents(memo["ShippingTaxAmount"])
    invoice.gift_wrap -= _cents(memo["GiftWrapAmount"])
    lines = {line.number: line for line in invoice.lines}
    for stated in memo["Lines"]:
        _line_off(lines[stated["InvoiceLineNo"]], stated["Quantity"], *(_cents(stated[n]) for n in _MONEY))


_MONEY = ("Amount", "DiscountAmount", "TaxAmount")


def _staged_off(invoice: rules.Invoice, row: sa.Row) -> None:
    if row.InvoiceLineNo is None:
        invoice.shipping -= _cents(row.ShippingAmount)
        invoice.shipping_discount -= _cents(row.ShippingDiscountAmount)
        invoice.shipping_tax -= _cents(row.ShippingTaxAmount)
        invoice.gift_wrap -= _cents(row.GiftWrapAmount)
        return
    for line in invoice.lines:
        if line.number == row.InvoiceLineNo:
            _line_off(line, row.Quantity, *(_cents(getattr(row, name)) for name in _MONEY))


def _line_off(line: rules.InvoiceLine, quantity: int, amount: int, discount: int, tax: int) -> None:
    line.quantity, line.amount = line.quantity - quantity, line.amount - amount
    line.discount, line.tax = line.discount - discount, line.tax - tax


def _restock_off(
    order: rules.Order, shipment: str | None, memo: Mapping[str, Any], invoice: rules.Invoice | None
) -> None:
    of_order = {line.number: line.order_line for line in invoice.lines} if invoice else {}
    for stated in memo["Lines"]:
        if stated["InvoiceLineNo"] in of_order:
            _units_off(order, shipment, of_order[stated["InvoiceLineNo"]], stated["Quantity"])


def _units_off(order: rules.Order, shipment: str | None, order_line: int, units: int) -> None:
    """Takes off units that are back already: of their shipment where it is known, else of the oldest."""
    for parcel in order.parcels:
        if parcel.order_line == order_line and shipment in (parcel.shipment, None):
            taken = min(units, parcel.quantity)
            parcel.quantity -= taken
            units -= taken
