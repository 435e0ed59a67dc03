"""Whether a flow is ready to go live: its four gates (connect, map, validate, launch), and what is red.

In: the kept results of connect and map, the comparisons of shadow mode, the modes of the flows, the person. Out: for
each flow a state and a sentence per gate; what a launch would do, in numbers. Never: a gate that locks: whoever
launches past one that is not green says why.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum
from typing import Any
from urllib.parse import quote

import sqlalchemy as sa

from crossdock import flows
from crossdock.comparison.by_hand import DIFFERS, ONLY_OURS, ONLY_THEIRS, OVERTAKEN, SAME
from crossdock.errors import ConfigError
from crossdock.flow import Flow
from crossdock.mapping import language
from crossdock.services import connect, gates, go_live, payloads, personal, remarks, shadow
from crossdock.services.gates import Result
from crossdock.services.go_live import OWN_BOOK, FlowMode
from crossdock.services.payloads import Part
from crossdock.services.people import Person, Right
from crossdock.services.shadow import Day, Record
from crossdock.steps.load import launching
from crossdock.steps.modes import Mode
from crossdock.store import abilities, audit, database, would_be
from crossdock.store.tables import ops_batch, ops_shadow_record, ops_would_be
from crossdock.systems.channel_advisor import Abilities
from crossdock.systems.failures import NAMES

SYSTEMS = ("channel_advisor", "tims")
SHIPPED_IN = "include/config/"
TAKEN, DECIDED, REOPENED = "shadow file", "map decide", "map reopen"  # as the audit log names them
REPORTS = 14  # days that are shown
PAGE = 50
# Entities of documents of TIMS that no mapping makes.
UNMAPPED = {"posting": "EntryCreate", "shipment": "ShipmentCreate"}
IN_A_ROW = 3  # days without a difference after which a flow is validated


class State(StrEnum):
    """How a gate is."""

    NOT_BEGUN = "not begun"
    RED = "red"
    WAITING = "waiting for a person"
    GREEN = "green"


@dataclass(frozen=True)
class Gate:
    """One gate of a flow. `page`: below the console's root, where it is told what the state means."""

    name: str
    state: State
    sentence: str
    page: str


@dataclass(frozen=True)
class System:
    """What was found out about a system: the last run of connect (None: there was none), and what its API cannot do, in
    sentences."""

    name: str
    title: str
    connect: Result | None
    switched_off: tuple[str, ...]


@dataclass(frozen=True)
class Finding:
    """Something that the last run of map has found in real records. `name`: stable from run to run. `state`: open, or
    decided because of `why`. `records`: how many of those that were read; `proposal`: text to add; `page`: below the
    console's root, where it is decided ("" where it is not here)."""

    name: str
    state: str
    list: str
    records: int
    found: str
    do: str
    where: str
    proposal: str
    page: str
    why: str


@dataclass(frozen=True)
class Survey:
    """The last run of map. `notes`: how many of its findings need nobody."""

    at: datetime
    by: str
    open: tuple[Finding, ...]
    decided: tuple[Finding, ...]
    notes: int


@dataclass(frozen=True)
class Row:
    """One flow with its mode and its gates, in their order. `in_flight`: records of batches that are at work; `report`:
    its last comparison."""

    mode: FlowMode
    dag: str
    gates: tuple[Gate, ...]
    in_flight: int
    report: Day | None

    @property
    def flow(self) -> str:
        return self.mode.flow

    @property
    def title(self) -> str:
        return self.mode.title

    @property
    def has_mode(self) -> bool:
        """Whether it writes to a system: only then it can be in shadow mode."""
        return self.mode.target != OWN_BOOK

    @property
    def not_green(self) -> tuple[Gate, ...]:
        """The gates before launch that are not green."""
        return tuple(gate for gate in self.gates[:-1] if gate.state is not State.GREEN)


@dataclass(frozen=True)
class Readiness:
    """The page. `survey`: None where there was none; `reports`: the last comparisons of all flows, the newest first."""

    systems: tuple[System, ...]
    survey: Survey | None
    flows: tuple[Row, ...]
    reports: tuple[Day, ...]

    @property
    def live(self) -> tuple[Row, ...]:
        return tuple(row for row in self.flows if row.has_mode and not row.mode.shadow)


def page(connection: sa.Connection, person: Person) -> Readiness:
    """All systems and flows."""
    person.require(Right.SEE)
    facts, found = _facts(connection, person), shadow.report(connection, most=REPORTS)
    rows = [
        _row(flows.get(mode.flow), mode, facts, [one for one in found if one.flow == mode.flow])
        for mode in go_live.all_modes(connection)
    ]
    return Readiness(tuple(facts.systems.values()), facts.survey, tuple(rows), found)


