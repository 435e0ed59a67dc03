"""The reconciliation reads orders that lack what a document may lack."""

from __future__ import annotations

from crossdock.watch.reconcile.customers import _named


def test_an_order_without_any_part_that_names_its_buyer_names_nobody() -> None:
    assert not _named({})
    assert not _named({"CustomerInfo": None, "ShippingAddress": {"Line1": "1 High Street"}})


def test_a_billing_address_alone_names_the_buyer() -> None:
    assert _named({"BillingAddress": {"Name": "Una Still"}})
