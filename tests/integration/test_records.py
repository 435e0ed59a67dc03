"""From any number to the record's whole life, on both systems and a real Postgres; and where a record stands."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
import sqlalchemy as sa

from crossdock import flows
from crossdock.errors import BatchStopped, ConfigError, NotAllowed
from crossdock.reference import tims
from crossdock.services import records, search, standing
from crossdock.services.people import Person, Role
from crossdock.services.personal import MASK
from crossdock.services.records import Life
from crossdock.services.search import Hit
from crossdock.services.standing import Standing
from crossdock.steps.extract import extract, refresh_reference
from crossdock.steps.run_batches import STEPS
from crossdock.store.tables import (
    ops_audit,
    ops_dead_letter,
    ops_work,
    raw_orders,
    ref_customer_key,
    ref_gl_entry,
    ref_invoice,
    ref_settlement,
    ref_settlement_line,
)
from integration.builders import line, order, place, sales_order, ship
from integration.environment import Environment

CLERK = Person("ada", frozenset({Role.CLERK}), "192.0.2.7")
VIEWER = Person("bob", frozenset({Role.VIEWER}))
ORDERS = flows.get("orders")
HOSTILE = "<script>alert(1)</script>'; DROP TABLE ops.work; -- \u202egnp.exe \x00 \U0001f9ff %_\\"


@pytest.fixture(scope="module")
def sold(long_lived_environment: Environment) -> tuple[Environment, str, str]:
    """An order that was read, delivered, shipped, invoiced and booked; its number, and its shipment's."""
    environment = long_lived_environment
    environment.tick("2011-01-04")
    key = order(environment, line(quantity=2))
    shipment = ship(environment, key, {1: 2}, TrackingNumber="1Z999AA10123456784")
    for flow in ("shipments", "invoices", "ledger_invoices", "invoices"):  # it reads the invoices back
        environment.sync(flow=flow)
    with environment.runtime() as runtime:
        refresh_reference(runtime, tims.ENTRIES)
    return environment, key, shipment


@pytest.fixture
def connection(sold: tuple[Environment, str, str]) -> Iterator[sa.Connection]:
    with sold[0].runtime() as runtime, runtime.engine.connect() as opened, opened.begin() as transaction:
        yield opened
        transaction.rollback()


def hits(connection: sa.Connection, text: str, person: Person = VIEWER) -> list[Hit]:
    return list(search.search(connection, person, text).hits)


def stands(connection: sa.Connection, key: str) -> Standing:
    return standing.standing(connection, ORDERS, key)


def one(connection: sa.Connection, column: sa.Column) -> str:
    return str(connection.scalar(sa.select(column).limit(1)))


def test_every_number_leads_to_its_order(sold: tuple[Environment, str, str], connection: sa.Connection) -> None:
    environment, key, shipment = sold
    number = sales_order(environment, key)["SalesOrderID"]
    invoice = one(connection, ref_invoice.c.id)
    for text, at in (
        (key, ""), (f" #{key} ", ""), (f"T-{key}", ""), (number, number), (number.lower(), number),
        (shipment, shipment),
        ("1Z999AA10123456784", shipment), ("1z999aa10123456784", shipment), (invoice, invoice),
    ):  # fmt: skip
        (hit,) = hits(connection, text)
        assert (hit.kind, hit.id, hit.at) == ("order", key, at), text


def test_a_number_of_an_order_that_was_only_read_leads_there_too(connection: sa.Connection) -> None:
    values = {"key": "555", "version": datetime.now(UTC), "hash": "h", "payload": {"OrderID": "AMZ-555"}}
    connection.execute(sa.insert(raw_orders).values(values))
    assert [hit.id for hit in hits(connection, "AMZ-555")] == ["555"]
    assert [hit.id for hit in hits(connection, "555")] == ["555"]


