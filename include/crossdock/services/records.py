"""The whole life of a record: what was received, decided, delivered, booked, as a time line; and where it stands now.

In: the kind and id of a page, the person who looks. Out: a `Life`; one version as it came. Never: personal data of a
record for somebody without the right; their opening without a row in the audit log; more than some hundred rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import sqlalchemy as sa

from crossdock import flows
from crossdock.errors import ConfigError
from crossdock.flow import Flow, Resource
from crossdock.mapping import contracts
from crossdock.services import outside, payloads, personal, search, standing, timeline, wording
from crossdock.services.outside import Outside
from crossdock.services.payloads import Part
from crossdock.services.people import Person, Right
from crossdock.services.standing import Standing
from crossdock.services.timeline import Event, Link
from crossdock.steps.records import unfit
from crossdock.store import audit, database, raw
from crossdock.store.tables import (
    ops_batch,
    ops_customer_change,
    ops_dead_letter,
    ops_delivery,
    ops_link,
    ops_work,
    raw_orders,
    raw_returns,
    ref_account,
    ref_adjustment,
    ref_channel_product,
    ref_credit_memo,
    ref_customer,
    ref_gl_entry,
    ref_gl_entry_line,
    ref_invoice,
    ref_item,
    ref_payment,
    ref_sales_order,
    ref_settlement,
    ref_settlement_line,
    ref_shipment,
    stage_buyer,
    stage_channel_quantity,
    stage_credit_memo,
    stage_credit_memo_line,
    stage_customer,
    stage_payment,
    stage_posting_line,
    stage_price_line,
    stage_sales_order,
    stage_sales_order_line,
    stage_settlement,
)
from crossdock.systems import channel_advisor
from crossdock.systems.failures import NAMES

MOST = 200  # rows of one kind
VERSIONS = 30
ORDERS = 50  # of an item, on a page
FACTS = 6  # of one name, e.g. shipments of an order, on top of a page
IN_WORDS = {  # states of a staged order
    "staged": "under way", "ready": "under way", "delivered": "in TIMS", "unchanged": "in TIMS", "waiting": "waiting",
    "dead": "refused", "left_out": "left out",
}  # fmt: skip
FLOWS_OF_ITEMS = ("catalog", "prices", "inventory")
DOCUMENTS = {  # of TIMS, as people call them: their names in its contract
    "Sales order": "tims.SalesOrder", "Shipment": "tims.Shipment", "Invoice": "tims.Invoice",
    "Credit memo": "tims.CreditMemo", "Payment": "tims.Payment", "Stock adjustment": "tims.Adjustment",
    "Journal entry": "tims.Entry",
}  # fmt: skip


@dataclass(frozen=True)
class Fact:
    """One thing to know of a record. `outside`: the page of the document that it names in its own system."""

    name: str
    value: str
    link: Link | None = None
    amount: Decimal | None = None
    currency_code: str = ""
    outside: Outside | None = None


@dataclass(frozen=True)
class OrderLine:
    """One line of an order. `tax` and `price` are of its currency; None where the document does not say."""

    sku: str
    title: str
    quantity: int
    price: Decimal | None
    discount: Decimal | None
    tax: Decimal | None
    shipped: int
    cancelled: int
    returned: int
    currency_code: str
    kit: str = ""


@dataclass(frozen=True)
class OrderOf:
    """One order of an item, by its line there."""

    order: str
    day: str
    quantity: int
    price: Decimal | None
    currency_code: str
    sales_order: str
    state: str


@dataclass(frozen=True)
class LedgerLine:
    """One line of a journal entry. `entry`: its number in TIMS; empty until it is known."""

    day: str
    entry: str
    reference: str
    account: str
    debit: Decimal
    credit: Decimal
    currency_code: str
    document: str
    order: Link | None = None
    sku: str = ""
    memo: str = ""


@dataclass(frozen=True)
class SettlementLine:
    """One amount of a settlement."""

    position: int
    kind: str
    what: str
    amount: Decimal
    currency_code: str
    order_ref: str
    order: Link | None
    settlement: Link


@dataclass(frozen=True)
class Life:
    """A record's page. `lines`: of an order, as `lines_of` (TIMS, Channel Advisor) has them; `orders`: the newest
    orders of an item; `after`: what to ask for the next page of settlement lines or orders with."""

    kind: str
    id: str
    title: str
    facts: tuple[Fact, ...]
    standings: tuple[Standing, ...]
    events: tuple[Event, ...]
    ledger: tuple[LedgerLine, ...] = ()
    settled: tuple[SettlementLine, ...] = ()
    related: tuple[Link, ...] = ()
    after: str | None = None
    totals: dict[str, tuple[Decimal, Decimal]] = field(default_factory=dict)  # debit and credit by currency
    lines: tuple[OrderLine, ...] = ()
    lines_of: str = ""
    orders: tuple[OrderOf, ...] = ()
    outside: tuple[Outside, ...] = ()
    far: tuple[str, ...] = ()  # whose clock is far from ours


@dataclass(frozen=True)
class Version:
    """One version of a record as it was received. `masked`: without personal data; `may_open`: the person may see it
    whole, which is put on record. `received`: what the document was made of, where the system speaks another API."""

    flow: str
    title: str
    key: str
    hash: str
    version: datetime
    received_at: datetime
    altered: str
    parts: tuple[Part, ...]
    masked: bool
    may_open: bool
    received: tuple[Part, ...] = ()


@dataclass
class _Trail:
    """What belongs to a record, as it is found. `page`: its own; `pairs`: records by flow and key, the main one first;
    `documents`: ids of documents that journal entries may be of."""

    page: Link
    pairs: list[tuple[str, str]] = field(default_factory=list)
    facts: list[Fact] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    documents: list[str] = field(default_factory=list)
    delivery_keys: list[str] = field(default_factory=list)
    settled: list[SettlementLine] = field(default_factory=list)
    related: list[Link] = field(default_factory=list)
    after: str | None = None
    lines: list[OrderLine] = field(default_factory=list)
    lines_of: str = ""
    orders: list[OrderOf] = field(default_factory=list)
    outside: list[Outside | None] = field(default_factory=list)
    own_batches_only: list[str] = field(default_factory=list)  # delivery keys that other records have, too
    origins: dict[str, list[str]] = field(default_factory=dict)  # of a document those that it comes from
    seen: dict[str, datetime] = field(default_factory=dict)  # when we made a document, where no event says it

    def names(self, name: str, number: str, document: str = "", at: str = "") -> None:
        """Says a part of this page on top of it, with its page in its own system."""
        link = Link(self.page.kind, self.page.id, at or number)
        there = outside.page_of(document, number) if document else None
        self.facts.append(Fact(name, number, link, outside=there))

    def comes_of(self, document: str, *origins: str | None) -> None:
        self.origins.setdefault(document, []).extend(origin for origin in origins if origin)


def life(connection: sa.Connection, person: Person, kind: str, number: str, *, after: str | None = None) -> Life:
    """A record's page. ConfigError for a kind that has none, and for a record that nobody has ever seen."""
    person.require(Right.SEE)
    if kind not in _KINDS:
        raise ConfigError(f"Records of the kind {kind!r} have no page.", do=f"The kinds are: {', '.join(_KINDS)}.")
    title, builder = _KINDS[kind]
    trail = _Trail(Link(kind, number))
    builder(connection, person, trail, number, after)
    every = flows.all_flows()
    pairs = list(dict.fromkeys(trail.pairs))[:MOST]
    standings = tuple(
        standing.standing(connection, every[name], key, main=position == 0 or kind == "sku")
        for position, (name, key) in enumerate(pairs)
        if name in every and (position == 0 or _has_work(connection, name, key))
    )
    trail.events += _received(connection, [(every[name], key) for name, key in pairs if name in every])
    trail.events += _refusals(connection, person, pairs)
    trail.events += _deliveries(connection, [*trail.delivery_keys, *(key for _, key in pairs)])
    trail.events += _of_the_buyer(connection, trail)
    ledger = _ledger(connection, trail)
    totals: dict[str, tuple[Decimal, Decimal]] = {}
    for line in ledger:
        debit, credit = totals.get(line.currency_code, (Decimal(), Decimal()))
        totals[line.currency_code] = (debit + line.debit, credit + line.credit)
    far = timeline.far_clocks(connection)
    return Life(
        kind, number, f"{title} {number}", _some_of_each(trail.facts), standings,
        timeline.arranged(trail.events, far, trail.origins, trail.seen), tuple(ledger), tuple(trail.settled),
        tuple(dict.fromkeys(trail.related)), trail.after, totals, tuple(trail.lines), trail.lines_of,
        tuple(trail.orders), tuple(dict.fromkeys(one for one in trail.outside if one)),
        tuple(timeline.CLOCKS[system] for system in sorted(far) if system in timeline.CLOCKS),
    )  # fmt: skip


