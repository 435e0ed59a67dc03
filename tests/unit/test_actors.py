"""Warehouse, buyers and marketplaces of the sandbox act as people do, and always the same."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from sandbox import world as worlds
from sandbox.actors import warehouse
from sandbox.actors.scene import Scene
from sandbox.control import moment

LONDON = ZoneInfo("Europe/London")
WORLD = worlds.load()


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@dataclass
class FakeControl:
    """A system that holds these documents and takes in whatever it is told."""

    held: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    told: list[dict[str, Any]] = field(default_factory=list)
    clock: datetime = field(default_factory=lambda: at("2011-02-01"))

    def documents(self, kind: str, since: datetime | None = None, **where: list[Any]) -> list[dict[str, Any]]:
        return [each for each in self.held.get(kind, []) if all(each[name] in wanted for name, wanted in where.items())]

    def now(self) -> datetime:
        return self.clock

    def apply(self, events: Any) -> int:
        fresh = [event for event in events if event["id"] not in {each["id"] for each in self.told}]
        self.told += fresh
        return len(fresh)


def scene(start: str, end: str, inbox: Path = Path("nowhere"), **held: Any) -> Scene:
    systems: Any = {name: FakeControl(held.get(name, {})) for name in ("channel_advisor", "tims")}
    return Scene(WORLD, systems, at(start), at(end), inbox)


def sale(key: str = "1", *lines: tuple[int, int, int], **fields: Any) -> dict[str, Any]:
    """A sales order of TIMS; a line is (quantity, shipped, cancelled)."""
    return {
        "SalesOrderID": f"SO-{key}",
        "ExternalOrderID": key,
        "OrderDate": "2011-01-04T12:00:00Z",
        "CreatedAt": "2011-01-04T12:05:00Z",
        "OrderStatus": "Open",
        "ShippingMethod": "Standard",
        "ShippingAddress": {"CountryCode": "GB"},
        "LineItems": [
            {"LineNo": n, "Quantity": quantity, "QuantityShipped": shipped, "QuantityCancelled": cancelled}
            for n, (quantity, shipped, cancelled) in enumerate(lines or ((4, 0, 0),), start=1)
        ],
    } | fields


def with_habit(habit: str) -> str:
    """The number of an order that the warehouse treats so."""
    return next(key for key in map(str, range(1, 2000)) if _habit(key) == habit)


def _habit(key: str) -> str:
    plan = warehouse.plan(key)
    if len(plan) == 1:
        return "late" if plan[0].days else "whole"
    return "two locations" if plan[1].location == "WEST" else f"{len(plan)} parcels"


def units(bodies: list[dict[str, Any]]) -> list[dict[int, int]]:
    return [{line["SalesOrderLineNo"]: line["Quantity"] for line in body["Lines"]} for body in bodies]


class TestWarehouse:
    def test_most_orders_go_whole_on_the_next_day_within_opening_hours(self) -> None:
        key = with_habit("whole")
        assert list(warehouse.parcels(scene("2011-01-04", "2011-01-05"), sale(key))) == []
        (body,) = warehouse.parcels(scene("2011-01-05", "2011-01-06"), sale(key, (4, 0, 0), (3, 0, 0)))
        assert units([body]) == [{1: 4, 2: 3}]
        left = moment(body["ShippedAt"]).astimezone(LONDON)
        assert (left.date().isoformat(), body["LocationID"], body["Source"]) == ("2011-01-05", "MAIN", "warehouse")
        assert 8 <= left.hour < 18
        assert body["ExternalReference"].startswith("WMS-")

    def test_nothing_leaves_on_a_sunday(self) -> None:
        order = sale(with_habit("whole"), OrderDate="2011-01-08T12:00:00Z", CreatedAt="2011-01-08T12:00:00Z")
        assert list(warehouse.parcels(scene("2011-01-08", "2011-01-10"), order)) == []
        assert len(list(warehouse.parcels(scene("2011-01-10", "2011-01-11"), order))) == 1

    def test_cancelled_and_shipped_units_stay(self) -> None:
        (body,) = warehouse.parcels(
            scene("2011-01-05", "2011-01-06"), sale(with_habit("whole"), (4, 1, 2), (3, 0, 3), (2, 2, 0))
        )
        assert units([body]) == [{1: 1}]

    @pytest.mark.parametrize("habit", ["2 parcels", "3 parcels", "two locations"])
    def test_parcels_add_up_to_the_order_whatever_the_ticks(self, habit: str) -> None:
        key = with_habit(habit)
        order = sale(key, (5, 0, 0), (1, 0, 0), (3, 0, 1))
        whole = list(warehouse.parcels(scene("2011-01-05", "2011-01-20"), order))
        day, sent = at("2011-01-05"), []
        while day < at("2011-01-20"):
            for body in warehouse.parcels(scene(f"{day:%Y-%m-%d}", f"{day + timedelta(days=1):%Y-%m-%d}"), order):
                sent.append(body)
                for line in body["Lines"]:
                    order["LineItems"][line["SalesOrderLineNo"] - 1]["QuantityShipped"] += line["Quantity"]
            day += timedelta(days=1)
        assert sent == whole
        assert len(sent) == len(warehouse.plan(key))
        assert [line["QuantityShipped"] for line in order["LineItems"]] == [5, 1, 2]
        assert len({body["ExternalReference"] for body in sent}) == len(sent)
        assert {body["LocationID"] for body in sent} == ({"MAIN", "WEST"} if habit == "two locations" else {"MAIN"})

    def test_what_was_there_too_late_goes_on_the_next_open_day(self) -> None:
        order = sale(with_habit("whole"), CreatedAt="2011-01-20T00:00:10Z")
        (body,) = warehouse.parcels(scene("2011-01-20", "2011-01-21"), order)
        assert body["ShippedAt"].startswith("2011-01-20")

    def test_an_order_waits_until_its_last_change_and_the_marketplaces_own_never_go(self) -> None:
        found = {"changed": 0, "marketplace": 0}
        for order, states in WORLD.lives(end=at("2011-01-20")):
            number = str(order.id)
            external = states[-1].document["DistributionCenterTypeRollup"] == "ExternallyManaged"
            body = sale(number, OrderDate=f"{order.invoice.at:%Y-%m-%dT%H:%M:%SZ}", CreatedAt="2011-01-04T00:00:00Z")
            if external:
                found["marketplace"] += 1
                assert list(warehouse.parcels(scene("2011-01-04", "2011-03-01"), body)) == []
            elif len(states) > 1 and (last := scene("2011-01-04", "2011-01-05").settled_at(order.id)):
                found["changed"] += 1
                for parcel in warehouse.parcels(scene("2011-01-04", "2011-03-01"), body):
                    assert moment(parcel["ShippedAt"]) > last
        assert min(found.values()) > 5

    def test_some_parcels_go_by_a_carrier_that_nobody_knows_and_some_without_tracking(self) -> None:
        bodies = [
            next(iter(warehouse.parcels(scene("2011-01-05", "2011-03-01"), sale(str(key))))) for key in range(600)
        ]
        unknown = [body for body in bodies if body["Carrier"] == warehouse.UNKNOWN_CARRIER[0]]
        untracked = [body for body in bodies if body["TrackingNumber"] is None]
        assert 0 < len(unknown) < 30
        assert 10 < len(untracked) < 60

    def test_a_wrong_tracking_number_is_corrected_once_days_later(self) -> None:
        shipments = [
            {"ShipmentID": f"SH-{n}", "ExternalReference": f"WMS-{n}", "Source": "warehouse", "TrackingNumber": "X",
             "ShippedAt": "2011-01-05T10:00:00Z"}
            for n in range(200)
        ]  # fmt: skip
        systems: Any = {"channel_advisor": FakeControl(), "tims": FakeControl({"shipment": shipments})}
        days = [at("2011-01-05") + timedelta(days=n) for n in range(12)]
        counts = [
            warehouse.correct(Scene(WORLD, systems, day, day + timedelta(days=1), Path("nowhere"))) for day in days
        ]
        assert 0 < sum(counts) < 15
        assert counts[0] == 0
        assert all(event["document"]["TrackingNumber"] != "X" for event in systems["tims"].told)
