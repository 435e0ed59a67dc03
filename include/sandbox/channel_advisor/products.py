"""Products by SKU.

In: requests that match the contract. Out: products as the contract has them. Never: two products of a profile whose
SKUs differ in case only.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from sandbox.channel_advisor import batches, lists, shelf
from sandbox.channel_advisor.rules import Conflict, Document
from sandbox.channel_advisor.values import Refused, exact, field_error
from sandbox.kernel import clock
from sandbox.kernel.app import Handler
from sandbox.kernel.http import Answer, Refusal, Request
from sandbox.kernel.store import Row, Transaction

if TYPE_CHECKING:
    from sandbox.kernel.app import System

FIRST_PRODUCT = 900_000_001
WITHOUT_STOCK = ("Parent", "Bundle")
FIELDS = (
    "Title", "ShortDescription", "Description", "Brand", "Manufacturer", "MPN", "UPC", "EAN", "Condition", "Cost",
    "Weight", "Height", "Length", "Width", "ParentSku", "IsBlocked", "Attributes", "Images", "BundleComponents",
)  # fmt: skip
LISTS = {"Attributes": "Name", "Images": "PlacementName", "BundleComponents": None}  # and what is unique in them


def handlers(system: System) -> dict[str, Handler]:
    return {
        "listProducts": partial(list_products, system),
        "getProduct": partial(get_product, system),
        "createProducts": partial(create_products, system),
        "updateProduct": partial(update_product, system),
        "deleteProduct": partial(delete_product, system),
    }


def profile(request: Request) -> int:
    """The one profile that a call is about. Refusal ProfileRequired when the token covers several and none is named."""
    wanted = request.query.get("profileId")
    covered = request.access.profiles
    if wanted is None and len(covered) > 1:
        raise Refusal(400, "ProfileRequired", f"The token covers {len(covered)} profiles: say profileId.")
    if wanted is not None and wanted not in covered:
        raise Refusal(400, "UnknownProfile", f"The token does not cover profile {wanted}.")
    return covered[0] if wanted is None else wanted


def find(tx: Transaction, request: Request) -> Row:
    sku = request.path["SKU"]
    row = shelf.product(tx, profile(request), sku)
    if row is None:
        raise Refusal(404, "UnknownSku", f"There is no product {sku}.")
    return row


def list_products(system: System, request: Request) -> Answer:
    return lists.page(system, request, "product", lists.by_sku(request))


def get_product(system: System, request: Request) -> Answer:
    with system.store.read() as tx:
        return Answer(200, find(tx, request).doc)


def wanted(tx: Transaction, owner: int, sku: str) -> Row:
    """The product that an item of a batch names. Refused 404 UnknownSku."""
    row = shelf.product(tx, owner, sku)
    if row is None:
        raise Refused([field_error("SKU", "UnknownSku", f"There is no product {sku}.")], status=404)
    return row


def create_products(system: System, request: Request) -> Answer:
    owner = profile(request)
    with system.store.write() as tx:
        apply = partial(create_product, tx, owner, system.clock.now())
        return batches.answer(system, request, "Products", "ProductCreate", echo, apply)


def echo(said: Document) -> Document:
    return {"SKU": said.get("SKU") if isinstance(said.get("SKU"), str) else None}


def create_product(tx: Transaction, owner: int, at: int, said: Document) -> tuple[int, Document]:
    """Store one new product. Conflict DuplicateSku, Refused."""
    existing = shelf.product(tx, owner, said["SKU"])
    if existing:
        raise Conflict("DuplicateSku", f"SKU {existing.doc['SKU']} exists.")
    kind = said.get("ProductType", "Item")
    empty = dict.fromkeys(FIELDS) | {name: [] for name in LISTS} | {"IsBlocked": False}
    product = {
        "SKU": said["SKU"],
        "ProductID": tx.next_number("ProductID", FIRST_PRODUCT),
        "ProfileID": owner,
        "ProductType": kind,
        **changed(empty | {"ProductType": kind}, {name: said[name] for name in FIELDS if name in said}),
        "TotalAvailableQuantity": None if kind in WITHOUT_STOCK else 0,
        "CreatedDate": clock.text(at),
    }
    shelf.put_product(tx, product, at)
    return 201, {"SKU": product["SKU"]}


def update_product(system: System, request: Request) -> Answer:
    with system.store.write() as tx:
        row = find(tx, request)
        product = changed(row.doc, request.body)
        if product != row.doc:
            product = shelf.put_product(tx, product, max(system.clock.now(), row.modified + 1))
    return Answer(200, product)


def delete_product(system: System, request: Request) -> Answer:
    with system.store.write() as tx:
        tx.delete("product", find(tx, request).id)
    return Answer(204)


def changed(product: Document, changes: Document) -> Document:
    """The product with these fields. Refused with what breaks a rule of the contract."""
    errors = []
    after = product | changes
    if "Cost" in changes and changes["Cost"] is not None:
        try:
            after["Cost"] = exact(changes["Cost"])
        except ValueError as error:
            errors.append(field_error("Cost", "InvalidAmount", str(error)))
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
    if errors:
        raise Refused(errors)
    return after
