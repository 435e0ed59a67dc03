"""Turns real transactions into events of two systems: the world of the sandbox.

In: a file of transactions. Out: the events that make Channel Advisor and TIMS what they are at any moment; the returns;
what must become of each order; and ready-made list pages of all orders for the benchmark.
Never: chance that differs between two runs, or a call of the servers (control.py makes them).

    world = load()
    for event in world.reference_events(start): ...      items, stock, customers, sites, products
    for event in world.events(start, end): ...  orders and their changes, by time
    world.expectations(end)                     the truth
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec

from sandbox import buyers, orders, sites
from sandbox.addresses import COUNTRIES
from sandbox.buyers import Buyer
from sandbox.catalogue import Catalogue, build
from sandbox.expectations import Expectation, expectation
from sandbox.order_histories import LONGEST, State, life, patch
from sandbox.orders import Order
from sandbox.transactions import Invoice, read

CHANNEL_ADVISOR, TIMS = "channel_advisor", "tims"
COMPANY = {
    "CompanyName": "Lantern & Hearth Ltd",
    "TimeZone": "Europe/London",
    "BaseCurrency": "GBP",
    "FiscalYearStart": "01-01",
}
KEPT = 1000  # orders whose events are kept: more than there are in LONGEST
_encode = msgspec.json.Encoder(decimal_format="number").encode


@dataclass(frozen=True)
class Event:
    """Something that happened in one system; `id` is the same in every run. `dirty`: wrong on purpose."""

    id: str
    at: datetime
    system: str
    kind: str
    document: dict[str, Any]
    dirty: bool = False

    def as_dict(self, at: datetime | None = None) -> dict[str, Any]:
        """The event as the servers take it in; `at` where it is sent later than it happened."""
        return {
            "id": self.id,
            "at": text(at or self.at),
            "system": self.system,
            "kind": self.kind,
            "document": self.document,
            "dirty": self.dirty,
        }


def text(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ").replace(".000000Z", "Z")


@dataclass
class World:
    """`invoices` in the order of the file."""

    invoices: list[Invoice]

    @cached_property
    def first(self) -> datetime:
        return min(invoice.at for invoice in self.invoices)

    @cached_property
    def last(self) -> datetime:
        return max(invoice.at for invoice in self.invoices)

    @property
    def start(self) -> datetime:
        """An hour before the day of the first transaction: where the clocks are set when the world is seeded."""
        return self.first.replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(hours=1)

    @cached_property
    def catalogue(self) -> Catalogue:
        return build(self.invoices, created=self.start - timedelta(days=90))

    @property
    def order_count(self) -> int:
        return len(self._by_time)

    def orders(self, start: datetime | None = None, end: datetime | None = None) -> Iterator[Order]:
        """The orders of the transactions with start <= at < end, by time, complete."""
        for invoice in self._placed(start, end):
            yield orders.order(invoice, self.catalogue)

    def _placed(self, start: datetime | None, end: datetime | None) -> Iterator[Invoice]:
        for invoice in self._by_time:
            if (start is None or invoice.at >= start) and (end is None or invoice.at < end):
                yield invoice

    def _events_of(self, invoice: Invoice) -> list[Event]:
        """The events of an invoice, kept for a while: a world played day by day needs the orders of the last LONGEST
        each time."""
        kept = self._kept_events
        if invoice.number not in kept:
            if len(kept) >= KEPT:
                del kept[next(iter(kept))]
            order = orders.order(invoice, self.catalogue)
            kept[invoice.number] = list(_events(order, life(order, self.catalogue)))
        return kept[invoice.number]

    @cached_property
    def _kept_events(self) -> dict[str, list[Event]]:
        return {}

    @cached_property
    def _by_time(self) -> list[Invoice]:
        return sorted((i for i in self.invoices if i.is_order), key=lambda invoice: (invoice.at, invoice.number))

    def returns(self) -> Iterator[Invoice]:
        """The cancellations of the data (C…): goods that came back. Nothing is sent for them yet."""
        return (invoice for invoice in self.invoices if invoice.is_return)

    def order_histories(
        self, start: datetime | None = None, end: datetime | None = None
    ) -> Iterator[tuple[Order, list[State]]]:
        """The same orders, and what happens to each of them, also later."""
        for order in self.orders(start, end):
            yield order, life(order, self.catalogue)

    def reference_events(self, at: datetime | None = None) -> Iterator[Event]:
        """What both systems hold before the first order, as of `at`."""
        at = at or self.start - timedelta(days=1)
        yield Event("company", at, TIMS, "company", COMPANY)
        for document in sites.documents():
            yield Event(f"site:{document['SiteID']}", at, CHANNEL_ADVISOR, "site", document)
        for document in sites.centers():
            key = document["DistributionCenterID"]
            yield Event(f"center:{key}", at, CHANNEL_ADVISOR, "distribution_center", document)
        for document in self.catalogue.products:
            yield Event(f"product:{document['SKU']}", at, CHANNEL_ADVISOR, "product", document)
        for document in self.catalogue.items:
            yield Event(f"item:{document['SKU']}", at, TIMS, "item", document)
        for document in self.catalogue.quantities:
            yield Event(f"quantity:{document['SKU']}", at, TIMS, "quantity", document)
        for document in self.customers():
            yield Event(f"customer:{document['CustomerID']}", at, TIMS, "customer", document)

    def customers(self) -> Iterator[dict[str, Any]]:
        """Customers that TIMS had before: some buyers of the web shop, to be found by e-mail, by phone and postal code,
        by name and address; some inactive, and some there twice."""
        numbers = dict.fromkeys((i.customer, i.country) for i in self.invoices if i.customer and i.is_order)
        for customer, country in numbers:
            kind = buyers.known_to_tims(customer, country)
            if kind:
                who = buyers.buyer(customer, country)
                yield _customer(who, kind, f"C-{customer}")
                if kind == "twins":
                    yield _customer(who, kind, f"C-{customer}-2")

    def events(self, start: datetime | None = None, end: datetime | None = None) -> Iterator[Event]:
        """Orders, their changes and shipments with start <= at < end, sorted by (at, id); no reference data."""
        first = start or self.first
        last = end or self.last + LONGEST
        pending: list[tuple[datetime, str, Event]] = []
        for invoice in self._placed(first - LONGEST, last):
            while pending and pending[0][0] < invoice.at:
                yield heapq.heappop(pending)[2]
            for event in self._events_of(invoice):
                if first <= event.at < last:
                    heapq.heappush(pending, (event.at, event.id, event))
        while pending:
            yield heapq.heappop(pending)[2]

    def expectations(
        self, end: datetime | None = None, reads: Sequence[datetime] | None = None
    ) -> dict[int, Expectation]:
        """The expected result of every order that has arrived before `end`, by ChannelAdvisorOrderID. `reads`: the
        moments at which the pipeline reads (None: it misses no state)."""
        found = {}
        for order, states in self.order_histories(end=end):
            present = [state for state in states if end is None or state.at < end]
            if present:
                found[order.id] = expectation(order, present, self.catalogue, reads)
        return found

    def pages(self, folder: Path, page_size: int = 100, base_url: str = "http://127.0.0.1:8601") -> dict[str, int]:
        """Write list pages of all orders, each with ALL its lines, as `orders-000000.json` and so on; every page but
        the last links to the next one by its file name. Returns how many pages, orders, lines and bytes."""
        folder.mkdir(parents=True, exist_ok=True)
        counts = {"pages": 0, "orders": 0, "lines": 0, "bytes": 0}
        rows: list[dict[str, Any]] = []

        def write(next_page: bool) -> None:
            page: dict[str, Any] = {"value": rows, "serverTime": text(self.last + timedelta(days=1))}
            if next_page:
                page["nextLink"] = f"{base_url}/orders-{counts['pages'] + 1:06d}.json"
            body = _encode(page)
            (folder / f"orders-{counts['pages']:06d}.json").write_bytes(body)
            counts["pages"] += 1
            counts["orders"] += len(rows)
            counts["lines"] += sum(len(row["OrderItems"]) for row in rows)
            counts["bytes"] += len(body)

        for order in self.orders():
            if len(rows) == page_size:
                write(next_page=True)
                rows.clear()
            rows.append(order.document | {"UpdatedDate": order.document["ImportDate"]})
        write(next_page=False)
        return counts


def load(data: Path | str | None = None) -> World:
    """The world of a file of transactions; the shipped January by default. Raises transactions.BadData."""
    return World(read(data))


def _events(order: Order, states: Iterable[State]) -> Iterator[Event]:
    before = None
    for number, state in enumerate(states):
        key = f"order:{order.id}:{number}"
        if before is None:
            yield Event(key, state.at, CHANNEL_ADVISOR, "order", state.document, dirty=order.defect is not None)
        else:
            changes = patch(before, state.document)
            document = {"ChannelAdvisorOrderID": order.id, "changes": changes}
            yield Event(key, state.at, CHANNEL_ADVISOR, "order_change", document)
        for shipment in state.shipments:
            yield Event(f"shipment:{shipment['ShipmentID']}", state.at, CHANNEL_ADVISOR, "shipment", shipment)
        before = state.document


def _customer(who: Buyer, kind: str, key: str) -> dict[str, Any]:
    """A customer as TIMS has it, with only the fields by which `kind` finds it."""
    address = {
        "Name": who.name,
        "Company": who.company,
        "Line1": who.line1,
        "Line2": who.line2,
        "City": who.city.name,
        "Region": who.city.region,
        "PostalCode": who.postal,
        "CountryCode": COUNTRIES[who.country].iso,
    }
    by_email = kind in ("email", "inactive", "twins")
    return {
        "CustomerID": key,
        "CustomerCode": key.replace("-", ""),
        "ExternalIDs": [{"Source": "Ledger2009", "ID": key}],
        "FirstName": who.first,
        "LastName": who.last,
        "Name": who.name,
        "Company": who.company,
        "Email": who.email if by_email else None,
        "Phone": who.phone if kind == "phone" else None,
        "BillingAddress": address if kind in ("phone", "address") else None,
        "ShippingAddresses": [address] if kind == "address" else [],
        "TaxExempt": False,
        "CurrencyCode": "GBP",
        "Status": "Inactive" if kind == "inactive" else "Active",
    }
