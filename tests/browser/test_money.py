"""The accountant's month in a real browser: the close, the checklist, a line of the ledger back to its order; prices
approved and sent; the comparison; the audit log of it all."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal

import pytest
import sqlalchemy as sa
from playwright.sync_api import Page, expect

from browser.conftest import Console, axe, shot
from crossdock.ledger.close import close, figures
from crossdock.store import approvals, audit
from crossdock.watch.reconcile import reconcile
from crossdock.watch.reconcile.catalogue import NO_ITEM
from integration.builders import forward, send
from integration.environment import Environment

MONTH = "2011-01"
PAGES = ("", "/balance", "/open-items", "/payouts", "/profit", "/profit?by=sku", "/lines")
HOSTILE = "<script>alert(1)</script>\u202e=cmd|'x'😀" + "x" * 2_000


@pytest.fixture(scope="module")
def month(console: Console) -> Console:
    """The shop's month so far, in the ledger."""
    forward(console.shop, console.shop.now + timedelta(minutes=10))
    (order,) = console.query("SELECT id, external_order_id AS key FROM ref.sales_order ORDER BY id LIMIT 1")
    where = {"Channel": "Website", "Order": order.key, "SKU": "22423"}
    sold = {
        "ExternalReference": "by-hand:sale", "Source": "A person", "PostingDate": "2011-01-05",
        "SourceDocument": {"Type": "Other", "ID": "by-hand"}, "Description": "Sold at the counter",
        "CurrencyCode": "GBP",
        "Lines": [
            {"LineNo": 1, "AccountCode": "1000", "Debit": "10.80", "Credit": "0.00"},
            {"LineNo": 2, "AccountCode": "6100", "Debit": "1.20", "Credit": "0.00", "Dimensions": where},
            {"LineNo": 3, "AccountCode": "4000", "Debit": "0.00", "Credit": "10.00", "Dimensions": where},
            {"LineNo": 4, "AccountCode": "2200", "Debit": "0.00", "Credit": "2.00", "Dimensions": where},
        ],
    }  # fmt: skip
    with console.shop.runtime() as runtime:
        runtime.tims.post("/gl/entries", sold, key="by-hand:sale").document()
    forward(console.shop, console.shop.now + timedelta(minutes=10))
    with console.shop.runtime() as runtime:
        reconcile(runtime, ("orders", "invoices", "prices"), run_id="reconcile/first")
        reconcile(runtime, ("orders", "invoices", "prices"), run_id="reconcile/second")
    return console


@pytest.fixture(scope="module")
def settled(month: Console) -> Console:
    """A settlement of the month in our books, two orders and a fee, whose entries are not posted yet."""
    with month.shop.runtime() as runtime, runtime.engine.begin() as connection:
        connection.execute(
            sa.text(
                "INSERT INTO ref.settlement (source, settlement_id, channel, format, file, currency_code, start_at, "
                "end_at, deposit_at, total, content_hash) VALUES ('amazon_us', '77', 'Amazon US', 'amazon_v2', "
                "'77.txt', 'USD', '2011-01-01', '2011-01-08', '2011-01-09 12:00+00', 83.30, 'x')"
            )
        )
        for number, (kind, amount, order) in enumerate(
            (("principal", "58.00", "114-1"), ("principal", "40.00", "114-2"), ("commission", "-14.70", "114-1"))
        ):
            connection.execute(
                sa.text(
                    "INSERT INTO ref.settlement_line (source, settlement_id, line_no, position, kind, amount, "
                    "currency_code, posted_at, order_ref, sku) VALUES ('amazon_us', '77', :line, :at, :kind, "
                    ":amount, 'USD', '2011-01-07', :order, '22423')"
                ),
                {"line": str(number + 1), "at": number, "kind": kind, "amount": amount, "order": order},
            )
    return month


def work_closes(console: Console) -> int:
    """Plays Airflow's worker: looks at the months whose close was asked for."""
    from airflow.models.dagrun import DagRun
    from airflow.utils.session import create_session
    from airflow.utils.state import DagRunState

    with create_session() as session:
        queued = session.scalars(
            sa.select(DagRun).where(DagRun.state == DagRunState.QUEUED, DagRun.dag_id == "nightly_close")
        ).all()
        for run in queued:
            with console.shop.runtime() as runtime:
                close(runtime, run.conf["period"], wait=0, run_id=f"nightly_close/{run.run_id}")
            run.state = DagRunState.SUCCESS
        session.commit()
        return len(queued)


def raise_costs(shop: Environment, number: int) -> list[str]:
    """Doubles what some items cost: their prices wait for a person. Their SKUs."""
    shop.sync(flow="prices")
    forward(shop, shop.now + timedelta(minutes=20))
    raised = [
        one for one in shop.in_tims("inventory/items")
        if one["Status"] == "Active" and one["Type"] == "Inventory" and not one["AlternateSKUs"]
        and shop.world.catalogue.spellings.get(one["SKU"]) == one["SKU"]
    ][:number]  # fmt: skip
    for one in raised:
        document = {name: value for name, value in one.items() if name not in ("RowVersion", "ModifiedAt")}
        send(shop, "tims", "item", document | {"Cost": str(Decimal(one["Cost"]) * 2)})
    forward(shop, shop.now + timedelta(minutes=1))
    shop.sync(flow="prices")
    return [one["SKU"] for one in raised]


