"""Batches: one extract window of one flow, at most 2,000 records, and the counts that must add up.

Every record read is in exactly one of: unchanged, delivered, waiting, would be, dead, left out, superseded, in flight.
The database refuses a batch whose counts do not add up.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from itertools import groupby

import sqlalchemy as sa

from crossdock import settings
from crossdock.errors import ConfigError, Elsewhere
from crossdock.store import leases, runs
from crossdock.store.runs import Over
from crossdock.store.tables import ops_batch

SIZE = 2_000  # records: bounds the memory of every later step
LOOKED_AT = timedelta(minutes=15)  # a batch that check has stopped is left to a person for so long
STEPS = ("extract", "transform", "check", "load", "confirm")


@dataclass
class Counts:
    """What became of the records of one or several batches."""

    read: int = 0
    unchanged: int = 0
    delivered: int = 0
    waiting: int = 0
    would_be: int = 0
    dead: int = 0
    skipped: int = 0
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
        .values(
            flow=flow,
            kind=kind,
            run_id=run_id,
            window_start=start,
            window_end=end,
            step="extract",
            config_version=settings.version(),
        )
        .returning(ops_batch.c.id)
    ).scalar_one()


def extracted(connection: sa.Connection, batch_id: int, *, read: int, already_stored: int, seconds: float) -> None:
    """Notes what extract read: `already_stored` of them are unchanged, the rest is in flight."""
    connection.execute(
        sa.update(ops_batch)
        .where(ops_batch.c.id == batch_id)
        .values(
            read=read,
            already_stored=already_stored,
            unchanged=already_stored,
            in_flight=read - already_stored,
            seconds=sa.func.jsonb_build_object("extract", round(seconds, 3)),
            finished_at=sa.func.now() if read == already_stored else None,
        )
    )


def recount(connection: sa.Connection, batch_id: int, stage: sa.Table, step: str, seconds: float) -> Counts:
    """Counts the batch's stage rows by state after `step`. What it read and no longer owns, a newer version took over.

    Before transform no stage row exists: everything new is in flight. Raises LeaseLost where another worker has taken
    over the flow: the batch may be finished by now.
    """
    batch = connection.execute(sa.select(ops_batch).where(ops_batch.c.id == batch_id)).one()
    leases.require(connection, batch.flow)
    by_state = sa.select(stage.c.state, sa.func.count()).where(stage.c.batch_id == batch_id).group_by(stage.c.state)
    states: dict[str, int] = dict(connection.execute(by_state).all())
    counts = Counts(
        read=batch.read,
        unchanged=batch.already_stored + states.get("unchanged", 0),
        delivered=states.get("delivered", 0),
        waiting=states.get("waiting", 0),
        would_be=states.get("would_be", 0),
        dead=states.get("dead", 0),
        skipped=states.get("left_out", 0),
        in_flight=states.get("staged", 0) + states.get("ready", 0),
    )
    counts.superseded = counts.read - batch.already_stored - sum(states.values())
    finished = counts.in_flight == 0 and (step == "confirm" or counts.delivered == 0)
    connection.execute(
        sa.update(ops_batch)
        .where(ops_batch.c.id == batch_id)
        .values(
            **asdict(counts),
            step=step,
            config_version=settings.version(),
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
    batch = get(connection, batch_id)
    if STEPS.index(batch.step) < STEPS.index(step) - 1:
        raise ConfigError(
            f"Batch {batch_id} has only been through {batch.step}; it is not ready for {step}.",
            do=f"Run `crossdock {STEPS[STEPS.index(batch.step) + 1]} {batch.flow} --batch {batch_id}` first.",
        )
    return batch


def get(connection: sa.Connection, batch_id: int) -> sa.Row:
    """The batch's row. Raises ConfigError when there is no such batch."""
    row = connection.execute(sa.select(ops_batch).where(ops_batch.c.id == batch_id)).one_or_none()
    if row is None:
        raise ConfigError(
            f"There is no batch {batch_id}.", do="`crossdock status` lists the batches that are still at work."
        )
    return row


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


def reclaim_stale(
    connection: sa.Connection, flow: str, run_id: str, over: Over | None = None, *, looked_at: bool = False
) -> list[int]:
    """Unfinished batches of runs that are dead, which are this run's from now on. One that check has stopped is tried
    again once a person has looked at it, or has had the time to."""
    found = [
        row.id
        for other, rows in groupby(_of_others(connection, flow, run_id), key=lambda row: row.run_id)
        for row in _left(connection, other, list(rows), over)
        if looked_at or not row.stopped or row.silent > LOOKED_AT
    ]
    connection.execute(
        sa.update(ops_batch).where(ops_batch.c.id.in_(found)).values(run_id=run_id, touched_at=sa.func.now())
    )
    return found


def _of_others(connection: sa.Connection, flow: str | None, run_id: str) -> Sequence[sa.Row]:
    """Unfinished batches that are not those of the run `run_id`, by run; of one flow, or of all."""
    return connection.execute(
        sa.select(
            ops_batch,
            (sa.func.now() - ops_batch.c.created_at).label("age"),
            (sa.func.now() - ops_batch.c.touched_at).label("silent"),
        )
        .where(
            ops_batch.c.finished_at.is_(None),
            *([ops_batch.c.flow == flow] if flow else []),
            *([ops_batch.c.run_id != run_id] if run_id else []),
        )
        .order_by(ops_batch.c.run_id, ops_batch.c.id)
    ).all()


