"""Checks the rules in the contract's descriptions that a schema cannot express: money equations, countries, currencies.

In: documents whose shape may be broken. Out: errors with pointers. Never: an exception on a broken shape, a float.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

import pycountry

from sandbox.kernel.contract import shown
from sandbox.tims.problems import Errors

_CENT, _ZERO = Decimal("0.01"), Decimal("0.00")
_AMOUNT = re.compile(r"[0-9]{1,13}\.[0-9]{2,4}")
_SIGNED = re.compile(r"-?[0-9]{1,13}\.[0-9]{2}")
_COUNTRIES = frozenset(country.alpha_2 for country in pycountry.countries)
_CURRENCIES = frozenset(currency.alpha_3 for currency in pycountry.currencies)


def round2(value: Decimal) -> Decimal:
    """To 2 places, half away from zero."""
    return value.quantize(_CENT, ROUND_HALF_UP)


def amount(value: Any) -> Decimal | None:
    """Money that is well formed; None for anything else."""
    return Decimal(value) if isinstance(value, str) and _AMOUNT.fullmatch(value) else None


def signed(value: Any) -> Decimal | None:
    """Money of either sign that is well formed; None for anything else."""
    return Decimal(value) if isinstance(value, str) and _SIGNED.fullmatch(value) else None


def currency(errors: Errors, doc: dict[str, Any]) -> None:
    code = doc.get("CurrencyCode")
    if isinstance(code, str) and re.fullmatch("[A-Z]{3}", code) and code not in _CURRENCIES:
        errors.add("/CurrencyCode", "INVALID_CURRENCY", f"{code} is not an ISO 4217 code.")


def country(errors: Errors, pointer: str, address: Any) -> None:
    code = address.get("CountryCode") if isinstance(address, dict) else None
    if isinstance(code, str) and re.fullmatch("[A-Z]{2}", code) and code not in _COUNTRIES:
        errors.add(f"{pointer}/CountryCode", "INVALID_COUNTRY", f"{code} is not an ISO 3166-1 alpha-2 code.")


def lines_of(doc: dict[str, Any]) -> list[tuple[int, dict[str, Any]]]:
    """The lines that are objects, with their positions."""
    lines = doc.get("LineItems")
    return [(n, line) for n, line in enumerate(lines) if isinstance(line, dict)] if isinstance(lines, list) else []


def line_ids(errors: Errors, doc: dict[str, Any]) -> None:
    ids = Counter(line["ExternalLineID"] for _, line in lines_of(doc) if isinstance(line.get("ExternalLineID"), str))
    first: set[str] = set()
    for n, line in lines_of(doc):
        id = line.get("ExternalLineID")
        if isinstance(id, str) and ids[id] > 1 and id in first:
            text = f"{shown(id)} is the id of another line too."
            errors.add(f"/LineItems/{n}/ExternalLineID", "DUPLICATE_EXTERNAL_LINE_ID", text)
        elif isinstance(id, str):
            first.add(id)


@dataclass(frozen=True)
class Part:
    """The amounts of one line of a document."""

    goods: Decimal
    discount: Decimal
    tax: Decimal
    by_marketplace: Decimal  # the tax, where the marketplace remits it


def part(errors: Errors, pointer: str, line: dict[str, Any], goods: Decimal | None) -> Part | None:
    """A line whose goods are worth so much; None when a number is not well formed."""
    discount, tax = amount(line.get("DiscountAmount", "0.00")), amount(line.get("TaxAmount"))
    if goods is None or discount is None or tax is None:
        return None
    if discount > goods:
        text = f"The discount {discount} is above the line's {goods}."
        errors.add(f"{pointer}/DiscountAmount", "INVALID_AMOUNT", text)
    return Part(goods, discount, tax, tax if line.get("TaxRemittedBy") == "Marketplace" else _ZERO)


def goods(line: dict[str, Any], price: str) -> Decimal | None:
    """Quantity x unit price, rounded once; None when a number is not well formed."""
    quantity, each = line.get("Quantity"), amount(line.get(price))
    return round2(quantity * each) if type(quantity) is int and each is not None else None


def totals(errors: Errors, doc: dict[str, Any]) -> None:
    """Checks the three equations of SalesOrder, each to 0.00. A missing number has its own error."""
    parts = [part(errors, f"/LineItems/{n}", line, goods(line, "Price")) for n, line in lines_of(doc)]
    header = _amounts(doc, ("DiscountTotal", "TaxTotal", "TotalAmount"))
    if header is None or not isinstance(doc.get("LineItems"), list) or None in parts:
        return
    lines = [each for each in parts if each]
    total = _sum(lines, "goods") - header["DiscountTotal"] + header["ShippingAmount"] + header["GiftWrapAmount"]
    if doc.get("PricesIncludeTax") is not True:
        total += header["TaxTotal"]
    _equal(errors, header, {**_discount_and_tax(header, lines), "TotalAmount": total})


def receivable_totals(errors: Errors, doc: dict[str, Any], parts: list[Part | None]) -> None:
    """The five equations of ArTotals, each to 0.00; `parts` are the document's lines."""
    header = _amounts(doc, ("SubTotal", "DiscountTotal", "TaxTotal", "MarketplaceRemittedTax", "Total"))
    if header is None or None in parts:
        return
    lines = [each for each in parts if each]
    remitted = _sum(lines, "by_marketplace")
    if doc.get("ShippingTaxRemittedBy") == "Marketplace":
        remitted += header["ShippingTaxAmount"]
    total = header["SubTotal"] - header["DiscountTotal"] + header["ShippingAmount"] + header["GiftWrapAmount"]
    total -= header["MarketplaceRemittedTax"]
    if doc.get("PricesIncludeTax") is not True:
        total += header["TaxTotal"]
    wanted = {"SubTotal": _sum(lines, "goods"), **_discount_and_tax(header, lines), "MarketplaceRemittedTax": remitted}
    _equal(errors, header, wanted | {"Total": total})


def _amounts(doc: dict[str, Any], names: tuple[str, ...]) -> dict[str, Decimal] | None:
    """The charges of a document and these amounts; None when one is not well formed."""
    found = {name: amount(doc.get(name, default)) for name, default in CHARGES.items()}
    found |= {name: amount(doc.get(name)) for name in names}
    whole = {name: value for name, value in found.items() if value is not None}
    return whole if len(whole) == len(found) else None


def _discount_and_tax(header: dict[str, Decimal], lines: list[Part]) -> dict[str, Decimal]:
    return {
        "DiscountTotal": _sum(lines, "discount") + header["ShippingDiscountAmount"],
        "TaxTotal": _sum(lines, "tax") + header["ShippingTaxAmount"],
    }


def _sum(lines: list[Part], name: str) -> Decimal:
    return sum((getattr(line, name) for line in lines), _ZERO)


def _equal(errors: Errors, given: dict[str, Decimal], wanted: dict[str, Decimal]) -> None:
    for name, value in wanted.items():
        if given[name] != value:
            text = f"Given {given[name]}; the lines and charges give {value:.2f}."
            errors.add(f"/{name}", "TOTAL_MISMATCH", text)


CHARGES = {
    "ShippingAmount": None,
    "ShippingDiscountAmount": "0.00",
    "ShippingTaxAmount": "0.00",
    "GiftWrapAmount": "0.00",
}
