"""Entity sets: which rows a filter can mean, in which order, and the row of a key.

In: a transaction, the profiles of a token, options. Out: the places of all matching rows, in order, and nodes.
Never: a snapshot that outlives a change: a list is a live window, and its pages are counted by offset. What one state
of the store answered to one query is remembered until the store changes.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import msgspec

from sandbox.channel_advisor import account
from sandbox.channel_advisor_v1 import documents
from sandbox.channel_advisor_v1.nodes import CANCELLATION, WHOLE, Node, Reader
from sandbox.channel_advisor_v1.odata import comparable
from sandbox.channel_advisor_v1.options import Options
from sandbox.channel_advisor_v1.schema import Entity, entities, sets
from sandbox.kernel import clock
from sandbox.kernel.store import Id, Transaction

REMEMBERED = 16  # queries
ORDERS, INVENTORY = "orders", "inventory"  # scopes


class _Line(msgspec.Struct):
    OrderItemID: int


class _Lines(msgspec.Struct):
    OrderItems: list[_Line]


_lines = msgspec.json.Decoder(_Lines).decode


class Lines:
    """Which order a line belongs to. Looks at the orders that have changed since it was asked last."""

    def __init__(self) -> None:
        self._orders: dict[int, int] = {}
        self._seen = 0

    def order_of(self, tx: Transaction, line: int) -> int | None:
        for row in tx.page("order", limit=-1, since=self._seen) if line not in self._orders else ():
            for each in _lines(row.raw).OrderItems:
                self._orders[each.OrderItemID] = int(row.id)
            self._seen = row.modified
        return self._orders.get(line)


@dataclass(frozen=True)
class Ask:
    """Who asks, and for what."""

    profiles: tuple[int, ...]
    application: str
    options: Options


Roots = Callable[["Finder", Ask], Iterable[Id]]
Nodes = Callable[["Finder", Id], Iterable[Node]]
One = Callable[["Finder", dict[str, Any]], "Node | None"]


@dataclass(frozen=True)
class Source:
    """An entity set. `roots`: documents of the store under which rows can be; `nodes`: the rows under one; `one`: the
    row of a key."""

    name: str
    entity: Entity
    scope: str | None
    roots: Roots
    nodes: Nodes
    one: One


class Finder:
    """Finds nodes in one transaction."""

    def __init__(self, tx: Transaction, memory: Memory) -> None:
        self.tx, self.memory = tx, memory
        self.reader = Reader(tx, memory.numbers, is_own=memory.is_own)

    def matches(self, source: Source, ask: Ask, version: int) -> list[tuple[Id, Any]]:
        """(root, key) of every row that a query means, in its order."""
        options = ask.options
        key = (source.name, options.filter_text, options.orderby_text, options.exported, options.profile, *ask.profiles)
        found = self.memory.recall((*key, ask.application), version)
        if found is None:
            found = list(self._matches(source, ask))
            self.memory.keep((*key, ask.application), version, found)
        return found

    def _matches(self, source: Source, ask: Ask) -> Iterator[tuple[Id, Any]]:
        options = ask.options
        is_by_key = options.orderby_text.strip().lower() in ("", "id", "id asc")
        is_slim = options.filter is None or options.filter.is_only_of("ID", "UpdatedDateUtc")
        if source.name == "Orders" and is_by_key and is_slim and not self.memory.is_own:
            yield from ((id, id) for id in source.roots(self, ask))
            return
        rows = [
            (_order(node, options, source.entity), root, key_of(node, source.entity))
            for root in source.roots(self, ask)
            for node in source.nodes(self, root)
            if self.is_visible(node, ask) and (options.filter is None or options.filter.holds(node))
        ]
        rows.sort(key=lambda each: each[0])
        yield from ((root, key) for _, root, key in rows)

    @staticmethod
    def is_visible(node: Node, ask: Ask) -> bool:
        profile = node.values.get("ProfileID")
        return profile is None or (profile in ask.profiles and ask.options.profile in (None, profile))

    def node(self, source: Source, root: Id, key: Any) -> Node | None:
        return next((node for node in source.nodes(self, root) if key_of(node, source.entity) == key), None)


class Memory:
    """What outlives a request: ProductIDs that lines were sold under, the orders of lines, answers of one version."""

    def __init__(self) -> None:
        self.numbers: dict[tuple[int, str], int] = {}
        self.lines = Lines()
        self.is_own = False  # the setting `updated: own`
        self._found: OrderedDict[Any, tuple[int, list[tuple[Id, Any]]]] = OrderedDict()
        self._lock = threading.Lock()

    def recall(self, key: Any, version: int) -> list[tuple[Id, Any]] | None:
        kept = self._found.get(key)
        return kept[1] if kept and kept[0] == version else None

    def keep(self, key: Any, version: int, found: list[tuple[Id, Any]]) -> None:
        with self._lock:
            self._found[key] = (version, found)
            self._found.move_to_end(key)
            while len(self._found) > REMEMBERED:
                self._found.popitem(last=False)


class _Turned:
    """Sorts the other way round."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value

    def __lt__(self, other: _Turned) -> bool:
        return bool(other.value < self.value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Turned) and self.value == other.value


