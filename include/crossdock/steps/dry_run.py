"""Dry run: what transform and check would make of records now, with nothing written.

In: payloads, as received or as a person edits them. Out: a verdict on each, and the document that would be sent.
Never: a row, a request, a lock that outlives the call: all of it is rolled back.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from typing import Any

import pandas as pd
import sqlalchemy as sa

from crossdock.flow import Flow
from crossdock.mapping import problems as finding
from crossdock.mapping.frames import LINE, ROW, Frames
from crossdock.mapping.parse import read_documents
from crossdock.steps import suites
from crossdock.steps.check import earlier, independent, reasons_by_key, staged
from crossdock.steps.load import write_bodies
from crossdock.steps.transform import unreadable_record, write
from crossdock.store import database, registry

BATCH = -1  # no batch has this number
PATIENCE = "2s"  # for a row that a worker has under its hands just now
OWN = ("key", "batch_id", "version", "state", "reason", "content_hash", "problems", "position", ROW, LINE)


@dataclass(frozen=True)
class Verdict:
    """What would become of a record. `state`: ready, waiting, left_out or dead; `why` it waits or is left out;
    `reasons` why it is dead, as a dead letter has them; `document`: what would be sent."""

    key: str
    state: str
    why: str = ""
    reasons: list[dict[str, Any]] = field(default_factory=list)
    document: dict[str, Any] | None = None
    content_hash: str | None = None

    @property
    def passes(self) -> bool:
        return self.state != "dead"


def dry_run(
    connection: sa.Connection, flow: Flow, records: Sequence[tuple[str, datetime, bytes]], *, documents: bool = True
) -> dict[str, Verdict]:
    """Judges `records` (key, version, payload as JSON) by key, with the settings in force. `documents`: whether to make
    what would be sent, too. A record that nobody can read is dead, beside the others."""
    if not records:
        return {}
    with _one_at_a_time(connection, flow):
        return _halved(connection, flow, records, documents)


def made_before(connection: sa.Connection, flow: Flow, keys: Sequence[str], batch_id: int) -> dict[str, dict[str, Any]]:
    """The documents that a batch has made of records, by key, as load has sent them; without those that a later batch
    has made anew."""
    frames = staged(connection, flow, batch_id, registry.STATES, keys)
    return dict(zip(frames.header["key"], _documents(flow, frames), strict=True)) if len(frames.header) else {}


@contextmanager
def _one_at_a_time(connection: sa.Connection, flow: Flow) -> Iterator[None]:
    """Dry runs of a flow wait for each other, for some rows that they write and take back are of the same buyers."""
    key = database.key_of(f"dry run of {flow.name}")
    connection.execute(sa.select(sa.func.pg_advisory_lock(key)))
    try:
        yield
    finally:
        connection.execute(sa.select(sa.func.pg_advisory_unlock(key)))


def _halved(
    connection: sa.Connection, flow: Flow, records: Sequence[tuple[str, datetime, bytes]], documents: bool
) -> dict[str, Verdict]:
    """The verdicts; a record that cannot be worked at all is found by halving."""
    trial = connection.begin_nested()
    try:
        connection.execute(sa.select(sa.func.set_config("lock_timeout", PATIENCE, True)))
        return _judged(connection, flow, records, documents)
    except Exception as error:
        if not database.is_about_data(error):
            raise
        problem = database.explain(error)
    finally:
        trial.rollback()
    if len(records) == 1:
        key = records[0][0]
        return {key: Verdict(key, "dead", reasons=unreadable_record(problem))}
    half = len(records) // 2
    first = _halved(connection, flow, records[:half], documents)
    return first | _halved(connection, flow, records[half:], documents)


def _judged(
    connection: sa.Connection, flow: Flow, records: Sequence[tuple[str, datetime, bytes]], documents: bool
) -> dict[str, Verdict]:
    trial = _on_temporary_tables(connection, flow)
    keys = [key for key, _, _ in records]
    parsed = read_documents(
        [payload for _, _, payload in records], flow.source.contract, flow.source.document, lines=flow.lines_path
    )
    made = flow.transform(connection, parsed, keys, [None] * len(keys))
    moments = {key: version.isoformat() for key, version, _ in records}
    made.header.insert(0, "version", made.header["key"].map(moments).astype("str"))
    made.header.insert(0, "batch_id", BATCH)
    refused = (made.header["state"] == "dead").to_numpy()
    reasons = reasons_by_key(made.header["key"], made.problems[refused[made.problems["_row"].to_numpy()]])
    write(connection, trial, made)
    frames = staged(connection, trial, BATCH)
    problems = earlier(frames.header)
    if len(frames.header):
        found = suites.judge(flow.suite, flow.enrich_for_checks(connection, frames))
        problems = finding.concat([problems, independent(found, problems)])
    reasons |= reasons_by_key(frames.header["key"], problems)
    states = connection.execute(
        sa.select(*(trial.stage.c[name] for name in ("key", "state", "reason", "content_hash")))
    ).all()
    sent: dict[str, dict[str, Any]] = {}
    if documents:
        whole = frames if len(states) == len(frames.header) else staged(connection, trial, BATCH, registry.STATES)
        sent = dict(zip(whole.header["key"], _documents(flow, whole), strict=True))
    return {
        row.key: Verdict(
            row.key,
            "dead" if row.key in reasons else "ready" if row.state == "staged" else row.state,
            row.reason or "",
            reasons.get(row.key, []),
            sent.get(row.key),
            row.content_hash,
        )
        for row in states
    }


def _on_temporary_tables(connection: sa.Connection, flow: Flow) -> Flow:
    """The flow with stage tables of this transaction alone."""

    def copy(table: sa.Table) -> sa.Table:
        like = f"LIKE {table.fullname} INCLUDING DEFAULTS INCLUDING INDEXES"
        connection.exec_driver_sql(f"CREATE TEMP TABLE {table.name} ({like}) ON COMMIT DROP")
        return _temporary(table)

    lines = flow.stage_lines
    return dataclasses.replace(flow, stage=copy(flow.stage), stage_lines=None if lines is None else copy(lines))


@cache
def _temporary(table: sa.Table) -> sa.Table:
    """The table as it stands among the temporary ones: one object, so that statements on it are compiled once."""
    made = table.to_metadata(sa.MetaData(), schema="pg_temp")
    made.info.update(table.info)
    return made


def _documents(flow: Flow, frames: Frames) -> list[dict[str, Any]]:
    """The body of each staged row: as load writes it, where a mapping says how; else its columns that have a value."""
    mapping = flow.stage.info.get("mapping")
    header, lines = frames.header, frames.lines
    if mapping is None:
        return _rows(header, lines)
    heads = [name for name in registry.fields(flow.stage) if name in header]
    parts = None
    if flow.stage_lines is not None and flow.stage_lines.info.get("mapping") == mapping:
        parts = lines[[ROW, *(name for name in registry.fields(flow.stage_lines) if name in lines)]]
    return [database.from_json(body) for body in write_bodies(mapping, header[heads], parts)]


def _rows(header: pd.DataFrame, lines: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows as objects, with their lines."""
    below: Mapping[int, list[dict[str, Any]]] = {}
    if len(lines):
        shown = lines.drop(columns=[name for name in OWN if name in lines and name != ROW])
        below = {int(row): list(_given(part.drop(columns=ROW))) for row, part in shown.groupby(ROW)}
    shown = header.drop(columns=[name for name in OWN if name in header])
    return [{**row, **({"Lines": below[at]} if at in below else {})} for at, row in enumerate(_given(shown))]


def _given(frame: pd.DataFrame) -> Iterable[dict[str, Any]]:
    """Each row's columns that have a value. Money is in the last place of its column: shown as text with 4 places."""
    for row in frame.astype(object).where(frame.notna(), None).to_dict("records"):
        yield {str(name): value for name, value in row.items() if value is not None}
