"""Both systems, read afresh into `ops.reading`: each list once, whatever many subjects look at it.

In: subjects, the rules. Out: rows by COPY, a few thousand at a time, so memory stays the same however long a list is.
Never: our own records of what was delivered.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from crossdock.errors import RecordRejected
from crossdock.store import database, watermarks
from crossdock.systems import limits, times
from crossdock.systems.channel_advisor import is_cut
from crossdock.watch.reconcile.base import CHANNEL_ADVISOR, SIDES, TIMS, Lists, Row, Rules, Side, Subject

if TYPE_CHECKING:
    from crossdock.runtime import Runtime

ROWS = 5_000  # a COPY
TOLD = 1_000  # records, after which is said how far it has come
VISIBLE = {CHANNEL_ADVISOR: timedelta(0), TIMS: timedelta(seconds=2)}  # after a change until every list shows it
COLUMNS = ("subject", "side", "alias", "key", "part", "facts", "version", "cause", "why")
Say = Callable[[str], None]


def clocks(runtime: Runtime, subjects: Sequence[Subject]) -> dict[str, datetime]:
    """What time it is in each system that the subjects look at, by its own clock."""
    systems = {side.source.system for subject in subjects for side in subject.sides}
    return {name: runtime.system(name).server_time() for name in sorted(systems)}


def read(
    runtime: Runtime, subjects: Sequence[Subject], rules: Rules, say: Say, since: dict[str, datetime] | None = None
) -> None:
    """All lists, or what changed in them `since`; the two systems at the same time."""
    looks: dict[Lists, list[tuple[Subject, Side]]] = {}
    for subject in subjects:
        for side in subject.sides:
            looks.setdefault(side.source, []).append((subject, side))

    def of(system: str) -> None:
        for source, wanted in looks.items():
            if source.system == system:
                start = since[system] - VISIBLE[system] if since else None
                if source.unread_by:
                    start = _read_until(runtime, source)
                _read_list(runtime, source, wanted, rules, start, say)

    systems = sorted({source.system for source in looks})
    with ThreadPoolExecutor(len(systems), "read") as pool:
        for done in [pool.submit(of, system) for system in systems]:
            done.result()


def _read_until(runtime: Runtime, source: Lists) -> datetime | None:
    """How far the flow has read the list, by the system's clock."""
    with runtime.engine.connect() as connection:
        return watermarks.position(connection, source.unread_by, f"{source.system}.{source.path}")


def _read_list(
    runtime: Runtime,
    source: Lists,
    wanted: Sequence[tuple[Subject, Side]],
    rules: Rules,
    since: datetime | None,
    say: Say,
) -> None:
    rows: list[tuple[Subject, Side, Row]] = []
    count, what = 0, f"{SIDES[source.system]}, {source.path}{', what has changed since' if since else ''}"
    for records in _pages(runtime, source, since):
        for record in records:
            count += 1
            if count % TOLD == 0:
                say(f"{what}: {count:,}")
            rows += [(subject, side, row) for subject, side in wanted for row in side.rows(record, rules)]
            if len(rows) >= ROWS:
                _keep(runtime, rows)
                rows.clear()
    _keep(runtime, rows)
    say(f"{what}: {count:,}, all")


def _pages(runtime: Runtime, source: Lists, since: datetime | None) -> Iterator[list[dict[str, Any]]]:
    system: Any = runtime.system(source.system)
    at_once = limits.load(source.system).at_once
    with ThreadPoolExecutor(at_once, "whole") as pool:
        for page in system.pages(source.path, since=since):
            raw = [bytes(record) for record in page.records]
            if source.cut:
                raw = list(pool.map(lambda one: _whole(system, source.path, one), raw))
            yield [database.from_json(one) for one in raw]


def _whole(system: Any, path: str, record: bytes) -> bytes:
    """The record with all its lines. One that is gone meanwhile stays as the list had it."""
    key, cut = is_cut(record)
    if not cut:
        return record
    try:
        return system.record(path, key)
    except RecordRejected as error:
        if error.status != 404:
            raise
        return record


def _keep(runtime: Runtime, rows: Sequence[tuple[Subject, Side, Row]]) -> None:
    if not rows:
        return
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    for subject, side, row in rows:
        cause, why = row.excuse or (None, None)
        facts = database.to_json(row.facts)
        version = times.write(times.read(row.version))  # cut, where Postgres would round up
        writer.writerow((subject.name, side.side, side.alias, row.key, row.part, facts, version, cause, why))
    buffer.seek(0)
    with runtime.engine.begin() as connection:
        # An empty text is a part that tells nothing apart; an empty cause is none.
        connection.connection.cursor().copy_expert(
            f"COPY ops.reading ({', '.join(COLUMNS)}) FROM STDIN (FORMAT csv, FORCE_NOT_NULL (key, part))", buffer
        )


def forget(connection: sa.Connection) -> None:
    """Empties what was read."""
    connection.execute(sa.text("TRUNCATE ops.reading"))
