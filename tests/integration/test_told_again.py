"""What a source tells again after it has told another thing that was no newer: the last thing told counts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest

from crossdock.flows import masters
from crossdock.steps.extract import Window, read_master
from crossdock.store import dead_letters
from integration.foreign import Front, changed, fronted
from integration.town import Town
from integration.trade import ITEM, OTHER, line, place

Change = Callable[[bytes], bytes]
ORDERS, ITEMS, COMPANY = "/v2/orders", "/api/v1/inventory/items", "/api/v1/company#one"


@pytest.fixture
def fronts(town: Town) -> Iterator[dict[str, Front]]:
    with fronted(town) as fronts:
        yield fronts


def told(front: Front, path: str, change: Change, name: str = "") -> None:
    """Rows of this list that hold `name` are told changed."""
    front.spoil = lambda at, rows: [change(row) if at == path and name.encode() in row else row for row in rows]


def zone(town: Town, front: Front, name: str) -> str:
    """TIMS's time zone is set; which one is kept after the next run."""
    told(front, COMPANY, changed(TimeZone=name))
    town.sync(flow="returns")
    return town.query("SELECT time_zone FROM ref.company")[0][0]


def test_a_time_zone_that_was_set_wrong_and_is_set_back_counts_again(town: Town, fronts: dict[str, Front]) -> None:
    """The company has no moment of its last change."""
    names = ["Europe/London", "Asia/Tokyo", "Europe/London", "Asia/Tokyo"]
    assert [zone(town, fronts["tims"], name) for name in names] == names


@pytest.mark.parametrize("name", ["Middle-earth/Shire", "Eastern Standard Time", "S" * 12_000, ""])
def test_a_time_zone_that_nobody_knows_is_a_dead_letter_and_the_one_before_stays(
    town: Town, fronts: dict[str, Front], name: str
) -> None:
    assert zone(town, fronts["tims"], "Europe/London") == "Europe/London"
    assert zone(town, fronts["tims"], name) == "Europe/London"
    assert "UnknownTimeZone" in town.letters()["tims.company:company"].reasons[0]["says"]
    assert zone(town, fronts["tims"], "Europe/London") == "Europe/London"
    assert town.letters() == {}


def test_an_order_that_was_malformed_for_a_while_leaves_no_dead_letter_behind(
    town: Town, fronts: dict[str, Front]
) -> None:
    key = place(town, line())
    town.sync()
    for change in (changed(OrderItems=None), changed(UpdatedDate="soon"), changed(TotalPrice="much")):
        told(fronts["channel_advisor"], ORDERS, change)
        town.sync()
        assert set(town.letters()) == {key}
        fronts["channel_advisor"].spoil = None
        town.sync()
        assert town.letters() == {}
        assert town.sync().read == 0, "once"
    assert len(town.in_tims()) == 1


def test_an_item_that_was_wrong_for_a_while_is_looked_up_as_it_is(town: Town, fronts: dict[str, Front]) -> None:
    def looked_up() -> tuple[str, str]:
        with town.runtime() as runtime:
            read_master(runtime, masters.ITEMS, afresh=True)
        return tuple(town.query(f"SELECT status, cost FROM ref.item WHERE sku = '{ITEM}'")[0])

    before = looked_up()
    told(fronts["tims"], ITEMS, changed(Status="Blocked", Cost="9.99"), f'"{ITEM}"')
    assert looked_up() != before
    fronts["tims"].spoil = None
    assert looked_up() == before


def test_what_a_person_has_edited_is_not_undone_by_reading_it_again(town: Town) -> None:
    key = place(town, line(OTHER), line("NO-SUCH-SKU"))
    town.sync()
    letter = town.letters()[key]
    fewer = {"OrderItems": letter.payload["OrderItems"][:1], "OrderItemCount": 1, "TotalPrice": 10}
    with town.runtime() as runtime, runtime.engine.begin() as connection:
        dead_letters.edit(connection, letter.id, letter.payload | fewer, who="clerk")
    assert town.sync(kind="replay", keys=[key]).delivered == 1
    for _ in range(2):
        town.sync(Window(town.now - timedelta(days=1)), kind="sweep")
        assert town.letters() == {}
    (order,) = town.in_tims()
    assert len(order["LineItems"]) == 1
