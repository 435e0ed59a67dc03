"""The worked example of the accounting through the real flows, to the cent: an order placed at the channel, shipped
from TIMS, invoiced, paid out and posted; then one unit refunded in full and restocked."""

from __future__ import annotations

import os
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from contract.tims_calls import item, on_hand
from crossdock import flows
from crossdock.flows import ledger
from crossdock.ledger.close import Closing, close
from crossdock.store.batches import Counts
from integration import builders
from integration.environment import Environment
from integration.ledger_env import CODES, lines_of

COLUMNS = (
    "settlement-id", "settlement-start-date", "settlement-end-date", "deposit-date", "total-amount", "currency",
    "transaction-type", "order-id", "merchant-order-id", "amount-type", "amount-description", "amount", "posted-date",
    "posted-date-time", "sku",
)  # fmt: skip
SOLD = [
    ("Order", "ItemPrice", "Principal", "100.00"),
    ("Order", "Promotion", "Principal", "-10.00"),
    ("Order", "ItemPrice", "Shipping", "8.00"),
    ("Order", "ItemPrice", "Tax", "6.75"),
    ("Order", "ItemPrice", "ShippingTax", "0.60"),
]
WITHHELD = ("Order", "ItemWithheldTax", "MarketplaceFacilitatorTax-Principal", "-7.35")
COMMISSION = ("Order", "ItemFees", "Commission", "-14.70")
REFUNDED = [("Refund", "ItemPrice", "Principal", "-50.00"), ("Refund", "Promotion", "Principal", "5.00"),
            ("Refund", "ItemPrice", "Tax", "-3.38")]  # fmt: skip
TAX_BACK = ("Refund", "ItemWithheldTax", "MarketplaceFacilitatorTax-Principal", "3.38")
FEES_BACK = [("Refund", "ItemFees", "Commission", "6.75"), ("Refund", "ItemFees", "RefundCommission", "-1.35")]
MONEY = ("payouts", "payments", *(flow.name for flow in ledger.FLOWS))
FIRST, SECOND, THIRD = ("2011-01-03", "2011-01-10"), ("2011-01-10", "2011-01-17"), ("2011-01-17", "2011-01-24")


class Example:
    """One order and what becomes of it."""

    def __init__(self, environment: Environment, inbox: Path, remitter: str) -> None:
        self.environment, self.inbox, self.remitter = environment, inbox, remitter
        for event in (item("LAMP", CurrencyCode="GBP"), on_hand("LAMP", MAIN=10)):
            builders.send(environment, "tims", event["kind"], event["document"])
        lamp = builders.line("LAMP", 2, "50.0000", DiscountAmount="10.00", TaxAmount="6.75")
        self.key = builders.place(
            environment, lamp, SiteName="Amazon UK", TaxRemittedBy=remitter, TotalShippingPrice=Decimal("8.00"),
            TotalShippingTaxPrice=Decimal("0.60"),
        )  # fmt: skip

    def receive_settlement(self, number: str, period: tuple[str, str], *lines: tuple[str, ...]) -> None:
        """A settlement file in the inbox; its total is the sum of its lines, of this order unless they name another."""
        start, end = period
        total = str(sum(Decimal(line[3]) for line in lines))
        header = [number, f"{start} 08:00:00 UTC", f"{end} 08:00:00 UTC", f"{end} 20:00:00 UTC", total, "GBP"]
        rows = [
            [number, *[""] * 5, kind, *(order or [f"T-{self.key}"]), "", group, words, amount, "",
             f"{start} 14:25:18 UTC", "LAMP"]
            for kind, group, words, amount, *order in lines
        ]  # fmt: skip
        file = self.inbox / "settlements" / "amazon_uk" / f"{number}.txt"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("".join("\t".join(row) + "\n" for row in (COLUMNS, [*header, *[""] * 9], *rows)))
        os.utime(file, (1_300_000_000, 1_300_000_000))  # nobody writes to it any more

    def give_one_back(self, tax: str) -> None:
        builders.send(self.environment, "channel_advisor", "return", {
            "ReturnID": 990_001, "ChannelAdvisorOrderID": int(self.key), "Status": "Received", "Currency": "GBP",
            "Reason": "CustomerReturnedItem", "Items": [{
                "OrderItemID": int(self.key) * 100 + 1, "SKU": "LAMP", "Quantity": 1, "RefundAmount": Decimal("45.00"),
                "TaxRefund": Decimal(tax), "ShippingRefund": Decimal(0), "Restock": True, "Condition": "Sellable",
            }],
        })  # fmt: skip

    def run(self, *names: str, **more: Any) -> Counts:
        """Flows of these names, one after another."""
        total = Counts()
        for name in names:
            builders.forward(self.environment, self.environment.now + timedelta(minutes=5))
            total += self.environment.sync(flow=name, **more)
        return total

    def entries(self) -> dict[str, list[str]]:
        return {entry["ExternalReference"]: lines_of(entry) for entry in self.environment.in_tims("gl/entries")}

    def balances(self) -> dict[str, str]:
        """TIMS's own trial balance; debit above 0."""
        with self.environment.runtime() as runtime:
            found = runtime.tims.get("gl/trial-balance", CurrencyCode="GBP", AsOf="2011-01-31")
        sums = {row["AccountCode"]: Decimal(row["Debit"]) - Decimal(row["Credit"]) for row in found["Lines"]}
        return {CODES[code]: str(amount) for code, amount in sums.items() if amount}

    def close(self) -> Closing:
        builders.forward(self.environment, self.environment.now + timedelta(minutes=5))
        with self.environment.runtime() as runtime:
            return close(runtime, "2011-01", wait=0)

    def execute(self, statement: str, **facts: Any) -> None:
        with self.environment.runtime() as runtime, runtime.engine.begin() as connection:
            connection.execute(sa.text(statement), facts)

    def id_of(self, path: str, field: str) -> str:
        (only,) = self.environment.in_tims(path)
        return only[field]


