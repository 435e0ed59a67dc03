"""Sends the batch, and records the answers."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import msgspec
import sqlalchemy as sa

from crossdock.flow import SOURCE, Flow
from crossdock.flows.documents import among
from crossdock.flows.ledger.transform import ENTRY, owner
from crossdock.keys import segment
from crossdock.mapping import contracts
from crossdock.mapping.bodies import bodies
from crossdock.mapping.frames import ROW
from crossdock.rules import posting_table
from crossdock.steps.load import Document, post, record_outcomes
from crossdock.store import batches, database
from crossdock.store.tables import (
    ops_link,
    stage_posting,
    stage_posting_line,
)

if TYPE_CHECKING:
    from crossdock.runtime import Runtime


REVERSAL_SUFFIX = ":rev"
ADVICE = "Look at the document in TIMS and at its event in config/posting.yaml; mend one of them, then replay it."
VERSION = re.compile(r":v\d+$")


# ---- load ----------------------------------------------------------------------------------------------------------


@dataclass
class _Posting:
    """One document: the entries that it should have (by key as first posted), and the links of those posted so far."""

    key: str
    wanted: dict[str, dict[str, Any]] = field(default_factory=dict)
    links: dict[str, sa.Row] = field(default_factory=dict)  # by entry key; mirrors too

    def standing(self) -> dict[str, sa.Row]:
        """The entries without a mirror, by key as first posted."""
        return {
            VERSION.sub("", key): link
            for key, link in self.links.items()
            if not key.endswith(REVERSAL_SUFFIX) and key + REVERSAL_SUFFIX not in self.links
        }

    def next_key(self, first: str) -> str:
        """The key under which an entry is posted: its own, after a correction with a version."""
        posted = sum(not key.endswith(REVERSAL_SUFFIX) and VERSION.sub("", key) == first for key in self.links)
        return first if not posted else f"{first}:v{posted + 1}"


def content_of(entry: Mapping[str, Any]) -> str:
    """Hashes an entry's currency, day of event, and lines in any order: equal for an entry to be posted and the same
    one read from TIMS. The posting date to which a closed period moved it does not count."""
    lines = sorted(
        (
            line["AccountCode"], line["Debit"], line["Credit"],
            *((line.get("Dimensions") or {}).get(name) or "" for name in posting_table.DIMENSIONS),
        )
        for line in entry["Lines"]
    )  # fmt: skip
    day = entry.get("OriginalEventDate") or entry["PostingDate"]
    return sha256(msgspec.json.encode([entry["CurrencyCode"], day, lines])).hexdigest()[:32]


def load(runtime: Runtime, flow: Flow, batch_id: int) -> None:
    """Mirrors the wrong entries, then posts the missing ones, in bulk for all documents of the batch."""
    with runtime.engine.begin() as connection:
        batch = batches.get(connection, batch_id)
        postings = _read_postings(connection, flow.name, batch_id)
    _compare_unknown(runtime, flow.name, postings)
    mirrors = [document for one in postings for document in _mirrors(flow.name, one)]
    posted = post(runtime, flow, batch_id, ENTRY, mirrors, ADVICE)
    refused = dict(posted.refused)
    _see_links(runtime, flow.name, postings)
    if not posted.problem:
        entries = [document for one in postings if one.key not in refused for document in _entries(flow.name, one)]
        posted = post(runtime, flow, batch_id, ENTRY, entries, ADVICE)
        refused |= posted.refused
        _see_links(runtime, flow.name, postings)
    whole = [one for one in postings if one.key not in refused and _is_as_wanted(one)]
    mine = {one.key for one in whole if any(link.batch_id == batch_id for link in one.links.values())}
    with runtime.engine.begin() as connection:
        record_outcomes(
            connection,
            flow,
            batch,
            delivered=sorted(mine),
            unchanged=[one.key for one in whole if one.key not in mine],
            refused=refused,
        )
    posted.raise_problem()


_ENTRY = {"Channel": "Dimensions.Channel", "SKU": "Dimensions.SKU", "Order": "Dimensions.Order"}
_HEAD = (
    "Source", "PostingDate", "OriginalEventDate", "SourceDocument.Type", "SourceDocument.ID", "Description",
    "CurrencyCode",
)  # fmt: skip
_LINE = ("LineNo", "AccountCode", "Debit", "Credit", *_ENTRY.values())


def _read_postings(connection: sa.Connection, flow: str, batch_id: int) -> list[_Posting]:
    """Reads the ready documents with the bodies of their entries, without the entries' keys."""
    heads, below = stage_posting, stage_posting_line
    ready = sa.and_(heads.c.batch_id == batch_id, heads.c.state == "ready")
    postings = {
        key: _Posting(key) for key in connection.scalars(sa.select(heads.c.key).where(ready).order_by(heads.c.key))
    }
    lines = database.copy_out(
        connection,
        sa.select(
            *(below.c[name] for name in ("key", "EntryKey", "PostingDate", "OriginalEventDate", "Description")),
            *(below.c[name] for name in ("CurrencyCode", "AccountCode", "Debit", "Credit", *_ENTRY)),
            heads.c.DocumentType.label("SourceDocument.Type"), heads.c.DocumentID.label("SourceDocument.ID"),
        )
        .join(heads, heads.c.key == below.c.key)
        .where(ready)
        .order_by(below.c.key, below.c.position),
    ).rename(columns=_ENTRY)  # fmt: skip
    lines.insert(0, ROW, lines.groupby(["key", "EntryKey"], sort=False).ngroup())
    lines = lines.sort_values(ROW, kind="stable", ignore_index=True)
    lines["LineNo"] = lines.groupby(ROW).cumcount() + 1
    entries = lines.drop_duplicates(ROW).assign(Source=SOURCE)
    written = bodies(contracts.document("tims", "EntryCreate"), entries[[*_HEAD]], lines[[ROW, *_LINE]], "Lines")
    for key, entry, body in zip(entries["key"].tolist(), entries["EntryKey"].tolist(), written, strict=True):
        postings[key].wanted[entry] = msgspec.json.decode(body)
    _add_links(connection, flow, postings)
    return list(postings.values())


