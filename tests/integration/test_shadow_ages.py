"""Personal data of what would have been sent age out; what it was, and how it compared, stays."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from crossdock.services import readiness, shadow
from crossdock.services.people import on_this_machine
from crossdock.store import database
from crossdock.store.tables import ops_shadow_day, ops_shadow_record, ops_would_be
from integration.environment import fresh_database
from integration.test_shadow_month import in_shadow

pytestmark = pytest.mark.slow
DAY = date(2026, 10, 1)
DOCUMENT = {"ExternalOrderID": "77", "OrderDate": f"{DAY}T09:00:00Z", "ShippingAddress": {"Name": "Ada Miller"}}


@pytest.fixture
def connection(postgres_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[sa.Connection]:
    in_shadow(monkeypatch, tmp_path / "config")
    with fresh_database(postgres_url, "shadow_ages") as url:
        engine = database.engine(url)
        with engine.begin() as opened:
            yield opened
        engine.dispose()


def kept(connection: sa.Connection, key: str, days: int, flow: str = "orders") -> None:
    """Would have been sent so many days ago."""
    connection.execute(
        sa.insert(ops_would_be).values(
            flow=flow, idempotency_key=f"so:{key}", entity="sales_order", operation="create", key=key, row=key,
            system="tims", method="POST", path="/api/v1/sales-orders", body=database.to_json(DOCUMENT),
            document=DOCUMENT | {"ExternalOrderID": key}, batch_id=1, at=datetime.now(UTC) - timedelta(days=days),
        )
    )  # fmt: skip


def test_the_content_goes_after_the_days_that_are_set_and_the_effect_stays(connection: sa.Connection) -> None:
    for key, days in (("77", 31), ("78", 29), ("79", 400)):
        kept(connection, key, days)
    assert shadow.age(connection) == 2
    rows = {row.key: row for row in connection.execute(sa.select(ops_would_be))}
    assert {key: (row.body is None, row.document is None) for key, row in rows.items()} == {
        "77": (True, True), "78": (False, False), "79": (True, True)
    }  # fmt: skip
    assert "Ada" not in " ".join(map(str, [*rows["77"]._mapping.values(), *rows["79"]._mapping.values()]))
    assert rows["77"].path == "/api/v1/sales-orders"
    assert shadow.age(connection) == 0
    (request,) = readiness.requests(connection, on_this_machine("ada"), "orders", "77")
    assert (request.aged, request.parts) == (True, ())


def test_the_report_of_a_day_whose_documents_have_aged_out_stays_as_it_was(connection: sa.Connection) -> None:
    kept(connection, "77", 31)
    (first,) = shadow.compare(connection, [DAY], flow="orders")
    assert (first.would_make, first.only_ours) == (1, 1)
    shadow.age(connection)
    assert shadow.compare(connection, [DAY], flow="orders") == ()
    assert shadow.report(connection, DAY) == (first,)
    days, records = ops_shadow_day, ops_shadow_record
    assert [connection.scalar(sa.select(sa.func.count()).select_from(table)) for table in (days, records)] == [1, 1]
