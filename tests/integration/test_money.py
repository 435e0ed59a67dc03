"""Money, the checklist, approvals, reconciliation and the audit log, as people see them: on a right ledger."""

from __future__ import annotations

import csv
import io
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
import sqlalchemy as sa

from contract.tims_calls import credit, invoice, line, payment, plain, plain_invoice
from crossdock.errors import ConfigError, NotAllowed
from crossdock.ledger import close as ledger_close
from crossdock.ledger.close import close, last_day, require_month, span
from crossdock.services import approvals, audit, closing, money, money_files, open_items, people, reconciliation
from crossdock.services.audit import Filter
from crossdock.services.money import LineFilter
from crossdock.services.open_items import OpenFilter
from crossdock.services.people import Person, Role
from crossdock.store import approvals as kept_approvals
from crossdock.store import audit as kept_audit
from crossdock.store.tables import (
    ops_closing_step,
    ops_open_item,
    ops_orphan,
    ops_reconcile_difference,
    ops_reconcile_run,
    ref_settlement,
)
from crossdock.watch.reconcile.catalogue import NO_ITEM
from integration.ledger_env import LedgerEnv, found_ledger_env

MONTH = "2011-01"
EVA = Person("eva", frozenset({Role.ACCOUNTANT}), "10.0.0.7")
CLARA = Person("clara", frozenset({Role.CLERK}), "10.0.0.8")
VIC = Person("vic", frozenset({Role.VIEWER}))
CENT = Decimal("0.01")
PROJECT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def ledger_env(postgres_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LedgerEnv]:
    """A month with a sale that is paid out, one that is open, a refund, and a settlement."""
    with found_ledger_env(postgres_url, "money", tmp_path_factory.mktemp("tims")) as ledger_env:
        shipment = ledger_env.tims.shipped(ShippingTaxRemittedBy="Marketplace")
        sold = ledger_env.tims.made("/ar/invoices", invoice(shipment))
        other = ledger_env.tims.shipped(**plain(line(), total="100.00"))
        later = {"ExternalReference": "inv:2", "PostingDate": "2011-01-20"}
        ledger_env.tims.made("/ar/invoices", plain_invoice(other, 2, "100.00", **later))
        back = ledger_env.tims.made("/ar/credit-memos", credit(sold))
        order = {"order_ref": "114-1", "sales_order_id": sold["SalesOrderID"]}
        ledger_env.book("77", "45.24", ("principal", "98.00"), ("refund_principal", "-45.01"), ("commission", "-14.70"),
                  ("refund_commission", "6.95"), **order)  # fmt: skip
        applied = (("InvoiceID", sold["InvoiceID"], "98.00"), ("CreditMemoID", back["CreditMemoID"], "-45.00"))
        ledger_env.tims.made("/ar/payments", payment("53.00", *applied, ExternalReference="pay:amazon_us:77:114-1"))
        ledger_env.execute(
            "INSERT INTO stage.payment (key, batch_id, version, state, rounding, sales_order_id) "
            "VALUES ('amazon_us:77:114-1', 0, now(), 'delivered', 0.01, :order)",
            order=sold["SalesOrderID"],
        )
        ledger_env.post_all()
        close_month(ledger_env)
        yield ledger_env


def close_month(ledger_env: LedgerEnv, run_id: str = "", period: str = MONTH) -> None:
    ledger_env.tims.advance(10)
    with ledger_env.runtime() as runtime:
        close(runtime, period, wait=0, run_id=run_id)


@pytest.fixture
def connection(ledger_env: LedgerEnv) -> Iterator[sa.Connection]:
    """What a test changes is rolled back."""
    with ledger_env.runtime() as runtime, runtime.engine.connect() as connection:
        yield connection
        connection.rollback()


# ---- figures -------------------------------------------------------------------------------------------------------


def of_tims(ledger_env: LedgerEnv) -> list[dict]:
    """All lines of all entries, as TIMS's API gives them."""
    return [
        {"day": entry["PostingDate"], "currency": entry["CurrencyCode"], **one, **(one.get("Dimensions") or {})}
        for entry in ledger_env.entries().values()
        for one in entry["Lines"]
    ]


def test_the_trial_balance_is_that_of_tims_to_the_cent(ledger_env: LedgerEnv, connection: sa.Connection) -> None:
    rows = money.trial_balance(connection, VIC, MONTH)
    ours = {row.account: row.after for row in rows if row.currency_code == "USD" and row.after}
    stated = ledger_env.tims.get("/gl/trial-balance", CurrencyCode="USD", AsOf="2011-01-31")
    theirs = {one["AccountCode"]: Decimal(one["Debit"]) - Decimal(one["Credit"]) for one in stated["Lines"]}
    assert ours == {code: amount for code, amount in theirs.items() if amount}
    assert sum(row.after for row in rows) == 0
    assert sum(row.debit for row in rows) == sum(row.credit for row in rows) > 0
    moved = {row.account: row.after for row in money.trial_balance(connection, VIC, "2011-02")}
    before = {row.account: row.before for row in money.trial_balance(connection, VIC, "2011-02")}
    assert before == moved, "nothing was posted in February"


def test_profit_by_channel_and_sku_is_the_sum_of_the_lines_to_the_cent(
    ledger_env: LedgerEnv, connection: sa.Connection
) -> None:
    codes = {"4000": "revenue", "4010": "revenue", "4020": "revenue", "4100": "discounts", "4200": "refunds",
             "5000": "cost", "6100": "fees", "2200": "tax"}  # fmt: skip
    expected: dict[tuple[str, str], dict[str, Decimal]] = defaultdict(lambda: defaultdict(Decimal))
    for one in of_tims(ledger_env):
        if one["AccountCode"] in codes:
            place = one.get("Channel") or "", one.get("SKU") or ""
            expected[place][codes[one["AccountCode"]]] += Decimal(one["Credit"]) - Decimal(one["Debit"])
    found = money.profit(connection, VIC, MONTH, by_sku=True)
    assert len(expected) >= 2
    for row in found.rows:
        wanted = expected.get((row.channel, row.sku), defaultdict(Decimal))
        assert (row.revenue, -row.discounts, -row.refunds, -row.cost, -row.fees, row.tax) == tuple(
            wanted[name] for name in ("revenue", "discounts", "refunds", "cost", "fees", "tax")
        ), row
    (total,) = found.totals
    by_channel = money.profit(connection, VIC, MONTH)
    assert by_channel.totals == found.totals
    assert sum(row.profit for row in by_channel.rows) == total.profit
    assert total.profit == sum(
        row.before + row.credit - row.debit
        for row in money.trial_balance(connection, VIC, MONTH)
        if row.type in ("Revenue", "Expense")
    )
    assert total.revenue > total.cost > 0
    assert total.fees > 0


def test_profit_is_paged_and_each_row_comes_once(connection: sa.Connection) -> None:
    whole = money.profit(connection, VIC, MONTH, by_sku=True)
    pages, after = [], None
    while True:
        page = money.profit(connection, VIC, MONTH, by_sku=True, after=after, limit=1)
        assert page.totals == whole.totals
        pages += page.rows
        after = page.after
        if after is None:
            break
    assert tuple(pages) == whole.rows
    assert len(whole.rows) > 1


def test_profit_in_the_base_currency_takes_the_rate_of_each_day_and_names_what_has_none(
    ledger_env: LedgerEnv, connection: sa.Connection
) -> None:
    connection.execute(sa.text("UPDATE ref.company SET base_currency = 'GBP'"))
    (own,) = money.profit(connection, VIC, MONTH).totals
    (base,) = money.profit(connection, VIC, MONTH, in_base=True).totals
    assert base.currency_code == "GBP"
    of_skus = money.profit(connection, VIC, MONTH, in_base=True, by_sku=True)
    assert of_skus.totals == (base,), "a month has one profit, however its rows are cut"
    assert abs(sum(row.profit for row in of_skus.rows) - base.profit) <= CENT * len(of_skus.rows)
    assert abs(base.profit - own.profit * Decimal("0.64102564")) < CENT * 10
    connection.execute(sa.text("UPDATE ref.gl_entry SET currency_code = 'PLN' WHERE external_reference ~ '^sale:'"))
    missing = money.profit(connection, VIC, MONTH, in_base=True)
    assert [currency for currency, _ in missing.without_rate] == ["PLN"]
    assert missing.without_rate[0][1] > 0
    assert missing.totals[0].revenue == 0


