"""Ledger: posted documents -> journal entries in TIMS, by the posting table (config/posting.yaml).

What makes it special: one document has several entries, posted means final, and the table may be mended. An entry that
should be different, or should not be, gets its exact mirror (its key + ":rev") and the right one follows under a key
with a version; an entry that is right is left alone, so that replaying a month posts nothing new.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pandas as pd
import sqlalchemy as sa

from crossdock.errors import ConfigError, RecordRejected, Transient
from crossdock.flow import SOURCE, Flow, RecordKey, Resource, Staged
from crossdock.flows import ledger_documents as documents
from crossdock.flows import unreadable
from crossdock.flows.documents import among, nothing_to_tell
from crossdock.flows.ledger_documents import Company, Finder
from crossdock.keys import segment
from crossdock.mapping import problems
from crossdock.mapping.frames import CENT, ROW, Frames
from crossdock.mapping.parse import Parsed
from crossdock.reference import tims
from crossdock.rules import accounts as account_names
from crossdock.rules import posting, posting_table
from crossdock.rules.dates import posting_dates
from crossdock.steps.load import Document, Kind, create, reasons, record_outcomes
from crossdock.store import batches, database
from crossdock.store.tables import (
    ops_link,
    raw_ledger_adjustments,
    raw_ledger_captures,
    raw_ledger_credit_memos,
    raw_ledger_invoices,
    raw_ledger_payments,
    raw_ledger_settlements,
    ref_account,
    ref_company,
    ref_period,
    ref_sales_order,
    ref_shipment,
    stage_posting,
    stage_posting_line,
)

if TYPE_CHECKING:
    from crossdock.runtime import Runtime

REVERSAL_SUFFIX = ":rev"
ADVICE = "Look at the document in TIMS and at its event in config/posting.yaml; mend one of them, then replay it."
VERSION = re.compile(r":v\d+$")


# ---- transform -----------------------------------------------------------------------------------------------------


def _transform(
    flow: str,
    document: str,
    find: Finder,
    connection: sa.Connection,
    parsed: Parsed,
    keys: Sequence[str],
    altered: Sequence[str | None],
) -> Staged:
    """The staged postings of a batch: each document with the lines of all its entries."""
    kept = pd.Series([keys[position] for position in parsed.kept], dtype="str")
    names = account_names.load()
    names.hold_against(set(connection.scalars(sa.select(ref_account.c.id))))
    table = posting_table.load(names)
    facts = find(connection, parsed.frames, company(connection))
    posted = posting.apply(table, names, document, facts.header, facts.parts)
    waits = pd.Series(np.nan, index=kept.index, dtype="str") if facts.waits is None else facts.waits
    waits = waits.mask(posted.nothing.notna(), np.nan).astype("str")
    # A document that has no entries any more, but had some: they are mirrored.
    skipped = posted.nothing.notna() & ~kept.isin(_documents_with_entries(connection, flow, kept))
    header = pd.DataFrame(
        {
            "key": kept,
            "state": _states(skipped, waits),
            "reason": posted.nothing.where(skipped, waits).astype("str"),
            "DocumentType": table.kinds[document].type,
            "DocumentID": posting.fill(table.kinds[document].id, facts.header, np.arange(len(kept))),
            "sales_order_id": _or_missing(facts.orders, kept.index),
            "shipment_id": _or_missing(facts.shipments, kept.index),
        }
    )
    open_ = (header["state"] == "staged").to_numpy()
    found = problems.make(
        np.flatnonzero(posted.untaken & open_),
        field="",
        rule="no_posting_rule",
        message="No event of config/posting.yaml takes this document.",
        do="Add the event that posts it, or say under `nothing` why it is not posted; then replay it.",
    )
    lines = posted.lines[open_[posted.lines[ROW].to_numpy()]].reset_index(drop=True)
    header, found = unreadable.joined(header, found, parsed, keys)
    return Staged(header, _staged_lines(connection, kept, lines), found)


def company(connection: sa.Connection) -> Company:
    row = connection.execute(sa.select(ref_company.c.time_zone, ref_company.c.base_currency)).one_or_none()
    if row is None:
        raise ConfigError(
            "TIMS's company has not been read.", do="Look at `crossdock dead-letters list --flow reference`."
        )
    return Company(row.time_zone, row.base_currency)


def _states(skipped: pd.Series, waits: pd.Series) -> pd.Series:
    state = pd.Series("staged", index=skipped.index, dtype="str")
    return state.mask(waits.notna(), "waiting").mask(skipped, "left_out")


def _or_missing(values: pd.Series | None, index: pd.Index) -> pd.Series:
    return pd.Series(np.nan, index=index, dtype="str") if values is None else values.astype("str")


def _staged_lines(connection: sa.Connection, keys: pd.Series, lines: pd.DataFrame) -> pd.DataFrame:
    """Lines in the columns of the stage table, on days that take postings."""
    periods = database.copy_out(
        connection,
        sa.select(ref_period.c.id, sa.cast(ref_period.c.start_date, sa.Text).label("start_date"), ref_period.c.status),
    )
    day, _ = posting_dates(lines["PostingDate"], periods)
    original = lines["EventDate"].where(lines["EventDate"] != day).astype("str")
    rows = lines[ROW].to_numpy()
    first = np.searchsorted(rows, rows)  # rows are sorted
    return lines.drop(columns=[ROW, "EventDate"]).assign(
        key=keys.array.take(rows),
        position=np.arange(len(rows)) - first,
        PostingDate=day,
        OriginalEventDate=original,
    )


def _documents_with_entries(connection: sa.Connection, flow: str, keys: pd.Series) -> set[str]:
    """Which documents have had entries of ours."""
    wanted = [_owner(flow, key) for key in keys]
    found = connection.scalars(
        sa.select(ops_link.c.other_key).where(ops_link.c.entity == ENTRY.entity, among(ops_link.c.other_key, wanted))
    )
    return {owner.removeprefix(_owner(flow, "")) for owner in found}


def _owner(flow: str, key: str) -> str:
    """The document of an entry, as links name it."""
    return f"{flow}:{key}"


def _waiting(connection: sa.Connection, *, need_shipment: bool) -> Sequence[str]:
    """Keys of waiting documents whose order, and shipment where they have one, are there now."""
    table = stage_posting
    have_order = sa.exists().where(ref_sales_order.c.id == table.c.sales_order_id)
    have_parcel = sa.or_(table.c.shipment_id.is_(None), sa.exists().where(ref_shipment.c.id == table.c.shipment_id))
    here = sa.and_(have_order, have_parcel) if need_shipment else have_order
    kind = "Invoice" if need_shipment else "CreditMemo"
    return connection.scalars(
        sa.select(table.c.key)
        .where(table.c.state == "waiting", table.c.DocumentType == kind, here)
        .order_by(table.c.key)
    ).all()


def _waiting_captures(connection: sa.Connection) -> Sequence[str]:
    table = stage_posting
    return connection.scalars(
        sa.select(table.c.key).where(table.c.state == "waiting", table.c.DocumentType == "SalesOrder")
    ).all()


# ---- check ---------------------------------------------------------------------------------------------------------


def enrich_for_checks(connection: sa.Connection, frames: Frames) -> Frames:
    """Staged postings with what the suite looks at: sums, shared keys, the accounts' and periods' states in TIMS."""
    header, lines = frames.header.copy(), frames.lines.copy()
    header["imbalance"] = posting.imbalances(lines, len(header))
    per_entry = lines.groupby([ROW, "EntryKey"]).agg(lines=("Event", "size"), events=("Event", "nunique"))
    per_entry = per_entry.reset_index()
    per_entry["shared"] = (per_entry["events"] > 1) | per_entry["EntryKey"].duplicated(keep=False)
    by_document = per_entry.groupby(ROW)
    for name, values, none in (
        ("shared_keys", by_document["shared"].sum(), 0),
        ("most_lines", by_document["lines"].max(), 2),
        ("fewest_lines", by_document["lines"].min(), 2),
    ):
        header[name] = values.reindex(range(len(header)), fill_value=none).to_numpy(dtype=np.int64)
    chart = dict(connection.execute(sa.select(ref_account.c.id, ref_account.c.blocked)).all())
    lines["account_status"] = (
        lines["AccountCode"]
        .map({code: "blocked" if blocked else "open" for code, blocked in chart.items()})
        .astype("str")
    )
    periods = dict(connection.execute(sa.select(ref_period.c.id, ref_period.c.status)).all())
    lines["period_status"] = lines["PostingDate"].str.slice(0, 7).map(periods).astype("str")
    debit, credit = (lines[side].fillna(0).to_numpy(dtype=np.int64) for side in ("Debit", "Credit"))
    lines["sides"] = (debit > 0).astype(np.int64) + (credit > 0)
    lines["broken_cents"] = ((debit % CENT != 0) | (credit % CENT != 0)).astype(np.int64)
    return Frames(header, lines)


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


def _find_entries(runtime: Runtime, keys: Sequence[str]) -> dict[str, str]:
    found = runtime.tims.find("gl/entries", ExternalReference=list(keys), Source=SOURCE)
    return {entry["ExternalReference"]: entry["EntryID"] for entry in found}


ENTRY = Kind("gl_entry", "gl/entries", "EntryID", _find_entries)


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


def _load(flow_name: str, runtime: Runtime, batch_id: int) -> None:
    """Mirrors what should not stand, then posts what is missing; one bulk for all documents of the batch."""
    flow = FLOWS[flow_name]
    with runtime.engine.begin() as connection:
        batch = batches.get(connection, batch_id)
        postings = _read_postings(connection, flow_name, batch_id)
    _compare_unknown(runtime, flow_name, postings)
    mirrors = [document for one in postings for document in _mirrors(flow_name, one)]
    refused: dict[str, list[dict]] = {}
    problem: Transient | None = None
    try:
        undone = create(runtime, flow, batch_id, ENTRY, mirrors)
        _refuse(refused, flow_name, postings, undone.refused, "Its old entry cannot be mirrored: ")
        _see_links(runtime, flow_name, postings)
        entries = [document for one in postings if one.key not in refused for document in _entries(flow_name, one)]
        made = create(runtime, flow, batch_id, ENTRY, entries)
        _refuse(refused, flow_name, postings, made.refused, "Its entry cannot be posted: ")
    except Transient as error:  # what did go through is linked: settle it, then let the task be tried again
        problem = error
    _see_links(runtime, flow_name, postings)
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
    owners = {_owner(flow, key): posting for key, posting in postings.items()}
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
    return Document(key, msgspec.json.encode(whole), key, content, {"other_key": _owner(flow, one.key)}, path)


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


# ---- flows ---------------------------------------------------------------------------------------------------------


class _Line(msgspec.Struct):
    Source: str
    SettlementID: str
    LineNo: str
    BookedAt: str


_line = msgspec.json.Decoder(_Line)


def _read_line_key(record: msgspec.Raw) -> RecordKey:
    line = _line.decode(record)
    return RecordKey(f"{line.Source}:{line.SettlementID}:{line.LineNo}", line.BookedAt)


_TIMING: dict[str, Any] = {"overlap": timedelta(minutes=1), "lag": timedelta(seconds=2)}
_BASE = (tims.COMPANY, tims.ACCOUNTS, tims.PERIODS)
# Children before parents: whatever a document names has been read before the document itself.
_SOLD = (*_BASE, tims.SHIPMENTS, tims.SALES_ORDERS)


# What the posting table calls the documents of each flow, and what finds out about them.
DOCUMENTS: dict[str, tuple[str, Finder]] = {
    "ledger_invoices": ("invoice", documents.invoices),
    "ledger_credit_memos": ("credit_memo", documents.credit_memos),
    "ledger_adjustments": ("adjustment", documents.adjustments),
    "ledger_settlements": ("settlement_line", documents.settlement_lines),
    "ledger_payments": ("payment", documents.payments),
    "ledger_captures": ("sales_order", documents.captures),
}


def _flow(
    name: str, title: str, source: Resource, needs: tuple[Resource, ...], lines: str = "", requeue: Any = None
) -> Flow:
    return Flow(
        name=name,
        title=title,
        entity="posting",
        source=source,
        reference=needs,
        lines_path=lines,
        stage=stage_posting,
        stage_lines=stage_posting_line,
        mappings=(),
        transform=partial(_transform, name, *DOCUMENTS[name]),
        suite="posting",
        enrich_for_checks=enrich_for_checks,
        load=partial(_load, name),
        confirm=nothing_to_tell,
        requeue=requeue,
    )


def _tims(path: str, raw: sa.Table, document: str, id_field: str) -> Resource:
    return Resource("tims", path, raw, tims.read_key_of(id_field), document, ids=(id_field,), **_TIMING)


INVOICES = _flow(
    "ledger_invoices", "Ledger of invoices",
    _tims("ar/invoices", raw_ledger_invoices, "Invoice", "InvoiceID"), _SOLD, "Lines",
    partial(_waiting, need_shipment=True),
)  # fmt: skip
CREDIT_MEMOS = _flow(
    "ledger_credit_memos", "Ledger of credit memos",
    _tims("ar/credit-memos", raw_ledger_credit_memos, "CreditMemo", "CreditMemoID"), _SOLD, "Lines",
    partial(_waiting, need_shipment=False),
)  # fmt: skip
ADJUSTMENTS = _flow(
    "ledger_adjustments", "Ledger of stock adjustments",
    _tims("inventory/adjustments", raw_ledger_adjustments, "Adjustment", "AdjustmentID"),
    (*_BASE, tims.ADJUSTMENTS),
)  # fmt: skip
SETTLEMENTS = _flow(
    "ledger_settlements", "Ledger of settlements",
    Resource("settlement_ledger", "settlement_lines", raw_ledger_settlements, _read_line_key, "SettlementLine",
             overlap=timedelta(minutes=1), lag=timedelta(seconds=2), ids=("Source", "SettlementID", "LineNo")),
    _BASE,
)  # fmt: skip
PAYMENTS = _flow(
    "ledger_payments", "Ledger of payments",
    _tims("ar/payments", raw_ledger_payments, "Payment", "PaymentID"), (*_BASE, tims.SALES_ORDERS),
)  # fmt: skip
CAPTURES = _flow(
    "ledger_captures", "Ledger of prepaid orders",
    _tims("sales-orders", raw_ledger_captures, "SalesOrder", "SalesOrderID"),
    (*_BASE, tims.SHIPMENTS, tims.INVOICES), "LineItems", _waiting_captures,
)  # fmt: skip

FLOWS = {flow.name: flow for flow in (INVOICES, CREDIT_MEMOS, ADJUSTMENTS, SETTLEMENTS, PAYMENTS, CAPTURES)}
