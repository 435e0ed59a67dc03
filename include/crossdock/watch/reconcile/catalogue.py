"""Quantities, products and prices: TIMS's items and stock against Channel Advisor's products, stock and prices.

SKUs are compared without case, as Channel Advisor does. An alternate SKU of an item may be a product of its own. Only
fields that TIMS owns are compared. Quantities and prices are what a rule makes of TIMS's values, so `expected` takes
their place: the Stock rule of what TIMS has free now, and the Price rule of the item as it was last read.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

from crossdock.watch.reconcile.base import (
    BY_RULE,
    CHANNEL_ADVISOR,
    DEAD,
    IN_FLIGHT,
    NAMES,
    TIMS,
    WAITING,
    Excuse,
    Explanation,
    Lists,
    Row,
    Rules,
    Side,
    Subject,
)
from crossdock.watch.reconcile.explain import not_read

ITEMS = Lists(TIMS, "inventory/items")
QUANTITIES_LIST = Lists(TIMS, "inventory/quantities")
PRODUCTS_LIST = Lists(CHANNEL_ADVISOR, "products")
STOCK = Lists(CHANNEL_ADVISOR, "inventory")
PRICES_LIST = Lists(CHANNEL_ADVISOR, "prices")
POUND = Decimal("0.45359237")  # kilograms
FOUR_PLACES = Decimal("0.0001")  # as they are sent
OPEN = "('open', 'edited')"


def folded(sku: str) -> str:
    return sku.strip().lower()  # as Postgres does


def _names(item: dict[str, Any], rules: Rules) -> Iterable[Row]:
    """The SKUs under which a channel may have an item: its own and its alternates."""
    own = folded(item["SKU"])
    for other in {own, *map(folded, item["AlternateSKUs"])}:
        yield Row(other, {}, item["ModifiedAt"], part=own)


def _dead_letter(subject: str, flow: str) -> Explanation:
    """A dead letter of `flow` names the SKU, or the item's own SKU of which it is another name."""
    letters = f"SELECT l.id, lower(l.key) AS key FROM ops.dead_letter l WHERE l.flow = '{flow}' AND l.state IN {OPEN}"
    return Explanation(f"""
        SELECT d.id, '{DEAD}', format('dead letter %s of {flow}', l.id)
        FROM found d JOIN (
          {letters}
          UNION
          SELECT l.id, n.key FROM ({letters}) l
          JOIN ops.reading n ON n.subject = '{subject}' AND n.side = '{NAMES}' AND n.part = l.key
        ) l ON l.key = d.key
    """)


def _on_its_way(subject: str, table: str) -> Explanation:
    """The item's staged row waits, is on its way, or was left out. The last only explains that one side has none."""
    return Explanation(f"""
        SELECT d.id, CASE s.state WHEN 'waiting' THEN '{WAITING}' WHEN 'left_out' THEN '{BY_RULE}'
                     ELSE '{IN_FLIGHT}' END,
               coalesce(s.reason, format('batch %s is at work', s.batch_id))
        FROM found d JOIN ops.reading n ON n.subject = '{subject}' AND n.side = '{NAMES}' AND n.key = d.key
        JOIN {table} s ON lower(btrim(s.key)) = n.part
        WHERE s.state IN ('waiting', 'staged', 'ready') OR s.state = 'left_out' AND d.missing <> ''
    """)


# A product that no item of TIMS is (flow catalog): a person decides what becomes of it.
_ORPHAN = Explanation(f"""
    SELECT d.id, '{WAITING}', 'no item of TIMS is this product: see `crossdock catalog orphans`'
    FROM found d JOIN ops.orphan o ON lower(btrim(o.product_sku)) = d.key WHERE d.missing = '{TIMS}'
""")


# ---- quantities ------------------------------------------------------------------------------------------------------


def _level(level: dict[str, Any], rules: Rules) -> Iterable[Row]:
    center = level["DistributionCenterID"]
    if center in rules.own_centers:
        facts = {"quantity": level["AvailableQuantity"]}
        yield Row(folded(level["SKU"]), facts, level["UpdatedDate"], part=str(center))


def _quantity(quantity: dict[str, Any], rules: Rules) -> Iterable[Row]:
    """What is free at our own locations; the marketplace's is not ours to offer."""
    places = [place for place in quantity["Locations"] if place["LocationID"] not in rules.elsewhere]
    facts = {"quantity": max(0, sum(place["Available"] for place in places))}
    yield Row(folded(quantity["SKU"]), facts, quantity["ModifiedAt"])


QUANTITIES = Subject(
    "quantities", "Quantities", "SKU",
    (
        Side(CHANNEL_ADVISOR, STOCK, _level),
        Side(NAMES, ITEMS, _names),
        Side(TIMS, QUANTITIES_LIST, _quantity, alias=True),
    ),
    (
        _dead_letter("quantities", "inventory"),
        not_read("inventory", "tims.inventory/quantities", TIMS),
        _on_its_way("quantities", "stage.channel_quantity"),
        _ORPHAN,
    ),
    keys="channel_advisor",
    summed=frozenset({"quantity"}),
    # What is free is TIMS's own word of just now; where it is the figure that was staged, all of the rule counts (also
    # caps and shares), else what is held back of it.
    expected="""
        SELECT r.key, jsonb_build_object('quantity', CASE
                 WHEN s.item_state IN ('blocked', 'not_eligible') THEN 0
                 WHEN greatest(0, s.available) = (r.facts->>'quantity')::bigint THEN s.quantity
                 ELSE greatest(0, (r.facts->>'quantity')::bigint - s.in_flight - s.buffer) END) AS facts
        FROM ops.reading r JOIN stage.channel_quantity s ON lower(btrim(s.key)) = r.key
        WHERE r.subject = 'quantities' AND r.side = 'tims' AND s.quantity IS NOT NULL
    """,
    do="`crossdock sync inventory --key SKU` sends what the Stock rule says.",
)  # fmt: skip


