"""Makes every choice of the world a hash of a key: chance that repeats.

In: a key (any texts and numbers). Out: the same choice on every machine, whatever was asked before.
Never: a global random state, the time, or an order of calls that matters.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from typing import TypeVar

T = TypeVar("T")
SPACE = 1 << 64


def raw(*key: object) -> int:
    """An evenly spread number below 2**64."""
    return int.from_bytes(blake2b("|".join(map(str, key)).encode(), digest_size=8).digest(), "big")


def share(*key: object) -> float:
    """A number from 0.0 to below 1.0."""
    return raw(*key) / SPACE


def below(bound: int, *key: object) -> int:
    """A whole number from 0 to below `bound`."""
    return raw(*key) % bound


def between(first: int, last: int, *key: object) -> int:
    """A whole number from `first` to `last`, both included."""
    return first + raw(*key) % (last - first + 1)


def pick(options: Sequence[T], *key: object) -> T:
    return options[raw(*key) % len(options)]


def weighted(options: Sequence[tuple[T, float]], *key: object) -> T:
    """One of (option, weight); weights need no particular sum."""
    point = share(*key) * sum(weight for _, weight in options)
    for option, weight in options:
        point -= weight
        if point < 0:
            return option
    return options[-1][0]


def fill(pattern: str, *key: object) -> str:
    """`#` becomes a digit, `@` a letter that postal codes may end in, `+` a digit but 0; all else stays."""
    value, out = raw("fill", *key), []
    for mark in pattern:
        if mark == "#":
            value, digit = divmod(value, 10)
            out.append(str(digit))
        elif mark == "+":
            value, digit = divmod(value, 9)
            out.append(str(digit + 1))
        elif mark == "@":
            value, letter = divmod(value, 20)
            out.append("ABDEFGHJLNPQRSTUWXYZ"[letter])
        else:
            out.append(mark)
    return "".join(out)