def _left(connection: sa.Connection, run_id: str, rows: list[sa.Row], over: Over | None) -> list[sa.Row]:
    """The unfinished batches of a run, if it is dead."""
    return rows if runs.dead(connection, run_id, min(row.silent for row in rows), over) else []


def reassign(connection: sa.Connection, batch_id: int, run_id: str, over: Over | None = None) -> None:
    """Makes a batch this run's, if the run that has it is dead. Raises Elsewhere when it lives. A caller without a name
    takes what it is given."""
    if not run_id:
        return
    batch = connection.execute(
        sa.select(ops_batch, (sa.func.now() - ops_batch.c.touched_at).label("silent"))
        .where(ops_batch.c.id == batch_id)
        .with_for_update()
    ).one()
    if batch.run_id == run_id:
        return
    if not runs.dead(connection, batch.run_id, batch.silent, over):
        holder = runs.holders(connection, [batch.run_id]).get(batch.run_id)
        raise Elsewhere(
            f"Batch {batch_id} of {batch.flow} is in the hands of the run {batch.run_id}"
            f"{f' ({holder})' if holder else ''}, which is alive; its last step was {batch.step}, "
            f"{words(batch.silent)} ago.",
            do="Leave it to that run. Once it has ended, any run of the flow takes over what it has left.",
        )
    connection.execute(sa.update(ops_batch).where(ops_batch.c.id == batch_id).values(run_id=run_id))


@dataclass(frozen=True)
class HeldBatch:
    """What another run has begun and not finished."""

    flow: str
    run_id: str
    holder: str | None  # machine and process; None: no process is at work on it at this moment
    batches: list[int]
    records: int
    step: str  # the last one done, of the batch that is least far
    age: timedelta
    silent: timedelta  # since one of them was last touched
    stopped: bool  # by check, before loading

    def __str__(self) -> str:
        batches = "1 batch" if len(self.batches) == 1 else f"{len(self.batches):,} batches"
        what = f"Unfinished: {self.records:,} records of {self.flow} in {batches}"
        who = f"the run {self.run_id or '(without a name)'}"
        if self.stopped:
            return f"{what}: {who} was stopped by check {words(self.silent)} ago; see the alert batch_stopped."
        where = f"at work in {self.holder}" if self.holder else "no process is at work on them at this moment"
        return (
            f"{what}: {who} has them since {words(self.age)} ({where}; last step {self.step}, "
            f"{words(self.silent)} ago). Once it is over, the next run of {self.flow} takes them."
        )


def held(connection: sa.Connection, flow: str | None = None, run_id: str = "") -> list[HeldBatch]:
    """Unfinished batches of other runs than `run_id`, by flow and run."""
    rows = sorted(_of_others(connection, flow, run_id), key=lambda row: (row.flow, row.run_id, row.stopped))
    who = runs.holders(connection, {row.run_id for row in rows})
    found = []
    for (name, run, stopped), group in groupby(rows, key=lambda row: (row.flow, row.run_id, row.stopped)):
        some = list(group)
        found.append(
            HeldBatch(
                name, run, who.get(run), [row.id for row in some], sum(row.in_flight + row.delivered for row in some),
                min((row.step for row in some), key=STEPS.index), max(row.age for row in some),
                min(row.silent for row in some), stopped,
            )
        )  # fmt: skip
    return found


def words(span: timedelta) -> str:
    """A span of time for people."""
    seconds = max(0, int(span.total_seconds()))
    if seconds < 120:
        return f"{seconds} s"
    minutes = seconds // 60
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h" if minutes < 2880 else f"{minutes // 1440} days"


def stopped(connection: sa.Connection, flow: str, batch_ids: Sequence[int]) -> list[int]:
    """Those of `batch_ids` that are of this flow, unfinished, and stopped by check."""
    mine = (ops_batch.c.flow == flow, ops_batch.c.id.in_(batch_ids))
    waits = (ops_batch.c.finished_at.is_(None), ops_batch.c.stopped)
    return list(connection.scalars(sa.select(ops_batch.c.id).where(*mine, *waits).order_by(ops_batch.c.id)))


def stop(connection: sa.Connection, batch_id: int, *, stopped: bool) -> None:
    """Notes whether check has stopped the batch before loading."""
    connection.execute(sa.update(ops_batch).where(ops_batch.c.id == batch_id).values(stopped=stopped))


def finish_reference_batch(connection: sa.Connection, batch_id: int, *, dead: int) -> None:
    """A batch of a master: what was new is in `ref` now but for `dead` records, and nothing else is to be done."""
    connection.execute(
        sa.update(ops_batch)
        .where(ops_batch.c.id == batch_id)
        .values(delivered=ops_batch.c.in_flight - dead, dead=dead, in_flight=0, finished_at=sa.func.now())
    )
