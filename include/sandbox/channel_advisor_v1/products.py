"""Writes of products: fields, prices, quantities, and what hangs on a product.

In: calls of one product, by its number. Out: 201 or 204, the facade's product, price and stock changed. Never: a part
of a write: what is refused changes nothing.

Prices are properties here; no bound holds them, and there is no promotion. Quantities are written per center by an
UpdateType: Absolute and Available set what is on offer, Relative adds to it, InStock takes off the units of unpaid
orders, UnShipped those of all open ones.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from sandbox.channel_advisor import account, prices, products, repository, stock
from sandbox.channel_advisor.products import FIRST_PRODUCT
from sandbox.channel_advisor.rules import Document
from sandbox.channel_advisor.values import MOST_UNITS
from sandbox.channel_advisor_v1 import bodies
from sandbox.channel_advisor_v1.bodies import bad
from sandbox.channel_advisor_v1.face import Face, Handler, Path, missing, read_key, single
from sandbox.channel_advisor_v1.lists import View, shown
from sandbox.channel_advisor_v1.nodes import PRODUCT, Reader
from sandbox.channel_advisor_v1.options import Options
from sandbox.channel_advisor_v1.schema import entities
from sandbox.kernel import clock
from sandbox.kernel.http import Answer
from sandbox.kernel.store import Row, Transaction
from sandbox.kernel.system import Call

PLAIN = (
    "Title", "ShortDescription", "Description", "Brand", "Manufacturer", "MPN", "UPC", "EAN", "Condition", "Cost",
    "Weight", "Height", "Length", "Width", "ParentSku", "IsBlocked",
)  # fmt: skip
PRICES = {"BuyItNowPrice": "Price", "MinPrice": "MinPrice", "MaxPrice": "MaxPrice", "RetailPrice": "RetailPrice"}
BESIDE = (
    "IsAvailableInStore", "IsBlockedFromAdvertising", "IsExternalQuantityBlocked", "InfiniteQuantity", "BlockComment",
    "ASIN", "FlagDescription", "Flag", "HarmonizedCode", "ISBN", "Subtitle", "TaxProductCode", "WarehouseLocation",
    "Warranty", "MultipackQuantity", "Margin", "StartingPrice", "ReservePrice", "StorePrice", "SecondChancePrice",
    "EstimatedShippingCost", "SupplierName", "SupplierCode", "SupplierPO", "Classification", "IsDisplayInStore",
    "StoreTitle", "StoreDescription", "CopyToChildren", "CopyToAliases", "RelationshipName", "VaryBy",
    "ReceivedDateUtc",
)  # fmt: skip
LISTS = {"Attributes": "AttributeValue", "Images": "Image", "Labels": "ProductLabel",
         "BundleComponents": "ProductBundleComponent"}  # fmt: skip
SETS = {"AttributeValues": "Attributes", "Images": "Images", "ProductLabels": "Labels",
        "ProductBundleComponents": "BundleComponents"}  # fmt: skip
FULL = Options()


def add(face: Face) -> None:
    """Adds the actions of products."""
    table: dict[tuple[str, str, str], Handler] = {
        ("Products", "POST", ""): partial(create, face),
        ("Products", "PATCH", ""): partial(change, face),
        ("Products", "PUT", ""): partial(change, face),
        ("Products", "DELETE", ""): partial(delete, face),
        ("Products", "POST", "UpdateQuantity"): partial(update_quantity, face),
        ("Products", "POST", "UpdateAttributes"): partial(update_attributes, face),
        ("Products", "DELETE", "DCQuantities"): partial(forget_quantity, face),
    }
    for name in LISTS:
        for verb in ("POST", "PUT", "PATCH", "DELETE"):
            table["Products", verb, name] = partial(write_entry, face, name)
    for collection, name in SETS.items():
        for verb in ("POST", "PUT", "PATCH", "DELETE"):
            table[collection, verb, ""] = partial(write_row, face, name)
    face.actions |= table


def product_of(face: Face, tx: Transaction, call: Call, path: Path) -> Row:
    """The product that a path names, in the profiles of the token. Refusal 404."""
    return by_number(tx, call, face.find(tx, call, path).values["ID"])


def by_number(tx: Transaction, call: Call, number: Any) -> Row:
    rows = [row for row in tx.found("product", "number", number) if row.doc["ProfileID"] in call.access.profiles]
    if not rows:
        raise missing(entities()["Product"], str(number))
    return rows[0]


# ---- fields and prices ----
def create(face: Face, call: Call, path: Path) -> Answer:
    if path.key_text is not None:
        raise bad("The request is invalid. A product is created without a key.")
    body = bodies.read(call)
    nested = {name: body.pop(name) for name in LISTS if name in body}
    sent = bodies.of(entities()["Product"], body)
    with face.system.store.write() as tx:
        row = new(face, tx, call, sent)
        for name, entries in nested.items():
            if not isinstance(entries, list):
                raise bad(f"The request is invalid. {name} is a list.")
            for entry in entries:
                row = with_entry(face, tx, row, name, entry)
        node = Reader(tx, face.memory.numbers).product(row)
        answer = single(call, node, shown(node, FULL, View(call.base_url, "", is_truncated=False)))
    return Answer(201, answer, {"Location": f"{call.base_url}/v1/Products({row.doc['ProductID']})"})


def new(face: Face, tx: Transaction, call: Call, sent: Document) -> Row:
    """Store a new product. Refusal, Refused."""
    covered = call.access.profiles
    owner = sent.pop("ProfileID", None) or (covered[0] if len(covered) == 1 else None)
    if owner not in covered:
        raise bad(f"The request is invalid. ProfileID must be one of {', '.join(map(str, covered))}.")
    sku = sent.pop("Sku", None)
    if not sku:
        raise bad("The request is invalid. Sku is required.")
    if existing := repository.product(tx, owner, sku):
        raise bad(f"A product with the Sku '{existing.doc['SKU']}' already exists.")
    kind = sent.pop("ProductType", None) or "Item"
    bundle = sent.pop("BundleType", None)
    if bundle not in (None, "None") and kind == "Item":
        kind = "Bundle"
    at = face.system.clock.now()
    empty = dict.fromkeys(products.FIELDS) | {name: [] for name in products.LISTS}
    empty |= {"IsBlocked": False, "ProductType": kind}
    plain = {name: sent.pop(name) for name in PLAIN if name in sent}
    document = {
        "SKU": sku,
        "ProductID": tx.next_number("ProductID", FIRST_PRODUCT),
        "ProfileID": owner,
        "ProductType": kind,
        **products.changed(empty, plain),
        "TotalAvailableQuantity": None if kind in stock.WITHOUT_STOCK else 0,
        "CreatedDate": clock.text(at),
    }
    repository.put_product(tx, document, at)
    row = by_number(tx, call, document["ProductID"])
    return changed(face, tx, row, sent)


def change(face: Face, call: Call, path: Path) -> Answer:
    """PATCH and PUT alike: what is not given stays."""
    sent = bodies.of(entities()["Product"], bodies.read(call))
    with face.system.store.write() as tx:
        present = face.find(tx, call, path).values
        given = {name: value for name, value in sent.items() if value != present[name]}
        changed(face, tx, product_of(face, tx, call, path), given)
    return Answer(204)


def changed(face: Face, tx: Transaction, row: Row, given: Document) -> Row:
    """Change fields and prices of a product. Refusal, Refused."""
    now = face.system.clock.now()
    plain = {name: given.pop(name) for name in PLAIN if name in given}
    if "ParentProductID" in given:
        number = given.pop("ParentProductID")
        parents = tx.found("product", "number", number) if number is not None else []
        if number is not None and not parents:
            raise bad(f"The request is invalid. There is no product {number}.")
        plain["ParentSku"] = parents[0].doc["SKU"] if parents else None
    money = {part: given.pop(name) for name, part in PRICES.items() if name in given}
    beside = {name: given.pop(name) for name in BESIDE if name in given}
    if given:
        raise bad(f"The request is invalid. The property '{next(iter(given))}' cannot be written.")
    after = products.changed(row.doc, plain) if plain else row.doc
    if products.given(after) != products.given(row.doc) or beside:
        repository.put_product(tx, after, max(now, row.modified + 1))
        row = _fresh(tx, row)
    if beside:
        _keep(tx, row, now, Fields=beside)
    if money:
        _price(tx, row, money, now)
    return _fresh(tx, row)


def _fresh(tx: Transaction, row: Row) -> Row:
    found = tx.get("product", row.id)
    return found or row


def _keep(tx: Transaction, row: Row, at: int, **more: Any) -> None:
    """Keep what the facade has no word for beside a product."""
    number = row.doc["ProductID"]
    kept = tx.get(PRODUCT, number)
    before = kept.doc if kept else {"Fields": {}, "Labels": []}
    fields = before["Fields"] | more.get("Fields", {})
    tx.put(PRODUCT, number, {"Fields": fields, "Labels": more.get("Labels", before["Labels"])}, modified=at)


def _price(tx: Transaction, row: Row, money: Document, at: int) -> None:
    """The facade's price; without a selling price there is none, and bounds are kept beside the product."""
    owner, sku = row.doc["ProfileID"], row.doc["SKU"]
    before = repository.price(tx, owner, sku)
    if any((amount or 0) < 0 for amount in money.values()):
        raise bad("The request is invalid. A price must not be negative.")
    after = prices.changed(before, money, owner)
    if after["Price"] is None:
        prices.forget(tx, owner, sku, at)
        bounds = {name: after[part] for name, part in PRICES.items() if part != "Price"}
        _keep(tx, row, at, Fields=bounds)
        repository.put_product(tx, row.doc, max(at, row.modified + 1))
        return
    if before is None and (kept := tx.get(PRODUCT, row.doc["ProductID"])):
        bounds = {part: kept.doc["Fields"].pop(name) for name, part in PRICES.items() if name in kept.doc["Fields"]}
        tx.put(PRODUCT, row.doc["ProductID"], kept.doc, modified=at)
        after = after | bounds | money
    carried = prices.Carried(tx, owner, at)
    prices.put(tx, row, after, at, carried)
    carried.write()


