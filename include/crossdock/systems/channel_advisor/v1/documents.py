"""What the API v1 gives, as documents of the contract: many at once, by the mapping files.

In: JSON of v1's entities as received. Out: the contract's documents, each with the entity that it was made of; of an
entity that cannot be turned, the reason. Never: record by record; a batch that fails because of one record.

The mappings are `include/config/mappings/channel_advisor_v1/<kind>.yaml`. Only what they read is parsed.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field

import msgspec
import numpy as np
import pandas as pd

from crossdock.mapping import bodies, language, parse, problems
from crossdock.rules.v1_orders import Account
from crossdock.systems.channel_advisor.v1 import refunds
from crossdock.systems.paging import Unmade

log = logging.getLogger(__name__)

FOLDER = "channel_advisor_v1"
# The key of a record in the contract's list, by the properties of v1's entity that it is made of.
KEYS = {
    "order": ("ID",), "shipment": ("ID",), "product": ("Sku",), "inventory": ("Sku",),
    "price": ("Sku",), "site": ("ID",), "distribution_center": ("ID",),
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
        _unmade(kind, entities, [(parsed.kept, found), (np.arange(len(entities)), parsed.problems)]),
        set(done.warnings["says"]),
    )


def _unmade(kind: str, entities: Sequence[bytes], parts: Sequence[tuple[np.ndarray, pd.DataFrame]]) -> list[Unmade]:
    """Each entity that was not turned, with its first reason and how many more there are."""
    made: dict[int, Unmade] = {}
    for positions, found in parts:
        for row, reasons in problems.by_row(found).items():
            at, first = int(positions[row]), reasons[0]
            more = f" And {len(reasons) - 1} more." if len(reasons) > 1 else ""
            made.setdefault(
                at,
                Unmade(
                    key_of(kind, entities[at]),
                    bytes(entities[at]),
                    first["field"],
                    first["rule"],
                    first["says"] + more,
                    first["do"],
                ),
            )
    return [made[at] for at in sorted(made)]


_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])


def key_of(kind: str, entity: bytes) -> str:
    """The contract's key of an entity; "" where it cannot be read."""
    if kind == "return":
        return refunds.number_of(entity)
    try:
        fields = _fields.decode(entity)
        return ":".join(str(msgspec.json.decode(fields[name])) for name in KEYS[kind])
    except (msgspec.MsgspecError, KeyError, UnicodeDecodeError):
        return ""
