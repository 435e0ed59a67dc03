"""Computes the expected result of every order by the rules of the design, without the pipeline's code.

In: an order's states and the catalogue. Out: a verdict, and for a dead one the rules that are true of it.
Never: a read of what the pipeline did; the demo and the tests compare the pipeline with this.

The rules named are causes. The pipeline may find more for the same order (one without its rejected line has another
total, too), but not fewer.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Literal

from sandbox.addresses import COUNTRIES
from sandbox.catalogue import Catalogue
from sandbox.order_histories import State
from sandbox.orders import CENT, Order, cents, equation, goods_and_shipping, money, ten_thousandths

Verdict = Literal["loadable", "waits", "left_out", "dead", "unseen"]
MOST_LINES = 500
ROLE_RULES = {"missing": "unknown_sku", "ambiguous": "ambiguous_sku", "blocked": "item_blocked"}
KNOWN_COUNTRIES = frozenset(
    [name for name, land in COUNTRIES.items() if land.iso] + [land.iso for land in COUNTRIES.values() if land.iso]
)
LENGTHS = {"Name": 60, "Company": 60, "City": 40, "Region": 40, "PostalCode": 12}


@dataclass(frozen=True)
class Expectation:
    """`total` and `currency` are of the sales order in TIMS, `status` is the channel's last one; `person` is the same
    for one buyer on all sites."""

    order_id: int
    verdict: Verdict
    rules: frozenset[str] = frozenset()
    total: Decimal | None = None
    currency: str | None = None
    lines: int = 0
    status: str | None = None
    person: str = ""
    site: str = ""


def expectation(
    order: Order, states: Sequence[State], catalogue: Catalogue, reads: Iterable[datetime] | None = None
) -> Expectation:
    """The verdict once the last state has been read. `reads`: the moments at which the pipeline reads; None = it sees
    every state. An order that was loaded once stays loaded, whatever happens to it."""
    loaded: dict[str, Any] | None = None
    seen = _seen(states, reads)
    if not seen:
        return Expectation(order.id, "unseen", person=order.buyer.key, site=order.site.name)
    for document in seen:
        verdict, rules = judge(order, document, catalogue)
        if verdict == "loadable":
            loaded = document
    last = seen[-1]
    facts = {"status": last["OrderStatus"], "person": order.buyer.key, "site": order.site.name}
    if loaded is None:
        return Expectation(order.id, verdict, rules, **facts)
    count = tims_lines(loaded, catalogue)
    return Expectation(order.id, "loadable", frozenset(), tims_total(loaded), loaded["Currency"], count, **facts)


def _seen(states: Sequence[State], reads: Iterable[datetime] | None) -> list[dict[str, Any]]:
    if reads is None:
        return [state.document for state in states]
    found: list[dict[str, Any]] = []
    for moment in sorted(reads):
        present = [state.document for state in states if state.at < moment]
        if present and (not found or found[-1] is not present[-1]):
            found.append(present[-1])
    return found


def judge(order: Order, document: dict[str, Any], catalogue: Catalogue) -> tuple[Verdict, frozenset[str]]:
    """The verdict on one state of an order that was never loaded."""
    if document["OrderStatus"] == "Cancelled":
        return "left_out", frozenset()
    if document["OrderStatus"] == "Pending":
        return "waits", frozenset()
    rules = _line_rules(document, catalogue) | _amount_rules(order, document) | _address_rules(document)
    if order.defect == "postal_code_invalid":
        rules.add(order.defect)
    if document["Currency"] is None:
        rules.add("currency_missing")
    if not document["UserDataPresent"]:  # then no buyer can be found
        rules.add("personal_data_gone")
    elif order.buyer.tims_knows == "inactive":
        rules.add("customer_inactive")
    elif order.buyer.tims_knows == "twins":
        rules.add("customer_ambiguous")
    return ("dead" if rules else "loadable"), frozenset(rules)


def _line_rules(document: dict[str, Any], catalogue: Catalogue) -> set[str]:
    rules = set()
    for item in document["OrderItems"]:
        action = catalogue.codes.of(item["SKU"]).action
        price = ten_thousandths(item["UnitPrice"])
        if action == "product":
            rule = ROLE_RULES.get(catalogue.roles.get(item["SKU"].upper(), ""))
            if rule:
                rules.add(rule)
        elif action == "reject" or (action == "ignore" and price) or (action == "discount" and price > 0):
            rules.add("code_rejected")
    count = tims_lines(document, catalogue)
    if count > MOST_LINES:
        rules.add("too_many_lines")
    if count == 0 and "code_rejected" not in rules:  # refused lines count as lines
        rules.add("no_lines")
    return rules


def tims_lines(document: dict[str, Any], catalogue: Catalogue) -> int:
    """Lines of the sales order: products and vouchers, a kit by its parts."""
    count = 0
    for item in document["OrderItems"]:
        action = catalogue.codes.of(item["SKU"]).action
        if action == "product":
            count += len(catalogue.kits.get(item["SKU"].upper(), (1,)))
        elif action == "voucher":
            count += 1
    return count


def _amount_rules(order: Order, document: dict[str, Any]) -> set[str]:
    rules = set()
    if ten_thousandths(document["TotalPrice"]) != equation(document):
        rules.add("total_mismatch")
    for name in ("TotalTaxPrice", "TotalDiscount", "TotalShippingPrice", "TotalShippingTaxPrice"):
        if ten_thousandths(document[name]) % CENT:
            rules.add("third_decimal")
    goods, shipping = goods_and_shipping(document, order.actions)
    on_lines = sum(ten_thousandths(item["DiscountAmount"]) for item in document["OrderItems"])
    if ten_thousandths(document["TotalDiscount"]) - on_lines > goods + shipping:
        rules.add("discount_above_goods")
    return rules


def _address_rules(document: dict[str, Any]) -> set[str]:
    address = document["ShippingAddress"]
    rules = set()
    if address["Country"] not in KNOWN_COUNTRIES:
        rules.add("country_unknown")
    street = f"{address['Line1'] or ''} {address['Line2'] or ''}".strip()
    if len(street) > 121 or any(len((address[name] or "").strip()) > most for name, most in LENGTHS.items()):
        rules.add("text_too_long")
    return rules


def tims_total(document: dict[str, Any]) -> Decimal:
    """TotalAmount by TIMS's equation: every line rounded once, all else as given."""
    exact = sum(ten_thousandths(item["UnitPrice"]) * item["Quantity"] for item in document["OrderItems"])
    rounded = sum(cents(ten_thousandths(item["UnitPrice"]) * item["Quantity"]) for item in document["OrderItems"])
    return money(equation(document) - exact + rounded).quantize(Decimal("0.01"))
