"""Where a record stands: one sentence and the next step, whatever has become of it.

In: a flow and the key of a record in its source. Out: a `Standing`. Never: personal data; a record without a next step
that is not where it should be.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from crossdock import flows, settings
from crossdock.flow import Flow
from crossdock.rules.statuses import CANCELLED_FIRST
from crossdock.services import replays
from crossdock.services.wording import in_words
from crossdock.store.dead_letters import OPEN
from crossdock.store.tables import (
    ops_batch,
    ops_circuit,
    ops_dead_letter,
    ops_delivery,
    ops_link,
    ops_watermark,
    ops_work,
    raw_sales_orders,
    ref_sales_order,
    stage_sales_order,
)
from crossdock.systems.failures import NAMES

BY_ITSELF = "Nothing is to be done: it goes on by itself."
TARGETS = {**NAMES, "settlement_ledger": "our settlement ledger"}


@dataclass(frozen=True)
class Standing:
    """Where a record stands in one flow. `state`: good, warn, bad or none; `action`: what a button does (read: by
    its key, now; accept: go on with its stopped batch; letter: replay its dead letter; reopen: open it again)."""

    flow: str
    title: str
    dag: str
    key: str
    state: str
    sentence: str
    do: str = ""
    action: str = ""
    letter: int | None = None
    batch_id: int | None = None
    since: datetime | None = None
    rule: str = ""


def standing(connection: sa.Connection, flow: Flow, key: str, *, main: bool = True) -> Standing:
    """Where the newest version of a record stands. `main`: what a page is about; that a rule leaves out what only goes
    with it is as it should be."""
    letter = _letter(connection, flow, key)
    if letter is not None and letter.state in OPEN:
        return _refused(connection, flow, key, letter)
    stage = flow.stage.c
    row = connection.execute(
        sa.select(stage.state, stage.reason, stage.batch_id, stage.version).where(stage.key == key)
    ).one_or_none()
    if letter is not None and letter.state == "dismissed" and (row is None or row.state == "dead"):
        return _closed(flow, key, letter)
    work = _work(connection, flow, key)
    if work is None:
        return _never_read(connection, flow, key)
    if work.batch_id is None:
        return _made(
            flow, key, "warn", "It has been read and waits for the next run of the flow.",
            "It goes on by itself with the next run; or have it worked now.", action="read", since=work.queued_at,
        )  # fmt: skip
    batch = connection.execute(sa.select(ops_batch).where(ops_batch.c.id == work.batch_id)).one_or_none()
    if batch is not None and batch.finished_at is None and (row is None or row.state in ("staged", "ready")):
        return _in_flight(connection, flow, key, batch)
    if row is None:
        return _made(flow, key, "warn", "It was read, and no document has been made of it.",
                     "Have it worked again.", action="read", since=work.queued_at)  # fmt: skip
    if row.state == "dead" and letter is not None:
        return _closed(flow, key, letter)
    return _ended(connection, flow, key, row, batch, main)


def _made(flow: Flow, key: str, state: str, sentence: str, do: str = "", *, action: str = "", **more: Any) -> Standing:
    dag = flows.packages()[flow.name]
    if action == "read" and not is_read_by_key(flow.name):
        action = ""
    return Standing(flow.name, flow.title, dag, key, state, sentence, do, action, **more)


def is_read_by_key(flow_name: str) -> bool:
    """Whether a run of its DAG may read single records of a flow: keys would be those of every flow of the DAG."""
    packages = flows.packages()
    return list(packages.values()).count(packages[flow_name]) == 1


def _letter(connection: sa.Connection, flow: Flow, key: str) -> sa.Row | None:
    """The open letter of a record, else the newest."""
    table = ops_dead_letter.c
    columns = (table.id, table.state, table.step, table.rule, table.reasons, table.created_at, table.updated_at,
               table.note, table.changed_by, table.replay_asked_at, table.batch_id)  # fmt: skip
    return connection.execute(
        sa.select(*columns)
        .where(table.key == key, table.flow == flow.name)
        .order_by(table.state.in_(OPEN).desc(), table.id.desc())
        .limit(1)
    ).one_or_none()


def _work(connection: sa.Connection, flow: Flow, key: str) -> sa.Row | None:
    return connection.execute(
        sa.select(ops_work.c.batch_id, ops_work.c.queued_at)
        .where(ops_work.c.queue == flow.name, ops_work.c.key == key)
        .order_by(ops_work.c.queued_at.desc(), ops_work.c.batch_id.desc().nulls_first())
        .limit(1)
    ).one_or_none()


def _refused(connection: sa.Connection, flow: Flow, key: str, letter: sa.Row) -> Standing:
    target = TARGETS.get(flow.target, flow.target)
    by = {"load": f"{target} has refused it", "extract": "It could not be read"}.get(letter.step, "A rule refuses it")
    rule = in_words(letter.rule or "")
    if letter.replay_asked_at is not None:
        batch_id = replays.stopped_in(connection, flow.name, [key]).get(key)
        if batch_id is not None:
            return _made(flow, key, "bad", f"{by} ({rule}); a replay was asked for. {replays.stopped_words(batch_id)}",
                         replays.GO_ON, action="accept", letter=letter.id, batch_id=batch_id,
                         since=letter.replay_asked_at, rule=letter.rule or "")  # fmt: skip
        return _made(flow, key, "warn", f"{by} ({rule}); a replay is under way.", BY_ITSELF, letter=letter.id,
                     since=letter.replay_asked_at, rule=letter.rule or "")  # fmt: skip
    if letter.state == "edited":
        return _made(flow, key, "warn", f"{by}: {rule}. {letter.changed_by or 'Somebody'} has edited dead letter "
                     f"{letter.id} since; what was edited has not been sent yet.", "Replay it.", action="letter",
                     letter=letter.id, batch_id=letter.batch_id, since=letter.updated_at,
                     rule=letter.rule or "")  # fmt: skip
    reason: dict[str, str] = next(iter(letter.reasons or []), {})
    do = reason.get("do") or "Open its dead letter."
    return _made(
        flow, key, "bad", f"{by}: {rule}. It is dead letter {letter.id}.", do, action="letter", letter=letter.id,
        batch_id=letter.batch_id, since=letter.created_at, rule=letter.rule or "",
    )  # fmt: skip


def _closed(flow: Flow, key: str, letter: sa.Row) -> Standing:
    rule = in_words(letter.rule or "")
    if letter.state == "dismissed":
        by, why = letter.changed_by or "somebody", sentence(letter.note) or "without a word."
        return _made(flow, key, "", f"It was refused ({rule}), and {by} has decided that it need not go: {why}",
                     "Nothing is to be done. If it has to go after all, open its dead letter again.", action="reopen",
                     letter=letter.id, since=letter.updated_at, rule=letter.rule or "")  # fmt: skip
    return _made(flow, key, "warn", f"It was refused ({rule}), and its dead letter is {letter.state}.",
                 "Have it worked again.", action="read", letter=letter.id, since=letter.updated_at)  # fmt: skip


def _never_read(connection: sa.Connection, flow: Flow, key: str) -> Standing:
    return _made(flow, key, "warn", f"The flow has never read it. {reads(connection, flow)}",
                 "If it is in its system, read it now by its number.", action="read")  # fmt: skip


def reads(connection: sa.Connection, flow: Flow) -> str:
    """How far a flow has read, in words."""
    mark = connection.execute(
        sa.select(ops_watermark.c.read_at, ops_watermark.c.position).where(
            ops_watermark.c.flow == flow.name, ops_watermark.c.resource == flow.source.name
        )
    ).one_or_none()
    if mark is None:
        return "It has read nothing at all yet."
    return (
        f"It has last read at {mark.read_at:%Y-%m-%d %H:%M} UTC, all that had changed there until "
        f"{mark.position:%Y-%m-%d %H:%M} UTC."
    )


def _in_flight(connection: sa.Connection, flow: Flow, key: str, batch: sa.Row) -> Standing:
    if batch.stopped:
        return _made(flow, key, "bad", f"It stands in batch {batch.id}, which check has stopped: too many of its "
                     "records break a rule.", "Look on the overview which rule; then go on with the rest.",
                     action="accept", batch_id=batch.id, since=batch.touched_at)  # fmt: skip
    down = connection.scalar(
        sa.select(ops_circuit.c.state).where(ops_circuit.c.system == flow.target, ops_circuit.c.state != "closed")
    )
    if down is not None:
        return _made(
            flow, key, "warn", f"It is in batch {batch.id}; {TARGETS[flow.target]} does not answer.",
            "It goes on by itself once the system answers.", batch_id=batch.id, since=batch.created_at,
        )  # fmt: skip
    lost = connection.scalar(
        sa.select(ops_delivery.c.id)
        .where(ops_delivery.c.flow == flow.name, ops_delivery.c.key == key)
        .where(ops_delivery.c.outcome.in_(("sent", "unknown")))
        .limit(1)
    )
    late = connection.scalar(
        sa.select(sa.func.now() - batch.created_at > timedelta(minutes=settings.flow(flow.name).undelivered_minutes))
    )
    words = f"It is in batch {batch.id}, whose last step was {batch.step}"
    if lost is not None:
        words += "; the answer of a call was lost, and the next try asks before it sends"
    do = (
        "Look at the failed task of the DAG in Airflow, mend its cause and clear it: the next run takes it over, too."
        if late
        else BY_ITSELF
    )
    return _made(
        flow, key, "warn", f"{words}.", do, action="read" if late else "", batch_id=batch.id, since=batch.created_at
    )


def _ended(connection: sa.Connection, flow: Flow, key: str, row: sa.Row, batch: sa.Row | None, main: bool) -> Standing:
    since = batch.finished_at or batch.touched_at if batch is not None else None
    target = TARGETS.get(flow.target, flow.target)
    if row.state == "waiting":
        return _made(flow, key, "warn", f"It waits: {sentence(row.reason) or 'for another record.'}",
                     "It goes on by itself once that is there; or have it worked again now.",
                     action="read", batch_id=row.batch_id, since=since)  # fmt: skip
    if row.state == "left_out" and row.reason == CANCELLED_FIRST:
        return _made(flow, key, "", "It was cancelled at the channel before it had been read, so it does not go to "
                     f"{target}.", "Nothing is to be done.", batch_id=row.batch_id, since=since)  # fmt: skip
    if row.state == "left_out" and not main:
        words = f"Nothing is sent: {sentence(row.reason) or 'it is not for this system.'}"
        return _made(flow, key, "", words, batch_id=row.batch_id, since=since)
    if row.state == "left_out":
        return _made(flow, key, "warn", f"A rule leaves it out: {sentence(row.reason) or 'it is not for this system.'}",
                     "If that is wrong, change the record in its system or the rule; then have it worked again.",
                     action="read", batch_id=row.batch_id, since=since)  # fmt: skip
    if row.state in ("delivered", "unchanged"):
        link = connection.scalar(
            sa.select(ops_link.c.target_id).where(ops_link.c.entity == flow.entity, ops_link.c.source_key == key)
        )
        named = f" as {link}" if link and link != key else ""
        if link and flow.entity == "sales_order":
            state, words, do = _sales_order(connection, key, link)
            return _made(flow, key, state, f"It is in {target}{named}{words}.", do, batch_id=row.batch_id, since=since)
        return _made(flow, key, "good", f"It is in {target}{named}.", batch_id=row.batch_id, since=since)
    return _made(flow, key, "warn", f"It is {row.state}.", "Have it worked again.", action="read",
                 batch_id=row.batch_id, since=since)  # fmt: skip


# Who holds an order: what goes on then.
HOLDERS = {
    "channel": ("the channel holds it", "It goes on by itself when the channel releases it."),
    "crossdock": ("a rule of ours holds it", "It goes on by itself when the channel's next version settles that."),
    "person": ("somebody has put it on hold in TIMS", "Release it in TIMS when it may go; that is passed on."),
}


def _sales_order(connection: sa.Connection, key: str, number: str) -> tuple[str, str, str]:
    """(state, words, next step) of an order that TIMS has: cancelled, on hold, or on its way. As TIMS holds it; where
    that has not been read back yet, as it was sent."""
    held = in_tims(connection, number)
    stage = stage_sales_order.c
    staged = connection.execute(
        sa.select(stage.OrderStatus, stage.cancelled, stage.held_by).where(stage.key == key)
    ).one_or_none()
    status = held.get("OrderStatus") if held is not None else staged.OrderStatus if staged is not None else ""
    if status == "Cancelled" or (staged is not None and staged.cancelled):
        return "", ", and cancelled", "Nothing is to be done."
    if status != "OnHold":
        return "good", "", ""
    by = connection.scalar(
        sa.select(ops_link.c.held_by).where(ops_link.c.entity == "sales_order", ops_link.c.source_key == key)
    )
    words, do = HOLDERS.get(by or (staged.held_by if staged is not None else "") or "person", HOLDERS["person"])
    return "warn", f", on hold: {words}", do


def in_tims(connection: sa.Connection, number: str) -> dict[str, Any] | None:
    """A sales order as TIMS had it last: who looks it up and the flow that works it read it at different times."""
    found: list[sa.Row] = []
    for table, key in ((ref_sales_order, ref_sales_order.c.id), (raw_sales_orders, raw_sales_orders.c.key)):
        query = sa.select(table.c.version, table.c.payload).where(key == number)
        found += connection.execute(query.order_by(table.c.version.desc()).limit(1)).all()
    newest = max(found, key=lambda row: row.version, default=None)
    payload: dict[str, Any] | None = newest.payload if newest is not None else None
    return payload


def sentence(text: str | None) -> str:
    """A reason as the end of a sentence."""
    words = (text or "").strip()
    return words if not words or words.endswith((".", "!", "?")) else f"{words}."
