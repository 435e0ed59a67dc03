"""A database with a month in it, of when each flow kept a list in a raw table of its own, is upgraded: no version is
lost, each flow knows what it knew, and nothing is sent again.

`month.sql.gz` is the sixteenth part of what `make demo` left there: of each list the same keys in all tables, the short
lists whole, batches and watermarks. The hashes are those of the payloads as they are there (of an order with the lines
that a list gives), for a server to give them again; the systems' own stores are a hundred times as big.
"""

from __future__ import annotations

import gzip
import importlib.util
import io
import json
from collections import defaultdict
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from contract.misbehaving import Reply, Request, Server
from crossdock import flows
from crossdock.flow import Resource
from crossdock.reference import channel, tims
from crossdock.runtime import Runtime
from crossdock.steps.extract import extract
from crossdock.steps.run_batches import run_batches
from crossdock.store import database, raw
from crossdock.systems.connections import parse

pytestmark = pytest.mark.slow

MONTH = Path(__file__).with_name("month.sql.gz")
BEFORE = "0020"
FLOWS = flows.all_flows()
LOOKED_UP = [one for module in (tims, channel) for one in vars(module).values() if isinstance(one, Resource)]
LISTS = {one.name: one for one in [*(flow.source for flow in FLOWS.values()), *LOOKED_UP]}
Version = tuple[str, str]


