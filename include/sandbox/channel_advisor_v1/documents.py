"""The facade's documents in v1's words (docs/channel-advisor-v1.md has it as tables).

In: documents of `sandbox.channel_advisor`, and what v1 keeps beside them. Out: flat documents with every property of
the model. Never: a read, a write, the time; a field of the facade that v1 has no word for.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from hashlib import blake2b
from typing import Any

from sandbox.channel_advisor import account, returns, rules
from sandbox.channel_advisor.rules import Document
from sandbox.channel_advisor.values import ZERO, exact
from sandbox.channel_advisor_v1.schema import entities
from sandbox.kernel.clock import DAY, parse, text

AUTOMATIC = 1_000_000_000  # plus the order's ID: the ID of the fulfillment that is made with an order
FLAGS = {
    "NoFlag": 0, "RedFlag": 1, "QuestionMark": 2, "NotAvailable": 3, "Price": 4, "YellowFlag": 5, "GreenFlag": 6,
    "BlueFlag": 7, "ExclamationPoint": -1, "ItemCopied": -2, "NotSpecified": -9999,
}  # fmt: skip
CHECKOUT = {"Pending": "NotVisited", "OnHold": "OnHold"}
SHIPPING = {
    "Processing": "PendingShipment", "PartiallyShipped": "PartiallyShipped", "Shipped": "Shipped",
    "Returned": "Shipped", "Cancelled": "Canceled",
}  # fmt: skip
RETURN_STATUS = {
    "NewRma": "NewRma", "PendingReturn": "PendingReturn", "Received": "ReadyForReturn",
    "Approved": "ProcessedNotAcknowledged", "Refunded": "PostProcessingComplete", "Rejected": "RejectionCompleted",
    "Closed": "InformationOnly",
}  # fmt: skip
PAID_BY = {"Amazon": "Amazon", "eBay": "PayPal"}
CODE_LETTERS = 3  # a region of up to so many letters is a code
_PARTS = ("Line1", "Line2", "City", "Region", "PostalCode", "Country")
_NEUTRAL = {name: entity.neutral() for name, entity in entities().items()}


def neutral(entity: str) -> Document:
    return dict(_NEUTRAL[entity])


def number_of(*key: object, least: int = 1_000_000_000, most: int = 1_600_000_000) -> int:
    """A steady number of 32 bits for what the facade has no number for."""
    digest = blake2b(repr(key).encode(), digest_size=8).digest()
    return least + int.from_bytes(digest, "big") % (most - least)


def money(value: Any) -> Decimal:
    return ZERO if value is None else value


# ---- orders ----
def order(source: Document, last_shipped: str | None = None) -> Document:
    """`last_shipped`: when its latest shipment was reported."""
    is_pending = source["OrderStatus"] == "Pending"
    items = source["OrderItems"]
    gift_tax = sum((gift_tax_of(source, item) for item in items), ZERO)
    shipping_tax = source.get("TotalShippingTaxPrice")
    site = source.get("SiteName") or ""
    is_direct = source["SiteID"] == account.DIRECT_SALE
    rest = money(source.get("TotalDiscount")) - sum((money(i.get("DiscountAmount")) for i in items), ZERO)
    on_promotion = rest if site.startswith("Amazon") and rest > 0 else ZERO
    has_data = source["UserDataPresent"]
    return neutral("Order") | {
        "ID": source["ChannelAdvisorOrderID"],
        "ProfileID": source["ProfileID"],
        "SiteID": source["SiteID"],
        "SiteName": source.get("SiteName"),
        "UserDataPresent": int(has_data),
        "UserDataRemovalDateUTC": None if has_data else source["UpdatedDate"],
        "SiteOrderID": str(source["ChannelAdvisorOrderID"]) if is_direct else source["OrderID"],
        "SecondarySiteOrderID": source["OrderID"] if is_direct else None,
        "SellerOrderID": source.get("SellerOrderID"),
        "Currency": source.get("Currency"),
        "CreatedDateUtc": source["OrderDate"],
        "ImportDateUtc": source["ImportDate"],
        "UpdatedDateUtc": source["UpdatedDate"],
        "SpecialInstructions": source.get("SpecialInstructions"),
        "TotalPrice": money(source.get("TotalPrice")),
        "TotalTaxPrice": money(source.get("TotalTaxPrice")) + money(shipping_tax),
        "TotalShippingPrice": money(source.get("TotalShippingPrice")),
        "TotalShippingTaxPrice": shipping_tax,
        "TotalGiftOptionPrice": sum((money(item.get("GiftWrapAmount")) for item in items), ZERO),
        "TotalGiftOptionTaxPrice": gift_tax,
        "AdditionalCostOrDiscount": ZERO - (rest - on_promotion),
        "PromotionAmount": ZERO - on_promotion,
        "PromotionCode": "PROMOTION" if on_promotion else None,
        "EstimatedShipDateUtc": None if is_pending else text(parse(source["OrderDate"]) + DAY),
        "RequestedShippingCarrier": source.get("RequestedShippingCarrier"),
        "RequestedShippingClass": source.get("RequestedShippingClass"),
        "FlagID": FLAGS[source["Flag"]],
        "FlagDescription": None if source["Flag"] == "NoFlag" else source["Flag"],
        "OrderTags": "",
        "DistributionCenterTypeRollup": source["DistributionCenterTypeRollup"],
        "CheckoutStatus": CHECKOUT.get(source["OrderStatus"], "CompletedAndVisited"),
        "PaymentStatus": source["PaymentStatus"],
        "ShippingStatus": shipping_status(source),
        "CheckoutDateUtc": None if is_pending else source["OrderDate"],
        "PaymentDateUtc": source.get("PaymentDate"),
        "ShippingDateUtc": last_shipped,
        "PaymentMethod": next((paid for name, paid in PAID_BY.items() if site.startswith(name)), "Credit Card"),
        "BuyerEmailOptIn": False,
        **_tax_types(source),
        **_people(source),
    }


def shipping_status(source: Document) -> str:
    if source["FulfillmentStatus"] == "ThirdPartyManaged":
        return "ThirdPartyManaged"
    status = SHIPPING.get(source["OrderStatus"])
    if status is None:
        return str(source["FulfillmentStatus"])
    return status


def _tax_types(source: Document) -> Document:
    """No type is null in v1: `Standard` without any amount is what a site says that says nothing."""
    items = source["OrderItems"]
    amounts = [source.get("TotalTaxPrice"), source.get("TotalShippingTaxPrice")]
    amounts += [item.get(name) for item in items for name in ("TaxAmount", "ShippingTaxAmount")]
    has_tax = any(amounts)
    found = {}
    for name in rules.TAX_TYPES:
        given = source.get(name)
        found[name] = "NoTax" if given == "Standard" and not has_tax else given or "Standard"
    return found


def _people(source: Document) -> Document:
    """Buyer and addresses. The bill's name is the buyer's; it is given also where there is no address to bill to."""
    who = source.get("CustomerInfo") or {}
    ship, bill = source.get("ShippingAddress") or {}, source.get("BillingAddress") or {}
    first, last = who.get("FirstName"), who.get("LastName")
    if bill.get("Name") and bill["Name"] != " ".join(filter(None, (first, last))):
        first, last = name_parts(bill["Name"])
    company = bill.get("Company") if bill else who.get("Company")
    return {
        "BuyerUserId": who.get("CustomerID"),
        "BuyerEmailAddress": who.get("Email"),
        **_address("Shipping", *name_parts(ship.get("Name")), ship.get("Company"), who.get("Phone"), ship),
        **_address("Billing", first, last, company, who.get("Phone"), bill),
    }


def name_parts(name: str | None) -> tuple[str | None, str | None]:
    """First and last name, parted at the last blank."""
    first, blank, last = (name or "").rpartition(" ")
    return (first or None) if blank else None, last or None


def _address(
    kind: str, first: str | None, last: str | None, company: str | None, phone: str | None, parts: Mapping[str, Any]
) -> Document:
    line1, line2, city, region, postal, country = (parts.get(name) for name in _PARTS)
    is_code = region is not None and len(region) <= CODE_LETTERS
    return {
        f"{kind}FirstName": first,
        f"{kind}LastName": last,
        f"{kind}CompanyName": company,
        f"{kind}DaytimePhone": phone,
        f"{kind}AddressLine1": line1,
        f"{kind}AddressLine2": line2,
        f"{kind}City": city,
        f"{kind}StateOrProvince": region if is_code else None,
        f"{kind}StateOrProvinceName": None if is_code else region,
        f"{kind}PostalCode": postal,
        f"{kind}Country": country,
    }


# ---- lines ----
def gift_tax_of(source: Document, item: Document) -> Decimal:
    """The share of a line's tax that is on its gift wrap: as the wrap stands to goods and wrap."""
    wrap, tax = money(item.get("GiftWrapAmount")), money(item.get("TaxAmount"))
    if not wrap or not tax:
        return ZERO
    goods = money(item.get("UnitPrice")) * item["Quantity"] - money(item.get("DiscountAmount"))
    return (tax * wrap / (goods + wrap)).quantize(ZERO) if goods > 0 else tax


