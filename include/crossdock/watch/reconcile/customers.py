"""Customers: the buyer of each customer's last order against the customer of its sales order in TIMS.

E-mail and phone are compared in their normalised forms and only as digests: no personal data is kept or shown, not even
while both systems are read. What the buyer does not give, and a mask that a site made for one order, is not compared.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha256
from typing import Any

import sqlalchemy as sa

from crossdock.comparison.explain import FOUND, because
from crossdock.comparison.subject import (
    BY_RULE,
    CHANNEL_ADVISOR,
    IN_FLIGHT,
    NAMES,
    TIMS,
    Explanation,
    Lists,
    Row,
    Rules,
    Side,
    Subject,
)
from crossdock.rules import emails, phones
from crossdock.store.tables import ops_customer_change, ops_reading, raw_customers, stage_buyer
from crossdock.systems import times
from crossdock.watch.reconcile.orders import OF_THE_ORDER, ORDERS, SALES_ORDERS, is_marketplaces, is_ours, key_of

CUSTOMERS_LIST = Lists(TIMS, "customers", ("CustomerID",))
NOTHING = ""  # TIMS has no value and the buyer gives one


def _buyer(order: dict[str, Any], rules: Rules) -> Iterable[Row]:
    who = order.get("CustomerInfo") or {}
    site = rules.settings.site(order["SiteID"])
    if site.guests == "account" and not (who.get("CustomerID") or "").strip():
        return  # guests share one customer, who has contact details of his own
    if is_marketplaces(order) and not _named(order):
        return  # the order names no person, so there is nothing to compare
    address = order.get("ShippingAddress") or {}
    country = rules.places.country((address.get("Country") or "").strip(), address.get("PostalCode"))
    email = emails.normalise((who.get("Email") or "").strip())
    phone = phones.e164((who.get("Phone") or "").strip(), country)
    if email and emails.is_relay(email, rules.settings.relay_domains):
        email = None  # made for one order: it says nothing of the customer
    if email and emails.is_nobodys(email, rules.settings.nobodys_mail):
        email = None
    facts = {"e-mail": _digest(email and email.casefold()), "phone": _digest(phone)}
    yield Row(key_of(order), facts, order["UpdatedDate"])


def _named(order: dict[str, Any]) -> bool:
    """Whether the order names its buyer."""
    who, *places = (order.get(name) or {} for name in ("CustomerInfo", "ShippingAddress", "BillingAddress"))
    names = [who.get(name) for name in ("FirstName", "LastName", "Company")]
    return any((name or "").strip() for name in [*names, *(p.get(n) for p in places for n in ("Name", "Company"))])


def _of_order(sale: dict[str, Any], rules: Rules) -> Iterable[Row]:
    if is_ours(sale):
        yield Row(
            sale["ExternalOrderID"],
            {"at": times.write(times.read(sale["OrderDate"]))},
            sale["ModifiedAt"],
            part=sale["CustomerID"],
        )


def _customer(customer: dict[str, Any], rules: Rules) -> Iterable[Row]:
    facts: dict[str, Any] = {"e-mail": None, "phone": None}
    if customer["Status"] != "Erased":
        email, phone = (customer["Email"] or "").casefold(), customer["Phone"] or ""
        facts = {"e-mail": _digest(email) or NOTHING, "phone": _digest(phone) or NOTHING}
    yield Row(customer["CustomerID"], facts, customer["ModifiedAt"], part=customer["CustomerID"])


def _digest(value: str | None) -> str | None:
    return sha256(value.encode()).hexdigest()[:32] if value else None


_name = ops_reading.c
_NAMED = (
    ops_reading,
    sa.and_(_name.subject == "customers", _name.side == NAMES, _name.key == FOUND.c.key),
)
_change = ops_customer_change.c
# What the flow orders decided about the buyer's data (rules/customer_changes.py): why TIMS has another value.
_DECIDED = Explanation(
    because(
        BY_RULE,
        sa.case(
            (_change.outcome == "kept", "a person set it in TIMS after the order"),
            else_="TIMS has refused what the order says (an alert told it)",
        ),
        _NAMED,
        (ops_customer_change, sa.and_(_change.customer_id == _name.part, _change.order_key == FOUND.c.key)),
    ).where(
        _change.outcome.in_(("kept", "refused")),
        _change.field == sa.case((FOUND.c.field == "e-mail", "Email"), else_="Phone"),
    )
)
# The customer's version in TIMS was made by somebody else: it is neither of our changes nor the first version.
_raw = raw_customers.c
_LATER = Explanation(
    because(BY_RULE, "a person changed the customer in TIMS after the buyer's last order", _NAMED).where(
        FOUND.c.tims_version > sa.cast(_name.facts["at"].astext, sa.DateTime(timezone=True)),
        ~sa.exists().where(_change.customer_id == _name.part, _change.modified_at == FOUND.c.tims_version),
        ~sa.exists().where(
            _raw.key == _name.part,
            _raw.version == FOUND.c.tims_version,
            sa.cast(_raw.payload["RowVersion"].astext, sa.BigInteger) == 1,
        ),
    )
)
_COMING = Explanation(
    because(
        IN_FLIGHT,
        "what the order says of its buyer has not been carried into TIMS yet",
        (stage_buyer, stage_buyer.c.key == FOUND.c.key),
    ).where(stage_buyer.c.state == "staged")
)

CUSTOMERS = Subject(
    "customers", "Customers", "order of the buyer",
    (
        Side(CHANNEL_ADVISOR, ORDERS, _buyer, key=key_of),
        Side(NAMES, SALES_ORDERS, _of_order),
        Side(TIMS, CUSTOMERS_LIST, _customer, alias=True, key=lambda one: one["CustomerID"]),
    ),
    (*OF_THE_ORDER, _DECIDED, _COMING, _LATER),
    keys="both",
    last_only=True,
    private=True,
    do="Look at the order on the channel and at its customer in TIMS, and correct the one that is wrong.",
)  # fmt: skip
