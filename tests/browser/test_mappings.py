"""The mapping canvas in a real browser: a line drawn by mouse and by keys, seen on a record, tried, published, used."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta

import pytest
import sqlalchemy as sa
from playwright.sync_api import Page, Route, expect

from browser.conftest import Console, axe, read_whatever_breaks, shot
from crossdock.errors import ConfigError
from crossdock.mapping import language
from crossdock.services import configuration, mapping_trial, mappings
from crossdock.services.mappings import Canvas, Change, Node
from crossdock.services.people import on_this_machine
from crossdock.steps.extract import extract
from crossdock.steps.run_batches import run_batches
from crossdock.store import dead_letters
from crossdock.store.tables import ops_dead_letter
from integration.builders import forward, line, place, sales_order
from integration.environment import ORDERS

expect.set_options(timeout=20_000)  # a record's way is computed by real transforms, beside other tests
PHONE = {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True}
ANN = on_this_machine("ann")
KINDS = ("text", "number", "integer", "boolean", "moment", "date")
HOSTILE = "<img src=x onerror=alert(1)> \u202egnp.exe שלום 🧨"


@pytest.fixture(autouse=True)
def as_shipped(console: Console) -> Iterator[None]:
    """What a test publishes is taken back."""
    yield
    with console.shop.runtime() as runtime, runtime.engine.begin() as connection:
        if configuration.status(connection).replaced:
            configuration.rollback(connection, on_this_machine("test"), configuration.SHIPPED)


def traded(console: Console, **more: object) -> str:
    """An order that the flow has worked; its key."""
    key = place(console.shop, line(), **more)
    forward(console.shop, console.shop.now + timedelta(minutes=10))
    read_whatever_breaks(console.shop)
    return key


def opened(console: Console, role: str, name: str = "sales_order", **how: object) -> Page:
    page = console.open(console.login(role, **how), f"/mappings/{name}")
    expect(page.get_by_role("region", name="Target:")).to_be_visible()
    return page


def source(page: Page, path: str):
    return page.get_by_role("region", name="Source:").locator(f'button[data-path="{path}"]')


def target(page: Page, path: str):
    return page.get_by_role("region", name="Target:").locator(f'button[data-path="{path}"]')


def drag(page: Page, from_: str, to: str) -> None:
    start = page.locator(f'.react-flow__handle.source[data-handleid="{from_}"]').bounding_box()
    end = page.locator(f'.react-flow__handle.target[data-handleid="{to}"]').bounding_box()
    assert start
    assert end
    page.mouse.move(start["x"] + start["width"] / 2, start["y"] + start["height"] / 2)
    page.mouse.down()
    page.mouse.move(start["x"] + 100, start["y"] + 20, steps=5)
    page.mouse.move(end["x"] + end["width"] / 2, end["y"] + end["height"] / 2, steps=10)
    page.mouse.up()


def pick(page: Page, key: str) -> None:
    page.get_by_role("region", name="Records").get_by_role("button", name=key).click()
    expect(page.locator(".fate")).to_contain_text(key)


def replace(page: Page) -> None:
    page.get_by_role("dialog").get_by_role("button", name="Replace it").click()
    expect(page.get_by_role("dialog")).to_have_count(0)


def chip(page: Page, key: str):
    return page.get_by_role("region", name="Records").get_by_role("button", name=key)


def method_of(console: Console, key: str) -> str:
    return sales_order(console.shop, key)["ShippingMethod"]


def test_a_line_is_dragged_seen_on_a_record_tried_published_and_used_by_the_next_run(console: Console) -> None:
    key = traded(console)
    page = console.open(console.login("analyst"), "/mappings")
    assert axe(page) == []
    shot(page, "mappings")
    page.get_by_role("link", name="How a Channel Advisor order becomes a TIMS sales order").click()
    expect(page.get_by_role("region", name="Target:")).to_be_visible()
    pick(page, key)
    expect(source(page, "OrderID")).to_contain_text(f"T-{key}")
    before = target(page, "ShippingMethod").inner_text()
    assert f"T-{key}" not in before
    expect(chip(page, key)).to_contain_text("delivered")
    drag(page, "OrderID", "ShippingMethod")
    question = page.get_by_role("dialog", name="ShippingMethod is mapped already")
    expect(question).to_contain_text("rule order_document")
    expect(question).to_contain_text("OrderID")
    assert axe(page) == []
    shot(page, "mapping_asks")
    question.get_by_role("button", name="Keep what is there").click()
    expect(page.get_by_text("In force", exact=True)).to_be_visible()
    drag(page, "OrderID", "ShippingMethod")
    replace(page)
    expect(page.get_by_role("status").first).to_contain_text("Changed.")
    expect(chip(page, key)).to_contain_text("1 field changes")
    expect(page.get_by_role("region", name="By the draft")).to_contain_text(f"→ T-{key}")
    expect(target(page, "ShippingMethod")).to_contain_text(f"T-{key}")
    panel = page.get_by_role("complementary", name="Line to ShippingMethod")
    expect(panel.get_by_label("From (first given value counts)")).to_have_value("OrderID")
    expect(panel.get_by_role("list", name="The value on its way")).to_contain_text(f"T-{key}")
    shot(page, "mapping")
    assert axe(page) == []

    held: list[Route] = []
    page.route("**/trial", lambda route: held.append(route))
    page.get_by_role("button", name="Try on the last 500").click()
    expect(page.get_by_role("status").first).to_contain_text("it takes some seconds, and nothing is written")
    expect(page.locator(".canvas-page")).to_have_attribute("aria-busy", "true")
    held.pop().continue_()
    page.unroute("**/trial")
    result = page.get_by_role("region", name="What would change")
    expect(result).to_contain_text("documents would change", timeout=30_000)
    expect(page.get_by_role("status").first).to_contain_text("would change. All of it stands below.")
    expect(result.get_by_role("row").filter(has_text="ShippingMethod")).to_contain_text(f"T-{key}")
    shot(page, "mapping_tried")
    assert axe(page) == []
    page.get_by_label("What changes, and why").fill("The channel's number as shipping method")
    expect(page.get_by_role("button", name="Publish")).to_be_disabled()  # a large change is confirmed by its number
    confirm(page)
    page.get_by_role("button", name="Publish").click()
    expect(page.get_by_role("status").first).to_contain_text("is in force with the next task")
    expect(page.get_by_text("In force", exact=True)).to_be_visible()
    panel.get_by_text("Who changed it").click()
    expect(panel).to_contain_text("The channel's number as shipping method")
    expect(panel).to_contain_text("analyst")

    after = traded(console)
    assert sales_order(console.shop, after)["ShippingMethod"] == f"T-{after}"
    assert sales_order(console.shop, key)["ShippingMethod"] != f"T-{key}", "what was delivered stays"
    (row, *_) = console.query("SELECT who FROM ops.audit WHERE action = 'configuration publish' ORDER BY id DESC")
    assert row.who == "analyst"
    assert page.problems == []


def test_the_keyboard_alone_draws_opens_changes_and_takes_back(console: Console) -> None:
    key = traded(console)
    page = opened(console, "analyst")
    pick(page, key)
    press = page.keyboard.press
    source(page, "OrderID").focus()
    press("ArrowDown")
    expect(source(page, "PaymentStatus")).to_be_focused()
    press("ArrowUp")
    press("Enter")
    expect(page.get_by_role("status").first).to_contain_text("OrderID is chosen")
    target(page, "Channel").focus()
    press("ArrowDown")
    press("ArrowDown")
    expect(target(page, "ShippingMethod")).to_be_focused()
    press("Enter")
    expect(page.get_by_role("button", name="Keep what is there")).to_be_focused()
    press("Shift+Tab")
    press("Enter")
    expect(target(page, "ShippingMethod")).to_contain_text(f"T-{key}")
    panel = page.get_by_role("complementary", name="Line to ShippingMethod")
    panel.get_by_role("button", name="Add a converter").focus()
    press("Enter")
    panel.get_by_label("Converter 1").select_option("begin with")
    panel.get_by_label("the text put before").fill("by ")
    panel.get_by_role("button", name="Apply").focus()
    press("Enter")
    expect(target(page, "ShippingMethod")).to_contain_text(f"by T-{key}")
    page.get_by_role("button", name="Undo").focus()
    press("Enter")
    expect(target(page, "ShippingMethod")).not_to_contain_text("by T")
    page.reload()
    expect(target(page, "ShippingMethod")).to_be_visible()
    expect(page.get_by_role("button", name="Undo")).to_be_enabled()  # what can be taken back outlives a reload
    press("Control+z")
    expect(page.get_by_text("In force", exact=True)).to_be_visible()
    press("Control+y")
    expect(page.get_by_text("Draft, not in force")).to_be_visible()
    press("Control+Shift+z")
    pick(page, key)
    expect(target(page, "ShippingMethod")).to_contain_text(f"by T-{key}")
    assert page.problems == []


def test_a_draft_that_does_not_fit_says_so_in_words_and_cannot_be_published(console: Console) -> None:
    traded(console)
    page = opened(console, "analyst")
    target(page, "CurrencyCode").click()
    page.get_by_role("button", name="Remove the line").click()
    wrong = page.get_by_role("list", name="What is wrong with the draft")
    expect(wrong).to_contain_text("SalesOrderCreate needs CurrencyCode")
    expect(target(page, "CurrencyCode")).to_have_accessible_name(re.compile("required, and nothing maps it"))
    expect(page.locator(".row.missing")).to_have_count(1)
    expect(page.get_by_role("button", name="Publish")).to_be_disabled()
    expect(page.get_by_role("button", name="Try on the last 500")).to_be_disabled()
    source(page, "Currency").click()
    target(page, "CurrencyCode").click()
    expect(wrong).to_have_count(0)
    source(page, "OrderID").click()
    target(page, "OrderDate").click()
    expect(page.get_by_role("dialog")).to_contain_text("what arrives is text")  # before it is replaced
    replace(page)
    expect(wrong).to_contain_text("what arrives is text")
    assert axe(page) == []
    page.reload()
    expect(wrong).to_contain_text("what arrives is text")  # the draft is kept
    page.get_by_role("button", name="Discard the draft").click()
    expect(wrong).to_have_count(0)
    assert page.problems == []


@pytest.mark.parametrize("role", ["viewer", "clerk", "analyst"])
def test_each_role_sees_what_it_may(console: Console, role: str) -> None:
    key = traded(console, SpecialInstructions=HOSTILE)
    page = console.login(role)
    page.on("dialog", lambda dialog: pytest.fail(f"a script ran: {dialog.message}"))
    console.open(page, "/mappings/sales_order")
    pick(page, key)
    city = source(page, "ShippingAddress.City")
    expect(city).to_contain_text("Leeds" if role == "clerk" else "•••")
    expect(page.get_by_role("button", name="Publish")).to_have_count(1 if role == "analyst" else 0)
    assert ("Ada Miller" in page.content()) is (role == "clerk")
    assert "\u202e" not in page.inner_text("body")
    opened_by = console.query(f"SELECT count(*) AS n FROM ops.audit WHERE who = '{role}' AND subject = 'orders {key}'")
    assert (opened_by[0].n > 0) is (role == "clerk")
    assert page.problems == []


@pytest.mark.parametrize(("name", "how"), [("dark", {"color_scheme": "dark"}), ("phone", PHONE)])
def test_the_canvas_is_readable_in_the_dark_and_on_a_phone(console: Console, name: str, how: dict) -> None:
    key = traded(console)
    page = opened(console, "analyst", **how)
    pick(page, key)
    target(page, "Channel").click()
    expect(target(page, "Channel")).to_contain_text("Amazon UK")
    expect(page.get_by_role("complementary", name="Line to Channel")).to_be_visible()
    page.get_by_label("Find in SalesOrderCreate").fill("Channel")
    expect(target(page, "Notes")).to_have_count(0)
    page.get_by_label("Find in SalesOrderCreate").fill("")
    shot(page, f"mapping_{name}")
    assert axe(page) == []
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth + 1"), "the page is wider than the screen"
    assert page.problems == []


def confirm(page: Page) -> None:
    """Writes the number that the page asks for."""
    field = page.get_by_label("to confirm")
    requested = re.search(r"Write ([\d,]+) to confirm", field.locator("xpath=..").inner_text())
    assert requested
    field.fill(requested[1])


def publish(page: Page, why: str) -> None:
    page.get_by_label("What changes, and why").fill(why)
    page.get_by_role("button", name="Publish", exact=True).click()
    expect(page.get_by_role("region", name="What would change")).to_contain_text("documents would change")
    expect(page.get_by_text("Draft, not in force")).to_be_visible()  # nothing is published unseen
    confirm(page)
    page.get_by_role("button", name="Publish", exact=True).click()
    expect(page.get_by_role("status").first).to_contain_text("is in force with the next task")


def test_a_published_line_is_taken_back_and_the_next_run_does_as_before(console: Console) -> None:
    before = traded(console)
    as_shipped = method_of(console, before)
    page = opened(console, "analyst")
    source(page, "OrderID").click()
    target(page, "ShippingMethod").click()
    replace(page)
    publish(page, "The channel's number as shipping method")
    changed = traded(console)
    assert method_of(console, changed) == f"T-{changed}"

    past = page.get_by_role("region", name="Who changed it, when and why")
    expect(past).to_contain_text("The channel's number as shipping method")  # without loading the page again
    past.get_by_text("What it changes").first.click()
    expect(past).to_contain_text("from: OrderID")
    shot(page, "mapping_history")
    assert axe(page) == []
    page.on("dialog", lambda dialog: dialog.accept())
    past.get_by_role("button", name="Take it back").click()
    expect(past).to_contain_text("is taken back")
    expect(page.locator('button[data-station="ShippingMethod"]')).to_contain_text("rule order_document")
    expect(page.get_by_text("In force", exact=True)).to_be_visible()
    again = traded(console)
    assert method_of(console, again) == as_shipped
    assert method_of(console, changed) == f"T-{changed}", "what was delivered stays"
    (done, *_) = console.query("SELECT who, action FROM ops.audit WHERE action ~ '^configuration' ORDER BY id DESC")
    assert (done.who, done.action) == ("analyst", "configuration rollback")
    assert page.problems == []


def test_fields_are_found_by_name_path_and_description_by_keys_alone(console: Console) -> None:
    key = traded(console)
    page = opened(console, "analyst")
    pick(page, key)
    press = page.keyboard.press
    find = page.get_by_label("Find in Order")
    find.focus()
    page.keyboard.type("orderitems sku")
    expect(source(page, "OrderItems.SKU")).to_be_visible()
    expect(source(page, "OrderItems.SKU")).to_contain_text("22423")
    expect(source(page, "OrderID")).to_have_count(0)
    expect(source(page, "OrderItems.Quantity")).to_have_count(0)
    page.get_by_label("Find in SalesOrderCreate").focus()
    page.keyboard.type("carrier and service")  # words of the contract
    expect(target(page, "ShippingMethod")).to_be_visible()
    expect(page.get_by_role("region", name="Target:").locator("button")).to_have_count(1)
    expect(page.locator(".find").nth(1).get_by_role("status")).to_have_text("1 field")
    shot(page, "mapping_found")
    assert axe(page) == []
    find.fill("OrderID")
    press("ArrowDown")
    expect(page.locator('[data-tree="source"] button').first).to_be_focused()
    source(page, "OrderID").focus()
    press("Enter")
    expect(source(page, "OrderID")).to_have_attribute("aria-pressed", "true")
    page.get_by_label("Find in SalesOrderCreate").focus()
    press("Enter")
    expect(target(page, "ShippingMethod")).to_be_focused()
    press("Enter")
    expect(page.get_by_role("dialog", name="ShippingMethod is mapped already")).to_be_visible()
    press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    page.get_by_label("Find in SalesOrderCreate").focus()
    press("Escape")
    expect(target(page, "CurrencyCode")).to_be_visible()
    find.fill("OrderItems")
    expect(source(page, "OrderItems.Quantity")).to_be_visible()  # all below what is found
    find.fill("nothing is called so")
    expect(page.locator(".find").first.get_by_role("status")).to_have_text("no field")
    assert page.problems == []


def test_a_line_is_dragged_between_trees_that_were_searched(console: Console) -> None:
    key = traded(console)
    page = opened(console, "analyst")
    pick(page, key)
    page.get_by_label("Find in Order").fill("sitename")
    page.get_by_label("Find in SalesOrderCreate").fill("ShippingMethod")
    expect(page.locator(".react-flow__handle.target.connectable")).to_have_count(1)
    drag(page, "SiteName", "ShippingMethod")
    replace(page)
    expect(page.locator('.react-flow__edge[data-id="SiteName>ShippingMethod"]')).to_have_count(1)
    page.get_by_label("Find in Order").fill("")
    expect(page.locator('.react-flow__edge[data-id="SiteName>ShippingMethod"]')).to_have_count(1)
    assert page.problems == []


def test_what_is_not_applied_is_not_lost_unasked(console: Console) -> None:
    page = opened(console, "analyst")
    target(page, "ShippingMethod").click()
    panel = page.get_by_role("complementary", name="Line to ShippingMethod")
    panel.get_by_label("Note").fill("As the marketplace says")
    expect(panel.get_by_text("not applied yet")).to_be_visible()
    target(page, "Channel").click()
    question = page.get_by_role("dialog", name="Changes of ShippingMethod are not applied yet")
    question.get_by_role("button", name="Apply them").click()
    expect(page.get_by_text("Draft, not in force")).to_be_visible()
    expect(panel.get_by_label("Note")).to_have_value("As the marketplace says")
    panel.get_by_label("Note").fill("")
    target(page, "Channel").click()
    question.get_by_role("button", name="Drop them").click()
    expect(page.get_by_role("complementary", name="Line to Channel")).to_be_visible()
    page.get_by_role("button", name="Text", exact=True).click()
    expect(page.get_by_label("The file's text")).to_have_value(re.compile("note: As the marketplace says"))
    assert page.problems == []


def test_suggestions_replace_nothing_unasked_and_say_what_a_lookup_lacks(console: Console) -> None:
    do = "Add it to include/config/lookups/payment_status.csv, then replay it."
    reason = {"field": "PaymentStatus", "rule": "unknown_payment_status", "value": "Clearing", "says": "?", "do": do}
    letter = {"flow": "orders", "entity": "sales_order", "key": "of-no-list", "batch_id": 1, "step": "transform",
              "reasons": [reason | {"line": ""}], "payload": {}, "version": console.shop.now}  # fmt: skip
    with console.shop.runtime() as runtime, runtime.engine.begin() as connection:
        number = connection.scalar(sa.insert(ops_dead_letter).values(**letter).returning(ops_dead_letter.c.id))
    page = opened(console, "analyst")
    target(page, "Source").click()  # a constant
    panel = page.get_by_role("complementary", name="Line to Source")
    panel.get_by_text("What it may come from instead").click()
    expect(panel.get_by_text("always ChannelAdvisor: as the line says")).to_be_visible()
    page.get_by_role("button", name="Remove the line").click()
    panel.get_by_role("button", name="Take always ChannelAdvisor").click()
    expect(page.locator('button[data-station="Source"]')).to_contain_text("always ChannelAdvisor")
    page.get_by_role("button", name="Discard the draft").click()
    expect(page.get_by_text("In force", exact=True)).to_be_visible()

    target(page, "Channel").click()  # a rule
    panel = page.get_by_role("complementary", name="Line to Channel")
    panel.get_by_text("What it may come from instead").click()
    panel.get_by_role("button", name=re.compile("^Use .* instead$")).first.click()
    question = page.get_by_role("dialog", name="Channel is mapped already")
    expect(question).to_contain_text("rule order_document")
    question.get_by_role("button", name="Keep what is there").click()
    expect(page.get_by_text("In force", exact=True)).to_be_visible()

    page.get_by_label("Find in SalesOrderCreate").fill("PaymentStatus")
    target(page, "PaymentStatus").click()  # a lookup
    lacks = page.get_by_role("region", name="Values that payment_status does not know")
    expect(lacks).to_contain_text("Clearing")
    shot(page, "mapping_lookup")
    assert axe(page) == []
    lacks.get_by_role("button", name="Same as Cleared").click()
    expect(page.get_by_role("dialog")).to_contain_text("Clearing, Paid")
    expect(page.get_by_role("dialog")).to_contain_text("that were compared")
    page.get_by_role("button", name="Publish the row").click()
    expect(page.get_by_role("status").first).to_contain_text("is in force with the next task")
    expect(lacks).to_have_count(0)
    (version,) = console.query("SELECT author, message FROM ops.config_version ORDER BY id DESC LIMIT 1")
    assert (version.author, version.message) == ("analyst", "Clearing is the same as Cleared")
    with console.shop.runtime() as runtime, runtime.engine.begin() as connection:
        assert "\nClearing,Paid,\n" in (configuration.text(connection, "lookups/payment_status.csv") or "")
        dead_letters.dismiss(connection, number, who="test", note="made up by a test")
    assert page.problems == []


def test_an_edited_record_is_shown_as_it_was_delivered_and_a_delivered_one_first(console: Console) -> None:
    delivered = traded(console)
    dead = place(console.shop, line("UNKNOWN-1"))
    forward(console.shop, console.shop.now + timedelta(minutes=10))
    read_whatever_breaks(console.shop)
    page = opened(console, "analyst")
    chosen = page.get_by_role("region", name="Records").locator('button[aria-pressed="true"]')
    expect(chosen).to_contain_text("delivered")
    expect(chip(page, dead)).to_contain_text("refused")
    pick(page, dead)
    expect(page.locator(".fate")).to_contain_text("would be refused")
    (letter,) = console.query(f"SELECT id, payload FROM ops.dead_letter WHERE key = '{dead}' AND state = 'open'")
    (item,) = letter.payload["OrderItems"]
    with console.shop.runtime() as runtime, runtime.engine.begin() as connection:
        edited = letter.payload | {"OrderItems": [item | {"SKU": "22423"}]}
        dead_letters.edit(connection, letter.id, edited, who="clara")
    with console.shop.runtime() as runtime:
        ids = extract(runtime, ORDERS, kind="replay", keys=(dead,))
        run_batches(runtime, ORDERS, ids)
    console.open(page, "/mappings/sales_order")
    expect(chip(page, dead)).to_contain_text("delivered")
    pick(page, dead)
    expect(page.locator(".fate")).to_contain_text("would be sent")
    expect(source(page, "OrderItems.SKU")).to_contain_text("22423")
    expect(chip(page, delivered)).to_contain_text("delivered")
    assert page.problems == []


@pytest.mark.parametrize("name", language.names())
def test_whatever_can_be_drawn_runs_on_the_records_that_came(console: Console, name: str) -> None:
    """Each field of the source tree, among the sources of a line, on real records: none is missing there."""
    canvas = mappings.canvas(ANN, name)
    tried = 0
    for of_lines in (False, True):
        for text in filter(None, (drawn_together(canvas, kind, of_lines) for kind in KINDS)):
            with console.shop.runtime() as runtime, runtime.engine.connect() as connection:
                mapping_trial.tried(connection, ANN, name, text, 30)
            tried += 1
    assert tried


def drawn_together(canvas: Canvas, kind: str, of_lines: bool) -> str:
    """The mapping's text with a line of all sources of one kind; "" where no target takes one."""
    begins = [one for one in nodes(canvas.source) if one.takes and one.type == kind and one.of_lines <= of_lines]
    for end in [one for one in nodes(canvas.target) if one.takes and one.of_lines is of_lines and not one.hint]:
        written = []
        text = canvas.text
        for one in begins:
            try:
                made = mappings.changed(
                    ANN, canvas.name, canvas.text, Change("draw", end.path, source=one.path, replace=True)
                )
            except ConfigError:  # the lines are those that a rule makes
                continue
            if made.findings:
                break  # codes, a kind that needs an argument, a rule that another one needs
            written += next(line.written for line in made.lines if line.path == end.path)
            text = made.text
        if written:
            change = Change("change", end.path, words={"from": list(written)})
            return mappings.changed(ANN, canvas.name, text, change).text
    return ""


def nodes(tree: tuple[Node, ...]) -> Iterator[Node]:
    for one in tree:
        yield one
        yield from nodes(one.children)
