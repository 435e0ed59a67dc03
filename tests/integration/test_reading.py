"""Reads that break off: what was read stays, the next read goes on where it was, and in the end all is as if nothing
had been. No transaction waits for a page."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from crossdock.errors import CrossdockError
from crossdock.flow import Resource
from crossdock.reference import tims
from crossdock.steps.extract import Window, extract, refresh_reference
from crossdock.steps.run_batches import run_batches
from crossdock.store import bookmarks, watermarks
from crossdock.systems.channel_advisor import Facade
from crossdock.systems.tims import Tims
from integration.environment import ORDERS, Environment

pytestmark = pytest.mark.slow
PAGE = 10  # records
RUN = "cli:first"


class Broken(Exception):
    """The connection, or the process, in the middle of a read."""


def small(resource: Resource) -> Resource:
    """The list by small portions."""
    return dataclasses.replace(resource, at_once=PAGE)


SMALL = dataclasses.replace(ORDERS, source=small(ORDERS.source), reference=(), mappings=ORDERS.mappings)


@contextlib.contextmanager
def pages_of(patch: pytest.MonkeyPatch, path: str, *, breaks_after: int | None = None) -> Iterator[list[Any]]:
    """The list `path` by pages of PAGE records, of which those after `breaks_after` never come; yields the `since` of
    each read and, after it, its pages."""
    seen: list[Any] = []
    for client in (Facade, Tims):
        real = client.pages

        def pages(self: Any, resource: str, *words: Any, real: Any = real, **more: Any) -> Iterator[Any]:
            if resource != path:
                yield from real(self, resource, *words, **more)
                return
            seen.append(more.get("since"))
            for number, page in enumerate(real(self, resource, *words, limit=PAGE, **more)):
                if number == breaks_after:
                    raise Broken
                seen.append(number)
                yield page

        patch.setattr(client, "pages", pages)
    yield seen


def days_of_trade(environment: Environment) -> None:
    environment.tick(environment.now + timedelta(days=3))


def stored(environment: Environment) -> int:
    return environment.query("SELECT count(DISTINCT key) AS n FROM raw.channel_advisor_orders")[0].n


def batches_of(environment: Environment, flow: str = "orders") -> list[sa.Row]:
    return environment.query(f"SELECT * FROM ops.batch WHERE flow = '{flow}' ORDER BY id")


@pytest.mark.parametrize("pages", [0, 3])
def test_a_first_read_that_breaks_goes_on_where_it_was_and_loses_and_doubles_nothing(
    environment: Environment, monkeypatch: pytest.MonkeyPatch, pages: int
) -> None:
    days_of_trade(environment)
    with environment.runtime() as runtime:
        for master in ORDERS.reference:
            refresh_reference(runtime, master)
        with (
            monkeypatch.context() as patch,
            pages_of(patch, "orders", breaks_after=pages),
            pytest.raises(Broken),
        ):
            extract(runtime, SMALL, run_id=RUN)
    assert environment.query("SELECT 1 FROM ops.watermark WHERE flow = 'orders'") == []
    before = stored(environment)
    assert before == pages * PAGE
    assert sum(batch.read for batch in batches_of(environment)) == before
    with environment.runtime() as runtime, monkeypatch.context() as patch, pages_of(patch, "orders") as seen:
        ids = extract(runtime, SMALL, run_id="cli:second")
        everything = environment.query("SELECT count(*) AS n FROM raw.channel_advisor_orders")[0].n
        assert everything == stored(environment) > PAGE * 3
        counts = run_batches(runtime, SMALL, ids, run_id="cli:second")
    assert len([one for one in seen if isinstance(one, int)]) <= -(-stored(environment) // PAGE) - pages + 2
    assert counts.in_flight == 0
    assert environment.query("SELECT 1 FROM ops.batch WHERE finished_at IS NULL") == []
    assert environment.query("SELECT 1 FROM ops.bookmark") == []
    assert len(environment.query("SELECT 1 FROM ops.watermark WHERE flow = 'orders'")) == 1
    assert environment.differences() == []


def test_a_scheduled_read_that_breaks_moves_no_watermark_and_no_page_is_read_twice(
    environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment.sync()
    (before,) = environment.query("SELECT position FROM ops.watermark WHERE flow = 'orders'")
    days_of_trade(environment)
    with environment.runtime() as runtime, monkeypatch.context() as patch:
        with pages_of(patch, "orders", breaks_after=2), pytest.raises(Broken):
            extract(runtime, SMALL, run_id=RUN)
        (kept,) = environment.query("SELECT position FROM ops.watermark WHERE flow = 'orders'")
        assert kept == before
        (bookmark,) = environment.query("SELECT * FROM ops.bookmark")
        newest = environment.query("SELECT max(version) AS at FROM raw.channel_advisor_orders")[0].at
        assert bookmark.position == newest - ORDERS.source.overlap > before.position
    with environment.runtime() as runtime, monkeypatch.context() as patch, pages_of(patch, "orders") as seen:
        run_batches(runtime, SMALL, extract(runtime, SMALL))
    assert seen[0] == bookmark.position
    assert (
        environment.differences([(environment.now - timedelta(days=3)).isoformat(), environment.now.isoformat()]) == []
    )


def test_a_window_goes_on_only_by_its_own_place_and_only_for_a_day(
    environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    days_of_trade(environment)
    window, other = Window(end=environment.now), Window(end=environment.now - timedelta(hours=1))

    def since(requested: Window, **more: Any) -> Any:
        with environment.runtime() as runtime, monkeypatch.context() as patch:
            with pages_of(patch, "orders", breaks_after=2) as seen, contextlib.suppress(Broken):
                extract(runtime, SMALL, requested, kind="backfill", **more)
            return seen[0]

    assert since(window) is None
    assert since(window) is not None
    assert since(other) is None
    assert since(window, reprocess=True) is None
    environment.query("UPDATE ops.bookmark SET reached_at = reached_at - interval '25 hours' RETURNING 1")
    assert since(window) is None


def test_a_master_that_breaks_off_has_merged_all_that_it_keeps(
    environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    items = small(tims.ITEMS)
    with (
        environment.runtime() as runtime,
        monkeypatch.context() as patch,
        pages_of(patch, items.path, breaks_after=3),
        pytest.raises(Broken),
    ):
        refresh_reference(runtime, items)
    kept = "SELECT count(*) AS n FROM raw.tims_items r WHERE EXISTS (SELECT FROM ref.item i WHERE i.sku = r.key)"
    assert (
        environment.query(kept)[0].n == environment.query("SELECT count(*) AS n FROM raw.tims_items")[0].n == 3 * PAGE
    )
    with environment.runtime() as runtime:
        refresh_reference(runtime, items)
    assert environment.query("SELECT count(*) AS n FROM ref.item")[0].n == len(environment.in_tims("inventory/items"))
    with (
        environment.runtime() as runtime,
        monkeypatch.context() as patch,
        pages_of(patch, items.path, breaks_after=1),
        pytest.raises(Broken),
    ):
        refresh_reference(runtime, items, full_refresh=True)
    with environment.runtime() as runtime, monkeypatch.context() as patch, pages_of(patch, items.path) as seen:
        refresh_reference(runtime, items, full_refresh=True)
    assert seen[0] is None  # afresh is from the beginning


def test_no_transaction_is_open_while_a_page_is_on_its_way(
    environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    days_of_trade(environment)
    owner = sa.create_engine(sa.make_url(environment.database_url).set(drivername="postgresql+psycopg2"))
    waiting = sa.text(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state = 'idle in transaction'"
    )
    real = Facade.pages
    requested = 0

    def pages(self: Any, resource: str, *words: Any, **more: Any) -> Iterator[Any]:
        nonlocal requested
        for page in real(self, resource, *words, limit=PAGE, **more):
            if resource == "orders":
                with owner.connect() as connection:
                    # The writer may be at work on the page before; a transaction that waits for this one never ends.
                    for _ in range(500):
                        requested += 1
                        if not connection.scalar(waiting):
                            break
                        connection.rollback()
                    else:
                        raise AssertionError("a transaction waits for the page")
            yield page

    monkeypatch.setattr(Facade, "pages", pages)
    with environment.runtime() as runtime:
        extract(runtime, SMALL)
    assert requested > 3
    owner.dispose()


def test_what_a_broken_read_left_is_worked_by_the_next_run_even_where_it_finds_nothing_else(
    environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    days_of_trade(environment)
    with environment.runtime() as runtime:
        for master in ORDERS.reference:
            refresh_reference(runtime, master)
        with monkeypatch.context() as patch:
            patch.setattr(watermarks, "move", lambda *_: (_ for _ in ()).throw(Broken()))  # at the very last
            with pages_of(patch, "orders"), pytest.raises(Broken):
                extract(runtime, SMALL, run_id=RUN)
    (batch,) = batches_of(environment)
    assert batch.read == stored(environment)
    with environment.runtime() as runtime:
        ids = extract(runtime, SMALL, run_id="cli:second")
        assert batch.id in ids
        run_batches(runtime, SMALL, ids, run_id="cli:second")
    assert environment.differences() == []


def test_a_bookmark_is_of_one_flow_list_and_window(environment: Environment) -> None:
    at = environment.now
    with environment.runtime() as runtime, runtime.engine.begin() as connection:
        bookmarks.put(connection, "orders", "x", "scheduled", at)
        bookmarks.put(connection, "orders", "x", "scheduled", at + timedelta(hours=1))
        for other in (("reference", "x", "scheduled"), ("orders", "y", "scheduled"), ("orders", "x", "sweep")):
            assert bookmarks.reached(connection, *other) is None
        assert bookmarks.reached(connection, "orders", "x", "scheduled") == at + timedelta(hours=1)
        bookmarks.remove(connection, "orders", "x", "scheduled")
        assert bookmarks.reached(connection, "orders", "x", "scheduled") is None


def test_a_system_that_fails_in_the_middle_is_read_on_from_there(environment: Environment) -> None:
    """The same over HTTP, with a server that stops to answer."""
    days_of_trade(environment)
    environment.fault("channel_advisor", "error_before", path="listOrders", after=1)
    with environment.runtime() as runtime, pytest.raises(CrossdockError):
        extract(runtime, ORDERS, run_id=RUN)
    environment.clear_faults()
    environment.sync()
    assert environment.differences() == []
