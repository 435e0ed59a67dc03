"""The desk of dead letters: groups of one cause, a record whole, an edit with its verdict, replay, dismissal and back.

In: the person who works, numbers of letters or a group (flow, rule, value). Out: plain typed answers; marks of what a
run should replay. Never: a payload to somebody who may not see personal data; a change without a row in the audit log.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import distinct_on

from crossdock import flows
from crossdock.errors import ConfigError
from crossdock.flow import Flow
from crossdock.mapping import contracts, language
from crossdock.reference.lookups import without_advice
from crossdock.services import outside, payloads, personal, remarks, replays, worth
from crossdock.services.outside import Outside
from crossdock.services.payloads import Part
from crossdock.services.people import Person, Right
from crossdock.services.replays import Came
from crossdock.steps import records
from crossdock.steps.dry_run import Verdict, made_before
from crossdock.steps.dry_run import dry_run as judge
from crossdock.store import audit, database, dead_letters, raw
from crossdock.store.dead_letters import OPEN
from crossdock.store.tables import ops_audit
from crossdock.store.tables import ops_dead_letter as table

MOST_AT_ONCE = 5_000  # letters that one action takes
PORTION = 500  # letters that are judged together
SAMPLE = 25  # letters of a group that are judged to say whether its cause is gone
VALUES = 6  # values of a group that are shown with it
EDITS = 3  # changed values of a letter that are shown in a list
LATEST = 5  # replays that the desk names
LOOK = timedelta(hours=1)  # in which a person's looks at a letter are one
FIELDS = 6  # changed fields that are named of an edit
NOTES = 3  # the latest ones, which stand on top of a letter
NOTED = "dead-letter note"
LISTS = ("open", "dismissed", "mended", "replayed", "resolved")  # mended: delivered after an edit
SENT = ("load", "confirm")  # steps at which a system refuses
OTHERWISE = "It is another document than the one that was refused."
AS_BEFORE = "It is the very document that was refused, and would be refused again."
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
    the values that are wrong most often, and `more_values` beyond those, of letters that nobody has edited;
    `messages`: how many different ones there are, of which `message` is one; `edited`: letters that wait for a
    replay of what somebody made of them; `note`: the latest that somebody has left with one of them."""

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
    messages: int = 1
    edited: int = 0
    note: Deed | None = None


@dataclass(frozen=True)
class Edit:
    """One value that somebody has written in place of another."""

    name: str
    was: str
    now: str


@dataclass(frozen=True)
class Row:
    """One letter in a list. `edits`: the first values of an edited one that are others now, of `edited` in all;
    `changed_by` and `note`: who has closed it, and why; `remark`: the latest note for whoever looks at it next."""

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
    updated_at: datetime
    changed_by: str | None
    note: str | None
    edits: tuple[Edit, ...] = ()
    edited: int = 0
    remark: Deed | None = None


@dataclass(frozen=True)
class Listed:
    """A page of letters: open ones oldest first, closed ones newest first. `after`: what to ask for the next page with;
    None on the last one."""

    rows: tuple[Row, ...]
    after: str | None


@dataclass(frozen=True)
class Deed:
    """What somebody did with a letter. `replay`: the number of the one that it was in; `letter`: its own."""

    at: datetime
    who: str
    action: str
    note: str = ""
    replay: int | None = None
    letter: int | None = None


@dataclass(frozen=True)
class Letter:
    """A letter whole. `parts`: the record as it came, or `edited` by somebody; without personal data where `masked`.
    `links`: pages of the record in its system. `batch_id` and `refused_at`: of the last of the `times` that it was
    refused; `first_batch_id` and `created_at`: of the first. `seen`: its record as it is shown, which an edit names.
    `notes`: the latest of those that people have left with it."""

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
    links: tuple[Outside, ...]
    before: int | None = None  # numbers of its neighbours in the same group
    following: int | None = None
    came: Came | None = None  # of its last replay
    changed_by: str | None = None
    seen: str = ""
    notes: tuple[Deed, ...] = ()
    first_batch_id: int | None = None
    refused_at: datetime | None = None


