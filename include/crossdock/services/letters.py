"""The desk of dead letters: groups of one cause, a record whole, an edit with its verdict, replay, dismissal.

In: the person who works, numbers of letters or a group (flow, rule, value). Out: plain typed answers; marks of what a
run should replay. Never: a payload to somebody who may not see personal data; a change without a row in the audit log.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any

import sqlalchemy as sa

from crossdock import flows, settings
from crossdock.errors import ConfigError
from crossdock.flow import Flow
from crossdock.mapping import contracts, language
from crossdock.reference.lookups import without_advice
from crossdock.services import payloads, personal
from crossdock.services.payloads import Part
from crossdock.services.people import Person, Right
from crossdock.steps import records
from crossdock.steps.dry_run import Verdict
from crossdock.steps.dry_run import dry_run as judge
from crossdock.store import audit, database, dead_letters
from crossdock.store.dead_letters import OPEN
from crossdock.store.tables import ops_audit
from crossdock.store.tables import ops_dead_letter as table

MOST_AT_ONCE = 5_000  # letters that one action takes
PORTION = 500  # letters that are judged together
SAMPLE = 25  # letters of a group that are judged to say whether its cause is gone
VALUES = 6  # values of a group that are shown with it
AGAIN_BY_ITSELF = "Have the record mended in its system; the next run reads it and closes the dead letter."


@dataclass(frozen=True)
class Cause:
    """What letters have in common: a flow, the first rule that they break and, where given, the wrong value."""

    flow: str
    rule: str
    value: str | None = None

    def where(self) -> sa.ColumnElement[bool]:
        same = [table.c.state.in_(OPEN), table.c.flow == self.flow, table.c.rule == self.rule]
        return sa.and_(*same, *([_value() == self.value] if self.value is not None else []))


@dataclass(frozen=True)
class Group:
    """Open letters of one cause. `worth`: amounts by currency, of letters that state one; `values`: (value, letters) of
    the values that are wrong most often, and `more_values` beyond those."""

    flow: str
    title: str
    rule: str
    message: str
    do: str
    count: int
    oldest: datetime
    replaying: int
    assigned: tuple[str, ...]
    worth: dict[str, Decimal] = field(default_factory=dict)
    values: tuple[tuple[str, int], ...] = ()
    more_values: int = 0
    replayable: bool = True


@dataclass(frozen=True)
class Row:
    """One letter in a list."""

    id: int
    flow: str
    key: str
    rule: str
    message: str
    value: str
    rules: int  # how many it breaks
    step: str
    state: str
    times: int
    created_at: datetime
    assigned_to: str | None
    replaying: bool
    amount: Decimal | None
    currency_code: str | None


@dataclass(frozen=True)
class Listed:
    """A page of letters, oldest first. `after`: what to ask for the next page with; None on the last one."""

    rows: tuple[Row, ...]
    after: str | None


@dataclass(frozen=True)
class Deed:
    """What somebody did with a letter."""

    at: datetime
    who: str
    action: str
    note: str = ""


@dataclass(frozen=True)
class Letter:
    """A letter whole. `parts`: the record as it came, or `edited` by somebody; without personal data where `masked`.
    `links`: pages of the record in its system."""

    id: int
    flow: str
    title: str
    entity: str
    key: str
    batch_id: int
    step: str
    state: str
    times: int
    version: datetime
    created_at: datetime
    updated_at: datetime
    assigned_to: str | None
    note: str | None
    replaying: bool
    amount: Decimal | None
    currency_code: str | None
    reasons: tuple[dict[str, Any], ...]
    parts: tuple[Part, ...]
    masked: bool
    edited: bool
    editable: bool
    replayable: bool
    history: tuple[Deed, ...]
    links: tuple[tuple[str, str], ...]
    before: int | None = None  # numbers of its neighbours in the same group
    following: int | None = None


@dataclass(frozen=True)
class Outcome:
    """What an action did: how many letters it took, and the keys by flow that a run should replay."""

    count: int
    keys: dict[str, list[str]] = field(default_factory=dict)
    left: int = 0  # letters of the group that it did not take


def _reason(name: str) -> sa.ColumnElement[str]:
    return table.c.reasons[0][name].astext


def _value() -> sa.ColumnElement[str]:
    return sa.func.coalesce(_reason("value"), "")


# ---- what waits ----------------------------------------------------------------------------------------------------


def groups(connection: sa.Connection, person: Person) -> list[Group]:
    """Open letters by flow and rule, the largest group first."""
    person.require(Right.SEE)
    by = (table.c.flow, table.c.rule)
    counted = connection.execute(
        sa.select(
            *by,
            sa.func.count().label("letters"),
            sa.func.min(table.c.created_at).label("oldest"),
            sa.func.count(table.c.replay_asked_at).label("replaying"),
            sa.func.array_agg(sa.distinct(table.c.assigned_to)).label("assigned"),
            sa.func.min(_reason("says")).label("message"),
            sa.func.min(_reason("do")).label("do"),
            sa.func.min(_reason("field")).label("field"),
        )
        .where(table.c.state.in_(OPEN))
        .group_by(*by)
        .order_by(sa.func.count().desc(), *by)
    ).all()
    worth: dict[tuple[str, str], dict[str, Decimal]] = {}
    amounts = connection.execute(
        sa.select(*by, table.c.currency_code, sa.func.sum(table.c.amount).label("amount"))
        .where(table.c.state.in_(OPEN), table.c.amount.is_not(None), table.c.currency_code.is_not(None))
        .group_by(*by, table.c.currency_code)
        .order_by(table.c.currency_code)
    )
    for row in amounts:
        worth.setdefault((row.flow, row.rule), {})[row.currency_code] = row.amount
    values: dict[tuple[str, str], list[tuple[str, int]]] = {}
    rows = connection.execute(
        sa.select(*by, _value().label("value"), sa.func.count().label("letters"))
        .where(table.c.state.in_(OPEN))
        .group_by(*by, _value())
        .order_by(sa.func.count().desc(), _value())
    )
    for row in rows:
        values.setdefault((row.flow, row.rule), []).append((row.value, row.letters))
    personal_too = person.may(Right.SEE_PERSONAL)
    every = flows.all_flows()
    found = []
    for row in counted:
        flow = every.get(row.flow)
        shown = personal_too or (flow is not None and not _about_people(flow, row.field or ""))
        own = [(value, count) for value, count in values.get((row.flow, row.rule), []) if value] if shown else []
        found.append(
            Group(
                row.flow,
                flow.title if flow else row.flow,
                row.rule or "",
                (row.message or "") if shown else "",
                row.do or "",
                row.letters,
                row.oldest,
                row.replaying,
                tuple(name for name in row.assigned if name),
                worth.get((row.flow, row.rule), {}),
                tuple(own[:VALUES]),
                max(len(own) - VALUES, 0),
                row.flow != records.REFERENCE,
            )
        )
    return found


def letters(
    connection: sa.Connection,
    person: Person,
    *,
    cause: Cause | None = None,
    flow: str | None = None,
    state: str = "open",
    assigned_to: str | None = None,
    after: str | None = None,
    limit: int = 50,
) -> Listed:
    """Letters, oldest first. `state`: open (with edited), replayed, resolved or dismissed."""
    person.require(Right.SEE)
    wanted: list[sa.ColumnElement[bool]] = (
        [cause.where()] if cause else [table.c.state.in_(OPEN if state == "open" else (state,))]
    )
    if flow:
        wanted.append(table.c.flow == flow)
    if assigned_to:
        wanted.append(table.c.assigned_to == assigned_to)
    if after:
        at, number = _place(after)
        wanted.append(sa.tuple_(table.c.created_at, table.c.id) > (at, number))
    hidden = {"payload", "edited_payload", "edited_from"}
    query = sa.select(*(column for column in table.c if column.name not in hidden)).where(*wanted)
    rows = connection.execute(query.order_by(table.c.created_at, table.c.id).limit(limit + 1)).all()
    shown = rows[:limit]
    last = f"{shown[-1].created_at.isoformat()}~{shown[-1].id}" if len(rows) > limit else None
    return Listed(tuple(_row(row, person) for row in shown), last)


def _place(after: str) -> tuple[datetime, int]:
    moment, _, number = after.partition("~")
    try:
        return datetime.fromisoformat(moment), int(number)
    except ValueError as error:
        raise ConfigError(f"{after!r} is no place in the list.", do="Begin at the top of the list.") from error


def _row(row: sa.Row, person: Person) -> Row:
    reason: Mapping[str, Any] = next(iter(row.reasons or []), {})
    shown = person.may(Right.SEE_PERSONAL) or not about_people(row.flow, reason)
    return Row(
        row.id, row.flow, row.key, row.rule or "", str(reason.get("says", "")) if shown else "",
        str(reason.get("value") or "") if shown else "", len({one.get("rule") for one in row.reasons}), row.step,
        row.state, row.times, row.created_at, row.assigned_to, row.replay_asked_at is not None, row.amount,
        row.currency_code,
    )  # fmt: skip


def about_people(flow_name: str, reason: Mapping[str, Any]) -> bool:
    """Whether a reason of a flow's letters may hold personal data."""
    flow = flows.all_flows().get(flow_name)
    return flow is None or _about_people(flow, str(reason.get("field") or ""))