def row(connection: sa.Connection, person: Person, name: str) -> Row:
    """One flow. Raises ConfigError for one that there is not."""
    person.require(Right.SEE)
    flow = flows.get(name)
    return _row(flow, go_live.mode_of(connection, name), _facts(connection, person), _reports(connection, name))


def reports(connection: sa.Connection, person: Person, name: str) -> tuple[Day, ...]:
    """The last comparisons of a flow, the newest first."""
    person.require(Right.SEE)
    return _reports(connection, name)


def _reports(connection: sa.Connection, name: str) -> tuple[Day, ...]:
    return tuple(one for one in shadow.report(connection, most=REPORTS) if one.flow == name)


@dataclass(frozen=True)
class _Facts:
    """What holds for all flows. `readers`: of each list, such as tims.customers, the titles of the flows that read
    it."""

    systems: Mapping[str, System]
    survey: Survey | None
    readers: Mapping[str, Sequence[str]]
    in_flight: Mapping[str, int]
    dags: Mapping[str, str]

    def concerns(self, flow: Flow, name: str) -> bool:
        """Whether a list is one that the flow reads."""
        return flow.title in self.readers.get(name, ())


def _facts(connection: sa.Connection, person: Person) -> _Facts:
    connects = {one.subject: one for one in gates.newest(connection, person, gates.CONNECT)}
    systems = {
        name: System(name, NAMES[name], connects.get(name), tuple(abilities.lacking(connection, name).values()))
        for name in SYSTEMS
    }
    readers = {
        f"{name}.{path}": titles
        for name in SYSTEMS
        for path, titles in connect.read_by_flows(name, Abilities()).items()
    }
    batch = ops_batch.c
    query = sa.select(batch.flow, sa.func.sum(batch.in_flight)).where(batch.finished_at.is_(None)).group_by(batch.flow)
    in_flight = {name: int(number) for name, number in connection.execute(query)}
    return _Facts(systems, _survey(connection, person), readers, in_flight, flows.packages())


def _survey(connection: sa.Connection, person: Person) -> Survey | None:
    """The newest run of map, with what was decided since."""
    last = max(gates.newest(connection, person, gates.MAP), key=lambda one: one.at, default=None)
    if last is None:
        return None
    decided = gates.decisions(connection, gates.MAP)
    found = []
    for one in last.checks:
        decision = decided.get(str(one["name"]))
        settled = one["state"] != "note" and decision is not None
        why = f"{decision.why} ({decision.by})" if decision and settled else ""
        found.append(_finding(one, "decided" if settled else "open" if one["state"] != "note" else "note", why))
    return Survey(
        last.at, last.by, tuple(one for one in found if one.state == "open"),
        tuple(one for one in found if one.state == "decided"), sum(one.state == "note" for one in found),
    )  # fmt: skip


def _finding(one: Mapping[str, Any], state: str, why: str) -> Finding:
    proposal = one.get("proposal") or {}
    where = str(one.get("where") or "")
    in_file = where.removeprefix(SHIPPED_IN) if where.startswith(SHIPPED_IN) else ""
    path = str(proposal.get("path") or in_file)
    return Finding(
        str(one["name"]), state, str(one["list"]), int(one["records"]), str(one["found"]), str(one["do"]), where,
        str(proposal.get("text") or ""), _page_of(path), why,
    )  # fmt: skip


def _page_of(path: str) -> str:
    """Where a file of the configuration is changed: a mapping on its canvas, the others as files."""
    folder, _, name = path.rpartition("/")
    if folder == "mappings" and name.endswith(".yaml"):
        return f"/mappings/{quote(name.removesuffix('.yaml'), safe='')}"
    return f"/rules/file?path={quote(path, safe='')}" if path else ""


def _row(flow: Flow, mode: FlowMode, facts: _Facts, found: Sequence[Day]) -> Row:
    own = [facts.systems[one] for one in SYSTEMS if one in (flow.source.system, flow.target)]
    passed = (_connect(flow, own, facts), _map(flow, own, facts), _validate(mode, found), _launch(mode))
    in_flight = facts.in_flight.get(flow.name, 0)
    return Row(mode, facts.dags[flow.name], passed, in_flight, found[0] if found else None)


# ---- the gates -----------------------------------------------------------------------------------------------------

MAP_PAGE = "/go-live#map"
RESOURCE = "resource:"  # begins the names of the checks of lists
_OWN = "It reads files and writes to our own book only."