@dataclass(frozen=True)
class Outcome:
    """What an action did: how many letters it took, and the keys by flow that a run should replay."""

    count: int
    keys: dict[str, list[str]] = field(default_factory=dict)
    left: int = 0  # letters of the group that it did not take
    replay: int | None = None  # the number by which `services.replays` tells what came of it
    busy: int = 0  # letters that it left to the replay that they are in
    at_work: int | None = None  # the number of that replay


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
            sa.func.count(sa.distinct(_reason("says"))).label("messages"),
            sa.func.count().filter(table.c.state == "edited").label("edited"),
        )
        .where(table.c.state.in_(OPEN))
        .group_by(*by)
        .order_by(sa.func.count().desc(), *by)
    ).all()
    held_up = worth.of_letters(connection)
    values: dict[tuple[str, str], list[tuple[str, int]]] = {}
    rows = connection.execute(
        sa.select(*by, _value().label("value"), sa.func.count().label("letters"))
        .where(table.c.state == "open")
        .group_by(*by, _value())
        .order_by(sa.func.count().desc(), _value())
    )
    for row in rows:
        values.setdefault((row.flow, row.rule), []).append((row.value, row.letters))
    noted = _latest_notes(connection, *by)
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
                held_up.get((row.flow, row.rule or ""), {}),
                tuple(own[:VALUES]),
                max(len(own) - VALUES, 0),
                row.flow != records.REFERENCE,
                row.messages,
                row.edited,
                noted.get((row.flow, row.rule)),
            )
        )
    return found


def _latest_notes(connection: sa.Connection, *by: sa.Column, numbers: Collection[int] | None = None) -> dict[Any, Deed]:
    """The latest note that somebody has left with open letters, by these columns of them."""
    log, oldest = ops_audit.c, sa.select(sa.func.min(table.c.created_at)).where(table.c.state.in_(OPEN))
    query = (
        sa.select(*by, table.c.id.label("letter"), log.at, log.who, log.detail)
        .ext(distinct_on(*by))
        .join(ops_audit, log.subject == sa.cast(table.c.id, sa.Text))
        .where(table.c.state.in_(OPEN), log.action == NOTED)
        .order_by(*by, log.id.desc())
    )
    wanted = table.c.id.in_(list(numbers)) if numbers is not None else log.at >= oldest.scalar_subquery()
    return {
        tuple(row[: len(by)]): Deed(row.at, row.who, "note", str(row.detail.get("note") or ""), letter=row.letter)
        for row in connection.execute(query.where(wanted))
    }


def only_value(group: Group) -> str | None:
    """The one value that is wrong in a group; "" where none is named: it is missing. None: there are more."""
    if not group.values:
        return ""
    return group.values[0][0] if len(group.values) == 1 and not group.more_values else None


@dataclass(frozen=True)
class Wrong:
    """A value in whose place another can be written, and the fields that have it. `value` "": it is missing."""

    value: str
    fields: tuple[str, ...]


def replaceable(connection: sa.Connection, person: Person, cause: Cause) -> Wrong | None:
    """The wrong value of a cause, where another can be written in its place: it stands in the record as a text or a
    number, or is missing in a field that is there, as the oldest letter that nobody has edited shows; and the advice is
    to edit. None also for somebody who may not edit."""
    if cause.value is None or not (person.may(Right.WORK) and person.may(Right.SEE_PERSONAL)):
        return None
    first = sa.select(table).where(cause.where(), table.c.state == "open", table.c.step != "extract")
    row = connection.execute(first.order_by(table.c.created_at, table.c.id).limit(1)).one_or_none()
    flow = flows.all_flows().get(cause.flow)
    if row is None or flow is None or _is_to_be_ended(row, cause):
        return None
    paths = _wrong_paths(row, row.payload, cause, flow)
    fields = tuple(dict.fromkeys(_PLACE.sub("", path) for path in paths))
    return Wrong(cause.value, fields) if paths else None


_PLACE = re.compile(r"\[\d+\]")
_ENDS = re.compile(r"\b(cancel|dismiss)", re.IGNORECASE)
_EDITS = re.compile(r"\b(edit|payload|correct|write)", re.IGNORECASE)


def _is_to_be_ended(row: sa.Row, cause: Cause) -> bool:
    """Whether the advice is to cancel or dismiss, and an edit comes after that if at all."""
    advice = next((str(one.get("do") or "") for one in row.reasons if one.get("rule") == cause.rule), "")
    ends, edits = _ENDS.search(advice), _EDITS.search(advice)
    return ends is not None and (edits is None or ends.start() < edits.start())


