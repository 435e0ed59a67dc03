"""The first page and the life of a record in a real browser: what is not well, what to do, what comes of it."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from urllib.parse import urlencode

import pytest
import sqlalchemy as sa
from playwright.sync_api import Locator, Page, expect

from browser.conftest import Console, axe, read_whatever_breaks, shot
from console import database as console_database
from crossdock import flows
from crossdock.errors import BatchStopped
from crossdock.reference import tims
from crossdock.settings import base_dir
from crossdock.steps import events
from crossdock.steps.extract import refresh_reference
from crossdock.store import alerts, database, webhook_events
from crossdock.store.tables import ops_dead_letter, ops_webhook_event, ref_settlement
from crossdock.store.webhook_events import Event
from integration.builders import forward, line, order, place, sales_order, ship
from integration.environment import fresh_database

PHONE = {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True}
HOSTILE = "<script>alert(1)</script> \u202egnp.exe שלום 🧨 " + "x" * 2_000


def raised(console: Console, kind: str, key: str, title: str) -> None:
    with console.shop.runtime() as runtime, runtime.engine.begin() as connection:
        alerts.raise_alert(connection, kind=kind, key=key, title=title, body=f"{title}: look at it.", flow="orders")


def refresh(page: Page) -> None:
    """What happens by itself every 15 seconds."""
    with page.expect_response("**/overview/now"):
        page.evaluate("document.body.dispatchEvent(new Event('refresh'))")


def lane(page: Page, name: str) -> Locator:
    return page.get_by_role("row").filter(has=page.get_by_role("link", name=name, exact=True))


def test_a_stopped_batch_goes_on_from_the_first_page(console: Console) -> None:
    shop = console.shop
    bad = [place(shop, line("SOLD-OUT-SKU")) for _ in range(30)]
    good = place(shop, line())
    forward(shop, shop.now + timedelta(minutes=10))
    with pytest.raises(BatchStopped):
        shop.sync(run_id="cli:stopped")
    page = console.open(console.login("clerk"), "/")
    expect(page.get_by_role("heading", level=1)).to_have_text("There is something to do")
    stopped = page.get_by_role("region", name="Stopped batches")
    expect(stopped).to_contain_text("unknown_sku")
    expect(stopped.get_by_role("link", name="records")).to_be_visible()
    shot(page, "overview")
    assert axe(page) == []
    page.on("dialog", lambda dialog: dialog.accept())
    stopped.get_by_role("button", name="go on with the rest").click()
    expect(page.locator("#message")).to_contain_text("goes on")
    assert console.work_asked_runs() == 1
    refresh(page)
    expect(stopped).to_have_count(0)
    expect(page.locator(".notice").filter(has_text="stopped before loading")).to_have_count(0)
    assert good in {order["ExternalOrderID"] for order in shop.in_tims()}
    letters = console.query("SELECT key FROM ops.dead_letter WHERE strpos(payload::text, 'SOLD-OUT-SKU') > 0")
    assert sorted(row.key for row in letters) == sorted(bad)
    deeds = console.query("SELECT who, address FROM ops.audit WHERE action = 'batch accept rejects'")
    assert [tuple(row) for row in deeds] == [("clerk", "127.0.0.1")]
    lane(page, "Orders").get_by_role("link").nth(2).click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("Orders")
    assert page.problems == []  # type: ignore[attr-defined]
    with shop.runtime() as runtime, runtime.engine.begin() as connection:
        connection.execute(
            sa.text("UPDATE ops.dead_letter SET state = 'dismissed' WHERE strpos(payload::text, 'SOLD-OUT') > 0")
        )


def test_alerts_are_noted_and_silenced(console: Console) -> None:
    raised(console, "stale", "noted", "Nothing has been read for 2 h")
    raised(console, "silent_source", "hostile", HOSTILE)
    page = console.open(console.login("clerk"), "/")
    section = page.get_by_role("region", name="Open alerts")
    noted = section.locator(".notice").filter(has_text="Nothing has been read for 2 h")
    noted.get_by_role("button", name="I take note").click()
    expect(page.locator("#message")).to_contain_text("Noted")
    expect(noted).to_have_count(0)
    hostile = section.locator(".notice").filter(has_text="gnp.exe")
    expect(hostile).to_contain_text("<script>alert(1)</script>")
    assert "\u202e" not in (hostile.text_content() or "")
    hostile.locator("summary").click()
    hostile.get_by_label("because").fill("The channel is in maintenance")
    hostile.get_by_label("for", exact=True).select_option("4 hours")
    with page.expect_navigation():
        hostile.get_by_role("button", name="Silence").click()
    silent = page.locator(".notice").filter(has_text="The channel is in maintenance")
    expect(silent).to_contain_text("silent until")
    with console.shop.runtime() as runtime, runtime.engine.begin() as connection:
        assert not [row for row in alerts.unsent(connection) if row.key == "hostile"]
    silent.get_by_role("button", name="End the silence").click()
    expect(page.locator("#message")).to_contain_text("ended")
    with console.shop.runtime() as runtime, runtime.engine.begin() as connection:
        assert [row for row in alerts.unsent(connection) if row.key == "hostile"]
    assert axe(page) == []
    assert page.problems == []  # type: ignore[attr-defined]


def test_alerts_of_one_kind_are_one_row_that_opens_and_is_noted_or_silenced_at_once(console: Console) -> None:
    for number in range(12):
        raised(console, "payment_failed", f"order {number}", f"Order {number}: payment failed in a group")
    for number in range(3):
        raised(console, "left_file", f"eu/{number}.csv", f"File {number} lies in the inbox")
    page = console.open(console.login("clerk"), "/")
    section = page.get_by_role("region", name="Open alerts")
    failed = section.locator(".notice").filter(has_text="Payment failed: ")
    expect(failed).to_have_count(1)
    opened = failed.locator("details.group")
    expect(opened.get_by_text("Order 3: payment failed in a group", exact=True)).to_be_hidden()
    opened.locator("summary").first.click()
    expect(opened.get_by_text("Order 3: payment failed in a group", exact=True)).to_be_visible()
    expect(opened.locator("li").filter(has_text="Order 3:").get_by_role("link", name="The order")).to_have_attribute(
        "href", re.compile(r"/record\?q=3$")
    )
    refresh(page)
    expect(opened.get_by_text("Order 3: payment failed in a group", exact=True)).to_be_visible()
    shot(page, "overview_groups")
    assert axe(page) == []
    with page.expect_response("**/api/alerts/acknowledge"):
        failed.get_by_role("button", name="I take note of all").click()
    expect(page.locator("#message")).to_contain_text("alerts noted")
    expect(failed).to_have_count(0)
    files = section.locator(".notice").filter(has_text="Files that lie in the inbox: 3 alerts")
    files.get_by_text("Silence all").click()
    files.get_by_label("because").fill("The carrier is on strike")
    with page.expect_navigation():
        files.get_by_role("button", name="Silence", exact=True).click()
    silent = page.locator(".notice").filter(has_text="The carrier is on strike")
    expect(silent).to_have_count(1)
    expect(silent).to_contain_text("3 alerts")
    silent.get_by_role("button", name="End the silence").click()
    expect(page.locator("#message")).to_contain_text("ended")
    expect(files).to_have_count(1)
    expect(files.locator("details")).not_to_have_count(0)
    deeds = console.query("SELECT action, subject FROM ops.audit WHERE left(action, 7) = 'alerts ' ORDER BY id")
    assert [row.action for row in deeds] == ["alerts acknowledge", "alerts silence", "alerts silence end"]
    page = console.open(page, "/audit")
    expect(page.locator("tbody")).to_contain_text("silenced 3 alerts “Files that lie in the inbox”")
    assert page.problems == []  # type: ignore[attr-defined]


def test_what_was_noted_is_in_a_list_and_comes_back(console: Console) -> None:
    title = "Orders: 12 dead letters are open, as told"
    with console.shop.runtime() as runtime, runtime.engine.begin() as connection:
        for _ in range(2):
            alerts.raise_alert(
                connection, kind="dead_letters", key="noted-list", title=title, flow="orders",
                body="Each says what is wrong. See `crossdock dead-letters list --flow orders`.",
            )  # fmt: skip
    page = console.open(console.login("clerk"), "/")
    notice = page.locator(".notice").filter(has_text=title)
    expect(notice).to_contain_text("2×")
    expect(notice.get_by_role("link", name="Dead letters")).to_be_visible()
    expect(notice.get_by_text("crossdock dead-letters list")).to_be_hidden()
    notice.get_by_text("Or from a shell").click()
    expect(notice.get_by_text("crossdock dead-letters list")).to_be_visible()
    notice.get_by_role("button", name="I take note").click()
    expect(notice).to_have_count(0)
    page.get_by_role("link", name="noted and").click()
    row = page.get_by_role("row").filter(has_text=title)
    expect(row).to_contain_text("clerk")
    shot(page, "overview_alerts")
    assert axe(page) == []
    row.get_by_role("button", name="Take it back").click()
    expect(page.locator("#message")).to_contain_text("open again")
    expect(row).to_have_count(0)
    console.open(page, "/")
    expect(notice).to_have_count(1)
    assert page.problems == []  # type: ignore[attr-defined]


def test_every_number_leads_to_its_records_and_both_pages_agree_on_the_money(console: Console) -> None:
    place(console.shop, line("HELD-UP", 3, "33.3333"), TotalTaxPrice=Decimal("0.0045"))
    forward(console.shop, console.shop.now + timedelta(minutes=10))
    read_whatever_breaks(console.shop)
    page = console.open(console.login("viewer"), "/")
    bare = page.evaluate(
        """() => [...document.querySelectorAll('#lanes td[data-label], .map section, .between')].flatMap(cell => {
          const walk = document.createTreeWalker(cell, NodeFilter.SHOW_TEXT); const found = [];
          for (let node; (node = walk.nextNode());) {
            if (/[1-9]/.test(node.data) && !node.parentElement.closest('a, time, svg')) found.push(node.data.trim());
          }
          return found; })"""
    )
    assert [text for text in bare if not text.startswith("of ")] == []
    held = page.locator(".between a").first.inner_text()
    links = page.evaluate("[...document.querySelectorAll('#now a')].map(a => a.href)")
    assert len(links) > 20
    for link in sorted(set(links)):
        if "/crossdock/" in link:
            assert page.request.get(link).status == 200, link
    console.open(page, "/letters")
    assert held.split() == page.locator(".sum").inner_text().partition("held up:")[2].split()[: len(held.split())]
    assert re.fullmatch(r"([\d,]+\.\d\d [A-Z]{3}\s*)+", held)
    console.open(page, "/overview/system/tims")
    expect(page.get_by_role("heading", name="Requests")).to_be_visible()
    shot(page, "overview_system")
    assert axe(page) == []
    assert page.problems == []  # type: ignore[attr-defined]


def test_a_silence_that_is_being_written_is_not_disturbed(console: Console) -> None:
    raised(console, "stale", "written", "Somebody writes a silence")
    page = console.open(console.login("clerk"), "/")
    notice = page.locator(".notice").filter(has_text="Somebody writes a silence")
    notice.locator("summary").click()
    notice.get_by_label("because").fill("half a reas")
    page.evaluate("htmx.trigger('#now', 'every')")
    requests: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    page.evaluate(
        "htmx.ajax('GET', document.documentElement.dataset.root + '/overview/now', {source: '#now', target: '#now'})"
    )
    page.wait_for_timeout(300)
    assert requests == []
    expect(notice.get_by_label("because")).to_have_value("half a reas")


def test_a_viewer_sees_everything_and_changes_nothing(console: Console) -> None:
    raised(console, "stale", "viewed", "A viewer sees this")
    page = console.open(console.login("viewer"), "/")
    expect(page.locator("#now")).to_contain_text("A viewer sees this")
    assert page.locator("#now button").count() == 0
    expect(page.get_by_role("region", name="What runs next")).to_contain_text("Orders, the last days once more")
    assert page.locator('[hx-trigger="every 15s, refresh from:body"]').count() == 1
    page.locator("main").press("j")
    assert page.evaluate("document.activeElement.textContent").strip() == "Orders"
    for name in ("Catalogue", "Prices"):
        row = page.get_by_role("row").filter(has_text=name)
        expect(row.locator("svg.spark")).to_be_visible()
    assert page.problems == []  # type: ignore[attr-defined]


@pytest.mark.parametrize(("name", "how"), [("dark", {"color_scheme": "dark"}), ("phone", PHONE)])
def test_the_first_page_in_other_lights(console: Console, name: str, how: dict) -> None:
    page = console.open(console.login("viewer", **how), "/")
    expect(page.get_by_role("heading", name="Flows")).to_be_visible()
    shot(page, f"overview_{name}")
    assert axe(page) == []
    assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
    assert page.problems == []  # type: ignore[attr-defined]


def test_the_first_page_is_no_wider_than_a_phone_with_long_words_and_many_currencies(console: Console) -> None:
    """As a clerk sees it, whose alerts have forms."""
    raised(console, "stale", "wide", "ledger_stock_adjustments_of_warehouses:" + "a_long_word_" * 40)
    with console.shop.runtime() as runtime, runtime.engine.begin() as connection:
        for currency in ("AUD", "CAD", "CHF", "EUR", "GBP", "JPY", "MXN", "SEK"):
            payload = {"TotalPrice": 123_456_789.01, "Currency": currency}
            values = {"flow": "orders", "entity": "sales_order", "key": f"wide-{currency}", "batch_id": 1,
                      "step": "check", "version": sa.func.now(), "payload": payload, "reasons": []}  # fmt: skip
            connection.execute(sa.insert(ops_dead_letter).values(values))
    try:
        for how in ({"viewport": PHONE["viewport"]}, PHONE):
            page = console.open(console.login("clerk", **how), "/")
            for summary in page.locator(".notice summary").all():
                summary.click()
            shot(page, "overview_wide")
            assert page.evaluate("document.documentElement.scrollWidth") <= 390, how
            assert page.evaluate("innerWidth") <= 390, "the screen was not made wider for it"
    finally:
        with console.shop.runtime() as runtime, runtime.engine.begin() as connection:
            connection.execute(sa.delete(ops_dead_letter).where(ops_dead_letter.c.key.startswith("wide-")))


# ---- events ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def rung(console: Console) -> Iterator[str]:
    """Events: one that was worked, one that waits for ten minutes, some that no flow reads, one with an odd record; the
    key of the first."""
    key = place(console.shop, line())
    with console.shop.runtime() as runtime:
        with runtime.engine.begin() as connection:
            webhook_events.add(connection, [Event("channel_advisor", "evt_worked", "orders", "OrderCreated", key)])
        events.work(runtime, flows.all_flows(), events.Worked(), seconds=0.0, run_id="test")
        with runtime.engine.begin() as connection:
            unread = [Event("tims", f"evt_{number:03}", "", "unheard.of", str(number)) for number in range(60)]
            webhook_events.add(connection, unread)
            odd = Event("tims", "e" * 100, "shipments", "shipment.created", HOSTILE[:200])
            late = Event("channel_advisor", "evt_late", "returns", "ReturnCreated", "4711")
            webhook_events.add(connection, [odd, late])
            ten = sa.func.now() - timedelta(minutes=10)
            event = ops_webhook_event.c.event_id
            connection.execute(sa.update(ops_webhook_event).where(event == "evt_late").values(received_at=ten))
    yield key
    with console.shop.runtime() as runtime, runtime.engine.begin() as connection:
        connection.execute(sa.delete(ops_webhook_event))


def test_events_stand_on_the_first_page_and_lead_to_each_of_them_and_its_record(console: Console, rung: str) -> None:
    page = console.open(console.login("viewer"), "/")
    panel = page.get_by_role("region", name="Events")
    expect(panel).to_contain_text("Channel Advisor: the last one came")
    orders = panel.get_by_role("row").filter(has=page.get_by_role("link", name="Orders", exact=True))
    expect(orders).to_contain_text("by its own clock")
    expect(orders).to_contain_text("95 %:")
    returns = panel.get_by_role("row").filter(has=page.get_by_role("link", name="Returns", exact=True))
    expect(returns).to_contain_text("for 10 min")
    assert axe(page) == []
    panel.scroll_into_view_if_needed()
    shot(page, "events_panel")
    returns.get_by_role("link", name="1", exact=True).click()
    expect(page.locator("tbody tr")).to_have_count(1)
    expect(page.locator("tbody tr")).to_contain_text("evt_late")
    expect(page.get_by_label("State")).to_have_value("waiting")
    page.get_by_role("link", name="All", exact=True).click()
    expect(page.locator("tbody tr[data-row]")).to_have_count(50)
    page.get_by_role("button", name="Show more").click()
    expect(page.locator("tbody tr[data-row]")).to_have_count(63)
    expect(page.get_by_role("button", name="Show more")).to_have_count(0)
    page.get_by_label("Record or event").fill("evt_worked")
    page.get_by_role("button", name="Show", exact=True).click()
    expect(page.locator("tbody tr")).to_have_count(1)
    expect(page.locator("tbody tr")).to_contain_text("is worked")
    page.get_by_label("Record or event").fill("")
    page.get_by_label("System").select_option("channel_advisor")
    page.get_by_role("button", name="Show", exact=True).click()
    expect(page.locator("tbody tr")).to_have_count(2)
    shot(page, "events")
    assert axe(page) == []
    page.get_by_role("link", name=rung, exact=True).click()
    expect(page.get_by_role("heading", level=1)).to_contain_text(rung)
    assert page.problems == []  # type: ignore[attr-defined]


@pytest.mark.parametrize(("name", "how"), [("dark", {"color_scheme": "dark"}), ("phone", PHONE)])
def test_events_in_other_lights(console: Console, rung: str, name: str, how: dict) -> None:
    page = console.open(console.login("viewer", **how), "/overview/events")
    expect(page.locator("tbody tr[data-row]")).to_have_count(50)
    assert axe(page) == []
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    shot(page, f"events_{name}")
    console.open(page, "/").get_by_role("region", name="Events").scroll_into_view_if_needed()
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    assert axe(page) == []
    shot(page, f"events_panel_{name}")


# ---- the life of a record ------------------------------------------------------------------------------------------


def find(console: Console, page: Page, text: str) -> Page:
    """Types a number into the search of any page."""
    console.open(page, "/")
    page.keyboard.press("/")
    page.keyboard.type(text)
    with page.expect_navigation():
        page.keyboard.press("Enter")
    page.wait_for_load_state("networkidle")
    return page


def test_an_order_that_was_never_read_is_read_from_its_page(console: Console) -> None:
    """Why is it not in TIMS? Nobody has read it. One click, and it is there."""
    key = place(console.shop, line())
    forward(console.shop, console.shop.now + timedelta(minutes=10))
    page = find(console, console.login("clerk"), key)
    expect(page.get_by_role("heading", level=2)).to_have_text(f"Crossdock has never seen “{key}”")
    shot(page, "record_never_seen")
    assert axe(page) == []
    with page.expect_navigation():
        page.get_by_role("button", name="Read it now").click()
    expect(page.locator("#message")).to_contain_text("reads it")
    assert console.work_asked_runs() == 1
    find(console, page, key)
    number = sales_order(console.shop, key)["SalesOrderID"]
    expect(page.get_by_role("region", name="Where it stands")).to_contain_text(f"It is in TIMS as {number}.")
    assert page.problems == []  # type: ignore[attr-defined]


def test_a_dead_order_leads_to_its_letter_and_is_replayed_from_its_page(console: Console) -> None:
    key = place(console.shop, line("NEVER-HEARD-OF"))
    forward(console.shop, console.shop.now + timedelta(minutes=10))
    read_whatever_breaks(console.shop)
    page = find(console, console.login("clerk"), f"T-{key}")
    stands = page.get_by_role("region", name="Where it stands")
    expect(stands).to_contain_text("A rule refuses it: unknown sku")
    shot(page, "record_dead")
    assert axe(page) == []
    stands.get_by_role("button", name="Replay it").click()
    expect(page.locator("#message")).to_contain_text("in replay")
    console.work_asked_runs()
    with page.expect_navigation():
        stands.get_by_role("link", name="Open its dead letter").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text(key)
    assert page.problems == []  # type: ignore[attr-defined]


@pytest.fixture(scope="module")
def sold(console: Console) -> str:
    """An order with its parcel, invoice and ledger entries."""
    key = order(console.shop, line(quantity=2))
    ship(console.shop, key, {1: 2}, TrackingNumber=f"TRACK{key}")
    for flow in ("shipments", "invoices", "ledger_invoices", "invoices"):
        console.shop.sync(flow=flow)
    with console.shop.runtime() as runtime:
        refresh_reference(runtime, tims.ENTRIES)
    return key


def test_a_tracking_number_leads_to_the_life_of_its_order_and_a_ledger_line_back(console: Console, sold: str) -> None:
    page = find(console, console.login("accountant"), f"track{sold}")
    expect(page.get_by_role("heading", level=1)).to_have_text(f"Order {sold}")
    expect(page.locator("#meant")).to_contain_text(f"TRACK{sold}")
    ledger = page.get_by_role("region", name="In the ledger")
    expect(ledger.get_by_role("row", name="Sum")).to_contain_text("GBP")
    shot(page, "record")
    assert axe(page) == []
    ledger.get_by_role("row").nth(1).get_by_role("link").first.click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("Journal entry")
    shot(page, "record_entry")
    assert axe(page) == []
    page.get_by_role("region", name="In the ledger").get_by_role("link").nth(1).click()
    expect(page.get_by_role("heading", level=1)).to_have_text(f"Order {sold}")
    entry = page.locator("tr#meant")
    expect(entry).to_be_in_viewport()
    expect(page.get_by_role("region", name="In the ledger").locator("tr.meant").first).to_be_visible()
    shot(page, "record_from_ledger")
    assert page.problems == []  # type: ignore[attr-defined]


def test_the_ledger_of_a_month_leads_to_the_entry_on_the_orders_page(console: Console, sold: str) -> None:
    number = sales_order(console.shop, sold)["SalesOrderID"]
    (posted,) = console.query(
        "SELECT e.period, e.document_id FROM ref.gl_entry e JOIN ops.link l ON l.entity = 'invoice' "
        "AND l.target_id = e.document_id JOIN ref.shipment s ON s.id = l.source_key "
        f"WHERE s.sales_order_id = '{number}' LIMIT 1"
    )
    where = f"sku=22423&document={posted.document_id}"
    page = console.open(console.login("accountant"), f"/money/{posted.period}/lines?{where}")
    row = page.locator("tbody tr:has([data-open])").first
    entry = row.get_by_role("link").first.inner_text()
    row.locator("[data-open]").first.click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("Order ")
    expect(page.locator("tr#meant")).to_contain_text(entry)
    expect(page.locator("tr#meant")).to_be_in_viewport()
    assert page.problems == []  # type: ignore[attr-defined]


def test_any_number_of_an_order_finds_it(console: Console, sold: str) -> None:
    """Each number that somebody may have in hands, typed into the search of a page."""
    shop = console.shop
    document = sales_order(shop, sold)
    number = document["SalesOrderID"]
    shipment = console.query(f"SELECT id FROM ref.shipment WHERE sales_order_id = '{number}'")[0].id
    invoice = console.query(f"SELECT target_id FROM ops.link WHERE entity = 'invoice' AND source_key = '{shipment}'")[0]
    page = console.login("clerk")
    for text in (sold, f"T-{sold}", number, f"track{sold}", shipment, invoice.target_id, f" #{sold} "):
        find(console, page, text)
        expect(page.get_by_role("heading", level=1)).to_have_text(f"Order {sold}")
    find(console, page, "22423")
    expect(page.get_by_role("heading", level=1)).to_have_text("SKU 22423")
    orders = page.get_by_role("region", name="Orders with it")
    expect(orders.get_by_role("link", name=sold, exact=True)).to_be_visible()
    shot(page, "record_sku_orders")
    assert axe(page) == []
    customer = document["CustomerID"]
    find(console, page, customer)
    expect(page.get_by_role("heading", level=1)).to_have_text(f"Customer {customer}")
    plain = "kind = 'email' AND strpos(value, '@') > 0 AND strpos(value, ':') = 0"
    one = f"SELECT value FROM ref.customer_key WHERE {plain} GROUP BY value HAVING count(*) = 1 LIMIT 1"
    mail = console.query(f"SELECT customer_id, value FROM ref.customer_key WHERE kind = 'email' AND value = ({one})")[0]
    find(console, page, mail.value)
    expect(page.get_by_role("heading", level=1)).to_have_text(f"Customer {mail.customer_id}")
    with shop.runtime() as runtime, runtime.engine.begin() as connection:
        connection.execute(
            sa.insert(ref_settlement).values(
                source="amazon_uk", settlement_id="S-IN-HAND", channel="Amazon UK", format="amazon", file="s.txt",
                currency_code="GBP", total="18.00", content_hash="h",
            )
        )  # fmt: skip
    find(console, page, "S-IN-HAND")
    expect(page.get_by_role("heading", level=1)).to_have_text("Settlement amazon_uk:S-IN-HAND")
    assert page.problems == []  # type: ignore[attr-defined]


def test_an_order_shows_its_lines_and_leads_to_its_sales_order_and_out(
    console: Console, sold: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    made = shutil.copytree(base_dir(), tmp_path / "config")
    text = (made / "console.yaml").read_text()
    text = text.replace('tims.SalesOrder: ""', "tims.SalesOrder: https://tims.example.com/so/{id}")
    (made / "console.yaml").write_text(text)
    monkeypatch.setenv("CROSSDOCK_CONFIG_DIR", str(made))
    page = console.open(console.login("viewer"), f"/record?q={sold}")
    lines = page.get_by_role("region", name="Its lines")
    expect(lines.get_by_role("row").nth(1)).to_contain_text("22423")
    expect(lines.get_by_role("row").nth(1)).to_contain_text("10.00 GBP")
    number = sales_order(console.shop, sold)["SalesOrderID"]
    out = page.get_by_role("link", name=f"{number} in TIMS").first
    assert out.get_attribute("href") == f"https://tims.example.com/so/{number}"
    assert out.get_attribute("rel") == "noreferrer"
    page.get_by_role("link", name=number, exact=True).first.click()
    expect(page.get_by_role("heading", level=1)).to_have_text(f"Sales order {number}")
    shot(page, "record_sales_order")
    assert axe(page) == []
    page.get_by_role("link", name=sold, exact=True).first.click()
    expect(page.get_by_role("heading", level=1)).to_have_text(f"Order {sold}")
    assert page.problems == []  # type: ignore[attr-defined]


def test_a_dismissed_order_says_that_nothing_is_to_be_done_and_is_opened_again(console: Console) -> None:
    key = place(console.shop, line("DISMISSED-1"))
    forward(console.shop, console.shop.now + timedelta(minutes=10))
    read_whatever_breaks(console.shop)
    page = console.login("clerk")
    number = console.query(f"SELECT id FROM ops.dead_letter WHERE key = '{key}'")[0].id
    console.open(page, f"/letters/{number}")
    page.get_by_label("Dismiss it, because").fill("a test order")
    with page.expect_navigation():
        page.get_by_role("button", name="Dismiss").click()
    find(console, page, key)
    stands = page.get_by_role("region", name="Where it stands")
    expect(stands).to_contain_text("clerk has decided that it need not go: a test order.")
    expect(stands).to_contain_text("Nothing is to be done.")
    expect(page.locator(".timeline")).not_to_contain_text("Create customer")
    shot(page, "record_dismissed")
    with page.expect_navigation():
        stands.get_by_role("button", name="Open it again").click()
    expect(stands).to_contain_text("A rule refuses it: unknown sku")
    assert page.problems == []  # type: ignore[attr-defined]


@pytest.mark.parametrize(("name", "how"), [("dark", {"color_scheme": "dark"}), ("phone", PHONE)])
def test_a_viewer_sees_a_life_without_personal_data(console: Console, sold: str, name: str, how: dict) -> None:
    page = console.open(console.login("viewer", **how), f"/record?q={sold}")
    expect(page.get_by_role("heading", level=1)).to_have_text(f"Order {sold}")
    assert page.locator("#life button").count() == 0
    shot(page, f"record_{name}")
    assert axe(page) == []
    assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
    page.get_by_role("link", name="what came").first.click()
    expect(page.locator(".tree")).to_contain_text("•••")
    expect(page.locator("main")).not_to_contain_text("Miller")
    expect(page.get_by_role("link", name="Show personal data, too")).to_have_count(0)
    console.open(page, "/record?q=ada%40example.com")
    expect(page.get_by_role("alert")).to_contain_text("personal data")
    assert [problem for problem in page.problems if "403" not in problem] == []  # type: ignore[attr-defined]


def test_a_clerk_opens_personal_data_and_that_is_on_record(console: Console, sold: str) -> None:
    page = console.open(console.login("clerk"), f"/record?q={sold}")
    page.get_by_role("link", name="what came").first.click()
    expect(page.locator("main")).not_to_contain_text("Miller")
    page.get_by_role("link", name="Show personal data, too").click()
    expect(page.locator("main")).to_contain_text("Ada Miller")
    seen = console.query(f"SELECT who FROM ops.audit WHERE action = 'record open' AND subject = '{sold}'")
    assert [row.who for row in seen] == ["clerk"]
    assert axe(page) == []


@pytest.mark.parametrize("text", [HOSTILE[:190], "‮", "🧨", "'; DROP TABLE", "%", "x" * 2_000])
def test_anything_can_be_searched(console: Console, text: str) -> None:
    page = console.open(console.login("clerk"), f"/record?{urlencode({'q': text})}")
    expect(page.get_by_role("heading", level=2)).to_contain_text("never seen")
    assert "\u202e" not in (page.locator("main").text_content() or "")
    assert page.problems == []  # type: ignore[attr-defined]
    assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")


def test_several_hits_are_listed_and_a_beginning_is_enough(console: Console) -> None:
    page = find(console, console.login("viewer"), "849")
    expect(page.get_by_text("these begin with it")).to_be_visible()
    page.locator("main").press("j")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_contain_text("SKU 849")
    shot(page, "record_sku")
    assert axe(page) == []
    assert page.problems == []  # type: ignore[attr-defined]


@pytest.fixture
def empty(console: Console, postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Console]:
    """The console of somebody who has just begun."""
    with fresh_database(postgres_url, "just_begun") as url:
        made = database.engine(url)
        monkeypatch.setattr(console_database, "engine", lambda: made)
        yield console
        made.dispose()


def test_an_empty_database_is_well(empty: Console) -> None:
    page = empty.open(empty.login("viewer"), "/")
    expect(page.get_by_role("heading", level=1)).to_have_text("All is well")
    expect(lane(page, "Orders")).to_contain_text("not yet")
    assert axe(page) == []
    empty.open(page, "/record")
    expect(page.locator("main")).to_contain_text("Type any number")
    assert axe(page) == []
    empty.open(page, "/record?q=123")
    expect(page.locator("main")).to_contain_text("It has read nothing at all yet.")
    assert axe(page) == []
    assert page.problems == []  # type: ignore[attr-defined]
    page.context.close()
