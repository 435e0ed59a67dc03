"""What looks after the flows from outside: alerts, freshness, and later reconciliation.

In: the tables of `ops`. Out: alerts. Never: changes a record.
"""
