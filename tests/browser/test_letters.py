"""The clerk's forty in a real browser: forty letters of one cause, an edit with its verdict, every role."""

from __future__ import annotations

from datetime import timedelta

import pytest
from playwright.sync_api import expect

from browser.conftest import Console, axe, read_whatever_breaks, shot
from integration.builders import forward, line, place

FORTY = 40


@pytest.fixture(scope="module")
def forty(console: Console) -> Console:
    """Forty orders of an item that TIMS does not know, and the flow has refused them."""
    shop = console.shop
    for _ in range(FORTY):
        place(shop, line("OLD-SKU", 1, "10.0000", TaxAmount="2.00"))
    forward(shop, shop.now + timedelta(minutes=10))
    read_whatever_breaks(shop)
    return console


def test_the_desk_shows_groups(forty: Console) -> None:
    page = forty.open(forty.login("clerk"), "/letters")
    expect(page.get_by_role("row").filter(has_text="OLD-SKU")).to_contain_text("40")
    shot(page, "letters")
    assert axe(page) == []
    assert page.problems == []
