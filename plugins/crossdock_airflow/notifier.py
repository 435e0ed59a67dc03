"""Alerts out of Airflow: every one in `ops.alert` and the log, and to any channel that is configured.

In: a task's failure after its last try, or alerts that steps and the watch have noted. Out: first a row and a log line,
then a message by Apprise (mail, Slack, Teams, ...) where the connection `crossdock_alerts` exists. What cannot be sent
from where it is noted is sent by the next task that may, the DAG `watch` at the latest.
Never: the same alert twice within its window; a failure of its own that hides the one it reports.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseHook, BaseNotifier
from airflow.sdk.exceptions import AirflowNotFoundException

if TYPE_CHECKING:
    import sqlalchemy as sa

CHANNEL = "crossdock_alerts"  # an Apprise connection: {"config": {"path": "slack://...", "tag": "all"}} in its extra
SYSTEM_ALERTS = {
    "AuthError": "auth",
    "ConfigError": "config",
    "CircuitOpen": "system_down",
    "BadResponse": "bad_answer",
}

log = logging.getLogger(__name__)


class Alert(BaseNotifier):
    """Notes a failed task as an alert and sends what is not sent yet."""

    def notify(self, context: Any) -> None:
        from crossdock.errors import BatchStopped, ControlFailed
        from crossdock.store import alerts
        from crossdock_airflow.connections import runtime

        error = context.get("exception")
        reported = _text(error)
        task = context["ti"]
        log.error("Alert: %s.%s failed: %s", task.dag_id, task.task_id, reported)
        with runtime() as opened:
            if not isinstance(error, (BatchStopped, ControlFailed)):  # whose alert is noted already, with more to say
                with opened.engine.begin() as connection:
                    alerts.raise_alert(connection, **_alert(task, error, reported))
            send(opened.engine)


async def late(dag: str, after: str) -> None:
    """Notes that a run has not ended by its deadline. Airflow's triggerer calls it, which may look connections up; a
    callback in the executor may not."""
    log.error("Alert: %s has not ended %s after its start", dag, after)
    await asyncio.to_thread(_note_late, dag, after)


def _note_late(dag: str, after: str) -> None:
    from crossdock.store import alerts
    from crossdock_airflow.connections import runtime

    with runtime() as opened:
        with opened.engine.begin() as connection:
            alerts.raise_alert(
                connection,
                kind="late",
                key=dag,
                flow=dag,
                title=f"{dag} has not ended {after} after its start",
                body=f"Look at the run of {dag} in Airflow: which task runs or waits, and for what?",
            )
        send(opened.engine)


def _alert(task: Any, error: Any, reported: str) -> dict[str, Any]:
    """One alert per system for what concerns the system, else one per task."""
    kind = SYSTEM_ALERTS.get(type(error).__name__, "task_failed")
    system = getattr(error, "system", None)
    where = f"{task.dag_id}.{task.task_id}"
    return {
        "kind": kind,
        "key": system if kind != "task_failed" and system else where,
        "flow": task.dag_id,
        "title": f"{where} failed after its last try",
        "body": f"{reported}\nRun {task.run_id}. See the task's log in Airflow.",
    }


def _text(error: Any) -> str:
    """The text of an alert. The library's errors are written for people; others may quote data: only their type."""
    from crossdock.errors import CrossdockError

    if isinstance(error, CrossdockError):
        return str(error)
    return f"{type(error).__name__} (see the log)" if isinstance(error, BaseException) else "it was ended from outside"


def send(engine: sa.Engine) -> int:
    """Sends alerts that no channel has taken yet; how many. Without a channel they stay in `ops.alert` and the log.
    Where this process may not look the channel up, or sending fails, they are sent later by another."""
    try:
        return _send(engine)
    except Exception as error:  # the alerts are stored already; their own error comes first
        log.warning(
            "Alerts could not be sent from here (%s); the next run of the DAG watch tries.", type(error).__name__
        )
        return 0


def _send(engine: sa.Engine) -> int:
    import apprise
    from airflow.providers.apprise.hooks.apprise import AppriseHook

    from crossdock.store import alerts, database

    try:
        channel_connection = BaseHook.get_connection(CHANNEL)
    except AirflowNotFoundException:
        return 0
    channel = apprise.Apprise()
    AppriseHook(apprise_conn_id=CHANNEL).set_config_from_conn(conn=channel_connection, apprise_obj=channel)
    sent = 0
    with database.lock(engine, "alerts"):
        with engine.connect() as connection:
            waiting = alerts.unsent(connection)
        for alert in waiting:
            kind = apprise.NotifyType.FAILURE if alert.severity == "alert" else apprise.NotifyType.WARNING
            if not channel.notify(title=f"Crossdock: {alert.title}", body=alert.body, notify_type=kind, tag="all"):
                log.warning("The channel %s did not take alert %s; it is sent again later.", CHANNEL, alert.id)
                break
            with engine.begin() as connection:
                alerts.mark_sent(connection, [alert.id])
            sent += 1
    return sent
