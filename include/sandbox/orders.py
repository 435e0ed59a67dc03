"""Turns invoices into orders of Channel Advisor: on a site, in its currency, with its taxes, charges and defects.

In: an invoice and the catalogue. Out: the whole order in its complete state.
Never: a cleaned code, a merged line, a rounded total; TotalPrice satisfies the contract's equation to 4 decimals unless
the order is one of the few that are wrong on purpose.

Amounts are ints of ten-thousandths until they become decimals with 4 places.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import lru_cache

from sandbox import buyers, chance
from sandbox.buyers import Buyer
from sandbox.catalogue import Catalogue
from sandbox.channel_advisor.rules import TAX_TYPES
from sandbox.sites import AMAZON_DE, AMAZON_FR, AMAZON_UK, AMAZON_US, EBAY_UK, PROFILE, WEB_SHOP, Site
from sandbox.transactions import Invoice, Line

CENT = 100
FIRST_ORDER = 10_000_000
MOST_LINES = 3_000  # room for line ids within an order: those of any invoice number up to 715,000 fit 32 bits

# What is wrong on purpose, per mille of the orders; None: nothing.
DEFECTS = (
    ("total_mismatch", 3), ("third_decimal", 3), ("discount_above_goods", 3), ("discount_into_shipping", 3),
    ("country_unknown", 2), ("postal_code_invalid", 5), ("street_too_long", 3), ("name_too_long", 2),
    ("city_too_long", 1), ("currency_missing", 1.5), ("no_lines", 1.5), ("personal_data_gone", 2), ("nul", 1),
    (None, 969),
)  # fmt: skip
ADDRESS_DEFECTS = ("country_unknown", "postal_code_invalid", "street_too_long", "city_too_long")
CARRIERS = {
    AMAZON_US: (("UPS", "Ground"), ("USPS", "Priority Mail"), ("FedEx", "2Day"), (None, None)),
    AMAZON_UK: (("Royal Mail", "1st Class"), ("Royal Mail", "Tracked 48"), ("DPD", "Next Day"), (None, None)),
    AMAZON_DE: (("DHL", "Paket"), ("Hermes", "Standard"), (None, None)),
    AMAZON_FR: (("La Poste", "Colissimo"), ("Chronopost", "Express"), (None, None)),
    EBAY_UK: (("Royal Mail", "2nd Class"), ("Royal Mail", "1st Class"), ("Other", "Economy Delivery")),
    WEB_SHOP: (("Royal Mail", "1st Class"), ("DPD", "Next Day"), ("Royal Mail", "Special Delivery"), (None, None)),
}
CHARGES = (39_500, 49_500, 74_500, 125_000)
NOTES = (
    "Please leave with the neighbour at number 12 if we are out.",
    "It is a present, no invoice in the box please!",
    "Deliver before 10:00 — the shop's bell is broken, knock twice.",
    "Merci d'appeler avant la livraison.",
)
LONG_NOTE = "Our opening hours change with the season, so please read this to the end before the van leaves. " * 7


@dataclass
class Order:
    """`document` is the order complete, paid, unshipped; what happens to it is in `lives`."""

    id: int
    invoice: Invoice
    buyer: Buyer
    site: Site
    document: dict
    defect: str | None = None
    actions: list[str] = field(default_factory=list)  # of item_codes.csv, line by line


@lru_cache(maxsize=200_000)
def money(amount: int) -> Decimal:
    """Ten-thousandths as a decimal with 4 places: 25500 is 2.5500."""
    return Decimal(amount).scaleb(-4)


def cents(amount: int) -> int:
    """Rounded to whole cents, half away from zero; still in ten-thousandths."""
    sign = -1 if amount < 0 else 1
    return sign * ((abs(amount) + CENT // 2) // CENT * CENT)


def tenths(amount: int, tenths_of_percent: int) -> int:
    """A part of an amount, rounded to cents."""
    return cents((amount * tenths_of_percent + 500) // 1000)


@lru_cache(maxsize=60_000)
def price_on(site_rate: int, code: str, pounds: int) -> tuple[int, int]:
    """(price as the site has it, the same in whole cents): a repricer left 4 decimals on every eighth code."""
    exact = pounds * site_rate // 100
    rounded = cents(exact) if site_rate != 100 else exact
    return (exact if chance.share("repriced", code) < 0.12 else rounded), rounded


def stamp(moment: datetime, *key: object) -> str:
    """UTC with 0 to 7 fractional digits, as the contract warns."""
    digits = chance.pick(("", "", "8", "37", "913", "5893215", "9133333"), "fraction", *key)
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S") + (f".{digits}" if digits else "") + "Z"


def order(invoice: Invoice, catalogue: Catalogue) -> Order:
    """The order of an invoice that is one (Invoice.is_order)."""
    who = buyers.buyer(invoice.customer, invoice.country, "" if invoice.customer else invoice.number)
    site = buyers.site_of(invoice.customer, invoice.country, invoice.number)
    lines = [line for line in invoice.lines if line.quantity > 0]
    actions = [catalogue.codes.of(line.code).action for line in lines]
    defect = None if who.tims_knows else chance.weighted(DEFECTS, "defect", invoice.number)
    key = FIRST_ORDER + int(invoice.number)
    document = _header(key, invoice, who, site)
    document["OrderItems"] = [_item(key, n, line, site, catalogue) for n, line in enumerate(lines, start=1)]
    document["OrderItemCount"] = len(lines)
    made = Order(key, invoice, who, site, document, defect, actions)
    _amounts(made)
    _spoil(made)
    return made


def line_id(key: int, n: int) -> int:
    """The id of an order's line `n`, of 32 bits, as the live Channel Advisor has them."""
    return (key - FIRST_ORDER) * MOST_LINES + n