def _add_links(connection: sa.Connection, flow: str, postings: Mapping[str, _Posting]) -> None:
    owners = {owner(flow, key): posting for key, posting in postings.items()}
    for link in connection.execute(
        sa.select(ops_link).where(ops_link.c.entity == ENTRY.entity, among(ops_link.c.other_key, list(owners)))
    ):
        owners[link.other_key].links[link.source_key] = link


def _see_links(runtime: Runtime, flow: str, postings: Iterable[_Posting]) -> None:
    with runtime.engine.begin() as connection:
        _add_links(connection, flow, {one.key: one for one in postings})


def _compare_unknown(runtime: Runtime, flow: str, postings: Sequence[_Posting]) -> None:
    """Reads from TIMS the entries of links without a content hash: an answer was lost, and TIMS had the entry."""
    unknown = [link.source_key for one in postings for link in one.standing().values() if link.content_hash is None]
    if not unknown:
        return
    found = runtime.tims.find("gl/entries", ExternalReference=unknown, Source=SOURCE)
    with runtime.engine.begin() as connection:
        for entry in found:
            connection.execute(
                sa.update(ops_link)
                .where(ops_link.c.entity == ENTRY.entity, ops_link.c.source_key == entry["ExternalReference"])
                .values(content_hash=content_of(entry))
            )
    _see_links(runtime, flow, postings)


def _is_as_wanted(one: _Posting) -> bool:
    return {key: link.content_hash for key, link in one.standing().items()} == {
        key: content_of(entry) for key, entry in one.wanted.items()
    }


def _mirrors(flow: str, one: _Posting) -> list[Document]:
    """Makes the reversals of wrong entries."""
    made = []
    for first, link in one.standing().items():
        if first in one.wanted and content_of(one.wanted[first]) == link.content_hash:
            continue
        why = "it is corrected" if first in one.wanted else "its document has no such entry any more"
        body = {"Reason": f"Mirror of {link.source_key}: {why}"}
        path = f"{ENTRY.path}/{segment(link.target_id)}/reverse"
        document = _document(flow, one, link.source_key + REVERSAL_SUFFIX, body, content="mirror")
        made.append(replace(document, path=path, prefix="Its old entry cannot be mirrored: "))
    return made


def _entries(flow: str, one: _Posting) -> list[Document]:
    """Makes the missing entries."""
    standing = one.standing()
    return [
        replace(
            _document(flow, one, one.next_key(key), entry, content=content_of(entry)),
            prefix="Its entry cannot be posted: ",
        )
        for key, entry in one.wanted.items()
        if key not in standing
    ]


def _document(flow: str, one: _Posting, key: str, body: Mapping[str, Any], *, content: str) -> Document:
    whole = {"ExternalReference": key, "Source": SOURCE, **body}
    return Document(key, msgspec.json.encode(whole), key, content, {"other_key": owner(flow, one.key)}, row=one.key)
