"""Orders whose prices hold their tax, told by the channel or by a rule alone, from the order to the payout and the
ledger: two part shipments, a cancelled unit, a refund, everything to the cent."""

from __future__ import annotations

import shutil
from decimal import Decimal
from pathlib import Path

import pytest

from contract.tims_calls import item, kit, on_hand
from crossdock import flows
from crossdock.settings import config_dir
from crossdock.watch.reconcile import reconcile
from integration import builders
from integration.environment import Environment
from integration.test_worked_example import FIRST, MONEY, Example

pytestmark = pytest.mark.slow

INSIDE = dict.fromkeys(("OrderTaxType", "ShippingTaxType", "GiftOptionsTaxType"), "InclusiveVat")
RULE = "641,GB,,2011-01-01,20,\n"


class Shop(Example):
    """Two orders of four at 12.00, 6.00 of shipping, a sixth of it all VAT: one that says so, one that does not."""

    def __init__(self, environment: Environment, inbox: Path) -> None:
        super().__init__(environment, inbox, "Seller")
        shipping = {"TotalShippingPrice": Decimal("6.00")}
        self.reported = builders.place(
            environment, builders.line("LAMP", 4, "12.0000", TaxAmount="8.00"),
            TotalShippingTaxPrice=Decimal("1.00"), **shipping, **INSIDE,
        )  # fmt: skip
        self.silent = builders.place(environment, builders.line("LAMP", 4, "12.0000"), **shipping)

    @property
    def keys(self) -> tuple[str, str]:
        return self.reported, self.silent

    def cancel_one(self, key: str) -> None:
        item = {"OrderItemID": int(key) * 100 + 1, "QuantityCancelled": 1}
        changes = {"ChannelAdvisorOrderID": int(key), "changes": {"OrderItems": [item]}}
        builders.send(self.environment, "channel_advisor", "order_change", changes)

    def refund(self, key: str, number: int, goods: str, tax: str) -> None:
        """Half the price of a unit, which stays where it is."""
        builders.send(self.environment, "channel_advisor", "return", {
            "ReturnID": number, "ChannelAdvisorOrderID": int(key), "Status": "Received", "Currency": "GBP",
            "Reason": "GeneralAdjustment", "Items": [{
                "OrderItemID": int(key) * 100 + 1, "SKU": "LAMP", "Quantity": 0, "RefundAmount": Decimal(goods),
                "TaxRefund": Decimal(tax), "ShippingRefund": Decimal(0), "Restock": False, "Condition": None,
            }],
        })  # fmt: skip

    def of(self, path: str, key: str) -> list[dict]:
        """Documents in TIMS of the order."""
        order = builders.sales_order(self.environment, key)["SalesOrderID"]
        return [each for each in self.environment.in_tims(path) if each.get("SalesOrderID") == order]


