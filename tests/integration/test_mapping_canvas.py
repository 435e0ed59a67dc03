"""The mapping canvas on stored records: every value on its way, and a draft tried on the last ones."""

from __future__ import annotations

import time
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import msgspec
import pytest
import sqlalchemy as sa

from crossdock.errors import ConfigError, NotAllowed
from crossdock.mapping import editing
from crossdock.services import (
    configuration,
    mapping_history,
    mapping_records,
    mapping_trial,
    mappings,
    personal,
    previews,
)
from crossdock.services.mapping_trial import Trial
from crossdock.services.mappings import Change
from crossdock.services.people import Person, Role
from crossdock.services.previews import Seen
from crossdock.steps.check import check
from crossdock.steps.extract import extract
from crossdock.steps.run_batches import STEPS
from crossdock.store import dead_letters
from integration.builders import ADDRESS, forward, line, place, sales_order
from integration.environment import ORDERS, Environment

ANN = Person("ann", frozenset({Role.ANALYST, Role.VIEWER}))
CLARA = Person("clara", frozenset({Role.CLERK}))
SALES = "sales_order"
COMPANY = {**ADDRESS, "Company": "Elm Ltd"}


@pytest.fixture(scope="module")
def placed(config: Path, long_lived_environment: Environment) -> tuple[Environment, dict[str, list[str]]]:
    """Orders of four kinds under a mapping that asks every order for a note: those with a note pass, with or without a
    company; the others are dead letters."""
    shop = long_lived_environment
    shop.tick("2011-01-04")
    path = config / "mappings" / "sales_order.yaml"
    text = editing.change_line(
        path.read_text(), "fields", "Notes",
        {"rule": None, "from": "SpecialInstructions", "convert": [("empty to null", None)], "required": True},
    )  # fmt: skip
    path.write_text(text)
    kinds = {
        "changed": [place(shop, line(), SpecialInstructions=f"Ring {n}", ShippingAddress=COMPANY) for n in range(3)],
        "died": [place(shop, line(), SpecialInstructions=f"Knock {n}") for n in range(2)],
        "recovered": [place(shop, line(), ShippingAddress=COMPANY) for n in range(4)],
        "dead": [place(shop, line())],
    }
    work(shop)
    return shop, kinds


def work(shop: Environment, keys: tuple[str, ...] = ()) -> None:
    """Runs the flow, also where most of the records break a rule."""
    with shop.runtime() as runtime:
        for batch_id in extract(runtime, ORDERS, kind="replay" if keys else "scheduled", keys=keys):
            STEPS["transform"](runtime, ORDERS, batch_id)
            check(runtime, ORDERS, batch_id, accept_rejects=True)
            STEPS["load"](runtime, ORDERS, batch_id)
            STEPS["confirm"](runtime, ORDERS, batch_id)


def draft(config: Path) -> str:
    """Every order gets the shipped note, and must have a company."""
    text = (config / "mappings" / "sales_order.yaml").read_text()
    words = {"rule": "order_document", "from": None, "convert": None, "required": None}
    text = editing.change_line(text, "fields", "Notes", words)
    return editing.change_line(text, "fields", "ShippingAddress.Company", {"required": True})


def tried(shop: Environment, text: str) -> Trial:
    with shop.runtime() as runtime, runtime.engine.connect() as connection:
        return mapping_trial.tried(connection, ANN, SALES, text)


def staged(shop: Environment) -> dict[str, sa.Row]:
    return {row.key: row for row in shop.query('SELECT key, state, "Notes", "ShippingAddress.Company" AS company '
                                               "FROM stage.sales_order")}  # fmt: skip


def everything(shop: Environment) -> list[tuple]:
    """What all tables hold, and what was sent."""
    tables = shop.query("SELECT schemaname AS s, tablename AS name FROM pg_tables WHERE schemaname IN ('raw', 'ref', "
                        "'stage', 'ops') ORDER BY 1, 2")  # fmt: skip
    whole = 'SELECT count(*), md5(string_agg(x::text, chr(10) ORDER BY x::text)) FROM "{}"."{}" x'
    return [(row.s, row.name, *shop.query(whole.format(row.s, row.name))[0]) for row in tables]


