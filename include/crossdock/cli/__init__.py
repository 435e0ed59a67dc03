"""`crossdock`: every step of every flow from a shell, with the same functions that the DAGs call; a file per topic.

In: words and AIRFLOW_CONN_* in the environment. Out: what a person reads, or JSON with --json; exit code 0 only when
all went well. Never: a traceback for something a person can mend; personal data unless one record is asked for.
"""

from crossdock.cli import context
from crossdock.cli.app import EXIT_CODES, app, main
from crossdock.cli.close import print_closing
from crossdock.cli.output import err, out
from crossdock.cli.reconcile import print_reconciled

__all__ = ["EXIT_CODES", "app", "context", "err", "main", "out", "print_closing", "print_reconciled"]
