"""What extract looks at of a record, and what of it is ours."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec


class _Slots(msgspec.Struct):
    """What extract looks at; a list cuts an order at 20 lines."""

    ChannelAdvisorOrderID: int
    UpdatedDate: str
    OrderItemCount: int
    OrderItems: list[msgspec.Raw]


order_decoder = msgspec.json.Decoder(_Slots)
_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])
# What `confirm` changes of an order. The mark moves no UpdatedDate, and means nothing to us.
MARK = "Exported"


def same_record(record: bytes | msgspec.Raw, lines: Sequence[msgspec.Raw]) -> bytes:
    """All of an order but the mark, with the lines that a list gives of it."""
    fields = _fields.decode(record)
    parts = [name.encode() + b":" + bytes(value) for name, value in fields.items() if name not in (MARK, "OrderItems")]
    return b"\n".join([*parts, *map(bytes, lines)])
