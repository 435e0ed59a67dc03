"""Dead letters: refused records, each with every reason and what a person should do.

States: open -> edited (payload changed) -> replayed (sent again, went through) | dismissed (a person decided that it
need not go, which may be taken back) | resolved (a newer version of the record went through by itself). At most one is
open per record: a record that is refused again counts up.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import Insert, distinct_on, insert

from crossdock.errors import ConfigError
from crossdock.store import audit, database, raw
from crossdock.store.tables import ops_dead_letter as table

OPEN = ("open", "edited")
CLOSED = ("replayed", "resolved", "dismissed")


def dead_letter(connection: sa.Connection, rows: Sequence[Mapping[str, Any]]) -> None:
    """Writes dead letters: mappings of flow, entity, key, batch_id, step, reasons, payload, version."""
    if rows:
        first = [{**row, "first_batch_id": row["batch_id"]} for row in rows]
        connection.execute(_counted_up(database.insert_all(table, first)))


def dead_letter_records(
    connection: sa.Connection,
    records: sa.Table,
    reasons: Mapping[str, list[dict[str, Any]]],
    *,
    flow: str,
    entity: str,
    batch_id: int,
    step: str,
) -> None:
    """Writes dead letters of records of a batch; `reasons` by key. Their payloads go from the raw table `records` to
    the letters as they are."""
    if not reasons:
        return
    newest = raw.newest(raw.versions(records, batch_id), list(reasons)).subquery()
    given = database.given(table, [{"key": key, "reasons": why} for key, why in reasons.items()])
    facts = {"flow": flow, "entity": entity, "batch_id": batch_id, "first_batch_id": batch_id, "step": step}
    source = sa.select(
        newest.c.key, newest.c.version, newest.c.payload, given.c.reasons,
        *(sa.literal(value, type_=table.c[name].type) for name, value in facts.items()),
    ).join(given, given.c.key == newest.c.key)  # fmt: skip
    names = ["key", "version", "payload", "reasons", *facts]
    connection.execute(_counted_up(insert(table).from_select(names, source, include_defaults=False)))


def _counted_up(statement: Insert) -> Insert:
    """Counts up the open letter of a record that is refused once more."""
    new = statement.excluded
    return statement.on_conflict_do_update(
        index_elements=[table.c.flow, table.c.key],
        index_where=sa.text("state IN ('open', 'edited')"),
        set_={
            "batch_id": new.batch_id,
            "entity": new.entity,
            "step": new.step,
            "reasons": new.reasons,
            "payload": new.payload,
            "version": new.version,
            "state": "open",
            "times": table.c.times + 1,
            "refused_at": sa.func.now(),
            "replay_asked_at": None,
            "updated_at": sa.func.now(),
        },
    )


def close_resolved(connection: sa.Connection, flow: str, keys: Sequence[str], *, replay: bool) -> None:
    """Closes the open dead letters of records that have gone through: by a person's replay or by themselves."""
    if keys:
        connection.execute(
            sa.update(table)
            .where(
                table.c.flow == flow,
                table.c.key == sa.any_(sa.bindparam("keys", list(keys), type_=sa.ARRAY(sa.Text))),
                table.c.state.in_(OPEN),
            )
            .values(state="replayed" if replay else "resolved", replay_asked_at=None, updated_at=sa.func.now())
        )


def refused(connection: sa.Connection, flow: str, keys: Sequence[str]) -> set[tuple[str, str]]:
    """(key, hash) of those records that extract refused and whose letter is open or dismissed."""
    hashed = table.c.payload["hash"].astext
    rows = connection.execute(
        sa.select(table.c.key, hashed).where(
            table.c.flow == flow,
            table.c.key == sa.any_(sa.bindparam("keys", list(keys), type_=sa.ARRAY(sa.Text))),
            table.c.step == "extract",
            table.c.state.in_((*OPEN, "dismissed")),
        )
    )
    return {(key, digest) for key, digest in rows}