def _some_of_each(facts: Iterable[Fact]) -> tuple[Fact, ...]:
    """Facts of one name side by side, FACTS of them at most, and how many more there are."""
    by_name: dict[str, list[Fact]] = {}
    for fact in dict.fromkeys(facts):
        by_name.setdefault(fact.name, []).append(fact)
    return tuple(
        each
        for name, own in by_name.items()
        for each in (*own[:FACTS], *([Fact(name, f"and {len(own) - FACTS} more")] if len(own) > FACTS else []))
    )


# ---- what belongs to a record --------------------------------------------------------------------------------------


def _order(connection: sa.Connection, person: Person, trail: _Trail, key: str, after: str | None) -> None:
    """An order of the channel and all that came of it."""
    trail.pairs.append(("orders", key))
    trail.delivery_keys.append(key)
    trail.outside.append(outside.page_of("channel_advisor.Order", key))
    stage = stage_sales_order.c
    staged = connection.execute(
        sa.select(
            stage.marketplace_order_id, stage.Channel, stage.TotalAmount, stage.CurrencyCode, stage.OrderDate
        ).where(stage.key == key)
    ).one_or_none()
    link = connection.execute(
        sa.select(ops_link).where(ops_link.c.entity == "sales_order", ops_link.c.source_key == key)
    ).one_or_none()
    _placed(connection, trail, key, staged.OrderDate if staged else None)
    marketplace = (link.other_key if link else None) or (staged.marketplace_order_id if staged else None)
    if marketplace:
        trail.facts.append(Fact("marketplace's number", marketplace))
    if staged is not None:
        trail.facts += [Fact("channel", staged.Channel)] if staged.Channel else []
        if staged.TotalAmount is not None:
            trail.facts.append(Fact("total", "", amount=staged.TotalAmount, currency_code=staged.CurrencyCode or ""))
    customer, trail.own_batches_only = _buyer(connection, key)
    if customer:
        page = outside.page_of("tims.Customer", customer)
        trail.facts.append(Fact("customer", customer, Link("customer", customer), outside=page))
    numbers = [link.target_id] if link else []
    held = sa.select(ref_sales_order.c.id).where(
        ref_sales_order.c.external_order_id == key, ref_sales_order.c.source == "ChannelAdvisor"
    )
    numbers += [number for number in connection.scalars(held) if number not in numbers]
    for number in numbers:
        _of_sales_order(connection, trail, number)
        trail.comes_of(number, key)
    if link is not None and link.confirmed_at is not None:
        words = "The channel was told that it is in TIMS"
        trail.events.append(Event(link.confirmed_at, "sent", words, state="good", key=link.target_id))
    returns = sa.select(stage_credit_memo.c.key).where(stage_credit_memo.c.order_key == key).limit(MOST)
    for number in connection.scalars(returns):
        _of_return(connection, trail, number)
        trail.comes_of(number, key)
    if not trail.lines:
        _lines_of_channel(connection, trail, key)
    if marketplace:
        _settled(connection, trail, ref_settlement_line.c.order_ref == marketplace)
        for settled in dict.fromkeys(line.settlement for line in trail.settled):
            trail.facts.append(Fact("settlement", settled.id.partition(":")[2], settled))


def _placed(connection: sa.Connection, trail: _Trail, key: str, staged: str | None) -> None:
    """When the buyer ordered, by the channel's clock: as it came, else as it was staged."""
    newest = (raw_orders.c.version.desc(), raw_orders.c.received_at.desc())
    came = sa.select(raw_orders.c.payload["OrderDate"].astext).where(raw_orders.c.key == key)
    held = {"OrderDate": connection.scalar(came.order_by(*newest).limit(1)) or staged}
    if (at := _stated(held, "OrderDate")) is not None:
        trail.events.append(_at_channel(at, f"Order {key}", "placed", key))


def _at_channel(at: datetime, title: str, detail: str, number: str) -> Event:
    """What happened at the channel, by its clock."""
    return Event(at, "document", title, detail, anchor=number, clock="channel_advisor")


