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

import sqlalchemy as sa

from crossdock.comparison.explain import FOUND, Via, at_work, because, not_read, on_its_way
from crossdock.comparison.subject import (
    BY_RULE,
    CHANNEL_ADVISOR,
    DEAD,
    IN_FLIGHT,
    NAMES,
    SOLD,
    TIMS,
    WAITING,
    Excuse,
    Explanation,
    Lists,
    Row,
    Rules,
    Side,
    Subject,
    whole,
)
from crossdock.store import sql
from crossdock.store.tables import (
    ops_dead_letter,
    ops_orphan,
    ops_reading,
    raw_items,
    raw_quantities,
    stage_channel_quantity,
    stage_price,
    stage_product,
)

ITEMS = Lists(TIMS, "inventory/items", ("SKU",))
QUANTITIES_LIST = Lists(TIMS, "inventory/quantities", ("SKU",))
PRODUCTS_LIST = Lists(CHANNEL_ADVISOR, "products", ("SKU",))
STOCK = Lists(CHANNEL_ADVISOR, "inventory", ("SKU", "DistributionCenterID"))
NEW_ORDERS = Lists(CHANNEL_ADVISOR, "orders", ("ChannelAdvisorOrderID",), truncated=True, unread_by="orders")
PRICES_LIST = Lists(CHANNEL_ADVISOR, "prices", ("SKU",))
POUND = Decimal("0.45359237")  # kilograms
FOUR_PLACES = Decimal("0.0001")  # places of a weight, as it is sent


def folded(sku: str) -> str:
    return sku.strip().lower()  # as Postgres does


def _sku(record: dict[str, Any]) -> str:
    return folded(record["SKU"])


def _names(item: dict[str, Any], rules: Rules) -> Iterable[Row]:
    """An item's names on a channel: its own SKU and its alternates."""
    own = folded(item["SKU"])
    for other in {own, *map(folded, item["AlternateSKUs"])}:
        for name in (other, *_elsewhere(other, rules)):
            yield Row(name, {}, item["ModifiedAt"], part=own)


def _elsewhere(sku: str, rules: Rules) -> Iterable[str]:
    """The names of products with a SKU in other profiles of the channel."""
    return (f"{profile}:{sku}" for profile in rules.other_profiles)


_name, _letter = ops_reading.c, ops_dead_letter.c


def _named(subject: str) -> Via:
    """Joins the items that have a difference's SKU as a name; `part` is the item's own SKU."""
    return ops_reading, sa.and_(_name.subject == subject, _name.side == NAMES, _name.key == FOUND.c.key)


def _dead_letter(subject: str, flow: str) -> Explanation:
    """A dead letter of `flow` has this SKU, or the own SKU of the item it names, as its key."""
    letters = sa.select(_letter.id, sa.func.lower(_letter.key).label("key"))
    open_ones = letters.where(_letter.flow == flow, _letter.state.in_(("open", "edited"))).cte("letter")
    of_names = sa.and_(_name.subject == subject, _name.side == NAMES, _name.part == open_ones.c.key)
    by_any_name = sa.union(
        sa.select(open_ones), sa.select(open_ones.c.id, _name.key).join(ops_reading, of_names)
    ).subquery("l")
    why = sa.func.format(f"dead letter %s of {flow}", by_any_name.c.id)
    return Explanation(because(DEAD, why, (by_any_name, by_any_name.c.key == FOUND.c.key)))


def _on_its_way(subject: str, table: sa.Table) -> Explanation:
    """The item's staged row waits, is on its way, or was left out. Left out explains only a side that lacks the key."""
    return on_its_way(table, _name.part, _named(subject), form=folded_in_database)


def _item_at_work(subject: str, flow: str, table: sa.Table) -> Explanation:
    """A run of `flow` works on the item now, or did until just now."""
    return at_work(flow, table, folded_in_database(table.c.key) == _name.part, _named(subject))


def folded_in_database(sku: sa.ColumnElement[str]) -> sa.ColumnElement[str]:
    """`folded` of a column."""
    return sa.func.lower(sa.func.btrim(sku))


