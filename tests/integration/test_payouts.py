"""Payouts and payments: settlement files to our books, and what they pay for to TIMS, to the cent."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa

from contract.tims_calls import (
    Caller,
    credit,
    invoice,
    item,
    line,
    new_key,
    on_hand,
    plain,
    plain_invoice,
    running,
)
from crossdock import flows
from crossdock.flows.payouts import load
from crossdock.runtime import Runtime
from crossdock.settings import config_dir
from crossdock.steps.extract import Window, extract
from crossdock.steps.run_batches import run_batches
from crossdock.store import dead_letters
from crossdock.store.batches import Counts
from crossdock.store.tables import metadata, ops_audit, ops_config_text
from crossdock.systems.connections import Connection
from crossdock.watch.freshness import watch
from integration.environment import fresh_database, moment

pytestmark = pytest.mark.slow

HEADER = (
    "settlement-id", "settlement-start-date", "settlement-end-date", "deposit-date", "total-amount", "currency",
    "transaction-type", "order-id", "merchant-order-id", "amount-type", "amount-description", "amount", "posted-date",
    "posted-date-time", "sku",
)  # fmt: skip
ORDER = "526-7898033-5401206"
SALE = [
    ("Order", ORDER, "ItemPrice", "Principal", "50.00"),
    ("Order", ORDER, "ItemPrice", "Principal", "50.00"),
    ("Order", ORDER, "ItemPrice", "Shipping", "8.00"),
    ("Order", ORDER, "Promotion", "Principal", "-10.00"),
    ("Order", ORDER, "ItemPrice", "Tax", "7.35"),
    ("Order", ORDER, "ItemWithheldTax", "MarketplaceFacilitatorTax-Principal", "-7.35"),
    ("Order", ORDER, "ItemFees", "Commission", "-14.70"),
]
JANUARY, LATE = ("2011-01-03", "2011-01-17"), ("2011-01-17", "2011-01-31")


def settlement(number: str, period: tuple[str, str], *lines: tuple[str, str, str, str, str], total: str = "") -> bytes:
    """A V2 flat file; its total is the sum of its lines unless said otherwise."""
    start, end = period
    whole = total or str(sum((Decimal(line[4]) for line in lines), Decimal("0.00")))
    header = [number, f"{start} 08:00:00 UTC", f"{end} 08:00:00 UTC", f"{end} 20:00:00 UTC", whole, "USD"]
    rows = [
        [number, *[""] * 5, kind, order, "", group, description, amount, start, f"{start} 14:25:18 UTC", "LAMP"]
        for kind, order, group, description, amount in lines
    ]
    return "".join("\t".join(row) + "\n" for row in (HEADER, [*header, *[""] * 9], *rows)).encode()


@dataclass
class LedgerEnv:
    """Our database and an inbox; nothing else is needed to take a file in."""

    url: str
    inbox: Path
    tims: str = ""

    def runtime(self) -> Runtime:
        extra = {"read_seconds": 3}
        return Runtime(
            self.url, lambda name: Connection(name, self.tims, "crossdock-sandbox", "sandbox-secret", extra), self.inbox
        )

    def put(self, name: str, data: bytes, source: str = "amazon_us") -> None:
        folder = self.inbox / "settlements" / source
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
        os.utime(folder / name, (1_300_000_000, 1_300_000_000))  # nobody writes to it any more

    def lying(self, source: str = "amazon_us") -> list[str]:
        folder = self.inbox / "settlements" / source
        return sorted(path.name for path in folder.iterdir() if path.is_file())

    def take(self, window: Window | None = None, flow: str = "payouts", **more: Any) -> Counts:
        with self.runtime() as runtime:
            return run_batches(runtime, flows.get(flow), extract(runtime, flows.get(flow), window or Window(), **more))

    def pay(self, **more: Any) -> Counts:
        return self.take(flow="payments", **more)

    def query(self, statement: str) -> list[sa.Row]:
        with Runtime(self.url) as runtime, runtime.engine.begin() as connection:
            return list(connection.exec_driver_sql(statement))

    def letters(self, flow: str = "payouts") -> dict[str, list[str]]:
        with Runtime(self.url) as runtime, runtime.engine.begin() as connection:
            return {
                row.key: [reason["rule"] for reason in row.reasons]
                for row in dead_letters.listed(connection, flow=flow, limit=1000)
            }

    def findings(self) -> set[str]:
        with self.runtime() as runtime:
            return {one.kind for one in watch(runtime.engine, flows.all_flows(), runtime.inbox)}

    def ledger_records(self, path: str, **window: Any) -> list[dict]:
        with Runtime(self.url) as runtime:
            return [
                msgspec.json.decode(record)
                for page in runtime.settlement_ledger.pages(path, **window)
                for record in page.records
            ]


@pytest.fixture(scope="module")
def database(postgres_url: str) -> Iterator[str]:
    with fresh_database(postgres_url, "payouts") as url:
        yield url


@pytest.fixture
def ledger_env(database: str, tmp_path: Path) -> LedgerEnv:
    ledger_env = LedgerEnv(database, tmp_path)
    with Runtime(database) as runtime, runtime.engine.begin() as connection:
        added_only = (ops_audit, ops_config_text)
        for table in metadata.sorted_tables:
            if table not in added_only:
                connection.execute(sa.delete(table))
    return ledger_env


def test_a_whole_file_is_in_the_books_once_and_moves_to_done(ledger_env: LedgerEnv):
    ledger_env.put("first.txt", settlement("11774871501", JANUARY, *SALE))
    assert ledger_env.take().delivered == 1
    (held,) = ledger_env.query("SELECT * FROM ref.settlement")
    assert (held.total, held.currency_code, held.channel) == (Decimal("83.30"), "USD", "Amazon US")
    kinds = ledger_env.query("SELECT kind, sum(amount) AS amount FROM ref.settlement_line GROUP BY kind ORDER BY kind")
    assert {row.kind: row.amount for row in kinds} == {
        "commission": Decimal("-14.70"), "marketplace_tax": Decimal("-7.35"), "principal": Decimal("100.00"),
        "promotion": Decimal("-10.00"), "shipping": Decimal("8.00"), "tax": Decimal("7.35"),
    }  # fmt: skip
    assert ledger_env.lying() == []
    assert (ledger_env.inbox / "settlements" / "amazon_us" / "done" / "first.txt").exists()
    assert ledger_env.take().read == 0


def test_a_file_that_is_put_back_as_it_was_moves_to_done_again_and_books_nothing(ledger_env: LedgerEnv):
    ledger_env.put("first.txt", settlement("11774871501", JANUARY, *SALE))
    ledger_env.take()
    done = ledger_env.inbox / "settlements" / "amazon_us" / "done"
    for times in (2, 3):
        ledger_env.put("first.txt", settlement("11774871501", JANUARY, *SALE))
        assert ledger_env.take().delivered == 0
        assert ledger_env.lying() == []
        assert len({path.read_bytes() for path in done.iterdir()}) == 1
        assert len(list(done.iterdir())) <= times
    assert len(ledger_env.query("SELECT * FROM ref.settlement")) == 1
    assert ledger_env.letters() == {}


def test_a_file_that_stays_in_the_inbox_is_told_when_its_dead_letter_is_closed(ledger_env: LedgerEnv):
    ledger_env.put("broken.txt", b"no settlement\n")
    ledger_env.take()
    assert ledger_env.lying() == ["broken.txt"]
    assert "left_file" not in ledger_env.findings()
    with Runtime(ledger_env.url) as runtime, runtime.engine.begin() as connection:
        (letter,) = dead_letters.listed(connection, flow="payouts", limit=10)
        dead_letters.dismiss(connection, letter.id, who="clerk", note="not ours")
    ledger_env.take()
    assert "left_file" in ledger_env.findings()
    (ledger_env.inbox / "settlements" / "amazon_us" / "broken.txt").unlink()
    assert "left_file" not in ledger_env.findings()


def test_a_file_that_is_replaced_while_it_is_booked_stays_and_is_read_next(
    ledger_env: LedgerEnv, monkeypatch: pytest.MonkeyPatch
):
    ledger_env.put("report.txt", settlement("11774871501", JANUARY, *SALE))
    book = load._book

    def replaced(*arguments: Any) -> dict[str, Any]:
        ledger_env.put("report.txt", settlement("11774871502", LATE, *SALE))
        monkeypatch.undo()
        return book(*arguments)

    monkeypatch.setattr(load, "_book", replaced)
    assert ledger_env.take().delivered == 1
    assert ledger_env.lying() == ["report.txt"]
    assert ledger_env.take().delivered == 1
    assert ledger_env.query("SELECT settlement_id FROM ref.settlement ORDER BY 1") == [
        ("11774871501",),
        ("11774871502",),
    ]
    assert ledger_env.lying() == []


def test_a_link_in_the_inbox_is_a_dead_letter_and_its_target_is_not_read(ledger_env: LedgerEnv, tmp_path: Path):
    ledger_env.put("first.txt", settlement("11774871501", JANUARY, *SALE))
    (ledger_env.inbox / "secret").write_bytes(b"root:x")
    (ledger_env.inbox / "settlements" / "amazon_us" / "link.txt").symlink_to(ledger_env.inbox / "secret")
    assert ledger_env.take().delivered == 1
    assert ledger_env.letters() == {"amazon_us/link.txt": ["not_a_file"]}
    assert ledger_env.lying() == ["link.txt"]


def test_the_books_give_each_line_in_exactly_one_list(ledger_env: LedgerEnv):
    ledger_env.put("first.txt", settlement("11774871501", JANUARY, *SALE))
    ledger_env.take()
    (order,) = ledger_env.ledger_records("settlement_orders")
    assert order["Key"] == f"amazon_us:11774871501:{ORDER}"
    assert (order["SaleAmount"], order["RefundAmount"], order["SaleLines"]) == (98, 0, 6)
    fee, payout = sorted(ledger_env.ledger_records("settlement_lines"), key=lambda line: line["Kind"])
    assert (fee["Kind"], fee["Amount"], fee["LineNo"]) == ("commission", -14.7, "9")
    assert (payout["Kind"], payout["LineNo"], payout["Amount"]) == ("payout", "transfer", 83.3)
    january = {"since": moment("2011-01-01"), "before": moment("2011-02-01"), "happened": True}
    february = {"since": moment("2011-02-01"), "before": moment("2011-03-01"), "happened": True}
    assert len(ledger_env.ledger_records("settlement_orders", **january)) == 1
    assert len(ledger_env.ledger_records("settlement_lines", **january)) == 2
    assert (
        ledger_env.ledger_records("settlement_orders", **february)
        == ledger_env.ledger_records("settlement_lines", **february)
        == []
    )
    assert ledger_env.ledger_records("settlement_orders", since=moment("2011-02-01")) == [order]
    with Runtime(ledger_env.url) as runtime:
        assert msgspec.json.decode(runtime.settlement_ledger.record("settlement_orders", order["Key"])) == order
        assert (
            msgspec.json.decode(runtime.settlement_ledger.record("settlement_lines", "amazon_us:11774871501:transfer"))
            == payout
        )


FAULTS = {
    "total.txt": ("wrong_total", settlement("2", LATE, *SALE, total="83.31")),
    "late.txt": ("gap", settlement("2", ("2011-01-18", "2011-01-31"), *SALE)),
    "early.txt": ("gap", settlement("2", ("2010-12-01", "2011-01-02"), *SALE)),
    "into.txt": ("overlap", settlement("2", ("2011-01-16", "2011-01-31"), *SALE)),
    "over.txt": ("overlap", settlement("2", ("2010-12-20", "2011-01-04"), *SALE)),
    "again.txt": ("seen_before", settlement("1", JANUARY, *SALE)),
    "number.txt": ("seen_before", settlement("1", LATE, *SALE)),
    "first.txt": ("seen_before", settlement("1", JANUARY, *SALE, ("Order", ORDER, "ItemFees", "Commission", "-1"))),
    "cut.txt": ("half_written", settlement("2", LATE, *SALE)[:-40]),
    "header.txt": ("unknown_header", b"date,amount\n2011-01-01,1.00\n"),
    "packed.txt": ("unreadable_file", b"PK\x03\x04\x00\x00\n"),
    "currency.txt": ("two_currencies", settlement("2", LATE, *SALE) + b"2\t\t\t\t\tCAD" + b"\t" * 9 + b"\n"),
}


def test_files_with_a_fault_are_refused_whole_each_with_its_reason_and_nothing_is_booked(ledger_env: LedgerEnv):
    ledger_env.put("first.txt", settlement("1", JANUARY, *SALE))
    ledger_env.take()
    before = ledger_env.query("SELECT * FROM ref.settlement_line ORDER BY line_no")
    for name, (_, data) in FAULTS.items():
        ledger_env.put(name, data)
    assert ledger_env.take().dead == len(FAULTS)
    assert ledger_env.letters() == {f"amazon_us/{name}": [rule] for name, (rule, _) in FAULTS.items()}
    assert ledger_env.query("SELECT * FROM ref.settlement_line ORDER BY line_no") == before
    assert len(ledger_env.query("SELECT * FROM ref.settlement")) == 1
    assert ledger_env.lying() == sorted(FAULTS)
    assert ledger_env.take().dead == 0  # they lie there; nobody is told twice


def test_several_files_at_once_are_booked_in_the_order_of_their_periods(ledger_env: LedgerEnv):
    ledger_env.put("a.txt", settlement("3", ("2011-01-31", "2011-02-14"), *SALE))
    ledger_env.put("b.txt", settlement("2", LATE, *SALE))
    ledger_env.put("c.txt", settlement("1", JANUARY, *SALE))
    assert ledger_env.take().delivered == 3


def test_a_refused_file_leaves_a_gap_until_its_mended_version_comes_and_the_next_is_replayed(ledger_env: LedgerEnv):
    ledger_env.put("1.txt", settlement("1", JANUARY, *SALE))
    ledger_env.take()
    ledger_env.put("2.txt", settlement("2", LATE, *SALE, total="99.99"))
    ledger_env.put("3.txt", settlement("3", ("2011-01-31", "2011-02-14"), *SALE))
    ledger_env.take()
    assert ledger_env.letters() == {"amazon_us/2.txt": ["wrong_total"], "amazon_us/3.txt": ["gap"]}
    ledger_env.put("2.txt", settlement("2", LATE, *SALE))
    assert ledger_env.take().delivered == 1
    assert ledger_env.take(kind="replay", keys=["amazon_us/3.txt"]).delivered == 1
    assert ledger_env.letters() == {}
    assert ledger_env.lying() == []


def test_a_line_that_no_lookup_knows_is_booked_as_unknown_and_alerts_once(ledger_env: LedgerEnv):
    ledger_env.put(
        "1.txt", settlement("1", JANUARY, *SALE, ("other-transaction", "", "Novelty", "Fee of the month", "-1.00"))
    )
    assert ledger_env.take().delivered == 1
    (line,) = ledger_env.query("SELECT * FROM ref.settlement_line WHERE kind = 'unknown'")
    assert line.amount == Decimal("-1.00")
    (alert,) = ledger_env.query("SELECT * FROM ops.alert")
    assert "amazon_v2,other-transaction,Novelty,Fee of the month" in alert.body


def grouped(data: bytes, group: str) -> bytes:
    """The same file with a column that tells the group of its orders."""
    header, *rows = data.decode().splitlines()
    return "".join(
        f"{line}\t{name}\n" for line, name in ((header, "account-type"), *((row, group) for row in rows))
    ).encode()


def test_two_groups_of_one_account_that_overlap_are_both_booked_where_the_file_tells_them_or_a_source_does(
    ledger_env: LedgerEnv, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    ledger_env.put("1.txt", grouped(settlement("1", ("2011-01-03", "2011-01-17"), *SALE), "Standard Orders"))
    ledger_env.put("2.txt", grouped(settlement("2", ("2011-01-10", "2011-01-24"), *SALE), "Invoiced Orders"))
    assert ledger_env.take().delivered == 2
    ledger_env.put("3.txt", grouped(settlement("3", ("2011-01-17", "2011-01-31"), *SALE), "Standard Orders"))
    ledger_env.put("4.txt", grouped(settlement("4", ("2011-01-25", "2011-01-31"), *SALE), "Invoiced Orders"))
    assert (ledger_env.take().delivered, ledger_env.letters()) == (1, {"amazon_us/4.txt": ["gap"]})
    # no file tells it: the refusal names the way out
    ledger_env.put("5.txt", settlement("5", ("2011-01-03", "2011-01-17"), *SALE), source="amazon_uk")
    ledger_env.put("6.txt", settlement("6", ("2011-01-10", "2011-01-24"), *SALE), source="amazon_uk")
    config = tmp_path / "config"
    shutil.copytree(config_dir(), config)
    monkeypatch.setenv("CROSSDOCK_CONFIG_DIR", str(config))
    payouts = (config / "payouts.yaml").read_text().replace("currency: GBP", "currency: USD")
    (config / "payouts.yaml").write_text(payouts)
    ledger_env.take()
    assert ledger_env.letters()["amazon_uk/6.txt"] == ["overlap"]
    ((do,),) = ledger_env.query("SELECT reasons->0->>'do' FROM ops.dead_letter WHERE key = 'amazon_uk/6.txt'")
    assert "source" in do
    assert "config/payouts.yaml" in do
    other = "  amazon_uk_invoiced: {channel: Amazon UK, format: amazon_v2, currency: USD, zone: Europe/London}\n"
    (config / "payouts.yaml").write_text(payouts + other)
    ledger_env.put("6.txt", settlement("6", ("2011-01-10", "2011-01-24"), *SALE), source="amazon_uk_invoiced")
    assert ledger_env.take().delivered == 1
    rows = ledger_env.query('SELECT source, settlement_id, "group" FROM ref.settlement ORDER BY settlement_id')
    assert [tuple(row) for row in rows] == [
        ("amazon_us", "1", "Standard Orders"), ("amazon_us", "2", "Invoiced Orders"),
        ("amazon_us", "3", "Standard Orders"), ("amazon_uk", "5", ""), ("amazon_uk_invoiced", "6", ""),
    ]  # fmt: skip


def test_a_file_of_which_nobody_knows_any_word_is_refused_stays_and_alerts_until_the_lookup_knows_them(
    ledger_env: LedgerEnv,
):
    strange = [("Bestellung", "111", "Artikelpreis", "Betrag", "12.00"), ("Erstattung", "111", "Preis", "", "-2.00")]
    ledger_env.put("de.txt", settlement("1", JANUARY, *strange))
    assert ledger_env.take().dead == 1
    assert ledger_env.letters() == {"amazon_us/de.txt": ["unknown_words"]}
    assert ledger_env.lying() == ["de.txt"]
    alerts = {row.key: row for row in ledger_env.query("SELECT * FROM ops.alert WHERE kind = 'file_refused'")}
    assert "Bestellung / Artikelpreis / Betrag" in alerts["payouts:amazon_us/de.txt"].body
    assert ledger_env.query("SELECT * FROM ref.settlement") == []
    ledger_env.put("de.txt", settlement("1", JANUARY, *SALE))
    assert ledger_env.take().delivered == 1
    assert (ledger_env.letters(), ledger_env.lying()) == ({}, [])


def test_a_corrected_lookup_gives_booked_lines_their_kind_and_shows_them_again(
    ledger_env: LedgerEnv, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    lines = (*SALE, ("other-transaction", "", "Novelty", "Fee of the month", "-1.00"))
    ledger_env.put("1.txt", settlement("1", JANUARY, *lines))
    ledger_env.take()
    config = tmp_path / "config"
    shutil.copytree(config_dir(), config)
    table = config / "lookups" / "settlement_kinds.csv"
    table.write_text(table.read_text() + "amazon_v2,other-transaction,Novelty,*,subscription,\n")
    monkeypatch.setenv("CROSSDOCK_CONFIG_DIR", str(config))
    assert ledger_env.take(kind="key", keys=["amazon_us/1.txt"]).delivered == 1
    assert [line["Kind"] for line in ledger_env.ledger_records("settlement_lines") if line["Amount"] == -1] == [
        "subscription"
    ]
    assert ledger_env.take(kind="key", keys=["amazon_us/1.txt"]).unchanged == 1


def test_what_the_bank_really_did_decides_value_date_and_currency_of_a_payout(
    ledger_env: LedgerEnv, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    ledger_env.put("1.txt", settlement("1", JANUARY, *SALE))
    ledger_env.take()
    config = tmp_path / "config"
    shutil.copytree(config_dir(), config)
    with (config / "lookups" / "payout_deposits.csv").open("a") as table:
        table.write("amazon_us,1,2011-01-20,GBP,53.10\n")
    monkeypatch.setenv("CROSSDOCK_CONFIG_DIR", str(config))
    (payout,) = [line for line in ledger_env.ledger_records("settlement_lines") if line["Kind"] == "payout"]
    assert (payout["PostedAt"], payout["Amount"]) == ("2011-01-20T12:00:00.000000Z", 83.3)
    assert (payout["BankCurrencyCode"], payout["BankAmount"]) == ("GBP", 53.1)
    assert ledger_env.ledger_records("settlement_orders")[0]["DepositDate"] == payout["PostedAt"]


def test_a_backfill_of_a_past_period_books_nothing_twice(ledger_env: LedgerEnv):
    ledger_env.put("1.txt", settlement("1", JANUARY, *SALE))
    ledger_env.take()
    booked = ledger_env.query("SELECT * FROM ref.settlement_line ORDER BY line_no")
    again = ledger_env.take(Window(moment("2011-01-01"), moment("2011-02-01")), kind="backfill", reprocess=True)
    assert (again.read, again.delivered, again.unchanged) == (1, 0, 1)
    assert ledger_env.query("SELECT * FROM ref.settlement_line ORDER BY line_no") == booked


# ---- payments ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running(tmp_path_factory.mktemp("tims"), per_minute=1_000_000, at_once=1_000) as (base, _):
        yield base


@dataclass
class Office(LedgerEnv):
    """A desk with a TIMS; `sell` and `bill` do what other flows have done before a settlement comes."""

    caller: Caller = None  # type: ignore[assignment]
    batch: int = 0

    def sell(self, ref: str, units: int = 2, **fields: Any) -> dict[str, Any]:
        """An order of lamps at 50.00 that the channel knows as `ref`, shipped as a whole."""
        goods = plain(line(quantity=units), total=f"{50 * units}.00") | fields
        order = self.caller.order(CustomerID=self.caller.customer(), **goods)
        self.link(ref, order)
        return self.caller.ship(order["SalesOrderID"], units)

    def link(self, ref: str, order: dict[str, Any]) -> None:
        with self.runtime() as runtime, runtime.engine.begin() as connection:
            connection.execute(
                sa.text("""INSERT INTO ops.link (entity, source_key, target_id, other_key)
                           VALUES ('sales_order', :key, :id, :ref)"""),
                {"key": order["ExternalOrderID"], "id": order["SalesOrderID"], "ref": ref},
            )

    def bill(self, shipment: dict[str, Any], units: int = 2) -> dict[str, Any]:
        return self.caller.made("/ar/invoices", plain_invoice(shipment, units, f"{50 * units}.00",
                                                              ExternalReference=new_key()))  # fmt: skip

    def receive_settlement(self, *lines: tuple[str, str, str, str, str], period: tuple[str, str] = JANUARY) -> Counts:
        """A settlement of these lines comes in, and its payments go out."""
        self.batch += 1
        self.put(f"{self.batch}.txt", settlement(str(self.batch), period, *lines))
        assert self.take().delivered == 1
        return self.pay()

    def payments(self) -> list[dict[str, Any]]:
        return self.caller.get("/ar/payments")["Items"]

    def balance(self, document: dict[str, Any]) -> str:
        kind, name = ("invoices", "InvoiceID") if "AmountPaid" in document else ("credit-memos", "CreditMemoID")
        return self.caller.get(f"/ar/{kind}/{document[name]}")["Balance"]

    def message(self, key: str) -> str:
        with self.runtime() as runtime, runtime.engine.begin() as connection:
            return " ".join(reason["says"] for reason in dead_letters.find(connection, key).reasons)

    def edit(self, key: str, **fields: Any) -> Counts:
        with self.runtime() as runtime, runtime.engine.begin() as connection:
            letter = dead_letters.find(connection, key)
            dead_letters.edit(connection, letter.id, {**letter.payload, **fields}, who="accountant")
        return self.pay(kind="replay", keys=[key])


@pytest.fixture
def office(ledger_env: LedgerEnv, served: str) -> Office:
    caller = Caller(served)
    caller.control("POST", "reset")
    caller.renew()
    caller.clock("2011-01-20T10:00:00Z")
    caller.apply(item("LAMP"), on_hand("LAMP", MAIN=100))
    return Office(ledger_env.url, ledger_env.inbox, served, caller)


def sale(ref: str, amount: str) -> tuple[str, str, str, str, str]:
    return ("Order", ref, "ItemPrice", "Principal", amount)


def refund(ref: str, amount: str) -> tuple[str, str, str, str, str]:
    return ("Refund", ref, "ItemPrice", "Principal", amount)


def test_the_worked_example_is_paid_to_the_cent_and_a_replay_of_everything_pays_nothing_twice(office: Office):
    order = office.caller.order(CustomerID=office.caller.customer())
    office.link(ORDER, order)
    bill = office.caller.made("/ar/invoices", invoice(office.caller.ship(order["SalesOrderID"], 2)))
    back = office.caller.made("/ar/credit-memos", credit(bill))
    lines = (*SALE, refund(ORDER, "-50.00"), ("Refund", ORDER, "Promotion", "Principal", "5.00"))
    assert office.receive_settlement(*lines).delivered == 1
    (payment,) = office.payments()
    assert payment["ExternalReference"] == f"pay:amazon_us:1:{ORDER}"
    assert (payment["Amount"], payment["UnappliedAmount"], payment["BankAccountCode"]) == ("53.00", "0.00", "1100")
    assert (payment["PaymentDate"], payment["PostingDate"]) == ("2011-01-17", "2011-01-17")
    assert sorted(part["Amount"] for part in payment["Applications"]) == ["-45.00", "98.00"]
    assert office.balance(bill) == office.balance(back) == "0.00"
    assert office.pay().delivered == 0
    again = office.pay(window=Window(moment("2011-01-01"), moment("2011-02-01")), kind="backfill", reprocess=True)
    assert (again.read, again.unchanged, again.delivered, again.dead) == (1, 1, 0, 0)
    assert len(office.payments()) == 1


def test_part_shipments_are_paid_by_the_settlements_that_pay_for_them(office: Office):
    shipment = office.sell("111", 3)
    first, second = office.bill(shipment, 1), office.bill(shipment, 2)
    assert office.receive_settlement(sale("111", "100.00")).delivered == 1
    assert (office.balance(first), office.balance(second)) == ("50.00", "0.00")
    assert office.receive_settlement(sale("111", "50.00"), period=LATE).delivered == 1
    assert office.balance(first) == "0.00"


def test_a_difference_within_tolerance_is_kept_for_rounding_and_the_invoice_is_paid_in_full(office: Office):
    bill = office.bill(office.sell("111"))
    office.receive_settlement(sale("111", "60.00"), sale("111", "39.98"))
    assert office.balance(bill) == "0.00"
    ((settled, rounding),) = office.query("SELECT settled, rounding FROM stage.payment")
    assert (settled, rounding) == (Decimal("99.98"), Decimal("0.02"))


def test_what_does_not_match_is_a_dead_letter_with_the_candidates_and_no_payment(office: Office):
    bill = office.bill(office.sell("526-7898033-5401206"))
    counts = office.receive_settlement(sale("526-7898033-5401206", "99.97"), sale("526-7898033-5401299", "10.00"))
    assert counts.dead == 2
    assert office.payments() == []
    assert office.letters("payments") == {
        "amazon_us:1:526-7898033-5401206": ["amount_differs"],
        "amazon_us:1:526-7898033-5401299": ["unknown_order"],
    }
    assert f"{bill['InvoiceID']} (100.00), 0.03 more than that" in office.message("amazon_us:1:526-7898033-5401206")
    assert "Like it: 526-7898033-5401206" in office.message("amazon_us:1:526-7898033-5401299")


def test_an_accountant_corrects_the_order_or_says_what_is_paid(office: Office):
    bill, other = office.bill(office.sell("111")), office.bill(office.sell("222"))
    office.receive_settlement(sale("119", "100.00"), sale("222", "70.00"))
    assert office.edit("amazon_us:1:119", OrderRef="111").delivered == 1
    assert office.balance(bill) == "0.00"
    wrong = [{"Document": other["InvoiceID"], "Amount": 60}]
    assert office.edit("amazon_us:1:222", ApplyTo=wrong).dead == 1
    assert "60.00, but 70.00 was settled" in office.message("amazon_us:1:222")
    assert office.edit("amazon_us:1:222", ApplyTo=[{"Document": other["InvoiceID"], "Amount": 70}]).delivered == 1
    assert office.balance(other) == "30.00"
    assert office.letters("payments") == {}


def test_a_part_whose_invoice_or_credit_memo_is_missing_waits_and_is_paid_when_it_comes(office: Office):
    shipment = office.sell("111")
    assert office.receive_settlement(sale("111", "100.00")).waiting == 1
    assert office.pay().read == 0  # nothing has come: nobody wakes it
    bill = office.bill(shipment)
    assert office.pay().delivered == 1
    assert office.receive_settlement(refund("111", "-45.00"), period=LATE).waiting == 1
    one = {"InvoiceLineNo": 1, "Quantity": 1, "Amount": "45.00", "TaxAmount": "0.00"}
    none = dict.fromkeys(("DiscountTotal", "TaxTotal", "MarketplaceRemittedTax"), "0.00")
    back = office.caller.made("/ar/credit-memos", credit(bill, Lines=[one], SubTotal="45.00", **none))
    assert office.pay().delivered == 1
    assert office.balance(back) == "0.00"
    assert office.payments()[-1]["Amount"] == "-45.00"  # a negative settlement is a payment too


def test_a_payment_says_the_true_reason_for_which_it_is_not_made(office: Office):
    bill = office.bill(office.sell("111", Channel="Amazon DE"))
    with office.runtime() as runtime, runtime.engine.begin() as connection:
        connection.exec_driver_sql("""
            INSERT INTO stage.sales_order (key, batch_id, version, state, reason, marketplace_order_id) VALUES
              ('901', 0, now(), 'dead', NULL, '222'), ('902', 0, now(), 'waiting', 'the order is Pending', '333'),
              ('903', 0, now(), 'ready', NULL, '444'), ('904', 0, now(), 'delivered', NULL, '111')""")
    counts = office.receive_settlement(*(sale(ref, "100.00") for ref in ("111", "222", "333", "444")))
    assert (counts.waiting, counts.dead) == (3, 1)
    assert office.letters("payments") == {"amazon_us:1:111": ["order_of_another_site"]}
    output = office.message("amazon_us:1:111")
    assert "of Amazon DE; the settlement is of Amazon US" in output
    assert "not in TIMS" not in output
    reasons = dict(office.query("SELECT order_ref, reason FROM stage.payment WHERE state = 'waiting'"))
    assert "its order 901 is a dead letter" in reasons["222"]
    assert reasons["333"] == "its order 902 is not in TIMS yet, for it waits itself: the order is Pending"
    assert reasons["444"] == "its order 903 is not in TIMS yet; it is on its way"
    paid_by_hand = [{"Document": bill["InvoiceID"], "Amount": 100}]
    assert office.edit("amazon_us:1:111", ApplyTo=paid_by_hand).delivered == 1
    assert office.balance(bill) == "0.00"


def test_the_reason_of_a_payment_that_waits_follows_its_order(office: Office):
    def becomes(state: str, reason: str | None) -> None:
        with office.runtime() as runtime, runtime.engine.begin() as connection:
            connection.execute(
                sa.text("""
                    INSERT INTO stage.sales_order (key, batch_id, version, state, reason, marketplace_order_id)
                    VALUES ('901', 0, now(), :state, :reason, '222')
                    ON CONFLICT (key) DO UPDATE SET state = excluded.state, reason = excluded.reason"""),
                {"state": state, "reason": reason},
            )

    def message() -> str:
        with office.runtime() as runtime, runtime.engine.begin() as connection:
            return connection.scalars(sa.text("SELECT reason FROM stage.payment")).one()

    becomes("waiting", "the order is Pending")
    assert office.receive_settlement(sale("222", "100.00")).waiting == 1
    for state, reason, output in (
        ("waiting", "a buyer is asked for", "it waits itself: a buyer is asked for"),
        ("ready", None, "it is on its way"),
        ("dead", None, "its order 901 is a dead letter"),
        ("left_out", "it was never paid", "was left out of TIMS (it was never paid)"),
    ):
        becomes(state, reason)
        assert office.pay().waiting == 1
        assert output in message()
        assert office.pay().read == 0, "nothing has changed: nobody looks again"


def test_a_settlement_corrected_after_it_was_paid_is_a_dead_letter_and_the_payment_stays(office: Office):
    bill = office.bill(office.sell("111"))
    office.receive_settlement(sale("111", "100.00"))
    with office.runtime() as runtime, runtime.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE ref.settlement_line SET amount = 90, booked_at = now()")
    assert office.pay().dead == 1
    assert office.letters("payments") == {"amazon_us:1:111": ["settlement_corrected"]}
    assert "100.00, the settlement now says 90.00" in office.message("amazon_us:1:111")
    assert (len(office.payments()), office.balance(bill)) == (1, "0.00")


def test_a_lost_answer_pays_once(office: Office):
    bill = office.bill(office.sell("111"))
    office.caller.control("POST", "faults", {"kind": "hang_after", "path": "/bulk", "times": 1, "seconds": 4})
    office.batch = 1
    office.put("1.txt", settlement("1", JANUARY, sale("111", "100.00")))
    office.take()
    assert office.pay().delivered == 1
    assert office.pay().read == 0
    assert (len(office.payments()), office.balance(bill)) == (1, "0.00")