def _header(key: int, invoice: Invoice, who: Buyer, site: Site) -> dict:
    number = invoice.number
    address, info = buyers.address(who, site, number), buyers.info(who, site, number)
    carrier, service = chance.pick(CARRIERS.get(site, ((None, None),)), "carrier", number)
    imported = invoice.at + timedelta(seconds=chance.between(20, 890, "import", number))
    return {
        "ChannelAdvisorOrderID": key,
        "OrderID": site_number(site, number),
        "ProfileID": PROFILE,
        "SiteID": site.id,
        "SiteName": site.name,
        "SellerOrderID": None,
        "OrderStatus": "New",
        "PaymentStatus": chance.pick(("Cleared",) * 7 + ("Deposited",), "payment", number),
        "FulfillmentStatus": "Unshipped",
        "OrderDate": stamp(invoice.at, number),
        "ImportDate": stamp(imported, "import", number),
        "PaymentDate": stamp(invoice.at + timedelta(seconds=5), "paid", number),
        "Currency": site.currency,
        "CustomerInfo": info,
        "ShippingAddress": address,
        "BillingAddress": _billing(who, address, info, number),
        "RequestedShippingCarrier": carrier,
        "RequestedShippingClass": service,
        "TaxRemittedBy": site.remitted_by,
        "SpecialInstructions": _note(number),
        "Exported": False,
        "DistributionCenterTypeRollup": "SellerManaged",
        "Flag": chance.pick(("NoFlag",) * 19 + ("BlueFlag",), "flag", number),
        "UserDataPresent": True,
    }


def _billing(who: Buyer, address: dict, info: dict, number: str) -> dict | None:
    """The buyer's own name stands on the bill: the live Channel Advisor tells of no other name of a buyer."""
    kind = chance.share("billing", number)
    if kind < 0.75:
        return None
    name = " ".join(filter(None, (info["FirstName"], info["LastName"])))
    if kind < 0.92 or not who.company:
        return address | {"Name": name}
    return address | {"Name": name, "Line2": "Accounts Payable"}


def _note(number: str) -> str | None:
    kind = chance.share("note", number)
    if kind > 0.04:
        return None if kind > 0.5 else ""
    return LONG_NOTE if kind < 0.004 else chance.pick(NOTES, "note", number)


def site_number(site: Site, number: str) -> str:
    """The marketplace's own number of an order."""
    digits = f"{chance.below(10**12, 'site number', number):012d}"
    if site.category == "Amazon":
        return f"{chance.between(100, 799, 'site number', 1, number)}-{digits[:7]}-{number[-6:]}{digits[-1]}"
    if site.category == "eBay":
        return f"{digits[:2]}-{digits[2:7]}-{number[-6:]}"
    return f"{'WEB' if site == WEB_SHOP else 'FR'}-{number}"