def _wrong_paths(row: sa.Row, payload: Any, cause: Cause, flow: Flow) -> list[str]:
    """Where the value of a cause stands in a record, as its rule names the place."""
    own = [reason for reason in row.reasons if reason.get("rule") == cause.rule]
    faults = payloads.faults_of(payload, own, _key_of_lines(flow))
    found = [
        part.path for part in payloads.parts(payload, faults) if part.at_fault and _has_value(part, cause.value or "")
    ]
    if found or cause.value:
        return found
    # A field of the record's contract that is not there at all.
    named = contracts.document(flow.source.contract, flow.source.document).fields
    missing = dict.fromkeys(str(reason.get("field") or "") for reason in own)
    return [name for name in missing if name in named and "." not in name and name not in payload]


def _has_value(part: Part, value: str) -> bool:
    if part.kind == "number":
        try:
            return Decimal(part.value or "") == Decimal(value)
        except InvalidOperation:
            return False
    return (part.kind == "text" and part.value == value) or (part.kind == "null" and value == "")


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
    """Letters of a list (LISTS): open ones (with edited) oldest first, closed ones newest first. ConfigError for
    any other list."""
    person.require(Right.SEE)
    if state not in LISTS:
        raise ConfigError(f"There is no list of {state!r} letters.", do=f"The lists are: {', '.join(LISTS)}.")
    wanted: list[sa.ColumnElement[bool]] = [cause.where()] if cause else [_LISTED.get(state, table.c.state == state)]
    still_open = cause is not None or state == "open"
    place = (table.c.created_at, table.c.id) if still_open else (table.c.updated_at, table.c.id)
    if flow:
        wanted.append(table.c.flow == flow)
    if assigned_to:
        wanted.append(table.c.assigned_to == assigned_to)
    if after:
        here = sa.tuple_(*place)
        wanted.append(here > _place(after) if still_open else here < _place(after))
    query = sa.select(*_LIGHT).where(*wanted)
    order = place if still_open else [one.desc() for one in place]
    rows = connection.execute(query.order_by(*order).limit(limit + 1)).all()
    shown = rows[:limit]
    last = None
    if len(rows) > limit:
        moment = shown[-1].created_at if still_open else shown[-1].updated_at
        last = f"{moment.isoformat()}~{shown[-1].id}"
    edits = _edits(connection, person, [row.id for row in shown if row.state in ("edited", "replayed")])
    noted = _latest_notes(connection, table.c.id, numbers=[row.id for row in shown]) if shown and still_open else {}
    return Listed(tuple(_row(row, person, edits.get(row.id, ()), noted.get((row.id,))) for row in shown), last)


_LIGHT = [column for column in table.c if column.name not in ("payload", "edited_payload", "edited_from")]
_LISTED: dict[str, sa.ColumnElement[bool]] = {
    "open": table.c.state.in_(OPEN),
    "mended": sa.and_(table.c.state == "replayed", table.c.edited_payload.is_not(None)),
}


def _edits(connection: sa.Connection, person: Person, numbers: Collection[int]) -> dict[int, tuple[Edit, ...]]:
    """The values of these letters that somebody has written in place of others."""
    wanted = (table.c.id.in_(list(numbers)), table.c.edited_payload.is_not(None))
    query = sa.select(table.c.id, table.c.flow, table.c.payload, table.c.edited_payload, table.c.edited_from)
    found: dict[int, tuple[Edit, ...]] = {}
    for row in connection.execute(query.where(*wanted)) if numbers else ():
        before = {part.path: part for part in payloads.parts(row.edited_from or row.payload)}
        changed = [
            (part.path, before[part.path].value if part.path in before else "", part.value)
            for part in payloads.parts(row.edited_payload)
            if part.value is not None and (part.path not in before or before[part.path].value != part.value)
        ]
        found[row.id] = tuple(
            Edit(path, was or "", now or "")
            if person.may(Right.SEE_PERSONAL) or not about_people(row.flow, {"field": path})
            else Edit(path, personal.MASK, personal.MASK)
            for path, was, now in changed
        )
    return found


def _place(after: str) -> tuple[datetime, int]:
    moment, _, number = after.partition("~")
    try:
        return datetime.fromisoformat(moment), int(number)
    except ValueError as error:
        raise ConfigError(f"{after!r} is no place in the list.", do="Begin at the top of the list.") from error


