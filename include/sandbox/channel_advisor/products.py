"""Products by SKU.

In: requests that match the contract. Out: products as the contract has them. Never: two products of a profile whose
SKUs differ in case only.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from sandbox.channel_advisor import batches, listings, lists, named, prices, repository, stock
from sandbox.channel_advisor.rules import Conflict, Document
from sandbox.channel_advisor.values import Refused, amounts, field_error
from sandbox.kernel import clock
from sandbox.kernel.http import Answer, Refusal, Request
from sandbox.kernel.store import Row, Transaction
from sandbox.kernel.system import Handler

if TYPE_CHECKING:
    from sandbox.kernel.system import System

FIRST_PRODUCT = 900_000_001
MOST_PARTS = 10**6  # units of a component in one bundle, a bound of the sandbox
FIELDS = (
    "Title", "ShortDescription", "Description", "Brand", "Manufacturer", "MPN", "UPC", "EAN", "Condition", "Cost",
    "Weight", "Height", "Length", "Width", "ParentSku", "IsBlocked", "Attributes", "Images", "BundleComponents",
)  # fmt: skip
CODES = {"UPC": 12, "EAN": 13}  # digits
LISTS = {"Attributes": "Name", "Images": "PlacementName", "BundleComponents": None}  # and what is unique in them


def handlers(system: System) -> dict[str, Handler]:
    return {
        "listProducts": partial(list_products, system),
        "getProduct": partial(get_product, system),
        "createProducts": partial(create_products, system),
        "updateProduct": partial(update_product, system),
        "deleteProduct": partial(delete_product, system),
    }


def find(tx: Transaction, request: Request) -> Row:
    sku = request.path["SKU"]
    row = repository.product(tx, named.profile(request), sku)
    if row is None:
        raise Refusal(404, "UnknownSku", f"There is no product {sku}.")
    return row


def list_products(system: System, request: Request) -> Answer:
    return lists.page(system, request, "product", lists.by_sku(request))


def get_product(system: System, request: Request) -> Answer:
    with system.store.read() as tx:
        return Answer(200, find(tx, request).doc)


def create_products(system: System, request: Request) -> Answer:
    owner = named.profile(request)
    with system.store.write() as tx:
        apply = partial(create_product, tx, owner, system.clock.now())
        return batches.answer(system, request, "Products", "ProductCreate", named.sku, apply)


def create_product(tx: Transaction, owner: int, at: int, sent: Document) -> tuple[int, Document]:
    """Store one new product. Refused."""
    existing = repository.product(tx, owner, sent["SKU"])
    if existing:
        message = f"SKU {existing.doc['SKU']} exists."
        raise Refused([field_error("SKU", "DuplicateSku", message)], status=409)
    kind = sent.get("ProductType", "Item")
    empty = dict.fromkeys(FIELDS) | {name: [] for name in LISTS} | {"IsBlocked": False}
    product = {
        "SKU": sent["SKU"],
        "ProductID": tx.next_number("ProductID", FIRST_PRODUCT),
        "ProfileID": owner,
        "ProductType": kind,
        **changed(empty | {"ProductType": kind}, {name: sent[name] for name in FIELDS if name in sent}),
        "TotalAvailableQuantity": None if kind in stock.WITHOUT_STOCK else 0,
        "CreatedDate": clock.text(at),
    }
    repository.put_product(tx, product, at)
    return 201, {"SKU": product["SKU"]}


def update_product(system: System, request: Request) -> Answer:
    with system.store.write() as tx:
        row = find(tx, request)
        product = changed(row.doc, request.body)
        if given(product) == given(row.doc):
            product = row.doc
        else:
            product = repository.put_product(tx, product, max(system.clock.now(), row.modified + 1))
    return Answer(200, product)


def delete_product(system: System, request: Request) -> Answer:
    now = system.clock.now()
    with system.store.write() as tx:
        remove(tx, find(tx, request), now)
    return Answer(204)


def remove(tx: Transaction, row: Row, now: int) -> None:
    """Delete a product with its stock and price. Conflict while a listing sells it."""
    owner, sku = row.doc["ProfileID"], row.doc["SKU"]
    listings.take_answers(tx, now)
    for listing in listings.of_product(tx, owner, sku):
        if listing["Status"] in listings.ON_SALE:
            message = f"The listing {listing['ListingID']} of {sku} is {listing['Status']}."
            raise Conflict("ProductInUse", message, ExistingID=listing["ListingID"])
    for level in repository.levels(tx, owner, sku):
        tx.delete("inventory", level.id)
    prices.forget(tx, owner, sku, now)
    tx.delete("product", row.id)


def given(product: Document) -> Document:
    """The given fields of a product; null, absent and an empty list all count as not given."""
    return {name: value for name, value in product.items() if value not in (None, [])}


def changed(product: Document, changes: Document) -> Document:
    """The product with these fields. Refused with what breaks a rule of the contract."""
    money, errors = amounts(changes, ("Cost",))
    emptied: Document = {name: [] for name in LISTS if name in changes and changes[name] is None}
    after = product | changes | emptied | money
    for name, digits in CODES.items():
        code = changes.get(name)
        if code is not None and not (len(code) == digits and code.isascii() and code.isdigit()):
            errors.append(field_error(name, "InvalidValue", f"{name} is a code of {digits} digits."))
    if after["Title"] is None:
        errors.append(field_error("Title", "MissingField", "A product needs a title."))
    for name, key in LISTS.items():
        keys = [entry[key] for entry in after.get(name) or ()] if key else []
        if len(set(keys)) < len(keys):
            errors.append(field_error(name, "Duplicate", f"{key} is given twice."))
    if after.get("ParentSku") is not None and after["ProductType"] != "Child":
        errors.append(field_error("ParentSku", "NotAChild", "Only a Child has a parent."))
    if after.get("BundleComponents") and after["ProductType"] != "Bundle":
        errors.append(field_error("BundleComponents", "NotABundle", "Only a Bundle has components."))
    for index, part in enumerate(changes.get("BundleComponents") or ()):
        if part["Quantity"] > MOST_PARTS:
            path = f"BundleComponents[{index}].Quantity"
            errors.append(field_error(path, "OutOfRange", f"At most {MOST_PARTS} units."))
    if errors:
        raise Refused(errors)
    return after