def _about_people(flow: Flow, path: str) -> bool:
    """Whether what is said of a field may hold personal data. A rule without a field may quote anything."""
    source = contracts.document(flow.source.contract, flow.source.document)
    targets = (language.load(name).target_document for name in flow.mappings)
    return not personal.is_plain((source, *targets), path)


# ---- one letter ----------------------------------------------------------------------------------------------------


def letter(connection: sa.Connection, person: Person, number: int) -> Letter:
    """A letter whole. That somebody has seen its personal data is put on record. ConfigError where there is none."""
    person.require(Right.SEE)
    row = _get(connection, number)
    flow = flows.all_flows().get(row.flow)
    open_now, seen = row.state in OPEN, person.may(Right.SEE_PERSONAL)
    was_edited = row.edited_payload is not None and row.state in ("edited", "replayed")
    payload = row.edited_payload if was_edited else row.payload
    readable = row.step != "extract" and flow is not None
    if seen:
        audit.record(connection, person.name, "dead-letter open", str(row.id), {"flow": row.flow, "key": row.key})
        shown = payload
    elif readable and flow is not None:
        shown = personal.masked(payload, flow.source.contract, flow.source.document)
    else:  # nobody knows what is in it
        shown = dict.fromkeys(payload, personal.MASK) if isinstance(payload, dict) else {}
    reasons = tuple(
        reason if seen or not about_people(row.flow, reason) else {**reason, "says": "", "value": personal.MASK}
        for reason in row.reasons
    )
    still_wrong = readable and open_now
    faults = payloads.faults_of(payload, row.reasons, _key_of_lines(flow)) if still_wrong else frozenset[str]()
    before, following = _neighbours(connection, row) if open_now else (None, None)
    return Letter(
        row.id, row.flow, flow.title if flow else row.flow, row.entity, row.key, row.batch_id, row.step, row.state,
        row.times, row.version, row.created_at, row.updated_at, row.assigned_to, row.note,
        row.replay_asked_at is not None, row.amount, row.currency_code, reasons,
        tuple(payloads.parts(_in_order(shown, flow), faults)), not seen, was_edited,
        open_now and readable and seen and person.may(Right.WORK),
        open_now and row.flow != records.REFERENCE, _history(connection, row.id), _links(flow, row),
        before, following,
    )  # fmt: skip