def _buyer(connection: sa.Connection, key: str) -> tuple[str | None, list[str]]:
    """The customer of an order, and the keys by which we have created it: as TIMS holds the order, else as it was
    staged, else as its buyer was decided before its first load. A version that comes later names no customer."""
    buyer, made, staged = stage_buyer.c, stage_customer.c, stage_sales_order.c
    held = sa.select(ref_sales_order.c.payload["CustomerID"].astext).where(
        ref_sales_order.c.external_order_id == key, ref_sales_order.c.source == "ChannelAdvisor"
    )
    own = connection.execute(sa.select(staged.CustomerID, staged.customer_key).where(staged.key == key)).one_or_none()
    before = connection.execute(sa.select(buyer.customer_id, buyer.customer_key).where(buyer.key == key)).one_or_none()
    keys = list(dict.fromkeys(row.customer_key for row in (own, before) if row is not None and row.customer_key))
    named = [
        connection.scalar(held.limit(1)), own.CustomerID if own else None, before.customer_id if before else None,
        connection.scalar(sa.select(made.customer_id).where(made.key.in_(keys)).limit(1)) if keys else None,
    ]  # fmt: skip
    return next((one for one in named if one), None), keys


def _lines_of_channel(connection: sa.Connection, trail: _Trail, key: str) -> None:
    """The lines of an order as they came last."""
    payload = connection.scalar(
        sa.select(raw_orders.c.payload)
        .where(raw_orders.c.key == key)
        .order_by(raw_orders.c.version.desc(), raw_orders.c.received_at.desc())
        .limit(1)
    )
    if not isinstance(payload, dict) or not isinstance(payload.get("OrderItems"), list):
        return
    trail.lines_of = NAMES["channel_advisor"]
    currency = str(payload.get("Currency") or "")
    for each in payload["OrderItems"][:MOST]:
        if isinstance(each, dict):
            trail.lines.append(
                OrderLine(
                    str(each.get("SKU") or ""), str(each.get("Title") or ""), _number(each, "Quantity"),
                    _amount(each, "UnitPrice"), _amount(each, "DiscountAmount"), _amount(each, "TaxAmount"),
                    _number(each, "QuantityShipped"), _number(each, "QuantityCancelled"),
                    _number(each, "QuantityReturned"), currency,
                )
            )  # fmt: skip


def _sales_order_event(held: dict[str, Any], number: str, link: Link | None = None) -> Event:
    status, currency = str(held.get("OrderStatus") or ""), str(held.get("CurrencyCode") or "")
    at = _stated(held, "CreatedAt", "OrderDate") or datetime.min.replace(tzinfo=UTC)
    page = outside.page_of(DOCUMENTS["Sales order"], number)
    return Event(
        at, "document", f"Sales order {number}", status, anchor=number, amount=_amount(held, "TotalAmount"),
        currency_code=currency, link=link, outside=page, clock="tims",
    )  # fmt: skip


def _lines_of_tims(connection: sa.Connection, trail: _Trail, held: dict[str, Any]) -> None:
    """The lines of a sales order as TIMS has them."""
    lines = [each for each in held.get("LineItems") or [] if isinstance(each, dict)][:MOST]
    skus = [str(each.get("SKU") or "") for each in lines]
    titles = dict(connection.execute(sa.select(ref_item.c.sku, ref_item.c.title).where(ref_item.c.sku.in_(skus))).all())
    trail.lines_of = NAMES["tims"]
    trail.lines += [
        OrderLine(
            sku, titles.get(sku) or "", _number(each, "Quantity"), _amount(each, "Price"),
            _amount(each, "DiscountAmount"), _amount(each, "TaxAmount"), _number(each, "QuantityShipped"),
            _number(each, "QuantityCancelled"), _number(each, "QuantityReturned"),
            str(held.get("CurrencyCode") or ""), str(each.get("KitParentSKU") or ""),
        )
        for sku, each in zip(skus, lines, strict=True)
    ]  # fmt: skip


def _of_sales_order(connection: sa.Connection, trail: _Trail, number: str) -> None:
    """A sales order of TIMS and the documents that follow it."""
    page = outside.page_of("tims.SalesOrder", number)
    trail.facts.insert(0, Fact("sales order", number, Link("sales_order", number), outside=page))
    trail.outside.append(page)
    trail.documents.append(number)
    trail.delivery_keys.append(number)
    held = standing.in_tims(connection, number)
    if held is not None:
        trail.events.append(_sales_order_event(held, number))
        _lines_of_tims(connection, trail, held)
    trail.pairs += [("holds", number), ("ledger_captures", number)]
    for row in _of(connection, ref_shipment, ref_shipment.c.sales_order_id, number):
        parcel = row.payload
        words = " ".join(str(parcel.get(name) or "") for name in ("Carrier", "ServiceLevel", "TrackingNumber")).strip()
        trail.events.append(_document(row, "Shipment", row.id, words, _moment(row, "ShippedAt", "CreatedAt")))
        trail.names("shipment", row.id, "tims.Shipment")
        if parcel.get("TrackingNumber"):
            trail.names("tracking number", str(parcel["TrackingNumber"]), at=row.id)
        trail.comes_of(row.id, number)
        trail.pairs += [("shipments", row.id), ("invoices", row.id)]
        trail.documents.append(row.id)
    invoices = _of(connection, ref_invoice, ref_invoice.c.sales_order_id, number)
    for row in invoices:
        trail.events.append(_document(row, "Invoice", row.id, row.status, _moment(row, "CreatedAt"), row.total))
        trail.comes_of(row.id, number, row.shipment_id)
    made = _linked(connection, "invoice", [key for name, key in trail.pairs if name == "invoices"])
    for invoice in dict.fromkeys([*(row.id for row in invoices), *made]):
        trail.names("invoice", invoice, "tims.Invoice")
        trail.pairs.append(("ledger_invoices", invoice))
        trail.documents.append(invoice)
    for row in _of(connection, ref_credit_memo, ref_credit_memo.c.sales_order_id, number):
        trail.events.append(_document(row, "Credit memo", row.id, row.status, _moment(row, "CreatedAt"), row.total))
        trail.names("credit memo", row.id, "tims.CreditMemo")
        trail.comes_of(row.id, number, row.invoice_id, *_returns_of(connection, row.external_reference))
        trail.pairs.append(("ledger_credit_memos", row.id))
        trail.documents.append(row.id)
    paid = connection.scalars(
        sa.select(stage_payment.c.key).where(stage_payment.c.sales_order_id == number).limit(MOST)
    )
    for key in paid.all():
        for payment in _of_payment(connection, trail, key):
            trail.comes_of(payment, number)


def _returns_of(connection: sa.Connection, reference: str) -> list[str]:
    """The returns that a document of TIMS was made of."""
    line = stage_credit_memo_line.c
    return list(connection.scalars(sa.select(line.key).where(line.document == reference).distinct().limit(MOST)))


