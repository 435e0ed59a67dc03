"""Extract judges the records of a dialect: those that became documents, and those that could not."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec

from crossdock.flows.orders import ORDERS
from crossdock.steps import records
from crossdock.systems.paging import Page, Unmade

NOW = datetime(2011, 1, 10, 12, tzinfo=UTC)


def order(number: int, **more: object) -> msgspec.Raw:
    slots = {"ChannelAdvisorOrderID": number, "UpdatedDate": "2011-01-10T11:00:00Z", "OrderItemCount": 0}
    return msgspec.Raw(msgspec.json.encode({**slots, "OrderItems": [], **more}))


def test_what_was_received_goes_with_its_document_and_is_in_no_hash() -> None:
    pages = [Page([order(1)], NOW, 1, [received]) for received in (b'{"ID":1,"A":1}', b'{"ID":1,"A":2}')]
    first, second = (records.judge(ORDERS.source, records.items_of(page)).records[0] for page in pages)
    assert (first.received, second.received) == (b'{"ID":1,"A":1}', b'{"ID":1,"A":2}')
    assert first.hash == second.hash == records.judge(ORDERS.source, [order(1)]).records[0].hash


def test_a_record_without_a_document_is_refused_with_its_field_and_advice() -> None:
    unmade = Unmade("7", b'{"ID":7}', "CheckoutStatus", "unknown_status", "Nobody knows it.", "Add a row.")
    judged = records.judge(ORDERS.source, records.items_of(Page([order(1)], NOW, 1, [b"{}"], [unmade])))
    assert [one.key for one in judged.records] == ["1"]
    (refused,) = judged.refused
    assert (refused.record.key, refused.record.payload) == ("7", b'{"ID":7}')
    assert (refused.field, refused.rule, refused.do) == ("CheckoutStatus", "unknown_status", "Add a row.")


def test_a_record_that_nobody_can_name_has_a_name_of_its_bytes() -> None:
    unmade = [Unmade("", data, "", "not_json", "It is no JSON.", "") for data in (b"{", b"[")]
    judged = records.judge(ORDERS.source, records.items_of(Page([], NOW, 1, [], unmade)))
    assert len({one.record.key for one in judged.refused}) == 2


def test_a_list_that_is_not_sorted_by_change_says_how_far_it_is_complete() -> None:
    page = Page([order(1)], NOW, 1, [b"{}"], complete_to=datetime(2011, 1, 9, tzinfo=UTC))
    assert records.judge(ORDERS.source, records.items_of(page)).complete_to == datetime(2011, 1, 9, tzinfo=UTC)
    assert records.judge(ORDERS.source, records.items_of(Page([order(1)], NOW, 1))).complete_to is None
