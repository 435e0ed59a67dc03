"""Price changes that wait for a person: what, from, to, with which margin, why; and the decision.

In: the person, numbers of changes or a filter. Out: changes a page at a time; decisions on record, those of Airflow's
required actions and of the command line alike: whichever comes first holds. Never: a change decided that the person
has not seen; one approved by who made its price rule, where that rule needs a second person; a price of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import ROUND_HALF_UP, Decimal

import sqlalchemy as sa

from crossdock.errors import ConfigError
from crossdock.services.people import Person, Right
from crossdock.store import approvals, audit
from crossdock.store.tables import ops_approval as table

FLOW = "prices"
SENT = "prices send"  # as the audit log names it
PAGE = 50
STATES = ("open", "approved", "refused", "withdrawn")
KINDS = {"below_cost": "below cost", "up": "dearer", "down": "cheaper", "new": "new at the channel"}
TENTH = Decimal("0.1")
LARGEST = 2**63 - 1  # number that the database can hold
# What is asked for: the promotional price where it is that one.
_ASKED = sa.func.coalesce(table.c.promotion_price, table.c.to_price)


@dataclass(frozen=True)
class Filter:
    """Which changes: their state, a part of the SKU or of the target, one of KINDS."""

    state: str = "open"
    q: str | None = None
    kind: str | None = None

    def where(self) -> list[sa.ColumnElement[bool]]:
        """Raises ConfigError for a state or kind that there is not."""
        for given, allowed, what in ((self.state, STATES, "state"), (self.kind, tuple(KINDS), "kind")):
            if given is not None and given not in allowed:
                raise ConfigError(f"There is no {what} {given[:60]!r}.", do=f"There are {', '.join(allowed)}.")
        wanted = [table.c.flow == FLOW, table.c.state == self.state]
        if self.q:
            wanted.append(
                sa.or_(
                    table.c.key.icontains(self.q, autoescape=True), table.c.target.icontains(self.q, autoescape=True)
                )
            )
        if self.kind:
            wanted.append(_KINDS[self.kind])
        return wanted


_KINDS: dict[str, sa.ColumnElement[bool]] = {
    "below_cost": table.c.cost > _ASKED,
    "up": table.c.from_price < _ASKED,
    "down": table.c.from_price > _ASKED,
    "new": table.c.from_price.is_(None),
}


@dataclass(frozen=True)
class Change:
    """One price change. `to`: the price that is asked for, `price` the one without the promotion; `change` and `margin`
    in percent, of the old price and of the new one; None where there is none to compare with."""

    id: int
    sku: str
    target: str
    site_id: int
    before: Decimal | None
    to: Decimal
    price: Decimal
    is_promotion: bool
    currency_code: str
    cost: Decimal
    change: Decimal | None
    margin: Decimal | None
    why: str
    state: str
    asked_at: datetime
    decided_at: datetime | None
    decided_by: str | None
    note: str
    used_at: datetime | None
    own_rule: str = ""  # by which the person who looks may not approve it

    @property
    def below_cost(self) -> bool:
        return self.to < self.cost


@dataclass(frozen=True)
class Changes:
    """A page of changes: open ones the oldest first, decided ones the newest first. `after`: what to ask for the next
    page with; `newest`: the largest number that the person can have seen."""

    rows: tuple[Change, ...]
    after: int | None
    newest: int


@dataclass(frozen=True)
class Counts:
    """Open changes: all of them, and by kind; and changes that are approved and not sent yet."""

    open: int
    kinds: dict[str, int]
    unused: int


@dataclass(frozen=True)
class Decided:
    """What a decision did. `late`: changes that had been decided or withdrawn before, and stay as they were; `own`: by
    number the person's own price rule, for whose prices somebody else decides: they stay open."""

    numbers: tuple[int, ...]
    late: int
    own: Mapping[int, str] = field(default_factory=dict)

    def require_some(self) -> None:
        """Raises NotAllowed where nothing was decided because all of it was the person's own. After the transaction:
        what was tried stays on record."""
        if self.own and not self.numbers:
            raise approvals.refused_as_own(self.own)


def counts(connection: sa.Connection, person: Person) -> Counts:
    """How many changes wait, and of which kind."""
    person.require(Right.SEE)
    each = [sa.func.count().filter(condition).label(name) for name, condition in _KINDS.items()]
    row = connection.execute(
        sa.select(sa.func.count().label("open"), *each).where(table.c.flow == FLOW, table.c.state == "open")
    ).one()
    unused = connection.scalar(
        sa.select(sa.func.count()).where(table.c.flow == FLOW, table.c.state == "approved", table.c.used_at.is_(None))
    )
    return Counts(row.open, {name: getattr(row, name) for name in KINDS}, unused or 0)