def delete(face: Face, call: Call, path: Path) -> Answer:
    with face.system.store.write() as tx:
        row = product_of(face, tx, call, path)
        products.remove(tx, row, face.system.clock.now())
        tx.delete(PRODUCT, row.doc["ProductID"])
    return Answer(204)


# ---- quantities ----
def update_quantity(face: Face, call: Call, path: Path) -> Answer:
    sent = bodies.wrapped(call, "QuantityUpdateRequest")
    kind, updates = sent.get("UpdateType"), sent.get("Updates")
    if kind is None or not updates:
        raise bad("The request is invalid. UpdateType and Updates are required.")
    with face.system.store.write() as tx:
        number = product_of(face, tx, call, path).doc["ProductID"]
        seen = set()
        for update in updates:
            row = by_number(tx, call, number)
            center = _center(tx, update.get("DistributionCenterID"))
            if center in seen:
                raise bad(f"The request is invalid. DistributionCenterID {center} is given twice.")
            seen.add(center)
            _write_quantity(face, tx, row, center, kind, update.get("Quantity"))
        if sent.get("CompleteDCList"):
            row = by_number(tx, call, number)
            for center in stock.own(_centers(tx)):
                level = stock.level_of(tx, row.doc["ProfileID"], row.doc["SKU"], center)
                if center not in seen and level.row is not None:
                    _write_quantity(face, tx, by_number(tx, call, number), center, "Absolute", 0)
    return Answer(204)


