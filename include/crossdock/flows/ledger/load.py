"""What is sent, and what becomes of the answers."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import msgspec
import sqlalchemy as sa

from crossdock.errors import RecordRejected, Transient
from crossdock.flow import SOURCE, Flow
from crossdock.flows.documents import among
from crossdock.flows.ledger.transform import ENTRY, owner
from crossdock.keys import segment
from crossdock.rules import posting_table
from crossdock.steps.load import Document, create, reasons, record_outcomes
from crossdock.store import batches
from crossdock.store.tables import (
    ops_link,
    stage_posting,
)

if TYPE_CHECKING:
    from crossdock.runtime import Runtime


REVERSAL_SUFFIX = ":rev"
ADVICE = "Look at the document in TIMS and at its event in config/posting.yaml; mend one of them, then replay it."
VERSION = re.compile(r":v\d+$")


# ---- load ----------------------------------------------------------------------------------------------------------

# The body of EntryCreate but for its key, built where the rows are; what is null is absent, as the contract takes it.
_ENTRIES = """
SELECT p.key, l."EntryKey" AS entry_key,
       json_strip_nulls(json_build_object(
         'Source', CAST(:source AS text), 'PostingDate', min(l."PostingDate"),
         'OriginalEventDate', min(l."OriginalEventDate"),
         'SourceDocument', json_build_object('Type', p."DocumentType", 'ID', p."DocumentID"),
         'Description', min(l."Description"), 'CurrencyCode', min(l."CurrencyCode"),
         'Lines', json_agg(json_build_object(
           'LineNo', l.position - l.first + 1, 'AccountCode', l."AccountCode",
           'Debit', round(l."Debit", 2)::text, 'Credit', round(l."Credit", 2)::text,
           'Dimensions', json_build_object('Channel', l."Channel", 'SKU', l."SKU", 'Order', l."Order")
         ) ORDER BY l.position)))::text AS body
FROM stage.posting p
JOIN LATERAL (
  SELECT i.*, min(i.position) OVER (PARTITION BY i."EntryKey") AS first
  FROM stage.posting_line i WHERE i.key = p.key
) l ON true
WHERE p.batch_id = :batch AND p.state = 'ready'
GROUP BY p.key, l."EntryKey"
ORDER BY p.key, min(l.position)
"""


@dataclass
class _Posting:
    """One document: the entries that it should have (by key as first posted), and those that it has had."""

    key: str
    wanted: dict[str, dict[str, Any]] = field(default_factory=dict)
    links: dict[str, sa.Row] = field(default_factory=dict)  # by entry key; mirrors too

    def standing(self) -> dict[str, sa.Row]:
        """Entries that have no mirror, by the key as first posted."""
        return {
            VERSION.sub("", key): link
            for key, link in self.links.items()
            if not key.endswith(REVERSAL_SUFFIX) and key + REVERSAL_SUFFIX not in self.links
        }

    def next_key(self, first: str) -> str:
        """The key under which an entry is posted: its own, and after a correction with a version."""
        posted = sum(not key.endswith(REVERSAL_SUFFIX) and VERSION.sub("", key) == first for key in self.links)
        return first if not posted else f"{first}:v{posted + 1}"


def content_of(entry: Mapping[str, Any]) -> str:
    """A hash of what an entry says, the same for one that is to be posted and one that TIMS has: its currency, the day
    of its event, and its lines in any order. Where a closed period has moved it does not count."""
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
    """Mirrors what should not stand, then posts what is missing; one bulk for all documents of the batch."""
    with runtime.engine.begin() as connection:
        batch = batches.get(connection, batch_id)
        postings = _read_postings(connection, flow.name, batch_id)
    _compare_unknown(runtime, flow.name, postings)
    mirrors = [document for one in postings for document in _mirrors(flow.name, one)]
    refused: dict[str, list[dict]] = {}
    problem: Transient | None = None
    try:
        undone = create(runtime, flow, batch_id, ENTRY, mirrors)
        _refuse(refused, flow.name, postings, undone.refused, "Its old entry cannot be mirrored: ")
        _see_links(runtime, flow.name, postings)
        entries = [document for one in postings if one.key not in refused for document in _entries(flow.name, one)]
        made = create(runtime, flow, batch_id, ENTRY, entries)
        _refuse(refused, flow.name, postings, made.refused, "Its entry cannot be posted: ")
    except Transient as error:  # what did go through is linked: settle it, then let the task be tried again
        problem = error
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
    if problem:
        raise problem


def _read_postings(connection: sa.Connection, flow: str, batch_id: int) -> list[_Posting]:
    ready = connection.scalars(
        sa.select(stage_posting.c.key)
        .where(stage_posting.c.batch_id == batch_id, stage_posting.c.state == "ready")
        .order_by(stage_posting.c.key)
    )
    postings = {key: _Posting(key) for key in ready}
    for row in connection.execute(sa.text(_ENTRIES), {"batch": batch_id, "source": SOURCE}):
        postings[row.key].wanted[row.entry_key] = msgspec.json.decode(row.body)
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
    """Links whose content nobody knows (the answer was lost, TIMS had the entry): TIMS is asked what it says."""
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
    """Reversals of entries that should be different, or should not be."""
    made = []
    for first, link in one.standing().items():
        if first in one.wanted and content_of(one.wanted[first]) == link.content_hash:
            continue
        why = "it is corrected" if first in one.wanted else "its document has no such entry any more"
        body = {"Reason": f"Mirror of {link.source_key}: {why}"}
        path = f"{ENTRY.path}/{segment(link.target_id)}/reverse"
        made.append(_document(flow, one, link.source_key + REVERSAL_SUFFIX, body, content="mirror", path=path))
    return made


def _entries(flow: str, one: _Posting) -> list[Document]:
    """Entries that are missing."""
    standing = one.standing()
    return [
        _document(flow, one, one.next_key(key), entry, content=content_of(entry))
        for key, entry in one.wanted.items()
        if key not in standing
    ]


def _document(
    flow: str, one: _Posting, key: str, body: Mapping[str, Any], *, content: str, path: str | None = None
) -> Document:
    whole = {"ExternalReference": key, "Source": SOURCE, **body}
    return Document(key, msgspec.json.encode(whole), key, content, {"other_key": owner(flow, one.key)}, path)


def _refuse(
    refused: dict[str, list[dict]],
    flow: str,
    postings: Iterable[_Posting],
    errors: Mapping[str, RecordRejected],
    prefix: str,
) -> None:
    """Dead-letter reasons of documents with an entry that TIMS refuses."""
    for one in postings:
        keys = {one.next_key(key) for key in one.wanted} | {
            link.source_key + REVERSAL_SUFFIX for link in one.links.values()
        }
        for key in sorted(keys & errors.keys()):
            refused.setdefault(one.key, []).extend(reasons(errors[key], do=ADVICE, prefix=prefix))
