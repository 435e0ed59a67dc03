"""Applies the business rules to frames: money, addresses, customers, items, prices, postings, settlements.

In: frames and settings. Out: columns and problems. Never: a database, a request.
"""
