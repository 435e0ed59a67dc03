"""The desk of dead letters in a real browser: forty of one cause, an edit with its verdict, keys, every role."""

from __future__ import annotations

import time
from datetime import timedelta

import pytest
from playwright.sync_api import Dialog, Page, Route, expect

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


def test_forty_letters_of_one_cause_are_cleared_in_five_clicks_from_the_first_page(
    console: Console, forty: list[str]
) -> None:
    page = console.login("clerk")
    made = clicks(page)
    console.open(page, "/")
    page.get_by_role("link", name="dead letters wait").click()
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
    page.get_by_label("instead of “OLD-SKU”").fill("22423")
    page.get_by_role("button", name="Edit all").click()
    expect(page.locator("#message")).to_contain_text(f"Edited {FORTY}")
    rows = page.locator("#rows tbody tr")
    expect(rows.first).to_contain_text("OLD-SKU → 22423")
    expect(rows.first).to_contain_text("edited, to be replayed")
    expect(page.get_by_label("Write into")).to_have_count(0)
    shot(page, "letters_group_edited")
    page.get_by_role("button", name="Replay those whose cause is gone").click()
    expect(page.get_by_role("heading", level=1)).to_have_text(f"Replay of {FORTY} letters")
    expect(page.get_by_role("status").filter(has_text="The run is on")).to_be_visible()
    expect(page.get_by_role("link", name=f"{FORTY} still at work")).to_be_visible()
    assert console.work_asked_runs() == 1
    expect(page.get_by_role("status").filter(has_text="It has ended.")).to_be_visible(timeout=15_000)
    expect(page.get_by_role("link", name=f"{FORTY} delivered")).to_be_visible()
    assert len(made) <= 5, made
    shot(page, "letters_replay")
    assert axe(page) == []
    for key in forty:
        order = sales_order(console.shop, key)
        assert [each["SKU"] for each in order["LineItems"]] == ["22423"]
    row = page.get_by_role("row").filter(has_text=forty[0])
    row.get_by_role("link", name="SO-").click()
    expect(page.get_by_role("heading", level=1)).to_have_text(f"Order {forty[0]}")
    states = console.query(
        "SELECT state, count(*) FROM ops.dead_letter WHERE strpos(payload::text, 'OLD-SKU') > 0 GROUP BY state"
    )
    assert [tuple(row) for row in states] == [("replayed", FORTY)]
    assert page.problems == []


def test_a_replay_says_what_came_of_each(console: Console) -> None:
    good, bad = refused(console, "MIXED-1"), refused(console, "MIXED-2")
    page = console.open(console.login("clerk"), f"/letters/{number_of(console, good)}")
    page.get_by_label("SKU", exact=True).fill("22423")
    page.get_by_role("button", name="Replay").click()
    expect(page.get_by_role("region", name="What came of the replay")).to_contain_text("at work")
    console.work_asked_runs()
    came = page.get_by_role("region", name="What came of the replay")
    expect(came).to_contain_text("delivered", timeout=15_000)
    expect(came.get_by_role("link", name=sales_order(console.shop, good)["SalesOrderID"])).to_be_visible()
    shot(page, "letter_replayed")
    assert axe(page) == []
    console.open(page, "/letters/group?flow=orders&rule=unknown_sku&value=MIXED-2")
    expect(page.locator(".head").get_by_text("MIXED-2").first).to_be_visible()
    page.get_by_role("button", name="Replay all").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Replay of 1 letter")
    console.work_asked_runs()
    expect(page.get_by_role("link", name="1 refused again")).to_be_visible(timeout=15_000)
    row = page.get_by_role("row").filter(has_text=bad)
    expect(row).to_contain_text("unknown sku")
    expect(row.locator(".do")).not_to_be_empty()
    console.open(page, "/letters")
    page.get_by_role("region", name="What came of the last replays").get_by_role("link").first.click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Replay of 1 letter")
    assert page.problems == []


def test_a_dismissal_is_found_and_taken_back(console: Console) -> None:
    key = refused(console, "BACK-1")
    number = number_of(console, key)
    page = console.open(console.login("clerk"), f"/letters/{number}")
    page.get_by_label("Dismiss it, because").fill("Ordered by mistake")
    page.get_by_role("button", name="Dismiss").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("unknown sku")  # the group: it was the last one of it
    console.open(page, "/letters")
    page.get_by_role("link", name="Dismissed", exact=True).click()
    row = page.get_by_role("row").filter(has_text=key)
    expect(row).to_contain_text("Ordered by mistake")
    shot(page, "letters_dismissed")
    assert axe(page) == []
    row.get_by_role("link", name=key).click()
    expect(page.get_by_role("region", name="Dismissed")).to_contain_text("Ordered by mistake")
    with page.expect_navigation():
        page.keyboard.press("o")
    expect(page.locator("#message")).to_contain_text("Open again")
    expect(page.locator(".deeds")).to_contain_text("clerk had dismissed it: Ordered by mistake")
    assert number_of(console, key) == number
    by = f"SELECT who, address FROM ops.audit WHERE action = 'dead-letter reopen' AND subject = '{number}'"
    seen = console.query(by)
    assert [tuple(one) for one in seen] == [("clerk", "127.0.0.1")]
    for state in ("mended", "replayed", "resolved"):
        console.open(page, f"/letters/closed?state={state}")
        expect(page.locator("main table, main .empty").first).to_be_visible()
        assert axe(page) == []
    viewer = console.open(console.login("viewer"), "/letters/closed")
    expect(viewer.get_by_role("button", name="Open again")).to_have_count(0)
    assert page.problems == []


