"""Stock adjustments that people have entered by hand: how they are compared with those of the files.

In: adjustments of TIMS whose source is not ours. Out: what makes two of them one. Never: a word about one of which no
file tells: people also write off what nobody else knows of.
"""

from __future__ import annotations

from crossdock.comparison.by_hand import ByHand
from crossdock.flow import SOURCE
from crossdock.flows.returns.load import STOCK
from crossdock.flows.stock_adjustments.transform import NAME
from crossdock.reference import tims
from crossdock.store.tables import ref_adjustment

REVERSED = "Reversed"
BY_HAND = (
    ByHand(
        flow=NAME,
        entity=STOCK.entity,
        what="stock adjustments",
        resource=tims.ADJUSTMENTS,
        table=ref_adjustment,
        source=SOURCE,
        names=("ExternalReference",),
        alike=("SKU", "LocationID", "QuantityDelta", "PostingDate"),
        alike_words="item, location, units and date",
        day="PostingDate",
        ignored=("ExternalReference", "Source", "Memo"),
        theirs=ref_adjustment.c.status != REVERSED,
        tells_of_theirs=False,
    ),
)
