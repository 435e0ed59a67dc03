"""Search: from any number that people have in their hands to the record that it belongs to.

In: a text, the person who asks. Out: hits, each the kind and id of a record's page. Never: a statement without an
index; an e-mail address for somebody who may not see personal data; a text that somebody searched, in the audit log.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import sqlalchemy as sa

from crossdock.errors import NotAllowed
from crossdock.rules import emails
from crossdock.rules.shipping import fulfillment_id
from crossdock.services.people import Person, Right
from crossdock.services.wording import in_words
from crossdock.store import audit
from crossdock.store.tables import (
    ops_dead_letter,
    ops_delivery,
    ops_link,
    raw_orders,
    raw_returns,
    ref_adjustment,
    ref_channel_product,
    ref_credit_memo,
    ref_customer,
    ref_customer_key,
    ref_gl_entry,
    ref_invoice,
    ref_item_code,
    ref_payment,
    ref_sales_order,
    ref_settlement,
    ref_settlement_line,
    ref_shipment,
    stage_credit_memo,
    stage_invoice,
    stage_sales_order,
)

LONGEST = 200  # characters of a text that is searched
SHORTEST_PREFIX = 3
MOST = 20  # hits of one kind
LAST = "\U0010ffff"

# What is searched, as people call it; the page names them where nothing is found.
SEARCHED = (
    "the channel's order number", "the marketplace's order number", "sales order", "customer", "SKU",
    "shipment (its number, or order:number)",
    "tracking number", "invoice", "credit memo", "payment", "stock adjustment", "settlement", "return",
    "journal entry", "dead letter's key",
)  # fmt: skip
EMAIL = "e-mail address"


@dataclass(frozen=True)
class Hit:
    """A record that was found. `kind` and `id`: its page; `matched`: what of it the text is; `at`: the part of the page
    that the text names, where it is only a part of it."""

    kind: str
    id: str
    title: str
    matched: str
    at: str = ""


@dataclass(frozen=True)
class Found:
    """What a search has found. `begins`: nothing is that text, these begin with it."""

    text: str
    hits: tuple[Hit, ...]
    begins: bool
    searched: tuple[str, ...]


def search(connection: sa.Connection, person: Person, text: str) -> Found:
    """Finds records by any of their numbers. An e-mail address asks for Right.SEE_PERSONAL and is on record."""
    person.require(Right.SEE)
    wanted = tidy(text)
    if not wanted:
        return Found(wanted, (), begins=False, searched=())
    if "@" in wanted:
        return _by_email(connection, person, wanted)
    hits = _unique(hit for finder in _FINDERS for hit in finder(connection, wanted))
    if not hits and wanted != wanted.upper():  # numbers are written in capitals, and typed as it comes
        hits = _unique(hit for finder in _FINDERS for hit in finder(connection, wanted.upper()))
    begins = not hits and len(wanted) >= SHORTEST_PREFIX
    if begins:
        hits = _unique(_beginning(connection, wanted))
    return Found(wanted, hits, begins=begins and bool(hits), searched=SEARCHED)


def tidy(text: str) -> str:
    """What is searched of a text: no blanks around it, nothing that the database cannot hold, at most LONGEST."""
    held = text.replace("\x00", "").encode("utf-8", "ignore").decode()
    return held.strip().strip("#").strip()[:LONGEST]


def _unique(found: Iterator[Hit]) -> tuple[Hit, ...]:
    """One hit a record; the first one counts, as finders are in the order in which they are sure."""
    made: dict[tuple[str, str], Hit] = {}
    for hit in found:
        made.setdefault((hit.kind, hit.id), hit)
    return tuple(made.values())


def _spellings(text: str) -> list[str]:
    return list(dict.fromkeys((text, text.upper())))


# ---- finders -------------------------------------------------------------------------------------------------------


def _orders(connection: sa.Connection, text: str) -> Iterator[Hit]:
    """By the channel's number and the marketplace's, also of an order that has only been read."""
    own = sa.select(raw_orders.c.key).where(raw_orders.c.key == text).limit(1)
    staged = sa.select(stage_sales_order.c.key).where(stage_sales_order.c.key == text)
    held = sa.select(ref_sales_order.c.external_order_id).where(
        ref_sales_order.c.external_order_id == text, ref_sales_order.c.source == "ChannelAdvisor"
    )
    for key in connection.scalars(own.union(staged, held)):
        yield Hit("order", key, f"Order {key}", "the channel's order number")
    number = raw_orders.c.payload["OrderID"].astext
    others = sa.union(
        sa.select(raw_orders.c.key).where(number == text),
        sa.select(stage_sales_order.c.key).where(stage_sales_order.c.marketplace_order_id == text),
        sa.select(ops_link.c.source_key).where(ops_link.c.entity == "sales_order", ops_link.c.other_key == text),
    )
    for key in connection.scalars(others.limit(MOST)):
        yield Hit("order", key, f"Order {key}", "the marketplace's order number")


def _sales_orders(connection: sa.Connection, text: str) -> Iterator[Hit]:
    names = _spellings(text)
    linked = sa.select(ops_link.c.target_id).where(ops_link.c.entity == "sales_order", ops_link.c.target_id.in_(names))
    held = sa.select(ref_sales_order.c.id).where(ref_sales_order.c.id.in_(names))
    for number in connection.scalars(linked.union(held)):
        yield of_sales_order(connection, number, "sales order", "")


def _documents(connection: sa.Connection, text: str) -> Iterator[Hit]:
    """Documents of TIMS that belong to a sales order: the order's page shows them."""
    names = _spellings(text)
    for table, name in ((ref_shipment, "shipment"), (ref_invoice, "invoice"), (ref_credit_memo, "credit memo")):
        for row in connection.execute(sa.select(table.c.id, table.c.sales_order_id).where(table.c.id.in_(names))):
            yield of_sales_order(connection, row.sales_order_id, name, row.id)
    made = sa.select(ops_link.c.target_id, stage_invoice.c.SalesOrderID).join(
        stage_invoice, stage_invoice.c.key == ops_link.c.source_key
    )
    for row in connection.execute(made.where(ops_link.c.entity == "invoice", ops_link.c.target_id.in_(names))):
        yield of_sales_order(connection, row.SalesOrderID, "invoice", row.target_id)
    tracked = ref_shipment.c.payload["TrackingNumber"].astext.in_(names)
    for row in connection.execute(
        sa.select(ref_shipment.c.id, ref_shipment.c.sales_order_id).where(tracked).limit(MOST)
    ):
        yield of_sales_order(connection, row.sales_order_id, "tracking number", row.id)
    recorded = sa.select(ops_delivery.c.key).where(ops_delivery.c.idempotency_key == f"ship:ChannelAdvisor:{text}")
    for key in connection.scalars(recorded):
        yield Hit("order", key, f"Order {key}", "the channel's shipment")


