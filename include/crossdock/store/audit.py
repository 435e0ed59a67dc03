"""The audit log: what people did. Rows are added only; the database itself refuses any other change.

In: who did what to which thing. Out: one row, with the address that the transaction was begun with. Never: a value of a
record, for the log is kept longer than personal data may be.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from crossdock.store.tables import ops_audit


def record(
    connection: sa.Connection, who: str, action: str, subject: str, detail: Mapping[str, Any] | None = None
) -> None:
    """Adds a row, e.g. action "dead-letter dismiss", subject "17"."""
    record_each(connection, who, action, {subject: detail or {}})


def record_each(connection: sa.Connection, who: str, action: str, details: Mapping[str, Mapping[str, Any]]) -> None:
    """Adds a row for each subject, with its detail."""
    rows = [{"who": who, "action": action, "subject": one, "detail": dict(of_it)} for one, of_it in details.items()]
    if rows:
        connection.execute(sa.insert(ops_audit), rows)