def test_a_group_speaks_of_the_value_that_is_chosen(console: Console) -> None:
    for sku in ("CHIP-A", "CHIP-B"):
        refused(console, sku)
    page = console.open(console.login("clerk"), "/letters/group?flow=orders&rule=unknown_sku")
    expect(page.locator(".head")).to_contain_text("For example:")
    console.open(page, "/letters/group?flow=orders&rule=unknown_sku&value=CHIP-B")
    expect(page.locator(".head")).to_contain_text("CHIP-B")
    expect(page.locator(".head")).not_to_contain_text("For example:")
    expect(page.get_by_label("instead of “CHIP-B”")).to_be_visible()
    gone = place(console.shop, line(), UserDataPresent=False)
    forward(console.shop, console.shop.now + timedelta(minutes=10))
    read_whatever_breaks(console.shop)
    rule = console.query(f"SELECT rule FROM ops.dead_letter WHERE key = '{gone}'")[0].rule
    console.open(page, f"/letters/group?flow=orders&rule={rule}")
    expect(page.get_by_label("Write into")).to_have_count(0)
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
    expect(page.locator(".state.replayed")).to_be_visible(timeout=15_000)
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
        if page.evaluate("document.activeElement.closest('tr')?.textContent.includes('unknown sku')"):
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
    expect(page.locator(".state.replayed")).to_be_visible(timeout=15_000)  # the page has loaded itself anew
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


def test_edits_that_are_not_kept_are_not_left_without_a_question(console: Console) -> None:
    first, second = number_of(console, refused(console, "ASK-1")), number_of(console, refused(console, "ASK-1"))
    page = console.open(console.login("clerk"), f"/letters/{first}")
    dialogs: list[str] = []

    def stay(dialog: Dialog) -> None:
        dialogs.append(dialog.type)
        dialog.dismiss()

    page.on("dialog", stay)
    page.get_by_label("SKU", exact=True).fill("22423")
    page.get_by_role("link", name="Back to the group").click()
    expect(page.get_by_label("SKU", exact=True)).to_have_value("22423")
    assert dialogs == ["beforeunload"]
    page.get_by_label("Dismiss it, because").fill("a test order")
    page.get_by_role("button", name="Dismiss").click()
    page.wait_for_url(f"**/letters/{second}")  # the next one of the group
    page.get_by_role("link", name="Back to the group").click()
    page.wait_for_url("**/letters/group?*")
    assert dialogs == ["beforeunload"]
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


def test_that_something_is_under_way_is_said_at_once(console: Console) -> None:
    """The verdict as one types, and a replay: held up on its way, the page says so; then the result."""
    key = refused(console, "SLOW-1")
    page = console.open(console.login("clerk"), f"/letters/{number_of(console, key)}")
    verdict = page.locator("#verdict")
    expect(verdict).to_have_attribute("aria-busy", "false")
    expect(verdict).to_contain_text("refused again")
    held: list[Route] = []
    page.route("**/api/letters/*/verdict", lambda route: held.append(route))
    page.locator(".fault input").first.fill("22423")
    assert verdict.get_attribute("aria-busy") == "true", "at once"
    assert "Looking what would become of it" in verdict.inner_text()
    expect(verdict.get_by_text("Still looking")).to_be_visible(timeout=8_000)
    shot(page, "letter_looking")
    assert axe(page) == []
    held.pop().continue_()
    expect(verdict).to_contain_text("It would be sent.")
    expect(verdict).to_have_attribute("aria-busy", "false")
    assert "Looking" not in verdict.inner_text()
    page.unroute("**/api/letters/*/verdict")
    page.route("**/api/letters/replay", lambda route: held.append(route))
    replay = page.locator("button[data-save]")
    replay.click()
    expect(replay).to_have_text("Working …")
    expect(replay).to_have_attribute("aria-busy", "true")
    expect(page.locator("#message")).to_have_text("Working …")
    until = time.monotonic() + 10
    while not held and time.monotonic() < until:
        page.wait_for_timeout(50)
    held.pop().continue_()
    expect(page.locator("#message")).not_to_contain_text("Working", timeout=15_000)
    expect(page.locator(".facts")).to_contain_text("in replay")
    assert console.work_asked_runs() == 1
    assert page.problems == []


def test_a_note_is_pinned_and_has_a_length(console: Console) -> None:
    key = refused(console, "NOTED-1")
    number = number_of(console, key)
    page = console.open(console.login("clerk"), f"/letters/{number}")
    field = page.get_by_label("Note for whoever looks next")
    expect(field).to_have_attribute("maxlength", "500")
    field.fill("Ask Ben first: " + HOSTILE)
    page.get_by_role("button", name="Keep the note").click()
    pinned = page.get_by_role("region", name="Note")
    expect(pinned).to_contain_text("Ask Ben first")
    expect(pinned).to_contain_text("clerk")
    assert "\u202e" not in pinned.inner_text()
    shot(page, "letter_note")
    assert axe(page) == []
    console.open(page, "/letters")
    expect(page.get_by_role("row").filter(has_text="Ask Ben first")).to_have_count(1)
    assert page.problems == []
