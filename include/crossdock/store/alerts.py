"""Alerts: always a row in `ops.alert` and a line in the log; the same alert is one row within its window.

Sending them further is the glue's work (`plugins/crossdock_airflow/notifier.py`): it takes the rows not yet sent.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import timedelta

import sqlalchemy as sa

from crossdock.store.tables import ops_alert as table

WINDOW = timedelta(hours=4)  # the same kind and key within it is the same alert
log = logging.getLogger("crossdock.alert")


def raise_alert(
    connection: sa.Connection,
    *,
    kind: str,
    key: str,
    title: str,
    body: str,
    flow: str | None = None,
    severity: str = "alert",
    window: timedelta = WINDOW,
) -> bool:
    """Notes an alert. True when it is a new one, False when it repeats one of the last `window` (four hours)."""
    repeated = connection.execute(
        sa.update(table)
        .where(table.c.kind == kind, table.c.key == key, table.c.last_at > sa.func.now() - window)
        .values(times=table.c.times + 1, last_at=sa.func.now(), body=body)
        .returning(table.c.id)
    ).first()
    if repeated:
        return False
    connection.execute(
        sa.insert(table).values(kind=kind, key=key, title=title, body=body, flow=flow, severity=severity)
    )
    log.log(logging.ERROR if severity == "alert" else logging.WARNING, "%s: %s", title, body)
    return True


def unsent(connection: sa.Connection) -> Sequence[sa.Row]:
    """Alerts that no channel has taken yet, oldest first."""
    return connection.execute(sa.select(table).where(table.c.sent_at.is_(None)).order_by(table.c.id)).all()


def mark_sent(connection: sa.Connection, alert_ids: Sequence[int]) -> None:
    """Notes that a channel has taken these alerts."""
    connection.execute(sa.update(table).where(table.c.id.in_(alert_ids)).values(sent_at=sa.func.now()))
