"""Crossdock: keeps Channel Advisor (the channels) and TIMS (the ERP) in step.

In: connections, configuration files, windows of time. Out: documents in the other system, and a record of every
one of them. Never: imports Airflow; the glue that knows Airflow lives in `plugins/crossdock_airflow/`.
"""
