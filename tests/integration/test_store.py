"""The store on a real Postgres: exact in and out, counts that add up, locks, roles."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pandas as pd
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given
from hypothesis import strategies as st

from crossdock.errors import Transient
from crossdock.store import batches, database, dead_letters, deliveries, raw, watermarks
from crossdock.store.deliveries import Effect, Outcome
from crossdock.store.raw import Record
from crossdock.store.registry import SCHEMAS, metadata
from crossdock.store.tables import ops_delivery, raw_orders, stage_sales_order_line
from examples import examples
from integration.environment import fresh_database

NOW = datetime(2011, 1, 4, 10, tzinfo=UTC)


@pytest.fixture(scope="module")
def store_url(postgres_url: str) -> Iterator[str]:
    with fresh_database(postgres_url, "store") as url:
        yield url


@pytest.fixture(scope="module")
def engine(store_url: str) -> Iterator[sa.Engine]:
    made = database.engine(store_url)
    yield made
    made.dispose()


@pytest.fixture(autouse=True)
def empty(engine: sa.Engine, store_url: str) -> None:
    owner = database.engine(store_url, role=None)
    with owner.begin() as connection:
        every = [table.fullname for table in metadata.tables.values()]
        names = ", ".join(name for name in every if name != "ops.audit")  # whose rows nobody takes away
        connection.exec_driver_sql(f"TRUNCATE {names} RESTART IDENTITY")
    owner.dispose()


def record(key: str, payload: bytes, version: datetime = NOW) -> Record:
    return Record(key, version, raw.digest(payload), payload)


def stored(connection, records):
    """Stores what can be stored, as the work of batch 7 of orders; what is refused."""
    refused = raw.insert(connection, raw_orders, records)
    bad = {one.pair for one, _ in refused}
    raw.enqueue(connection, "orders", [one.pair for one in records if one.pair not in bad], 7)
    return refused


def test_the_migration_makes_exactly_the_tables_that_the_code_names(engine):
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    with engine.connect() as connection:
        context = MigrationContext.configure(
            connection,
            opts={"include_schemas": True, "include_name": lambda name, kind, _: kind != "schema" or name in SCHEMAS},
        )
        differences = [d for d in compare_metadata(context, metadata) if "crossdock_version" not in str(d)]
    assert differences == []


def test_a_record_of_a_dialect_is_kept_with_what_it_was_made_of_byte_by_byte(engine):
    made, plain = record("1", b'{"OrderStatus":"New"}'), record("2", b"{}")
    received = b'{"CheckoutStatus": "Completed",  "Note": "\\u0000 \xc3\xa9"}'
    with engine.begin() as connection:
        assert stored(connection, [replace(made, received=received), plain]) == []
        assert raw.received(connection, raw_orders, *made.pair) == received
        assert raw.received(connection, raw_orders, *plain.pair) is None
        packed = connection.scalar(sa.select(raw_orders.c.received).where(raw_orders.c.key == "1"))
    assert packed != received


def test_a_database_with_data_keeps_its_reads_batches_and_letters_under_their_new_names(postgres_url: str):
    url, before = sa.make_url(postgres_url), "0017"
    admin = database.engine(postgres_url, role=None).execution_options(isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.exec_driver_sql("CREATE DATABASE store_renamed")
    older = url.set(database="store_renamed").render_as_string(hide_password=False)
    try:
        database.migrate(older, before)
        engine = database.engine(older, role=None)
        with engine.begin() as connection:
            connection.exec_driver_sql(
                "INSERT INTO ops.batch (flow, kind, step, read, known, unchanged, left_out) "
                "VALUES ('masters', 'scheduled', 'extract', 2, 2, 2, 0), ('orders', 'scheduled', 'confirm', 1, 0, 0, 1)"
            )
            connection.exec_driver_sql(
                "INSERT INTO ops.watermark (flow, resource, position) "
                "VALUES ('masters', 'tims.customers', now()), ('payments', 'books.settlement_orders', now())"
            )
        database.migrate(older)
        with engine.begin() as connection:
            batches_ = connection.exec_driver_sql("SELECT flow, already_stored, skipped FROM ops.batch ORDER BY id")
            assert batches_.fetchall() == [("reference", 2, 0), ("orders", 0, 1)]
            marks = connection.exec_driver_sql("SELECT flow, resource FROM ops.watermark ORDER BY flow")
            assert marks.fetchall() == [
                ("payments", "settlement_ledger.settlement_orders"),
                ("reference", "tims.customers"),
            ]
        engine.dispose()
    finally:
        with admin.connect() as connection:
            connection.exec_driver_sql("DROP DATABASE store_renamed WITH (FORCE)")
        admin.dispose()


def test_work_is_done_as_the_loader_who_may_not_change_tables(engine):
    with engine.connect() as connection:
        assert connection.scalar(sa.text("SELECT current_user")) == "crossdock_loader"
        with pytest.raises(sa.exc.ProgrammingError, match=r"must be owner|permission denied"):
            connection.exec_driver_sql("DROP TABLE ops.batch")


def test_the_reader_sees_counts_but_no_personal_data(engine, store_url):
    reader = database.engine(store_url, role="crossdock_reader")
    with reader.connect() as connection:
        connection.exec_driver_sql("SELECT * FROM ops.batch")
        connection.exec_driver_sql('SELECT key, "TotalAmount" FROM stage.sales_order')
        for query in (
            "SELECT payload FROM raw.channel_advisor_orders",
            "SELECT payload FROM ops.dead_letter",
            'SELECT "ShippingAddress.Name" FROM stage.sales_order',
            "SELECT name FROM ref.customer",
        ):
            with pytest.raises(sa.exc.ProgrammingError, match="permission denied"):
                connection.exec_driver_sql(query)
            connection.rollback()
    reader.dispose()


money = st.one_of(st.none(), st.integers(-(10**18) + 1, 10**18 - 1))
texts = st.one_of(st.none(), st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=30))


@examples(30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.tuples(money, texts, st.one_of(st.none(), st.integers(-(2**63), 2**63 - 1))), min_size=1, max_size=8)
)
def test_a_frame_comes_back_from_copy_exactly_as_it_went_in(engine, rows):
    frame = pd.DataFrame(
        {
            "key": pd.Series(["k"] * len(rows), dtype="str"),
            "position": range(len(rows)),
            "Price": pd.array([row[0] for row in rows], dtype="Int64"),
            "SKU": pd.Series([row[1] for row in rows], dtype="str"),
            "Quantity": pd.array([row[2] for row in rows], dtype="Int64"),
        }
    )
    table = stage_sales_order_line
    with engine.connect() as connection:
        database.copy_in(connection, table, frame)
        columns = [table.c[name] for name in frame.columns]
        back = database.copy_out(connection, sa.select(*columns).order_by(table.c.position))
        connection.rollback()
    assert back["Price"].tolist() == frame["Price"].tolist()
    assert back["Quantity"].tolist() == frame["Quantity"].tolist()
    assert [None if x != x else x for x in back["SKU"]] == [None if x != x else x for x in frame["SKU"]]


@examples(30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20), max_size=6))
def test_payloads_come_back_from_raw_as_the_same_documents(engine, values):
    import msgspec

    records = [record(f"key\t{n}\\", msgspec.json.encode({"text": value, "n": n})) for n, value in enumerate(values)]
    with engine.connect() as connection:
        assert stored(connection, records) == []
        back = raw.payloads(connection, raw_orders, 7)
        connection.rollback()
    assert sorted((key, msgspec.json.decode(payload)) for key, _, _, payload in back) == sorted(
        (r.key, msgspec.json.decode(r.payload)) for r in records
    )


def test_an_escaped_nul_is_taken_out_and_noted_and_a_literal_one_stays(engine):
    with engine.begin() as connection:
        stored(connection, [record("1", rb'{"a": "x\u0000y", "b": "x\\u0000y"}')])
        ((_, _, altered, payload),) = raw.payloads(connection, raw_orders, 7)
    assert database.from_json(payload) == {"a": "xy", "b": r"x\u0000y"}
    assert altered == "1 x U+0000"


def test_a_poison_record_is_found_and_the_others_are_stored(engine):
    records = [record(str(n), b'{"n": %d}' % n) for n in range(40)]
    records[17] = record("17", rb'{"half": "\ud800"}')
    with engine.begin() as connection:
        refused = stored(connection, records)
        assert [r.key for r, _ in refused] == ["17"]
        assert len(raw.payloads(connection, raw_orders, 7)) == 39


def test_the_newest_version_of_a_key_is_the_one_that_is_worked(engine):
    with engine.begin() as connection:
        stored(connection, [record("1", b'{"v": 2}', NOW + timedelta(hours=1))])
        stored(connection, [record("1", b'{"v": 1}', NOW)])
        ((_, _, _, payload),) = raw.payloads(connection, raw_orders, 7)
    assert database.from_json(payload) == {"v": 2}


def test_only_hashes_travel_to_find_what_is_known(engine):
    one, two = record("1", b'{"v": 1}'), record("1", b'{"v": 2}')
    with engine.begin() as connection:
        stored(connection, [one])
        assert raw.already_stored(connection, raw_orders, [one, two], ["orders"]) == {("1", one.hash): ["orders"]}
        assert raw.already_stored(connection, raw_orders, [one, two], ["holds"]) == {("1", one.hash): [None]}


def test_a_batch_whose_counts_do_not_add_up_is_refused_by_the_database(engine):
    with engine.begin() as connection:
        batch_id = batches.open_batch(connection, "orders", "scheduled")
    with pytest.raises(sa.exc.IntegrityError, match="adds_up"), engine.begin() as connection:
        connection.exec_driver_sql(f"UPDATE ops.batch SET read = 5 WHERE id = {batch_id}")


def test_a_watermark_moves_back_only_where_the_sources_clock_was_set_back_and_keeps_the_longest_silence(engine):
    with engine.begin() as connection:
        watermarks.move(connection, "orders", "r", NOW, NOW - timedelta(hours=9))
        assert watermarks.move(connection, "orders", "r", NOW - timedelta(minutes=9), NOW - timedelta(hours=4)) is None
        assert watermarks.position(connection, "orders", "r") == NOW
        gap = connection.scalar(sa.text("SELECT longest_gap_seconds FROM ops.watermark"))
        assert "the last read there ended" in watermarks.move(connection, "orders", "r", NOW - timedelta(hours=1), None)
        assert watermarks.position(connection, "orders", "r") == NOW - timedelta(hours=1)
    assert gap == 5 * 3600


def test_two_runs_never_hold_the_same_lock_and_the_second_says_why_it_gave_up(engine):
    held, release = threading.Event(), threading.Event()

    def holder() -> None:
        with database.lock(engine, "work:orders"):
            held.set()
            release.wait(10)

    thread = threading.Thread(target=holder)
    thread.start()
    held.wait(10)
    with pytest.raises(Transient, match="Another run"), database.lock(engine, "work:orders", wait=0.3):
        pass
    release.set()
    thread.join()
    with database.lock(engine, "work:orders", wait=0.3):
        pass


def test_a_delivery_is_one_row_however_often_it_is_tried(engine):
    effect = Effect("sales_order", "create", "1", "so:1", "abc")
    with engine.begin() as connection:
        deliveries.begin(connection, "orders", 1, [effect])
        deliveries.begin(connection, "orders", 2, [effect])
        assert deliveries.open_keys(connection, "sales_order", "create", ["1", "2"]) == {"1"}
        deliveries.end(connection, "orders", [Outcome("so:1", "confirmed", response_id="SO-1")])
        row = connection.execute(sa.select(ops_delivery)).one()
        assert deliveries.open_keys(connection, "sales_order", "create", ["1"]) == set()
    assert (row.attempts, row.outcome, row.response_id) == (2, "confirmed", "SO-1")


def dead_letter(connection: sa.Connection, payload: dict, version: datetime = NOW) -> None:
    reasons = [{"field": "x", "rule": "unknown_sku", "value": "", "line": "", "says": "s", "do": "d"}]
    row = {"flow": "orders", "entity": "sales_order", "key": "1", "batch_id": 1, "step": "check"}
    dead_letters.dead_letter(connection, [{**row, "reasons": reasons, "payload": payload, "version": version}])


def test_a_record_that_is_refused_again_is_one_dead_letter_that_counts_up(engine):
    with engine.begin() as connection:
        dead_letter(connection, {"a": 1})
        dead_letter(connection, {"a": 2})
        (row,) = dead_letters.listed(connection)
    assert (row.times, row.payload) == (2, {"a": 2})


def test_an_edit_is_carried_to_a_newer_version_unless_the_source_changed_that_field_itself(engine):
    with engine.begin() as connection:
        dead_letter(connection, {"Country": "EIRE", "City": "Dublin", "Paid": False})
        dead_letters.edit(
            connection, dead_letters.find(connection, "1").id,
            {"Country": "IE", "City": "Dublin 2", "Paid": False}, who="clerk",
        )  # fmt: skip
        before, after = dead_letters.edits_to_carry(connection, "orders", ["1"])["1"]
    newer = {"Country": "EIRE", "City": "Cork", "Paid": True}
    assert dead_letters.merge_edit(newer, before, after) == {"Country": "IE", "City": "Cork", "Paid": True}


def test_frames_joined_to_an_empty_one_go_through_copy_unharmed(engine):
    some = pd.DataFrame({"key": pd.Series(["7"], dtype="str"), "SKU": pd.Series(["LAMP"], dtype="str"), "position": 0})
    joined = pd.concat([some.iloc[:0], some], ignore_index=True)
    with engine.begin() as connection:
        database.copy_in(connection, stage_sales_order_line, joined)
        found = connection.execute(sa.select(stage_sales_order_line.c.SKU).where(stage_sales_order_line.c.key == "7"))
        assert found.scalars().all() == ["LAMP"]
        connection.rollback()
