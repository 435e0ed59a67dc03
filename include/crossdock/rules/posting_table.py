"""The posting table as data: config/posting.yaml, read and checked.

In: the file, the accounts by name. Out: a `PostingTable`, with everything that is wrong with it by file and line.
Never: an account in code; a field that no document has.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, Literal

import msgspec
from msgspec.structs import asdict

from crossdock import config
from crossdock.config import Finding, Scalar, Struct, Written, did_you_mean
from crossdock.mapping import contracts
from crossdock.rules.accounts import Accounts
from crossdock.settings import config_dir

DIMENSIONS = ("Channel", "SKU", "Order")
OTHERWISE = "otherwise"
# A test of an amount or of whether there is a value; anything else is a value to be equal to.
TESTS = ("above 0", "below 0", "not above 0", "not 0", "given", "absent")
_Tax = Literal["memo", "wash"]
_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")


@dataclass(frozen=True)
class Fields:
    """What a kind of document is known by: its schema in a contract, and what the ledger adds to it. Kinds of fields
    are text, date, money, integer and flag. `parts`: lists of lines, each with fields of its own."""

    system: str
    schema: str
    added: Mapping[str, str]
    parts: Mapping[str, Mapping[str, str]]

    @property
    def header(self) -> dict[str, str]:
        return {**_kinds(self.system, self.schema), **self.added}


@cache
def _kinds(system: str, schema: str) -> dict[str, str]:
    words = {"boolean": "flag", "integer": "integer", "date": "date"}
    document = contracts.document(system, schema)
    return {path: "money" if field.money else words.get(field.type, "text") for path, field in document.leaves.items()}


_PLACE = {"Channel": "text", "Order": "text", "BaseCurrency": "text"}
DOCUMENTS: dict[str, Fields] = {
    "invoice": Fields(
        "tims", "Invoice",
        # Shipping without the tax in it, and the tax that the seller remits.
        {**_PLACE, "ShipDate": "date", "Prepaid": "flag", "Shipping": "money", "SellerTax": "money"},
        # Goods: before discount, without the tax in it. Cost: units invoiced x UnitCost of their shipment.
        {"Lines": {"Goods": "money", "SKU": "text"}, "Costs": {"Cost": "money", "SKU": "text"}},
    ),
    "credit_memo": Fields(
        "tims", "CreditMemo",
        # RoundingAmount: what the channel gave back beyond the credit memo.
        {**_PLACE, "Shipping": "money", "SellerTax": "money", "RoundingAmount": "money"},
        {"Lines": {"Goods": "money", "SKU": "text"}},
    ),
    # Value: QuantityDelta x UnitCost, below 0 where stock left. Mirrored: it undoes one whose entry is ours to mirror.
    "adjustment": Fields("tims", "Adjustment", {**_PLACE, "Value": "money", "Mirrored": "flag"}, {}),
    # PostedOn: PostedAt as the company's day.
    "settlement_line": Fields("crossdock", "SettlementLine", {**_PLACE, "PostedOn": "date"}, {}),
    # RoundingAmount: what the payment applied beyond what the marketplace paid. Match: settlement and order. ValueDate:
    # the day at the bank, before a closed period moved it.
    "payment": Fields(
        "tims", "Payment", {**_PLACE, "RoundingAmount": "money", "Match": "text", "ValueDate": "date"}, {}
    ),
    # Due: what the buyer paid us. CancelledDue: the part of it that no shipment will use, once that is known.
    "sales_order": Fields(
        "tims", "SalesOrder",
        {"Order": "text", "BaseCurrency": "text", "PaidOn": "date", "Prepaid": "flag", "Due": "money",
         "CancelledDue": "money", "CancelledOn": "date"},
        {},
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Condition:
    """One field and what it must be: one of `values`, or pass the `test`."""

    field: str
    values: tuple[str, ...] = ()
    test: str = ""


@dataclass(frozen=True)
class Nothing:
    """Documents that have no entries."""

    when: tuple[Condition, ...]
    because: str


@dataclass(frozen=True)
class Line:
    """One line of an event. `part`: list of the document whose lines it follows, "" for the document itself."""

    account: str
    is_debit: bool
    part: str
    amount: str
    dimensions: tuple[str, ...]


@dataclass(frozen=True)
class Event:
    """One event: at most one entry per document."""

    name: str
    document: str
    when: tuple[Condition, ...]
    otherwise: bool
    options: tuple[tuple[str, str], ...]
    date: str
    happened: str
    currency: str
    key: str
    description: str
    lines: tuple[Line, ...]
    line: int


@dataclass(frozen=True)
class Kind:
    """One kind of document."""

    name: str
    type: str
    id: str
    nothing: tuple[Nothing, ...]


@dataclass(frozen=True)
class PostingTable:
    """The whole file."""

    file: Path
    options: Mapping[str, str]
    kinds: Mapping[str, Kind]
    events: tuple[Event, ...]
    findings: tuple[Finding, ...] = ()

    def events_of(self, document: str) -> list[Event]:
        """The events of a kind of document that exist under the options."""
        return [
            event
            for event in self.events
            if event.document == document and all(self.options.get(name) == value for name, value in event.options)
        ]


def load(accounts: Accounts, folder: Path | None = None) -> PostingTable:
    """The table, read again only when a file has changed. Raises ConfigError with all findings."""
    table = _verified(config.read(path_of(folder), _Written), frozenset(accounts.named))
    if table.findings:
        raise config.refusal(table.findings)
    return table


def path_of(folder: Path | None = None) -> Path:
    return (folder or config_dir()) / "posting.yaml"


def read(path: Path, accounts: Collection[str]) -> PostingTable:
    """The table as written, with everything that is wrong with it in `findings`. Raises ConfigError for no YAML."""
    return _verified(config.read(path, _Written), frozenset(accounts))


@lru_cache(maxsize=8)
def _verified(file: config.File[_Written], accounts: frozenset[str]) -> PostingTable:
    return _Check(file, accounts).table()


def placeholders(template: str) -> list[str]:
    """The fields that a template names, in order."""
    return _PLACEHOLDER.findall(template)


def literals(template: str) -> list[str]:
    """The text between the fields of a template: one more than there are fields."""
    return _PLACEHOLDER.split(template)[::2]


_Value = Scalar | tuple[Written, ...]  # of a condition
_When = dict[Written, _Value]


class _Options(Struct, frozen=True):
    marketplace_tax: _Tax = "memo"


class _With(Struct, frozen=True):
    marketplace_tax: _Tax | None = None


class _Nothing(Struct, frozen=True):
    what = "`nothing`"

    when: _When
    because: Written


class _Document(Struct, frozen=True, kw_only=True):
    """What holds for every event of a kind of document."""

    type: Written
    id: Written
    date: Written
    happened: Written | None = None
    currency: Written
    dimensions: tuple[Written, ...] | None = None
    nothing: tuple[_Nothing, ...] = ()


class _Line(Struct, frozen=True, kw_only=True):
    what = "a line"

    debit: Written | None = None
    credit: Written | None = None
    amount: Written
    dimensions: tuple[Written, ...] | None = None

    def problems(self) -> Iterator[tuple[str, str]]:
        if (self.debit is None) == (self.credit is None):
            yield "", "a line has either a debit or a credit account"


class _Event(Struct, frozen=True, kw_only=True):
    document: Written
    when: Written | _When | None = None
    options: _With = msgspec.field(name="with", default=_With())
    key: Written
    description: Written
    lines: tuple[_Line, ...]
    date: Written | None = None
    happened: Written | None = None
    currency: Written | None = None
    dimensions: tuple[Written, ...] | None = None

    def problems(self) -> Iterator[tuple[str, str]]:
        if {one.debit is not None for one in self.lines} != {True, False}:
            yield "lines", "needs a debit and a credit"
        if isinstance(self.when, str) and self.when != OTHERWISE:
            yield "when", f"`when` should be `word: value` pairs or {OTHERWISE!r}, and here is {self.when!r}"


class _Written(Struct, frozen=True, kw_only=True):
    """posting.yaml."""

    what = "the posting table"

    options: _Options = _Options()
    documents: dict[Written, _Document]
    events: dict[Written, _Event] = msgspec.field(default_factory=dict)


class _Check:
    """Holds a table against the documents' fields and the accounts, and makes it."""

    def __init__(self, file: config.File[_Written], accounts: Collection[str]) -> None:
        self.file, self.accounts = file, accounts
        self.findings = list(file.findings)

    def report(self, place: config.Place, message: str) -> None:
        self.findings.append(self.file.finding(place, message))

    def table(self) -> PostingTable:
        written = self.file.value
        if written is None:
            return PostingTable(self.file.path, {}, {}, (), tuple(self.findings))
        kinds = {}
        for name, one in written.documents.items():
            if name not in DOCUMENTS:
                self.report(("documents", name), f"there is no document {name!r}{did_you_mean(name, DOCUMENTS)}")
            else:
                kinds[name] = self.kind(name, one)
        for name in DOCUMENTS:
            if not self.file.has("documents", name):
                self.report(("documents",), f"the document {name} is missing")
        events = tuple(
            self.event(name, one, written.documents[one.document])
            for name, one in written.events.items()
            if self.is_document(("events", name, "document"), one.document) and one.document in kinds
        )
        self.once_otherwise(events)
        found = tuple(sorted(self.findings, key=lambda one: one.line))
        return PostingTable(self.file.path, asdict(written.options), kinds, events, found)

    def is_document(self, place: config.Place, name: str) -> bool:
        if name in DOCUMENTS:
            return True
        self.report(place, f"there is no document {name!r}{did_you_mean(name, DOCUMENTS)}")
        return False

    def kind(self, name: str, one: _Document) -> Kind:
        place = ("documents", name)
        codes = contracts.document("tims", "EntryCreate").fields["SourceDocument.Type"].codes
        if one.type not in codes:
            self.report((*place, "type"), f"TIMS has no source document {one.type!r}{did_you_mean(one.type, codes)}")
        nothing = tuple(
            Nothing(self.conditions((*place, "nothing", at, "when"), each.when, name), each.because)
            for at, each in enumerate(one.nothing)
        )
        return Kind(name, one.type, self.template((*place, "id"), one.id, name), nothing)

    def event(self, name: str, one: _Event, document: _Document) -> Event:
        place: config.Place = ("events", name)

        def stated(word: str) -> tuple[config.Place, Any]:
            """What the event says, or else its document, and where."""
            own = getattr(one, word)
            if own is not None:
                return (*place, word), own
            return ("documents", one.document, word), getattr(document, word)

        def field(word: str, kind: str) -> str:
            where, field_name = stated(word)
            if field_name is not None:
                self.of_kind(where, field_name, DOCUMENTS[one.document].header, kind)
            return field_name or ""

        shared = stated("dimensions")
        when = one.when if isinstance(one.when, dict) else {}
        return Event(
            name=name,
            document=one.document,
            when=self.conditions((*place, "when"), when, one.document),
            otherwise=one.when == OTHERWISE,
            options=tuple((word, value) for word, value in asdict(one.options).items() if value is not None),
            date=field("date", "date"),
            happened=field("happened", "date"),
            currency=field("currency", "text"),
            key=self.template((*place, "key"), one.key, one.document),
            description=self.template((*place, "description"), one.description, one.document),
            lines=tuple(
                self.line((*place, "lines", at), each, one.document, shared) for at, each in enumerate(one.lines)
            ),
            line=self.file.line(*place),
        )

    def line(self, place: config.Place, one: _Line, document: str, shared: tuple[config.Place, Any]) -> Line:
        side, account = ("debit", one.debit) if one.debit is not None else ("credit", one.credit or "")
        if account not in self.accounts:
            message = f"accounts.yaml has no account {account!r}{did_you_mean(account, self.accounts)}"
            self.report((*place, side), message)
        part, _, amount = one.amount.rpartition(".")
        parts = DOCUMENTS[document].parts
        if part and part not in parts:
            self.report((*place, "amount"), f"{document} has no part {part!r}{did_you_mean(part, parts)}")
        else:
            fields = parts[part] if part else DOCUMENTS[document].header
            self.of_kind((*place, "amount"), amount, fields, "money")
        where, wanted = shared if one.dimensions is None else ((*place, "dimensions"), one.dimensions)
        named = tuple(wanted or ())
        existing = {**DOCUMENTS[document].header, **parts.get(part, {})}
        for name in named:
            if name not in DIMENSIONS:
                self.report(where, f"TIMS has no dimension {name!r}{did_you_mean(name, DIMENSIONS)}")
            else:
                self.of_kind(where, name, existing, "text")
        return Line(account, side == "debit", part, amount, named)

    def conditions(self, place: config.Place, when: _When, document: str) -> tuple[Condition, ...]:
        return tuple(self.condition((*place, name), name, value, document) for name, value in when.items())

    def condition(self, place: config.Place, name: str, value: Any, document: str) -> Condition:
        kinds = DOCUMENTS[document].header
        if name not in kinds:
            self.of_kind(place, name, kinds, "")
            return Condition(name)
        kind = kinds[name]
        if isinstance(value, tuple):
            return Condition(name, self.codes(place, value, name, document))
        if isinstance(value, bool):
            if kind != "flag":
                self.report(place, f"{name} is {_A[kind]} and neither yes nor no")
            return Condition(name, ("yes" if value else "no",))
        text = " ".join(str(value).split())
        if text in TESTS or (text == "0" and kind in ("money", "integer")):
            if text not in ("given", "absent") and kind not in ("money", "integer"):
                self.report(place, f"{name} is {_A[kind]}, which is neither above nor below 0")
            return Condition(name, test=text)
        return Condition(name, self.codes(place, (text,), name, document))

    def codes(self, place: config.Place, values: tuple[str, ...], field: str, document: str) -> tuple[str, ...]:
        """Values to be equal to; where the contract lists a field's codes, no others."""
        fields = DOCUMENTS[document]
        held = contracts.document(fields.system, fields.schema).fields.get(field)
        for at, value in enumerate(values):
            if held and held.codes and value not in held.codes:
                self.report((*place, at), f"{field} is never {value!r}{did_you_mean(value, held.codes)}")
        if fields.header[field] not in ("text", "date"):
            self.report(place, f"{field} is {_A[fields.header[field]]}; use yes, no, above 0, below 0 or 0")
        return values

    def of_kind(self, place: config.Place, name: str, kinds: Mapping[str, str], kind: str) -> None:
        if name not in kinds:
            self.report(place, f"no field is called {name!r}{did_you_mean(name, kinds)}")
        elif kind and kinds[name] != kind:
            self.report(place, f"{name} is {_A[kinds[name]]}, not {_A[kind]}")

    def template(self, place: config.Place, text: str, document: str) -> str:
        header = DOCUMENTS[document].header
        for name in placeholders(text):
            self.of_kind(place, name, header, "")
            if header.get(name) in ("money", "flag"):
                self.report(place, f"{name} is {_A[header[name]]} and has no place in a text")
        return text

    def once_otherwise(self, events: tuple[Event, ...]) -> None:
        seen: set[str] = set()
        for event in events:
            if event.otherwise and event.document in seen:
                self.report(("events", event.name), f"{event.document} has two events that are met `otherwise`")
            if event.otherwise:
                seen.add(event.document)


_A = {"text": "text", "date": "a date", "money": "an amount", "integer": "a number", "flag": "yes or no"}


def check(folder: Path | None = None) -> Iterator[Finding]:
    """Everything that is wrong with the table; what is wrong with the accounts is theirs to say."""
    from crossdock.rules import accounts

    held = accounts.read(accounts.path_of(folder))
    yield from read(path_of(folder), held.named).findings


# What the files hold, for whoever shows them as forms: (type, columns of the key).
FORMS: dict[str, tuple[Any, int]] = {"posting.yaml": (_Written, 0)}