def test_lines_are_paged_by_key_and_lead_to_their_order(ledger_env: LedgerEnv, connection: sa.Connection) -> None:
    found, after = [], None
    while True:
        page = money.lines(connection, VIC, MONTH, LineFilter(), after=after, limit=3)
        found += page.rows
        after = page.after
        if after is None:
            break
    assert len(found) == len({(one.entry, one.line_no) for one in found}) == len(of_tims(ledger_env))
    assert [one.posting_date for one in found] == sorted(one.posting_date for one in found)
    sale = money.lines(connection, VIC, MONTH, LineFilter(account="4000")).rows[0]
    assert sale.order_id
    assert sale.sku == "LAMP"
    assert sale.document.startswith("INV-")
    without = money.lines(connection, VIC, MONTH, LineFilter(sku="")).rows
    assert without
    assert {one.sku for one in without} == {None}
    cost = money.lines(connection, VIC, MONTH, LineFilter(group="cost")).rows
    assert {one.account for one in cost} == {"5000"}


def test_a_payout_ties_to_its_deposit_lines_orders_and_entries(
    ledger_env: LedgerEnv, connection: sa.Connection
) -> None:
    (row,) = money.payouts(connection, VIC, MONTH)
    assert (row.settlement_id, row.total, row.lines_total, row.deposited) == ("77", *[Decimal("45.24")] * 3)
    assert (row.lines, row.orders, row.state) == (4, 1, "ties")
    page = money.payout(connection, VIC, "amazon_us", "77")
    became = {one.kind: (bool(one.entry), bool(one.payment)) for one in page.rows}
    assert became == {
        "principal": (False, True), "refund_principal": (False, True), "commission": (True, True),
        "refund_commission": (True, True),
    }  # fmt: skip
    entries = {one.entry for one in page.rows if one.entry} | {row.deposit_entry}
    assert len(entries) == row.entries == 3
    assert sum(kind.amount for kind in page.kinds) == row.total
    connection.execute(sa.text("UPDATE ref.settlement_line SET amount = amount + 0.01 WHERE kind = 'commission'"))
    assert money.payouts(connection, VIC, MONTH)[0].state == "differs"
    with pytest.raises(ConfigError, match="no such settlement"):
        money.payout(connection, VIC, "amazon_us", "78")


def test_a_deposit_that_is_not_posted_waits_and_a_wrong_one_differs(connection: sa.Connection) -> None:
    connection.execute(
        sa.text("UPDATE ref.gl_entry_line SET debit = 45.25 WHERE account_code = '1000' AND debit = 45.24")
    )
    assert money.payouts(connection, VIC, MONTH)[0].state == "differs"
    connection.execute(sa.text("DELETE FROM ref.gl_entry WHERE external_reference ~ '^transfer:'"))
    assert money.payouts(connection, VIC, MONTH)[0].state == "waits"


def test_the_export_is_that_of_the_command_and_on_record(
    ledger_env: LedgerEnv, connection: sa.Connection, tmp_path: Path
) -> None:
    with ledger_env.runtime() as runtime:
        closed = close(runtime, MONTH, wait=0, export=tmp_path)
    for path in map(Path, closed.files):
        kind = path.suffix.removeprefix(".")
        assert money.exported(connection, EVA, MONTH, kind) == path.name
        assert "".join(money.export(connection, EVA, MONTH, kind)).encode() == path.read_bytes()
    rows = connection.execute(sa.text("SELECT who, subject FROM ops.audit WHERE action = 'month export'")).all()
    assert [(row.who, row.subject) for row in rows] == [("eva", MONTH)] * 2
    with pytest.raises(ConfigError, match="no file"):
        money.exported(connection, EVA, MONTH, "exe")


@pytest.mark.parametrize("period", ["2011", "2011-13", "x", "2011-01-01", "../etc"])
def test_a_month_that_is_none_is_told_in_a_sentence(connection: sa.Connection, period: str) -> None:
    for ask in (
        lambda: closing.month(connection, VIC, period),
        lambda: money.trial_balance(connection, VIC, period),
        lambda: money.payouts(connection, VIC, period),
        lambda: closing.tick(connection, EVA, period, "payouts"),
        lambda: closing.may_close(connection, EVA, period),
    ):
        with pytest.raises(ConfigError, match="is no period"):
            ask()


def let_it_be(connection: sa.Connection, day: str) -> None:
    """What TIMS's clock said when it was read just now."""
    connection.execute(
        sa.text(
            "INSERT INTO ops.watermark (flow, resource, position, read_at) VALUES ('clock', 'tims.clock', "
            "CAST(:day AS timestamptz) + interval '1 min', now() + interval '1 min')"
        ),
        {"day": day},
    )


@pytest.mark.parametrize("period", ["9999-12", "0001-01", "2010-12", "2011-03"])
def test_a_month_that_is_not_there_is_neither_shown_nor_checked_nor_closed(
    ledger_env: LedgerEnv, connection: sa.Connection, period: str
) -> None:
    let_it_be(connection, "2011-02-20")
    before = connection.scalar(sa.text("SELECT count(*) FROM ops.closing"))
    for ask in (
        lambda: closing.month(connection, VIC, period),
        lambda: closing.may_close(connection, EVA, period),
        lambda: closing.close_asked(connection, EVA, period, "nightly_close/x"),
        lambda: closing.tick(connection, EVA, period, "payouts", "why"),
        lambda: money.exported(connection, EVA, period, "csv"),
    ):
        with pytest.raises(ConfigError, match=f"There is no month {period}") as refused:
            ask()
        assert refused.value.do == "Take 2011-01 to 2011-02."
    assert connection.scalar(sa.text("SELECT count(*) FROM ops.closing")) == before
    with ledger_env.runtime() as runtime, pytest.raises(ConfigError, match=f"There is no month {period}"):
        require_month(runtime, period)  # what the command and the DAG ask first
    connection.execute(
        sa.text("INSERT INTO ops.closing (period, run_id, asked_by) VALUES (:period, 'x', 'eva')"), {"period": period}
    )
    assert [row.period for row in closing.months(connection, VIC)[0]] == ["2011-02", "2011-01"]


def test_links_lead_to_months_that_are_there_only(connection: sa.Connection) -> None:
    let_it_be(connection, "2011-02-20")
    beside = {month: closing.month(connection, VIC, month) for month in ("2011-01", "2011-02")}
    assert [(one.before, one.following) for one in beside.values()] == [(None, "2011-02"), ("2011-01", None)]


def test_the_month_is_the_one_of_the_company_and_of_its_clock(connection: sa.Connection) -> None:
    connection.execute(sa.text("UPDATE ref.company SET time_zone = 'Pacific/Auckland'"))
    let_it_be(connection, "2011-02-28T12:00:00Z")
    assert span(connection).present == "2011-03", "there it is one o'clock in the morning"
    connection.execute(sa.text("UPDATE ops.watermark SET read_at = now() - interval '60 days'"))
    assert span(connection).present == "2011-04", "and it has gone on since it was read"
    late = datetime(2011, 6, 1, tzinfo=UTC)
    assert span(connection, late) == ("2011-01", "2011-06", "2011-06")
    connection.execute(sa.text("UPDATE ref.gl_entry SET posting_date = '2012-01-30'"))
    found = span(connection, late)
    assert found.last == "2012-01"
    found.require("2012-01", later=True)  # to be seen
    with pytest.raises(ConfigError, match="It is 2011-06 now"):
        found.require("2012-01")
    connection.execute(sa.text("DELETE FROM ref.gl_entry_line"))
    connection.execute(sa.text("DELETE FROM ref.gl_entry"))
    assert span(connection, late).first == "2011-01", "its settlement ends there"
    connection.execute(sa.text("DELETE FROM ref.settlement_line"))
    connection.execute(sa.text("DELETE FROM ref.settlement"))
    assert span(connection, late) == ("2011-05", "2011-06", "2011-06")


# ---- the close and its checklist -----------------------------------------------------------------------------------


def test_a_month_shows_what_its_last_close_found(ledger_env: LedgerEnv, connection: sa.Connection) -> None:
    found = closing.month(connection, VIC, MONTH)
    assert found.close is not None
    assert found.close.failed == 0
    assert found.running is None
    assert len(found.controls) == found.close.controls > 15
    assert all(one.message and one.do for one in found.controls if one.name != "entries_of_documents")
    assert [(one.kind, one.count, one.amount) for one in found.open_items] == [("invoices", 1, Decimal("100.00"))]
    (item,) = open_items.items(connection, VIC, MONTH).rows
    assert item.document.startswith("INV-")
    assert (item.age, item.days) == ("0-30", 11)
    rows, more = closing.months(connection, VIC)
    assert more is None
    assert MONTH in [row.period for row in rows]


