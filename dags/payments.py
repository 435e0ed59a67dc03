"""
### Payments: settled orders → TIMS receivables

**Reads** what settlements paid for orders, hourly and whenever payouts or invoices have been loaded; open invoices and
credit memos.
**Writes** a payment for each order of a settlement, applied to its invoices and credit memos: exact first, then within
the tolerance (0.01 a line, 0.05 an order; the difference goes to Rounding). The rest is an exception with candidates: a
dead letter, never a plug.

**By hand:** *Trigger* with *From*/*To* reads a window, with *Keys* single records. *Backfill* reads past intervals.
Neither moves the watermark, and neither does anything twice.

**When a task has failed:** read the last line of its log; it says what to do. Then clear the task. An order that is not
invoiced yet waits and comes along by itself.
"""

from airflow.sdk import dag

from crossdock_airflow.tasks import asked_by_hand, every, five_steps


@dag(
    description="what was settled for an order, applied to its documents",
    schedule=every("15 * * * *", or_when_loaded=["payouts", "invoices", "returns"]),
    **asked_by_hand(__doc__, "payments", "tims"),
)
def payments():
    five_steps("payments", source="tims", target="tims")


payments()
