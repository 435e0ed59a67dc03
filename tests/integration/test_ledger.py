"""Posted documents become journal entries in TIMS: the right ones, once, and mirrored where they should not stand."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path

import pytest

from contract.tims_calls import adjustment, credit, invoice, line, payment, plain, plain_invoice
from crossdock.errors import ConfigError
from crossdock.ledger.close import close as close_period
from crossdock.rules.statuses import LEFT_OUT
from crossdock.settings import config_dir
from integration.ledger_env import LedgerEnv, found_ledger_env, lines_of

pytestmark = pytest.mark.slow

Edited = Callable[[str, str, str], None]


@pytest.fixture
def ledger_env(postgres_url: str, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[LedgerEnv]:
    name = "l_" + re.sub(r"\W+", "_", request.node.name.lower())[:50]
    with found_ledger_env(postgres_url, name, tmp_path / "tims") as ledger_env:
        yield ledger_env


@pytest.fixture
def edited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Edited:
    """Changes a file of a configuration of this test's own."""
    folder = shutil.copytree(config_dir(), tmp_path / "config")
    monkeypatch.setenv("CROSSDOCK_CONFIG_DIR", str(folder))

    def edit(name: str, before: str, after: str) -> None:
        text = (folder / name).read_text()
        assert before in text
        (folder / name).write_text(text.replace(before, after, 1))

    return edit


def test_a_sale_a_refund_and_returned_goods_are_posted_once(ledger_env: LedgerEnv):
    shipment = ledger_env.tims.shipped()
    sold = ledger_env.tims.made("/ar/invoices", invoice(shipment))
    back = ledger_env.tims.made("/ar/credit-memos", credit(sold))
    restock = ledger_env.tims.made(
        "/inventory/adjustments", adjustment(1, ReasonCode="ReturnRestock", UnitCost="22.00")
    )
    counts = ledger_env.post_all()
    assert (counts.delivered, counts.dead, counts.waiting) == (3, 0, 0)
    assert ledger_env.ledger() == {
        f"sale:{sold['InvoiceID']}": ["debit Clearing 98.00", "debit Promotions 10.00", "credit Revenue 100.00",
                                      "credit ShippingRevenue 8.00"],
        f"cogs:{sold['InvoiceID']}": ["debit COGS 44.00", "credit Inventory 44.00"],
        f"refund:{back['CreditMemoID']}": ["debit Returns 50.00", "credit Promotions 5.00", "credit Clearing 45.00"],
        f"stock:{restock['AdjustmentID']}": ["debit Inventory 22.00", "credit COGS 22.00"],
    }  # fmt: skip
    sale = ledger_env.entries()[f"sale:{sold['InvoiceID']}"]
    assert sale["SourceDocument"] == {"Type": "Invoice", "ID": sold["InvoiceID"]}
    assert (sale["PostingDate"], sale["OriginalEventDate"]) == ("2011-01-04", None)
    assert sale["Lines"][0]["Dimensions"] == {"Channel": "Amazon US", "Order": shipment["SalesOrderID"]}
    assert sale["Lines"][2]["Dimensions"]["SKU"] == "LAMP"
    again = ledger_env.post_all(reprocess=True, kind="sweep")
    assert (again.delivered, again.dead, again.unchanged) == (0, 0, 3)
    assert len(ledger_env.entries()) == 4


