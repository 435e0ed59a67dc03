"""Closing a month: what its last close found (controls, open items by age), and the checklist with who ticked what.

In: the person, a month (YYYY-MM). Out: the results of the last close, as it kept them; ticks, each on record.
Never: a posting; a period closed in TIMS (its API has no call for that: the accountant does it there).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from decimal import Decimal
from zoneinfo import ZoneInfo

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from crossdock.errors import ConfigError
from crossdock.ledger import controls as ledger_controls
from crossdock.ledger.close import figures as ledger_figures
from crossdock.ledger.close import figures_version, last_day, same_books, span
from crossdock.services.open_items import OpenItems, by_age
from crossdock.services.people import Person, Right
from crossdock.store import audit, sql
from crossdock.store.dead_letters import OPEN
from crossdock.store.tables import (
    ops_audit,
    ops_closing,
    ops_closing_step,
    ops_control,
    ops_dead_letter,
    ops_watermark,
    ref_company,
    ref_gl_entry,
    ref_ledger_day,
    ref_period,
)

MONTHS = 24  # that a list shows
DAG = "nightly_close"  # the DAG that closes
MOST_OPEN = 6  # months before one that are named
STEPS: dict[str, str] = {
    "payouts": "All payouts of the month are in",
    "controls": "The controls hold",
    "open_items": "The open items were looked at",
    "exported": "The ledger is exported and kept",
    "closed": "The month is closed",
}
FELL = "The books up to the end of the month have changed since."
UPGRADED = (
    "It was made before an upgrade of Crossdock, which compares the books otherwise now; no entry has changed since. "
    "Check the month again, then do it once more."
)
EXPORTED, LOOKED = "month export", "month open items"  # deeds that the checklist knows by the audit log


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
    figures: str | None
    items: str | None

    @property
    def running(self) -> bool:
        return self.finished_at is None


@dataclass(frozen=True)
class Deed:
    """Who has done something, and when."""

    who: str
    at: datetime


@dataclass(frozen=True)
class Step:
    """One step of the checklist. `who` None: nobody has ticked it. `fell`: why the tick counts no more, "" where it
    does. `facts`: what Crossdock knows of it, `facts_by` whom and when; `blocked`: what must be done first, "" where it
    can be ticked; `doubt`: what speaks against it: then it is ticked with a note only; `although`: the doubt that it
    was ticked with."""

    name: str
    title: str
    who: str | None
    at: datetime | None
    note: str
    although: str
    fell: str
    newest: datetime | None
    facts: str
    facts_by: Deed | None
    blocked: str
    doubt: str

    @property
    def done(self) -> bool:
        return self.who is not None and not self.fell


@dataclass(frozen=True)
class MonthRow:
    """A month in the list."""

    period: str
    close: Close | None
    steps: int
    closed: bool
    tims_status: str | None
    fallen: bool  # it was closed, and its books have changed since
    upgraded: bool = False  # it is not they that have changed, but how Crossdock compares them


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
class Refused:
    """A settlement file that is a dead letter."""

    letter: int
    file: str
    why: str


@dataclass(frozen=True)
class SettlementFiles:
    """What was read of a source: how many settlements end in the month, how many were paid out in it, until when its
    settlements reach, and its last file with the time when it was read."""

    source: str
    ended: int
    paid: int
    until: date | None
    file: str
    read_at: datetime


@dataclass(frozen=True)
class Files:
    """The settlement files behind a month's payouts, by source, and those that are refused."""

    sources: tuple[SettlementFiles, ...]
    refused: tuple[Refused, ...]
    more_refused: int


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
    figures: str  # digest of its books as they are now
    changed: tuple[tuple[str, int], ...]  # (month, entries) new or changed since the newest tick that counts no more
    files: Files
    before: str | None  # the month before it, and the one after it, where they are there
    following: str | None
    begun: bool  # whether the company's clock has come to it

    @property
    def last(self) -> Step:
        """The step that closes the month."""
        return self.steps[-1]

    @property
    def closed(self) -> bool:
        return self.last.done

    @property
    def changed_since(self) -> datetime | None:
        """The version of the newest entry as somebody has ticked a step last that counts no more."""
        return max((one.newest for one in self.steps if one.fell and one.newest), default=None)

    @property
    def outdated(self) -> bool:
        """Whether the books have changed since the last close looked."""
        return self.close is not None and not same_books(self.close.figures, self.figures)

    @property
    def upgraded(self) -> bool:
        """Whether an upgrade alone is why ticks count no more."""
        fell = {one.fell for one in self.steps if one.fell and one.who}
        return UPGRADED in fell and FELL not in fell