def test_skus_and_customers_are_found_and_a_beginning_is_enough(connection: sa.Connection) -> None:
    assert [(hit.kind, hit.id) for hit in hits(connection, "84997c")] == [("sku", "84997C")]
    found = search.search(connection, VIEWER, "84997")
    assert found.begins or [hit.id for hit in found.hits] == ["84997"]
    assert "84997C" in [hit.id for hit in search.search(connection, VIEWER, "8499").hits]
    customer = one(connection, ref_customer_key.c.customer_id)
    assert [(hit.kind, hit.id) for hit in hits(connection, customer)] == [("customer", customer)]
    assert hits(connection, "84%") == []
    assert hits(connection, "8_9") == []


def test_an_address_is_found_by_those_who_may_see_it_and_is_not_written_down(connection: sa.Connection) -> None:
    row = connection.execute(
        sa.select(ref_customer_key).where(ref_customer_key.c.kind == "email", ref_customer_key.c.value.like("%@%.com"))
    ).first()
    assert row is not None
    with pytest.raises(NotAllowed, match="personal"):
        hits(connection, row.value)
    assert row.customer_id in [hit.id for hit in hits(connection, row.value.upper(), CLERK)]
    seen = connection.execute(sa.select(ops_audit).order_by(ops_audit.c.id.desc()).limit(1)).one()
    assert (seen.who, seen.action) == ("ada", "record search by e-mail")
    assert row.value not in str(tuple(seen)).lower()


@pytest.mark.parametrize("text", ["", "  ", "\x00", HOSTILE, "x" * 5_000, "9" * 300, "\ud800", "'", "SO-", "a:b:c"])
def test_any_text_can_be_searched(connection: sa.Connection, text: str) -> None:
    found = search.search(connection, VIEWER, text)
    assert found.hits == ()
    assert len(found.text) <= search.LONGEST
    records.readable(found.text)


def test_the_life_of_an_order_has_everything_that_came_of_it(
    sold: tuple[Environment, str, str], connection: sa.Connection
) -> None:
    environment, key, shipment = sold
    found = records.life(connection, VIEWER, "order", key)
    titles = [event.title for event in found.events]
    number = sales_order(environment, key)["SalesOrderID"]
    for title in (
        f"Order {key} received", f"Create sales order: {number}", f"Sales order {number}", f"Shipment {shipment}",
        f"Shipment {shipment} received", "The channel was told that it is in TIMS",
    ):  # fmt: skip
        assert title in titles, titles
    assert any(title.startswith("Invoice ") for title in titles)
    assert [event.at for event in found.events] == sorted(event.at for event in found.events)
    states = {one.flow: one.state for one in found.standings}
    assert states["orders"] == states["shipments"] == states["invoices"] == states["ledger_invoices"] == "good"
    assert found.standings[0].sentence == f"It is in TIMS as {number}."
    parcel = next(event for event in found.events if event.title == f"Shipment {shipment}")
    assert "1Z999AA10123456784" in parcel.detail
    assert [fact.amount for fact in found.facts if fact.name == "total"] == [20]


def test_a_ledger_line_leads_back_to_its_order(sold: tuple[Environment, str, str], connection: sa.Connection) -> None:
    _, key, _ = sold
    found = records.life(connection, VIEWER, "order", key)
    assert found.ledger
    for debit, credit in found.totals.values():
        assert debit == credit > 0
    entry = found.ledger[0].entry
    assert entry == one(connection, ref_gl_entry.c.id) or entry
    its = records.life(connection, VIEWER, "entry", entry)
    assert {line.entry for line in its.ledger} == {entry}
    back = next(line.order for line in its.ledger)
    assert back is not None
    assert (back.kind, back.id) == ("order", key)
    assert [fact.link.id for fact in its.facts if fact.name == "of" and fact.link] == [key]