def item(source: Document, line: Document, product: int) -> Document:
    gift_tax = gift_tax_of(source, line)
    return neutral("OrderItem") | {
        "ID": line["OrderItemID"],
        "ProfileID": source["ProfileID"],
        "OrderID": source["ChannelAdvisorOrderID"],
        "ProductID": product,
        "SiteOrderItemID": str(line["OrderItemID"]),
        "Sku": line["SKU"],
        "Title": line.get("Title"),
        "Quantity": line["Quantity"],
        "UnitPrice": line.get("UnitPrice"),
        "TaxPrice": money(line.get("TaxAmount")) - gift_tax,
        "ShippingPrice": money(line.get("ShippingAmount")),
        "ShippingTaxPrice": money(line.get("ShippingTaxAmount")),
        "GiftPrice": money(line.get("GiftWrapAmount")),
        "GiftTaxPrice": gift_tax,
        "IsBundle": bool(line.get("BundleComponents")),
    }


def promotions(line: Document) -> list[Document]:
    """A line's discount; what is more than the goods is taken off the shipping."""
    discount = money(line.get("DiscountAmount"))
    if not discount:
        return []
    on_goods = min(discount, money(line.get("UnitPrice")) * line["Quantity"])
    return [
        neutral("Promotion")
        | {
            "ID": line["OrderItemID"],
            "Code": "PROMOTION",
            "Amount": ZERO - on_goods,
            "ShippingAmount": ZERO - (discount - on_goods),
        }
    ]


