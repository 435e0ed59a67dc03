"""The pages that the measured programs read, made once and kept in the run folder.

In: a file of transactions, or none for the shipped January. Out: a folder of list pages of orders (all lines in each
order), of TIMS's items and customers, and of one tick. Never: a page that differs between two runs.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from datetime import timedelta
from decimal import Decimal
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec

from crossdock.settings import run_dir
from sandbox import world as worlds
from sandbox.transactions import SAMPLE, BadData

PAGE = 100  # orders a page, as Channel Advisor lists them
V1_PAGE = 20  # orders a page of the API v1 with all their parts
MASTERS_PAGE = 500
TICK = 43  # orders of a small tick
ORDERS, QUICK_ORDERS = 22_000, 3_000  # the sample is repeated up to so many
APART = 100_000_000  # between the numbers of two repetitions
TICK_NUMBER = 90  # the repetition that the tick's orders are numbered as: none of them has been read before

_read = msgspec.json.Decoder(float_hook=Decimal).decode
_encode = msgspec.json.Encoder(decimal_format="number").encode


def prepare(path: Path | None, size: int = ORDERS) -> Path:
    """The folder of the pages made of `path`, or of the sample up to `size` orders; `facts.json` in it tells how many
    orders, lines and bytes. Raises BadData where there is no such file."""
    source = path or SAMPLE
    if not source.is_file():
        raise BadData(f"There is no file {source}: DATA=file names one of Online Retail.")
    digest = hashlib.blake2b(source.read_bytes() + b"%d" % size, digest_size=8)
    for code in sorted([Path(__file__), *Path(worlds.__file__).parent.glob("*.py")]):
        digest.update(code.read_bytes())
    folder = run_dir() / "bench" / f"pages-{digest.hexdigest()}"
    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as unfinished:
            made = Path(unfinished) / "pages"
            made.mkdir()
            _write(worlds.load(path), made, size if path is None else 0)
            made.rename(folder)
    return folder


def facts(folder: Path) -> dict[str, Any]:
    """What `prepare` has made."""
    return json.loads((folder / "facts.json").read_text())


def _write(world: worlds.World, folder: Path, size: int) -> None:
    """Pages of all orders, again and again under new numbers up to `size`."""
    made = folder / "world"
    world.pages(made, PAGE)
    orders = [order for page in sorted(made.glob("*.json")) for order in _orders(page)]
    shutil.rmtree(made)
    repetitions = max(1, -(-size // len(orders)))
    numbered = (_numbered(order, number) for number in range(repetitions) for order in orders)
    counts = {"orders": 0, "lines": 0, "bytes": 0, "repetitions": repetitions}
    for number, page in enumerate(_chunks(numbered, PAGE)):
        body = b",".join(map(_encode, page))
        (folder / f"orders-{number:06d}.json").write_bytes(body)
        counts["orders"] += len(page)
        counts["lines"] += sum(len(order["OrderItems"]) for order in page)
        counts["bytes"] += len(body)
    every = [_numbered(order, number) for number in range(repetitions) for order in orders]
    every.sort(key=lambda order: order["ChannelAdvisorOrderID"])
    for page in _chunks(every, V1_PAGE):
        first = page[0]["ChannelAdvisorOrderID"]
        (folder / f"v1-{first:012d}.json").write_bytes(b",".join(_encode(of_v1(order)) for order in page))
    tick = [_encode(_numbered(order, TICK_NUMBER)) for order in orders[-TICK:]]
    (folder / "tick-000000.json").write_bytes(b",".join(tick))
    for kind in ("item", "customer"):
        rows = [
            _encode({**event.document, "RowVersion": 1, "ModifiedAt": worlds.text(event.at)})
            for event in world.reference_events() if event.kind == kind
        ]  # fmt: skip
        for number, page in enumerate(_chunks(rows, MASTERS_PAGE)):
            (folder / f"{kind}s-{number:06d}.json").write_bytes(b",".join(page))
    counts["server_time"] = worlds.text(world.last.replace(microsecond=0) + timedelta(days=1))
    (folder / "facts.json").write_text(json.dumps(counts))


def _orders(page: Path) -> list[dict[str, Any]]:
    return _read(page.read_bytes())["value"]


def _numbered(order: dict[str, Any], repetition: int) -> dict[str, Any]:
    """The same order under other numbers."""
    if not repetition:
        return order
    shift = repetition * APART
    lines = [line | {"OrderItemID": line["OrderItemID"] + shift * 10_000} for line in order["OrderItems"]]
    return order | {
        "ChannelAdvisorOrderID": order["ChannelAdvisorOrderID"] + shift,
        "OrderID": f"{order['OrderID']}-{repetition}",
        "OrderItems": lines,
    }


def of_v1(order: dict[str, Any]) -> dict[str, Any]:
    """An order as the API v1 gives it with its parts: amounts, statuses and dates as its own, a parcel that is open."""
    number, zero = order["ChannelAdvisorOrderID"], Decimal("0.0000")
    who, at = order.get("CustomerInfo") or {}, order.get("ShippingAddress") or {}
    own = {"ProfileID": order["ProfileID"], "OrderID": number}
    items, packed = [], []
    for each in order["OrderItems"]:
        line, sku, units = each["OrderItemID"], each["SKU"], each["Quantity"]
        amounts = {name: each.get(of) or zero for name, of in (
            ("TaxPrice", "TaxAmount"), ("ShippingPrice", "ShippingAmount"), ("ShippingTaxPrice", "ShippingTaxAmount"),
            ("GiftPrice", "GiftWrapAmount"))}  # fmt: skip
        cheaper = each.get("DiscountAmount")
        promotions = [{"ID": line, "Code": "P", "Amount": -cheaper, "ShippingAmount": zero}] if cheaper else []
        items.append(own | {
            "ID": line, "ProductID": line, "Sku": sku, "Title": each.get("Title"), "Quantity": units,
            "UnitPrice": each.get("UnitPrice"), **amounts, "RecyclingFee": zero, "GiftTaxPrice": zero,
            "IsBundle": False, "Promotions": promotions, "BundleComponents": [], "Adjustments": [],
        })  # fmt: skip
        packed.append(own | {"ID": line, "Sku": sku, "FulfillmentID": number, "OrderItemID": line, "Quantity": units,
                             "ProductID": line, "MarketplaceShippingStatus": "Pending"})  # fmt: skip
    parcel = own | {"ID": number, "CreatedDateUtc": order["ImportDate"], "UpdatedDateUtc": order["ImportDate"],
                    "Type": "Ship", "DeliveryStatus": "NoChange", "ShippedDateUtc": None, "Items": packed}  # fmt: skip
    person = {f"{kind}{name}": who.get(name) for kind in ("Shipping", "Billing") for name in ("FirstName", "LastName")}
    given = {f"Total{name}Price": order.get(f"Total{name}Price") or zero for name in ("", "Shipping", "ShippingTax")}
    tax = given["TotalShippingTaxPrice"] + (order.get("TotalTaxPrice") or zero)
    kinds = {name: order.get(name) or "Standard" for name in ("OrderTaxType", "ShippingTaxType", "GiftOptionsTaxType")}
    return {
        "ID": number, "ProfileID": order["ProfileID"], "SiteID": order["SiteID"], "SiteName": order.get("SiteName"),
        "UserDataPresent": 1, "SiteOrderID": order["OrderID"], "Currency": order.get("Currency"),
        "CreatedDateUtc": order["OrderDate"], "ImportDateUtc": order["ImportDate"],
        "UpdatedDateUtc": order["UpdatedDate"], **given, "TotalTaxPrice": tax, "TotalInsurancePrice": zero,
        "AdditionalCostOrDiscount": zero, "PromotionAmount": zero, "FlagID": 0, "CheckoutStatus": "Completed",
        "PaymentStatus": order["PaymentStatus"], "ShippingStatus": "Unshipped",
        "DistributionCenterTypeRollup": order["DistributionCenterTypeRollup"], "BuyerUserId": who.get("CustomerID"),
        "BuyerEmailAddress": who.get("Email"), **kinds, **person, "ShippingAddressLine1": at.get("Line1"),
        "ShippingCity": at.get("City"), "ShippingPostalCode": at.get("PostalCode"),
        "ShippingCountry": at.get("Country"), "Items": items, "Fulfillments": [parcel], "Adjustments": [],
    }  # fmt: skip


def _chunks(rows: Iterable[Any], size: int) -> Iterator[list[Any]]:
    iterator = iter(rows)
    while chunk := list(islice(iterator, size)):
        yield chunk
