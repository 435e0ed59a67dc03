"""Alerts: always a row in `ops.alert` and a line in the log; the same alert is one row within its window.

Sending them further is the glue's work (`plugins/crossdock_airflow/notifier.py`): it takes the rows not yet sent. A
silence holds alerts of one kind and key back until its end: what has come up meanwhile is sent then, and what goes on
afterwards is sent once more.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from crossdock.store.tables import ops_alert as table
from crossdock.store.tables import ops_silence

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
    """Alerts that a channel should take now, oldest first: those that none has taken yet, and those that have come up
    again since a silence ended. None of those that are silenced."""
    silent = ops_silence.c.until > sa.func.now()
    back = sa.and_(table.c.last_at > ops_silence.c.until, table.c.sent_at <= ops_silence.c.until)
    return connection.execute(
        sa.select(table)
        .outerjoin(ops_silence, silenced_with())
        .where(sa.or_(table.c.sent_at.is_(None), back), silent.is_not(True))
        .order_by(table.c.id)
    ).all()


def silenced_with() -> sa.ColumnElement[bool]:
    """Joins alerts with the silence of their kind and key."""
    return sa.and_(ops_silence.c.kind == table.c.kind, ops_silence.c.key == table.c.key)


def mark_sent(connection: sa.Connection, alert_ids: Sequence[int]) -> None:
    """Notes that a channel has taken these alerts."""
    connection.execute(sa.update(table).where(table.c.id.in_(alert_ids)).values(sent_at=sa.func.now()))


def silence(
    connection: sa.Connection, kind: str, keys: Sequence[str], *, until: datetime, reason: str, who: str
) -> None:  # fmt: skip
    """Holds alerts of this kind and these keys back until then."""
    given = sa.func.unnest(sa.literal(list(keys), sa.ARRAY(sa.Text))).column_valued("key")
    values = {"kind": kind, "until": until, "reason": reason, "silenced_by": who}
    columns = [sa.literal(value, type_=ops_silence.c[name].type) for name, value in values.items()]
    row = insert(ops_silence).from_select(["key", *values], sa.select(given, *columns), include_defaults=False)
    new = {name: row.excluded[name] for name in ("until", "reason", "silenced_by")} | {"silenced_at": sa.func.now()}
    connection.execute(row.on_conflict_do_update(index_elements=["kind", "key"], set_=new))


def end_silence(connection: sa.Connection, kind: str, key: str) -> bool:
    """Ends a silence now. Whether there was one."""
    ended = (
        sa.update(ops_silence)
        .where(ops_silence.c.kind == kind, ops_silence.c.key == key, ops_silence.c.until > sa.func.now())
        .values(until=sa.func.now())
    )
    return bool(connection.execute(ended).rowcount)
