"""
### Stock adjustments: files of movements → TIMS

**Reads** the inbox's stock files each night: write-offs, and movements of the stock that marketplaces hold.
**Writes** stock adjustments with their reason codes to TIMS; the ledger follows.

**By hand:** *Trigger* with *From*/*To* reads a window, with *Keys* single records. *Backfill* reads past intervals.
Neither moves the watermark, and neither does anything twice.

**When a task has failed:** read the last line of its log; it says what to do. Then clear the task. A reason that
`include/config/lookups/adjustment_reasons.csv` does not know is a dead letter.
"""

from airflow.sdk import dag

from crossdock_airflow.tasks import asked_by_hand, every, five_steps


@dag(
    description="stock files of the inbox → TIMS",
    schedule=every("40 1 * * *"),
    **asked_by_hand(__doc__, "stock_adjustments", "inbox", "tims"),
)
def stock_adjustments():
    five_steps("stock_adjustments", source="inbox", target="tims")


stock_adjustments()
