"""Closing a month: what its last close found (controls, open items by age), and the checklist with who ticked what.

In: the person, a month (YYYY-MM). Out: the results of the last close, as it kept them; ticks, each on record.
Never: a posting; a period closed in TIMS (its API has no call for that: the accountant does it there).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from crossdock.errors import ConfigError
from crossdock.ledger import controls as ledger_controls
from crossdock.ledger.close import last_day
from crossdock.services.people import Person, Right
from crossdock.store import audit, sql
from crossdock.store.tables import (
    ops_closing,
    ops_closing_step,
    ops_control,
    ops_open_item,
    ops_watermark,
    ref_gl_entry,
    ref_period,
)

PAGE = 100
MONTHS = 24  # that a list shows
DAG = "nightly_close"  # the DAG that closes
STEPS: dict[str, str] = {
    "payouts": "All payouts of the month are in",
    "controls": "The controls hold",
    "open_items": "The open items were looked at",
    "exported": "The ledger is exported and kept",
    "closed": "The month is closed",
}


@dataclass(frozen=True)
class Close:
    """One close of a month. `running`: it was asked for, and has not found anything yet."""

    id: int
    period: str
    run_id: str
    asked_at: datetime
    asked_by: str | None
    finished_at: datetime | None
    controls: int
    failed: int

    @property
    def running(self) -> bool:
        return self.finished_at is None


@dataclass(frozen=True)
class Step:
    """One step of the checklist. `who` None: nobody has ticked it. `hint`: what is to be seen of it, or what stops it;
    `blocked`: it cannot be ticked now."""

    name: str
    title: str
    who: str | None
    at: datetime | None
    note: str
    hint: str
    blocked: bool


@dataclass(frozen=True)
class MonthRow:
    """A month in the list."""

    period: str
    close: Close | None
    steps: int
    closed: bool
    tims_status: str | None


@dataclass(frozen=True)
class ControlRow:
    """What a control found about one subject."""

    name: str
    message: str
    do: str
    subject: str
    expected: str
    actual: str
    difference: Decimal | None
    holds: bool
    documents: tuple[str, ...]


@dataclass(frozen=True)
class OpenItems:
    """Open items of a kind and currency: (age, count, amount) and their sum."""

    kind: str
    currency_code: str
    ages: tuple[tuple[str, int, Decimal], ...]
    count: int
    amount: Decimal


@dataclass(frozen=True)
class Month:
    """A month whole. `close`: the last one that has ended; `running`: one that was asked for since. `controls` are
    those of `close`. `tims_status`: what TIMS said of its period when it was read last."""

    period: str
    close: Close | None
    running: Close | None
    controls: tuple[ControlRow, ...]
    open_items: tuple[OpenItems, ...]
    steps: tuple[Step, ...]
    tims_status: str | None
    late_entries: int  # posted into the month after it was ticked as closed
    before: str
    following: str

    @property
    def closed(self) -> bool:
        return any(step.name == "closed" and step.who for step in self.steps)


def months(connection: sa.Connection, person: Person, before: str | None = None) -> tuple[list[MonthRow], str | None]:
    """Months that have entries, were looked at, or to which a flow has read, the newest first; and from where the next
    page begins."""
    person.require(Right.SEE)
    first, last = connection.execute(
        sa.select(sa.func.min(ref_gl_entry.c.posting_date), sa.func.max(ref_gl_entry.c.posting_date))
    ).one()
    periods = set(connection.scalars(sa.select(ops_closing.c.period).distinct()))
    if first is not None:
        periods |= set(_between(f"{first:%Y-%m}", f"{last:%Y-%m}"))
    periods |= {f"{at:%Y-%m}" for at in connection.scalars(sa.select(ops_watermark.c.position))}
    named = sorted((one for one in periods if before is None or one < before), reverse=True)
    shown = named[:MONTHS]
    closes = {one.period: one for one in _closes(connection, shown)}
    steps = connection.execute(sa.select(ops_closing_step).where(ops_closing_step.c.period.in_(shown))).all()
    statuses = _statuses(connection, shown)
    rows = [
        MonthRow(
            period, closes.get(period), sum(step.period == period for step in steps),
            any((step.period, step.step) == (period, "closed") for step in steps), statuses.get(period),
        )
        for period in shown
    ]  # fmt: skip
    return rows, shown[-1] if len(named) > MONTHS else None


def month(connection: sa.Connection, person: Person, period: str) -> Month:
    """A month: what its last close found, and the checklist. Raises ConfigError where `period` is none."""
    person.require(Right.SEE)
    until = last_day(period)
    newest = connection.execute(
        sa.select(ops_closing).where(ops_closing.c.period == period).order_by(ops_closing.c.id.desc()).limit(1)
    ).one_or_none()
    close = next(iter(_closes(connection, [period])), None)
    running = _close(newest) if newest is not None and newest.finished_at is None else None
    found = _controls(connection, close) if close else ()
    open_items = _open_items(connection, period)
    status = _statuses(connection, [period]).get(period)
    ticked = {
        row.step: row
        for row in connection.execute(sa.select(ops_closing_step).where(ops_closing_step.c.period == period))
    }
    closed = ticked.get("closed")
    late = _late(connection, until, closed.at) if closed is not None else 0
    steps = _steps(connection, period, close, ticked, status, open_items)
    return Month(
        period, close, running, found, open_items, steps, status, late, _shifted(period, -1), _shifted(period, 1)
    )


def _between(first: str, last: str) -> list[str]:
    found = [first]
    while found[-1] < last:
        found.append(_shifted(found[-1], 1))
    return found


def _shifted(period: str, by: int) -> str:
    number = int(period[:4]) * 12 + int(period[5:]) - 1 + by
    return f"{number // 12:04d}-{number % 12 + 1:02d}"


def _closes(connection: sa.Connection, periods: Sequence[str]) -> list[Close]:
    """The last close of each period that has ended."""
    wanted = sa.select(sa.func.unnest(sa.cast(list(periods), sa.ARRAY(sa.Text))).label("period")).subquery("given")
    each = (
        sa.select(ops_closing)
        .where(ops_closing.c.period == wanted.c.period, ops_closing.c.finished_at.is_not(None))
        .order_by(ops_closing.c.id.desc())
        .limit(1)
        .lateral("each")
    )
    rows = connection.execute(sa.select(each).select_from(wanted.join(each, sa.true())))
    return [_close(row) for row in rows]


def _close(row: sa.Row) -> Close:
    return Close(row.id, row.period, row.run_id, row.asked_at, row.asked_by, row.finished_at, row.controls, row.failed)


def _statuses(connection: sa.Connection, periods: Sequence[str]) -> dict[str, str]:
    rows = connection.execute(sa.select(ref_period.c.id, ref_period.c.status).where(ref_period.c.id.in_(periods)))
    return {row.id: row.status for row in rows}


def _controls(connection: sa.Connection, close: Close) -> tuple[ControlRow, ...]:
    """What the controls of a close found, those that do not hold first. A run that was cleared has looked several
    times: the last time counts."""
    same = (ops_control.c.run_id == close.run_id, ops_control.c.period == close.period)
    last = sa.select(sa.func.max(ops_control.c.at)).where(*same).scalar_subquery()
    rows = connection.execute(
        sa.select(ops_control).where(*same, ops_control.c.at == last).order_by(ops_control.c.holds, ops_control.c.id)
    )
    words = {one.name: one for one in ledger_controls.queries()}
    found = []
    for row in rows:
        query = words.get(row.control)  # for those of closes that did not keep their words
        found.append(
            ControlRow(
                row.control, row.message or (query.message if query else ""), row.do or (query.do if query else ""),
                row.subject, row.expected, row.actual, row.difference, row.holds, tuple(row.documents),
            )
        )  # fmt: skip
    return tuple(found)


def _late(connection: sa.Connection, until: date, closed_at: datetime) -> int:
    return (
        connection.scalar(
            sa.select(sa.func.count()).where(
                ref_gl_entry.c.posting_date.between(until.replace(day=1), until), ref_gl_entry.c.version > closed_at
            )
        )
        or 0
    )


def _steps(
    connection: sa.Connection,
    period: str,
    close: Close | None,
    ticked: Mapping[str, sa.Row],
    status: str | None,
    open_items: Sequence[OpenItems],
) -> tuple[Step, ...]:
    """The checklist: what each step can be judged by, and what stops it."""
    never = "The month was never looked at: run the close first."
    hints = {
        "payouts": _payouts_hint(connection, period),
        "controls": never if close is None else "All of them held in the last close." if not close.failed
        else f"{close.failed} of {close.controls} do not hold: mend what they name, then run the close again.",
        "open_items": never if close is None else f"{sum(one.count for one in open_items):,} are open.",
        "exported": "Keep both files; the journal can be proved with bean-check.",
        "closed": f"TIMS says that its period is {_status_words(status)}. Close it in TIMS: Crossdock cannot, for "
        "TIMS's API only lists periods.",
    }  # fmt: skip
    missing = [STEPS[name] for name in STEPS if name != "closed" and name not in ticked]
    blocked = {
        "controls": close is None or close.failed > 0,
        "open_items": close is None,
        "closed": bool(missing),
    }
    if missing and "closed" not in ticked:
        hints["closed"] += " The steps before come first."
    return tuple(
        Step(
            name, title, row.who if row else None, row.at if row else None, row.note if row else "", hints[name],
            row is None and blocked.get(name, False),
        )
        for name, title in STEPS.items()
        for row in [ticked.get(name)]
    )  # fmt: skip


def _status_words(status: str | None) -> str:
    return {"Open": "open", "SoftClosed": "closed for now", "Closed": "closed for good", None: "not known"}.get(
        status, status or ""
    )


_PAYOUTS_OPEN = sql.statement(__package__, "payouts_open")


def _payouts_hint(connection: sa.Connection, period: str) -> str:
    """What is to be seen of missing payouts: refused files, and how far each source's settlements reach."""
    until = last_day(period)
    row = connection.execute(_PAYOUTS_OPEN, {"until": until}).one()
    words = []
    if row.letters:
        words.append(f"{row.letters:,} settlement files are dead letters")
    if row.behind:
        words.append(f"settlements end before the month does: {', '.join(sorted(row.behind))}")
    if not row.sources:
        words.append("no settlement has been booked")
    if not words:
        return "Every source's settlements reach the end of the month, and no file was refused."
    return f"Not yet: {'; '.join(words)}."