def open_of(connection: sa.Connection, flow: str, keys: Sequence[str]) -> set[str]:
    """The keys among `keys` that have an open dead letter."""
    wanted = table.c.key == sa.any_(sa.bindparam("keys", list(keys), type_=sa.ARRAY(sa.Text)))
    return set(connection.scalars(sa.select(table.c.key).where(table.c.flow == flow, wanted, table.c.state.in_(OPEN))))


def unreadable(connection: sa.Connection, flow: str, keys: Sequence[str]) -> dict[str, Any]:
    """{key: version} of the open dead letters of `keys` that extract wrote."""
    wanted = table.c.key == sa.any_(sa.bindparam("keys", list(keys), type_=sa.ARRAY(sa.Text)))
    found = sa.select(table.c.key, table.c.version).where(table.c.flow == flow, wanted, table.c.state.in_(OPEN))
    return {row.key: row.version for row in connection.execute(found.where(table.c.step == "extract"))}


def find(connection: sa.Connection, which: str) -> sa.Row:
    """The dead letter with this id, or the open (else newest) one of the record with this key. ConfigError if none."""
    number = int(which) if re.fullmatch("[0-9]{1,18}", which) else -1
    row = connection.execute(
        sa.select(table)
        .where(sa.or_(table.c.id == number, table.c.key == which))
        .order_by((table.c.id == number).desc(), table.c.state.in_(OPEN).desc(), table.c.updated_at.desc())
        .limit(1)
    ).one_or_none()
    if row is None:
        raise ConfigError(
            f"There is no dead letter {which}.", do="`crossdock dead-letters list` shows their numbers and keys."
        )
    return row


def listed(
    connection: sa.Connection,
    *,
    flow: str | None = None,
    state: str | None = "open",
    rule: str | None = None,
    limit: int = 500,
) -> list[sa.Row]:
    """Dead letters, oldest first; `state` "open" includes edited ones, None means all."""
    query = sa.select(table).order_by(table.c.created_at, table.c.id).limit(limit)
    if flow:
        query = query.where(table.c.flow == flow)
    if state:
        query = query.where(table.c.state.in_(OPEN if state == "open" else (state,)))
    if rule:
        query = query.where(table.c.reasons.contains([{"rule": rule}]))
    return list(connection.execute(query))


def edit(
    connection: sa.Connection, dead_letter_id: int, payload: dict, *, who: str, fields: Sequence[str] = ()
) -> None:
    """Stores the payload as a person edited it, to be replayed. `fields`: the paths that are others now."""
    _change(
        connection, dead_letter_id, "edit", who, {"fields": list(fields)},
        state="edited", edited_payload=payload, edited_from=table.c.payload,
    )  # fmt: skip


def dismiss(connection: sa.Connection, dead_letter_id: int, *, who: str, note: str) -> None:
    """Dismisses a dead letter: a person decided that the record need not be delivered, and why."""
    _change(connection, dead_letter_id, "dismiss", who, {"note": note}, state="dismissed", note=note)


def reopen(connection: sa.Connection, dead_letter_id: int, *, who: str) -> None:
    """Opens a dismissed dead letter again, as it was: edited where somebody had edited it."""
    state = sa.case((table.c.edited_payload.is_not(None), "edited"), else_="open")
    connection.execute(
        sa.update(table)
        .where(table.c.id == dead_letter_id, table.c.state == "dismissed")
        .values(state=state, note=None, replay_asked_at=None, changed_by=who, updated_at=sa.func.now())
    )