def test_every_value_of_a_record_is_what_was_staged(placed: tuple[Environment, dict[str, list[str]]]):
    shop, kinds = placed
    key = kinds["changed"][0]
    with shop.runtime() as runtime, runtime.engine.connect() as connection:
        seen = mapping_records.trace(connection, CLARA, SALES, key)
    assert seen.state == "ready"
    assert not seen.masked
    row = shop.query(f"SELECT * FROM stage.sales_order WHERE key = '{key}'")[0]._mapping
    for path, stops in seen.ways.items():
        if path in row and not path.startswith("LineItems"):
            (value,) = stops[-1].values
            held = row[path]
            if isinstance(held, Decimal):
                assert Decimal(value) == held, path
            elif path != "CustomerID":  # filled in by load
                assert value == ({True: "yes", False: "no"}[held] if isinstance(held, bool) else held), path
    assert [(stop.kind, stop.name, stop.values) for stop in seen.ways["PaymentStatus"]] == [
        ("source", "PaymentStatus", ("Cleared",)),
        ("lookup", "payment_status", ("Paid",)),
        ("target", "PaymentStatus", ("Paid",)),
    ]
    assert [stop.kind for stop in seen.ways["ExternalOrderID"]] == ["source", "convert", "target"]
    assert seen.ways["Source"][0].kind == "constant"
    assert seen.ways["LineItems.Price"][-1].values == ("10.00",)
    assert seen.source["OrderItems.UnitPrice"] == ("10.00",)
    rules = {one.name: one for one in seen.rules}
    assert rules["harmonise_addresses"].outputs["ShipTo.Company"] == ("Elm Ltd",)
    assert rules["explode_kits"].outputs["made.SKU"] == ("22423",)
    assert rules["totals"].outputs["TotalAmount"] == ("10.00",)


def test_a_draft_is_followed_in_the_same_way(placed: tuple[Environment, dict[str, list[str]]], config: Path):
    shop, kinds = placed
    key = kinds["recovered"][0]
    text = mappings.text_of(SALES)
    text = mappings.changed(ANN, SALES, text, Change("draw", "ShippingMethod", source="SiteName", replace=True)).text
    with shop.runtime() as runtime, runtime.engine.connect() as connection:
        now = mapping_records.trace(connection, ANN, SALES, key)
        then = mapping_records.trace(connection, ANN, SALES, key, text)
        better = mapping_records.trace(connection, ANN, SALES, key, draft(config))
    assert then.ways["ShippingMethod"][0].name == "SiteName"
    assert then.ways["ShippingMethod"][-1].values == ("Amazon Seller Central - UK",)
    assert now.ways["ShippingMethod"] != then.ways["ShippingMethod"]
    assert (now.state, better.state) == ("dead", "ready")
    assert {one["rule"] for one in now.reasons} == {"missing_field"}


def test_who_may_not_see_personal_data_sees_none_and_whoever_sees_it_is_on_record(
    placed: tuple[Environment, dict[str, list[str]]],
):
    shop, kinds = placed
    key = kinds["changed"][0]
    text = mappings.text_of(SALES)
    told_again = text
    for target, source in (
        ("ShippingMethod", "SpecialInstructions"), ("LineItems.KitParentSKU", "CustomerInfo.LastName"),
    ):  # fmt: skip
        change = Change("draw", target, source=source, replace=True)
        told_again = mappings.changed(ANN, SALES, told_again, change).text
    with shop.runtime() as runtime, runtime.engine.begin() as connection:
        for draft_ in (None, told_again):
            seen = mapping_records.trace(connection, ANN, SALES, key, draft_)
            assert seen.masked
            for value in ("Ada Miller", "Miller", "12 Elm Street", "LS1 4AP", "Elm Ltd", "Ring 0", "buyer-ada"):
                assert value not in str(seen), value
            assert seen.source["ShippingAddress.City"] == (personal.MASK,)
            assert seen.source["Currency"] == ("GBP",)
            assert seen.source["OrderItems.SKU"] == ("22423",)
        assert "Ring" not in str(mapping_trial.tried(connection, ANN, SALES, told_again))
    assert shop.query("SELECT * FROM ops.audit WHERE who = 'ann'") == []
    with shop.runtime() as runtime, runtime.engine.begin() as connection:
        opened = mapping_records.trace(connection, CLARA, SALES, key)
    assert opened.source["ShippingAddress.Name"] == ("Ada Miller",)
    (row,) = shop.query(f"SELECT * FROM ops.audit WHERE who = 'clara' AND subject = 'orders {key}'")
    assert row.action == "record open"
    assert "Ada" not in str(row)