def _order(node: Node, options: Options, entity: Entity) -> tuple[Any, ...]:
    """By what sorts a list: `$orderby`, nulls first, then the key."""
    parts: list[Any] = []
    for prop, is_down in options.orderby:
        value = comparable(prop, node.values[prop.name])
        pair = (value is not None, "" if value is None else value)
        parts.append(_Turned(pair) if is_down else pair)
    return (*parts, key_of(node, entity))


def key_of(node: Node, entity: Entity) -> Any:
    found = tuple(node.values[name] for name in entity.key)
    return found[0] if len(found) == 1 else found


# ---- orders and what hangs on them ----
class _Slim:
    """An order as far as its row says it without its document."""

    def __init__(self, id: Id, modified: int) -> None:
        self.values = {"ID": id, "UpdatedDateUtc": clock.text(modified)}

    def link(self, name: str) -> Any:
        raise LookupError(name)


def _orders(finder: Finder, ask: Ask) -> Iterable[Id]:
    """ImportDateUtc is never after the last change, so both dates bound it from below."""
    options, where = ask.options, {"profile": _profiles(ask)}
    if options.exported is not None:
        where[f"exported/{ask.application}"] = [int(options.exported)]
    if options.filter is None:
        return [id for id, _ in finder.tx.ids("order", where=where)]
    if sites := options.filter.values("SiteID"):
        where["site"] = [int(site) for site in sites]
    since, _ = options.filter.bounds("UpdatedDateUtc", "ImportDateUtc")
    _, until = options.filter.bounds("UpdatedDateUtc")
    before = None if until is None or finder.memory.is_own else until + 1
    pairs = finder.tx.ids("order", since=since, before=before, where=where)
    if wanted := options.filter.values("ID"):
        pairs = [pair for pair in pairs if pair[0] in wanted]
    least, most = options.filter.bounds("ID")
    if least is not None or most is not None:
        pairs = [(id, at) for id, at in pairs if (least is None or id >= least) and (most is None or id <= most)]
    if options.filter.is_only_of("ID", "UpdatedDateUtc") and not finder.memory.is_own:
        return [id for id, at in pairs if options.filter.holds(_Slim(id, at))]
    return [id for id, _ in pairs]


def _profiles(ask: Ask) -> list[Any]:
    return [each for each in ask.profiles if ask.options.profile in (None, each)]


def _of_order(finder: Finder, root: Id) -> list[Node]:
    node = finder.reader.order_of(int(root))
    return [node] if node else []


def _named_orders(finder: Finder, ask: Ask) -> list[Id] | None:
    """The orders that a filter of OrderID names."""
    named = ask.options.filter.values("OrderID") if ask.options.filter else None
    return None if named is None else sorted(int(each) for each in named if each is not None)


def _orders_of_parts(finder: Finder, ask: Ask) -> Iterable[Id]:
    named = _named_orders(finder, ask)
    return named if named is not None else [id for id, _ in finder.tx.ids("order", where={"profile": _profiles(ask)})]


def _changed_orders(finder: Finder, ask: Ask, *properties: str) -> Iterable[Id]:
    """Orders of which a shipment can have changed since a moment."""
    named = _named_orders(finder, ask)
    if named is not None:
        return named
    since, _ = ask.options.filter.bounds(*properties) if ask.options.filter else (None, None)
    found = {int(id) for id, _ in finder.tx.ids("order", since=since, where={"profile": _profiles(ask)})}
    if since is not None:
        found |= {row.doc["ChannelAdvisorOrderID"] for row in finder.tx.page("shipment", limit=-1, since=since)}
    return sorted(found)


def _fulfillment_roots(finder: Finder, ask: Ask) -> Iterable[Id]:
    return _changed_orders(finder, ask, "UpdatedDateUtc", "CreatedDateUtc")


