"""
### Catalogue: TIMS → Channel Advisor

**Reads** items of TIMS changed since the watermark, every hour; the products and listings that the channel holds, and
what was last delivered of them.
**Writes** products (created, updated field by field, blocked) and, on the sites that `include/config/catalog.yaml`
names, listings (opened, paused, ended). Only what differs is sent. A field of TIMS that somebody has changed at the
channel is set back and the other value kept (`crossdock catalog conflicts`).

**By hand:** *Trigger* with *From*/*To* reads a window, with *Keys* single items. *Backfill* reads past intervals.
Neither moves the watermark, and neither does anything twice.

**When a task has failed:** read the last line of its log; it says what to do. Then clear the task. A listing that a
site refuses fails no task: it is a dead letter with the site's words.
"""

from airflow.sdk import dag

from crossdock_airflow.tasks import asked_by_hand, every, five_steps


@dag(
    description="TIMS's items → products and listings of the channel; what people changed there is set back and kept",
    schedule=every("5 * * * *"),
    **asked_by_hand(__doc__, "catalog", "tims", "channel_advisor"),
)
def catalog():
    five_steps("catalog", source="tims", target="channel_advisor")


catalog()