def _linked(connection: sa.Connection, entity: str, keys: Sequence[str]) -> list[str]:
    """Documents that we have made of these records, also where they have not been read back from TIMS yet."""
    wanted = (ops_link.c.entity == entity, ops_link.c.source_key.in_(keys))
    return list(connection.scalars(sa.select(ops_link.c.target_id).where(*wanted).limit(MOST)))


def _of_payment(connection: sa.Connection, trail: _Trail, key: str) -> list[str]:
    """A part of a settlement that pays for an order; its payments in TIMS."""
    trail.pairs.append(("payments", key))
    target = connection.scalar(
        sa.select(ops_link.c.target_id).where(ops_link.c.entity == "payment", ops_link.c.source_key == key)
    )
    wanted = ref_payment.c.external_reference == f"pay:{key}"
    if target is not None:
        wanted = sa.or_(wanted, ref_payment.c.id == target)
    rows = connection.execute(sa.select(ref_payment).where(wanted).limit(MOST)).all()
    for row in rows:
        trail.events.append(
            _document(
                row, "Payment", row.id, row.status, _moment(row, "CreatedAt"), row.amount, Link("payment", row.id)
            )
        )
    payments = list(dict.fromkeys([*(row.id for row in rows), *([target] if target else [])]))
    for number in payments:
        if trail.page.kind != "payment":
            there = outside.page_of("tims.Payment", number)
            trail.facts.append(Fact("payment", number, Link("payment", number), outside=there))
        trail.pairs.append(("ledger_payments", number))
        trail.documents.append(number)
    return payments


def _of_return(connection: sa.Connection, trail: _Trail, number: str) -> None:
    """A return, its credit memos and what it brought back into stock."""
    trail.pairs.append(("returns", number))
    trail.delivery_keys.append(number)
    if trail.page.kind != "return":
        trail.names("return", number, "channel_advisor.Return")
    came = sa.select(raw_returns.c.payload["CreatedDate"].astext).where(raw_returns.c.key == number)
    held = {"CreatedDate": connection.scalar(came.order_by(raw_returns.c.version.desc()).limit(1))}
    if (at := _stated(held, "CreatedDate")) is not None:
        trail.events.append(_at_channel(at, f"Return {number}", "opened", number))
    lines = stage_credit_memo_line.c
    documents = list(connection.scalars(sa.select(lines.document).where(lines.key == number).distinct().limit(MOST)))
    trail.delivery_keys += documents
    moved = ref_adjustment.c.external_reference.in_(documents)
    for row in connection.execute(sa.select(ref_adjustment).where(moved).limit(MOST)):
        words = f"{row.quantity_delta:+d} of {row.sku}"
        link = Link("adjustment", row.id)
        trail.events.append(_document(row, "Stock adjustment", row.id, words, _moment(row, "CreatedAt"), None, link))
        trail.facts.append(Fact("stock adjustment", row.id, link, outside=outside.page_of("tims.Adjustment", row.id)))
        trail.comes_of(row.id, number)
        trail.pairs.append(("ledger_adjustments", row.id))
        trail.documents.append(row.id)


def _sales_order(connection: sa.Connection, person: Person, trail: _Trail, number: str, after: str | None) -> None:
    """A sales order of TIMS, also one that is of no order of the channel."""
    trail.pairs.append(("holds", number))
    _of_sales_order(connection, trail, number)
    trail.facts = [fact for fact in trail.facts if fact.value != number]
    held = standing.in_tims(connection, number)
    hit = search.of_sales_order(connection, number, "", "")
    if hit.kind == "order":
        page = outside.page_of("channel_advisor.Order", hit.id)
        trail.facts.append(Fact("order of the channel", hit.id, Link("order", hit.id), outside=page))
    if held is not None:
        total, currency = _amount(held, "TotalAmount"), str(held.get("CurrencyCode") or "")
        customer, channel = str(held.get("CustomerID") or ""), str(held.get("Channel") or "")
        trail.facts += [Fact("channel", channel)] if channel else []
        trail.facts += [
            Fact("status", str(held.get("OrderStatus") or "")), Fact("total", "", amount=total, currency_code=currency),
            *([Fact("customer", customer, Link("customer", customer))] if customer else []),
        ]  # fmt: skip


def _return(connection: sa.Connection, person: Person, trail: _Trail, number: str, after: str | None) -> None:
    """A return whose order is not known, or by itself."""
    _of_return(connection, trail, number)
    order = connection.scalar(sa.select(stage_credit_memo.c.order_key).where(stage_credit_memo.c.key == number))
    if order is None:
        order = connection.scalar(
            sa.select(raw_returns.c.payload["ChannelAdvisorOrderID"].astext).where(raw_returns.c.key == number).limit(1)
        )
    if order is not None:
        trail.facts.append(Fact("order", order, Link("order", order)))


def _payment(connection: sa.Connection, person: Person, trail: _Trail, number: str, after: str | None) -> None:
    """A payment of TIMS."""
    row = _held(connection, ref_payment, number)
    trail.facts += [
        Fact("amount", "", amount=row.amount, currency_code=row.currency_code), Fact("status", row.status),
        Fact("posted on", row.posting_date.isoformat()),
    ]  # fmt: skip
    trail.pairs.append(("ledger_payments", number))
    trail.documents.append(number)
    key = row.external_reference.removeprefix("pay:")
    staged = connection.execute(sa.select(stage_payment).where(stage_payment.c.key == key)).one_or_none()
    if staged is not None:
        _of_payment(connection, trail, key)
        if staged.sales_order_id:
            hit = search.of_sales_order(connection, staged.sales_order_id, "", number)
            trail.facts.append(Fact("order", staged.sales_order_id, Link(hit.kind, hit.id, number)))
        if staged.settlement_id:
            named = f"{staged.settlement_source}:{staged.settlement_id}"
            trail.facts.append(Fact("settlement", staged.settlement_id, Link("settlement", named)))
    else:
        trail.events.append(_document(row, "Payment", number, row.status, _moment(row, "CreatedAt"), row.amount))


def _adjustment(connection: sa.Connection, person: Person, trail: _Trail, number: str, after: str | None) -> None:
    """A stock adjustment of TIMS."""
    row = _held(connection, ref_adjustment, number)
    trail.facts += [
        Fact("SKU", row.sku, Link("sku", row.sku)), Fact("quantity", f"{row.quantity_delta:+d}"),
        Fact("reason", row.reason_code), Fact("location", row.location_id),
    ]  # fmt: skip
    trail.pairs.append(("ledger_adjustments", number))
    trail.documents.append(number)
    trail.events.append(_document(row, "Stock adjustment", number, row.status, _moment(row, "CreatedAt")))
    trail.delivery_keys.append(row.external_reference)


