"""What would have been sent: the requests of flows in shadow mode, the newest of each effect; and who a cap has let go.

In: effects with their requests. Out: rows of `ops.would_be` and `ops.admitted`. Never: a delivery; a second row of one
effect.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from crossdock import settings
from crossdock.store import database
from crossdock.store.tables import ops_admitted, ops_link, ops_shadow_record, ops_would_be, ref_sales_order


def keep(connection: sa.Connection, flow: str, batch_id: int, rows: Sequence[Mapping[str, Any]]) -> None:
    """Keeps what a batch would have sent; of the same effect, what is kept already is written over. An older batch's
    row of the same document, under another name, goes."""
    if not rows:
        return
    of_batch = {"flow": flow, "batch_id": batch_id, "config_version": settings.version(), "later": None}
    newest = {row["idempotency_key"]: {**row, **of_batch} for row in rows}
    table = ops_would_be.c
    given = database.given(
        ops_would_be, [{name: row[name] for name in ("entity", "operation", "key")} for row in newest.values()]
    )
    connection.execute(
        sa.delete(ops_would_be).where(
            table.flow == flow, table.batch_id != batch_id, table.entity == given.c.entity,
            table.operation == given.c.operation, table.key == given.c.key,
            table.idempotency_key != sa.all_(sa.bindparam("names", list(newest), type_=sa.ARRAY(sa.Text))),
        )
    )  # fmt: skip
    statement = database.insert_all(ops_would_be, list(newest.values()))
    names = [name for name in next(iter(newest.values())) if name not in ("flow", "idempotency_key")]
    connection.execute(
        statement.on_conflict_do_update(
            index_elements=[ops_would_be.c.flow, ops_would_be.c.idempotency_key],
            set_={name: statement.excluded[name] for name in names} | {"at": sa.func.now()},
        )
    )


def forget(connection: sa.Connection, flow: str, rows: Sequence[str]) -> None:
    """Removes what would have been sent of these stage rows: it was sent, or is not to be sent any more."""
    connection.execute(sa.delete(ops_would_be).where(ops_would_be.c.flow == flow, ops_would_be.c.row == _among(rows)))


def made(connection: sa.Connection, flow: str, entity: str, rows: Sequence[str]) -> set[str]:
    """Of these stage rows, those of which a document of this kind would have been made."""
    table = ops_would_be.c
    mine = sa.and_(table.flow == flow, table.entity == entity, table.operation == "create")
    return set(connection.scalars(sa.select(table.row).where(mine, table.row == _among(rows))))


def note(connection: sa.Connection, flow: str, later: Mapping[str, str]) -> None:
    """Notes what has come later, by stage row; what would have been sent of them stays."""
    if later:
        given = database.given(ops_would_be, [{"row": row, "later": words} for row, words in later.items()])
        table = ops_would_be.c
        connection.execute(
            sa.update(ops_would_be).where(table.flow == flow, table.row == given.c.row).values(later=given.c.later)
        )


def age(connection: sa.Connection, flow: str, days: int) -> int:
    """Removes what may hold personal data of what would have been sent more than so many days ago: what is left says
    which effect it was. Returns of how many."""
    table = ops_would_be.c
    old = table.at < sa.func.now() - sa.cast(f"{days} days", sa.Interval)
    held = sa.or_(table.body.is_not(None), table.document.is_not(None))
    statement = sa.update(ops_would_be).where(table.flow == flow, old, held).values(body=None, document=sa.null())
    return connection.execute(statement).rowcount


def forget_made(connection: sa.Connection, flow: str, batch_id: int) -> None:
    """Removes what would have been made and now has a link of this batch."""
    table, link = ops_would_be.c, ops_link.c
    connection.execute(
        sa.delete(ops_would_be).where(
            table.flow == flow, table.entity == link.entity, table.key == link.source_key, link.batch_id == batch_id
        )
    )


def keys(connection: sa.Connection, entity: str, wanted: Sequence[str]) -> set[str]:
    """Of `wanted`, those with a document that would be made."""
    table = ops_would_be.c
    return set(connection.scalars(sa.select(table.key).where(table.entity == entity, table.key == _among(wanted))))


def in_place() -> sa.Select:
    """Selects (their_id, key) of sales orders in TIMS that people have entered in place of those that we would make: by
    our number, or as the daily comparison has found them."""
    held, order, record = ops_would_be.c, ref_sales_order.c, ops_shadow_record.c
    ours = sa.and_(held.entity == "sales_order", held.operation == "create")
    by_number = sa.select(order.id.label("their_id"), held.key).where(ours, order.external_order_id == held.key)
    alike = sa.select(record.their_id, held.key).where(ours, record.flow == held.flow, record.key == held.key)
    both = sa.union(by_number, alike.where(record.their_id.is_not(None))).subquery("in_place")
    return sa.select(both.c.their_id, both.c.key)


def ended(connection: sa.Connection, flow: str, rows: Sequence[str]) -> set[str]:
    """Of these stage rows, those that no launch sends as they are held: something has come later, or their document
    belongs to an order that people have entered in place of ours."""
    table = ops_would_be.c
    by_hand = sa.and_(table.operation == "create", table.after.contains([{"entity": "sales_order"}]))
    mine = sa.and_(table.flow == flow, table.row == _among(rows))
    return set(connection.scalars(sa.select(table.row).where(mine, sa.or_(table.later.is_not(None), by_hand))))


def their_ids(connection: sa.Connection, flow: str, wanted: Sequence[str]) -> dict[str, str]:
    """Ids of documents that people have made in place of ours, by our key, as the daily comparison has found them."""
    table = ops_shadow_record.c
    mine = sa.and_(table.flow == flow, table.key == _among(wanted), table.their_id.is_not(None))
    return dict(connection.execute(sa.select(table.key, table.their_id).where(mine).order_by(table.day)).all())


def admitted(connection: sa.Connection, flow: str) -> set[str]:
    """Keys of the records that the cap of a flow's launch has let go."""
    return set(connection.scalars(sa.select(ops_admitted.c.key).where(ops_admitted.c.flow == flow)))


def admit(connection: sa.Connection, flow: str, rows: Sequence[str]) -> None:
    """Counts records as let go."""
    if rows:
        statement = database.insert_all(ops_admitted, [{"flow": flow, "key": key} for key in rows])
        connection.execute(statement.on_conflict_do_nothing())


def dismiss(connection: sa.Connection, flow: str, rows: Sequence[str] | None = None) -> None:
    """Counts records as let go no more: nothing was sent of them; all, where a launch begins anew."""
    mine = sa.delete(ops_admitted).where(ops_admitted.c.flow == flow)
    connection.execute(mine if rows is None else mine.where(ops_admitted.c.key == _among(rows)))


def _among(values: Sequence[str]) -> sa.ColumnElement[Any]:
    return sa.any_(sa.literal(list(values), type_=sa.ARRAY(sa.Text)))
