"""The mapping canvas in a real browser: a line drawn by mouse and by keys, seen on a record, tried, published, used."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta

import pytest
from playwright.sync_api import Page, expect

from browser.conftest import Console, axe, read_whatever_breaks, shot
from crossdock.services import configuration
from crossdock.services.people import on_this_machine
from integration.builders import forward, line, place, sales_order

expect.set_options(timeout=20_000)  # a record's way is computed by real transforms, beside other tests
PHONE = {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True}
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
    drag(page, "OrderID", "ShippingMethod")
    expect(page.get_by_role("status").first).to_contain_text("Changed.")
    expect(target(page, "ShippingMethod")).to_contain_text(f"T-{key}")
    panel = page.get_by_role("complementary", name="Line to ShippingMethod")
    expect(panel.get_by_label("From (first given value counts)")).to_have_value("OrderID")
    expect(panel.get_by_role("list", name="The value on its way")).to_contain_text(f"T-{key}")
    shot(page, "mapping")
    assert axe(page) == []

    page.get_by_role("button", name="Try on the last 500").click()
    result = page.get_by_role("region", name="What would change")
    expect(result).to_contain_text("documents would change", timeout=30_000)
    expect(result.get_by_role("row").filter(has_text="ShippingMethod")).to_contain_text(f"T-{key}")
    shot(page, "mapping_tried")
    assert axe(page) == []
    result.get_by_role("button", name="Close the result").click()

    page.get_by_label("What changes, and why").fill("The channel's number as shipping method")
    page.get_by_role("button", name="Publish").click()
    expect(page.get_by_role("status").first).to_contain_text("is in force with the next task")
    expect(page.get_by_text("In force", exact=True)).to_be_visible()
    panel.get_by_text("Who changed it").click()
    expect(panel).to_contain_text("The channel's number as shipping method")
    expect(panel).to_contain_text("analyst")

    after = traded(console)
    assert sales_order(console.shop, after)["ShippingMethod"] == f"T-{after}"
    assert sales_order(console.shop, key)["ShippingMethod"] != f"T-{key}", "what was delivered stays"
    (row,) = console.query("SELECT who, subject FROM ops.audit WHERE action = 'configuration publish'")
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
    expect(page.get_by_role("button", name="Undo")).to_be_enabled()
    page.get_by_role("button", name="Undo").focus()
    press("Enter")
    expect(page.get_by_text("In force", exact=True)).to_be_visible()
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
    shot(page, f"mapping_{name}")
    assert axe(page) == []
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth + 1"), "the page is wider than the screen"
    assert page.problems == []
