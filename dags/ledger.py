"""
### Ledger: posted documents → journal entries

**Reads** invoices, credit memos, stock adjustments and payments of TIMS, lines of our settlement ledger and prepaid
orders, each night and whenever one of them has been loaded.
**Writes** journal entries to TIMS by the posting table (`include/config/posting.yaml`, accounts by name in
`include/config/accounts.yaml`): each once, balanced in one currency, dated in the company's time zone; a closed period
goes to the first open day with the original date kept. A voided or reversed document gets the exact mirror.

**By hand:** *Trigger* with *From*/*To* reads a window, with *Keys* single records. *Backfill* reads past intervals.
Neither moves the watermark, and neither does anything twice.

**When a task has failed:** read the last line of its log; it says what to do. Then clear the task. An entry that TIMS
refuses is a dead letter of its flow (`crossdock dead-letters list --flow ledger_invoices`).
"""

from airflow.sdk import dag, task_group

from crossdock_airflow.tasks import asked_by_hand, every, five_steps


@dag(
    description="documents → journal entries, by the posting table",
    schedule=every("30 2 * * *", or_when_loaded=["invoices", "returns", "stock_adjustments", "payouts", "payments"]),
    **asked_by_hand(__doc__, "ledger", "tims"),
)
def ledger():
    for flow in ("invoices", "credit_memos", "adjustments", "settlements", "payments", "captures"):
        task_group(group_id=flow)(five_steps)(f"ledger_{flow}", source="tims", target="tims")


ledger()
