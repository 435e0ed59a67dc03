"""The writing half of the v1 client: the contract's writes as actions and properties of v1.

In: contract documents. Out: one outcome for each.
Never: a second Ship of a shipment, or a second Adjust, before it was looked for; an order marked as shipped by a change
of something else; a write without an outcome.

v1 answers most writes with 204 and names no codes: what the flows decide by a code (an existing SKU, an illegal
decision) is looked up.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from crossdock.errors import ConfigError, OutcomeUnknown, RecordRejected, Transient
from crossdock.pool import Pool
from crossdock.systems import times
from crossdock.systems.channel_advisor.protocol import Item, Reported
from crossdock.systems.channel_advisor.v1 import odata
from crossdock.systems.channel_advisor.v1.client import decode
from crossdock.systems.channel_advisor.v1.products import Products, document

LOOKS = 4  # at what an action has made, until it is there
NOT_SHIPPED = "NoChange"  # DeliveryStatus of a fulfillment that nobody has sent yet
HELD, RELEASED = "OnHold", "Completed"  # CheckoutStatus
ORDER_FIELDS = ("SellerOrderID", "SpecialInstructions")
# RequestStatus of an adjustment, by what may be decided on it.
ASKED_FOR = ("NewRma", "PendingApproval")
GOODS_BACK = ("ReadyForReturn", "PendingReturn")
ACTIONS = {
    "Approve": dict.fromkeys(ASKED_FOR, "ApproveBuyerRequest") | dict.fromkeys(GOODS_BACK, "ApproveReturn"),
    "Reject": dict.fromkeys(ASKED_FOR, "RejectBuyerRequest") | dict.fromkeys(GOODS_BACK, "RejectReturn"),
}
FAILED = "Error"


class Writing(Products):
    """What each call does is in `protocol.ChannelAdvisor`."""

    # ---- orders ----------------------------------------------------------------------------------------------------

    def mark_exported(self, order_id: str) -> None:
        """One call an order: v1 takes no mark in a batch."""
        self.post(f"/Orders({_id(order_id)})/Export", repeatable=True)

    def update_order(self, order_id: str, changes: dict[str, Any]) -> bytes:
        """The answer has no body. OrderStatus may be OnHold, New (a release) or Cancelled, which v1 works on after its
        answer. RecordRejected for another one, where nothing is left to cancel, and for a cancellation that fails."""
        number = _id(order_id)
        fields = {name: changes[name] for name in ORDER_FIELDS if name in changes}
        status = changes.get("OrderStatus")
        if status in ("OnHold", "New"):
            fields["CheckoutStatus"] = HELD if status == "OnHold" else RELEASED
        elif status not in (None, "Cancelled"):
            raise self.rejected("OrderStatus", "IllegalStatus", f"The API v1 cannot be told that an order is {status}.")
        if fields:
            self.patch(f"/Orders({number})", fields)
        if status == "Cancelled":
            self._cancel(number)
        return b""

    def _cancel(self, number: int) -> None:
        """Cancels what of an order has not left, once: the whole order, or line by line where a part has left, for v1
        would refund that part of a whole one."""
        order = decode(self.record("orders", str(number)))
        if order["OrderStatus"] == "Cancelled":
            return
        open_units = {
            line["OrderItemID"]: line["Quantity"] - (line["QuantityShipped"] or 0) - (line["QuantityCancelled"] or 0)
            for line in order["OrderItems"]
        }
        if not any(open_units.values()):
            message = f"Nothing of a {order['OrderStatus']} order can be cancelled."
            raise self.rejected("OrderStatus", "IllegalStatus", message, 409)
        if not any(line["QuantityShipped"] for line in order["OrderItems"]):
            self._adjust(number, "/OrderAdjustments", f"/Orders({number})/Adjust", f"cancel-{number}", {})
            return
        for item, units in open_units.items():
            if units:
                path = f"/OrderItems({item})/Adjust"
                self._adjust(number, "/OrderItemAdjustments", path, f"cancel-{item}", {"Quantity": units})

    def _adjust(self, number: int, entities: str, path: str, key: str, body: dict[str, Any]) -> None:
        """Asks for one cancellation by its SellerAdjustmentID, unless it is there already."""
        query = {"$filter": odata.every(f"OrderID eq {number}", f"SellerAdjustmentID eq {odata.text(key)}")}

        def find() -> dict[str, Any] | None:
            rows = self.rows(entities, query)
            return next((row for row in rows if odata.folded(row.get("SellerAdjustmentID") or "") == key), None)

        if find() is None:
            with suppress(OutcomeUnknown):
                self.post(path, {**body, "Reason": "GeneralAdjustment", "SellerAdjustmentID": key})
        adjustment = self._soon(find)
        if adjustment is None:
            raise self._pending(f"the cancellation of order {number}")
        if adjustment["RequestStatus"] == FAILED:
            raise self.rejected("OrderStatus", "CancellationFailed", "The marketplace refuses the cancellation.", 409)

    # ---- shipments -------------------------------------------------------------------------------------------------

    def report_shipments(self, shipments: Sequence[Item]) -> list[Reported]:
        """One call a shipment: those of an order one after another, several orders at once. v1 would ship a repeat
        again, so each is looked for by its SellerFulfillmentID first, and after an answer that was lost."""
        documents = [document(one) for one in shipments]
        of_order: dict[int, dict[str, dict[str, Any]]] = {}
        for one in documents:
            of_order.setdefault(one["ChannelAdvisorOrderID"], {}).setdefault(one["SellerFulfillmentID"], one)
        with Pool(self.limits.at_once, "shipments") as pool:
            done = pool.map(lambda some: {key: self._ship(one) for key, one in some.items()}, of_order.values())
            reported = dict(zip(of_order, done, strict=True))
        return [reported[one["ChannelAdvisorOrderID"]][one["SellerFulfillmentID"]] for one in documents]

    def _ship(self, sent: dict[str, Any]) -> Reported:
        number, key = sent["ChannelAdvisorOrderID"], sent["SellerFulfillmentID"]
        try:
            if existing := self._shipment(number, key):
                return Reported(200, existing)
            if not (sent.get("Carrier") and sent.get("ServiceClass")):
                raise self.rejected("Carrier", "CarrierAndClass", "Carrier and service class go together.")
            try:
                self.post(f"/Orders({number})/Ship", {"Value": _request(sent)})
            except OutcomeUnknown as lost:
                arrived = self._soon(lambda: self._shipment(number, key))
                return Reported(201, arrived) if arrived else Reported(503, error=lost)
            made = self._soon(lambda: self._shipment(number, key))
            # It was taken: where no list shows it yet, it goes by its own name, and is not sent again.
            named = {"ShipmentID": f"{number}:{key}", "ChannelAdvisorOrderID": number, "SellerFulfillmentID": key}
            return Reported(201, made or {**named, "Items": sent.get("Items") or []})
        except RecordRejected as error:
            return Reported(error.status, error=error)
        except Transient as error:
            return Reported(503, error=error)

    def _shipment(self, number: int, key: str) -> dict[str, Any] | None:
        """The shipment of an order with this SellerFulfillmentID, as the contract has it. RecordRejected(404) where
        there is no such order."""
        query = {"$expand": "Items", "$filter": f"SellerFulfillmentID eq {odata.text(key)}"}
        page = self.get(f"/Orders({number})/Fulfillments", query)
        link = page.get("@odata.nextLink")
        for found in (*(page.get("value") or ()), *(self._link(link) if link else ())):
            is_open = found.get("DeliveryStatus") == NOT_SHIPPED and not found.get("ShippedDateUtc")
            if is_open or odata.folded(found.get("SellerFulfillmentID") or "") != odata.folded(key):
                continue
            if "Items@odata.nextLink" in found:  # a list shows no more than twenty
                found = self.get(f"/Fulfillments({found['ID']})", {"$expand": "Items"})
            items = [
                {"OrderItemID": one["OrderItemID"], "SKU": one.get("Sku"), "Quantity": one["Quantity"]}
                for one in found.get("Items") or ()
            ]
            named = {"ShipmentID": found["ID"], "ChannelAdvisorOrderID": number, "SellerFulfillmentID": key}
            return {**named, "Items": items}
        return None

    # ---- returns ---------------------------------------------------------------------------------------------------

    def resolve_return(self, return_id: str, decision: str) -> bytes:
        """Approves or rejects what is open of a return, and gives it as it is then; v1 works on it afterwards.
        RecordRejected with IllegalDecision where nothing of it may be decided so."""
        lines = self._lines_of_return(_id(return_id))
        actions = ACTIONS.get(decision, {})
        decided = [(one, actions[one["RequestStatus"]]) for one in lines if one["RequestStatus"] in actions]
        if not decided:
            raise self.rejected("Decision", "IllegalDecision", f"It is {lines[0]['RequestStatus']} there.", 409)
        for one, action in decided:
            self._decide(one, action)
        return self.record("returns", return_id)

    def _lines_of_return(self, number: int) -> list[dict[str, Any]]:
        """All adjustments of a return, each with its `path`: those of one order and RmaNumber. That of a whole order
        has a number below 0."""
        if number < 0:
            return [self._adjustment_at(f"/OrderAdjustments({-number})")]
        first = self._adjustment_at(f"/OrderItemAdjustments({number})")
        if not first.get("RmaNumber"):
            return [first]
        named = (f"OrderID eq {first['OrderID']}", f"RmaNumber eq {odata.text(first['RmaNumber'])}", "Type eq 'Refund'")
        rows = self.rows("/OrderItemAdjustments", {"$filter": odata.every(*named)})
        return [{**row, "path": f"/OrderItemAdjustments({row['ID']})"} for row in rows] or [first]

    def _adjustment_at(self, path: str) -> dict[str, Any]:
        return {**self.get(path), "path": path}

    def _decide(self, adjustment: Mapping[str, Any], action: str) -> None:
        """Takes one decision, once: it is not taken again where the adjustment has moved on."""
        path, body = adjustment["path"], None
        if action.endswith("Return") and path.startswith("/OrderItem"):
            units = adjustment.get("Quantity") or 0
            body = {"ConditionQuantityList": [{"Condition": "New", "Quantity": units}] if units else []}
        try:
            self.post(f"{path}/{action}", body)
        except (OutcomeUnknown, RecordRejected):
            if self.get(path)["RequestStatus"] == adjustment["RequestStatus"]:
                raise

    # ---- listings --------------------------------------------------------------------------------------------------

    def create_listing(self, listing: dict[str, Any]) -> dict[str, Any]:
        raise self._no_listings()

    def update_listing(self, listing_id: int, changes: dict[str, Any]) -> dict[str, Any]:
        raise self._no_listings()

    def _no_listings(self) -> ConfigError:
        return ConfigError(
            f"A listing was to be written. {self.can.why_not('listings')}",
            do="Ask `can.listings` before.",
            system=self.connection.name,
        )

    # ---- looking for what was done ---------------------------------------------------------------------------------

    def _soon(self, find: Callable[[], dict[str, Any] | None]) -> dict[str, Any] | None:
        """What `find` finds: looked for a few times, for v1 works on an action after its answer."""
        pause = self.limits.first_pause_seconds
        for looks_left in reversed(range(LOOKS)):
            found = find()
            if found is not None or not looks_left:
                return found
            time.sleep(min(pause, self.limits.longest_pause_seconds))
            pause *= 2
        return None

    def _pending(self, what: str) -> OutcomeUnknown:
        return OutcomeUnknown(
            f"Channel Advisor has not shown {what} yet.",
            do="It is looked for before it is sent again.",
            system=self.connection.name,
        )


def _id(text: str) -> int:
    """The number of a record. RecordRejected(404) for what is none: there is no such record."""
    if not re.fullmatch(r"-?[0-9]{1,18}", text):
        raise RecordRejected(f"{text[:40]!r} is no number of v1.", 404, do="Name the record by its number.")
    return int(text)


def _request(sent: Mapping[str, Any]) -> dict[str, Any]:
    """The ShipOrderRequest of a ShipmentCreate. Without items everything that is open ships."""
    made = {
        "ShippedDateUtc": times.write(times.read(sent["ShippedDate"])),
        "TrackingNumber": sent.get("TrackingNumber"),
        "ShippingCarrier": sent["Carrier"],
        "ShippingClass": sent["ServiceClass"],
        "SellerFulfillmentID": sent["SellerFulfillmentID"],
        "DeliveryStatus": "Complete",
        "PreventMarketplaceCommunication": False,
    }
    if sent.get("Items"):
        made["Items"] = [_item(one) for one in sent["Items"]]
    return {name: value for name, value in made.items() if value is not None}


def _item(one: Mapping[str, Any]) -> dict[str, Any]:
    named = {"OrderItemID": one["OrderItemID"]} if one.get("OrderItemID") else {"Sku": one["SKU"]}
    return {**named, "Quantity": one["Quantity"]}
