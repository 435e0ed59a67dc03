"""Decides what orders change on a TIMS customer: e-mail, phone, billing address and usual delivery address.

In: what the customer's orders say of their buyer, the versions of the customer that were read, the values that we wrote
into it. Out: per field the value to set, or that a person's later value stays. Never: a call; a field emptied because
an order has no value for it; a value replaced that a person set after the order was placed; a name changed, which a
person decides; a change of a guest account or of a customer that is not Active.

| field | what wins |
|---|---|
| Email | the newest order that says one; the buyer's own before any marketplace's mask, which counts on its site only |
| Phone, BillingAddress | the newest order that says one; an address always as a whole |
| ShippingAddresses | the newest order's address comes first, the others stay behind it, each once, at most 20 |

The moment of an order is its OrderDate, so the same order wins whenever and however often it is read. An order counts
only while it is new (not yet worked): a repetition changes nothing. A difference in case, diacritics or punctuation is
no change. Where a field differs between two versions of the customer and we did not write it, a person changed it at
the later version's ModifiedAt. The values of the first version that we know count as a person's, unless the customer
was made from an order.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from crossdock.rules import emails
from crossdock.rules.addresses import TARGET as ADDRESS_PARTS
from crossdock.rules.addresses import fold
from crossdock.rules.settings import Settings

FIELDS = ("Email", "Phone", "BillingAddress", "ShippingAddresses")
MOST_ADDRESSES = 20  # of a customer, by the contract

Customer = Mapping[str, Any]  # a Customer of the TIMS contract


@dataclass(frozen=True)
class Statement:
    """The buyer's data in one order, by FIELDS; ShippingAddresses is its one address. None: not given."""

    order: str
    at: datetime  # OrderDate
    site: str  # profile:site
    values: Mapping[str, Any]
    new: bool  # not worked yet

    @property
    def turn(self) -> tuple[datetime, str]:
        """The sort key from old to new; the order's key decides between orders of one moment."""
        return self.at, self.order


@dataclass(frozen=True)
class Ours:
    """A value that we wrote, and the RowVersion of the customer that this made."""

    field: str
    value: Any
    row_version: int


@dataclass(frozen=True)
class Decision:
    """The decision on one field. `keep`: a person set the field after the order; else `value` is to be set."""

    field: str
    order: str
    at: datetime
    before: Any
    value: Any
    keep: bool = False


def decide(
    versions: Sequence[Customer], statements: Sequence[Statement], ours: Sequence[Ours], settings: Settings
) -> list[Decision]:
    """Decides what the new ones of `statements` change on a customer. `versions`: all known ones, of which the newest
    by RowVersion counts; `statements`: those of all its orders, worked ones too."""
    history = list({each["RowVersion"]: each for each in versions}.values())
    history.sort(key=lambda each: each["RowVersion"])
    customer = history[-1]
    if customer["Status"] != "Active" or customer["CustomerID"] in settings.guest_accounts:
        return []
    found = (
        _decide(field, history, _usable(field, statements, customer, settings), ours, settings) for field in FIELDS
    )
    return [decision for decision in found if decision]


def person_since(field: str, history: Sequence[Customer], ours: Iterable[Ours]) -> datetime | None:
    """The moment when a person set a field; None where its value is ours. `history` ascends by RowVersion.

    A change between two versions that we have read is ours if we wrote that very value in between.
    """
    now = plain(history[-1].get(field))
    at = len(history) - 1
    while at and plain(history[at - 1].get(field)) == now:
        at -= 1
    first, last = (history[at - 1]["RowVersion"] if at else 0), history[at]["RowVersion"]
    mine = any(o.field == field and first < o.row_version <= last and plain(o.value) == now for o in ours)
    return None if mine else datetime.fromisoformat(history[at]["ModifiedAt"])


def _usable(field: str, statements: Iterable[Statement], customer: Customer, settings: Settings) -> list[Statement]:
    """The orders that give a value for a field. A marketplace's mask counts only for customers of its own site."""
    given = [each for each in statements if plain(each.values.get(field))]
    if field != "Email":
        return given
    ids = [each["ID"] for each in customer.get("ExternalIDs") or () if each["Source"] == settings.source]
    sites = {":".join(each.split(":")[:2]) for each in ids}
    return [each for each in given if each.site in sites or not _masked(each.values[field], settings)]


def _decide(
    field: str, history: Sequence[Customer], statements: Sequence[Statement], ours: Iterable[Ours], settings: Settings
) -> Decision | None:
    if not any(each.new for each in statements):
        return None
    held = history[-1].get(field)
    since = person_since(field, history, ours)
    own = {each.order: field == "Email" and not _masked(each.values[field], settings) for each in statements}
    later = [each for each in statements if since is None or since <= each.at]
    if later:
        best = max(later, key=lambda each: (own[each.order], each.turn))
        mask_over_own = field == "Email" and not own[best.order] and held and not _masked(held, settings)
        if not best.new or mask_over_own or alike(field, held, best.values[field]):
            return None
        return Decision(field, best.order, best.at, held, _changed(field, held, best.values[field]))
    newest = max(statements, key=lambda each: (own[each.order], each.turn))
    if not newest.new or alike(field, held, newest.values[field]):
        return None
    return Decision(field, newest.order, newest.at, held, newest.values[field], keep=True)


def _masked(address: str, settings: Settings) -> bool:
    return emails.is_relay(address, settings.relay_domains)


def _changed(field: str, held: Any, value: Any) -> Any:
    if field != "ShippingAddresses":
        return value
    others = [each for each in held or () if _folded(each) != _folded(value)]
    usual = next((each for each in held or () if _folded(each) == _folded(value)), value)
    return [usual, *others][:MOST_ADDRESSES]


# ---- comparing -----------------------------------------------------------------------------------------------------


def alike(field: str, held: Any, statements: Any) -> bool:
    """Whether TIMS holds what the order gives, apart from case, diacritics and punctuation."""
    if field == "ShippingAddresses":
        return bool(held) and _folded(held[0]) == _folded(statements)
    if field == "BillingAddress":
        return bool(held) and _folded(held) == _folded(statements)
    return (held or "").casefold() == statements.casefold()


def plain(value: Any) -> Any:
    """A value in the form in which exact ones are compared: None and "" alike, parts in order."""
    if isinstance(value, Mapping):
        parts = tuple(value.get(part) or None for part in ADDRESS_PARTS)
        return parts if any(parts) else None
    if isinstance(value, (list, tuple)):
        return tuple(plain(each) for each in value) or None
    return value or None


def _folded(address: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(fold(address.get(part) or "") for part in ADDRESS_PARTS)
