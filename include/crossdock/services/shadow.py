"""The daily comparison of shadow mode: what we would have made, against what people have entered by hand meanwhile.

In: `ops.would_be`, TIMS's documents as they were read last. Out: a report for each day and flow, kept, with every
document of it; a notice where something differs. Never: a value of personal data.
"""

from __future__ import annotations

import csv
import io
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import msgspec
import sqlalchemy as sa

from crossdock import flows, settings
from crossdock.comparison import by_hand
from crossdock.comparison.by_hand import (
    DIFFERS,
    ONLY_OURS,
    ONLY_THEIRS,
    OVERTAKEN,
    SAME,
    ByHand,
    Difference,
    One,
    Result,
)
from crossdock.safe import cell
from crossdock.steps import extract, modes
from crossdock.store import alerts, database, would_be
from crossdock.store.tables import ops_shadow_day, ops_shadow_record, ops_would_be, ref_company

if TYPE_CHECKING:
    from crossdock.runtime import Runtime

DAYS = 7  # that are compared again each night: people enter late
BESIDE = timedelta(days=7)  # how far apart in time two documents of one sale may be
MOST_SHOWN = 10_000  # documents of one report


@dataclass(frozen=True)
class Day:
    """One day of a flow in shadow mode. `fields`: how many documents differ in each field. `overtaken`: documents of
    ours that nobody has made and need not any more; `later`: of how many something has come later, and what."""

    flow: str
    day: date
    would_make: int
    same: int
    differ: int
    only_ours: int
    only_theirs: int
    overtaken: int
    later: dict[str, int]
    fields: dict[str, int]
    at: datetime
    sentence: str

    @property
    def differs(self) -> bool:
        return bool(self.differ or self.only_ours or self.only_theirs)


@dataclass(frozen=True)
class Record:
    """One document of a day: of ours `key`, of theirs `their_id`. `later`: what has come of our record since."""

    flow: str
    day: date
    key: str | None
    their_id: str | None
    verdict: str
    matched_by: str | None
    differences: tuple[Difference, ...]
    later: str | None = None


def subjects() -> dict[str, ByHand]:
    """What can be compared, by flow."""
    return {one.flow: one for module in flows.modules("by_hand") for one in module.BY_HAND}


def refresh(runtime: Runtime, run_id: str = "") -> None:
    """Reads what people have changed in TIMS of the documents that are compared."""
    for name, subject in subjects().items():
        if modes.of(name).shadow:
            extract.refresh_reference(runtime, subject.resource, run_id)


def compare(
    connection: sa.Connection, days: Sequence[date] = (), *, flow: str = "", run_id: str = ""
) -> tuple[Day, ...]:
    """Compares the flows that are in shadow mode (or one of them) and keeps a report for each of `days`, in the place
    of an earlier one; of the last week where none are named, but for days without a document. What differs raises a
    notice. The report of a day of which documents have aged out stays as it is."""
    zone = _zone(connection)
    wanted = tuple(days) or _last_days(zone)
    made = []
    for name, subject in subjects().items():
        if (flow and flow != name) or not modes.of(name).shadow:
            continue
        gone = _aged(connection, name)
        chosen = [day for day in wanted if day not in gone]
        if not chosen:
            continue
        found: dict[date, list[Result]] = defaultdict(list)
        for result in by_hand.compare(subject, *_sides(connection, subject, chosen), zone.key):
            found[result.day].append(result)
        made += [_keep(connection, subject, day, found.get(day, []), run_id) for day in sorted(chosen)
                 if days or found.get(day)]  # fmt: skip
    return tuple(made)


def age(connection: sa.Connection) -> int:
    """Removes the content of what would have been sent so long ago that its personal data are to go (`would_be_days`
    of a flow). Returns of how many requests."""
    return sum(would_be.age(connection, flow, settings.flow(flow).would_be_days) for flow in flows.all_flows())