def test_the_accountant_closes_the_month(month: Console) -> None:
    page = month.open(month.login("accountant"), "/money")
    shot(page, "money")
    page.get_by_role("link", name=MONTH).click()
    expect(page.locator('[data-step="closed"]')).to_contain_text("First: All payouts of the month are in;")
    page.get_by_role("button", name="Check the month").click()
    expect(page.get_by_text("A check is under way")).to_be_visible()
    assert work_closes(month) == 1
    expect(page.get_by_text(re.compile("All [0-9]+ hold"))).to_be_visible(timeout=15_000)
    expect(page.get_by_text("asked for by accountant")).to_be_visible()
    shot(page, "money_checked")
    for step in ("open_items", "exported", "closed"):  # nothing of it was done yet
        assert page.locator(f'[data-step="{step}"]').get_by_role("button", name=re.compile("Tick|Close")).count() == 0
    payouts = page.locator('[data-step="payouts"]')
    expect(payouts).to_contain_text("Not all is well")
    payouts.get_by_placeholder("why it is right all the same").fill("No marketplace pays out in this test")
    payouts.get_by_role("button", name="Tick").click()
    expect(payouts).to_contain_text("Ticked although")
    page.locator('[data-step="controls"]').get_by_role("button", name="Tick").click()
    expect(page.locator('[data-step="controls"].ticked')).to_be_visible()
    if month.query(f"SELECT 1 FROM ops.open_item WHERE period = '{MONTH}'"):
        month.open(page, f"/money/{MONTH}/open-items?age=over+90")
        expect(page.get_by_text("Nothing of that age is open.")).to_be_visible()
        month.open(page, f"/money/{MONTH}")
        expect(page.locator('[data-step="open_items"]')).to_contain_text("Open the page of open items first")
        page.locator('[data-step="open_items"]').get_by_role("link", name="Open items").click()
        page.get_by_role("link", name="Close", exact=True).click()
        expect(page.locator('[data-step="open_items"]')).to_contain_text("Opened by accountant")
    page.locator('[data-step="open_items"]').get_by_role("button", name="Tick").click()
    expect(page.locator('[data-step="open_items"].ticked')).to_be_visible()
    with page.expect_download() as download:
        page.locator('[data-step="exported"]').get_by_role("link", name="CSV").click()
    assert download.value.suggested_filename == f"ledger-{MONTH}.csv"  # and the page itself knows it soon
    expect(page.locator('[data-step="exported"]')).to_contain_text(f"ledger-{MONTH}.csv was taken by accountant")
    assert page.locator('[data-step="exported"] time:not([data-local])').count() == 0
    page.locator('[data-step="exported"]').get_by_role("button", name="Tick").click()
    sides = page.locator("[data-sides] tbody tr")
    expect(sides.first).to_contain_text("not closed")
    page.locator('[data-step="closed"]').get_by_role("button", name="Close the month").click()
    expect(page.get_by_role("heading", name=re.compile(f"Money {MONTH} closed"))).to_be_visible()
    expect(sides.first).to_contain_text("closed by accountant")
    expect(sides.last).to_contain_text("close the period there, too")
    assert page.get_by_role("button", name="Check again").count() == 0
    page.get_by_text("Check it once more …").click()
    expect(page.get_by_text("nothing has changed since it was checked")).to_be_visible()
    shot(page, "money_month")
    assert axe(page) == []
    width = page.evaluate("document.documentElement.scrollWidth")
    assert width <= 1280
    page.get_by_role("link", name="the month in the audit log").click()
    expect(page.get_by_role("heading", name="Audit log")).to_be_visible()
    shot(page, "money_audit")
    done = month.query(f"SELECT action, who FROM ops.audit WHERE subject = '{MONTH}' ORDER BY id")
    assert [row.action for row in done if row.action != "month open items"] == [
        "month close", "month payouts", "month controls", "month open_items", "month export", "month exported",
        "month closed",
    ]  # fmt: skip
    assert {row.who for row in done} == {"accountant"}
    assert page.problems == []