def test_shares_say_how_often_a_field_is_given(placed: tuple[Environment, dict[str, list[str]]]):
    shop, kinds = placed
    with shop.runtime() as runtime, runtime.engine.connect() as connection:
        shares = {one.path: one for one in mapping_records.shares(connection, ANN, SALES)}
        everyone = len(mapping_records.last(connection, ORDERS))
    noted = len(kinds["changed"]) + len(kinds["died"])
    assert shares["SpecialInstructions"].of == everyone
    in_world = shop.query("SELECT count(DISTINCT key) AS n FROM raw.channel_advisor_orders WHERE left(key, 2) <> '77' "
                          "AND payload->>'SpecialInstructions' <> ''")[0].n  # fmt: skip
    assert shares["SpecialInstructions"].given == noted + in_world
    assert shares["Currency"].given == everyone
    assert shares["OrderItems.SKU"].given == shares["OrderItems.SKU"].of >= everyone
    assert shares["ShippingAddress.Company"].of == everyone


def test_records_are_listed_newest_first_page_by_page(placed: tuple[Environment, dict[str, list[str]]]):
    shop, kinds = placed
    with shop.runtime() as runtime, runtime.engine.connect() as connection:
        whole = mapping_records.newest(connection, ANN, SALES, limit=500)
        seen: list[str] = []
        after = ""
        while page := mapping_records.newest(connection, ANN, SALES, after=after, limit=3):
            seen += [one.key for one in page]
            after = f"{page[-1].batch}:{page[-1].key}"
    assert seen == [one.key for one in whole]
    assert len(seen) == len(set(seen)) >= 10
    state = {one.key: one.state for one in whole}
    assert {state[key] for key in kinds["dead"] + kinds["recovered"]} == {"dead"}
    assert {state[key] for key in kinds["changed"] + kinds["died"]} == {"delivered"}


def test_drafts_that_do_not_fit_and_records_that_are_not_there_are_refused(
    placed: tuple[Environment, dict[str, list[str]]],
):
    shop, _ = placed
    text = mappings.text_of(SALES).replace("target: CurrencyCode", "target: CurrencyCod")
    with pytest.raises(ConfigError, match="The draft does not fit") as raised:
        tried(shop, text)
    assert "crossdock-draft" not in str(raised.value)
    with shop.runtime() as runtime, runtime.engine.connect() as connection:
        with pytest.raises(ConfigError, match="has no record"):
            mapping_records.trace(connection, ANN, SALES, "nobody")
        with pytest.raises(NotAllowed):
            mapping_trial.tried(connection, Person("nora", frozenset()), SALES, text)


