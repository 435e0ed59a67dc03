"""The desk of dead letters in a real browser: forty of one cause, an edit with its verdict, keys, every role."""

from __future__ import annotations

from datetime import timedelta

import pytest
from playwright.sync_api import Page, expect

from browser.conftest import Console, axe, read_whatever_breaks, shot
from integration.builders import ADDRESS, forward, line, place, sales_order

FORTY = 40
PHONE = {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True}
HOSTILE = "<script>alert(1)</script> \u202egnp.exe שלום 🧨 "


@pytest.fixture(scope="module")
def forty(console: Console) -> list[str]:
    """Orders of an item that TIMS does not know under that name; the flow has refused them."""
    shop = console.shop
    keys = [place(shop, line("OLD-SKU", 1, "10.0000", TaxAmount="2.00")) for _ in range(FORTY)]
    forward(shop, shop.now + timedelta(minutes=10))
    read_whatever_breaks(shop)
    return keys


def refused(console: Console, sku: str, **more: object) -> str:
    """An order of an item that nobody knows, refused; its key."""
    key = place(console.shop, line(sku), **more)
    forward(console.shop, console.shop.now + timedelta(minutes=10))
    read_whatever_breaks(console.shop)
    return key


def number_of(console: Console, key: str) -> int:
    return console.query(f"SELECT id FROM ops.dead_letter WHERE key = '{key}' AND state IN ('open', 'edited')")[0].id


def clicks(page: Page) -> list[str]:
    """Counts what a person clicks from now on."""
    made: list[str] = []
    page.expose_function("counted", lambda what: made.append(what))
    page.add_init_script(
        "addEventListener('click', e => { if (e.isTrusted) counted(e.target.textContent.trim()) }, true)"
    )
    return made


def test_forty_letters_of_one_cause_are_cleared_in_five_clicks(console: Console, forty: list[str]) -> None:
    page = console.login("clerk")
    made = clicks(page)
    console.open(page, "/letters")
    group = page.get_by_role("row").filter(has_text="OLD-SKU")
    expect(group).to_contain_text(str(FORTY))
    expect(group).to_contain_text("480.00 GBP")
    shot(page, "letters")
    assert axe(page) == []
    group.get_by_role("link", name="Orders").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("unknown sku")
    page.wait_for_load_state("networkidle")
    shot(page, "letters_group")
    assert axe(page) == []
    page.get_by_label("Write instead of “OLD-SKU”").fill("22423")
    page.get_by_role("button", name="Edit all").click()
    expect(page.locator("#message")).to_contain_text(f"Edited {FORTY}")
    page.get_by_role("button", name="Replay those whose cause is gone").click()
    expect(page.locator("#message")).to_contain_text(f"{FORTY} in replay")
    assert console.work_asked_runs() == 1
    expect(page.get_by_text("No open letters of this cause.")).to_be_visible(timeout=15_000)
    assert len(made) <= 5, made
    for key in forty:
        order = sales_order(console.shop, key)
        assert [each["SKU"] for each in order["LineItems"]] == ["22423"]
    states = console.query(
        "SELECT state, count(*) FROM ops.dead_letter WHERE strpos(payload::text, 'OLD-SKU') > 0 GROUP BY state"
    )
    assert [tuple(row) for row in states] == [("replayed", FORTY)]
    assert page.problems == []


def test_an_edit_shows_its_verdict_as_one_types_and_nothing_is_written_before_it_is_replayed(console: Console) -> None:
    key = refused(console, "TYPO-1", ShippingAddress={**ADDRESS, "Country": "Atlantis"})
    number = number_of(console, key)
    page = console.open(console.login("clerk"), f"/letters/{number}")
    verdict = page.locator("#verdict")
    expect(verdict).to_contain_text("It would be refused again.")
    marked = page.locator(".part.fault")
    expect(marked.filter(has_text="SKU")).to_have_count(1)
    shot(page, "letter")
    assert axe(page) == []
    before = console.query("SELECT md5(string_agg(d::text, '' ORDER BY id)) FROM ops.dead_letter d")
    page.get_by_label("SKU", exact=True).fill("22423")
    expect(verdict).not_to_contain_text("TYPO-1")
    page.get_by_label("Country", exact=True).fill("GB")
    expect(verdict).to_contain_text("It would be sent.")
    verdict.get_by_text("What would be sent").click()
    expect(verdict.locator("pre")).to_contain_text('"SKU": "22423"')
    assert console.query("SELECT md5(string_agg(d::text, '' ORDER BY id)) FROM ops.dead_letter d") == before
    page.get_by_role("button", name="Replay").click()
    expect(page.locator("#message")).to_contain_text("1 in replay")
    console.work_asked_runs()
    expect(page.get_by_text("replayed", exact=True)).to_be_visible(timeout=15_000)
    assert sales_order(console.shop, key)["ShippingAddress"]["CountryCode"] == "GB"
    deeds = [
        row.action for row in console.query(f"SELECT action FROM ops.audit WHERE subject = '{number}' ORDER BY id")
    ]
    assert deeds[0] == "dead-letter open"
    assert "dead-letter edit" in deeds
    assert "dead-letter replay" in deeds
    assert page.problems == []


