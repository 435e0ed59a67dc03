"""Events: what buyers, marketplaces and the account's staff do.

In: events `{"id", "at", "kind", "document"}`. Out: stored documents, valid by the contract's read schemas. Never: an
event taken in twice, a document that the contract would not let the server answer with.

| kind | document |
|---|---|
| site, distribution_center, product, order | the whole document as the read schema has it, without UpdatedDate |
| order_change | {"ChannelAdvisorOrderID", "changes"}: see `changed` |
| shipment | a whole shipment; its units count as shipped, if the order does not count them yet |
| return | a whole return, but for what follows from its order: ids, currency, amounts of its units |
| return_change | {"ReturnID", "changes"}: a merge patch, items matched by OrderItemID |
| level | {"SKU", "DistributionCenterID", "AvailableQuantity"}: what staff or a marketplace put on offer in any center |
| price | {"SKU", ...}: the fields of a price that staff or a repricer change; no bound holds them |
| promotion | {"PromotionID", "Name", "StartDate", "EndDate"}: set up by staff; prices that carry it give its dates |
| listing | a whole listing, as staff set it up or a marketplace has it |
| listing_change | {"ListingID", "changes"}: a merge patch; what staff or a marketplace make of a listing |
| forget | {"ChannelAdvisorOrderID"}: the buyer's personal data vanish |

`at` becomes UpdatedDate, but not before ImportDate and always after the row's last change. What a document leaves out
of the required fields gets the neutral value. An order whose amounts or units contradict each other is refused unless
the event says `"dirty": true`; so is a return of an order that has not shipped, or is not there yet. An event without
an id is known by its content.

Whoever moves the clock applies what happened until then first: a row whose UpdatedDate is behind a reader's watermark
is found by its nightly sweep only.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2b
from typing import Any

import msgspec

from sandbox.channel_advisor import account, listings, prices, products, repository, returns, rules, shipments, stock
from sandbox.channel_advisor.rules import Document
from sandbox.channel_advisor.values import Refused, exact, patched, utc, whole
from sandbox.kernel import clock
from sandbox.kernel.contract import Contract
from sandbox.kernel.store import Row, Transaction

TIMES = frozenset(
    ("OrderDate", "ImportDate", "PaymentDate", "ShippedDate", "CreatedDate", "RefundDate", "StartDate", "EndDate")
)
MONEY = frozenset((*rules.LINE_MONEY, *rules.ORDER_MONEY, *returns.REFUNDS, "RefundTotal", "Cost", *prices.MONEY))
LINE = {"QuantityShipped": 0, "QuantityCancelled": 0, "QuantityReturned": 0}
ORDER: Document = {
    "PaymentStatus": "NotYetSubmitted",
    "TaxRemittedBy": "Seller",
    **dict.fromkeys(rules.TAX_TYPES),
    "DistributionCenterTypeRollup": "SellerManaged",
    "Flag": "NoFlag",
    "UserDataPresent": True,
}
_encode = msgspec.json.Encoder(decimal_format="number", order="deterministic").encode


def apply(contract: Contract, tx: Transaction, event: dict[str, Any], at: int) -> None:
    """Take in one event. ValueError in a sentence when it cannot be taken."""
    existing = str(event.get("id") or blake2b(_encode(event), digest_size=16).hexdigest())
    if tx.owner("event", existing) is not None:
        return
    kind = event["kind"]
    if kind not in KINDS:
        raise ValueError(f"there is no kind {kind!r}; known: {', '.join(KINDS)}.")
    KINDS[kind](contract, tx, plain(event["document"]), at, bool(event.get("dirty")))
    tx.reserve("event", existing, kind)


def plain(value: Any, name: str = "") -> Any:
    """A document with amounts of 4 decimals and times in UTC, as answers have them."""
    if isinstance(value, str):
        return utc(value) if name in TIMES else value
    if isinstance(value, dict):
        return {key: plain(each, key) for key, each in value.items()}
    if isinstance(value, list):
        return [plain(each, name) for each in value]
    if value is None or isinstance(value, bool):
        return value
    return exact(value) if name in MONEY else whole(value)


def valid(contract: Contract, schema: str, document: Document) -> Document:
    """The document, if the contract's read schema has it so. ValueError that names what it breaks."""
    found = contract.findings(schema, document)
    if found:
        raise ValueError("; ".join(f"{f.pointer}: {f.message}" for f in found[:5]))
    return document


