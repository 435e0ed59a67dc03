"""Writes of orders: exported marks, changes, shipments.

In: calls of one order. Out: 204, the state of the facade changed. Never: a second meaning of an order's status; the
rules of the facade hold here too, and what they refuse is a 400 with a sentence.

Nothing is idempotent but the exported mark: a repeated Ship ships what is open, or is refused when nothing is.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from sandbox.channel_advisor import repository, rules, shipments, stock
from sandbox.channel_advisor.rules import Document
from sandbox.channel_advisor.values import utc
from sandbox.channel_advisor_v1 import bodies, documents
from sandbox.channel_advisor_v1.bodies import bad
from sandbox.channel_advisor_v1.documents import FLAGS
from sandbox.channel_advisor_v1.face import Face, Handler, Path, missing, single
from sandbox.channel_advisor_v1.lists import View, shown
from sandbox.channel_advisor_v1.nodes import FULFILLMENT, ORDER, Reader
from sandbox.channel_advisor_v1.options import Options
from sandbox.channel_advisor_v1.schema import complexes, entities
from sandbox.kernel import clock
from sandbox.kernel.http import Answer
from sandbox.kernel.store import Row, Transaction
from sandbox.kernel.system import Call

if TYPE_CHECKING:
    from sandbox.kernel.system import System

PLAIN = ("SellerOrderID", "SpecialInstructions", "PaymentStatus")  # that the facade has by the same name
BESIDE = (
    "PublicNotes", "PrivateNotes", "FlagDescription", "OrderTags", "ResellerID", "EstimatedShipDateUtc",
    "DeliverByDateUtc", "PaymentMethod", "PaymentTransactionID", "PaymentMerchantReferenceNumber", "BuyerEmailOptIn",
)  # fmt: skip
STATUS = {"Shipped": "Shipped", "Canceled": "Cancelled", "PendingShipment": "Processing"}  # that a change may set
RELEASED = ("Completed", "CompletedAndVisited", "CompletedOffline")
PARTS = {
    "CompanyName": "Company", "AddressLine1": "Line1", "AddressLine2": "Line2", "City": "City",
    "StateOrProvince": "Region", "StateOrProvinceName": "Region", "PostalCode": "PostalCode", "Country": "Country",
}  # fmt: skip
DETAILS = (
    "TrackingUrl", "ReturnTrackingNumber", "DistributionCenterID", "SerialShippingContainerCode", "ShippingCost",
    "InsuranceCost", "TaxCost", "StagingLocation", "EstimatedDeliveryDateUtc", "EstimatedShipDateUtc",
)  # fmt: skip
REPORTED = {"ShippingCarrier": "Carrier", "ShippingClass": "ServiceClass", "TrackingNumber": "TrackingNumber"}
FULL = Options()


def add(face: Face) -> None:
    """Adds the actions of orders and fulfillments."""
    system = face.system
    table: dict[tuple[str, str, str], Handler] = {
        ("Orders", "POST", "Export"): partial(mark, face, on=True),
        ("Orders", "DELETE", "Export"): partial(mark, face, on=False),
        ("Orders", "PATCH", ""): partial(change, face),
        ("Orders", "PUT", ""): partial(change, face),
        ("Orders", "POST", "Ship"): partial(ship, face),
        ("OrderItems", "PATCH", ""): partial(change_item, face),
        ("Fulfillments", "POST", ""): partial(create_fulfillment, system, face),
        ("Fulfillments", "PATCH", ""): partial(change_fulfillment, face),
        ("Fulfillments", "PUT", ""): partial(change_fulfillment, face),
    }
    face.actions |= table


def order_of(face: Face, tx: Transaction, call: Call, path: Path) -> Row:
    """The order that a path names, in the profiles of the token. Refusal 404."""
    number = face.find(tx, call, path).values["ID"]
    return order_of_number(tx, number)


def order_of_number(tx: Transaction, number: int) -> Row:
    row = tx.get("order", number)
    if row is None:
        raise missing(entities()["Order"], str(number))
    return row


def moment(system: System, row: Row) -> int:
    return max(system.clock.now(), row.modified + 1)


# ---- marks and changes ----
def mark(face: Face, call: Call, path: Path, *, on: bool) -> Answer:
    application = call.access.client
    with face.system.store.write() as tx:
        row = order_of(face, tx, call, path)
        others = [name for name in row.doc["Exported"] if name != application]
        marks = [*others, application] if on else others
        if marks != row.doc["Exported"]:
            tx.put("order", row.id, row.doc | {"Exported": marks}, modified=row.modified, extra=row.extra)
    return Answer(204)


def change(face: Face, call: Call, path: Path) -> Answer:
    """PATCH and PUT alike: what is not given stays."""
    sent = bodies.of(entities()["Order"], bodies.read(call))
    with face.system.store.write() as tx:
        row = order_of(face, tx, call, path)
        present = face.find(tx, call, path).values
        given = {name: value for name, value in sent.items() if value != present[name]}
        beside = {name: given.pop(name) for name in BESIDE if name in given}
        after = _changed(row.doc, given)
        if after == row.doc and not beside:
            return Answer(204)
        at = moment(face.system, row)
        if beside:
            kept = tx.get(ORDER, row.id)
            tx.put(ORDER, row.id, (kept.doc if kept else {}) | beside, modified=at)
        after = repository.put_order(tx, after, at)
        stock.follow(tx, after, at)
        if after["OrderStatus"] == "Shipped":
            shipments.record_untracked(tx, row.doc, at)
    return Answer(204)


def _changed(order: Document, given: Document) -> Document:
    """The order with these properties of v1. Refusal for one that cannot be written."""
    after = order | {name: given.pop(name) for name in PLAIN if name in given}
    if "FlagID" in given:
        number = given.pop("FlagID")
        flags = [name for name, value in FLAGS.items() if value == number]
        if not flags:
            raise bad(f"The request is invalid. There is no flag {number}.")
        after["Flag"] = flags[0]
    for kind, part in (("Shipping", "ShippingAddress"), ("Billing", "BillingAddress")):
        fields = {name: given.pop(name) for name in list(given) if _is_address(name, kind)}
        if fields:
            after[part] = _address(order.get(part) or {}, kind, fields)
    status = _status(order, given)
    if given:
        raise bad(f"The request is invalid. The property '{next(iter(given))}' cannot be written.")
    return rules.moved(after, status)


def _is_address(name: str, kind: str) -> bool:
    return name.startswith(kind) and name.removeprefix(kind) in (*PARTS, "FirstName", "LastName")


def _address(address: Document, kind: str, fields: Mapping[str, Any]) -> Document:
    first, last = documents.name_parts(address.get("Name"))
    names = (fields.get(f"{kind}FirstName", first), fields.get(f"{kind}LastName", last))
    made = dict.fromkeys(("Name", *PARTS.values())) | address | {"Name": " ".join(filter(None, names)) or None}
    for name, part in PARTS.items():
        if f"{kind}{name}" in fields:
            made[part] = fields[f"{kind}{name}"]
    return made


def _status(order: Document, given: Document) -> str:
    """The facade's status that CheckoutStatus or ShippingStatus ask for."""
    present = str(order["OrderStatus"])
    checkout, shipping = given.pop("CheckoutStatus", None), given.pop("ShippingStatus", None)
    if shipping is not None:
        if shipping not in STATUS:
            raise bad(f"The request is invalid. ShippingStatus cannot be made {shipping}.")
        return STATUS[shipping]
    if checkout == "OnHold":
        return "OnHold"
    if checkout in RELEASED:
        return "New" if present == "OnHold" else present
    if checkout is not None:
        raise bad(f"The request is invalid. CheckoutStatus cannot be made {checkout}.")
    return present


