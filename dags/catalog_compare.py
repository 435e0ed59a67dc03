"""
### Catalogue: the nightly full compare

**Reads** all items of TIMS, and all products and listings of Channel Advisor. Only this finds a product that was
deleted at the channel, for its lists do not show that.
**Writes** what `catalog` writes, for items whose products or listings differ from the last delivery; normally there are
none and the run ends at once. It never moves the watermark.

**When a task has failed:** as in `catalog`. A compare that repairs something every night means that something else
writes to the channel: `crossdock catalog conflicts` names the fields.
"""

from airflow.sdk import dag

from crossdock_airflow.tasks import asked_by_hand, every, five_steps


@dag(
    description="all products and listings read whole; what is not as it should be is sent again",
    schedule=every("0 3 * * *"),
    **asked_by_hand(__doc__, "catalog", "compare", "tims", "channel_advisor"),
)
def catalog_compare():
    five_steps("catalog", source="tims", target="channel_advisor", kind="compare")


catalog_compare()
