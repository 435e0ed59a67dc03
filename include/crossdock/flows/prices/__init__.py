"""Prices: what TIMS's items cost, by the price rule -> Channel Advisor's prices, promotions, and prices of listings.

What makes it special: a large change, or a price below cost, waits for a person; promotions start and end by the clock,
once each. Load reads the channel's price before it writes: it sees a price changed there, and does not send an equal
one again. Never: another price than the approved one.
"""

from __future__ import annotations

from crossdock.flow import Flow
from crossdock.flows.prices import drift, load, requeue, transform
from crossdock.reference import channel, tims
from crossdock.rules import price_settings
from crossdock.store.tables import (
    stage_price,
    stage_price_line,
)

PRICES = Flow(
    name=load.NAME,
    title="Prices",
    entity=transform.PRICE,
    source=tims.ITEMS,
    target="channel_advisor",
    reference=(tims.COMPANY, tims.ITEMS, channel.PRODUCTS, channel.LISTINGS),
    also_reads=("channel_advisor.prices",),
    lines_path="",
    stage=stage_price,
    stage_lines=stage_price_line,
    mappings=("price",),
    transform=transform.transform,
    suite="price",
    enrich_for_checks=transform.enrich_for_checks,
    load=load.load,
    requeue=requeue.requeue,
    validate_config=price_settings.load,
    snapshot_target=drift.snapshot_target,
    find_drift=drift.find_drift,
    follows=("catalog",),
    offers=True,
)  # fmt: skip

FLOWS = (PRICES,)
