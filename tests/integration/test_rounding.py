"""Amounts that cannot be parted evenly, through the real flows from the order to the ledger: what a marketplace rounds
refund by refund, and currencies without decimals. Every document is whole, and every control holds."""

from __future__ import annotations

import os
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from contract.tims_calls import item, on_hand
from crossdock import flows
from crossdock.flows import ledger
from crossdock.ledger.close import close
from crossdock.store.batches import Counts
from integration import builders
from integration.environment import Environment, own_config
from integration.ledger_env import CODES, lines_of

MONEY = ("payouts", "payments", *(flow.name for flow in ledger.FLOWS))
COLUMNS = (
    "settlement-id", "settlement-start-date", "settlement-end-date", "deposit-date", "total-amount", "currency",
    "transaction-type", "order-id", "merchant-order-id", "amount-type", "amount-description", "amount", "posted-date",
    "posted-date-time", "sku",
)  # fmt: skip


class Trip:
    """One order and what becomes of it."""

    def __init__(self, environment: Environment, inbox: Path, currency: str) -> None:
        self.environment, self.inbox, self.currency = environment, inbox, currency
        for event in (item("LAMP", CurrencyCode="GBP"), on_hand("LAMP", MAIN=100)):
            builders.send(environment, "tims", event["kind"], event["document"])
        self.returns = 0

    def run(self, *names: str, **more: Any) -> Counts:
        """Flows of these names, one after another."""
        total = Counts()
        for name in names:
            builders.forward(self.environment, self.environment.now + timedelta(minutes=5))
            total += self.environment.sync(flow=name, **more)
        return total

    def give_back(self, key: str, **amounts: Any) -> None:
        self.returns += 1
        builders.send(self.environment, "channel_advisor", "return", {
            "ReturnID": 990_000 + self.returns, "ChannelAdvisorOrderID": int(key), "Status": "Received",
            "Currency": self.currency, "Reason": "CustomerReturnedItem", "Items": [{
                "OrderItemID": int(key) * 100 + 1, "SKU": "LAMP", "Quantity": 1, "TaxRefund": Decimal(0),
                "ShippingRefund": Decimal(0), "Restock": True, "Condition": "Sellable",
                **{name: Decimal(amount) for name, amount in amounts.items()},
            }],
        }, dirty=True)  # fmt: skip

    def receive_settlement(self, number: str, key: str, *lines: tuple[str, str, str, str]) -> None:
        """A settlement file in the inbox; its total is the sum of its lines."""
        start, end = "2011-01-03", "2011-01-10"
        total = str(sum(Decimal(line[-1]) for line in lines))
        header = [number, f"{start} 08:00:00 UTC", f"{end} 08:00:00 UTC", f"{end} 20:00:00 UTC", total, self.currency]
        rows = [
            [number, *[""] * 5, kind, f"T-{key}", "", group, words, amount, "", f"{start} 14:25:18 UTC", "LAMP"]
            for kind, group, words, amount in lines
        ]
        file = self.inbox / "settlements" / "amazon_uk" / f"{number}.txt"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("".join("\t".join(row) + "\n" for row in (COLUMNS, [*header, *[""] * 9], *rows)))
        os.utime(file, (1_300_000_000, 1_300_000_000))  # nobody writes to it any more

    def entries(self) -> dict[str, list[str]]:
        return {entry["ExternalReference"]: lines_of(entry) for entry in self.environment.in_tims("gl/entries")}

    def balances(self) -> dict[str, str]:
        """TIMS's own trial balance of the order's currency; debit above 0."""
        with self.environment.runtime() as runtime:
            found = runtime.tims.get("gl/trial-balance", CurrencyCode=self.currency, AsOf="2011-01-31")
        sums = {row["AccountCode"]: Decimal(row["Debit"]) - Decimal(row["Credit"]) for row in found["Lines"]}
        return {CODES[code]: str(amount) for code, amount in sums.items() if amount}

    def holds(self) -> None:
        """Every control holds, and replaying every flow over everything posts nothing."""
        before = self.entries()
        counts = self.run(*flows.order_to_cash(), kind="sweep", reprocess=True)
        assert (counts.delivered, counts.dead, counts.waiting) == (0, 0, 0)
        assert self.entries() == before
        builders.forward(self.environment, self.environment.now + timedelta(minutes=5))
        with self.environment.runtime() as runtime:
            assert [(one.name, one.subject, one.documents) for one in close(runtime, "2011-01", wait=0).failed] == []


