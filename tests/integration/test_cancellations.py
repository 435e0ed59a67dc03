"""Cancellations that are taken back, on both systems over HTTP and a real Postgres."""

from __future__ import annotations

from typing import Any

import pytest

from integration.builders import line, order, send
from integration.environment import Environment


@pytest.fixture(scope="module")
def shop(long_lived_environment: Environment) -> Environment:
    """An environment in which nothing happens but what a test does."""
    long_lived_environment.part = 10**9
    long_lived_environment.tick("2011-01-05")
    long_lived_environment.sync()
    return long_lived_environment


def changed(shop: Environment, key: str, cancelled: int, **more: Any) -> None:
    """The channel says that so many units of the first line are cancelled."""
    changes = {"OrderItems": [{"OrderItemID": int(key) * 100 + 1, "QuantityCancelled": cancelled}], **more}
    send(shop, "channel_advisor", "order_change", {"ChannelAdvisorOrderID": int(key), "changes": changes}, dirty=True)
    shop.sync()


def cancelled(shop: Environment, key: str) -> list[int]:
    (held,) = [one for one in shop.in_tims() if one["ExternalOrderID"] == key]
    return [each["QuantityCancelled"] for each in held["LineItems"]]


def reasons(shop: Environment, key: str) -> set[str]:
    letter = shop.letters().get(key)
    return {reason["rule"] for reason in letter.reasons} if letter else set()


def test_a_cancellation_that_the_channel_takes_back_is_a_dead_letter_for_tims_cannot_follow(shop: Environment):
    key = order(shop, line(quantity=7))
    changed(shop, key, 1)
    assert (cancelled(shop, key), reasons(shop, key)) == ([1], set())
    changed(shop, key, 0)
    assert cancelled(shop, key) == [1]
    assert reasons(shop, key) == {"cancel_taken_back"}
    assert "1 units of 22423" in shop.letters()[key].reasons[0]["says"]
    changed(shop, key, 2)  # once the channel says so again there is nothing to tell
    assert (cancelled(shop, key), reasons(shop, key)) == ([2], set())


def test_units_that_a_person_has_cancelled_in_tims_are_nobodys_fault(shop: Environment):
    key = order(shop, line(quantity=7))
    with shop.runtime() as runtime:
        (held,) = runtime.tims.find("sales-orders", ExternalOrderID=key)
        path = f"/sales-orders/{held['SalesOrderID']}/lines/1/cancel"
        runtime.tims.post(path, {"Quantity": 1, "Reason": "Broken"}, key=f"by-hand-{key}")
    changed(shop, key, 0, SpecialInstructions="Ring twice")
    assert (cancelled(shop, key), reasons(shop, key)) == ([1], set())
