"""What the API v1 gives, as documents of the contract: many at once, by the mapping files.

In: JSON of v1's entities as received. Out: the contract's documents, each with the entity that it was made of; of an
entity that cannot be turned, the reason. Never: record by record; a batch that fails because of one record.

The mappings are `include/config/mappings/channel_advisor_v1/<kind>.yaml`. Only what they read is parsed.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import msgspec
import numpy as np
import pandas as pd

from crossdock.mapping import bodies, language, parse, problems
from crossdock.mapping.contracts import Document
from crossdock.mapping.frames import Frames
from crossdock.rules.v1_orders import Account
from crossdock.systems.channel_advisor.v1 import refunds
from crossdock.systems.paging import Unmade

log = logging.getLogger(__name__)

FOLDER = "channel_advisor_v1"
BY_SKU = ("product", "inventory", "price")
# The property of v1's entity that is the key of a record in the contract's list.
KEYS = {
    "order": "ID", "shipment": "ID", "site": "ID", "distribution_center": "ID", **dict.fromkeys(BY_SKU, "Sku"),
}  # fmt: skip


@dataclass
class Made:
    """What came of a batch. `received[i]` is what `documents[i]` was made of."""

    documents: list[msgspec.Raw] = field(default_factory=list)
    received: list[bytes] = field(default_factory=list)
    unmade: list[Unmade] = field(default_factory=list)
    warnings: set[str] = field(default_factory=set)


def make(kind: str, entities: Sequence[bytes], account: Account) -> Made:
    """Turns entities of v1 into documents of the contract. ConfigError where the mapping or a table is broken."""
    if not entities:
        return Made()
    mapping = language.load(f"{FOLDER}/{kind}")
    children = mapping.children
    source = mapping.source_document.only(mapping.reads)
    parsed = parse.read_lists(entities, source, children.source if children else "")
    _zone(parsed.frames, source, children.source if children else "")
    done = mapping.apply(parsed.frames, account)
    found = problems.concat([done.problems, done.errors])
    refused = np.zeros(len(parsed.kept), dtype=bool)
    refused[found[problems.COLUMNS[0]].to_numpy()] = True
    origin = np.arange(len(parsed.kept)) if done.origin is None else done.origin
    good = ~refused[origin]
    target = done.target.keep(good)
    lines = target.lines.drop(columns="_line") if children else None
    written = bodies.bodies(mapping.target_document, target.header, lines, children.target if children else "")
    rows = parsed.kept[origin[good]]
    return Made(
        [msgspec.Raw(each) for each in written],
        [entities[row] for row in rows],
        _unmade(kind, entities, [(parsed.kept, found), (np.arange(len(entities)), parsed.problems)], account),
        set(done.warnings["says"]),
    )


_WITHOUT_ZONE = r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(?:\.\d+)?"


def _zone(frames: Frames, document: Document, lines: str) -> None:
    """Adds the Z to moments that lack it: all that v1 gives are UTC."""
    for frame, entity in _parts(frames, document, lines):
        for name, column in entity.fields.items():
            if column.type == "moment" and name in frame:
                texts = frame[name]
                if (texts.notna() & ~texts.str.endswith("Z").fillna(False).astype(bool)).any():
                    frame[name] = texts.mask(texts.str.fullmatch(_WITHOUT_ZONE).fillna(False).astype(bool), texts + "Z")


def _parts(frames: Frames, document: Document, lines: str) -> Iterator[tuple[pd.DataFrame, Document]]:
    """Each frame with the entity that its rows are."""
    yield frames.header, document
    for path in filter(None, (lines, *frames.lists)):
        inner: Document | None = document
        for name in path.split("."):
            inner = inner.fields[name].items if inner else None
        if inner:
            yield (frames.lines if path == lines else frames.lists[path]), inner


def _unmade(
    kind: str, entities: Sequence[bytes], parts: Sequence[tuple[np.ndarray, pd.DataFrame]], account: Account
) -> list[Unmade]:
    """Each entity that was not turned, with its first reason and how many more there are."""
    made: dict[int, Unmade] = {}
    for positions, found in parts:
        for row, reasons in problems.by_row(found).items():
            at, first = int(positions[row]), reasons[0]
            more = f" And {len(reasons) - 1} more." if len(reasons) > 1 else ""
            made.setdefault(
                at,
                Unmade(
                    key_of(kind, entities[at], account),
                    bytes(entities[at]),
                    first["field"],
                    first["rule"],
                    first["says"] + more,
                    first["do"],
                ),
            )
    return [made[at] for at in sorted(made)]


_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])


def key_of(kind: str, entity: bytes, account: Account) -> str:
    """The contract's key of an entity; "" where it cannot be read."""
    if kind == "return":
        return refunds.number_of(entity)
    try:
        fields = _fields.decode(entity)
        key = str(msgspec.json.decode(fields[KEYS[kind]]))
        if kind not in BY_SKU:
            return key
        return account.profiles.name_of(key, int(msgspec.json.decode(fields["ProfileID"])))
    except (msgspec.MsgspecError, KeyError, UnicodeDecodeError, TypeError, ValueError):
        return ""
