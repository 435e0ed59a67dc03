"""
### Returns: Channel Advisor → TIMS, and resolved back

**Reads** returns changed since the watermark, every fifteen minutes; the orders, shipments and invoices they belong to.
**Writes** credit memos against the invoices that are given back, stock adjustments at the original cost for goods that
came back, and the decision (approve, mark as refunded) back to Channel Advisor.

**By hand:** *Trigger* with *From*/*To* reads a window, with *Keys* single records. *Backfill* reads past intervals.
Neither moves the watermark, and neither does anything twice.

**When a task has failed:** read the last line of its log; it says what to do. Then clear the task. A return whose order
or invoice is not here yet waits; one that asks for more than was invoiced is a dead letter.
"""

from airflow.sdk import dag

from crossdock_airflow.tasks import asked_by_hand, every, five_steps


@dag(
    description="credit memos, stock that came back, and the decision back to the channel",
    schedule=every("*/15 * * * *"),
    **asked_by_hand(__doc__, "returns", "channel_advisor", "tims"),
)
def returns():
    five_steps("returns", source="channel_advisor", target="tims")


returns()
