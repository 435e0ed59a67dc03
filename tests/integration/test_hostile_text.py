"""Foreign text in every place where a statement, a key or a path is made of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from crossdock import flows
from crossdock.store import database, raw
from crossdock.store.raw import Record
from integration.builders import ADDRESS, line, place
from integration.bustle import ALL
from integration.environment import Environment, found_environment, fresh_database
from integration.stock_oracle import adjust, item, level

HOSTILE = st.text(alphabet="%'\"\\:{}$; \n\t\rS1ü,.", min_size=1, max_size=12)
NOW = datetime(2011, 1, 4, tzinfo=UTC)
KEYED = {flow.stage.fullname: flow for flow in flows.all_flows().values()}
LOOSE = settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(scope="module")
def connection(postgres_url: str) -> Iterator[sa.Connection]:
    with fresh_database(postgres_url, "hostile_text") as url:
        engine = database.engine(url)
        with engine.connect() as connection:
            yield connection
        engine.dispose()


@LOOSE
@given(st.lists(HOSTILE, min_size=1, max_size=4, unique=True))
@example(["P%1", "P%%1", "%(key)s", "%s", "\\.", "a\n\\.\nb", ":key", "{}", "'", "''", '"', "\\N", ""])
def test_a_key_of_any_text_comes_back_as_it_was_from_every_table(connection: sa.Connection, keys: list[str]):
    for flow in KEYED.values():
        savepoint = connection.begin_nested()
        stage = flow.stage
        texts = [c for c in stage.columns if isinstance(c.type, sa.Text) and c.name not in ("key", "state")]
        header = pd.DataFrame({"key": keys, "batch_id": 1, "version": NOW.isoformat(), "state": "staged"})
        for column in texts[:3]:
            if not column.foreign_keys and not column.constraints:
                header[column.name] = pd.Series(keys, dtype="str")
        database.copy_in(connection, stage, header.astype({"key": "str", "version": "str", "state": "str"}))
        for key in keys:
            for wanted in (stage.c.key == key, stage.c.key.in_([key, "no such"]), sa.literal(key) == stage.c.key):
                found = database.copy_out(
                    connection, sa.select(stage.c.key, sa.literal(key).label("told")).where(wanted)
                )
                assert found.to_numpy().tolist() == [[key, key]], stage.fullname
            array = sa.bindparam("keys", [key], type_=sa.ARRAY(sa.Text))
            assert len(database.copy_out(connection, sa.select(stage.c.key).where(stage.c.key == sa.any_(array)))) == 1
        savepoint.rollback()
        _comes_back_from_raw(connection, flow.source.raw, flow.name, keys)


def _comes_back_from_raw(connection: sa.Connection, table: sa.Table, queue: str, keys: list[str]) -> None:
    savepoint = connection.begin_nested()
    payloads = [json.dumps({"k": key}).encode() for key in keys]
    records = [Record(key, NOW, raw.digest(data), data) for key, data in zip(keys, payloads, strict=True)]
    pairs = [one.pair for one in records]
    assert raw.insert(connection, table, records) == []
    raw.enqueue(connection, queue, pairs, None)
    assert raw.already_stored(connection, table, records, [queue]) == {pair: [queue] for pair in pairs}
    assert sorted(raw.take(connection, queue, 7, len(keys))) == sorted(pairs)
    back = {key: json.loads(data)["k"] for key, _, _, data in raw.payloads(connection, table, 7)}
    assert back == {key: key for key in keys}
    assert sorted(raw.keys(connection, table, 7)) == sorted(keys)
    assert len(raw.payloads(connection, table, 7, keys[:1])) == 1
    assert set(raw.reassign(connection, table, queue, keys, 8)) == set(keys)
    savepoint.rollback()


SKUS = [
    "P%1",
    "P%%2",
    "Q'; --",
    'D"quote',
    "B\\back",
    "C:colon",
    "{brace}",
    "%(key)s",
    "a/b?c#d",
    "..",
    "ü日",
    "50% off",
]


@pytest.fixture
def small(postgres_url: str, tmp_path: Path) -> Iterator[Environment]:
    """An environment with a small catalogue."""
    with found_environment(postgres_url, "small", tmp_path, skus=ALL) as environment:
        yield environment


def test_a_change_of_an_item_of_any_name_reaches_the_channel(small: Environment):
    environment = small
    for sku in SKUS:
        item(environment, sku)
        adjust(environment, sku, 7)
    for flow in ("catalog", "inventory"):
        environment.sync(flow=flow)
    assert {sku: level(environment, sku) for sku in SKUS} == dict.fromkeys(SKUS, 7)
    for sku in SKUS:
        adjust(environment, sku, -3)
        item(environment, sku, Title=f"Changed {sku}")
    environment.sync(flow="catalog")
    environment.sync(flow="inventory")
    assert {sku: level(environment, sku) for sku in SKUS} == dict.fromkeys(SKUS, 4)
    with environment.runtime() as runtime:
        titles = {row["SKU"]: row["Title"] for row in runtime.channel_advisor.of_skus("products", SKUS)}
    assert titles == {sku: f"Changed {sku}" for sku in SKUS}
    assert not set(environment.letters()) & set(SKUS)


BUYERS = ["'; DROP TABLE stage.customers; --", "Jürgen Groß", "b" * 200, "a%b", "100%", "x~" + "0" * 32, "{}:", "a\\b"]


def test_a_buyer_of_any_name_becomes_a_customer_once(environment: Environment):
    placed = {}
    for number, buyer in enumerate([*BUYERS, *BUYERS]):
        name = f"{'ABCDEFGH'[number % len(BUYERS)]}da"
        who = {"CustomerID": buyer, "FirstName": name, "LastName": "Miller", "Email": f"{name}@example.org",
               "Phone": None, "Company": None}  # fmt: skip
        where = ADDRESS | {"Name": f"{name} Miller", "Line1": f"{number % len(BUYERS)} Elm Street"}
        placed[place(environment, line(), CustomerInfo=who, ShippingAddress=where)] = buyer
    environment.sync()
    assert not environment.letters()
    orders = {order["ExternalOrderID"]: order["CustomerID"] for order in environment.in_tims()}
    assert set(orders) == set(placed)
    of_buyer = {}
    for key, customer in orders.items():
        of_buyer.setdefault(placed[key], set()).add(customer)
    assert all(len(customers) == 1 for customers in of_buyer.values())
    assert len(set.union(*of_buyer.values())) == len(BUYERS)
