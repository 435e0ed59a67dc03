"""Plans the changes that bring a sales order in TIMS to what the channel's order says now.

In: the sales order as TIMS has it, the document as it should be. Out: actions in the order in which they must run, or
the reasons why they cannot. Never: a call; a guess at what a person in TIMS wants (a hold that a person set stays).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from crossdock.errors import Refusal

# PATCH takes these (SalesOrderPatch of the TIMS contract); lines go with all totals, for the equation must hold.
TERMS = ("ShippingMethod", "ShippingAddress", "BillingAddress", "PaymentStatus", "Notes")
TOTALS = (
    "ShippingAmount", "ShippingDiscountAmount", "ShippingTaxAmount", "ShippingTaxRemittedBy", "GiftWrapAmount",
    "DiscountTotal", "TaxTotal", "TotalAmount",
)  # fmt: skip
LINE = ("SKU", "Quantity", "Price", "DiscountAmount", "TaxAmount", "TaxRemittedBy", "KitParentSKU")
AFTER_THE_END = ("PaymentStatus", "Notes")  # all that a Fulfilled, Cancelled or Closed order accepts
CHANNEL, CROSSDOCK, PERSON = "channel", "crossdock", "person"  # who put an order on hold
OURS = (CHANNEL, CROSSDOCK)  # holds that we release: the channel's, and those by a rule of ours
ENDED = ("Fulfilled", "Cancelled", "Closed")
HOLDABLE = ("Open", "Allocated", "PartiallyFulfilled")


@dataclass(frozen=True)
class Action:
    """One call: a PATCH of the order, or a POST to `path` below it. `name` is unique within order and state."""

    operation: str  # update, cancel, cancel_line, hold, release
    name: str
    path: str = ""
    body: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Desired:
    """`document`: SalesOrderCreate as it would be sent now. `cancelled`: units cancelled by ExternalLineID."""

    document: Mapping[str, Any]
    cancelled: Mapping[str, int]
    cancel_all: bool = False


def is_late(paths: Iterable[str]) -> bool:
    """Whether an order that has ended refuses other values in these fields, as `plan` does. `paths`: of
    SalesOrderCreate, those of a line as LineItems.SKU."""
    return any(
        (name in TERMS and name not in AFTER_THE_END) or name in TOTALS or (name == "LineItems" and part in LINE)
        for name, _, part in (path.partition(".") for path in paths)
    )


def held_by(current: Mapping[str, Any], set_by: str | None, wanted_by: str | None) -> str | None:
    """Who holds an order after the change. `set_by`: who holds it now, as far as we know; `wanted_by`: for whom we
    would hold it, None where it should be open. A hold that is not ours is a person's, and stays."""
    if current["OrderStatus"] == "OnHold" and set_by not in OURS:
        return PERSON
    return wanted_by if current["OrderStatus"] in ("OnHold", *HOLDABLE) else None


def plan(current: Mapping[str, Any], desired: Desired, *, may_release: bool) -> tuple[list[Action], list[Refusal]]:
    """The actions that turn `current` into `desired`; none where both are equal. With a refusal nothing is done.

    `may_release`: whether the hold in TIMS is ours. Source of the rules: SalesOrder and its actions in the TIMS
    contract; status map and edge rules of the orders flow.
    """
    ended = current["OrderStatus"] in ENDED
    refusals: list[Refusal] = []
    changes = _changes(current, desired.document)
    if ended or desired.cancel_all:
        late = [name for name in changes if name not in AFTER_THE_END]
        changes = {name: value for name, value in changes.items() if name in AFTER_THE_END}
        if late and ended and not desired.cancel_all:
            refusals.append(
                Refusal(
                    late[0],
                    "change_too_late",
                    f"The order is {current['OrderStatus']} in TIMS and takes no change of {', '.join(late)} any more.",
                )
            )
    actions = [Action("update", "update", body=changes)] if changes else []
    cancels, late_cancels = _cancels(current, desired)
    refusals += late_cancels
    if not ended:
        actions += cancels
        actions += _hold(current, desired, cancels, may_release)
    return ([], refusals) if refusals else (actions, [])


def uncancelled(current: Mapping[str, Any], desired: Desired) -> dict[int, Refusal]:
    """Why TIMS cannot follow the channel, by LineNo of the lines of which it has more units cancelled: what is
    cancelled there stays so. It is no fault where a person has cancelled them in TIMS."""
    if desired.cancel_all:
        return {}
    return {
        line["LineNo"]: Refusal(
            f"LineItems[{line['LineNo']}].QuantityCancelled",
            "cancel_taken_back",
            f"{line['QuantityCancelled'] - units} units of {line['SKU']} are cancelled in TIMS because the channel had "
            "cancelled them. The channel has taken that back: the buyer is owed them again.",
        )
        for line in current["LineItems"]
        if line["QuantityCancelled"] > (units := desired.cancelled.get(line["ExternalLineID"], 0))
    }


