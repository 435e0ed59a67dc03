"""Returns, the documents: Channel Advisor's returns as frames -> credit memos and stock adjustments as staged rows.

In: parsed returns, and what `ref` and `stage` know of their orders. Out: `Staged`; a head is a return, its lines are
those of its documents. Never: a call to a system; other documents for a return of which anything was sent already.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import sqlalchemy as sa

from crossdock.flow import SOURCE, Staged
from crossdock.flows import unreadable
from crossdock.mapping import language, problems
from crossdock.mapping.frames import CENT, LINE, ROW, Frames, scaled, sum_by_header, written
from crossdock.mapping.parse import Parsed
from crossdock.rules import returns as rules
from crossdock.rules import settings as rule_settings
from crossdock.rules import tolerances
from crossdock.rules.money import round_cents
from crossdock.store import database
from crossdock.store.tables import (
    CREDIT_AMOUNTS,
    ref_company,
    ref_period,
    stage_credit_memo,
    stage_credit_memo_line,
)

CREDIT_MEMO, ADJUSTMENT = "credit_memo", "stock_adjustment"
STATES = {rules.WORK: "staged", rules.WAIT: "waiting", rules.LEAVE_OUT: "left_out"}
WAITS = {
    "order": "its order is not in TIMS yet; it is worked when it arrives",
    "invoice": "what it gives back is not invoiced yet; it is worked when the invoice arrives",
    "shipment": "what comes back is not shipped in TIMS yet; it is worked when the shipment arrives",
}
INSIDE = "PricesIncludeTax"
HEAD = ("CurrencyCode", "Reason", "CreditDate", "PostingDate", "Memo")
AMOUNTS = (*CREDIT_AMOUNTS, "Amount", "DiscountAmount", "TaxAmount", "RoundingAmount", "UnitCost")
NUMBERS = ("order_line", "InvoiceLineNo", "Quantity", "QuantityDelta")
TEXTS = (
    "entity", "document", "OrderItem", "InvoiceID", "TaxRemittedBy", "ShippingTaxRemittedBy", "ShipmentID", "SKU",
    "LocationID", "ReasonCode",
)  # fmt: skip

# What a return waits for, as one text that changes with anything of it. :keys are ChannelAdvisorOrderIDs.
PARENTS = """
  SELECT o.external_order_id AS order_key,
         md5(string_agg(d.id || ' ' || extract(epoch FROM d.version), ',' ORDER BY d.id)) AS parents
  FROM ref.sales_order o CROSS JOIN LATERAL (
    SELECT o.id, o.version
    UNION ALL SELECT s.id, s.version FROM ref.shipment s WHERE s.sales_order_id = o.id
    UNION ALL SELECT i.id, i.version FROM ref.invoice i WHERE i.sales_order_id = o.id
  ) d
  WHERE o.source = 'ChannelAdvisor' AND o.external_order_id = ANY (:keys)
  GROUP BY o.external_order_id