@pytest.mark.parametrize(
    ("remitted_by", "sale", "refund"),
    [
        (
            "Seller",
            ["debit Clearing 45.60", "debit Promotions 5.00", "credit Revenue 40.00", "credit ShippingRevenue 1.00",
             "credit GiftWrap 2.00", "credit SalesTax 7.60"],
            ["debit Returns 20.00", "debit Returns 2.50", "debit SalesTax 4.00",
             "credit Promotions 2.50", "credit Clearing 24.00"],
        ),
        (
            "Marketplace",
            ["debit Clearing 38.00", "debit Promotions 5.00", "credit Revenue 40.00", "credit ShippingRevenue 1.00",
             "credit GiftWrap 2.00"],
            ["debit Returns 20.00", "debit Returns 2.50", "credit Promotions 2.50",
             "credit Clearing 20.00"],
        ),
    ],
)  # fmt: skip
def test_tax_inside_prices_is_no_revenue_neither_of_goods_nor_of_shipping_gift_wrap_and_discounts(
    ledger_env: LedgerEnv, remitted_by: str, sale: list[str], refund: list[str]
):
    """48.00 of goods, 6.00 off, 1.20 of shipping, 2.40 of gift wrap, a fifth on top of all of it inside."""
    goods = line(price="24.00", DiscountAmount="6.00", TaxAmount="7.40", TaxRemittedBy=remitted_by)
    inside = {"PricesIncludeTax": True, "ShippingAmount": "1.20", "ShippingTaxAmount": "0.20", "TaxTotal": "7.60",
              "ShippingTaxRemittedBy": remitted_by, "GiftWrapAmount": "2.40", "DiscountTotal": "6.00"}  # fmt: skip
    shipment = ledger_env.tims.shipped(LineItems=[goods], TotalAmount="45.60", **inside)
    by_marketplace, total = ("7.60", "38.00") if remitted_by == "Marketplace" else ("0.00", "45.60")
    sold = [{"SalesOrderLineNo": 1, "SKU": "LAMP", "Quantity": 2, "UnitPrice": "24.00", "DiscountAmount": "6.00",
             "TaxAmount": "7.40", "TaxRemittedBy": remitted_by}]  # fmt: skip
    amounts = {"SubTotal": "48.00", "MarketplaceRemittedTax": by_marketplace, "Total": total}
    bill = ledger_env.tims.made("/ar/invoices", invoice(shipment, Lines=sold, **inside, **amounts))
    by_marketplace, total = ("4.00", "20.00") if remitted_by == "Marketplace" else ("0.00", "24.00")
    back = [{"InvoiceLineNo": 1, "Quantity": 1, "Amount": "24.00", "DiscountAmount": "3.00", "TaxAmount": "3.90"}]
    some = {"ShippingAmount": "0.60", "ShippingTaxAmount": "0.10", "TaxTotal": "4.00", "DiscountTotal": "3.00"}
    given = {"SubTotal": "24.00", "MarketplaceRemittedTax": by_marketplace, "Total": total, "Lines": back}
    memo = ledger_env.tims.made("/ar/credit-memos", credit(bill, **inside | some, **given))
    assert ledger_env.post_all().dead == 0
    ledger = ledger_env.ledger()
    assert ledger[f"sale:{bill['InvoiceID']}"] == sale
    assert ledger[f"refund:{memo['CreditMemoID']}"] == refund


def test_a_kit_costs_what_its_parts_cost_and_each_line_is_rounded_once(ledger_env: LedgerEnv):
    lines = [line("1", "LAMP", 1), line("2", "SHADE", 7, price="1.00")]
    order = ledger_env.tims.order(CustomerID=ledger_env.tims.customer(), **plain(*lines, total="57.00"))
    parts = [{"SalesOrderLineNo": 1, "Quantity": 1}, {"SalesOrderLineNo": 2, "Quantity": 7}]
    shipment = ledger_env.tims.ship(order["SalesOrderID"], 1, Lines=parts)
    sold = [
        {"SalesOrderLineNo": 1, "SKU": "LAMP", "Quantity": 1, "UnitPrice": "50.00", "TaxAmount": "0.00"},
        {"SalesOrderLineNo": 2, "SKU": "SHADE", "Quantity": 4, "UnitPrice": "1.00", "TaxAmount": "0.00"},
    ]
    made = ledger_env.tims.made("/ar/invoices", plain_invoice(shipment, 1, "54.00") | {"Lines": sold})
    ledger_env.post("invoices")
    assert ledger_env.ledger()[f"cogs:{made['InvoiceID']}"] == [
        "debit COGS 22.00", "debit COGS 13.33", "credit Inventory 22.00", "credit Inventory 13.33",
    ]  # fmt: skip


def test_a_voided_invoice_gets_the_exact_mirror_and_another_one_is_posted_on_its_own(ledger_env: LedgerEnv):
    shipment = ledger_env.tims.shipped()
    first = ledger_env.tims.made("/ar/invoices", invoice(shipment))
    never = ledger_env.tims.made("/ar/invoices", plain_invoice(ledger_env.tims.shipped(), 2, "100.00"))
    void = {"PostingDate": "2011-01-05", "Reason": "Posted under the wrong order"}
    assert ledger_env.tims.post(f"/ar/invoices/{never['InvoiceID']}/void", void).status_code == 200
    ledger_env.post("invoices")
    assert ledger_env.tims.post(f"/ar/invoices/{first['InvoiceID']}/void", void).status_code == 200
    second = ledger_env.tims.made("/ar/invoices", invoice(shipment, ExternalReference="inv:again"))
    ledger_env.post("invoices")
    entries = ledger_env.entries()
    sale, mirror = entries[f"sale:{first['InvoiceID']}"], entries[f"sale:{first['InvoiceID']}:rev"]
    assert (mirror["ReversalOf"], mirror["PostingDate"]) == (sale["EntryID"], "2011-01-04")
    assert lines_of(mirror) == ["credit Clearing 98.00", "credit Promotions 10.00", "debit Revenue 100.00",
                            "debit ShippingRevenue 8.00"]  # fmt: skip
    assert f"sale:{never['InvoiceID']}" not in entries
    assert set(entries) == {
        f"{kind}:{id}" for kind in ("sale", "cogs")
        for id in (first["InvoiceID"], f"{first['InvoiceID']}:rev", second["InvoiceID"])
    }  # fmt: skip
    assert ledger_env.balances()["Clearing"] == 98
    ledger_env.post("invoices", reprocess=True, kind="sweep")
    assert len(ledger_env.entries()) == 6


