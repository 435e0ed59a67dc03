"""Order to cash as a whole: whatever happens in whatever order, on both systems and a real Postgres, all of it comes
out right to the cent, and a second time nothing comes of it.

The orders, parcels, returns and settlements of a random story are those of `Market`; what must be true afterwards is
worked out here from the two systems alone, and asked of the controls besides.
"""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import ROUND_DOWN, Decimal
from itertools import count
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import HealthCheck, Phase, given, note
from hypothesis import strategies as st

from crossdock import flows
from crossdock.ledger.close import close
from crossdock.ledger.controls import Control
from crossdock.steps.extract import extract
from crossdock.steps.transform import transform
from crossdock.store import batches, deliveries
from examples import examples
from integration.builders import ITEM, KIT, OTHER, forward, line, persist, place, sales_order, send, ship
from integration.environment import Environment, found_environment

CENT = Decimal("0.01")
NOTHING = Decimal("0.00")
HEADER = (
    "settlement-id", "settlement-start-date", "settlement-end-date", "deposit-date", "total-amount", "currency",
    "transaction-type", "order-id", "amount-type", "amount-description", "amount", "posted-date", "sku",
)  # fmt: skip
FAULTS = (
    ("tims", "error_after", {"path": "bulk"}),
    ("tims", "error_before", {"path": "bulk"}),
    ("tims", "cut_body", {"path": "bulk"}),
    ("tims", "bulk_partial", {"path": "bulk", "every": 2, "effect": True}),
    ("tims", "bulk_partial", {"path": "bulk", "every": 2}),
    ("tims", "truncated_json", {"path": "*", "method": "GET"}),
    ("channel_advisor", "error_after", {"path": "createShipments"}),
    ("channel_advisor", "error_after", {"path": "resolveReturn"}),
    ("channel_advisor", "cut_body", {"path": "resolveReturn"}),
    ("channel_advisor", "denied_200", {"path": "*"}),
)
DEATHS = (
    "before transform",
    "before check",
    "deliveries.begin",
    "deliveries.end",
    "deliveries.link",
    "batches.recount",
)


class Killed(BaseException):
    """What a task that is killed leaves behind: nothing after this."""