def test_a_control_that_does_not_hold_names_its_documents_and_stops_the_tick(ledger_env: LedgerEnv) -> None:
    ledger_env.execute("UPDATE ref.invoice SET total = total + 0.01 WHERE total = 98")
    close_month(ledger_env, "nightly_close/one")
    close_month(ledger_env, "nightly_close/one")  # the task was cleared
    ledger_env.execute("UPDATE ref.invoice SET total = 98 WHERE total = 98.01")
    with ledger_env.runtime() as runtime, runtime.engine.begin() as connection:
        found = closing.month(connection, EVA, MONTH)
        failed = [one for one in found.controls if not one.holds]
        assert len(failed) == found.close.failed > 0, "of the second look alone"
        assert any(document.startswith("INV-") for one in failed for document in one.documents)
        assert all(one.do for one in failed)
        with pytest.raises(ConfigError, match="do not hold"):
            closing.tick(connection, EVA, MONTH, "controls")
    close_month(ledger_env)
    with ledger_env.runtime() as runtime, runtime.engine.begin() as connection:
        assert closing.month(connection, EVA, MONTH).close.failed == 0


def work_through(connection: sa.Connection, *but: str, note: str = " seen ", month: str = MONTH) -> None:
    """Does what the steps ask for and ticks them, but some."""
    closing.note_open_items(connection, EVA, month)
    money.exported(connection, EVA, month, "csv")
    for step in closing.STEPS:
        if step not in but:
            closing.tick(connection, EVA, month, step, note)


def step(connection: sa.Connection, name: str) -> closing.Step:
    return next(one for one in closing.month(connection, VIC, MONTH).steps if one.name == name)


def test_the_checklist_is_ticked_in_order_and_every_tick_is_on_record(connection: sa.Connection) -> None:
    people.begin(connection, EVA)
    with pytest.raises(ConfigError, match=r"yet\. First: All payouts"):
        closing.tick(connection, EVA, MONTH, "closed")
    work_through(connection)
    found = closing.month(connection, VIC, MONTH)
    assert found.closed
    assert [(step.who, step.note) for step in found.steps] == [("eva", "seen")] * 5
    with pytest.raises(ConfigError, match="ticked this before"):
        closing.tick(connection, EVA, MONTH, "closed")
    with pytest.raises(ConfigError, match="is ticked as closed"):
        closing.untick(connection, EVA, MONTH, "payouts", "too early")
    with pytest.raises(ConfigError, match="without a reason"):
        closing.untick(connection, EVA, MONTH, "closed", " ")
    closing.untick(connection, EVA, MONTH, "closed", "a late invoice")
    rows = audit.deeds(connection, VIC, Filter(subject=MONTH)).rows
    assert rows[0].action == "month closed taken back"
    assert {"month payouts", "month controls", "month open_items", "month exported", "month closed"} <= {
        row.action for row in rows
    }
    assert {(row.who, row.address) for row in rows if row.action.startswith("month closed")} == {("eva", "10.0.0.7")}


def test_what_was_not_done_is_not_ticked(connection: sa.Connection) -> None:
    connection.execute(sa.text("DELETE FROM ops.closing_step"))
    with pytest.raises(ConfigError, match="Open the page of open items first"):
        closing.tick(connection, EVA, MONTH, "open_items", "I know them")
    for looker in (VIC, CLARA):  # who may not close has looked at them for nobody
        closing.note_open_items(connection, looker, MONTH)
    assert step(connection, "open_items").blocked
    closing.note_open_items(connection, EVA, MONTH)
    one = step(connection, "open_items")
    assert one.facts_by is not None
    assert (one.blocked, one.facts, one.facts_by.who) == ("", "1 is open. Opened by", "eva")
    closing.tick(connection, EVA, MONTH, "open_items")


def test_an_export_counts_while_the_books_are_what_it_holds(connection: sa.Connection) -> None:
    connection.execute(sa.text("UPDATE ref.gl_entry_line SET memo = 'never exported'"))
    connection.execute(sa.text("UPDATE ref.gl_entry_line SET debit = debit * 3, credit = credit * 3"))
    assert step(connection, "exported").blocked
    with pytest.raises(ConfigError, match="Download one of the two files"):
        closing.tick(connection, EVA, MONTH, "exported", "It lies on my desk")
    money.exported(connection, EVA, MONTH, "beancount")
    one = step(connection, "exported")
    assert one.facts_by is not None
    assert (one.blocked, one.facts, one.facts_by.who) == ("", f"ledger-{MONTH}.beancount was taken by", "eva")
    connection.execute(sa.text("UPDATE ref.gl_entry_line SET debit = debit * 2, credit = credit * 2"))
    assert "have changed since" in step(connection, "exported").blocked


def test_missing_payouts_are_ticked_with_a_reason_only_and_marked(connection: sa.Connection) -> None:
    reason = '[{"rule": "gap", "says": "A period is missing.", "field": "StartDate", "value": "", "do": "Find it."}]'
    number = connection.scalar(
        sa.text(
            "INSERT INTO ops.dead_letter (flow, entity, key, batch_id, step, reasons, payload, version) VALUES "
            "('payouts', 'settlement', 'amazon_us/79.txt', 0, 'check', :reason, '{}', now()) RETURNING id"
        ),
        {"reason": reason},
    )
    found = closing.month(connection, VIC, MONTH)
    assert [(one.letter, one.file, one.why) for one in found.files.refused] == [
        (number, "amazon_us/79.txt", "A period is missing.")
    ]
    (source,) = found.files.sources
    assert (source.source, source.ended, source.paid, source.file) == ("amazon_us", 1, 1, "77.txt")
    with pytest.raises(ConfigError, match="1 settlement file is refused") as refused:
        closing.tick(connection, EVA, MONTH, "payouts", " ")
    assert "in the note" in (refused.value.do or "")
    closing.tick(connection, EVA, MONTH, "payouts", "It is of February")
    one = step(connection, "payouts")
    assert one.done
    assert one.although.startswith("1 settlement file is refused")
    (deed,) = audit.deeds(connection, VIC, Filter(action="month payouts")).rows[:1]
    assert "refused" in str(deed)


def test_ticks_fall_away_when_the_books_of_the_month_change(connection: sa.Connection) -> None:
    work_through(connection)
    connection.execute(sa.text("UPDATE ref.gl_entry SET version = version WHERE true"))
    assert closing.month(connection, VIC, MONTH).closed
    with connection.begin_nested() as other_month:
        connection.execute(sa.text(LATE_ENTRY), {"day": "2011-02-03"})
        connection.execute(sa.text(LATE_LINES))
        assert closing.month(connection, VIC, MONTH).closed, "another month's entry changes nothing here"
        other_month.rollback()
    connection.execute(sa.text(LATE_ENTRY), {"day": "2011-01-30"})
    connection.execute(sa.text(LATE_LINES))
    found = closing.month(connection, VIC, MONTH)
    assert not found.closed
    assert [one.done for one in found.steps] == [False] * 5
    assert all(one.who == "eva" and "changed since" in one.fell for one in found.steps)
    assert (found.changed, found.outdated) == (((MONTH, 1),), True)
    assert found.changed_since is not None
    late = money.lines(connection, VIC, MONTH, LineFilter(since=found.changed_since)).rows
    assert {one.entry for one in late} == {"GL-LATE"}
    row = next(one for one in closing.months(connection, VIC)[0] if one.period == MONTH)
    assert (row.closed, row.fallen, row.steps) == (False, True, 0)
    with pytest.raises(ConfigError, match="The books have changed since the last check"):
        closing.tick(connection, EVA, MONTH, "controls")
    connection.execute(sa.text("DELETE FROM ref.gl_entry_line WHERE entry_id = 'GL-LATE'"))
    assert closing.month(connection, VIC, MONTH).closed, "the books are again what was ticked"


LATE_ENTRY = """
INSERT INTO ref.gl_entry SELECT (jsonb_populate_record(e, jsonb_build_object('id', 'GL-LATE',
  'external_reference', 'late', 'posting_date', CAST(:day AS text), 'version', e.version + interval '1 h'))).*
FROM ref.gl_entry e ORDER BY version DESC LIMIT 1
"""
LATE_LINES = """
INSERT INTO ref.gl_entry_line (entry_id, line_no, account_code, debit, credit) VALUES
  ('GL-LATE', 1, '1000', 5, 0), ('GL-LATE', 2, '4000', 0, 5)
"""


def test_a_tick_and_a_check_are_of_all_books_up_to_the_end_of_the_month(
    ledger_env: LedgerEnv, connection: sa.Connection
) -> None:
    close_month(ledger_env, period="2011-02")
    let_it_be(connection, "2011-02-20")
    work_through(connection, month="2011-02", note="January is closed on paper")
    assert closing.month(connection, VIC, "2011-02").closed
    with connection.begin_nested() as later:
        connection.execute(sa.text(LATE_ENTRY), {"day": "2011-03-01"})
        connection.execute(sa.text(LATE_LINES))
        assert closing.month(connection, VIC, "2011-02").closed, "what comes after it is no part of its books"
        later.rollback()
    connection.execute(sa.text(LATE_ENTRY), {"day": "2011-01-30"})
    connection.execute(sa.text(LATE_LINES))
    found = closing.month(connection, VIC, "2011-02")
    assert (found.closed, found.outdated, found.changed) == (False, True, ((MONTH, 1),))
    assert all("up to the end of the month have changed" in one.fell for one in found.steps)
    row = next(one for one in closing.months(connection, VIC)[0] if one.period == "2011-02")
    assert (row.closed, row.fallen) == (False, True)
    for name, words in (("controls", "check again"), ("open_items", "check again"), ("exported", "again")):
        with pytest.raises(ConfigError, match=words):
            closing.tick(connection, EVA, "2011-02", name, "I know")
    connection.execute(sa.text("UPDATE ref.gl_entry SET posting_date = '2011-02-01' WHERE id = 'GL-LATE'"))
    assert closing.month(connection, VIC, "2011-02").outdated, "the same sums, in another month"


