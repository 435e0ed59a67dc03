"""
### Shadow report: what we would have made, and what people have entered

**Reads** what people have changed in TIMS, and compares the documents of the last week: those that flows in shadow mode
would have made against those that people have entered by hand meanwhile; by reference, else by what is alike.
**Writes** a report for each day and flow to `ops.shadow_day`, and each document to `ops.shadow_record`. What differs
raises a notice. What would have been sent more than `would_be_days` ago loses its content, which may be about a person.
It writes nothing to any system.

**By hand:** *Trigger*; or `crossdock shadow report --day 2026-12-01`, with `--csv` for a spreadsheet.

**When a task has failed:** TIMS did not answer. Read the last line of its log, clear the task.
"""

from airflow.sdk import dag

from crossdock_airflow.tasks import compare_shadow, dag_defaults, every


@dag(
    description="compares what flows in shadow mode would have made with what people have entered by hand",
    schedule=every("40 3 * * *"),
    **dag_defaults(__doc__, "watch", "tims"),
)
def shadow_report():
    compare_shadow()


shadow_report()
