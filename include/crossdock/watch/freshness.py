"""Freshness: raises an alert when everything is green and nothing arrives.

In: watermarks, batches, deliveries, dead letters, events. Out: one alert per finding. It runs on its own timetable, for
a task that is killed tells nobody.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

import sqlalchemy as sa

from crossdock import settings
from crossdock.errors import ConfigError
from crossdock.flow import Flow
from crossdock.rules.order_changes import OURS
from crossdock.store import alerts
from crossdock.store.tables import (
    ops_batch,
    ops_circuit,
    ops_dead_letter,
    ops_delivery,
    ops_link,
    ops_watermark,
    ops_webhook_event,
    ops_work,
    stage_sales_order,
)
from crossdock.systems.failures import NAMES

if TYPE_CHECKING:
    from crossdock.systems.inbox import File, Inbox

DONE_SINCE = timedelta(days=7)  # files that moved to done/ within it are compared with what was read
EVENTS_WAIT = timedelta(minutes=5)  # an event is worked within seconds
EVENTS_COME = timedelta(hours=1)  # since the last event; after that events are off, or nothing happens at the systems
SHARED_FOR = timedelta(hours=24)  # how long an order may wait for the marketplace's part before an alert


@dataclass(frozen=True)
class Finding:
    """Something that is wrong; it becomes an alert."""

    kind: str
    key: str
    title: str
    body: str
    flow: str | None


def watch(engine: sa.Engine, flows: dict[str, Flow], inbox: Inbox) -> list[Finding]:
    """Looks for findings and raises an alert for each; a repeat within the window only counts up."""
    with engine.begin() as connection:
        findings = [finding for flow in flows.values() for finding in _of_flow(connection, flow)]
        findings += [
            finding
            for flow in flows.values()
            if flow.source.system == "inbox"
            for finder in (_unread, _left)
            for finding in finder(connection, flow, inbox)
        ]
        findings += [*_circuits(connection), *_shared(connection), *_events(connection, flows)]
        for finding in findings:
            alerts.raise_alert(connection, **vars(finding))
    return findings


MINUTE = timedelta(minutes=1)
# Where to look first when a source is silent.
LOOK_AT = {
    "channel_advisor": "Look at the channel itself: have listings ended, is the account still connected, does the "
    "token still cover all profiles?",
    "tims": "Look at TIMS: is anything shipped, invoiced, paid there, and may our client see it?",
    "inbox": "Look at the inbox: do the marketplaces and warehouses still put their files into its folders?",
    "settlement_ledger": "Look at the flow payouts: have settlement files come, and were they refused?",
}


def _of_flow(connection: sa.Connection, flow: Flow) -> Iterator[Finding]:
    limits = settings.flow(flow.name)
    dag = "ledger" if flow.name.startswith("ledger_") else flow.name
    now = sa.func.now()
    mark = connection.execute(
        sa.select(
            ops_watermark,
            (now - ops_watermark.c.read_at).label("age"),
            (ops_watermark.c.position - ops_watermark.c.newest_version).label("silence"),
        ).where(ops_watermark.c.flow == flow.name, ops_watermark.c.resource == flow.source.name)
    ).one_or_none()

    def finding(kind: str, title: str, *body: str) -> Finding:
        return Finding(kind, flow.name, f"{flow.title}: {title}", " ".join(body), flow.name)

    if mark is not None and mark.age > timedelta(minutes=limits.stale_minutes):
        yield finding(
            "stale",
            f"nothing has been read for {_words(mark.age)}",
            f"The last successful read of {flow.source.title} was at {mark.read_at:%Y-%m-%d %H:%M} UTC.",
            f"Look at the last runs of the DAG {dag}: is it paused, failing, or is the scheduler down?",
        )
    # How long the source has been silent, by its own clock, against its longest silence so far.
    if mark is not None and mark.silence is not None:
        longest = timedelta(seconds=mark.longest_gap_seconds)
        if mark.silence > max(longest, timedelta(hours=limits.silent_at_least_hours)):
            yield finding(
                "silent_source",
                f"the list {flow.source.title} has been silent for {_words(mark.silence)}",
                f"Runs are green, but nothing has changed there since {mark.newest_version:%Y-%m-%d %H:%M} UTC;",
                f"the longest silence so far was {_words(longest)}."
                if longest >= MINUTE
                else "it had not been silent before.",
                LOOK_AT[flow.source.system],
            )
    late = connection.execute(
        sa.select(sa.func.count(), sa.func.min(ops_batch.c.id), sa.func.sum(ops_batch.c.in_flight)).where(
            ops_batch.c.flow == flow.name,
            ops_batch.c.finished_at.is_(None),
            ops_batch.c.created_at < now - timedelta(minutes=limits.undelivered_minutes),
        )
    ).one()
    if late[0] and limits.mode == "live":  # in shadow mode, what was live before waits to be confirmed
        yield finding(
            "undelivered",
            f"{late[2]} records in flight for over {limits.undelivered_minutes} min",
            f"{late[0]} batches are unfinished, the oldest is {late[1]}. The next run adopts them; if it cannot,",
            f"look at the failed task of the DAG {dag} and clear it once the cause is mended.",
        )
    lost = connection.scalar(
        sa.select(sa.func.count()).where(
            ops_delivery.c.flow == flow.name,
            ops_delivery.c.outcome.in_(("sent", "unknown")),
            ops_delivery.c.created_at < now - timedelta(minutes=limits.undelivered_minutes),
        )
    )
    if lost:
        yield finding(
            "unknown_outcome",
            f"the outcome of {lost} calls is unknown",
            "A system was asked to do something and its answer was lost. A retry asks before it sends; clear the load "
            f"task of the DAG {dag}.",
        )
    dead = connection.scalar(
        sa.select(sa.func.count()).where(
            ops_dead_letter.c.flow == flow.name, ops_dead_letter.c.state.in_(("open", "edited"))
        )
    )
    if dead and dead >= limits.dead_letters_alert:
        yield finding(
            "dead_letters",
            f"{dead} dead letters are open" if dead > 1 else "a dead letter is open",
            f"See `crossdock dead-letters list --flow {flow.name}`: each says what is wrong and what to do.",
            "They are counted by rule. Mend the cause and replay them together:",
            f"`crossdock dead-letters replay --flow {flow.name} --rule RULE`.",
        )


def _unread(connection: sa.Connection, flow: Flow, inbox: Inbox) -> Iterator[Finding]:
    """Finds files in `done/` whose present content nobody has read."""
    try:
        for file in inbox.done(flow.source.path, inbox.server_time() - DONE_SINCE):
            if not _is_known(connection, flow, inbox.keys(flow.source.path, file), file):
                yield Finding(
                    "unread_file",
                    f"{file.source}/{file.name}",
                    f"{flow.title}: a file in done/ was never read",
                    f"{file.name} of {file.source} lies in done/, but no record comes from these bytes: it was "
                    "replaced, written to or put there by hand. Move it back into the folder above, to be read.",
                    flow.name,
                )
    except (ConfigError, OSError) as error:
        yield Finding(
            "inbox",
            flow.source.name,
            f"{flow.title}: the inbox cannot be looked at",
            f"{error} See the settings of CROSSDOCK_INBOX and who may read there.",
            flow.name,
        )


def _left(connection: sa.Connection, flow: Flow, inbox: Inbox) -> Iterator[Finding]:
    """Finds files that are still in the inbox although they were read and none of their records is open."""
    try:
        for file in inbox.lying(flow.source.path):
            keys = inbox.keys(flow.source.path, file)
            if _is_known(connection, flow, keys, file) and not _is_open(connection, flow, keys):
                yield Finding(
                    "left_file",
                    f"{file.source}/{file.name}",
                    f"{flow.title}: a file lies in the inbox and nothing comes of it",
                    f"{file.name} of {file.source} was read as it is, and its dead letters are closed. Take it out of "
                    "the inbox; or, if it is to be taken after all, run "
                    f"`crossdock sync {flow.name} --key {keys[0]}`.",
                    flow.name,
                )
    except (ConfigError, OSError):
        return  # `_unread` reports it


def _is_open(connection: sa.Connection, flow: Flow, keys: list[str]) -> bool:
    """Whether one of these records is in a batch at work, waits for the next read, or is a dead letter."""
    named = sa.bindparam("keys", keys, type_=sa.ARRAY(sa.Text))
    staged, letter = flow.stage.c, ops_dead_letter.c
    at_work = sa.exists().where(staged.key == sa.any_(named), staged.state != "dead")
    dead = sa.exists().where(
        letter.flow == flow.name, letter.key == sa.any_(named), letter.state.in_(("open", "edited"))
    )
    unworked = (  # read, and not yet staged
        sa.select(ops_work.c.key)
        .outerjoin(ops_batch, ops_batch.c.id == ops_work.c.batch_id)
        .where(
            ops_work.c.queue == flow.name,
            ops_work.c.key == sa.any_(named),
            sa.or_(ops_work.c.batch_id.is_(None), ops_batch.c.in_flight > 0),
        )
        .exists()
    )
    return bool(connection.scalar(sa.select(sa.or_(at_work, dead, unworked))))


def _is_known(connection: sa.Connection, flow: Flow, keys: list[str], file: File) -> bool:
    """Whether a record was read from these bytes. Records from before digests were kept count by name alone."""
    table, named = flow.source.raw, flow.source.raw.c.payload["FileDigest"].as_string()
    of_it = sa.select(1).where(
        table.c.key == sa.any_(sa.bindparam("keys", keys, type_=sa.ARRAY(sa.Text))),
        sa.or_(named == file.digest, named.is_(None)),
    )
    return connection.execute(of_it.limit(1)).first() is not None


def _circuits(connection: sa.Connection) -> Iterator[Finding]:
    for row in connection.execute(sa.select(ops_circuit).where(ops_circuit.c.state != "closed")):
        yield Finding(
            "circuit_open",
            row.system,
            f"{NAMES.get(row.system, row.system)} is down",
            f"It failed {row.failures} times in a row since {row.opened_at:%Y-%m-%d %H:%M} UTC. Its flows pause, the "
            "others go on; nothing is lost. They go on by themselves when it answers again.",
            None,
        )


def _shared(connection: sa.Connection) -> Iterator[Finding]:
    """Finds mixed orders that have waited long for the marketplace to ship its part."""
    age = sa.func.now() - ops_link.c.created_at
    order = stage_sales_order.c
    late = connection.execute(
        sa.select(ops_link.c.source_key, age.label("age"))
        .join(stage_sales_order, order.key == ops_link.c.source_key)
        .where(ops_link.c.entity == "sales_order", ops_link.c.held_by.in_(OURS), order.own_location_id.is_not(None))
        .where(age > SHARED_FOR)
        .order_by(ops_link.c.created_at)
    ).all()
    if late:
        names = ", ".join(row.source_key for row in late[:10]) + (" and others" if late[10:] else "")
        count = f"{len(late)} mixed orders wait" if len(late) > 1 else "a mixed order waits"
        yield Finding(
            "mixed_order_held",
            "orders",
            f"Orders: {count} for the marketplace, since {_words(late[0].age)}",
            f"The marketplace ships a part and has not shipped all of it: {names}. Look at each on the channel: "
            "which lines are ours? Release the order in TIMS and ship those; what is then open is held again until "
            "the marketplace has shipped it. Or cancel on the channel what will not come.",
            "orders",
        )


def _events(connection: sa.Connection, flows: dict[str, Flow]) -> Iterator[Finding]:
    """Finds events that the receiver takes and nobody works. Where none comes, events are off: then what is left is
    no alert."""
    event, now = ops_webhook_event.c, sa.func.now()
    newest = sa.select(event.received_at).order_by(event.received_at.desc()).limit(1).scalar_subquery()
    oldest = sa.func.min(event.received_at)
    rows = connection.execute(
        sa.select(
            event.flow, sa.func.count().label("waiting"), (now - oldest).label("age"),
            sa.func.max(event.times).label("times"),
        )
        .where(event.worked_at.is_(None))
        .group_by(event.flow)
        .having(oldest < now - EVENTS_WAIT, newest > now - EVENTS_COME)
    )  # fmt: skip
    for row in rows:
        flow = flows.get(row.flow)
        waits = f"{row.waiting} events wait, the oldest" if row.waiting > 1 else "an event waits"
        tried = (
            f"A run has taken them, {row.times} times at most, and could not work them: the log of its task says why."
        )
        yield Finding(
            "events_wait",
            row.flow,
            f"{flow.title if flow else row.flow}: {waits} for {_words(row.age)}",
            f"The receiver takes events and they are not worked. {tried if row.times else 'No run has taken them.'} "
            "Look at the last runs of the DAG events: is it paused, failing, or is the scheduler down? Nothing is "
            "lost: polling brings the same records, later.",
            row.flow,
        )


def _words(span: timedelta) -> str:
    minutes = int(span.total_seconds() // 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h" if minutes < 2880 else f"{minutes // 1440} days"