def test_a_trial_says_what_then_really_happens_and_writes_nothing(
    placed: tuple[Environment, dict[str, list[str]]], config: Path
):
    shop, kinds = placed
    text = draft(config)
    before, then = everything(shop), staged(shop)
    same = tried(shop, mappings.text_of(SALES))
    assert (same.changed, same.died, same.recovered, same.moved) == (0, 0, 0, 0)
    started = time.process_time()
    trial = tried(shop, text)
    assert time.process_time() - started <= 3, "of a processor; others may be busy"
    assert everything(shop) == before, "nothing is written"
    assert trial.records == same.records >= 10

    (config / "mappings" / "sales_order.yaml").write_text(text)
    with shop.runtime() as runtime, runtime.engine.connect() as connection:
        keys = tuple(key for key, _, _ in mapping_records.last(connection, ORDERS))
    work(shop, keys)
    now = staged(shop)
    dead_then = {key for key in keys if then[key].state == "dead"}
    dead_now = {key for key in keys if now[key].state == "dead"}
    assert dead_now - dead_then >= set(kinds["died"])
    assert dead_then - dead_now >= set(kinds["recovered"])
    assert trial.died == len(dead_now - dead_then)
    assert trial.recovered == len(dead_then - dead_now)
    assert trial.dead == len(dead_now)
    fine = ("delivered", "unchanged")
    changed = [key for key in keys if then[key].state in fine and now[key].state in fine
               and then[key].Notes != now[key].Notes]  # fmt: skip
    assert set(kinds["changed"]) <= set(changed)
    assert trial.changed == len(changed)
    counts = {one.path: one.count for one in trial.fields}
    assert counts == {"Notes": len(changed)}
    assert trial.kept == 0
    dying = {one.key for one in trial.fates if one.after == "dead"}
    assert dying == dead_now - dead_then
    assert all(one.reasons[0]["rule"] == "missing_field" for one in trial.fates if one.after == "dead")


def test_a_field_that_is_no_longer_mapped_is_no_longer_sent(
    placed: tuple[Environment, dict[str, list[str]]], config: Path
):
    shop, _ = placed
    text = editing.remove_line(mappings.text_of(SALES), "fields", "Notes")
    trial = tried(shop, text)
    assert {one.path for one in trial.fields} == {"Notes"}
    path = config / "mappings" / "sales_order.yaml"
    held = path.read_text()
    path.write_text(text)
    try:
        key = place(shop, line(), ShippingAddress=COMPANY)
        work(shop)
        (order,) = [one for one in shop.in_tims() if one["ExternalOrderID"] == key]
        assert order["Notes"] is None
    finally:
        path.write_text(held)


def shown(connection: sa.Connection, name: str, text: str) -> Seen:
    """What Ann says to have seen of a draft, after its trial."""
    found = previews.tried(connection, ANN, name, text)
    return Seen(found.number, str(found.changes))


def test_nobody_publishes_a_mapping_unseen(placed: tuple[Environment, dict[str, list[str]]]):
    shop, _ = placed
    text = mappings.text_of(SALES)
    one, other = text + "# one\n", text + "# other\n"
    with shop.runtime() as runtime, runtime.engine.begin() as connection:
        seen = shown(connection, SALES, one)
        for draft, claimed, why in (
            (one, Seen(None), "Nobody publishes unseen"),
            (other, seen, "was of another draft"),
            (one, Seen(10**9), "There is no preview"),
        ):
            with pytest.raises(ConfigError, match=why), connection.begin_nested():
                mapping_history.publish(connection, ANN, SALES, draft, "x", claimed)
        assert previews.tried(connection, ANN, SALES, text).number == 0, "it changes nothing"