def months(connection: sa.Connection, person: Person, before: str | None = None) -> tuple[list[MonthRow], str | None]:
    """Months that have entries, were looked at, or to which a flow has read, the newest first; and from where the next
    page begins."""
    person.require(Right.SEE)
    there = span(connection)
    first, last = connection.execute(
        sa.select(sa.func.min(ref_gl_entry.c.posting_date), sa.func.max(ref_gl_entry.c.posting_date))
    ).one()
    periods = set(connection.scalars(sa.select(ops_closing.c.period).distinct()))
    if first is not None:
        periods |= set(_between(f"{first:%Y-%m}", f"{last:%Y-%m}"))
    periods |= {f"{at:%Y-%m}" for at in connection.scalars(sa.select(ops_watermark.c.position))}
    periods = {one for one in periods if there.first <= one <= there.last}
    named = sorted((one for one in periods if before is None or one < before), reverse=True)
    shown = named[:MONTHS]
    closes = {one.period: one for one in _closes(connection, shown)}
    steps = connection.execute(sa.select(ops_closing_step).where(ops_closing_step.c.period.in_(shown))).all()
    now = ledger_figures(connection, sorted({step.period for step in steps}))
    counting = {(step.period, step.step) for step in steps if _counts(step.figures, now[step.period])}
    fallen = {
        step.period: _why_fell(connection, last_day(step.period), step, now[step.period])
        for step in steps
        if step.step == "closed"
    }
    statuses = _statuses(connection, shown)
    rows = [
        MonthRow(
            period, closes.get(period), sum(one == period for one, _ in counting), (period, "closed") in counting,
            statuses.get(period), bool(fallen.get(period)), fallen.get(period) == UPGRADED,
        )
        for period in shown
    ]  # fmt: skip
    return rows, shown[-1] if len(named) > MONTHS else None


def month(connection: sa.Connection, person: Person, period: str) -> Month:
    """A month: what its last close found, and the checklist. Raises ConfigError where there is no such month."""
    person.require(Right.SEE)
    until = last_day(period)
    there = span(connection)
    there.require(period, later=True)
    newest = connection.execute(
        sa.select(ops_closing).where(ops_closing.c.period == period).order_by(ops_closing.c.id.desc()).limit(1)
    ).one_or_none()
    close = next(iter(_closes(connection, [period])), None)
    running = _close(newest) if newest is not None and newest.finished_at is None else None
    found = _controls(connection, close) if close else ()
    open_items = by_age(connection, period)
    status = _statuses(connection, [period]).get(period)
    ticked = {
        row.step: row
        for row in connection.execute(sa.select(ops_closing_step).where(ops_closing_step.c.period == period))
    }
    files = _files(connection, until)
    now = ledger_figures(connection, [period])[period]
    steps = _steps(connection, period, close, ticked, now, open_items, files)
    fallen = max((step.newest for step in steps if step.fell and step.newest), default=None)
    changed = _changed(connection, until, fallen) if fallen else ()
    beside = (_shifted(period, by) for by in (-1, 1))
    before, following = (one if there.first <= one <= there.last else None for one in beside)
    return Month(
        period, close, running, found, open_items, steps, status, now, changed, files, before, following,
        period <= there.present,
    )  # fmt: skip


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
    return Close(
        row.id, row.period, row.run_id, row.asked_at, row.asked_by, row.finished_at, row.controls, row.failed,
        row.figures, row.items,
    )  # fmt: skip


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


def _changed(connection: sa.Connection, until: date, since: datetime) -> tuple[tuple[str, int], ...]:
    """Entries up to the end of the month that are new or changed since, by the clock of TIMS: (month, number)."""
    entry = ref_gl_entry.c
    month = sa.func.to_char(entry.posting_date, "YYYY-MM").label("month")
    wanted = sa.select(month, sa.func.count()).where(entry.posting_date <= until, entry.version > since)
    return tuple(tuple(row) for row in connection.execute(wanted.group_by(month).order_by(month)))


def _counts(kept: str | None, now: str) -> bool:
    """Whether a tick that was made on these books counts with those of now."""
    return kept is None or same_books(kept, now)


def _why_fell(connection: sa.Connection, until: date, tick: sa.Row, now: str) -> str:
    """Why a tick counts no more; "" where it does. With a digest of another version it is the upgrade, unless an entry
    is new or changed since."""
    if _counts(tick.figures, now):
        return ""
    other = figures_version(tick.figures) != figures_version(now) and tick.newest is not None
    return UPGRADED if other and not _changed(connection, until, tick.newest) else FELL


def _open_before(connection: sa.Connection, until: date) -> list[str]:
    """The months before it that have entries and are not closed."""
    day = ref_ledger_day.c.posting_date
    days = connection.scalars(sa.select(day).where(day < until.replace(day=1)).distinct())
    months = sorted({f"{one:%Y-%m}" for one in days})
    step = ops_closing_step.c
    closed = connection.execute(
        sa.select(step.period, step.figures).where(step.step == "closed", step.period.in_(months))
    ).all()
    now = ledger_figures(connection, [row.period for row in closed])
    counting = {row.period for row in closed if _counts(row.figures, now[row.period])}
    return [month for month in months if month not in counting]