"""


@dataclass
class _Return:
    """One return on its way through transform."""

    row: int
    key: str
    order_key: str
    state: str
    reason: str | None = None
    worked: rules.Worked = field(default_factory=rules.Worked)
    sales_order_id: str | None = None
    parents: str | None = None
    findings: list[rules.Finding] = field(default_factory=list)


def transform(connection: sa.Connection, parsed: Parsed, keys: Sequence[str], altered: Sequence[str | None]) -> Staged:
    """The staged returns of a batch. What was sent stays as it is; if the return is another one now, it is dead."""
    frames = parsed.frames
    kept = [keys[position] for position in parsed.kept]
    verdict, reason = rules.states(frames.header)
    zone, periods = company(connection)
    frames.header = pd.concat([frames.header, rules.dates(frames.header, zone, periods)], axis=1)
    posted = _posted(connection, kept)
    items = _items(frames.lines, len(kept))
    numbers = frames.header["ChannelAdvisorOrderID"].astype("str").tolist()
    each = [
        _Return(row, key, numbers[row], STATES[verdict.iloc[row]], reason.iloc[row] or None)
        for row, key in enumerate(kept)
    ]
    hashes = [_content(items[one.row], frames.header["Currency"].iloc[one.row]) for one in each]
    fresh = [one for one in each if one.key not in posted]
    _work(connection, fresh, frames.header, items)
    header, lines, mapping_errors = _documents(fresh, frames, items, hashes)
    old_head, old_lines, changes = _unaltered([one for one in each if one.key in posted], posted, frames.header, hashes)
    found = problems.concat([*(_findings(one.row, one.findings) for one in fresh), mapping_errors, changes])
    whole = pd.concat([header, old_head], ignore_index=True).sort_values("row", ignore_index=True).drop(columns="row")
    whole, found = unreadable.joined(whole, found, parsed, keys)
    return Staged(whole, pd.concat([lines, old_lines], ignore_index=True), found)


def enrich_for_checks(connection: sa.Connection, frames: Frames) -> Frames:
    """Staged returns with the amounts of all their credit memos together, as the suite looks at them."""
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
    # A return that transform has refused has no credit memos yet: that says nothing of its own.
    header["refund_difference"] = difference.where(header["problems"] == "[]", 0).astype("int64")
    header["total_difference_of_parts"] = header["Total"] - (
        header["SubTotal"] - header["DiscountTotal"] + header["ShippingAmount"] + header["GiftWrapAmount"]
        + sum_by_header(whole, lines["TaxTotal"].where(own & ~lines[INSIDE].fillna(False).to_numpy(dtype=bool)))
        - header["MarketplaceRemittedTax"]
    )  # fmt: skip
    body = lines[of_memo & ~own].reset_index(drop=True)
    body["discount_above_amount"] = (body["DiscountAmount"] - body["Amount"]).astype("int64")
    return Frames(header, body)


# ---- working ---------------------------------------------------------------------------------------------------------


def _work(
    connection: sa.Connection, fresh: Sequence[_Return], header: pd.DataFrame, items: Sequence[list[dict[str, Any]]]
) -> None:
    """Works returns one after the other, those of one order in the order of their numbers."""
    wanted = [one for one in fresh if one.state == "staged"]
    orders = Orders(connection, sorted({one.order_key for one in wanted}), [one.key for one in wanted])
    tolerance = tolerances.load().refunds
    statuses, currencies = header["Status"].tolist(), header["Currency"].tolist()
    totals = [None if pd.isna(total) else int(total) for total in header["RefundTotal"].tolist()]
    for one in sorted(wanted, key=lambda one: (one.order_key, len(one.key), one.key)):
        stated, one.findings = rules.read_items(items[one.row], totals[one.row])
        if statuses[one.row] not in rules.STATUSES:
            message = f'The return is "{statuses[one.row]}"; known are {", ".join(rules.STATUSES)}.'
            one.findings.append(rules.Finding("Status", "unknown_status", "", str(statuses[one.row]), message))
        one.findings += _undated(header["CreditDate"].iloc[one.row], header["PostingDate"].iloc[one.row])
        if one.order_key in orders.skipped:
            one.state, one.reason = "left_out", "its order is left out"
            one.findings = []
            continue
        order = orders.open_orders.get(one.order_key)
        one.sales_order_id = orders.ids.get(one.order_key)
        if one.findings:
            continue
        if order is None:
            one.worked.waits = "order"
        else:
            one.worked, orders.open_orders[one.order_key] = rules.work(
                order, stated, str(currencies[one.row]), tolerance
            )
        one.findings = one.worked.findings
        if one.worked.waits:
            one.state, one.reason = "waiting", WAITS[one.worked.waits]
            one.parents = orders.parents.get(one.order_key, "")


def _undated(day: Any, posted: Any) -> list[rules.Finding]:
    """Why a return has no day to be posted on, if it has none."""
    if pd.isna(day):
        return [rules.Finding("RefundDate", "unreadable_date", "", "", "The date of the refund is no moment.")]
    if pd.isna(posted):
        return [rules.Finding("PostingDate", "no_open_period", "", "", f"No period from {day} on is open in TIMS.")]
    return []


def _items(lines: pd.DataFrame, count: int) -> list[list[dict[str, Any]]]:
    """The items of each return, missing values as None."""
    names = ("OrderItemID", "Quantity", *rules.REFUNDS, "Restock", "Condition")
    items: list[list[dict[str, Any]]] = [[] for _ in range(count)]
    columns = [[None if pd.isna(value) else value for value in lines[name].tolist()] for name in names]
    for row, values in zip(lines[ROW].tolist(), zip(*columns, strict=True), strict=True):
        items[row].append(dict(zip(names, values, strict=True)))
    return items


def _content(items: Sequence[Mapping[str, Any]], currency: Any) -> str:
    """A hash of what the return says of units and money. Its status, dates and notes change nothing that was posted."""
    text = repr((str(currency), sorted(repr(sorted(item.items())) for item in items)))
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _findings(row: int, findings: Sequence[rules.Finding]) -> pd.DataFrame:
    return problems.concat(
        problems.make([row], field=f.field, rule=f.rule, value=f.value, message=f.message, do=rules.DO, line=f.line)
        for f in findings
    )


# ---- documents -------------------------------------------------------------------------------------------------------


def _documents(
    fresh: Sequence[_Return], frames: Frames, items: Sequence[list[dict[str, Any]]], hashes: Sequence[str]
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """(staged heads with `row`, staged lines, mapping errors) of returns of which nothing was sent yet."""
    memos = [(one, credit) for one in fresh if one.state == "staged" for credit in (one.worked.credits or [_NO_CREDIT])]
    target, mapping_errors = language.load("credit_memo").apply(_source(memos, frames.header))
    rows = np.array([one.row for one, _ in memos], dtype=np.int64)
    undated = {one.row for one in fresh if any(f.rule in ("no_open_period", "unreadable_date") for f in one.findings)}
    mapping_errors = mapping_errors.assign(**{ROW: rows[mapping_errors[ROW].to_numpy()]}).drop_duplicates()
    mapping_errors = mapping_errors[
        ~(mapping_errors["field"].isin(["CreditDate", "PostingDate"]) & mapping_errors[ROW].isin(undated))
    ]
    first = dict(zip(reversed(rows.tolist()), reversed(range(len(rows))), strict=True))
    at = np.array([first.get(one.row, -1) for one in fresh], dtype=np.int64)
    status, total = frames.header["Status"].tolist(), frames.header["RefundTotal"].tolist()
    header = pd.DataFrame(
        {
            "row": np.array([one.row for one in fresh], dtype=np.int64),
            "key": pd.Series([one.key for one in fresh], dtype="str"),
            "state": pd.Series([one.state for one in fresh], dtype="str"),
            "reason": pd.Series([one.reason for one in fresh], dtype="str"),
            "content_hash": pd.Series([hashes[one.row] for one in fresh], dtype="str"),
            "status": pd.Series([status[one.row] for one in fresh], dtype="str"),
            "order_key": pd.Series([one.order_key for one in fresh], dtype="str"),
            "sales_order_id": pd.Series([one.sales_order_id for one in fresh], dtype="str"),
            "parents": pd.Series([one.parents for one in fresh], dtype="str"),
            "refund_total": pd.Series([total[one.row] for one in fresh], dtype="Int64"),
            "uncredited": pd.Series([one.worked.uncredited * CENT for one in fresh], dtype="Int64"),
            **{name: pd.Series(target.header[name].array.take(at, allow_fill=True)) for name in HEAD},
        }
    )
    return header, _lines(memos, target), mapping_errors


_NO_CREDIT = rules.Credit("", "Seller")  # of a return that moves stock alone


def _source(memos: Sequence[tuple[_Return, rules.Credit]], returns: pd.DataFrame) -> Frames:
    """Credit memos as the mapping reads them: the columns of their returns, and those of the rule that parts them."""
    header = returns.take([one.row for one, _ in memos]).reset_index(drop=True)
    credits = [credit for _, credit in memos]
    header["ExternalReference"] = pd.Series([_reference(one, credit) for one, credit in memos], dtype="str")
    header["InvoiceID"] = pd.Series([credit.invoice or None for credit in credits], dtype="str")
    header["ShippingTaxRemittedBy"] = pd.Series([c.shipping_tax_remitted_by for c in credits], dtype="str")
    header["Memo"] = rules.memos(header["RmaNumber"], [credit.rounding for credit in credits], header["Currency"])
    header["PricesIncludeTax"] = pd.Series([credit.inclusive for credit in credits], dtype="boolean")
    for name, part in zip(CREDIT_AMOUNTS, _PARTS, strict=True):
        header[name] = pd.Series([getattr(credit, part) * CENT for credit in credits], dtype="Int64")
    body = [(row, n, line) for row, credit in enumerate(credits) for n, line in enumerate(credit.lines.values())]
    lines = pd.DataFrame(
        {
            ROW: np.array([row for row, _, _ in body], dtype=np.int64),
            LINE: np.array([n for _, n, _ in body], dtype=np.int64),
            "InvoiceLineNo": pd.Series([line.invoice_line for *_, line in body], dtype="Int64"),
            "Quantity": pd.Series([line.quantity for *_, line in body], dtype="Int64"),
            "Amount": pd.Series([line.amount * CENT for *_, line in body], dtype="Int64"),
            "DiscountAmount": pd.Series([line.discount * CENT for *_, line in body], dtype="Int64"),
            "TaxAmount": pd.Series([line.tax * CENT for *_, line in body], dtype="Int64"),
            "TaxRemittedBy": pd.Series([line.tax_remitted_by for *_, line in body], dtype="str"),
        }
    )
    return Frames(header, lines)


_PARTS = (
    "shipping", "shipping_discount", "shipping_tax", "gift_wrap", "subtotal", "discounts", "taxes", "marketplace_tax",
    "total",
)  # fmt: skip


def _reference(one: _Return, credit: rules.Credit) -> str:
    return f"cm:{one.key}:{credit.invoice}"


def _lines(memos: Sequence[tuple[_Return, rules.Credit]], target: Frames) -> pd.DataFrame:
    """Staged lines: of each credit memo its own amounts and its lines, then the stock adjustments of the return."""
    rows: list[dict[str, Any]] = []
    heads, bodies = target.header.to_dict("records"), defaultdict(list)
    for line in target.lines.to_dict("records"):
        bodies[line[ROW]].append(line)
    position: Counter[str] = Counter()

    def add(one: _Return, **values: Any) -> None:
        rows.append({"key": one.key, "position": position[one.key], **values})
        position[one.key] += 1

    for number, (one, credit) in enumerate(memos):
        if credit is _NO_CREDIT:
            continue
        memo = heads[number]
        shared = {"entity": CREDIT_MEMO, "document": memo["ExternalReference"], "InvoiceID": memo["InvoiceID"]}
        own = {name: memo[name] for name in (*CREDIT_AMOUNTS, "ShippingTaxRemittedBy", INSIDE)}
        add(one, **shared, **own, RoundingAmount=credit.rounding * CENT)
        for line, made in zip(bodies[number], credit.lines.values(), strict=True):
            add(one, **shared, OrderItem=made.order_item, order_line=made.order_line,
                **{name: line[name] for name in _LINE})  # fmt: skip
    for one in {one.key: one for one, _ in memos}.values():
        for move in one.worked.movements:
            add(
                one, entity=ADJUSTMENT, document=f"ret:{one.key}:{move.reference}", ShipmentID=move.shipment,
                OrderItem=move.reference.partition(":")[0], order_line=move.order_line, SKU=move.sku,
                LocationID=move.location, QuantityDelta=move.quantity, ReasonCode=move.reason, UnitCost=move.unit_cost,
            )  # fmt: skip
    return _typed(pd.DataFrame(rows, columns=["key", "position", *TEXTS, *NUMBERS, *AMOUNTS, INSIDE]))


_LINE = ("InvoiceLineNo", "Quantity", "Amount", "DiscountAmount", "TaxAmount", "TaxRemittedBy")


def _typed(lines: pd.DataFrame) -> pd.DataFrame:
    types = {"key": "str", "position": "int64"} | dict.fromkeys(TEXTS, "str")
    return lines.astype(types | dict.fromkeys((*NUMBERS, *AMOUNTS), "Int64") | {INSIDE: "boolean"})


# ---- what was sent already -------------------------------------------------------------------------------------------


@dataclass
class _Posted:
    """Staged returns of which something was sent: heads by key, and their lines."""

    header: dict[str, dict[str, Any]]
    lines: pd.DataFrame

    def __contains__(self, key: str) -> bool:
        return key in self.header


_SENT = """
SELECT DISTINCT l.key FROM stage.credit_memo_line l
JOIN ops.delivery d ON d.idempotency_key = l.document AND d.outcome <> 'rejected'
WHERE l.key = ANY (:keys)
"""


def _posted(connection: sa.Connection, keys: Sequence[str]) -> _Posted:
    sent = list(connection.scalars(sa.text(_SENT), {"keys": list(keys)}))
    table, lines = stage_credit_memo, stage_credit_memo_line
    names = ("key", "content_hash", "order_key", "sales_order_id", "refund_total", "uncredited", *HEAD)
    header = database.copy_out(connection, sa.select(*(table.c[n] for n in names)).where(table.c.key.in_(sent)))
    body = database.copy_out(connection, sa.select(lines).where(lines.c.key.in_(sent)))
    return _Posted({row["key"]: row for row in header.to_dict("records")}, _typed(body))


def _unaltered(
    sent: Sequence[_Return], posted: _Posted, returns: pd.DataFrame, hashes: Sequence[str]
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Posted returns as they were staged, with their new status; a problem where the return is another one now."""
    status, total = returns["Status"].tolist(), returns["RefundTotal"].tolist()
    rows, found = [], []
    for one in sent:
        was = posted.header[one.key]
        rows.append({"row": one.row, **was, "state": "staged", "status": status[one.row]})
        if hashes[one.row] != was["content_hash"]:
            before, now = (written(int(amount)) for amount in (was["refund_total"], total[one.row]))
            message = f"The return has changed after it was posted: it gives back {now}, posted is {before}."
            found.append((one.row, rules.Finding("RefundTotal", "changed_after_posting", "", now, message)))
        elif status[one.row] == "Rejected":
            message = "The return has been rejected after it was posted."
            found.append((one.row, rules.Finding("Status", "rejected_after_posting", "", "Rejected", message)))
    names = ["row", "key", "state", "reason", "content_hash", "status", "order_key", "sales_order_id", "parents",
             "refund_total", "uncredited", *HEAD]  # fmt: skip
    header = pd.DataFrame(rows, columns=names)
    texts = [name for name in names if name not in ("row", "refund_total", "uncredited")]
    types = {"row": "int64", "refund_total": "Int64", "uncredited": "Int64"} | dict.fromkeys(texts, "str")
    return header.astype(types), posted.lines, problems.concat(_findings(row, [finding]) for row, finding in found)


