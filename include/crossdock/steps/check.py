"""Check: staged documents of a batch -> ready, or dead letters with every reason.

In: a batch id. Out: a state on every staged row, and the stored result of the suite. A batch over its reject threshold
stops here and nothing of it is loaded. Rerun: same verdict.
In shadow mode a record that would have been made stays so where a live flow would not stumble over what came later.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import pandas as pd
import sqlalchemy as sa

from crossdock import settings
from crossdock.errors import BatchStopped
from crossdock.flow import Flow
from crossdock.mapping import problems as finding
from crossdock.mapping.frames import LINE, ROW, Frames
from crossdock.steps import held, modes, suites
from crossdock.steps.at_work import at_work
from crossdock.store import alerts, batches, database, dead_letters
from crossdock.store.batches import Counts
from crossdock.store.runs import Over
from crossdock.store.tables import ops_batch, ops_check_result

if TYPE_CHECKING:
    from crossdock.runtime import Runtime

log = logging.getLogger(__name__)

# Rules that a document may break only because transform left its fields empty: no reasons of their own then.
CONSEQUENCES = (
    "missing_field", "unknown_sku", "blocked_item", "unknown_customer", "inactive_customer", "unknown_code",
    "shipping_discount_too_high",
)  # fmt: skip


def check(
    runtime: Runtime,
    flow: Flow,
    batch_id: int,
    *,
    accept_rejects: bool = False,
    run_id: str = "",
    over: Over | None = None,
) -> Counts:
    """Checks the batch's staged rows. Returns the counts afterwards.

    Raises BatchStopped for a batch over its reject threshold, unless `accept_rejects` lets it go on. A replay has no
    threshold: each of its records was refused before, so how many are refused again is no sign of a broken mapping.
    """
    started = time.monotonic()
    with at_work(runtime, flow, batch_id, "check", run_id, over):
        shadow = modes.now(runtime.engine, flow.name).shadow
        with runtime.engine.begin() as connection:
            frames = staged(connection, flow, batch_id)
            problems, result = earlier(frames.header), None
            if len(frames.header):
                found, result = suites.run(flow.suite, flow.enrich_for_checks(connection, frames))
                problems = finding.concat([problems, independent(found, problems)])
            reasons = reasons_by_key(frames.header["key"], problems)
            stays = held.later(connection, flow, batch_id, reasons) if shadow else {}
            problems = problems[~problems["_row"].map(frames.header["key"]).isin(list(stays))]
            stopped = None
            if result is not None:
                rejected = problems["_row"].nunique()
                _keep_result(connection, flow, batch_id, result, len(frames.header), rejected)
                free = accept_rejects or _is_replay(connection, batch_id)
                stopped = None if free else _over_threshold(flow, batch_id, frames, problems)
        with runtime.engine.begin() as connection:
            if stopped:
                alerts.raise_alert(
                    connection, kind="batch_stopped", key=f"{flow.name}:{batch_id}", flow=flow.name,
                    title=f"{flow.title}: batch {batch_id} stopped before loading", body=str(stopped),
                )  # fmt: skip
            else:
                held.stay(connection, flow, batch_id, stays)
                _judge(connection, flow, batch_id, frames, problems)
            batches.stop(connection, batch_id, stopped=stopped is not None)
            counts = batches.recount(connection, batch_id, flow.stage, "check", time.monotonic() - started)
    if stopped:
        raise stopped
    log.info("check of batch %s: %s", batch_id, counts)
    return counts


def staged(
    connection: sa.Connection,
    flow: Flow,
    batch_id: int,
    states: tuple[str, ...] = ("staged",),
    keys: Sequence[str] | None = None,
) -> Frames:
    """Reads the batch's documents in these states as frames: headers by key, lines by `_row` and position. `keys`: of
    these records alone."""
    stage, lines = flow.stage, flow.stage_lines
    wanted = [stage.c.batch_id == batch_id, stage.c.state.in_(states)]
    if keys is not None:
        wanted.append(stage.c.key == sa.any_(sa.bindparam("keys", list(keys), type_=sa.ARRAY(sa.Text))))
    header = database.copy_out(connection, sa.select(stage).where(*wanted).order_by(stage.c.key))
    if lines is None:
        return Frames(header, pd.DataFrame({ROW: pd.Series(dtype="int64"), LINE: pd.Series(dtype="int64")}))
    body = database.copy_out(
        connection,
        sa.select(lines)
        .where(lines.c.key.in_(sa.select(stage.c.key).where(*wanted)))
        .order_by(lines.c.key, lines.c.position),
    )
    row = pd.Series(range(len(header)), index=pd.Index(header["key"]), dtype="int64")
    body.insert(0, ROW, row.reindex(body["key"]).to_numpy(dtype="int64"))
    body.insert(1, LINE, body["position"].to_numpy(dtype="int64"))
    return Frames(header, body)


def earlier(header: pd.DataFrame) -> pd.DataFrame:
    """Reads the problems that transform has noted in the stage rows."""
    rows = [
        {"_row": row, **problem}
        for row, text in header.loc[header["problems"] != "[]", "problems"].items()
        for problem in database.from_json(text)
    ]
    return pd.DataFrame(rows, columns=list(finding.COLUMNS)) if rows else finding.empty()


def independent(found: pd.DataFrame, before: pd.DataFrame) -> pd.DataFrame:
    """Drops findings of the suite that only follow from a problem which transform found in the same record."""
    existing = set(zip(before["_row"], before["rule"], strict=True))
    broken = set(before["_row"])
    keep = [
        (row, rule) not in existing and not (row in broken and rule in CONSEQUENCES)
        for row, rule in zip(found["_row"], found["rule"], strict=True)
    ]
    return found[keep]


def _over_threshold(flow: Flow, batch_id: int, frames: Frames, problems: pd.DataFrame) -> BatchStopped | None:
    limits = settings.flow(flow.name)
    rejected, total = problems["_row"].nunique(), len(frames.header)
    if rejected < limits.reject_at_least or rejected <= limits.reject_share * total:
        return None
    rules = problems.drop_duplicates(["_row", "rule"])["rule"].value_counts()
    most = ", ".join(f"{rule} ({count})" for rule, count in rules.head(5).items())
    return BatchStopped(
        f"{rejected} of {total} records of batch {batch_id} break a rule: {most}. More than "
        f"{limits.reject_share:.0%} stops a batch, for the cause is then rarely the records.",
        do="Look for a broken mapping, lookup or master; mend it and clear the transform task. If the records are "
        f"really to blame: `crossdock check {flow.name} --batch {batch_id} --accept-rejects`, then load and confirm.",
    )


def _judge(connection: sa.Connection, flow: Flow, batch_id: int, frames: Frames, problems: pd.DataFrame) -> None:
    """Makes dead letters of rows with problems and sets the others `ready`. Closes dead letters of rows that are left
    out, and of those that wait: no rule refuses them any more."""
    stage = flow.stage
    mine = sa.and_(stage.c.batch_id == batch_id, stage.c.state == "staged")
    dead_letter(connection, flow, batch_id, "check", reasons_by_key(frames.header["key"], problems))
    connection.execute(sa.update(stage).where(mine).values(state="ready"))
    replay = _is_replay(connection, batch_id)
    for state, by_replay in (("left_out", False), ("waiting", replay)):
        keys = sa.select(stage.c.key).where(stage.c.batch_id == batch_id, stage.c.state == state)
        dead_letters.close_resolved(connection, flow.name, connection.scalars(keys).all(), replay=by_replay)


def _is_replay(connection: sa.Connection, batch_id: int) -> bool:
    return connection.scalar(sa.select(ops_batch.c.kind).where(ops_batch.c.id == batch_id)) == "replay"


def reasons_by_key(keys: pd.Series, problems: pd.DataFrame) -> dict[str, list[dict]]:
    """Collects {key: [reason]} of the rows with problems, each reason once."""
    unique = problems.drop_duplicates(["_row", "line", "field", "rule", "value"])
    names = keys.tolist()
    return {names[row]: found for row, found in finding.by_row(unique).items()}


def dead_letter(
    connection: sa.Connection, flow: Flow, batch_id: int, step: str, reasons: dict[str, list[dict]]
) -> None:
    """Makes dead letters of stage rows of a batch, with every reason and the payload as received."""
    if not reasons:
        return
    stage, keys = flow.stage, list(reasons)
    connection.execute(
        sa.update(stage)
        .where(
            stage.c.batch_id == batch_id,
            stage.c.key == sa.any_(sa.bindparam("keys", keys, type_=sa.ARRAY(sa.Text))),
        )
        .values(state="dead")
    )
    dead_letters.dead_letter_records(
        connection, flow.source.raw, reasons, flow=flow.name, entity=flow.entity, batch_id=batch_id, step=step
    )


def _keep_result(connection: sa.Connection, flow: Flow, batch_id: int, result: dict, rows: int, rejected: int) -> None:
    connection.execute(sa.delete(ops_check_result).where(ops_check_result.c.batch_id == batch_id))
    connection.execute(
        sa.insert(ops_check_result).values(
            batch_id=batch_id, suite=flow.suite, success=rejected == 0, rows=rows, rejected=rejected, result=result
        )
    )
