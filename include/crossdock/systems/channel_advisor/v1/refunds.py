"""The returns of an order of v1, which knows adjustments only.

In: orders with their lines and adjustments, as received. Out: an order for each return, with its parts alone.
Never: an adjustment that is no refund; one adjustment in two returns.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

REFUND = "Refund"


class _Step(msgspec.Struct):
    """The fields of an adjustment by which it belongs to a return."""

    ID: int
    Type: str = ""
    RmaNumber: str | None = None
    OrderID: int | None = None


class _Item(msgspec.Struct):
    ID: int
    Sku: str | None = None
    Adjustments: list[msgspec.Raw] | None = None


class _Order(msgspec.Struct):
    ID: int
    ProfileID: int
    Currency: str | None = None
    Items: list[_Item] | None = None
    Adjustments: list[msgspec.Raw] | None = None


class _Fulfillment(msgspec.Struct):
    ShippedDateUtc: str | None = None
    DeliveryStatus: str | None = None


_step = msgspec.json.Decoder(_Step)
_order = msgspec.json.Decoder(_Order)
_fulfillment = msgspec.json.Decoder(_Fulfillment)


def returns_of(
    orders: Sequence[msgspec.Raw | bytes], touched: Mapping[int, set[int]] | None = None
) -> list[msgspec.Raw]:
    """The returns of orders: all, or those with an adjustment of `touched`, by order (numbers below 0 are of whole
    orders). An order that cannot be read is given as it is, for its translation to say why."""
    found: list[msgspec.Raw] = []
    for raw in orders:
        try:
            order = _order.decode(raw)
            parts = _parts(order)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            found.append(msgspec.Raw(bytes(raw)))
            continue
        wanted = None if touched is None else touched.get(order.ID, set())
        for numbers, lines, whole in parts:
            if wanted is None or not wanted.isdisjoint(numbers):
                document = _Order(order.ID, order.ProfileID, order.Currency, lines, whole)
                found.append(msgspec.Raw(msgspec.json.encode(document)))
    return found


def _parts(order: _Order) -> list[tuple[set[int], list[_Item], list[msgspec.Raw]]]:
    """The numbers of each return's adjustments, its lines with one of these each, and that of the whole order."""
    groups: dict[str, tuple[set[int], list[_Item], list[msgspec.Raw]]] = {}
    for item in order.Items or ():
        for raw in item.Adjustments or ():
            step = _step.decode(raw)
            if step.Type == REFUND:
                name = f"rma {step.RmaNumber}" if step.RmaNumber else f"one {step.ID}"
                numbers, lines, _ = groups.setdefault(name, (set(), [], []))
                numbers.add(step.ID)
                lines.append(_Item(item.ID, item.Sku, [raw]))
    for raw in order.Adjustments or ():
        step = _step.decode(raw)
        if step.Type == REFUND:
            groups[f"whole {step.ID}"] = ({-step.ID}, [], [raw])
    return list(groups.values())


def order_of(adjustment: msgspec.Raw | bytes) -> tuple[int, int] | None:
    """ID and OrderID of an adjustment; None where it has no order."""
    try:
        step = _step.decode(adjustment)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
    return None if step.OrderID is None else (step.ID, step.OrderID)


def number_of(entity: bytes) -> str:
    """The contract's ReturnID of an order with the parts of one return; "" where it cannot be read."""
    try:
        parts = _parts(_order.decode(entity))
        numbers = parts[0][0]
        return str(min(numbers) if min(numbers) > 0 else max(numbers))
    except (msgspec.MsgspecError, UnicodeDecodeError, IndexError):
        return ""


def has_left(fulfillment: msgspec.Raw | bytes) -> bool:
    """Whether a fulfillment is a shipment: it has left, and nobody has taken that back. One that cannot be read counts,
    for its translation to say why."""
    try:
        one = _fulfillment.decode(fulfillment)
        return one.ShippedDateUtc is not None and one.DeliveryStatus != "Canceled"
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return True
