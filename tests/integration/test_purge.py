"""A marketplace's retention ends: names and streets of many orders turn null in both addresses, and orders go on."""

from __future__ import annotations

import json
from typing import Any

import pytest

from crossdock.steps.extract import Window
from integration.builders import ADDRESS, line, place, sales_order
from integration.environment import Environment
from integration.foreign import fronted
from integration.test_malformed import ORDERS, changed

pytestmark = pytest.mark.slow

GONE = dict.fromkeys(("Name", "Company", "Line1", "Line2"))
BUYER = {"CustomerID": "buyer-ada", "FirstName": None, "LastName": None, "Email": None, "Phone": None, "Company": None}


def purged(order: dict[str, Any], *, reported: bool, whole: bool) -> dict[str, Any]:
    """What is left of an order: the rest of its addresses, or nothing of them; with or without a word about it."""
    left = {name: None if whole else order[name] | GONE for name in ("ShippingAddress", "BillingAddress")}
    return left | {"CustomerInfo": BUYER, "UserDataPresent": not reported}


@pytest.mark.parametrize(("reported", "whole"), [(True, False), (False, True)])
def test_orders_whose_personal_data_are_purged_stop_nothing_and_tims_keeps_what_it_has(
    environment: Environment, reported: bool, whole: bool
):
    keys = [place(environment, line(), BillingAddress=ADDRESS) for _ in range(26)]
    environment.sync()
    assert not environment.letters()
    before = {key: sales_order(environment, key) for key in keys[:3]}
    new = [place(environment, line(), BillingAddress=ADDRESS) for _ in range(3)]

    def spoil(path: str, rows: list[bytes]) -> list[bytes]:
        documents = [(json.loads(row), row) for row in rows] if path == ORDERS else []
        return [
            changed(**purged(order, reported=reported, whole=whole), Flag="ExclamationPoint")(row)
            if str(order["ChannelAdvisorOrderID"]) in keys else row
            for order, row in documents
        ] or rows  # fmt: skip

    with fronted(environment) as fronts:
        fronts["channel_advisor"].spoil = spoil
        counts = environment.sync(Window(), kind="sweep")
    assert (counts.delivered, counts.dead, counts.in_flight) == (3, 0, 0), counts
    assert counts.unchanged >= 26
    assert not environment.letters()
    assert {key: sales_order(environment, key) for key in before} == before
    assert {each["ExternalOrderID"] for each in environment.in_tims()} == {*keys, *new}