# ---- what orders are -------------------------------------------------------------------------------------------------


def company(connection: sa.Connection) -> tuple[str, pd.DataFrame]:
    """(time zone, posting periods) of the company."""
    zone = connection.scalar(sa.select(ref_company.c.time_zone)) or "UTC"
    periods = database.copy_out(connection, sa.select(ref_period.c.id, ref_period.c.start_date, ref_period.c.status))
    return zone, periods


_OF_ORDERS = """
SELECT o.external_order_id AS order_key, {what} FROM ref.sales_order o {join}
WHERE o.source = 'ChannelAdvisor' AND o.external_order_id = ANY (:keys) ORDER BY o.id
"""
# Documents of other returns that are on their way and that the read of TIMS may not show yet.
_ON_THEIR_WAY = """
SELECT s.order_key, l.* FROM stage.credit_memo s JOIN stage.credit_memo_line l ON l.key = s.key
WHERE s.order_key = ANY (:keys) AND NOT s.key = ANY (:own)
  AND (s.state IN ('staged', 'ready', 'delivered', 'unchanged')
       OR EXISTS (SELECT FROM ops.delivery d WHERE d.idempotency_key = l.document AND d.outcome <> 'rejected'))
ORDER BY l.key, l.position
"""
_UNITS = """
SELECT l.key AS order_key, l."ExternalLineID", l.units_per_kit FROM stage.sales_order_line l WHERE l.key = ANY (:keys)
"""
_LEFT_OUT = "SELECT key FROM stage.sales_order WHERE state = 'left_out' AND key = ANY (:keys)"


