"""
### Nightly close: the whole day in order, then the controls

**Reads** what is new for every flow, in the order in which data travels, those of the ledger side by side; then again
all documents of TIMS that the controls check.
**Writes** what the flows write, and what every control expected and found (`ops.control`). A control that does not hold
fails the run, names the documents and alerts: every entry balances, the clearing account is what is open, Suspense is
0, TIMS's own trial balance is ours, ... (`include/config/controls/`, docs/runbook.md).

**By hand:** *Trigger* with *Period* to look at another month. `crossdock close --period` prints it all and exports the
ledger.

**When a task has failed:** read the last line of its log; it says what to do. Then clear the task: nothing is done
twice. A run that has not ended after two hours raises an alert of its own.
"""

import json
from itertools import pairwise
from pathlib import Path

from airflow.sdk import cross_downstream, dag

from crossdock_airflow.tasks import PERIOD, controls, dag_defaults, ends_within, every, run_batches

# The flows in the order in which data travels; those of one group side by side. `make docs` writes it from the flows.
GROUPS = json.loads(Path(__file__).with_suffix(".json").read_text(encoding="utf-8"))


@dag(
    description="all of it in order, then the controls",
    schedule=every("0 2 * * *"),
    params={"period": PERIOD},
    deadline=ends_within(2, "nightly_close"),
    **dag_defaults(__doc__, "close", "channel_advisor", "inbox", "tims"),
)
def nightly_close():
    groups = [[run_batches.override(task_id=flow)(flow) for flow in group] for group in GROUPS]
    for before, after in pairwise([*groups, [controls()]]):
        cross_downstream(before, after)


nightly_close()
