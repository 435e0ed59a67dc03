"""
### Orders: Channel Advisor → TIMS

**Reads** orders changed since the watermark (less an overlap), and the item and customer reference data of TIMS for
look-ups. **Writes** customers and sales orders in TIMS, changes to those that exist (of customers: e-mail, phone,
addresses), and the exported mark with the sales order's number back to Channel Advisor. Every five minutes;
`orders_sweep` reads the last days once more each night.

**By hand:** *Trigger* with *From*/*To* reads a window, with *Keys* single orders. *Backfill* reads past intervals.
Neither moves the watermark, and neither does anything twice: run them as often as you like.

**When a task has failed:** read the last line of its log; it says what to do. Then clear the task. Nothing is lost
meanwhile: the next run reads from the watermark and takes over batches that were left. An order that cannot be
loaded fails no task; it is a dead letter (`crossdock dead-letters list`). The runbook has a page for every alert.
"""

from airflow.sdk import dag

from crossdock_airflow.tasks import asked_by_hand, every, five_steps


@dag(
    description="from the watermark to the source's own clock, in batches of at most 2,000 orders → TIMS",
    schedule=every("*/5 * * * *"),
    **asked_by_hand(__doc__, "orders", "channel_advisor", "tims"),
)
def orders():
    five_steps("orders", source="channel_advisor", target="tims")


orders()
