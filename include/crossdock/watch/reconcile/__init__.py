"""Reconciliation: do both systems agree? Both are read afresh and compared key by key; every difference has a cause.

In: both systems, read whole; our own records only to explain a difference (dead letters, what waits, what is in a
run's hands or on its way).
Out: `ops.reconcile_run` with counts, `ops.reconcile_difference` with a row per fact that differs, an alert for each
subject with differences that nothing explains, a report. Never: a correction; a difference explained by our own record
of having delivered it.

    base.py      what a subject is                 orders.py, customers.py, fulfilment.py, catalogue.py   the subjects
    subjects.py  the list of them                  read.py       both systems -> ops.reading
    explain.py   what our own records explain      compare.py    ops.reading -> differences and counts
    run.py       one run of it all                 report.py     a run as a page

A subject is data: which lists are read, a small function from a record to (key, facts), which keys count, what explains
a difference. To add one: write it beside the others, name it in subjects.py; it needs no other change.

**What a rule makes of TIMS's values.** Quantities and prices on the channel are not TIMS's own values but what a rule
makes of them (the Stock rule, the Price rule). A subject says so in `expected`: a SELECT in a `.sql` file that gives
(key text, facts jsonb). Its facts take the place of those read from TIMS for the same key, whose version stays: what
the flow has not read yet is in flight. Keys are TIMS's SKUs in lower case; facts have the names that the subject's
functions give them.

Numbers are JSON numbers (a jsonb 12.50 equals 12.5); a fact of JSON null says nothing and is not compared.

**Two systems that live on while they are read.** Their clocks are noted first; when both have been read, what changed
since is read once more, so both sides are as of the end. Our own records are looked at as of one moment after that.
What has only just changed, and what nothing explains, is looked at again, a few times: unexplained is what was the same
at two looks in a row.
"""

from crossdock.watch.reconcile.run import Outcome, reconcile

__all__ = ["Outcome", "reconcile"]