def waits_for_the_marketplace(current: Mapping[str, Any], desired: Desired, theirs: Collection[str]) -> bool:
    """Whether open units of a mixed order may be the marketplace's: those of a line that it has shipped in part, and of
    all lines while it has shipped none. `theirs`: ExternalLineIDs of which it has shipped units.

    A kit is one line, whichever of its parts have left."""
    sold = {line.partition(":")[0] for line in theirs}
    shipped = {line["ExternalLineID"]: line["QuantityShipped"] for line in current["LineItems"]}
    ordered = {line["ExternalLineID"]: line["Quantity"] for line in desired.document["LineItems"]}
    return not desired.cancel_all and any(
        units > shipped.get(line, 0) + desired.cancelled.get(line, 0)
        for line, units in ordered.items()
        if not sold or line.partition(":")[0] in sold
    )


def _changes(current: Mapping[str, Any], document: Mapping[str, Any]) -> dict[str, Any]:
    """The PATCH body. A value that the channel no longer gives (erased personal data) does not overwrite TIMS's."""
    changes = {
        name: document[name]
        for name in TERMS
        if document.get(name) is not None and _plain(document[name]) != _plain(current.get(name))
    }
    totals = {name: document[name] for name in TOTALS if document.get(name) is not None}
    same_totals = all(_plain(value) == _plain(current.get(name)) for name, value in totals.items())
    if _lines(current["LineItems"]) != _lines(document["LineItems"]):
        changes |= {"LineItems": document["LineItems"], **totals}
    elif not same_totals:
        changes |= totals
    return changes


def _lines(lines: list[Mapping[str, Any]]) -> dict[str, tuple]:
    defaults = {"DiscountAmount": Decimal(0), "TaxRemittedBy": "Seller"}
    return {
        line["ExternalLineID"]: tuple(
            _plain(line[name]) if line.get(name) is not None else defaults.get(name) for name in LINE
        )
        for line in lines
    }


def _plain(value: Any) -> Any:
    """A value in the form in which two are compared: amounts as numbers, absent and null parts alike."""
    if isinstance(value, Mapping):
        return {name: _plain(part) for name, part in value.items() if part is not None}
    if isinstance(value, str) and value.replace(".", "", 1).replace("-", "", 1).isdigit() and "." in value:
        return Decimal(value)
    return value


def _open_units(line: Mapping[str, Any]) -> int:
    return line["Quantity"] - line["QuantityShipped"] - line["QuantityCancelled"]


def _cancels(current: Mapping[str, Any], desired: Desired) -> tuple[list[Action], list[Refusal]]:
    """Cancels the order as a whole, or the open units line by line."""
    lines = current["LineItems"]
    nothing_done = all(not line["QuantityShipped"] and not line["QuantityCancelled"] for line in lines)
    if desired.cancel_all and nothing_done:
        return [Action("cancel", "cancel", "/cancel", {"Reason": "Cancelled on the channel"})], []
    actions, refusals = [], []
    for line in lines:
        # Shipped units of a cancelled order become a return; only the rest can be cancelled.
        wanted = (
            line["QuantityCancelled"] + _open_units(line)
            if desired.cancel_all
            else desired.cancelled.get(line["ExternalLineID"], 0)
        )
        more = wanted - line["QuantityCancelled"]
        if more <= 0:
            continue
        if more > _open_units(line):
            refusals.append(
                Refusal(
                    f"LineItems[{line['LineNo']}].QuantityCancelled",
                    "cancel_too_late",
                    f"{more} units of {line['SKU']} were cancelled on the channel, but only {_open_units(line)} are "
                    "still open in TIMS: the others have been shipped.",
                )
            )
        else:
            body = {"Quantity": more, "Reason": "Cancelled on the channel"}
            actions.append(
                Action("cancel_line", f"line{line['LineNo']}:{wanted}", f"/lines/{line['LineNo']}/cancel", body)
            )
    return actions, refusals


def _hold(current: Mapping[str, Any], desired: Desired, cancels: list[Action], may_release: bool) -> Iterator[Action]:
    left = sum(_open_units(line) for line in current["LineItems"]) - sum(a.body.get("Quantity", 0) for a in cancels)
    if desired.cancel_all or left <= 0:
        return
    status, wanted = current["OrderStatus"], desired.document.get("OrderStatus", "Open")
    if wanted == "OnHold" and status in HOLDABLE:
        yield Action("hold", "hold", "/hold", {"Reason": "Held on the channel, or not paid yet"})
    if wanted == "Open" and status == "OnHold" and may_release:
        yield Action("release", "release", "/release")
