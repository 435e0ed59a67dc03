"""Splits JSON without parsing it, however deep it is and whatever is wrong inside.

In: bytes. Out: how deep they are nested, the parts of the outermost object or list as bytes.
Never: recursion; an opinion on what is inside a part. A text whose brackets do not close is a ValueError.
"""

from __future__ import annotations

import re

import msgspec
import numpy as np

_STRING = rb'"[^"\\]*(?:\\.[^"\\]*)*"'
_TOKENS = re.compile(_STRING + rb'|[\[\]{},"]', re.DOTALL)  # a quote without its pair: a text that does not end
_MEMBER = re.compile(rb"(" + _STRING + rb")\s*:\s*(.*)", re.DOTALL)
_OTHERS = bytes(set(range(256)) - set(b'[]{}"'))
_CLOSES = {b"[": b"]", b"{": b"}"}
BLANKS = b" \t\r\n"


def depth(data: bytes) -> int:
    """How many objects and lists are inside one another."""
    if b"\\" in data:  # what is escaped, a quote above all, is no mark
        data = data.replace(b"\\\\", b"").replace(b'\\"', b"")
    # What stands between an odd quote and the next is inside of a string; two quotes in a row change nothing of that.
    marks = data.translate(None, _OTHERS).replace(b'""', b"")
    outside = b"".join(marks.split(b'"')[::2])
    brackets = np.frombuffer(outside, dtype=np.uint8)
    if not len(brackets):
        return 0
    return int(np.cumsum(np.where((brackets == ord("[")) | (brackets == ord("{")), 1, -1)).max())


def deeper_than(data: bytes, limit: int) -> bool:
    """Whether it is nested deeper than `limit`; at once where there are too few brackets for it."""
    if len(data) <= limit:
        return False
    # "[" and "{" differ in one bit. numpy counts both at once, in a sixth of the time that bytes need for each.
    opened = np.count_nonzero((np.frombuffer(data, dtype=np.uint8) | (ord("[") ^ ord("{"))) == ord("{"))
    return bool(opened > limit) and depth(data) > limit


def parts(data: bytes) -> list[bytes]:
    """The items of a list, or the members of an object, each as its bytes."""
    data = data.strip(BLANKS)
    open_: list[bytes] = []
    found, start = [], 1
    for token in _TOKENS.finditer(data):
        mark = token[0]
        if mark in _CLOSES:
            open_.append(_CLOSES[mark])
        elif mark == b"," and len(open_) == 1:
            found.append(data[start : token.start()].strip(BLANKS))
            start = token.end()
        elif mark in (b"]", b"}", b'"'):
            if not open_ or open_.pop() != mark:
                break
            if not open_:
                last = data[start : token.start()].strip(BLANKS)
                if token.end() != len(data) or data[:1] not in _CLOSES:
                    break
                return [*found, last] if found or last else []
    raise ValueError("its brackets do not close")


def members(data: bytes) -> dict[str, bytes]:
    """{name: value as its bytes} of an object; of a name given twice, the first."""
    if data.strip(BLANKS)[:1] != b"{":
        raise ValueError("it is no object")
    found: dict[str, bytes] = {}
    for part in parts(data):
        match = _MEMBER.fullmatch(part)
        if match is None:
            raise ValueError("a member has no name")
        found.setdefault(str(msgspec.json.decode(match[1])), match[2])
    return found
