"""Documents of v1 and what hangs on them, read from the store of the facade.

In: a transaction. Out: nodes: a flat document, and its links when they are asked for. Never: a write; a document of a
profile that is not asked for is the caller's to leave out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from sandbox.channel_advisor import account, repository, rules, stock
from sandbox.channel_advisor.rules import Document
from sandbox.channel_advisor_v1 import documents
from sandbox.channel_advisor_v1.documents import number_of
from sandbox.channel_advisor_v1.schema import entities
from sandbox.kernel.store import Row, Terms, Transaction

ORDER, FULFILLMENT, PRODUCT = "_v1_order", "_v1_fulfillment", "_v1_product"  # what v1 keeps beside a document
CANCELLATION, WHOLE = "_v1_cancellation", "_v1_whole"  # cancellations by v1; adjustments of whole orders
TERMS: dict[str, Terms] = {kind: lambda doc: [("order", doc["OrderID"])] for kind in (CANCELLATION, WHOLE)}
REQUEST = "_v1_request"  # what a client asked for and is on its way, by the kind and the id of what it changes
Links = dict[str, Callable[[], Any]]
Products = dict[tuple[int, str], int]


class Node:
    """One document. `link` gives what a navigation leads to: a list of nodes, one, or None."""

    __slots__ = ("_links", "_reached", "entity", "values")

    def __init__(self, entity: str, values: Document, links: Links | None = None) -> None:
        self.entity, self.values = entity, values
        self._links: Links = links or {}
        self._reached: dict[str, Any] = {}

    def link(self, name: str) -> Any:
        if name not in self._reached:
            reach = self._links.get(name)
            many = entities()[self.entity].links[name.lower()].many
            self._reached[name] = reach() if reach else [] if many else None
        return self._reached[name]


class _ByLine:
    """Nodes of an order by its lines, read once when the first line asks for them."""

    def __init__(self, read: Callable[[], list[Node]]) -> None:
        self._read = read
        self._lines: dict[int, list[Node]] | None = None

    def of(self, line: int) -> list[Node]:
        if self._lines is None:
            self._lines = {}
            for node in self._read():
                self._lines.setdefault(node.values["OrderItemID"], []).append(node)
        return self._lines.get(line, [])


class Reader:
    """Reads nodes in one transaction. `numbers` remembers ProductIDs by profile and SKU: an order's line keeps the
    ProductID that it was sold under. `is_own`: cancelled and returned units move no UpdatedDateUtc of an order."""

    def __init__(self, tx: Transaction, numbers: Products, *, is_own: bool = False) -> None:
        self.tx, self._numbers, self._is_own = tx, numbers, is_own

    # ---- orders ----
    def order(self, row: Row) -> Node:
        source = row.doc
        kept = self.tx.get(ORDER, row.id)
        shipments: list[Row] = []
        if documents.shipping_status(source) not in ("Unshipped", "PendingShipment", "Canceled"):
            shipments = self.tx.rows("shipment", order=row.id)
        last = documents.newest(each.doc["CreatedDate"] for each in shipments)
        values = documents.order(source, last)
        if self._is_own:
            values["UpdatedDateUtc"] = row.extra.get("Own", values["UpdatedDateUtc"])
        values |= {name: value for name, value in (kept.doc if kept else {}).items() if name in values}
        node = Node("Order", values)
        node._links = {
            "Items": partial(self.items, row, node),
            "Fulfillments": partial(self.fulfillments, row, node),
            "Adjustments": partial(self.order_adjustments, int(row.id), node),
            "Exports": partial(self._exports, source),
        }
        return node

    def order_of(self, number: int) -> Node | None:
        row = self.tx.get("order", number)
        return self.order(row) if row else None

    def _exports(self, source: Document) -> list[Node]:
        made = []
        for n, application in enumerate(account.APPLICATIONS, start=1):
            if application in source["Exported"]:
                values = documents.neutral("ExportStatus") | {
                    "ID": number_of("export", source["ChannelAdvisorOrderID"], application),
                    "ProfileID": source["ProfileID"],
                    "OrderID": source["ChannelAdvisorOrderID"],
                    "ApplicationID": n,
                }
                made.append(Node("ExportStatus", values))
        return made

    def items(self, row: Row, order: Node | None = None) -> list[Node]:
        source, kept = row.doc, self.tx.get(ORDER, row.id)
        own = kept.doc.get("_items", {}) if kept else {}
        adjustments = _ByLine(lambda: self.item_adjustments(int(row.id), row))
        parcels = _ByLine(lambda: [each for f in self.fulfillments(row, order) for each in f.link("Items")])
        made = []
        for line in source["OrderItems"]:
            node = self._item(source, line)
            node.values["SellerOrderItemID"] = own.get(str(line["OrderItemID"]))
            node._links |= {
                "Order": lambda: order or self.order(row),
                "Adjustments": partial(adjustments.of, line["OrderItemID"]),
                "FulfillmentItems": partial(parcels.of, line["OrderItemID"]),
            }
            made.append(node)
        return made

    def _item(self, source: Document, line: Document) -> Node:
        profile = source["ProfileID"]
        number = self.product_id(profile, line["SKU"])
        node = Node("OrderItem", documents.item(source, line, number))
        node._links = {
            "Promotions": lambda: [Node("Promotion", each) for each in documents.promotions(line)],
            "BundleComponents": lambda: [
                Node(
                    "OrderItemBundleComponent",
                    documents.order_part(source, line, part, self.product_id(profile, part["SKU"]), number),
                )
                for part in line.get("BundleComponents") or ()
            ],
        }
        return node

    def product_id(self, profile: int, sku: str) -> int:
        key = (profile, sku.casefold())
        if key not in self._numbers:
            row = repository.product(self.tx, profile, sku)
            if row is None:
                return 0
            self._numbers[key] = row.doc["ProductID"]
        return self._numbers[key]

    # ---- fulfillments ----
    def fulfillments(self, row: Row, order: Node | None = None) -> list[Node]:
        """The reported shipments of an order, and its automatic one while units are open or shipped unreported."""
        source = row.doc
        shipments = [each.doc for each in self.tx.rows("shipment", order=row.id)]
        made = [self._shipment(source, each, row, order) for each in sorted(shipments, key=lambda s: s["ShipmentID"])]
        reported: dict[int, int] = {}
        for each in shipments:
            for item in each["Items"]:
                reported[item["OrderItemID"]] = reported.get(item["OrderItemID"], 0) + item["Quantity"]
        unreported = {
            line["OrderItemID"]: line["QuantityShipped"] - reported.get(line["OrderItemID"], 0)
            for line in source["OrderItems"]
            if line["QuantityShipped"] > reported.get(line["OrderItemID"], 0)
        }
        units = unreported or ({} if source["OrderStatus"] == "Cancelled" else rules.unshipped(source))
        if units:
            made.append(self._automatic(source, units, bool(unreported), row, order))
        return made

    def _shipment(self, source: Document, shipment: Document, row: Row, order: Node | None) -> Node:
        values = self._kept(FULFILLMENT, shipment["ShipmentID"], documents.shipment(shipment, source))
        lines = [(item, item["Quantity"]) for item in shipment["Items"]]
        return self._fulfillment(values, lines, shipment.get("MarketplaceStatus") or "Pending", row, order)

    def _automatic(self, source: Document, units: dict[int, int], shipped: bool, row: Row, order: Node | None) -> Node:
        values = documents.automatic(source, is_shipped=shipped)
        values = self._kept(FULFILLMENT, values["ID"], values)
        lines = [(line, units[line["OrderItemID"]]) for line in source["OrderItems"] if units.get(line["OrderItemID"])]
        return self._fulfillment(values, lines, "Complete" if shipped else "Pending", row, order)

    def _kept(self, kind: str, id: int, values: Document) -> Document:
        kept = self.tx.get(kind, id)
        return values | kept.doc if kept else values

    def _fulfillment(
        self, values: Document, lines: list[tuple[Document, int]], marketplace: str, row: Row, order: Node | None
    ) -> Node:
        node = Node("Fulfillment", values)
        node._links = {
            "Order": lambda: order or self.order(row),
            "Items": lambda: [
                Node(
                    "FulfillmentItem",
                    documents.fulfillment_item(
                        values, line, units, self.product_id(values["ProfileID"], line["SKU"]), marketplace
                    ),
                    {"Fulfillment": lambda: node},
                )
                for line, units in lines
            ],
        }
        return node

    # ---- adjustments ----
    def item_adjustments(self, order: int, row: Row | None = None) -> list[Node]:
        """Refunds and cancellations of an order's lines. `row`: the order, where it is read already."""
        row = row or self.tx.get("order", order)
        made = [each for returned in self.tx.rows("return", order=order) for each in self.refunds(returned, row)]
        if row is not None:
            made += self._cancellations(row)
        return sorted(made, key=lambda each: each.values["ID"])

    def refunds(self, returned: Row, row: Row | None) -> Iterator[Node]:
        """A return's items; `row`: its order, None where it is not there yet."""
        if self.tx.get(WHOLE, returned.id):
            return
        source = returned.doc
        lines = {line["OrderItemID"]: line for line in row.doc["OrderItems"]} if row else {}
        request = self.tx.get(REQUEST, f"return/{returned.id}")
        for index, item in enumerate(source["Items"]):
            values = documents.refund(source, index, lines.get(item["OrderItemID"]))
            if request is not None:
                values["RequestStatus"] = request.doc["Status"]
            yield self._item_adjustment(values, row)

    def _cancellations(self, row: Row) -> Iterator[Node]:
        """Those that were asked for by v1, and what is cancelled beyond them."""
        own = self.tx.rows(CANCELLATION, order=row.id)
        covered: dict[int, int] = {}
        for each in own:
            yield self._item_adjustment(each.doc, row)
            if each.doc["RequestStatus"] != "Error" and not self._is_failing(each):
                key = each.doc["OrderItemID"]
                covered[key] = covered.get(key, 0) + each.doc["Quantity"]
        moments = row.extra.get("Cancelled", {})
        for line in row.doc["OrderItems"]:
            units = line["QuantityCancelled"] - covered.get(line["OrderItemID"], 0)
            if units > 0:
                created = moments.get(str(line["OrderItemID"]), row.doc["ImportDate"])
                yield self._item_adjustment(documents.cancellation(row.doc, line, units, created), row)

    def _is_failing(self, cancellation: Row) -> bool:
        request = self.tx.get(REQUEST, f"cancellation/{cancellation.id}")
        return request is not None and request.doc["Kind"] == "error"

    def _item_adjustment(self, values: Document, row: Row | None) -> Node:
        def item() -> Node | None:
            lines = self.items(row) if row else []
            return next((each for each in lines if each.values["ID"] == values["OrderItemID"]), None)

        return Node("OrderItemAdjustment", values, {"OrderItem": item})

    def order_adjustments(self, order: int, node: Node | None = None) -> list[Node]:
        """Adjustments of a whole order: cancellations, and refunds without lines."""
        made = []
        for whole in sorted(self.tx.rows(WHOLE, order=order), key=lambda row: int(row.id)):
            returned = self.tx.get("return", whole.doc["Return"]) if whole.doc["Return"] else None
            values = documents.whole_refund(returned.doc, int(whole.id)) if returned else whole.doc["Fields"]
            request = self.tx.get(REQUEST, f"return/{whole.id}")
            if request is not None:
                values = values | {"RequestStatus": request.doc["Status"]}
            made.append(Node("OrderAdjustment", values, {"Order": lambda: node or self.order_of(order)}))
        return made

    # ---- products ----
    def product(self, row: Row) -> Node:
        source = row.doc
        profile, sku, number = source["ProfileID"], source["SKU"], source["ProductID"]
        levels = [level.doc for level in repository.levels(self.tx, profile, sku)]
        parent = source.get("ParentSku")
        kept = self.tx.get(PRODUCT, number)
        values = documents.product(
            source,
            repository.price(self.tx, profile, sku),
            levels,
            (self.product_id(profile, parent) or None) if parent else None,
        ) | (kept.doc["Fields"] if kept else {})
        node = Node("Product", values)
        keys = {"ProductID": number, "ProfileID": profile}

        def below(entity: str, found: list[Document]) -> list[Node]:
            return [Node(entity, documents.neutral(entity) | keys | each, {"Product": lambda: node}) for each in found]

        node._links = {
            "Attributes": lambda: below(
                "AttributeValue",
                [{"Name": each["Name"], "Value": each.get("Value")} for each in source.get("Attributes") or ()],
            ),
            "Images": lambda: below(
                "Image",
                [{"PlacementName": each["PlacementName"], "Url": each["Url"]} for each in source.get("Images") or ()],
            ),
            "Labels": lambda: below("ProductLabel", [{"Name": name} for name in kept.doc["Labels"]] if kept else []),
            "DCQuantities": lambda: below("DCQuantity", self._quantities(levels)),
            "BundleComponents": lambda: below(
                "ProductBundleComponent",
                [
                    {
                        "ComponentID": self.product_id(profile, part["SKU"]),
                        "ComponentSku": part["SKU"],
                        "Quantity": part["Quantity"],
                    }
                    for part in source.get("BundleComponents") or ()
                ],
            ),
            "Children": lambda: self._children(source),
        }
        return node

    @staticmethod
    def _quantities(levels: list[Document]) -> list[Document]:
        names = ("DistributionCenterID", "AvailableQuantity")
        return sorted(
            ({name: level[name] for name in names} for level in levels), key=lambda each: each["DistributionCenterID"]
        )

    def _children(self, source: Document) -> list[Node]:
        if source["ProductType"] != "Parent":
            return []
        made = []
        for row in self.tx.rows("product", parent=source["SKU"].casefold(), profile=source["ProfileID"]):
            values = documents.neutral("ChildRelationship") | {
                "ParentProductID": source["ProductID"],
                "ProfileID": source["ProfileID"],
                "ChildProductID": row.doc["ProductID"],
            }
            made.append(Node("ChildRelationship", values, {"ChildProduct": partial(self.product, row)}))
        return made

    # ---- the account ----
    def profile(self, number: int) -> Node:
        centers = stock.own(stock.centers_of(self.tx, number))
        return Node("Profile", documents.profile(number, centers[0] if centers else 0))
