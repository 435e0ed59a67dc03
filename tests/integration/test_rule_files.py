"""Rules and lookups: values that records wait for, what would change, publishing and taking back; on both systems over
HTTP and a real Postgres."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal

import msgspec
import pytest
import sqlalchemy as sa

from crossdock import settings
from crossdock.config.grid import RowChange
from crossdock.errors import ConfigError, NotAllowed
from crossdock.services import configuration, effects, letters, previews, rule_files, unknown_values
from crossdock.services.people import Person, Role, on_this_machine
from crossdock.services.previews import Seen
from crossdock.services.rule_files import Draft, ValueChange
from integration.builders import line, order, place, ship
from integration.environment import Environment

CODES, KINDS = "lookups/item_codes.csv", "lookups/settlement_kinds.csv"
CARRIERS, PRICES, OFFERS, POSTING = "lookups/carriers.csv", "prices.yaml", "stock_offers.yaml", "posting.yaml"
ADA = Person("ada", frozenset({Role.ANALYST}))
BOB = Person("bob", frozenset({Role.ANALYST}))
EVE = Person("eve", frozenset({Role.VIEWER}))
CLERK = Person("cleo", frozenset({Role.CLERK}))
FLOWS = ("orders", "shipments", "invoices", "prices", "inventory", "ledger_invoices")


@pytest.fixture(scope="module")
def shop(long_lived_environment: Environment) -> Environment:
    """Some days of trade, prices, stock and journal entries."""
    for day in ("2011-01-06", "2011-01-08"):
        long_lived_environment.tick(day)
        for flow in FLOWS:
            long_lived_environment.sync(flow=flow)
    return long_lived_environment


@pytest.fixture
def connection(shop: Environment) -> Iterator[sa.Connection]:
    """A transaction with the settings in force that leaves nothing behind."""
    with shop.runtime() as runtime, runtime.engine.connect() as made:
        yield made
        made.rollback()


@contextmanager
def kept(shop: Environment) -> Iterator[sa.Connection]:
    with shop.runtime() as runtime, runtime.engine.begin() as made:
        yield made


@pytest.fixture
def as_shipped(shop: Environment) -> Iterator[None]:
    yield
    with kept(shop) as made:
        if configuration.status(made).replaced:
            configuration.rollback(made, on_this_machine("test"), configuration.SHIPPED)


def draft(connection: sa.Connection, path: str, *values: tuple[tuple, object]) -> str:
    changes = tuple(ValueChange(place, value) for place, value in values)  # type: ignore[arg-type]
    return rule_files.text_of(connection, ADA, Draft(path, values=changes))


def published(
    connection: sa.Connection, person: Person, draft: Draft, message: str, parent: int | None = None
) -> configuration.Version:
    """Publishes a draft as a person does: looks at its effects, confirms a large one by its number."""
    shown = rule_files.preview(connection, person, draft, parent)
    return rule_files.publish(connection, person, draft, message, parent, Seen(shown.number, f"{shown.changes:,}"))


def counts(connection: sa.Connection) -> dict[str, int]:
    """Rows of every table that a dry run could write to."""
    tables = sa.text(
        "SELECT schemaname, relname FROM pg_stat_user_tables WHERE schemaname IN ('ops', 'ref', 'stage', 'raw')"
    )
    names = [f"{row.schemaname}.{row.relname}" for row in connection.execute(tables)]
    return {name: connection.scalar(sa.text(f"SELECT count(*) FROM {name}")) or 0 for name in sorted(names)}


# ---- values that records wait for ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def parcels(shop: Environment) -> list[str]:
    """Three parcels of one carrier that nobody knows, and one of another."""
    made = []
    for carrier in ("Roial Mail", "Roial Mail", "Roial Mail", "Zeppelin"):
        made.append(ship(shop, order(shop, line()), {1: 1}, Carrier=carrier, ServiceLevel="2nd Class"))
    for code in ("NO-SUCH-CODE", "22423-X"):
        place(shop, line(code))
    shop.sync()
    shop.sync(flow="shipments")
    return made


def test_what_lookups_lack_is_counted_with_who_waits_and_the_nearest_row(
    parcels: list[str], connection: sa.Connection
) -> None:
    found = {one.path: one for one in unknown_values.of_all(connection, ADA)}
    lacking = found[CARRIERS]
    assert (lacking.letters, lacking.records) == (4, {"Shipments": 4})
    first, second = lacking.values
    assert (first.value, first.letters) == ("Roial Mail / 2nd Class", 3)
    assert first.nearest[0].value == "Royal Mail / 2nd Class"
    assert "the row is filled in from it" in first.nearest[0].why
    assert 1 < len(first.nearest) <= 3
    assert all("% alike" in one.why for one in first.nearest)
    assert first.row == ("Roial Mail", "2nd Class", "Royal Mail", "2nd Class")
    assert (second.value, second.row[:2]) == ("Zeppelin / 2nd Class", ("Zeppelin", "2nd Class"))
    codes = found["lookups/item_codes.csv"]
    assert [one.row[:2] for one in codes.values] == [("22423-X", ""), ("NO-SUCH-CODE", "")], "nobody guesses a code"
    assert unknown_values.of(connection, ADA, "lookups/countries.csv") is None


def test_the_value_that_somebody_comes_for_stands_first_and_is_not_left_out(
    parcels: list[str], connection: sa.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unknown_values, "MOST", 1)
    for value in ("Zeppelin / 2nd Class", "Roial Mail / 2nd Class"):
        lacking = unknown_values.of(connection, ADA, CARRIERS, value)
        assert lacking
        assert [one.value for one in lacking.values] == [value]
        assert lacking.letters == 4
    lacking = unknown_values.of(connection, ADA, CARRIERS, "nobody knows it")
    assert lacking
    assert [one.value for one in lacking.values] == ["Roial Mail / 2nd Class"]


def test_an_unknown_code_shows_the_items_that_its_letters_name(parcels: list[str], connection: sa.Connection) -> None:
    codes = unknown_values.of(connection, ADA, CODES)
    assert codes
    one = next(one for one in codes.values if one.value == "22423-X")
    named = [each.value for each in one.nearest if each.why == "an item of TIMS"]
    query = "SELECT reasons->0->>'says' FROM ops.dead_letter WHERE reasons->0->>'value' = '22423-X'"
    message = connection.scalar(sa.text(query)) or ""
    assert "22423" in named
    assert all(sku in message for sku in named)


# ---- words of settlements ------------------------------------------------------------------------------------------

LINES = (("Ordre", "Prix", "Principal", "12.00"), ("Ordre", "Prix", "Port", "3.00"))


@pytest.fixture
def settled(connection: sa.Connection) -> sa.Connection:
    """A file of which nobody knows a word, refused; and a settlement with two lines of one kind that nobody knows."""
    payload = {
        "Source": "amazon_uk", "File": "fr.txt", "Format": "amazon_v2",
        "Lines": [
            {"TransactionType": one, "AmountType": two, "AmountDescription": three, "Amount": four}
            for one, two, three, four in LINES
        ],
    }  # fmt: skip
    reason = [{"rule": "unknown_words", "field": "File", "value": "Ordre / Prix / Principal", "says": "x", "do": "y"}]
    connection.execute(
        sa.text(
            "INSERT INTO ops.dead_letter (flow, entity, key, batch_id, step, reasons, payload, version) "
            "VALUES ('payouts', 'settlement', 'amazon_uk/fr.txt', 0, 'check', :reasons, :payload, now())"
        ),
        {"reasons": json.dumps(reason), "payload": json.dumps(payload)},
    )
    connection.execute(
        sa.text(
            "INSERT INTO ref.settlement (source, settlement_id, channel, format, file, currency_code, total, "
            "content_hash) VALUES ('amazon_uk', '9', 'Amazon UK', 'amazon_v2', '9.txt', 'GBP', 5, 'x')"
        )
    )
    for number in (1, 2):
        connection.execute(
            sa.text(
                "INSERT INTO ref.settlement_line (source, settlement_id, line_no, position, kind, transaction_type, "
                "amount_type, amount_description, amount, currency_code, posted_at) VALUES "
                "('amazon_uk', '9', :no, :at, 'unknown', 'Order', 'ItemFees', 'Comission', 1, 'GBP', now())"
            ),
            {"no": str(number), "at": number},
        )
    return connection


def test_words_of_settlements_that_nobody_knows_are_filled_in_on_the_spot(settled: sa.Connection) -> None:
    lacking = unknown_values.of(settled, ADA, KINDS)
    assert lacking
    assert (lacking.letters, lacking.lines, lacking.records) == (1, 2, {"Payouts": 1})
    found = {one.value: one for one in lacking.values}
    assert set(found) == {
        "amazon_v2 / Ordre / Prix / Principal", "amazon_v2 / Ordre / Prix / Port",
        "amazon_v2 / Order / ItemFees / Comission",
    }  # fmt: skip
    typo = found["amazon_v2 / Order / ItemFees / Comission"]
    assert typo.row == ("amazon_v2", "Order", "ItemFees", "Comission", "", "")
    assert typo.nearest[0].value.endswith(": commission")
    assert (typo.lines, typo.letters, typo.now_known) == (2, 0, False)
    assert [one.file for one in typo.booked] == ["amazon_uk/9.txt"]
    kind = next(one for one in lacking.columns if one.name == "kind")
    assert "commission" in kind.choices
    rows = tuple(RowChange(0, (*one.row[:4], "commission", "")) for one in lacking.values)
    text = rule_files.text_of(settled, ADA, Draft(KINDS, rows=rows))
    with configuration.draft(settled, {KINDS: text}):
        lacking = unknown_values.of(settled, ADA, KINDS)
    assert lacking
    assert all(one.now_known for one in lacking.values)
    values = [one.value for one in lacking.values]
    assert unknown_values.files_of(settled, ADA, KINDS, values) == ["amazon_uk/9.txt"]
    assert unknown_values.files_of(settled, ADA, KINDS, values[1:2] if values[1] != typo.value else values[:1]) == []
    assert len(unknown_values.letters_of(settled, ADA, KINDS, values)) == 1
    with pytest.raises(NotAllowed):
        unknown_values.files_of(settled, CLERK, KINDS, values)


def test_a_draft_says_which_open_letters_would_pass(parcels: list[str], connection: sa.Connection) -> None:
    lacking = unknown_values.of(connection, ADA, CARRIERS)
    assert lacking
    added = Draft(CARRIERS, rows=(RowChange(0, lacking.values[0].row),))
    text = rule_files.text_of(connection, ADA, added)
    before = counts(connection)
    found = effects.of(connection, ADA, {CARRIERS: text})
    assert counts(connection) == before
    waiting, documents = found.parts
    assert (waiting.title, waiting.total) == ("Open dead letters that would pass", 3)
    assert {row[2] for row in waiting.rows} == set(parcels[:3])
    assert documents.total >= 3
    assert {row[2:] for row in documents.rows if row[1] == "what becomes of it"} == {
        ("dead letter: unknown carrier", "sent")
    }  # fmt: skip


@pytest.mark.usefixtures("as_shipped")
def test_what_only_the_channel_knows_is_no_promise(shop: Environment) -> None:
    """Carriers stand in no contract: delivered documents and refusals tell which the account knows."""
    ship(shop, order(shop, line()), {1: 1}, Carrier="Royal Mail", ServiceLevel="2nd Class")
    shop.sync(flow="shipments")
    with kept(shop) as made:
        pigeon = Draft(CARRIERS, rows=(RowChange(0, ("Pigeon", "Air", "Pigeon", "Overnight")),))
        (words,) = rule_files.preview(made, ADA, pigeon).words
        assert words.startswith(
            "Whether Channel Advisor takes Pigeon / Overnight is known only when it is sent. So far"
        )
        assert "So far it has taken:" in words
        assert "Royal Mail / 2nd Class" in words
        sure = Draft(CARRIERS, rows=(RowChange(0, ("Pigeon", "Air", "royal mail", "2nd Class")),))
        assert rule_files.preview(made, ADA, sure).words == ()
        published(made, ADA, pigeon, "Pigeons")
    key = ship(shop, order(shop, line()), {1: 1}, Carrier="Pigeon", ServiceLevel="Air")
    shop.sync(flow="shipments")
    assert shop.letters()[key].step == "load"
    with kept(shop) as made:
        columns = {one.name: one for one in rule_files.opened(made, EVE, CARRIERS).columns}
        assert "Royal Mail" in columns["carrier"].taken
        assert "Pigeon" not in columns["carrier"].taken
        assert "2nd Class" in columns["service_class"].taken
        assert "Pigeon is not one of Chronopost, DHL" in columns["carrier"].hint
        assert columns["tims_carrier"].hint == ""
        again = Draft(CARRIERS, rows=(RowChange(0, ("Dove", "", "Pigeon", "Overnight")),))
        assert "Pigeon is not one of Chronopost, DHL" in rule_files.preview(made, ADA, again).words[0]


@pytest.mark.usefixtures("as_shipped")
def test_published_the_letters_that_waited_are_replayed_and_no_others(shop: Environment, parcels: list[str]) -> None:
    with kept(shop) as made:
        lacking = unknown_values.of(made, ADA, CARRIERS)
        assert lacking
        text = configuration.text(made, CARRIERS)
        published(made, ADA, Draft(CARRIERS, rows=(RowChange(0, lacking.values[0].row),)), "Typing error")
        assert configuration.text(made, CARRIERS) == f"{text}Roial Mail,2nd Class,Royal Mail,2nd Class\n"
    with kept(shop) as made:
        lacking = unknown_values.of(made, ADA, CARRIERS)
        assert lacking
        assert [one.now_known for one in lacking.values] == [True, False]
        numbers = unknown_values.letters_of(made, ADA, CARRIERS, [one.value for one in lacking.values])
        assert len(numbers) == 4
        with pytest.raises(NotAllowed):
            letters.ask_replay(made, ADA, numbers=numbers)
        marked = letters.ask_replay(made, ADA, numbers=numbers, only_gone=True)
        assert (marked.count, marked.left) == (3, 1)
        assert sorted(marked.keys["shipments"]) == sorted(parcels[:3])
        lacking = unknown_values.of(made, ADA, CARRIERS)
        assert lacking
        assert [(one.letters, one.replaying) for one in lacking.values] == [(3, 3), (1, 0)], "in replay they wait, too"
        again = unknown_values.letters_of(made, ADA, CARRIERS, [one.value for one in lacking.values])
        assert len(again) == 1, "nobody asks twice"
    shop.sync(flow="shipments", kind="replay", keys=parcels[:3])
    assert set(parcels) & shop.letters().keys() == {parcels[3]}
    with kept(shop) as made:
        lacking = unknown_values.of(made, ADA, CARRIERS)
        assert lacking
        assert [(one.letters, one.replaying) for one in lacking.values] == [(1, 0)], "delivered, they are gone"


@pytest.mark.usefixtures("as_shipped")
def test_what_the_channel_has_refused_passes_once_it_would_be_sent_otherwise(shop: Environment) -> None:
    """A wrong row of carriers sends a class that the channel does not know; the row is corrected."""
    wrong = ("Snail", "Slow", "Other", "Overnight")
    with kept(shop) as made:
        published(made, ADA, Draft(CARRIERS, rows=(RowChange(0, wrong),)), "A wrong row")
    sent = {ship(shop, order(shop, line()), {1: 1}, Carrier="Snail", ServiceLevel="Slow") for _ in range(3)}
    shop.sync(flow="shipments")
    refused = {key: one for key, one in shop.letters().items() if key in sent}
    assert {one.step for one in refused.values()} == {"load"}
    numbers = [one.id for one in refused.values()]
    with kept(shop) as made:
        assert letters.gone(made, CLERK, numbers) == dict.fromkeys(numbers, False), "the same document is refused again"
        assert letters.verdict(made, CLERK, numbers[0], {}).why == letters.AS_BEFORE
        at = next(row.line for row in rule_files.opened(made, ADA, CARRIERS).rows if row.cells == wrong)
        other = rule_files.preview(made, ADA, Draft(CARRIERS, rows=(RowChange(0, ("a", "b", "Other", "Standard")),)))
        assert other.parts[0].total == 0
        right = Draft(CARRIERS, rows=(RowChange(at, ("Snail", "Slow", "Other", "Standard")),))
        waiting = rule_files.preview(made, ADA, right).parts[0]
        assert waiting.total == 3
        assert {row[2] for row in waiting.rows} == sent
        assert {row[4] for row in waiting.rows} == {"would be sent otherwise than it was refused"}
        published(made, ADA, right, "Corrected")
        (deed,) = made.execute(
            sa.text("SELECT detail FROM ops.audit WHERE action = 'configuration publish' ORDER BY id DESC LIMIT 1")
        ).scalars()
        assert deed["of"] >= deed["would change"] >= 3, "the log has what the person was shown"
    with kept(shop) as made:
        assert letters.verdict(made, CLERK, numbers[0], {}).why == letters.OTHERWISE
        marked = letters.ask_replay(made, CLERK, numbers=numbers, only_gone=True)
        assert (marked.count, marked.left) == (3, 0)
    shop.sync(flow="shipments", kind="replay", keys=sorted(sent))
    assert not sent & shop.letters().keys()


# ---- what would change ---------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("as_shipped")
def test_the_prices_that_a_margin_would_change_are_those_that_the_next_run_makes(
    shop: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(effects, "SECONDS", 120)  # of a busy machine

    def prices(made: sa.Connection) -> dict[str, Decimal]:
        query = 'SELECT sku, "Price" FROM stage.price_line WHERE site_id = 0 AND "Price" IS NOT NULL'
        return {row.sku: row.Price for row in made.execute(sa.text(query))}

    with kept(shop) as made:
        was = prices(made)
        found = effects.of(made, ADA, {PRICES: draft(made, PRICES, (("defaults", "margin"), "60"))})
        (part,) = found.parts
        assert part.truncated == ""
        assert part.looked >= len(was)
        assert part.total > 50
        rows = {row[0]: row for row in part.rows if row[1] == "the product"}
        would = {sku: Decimal(row[4]) for sku, row in rows.items()}
        assert {sku: Decimal(row[3]) for sku, row in rows.items()} == {sku: was[sku] for sku in rows}
        for _, _, _, now, then, change, cost, margin_now, margin_then in rows.values():
            assert Decimal(change) == ((Decimal(then) - Decimal(now)) / Decimal(now) * 100).quantize(Decimal("0.1"))
            assert Decimal(margin_then) >= 60 or Decimal(margin_then) == Decimal(margin_now)
            assert Decimal(cost) < Decimal(then)
        published(made, ADA, Draft(PRICES, values=(ValueChange(("defaults", "margin"), "60"),)), "Costs")
    shop.sync(flow="prices")
    with kept(shop) as made:
        after = prices(made)
    assert {sku: after[sku] for sku in would} == would
    if part.total <= effects.SHOWN:
        others = was.keys() - would.keys()
        assert {sku: after[sku] for sku in others} == {sku: was[sku] for sku in others}


def test_a_file_says_which_flows_read_it() -> None:
    assert effects.read_by(PRICES) == ("prices",)
    assert effects.read_by(OFFERS) == ("inventory",)
    assert effects.read_by(CARRIERS) == ("shipments",)
    assert "ledger_invoices" in effects.read_by(POSTING)
    assert effects.read_by("flows.yaml") == ()


def test_what_would_be_offered(shop: Environment, connection: sa.Connection) -> None:
    found = effects.of(connection, ADA, {OFFERS: draft(connection, OFFERS, (("defaults", "buffer"), "1000000"))})
    (part,) = found.parts
    assert part.total > 50
    assert {row[3] for row in part.rows} == {"0"}
    assert all(int(row[2].replace(",", "")) > 0 and row[1].startswith("center ") for row in part.rows)


@pytest.fixture(scope="module")
def invoiced(shop: Environment) -> None:
    """Five orders that were shipped, invoiced and posted."""
    for _ in range(5):
        ship(shop, order(shop, line()), {1: 1})
    for flow in ("shipments", "invoices", "ledger_invoices"):
        shop.sync(flow=flow)


@pytest.mark.usefixtures("invoiced")
def test_which_entries_of_last_month_would_differ(connection: sa.Connection) -> None:
    text = configuration.text(connection, "accounts.yaml") or ""
    assert "Revenue: 4000" in text
    found = effects.of(connection, ADA, {"accounts.yaml": text.replace("Revenue: 4000", "Revenue: 4010")})
    part = found.parts[0]
    assert part.looked >= part.total >= 5
    assert {row[3] for row in part.rows} == {"Revenue 4000", "Revenue 4010"}
    for row in part.rows:
        assert (row[6] == "") == (row[3] == "Revenue 4010")


def test_documents_that_would_differ_are_named_by_their_fields(shop: Environment, connection: sa.Connection) -> None:
    text = draft(connection, "sites.yaml", (("sites", "641", "shipping_method"), "Pigeon"))
    found = effects.of(connection, ADA, {"sites.yaml": text})
    orders = next(part for part in found.parts if part.title == "Orders: documents")
    assert orders.total > 0
    assert {(row[1], row[3]) for row in orders.rows} == {("ShippingMethod", "Pigeon")}


def test_personal_data_are_not_shown_to_analysts(shop: Environment, connection: sa.Connection) -> None:
    text = configuration.text(connection, "lookups/countries.csv") or ""
    changed = text + "GB,JE,For a test\n"
    parts = effects.of(connection, ADA, {"lookups/countries.csv": changed}).parts
    rows = next(part for part in parts if part.title == "Orders: documents").rows
    assert any(row[1] == "ShippingAddress.CountryCode" and row[2:] == ("GB", "JE") for row in rows)
    for row in rows:
        if row[1].rpartition(".")[2] in ("Name", "City", "PostalCode", "Line1", "Line2", "Region"):
            assert set(row[2:]) <= {"•••", ""}


def test_a_draft_with_mistakes_or_without_changes_compares_nothing(connection: sa.Connection) -> None:
    wrong = effects.of(connection, ADA, {PRICES: "currency: [\n"})
    assert wrong.parts == ()
    assert wrong.problems
    same = effects.of(connection, ADA, {PRICES: configuration.text(connection, PRICES) or ""})
    assert same.words == ("The draft changes nothing.",)
    flows_ = draft(connection, "flows.yaml", (("defaults", "sweep_days"), "4"))
    assert "changes no document" in effects.of(connection, ADA, {"flows.yaml": flows_}).words[0]


def test_it_says_where_it_was_cut(
    shop: Environment, connection: sa.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(effects, "PORTION", 20)
    monkeypatch.setattr(effects, "MOST_ITEMS", 40)
    found = effects.of(connection, ADA, {PRICES: draft(connection, PRICES, (("defaults", "margin"), "60"))})
    assert found.parts[0].looked == 40
    assert found.parts[0].truncated == "Only 40 items were compared; there are more."
    assert found.parts[0].there_are > 60


def test_what_was_cut_is_gone_on_with_until_all_is_compared(
    shop: Environment, connection: sa.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(effects, "SECONDS", 120)  # of a busy machine
    change = Draft(PRICES, values=(ValueChange(("defaults", "margin"), "60"),))
    whole = rule_files.preview(connection, ADA, change)
    assert not whole.goes_on
    monkeypatch.setattr(effects, "PORTION", 100)
    monkeypatch.setattr(effects, "MOST_ITEMS", 300)
    found = rule_files.preview(connection, ADA, change)
    assert (found.looked, found.large, found.goes_on) == (300, True, True)
    assert "not known" in found.why_large
    rows = list(found.parts[0].rows)
    while found.goes_on:
        found = rule_files.preview(connection, ADA, change, goes_on=found.number)
        rows += found.parts[0].rows
    assert (found.looked, found.changes) == (whole.looked, whole.changes)
    assert found.looked == found.parts[0].there_are
    assert sorted(rows) == sorted(whole.parts[0].rows)
    with pytest.raises(ConfigError, match="Everything is compared"):
        rule_files.preview(connection, ADA, change, goes_on=found.number)


def test_a_rule_of_one_site_shows_the_prices_of_that_site_and_says_where_nothing_is_listed(
    shop: Environment, connection: sa.Connection
) -> None:
    change = {PRICES: draft(connection, PRICES, (("sites", "640", "margin"), "70"))}
    (part,) = effects.of(connection, ADA, change).parts
    assert part.total == 0
    assert part.words.startswith("No item has a listing on site 640,")
    connection.execute(
        sa.text(
            "INSERT INTO ref.channel_listing (listing_id, sku, site_id, status, currency_code, payload, version) "
            "SELECT 900000 + row_number() OVER (ORDER BY sku), sku, 640, 'Active', 'USD', '{}', now() "
            "FROM (SELECT sku FROM stage.price_line WHERE site_id = 0 ORDER BY sku LIMIT 3) AS first"
        )
    )
    (part,) = effects.of(connection, ADA, change).parts
    assert part.total == len(part.rows) == part.sums["prices of listings on sites"] == 3
    assert part.sums["prices of products"] == 0
    assert all(row[1].startswith("site 640, listing ") for row in part.rows)
    assert part.words.startswith("No item has a listing on site 642,")


# ---- nothing is published unseen -----------------------------------------------------------------------------------


@pytest.mark.usefixtures("as_shipped")
def test_nobody_publishes_what_was_not_shown_to_them(connection: sa.Connection) -> None:
    change = Draft(PRICES, values=(ValueChange(("defaults", "margin"), "50"),))
    other = Draft(PRICES, values=(ValueChange(("defaults", "margin"), "51"),))
    shown = rule_files.preview(connection, ADA, change)

    def refused(person: Person, draft: Draft, seen: Seen, why: str) -> None:
        with pytest.raises(ConfigError, match=why) as refusal, connection.begin_nested():
            rule_files.publish(connection, person, draft, "Unseen", None, seen)
        assert "Nothing was published" in (refusal.value.do or "")

    confirm = str(shown.changes)
    refused(ADA, change, Seen(None, confirm), "was not shown")
    refused(ADA, change, Seen(shown.number + 1_000, confirm), "no preview")
    refused(BOB, change, Seen(shown.number, confirm), "no preview")
    refused(ADA, other, Seen(shown.number, confirm), "of another draft")
    with connection.begin_nested() as before:
        published(connection, BOB, Draft(CARRIERS, rows=(RowChange(0, ("a", "b", "c", "d")),)), "Meanwhile")
        refused(ADA, change, Seen(shown.number, confirm), "come into force since")
        before.rollback()
    assert "margin: 48" in (configuration.text(connection, PRICES) or "")
    version = rule_files.publish(connection, ADA, change, "Seen", None, Seen(shown.number, confirm))
    assert version.state == "in force"
    deed = connection.execute(
        sa.text("SELECT detail FROM ops.audit WHERE action = 'configuration publish' ORDER BY id DESC LIMIT 1")
    ).scalar_one()
    assert (deed["preview"], deed["would change"]) == (shown.number, shown.changes)


@pytest.mark.usefixtures("as_shipped")
def test_a_large_change_is_confirmed_by_its_number(connection: sa.Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    change = Draft(PRICES, values=(ValueChange(("defaults", "margin"), "50"),))
    shown = rule_files.preview(connection, ADA, change)
    assert shown.large
    assert f"{shown.changes:,} would change" in shown.why_large or f"{shown.changes:,} of" in shown.why_large
    for confirm in ("", "yes", str(shown.changes + 1)):
        with pytest.raises(ConfigError, match="was not confirmed"), connection.begin_nested():
            rule_files.publish(connection, ADA, change, "Large", None, Seen(shown.number, confirm))
    bound = settings.console()
    monkeypatch.setattr(
        settings, "console", lambda: msgspec.structs.replace(bound, large=settings.LargeChange(10**9, 101))
    )
    small = rule_files.preview(connection, ADA, change)
    assert (small.large, small.changes) == (False, shown.changes)
    assert rule_files.publish(connection, ADA, change, "Small", None, Seen(small.number)).state == "in force"


def test_what_only_recovers_letters_is_not_large(parcels: list[str], connection: sa.Connection) -> None:
    lacking = unknown_values.of(connection, ADA, CARRIERS)
    assert lacking
    first = lacking.values[0]
    row = (*first.value.split(" / "), "Royal Mail", "2nd Class")
    shown = rule_files.preview(connection, ADA, Draft(CARRIERS, rows=(RowChange(0, row),)))
    assert (shown.changes, shown.large) == (0, False)
    assert shown.parts[0].total == first.letters


def test_a_look_at_a_file_that_somebody_has_changed_since_is_refused(connection: sa.Connection) -> None:
    published(connection, BOB, Draft(PRICES, values=(ValueChange(("defaults", "margin"), "49"),)), "Quicker")
    change = Draft(PRICES, values=(ValueChange(("defaults", "margin"), "50"),))
    with pytest.raises(ConfigError, match="has been changed meanwhile"):
        rule_files.preview(connection, ADA, change, configuration.SHIPPED)


def test_a_file_says_which_version_has_changed_it_last(connection: sa.Connection) -> None:
    assert rule_files.facts(connection, EVE, PRICES).replaced is False
    version = published(connection, ADA, Draft(PRICES, values=(ValueChange(("defaults", "margin"), "50"),)), "Costs")
    published(connection, BOB, Draft(CARRIERS, rows=(RowChange(0, ("a", "b", "c", "d")),)), "Another file")
    facts = rule_files.facts(connection, EVE, PRICES)
    assert facts.last is not None
    assert (facts.last.number, facts.replaced) == (version.number, True)


# ---- publishing ----------------------------------------------------------------------------------------------------


def test_findings_stand_at_their_row_or_word(connection: sa.Connection) -> None:
    rows = rule_files.opened(connection, ADA, CARRIERS).rows
    found = rule_files.examined(connection, ADA, Draft(CARRIERS, rows=(RowChange(rows[3].line, ("a", "b", "", "")),)))
    (one,) = found.findings
    assert (one.row, one.line) == (3, rows[3].line)
    assert "carrier is empty" in one.text
    found = rule_files.examined(
        connection, ADA, Draft(PRICES, values=(ValueChange(("sites", "640", "margin"), "x"),))
    )  # fmt: skip
    assert [one.place for one in found.findings] == [("sites", "640", "margin")]
    assert found.diff.count("\n+") == 2


@pytest.mark.usefixtures("as_shipped")
def test_history_and_taking_back(shop: Environment) -> None:
    with kept(shop) as made:
        shipped = configuration.text(made, PRICES)
        first = published(made, ADA, Draft(PRICES, values=(ValueChange(("defaults", "margin"), "50"),)), "First"
        )  # fmt: skip
        second = published(made, BOB, Draft(PRICES, values=(ValueChange(("defaults", "margin"), "51"),)), "Second"
        )  # fmt: skip
        past = rule_files.history(made, EVE, PRICES)[:2]
        assert [(one.version.author, one.version.message, one.current) for one in past] == [
            ("bob", "Second", True), ("ada", "First", False),
        ]  # fmt: skip
        assert [one.newest for one in past] == [True, False]
        (deed,) = made.execute(
            sa.text("SELECT detail FROM ops.audit WHERE action = 'configuration publish' AND subject = :which"),
            {"which": f"version {second.number}"},
        ).scalars()
        assert deed["would change"] > 0
        assert past[0].hint == f"{deed['would change']:,} of {deed['of']:,}"
        assert "-  margin: 50\n+  margin: 51" in rule_files.change(made, EVE, PRICES, second.number).diff
        with pytest.raises(ConfigError, match="changed again"):
            rule_files.take_back(made, ADA, PRICES, first.number)
        rule_files.take_back(made, ADA, PRICES, second.number)
        assert "margin: 50" in (configuration.text(made, PRICES) or "")
        another = published(made, ADA, Draft(CARRIERS, rows=(RowChange(0, ("a", "b", "c", "d")),)), "X")
        assert another.state == "in force"
        latest = rule_files.history(made, ADA, PRICES)[0]
        assert (latest.current, latest.newest) == (True, False), "this file is as it made it; another one came later"
        rule_files.take_back(made, ADA, PRICES, latest.version.number)
        assert "margin: 51" in (configuration.text(made, PRICES) or "")
        assert shipped


def test_a_second_persons_consent(shop: Environment, connection: sa.Connection) -> None:
    change = Draft(POSTING, values=(ValueChange(("options", "marketplace_tax"), "wash"),))
    version = published(connection, ADA, change, "As the auditor wants it")
    assert version.waits_for == (POSTING,)
    entry = next(
        one for group in rule_files.listed(connection, EVE) for one in group.entries if one.path == POSTING
    )  # fmt: skip
    assert (entry.consent, entry.waits) == (True, (version.number,))
    with pytest.raises(ConfigError, match="second person"):
        configuration.consent(connection, ADA, version.number)
    with pytest.raises(ConfigError, match="was not shown"):
        previews.consent(connection, BOB, version.number, Seen(None))
    shown = previews.of_proposal(connection, BOB, version.number)
    assert previews.consent(connection, BOB, version.number, Seen(shown.number, str(shown.changes))).state == "in force"


def test_who_may_not_publish_only_looks(connection: sa.Connection) -> None:
    change = Draft(PRICES, values=(ValueChange(("defaults", "margin"), "50"),))
    for person in (EVE, CLERK):
        assert rule_files.listed(connection, person)
        assert rule_files.opened(connection, person, PRICES).form
        with pytest.raises(NotAllowed):
            rule_files.publish(connection, person, change, "No", None, Seen(1))
        with pytest.raises(NotAllowed):
            rule_files.preview(connection, person, change)
        with pytest.raises(NotAllowed):
            rule_files.take_back(connection, person, PRICES, 1)


@pytest.mark.parametrize("path", ["console.yaml", "pools.json", "controls/balances.sql", "../secret.yaml", "x.yaml"])
def test_what_comes_with_the_code_only_is_not_published(connection: sa.Connection, path: str) -> None:
    with pytest.raises(ConfigError):
        published(connection, ADA, Draft(path, text="a: 1\n"), "No")


def test_every_file_opens_as_a_grid_or_a_form(connection: sa.Connection) -> None:
    paths = [entry.path for group in rule_files.listed(connection, EVE) for entry in group.entries]
    assert len(paths) > 40
    for path in paths:
        opened = rule_files.opened(connection, EVE, path)
        assert opened.kind == ("grid" if path.endswith(".csv") else "form"), (path, opened.why_text)
        assert opened.intro, path
