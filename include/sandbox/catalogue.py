"""Makes the products from the codes of the transactions: TIMS's items and stock, and Channel Advisor's products.

In: invoices. Out: items, quantities and products, and which role each code plays in the world.
Never: a guess which codes are not products; config/lookups/item_codes.csv lists those.

Most codes are known to TIMS. Of the rare ones some are missing, some blocked, and some exist twice in other case, so
that real orders fail for true reasons without drowning the others; among all codes some are discontinued, stored in
other case, known as the alternate of another SKU, or kits.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from fnmatch import fnmatchcase
from pathlib import Path

from crossdock import config
from crossdock.settings import config_dir
from sandbox import chance
from sandbox.sites import PROFILE
from sandbox.transactions import SCALE, Invoice

VOUCHER = "GIFT-VOUCHER"
LOCATIONS = ("MAIN", "WEST", "MARKETPLACE")
CATEGORIES = (
    (("LIGHT", "LANTERN", "LAMP", "CANDLE"), "Home > Lighting"),
    (("MUG", "CUP", "PLATE", "BOWL", "TEA", "CAKE", "JUG", "SPOON", "TIN"), "Kitchen > Tableware"),
    (("BAG", "PURSE", "WALLET", "SHOPPER"), "Bags"),
    (("NECKLACE", "BRACELET", "EARRING", "RING", "BROOCH"), "Jewellery"),
    (("CHRISTMAS", "ADVENT", "EASTER"), "Seasonal"),
    (("CARD", "PAPER", "WRAP", "NOTEBOOK", "PENCIL", "STICKER"), "Stationery"),
    (("DOLL", "TOY", "GAME", "CHILDREN", "PUZZLE"), "Toys"),
    (("FRAME", "SIGN", "CLOCK", "HOOK", "DOORMAT", "CUSHION"), "Home > Decoration"),
)


@dataclass(frozen=True)
class Code:
    """An analyst's decision on a code that is not a product."""

    pattern: str
    action: str
    item: str


class Codes:
    """config/lookups/item_codes.csv; a code that it does not name is a product."""

    def __init__(self, path: Path | None = None) -> None:
        path = path or config_dir() / "lookups" / "item_codes.csv"
        rows = config.load_csv(path, dict).rows.values()
        self._codes = [Code(row["code"], row["action"], row["item"]) for row in rows]
        self._seen: dict[str, Code] = {}

    def of(self, code: str) -> Code:
        found = self._seen.get(code)
        if found is None:
            found = self._seen[code] = self._find(code.strip())
        return found

    def _find(self, code: str) -> Code:
        for given, fold in ((code, str), (code.casefold(), str.casefold)):
            for row in self._codes:
                if fnmatchcase(given, fold(row.pattern)):
                    return row
        return Code(code, "product", "")


@dataclass
class Catalogue:
    """`roles` is by code in capitals: missing, blocked, ambiguous, discontinued, recased, alternate, kit; else plain.
    `kits` is by code in capitals: (component SKU, units in one kit)."""

    codes: Codes
    items: list[dict] = field(default_factory=list)
    quantities: list[dict] = field(default_factory=list)
    roles: dict[str, str] = field(default_factory=dict)
    kits: dict[str, list[tuple[str, int]]] = field(default_factory=dict)
    products: list[dict] = field(default_factory=list)
    spellings: dict[str, str] = field(default_factory=dict)  # code in capitals -> as the channel stores it


@dataclass
class Sold:
    """The facts of the transactions about one code."""

    spellings: Counter = field(default_factory=Counter)
    names: Counter = field(default_factory=Counter)
    orders: set[str] = field(default_factory=set)
    units: int = 0
    price: int = 0  # highest ordinary price of one unit


