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

import yaml

from crossdock import config
from crossdock.config import Finding, Reader, did_you_mean, line_of
from crossdock.mapping import contracts
from crossdock.rules.accounts import Accounts
from crossdock.settings import config_dir

DIMENSIONS = ("Channel", "SKU", "Order")
OPTIONS = {"marketplace_tax": ("memo", "wash")}
OTHERWISE = "otherwise"
# A test of an amount or of whether there is a value; anything else is a value to be equal to.
TESTS = ("above 0", "below 0", "not above 0", "not 0", "given", "absent")
_DEFAULTS = ("date", "happened", "currency", "dimensions")
_DOCUMENT_WORDS = ("type", "id", *_DEFAULTS, "nothing")
_EVENT_WORDS = ("document", "when", "with", "key", "description", "lines", *_DEFAULTS)
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
    table = _load(config.stamp(path_of(folder)), frozenset(accounts.named))
    if table.findings:
        raise config.refusal(table.findings)
    return table


def path_of(folder: Path | None = None) -> Path:
    return (folder or config_dir()) / "posting.yaml"


@lru_cache(maxsize=8)
def _load(file: config.Stamp, accounts: frozenset[str]) -> PostingTable:
    return read(file.path, accounts)


def read(path: Path, accounts: Collection[str]) -> PostingTable:
    """The table as written, with everything that is wrong with it in `findings`. Raises ConfigError for no YAML."""
    return _TableReader(path, accounts).table()


def placeholders(template: str) -> list[str]:
    """The fields that a template names, in order."""
    return _PLACEHOLDER.findall(template)


def literals(template: str) -> list[str]:
    """The text between the fields of a template: one more than there are fields."""
    return _PLACEHOLDER.split(template)[::2]


