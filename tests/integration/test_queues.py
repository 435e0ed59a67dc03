"""One list, several readers: what one has read is there for all, and each works it once, whatever breaks in between."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from crossdock import flows
from crossdock.flow import Flow
from crossdock.reference import tims
from crossdock.steps.extract import Window, extract, refresh_reference
from crossdock.store import batches, watermarks
from integration.builders import ITEM, line, order, place
from integration.environment import ORDERS, Environment
from integration.foreign import changed, fronted
from integration.test_reading import PAGE, Broken, pages_of, small

pytestmark = pytest.mark.slow

LIST = ORDERS.source.name
FIRST, SECOND = (
    dataclasses.replace(ORDERS, name=name, source=small(ORDERS.source), reference=()) for name in ("orders", "holds")
)
CATALOG, PRICES = (
    dataclasses.replace(flows.get(name), reference=(tims.ITEMS,), requeue=None) for name in ("catalog", "prices")
)


def read(environment: Environment, *readers: Flow, **more: Any) -> None:
    with environment.runtime() as runtime:
        for each in readers:
            extract(runtime, each, run_id=f"cli:{each.name}", **more)


def days_go_by(environment: Environment, days: int) -> None:
    environment.tick(environment.now + timedelta(days=days))


def versions(environment: Environment) -> set[tuple[str, str]]:
    """What has been stored of the channel's orders, each version once."""
    rows = [tuple(row) for row in environment.query("SELECT key, hash FROM raw.channel_advisor_orders")]
    assert len(rows) == len(set(rows))
    return set(rows)


def worked(environment: Environment, flow: Flow) -> set[tuple[str, str]]:
    """What its batches have of it. Each version that was read new for it is counted once, by one batch."""
    rows = environment.query(
        "SELECT w.key, w.hash, b.flow FROM ops.work w JOIN ops.batch b ON b.id = w.batch_id "
        f"WHERE queue = '{flow.name}'"
    )
    assert {row.flow for row in rows} <= {flow.name}
    (counted,) = environment.query(
        f"SELECT coalesce(sum(read - already_stored - dead), 0) AS n FROM ops.batch WHERE flow = '{flow.name}'"
    )
    dead = environment.query(f"SELECT 1 FROM ops.dead_letter WHERE flow = '{flow.name}'")
    assert counted.n == len(rows) + len(dead)
    return {(row.key, row.hash) for row in rows}


def waiting(environment: Environment, flow: Flow) -> int:
    return environment.query(f"SELECT count(*) AS n FROM ops.work WHERE queue = '{flow.name}' AND batch_id IS NULL")[
        0
    ].n


def place_of(environment: Environment, flow: Flow, resource: str = LIST) -> Any:
    (row,) = environment.query(f"SELECT * FROM ops.watermark WHERE flow = '{flow.name}' AND resource = '{resource}'")
    return row


