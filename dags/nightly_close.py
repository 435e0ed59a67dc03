"""
### Nightly close: the whole day in order, then the controls

**Reads** what is new for every flow, in the order in which data travels, those of the ledger side by side; then all
documents of TIMS that the controls look at, afresh.
**Writes** what the flows write, and what every control expected and found (`ops.control`). A control that does not hold
fails the run, names the documents and alerts: every entry balances, the clearing account is what is open, Suspense is
0, TIMS's own trial balance is ours, ... (`include/config/controls/`, docs/runbook.md).

**By hand:** *Trigger* with *Period* to look at another month. `crossdock close --period` prints it all and exports the
ledger.

**When a task has failed:** read the last line of its log; it says what to do. Then clear the task: what is done already
is not done again. A run that has not ended after two hours raises an alert of its own.
"""

from airflow.sdk import chain, dag

from crossdock_airflow.tasks import PERIOD, controls, dag_defaults, ends_within, every, run_batches

THE_DAY = ("orders", "shipments", "invoices", "returns", "stock_adjustments", "payouts", "payments")
LEDGER = ("invoices", "credit_memos", "adjustments", "settlements", "payments", "captures")  # of posted documents


@dag(
    schedule=every("0 2 * * *"),
    params={"period": PERIOD},
    deadline=ends_within(2, "nightly_close"),
    **dag_defaults(__doc__, "close", "channel_advisor", "inbox", "tims"),
)
def nightly_close():
    day = [run_batches.override(task_id=flow)(flow) for flow in THE_DAY]
    ledger = [run_batches.override(task_id=f"ledger_{kind}")(f"ledger_{kind}") for kind in LEDGER]
    chain(*day, ledger, controls())


nightly_close()