def order_part(source: Document, line: Document, part: Document, product: int, bundle: int) -> Document:
    """A component of a bundle on an order's line, in units of the whole line."""
    return neutral("OrderItemBundleComponent") | {
        "OrderID": source["ChannelAdvisorOrderID"],
        "OrderItemID": line["OrderItemID"],
        "ProductID": product,
        "ProfileID": source["ProfileID"],
        "BundleProductID": bundle,
        "Sku": part["SKU"],
        "BundleSku": line["SKU"],
        "Quantity": part["Quantity"],
    }


# ---- fulfillments ----
def shipment(source: Document, order: Document | None) -> Document:
    """A reported shipment. A key that is only its own number is none of the seller's."""
    is_external = order is not None and order["FulfillmentStatus"] == "ThirdPartyManaged"
    own = str(source["ShipmentID"])
    return neutral("Fulfillment") | {
        "ID": source["ShipmentID"],
        "ProfileID": source["ProfileID"],
        "OrderID": source["ChannelAdvisorOrderID"],
        "CreatedDateUtc": source["CreatedDate"],
        "UpdatedDateUtc": source["UpdatedDate"],
        "Type": "Ship",
        "DeliveryStatus": "ThirdPartyManaged" if is_external else "Complete",
        "TrackingNumber": source.get("TrackingNumber"),
        "ShippingCarrier": source.get("Carrier"),
        "ShippingClass": source.get("ServiceClass"),
        "ShippedDateUtc": source["ShippedDate"],
        "SellerFulfillmentID": None if source["SellerFulfillmentID"] == own else source["SellerFulfillmentID"],
    }