# ---- prices ----------------------------------------------------------------------------------------------------------


def _price(price: dict[str, Any], rules: Rules) -> Iterable[Row]:
    promotion = price.get("Promotion") or {}
    facts = {
        "price": price["Price"], "currency": price["Currency"], "minimum": price.get("MinPrice"),
        "maximum": price.get("MaxPrice"), "promotion": promotion.get("Price"),
    }  # fmt: skip
    yield Row(folded(price["SKU"]), facts, price["UpdatedDate"])


def _priced_item(item: dict[str, Any], rules: Rules) -> Iterable[Row]:
    """TIMS has costs, not prices: what the price should be is the expectation's to say."""
    yield Row(folded(item["SKU"]), dict.fromkeys(("price", "currency", "minimum", "maximum", "promotion")),
              item["ModifiedAt"])  # fmt: skip


PRICES = Subject(
    "prices", "Prices", "SKU",
    (
        Side(CHANNEL_ADVISOR, PRICES_LIST, _price),
        Side(NAMES, ITEMS, _names),
        Side(TIMS, ITEMS, _priced_item, alias=True),
    ),
    (
        _dead_letter("prices", "prices"),
        not_read("prices", "tims.inventory/items", TIMS),
        _on_its_way("prices", "stage.price"),
        _ORPHAN,
    ),
    keys="channel_advisor",
    expected="""
        SELECT lower(btrim(key)) AS key, jsonb_build_object('price', "Price", 'currency', "Currency",
                 'minimum', "MinPrice", 'maximum', "MaxPrice", 'promotion', "Promotion.Price") AS facts
        FROM stage.price WHERE "Price" IS NOT NULL
    """,
    do="`crossdock sync prices --key SKU` sends what the Price rule says.",
)  # fmt: skip


# ---- products --------------------------------------------------------------------------------------------------------

OWNED = ("title", "description", "brand", "code", "weight", "images", "parts")


def _product(product: dict[str, Any], rules: Rules) -> Iterable[Row]:
    images = sorted(product.get("Images") or (), key=lambda one: (len(one["PlacementName"]), one["PlacementName"]))
    weight = product.get("Weight")
    facts = {
        "title": product["Title"],
        "description": product["Description"] or "",
        "brand": product["Brand"] or "",
        "code": _code(product.get("EAN") or product.get("UPC")),
        "weight": "" if weight is None else Decimal(weight).quantize(FOUR_PLACES, ROUND_HALF_UP),
        "images": [image["Url"] for image in images],
        "parts": _parts(product.get("BundleComponents")),
    }
    if product["ProductType"] != "Parent":  # made of its children on the channel; TIMS knows no such thing
        yield Row(folded(product["SKU"]), facts, product["UpdatedDate"])


def _item(item: dict[str, Any], rules: Rules) -> Iterable[Row]:
    excuse = None
    facts: dict[str, Any] = dict.fromkeys(OWNED)
    if not item["ChannelEligible"] or item["Status"] != "Active":
        excuse = Excuse(BY_RULE, "the item is not sold on channels" if not item["ChannelEligible"]
                        else f"the item is {item['Status']}")  # fmt: skip
    else:
        weight = item["WeightKg"]
        facts = {
            "title": item["Title"],
            "description": item["Description"] or "",
            "brand": item["Brand"] or "",
            "code": _code(item["GTIN"]),
            "weight": "" if weight is None else (Decimal(weight) / POUND).quantize(FOUR_PLACES, ROUND_HALF_UP),
            "images": item["Images"],
            "parts": _parts(item["KitComponents"]),
        }
    own = Row(folded(item["SKU"]), facts, item["ModifiedAt"], excuse=excuse)
    yield own
    for other in item["AlternateSKUs"]:
        optional = Excuse(BY_RULE, f"an alternate SKU of {item['SKU']} need not be a product")
        yield replace(own, key=folded(other), excuse=excuse or optional)


def _code(gtin: str | None) -> str:
    """A GTIN, an EAN and a UPC are one number but for the zeros before it."""
    return (gtin or "").lstrip("0")


def _parts(components: Iterable[dict[str, Any]] | None) -> list[str]:
    return sorted(f"{one['Quantity']} x {folded(one['SKU'])}" for one in components or ())


_SOLD_AS = Explanation(f"""
    SELECT d.id, '{BY_RULE}', format('the channel has it as %s', n.key)
    FROM found d
    JOIN ops.reading n ON n.subject = d.subject AND n.side = '{NAMES}' AND n.part = d.key AND n.key <> d.key
    JOIN ops.reading p ON p.subject = d.subject AND p.side = '{CHANNEL_ADVISOR}' AND p.key = n.key
    WHERE d.missing = '{CHANNEL_ADVISOR}'
""")
PRODUCTS = Subject(
    "products", "Products", "SKU",
    (
        Side(CHANNEL_ADVISOR, PRODUCTS_LIST, _product),
        Side(NAMES, ITEMS, _names),
        Side(TIMS, ITEMS, _item),
    ),
    (
        _SOLD_AS,
        _dead_letter("products", "catalog"),
        not_read("catalog", "tims.inventory/items", TIMS),
        _on_its_way("products", "stage.product"),
        _ORPHAN,
    ),
    do="TIMS decides: `crossdock sync catalog --key SKU` sends it. A product that only the channel has is removed "
    "there, or its item created in TIMS.",
)  # fmt: skip
