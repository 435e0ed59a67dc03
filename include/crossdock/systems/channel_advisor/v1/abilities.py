"""What the API v1 cannot do, in sentences for people.

In: nothing. Out: `ABILITIES`. Never: an ability that is missing without a sentence.
"""

from __future__ import annotations

from crossdock.systems.channel_advisor.protocol import Abilities

ABILITIES = Abilities(
    listings=False,
    promotions=False,
    mark_refunded=False,
    own_sites=False,
    clock_is_date=True,
    undated=("returns",),
    missing=(
        (
            "listings",
            "The API v1 has no listings. Templates and labels of Channel Advisor decide what is listed where; so the "
            "listings of catalog.yaml, and prices and quantities of single sites, are not sent. A blocked item is "
            "blocked there too, and comes off all sites.",
        ),
        (
            "promotions",
            "The API v1 has no promotional prices. A promotion's price is sent as the product's price when it starts, "
            "and the regular one when it ends, each by the first run of the flow prices after that moment.",
        ),
        (
            "mark_refunded",
            "The API v1 cannot mark a return as refunded. A return is approved, and the channel refunds it by itself.",
        ),
        (
            "own_sites",
            "The API v1 lists all sites that there are. Which of them an account sells on is known from its orders.",
        ),
    ),
)
