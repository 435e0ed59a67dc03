"""
### Shipments: TIMS → Channel Advisor

**Reads** shipments of TIMS changed since the watermark, every ten minutes and whenever orders have been loaded; the
sales orders that they belong to, and what has been reported of them.
**Writes** shipments with carrier, service class and tracking number to Channel Advisor, each once (the channel's key is
SellerFulfillmentID); the order's status there follows. The parts of a kit are folded back to the kit that was sold.

**By hand:** *Trigger* with *From*/*To* reads a window, with *Keys* single records. *Backfill* reads past intervals.
Neither moves the watermark, and neither does anything twice.

**When a task has failed:** read the last line of its log; it says what to do. Then clear the task. A carrier that no
lookup knows fails no task: it is a dead letter until `include/config/lookups/carriers.csv` names it.
"""

from airflow.sdk import dag

from crossdock_airflow.tasks import asked_by_hand, every, five_steps


@dag(
    description="TIMS's shipments → Channel Advisor; parts of kits fold back",
    schedule=every("*/10 * * * *", or_when_loaded=["orders"]),
    **asked_by_hand(__doc__, "shipments", "tims", "channel_advisor"),
)
def shipments():
    five_steps("shipments", source="tims", target="channel_advisor")


shipments()
