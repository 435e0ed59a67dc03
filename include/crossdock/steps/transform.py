"""Transform: raw records of a batch -> staged target documents.

In: a batch id. Out: stage rows keyed by business key, each staged, waiting, left out or dead.
Never: calls a system; replaces a newer version of a document by an older one. Rerun: replaces the batch's rows.
"""

from __future__ import annotations

import logging
import time
import traceback
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from crossdock.flow import Flow, Staged
from crossdock.mapping.parse import read_documents
from crossdock.mapping.problems import by_row
from crossdock.steps.at_work import at_work
from crossdock.steps.check import dead_letter, reasons_by_key
from crossdock.store import alerts, batches, database, dead_letters, raw
from crossdock.store.batches import Counts
from crossdock.store.runs import Over

if TYPE_CHECKING:
    from crossdock.runtime import Runtime

log = logging.getLogger(__name__)


def transform(runtime: Runtime, flow: Flow, batch_id: int, *, run_id: str = "", over: Over | None = None) -> Counts:
    """Stages the batch's documents. Returns the counts afterwards."""
    started = time.monotonic()
    with at_work(runtime, flow, batch_id, "transform", run_id, over), runtime.engine.begin() as connection:
        rows = raw.payloads(connection, flow.source.raw, batch_id)
        if rows:
            try:
                with connection.begin_nested():
                    _stage(connection, flow, batch_id, rows)
            except Exception as error:
                if not database.is_about_data(error):
                    raise
                poison = _poison(connection, flow, batch_id, rows)
                if not 0 < len(poison) <= MOST_POISON:  # the fault is not in the records
                    raise
                if rest := [row for row in rows if row[0] not in poison]:
                    _stage(connection, flow, batch_id, rest)
                _dead_letter_poison(connection, flow, batch_id, poison)
        counts = batches.recount(connection, batch_id, flow.stage, "transform", time.monotonic() - started)
    log.info("transform of batch %s: %s", batch_id, counts)
    return counts


Row = tuple[str, str, str | None, bytes]  # of raw.payloads
MOST_POISON = 20  # per batch; where more records fail, the fault is ours


def _stage(connection: sa.Connection, flow: Flow, batch_id: int, rows: Sequence[Row]) -> None:
    keys, versions, altered, payloads = (list(column) for column in zip(*rows, strict=True))
    payloads = with_edits(connection, flow.name, keys, payloads)
    parsed = read_documents(payloads, flow.source.contract, flow.source.document, lines=flow.lines_path)
    staged = flow.transform(connection, parsed, keys, altered)
    version = dict(zip(keys, versions, strict=True))
    staged.header.insert(0, "version", staged.header["key"].map(version).astype("str"))
    staged.header.insert(0, "batch_id", batch_id)
    write(connection, flow, staged)
    _dead_letter_unreadable(connection, flow, staged, batch_id)
    for alert in staged.alerts:
        alerts.raise_alert(connection, flow=flow.name, **alert)


def _poison(connection: sa.Connection, flow: Flow, batch_id: int, rows: Sequence[Row]) -> dict[str, str]:
    """Finds {key: why} of the records that cannot be staged, by halving: each portion is staged and rolled back."""
    found: dict[str, str] = {}
    waiting = [list(rows)]
    while waiting and len(found) <= MOST_POISON:
        portion = waiting.pop()
        trial = connection.begin_nested()
        try:
            _stage(connection, flow, batch_id, portion)
        except Exception as error:
            if not database.is_about_data(error):
                raise
            if len(portion) == 1:
                place = traceback.extract_tb(error.__traceback__)[-1]  # without values: they may be personal data
                log.warning("%s: %s at %s:%s", flow.entity, type(error).__name__, place.filename, place.lineno)
                found[portion[0][0]] = database.explain(error)
            else:
                half = len(portion) // 2
                waiting += [portion[half:], portion[:half]]
        finally:
            trial.rollback()
    return found


