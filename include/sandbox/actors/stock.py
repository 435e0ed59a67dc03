"""Plays the people who count the stock: write-offs of the data, and what a marketplace loses, finds and breaks.

In: the data's invoices with negative units and no price; the world's days. Out: a file of write-offs each day that has
some, and once a week Amazon's inventory ledger, in the inbox. Never: goods that TIMS does not keep in stock.
"""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timedelta

from sandbox import chance
from sandbox.actors.actor_context import ActorContext
from sandbox.transactions import LONDON, Invoice
from sandbox.world import World, text

WRITE_OFFS, LEDGER = "stock/warehouse", "stock/amazon_uk"
COLUMNS = ("Reference", "OccurredAt", "SKU", "LocationID", "Quantity", "Reason", "Memo")
LEDGER_COLUMNS = (
    "Date", "FNSKU", "ASIN", "MSKU", "Title", "Event Type", "Reference ID", "Quantity", "Fulfillment Center",
    "Disposition", "Reason", "Country",
)  # fmt: skip
# Words in the data, and the reason that the warehouse's file gives for each.
WORDS = (("damage", "Damaged"), ("mould", "Damaged"), ("sample", "Given away"), ("given", "Given away"),
         ("count", "Count"), ("mix", "Count"), ("reverse", "Correction"), ("?", "Lost"))  # fmt: skip
UNSAID = ("Damaged", "Damaged", "Lost", "Lost", "Count")
# (event, reason, disposition, sign, weight); sales and receipts stand there too, though they are no adjustments
EVENTS = (
    (("Adjustments", "M", "SELLABLE", -1), 4),  # misplaced
    (("Adjustments", "F", "SELLABLE", 1), 3),  # found
    (("Adjustments", "E", "SELLABLE", -1), 3),  # damaged
    (("Shipments", "", "SELLABLE", -1), 4),
    (("Receipts", "", "SELLABLE", 1), 1),
)
DAY, MONDAY = timedelta(days=1), 0


def act(context: ActorContext) -> Counter[str]:
    """Write the files of every day, and of every week, that has ended."""
    count: Counter[str] = Counter()
    for evening in evenings(context):
        name = f"{(evening - DAY).astimezone(LONDON):%Y-%m-%d}"
        rows = [row for invoice in write_offs(context.world, evening - DAY, evening) for row in _rows(context, invoice)]
        if rows:
            written = context.put_file(WRITE_OFFS, f"write-offs-{name}.csv", _table(COLUMNS, rows, ","))
            count["write-offs"] += len(rows) * written
        if evening.astimezone(LONDON).weekday() == MONDAY and (found := list(_week(context.world, evening))):
            content = _table(LEDGER_COLUMNS, found, "\t")
            count["inventory ledgers"] += context.put_file(LEDGER, f"inventory-ledger-{name}.txt", content)
    return count


def evenings(context: ActorContext) -> Iterator[datetime]:
    """The ends of days, in London, that have come."""
    evening = context.start.astimezone(LONDON).replace(hour=0, minute=0, second=0, microsecond=0)
    while (evening := evening + DAY) <= context.end:
        yield evening


# ---- write-offs ----
def is_write_off(invoice: Invoice) -> bool:
    """Fewer units, no price, no customer."""
    return invoice.number.isdigit() and all(line.quantity < 0 and line.price == 0 for line in invoice.lines)


def write_offs(world: World, start: datetime, end: datetime) -> list[Invoice]:
    found = (i for i in world.invoices if is_write_off(i) and start <= i.at < end)
    return sorted(found, key=lambda invoice: (invoice.at, invoice.number))


def _rows(context: ActorContext, invoice: Invoice) -> Iterator[dict[str, object]]:
    for n, line in enumerate(invoice.lines, start=1):
        sku = sku_of(context.world, line.code)
        if sku:
            yield {
                "Reference": f"WO-{invoice.number}" + (f"-{n}" if n > 1 else ""),
                "OccurredAt": text(invoice.at),
                "SKU": sku,
                "LocationID": "WEST" if chance.share("where", invoice.number) < 0.1 else "MAIN",
                "Quantity": line.quantity,
                "Reason": _reason(invoice.number, line.description),
                "Memo": line.description,
            }


def _reason(number: str, description: str) -> str:
    reported = description.lower()
    return next((reason for word, reason in WORDS if word in reported), chance.pick(UNSAID, "write-off", number))


def sku_of(world: World, code: str) -> str | None:
    """The SKU of TIMS that keeps stock of these goods; None where there is none, or more than one."""
    wanted = code.upper()
    if world.catalogue.roles.get(wanted) in ("missing", "ambiguous", "kit"):
        return None
    for item in world.catalogue.items:
        if item["Type"] == "Inventory" and wanted in (item["SKU"].upper(), *map(str.upper, item["AlternateSKUs"])):
            return item["SKU"]
    return None


def unusable(context: ActorContext) -> Counter[str]:
    """Lines of write-offs until the end that are in no file, by cause."""
    found = write_offs(context.world, context.world.start, context.end)
    lines = [line for invoice in found for line in invoice.lines]
    return Counter("not in stock in TIMS" for line in lines if sku_of(context.world, line.code) is None)


# ---- what the marketplace holds ----
def _week(world: World, evening: datetime) -> Iterator[dict[str, object]]:
    """Rows of the seven days before; about four events a week."""
    held = [
        quantity["SKU"]
        for quantity in world.catalogue.quantities
        if any(place["LocationID"] == "MARKETPLACE" and place["OnHand"] > 10 for place in quantity["Locations"])
    ]
    titles = {item["SKU"]: item["Title"] for item in world.catalogue.items}
    for n in range(28):
        day = (evening - DAY * (7 - n // 4)).astimezone(LONDON)
        if chance.share("ledger", day.date(), n) < 0.2 and held:
            sku = chance.pick(held, "ledger", day.date(), n)
            event, reason, disposition, sign = chance.weighted(EVENTS, "event", day.date(), n)
            units = sign * chance.between(1, 3, "ledger units", day.date(), n)
            row: dict[str, object] = {
                "Date": f"{day:%d/%m/%Y}",
                "FNSKU": f"X{chance.raw('fnsku', sku) % 36**6:09d}",
                "ASIN": f"B{chance.raw('asin', sku) % 10**9:09d}",
                "MSKU": sku,
                "Title": titles[sku],
                "Event Type": event,
                "Reference ID": f"{chance.between(10**9, 10**10 - 1, 'reference', day.date(), n)}",
                "Quantity": units,
                "Fulfillment Center": chance.pick(("LTN1", "BHX1", "EDI4"), "center", day.date(), n),
                "Disposition": disposition,
                "Reason": reason,
                "Country": "GB",
            }
            yield row
            if reason == "E":  # a damaged unit moves from one disposition to the other
                yield row | {"Quantity": -units, "Disposition": "WAREHOUSE_DAMAGED"}


def _table(columns: tuple[str, ...], rows: list[dict[str, object]], delimiter: str) -> bytes:
    out = io.StringIO()
    table = csv.DictWriter(out, columns, delimiter=delimiter, lineterminator="\n")
    table.writeheader()
    table.writerows(rows)
    return out.getvalue().encode()