def _in_order(document: Any, flow: Flow | None) -> Any:
    """The document with its fields in the order of its contract: the database keeps them by their length."""
    return (
        payloads.ordered(document, contracts.document(flow.source.contract, flow.source.document)) if flow else document
    )


def _key_of_lines(flow: Flow | None) -> str:
    """The field of a line of the source by which rules name it."""
    for name in flow.mappings if flow else ():
        children = language.load(name).children
        if children and children.key:
            return children.key
    return ""


def _neighbours(connection: sa.Connection, row: sa.Row) -> tuple[int | None, int | None]:
    """The letters before and after this one in its group."""
    same = Cause(row.flow, row.rule).where()
    here = sa.tuple_(table.c.created_at, table.c.id)
    place = (row.created_at, row.id)
    order = (table.c.created_at, table.c.id)
    before = connection.scalar(
        sa.select(table.c.id).where(same, here < place).order_by(*(one.desc() for one in order)).limit(1)
    )
    return before, connection.scalar(sa.select(table.c.id).where(same, here > place).order_by(*order).limit(1))


def _history(connection: sa.Connection, number: int) -> tuple[Deed, ...]:
    rows = connection.execute(
        sa.select(ops_audit)
        .where(ops_audit.c.subject == str(number), ops_audit.c.action.startswith("dead-letter "))
        .order_by(ops_audit.c.id.desc())
        .limit(200)
    )
    return tuple(
        Deed(row.at, row.who, row.action.removeprefix("dead-letter "), str(row.detail.get("note", ""))) for row in rows
    )


