"""Two DAGs of the cluster's tests: one that is late at once, one whose task is not tried again."""

import time
from datetime import timedelta

from airflow.sdk import dag, task

from crossdock_airflow.tasks import dag_defaults, ends_within


@task
def wait() -> None:
    time.sleep(240)


@dag(dag_id="late_at_once", schedule=None, deadline=ends_within(0, "late_at_once"), **dag_defaults(None))
def late_at_once():
    wait.override(execution_timeout=timedelta(seconds=30), retries=0)()


@dag(dag_id="tried_once", schedule=None, **dag_defaults(None))
def tried_once():
    wait.override(retries=0)()


late_at_once()
tried_once()
