"""Quantities, products and prices: TIMS's items and stock against Channel Advisor's products, stock and prices.

SKUs are compared without case, as Channel Advisor does. An alternate SKU of an item may be a product of its own. Only
fields that TIMS owns are compared. Quantities and prices are what a rule makes of TIMS's values, so `expected` takes
their place: the Stock rule of what TIMS has free now, and the Price rule of the item as it was last read.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from decimal import ROUND_HALF_UP, Decimal
from typing import TYPE_CHECKING, Any

from crossdock.watch.reconcile.base import (
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
from crossdock.watch.reconcile.explain import AT_WORK, at_work, not_read

if TYPE_CHECKING:
    import sqlalchemy as sa

ITEMS = Lists(TIMS, "inventory/items", ("SKU",))
QUANTITIES_LIST = Lists(TIMS, "inventory/quantities", ("SKU",))
PRODUCTS_LIST = Lists(CHANNEL_ADVISOR, "products", ("SKU",))
STOCK = Lists(CHANNEL_ADVISOR, "inventory", ("SKU", "DistributionCenterID"))
NEW_ORDERS = Lists(CHANNEL_ADVISOR, "orders", ("ChannelAdvisorOrderID",), truncated=True, unread_by="orders")
PRICES_LIST = Lists(CHANNEL_ADVISOR, "prices", ("SKU",))
POUND = Decimal("0.45359237")  # kilograms
FOUR_PLACES = Decimal("0.0001")  # as they are sent
OPEN = "('open', 'edited')"


def folded(sku: str) -> str:
    return sku.strip().lower()  # as Postgres does


def _sku(record: dict[str, Any]) -> str:
    return folded(record["SKU"])


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


def _item_at_work(flow: str, table: str) -> Explanation:
    """A run of `flow` has the item in its hands, or had it until just now."""
    return at_work(
        flow, table, "lower(btrim(r.key)) = n.part",
        f"JOIN ops.reading n ON n.subject = d.subject AND n.side = '{NAMES}' AND n.key = d.key",
    )  # fmt: skip


# A product that no item of TIMS is (flow catalog): a person decides what becomes of it.
_ORPHAN = Explanation(f"""
    SELECT d.id, '{WAITING}', 'no item of TIMS is this product: see `crossdock catalog orphans`'
    FROM found d JOIN ops.orphan o ON lower(btrim(o.product_sku)) = d.key WHERE d.missing = '{TIMS}'
""")


# ---- quantities ------------------------------------------------------------------------------------------------------


def _level(level: dict[str, Any], rules: Rules) -> Iterable[Row]:
    center = level["DistributionCenterID"]
    if center in rules.own_centers:
        facts = {"quantity": whole(level["AvailableQuantity"])}
        yield Row(folded(level["SKU"]), facts, level["UpdatedDate"], part=str(center))


def _quantity(quantity: dict[str, Any], rules: Rules) -> Iterable[Row]:
    """What is free at our own locations; the marketplace's is not ours to offer."""
    places = [place for place in quantity["Locations"] if place["LocationID"] not in rules.elsewhere]
    facts = {"quantity": max(0, whole(sum(whole(place["Available"]) for place in places)))}
    yield Row(folded(quantity["SKU"]), facts, quantity["ModifiedAt"])


def _sold(order: dict[str, Any], rules: Rules) -> Iterable[Row]:
    """Units by the codes under which the channel takes them off: those of a line, or of the parts of a bundle."""
    for line in order["OrderItems"] or ():
        for number, one in enumerate((line, *(line["BundleComponents"] or ()))):
            part = f"{order['ChannelAdvisorOrderID']}:{line['OrderItemID']}:{number}"
            yield Row(folded(one["SKU"] or ""), {"units": whole(one["Quantity"])}, order["UpdatedDate"], part=part)


