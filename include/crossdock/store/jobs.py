"""Jobs that a system works on for us: kept from when they are asked for until their result is read.

In: the name of a job, the token that the system gave. Out: the token of a job that nobody has read yet, also one that
a process asked for which is gone. Never: a request to a system; a token in a log.
"""

from __future__ import annotations

from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from crossdock.store.tables import ops_remote_job as table


class Jobs:
    """The jobs of one system, shared by all processes on a database."""

    def __init__(self, engine: sa.Engine, system: str) -> None:
        self._engine, self._system = engine, system

    def find(self, name: str, within: timedelta) -> tuple[str, datetime] | None:
        """Token and start of a job that was asked for within that time; None where there is none."""
        young = table.c.asked_at > sa.func.now() - within
        with self._engine.connect() as connection:
            row = connection.execute(sa.select(table.c.token, table.c.began).where(*self._of(name), young)).first()
        return (row.token, row.began) if row else None

    def keep(self, name: str, token: str, began: datetime) -> None:
        """Keeps a job in place of an earlier one of its name. `began`: the system's clock."""
        row = insert(table).values(system=self._system, name=name, token=token, began=began)
        new = {"token": row.excluded.token, "began": row.excluded.began, "asked_at": sa.func.now()}
        with self._engine.begin() as connection:
            connection.execute(row.on_conflict_do_update(index_elements=[table.c.system, table.c.name], set_=new))

    def forget(self, name: str, token: str) -> None:
        """Deletes a job whose result was read, or never comes; another one of its name stays."""
        with self._engine.begin() as connection:
            connection.execute(sa.delete(table).where(*self._of(name), table.c.token == token))

    def _of(self, name: str) -> tuple[sa.ColumnElement[bool], ...]:
        return table.c.system == self._system, table.c.name == name
