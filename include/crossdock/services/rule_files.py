"""The files of rules and lookups as people see and change them: as a grid, as a form, as text.

In: a connection, the person, a file's path, a draft of it. Out: the file with what it holds, what is wrong with a
draft, its history. Never: a second copy of a file: grids and forms are made from its text, and their changes are
changes of the text; a change without `services.configuration`, which publishes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgspec
import sqlalchemy as sa

from crossdock import settings
from crossdock.config import forms, grid, tree, yaml_text
from crossdock.config.forms import Field
from crossdock.config.grid import Row, RowChange
from crossdock.config.structs import choices_of, describe
from crossdock.errors import ConfigError
from crossdock.services import configuration, previews, taken
from crossdock.services.configuration import Change, Problem, Version
from crossdock.services.people import Person, Right
from crossdock.services.previews import Preview, Seen
from crossdock.store import versions
from crossdock.watch import schemas

ELSEWHERE = "mappings/"  # has pages of its own
MOST_VERSIONS = 1_000  # of the log, in which a file's history is looked for
PAGE = 200

GROUPS = (
    ("Prices and stock", ("prices.yaml", "lookups/price_rules.csv", "lookups/promotions.csv",
                          "lookups/exchange_rates.csv", "stock_offers.yaml", "lookups/stock_rules.csv")),
    ("Orders and returns", ("sites.yaml", "lookups/item_codes.csv", "lookups/countries.csv", "lookups/regions.csv",
                            "lookups/taxes.csv", "lookups/order_status.csv", "lookups/payment_status.csv",
                            "lookups/return_reasons.csv", "lookups/hold_status.csv")),
    ("Shipments and movements of stock", ("lookups/carriers.csv", "lookups/adjustment_reasons.csv", "stock.yaml")),
    ("Catalogue", ("catalog.yaml", "lookups/listing_categories.csv")),
    ("Money", ("posting.yaml", "accounts.yaml", "payouts.yaml", "tolerances.yaml", "lookups/settlement_kinds.csv",
               "lookups/payout_deposits.csv", "lookups/dispute_outcomes.csv")),
    ("How flows run", ("flows.yaml", "intake.yaml", "systems.yaml", "tims.yaml", "receiver.yaml",
                        "console.yaml")),
)  # fmt: skip
OTHERS, CHECKS = "Others", "What must be true before something is sent"


@dataclass(frozen=True)
class Entry:
    """A file in the list. `about`: the first sentence of its remarks; `refused`: why it cannot be changed here."""

    path: str
    name: str
    about: str
    replaced: bool
    refused: str
    consent: bool
    waits: tuple[int, ...] = ()  # proposals that a second person must agree to


@dataclass(frozen=True)
class Group:
    title: str
    entries: tuple[Entry, ...]


@dataclass(frozen=True)
class Column:
    """A column of a table. `write`: what to write, in words; `key`: it is part of what a row is found by; `taken`: what
    the system that it is written for has taken so far, and `said`, in words, with what it has refused."""

    name: str
    write: str = ""
    choices: tuple[str, ...] = ()
    required: bool = False
    key: bool = False
    taken: tuple[str, ...] = ()
    hint: str = ""


@dataclass(frozen=True)
class Facts:
    """What there is to say of a file. `number`: the version in force; `intro`: what its remarks say of it as a
    whole; `last`: the version that has changed it last, None where none has."""

    path: str
    name: str
    number: int
    intro: str
    replaced: bool
    refused: str
    consent: bool
    last: Version | None


@dataclass(frozen=True)
class Opened(Facts):
    """A file with what is in it. `form` and `rows` are made from the text; where both are absent, only the text can
    show it, and `why_text` says why."""

    text: str
    kind: str  # grid, form or text
    columns: tuple[Column, ...] = ()
    rows: tuple[Row, ...] = ()
    form: Field | None = None
    why_text: str = ""


@dataclass(frozen=True)
class ValueChange:
    """A change of one word of a file: a text as it is written, the entries of a list, or None: it goes."""

    place: tuple[str | int, ...]
    value: str | tuple[str, ...] | None


@dataclass(frozen=True)
class Draft:
    """A file as somebody would have it: its text in force (or `text`), with changes of rows or words."""

    path: str
    text: str | None = None
    rows: tuple[RowChange, ...] = ()
    values: tuple[ValueChange, ...] = ()


@dataclass(frozen=True)
class Finding:
    """Something wrong with a draft. `row`: of a grid, from 0; `place`: of a form; None where it is of neither. `path`:
    of another file that is wrong because of the draft."""

    line: int
    text: str
    path: str = ""
    row: int | None = None
    place: tuple[str | int, ...] | None = None


@dataclass(frozen=True)
class Checked:
    """A draft held against everything."""

    text: str
    changed: bool
    findings: tuple[Finding, ...]
    diff: str


# ---- looking -------------------------------------------------------------------------------------------------------


def listed(connection: sa.Connection, person: Person) -> tuple[Group, ...]:
    """Every file that has a place here, by what it is about."""
    person.require(Right.SEE)
    waiting: dict[str, list[int]] = {}
    for proposal in configuration.status(connection).proposals:
        for path in proposal.files if proposal.waits_for else ():
            waiting.setdefault(path, []).append(proposal.number)
    entries: dict[str, Entry] = {}
    for file in configuration.files(connection):
        if file.path.startswith(ELSEWHERE) or not file.path.endswith((".yaml", ".csv")):
            continue
        text = (settings.config_dir() / file.path).read_bytes().decode("utf-8-sig", "replace")
        about = _first_sentence(_intro(file.path, text))
        entries[file.path] = Entry(
            file.path, name_of(file.path), about, file.replaced, file.refused, file.consent,
            tuple(waiting.get(file.path, ())),
        )  # fmt: skip
    made = []
    for title, paths in GROUPS:
        made.append(Group(title, tuple(entries.pop(path) for path in paths if path in entries)))
    checks = tuple(entries.pop(path) for path in sorted(entries) if path.startswith("checks/"))
    made += [Group(CHECKS, checks), Group(OTHERS, tuple(entries[path] for path in sorted(entries)))]
    return tuple(group for group in made if group.entries)


def name_of(path: str) -> str:
    """A file's name in words: Price rules, Carriers."""
    stem = path.rpartition("/")[2].rpartition(".")[0].replace("_", " ")
    name = stem[:1].upper() + stem[1:]
    return f"Checks: {name.lower()}" if path.startswith("checks/") else name


