"""
### Price approvals: a person decides

**Reads** the price changes that wait for a person (`ops.approval`), hourly and whenever prices have been loaded. With
none open the run ends at once.
**Writes** the answer onto each change: the next run of `prices` sends what was approved, exactly that price; what was
refused is not sent until the rule makes another one.

**By hand:** the task *decide* waits under *Required Actions* with a table of the changes; *Approve*, *Refuse* or
*Later*, for all of it or for the numbers in *Only*. No answer within 12 hours means *Later*: the question is put again,
with the changes that have come since. `crossdock prices approvals`, `approve` and `refuse` do the same from a shell;
a decision made there meanwhile stays. Where `console.yaml` asks for a second person on the file of a price rule, who
made the rule does not approve its prices: they stay open for somebody else. An answer that would approve nothing else
fails the task *answered*, which says so.

**When a task has failed:** read the last line of its log; it says what to do. Then clear the task.
"""

from airflow.sdk import dag

from crossdock_airflow.approvals import answered, ask, open_changes
from crossdock_airflow.tasks import dag_defaults, every


@dag(
    description="changes above 30 % or below cost are put to a person",
    schedule=every("35 * * * *", or_when_loaded=["prices"]),
    **dag_defaults(__doc__, "prices", "approval"),
)
def price_approvals():
    changes = open_changes("prices")
    decide = ask("decide", subject="Price changes that wait for you", changes="open_changes")
    changes >> decide >> answered("prices", changes, decide.output)


price_approvals()