def _aged(connection: sa.Connection, flow: str) -> set[date]:
    """Days that were compared and cannot be any more."""
    record, held = ops_shadow_record.c, ops_would_be.c
    without = sa.and_(held.flow == flow, held.key == record.key, held.operation == "create", held.document.is_(None))
    days = sa.select(record.day).distinct().where(record.flow == flow, sa.exists().where(without))
    return set(connection.scalars(days))


def _last_days(zone: ZoneInfo) -> tuple[date, ...]:
    today = datetime.now(zone).date()
    return tuple(today - timedelta(days=back) for back in range(1, DAYS + 1))


def _zone(connection: sa.Connection) -> ZoneInfo:
    return ZoneInfo(connection.scalar(sa.select(ref_company.c.time_zone).limit(1)) or "UTC")


def _sides(connection: sa.Connection, subject: ByHand, days: Sequence[date]) -> tuple[list[One], list[One]]:
    """Our documents and theirs that may be of these days, or be one with such a document."""
    first = datetime.combine(min(days), time.min, UTC) - BESIDE
    last = datetime.combine(max(days), time.max, UTC) + BESIDE
    would = ops_would_be.c
    dated = sa.func.left(would.document[subject.day].astext, 10).between(f"{first:%Y-%m-%d}", f"{last:%Y-%m-%d}")
    overtaking = set(flows.get(subject.flow).later.values())
    ours = [
        One(row.key, database.from_json(row.document), row.later, row.later in overtaking)
        for row in connection.execute(
            sa.select(would.key, would.later, sa.cast(would.document, sa.Text).label("document")).where(
                would.flow == subject.flow, would.entity == subject.entity, would.operation == "create", dated
            )
        )
    ]
    table, payload = subject.table.c, subject.table.c.payload
    named = sa.or_(
        *(payload[name].astext == sa.any_(_texts(by_hand.value_at(one.document, name) for one in ours))
          for name in subject.names)
    )  # fmt: skip
    near = sa.func.left(payload[subject.day].astext, 10).between(f"{first:%Y-%m-%d}", f"{last:%Y-%m-%d}")
    theirs = [
        One(row.id, database.from_json(row.payload))
        for row in connection.execute(
            sa.select(table.id, sa.cast(payload, sa.Text).label("payload")).where(
                table.source != subject.source, subject.theirs, sa.or_(named, near)
            )
        )
    ]
    return ours, theirs


def _texts(values: Any) -> sa.BindParameter:
    return sa.literal([str(value) for value in values if value is not None], type_=sa.ARRAY(sa.Text))


def _keep(connection: sa.Connection, subject: ByHand, day: date, results: Sequence[Result], run_id: str) -> Day:
    counted = {verdict: sum(one.verdict == verdict for one in results) for verdict in
               (SAME, DIFFERS, ONLY_OURS, ONLY_THEIRS, OVERTAKEN)}  # fmt: skip
    fields = by_hand.fields_of(results)
    for table in (ops_shadow_day, ops_shadow_record):
        connection.execute(sa.delete(table).where(table.c.flow == subject.flow, table.c.day == day))
    numbers = {
        "same": counted[SAME], "differ": counted[DIFFERS], "only_ours": counted[ONLY_OURS],
        "only_theirs": counted[ONLY_THEIRS], "overtaken": counted[OVERTAKEN],
    }  # fmt: skip
    later = dict(Counter(one.ours.later for one in results if one.ours and one.ours.later))
    would_make = sum(counted.values()) - counted[ONLY_THEIRS]
    at = connection.execute(
        sa.insert(ops_shadow_day)
        .values(flow=subject.flow, day=day, would_make=would_make, fields=fields, later=later, run_id=run_id, **numbers)
        .returning(ops_shadow_day.c.at)
    ).scalar_one()
    rows = [
        {
            "flow": subject.flow, "day": day, "name": one.name if one.ours else f"theirs {one.name}",
            "key": one.ours.key if one.ours else None, "their_id": one.theirs.key if one.theirs else None,
            "verdict": one.verdict, "matched_by": one.matched_by, "later": one.ours.later if one.ours else None,
            "differences": [{"field": d.field, "ours": d.ours, "theirs": d.theirs} for d in one.differences],
        }
        for one in results
    ]  # fmt: skip
    if rows:
        connection.execute(sa.insert(ops_shadow_record), rows)
    words = by_hand.words(subject.what, day, **numbers, fields=fields, later=later)
    made = Day(subject.flow, day, would_make, **numbers, later=later, fields=fields, at=at, sentence=words)
    if made.differs:
        alerts.raise_alert(
            connection, kind="shadow_differs", key=f"{subject.flow}:{day}", flow=subject.flow, severity="notice",
            title=f"Shadow mode: {subject.what} of {day} are not as people have entered them", body=f"{words} "
            f"`crossdock shadow report --day {day}` names them.",
        )  # fmt: skip
    return made