def _connect(flow: Flow, systems: Sequence[System], facts: _Facts) -> Gate:
    """By the checks that concern the flow: all but those of lists that it does not read. A list that was not tried is
    as red as one that cannot be read."""
    if not systems:
        return Gate(gates.CONNECT, State.GREEN, _OWN, "/go-live#connect")
    of_flow = [
        (one, check)
        for one in systems
        if one.connect
        for check in one.connect.checks
        if _is_of(flow, f"{one.name}.", str(check["name"]), facts)
    ]
    red = [each for each in of_flow if each[1]["state"] == "red"] + [
        each for each in of_flow if each[1]["state"] == "skipped" and str(each[1]["name"]).startswith(RESOURCE)
    ]
    if red:
        system, first = red[0]
        more = f" And {len(red) - 1} more." if len(red) > 1 else ""
        words = f"{system.title}: {first['title']}: {first['found']}{more}"
        return Gate(gates.CONNECT, State.RED, words, f"/go-live#connect-{system.name}")
    if missing := [one for one in systems if one.connect is None]:
        there = f"/go-live#connect-{missing[0].name}"
        return Gate(gates.CONNECT, State.NOT_BEGUN, f"{missing[0].title} has not been tried yet.", there)
    names = " and ".join(one.title for one in systems)
    words = f"{names} {'answer' if len(systems) > 1 else 'answers'}, and what it reads can be read."
    return Gate(gates.CONNECT, State.GREEN, words, f"/go-live#connect-{systems[0].name}")


def _is_of(flow: Flow, system: str, check: str, facts: _Facts) -> bool:
    path = check.removeprefix(RESOURCE)
    return path == check or facts.concerns(flow, system + path)


def _map(flow: Flow, systems: Sequence[System], facts: _Facts) -> Gate:
    """By what a person must decide of the lists that the flow reads."""
    if not systems:
        return Gate(gates.MAP, State.GREEN, _OWN, MAP_PAGE)
    if facts.survey is None:
        return Gate(gates.MAP, State.NOT_BEGUN, "No real records have been looked at yet.", MAP_PAGE)
    open_ = [one for one in facts.survey.open if facts.concerns(flow, one.list)]
    if not open_:
        return Gate(gates.MAP, State.GREEN, "Nothing is left to decide of what it reads.", MAP_PAGE)
    words = f"{len(open_):,} to decide: {open_[0].found}" if len(open_) > 1 else f"To decide: {open_[0].found}"
    return Gate(gates.MAP, State.WAITING, words, MAP_PAGE)


def _validate(mode: FlowMode, found: Sequence[Day]) -> Gate:
    """By the last comparisons with what people have entered by hand."""
    there = f"/go-live/{mode.flow}#validate"
    if mode.target == OWN_BOOK:
        return Gate("validate", State.GREEN, "Its book is read again by the payments, and proven there.", there)
    if not found:
        if mode.shadow and mode.held and mode.flow not in shadow.subjects():
            words = f"{mode.held:,} would be made or changed. Nothing compares them: look at some of each kind."
            return Gate("validate", State.WAITING, words, there)
        if mode.shadow and mode.held:
            return Gate("validate", State.WAITING, f"{mode.held:,} would be made; nothing is compared yet.", there)
        words = "It is in shadow mode, and has found nothing to make yet." if mode.shadow else "It was not compared."
        return Gate("validate", State.NOT_BEGUN, words, there)
    last = found[0]
    if last.differs:
        return Gate("validate", State.RED if last.differ else State.WAITING, last.sentence, there)
    equal = next((place for place, one in enumerate(found) if one.differs), len(found))
    if equal < IN_A_ROW:
        words = f"{last.sentence} {equal} of {IN_A_ROW} days without a difference."
        return Gate("validate", State.WAITING, words, there)
    return Gate("validate", State.GREEN, f"{last.sentence} {equal} days without a difference.", there)


def _launch(mode: FlowMode) -> Gate:
    there = f"/go-live/{mode.flow}#launch"
    state = State.NOT_BEGUN if mode.shadow else State.WAITING if mode.waits else State.GREEN
    return Gate("launch", state, mode.sentence, there)


# ---- a launch ------------------------------------------------------------------------------------------------------

DAYS = 14  # that are counted one by one


@dataclass(frozen=True)
class Backlog:
    """Records of a flow that would be made and are not sent: all of them, and by the day of their document, the last
    DAYS days that have any."""

    records: int
    days: tuple[tuple[date, int], ...]