def test_what_one_flow_has_read_the_next_one_asks_for_no_more(
    environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    read(environment, FIRST, SECOND)
    days_go_by(environment, 3)
    before = place_of(environment, SECOND)
    read(environment, FIRST)
    assert waiting(environment, SECOND) == len(versions(environment)) - len(worked(environment, SECOND)) > 3 * PAGE
    after = place_of(environment, SECOND)
    assert after.position == place_of(environment, FIRST).position > before.position
    assert after.read_at == before.read_at, "by that it is seen that the flow itself is not at work"
    with monkeypatch.context() as patch, pages_of(patch, "orders") as seen:
        read(environment, SECOND)
    assert seen == [after.position - ORDERS.source.overlap, 0], "one page, and hardly anything on it"
    assert worked(environment, SECOND) == worked(environment, FIRST) == versions(environment)
    assert waiting(environment, SECOND) == waiting(environment, FIRST) == 0


@pytest.mark.parametrize("goes_on", [FIRST, SECOND], ids=["the same", "the other"])
def test_a_read_that_is_killed_leaves_nothing_lost_and_nothing_doubled_for_any_reader(
    environment: Environment, monkeypatch: pytest.MonkeyPatch, goes_on: Flow
) -> None:
    read(environment, FIRST, SECOND)
    days_go_by(environment, 3)
    with monkeypatch.context() as patch, pages_of(patch, "orders", breaks_after=2), pytest.raises(Broken):
        read(environment, FIRST)
    assert waiting(environment, SECOND) == 2 * PAGE
    bookmarks = environment.query("SELECT flow, position FROM ops.bookmark ORDER BY flow")
    assert [row.flow for row in bookmarks] == ["holds", "orders"]
    with monkeypatch.context() as patch, pages_of(patch, "orders") as seen:
        read(environment, goes_on)
    assert seen[0] == bookmarks[0].position == bookmarks[1].position, "it goes on where the other one was"
    read(environment, FIRST, SECOND)
    assert worked(environment, SECOND) == worked(environment, FIRST) == versions(environment)
    assert environment.query("SELECT 1 FROM ops.bookmark") == []


def test_a_run_that_is_killed_while_it_takes_leaves_the_rest_in_the_queue(
    environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    read(environment, FIRST, SECOND)
    days_go_by(environment, 3)
    read(environment, FIRST)
    number = waiting(environment, SECOND)
    monkeypatch.setattr(batches, "SIZE", PAGE)
    real = batches.extracted

    def broken(connection: sa.Connection, batch_id: int, **more: Any) -> None:
        real(connection, batch_id, **more)
        if connection.scalar(sa.text("SELECT count(*) FROM ops.batch WHERE flow = 'holds'")) == 3:
            raise Broken

    with monkeypatch.context() as patch:
        patch.setattr(batches, "extracted", broken)
        with pytest.raises(Broken):
            read(environment, SECOND)
    assert 0 < waiting(environment, SECOND) < number
    read(environment, SECOND)
    assert worked(environment, SECOND) == worked(environment, FIRST) == versions(environment)


def test_a_flow_that_was_off_for_a_week_takes_what_has_come_in_batches(
    environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    read(environment, FIRST, SECOND)
    for _ in range(7):
        days_go_by(environment, 1)
        read(environment, FIRST)
    number = waiting(environment, SECOND)
    monkeypatch.setattr(batches, "SIZE", PAGE)
    with monkeypatch.context() as patch, pages_of(patch, "orders") as seen:
        read(environment, SECOND)
    assert len(seen) == 2, "one page"
    sizes = environment.query("SELECT read - already_stored AS n FROM ops.batch WHERE flow = 'holds' ORDER BY id")
    assert all(row.n <= PAGE for row in sizes[1:])
    assert len(sizes) - 1 >= number // PAGE > 7
    assert worked(environment, SECOND) == versions(environment)


def test_a_new_flow_reads_from_its_own_start_and_stores_nothing_twice(
    environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    days_go_by(environment, 2)
    read(environment, FIRST)
    before = versions(environment)
    assert waiting(environment, SECOND) == 0, "it has never been"
    with monkeypatch.context() as patch, pages_of(patch, "orders") as seen:
        read(environment, SECOND)
    assert seen[0] is None
    assert len(seen) - 1 >= len({key for key, _ in before}) // PAGE
    assert versions(environment) == before == worked(environment, SECOND)


def test_a_flow_that_stands_behind_reads_for_itself(environment: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    read(environment, FIRST, SECOND)
    days_go_by(environment, 2)
    put_back(environment, SECOND, days=30)
    back = place_of(environment, SECOND).position
    read(environment, FIRST)
    assert waiting(environment, SECOND) == 0
    assert place_of(environment, SECOND).position == back
    with monkeypatch.context() as patch, pages_of(patch, "orders") as seen:
        read(environment, SECOND)
    assert seen[0] == back - ORDERS.source.overlap
    assert worked(environment, SECOND) == worked(environment, FIRST) == versions(environment)


def put_back(environment: Environment, flow: Flow, days: int) -> None:
    with environment.runtime() as runtime, runtime.engine.begin() as connection:
        to = environment.now - timedelta(days=days)
        watermarks.put(connection, flow.name, LIST, to, who="a person", why="to read it again")


def test_a_watermark_that_a_person_sets_back_while_another_flow_reads_stays_there(
    environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    read(environment, FIRST, SECOND)
    days_go_by(environment, 3)
    with monkeypatch.context() as patch, pages_of(patch, "orders") as seen:
        real = FIRST.source.read_key

        def read_key(record: Any) -> Any:
            if seen.count(1) == 1 and place_of(environment, SECOND).position > environment.now - timedelta(days=9):
                put_back(environment, SECOND, days=9)
            return real(record)

        read(environment, dataclasses.replace(FIRST, source=dataclasses.replace(FIRST.source, read_key=read_key)))
    assert place_of(environment, SECOND).position == environment.now - timedelta(days=9)
    assert place_of(environment, FIRST).position > environment.now - timedelta(days=1)
    read(environment, SECOND)
    assert worked(environment, SECOND) == worked(environment, FIRST) == versions(environment)


def test_an_own_write_is_no_work_of_the_flow_that_made_it_and_news_to_the_others(environment: Environment) -> None:
    read(environment, SECOND)
    key = order(environment, line())
    read(environment, SECOND)
    own = environment.query(
        f"SELECT hash FROM raw.channel_advisor_orders WHERE key = '{key}' AND payload->>'SellerOrderID' IS NOT NULL"
    )
    assert len(own) == 1, "as the channel answered"
    assert environment.sync().read == 0, "nothing that orders would work"
    read(environment, SECOND)
    assert (key, own[0].hash) in worked(environment, SECOND)


def test_a_backfill_and_a_sweep_are_of_one_flow_alone(environment: Environment) -> None:
    days_go_by(environment, 1)
    read(environment, SECOND)
    before = place_of(environment, SECOND)
    days_go_by(environment, 1)
    with environment.runtime() as runtime:
        window = Window(environment.now - timedelta(days=1), environment.now)
        extract(runtime, FIRST, window, kind="backfill")
        extract(runtime, FIRST, kind="sweep")
    assert worked(environment, FIRST)
    assert waiting(environment, SECOND) == 0
    assert place_of(environment, SECOND) == before


@pytest.mark.parametrize("kind", ["backfill", "key"])
def test_what_waits_is_taken_by_any_run_but_one_for_records_by_name(environment: Environment, kind: str) -> None:
    read(environment, FIRST, SECOND)
    days_go_by(environment, 1)
    key = place(environment, line())
    environment.tick(environment.now + timedelta(minutes=5))
    read(environment, FIRST)
    number = waiting(environment, SECOND)
    window = Window(environment.now - timedelta(minutes=1), environment.now)
    with environment.runtime() as runtime:
        extract(runtime, SECOND, window, kind=kind, keys=[key] if kind == "key" else [])
    assert waiting(environment, SECOND) == (number - 1 if kind == "key" else 0)


REFUSED: dict[str, Callable[[bytes], bytes]] = {
    "by its moment": changed(UpdatedDate="soon"), "by the database": changed(SellerOrderID="\ud800"),
}  # fmt: skip


@pytest.mark.parametrize("spoil", REFUSED.values(), ids=REFUSED)
def test_a_record_that_cannot_be_taken_is_a_dead_letter_of_every_reader(
    environment: Environment, spoil: Callable[[bytes], bytes]
) -> None:
    read(environment, FIRST, SECOND)
    good, bad, later = (place(environment, line()) for _ in range(3))
    environment.tick(environment.now + timedelta(days=2))
    with fronted(environment) as fronts:
        fronts["channel_advisor"].spoil = lambda _, rows: [spoil(row) if bad.encode() in row else row for row in rows]
        read(environment, FIRST)
        read(environment, SECOND)
        assert {(row.flow, row.key) for row in environment.query("SELECT flow, key FROM ops.dead_letter")} == {
            ("orders", bad),
            ("holds", bad),
        }
        fronts["channel_advisor"].spoil = None
        read(environment, FIRST, SECOND, kind="sweep")
    assert {good, bad, later} <= {key for key, _ in worked(environment, FIRST)}
    assert worked(environment, SECOND) == worked(environment, FIRST) == versions(environment)


# ---- what is looked up and worked ----------------------------------------------------------------------------------


def items_read(environment: Environment) -> int:
    """Pages of TIMS's items that were asked for since the last time."""
    control = environment.tims_control
    found = control.call("GET", "requests").get("GET /api/v1/inventory/items", 0)
    control.call("DELETE", "requests")
    return found


def test_a_list_that_is_looked_up_and_worked_is_read_once_a_run_and_stored_once(environment: Environment) -> None:
    items_read(environment)
    read(environment, CATALOG)
    pages = items_read(environment)
    with environment.runtime() as runtime:
        whole = sum(1 for _ in runtime.tims.pages("inventory/items"))
    items_read(environment)
    assert pages == whole, "at once as reference data and as the source"
    read(environment, CATALOG)
    assert items_read(environment) == 1
    queues = environment.query("SELECT queue, count(*) AS n FROM ops.work GROUP BY queue ORDER BY queue")
    (stored,) = environment.query("SELECT count(*) AS n FROM raw.tims_items")
    assert [tuple(row) for row in queues] == [("catalog", stored.n), (tims.ITEMS.name, stored.n)]
    assert environment.query("SELECT count(*) AS n FROM ref.item")[0].n == stored.n


def test_what_a_flow_has_read_is_looked_up_after_the_next_refresh(environment: Environment) -> None:
    """One that breaks a type is a dead letter of the look-up, and the flow's own matter besides."""
    alone = dataclasses.replace(PRICES, reference=())
    with environment.runtime() as runtime:
        refresh_reference(runtime, tims.ITEMS)
    read(environment, alone)
    with fronted(environment) as fronts:

        def spoil(**fields: Any) -> None:
            stamp = (environment.now + timedelta(minutes=3)).isoformat().replace("+00:00", "Z")
            change = changed(ModifiedAt=stamp, **fields)
            fronts["tims"].spoil = lambda _, rows: [
                change(row) if f'"SKU":"{ITEM}"'.encode() in row else row for row in rows
            ]

        def looked_up() -> str:
            return environment.query(f"SELECT title FROM ref.item WHERE sku = '{ITEM}'")[0].title

        environment.tick(environment.now + timedelta(minutes=5))
        before = looked_up()
        spoil(Title="Another title")
        put_back_items(environment)
        read(environment, alone)
        assert looked_up() == before
        fronts["tims"].spoil = None
        with environment.runtime() as runtime:
            refresh_reference(runtime, tims.ITEMS)
        assert looked_up() == "Another title"
        spoil(Title=["no", "title"])
        put_back_items(environment)
        read(environment, alone)
        for _ in range(2):
            with environment.runtime() as runtime:
                refresh_reference(runtime, tims.ITEMS)
        assert looked_up() == "Another title"
        letters = environment.query("SELECT flow, key, times FROM ops.dead_letter")
        assert [tuple(row) for row in letters] == [("reference", f"tims.inventory/items:{ITEM}", 1)]
    newest = environment.query(f"SELECT 1 FROM ops.work WHERE queue = 'prices' AND key = '{ITEM}'")
    assert len(newest) == 3
    unfinished = "SELECT 1 FROM ops.batch WHERE flow = 'reference' AND finished_at IS NULL"
    assert environment.query(unfinished) == []


def put_back_items(environment: Environment) -> None:
    """Both readers begin once more at the first of the items."""
    with environment.runtime() as runtime, runtime.engine.begin() as connection:
        connection.execute(sa.text("UPDATE ops.watermark SET position = '2000-01-01' WHERE resource = :name"),
                           {"name": tims.ITEMS.name})  # fmt: skip