@pytest.fixture(params=["Marketplace", "Seller"])
def example(
    environment: Environment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> Example:
    monkeypatch.setenv("CROSSDOCK_INBOX", str(tmp_path / "inbox"))
    builders.forward(environment, environment.now.replace(year=2011, month=1, day=4, hour=9))
    return Example(environment, tmp_path / "inbox", request.param)


def posted(example: Example, before: dict[str, list[str]]) -> dict[str, list[str]]:
    return {key: lines for key, lines in example.entries().items() if key not in before}


def replayed(example: Example) -> None:
    """Replaying every flow over everything posts nothing, and every control holds."""
    before = example.entries()
    counts = example.run(*flows.order_to_cash(), kind="sweep", reprocess=True)
    assert (counts.delivered, counts.dead, counts.waiting) == (0, 0, 0)
    assert example.entries() == before
    assert [(one.name, one.subject, one.documents) for one in example.close().failed] == []


# Amounts of documents that agree with themselves and with the ledger, and the controls that find a cent in them.
CENTS = [
    ("UPDATE ref.sales_order SET payload = payload || jsonb_build_object('TotalAmount', "
     "((payload->>'TotalAmount')::numeric + :cent)::text)", "sales-orders", "SalesOrderID", "documents_as_sent"),
    ("UPDATE ref.invoice SET total = total + :cent", "ar/invoices", "InvoiceID", "documents_as_sent"),
    ("UPDATE ref.credit_memo SET total = total + :cent", "ar/credit-memos", "CreditMemoID",
     "documents_as_sent refunds_as_returned"),
    ("UPDATE ref.adjustment SET unit_cost = unit_cost + :cent", "inventory/adjustments", "AdjustmentID",
     "documents_as_sent returned_at_cost"),
]  # fmt: skip


def each_cent_is_found(example: Example) -> None:
    """An amount that is wrong in TIMS alone, or that we have sent wrong, is found and its document named."""
    for change, where, field, controls in CENTS:
        example.execute(change, cent=Decimal("0.01"))
        failed = {one.name: one.documents for one in example.close().failed}
        example.execute(change, cent=Decimal("-0.01"))
        for control in controls.split():
            assert example.id_of(where, field) in str(failed.get(control)), failed
    refund = "UPDATE stage.credit_memo SET refund_total = refund_total + :cent"
    example.execute(refund, cent=Decimal("0.01"))
    assert [one.documents[0][:13] for one in example.close().failed] == ["return 990001"]
    example.execute(refund, cent=Decimal("-0.01"))
    assert example.close().failed == []


def a_negative_settlement_comes_back_to_the_cent(example: Example, carried: str) -> None:
    """Crossdock takes what the marketplace says it carries, but a cent that was lost on the way is named."""
    total = Decimal(carried) - Decimal("0.01")
    example.receive_settlement("79", THIRD, ("other-transaction", "other-transaction", "Payable to Amazon", str(total)),
                   ("other-transaction", "other-transaction", "Successful charge", str(-total)))  # fmt: skip
    example.run(*MONEY)
    (failed,) = example.close().failed
    assert (failed.name, failed.documents) == ("settlement_carried", ("amazon_uk:79 after 78",))
    assert failed.difference == Decimal("-0.01")


@pytest.mark.slow
def test_the_worked_example_goes_from_the_order_to_the_ledger_to_the_cent(example: Example):
    seller = example.remitter == "Seller"
    assert example.run("orders").delivered == 1
    shipment = builders.ship(example.environment, example.key, {1: 2})
    assert example.run("shipments", "invoices").delivered == 2
    example.receive_settlement("77", FIRST, *SOLD, *([] if seller else [WITHHELD]), COMMISSION)
    assert example.run(*MONEY).dead == 0
    assert example.environment.letters() == {}
    invoice = example.id_of("ar/invoices", "InvoiceID")
    due, paid_out = ("105.35", "90.65") if seller else ("98.00", "83.30")
    tax = ["credit SalesTax 7.35"] if seller else []
    fee = f"fee:amazon_uk:77:{9 - seller}"  # rows of the file: a header and a summary come first
    first_half = example.entries()
    assert first_half == {
        f"sale:{invoice}": [f"debit Clearing {due}", "debit Promotions 10.00", "credit Revenue 100.00",
                            "credit ShippingRevenue 8.00", *tax],
        f"cogs:{invoice}": ["debit COGS 44.00", "credit Inventory 44.00"],
        fee: ["credit Clearing 14.70", "debit Commission 14.70"],
        "transfer:amazon_uk:77": [f"debit Bank {paid_out}", f"credit Clearing {paid_out}"],
    }  # fmt: skip
    assert example.balances() == {
        "Bank": paid_out, "Commission": "14.70", "Promotions": "10.00", "Revenue": "-100.00",
        "ShippingRevenue": "-8.00", "COGS": "44.00", "Inventory": "-44.00", **({"SalesTax": "-7.35"} if seller else {}),
    }, "Clearing ends at 0"  # fmt: skip
    with example.environment.runtime() as runtime:
        (at_the_channel,) = builders.at_the_channel(example.environment, example.key)
        assert at_the_channel["TrackingNumber"] == "GB123", shipment
        (paid,) = runtime.tims.find("ar/payments")
    assert (paid["Amount"], paid["Applications"][0]["InvoiceID"]) == (due, invoice)
    assert example.close().open_items == []

    example.give_one_back("3.38")
    example.receive_settlement("78", SECOND, *REFUNDED, *([] if seller else [TAX_BACK]), *FEES_BACK)
    assert example.run("returns", *MONEY).dead == 0
    assert example.environment.letters() == {}
    back, stock = (
        example.id_of("ar/credit-memos", "CreditMemoID"),
        example.id_of("inventory/adjustments", "AdjustmentID"),
    )
    refund, carried = ("48.38", "-42.98") if seller else ("45.00", "-39.60")
    tax = ["debit SalesTax 3.38"] if seller else []
    of_line = lambda number: f"fee:amazon_uk:78:{number - seller}"  # noqa: E731
    assert posted(example, first_half) == {
        f"refund:{back}": ["debit Returns 50.00", *tax, "credit Promotions 5.00", f"credit Clearing {refund}"],
        f"stock:{stock}": ["debit Inventory 22.00", "credit COGS 22.00"],
        of_line(7): ["debit Clearing 6.75", "credit Commission 6.75"],
        of_line(8): ["credit Clearing 1.35", "debit Commission 1.35"],
    }
    assert example.balances() == {
        "Bank": paid_out, "Clearing": carried, "Commission": "9.30", "Promotions": "5.00", "Revenue": "-100.00",
        "ShippingRevenue": "-8.00", "Returns": "50.00", "COGS": "22.00", "Inventory": "-22.00",
        **({"SalesTax": "-3.97"} if seller else {}),
    }, "the negative settlement is carried into the next one"  # fmt: skip
    assert [(one.kind, str(one.amount)) for one in example.close().open_items] == [
        ("carried to the next settlement", carried)
    ]
    replayed(example)
    each_cent_is_found(example)
    a_negative_settlement_comes_back_to_the_cent(example, carried)
