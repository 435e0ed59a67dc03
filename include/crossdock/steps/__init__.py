"""The five steps of every flow: extract, transform, check, load, confirm; one file each.

A step takes a runtime, a flow and a batch id, and can be rerun alone. The DAGs and the command line call only these
functions. Data waits in Postgres between them; a step hands the next one a batch id, never a frame.
"""
