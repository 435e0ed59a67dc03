"""From the bytes of a batch of documents to frames, exactly.

In: JSON documents as bytes and the schema they should follow. Out: `Frames` of the readable ones, one problem for each
reason why another is not. Never: a float, a crash because of one document, a value lost without a word.

pyarrow reads the whole batch by an explicit schema (decimals of 18 digits, 4 of them after the point). When it cannot,
the batch is halved until the documents that stop it stand alone; each of these is read by Python's own parser, which
knows what pyarrow does not (`5.0` is an integer, `1.00000` has no fifth decimal) or says what is wrong with it.

What this step decides is only what a frame cannot hold: types, more than four decimals, too many digits, a field given
twice, text that is no Unicode. Lengths, codes and ranges are for the checks, so that all reasons come together. A null,
an absent field and a field of an object that is null are the same: missing. An amount in quotes is read as that amount,
for its value is exact; so is a whole number of a metadata model. Fields that the contract does not name are left out,
as it asks, and named in `unknown`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal, InvalidOperation
from typing import Any, NamedTuple

import msgspec
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json as pajson
from pandas.api.extensions import ExtensionArray

from crossdock.mapping import contracts, problems
from crossdock.mapping.contracts import Document, Field
from crossdock.mapping.frames import LINE, PARENT, ROW, SCALE, Frames

_LARGEST_AMOUNT = 10**18 - 1  # what decimal128(18, 4) may hold, in ten-thousandths
_LARGEST_INTEGER = 2**63 - 1
_LONG_NUMBER = 100  # characters; a longer number is looked at closely
_DIGITS = np.frombuffer(b"0123456789", dtype=np.uint8)
_SAMPLE = 100  # documents looked at for fields that the contract does not name
_ADVICE = "Correct the payload and replay it, or ask Channel Advisor's support why it was sent like this."
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]{0,30})(?:\.[0-9]{1,30})?")  # in quotes, read as what it is
_ENCODER = msgspec.json.Encoder(decimal_format="number")


class Parsed(NamedTuple):
    """What came of a batch. `kept[i]` is the position in `payloads` of head row i; `problems` name documents by
    their position in `payloads` (column `_row`), for they have no head row; `unknown` are paths that the contract does
    not name. Lists inside a document and objects with free names are in no frame: who needs them reads `payloads`."""

    frames: Frames
    problems: pd.DataFrame
    kept: np.ndarray
    unknown: set[str]
    payloads: Sequence[bytes] = ()


def read_documents(payloads: Sequence[bytes], system: str, schema: str, lines: str = "OrderItems") -> Parsed:
    """Reads `payloads`, each one document of `schema`, whose list `lines` becomes the lines frame ("": it has none)."""
    document = contracts.document(system, schema)
    table, kept, found = _read(payloads, np.arange(len(payloads)), document)
    return Parsed(_frames(table, document, lines), problems.concat(found), kept, _unknown(payloads, document), payloads)


def read_lists(payloads: Sequence[bytes], document: Document, lines: str = "") -> Parsed:
    """Reads `payloads` by `document`, with all lists that it has: `lines` becomes the lines frame, the others are in
    `frames.lists`. What the document does not name is passed over."""
    table, kept, found = _read(payloads, np.arange(len(payloads)), document)
    frames = _frames(table, document, "")
    _nested(table, document, "", None, frames.lists)
    if lines:
        frames.lines = frames.lists.pop(lines).drop(columns=PARENT)
    return Parsed(frames, problems.concat(found), kept, set(), payloads)


# A frame cannot hold these, the database can.
_ONLY_FRAMES = ("too_many_decimals", "too_large", "given_twice")


def mapping_errors(payloads: Sequence[bytes], system: str, schema: str) -> dict[int, dict[str, str]]:
    """{position: field, rule, says} of documents in which a value is of another type than the contract's, or a
    list that must be there is null."""
    document = contracts.document(system, schema)
    table, kept, problems_ = _read(payloads, np.arange(len(payloads)), document)
    rows = problems.concat(problems_)
    rows = rows[~rows["rule"].isin(_ONLY_FRAMES)].drop_duplicates(ROW)
    found = {int(row[ROW]): {name: str(row[name]) for name in ("field", "rule", "says")}
             for row in rows.to_dict("records")}  # fmt: skip
    for path, field in document.fields.items():
        if field.type == "array" and "." not in path and field.required and not field.nullable:
            for position in kept[table[path].is_null().to_numpy()]:
                message = f"{path} is no list: it is missing."
                found.setdefault(int(position), {"field": path, "rule": "missing_field", "says": message})
    return found


# ---- bytes to Arrow ------------------------------------------------------------------------------------------------


def _read(
    payloads: Sequence[bytes], positions: np.ndarray, document: Document
) -> tuple[pa.Table, np.ndarray, list[pd.DataFrame]]:
    """One table of the readable payloads, their positions, and the problems of the others."""
    wanted = [payloads[position] for position in positions]
    joined = b"\n".join(wanted)
    table = _arrow(wanted, joined, document) if _suits(wanted, joined) else None
    if table is not None:
        return table, positions, []
    if len(positions) > 1:
        half = len(positions) // 2
        parts = [_read(payloads, part, document) for part in (positions[:half], positions[half:])]
        return (
            pa.concat_tables([table for table, _, _ in parts]),
            np.concatenate([kept for _, kept, _ in parts]),
            [problem for _, _, found in parts for problem in found],
        )
    mended, reasons = _read_alone(wanted[0], document)
    table = _arrow([mended], mended, document) if not reasons else None
    if table is not None:
        return table, positions, []
    nothing = document.arrow.empty_table()
    reasons = reasons or [_reason("", "unreadable", "", "The document cannot be read.")]
    return nothing, positions[:0], [_problem(positions[0], *reason) for reason in reasons]


def _suits(payloads: list[bytes], joined: bytes) -> bool:
    """Whether pyarrow can be trusted with the payloads: each is one line, an object, and holds nothing that it breaks
    at. What does not suit is read alone."""
    return (
        joined.count(b"\n") == max(0, len(payloads) - 1)
        and b"\r" not in joined
        and all(payload[:1] == b"{" and payload[-1:] == b"}" for payload in payloads)
        and not _negative_exponents(joined)
    )


def _arrow(payloads: list[bytes], joined: bytes, document: Document) -> pa.Table | None:
    """The payloads as a table with one row each; None when anything stands in the way."""
    schema = document.arrow
    if not payloads:
        return schema.empty_table()
    try:
        for payload in payloads:
            payload.decode()  # is it UTF-8? the reader does not look
        table = pajson.read_json(
            pa.BufferReader(joined),
            read_options=pajson.ReadOptions(block_size=max(1 << 20, 1 + max(map(len, payloads)))),
            parse_options=pajson.ParseOptions(explicit_schema=schema, unexpected_field_behavior="ignore"),
        )
    except (pa.ArrowInvalid, UnicodeDecodeError):
        return None
    return table if table.num_rows == len(payloads) and _fits(table.columns) else None


def _negative_exponents(joined: bytes) -> bool:
    """Whether a number like 1e-999 is among the members of an object: pyarrow's decimals reach beyond their table of
    powers for it, which ends the process or, worse, does not."""
    text = np.frombuffer(joined, dtype=np.uint8)
    signs = np.flatnonzero(text[2:] == ord("-")) + 1  # of the letter before the sign
    signs = signs[(text[signs] | 0x20) == ord("e")]
    for at in signs[np.isin(text[signs - 1], _DIGITS)].tolist():
        if joined[max(0, at - _LONG_NUMBER) : at].rstrip(b"0123456789.- \t\r\n")[-1:] in (b":", b""):
            return True
    return False


def _fits(columns: list[pa.ChunkedArray]) -> bool:
    """Whether every decimal has at most 18 digits (pyarrow does not always look) and no line is null."""
    for column in columns:
        for chunk in column.chunks:
            if not _chunk_fits(chunk):
                return False
    return True


def _chunk_fits(chunk: pa.Array) -> bool:
    if pa.types.is_struct(chunk.type):
        return all(_chunk_fits(chunk.field(number)) for number in range(chunk.type.num_fields))
    if pa.types.is_list(chunk.type):
        inner = pc.list_flatten(chunk)
        return inner.null_count == 0 and _chunk_fits(inner)
    if pa.types.is_decimal(chunk.type):
        low, high = _words(chunk)
        return bool((high == low >> 63).all()) and bool((np.abs(low) <= _LARGEST_AMOUNT).all())
    return True


def _words(chunk: pa.Array) -> tuple[np.ndarray, np.ndarray]:
    """Low and high int64 words of a decimal array, 0 where it is null."""
    words = np.frombuffer(chunk.buffers()[1], dtype=np.int64)[2 * chunk.offset : 2 * (chunk.offset + len(chunk))]
    words = words.reshape(-1, 2)
    if chunk.null_count:
        words = np.where(chunk.is_valid().to_numpy(zero_copy_only=False)[:, None], words, 0)
    return words[:, 0], words[:, 1]


# ---- one document alone --------------------------------------------------------------------------------------------

Reason = tuple[str, str, str, str]  # field, rule, value, sentence


class _Pairs(dict):
    """A JSON object that remembers which names it was given twice."""

    twice: tuple[str, ...] = ()


def _object(pairs: list[tuple[str, Any]]) -> _Pairs:
    made = _Pairs(pairs)
    if len(made) < len(pairs):
        names = [name for name, _ in pairs]
        made.twice = tuple(sorted({name for name in names if names.count(name) > 1}))
    return made


def _not_a_number(text: str) -> Any:
    raise ValueError(f"{text} is not a JSON number")


def _read_alone(payload: bytes, document: Document) -> tuple[bytes, list[Reason]]:
    """The document written anew so that pyarrow can read it, or the reasons why it cannot be read."""
    try:
        content = json.loads(
            payload.decode(),
            parse_float=Decimal,
            parse_int=Decimal,
            parse_constant=_not_a_number,
            object_pairs_hook=_object,
        )
    except UnicodeDecodeError as error:
        return b"", [
            _reason("", "not_unicode", "", f"The document is not UTF-8: byte {error.start} is {error.reason}.")
        ]
    except (ValueError, InvalidOperation, RecursionError) as error:
        return b"", [_reason("", "not_json", "", f"The document is not JSON: {error}.")]
    if not isinstance(content, dict):
        return b"", [_reason("", "not_an_object", "", "The document is JSON, but not an object.")]
    reasons: list[Reason] = []
    clean = _clean_object(content, document, "", "", reasons.append)
    return (b"" if reasons else _ENCODER.encode(clean)), reasons


def _clean_object(
    content: dict, document: Document, prefix: str, shown: str, report: Callable[[Reason], None]
) -> dict[str, Any]:
    """The known fields of an object with their values as the contract's types. `prefix`: its path in the document,
    `shown`: the path as people see it, with line numbers."""
    for name in getattr(content, "twice", ()):
        if prefix + name in document.fields:
            report(_reason(shown + name, "given_twice", "", "{field} is given twice in one object."))
    clean: dict[str, Any] = {}
    for name, value in content.items():
        field = document.fields.get(prefix + name)
        if field is not None and value is not None:
            clean[name] = _clean(value, field, document, shown + name, report)
    return clean


def _clean(value: Any, field: Field, document: Document, shown: str, report: Callable[[Reason], None]) -> Any:
    if field.type == "object":
        if isinstance(value, dict):
            return _clean_object(value, document, field.path + ".", shown + ".", report)
    elif field.type == "array":
        if isinstance(value, list):
            return list(_clean_items(value, field, shown, report))
    elif field.type == "boolean":
        if isinstance(value, bool):
            return value
    elif field.type in ("integer", "number", "double"):
        if isinstance(value, str) and (document.is_model or field.type != "integer") and _NUMBER.fullmatch(value):
            value = Decimal(value)
        if isinstance(value, Decimal):
            if field.type == "double":  # of any precision: the fifth decimal is rounded
                value = round(value, 4) if value.adjusted() < 18 else value
            return _clean_number(value, field, shown, report)
    elif isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            report(_reason(shown, "not_unicode", "", "{field} holds half a character (a lone surrogate)."))
        return value
    report(_reason(shown, "wrong_type", _as_json(value), f"{{field}} should be {_A[field.type]}, it is {{value}}."))
    return None


_A = {
    "object": "an object",
    "array": "a list",
    "boolean": "true or false",
    "integer": "a whole number",
    "number": "a number",
    "double": "a number",
    "text": "text",
    "moment": "text that holds a moment",
    "date": "text that holds a date",
}


def _clean_items(items: list, field: Field, shown: str, report: Callable[[Reason], None]) -> Iterator[Any]:
    for number, item in enumerate(items):
        where = f"{shown}[{number}]"
        if field.items is None:
            if isinstance(item, str):
                yield item
                continue
        elif isinstance(item, dict):
            yield _clean_object(item, field.items, "", where + ".", report)
            continue
        wanted = "an object" if field.items else "text"
        report(_reason(where, "wrong_type", _as_json(item), f"{{field}} should be {wanted}, it is {{value}}."))


def _clean_number(value: Decimal, field: Field, shown: str, report: Callable[[Reason], None]) -> int | Decimal | None:
    """int for an integer field, Decimal for a number, both as pyarrow reads them; None and a reason otherwise."""
    money = field.type in ("number", "double")
    places, largest = (4, _LARGEST_AMOUNT) if money else (0, _LARGEST_INTEGER)
    units = _units(value, places)
    if units is not None and abs(units) <= largest:
        return Decimal(units).scaleb(-places) if money else units
    if units is None and value.adjusted() < 18:
        words = "has more than four decimals: {value}." if money else "is no whole number: {value}."
        report(_reason(shown, "too_many_decimals" if money else "wrong_type", str(value), f"{{field}} {words}"))
    else:
        report(_reason(shown, "too_large", str(value), "{field} is {value}, which has too many digits."))
    return None


def _units(value: Decimal, places: int) -> int | None:
    """The number as a count of its `places`-th decimal, exactly; None where it has more decimals, or is beyond 10^18
    (before any arithmetic: 1e999999999 has no digits to count)."""
    sign, digits, exponent = value.as_tuple()
    if not any(digits):
        return 0
    shift = int(exponent) + places
    if value.adjusted() > 18 or shift < -len(digits):
        return None
    kept, dropped = (digits[:shift], digits[shift:]) if shift < 0 else (digits + (0,) * shift, ())
    if any(dropped):
        return None
    whole = int("".join(map(str, kept)) or "0")
    return -whole if sign else whole


def _as_json(value: Any) -> str:
    if isinstance(value, Decimal):
        return str(value)
    if isinstance(value, (dict, list)):
        return "an object" if isinstance(value, dict) else "a list"
    return json.dumps(value, ensure_ascii=False)


def _reason(field: str, rule: str, value: str, message: str) -> Reason:
    return field, rule, value, message


def _problem(position: int, field: str, rule: str, value: str, message: str) -> pd.DataFrame:
    return problems.make([position], field=field, rule=rule, value=value, message=message, do=_ADVICE)


# ---- Arrow to frames -----------------------------------------------------------------------------------------------


def _frames(table: pa.Table, document: Document, lines: str) -> Frames:
    if not lines:
        none = pd.DataFrame({ROW: pd.Series(dtype="int64"), LINE: pd.Series(dtype="int64")})
        return Frames(_columns(table, document), none)
    items = _combined(table[lines])
    header = _columns(table.drop_columns([lines]), document)
    parents = pc.list_parent_indices(items).to_numpy().astype(np.int64)
    counts = pc.fill_null(pc.list_value_length(items), 0).to_numpy().astype(np.int64)
    first = np.cumsum(counts) - counts
    flat = pc.list_flatten(items)
    inner = document.fields[lines].items
    if inner is None:
        raise ValueError(f"{lines} is no list of objects in {document.name}")
    below = _columns(pa.Table.from_batches([pa.RecordBatch.from_struct_array(flat)]), inner)
    below.insert(0, ROW, parents)
    below.insert(1, LINE, np.arange(len(parents), dtype=np.int64) - first[parents])
    return Frames(header, below)


def _nested(
    table: pa.Table, document: Document, prefix: str, rows: np.ndarray | None, found: dict[str, pd.DataFrame]
) -> None:
    """The frames of all lists of a table, and of the lists inside them. `rows`: the head row of each row of the
    table."""
    for path, one in document.fields.items():
        if one.items is None:
            continue
        items = _combined(table[path])
        parents = pc.list_parent_indices(items).to_numpy().astype(np.int64)
        counts = pc.fill_null(pc.list_value_length(items), 0).to_numpy().astype(np.int64)
        first = np.cumsum(counts) - counts
        below = pa.Table.from_batches([pa.RecordBatch.from_struct_array(pc.list_flatten(items))])
        heads = parents if rows is None else rows[parents]
        frame = _columns(below, one.items)
        frame.insert(0, ROW, heads)
        frame.insert(1, LINE, np.arange(len(parents), dtype=np.int64) - first[parents])
        frame.insert(2, PARENT, parents)
        found[prefix + path] = frame
        _nested(below, one.items, f"{prefix}{path}.", heads, found)


def _combined(column: pa.ChunkedArray) -> pa.Array:
    """A column in one piece."""
    items = column.combine_chunks()
    if isinstance(items, pa.ChunkedArray):  # combine_chunks of an empty column, of one too large for one chunk
        items = pa.concat_arrays(items.chunks) if items.num_chunks else pa.array([], items.type)
    return items


def _columns(table: pa.Table, document: Document) -> pd.DataFrame:
    """A table with its structs opened into columns with dotted names; lists stay behind."""
    while any(pa.types.is_struct(kind) for kind in table.schema.types):
        table = table.flatten()
    columns = {
        name: _array(column)
        for name, column in zip(table.column_names, table.columns, strict=True)
        if not pa.types.is_list(column.type)
    }
    return pd.DataFrame(columns, index=pd.RangeIndex(table.num_rows), copy=False)


def _array(column: pa.ChunkedArray) -> ExtensionArray:
    if pa.types.is_decimal(column.type):
        words = [_words(chunk)[0] for chunk in column.chunks]
        values = np.concatenate(words) if words else np.zeros(0, dtype=np.int64)
        valid = column.is_valid().to_numpy() if column.null_count else np.ones(len(values), dtype=bool)
        return pd.arrays.IntegerArray(np.ascontiguousarray(values), ~valid)
    if pa.types.is_floating(column.type):
        doubles = column.to_numpy()
        missing = np.isnan(doubles)
        return pd.arrays.IntegerArray(np.where(missing, 0, np.rint(doubles * SCALE)).astype(np.int64), missing)
    if pa.types.is_int64(column.type):
        return pd.Int64Dtype().__from_arrow__(column)
    if pa.types.is_boolean(column.type):
        return pd.BooleanDtype().__from_arrow__(column)
    return pd.array(column, dtype="str")


def _unknown(payloads: Sequence[bytes], document: Document) -> set[str]:
    """Paths in some of the documents that the contract does not name; lists as `Lines[]`."""
    found: set[str] = set()
    step = max(1, len(payloads) // _SAMPLE)
    for payload in payloads[::step]:
        try:
            content = msgspec.json.decode(payload)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            continue  # it is among the problems
        if isinstance(content, dict):
            _unknown_in(content, document, "", "", found)
    return found


def _unknown_in(content: dict, document: Document, prefix: str, shown: str, found: set[str]) -> None:
    for name, value in content.items():
        field = document.fields.get(prefix + name)
        if field is None:
            found.add(shown + name)
        elif isinstance(value, dict):
            _unknown_in(value, document, field.path + ".", shown + name + ".", found)
        elif isinstance(value, list) and field.items:
            for item in value[:3]:
                if isinstance(item, dict):
                    _unknown_in(item, field.items, "", f"{shown}{name}[].", found)
