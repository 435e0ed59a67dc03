"""
### Orders: the nightly sweep

**Reads** the orders of the last days once more, by Channel Advisor's own clock (`sweep_days` in
`include/config/flows.yaml`), for what a window may have missed: late rows, a clock that was off, a lost run.
**Writes** what `orders` writes, for records that are new to us; normally there are none and the run ends at once.
It never moves the watermark. Its interval is a day: a *Backfill* of a month of orders here is 31 runs.

**When a task has failed:** as in `orders`. A sweep that delivers orders every night means that the windows of
`orders` miss some: raise their overlap or lag, and look at Channel Advisor's clock.
"""

from airflow.sdk import dag

from crossdock_airflow.tasks import asked_by_hand, every, five_steps


@dag(
    description="reads the last 3 days once more, for what a window may have missed",
    schedule=every("20 3 * * *"),
    **asked_by_hand(__doc__, "orders", "sweep", "channel_advisor", "tims"),
)
def orders_sweep():
    five_steps("orders", source="channel_advisor", target="tims", kind="sweep")


orders_sweep()
