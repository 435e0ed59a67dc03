"""Batches: one extract window of one flow, at most 2,000 records, and the counts that must add up.

Every record read is in exactly one of: unchanged, delivered, waiting, dead, left out, superseded, in flight. The
database refuses a batch whose counts do not add up.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa

from crossdock.errors import ConfigError
from crossdock.store.tables import ops_batch

SIZE = 2_000  # records: bounds the memory of every later step
ADOPT_AFTER = timedelta(minutes=15)  # a batch untouched for so long has lost its run
STEPS = ("extract", "transform", "check", "load", "confirm")


@dataclass
class Counts:
    """What became of the records of one or several batches."""

    read: int = 0
    unchanged: int = 0
    delivered: int = 0
    waiting: int = 0
    dead: int = 0
    left_out: int = 0
    superseded: int = 0
    in_flight: int = 0

    def __add__(self, other: Counts) -> Counts:
        return Counts(**{name: value + getattr(other, name) for name, value in asdict(self).items()})

    def __str__(self) -> str:
        return (
            ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in asdict(self).items() if value)
            or "nothing new"
        )


_COUNT_COLUMNS = [ops_batch.c[name] for name in asdict(Counts())]


def open_batch(
    connection: sa.Connection,
    flow: str,
    kind: str,
    *,
    run_id: str = "",
    start: datetime | None = None,
    end: datetime | None = None,
) -> int:
    """A new, empty batch; its id."""
    return connection.execute(
        sa.insert(ops_batch)
        .values(flow=flow, kind=kind, run_id=run_id, window_start=start, window_end=end, step="extract")
        .returning(ops_batch.c.id)
    ).scalar_one()


def extracted(connection: sa.Connection, batch_id: int, *, read: int, known: int, seconds: float) -> None:
    """Notes what extract read: `known` of them are unchanged, the rest is in flight."""
    connection.execute(
        sa.update(ops_batch)
        .where(ops_batch.c.id == batch_id)
        .values(
            read=read,
            known=known,
            unchanged=known,
            in_flight=read - known,
            seconds=sa.func.jsonb_build_object("extract", round(seconds, 3)),
            finished_at=sa.func.now() if read == known else None,
        )
    )


def recount(connection: sa.Connection, batch_id: int, stage: sa.Table, step: str, seconds: float) -> Counts:
    """Counts the batch's stage rows by state after `step`. What it read and no longer owns, a newer version took over.

    Before transform no stage row exists: everything new is in flight.
    """
    by_state = sa.select(stage.c.state, sa.func.count()).where(stage.c.batch_id == batch_id).group_by(stage.c.state)
    states: dict[str, int] = dict(connection.execute(by_state).all())
    batch = connection.execute(sa.select(ops_batch).where(ops_batch.c.id == batch_id)).one()
    counts = Counts(
        read=batch.read,
        unchanged=batch.known + states.get("unchanged", 0),
        delivered=states.get("delivered", 0),
        waiting=states.get("waiting", 0),
        dead=states.get("dead", 0),
        left_out=states.get("left_out", 0),
        in_flight=states.get("staged", 0) + states.get("ready", 0),
    )
    counts.superseded = counts.read - batch.known - sum(states.values())
    finished = counts.in_flight == 0 and (step == "confirm" or counts.delivered == 0)
    connection.execute(
        sa.update(ops_batch)
        .where(ops_batch.c.id == batch_id)
        .values(
            **asdict(counts),
            step=step,
            touched_at=sa.func.now(),
            seconds=ops_batch.c.seconds + sa.func.jsonb_build_object(step, round(seconds, 3)),
            finished_at=sa.func.now() if finished else None,
        )
    )
    return counts


def counts(connection: sa.Connection, batch_ids: list[int]) -> Counts:
    """The counts of several batches together."""
    total = [sa.func.coalesce(sa.func.sum(column), 0).label(column.name) for column in _COUNT_COLUMNS]
    row = connection.execute(sa.select(*total).where(ops_batch.c.id.in_(batch_ids))).one()
    return Counts(**{name: int(value) for name, value in row._mapping.items()})


def ready_for(connection: sa.Connection, batch_id: int, step: str) -> sa.Row:
    """The batch's row, if the steps before `step` are done. Raises ConfigError otherwise."""
    batch = flow_of(connection, batch_id)
    if STEPS.index(batch.step) < STEPS.index(step) - 1:
        raise ConfigError(
            f"Batch {batch_id} has only been through {batch.step}; it is not ready for {step}.",
            do=f"Run `crossdock {STEPS[STEPS.index(batch.step) + 1]} {batch.flow} --batch {batch_id}` first.",
        )
    return batch


def flow_of(connection: sa.Connection, batch_id: int) -> sa.Row:
    """The batch's row. Raises ConfigError when there is no such batch."""
    row = connection.execute(sa.select(ops_batch).where(ops_batch.c.id == batch_id)).one_or_none()
    if row is None:
        raise ConfigError(
            f"There is no batch {batch_id}.", do="`crossdock status` lists the batches that are still at work."
        )
    return row


def adopt(connection: sa.Connection, flow: str) -> list[int]:
    """Unfinished batches that no run has touched for 15 minutes: their run died, this one takes them over."""
    return list(
        connection.scalars(
            sa.update(ops_batch)
            .where(
                ops_batch.c.flow == flow,
                ops_batch.c.finished_at.is_(None),
                ops_batch.c.touched_at < sa.func.now() - ADOPT_AFTER,
            )
            .values(touched_at=sa.func.now())
            .returning(ops_batch.c.id)
        )
    )


def unfinished(connection: sa.Connection, flow: str, run_id: str) -> list[int]:
    """Batches that an earlier try of the same run committed and nobody has finished."""
    if not run_id:
        return []
    return list(
        connection.scalars(
            sa.select(ops_batch.c.id).where(
                ops_batch.c.flow == flow, ops_batch.c.run_id == run_id, ops_batch.c.finished_at.is_(None)
            )
        )
    )


def take_over(connection: sa.Connection, flow: str, run_id: str, mine: str) -> list[int]:
    """Unfinished batches of the run `run_id`; they are those of the run `mine` from now on."""
    return list(
        connection.scalars(
            sa.update(ops_batch)
            .where(ops_batch.c.flow == flow, ops_batch.c.run_id == run_id, ops_batch.c.finished_at.is_(None))
            .values(run_id=mine, touched_at=sa.func.now())
            .returning(ops_batch.c.id)
        )
    )


def merged(connection: sa.Connection, batch_id: int, *, dead: int) -> None:
    """A batch of a master: what was new is in `ref` now but for `dead` records, and nothing else is to be done."""
    connection.execute(
        sa.update(ops_batch)
        .where(ops_batch.c.id == batch_id)
        .values(delivered=ops_batch.c.in_flight - dead, dead=dead, in_flight=0, finished_at=sa.func.now())
    )
