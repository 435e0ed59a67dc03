"""The freshness watch: what is wrong although every run is green."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from crossdock import flows
from crossdock.store import database
from crossdock.systems.inbox import Inbox
from crossdock.watch import freshness
from integration.environment import fresh_database


@pytest.fixture
def engine(postgres_url: str) -> Iterator[sa.Engine]:
    with fresh_database(postgres_url, "watch") as url:
        made = database.engine(url)
        yield made
        made.dispose()


NOWHERE = Inbox(Path("nowhere"))


def findings(engine: sa.Engine, inbox: Inbox = NOWHERE) -> set[str]:
    return {finding.kind for finding in freshness.watch(engine, flows.all_flows(), inbox)}


def write(engine: sa.Engine, statement: str) -> None:
    with engine.begin() as connection:
        connection.exec_driver_sql(statement)


def mark(engine: sa.Engine, read: str, newest: str, gap: int) -> None:
    write(
        engine,
        "INSERT INTO ops.watermark (flow, resource, position, newest_version, longest_gap_seconds, read_at) VALUES "
        f"('orders', 'channel_advisor.orders', now(), now() - interval '{newest}', {gap}, now() - interval '{read}')",
    )


def test_a_flow_that_is_read_and_hears_something_worries_nobody(engine):
    mark(engine, "1 minute", "2 hours", 3600)
    assert findings(engine) == set()


def test_a_source_that_is_empty_for_longer_than_it_ever_was_alerts_although_runs_are_green(engine):
    mark(engine, "1 minute", "60 hours", 50 * 3600)
    assert findings(engine) == {"silent_source"}


def test_a_silence_that_the_source_has_kept_before_is_no_alert(engine):
    mark(engine, "1 minute", "60 hours", 70 * 3600)
    assert findings(engine) == set()


def test_a_flow_that_nobody_reads_any_more_alerts(engine):
    mark(engine, "2 hours", "2 hours", 3600)
    assert findings(engine) == {"stale"}


def test_unfinished_batches_lost_outcomes_and_open_circuits_alert(engine):
    write(
        engine,
        "INSERT INTO ops.batch (flow, kind, step, read, in_flight, created_at) "
        "VALUES ('orders', 'scheduled', 'load', 7, 7, now() - interval '2 hours')",
    )
    write(
        engine,
        "INSERT INTO ops.delivery (flow, batch_id, entity, operation, key, idempotency_key, created_at) "
        "VALUES ('orders', 1, 'sales_order', 'create', '1', 'so:1', now() - interval '2 hours')",
    )
    write(engine, "INSERT INTO ops.circuit (system, state, failures, opened_at) VALUES ('tims', 'open', 10, now())")
    assert findings(engine) == {"undelivered", "unknown_outcome", "circuit_open"}


def test_the_same_finding_is_one_alert_that_counts_up(engine):
    mark(engine, "2 hours", "2 hours", 3600)
    for _ in range(3):
        findings(engine)
    with engine.begin() as connection:
        rows = connection.exec_driver_sql("SELECT kind, times FROM ops.alert").all()
    assert rows == [("stale", 3)]


def test_a_file_in_done_that_nobody_has_read_alerts_and_one_that_was_read_does_not(engine, tmp_path):
    inbox, done = Inbox(tmp_path), tmp_path / "stock" / "warehouse" / "done"
    done.mkdir(parents=True)
    rows = "Reference,OccurredAt,SKU,LocationID,Quantity,Reason\nW-1,2011-01-05,22423,MAIN,-1,Broken\n"
    (done / "read.csv").write_text(rows)
    os.utime(done / "read.csv", (1, 1))  # written long ago; it came to done/ just now
    assert findings(engine, inbox) == {"unread_file"}
    for file in inbox.done("stock", inbox.server_time() - freshness.DONE_SINCE):
        write(
            engine,
            "INSERT INTO raw.inbox_stock (key, version, hash, payload) VALUES "
            f"('warehouse/W-1', now(), 'h', '{{\"FileDigest\": \"{file.digest}\"}}')",
        )
    assert findings(engine, inbox) == set()
    (done / "read.csv").write_text(rows.replace("-1", "-9"))  # written to after it was moved
    assert findings(engine, inbox) == {"unread_file"}


def test_an_inbox_that_is_a_link_is_told_and_stops_no_other_finding(engine, tmp_path):
    (tmp_path / "stock").symlink_to("/etc")
    mark(engine, "2 hours", "2 hours", 3600)
    assert findings(engine, Inbox(tmp_path)) == {"inbox", "stale"}
