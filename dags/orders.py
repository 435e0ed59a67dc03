"""
### Orders: Channel Advisor → TIMS

**Reads** orders changed since the watermark (less an overlap), and the item and customer masters of TIMS for look-ups.
**Writes** customers and sales orders in TIMS, changes to those that exist, and the exported mark with the sales
order's number back to Channel Advisor. Every five minutes; `orders_sweep` reads the last days once more each night.

**By hand:** *Trigger* with *From*/*To* reads a window, with *Keys* single orders. *Backfill* reads past intervals.
Neither moves the watermark, and neither does anything twice: run them as often as you like.

**When a task has failed:** read the last line of its log; it says what to do. Then clear the task. Nothing is lost
meanwhile: the next run reads from the watermark and takes over batches that were left. An order that cannot be
loaded fails no task; it is a dead letter (`crossdock dead-letters list`). The runbook has a page for every alert.
"""

from airflow.sdk import CronDataIntervalTimetable, dag, task_group

from crossdock_airflow.tasks import ASK, Steps, common


@dag(
    schedule=CronDataIntervalTimetable("*/5 * * * *", timezone="UTC"),
    params=ASK,
    **common(__doc__, "orders", "channel_advisor", "tims"),
)
def orders():
    steps = Steps("orders", source="channel_advisor", target="tims")

    @task_group
    def batch(batch_id: int):
        steps.transform(batch_id) >> steps.check(batch_id) >> steps.load(batch_id) >> steps.confirm(batch_id)

    batch.expand(batch_id=steps.extract())


orders()