class _TableReader(Reader):
    def __init__(self, path: Path, accounts: Collection[str]) -> None:
        super().__init__(path)
        self.accounts = accounts

    def table(self) -> PostingTable:
        words = self.words(self.root(), ("options", "documents", "events"), "the posting table")
        options = self.options(words.get("options"))
        defaults: dict[str, dict[str, yaml.Node]] = {}
        kinds = {}
        for key, node in self.pairs(words.get("documents"), "`documents`"):
            name = key.value
            if name not in DOCUMENTS:
                self.report(key, f"there is no document {name!r}{did_you_mean(name, DOCUMENTS)}")
                continue
            given = self.words(node, _DOCUMENT_WORDS, f"document {name}")
            self.needed(node, given, ("type", "id", "date", "currency"), f"document {name}")
            codes = contracts.document("tims", "EntryCreate").fields["SourceDocument.Type"].codes
            if (kind := self.text(given.get("type"))) not in codes:
                self.report(given.get("type"), f"TIMS has no source document {kind!r}{did_you_mean(kind, codes)}")
            nothing = tuple(self.nothing(one, name) for one in self.entries(given.get("nothing"), "`nothing`"))
            kinds[name] = Kind(name, kind, self.template(given.get("id"), name), nothing)
            defaults[name] = given
        for name in DOCUMENTS:
            if name not in kinds:
                self.report(words.get("documents"), f"the document {name} is missing")
        events = tuple(
            event
            for key, node in self.pairs(words.get("events"), "`events`")
            if (event := self.event(key, node, defaults, options)) is not None
        )
        self.once_otherwise(events)
        return PostingTable(self.path, options, kinds, events, tuple(sorted(self.findings, key=lambda one: one.line)))

    def options(self, node: yaml.Node | None) -> dict[str, str]:
        options = {name: values[0] for name, values in OPTIONS.items()}
        for key, value in self.words(node, tuple(OPTIONS), "`options`").items():
            options[key] = self.text(value)
            if options[key] not in OPTIONS[key]:
                self.report(value, f"{key} is {options[key]!r}{did_you_mean(options[key], OPTIONS[key])}")
        return options

    def nothing(self, node: yaml.Node, document: str) -> Nothing:
        words = self.words(node, ("when", "because"), "`nothing`")
        self.needed(node, words, ("when", "because"), "`nothing`")
        return Nothing(self.conditions(words.get("when"), document), self.text(words.get("because")))

    def event(
        self, key: yaml.Node, node: yaml.Node, defaults: Mapping[str, Mapping[str, yaml.Node]], options: Collection[str]
    ) -> Event | None:
        what = f"event {key.value}"
        words = self.words(node, _EVENT_WORDS, what)
        self.needed(key, words, ("document", "key", "description", "lines"), what)
        document = self.text(words.get("document"))
        if document not in defaults:
            if "document" in words:
                self.report(words["document"], f"there is no document {document!r}{did_you_mean(document, DOCUMENTS)}")
            return None
        stated = {**{word: defaults[document][word] for word in _DEFAULTS if word in defaults[document]}, **words}
        when = words.get("when")
        otherwise = isinstance(when, yaml.ScalarNode) and self.text(when) == OTHERWISE
        chosen = []
        for name, value in self.words(words.get("with"), tuple(OPTIONS), "`with`").items():
            chosen.append((name, self.text(value)))
            if chosen[-1][1] not in OPTIONS[name]:
                self.report(value, f"{name} is {chosen[-1][1]!r}{did_you_mean(chosen[-1][1], OPTIONS[name])}")
        lines = tuple(
            self.line(one, document, stated.get("dimensions")) for one in self.entries(words.get("lines"), "`lines`")
        )
        if {one.is_debit for one in lines} != {True, False} and "lines" in words:
            self.report(words["lines"], f"{what} needs a debit and a credit")
        return Event(
            name=key.value,
            document=document,
            when=() if otherwise else self.conditions(when, document),
            otherwise=otherwise,
            options=tuple(chosen),
            date=self.field(stated.get("date"), document, "date"),
            happened=self.field(stated.get("happened"), document, "date") if "happened" in stated else "",
            currency=self.field(stated.get("currency"), document, "text"),
            key=self.template(words.get("key"), document),
            description=self.template(words.get("description"), document),
            lines=lines,
            line=line_of(key),
        )

    def line(self, node: yaml.Node, document: str, dimensions: yaml.Node | None) -> Line:
        words = self.words(node, ("debit", "credit", "amount", "dimensions"), "a line")
        self.needed(node, words, ("amount",), "a line")
        if ("debit" in words) == ("credit" in words):
            self.report(node, "a line has either a debit or a credit account")
        side = words.get("debit") or words.get("credit")
        account = self.text(side)
        if account not in self.accounts:
            self.report(side or node, f"accounts.yaml has no account {account!r}{did_you_mean(account, self.accounts)}")
        path = self.text(words.get("amount"))
        part, _, amount = path.rpartition(".")
        parts = DOCUMENTS[document].parts
        if part and part not in parts:
            self.report(words.get("amount"), f"{document} has no part {part!r}{did_you_mean(part, parts)}")
        else:
            self.of_kind(words.get("amount"), amount, parts[part] if part else DOCUMENTS[document].header, "money")
        wanted = words.get("dimensions") or dimensions
        named = tuple(self.text(one) for one in self.entries(wanted, "`dimensions`"))
        existing = {**DOCUMENTS[document].header, **parts.get(part, {})}
        for name in named:
            if name not in DIMENSIONS:
                self.report(wanted, f"TIMS has no dimension {name!r}{did_you_mean(name, DIMENSIONS)}")
            else:
                self.of_kind(wanted, name, existing, "text")
        return Line(account, "debit" in words, part, amount, named)

    def conditions(self, node: yaml.Node | None, document: str) -> tuple[Condition, ...]:
        return tuple(self.condition(key, value, document) for key, value in self.pairs(node, "`when`"))

    def condition(self, key: yaml.Node, node: yaml.Node, document: str) -> Condition:
        kinds = DOCUMENTS[document].header
        if key.value not in kinds:
            self.of_kind(key, key.value, kinds, "")
            return Condition(key.value)
        kind = kinds[key.value]
        if isinstance(node, yaml.SequenceNode):
            return Condition(key.value, self.codes(node, [self.text(one) for one in node.value], key.value, document))
        value, text = self.value(node), self.text(node)
        if isinstance(value, bool):
            if kind != "flag":
                self.report(node, f"{key.value} is {_A[kind]} and neither yes nor no")
            return Condition(key.value, ("yes" if value else "no",))
        if text in TESTS or (text == "0" and kind in ("money", "integer")):
            if text not in ("given", "absent") and kind not in ("money", "integer"):
                self.report(node, f"{key.value} is {_A[kind]}, which is neither above nor below 0")
            return Condition(key.value, test=text)
        return Condition(key.value, self.codes(node, [text], key.value, document))

    def codes(self, node: yaml.Node, values: list[str], field: str, document: str) -> tuple[str, ...]:
        """Values to be equal to; where the contract lists a field's codes, no others."""
        fields = DOCUMENTS[document]
        held = contracts.document(fields.system, fields.schema).fields.get(field)
        for value in values:
            if held and held.codes and value not in held.codes:
                self.report(node, f"{field} is never {value!r}{did_you_mean(value, held.codes)}")
        if fields.header[field] not in ("text", "date"):
            self.report(node, f"{field} is {_A[fields.header[field]]}; use yes, no, above 0, below 0 or 0")
        return tuple(values)

    def field(self, node: yaml.Node | None, document: str, kind: str) -> str:
        name = self.text(node)
        self.of_kind(node, name, DOCUMENTS[document].header, kind)
        return name

    def of_kind(self, node: yaml.Node | None, name: str, kinds: Mapping[str, str], kind: str) -> None:
        if name not in kinds:
            self.report(node, f"no field is called {name!r}{did_you_mean(name, kinds)}")
        elif kind and kinds[name] != kind:
            self.report(node, f"{name} is {_A[kinds[name]]}, not {_A[kind]}")

    def template(self, node: yaml.Node | None, document: str) -> str:
        text = self.text(node)
        for name in placeholders(text):
            self.of_kind(node, name, DOCUMENTS[document].header, "")
            if DOCUMENTS[document].header.get(name) in ("money", "flag"):
                self.report(node, f"{name} is {_A[DOCUMENTS[document].header[name]]} and has no place in a text")
        return text

    def needed(self, node: yaml.Node, words: Collection[str], wanted: tuple[str, ...], what: str) -> None:
        for word in wanted:
            if word not in words:
                self.report(node, f"{what} does not say its `{word}`")

    def once_otherwise(self, events: tuple[Event, ...]) -> None:
        seen: set[str] = set()
        for event in events:
            if event.otherwise and event.document in seen:
                self.findings.append(
                    Finding(self.path, event.line, f"{event.document} has two events that are met `otherwise`")
                )
            if event.otherwise:
                seen.add(event.document)


_A = {"text": "text", "date": "a date", "money": "an amount", "integer": "a number", "flag": "yes or no"}


def check(folder: Path | None = None) -> Iterator[Finding]:
    """Everything that is wrong with the table; what is wrong with the accounts is theirs to say."""
    from crossdock.rules import accounts

    held = accounts.read(accounts.path_of(folder))
    yield from read(path_of(folder), held.named).findings