def _earlier_doubt(months: Sequence[str]) -> str:
    """What speaks against closing a month: the months before it that are open."""
    if not months:
        return ""
    named = list(months[:MOST_OPEN])
    if len(months) > MOST_OPEN:
        named.append(f"{len(months) - MOST_OPEN:,} more")
    words = f"{', '.join(named[:-1])} and {named[-1]}" if len(named) > 1 else named[0]
    return f"{words} {'is' if len(months) == 1 else 'are'} still open."


def _steps(
    connection: sa.Connection,
    period: str,
    close: Close | None,
    ticked: Mapping[str, sa.Row],
    figures: str,
    open_items: Sequence[OpenItems],
    files: Files,
) -> tuple[Step, ...]:
    """The checklist: what is known of each step, what must be done first, and which ticks count no more."""
    outdated = ""
    if close is not None and not same_books(close.figures, figures):
        outdated = "The books have changed since the last check: check again."
    never = "Nobody has checked this month yet: check it first."
    number = sum(one.count for one in open_items)
    exported, looked = _deeds(connection, period)
    facts = dict.fromkeys(STEPS, "")
    by: dict[str, Deed] = {}
    blocked = dict.fromkeys(STEPS, "")
    doubt = dict.fromkeys(STEPS, "")
    doubt["payouts"] = _payouts_doubt(files, last_day(period))
    doubt["closed"] = _earlier_doubt(_open_before(connection, last_day(period)))
    if close is None:
        blocked["controls"] = blocked["open_items"] = never
    else:
        failed = f"{close.failed} of {close.controls} do not hold."
        facts["controls"] = "" if close.failed else f"All {close.controls} of them held."
        facts["open_items"] = f"{number:,} {'is' if number == 1 else 'are'} open." if number else "Nothing is open."
        blocked["controls"] = outdated or (f"{failed} Mend what they name, then check again." if close.failed else "")
        seen = looked if looked is not None and looked.detail.get("items") == close.items else None
        if seen is not None:
            facts["open_items"] += " Opened by"
            by["open_items"] = Deed(seen.who, seen.at)
        blocked["open_items"] = outdated or ("" if seen or not number else "Open the page of open items first.")
    if exported is not None:
        facts["exported"] = f"{exported.detail.get('file')} was taken by"
        by["exported"] = Deed(exported.who, exported.at)
    if exported is None:
        blocked["exported"] = "Download one of the two files first."
    elif not same_books(exported.detail.get("figures"), figures):
        blocked["exported"] = "The books have changed since: download one of the two files again."
    made: list[Step] = []
    for name, title in STEPS.items():
        row = ticked.get(name)
        fell = "" if row is None else _why_fell(connection, last_day(period), row, figures)
        if name == "closed":
            missing = [one.title for one in made if not one.done]
            blocked[name] = f"First: {'; '.join(missing)}." if missing else ""
            if row is not None and missing and not fell:
                fell = f"A step before it counts no more: {'; '.join(missing)}."
        made.append(
            Step(
                name, title, row.who if row else None, row.at if row else None, row.note if row else "",
                row.although if row else "", fell, row.newest if row else None, facts[name], by.get(name),
                blocked[name], doubt[name],
            )
        )  # fmt: skip
    return tuple(made)


def _deeds(connection: sa.Connection, period: str) -> tuple[sa.Row | None, sa.Row | None]:
    """Who took the ledger of a month last, and who among the accountants opened its open items last."""
    last = sa.select(ops_audit).where(ops_audit.c.subject == period).order_by(ops_audit.c.id.desc()).limit(1)
    exported, looked = (
        connection.execute(last.where(ops_audit.c.action == action)).one_or_none() for action in (EXPORTED, LOOKED)
    )
    return exported, looked


@dataclass(frozen=True)
class Days:
    """The days of a month: whose they are, and the moments when it begins and ends. `zone`: the company's; "" where
    TIMS has not told it, then UTC counts."""

    zone: str
    begins: datetime
    ends: datetime


def days(connection: sa.Connection, person: Person, period: str) -> Days:
    """When a month begins and ends by the company's clock, which all days of the books are of."""
    person.require(Right.SEE)
    until = last_day(period)
    zone = connection.scalar(sa.select(ref_company.c.time_zone).limit(1)) or ""
    try:
        clock: tzinfo = ZoneInfo(zone)
    except (KeyError, ValueError, OSError):
        zone, clock = "", UTC
    following = until + timedelta(days=1) if until < date.max else until
    return Days(zone, *(_midnight(day, clock) for day in (until.replace(day=1), following)))