@dataclass
class Market:
    """A shop's trade, one act at a time; `orders` by their number, with their lines as last told."""

    environment: Environment
    orders: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    returned: Counter[int] = field(default_factory=Counter)  # units by order item
    settled: set[str] = field(default_factory=set)  # invoices and returns that a settlement has paid
    paid: dict[str, Decimal] = field(default_factory=lambda: defaultdict(Decimal))  # by order, as settlements say
    last: tuple[datetime, Decimal] | None = None  # end and balance of the newest settlement
    closed: bool = False  # the period of today
    numbers: Iterator[int] = field(default_factory=lambda: count(1))

    # ---- the pipeline ----

    def run(self, flow: str, **more: Any) -> int:
        """A flow until its transient troubles have passed; how much it delivered."""
        forward(self.environment, self.environment.now + timedelta(seconds=10))
        return persist(self.environment, flow, f"run-{next(self.numbers)}", **more).delivered

    def rest(self) -> None:
        """All flows in turn, until each has run since the last one that found anything, and found nothing."""
        self.environment.clear_faults()
        names, quiet = [*flows.order_to_cash()], 0
        for flow in names * 6:
            quiet = 0 if self.run(flow) else quiet + 1
            if quiet == len(names):
                return
        raise AssertionError("the flows do not come to rest")

    def die(self, flow: str, death: str) -> None:
        """A run of a flow that is killed at some place, and the try after it."""
        forward(self.environment, self.environment.now + timedelta(seconds=10))
        chosen, run_id = flows.get(flow), f"killed-{next(self.numbers)}"
        with self.environment.runtime() as runtime:
            if death.startswith("before"):
                ids = extract(runtime, chosen, run_id=run_id)
                if death == "before check" and ids:
                    transform(runtime, chosen, ids[0])
            else:
                module, name = death.split(".")
                place = {"deliveries": deliveries, "batches": batches}[module]
                with patch.object(place, name, side_effect=Killed):
                    try:
                        persist(self.environment, flow, run_id)
                    except Killed:
                        note(f"{flow} died in {death}")
        persist(self.environment, flow, run_id)

    # ---- people ----

    def order(self, lines: list[tuple[str, int, Decimal, Decimal, Decimal, Decimal]], tax_by: str) -> None:
        """Lines of (SKU, units, price, discount, tax, shipping)."""
        stated = [
            line(sku, units, str(price), DiscountAmount=str(less), TaxAmount=str(tax), ShippingAmount=str(postage))
            for sku, units, price, less, tax, postage in lines
        ]
        key = place(self.environment, *stated, TaxRemittedBy=tax_by)
        self.orders[key] = [{**each, "OrderItemID": int(key) * 100 + n} for n, each in enumerate(stated, 1)]
        self.run("orders")

    def change(self, key: str, number: int, units: int) -> None:
        """More or fewer units of a line of which nothing was sent yet."""
        held = sales_order(self.environment, key)
        if held["OrderStatus"] not in ("Open", "Allocated") or any(
            each["QuantityCancelled"] for each in held["LineItems"]
        ):
            return
        items = self.orders[key]
        item = items[number % len(items)]
        before = item["UnitPrice"] * item["Quantity"]
        item["Quantity"] = units
        channel = self.at_the_channel()[key]
        total = channel["TotalPrice"] + item["UnitPrice"] * units - before
        if total <= 0 or item["UnitPrice"] * units < (item["DiscountAmount"] or 0):
            return
        self._change(
            key, {"TotalPrice": total, "OrderItems": [{"OrderItemID": item["OrderItemID"], "Quantity": units}]}
        )

    def cancel(self, key: str, number: int, units: int) -> None:
        """Units of a line that were not sent yet."""
        items = self.orders[key]
        item = items[number % len(items)]
        held = self._line(key, item["SKU"])
        open_units = held["Quantity"] - held["QuantityShipped"] - held["QuantityCancelled"] if held else 0
        units = min(units, open_units)
        if units < 1:
            return
        item["QuantityCancelled"] += units
        whole = all(each["QuantityCancelled"] == each["Quantity"] for each in items)
        change = {"OrderItemID": item["OrderItemID"], "QuantityCancelled": item["QuantityCancelled"]}
        self._change(key, {"OrderItems": [change]} | ({"OrderStatus": "Cancelled"} if whole else {}))

    def _change(self, key: str, changes: dict[str, Any]) -> None:
        document = {"ChannelAdvisorOrderID": int(key), "changes": changes}
        send(self.environment, "channel_advisor", "order_change", document, dirty=True)
        self.run("orders")

    def _line(self, key: str, sku: str) -> dict[str, Any] | None:
        """The line of the order in TIMS; none of a kit, whose parts are the lines there."""
        return next((one for one in sales_order(self.environment, key)["LineItems"] if one["SKU"] == sku), None)

    def send(self, key: str, most: int) -> None:
        """A parcel with at most so many units of each line; kits leave whole. TIMS takes none in a closed period."""
        if self.closed:
            return
        parcel = {}
        for each in sales_order(self.environment, key)["LineItems"]:
            open_units = each["Quantity"] - each["QuantityShipped"] - each["QuantityCancelled"]
            parcel[each["LineNo"]] = open_units if each.get("KitParentSKU") else min(open_units, most)
        parcel = {number: units for number, units in parcel.items() if units}
        if parcel:
            ship(self.environment, key, parcel)

    def give_back(self, key: str, number: int, units: int, way: str) -> None:
        """Units of a line that were sent: refunded in full, with or without the goods; or the goods alone."""
        items = self.orders[key]
        item = items[number % len(items)]
        held = self._line(key, item["SKU"])
        sent = held["QuantityShipped"] if held else 0
        done = self.returned[item["OrderItemID"]]
        units = min(units, sent - done)
        if units < 1:
            return
        self.returned[item["OrderItemID"]] += units

        def share(amount: Decimal) -> Decimal:
            """What so many units add to what was refunded before."""
            before, after = ((amount * n / item["Quantity"]).quantize(CENT, ROUND_DOWN) for n in (done, done + units))
            return after - before

        money = way != "goods alone"
        goods = item["UnitPrice"] * item["Quantity"] - (item["DiscountAmount"] or 0)
        send(self.environment, "channel_advisor", "return", {
            "ReturnID": 8_000_000 + next(_returns), "ChannelAdvisorOrderID": int(key), "Status": "Received",
            "Currency": "GBP", "Reason": "CustomerReturnedItem",
            "Items": [{
                "OrderItemID": item["OrderItemID"], "SKU": item["SKU"], "Quantity": units,
                "RefundAmount": share(goods) if money else NOTHING,
                "TaxRefund": share(item["TaxAmount"] or NOTHING) if money else NOTHING, "ShippingRefund": NOTHING,
                "Restock": way not in ("money alone",), "Condition": "Damaged" if way == "damaged" else "Sellable",
            }],
        }, dirty=True)  # fmt: skip

    def pay_out(self, cents: int, fees: int) -> None:
        """A settlement of all that was invoiced and refunded since the last; off by some cents on its first order."""
        rows: list[tuple[str, str, str, str, Decimal]] = []
        for one in self.environment.in_tims("ar/invoices"):
            if one["InvoiceID"] not in self.settled and one["Status"] != "Voided":
                self.settled.add(one["InvoiceID"])
                tax = Decimal(one["MarketplaceRemittedTax"])
                rows.append(
                    ("Order", self._number(one["SalesOrderID"]), "ItemPrice", "Principal", Decimal(one["Total"]))
                )
                if tax:
                    rows.append((*rows[-1][:3], "Tax", tax))
                    rows.append((*rows[-1][:2], "ItemWithheldTax", "MarketplaceFacilitatorTax-Principal", -tax))
        for back in self.environment.channel_advisor.documents("return", status=["Refunded"]):
            if str(back["ReturnID"]) not in self.settled and back["RefundTotal"]:
                self.settled.add(str(back["ReturnID"]))
                number = f"T-{back['ChannelAdvisorOrderID']}"
                tax = sum(each["TaxRefund"] for each in back["Items"])
                rows.append(("Refund", number, "ItemPrice", "Principal", tax - back["RefundTotal"]))
                if tax and self._withheld(str(back["ChannelAdvisorOrderID"])):
                    rows.append(("Refund", number, "ItemPrice", "Tax", -tax))
                    rows.append(("Refund", number, "ItemWithheldTax", "MarketplaceFacilitatorTax-Principal", tax))
                elif tax:
                    rows.append(("Refund", number, "ItemPrice", "Tax", -tax))
        if rows and rows[0][0] == "Order" and rows[0][4] > 1:
            rows[0] = (*rows[0][:4], rows[0][4] + cents * CENT)
        for kind, number, *_, amount in rows:
            assert kind in ("Order", "Refund")
            self.paid[number] += amount
        rows += [("Order", number, "ItemFees", "Commission", -CENT * fees) for number in {row[1] for row in rows}]
        rows.append(("ServiceFee", "", "Cost of Advertising", "TransactionTotalAmount", -CENT * 7 * fees))
        self._deposit(rows)

    def _deposit(self, rows: list[tuple[str, str, str, str, Decimal]]) -> None:
        start, carried = self.last or (self.environment.now - timedelta(days=1), NOTHING)
        if carried:
            rows.append(("other-transaction", "", "other-transaction", "Payable to Amazon", carried))
        forward(self.environment, self.environment.now.replace(microsecond=0) + timedelta(minutes=1))
        end, total = self.environment.now, sum((row[4] for row in rows), NOTHING)
        self.last = end, min(total, NOTHING)
        number, written = f"9{int(end.timestamp())}", "%d/%m/%Y %H:%M:%S UTC"
        header = [number, start.strftime(written), end.strftime(written), end.strftime(written), str(total), "GBP"]
        table = [list(HEADER), header + [""] * 7] + [
            [number, *[""] * 5, *row[:4], str(row[4]), (end - timedelta(seconds=1)).strftime(written), ITEM]
            for row in rows
        ]
        assert self.environment.inbox
        folder = self.environment.inbox / "settlements" / "amazon_uk"
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{number}.txt"
        path.write_text("".join("\t".join(each) + "\n" for each in table), encoding="utf-8")
        os.utime(path, (1_300_000_000, 1_300_000_000))  # nobody writes to it any more

    def _number(self, sales_order_id: str) -> str:
        (found,) = [one for one in self.environment.in_tims() if one["SalesOrderID"] == sales_order_id]
        return f"T-{found['ExternalOrderID']}"

    def _withheld(self, key: str) -> bool:
        return all(each["TaxRemittedBy"] == "Marketplace" for each in sales_order(self.environment, key)["LineItems"])

    def period(self, status: str) -> None:
        self.closed = status != "Open"
        send(self.environment, "tims", "period", {"Period": f"{self.environment.now:%Y-%m}", "Status": status})

    # ---- what must be true ----

    def failed_controls(self) -> list[Control]:
        forward(self.environment, self.environment.now + timedelta(seconds=10))
        with self.environment.runtime() as runtime:
            return close(runtime, "2011-12", wait=0).failed

    def open_items_off(self) -> Decimal:
        """Clearing less all that is open."""
        with self.environment.runtime() as runtime:
            closing = close(runtime, "2011-12", wait=0)
        clearing = sum(one.debit - one.credit for one in closing.balances if one.account == "1100")
        return clearing - sum(one.amount for one in closing.open_items)

    def posted(self) -> dict[str, Any]:
        """How much there is of each document in TIMS, and the ledger's balances."""
        kinds = ("sales-orders", "shipments", "ar/invoices", "ar/credit-memos", "inventory/adjustments", "ar/payments",
                 "gl/entries")  # fmt: skip
        with self.environment.runtime() as runtime:
            balances = runtime.tims.get("gl/trial-balance", AsOf="2011-12-31", CurrencyCode="GBP")["Lines"]
        return {kind: len(self.environment.in_tims(kind)) for kind in kinds} | {"balances": balances}

    def at_the_channel(self) -> dict[str, dict[str, Any]]:
        """The orders as the channel holds them, by their number."""
        return {str(one["ChannelAdvisorOrderID"]): one for one in self.environment.channel_advisor.documents("order")}

    def differences(self) -> list[str]:
        """What does not agree between the two systems, told from what they hold alone. [] is good."""
        held = {one["ExternalOrderID"]: one for one in self.environment.in_tims()}
        parcels, invoices, memos = (
            by(self.environment.in_tims(path), "SalesOrderID")
            for path in ("shipments", "ar/invoices", "ar/credit-memos")
        )
        applied: dict[str, Decimal] = defaultdict(Decimal)
        paid: dict[str, Decimal] = defaultdict(Decimal)  # by the marketplace's number of the order
        for payment in self.environment.in_tims("ar/payments"):
            paid[payment["ExternalReference"].rpartition(":")[2]] += Decimal(payment["Amount"])
            for each in payment["Applications"]:
                applied[each.get("InvoiceID") or each["CreditMemoID"]] += Decimal(each["Amount"])
        adjustments = self.environment.in_tims("inventory/adjustments")
        reported = by(self.environment.channel_advisor.documents("shipment"), "ChannelAdvisorOrderID")
        found = []
        told_of = self.at_the_channel()
        assert set(self.orders) <= set(told_of)
        for key, order in ((key, told_of[key]) for key in self.orders):
            if key not in held:
                found.append(f"order {key} is not in TIMS")
                continue
            sold = held[key]
            number = sold["SalesOrderID"]
            most = Decimal("0.005") * len(order["OrderItems"])  # unit prices of four places, rounded once a line
            if abs(Decimal(sold["TotalAmount"]) - order["TotalPrice"]) >= most:
                found.append(f"total of {key}: {sold['TotalAmount']} is not {order['TotalPrice']}")
            sent = units(parcels[number], "SalesOrderLineNo")
            same(
                found,
                f"units sent of {key}",
                {n["LineNo"]: n["QuantityShipped"] for n in sold["LineItems"] if n["QuantityShipped"]},
                sent,
            )
            stated = Counter[str]()
            for each in reported[order["ChannelAdvisorOrderID"]]:
                stated.update({item["SKU"]: item["Quantity"] for item in each["Items"]})
            plain = Counter[str]()
            for each in sold["LineItems"]:
                if not each.get("KitParentSKU"):
                    plain[each["SKU"]] += each["QuantityShipped"]
            same(
                found,
                f"units told to the channel of {key}",
                {k: v for k, v in stated.items() if k != KIT},
                dict(+plain),
            )
            alive = [one for one in invoices[number] if one["Status"] != "Voided"]
            same(
                found,
                f"invoices of {key}",
                sorted(one["ShipmentID"] for one in alive),
                sorted(one["ShipmentID"] for one in parcels[number]),
            )
            same(found, f"units invoiced of {key}", units(alive, "SalesOrderLineNo"), sent)
            withheld = sum((Decimal(one["MarketplaceRemittedTax"]) for one in alive), NOTHING)
            if sent == {n["LineNo"]: n["Quantity"] for n in sold["LineItems"]}:
                same(
                    found,
                    f"amount invoiced of {key}",
                    sum(Decimal(one["Total"]) for one in alive) + withheld,
                    Decimal(sold["TotalAmount"]),
                )
            for one in alive + memos[number]:
                name = one.get("CreditMemoID") or one["InvoiceID"]
                same(found, f"balance of {name}", Decimal(one["Total"]) - abs(applied[name]), Decimal(one["Balance"]))
            got, output = paid[f"T-{key}"], self.paid.get(f"T-{key}", NOTHING)
            if abs(got - output) > CENT * 5:
                found.append(f"{key} is paid {got} in TIMS, {output} by its settlements")
        for back in self.environment.channel_advisor.documents("return"):
            key, order_key = str(back["ReturnID"]), str(back["ChannelAdvisorOrderID"])
            if order_key not in self.orders:
                continue
            same(found, f"status of return {key}", back["Status"], "Refunded")
            mine = [
                one
                for one in memos[held[order_key]["SalesOrderID"]]
                if one["ExternalReference"].startswith(f"cm:{key}:")
            ]
            remitted = sum((Decimal(one["MarketplaceRemittedTax"]) for one in mine), NOTHING)
            same(
                found,
                f"credited for return {key}",
                sum((Decimal(one["Total"]) for one in mine), NOTHING) + remitted,
                back["RefundTotal"],
            )
            (item,) = back["Items"]
            stock = sum(
                one["QuantityDelta"] for one in adjustments if f"{one['ExternalReference']}:".startswith(f"ret:{key}:")
            )
            sellable = item["Restock"] and item["Condition"] == "Sellable"
            same(found, f"restocked for return {key}", stock, item["Quantity"] if sellable else 0)
        return found