def test_a_closed_month_whose_books_change_is_closed_no_more_and_says_by_which_entries(month: Console) -> None:
    page = month.open(month.login("accountant"), f"/money/{MONTH}")
    expect(page.get_by_role("heading", name=re.compile(f"Money {MONTH} closed"))).to_be_visible()
    counter = {
        "ExternalReference": "by-hand:late", "Source": "A person", "PostingDate": "2011-01-06",
        "SourceDocument": {"Type": "Other", "ID": "late"}, "Description": "Found in a drawer", "CurrencyCode": "GBP",
        "Lines": [
            {"LineNo": 1, "AccountCode": "1000", "Debit": "1234.50", "Credit": "0.00"},
            {"LineNo": 2, "AccountCode": "4000", "Debit": "0.00", "Credit": "1234.50"},
        ],
    }  # fmt: skip
    with month.shop.runtime() as runtime:
        runtime.tims.post("/gl/entries", counter, key="by-hand:late").document()
        close(runtime, MONTH, wait=0, run_id="nightly_close/late")
    month.open(page, "/money")
    expect(page.get_by_role("row").filter(has_text=MONTH)).to_contain_text("was closed; its books have changed")
    page.get_by_role("link", name="was closed; its books have changed").click()
    notice = page.locator("[data-fallen]")
    expect(notice).to_contain_text("is not any more")
    expect(page.locator('[data-step="closed"]')).to_contain_text("The tick counts no more")
    shot(page, "money_fallen")
    assert axe(page) == []
    notice.get_by_role("link", name="1 entry is new or changed").click()
    expect(page.locator("tr[data-row]")).to_have_count(2)
    expect(page.locator("tr[data-row]").first).to_contain_text("1,234.50 GBP")
    expect(page.locator("[data-sums]")).to_contain_text("2 lines in GBP: debit 1,234.50 GBP, credit 1,234.50 GBP")
    assert page.problems == []


def test_the_ledger_is_filtered_and_added_up(month: Console) -> None:
    page = month.open(month.login("viewer"), f"/money/{MONTH}/lines")
    expect(page.locator("[data-sums]")).to_contain_text("lines in GBP")
    page.get_by_label("Text").fill("at the COUNTER")
    page.get_by_role("button", name="Show").click()
    expect(page.locator("tr[data-row]")).to_have_count(4)
    assert "sku=" not in page.url, "an empty field asks for nothing"
    expect(page.locator("[data-sums]")).to_contain_text("4 lines in GBP: debit 12.00 GBP, credit 12.00 GBP")
    page.get_by_label("Account").select_option("4000")
    page.get_by_role("button", name="Show").click()
    expect(page.locator("tr[data-row]")).to_have_count(1)
    sku = page.get_by_role("link", name="22423")
    assert sku.evaluate("one => one.getClientRects().length") == 1, "a SKU stands on one line"
    shot(page, "money_lines")
    assert axe(page) == []
    page.get_by_role("link", name="Back to the trial balance").click()
    expect(page.get_by_role("heading", name=f"Trial balance {MONTH}")).to_be_visible()
    amounts = page.locator("td.number .amount").all_inner_texts()
    assert amounts
    assert all(re.fullmatch(r"-?[0-9]{1,3}(,[0-9]{3})*\.[0-9]{2} [A-Z]{3}", one) for one in amounts), amounts
    shot(page, "money_balance")
    assert page.problems == []


@pytest.fixture
def many_open(month: Console) -> Iterator[None]:
    """Open items as the check of a large month finds them, and a balance of Clearing that is 7.00 more."""
    shop = month.shop
    with shop.runtime() as runtime:
        close(runtime, MONTH, wait=0, run_id="nightly_close/many")
    items = (
        "INSERT INTO ops.open_item "
        "(period, position, kind, currency_code, document, days, age, amount, party, order_id) "
        "SELECT :period, 1000 + n, CASE WHEN n % 2 = 0 THEN 'credit memos' ELSE 'invoices' END, "
        "CASE WHEN n % 3 = 0 THEN 'EUR' ELSE 'USD' END, 'INV-9' || n, n % 40, "
        "CASE WHEN n % 40 <= 30 THEN '0-30' ELSE '31-60' END, n, 'eBay', '14-' || n || :text "
        "FROM generate_series(1, 250) n"
    )
    entry = (
        "INSERT INTO ref.gl_entry (id, external_reference, source, currency_code, posting_date, period, document_type, "
        "document_id, status, payload, version) VALUES ('JE-many', 'many', 'A person', 'USD', '2011-01-07', :period, "
        "'Other', 'many', 'Posted', '{}', '2011-01-07')"
    )
    line = (
        "INSERT INTO ref.gl_entry_line (entry_id, line_no, account_code, debit, credit) "
        "SELECT 'JE-many', 1, '1100', 7 + sum(amount), 0 FROM ops.open_item "
        "WHERE period = :period AND currency_code = 'USD'"
    )
    with shop.runtime() as runtime, runtime.engine.begin() as connection:
        for statement in (items, entry, line):
            connection.execute(sa.text(statement), {"period": MONTH, "text": HOSTILE})
        as_found(connection)
    yield
    with shop.runtime() as runtime, runtime.engine.begin() as connection:
        connection.execute(sa.text("DELETE FROM ops.open_item WHERE position > 999"))
        connection.execute(sa.text("DELETE FROM ref.gl_entry_line WHERE entry_id = 'JE-many'"))
        connection.execute(sa.text("DELETE FROM ref.gl_entry WHERE id = 'JE-many'"))
        as_found(connection)


