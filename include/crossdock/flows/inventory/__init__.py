"""Inventory: TIMS's free stock -> the quantities that Channel Advisor offers, and those of single sites' listings.

What makes it special: units of orders that have been read and that TIMS does not have yet are held back, so that
nothing is sold twice while orders wait, fail or are dead letters. In: TIMS's quantities; items, products, centers.
Never: a write to a center that a marketplace manages; a relative change; a quantity that was sent already.
"""

from __future__ import annotations

import dataclasses
from datetime import timedelta

import msgspec

from crossdock.flow import Flow, RecordKey, Resource
from crossdock.flows.inventory import drift, load, requeue, transform
from crossdock.flows.orders import ORDERS
from crossdock.reference import channel, tims
from crossdock.rules import offer_settings
from crossdock.store.tables import (
    raw_quantities,
    stage_channel_quantity,
    stage_channel_quantity_line,
)


class _Quantity(msgspec.Struct):
    SKU: str
    Locations: msgspec.Raw
    RowVersion: int
    ModifiedAt: str


_quantity = msgspec.json.Decoder(_Quantity)


def read_key(record: msgspec.Raw) -> RecordKey:
    """Reads SKU and moment of the last change. AsOf differs in every answer, so only figures and version count."""
    row = _quantity.decode(record)
    return RecordKey(row.SKU, row.ModifiedAt, same=b"%d %s" % (row.RowVersion, bytes(row.Locations)))


INVENTORY = Flow(
    name=requeue.NAME,
    title="Inventory",
    entity=transform.ENTITY,
    source=Resource(
        "tims", "inventory/quantities", raw_quantities, read_key, "Quantity",
        overlap=timedelta(minutes=1), lag=timedelta(seconds=2), one="inventory/items/{key}/quantity",
        ids=("SKU",),
    ),
    target="channel_advisor",
    reference=(
        tims.ITEMS,
        channel.PRODUCTS,
        channel.CENTERS,
        dataclasses.replace(channel.LISTINGS, wanted=lambda can: can.listings and bool(offer_settings.load().sites)),
    ),
    also_reads=("channel_advisor.inventory",),
    lines_path="Locations",
    stage=stage_channel_quantity,
    stage_lines=stage_channel_quantity_line,
    mappings=("inventory",),
    transform=transform.transform,
    suite="inventory",
    enrich_for_checks=transform.enrich_for_checks,
    load=load.load,
    requeue=requeue.requeue,
    prefetch=(ORDERS,),
    snapshot_target=drift.snapshot_target,
    find_drift=drift.find_drift,
    follows=("prices",),
    offers=True,
)  # fmt: skip

FLOWS = (INVENTORY,)
