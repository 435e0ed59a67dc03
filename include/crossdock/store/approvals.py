"""Approvals: changes that a person decides on, each asked once.

In: what is asked, what a person says. Out: open questions, decisions, both on record. Never: two open questions of one
place; a decision of nobody; a change approved by who made the rule that it comes from (`own_rules`).

States: open -> approved (it may be sent, that very price) | refused (it is not, until another price is wanted) |
withdrawn (nothing is asked any more, or something else).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import distinct_on

from crossdock import settings
from crossdock.errors import ConfigError, NotAllowed
from crossdock.store import audit, database, own_rules
from crossdock.store.tables import ops_approval as table

Place = tuple[str, str]  # key, target
IDS = sa.ARRAY(sa.BigInteger)


def latest(connection: sa.Connection, flow: str, keys: Sequence[str]) -> dict[Place, sa.Row]:
    """The last question of each place of `keys`, in any state but withdrawn."""
    rows = connection.execute(
        sa.select(table)
        .ext(distinct_on(table.c.key, table.c.target))
        .where(
            table.c.flow == flow,
            table.c.state != "withdrawn",
            table.c.key == sa.any_(sa.bindparam("keys", list(keys), type_=sa.ARRAY(sa.Text))),
        )
        .order_by(table.c.key, table.c.target, table.c.id.desc())
    )
    return {(row.key, row.target): row for row in rows}


def ask(connection: sa.Connection, questions: Sequence[Mapping[str, Any]]) -> None:
    """Writes open questions: mappings of flow, key, target, site_id, from_price, to_price, promotion_price, cost,
    currency_code, why. Each keeps the version of the configuration that is in use."""
    if questions:
        number = settings.version() or own_rules.SHIPPED
        connection.execute(database.insert_all(table, [{**one, "config_version": number} for one in questions]))


def withdraw(connection: sa.Connection, ids: Sequence[int]) -> None:
    """Withdraws questions that nobody needs to answer any more."""
    _set(connection, ids, ("open",), state="withdrawn", decided_at=sa.func.now())


def used(connection: sa.Connection, ids: Sequence[int]) -> None:
    """Notes that these approved prices have been sent."""
    _set(connection, ids, ("approved",), used_at=sa.func.coalesce(table.c.used_at, sa.func.now()))


def _set(connection: sa.Connection, ids: Sequence[int], states: Sequence[str], **values: Any) -> list[int]:
    """Changes those of `ids` that are in one of `states`; the ids changed."""
    if not ids:
        return []
    given = sa.bindparam("ids", list(ids), type_=sa.ARRAY(sa.BigInteger))
    return list(
        connection.scalars(
            sa.update(table)
            .where(table.c.id == sa.any_(given), table.c.state.in_(states))
            .values(**values)
            .returning(table.c.id)
        )
    )


def listed(connection: sa.Connection, flow: str, state: str | None = "open") -> list[sa.Row]:
    """Questions, oldest first; `state` None means all."""
    query = sa.select(table).where(table.c.flow == flow).order_by(table.c.id)
    return list(connection.execute(query if state is None else query.where(table.c.state == state)))


def decide(
    connection: sa.Connection, flow: str, ids: Sequence[int], *, approved: bool, who: str, note: str = ""
) -> list[int]:
    """Records a person's decision on open questions; those of `ids` that were still open. What is to be approved and
    is the person's own (`own`) stays open, which is on record. Raises ConfigError for a number that is not a question
    of the flow."""
    given = sa.bindparam("ids", list(ids), type_=sa.ARRAY(sa.BigInteger))
    existing = set(connection.scalars(sa.select(table.c.id).where(table.c.flow == flow, table.c.id == sa.any_(given))))
    if unknown := sorted(set(ids) - existing):
        raise ConfigError(
            f"There is no question {', '.join(map(str, unknown[:20]))}; nothing was decided.",
            do=f"The page Approvals shows the open ones; `crossdock {flow} approvals` with their numbers.",
        )
    state = "approved" if approved else "refused"
    mine = own(connection, flow, ids, who) if approved else {}
    if mine:
        kept = connection.execute(sa.select(table).where(table.c.id == sa.any_(sa.cast(list(mine), IDS)))).all()
        audit.record_each(
            connection, who, f"{flow} own rule", {str(row.id): _detail(row) | {"rule": mine[row.id]} for row in kept}
        )
    decided = sorted(
        _set(
            connection,
            [one for one in ids if one not in mine],
            ("open",),
            state=state,
            decided_at=sa.func.now(),
            decided_by=who,
            note=note or None,
        )
    )
    rows = connection.execute(sa.select(table).where(table.c.id == sa.any_(given), table.c.state == state))
    details = {row.id: _detail(row) for row in rows}
    audit.record_each(connection, who, f"{flow} {state}", {str(number): details[number] for number in decided})
    return decided


def own(connection: sa.Connection, flow: str, ids: Sequence[int], who: str) -> dict[int, str]:
    """Of these questions the open ones that come from a rule which `who` has made: by number, which rule it is."""
    given = sa.cast(list(ids), IDS)
    waiting = connection.scalars(
        sa.select(table.c.id).where(table.c.flow == flow, table.c.id == sa.any_(given), table.c.state == "open")
    )
    return own_rules.own_rules(connection, flow, list(waiting), who)


def refused_as_own(rules: Mapping[int, str]) -> NotAllowed:
    """That nothing was approved, for all of it comes from the person's own rule."""
    which = ", ".join(dict.fromkeys(rules.values()))
    what = "this price comes" if len(rules) == 1 else f"these {len(rules):,} prices come"
    return NotAllowed(
        f"Nothing was approved: {what} from a price rule of your own, {which}, and console.yaml asks for a second "
        "person there.",
        do="Ask somebody else who decides on prices. You may refuse them, or take your rule back.",
    )


def _detail(row: sa.Row) -> dict[str, str]:
    """What was decided, for the audit log: the price as it was and as it is to be, which is no personal data."""
    price = (
        f"{f'from {_written(row.from_price)} ' if row.from_price is not None else 'new, '}to {_written(row.to_price)}"
    )
    detail = {"key": row.key, "price": f"{price} {row.currency_code}"}
    if row.promotion_price is not None:
        detail["promotion"] = f"{_written(row.promotion_price)} {row.currency_code}"
    return detail | ({"note": row.note} if row.note else {})


def _written(price: Decimal) -> str:
    """The price with two places, or with more where they are not 0."""
    return f"{price:.2f}" if price == round(price, 2) else f"{price.normalize():f}"
