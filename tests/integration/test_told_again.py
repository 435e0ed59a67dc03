"""What a source tells again after it has told another thing that was no newer: the last thing told counts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest

from crossdock.reference import tims
from crossdock.steps.extract import Window, refresh_reference
from crossdock.store import dead_letters
from integration.builders import ITEM, OTHER, line, place
from integration.environment import Environment
from integration.foreign import Front, changed, fronted

pytestmark = pytest.mark.slow

Change = Callable[[bytes], bytes]
ORDERS, ITEMS, COMPANY = "/v2/orders", "/api/v1/inventory/items", "/api/v1/company#one"


@pytest.fixture
def fronts(environment: Environment) -> Iterator[dict[str, Front]]:
    with fronted(environment) as fronts:
        yield fronts


def replace_record(front: Front, path: str, change: Change, name: str = "") -> None:
    """Rows of this list that hold `name` are told changed."""
    front.spoil = lambda at, rows: [change(row) if at == path and name.encode() in row else row for row in rows]


def zone(environment: Environment, front: Front, name: str) -> str:
    """TIMS's time zone is set; which one is kept after the next run."""
    replace_record(front, COMPANY, changed(TimeZone=name))
    environment.sync(flow="returns")
    return environment.query("SELECT time_zone FROM ref.company")[0][0]


def test_a_time_zone_that_was_set_wrong_and_is_set_back_counts_again(
    environment: Environment, fronts: dict[str, Front]
) -> None:
    """The company has no moment of its last change."""
    names = ["Europe/London", "Asia/Tokyo", "Europe/London", "Asia/Tokyo"]
    assert [zone(environment, fronts["tims"], name) for name in names] == names


@pytest.mark.parametrize("name", ["Middle-earth/Shire", "Eastern Standard Time", "S" * 12_000, ""])
def test_a_time_zone_that_nobody_knows_is_a_dead_letter_and_the_one_before_stays(
    environment: Environment, fronts: dict[str, Front], name: str
) -> None:
    assert zone(environment, fronts["tims"], "Europe/London") == "Europe/London"
    assert zone(environment, fronts["tims"], name) == "Europe/London"
    assert "UnknownTimeZone" in environment.letters()["tims.company:company"].reasons[0]["says"]
    assert zone(environment, fronts["tims"], "Europe/London") == "Europe/London"
    assert environment.letters() == {}


def test_an_order_that_was_malformed_for_a_while_leaves_no_dead_letter_behind(
    environment: Environment, fronts: dict[str, Front]
) -> None:
    key = place(environment, line())
    environment.sync()
    for change in (changed(OrderItems=None), changed(UpdatedDate="soon"), changed(TotalPrice="much")):
        replace_record(fronts["channel_advisor"], ORDERS, change)
        environment.sync()
        assert set(environment.letters()) == {key}
        fronts["channel_advisor"].spoil = None
        environment.sync()
        assert environment.letters() == {}
        assert environment.sync().read == 0, "once"
    assert len(environment.in_tims()) == 1


def test_an_item_that_was_wrong_for_a_while_is_looked_up_as_it_is(
    environment: Environment, fronts: dict[str, Front]
) -> None:
    def looked_up() -> tuple[str, str]:
        with environment.runtime() as runtime:
            refresh_reference(runtime, tims.ITEMS, full_refresh=True)
        return tuple(environment.query(f"SELECT status, cost FROM ref.item WHERE sku = '{ITEM}'")[0])

    before = looked_up()
    replace_record(fronts["tims"], ITEMS, changed(Status="Blocked", Cost="9.99"), f'"{ITEM}"')
    assert looked_up() != before
    fronts["tims"].spoil = None
    assert looked_up() == before


def test_what_a_person_has_edited_is_not_undone_by_reading_it_again(environment: Environment) -> None:
    key = place(environment, line(OTHER), line("NO-SUCH-SKU"))
    environment.sync()
    letter = environment.letters()[key]
    fewer = {"OrderItems": letter.payload["OrderItems"][:1], "OrderItemCount": 1, "TotalPrice": 10}
    with environment.runtime() as runtime, runtime.engine.begin() as connection:
        dead_letters.edit(connection, letter.id, letter.payload | fewer, who="clerk")
    assert environment.sync(kind="replay", keys=[key]).delivered == 1
    for _ in range(2):
        environment.sync(Window(environment.now - timedelta(days=1)), kind="sweep")
        assert environment.letters() == {}
    (order,) = environment.in_tims()
    assert len(order["LineItems"]) == 1
