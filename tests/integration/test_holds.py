"""Holds: what a person holds, releases or cancels in TIMS reaches the channel; the channel's own word is not told back.

What every flow owes is in the battery.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest

from crossdock.watch.reconcile import reconcile
from integration.battery import Shop
from integration.builders import forward, line, place, sales_order, send
from integration.bustle import ALL
from integration.environment import Environment, found_environment
from integration.made.holds import act

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def shop(postgres_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    with found_environment(postgres_url, "holds", tmp_path_factory.mktemp("environment"), skus=ALL) as environment:
        forward(environment, environment.now + timedelta(days=1, hours=10))
        yield Shop(environment)


def order(shop: Shop, **more: object) -> str:
    key = place(shop.environment, line(), **more)
    shop.run("orders")
    shop.run("holds")
    return key


def there(shop: Shop, key: str) -> str:
    return shop.at_the_channel()[key]["OrderStatus"]


def at_the_channel(shop: Shop, key: str, **changes: object) -> None:
    document = {"ChannelAdvisorOrderID": int(key), "changes": changes}
    send(shop.environment, "channel_advisor", "order_change", document, dirty=True)


def reason(shop: Shop, number: str) -> tuple[str, str | None]:
    (row,) = shop.environment.query(f"SELECT state, reason FROM stage.hold WHERE key = '{number}'")
    return row.state, row.reason


def causes(shop: Shop, *subjects: str) -> dict[str, set[str]]:
    """What differs, with its causes over all `subjects` (holds alone), by order."""
    forward(shop.environment, shop.environment.now + timedelta(seconds=10))
    with shop.environment.runtime() as runtime:
        run = reconcile(runtime, subjects or ["holds"]).id
    found: dict[str, set[str]] = {}
    for row in shop.environment.query(f"SELECT key, subject, cause FROM ops.reconcile_difference WHERE run = {run}"):
        found.setdefault(row.key, set()).add(row.cause)
    return found


def test_a_hold_and_its_release_are_told_and_neither_comes_back(shop: Shop) -> None:
    key = order(shop)
    for n, (what, at_channel, in_tims) in enumerate(
        (("hold", "OnHold", "OnHold"), ("release", "New", "Allocated")) * 2
    ):
        act(shop, key, what)
        assert n > 1 or causes(shop, "holds", "orders") == {key: {"in flight"}}
        assert shop.run("holds") == 1
        assert there(shop, key) == at_channel
        assert shop.run("orders") == shop.run("holds") == 0
        assert sales_order(shop.environment, key)["OrderStatus"] == in_tims
        assert n > 1 or causes(shop, "holds", "orders") == {}


def test_a_cancellation_is_told_and_the_channels_own_is_not(shop: Shop) -> None:
    mine, theirs = order(shop), order(shop)
    act(shop, mine, "cancel")
    at_the_channel(shop, theirs, OrderStatus="Cancelled")
    assert shop.run("orders") == 1
    assert shop.run("holds") == 1
    assert there(shop, mine) == "Cancelled"
    number = sales_order(shop.environment, theirs)["SalesOrderID"]
    assert reason(shop, number) == ("left_out", "The channel itself has cancelled it.")
    assert shop.run("orders") == shop.run("holds") == 0
    assert causes(shop) == {}


def test_what_the_channel_has_cancelled_line_by_line_is_not_told_back(shop: Shop) -> None:
    key = order(shop)
    gone = [{"OrderItemID": int(key) * 100 + 1, "QuantityCancelled": 1}]
    at_the_channel(shop, key, OrderItems=gone)
    assert shop.run("orders") == 1
    sold = sales_order(shop.environment, key)
    assert (sold["OrderStatus"], there(shop, key)) == ("Cancelled", "New")
    assert shop.run("holds") == 0
    assert reason(shop, sold["SalesOrderID"]) == ("left_out", "The channel itself has cancelled it.")
    assert causes(shop) == {key: {"by rule"}}


def test_a_hold_of_the_channel_or_of_a_rule_is_not_told_back(shop: Shop) -> None:
    key, unpaid = order(shop), order(shop, PaymentStatus="Failed")
    at_the_channel(shop, key, OrderStatus="OnHold")
    assert shop.run("orders") == 1
    assert shop.run("holds") == 0
    numbers = [sales_order(shop.environment, one)["SalesOrderID"] for one in (key, unpaid)]
    assert [reason(shop, number) for number in numbers] == [("left_out", "The channel, or a rule, holds it.")] * 2
    found = causes(shop)
    assert (found[unpaid], found.get(key)) == ({"by rule"}, None)
    at_the_channel(shop, key, OrderStatus="New")
    assert shop.run("orders") == 1
    assert sales_order(shop.environment, key)["OrderStatus"] == "Allocated"
    assert shop.run("holds") == 0


def test_what_the_channel_has_shipped_meanwhile_is_a_dead_letter_with_advice(shop: Shop) -> None:
    key = order(shop)
    number = act(shop, key, "hold")
    at_the_channel(shop, key, OrderStatus="Shipped")
    assert shop.run("holds") == 0
    (letter,) = shop.letters("holds")
    assert (letter.key, letter.step) == (number, "load")
    assert "by hand" in letter.reasons[0]["do"]


def test_a_hold_that_somebody_takes_back_at_the_channel_is_unexplained_until_it_is_told_again(shop: Shop) -> None:
    key = order(shop)
    number = act(shop, key, "hold")
    shop.run("holds")
    at_the_channel(shop, key, OrderStatus="New")
    shop.run("orders")
    shop.run("holds")
    assert sales_order(shop.environment, key)["OrderStatus"] == "OnHold", "a person's word stays"
    assert causes(shop)[key] == {"unexplained"}
    assert shop.run("holds", kind="key", keys=[number]) == 1
    assert there(shop, key) == "OnHold"
    assert key not in causes(shop)


def test_an_order_whose_link_is_not_written_yet_waits_and_is_woken(shop: Shop) -> None:
    key = order(shop)
    act(shop, key, "hold")
    link = (
        f"UPDATE ops.link SET source_key = {{}} WHERE entity = 'sales_order' AND source_key = '{{}}{key}' RETURNING 1"
    )
    shop.environment.query(link.format(f"'not {key}'", ""))
    assert shop.run("holds") == 0
    shop.environment.query(link.format(f"'{key}'", "not "))
    assert shop.run("holds") == 1
    assert there(shop, key) == "OnHold"


def test_orders_of_others_are_left_alone(shop: Shop) -> None:
    key = order(shop)
    number = sales_order(shop.environment, key)["SalesOrderID"]
    assert reason(shop, number) == ("left_out", "Nobody holds it.")


def test_of_a_world_in_which_nobody_holds_anything_in_tims_nothing_is_told_and_all_is_explained(
    long_lived_environment: Environment,
) -> None:
    environment = long_lived_environment
    for day in ("2011-01-06", "2011-01-09", "2011-01-12"):
        environment.tick(day)
        environment.sync()
        forward(environment, environment.now + timedelta(seconds=10))
        assert environment.sync(flow="holds").delivered == 0
    held = [one for one in environment.in_tims() if one["OrderStatus"] in ("OnHold", "Cancelled")]
    assert len(held) > 3, "the channel and the rules have held and cancelled some"
    with environment.runtime() as runtime:
        assert reconcile(runtime, ["holds"]).unexplained == 0