def change_item(face: Face, call: Call, path: Path) -> Answer:
    """SellerOrderItemID is kept beside the line; nothing else may be written."""
    sent = bodies.of(entities()["OrderItem"], bodies.read(call))
    with face.system.store.write() as tx:
        item = face.find(tx, call, path).values
        given = {name: value for name, value in sent.items() if value != item[name]}
        if wrong := sorted(set(given) - {"SellerOrderItemID"}):
            raise bad(f"The request is invalid. The property '{wrong[0]}' cannot be written.")
        kept = tx.get(ORDER, item["OrderID"])
        doc = kept.doc if kept else {}
        items = doc.get("_items", {}) | ({str(item["ID"]): given["SellerOrderItemID"]} if given else {})
        if given:
            tx.put(ORDER, item["OrderID"], doc | {"_items": items}, modified=face.system.clock.now())
    return Answer(204)


# ---- shipments ----
def ship(face: Face, call: Call, path: Path) -> Answer:
    sent = bodies.wrapped(call, "ShipOrderRequest")
    with face.system.store.write() as tx:
        row = order_of(face, tx, call, path)
        record(face, tx, row, sent, sent.get("Items"))
    return Answer(204)


def record(
    face: Face, tx: Transaction, row: Row, sent: Document, items: list[Document] | None, number: int | None = None
) -> int:
    """Ship units of an order; DeliveryStatus NoChange only notes what is to be shipped. Answers the fulfillment's
    ID. `number`: that of the fulfillment that is shipped."""
    order = row.doc
    at = moment(face.system, row)
    details = {name: sent[name] for name in DETAILS if sent.get(name) is not None}
    if sent.get("DeliveryStatus") == "NoChange":
        number = documents.AUTOMATIC + order["ChannelAdvisorOrderID"] if number is None else number
        names = ("ShippingCarrier", "ShippingClass", "TrackingNumber", "SellerFulfillmentID")
        note(tx, number, details | {name: sent[name] for name in names if sent.get(name) is not None}, at)
        return number
    rules.check_shippable(order)
    kept = None if number is None else tx.get(FULFILLMENT, number)
    noted = kept.doc if kept else {}
    carrier, service = sent.get("ShippingCarrier"), sent.get("ShippingClass")
    if (carrier is None) != (service is None):
        raise bad("ShippingCarrier and ShippingClass must be given together.")
    if carrier is None:
        carrier = noted.get("ShippingCarrier", order.get("RequestedShippingCarrier"))
        service = noted.get("ShippingClass", order.get("RequestedShippingClass"))
    else:
        carrier, service = shipments.known_service(carrier, service)
    key = sent.get("SellerFulfillmentID") or noted.get("SellerFulfillmentID")
    if key is not None and shipments.is_amazon(order) and not (key.isascii() and key.isdigit()):
        raise bad("SellerFulfillmentID: Amazon takes digits only.")
    units = rules.chosen_units(order, None if items is None else _meant(Reader(tx, face.memory.numbers), order, items))
    shipped = utc(sent["ShippedDateUtc"]) if sent.get("ShippedDateUtc") else clock.text(at)
    tracking = sent.get("TrackingNumber") or noted.get("TrackingNumber")
    reported = {"ShippedDate": shipped, "Carrier": carrier, "ServiceClass": service, "TrackingNumber": tracking}
    shipment = shipments.shipment_of(tx, order, units, key, reported)
    if number is not None:
        shipment |= {"ShipmentID": number, "SellerFulfillmentID": str(number) if key is None else key}
    if not shipment["Items"]:
        raise bad("The request is invalid. No units are shipped.")
    repository.put_shipment(tx, shipment, at)
    stock.follow(tx, repository.put_order(tx, rules.shipped(order, units), at), at)
    status = sent.get("DeliveryStatus") or "Complete"
    note(tx, shipment["ShipmentID"], details | ({} if status == "Complete" else {"DeliveryStatus": status}), at)
    return int(shipment["ShipmentID"])