# The channel takes units off, and puts cancelled ones back, by itself and at once: of orders that no run has read yet,
# or that a run of orders has in its hands; of a kit those of its parts. They explain no more units than they have.
_ORDERS_AT_WORK = Explanation(f"""
    WITH unread AS (
      SELECT DISTINCT ON (r.part) r.key, r.part, (r.facts->>'units')::numeric AS units
      FROM ops.reading r JOIN ops.watermark w ON w.flow = 'orders' AND w.resource = 'channel_advisor.orders'
      WHERE r.subject = 'quantities' AND r.side = '{SOLD}' AND r.version >= w.position
      ORDER BY r.part, r.version DESC, r.id DESC
    ), held AS (
      SELECT DISTINCT ON (r.key) r.payload
      FROM ops.batch b JOIN raw.channel_advisor_orders r ON r.batch_id = b.id
      WHERE b.flow = 'orders' AND {AT_WORK} ORDER BY r.key, r.version DESC
    ), sold AS (
      SELECT key, units FROM unread
      UNION ALL
      SELECT lower(btrim(one->>'SKU')), (one->>'Quantity')::numeric
      FROM held h
      CROSS JOIN LATERAL jsonb_array_elements(
        CASE WHEN jsonb_typeof(h.payload->'OrderItems') = 'array' THEN h.payload->'OrderItems' ELSE '[]' END
      ) AS i(line)
      CROSS JOIN LATERAL (
        SELECT i.line UNION ALL SELECT jsonb_array_elements(
          CASE WHEN jsonb_typeof(i.line->'BundleComponents') = 'array' THEN i.line->'BundleComponents' ELSE '[]' END)
      ) AS u(one)
      WHERE jsonb_typeof(one->'Quantity') = 'number'
    ), taken AS (
      SELECT key, units FROM sold
      UNION ALL
      SELECT lower(btrim(part->>'SKU')), s.units * (part->>'Quantity')::numeric
      FROM sold s JOIN ref.item_code c ON c.folded = s.key JOIN ref.item i ON i.sku = c.sku
      CROSS JOIN LATERAL jsonb_array_elements(i.kit_components) AS k(part)
    )
    SELECT d.id, '{IN_FLIGHT}', 'orders that are on their way have taken units at the channel'
    FROM found d JOIN (SELECT key, sum(units) AS units FROM taken GROUP BY key) s ON s.key = d.key
    WHERE d.field = 'quantity' AND abs(d.channel_advisor::numeric - d.tims::numeric) <= s.units
""")


def _due(connection: sa.Connection) -> dict[str, Any]:
    from crossdock.flows.inventory import requeue  # needs pandas, which the others of this room do not

    return {"due": [folded(key) for key in requeue.due(connection)]}


# What was held back for orders on their way is another number now: the next run tells it.
_DUE = Explanation(
    f"""
    SELECT d.id, '{IN_FLIGHT}', 'other orders are on their way than when it was told; the next run tells it'
    FROM found d JOIN ops.reading n ON n.subject = d.subject AND n.side = '{NAMES}' AND n.key = d.key
    WHERE n.part = ANY (:due)
    """,
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
        _on_its_way("quantities", "stage.channel_quantity"),
        _item_at_work("inventory", "raw.inventory"),
        _ORPHAN,
        _ORDERS_AT_WORK,
        _DUE,
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
        FROM newest r JOIN stage.channel_quantity s ON lower(btrim(s.key)) = r.key
        WHERE r.side = 'tims' AND s.quantity IS NOT NULL
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
        Side(CHANNEL_ADVISOR, PRICES_LIST, _price, key=_sku),
        Side(NAMES, ITEMS, _names),
        Side(TIMS, ITEMS, _priced_item, alias=True, key=_sku),
    ),
    (
        _dead_letter("prices", "prices"),
        not_read("prices", "tims.inventory/items", TIMS),
        _on_its_way("prices", "stage.price"),
        _item_at_work("prices", "raw.prices"),
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
        Side(CHANNEL_ADVISOR, PRODUCTS_LIST, _product, key=_sku),
        Side(NAMES, ITEMS, _names),
        Side(TIMS, ITEMS, _item, key=_sku),
    ),
    (
        _SOLD_AS,
        _dead_letter("products", "catalog"),
        not_read("catalog", "tims.inventory/items", TIMS),
        _on_its_way("products", "stage.product"),
        _item_at_work("catalog", "raw.catalog"),
        _ORPHAN,
    ),
    do="TIMS decides: `crossdock sync catalog --key SKU` sends it. A product that only the channel has is removed "
    "there, or its item created in TIMS.",
)  # fmt: skip
