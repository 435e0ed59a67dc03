"""Settlement files of marketplaces: one reader per format behind one shape.

In: a file of the inbox and the source that deposited it (config/payouts.yaml). Out: one JSON record by our own contract
(include/contracts/crossdock.yaml, Settlement). A file that cannot be read becomes a record that says why, so that it is
refused by name and not forgotten. Never: half a file; an amount as a float; a guess at what a number means.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from decimal import Decimal

import msgspec

from crossdock.mapping.frames import CENT, written
from crossdock.systems import times
from crossdock.systems.inbox import File, FileList
from crossdock.systems.settlements import amazon, ebay, sources, walmart
from crossdock.systems.settlements.shape import RETRY_ADVICE, Refused, Statement
from crossdock.systems.settlements.sources import Source

READERS: Mapping[str, Callable[[bytes, Source], Statement]] = {
    "amazon_v2": amazon.read_v2,
    "amazon_v1": amazon.read_v1,
    "ebay": ebay.read,
    "walmart": walmart.read,
}


class Line(msgspec.Struct, omit_defaults=True):
    """SettlementFileLine of the contract; what is empty is absent."""

    LineNo: str
    Amount: Decimal
    PostedAt: str
    TransactionType: str = ""
    AmountType: str = ""
    AmountDescription: str = ""
    OrderRef: str = ""
    MerchantOrderRef: str = ""
    SKU: str = ""


class Settlement(msgspec.Struct, omit_defaults=True):
    """Settlement of the contract; what is empty is absent."""

    Source: str
    File: str
    FileModifiedAt: str
    FileDigest: str
    Format: str
    Channel: str = ""
    SettlementID: str = ""
    SettlementGroup: str = ""
    StartDate: str = ""
    EndDate: str = ""
    DepositDate: str = ""
    CurrencyCode: str = ""
    TotalAmount: Decimal | None = None
    RefusedFor: str = ""
    RefusedSays: str = ""
    RefusedDo: str = ""
    RefusedValue: str = ""
    Lines: list[Line] = []


_encode = msgspec.json.Encoder(decimal_format="number").encode


class _Slots(msgspec.Struct):
    Source: str
    File: str
    FileModifiedAt: str
    EndDate: str = ""
    DepositDate: str = ""


_slots = msgspec.json.Decoder(_Slots)


def read(file: File) -> Iterator[bytes]:
    """The file as one record."""
    source = sources.of(file.source)
    record = Settlement(file.source, file.name, times.write(file.modified), file.digest, source.format, source.channel)
    try:
        if file.refused:
            raise Refused(*file.refused)
        statement = READERS[source.format](file.data, source)
        if statement.currency and statement.currency != source.currency:
            raise Refused(
                "wrong_currency",
                f"The file is in {statement.currency}; {file.source} is paid out in {source.currency}.",
                "Put it into the folder of the right source, or correct config/payouts.yaml.",
                statement.currency,
            )
        _whole(file.data, statement)
        _in_cents(statement)
        _fill(record, statement)
    except Refused as refused:
        record.RefusedFor, record.RefusedSays = refused.rule, refused.message
        record.RefusedDo, record.RefusedValue = refused.do, refused.value
    yield _encode(record)


def _whole(data: bytes, statement: Statement) -> None:
    """Raises Refused for a file that ends in the middle: its last line is open and its amounts lack something."""
    if not data.rstrip(b"\0 ").endswith((b"\n", b"\r")) and int(statement.lines["Amount"].sum()) != statement.total:
        raise Refused(
            "half_written",
            "The file ends in the middle of a line and its amounts do not add up: cut, or still being written.",
            RETRY_ADVICE,
        )


def _in_cents(statement: Statement) -> None:
    """Raises Refused for parts of a cent: no ledger takes them, and the rest of the settlement would stay behind."""
    for number, amount in zip(statement.lines["LineNo"], statement.lines["Amount"].tolist(), strict=True):
        if amount % CENT:
            raise Refused(
                "third_decimal",
                f"Line {number} is {written(amount)}; the ledger has two places.",
                "Fetch the file again from the marketplace, as it is; if it stays, let an accountant ask there.",
                written(amount),
            )


def _fill(record: Settlement, statement: Statement) -> None:
    record.SettlementID, record.CurrencyCode = statement.settlement_id, statement.currency
    if not statement.currency:
        raise Refused("no_currency", "No row names the currency.", RETRY_ADVICE)
    record.SettlementGroup = statement.group
    record.StartDate, record.EndDate, record.DepositDate = statement.start, statement.end, statement.deposit
    record.TotalAmount = _decimal(statement.total)
    lines = statement.lines
    names = Line.__struct_fields__
    amounts = [_decimal(amount) for amount in lines["Amount"].tolist()]
    columns = (amounts if name == "Amount" else lines[name].tolist() for name in names)
    record.Lines = [Line(*row) for row in zip(*columns, strict=True)]


def _decimal(units: int) -> Decimal:
    """Ten-thousandths as an amount; two places where the rest is 0."""
    whole, rest = divmod(units, 100)
    return Decimal(units).scaleb(-4) if rest else Decimal(whole).scaleb(-2)


def key(record: bytes) -> str:
    """source/file name: a file that comes again under its name is a newer version of the same record."""
    slots = _slots.decode(record)
    return f"{slots.Source}/{slots.File}"


def happened(record: bytes) -> datetime:
    """When the settlement ended; of one without a period, when it was paid; of a file that nobody can read, its own
    date."""
    slots = _slots.decode(record)
    return times.read(slots.EndDate or slots.DepositDate or slots.FileModifiedAt)


FILES = FileList(
    folders=lambda: {name: source.folder for name, source in sources.load().items()},
    read=read,
    key=key,
    happened=happened,
)