def tick(connection: sa.Connection, person: Person, period: str, step: str, note: str = "") -> None:
    """Ticks a step of a month's checklist. Raises ConfigError for a step that is not ready."""
    person.require(Right.CLOSE)
    last_day(period)
    _require_step(step)
    _lock(connection, period)
    state = next(one for one in month(connection, person, period).steps if one.name == step)
    if state.who:
        raise ConfigError(f"{state.who} has ticked this before.", do="Load the page again.")
    if state.blocked:
        raise ConfigError(f"“{state.title}” cannot be ticked yet. {state.hint}", do="Do that first.")
    connection.execute(insert(ops_closing_step).values(period=period, step=step, who=person.name, note=note.strip()))
    audit.record(connection, person.name, f"month {step}", period, {"note": note.strip()} if note.strip() else {})


def untick(connection: sa.Connection, person: Person, period: str, step: str, note: str) -> None:
    """Takes a tick back, with a reason. A step of a closed month only after the month itself."""
    person.require(Right.CLOSE)
    last_day(period)
    _require_step(step)
    note = note.strip()
    if not note:
        raise ConfigError("Nobody takes back a step without a reason.", do="Say why; it is kept in the audit log.")
    _lock(connection, period)
    if step != "closed" and connection.scalar(
        sa.select(sa.exists().where(ops_closing_step.c.period == period, ops_closing_step.c.step == "closed"))
    ):
        raise ConfigError(f"{period} is ticked as closed.", do="Take that back first.")
    gone = connection.scalar(
        sa.delete(ops_closing_step)
        .where(ops_closing_step.c.period == period, ops_closing_step.c.step == step)
        .returning(ops_closing_step.c.who)
    )
    if gone is None:
        raise ConfigError("Nobody has ticked this.", do="Load the page again.")
    audit.record(connection, person.name, f"month {step} taken back", period, {"note": note, "ticked by": gone})


