"""Stock: units on offer by SKU and distribution center, and what open orders take of them.

In: batches of quantities; orders as they change. Out: levels as the contract has them, the products' totals in step.
Never: a level of a Parent or a Bundle; a unit that an order holds put on offer again before the order lets it go.

AvailableQuantity is what may still be sold, so an order takes its units off it as soon as it is here, a bundle those of
its parts, also while it is Pending. TotalQuantity adds the open units and so stays as it was until they ship; cancelled
units go back on offer. Absolute says how many may be sold from now on, whatever is open: a plain copy of units on hand
offers those of open orders a second time. Orders that the marketplace ships take from the centers that it manages.

Beside a level the server keeps its balance, which oversold orders bring below 0 where AvailableQuantity stays at 0, and
beside an order (`_held`) which centers hold units for it. The account's only center is 0 if it names none. A SKU has a
level in a center once it was written or sold there.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from sandbox.channel_advisor import batches, lists, named, repository
from sandbox.channel_advisor.rules import Document, open_units
from sandbox.channel_advisor.values import MOST_UNITS, Refused, field_error
from sandbox.kernel.http import Answer, Request
from sandbox.kernel.store import Row, Transaction
from sandbox.kernel.system import Handler

if TYPE_CHECKING:
    from sandbox.kernel.system import System

WITHOUT_STOCK = ("Parent", "Bundle")
OPEN = frozenset(("Pending", "New", "OnHold", "Processing", "PartiallyShipped"))
GONE = frozenset(("Shipped", "Returned"))
EXTERNAL = "ExternallyManaged"
ONLY_CENTER = {"DistributionCenterID": 0, "Type": "Warehouse", "IsExternallyManaged": False, "IsDeleted": False}
Centers = dict[int, Document]
Moves = dict[int, tuple[int, int]]  # center -> change of its balance, of its held units


class Level(NamedTuple):
    """What the server keeps of one product in one center."""

    balance: int  # on offer; below 0 by what was sold beyond it
    held: int  # units of open orders
    row: Row | None = None  # as it is stored

    @property
    def available(self) -> int:
        return max(0, self.balance)


def handlers(system: System) -> dict[str, Handler]:
    return {
        "listInventory": partial(list_inventory, system),
        "updateInventory": partial(update_inventory, system),
    }


# ---- operations ----
def list_inventory(system: System, request: Request) -> Answer:
    return lists.page(system, request, "inventory", lists.by_sku(request))


def update_inventory(system: System, request: Request) -> Answer:
    owner = named.profile(request)
    with system.store.write() as tx:
        apply = partial(update, tx, owner, centers_of(tx, owner), system.clock.now())
        return batches.answer(system, request, "Updates", "InventoryUpdate", echo, apply)


def echo(sent: Document) -> Document:
    center = sent.get("DistributionCenterID")
    existing = isinstance(center, int) and not isinstance(center, bool)
    return named.sku(sent) | {"DistributionCenterID": center if existing else None}


def update(tx: Transaction, owner: int, centers: Centers, at: int, sent: Document) -> tuple[int, Document]:
    """Write one quantity. Refused."""
    product = named.product(tx, owner, sent["SKU"])
    sku, number, units = product.doc["SKU"], sent["DistributionCenterID"], sent["Quantity"]
    if product.doc["ProductType"] in WITHOUT_STOCK:
        message = f"{sku} is a {product.doc['ProductType']} and has no stock of its own."
        raise Refused([field_error("SKU", "QuantityNotSettable", message)])
    center = centers.get(number)
    if center is None or center["IsDeleted"]:
        message = f"There is no center {number}."
        raise Refused([field_error("DistributionCenterID", "UnknownDistributionCenter", message)], status=404)
    if center["IsExternallyManaged"]:
        message = f"Center {number} is managed by the marketplace."
        raise Refused([field_error("DistributionCenterID", "ExternallyManaged", message)], status=409)
    before = level_of(tx, owner, sku, number)
    after = before._replace(balance=written(before, sent["UpdateType"], units))
    put(tx, product, number, after, at)
    return 200, {"SKU": sku, "AvailableQuantity": after.available}


def written(level: Level, kind: str, units: int) -> int:
    """The balance after a write of so many units. Refused below 0."""
    if not -MOST_UNITS <= units <= MOST_UNITS:
        raise Refused([field_error("Quantity", "OutOfRange", f"At most {MOST_UNITS} units.")])
    if kind == "Relative":
        if level.available + units < 0:
            message = f"{units} units more than {level.available} are below 0."
            raise Refused([field_error("Quantity", "BelowZero", message)])
        return level.available + units
    if units < 0:
        raise Refused([field_error("Quantity", "NegativeQuantity", f"{kind} takes no negative quantity.")])
    return units - level.held if kind == "UnShipped" else units


# ---- levels ----
def centers_of(tx: Transaction, profile: int) -> Centers:
    """The centers of a profile by id, warehouses first."""
    found = [row.doc for row in tx.found("distribution_center", "profile", profile)] or [ONLY_CENTER]
    found.sort(key=lambda center: (center["Type"] != "Warehouse", center["DistributionCenterID"]))
    return {center["DistributionCenterID"]: center for center in found}


def own(centers: Centers) -> list[int]:
    """The centers that the seller keeps; the first of them takes what says no center."""
    return [
        number for number, center in centers.items() if not center["IsExternallyManaged"] and not center["IsDeleted"]
    ]


def level_of(tx: Transaction, profile: int, sku: str, center: int) -> Level:
    """The level of a product, its SKU as stored."""
    row = tx.get("inventory", repository.level_id(profile, sku, center))
    return Level(row.extra["Balance"], row.extra["Held"], row) if row else Level(0, 0)


def put(tx: Transaction, product: Row, center: int, level: Level, at: int) -> None:
    """Write a level and, if other units are on offer, the product's total."""
    put_total(tx, product, put_level(tx, product.doc, center, level, at), at)