def as_found(connection: sa.Connection) -> None:
    """The last close of the month has seen the books as they are."""
    connection.execute(
        sa.text("UPDATE ops.closing SET figures = :now WHERE run_id = 'nightly_close/many'"),
        {"now": figures(connection, [MONTH])[MONTH]},
    )


@pytest.mark.usefixtures("many_open")
def test_what_adds_up_to_a_balance_is_filtered_sorted_and_taken_as_a_file(month: Console) -> None:
    page = month.open(month.login("viewer"), f"/money/{MONTH}/balance")
    page.get_by_role("link", name="what adds up to it").first.click()
    expect(page.get_by_role("heading", name=f"Open items {MONTH}")).to_be_visible()
    month.open(page, f"/money/{MONTH}/open-items")
    usd = page.locator('[data-sums] [data-currency="USD"]')
    expect(usd.get_by_role("link", name="7.00 USD")).to_be_visible()
    shot(page, "money_open")
    assert axe(page) == []
    page.get_by_label("Kind").select_option("invoices")
    page.get_by_label("Currency", exact=True).select_option("USD")
    page.get_by_label("Document, order or channel").fill("EBAY")
    page.get_by_role("button", name="Show", exact=True).click()
    chosen = [number for number in range(1, 251) if number % 2 and number % 3]
    row = page.locator('[data-sums] [data-currency="USD"]')
    expect(row).to_contain_text(f"{len(chosen)}")
    expect(row).to_contain_text(f"{sum(chosen):,}.00 USD")
    assert "age=" not in page.url, "an empty field asks for nothing"
    page.get_by_role("columnheader", name="Amount").get_by_role("link").click()
    expect(page.get_by_role("columnheader", name="Amount")).to_have_attribute("aria-sort", "descending")
    amounts = page.locator("tr[data-row] .amount")
    expect(amounts.first).to_have_text(f"{chosen[-1]}.00 USD")
    page.get_by_role("columnheader", name="Amount").get_by_role("link").click()
    expect(amounts.first).to_have_text("1.00 USD")
    page.get_by_label("Days open").select_option("0-30")
    page.get_by_role("button", name="Show", exact=True).click()
    expect(page.get_by_role("columnheader", name="Amount")).to_have_attribute("aria-sort", "ascending")
    young = [number for number in chosen if number % 40 <= 30]
    expect(row).to_contain_text(f"{sum(young):,}.00 USD")
    shot(page, "money_open_filtered")
    assert axe(page) == []
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth + 1")
    with page.expect_download() as started:
        page.get_by_role("link", name="These as CSV").click()
    rows = list(csv.DictReader(io.StringIO(started.value.path().read_text("utf-8"))))
    assert [Decimal(one["amount"]) for one in rows] == young
    month.open(page, f"/money/{MONTH}/open-items?sort=-days")
    before = rows_of(page)
    page.get_by_role("button", name="Show more").click()
    page.wait_for_function("before => document.querySelectorAll('tr[data-row]').length > before", arg=before)
    ages = [int(text) for text in page.locator("tr[data-row] td:nth-child(5)").all_inner_texts()]
    assert ages == sorted(ages, reverse=True)
    assert page.problems == []


@pytest.mark.parametrize(
    ("path", "link", "file", "column"),
    [
        ("/balance", "As CSV", f"trial-balance-{MONTH}.csv", "after"),
        ("/payouts", "These as CSV", f"payouts-{MONTH}.csv", "lines_total"),
        ("/profit", "All rows as CSV", f"profit-by-channel-{MONTH}.csv", "profit"),
        ("/profit?by=sku", "All rows as CSV", f"profit-by-sku-{MONTH}.csv", "profit"),
        ("payout?source=amazon_us&id=77", "These lines as CSV", "payout-amazon_us-77.csv", "amount"),
    ],
)
def test_what_a_page_lists_is_taken_as_a_file(settled: Console, path: str, link: str, file: str, column: str) -> None:
    page = settled.open(settled.login("viewer"), f"/money/{path if path[0] != '/' else MONTH + path}")
    with page.expect_download() as started:
        page.get_by_role("link", name=link).click()
    assert started.value.suggested_filename == file
    rows = list(csv.DictReader(io.StringIO(started.value.path().read_text("utf-8"))))
    assert rows
    assert all(re.fullmatch(r"-?[0-9]+\.[0-9]{2,4}", row[column]) for row in rows)
    assert page.problems == []


def test_whose_days_they_are_stands_where_days_are_shown(settled: Console) -> None:
    page = settled.login("viewer", timezone_id="America/Los_Angeles")
    (company,) = settled.query("SELECT time_zone FROM ref.company")
    for path in (
        f"{MONTH}",
        f"{MONTH}/lines",
        f"{MONTH}/payouts",
        f"{MONTH}/open-items",
        "payout?source=amazon_us&id=77",
    ):
        settled.open(page, f"/money/{path}")
        note = page.locator("[data-days]")
        expect(note).to_contain_text(f"the company's time zone, {company.time_zone}")
        begins = note.locator("time").first
        expect(begins).to_have_attribute("data-local", "")
    assert begins.get_attribute("datetime").startswith(("2010-12-31", "2011-01-01"))
    assert page.problems == []


