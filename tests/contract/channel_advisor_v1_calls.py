"""REST v1 of the Channel Advisor sandbox to call over HTTP, and its documents turned back into the facade's.

`facade_order` and its like do what docs/channel-advisor-v1.md says, nothing else: they hold that page to the server.
Every document that `Caller.get` answers with is held to the metadata model.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from decimal import Decimal
from typing import Any
from urllib.parse import unquote

from contract.channel_advisor_calls import Caller as Facade
from contract.channel_advisor_calls import _decode, encode
from sandbox.channel_advisor_v1 import schema
from sandbox.channel_advisor_v1.documents import FLAGS

ZERO = Decimal("0.0000")
NESTED = "Items($expand=Promotions,BundleComponents,Adjustments),Fulfillments($expand=Items),Adjustments"
OPEN_CHECKOUT = ("NotVisited", "Visited")
SHIPPED = ("Complete", "InTransit", "ThirdPartyManaged")
STATUS_OF = {
    "NewRma": "NewRma", "PendingReturn": "PendingReturn", "ReadyForReturn": "Received",
    "ProcessedNotAcknowledged": "Approved", "PostProcessingComplete": "Refunded", "RejectionCompleted": "Rejected",
    "InformationOnly": "Closed", "SubmittedNotProcessed": "Approved",
    "AcknowledgedPostProcessingNotComplete": "Approved",
}  # fmt: skip
APPROVED = ("Approved", "Refunded")


class Caller(Facade):
    """An application that speaks v1."""

    def get(self, path: str, **query: Any) -> Any:
        """The body of a 200, amounts exact, its documents whole and of the model."""
        answer = self.send("GET", path, params={name.replace("_", "$"): value for name, value in query.items()})
        assert answer.status_code == 200, answer.text
        body = _decode(answer.content)
        for document in body.get("value", [body]):
            name = body["@odata.context"].partition("#")[2].removesuffix("/$entity").rpartition("/")[2]
            entity = (schema.sets().get(name.lower()) or (None, None))[1]
            if entity is not None and "$select" not in unquote(answer.request.url or ""):
                assert schema.findings(entity, document) == []
        return body

    def rows(self, path: str, **query: Any) -> list[dict[str, Any]]:
        return [row for page in self.walked_pages(path, **query) for row in page["value"]]

    def walked_pages(self, path: str, **query: Any) -> Iterator[dict[str, Any]]:
        page = self.get(path, **query)
        yield page
        while "@odata.nextLink" in page:
            page = self.get(page["@odata.nextLink"])
            yield page

    def held(self, kind: str) -> list[dict[str, Any]]:
        """What the sandbox has of a kind, as the facade has it, amounts exact."""
        answer = self.http.post(f"{self.base}/_sandbox/documents", data=encode({"kind": kind}), timeout=60)
        return _decode(answer.content)["documents"]

    def whole(self, number: int) -> dict[str, Any]:
        return self.get(f"/v1/Orders({number})", _expand=NESTED)


def joined(first: str | None, last: str | None) -> str | None:
    return " ".join(filter(None, (first, last))) or None


def is_done(adjustment: dict[str, Any]) -> bool:
    return adjustment["Type"] == "Cancellation" and adjustment["RequestStatus"] != "Error"


def is_returned(adjustment: dict[str, Any]) -> bool:
    if adjustment["Type"] != "Refund":
        return False
    status = STATUS_OF.get(adjustment["RequestStatus"])
    return status in APPROVED or (status == "Closed" and adjustment["SiteRefundDateUtc"] is not None)


def facade_order(order: dict[str, Any]) -> dict[str, Any]:
    """The facade's order, but for what v1 has no word for."""
    shipped: dict[int, int] = defaultdict(int)
    for fulfillment in order["Fulfillments"]:
        if fulfillment["ShippedDateUtc"] and fulfillment["DeliveryStatus"] in SHIPPED:
            for item in fulfillment["Items"]:
                shipped[item["OrderItemID"]] += item["Quantity"]
    items = [_line(item, shipped[item["ID"]], order["ShippingStatus"] == "Canceled") for item in order["Items"]]
    has_tax = bool(order["TotalTaxPrice"]) or any(item["TaxAmount"] or item["ShippingTaxAmount"] for item in items)
    is_untold = order["OrderTaxType"] == "Standard" and not has_tax
    status, fulfillment = statuses(order, items)
    promotions = sum((p["Amount"] + p["ShippingAmount"] for item in order["Items"] for p in item["Promotions"]), ZERO)
    direct = order["SiteOrderID"] == str(order["ID"])
    types = ("OrderTaxType", "ShippingTaxType", "GiftOptionsTaxType")
    who = {
        "CustomerID": order["BuyerUserId"],
        "FirstName": order["BillingFirstName"],
        "LastName": order["BillingLastName"],
        "Email": order["BuyerEmailAddress"],
        "Phone": order["BillingDaytimePhone"],
        "Company": order["BillingCompanyName"],
    }
    return {
        "ChannelAdvisorOrderID": order["ID"],
        "OrderID": order["SecondarySiteOrderID"] if direct else order["SiteOrderID"],
        **{name: order[name] for name in ("ProfileID", "SiteID", "SiteName", "SellerOrderID", "Currency")},
        "OrderDate": order["CreatedDateUtc"],
        "ImportDate": order["ImportDateUtc"],
        "UpdatedDate": order["UpdatedDateUtc"],
        "PaymentDate": order["PaymentDateUtc"],
        "OrderStatus": status,
        "FulfillmentStatus": fulfillment,
        "PaymentStatus": order["PaymentStatus"],
        "CustomerInfo": who if any(who.values()) else None,
        "ShippingAddress": _address(order, "Shipping"),
        "BillingAddress": _address(order, "Billing"),
        "RequestedShippingCarrier": order["RequestedShippingCarrier"],
        "RequestedShippingClass": order["RequestedShippingClass"],
        "SpecialInstructions": order["SpecialInstructions"],
        "DistributionCenterTypeRollup": order["DistributionCenterTypeRollup"],
        "Flag": next(name for name, number in FLAGS.items() if number == order["FlagID"]),
        "UserDataPresent": bool(order["UserDataPresent"]),
        "TotalPrice": order["TotalPrice"],
        "TotalShippingPrice": order["TotalShippingPrice"],
        "TotalShippingTaxPrice": order["TotalShippingTaxPrice"] or ZERO,
        "TotalTaxPrice": order["TotalTaxPrice"] - (order["TotalShippingTaxPrice"] or 0),
        "TotalDiscount": -(promotions + order["PromotionAmount"] + order["AdditionalCostOrDiscount"]),
        **{name: None if is_untold else order[name] for name in types},
        "OrderItems": items,
        "OrderItemCount": len(items),
    }


