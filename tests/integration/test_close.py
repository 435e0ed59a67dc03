"""The close of a month: its controls hold on a right ledger, find and name an error of one cent, and its journal is
accepted by another program."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from typer.testing import CliRunner

from contract.tims_calls import adjustment, credit, entry, invoice, line, payment, plain, plain_invoice
from crossdock import cli, safe
from crossdock.errors import ConfigError
from crossdock.ledger import controls
from crossdock.ledger.close import Closing, _export, close
from integration.ledger_env import LedgerEnv, found_ledger_env

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def ledger_env(postgres_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LedgerEnv]:
    """A month with a sale that is paid out, one that is open, a refund, goods back and lost, two settlements."""
    with found_ledger_env(postgres_url, "closing", tmp_path_factory.mktemp("tims")) as ledger_env:
        shipment = ledger_env.tims.shipped(ShippingTaxRemittedBy="Marketplace")
        sold = ledger_env.tims.made("/ar/invoices", invoice(shipment))
        other = ledger_env.tims.shipped(**plain(line(), total="100.00"))
        later = {"ExternalReference": "inv:2", "PostingDate": "2011-01-20"}
        ledger_env.tims.made("/ar/invoices", plain_invoice(other, 2, "100.00", **later))
        back = ledger_env.tims.made("/ar/credit-memos", credit(sold))
        ledger_env.tims.made("/inventory/adjustments", adjustment(1, ReasonCode="ReturnRestock", UnitCost="22.00"))
        ledger_env.tims.made("/inventory/adjustments", adjustment(-3, UnitCost="22.00"))
        money = {"order_ref": "114-1", "sales_order_id": sold["SalesOrderID"]}
        ledger_env.book("77", "45.24", ("principal", "98.00"), ("refund_principal", "-45.01"), ("commission", "-14.70"),
                  ("refund_commission", "6.95"), **money)  # fmt: skip
        ledger_env.book(
            "78", "-62.31", ("storage", "-62.31"), start_at="2011-01-10T00:00:00Z", end_at="2011-01-17T00:00:00Z"
        )
        applied = (("InvoiceID", sold["InvoiceID"], "98.00"), ("CreditMemoID", back["CreditMemoID"], "-45.00"))
        ledger_env.tims.made("/ar/payments", payment("53.00", *applied, ExternalReference="pay:amazon_us:77:114-1"))
        ledger_env.execute(
            "INSERT INTO stage.payment (key, batch_id, version, state, rounding, sales_order_id) "
            "VALUES ('amazon_us:77:114-1', 0, now(), 'delivered', 0.01, :order)",
            order=sold["SalesOrderID"],
        )
        ledger_env.post_all()
        close_month(ledger_env)  # what the tests change is read
        yield ledger_env


def close_month(ledger_env: LedgerEnv, period: str = "2011-01", **more: Any) -> Closing:
    ledger_env.tims.advance(10)
    with ledger_env.runtime() as runtime:
        return close(runtime, period, wait=0, **more)


def test_a_right_month_holds_every_control(ledger_env: LedgerEnv):
    closing = close_month(ledger_env)
    assert [(one.name, one.subject, one.expected, one.actual, one.documents) for one in closing.failed] == []
    names = {one.name for one in closing.controls}
    assert {query.name for query in controls.queries()} - names <= {"documents_as_sent", "refunds_as_returned"}, (
        "no flow of ours sent these"
    )
    assert {"tims_trial_balance", "entries_of_documents"} <= names
    sums = {side: sum(getattr(one, side) for one in closing.balances) for side in ("debit", "credit")}
    assert sums["debit"] == sums["credit"] > 0
    (clearing,) = [one for one in closing.controls if one.name == "clearing"]
    assert clearing.actual == "37.69"  # 100.00 not paid yet, 62.31 charged and carried to the next settlement


def test_what_is_open_is_listed_by_age(ledger_env: LedgerEnv):
    items = {(one.kind, one.age): (one.count, one.amount) for one in close_month(ledger_env).open_items}
    assert items == {
        ("invoices", "0-30"): (1, Decimal("100.00")),
        ("carried to the next settlement", "0-30"): (1, Decimal("-62.31")),
    }
    later = {(one.kind, one.age) for one in close_month(ledger_env, "2011-03").open_items}
    assert later == {("invoices", "61-90"), ("carried to the next settlement", "61-90")}


def test_the_open_items_of_a_month_are_what_clearing_is_whatever_is_paid_or_applied_later(ledger_env: LedgerEnv):
    facts = {
        "source": "amazon_ca", "channel": "Amazon CA", "order_ref": "701-1", "posted_at": "2011-04-30T12:00:00Z",
        "start_at": "2011-04-20T00:00:00Z", "end_at": "2011-05-04T00:00:00Z", "deposit_at": "2011-05-06T12:00:00Z",
    }  # fmt: skip
    ledger_env.book("80", "60.00", ("principal", "75.00"), ("commission", "-15.00"), **facts)
    closings = {month: close_month(ledger_env, month) for month in ("2011-04", "2011-05")}
    for table in ("settlement_line", "settlement"):
        ledger_env.execute(f"DELETE FROM ref.{table} WHERE source = 'amazon_ca'")
    items = {month: {one.kind: one.amount for one in closing.open_items} for month, closing in closings.items()}
    assert items["2011-04"]["settled, not paid out yet"] == Decimal("-15.00"), "the fee is due, its payout is not"
    assert items["2011-05"]["settled, not applied yet"] == Decimal("-75.00"), "paid out, but for no invoice"
    for month, closing in closings.items():
        (clearing,) = [one for one in closing.controls if one.name == "clearing"]
        assert str(sum(items[month].values())) == clearing.expected


def test_the_exported_journal_is_accepted_by_beancount_to_the_cent(ledger_env: LedgerEnv, tmp_path: Path):
    from beancount import loader
    from beancount.core import data

    closing = close_month(ledger_env, export=tmp_path)
    table, journal = (Path(path) for path in closing.files)
    entries, errors, _ = loader.load_file(str(journal))
    assert errors == []
    posted = [one for one in entries if isinstance(one, data.Transaction)]
    lines = list(csv.DictReader(table.open(encoding="utf-8")))
    assert len(posted) == len({line["entry"] for line in lines}) == len(ledger_env.entries())
    assert sum(len(one.postings) for one in posted) == len(lines)
    assert sum(isinstance(one, data.Balance) for one in entries) == len(closing.balances)
    (february, _) = loader.load_file(str(close_month(ledger_env, "2011-02", export=tmp_path).files[1]))[:2]
    assert sum(isinstance(one, data.Balance) for one in february) == len(closing.balances), "opened and verified"
    journal.write_text(journal.read_text().replace("98.00 USD", "98.01 USD", 1))
    assert loader.load_file(str(journal))[1] != []


def test_no_cell_of_the_exported_ledger_is_a_formula_and_numbers_stay_numbers(ledger_env: LedgerEnv, tmp_path: Path):
    formula = '=HYPERLINK("http://x","y")\x1b'
    with ledger_env.runtime() as runtime, runtime.engine.connect() as connection:
        connection.execute(sa.text("UPDATE ref.gl_entry_line SET sku = :sku"), {"sku": formula})
        files = _export(connection, "2011-01", tmp_path)
        table, journal = (Path(path) for path in files)
        connection.rollback()
    lines = list(csv.DictReader(table.open(encoding="utf-8", newline="")))
    shown = formula.replace("\x1b", "\\x1b")  # as the pages show it
    assert {line["sku"] for line in lines} == {f"'{shown}"}
    assert {safe.plain(line["sku"]) for line in lines} == {shown}
    assert all(Decimal(line["debit"]) >= 0 for line in lines)
    assert "\x1b" not in journal.read_text()


@pytest.mark.parametrize(
    ("change", "undo", "control", "names"),
    [
        ("UPDATE ref.gl_entry_line SET credit = credit + 0.01 WHERE account_code = '4010'",
         "UPDATE ref.gl_entry_line SET credit = credit - 0.01 WHERE account_code = '4010'",
         "entries_of_documents entries_balance tims_trial_balance trial_balance", r"GL-\d+"),
        ("UPDATE ref.invoice SET total = total + 0.01 WHERE total = 98",
         "UPDATE ref.invoice SET total = 98 WHERE total = 98.01",
         "balances clearing documents_add_up sold_is_invoiced", r"INV-\d+"),
        ("UPDATE ref.invoice SET payload = jsonb_set(payload, '{Total}', '\"98.01\"') WHERE total = 98",
         "UPDATE ref.invoice SET payload = jsonb_set(payload, '{Total}', '\"98.00\"') WHERE total = 98",
         "entries_of_documents", r"INV-\d+"),
        ("UPDATE ref.settlement_line SET amount = amount - 0.01 WHERE kind = 'commission'",
         "UPDATE ref.settlement_line SET amount = amount + 0.01 WHERE kind = 'commission'",
         "clearing entries_of_documents settlement_totals", r"amazon_us:77"),
        ("UPDATE ref.settlement SET total = total + 0.01 WHERE settlement_id = '77'",
         "UPDATE ref.settlement SET total = total - 0.01 WHERE settlement_id = '77'",
         "clearing entries_of_documents settlement_totals", r"amazon_us:77"),
        ("UPDATE ref.payment SET amount = amount + 0.01", "UPDATE ref.payment SET amount = amount - 0.01",
         "payments_add_up payments_settled", r"PAY-\d+"),
        ("UPDATE stage.payment SET rounding = 0.02", "UPDATE stage.payment SET rounding = 0.01",
         "clearing entries_of_documents payments_settled", r"PAY-\d+"),
        ("UPDATE ref.shipment SET payload = jsonb_set(payload, '{Lines,0,UnitCost}', '\"22.0050\"')",
         "UPDATE ref.shipment SET payload = jsonb_set(payload, '{Lines,0,UnitCost}', '\"22.0000\"')",
         "cost_of_goods entries_of_documents", r"INV-\d+"),
        ("UPDATE ref.credit_memo SET balance = balance + 0.01", "UPDATE ref.credit_memo SET balance = balance - 0.01",
         "balances", r"CM-\d+"),
        ("UPDATE ref.settlement SET start_at = start_at + interval '1 second' WHERE settlement_id = '78'",
         "UPDATE ref.settlement SET start_at = start_at - interval '1 second' WHERE settlement_id = '78'",
         "settlement_chain", "77 to 78"),
        ("UPDATE ref.gl_entry SET external_reference = 'fee:lost' WHERE external_reference LIKE 'fee:%:78:1'",
         "UPDATE ref.gl_entry SET external_reference = 'fee:amazon_us:78:1' WHERE external_reference = 'fee:lost'",
         "clearing entries_of_documents", r"amazon_us:78.*|GL-\d+"),
    ],
)  # fmt: skip
def test_an_error_of_one_cent_is_found_and_its_document_named(ledger_env: LedgerEnv, change, undo, control, names):
    ledger_env.execute(change)
    failed = close_month(ledger_env).failed
    ledger_env.execute(undo)
    assert {one.name for one in failed} == set(control.split())
    assert all(
        re.search(names, str(one.documents))
        for one in failed
        if one.name not in ("trial_balance", "tims_trial_balance")
    )
    assert close_month(ledger_env).failed == []


@contextmanager
def changed(ledger_env: LedgerEnv, table: str, statement: str) -> Iterator[None]:
    """A table with something wrong in it, and as it was again afterwards."""
    kept = ledger_env.execute(f"SELECT cast(jsonb_agg(to_jsonb(t)) AS text) AS rows FROM ref.{table} t")[0].rows
    ledger_env.execute(statement.format(table=f"ref.{table}"))
    try:
        yield
    finally:
        ledger_env.execute(f"DELETE FROM ref.{table}")
        again = (
            f"INSERT INTO ref.{table} SELECT * FROM jsonb_populate_recordset(NULL::ref.{table}, cast(:kept AS jsonb))"
        )
        ledger_env.execute(again, kept=kept)


A_SALE = "(SELECT id FROM ref.gl_entry WHERE external_reference LIKE 'sale:%' ORDER BY id LIMIT 1)"


@pytest.mark.parametrize(
    ("table", "change", "names"),
    [
        ("gl_entry", f"DELETE FROM {{table}} WHERE id = {A_SALE}", r"INV-\d+"),
        ("gl_entry_line", "UPDATE {table} SET account_code = '4020' WHERE account_code = '4000'", r"GL-\d+"),
        ("gl_entry", f"UPDATE {{table}} SET currency_code = 'GBP' WHERE id = {A_SALE}", r"GL-\d+|INV-\d+"),
        ("gl_entry", f"UPDATE {{table}} SET posting_date = posting_date + 31 WHERE id = {A_SALE}", r"GL-\d+|INV-\d+"),
        ("credit_memo", "UPDATE {table} SET total = total + 0.01", r"CM-\d+"),
        ("credit_memo", "UPDATE {table} SET payload = jsonb_set(payload, '{{Total}}', '\"45.01\"')", r"CM-\d+"),
        ("credit_memo", "UPDATE {table} SET currency_code = 'GBP'", r"CM-\d+"),
        ("invoice", "UPDATE {table} SET currency_code = 'GBP' WHERE total = 98", r"INV-\d+"),
        ("payment", "UPDATE {table} SET currency_code = 'GBP'", r"PAY-\d+"),
        ("adjustment", "UPDATE {table} SET payload = jsonb_set(payload, '{{UnitCost}}', '\"22.01\"') "
         "WHERE reason_code = 'ReturnRestock'", r"ADJ-\d+"),
        ("settlement_line", "UPDATE {table} SET amount = amount + 0.01 WHERE kind = 'principal'", r"amazon_us:77"),
        ("settlement_line", "UPDATE {table} SET currency_code = 'GBP' WHERE kind = 'commission'", r"amazon_us:77"),
        ("settlement_line", "DELETE FROM {table} WHERE kind = 'storage'", r"amazon_us:78|GL-\d+"),
    ],
)  # fmt: skip
def test_a_record_of_any_kind_that_is_wrong_is_found_and_named(
    ledger_env: LedgerEnv, table: str, change: str, names: str
):
    with changed(ledger_env, table, change):
        failed = close_month(ledger_env).failed
    assert any(re.search(names, str(one.documents)) for one in failed), failed
    assert close_month(ledger_env).failed == []


def test_an_entry_that_stands_twice_under_two_keys_is_found_and_named(ledger_env: LedgerEnv):
    def copy(table: str, key: str, **other: str) -> str:
        return (
            f"INSERT INTO ref.{table} SELECT (jsonb_populate_record(e, '{json.dumps(other)}')).* "
            f"FROM ref.{table} e WHERE {key} = {A_SALE}"
        )

    ledger_env.execute(copy("gl_entry_line", "entry_id", entry_id="GL-TWICE"))
    ledger_env.execute(copy("gl_entry", "id", id="GL-TWICE", external_reference="sale:INV-TWICE"))
    failed = {one.name: one for one in close_month(ledger_env).failed}
    for table, key in (("gl_entry_line", "entry_id"), ("gl_entry", "id")):
        ledger_env.execute(f"DELETE FROM ref.{table} WHERE {key} = 'GL-TWICE'")
    assert failed["entries_of_documents"].documents == ("GL-TWICE",), failed
    assert {"clearing", "entries_of_documents", "tims_trial_balance"} <= set(failed)
    assert close_month(ledger_env).failed == []


def test_a_manual_entry_on_clearing_and_one_that_no_document_has_are_named(ledger_env: LedgerEnv):
    sides = (("1100", "0.01", "0.00"), ("6900", "0.00", "0.01"))
    by_hand = ledger_env.tims.made("/gl/entries", entry(*sides, Source="a person"))
    ours = ledger_env.tims.made("/gl/entries", entry(*sides, Source="Crossdock"))
    failed = {one.name: one for one in close_month(ledger_env).failed}
    assert set(failed) == {"clearing", "entries_of_documents"}
    assert failed["clearing"].difference == Decimal("0.02")
    assert all(one["EntryID"] in str(failed["clearing"].documents) for one in (by_hand, ours))
    assert failed["entries_of_documents"].documents == (ours["EntryID"],)
    alerts = ledger_env.execute(
        "SELECT title FROM ops.alert WHERE kind = 'control_failed' AND key = '2011-01:clearing:USD'"
    )
    assert len(alerts) == 1, "the same failure is one alert"
    kept = ledger_env.execute("SELECT count(*) AS n FROM ops.control WHERE NOT holds AND control = 'clearing'")
    assert kept[0].n >= 1
    for one in (by_hand, ours):
        undo = {"ExternalReference": f"{one['EntryID']}:undo", "Source": one["Source"], "Reason": "Not ours"}
        assert ledger_env.tims.post(f"/gl/entries/{one['EntryID']}/reverse", undo).status_code == 201
    assert close_month(ledger_env).failed == []


@pytest.mark.parametrize("period", ["2011", "2011-13", "2011-1", "", "0000-01", "2011-01-01", "janvier"])
def test_a_period_that_is_none_is_told_in_a_sentence(ledger_env: LedgerEnv, period: str):
    with pytest.raises(ConfigError, match="is no period"):
        close_month(ledger_env, period)


def test_a_document_that_is_not_posted_is_named_with_its_state(ledger_env: LedgerEnv):
    made = ledger_env.tims.made("/inventory/adjustments", adjustment(-1, UnitCost="5.00"))
    (one,) = close_month(ledger_env).failed
    assert (one.name, one.expected, one.actual) == (
        "entries_of_documents", "USD credit 1200 5.00; USD debit 5100 5.00", "no entry",
    )  # fmt: skip
    assert one.documents == (made["AdjustmentID"],)
    assert "not read in the ledger" in one.do
    ledger_env.post("adjustments")
    assert close_month(ledger_env).failed == []


def test_the_command_tells_what_failed_by_its_exit_code_and_in_json(
    ledger_env: LedgerEnv, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    def run(*words: str) -> tuple[int, str]:
        ledger_env.tims.advance(10)
        result = CliRunner().invoke(cli.app, ["close", *words], catch_exceptions=True)
        return (result.exit_code, result.output) if not isinstance(result.exception, ConfigError) else (2, "")

    monkeypatch.setattr(cli.context, "runtime", ledger_env.runtime)
    monkeypatch.setattr("crossdock.ledger.close.READ_LAG", 0)
    code, output = run("--period", "2011-01", "--json")
    assert (code, json.loads(output)["holds"]) == (0, True)
    code, output = run("--period", "2011-01")
    assert code == 0
    assert "controls hold" in output
    exported = "SELECT who, subject, detail FROM ops.audit WHERE action = 'month export'"
    assert ledger_env.execute(exported) == []
    monkeypatch.setattr(cli.context, "who", lambda: "eva")
    assert run("--period", "2011-01", "--export", str(tmp_path))[0] == 0
    (deed,) = ledger_env.execute(exported)
    assert (deed.who, deed.subject, deed.detail["file"]) == ("eva", "2011-01", "ledger-2011-01.csv")
    assert deed.detail["figures"]
    ledger_env.execute("UPDATE ref.payment SET amount = amount + 0.01")
    code, output = run("--period", "2011-01", "--json")
    ledger_env.execute("UPDATE ref.payment SET amount = amount - 0.01")
    assert code == 6
    failed = [one for one in json.loads(output)["controls"] if not one["holds"]]
    assert {one["name"] for one in failed} == {"payments_add_up", "payments_settled"}
    assert run("--period", "2011-13")[0] == 2
    for period in ("9999-12", "0001-01"):
        assert run("--period", period)[0] == 2
        assert ledger_env.execute("SELECT 1 FROM ops.closing WHERE period = :period", period=period) == []
