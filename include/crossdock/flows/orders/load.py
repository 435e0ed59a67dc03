"""Sends the batch, and records the answers."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec
import pandas as pd
import sqlalchemy as sa

from crossdock.errors import RecordRejected, Transient, WriteRefused
from crossdock.flow import Flow
from crossdock.flows.orders import by_hand, customers, transform
from crossdock.flows.orders.transform import SOURCE
from crossdock.keys import segment
from crossdock.pool import Pool
from crossdock.rules import order_changes
from crossdock.rules.order_changes import CHANNEL, CROSSDOCK, OURS, Action, Desired, Refusal
from crossdock.steps import modes
from crossdock.steps.check import dead_letter
from crossdock.steps.load import Answer, Document, Kind, deliver, post, read_ready, reasons, record_outcomes
from crossdock.store import batches, database, deliveries
from crossdock.store.deliveries import Effect
from crossdock.store.tables import (
    ADDRESS,
    ops_delivery,
    stage_channel_shipment,
    stage_customer,
    stage_sales_order,
    stage_sales_order_line,
)

if TYPE_CHECKING:
    from crossdock.runtime import Runtime


log = logging.getLogger(__name__)

NAME = "orders"
SHIPMENT = "shipment"  # entity of those that the channel has made
ADVICE = "Mend the order on the channel or the item in TIMS, or edit the payload; then replay it."


# ---- load ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Order:
    """A staged order that is being loaded."""

    key: str
    version: datetime
    content_hash: str
    cancelled: bool
    record_shipments: bool
    location_id: str | None
    own_location_id: str | None
    marketplace_order_id: str | None
    new_customer: str | None  # key of a customer that is not in TIMS yet: in shadow mode alone
    held_by: str | None  # who wants it on hold; None where it is to be open
    body: bytes
    cancelled_units: Mapping[str, int]  # by ExternalLineID, where there are any
    shipped_units: Mapping[str, int]
    lines: pd.DataFrame  # of all ready orders

    @property
    def needs_more(self) -> bool:
        """Whether more is to do than to create it: units to cancel, shipments to record."""
        return bool(self.cancelled or self.cancelled_units or self.record_shipments)

    @property
    def units_per_kit(self) -> dict[str, int]:
        """Units per kit of each line, by ExternalLineID."""
        mine = self.lines[self.lines["key"] == self.key]
        return dict(zip(mine["ExternalLineID"].tolist(), mine["units_per_kit"].tolist(), strict=True))

    def document(self) -> Document:
        facts = {
            "version": self.version,
            "other_key": self.marketplace_order_id,
            "held_by": self.held_by,
            "record_shipments": self.record_shipments,
        }
        # A link without a hash means "not finished": the order is compared and completed even after a crash.
        content = None if self.needs_more else self.content_hash
        after = [(CUSTOMER.entity, self.new_customer)] if self.new_customer else []
        return Document(self.key, self.body, f"so:{SOURCE}:{self.key}", content, facts, after=after)


def _ready(connection: sa.Connection, batch_id: int) -> list[_Order]:
    """Reads the ready orders of a batch, with their bodies."""
    facts = (
        "version", "content_hash", "cancelled", "record_shipments", "location_id", "own_location_id",
        "marketplace_order_id", "OrderStatus", "held_by", "customer_key", "CustomerID",
    )  # fmt: skip
    ready = read_ready(
        connection, batch_id, "sales_order", stage_sales_order, stage_sales_order_line, facts=facts,
        line_facts=("quantity_cancelled", "quantity_shipped", "units_per_kit"), change=_without_erased,
    )  # fmt: skip
    lines = ready.lines
    cancelled, shipped = _units(lines, "quantity_cancelled"), _units(lines, "quantity_shipped")
    return [
        _Order(
            row["key"], row["version"], row["content_hash"], row["cancelled"], row["record_shipments"],
            row["location_id"], row["own_location_id"], row["marketplace_order_id"],
            None if row["CustomerID"] else row["customer_key"],
            (row["held_by"] or CHANNEL) if row["OrderStatus"] == "OnHold" else None,
            body, cancelled.get(row["key"], {}), shipped.get(row["key"], {}), lines,
        )
        for row, body in ready.rows()
    ]  # fmt: skip


def _without_erased(header: pd.DataFrame) -> pd.DataFrame:
    """Removes addresses whose name or street the channel has erased: TIMS keeps its own."""
    made = header.copy()
    for prefix in ("ShippingAddress", "BillingAddress"):
        erased = made[f"{prefix}.Name"].isna() | made[f"{prefix}.Line1"].isna()
        if erased.any():
            parts = [f"{prefix}.{part}" for part in ADDRESS]
            made[parts] = made[parts].mask(erased)
    return made


def _units(lines: pd.DataFrame, column: str) -> dict[str, dict[str, int]]:
    """Collects {key: {ExternalLineID: units}} of lines that have any."""
    found: dict[str, dict[str, int]] = {}
    some = lines[lines[column] > 0]
    for key, line, units in zip(
        some["key"].tolist(), some["ExternalLineID"].tolist(), some[column].tolist(), strict=True
    ):
        found.setdefault(key, {})[line] = units
    return found


def _find_orders(runtime: Runtime, kind: Kind, keys: Sequence[str]) -> dict[str, str]:
    found = runtime.tims.find(kind.path, ExternalOrderID=list(keys), Source=SOURCE)
    return {order["ExternalOrderID"]: order["SalesOrderID"] for order in found}


def _find_customers(runtime: Runtime, kind: Kind, keys: Sequence[str]) -> dict[str, str]:
    found = runtime.tims.find(kind.path, ExternalID=list(keys), Source=SOURCE)
    return {
        external["ID"]: customer["CustomerID"]
        for customer in found
        for external in customer["ExternalIDs"]
        if external["Source"] == SOURCE
    }


ORDER = Kind("sales_order", "sales-orders", "SalesOrderID", _find_orders)
CUSTOMER = Kind("customer", "customers", "CustomerID", _find_customers)


def load(runtime: Runtime, flow: Flow, batch_id: int) -> None:
    """Loads customers first, then new orders in bulk, then changes one by one: of orders, and of known customers. After
    a launch, orders that people have entered by hand are linked first, and not made again."""
    if modes.of(flow.name).since is not None and not modes.of(flow.name).shadow:
        by_hand.link(runtime, flow, batch_id)
    _load_customers(runtime, flow, batch_id)
    with runtime.engine.begin() as connection:
        batch = batches.get(connection, batch_id)
        orders = _ready(connection, batch_id)
    posted = post(runtime, flow, batch_id, ORDER, [order.document() for order in orders], ADVICE)
    links = posted.links
    linked = [order for order in orders if order.key in links]
    same = [o for o in linked if links[o.key].content_hash == o.content_hash and o.content_hash]
    with runtime.engine.begin() as connection:
        record_outcomes(
            connection,
            flow,
            batch,
            delivered=[o.key for o in same if links[o.key].batch_id == batch_id],
            unchanged=[o.key for o in same if links[o.key].batch_id != batch_id],
            refused=posted.refused,
        )
    _keep_shipments(runtime, batch_id, [order for order in orders if order.key in posted.would_be])
    done = {order.key for order in same}
    _converge_all(runtime, flow, batch, [(o, links[o.key]) for o in linked if o.key not in done])
    posted.raise_problem()
    customers.bring(runtime, flow.name, batch_id)


def _load_customers(runtime: Runtime, flow: Flow, batch_id: int) -> None:
    """Creates the customers that ready orders of the batch need; an order whose customer is refused is dead."""
    _recall_customers(runtime, batch_id)
    order, customer = stage_sales_order.c, stage_customer.c
    needed = (
        sa.select(
            customer.key,
            sa.cast(customer.document, sa.Text).label("document"),
            customer.content_hash,
            customer.customer_id,
            customer.version,
        )
        .distinct()
        .join(stage_sales_order, order.customer_key == customer.key)
        .where(order.batch_id == batch_id, order.state == "ready", order["CustomerID"].is_(None))
    )
    with runtime.engine.begin() as connection:
        rows = list(connection.execute(needed))
    documents = [
        Document(
            row.key,
            row.document.encode(),
            f"cust:{SOURCE}:{row.key}",
            row.content_hash,
            {"version": row.version},
            prefix="Its customer cannot be created: ",
        )
        for row in rows
    ]
    posted = post(runtime, flow, batch_id, CUSTOMER, documents, ADVICE)
    ids = {key: link.target_id for key, link in posted.links.items()}
    with runtime.engine.begin() as connection:
        if ids:
            _are_there(connection, ids)
            made = _customer_ids(ids)
            connection.execute(
                sa.update(stage_sales_order)
                .where(order.customer_key == made.c.key, order.batch_id == batch_id, order.state == "ready")
                .values({order["CustomerID"]: made.c.customer_id})
            )
        dead: dict[str, list[dict]] = {}
        for key, why in posted.refused.items():
            orders = connection.scalars(
                sa.select(stage_sales_order.c.key).where(
                    stage_sales_order.c.batch_id == batch_id,
                    stage_sales_order.c.state == "ready",
                    stage_sales_order.c.customer_key == key,
                )
            )
            dead |= dict.fromkeys(orders, why)
        dead_letter(connection, flow, batch_id, "load", dead)
    posted.raise_problem()


def _recall_customers(runtime: Runtime, batch_id: int) -> None:
    """Records the outcome of customer creations whose answer was lost with their run: customers that TIMS has are ours.
    Orders that are read again find such a customer in `ref` and do not create it."""
    with runtime.engine.begin() as connection:
        lost = deliveries.lost(connection, CUSTOMER.entity, "create")
    found = _find_customers(runtime, CUSTOMER, sorted(lost)) if lost else {}
    ids = {key: target for key, target in found.items() if key in lost}  # one customer may have several keys
    if not ids:
        return
    outcomes = [Answer(target=target).outcome(lost[key]) for key, target in ids.items()]
    links = [
        {"entity": CUSTOMER.entity, "source_key": key, "target_id": target, "batch_id": batch_id}
        for key, target in ids.items()
    ]
    with runtime.engine.begin() as connection:
        deliveries.end(connection, NAME, outcomes)
        deliveries.link(connection, links)
        _are_there(connection, ids)


def _are_there(connection: sa.Connection, ids: Mapping[str, str]) -> None:
    """Notes the CustomerID of customers that we have created."""
    made = _customer_ids(ids)
    connection.execute(
        sa.update(stage_customer)
        .where(stage_customer.c.key == made.c.key)
        .values(customer_id=made.c.customer_id, state="delivered")
    )


def _customer_ids(ids: Mapping[str, str]) -> sa.Subquery:
    """Makes rows (key, customer_id) for an UPDATE ... FROM."""
    return database.given(stage_customer, [{"key": key, "customer_id": id} for key, id in ids.items()])


# ---- changes after import ------------------------------------------------------------------------------------------


def _converge_all(runtime: Runtime, flow: Flow, batch: sa.Row, pairs: Sequence[tuple[_Order, sa.Row]]) -> None:
    """Updates existing orders to the channel's present state, several at once. In shadow mode the first change of each
    is kept in its place, and the order stays ready."""
    if not pairs:
        return
    problem: Transient | None = None
    with Pool(4, "converge") as pool:
        pending = [(order, pool.submit(_converge, runtime, flow, batch, order, link)) for order, link in pairs]
        for order, future in pending:
            try:
                future.result()
            except Transient as error:
                problem = error
            except WriteRefused as error:
                log.info("Order %s is not changed: %s", order.key, error)
    if problem:
        raise problem


def _converge(runtime: Runtime, flow: Flow, batch: sa.Row, order: _Order, link: sa.Row) -> None:
    """Compares, updates and records one order. A change that cannot be applied becomes a dead letter, and the sales
    order stays as it is."""
    desired = Desired(msgspec.json.decode(order.body), order.cancelled_units, order.cancelled)
    sent = link.hold_sent_at is not None and order.held_by == CHANNEL
    wanted_by = None if sent else order.held_by  # if sent, the channel's hold is the one that a person set in TIMS
    try:
        if order.own_location_id is not None and order.shipped_units:
            acted, held_by = _share(runtime, batch.id, order, link, desired, wanted_by)
        else:
            acted, held_by = _apply(runtime, batch.id, order.key, link, desired, wanted_by)
            if order.record_shipments or link.record_shipments:
                acted |= _record(runtime, batch.id, order, link.target_id, _unrecorded(runtime, order, link.target_id))
    except _CannotApply as error:
        with runtime.engine.begin() as connection:
            record_outcomes(connection, flow, batch, refused={order.key: error.reasons})
        return
    new = link.batch_id == batch.id  # created by this batch
    with runtime.engine.begin() as connection:
        deliveries.in_sync(connection, flow.name, order.key)
        deliveries.link(
            connection,
            [
                {
                    "entity": ORDER.entity,
                    "source_key": order.key,
                    "target_id": link.target_id,
                    # With a hold that we sent to the channel, the order is compared whenever it is read again.
                    "content_hash": None if sent else order.content_hash,
                    "version": order.version,
                    "held_by": held_by,
                    "hold_sent_at": link.hold_sent_at if sent else None,
                    "batch_id": batch.id if acted or new else link.batch_id,
                }
            ],
        )
        settled = [order.key]
        record_outcomes(
            connection,
            flow,
            batch,
            delivered=settled if acted or new else (),
            unchanged=() if acted or new else settled,
        )


class _CannotApply(Exception):
    def __init__(self, reasons: list[dict]) -> None:
        super().__init__(reasons)
        self.reasons = reasons


def _apply(
    runtime: Runtime, batch_id: int, key: str, link: sa.Row, desired: Desired, wanted_by: str | None
) -> tuple[bool, str | None]:
    """Reads, plans and acts; again when somebody changed the order in between. `wanted_by`: who wants it on hold.
    Returns (whether anything was done, who holds it)."""
    desired = replace(desired, document={**desired.document, "OrderStatus": "OnHold" if wanted_by else "Open"})
    for _ in range(5):
        current, etag = runtime.tims.read(f"/sales-orders/{segment(link.target_id)}")
        set_by = _set_by(runtime, key, link, current, wanted_by)
        actions, refusals = order_changes.plan(current, desired, may_release=set_by in OURS)
        refusals += _taken_back(runtime, key, current, desired)
        if refusals:
            raise _CannotApply(
                [
                    {"field": r.field, "rule": r.code, "value": "", "line": "", "says": r.message,
                     "do": "Settle it by hand in TIMS (a return, a second order), then dismiss this."}
                    for r in refusals
                ]
            )  # fmt: skip
        try:
            for action in actions:
                _act(runtime, batch_id, key, current, action, etag)
        except RecordRejected as error:
            if error.code == "STALE_VERSION":
                continue
            raise _CannotApply(reasons(error, do=ADVICE, prefix="The change cannot be applied: ")) from error
        return bool(actions), order_changes.held_by(current, set_by, wanted_by)
    raise Transient(
        f"Sales order {link.target_id} is being changed by somebody else all the time.",
        do="Nothing to do: it is tried again.",
        system="tims",
    )


def _taken_back(runtime: Runtime, key: str, current: Mapping[str, Any], desired: Desired) -> list[Refusal]:
    """Why cancellations that we have sent cannot be taken back, as the channel has done."""
    found = order_changes.uncancelled(current, desired)
    if not found:
        return []
    table = ops_delivery
    sent = sa.select(table.c.idempotency_key).where(
        table.c.entity == ORDER.entity, table.c.key == key, table.c.operation.in_(("cancel", "cancel_line")),
        table.c.outcome == "confirmed",
    )  # fmt: skip
    with runtime.engine.begin() as connection:
        ours = {name.split(":")[2] for name in connection.scalars(sent)}
    return [refusal for number, refusal in found.items() if not ours.isdisjoint(("cancel", f"line{number}"))]


def _set_by(runtime: Runtime, key: str, link: sa.Row, current: Mapping[str, Any], wanted_by: str | None) -> str | None:
    """Who has put an order on hold: by its link, or by our own delivery where a crash kept it out of the link."""
    if link.held_by in OURS or current["OrderStatus"] != "OnHold" or wanted_by is None:
        return link.held_by
    table = ops_delivery
    mine = sa.select(table.c.id).where(
        table.c.entity == ORDER.entity, table.c.key == key, table.c.operation == "hold",
        table.c.outcome != "rejected", table.c.sent_at > link.updated_at,
    )  # fmt: skip
    with runtime.engine.begin() as connection:
        return wanted_by if connection.execute(mine.limit(1)).first() else link.held_by


def _act(runtime: Runtime, batch_id: int, key: str, current: Mapping[str, Any], action: Action, etag: str) -> None:
    order_id = current["SalesOrderID"]
    name = f"so:{order_id}:{action.name}:{current['RowVersion']}"
    effect = Effect("sales_order", action.operation, key, name)
    path = f"/sales-orders/{segment(order_id)}"
    deliver(
        runtime,
        NAME,
        batch_id,
        effect,
        lambda: (
            runtime.tims.patch(path, dict(action.body), etag=etag)
            if action.operation == "update"
            else runtime.tims.post(path + action.path, dict(action.body), key=name).document()
        ),
    )


def _share(
    runtime: Runtime, batch_id: int, order: _Order, link: sa.Row, desired: Desired, wanted_by: str | None
) -> tuple[bool, str | None]:
    """Updates an order of which the marketplace ships a part: records its shipments, and holds the order while units
    are open that it may ship, or by rule (not paid). Returns (whether anything was done, who holds it)."""
    acted = False
    if new := _unrecorded(runtime, order, link.target_id):
        acted, _ = _apply(
            runtime, batch_id, order.key, link, desired, None
        )  # released first: an order on hold accepts no shipment
        acted |= _record(runtime, batch_id, order, link.target_id, new)
    current, _ = runtime.tims.read(f"/sales-orders/{segment(link.target_id)}")
    there = runtime.tims.find("shipments", SalesOrderID=[link.target_id])
    theirs = transform.units_of([one for one in there if one["LocationID"] == order.location_id])
    if wanted_by is None and order_changes.waits_for_the_marketplace(current, desired, theirs):
        wanted_by = CROSSDOCK
    applied, held_by = _apply(runtime, batch_id, order.key, link, desired, wanted_by)
    return acted or applied, held_by


def _record(runtime: Runtime, batch_id: int, order: _Order, order_id: str, shipments: Sequence[dict[str, Any]]) -> bool:
    """Records the channel's shipments in TIMS, with their dates, each once. Returns whether any was new."""
    current, _ = runtime.tims.read(f"/sales-orders/{segment(order_id)}")
    open_units = {line["LineNo"]: line["Quantity"] - line["QuantityShipped"] - line["QuantityCancelled"]
                  for line in current["LineItems"]}  # fmt: skip
    acted = False
    for shipment in shipments:
        try:
            if not _deliver_shipment(runtime, batch_id, order, order_id, shipment, current["LineItems"], open_units):
                continue
        except RecordRejected as error:
            if error.code == "DUPLICATE_EXTERNAL_REFERENCE":
                continue
            raise _CannotApply(reasons(error, do=ADVICE, prefix="Its shipment cannot be recorded: ")) from error
        acted = True
    return acted