def of_sales_order(connection: sa.Connection, number: str, matched: str, at: str) -> Hit:
    """The page of a sales order: that of the channel's order which it comes from, where there is one."""
    key = connection.scalar(
        sa.select(ops_link.c.source_key).where(ops_link.c.entity == "sales_order", ops_link.c.target_id == number)
    )
    if key is None:
        held = connection.execute(
            sa.select(ref_sales_order.c.external_order_id, ref_sales_order.c.source).where(
                ref_sales_order.c.id == number
            )
        ).one_or_none()
        key = held.external_order_id if held and held.source == "ChannelAdvisor" else None
    if key is None:
        return Hit("sales_order", number, f"Sales order {number}", matched, at)
    return Hit("order", key, f"Order {key}, {at or number}", matched, at or number)


def _own_pages(connection: sa.Connection, text: str) -> Iterator[Hit]:
    """Documents of TIMS with pages of their own."""
    names = _spellings(text)
    for table, kind, title in (
        (ref_payment, "payment", "Payment"), (ref_adjustment, "adjustment", "Stock adjustment"),
        (ref_gl_entry, "entry", "Journal entry"),
    ):  # fmt: skip
        for number in connection.scalars(sa.select(table.c.id).where(table.c.id.in_(names))):
            yield Hit(kind, number, f"{title} {number}", title.lower())
    for number in connection.scalars(
        sa.select(ref_customer.c.customer_id).where(ref_customer.c.customer_id.in_(names))
    ):
        yield Hit("customer", number, f"Customer {number}", "customer")


def _skus(connection: sa.Connection, text: str) -> Iterator[Hit]:
    folded = text.lower().strip()
    for sku in connection.scalars(sa.select(ref_item_code.c.sku).where(ref_item_code.c.folded == folded).limit(MOST)):
        yield Hit("sku", sku, f"SKU {sku}", "SKU")
    products = sa.select(ref_channel_product.c.sku).where(ref_channel_product.c.folded == folded).limit(MOST)
    for sku in connection.scalars(products):
        held = sa.select(ref_item_code.c.sku).where(ref_item_code.c.folded == folded).limit(1)
        if connection.scalar(held) is None:
            yield Hit("sku", sku, f"SKU {sku}, known to the channel only", "SKU")


def _settlements(connection: sa.Connection, text: str) -> Iterator[Hit]:
    held = sa.select(ref_settlement.c.source, ref_settlement.c.settlement_id)
    for row in connection.execute(held.where(ref_settlement.c.settlement_id == text).limit(MOST)):
        title = f"Settlement {row.settlement_id} of {row.source}"
        yield Hit("settlement", f"{row.source}:{row.settlement_id}", title, "settlement")
    line = ref_settlement_line.c
    named = sa.select(line.source, line.settlement_id).where(line.order_ref == text).distinct().limit(MOST)
    for row in connection.execute(named):
        title = f"Settlement {row.settlement_id} of {row.source}, which names it"
        yield Hit("settlement", f"{row.source}:{row.settlement_id}", title, "the marketplace's order number")


