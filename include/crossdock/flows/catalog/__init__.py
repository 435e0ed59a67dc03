"""The catalogue: TIMS's items -> products and listings of Channel Advisor.

What makes it special: others change the target, too. Some of its products are not ours, people edit them, sites refuse
listings; so each field is compared with the channel's, and only what differs is sent.
In: TIMS's items, the channel's products and listings. Out: products created and updated, listings opened, paused and
ended. Never: a product or listing deleted; a field that is not TIMS's; a price or a quantity.
"""

from __future__ import annotations

from crossdock.flow import Flow
from crossdock.flows.catalog import load, transform, watch
from crossdock.reference import channel, tims
from crossdock.store.tables import stage_product

CATALOG = Flow(
    name=load.NAME,
    title="Catalogue",
    entity=transform.ENTITY,
    source=tims.ITEMS,
    target="channel_advisor",
    reference=(tims.ITEMS, channel.PRODUCTS, channel.LISTINGS, channel.SITES),
    also_reads=("channel_advisor.prices",),
    lines_path="",
    stage=stage_product,
    stage_lines=None,
    mappings=(transform.MAPPING,),
    transform=transform.transform,
    suite="product",
    enrich_for_checks=transform.enrich_for_checks,
    load=load.load,
    low_priority=True,
    requeue=watch.requeue,
    snapshot_target=watch.snapshot_target,
    find_drift=watch.find_drift,
    offers=True,
)  # fmt: skip

FLOWS = (CATALOG,)