def test_what_tims_posted_by_itself_is_never_posted_again(ledger_env: LedgerEnv):
    ledger_env.tims.made("/inventory/adjustments", adjustment(-1, ExternalReference="a"))
    ledger_env.tims.made("/inventory/adjustments", adjustment(-1, ReasonCode="Transfer"))
    assert ledger_env.post("adjustments").skipped == 1
    assert len(ledger_env.entries()) == 1


@pytest.mark.parametrize(
    ("reason", "units", "lines"),
    [
        ("ReturnDiscard", -1, ["credit Inventory 22.00", "debit Shrinkage 22.00"]),
        ("Damage", -2, ["credit Inventory 44.00", "debit Shrinkage 44.00"]),
        ("Found", 1, ["debit Inventory 22.00", "credit Shrinkage 22.00"]),
        ("Count", -1, ["credit Inventory 22.00", "debit Shrinkage 22.00"]),
    ],
)
def test_stock_that_comes_and_goes_is_posted_by_reason_and_sign_and_its_reversal_mirrors_it(
    ledger_env, reason, units, lines
):
    made = ledger_env.tims.made("/inventory/adjustments", adjustment(units, ReasonCode=reason, UnitCost="22.0000"))
    ledger_env.post("adjustments")
    assert ledger_env.ledger() == {f"stock:{made['AdjustmentID']}": lines}
    undo = {"ExternalReference": "undo", "Source": "warehouse", "Reason": "Counted again"}
    assert ledger_env.tims.post(f"/inventory/adjustments/{made['AdjustmentID']}/reverse", undo).status_code == 201
    ledger_env.post("adjustments")
    assert set(ledger_env.ledger()) == {f"stock:{made['AdjustmentID']}", f"stock:{made['AdjustmentID']}:rev"}
    assert ledger_env.balances() == {}


def close(ledger_env: LedgerEnv, period: str, status: str = "Closed") -> None:
    ledger_env.tims.apply(
        {"at": "2011-02-01T00:00:00Z", "kind": "period", "document": {"Period": period, "Status": status}}
    )


def test_what_is_undone_after_its_month_was_closed_leaves_that_month_as_it_was_and_both_months_right(
    ledger_env: LedgerEnv,
):
    other = ledger_env.tims.made(
        "/ar/invoices", plain_invoice(ledger_env.tims.shipped(**plain(line(), total="100.00")), 2, "100.00")
    )
    restock = ledger_env.tims.made(
        "/inventory/adjustments", adjustment(1, ReasonCode="ReturnRestock", UnitCost="22.00")
    )
    ledger_env.post_all()
    before = close_report(ledger_env, "2011-01")
    ledger_env.tims.clock("2011-02-10T12:00:00Z")
    close(ledger_env, "2011-01")
    void = {"PostingDate": "2011-02-10", "Reason": "Posted under the wrong order"}
    assert ledger_env.tims.post(f"/ar/invoices/{other['InvoiceID']}/void", void).status_code == 200
    undo = {"ExternalReference": "undo", "Source": "warehouse", "Reason": "Counted again", "PostingDate": "2011-02-10"}
    assert ledger_env.tims.post(f"/inventory/adjustments/{restock['AdjustmentID']}/reverse", undo).status_code == 201
    ledger_env.post_all()
    posted = {key: entry["PostingDate"] for key, entry in ledger_env.entries().items()}
    undone = (f"sale:{other['InvoiceID']}", f"cogs:{other['InvoiceID']}", f"stock:{restock['AdjustmentID']}")
    assert [posted[f"{key}:rev"] for key in undone] == ["2011-02-01"] * 3
    assert close_report(ledger_env, "2011-01") == before
    assert close_report(ledger_env, "2011-02") == ([], {"1100": 0, "1200": 0, "4000": 0, "5000": 0}, [])


def close_report(ledger_env: LedgerEnv, period: str) -> tuple[list, dict[str, Decimal], list[tuple[str, Decimal]]]:
    """What does not hold, the balances, and what is open."""
    ledger_env.tims.advance(10)
    with ledger_env.runtime() as runtime:
        found = close_period(runtime, period, wait=0)
    balances = {one.account: one.debit - one.credit for one in found.balances}
    return [vars(one) for one in found.failed], balances, [(one.kind, one.amount) for one in found.open_items]


