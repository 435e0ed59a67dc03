"""
### Reconcile: do both systems agree?

**Reads** both systems whole, and compares them key by key: orders, totals, payment states, customers, shipments,
invoices, returns, quantities, products, prices. Our own records only explain the differences.
**Writes** counts to `ops.reconcile_run`, each difference with its cause and age to `ops.reconcile_difference`, and a
report: *Reconciliation* in the menu, or the link in the run's note. Unexplained differences raise an alert for each
subject; the run stays green, for the reading has succeeded. It corrects nothing.

**By hand:** *Trigger*, with *Subjects* for some of them only; or `crossdock reconcile --subject orders`.

**When a task has failed:** a system did not answer, or another run is reconciling. Read the last line of its log, clear
the task: it reads everything again.
"""

from airflow.sdk import dag

from crossdock_airflow.tasks import SUBJECTS, compare, dag_defaults, every


@dag(
    description="reads both systems whole and compares them: every difference with its cause and age, and a report",
    schedule=every("10 4 * * *"),
    params={"subjects": SUBJECTS},
    **dag_defaults(__doc__, "watch", "channel_advisor", "tims"),
)
def reconcile():
    compare()


reconcile()
