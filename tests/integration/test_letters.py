"""The services behind the desk: groups that add up, pages by key, causes that are gone, replays that lose nothing."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
import sqlalchemy as sa

from crossdock.errors import ConfigError, NotAllowed
from crossdock.services import letters, people
from crossdock.services.letters import Cause
from crossdock.services.people import Person, Role
from crossdock.store import database, dead_letters
from crossdock.store.tables import ops_audit
from crossdock.store.tables import ops_dead_letter as table
from integration.builders import line, place
from integration.environment import Environment, fresh_database

CLERK = Person("clerk", frozenset({Role.CLERK}), "10.0.0.7")
VIEWER = Person("viewer", frozenset({Role.VIEWER}))
SKUS = Cause("orders", "unknown_sku")


@pytest.fixture(scope="module")
def engine(postgres_url: str) -> Iterator[sa.Engine]:
    with fresh_database(postgres_url, "letters") as url:
        made = database.engine(url)
        yield made
        made.dispose()


@pytest.fixture
def connection(engine: sa.Engine) -> Iterator[sa.Connection]:
    """A transaction that is rolled back."""
    with engine.connect() as opened:
        begun = opened.begin()
        people.begin(opened, CLERK)
        yield opened
        begun.rollback()


def refuse(connection: sa.Connection, key: str, *rules: tuple[str, str], flow: str = "orders", **payload: Any) -> int:
    """Writes a dead letter; its number."""
    same = {"field": "OrderItems.SKU", "do": "Mend it", "line": ""}
    reasons = [{**same, "rule": rule, "value": value, "says": f"{value} is wrong"} for rule, value in rules]
    letter = {"flow": flow, "entity": "sales_order", "key": key, "batch_id": 1, "step": "check", "reasons": reasons,
              "version": "2011-01-06T00:00:00+00:00", "payload": {"ChannelAdvisorOrderID": 1, **payload}}  # fmt: skip
    dead_letters.dead_letter(connection, [letter])
    return connection.execute(sa.select(table.c.id).where(table.c.flow == flow, table.c.key == key)).scalar_one()


def test_groups_add_up_to_all_open_letters_and_their_money(connection: sa.Connection) -> None:
    for number in range(9):
        refuse(connection, f"a{number}", ("unknown_sku", f"S{number % 3}"), TotalPrice=10.5, Currency="GBP")
    refuse(connection, "b1", ("unknown_sku", "S0"), ("country_unknown", "Atlantis"), TotalPrice="7.25", Currency="EUR")
    refuse(connection, "c1", ("country_unknown", "Atlantis"), TotalPrice="much", Currency="EUR")
    refuse(connection, "c1", ("country_unknown", "Atlantis"), flow="returns")
    found = {(group.flow, group.rule): group for group in letters.groups(connection, CLERK)}
    assert {cause: group.count for cause, group in found.items()} == {
        ("orders", "unknown_sku"): 10, ("orders", "country_unknown"): 1, ("returns", "country_unknown"): 1,
    }  # fmt: skip
    skus = found["orders", "unknown_sku"]
    assert skus.worth == {"GBP": Decimal("94.5"), "EUR": Decimal("7.25")}
    assert skus.values == (("S0", 4), ("S1", 3), ("S2", 3))
    assert found["orders", "country_unknown"].worth == {}
    assert len(letters.letters(connection, CLERK, cause=Cause("orders", "unknown_sku", "S0")).rows) == 4


def test_pages_by_key_have_every_letter_once_also_of_one_moment(connection: sa.Connection) -> None:
    wanted = {refuse(connection, f"p{number}", ("unknown_sku", "X")) for number in range(23)}
    seen: list[int] = []
    after = None
    while True:
        page = letters.letters(connection, CLERK, cause=SKUS, after=after, limit=5)
        seen += [row.id for row in page.rows]
        after = page.after
        if after is None:
            break
    assert sorted(seen) == sorted(wanted)
    with pytest.raises(ConfigError, match="no place in the list"):
        letters.letters(connection, CLERK, after="x'; DROP TABLE ops.dead_letter; --")


def test_whoever_may_not_work_changes_nothing(connection: sa.Connection) -> None:
    number = refuse(connection, "v1", ("unknown_sku", "X"))
    for change in (
        lambda: letters.edit(connection, VIEWER, number, {"ChannelAdvisorOrderID": "2"}),
        lambda: letters.dismiss(connection, VIEWER, "no", numbers=[number]),
        lambda: letters.assign(connection, VIEWER, "viewer", numbers=[number]),
        lambda: letters.add_note(connection, VIEWER, number, "x"),
        lambda: letters.ask_replay(connection, VIEWER, numbers=[number]),
        lambda: letters.replace_value(connection, VIEWER, Cause("orders", "unknown_sku", "X"), "Y"),
        lambda: letters.verdict(connection, VIEWER, number, {}),
    ):
        with pytest.raises(NotAllowed, match="viewer may not"):
            change()
    assert connection.scalar(sa.select(table.c.state).where(table.c.id == number)) == "open"


def test_what_people_do_is_on_record_with_where_they_came_from(connection: sa.Connection) -> None:
    number = refuse(connection, "r1", ("unknown_sku", "X"))
    letters.letter(connection, CLERK, number)
    letters.assign(connection, CLERK, "ada", numbers=[number])
    letters.add_note(connection, CLERK, number, "waits for the warehouse")
    letters.ask_replay(connection, CLERK, numbers=[number])
    letters.dismiss(connection, CLERK, "a test", numbers=[number])
    rows = connection.execute(
        sa.select(ops_audit).where(ops_audit.c.subject == str(number)).order_by(ops_audit.c.id)
    ).all()
    assert [row.action.removeprefix("dead-letter ") for row in rows] == ["open", "assign", "note", "replay", "dismiss"]
    assert {(row.who, row.address) for row in rows} == {("clerk", "10.0.0.7")}
    with pytest.raises(ConfigError, match="open any more"):
        letters.dismiss(connection, CLERK, "again", numbers=[number])


@pytest.mark.parametrize("change", ["UPDATE ops.audit SET who = 'x'", "DELETE FROM ops.audit", "TRUNCATE ops.audit"])
def test_the_audit_log_cannot_be_changed_not_even_by_the_owner(connection: sa.Connection, change: str) -> None:
    number = refuse(connection, "t1", ("unknown_sku", "X"))
    letters.letter(connection, CLERK, number)
    for role, refusal in (("NONE", "added only"), (database.LOADER_ROLE, "permission denied")):
        connection.execute(sa.text(f"SET LOCAL ROLE {role}"))
        with pytest.raises(sa.exc.ProgrammingError, match=refusal), connection.begin_nested():
            connection.execute(sa.text(change))


def test_a_mark_of_a_replay_ends_when_the_record_is_refused_again_or_goes_through(connection: sa.Connection) -> None:
    one, two = refuse(connection, "m1", ("unknown_sku", "X")), refuse(connection, "m2", ("unknown_sku", "X"))
    outcome = letters.ask_replay(connection, CLERK, cause=SKUS)
    assert outcome.keys == {"orders": ["m1", "m2"]}
    assert letters.is_replaying(connection, CLERK, one)
    refuse(connection, "m1", ("unknown_sku", "X"))
    dead_letters.close_resolved(connection, "orders", ["m2"], replay=True)
    assert not letters.is_replaying(connection, CLERK, one)
    assert not letters.is_replaying(connection, CLERK, two)
    letters.ask_replay(connection, CLERK, numbers=[one])
    letters.forget_replay(connection, "orders", ["m1"])
    assert not letters.is_replaying(connection, CLERK, one)


def test_reference_data_and_what_could_not_be_read_are_not_edited(connection: sa.Connection) -> None:
    looked_up = refuse(connection, "tims.customers C-1", ("unreadable", ""), flow="reference")
    assert letters.letter(connection, CLERK, looked_up).replayable is False
    with pytest.raises(ConfigError, match="only looked up"):
        letters.edit(connection, CLERK, looked_up, {"ChannelAdvisorOrderID": "2"})
    with pytest.raises(ConfigError, match="can be replayed"):
        letters.ask_replay(connection, CLERK, numbers=[looked_up])
    with pytest.raises(ConfigError, match="There is no dead letter 0"):
        letters.letter(connection, CLERK, 0)


def test_a_cause_is_gone_when_the_record_would_pass_now(environment: Environment) -> None:
    bad, good = place(environment, line("NOBODYS")), place(environment, line("NOBODYS"))
    environment.tick("2011-01-02")
    environment.sync()
    with environment.runtime() as runtime, runtime.engine.begin() as connection:
        numbers = {row.key: row.id for row in connection.execute(sa.select(table)).all() if row.key in (bad, good)}
        assert letters.gone(connection, CLERK, list(numbers.values())) == dict.fromkeys(numbers.values(), False)
        letters.edit(connection, CLERK, numbers[good], {"OrderItems[0].SKU": "22423"})
        assert letters.gone(connection, CLERK, list(numbers.values())) == {numbers[good]: True, numbers[bad]: False}
        outcome = letters.ask_replay(connection, CLERK, cause=SKUS, only_gone=True)
        assert outcome.keys == {"orders": [good]}
        assert outcome.left >= 1
        # What the target refused passes our rules, and would be refused again.
        connection.execute(sa.update(table).where(table.c.id == numbers[good]).values(step="load", state="open"))
        assert letters.gone(connection, CLERK, [numbers[good]]) == {numbers[good]: False}
