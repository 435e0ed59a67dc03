"""
### Inventory: TIMS → Channel Advisor

**Reads** quantities of TIMS changed since the watermark, every five minutes and whenever orders, shipments or returns
have been loaded; items of TIMS, products and centers of the channel, and our own records of orders that TIMS does not
hold yet.
**Writes** the quantity of each product that may be sold (absolute, up to 500 a request) and, where
`lookups/stock_rules.csv` says so, the quantity that a single site may show. An equal quantity is not sent again. A
center that a marketplace manages is never written.

**By hand:** *Trigger* with *From*/*To* reads a window, with *Keys* single SKUs, which are then written even if nothing
has changed. *Backfill* reads past intervals. None moves the watermark; quantities are always the present ones.

**When a task has failed:** read the last line of its log; it says what to do. Then clear the task: a repeat of an
absolute quantity does no harm.
"""

from airflow.sdk import dag

from crossdock_airflow.tasks import asked_by_hand, every, five_steps


@dag(
    description="what may be sold → Channel Advisor (docs/inventory.md)",
    schedule=every("*/5 * * * *", or_when_loaded=["orders", "shipments", "returns"]),
    **asked_by_hand(__doc__, "inventory", "tims", "channel_advisor"),
)
def inventory():
    five_steps("inventory", source="tims", target="channel_advisor")


inventory()
