"""Rules and lookups: values that records wait for, what would change, publishing and taking back; on both systems over
HTTP and a real Postgres."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal

import pytest
import sqlalchemy as sa

from crossdock.config.grid import RowChange
from crossdock.errors import ConfigError, NotAllowed
from crossdock.services import configuration, effects, letters, rule_files, unknown_values
from crossdock.services.people import Person, Role, on_this_machine
from crossdock.services.rule_files import Draft, ValueChange
from integration.builders import line, order, place, ship
from integration.environment import Environment

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
    place(shop, line("NO-SUCH-CODE"))
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
    assert (first.value, first.letters, first.nearest) == ("Roial Mail / 2nd Class", 3, "Royal Mail / 2nd Class")
    assert first.row == ("Roial Mail", "2nd Class", "Royal Mail", "2nd Class")
    assert (second.value, second.row[:2]) == ("Zeppelin / 2nd Class", ("Zeppelin", "2nd Class"))
    codes = found["lookups/item_codes.csv"]
    assert [one.row[:2] for one in codes.values] == [("NO-SUCH-CODE", "")], "nobody guesses what a code is"
    assert unknown_values.of(connection, ADA, "lookups/countries.csv") is None


def test_a_draft_says_which_open_letters_would_pass(parcels: list[str], connection: sa.Connection) -> None:
    lacking = unknown_values.of(connection, ADA, CARRIERS)
    assert lacking
    added = Draft(CARRIERS, rows=(RowChange(0, lacking.values[0].row),))
    text = rule_files.text_of(connection, ADA, added)
    before = counts(connection)
    found = effects.of(connection, ADA, CARRIERS, text)
    assert counts(connection) == before
    waiting, documents = found.parts
    assert (waiting.title, waiting.total) == ("Open dead letters that would pass", 3)
    assert {row[2] for row in waiting.rows} == set(parcels[:3])
    assert documents.total >= 3
    assert {row[2:] for row in documents.rows if row[1] == "what becomes of it"} == {
        ("dead letter: unknown carrier", "sent")
    }  # fmt: skip


@pytest.mark.usefixtures("as_shipped")
def test_published_the_letters_that_waited_are_replayed_and_no_others(shop: Environment, parcels: list[str]) -> None:
    with kept(shop) as made:
        lacking = unknown_values.of(made, ADA, CARRIERS)
        assert lacking
        text = configuration.text(made, CARRIERS)
        rule_files.publish(
            made, ADA, Draft(CARRIERS, rows=(RowChange(0, lacking.values[0].row),)), "Typing error", None
        )
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
        assert [one.letters for one in lacking.values] == [1], "those in replay do not wait any more"
    shop.sync(flow="shipments", kind="replay", keys=parcels[:3])
    assert set(parcels) & shop.letters().keys() == {parcels[3]}


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
        found = effects.of(made, ADA, PRICES, draft(made, PRICES, (("defaults", "margin"), "60")))
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
        rule_files.publish(made, ADA, Draft(PRICES, values=(ValueChange(("defaults", "margin"), "60"),)), "Costs", None)
    shop.sync(flow="prices")
    with kept(shop) as made:
        after = prices(made)
    assert {sku: after[sku] for sku in would} == would
    if part.total <= effects.SHOWN:
        others = was.keys() - would.keys()
        assert {sku: after[sku] for sku in others} == {sku: was[sku] for sku in others}


def test_what_would_be_offered(shop: Environment, connection: sa.Connection) -> None:
    found = effects.of(connection, ADA, OFFERS, draft(connection, OFFERS, (("defaults", "buffer"), "1000000")))
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
    found = effects.of(connection, ADA, "accounts.yaml", text.replace("Revenue: 4000", "Revenue: 4010"))
    part = found.parts[0]
    assert part.looked >= part.total >= 5
    assert {row[3] for row in part.rows} == {"Revenue 4000", "Revenue 4010"}
    for row in part.rows:
        assert (row[6] == "") == (row[3] == "Revenue 4010")


def test_documents_that_would_differ_are_named_by_their_fields(shop: Environment, connection: sa.Connection) -> None:
    text = draft(connection, "sites.yaml", (("sites", "641", "shipping_method"), "Pigeon"))
    found = effects.of(connection, ADA, "sites.yaml", text)
    orders = next(part for part in found.parts if part.title == "Orders: documents")
    assert orders.total > 0
    assert {(row[1], row[3]) for row in orders.rows} == {("ShippingMethod", "Pigeon")}


def test_personal_data_are_not_shown_to_analysts(shop: Environment, connection: sa.Connection) -> None:
    text = configuration.text(connection, "lookups/countries.csv") or ""
    changed = text + "GB,JE,For a test\n"
    parts = effects.of(connection, ADA, "lookups/countries.csv", changed).parts
    rows = next(part for part in parts if part.title == "Orders: documents").rows
    assert any(row[1] == "ShippingAddress.CountryCode" and row[2:] == ("GB", "JE") for row in rows)
    for row in rows:
        if row[1].rpartition(".")[2] in ("Name", "City", "PostalCode", "Line1", "Line2", "Region"):
            assert set(row[2:]) <= {"•••", ""}


def test_a_draft_with_mistakes_or_without_changes_compares_nothing(connection: sa.Connection) -> None:
    wrong = effects.of(connection, ADA, PRICES, "currency: [\n")
    assert wrong.parts == ()
    assert wrong.problems
    same = effects.of(connection, ADA, PRICES, configuration.text(connection, PRICES) or "")
    assert same.words == ("The draft changes nothing.",)
    flows_ = draft(connection, "flows.yaml", (("defaults", "sweep_days"), "4"))
    assert "changes no document" in effects.of(connection, ADA, "flows.yaml", flows_).words[0]


def test_it_says_where_it_was_cut(
    shop: Environment, connection: sa.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(effects, "PORTION", 20)
    monkeypatch.setattr(effects, "MOST_ITEMS", 40)
    found = effects.of(connection, ADA, PRICES, draft(connection, PRICES, (("defaults", "margin"), "60")))
    assert found.parts[0].looked == 40
    assert found.parts[0].truncated == "Only the first 40 items were compared; there are more."


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
        first = rule_files.publish(
            made, ADA, Draft(PRICES, values=(ValueChange(("defaults", "margin"), "50"),)), "First", None
        )  # fmt: skip
        second = rule_files.publish(
            made, BOB, Draft(PRICES, values=(ValueChange(("defaults", "margin"), "51"),)), "Second", None
        )  # fmt: skip
        past = rule_files.history(made, EVE, PRICES)[:2]
        assert [(one.version.author, one.version.message, one.current) for one in past] == [
            ("bob", "Second", True), ("ada", "First", False),
        ]  # fmt: skip
        assert "-  margin: 50\n+  margin: 51" in rule_files.change(made, EVE, PRICES, second.number).diff
        with pytest.raises(ConfigError, match="changed again"):
            rule_files.take_back(made, ADA, PRICES, first.number)
        rule_files.take_back(made, ADA, PRICES, second.number)
        assert "margin: 50" in (configuration.text(made, PRICES) or "")
        another = rule_files.publish(made, ADA, Draft(CARRIERS, rows=(RowChange(0, ("a", "b", "c", "d")),)), "X", None)
        assert another.state == "in force"
        latest = rule_files.history(made, ADA, PRICES)[0]
        assert latest.current
        rule_files.take_back(made, ADA, PRICES, latest.version.number)
        assert "margin: 51" in (configuration.text(made, PRICES) or "")
        assert shipped


def test_a_second_persons_consent(shop: Environment, connection: sa.Connection) -> None:
    change = Draft(POSTING, values=(ValueChange(("options", "marketplace_tax"), "wash"),))
    version = rule_files.publish(connection, ADA, change, "As the auditor wants it", None)
    assert version.waits_for == (POSTING,)
    entry = next(
        one for group in rule_files.listed(connection, EVE) for one in group.entries if one.path == POSTING
    )  # fmt: skip
    assert (entry.consent, entry.waits) == (True, (version.number,))
    with pytest.raises(ConfigError, match="second person"):
        configuration.consent(connection, ADA, version.number)
    assert configuration.consent(connection, BOB, version.number).state == "in force"


def test_who_may_not_publish_only_looks(connection: sa.Connection) -> None:
    change = Draft(PRICES, values=(ValueChange(("defaults", "margin"), "50"),))
    for person in (EVE, CLERK):
        assert rule_files.listed(connection, person)
        assert rule_files.opened(connection, person, PRICES).form
        with pytest.raises(NotAllowed):
            rule_files.publish(connection, person, change, "No", None)
        with pytest.raises(NotAllowed):
            rule_files.take_back(connection, person, PRICES, 1)


@pytest.mark.parametrize("path", ["console.yaml", "pools.json", "controls/balances.sql", "../secret.yaml", "x.yaml"])
def test_what_comes_with_the_code_only_is_not_published(connection: sa.Connection, path: str) -> None:
    with pytest.raises(ConfigError):
        rule_files.publish(connection, ADA, Draft(path, text="a: 1\n"), "No", None)


def test_every_file_opens_as_a_grid_or_a_form(connection: sa.Connection) -> None:
    paths = [entry.path for group in rule_files.listed(connection, EVE) for entry in group.entries]
    assert len(paths) > 40
    for path in paths:
        opened = rule_files.opened(connection, EVE, path)
        assert opened.kind == ("grid" if path.endswith(".csv") else "form"), (path, opened.why_text)
        assert opened.intro, path
