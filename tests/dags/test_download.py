"""A download begins with its first text, ends with its last, and never looks whole when it is not."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from console import download
from crossdock.services.people import Person, Role

PERSON = Person("vic", frozenset({Role.VIEWER}))


@pytest.fixture
def open_connections(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    held: list[object] = []

    @contextmanager
    def reading(person: Person) -> Iterator[object]:
        held.append(person)
        try:
            yield object()
        finally:
            held.remove(person)

    monkeypatch.setattr(download, "reading", reading)
    return held


def test_the_first_text_is_sent_before_the_second_is_made(open_connections: list[object]) -> None:
    made: list[int] = []

    def lines(_: object) -> Iterator[str]:
        for number in range(100_000):
            made.append(number)
            yield f"{number:09d}\n"

    pieces = download._pieces(PERSON, lines)
    assert next(pieces) == b"000000000\n"
    assert made == [0]
    assert download.PIECE <= len(next(pieces)) < 2 * download.PIECE
    assert len(made) < 10_000
    assert open_connections
    rest = b"".join(pieces)
    assert rest.endswith(b"000099999\n")
    assert not open_connections


def test_whoever_goes_away_leaves_no_connection_behind(open_connections: list[object]) -> None:
    pieces = download._pieces(PERSON, lambda _: iter(["a", "b"]))
    next(pieces)
    assert open_connections
    pieces.close()
    assert not open_connections


def test_a_file_that_cannot_be_made_to_its_end_is_broken_off(open_connections: list[object]) -> None:
    def lines(_: object) -> Iterator[str]:
        yield "a,b\n"
        raise RuntimeError("the database is gone")

    app = FastAPI()
    app.get("/file")(lambda: download.download(PERSON, "a.csv", "text/csv", lines))
    with pytest.raises(RuntimeError, match="the database is gone"):
        TestClient(app).get("/file")
    assert not open_connections