def test_an_event_of_a_closed_period_goes_to_the_first_open_day_and_keeps_its_own(ledger_env: LedgerEnv):
    sold = ledger_env.tims.made("/ar/invoices", invoice(ledger_env.tims.shipped()))
    close(ledger_env, "2011-01")
    ledger_env.post("invoices")
    sale = ledger_env.entries()[f"sale:{sold['InvoiceID']}"]
    assert (sale["PostingDate"], sale["OriginalEventDate"], sale["Period"]) == ("2011-02-01", "2011-01-04", "2011-02")
    close(ledger_env, "2011-02")
    ledger_env.post("invoices", reprocess=True, kind="sweep")
    assert len(ledger_env.entries()) == 2, "a period that was closed since changes nothing that was posted"


def test_the_company_s_day_decides_not_utc(ledger_env: LedgerEnv):
    ledger_env.book("77", "0.00", ("commission", "-1.00"), ("commission", "-2.00"), posted_at="2011-02-01T04:30:00Z")
    ledger_env.post("settlements")
    assert {entry["PostingDate"] for entry in ledger_env.entries().values()} == {"2011-01-31"}


def test_an_invoice_waits_until_its_order_and_shipment_are_known_and_is_woken(ledger_env: LedgerEnv):
    sold = ledger_env.tims.made("/ar/invoices", invoice(ledger_env.tims.shipped()))
    for missing in ("sales_order", "shipment"):
        ledger_env.post("invoices")
        ledger_env.execute(f"UPDATE ref.{missing} SET id = 'not ' || id")
        assert ledger_env.post("invoices", kind="replay", keys=[sold["InvoiceID"]]).waiting == 1
        (row,) = ledger_env.execute("SELECT state, reason FROM stage.posting")
        assert row.reason == f"its {'order' if missing == 'sales_order' else missing} has not been read yet"
        ledger_env.execute(f"UPDATE ref.{missing} SET id = substr(id, 5)")
    ledger_env.post("invoices")
    assert [row.state for row in ledger_env.execute("SELECT state FROM stage.posting")] == ["unchanged"]
    assert len(ledger_env.entries()) == 2


def test_a_settlement_is_posted_by_its_lines_and_a_corrected_kind_is_mirrored_and_posted_anew(ledger_env: LedgerEnv):
    ledger_env.book("77", "83.30", ("principal", "98.00"), ("commission", "-14.70"), ("unknown", "-3.00"),
              ("reserve_held", "-5.00"), ("reserve_released", "8.00"))  # fmt: skip
    ledger_env.post("settlements")
    assert ledger_env.ledger() == {
        "fee:amazon_us:77:2": ["credit Clearing 14.70", "debit Commission 14.70"],
        "fee:amazon_us:77:3": ["credit Clearing 3.00", "debit Suspense 3.00"],
        "fee:amazon_us:77:4": ["credit Clearing 5.00", "debit Reserve 5.00"],
        "fee:amazon_us:77:5": ["debit Clearing 8.00", "credit Reserve 8.00"],
        "transfer:amazon_us:77": ["debit Bank 83.30", "credit Clearing 83.30"],
    }
    ledger_env.execute("UPDATE ref.settlement_line SET kind = 'fulfilment', former_kind = 'unknown', booked_at = now() "
                 "WHERE line_no = '3'")  # fmt: skip
    ledger_env.post("settlements")
    ledger = ledger_env.ledger()
    assert ledger["fee:amazon_us:77:3:rev"] == ["debit Clearing 3.00", "credit Suspense 3.00"]
    assert ledger["fee:amazon_us:77:3:v2"] == ["credit Clearing 3.00", "debit Fulfilment 3.00"]
    assert "Suspense" not in ledger_env.balances()
    ledger_env.execute(
        "UPDATE ref.settlement_line SET kind = 'principal', former_kind = 'fulfilment', booked_at = now() "
        "WHERE line_no = '3'"
    )
    ledger_env.post("settlements")
    assert "Fulfilment" not in ledger_env.balances()
    before = set(ledger_env.entries())
    ledger_env.post("settlements", reprocess=True, kind="sweep")
    assert set(ledger_env.entries()) == before


def test_a_negative_settlement_transfers_nothing(ledger_env: LedgerEnv):
    ledger_env.book("78", "-62.31", ("storage", "-62.31"))
    ledger_env.post("settlements")
    assert set(ledger_env.entries()) == {"fee:amazon_us:78:1"}


OUTCOMES = "source,settlement_id,line_no,outcome,decided_on\n"