def _entry(connection: sa.Connection, person: Person, trail: _Trail, number: str, after: str | None) -> None:
    """A journal entry."""
    row = _held(connection, ref_gl_entry, number)
    trail.facts += [
        Fact("posted on", row.posting_date.isoformat()), Fact("period", row.period), Fact("status", row.status),
        Fact("of", f"{row.document_type} {row.document_id}", _page_of(connection, row.document_id)),
    ]  # fmt: skip
    if row.reversal_of:
        trail.facts.append(Fact("reverses", row.reversal_of, Link("entry", row.reversal_of)))
    trail.events.append(_document(row, "Journal entry", number, row.status, _moment(row, "CreatedAt")))
    trail.delivery_keys.append(row.external_reference)
    trail.documents.append(f"\n{number}")  # this entry alone, not all of its document


def _customer(connection: sa.Connection, person: Person, trail: _Trail, number: str, after: str | None) -> None:
    """A customer of TIMS: orders and what was changed of it. Its name is personal data."""
    row = connection.execute(sa.select(ref_customer).where(ref_customer.c.customer_id == number)).one_or_none()
    if row is None:
        raise _unknown("customer", number)
    if person.may(Right.SEE_PERSONAL):
        audit.record(connection, person.name, "record open", number, {"kind": "customer"})
        trail.facts.append(Fact("name", row.name))
    else:
        trail.facts.append(Fact("name", personal.MASK))
    trail.facts.append(Fact("status", row.status))
    trail.events.append(Event(row.version, "document", "Last changed in TIMS", anchor=number, clock="tims"))
    made = sa.select(ops_link.c.source_key).where(ops_link.c.entity == "customer", ops_link.c.target_id == number)
    trail.delivery_keys += connection.scalars(made.limit(MOST)).all()
    bought = ref_sales_order.c.payload["CustomerID"].astext == number
    linked = sa.and_(ops_link.c.entity == "sales_order", ops_link.c.target_id == ref_sales_order.c.id)
    orders = sa.select(ref_sales_order, ops_link.c.created_at).outerjoin(ops_link, linked).where(bought)
    for order in connection.execute(orders.order_by(ref_sales_order.c.id.desc()).limit(MOST)):
        if order.created_at is not None:
            trail.seen[order.id] = order.created_at
        hit = search.of_sales_order(connection, order.id, "", "")
        total = _amount(order.payload, "TotalAmount")
        link = Link(hit.kind, hit.id)
        trail.events.append(
            _document(order, "Sales order", order.id, order.status, _moment(order, "CreatedAt"), total, link)
        )
    change = ops_customer_change.c
    fields = (change.field, change.order_key, change.outcome, change.at, change.batch_id)
    for row in connection.execute(
        sa.select(*fields).where(change.customer_id == number).order_by(change.at).limit(MOST)
    ):
        detail = f"by order {row.order_key}: {wording.in_words(row.outcome)}"
        link = Link("order", row.order_key)
        title = wording.document(row.field).capitalize()
        trail.events.append(Event(row.at, "decided", title, detail, batch_id=row.batch_id, link=link))


def _sku(connection: sa.Connection, person: Person, trail: _Trail, sku: str, after: str | None) -> None:
    """An item of TIMS and its products at the channel."""
    item = connection.execute(sa.select(ref_item).where(ref_item.c.sku == sku)).one_or_none()
    if item is not None:
        trail.facts += [
            Fact("title", item.title), Fact("status", item.status), Fact("kind", item.type),
            Fact("cost", "", amount=item.cost, currency_code=item.currency_code),
            Fact("list price", "", amount=item.list_price, currency_code=item.currency_code),
        ]  # fmt: skip
    folded = ref_channel_product.c.folded == sku.lower().strip()
    for row in connection.execute(sa.select(ref_channel_product).where(folded).limit(MOST)):
        there = outside.page_of("channel_advisor.Product", str(row.product_id))
        what = f"{row.sku} ({row.product_id}, {row.type})"
        trail.facts.append(Fact("product at the channel", what, outside=there))
    quantity = stage_channel_quantity.c
    offered = connection.execute(
        sa.select(quantity.available, quantity.quantity, quantity.in_flight).where(quantity.key == sku)
    ).one_or_none()
    if offered is not None and offered.quantity is not None:
        words = f"{offered.quantity:,} of {offered.available:,} available" if offered.available is not None else ""
        trail.facts.append(Fact("offered", words or f"{offered.quantity:,}"))
        if offered.in_flight:
            trail.facts.append(Fact("held back for orders under way", f"{offered.in_flight:,}"))
    price = stage_price_line.c
    for row in connection.execute(
        sa.select(price.sku, price.site_id, price.Price, price.Currency).where(
            price.key == sku, price.Price.is_not(None)
        )
    ):
        where = f"price on site {row.site_id}" if row.site_id else "price"
        trail.facts.append(Fact(where, "", amount=row.Price, currency_code=row.Currency))
    trail.pairs += [(name, sku) for name in FLOWS_OF_ITEMS]
    trail.outside.append(outside.page_of("tims.Item", sku) if item is not None else None)
    _orders_of(connection, trail, sku, after)


def _orders_of(connection: sa.Connection, trail: _Trail, sku: str, after: str | None) -> None:
    """The orders that have an item, the newest number first, a page at a time."""
    line, order = stage_sales_order_line.c, stage_sales_order.c
    length = sa.func.length(line.key)
    wanted: list[sa.ColumnElement[bool]] = [line["SKU"] == sku]
    if after:
        wanted.append(sa.tuple_(length, line.key) < sa.tuple_(sa.literal(len(after)), sa.literal(after)))
    query = sa.select(line.key, sa.func.sum(line.Quantity).label("quantity"), sa.func.max(line.Price).label("price"))
    page = query.where(*wanted).group_by(length, line.key).order_by(length.desc(), line.key.desc()).limit(ORDERS + 1)
    found = page.subquery()
    rows = connection.execute(
        sa.select(found, order.OrderDate, order.CurrencyCode, order.state, ops_link.c.target_id)
        .outerjoin(stage_sales_order, order.key == found.c.key)
        .outerjoin(ops_link, sa.and_(ops_link.c.entity == "sales_order", ops_link.c.source_key == found.c.key))
        .order_by(sa.func.length(found.c.key).desc(), found.c.key.desc())
    ).all()
    trail.orders = [
        OrderOf(
            row.key, (row.OrderDate or "")[:10], int(row.quantity or 0), row.price, row.CurrencyCode or "",
            row.target_id or "", IN_WORDS.get(row.state or "", ""),
        )
        for row in rows[:ORDERS]
    ]  # fmt: skip
    trail.after = rows[ORDERS - 1].key if len(rows) > ORDERS else None


