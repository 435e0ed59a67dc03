"""Going live in a real browser: what is red, what a person decides, back to shadow mode, launch with a cap, release."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from playwright.sync_api import Locator, Page, expect

from browser.conftest import Console, axe, shot
from crossdock.services import configuration, gates
from crossdock.services.people import on_this_machine
from crossdock.store import abilities
from crossdock.store.tables import (
    ops_gate_decision,
    ops_gate_result,
    ops_missing_ability,
    ops_shadow_day,
    ops_shadow_record,
)
from integration.builders import forward, line, place

PHONE = {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True}
HOSTILE = "<script>alert(1)</script>\u202e=cmd|'x'😀"
DAY = "2011-01-08"
PAGES = ("/go-live", "/go-live/orders", f"/go-live/orders/{DAY}")


def check(name: str, state: str = "ok", **more: str) -> dict[str, Any]:
    return {"name": name, "title": name.capitalize(), "state": state, "found": f"The {name} was looked at.",
            "means": "", "do": "", "where": "", **more}  # fmt: skip


@pytest.fixture(scope="module")
def ready(console: Console) -> Iterator[Console]:
    """The shop on its way: a red check at one system, something to decide, a day that is compared."""
    person = on_this_machine("engineer")
    with console.shop.runtime() as runtime:
        with runtime.engine.begin() as connection:
            before = configuration.status(connection).number
            red = check("clock", "red", found="Its clock is 7 minutes ahead of ours.", means="Records look late.",
                        do="Switch time synchronisation on.", where=f"this machine {HOSTILE}")  # fmt: skip
            gates.keep(connection, gates.CONNECT, "channel_advisor", "engineer", [check("tls"), red])
            gates.keep(connection, gates.CONNECT, "tims", "engineer", [check("tls")])
            gates.keep(connection, gates.MAP, gates.BOTH, "engineer", [
                {"name": "unknown_site:912", "state": "open", "list": "channel_advisor.orders", "field": "SiteID",
                 "value": "912", "records": 41, "found": "sites.yaml does not know the site 912.", "do": "Add it.",
                 "where": "include/config/sites.yaml", "why": "",
                 "proposal": {"path": "sites.yaml", "text": f"  912:\n    channel: {HOSTILE}\n", "sure": False}},
            ])  # fmt: skip
            abilities.note(connection, [("listings", "Listings are neither read nor made: the API has none.")])
            connection.execute(
                sa.insert(ops_shadow_day).values(
                    flow="orders", day=DAY, would_make=214, same=213, differ=1, only_ours=0, only_theirs=0,
                    fields={"ShippingTaxAmount": 1},
                )
            )  # fmt: skip
            differs = [{"field": "ShippingTaxAmount", "ours": "1.20", "theirs": HOSTILE},
                       {"field": "ShippingAddress.Line1", "ours": None, "theirs": None}]  # fmt: skip
            connection.execute(
                sa.insert(ops_shadow_record).values(
                    flow="orders", day=DAY, name="900001", key="900001", their_id="SO-1044", verdict="differs",
                    matched_by="reference", differences=differs,
                )
            )  # fmt: skip
        yield console
        with runtime.engine.begin() as connection:
            if configuration.status(connection).number != before:
                configuration.rollback(connection, person, before, "After the tests of going live")
            for table in (
                ops_gate_decision, ops_gate_result, ops_missing_ability, ops_shadow_day, ops_shadow_record,
            ):  # fmt: skip
                connection.execute(sa.delete(table))


def row(page: Page, flow: str) -> Locator:
    return page.locator(f'tr[data-flow="{flow}"]')


def done(page: Page, words: str) -> None:
    """Waits for what the page says of a change: a new configuration is held against all of its checks first."""
    expect(page.locator("#message")).to_contain_text(words, timeout=20_000)


def test_each_role_sees_what_is_red_and_only_its_own_buttons(ready: Console) -> None:
    for role, backs, launches in (("viewer", 0, 0), ("clerk", 1, 0), ("accountant", 1, 0), ("analyst", 1, 1)):
        page = ready.open(ready.login(role), "/go-live")
        card = page.locator("#connect-channel_advisor")
        expect(card).to_contain_text("1 of 2 checks are red")
        expect(card).to_contain_text("Its clock is 7 minutes ahead of ours.")
        expect(card).to_contain_text("Switch time synchronisation on.")
        expect(card).to_contain_text("Listings are neither read nor made")
        assert "\u202e" not in (page.locator("main").text_content() or "")
        orders = row(page, "orders")
        expect(orders.locator("td").nth(1)).to_contain_text("red")
        expect(orders.locator("td").nth(2)).to_contain_text("To decide: sites.yaml does not know the site 912.")
        expect(orders.locator("td").nth(3)).to_contain_text("213 as you did, 1 differs in ShippingTaxAmount")
        assert orders.get_by_role("button", name="Back to shadow").count() == backs
        assert page.get_by_role("button", name="It stays").count() == launches
        assert page.problems == []  # type: ignore[attr-defined]


def test_what_map_leaves_is_decided_and_opened_again(ready: Console) -> None:
    page = ready.open(ready.login("analyst"), "/go-live")
    found = page.locator('[data-finding="unknown_site:912"]')
    expect(found.get_by_role("link", name="Decide it there")).to_have_attribute(
        "href", re.compile(r"/rules/file\?path=sites\.yaml$")
    )
    found.get_by_label("Why it stays as it is").fill("A test site")
    found.get_by_role("button", name="It stays").click()
    done(page, "it stays as it is")
    expect(row(page, "orders").locator("td").nth(2)).to_contain_text("green")
    page.get_by_text("1 decided", exact=True).click()
    expect(page.get_by_text("“A test site (analyst)”")).to_be_visible()
    page.get_by_role("button", name="Open again").click()
    expect(page.locator('[data-finding="unknown_site:912"]')).to_be_visible()
    assert page.problems == []  # type: ignore[attr-defined]


def test_the_records_that_differ_are_shown_field_by_field_and_taken_as_a_file(ready: Console) -> None:
    page = ready.open(ready.login("viewer"), "/go-live")
    page.get_by_role("region", name="Reports").get_by_role("link", name="what differs").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("Orders, 08 Jan 2011")
    first = page.locator("tr[data-row]").first
    expect(first).to_contain_text("ShippingTaxAmount")
    expect(first).to_contain_text("1.20")
    expect(page.get_by_text("differs (personal data are not kept)")).to_be_visible()
    with page.expect_download() as download:
        page.get_by_role("link", name="All as CSV").click()
    assert download.value.suggested_filename == f"shadow-orders-{DAY}.csv"
    lines = list(csv.reader(Path(download.value.path()).read_text().splitlines()))
    assert [one[6] for one in lines] == ["field", "ShippingTaxAmount", "ShippingAddress.Line1"]
    page.keyboard.press("u")
    expect(page).to_have_url(re.compile(r"/go-live/orders$"))
    assert page.problems == []  # type: ignore[attr-defined]


def test_back_to_shadow_launch_with_a_cap_and_release(ready: Console) -> None:
    shop = ready.shop
    clerk = ready.open(ready.login("clerk"), "/go-live")
    reason = row(clerk, "orders").get_by_placeholder("because …")
    reason.fill("Wrong tax")
    reason.press("Enter")  # one reason, one key
    done(clerk, "It is in shadow mode")
    expect(row(clerk, "orders").locator(".mode")).to_contain_text("shadow")
    band = clerk.get_by_role("complementary", name="Shadow mode")
    expect(band).to_contain_text("Orders")
    for elsewhere in ("/", "/money", "/letters"):
        expect(ready.open(clerk, elsewhere).get_by_role("complementary", name="Shadow mode")).to_contain_text("Orders")

    keys = [place(shop, line()) for _ in range(3)]
    forward(shop, shop.now + timedelta(minutes=10))
    shop.sync()
    assert {order["ExternalOrderID"] for order in shop.in_tims()} & set(keys) == set()
    page = ready.open(ready.login("analyst"), "/go-live/orders")
    expect(page.get_by_text("3 records are made but for the last write")).to_be_visible()
    shot(page, "go_live_shadow")
    page.get_by_label("From the day").fill("2011-01-01")
    page.get_by_label("At first at most").fill("2")
    page.get_by_role("button", name="What would happen?").click()
    effect = page.locator("#effect")
    expect(effect).to_contain_text("2 of the 3 that wait go to TIMS with the next run of the DAG Orders")
    expect(effect).to_contain_text("Not green: connect (red), map (waiting for a person), validate (red)")
    shot(page, "go_live_launch")
    assert axe(page) == []
    page.get_by_role("button", name="Launch Orders: send 2").click()  # the reason is missing: nothing happens
    expect(effect).to_be_visible()
    page.get_by_label("Launch it although").fill("A trial with two orders")
    page.get_by_role("button", name="Launch Orders: send 2").click()
    done(page, "its next run sends 2")
    shop.sync()
    arrived = {order["ExternalOrderID"] for order in shop.in_tims()}
    assert len(arrived & set(keys)) == 2
    ready.open(page, "/go-live")
    mode = row(page, "orders").locator(".mode")
    expect(mode).to_contain_text("2 of the first 2 sent: waits for a person")
    shot(page, "go_live")
    questions: list[str] = []
    page.on("dialog", lambda dialog: (questions.append(dialog.message), dialog.accept()))
    mode.get_by_role("button", name="Go on without the cap").click()
    done(page, "It goes on without the cap")
    assert questions[0].startswith("2 of the first 2 are sent, 1 is held back.")
    shop.sync()
    assert set(keys) <= {order["ExternalOrderID"] for order in shop.in_tims()}
    assert page.get_by_role("complementary", name="Shadow mode").count() == 0
    deeds = ready.query(
        "SELECT who, action, detail->>'note' AS note FROM ops.audit WHERE starts_with(action, 'go-live ') ORDER BY id"
    )
    assert [tuple(one) for one in deeds] == [
        ("clerk", "go-live shadow", "Wrong tax"), ("analyst", "go-live launch", "A trial with two orders"),
        ("analyst", "go-live release", None),
    ]  # fmt: skip
    assert page.problems == clerk.problems == []  # type: ignore[attr-defined]


def test_the_pages_are_for_keys_for_phones_and_for_everybody(ready: Console) -> None:
    page = ready.open(ready.login("admin"), "/go-live")
    page.keyboard.press("j")
    page.keyboard.press("j")
    expect(page.locator(":focus")).to_have_attribute("data-open", "")
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile(rf"/go-live/orders(/{DAY})?$"))
    for colours in ("light", "dark"):
        page = ready.login("admin", color_scheme=colours)
        for number, path in enumerate(PAGES):
            ready.open(page, path)
            shot(page, f"go_live_{number}_{colours}")
            assert axe(page) == [], path
    phone = ready.login("admin", **PHONE)
    for number, path in enumerate(PAGES):
        ready.open(phone, path)
        shot(phone, f"go_live_{number}_phone")
        assert phone.evaluate("document.documentElement.scrollWidth") <= 390, path
    assert phone.problems == page.problems == []  # type: ignore[attr-defined]