def test_a_chargeback_stands_in_disputes_until_an_accountant_gives_it_up(ledger_env: LedgerEnv, edited: Edited):
    ledger_env.book("77", "-108.00", ("chargeback", "-98.00"), ("chargeback", "-40.00"), ("chargeback_won", "30.00"))
    ledger_env.post("settlements")
    assert ledger_env.balances() == {"Clearing": -108, "Disputes": 108}
    edited("lookups/dispute_outcomes.csv", OUTCOMES, OUTCOMES + "amazon_us,77,1,lost,2011-02-03\n"
           "amazon_us,77,3,lost,2011-02-03\n")  # fmt: skip
    ledger_env.post("settlements")
    key = "dispute:amazon_us:77:1:lost"
    assert ledger_env.ledger()[key] == ["credit Disputes 98.00", "debit 6150 98.00"]
    assert ledger_env.entries()[key]["PostingDate"] == "2011-02-03"
    assert ledger_env.balances() == {"Clearing": -108, "Disputes": 10, "6150": 98}, "what is no chargeback is not lost"
    assert len(ledger_env.entries()) == 4
    assert ledger_env.post("settlements", kind="replay", keys=["amazon_us:77:1:lost"]).dead == 0
    ledger_env.post("settlements", reprocess=True, kind="sweep")
    assert len(ledger_env.entries()) == 4
    assert ledger_env.failed_controls() == []
    edited("lookups/dispute_outcomes.csv", "77,1,lost,2011-02-03", "77,1,lost,2011-01-31")
    ledger_env.post("settlements")
    assert ledger_env.entries()[f"{key}:v2"]["PostingDate"] == "2011-01-31", (
        "a corrected day is mirrored and posted anew"
    )
    assert ledger_env.balances() == {"Clearing": -108, "Disputes": 10, "6150": 98}


@pytest.mark.parametrize("row", ["amazon_us,77,1,won,2011-02-03", "amazon_us,77,1,lost,3.2.2011"])
def test_an_outcome_that_is_none_stops_the_ledger_of_settlements_in_a_sentence(
    ledger_env: LedgerEnv, edited: Edited, row: str
):
    edited("lookups/dispute_outcomes.csv", OUTCOMES, f"{OUTCOMES}{row}\n")
    with pytest.raises(ConfigError, match="amazon_us 77 line 1 has outcome"):
        ledger_env.post("settlements")


def test_a_rounding_difference_is_posted_with_its_payment_and_mirrored_with_it(ledger_env: LedgerEnv):
    sold = ledger_env.tims.made("/ar/invoices", invoice(ledger_env.tims.shipped()))
    paid = ledger_env.tims.made(
        "/ar/payments",
        payment("98.00", ("InvoiceID", sold["InvoiceID"], "98.00"), ExternalReference="pay:amazon_us:77:114-1"),
    )
    ledger_env.execute(
        "INSERT INTO stage.payment (key, batch_id, version, state, rounding, sales_order_id) "
        "VALUES ('amazon_us:77:114-1', 0, now(), 'delivered', 0.01, :order)",
        order=sold["SalesOrderID"],
    )
    ledger_env.post("payments")
    assert ledger_env.ledger()["round:amazon_us:77:114-1"] == ["debit Rounding 0.01", "credit Clearing 0.01"]
    end = {"PostingDate": "2011-01-11", "Reason": "Wrong order"}
    assert ledger_env.tims.post(f"/ar/payments/{paid['PaymentID']}/reverse", end).status_code == 200
    ledger_env.post("payments")
    assert ledger_env.ledger()["round:amazon_us:77:114-1:rev"] == ["credit Rounding 0.01", "debit Clearing 0.01"]


def test_a_blocked_account_makes_a_dead_letter_that_goes_through_once_it_is_open(ledger_env: LedgerEnv):
    chart = {row["AccountCode"]: row for row in ledger_env.tims.get("/gl/accounts")["Items"]}
    send = lambda blocked: ledger_env.tims.apply(  # noqa: E731
        {"at": "2011-01-04T10:00:00Z", "kind": "account", "document": chart["5000"] | {"Blocked": blocked}}
    )
    send(True)
    sold = ledger_env.tims.made("/ar/invoices", invoice(ledger_env.tims.shipped()))
    assert ledger_env.post("invoices").dead == 1
    (reason,) = ledger_env.letters()[sold["InvoiceID"]].reasons
    assert (reason["rule"], reason["value"]) == ("account_blocked", "5000")
    assert ledger_env.entries() == {}, "a document is posted whole or not at all"
    send(False)
    ledger_env.post("invoices", kind="replay", keys=[sold["InvoiceID"]])
    assert len(ledger_env.entries()) == 2