def _line(item: dict[str, Any], shipped: int, canceled: bool) -> dict[str, Any]:
    cancelled = sum(each["Quantity"] for each in item["Adjustments"] if is_done(each))
    returned = sum(each["Quantity"] for each in item["Adjustments"] if is_returned(each))
    return {
        "OrderItemID": item["ID"],
        "SKU": item["Sku"],
        "Title": item["Title"],
        "Quantity": item["Quantity"],
        "UnitPrice": item["UnitPrice"],
        "TaxAmount": item["TaxPrice"] + item["GiftTaxPrice"],
        "DiscountAmount": -sum((p["Amount"] + p["ShippingAmount"] for p in item["Promotions"]), ZERO),
        "ShippingAmount": item["ShippingPrice"],
        "ShippingTaxAmount": item["ShippingTaxPrice"],
        "GiftWrapAmount": item["GiftPrice"],
        "BundleComponents": [{"SKU": p["Sku"], "Quantity": p["Quantity"]} for p in item["BundleComponents"]],
        "QuantityShipped": shipped,
        "QuantityCancelled": item["Quantity"] - shipped if canceled else cancelled,
        "QuantityReturned": min(returned, shipped),
    }


def statuses(order: dict[str, Any], items: list[dict[str, Any]]) -> tuple[str, str]:
    """OrderStatus and FulfillmentStatus by the page's table."""
    checkout, shipping = order["CheckoutStatus"], order["ShippingStatus"]
    shipped = sum(item["QuantityShipped"] for item in items)
    cancelled = sum(item["QuantityCancelled"] for item in items)
    total = sum(item["Quantity"] for item in items)
    if shipping != "Canceled" and shipped and shipped == sum(item["QuantityReturned"] for item in items):
        return "Returned", shipping
    if shipping == "Canceled":
        return "Cancelled", shipping
    if shipping == "ThirdPartyManaged" and total and cancelled == total:
        return "Cancelled", shipping
    if checkout in OPEN_CHECKOUT:
        return "Pending", shipping
    if checkout == "OnHold":
        return "OnHold", shipping
    plain = {"Unshipped": "New", "PendingShipment": "Processing", "PartiallyShipped": "PartiallyShipped"}
    if shipping in plain:
        return plain[shipping], "Unshipped" if shipping == "PendingShipment" else shipping
    if shipping == "Shipped":
        return "Shipped", shipping
    if not shipped:
        return "New", shipping
    return ("Shipped" if shipped + cancelled == total else "PartiallyShipped"), shipping


