"""JSON looked at from outside: the same parts as a parser finds, whatever is inside."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossdock.systems import scan

TEXT = st.text(alphabet='ab"\\[]{},: \n\u00fc', max_size=6)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)


def deep(value: Any) -> int:
    if isinstance(value, dict):
        return 1 + max(map(deep, value.values()), default=0)
    return 1 + max(map(deep, value), default=0) if isinstance(value, list) else 0


@given(VALUES, st.sampled_from([None, 2]), st.booleans())
def test_parts_and_depth_are_those_that_a_parser_finds(value: Any, indent: int | None, ascii_: bool):
    data = json.dumps(value, indent=indent, ensure_ascii=ascii_).encode()
    assert scan.depth(data) == deep(value)
    assert [scan.deeper_than(data, limit) for limit in range(4)] == [deep(value) > limit for limit in range(4)]
    if isinstance(value, list):
        assert [json.loads(part) for part in scan.parts(data)] == value
    if isinstance(value, dict):
        assert {name: json.loads(part) for name, part in scan.members(data).items()} == value


@given(VALUES.filter(lambda value: isinstance(value, (list, dict))), st.data())
def test_what_is_cut_has_no_parts(value: Any, data: st.DataObject):
    whole = json.dumps(value).encode()
    beginning = whole[: data.draw(st.integers(0, len(whole) - 1))]
    with pytest.raises(ValueError, match="do not close"):
        scan.parts(beginning)


def test_depth_has_no_limit():
    data = b'{"a":' * 200_000 + b"1" + b"}" * 200_000
    assert scan.depth(data) == 200_000
    assert len(scan.members(data)["a"]) == len(data) - 6


@pytest.mark.parametrize("data", [b'["]', b'{"a":"}', b'["a", "]', b'[{"a":"b\\"}]'])
def test_a_bracket_in_a_text_that_does_not_end_closes_nothing(data: bytes):
    with pytest.raises(ValueError, match="do not close"):
        scan.parts(data)