def _centers(tx: Transaction) -> stock.Centers:
    """All centers of the account: in v1 they belong to no profile."""
    every = {number: one for profile in account.CURRENCIES for number, one in stock.centers_of(tx, profile).items()}
    return {number: one for number, one in every.items() if one is not stock.ONLY_CENTER or len(every) == 1}


def _center(tx: Transaction, number: int | None) -> int:
    """The center of an update; an account's only one may be left out, or be called 0."""
    own = stock.own(_centers(tx))
    return own[0] if number in (None, 0) and len(own) == 1 else number or 0


def _write_quantity(face: Face, tx: Transaction, row: Row, center: int, kind: str, units: int | None) -> None:
    if units is None:
        raise bad("The request is invalid. Quantity is required.")
    simple = {"Absolute": "Absolute", "Available": "Absolute", "Unconfirmed": "Absolute"}.get(kind, kind)
    if kind == "InStock":
        simple, units = "Absolute", max(0, units - _unpaid(tx, row, center))
    if abs(units) > MOST_UNITS:
        raise bad("The request is invalid. Quantity is out of range.")
    update = {"SKU": row.doc["SKU"], "DistributionCenterID": center, "Quantity": units, "UpdateType": simple}
    owner = row.doc["ProfileID"]
    stock.update(tx, owner, _centers(tx), face.system.clock.now(), update)