def facts(connection: sa.Connection, person: Person, path: str, text: str | None = None) -> Facts:
    """What there is to say of a file. Raises ConfigError where there is none. `text`: another one than in force."""
    person.require(Right.SEE)
    file = next((one for one in configuration.files(connection) if one.path == path), None)
    if file is None or path.startswith(ELSEWHERE) or not path.endswith((".yaml", ".csv")):
        raise ConfigError(f"There is no file {path!r} among the rules.", do="Choose one of the list.")
    content = text if text is not None else configuration.text(connection, path) or ""
    number = versions.current_number(connection)
    last = configuration.last_of(connection, path)
    return Facts(path, name_of(path), number, _intro(path, content), file.replaced, file.refused, file.consent, last)


def opened(connection: sa.Connection, person: Person, path: str, text: str | None = None) -> Opened:
    """A file as it is in force, or with another text. Raises ConfigError where there is none."""
    content = text if text is not None else configuration.text(connection, path) or ""
    made: dict[str, Any] = {**vars(facts(connection, person, path, content)), "text": content}
    schema = schemas.of(path)
    if path.endswith(".csv"):
        table = grid.read(content)
        if not table.columns:
            return Opened(**made, kind="text", why_text="The file has no header.")
        return Opened(**made, kind="grid", columns=columns(path, table.columns, connection), rows=table.rows)
    if schema is None:
        return Opened(**made, kind="text")
    try:
        return Opened(**made, kind="form", form=forms.form(content, schema.kind))
    except ConfigError as error:
        return Opened(**made, kind="text", why_text=str(error))


def columns(path: str, names: Sequence[str], connection: sa.Connection) -> tuple[Column, ...]:
    """The columns of a table, by the struct of its rows; with what a system has taken of those that only it knows."""
    schema = schemas.of(path)
    fields = {} if schema is None or schema.kind is dict else _fields(schema.kind)
    keys = schema.keys if schema else 1
    made = []
    for at, name in enumerate(names):
        one = fields.get(name)
        if one is None:
            made.append(Column(name, "a text", required=at < keys, key=at < keys))
        else:
            made.append(Column(name, describe(one.type), choices_of(one.type), one.required, at < keys))
    beside = taken.of_lookup(connection, path)
    if beside is None:
        return tuple(made)
    hint = f"{beside.system} alone knows what it takes. {beside.words}"
    return tuple(
        replace(one, taken=beside.of(one.name), hint=hint) if one.name in beside.place.columns else one for one in made
    )


def _fields(kind: Any) -> Mapping[str, Any]:
    return {one.encode_name: one for one in msgspec.structs.fields(kind)}


def _intro(path: str, text: str) -> str:
    return grid.read(text).help if path.endswith(".csv") else forms.intro(text)


def _first_sentence(text: str) -> str:
    plain = " ".join(text.split())
    end = plain.find(". ")
    return plain if end < 0 else plain[: end + 1]


# ---- drafts --------------------------------------------------------------------------------------------------------


def text_of(connection: sa.Connection, person: Person, draft: Draft) -> str:
    """The text of a draft. Raises ConfigError for a change that the text cannot take."""
    person.require(Right.SEE)
    text = draft.text if draft.text is not None else configuration.text(connection, draft.path)
    if text is None:
        raise ConfigError(f"There is no file {draft.path!r}.", do="Choose one of the list.")
    if draft.rows:
        text = grid.changed(text, draft.rows)
    schema = schemas.of(draft.path)
    for one in draft.values:
        kind = forms.kind_at(schema.kind, one.place) if schema else None
        text = yaml_text.changed(text, one.place, one.value, as_text=forms.is_text(kind))
    return text


