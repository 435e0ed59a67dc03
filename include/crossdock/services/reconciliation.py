"""Reconciliation as people follow it: the last comparison of both systems, how it has gone, what differs and why.

In: the person who looks, a run, a subject. Out: counts, their history, differences a page at a time. Never: a repair;
personal data (there is none in the differences).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from crossdock.comparison.subject import BY_RULE, CAUSES, MEANING, UNEXPLAINED
from crossdock.errors import ConfigError
from crossdock.services.people import Person, Right
from crossdock.store.tables import ops_orphan
from crossdock.store.tables import ops_reconcile_difference as difference
from crossdock.store.tables import ops_reconcile_run as table
from crossdock.watch.reconcile import results
from crossdock.watch.reconcile.catalogue import NO_ITEM
from crossdock.watch.reconcile.report import FAINT, INK
from crossdock.watch.reconcile.subjects import SUBJECTS

RUNS = 30  # that the trend goes back
PAGE = 50
_CAUSE = sa.func.array_position(sa.cast(list(CAUSES), sa.ARRAY(sa.Text)), difference.c.cause)


@dataclass(frozen=True)
class Point:
    """One subject in one run."""

    run: int
    at: datetime
    compared: int
    equal: int
    explained: int
    unexplained: int

    @property
    def share(self) -> float:
        """What is equal or explained, of what was compared."""
        return 1 - self.unexplained / self.compared if self.compared else 1.0


# Which keys a subject compares.
BASIS = {
    "both": "what both systems have",
    "channel_advisor": "what Channel Advisor has",
    "all": "what either system has",
}


@dataclass(frozen=True)
class Subject:
    """One subject: as the run found it, and before. `causes`: (cause, keys), the worst first; `do`: what to do where
    something is unexplained; `history`: the oldest first, with this run; `unreadable`: records that were not read;
    `basis`: which keys are compared, in words."""

    name: str
    title: str
    do: str
    basis: str
    channel_advisor: int
    tims: int
    now: Point
    causes: tuple[tuple[str, int], ...]
    unreadable: int
    history: tuple[Point, ...]


@dataclass(frozen=True)
class Run:
    """One comparison. `report`: whether its page is kept."""

    id: int
    run_id: str
    started_at: datetime
    finished_at: datetime | None
    compared: int
    equal: int
    unexplained: int
    subjects: tuple[str, ...]


@dataclass(frozen=True)
class Page:
    """A run with its subjects, and the runs before it. `running`: since when another one is under way."""

    run: Run | None
    subjects: tuple[Subject, ...]
    runs: tuple[Run, ...]
    running: datetime | None


@dataclass(frozen=True)
class Difference:
    """One fact in which both systems differ. `private`: its values are not kept; `letter`: the dead letter that is why,
    with `why` being the words about it."""

    id: int
    subject: str
    title: str
    key: str
    field: str
    missing: str
    channel_advisor: str | None
    tims: str | None
    cause: str
    why: str
    since: datetime
    private: bool
    letter: int | None = None
    is_orphan: bool = False  # a product that is no item of TIMS: `orphans` names the nearest ones


@dataclass(frozen=True)
class Differences:
    """A page of differences, the worst cause first, then the oldest. `after`: what to ask for the next page with."""

    rows: tuple[Difference, ...]
    after: str | None


def meaning(cause: str) -> str:
    return MEANING.get(cause, "")


def page(connection: sa.Connection, person: Person, number: int | None = None) -> Page:
    """A run (the last finished one where none is named), its trend by subject, and the runs before it."""
    person.require(Right.SEE)
    found = results.runs(connection, until=number, limit=RUNS)
    under_way = results.under_way(connection)
    if number is not None and (not found or found[0]["id"] != number):
        raise ConfigError(f"There is no reconciliation {number}.", do="Choose one from the list of runs.")
    if not found:
        return Page(None, (), (), under_way)
    last = found[0]
    subjects = tuple(_subject(name, counts, found) for name, counts in last["counts"].items())
    return Page(_run(last), subjects, tuple(_run(one) for one in found), under_way)


def _run(row: Mapping[str, Any]) -> Run:
    each = row["counts"].values()
    compared, equal = (sum(counts[name] for counts in each) for name in ("compared", "equal"))
    return Run(
        row["id"], row["run_id"], row["started_at"], row["finished_at"], compared, equal, row["unexplained"],
        tuple(row["counts"]),
    )  # fmt: skip


def _subject(name: str, counts: Mapping[str, Any], runs: list[dict[str, Any]]) -> Subject:
    own = SUBJECTS[name]
    history = tuple(_point(run, run["counts"][name]) for run in reversed(runs) if name in run["counts"])
    causes = tuple((cause, counts["causes"][cause]) for cause in CAUSES if counts["causes"].get(cause))
    return Subject(
        name, own.title, own.do, BASIS[own.keys], counts["channel_advisor"], counts["tims"], history[-1], causes,
        counts.get("passed") or 0, history,
    )  # fmt: skip


def _point(run: Mapping[str, Any], counts: Mapping[str, Any]) -> Point:
    unexplained = counts["causes"].get(UNEXPLAINED, 0)
    explained = sum(counts["causes"].values()) - unexplained
    return Point(run["id"], run["started_at"], counts["compared"], counts["equal"], explained, unexplained)


def differences(
    connection: sa.Connection,
    person: Person,
    number: int,
    *,
    subject: str | None = None,
    cause: str | None = None,
    after: str | None = None,
    limit: int = PAGE,
) -> Differences:
    """The differences of a run. Without a `cause`, those by rule come last."""
    person.require(Right.SEE)
    for given, allowed, what in ((subject, tuple(SUBJECTS), "subject"), (cause, CAUSES, "cause")):
        if given is not None and given not in allowed:
            raise ConfigError(f"There is no {what} {given[:60]!r}.", do=f"There are {', '.join(allowed)}.")
    order = (_CAUSE, difference.c.since, difference.c.id)
    wanted = [difference.c.run == number]
    if subject:
        wanted.append(difference.c.subject == subject)
    if cause:
        wanted.append(difference.c.cause == cause)
    if after:
        wanted.append(sa.tuple_(*order) > _place(after))
    rows = connection.execute(
        sa.select(difference, _CAUSE.label("severity")).where(*wanted).order_by(*order).limit(limit + 1)
    ).all()
    shown = rows[:limit]
    last = f"{shown[-1].severity}~{shown[-1].since.isoformat()}~{shown[-1].id}" if len(rows) > limit else None
    return Differences(tuple(_difference(row) for row in shown), last)


def _place(after: str) -> tuple[int, datetime, int]:
    try:
        severity, since, number = after.split("~")
        return int(severity), datetime.fromisoformat(since), int(number)
    except ValueError as error:
        raise ConfigError(f"{after[:60]!r} is no place in the list.", do="Begin at the top of the list.") from error


def _difference(row: sa.Row) -> Difference:
    own = SUBJECTS.get(row.subject)
    return Difference(
        row.id, row.subject, own.one if own else row.subject, row.key, row.field, row.missing, row.channel_advisor,
        row.tims, row.cause, row.why or "", row.since, bool(own and own.private), letter_of(row.why or ""),
        (row.why or "").startswith(NO_ITEM),
    )  # fmt: skip


@dataclass(frozen=True)
class Orphan:
    """A product of the channel that is no item of TIMS, the items that are spelt most like it, and since when."""

    sku: str
    nearest: tuple[str, ...]
    since: datetime


@dataclass(frozen=True)
class Orphans:
    """A page of orphans by SKU. `number`: all of them, of the filter; `after`: what to ask for the next page with."""

    rows: tuple[Orphan, ...]
    number: int
    after: str | None


def orphans(
    connection: sa.Connection, person: Person, *, q: str | None = None, after: str | None = None, limit: int = PAGE
) -> Orphans:
    """Products of the channel that are no item of TIMS, as the catalogue flow found them last. `q`: a part of the SKU,
    or of an item that is like it."""
    person.require(Right.SEE)
    column = ops_orphan.c.product_sku
    wanted = []
    if q:
        like = (one.icontains(q, autoescape=True) for one in (column, sa.cast(ops_orphan.c.nearest, sa.Text)))
        wanted.append(sa.or_(*like))
    number = connection.scalar(sa.select(sa.func.count()).select_from(ops_orphan).where(*wanted)) or 0
    beyond = [column > after] if after is not None else []
    rows = connection.execute(sa.select(ops_orphan).where(*wanted, *beyond).order_by(column).limit(limit + 1)).all()
    shown = rows[:limit]
    return Orphans(
        tuple(Orphan(row.product_sku, tuple(row.nearest), row.first_seen) for row in shown), number,
        shown[-1].product_sku if len(rows) > limit else None,
    )  # fmt: skip


def report(connection: sa.Connection, person: Person, number: int | None = None) -> tuple[int, str] | None:
    """The kept report of a run (the last one where none is named), as a part of a page, with the run's number; None
    where there is none."""
    person.require(Right.SEE)
    kept = sa.select(table.c.id, table.c.report).where(table.c.report.is_not(None)).order_by(table.c.id.desc()).limit(1)
    row = connection.execute(kept if number is None else kept.where(table.c.id == number)).one_or_none()
    return None if row is None else (row.id, as_part(row.report))


# What SVG takes as attributes of its own, of what the plots write as styles.
_OF_SVG = frozenset(
    ("fill", "fill-opacity", "stroke", "stroke-width", "stroke-linecap", "stroke-linejoin", "stroke-opacity",
     "stroke-dasharray", "opacity", "font-size", "text-anchor")
)  # fmt: skip
_CIRCLE = r'<svg class="dot" viewBox="0 0 10 10" aria-hidden="true"><circle cx="5" cy="5" r="5" fill="\1"/></svg>'
_DOT = re.compile(r'<span class="dot" style="background:(#[0-9a-f]{3,8})"></span>')


def as_part(page: str) -> str:
    """The main part of a report without its styles, for a page that allows none within itself: colours of plots become
    attributes, ink takes the colour of the page's text. What a report was given is escaped in it, so that no text of
    it looks like an attribute."""
    _, _, inner = page.partition("<main>")
    part = re.sub(r"<style\b.*?</style>", "", (inner or page).partition("</main>")[0], flags=re.DOTALL)
    part = _DOT.sub(_CIRCLE, part)
    part = part.replace('<div class="scroll">', '<div class="scroll" tabindex="0" role="region" aria-label="A table">')
    return re.sub(r'\s+style="([^"]*)"', _attributes, part)


def _attributes(style: re.Match[str]) -> str:
    pairs = (one.partition(":") for one in style[1].split(";"))
    named = {name.strip(): value.strip() for name, _, value in pairs if name.strip() in _OF_SVG}
    if named.get("stroke") == FAINT:
        named |= {"stroke": INK, "stroke-opacity": "0.2"}
    return "".join(f' {name}="{"currentColor" if value == INK else value}"' for name, value in named.items())


def letter_of(why: str) -> int | None:
    """The dead letter that the words of an explanation name (comparison/explain.py writes them)."""
    named = re.match(r"dead letter (\d{1,18}) of ", why)
    return int(named[1]) if named else None


def is_meant(cause: str) -> bool:
    """Whether what differs is meant to."""
    return cause == BY_RULE