def _deliver_shipment(
    runtime: Runtime,
    batch_id: int,
    order: _Order,
    order_id: str,
    shipment: dict[str, Any],
    lines: Sequence[Mapping[str, Any]],
    open_units: dict[int, int],
) -> bool:
    """Records one of the channel's shipments, and takes its units off `open_units`; whether it has any of these."""
    parcel = transform.shipment_lines(shipment.pop("units"), lines, open_units)
    if not parcel:
        return False
    body = {**shipment, "Source": SOURCE, "Lines": parcel}
    name = f"ship:{SOURCE}:{shipment['ExternalReference']}"
    deliver(
        runtime,
        NAME,
        batch_id,
        Effect(SHIPMENT, "ship", order.key, name),
        partial(_post_shipment, runtime, order_id, body, name),
        Document(order.key, msgspec.json.encode(body), name, None, {}, after=[(ORDER.entity, order.key)]),
    )
    return True


def _keep_shipments(runtime: Runtime, batch_id: int, orders: Sequence[_Order]) -> None:
    """In shadow mode: keeps the channel's shipments that would be recorded as soon as these orders are made. Their
    lines are numbered as TIMS will number them."""

    def keep(order: _Order) -> None:
        items = msgspec.json.decode(order.body)["LineItems"]
        lines = [{**line, "LineNo": number} for number, line in enumerate(items, 1)]
        open_units = {line["LineNo"]: line["Quantity"] - order.cancelled_units.get(line["ExternalLineID"], 0)
                      for line in lines}  # fmt: skip
        for shipment in _unrecorded(runtime, order, None):
            try:
                _deliver_shipment(runtime, batch_id, order, f"new-{order.key}", shipment, lines, open_units)
            except WriteRefused as error:
                log.info("A shipment of order %s is not recorded: %s", order.key, error)

    if wanted := [order for order in orders if order.record_shipments]:
        with Pool(4, "shipments") as pool:
            list(pool.map(keep, wanted))