def _row(row: sa.Row, person: Person, edits: tuple[Edit, ...], remark: Deed | None) -> Row:
    reason: Mapping[str, Any] = next(iter(row.reasons or []), {})
    shown = person.may(Right.SEE_PERSONAL) or not about_people(row.flow, reason)
    return Row(
        row.id, row.flow, row.key, row.rule or "", str(reason.get("says", "")) if shown else "",
        str(reason.get("value") or "") if shown else "", len({one.get("rule") for one in row.reasons}), row.step,
        row.state, row.times, row.created_at, row.assigned_to, row.replay_asked_at is not None,
        worth.cents(row.amount, row.currency_code), row.currency_code, row.updated_at, row.changed_by, row.note,
        edits[:EDITS], len(edits), remark,
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
        _looked_at(connection, person, row)
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
    if row.state == "edited":  # what was refused is the record as it came
        faults -= frozenset(_changed_paths(row.payload, payload))
    before, following = _neighbours(connection, row) if open_now else (None, None)
    history = _history(connection, row.id)
    return Letter(
        row.id, row.flow, flow.title if flow else row.flow, row.entity, row.key, row.batch_id, row.step, row.state,
        row.times, row.version, row.created_at, row.updated_at, row.assigned_to, row.note,
        row.replay_asked_at is not None, worth.cents(row.amount, row.currency_code), row.currency_code, reasons,
        tuple(payloads.parts(_in_order(shown, flow), faults)), not seen, was_edited,
        open_now and readable and seen and person.may(Right.WORK) and row.replay_asked_at is None,
        open_now and row.flow != records.REFERENCE, history, _links(flow, row),
        before, following, replays.of_letter(connection, row.id), row.changed_by, _seen(row),
        tuple(deed for deed in history if deed.action == "note")[:NOTES], row.first_batch_id, row.refused_at,
    )  # fmt: skip


def _looked_at(connection: sa.Connection, person: Person, row: sa.Row) -> None:
    """Puts on record that somebody has seen the personal data of a letter: once for a while, however often the page
    loads itself."""
    log = ops_audit.c
    lately = sa.select(log.id).where(
        log.subject == str(row.id), log.action == "dead-letter open", log.who == person.name,
        log.address == (person.address or ""), log.at > sa.func.now() - LOOK,
    )  # fmt: skip
    if connection.scalar(lately.limit(1)) is None:
        audit.record(connection, person.name, "dead-letter open", str(row.id), {"flow": row.flow, "key": row.key})


def _seen(row: sa.Row) -> str:
    """A letter's record as it is now: the version, how often it was refused, and what somebody has made of it."""
    made = row.edited_payload if row.state == "edited" else None
    return raw.digest(database.to_json([row.version.isoformat(), row.times, row.state, made]).encode())


def _changed_paths(before: Any, after: Any) -> list[str]:
    """The paths of the values that are others, or gone, in `after`."""
    old, new = ({part.path: (part.kind, part.value) for part in payloads.parts(each)} for each in (before, after))
    return [path for path in {**new, **old} if old.get(path) != new.get(path)]


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
        Deed(row.at, row.who, row.action.removeprefix("dead-letter "), _words_of(row.detail), row.detail.get("replay"))
        for row in rows
    )


def _words_of(detail: Mapping[str, Any]) -> str:
    """What a deed's row says: its note, or the fields that were changed."""
    fields = [str(path) for path in detail.get("fields") or ()]
    more = f" and {len(fields) - FIELDS} more" if len(fields) > FIELDS else ""
    return str(detail.get("note") or f"{', '.join(fields[:FIELDS])}{more}")


def _links(flow: Flow | None, row: sa.Row) -> tuple[Outside, ...]:
    """The pages of the record and of its document in their systems."""
    if flow is None:
        return ()
    came = outside.page_of(f"{flow.source.contract}.{flow.source.document}", row.key)
    return (came,) if came else ()


def _get(connection: sa.Connection, number: int, *, lock: bool = False) -> sa.Row:
    query = sa.select(table).where(table.c.id == number)
    row = connection.execute(query.with_for_update() if lock else query).one_or_none()
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
    found = judge(connection, flow, [(row.key, row.version, _bytes(payload))])[row.key]
    if row.step in SENT and found.state == "ready":
        refused = _refused_documents(connection, flow, [row]).get(row.key)
        return found if refused is None else replace(found, why=OTHERWISE if found.document != refused else AS_BEFORE)
    return found


def gone(connection: sa.Connection, person: Person, numbers: Sequence[int]) -> dict[int, bool]:
    """Whether the cause of each of these open letters is gone: a dry run of its record passes now, and what a system
    has refused would be sent otherwise than it was."""
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
    names = ("id", "flow", "key", "batch_id", "version", "state", "step", "payload", "edited_payload")
    return sa.select(*(table.c[name] for name in names)).where(table.c.state.in_(OPEN), *where)


