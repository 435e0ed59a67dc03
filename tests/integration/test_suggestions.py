"""Suggestions on a real database, and a language model over real HTTP: right, absent, failing, slow, lying."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from contract.misbehaving import Reply, Server, ok
from crossdock import cli
from crossdock.errors import ConfigError, NotAllowed
from crossdock.mapping import language
from crossdock.mapping.suggest.ranking import CERTAIN
from crossdock.services import both_sides, people, suggestions
from crossdock.services.people import Person, Role
from crossdock.store import database
from crossdock.store.tables import (
    ops_batch,
    ops_dead_letter,
    ops_link,
    ops_work,
    raw_items,
    raw_orders,
    raw_products,
    ref_sales_order,
)
from crossdock.systems import language_model
from crossdock.systems.connections import Connection
from crossdock.systems.language_model import LanguageModel
from integration.environment import fresh_database
from linked_orders import ORDERS, order, sales_order

NOW = datetime(2011, 1, 20, tzinfo=UTC)
SOURCE, TARGET = ("channel_advisor", "Order"), ("tims", "SalesOrderCreate")
ANYBODY = people.on_this_machine("somebody")
VIEWER = Person("viewer", frozenset({Role.VIEWER}))


@pytest.fixture(scope="module")
def engine(postgres_url: str) -> Iterator[sa.Engine]:
    with fresh_database(postgres_url, "suggestions") as url:
        made = database.engine(url, role=None)
        with made.begin() as connection:
            link(connection, ORDERS)
        yield made
        made.dispose()


@pytest.fixture
def connection(engine: sa.Engine) -> Iterator[sa.Connection]:
    """What a test writes is taken back."""
    with engine.connect() as made, made.begin() as transaction:
        yield made
        transaction.rollback()


def raw(table: sa.Table, key: str, payload: dict[str, Any], at: datetime = NOW) -> dict[str, Any]:
    return {"key": key, "version": at, "hash": f"{key}@{at:%d%H%M%S}", "payload": payload, "received_at": at}


def link(connection: sa.Connection, orders: Sequence[dict[str, Any]], at: datetime = NOW) -> None:
    """Orders as read, sales orders as TIMS gives them, and what links them."""
    for one in orders:
        key = str(one["ChannelAdvisorOrderID"])
        target = f"SO-{key}"
        connection.execute(sa.insert(raw_orders), raw(raw_orders, key, one, at))
        connection.execute(
            sa.insert(ref_sales_order),
            {"id": target, "external_order_id": key, "source": "ChannelAdvisor", "currency_code": one["Currency"],
             "status": "Open", "payload": sales_order(one), "version": at},
        )  # fmt: skip
        connection.execute(
            sa.insert(ops_link),
            {"entity": "sales_order", "source_key": key, "target_id": target, "created_at": at, "updated_at": at},
        )


# ---- fields


def test_what_somebody_has_mapped_is_left_alone_unless_it_is_asked_for(connection: sa.Connection) -> None:
    made = suggestions.for_field(connection, ANYBODY, "sales_order", "CurrencyCode")
    assert made.mapped
    assert made.suggestions == ()
    made = suggestions.for_field(connection, ANYBODY, "sales_order", "CurrencyCode", although_mapped=True)
    assert made.records == len(ORDERS)
    assert made.suggestions[0].source == "Currency"
    assert made.suggestions[0].confidence > CERTAIN


def test_fields_that_nobody_has_mapped(connection: sa.Connection, config: Any) -> None:
    path = config / "mappings" / "sales_order.yaml"
    text = path.read_text()
    path.write_text(text.replace("  - target: CurrencyCode\n    from: Currency\n", "", 1))
    try:
        before = path.read_bytes()
        made = suggestions.unmapped(connection, ANYBODY, "sales_order")
        by_target = {one.target: one for one in made if not one.children}
        assert by_target["CurrencyCode"].suggestions[0].source == "Currency"
        assert "OrderDate" not in by_target
        assert path.read_bytes() == before  # nothing is taken over
    finally:
        path.write_text(text)


def test_lines_are_asked_for_by_their_list(connection: sa.Connection) -> None:
    made = suggestions.for_field(
        connection, ANYBODY, "sales_order", "ExternalLineID", "LineItems", although_mapped=True
    )
    first = made.suggestions[0]
    assert (first.source, first.convert, first.children) == ("OrderItemID", (("to text", None),), "OrderItems")


def test_wrong_names_are_said_with_the_nearest_right_one(connection: sa.Connection) -> None:
    with pytest.raises(ConfigError, match="did you mean 'sales_order'"):
        suggestions.for_field(connection, ANYBODY, "sale_order", "CurrencyCode")
    with pytest.raises(ConfigError, match="did you mean 'CurrencyCode'"):
        suggestions.for_field(connection, ANYBODY, "sales_order", "CurencyCode")
    with pytest.raises(ConfigError, match="did you mean 'LineItems'"):
        suggestions.for_field(connection, ANYBODY, "sales_order", "SKU", "LineItem")


def test_who_may_see_nothing_sees_nothing(connection: sa.Connection) -> None:
    nobody = Person("nobody", frozenset())
    for ask in (
        lambda: suggestions.for_field(connection, nobody, "sales_order", "CurrencyCode"),
        lambda: suggestions.unmapped(connection, nobody, "sales_order"),
        lambda: suggestions.for_lookup(connection, nobody, "carriers"),
        lambda: suggestions.draft(connection, nobody, SOURCE, TARGET),
    ):
        with pytest.raises(NotAllowed):
            ask()


def test_values_of_persons_are_shown_to_those_who_may_see_them(connection: sa.Connection) -> None:
    """Every order goes to one and the same town: a constant, and somebody's."""
    connection.execute(sa.delete(ops_link))
    same = [order(n, ShippingAddress={"City": "Little Gidding"}) for n in range(900, 930)]
    link(connection, same, NOW + timedelta(days=1))
    shown = [
        [one.constant for one in suggestions.for_field(
            connection, who, "sales_order", "ShippingAddress.City", although_mapped=True
        ).suggestions if one.constant]
        for who in (ANYBODY, VIEWER)
    ]  # fmt: skip
    assert shown == [["Little Gidding"], ["***"]]