def test_a_run_that_ended_before_it_could_look_is_told_with_the_way_to_its_log(month: Console) -> None:
    from airflow.models.dagrun import DagRun
    from airflow.utils.session import create_session
    from airflow.utils.state import DagRunState

    page = month.open(month.login("accountant"), f"/money/{MONTH}")
    page.get_by_role("button", name=re.compile("Check (the month|again)")).click()
    expect(page.get_by_text("A check is under way")).to_be_visible()
    with create_session() as session:
        for run in session.scalars(sa.select(DagRun).where(DagRun.state == DagRunState.QUEUED)):
            run.state = DagRunState.FAILED
    link = page.get_by_role("link", name="Look at the run in Airflow")
    expect(link).to_be_visible(timeout=15_000)
    assert "/dags/nightly_close/runs/" in link.get_attribute("href")
    with month.shop.runtime() as runtime, runtime.engine.begin() as connection:
        connection.execute(sa.text("DELETE FROM ops.closing WHERE finished_at IS NULL"))
    assert page.problems == []


def test_a_line_of_the_ledger_leads_to_its_order(month: Console) -> None:
    page = month.open(month.login("accountant"), f"/money/{MONTH}/balance")
    page.get_by_role("link", name="4000").click()
    link = page.locator("tr[data-row] a[data-open]").first
    order = link.inner_text()
    assert month.query("SELECT external_order_id AS key FROM ref.sales_order ORDER BY id LIMIT 1")[0].key == order
    link.click()
    page.wait_for_url(re.compile("/crossdock/record"))
    expect(page.locator("main")).to_contain_text(order)
    page.go_back()
    page.get_by_role("link", name="Back to the trial balance").click()
    page.wait_for_url(re.compile("/balance#account-4000$"))
    expect(page.locator("#account-4000")).to_be_visible()
    assert page.problems == []


def test_the_figures_on_the_pages_are_those_of_the_ledger(month: Console) -> None:
    page = month.open(month.login("viewer"), f"/money/{MONTH}/profit")
    shot(page, "money_profit")
    sums = month.query(
        "SELECT e.currency_code AS currency, sum(l.credit - l.debit) AS profit FROM ref.gl_entry e "
        "JOIN ref.gl_entry_line l ON l.entry_id = e.id JOIN ref.account a ON a.id = l.account_code "
        "WHERE e.period = '2011-01' AND a.type IN ('Revenue', 'Expense') GROUP BY 1"
    )
    assert sums
    for row in sums:
        expect(page.locator(f'[data-total="{row.currency}"]')).to_contain_text(f"{row.profit:,.2f}")
    page.get_by_role("link", name="by SKU").click()
    expect(page.locator("tfoot tr").first).to_contain_text("Total")
    shot(page, "money_profit_sku")
    assert page.problems == []


def test_a_row_of_profit_adds_up_at_sight(month: Console) -> None:
    page = month.open(month.login("viewer"), f"/money/{MONTH}/profit?by=sku")
    expect(page.get_by_text("Margin is the profit in percent of revenue less discounts and refunds")).to_be_visible()
    rows = page.locator(".figures tbody tr[data-row]")
    assert rows.count() > 0
    for row in rows.all():
        cells = [re.sub("[^0-9.-]", "", text) or "0" for text in row.locator("td.number").all_inner_texts()]
        *parts, profit = (Decimal(cell) for cell in cells[:7])
        assert sum(parts) == profit
    assert page.locator("[data-rounded]").count() == 0
    month.open(page, f"/money/{MONTH}/profit?by=sku&amounts=base")
    expect(page.locator("[data-rounded]")).to_contain_text("can differ from it by some cents")
    assert page.problems == []


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/9999-12", "There is no month 9999-12"),
        ("/0001-01", "There is no month 0001-01"),
        (f"/{MONTH}/open-items?age=zzz", "There is no age"),
        (f"/{MONTH}/lines?group=zzz", "There is no group"),
        (f"/{MONTH}/profit?by=zzz", "There is no by"),
        (f"/{MONTH}/profit?amounts=zzz", "There is no amounts"),
        (f"/{MONTH}/payouts?by=zzz", "There is no by"),
    ],
)
def test_what_is_not_there_is_refused_with_words(month: Console, path: str, words: str) -> None:
    page = month.login("accountant")
    answer = page.goto(f"{month.url}/crossdock/money{path}")
    assert answer is not None
    assert answer.status == 422
    expect(page.get_by_text(words)).to_be_visible()


def test_a_payout_is_tied_to_its_lines_and_orders(settled: Console) -> None:
    page = settled.open(settled.login("viewer"), f"/money/{MONTH}/payouts")
    row = page.get_by_role("row").filter(has_text="77")
    expect(row).to_contain_text("not posted yet")
    shot(page, "money_payouts")
    row.get_by_role("link", name="77", exact=True).click()
    expect(page.get_by_role("row").filter(has_text="Lines add up to")).to_contain_text("83.30 USD")
    page.get_by_role("link", name="commission").click()
    expect(page.locator("tr[data-row]")).to_have_count(1)
    shot(page, "money_payout")
    assert axe(page) == []
    assert page.problems == []