# A product without an item in TIMS (flow catalog): a person decides what to do with it.
NO_ITEM = "no item of TIMS is this product"
_ORPHAN = Explanation(
    because(
        WAITING,
        f"{NO_ITEM}: create it in TIMS, give the right item this code as an alternate SKU, or take it off the channel",
        (ops_orphan, folded_in_database(ops_orphan.c.product_sku) == FOUND.c.key),
    ).where(FOUND.c.missing == TIMS)
)


# ---- quantities ------------------------------------------------------------------------------------------------------


def _level(level: dict[str, Any], rules: Rules) -> Iterable[Row]:
    center = level["DistributionCenterID"]
    if center in rules.own_centers:
        facts = {"quantity": whole(level["AvailableQuantity"])}
        yield Row(folded(level["SKU"]), facts, level["UpdatedDate"], part=str(center))


def _quantity(quantity: dict[str, Any], rules: Rules) -> Iterable[Row]:
    """What is free at our own locations. The marketplace's stock does not count."""
    places = [place for place in quantity["Locations"] if place["LocationID"] not in rules.elsewhere]
    facts = {"quantity": max(0, whole(sum(whole(place["Available"]) for place in places)))}
    yield Row(folded(quantity["SKU"]), facts, quantity["ModifiedAt"])


def _sold(order: dict[str, Any], rules: Rules) -> Iterable[Row]:
    """Sold units by SKU, as the channel takes them off its stock: of each line, and of each part of a bundle."""
    for line in order["OrderItems"] or ():
        for number, one in enumerate((line, *(line.get("BundleComponents") or ()))):
            part = f"{order['ChannelAdvisorOrderID']}:{line['OrderItemID']}:{number}"
            yield Row(folded(one["SKU"] or ""), {"units": whole(one["Quantity"])}, order["UpdatedDate"], part=part)


_ORDERS_AT_WORK = Explanation(sql.statement(__package__, "orders_at_work"))


def _due(connection: sa.Connection) -> dict[str, Any]:
    from crossdock.flows.inventory import requeue  # needs pandas, which the others of this room do not

    return {"due": [folded(key) for key in requeue.due(connection)]}


# The units held back for orders on their way have changed since they were sent: the next run corrects it.
_DUE = Explanation(
    because(
        IN_FLIGHT,
        "other orders are on their way than when it was told; the next run tells it",
        _named("quantities"),
    ).where(_name.part == sa.any_(sa.bindparam("due", type_=sa.ARRAY(sa.Text)))),
    given=_due,
)

QUANTITIES = Subject(
    "quantities", "Quantities", "SKU",
    (
        Side(CHANNEL_ADVISOR, STOCK, _level, key=_sku),
        Side(NAMES, ITEMS, _names),
        Side(TIMS, QUANTITIES_LIST, _quantity, alias=True, key=_sku),
        Side(SOLD, NEW_ORDERS, _sold),
    ),
    (
        _dead_letter("quantities", "inventory"),
        not_read("inventory", "tims.inventory/quantities", TIMS),
        _on_its_way("quantities", stage_channel_quantity),
        _item_at_work("quantities", "inventory", raw_quantities),
        _ORPHAN,
        _ORDERS_AT_WORK,
        _DUE,
    ),
    keys="channel_advisor",
    summed=frozenset({"quantity"}),
    expected=sql.statement(__package__, "quantities_expected"),
    do="`crossdock sync inventory --key SKU` sends what the Stock rule says.",
)  # fmt: skip


# ---- prices ----------------------------------------------------------------------------------------------------------


def _price(price: dict[str, Any], rules: Rules) -> Iterable[Row]:
    promotion = price.get("Promotion") or {}
    facts = {
        "price": price.get("Price"), "currency": price.get("Currency"), "minimum": price.get("MinPrice"),
        "maximum": price.get("MaxPrice"), "promotion": promotion.get("Price"),
    }  # fmt: skip
    yield Row(folded(price["SKU"]), facts, price["UpdatedDate"])