def examined(connection: sa.Connection, person: Person, draft: Draft) -> Checked:
    """What is wrong with a draft, by line. Nothing is written."""
    text = text_of(connection, person, draft)
    before = configuration.text(connection, draft.path)
    problems = configuration.check(connection, {draft.path: text}) if text != before else ()
    diff = tree.difference(draft.path, before, text, ("in force", "draft"))
    return Checked(text, text != before, tuple(_placed(draft.path, text, problems)), diff)


def _placed(path: str, text: str, problems: Sequence[Problem]) -> Iterator[Finding]:
    """Problems with the row or the word that they are about."""
    rows = {row.line: at for at, row in enumerate(grid.read(text).rows)} if path.endswith(".csv") else {}
    places = {} if rows or not problems else _places(path, text)
    for one in problems:
        if one.path != path:
            yield Finding(one.line, one.text, one.path)
        else:
            yield Finding(one.line, one.text, "", rows.get(one.line), places.get(one.line))


def _places(path: str, text: str) -> dict[int, tuple[str | int, ...]]:
    """The words of a form by their lines; of several in one line the first."""
    schema = schemas.of(path)
    try:
        whole = forms.form(text, schema.kind) if schema and path.endswith(".yaml") else None
    except ConfigError:
        return {}
    found: dict[int, tuple[str | int, ...]] = {}

    def descend(one: Field) -> None:
        for inner in one.fields:
            if inner.line:
                found.setdefault(inner.line, inner.place)
            descend(inner)

    if whole:
        descend(whole)
    return found


# ---- changing ------------------------------------------------------------------------------------------------------


def publish(
    connection: sa.Connection, person: Person, draft: Draft, message: str, parent: int | None, seen: Seen
) -> Version:
    """Proposes a draft and brings it into force, unless a second person must agree. `parent`: the version that the
    person has seen; `seen`: the preview of its effects."""
    person.require(Right.PUBLISH)
    text = text_of(connection, person, draft)
    proposed = configuration.propose(connection, person, {draft.path: text}, message, parent=parent)
    return previews.publish(connection, person, proposed.number, seen)


def preview(
    connection: sa.Connection, person: Person, draft: Draft, parent: int | None = None, goes_on: int | None = None
) -> Preview:
    """What would change if a draft were published."""
    changed = {draft.path: text_of(connection, person, draft)}
    return previews.preview(connection, person, changed, parent=parent, goes_on=goes_on)


@dataclass(frozen=True)
class Past:
    """One version in a file's history. `current`: the file is as this version made it; `newest`: no version is in force
    after it; `said`: what its publisher was shown that it would change, "" where nothing was shown."""

    version: Version
    current: bool
    newest: bool = False
    hint: str = ""


def history(connection: sa.Connection, person: Person, path: str, most: int = 30) -> tuple[Past, ...]:
    """The versions that have changed a file, the newest first; proposals and withdrawn ones too."""
    person.require(Right.SEE)
    found: list[Version] = []
    after: int | None = None
    looked = 0
    while looked < MOST_VERSIONS and len(found) < most:
        page = configuration.log(connection, after=after, most=PAGE)
        found += [one for one in page if path in one.files]
        looked += len(page)
        if len(page) < PAGE:
            break
        after = page[-1].number
    current = next((one for one in found if one.in_force_at is not None), None)
    newest = configuration.status(connection).number
    hints = configuration.said_to_change(connection, [one.number for one in found[:most]])
    return tuple(
        Past(version, version is current, version.number == newest, hints.get(version.number, ""))
        for version in found[:most]
    )


def change(connection: sa.Connection, person: Person, path: str, number: int) -> Change:
    """What a version did to a file. Raises ConfigError where it did nothing to it."""
    person.require(Right.SEE)
    found = next((one for one in configuration.diff(connection, number) if one.path == path), None)
    if found is None:
        raise ConfigError(f"Version {number} does not change {path}.", do="Choose another one.")
    return found


def take_back(connection: sa.Connection, person: Person, path: str, number: int) -> Version:
    """Makes a file what it was before a version changed it. The version in force is rolled back, which needs nobody's
    consent; what an older one did is taken back by a change like any other."""
    person.require(Right.PUBLISH)
    version = configuration.show(connection, number)
    if number == configuration.status(connection).number and version.files == (path,):
        return configuration.rollback(connection, person, version.parent, f"Version {number} is taken back")
    did = change(connection, person, path, number)
    if configuration.text(connection, path) != did.after:
        raise ConfigError(
            f"{path} has been changed again since version {number}.", do="Take back the later change first."
        )
    message = f"{path} is as it was before version {number}"
    proposed = configuration.propose(connection, person, {path: did.before}, message)
    return configuration.publish(connection, person, proposed.number)