def _require_step(step: str) -> None:
    if step not in STEPS:
        raise ConfigError(f"There is no step {step[:60]!r}.", do=f"There are {', '.join(STEPS)}.")


def _lock(connection: sa.Connection, period: str) -> None:
    """One change of a checklist at a time."""
    connection.execute(sa.select(sa.func.pg_advisory_xact_lock(sa.func.hashtext(f"checklist {period}"))))


def may_close(person: Person, period: str) -> None:
    """Raises NotAllowed, or ConfigError where `period` is none, before anything is started."""
    person.require(Right.CLOSE)
    last_day(period)


def close_asked(connection: sa.Connection, person: Person, period: str, run_id: str) -> None:
    """Notes that a run of Airflow closes a month now. `run_id`: as `ops.closing` knows it."""
    may_close(person, period)
    connection.execute(
        insert(ops_closing)
        .values(period=period, run_id=run_id, asked_by=person.name)
        .on_conflict_do_update(index_elements=["run_id", "period"], set_={"asked_by": person.name})
    )
    audit.record(connection, person.name, "month close", period, {"run": run_id})


# ---- open items ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class OpenItem:
    position: int
    kind: str
    currency_code: str
    document: str
    days: int
    age: str
    amount: Decimal


@dataclass(frozen=True)
class Items:
    """A page of open items, by kind and currency, the oldest first."""

    rows: tuple[OpenItem, ...]
    after: int | None