def _adjusted_orders(finder: Finder, ask: Ask) -> Iterable[Id]:
    """Orders with returns or cancelled units."""
    named = _named_orders(finder, ask)
    if named is not None:
        return named
    since, _ = ask.options.filter.bounds("CreatedDateUtc") if ask.options.filter else (None, None)
    found = {row.doc["ChannelAdvisorOrderID"] for row in finder.tx.page("return", limit=-1, since=since)}
    for kind in (CANCELLATION, WHOLE):
        found |= {row.doc["OrderID"] for row in finder.tx.page(kind, limit=-1, since=since)}
    cancelled = finder.tx.ids("order", since=since, where={"profile": _profiles(ask), "cancelled": [1]})
    return sorted(found | {int(id) for id, _ in cancelled})


def _items(finder: Finder, root: Id) -> list[Node]:
    row = finder.tx.get("order", root)
    return finder.reader.items(row) if row else []


def _fulfillments(finder: Finder, root: Id) -> list[Node]:
    row = finder.tx.get("order", root)
    return finder.reader.fulfillments(row) if row else []


def _below(nodes: Nodes, link: str) -> Nodes:
    return lambda finder, root: [each for node in nodes(finder, root) for each in node.link(link)]


def _one_order(finder: Finder, key: dict[str, Any]) -> Node | None:
    return finder.reader.order_of(key["ID"])


def _one_item(finder: Finder, key: dict[str, Any]) -> Node | None:
    order = finder.memory.lines.order_of(finder.tx, key["ID"])
    return None if order is None else _with_id(_items(finder, order), key["ID"])


def _one_fulfillment(finder: Finder, key: dict[str, Any]) -> Node | None:
    shipment = finder.tx.get("shipment", key["ID"])
    order = shipment.doc["ChannelAdvisorOrderID"] if shipment else key["ID"] - documents.AUTOMATIC
    return _with_id(_fulfillments(finder, order), key["ID"])


def _one_item_adjustment(finder: Finder, key: dict[str, Any]) -> Node | None:
    returned, own = finder.tx.get("return", key["ID"]), finder.tx.get(CANCELLATION, key["ID"])
    if returned or own:
        order = returned.doc["ChannelAdvisorOrderID"] if returned else own.doc["OrderID"] if own else 0
        found = _with_id(finder.reader.item_adjustments(order), key["ID"])
        if found is not None:
            return found
    order = finder.memory.lines.order_of(finder.tx, key["ID"])
    roots = [order] if order is not None else _adjusted_orders(finder, _EVERYTHING)
    return next(
        (node for root in roots if (node := _with_id(finder.reader.item_adjustments(int(root)), key["ID"]))), None
    )


def _with_id(nodes: Iterable[Node], number: int) -> Node | None:
    return next((node for node in nodes if node.values["ID"] == number), None)


def _anywhere(roots: Roots, nodes: Nodes, entity: str) -> One:
    """The row of a key, looked for in all of the set: for what nobody asks for by its number."""

    def one(finder: Finder, key: dict[str, Any]) -> Node | None:
        wanted = tuple(key[name] for name in entities()[entity].key)
        for root in roots(finder, _EVERYTHING):
            for node in nodes(finder, root):
                if tuple(node.values[name] for name in entities()[entity].key) == wanted:
                    return node
        return None

    return one


# ---- products and what hangs on them ----
def _products(finder: Finder, ask: Ask) -> Iterable[Id]:
    """In the order of the ProductID."""
    tx, wanted = finder.tx, ask.options.filter
    skus = wanted.values("Sku") if wanted else None
    if skus is not None:
        rows = [row for sku in skus if sku is not None for row in tx.found("product", "sku", sku)]
        return [row.id for row in sorted(rows, key=lambda row: row.doc["ProductID"])]
    numbers = wanted.values("ID") if wanted else None
    if numbers is not None:
        return _numbered(finder, numbers)
    since, _ = wanted.bounds("UpdateDateUtc", "QuantityUpdateDateUtc", "CreateDateUtc") if wanted else (None, None)
    pairs = tx.values("product", "number")
    least, most = wanted.bounds("ID") if wanted else (None, None)
    pairs = [(n, id) for n, id in pairs if (least is None or n >= least) and (most is None or n <= most)]
    if since is not None:
        changed = {id for id, _ in tx.ids("product", since=since)}
        pairs = [pair for pair in pairs if pair[1] in changed]
    return [id for _, id in pairs]


def _products_of_parts(finder: Finder, ask: Ask) -> Iterable[Id]:
    numbers = ask.options.filter.values("ProductID") if ask.options.filter else None
    return (
        _numbered(finder, numbers) if numbers is not None else [id for _, id in finder.tx.values("product", "number")]
    )