def note(tx: Transaction, number: int, fields: Document, at: int) -> None:
    """Keep what the facade has no word for beside a fulfillment."""
    if fields:
        kept = tx.get(FULFILLMENT, number)
        tx.put(FULFILLMENT, number, (kept.doc if kept else {}) | fields, modified=at)


def _meant(reader: Reader, order: Document, items: list[Document]) -> list[Document]:
    """Items as the facade names them: by line or by SKU."""
    made = []
    for item in items:
        bodies.of(complexes()["ShipOrderRequestItem"], item)
        if item.get("Quantity", 0) < 1:
            raise bad("The request is invalid. Quantity must be at least 1.")
        if item.get("OrderItemID") is not None:
            made.append({"OrderItemID": item["OrderItemID"], "Quantity": item["Quantity"]})
        elif item.get("Sku"):
            made.append({"SKU": item["Sku"], "Quantity": item["Quantity"]})
        else:
            numbers = {reader.product_id(order["ProfileID"], line["SKU"]): line["SKU"] for line in order["OrderItems"]}
            sku = numbers.get(item.get("ProductID", 0))
            if not sku:
                raise bad("The request is invalid. An item names no line of the order.")
            made.append({"SKU": sku, "Quantity": item["Quantity"]})
    return made


def create_fulfillment(system: System, face: Face, call: Call, path: Path) -> Answer:
    if path.key_text is not None:
        raise bad("The request is invalid. A fulfillment is created without a key.")
    body = bodies.read(call)
    items = body.pop("Items", None)
    sent = bodies.of(entities()["Fulfillment"], body)
    with system.store.write() as tx:
        row = tx.get("order", sent.get("OrderID") or 0)
        if row is None or row.doc["ProfileID"] not in call.access.profiles:
            raise bad(f"The request is invalid. There is no order {sent.get('OrderID')}.")
        number = record(face, tx, row, sent, items)
        node = next(
            each
            for each in Reader(tx, face.memory.numbers).fulfillments(order_of_number(tx, int(row.id)))
            if each.values["ID"] == number
        )
        answer = single(call, node, shown(node, FULL, View(call.base_url, "", is_truncated=False)))
    return Answer(201, answer, {"Location": f"{call.base_url}/v1/Fulfillments({number})"})