class Orders:
    """Orders by ChannelAdvisorOrderID (`open_orders`), less what other returns have taken of them."""

    def __init__(self, connection: sa.Connection, keys: Sequence[str], own: Sequence[str]) -> None:
        """`own`: returns that are worked now, whose own documents (of an earlier life of this database) count not."""
        self._connection, self._keys = connection, list(keys)
        self._own = set(own)
        self._site = {site.channel: site for site in rule_settings.load().sites.values() if site.channel}
        self._default = rule_settings.load().default
        self.skipped = set(connection.scalars(sa.text(_LEFT_OUT), {"keys": self._keys}))
        self.parents = {row.order_key: row.parents for row in self._rows(PARENTS)}
        self._units = {(row.order_key, row.ExternalLineID): row.units_per_kit for row in self._rows(_UNITS)}
        self._shipments = self._of("shipment", "sales_order_id")
        self._invoices = self._of("invoice", "sales_order_id")
        self._memos = self._of("credit_memo", "sales_order_id")
        self._way = defaultdict(list)
        for row in self._rows(_ON_THEIR_WAY, own=list(own)):
            self._way[row.order_key].append(row)
        self._kinds = self._stocked()
        orders = self._rows(_OF_ORDERS.format(what="o.id, o.payload", join=""))
        self.ids = {row.order_key: row.id for row in orders}
        self.open_orders = {row.order_key: self._order(row.order_key, row.payload) for row in orders}

    def _rows(self, statement: str, **more: Any) -> list[sa.Row]:
        return list(self._connection.execute(sa.text(statement), {"keys": self._keys, **more}))

    def _of(self, table: str, column: str) -> dict[str, list[dict[str, Any]]]:
        rows = self._rows(_OF_ORDERS.format(what="d.payload", join=f"JOIN ref.{table} d ON d.{column} = o.id"))
        found: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for row in rows:
            found[row.order_key].append(row.payload)
        return found

    def _stocked(self) -> dict[str, str]:
        skus = {line["SKU"] for each in self._shipments.values() for one in each for line in one["Lines"]}
        rows = self._connection.execute(
            sa.text("SELECT sku, type FROM ref.item WHERE sku = ANY (:skus)"), {"skus": sorted(skus)}
        )
        return {row.sku: row.type for row in rows}

    def _order(self, key: str, payload: Mapping[str, Any]) -> rules.Order:
        shipments = sorted(self._shipments[key], key=lambda one: (one["ShippedAt"], one["ShipmentID"]))
        invoices = sorted(
            (one for one in self._invoices[key] if one["Status"] != "Voided"),
            key=lambda one: (one["PostingDate"], one["CreatedAt"], one["InvoiceID"]),
        )
        shipped, invoiced = Counter[int](), Counter[int]()
        for documents, counter in ((shipments, shipped), (invoices, invoiced)):
            for document in documents:
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
            held = one["LocationID"] == site.marketplace_location  # what the marketplace ships comes back to it
            location = one["LocationID"] if held else site.returns_location
            parcels += [
                rules.Parcel(
                    one["ShipmentID"], line["SalesOrderLineNo"], line["Quantity"], scaled(line["UnitCost"]), location
                )
                for line in one["Lines"]
            ]
        return parcels

    def _take_off(self, key: str, order: rules.Order, shipment_of: Mapping[str, str | None]) -> None:
        """What other credit memos and returns have taken already."""
        invoices = {invoice.id: invoice for invoice in order.invoices}
        seen = set()
        for memo in self._memos[key]:
            reference = memo["ExternalReference"]
            if memo["Source"] == SOURCE and reference.split(":")[1:2] and reference.split(":")[1] in self._own:
                continue
            seen.add(reference)
            if memo["InvoiceID"] in invoices:
                _credit_off(invoices[memo["InvoiceID"]], memo)
            if memo["Restock"]:  # typed into TIMS by a person
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
    """Units that are back already: of their shipment, where it is known, else of the oldest."""
    for parcel in order.parcels:
        if parcel.order_line == order_line and shipment in (parcel.shipment, None):
            taken = min(units, parcel.quantity)
            parcel.quantity -= taken
            units -= taken