def test_the_newest_links_are_looked_at_and_no_more(connection: sa.Connection) -> None:
    later = [order(number, Currency="JPY") for number in range(1_000, 1_000 + both_sides.RECORDS)]
    link(connection, later, NOW + timedelta(days=1))
    sample = both_sides.sample(connection, SOURCE, TARGET)
    assert {one["Currency"] for one in sample.sources} == {"JPY"}
    assert len(sample) == both_sides.RECORDS


def test_the_newest_version_of_a_record_counts(connection: sa.Connection) -> None:
    key = str(ORDERS[0]["ChannelAdvisorOrderID"])
    connection.execute(
        sa.insert(raw_orders), raw(raw_orders, key, ORDERS[0] | {"Flag": "RedFlag"}, NOW + timedelta(hours=1))
    )
    found = both_sides.newest(connection, raw_orders, [key])
    assert found[key]["Flag"] == "RedFlag"


def test_hostile_records_stop_nothing(connection: sa.Connection) -> None:
    hostile = {
        "ChannelAdvisorOrderID": 10_999_999, "OrderID": "\u202e<script>alert(1)</script>" * 80, "Currency": "GBP",
        "PaymentStatus": "Cleared", "OrderDate": "2011-01-01T00:00:00Z", "TotalShippingPrice": "1e999",
        "ShippingAddress": {"City": ["not", "a", "text"]}, "OrderItems": [None, 5, {"OrderItemID": {}}],
        "CustomerInfo": "gone",
    }  # fmt: skip
    connection.execute(sa.insert(raw_orders), raw(raw_orders, "10999999", hostile))
    document = {"ExternalOrderID": 7, "LineItems": "none", "ShippingAddress": None, "TotalAmount": "NaN"}
    connection.execute(
        sa.insert(ref_sales_order),
        {"id": "SO-X", "external_order_id": "x", "source": "x", "currency_code": "GBP", "status": "Open",
         "payload": document, "version": NOW},
    )  # fmt: skip
    connection.execute(
        sa.insert(ops_link), {"entity": "sales_order", "source_key": "10999999", "target_id": "SO-X"}
    )  # fmt: skip
    for target, inside in (("ExternalOrderID", ""), ("ShippingAmount", ""), ("SKU", "LineItems")):
        made = suggestions.for_field(connection, ANYBODY, "sales_order", target, inside, although_mapped=True)
        assert made.records == len(ORDERS) + 1
        assert made.suggestions[0].confidence > CERTAIN


