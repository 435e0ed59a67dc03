"""Checks the ledger: the close of a period, the controls, open items, the ledger as files.

In: TIMS's documents and entries in `ref`, the settlement ledger. Out: a closing, controls, files. Never: a posting.
"""