def change_fulfillment(face: Face, call: Call, path: Path) -> Answer:
    """Without DeliveryStatus the fulfillment becomes shipped, as the documents of the API warn."""
    sent = bodies.of(entities()["Fulfillment"], bodies.read(call))
    with face.system.store.write() as tx:
        node = face.find(tx, call, path)
        number = node.values["ID"]
        shipment = tx.get("shipment", number)
        row = order_of_number(tx, node.values["OrderID"])
        if shipment is None:
            items = [
                {"OrderItemID": item.values["OrderItemID"], "Quantity": item.values["Quantity"]}
                for item in node.link("Items")
            ]
            if node.values["ShippedDateUtc"] is None:
                record(face, tx, row, sent, items, number)
                return Answer(204)
        _correct(face, tx, row, shipment, sent, number)
    return Answer(204)


def _correct(face: Face, tx: Transaction, row: Row, shipment: Row | None, sent: Document, number: int) -> None:
    """Corrects what was reported of a shipment."""
    at = moment(face.system, row)
    carrier, service = sent.get("ShippingCarrier"), sent.get("ShippingClass")
    if (carrier is None) != (service is None):
        raise bad("ShippingCarrier and ShippingClass must be given together.")
    if carrier is not None:
        carrier, service = shipments.known_service(carrier, service)
        sent = sent | {"ShippingCarrier": carrier, "ShippingClass": service}
    names = [*DETAILS, *(() if shipment else REPORTED)]
    fields = {name: sent[name] for name in names if name in sent}
    if sent.get("DeliveryStatus") not in (None, "NoChange"):
        fields["DeliveryStatus"] = sent["DeliveryStatus"]
    note(tx, number, fields, at)
    if shipment is None:
        return
    after = shipment.doc | {part: sent[name] for name, part in REPORTED.items() if name in sent}
    if sent.get("ShippedDateUtc"):
        after["ShippedDate"] = utc(sent["ShippedDateUtc"])
    if sent.get("SellerFulfillmentID"):
        after["SellerFulfillmentID"] = sent["SellerFulfillmentID"]
    if after != shipment.doc:
        repository.put_shipment(tx, after, max(at, shipment.modified + 1))