def test_every_shipped_mapping_is_answered_without_any_record(postgres_url: str) -> None:
    with fresh_database(postgres_url, "suggestions_empty") as url:
        made = database.engine(url, role=None)
        with made.connect() as empty:
            for name in language.names():
                mapping = language.load(name)
                for one in mapping.fields[:3]:
                    found = suggestions.for_field(empty, VIEWER, name, one.target, although_mapped=True)
                    assert found.records == 0
                    assert all(each.confidence <= CERTAIN or each.rule or each.source is None
                               for each in found.suggestions)  # fmt: skip
        made.dispose()


# ---- lookups


def test_values_that_records_have_brought_and_a_lookup_misses(connection: sa.Connection) -> None:
    do = "Add the pair to include/config/lookups/carriers.csv, or correct the shipment in TIMS; then replay it."
    for number, value in enumerate(["Royal Mial / Special Delivery", "Royal Mial / Special Delivery", "Pigeon / Fast"]):
        reason = {"field": "Carrier", "rule": "unknown_carrier", "value": value, "says": "?", "do": do, "line": ""}
        other = {"field": "X", "rule": "other", "value": "no carrier", "says": "", "do": "Ask.", "line": ""}
        connection.execute(
            sa.insert(ops_dead_letter),
            {"flow": "shipments", "entity": "shipment", "key": f"SH-{number}", "batch_id": 1, "step": "check",
             "reasons": [reason, other], "payload": {}, "version": NOW},
        )  # fmt: skip
    made = suggestions.for_lookup(connection, VIEWER, "carriers")
    assert [(one.value, one.records) for one in made.missing] == [
        ("Royal Mial / Special Delivery", 2), ("Pigeon / Fast", 1),
    ]  # fmt: skip
    assert made.missing[0].nearest[0].key.startswith("Royal Mail / Special Delivery")
    assert made.columns[:2] == ("tims_carrier", "tims_service")
    assert made.missing[0].nearest[0].cells[:2] == ("Royal Mial", "Special Delivery")
    nearest = made.missing[0].nearest[0].row
    assert made.missing[0].nearest[0].cells[2:] == tuple(nearest[name] for name in made.columns[2:])


def test_a_value_about_a_person_is_told_to_whoever_may_see_it_alone(connection: sa.Connection) -> None:
    do = "Add it to include/config/lookups/regions.csv; then replay it."
    reason = {
        "field": "ShippingAddress.Region",
        "rule": "unknown_region",
        "value": "Miller's End",
        "says": "?",
        "do": do,
    }
    letter = {"flow": "orders", "entity": "sales_order", "key": "1", "batch_id": 1, "step": "check", "payload": {},
              "reasons": [reason | {"line": ""}], "version": NOW}  # fmt: skip
    connection.execute(sa.insert(ops_dead_letter), letter)
    assert suggestions.for_lookup(connection, VIEWER, "regions").missing == ()
    clerk = Person("clara", frozenset({Role.CLERK}))
    assert [one.value for one in suggestions.for_lookup(connection, clerk, "regions").missing] == ["Miller's End"]