def build(invoices: Iterable[Invoice], *, created: datetime) -> Catalogue:
    """The reference data for these invoices; `created` is when the channel's products came to be."""
    catalogue = Catalogue(Codes())
    sold = _sold(invoices, catalogue.codes)
    catalogue.roles = _roles(sold)
    titles = {code: _title(code, facts) for code, facts in sold.items()}
    plain = sorted(code for code in sold if catalogue.roles.get(code) is None and sold[code].orders)
    stamp = created.strftime("%Y-%m-%dT%H:%M:%SZ")
    kits = [code for code, role in catalogue.roles.items() if role == "kit"]
    for code in kits:
        drawn = (chance.pick(plain, "part", code, n) for n in range(chance.between(2, 3, "parts", code)))
        catalogue.kits[code] = [
            (part, 1 if n == 0 else chance.between(1, 3, "units", code, n))
            for n, part in enumerate(dict.fromkeys(drawn))
        ]
    costs = {code: _cost(code, facts) for code, facts in sold.items()}
    for code, parts in catalogue.kits.items():
        costs[code] = sum(costs[part] * units for part, units in parts)
    for number, (code, facts) in enumerate(sold.items()):
        role = catalogue.roles.get(code)
        parts = catalogue.kits.get(code, [])
        catalogue.spellings[code] = facts.spellings.most_common(1)[0][0]
        catalogue.products.append(_product(number, catalogue.spellings[code], titles[code], facts, parts, stamp))
        for sku, alternates in _skus(code, role):
            item = _item(sku, code, role, titles[code], facts, costs[code], parts)
            catalogue.items.append(item | {"AlternateSKUs": alternates})
            if role != "kit":
                catalogue.quantities.append(_quantity(sku, facts.units))
    catalogue.items.append(_voucher())
    catalogue.items.sort(key=lambda item: item["Type"] == "Kit")  # parts before kits
    return catalogue


def _sold(invoices: Iterable[Invoice], codes: Codes) -> dict[str, Sold]:
    sold: dict[str, Sold] = {}
    for invoice in invoices:
        is_order = invoice.is_order
        for line in invoice.lines:
            if codes.of(line.code).action != "product":
                continue
            facts = sold.setdefault(line.code.upper(), Sold())
            facts.spellings[line.code] += 1
            if is_order:
                facts.orders.add(invoice.number)
                facts.units += line.quantity
                facts.price = max(facts.price, line.price)
            if line.description and line.price > 0:
                facts.names[line.description] += 1
    return sold