def test_a_settlement_and_its_lines_lead_to_the_order(
    sold: tuple[Environment, str, str], connection: sa.Connection
) -> None:
    _, key, _ = sold
    connection.execute(
        sa.insert(ref_settlement).values(
            source="amazon_uk", settlement_id="S-77", channel="Amazon UK", format="amazon", file="s77.txt",
            currency_code="GBP", total="18.00", content_hash="h",
        )
    )  # fmt: skip
    for position in range(records.MOST + 1):
        connection.execute(
            sa.insert(ref_settlement_line).values(
                source="amazon_uk", settlement_id="S-77", line_no=str(position), position=position, kind="sale",
                order_ref=f"T-{key}" if position < 3 else "elsewhere", amount="0.50", currency_code="GBP",
                posted_at=datetime.now(UTC),
            )
        )  # fmt: skip
    (hit,) = hits(connection, "S-77")
    found = records.life(connection, VIEWER, hit.kind, hit.id)
    assert [line.order.id for line in found.settled if line.order] == [key] * 3
    assert len(found.settled) == records.MOST
    rest = records.life(connection, VIEWER, hit.kind, hit.id, after=found.after)
    assert [line.position for line in rest.settled] == [records.MOST]
    assert len(records.life(connection, VIEWER, "order", key).settled) == 3
    assert "order" in [hit.kind for hit in hits(connection, f"T-{key}")]
    with pytest.raises(ConfigError, match="no place"):
        records.life(connection, VIEWER, hit.kind, hit.id, after="x")


def test_versions_are_masked_and_their_opening_is_on_record(
    sold: tuple[Environment, str, str], connection: sa.Connection
) -> None:
    _, key, _ = sold
    came = next(e for e in records.life(connection, VIEWER, "order", key).events if e.version and e.flow == "orders")
    masked = records.version(connection, VIEWER, "orders", key, came.version)
    values = {part.path: part.value for part in masked.parts}
    assert values["ShippingAddress.Name"] == values["CustomerInfo.LastName"] == MASK
    assert values["OrderID"] == f"T-{key}"
    before = connection.scalar(sa.select(sa.func.count()).select_from(ops_audit))
    with pytest.raises(NotAllowed):
        records.version(connection, VIEWER, "orders", key, came.version, whole=True)
    whole = records.version(connection, CLERK, "orders", key, came.version, whole=True)
    assert {part.path: part.value for part in whole.parts}["ShippingAddress.Name"] == "Ada Miller"
    assert connection.scalar(sa.select(sa.func.count()).select_from(ops_audit)) == (before or 0) + 1
    with pytest.raises(ConfigError, match="not kept"):
        records.version(connection, VIEWER, "orders", key, HOSTILE.replace("\x00", ""))


def test_a_customers_name_is_for_those_who_may_see_it(connection: sa.Connection) -> None:
    number = one(connection, ref_customer_key.c.customer_id)

    def name(person: Person) -> str:
        return next(f.value for f in records.life(connection, person, "customer", number).facts if f.name == "name")

    assert name(VIEWER) == MASK
    assert name(CLERK) not in ("", MASK)
    assert connection.scalar(sa.select(ops_audit.c.action).order_by(ops_audit.c.id.desc()).limit(1)) == "record open"


@pytest.mark.parametrize("kind", ["order", "sku", "return", "sales_order"])
def test_a_record_that_nobody_has_seen_has_a_next_step(connection: sa.Connection, kind: str) -> None:
    found: Life = records.life(connection, VIEWER, kind, HOSTILE.replace("\x00", ""))
    assert found.standings[0].action == "read"
    assert "never read" in found.standings[0].sentence


@pytest.mark.parametrize("kind", ["payment", "adjustment", "entry", "customer", "settlement", "nothing", "__class__"])
def test_a_document_that_nobody_has_read_is_refused_in_words(connection: sa.Connection, kind: str) -> None:
    with pytest.raises(ConfigError):
        records.life(connection, VIEWER, kind, "X-1")


# ---- where it stands -----------------------------------------------------------------------------------------------


def test_an_order_that_waits_to_be_worked(sold: tuple[Environment, str, str], connection: sa.Connection) -> None:
    connection.execute(sa.insert(ops_work).values(queue="orders", key="777", hash="h"))
    found = stands(connection, "777")
    assert (found.action, found.state) == ("read", "warn")
    assert "waits for the next run" in found.sentence


