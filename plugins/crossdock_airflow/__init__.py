"""The only room that knows Airflow: hooks, retry policy, task defaults, notifier, pools, assets.

In: what Airflow calls. Out: calls of the library `crossdock`, its errors as decisions about retries and alerts.
Never: a rule of the business; heavy work when a module is imported, for DAG files import from here.
"""