def _roles(sold: dict[str, Sold]) -> dict[str, str]:
    """Bad roles go to rare codes, so that a few orders in a hundred fail; the others may be anything."""
    roles: dict[str, str] = {}

    def give(role: str, candidates: Iterable[str], count: int) -> None:
        free = [code for code in candidates if code not in roles]
        for code in sorted(free, key=lambda code: chance.raw(role, code))[:count]:
            roles[code] = role

    size = len(sold)
    rare = [code for code, facts in sold.items() if 1 <= len(facts.orders) <= 2]
    letters = [code for code, facts in sold.items() if 1 <= len(facts.orders) <= 4 and sum(map(str.isalpha, code)) > 1]
    give("ambiguous", letters, max(2, size // 1500))
    give("missing", rare, max(6, size // 160))
    give("blocked", rare, max(4, size // 320))
    give("discontinued", sold, size // 50)
    give("alternate", (code for code in sold if code.isdigit()), size // 100)
    give("recased", (code for code in sold if code != code.lower()), size // 150)
    give("kit", (c for c, facts in sold.items() if any("SET" in name.split() for name in facts.names)), size // 150)
    return roles


def _skus(code: str, role: str | None) -> list[tuple[str, list[str]]]:
    """(SKU, alternate SKUs) of TIMS for a code: none, one, or two that differ from each other and from the code in case
    only."""
    if role == "missing":
        return []
    if role == "ambiguous":
        return [(code.lower(), []), (code.capitalize(), [])]
    if role == "recased":
        return [(code.lower(), [])]
    return [(f"TG-{code}", [code])] if role == "alternate" else [(code, [])]


def _title(code: str, facts: Sold) -> str:
    names = facts.names.most_common(1)
    return " ".join(names[0][0].split()) if names else code


def _cost(code: str, facts: Sold) -> int:
    """40 to 60 % of the price, ten-thousandths."""
    return facts.price * chance.between(400, 600, "cost", code) // 1000


def _item(
    sku: str, code: str, role: str | None, title: str, facts: Sold, cost: int, parts: list[tuple[str, int]]
) -> dict:
    return {
        "SKU": sku,
        "Title": title[:200],
        "Description": None,
        "Brand": chance.pick(("Lantern & Co", "Hearth", None), "brand", code),
        "Category": category(title),
        "GTIN": gtin(code) if role != "ambiguous" and chance.share("gtin", code) < 0.6 else None,
        "Type": "Kit" if role == "kit" else "Inventory",
        "KitComponents": [{"SKU": part, "Quantity": units} for part, units in parts],
        "Cost": unit_text(cost),
        "ListPrice": f"{facts.price // SCALE}.{facts.price % SCALE // 100:02d}",
        "CurrencyCode": "GBP",
        "MinMarginPercent": chance.pick(("15.00", "20.00", "25.00", None), "margin", code),
        "TaxCategory": "standard",
        "WeightKg": f"{chance.between(20, 2500, 'weight', code) / 1000:.3f}",
        "Images": [f"https://img.example.com/{code.lower()}.jpg"] if chance.share("image", code) < 0.7 else [],
        "Attributes": {},
        "Status": {"blocked": "Blocked", "discontinued": "Discontinued"}.get(role or "", "Active"),
        "ChannelEligible": role != "blocked",
    }


def _voucher() -> dict:
    return {
        "SKU": VOUCHER,
        "AlternateSKUs": [],
        "Title": "Gift voucher",
        "Description": "Sold at its face value.",
        "Brand": None,
        "Category": "Vouchers",
        "GTIN": None,
        "Type": "NonInventory",
        "KitComponents": [],
        "Cost": "0.00",
        "ListPrice": "10.00",
        "CurrencyCode": "GBP",
        "MinMarginPercent": None,
        "TaxCategory": "outside",
        "WeightKg": None,
        "Images": [],
        "Attributes": {},
        "Status": "Active",
        "ChannelEligible": True,
    }


def category(title: str) -> str:
    for words, name in CATEGORIES:
        if any(word in title for word in words):
            return name
    return "Gifts"


def gtin(code: str) -> str:
    """An EAN-13 of the range that shops may use inside their house, with its check digit."""
    body = f"20{chance.below(10**10, 'gtin', code):010d}"
    odd, even = sum(map(int, body[::2])), sum(map(int, body[1::2]))
    return body + str(-(odd + 3 * even) % 10)


def unit_text(amount: int) -> str:
    """Money of one unit as TIMS writes it: 2 to 4 places."""
    text = f"{amount // SCALE}.{amount % SCALE:04d}"
    return text[:-2] if text.endswith("00") else text


def _quantity(sku: str, units: int) -> dict:
    """Stock before the first day: mostly enough for what will be sold, now and then not; some at other locations."""
    main = units * chance.between(60, 220, "stock", sku) // 100 + chance.below(20, "spare", sku)
    stock = {"MAIN": main, "WEST": chance.below(40, "west", sku), "MARKETPLACE": chance.below(60, "marketplace", sku)}
    rows = [
        {
            "LocationID": name,
            "OnHand": stock[name],
            "Allocated": 0,
            "Available": stock[name],
            "Incoming": chance.pick((0, 0, 0, 24, 144), "incoming", sku) if name == "MAIN" else 0,
        }
        for name in LOCATIONS
    ]
    return {"SKU": sku, "Locations": rows, "TotalAvailable": sum(stock.values())}


def _product(number: int, sku: str, title: str, facts: Sold, parts: list[tuple[str, int]], stamp: str) -> dict:
    return {
        "ProfileID": PROFILE,
        "SKU": sku,
        "ProductID": 7_000_000 + number,
        "ProductType": "Bundle" if parts else "Item",
        "Title": title,
        "ShortDescription": None,
        "Description": None,
        "Brand": None,
        "Condition": chance.pick(("New", "NEW", None), "condition", sku),
        "IsBlocked": False,
        "Attributes": [],
        "Images": [],
        "BundleComponents": [{"SKU": part, "Quantity": units} for part, units in parts],
        "TotalAvailableQuantity": None if parts else facts.units,
        "CreatedDate": stamp,
    }