def _item(key: int, n: int, line: Line, site: Site, catalogue: Catalogue) -> dict:
    parts = catalogue.kits.get(line.code.upper())
    price, rounded = price_on(site.rate, line.code, line.price)
    if price * line.quantity % CENT == CENT // 2:  # avoids lines whose rounding depends on the direction
        price = rounded
    return {
        "OrderItemID": line_id(key, n),
        "SKU": line.code,
        "Title": line.description or None,
        "Quantity": line.quantity,
        "UnitPrice": money(price),
        "TaxAmount": None,
        "DiscountAmount": None,
        "ShippingAmount": None,
        "ShippingTaxAmount": None,
        "GiftWrapAmount": None,
        "QuantityShipped": 0,
        "QuantityCancelled": 0,
        "QuantityReturned": 0,
        "BundleComponents": [{"SKU": sku, "Quantity": units * line.quantity} for sku, units in parts or ()],
    }


def ten_thousandths(amount: Decimal | None) -> int:
    return 0 if amount is None else int(amount.scaleb(4))


def _amounts(made: Order) -> None:
    """Discounts, shipping, gift wrap, taxes: on lines, on the header or nowhere, as the site gives them."""
    site, document, number = made.site, made.document, made.invoice.number
    items = document["OrderItems"]
    values = [ten_thousandths(item["UnitPrice"]) * item["Quantity"] for item in items]
    is_goods = [action in ("product", "voucher") for action in made.actions]
    goods = sum(value for value, yes in zip(values, is_goods, strict=True) if yes)
    on_lines = site.tax_given == "lines"
    discounts = [0] * len(items)
    header_discount = 0
    kind = chance.share("discount", number) if goods > 50_000 else 1.0
    if kind < 0.05 and on_lines:
        discounts = [tenths(value, 100) * yes for value, yes in zip(values, is_goods, strict=True)]
    elif kind < 0.09:
        header_discount = tenths(goods, 50)
    elif kind < 0.10 and on_lines:
        header_discount = tenths(goods, 30)
        first = next(n for n, yes in enumerate(is_goods) if yes and values[n] > 0)
        discounts[first] = tenths(values[first], 50)
    taxed = chance.share("taxed", number) < site.taxed_share
    rate = site.tax if taxed else 0
    taxes = [
        tenths(value - off, rate) if value > off and action in ("product", "voucher", "shipping") else 0
        for value, off, action in zip(values, discounts, made.actions, strict=True)
    ]
    shipping = 0
    if "shipping" not in made.actions and chance.share("shipping", number) < 0.45:
        shipping = chance.pick(CHARGES, "charge", number)
    shipping_tax = tenths(shipping, rate)
    wraps = [0] * len(items)
    if on_lines and chance.share("gift wrap", number) < 0.03:
        wraps[chance.below(len(items), "wrapped", number)] = 25_000
    if on_lines:
        for n, item in enumerate(items):
            item["TaxAmount"], item["DiscountAmount"] = money(taxes[n]), money(discounts[n])
            item["GiftWrapAmount"] = money(wraps[n])
            item["ShippingAmount"] = money(shipping if n == 0 else 0)
            item["ShippingTaxAmount"] = money(shipping_tax if n == 0 else 0)
    elif site in (AMAZON_FR, EBAY_UK):
        for item in items:
            item["TaxAmount"] = item["DiscountAmount"] = money(0)
    not_given = site.tax_given == "nowhere" or (not on_lines and not taxed)
    document |= {
        "TotalShippingPrice": money(shipping) if shipping or on_lines else None,
        "TotalShippingTaxPrice": money(shipping_tax) if not not_given else None,
        "TotalTaxPrice": None if not_given else money(sum(taxes)),
        "TotalDiscount": money(sum(discounts) + header_discount) if header_discount or on_lines else None,
        **dict.fromkeys(TAX_TYPES, _tax_type(site, taxed=taxed)),
    }
    total(document)


def _tax_type(site: Site, *, taxed: bool) -> str | None:
    """The tax type of the site; None for a site that gives no tax."""
    if site.tax_given == "nowhere":
        return None
    if not taxed:
        return "NoTax"
    return "Standard" if site == AMAZON_US else "ExclusiveVat"


def total(document: dict) -> None:
    """TotalPrice by the contract's equation."""
    document["TotalPrice"] = money(equation(document))


def equation(document: dict) -> int:
    """sum(UnitPrice * Quantity) - TotalDiscount + TotalTaxPrice + TotalShippingPrice + TotalShippingTaxPrice
    + sum(GiftWrapAmount), ten-thousandths."""
    goods = sum(
        ten_thousandths(item["UnitPrice"]) * item["Quantity"] + ten_thousandths(item["GiftWrapAmount"])
        for item in document["OrderItems"]
    )
    added = ("TotalTaxPrice", "TotalShippingPrice", "TotalShippingTaxPrice")
    return goods + sum(ten_thousandths(document[name]) for name in added) - ten_thousandths(document["TotalDiscount"])


