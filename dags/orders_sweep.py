"""
### Orders: the nightly sweep

**Reads** the orders of the last days once more, by Channel Advisor's own clock (`sweep_days` in
`include/config/flows.yaml`), for what a window may have missed: late rows, a clock that was off, a lost run.
**Writes** what `orders` writes, for records that are new to us; normally there are none and the run ends at once.
It never moves the watermark.

**When a task has failed:** as in `orders`. A sweep that delivers orders every night means that the windows of
`orders` miss some: raise their overlap or lag, and look at Channel Advisor's clock.
"""

from airflow.sdk import CronDataIntervalTimetable, dag, task_group

from crossdock_airflow.tasks import ASK, Steps, common


@dag(
    schedule=CronDataIntervalTimetable("20 3 * * *", timezone="UTC"),
    params=ASK,
    **common(__doc__, "orders", "sweep", "channel_advisor", "tims"),
)
def orders_sweep():
    steps = Steps("orders", source="channel_advisor", target="tims")

    @task_group
    def batch(batch_id: int):
        steps.transform(batch_id) >> steps.check(batch_id) >> steps.load(batch_id) >> steps.confirm(batch_id)

    batch.expand(batch_id=steps.extract(sweep=True))


orders_sweep()