def automatic(source: Document, *, is_shipped: bool) -> Document:
    """The fulfillment that is made with an order: its open units, or those that have shipped without a report."""
    status = "Complete" if is_shipped else "NoChange"
    if source["FulfillmentStatus"] == "ThirdPartyManaged":
        status = "ThirdPartyManaged"
    return neutral("Fulfillment") | {
        "ID": AUTOMATIC + source["ChannelAdvisorOrderID"],
        "ProfileID": source["ProfileID"],
        "OrderID": source["ChannelAdvisorOrderID"],
        "CreatedDateUtc": source["ImportDate"],
        "UpdatedDateUtc": source["UpdatedDate"] if is_shipped else source["ImportDate"],
        "Type": "Ship",
        "DeliveryStatus": status,
        "ShippingCarrier": source.get("RequestedShippingCarrier"),
        "ShippingClass": source.get("RequestedShippingClass"),
        "ShippedDateUtc": source["UpdatedDate"] if is_shipped else None,
    }


def fulfillment_item(
    fulfillment: Document, line: Mapping[str, Any], units: int, product: int, marketplace: str
) -> Document:
    return neutral("FulfillmentItem") | {
        "ID": number_of("fulfillment item", fulfillment["ID"], line["OrderItemID"]),
        "Sku": line["SKU"],
        "ProfileID": fulfillment["ProfileID"],
        "FulfillmentID": fulfillment["ID"],
        "OrderID": fulfillment["OrderID"],
        "OrderItemID": line["OrderItemID"],
        "Quantity": units,
        "ProductID": product,
        "MarketplaceShippingStatus": marketplace,
    }


# ---- adjustments ----
def refund(source: Document, index: int, line: Document | None) -> Document:
    """One item of a return. The return's lowest ID is the return's own."""
    each = source["Items"][index]
    key = source["ReturnID"] if index == 0 else number_of("return", source["ReturnID"], index)
    tax, shipping = money(each.get("TaxRefund")), money(each.get("ShippingRefund"))
    on_shipping = min(tax, money(line.get("ShippingTaxAmount"))) if line and shipping else ZERO
    return neutral("OrderItemAdjustment") | {
        **_adjustment(source),
        "ID": key,
        "OrderItemID": each["OrderItemID"],
        "Quantity": each["Quantity"],
        "IsRestock": bool(each.get("Restock")),
        "ItemAdjustment": money(each.get("RefundAmount")),
        "TaxAdjustment": tax - on_shipping,
        "ShippingAdjustment": shipping,
        "ShippingTaxAdjustment": on_shipping,
        "GiftWrapAdjustment": ZERO,
        "GiftWrapTaxAdjustment": ZERO,
        "RecyclingFeeAdjustment": ZERO,
        "RestockStatus": _restock(source, each),
    }


def _adjustment(source: Document) -> Document:
    by_client = source.get("SellerAdjustmentID") is not None
    by_site = source["Status"] == "Closed"
    return {
        "CreatedSource": "Api" if by_client else "Channel",
        "LastUpdatedSource": "Channel" if by_site else "Api" if by_client else "System",
        "ProfileID": source["ProfileID"],
        "OrderID": source["ChannelAdvisorOrderID"],
        "Reason": source["Reason"],
        "Type": "Refund",
        "SellerAdjustmentID": source.get("SellerAdjustmentID"),
        "SiteRefundDateUtc": source.get("RefundDate"),
        "Comment": source.get("Comment"),
        "CreatedDateUtc": source["CreatedDate"],
        "RequestStatus": RETURN_STATUS[source["Status"]],
        "RmaNumber": source.get("RmaNumber"),
    }


def _restock(source: Document, each: Document) -> str | None:
    if not each.get("Restock"):
        return None
    return "PostProcessingComplete" if returns.is_approved(source) else "SubmittedNotProcessed"


def whole_refund(source: Document, number: int) -> Document:
    """A return that was asked for of the whole order, as one adjustment without lines."""
    names = {
        "ItemAdjustment": "RefundAmount", "TaxAdjustment": "TaxRefund", "ShippingAdjustment": "ShippingRefund",
    }  # fmt: skip
    sums = {v1: sum((money(item.get(name)) for item in source["Items"]), ZERO) for v1, name in names.items()}
    is_restocked = any(item.get("Restock") for item in source["Items"])
    return neutral("OrderAdjustment") | _adjustment(source) | sums | {"ID": number, "IsRestock": is_restocked}


