"""Explains a difference by our own records: dead letters, records that wait or are on their way, what was not read.

In: names of flows, tables and keys, all of this project's own code. Out: `Explanation`s. Never: a difference explained
by what a flow believes it has delivered, for that is what is being proved.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import sqlalchemy as sa

from crossdock.comparison.subject import (
    BY_RULE,
    CHANGED,
    DEAD,
    IN_FLIGHT,
    UNEXPLAINED,
    WAITING,
    Explanation,
)
from crossdock.store.tables import ops_batch, ops_dead_letter, ops_reconcile_difference, ops_watermark, ops_work

# The differences of one subject in one run that nothing explains yet. Its name in `.sql` files is `found`.
FOUND = (
    sa.select(ops_reconcile_difference)
    .where(
        ops_reconcile_difference.c.run == sa.bindparam("of_run"),
        ops_reconcile_difference.c.subject == sa.bindparam("of_subject"),
        ops_reconcile_difference.c.cause == UNEXPLAINED,
    )
    .cte("found")
    .prefix_with("MATERIALIZED")
)
Column = sa.ColumnElement[Any]
Via = tuple[sa.FromClause, Column]  # a table, and how it is joined


def because(cause: str | Column, why: str | Column, *via: Via) -> sa.Select:
    """(id, cause, why) of the differences for which `via` finds rows; more conditions may be added."""
    tables: sa.FromClause = FOUND
    for table, on in via:
        tables = tables.join(table, on)
    return sa.select(FOUND.c.id, _labelled(cause, "cause"), _labelled(why, "why")).select_from(tables)


def _labelled(value: str | Column, name: str) -> sa.Label[Any]:
    return (sa.literal(value) if isinstance(value, str) else value).label(name)


def dead_letter(flow: str, key: Column = FOUND.c.key, *via: Via) -> Explanation:
    """The record, or one it depends on, is a dead letter of `flow`. `via`: joins that lead to it."""
    letter = ops_dead_letter.c
    its = (ops_dead_letter, sa.and_(letter.flow == flow, letter.key == key))
    why = sa.func.format("dead letter %s of %s", letter.id, letter.flow)
    return Explanation(because(DEAD, why, *via, its).where(letter.state.in_(("open", "edited"))))


def dismissed(flow: str, key: Column = FOUND.c.key, *via: Via) -> Explanation:
    """The record's last dead letter was dismissed: a person decided that it need not be delivered."""
    letter = ops_dead_letter.c
    last = (
        sa.select(letter.id, letter.state)
        .where(letter.flow == flow, letter.key == key)
        .order_by(letter.id.desc())
        .limit(1)
        .lateral("last")
    )
    why = sa.func.format(f"dead letter %s of {flow} was dismissed", last.c.id)
    return Explanation(because(BY_RULE, why, *via, (last, last.c.state == "dismissed")))


def on_its_way(
    table: sa.Table,
    key: Column = FOUND.c.key,
    *via: Via,
    form: Callable[[Column], Column] = lambda key: key,
    by: str = "key",
) -> Explanation:
    """The staged row waits, is on its way, or was left out by a rule. Left out explains only a side that lacks the key.
    `form`: brings the staged row's key, or its column `by`, into the form of `key`."""
    row = table.alias("staged")  # `via` may lead over the same table
    staged = row.c
    cause = sa.case({"waiting": WAITING, "would_be": WAITING, "left_out": BY_RULE}, value=staged.state, else_=IN_FLIGHT)
    why = sa.func.coalesce(staged.reason, sa.func.format("batch %s is at work", staged.batch_id))
    return Explanation(
        because(cause, why, *via, (row, form(staged[by]) == key)).where(
            sa.or_(
                staged.state.in_(("waiting", "would_be", "staged", "ready")),
                sa.and_(staged.state == "left_out", FOUND.c.missing != ""),
            )
        )
    )


def not_read(flow: str, resource: str, side: str, *only: Column) -> Explanation:
    """The record of `side` is newer than the watermark of `flow`. `only`: conditions on the differences it explains."""
    mark = ops_watermark.c
    its = (ops_watermark, sa.and_(mark.flow == flow, mark.resource == resource))
    newer = FOUND.c[f"{side}_version"] >= mark.position
    return Explanation(because(IN_FLIGHT, f"changed after the last read of {flow}", its).where(newer, *only))


# Batches that are unfinished, or were when this look at both systems began.
AT_WORK = sa.or_(
    ops_batch.c.finished_at.is_(None),
    sa.func.greatest(ops_batch.c.finished_at, ops_batch.c.touched_at) >= sa.bindparam("moment"),
)


def at_work(flow: str, table: sa.Table, matches: Column | None = None, *via: Via) -> Explanation:
    """The record waits in the queue of `flow`, or is in a batch of it that is unfinished, or was until just now: one
    side may be from before the batch and the other from after. `table`: raw rows of its list; `matches`: which of them
    is the record's; `via`: joins that lead to it."""
    batch, work = ops_batch.c, ops_work.c
    unfinished = batch.finished_at.is_(None)
    doing = sa.case((unfinished, "is at work"), else_="was at work just now")
    version = sa.and_(table.c.key == work.key, table.c.hash == work.hash)
    held = sa.join(ops_work, table, version).outerjoin(ops_batch, batch.id == work.batch_id)
    at_work_now = sa.func.array(sa.select(batch.id).where(batch.flow == flow, AT_WORK).scalar_subquery())
    return Explanation(
        because(
            sa.case((unfinished, IN_FLIGHT), else_=CHANGED),
            sa.case(
                (work.batch_id.is_(None), f"read, and waits for the next run of {flow}"),
                else_=sa.func.format(f"batch %s of {flow} %s", batch.id, doing),
            ),
            *via,
            (held, table.c.key == FOUND.c.key if matches is None else matches),
        ).where(work.queue == flow, sa.or_(work.batch_id.is_(None), work.batch_id == sa.any_(at_work_now)))
    )


def of_flow(
    flow: str,
    side: str,
    resource: str,
    table: sa.Table,
    stage: sa.Table,
    *,
    by: str = "key",
    matches: Column | None = None,
) -> tuple[Explanation, ...]:
    """All that a flow's own records explain: dead letters, rows on their way, records in its hands or not read yet.
    `side`, `resource`, `table`: of its source; `by`: the column of `stage` that is the subject's key; `matches`: which
    raw rows are the record's."""
    its = () if by == "key" else ((stage, stage.c[by] == FOUND.c.key),)
    key = stage.c.key if its else FOUND.c.key
    return (
        dead_letter(flow, key, *its), dismissed(flow, key, *its), on_its_way(stage, by=by),
        at_work(flow, table, matches), not_read(flow, resource, side),
    )  # fmt: skip


def of_fact(field: str, explanations: Iterable[Explanation]) -> tuple[Explanation, ...]:
    """The same, of differences in this fact alone."""
    selects = ((one, one.query) for one in explanations if isinstance(one.query, sa.Select))
    return tuple(replace(one, query=query.where(FOUND.c.field == field)) for one, query in selects)
