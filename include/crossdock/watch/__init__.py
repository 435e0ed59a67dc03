"""What looks after the flows from outside: freshness and reconciliation.

In: the tables of `ops`. Out: alerts. Never: changes a record.
"""
