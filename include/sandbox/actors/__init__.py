"""Those who act when the world goes on: the warehouse, buyers who send goods back, marketplaces that pay.

In: what the two systems hold, and the world's transactions. Out: shipments in TIMS, returns in Channel Advisor, files
in the inbox. Never: chance that differs between two runs; a look at the pipeline's own records; the same thing done
twice, however the time is cut into ticks.

| module | acts as |
|---|---|
| actor_context | what an actor sees and can do |
| warehouse | whoever packs and sends what TIMS holds, and corrects a tracking number |
| returns | buyers who send goods back, and sites that refund by themselves |
| payouts, worth | marketplaces that pay: what is in a settlement |
| settlement | what a settlement is: account, period, amounts |
| flat_files | how Amazon and eBay write it down |
| expected | what must come of it all, for whoever verifies |
| stock | whoever counts the stock: write-offs, and what a marketplace loses and finds |
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
    """Everybody does what is due after `start` and until `end`; the systems' clocks stand at `end` or later.

    Returns how often each thing was done."""
    context = ActorContext(world, controls, start, end, inbox)
    done: Counter[str] = Counter()
    for actor in ACTORS:
        done.update(actor.act(context))
    return dict(+done)