def _open_items(connection: sa.Connection, period: str) -> tuple[OpenItems, ...]:
    table = ops_open_item
    rows = connection.execute(
        sa.select(
            table.c.kind, table.c.currency_code, table.c.age, sa.func.count().label("items"),
            sa.func.sum(table.c.amount).label("amount"), sa.func.min(table.c.days).label("days"),
        )
        .where(table.c.period == period)
        .group_by(table.c.kind, table.c.currency_code, table.c.age)
        .order_by(table.c.kind, table.c.currency_code, sa.text("days"))
    )  # fmt: skip
    found: dict[tuple[str, str], list[tuple[str, int, Decimal]]] = {}
    for row in rows:
        found.setdefault((row.kind, row.currency_code), []).append((row.age, row.items, row.amount))
    return tuple(
        OpenItems(kind, currency, tuple(ages), sum(one[1] for one in ages), sum((one[2] for one in ages), Decimal(0)))
        for (kind, currency), ages in found.items()
    )


def open_items(
    connection: sa.Connection, person: Person, period: str, *, kind: str | None = None, currency: str | None = None,
    age: str | None = None, after: int | None = None, limit: int = PAGE,
) -> Items:  # fmt: skip
    """The open items that the last close of a month found, one by one."""
    person.require(Right.SEE)
    last_day(period)
    table = ops_open_item
    where = [table.c.period == period]
    for column, value in ((table.c.kind, kind), (table.c.currency_code, currency), (table.c.age, age)):
        if value is not None:
            where.append(column == value)
    if after is not None:
        where.append(table.c.position > after)
    rows = connection.execute(sa.select(table).where(*where).order_by(table.c.position).limit(limit + 1)).all()
    shown = rows[:limit]
    found = tuple(
        OpenItem(row.position, row.kind, row.currency_code, row.document, row.days, row.age, row.amount)
        for row in shown
    )
    return Items(found, shown[-1].position if len(rows) > limit else None)