def put_total(tx: Transaction, product: Row, more: int, at: int) -> None:
    """Adds units to the product's total on offer."""
    if more:
        total = (product.doc.get("TotalAvailableQuantity") or 0) + more
        after = product.doc | {"TotalAvailableQuantity": total}
        repository.put_product(tx, after, max(at, product.modified + 1), product)


def put_level(tx: Transaction, product: Document, center: int, level: Level, at: int) -> int:
    """Write a level; UpdatedDate changes with what is shown of it. Answers how many units more are on offer."""
    row = level.row
    shown = {
        "ProfileID": product["ProfileID"],
        "SKU": product["SKU"],
        "DistributionCenterID": center,
        "AvailableQuantity": level.available,
        "TotalQuantity": level.available + level.held,
    }
    kept = {"Balance": level.balance, "Held": level.held}
    if row is None:
        repository.put_level(tx, shown, kept, at)
        return level.available
    if shown | {"UpdatedDate": row.doc["UpdatedDate"]} != row.doc:
        repository.put_level(tx, shown, kept, max(at, row.modified + 1), row)
    elif kept != row.extra:
        repository.put_level(tx, shown, kept, row.modified, row)
    return level.available - row.doc["AvailableQuantity"]


def with_total(tx: Transaction, product: Document, total: int, at: int) -> Document:
    """The product with so many units on offer in all; the seller's first center gets or gives the difference."""
    profile, sku = product["ProfileID"], product["SKU"]
    centers = own(centers_of(tx, profile))
    offered = sum(row.doc["AvailableQuantity"] for row in repository.levels(tx, profile, sku))
    if centers and total != offered:
        before = level_of(tx, profile, sku, centers[0])
        offered += put_level(tx, product, centers[0], before._replace(balance=before.available + total - offered), at)
    return product | {"TotalAvailableQuantity": offered}


def put_back(tx: Transaction, profile: int, sku: str, units: int, at: int) -> None:
    """Units on offer again: of the product, or of a bundle's parts."""
    centers = own(centers_of(tx, profile))
    for part, count in parts(tx, profile, {"SKU": sku, "Quantity": units}):
        product = repository.product(tx, profile, part)
        if centers and product and product.doc["ProductType"] not in WITHOUT_STOCK:
            level = level_of(tx, profile, product.doc["SKU"], centers[0])
            put(tx, product, centers[0], level._replace(balance=level.balance + count), at)


# ---- what orders hold ----
def parts(tx: Transaction, profile: int, line: Document) -> list[tuple[str, int]]:
    """(SKU, units) that a whole line takes: what the line says of its bundle, else what the product does."""
    sent = line.get("BundleComponents")
    if sent is not None:
        return [(part["SKU"], part["Quantity"]) for part in sent] or [(line["SKU"], line["Quantity"])]
    product = repository.product(tx, profile, line["SKU"])
    bundled = (product.doc.get("BundleComponents") if product else None) or []
    return [(part["SKU"], part["Quantity"] * line["Quantity"]) for part in bundled] or [(line["SKU"], line["Quantity"])]


