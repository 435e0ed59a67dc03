"""A large catalogue, made as it is asked for: items, quantities, products and levels of `SKUS` SKUs.

In: a list's name and a page. Out: its rows as bytes. Never: a row that differs between two runs.

Words of a path: `stock` (the whole catalogue; with a number, `stock20000`, of so many SKUs), `changed` (only CHANGED
quantities are newer, everything else is as before), `drift` (CHANGED levels at the channel are not ours).
"""

from __future__ import annotations

import json

import msgspec

SKUS = 250_000
CHANGED = 500
SIZES = {"items": 500, "quantities": 500}  # rows a page; Channel Advisor's lists have 100
BEFORE, AFTER = "2011-01-03T06:00:00Z", "2011-01-31T06:00:00Z"
CENTER = (
    '{"DistributionCenterID":4,"ProfileID":1,"Name":"Main","Code":"MAIN","Type":"Warehouse",'
    f'"IsExternallyManaged":false,"IsDeleted":false,"UpdatedDate":"{BEFORE}"}},'
    '{"DistributionCenterID":9,"ProfileID":1,"Name":"FBA","Code":"FBA","Type":"ExternallyManaged",'
    f'"IsExternallyManaged":true,"IsDeleted":false,"UpdatedDate":"{BEFORE}"}}'
)


def skus(words: set[str]) -> int:
    """How many SKUs the catalogue of a path has."""
    reported = next(word for word in words if word.startswith("stock"))
    return int(reported.removeprefix("stock") or SKUS)


def page(name: str, number: int, words: set[str]) -> tuple[bytes, bool]:
    """The rows of a page, and whether there are more."""
    if name == "distribution-centers":
        return (b"" if "changed" in words else CENTER.encode()), False
    if name not in ROWS or ("changed" in words and name != "quantities"):
        return b"", False
    size = SIZES.get(name, 100)
    last = CHANGED if "changed" in words else skus(words)
    start, end = number * size, min((number + 1) * size, last)
    every = skus(words) // CHANGED if "changed" in words else 1  # the changed ones are spread over all
    return ",".join(ROWS[name](n * every, words) for n in range(start, end)).encode(), end < last


def _item(n: int, words: set[str]) -> str:
    return (
        f'{{"SKU":"SKU-{n:07d}","AlternateSKUs":[],"Title":"Item {n}","Description":null,"Brand":null,'
        '"Category":"Gifts","GTIN":null,"Type":"Inventory","KitComponents":[],"Cost":"2.00","ListPrice":"5.00","CurrencyCode":"GBP",'
        '"MinMarginPercent":null,"TaxCategory":"standard","WeightKg":"0.100","Images":[],"Attributes":{},'
        f'"Status":"Active","ChannelEligible":true,"RowVersion":1,"CreatedAt":"{BEFORE}","ModifiedAt":"{BEFORE}"}}'
    )


def _quantity(n: int, words: set[str]) -> str:
    changed = "changed" in words
    units = n % 90 + changed
    locations = ",".join(
        f'{{"LocationID":"{name}","OnHand":{units},"Allocated":0,"Available":{units},"Incoming":0}}'
        for name in ("MAIN", "WEST", "MARKETPLACE")
    )
    return (
        f'{{"SKU":"SKU-{n:07d}","Locations":[{locations}],"TotalAvailable":{3 * units},"AsOf":"{AFTER}",'
        f'"RowVersion":{1 + changed},"ModifiedAt":"{AFTER if changed else BEFORE}"}}'
    )


def _product(n: int, words: set[str]) -> str:
    return (
        f'{{"ProfileID":1,"SKU":"SKU-{n:07d}","ProductID":{n + 1},"ProductType":"Item","Title":"Item {n}",'
        f'"IsBlocked":false,"TotalAvailableQuantity":0,"CreatedDate":"{BEFORE}","UpdatedDate":"{BEFORE}"}}'
    )


def _level(n: int, words: set[str]) -> str:
    units = 2 * (n % 90) + ("drift" in words and n % (skus(words) // CHANGED) == 0)
    return (
        f'{{"ProfileID":1,"SKU":"SKU-{n:07d}","DistributionCenterID":4,"AvailableQuantity":{units},'
        f'"TotalQuantity":{units},"UpdatedDate":"{BEFORE}"}}'
    )


ROWS = {"items": _item, "quantities": _quantity, "products": _product, "inventory": _level}


def written(body: bytes) -> bytes:
    """The answer to a PUT of quantities: every one of them is taken."""
    updates = msgspec.json.decode(body)["Updates"]
    results = [{"Index": n, "Status": 200, "SKU": each["SKU"], "AvailableQuantity": each["Quantity"]}
               for n, each in enumerate(updates)]  # fmt: skip
    return json.dumps({"Results": results}).encode()