def test_values_of_new_records_that_a_lookup_misses(connection: sa.Connection) -> None:
    batch = connection.scalar(
        sa.insert(ops_batch).values(flow="orders", kind="scheduled", step="extract").returning(ops_batch.c.id)
    )
    for number in range(3):
        key = str(20_000_000 + number)
        one = order(number, ChannelAdvisorOrderID=int(key), PaymentStatus="Clearing")
        row = raw(raw_orders, key, one)
        connection.execute(sa.insert(raw_orders), row)
        connection.execute(
            sa.insert(ops_work), {"queue": "orders", "key": key, "hash": row["hash"], "batch_id": batch}
        )  # fmt: skip
    (made,) = suggestions.for_lookup(connection, VIEWER, "payment_status").missing
    assert (made.value, made.records, made.nearest[0].key) == ("Clearing", 3, "Cleared")
    assert made.nearest[0].cells == ("Clearing", "Paid", ""), "the remark is about another value"


# ---- drafts


def test_a_draft_of_documents_that_flows_link(connection: sa.Connection) -> None:
    made = suggestions.draft(connection, VIEWER, SOURCE, TARGET)
    assert "60 records that both sides have" in made.text
    assert {one.target for one in made.taken} >= {"ExternalOrderID", "CurrencyCode", "PaymentStatus", "ExternalLineID"}
    assert all("no field maps it" in one.message for one in made.findings)


def test_a_draft_of_documents_that_nobody_links_finds_the_key_that_joins_them(connection: sa.Connection) -> None:
    """Products name items by a field; no flow says which."""
    for number in range(12):
        item = {"SKU": f"IT-{number:03}", "Title": f"Teapot {number}", "Brand": f"Maker {number % 5}"}
        product = {"SKU": f"CA{number}", "MPN": item["SKU"], "Title": "x", "ShortDescription": item["Title"],
                   "Manufacturer": item["Brand"]}  # fmt: skip
        connection.execute(sa.insert(raw_items), raw(raw_items, item["SKU"], item))
        connection.execute(sa.insert(raw_products), raw(raw_products, product["SKU"], product))
    made = suggestions.draft(connection, VIEWER, ("channel_advisor", "Product"), ("tims", "Item"))
    assert {one.target: one.source for one in made.taken if not one.children}.items() >= {
        "SKU": "MPN", "Title": "ShortDescription", "Brand": "Manufacturer",
    }.items()  # fmt: skip


# ---- the command line