def _settlement(connection: sa.Connection, person: Person, trail: _Trail, number: str, after: str | None) -> None:
    """A settlement of a marketplace; its id is source:settlement."""
    source, _, own = number.partition(":")
    settlement = ref_settlement.c
    row = connection.execute(
        sa.select(ref_settlement).where(settlement.source == source, settlement.settlement_id == own)
    ).one_or_none()
    if row is None:
        raise _unknown("settlement", number)
    period = " to ".join(f"{each:%Y-%m-%d}" for each in (row.start_at, row.end_at) if each)
    trail.facts += [
        Fact("channel", row.channel), Fact("total", "", amount=row.total, currency_code=row.currency_code),
        Fact("file", row.file), Fact("format", row.format), *([Fact("period", period)] if period else []),
    ]  # fmt: skip
    trail.events.append(Event(row.booked_at, "document", "Booked in our settlement ledger", state="good", anchor=own))
    if row.deposit_at:
        paid = f"{own}\ndeposit"  # its own place: no number of anything
        trail.events.append(Event(row.deposit_at, "document", "The bank should have it", anchor=paid, amount=row.total,
                                  currency_code=row.currency_code, clock=timeline.SETTLED))  # fmt: skip
        trail.comes_of(paid, own)
    staged = sa.select(stage_settlement.c.key).where(
        stage_settlement.c.SettlementID == own, stage_settlement.c.Source == source
    )
    trail.pairs += [("payouts", key) for key in connection.scalars(staged.limit(5))]
    trail.documents.append(number)
    of_it = sa.and_(ref_settlement_line.c.source == source, ref_settlement_line.c.settlement_id == own)
    _settled(connection, trail, of_it, after)


def _settled(
    connection: sa.Connection, trail: _Trail, wanted: sa.ColumnElement[bool], after: str | None = None
) -> None:
    """Lines of settlements, a page at a time."""
    line = ref_settlement_line.c
    query = sa.select(ref_settlement_line).where(wanted)
    if after:
        if not (after.isascii() and after.isdigit() and len(after) < 10):
            raise ConfigError(f"{after!r} is no place in the list.", do="Begin at the top of the list.")
        query = query.where(line.position > int(after))
    rows = connection.execute(query.order_by(line.source, line.settlement_id, line.position).limit(MOST + 1)).all()
    references = list({row.order_ref for row in rows if row.order_ref})
    keys = dict(
        connection.execute(
            sa.select(ops_link.c.other_key, ops_link.c.source_key).where(
                ops_link.c.entity == "sales_order", ops_link.c.other_key.in_(references)
            )
        ).all()
    )
    for row in rows[:MOST]:
        order = keys.get(row.order_ref)
        trail.settled.append(
            SettlementLine(
                row.position, row.kind,
                " ".join(part for part in (row.transaction_type, row.amount_type, row.amount_description) if part),
                row.amount, row.currency_code, row.order_ref or "", Link("order", order) if order else None,
                Link("settlement", f"{row.source}:{row.settlement_id}"),
            )
        )  # fmt: skip
    trail.after = str(rows[MOST - 1].position) if len(rows) > MOST else None


_Builder = Callable[[sa.Connection, Person, _Trail, str, str | None], None]
_KINDS: dict[str, tuple[str, _Builder]] = {
    "order": ("Order", _order),
    "sales_order": ("Sales order", _sales_order),
    "return": ("Return", _return),
    "payment": ("Payment", _payment),
    "adjustment": ("Stock adjustment", _adjustment),
    "entry": ("Journal entry", _entry),
    "customer": ("Customer", _customer),
    "sku": ("SKU", _sku),
    "settlement": ("Settlement", _settlement),
}


def _of(connection: sa.Connection, table: sa.Table, column: sa.ColumnElement[Any], value: str) -> Sequence[sa.Row]:
    return connection.execute(sa.select(table).where(column == value).order_by(table.c.id).limit(MOST)).all()


def _held(connection: sa.Connection, table: sa.Table, number: str) -> sa.Row:
    row = connection.execute(sa.select(table).where(table.c.id == number)).one_or_none()
    if row is None:
        raise _unknown(wording.in_words(table.name), number)
    return row


def _unknown(kind: str, number: str) -> ConfigError:
    return ConfigError(f"Crossdock has not read a {kind} {number}.", do="Search for it by another of its numbers.")


def _document(
    row: sa.Row,
    name: str,
    number: str,
    detail: str,
    at: datetime,
    amount: Decimal | None = None,
    link: Link | None = None,
) -> Event:
    """A document as TIMS holds it. It is dated by TIMS's clock."""
    currency = getattr(row, "currency_code", "") or ""
    page = outside.page_of(DOCUMENTS[name], number)
    return Event(
        at, "document", f"{name} {number}", detail, anchor=number, amount=amount, currency_code=currency, link=link,
        outside=page, clock="tims",
    )  # fmt: skip


def _moment(row: sa.Row, *names: str) -> datetime:
    """The first of these moments that a document states, else its last change."""
    version: datetime = row.version
    return _stated(row.payload, *names) or version


def _stated(payload: dict[str, Any], *names: str) -> datetime | None:
    """The first of these moments that a document states."""
    for name in names:
        try:
            at = datetime.fromisoformat(str(payload.get(name)))
        except ValueError:
            continue
        return at.replace(tzinfo=at.tzinfo or UTC)
    return None


def _number(payload: dict[str, Any], name: str) -> int:
    try:
        return int(payload.get(name) or 0)
    except (TypeError, ValueError):
        return 0


def _amount(payload: dict[str, Any], name: str) -> Decimal | None:
    try:
        return Decimal(str(payload[name]))
    except (KeyError, ArithmeticError):
        return None


# ---- what was received, refused, sent, posted ----------------------------------------------------------------------


def _has_work(connection: sa.Connection, flow: str, key: str) -> bool:
    """Whether a flow has ever had the record; of the main one a standing is shown also where it has not."""
    one = sa.select(ops_work.c.key).where(ops_work.c.queue == flow, ops_work.c.key == key).limit(1)
    return connection.scalar(one) is not None