def test_a_tick_that_an_upgrade_makes_fall_away_says_so_and_is_no_change_of_the_books(
    connection: sa.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    closing.tick(connection, EVA, MONTH, "payouts", "All of them")
    closing.tick(connection, EVA, MONTH, "controls")
    kept = connection.scalar(sa.text("SELECT figures FROM ops.closing_step WHERE step = 'controls'"))
    assert kept is not None
    assert kept.startswith(f"{ledger_close.FIGURES_VERSION}:")
    of_before = kept.partition(":")[2]
    connection.execute(sa.text("UPDATE ops.closing_step SET figures = :digest"), {"digest": of_before})
    connection.execute(sa.text("UPDATE ops.closing SET figures = :digest"), {"digest": of_before})
    assert step(connection, "controls").done, "of before the version was kept, and the same books"
    assert not closing.month(connection, VIC, MONTH).outdated
    for digest in (kept, "0" * 32):  # of this version, and of one of before it was kept
        monkeypatch.setattr(ledger_close, "FIGURES_VERSION", "3")
        connection.execute(sa.text("UPDATE ops.closing_step SET figures = :digest"), {"digest": digest})
        found = closing.month(connection, VIC, MONTH)
        assert {one.fell for one in found.steps if one.who} == {closing.UPGRADED}
        assert found.upgraded
    connection.execute(
        sa.text("UPDATE ref.gl_entry SET version = now() + interval '1 day' WHERE document_type = 'Invoice'")
    )
    found = closing.month(connection, VIC, MONTH)
    assert {one.fell for one in found.steps if one.who} == {closing.FELL}, "entries have changed, too"
    assert not found.upgraded


def test_a_closed_month_of_before_an_upgrade_is_told_apart_in_the_list(
    connection: sa.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = {
        "period": MONTH,
        "step": "closed",
        "who": "eva",
        "figures": "1:old",
        "newest": datetime(2011, 2, 1, tzinfo=UTC),
    }
    connection.execute(sa.insert(ops_closing_step).values(**values))
    connection.execute(sa.text("UPDATE ref.gl_entry SET version = '2011-01-31'"))

    def row() -> closing.MonthRow:
        return next(one for one in closing.months(connection, VIC)[0] if one.period == MONTH)

    assert (row().closed, row().fallen, row().upgraded) == (False, True, True)
    connection.execute(sa.text("UPDATE ref.gl_entry SET version = '2011-03-01'"))
    assert (row().fallen, row().upgraded) == (True, False)
    connection.execute(sa.text("UPDATE ops.closing_step SET figures = NULL"))
    assert (row().closed, row().fallen, row().upgraded) == (True, False, False)


def test_a_month_is_closed_before_an_earlier_one_with_a_reason_only(
    ledger_env: LedgerEnv, connection: sa.Connection
) -> None:
    close_month(ledger_env, period="2011-02")
    let_it_be(connection, "2011-02-20")
    work_through(connection, "closed", month="2011-02")
    with pytest.raises(ConfigError, match=f"speaks against “The month is closed”: {MONTH} is still open"):
        closing.tick(connection, EVA, "2011-02", "closed", " ")
    with connection.begin_nested() as all_the_same:
        closing.tick(connection, EVA, "2011-02", "closed", "January waits for the bank")
        last = closing.month(connection, VIC, "2011-02").last
        assert (last.done, last.although) == (True, f"{MONTH} is still open.")
        all_the_same.rollback()
    work_through(connection)
    closing.tick(connection, EVA, "2011-02", "closed")
    assert closing.month(connection, VIC, "2011-02").last.although == ""


def test_settlements_are_counted_by_their_end_and_by_the_day_of_the_payout(
    ledger_env: LedgerEnv, connection: sa.Connection
) -> None:
    connection.execute(
        sa.text(
            "INSERT INTO ref.settlement SELECT (jsonb_populate_record(s, jsonb_build_object('settlement_id', '78', "
            "'end_at', '2011-01-31T00:00:00Z', 'deposit_at', '2011-02-02T15:00:00Z', 'content_hash', '78'))).* "
            "FROM ref.settlement s"
        )
    )
    for month, ended, paid in ((MONTH, ["77", "78"], ["77"]), ("2011-02", [], ["78"])):
        (source,) = closing.files(connection, VIC, month).sources
        assert (source.ended, source.paid) == (len(ended), len(paid))
        assert [one.settlement_id for one in money.payouts(connection, VIC, month)] == paid
        assert [one.settlement_id for one in money.payouts(connection, VIC, month, by_end=True)] == ended


def test_a_filter_that_nothing_knows_is_refused_and_an_empty_one_says_that_it_was_checked(
    connection: sa.Connection,
) -> None:
    with pytest.raises(ConfigError, match="There is no age 'zzz'") as refused:
        open_items.items(connection, VIC, MONTH, OpenFilter(age="zzz"))
    assert refused.value.do == "Take one of 0-30, 31-60, 61-90, over 90."
    assert open_items.items(connection, VIC, MONTH, OpenFilter(age="31-60")) == open_items.Items((), None, True)
    assert not open_items.items(connection, VIC, "2010-05").was_checked
    for read in (money.lines, money.line_sums):
        with pytest.raises(ConfigError, match="There is no group 'zzz'"):
            read(connection, VIC, MONTH, LineFilter(group="zzz"))


# ---- open items ----------------------------------------------------------------------------------------------------


@pytest.fixture
def many_open(connection: sa.Connection) -> list[open_items.OpenItem]:
    """Open items of March as a close of a large month keeps them: equal amounts and ages among them."""
    made = [
        open_items.OpenItem(
            number, ("credit memos", "invoices")[number > 20], ("EUR", "GBP", "USD")[number % 3], f"INV-{number:03d}",
            days := (number * 37) % 100, "0-30" if days <= 30 else "31-60" if days <= 60 else "61-90" if days <= 90
            else "over 90", Decimal((number * 13) % 7 - 3 or 1).quantize(Decimal("0.0001")),
            ("Amazon UK", "eBay")[number % 2], f"026-{number % 10}",
        )
        for number in range(60)
    ]  # fmt: skip
    connection.execute(sa.insert(ops_open_item), [{"period": "2011-03", **vars(one)} for one in made])
    return made


@pytest.mark.parametrize("sort", list(open_items.SORTS))
@pytest.mark.parametrize(
    "wanted",
    [OpenFilter(), OpenFilter(kind="invoices", currency="GBP"), OpenFilter(text="ebay"), OpenFilter(age="31-60")],
)
def test_open_items_come_sorted_a_page_at_a_time_each_once_and_add_up(
    connection: sa.Connection, many_open: list[open_items.OpenItem], wanted: OpenFilter, sort: str
) -> None:
    found, after = [], None
    while True:
        page = open_items.items(connection, VIC, "2011-03", wanted, sort=sort, after=after, limit=7)
        found += page.rows
        after = page.after
        if after is None:
            break
    expected = [
        one for one in many_open
        if wanted.kind in (None, one.kind) and wanted.currency in (None, one.currency_code)
        and wanted.age in (None, one.age)
        and (wanted.text or "").lower() in f"{one.document} {one.order_id} {one.party}".lower()
    ]  # fmt: skip
    column = sort.lstrip("-") or "position"
    expected.sort(key=lambda one: (getattr(one, column), one.position), reverse=sort.startswith("-"))
    assert found == expected
    assert found
    assert list(open_items.every_item(connection, VIC, "2011-03", wanted, sort)) == expected
    sums = open_items.sums(connection, VIC, "2011-03", wanted)
    by_currency: dict[str, list[Decimal]] = defaultdict(list)
    for one in found:
        by_currency[one.currency_code].append(one.amount)
    assert {one.currency_code: (one.count, one.amount) for one in sums.currencies if one.count} == {
        code: (len(amounts), sum(amounts)) for code, amounts in by_currency.items()
    }
    assert sum(one.amount for one in sums.by_age) == sum(one.amount for one in found)
    assert (sums.kinds, sums.all_currencies) == (("credit memos", "invoices"), ("EUR", "GBP", "USD"))


@pytest.mark.usefixtures("many_open")
def test_a_place_or_an_order_of_open_items_that_is_none_is_told_in_words(connection: sa.Connection) -> None:
    for after in ("x", "1", "1~x", "~", "12.0~1" + "0" * 20, f"{10**20}~1"):
        with pytest.raises(ConfigError, match="is no place in the list"):
            open_items.items(connection, VIC, "2011-03", sort="days", after=after)
    with pytest.raises(ConfigError, match="There is no order 'document'") as refused:
        open_items.items(connection, VIC, "2011-03", sort="document")
    assert refused.value.do == "Take one of amount, -amount, days, -days."
    with pytest.raises(ConfigError, match="There is no age"):
        open_items.sums(connection, VIC, "2011-03", OpenFilter(age="1"))
    assert open_items.items(connection, VIC, "2011-03", OpenFilter(text="%_")).rows == ()


def test_open_items_add_up_to_clearing_and_what_is_by_hand_is_named(connection: sa.Connection) -> None:
    (item,) = open_items.items(connection, VIC, MONTH).rows
    order = sa.text(
        "SELECT o.external_order_id FROM ref.sales_order o JOIN ref.invoice i ON i.sales_order_id = o.id "
        "WHERE i.id = :id"
    )
    assert item.order_id == connection.scalar(order, {"id": item.document})
    assert open_items.items(connection, VIC, MONTH, OpenFilter(text=item.order_id)).rows == (item,)
    sums = open_items.sums(connection, VIC, MONTH, OpenFilter())
    assert [code for code, _ in sums.clearing] == ["1100"]
    (usd,) = sums.currencies
    clearing = next(row.after for row in money.trial_balance(connection, VIC, MONTH) if row.account == "1100")
    assert (usd.count, usd.amount, usd.items, usd.balance, usd.by_hand) == (1, *[Decimal("100.00")] * 3, 0)
    assert usd.balance == clearing
    assert not sums.outdated
    connection.execute(
        sa.text(
            "UPDATE ref.gl_entry_line SET debit = debit + 7 WHERE account_code = '1100' AND line_no = 1 AND entry_id = "
            "(SELECT min(entry_id) FROM ref.gl_entry_line WHERE account_code = '1100' AND line_no = 1)"
        )
    )
    (usd,) = (changed := open_items.sums(connection, VIC, MONTH, OpenFilter())).currencies
    assert usd.by_hand == 7
    assert changed.outdated


def test_a_month_begins_and_ends_by_the_clock_of_the_company(connection: sa.Connection) -> None:
    def days(zone: str, period: str) -> tuple[str, str, str]:
        connection.execute(sa.text("UPDATE ref.company SET time_zone = :zone"), {"zone": zone})
        found = closing.days(connection, VIC, period)
        return found.zone, f"{found.begins:%Y-%m-%d %H:%M}", f"{found.ends:%Y-%m-%d %H:%M}"

    assert days("America/Chicago", "2011-03") == ("America/Chicago", "2011-03-01 06:00", "2011-04-01 05:00")
    assert days("Asia/Kolkata", "2011-12") == ("Asia/Kolkata", "2011-11-30 18:30", "2011-12-31 18:30")
    assert days("Nowhere/At all", MONTH) == ("", "2011-01-01 00:00", "2011-02-01 00:00")
    for zone in ("Asia/Kolkata", "America/Chicago"):
        assert days(zone, "9999-12")[0] == days(zone, "0001-01")[0] == zone
    connection.execute(sa.text("DELETE FROM ref.company"))
    assert closing.days(connection, VIC, MONTH).zone == ""


# ---- files ---------------------------------------------------------------------------------------------------------


def rows_of(text: Iterator[str]) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO("".join(text))))


