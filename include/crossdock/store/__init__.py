"""Postgres: tables, migrations, bulk in and out, batches, watermarks, deliveries, links, dead letters.

In: rows and frames from the steps. Out: the same, exactly, and the counts that must add up.
Never: talks to another system, or decides a business rule.
"""
