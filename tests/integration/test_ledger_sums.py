"""The sums that the database keeps of the ledger's lines are those of its lines, whatever is done to them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from datetime import date, timedelta
from decimal import Decimal

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from crossdock.ledger import controls
from crossdock.services import money
from crossdock.services.people import Person, Role
from crossdock.store import database
from integration.environment import fresh_database

VIC = Person("vic", frozenset({Role.VIEWER}))
BEFORE = "0033"  # the revision that had no sums
KEY = "posting_date, currency_code, account_code"
OF_LINES = sa.text(
    "SELECT e.posting_date, e.currency_code, l.account_code, coalesce(l.channel, ''), coalesce(l.sku, ''), "
    "sum(l.debit), sum(l.credit), count(*) FROM ref.gl_entry e JOIN ref.gl_entry_line l ON l.entry_id = e.id "
    "GROUP BY 1, 2, 3, 4, 5"
)
OF_DAYS = sa.text(f"SELECT {KEY}, channel, debit, credit, lines FROM ref.ledger_day")
OF_SKUS = sa.text(f"SELECT {KEY}, channel, sku, debit, credit, lines, month FROM ref.ledger_sku_day")
ENTRY = sa.text(
    "INSERT INTO ref.gl_entry (id, external_reference, source, currency_code, posting_date, period, document_type, "
    "document_id, status, reversal_of, payload, version) "
    "VALUES (:id, :id, 'Crossdock', :currency, :day, '', 'Invoice', '', 'Posted', :old, '{}', now()) "
    "ON CONFLICT (id) DO UPDATE SET currency_code = excluded.currency_code, "
    "posting_date = excluded.posting_date, status = excluded.status"
)
LINE = sa.text(
    "INSERT INTO ref.gl_entry_line (entry_id, line_no, account_code, debit, credit, channel, sku) "
    "VALUES (:id, :no, :account, :debit, :credit, :channel, :sku) ON CONFLICT DO NOTHING"
)
OPPOSITE = sa.text(
    "INSERT INTO ref.gl_entry_line (entry_id, line_no, account_code, debit, credit, channel, sku) "
    "SELECT :id, line_no, account_code, credit, debit, channel, sku FROM ref.gl_entry_line WHERE entry_id = :old "
    "ON CONFLICT DO NOTHING"
)


@pytest.fixture(scope="module")
def engine(postgres_url: str) -> Iterator[sa.Engine]:
    with fresh_database(postgres_url, "sums") as url:
        made = database.engine(url)
        yield made
        made.dispose()


def hold(connection: sa.Connection) -> None:
    """Raises AssertionError where the sums are not those of the lines."""
    days: dict[tuple, tuple] = {}
    skus = {}
    for day, currency, account, channel, sku, debit, credit, lines in connection.execute(OF_LINES):
        skus[day, currency, account, channel, sku] = (debit, credit, lines, day.replace(day=1))
        before = days.get((day, currency, account, channel), (0, 0, 0))
        days[day, currency, account, channel] = (before[0] + debit, before[1] + credit, before[2] + lines)
    assert {tuple(row[:4]): tuple(row[4:]) for row in connection.execute(OF_DAYS)} == days
    assert {tuple(row[:5]): tuple(row[5:]) for row in connection.execute(OF_SKUS)} == skus


# ---- any sequence --------------------------------------------------------------------------------------------------

BOTH = "gl_entry, ref.gl_entry_line"
ids = st.sampled_from(["E1", "E2", "E3", "E4"])
days = st.integers(0, 70).map(lambda number: date(2026, 1, 15) + timedelta(days=number))
currencies = st.sampled_from(["GBP", "USD"])
amounts = st.integers(0, 10**13).map(lambda cents: Decimal(cents) / 100)
texts = st.one_of(st.none(), st.sampled_from(["", "A", "a", "A ", "🛒‮"]))
lines = st.lists(
    st.tuples(st.sampled_from(["1100", "4000", "5000"]), amounts, amounts, texts, texts), min_size=1, max_size=4
)
Step = tuple[str, tuple]
steps = st.one_of(
    st.tuples(st.just("post"), st.tuples(ids, currencies, days, lines, st.booleans())),
    st.tuples(st.just("reverse"), st.tuples(ids, days)),
    st.tuples(st.just("change"), st.tuples(ids, amounts, texts)),
    st.tuples(st.just("move"), st.tuples(ids, ids)),
    st.tuples(st.just("delete"), st.tuples(ids, st.booleans())),
    st.tuples(st.just("delete lines"), st.tuples(ids)),
    st.tuples(
        st.just("empty"), st.tuples(st.sampled_from(["gl_entry", "gl_entry_line", "gl_entry, ref.gl_entry_line"]))
    ),
)


def post(connection: sa.Connection, id: str, currency: str, day: date, own: list, lines_first: bool) -> None:
    entry = {"id": id, "currency": currency, "day": day, "old": None}
    if not lines_first:
        connection.execute(ENTRY, entry)
    connection.execute(
        LINE,
        [{"id": id, "no": no, "account": account, "debit": debit, "credit": credit, "channel": channel, "sku": sku}
         for no, (account, debit, credit, channel, sku) in enumerate(own, 1)],
    )  # fmt: skip
    if lines_first:
        connection.execute(ENTRY, entry)


def reverse(connection: sa.Connection, id: str, day: date) -> None:
    currency = connection.scalar(sa.text("SELECT currency_code FROM ref.gl_entry WHERE id = :id"), {"id": id})
    if currency:
        connection.execute(ENTRY, {"id": f"{id}:rev", "currency": currency, "day": day, "old": id})
        connection.execute(OPPOSITE, {"id": f"{id}:rev", "old": id})
        connection.execute(sa.text("UPDATE ref.gl_entry SET status = 'Reversed' WHERE id = :id"), {"id": id})


def change(connection: sa.Connection, id: str, by: Decimal, sku: str | None) -> None:
    connection.execute(
        sa.text("UPDATE ref.gl_entry_line SET debit = debit + :by, sku = :sku WHERE entry_id = :id AND line_no < 3"),
        {"id": id, "by": by, "sku": sku},
    )


def move(connection: sa.Connection, id: str, to: str) -> None:
    """The lines of an entry become those of another one."""
    connection.execute(
        sa.text("UPDATE ref.gl_entry_line SET entry_id = :to, line_no = line_no + 10 WHERE entry_id = :id "
                "AND NOT EXISTS (SELECT FROM ref.gl_entry_line WHERE entry_id = :to AND line_no > 10)"),
        {"id": id, "to": to},
    )  # fmt: skip


def delete(connection: sa.Connection, id: str, lines_first: bool) -> None:
    statements = ["DELETE FROM ref.gl_entry WHERE id = :id", "DELETE FROM ref.gl_entry_line WHERE entry_id = :id"]
    for statement in reversed(statements) if lines_first else statements:
        connection.execute(sa.text(statement), {"id": id})


def delete_lines(connection: sa.Connection, id: str) -> None:
    connection.execute(sa.text("DELETE FROM ref.gl_entry_line WHERE entry_id = :id"), {"id": id})


def empty(connection: sa.Connection, tables: str) -> None:
    connection.execute(sa.text("RESET ROLE"))  # the loader may not
    connection.execute(sa.text(f"TRUNCATE ref.{tables}"))


DO: dict[str, Callable[..., None]] = {
    "post": post, "reverse": reverse, "change": change, "move": move, "delete": delete, "delete lines": delete_lines,
    "empty": empty,
}  # fmt: skip


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(steps, min_size=1, max_size=12))
def test_sums_are_those_of_the_lines_after_anything(engine: sa.Engine, wanted: list[Step]) -> None:
    with engine.connect() as connection:
        for name, facts in wanted:
            DO[name](connection, *facts)
            hold(connection)
        for row in money.trial_balance(connection, VIC, "2026-02"):
            stated = connection.scalar(
                sa.text(
                    "SELECT sum(debit - credit) FROM ref.gl_entry e JOIN ref.gl_entry_line l ON l.entry_id = e.id "
                    "WHERE posting_date <= '2026-02-28' AND account_code = :account AND currency_code = :currency"
                ),
                {"account": row.account, "currency": row.currency_code},
            )
            assert row.after == stated
        connection.rollback()


# ---- texts, writers, the upgrade -----------------------------------------------------------------------------------


def test_a_text_that_no_index_can_hold_stops_no_posting_and_is_nobody_elses(engine: sa.Engine) -> None:
    long = "".join(chr(0x4E00 + 7919 * number % 20_000) for number in range(3_000))
    with engine.connect() as connection:
        for number, sku in enumerate((long + "a", long + "b")):
            post(
                connection, f"L{number}", "GBP", date(2026, 1, 1), [("4000", Decimal(0), Decimal(5), long, sku)], False
            )
        kept = connection.execute(sa.text("SELECT sku, credit FROM ref.ledger_sku_day")).all()
        assert [row.credit for row in kept] == [5, 5]
        assert len({row.sku for row in kept}) == 2
        assert all(row.sku.startswith(long[:60]) for row in kept)
        connection.rollback()


def test_writers_that_meet_at_the_same_sums_take_turns(engine: sa.Engine) -> None:
    """Each posts several times within one transaction, to the same sums in the opposite order."""
    met = threading.Barrier(2, timeout=20)
    errors: list[BaseException] = []

    def write(name: str, accounts: tuple[str, ...]) -> None:
        try:
            with engine.begin() as connection:
                met.wait()
                for number, account in enumerate(accounts):
                    own = [(account, Decimal(1), Decimal(0), "A", "S")]
                    post(connection, f"{name}{number}", "GBP", date(2026, 3, 1), own, False)
        except BaseException as error:
            errors.append(error)

    codes = tuple(f"4{number:03d}" for number in range(30))
    threads = [threading.Thread(target=write, args=one) for one in (("W", codes), ("V", codes[::-1]))]
    for one in threads:
        one.start()
    for one in threads:
        one.join(30)
    try:
        with engine.connect() as connection:
            assert not errors
            assert connection.scalar(sa.text("SELECT sum(lines) FROM ref.ledger_day")) == 60
            hold(connection)
    finally:
        with engine.begin() as connection:
            empty(connection, BOTH)


def test_a_database_with_entries_has_their_sums_after_the_upgrade(postgres_url: str) -> None:
    server = database.engine(postgres_url, role=None)
    with server.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql("DROP DATABASE IF EXISTS sums_upgrade WITH (FORCE)")
        connection.exec_driver_sql("CREATE DATABASE sums_upgrade")
        url = sa.make_url(postgres_url).set(database="sums_upgrade").render_as_string(hide_password=False)
        database.migrate(url, BEFORE)
        made = database.engine(url, role=None)
        with made.begin() as connection:
            for number in range(50):
                own = [("1100", Decimal("12.34"), Decimal(0), "Amazon UK", None),
                       ("4000", Decimal(0), Decimal("12.34"), None, f"S{number % 7}")]  # fmt: skip
                post(connection, f"E{number}", "GBP", date(2026, 1, 1) + timedelta(days=number % 40), own, False)
            post(connection, "alone", "USD", date(2026, 1, 1), own, True)
        database.migrate(url)
        with made.begin() as connection:
            hold(connection)
            assert connection.scalar(sa.text("SELECT sum(lines) FROM ref.ledger_day")) == 102
            reverse(connection, "E1", date(2026, 2, 1))
            hold(connection)
        made.dispose()
    with server.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql("DROP DATABASE sums_upgrade WITH (FORCE)")
    server.dispose()


def test_a_control_names_a_sum_that_is_not_that_of_its_lines(engine: sa.Engine) -> None:
    (query,) = [one for one in controls.queries() if one.name == "sums_of_lines"]
    with engine.connect() as connection:
        own = [("1100", Decimal("5"), Decimal(0), "A", "S"), ("4000", Decimal(0), Decimal("5"), "A", "S")]
        post(connection, "E1", "GBP", date(2026, 1, 1), own, False)
        assert [one.holds for one in controls._ask(connection, query, date(2026, 1, 31))] == [True]
        for statement in (
            "UPDATE ref.ledger_day SET debit = debit + 0.01 WHERE account_code = '1100'",
            "UPDATE ref.ledger_sku_day SET credit = credit + 0.01 WHERE account_code = '1100'",
            "DELETE FROM ref.ledger_sku_day WHERE account_code = '1100'",
        ):
            attempt = connection.begin_nested()
            connection.execute(sa.text(statement))
            (found,) = controls._ask(connection, query, date(2026, 1, 31))
            assert not found.holds
            assert found.documents == ("1100 of 2026-01-01",)
            connection.execute(sa.text("SELECT ref.fill_sums()"))
            hold(connection)
            attempt.rollback()
        connection.rollback()
