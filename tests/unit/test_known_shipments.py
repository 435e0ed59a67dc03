"""Which of the channel's shipments TIMS has already, told from what both systems hold and nothing else."""

from __future__ import annotations

from typing import Any

from crossdock.flows.orders.transform import shipment, unknown

SHIPPED = "2011-01-05T10:00:00Z"


def sent_parcel(number: int, seller: str, units: int = 2, **more: Any) -> dict[str, Any]:
    """A shipment of the channel as the flow orders takes it."""
    document = {"ShipmentID": number, "SellerFulfillmentID": seller, "ShippedDate": SHIPPED, "Carrier": "DPD",
                "ServiceClass": "Next Day", "TrackingNumber": "GB1",
                "Items": [{"OrderItemID": 51, "Quantity": units}], **more}  # fmt: skip
    return shipment(document, {"51": 1})


def parcel(id: str, units: int = 2, **more: Any) -> dict[str, Any]:
    """A shipment of TIMS."""
    return {"ShipmentID": id, "ExternalReference": f"WMS-{id}", "Source": "warehouse", "ShippedAt": SHIPPED,
            "TrackingNumber": "GB1", "Lines": [{"ExternalLineID": "51", "Quantity": units}], **more}  # fmt: skip


def new(shipments: list[dict[str, Any]], there: list[dict[str, Any]]) -> list[str]:
    return [one["ExternalReference"] for one in unknown(shipments, there)]


def test_a_parcel_that_was_told_under_its_number_is_known_whatever_its_details_are() -> None:
    assert new([sent_parcel(3301, "70041", TrackingNumber="X9")], [parcel("SH-70041")]) == []


def test_one_that_was_recorded_is_known_by_the_channels_number_and_only_as_the_channels() -> None:
    recorded = parcel("SH-9", ExternalReference="3301", Source="ChannelAdvisor")
    assert new([sent_parcel(3301, "by-hand")], [recorded]) == []
    assert new([sent_parcel(3301, "by-hand")], [recorded | {"Source": "warehouse", "TrackingNumber": "Z"}]) == ["3301"]


def test_one_of_another_number_is_known_by_moment_tracking_and_units_together() -> None:
    assert new([sent_parcel(3301, "by-hand")], [parcel("SH-1")]) == []
    for other in ({"TrackingNumber": "GB2"}, {"ShippedAt": "2011-01-05T10:00:01Z"}):
        assert new([sent_parcel(3301, "by-hand")], [parcel("SH-1", **other)]) == ["3301"]
    assert new([sent_parcel(3301, "by-hand", 1)], [parcel("SH-1", 2)]) == ["3301"]


def test_a_parcel_stands_for_one_shipment_and_its_number_goes_first() -> None:
    both = [sent_parcel(3301, "by-hand"), sent_parcel(3302, "70041")]
    assert new(both, [parcel("SH-70041")]) == ["3301"]
    assert new(both, [parcel("SH-70041"), parcel("SH-1")]) == []


def test_what_is_recorded_is_what_tims_takes() -> None:
    (made,) = unknown([sent_parcel(3301, "by-hand")], [])
    assert made == {"ExternalReference": "3301", "ShippedAt": SHIPPED, "Carrier": "DPD", "ServiceLevel": "Next Day",
                    "TrackingNumber": "GB1", "units": {"51": 2}}  # fmt: skip