def test_a_field_that_nobody_has_mapped_before_is_mapped_published_and_sent_without_a_migration(
    placed: tuple[Environment, dict[str, list[str]]],
):
    shop, _ = placed
    text = mappings.text_of("holds")
    made = mappings.changed(ANN, "holds", text, Change("draw", "SpecialInstructions", source="Channel"))
    assert made.findings == ()
    assert "SpecialInstructions" not in made.not_sent
    with shop.runtime() as runtime, runtime.engine.begin() as connection:
        seen = shown(connection, "holds", made.text)
        done = mapping_history.publish(connection, ANN, "holds", made.text, "Why it is held", seen)
        assert done.in_force
    key = place(shop, line(), SpecialInstructions="Please", ShippingAddress=COMPANY)
    work(shop)
    number = sales_order(shop, key)["SalesOrderID"]
    with shop.runtime() as runtime:
        runtime.tims.post(f"/sales-orders/{number}/hold", {"Reason": "A person says so"}, key=f"hold:{number}")
    forward(shop, shop.now + timedelta(minutes=2))
    shop.sync(flow="holds")
    with shop.runtime() as runtime:
        order = msgspec.json.decode(runtime.channel_advisor.record("orders", key))
    assert order["OrderStatus"] == "OnHold"
    assert order["SpecialInstructions"] == sales_order(shop, key)["Channel"]
    with shop.runtime() as runtime, runtime.engine.begin() as connection:
        (change,) = mapping_history.history(connection, ANN, "holds", "SpecialInstructions")
        assert mapping_history.history(connection, ANN, "holds", "OrderStatus") == ()
        assert (change.author, change.message, change.before) == ("ann", "Why it is held", None)
        assert change.after == "target: SpecialInstructions\nfrom: Channel"
        assert change.records >= 1
        with pytest.raises(ConfigError, match="has been changed meanwhile"):
            mapping_history.publish(connection, ANN, "holds", text + "# x", "x", Seen(None), parent=0)
    with shop.runtime() as runtime, runtime.engine.begin() as connection:
        configuration.rollback(connection, ANN, configuration.SHIPPED)


def test_an_edited_record_is_shown_and_tried_as_it_was_delivered(placed: tuple[Environment, dict[str, list[str]]]):
    shop, _ = placed
    key = place(shop, line())
    work(shop)
    (letter,) = shop.query(f"SELECT id, payload FROM ops.dead_letter WHERE key = '{key}' AND state = 'open'")
    edited = letter.payload | {"ShippingAddress": letter.payload["ShippingAddress"] | {"Company": "Oak Ltd"}}
    with shop.runtime() as runtime, runtime.engine.begin() as connection:
        dead_letters.edit(connection, letter.id, edited, who="clara")
    work(shop, (key,))
    assert staged(shop)[key].state == "delivered"
    with shop.runtime() as runtime, runtime.engine.begin() as connection:
        seen = mapping_records.trace(connection, CLARA, SALES, key)
        (one,) = [payload for given, _, payload in mapping_records.last(connection, ORDERS) if given == key]
        (same,) = mapping_trial.compared(connection, ANN, SALES, mappings.text_of(SALES), [key])
    assert seen.state == "ready"
    assert seen.source["ShippingAddress.Company"] == ("Oak Ltd",)
    assert msgspec.json.decode(one)["ShippingAddress"]["Company"] == "Oak Ltd"
    assert (same.before, same.after, same.fields) == ("ready", "ready", {})


def test_what_a_draft_does_to_each_record_is_what_the_trial_counts(
    placed: tuple[Environment, dict[str, list[str]]],
):
    shop, kinds = placed
    text = mappings.text_of(SALES)
    for path, source in (("ShippingMethod", "SiteName"), ("ShippingAddress.Company", "ShippingAddress.Line1")):
        text = mappings.changed(ANN, SALES, text, Change("draw", path, source=source, replace=True)).text
    with shop.runtime() as runtime, runtime.engine.connect() as connection:
        keys = [one.key for one in mapping_records.newest(connection, ANN, SALES, limit=500)]
        found = {one.key: one for one in mapping_trial.compared(connection, ANN, SALES, text, keys)}
        trial = mapping_trial.tried(connection, ANN, SALES, text)
        assert mapping_trial.compared(connection, ANN, SALES, text, ["nobody"]) == ()
    assert set(found) == set(keys)
    assert sum(bool(one.fields) for one in found.values()) == trial.changed >= 5
    assert sum(one.before != one.after for one in found.values()) == len(trial.fates) == trial.recovered + trial.died
    one = found[kinds["changed"][0]]
    assert set(one.fields) == {"ShippingMethod", "ShippingAddress.Company"}
    method = one.fields["ShippingMethod"]
    assert (method.after, method.personal) == (("Amazon Seller Central - UK",), False), "a site's name is nobody's"
    company = one.fields["ShippingAddress.Company"]
    assert (company.before, company.after, company.personal) == (("A A",), ("9 A A",), True)
    for field in trial.fields:
        for example in field.examples:
            assert "•••" not in str(example)
            assert "Elm" not in str(example)