def _links(flow: Flow | None, row: sa.Row) -> tuple[tuple[str, str], ...]:
    """Pages of the record in its system, by the templates of `console.yaml`."""
    templates = settings.console().links
    if flow is None:
        return ()
    name = f"{flow.source.system}.{flow.source.document}"
    return ((name, templates[name].replace("{id}", row.key)),) if name in templates else ()


def _get(connection: sa.Connection, number: int) -> sa.Row:
    row = connection.execute(sa.select(table).where(table.c.id == number)).one_or_none()
    if row is None:
        raise ConfigError(f"There is no dead letter {number}.", do="Look for it in the list of dead letters.")
    return row


# ---- verdicts ------------------------------------------------------------------------------------------------------


def verdict(connection: sa.Connection, person: Person, number: int, changes: Mapping[str, Any]) -> Verdict:
    """What would become of a letter's record with these changes (path: new value). Nothing is written."""
    person.require(Right.WORK)
    person.require(Right.SEE_PERSONAL)
    row = _get(connection, number)
    flow = _worked(row)
    payload = payloads.changed(row.edited_payload if row.state == "edited" else row.payload, changes)
    return judge(connection, flow, [(row.key, row.version, _bytes(payload))])[row.key]


def gone(connection: sa.Connection, person: Person, numbers: Sequence[int]) -> dict[int, bool]:
    """Whether the cause of each of these open letters is gone: a dry run of its record passes now."""
    person.require(Right.SEE)
    return _gone(connection, connection.execute(_open_ones(table.c.id.in_(list(numbers[:PORTION])))).all())


def gone_by_cause(connection: sa.Connection, person: Person) -> dict[tuple[str, str], tuple[int, int]]:
    """(letters whose cause is gone, letters looked at) of each group, by flow and rule. Of a group the oldest SAMPLE
    letters are looked at; those of one flow together."""
    person.require(Right.SEE)
    place = sa.func.row_number().over(
        partition_by=(table.c.flow, table.c.rule), order_by=(table.c.created_at, table.c.id)
    )
    numbered = sa.select(table.c.id, place.label("place")).where(table.c.state.in_(OPEN)).subquery()
    first = sa.select(numbered.c.id).where(numbered.c.place <= SAMPLE)
    rows = connection.execute(_open_ones(table.c.id.in_(first)).add_columns(table.c.rule)).all()
    passes = _gone(connection, rows)
    found: dict[tuple[str, str], tuple[int, int]] = {}
    for row in rows:
        passing, looked = found.get((row.flow, row.rule), (0, 0))
        found[row.flow, row.rule] = passing + passes[row.id], looked + 1
    return found


def _open_ones(*where: sa.ColumnElement[bool]) -> sa.Select:
    columns = (table.c[name] for name in ("id", "flow", "key", "version", "state", "step", "payload", "edited_payload"))
    return sa.select(*columns).where(table.c.state.in_(OPEN), *where)


