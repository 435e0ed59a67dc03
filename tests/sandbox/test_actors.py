"""Warehouse, buyers and marketplaces of the sandbox act as people do, and always the same."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pytest

from crossdock.rules import invoicing
from crossdock.systems import inbox, stock_files
from crossdock.systems.settlements import READERS, sources
from sandbox import chance
from sandbox import world as worlds
from sandbox.actors import flat_files, payouts, returns, stock, warehouse, worth
from sandbox.actors.actor_context import ActorContext
from sandbox.actors.expected import expected
from sandbox.control import moment
from sandbox.transactions import Invoice

LONDON = ZoneInfo("Europe/London")
WORLD = worlds.load()


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@dataclass
class FakeControl:
    """A system that holds these documents and takes in whatever it is told."""

    held: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    reported: list[dict[str, Any]] = field(default_factory=list)
    clock: datetime = field(default_factory=lambda: at("2011-02-01"))

    def documents(self, kind: str, since: datetime | None = None, **where: list[Any]) -> list[dict[str, Any]]:
        return [each for each in self.held.get(kind, []) if all(each[name] in wanted for name, wanted in where.items())]

    def now(self) -> datetime:
        return self.clock

    def apply(self, events: Any) -> int:
        fresh = [event for event in events if event["id"] not in {each["id"] for each in self.reported}]
        self.reported += fresh
        return len(fresh)


def context(start: str, end: str, inbox: Path = Path("nowhere"), **held: Any) -> ActorContext:
    systems: Any = {name: FakeControl(held.get(name, {})) for name in ("channel_advisor", "tims")}
    return ActorContext(WORLD, systems, at(start), at(end), inbox)


def sale(key: str = "1", *lines: tuple[int, int, int], **fields: Any) -> dict[str, Any]:
    """A sales order of TIMS; a line is (quantity, shipped, cancelled)."""
    return {
        "SalesOrderID": f"SO-{key}",
        "ExternalOrderID": key,
        "OrderDate": "2011-01-04T12:00:00Z",
        "CreatedAt": "2011-01-04T12:05:00Z",
        "OrderStatus": "Open",
        "ShippingMethod": "Standard",
        "ShippingAddress": {"CountryCode": "GB"},
        "LineItems": [
            {"LineNo": n, "Quantity": quantity, "QuantityShipped": shipped, "QuantityCancelled": cancelled}
            for n, (quantity, shipped, cancelled) in enumerate(lines or ((4, 0, 0),), start=1)
        ],
    } | fields


def with_habit(habit: str) -> str:
    """The number of an order that the warehouse treats so."""
    return next(key for key in map(str, range(1, 2000)) if _habit(key) == habit)


def _habit(key: str) -> str:
    plan = warehouse.plan(key)
    if len(plan) == 1:
        return "late" if plan[0].days else "whole"
    return "two locations" if plan[1].location == "WEST" else f"{len(plan)} parcels"


def units(bodies: list[dict[str, Any]]) -> list[dict[int, int]]:
    return [{line["SalesOrderLineNo"]: line["Quantity"] for line in body["Lines"]} for body in bodies]


class TestWarehouse:
    def test_most_orders_go_whole_on_the_next_day_within_opening_hours(self) -> None:
        key = with_habit("whole")
        assert list(warehouse.parcels(context("2011-01-04", "2011-01-05"), sale(key))) == []
        (body,) = warehouse.parcels(context("2011-01-05", "2011-01-06"), sale(key, (4, 0, 0), (3, 0, 0)))
        assert units([body]) == [{1: 4, 2: 3}]
        left = moment(body["ShippedAt"]).astimezone(LONDON)
        assert (left.date().isoformat(), body["LocationID"], body["Source"]) == ("2011-01-05", "MAIN", "warehouse")
        assert 8 <= left.hour < 18
        assert body["ExternalReference"].startswith("WMS-")

    def test_nothing_leaves_on_a_sunday(self) -> None:
        order = sale(with_habit("whole"), OrderDate="2011-01-08T12:00:00Z", CreatedAt="2011-01-08T12:00:00Z")
        assert list(warehouse.parcels(context("2011-01-08", "2011-01-10"), order)) == []
        assert len(list(warehouse.parcels(context("2011-01-10", "2011-01-11"), order))) == 1

    def test_cancelled_and_shipped_units_stay(self) -> None:
        (body,) = warehouse.parcels(
            context("2011-01-05", "2011-01-06"), sale(with_habit("whole"), (4, 1, 2), (3, 0, 3), (2, 2, 0))
        )
        assert units([body]) == [{1: 1}]

    @pytest.mark.parametrize("habit", ["2 parcels", "3 parcels", "two locations"])
    def test_parcels_add_up_to_the_order_whatever_the_ticks(self, habit: str) -> None:
        key = with_habit(habit)
        order = sale(key, (5, 0, 0), (1, 0, 0), (3, 0, 1))
        whole = list(warehouse.parcels(context("2011-01-05", "2011-01-20"), order))
        day, sent = at("2011-01-05"), []
        while day < at("2011-01-20"):
            for body in warehouse.parcels(context(f"{day:%Y-%m-%d}", f"{day + timedelta(days=1):%Y-%m-%d}"), order):
                sent.append(body)
                for line in body["Lines"]:
                    order["LineItems"][line["SalesOrderLineNo"] - 1]["QuantityShipped"] += line["Quantity"]
            day += timedelta(days=1)
        assert sent == whole
        assert len(sent) == len(warehouse.plan(key))
        assert [line["QuantityShipped"] for line in order["LineItems"]] == [5, 1, 2]
        assert len({body["ExternalReference"] for body in sent}) == len(sent)
        assert {body["LocationID"] for body in sent} == ({"MAIN", "WEST"} if habit == "two locations" else {"MAIN"})

    def test_what_was_there_too_late_goes_on_the_next_open_day(self) -> None:
        order = sale(with_habit("whole"), CreatedAt="2011-01-20T00:00:10Z")
        (body,) = warehouse.parcels(context("2011-01-20", "2011-01-21"), order)
        assert body["ShippedAt"].startswith("2011-01-20")

    def test_an_order_waits_until_its_last_change_and_the_marketplaces_own_never_go(self) -> None:
        found = {"changed": 0, "marketplace": 0}
        months = context("2011-01-04", "2011-03-01")
        for order, states in WORLD.order_histories(end=at("2011-01-10")):
            number = str(order.id)
            external = states[-1].document["DistributionCenterTypeRollup"] == "ExternallyManaged"
            body = sale(number, OrderDate=f"{order.invoice.at:%Y-%m-%dT%H:%M:%SZ}", CreatedAt="2011-01-04T00:00:00Z")
            if external:
                found["marketplace"] += 1
                assert list(warehouse.parcels(months, body)) == []
            elif len(states) > 1 and (last := months.settled_at(order.id)):
                found["changed"] += 1
                for parcel in warehouse.parcels(months, body):
                    assert moment(parcel["ShippedAt"]) > last
        assert min(found.values()) > 3

    def test_some_parcels_go_by_a_carrier_that_nobody_knows_and_some_without_tracking(self) -> None:
        months = context("2011-01-05", "2011-03-01")
        bodies = [next(iter(warehouse.parcels(months, sale(str(key))))) for key in range(600)]
        unknown = [body for body in bodies if body["Carrier"] == warehouse.UNKNOWN_CARRIER[0]]
        untracked = [body for body in bodies if body["TrackingNumber"] is None]
        assert 0 < len(unknown) < 30
        assert 10 < len(untracked) < 60

    def test_a_wrong_tracking_number_is_corrected_once_days_later(self) -> None:
        shipments = [
            {"ShipmentID": f"SH-{n}", "ExternalReference": f"WMS-{n}", "Source": "warehouse", "TrackingNumber": "X",
             "ShippedAt": "2011-01-05T10:00:00Z"}
            for n in range(200)
        ]  # fmt: skip
        systems: Any = {"channel_advisor": FakeControl(), "tims": FakeControl({"shipment": shipments})}
        days = [at("2011-01-05") + timedelta(days=n) for n in range(12)]
        counts = [
            warehouse.correct(ActorContext(WORLD, systems, day, day + timedelta(days=1), Path("nowhere")))
            for day in days
        ]
        assert 0 < sum(counts) < 15
        assert counts[0] == 0
        assert all(event["document"]["TrackingNumber"] != "X" for event in systems["tims"].reported)


def channel_order(number: int, *quantities: int, site: int = 641, **fields: Any) -> dict[str, Any]:
    """An order of Channel Advisor; its lines are 1, 2 and so on."""
    return {
        "ChannelAdvisorOrderID": number,
        "OrderID": f"203-{number}",
        "SiteID": site,
        "TaxRemittedBy": "Seller",
        "DistributionCenterTypeRollup": "SellerManaged",
        "ImportDate": "2011-01-06T10:00:00Z",
        "OrderItems": [{"OrderItemID": n, "Quantity": quantity} for n, quantity in enumerate(quantities, start=1)],
    } | fields


def tims_sale(number: int, *quantities: int, **fields: Any) -> dict[str, Any]:
    return {
        "SalesOrderID": f"SO-{number}",
        "ExternalOrderID": str(number),
        "ShippingAmount": "9.95",
        "ShippingDiscountAmount": "0.00",
        "ShippingTaxAmount": "0.15",
        "GiftWrapAmount": "2.50",
        "LineItems": [
            {"LineNo": n, "ExternalLineID": str(n), "SKU": f"S{n}", "KitParentSKU": None, "Quantity": quantity,
             "Price": "3.3333", "DiscountAmount": "1.00", "TaxAmount": "3.59"}
            for n, quantity in enumerate(quantities, start=1)
        ],
    } | fields  # fmt: skip


def reported(number: int, shipment: int, *items: tuple[int, int]) -> dict[str, Any]:
    """A shipment of Channel Advisor; an item is (line, units)."""
    return {
        "ChannelAdvisorOrderID": number,
        "ShipmentID": shipment,
        "CreatedDate": f"2011-01-07T00:00:{shipment:02d}Z",
        "Items": [{"OrderItemID": line, "Quantity": units} for line, units in items],
    }


class TestWorth:
    def test_parcels_add_up_to_the_order_in_whatever_parts_it_leaves(self) -> None:
        order, sale = channel_order(1, 3, 7), tims_sale(1, 3, 7)
        in_one = worth.parcels(order, [reported(1, 1, (1, 3), (2, 7))], sale)
        reports = [reported(1, 3, (2, 3)), reported(1, 1, (1, 1), (2, 2)), reported(1, 2, (2, 2), (1, 2))]
        in_three = worth.parcels(order, reports, sale)
        total = sum((part.total for _, parts in in_three for part in parts), worth.ZERO)
        assert total == sum((part.total for _, parts in in_one for part in parts), worth.ZERO)
        # 10.00 + 23.33 - 2.00 + 7.18 + 9.95 + 0.15 + 2.50
        assert total == Decimal("51.11")

    def test_tax_that_is_inside_is_told_apart_where_tims_has_no_order_too(self) -> None:
        money = dict.fromkeys(("DiscountAmount", "GiftWrapAmount"), None)
        order = channel_order(1, 2) | {
            "OrderTaxType": "InclusiveVat", "ShippingTaxType": "ExclusiveVat", "TotalTaxPrice": Decimal("4.00"),
            "TotalDiscount": None, "TotalShippingPrice": Decimal("6.00"), "TotalShippingTaxPrice": Decimal("1.20"),
        }  # fmt: skip
        price = {"SKU": "S1", "UnitPrice": Decimal("12.00"), "TaxAmount": Decimal("4.00")}
        order["OrderItems"] = [each | price | money for each in order["OrderItems"]]
        ((_, (part,)),) = worth.parcels(order, [reported(1, 1, (1, 2))], None)
        assert (part.principal, part.tax, part.shipping, part.shipping_tax) == tuple(
            map(Decimal, ("20.00", "4.00", "6.00", "1.20"))
        )
        assert part.total == Decimal("31.20")

    def test_a_kit_is_worth_its_parts(self) -> None:
        parts = tims_sale(1, 4, 2)["LineItems"]
        kit = [line | {"ExternalLineID": f"1:{line['SKU']}", "KitParentSKU": "KIT"} for line in parts]
        ((_, found),) = worth.parcels(channel_order(1, 2), [reported(1, 1, (1, 1))], tims_sale(1) | {"LineItems": kit})
        assert [(part.sku, part.units, part.principal) for part in found] == [
            ("KIT", 2, Decimal("6.67")),
            ("KIT", 1, Decimal("3.33")),
        ]

    @pytest.mark.parametrize("inside", [False, True], ids=["tax on top", "tax inside"])
    @pytest.mark.parametrize("case", range(40))
    def test_each_parcel_is_worth_its_invoice_to_the_cent(self, case: int, inside: bool) -> None:
        quantities = [chance.between(1, 9, "quantity", case, n) for n in range(3)]
        sale = tims_sale(1, *quantities, ShippingDiscountAmount="2.05", PricesIncludeTax=inside)
        for n, line in enumerate(sale["LineItems"]):
            line |= {
                "Price": f"{chance.between(15_000, 90_000, 'price', case, n) / 10_000:.4f}",
                "TaxRemittedBy": "Seller",
            }
        account = invoicing.Account(invoicing.Order.read(sale))
        left, due, taxes = list(quantities), [], []
        reports: list[dict[str, Any]] = []
        while any(left):
            units = [chance.between(0, most, "units", case, sum(left), n) for n, most in enumerate(left)]
            parcel = [(n, some) for n, some in enumerate(units, start=1) if some]
            if parcel:
                left = [most - some for most, some in zip(left, units, strict=True)]
                reports.append(reported(1, len(reports) + 1, *parcel))
                parts, charges = account.invoice(parcel)
                lines = sum(part.share.gross - part.share.discount for part in parts)
                tax = sum(part.share.tax for part in parts) + charges["ShippingTaxAmount"]
                rest = sum(charges.values()) - charges["ShippingTaxAmount"] - 2 * charges["ShippingDiscountAmount"]
                due.append(lines + rest + (0 if inside else tax))
                taxes.append(tax)
            else:
                case += 1000
        paid = [
            (sum(part.total for part in parts), sum(part.tax + part.shipping_tax for part in parts))
            for _, parts in worth.parcels(channel_order(1, *quantities), reports, sale)
        ]
        assert paid == [tuple(Decimal(cents).scaleb(-2) for cents in each) for each in zip(due, taxes, strict=True)]

    def test_nothing_is_paid_for_what_nobody_reported(self) -> None:
        assert worth.parcels(channel_order(1, 2), [], tims_sale(1, 2)) == []

    def test_cancelled_units_take_their_share_with_them(self) -> None:
        parcels = worth.parcels(channel_order(1, 3), [reported(1, 1, (1, 2))], tims_sale(1, 3))
        (part,) = parcels[0][1]
        assert (part.principal, part.discount, part.tax) == (Decimal("6.67"), Decimal("0.67"), Decimal("2.39"))


def account(source: str) -> payouts.Account:
    return next(each for each in payouts.ACCOUNTS if each.source == source)


def sales_rows(source: str, orders: int = 12, at_: str = "2011-01-08T09:00:00", **fields: Any) -> list[payouts.Row]:
    """Sales of one line each, all in the first half of January."""
    return [
        payouts.Row(
            at(at_), "Order", "ItemPrice", "Principal", Decimal(f"{20 + n}.50"), f"203-{n}", "S1", 1, tag=str(n)
        )
        for n in range(orders)
    ]


def read(source: str, made: payouts.Settlement) -> Any:
    """As whoever receives the file reads it."""
    _, content = flat_files.write(made)
    of = sources.of(source)
    return READERS[of.format](content, of)


class TestPayouts:
    def test_settlements_follow_each_other_to_the_second_and_are_paid_two_days_later(self) -> None:
        month = context("2011-01-03", "2011-02-12")
        for each in payouts.ACCOUNTS:
            periods = [payouts.period(month, each, n) for n in range(4)]
            assert all(a[1] == b[0] for a, b in pairwise(periods))
            assert periods[0][0] <= WORLD.start < periods[0][1]
        assert [list(payouts.due(month, each)) for each in payouts.ACCOUNTS] == [
            [0, 1],
            [0, 1, 2],
            [0, 1, 2],
            [0, 1, 2],
            [0, 1, 2],
        ]

    @pytest.mark.parametrize("source", [each.source for each in payouts.ACCOUNTS])
    def test_a_file_says_what_the_settlement_holds(self, source: str) -> None:
        found = payouts.settlement(
            context("2011-01-03", "2011-02-12"), account(source), 1, sales_rows(source, at_="2011-01-18T03:00:00")
        )
        statement = read(source, found)
        assert Decimal(statement.total) == found.total * 10_000
        assert int(statement.lines["Amount"].sum()) == statement.total
        assert (statement.settlement_id, statement.currency) == (found.id, found.account.site.currency)
        if source != "ebay_uk":
            assert (moment(statement.start), moment(statement.end)) == (found.start, found.end)
            assert len(statement.lines) == len(found.rows)

    def test_a_reserve_is_held_and_comes_back_in_the_next_one(self) -> None:
        month, rows = (
            context("2011-01-03", "2011-02-12"),
            [*sales_rows("amazon_us"), *sales_rows("amazon_us", at_="2011-01-20T09:00:00")],
        )
        first, second = (payouts.settlement(month, account("amazon_us"), n, rows) for n in (0, 1))
        held = [row.amount for row in first.rows if row.description == "Current Reserve Amount"]
        assert held[0] < 0
        assert [-row.amount for row in second.rows if row.description == "Previous Reserve Amount Balance"] == held

    def test_a_negative_settlement_is_carried_forward_and_charged(self) -> None:
        month = context("2011-01-03", "2011-02-12")
        rows = [
            *sales_rows("amazon_fr", at_="2011-01-12T09:00:00"),
            *sales_rows("amazon_fr", at_="2011-01-27T09:00:00"),
        ]
        first, second = (payouts.settlement(month, account("amazon_fr"), n, rows) for n in (1, 2))
        assert first.total == Decimal("-37.18")
        carried = {row.description: row.amount for row in second.rows if row.transaction == "other-transaction"}
        assert (carried["Payable to Amazon"], carried["Successful charge"]) == (Decimal("-37.18"), Decimal("37.18"))

    def test_two_orders_are_paid_a_little_less_and_one_is_nobodys(self) -> None:
        month = context("2011-01-03", "2011-02-12")
        rows = sales_rows("amazon_uk")
        found = payouts.settlement(month, account("amazon_uk"), 1, rows)
        paid = {row.order: row.amount for row in found.rows if row.description == "Principal"}
        assert sorted(row.amount - paid[row.order] for row in rows if row.amount != paid[row.order]) == [
            Decimal("0.01"),
            Decimal("3.00"),
        ]
        strangers = payouts.settlement(month, account("amazon_us"), 0, sales_rows("amazon_us")).rows
        assert {row.order for row in strangers} - {row.order for row in rows} == {"", payouts.UNKNOWN_ORDER}

    def test_two_units_may_be_two_equal_rows(self) -> None:
        part = worth.Part("S1", 2, Decimal("10.00"), tax=Decimal("2.00"))
        many = [
            list(payouts._sold(at("2011-01-08") + timedelta(hours=n), part, withheld=True, external=True))
            for n in range(12)
        ]
        assert any(rows.count(rows[0]) == 2 for rows in many)
        for rows in many:
            by_label: dict[str, Decimal] = defaultdict(Decimal)
            for row in rows:
                by_label[row.description] += row.amount
            assert by_label["Principal"] == 10
            assert by_label["Tax"] + by_label["MarketplaceFacilitatorTax-Principal"] == 0

    def test_a_file_appears_once_at_the_tick_that_passes_its_deposit(self, tmp_path: Path) -> None:
        held: Any = {
            "channel_advisor": {"order": [channel_order(1, 3)], "shipment": [reported(1, 1, (1, 3))]},
            "tims": {"order": [tims_sale(1, 3)]},
        }
        assert payouts.act(context("2011-01-20", "2011-01-21", tmp_path, **held)) == {"settlement files": 0}
        assert payouts.act(context("2011-01-21", "2011-01-22", tmp_path, **held)) == {"settlement files": 1}
        (file,) = tmp_path.rglob("*.txt")
        assert file.parent == tmp_path / "settlements" / "amazon_uk"
        file.parent.joinpath("done").mkdir()
        file.rename(file.parent / "done" / file.name)
        assert payouts.act(context("2011-01-21", "2011-01-22", tmp_path, **held)) == {"settlement files": 0}


class TestExpected:
    def test_it_counts_what_was_shipped_returned_and_paid_and_names_what_is_paid_otherwise(self) -> None:
        orders = [channel_order(n, n) for n in range(1, 9)]
        parcel = {"ExternalReference": "WMS-1", "Source": "warehouse", "Lines": [{"Quantity": 3}, {"Quantity": 4}]}
        back = {
            "ReturnID": 1, "RmaNumber": "C1", "ChannelAdvisorOrderID": 8, "Status": "Refunded", "Currency": "GBP",
            "RefundDate": "2011-01-10T10:00:00Z", "RefundTotal": Decimal("5.0000"),
            "Items": [{"OrderItemID": 1, "SKU": "S1", "Quantity": 1, "RefundAmount": Decimal("4.0000"),
                       "TaxRefund": Decimal("1.0000"), "ShippingRefund": Decimal("0.0000")}],
        }  # fmt: skip
        systems: Any = {
            "channel_advisor": FakeControl(
                {"order": orders, "shipment": [reported(n, n, (1, n)) for n in range(1, 9)], "return": [back]}
            ),
            "tims": FakeControl({"order": [tims_sale(n, n) for n in range(1, 9)], "shipment": [parcel]}),
        }
        found = expected(WORLD, systems, at("2011-02-01"))
        assert (found.parcels, found.units, found.returns) == (1, 7, {"Refunded": 1})
        assert found.refunded == {"GBP": Decimal("5.00")}
        assert sorted(found.differences.values()) == [Decimal("-3.00"), Decimal("-0.01")]
        worth_of_all = sum(
            (part.total for n, order in enumerate(orders, start=1)
             for _, parts in worth.parcels(order, [reported(n, n, (1, n))], tims_sale(n, n)) for part in parts),
            worth.ZERO,
        )  # fmt: skip
        assert found.paid == {"GBP": worth_of_all - Decimal("3.01") - Decimal("5.00")}
        assert [each.account.source for each in found.settlements] == ["amazon_uk"]
        assert found.deposited == {"GBP": found.settlements[0].total}
        assert found.write_offs > 50
        assert len(found.unusable) >= 3


class TestReturns:
    @pytest.fixture
    def invoice(self) -> Invoice:
        """Of a cancellation in the data: its first line is goods."""
        return next(i for i in WORLD.returns() if i.number == "C540097")

    def sold(self, invoice: Invoice, number: int, shipped: int) -> dict[str, Any]:
        """An order of these goods, ten units, of which so many have shipped."""
        item = {
            "OrderItemID": number, "SKU": invoice.lines[0].code, "Quantity": 10, "UnitPrice": Decimal("4.6500"),
            "TaxAmount": Decimal("3.0000"), "DiscountAmount": None, "ShippingAmount": None, "ShippingTaxAmount": None,
            "GiftWrapAmount": None, "QuantityShipped": shipped, "QuantityCancelled": 0,
        }  # fmt: skip
        empty = dict.fromkeys(("TotalTaxPrice", "TotalShippingPrice", "TotalShippingTaxPrice"))
        return empty | {
            "ChannelAdvisorOrderID": number, "SiteName": "Web Shop", "ProfileID": 1, "Currency": "GBP",
            "OrderStatus": "Shipped" if shipped else "New", "OrderItems": [item],
        }  # fmt: skip

    def number_before(self, invoice: Invoice) -> int:
        """Of an order of the world that was placed before."""
        return next(order.id for order in WORLD.orders(end=invoice.at))

    def opened(self, invoice: Invoice, *orders: dict[str, Any], **held: Any) -> list[dict[str, Any]]:
        """What Channel Advisor is told on the day of the cancellation."""
        day = context(
            f"{invoice.at:%Y-%m-%d}", f"{invoice.at + timedelta(days=1):%Y-%m-%d}",
            channel_advisor={"order": list(orders)} | held,
        )  # fmt: skip
        new_returns = returns.NewReturns(day)
        return [made | {"is_early": early} for made, early in new_returns.opened(invoice)]

    def test_a_cancellation_takes_back_what_was_sold_and_no_more(self, invoice: Invoice) -> None:
        order = self.sold(invoice, self.number_before(invoice), shipped=3)
        (made,) = self.opened(invoice, order)
        assert made["RmaNumber"] == invoice.number
        assert sum(item["Quantity"] for item in made["Items"]) <= min(3, -invoice.lines[0].quantity)
        assert all(item["RefundAmount"] <= Decimal("46.50") for item in made["Items"])
        assert not made["is_early"]

    def test_what_is_in_another_return_does_not_come_back_twice(self, invoice: Invoice) -> None:
        number = self.number_before(invoice)
        other = {
            "ReturnID": 1, "ChannelAdvisorOrderID": number, "Status": "Received", "RefundDate": None,
            "Items": [{"OrderItemID": number, "Quantity": 3}],
        }  # fmt: skip
        assert self.opened(invoice, self.sold(invoice, number, shipped=3), **{"return": [other]}) == []

    def test_what_nobody_bought_is_not_usable(self, invoice: Invoice) -> None:
        assert self.opened(invoice) == []
        counts = returns.unusable(context("2011-01-04", "2011-01-05"))
        until = [i for i in WORLD.returns() if i.at <= at("2011-01-05")]
        assert sum(counts.values()) == sum(len(i.lines) for i in until)

    def test_goods_come_in_before_anybody_decides(self, invoice: Invoice) -> None:
        number = self.number_before(invoice)
        order = self.sold(invoice, number, shipped=10)
        seen: set[str] = set()
        for n in range(60):
            opened = {
                "ReturnID": n, "ChannelAdvisorOrderID": number, "SellerAdjustmentID": None, "RmaNumber": f"C{n}",
                "Status": "NewRma", "CreatedDate": "2011-01-05T10:00:00Z", "RefundDate": None,
                "Items": [{"OrderItemID": number, "Quantity": 1}],
            }  # fmt: skip
            held: Any = {"channel_advisor": {"order": [order]}}
            assert returns.next_step(context("2011-01-05", "2011-01-06", **held), opened) is None
            step = returns.next_step(context("2011-01-20", "2011-01-21", **held), opened)
            assert step is not None
            name, changes = step
            seen.add(name)
            if name in ("received", "refunded"):
                assert [item["OrderItemID"] for item in changes["Items"]] == [number]
        assert seen >= {"received", "rejected"}

    def test_nobody_pays_for_what_has_not_come(self, invoice: Invoice) -> None:
        number = self.number_before(invoice)
        early = {
            "ReturnID": 1, "ChannelAdvisorOrderID": number, "SellerAdjustmentID": None, "RmaNumber": "C1",
            "Status": "NewRma", "CreatedDate": "2011-01-05T10:00:00Z", "RefundDate": None,
            "Items": [{"OrderItemID": number, "Quantity": 1}],
        }  # fmt: skip
        held: Any = {"channel_advisor": {"order": [self.sold(invoice, number, shipped=0)]}}
        assert returns.next_step(context("2011-01-20", "2011-01-21", **held), early) is None


class TestStock:
    def test_the_datas_write_offs_become_a_file_for_each_day(self, tmp_path: Path) -> None:
        stock.act(context("2011-01-04", "2011-01-08", tmp_path))
        files = sorted((tmp_path / "stock" / "warehouse").iterdir())
        assert files[0].name == "write-offs-2011-01-04.csv"
        for file in files:
            records = [
                msgspec.json.decode(each)
                for each in stock_files.read(inbox.File("warehouse", file.name, file.read_bytes(), at("2011-01-08")))
            ]
            assert all("RefusedFor" not in each for each in records)
            assert all(each["Quantity"] < 0 and each["Reference"].startswith("WO-") for each in records)
            assert all(each["OccurredAt"][:10] in file.name for each in records)
        units = {item["SKU"] for item in WORLD.catalogue.items if item["Type"] == "Inventory"}
        assert {each["SKU"] for each in records} <= units

    def test_nothing_is_written_twice(self, tmp_path: Path) -> None:
        first = stock.act(context("2011-01-04", "2011-01-08", tmp_path))
        assert first["write-offs"] > 5
        assert not +stock.act(context("2011-01-04", "2011-01-08", tmp_path))

    def test_the_marketplaces_ledger_reads_as_movements_of_its_own_stock(self, tmp_path: Path) -> None:
        stock.act(context("2011-01-04", "2011-02-10", tmp_path))
        files = sorted((tmp_path / "stock" / "amazon_uk").iterdir())
        assert len(files) == 5
        records = [
            msgspec.json.decode(each)
            for file in files
            for each in stock_files.read(inbox.File("amazon_uk", file.name, file.read_bytes(), at("2011-02-10")))
        ]
        assert all("RefusedFor" not in each for each in records)
        assert {each.get("Reason") for each in records} >= {"M", "F", "E"}
        assert {each["LocationID"] for each in records} == {"MARKETPLACE"}
