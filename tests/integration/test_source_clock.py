"""The source's clock, and the moments it writes, are wrong in every way: no read is lost, no alarm goes mute."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from typer.testing import CliRunner

from crossdock import cli, flows
from crossdock.store import watermarks
from crossdock.systems.inbox import Inbox
from crossdock.watch import freshness
from integration.builders import forward, line, place, sales_order
from integration.environment import Environment
from integration.foreign import Front, fronted
from integration.stock_oracle import cancel
from integration.test_malformed import ORDERS, alerts, changed

pytestmark = pytest.mark.slow

LIST = "channel_advisor.orders"


@pytest.fixture
def front(environment: Environment) -> Iterator[Front]:
    with fronted(environment) as fronts:
        yield fronts["channel_advisor"]


def mark(environment: Environment) -> Any:
    (found,) = environment.query(f"SELECT * FROM ops.watermark WHERE flow = 'orders' AND resource = '{LIST}'")
    return found


def test_a_clock_that_leaps_ahead_or_back_carries_no_read_away_and_is_told(environment: Environment, front: Front):
    keys = [place(environment, line())]
    environment.sync()
    for clock in ("2099-01-01T00:00:00Z", "", "2010-06-01T00:00:00Z", ""):
        front.clock = clock
        keys.append(place(environment, line()))
        environment.sync()
        assert {each["ExternalOrderID"] for each in environment.in_tims()} == set(keys), clock
        assert mark(environment).position <= datetime.now(UTC) + timedelta(minutes=10)
    assert len(alerts(environment, "source_clock")) == 1
    keys.append(place(environment, line()))
    assert environment.sync().delivered == 1
    assert mark(environment).position <= environment.now + MINUTES


def test_a_record_dated_in_the_year_9999_is_worked_and_so_is_what_comes_after_it(
    environment: Environment, front: Front, tmp_path: Path
):
    key = place(environment, line())
    late = changed(UpdatedDate="9999-12-31T00:00:00Z")
    front.spoil = lambda path, rows: [late(row) if path == ORDERS else row for row in rows]
    assert environment.sync().delivered == 1
    front.spoil = None
    (version,) = environment.query(f"SELECT version FROM stage.sales_order WHERE key = '{key}'")
    assert version[0] <= datetime.now(UTC)
    assert mark(environment).newest_version is None or mark(environment).newest_version <= environment.now
    cancel(environment, key)
    environment.sync()
    assert sales_order(environment, key)["OrderStatus"] == "Cancelled"
    place(environment, line())
    environment.sync()
    forward(environment, environment.now + timedelta(days=20))
    environment.sync()
    with environment.runtime() as runtime:
        found = {one.kind for one in freshness.watch(runtime.engine, {"orders": flows.get("orders")}, Inbox(tmp_path))}
    assert "silent_source" in found


MINUTES = timedelta(minutes=1)


@pytest.mark.parametrize(
    ("to", "newest", "position", "kept", "output"),
    [
        (5, 4, 5, 4, False),
        (-5, None, 0, -10, False),  # a server of several, a little behind
        (-60 * 24, None, -60 * 24, -60 * 24, True),
        (60 * 24 * 365 * 500, None, None, -10, True),
    ],
)
def test_where_a_watermark_moves(
    environment: Environment, to: int, newest: int | None, position: int | None, kept: int, output: bool
):
    now = datetime.now(UTC)
    start = now - timedelta(days=2)
    with environment.runtime() as runtime, runtime.engine.begin() as connection:
        watermarks.move(connection, "orders", LIST, start, start - 10 * MINUTES)
        reported = watermarks.move(
            connection, "orders", LIST, start + to * MINUTES, None if newest is None else start + newest * MINUTES
        )
        found = connection.execute(sa.text("SELECT * FROM ops.watermark")).one()
    assert bool(reported) == output
    if position is None:
        assert start <= found.position <= now
    else:
        assert found.position == start + position * MINUTES
    assert found.newest_version == start + kept * MINUTES


def test_a_watermark_is_shown_and_set_on_record(environment: Environment, monkeypatch: pytest.MonkeyPatch):
    key = place(environment, line())
    environment.sync()
    monkeypatch.setattr(cli.context, "runtime", environment.runtime)
    run = CliRunner().invoke
    assert LIST in run(cli.app, ["watermark", "show", "orders", "--json"]).stdout
    before = mark(environment).position
    to = (before - timedelta(days=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
    done = run(cli.app, ["watermark", "set", "orders", to, "--why", "the clock was wrong"])
    assert done.exit_code == 0, done.output
    assert mark(environment).position.strftime("%Y-%m-%dT%H:%M:%SZ") == to
    (audit,) = environment.query("SELECT * FROM ops.audit WHERE action = 'watermark set'")
    assert audit.detail["why"] == "the clock was wrong"
    for wrong in (["orders", "2999-01-01", "--why", "x"], ["orders", to], ["returns", to, "--why", "x"]):
        assert run(cli.app, ["watermark", "set", *wrong]).exit_code != 0
    cancel(environment, key)
    environment.sync()
    assert sales_order(environment, key)["OrderStatus"] == "Cancelled"
