"""Bodies: frames of target documents -> JSON, a column at a time.

In: a contract's document; a frame of its heads, and one of its lines. Out: the JSON of each head. What is missing is
absent; an object of which nothing is given is absent too. Never: a float; a loop per row.
"""

from __future__ import annotations

import msgspec
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from crossdock.mapping.contracts import Document, Field
from crossdock.mapping.frames import CENT, ROW

_ESCAPED = r'["\\\x00-\x1f]'  # what stands in JSON text behind a backslash
_UNITS = {2: CENT, 4: 1}  # of a frame, in the last decimal place that is written
_EMPTY = pa.scalar(b"", pa.binary())
NOTHING = pa.scalar(None, pa.binary())


def bodies(
    document: Document,
    header: pd.DataFrame,
    lines: pd.DataFrame | None = None,
    children: str = "",
    *,
    nulls: bool = False,
) -> list[bytes]:
    """The JSON of each row of `header`: its columns are target paths, written in their order. `lines`: rows sorted by
    `_row`, whose other columns are paths of the list `children`, which comes last. `nulls`: what is missing is written
    as null, for a target where that takes a value away."""
    if header.empty:
        return []
    members = _members(document, header, "", nulls)
    if lines is not None:
        field = document.fields[children]
        assert field.items
        objects = _objects(_members(field.items, lines.drop(columns=ROW), "", nulls), len(lines))
        listed = _lists(objects, lines[ROW], len(header))
        if field.required and not field.min_items:
            listed = listed.fill_null(b"[]")
        members.append(_member(children, listed, "", nulls))
    return _objects(members, len(header)).to_pylist()


def lists(document: Document, frame: pd.DataFrame, rows: pd.Series, count: int) -> pd.Series:
    """The JSON of a list for each of `count` rows: `frame` holds its entries, whose columns are paths of `document`,
    `rows` the row that each belongs to, in their order. Missing where a row has none."""
    objects = _objects(_members(document, frame, "", nulls=False), len(frame))
    return pd.Series(pd.array(_lists(objects, rows, count).cast(pa.string()), dtype="str"))


def _members(document: Document, frame: pd.DataFrame, prefix: str, nulls: bool) -> list[pa.Array]:
    """`,"Name":value` of each field below `prefix`, null where there is no value. Objects stand where their first part
    stands."""
    made: list[pa.Array] = []
    seen: set[str] = set()
    for path in frame.columns:
        name, dot, _ = path.removeprefix(prefix).partition(".")
        if not path.startswith(prefix) or name in seen:
            continue
        seen.add(name)
        if dot:
            parts = [each for each in frame.columns if each.startswith(f"{prefix}{name}.")]
            given = pa.array(frame[parts].notna().any(axis=1).to_numpy(dtype=bool))
            objects = _objects(_members(document, frame[parts], f"{prefix}{name}.", nulls), len(frame))
            made.append(_member(name, pc.if_else(given, objects, NOTHING), "", nulls))
        else:
            quote, values = _written(frame[path], document.fields[path])
            made.append(_member(name, values, quote, nulls))
    return made


def _member(name: str, values: pa.Array, quote: str, nulls: bool) -> pa.Array:
    """Null stays null, or is written as such."""
    made = _joined(f',"{name}":{quote}'.encode(), values, quote.encode(), nulls="emit_null")
    return made.fill_null(f',"{name}":null'.encode()) if nulls else made


def _objects(members: list[pa.Array], count: int) -> pa.Array:
    """`{"Name":value,...}` of each of `count` rows."""
    if not count:
        return pa.array([], pa.binary())
    whole = _joined(*members, b"}")
    if all(each.null_count for each in members):  # rows of which nothing is given begin with no comma
        whole = pc.if_else(pc.equal(whole, b"}"), pa.scalar(b",}", pa.binary()), whole)
    return pc.binary_replace_slice(whole, 0, 1, b"{")  # in place of the first comma


def _lists(objects: pa.Array, rows: pd.Series, count: int) -> pa.Array:
    """`[{...},...]` of the rows of each head; null where it has none."""
    ends = np.cumsum(np.bincount(rows.to_numpy(dtype="int64"), minlength=count))
    offsets = np.concatenate(([0], ends)).astype("int32")
    joined = pc.binary_join(pa.ListArray.from_arrays(pa.array(offsets), objects), b",")
    return pc.if_else(pa.array(np.diff(offsets) > 0), _joined(b"[", joined, b"]"), NOTHING)


def _joined(*parts: pa.Array | bytes, nulls: str = "replace") -> pa.Array:
    """The parts of each row behind one another."""
    given = [pa.scalar(part, pa.binary()) if isinstance(part, bytes) else part for part in parts]
    return pc.binary_join_element_wise(*given, _EMPTY, null_handling=nulls, null_replacement=b"")


def _written(values: pd.Series, field: Field) -> tuple[str, pa.Array]:
    """What stands around each value, and the value as JSON text; null where it is missing."""
    if field.money:
        return '"' if field.places else "", _amounts(values, field.places or 4)
    if field.type == "integer":
        return "", pa.array(values.astype("Int64"), pa.int64(), from_pandas=True).cast(pa.string()).cast(pa.binary())
    if field.type == "boolean":
        given = pa.array(values.astype("boolean"), pa.bool_(), from_pandas=True)
        return "", pc.if_else(given, pa.scalar(b"true", pa.binary()), pa.scalar(b"false", pa.binary()))
    texts = pa.array(values.astype("str"), pa.string(), from_pandas=True)
    return ("", texts.cast(pa.binary())) if field.type == "array" else ('"', _texts(texts))


def _amounts(values: pd.Series, places: int) -> pa.Array:
    """Scaled integers as decimals of so many places, halves rounded away from zero."""
    missing = values.isna().to_numpy(dtype=bool)
    whole = values.fillna(0).to_numpy(dtype="int64")
    unit = _UNITS[places]
    whole = np.sign(whole) * ((np.abs(whole) + unit // 2) // unit)
    words = np.empty((len(whole), 2), dtype="int64")
    words[:, 0], words[:, 1] = whole, whole >> 63
    validity = pa.py_buffer(np.packbits(~missing, bitorder="little").tobytes()) if missing.any() else None
    decimals = pa.Array.from_buffers(pa.decimal128(19, places), len(whole), [validity, pa.py_buffer(words)])
    return decimals.cast(pa.string()).cast(pa.binary())


def _texts(texts: pa.Array | pa.ChunkedArray) -> pa.Array:
    """Texts as they stand between quotes. Few hold a character that must be escaped."""
    texts = texts.combine_chunks() if isinstance(texts, pa.ChunkedArray) else texts
    odd = pc.fill_null(pc.match_substring_regex(texts, _ESCAPED), False)
    plain = texts.cast(pa.binary())
    if not pc.any(odd).as_py():
        return plain
    escaped = [msgspec.json.encode(text)[1:-1] for text in texts.filter(odd).to_pylist()]
    return pc.replace_with_mask(plain, odd, pa.array(escaped, pa.binary()))