def _midnight(day: date, clock: tzinfo) -> datetime:
    """When a day begins; of the first and last days that there are, that of UTC."""
    try:
        return datetime.combine(day, time(), clock).astimezone(UTC)
    except OverflowError:
        return datetime.combine(day, time(), UTC)


def tims_words(status: str | None) -> str:
    """What TIMS says of a period, in words."""
    return {"Open": "open", "SoftClosed": "closed for now", "Closed": "closed for good", None: "not known"}.get(
        status, status or ""
    )


def files(connection: sa.Connection, person: Person, period: str) -> Files:
    """The settlement files behind a month's payouts."""
    person.require(Right.SEE)
    return _files(connection, last_day(period))


_FILES = sql.statement(__package__, "settlement_files")
MOST_REFUSED = 10  # files that are named


def _files(connection: sa.Connection, until: date) -> Files:
    """The settlement files that were read, by source, and those that are dead letters."""
    sources = tuple(
        SettlementFiles(row.source, row.ended, row.paid, row.reaches, row.file, row.read_at)
        for row in connection.execute(_FILES, {"first": until.replace(day=1), "until": until})
    )
    letter = ops_dead_letter.c
    refused = connection.execute(
        sa.select(letter.id, letter.key, letter.reasons)
        .where(letter.flow == "payouts", letter.state.in_(OPEN))
        .order_by(letter.id.desc())
    ).all()
    shown = tuple(Refused(row.id, row.key, row.reasons[0]["says"]) for row in refused[:MOST_REFUSED])
    return Files(sources, shown, max(0, len(refused) - MOST_REFUSED))


def _payouts_doubt(files: Files, until: date) -> str:
    """What speaks against all payouts being in; "" where nothing does."""
    words = []
    number = len(files.refused) + files.more_refused
    if number:
        words.append(f"{number:,} settlement {'file is' if number == 1 else 'files are'} refused")
    late = [one.source for one in files.sources if one.until is None or one.until < until]
    if late:
        words.append(f"the settlements of {', '.join(late)} end before the month does")
    if not files.sources:
        words.append("no settlement file was ever read")
    return f"{'; '.join(words)}." if words else ""


def note_open_items(connection: sa.Connection, person: Person, period: str) -> None:
    """Notes that somebody who closes months has all open items of one before them, not those of a filter."""
    if person.may(Right.CLOSE):
        close = next(iter(_closes(connection, [period])), None)
        if close is not None:
            audit.record(connection, person.name, LOOKED, period, {"items": close.items})


def tick(connection: sa.Connection, person: Person, period: str, step: str, note: str = "") -> None:
    """Ticks a step of a month's checklist, on its books as they are now. Raises ConfigError for a step whose work is
    not done, and for one that something speaks against and no note explains."""
    may_close(connection, person, period)
    _require_step(step)
    _lock(connection, period)
    note = note.strip()
    found = month(connection, person, period)
    state = next(one for one in found.steps if one.name == step)
    if state.done:
        raise ConfigError(f"{state.who} has ticked this before.", do="Load the page again.")
    if state.blocked:
        raise ConfigError(f"“{state.title}” cannot be ticked yet. {state.blocked}", do="Do that first.")
    if state.doubt and not note:
        raise ConfigError(
            f"This speaks against “{state.title}”: {state.doubt}", do="Say in the note why it is right all the same."
        )
    values = {
        "who": person.name, "at": sa.func.now(), "note": note, "although": state.doubt,
        "figures": ledger_figures(connection, [period])[period],
        "newest": connection.scalar(
            sa.select(sa.func.max(ref_gl_entry.c.version)).where(ref_gl_entry.c.posting_date <= last_day(period))
        ),
    }  # fmt: skip
    connection.execute(
        insert(ops_closing_step)
        .values(period=period, step=step, **values)
        .on_conflict_do_update(index_elements=["period", "step"], set_=values)
    )
    detail = {"note": note, "although": state.doubt}
    audit.record(
        connection, person.name, f"month {step}", period, {name: text for name, text in detail.items() if text}
    )


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


def may_close(connection: sa.Connection, person: Person, period: str) -> None:
    """Raises NotAllowed, or ConfigError where `period` is no month that is there, before anything is started."""
    person.require(Right.CLOSE)
    last_day(period)
    span(connection).require(period)


def close_asked(connection: sa.Connection, person: Person, period: str, run_id: str) -> None:
    """Notes that a run of Airflow closes a month now. `run_id`: as `ops.closing` knows it."""
    may_close(connection, person, period)
    connection.execute(
        insert(ops_closing)
        .values(period=period, run_id=run_id, asked_by=person.name)
        .on_conflict_do_update(index_elements=["run_id", "period"], set_={"asked_by": person.name})
    )
    audit.record(connection, person.name, "month close", period, {"run": run_id})
