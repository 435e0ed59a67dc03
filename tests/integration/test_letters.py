"""The services behind the desk: groups that add up, pages by key, causes that are gone, replays that lose nothing."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
import sqlalchemy as sa

from crossdock import flows
from crossdock.errors import BatchStopped, ConfigError, NotAllowed
from crossdock.services import letters, people, personal, remarks, replays, standing, unknown_values
from crossdock.services.letters import Cause, Wrong
from crossdock.services.people import Person, Role
from crossdock.steps.extract import extract
from crossdock.steps.run_batches import STEPS
from crossdock.store import database, dead_letters
from crossdock.store.tables import ops_audit, ops_batch, ops_link, ops_work, stage_sales_order
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
    letters.forget_replay(connection, "orders", ["r1"])
    letters.dismiss(connection, CLERK, "a test", numbers=[number])
    rows = connection.execute(
        sa.select(ops_audit).where(ops_audit.c.subject == str(number)).order_by(ops_audit.c.id)
    ).all()
    assert [row.action.removeprefix("dead-letter ") for row in rows] == ["open", "assign", "note", "replay", "dismiss"]
    assert {(row.who, row.address) for row in rows} == {("clerk", "10.0.0.7")}
    with pytest.raises(ConfigError, match="open any more"):
        letters.dismiss(connection, CLERK, "again", numbers=[number])


def test_the_latest_notes_stand_on_top_of_a_letter_and_in_its_group(connection: sa.Connection) -> None:
    first, other = (refuse(connection, key, ("unknown_sku", "N")) for key in ("n1", "n2"))
    refuse(connection, "n3", ("unknown_carrier", "N"))
    for number in range(5):
        letters.add_note(connection, CLERK, first, f"  note {number}  ")
    letters.add_note(connection, Person("bob", CLERK.roles), other, "call the warehouse first")
    assert [deed.note for deed in letters.letter(connection, VIEWER, first).notes] == ["note 4", "note 3", "note 2"]
    found = {(group.flow, group.rule): group.note for group in letters.groups(connection, VIEWER)}
    noted = found["orders", "unknown_sku"]
    assert noted is not None
    assert (noted.who, noted.note, noted.letter) == ("bob", "call the warehouse first", other)
    assert found["orders", "unknown_carrier"] is None
    rows = letters.letters(connection, VIEWER, cause=Cause("orders", "unknown_sku")).rows
    shown = {row.id: row.remark.note if row.remark else "" for row in rows}
    assert (shown[first], shown[other]) == ("note 4", "call the warehouse first")
    letters.dismiss(connection, CLERK, "a test", numbers=[other])
    again = {(group.flow, group.rule): group.note for group in letters.groups(connection, VIEWER)}
    assert again["orders", "unknown_sku"].note == "note 4"  # type: ignore[union-attr]


def test_a_remark_that_nobody_reads_is_refused_in_words(connection: sa.Connection) -> None:
    number = refuse(connection, "n4", ("unknown_sku", "L"))
    longest, more = "x" * remarks.LONGEST, "x" * (remarks.LONGEST + 1)
    for change in (
        lambda text: letters.add_note(connection, CLERK, number, text),
        lambda text: letters.dismiss(connection, CLERK, text, numbers=[number]),
    ):
        with pytest.raises(ConfigError, match="501 characters; 500 are kept") as refused:
            change(more)
        assert refused.value.do.startswith("Say it shorter")
    letters.add_note(connection, CLERK, number, f" {longest} ")
    assert letters.letter(connection, CLERK, number).notes[0].note == longest


def test_a_dismissal_is_taken_back_and_who_had_made_it_stays_on_record(connection: sa.Connection) -> None:
    number = refuse(connection, "d1", ("unknown_sku", "X"))
    edited = refuse(connection, "d2", ("unknown_sku", "X"), OrderID="A")
    letters.edit(connection, CLERK, edited, {"OrderID": "B"})
    letters.dismiss(connection, Person("bob", CLERK.roles), "a test order", numbers=[number, edited])
    assert {row.id for row in letters.letters(connection, VIEWER, state="dismissed").rows} == {number, edited}
    with pytest.raises(NotAllowed):
        letters.reopen(connection, VIEWER, [number])
    letters.reopen(connection, CLERK, [number, edited])
    states = dict(
        connection.execute(sa.select(table.c.id, table.c.state).where(table.c.id.in_([number, edited]))).all()
    )
    assert states == {number: "open", edited: "edited"}
    row = connection.execute(sa.select(ops_audit).order_by(ops_audit.c.id.desc()).limit(1)).one()
    assert (row.who, row.action) == ("clerk", "dead-letter reopen")
    assert row.detail["note"] == "bob had dismissed it: a test order"
    assert letters.letter(connection, CLERK, number).history[1].action == "reopen"
    with pytest.raises(ConfigError, match="dismissed any more"):
        letters.reopen(connection, CLERK, [number])


def test_a_dismissed_letter_whose_record_was_refused_again_stays_closed(connection: sa.Connection) -> None:
    number = refuse(connection, "d3", ("unknown_sku", "X"))
    letters.dismiss(connection, CLERK, "a test order", numbers=[number])
    dead_letters.dead_letter(connection, [{
        "flow": "orders", "entity": "sales_order", "key": "d3", "batch_id": 2, "step": "check",
        "reasons": [{"rule": "unknown_sku", "value": "Z", "field": "OrderItems.SKU", "says": "", "do": ""}],
        "version": "2011-01-07T00:00:00+00:00", "payload": {},
    }])  # fmt: skip
    with pytest.raises(ConfigError, match="newer version"):
        letters.reopen(connection, CLERK, [number])


def test_closed_letters_are_listed_by_what_became_of_them(connection: sa.Connection) -> None:
    def close(key: str, state: str, ago: int, **more: Any) -> int:
        number = refuse(connection, key, ("unknown_sku", "X"))
        at = sa.func.now() - timedelta(hours=ago)
        connection.execute(sa.update(table).where(table.c.id == number).values(state=state, updated_at=at, **more))
        return number

    first, second, third = (close(f"c{number}", "dismissed", 3 - number) for number in range(3))
    plain = close("c3", "replayed", 1)
    mended = close("c4", "replayed", 1, edited_payload={"ChannelAdvisorOrderID": 2})
    itself = close("c5", "resolved", 1)

    def seen(state: str) -> list[int]:
        found: list[int] = []
        after = None
        while True:
            page = letters.letters(connection, VIEWER, state=state, after=after, limit=2)
            found += [row.id for row in page.rows]
            after = page.after
            if after is None:
                return found

    assert seen("dismissed") == [third, second, first]
    assert seen("mended") == [mended]
    assert sorted(seen("replayed")) == [plain, mended]
    assert seen("resolved") == [itself]
    with pytest.raises(ConfigError, match="no list"):
        letters.letters(connection, VIEWER, state="<script>")
    (row,) = letters.letters(connection, CLERK, state="mended").rows
    assert [(edit.name, edit.was, edit.now) for edit in row.edits] == [("ChannelAdvisorOrderID", "1", "2")]


def test_a_list_shows_what_was_edited_and_the_value_is_to_be_mended_no_more(connection: sa.Connection) -> None:
    items = {"OrderItems": [{"SKU": "OLD"}], "CustomerInfo": {"LastName": "Miller"}}
    number = refuse(connection, "e1", ("unknown_sku", "OLD"), **items)
    other = refuse(connection, "e2", ("unknown_sku", "OLDER"), OrderItems=[{"SKU": "OLDER"}])
    cause = Cause("orders", "unknown_sku", "OLD")
    assert letters.replaceable(connection, CLERK, cause) == Wrong("OLD", ("OrderItems.SKU",))
    assert letters.replaceable(connection, VIEWER, cause) is None
    assert letters.replace_value(connection, CLERK, cause, "NEW").count == 1
    assert letters.replaceable(connection, CLERK, cause) is None
    (group,) = letters.groups(connection, CLERK)
    assert (group.count, group.edited, group.messages) == (2, 1, 2)
    assert group.values == (("OLDER", 1),)
    rows = {row.id: row for row in letters.letters(connection, CLERK, cause=SKUS).rows}
    assert [(edit.name, edit.was, edit.now) for edit in rows[number].edits] == [("OrderItems[0].SKU", "OLD", "NEW")]
    assert rows[other].edits == ()
    letters.edit(connection, CLERK, number, {"CustomerInfo.LastName": "Müller"})
    (masked,) = letters.letters(connection, VIEWER, cause=cause).rows
    assert "Müller" not in str(masked)
    assert ("CustomerInfo.LastName", personal.MASK) in [(edit.name, edit.now) for edit in masked.edits]


def one_wrong(connection: sa.Connection, rule: str, field: str, value: str, do: str, payload: dict[str, Any]) -> Cause:
    """A letter of one reason; its cause."""
    reasons = [{"field": field, "rule": rule, "value": value, "says": "", "do": do}]
    letter = {
        "flow": "orders", "entity": "sales_order", "key": rule, "batch_id": 1, "step": "check", "reasons": reasons,
        "version": "2011-01-06T00:00:00+00:00", "payload": payload,
    }  # fmt: skip
    dead_letters.dead_letter(connection, [letter])
    (group,) = (one for one in letters.groups(connection, CLERK) if one.rule == rule)
    return Cause("orders", rule, letters.only_value(group))


def test_one_value_is_written_into_all_where_one_is_wrong_or_missing(connection: sa.Connection) -> None:
    price = {"OrderItems": [{"SKU": "A", "UnitPrice": 4.955}, {"SKU": "B", "UnitPrice": 2}]}
    cause = one_wrong(connection, "third_decimal", "OrderItems.UnitPrice", "4.9550", "Correct it.", price)
    assert letters.replaceable(connection, CLERK, cause) == Wrong("4.9550", ("OrderItems.UnitPrice",))
    assert letters.replace_value(connection, CLERK, cause, "4.96").count == 1
    for rule, payload in (("currency_null", {"Currency": None}), ("currency_absent", {"OrderStatus": "Completed"})):
        cause = one_wrong(connection, rule, "Currency", "", "Edit this record's payload.", payload)
        assert letters.replaceable(connection, CLERK, cause) == Wrong("", ("Currency",))
        assert letters.replace_value(connection, CLERK, cause, "GBP").count == 1
        (row,) = letters.letters(connection, CLERK, cause=Cause("orders", rule)).rows
        assert [(edit.name, edit.now) for edit in row.edits] == [("Currency", "GBP")]
    elsewhere = one_wrong(connection, "no_such_field", "Nowhere", "", "Edit it.", {"Currency": "GBP"})
    assert letters.replaceable(connection, CLERK, elsewhere) is None


def test_nothing_is_written_into_all_where_the_advice_is_to_end_it(connection: sa.Connection) -> None:
    payload = {"OrderItems": [{"Quantity": 0}]}
    for rule, do, offered in (
        ("no_lines", "Look at it; dismiss it if nothing was sold, otherwise edit the payload and replay it.", False),
        ("cancelled", "Cancel it in Channel Advisor.", False),
        ("no_quantity", "Correct the quantity in the payload and replay it, or dismiss it.", True),
    ):
        cause = one_wrong(connection, rule, "OrderItems.Quantity", "0", do, payload)
        wrong = letters.replaceable(connection, CLERK, cause)
        assert wrong == (Wrong("0", ("OrderItems.Quantity",)) if offered else None)


def test_nothing_is_offered_in_place_of_a_value_that_nobody_can_write(connection: sa.Connection) -> None:
    """The channel has erased the buyer: the rule names UserDataPresent, which is false."""
    reasons = [{"field": "UserDataPresent", "rule": "personal_data_gone", "value": "false", "says": "", "do": ""}]
    letter = {
        "flow": "orders", "entity": "sales_order", "key": "g1", "batch_id": 1, "step": "check", "reasons": reasons,
        "version": "2011-01-06T00:00:00+00:00", "payload": {"UserDataPresent": False},
    }  # fmt: skip
    dead_letters.dead_letter(connection, [letter])
    assert letters.replaceable(connection, CLERK, Cause("orders", "personal_data_gone", "false")) is None


def test_a_replay_says_what_came_of_each_letter(connection: sa.Connection) -> None:
    keys = ("went", "again", "waits", "out", "still", "gone")
    numbers = {key: refuse(connection, key, ("unknown_sku", "X")) for key in keys}
    marked = letters.ask_replay(connection, CLERK, cause=SKUS)
    assert marked.replay
    assert replays.latest(connection, VIEWER, 5)[0].id == marked.replay
    before = replays.replay(connection, VIEWER, marked.replay)
    assert before.running
    assert before.counts == {"running": 6}
    batch = connection.scalar(
        sa.insert(ops_batch).values(flow="orders", kind="replay", step="confirm", read=0).returning(ops_batch.c.id)
    )
    connection.execute(sa.update(table).where(table.c.key != "still").values(updated_at=sa.func.clock_timestamp()))
    refuse(connection, "again", ("country_unknown", "Atlantis"))
    dead_letters.close_resolved(connection, "orders", ["went", "waits"], replay=True)
    dead_letters.close_resolved(connection, "orders", ["out"], replay=False)
    letters.forget_replay(connection, "orders", ["gone"])
    letters.dismiss(connection, CLERK, "no", numbers=[numbers["gone"]])
    for key, state, reason in (
        ("went", "delivered", None),
        ("waits", "waiting", "its customer"),
        ("out", "left_out", "no"),
    ):
        values = {"key": key, "batch_id": batch, "version": sa.func.now(), "state": state, "reason": reason}
        connection.execute(sa.insert(stage_sales_order).values(values))
    connection.execute(sa.insert(ops_link).values(entity="sales_order", source_key="went", target_id="SO-9"))
    found = replays.replay(connection, VIEWER, marked.replay)
    assert {one.key: end for end, rows in found.rows.items() for one in rows} == {
        "went": "delivered", "again": "refused", "waits": "waiting", "out": "not_sent", "still": "running",
        "gone": "dismissed",
    }  # fmt: skip
    ends = {one.key: one for rows in found.rows.values() for one in rows}
    assert ends["went"].documents == ("SO-9",)
    assert (ends["again"].why, ends["again"].do) == ("country unknown", "Mend it")
    assert ends["waits"].why == "its customer"
    assert found.running
    assert list(replays.replay(connection, VIEWER, marked.replay, end="refused").rows) == ["refused"]
    came = letters.letter(connection, CLERK, numbers["again"]).came
    assert came
    assert came.end == "refused"
    with pytest.raises(ConfigError, match="no replay"):
        replays.replay(connection, VIEWER, 10**12)


def test_a_record_that_waits_after_its_replay_is_no_dead_letter_any_more(environment: Environment) -> None:
    environment.tick("2011-01-04")
    key = place(environment, line("TYPO-7"))
    environment.sync()
    with environment.runtime() as runtime, runtime.engine.begin() as connection:
        number = connection.scalar(sa.select(table.c.id).where(table.c.key == key)) or 0
        letters.edit(connection, CLERK, number, {"OrderStatus": "Pending"})
        marked = letters.ask_replay(connection, CLERK, numbers=[number])
    environment.sync(kind="replay", keys=[key])
    with environment.runtime() as runtime, runtime.engine.begin() as connection:
        assert connection.scalar(sa.select(table.c.state).where(table.c.id == number)) == "replayed"
        (one,) = replays.replay(connection, VIEWER, marked.replay or 0).rows["waiting"]
        assert one.why.startswith("pending")


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


def batch_of(connection: sa.Connection, key: str, **more: Any) -> int:
    """An unfinished batch of a replay that has a record in its hands; its number."""
    values = {"flow": "orders", "kind": "replay", "step": "extract", "read": 0, **more}
    number = connection.scalar(sa.insert(ops_batch).values(values).returning(ops_batch.c.id))
    connection.execute(sa.insert(ops_work).values(queue="orders", key=key, hash="h", batch_id=number))
    return int(number or 0)


def test_nothing_chosen_is_not_everything(connection: sa.Connection) -> None:
    one = refuse(connection, "n1", ("unknown_sku", "X"))
    with pytest.raises(ConfigError, match="No dead letters were chosen"):
        letters.ask_replay(connection, CLERK)
    with pytest.raises(ConfigError, match="All dead letters were chosen, and some"):
        letters.ask_replay(connection, CLERK, numbers=[one], every=True)
    assert not letters.is_replaying(connection, CLERK, one)
    assert letters.ask_replay(connection, CLERK, every=True).keys == {"orders": ["n1"]}


def test_a_letter_in_replay_is_left_alone_until_it_comes_back(connection: sa.Connection) -> None:
    one, two = refuse(connection, "i1", ("unknown_sku", "X")), refuse(connection, "i2", ("unknown_sku", "X"))
    first = letters.ask_replay(connection, CLERK, numbers=[one])
    again = letters.ask_replay(connection, CLERK, numbers=[one])
    assert (again.count, again.keys, again.replay) == (0, {}, None)
    assert (again.busy, again.at_work) == (1, first.replay)
    for change in (
        lambda: letters.edit(connection, CLERK, one, {"ChannelAdvisorOrderID": "2"}),
        lambda: letters.dismiss(connection, CLERK, "no", numbers=[one]),
        lambda: dead_letters.dismiss(connection, one, who="shell", note="no"),
    ):
        with pytest.raises(ConfigError, match="is in replay"):
            change()
    assert not letters.letter(connection, CLERK, one).editable
    value = Cause("orders", "unknown_sku", "X")
    assert letters.replace_value(connection, CLERK, value, "Y").busy == 1
    rest = letters.ask_replay(connection, CLERK, cause=SKUS)
    assert (rest.keys, rest.busy, rest.at_work) == ({"orders": ["i2"]}, 1, first.replay)
    letters.forget_replay(connection, "orders", ["i2"])
    done = letters.dismiss(connection, CLERK, "no", cause=SKUS)
    assert (done.count, done.busy) == (1, 1)
    states = connection.execute(sa.select(table.c.state).where(table.c.id.in_([one, two])).order_by(table.c.id))
    assert states.scalars().all() == ["open", "dismissed"]
    refuse(connection, "i1", ("unknown_sku", "X"))  # it comes back
    letters.edit(connection, CLERK, one, {"ChannelAdvisorOrderID": "2"})


def test_a_mark_whose_run_is_over_is_taken_back_unless_a_batch_has_the_record(connection: sa.Connection) -> None:
    held, free = refuse(connection, "l1", ("unknown_sku", "X")), refuse(connection, "l2", ("unknown_sku", "X"))
    marked = letters.ask_replay(connection, CLERK, cause=SKUS)
    batch = batch_of(connection, "l1")
    (loose,) = replays.loose(connection)
    assert (loose.flow, loose.run, loose.lost) == ("orders", "", False)
    replays.started(connection, CLERK, marked.replay or 0, "orders", "orders/manual 1")
    (loose,) = replays.loose(connection)
    assert loose.run == "orders/manual 1"
    assert replays.end(connection, loose) == 1
    assert [letters.is_replaying(connection, CLERK, number) for number in (held, free)] == [True, False]
    assert replays.loose(connection) == []
    before = sa.func.now() - timedelta(minutes=1)
    connection.execute(sa.update(table).where(table.c.id == free).values(updated_at=before))
    came = letters.letter(connection, CLERK, free).came
    assert came
    assert (came.end, came.do) == ("late", "Replay it again.")
    connection.execute(sa.update(ops_batch).where(ops_batch.c.id == batch).values(finished_at=sa.func.now()))
    (loose,) = replays.loose(connection)
    assert replays.end(connection, loose) == 1
    assert not letters.is_replaying(connection, CLERK, held)
    letters.ask_replay(connection, CLERK, numbers=[free])
    long_ago = sa.func.now() - timedelta(hours=1)  # no run was noted for it
    connection.execute(sa.update(table).where(table.c.id == free).values(replay_asked_at=long_ago))
    assert [one.lost for one in replays.loose(connection)] == [True]


def test_a_replay_whose_batch_is_stopped_says_so(connection: sa.Connection) -> None:
    number = refuse(connection, "s1", ("unknown_sku", "X"))
    letters.ask_replay(connection, CLERK, numbers=[number])
    batch = batch_of(connection, "s1", step="check", stopped=True)
    came = letters.letter(connection, CLERK, number).came
    assert came
    assert came.end == "stopped"
    assert f"stopped in batch {batch}: " in came.why
    found = standing.standing(connection, flows.get("orders"), "s1")
    assert (found.state, found.action, found.batch_id) == ("bad", "accept", batch)
    assert f"stopped in batch {batch}: " in found.sentence
    assert found.do != standing.BY_ITSELF
    connection.execute(sa.update(ops_batch).where(ops_batch.c.id == batch).values(stopped=False))
    found = standing.standing(connection, flows.get("orders"), "s1")
    assert (found.action, found.do) == ("", standing.BY_ITSELF)


def test_of_two_edits_from_one_state_the_later_is_refused(connection: sa.Connection) -> None:
    number = refuse(connection, "o1", ("unknown_sku", "X"), OrderID="A")
    seen = letters.letter(connection, CLERK, number).seen
    now = letters.edit(connection, Person("bob", CLERK.roles), number, {"OrderID": "B"}, seen=seen)
    assert now == letters.letter(connection, CLERK, number).seen
    with pytest.raises(ConfigError, match="bob has changed this letter meanwhile") as refused:
        letters.edit(connection, CLERK, number, {"OrderID": "C"}, seen=seen)
    assert "Load the page again" in refused.value.do
    with pytest.raises(ConfigError, match="bob has changed this letter meanwhile"):
        letters.ask_replay(connection, CLERK, numbers=[number], seen=seen)
    kept = connection.scalar(sa.select(table.c.edited_payload["OrderID"].astext).where(table.c.id == number))
    assert kept == "B"
    assert letters.ask_replay(connection, CLERK, numbers=[number], seen=now).count == 1


def test_deeds_name_the_fields_that_were_changed_and_a_look_is_one(connection: sa.Connection) -> None:
    number = refuse(connection, "w1", ("unknown_sku", "X"), OrderID="A", OrderItems=[{"SKU": "X"}])
    for _ in range(3):
        letters.letter(connection, CLERK, number)
    letters.letter(connection, Person("bob", CLERK.roles), number)
    letters.edit(connection, CLERK, number, {"OrderItems[0].SKU": "secret", "OrderID": "B"})
    marked = letters.ask_replay(connection, CLERK, numbers=[number])
    deeds = letters.letter(connection, CLERK, number).history
    assert [(deed.who, deed.action) for deed in deeds] == [
        ("clerk", "replay"), ("clerk", "edit"), ("bob", "open"), ("clerk", "open"),
    ]  # fmt: skip
    assert deeds[0].replay == marked.replay
    assert sorted(deeds[1].note.split(", ")) == ["OrderID", "OrderItems[0].SKU"]
    row = connection.execute(sa.select(ops_audit).where(ops_audit.c.action == "dead-letter edit")).one()
    assert "secret" not in str(row.detail), "the audit log is kept longer than the values may be"


def test_what_was_mended_is_not_marked_as_wrong_any_more(connection: sa.Connection) -> None:
    number = refuse(connection, "f1", ("unknown_sku", "OLD"), OrderItems=[{"SKU": "OLD"}, {"SKU": "OLD"}])

    def wrong() -> list[str]:
        return [part.path for part in letters.letter(connection, CLERK, number).parts if part.at_fault]

    assert wrong() == ["OrderItems[0].SKU", "OrderItems[1].SKU"]
    letters.edit(connection, CLERK, number, {"OrderItems[0].SKU": "NEW"})
    assert wrong() == ["OrderItems[1].SKU"]


def test_a_letter_that_waits_for_a_value_knows_its_lookup() -> None:
    advice = {"do": "Add the pair to include/config/lookups/carriers.csv, or correct the shipment."}
    assert unknown_values.lookup_of({"rule": "unknown_carrier", **advice}) == "lookups/carriers.csv"
    assert unknown_values.lookup_of({"rule": "unknown_status", "do": ""}) == "lookups/order_status.csv"
    assert unknown_values.lookup_of({"rule": "gap", **advice}) == ""
    assert unknown_values.lookup_of({"rule": "unknown_sku", "do": "Add it to nowhere.csv"}) == ""


def test_a_replay_is_not_stopped_however_many_are_refused_again(environment: Environment) -> None:
    """Its records were refused before: their share says nothing of a mapping."""
    environment.tick("2011-01-05")
    keys = [place(environment, line("STILL-BAD")) for _ in range(30)]
    with environment.runtime() as runtime:
        flow = flows.get("orders")
        (batch_id,) = extract(runtime, flow)
        STEPS["transform"](runtime, flow, batch_id)
        with pytest.raises(BatchStopped):  # of what is read, the share is a sign
            STEPS["check"](runtime, flow, batch_id)
        STEPS["check"](runtime, flow, batch_id, accept_rejects=True)
        STEPS["load"](runtime, flow, batch_id)
        STEPS["confirm"](runtime, flow, batch_id)
        with runtime.engine.begin() as connection:
            numbers = connection.scalars(sa.select(table.c.id).where(table.c.key.in_(keys))).all()
            marked = letters.ask_replay(connection, CLERK, numbers=numbers)
        assert marked.count == 30
        (batch_id,) = extract(runtime, flow, kind="replay", keys=marked.keys["orders"])
        for step in STEPS.values():
            step(runtime, flow, batch_id)
        with runtime.engine.begin() as connection:
            assert replays.replay(connection, VIEWER, marked.replay or 0).counts == {"refused": 30}
            assert not connection.scalar(sa.select(ops_batch.c.stopped).where(ops_batch.c.id == batch_id))


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
