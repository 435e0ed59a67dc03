"""Plays those who act as time goes on: the warehouse, buyers who send goods back, marketplaces that pay.

In: what the two systems hold, and the world's transactions. Out: shipments in TIMS, returns in Channel Advisor, files
in the inbox. Never: chance that differs between two runs; a read of the pipeline's own records; one thing done twice,
however the time is divided into ticks.

| module | acts as |
|---|---|
| actor_context | what an actor can read and do |
| warehouse | people who pack and send TIMS's orders, and correct tracking numbers |
| returns | buyers who send goods back, and sites that refund by themselves |
| payouts, worth | marketplaces that pay: what is in a settlement |
| settlement | the parts of a settlement: account, period, amounts |
| flat_files | how Amazon and eBay write it down |
| expected | the results that a verification expects |
| clerk | people who enter the channel's orders in TIMS by hand, for as long as Crossdock is in shadow mode |
| stock | people who count the stock: write-offs, and what a marketplace loses and finds |
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

from sandbox.actors import payouts, returns, stock, warehouse
from sandbox.actors.actor_context import ActorContext
from sandbox.control import Control
from sandbox.world import World

ACTORS = (warehouse, returns, stock, payouts)


def act(world: World, controls: Mapping[str, Control], start: datetime, end: datetime, inbox: Path) -> dict[str, int]:
    """Lets every actor do what is due after `start` and until `end`; the systems' clocks stand at `end` or later.

    Returns how often each thing was done."""
    context = ActorContext(world, controls, start, end, inbox)
    done: Counter[str] = Counter()
    for actor in ACTORS:
        done.update(actor.act(context))
    return dict(+done)