@pytest.fixture
def trip(
    environment: Environment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> Trip:
    """The inbox and the configuration are the test's own: Amazon UK pays out in the currency of the test."""
    currency = getattr(request, "param", "GBP")
    config = tmp_path / "config"
    own_config(config)
    payouts = (config / "payouts.yaml").read_text()
    (config / "payouts.yaml").write_text(payouts.replace("currency: GBP", f"currency: {currency}"))
    with (config / "lookups" / "exchange_rates.csv").open("a") as rates:
        rates.write(f"{currency},2011-01-01,0.0077,\n")
    monkeypatch.setenv("CROSSDOCK_CONFIG_DIR", str(config))
    monkeypatch.setenv("CROSSDOCK_INBOX", str(tmp_path / "inbox"))
    builders.forward(environment, environment.now.replace(year=2011, month=1, day=4, hour=9))
    return Trip(environment, tmp_path / "inbox", currency)


@pytest.mark.slow
def test_three_refunds_of_one_unit_that_are_a_cent_above_the_tax_are_credited_restocked_paid_and_posted(trip: Trip):
    key = builders.place(trip.environment, builders.line("LAMP", 3, "14.9500", TaxAmount="3.59"), SiteName="Amazon UK")
    assert trip.run("orders").delivered == 1
    builders.ship(trip.environment, key, {1: 3})
    assert trip.run("shipments", "invoices").delivered == 2
    for _ in range(3):
        trip.give_back(key, RefundAmount="14.95", TaxRefund="1.20")
    trip.receive_settlement("77", key,
        ("Order", "ItemPrice", "Principal", "44.85"), ("Order", "ItemPrice", "Tax", "3.59"),
                *[("Refund", "ItemPrice", words, amount) for words, amount in
                  (("Principal", "-14.95"), ("Tax", "-1.20")) for _ in range(3)])  # fmt: skip
    assert trip.run("returns", *MONEY).dead == 0
    assert trip.environment.letters() == {}
    memos = trip.environment.in_tims("ar/credit-memos")
    assert [memo["Total"] for memo in memos] == ["16.15", "16.15", "16.14"]
    assert [memo["Balance"] for memo in memos] == ["0.00"] * 3
    assert "0.01 GBP more refunded than was left, to Rounding" in memos[2]["Memo"]
    assert sum(move["QuantityDelta"] for move in trip.environment.in_tims("inventory/adjustments")) == 3
    (rounding,) = [lines for name, lines in trip.entries().items() if name.startswith("round:")]
    assert rounding == ["debit Rounding 0.01", "credit Clearing 0.01"]
    assert trip.balances() == {"Clearing": "-0.01", "Revenue": "-44.85", "Returns": "44.85", "Rounding": "0.01"}
    with trip.environment.runtime() as runtime:
        (payment,) = runtime.tims.find("ar/payments")
    assert payment["Amount"] == "0.00"
    trip.holds()


@pytest.mark.slow
@pytest.mark.parametrize("trip", ["JPY"], indirect=True)
def test_three_lines_of_a_thousand_yen_in_two_parcels_are_invoiced_settled_refunded_and_posted_in_whole_yen(trip: Trip):
    lines = [builders.line("LAMP", 1, "1000.0000") for _ in range(3)]
    key = builders.place(
        trip.environment, *lines, SiteName="Amazon UK", Currency="JPY", TotalShippingPrice=Decimal("500.00")
    )
    assert trip.run("orders").delivered == 1
    builders.ship(trip.environment, key, {1: 1})
    builders.ship(trip.environment, key, {2: 1, 3: 1})
    assert trip.run("shipments", "invoices").delivered == 4
    assert sorted(one["Total"] for one in trip.environment.in_tims("ar/invoices")) == ["1167.00", "2333.00"]
    trip.give_back(key, RefundAmount="1000", ShippingRefund="167")
    trip.receive_settlement("77", key,
        ("Order", "ItemPrice", "Principal", "3000"), ("Order", "ItemPrice", "Shipping", "500"),
                ("Order", "ItemFees", "Commission", "-450"))  # fmt: skip
    assert trip.run("returns", *MONEY).dead == 0
    assert trip.environment.letters() == {}
    assert [one["Balance"] for one in trip.environment.in_tims("ar/invoices")] == ["0.00", "0.00"]
    (memo,) = trip.environment.in_tims("ar/credit-memos")
    assert (memo["Total"], memo["ShippingAmount"]) == ("1167.00", "167.00")
    assert trip.balances() == {
        "Bank": "3050.00", "Commission": "450.00", "Revenue": "-3000.00", "ShippingRevenue": "-500.00",
        "Returns": "1167.00", "Clearing": "-1167.00",
    }  # fmt: skip
    trip.holds()
