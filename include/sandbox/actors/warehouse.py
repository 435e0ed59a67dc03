"""Plays the warehouse: packs and sends TIMS's open orders.

In: open sales orders of TIMS. Out: shipments in TIMS, posted as any warehouse would; a few tracking numbers corrected
later. Never: a parcel of an order that is on hold, cancelled, the marketplace's, or about to be changed by its buyer;
cancelled units; a parcel outside opening hours.

Most orders go whole on the next day; some late, some in two or three parcels, some from two locations.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import NamedTuple

from sandbox import chance
from sandbox.actors.actor_context import ActorContext, Document
from sandbox.channel_advisor.account import CARRIERS
from sandbox.control import moment
from sandbox.world import TIMS, text

OPEN = ["Open", "Allocated", "PartiallyFulfilled"]
HABITS = (("whole", 79), ("two parcels", 8), ("three parcels", 3), ("late", 5), ("two locations", 5))
UNKNOWN_CARRIER = ("Pigeon Post", "Overnight")  # no channel has heard of it
UNKNOWN_SHARE, UNTRACKED_SHARE, TYPING_ERRORS = 0.012, 0.05, 0.02
LONGEST_CORRECTION = timedelta(days=6)
AT_HOME = ("GB", "GG", "JE", "IM")
BY_COUNTRY = {
    "DE": (("DHL", "Paket"), ("Hermes", "Standard")),
    "FR": (("La Poste", "Colissimo"), ("Chronopost", "Express")),
    "US": (("UPS", "Ground"), ("USPS", "Priority Mail"), ("FedEx", "2Day")),
}
HOME = (("Royal Mail", "Tracked 48"), ("Royal Mail", "1st Class"), ("DPD", "Next Day"))
ABROAD = (("DHL", "Express Worldwide"), ("UPS", "Standard"), ("FedEx", "International Economy"))


class Parcel(NamedTuple):
    """`share`: of every line's units, how much has left once this parcel has (numerator, denominator)."""

    share: tuple[int, int]
    days: int
    location: str


def act(context: ActorContext) -> Counter[str]:
    return Counter({"parcels": send(context), "tracking numbers corrected": correct(context)})


# ---- sending ----
def send(context: ActorContext) -> int:
    """Post every parcel that is due. Returns how many TIMS took; a refused one is tried again another day."""
    operations = [
        (f"/sales-orders/{order['SalesOrderID']}/shipments", body["ExternalReference"], body)
        for order in context.tims("order", OrderStatus=OPEN)
        for body in parcels(context, order)
    ]
    return sum(result["Status"] == 201 for result in context.post(operations))


def parcels(context: ActorContext, order: Document) -> Iterator[Document]:
    """The parcels of an order that leave now, as TIMS takes them."""
    if is_the_marketplaces(context, order):
        return
    key = order["ExternalOrderID"]
    shipped = {line["LineNo"]: line["QuantityShipped"] for line in order["LineItems"]}
    for parcel in plan(key):
        at = due(context, order, parcel)
        if at > context.end:
            return
        lines = []
        for line in order["LineItems"]:
            whole = line["Quantity"] - line["QuantityCancelled"]
            units = _part(whole, parcel.share, line["LineNo"]) - shipped[line["LineNo"]]
            if units > 0:
                lines.append({"SalesOrderLineNo": line["LineNo"], "Quantity": units})
        if lines:
            reference = f"WMS-{key}-{sum(shipped.values())}"
            for sent in lines:
                shipped[sent["SalesOrderLineNo"]] += sent["Quantity"]
            yield _body(order, reference, at, parcel.location, lines)


def _number(order: Document) -> int:
    """The order's number in Channel Advisor; 0 for one that came another way."""
    key = order["ExternalOrderID"]
    return int(key) if key.isdigit() else 0


def is_the_marketplaces(context: ActorContext, order: Document) -> bool:
    story = context.story(_number(order))
    return story is not None and story[1][-1].document["DistributionCenterTypeRollup"] == "ExternallyManaged"