def _received(connection: sa.Connection, pairs: Iterable[tuple[Flow, str]]) -> list[Event]:
    """The versions that came of each record, with the batch that worked them."""
    found: dict[tuple[str, str, str], Event] = {}
    for flow, key in pairs:
        raw, work = flow.source.raw.c, ops_work.c
        rows = connection.execute(
            sa.select(raw.hash, raw.version, raw.received_at, raw.altered, work.batch_id, work.queued_at, *_OF_BATCH)
            .outerjoin(ops_work, sa.and_(work.queue == flow.name, work.key == raw.key, work.hash == raw.hash))
            .outerjoin(ops_batch, ops_batch.c.id == work.batch_id)
            .where(raw.key == key)
            .order_by(raw.version.desc(), raw.received_at.desc())
            .limit(VERSIONS)
        )
        for row in rows:
            same = (flow.source.name, key, row.hash)
            if same in found and row.batch_id is None:
                continue
            system = standing.TARGETS.get(flow.source.system, wording.in_words(flow.source.system))
            found[same] = Event(
                row.received_at, "received", f"{wording.document(flow.source.document).capitalize()} {key} received",
                f"as it was at {row.version:%Y-%m-%d %H:%M:%S} UTC in {system}"
                + (f"; {row.altered} taken out" if row.altered else ""),
                flow=flow.name, key=key, batch_id=row.batch_id, run_id=row.run_id or "", version=row.hash,
                config_version=row.config_version,
            )  # fmt: skip
    return list(found.values())


_OF_BATCH = (ops_batch.c.run_id, ops_batch.c.config_version)


def _refusals(connection: sa.Connection, person: Person, pairs: Sequence[tuple[str, str]]) -> list[Event]:
    """Dead letters of these records, open or closed, by their rules: what they say may hold personal data."""
    letter = ops_dead_letter.c
    wanted = sa.tuple_(letter.flow, letter.key).in_(pairs)
    first = ops_batch.alias("first")
    rows = connection.execute(
        sa.select(
            letter.id, letter.flow, letter.key, letter.rule, letter.step, letter.state, letter.created_at,
            letter.updated_at, letter.times, letter.batch_id, letter.first_batch_id, letter.refused_at,
            letter.changed_by, letter.note, *_OF_BATCH, ops_batch.c.created_at.label("last_begun"),
            first.c.run_id.label("first_run"), first.c.config_version.label("first_config"),
        )
        .outerjoin(ops_batch, ops_batch.c.id == letter.batch_id)
        .outerjoin(first, first.c.id == letter.first_batch_id)
        .where(letter.key.in_([key for _, key in pairs]), wanted)
        .order_by(letter.id)
        .limit(MOST)
    )  # fmt: skip
    every = flows.all_flows()
    events = []
    for row in rows:
        title = every[row.flow].title if row.flow in every else row.flow
        open_now = row.state in ("open", "edited")
        at, count = row.created_at, "1×"
        if row.times > 1:  # what is kept of it is of the last time
            events.append(
                Event(row.created_at, "refused", f"{title}: refused for the first time", "", "", row.flow, row.key,
                      row.first_batch_id, row.first_run or "", row.first_config, row.id)
            )  # fmt: skip
            at = row.refused_at or max(row.created_at, row.last_begun or row.created_at)
            count = f"{row.times}× since {row.created_at:%d %b %Y %H:%M} UTC, this was the last time"
        events.append(
            Event(
                at, "refused", f"{title}: refused in {row.step}", f"{wording.in_words(row.rule or '')}, {count}",
                "bad" if open_now else "", row.flow, row.key, row.batch_id, row.run_id or "", row.config_version,
                row.id,
            )
        )  # fmt: skip
        if not open_now:
            by = f" by {row.changed_by}" if row.changed_by else ""
            events.append(
                Event(row.updated_at, "decided", f"{title}: dead letter {row.state}{by}", row.note or "",
                      flow=row.flow, key=row.key, letter=row.id)
            )  # fmt: skip
    return events


def _of_the_buyer(connection: sa.Connection, trail: _Trail) -> list[Event]:
    """How the customer of an order came to be, where a batch of that order did it: buyers have other orders, too."""
    if not (trail.own_batches_only and trail.pairs):
        return []
    flow, key = trail.pairs[0]
    batches = sa.select(ops_work.c.batch_id).where(ops_work.c.queue == flow, ops_work.c.key == key)
    staged = sa.select(stage_sales_order.c.batch_id).where(stage_sales_order.c.key == key)
    return _deliveries(connection, trail.own_batches_only, ops_delivery.c.batch_id.in_(batches.union(staged)))


def _deliveries(connection: sa.Connection, keys: Iterable[str], *more: sa.ColumnElement[bool]) -> list[Event]:
    """What was sent for these records, and what came of it."""
    table = ops_delivery.c
    entities = [flow.entity for flow in flows.all_flows().values()]
    entities += ["customer", "sales_order_line", "stock_adjustment", "gl_entry", "channel_listing", "shipment"]
    rows = connection.execute(
        sa.select(ops_delivery, *_OF_BATCH)
        .outerjoin(ops_batch, ops_batch.c.id == table.batch_id)
        .where(table.entity.in_(sorted(set(entities))), table.key.in_(sorted(set(keys))), *more)
        .order_by(table.id.desc())
        .limit(MOST)
    )
    words = {"confirmed": "done", "rejected": "refused", "sent": "no answer yet", "unknown": "its answer was lost",
             "superseded": "written over since"}  # fmt: skip
    states = {"confirmed": "good", "rejected": "bad", "sent": "warn", "unknown": "warn"}
    return [
        Event(
            row.done_at or row.sent_at, "sent",
            f"{wording.in_words(row.operation).capitalize()} {wording.in_words(row.entity)}"
            + (f": {row.response_id}" if row.response_id else ""),
            words.get(row.outcome, row.outcome)
            + (f", HTTP {row.status}" if row.status else "")
            + (f", {row.attempts} attempts" if row.attempts > 1 else "")
            + (f": {row.error}" if row.error else ""),
            states.get(row.outcome, ""), row.flow, row.key, row.batch_id, row.run_id or "", row.config_version,
            makes=row.response_id if row.response_id and row.response_id != row.key else "",
        )
        for row in rows
    ]  # fmt: skip