def newer(tx: Transaction, kind: str, key: Any, at: int) -> int:
    """`at`, or the first moment after the row's last change."""
    row = tx.get(kind, key)
    return at if row is None else max(at, row.modified + 1)


# ---- reference data ----
def apply_site(contract: Contract, tx: Transaction, site: Document, at: int, dirty: bool) -> None:
    at = newer(tx, "site", site["SiteID"], at)
    tx.put("site", site["SiteID"], valid(contract, "Site", site | {"UpdatedDate": clock.text(at)}), modified=at)


def apply_center(contract: Contract, tx: Transaction, center: Document, at: int, dirty: bool) -> None:
    key = center["DistributionCenterID"]
    at = newer(tx, "distribution_center", key, at)
    external = center.get("Type") == "ExternallyManaged"
    neutral = {
        "ProfileID": account.MAIN_PROFILE,
        "Type": "Warehouse",
        "IsExternallyManaged": external,
        "IsDeleted": False,
    }
    center = neutral | center | {"UpdatedDate": clock.text(at)}
    tx.put("distribution_center", key, valid(contract, "DistributionCenter", center), modified=at)


def apply_product(contract: Contract, tx: Transaction, product: Document, at: int, dirty: bool) -> None:
    owner = product.get("ProfileID", account.MAIN_PROFILE)
    existing = repository.product(tx, owner, product["SKU"])
    if existing and existing.doc["SKU"] != product["SKU"]:
        raise ValueError(f"SKU {existing.doc['SKU']} exists; SKUs match case-insensitively.")
    if existing:
        at = max(at, existing.modified + 1)
        number, created = existing.doc["ProductID"], existing.doc["CreatedDate"]
    else:
        number, created = product.get("ProductID"), clock.text(at)
    neutral = {
        "ProductID": tx.next_number("ProductID", products.FIRST_PRODUCT) if number is None else number,
        "ProfileID": owner,
        "ProductType": "Item",
        "CreatedDate": created,
    }
    product = neutral | {"TotalAvailableQuantity": existing.doc["TotalAvailableQuantity"] if existing else 0} | product
    valid(contract, "Product", product | {"UpdatedDate": clock.text(at)})
    if product["ProductType"] in stock.WITHOUT_STOCK:
        product["TotalAvailableQuantity"] = None
    elif product["TotalAvailableQuantity"] is not None:
        product = stock.with_total(tx, product, product["TotalAvailableQuantity"], at)
    repository.put_product(tx, product, at)


def apply_level(contract: Contract, tx: Transaction, sent: Document, at: int, dirty: bool) -> None:
    owner = sent.get("ProfileID", account.MAIN_PROFILE)
    product, center = product_of(tx, owner, sent), sent["DistributionCenterID"]
    if center not in stock.centers_of(tx, owner) or product.doc["ProductType"] in stock.WITHOUT_STOCK:
        raise ValueError(f"there is no stock of {sent['SKU']} in center {center}.")
    level = stock.level_of(tx, owner, product.doc["SKU"], center)
    stock.put(tx, product, center, level._replace(balance=int(sent["AvailableQuantity"])), at)


def apply_price(contract: Contract, tx: Transaction, sent: Document, at: int, dirty: bool) -> None:
    owner = sent.get("ProfileID", account.MAIN_PROFILE)
    product = product_of(tx, owner, sent)
    price = prices.changed(repository.price(tx, owner, product.doc["SKU"]), sent, owner)
    valid(contract, "Price", price | {"ProfileID": owner, "UpdatedDate": clock.text(at)})
    carried = prices.Carried(tx, owner, at)
    prices.put(tx, product, price, at, carried)
    carried.write()


def apply_promotion(contract: Contract, tx: Transaction, sent: Document, at: int, dirty: bool) -> None:
    owner = sent.get("ProfileID", account.MAIN_PROFILE)
    carried = prices.dates_of(tx, owner, sent["PromotionID"])
    prices.put_promotion(tx, owner, sent["PromotionID"], sent, carried, at)
    row = repository.promotion(tx, owner, sent["PromotionID"])
    valid(contract, "Promotion", row.doc if row else {})


