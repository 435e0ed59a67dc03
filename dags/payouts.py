"""
### Payouts: settlement files → our settlement ledger

**Reads** the inbox's settlement files: Amazon (V2 and V1 flat file), eBay, Walmart. It looks every ten minutes, for a
file has no timetable.
**Writes** verified settlements and their lines to our settlement ledger, for the payments and the ledger. A file with a
wrong total, a gap or an overlap with its neighbours, a repeated or an incomplete one is refused whole: it is a dead
letter, and nothing is posted. An accepted file moves to `done/`.

**By hand:** *Trigger* with *From*/*To* reads a window, with *Keys* single records. *Backfill* reads past intervals.
Neither moves the watermark, and neither does anything twice.

**When a task has failed:** read the last line of its log; it says what to do. Then clear the task. Replace a refused
file by a good one under the same name: it is read by itself.
"""

from airflow.sdk import dag

from crossdock_airflow.tasks import asked_by_hand, every, five_steps


@dag(
    description="settlement files of the inbox → our own settlement ledger",
    schedule=every("*/10 * * * *"),
    **asked_by_hand(__doc__, "payouts", "inbox"),
)
def payouts():
    five_steps("payouts", source="inbox", target="inbox")


payouts()