def _unpaid(tx: Transaction, row: Row, center: int) -> int:
    """Units that unpaid orders hold of a product in a center."""
    total = 0
    for order in tx.rows("order", status="Pending", profile=row.doc["ProfileID"]):
        held = tx.get("_held", order.id)
        of_sku = held.doc["Units"].get(row.doc["SKU"].casefold()) if held else None
        total += sum(units for number, units in (of_sku["Centers"] if of_sku else ()) if number == center)
    return total


def forget_quantity(face: Face, call: Call, path: Path) -> Answer:
    """DELETE of a center's quantity: nothing is on offer there."""
    text = path.rest[0][1] or ""
    if not text.isdigit():
        raise bad("The request is invalid. Name the center.")
    with face.system.store.write() as tx:
        row = product_of(face, tx, call, path)
        _write_quantity(face, tx, row, int(text), "Absolute", 0)
    return Answer(204)


# ---- attributes, images, labels, components ----
def update_attributes(face: Face, call: Call, path: Path) -> Answer:
    sent = bodies.wrapped(call, "AttributesUpdateRequest")
    with face.system.store.write() as tx:
        row = product_of(face, tx, call, path)
        for each in sent.get("Attributes") or ():
            if not each.get("Name"):
                raise bad("The request is invalid. Name is required.")
            _put_entry(face, tx, row, "Attributes", each)
            row = _fresh(tx, row)
    return Answer(204)


def write_entry(face: Face, name: str, call: Call, path: Path) -> Answer:
    """`Products(5)/Images('ITEMIMAGEURL1')`, or a POST to the collection."""
    entity = entities()[LISTS[name]]
    key = path.rest[0][1]
    with face.system.store.write() as tx:
        row = product_of(face, tx, call, path)
        prop = entity.properties[entity.key[1].lower()]
        named: Document = {}
        if key is not None:
            value: Any = key.strip().strip("'").replace("''", "'") if prop.kind == "String" else key.strip()
            named = {entity.key[1]: value if prop.kind == "String" else _whole(value)}
        elif call.method != "POST":
            raise bad(f"The request is invalid. Name one of the {name}.")
        return _written(face, tx, call, row, name, named)


def _whole(text: str) -> int:
    if not text.lstrip("-").isdigit():
        raise bad(f"The request is invalid. '{text}' is no number.")
    return int(text)


def write_row(face: Face, name: str, call: Call, path: Path) -> Answer:
    """`Images(ProductID=5,PlacementName='ITEMIMAGEURL1')`, or a POST to the set."""
    entity = entities()[LISTS[name]]
    with face.system.store.write() as tx:
        if path.key_text is None:
            number, named = bodies.read(call).get("ProductID"), {}
            if call.method != "POST":
                raise bad("The request is invalid. Name the key.")
        else:
            key = read_key(path.key_text, entity)
            if key is None:
                raise bad(f"The request is invalid. The key is {', '.join(entity.key)}.")
            number, named = key["ProductID"], {entity.key[1]: key[entity.key[1]]}
        return _written(face, tx, call, by_number(tx, call, number), name, named)


def _written(face: Face, tx: Transaction, call: Call, row: Row, name: str, named: Document) -> Answer:
    if call.method == "DELETE":
        _drop_entry(face, tx, row, name, named)
        return Answer(204)
    entry = bodies.of(entities()[LISTS[name]], bodies.read(call)) | named
    is_new = _put_entry(face, tx, row, name, entry)
    if call.method != "POST" or not is_new:
        return Answer(204)
    node = _entry_node(face, tx, _fresh(tx, row), name, entry)
    return Answer(201, single(call, node, shown(node, FULL, View(call.base_url, "", is_truncated=False))))


