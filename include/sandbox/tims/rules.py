"""Rules of the contract's descriptions that no schema can say: money equations, countries, currencies.

In: documents whose shape may be broken. Out: errors with pointers. Never: an exception on a broken shape, a float.
"""

from __future__ import annotations

import re
from collections import Counter
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

import pycountry

from sandbox.kernel.contract import shown
from sandbox.tims.problems import Errors

_CENT = Decimal("0.01")
_AMOUNT = re.compile(r"[0-9]{1,13}\.[0-9]{2,4}")
_COUNTRIES = frozenset(country.alpha_2 for country in pycountry.countries)
_CURRENCIES = frozenset(currency.alpha_3 for currency in pycountry.currencies)


def round2(value: Decimal) -> Decimal:
    """To 2 places, half away from zero."""
    return value.quantize(_CENT, ROUND_HALF_UP)


def amount(value: Any) -> Decimal | None:
    """Money that is well formed; None for anything else."""
    return Decimal(value) if isinstance(value, str) and _AMOUNT.fullmatch(value) else None


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


def totals(errors: Errors, doc: dict[str, Any]) -> None:
    """The three equations of SalesOrder, each to 0.00; one that misses a number is left to its own errors."""
    values = [_line(errors, f"/LineItems/{n}", line) for n, line in lines_of(doc)]
    given = {name: amount(doc.get(name, default)) for name, default in _HEAD.items()}
    if any(value is None for value in [*values, *given.values()]) or not isinstance(doc.get("LineItems"), list):
        return
    goods, discounts, taxes = (sum((v[i] for v in values if v), Decimal(0)) for i in range(3))
    head = {name: value for name, value in given.items() if value is not None}
    discount = discounts + head["ShippingDiscountAmount"]
    tax = taxes + head["ShippingTaxAmount"]
    total = goods - head["DiscountTotal"] + head["ShippingAmount"] + head["GiftWrapAmount"]
    if doc.get("PricesIncludeTax") is not True:
        total += head["TaxTotal"]
    for name, sum_ in (("DiscountTotal", discount), ("TaxTotal", tax), ("TotalAmount", total)):
        if head[name] != sum_:
            text = f"Given {head[name]}; the lines and charges give {sum_:.2f}."
            errors.add(f"/{name}", "TOTAL_MISMATCH", text)


_HEAD = {
    "ShippingAmount": None,
    "ShippingDiscountAmount": "0.00",
    "ShippingTaxAmount": "0.00",
    "GiftWrapAmount": "0.00",
    "DiscountTotal": None,
    "TaxTotal": None,
    "TotalAmount": None,
}


def _line(errors: Errors, pointer: str, line: dict[str, Any]) -> tuple[Decimal, Decimal, Decimal] | None:
    """Goods, discount and tax of one line; None when a number is not well formed."""
    quantity, price = line.get("Quantity"), amount(line.get("Price"))
    discount, tax = amount(line.get("DiscountAmount", "0.00")), amount(line.get("TaxAmount"))
    if type(quantity) is not int or price is None or discount is None or tax is None:
        return None
    goods = round2(quantity * price)
    if discount > goods:
        text = f"The discount {discount} is above the line's {goods}."
        errors.add(f"{pointer}/DiscountAmount", "INVALID_AMOUNT", text)
    return goods, discount, tax