def test_the_export_opens_in_a_spreadsheet(month: Console) -> None:
    page = month.open(month.login("accountant"), f"/money/{MONTH}")
    with page.expect_download() as started:
        page.get_by_role("link", name="CSV").click()
    rows = list(csv.DictReader(io.StringIO(started.value.path().read_text("utf-8"))))
    (count,) = month.query(
        "SELECT count(*) AS n FROM ref.gl_entry e JOIN ref.gl_entry_line l ON l.entry_id = e.id "
        "WHERE e.posting_date BETWEEN '2011-01-01' AND '2011-01-31'"
    )
    assert len(rows) == count.n > 0


def test_a_viewer_and_a_clerk_close_nothing(month: Console) -> None:
    for role in ("viewer", "clerk"):
        page = month.open(month.login(role), f"/money/{MONTH}")
        expect(page.get_by_role("heading", name=f"Money {MONTH}")).to_be_visible()
        assert page.get_by_role("button", name=re.compile("Close|Tick|Take back")).count() == 0
        status = page.evaluate(
            """async () => (await fetch("/crossdock/api/money/2011-01/close", {method: "POST",
               headers: {"X-Crossdock-CSRF": document.querySelector("meta[name=csrf]").content}})).status"""
        )
        assert status == 403
        assert len(page.problems) == 1, page.problems  # the refusal


