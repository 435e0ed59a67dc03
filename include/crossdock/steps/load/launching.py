"""What a flow makes of its ready rows when it goes live: from its first day on, and so many at first.

In: the ready rows of a batch, the flow's mode. Out: rows that are held back as `would_be`, with the reason; the count
of those that were sent. Never: a record that is held back and forgotten: `launchable` finds it when it may go.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

import sqlalchemy as sa

from crossdock.flow import Flow
from crossdock.steps.modes import Mode
from crossdock.store import alerts, batches, database, dead_letters, leases
from crossdock.store import would_be as store
from crossdock.store.tables import ops_batch, ops_link, ref_company

IN_SHADOW = "It would be sent: the flow {flow} is in shadow mode."
TOO_EARLY = "It is of {day}, and the flow {flow} is live from {since} on: what is older stays with those who enter it."
REFUSED_LATER = "a newer version of it was refused"
OVER_CAP = "The flow {flow} has sent the first {cap} records of its launch and waits for a person to release it."


def day_of(flow: Flow) -> sa.ColumnElement[date]:
    """The business day of a stage row: of the document's date, else of the source record's version, where the company
    is."""
    stage = flow.stage
    zone = sa.func.coalesce(sa.select(ref_company.c.time_zone).limit(1).scalar_subquery(), "UTC")
    of_version = sa.cast(sa.func.timezone(zone, stage.c.version), sa.Date)
    if not flow.dated_by:
        return of_version
    text = stage.c[flow.dated_by]
    of_moment = sa.cast(sa.func.timezone(zone, sa.cast(text, sa.DateTime(timezone=True))), sa.Date)
    return sa.case((text.is_(None), of_version), (sa.func.length(text) <= 10, sa.cast(text, sa.Date)), else_=of_moment)


def _linked(flow: Flow) -> sa.ColumnElement[bool]:
    """Whether the record is in the target already."""
    return sa.exists().where(ops_link.c.entity == flow.entity, ops_link.c.source_key == flow.stage.c.key)


def hold_back(connection: sa.Connection, flow: Flow, batch_id: int, mode: Mode) -> None:
    """Takes the ready rows that are not to be sent now out of a live flow's batch: those dated before its first day,
    but for what is in the target already, and those beyond the cap of its launch, the oldest first."""
    if mode.since is None and mode.cap is None:
        return
    leases.require(connection, flow.name)
    stage, day = flow.stage, day_of(flow)
    ready = sa.and_(stage.c.batch_id == batch_id, stage.c.state == "ready")
    if mode.since is not None:
        early = connection.execute(
            sa.select(stage.c.key, day.label("day")).where(ready, day < mode.since, ~_linked(flow))
        ).all()
        why = {row.key: TOO_EARLY.format(day=row.day, flow=flow.name, since=mode.since) for row in early}
        _keep_back(connection, flow, batch_id, why)
    if mode.cap is not None:
        let_go = store.admitted(connection, flow.name)
        waiting = [
            key
            for key in connection.scalars(sa.select(stage.c.key).where(ready).order_by(day, stage.c.key))
            if key not in let_go
        ]
        room = max(0, mode.cap - len(let_go))
        store.admit(connection, flow.name, waiting[:room])
        if over := waiting[room:]:
            reached = OVER_CAP.format(flow=flow.name, cap=mode.cap)
            _keep_back(connection, flow, batch_id, dict.fromkeys(over, reached))
            alerts.raise_alert(
                connection, kind="launch_cap", key=flow.name, flow=flow.name, severity="notice",
                title=f"{flow.title}: the first {mode.cap} records of the launch are sent",
                body=f"{reached} Look at them in the target, then `crossdock launch {flow.name} --release`; or go back "
                f"with `crossdock shadow {flow.name}`.",
            )  # fmt: skip


def sent(connection: sa.Connection, flow: Flow, batch_id: int, mode: Mode) -> None:
    """Forgets what would have been sent of the rows that a live load has settled; those of which nothing was sent do
    not count for the cap."""
    stage = flow.stage
    mine = sa.select(stage.c.key).where(stage.c.batch_id == batch_id)
    done = connection.scalars(mine.where(stage.c.state.in_(("delivered", "unchanged", "left_out", "dead")))).all()
    store.forget(connection, flow.name, done)
    store.forget_made(connection, flow.name, batch_id)
    if mode.cap is not None:
        store.dismiss(connection, flow.name, connection.scalars(mine.where(stage.c.state == "unchanged")).all())


def would_be(connection: sa.Connection, flow: Flow, batch_id: int) -> None:
    """Makes what a load in shadow mode has left ready what would be; an earlier dead letter of it is resolved. What
    would have been sent of records that are in another state by now is forgotten; but a new document stays where only
    a newer version of its record is refused."""
    stage = flow.stage
    mine = sa.select(stage.c.key).where(stage.c.batch_id == batch_id)
    refused = connection.scalars(mine.where(stage.c.state == "dead")).all()
    made = store.made(connection, flow.name, flow.entity, refused)
    store.note(connection, flow.name, dict.fromkeys(made, REFUSED_LATER))
    over = connection.scalars(mine.where(stage.c.state.not_in(("would_be", "staged", "ready")))).all()
    store.forget(connection, flow.name, [key for key in over if key not in made])
    keys = connection.scalars(mine.where(stage.c.state == "ready")).all()
    _keep_back(connection, flow, batch_id, dict.fromkeys(keys, IN_SHADOW.format(flow=flow.name)))


def _keep_back(connection: sa.Connection, flow: Flow, batch_id: int, why: dict[str, str]) -> None:
    if not why:
        return
    leases.require(connection, flow.name)
    stage = flow.stage
    given = database.given(stage, [{"key": key, "reason": reason} for key, reason in why.items()])
    connection.execute(
        sa.update(stage)
        .where(stage.c.key == given.c.key, stage.c.batch_id == batch_id, stage.c.state == "ready")
        .values(state="would_be", reason=given.c.reason)
    )
    replay = batches.get(connection, batch_id).kind == "replay"
    dead_letters.close_resolved(connection, flow.name, list(why), replay=replay)


def launchable(connection: sa.Connection, flow: Flow, mode: Mode) -> Sequence[str]:
    """Keys of records that were held back and may go now, the oldest first: none in shadow mode."""
    if mode.shadow:
        return ()
    stage, day = flow.stage, day_of(flow)
    mine = sa.select(stage.c.key).join(ops_batch, ops_batch.c.id == stage.c.batch_id)
    wanted = mine.where(stage.c.state == "would_be", ops_batch.c.flow == flow.name).order_by(day, stage.c.key)
    if mode.since is not None:
        wanted = wanted.where(sa.or_(day >= mode.since, _linked(flow)))
    if mode.cap is not None:
        room = mode.cap - len(store.admitted(connection, flow.name))
        wanted = wanted.limit(max(0, room))
    return connection.scalars(wanted).all()