def follow(tx: Transaction, order: Document, at: int) -> None:
    """Holds the units that an order needs now, and releases those that it does not need any more: shipped units are
    gone, others are on offer again."""
    key = order["ChannelAdvisorOrderID"]
    row = tx.get("_held", key)
    lines = [_standing(order, line) for line in order["OrderItems"]]
    if lines == (row.doc["Lines"] if row else []) or (row is None and not any(open for _, open, _ in lines)):
        return
    before: dict[str, Document] = row.doc["Units"] if row else {}
    requested = _requested(tx, order, lines)
    sources = _sources(tx, order)
    after = {}
    for sku in {**before, **requested}:
        held = before.get(sku, {"Shipped": 0, "Centers": []})
        open, shipped = requested.get(sku, (0, held["Shipped"]))
        left = dict(held["Centers"])
        more = open - sum(left.values())
        product = repository.product(tx, order["ProfileID"], sku) if more else None
        if more and (product is None or product.doc["ProductType"] in WITHOUT_STOCK):
            left = {}
        elif product:
            numbers = sources if more > 0 else list(left)
            levels = {number: level_of(tx, order["ProfileID"], product.doc["SKU"], number) for number in numbers}
            if more > 0:
                moves = _taken(order, levels, more)
            else:
                gone = min(max(shipped - held["Shipped"], 0), -more)
                moves = _released(left, -more, -more - gone)
            _move(tx, product, levels, moves, at)
            left = {number: left.get(number, 0) + moves.get(number, (0, 0))[1] for number in {**left, **moves}}
        after[sku] = {"Shipped": shipped, "Centers": [[number, units] for number, units in left.items() if units]}
    if any(held["Centers"] for held in after.values()):
        tx.put("_held", key, {"Lines": lines, "Units": after}, modified=at)
    else:
        tx.delete("_held", key)


def _standing(order: Document, line: Document) -> list[Any]:
    """SKU, open units and shipped units of a line."""
    status = order["OrderStatus"]
    open = max(0, open_units(line)) if status in OPEN else 0
    shipped = line["Quantity"] - line["QuantityCancelled"] if status in GONE else line["QuantityShipped"]
    return [line["SKU"], open, shipped]


def _requested(tx: Transaction, order: Document, lines: Iterable[list[Any]]) -> dict[str, tuple[int, int]]:
    """SKU without case -> open and shipped units of the whole order, bundles as their parts."""
    requested: dict[str, tuple[int, int]] = {}
    for line, (_, open, shipped) in zip(order["OrderItems"], lines, strict=True):
        for sku, units in parts(tx, order["ProfileID"], line):
            existing = requested.get(sku.casefold(), (0, 0))
            each = units // line["Quantity"]
            requested[sku.casefold()] = (existing[0] + each * open, existing[1] + each * shipped)
    return requested


def _sources(tx: Transaction, order: Document) -> list[int]:
    """The centers that an order may take from."""
    centers = centers_of(tx, order["ProfileID"])
    if order["DistributionCenterTypeRollup"] == EXTERNAL:
        return [number for number, center in centers.items() if center["IsExternallyManaged"]]
    return own(centers)


def _taken(order: Document, levels: dict[int, Level], units: int) -> Moves:
    """The units that an order takes: from centers with units on offer, the rest from the first center; of the centers
    that marketplaces manage, only from those that have the product."""
    external = order["DistributionCenterTypeRollup"] == EXTERNAL
    shares = {}
    for number, level in levels.items():
        if level.row or not external:
            shares[number] = min(units, level.available)
            units -= shares[number]
    if shares:
        shares[next(iter(shares))] += units
    return {number: (-share, share) for number, share in shares.items() if share}


def _released(held: dict[int, int], units: int, back: int) -> Moves:
    """The units that an order releases, of which `back` are offered again."""
    moves = {}
    for number, there in held.items():
        out = min(units, there)
        returned = min(back, out)
        units, back = units - out, back - returned
        if out:
            moves[number] = (returned, -out)
    return moves


def _move(tx: Transaction, product: Row, levels: dict[int, Level], moves: Moves, at: int) -> None:
    more = 0
    for number, (balance, held) in moves.items():
        level = levels[number]
        level = level._replace(balance=level.balance + balance, held=max(0, level.held + held))
        more += put_level(tx, product.doc, number, level, at)
    put_total(tx, product, more, at)
