"""The parts of an order that extract reads, and the field that is ours."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec


class _Slots(msgspec.Struct):
    """The fields that extract reads. A list truncates an order at 20 lines."""

    ChannelAdvisorOrderID: int
    UpdatedDate: str
    OrderItemCount: int
    OrderItems: list[msgspec.Raw]


order_decoder = msgspec.json.Decoder(_Slots)
_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])
# The field that `confirm` changes. It does not move UpdatedDate, and we do not read it.
MARK = "Exported"


def same_record(record: bytes | msgspec.Raw, lines: Sequence[msgspec.Raw]) -> bytes:
    """The bytes by which an unchanged order is recognised: all but the mark, with the lines that the list gave."""
    fields = _fields.decode(record)
    parts = [name.encode() + b":" + bytes(value) for name, value in fields.items() if name not in (MARK, "OrderItems")]
    return b"\n".join([*parts, *lines])
