"""Files of stock movements: our own CSV, and Amazon's inventory ledger.

In: a file of the inbox and its source (config/stock.yaml). Out: one JSON record per movement by our own contract
(include/contracts/crossdock.yaml, StockMovement). What cannot be read becomes a record that says why, so that it is
refused by name and not forgotten. Never: a movement that TIMS knows already (Amazon's shipments and returns); one of
unsellable units, which are no stock of TIMS.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any, Literal

import msgspec

from crossdock import config
from crossdock.rules.movements import NOTHING
from crossdock.settings import config_dir
from crossdock.systems import deposits, times
from crossdock.systems.inbox import File, FileList
from crossdock.systems.settlements import table
from crossdock.systems.settlements.shape import Refused
from crossdock.systems.settlements.values import moment

FILE = "stock.yaml"
KNOWN_EVENTS = ("Shipments", "CustomerReturns")  # they reach TIMS as orders and returns
EVENT_TYPES = (*KNOWN_EVENTS, "Adjustments", "Receipts", "VendorReturns", "WhseTransfers")
UNSELLABLE = (
    "UNSELLABLE", "CUSTOMER_DAMAGED", "WAREHOUSE_DAMAGED", "CARRIER_DAMAGED", "DISTRIBUTOR_DAMAGED", "DEFECTIVE",
    "EXPIRED",
)  # fmt: skip
WHOLE = "file:"  # begins the Reference of the record that stands for a whole file
RETRY_ADVICE = "Correct the file and put it into the inbox again, then dismiss this."


class Source(deposits.Source, frozen=True, kw_only=True):
    """One source of movements; see the file for what each word means."""

    format: Literal["csv", "amazon_ledger"]
    location: str = ""

    def problems(self) -> Iterable[tuple[str, str]]:
        yield from super().problems()
        if self.format == "amazon_ledger" and not self.location:
            yield "", "it does not say its `location`; name the TIMS location of the marketplace's goods"


class Sources(config.Struct, frozen=True):
    """The whole file."""

    sources: dict[deposits.Name, Source] = msgspec.field(default_factory=dict)


class Movement(msgspec.Struct, omit_defaults=True):
    """StockMovement of the contract; what is empty is absent. A quantity that is no number stays as it is written."""

    Source: str
    Reference: str
    File: str
    FileModifiedAt: str
    FileDigest: str = ""
    OccurredAt: str = ""
    SKU: str = ""
    LocationID: str = ""
    Quantity: int | str = ""
    Reason: str = ""
    Memo: str = ""
    RefusedFor: str = ""
    RefusedSays: str = ""
    RefusedDo: str = ""


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Movement).decode


def sources() -> config.File[Sources]:
    return config.read(config_dir() / FILE, Sources)


def load() -> dict[str, Source]:
    """All sources by name. Raises ConfigError naming the source and the nearest right word."""
    listed = config.load(config_dir() / FILE, Sources).sources
    return {name: msgspec.structs.replace(one, folder=one.folder or f"stock/{name}") for name, one in listed.items()}


def read(file: File) -> Iterator[bytes]:
    """The movements of one file; of a file without any, or one that cannot be read, a record that says so."""
    source = load()[file.source]
    modified = times.write(file.modified)
    whole = Movement(file.source, f"{WHOLE}{file.name}"[:60], file.name, modified)
    try:
        if file.refused:
            raise Refused(*file.refused)
        found = list(READERS[source.format](file, source, modified))
    except Refused as refused:
        found = [msgspec.structs.replace(whole, **_refusal(refused))]
    for movement in found or [msgspec.structs.replace(whole, OccurredAt=modified, Quantity=0, Reason=NOTHING)]:
        yield _encode(msgspec.structs.replace(movement, FileDigest=file.digest))


def _refusal(refused: Refused) -> dict[str, str]:
    return {"RefusedFor": refused.rule, "RefusedSays": refused.message, "RefusedDo": refused.do}


COLUMNS = ("reference", "occurredat", "sku", "locationid", "quantity", "reason")


def read_csv(file: File, source: Source, modified: str) -> Iterator[Movement]:
    """Our own format: one movement a row. A Reference that stands there twice is refused both times."""
    rows = table.read(file.data, ",", COLUMNS, quotes=True, same={}, encoding=source.encoding).to_dict("records")
    count = Counter(row["reference"] for row in rows)
    for row in rows:
        reference, memo = row["reference"], row.get("memo", "")
        made = Movement(
            file.source, reference or f"row:{row['_row']}", file.name, modified, SKU=row["sku"],
            LocationID=row["locationid"], Quantity=_whole(row["quantity"]), Reason=row["reason"], Memo=memo,
        )  # fmt: skip
        if not reference or count[reference] > 1:
            what = f'The Reference "{reference}" stands in several rows' if reference else "There is no Reference"
            message = f"{what} of the file {file.name}, row {row['_row']}."
            yield msgspec.structs.replace(made, **_refusal(Refused("ambiguous_reference", message, RETRY_ADVICE)))
        else:
            yield _dated(made, row["occurredat"], source)


EVENTS = ("date", "msku", "event type", "reference id", "quantity", "disposition", "reason")


def read_ledger(file: File, source: Source, modified: str) -> Iterator[Movement]:
    """Amazon's inventory ledger. Its rows have no number of their own: what a row says is its reference, and which one
    of several that say the same; a later file that holds the same days says the same again."""
    rows = table.read(file.data, "\t", EVENTS, quotes=None, same={}, encoding=source.encoding).to_dict("records")
    _understood(rows)
    seen: Counter[str] = Counter()
    for row in rows:
        event, disposition = row["event type"], row["disposition"].upper()
        if event in KNOWN_EVENTS or disposition in UNSELLABLE:
            continue
        stated = "|".join(row.get(name, "") for name in (*EVENTS, "fnsku", "fulfillment center"))
        seen[stated] += 1
        digest = hashlib.sha256(f"{stated}|{seen[stated]}".encode()).hexdigest()[:12]
        reason = row["reason"] if event == "Adjustments" and row["reason"] else event
        made = Movement(
            file.source, f"{row['reference id'][:40]}:{digest}", file.name, modified, SKU=row["msku"],
            LocationID=source.location, Quantity=_whole(row["quantity"]), Reason=reason,
            Memo=" ".join(part for part in (event, row["reference id"], row.get("fulfillment center", "")) if part),
        )  # fmt: skip
        if disposition not in ("SELLABLE", ""):
            message = (
                f'Nobody knows the disposition "{row["disposition"]}" of row {row["_row"]} of the file {file.name}.'
            )
            do = "Ask Amazon whether such units may be sold. Enter the movement by hand, then dismiss this."
            yield msgspec.structs.replace(made, **_refusal(Refused("unknown_disposition", message, do)))
        else:
            yield _dated(made, row["date"], source)


def _understood(rows: list[dict[str, Any]]) -> None:
    """Raises Refused for a file of which no row has an event that this format knows: it would look like a quiet day."""
    events = sorted({row["event type"] for row in rows})
    if events and not set(events) & set(EVENT_TYPES):
        raise Refused(
            "unknown_words",
            f"No row has an event that is known; the file has {', '.join(events[:5])}. "
            f"Known are {', '.join(EVENT_TYPES)}.",
            "Download the report in English and in detail view, as it is, and put it into the inbox again; "
            "if Amazon has renamed its events, tell an engineer.",
        )


_COUNT = re.compile(r"[+-]?(?:\d+|\d{1,3}(?:,\d{3})+)(?:\.0+)?")


def _whole(text: str) -> int | str:
    """A whole number; what is none, or may be one with a decimal comma, stays as it is written, for a person to see."""
    plain = text.replace("\u2212", "-")
    return int(plain.partition(".")[0].replace(",", "")) if _COUNT.fullmatch(plain) and plain.isascii() else text


def _dated(movement: Movement, text: str, source: Source) -> Movement:
    try:
        return msgspec.structs.replace(movement, OccurredAt=moment(text, source.zone, day_first=source.day_first))
    except Refused as refused:
        return msgspec.structs.replace(movement, **_refusal(Refused(refused.rule, refused.message, RETRY_ADVICE)))


READERS: Mapping[str, Callable[[File, Source, str], Iterator[Movement]]] = {
    "csv": read_csv,
    "amazon_ledger": read_ledger,
}


def key(record: bytes) -> str:
    """source/reference."""
    movement = _decode(record)
    return f"{movement.Source}/{movement.Reference}"


def happened(record: bytes) -> datetime:
    """When the goods moved; of what cannot be read, when its file was written."""
    movement = _decode(record)
    return times.read(movement.OccurredAt or movement.FileModifiedAt)


FILES = FileList(
    folders=lambda: {name: source.folder for name, source in load().items()}, read=read, key=key, happened=happened
)