def _gone(connection: sa.Connection, rows: Sequence[sa.Row]) -> dict[int, bool]:
    found = {row.id: False for row in rows}
    by_flow: dict[str, list[sa.Row]] = {}
    for row in rows:
        if row.step != "extract" and row.flow in flows.all_flows():
            by_flow.setdefault(row.flow, []).append(row)
    for name, own in by_flow.items():
        flow = flows.get(name)
        sent = [row for row in own if row.step in SENT]
        for some, documents in (([row for row in own if row.step not in SENT], False), (sent, True)):
            for start in range(0, len(some), PORTION):
                portion = some[start : start + PORTION]
                versions = [(row.key, row.version, _bytes(_current(row))) for row in portion]
                with without_advice():
                    judged = judge(connection, flow, versions, documents=documents)
                refused = _refused_documents(connection, flow, portion) if documents else {}
                found |= {
                    row.id: row.key in judged and _passes(row, judged[row.key], refused.get(row.key)) for row in portion
                }
    return found


def _passes(row: sa.Row, verdict: Verdict, refused: Mapping[str, Any] | None) -> bool:
    """Whether a record would pass. What a system has refused passes every check of ours: it must be another document
    now. Where nobody knows any more what was refused, only an edit makes another one."""
    if not verdict.passes or row.step not in SENT or verdict.state != "ready":
        return verdict.passes
    return row.state == "edited" if refused is None else verdict.document != refused


def _refused_documents(connection: sa.Connection, flow: Flow, rows: Sequence[sa.Row]) -> dict[str, dict[str, Any]]:
    """The documents of these letters that a system has refused, by key."""
    by_batch: dict[int, list[str]] = {}
    for row in rows:
        by_batch.setdefault(row.batch_id, []).append(row.key)
    found: dict[str, dict[str, Any]] = {}
    for batch, keys in by_batch.items():
        found |= made_before(connection, flow, keys, batch)
    return found


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


def edit(
    connection: sa.Connection, person: Person, number: int, changes: Mapping[str, Any], *, seen: str | None = None
) -> str:
    """Keeps other values of a letter's record (path: new value), to be replayed; what it is then (`Letter.seen`).
    Raises ConfigError for a path that the record does not have, and where it is not as `seen` any more."""
    person.require(Right.WORK)
    person.require(Right.SEE_PERSONAL)
    row = _get(connection, number, lock=True)
    _worked(row)
    _as_seen(row, seen)
    if not changes:
        raise ConfigError("Nothing was changed.", do="Write another value into a field first.")
    keep(connection, person, row, payloads.changed(_current(row), changes))
    return _seen(_get(connection, number))


def _as_seen(row: sa.Row, seen: str | None) -> None:
    """Raises ConfigError where a letter's record is not what somebody has seen; None: nobody has looked."""
    if seen is not None and seen != _seen(row):
        by = f"{row.changed_by} has changed this letter" if row.changed_by else "This letter has changed"
        raise ConfigError(f"{by} meanwhile.", do="Load the page again; nothing of yours was kept.")


def keep(connection: sa.Connection, person: Person, row: sa.Row, payload: Any) -> None:
    """Keeps an edited payload. ConfigError where the database cannot."""
    fields = _changed_paths(_current(row), payload)
    savepoint = connection.begin_nested()
    try:
        dead_letters.edit(connection, row.id, payload, who=person.name, fields=fields)
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
    if cause.value is None:
        raise ConfigError("There is no value to replace.", do="Choose one of the group's values first.")
    count, left, busy = 0, 0, 0
    for row in connection.execute(sa.select(table).where(cause.where()).limit(MOST_AT_ONCE).with_for_update()).all():
        if row.replay_asked_at is not None:
            busy += 1
            continue
        payload = _current(row)
        paths = _wrong_paths(row, payload, cause, _worked(row))
        if not paths:
            left += 1
            continue
        keep(connection, person, row, payloads.changed(payload, dict.fromkeys(paths, by)))
        count += 1
    return Outcome(count, left=left, busy=busy)