def _priced_item(item: dict[str, Any], rules: Rules) -> Iterable[Row]:
    """TIMS has costs, not prices; prices_expected.sql works out the price."""
    yield Row(folded(item["SKU"]), dict.fromkeys(("price", "currency", "minimum", "maximum", "promotion")),
              item["ModifiedAt"])  # fmt: skip


PRICES = Subject(
    "prices", "Prices", "SKU",
    (
        Side(CHANNEL_ADVISOR, PRICES_LIST, _price, key=_sku),
        Side(NAMES, ITEMS, _names),
        Side(TIMS, ITEMS, _priced_item, alias=True, key=_sku),
    ),
    (
        _dead_letter("prices", "prices"),
        not_read("prices", "tims.inventory/items", TIMS),
        _on_its_way("prices", stage_price),
        _item_at_work("prices", "prices", raw_items),
        _ORPHAN,
    ),
    keys="channel_advisor",
    expected=sql.statement(__package__, "prices_expected"),
    do="`crossdock sync prices --key SKU` sends what the Price rule says.",
)  # fmt: skip


# ---- products --------------------------------------------------------------------------------------------------------

OWNED = ("title", "description", "brand", "code", "weight", "images", "parts")


def _product(product: dict[str, Any], rules: Rules) -> Iterable[Row]:
    images = sorted(product.get("Images") or (), key=lambda one: (len(one["PlacementName"]), one["PlacementName"]))
    weight = product.get("Weight")
    facts = {
        "title": product.get("Title"),
        "description": product.get("Description") or "",
        "brand": product.get("Brand") or "",
        "code": _code(product.get("EAN") or product.get("UPC")),
        "weight": "" if weight is None else Decimal(weight).quantize(FOUR_PLACES, ROUND_HALF_UP),
        "images": [image["Url"] for image in images],
        "parts": _parts(product.get("BundleComponents")),
    }
    if product["ProductType"] != "Parent":  # a parent is made of its children on the channel; TIMS has none
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
    for sku in {own.key, *map(folded, item["AlternateSKUs"])}:
        optional = Excuse(BY_RULE, f"{item['SKU']} need not be a product in every profile")
        for name in _elsewhere(sku, rules):
            yield replace(own, key=name, excuse=excuse or optional)


def _code(gtin: str | None) -> str:
    """The number without leading zeros: GTIN, EAN and UPC differ only in those."""
    return (gtin or "").lstrip("0")


def _parts(components: Iterable[dict[str, Any]] | None) -> list[str]:
    return sorted(f"{one['Quantity']} x {folded(one['SKU'])}" for one in components or ())


_product_row = ops_reading.alias("product").c
_of_item = sa.and_(_name.subject == "products", _name.side == NAMES, _name.part == FOUND.c.key)
_SOLD_AS = Explanation(
    because(
        BY_RULE,
        sa.func.format("the channel has it as %s", _name.key),
        (ops_reading, _of_item),
        (
            _product_row.key.table,
            sa.and_(
                _product_row.subject == "products",
                _product_row.side == CHANNEL_ADVISOR,
                _product_row.key == _name.key,
            ),
        ),
    ).where(FOUND.c.missing == CHANNEL_ADVISOR, _name.key != FOUND.c.key)
)
PRODUCTS = Subject(
    "products", "Products", "SKU",
    (
        Side(CHANNEL_ADVISOR, PRODUCTS_LIST, _product, key=_sku),
        Side(NAMES, ITEMS, _names),
        Side(TIMS, ITEMS, _item, key=_sku),
    ),
    (
        _SOLD_AS,
        _dead_letter("products", "catalog"),
        not_read("catalog", "tims.inventory/items", TIMS),
        _on_its_way("products", stage_product),
        _item_at_work("products", "catalog", raw_items),
        _ORPHAN,
    ),
    do="TIMS decides: `crossdock sync catalog --key SKU` sends it. A product that only the channel has is removed "
    "there, or its item created in TIMS.",
)  # fmt: skip
