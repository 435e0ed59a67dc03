"""What settlements are and what they pay: never more or less than the tolerance, never a sum lost."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossdock.errors import ConfigError
from crossdock.mapping import lookups
from crossdock.mapping.frames import CENT
from crossdock.rules import accounts, tolerances
from crossdock.rules import settlements as rules
from examples import examples

CENTS = st.integers(1, 500_00)


def kind(form: str, *words: str) -> str:
    lines = pd.DataFrame([words], columns=["TransactionType", "AmountType", "AmountDescription"], dtype="str")
    return rules.kinds(pd.Series([form], dtype="str"), lines).iloc[0]


# ---- kinds ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("amazon_v2", "Order", "ItemPrice", "Principal"), "principal"),
        (("amazon_v2", "Order", "ItemPrice", "Shipping"), "shipping"),
        (("amazon_v2", "Order", "Promotion", "Shipping"), "shipping_promotion"),
        (("amazon_v1", "Order", "Shipment-Fees", "Shipping"), "fulfilment"),
        (("amazon_v2", "Refund", "ItemPrice", "Principal"), "refund_principal"),
        (("amazon_v2", "Refund", "ItemFees", "Commission"), "commission"),
        (("amazon_v2", "Refund", "ItemFees", "RefundCommission"), "refund_commission"),
        (("amazon_v2", "order", "itemwithheldtax", "MarketplaceFacilitatorTax-Shipping"), "marketplace_tax"),
        (("amazon_v2", "A-to-z Guarantee Refund", "ItemPrice", "Principal"), "chargeback"),
        (("amazon_v2", "A-to-z Guarantee Refund", "ItemFees", "Commission"), "commission"),
        (("amazon_v2", "other-transaction", "other-transaction", "Current Reserve Amount"), "reserve_held"),
        (("amazon_v2", "other-transaction", "other-transaction", "Payable to Amazon"), "carried_forward"),
        (("amazon_v1", "Successful charge", "Other", ""), "charge"),
        (("amazon_v1", "ServiceFee", "ItemFees", "Cost of Advertising"), "advertising"),
        (("amazon_v1", "ServiceFee", "OtherFee", "TaxAmount"), "fee_tax"),
        (("amazon_v2", "other-transaction", "FBA Inventory Reimbursement", "WAREHOUSE_LOST"), "reimbursement"),
        (("amazon_v2", "other-transaction", "other-transaction", "Something new"), "unknown"),
        (("ebay", "Order", "item subtotal", ""), "principal"),
        (("ebay", "Refund", "final value fee - variable", ""), "commission"),
        (("ebay", "Other fee", "net amount", "Promoted Listings - General fee"), "advertising"),
        (("walmart", "Sale", "Product Tax Withheld", "Purchase"), "marketplace_tax"),
        (("walmart", "Sale", "Product Tax", "Purchase"), "tax"),
        (("walmart", "Refund", "Commission on Product", "Return"), "commission"),
        (("walmart", "Sale", "Promo Code", "Purchase"), "promotion"),
        (("walmart", "Refund", "Promo Code", "Return"), "refund_promotion"),
        (("walmart", "Sale", "Extra Savings", "Purchase"), "promotion"),
        (("walmart", "Refund", "Extra Savings", "Return"), "refund_promotion"),
        (("walmart", "Sale", "Item Fees", "Purchase"), "commission"),
        (("ebay", "Other fee", "net amount", "Anzeigengebühr Basis"), "advertising"),
    ],
)
def test_a_line_is_what_its_three_words_say_together(words: tuple[str, ...], expected: str):
    assert kind(*words) == expected


def test_a_lookup_with_a_kind_that_nobody_posts_is_refused(tmp_path):
    (tmp_path / "settlement_kinds.csv").write_text(
        "format,transaction_type,amount_type,amount_description,kind,note\namazon_v2,Order,ItemPrice,*,profit,\n"
    )
    lines = pd.DataFrame({"TransactionType": ["a"], "AmountType": ["b"], "AmountDescription": ["c"]}, dtype="str")
    with pytest.raises(ConfigError, match="no kind 'profit'"):
        rules.kinds(pd.Series(["amazon_v2"]), lines, tmp_path)


# ---- neighbours ----------------------------------------------------------------------------------------------------


def period(number: str, first: int, last: int, **more: object) -> dict:
    return {
        "source": "s", "group": "", "settlement_id": number, "file": f"{number}.txt", "content_hash": number,
        "start": f"2011-01-{first:02}T08:00:00Z", "end": f"2011-01-{last:02}T08:00:00Z", "difference": 0,
        "joined": True,
    } | more  # fmt: skip


BOOKED = pd.DataFrame([period("1", 5, 10)])


@pytest.mark.parametrize(
    ("new", "expected"),
    [
        (period("2", 10, 15), ""),
        (period("0", 1, 5), ""),
        (period("2", 11, 15), "gap"),
        (period("0", 1, 4), "gap"),
        (period("2", 9, 15), "overlap"),
        (period("2", 6, 8), "overlap"),
        (period("0", 1, 6), "overlap"),
        (period("1", 5, 10), ""),  # it is the one in the books, worked again
        (period("1", 5, 10, file="again.txt"), "seen"),
        (period("1", 10, 15), ""),
        (period("1", 10, 15, content_hash="other"), "seen"),
        (period("2", 20, 25, source="another"), ""),
        (period("2", 6, 12, group="Invoiced Orders"), ""),
        (period("2", 6, 12, group=None), "overlap"),
        (period("2", 20, 25, joined=False), ""),
        (period("2", 10, 15, start=None), "no_period"),
    ],
)
def test_a_settlement_must_be_new_and_follow_its_neighbour(new: dict, expected: str):
    judged = rules.judge(pd.DataFrame([new]), BOOKED).iloc[0]
    assert [name for name in ("seen", "gap", "overlap", "no_period") if judged[name]] == (
        [expected] if expected else []
    )


def test_groups_that_run_at_the_same_time_have_a_chain_each():
    both = [period("1", 1, 5, group="A"), period("2", 3, 8, group="B"), period("3", 5, 9, group="A"),
            period("4", 9, 12, group="B")]  # fmt: skip
    judged = rules.judge(pd.DataFrame(both), BOOKED.iloc[:0])
    assert judged["gap"].tolist() == [0, 0, 0, 1]
    assert judged["overlap"].sum() == 0
    assert judged["gap_as"].iloc[3] == "2 ends at 2011-01-08T08:00:00Z, this one starts at 2011-01-09T08:00:00Z"


@examples(30)
@given(st.permutations(range(6)), st.sets(st.integers(0, 5)))
def test_of_several_files_in_any_order_exactly_those_behind_a_faulty_one_leave_a_gap(order: list[int], wrong: set[int]):
    files = pd.DataFrame([period(str(n), 1 + 4 * n, 5 + 4 * n, difference=int(n in wrong)) for n in order])
    judged = rules.judge(files, BOOKED.iloc[:0])
    bad = {n for n, gap in zip(order, judged["gap"], strict=True) if gap}
    held: list[int] = []
    expected = set()
    for n in range(6):
        if held and held[-1] != n - 1:
            expected.add(n)
        elif n not in wrong:
            held.append(n)
    assert bad == expected


# ---- matching ------------------------------------------------------------------------------------------------------


def orders(*parts: tuple[int, int], lines: int = 1, currency: str = "GBP") -> pd.DataFrame:
    """(sale, refund) in cents, each of an order."""
    return pd.DataFrame(
        {
            "OrderRef": pd.Series(["A"] * len(parts), dtype="str"),
            "Channel": pd.Series(["Amazon UK"] * len(parts), dtype="str"),
            "CurrencyCode": pd.Series([currency] * len(parts), dtype="str"),
            "SaleAmount": pd.array([sale * CENT for sale, _ in parts], dtype="Int64"),
            "RefundAmount": pd.array([refund * CENT for _, refund in parts], dtype="Int64"),
            "SaleLines": pd.array([lines if sale else 0 for sale, _ in parts], dtype="Int64"),
            "RefundLines": pd.array([lines if refund else 0 for _, refund in parts], dtype="Int64"),
        }
    )


def existing(count: int, open_units: int = 0, **more: object) -> pd.DataFrame:
    facts = {"sales_order_id": "SO-1", "expected": False, "why": "", "elsewhere": "",
             "several": False, "open_units": open_units, "near": ""} | more  # fmt: skip
    return pd.DataFrame([facts] * count).astype({"sales_order_id": "str"})


TOLERANCE = tolerances.load().settlements


def documents(
    invoices: list[int],
    memos: list[int] = [],  # noqa: B006
    currency: str = "GBP",
    beyond: int = 0,
) -> pd.DataFrame:
    rows = [("invoice", f"INV-{n}", amount) for n, amount in enumerate(invoices)]
    rows += [("credit_memo", f"CM-{n}", amount) for n, amount in enumerate(memos)]
    return pd.DataFrame(
        [
            (kind, name, "SO-1", currency, amount * CENT, beyond * CENT * (kind != "invoice"))
            for kind, name, amount in rows
        ],
        columns=["kind", "id", "sales_order_id", "currency", "balance", "beyond"],
    )


def chosen(*parts: tuple[str, int]) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "_row": np.zeros(len(parts), dtype="int64"),
            "Document": pd.Series([name for name, _ in parts], dtype="str"),
            "Amount": pd.array([amount * CENT for _, amount in parts], dtype="Int64"),
        }
    )


def matched(parts: pd.DataFrame, open_ones: pd.DataFrame, decided: pd.DataFrame | None = None, **more: object):
    return rules.match(
        parts, chosen() if decided is None else decided, existing(len(parts), **more), open_ones, TOLERANCE
    )


def paid(found: rules.Matched) -> list[str]:
    names = found.applications["InvoiceID"].fillna(found.applications["CreditMemoID"])
    return [f"{name} {amount // CENT}" for name, amount in zip(names, found.applications["Amount"], strict=True)]


def test_a_part_of_several_invoices_is_found_whatever_their_order():
    found = matched(orders((700, 0)), documents([200, 500, 300]))
    assert paid(found) == ["INV-0 200", "INV-1 500"]
    assert found.problems.empty


def test_the_exact_one_is_taken_before_a_near_one_and_the_oldest_of_equal_ones():
    assert paid(matched(orders((500, 0), lines=9), documents([499, 500, 500]))) == ["INV-1 500"]


@pytest.mark.parametrize(
    ("lines", "settled", "matches"),
    [
        (1, 999, True),
        (1, 998, False),
        (2, 1002, True),
        (5, 995, True),
        (9, 995, True),
        (9, 994, False),
        (9, 1006, False),
    ],
)
def test_a_cent_a_line_and_five_an_order_are_tolerated_and_kept_as_rounding(lines: int, settled: int, matches: bool):
    found = matched(orders((settled, 0), lines=lines), documents([1000]))
    assert found.problems.empty is matches
    if matches:
        assert paid(found) == ["INV-0 1000"]
        assert found.header["rounding"].iloc[0] == (1000 - settled) * CENT


def test_what_a_return_gave_back_beyond_its_credit_memo_is_paid_with_it_exactly_and_rounded_once():
    found = matched(orders((0, -132)), documents([], [124], beyond=8))
    assert paid(found) == ["CM-0 -124"]
    assert found.header[["refund_rounding", "rounding"]].to_numpy().tolist() == [[8 * CENT, 0]]
    near = matched(orders((0, -131)), documents([], [124], beyond=8))
    assert near.header["rounding"].tolist() == [-1 * CENT]
    by_hand = matched(orders((0, -132)), documents([], [124], beyond=8), chosen(("CM-0", -124)))
    assert (paid(by_hand), by_hand.header["rounding"].tolist()) == (["CM-0 -124"], [0])


@pytest.mark.parametrize(("settled", "matches"), [(1_000_00, True), (1_001_00, True), (1_002_00, False)])
def test_a_currency_without_decimals_is_tolerated_in_whole_ones(settled: int, matches: bool):
    found = matched(orders((settled, 0), currency="JPY"), documents([1_000_00], currency="JPY"))
    assert (paid(found) == ["INV-0 100000"]) is matches
    assert (found.header["rounding"].iloc[0] == 1_000_00 * CENT - settled * CENT) if matches else len(found.problems)


def test_sale_and_refund_of_one_settlement_are_one_payment_of_the_net():
    found = matched(orders((9800, -4500)), documents([9800], [4500]))
    assert paid(found) == ["INV-0 9800", "CM-0 -4500"]
    assert found.header["Amount"].iloc[0] == 5300 * CENT


@pytest.mark.parametrize(
    ("parts", "open_ones", "open_units", "reason"),
    [
        ((500, 0), documents([]), 1, "its invoice is not in TIMS yet"),
        ((500, 0), documents([400]), 1, "its invoice is not in TIMS yet"),
        ((0, -500), documents([]), 0, "its credit memo is not in TIMS yet"),
        ((500, -500), documents([500]), 0, "its credit memo is not in TIMS yet"),
    ],
)
def test_what_is_not_invoiced_or_credited_yet_waits_whole(parts, open_ones, open_units: int, reason: str):
    found = matched(orders(parts), open_ones, open_units=open_units)
    assert found.header[["state", "reason"]].iloc[0].tolist() == ["waiting", reason]
    assert found.applications.empty
    assert found.problems.empty


@pytest.mark.parametrize(
    ("parts", "open_ones", "rule", "words"),
    [
        ((400, 0), documents([500]), "amount_differs", "INV-0 (5.00), 1.00 more than that"),
        ((500, 0), documents([]), "nothing_open", "it has no open invoices"),
        ((-500, 0), documents([500]), "amount_differs", "INV-0 (5.00)"),
        ((0, -400), documents([], [500]), "amount_differs", "its open credit memos are CM-0 (5.00)"),
        ((500, 0), documents([500], currency="USD"), "currency_mismatch", "invoiced in USD, but settled in GBP"),
    ],
)
def test_what_does_not_match_is_told_with_all_that_it_could_pay(parts, open_ones, rule: str, words: str):
    found = matched(orders(parts), open_ones)
    assert found.problems["rule"].tolist() == [rule]
    assert words in found.problems["says"].iloc[0]
    assert found.applications.empty


def test_an_order_that_nobody_knows_is_told_with_the_number_like_it():
    found = matched(orders((500, 0)), documents([]), sales_order_id=None, near="B")
    assert found.problems["rule"].tolist() == ["unknown_order"]
    assert "Like it: B." in found.problems["says"].iloc[0]
    waiting = matched(orders((500, 0)), documents([]), sales_order_id=None, expected=True)
    assert waiting.header["state"].tolist() == ["waiting"]


def test_what_waits_says_why_and_an_order_of_another_site_is_told_with_that_site():
    waiting = matched(orders((500, 0)), documents([]), sales_order_id=None, expected=True, why="it is on its way")
    assert waiting.header[["state", "reason"]].iloc[0].tolist() == ["waiting", "it is on its way"]
    other = matched(orders((500, 0)), documents([]), sales_order_id=None, elsewhere="SO-9 of Amazon DE")
    (reported,) = other.problems.to_dict("records")
    assert (reported["rule"], reported["value"]) == ("order_of_another_site", "A")
    assert "is in TIMS, but as SO-9 of Amazon DE; the settlement is of Amazon UK (sold 5.00 GBP)" in reported["says"]
    assert "ApplyTo" in reported["do"]


def test_nothing_settled_is_left_out():
    assert matched(orders((0, 0)), documents([500])).header["state"].tolist() == ["left_out"]


def test_a_persons_decision_is_followed_exactly_or_refused():
    open_ones = documents([500, 300], [200])
    assert paid(matched(orders((600, -100)), open_ones, chosen(("INV-0", 400), ("INV-1", 200), ("CM-0", -100)))) == [
        "INV-0 400", "INV-1 200", "CM-0 -100",
    ]  # fmt: skip
    for wrong in (
        (("INV-0", 600), ("CM-0", -100)),
        (("INV-0", 400),),
        (("INV-9", 500),),
        (("INV-0", 250), ("INV-0", 250)),
    ):
        found = matched(orders((600, -100)), open_ones, chosen(*wrong))
        assert found.problems["rule"].tolist() == ["apply_to_wrong"]
        assert found.applications.empty


@examples(50)
@given(data=st.data(), invoices=st.lists(CENTS, min_size=1, max_size=6))
def test_random_splits_of_an_order_into_settlements_match_or_except_and_no_sum_is_lost(data, invoices: list[int]):
    """Each settlement pays some of the invoices, off by a few cents, in any order."""
    turn = data.draw(st.lists(st.integers(0, len(invoices) - 1), min_size=len(invoices), max_size=len(invoices)))
    groups = [[n for n, own in enumerate(turn) if own == g] for g in sorted(set(turn))]
    off = data.draw(st.lists(st.integers(-7, 7), min_size=len(groups), max_size=len(groups)))
    lines = data.draw(st.integers(1, 8))
    parts = [(max(1, sum(invoices[n] for n in group) + away), 0) for group, away in zip(groups, off, strict=True)]
    found = matched(orders(*parts, lines=lines), documents(invoices))
    troubles = set(found.problems["_row"])
    used = found.applications["InvoiceID"].tolist()
    assert len(used) == len(set(used))  # no invoice is paid twice
    for row, (settled, _) in enumerate(parts):
        mine = found.applications[found.applications["_row"] == row]
        if row in troubles:
            assert mine.empty
            continue
        total = int(mine["Amount"].sum())
        assert total == sum(invoices[int(name.removeprefix("INV-"))] for name in mine["InvoiceID"]) * CENT
        assert found.header["Amount"].iloc[row] == total
        assert found.header["rounding"].iloc[row] == total - settled * CENT
        assert abs(total // CENT - settled) <= min(lines, 5)


@examples(50)
@given(st.lists(CENTS, min_size=1, max_size=8), st.data())
def test_any_exact_combination_is_found(balances: list[int], data):
    subset = data.draw(st.sets(st.integers(0, len(balances) - 1), min_size=1))
    wanted = sum(balances[n] for n in subset)
    picked, difference, fits = rules.pick(
        np.array([wanted]), np.array([5]), np.zeros(len(balances), dtype=np.int64), np.array(balances)
    )
    assert fits.tolist() == [True]
    assert difference.tolist() == [0]
    assert np.array(balances)[picked].sum() == wanted


# ---- terms ---------------------------------------------------------------------------------------------------------


def terms(deposit: str, currency: str = "GBP", status: str = "Open"):
    given_orders = pd.DataFrame(
        {"DepositDate": [deposit], "CurrencyCode": [currency], "Channel": ["Amazon UK"]}, dtype="str"
    )
    periods = pd.DataFrame(
        {"id": ["2011-01", "2011-02"], "start_date": ["2011-01-01", "2011-02-01"], "status": [status, "Open"]},
        dtype="str",
    )
    rates = lookups.read("exchange_rates", keys=2)
    columns, found = rules.terms(given_orders, "Europe/London", "GBP", periods, accounts.load(), rates)
    return columns.iloc[0], found["rule"].tolist()


def test_the_company_zone_decides_the_day_and_a_closed_period_moves_it():
    columns, found = terms("2011-01-31T23:30:00Z")
    assert (columns["PaymentDate"], columns["PostingDate"], found) == ("2011-01-31", "2011-01-31", [])
    assert pd.isna(columns["ExchangeRate"])
    columns, _ = terms("2011-01-31T12:00:00Z", status="Closed")
    assert (columns["PaymentDate"], columns["PostingDate"], columns["original_date"]) == (
        "2011-01-31", "2011-02-01", "2011-01-31",
    )  # fmt: skip


def test_another_currency_has_the_rate_of_its_day_or_stops():
    assert terms("2011-01-20T12:00:00Z", "USD")[0]["ExchangeRate"] == "0.64102564"
    assert terms("2011-01-20T12:00:00Z", "JPY")[1] == ["no_exchange_rate"]
    assert terms("2010-12-20T12:00:00Z", "USD", "Open")[1] == ["no_exchange_rate"]