def test_the_keyboard_alone_is_enough(console: Console) -> None:
    first, second = refused(console, "KEY-1"), refused(console, "KEY-1")
    page = console.open(console.login("clerk"), "/letters")
    press = page.keyboard.press
    for _ in range(30):
        press("j")
        if page.evaluate("document.activeElement.closest('tr')?.textContent.includes('KEY-1')"):
            break
    press("Enter")
    expect(page.get_by_role("heading", level=1)).to_contain_text("unknown sku")
    row = page.get_by_role("row").filter(has_text="KEY-1").first
    row.get_by_role("link").focus()
    press("Enter")
    expect(page.locator("#verdict")).to_contain_text("refused again")
    press("e")
    page.keyboard.type("22423")  # after what stands there
    press("ControlOrMeta+a")
    page.keyboard.type("22423")
    press("Escape")
    expect(page.locator("#verdict")).to_contain_text("It would be sent.")
    press("r")
    expect(page.locator("#message")).to_contain_text("in replay")
    press("?")
    expect(page.get_by_role("dialog")).to_be_visible()
    press("Escape")
    console.work_asked_runs()
    opened = int(page.url.rpartition("/")[2])
    other = next(number for number in (any_number_of(console, key) for key in (first, second)) if number != opened)
    page.wait_for_load_state("networkidle")
    console.open(page, f"/letters/{other}")
    press("d")
    page.keyboard.type("a test order")
    press("Enter")
    expect(page.locator("#message")).to_contain_text("Dismissed 1")
    states = sorted(
        row.state for row in console.query(f"SELECT state FROM ops.dead_letter WHERE key IN ('{first}', '{second}')")
    )
    assert states == ["dismissed", "replayed"]
    assert page.problems == []


def any_number_of(console: Console, key: str) -> int:
    return console.query(f"SELECT id FROM ops.dead_letter WHERE key = '{key}'")[0].id


def test_a_letter_is_assigned_and_remarked_upon(console: Console) -> None:
    number = number_of(console, refused(console, "NOTE-1"))
    page = console.open(console.login("clerk"), f"/letters/{number}")
    page.get_by_role("button", name="I work on it").click()
    expect(page.get_by_text("clerk works on it")).to_be_visible()
    page.get_by_label("Note for whoever looks next").fill("Asked the warehouse")
    page.get_by_role("button", name="Keep the note").click()
    expect(page.locator(".deeds")).to_contain_text("Asked the warehouse")
    expect(page.locator(".deeds")).to_contain_text("assign: to clerk")
    assert page.problems == []


@pytest.mark.parametrize("role", ["viewer", "analyst", "accountant"])
def test_who_is_no_clerk_sees_no_personal_data_and_no_button(console: Console, role: str) -> None:
    number = number_of(console, refused(console, f"MASK-{role}"))
    page = console.open(console.login(role), f"/letters/{number}")
    expect(page.get_by_text("Personal data are shown to clerks only.")).to_be_visible()
    text = page.content()
    for personal in ("Ada Miller", "12 Elm Street", "LS1 4AP", "buyer-ada"):
        assert personal not in text
    expect(page.get_by_role("button", name="Replay")).to_have_count(0)
    expect(page.get_by_role("button", name="Dismiss")).to_have_count(0)
    opened = console.query(f"SELECT count(*) AS n FROM ops.audit WHERE subject = '{number}' AND who = '{role}'")
    assert opened[0].n == 0
    assert page.problems == []


@pytest.mark.parametrize(("name", "how"), [("dark", {"color_scheme": "dark"}), ("phone", PHONE)])
def test_hostile_values_are_shown_and_do_nothing(console: Console, name: str, how: dict) -> None:
    key = refused(console, HOSTILE.strip() + name, SpecialInstructions=HOSTILE + "x" * 1_900)
    page = console.login("clerk", **how)
    page.on("dialog", lambda dialog: pytest.fail(f"a script ran: {dialog.message}"))
    console.open(page, "/letters")
    group = (
        page.get_by_role("row").filter(has_text="gnp.exe") if name == "dark" else page.locator("tr", has_text="gnp.exe")
    )
    expect(group.first).to_contain_text("<script>")
    assert "\u202e" not in page.inner_text("body")
    shot(page, f"letters_{name}")
    assert axe(page) == []
    console.open(page, f"/letters/{number_of(console, key)}")
    expect(page.locator("#verdict")).to_contain_text("refused again")
    shot(page, f"letter_{name}")
    assert axe(page) == []
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth + 1"), "the page is wider than the screen"
    assert page.problems == []


def test_what_airflow_does_not_start_is_said_and_left_as_it_was(console: Console) -> None:
    from airflow.models.dag import DagModel
    from airflow.utils.session import create_session

    number = number_of(console, refused(console, "PAUSED-1"))
    page = console.open(console.login("clerk"), f"/letters/{number}")

    def pause(paused: bool) -> None:
        with create_session() as session:
            session.get(DagModel, "orders").is_paused = paused

    pause(True)
    try:
        page.get_by_role("button", name="Replay").click()
        expect(page.locator("#message")).to_contain_text("The DAG orders is paused.")
    finally:
        pause(False)
    assert console.query(f"SELECT replay_asked_at AS at FROM ops.dead_letter WHERE id = {number}")[0].at is None
