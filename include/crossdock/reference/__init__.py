"""Reference data: what flows look up in both systems, read beside their sources and kept in `ref`.

In: lists of TIMS and Channel Advisor. Out: the newest version of each record. Never: a delivery.
"""
