"""The posting table makes the right entries, whatever the documents; what is wrong with it has a file and a line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossdock.errors import ConfigError
from crossdock.mapping.frames import CENT, ROW, SCALE, scaled, written
from crossdock.rules import accounts, posting, posting_table
from crossdock.rules.posting_table import DOCUMENTS
from crossdock.settings import config_dir
from examples import examples

ACCOUNTS = accounts.load()
TABLE = posting_table.load(ACCOUNTS)
USUAL: dict[str, Any] = {"PostingMode": "external", "Status": "Posted", "Channel": "Amazon US", "Order": "SO-1",
                         "BaseCurrency": "USD", "CurrencyCode": "USD", "PostingDate": "2011-01-31"}  # fmt: skip
DTYPES = {"money": "Int64", "integer": "Int64", "flag": "boolean"}


def frame(rows: list[dict[str, Any]], kinds: dict[str, str]) -> pd.DataFrame:
    columns = {
        name: pd.Series([row.get(name) for row in rows], dtype=DTYPES.get(kind, "str")) for name, kind in kinds.items()
    }
    return pd.DataFrame(columns, index=pd.RangeIndex(len(rows)))


def entries(document: str, *rows: dict[str, Any], table: posting_table.PostingTable = TABLE, **parts: list[dict]):
    """Entry key -> its lines as "debit Account 1.00"; amounts in the rows are texts or whole numbers x 10,000."""
    posted = posts(document, *rows, table=table, **parts)
    found: dict[str, list[str]] = {}
    for line in posted.lines.to_dict("records"):
        side, amount = ("debit", line["Debit"]) if line["Debit"] else ("credit", line["Credit"])
        found.setdefault(line["EntryKey"], []).append(f"{side} {line['Account']} {written(amount)}")
    return found


def posts(document: str, *rows: dict[str, Any], table: posting_table.PostingTable = TABLE, **parts: list[dict]):
    fields = DOCUMENTS[document]
    money = {
        name for kinds in (fields.header, *fields.parts.values()) for name, kind in kinds.items() if kind == "money"
    }

    def read(row: dict[str, Any]) -> dict[str, Any]:
        return {
            name: scaled(value) if name in money and isinstance(value, str) else value for name, value in row.items()
        }

    header = frame([read(USUAL | row) for row in rows], fields.header)
    frames = {}
    for name, kinds in fields.parts.items():
        lines = [read(line) for line in parts.get(name, [])]
        frames[name] = frame(lines, dict(kinds))
        frames[name].insert(0, ROW, np.array([line.get(ROW, 0) for line in lines], dtype=np.int64))
    return posting.apply(table, ACCOUNTS, document, header, frames)


INVOICE = {"InvoiceID": "INV-1", "ShipmentID": "SH-1", "ShipDate": "2011-01-31", "Total": "98.00", "Prepaid": False,
           "DiscountTotal": "10.00", "Shipping": "8.00", "GiftWrapAmount": "0.00", "SellerTax": "0.00",
           "MarketplaceRemittedTax": "7.35"}  # fmt: skip
GOODS = [{"Goods": "100.00", "SKU": "LAMP"}]
COSTS = [{"Cost": "44.00", "SKU": "LAMP"}]


def test_the_worked_example_is_posted_as_the_design_says():
    assert entries("invoice", INVOICE, Lines=GOODS, Costs=COSTS) == {
        "sale:INV-1": ["debit Clearing 98.00", "debit Promotions 10.00", "credit Revenue 100.00",
                       "credit ShippingRevenue 8.00"],
        "cogs:INV-1": ["debit COGS 44.00", "credit Inventory 44.00"],
    }  # fmt: skip
    refund = {"CreditMemoID": "CM-1", "InvoiceID": "INV-1", "CreditDate": "2011-02-03", "Total": "45.00",
              "DiscountTotal": "5.00", "Shipping": "0.00", "SellerTax": "0.00"}  # fmt: skip
    assert entries("credit_memo", refund, Lines=[{"Goods": "50.00", "SKU": "LAMP"}]) == {
        "refund:CM-1": ["debit Returns 50.00", "credit Promotions 5.00", "credit Clearing 45.00"]
    }
    back = {"AdjustmentID": "ADJ-1", "SKU": "LAMP", "ReasonCode": "ReturnRestock", "Value": "22.00"}
    assert entries("adjustment", back) == {"stock:ADJ-1": ["debit Inventory 22.00", "credit COGS 22.00"]}


def line_of_settlement(kind: str, amount: str, **fields: Any) -> dict[str, Any]:
    return {"Source": "amazon_us", "SettlementID": "77", "LineNo": "5", "Kind": kind, "Amount": amount,
            "PostedOn": "2011-01-31"} | fields  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "amount", "debit", "credit"),
    [
        ("commission", "-14.70", "Commission", "Clearing"),
        ("refund_commission", "6.75", "Clearing", "Commission"),
        ("refund_commission", "-1.35", "Commission", "Clearing"),
        ("fulfilment", "-3.00", "Fulfilment", "Clearing"),
        ("fee_tax", "-0.20", "FeeTax", "Clearing"),
        ("advertising", "-9.99", "Advertising", "Clearing"),
        ("storage", "-1.00", "Subscription", "Clearing"),
        ("subscription", "-39.99", "Subscription", "Clearing"),
        ("reserve_held", "-50.00", "Reserve", "Clearing"),
        ("reserve_released", "50.00", "Clearing", "Reserve"),
        ("reimbursement", "12.00", "Clearing", "Reimbursements"),
        ("chargeback", "-98.00", "Disputes", "Clearing"),
        ("chargeback_won", "98.00", "Clearing", "Disputes"),
        ("chargeback_fee", "-15.00", "ChargebackLoss", "Clearing"),
        ("charge", "62.31", "Clearing", "Bank"),
        ("unknown", "-0.01", "Suspense", "Clearing"),
        ("unknown", "0.01", "Clearing", "Suspense"),
    ],
)
def test_a_settlement_line_is_posted_by_its_kind_and_sign(kind, amount, debit, credit):
    (lines,) = entries("settlement_line", line_of_settlement(kind, amount)).values()
    size = amount.lstrip("-")
    assert sorted(lines) == sorted([f"debit {debit} {size}", f"credit {credit} {size}"])


def test_a_payout_moves_money_to_the_bank_and_one_in_another_currency_passes_through_fx():
    payout = line_of_settlement("payout", "83.30")
    assert entries("settlement_line", payout) == {
        "transfer:amazon_us:77": ["debit Bank 83.30", "credit Clearing 83.30"]
    }
    converted = posts(
        "settlement_line", payout | {"CurrencyCode": "GBP", "BankCurrencyCode": "USD", "BankAmount": "110.00"}
    )
    rows = converted.lines[["EntryKey", "CurrencyCode", "Account", "Debit", "Credit"]].to_numpy().tolist()
    assert rows == [
        ["transfer:amazon_us:77", "GBP", "FX", 833000, 0],
        ["transfer:amazon_us:77", "GBP", "Clearing", 0, 833000],
        ["fx:amazon_us:77", "USD", "Bank", 1100000, 0],
        ["fx:amazon_us:77", "USD", "FX", 0, 1100000],
    ]


@pytest.mark.parametrize(
    ("document", "row", "because"),
    [
        ("settlement_line", line_of_settlement("payout", "-62.31"), "nothing was paid out"),
        ("settlement_line", line_of_settlement("principal", "98.00"), "an order's own money"),
        ("settlement_line", line_of_settlement("carried_forward", "-5.00"), "opening balance"),
        ("invoice", INVOICE | {"PostingMode": "automatic"}, "TIMS has posted it by itself"),
        ("invoice", INVOICE | {"Status": "Voided"}, "it is voided"),
        ("adjustment", {"ReasonCode": "Transfer", "Value": "5.00"}, "changes no account"),
        ("adjustment", {"ReasonCode": "Damage", "Value": "-5.00", "Mirrored": True}, "undoes another"),
        ("adjustment", {"ReasonCode": "Damage", "Value": "0.00"}, "all its amounts are 0"),
        ("payment", {"RoundingAmount": "0.00"}, "no rounding difference"),
    ],
)
def test_a_document_without_entries_says_why(document, row, because):
    posted = posts(document, row)
    assert posted.lines.empty
    assert because in posted.nothing[0]
    assert not posted.untaken.any()


def test_a_document_that_no_event_takes_is_named():
    posted = posts("adjustment", {"ReasonCode": "Shipwreck", "Value": "5.00"}, {"ReasonCode": "Loss", "Value": "-5.00"})
    assert posted.untaken.tolist() == [True, False]


def test_a_prepaid_invoice_uses_the_deposit():
    found = entries("invoice", INVOICE | {"Prepaid": True}, Lines=GOODS, Costs=COSTS)
    assert found["dep:INV-1"] == ["debit Deposits 98.00", "credit Clearing 98.00"]


def test_marketplace_tax_is_posted_in_and_out_when_the_option_says_so(tmp_path):
    wash = (config_dir() / "posting.yaml").read_text().replace("marketplace_tax: memo\n", "marketplace_tax: wash\n")
    (tmp_path / "posting.yaml").write_text(wash)
    found = entries("invoice", INVOICE, table=posting_table.load(ACCOUNTS, tmp_path), Lines=GOODS, Costs=COSTS)
    assert found["mft:INV-1"] == [
        "debit Clearing 7.35", "credit FacilitatorTax 7.35", "debit FacilitatorTax 7.35", "credit Clearing 7.35",
    ]  # fmt: skip
    assert "mft:INV-1" not in entries("invoice", INVOICE, Lines=GOODS, Costs=COSTS)


def test_lines_of_one_account_and_sku_are_one_line_and_others_stay_apart():
    goods = [{"Goods": "30.00", "SKU": "LAMP"}, {"Goods": "50.00", "SKU": "VASE"}, {"Goods": "20.00", "SKU": "LAMP"}]
    posted = posts("invoice", INVOICE, Lines=goods, Costs=COSTS)
    revenue = posted.lines[posted.lines["Account"] == "Revenue"]
    assert revenue[["SKU", "Credit"]].to_numpy().tolist() == [["LAMP", 50 * SCALE], ["VASE", 50 * SCALE]]


cents = st.integers(0, 10_000_00).map(lambda n: n * CENT)
goods_lines = st.lists(st.tuples(cents, st.sampled_from("ABC"), st.integers(0, 3)), min_size=0, max_size=12)


@examples(15)
@given(goods_lines, st.lists(st.tuples(cents, cents, cents, cents), min_size=4, max_size=4), st.booleans())
def test_any_invoice_and_credit_memo_that_adds_up_balances_in_every_entry(lines, charges, is_invoice):
    goods = [{"Goods": amount, "Cost": amount // 3 // CENT * CENT, "SKU": sku, ROW: row} for amount, sku, row in lines]
    goods.sort(key=lambda line: line[ROW])
    heads = []
    for row, (shipping, wrap, tax, discount) in enumerate(charges):
        total = sum(line["Goods"] for line in goods if line[ROW] == row) + shipping + wrap + tax
        discount = min(discount, total)
        heads.append(
            INVOICE | {"InvoiceID": f"INV-{row}", "CreditMemoID": f"CM-{row}", "CreditDate": "2011-01-31",
                       "Shipping": shipping, "GiftWrapAmount": wrap, "SellerTax": tax, "DiscountTotal": discount,
                       "Total": total - discount, "Prepaid": row % 2 == 0}
        )  # fmt: skip
    document, parts = ("invoice", {"Lines": goods, "Costs": goods}) if is_invoice else ("credit_memo", {"Lines": goods})
    posted = posts(document, *heads, **parts)
    lines_made = posted.lines
    assert posting.imbalances(lines_made, len(heads)).tolist() == [0] * len(heads)
    assert ((lines_made["Debit"] > 0) ^ (lines_made["Credit"] > 0)).all()
    assert (lines_made[["Debit", "Credit"]] >= 0).to_numpy().all()
    clearing = lines_made[
        lines_made["EntryKey"].str.startswith(("sale:", "refund:")) & (lines_made["Account"] == "Clearing")
    ]
    assert (clearing["Debit"] + clearing["Credit"]).sum() == sum(header["Total"] for header in heads)


@examples(15)
@given(st.lists(st.tuples(st.sampled_from([*"abc"]), st.integers(-10_000_00, 10_000_00)), min_size=1, max_size=30))
def test_any_settlement_line_balances_and_moves_clearing_by_its_amount(lines):
    kinds = {"a": "commission", "b": "reserve_held", "c": "unknown"}
    rows = [
        line_of_settlement(kinds[k], "0.00", LineNo=str(n)) | {"Amount": amount * CENT}
        for n, (k, amount) in enumerate(lines)
    ]
    posted = posts("settlement_line", *rows)
    assert not posting.imbalances(posted.lines, len(rows)).any()
    clearing = posted.lines[posted.lines["Account"] == "Clearing"]
    assert (clearing["Debit"] - clearing["Credit"]).sum() == sum(row["Amount"] for row in rows)


def test_an_entry_that_does_not_balance_is_seen():
    posted = posts("invoice", INVOICE | {"Total": "98.01"}, INVOICE | {"InvoiceID": "INV-2"},
                   Lines=[*GOODS, GOODS[0] | {ROW: 1}], Costs=[])  # fmt: skip
    assert posting.imbalances(posted.lines, 2).tolist() == [CENT, 0]


# ---- the files -----------------------------------------------------------------------------------------------------


def test_an_account_may_have_codes_by_channel_and_currency(tmp_path):
    (tmp_path / "accounts.yaml").write_text(
        "Clearing:\n  default: 1100\n  Amazon US: 1101\n  Amazon DE: {EUR: 1102}\nBank: 1000\n"
    )
    held = accounts.load(tmp_path)
    names = pd.Series(["Clearing"] * 5 + ["Bank"], dtype="str")
    channels = pd.Series(["Amazon US", "Amazon DE", "Amazon DE", "eBay", None, "eBay"], dtype="str")
    currencies = pd.Series(["USD", "EUR", "PLN", "GBP", "USD", "GBP"], dtype="str")
    assert held.codes(names, channels, currencies).tolist() == ["1101", "1102", "1100", "1100", "1100", "1000"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Clearing:\n  Amazon US: 1101\n", ":1: Clearing has no `default`"),
        ("Bank: 1000\nBank: 1001\n", ":2: 'Bank' stands here a second time"),
        ("Bank: no code\n", ":1: Bank is 'no code'; write an account code"),
        ("Bank:\n", ":1: Bank is empty; write an account code"),
        ("- Bank\n", ":1: the file should be `word: value` pairs"),
    ],
)
def test_a_mistake_in_the_accounts_has_a_file_and_a_line(tmp_path, text, message):
    (tmp_path / "accounts.yaml").write_text(text)
    with pytest.raises(ConfigError, match=r"accounts\.yaml") as raised:
        accounts.load(tmp_path)
    assert message in str(raised.value)


def test_a_code_that_the_chart_of_accounts_does_not_have_is_named():
    with pytest.raises(ConfigError, match="Suspense is account 6190"):
        ACCOUNTS.hold_against({code for name in ACCOUNTS.named for code in ACCOUNTS.codes_of(name)} - {"6190"})


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("credit: GiftWrap,", "credit: GiftWarp,", "accounts.yaml has no account 'GiftWarp'; did you mean 'GiftWrap'?"),
        ("amount: Lines.Goods,", "amount: Lines.Godos,", "no field is called 'Godos'; did you mean 'Goods'?"),
        ("amount: Costs.Cost,", "amount: Cost.Cost,", "invoice has no part 'Cost'; did you mean 'Costs'?"),
        ("amount: GiftWrapAmount}", "amount: InvoiceDate}", "InvoiceDate is a date, not an amount"),
        ("when: {Kind: charge}", "when: {Kind: charged}", "Kind is never 'charged'; did you mean 'charge'?"),
        ("  marketplace_tax: memo", "  marketplace_tax: mem", "marketplace_tax is 'mem'"),
        ("    type: CreditMemo", "    type: CreditNote", "TIMS has no source document 'CreditNote'"),
        ('key: "cogs:{InvoiceID}"', 'key: "cogs:{InvoiceId}"', "no field is called 'InvoiceId'"),
        ("document: adjustment", "document: ajustment", "there is no document 'ajustment'; did you mean 'adjustment'?"),
        ("when: {Prepaid: yes}", "when: {Prepaid: above 0}", "Prepaid is yes or no, which is neither above"),
        ("dimensions: [SKU]}", "dimensions: [Sku]}", "TIMS has no dimension 'Sku'"),
    ],
)  # fmt: skip
def test_a_mistake_in_the_posting_table_has_a_file_and_a_line(tmp_path: Path, before: str, after: str, message: str):
    text = (config_dir() / "posting.yaml").read_text()
    assert before in text
    (tmp_path / "posting.yaml").write_text(text.replace(before, after, 1))
    expected = text[: text.index(before)].count("\n") + 1
    with pytest.raises(ConfigError, match=rf"posting\.yaml:{expected}: ") as raised:
        posting_table.load(ACCOUNTS, tmp_path)
    assert message in str(raised.value)


def test_two_events_that_take_the_rest_are_refused(tmp_path):
    text = (config_dir() / "posting.yaml").read_text().replace("when: {Kind: charge}", "when: otherwise")
    (tmp_path / "posting.yaml").write_text(text)
    with pytest.raises(ConfigError, match="two events that are met `otherwise`"):
        posting_table.load(ACCOUNTS, tmp_path)


def test_every_event_of_the_shipped_table_is_made_by_some_document():
    assert {event.document for event in TABLE.events} == set(DOCUMENTS)
    assert list(posting_table.check()) == []
