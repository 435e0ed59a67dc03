"""A dry run says of every flow's records what really became of them, and leaves no trace."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal

import pytest
import sqlalchemy as sa

from crossdock import flows
from crossdock.steps.dry_run import Verdict, dry_run
from crossdock.store import database, raw
from integration.builders import line, place
from integration.environment import Environment, found_environment, goods_until


@pytest.fixture(scope="module")
def days(postgres_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Environment]:
    """Some days of trade through all flows, every fifth order of them, and an order of an item that nobody knows."""
    goods, folder = goods_until("2011-01-12", part=5), tmp_path_factory.mktemp("environment")
    with found_environment(postgres_url, "dry_run", folder, skus=goods) as environment:
        environment.part = 5
        for day in ("2011-01-06", "2011-01-08", "2011-01-11"):
            environment.tick(day)
            for name in flows.all_flows():
                environment.sync(flow=name)
        place(environment, line("NO-SUCH-ITEM"))
        environment.tick("2011-01-12")
        environment.sync()
        yield environment


def judged(environment: Environment, flow_name: str) -> tuple[dict[str, Verdict], dict[str, sa.Row]]:
    """The verdicts of a dry run over the staged version of each record, and the staged rows."""
    flow = flows.get(flow_name)
    with environment.runtime() as runtime, runtime.engine.connect() as connection:
        stage = flow.stage
        staged = {row.key: row for row in connection.execute(sa.select(stage))}
        seen = raw.history(flow.source.raw, flow_name).subquery()
        found = connection.execute(
            sa.select(seen.c.key, seen.c.version, seen.c.payload).join(
                stage, sa.and_(stage.c.key == seen.c.key, stage.c.version == seen.c.version)
            )
        )
        records = [(row.key, row.version, database.to_json(row.payload).encode()) for row in found]
        return dry_run(connection, flow, records), staged


def test_it_says_what_really_became_of_the_records_of_every_flow(days: Environment) -> None:
    seen: Counter[str] = Counter()
    for name in flows.all_flows():
        verdicts, staged = judged(days, name)
        for key, verdict in verdicts.items():
            became = staged[key].state
            seen[became] += 1
            if verdict.state == "dead":
                assert became == "dead", (name, key, verdict.reasons)
            elif name == "orders" and became in ("delivered", "unchanged"):
                assert verdict.state == "ready", (key, verdict)
    assert seen["delivered"] > 100
    assert seen["dead"] > 0


def test_what_would_be_sent_is_what_was_sent(days: Environment) -> None:
    verdicts, staged = judged(days, "orders")
    held = {order["ExternalOrderID"]: order for order in days.in_tims()}
    compared = 0
    for key, verdict in verdicts.items():
        if staged[key].state in ("delivered", "unchanged") and key in held:
            assert verdict.document is not None
            assert verdict.content_hash == staged[key].content_hash
            assert Decimal(verdict.document["TotalAmount"]) == Decimal(held[key]["TotalAmount"])
            assert [each["ExternalLineID"] for each in verdict.document["LineItems"]]
            compared += 1
    assert compared > 50


def test_an_edit_that_mends_a_dead_letter_is_seen_to_mend_it(days: Environment) -> None:
    letter = next(row for row in days.letters().values() if row.flow == "orders" and "NO-SUCH" in str(row.payload))
    with days.runtime() as runtime, runtime.engine.connect() as connection:

        def verdict(payload: dict) -> Verdict:
            record = (letter.key, letter.version, database.to_json(payload).encode())
            return dry_run(connection, flows.get("orders"), [record])[letter.key]

        before = verdict(letter.payload)
        assert before.state == "dead"
        assert {one["rule"] for one in before.reasons} == {one["rule"] for one in letter.reasons}
        mended = database.from_json(database.to_json(letter.payload))
        mended["OrderItems"][0]["SKU"] = "22423"
        assert verdict(mended).state == "ready"


def test_nothing_is_written_and_no_table_is_left(days: Environment) -> None:
    letter = next(row for row in days.letters().values() if row.flow == "orders")
    record = (letter.key, letter.version, database.to_json(letter.payload).encode())
    tables = [f"{schema}.{name}" for schema in ("stage", "ops", "ref") for name in ("customer", "buyer", "dead_letter")]
    with days.runtime() as runtime, runtime.engine.connect() as connection:

        def content() -> dict[str, str]:
            existing = [name for name in tables if connection.scalar(sa.text(f"SELECT to_regclass('{name}')"))]
            return {
                name: connection.scalar(sa.text(f"SELECT md5(string_agg(t::text, '' ORDER BY t::text)) FROM {name} t"))
                for name in existing
            }

        before = content()
        for _ in range(3):
            dry_run(connection, flows.get("orders"), [record])
        assert content() == before
        assert connection.scalar(sa.text("SELECT count(*) FROM pg_class WHERE relnamespace = pg_my_temp_schema()")) == 0


def test_what_nobody_can_read_is_dead_beside_the_others(days: Environment) -> None:
    letter = next(row for row in days.letters().values() if row.flow == "orders")
    good = (letter.key, letter.version, database.to_json(letter.payload).encode())
    at = datetime.fromisoformat("2011-01-11T00:00:00+00:00")
    with days.runtime() as runtime, runtime.engine.connect() as connection:
        verdicts = dry_run(connection, flows.get("orders"), [good, ("odd", at, b"[1, 2]"), ("worse", at, b"{")])
    assert verdicts.keys() == {letter.key, "odd", "worse"}
    assert {verdicts["odd"].state, verdicts["worse"].state} == {"dead"}
    assert verdicts["odd"].reasons