@pytest.mark.usefixtures("many_open")
def test_each_file_has_what_its_page_has_in_plain_decimals(
    connection: sa.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(open_items, "PORTION", 7)
    monkeypatch.setattr(money, "PORTION", 2)
    month = {"person": VIC, "period": MONTH}
    balances = rows_of(money_files.trial_balance(connection, **month))
    assert [(one["account"], Decimal(one["after"])) for one in balances] == [
        (one.account, one.after) for one in money.trial_balance(connection, VIC, MONTH)
    ]
    wanted = OpenFilter(currency="GBP", text="amazon")
    found = rows_of(money_files.items(connection, person=VIC, period="2011-03", wanted=wanted, sort="-amount"))
    page = open_items.items(connection, VIC, "2011-03", wanted, sort="-amount").rows
    assert [(one["document"], Decimal(one["amount"]), one["age"]) for one in found] == [
        (one.document, one.amount, one.age) for one in page
    ]
    assert len(found) > 7
    (payout,) = rows_of(money_files.payouts(connection, **month, by_end=False, source=None))
    assert (payout["settlement_id"], payout["total"], payout["deposited"], payout["state"]) == (
        "77", "45.24", "45.24", "ties",
    )  # fmt: skip
    one = {"person": VIC, "source": "amazon_us", "settlement_id": "77"}
    lines = rows_of(money_files.payout_lines(connection, **one, kind=None))
    assert [(line["kind"], line["amount"]) for line in lines] == [
        ("principal", "98.00"), ("refund_principal", "-45.01"), ("commission", "-14.70"), ("refund_commission", "6.95"),
    ]  # fmt: skip
    assert len(rows_of(money_files.payout_lines(connection, **one, kind="commission"))) == 1
    for by_sku in (False, True):
        shown = money.profit(connection, VIC, MONTH, by_sku=by_sku)
        kept = rows_of(money_files.profit(connection, **month, by_sku=by_sku, channel=None, in_base=False))
        assert [Decimal(row["profit"]) for row in kept] == [row.profit for row in shown.rows]
        assert [Decimal(row["fees"]) for row in kept] == [-row.fees for row in shown.rows], "as on the page"
        assert ("sku" in kept[0]) == by_sku
    cells = [
        value for row in (*balances, *found, payout, *lines, *kept) for name, value in row.items()
        if name in ("amount", "total", "before", "debit", "profit", "fees") and value
    ]  # fmt: skip
    assert len(cells) > 30
    assert all(re.fullmatch(r"-?[0-9]+\.[0-9]{2}", value) for value in cells), cells


def test_no_cell_of_a_file_is_a_formula(connection: sa.Connection) -> None:
    connection.execute(
        sa.insert(ops_open_item),
        [{"period": "2011-04", "position": 0, "kind": "invoices", "currency_code": "USD", "document": "=cmd|'x'!A1",
          "days": 1, "age": "0-30", "amount": Decimal("-1.5"), "party": "@SUM(1)", "order_id": "+1\t"}],
    )  # fmt: skip
    connection.execute(sa.text("UPDATE ref.settlement_line SET sku = '-2+3', order_ref = '=1+1,\"a\"'"))
    (item,) = rows_of(money_files.items(connection, person=VIC, period="2011-04", wanted=OpenFilter(), sort=""))
    assert (item["document"], item["party"], item["amount"]) == ("'=cmd|'x'!A1", "'@SUM(1)", "-1.50")
    line = rows_of(money_files.payout_lines(connection, person=VIC, source="amazon_us", settlement_id="77", kind=None))[
        0
    ]
    assert (line["sku"], line["order_ref"]) == ("'-2+3", '\'=1+1,"a"')


def test_that_a_file_was_taken_is_on_record_and_ticks_nothing(connection: sa.Connection) -> None:
    assert money_files.taken(connection, EVA, MONTH, "payouts", {"source": None}) == f"payouts-{MONTH}.csv"
    connection.execute(sa.text("UPDATE ref.settlement SET settlement_id = 'a\"b/../c' WHERE settlement_id = '77'"))
    name = money_files.payout_taken(connection, EVA, "amazon_us", 'a"b/../c', "commission")
    assert re.fullmatch(r"payout-amazon_us-[A-Za-z0-9._-]+\.csv", name)
    assert "/" not in name
    deeds = audit.deeds(connection, VIC, Filter(who="eva")).rows[:2]
    assert [(one.before, one.thing) for one in deeds] == [
        ("downloaded the lines of", 'the payout amazon_us/a"b/../c'), ("downloaded a file of", MONTH),
    ]  # fmt: skip
    assert step(connection, "exported").blocked, "that is for the ledger itself"
    for ask in (
        lambda: money_files.taken(connection, EVA, "2009-01", "payouts"),
        lambda: money_files.payout_taken(connection, EVA, "amazon_us", "nothing", None),
    ):
        with pytest.raises(ConfigError, match="There is no"):
            ask()


# ---- the ledger's filter -------------------------------------------------------------------------------------------


def test_lines_are_found_by_account_document_sku_and_text_and_added_up(
    ledger_env: LedgerEnv, connection: sa.Connection
) -> None:
    whole = of_tims(ledger_env)
    (sums,) = money.line_sums(connection, VIC, MONTH, LineFilter())
    assert sums.lines == len(whole)
    assert sums.debit == sums.credit == sum(Decimal(one["Debit"]) for one in whole)
    for wanted in (
        LineFilter(account="4000"), LineFilter(sku="LAMP"), LineFilter(sku=""), LineFilter(group="cost"),
        LineFilter(text="SALE"), LineFilter(document="nothing"),
    ):  # fmt: skip
        rows = money.lines(connection, VIC, MONTH, wanted, limit=1_000).rows
        found = money.line_sums(connection, VIC, MONTH, wanted)
        assert (sum(one.lines for one in found), sum(one.debit for one in found)) == (
            len(rows), sum(one.debit for one in rows),
        )  # fmt: skip
    first = money.lines(connection, VIC, MONTH, LineFilter(account="4000")).rows[0]
    for number in (first.document, first.entry, first.order_id):
        rows = money.lines(connection, VIC, MONTH, LineFilter(document=number)).rows
        assert first in rows
        assert all(number in (one.document, one.entry, one.order_id) for one in rows)
    part = first.description[1:6]
    assert first in money.lines(connection, VIC, MONTH, LineFilter(account="4000", text=part.upper())).rows
    assert money.lines(connection, VIC, MONTH, LineFilter(text="%")).rows == (), "a wildcard is none"
    assert ("4000", first.name) in money.accounts(connection, VIC)


def test_a_text_is_found_in_the_same_lines_with_and_without_the_indexes_of_texts_and_however_many_have_it(
    ledger_env: LedgerEnv, connection: sa.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = money.lines(connection, VIC, MONTH, LineFilter(), limit=1_000).rows
    memo = connection.scalar(sa.text("SELECT memo FROM ref.gl_entry_line WHERE memo LIKE '___%' LIMIT 1"))
    texts = [one.description for one in rows] + [str(memo)]
    parts = {text[at : at + size].swapcase() for text in texts for at in (0, 3) for size in (1, 2, 3, 6)} | {"50% off"}

    def found() -> dict[str, tuple[money.Line, ...]]:
        return {part: money.lines(connection, VIC, MONTH, LineFilter(text=part), limit=1_000).rows for part in parts}

    with_index = found()
    assert any(0 < len(lines) < len(rows) for lines in with_index.values())
    monkeypatch.setattr(money, "FEW", 0)
    assert found() == with_index
    connection.execute(sa.text("RESET ROLE"))
    connection.execute(sa.text("DROP INDEX ref.ix_gl_entry_line_memo, ref.ix_gl_entry_description"))
    monkeypatch.undo()
    assert found() == with_index


def test_a_close_that_was_asked_for_runs_until_it_has_found_something(
    ledger_env: LedgerEnv, connection: sa.Connection
) -> None:
    let_it_be(connection, "2011-03-20")
    closing.close_asked(connection, EVA, "2011-03", "nightly_close/manual 1")
    found = closing.month(connection, VIC, "2011-03")
    assert found.close is None
    assert (found.running.asked_by, found.running.run_id) == ("eva", "nightly_close/manual 1")
    connection.execute(sa.text("DELETE FROM ops.watermark WHERE flow = 'clock'"))
    connection.commit()
    with ledger_env.runtime() as runtime:
        close(runtime, "2011-03", wait=0, run_id="nightly_close/manual 1")
    let_it_be(connection, "2011-03-20")
    found = closing.month(connection, VIC, "2011-03")
    assert found.running is None
    assert found.close.asked_by == "eva"
    assert found.open_items[0].ages[0][0] == "61-90"


@pytest.mark.parametrize("person", [CLARA, VIC, Person("ann", frozenset({Role.ANALYST}))])
def test_only_an_accountant_closes(connection: sa.Connection, person: Person) -> None:
    for change in (
        lambda: closing.tick(connection, person, MONTH, "payouts"),
        lambda: closing.untick(connection, person, MONTH, "payouts", "why"),
        lambda: closing.close_asked(connection, person, MONTH, "x"),
        lambda: closing.may_close(connection, person, MONTH),
    ):
        with pytest.raises(NotAllowed):
            change()


def test_nobody_without_a_role_sees_anything(connection: sa.Connection) -> None:
    nobody = Person("nobody", frozenset())
    for read in (
        lambda: closing.months(connection, nobody),
        lambda: closing.month(connection, nobody, MONTH),
        lambda: money.trial_balance(connection, nobody, MONTH),
        lambda: money.profit(connection, nobody, MONTH),
        lambda: money.payouts(connection, nobody, MONTH),
        lambda: money.lines(connection, nobody, MONTH, LineFilter()),
        lambda: money.exported(connection, nobody, MONTH, "csv"),
        lambda: money.export(connection, nobody, MONTH, "csv"),
        lambda: approvals.changes(connection, nobody, approvals.Filter()),
        lambda: audit.deeds(connection, nobody, Filter()),
        lambda: list(audit.as_csv(connection, nobody, Filter())),
        lambda: reconciliation.page(connection, nobody),
    ):
        with pytest.raises(NotAllowed):
            read()


# ---- approvals -----------------------------------------------------------------------------------------------------


def ask(connection: sa.Connection, *changes: tuple[str, str | None, str, str]) -> None:
    kept_approvals.ask(connection, [
        {"flow": "prices", "key": sku, "target": sku, "site_id": 0, "from_price": before and Decimal(before),
         "to_price": Decimal(to), "promotion_price": None, "cost": Decimal(cost), "currency_code": "USD", "why": "Why."}
        for sku, before, to, cost in changes
    ])  # fmt: skip


FOUR = (("A_1", "10", "15", "6"), ("AB1", "10", "5", "6"), ("B2", None, "8", "6"), ("B%3", "20", "14", "7"))


def test_what_waits_has_its_change_and_margin_and_is_paged_by_key(connection: sa.Connection) -> None:
    ask(connection, *FOUR)
    first = approvals.changes(connection, VIC, approvals.Filter(), limit=3)
    rest = approvals.changes(connection, VIC, approvals.Filter(), after=first.after, limit=3)
    assert [one.sku for one in (*first.rows, *rest.rows)] == ["A_1", "AB1", "B2", "B%3"]
    assert rest.after is None
    assert [(one.change, one.margin, one.below_cost) for one in first.rows] == [
        (Decimal("50.0"), Decimal("60.0"), False), (Decimal("-50.0"), Decimal("-20.0"), True),
        (None, Decimal("25.0"), False),
    ]  # fmt: skip
    counts = approvals.counts(connection, VIC)
    assert (counts.open, counts.kinds) == (4, {"below_cost": 1, "up": 1, "down": 2, "new": 1})

    def skus(**wanted: str) -> list[str]:
        return [one.sku for one in approvals.changes(connection, VIC, approvals.Filter(**wanted)).rows]

    assert skus(q="a_") == ["A_1"], "an underline is no wildcard"
    assert skus(q="%") == ["B%3"]
    assert skus(kind="down") == ["AB1", "B%3"]
    for wrong in ({"state": "gone"}, {"kind": "x"}):
        with pytest.raises(ConfigError, match="There is no"):
            skus(**wrong)


def test_a_filter_decides_what_the_person_saw_and_nothing_that_came_later(connection: sa.Connection) -> None:
    ask(connection, *FOUR)
    seen = approvals.changes(connection, CLARA, approvals.Filter(kind="down"))
    ask(connection, ("LATER", "20", "10", "7"))
    wanted = approvals.Filter(kind="down")
    done = approvals.decide(connection, CLARA, approved=True, wanted=wanted, newest=seen.newest)
    assert sorted(done.numbers) == sorted(one.id for one in seen.rows)
    assert done.late == 0
    left = [one.sku for one in approvals.changes(connection, VIC, approvals.Filter()).rows]
    assert left == ["A_1", "B2", "LATER"]
    approved = approvals.changes(connection, VIC, approvals.Filter("approved")).rows
    assert {(one.sku, one.decided_by) for one in approved} == {("AB1", "clara"), ("B%3", "clara")}
    assert approvals.counts(connection, VIC).unused == 2
    assert [row.who for row in audit.deeds(connection, VIC, Filter(action="prices approved")).rows] == ["clara"] * 2


def test_whichever_decision_comes_first_holds(connection: sa.Connection) -> None:
    ask(connection, *FOUR[:2])
    numbers = [one.id for one in approvals.changes(connection, VIC, approvals.Filter()).rows]
    kept_approvals.decide(connection, "prices", numbers[:1], approved=False, who="airflow", note="no")
    done = approvals.decide(connection, CLARA, approved=True, numbers=numbers)
    assert (done.numbers, done.late) == (tuple(numbers[1:]), 1)
    states = connection.execute(sa.text("SELECT state, decided_by FROM ops.approval ORDER BY id")).all()
    assert [tuple(row) for row in states] == [("refused", "airflow"), ("approved", "clara")]
    assert kept_approvals.decide(connection, "prices", numbers, approved=False, who="airflow") == []
    assert not approvals.still_open(connection, numbers)


def test_a_refusal_has_a_reason_and_only_a_decider_decides(connection: sa.Connection) -> None:
    ask(connection, FOUR[0])
    (one,) = approvals.changes(connection, VIC, approvals.Filter()).rows
    with pytest.raises(ConfigError, match="needs a reason"):
        approvals.decide(connection, CLARA, approved=False, note=" ", numbers=[one.id])
    with pytest.raises(ConfigError, match="were chosen"):
        approvals.decide(connection, CLARA, approved=True)
    with pytest.raises(ConfigError, match="Only open"):
        approvals.decide(connection, CLARA, approved=True, wanted=approvals.Filter("refused"), newest=9)
    for person in (VIC, EVA):
        with pytest.raises(NotAllowed):
            approvals.decide(connection, person, approved=True, numbers=[one.id])
    assert approvals.still_open(connection, [one.id])


@pytest.mark.parametrize("newest", [0, -1, 10**40, 10**15])
def test_all_of_a_filter_is_decided_up_to_a_change_that_there_is(connection: sa.Connection, newest: int) -> None:
    ask(connection, *FOUR)
    with pytest.raises(ConfigError, match=r"no price change|no number of a price change"):
        approvals.decide(connection, CLARA, approved=True, wanted=approvals.Filter(), newest=newest)
    for numbers in ([10**30], [-1], [10**15]):
        with pytest.raises(ConfigError, match=r"There is no question|no number of a price change"):
            approvals.decide(connection, CLARA, approved=True, numbers=numbers)
    assert approvals.counts(connection, VIC).open == 4


def test_the_log_has_the_price_that_was_decided_and_who_had_it_sent(connection: sa.Connection) -> None:
    ask(connection, FOUR[0], FOUR[2])
    numbers = [one.id for one in approvals.changes(connection, VIC, approvals.Filter()).rows]
    approvals.decide(connection, CLARA, approved=True, numbers=numbers, note="so be it")
    approvals.note_send(connection, CLARA, "manual__1")
    sent, *decided = audit.deeds(connection, VIC, Filter(who="clara"), limit=3).rows
    assert (sent.before, sent.thing) == ("had approved prices sent at once, by", "the run manual__1")
    prices = {one.key: one.details for one in decided}
    assert set(prices["A_1"]) == {"price: from 10.00 to 15.00 USD", "“so be it”"}
    assert set(prices["B2"]) == {"price: new, to 8.00 USD", "“so be it”"}
    with pytest.raises(NotAllowed):
        approvals.note_send(connection, VIC, "manual__2")


# ---- reconciliation ------------------------------------------------------------------------------------------------


def test_what_a_dead_letter_explains_leads_to_it(connection: sa.Connection) -> None:
    run = keep_run(connection, datetime.now(UTC), 1, 0)
    differ(connection, run, "1:2", "dead letter", why="dead letter 110 of shipments", subject="shipments")
    differ(connection, run, "1:3", "by rule", why="dead letter 9 of orders was dismissed", subject="shipments")
    differ(connection, run, "1:4", "waiting", why="an order is a dead letter 5 of", subject="shipments")
    found = {one.key: one.letter for one in reconciliation.differences(connection, VIC, run).rows}
    assert found == {"1:2": 110, "1:3": 9, "1:4": None}


def test_what_is_carried_on_leads_to_the_payouts_of_its_source(connection: sa.Connection) -> None:
    now = datetime(2010, 12, 20, tzinfo=UTC)
    for number, source in (("1", "amazon_fr"), ("2", "amazon_fr"), ("3", "amazon_de")):
        values = {"source": source, "settlement_id": number, "channel": "Amazon FR", "format": "amazon", "file": "f",
                  "currency_code": "EUR", "end_at": now + timedelta(days=int(number) * 14), "total": -1,
                  "content_hash": number}  # fmt: skip
        connection.execute(sa.insert(ref_settlement).values(**values))
    found = money.payouts(connection, VIC, MONTH, source="amazon_fr")
    assert [one.settlement_id for one in found] == ["2", "1"], "also of months before, the newest first"
    assert money.payouts(connection, VIC, "2010-12", source="amazon_fr") == []
    item = open_items.OpenItem(0, open_items.CARRIED, "EUR", "amazon_fr", 3, "0-30", Decimal(1))
    assert item.source == "amazon_fr"
    assert replace(item, kind="invoices").source == ""
    kinds = (PROJECT / "include/crossdock/ledger/open_items.sql").read_text("utf-8")
    assert f"'{open_items.CARRIED}'" in kinds


def keep_run(connection: sa.Connection, at: datetime, unexplained: int, by_rule: int, **more: object) -> int:
    differ = {"unexplained": unexplained, "by rule": by_rule}
    counts = {
        "orders": {"channel_advisor": 100, "tims": 100, "compared": 100, "equal": 100 - unexplained - by_rule,
                   "causes": {cause: number for cause, number in differ.items() if number}},
        "prices": {"channel_advisor": 9, "tims": 9, "compared": 9, "equal": 9, "causes": {}},
    }  # fmt: skip
    values = {"run_id": "r", "started_at": at, "finished_at": at, "counts": counts, "unexplained": unexplained} | more
    return connection.scalar(sa.insert(ops_reconcile_run).values(**values).returning(ops_reconcile_run.c.id))


def differ(connection: sa.Connection, run: int, key: str, cause: str, **more: object) -> None:
    values = {"run": run, "subject": "orders", "key": key, "field": "total", "missing": "", "cause": cause,
              "channel_advisor": "1.00", "tims": "1.01"} | more  # fmt: skip
    connection.execute(sa.insert(ops_reconcile_difference).values(**values))


def test_products_without_an_item_are_listed_with_the_items_that_are_like_them(connection: sa.Connection) -> None:
    for number in range(7):
        row = {"product_sku": f"LAMP-{number}%", "nearest": ["LAMP", "LAMP2"] if number % 2 else []}
        connection.execute(sa.insert(ops_orphan).values(**row))
    found, after = [], None
    while True:
        page = reconciliation.orphans(connection, VIC, after=after, limit=3)
        assert page.number == 7
        found += page.rows
        after = page.after
        if after is None:
            break
    assert [one.sku for one in found] == [f"LAMP-{number}%" for number in range(7)]
    assert [one.nearest for one in found[:2]] == [(), ("LAMP", "LAMP2")]
    assert [one.sku for one in reconciliation.orphans(connection, VIC, q="lamp-3%").rows] == ["LAMP-3%"]
    assert reconciliation.orphans(connection, VIC, q="lamp2").number == 3
    assert reconciliation.orphans(connection, VIC, q="_").rows == ()
    run = keep_run(connection, datetime.now(UTC), 0, 1)
    for key, why in (("lamp-1%", NO_ITEM), ("lamp-2%", f"{NO_ITEM}: map or create one"), ("x", "an order waits")):
        differ(connection, run, key, "waiting", why=why, subject="products")
    shown = {one.key: one.is_orphan for one in reconciliation.differences(connection, VIC, run).rows}
    assert shown == {"lamp-1%": True, "lamp-2%": True, "x": False}


def test_the_last_comparison_has_its_trend_and_differences_worst_first(connection: sa.Connection) -> None:
    now = datetime.now(UTC)
    runs = [keep_run(connection, now - timedelta(days=4 - day), day % 2, 2) for day in range(4)]
    for number in range(7):
        differ(connection, runs[-1], f"o{number}", "by rule" if number else "unexplained", since=now)
    page = reconciliation.page(connection, VIC)
    assert page.run.id == runs[-1]
    orders = next(one for one in page.subjects if one.name == "orders")
    assert [(one.run, one.explained, one.unexplained) for one in orders.history] == [
        (run, 2, day % 2) for day, run in enumerate(runs)
    ]
    assert orders.causes == (("unexplained", 1), ("by rule", 2))
    found, after = [], None
    while True:
        part = reconciliation.differences(connection, VIC, runs[-1], after=after, limit=2)
        found += part.rows
        after = part.after
        if after is None:
            break
    assert [one.key for one in found] == [f"o{number}" for number in range(7)]
    some = reconciliation.differences(connection, VIC, runs[-1], cause="unexplained", subject="orders")
    assert [one.key for one in some.rows] == ["o0"]
    assert reconciliation.page(connection, VIC, runs[0]).run.id == runs[0]
    with pytest.raises(ConfigError, match="no reconciliation"):
        reconciliation.page(connection, VIC, runs[-1] + 5)
    with pytest.raises(ConfigError, match="no cause"):
        reconciliation.differences(connection, VIC, runs[-1], cause="magic")


def test_a_comparison_under_way_is_told_and_a_dead_one_is_not(connection: sa.Connection) -> None:
    now = datetime.now(UTC)
    keep_run(connection, now - timedelta(days=1), 0, 0)
    keep_run(connection, now, 0, 0, finished_at=None)
    assert reconciliation.page(connection, VIC).running is not None
    connection.execute(sa.text("UPDATE ops.reconcile_run SET started_at = now() - interval '1 day'"))
    assert reconciliation.page(connection, VIC).running is None


# ---- the audit log -------------------------------------------------------------------------------------------------


def test_the_log_is_paged_by_key_and_filtered_by_person_action_subject_and_day(connection: sa.Connection) -> None:
    people.begin(connection, replace(CLARA, name="dora"))
    for number in range(7):
        kept_audit.record(connection, "dora", "test done", str(number % 2), {"note": f"n{number}", "empty": ""})
    kept_audit.record(connection, "emil", "test done", "1")
    dora = Filter(who="dora")
    found, after = [], None
    while True:
        page = audit.deeds(connection, VIC, dora, after=after, limit=3)
        found += page.rows
        after = page.after
        if after is None:
            break
    assert [one.details for one in found] == [(f"“n{number}”",) for number in reversed(range(7))]
    assert {(one.before, one.page) for one in found} == {("test done", "")}
    assert {one.address for one in found} == {"10.0.0.8"}
    today = datetime.now(UTC).date()
    one_day = timedelta(days=1)

    def many(**wanted: object) -> int:
        return len(audit.deeds(connection, VIC, Filter(**wanted), limit=500).rows)

    assert many(who="dora", subject="1") == 3
    assert many(action="test done", subject="1") == 4
    assert many(who="dora", since=today, until=today) == 7
    assert many(who="dora", since=today + one_day) == many(who="dora", until=today - one_day) == 0
    assert {"dora", "emil"} <= set(audit.people(connection, VIC))
    assert "test done" in audit.actions(connection, VIC)
    assert list(audit.people(connection, VIC)) == sorted(set(audit.people(connection, VIC)))
    with pytest.raises(ConfigError, match="is no day"):
        audit.day("yesterday", "From")
    assert many(who="dora", subject="1*") == 3
    assert many(who="dora", subject="*") == 7
    assert many(who="dora", subject="%*") == 0, "a percent sign is no wildcard"


def test_all_about_a_thing_is_about_that_one_alone(connection: sa.Connection) -> None:
    for action in ("alert silence", "prices approved", "dead-letter edit", "dead-letter note"):
        kept_audit.record(connection, "dora", action, "44")
    rows = audit.deeds(connection, VIC, Filter(who="dora")).rows
    assert {one.thing: one.kind for one in rows} == {
        "alert 44": "alert", "price change 44": "price", "dead letter 44": "letter",
    }  # fmt: skip
    of_letter = audit.deeds(connection, VIC, Filter(who="dora", kind="letter", subject="44")).rows
    assert [one.action for one in of_letter] == ["dead-letter note", "dead-letter edit"]
    with pytest.raises(ConfigError, match="no kind"):
        audit.deeds(connection, VIC, Filter(kind="magic"))


def test_what_is_done_is_said_in_right_words(connection: sa.Connection) -> None:
    kept_audit.record(connection, "dora", "replay", "1 dead letters")
    kept_audit.record(connection, "dora", "month close", MONTH)
    close, replay = audit.deeds(connection, VIC, Filter(who="dora")).rows
    assert (replay.before, replay.thing, replay.after, replay.kind) == ("had", "1 dead letter", "replayed", "")
    assert (close.before, close.thing, close.after) == ("had", f"the month {MONTH}", "checked")
    assert audit.in_words("month close") == "had a month checked"
    assert audit.in_words("replay") == "had dead letters replayed"


def test_the_log_as_a_file_is_itself_on_record(connection: sa.Connection) -> None:
    assert audit.exported(connection, VIC, Filter(who="dora", kind="alert")) == "audit.csv"
    (row,) = audit.deeds(connection, VIC, Filter(who="vic"), limit=1).rows
    assert (row.before, row.thing, row.details) == (
        "downloaded the audit log,", "audit.csv", ("only: who dora, kind alert",),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("action", "subject", "detail", "sentence", "page", "details"),
    [
        ("configuration publish", "version 7",
         {"files": ["prices.yaml", "stock.yaml"], "author": "ada", "preview": 3, "would change": 2000, "of": 2584},
         "published version 7", "/rules/versions/7",
         ("had been shown that 2,000 of 2,584 would change", "changes prices.yaml, stock.yaml", "made by ada")),
        ("configuration export", "version 0", {"files": []}, "exported version 0", "", ()),
        ("dead-letter dismiss", "17", {"key": "114-1", "note": "A test"}, "dismissed dead letter 17", "/letters/17",
         ("“A test”",)),
        ("dead-letter reopen", "17", {}, "opened dead letter 17 again", "/letters/17", ()),
        ("replay", "40 dead letters", {"letters": 40}, "had 40 dead letters replayed", "", ()),
        ("alert take back", "3", {}, "made alert 3 open again", "", ()),
        ("month closed", "2011-01", {}, "ticked “The month is closed” of 2011-01", "/money/2011-01", ()),
        ("month export", "2011-01", {"file": "ledger.csv", "figures": "ab"}, "downloaded the ledger of 2011-01",
         "/money/2011-01", ("ledger.csv",)),
        ("record open", "a b/ü", {"flow": "orders"}, "opened record a b/ü , personal data included",
         "/record?q=a%20b%2F%C3%BC", ("Orders",)),
        ("alert silence", "3", {"until": {"day": 4}, "loud": False}, "silenced alert 3", "",
         ("until day 4", "loud: no")),
        ("alert silence", "3", {"kind": "left_file", "until": "2026-11-30T01:02:03.5+00:00", "note": "as_it_is"},
         "silenced alert 3", "", ("Files that lie in the inbox", "until 30 Nov 2026 01:02 UTC", "“as_it_is”")),
        ("watermark set", "stock_adjustments", {"rule": "no_such_sku"}, "moved the watermark of Stock adjustments", "",
         ("rule: no such sku",)),
        ("{odd} {}", "{x}", {"list": [["a", 1]]}, "{odd} {} {x}", "", ("list: a, 1",)),
    ],
)  # fmt: skip
def test_a_row_of_the_log_is_a_sentence_with_a_link_that_names_the_thing(
    connection: sa.Connection, action: str, subject: str, detail: dict, sentence: str, page: str, details: tuple
) -> None:
    kept_audit.record(connection, "fritz", action, subject, detail)
    (deed,) = audit.deeds(connection, VIC, Filter(who="fritz")).rows
    assert " ".join(filter(None, (deed.before, deed.thing, deed.after))) == sentence
    assert (deed.page, set(deed.details)) == (page, set(details))
    assert deed.key == detail.get("key", "")
    assert audit.in_words(action)


def test_every_deed_of_the_program_has_its_sentence(connection: sa.Connection) -> None:
    sources = "\n".join(path.read_text() for path in (PROJECT / "include" / "crossdock").rglob("*.py"))
    written = set(re.findall(r'audit\.record\(\s*connection, [\w.]+,\s*"([^"]+)"', sources))
    assert len(written) > 12
    assert written <= set(audit.SENTENCES)
    for deed in ("edit", "dismiss", "replay", "open", "note", "assign"):
        assert f"dead-letter {deed}" in audit.SENTENCES
    for deed in ("propose", "publish", "consent", "withdraw", "rollback", "export"):
        assert f"configuration {deed}" in audit.SENTENCES


def test_the_file_of_the_log_has_every_row_and_no_formula(
    connection: sa.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit, "PORTION", 2)
    for number in range(5):
        kept_audit.record(connection, "=cmd|' /C calc'!A0", "@done", f"+{number}x", {"note": 'a,"b"\n'})
    rows = list(csv.DictReader(io.StringIO("".join(audit.as_csv(connection, VIC, Filter(action="@done"))))))
    assert [row["subject"] for row in rows] == [f"'+{number}x" for number in reversed(range(5))]
    assert {row["who"] for row in rows} == {"'=cmd|' /C calc'!A0"}
    assert {row["action"] for row in rows} == {"'@done"}


def test_a_row_of_the_log_is_neither_changed_nor_deleted(ledger_env: LedgerEnv) -> None:
    for statement in ("UPDATE ops.audit SET who = 'x'", "DELETE FROM ops.audit", "TRUNCATE ops.audit"):
        with pytest.raises(ConfigError, match="permission denied for table audit"):
            ledger_env.execute(statement)


def test_the_last_day_of_a_month_is_part_of_it() -> None:
    assert last_day("2012-02").day == 29
