"""Many requests at once on a real Postgres: each marked before it is sent, each outcome kept, whatever fails."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
import sqlalchemy as sa

from crossdock.errors import LeaseLost, Transient
from crossdock.steps import portions
from crossdock.store import database, leases
from integration.environment import fresh_database


@pytest.fixture(scope="module")
def engine(postgres_url: str) -> Iterator[sa.Engine]:
    with fresh_database(postgres_url, "portions") as url:
        made = database.engine(url)
        yield made
        made.dispose()


class Told:
    """What was marked, sent and kept, in that order."""

    def __init__(self, engine: sa.Engine, answer: Any = lambda portion: portion * 10, at_once: int = 2) -> None:
        self.engine, self.answer, self.at_once = engine, answer, at_once
        self.marked: list[int] = []
        self.sent: list[int] = []
        self.kept: dict[int, int] = {}
        self.open = 0
        self.most = 0
        self.lock = threading.Lock()

    def mark(self, connection: sa.Connection, following: Sequence[int]) -> None:
        self.marked += following
        self.most = max(self.most, len(self.marked) - len(self.kept))

    def send(self, portion: int) -> int:
        assert portion in self.marked
        with self.lock:
            self.open += 1
            assert self.open <= self.at_once
        try:
            self.sent.append(portion)
            return self.answer(portion)
        finally:
            with self.lock:
                self.open -= 1

    def keep(self, connection: sa.Connection, answered: Sequence[tuple[int, int]]) -> None:
        self.kept |= dict(answered)

    def run(self, count: int) -> None:
        portions.send_all(
            self.engine, "orders", range(count), at_once=self.at_once, mark=self.mark, send=self.send, keep=self.keep
        )


def test_each_portion_is_marked_sent_and_kept_once_and_few_are_without_an_outcome(engine: sa.Engine) -> None:
    reported = Told(engine)
    reported.run(25)
    assert reported.kept == {n: n * 10 for n in range(25)}
    assert sorted(reported.sent) == reported.marked == list(range(25))
    assert reported.most <= 2 * reported.at_once


def test_a_slow_answer_holds_up_no_other(engine: sa.Engine) -> None:
    others = threading.Event()

    def answer(portion: int) -> int:
        if portion == 0:
            assert others.wait(10)
        elif portion == 9:
            others.set()
        return portion

    reported = Told(engine, answer)
    reported.run(10)
    assert list(reported.kept)[-1] in (0, 9)
    assert len(reported.kept) == 10


def test_what_is_under_way_when_one_fails_is_kept_and_nothing_more_is_begun(engine: sa.Engine) -> None:
    failed = threading.Event()

    def answer(portion: int) -> int:
        if portion == 1:
            failed.set()
            raise Transient("busy", do="wait")
        assert failed.wait(10)
        time.sleep(0.05)
        return portion

    reported = Told(engine, answer)
    with pytest.raises(Transient, match="busy"):
        reported.run(50)
    assert sorted(reported.kept) == sorted(set(reported.sent) - {1})
    assert 0 in reported.kept
    assert len(reported.sent) < 50


def test_a_portion_that_waited_is_not_sent_by_a_worker_that_was_given_up(
    engine: sa.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(portions, "STALE_SECONDS", 0.0)
    other = database.engine(engine.url.render_as_string(hide_password=False))
    with engine.begin() as connection:
        leases.take(connection, "orders", "this one")

    def answer(portion: int) -> int:
        with other.begin() as connection:
            leases.take(connection, "orders", "another one")
        return portion

    reported = Told(engine, answer, at_once=1)
    with pytest.raises(LeaseLost):
        reported.run(5)
    other.dispose()
    assert reported.sent == [0]
