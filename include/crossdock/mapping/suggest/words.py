"""How alike two names are: their words, abbreviations, synonyms, and the objects around them.

In: paths of two contracts, pairs of names that other mappings have joined. Out: a likeness between 0 and 1. Never: a
value of a record.

The synonyms are the general words of commerce. What only this installation calls so is learnt from its mappings.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache

from rapidfuzz import fuzz

from crossdock.mapping.contracts import Document
from crossdock.mapping.registry import named_rules
from crossdock.mapping.table import OF_HEAD, Table

_WORD = re.compile(r"[A-Z]{2,}s(?![a-z])|[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")
_PLURAL = re.compile(r"(?<=[^su])s$")

ABBREVIATIONS: Mapping[str, str] = {
    "qty": "quantity", "amt": "amount", "addr": "address", "no": "number", "num": "number", "nr": "number",
    "ref": "reference", "desc": "description", "cust": "customer", "tel": "phone", "telephone": "phone",
    "mobile": "phone", "zip": "postal", "postcode": "postal", "ccy": "currency", "cur": "currency", "inv": "invoice",
    "ord": "order", "dt": "date", "ts": "time", "wt": "weight", "disc": "discount", "shp": "shipping",
    "ship": "shipping", "shipped": "shipping", "bill": "billing", "billed": "billing", "acct": "account",
    "mail": "email", "ident": "id", "identifier": "id", "uom": "unit", "pct": "percent", "msg": "message",
    "tracking": "track", "cancelled": "cancel", "canceled": "cancel", "returned": "return", "lines": "line",
    "ids": "id", "skus": "sku", "fulfilment": "fulfillment",
}  # fmt: skip

SYNONYMS: tuple[frozenset[str], ...] = tuple(
    frozenset(words.split())
    for words in (
        "customer buyer client purchaser",
        "region state province county",
        "city town",
        "postal postalcode",
        "quantity unit count pieces",
        "sku item product article",
        "note memo remark comment instruction",
        "shipping delivery dispatch freight",
        "shipment fulfillment parcel",
        "date day moment time at when",
        "amount sum value",
        "total amount",
        "total price",
        "discount rebate promotion",
        "tax vat duty",
        "price rate",
        "id key reference number code",
        "line row position",
        "service class level method",
        "cost expense",
        "delta change quantity",
        "reason cause",
        "carrier courier shipper",
        "name title addressee recipient",
        "line street",
        "line item",
        "first given",
        "last family surname",
        "channel site marketplace shop",
        "status state",
        "due deadline",
        "location warehouse center",
        "ean gtin barcode upc",
        "sale order",
        "kind type",
    )
)
# Words that tell little: many names have them.
_COMMON = frozenset(
    [
        "id",
        "code",
        "number",
        "name",
        "type",
        "value",
        "amount",
        "total",
        "date",
        "at",
        "info",
        "create",
        "update",
        "the",
        "of",
        "on",
    ]
)
# Whose number it is, as seen by somebody else.
_FOREIGN = frozenset(["external", "foreign", "remote", "origin"])


@lru_cache(maxsize=4096)
def words(name: str) -> tuple[str, ...]:
    """`ExternalLineIDs` -> external, line, id."""
    found = [part.lower() for part in _WORD.findall(name)]
    return tuple(ABBREVIATIONS.get(word, ABBREVIATIONS.get(one := _PLURAL.sub("", word), one)) for word in found)


@lru_cache(maxsize=65536)
def alike(one: str, other: str) -> float:
    """How far two words mean the same."""
    if one == other:
        return 1.0
    if any(one in group and other in group for group in SYNONYMS):
        return 0.8
    short, long = sorted((one, other), key=len)
    if len(short) >= 3 and long.startswith(short):
        return 0.75
    return 0.7 if min(len(one), len(other)) >= 4 and fuzz.ratio(one, other) >= 85 else 0.0


@dataclass(frozen=True)
class Vocabulary:
    """What names mean here. `own`: words of the two systems' names, which tell nothing. `joined`: pairs of names that a
    person has joined in another mapping, source's first. `constants`: by name of a target field, what is always put
    there."""

    own: frozenset[str] = frozenset()
    joined: frozenset[tuple[str, str]] = frozenset()
    constants: Mapping[str, frozenset] = field(default_factory=dict)

    def weight(self, word: str) -> float:
        if word in self.own or word in _FOREIGN:
            return 0.15
        return 0.5 if word in _COMMON else 1.0

    def likeness(self, source: str, target: str) -> float:
        """How alike two paths are: their last names, and the objects around them."""
        source_leaf, target_leaf = leaf(source), leaf(target)
        around_source, around_target = (
            words(source)[: -len(words(source_leaf))],
            words(target)[: -len(words(target_leaf))],
        )
        own = self._overlap(words(source_leaf), words(target_leaf))
        whole = self._overlap(words(source), words(target))
        if source_leaf.lower() == target_leaf.lower():
            own = 1.0
        elif (source_leaf, target_leaf) in self.joined:
            own = max(own, 0.95)
        if not around_source and not around_target:
            return own
        if around_source and around_target:
            around = self._overlap(around_source, around_target)
            return own * (0.55 + 0.45 * around)
        return max(0.85 * own, 0.5 * own + 0.5 * whole)

    def _overlap(self, some: tuple[str, ...], others: tuple[str, ...]) -> float:
        """The share of the words that both have, each counted by what it tells."""
        if not some or not others:
            return 0.0
        total = sum(map(self.weight, some)) + sum(map(self.weight, others))
        shared = sum(self.weight(one) * max(alike(one, other) for other in others) for one in some)
        shared += sum(self.weight(one) * max(alike(one, other) for other in some) for one in others)
        return shared / total

    def telling(self, text: str, other: str) -> float:
        """How many of the telling words of two descriptions are the same."""
        some, others = _telling_words(text), _telling_words(other)
        return len(some & others) / min(len(some), len(others)) if some and others else 0.0


@lru_cache(maxsize=4096)
def _telling_words(text: str) -> frozenset[str]:
    return frozenset(word for word in words(text) if len(word) > 3 and word not in _COMMON)


def leaf(path: str) -> str:
    """The last name of a path."""
    return path.rpartition(".")[2]


def vocabulary(source: Document, target: Document, mappings: Iterable[Table] = ()) -> Vocabulary:
    """What the other mappings teach. A mapping that is asked for must not be among them."""
    joined: set[tuple[str, str]] = set()
    constants: dict[str, set] = {}
    for mapping in mappings:
        rules = named_rules()
        for one in mapping.every_field:
            if one.constant is not None and mapping.target[0] == target.system:
                constants.setdefault(leaf(one.target), set()).add(one.constant)
            of_rule = {column for rule in ([rules[one.rule]] if one.rule in rules else []) for column in rule.writes}
            joined |= {
                (leaf(path.removeprefix(OF_HEAD)), leaf(one.target)) for path in one.sources if path not in of_rule
            }
    own = {word for system in (source.system, target.system) for word in system.lower().split("_")}
    return Vocabulary(
        frozenset(own), frozenset(joined), {name: frozenset(values) for name, values in constants.items()}
    )