# ---- looking -------------------------------------------------------------------------------------------------------


def report(connection: sa.Connection, day: date | None = None, *, most: int = DAYS) -> tuple[Day, ...]:
    """The kept reports of a day, or of the last `most` days, the newest first."""
    table = ops_shadow_day
    wanted = sa.select(table).order_by(table.c.day.desc(), table.c.flow)
    if day is not None:
        wanted = wanted.where(table.c.day == day)
    else:
        newest = sa.select(table.c.day).distinct().order_by(table.c.day.desc()).limit(most)
        wanted = wanted.where(table.c.day.in_(newest))
    return _days(connection, wanted)


def of_run(connection: sa.Connection, run_id: str) -> tuple[Day, ...]:
    """The reports that a run has made, the newest day first."""
    table = ops_shadow_day
    return _days(
        connection, sa.select(table).where(table.c.run_id == run_id).order_by(table.c.day.desc(), table.c.flow)
    )


def _days(connection: sa.Connection, wanted: sa.Select) -> tuple[Day, ...]:
    what = {flow: subject.what for flow, subject in subjects().items()}
    return tuple(
        Day(
            row.flow, row.day, row.would_make, row.same, row.differ, row.only_ours, row.only_theirs, row.overtaken,
            row.later, row.fields, row.at,
            by_hand.words(
                what.get(row.flow, row.flow), row.day, same=row.same, differ=row.differ, only_ours=row.only_ours,
                only_theirs=row.only_theirs, fields=row.fields, overtaken=row.overtaken, later=row.later,
            ),
        )
        for row in connection.execute(wanted)
    )  # fmt: skip


def records(
    connection: sa.Connection,
    day: date,
    flow: str = "",
    *,
    verdicts: Sequence[str] = (DIFFERS, ONLY_OURS, ONLY_THEIRS, OVERTAKEN),
) -> tuple[Record, ...]:
    """The documents of a day, as they were compared last; those that are not the same, if nothing else is said."""
    table = ops_shadow_record
    wanted = sa.select(table).where(table.c.day == day, table.c.verdict.in_(verdicts))
    if flow:
        wanted = wanted.where(table.c.flow == flow)
    return tuple(
        Record(
            row.flow, row.day, row.key, row.their_id, row.verdict, row.matched_by,
            tuple(msgspec.convert(row.differences, list[Difference])), row.later,
        )
        for row in connection.execute(wanted.order_by(table.c.flow, table.c.verdict, table.c.name).limit(MOST_SHOWN))
    )  # fmt: skip


def as_csv(found: Sequence[Record]) -> str:
    """The documents as a table for a spreadsheet: a row for each field that differs."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("flow", "day", "our key", "their id", "verdict", "matched by", "field", "ours", "theirs", "later"))
    for one in found:
        for each in one.differences or (Difference("", None, None),):
            values = (one.flow, one.day.isoformat(), one.key, one.their_id, one.verdict, one.matched_by, each.field,
                      each.ours, each.theirs, one.later)  # fmt: skip
            writer.writerow([cell(value or "") for value in values])
    return text.getvalue()
