"""Airflow imports this in every process when it starts: the ones that run tasks import what tasks need, once."""

from crossdock_airflow import healthy as _healthy
from crossdock_airflow import preload as _preload

_preload.when_tasks_start_here()
_healthy.beat_where_celery_works()
__all__: list[str] = []
