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


def _oldest_first(flow: Flow) -> tuple[sa.ColumnElement, ...]:
    """The order in which the rows of a flow go: by the moment of their documents, then as they are numbered."""
    stage = flow.stage
    at = sa.cast(stage.c[flow.dated_by], sa.DateTime(timezone=True)) if flow.dated_by else None
    return sa.func.coalesce(at, stage.c.version), sa.func.length(stage.c.key), stage.c.key


def _linked(flow: Flow) -> sa.ColumnElement[bool]:
    """Whether the record is in the target already."""
    return sa.exists().where(ops_link.c.entity == flow.entity, ops_link.c.source_key == flow.stage.c.key)


def hold_back(connection: sa.Connection, flow: Flow, batch_id: int, mode: Mode) -> list[str]:
    """Takes the ready rows that are not to be sent now out of a live flow's batch: those dated before its first day,
    but for what is in the target already, and those beyond the cap of its launch. The keys that the cap lets go now,
    the oldest."""
    if mode.since is None and mode.cap is None:
        return []
    leases.require(connection, flow.name)
    stage, day = flow.stage, day_of(flow)
    ready = sa.and_(stage.c.batch_id == batch_id, stage.c.state == "ready")
    if mode.since is not None:
        early = connection.execute(
            sa.select(stage.c.key, day.label("day")).where(ready, day < mode.since, ~_linked(flow))
        ).all()
        why = {row.key: TOO_EARLY.format(day=row.day, flow=flow.name, since=mode.since) for row in early}
        _keep_back(connection, flow, batch_id, why)
    if mode.cap is None:
        return []
    let_go = store.admitted(connection, flow.name)
    waiting = [
        key
        for key in connection.scalars(sa.select(stage.c.key).where(ready).order_by(*_oldest_first(flow)))
        if key not in let_go
    ]
    room = max(0, mode.cap - len(let_go))
    store.admit(connection, flow.name, waiting[:room])
    if over := waiting[room:]:
        _keep_back(connection, flow, batch_id, dict.fromkeys(over, _cap_reached(flow, mode.cap)))
        _announce(connection, flow, mode.cap)
    return waiting[:room]


def _cap_reached(flow: Flow, cap: int) -> str:
    return OVER_CAP.format(flow=flow.name, cap=cap)


def _announce(connection: sa.Connection, flow: Flow, cap: int) -> None:
    """Tells a person that the cap of a launch is reached."""
    alerts.raise_alert(
        connection, kind="launch_cap", key=flow.name, flow=flow.name, severity="notice",
        title=f"{flow.title}: the first {cap} records of the launch are sent",
        body=f"{_cap_reached(flow, cap)} Look at them in the target, then `crossdock launch {flow.name} --release`; or "
        f"go back with `crossdock shadow {flow.name}`.",
    )  # fmt: skip


def sent(connection: sa.Connection, flow: Flow, batch_id: int, mode: Mode, let_go: Sequence[str]) -> None:
    """Forgets what would have been sent of the rows that a live load has settled. Of `let_go`, the keys that the cap
    let go for this load, those of which nothing was sent do not count for it; one that was sent counts for good,
    whatever a later load makes of its record."""
    stage = flow.stage
    mine = sa.select(stage.c.key).where(stage.c.batch_id == batch_id)
    done = connection.scalars(mine.where(stage.c.state.in_(("delivered", "unchanged", "left_out", "dead")))).all()
    store.forget(connection, flow.name, done)
    store.forget_made(connection, flow.name, batch_id)
    if mode.cap is not None and let_go:
        unchanged = connection.scalars(mine.where(stage.c.state == "unchanged")).all()
        store.dismiss(connection, flow.name, [key for key in unchanged if key in {*let_go}])
        if len(store.admitted(connection, flow.name)) >= mode.cap:
            _announce(connection, flow, mode.cap)


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
    wanted = mine.where(stage.c.state == "would_be", ops_batch.c.flow == flow.name).order_by(*_oldest_first(flow))
    if mode.since is not None:
        wanted = wanted.where(sa.or_(day >= mode.since, _linked(flow)))
    if mode.cap is not None:
        room = mode.cap - len(store.admitted(connection, flow.name))
        wanted = wanted.limit(max(0, room))
    return connection.scalars(wanted).all()


def held(connection: sa.Connection, flow: Flow) -> int:
    """How many records of a flow are held back: by shadow mode, the first day or the cap of its launch."""
    stage = flow.stage
    mine = sa.select(sa.func.count()).select_from(stage.join(ops_batch, ops_batch.c.id == stage.c.batch_id))
    return connection.scalar(mine.where(stage.c.state == "would_be", ops_batch.c.flow == flow.name)) or 0
