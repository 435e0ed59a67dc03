"""A change of a document of TIMS that others change as well."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from crossdock.errors import RecordRejected, Transient
from crossdock.flows import plain


class Changing:
    """TIMS, in which somebody else changes the document before each of the first patches."""

    def __init__(self, times: int, code: str = "STALE_VERSION") -> None:
        self.times, self.code, self.version = times, code, 1
        self.taken: list[bytes] = []

    def read(self, path: str) -> tuple[dict[str, Any], str]:
        return {}, f'"{self.version}"'

    def patch(self, path: str, body: bytes, *, etag: str) -> None:
        if self.times:
            self.times, self.version = self.times - 1, self.version + 1
        if etag != f'"{self.version}"':
            raise RecordRejected("No.", 412, self.code)
        self.taken.append(body)


def changed(tims: Changing) -> list[bytes]:
    plain.change_in_tims(SimpleNamespace(tims=tims), "customers/C-1", b"{}")  # type: ignore[arg-type]
    return tims.taken


def test_a_change_that_meets_a_newer_version_is_made_on_that_one() -> None:
    assert changed(Changing(2)) == [b"{}"]


def test_a_change_that_meets_newer_versions_all_the_time_is_tried_again_later() -> None:
    with pytest.raises(Transient, match="all the time"):
        changed(Changing(100))


def test_another_refusal_is_the_records() -> None:
    with pytest.raises(RecordRejected):
        changed(Changing(1, "NOT_ALLOWED"))