def cancellation(source: Document, line: Document, units: int, created: str) -> Document:
    """Cancelled units of a line that nobody has asked for by v1: the marketplace did."""
    value = returns.computed(source, line, units)
    return neutral("OrderItemAdjustment") | {
        "CreatedSource": "Channel",
        "LastUpdatedSource": "Channel",
        "ID": line["OrderItemID"],
        "ProfileID": source["ProfileID"],
        "OrderID": source["ChannelAdvisorOrderID"],
        "OrderItemID": line["OrderItemID"],
        "Quantity": units,
        "Reason": "BuyerCancelled",
        "ItemAdjustment": value["RefundAmount"],
        "TaxAdjustment": value["TaxRefund"],
        "ShippingAdjustment": value["ShippingRefund"],
        "Type": "Cancellation",
        "CreatedDateUtc": created,
        "RequestStatus": "PostProcessingComplete",
    }


# ---- products ----
def product(
    source: Document,
    price: Document | None,
    levels: Sequence[Document],
    parent: int | None,
) -> Document:
    kind = source["ProductType"]
    has_stock = source.get("TotalAvailableQuantity") is not None
    held = sum((each.get("TotalQuantity") or each["AvailableQuantity"]) - each["AvailableQuantity"] for each in levels)
    same = (
        "Title", "ShortDescription", "Description", "Brand", "Manufacturer", "MPN", "UPC", "EAN", "Condition", "Weight",
        "ParentSku",
    )  # fmt: skip
    sizes = {
        name: None if source.get(name) is None else exact(round(Decimal(source[name]), 4))
        for name in ("Height", "Length", "Width")
    }
    return neutral("Product") | {
        **{name: source.get(name) for name in same},
        **sizes,
        **{name: (price or {}).get(name) for name in ("MinPrice", "MaxPrice", "RetailPrice")},
        "ID": source["ProductID"],
        "ProfileID": source["ProfileID"],
        "Sku": source["SKU"],
        "CreateDateUtc": source["CreatedDate"],
        "UpdateDateUtc": source["UpdatedDate"],
        "QuantityUpdateDateUtc": newest(level["UpdatedDate"] for level in levels),
        "IsBlocked": bool(source.get("IsBlocked")),
        "Cost": source.get("Cost"),
        "BuyItNowPrice": (price or {}).get("Price"),
        "Flag": "NoFlag",
        "ProductType": kind,
        "BundleType": "BundleItem" if kind == "Bundle" else "None",
        "AliasType": "None",
        "IsParent": kind == "Parent",
        "IsInRelationship": kind in ("Parent", "Child"),
        "ParentProductID": parent,
        "TotalAvailableQuantity": source.get("TotalAvailableQuantity"),
        "TotalQuantity": source["TotalAvailableQuantity"] + held if has_stock else None,
        "PendingShipmentQuantity": held,
    }


def newest(moments: Iterable[str]) -> str | None:
    return max(moments, key=parse, default=None)


# ---- sites, centers, profiles ----
def site(source: Document) -> Document:
    is_market = source["SiteID"] != account.DIRECT_SALE
    return neutral("Site") | {
        "ID": source["SiteID"],
        "SiteName": source.get("SiteName"),
        "SiteCategoryID": number_of("category", source.get("SiteCategoryName"), least=1, most=200),
        "SiteCategoryName": source.get("SiteCategoryName"),
        "CancellationConfiguration": {
            "SupportsOrderCancellations": True,
            "SupportsOrderItemCancellations": True,
            "SupportsOrderItemRMACancellations": is_market,
        },
        "RefundConfiguration": {
            "SupportsOrderRefunds": True,
            "SupportsOrderItemRefunds": True,
            "SupportsOrderItemRMARefunds": is_market,
        },
        "AdjustmentReasons": [
            {"Code": 100 + n, "Description": reason}
            for n, reason in enumerate(entities()["OrderAdjustment"].properties["reason"].members)
        ],
    }


def center(source: Document) -> Document:
    return neutral("DistributionCenter") | {
        "ID": source["DistributionCenterID"],
        **{name: source.get(name) for name in ("Name", "Code", "Type", "IsExternallyManaged", "IsDeleted")},
        "ShipLocation": True,
    }


def profile(number: int, center: int) -> Document:
    return neutral("Profile") | {
        "ID": number,
        "AccountName": f"Sandbox {number}",
        "CompanyName": "Sandbox",
        "CurrencyCode": account.CURRENCIES[number],
        "TimeZoneRegion": "Etc/UTC",
        "TimeZoneDescription": "UTC",
        "DefaultDistributionCenterID": center,
    }
