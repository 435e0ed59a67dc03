"""The freshness watch: what is wrong although every run is green."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import sqlalchemy as sa

from crossdock import flows
from crossdock.store import database
from crossdock.watch import freshness
from integration.town import fresh_database


@pytest.fixture
def engine(postgres_url: str) -> Iterator[sa.Engine]:
    with fresh_database(postgres_url, "watch") as url:
        made = database.engine(url)
        yield made
        made.dispose()


def findings(engine: sa.Engine) -> set[str]:
    return {finding.kind for finding in freshness.watch(engine, flows.all_flows())}


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
