"""From any number to the record's whole life, on both systems and a real Postgres; and where a record stands."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
import sqlalchemy as sa

from crossdock import flows, settings
from crossdock.errors import BatchStopped, ConfigError, NotAllowed
from crossdock.reference import tims
from crossdock.rules.shipping import fulfillment_id
from crossdock.services import letters, records, replays, search, standing
from crossdock.services.people import Person, Role
from crossdock.services.personal import MASK
from crossdock.services.records import Life
from crossdock.services.search import Hit
from crossdock.services.standing import Standing
from crossdock.services.timeline import Link
from crossdock.steps.extract import extract, refresh_reference
from crossdock.steps.run_batches import STEPS
from crossdock.store.tables import (
    ops_audit,
    ops_dead_letter,
    ops_delivery,
    ops_work,
    raw_orders,
    ref_customer_key,
    ref_gl_entry,
    ref_invoice,
    ref_sales_order,
    ref_settlement,
    ref_settlement_line,
    stage_credit_memo,
    stage_sales_order_line,
)
from integration.builders import forward, line, order, place, sales_order, ship
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
        (key, ""), (f" #{key} ", ""), (f"T-{key}", ""), (f"t-{key}", ""), (number, number), (number.lower(), number),
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
    stand = [titles.index(f"{name}") for name in (
        f"Order {key}", f"Order {key} received", f"Create sales order: {number}", f"Sales order {number}",
        f"Shipment {shipment}", f"Shipment {shipment} received",
    )]  # fmt: skip
    assert stand == sorted(stand), titles
    invoice = next(n for n, title in enumerate(titles) if title.startswith("Invoice ") and "received" not in title)
    assert stand[-2] < invoice
    ours = [event.at for event in found.events if event.clock == "crossdock"]
    assert ours == sorted(ours)
    states = {one.flow: one.state for one in found.standings}
    assert states["orders"] == states["shipments"] == states["invoices"] == states["ledger_invoices"] == "good"
    assert found.standings[0].sentence == f"It is in TIMS as {number}."
    parcel = next(event for event in found.events if event.title == f"Shipment {shipment}")
    assert "1Z999AA10123456784" in parcel.detail
    assert [fact.amount for fact in found.facts if fact.name == "total"] == [20]


def test_every_number_on_top_of_an_order_leads_to_its_part_of_the_page(
    sold: tuple[Environment, str, str], connection: sa.Connection
) -> None:
    _, key, shipment = sold
    found = records.life(connection, VIEWER, "order", key)
    invoice = one(connection, ref_invoice.c.id)
    links = {each.name: each.link for each in found.facts if each.link}
    assert links["shipment"] == links["tracking number"] == Link("order", key, shipment)
    assert links["invoice"] == Link("order", key, invoice)
    assert links["sales order"].kind == "sales_order"
    assert {link.at for link in links.values() if link.at} <= {event.anchor for event in found.events}
    for each in found.facts:
        if each.link and each.link.kind == "order":
            assert [(hit.kind, hit.id, hit.at) for hit in hits(connection, each.value)] == [
                ("order", key, each.link.at)
            ]


def test_of_many_facts_of_one_name_some_are_shown(connection: sa.Connection) -> None:
    many = [records.Fact("shipment", str(number)) for number in range(records.FACTS + 3)]
    found = records._some_of_each([records.Fact("total", "1"), *many[:2], records.Fact("channel", "x"), *many])
    assert [each.value for each in found] == ["1", "0", "1", "2", "3", "4", "5", "and 3 more", "x"]


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


def test_a_refusal_that_came_again_says_its_first_and_its_last_time(sold: tuple[Environment, str, str]) -> None:
    environment, _, _ = sold
    key = place(environment, line("TYPO-7"))
    environment.sync(run_id="cli:first")
    environment.sync(kind="key", keys=[key], reprocess=True, run_id="cli:last")
    (row,) = environment.query(f"SELECT * FROM ops.dead_letter WHERE key = '{key}'")
    assert (row.times, row.first_batch_id < row.batch_id) == (2, True)
    assert row.created_at < row.refused_at
    with environment.runtime() as runtime, runtime.engine.begin() as connection:
        refused = [each for each in records.life(connection, VIEWER, "order", key).events if each.what == "refused"]
        whole = letters.letter(connection, VIEWER, row.id)
    assert [(each.at, each.batch_id, each.run_id) for each in refused] == [
        (row.created_at, row.first_batch_id, "cli:first"), (row.refused_at, row.batch_id, "cli:last"),
    ]  # fmt: skip
    assert "2×" in refused[-1].detail
    assert (whole.first_batch_id, whole.refused_at) == (row.first_batch_id, row.refused_at)


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
            assert "cancelled at the channel" in left.sentence
            assert (left.state, left.action, left.do) == ("", "", "Nothing is to be done.")
            connection.execute(
                sa.update(ops_dead_letter)
                .where(ops_dead_letter.c.key == bad[0])
                .values(state="dismissed", changed_by="ada", note="a test order")
            )
            dismissed = stands(connection, bad[0])
            assert "ada has decided" in dismissed.sentence
            assert "a test order" in dismissed.sentence
            assert (dismissed.state, dismissed.action) == ("", "reopen")
            assert dismissed.do.startswith("Nothing is to be done.")


def test_an_edited_letter_waits_for_its_replay(connection: sa.Connection) -> None:
    letter(connection, "779", state="edited", changed_by="ada", edited_payload={})
    found = stands(connection, "779")
    assert (found.state, found.action, found.do) == ("warn", "letter", "Replay it.")
    assert "ada has edited" in found.sentence


def test_an_order_that_waits_is_held_or_cancelled_says_so(sold: tuple[Environment, str, str]) -> None:
    environment, _, _ = sold
    pending = place(environment, line(), OrderStatus="Pending")
    held = order(environment, line(), OrderStatus="OnHold")
    by_person, cancelled = order(environment, line()), order(environment, line())
    with environment.runtime() as runtime:
        for key, what in ((by_person, "hold"), (cancelled, "cancel")):
            number = sales_order(environment, key)["SalesOrderID"]
            result = runtime.tims.post(f"/sales-orders/{number}/{what}", {"Reason": "a test"}, key=f"{what}-{number}")
            assert result.status < 300, result.error
        forward(environment, environment.now + timedelta(minutes=20))
    environment.sync(flow="holds")
    with environment.runtime() as runtime, runtime.engine.begin() as connection:
        waits, at_channel, at_tims, gone = (stands(connection, key) for key in (pending, held, by_person, cancelled))
    assert (waits.state, waits.action) == ("warn", "read")
    assert waits.sentence.startswith("It waits: pending")
    assert at_channel.sentence.endswith("on hold: the channel holds it.")
    assert at_channel.do == standing.HOLDERS["channel"][1]
    assert at_tims.sentence.endswith("on hold: somebody has put it on hold in TIMS.")
    assert "Release it in TIMS" in at_tims.do
    assert gone.sentence.endswith("and cancelled.")
    assert (gone.state, gone.do) == ("", "Nothing is to be done.")


# ---- what a page of an order has -----------------------------------------------------------------------------------


def fact(found: Life, name: str) -> records.Fact:
    return next(each for each in found.facts if each.name == name)


def test_an_edited_order_keeps_its_customer_when_it_is_read_again(sold: tuple[Environment, str, str]) -> None:
    """The run that sends it knows the customer; a version that comes later names none."""
    environment, _, _ = sold
    buyer = {"CustomerID": "buyer-edited", "FirstName": "Eve", "LastName": "Edited", "Email": "eve@example.com",
             "Phone": None, "Company": None}  # fmt: skip
    key = place(environment, line("TYPO-9"), CustomerInfo=buyer)
    environment.sync()
    with environment.runtime() as runtime:
        with runtime.engine.begin() as connection:
            number = connection.scalar(sa.select(ops_dead_letter.c.id).where(ops_dead_letter.c.key == key))
            assert number
            letters.edit(connection, CLERK, number, {"OrderItems[0].SKU": "22423"})
            begun = letters.ask_replay(connection, CLERK, numbers=[number])
        for batch_id in extract(runtime, ORDERS, kind="replay", keys=begun.keys["orders"]):
            for step in STEPS.values():
                step(runtime, ORDERS, batch_id)
        with runtime.engine.begin() as connection:
            before = fact(records.life(connection, VIEWER, "order", key), "customer")
            found = replays.replay(connection, VIEWER, begun.replay or 0)
    customer = sales_order(environment, key)["CustomerID"]
    assert before.value == customer
    assert {end: [one.documents for one in rows] for end, rows in found.rows.items()} == {
        "delivered": [(sales_order(environment, key)["SalesOrderID"],)]
    }
    environment.sync(kind="key", keys=[key], reprocess=True)
    with environment.runtime() as runtime, runtime.engine.begin() as connection:
        after = records.life(connection, VIEWER, "order", key)
    assert fact(after, "customer") == before
    assert any(event.title.startswith("Create customer") for event in after.events)


def test_a_dismissed_order_does_not_show_what_its_buyers_other_order_made(sold: tuple[Environment, str, str]) -> None:
    environment, _, _ = sold
    buyer = {"CustomerID": "buyer-twice", "FirstName": "Tom", "LastName": "Twice", "Email": "tom@example.com",
             "Phone": None, "Company": None}  # fmt: skip
    key = place(environment, line("TYPO-8"), CustomerInfo=buyer)
    environment.sync()
    with environment.runtime() as runtime, runtime.engine.begin() as connection:
        number = connection.scalar(sa.select(ops_dead_letter.c.id).where(ops_dead_letter.c.key == key))
        letters.dismiss(connection, CLERK, "a test order", numbers=[number or 0])
    other = order(environment, line(), CustomerInfo=buyer)
    with environment.runtime() as runtime, runtime.engine.begin() as connection:
        dismissed, delivered = (records.life(connection, VIEWER, "order", each) for each in (key, other))
    assert [event.title for event in dismissed.events if "customer" in event.title] == []
    assert [event.title for event in delivered.events if event.title.startswith("Create customer")]
    assert dismissed.standings[0].action == "reopen"


def test_an_order_has_its_lines_and_an_item_its_orders(sold: tuple[Environment, str, str]) -> None:
    environment, key, _ = sold
    unknown = place(environment, line("NO-ITEM-1", 3, "4.5000", TaxAmount="0.75"))
    several = [order(environment, line("84946", number, "2.5000")) for number in (1, 2)]
    environment.sync(flow="holds")  # reads the sales orders back
    with environment.runtime() as runtime, runtime.engine.begin() as connection:
        dead, sent = (records.life(connection, VIEWER, "order", each) for each in (unknown, key))
        # Orders of the month, with longer keys, may be in this database too: the page begins after them.
        sku = records.life(connection, VIEWER, "sku", "84946", after=str(int(several[1]) + 1))
        number = fact(sent, "sales order")
        page = records.life(connection, VIEWER, "sales_order", number.value)
    assert dead.lines_of == "Channel Advisor"
    assert [(one.sku, one.quantity, one.price, one.tax, one.shipped) for one in dead.lines] == [
        ("NO-ITEM-1", 3, Decimal("4.5"), Decimal("0.75"), 0)
    ]
    assert sent.lines_of == "TIMS"
    assert [(one.sku, one.quantity, one.price, one.shipped, one.cancelled) for one in sent.lines] == [
        ("22423", 2, Decimal("10"), 2, 0)
    ]
    assert number.link == records.Link("sales_order", number.value)
    assert fact(page, "order of the channel").link == records.Link("order", key)
    assert page.lines == sent.lines
    found = [(one.order, one.quantity) for one in sku.orders]
    assert found[:2] == [(several[1], 2), (several[0], 1)]


def test_the_orders_of_an_item_are_paged_by_key(connection: sa.Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "ORDERS", 3)
    keys = [str(number) for number in (8, 9, 10, 99, 100, 101, 1_000)]
    for key in keys:
        connection.execute(sa.insert(stage_sales_order_line).values(key=key, position=0, SKU="PAGED", Quantity=1))
    seen: list[str] = []
    after = None
    while True:
        page = records.life(connection, VIEWER, "sku", "PAGED", after=after)
        seen += [one.order for one in page.orders]
        after = page.after
        if after is None:
            break
    assert seen == keys[::-1]
    records.life(connection, VIEWER, "sku", "PAGED", after=HOSTILE.replace("\x00", ""))


def test_the_orders_of_an_item_are_found_by_an_index(connection: sa.Connection) -> None:
    rows = [{"key": str(1_000_000 + n), "position": 0, "SKU": f"S{n % 50}", "Quantity": 1} for n in range(5_000)]
    connection.execute(sa.insert(stage_sales_order_line), rows)
    connection.execute(sa.text("ANALYZE stage.sales_order_line"))
    plans: list[str] = []

    def explain(_: object, cursor: object, statement: str, parameters: object, *rest: object) -> None:
        if "sales_order_line" in statement and statement.startswith("SELECT"):
            with connection.connection.cursor() as other:
                other.execute(f"EXPLAIN {statement}", parameters)
                plans.append("\n".join(row[0] for row in other.fetchall()))

    sa.event.listen(connection, "before_cursor_execute", explain)
    try:
        records.life(connection, VIEWER, "sku", "S7", after="1003000")
    finally:
        sa.event.remove(connection, "before_cursor_execute", explain)
    assert len(plans) == 1
    assert "ix_sales_order_line_sku" in plans[0], plans[0]
    assert "Seq Scan on sales_order_line" not in plans[0]


def test_documents_link_into_both_systems_by_the_templates(
    sold: tuple[Environment, str, str], connection: sa.Connection, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    _, key, shipment = sold
    assert records.life(connection, VIEWER, "order", key).outside == ()
    made = shutil.copytree(settings.base_dir(), tmp_path / "config")
    text = (made / "console.yaml").read_text()
    templates = {
        "channel_advisor.Order": "https://ca.example.com/orders?id={id}",
        "tims.SalesOrder": "http://tims.example.com/so/{id}/view",
        "tims.Shipment": "https://tims.example.com/sh/{id}",
    }
    for name, address in templates.items():
        text = text.replace(f'{name}: ""', f"{name}: {address}")
    (made / "console.yaml").write_text(text)
    monkeypatch.setenv("CROSSDOCK_CONFIG_DIR", str(made))
    found = records.life(connection, VIEWER, "order", key)
    number = fact(found, "sales order").value
    assert [each.address for each in found.outside] == [
        f"https://ca.example.com/orders?id={key}", f"http://tims.example.com/so/{number}/view",
    ]  # fmt: skip
    parcel = next(event for event in found.events if event.title == f"Shipment {shipment}")
    assert parcel.outside
    assert parcel.outside.address == f"https://tims.example.com/sh/{shipment}"
    hostile = records.life(connection, VIEWER, "order", "a/b?c#d&<e>").outside
    assert [each.address for each in hostile] == ["https://ca.example.com/orders?id=a%2Fb%3Fc%23d%26%3Ce%3E"]
    letter(connection, "x/1")
    number_of = connection.scalar(sa.select(ops_dead_letter.c.id).where(ops_dead_letter.c.key == "x/1"))
    (link,) = letters.letter(connection, VIEWER, number_of or 0).links
    assert link.address == "https://ca.example.com/orders?id=x%2F1"


@pytest.mark.parametrize("address", ["javascript:alert({id})", "ftp://x.example.com/{id}", "https://x.example.com/",
                                     "https://{id}.example.com/", "/orders/{id}", "https://x.example.com/{id} b",
                                     "data:text/html,{id}", "https://x.example.com/{key}/{id}"])  # fmt: skip
def test_an_address_that_is_none_is_refused_in_words(
    address: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    made = shutil.copytree(settings.base_dir(), tmp_path / "config")
    text = (made / "console.yaml").read_text().replace('tims.Item: ""', f'tims.Item: "{address}"')
    (made / "console.yaml").write_text(text)
    monkeypatch.setenv("CROSSDOCK_CONFIG_DIR", str(made))
    with pytest.raises(ConfigError, match=r"links\.tims\.Item|tims\.Item"):
        settings.console()


def test_reading_one_now_is_for_clerks_and_on_record(connection: sa.Connection) -> None:
    with pytest.raises(NotAllowed):
        records.read_now(connection, VIEWER, "orders", "1")
    assert records.read_now(connection, CLERK, "orders", "1") == "orders"
    row = connection.execute(sa.select(ops_audit).order_by(ops_audit.c.id.desc()).limit(1)).one()
    assert (row.who, row.action, row.subject) == ("ada", "record read", "1")
    for flow, key in (("orders", ""), ("orders", "x" * 2_000), ("ledger_invoices", "1"), (HOSTILE, "1")):
        with pytest.raises(ConfigError):
            records.read_now(connection, CLERK, flow, key)


def test_keys_of_every_reconciled_subject_find_their_record(
    sold: tuple[Environment, str, str], connection: sa.Connection
) -> None:
    _, key, shipment = sold
    parcel = f"{key}:{fulfillment_id(shipment)}"
    (hit,) = hits(connection, parcel)
    assert (hit.kind, hit.id, hit.at) == ("order", key, shipment)
    (hit,) = hits(connection, f"{key}:channel 99")
    assert (hit.kind, hit.id, hit.at) == ("order", key, "")
    assert hits(connection, f"nobody:{fulfillment_id(shipment)}") == []
    assert [(hit.kind, hit.id) for hit in hits(connection, "84997c")] == [("sku", "84997C")]
    letter(connection, "NOWHERE-1", flow="prices")
    assert [(hit.kind, hit.id) for hit in hits(connection, "nowhere-1")] == [("sku", "NOWHERE-1")]
    # What TIMS alone has, as if nobody had read the channel's record.
    connection.execute(
        sa.update(ref_sales_order).values(external_order_id="777").where(ref_sales_order.c.external_order_id == key)
    )
    assert [(hit.kind, hit.id) for hit in hits(connection, "777")] == [("order", "777")]
    values = {"key": "4711", "batch_id": 1, "version": datetime.now(UTC), "state": "delivered", "order_key": key}
    connection.execute(sa.insert(stage_credit_memo).values(**values))
    (hit,) = hits(connection, "4711")
    assert (hit.kind, hit.id, hit.at) == ("order", key, "4711")
    values = {"flow": "orders", "batch_id": 1, "entity": "shipment", "operation": "ship", "key": key,
              "idempotency_key": "ship:ChannelAdvisor:880012"}  # fmt: skip
    connection.execute(sa.insert(ops_delivery).values(**values))
    assert [(hit.kind, hit.id) for hit in hits(connection, "880012")] == [("order", key)]
    values = {"source": "amazon_fr", "settlement_id": "77", "channel": "Amazon FR", "file": "f", "total": 1,
              "currency_code": "EUR", "format": "amazon", "content_hash": "h"}  # fmt: skip
    connection.execute(sa.insert(ref_settlement).values(**values))
    for text in ("amazon_fr:77", "amazon_fr:77:404-1", "amazon_fr:77:#3"):
        assert [(hit.kind, hit.id) for hit in hits(connection, text)] == [("settlement", "amazon_fr:77")], text
