"""Customers: the buyer of each customer's last order against the customer of its sales order in TIMS.

E-mail and phone are compared in their normalised forms and only as digests: no personal data is kept or shown, not even
while both systems are read. What the buyer does not give, and a mask that a site made for one order, is not compared.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha256
from typing import Any

from crossdock.rules import emails, phones
from crossdock.watch.reconcile.base import (
    BY_RULE,
    CHANNEL_ADVISOR,
    NAMES,
    TIMS,
    Explanation,
    Lists,
    Row,
    Rules,
    Side,
    Subject,
)
from crossdock.watch.reconcile.orders import OF_THE_ORDER, ORDERS, SALES_ORDERS, is_ours, key_of

CUSTOMERS_LIST = Lists(TIMS, "customers")
NOTHING = ""  # TIMS has none where the buyer gives one


def _buyer(order: dict[str, Any], rules: Rules) -> Iterable[Row]:
    who = order["CustomerInfo"] or {}
    site = rules.settings.site(order["SiteID"])
    if site.guests == "account" and not (who.get("CustomerID") or "").strip():
        return  # guests share one customer, who has contact details of his own
    address = order["ShippingAddress"] or {}
    country = rules.places.country((address.get("Country") or "").strip(), address.get("PostalCode"))
    email = emails.normalise((who.get("Email") or "").strip())
    phone = phones.e164((who.get("Phone") or "").strip(), country)
    if email and emails.is_relay(email, rules.settings.relay_domains):
        email = None  # made for one order: it says nothing of the customer
    facts = {"e-mail": _digest(email and email.casefold()), "phone": _digest(phone)}
    yield Row(key_of(order), facts, order["UpdatedDate"])


def _of_order(sale: dict[str, Any], rules: Rules) -> Iterable[Row]:
    if is_ours(sale):
        yield Row(sale["ExternalOrderID"], {"at": sale["OrderDate"]}, sale["ModifiedAt"], part=sale["CustomerID"])


def _customer(customer: dict[str, Any], rules: Rules) -> Iterable[Row]:
    facts: dict[str, Any] = {"e-mail": None, "phone": None}
    if customer["Status"] != "Erased":
        email, phone = (customer["Email"] or "").casefold(), customer["Phone"] or ""
        facts = {"e-mail": _digest(email) or NOTHING, "phone": _digest(phone) or NOTHING}
    yield Row(customer["CustomerID"], facts, customer["ModifiedAt"], part=customer["CustomerID"])


def _digest(value: str | None) -> str | None:
    return sha256(value.encode()).hexdigest()[:32] if value else None


_THERE_BEFORE = Explanation(f"""
    SELECT d.id, '{BY_RULE}', 'the customer was in TIMS before: its contact details are those that TIMS has'
    FROM found d JOIN ops.reading n ON n.subject = 'customers' AND n.side = '{NAMES}' AND n.key = d.key
    WHERE NOT EXISTS (SELECT FROM ops.link k WHERE k.entity = 'customer' AND k.target_id = n.part)
""")
# No flow carries a buyer's later details into a customer that is there; where one does, this goes.
_OF_ANOTHER_ORDER = Explanation(f"""
    SELECT d.id, '{BY_RULE}', 'TIMS has what the buyer gave on another order; a customer keeps what it was created with'
    FROM found d
    JOIN ops.reading n ON n.subject = 'customers' AND n.side = '{NAMES}' AND n.key = d.key
    JOIN ops.reading o ON o.subject = 'customers' AND o.side = '{NAMES}' AND o.part = n.part AND o.key <> d.key
    JOIN ops.reading c ON c.subject = 'customers' AND c.side = '{CHANNEL_ADVISOR}' AND c.key = o.key
    JOIN ops.reading t ON t.subject = 'customers' AND t.side = '{TIMS}' AND t.key = n.part
    WHERE c.facts -> d.field = t.facts -> d.field
""")

CUSTOMERS = Subject(
    "customers", "Customers", "order of the buyer",
    (
        Side(CHANNEL_ADVISOR, ORDERS, _buyer),
        Side(NAMES, SALES_ORDERS, _of_order),
        Side(TIMS, CUSTOMERS_LIST, _customer, alias=True),
    ),
    (*OF_THE_ORDER, _THERE_BEFORE, _OF_ANOTHER_ORDER),
    keys="both",
    last_only=True,
    private=True,
    do="Look at the order on the channel and at its customer in TIMS, and correct the one that is wrong.",
)  # fmt: skip