def due(context: ActorContext, order: Document, parcel: Parcel) -> datetime:
    """The moment at which a parcel leaves: on an open day after the order and its last change, now at the soonest."""
    ordered = moment(order["OrderDate"])
    last = max(ordered, context.settled_at(_number(order)) or ordered)
    if last > context.start:  # a change of just now: the warehouse learns of it when it has been synchronised
        last = context.end
    ready = max(_day_end(last, parcel.days), moment(order["CreatedAt"]))
    return context.next_moment(context.working_moment(ready, "parcel", order["ExternalOrderID"], parcel.days))


def plan(key: str) -> list[Parcel]:
    """How the warehouse treats an order, always the same."""
    habit = chance.weighted(HABITS, "habit", key)
    if habit == "late":
        return [Parcel((1, 1), chance.between(3, 7, "late", key), "MAIN")]
    if habit == "two locations":
        return [Parcel((1, 2), 0, "MAIN"), Parcel((1, 1), 0, "WEST")]
    parts = {"two parcels": 2, "three parcels": 3}.get(habit, 1)
    gap = chance.between(1, 3, "gap", key)
    return [Parcel((n, parts), (n - 1) * gap, "MAIN") for n in range(1, parts + 1)]


def _part(units: int, share: tuple[int, int], line: int) -> int:
    """Units that have left after a share of the order; lines round up and down by turns, so that parcels differ."""
    part, parts = share
    return units if part == parts else (units * part + (parts - 1) * (line % 2)) // parts


def _day_end(at: datetime, days: int) -> datetime:
    """The end of a day, or of one so many days later."""
    return at.replace(hour=23, minute=59, second=59, microsecond=0) + timedelta(days=days)


def _body(order: Document, reference: str, at: datetime, location: str, lines: list[Document]) -> Document:
    carrier, service = carrier_of(order, reference)
    tracked = chance.share("untracked", reference) >= UNTRACKED_SHARE
    return {
        "ExternalReference": reference,
        "Source": "warehouse",
        "ShippedAt": text(at.replace(microsecond=0)),
        "LocationID": location,
        "Carrier": carrier,
        "ServiceLevel": service,
        "TrackingNumber": tracking_number(reference) if tracked else None,
        "Lines": lines,
    }


def carrier_of(order: Document, reference: str) -> tuple[str, str]:
    """What the buyer asked for, if a carrier has it, or what is usual for the country."""
    if is_unknown(reference):
        return UNKNOWN_CARRIER
    for carrier, services in CARRIERS.items():
        for service in services:
            if order["ShippingMethod"] == f"{carrier} {service}":
                return carrier, service
    country = (order.get("ShippingAddress") or {}).get("CountryCode")
    usual = HOME if country in AT_HOME else BY_COUNTRY.get(country or "", ABROAD)
    return chance.pick(usual, "carrier", order["ExternalOrderID"])


def is_unknown(reference: str) -> bool:
    """Whether the parcel goes by a carrier that no channel knows."""
    return chance.share("unknown carrier", reference) < UNKNOWN_SHARE


def tracking_number(reference: str) -> str:
    return f"CD{chance.below(10**10, 'tracking', reference):010d}GB"


# ---- correcting ----
def correct(context: ActorContext) -> int:
    """Corrects a few tracking numbers that were typed wrongly, days later."""
    wrong = []
    for shipment in context.tims("shipment", context.start - LONGEST_CORRECTION, Source=["warehouse"]):
        reference = shipment["ExternalReference"]
        if shipment["TrackingNumber"] is None or chance.share("typing error", reference) >= TYPING_ERRORS:
            continue
        seen = _day_end(moment(shipment["ShippedAt"]), chance.between(0, 2, "seen", reference))
        if context.is_due(context.working_moment(seen, "seen", reference)):
            right = {"ShipmentID": shipment["ShipmentID"], "TrackingNumber": tracking_number(f"{reference} right")}
            wrong.append((f"tracking:{reference}", "shipment_correction", right))
    return context.send(TIMS, wrong)