def ask_replay(
    connection: sa.Connection,
    person: Person,
    *,
    numbers: Sequence[int] = (),
    cause: Cause | None = None,
    every: bool = False,
    only_gone: bool = False,
    seen: str | None = None,
) -> Outcome:
    """Marks letters (by number, of a group, or `every` open one) for a replay and returns their keys by flow. Those
    that are in a replay stay there. `only_gone`: only those whose cause is gone, which whoever publishes configuration
    may ask for, too. `seen`: of a single letter, what it was when somebody looked."""
    if not (only_gone and person.may(Right.PUBLISH)):
        person.require(Right.WORK)
    _is_one_choice(numbers, cause, every)
    if seen is not None:
        if len(numbers) != 1:
            raise ConfigError("Only a single letter can be named as it was seen.", do="Name one letter.")
        _as_seen(_get(connection, numbers[0], lock=True), seen)
    wanted = table.c.id.in_(list(numbers)) if numbers else cause.where() if cause else sa.true()
    wanted = sa.and_(wanted, table.c.flow != records.REFERENCE)
    busy = connection.scalar(
        sa.select(sa.func.count()).where(wanted, table.c.state.in_(OPEN), table.c.replay_asked_at.is_not(None))
    )
    at_work = replays.at_work(connection, wanted) if busy else None
    rows = connection.execute(
        _open_ones(wanted, table.c.replay_asked_at.is_(None))
        .order_by(table.c.created_at, table.c.id)
        .limit(MOST_AT_ONCE)
        .with_for_update(skip_locked=True)
    ).all()
    total = len(rows)
    if numbers and not rows and not busy:
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
    number = replays.keep(connection, person, rows) if rows else None
    return Outcome(len(rows), keys, total - len(rows), number, busy or 0, at_work)


def _is_one_choice(numbers: Sequence[int], cause: Cause | None, every: bool) -> None:
    """Raises ConfigError where nothing was chosen, or more than one thing."""
    if not (numbers or cause or every):
        raise ConfigError("No dead letters were chosen.", do="Choose letters, a group, or all of them.")
    if every and (numbers or cause):
        raise ConfigError("All dead letters were chosen, and some.", do="Choose letters, a group, or all of them.")


def forget_replay(connection: sa.Connection, flow: str, keys: Sequence[str]) -> None:
    """Takes the marks of a replay back: no run could be started for it."""
    wanted = (table.c.flow == flow, table.c.key.in_(list(keys)), table.c.state.in_(OPEN))
    connection.execute(sa.update(table).where(*wanted).values(replay_asked_at=None))


def dismiss(
    connection: sa.Connection, person: Person, note: str, *, numbers: Sequence[int] = (), cause: Cause | None = None
) -> Outcome:
    """Decides that records need not be delivered, and why."""
    person.require(Right.WORK)
    why = "Write why the records need not be delivered."
    note = remarks.tidy(note, missing="A dismissal needs a reason.", do=why)
    ids = _ids(connection, numbers, cause)
    busy = set(
        connection.scalars(sa.select(table.c.id).where(table.c.id.in_(ids), table.c.replay_asked_at.is_not(None)))
    )
    free = [number for number in ids if number not in busy]
    for number in free or ids:  # where all are in replay, the first says so
        dead_letters.dismiss(connection, number, who=person.name, note=note)
    return Outcome(len(free), busy=len(busy))


def reopen(connection: sa.Connection, person: Person, numbers: Sequence[int]) -> Outcome:
    """Takes a dismissal back: the letters are open again, as they were. Who had dismissed them and why is in the audit
    log. ConfigError for one that is not dismissed, or whose record has another letter since."""
    person.require(Right.WORK)
    rows = connection.execute(
        sa.select(table.c.id, table.c.flow, table.c.key, table.c.changed_by, table.c.note, table.c.edited_payload)
        .where(table.c.id.in_(list(numbers)), table.c.state == "dismissed")
        .order_by(table.c.id)
        .with_for_update()
    ).all()
    if not rows:
        raise ConfigError("None of these dead letters is dismissed any more.", do="Load the page again.")
    for row in rows:
        newer = sa.select(sa.func.max(table.c.id)).where(table.c.key == row.key, table.c.flow == row.flow)
        last = connection.scalar(newer)
        if last != row.id:
            raise ConfigError(
                f"{row.key} was refused again since: dead letter {last} is about its newer version.",
                do=f"Open dead letter {last} and work that one; nothing was changed.",
            )
        dead_letters.reopen(connection, row.id, who=person.name)
        why = f"{row.changed_by or 'somebody'} had dismissed it: {row.note or 'no reason was given'}"
        audit.record(connection, person.name, "dead-letter reopen", str(row.id), {"key": row.key, "note": why})
    return Outcome(len(rows))


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
    note = remarks.tidy(note, missing="The note is empty.", do="Write something for whoever looks at it next.")
    row = _get(connection, number)
    audit.record(connection, person.name, NOTED, str(row.id), {"key": row.key, "note": note})


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