@dataclass(frozen=True)
class Launch:
    """What a launch would do, in numbers. `records`: those that are held by now; `stay`: of them, dated before the
    first day, of an order that people have entered, or overtaken by what came later; `go`: the others; `first`: of
    these, sent before a person is asked; `unmatched`: documents of these days that nobody has made by hand, as they
    were compared last; `not_green`: gates before it, past which it needs a reason."""

    since: date
    cap: int | None
    records: int
    stay: int
    go: int
    first: int
    unmatched: int
    not_green: tuple[Gate, ...]


def held(connection: sa.Connection, person: Person, name: str) -> Backlog:
    """What a flow holds back. Raises ConfigError where there is no such flow."""
    person.require(Right.SEE)
    flow = flows.get(name)
    stage, day = flow.stage, launching.day_of(flow)
    query = (
        sa.select(day.label("day"), sa.func.count().label("n"))
        .select_from(stage.join(ops_batch, ops_batch.c.id == stage.c.batch_id))
        .where(stage.c.state == "would_be", ops_batch.c.flow == flow.name)
        .group_by(day)
        .order_by(day.desc())
    )
    days = connection.execute(query).all()
    return Backlog(sum(row.n for row in days), tuple((row.day, row.n) for row in days[:DAYS]))


def preview(connection: sa.Connection, person: Person, name: str, since: date, cap: int | None) -> Launch:
    """What would happen if a flow were launched from a day on with a cap. Raises ConfigError for a cap below 1."""
    person.require(Right.SEE)
    flow = flows.get(name)
    if cap is not None and cap < 1:
        raise ConfigError(f"A cap of {cap} records lets nothing through.", do="Give 1 or more, or none.")
    records = held(connection, person, name).records
    may_go = launching.launchable(connection, flow, Mode(since=since))
    go = len(may_go) - len(would_be.ended(connection, name, may_go))
    first = go if cap is None else min(go, cap)
    table = ops_shadow_record.c
    alone = sa.select(sa.func.count()).where(table.flow == name, table.day >= since, table.verdict == ONLY_OURS)
    unmatched = connection.scalar(alone) or 0
    passed = row(connection, person, name).not_green
    return Launch(since, cap, records, records - go, go, first, unmatched, passed)


@dataclass(frozen=True)
class Request:
    """A request that was not sent. `parts`: of the document that it would make, without personal data; none where
    nobody can tell which of it is personal. `aged`: its content is not kept any more."""

    operation: str
    system: str
    what: str
    at: datetime
    parts: tuple[Part, ...]
    aged: bool
    later: str | None


@dataclass(frozen=True)
class Kept:
    """A record with requests that were not sent: which operations, since when, and what has come later."""

    key: str
    operations: tuple[str, ...]
    since: datetime
    later: str | None


@dataclass(frozen=True)
class KeptPage:
    """Records by their keys. `after`: what to ask for the next page with; None on the last one."""

    rows: tuple[Kept, ...]
    after: str | None


def kept(connection: sa.Connection, person: Person, name: str, after: str | None = None) -> KeptPage:
    """The records of a flow whose requests were not sent."""
    person.require(Right.SEE)
    table, flow = ops_would_be.c, flows.get(name)
    operations = sa.func.array_agg(table.operation.distinct())
    wanted = (
        sa.select(
            table.row,
            operations.label("operations"),
            sa.func.min(table.first_at).label("since"),
            sa.func.max(table.later).label("later"),
        )
        .where(table.flow == flow.name, sa.true() if after is None else table.row > after)
        .group_by(table.row)
        .order_by(table.row)
        .limit(PAGE + 1)
    )
    rows = connection.execute(wanted).all()
    found = tuple(Kept(row.row, tuple(row.operations), row.since, row.later) for row in rows[:PAGE])
    return KeptPage(found, rows[PAGE - 1].row if len(rows) > PAGE else None)


def requests(connection: sa.Connection, person: Person, name: str, key: str) -> tuple[Request, ...]:
    """What would have been sent of a record, in the order in which it would. Raises ConfigError where nothing is
    kept."""
    person.require(Right.SEE)
    table, flow = ops_would_be.c, flows.get(name)
    wanted = sa.select(ops_would_be).where(table.flow == flow.name, table.row == key)
    found = connection.execute(wanted.order_by(table.first_at, table.idempotency_key).limit(PAGE)).all()
    if not found:
        raise ConfigError("Nothing of this record is kept any more.", do="Choose another one from the list.")
    return tuple(_request(flow, row) for row in found)