def _address(order: dict[str, Any], kind: str) -> dict[str, Any] | None:
    parts = {
        "Line1": order[f"{kind}AddressLine1"],
        "Line2": order[f"{kind}AddressLine2"],
        "City": order[f"{kind}City"],
        "Region": order[f"{kind}StateOrProvince"] or order[f"{kind}StateOrProvinceName"],
        "PostalCode": order[f"{kind}PostalCode"],
        "Country": order[f"{kind}Country"],
    }
    name = joined(order[f"{kind}FirstName"], order[f"{kind}LastName"])
    whole = {"Name": name, "Company": order[f"{kind}CompanyName"]} | parts
    return whole if any((parts if kind == "Billing" else whole).values()) else None


def facade_shipments(order: dict[str, Any]) -> list[dict[str, Any]]:
    """The facade's shipments of an order."""
    return [
        {
            "ShipmentID": each["ID"],
            "ProfileID": each["ProfileID"],
            "ChannelAdvisorOrderID": each["OrderID"],
            "SellerFulfillmentID": each["SellerFulfillmentID"] or str(each["ID"]),
            "ShippedDate": each["ShippedDateUtc"],
            "Carrier": each["ShippingCarrier"],
            "ServiceClass": each["ShippingClass"],
            "TrackingNumber": each["TrackingNumber"],
            "Items": [
                {"OrderItemID": item["OrderItemID"], "SKU": item["Sku"], "Quantity": item["Quantity"]}
                for item in each["Items"]
            ],
            "MarketplaceStatus": each["Items"][0]["MarketplaceShippingStatus"],
            "CreatedDate": each["CreatedDateUtc"],
            "UpdatedDate": each["UpdatedDateUtc"],
        }
        for each in order["Fulfillments"]
        if each["ShippedDateUtc"]
    ]


def facade_returns(adjustments: list[dict[str, Any]], orders: dict[int, dict[str, Any]]) -> list[dict[str, Any]]:
    """The facade's returns of OrderItemAdjustments; `orders`: as the facade has them."""
    groups: dict[tuple[int, str], list[dict[str, Any]]] = defaultdict(list)
    for each in adjustments:
        if each["Type"] == "Refund":
            groups[each["OrderID"], each["RmaNumber"]].append(each)
    made = []
    for (number, rma), rows in groups.items():
        first = min(rows, key=lambda row: row["ID"])
        skus = {line["OrderItemID"]: line["SKU"] for line in orders[number]["OrderItems"]}
        items = [
            {
                "OrderItemID": row["OrderItemID"],
                "SKU": skus[row["OrderItemID"]],
                "Quantity": row["Quantity"],
                "RefundAmount": row["ItemAdjustment"] + row["GiftWrapAdjustment"],
                "TaxRefund": row["TaxAdjustment"] + row["ShippingTaxAdjustment"] + row["GiftWrapTaxAdjustment"],
                "ShippingRefund": row["ShippingAdjustment"],
                "Restock": row["IsRestock"],
            }
            for row in rows
        ]
        made.append(
            {
                "ReturnID": first["ID"],
                "ChannelAdvisorOrderID": number,
                "RmaNumber": rma,
                **{name: first[name] for name in ("ProfileID", "SellerAdjustmentID", "Reason", "Comment")},
                "Currency": orders[number]["Currency"],
                "Status": STATUS_OF[first["RequestStatus"]],
                "RefundDate": first["SiteRefundDateUtc"],
                "CreatedDate": first["CreatedDateUtc"],
                "Items": sorted(items, key=lambda item: item["OrderItemID"]),
                "RefundTotal": sum(
                    (item[name] for item in items for name in ("RefundAmount", "TaxRefund", "ShippingRefund")), ZERO
                ),
            }
        )
    return made