def apply_listing(contract: Contract, tx: Transaction, sent: Document, at: int, dirty: bool) -> None:
    owner = sent.get("ProfileID", account.MAIN_PROFILE)
    sent = {"ProfileID": owner} | sent | {"SKU": product_of(tx, owner, sent).doc["SKU"]}
    put_listing(contract, tx, listings.whole(tx, sent), at)


def apply_listing_change(contract: Contract, tx: Transaction, sent: Document, at: int, dirty: bool) -> None:
    row = tx.get("listing", sent["ListingID"])
    if row is None:
        raise ValueError(f"there is no listing {sent['ListingID']}.")
    put_listing(contract, tx, patched(row.doc, sent["changes"]), at)


def put_listing(contract: Contract, tx: Transaction, listing: Document, at: int) -> None:
    at = newer(tx, "listing", listing["ListingID"], at)
    stamp = clock.text(at)
    valid(contract, "Listing", {"CreatedDate": stamp} | listing | {"UpdatedDate": stamp})
    repository.put_listing(tx, listing, at)


def product_of(tx: Transaction, owner: int, sent: Document) -> Row:
    row = repository.product(tx, owner, sent["SKU"])
    if row is None:
        raise ValueError(f"there is no product {sent['SKU']}.")
    return row


# ---- orders ----
def apply_order(contract: Contract, tx: Transaction, order: Document, at: int, dirty: bool) -> None:
    lines = [LINE | line for line in order.get("OrderItems", [])]
    stamp = clock.text(at)
    order = ORDER | {"ProfileID": account.MAIN_PROFILE, "OrderDate": stamp, "ImportDate": stamp} | order
    order |= {"OrderItems": lines, "OrderItemCount": order.get("OrderItemCount", len(lines))}
    order.setdefault("OrderID", str(order["ChannelAdvisorOrderID"]))
    order.setdefault("OrderStatus", "New" if order["PaymentStatus"] in ("Cleared", "Deposited") else "Pending")
    external = order["DistributionCenterTypeRollup"] == "ExternallyManaged"
    fulfillment = "ThirdPartyManaged" if external else rules.FULFILLMENT.get(order["OrderStatus"], "Unshipped")
    put_order(contract, tx, {"FulfillmentStatus": fulfillment} | order, at, dirty)


def apply_change(contract: Contract, tx: Transaction, event: Document, at: int, dirty: bool) -> None:
    put_order(contract, tx, changed(stored(tx, event), event["changes"]), at, dirty)


def apply_forget(contract: Contract, tx: Transaction, event: Document, at: int, dirty: bool) -> None:
    put_order(contract, tx, rules.forgotten(stored(tx, event)), at, dirty=True)


def stored(tx: Transaction, event: Document) -> Document:
    key = event["ChannelAdvisorOrderID"]
    row = tx.get("order", key)
    if row is None:
        raise ValueError(f"there is no order {key}.")
    return row.doc


def changed(order: Document, changes: Document) -> Document:
    """The order after a merge patch. Lines are matched by OrderItemID: an unknown id adds a line, `"_remove": true`
    takes one away. null stays as "not given"; OrderItemCount follows the lines unless the patch says it."""
    lines = {line["OrderItemID"]: line for line in order["OrderItems"]}
    for patch in changes.get("OrderItems", []):
        key = patch["OrderItemID"]
        if not patch.get("_remove"):
            lines[key] = patched(lines.get(key, LINE), patch)
        elif lines.pop(key, None) is None:
            raise ValueError(f"order {order['ChannelAdvisorOrderID']} has no line {key}.")
    rest = {name: value for name, value in changes.items() if name != "OrderItems"}
    kept = {"OrderItems": list(lines.values()), "OrderItemCount": len(lines)}
    return patched(order | kept, rest)


def put_order(contract: Contract, tx: Transaction, order: Document, at: int, dirty: bool) -> None:
    """Store an order that the contract and its own equations allow; the marks of the applications stay."""
    key = order["ChannelAdvisorOrderID"]
    row = tx.get("order", key)
    order = {name: value for name, value in order.items() if name != "UpdatedDate"}
    order["Exported"] = row.doc["Exported"] if row else []
    at = max(newer(tx, "order", key, at), clock.parse(order["ImportDate"]))
    valid(contract, "Order", order | {"Exported": False, "UpdatedDate": clock.text(at)})
    wrong = [] if dirty else rules.inconsistencies(order)
    if wrong:
        raise ValueError(f"order {key}: {' '.join(wrong)} Say dirty if it is meant.")
    holder = repository.reserve_order(tx, order, key)
    if holder != key:
        raise ValueError(f"order {key}: OrderID {order['OrderID']} is that of order {holder}.")
    stock.follow(tx, repository.put_order(tx, order, at), at)