def _ledger(connection: sa.Connection, trail: _Trail) -> list[LedgerLine]:
    """The journal lines of the documents: as TIMS holds them, else as they were posted."""
    documents = [name for name in dict.fromkeys(trail.documents) if not name.startswith("\n")][:MOST]
    alone = [name.removeprefix("\n") for name in trail.documents if name.startswith("\n")]
    entry, line = ref_gl_entry.c, ref_gl_entry_line.c
    rows = connection.execute(
        sa.select(
            entry.posting_date, entry.id, entry.external_reference, line.account_code, ref_account.c.name, line.debit,
            line.credit, entry.currency_code, entry.document_id, line.order_id, line.sku, line.memo,
        )
        .join(ref_gl_entry_line, line.entry_id == entry.id)
        .outerjoin(ref_account, ref_account.c.id == line.account_code)
        .where(sa.or_(entry.document_id.in_(documents), entry.id.in_(alone)))
        .order_by(entry.posting_date, entry.id, line.line_no)
        .limit(MOST)
    ).all()  # fmt: skip
    pages: dict[str, Link | None] = {}
    found = []
    for row in rows:
        if row.document_id not in pages:
            pages[row.document_id] = _page_of(connection, row.order_id or row.document_id)
        found.append(
            LedgerLine(
                row.posting_date.isoformat(), row.id, row.external_reference,
                f"{row.account_code} {row.name or ''}".strip(), row.debit, row.credit, row.currency_code,
                row.document_id, pages[row.document_id], row.sku or "", row.memo or "",
            )
        )  # fmt: skip
    held = {row.external_reference for row in rows}
    return found + _posted(connection, documents, held)


def _posted(connection: sa.Connection, documents: Sequence[str], held: set[str]) -> list[LedgerLine]:
    """Lines that were posted and that have not been read back from TIMS yet."""
    line = stage_posting_line.c
    linked = sa.and_(ops_link.c.entity == "gl_entry", ops_link.c.source_key == line.EntryKey)
    rows = connection.execute(
        sa.select(stage_posting_line, ops_link.c.target_id)
        .join(ops_link, linked)
        .where(line.key.in_(documents))
        .order_by(line.key, line.position)
        .limit(MOST)
    )
    return [
        LedgerLine(
            row.PostingDate or "", row.target_id, row.EntryKey, f"{row.AccountCode or ''} {row.Account}".strip(),
            row.Debit, row.Credit, row.CurrencyCode or "", row.key, None, row.SKU or "", row.Description or "",
        )
        for row in rows
        if row.EntryKey not in held
    ]  # fmt: skip


def _page_of(connection: sa.Connection, number: str) -> Link | None:
    """The page that shows a document of TIMS: of the channel's order where there is one. A line of a settlement is
    named by its settlement."""
    if ":" in number:
        source, settlement = number.split(":")[:2]
        return Link("settlement", f"{source}:{settlement}")
    for table in (ref_invoice, ref_credit_memo, ref_shipment):
        order = connection.scalar(sa.select(table.c.sales_order_id).where(table.c.id == number))
        if order is not None:
            return _order_of(connection, order, number)
    if connection.scalar(sa.select(ref_sales_order.c.id).where(ref_sales_order.c.id == number)) is not None:
        return _order_of(connection, number, "")
    for table, kind in ((ref_payment, "payment"), (ref_adjustment, "adjustment")):
        if connection.scalar(sa.select(table.c.id).where(table.c.id == number)) is not None:
            return Link(kind, number)
    key = connection.scalar(sa.select(stage_sales_order.c.key).where(stage_sales_order.c.key == number))
    return Link("order", key) if key is not None else None


def _order_of(connection: sa.Connection, sales_order: str, at: str) -> Link:
    hit = search.of_sales_order(connection, sales_order, "", at)
    return Link(hit.kind, hit.id, at or sales_order)


# ---- one version ---------------------------------------------------------------------------------------------------


def version(
    connection: sa.Connection, person: Person, flow_name: str, key: str, hashed: str, *, whole: bool = False
) -> Version:
    """One version of a record as it came. With `whole` also its personal data, which is put on record."""
    person.require(Right.SEE)
    flow = flows.get(flow_name)
    table = flow.source.raw.c
    row = connection.execute(
        sa.select(flow.source.raw).where(table.key == key, table.hash == hashed)
    ).one_or_none()  # fmt: skip
    if row is None:
        raise ConfigError(
            f"This version of {wording.document(flow.source.document)} {key} is not kept any more.",
            do="Raw records age out; look at a newer version.",
        )
    if whole:
        person.require(Right.SEE_PERSONAL)
        audit.record(
            connection, person.name, "record open", key, {"flow": flow.name, "version": row.version.isoformat()}
        )
    source = flow.source
    title = f"{wording.document(source.document).capitalize()} {key}"
    document = row.payload if whole else personal.masked(row.payload, source.contract, source.document)
    ordered = payloads.ordered(document, contracts.document(source.contract, source.document))
    return Version(
        flow.name, title, key, hashed, row.version, row.received_at, row.altered or "",
        tuple(payloads.parts(ordered)), not whole, person.may(Right.SEE_PERSONAL),
        _made_of(connection, source, key, hashed, whole),
    )  # fmt: skip


def _made_of(connection: sa.Connection, source: Resource, key: str, hashed: str, whole: bool) -> tuple[Part, ...]:
    """The parts of what a version was made of, as received; none where the document is that. Without `whole` also
    without personal data, and, where no schema says which fields these are, without any value."""
    data = raw.received(connection, source.raw, key, hashed)
    if data is None:
        return ()
    try:
        content = database.from_json(data)
    except ValueError:
        return ()
    schema = channel_advisor.received_as(source.path) if source.system == "channel_advisor" else None
    if schema is None:
        return tuple(payloads.parts(content if whole else personal.hidden(content)))
    document = contracts.document(*schema)
    return tuple(payloads.parts(payloads.ordered(content if whole else personal.masked(content, *schema), document)))


@dataclass(frozen=True)
class Readable:
    """A flow that reads single records by their number. `by`: whose number that is."""

    flow: str
    title: str
    by: str
    likely: bool


def readable(text: str) -> list[Readable]:
    """The flows that could read a record with this number from its system, the likeliest first."""
    digits = text.isascii() and text.isdigit()
    found = []
    for flow in flows.all_flows().values():
        if flow.source.system in ("channel_advisor", "tims") and standing.is_read_by_key(flow.name):
            own = flow.source.system == "channel_advisor"
            by = f"{flow.source.ids[0] if flow.source.ids else 'number'} of {standing.TARGETS[flow.source.system]}"
            found.append(Readable(flow.name, flow.title, by, digits == own))
    return sorted(found, key=lambda one: not one.likely)


def read_now(connection: sa.Connection, person: Person, flow_name: str, key: str) -> str:
    """Notes that a person has a record read by its key; the DAG of which a run does it."""
    person.require(Right.WORK)
    flow = flows.get(flow_name)
    if not standing.is_read_by_key(flow.name):
        do = f"Start a run of the DAG {flows.packages()[flow.name]}."
        raise ConfigError(f"{flow.title} reads no single records.", do=do)
    if odd := unfit(key):
        raise ConfigError(f"The number {odd}.", do="Give the record's number in its system; nothing was read.")
    audit.record(connection, person.name, "record read", key, {"flow": flow.name})
    return flows.packages()[flow.name]
