"""Flows are found by themselves, in the order in which data travels."""

from __future__ import annotations

import pytest

from crossdock import flows
from crossdock.errors import ConfigError
from crossdock.settings import PROJECT

PACKAGES = {path.parent.name for path in (PROJECT / "include" / "crossdock" / "flows").glob("*/__init__.py")}


def test_every_package_is_found_and_nothing_else() -> None:
    assert set(flows.packages().values()) == PACKAGES
    assert set(flows.packages()) == set(flows.all_flows())


def test_a_flow_comes_after_those_that_it_follows_and_what_is_offered_after_all_money() -> None:
    order = list(flows.all_flows())
    for flow in flows.all_flows().values():
        assert all(order.index(before) < order.index(flow.name) for before in flow.follows), flow.name
    offers = [flow.offers for flow in flows.all_flows().values()]
    assert offers == sorted(offers)
    assert {"catalog", "prices", "inventory"} <= set(order) - set(flows.order_to_cash())


def test_the_close_takes_the_flows_in_their_order_and_those_of_one_package_side_by_side() -> None:
    groups = flows.side_by_side()
    assert [name for group in groups for name in group] == list(flows.order_to_cash())
    assert [{"ledger"} if "ledger" in name else {name} for name in ("orders", "shipments", "ledger_invoices")] == [
        {flows.packages()[name] for name in group}
        for group in groups
        if {"orders", "shipments", "ledger_invoices"} & set(group)
    ]


def test_a_flow_that_follows_one_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from crossdock.flows import orders

    monkeypatch.setattr(orders, "FLOWS", (flows.get("orders"), *(_following("shipment"),)))
    with pytest.raises(
        ConfigError, match=r"The flow strange follows shipment, and there is none. Did you mean shipments"
    ):
        flows.all_flows()


def test_a_package_without_flows_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from crossdock.flows import orders

    monkeypatch.delattr(orders, "FLOWS")
    with pytest.raises(ConfigError, match=r"The package crossdock.flows.orders has no FLOWS"):
        flows.all_flows()


def _following(name: str) -> flows.Flow:
    from dataclasses import replace

    return replace(flows.get("orders"), name="strange", follows=(name,))