def _dead_letter_poison(connection: sa.Connection, flow: Flow, batch_id: int, poison: Mapping[str, str]) -> None:
    """Makes dead letters of records that no rule foresaw."""
    for key, version, _ in raw.documents(connection, flow.source.raw, batch_id, list(poison)):
        dead_letters.dead_row(connection, flow.stage, key, batch_id, version)
    reasons = {key: unreadable_record(why) for key, why in poison.items()}
    dead_letter(connection, flow, batch_id, "transform", reasons)


def unreadable_record(why: str) -> list[dict]:
    """The reason of a dead letter of a record that no rule foresaw. `why`: in the database's or the parser's words."""
    return [
        {
            "field": "", "rule": "unreadable_record", "value": "", "line": "",
            "says": f"The record holds a value that cannot be worked ({why}).",
            "do": "Compare the payload with the contract: a field is of another type or far out of range. Correct it "
            "and replay the record, or ask the operator of the system to mend it.",
        }
    ]  # fmt: skip


def with_edits(connection: sa.Connection, flow: str, keys: Sequence[str], payloads: Sequence[bytes]) -> list[bytes]:
    """Merges into the payloads what people edited in dead letters of the same records."""
    edits = dead_letters.edits_to_carry(connection, flow, keys)
    if not edits:
        return list(payloads)
    result = list(payloads)
    for position, key in enumerate(keys):
        if key in edits:
            document = dead_letters.merge_edit(database.from_json(payloads[position]), *edits[key])
            result[position] = database.to_json(document).encode()
    return result


def write(connection: sa.Connection, flow: Flow, staged: Staged) -> None:
    """Upserts headers by key and replaces their lines; rows of a newer version stay as they are."""
    header = staged.header
    problems = staged.problems
    header["problems"] = _as_json(problems, len(header))
    connection.exec_driver_sql(
        f"CREATE TEMP TABLE incoming (LIKE {flow.stage.fullname} INCLUDING DEFAULTS) ON COMMIT DROP"
    )
    database.copy_in(connection, flow.stage, header, into="incoming")
    incoming = sa.table("incoming", *(sa.column(column.name, column.type) for column in flow.stage.columns))
    stage, lines_table = flow.stage, flow.stage_lines
    is_older = sa.and_(stage.c.key == incoming.c.key, stage.c.version > incoming.c.version)
    older = set(connection.scalars(sa.delete(incoming).where(is_older).returning(incoming.c.key)))
    if lines_table is not None:
        connection.execute(sa.delete(lines_table).where(lines_table.c.key == incoming.c.key))
    columns = list(header.columns)
    written = insert(stage).from_select(columns, sa.select(*(incoming.c[name] for name in columns)), False)
    given = {name: written.excluded[name] for name in columns if name != "key"}
    # Columns that transform does not fill (those of load) are reset, for the document is a new one.
    unknown = [column.name for column in stage.columns if column.name not in columns]
    rest: dict[str, Any] = dict.fromkeys(unknown, sa.literal_column("DEFAULT"))
    connection.execute(written.on_conflict_do_update(index_elements=[stage.c.key], set_=given | rest))
    if flow.stage_lines is None:
        return
    lines = staged.lines
    if older:
        lines = lines[~lines["key"].isin(older)]
    database.copy_in(connection, flow.stage_lines, lines)


def _dead_letter_unreadable(connection: sa.Connection, flow: Flow, staged: Staged, batch_id: int) -> None:
    """Makes dead letters of records that became no documents: there is nothing to check."""
    dead = (staged.header["state"] == "dead").to_numpy()
    found = staged.problems[dead[staged.problems["_row"].to_numpy()]]
    dead_letter(connection, flow, batch_id, "transform", reasons_by_key(staged.header["key"], found))


def _as_json(problems: pd.DataFrame, count: int) -> pd.Series:
    """The problems of each header row as a JSON list, "[]" where there are none. Few rows have any."""
    texts = np.full(count, "[]", dtype=object)
    for row, found in by_row(problems).items():
        texts[row] = database.to_json(found)
    return pd.Series(texts, dtype="str")