def lists_before() -> dict[str, list[tuple[str, str]]]:
    """By raw table of a list: the tables and queues that it is made of."""
    (path,) = (database.MIGRATIONS / "versions").glob("*_raw_by_list.py")
    spec = importlib.util.spec_from_file_location("raw_by_list", path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.LISTS


class Month:
    """The database, and what stood in it before."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.engine = database.engine(url, role=None)
        self.queued: dict[str, dict[Version, int]] = {}  # by queue: the batch of each version
        self.payloads: dict[str, dict[Version, str]] = {}  # by raw table of a list: a digest of each payload
        self.received: dict[str, dict[Version, Any]] = {}  # when each version came first
        self.half_way: dict[str, tuple[int, dict[str, str]]] = {}  # by queue: a batch and its newest payloads
        database.migrate(url, BEFORE)
        self._fill()
        self._note()
        database.migrate(url)

    def _fill(self) -> None:
        raw_connection = self.engine.raw_connection()
        with gzip.open(MONTH) as file, raw_connection.cursor() as cursor:
            for line in file:
                rows = io.BytesIO(b"".join(iter(file.readline, b"\\.\n")))
                cursor.copy_expert(line.decode().rstrip(";\n"), rows)
            for table in ("batch", "dead_letter"):
                cursor.execute(
                    f"SELECT setval(pg_get_serial_sequence('ops.{table}', 'id'), (SELECT max(id) FROM ops.{table}))"
                )
        raw_connection.commit()
        raw_connection.close()

    def _note(self) -> None:
        with self.engine.begin() as connection:
            for table, sources in lists_before().items():
                self.payloads[table], self.received[table] = {}, {}
                for name, queue in sources:
                    rows = connection.exec_driver_sql(
                        f"SELECT key, hash, batch_id, md5(payload::text) AS payload, received_at FROM raw.{name}"
                    ).all()
                    self.queued[queue] = {(row.key, row.hash): row.batch_id for row in rows}
                    for row in rows:
                        version = (row.key, row.hash)
                        assert self.payloads[table].setdefault(version, row.payload) == row.payload
                        first = self.received[table].setdefault(version, row.received_at)
                        self.received[table][version] = min(first, row.received_at)
                    if rows and queue in FLOWS:
                        self.half_way[queue] = self._stop_half_way(connection, name, max(row.batch_id for row in rows))

    def _stop_half_way(self, connection: sa.Connection, name: str, batch_id: int) -> tuple[int, dict[str, str]]:
        newest = connection.exec_driver_sql(
            f"SELECT DISTINCT ON (key) key, md5(payload::text) FROM raw.{name} WHERE batch_id = {batch_id} "
            "ORDER BY key, version DESC, received_at DESC"
        )
        return batch_id, dict(newest.all())


@pytest.fixture(scope="module")
def month(postgres_url: str) -> Iterator[Month]:
    admin = database.engine(postgres_url, role=None)
    with admin.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql("DROP DATABASE IF EXISTS upgraded WITH (FORCE)")
        connection.exec_driver_sql("CREATE DATABASE upgraded")
        url = sa.make_url(postgres_url).set(database="upgraded").render_as_string(hide_password=False)
        month = Month(url)
        yield month
        month.engine.dispose()
        connection.exec_driver_sql("DROP DATABASE upgraded WITH (FORCE)")
    admin.dispose()


def test_no_version_of_any_record_is_lost_and_none_is_there_twice(month: Month) -> None:
    stored = 0
    with month.engine.begin() as connection:
        tables = set(connection.scalars(sa.text("SELECT tablename FROM pg_tables WHERE schemaname = 'raw'")))
        assert tables == set(month.payloads) == {one.raw.name for one in LISTS.values()}
        for table, before in month.payloads.items():
            rows = connection.exec_driver_sql(
                f"SELECT key, hash, md5(payload::text) AS payload, received_at FROM raw.{table}"
            ).all()
            assert len(rows) == len(before), table
            assert {(row.key, row.hash): row.payload for row in rows} == before, table
            assert {(row.key, row.hash): row.received_at for row in rows} == month.received[table], table
            stored += len(rows)
    assert stored < sum(map(len, month.queued.values())), "what several flows had is one row now"


def test_each_flow_knows_what_it_knew_by_the_same_batches(month: Month) -> None:
    with month.engine.begin() as connection:
        rows = connection.execute(sa.text("SELECT queue, key, hash, batch_id FROM ops.work")).all()
    found: dict[str, dict[Version, int]] = defaultdict(dict)
    for row in rows:
        found[row.queue][row.key, row.hash] = row.batch_id
    assert found == {queue: before for queue, before in month.queued.items() if before}
    assert len(rows) == sum(map(len, month.queued.values())) > 4_000


def test_a_batch_in_the_middle_of_its_steps_goes_on_with_what_it_had(month: Month) -> None:
    assert len(month.half_way) > 10
    with month.engine.begin() as connection:
        for queue, (batch_id, before) in month.half_way.items():
            rows = raw.documents(connection, FLOWS[queue].source.raw, batch_id, list(before))
            texts = [database.to_json(payload) for _, _, payload in rows]
            same = connection.execute(
                sa.text(
                    "SELECT md5(CAST(each AS jsonb)::text) FROM unnest(:texts) WITH ORDINALITY AS t(each, n) ORDER BY n"
                ),
                {"texts": texts},
            ).scalars()
            assert dict(zip((key for key, *_ in rows), same, strict=True)) == before, queue
            read = {key for key, *_ in raw.payloads(connection, FLOWS[queue].source.raw, batch_id)}
            assert read == set(before), queue


def test_the_loader_may_work_on_what_is_new(month: Month) -> None:
    loader = database.engine(month.url)
    with loader.begin() as connection:
        for table in month.payloads:
            connection.exec_driver_sql(f"UPDATE raw.{table} SET altered = altered WHERE key = ''")
        connection.exec_driver_sql("DELETE FROM ops.work WHERE queue = ''")
    loader.dispose()


# ---- nothing is sent again -----------------------------------------------------------------------------------------


class Told(Server):
    """Both systems: each list gives what all who read it know of it; anything but a read is refused."""

    def __init__(self, month: Month) -> None:
        super().__init__()
        self.rows: dict[str, list[str]] = {}
        with month.engine.begin() as connection:
            self.now = connection.scalar(sa.text("SELECT max(position) FROM ops.watermark")) + timedelta(minutes=1)
            for one in LISTS.values():
                self.rows["/" + one.path] = list(
                    connection.scalars(
                        sa.text(f"""
                        SELECT payload::text FROM (
                          SELECT DISTINCT ON (r.key) r.key, r.version, r.payload FROM raw.{one.raw.name} r
                          WHERE (SELECT count(*) FROM ops.work w WHERE w.key = r.key AND w.hash = r.hash
                                 AND w.queue = ANY (:queues)) = cardinality(:queues)
                          ORDER BY r.key, r.version DESC, r.received_at DESC
                        ) AS newest ORDER BY version
                        """),
                        {"queues": [queue for _, queue in lists_before()[one.raw.name]]},
                    )
                )

    def _answer(self, request: Request) -> Reply:
        self.requests.append(request)
        if request.path == "/oauth2/token":
            return self._token(request)
        path = request.path.removeprefix("/api/v1").removeprefix("/v2")
        if request.method != "GET" or path not in self.rows:
            return Reply(404, b'{"Code": "not_found", "Message": "There is no such thing."}')
        rows = ", ".join(self.rows[path])
        if path == "/company":
            return Reply(200, rows.encode())
        stamp = self.now.isoformat().replace("+00:00", "Z")
        of_channel = request.path.startswith("/v2")
        names = ("value", "serverTime", "nextLink") if of_channel else ("Items", "ServerTime", "NextCursor")
        return Reply(200, f'{{"{names[0]}": [{rows}], "{names[1]}": "{stamp}", "{names[2]}": null}}'.encode())


def test_after_it_every_flow_of_then_runs_and_finds_nothing_to_do(month: Month, tmp_path: Path) -> None:
    server = Told(month)
    login = {"conn_type": "http", "host": server.url, "login": "crossdock", "password": "secret"}
    connections = {
        "channel_advisor": parse(
            "channel_advisor", json.dumps(login | {"extra": {"api": "v2", "refresh_token": "refresh"}})
        ),
        "tims": parse("tims", json.dumps(login)),
    }
    with month.engine.begin() as connection:  # what was half way is another matter
        connection.exec_driver_sql("UPDATE ops.batch SET finished_at = now() WHERE finished_at IS NULL")
        (last,) = connection.execute(sa.text("SELECT max(id) FROM ops.batch")).one()
        before = {name: connection.scalar(sa.text(f"SELECT count(*) FROM raw.{name}")) for name in month.payloads}
    inbox = tmp_path / "inbox"
    for folder in ("settlements", "stock"):
        (inbox / folder).mkdir(parents=True)
    with Runtime(month.url, connections.__getitem__, inbox) as runtime:
        for flow in (flow for flow in FLOWS.values() if flow.name in month.queued):  # one that came later knows nothing
            run = f"cli:{flow.name}"
            counts = run_batches(runtime, flow, extract(runtime, flow, run_id=run), run_id=run)
            assert counts.read == counts.unchanged, flow.name
    with month.engine.begin() as connection:
        new = connection.execute(
            sa.text("SELECT flow, sum(read) AS read, sum(already_stored) AS already FROM ops.batch WHERE id > :last "
                    "GROUP BY flow"), {"last": last},
        ).all()  # fmt: skip
        assert {row.flow for row in new if row.read} > {"orders", "catalog", "shipments", "invoices", "reference"}
        assert [row for row in new if row.read != row.already] == []
        assert before == {name: connection.scalar(sa.text(f"SELECT count(*) FROM raw.{name}")) for name in before}
        for table in ("delivery", "link"):
            assert connection.scalar(sa.text(f"SELECT count(*) FROM ops.{table}")) == 0
        assert connection.scalar(sa.text("SELECT count(*) FROM ops.work WHERE batch_id IS NULL OR batch_id > :last"),
                                 {"last": last}) == 0  # fmt: skip
    assert {request.method for request in server.requests if request.path != "/oauth2/token"} == {"GET"}
    server.close()