def changes(
    connection: sa.Connection, person: Person, wanted: Filter, *, after: int | None = None, limit: int = PAGE
) -> Changes:
    """Changes, a page at a time."""
    person.require(Right.SEE)
    where, rising = wanted.where(), wanted.state == "open"
    newest = connection.scalar(sa.select(sa.func.max(table.c.id)).where(table.c.flow == FLOW)) or 0
    if after is not None:
        where.append(table.c.id > after if rising else table.c.id < after)
    order = table.c.id if rising else table.c.id.desc()
    rows = connection.execute(sa.select(table).where(*where).order_by(order).limit(limit + 1)).all()
    shown = rows[:limit]
    own = approvals.own(connection, FLOW, [row.id for row in shown], person.name) if rising else {}
    return Changes(
        tuple(_change(row, own.get(row.id, "")) for row in shown), shown[-1].id if len(rows) > limit else None, newest
    )


def matching(connection: sa.Connection, person: Person, wanted: Filter) -> int:
    """How many changes a filter has."""
    person.require(Right.SEE)
    return connection.scalar(sa.select(sa.func.count()).select_from(table).where(*wanted.where())) or 0


def _change(row: sa.Row, own_rule: str) -> Change:
    to = row.to_price if row.promotion_price is None else row.promotion_price
    return Change(
        row.id, row.key, row.target, row.site_id, row.from_price, to, row.to_price, row.promotion_price is not None,
        row.currency_code, row.cost, _percent(to - row.from_price, row.from_price) if row.from_price else None,
        _percent(to - row.cost, to), row.why, row.state, row.asked_at, row.decided_at, row.decided_by,
        row.note or "", row.used_at, own_rule,
    )  # fmt: skip


def _percent(part: Decimal, whole: Decimal) -> Decimal | None:
    return (part / whole * 100).quantize(TENTH, ROUND_HALF_UP) if whole else None


def decide(
    connection: sa.Connection,
    person: Person,
    *,
    approved: bool,
    note: str = "",
    numbers: Sequence[int] = (),
    wanted: Filter | None = None,
    newest: int = 0,
) -> Decided:
    """Approves or refuses open changes: by their numbers, or all of a filter up to the number `newest`, so that none
    is decided that came after the person had looked. Raises ConfigError for a refusal without a reason, where nothing
    was chosen, and for a number that is no question's."""
    person.require(Right.APPROVE)
    if beyond := [number for number in (*numbers, newest) if not 0 <= number <= LARGEST]:
        raise ConfigError(
            f"{str(beyond[0])[:30]} is no number of a price change.",
            do="Take the numbers from the list of those that are open.",
        )
    note = note.strip()
    if not approved and not note:
        raise ConfigError("A refusal needs a reason.", do="Say why; it is kept with the decision.")
    if not numbers and wanted is None:
        raise ConfigError("No price changes were chosen.", do="Choose changes, or all of a filter.")
    ids = list(numbers)
    if wanted is not None and not ids:
        if wanted.state != "open":
            raise ConfigError("Only open changes can be decided.", do="Go back to those that are open.")
        if connection.scalar(sa.select(table.c.id).where(table.c.flow == FLOW, table.c.id == newest)) is None:
            raise ConfigError(
                f"There is no price change {newest}, up to which was decided; nothing was.",
                do="Load the list of changes again: its `newest` is the number of the last one in it.",
            )
        ids = list(connection.scalars(sa.select(table.c.id).where(*wanted.where(), table.c.id <= newest)))
    own = approvals.own(connection, FLOW, ids, person.name) if approved else {}
    decided = approvals.decide(connection, FLOW, ids, approved=approved, who=person.name, note=note)
    return Decided(tuple(decided), len(set(ids)) - len(decided) - len(own), own)


def note_send(connection: sa.Connection, person: Person, run: str) -> None:
    """Notes that a person has had approved prices sent at once, by this run of the DAG prices."""
    person.require(Right.APPROVE)
    audit.record(connection, person.name, SENT, run)


def still_open(connection: sa.Connection, numbers: Sequence[int]) -> bool:
    """Whether any of these changes still waits."""
    given = sa.bindparam("ids", list(numbers), type_=sa.ARRAY(sa.BigInteger))
    return bool(connection.scalar(sa.select(sa.exists().where(table.c.id == sa.any_(given), table.c.state == "open"))))
