"""
### Holds: TIMS → Channel Advisor

**Reads** sales orders of TIMS changed since the watermark.
**Writes** the status of the channel's order where a person has held, released or cancelled it in TIMS. What came from
the channel itself, or what a rule holds (not paid, the marketplace ships a part), is not sent back.

**By hand:** *Trigger* with *From*/*To* reads a window, with *Keys* single records. *Backfill* reads past intervals.
Neither moves the watermark, and neither does anything twice.

**When a task has failed:** read the last line of its log; it says what to do. Then clear the task. An order that has
gone further at the channel fails no task: it is a dead letter.
"""

from airflow.sdk import dag

from crossdock_airflow.tasks import asked_by_hand, every, five_steps


@dag(
    description="holds, releases and cancellations by people in TIMS → the orders of the channel",
    schedule=every("*/10 * * * *"),
    **asked_by_hand(__doc__, "holds", "tims", "channel_advisor"),
)
def holds():
    five_steps("holds", source="tims", target="channel_advisor")


holds()