def test_an_entry_that_is_there_though_nobody_remembers_it_is_compared_and_left_alone(ledger_env: LedgerEnv):
    sold = ledger_env.tims.made("/ar/invoices", invoice(ledger_env.tims.shipped()))
    ledger_env.post("invoices")
    ledger_env.execute("DELETE FROM ops.link")
    ledger_env.execute("DELETE FROM ops.delivery")
    ledger_env.post("invoices", kind="replay", keys=[sold["InvoiceID"]])
    ledger_env.post("invoices", kind="replay", keys=[sold["InvoiceID"]])
    assert len(ledger_env.entries()) == 2


def test_a_code_that_tims_does_not_have_stops_the_ledger_before_it_posts(ledger_env: LedgerEnv, edited: Edited):
    edited("accounts.yaml", "4000", "4999")
    ledger_env.tims.made("/ar/invoices", invoice(ledger_env.tims.shipped()))
    with pytest.raises(ConfigError, match=r"accounts\.yaml:\d+: Revenue is account 4999"):
        ledger_env.post("invoices")
    assert ledger_env.entries() == {}


def paid(ledger_env: LedgerEnv, order_id: str, on: str) -> None:
    """The order as the channel had it when it was paid."""
    ledger_env.execute(
        "INSERT INTO raw.channel_advisor_orders (key, version, hash, payload) "
        "VALUES (:key, now(), :key, CAST(:payload AS jsonb))",
        key=order_id,
        payload=json.dumps({"PaymentStatus": "Cleared", "PaymentDate": on}),
    )


def test_money_of_our_own_shop_is_a_deposit_until_it_ships(ledger_env: LedgerEnv, edited: Edited):
    edited("sites.yaml", "channel: Web Shop\n", "channel: Web Shop\n    prepaid: yes\n")
    ours = plain(line(), total="100.00") | {"Channel": "Web Shop"}
    orders = [
        ledger_env.tims.order(CustomerID=ledger_env.tims.customer(), ExternalOrderID=f"90{n}", **ours) for n in range(4)
    ]
    paid(ledger_env, "900", "2011-01-02T10:00:00Z")
    paid(ledger_env, "901", "2011-02-01T03:00:00Z")  # 31 January in New York
    paid(ledger_env, "902", "2011-01-09T10:00:00Z")  # after its shipment: no deposit
    sent = [ledger_env.tims.ship(orders[n]["SalesOrderID"], 2 if n else 1) for n in (0, 2)]
    first = ledger_env.tims.made("/ar/invoices", plain_invoice(sent[0], 1, "50.00"))
    ledger_env.tims.made("/ar/invoices", plain_invoice(sent[1], 2, "100.00"))
    ledger_env.post_all()
    ledger = ledger_env.ledger()
    assert {key for key in ledger if key.startswith(("capture", "dep"))} == {
        "capture:900", "capture:901", f"dep:{first['InvoiceID']}",
    }  # fmt: skip
    assert ledger["capture:900"] == ["debit Clearing 100.00", "credit Deposits 100.00"]
    assert ledger[f"dep:{first['InvoiceID']}"] == ["debit Deposits 50.00", "credit Clearing 50.00"]
    assert ledger_env.entries()["capture:901"]["PostingDate"] == "2011-01-31"
    assert ledger_env.failed_controls() == []
    cancel = {"Reason": "Out of stock"}
    assert ledger_env.tims.post(f"/sales-orders/{orders[1]['SalesOrderID']}/cancel", cancel).status_code == 200
    rest = f"/sales-orders/{orders[0]['SalesOrderID']}/lines/1/cancel"
    assert ledger_env.tims.post(rest, cancel | {"Quantity": 1}).status_code == 200
    ledger_env.post_all()
    ledger = ledger_env.ledger()
    assert ledger["capture:901:rev"] == ["credit Clearing 100.00", "debit Deposits 100.00"]
    assert ledger["capture:900:cancelled"] == ["debit Deposits 50.00", "credit Clearing 50.00"]
    assert "Deposits" not in ledger_env.balances()
    assert ledger_env.failed_controls() == []
    before = set(ledger)
    ledger_env.post_all(reprocess=True, kind="sweep")
    assert set(ledger_env.ledger()) == before