@pytest.fixture
def shop(environment: Environment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shop:
    config = shutil.copytree(config_dir(), tmp_path / "config")
    with (config / "lookups" / "taxes.csv").open("a") as table:
        table.write(RULE)
    monkeypatch.setenv("CROSSDOCK_CONFIG_DIR", str(config))
    monkeypatch.setenv("CROSSDOCK_INBOX", str(tmp_path / "inbox"))
    builders.forward(environment, environment.now.replace(year=2011, month=1, day=4, hour=9))
    return Shop(environment, tmp_path / "inbox")


def test_an_inclusive_order_goes_from_the_order_to_the_ledger_to_the_cent(shop: Shop):
    shop.run("orders")
    for key in shop.keys:
        order = builders.sales_order(shop.environment, key)
        assert (order["PricesIncludeTax"], order["TotalAmount"], order["TaxTotal"]) == (True, "54.00", "9.00")
        builders.ship(shop.environment, key, {1: 1})
    shop.run("shipments", "invoices")
    for key in shop.keys:
        shop.cancel_one(key)
    shop.run("orders")
    for key in shop.keys:
        builders.ship(shop.environment, key, {1: 2})
    shop.run("shipments", "invoices")
    shop.refund(shop.reported, 990_001, "5.00", "1.00")
    shop.refund(shop.silent, 990_002, "6.00", "0.00")
    shop.run("returns")
    shop.receive_settlement("77", FIRST, *(
        (kind, "ItemPrice", "Principal", amount, f"T-{key}")
        for key in shop.keys for kind, amount in (("Order", "40.50"), ("Refund", "-6.00"))
    ))  # fmt: skip
    assert shop.run(*MONEY).dead == 0
    assert shop.environment.letters() == {}
    entries = shop.entries()
    for key in shop.keys:
        first, second = sorted(shop.of("ar/invoices", key), key=lambda one: one["InvoiceID"])
        (memo,) = shop.of("ar/credit-memos", key)
        for document, total, tax in ((first, "13.50", "2.25"), (second, "27.00", "4.50"), (memo, "6.00", "1.00")):
            assert (document["PricesIncludeTax"], document["Total"], document["TaxTotal"]) == (True, total, tax)
            assert document["Balance"] == "0.00"
        assert entries[f"sale:{first['InvoiceID']}"] == [
            "debit Clearing 13.50", "credit Revenue 10.00", "credit ShippingRevenue 1.25", "credit SalesTax 2.25",
        ]  # fmt: skip
        assert entries[f"sale:{second['InvoiceID']}"] == [
            "debit Clearing 27.00", "credit Revenue 20.00", "credit ShippingRevenue 2.50", "credit SalesTax 4.50",
        ]  # fmt: skip
        assert entries[f"refund:{memo['CreditMemoID']}"] == [
            "debit Returns 5.00", "debit SalesTax 1.00", "credit Clearing 6.00",
        ]  # fmt: skip
    balances = shop.balances()
    held = {name: balances[name] for name in ("Bank", "Revenue", "ShippingRevenue", "SalesTax", "Returns")}
    assert held == {
        "Bank": "69.00", "Revenue": "-60.00", "ShippingRevenue": "-7.50", "SalesTax": "-11.50", "Returns": "10.00",
    }  # fmt: skip
    assert "Clearing" not in balances
    assert [(one.name, one.documents) for one in shop.close().failed] == []
    with shop.environment.runtime() as runtime:
        found = reconcile(runtime, ["orders", "order_totals", "invoices", "shipments", "returns"])
        assert found.unexplained == 0
    counts = shop.run(*flows.order_to_cash(), kind="sweep", reprocess=True)
    assert (counts.delivered, counts.dead, counts.waiting) == (0, 0, 0)
    assert shop.entries() == entries


def test_a_kit_with_gift_wrap_whose_inclusive_tax_the_marketplace_keeps_comes_out_to_the_cent(shop: Shop):
    reported = (item("SHADE", CurrencyCode="GBP", ListPrice="5.00"), on_hand("SHADE", MAIN=10),
            kit("SET", LAMP=1, SHADE=2))  # fmt: skip
    for event in reported:
        builders.send(shop.environment, "tims", event["kind"], event["document"])
    key = builders.place(
        shop.environment, builders.line("SET", 2, "60.0000", TaxAmount="21.00", GiftWrapAmount="6.00"),
        TaxRemittedBy="Marketplace", TotalShippingPrice=Decimal("12.00"),
        TotalShippingTaxPrice=Decimal("2.00"), **INSIDE,
    )  # fmt: skip
    shop.run("orders")
    order = builders.sales_order(shop.environment, key)
    assert (order["PricesIncludeTax"], order["TotalAmount"], order["TaxTotal"]) == (True, "138.00", "23.00")
    half = {each["LineNo"]: each["Quantity"] // 2 for each in order["LineItems"]}
    for _ in range(2):
        builders.ship(shop.environment, key, half)
        shop.run("shipments", "invoices")
    builders.send(shop.environment, "channel_advisor", "return", {
        "ReturnID": 990_003, "ChannelAdvisorOrderID": int(key), "Status": "Received", "Currency": "GBP",
        "Reason": "CustomerReturnedItem", "Items": [{
            "OrderItemID": int(key) * 100 + 1, "SKU": "SET", "Quantity": 1, "RefundAmount": Decimal("50.00"),
            "TaxRefund": Decimal("10.00"), "ShippingRefund": Decimal(0), "Restock": True, "Condition": "Sellable",
        }],
    })  # fmt: skip
    shop.run("returns")
    shop.receive_settlement("77", FIRST, *((*row, f"T-{key}") for row in (
        ("Order", "ItemPrice", "Principal", "100.00"), ("Order", "ItemPrice", "GiftWrap", "5.00"),
        ("Order", "ItemPrice", "Shipping", "10.00"), ("Order", "ItemPrice", "Tax", "23.00"),
        ("Order", "ItemWithheldTax", "MarketplaceFacilitatorTax-Principal", "-23.00"),
        ("Refund", "ItemPrice", "Principal", "-50.00"), ("Refund", "ItemPrice", "Tax", "-10.00"),
        ("Refund", "ItemWithheldTax", "MarketplaceFacilitatorTax-Principal", "10.00"),
    )))  # fmt: skip
    assert shop.run(*MONEY).dead == 0
    assert shop.environment.letters() == {}
    entries = shop.entries()
    for invoice in shop.of("ar/invoices", key):
        amounts = [invoice[name] for name in ("TaxTotal", "MarketplaceRemittedTax", "Total", "Balance")]
        assert amounts == ["11.50", "11.50", "57.50", "0.00"]
        assert entries[f"sale:{invoice['InvoiceID']}"] == [
            "debit Clearing 57.50", "credit Revenue 41.67", "credit Revenue 8.33", "credit ShippingRevenue 5.00",
            "credit GiftWrap 2.50",
        ], "a line for each part of the kit"  # fmt: skip
    (memo,) = shop.of("ar/credit-memos", key)
    assert [memo[name] for name in ("MarketplaceRemittedTax", "Total", "Balance")] == ["10.00", "50.00", "0.00"]
    assert entries[f"refund:{memo['CreditMemoID']}"] == [
        "debit Returns 41.67", "debit Returns 8.33", "credit Clearing 50.00",
    ]  # fmt: skip
    balances = shop.balances()
    held = {name: balances.get(name) for name in ("Bank", "Clearing", "SalesTax", "Revenue", "GiftWrap", "Returns")}
    assert held == {"Bank": "65.00", "Clearing": None, "SalesTax": None, "Revenue": "-100.00", "GiftWrap": "-5.00",
                    "Returns": "50.00"}  # fmt: skip
    assert [(one.name, one.documents) for one in shop.close().failed] == []
    with shop.environment.runtime() as runtime:
        assert reconcile(runtime, ["orders", "order_totals", "invoices", "shipments", "returns"]).unexplained == 0
    counts = shop.run(*flows.order_to_cash(), kind="sweep", reprocess=True)
    assert (counts.delivered, counts.dead, counts.waiting) == (0, 0, 0)
    assert shop.entries() == entries