def apply_shipment(contract: Contract, tx: Transaction, shipment: Document, at: int, dirty: bool) -> None:
    order = stored(tx, shipment)
    number = shipment.get("ShipmentID")
    units = rules.chosen_units(unshipped_order(order), shipment.get("Items"))
    stamp = clock.text(at)
    shipment = {
        "ShipmentID": tx.next_number("ShipmentID", shipments.FIRST_SHIPMENT) if number is None else number,
        "ProfileID": order["ProfileID"],
        "ShippedDate": stamp,
        "Carrier": None,
        "ServiceClass": None,
        "TrackingNumber": None,
        "MarketplaceStatus": "Complete",
        "CreatedDate": stamp,
    } | shipment
    shipment.setdefault("SellerFulfillmentID", str(shipment["ShipmentID"]))
    shipment["Items"] = rules.shipment_items(order, units)
    at = newer(tx, "shipment", shipment["ShipmentID"], at)
    valid(contract, "Shipment", shipment | {"UpdatedDate": clock.text(at)})
    repository.put_shipment(tx, shipment, at)
    missing = rules.uncounted(order, [row.doc for row in tx.rows("shipment", order=order["ChannelAdvisorOrderID"])])
    if missing:
        put_order(contract, tx, rules.shipped(order, missing), at, dirty)


def unshipped_order(order: Document) -> Document:
    """The order as if nothing had shipped: what a shipment of the world may take its units from."""
    return order | {"OrderItems": [line | {"QuantityShipped": 0} for line in order["OrderItems"]]}


# ---- returns ----
def apply_return(contract: Contract, tx: Transaction, sent: Document, at: int, dirty: bool) -> None:
    number = sent["ChannelAdvisorOrderID"]
    row = tx.get("order", number)
    if row is None and not dirty:
        raise ValueError(f"there is no order {number}. Say dirty if the return is earlier.")
    order = row.doc if row else {"ProfileID": account.MAIN_PROFILE, "Currency": None} | sent
    if not dirty:
        try:
            items = returns.items_of(order, sent["Items"], returns.of_order(tx, number))
        except Refused as refused:
            raise ValueError(f"order {number}: {refused} Say dirty if it is meant.") from None
        sent = sent | {"Items": items}
    made = returns.whole(tx, order, sent)
    at = newer(tx, "return", made["ReturnID"], at)
    put_return(contract, tx, None, {"CreatedDate": clock.text(at)} | made, at)


def apply_return_change(contract: Contract, tx: Transaction, event: Document, at: int, dirty: bool) -> None:
    row = tx.get("return", event["ReturnID"])
    if row is None:
        raise ValueError(f"there is no return {event['ReturnID']}.")
    changes = {name: value for name, value in event["changes"].items() if name != "Items"}
    patches = {patch["OrderItemID"]: patch for patch in event["changes"].get("Items", [])}
    items = [patched(item, patches.get(item["OrderItemID"], {})) for item in row.doc["Items"]]
    after = row.doc | {"Items": items, "RefundTotal": returns.refund_total(items)} | changes
    put_return(contract, tx, row.doc, after, max(at, row.modified + 1))


def put_return(contract: Contract, tx: Transaction, before: Document | None, after: Document, at: int) -> None:
    valid(contract, "Return", after | {"UpdatedDate": clock.text(at)})
    returns.take_in(tx, before, repository.put_return(tx, after, at), at)


KINDS: dict[str, Callable[[Contract, Transaction, Document, int, bool], None]] = {
    "site": apply_site,
    "distribution_center": apply_center,
    "product": apply_product,
    "level": apply_level,
    "price": apply_price,
    "promotion": apply_promotion,
    "listing": apply_listing,
    "listing_change": apply_listing_change,
    "order": apply_order,
    "order_change": apply_change,
    "shipment": apply_shipment,
    "return": apply_return,
    "return_change": apply_return_change,
    "forget": apply_forget,
}
