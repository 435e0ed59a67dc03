"""Reads both systems afresh into `ops.reading`: each list once, however many subjects use it.

In: subjects, the rules. Out: rows by COPY, a few thousand at a time, so memory stays the same however long a list is.
A record of which that cannot
be told is passed over and noted. Never: our own records of what was delivered; an error because of one record.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from types import NoneType
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import sqlalchemy as sa

from crossdock import settings
from crossdock.comparison.subject import (
    CHANGED_AT,
    CHANNEL_ADVISOR,
    RECORD,
    SIDES,
    TIMS,
    Lists,
    PassedOver,
    Row,
    Rules,
    Side,
    Subject,
)
from crossdock.errors import BadResponse, RecordRejected
from crossdock.pool import Pool
from crossdock.steps import records
from crossdock.store import database, watermarks
from crossdock.systems import limits, scan, times
from crossdock.systems.channel_advisor import is_truncated
from crossdock.systems.paging import Unmade

if TYPE_CHECKING:
    from crossdock.runtime import Runtime

ROWS = 5_000  # a COPY
TOLD = 1_000  # records between two messages of progress
READ_LAG = {CHANNEL_ADVISOR: timedelta(0), TIMS: timedelta(seconds=2)}  # until every list shows a change
COLUMNS = ("subject", "side", "alias", "key", "part", "facts", "version", "cause", "why")
Say = Callable[[str], None]


def clocks(runtime: Runtime, subjects: Sequence[Subject]) -> dict[str, datetime]:
    """The time of each system that the subjects read, by its own clock."""
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
                start = since[system] - READ_LAG[system] if since else None
                if source.unread_by:
                    start = _read_until(runtime, source)
                _read_list(runtime, source, wanted, rules, start, say)

    systems = sorted({source.system for source in looks})
    with Pool(len(systems), "read") as pool:
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
    rows: list[Kept] = []
    count, what = 0, f"{SIDES[source.system]}, {source.path}{', what has changed since' if since else ''}"
    for page in _pages(runtime, source, since):
        for record in page:
            count += 1
            if count % TOLD == 0:
                say(f"{what}: {count:,}")
            rows += _rows(source, record, wanted, rules)
            if len(rows) >= ROWS:
                _keep(runtime, rows, rules.passed)
                rows.clear()
    _keep(runtime, rows, rules.passed)
    say(f"{what}: {count:,}, all")


# ---- a record ------------------------------------------------------------------------------------------------------


class Broken(dict[str, Any]):
    """A record that cannot be read: the members that can, its name, and the reason."""

    name: str = ""
    why: str = ""


def _broken(source: Lists, data: bytes, why: str) -> Broken:
    made = Broken()
    made.name, made.why = records.name(source.ids, data), why
    try:
        members = scan.members(data)
    except (ValueError, RecursionError):
        return made
    for name, value in members.items():
        with suppress(ValueError, RecursionError, msgspec.MsgspecError):
            made[name] = msgspec.json.decode(value)
    return made


def _unmade(one: Unmade) -> Broken:
    """A record of a dialect of which no document could be made."""
    made = Broken()
    made.name, made.why = one.key, one.message
    return made


def _pages(runtime: Runtime, source: Lists, since: datetime | None) -> Iterator[list[dict[str, Any]]]:
    system: Any = runtime.system(source.system)
    at_once = limits.load(source.system).at_once
    with Pool(at_once, "whole") as pool:
        for page in system.pages(source.path, since=since):
            raw = [bytes(record) for record in page.records]
            if source.truncated:
                read = list(pool.map(lambda one: _whole(system, source, one), raw))
            else:
                read = [_decoded(source, one) for one in raw]
            yield [*read, *(_unmade(one) for one in page.unmade)]


def _decoded(source: Lists, data: bytes) -> dict[str, Any]:
    if (much := records.too_much(source.system, data)) is not None:
        return _broken(source, data, much[1])
    try:
        record = database.from_json(data)
    except (ValueError, RecursionError) as wrong:
        return _broken(source, data, f"It is no JSON ({type(wrong).__name__}).")
    return record if isinstance(record, dict) else _broken(source, data, "It is no object.")


def _whole(system: Any, source: Lists, data: bytes) -> dict[str, Any]:
    """Reads the record with all its lines. One that is gone by now, or has no id, stays as the list has it."""
    listed = _decoded(source, data)
    try:
        key, truncated = ("", False) if isinstance(listed, Broken) else is_truncated(data)
        return _decoded(source, system.record(source.path, key)) if truncated else listed
    except RecordRejected as error:
        return listed if error.status == 404 else _broken(source, data, f"It cannot be read whole: {error.message}")
    except BadResponse as error:
        return _broken(source, data, error.message)


def _rows(
    source: Lists, record: dict[str, Any], wanted: Sequence[tuple[Subject, Side]], rules: Rules
) -> Iterator[Kept]:
    """What a record says to each subject. Where it cannot be compared it is passed over, and its key, where it
    has one, differs."""
    failed: dict[str, str] = {}  # why, by subject: one of its sides may need what another one does not
    for subject, side in wanted:
        why, made = record.why if isinstance(record, Broken) else "", []
        try:
            made = [] if why else [_sound(subject, side, row) for row in side.rows(record, rules)]
        except Exception as error:
            if not database.is_about_data(error):
                raise
            why = _words(error)
        if why:
            failed[subject.name] = why
            made = [_sound(subject, side, row) for row in _unread(source, side, record)]
        yield from made
    if failed or rules.passed.any:
        name = _name(source, record)
        for each in {subject.name for subject, _ in wanted}:
            if each in failed:
                rules.passed.note(each, source, name, failed[each])
            else:
                rules.passed.came_well(each, source, name)


def _words(error: Exception) -> str:
    """Why a record cannot be compared, without its values."""
    if isinstance(error, KeyError) and error.args and str(error.args[0]).isidentifier():
        return f"{error.args[0]} is missing."
    return f"A value in it is of another kind than the contract says ({type(error).__name__})."


def _name(source: Lists, record: dict[str, Any]) -> str:
    if isinstance(record, Broken):
        return record.name
    return records.name(source.ids, json.dumps(record, default=str).encode())  # a lone surrogate is escaped


def _unread(source: Lists, side: Side, record: dict[str, Any]) -> Iterator[Row]:
    """A row that differs from whatever the other side says, where the key of the record can be read."""
    try:
        key = side.key(record)
    except Exception as error:
        if not database.is_about_data(error):
            raise
        key = None
    if isinstance(key, str) and records.unfit(key) is None:
        yield Row(key, _cannot_be_read(source), _version(record.get(CHANGED_AT[source.system])))


def _cannot_be_read(source: Lists) -> dict[str, str]:
    """Facts that equal no other, so that two unreadable records differ too."""
    return {RECORD: f"cannot be read in {SIDES[source.system]}"}


def _version(named: Any) -> str:
    """When the record last changed; long ago where it does not state it."""
    try:
        return times.write(times.read(named))
    except (TypeError, ValueError):
        return times.write(records.UNKNOWN)


def _sound(subject: Subject, side: Side, row: Row) -> Kept:
    """The row as it is stored. Raises TypeError or ValueError for one that cannot be."""
    for text in (row.key, row.part, *row.facts):
        if (wrong := records.unfit(text)) is not None and (text or text is row.key):
            raise ValueError(wrong)
    for name, value in row.facts.items():
        if isinstance(value, Decimal) and not value.is_finite():
            raise ValueError("no number")
        if name in subject.summed and not isinstance(value, (int, Decimal, NoneType)):
            raise TypeError("no number")
    version = times.read(row.version)  # truncated: Postgres would round up
    if version > datetime.now(UTC) + settings.intake().clock:
        version = records.UNKNOWN  # a later version would stay the newest, and `changed since`, for ever
    cause, why = row.excuse or (None, None)
    values = (side.side, side.alias, row.key, row.part, database.to_json(row.facts), times.write(version), cause, why)
    return Kept(subject, side, values)


# ---- rows to the database ------------------------------------------------------------------------------------------


class Kept(NamedTuple):
    """The values of a row behind the name of its subject."""

    subject: Subject
    side: Side
    values: tuple[Any, ...]


def _keep(runtime: Runtime, rows: Sequence[Kept], passed: PassedOver) -> None:
    """Stores rows by COPY. One that the database refuses is found by halving, and counts as unreadable."""
    if not rows:
        return
    try:
        _copy(runtime, rows)
    except Exception as error:
        if not database.is_about_data(error):
            raise
        if len(rows) > 1:
            half = len(rows) // 2
            _keep(runtime, rows[:half], passed)
            _keep(runtime, rows[half:], passed)
            return
        ((subject, side, values),) = rows
        key = values[COLUMNS.index("key") - 1]
        passed.note(subject.name, side.source, key, f"The database cannot hold it: {database.explain(error)}")
        facts = _cannot_be_read(side.source)
        if side.side in SIDES:
            _copy(runtime, [_sound(subject, side, Row(key, facts, times.write(records.UNKNOWN)))])


def _copy(runtime: Runtime, rows: Sequence[Kept]) -> None:
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    writer.writerows((subject.name, *values) for subject, _, values in rows)
    buffer.seek(0)
    with runtime.engine.begin() as connection:
        # An empty text is a value for key and part, and NULL for a cause.
        connection.connection.cursor().copy_expert(
            f"COPY ops.reading ({', '.join(COLUMNS)}) FROM STDIN (FORMAT csv, FORCE_NOT_NULL (key, part))", buffer
        )


def forget(connection: sa.Connection) -> None:
    """Empties ops.reading."""
    connection.execute(sa.text("TRUNCATE ops.reading"))