def _request(flow: Flow, row: sa.Row) -> Request:
    shown = _shown(flow, row)
    parts = () if shown is None else tuple(payloads.parts(shown))
    what = f"{row.method} {row.path}"
    aged = row.body is None and row.document is None
    return Request(row.operation, NAMES.get(row.system, row.system), what, row.at, parts, aged, row.later)


def _shown(flow: Flow, row: sa.Row) -> Any:
    """The document without personal data, by the contract that its mapping makes it of; the body of an offer, which is
    about goods alone."""
    if row.document is None:
        return database.from_json(row.body) if flow.offers and row.body else None
    if row.entity in UNMAPPED:
        return personal.masked(row.document, "tims", UNMAPPED[row.entity])
    name = row.entity if row.entity in flow.mappings else next(iter(reversed(flow.mappings)), "")
    return personal.masked(row.document, *language.load(name).target) if name else None


@dataclass(frozen=True)
class Compared:
    """A day of a flow in shadow mode, and its documents that are not as people have made them; with those that are,
    where they are asked for."""

    day: Day
    records: tuple[Record, ...]
    has_same: bool


def compared(connection: sa.Connection, person: Person, name: str, day: date, *, same: bool = False) -> Compared:
    """The comparison of a day. Raises ConfigError where there is none."""
    person.require(Right.SEE)
    flow = flows.get(name)
    found = next((one for one in shadow.report(connection, day) if one.flow == flow.name), None)
    if found is None:
        raise ConfigError(f"{flow.title} of {day} is not compared.", do="Choose another day from the list.")
    verdicts = (DIFFERS, ONLY_OURS, ONLY_THEIRS, OVERTAKEN, *([SAME] if same else []))
    return Compared(found, shadow.records(connection, day, name, verdicts=verdicts), same)


def file(connection: sa.Connection, person: Person, name: str, day: date) -> str:
    """Puts on record that the comparison of a day is taken as a file, and names it. Raises ConfigError where there is
    none."""
    compared(connection, person, name, day)
    taken = f"shadow-{name}-{day}.csv"
    audit.record(connection, person.name, TAKEN, name, {"file": taken})
    return taken


def as_csv(connection: sa.Connection, *, name: str, day: date) -> Iterator[str]:
    """All documents of a day, a row for each field that differs."""
    every = (DIFFERS, ONLY_OURS, ONLY_THEIRS, OVERTAKEN, SAME)
    yield shadow.as_csv(shadow.records(connection, day, name, verdicts=every))


def decide(connection: sa.Connection, person: Person, name: str, why: str) -> None:
    """Keeps that a finding of map stays as it is, and why. Raises ConfigError without a reason, and for a finding that
    the last run has not."""
    person.require(Right.PUBLISH)
    reason = remarks.tidy(why, missing="A decision needs a reason.", do="Say why it stays as it is.")
    survey = _survey(connection, person)
    if survey is None or name not in {one.name for one in survey.open}:
        raise ConfigError("There is no such thing to decide any more.", do="Load the page again.")
    gates.decide(connection, person, gates.MAP, name, reason)
    audit.record(connection, person.name, DECIDED, name, {"note": reason})


def reopen(connection: sa.Connection, person: Person, name: str) -> None:
    """Takes a decision about a finding of map back. Raises ConfigError where there is none."""
    person.require(Right.PUBLISH)
    if not gates.take_back(connection, person, gates.MAP, name):
        raise ConfigError("Nothing was decided about it.", do="Load the page again.")
    audit.record(connection, person.name, REOPENED, name)


def launch(
    connection: sa.Connection, person: Person, name: str, since: date, cap: int | None, reason: str = ""
) -> Launch:
    """Makes a flow live from a day on, with a cap; what it does, in numbers. Raises ConfigError for a launch past a
    gate that is not green without a reason."""
    person.require(Right.LAUNCH)
    would = preview(connection, person, name, since, cap)
    if would.not_green:
        named = ", ".join(f"{gate.name} is {gate.state}" for gate in would.not_green)
        reason = remarks.tidy(
            reason, missing=f"Not every gate is green: {named}.", do='Say why it is launched now (`--because "..."`).'
        )
    go_live.launch(connection, person, name, since, cap, reason)
    return would


def back(connection: sa.Connection, person: Person, names: Sequence[str], reason: str) -> None:
    """Puts flows into shadow mode; every live one where none is named. Raises ConfigError without a reason, and where
    all of them are in it."""
    person.require(Right.BACK)
    why = remarks.tidy(reason, missing="A flow goes back to shadow mode for a reason.", do="Say it in a few words.")
    live = tuple(one.flow for one in page(connection, person).live)
    go_live.to_shadow(connection, person, *(names or live), why=why)