def _gone(connection: sa.Connection, rows: Sequence[sa.Row]) -> dict[int, bool]:
    found = {row.id: False for row in rows}
    by_flow: dict[str, list[sa.Row]] = {}
    for row in rows:
        if row.step != "extract" and row.flow in flows.all_flows():
            by_flow.setdefault(row.flow, []).append(row)
    for name, own in by_flow.items():
        for start in range(0, len(own), PORTION):
            portion = own[start : start + PORTION]
            versions = [(row.key, row.version, _bytes(_current(row))) for row in portion]
            with without_advice():
                judged = judge(connection, flows.get(name), versions, documents=False)
            found |= {row.id: row.key in judged and judged[row.key].passes for row in portion}
    # What the target has refused passes every check of ours: only an edit or the target can change that.
    refused_there = {row.id for row in rows if row.step == "load" and row.state == "open"}
    return {number: passes and number not in refused_there for number, passes in found.items()}


def _current(row: sa.Row) -> Any:
    return row.edited_payload if row.state == "edited" else row.payload


def _bytes(payload: Any) -> bytes:
    return database.to_json(payload).encode()


def _worked(row: sa.Row) -> Flow:
    """The flow of a letter that may be edited. ConfigError for what is only looked up, or could not be read at all."""
    if row.flow == records.REFERENCE:
        raise ConfigError(f"{row.key} is only looked up, so it cannot be edited or replayed.", do=AGAIN_BY_ITSELF)
    if row.step == "extract":
        raise ConfigError(f"{row.key} could not be read at all, so there is nothing to edit.", do=AGAIN_BY_ITSELF)
    return flows.get(row.flow)


# ---- what a person does --------------------------------------------------------------------------------------------


def edit(connection: sa.Connection, person: Person, number: int, changes: Mapping[str, Any]) -> None:
    """Keeps other values of a letter's record (path: new value), to be replayed. Raises ConfigError for a path that
    the record does not have."""
    person.require(Right.WORK)
    person.require(Right.SEE_PERSONAL)
    row = _get(connection, number)
    _worked(row)
    if not changes:
        raise ConfigError("Nothing was changed.", do="Write another value into a field first.")
    keep(connection, person, row, payloads.changed(_current(row), changes))


def keep(connection: sa.Connection, person: Person, row: sa.Row, payload: Any) -> None:
    """Keeps an edited payload. ConfigError where the database cannot."""
    savepoint = connection.begin_nested()
    try:
        dead_letters.edit(connection, row.id, payload, who=person.name)
        savepoint.commit()
    except sa.exc.DataError as error:
        savepoint.rollback()
        raise ConfigError(
            f"The payload cannot be kept: {database.explain(error)}.", do="Nothing was changed; edit it again."
        ) from error


def replace_value(connection: sa.Connection, person: Person, cause: Cause, by: str) -> Outcome:
    """Writes `by` in place of a group's value into every record of the group where the rule found it."""
    person.require(Right.WORK)
    person.require(Right.SEE_PERSONAL)
    if not cause.value:
        raise ConfigError("There is no value to replace.", do="Choose one of the group's values first.")
    count, left = 0, 0
    key_of_lines = _key_of_lines(flows.all_flows().get(cause.flow))
    for row in connection.execute(sa.select(table).where(cause.where()).limit(MOST_AT_ONCE)).all():
        _worked(row)
        payload = _current(row)
        own = [reason for reason in row.reasons if reason.get("rule") == cause.rule]
        paths = [
            part.path
            for part in payloads.parts(payload, payloads.faults_of(payload, own, key_of_lines))
            if part.at_fault and part.value == cause.value
        ]
        if not paths:
            left += 1
            continue
        keep(connection, person, row, payloads.changed(payload, dict.fromkeys(paths, by)))
        count += 1
    return Outcome(count, left=left)