def _post_shipment(runtime: Runtime, order_id: str, body: dict[str, Any], name: str) -> dict[str, Any]:
    return runtime.tims.post(f"/sales-orders/{segment(order_id)}/shipments", body, key=name).document()


def _unrecorded(runtime: Runtime, order: _Order, order_id: str | None) -> list[dict[str, Any]]:
    """Finds the channel's shipments of an order that TIMS does not have; None: it has no such order yet. A shipped
    order without any gets one, of all shipped units that are in no shipment of TIMS. In a mixed order, shipments that
    we have reported left our location.

    Reads the channel first: a shipment reported to it in between is in TIMS."""
    found = [
        transform.shipment(msgspec.json.decode(record), order.units_per_kit)
        for page in runtime.channel_advisor.pages("shipping", since=None, before=None, channelAdvisorOrderId=order.key)
        for record in page.records
    ]
    there = runtime.tims.find("shipments", SalesOrderID=[order_id]) if order_id else []
    if not found:
        sent = transform.units_of(there)
        rest = {line: max(0, units - sent.get(line, 0)) for line, units in order.shipped_units.items()}
        found = [transform.shipment_without_record(order.key, order.version, rest)]
    already_sent: frozenset[str] = frozenset()
    if order.own_location_id is not None:
        parcel = stage_channel_shipment.c
        reported = sa.select(parcel["SellerFulfillmentID"]).where(
            parcel["ChannelAdvisorOrderID"] == int(order.key), parcel.state.in_(("delivered", "unchanged"))
        )
        with runtime.engine.begin() as connection:
            already_sent = frozenset(connection.scalars(reported))
    placed = [
        {**one, "LocationID": order.own_location_id if one.get("number") in already_sent else order.location_id}
        for one in found
    ]
    return transform.unknown(placed, there)