def letter(connection: sa.Connection, key: str, **values: object) -> None:
    row = {
        "flow": "orders", "entity": "sales_order", "key": key, "batch_id": 1, "step": "check",
        "version": datetime.now(UTC), "payload": {},
        "reasons": [{"rule": "unknown_sku", "says": "SKU X of Ada Miller", "do": "Add the item."}], **values,
    }  # fmt: skip
    connection.execute(sa.insert(ops_dead_letter).values(row))


@pytest.mark.parametrize(("step", "words"), [("check", "A rule refuses it"), ("load", "TIMS has refused it"),
                                             ("extract", "It could not be read")])  # fmt: skip
def test_a_dead_order_says_the_rule_and_what_to_do(connection: sa.Connection, step: str, words: str) -> None:
    letter(connection, "778", step=step)
    found = stands(connection, "778")
    assert found.sentence.startswith(words)
    assert "unknown sku" in found.sentence
    assert (found.do, found.action, found.state) == ("Add the item.", "letter", "bad")
    its = records.life(connection, VIEWER, "order", "778")
    assert any(event.letter == found.letter for event in its.events)
    assert "Ada Miller" not in str(its)
    assert [(hit.kind, hit.id) for hit in hits(connection, "778")] == [("order", "778")]


def test_states_of_real_orders(sold: tuple[Environment, str, str]) -> None:
    """Left out, dismissed, in a stopped batch, never read and then read by its key."""
    environment, _, _ = sold
    cancelled = place(environment, line(), OrderStatus="Cancelled")
    bad = [place(environment, line("NO-SUCH-ITEM")) for _ in range(30)]
    good = place(environment, line())
    environment.tick("2011-01-05")
    with environment.runtime() as runtime:
        extract(runtime, ORDERS, run_id="cli:1")
        with runtime.engine.connect() as connection:
            in_flight = stands(connection, good)
    assert "whose last step was extract" in in_flight.sentence
    assert in_flight.do == standing.BY_ITSELF
    with pytest.raises(BatchStopped):
        environment.sync(run_id="cli:2")
    unread = place(environment, line())
    with environment.runtime() as runtime, runtime.engine.connect() as connection:
        stopped = stands(connection, good)
        assert (stopped.action, stopped.state) == ("accept", "bad")
        assert f"batch {stopped.batch_id}" in stopped.sentence
        never = stands(connection, unread)
        assert (never.action, never.state) == ("read", "warn")
        assert "never read" in never.sentence
    environment.tick("2011-01-06")
    environment.sync(kind="key", keys=[unread])
    with environment.runtime() as runtime:
        for name, step in STEPS.items():
            more = {"accept_rejects": True} if name == "check" else {}
            step(runtime, ORDERS, stopped.batch_id, run_id="cli:3", **more)
        with runtime.engine.begin() as connection:
            assert stands(connection, unread).state == "good"
            assert stands(connection, good).state == "good"
            assert stands(connection, bad[0]).action == "letter"
            left = stands(connection, cancelled)
            assert "leaves it out" in left.sentence
            assert left.do
            connection.execute(
                sa.update(ops_dead_letter)
                .where(ops_dead_letter.c.key == bad[0])
                .values(state="dismissed", changed_by="ada", note="a test order")
            )
            dismissed = stands(connection, bad[0])
            assert "ada has decided" in dismissed.sentence
            assert "a test order" in dismissed.sentence
            assert dismissed.action == "read"


def test_reading_one_now_is_for_clerks_and_on_record(connection: sa.Connection) -> None:
    with pytest.raises(NotAllowed):
        records.read_now(connection, VIEWER, "orders", "1")
    assert records.read_now(connection, CLERK, "orders", "1") == "orders"
    row = connection.execute(sa.select(ops_audit).order_by(ops_audit.c.id.desc()).limit(1)).one()
    assert (row.who, row.action, row.subject) == ("ada", "record read", "1")
    for flow, key in (("orders", ""), ("orders", "x" * 2_000), ("ledger_invoices", "1"), (HOSTILE, "1")):
        with pytest.raises(ConfigError):
            records.read_now(connection, CLERK, flow, key)