def goods_and_shipping(document: dict, actions: list[str]) -> tuple[int, int]:
    """What discounts may be taken from: (goods less their discounts, shipping), ten-thousandths. `actions` may be
    longer than the lines: a line that is not there yet, or no more, is the last."""
    goods = shipping = 0
    for item, action in zip(document["OrderItems"], actions, strict=False):
        value = cents(ten_thousandths(item["UnitPrice"]) * item["Quantity"])
        if action in ("product", "voucher"):
            goods += value - ten_thousandths(item["DiscountAmount"])
        elif action == "shipping":
            shipping += value
    return goods, shipping + ten_thousandths(document["TotalShippingPrice"])


def _spoil(made: Order) -> None:
    """Applies the order's defect, unless this order cannot have it."""
    document, defect = made.document, made.defect
    address = document["ShippingAddress"]
    if defect == "total_mismatch":
        document["TotalPrice"] += Decimal("5.0000")
    elif defect == "third_decimal":
        document["TotalShippingPrice"] = money(ten_thousandths(document["TotalShippingPrice"]) // CENT * CENT + 49_550)
        for item in document["OrderItems"]:
            item["ShippingAmount"] = None
        total(document)
    elif defect in ("discount_above_goods", "discount_into_shipping"):
        _discount_above(made, into_shipping=defect == "discount_into_shipping")
    elif defect == "country_unknown":
        address["Country"] = chance.pick(("Unspecified", "European Community"), "unknown", made.id)
    elif defect == "postal_code_invalid":
        if address["PostalCode"] is None:
            made.defect = None
            return
        address["PostalCode"] = chance.pick(("NOCODE", "12", "0000-00000-0", "X9X 9X9X"), "invalid", made.id)
    elif defect == "street_too_long":
        address["Line1"] = (
            "The Old Rectory Community Workshop and Studio, behind the disused railway goods yard and its signal box, "
            + made.buyer.line1
            + ", ask at the gate"
        )
        address["Line2"] = None
    elif defect == "name_too_long":
        address["Name"] = f"{made.buyer.name} and all the friends of the Society for the Preservation of Paper Lanterns"
    elif defect == "city_too_long":
        address["City"] = "Llanfairpwllgwyngyllgogerychwyrndrobwllllantysiliogogogoch"
    elif defect == "currency_missing":
        document["Currency"] = None
    elif defect == "no_lines":
        document["OrderItems"], document["OrderItemCount"], made.actions = [], 0, []
        for name in ("TotalTaxPrice", "TotalDiscount", "TotalShippingPrice", "TotalShippingTaxPrice"):
            document[name] = money(0)
        total(document)
    elif defect == "personal_data_gone":
        vanish(document)
    elif defect == "nul":
        document["SpecialInstructions"] = "Ring twice.\u0000\u200b Thank you"
        address["Company"] = None if address["Company"] is None else address["Company"] + "\u0000"
    if defect in ADDRESS_DEFECTS:  # the billing address would no longer be a copy
        document["BillingAddress"] = None


def _discount_above(made: Order, *, into_shipping: bool) -> None:
    """A header discount above the goods: so that the shipping takes the rest, or so that even that is too little."""
    document = made.document
    if made.site.tax_given == "lines":  # the header alone carries it
        for item in document["OrderItems"]:
            item["DiscountAmount"] = money(0)
            item["ShippingAmount"] = item["ShippingTaxAmount"] = None
    document["TotalShippingPrice"] = money(125_000)
    document["TotalDiscount"] = None
    goods, shipping = goods_and_shipping(document, made.actions)
    if goods <= 0:
        made.defect = None
    else:
        document["TotalDiscount"] = money(goods + 20_000 if into_shipping else goods + shipping + 70_000)
    total(document)


def vanish(document: dict) -> None:
    """The marketplace's retention has ended: names, e-mail, phone and street lines are gone."""
    info, address = document["CustomerInfo"], document["ShippingAddress"]
    document["UserDataPresent"] = False
    for name in ("FirstName", "LastName", "Email", "Phone", "Company"):
        info[name] = None
    for name in ("Name", "Company", "Line1", "Line2"):
        address[name] = None
    document["BillingAddress"] = None