def test_a_trial_counts_the_delivered_orders_that_tims_has_closed_and_would_refuse_to_change(
    placed: tuple[Environment, dict[str, list[str]]],
):
    shop, kinds = placed
    late, of_notes = (
        mappings.changed(
            ANN, SALES, mappings.text_of(SALES), Change("draw", path, source="SiteName", replace=True)
        ).text
        for path in ("ShippingMethod", "Notes")
    )
    with shop.runtime() as runtime, runtime.engine.connect() as connection:
        before = mapping_trial.tried(connection, ANN, SALES, late)
        connection.execute(
            sa.text(
                "INSERT INTO ref.sales_order (id, external_order_id, source, currency_code, status, payload, version) "
                "SELECT target_id, source_key, 'ChannelAdvisor', 'GBP', 'Closed', '{}', now() FROM ops.link "
                "WHERE entity = 'sales_order' AND source_key = ANY(:keys)"
            ),
            {"keys": kinds["changed"]},
        )
        after = mapping_trial.tried(connection, ANN, SALES, late)
        notes = mapping_trial.tried(connection, ANN, SALES, of_notes)
        connection.rollback()
    assert (before.closed, after.closed) == (0, len(kinds["changed"]))
    assert before.delivered == after.delivered >= after.closed
    assert notes.delivered >= 1
    assert notes.closed == 0, "a closed order takes another note"


def test_a_value_is_about_a_person_by_where_it_comes_from(placed: tuple[Environment, dict[str, list[str]]]):
    shop, kinds = placed
    text = mappings.text_of(SALES)
    for path, source in (("Notes", "SiteName"), ("ShippingMethod", "ShippingAddress.City")):
        text = mappings.changed(ANN, SALES, text, Change("draw", path, source=source, replace=True)).text
    with shop.runtime() as runtime, runtime.engine.connect() as connection:
        (one,) = mapping_trial.compared(connection, ANN, SALES, text, kinds["changed"][:1])
        seen = mapping_records.trace(connection, ANN, SALES, kinds["changed"][0], text)
    assert seen.ways["Notes"][-1].values == ("Amazon Seller Central - UK",)
    assert seen.ways["ShippingMethod"][-1].values == (personal.MASK,)
    assert one.fields["Notes"].after == ("Amazon Seller Central - UK",)
    assert one.fields["ShippingMethod"].after == ("A",)
    assert one.fields["ShippingMethod"].personal


def test_a_customers_fields_that_nobody_sends_are_mapped_and_sent_without_a_migration(
    placed: tuple[Environment, dict[str, list[str]]], config: Path
):
    shop, _ = placed
    path = config / "mappings" / "customer.yaml"
    before = path.read_text()
    text = mappings.changed(ANN, "customer", before, Change("draw", "TaxExempt", words={"constant": True})).text
    text = mappings.changed(ANN, "customer", text, Change("draw", "CustomerCode", source="OrderID")).text
    assert mappings.canvas(ANN, "customer", text).findings == ()
    buyer = {"CustomerID": "buyer-zoe", "FirstName": "Zoe", "LastName": "Long", "Email": None, "Phone": None,
             "Company": None}  # fmt: skip
    address = COMPANY | {"Name": "Zoe Long", "Line1": "9 Ash Lane", "City": "York", "PostalCode": "YO1 7HH"}
    try:
        path.write_text(text)
        key = place(shop, line(), ShippingAddress=address, CustomerInfo=buyer)
        work(shop)
    finally:
        path.write_text(before)
    number = sales_order(shop, key)["CustomerID"]
    with shop.runtime() as runtime:
        customer = msgspec.json.decode(runtime.tims.record("customers", number))
    assert (customer["TaxExempt"], customer["CustomerCode"]) == (True, f"T-{key}")
