"""Measures what Crossdock costs beside plain clients and peers: `make bench`.

In: a file of real transactions. Out: one table of ratios within one run, medians of interleaved runs in fresh
processes. Never: a sandbox server in the way, a process left behind, a number that was not measured here and now.
"""
