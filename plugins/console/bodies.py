"""The bodies of requests: a field that nobody knows is refused, for it may be a misspelt choice of what to change.

In: a class with fields. Out: the dataclass that a route takes. Never: a body that is read in part.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar, dataclass_transform

from pydantic import ConfigDict

T = TypeVar("T")


@dataclass_transform()
def body(made: type[T]) -> type[T]:
    """The class as a dataclass that takes no other fields than its own."""
    kept = dataclass(made)
    kept.__pydantic_config__ = ConfigDict(extra="forbid")  # type: ignore[attr-defined]
    return kept