def _entry_node(face: Face, tx: Transaction, row: Row, name: str, entry: Document) -> Any:
    key = entities()[LISTS[name]].key[1]
    for node in Reader(tx, face.memory.numbers).product(row).link(name):
        if node.values[key] == entry.get(key) or node.values.get("ComponentSku") == entry.get("ComponentSku"):
            return node
    raise missing(entities()[LISTS[name]], str(entry.get(key)))


def with_entry(face: Face, tx: Transaction, row: Row, name: str, entry: Document) -> Row:
    """The product with one entry of a list inserted or replaced."""
    _put_entry(face, tx, row, name, entry)
    return _fresh(tx, row)


def _put_entry(face: Face, tx: Transaction, row: Row, name: str, entry: Document) -> bool:
    """Insert or replace one entry of a product's list. Answers whether it is new."""
    now = face.system.clock.now()
    if not isinstance(entry, dict):
        raise bad(f"The request is invalid. An entry of {name} is an object.")
    if name == "Labels":
        kept = tx.get(PRODUCT, row.doc["ProductID"])
        labels = kept.doc["Labels"] if kept else []
        if not entry.get("Name"):
            raise bad("The request is invalid. Name is required.")
        is_new = entry["Name"] not in labels
        _keep(tx, row, now, Labels=sorted({*labels, entry["Name"]}))
        repository.put_product(tx, row.doc, max(now, row.modified + 1))
        return is_new
    made, key = _facade_entry(tx, row, name, entry)
    present = list(row.doc.get(name) or ())
    places = [n for n, each in enumerate(present) if str(each[key]).casefold() == str(made[key]).casefold()]
    if places:
        present[places[0]] = present[places[0]] | made
    else:
        present.append(made)
    _put_list(tx, row, name, present, now)
    return not places


def _facade_entry(tx: Transaction, row: Row, name: str, entry: Document) -> tuple[Document, str]:
    """The entry as the facade has it, and what it is known by."""
    if name == "Attributes":
        if not entry.get("Name"):
            raise bad("The request is invalid. Name is required.")
        return {"Name": entry["Name"], "Value": entry.get("Value")}, "Name"
    if name == "Images":
        if not entry.get("PlacementName") or not entry.get("Url"):
            raise bad("The request is invalid. PlacementName and Url are required.")
        return {"PlacementName": entry["PlacementName"], "Url": entry["Url"]}, "PlacementName"
    sku = entry.get("ComponentSku")
    if sku is None:
        rows = tx.found("product", "number", entry.get("ComponentID"))
        sku = rows[0].doc["SKU"] if rows else None
    component = repository.product(tx, row.doc["ProfileID"], sku) if sku else None
    if component is None:
        raise bad("The request is invalid. There is no such component.")
    if row.doc["ProductType"] != "Bundle":
        raise bad("The request is invalid. Only a bundle has components.")
    units = entry.get("Quantity", 1)
    if not 1 <= units <= products.MOST_PARTS:
        raise bad("The request is invalid. Quantity is out of range.")
    return {"SKU": component.doc["SKU"], "Quantity": units}, "SKU"


def _put_list(tx: Transaction, row: Row, name: str, entries: list[Document], now: int) -> None:
    after = products.changed(row.doc, {name: entries})
    if after != row.doc:
        repository.put_product(tx, after, max(now, row.modified + 1))


def _drop_entry(face: Face, tx: Transaction, row: Row, name: str, named: Document) -> None:
    now = face.system.clock.now()
    (key, value), number = next(iter(named.items())), row.doc["ProductID"]
    if name == "Labels":
        kept = tx.get(PRODUCT, number)
        labels = kept.doc["Labels"] if kept else []
        if value not in labels:
            raise missing(entities()["ProductLabel"], value)
        _keep(tx, row, now, Labels=[label for label in labels if label != value])
        repository.put_product(tx, row.doc, max(now, row.modified + 1))
        return
    if key == "ComponentID":
        rows = tx.found("product", "number", value)
        key, value = "SKU", rows[0].doc["SKU"] if rows else ""
    left = [each for each in row.doc.get(name) or () if str(each[key]).casefold() != str(value).casefold()]
    if len(left) == len(row.doc.get(name) or ()):
        raise missing(entities()[LISTS[name]], str(value))
    _put_list(tx, row, name, left, now)