def ask_replay(
    connection: sa.Connection,
    person: Person,
    *,
    numbers: Sequence[int] = (),
    cause: Cause | None = None,
    only_gone: bool = False,
) -> Outcome:
    """Marks letters (of a group, or all open ones) for a replay and returns their keys by flow. `only_gone`: only those
    whose cause is gone, which whoever publishes configuration may ask for, too."""
    if not (only_gone and person.may(Right.PUBLISH)):
        person.require(Right.WORK)
    wanted = [table.c.id.in_(list(numbers))] if numbers else [cause.where()] if cause else []
    rows = connection.execute(
        _open_ones(table.c.flow != records.REFERENCE, *wanted)
        .order_by(table.c.created_at, table.c.id)
        .limit(MOST_AT_ONCE)
        .with_for_update(skip_locked=True)
    ).all()
    total = len(rows)
    if numbers and not rows:
        raise ConfigError("None of these dead letters can be replayed.", do="They are closed, or only looked up.")
    if only_gone:
        passes = _gone(connection, rows)
        rows = [row for row in rows if passes[row.id]]
    if rows:
        marked = sa.update(table).where(table.c.id.in_([row.id for row in rows]))
        connection.execute(marked.values(replay_asked_at=sa.func.now(), changed_by=person.name))
    keys: dict[str, list[str]] = {}
    for row in rows:
        keys.setdefault(row.flow, []).append(row.key)
        audit.record(connection, person.name, "dead-letter replay", str(row.id), {"flow": row.flow, "key": row.key})
    return Outcome(len(rows), keys, total - len(rows))


def forget_replay(connection: sa.Connection, flow: str, keys: Sequence[str]) -> None:
    """Takes the marks of a replay back: no run could be started for it."""
    wanted = (table.c.flow == flow, table.c.key.in_(list(keys)), table.c.state.in_(OPEN))
    connection.execute(sa.update(table).where(*wanted).values(replay_asked_at=None))


def dismiss(
    connection: sa.Connection, person: Person, note: str, *, numbers: Sequence[int] = (), cause: Cause | None = None
) -> Outcome:
    """Decides that records need not be delivered, and why."""
    person.require(Right.WORK)
    if not note.strip():
        raise ConfigError("A dismissal needs a reason.", do="Write why the records need not be delivered.")
    ids = _ids(connection, numbers, cause)
    for number in ids:
        dead_letters.dismiss(connection, number, who=person.name, note=note.strip())
    return Outcome(len(ids))


def assign(
    connection: sa.Connection,
    person: Person,
    to: str | None,
    *,
    numbers: Sequence[int] = (),
    cause: Cause | None = None,
) -> Outcome:
    """Says who works on letters; None: nobody."""
    person.require(Right.WORK)
    ids = _ids(connection, numbers, cause)
    if ids:
        connection.execute(sa.update(table).where(table.c.id.in_(ids)).values(assigned_to=to or None))
    for number in ids:
        audit.record(
            connection, person.name, "dead-letter assign", str(number), {"note": f"to {to}" if to else "to nobody"}
        )
    return Outcome(len(ids))


def add_note(connection: sa.Connection, person: Person, number: int, note: str) -> None:
    """Keeps a remark with a letter, for whoever looks at it next."""
    person.require(Right.WORK)
    if not note.strip():
        raise ConfigError("The note is empty.", do="Write something for whoever looks at it next.")
    row = _get(connection, number)
    audit.record(connection, person.name, "dead-letter note", str(row.id), {"key": row.key, "note": note.strip()})


def _ids(connection: sa.Connection, numbers: Iterable[int], cause: Cause | None) -> list[int]:
    wanted = cause.where() if cause else table.c.id.in_(list(numbers))
    query = sa.select(table.c.id).where(wanted, table.c.state.in_(OPEN)).order_by(table.c.id).limit(MOST_AT_ONCE)
    found = list(connection.scalars(query))
    if not found:
        raise ConfigError("None of these dead letters is open any more.", do="Load the page again.")
    return found


def is_replaying(connection: sa.Connection, person: Person, number: int) -> bool:
    """Whether a replay of a letter is asked for and not ended."""
    person.require(Right.SEE)
    row = _get(connection, number)
    return row.replay_asked_at is not None and row.state in OPEN