def test_a_voided_invoice_opens_its_deposit_again_and_a_refund_leaves_none(ledger_env: LedgerEnv, edited: Edited):
    edited("sites.yaml", "channel: Web Shop\n", "channel: Web Shop\n    prepaid: yes\n")
    ours = plain(line(), total="100.00") | {"Channel": "Web Shop"}
    order = ledger_env.tims.order(CustomerID=ledger_env.tims.customer(), ExternalOrderID="910", **ours)["SalesOrderID"]
    paid(ledger_env, "910", "2011-01-02T10:00:00Z")
    rest = {"Reason": "Out of stock", "Quantity": 1}
    assert ledger_env.tims.post(f"/sales-orders/{order}/lines/1/cancel", rest).status_code == 200
    ledger_env.post_all()
    assert ledger_env.balances() == {"Clearing": 100, "Deposits": -100}, "nothing is given back before the rest is sent"
    sent = ledger_env.tims.ship(order, 1)
    first = ledger_env.tims.made("/ar/invoices", plain_invoice(sent, 1, "50.00"))
    ledger_env.post_all()
    assert "Deposits" not in ledger_env.balances()
    void = {"PostingDate": "2011-01-05", "Reason": "Wrong address"}
    assert ledger_env.tims.post(f"/ar/invoices/{first['InvoiceID']}/void", void).status_code == 200
    ledger_env.post_all()
    assert ledger_env.balances() == {"Clearing": 100, "Deposits": -100}
    assert ledger_env.failed_controls() == []
    again = ledger_env.tims.made("/ar/invoices", plain_invoice(sent, 1, "50.00", ExternalReference="inv:again"))
    ledger_env.post_all()
    assert "Deposits" not in ledger_env.balances()
    assert ledger_env.failed_controls() == []
    move = (
        "UPDATE ref.gl_entry_line SET debit = debit + CASE WHEN debit > 0 THEN :by ELSE 0 END, "
        "credit = credit + CASE WHEN credit > 0 THEN :by ELSE 0 END "
        "WHERE entry_id = (SELECT id FROM ref.gl_entry WHERE external_reference = :key)"
    )
    keys = (f"dep:{again['InvoiceID']}", "capture:910", "capture:910:cancelled:v2")
    for key in keys:
        ledger_env.execute(move, by=Decimal("0.01"), key=key)
    found = {name: str(documents) for name, _, documents in ledger_env.failed_controls()}
    for key in keys:
        ledger_env.execute(move, by=Decimal("-0.01"), key=key)
        assert f"({key.removesuffix(':v2')})" in found["clearing"], "its own entries do not prove a deposit"
    none = {"DiscountTotal": "0.00", "TaxTotal": "0.00", "MarketplaceRemittedTax": "0.00", "Total": "50.00"}
    unit = {"InvoiceLineNo": 1, "Quantity": 1, "Amount": "50.00", "DiscountAmount": "0.00", "TaxAmount": "0.00"}
    ledger_env.tims.made("/ar/credit-memos", credit(again, Lines=[unit], **none))
    ledger_env.post_all()
    left = ledger_env.balances()
    assert ("Deposits" in left, "Clearing" in left, left["Returns"]) == (False, False, 50)
    assert ledger_env.failed_controls() == []


def test_a_sale_in_another_currency_costs_in_the_company_s_own(ledger_env: LedgerEnv):
    pounds = {"CurrencyCode": "GBP", "Channel": "Amazon UK"}
    shipment = ledger_env.tims.shipped(**plain(line(), total="100.00"), **pounds)
    made = ledger_env.tims.made("/ar/invoices", plain_invoice(shipment, 2, "100.00", CurrencyCode="GBP"))
    ledger_env.post("invoices")
    currencies = {key: entry["CurrencyCode"] for key, entry in ledger_env.entries().items()}
    assert currencies == {f"sale:{made['InvoiceID']}": "GBP", f"cogs:{made['InvoiceID']}": "USD"}
    assert ledger_env.balances("GBP") == {"Clearing": 100, "Revenue": -100}
    assert ledger_env.failed_controls() == []


def test_a_payout_in_another_currency_is_two_entries_that_meet_in_fx(ledger_env: LedgerEnv, edited: Edited):
    header = "source,settlement_id,value_date,bank_currency,bank_amount\n"
    edited("lookups/payout_deposits.csv", header, header + "amazon_uk,5,2011-01-14,USD,110.00\n")
    ledger_env.book(
        "5", "83.30", ("reimbursement", "83.30"), source="amazon_uk", channel="Amazon UK", currency_code="GBP"
    )
    ledger_env.post("settlements")
    assert {key: (entry["CurrencyCode"], entry["PostingDate"]) for key, entry in ledger_env.entries().items()} == {
        "fee:amazon_uk:5:1": ("GBP", "2011-01-08"),
        "transfer:amazon_uk:5": ("GBP", "2011-01-14"),
        "fx:amazon_uk:5": ("USD", "2011-01-14"),
    }
    assert ledger_env.balances("GBP") == {"FX": Decimal("83.30"), "7000": Decimal("-83.30")}
    assert ledger_env.balances("USD") == {"Bank": 110, "FX": -110}
    assert ledger_env.failed_controls() == []