def _returns(connection: sa.Connection, text: str) -> Iterator[Hit]:
    """By the channel's number, also of a return whose credit memo is all that is left."""
    order = connection.scalar(sa.select(stage_credit_memo.c.order_key).where(stage_credit_memo.c.key == text))
    if order is not None:
        yield Hit("order", order, f"Order {order}, return {text}", "return", text)
    elif connection.scalar(sa.select(raw_returns.c.key).where(raw_returns.c.key == text).limit(1)) is not None:
        yield Hit("return", text, f"Return {text}", "return")


def _joined(connection: sa.Connection, text: str) -> Iterator[Hit]:
    """By keys of parts: an order's parcel (order:number), a settlement or a line of it (source:settlement:order)."""
    first, _, rest = text.partition(":")
    if not first or not rest:
        return
    for hit in _orders(connection, first):
        if hit.id == first:
            at = _parcel(connection, first, rest)
            yield Hit("order", first, f"Order {first}{f', {at}' if at else ''}", "shipment (order:number)", at)
    number = rest.partition(":")[0]
    held = sa.select(ref_settlement.c.source).where(
        ref_settlement.c.source == first, ref_settlement.c.settlement_id == number
    )
    if connection.scalar(held.limit(1)) is not None:
        yield Hit("settlement", f"{first}:{number}", f"Settlement {number} of {first}", "settlement")


def _parcel(connection: sa.Connection, key: str, number: str) -> str:
    """The shipment of TIMS that the channel knows by this number; "" where none is."""
    shipment = ref_shipment.c
    order = ref_sales_order.c
    held = (
        sa.select(shipment.id, shipment.external_reference)
        .join(ref_sales_order, order.id == shipment.sales_order_id)
        .where(order.external_order_id == key, order.source == "ChannelAdvisor")
        .order_by(shipment.id)
    )
    its = (f"{key}:{number}", number.removeprefix("channel "))
    return next(
        (
            row.id
            for row in connection.execute(held)
            if fulfillment_id(row.id) == number or row.external_reference in its
        ),
        "",
    )


def _letters(connection: sa.Connection, text: str) -> Iterator[Hit]:
    """Records that are nowhere but in a dead letter, e.g. what could not be read."""
    letter = ops_dead_letter.c
    named = letter.key.in_(_spellings(text))  # a comparison tells an item by its SKU without case
    rows = connection.execute(
        sa.select(letter.id, letter.flow, letter.key).where(named).order_by(letter.id.desc()).limit(MOST)
    )
    for row in rows:
        if row.flow == "orders":
            yield Hit("order", row.key, f"Order {row.key}", "the channel's order number")
        elif row.flow == "returns":
            yield Hit("return", row.key, f"Return {row.key}", "return")
        elif row.flow in ("catalog", "prices", "inventory"):
            yield Hit("sku", row.key, f"SKU {row.key}", "SKU")
        else:
            yield Hit("letter", str(row.id), f"Dead letter {row.id} of {in_words(row.flow)}", "dead letter's key")


_FINDERS: tuple[Callable[[sa.Connection, str], Iterator[Hit]], ...] = (
    _orders, _sales_orders, _documents, _own_pages, _skus, _returns, _settlements, _joined, _letters,
)  # fmt: skip


def _beginning(connection: sa.Connection, text: str) -> Iterator[Hit]:
    """Records whose number begins with the text."""
    pattern = text.lower().replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_") + "%"
    codes = sa.select(ref_item_code.c.sku).where(ref_item_code.c.folded.like(pattern))
    for sku in connection.scalars(codes.order_by(ref_item_code.c.folded).limit(MOST)):
        yield Hit("sku", sku, f"SKU {sku}", "SKU")
    same = text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_") + "%"
    orders = sa.select(stage_sales_order.c.key, stage_sales_order.c.marketplace_order_id)
    numbered = orders.where(stage_sales_order.c.marketplace_order_id.like(same))
    for row in connection.execute(numbered.order_by(stage_sales_order.c.marketplace_order_id).limit(MOST)):
        yield Hit("order", row.key, f"Order {row.key}, {row.marketplace_order_id}", "the marketplace's order number")


def _by_email(connection: sa.Connection, person: Person, text: str) -> Found:
    """The customers with an address, for those who may see it. That they asked is on record, the address is not."""
    if not person.may(Right.SEE_PERSONAL):
        raise NotAllowed(
            "An e-mail address is personal data.", do="Search by an order's number, or ask a clerk to look it up."
        )
    address = emails.normalise(text.lower()) or text.lower()
    table = ref_customer_key.c
    query = sa.select(table.customer_id).where(table.kind == "email", table.value == address).limit(MOST)
    hits = tuple(Hit("customer", number, f"Customer {number}", EMAIL) for number in connection.scalars(query))
    audit.record(connection, person.name, "record search by e-mail", ", ".join(hit.id for hit in hits)[:200])
    return Found(text, hits, begins=False, searched=(EMAIL,))