def _numbered(finder: Finder, numbers: Iterable[Any]) -> list[Id]:
    ordered = sorted(int(number) for number in numbers if number is not None)
    return [row.id for number in ordered for row in finder.tx.found("product", "number", number)]


def _of_product(finder: Finder, root: Id) -> list[Node]:
    row = finder.tx.get("product", root)
    return [finder.reader.product(row)] if row else []


def _one_product(finder: Finder, key: dict[str, Any]) -> Node | None:
    rows = finder.tx.found("product", "number", key["ID"])
    return finder.reader.product(rows[0]) if rows else None


def _one_below_product(link: str, entity: str) -> One:
    def one(finder: Finder, key: dict[str, Any]) -> Node | None:
        product = _one_product(finder, {"ID": key[entities()[entity].key[0]]})
        name = entities()[entity].key[1]
        wanted = key[name].casefold() if isinstance(key[name], str) else key[name]
        for node in product.link(link) if product else ():
            value = node.values[name]
            if (value.casefold() if isinstance(value, str) else value) == wanted:
                return node
        return None

    return one


# ---- the account ----
def _whole(finder: Finder, ask: Ask) -> Iterable[Id]:
    return ["all"]


def _sites(finder: Finder, root: Id) -> list[Node]:
    return [Node("Site", documents.site(row.doc)) for row in finder.tx.rows("site")]


def _no_rows(finder: Finder, root: Id) -> list[Node]:
    return []


def _center_roots(finder: Finder, ask: Ask) -> Iterable[Id]:
    return [id for id, _ in finder.tx.ids("distribution_center", where={"profile": _profiles(ask)})]


def _center(finder: Finder, root: Id) -> list[Node]:
    row = finder.tx.get("distribution_center", root)
    return [Node("DistributionCenter", documents.center(row.doc))] if row else []


def _profile_roots(finder: Finder, ask: Ask) -> Iterable[Id]:
    return sorted(_profiles(ask))


def _profile(finder: Finder, root: Id) -> list[Node]:
    return [finder.reader.profile(int(root))]


_EVERYTHING = Ask(tuple(account.CURRENCIES), "", Options())


def _made() -> dict[str, Source]:
    bundles = _below(_items, "BundleComponents")
    promotions = _below(_items, "Promotions")
    fulfillment_items = _below(_fulfillments, "Items")
    described: dict[str, tuple[str | None, Roots, Nodes, One | None]] = {
        "Orders": (ORDERS, _orders, _of_order, _one_order),
        "OrderItems": (ORDERS, _orders_of_parts, _items, _one_item),
        "Fulfillments": (ORDERS, _fulfillment_roots, _fulfillments, _one_fulfillment),
        "FulfillmentItems": (ORDERS, _orders_of_parts, fulfillment_items, None),
        "OrderAdjustments": (
            ORDERS, _adjusted_orders, lambda finder, root: finder.reader.order_adjustments(int(root)), None,
        ),
        "OrderItemAdjustments": (
            ORDERS, _adjusted_orders, lambda finder, root: finder.reader.item_adjustments(int(root)),
            _one_item_adjustment,
        ),
        "OrderItemBundleComponents": (ORDERS, _orders_of_parts, bundles, None),
        "OrderItemPromotions": (ORDERS, _orders_of_parts, promotions, None),
        "Products": (INVENTORY, _products, _of_product, _one_product),
        "DistributionCenters": (INVENTORY, _center_roots, _center, None),
        "Sites": (None, _whole, _sites, None),
        "Profiles": (None, _profile_roots, _profile, None),
    }  # fmt: skip
    for name, link in (
        ("Images", "Images"), ("AttributeValues", "Attributes"), ("DCQuantities", "DCQuantities"),
        ("ProductLabels", "Labels"), ("ProductBundleComponents", "BundleComponents"), ("Children", "Children"),
    ):  # fmt: skip
        one = _one_below_product(link, sets()[name.lower()][1].name)
        described[name] = (INVENTORY, _products_of_parts, _below(_of_product, link), one)
    for name in ("CustomFields", "OrderAttributeValues", "OrderItemAttributeValues", "ChannelDocuments", "Packages"):
        described[name] = (ORDERS, _whole, _no_rows, None)
    for name in ("AliasRelationships", "OperatingHours"):
        described[name] = (INVENTORY, _whole, _no_rows, None)
    made = {}
    for name, (scope, roots, nodes, by_key) in described.items():
        entity = sets()[name.lower()][1]
        made[name.lower()] = Source(name, entity, scope, roots, nodes, by_key or _anywhere(roots, nodes, entity.name))
    return made


SOURCES = _made()