def test_a_price_that_is_approved_is_used_by_the_next_run(month: Console) -> None:
    shop = month.shop
    first, second, *rest = raise_costs(shop, 6)
    page = month.login("clerk")
    month.open(page, "/approvals")
    shot(page, "approvals")
    row = page.get_by_role("row").filter(has_text=first).first
    row.get_by_role("button", name="Approve").click()
    expect(page.get_by_text("Approved 1.")).to_be_visible()
    expect(page.get_by_role("link", name=first, exact=True)).to_have_count(0)
    (left,) = month.query("SELECT count(*) AS number FROM ops.approval WHERE state = 'open'")
    expect(page.get_by_role("navigation", name="States").get_by_role("link", name="open")).to_have_text(
        f"open {left.number}"
    )
    expect(page).to_have_title(f"Approvals ({left.number}) – Crossdock")
    row = page.get_by_role("row").filter(has_text=second).first
    row.get_by_label("is refused").fill("the cost is wrong")
    row.get_by_role("button", name="Refuse", exact=True).click()
    expect(page.get_by_text("Refused 1.")).to_be_visible()
    page.get_by_label("SKU or target").fill(rest[0])
    page.get_by_role("button", name="Find").click()
    page.once("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name=re.compile("^Approve the one ")).click()
    expect(page.get_by_text("Approved 1.")).to_be_visible()
    decided = month.query("SELECT key, state, decided_by, to_price FROM ops.approval WHERE state <> 'open' ORDER BY id")
    assert {(one.key, one.state, one.decided_by) for one in decided} == {
        (first, "approved", "clerk"), (second, "refused", "clerk"), (rest[0], "approved", "clerk"),
    }  # fmt: skip
    page.get_by_role("button", name="Send now").click()
    expect(page.get_by_text("The run has started")).to_be_visible()
    (deed,) = month.query("SELECT subject FROM ops.audit WHERE action = 'prices send' AND who = 'clerk'")
    month.open(page, "/approvals")
    expect(page.get_by_text(re.compile("a run of prices is (queued|running)"))).to_be_visible()
    page.get_by_role("button", name="Send now").click()
    expect(page.get_by_text("no second one was started")).to_be_visible()
    month.open(page, "/audit?action=prices send")
    expect(page.locator("tr[data-row]")).to_have_count(1)
    expect(page.locator("tr[data-row]")).to_contain_text(deed.subject)
    assert month.work_asked_runs() >= 1
    with shop.runtime() as runtime:
        for one in decided:
            (price,) = (
                record for page_ in runtime.channel_advisor.pages("prices", sku=[one.key]) for record in page_.records
            )
            sent = f'"Price":{one.to_price:.2f}'.rstrip("0").rstrip(".") in bytes(price).decode().replace(" ", "")
            assert sent == (one.state == "approved"), (one, bytes(price))
    page = month.open(page, "/approvals?state=approved")
    expect(page.get_by_role("row").filter(has_text=first)).to_contain_text("sent")
    shot(page, "approvals_approved")
    assert page.problems == []


def test_a_viewer_sees_prices_that_wait_and_decides_nothing(month: Console) -> None:
    page = month.open(month.login("viewer"), "/approvals")
    assert page.locator("tr[data-row]").count() >= 1
    assert page.get_by_role("button", name=re.compile("Approve|Refuse|Send")).count() == 0
    assert page.problems == []


def test_the_comparison_has_its_trend_and_what_differs(month: Console) -> None:
    page = month.open(month.login("viewer"), "/reconciliation")
    expect(page.locator("svg.trend").first).to_be_visible()
    shot(page, "reconciliation")
    (last,) = month.query("SELECT max(id) AS id FROM ops.reconcile_run")
    page.locator("#runs ~ table").get_by_role("link", name="report").first.click()
    page.wait_for_url(f"**/reconcile/{last.id}")
    expect(page.locator(".report svg").first).to_be_visible()
    page.get_by_role("link", name=f"Reconciliation {last.id}").click()
    page.wait_for_url(f"**/reconciliation/{last.id}")
    assert page.problems == []


def test_a_product_without_an_item_leads_to_the_items_that_are_like_it(month: Console) -> None:
    with month.shop.runtime() as runtime, runtime.engine.begin() as connection:
        values = {"sku": "22423-NEW", "near": '["22423", "22424"]', "hostile": HOSTILE[:200]}
        connection.execute(
            sa.text(
                "INSERT INTO ops.orphan (product_sku, nearest) VALUES (:sku, CAST(:near AS jsonb)), (:hostile, '[]')"
            ),
            values,
        )
        connection.execute(
            sa.text(
                "INSERT INTO ops.reconcile_difference "
                "(run, subject, key, field, missing, channel_advisor, tims, cause, why) "
                "SELECT max(id), 'products', '22423-new', '', 'tims', '', '', 'waiting', :why FROM ops.reconcile_run"
            ),
            {"why": f"{NO_ITEM}: create it"},
        )
    page = month.open(month.login("viewer"), "/reconciliation")
    row = page.get_by_role("row").filter(has_text="22423-new")
    expect(row).to_contain_text("no item of TIMS is this product")
    row.get_by_role("link", name="Items that are like it").click()
    expect(page.get_by_role("heading", name="Products without an item")).to_be_visible()
    expect(page.locator("tr[data-row]")).to_have_count(1)
    expect(page.locator("tr[data-row]").get_by_role("link", name="22424")).to_be_visible()
    page.get_by_role("link", name="All", exact=True).click()
    assert rows_of(page) >= 2
    assert "\u202e" not in page.locator("main").inner_text()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth + 1")
    shot(page, "orphans")
    assert axe(page) == []
    with month.shop.runtime() as runtime, runtime.engine.begin() as connection:
        connection.execute(sa.text("DELETE FROM ops.orphan WHERE product_sku IN (:sku, :hostile)"), values)
        connection.execute(sa.text("DELETE FROM ops.reconcile_difference WHERE key = '22423-new'"))
    assert page.problems == []


def test_the_audit_log_tells_who_did_all_that(month: Console) -> None:
    page = month.open(month.login("viewer"), "/audit?who=clerk")
    expect(page.get_by_role("row").filter(has_text="refused price change")).to_contain_text("the cost is wrong")
    page.get_by_label("Action").select_option("refused a price change")
    page.get_by_role("button", name="Show", exact=True).click()
    expect(page.locator("tr[data-row]")).to_have_count(1)
    expect(page.locator("tr[data-row]")).to_contain_text("127.0.0.1")
    month.open(page, "/audit")
    shot(page, "audit")
    assert '["' not in page.locator("table.list").inner_text(), "lists are words"
    closed = month.open(page, f"/audit?subject={MONTH}&action=month closed").locator("tr[data-row]").first
    expect(closed).to_contain_text("ticked “The month is closed” of 2011-01")
    closed.get_by_role("link", name=MONTH, exact=True).click()
    expect(page.get_by_role("heading", name=re.compile(f"Money {MONTH}"))).to_be_visible()
    month.open(page, "/audit")
    with page.expect_download() as started:
        page.get_by_role("link", name="Download as CSV").click()
    rows = list(csv.DictReader(io.StringIO(started.value.path().read_text("utf-8"))))
    assert [row["action"] for row in rows][-1:] != []
    assert {"clerk", "accountant"} <= {row["who"] for row in rows}
    assert month.query("SELECT who FROM ops.audit WHERE action = 'audit export'")[-1].who == "viewer"
    assert page.problems == []


@pytest.fixture
def hostile(month: Console) -> Iterator[None]:
    """Texts that want to be more than text, wherever these pages show foreign ones."""
    shop = month.shop
    with shop.runtime() as runtime, runtime.engine.begin() as connection:
        approvals.ask(connection, [
            {"flow": "prices", "key": HOSTILE[:60] + str(number), "target": HOSTILE, "site_id": 0,
             "from_price": Decimal(1), "to_price": Decimal(2), "promotion_price": None, "cost": Decimal(3),
             "currency_code": "GBP", "why": HOSTILE}
            for number in range(120)
        ])  # fmt: skip
        for number in range(120):
            audit.record(connection, "mallory", HOSTILE[:80], f"{number}", {"note": HOSTILE, HOSTILE[:50]: [HOSTILE]})
        run = connection.scalar(sa.text("SELECT max(id) FROM ops.reconcile_run"))
        connection.execute(
            sa.text(
                "INSERT INTO ops.reconcile_difference (run, subject, key, field, missing, channel_advisor, tims, "
                "cause, why) SELECT :run, 'orders', :text || n, 'total', '', :text, :text, 'unexplained', :text "
                "FROM generate_series(1, 120) n"
            ),
            {"run": run, "text": HOSTILE},
        )
        line = connection.execute(
            sa.text("SELECT entry_id, line_no, channel, sku FROM ref.gl_entry_line WHERE sku IS NOT NULL LIMIT 1")
        ).one()
        place = {"entry": line.entry_id, "line": line.line_no}
        connection.execute(
            sa.text(
                "UPDATE ref.gl_entry_line SET sku = :text, channel = :text WHERE entry_id = :entry AND line_no = :line"
            ),
            place | {"text": HOSTILE},
        )
    yield
    with shop.runtime() as runtime, runtime.engine.begin() as connection:
        connection.execute(sa.text("DELETE FROM ops.approval WHERE target = :text"), {"text": HOSTILE})
        connection.execute(
            sa.text(
                "UPDATE ref.gl_entry_line SET sku = :sku, channel = :channel "
                "WHERE entry_id = :entry AND line_no = :line"
            ),
            place | {"sku": line.sku, "channel": line.channel},
        )


def rows_of(page: Page) -> int:
    return page.locator("tr[data-row]").count()


def test_hostile_values_do_nothing_and_long_lists_are_paged(month: Console, hostile: None) -> None:
    page = month.login("clerk")
    page.on("dialog", lambda dialog: page.problems.append(dialog.message))
    for path in ("/approvals", "/audit?who=mallory", "/reconciliation"):
        month.open(page, path)
        before = rows_of(page)
        page.get_by_role("button", name="Show more").click()
        page.wait_for_function("before => document.querySelectorAll('tr[data-row]').length > before", arg=before)
        assert "\u202e" not in page.locator("main").inner_text(), path
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth + 1"), path
        shot(page, f"hostile_{path.strip('/').partition('?')[0]}")
    for path in PAGES:
        month.open(page, f"/money/{MONTH}{path}")
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth + 1"), path
    assert page.problems == []


@pytest.mark.parametrize("screen", ["light", "dark", "phone"])
def test_every_page_is_readable_by_everybody(month: Console, screen: str) -> None:
    how = {"viewport": {"width": 390, "height": 844}} if screen == "phone" else {"color_scheme": screen}
    page = month.login("accountant", **how)
    settlements = month.query("SELECT source, settlement_id FROM ref.settlement LIMIT 1")
    payouts = [f"/money/payout?source={one.source}&id={one.settlement_id}" for one in settlements]
    for path in (*(f"/money/{MONTH}{each}" for each in PAGES), *payouts, "/money", "/approvals", "/reconciliation",
                 "/reconciliation/orphans", "/reconcile/", "/audit"):  # fmt: skip
        month.open(page, path)
        assert axe(page) == [], path
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth + 1"), path
        expect(page.locator("#zone")).to_contain_text("Times are those of Europe/London")
        if screen != "light":
            shot(page, f"{screen}_{re.sub('[^a-z]+', '_', path.strip('/').partition('source')[0])}")
    assert page.problems == []


def test_the_menu_is_one_row_on_a_phone(month: Console) -> None:
    page = month.login("viewer", viewport={"width": 390, "height": 844})
    for path, name in (("/", "Overview"), ("/money", "Money"), ("/audit", "Audit log")):
        month.open(page, path)
        menu = page.get_by_role("navigation", name="Pages")
        heights = menu.get_by_role("link").evaluate_all("links => [...new Set(links.map((one) => one.offsetTop))]")
        assert len(heights) == 1, "all links stand in one row"
        assert page.locator(".top").bounding_box()["height"] < 110  # type: ignore[index]
        expect(menu.get_by_role("link", name=name)).to_be_in_viewport(ratio=1)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth + 1")
        assert axe(page) == []
        shot(page, f"phone_menu_{name.split()[0].lower()}")
    month.open(page, "/")
    expect(menu.get_by_role("link", name="Audit log")).not_to_be_in_viewport()
    page.get_by_role("link", name="Crossdock", exact=True).focus()
    for _ in range(menu.get_by_role("link").count()):
        page.keyboard.press("Tab")
    expect(menu.get_by_role("link", name="Audit log")).to_be_focused()
    expect(menu.get_by_role("link", name="Audit log")).to_be_in_viewport(ratio=1)
    assert page.problems == []


def test_pages_without_anything_say_what_would_be_here(month: Console) -> None:
    page = month.login("viewer")
    empty = [f"/money/1999-01{part}" for part in PAGES if part]
    for path in (*empty, "/approvals?state=withdrawn", "/audit?who=nobody"):
        month.open(page, path)
        expect(page.locator(".empty").first).to_be_visible()
    month.open(page, "/money/1999-01")
    expect(page.get_by_text("There is no month 1999-01 to look at or to close")).to_be_visible()
    month.open(page, "/money/1999-13")
    expect(page.get_by_text("is no period")).to_be_visible()