def _change(
    connection: sa.Connection, dead_letter_id: int, action: str, who: str, detail: Mapping[str, Any], **values: Any
) -> None:
    """Changes an open letter. ConfigError for one that is closed, or that a run has in its hands."""
    changed = connection.execute(
        sa.update(table)
        .where(table.c.id == dead_letter_id, table.c.state.in_(OPEN), table.c.replay_asked_at.is_(None))
        .values(**values, changed_by=who, updated_at=sa.func.now())
        .returning(table.c.key)
    ).one_or_none()
    if changed is None:
        still_open = sa.select(table.c.id).where(table.c.id == dead_letter_id, table.c.state.in_(OPEN))
        if connection.scalar(still_open) is not None:
            raise ConfigError(
                f"Dead letter {dead_letter_id} is in replay: its run has the record as it is.",
                do="Wait until it comes back; its page says what came of it. Nothing was changed.",
            )
        raise ConfigError(
            f"Dead letter {dead_letter_id} is not open any more.",
            do="`crossdock dead-letters show` tells what became of it.",
        )
    audit.record(connection, who, f"dead-letter {action}", str(dead_letter_id), {"key": changed.key, **detail})


def edits_to_carry(connection: sa.Connection, flow: str, keys: Sequence[str]) -> dict[str, tuple[dict, dict]]:
    """(payload when edited, edited payload) of the newest edited dead letter of each key, for `merge_edit`."""
    rows = connection.execute(
        sa.select(table.c.key, table.c.edited_from, table.c.edited_payload)
        .ext(distinct_on(table.c.key))
        .where(
            table.c.flow == flow,
            table.c.edited_payload.is_not(None),
            table.c.state != "dismissed",
            table.c.key == sa.any_(sa.bindparam("keys", list(keys), type_=sa.ARRAY(sa.Text))),
        )
        .order_by(table.c.key, table.c.id.desc())
    )
    return {key: (before, after) for key, before, after in rows}


def merge_edit(document: Any, before: Any, after: Any) -> Any:
    """A person's edit, carried over to a newer version of the record: what was edited and is still as it was before
    the edit takes the edited value; what the source has changed since wins."""
    if isinstance(document, dict) and isinstance(before, dict) and isinstance(after, dict):
        result = dict(document)
        for name in before.keys() | after.keys():
            if name in document or name in after:
                result[name] = merge_edit(document.get(name), before.get(name), after.get(name))
        return result
    lists = all(isinstance(each, list) for each in (document, before, after))
    if lists and len(document) == len(before) == len(after):
        return [merge_edit(*parts) for parts in zip(document, before, after, strict=True)]
    return after if document == before else document


def edited(connection: sa.Connection, flow: str, keys: Sequence[str]) -> dict[str, tuple[dict, Any]]:
    """(edited payload, version) of the open dead letters of `keys` that a person has edited."""
    rows = connection.execute(
        sa.select(table.c.key, table.c.edited_payload, table.c.version).where(
            table.c.flow == flow,
            table.c.state == "edited",
            table.c.key == sa.any_(sa.bindparam("keys", list(keys), type_=sa.ARRAY(sa.Text))),
        )
    )
    return {key: (payload, version) for key, payload, version in rows}


def refused_as_received(connection: sa.Connection, flow: str, keys: Sequence[str]) -> list[str]:
    """Those of `keys` whose open dead letter is of a record that could not be taken as it came, and that nobody has
    edited: nothing of it is stored that could be worked again."""
    rows = connection.scalars(
        sa.select(table.c.key).where(
            table.c.flow == flow,
            table.c.state == "open",
            table.c.step == "extract",
            table.c.key == sa.any_(sa.bindparam("keys", list(keys), type_=sa.ARRAY(sa.Text))),
        )
    )
    return sorted(set(rows))


def dead_row(connection: sa.Connection, stage: sa.Table, key: str, batch_id: int, version: Any) -> None:
    """A stage row for a record that never became a document, so that the batch's counts add up."""
    values = {"key": key, "batch_id": batch_id, "version": version, "state": "dead"}
    connection.execute(
        insert(stage)
        .values(**values)
        .on_conflict_do_update(index_elements=[stage.c.key], set_={k: v for k, v in values.items() if k != "key"})
    )
