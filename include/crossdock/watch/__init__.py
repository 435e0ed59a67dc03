"""Watches the flows from outside: freshness, reconciliation, and the configuration files.

In: the tables of `ops`. Out: alerts. Never: changes a record.
"""