_returns = count(1)


def by(rows: list[dict[str, Any]], name: str) -> dict[Any, list[dict[str, Any]]]:
    found: dict[Any, list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        found[row.get(name)].append(row)
    return found


def units(documents: list[dict[str, Any]], name: str) -> dict[int, int]:
    found: Counter[int] = Counter()
    for document in documents:
        for each in document["Lines"]:
            found[each[name]] += each["Quantity"]
    return dict(found)


def same(found: list[str], what: str, one: Any, other: Any) -> None:
    if one != other:
        found.append(f"{what}: {one} is not {other}")


# ---- random stories --------------------------------------------------------------------------------------------------

which = st.integers(0, 5)
few = st.integers(1, 3)
money = st.integers(0, 400).map(lambda cents: Decimal(cents) / 100)


@st.composite
def orders(draw: st.DrawFn) -> tuple[str, tuple]:
    """One to three lines, with amounts that no number of units divides, and who remits the tax."""
    lines = []
    for sku in draw(st.lists(st.sampled_from([ITEM, OTHER, KIT]), min_size=1, max_size=3, unique=True)):
        price, units = Decimal(draw(st.integers(50_000, 250_000))) / 10_000, draw(st.integers(1, 4))
        lines.append((sku, units, price, draw(money), draw(money), draw(money)))
    return "order", (lines, draw(st.sampled_from(["Seller", "Marketplace"])))


ACTS = st.one_of(
    st.tuples(st.just("send"), st.tuples(which, few)),
    st.tuples(st.just("send"), st.tuples(which, st.just(9))),
    st.tuples(st.just("change"), st.tuples(which, which, few)),
    st.tuples(st.just("cancel"), st.tuples(which, which, few)),
    st.tuples(st.just("give_back"), st.tuples(
        which, which, few, st.sampled_from(["whole", "whole", "damaged", "money alone", "goods alone"]))),
    st.tuples(st.just("pay_out"), st.tuples(st.sampled_from([-1, 0, 1]), st.integers(0, 900))),
    st.tuples(st.just("run"), st.tuples(st.sampled_from(list(flows.order_to_cash())))),
    st.tuples(st.just("replay"), st.tuples(st.sampled_from(list(flows.order_to_cash())))),
    st.tuples(st.just("fault"), st.tuples(st.sampled_from(FAULTS), st.integers(0, 3), st.integers(1, 3))),
    st.tuples(st.just("die"), st.tuples(st.sampled_from(list(flows.order_to_cash())), st.sampled_from(DEATHS))),
    st.tuples(st.just("period"), st.tuples(st.sampled_from(["SoftClosed", "Open"]))),
    )  # fmt: skip


USUAL = (
    ("send", (0, 1)), ("send", (0, 9)), ("send", (1, 9)), ("send", (2, 2)), ("run", ("invoices",)), ("rest", ()),
    ("give_back", (0, 0, 1, "whole")), ("give_back", (1, 1, 1, "damaged")), ("give_back", (0, 0, 2, "money alone")),
    ("cancel", (2, 0, 1)), ("pay_out", (1, 99)), ("pay_out", (0, 1)),
)  # fmt: skip


@st.composite
def stories(draw: st.DrawFn) -> list[tuple[str, tuple]]:
    """Three orders; what usually becomes of them, in any order; and whatever else happens meanwhile."""
    first = [draw(orders()) for _ in range(3)]
    more = draw(st.lists(st.one_of(ACTS, ACTS, ACTS, orders()), min_size=4, max_size=12))
    return first + draw(st.permutations([*USUAL, *more]))


def play(market: Market, story: list[tuple[str, tuple]]) -> None:
    """The story's acts; those of an order are about one of this story."""
    before = set(market.orders)
    market.period("Open")
    for act, facts in story:
        note(f"{act} {facts}")
        mine = [key for key in market.orders if key not in before]
        match act:
            case "order":
                market.order(*facts)
            case "send" | "change" | "cancel" | "give_back":
                getattr(market, act)(mine[facts[0] % len(mine)], *facts[1:])
            case "replay":
                market.run(*facts, kind="backfill", reprocess=True)
            case "fault":
                (system, kind, rule), after, times = facts
                market.environment.fault(system, kind, **rule, after=after, times=times)
            case _:
                getattr(market, act)(*facts)
    market.period("Open")


@pytest.fixture(scope="module")
def market(postgres_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Market]:
    with found_environment(postgres_url, "order_to_cash", tmp_path_factory.mktemp("environment")) as environment:
        environment.inbox = tmp_path_factory.mktemp("inbox")
        forward(environment, environment.now + timedelta(days=1, hours=10))
        yield Market(environment)


@pytest.mark.slow
@pytest.mark.timeout(3600)  # many examples, when asked for
@examples(
    2,
    phases=[Phase.explicit, Phase.generate],
    report_multiple_bugs=False,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example],
)
@given(stories())
@pytest.mark.timeout(900)  # two whole stories, on a machine that may be busy
def test_whatever_happens_the_controls_hold_both_systems_agree_and_a_replay_posts_nothing(market: Market, story):
    play(market, story)
    market.rest()
    market.pay_out(0, 1)
    market.rest()
    environment = market.environment
    assert {key: letter.reasons for key, letter in environment.letters().items()} == {}
    found = market.differences()
    assert not found, "\n".join(found)
    assert [(one.name, one.subject, one.expected, one.actual, one.documents) for one in market.failed_controls()] == []
    assert market.open_items_off() == 0
    posted = market.posted()
    delivered = {flow: market.run(flow, kind="backfill", reprocess=True) for flow in flows.order_to_cash()}
    assert {flow: number for flow, number in delivered.items() if number} == {}
    assert market.posted() == posted
    assert environment.query("SELECT key FROM ops.delivery WHERE outcome IN ('sent', 'unknown')") == []