def typed(words: list[str], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    monkeypatch.setattr(sys, "argv", ["crossdock", *words])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return int(ended.value.code or 0), *capfd.readouterr()


def test_the_command_line_asks_the_same(
    engine: sa.Engine, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_CROSSDOCK", engine.url.set(drivername="postgresql").render_as_string(False))
    code, out, _ = typed(["mapping", "suggest", "sales_order", "PaymentStatus"], monkeypatch, capfd)
    assert code == 0
    assert "payment_status" in out  # columns fold
    assert "60 records that both sides have" in out
    code, out, _ = typed(
        ["mapping", "suggest", "sales_order", "SKU", "--lines", "LineItems", "--json"], monkeypatch, capfd
    )
    assert json.loads(out)["suggestions"][0]["source"] == "SKU"
    code, out, err = typed(
        ["mapping", "draft", "--from", "channel_advisor/Order", "--to", "tims/SalesOrderCreate"], monkeypatch, capfd
    )
    assert code == 0
    assert "  - target: CurrencyCode\n    from: Currency\n" in out
    assert "SalesOrderCreate needs CustomerID" in err
    code, out, _ = typed(["mapping", "missing", "carriers"], monkeypatch, capfd)
    assert (code, out.splitlines()[-1]) == (0, "Values: 0.")
    code, _, err = typed(["mapping", "draft", "--from", "Order", "--to", "tims/Item"], monkeypatch, capfd)
    assert code == 2
    assert "--from 'Order' names no document" in err


# ---- the language model

COMPLETIONS = "/v1/chat/completions"


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    yield made
    made.close()


def model(server: Server, seconds: float = 5.0) -> LanguageModel:
    return LanguageModel(Connection(language_model.NAME, f"{server.url}/v1", "a-model", "a-key"), seconds)


def answer(named: dict[str, Any] | str) -> Reply:
    content = named if isinstance(named, str) else json.dumps({"suggestions": named})
    return ok({"id": "1", "choices": [{"index": 0, "message": {"role": "assistant", "content": content}}]})


def ask_for(connection: sa.Connection, target: str, one: LanguageModel | None, inside: str = "") -> Any:
    return suggestions.for_field(connection, ANYBODY, "sales_order", target, inside, although_mapped=True, model=one)


def test_it_is_off_unless_somebody_has_made_the_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AIRFLOW_CONN_CROSSDOCK_AI", raising=False)
    assert language_model.connected() is None
    text = '{"conn_type": "http", "host": "https://models.example.com/v1", "login": "m", "password": "k"}'
    monkeypatch.setenv("AIRFLOW_CONN_CROSSDOCK_AI", text)
    made = language_model.connected()
    assert made is not None
    assert (made.connection.base_url, made.connection.login) == ("https://models.example.com/v1", "m")
    monkeypatch.setenv("AIRFLOW_CONN_CROSSDOCK_AI", text.replace("https://", "http://"))
    assert language_model.connected() is None  # in the clear to another machine: refused


def test_its_word_is_heard_where_there_are_no_values(connection: sa.Connection, server: Server) -> None:
    """No order has been linked yet: the channel's own number could be either."""
    connection.execute(sa.delete(ops_link))
    named = json.dumps({"suggestions": {"ExternalOrderID": ["OrderID"]}})
    server.default(COMPLETIONS, answer(f"```json\n{named}\n```"))
    alone = {one.source: one for one in ask_for(connection, "ExternalOrderID", None).suggestions}
    heard = {one.source: one for one in ask_for(connection, "ExternalOrderID", model(server)).suggestions}
    assert alone["OrderID"].confidence < heard["OrderID"].confidence <= CERTAIN
    assert "the language model names it too" in heard["OrderID"].why
    assert "the language model names it too" not in heard["ChannelAdvisorOrderID"].why


def test_no_value_of_a_record_is_in_any_byte_that_leaves(connection: sa.Connection, server: Server) -> None:
    connection.execute(sa.delete(ops_link))
    planted: list[str] = []

    def plant(value: Any) -> Any:
        """The same record with values that stand nowhere else."""
        if isinstance(value, dict):
            return {name: plant(inner) for name, inner in value.items()}
        if isinstance(value, list):
            return [plant(inner) for inner in value]
        number = 7_310_000_000 + len(planted)
        made: Any = number if isinstance(value, int) else f"qzx{number}wv"
        planted.append(str(made))
        return made

    orders = [plant(order(number)) for number in range(30)]
    for one in orders:
        one["Currency"], one["PaymentStatus"] = "XQZ", "Cleared"
        one["OrderDate"], one["TotalShippingPrice"] = "2063-04-05T01:02:03.456Z", "8713.37"
        one["CustomerInfo"]["Email"] = "quixotic.zebra@planted.example"
        one["SpecialInstructions"] = "Überraschung für Żółć \U0001f984"
    planted += [
        "XQZ",
        "2063-04-05",
        "8713.37",
        "8713",
        "quixotic",
        "zebra",
        "planted",
        "berraschung",
        "\U0001f984",
    ]
    link(connection, orders)
    server.default(COMPLETIONS, answer({}))
    for target, inside in (("CurrencyCode", ""), ("Notes", ""), ("SKU", "LineItems")):
        assert ask_for(connection, target, model(server), inside).records == 30
    suggestions.unmapped(connection, ANYBODY, "sales_order", model(server))
    assert len(server.requests) == 4
    for request in server.requests:
        sent = b"\n".join(
            [
                request.body,
                request.path.encode(),
                *(f"{name}: {value}".encode() for name, value in request.headers.items()),
            ]
        )
        texts = [sent.decode(), json.dumps(json.loads(request.body), ensure_ascii=False)]
        texts += [json.loads(request.body)["messages"][1]["content"]]
        for text in texts:
            assert [value for value in planted if value.lower() in text.lower()] == []
            assert re.search(r"[0-9]{5,}", text.replace("127.0.0.1", "").replace(server.url.rpartition(":")[2], "")
                             .replace(f"Content-Length: {len(request.body)}", "")) is None  # fmt: skip
    heard = json.loads(server.requests[0].json()["messages"][1]["content"])
    fields = {one["path"]: one for one in heard["source"]["fields"]}
    assert fields["CustomerInfo.Email"]["shapes"] == ["A.A@A.A"]
    assert set(heard["target"]["fields"][0]) <= {"path", "type", "description", "shapes"}
    assert server.requests[0].headers["authorization"] == "Bearer a-key"


LIES = {
    "CurrencyCode": ["Flag", "OrderID", "SiteID"],
    "ExternalOrderID": ["SellerOrderID", "OrderStatus"],
    "LineItems[].SKU": ["OrderItems[].Quantity", "Currency"],
}
FAULTS = {
    "fails": Reply(500, b"{}"),
    "refuses the key": Reply(401, b'{"error": "no"}'),
    "is somewhere else": Reply(302, b"", {"Location": "http://127.0.0.1:9/"}),
    "is no JSON": Reply(200, b"<html>welcome</html>", kind="text/html"),
    "has no choice": ok({"choices": []}),
    "is of another shape": ok({"choices": [{"message": {"content": None}}]}),
    "says prose": answer("I would take the currency, of course."),
    "names no lists": answer({"CurrencyCode": "Currency"}),
    "is broken off": Reply(200, b'{"choices": [{"message"' * 50, cut_at=100),
    "hangs up": Reply(no_answer=True),
    "is endless": Reply(200, b'{"choices": "' + b"x" * (2 << 20) + b'"}'),
    "is deep": ok("[" * 50_000),
    "lies": answer(LIES),
    "names what there is not": answer({"CurrencyCode": ["Nothing", "../../etc/passwd", "x'; DROP"], "Foo": ["Bar"]}),
    "names too many": answer({"CurrencyCode": ["Flag"] * 10_000}),
}  # fmt: skip


@pytest.mark.parametrize("fault", list(FAULTS))
def test_a_model_that_is_no_help_changes_nothing(connection: sa.Connection, server: Server, fault: str) -> None:
    server.default(COMPLETIONS, FAULTS[fault])
    for target, inside in (("CurrencyCode", ""), ("ExternalOrderID", ""), ("SKU", "LineItems")):
        heard, alone = ask_for(connection, target, model(server), inside), ask_for(connection, target, None, inside)
        assert heard == alone
    assert len(server.requests) == 3


@pytest.mark.parametrize("slow", [Reply(200, b"{}", wait=30), Reply(200, b'{"choices": []}' * 5, drip=0.3)])
def test_a_slow_model_is_not_waited_for(
    connection: sa.Connection, server: Server, slow: Reply, caplog: pytest.LogCaptureFixture
) -> None:
    server.default(COMPLETIONS, slow)
    begun = datetime.now(UTC)
    heard = ask_for(connection, "CurrencyCode", model(server, seconds=0.5))
    assert datetime.now(UTC) - begun < timedelta(seconds=5)
    assert heard == ask_for(connection, "CurrencyCode", None)
    assert "was no help" in caplog.text
    assert "a-key" not in caplog.text


def test_nobody_at_home_is_said_in_the_log(
    connection: sa.Connection, server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    gone = model(server)
    server.close()
    assert ask_for(connection, "CurrencyCode", gone) == ask_for(connection, "CurrencyCode", None)
    assert "suggestions go on without it" in caplog.text