def test_marketplace_tax_by_option_comes_and_goes(ledger_env: LedgerEnv, edited: Edited):
    edited("posting.yaml", "marketplace_tax: memo\n", "marketplace_tax: wash\n")
    sold = ledger_env.tims.made("/ar/invoices", invoice(ledger_env.tims.shipped(ShippingTaxRemittedBy="Marketplace")))
    ledger_env.tims.made("/ar/credit-memos", credit(sold))
    ledger_env.post("invoices")
    ledger_env.post("credit_memos")
    assert {key.split(":")[0] for key in ledger_env.entries()} == {"sale", "cogs", "mft", "refund"}
    assert "FacilitatorTax" not in ledger_env.balances()
    assert ledger_env.failed_controls() == []


def test_a_mended_posting_table_corrects_what_was_posted_by_mirror_and_new_entry(ledger_env: LedgerEnv, edited: Edited):
    made = ledger_env.tims.made("/inventory/adjustments", adjustment(-1, UnitCost="5.00"))
    ledger_env.post("adjustments")
    edited("posting.yaml", "{credit: Shrinkage, amount: Value}", "{credit: COGS, amount: Value}")
    ledger_env.post("adjustments", reprocess=True, kind="sweep")
    key = f"stock:{made['AdjustmentID']}"
    assert ledger_env.ledger() == {
        key: ["credit Inventory 5.00", "debit Shrinkage 5.00"],
        f"{key}:rev": ["debit Inventory 5.00", "credit Shrinkage 5.00"],
        f"{key}:v2": ["credit Inventory 5.00", "debit COGS 5.00"],
    }
    ledger_env.post("adjustments", reprocess=True, kind="sweep")
    assert len(ledger_env.entries()) == 3


def test_a_payment_of_nobody_s_settlement_and_an_invoice_without_a_shipment_are_named(ledger_env: LedgerEnv):
    shipment = ledger_env.tims.shipped(ShippingTaxRemittedBy="Marketplace")
    sold = ledger_env.tims.made("/ar/invoices", invoice(shipment, ShipmentID=None, Source="a person"))
    applied = ("InvoiceID", sold["InvoiceID"], "98.00")
    stray = ledger_env.tims.made("/ar/payments", payment("98.00", applied, ExternalReference="pay:amazon_us:99:1"))
    ledger_env.post_all()
    assert ledger_env.failed_controls() == [
        ("invoices_have_shipment", "USD", (sold["InvoiceID"],)),
        ("payments_matched", "USD", (stray["PaymentID"],)),
        ("payments_settled", "USD", (stray["PaymentID"],)),
    ]
    end = {"PostingDate": "2011-01-11", "Reason": "Not ours"}
    assert ledger_env.tims.post(f"/ar/payments/{stray['PaymentID']}/reverse", end).status_code == 200
    assert ledger_env.tims.post(f"/ar/invoices/{sold['InvoiceID']}/void", end).status_code == 200
    ledger_env.post_all()
    assert ledger_env.failed_controls() == []


def test_the_money_of_orders_that_are_left_out_is_posted_apart_and_brought_back_when_they_load_after_all(
    ledger_env: LedgerEnv,
):
    lines = [("principal", "100.00"), ("shipping", "8.00"), ("refund_principal", "-20.00"), ("commission", "-14.70")]
    ledger_env.book("1", "73.30", *lines, order_ref="T-1")
    ledger_env.execute(
        "INSERT INTO stage.sales_order (key, batch_id, version, state, reason, marketplace_order_id, \"Channel\") "
        "VALUES ('77', 1, now(), 'left_out', :reason, 'T-1', 'Amazon US')", reason=LEFT_OUT,
    )  # fmt: skip
    for _ in range(2):
        ledger_env.sync("payments")
    assert [row.state for row in ledger_env.execute("SELECT state FROM stage.payment")] == ["left_out"]
    ledger_env.post_all()
    assert ledger_env.balances() == {
        "Bank": Decimal("73.30"),
        "Commission": Decimal("14.70"),
        "Deposits": Decimal("-88.00"),
    }
    assert ledger_env.ledger()["fee:amazon_us:1:3"] == ["credit Clearing 20.00", "debit Deposits 20.00"]
    assert ledger_env.failed_controls() == []
    ledger_env.sync("payments", reprocess=True, kind="sweep")
    ledger_env.post_all(reprocess=True, kind="sweep")
    assert len(ledger_env.entries()) == 5
    # The configuration takes such orders in by now, and this one is read again.
    ledger_env.execute("UPDATE stage.sales_order SET state = 'delivered', reason = NULL")
    for _ in range(2):
        ledger_env.sync("payments")
    assert [row.state for row in ledger_env.execute("SELECT state FROM stage.payment")] == ["waiting"]
    ledger_env.post_all()
    assert ledger_env.balances() == {
        "Bank": Decimal("73.30"), "Commission": Decimal("14.70"), "Clearing": Decimal("-88.00"),
    }  # fmt: skip
    assert ledger_env.failed_controls() == []
