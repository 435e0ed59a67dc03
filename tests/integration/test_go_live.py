"""Going live on a real Postgres: the gates of each flow, what a launch would do, and what it does."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from datetime import UTC, date, datetime
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa

from crossdock import flows, settings
from crossdock.errors import ConfigError, NotAllowed
from crossdock.services import configuration, gates, go_live, personal, readiness
from crossdock.services.people import Person, Role
from crossdock.services.readiness import Gate, Readiness, Row, State
from crossdock.store import abilities, database, versions
from crossdock.store.tables import (
    ops_admitted,
    ops_audit,
    ops_batch,
    ops_shadow_day,
    ops_shadow_record,
    ops_would_be,
    stage_sales_order,
)
from integration.environment import fresh_database

VIEWER = Person("bob", frozenset({Role.VIEWER}))
CLERK = Person("ada", frozenset({Role.CLERK}))
ANALYST = Person("ann", frozenset({Role.ANALYST}))
NAMES = ("connect", "map", "validate", "launch")
Using = Callable[[], AbstractContextManager[Any]]


@pytest.fixture(scope="module")
def engine(postgres_url: str) -> Iterator[sa.Engine]:
    with fresh_database(postgres_url, "go_live") as url:
        made = database.engine(url)
        yield made
        made.dispose()


@pytest.fixture
def connection(engine: sa.Engine) -> Iterator[sa.Connection]:
    """A transaction that is rolled back: each test begins with an empty database."""
    with engine.connect() as opened, opened.begin() as transaction:
        yield opened
        transaction.rollback()


def check(name: str, state: str = "red", **more: str) -> dict[str, Any]:
    return {"name": name, "title": name.title(), "state": state, "found": f"{name} was looked at.", **more}


def right(connection: sa.Connection) -> None:
    """Both systems answer, and nothing is left to decide."""
    for system in readiness.SYSTEMS:
        gates.keep(connection, gates.CONNECT, system, "ada", [check("tls", "ok")])
    surveyed(connection)


def surveyed(connection: sa.Connection, *findings: dict[str, Any]) -> None:
    gates.keep(connection, gates.MAP, gates.BOTH, "ada", findings)


def finding(name: str, state: str = "open", **more: Any) -> dict[str, Any]:
    """As `crossdock map` keeps it."""
    return {
        "name": name, "state": state, "list": "channel_advisor.orders", "field": "SiteID", "value": "912",
        "records": 41,
        "found": f"{name} is not known.", "do": "Add it.", "where": "include/config/sites.yaml", "proposal": None,
        "why": "", **more,
    }  # fmt: skip


def row(found: Readiness, name: str = "orders") -> Row:
    return next(one for one in found.flows if one.flow == name)


def gate(found: Readiness, name: str, flow: str = "orders") -> Gate:
    return row(found, flow).gates[NAMES.index(name)]


def page(connection: sa.Connection) -> Readiness:
    return readiness.page(connection, VIEWER)


def test_a_new_installation_has_begun_nothing(connection: sa.Connection) -> None:
    found = page(connection)
    assert [one.flow for one in found.flows] == list(flows.all_flows())
    assert {tuple(one.name for one in each.gates) for each in found.flows} == {NAMES}
    assert [one.state for one in row(found).gates[:3]] == [State.NOT_BEGUN] * 3
    assert [one.connect for one in found.systems] == [None, None]


def test_a_red_check_concerns_the_flows_that_read_its_list_and_no_other(connection: sa.Connection) -> None:
    right(connection)
    gates.keep(connection, gates.CONNECT, "channel_advisor", "ada", [check("tls", "ok"), check("resource:returns")])
    found = page(connection)
    assert gate(found, "connect", "returns").state is State.RED
    assert "resource:returns was looked at." in gate(found, "connect", "returns").sentence
    assert gate(found, "connect").state is State.GREEN
    assert gate(found, "connect", "invoices").state is State.GREEN


def test_a_red_check_of_a_system_concerns_all_its_flows_and_the_first_is_named(connection: sa.Connection) -> None:
    right(connection)
    gates.keep(connection, gates.CONNECT, "tims", "ada", [check("clock"), check("accounts")])
    found = page(connection)
    for name in ("orders", "invoices", "prices"):
        assert gate(found, "connect", name).state is State.RED
        assert gate(found, "connect", name).sentence == "TIMS: Clock: clock was looked at. And 1 more."
    assert gate(found, "connect", "payouts").state is State.GREEN  # reads files alone


def test_a_list_that_was_not_tried_is_red_for_the_flows_that_read_it(connection: sa.Connection) -> None:
    right(connection)
    not_tried = check("resource:returns", "skipped")
    gates.keep(connection, gates.CONNECT, "channel_advisor", "ada", [check("scopes", "skipped"), not_tried])
    found = page(connection)
    assert gate(found, "connect", "returns").state is State.RED
    assert gate(found, "connect").state is State.GREEN
    gates.keep(connection, gates.CONNECT, "channel_advisor", "ada", [not_tried, check("clock")])
    assert gate(page(connection), "connect", "returns").sentence.startswith("Channel Advisor: Clock:")


def test_a_check_that_is_mended_is_green_with_the_next_run(connection: sa.Connection) -> None:
    right(connection)
    gates.keep(connection, gates.CONNECT, "tims", "ada", [check("clock")])
    assert gate(page(connection), "connect").state is State.RED
    right(connection)
    assert gate(page(connection), "connect").state is State.GREEN


def test_what_a_person_must_decide_waits_for_the_flows_that_read_the_list(connection: sa.Connection) -> None:
    right(connection)
    surveyed(connection, finding("site:912"), finding("site:913"), finding("tax", "note"))
    found = page(connection)
    assert (gate(found, "map").state, gate(found, "map").sentence) == (
        State.WAITING, "2 to decide: site:912 is not known.",
    )  # fmt: skip
    assert gate(found, "map", "returns").state is State.GREEN
    assert found.survey is not None
    assert (len(found.survey.open), found.survey.decided, found.survey.notes) == (2, (), 1)


def test_a_finding_leads_to_where_it_is_decided(connection: sa.Connection) -> None:
    proposal = {"path": "lookups/carriers.csv", "text": "DPD,Next day,,\n", "sure": False}
    places = {
        "a": finding("a", proposal=proposal), "b": finding("b"), "c": finding("c", where="the account in TIMS"),
        "d": finding("d", where="include/config/mappings/sales_order.yaml"),
    }  # fmt: skip
    surveyed(connection, *places.values())
    survey = page(connection).survey
    assert survey is not None
    assert {one.name: one.page for one in survey.open} == {
        "a": "/rules/file?path=lookups%2Fcarriers.csv", "b": "/rules/file?path=sites.yaml", "c": "",
        "d": "/mappings/sales_order",
    }  # fmt: skip


def test_what_is_decided_waits_no_more_until_it_is_opened_again(connection: sa.Connection) -> None:
    right(connection)
    surveyed(connection, finding("site:912"))
    with pytest.raises(NotAllowed):
        readiness.decide(connection, CLERK, "site:912", "a test site")
    with pytest.raises(ConfigError, match="reason"):
        readiness.decide(connection, ANALYST, "site:912", " ")
    with pytest.raises(ConfigError, match="no such thing"):
        readiness.decide(connection, ANALYST, "site:1", "a test site")
    readiness.decide(connection, ANALYST, "site:912", "a test site")
    found = page(connection)
    assert gate(found, "map").state is State.GREEN
    assert found.survey is not None
    assert [one.why for one in found.survey.decided] == ["a test site (ann)"]
    readiness.reopen(connection, ANALYST, "site:912")
    assert gate(page(connection), "map").state is State.WAITING
    with pytest.raises(ConfigError, match="Nothing was decided"):
        readiness.reopen(connection, ANALYST, "site:912")


def test_what_the_api_cannot_do_is_named(connection: sa.Connection) -> None:
    abilities.note(connection, [("listings", "It has no listings.")])
    assert [one.switched_off for one in page(connection).systems] == [("It has no listings.",), ()]


# ---- modes ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def in_force(connection: sa.Connection) -> Using:
    """Reads the settings of the version in force, within the test's own transaction."""

    def using() -> AbstractContextManager[Any]:
        return settings.using(versions.materialise(versions.current(connection).tree))

    return using


def held(connection: sa.Connection, days: dict[str, int], flow: str = "orders") -> None:
    """Orders that would be made, by the day of their document."""
    total = sum(days.values())
    batch = connection.scalar(
        sa.insert(ops_batch)
        .values(flow=flow, kind="scheduled", step="confirm", read=total, would_be=total, finished_at=sa.func.now())
        .returning(ops_batch.c.id)
    )
    for day, number in days.items():
        for place in range(number):
            key = f"{day}-{place}"
            connection.execute(
                sa.insert(stage_sales_order).values(
                    key=key, batch_id=batch, version=datetime(2026, 11, 1, tzinfo=UTC), state="would_be",
                    OrderDate=f"{day}T12:00:00Z",
                )
            )  # fmt: skip


def compared(connection: sa.Connection, day: str, same: int = 5, **more: Any) -> None:
    numbers = {"differ": 0, "only_ours": 0, "only_theirs": 0, "fields": {}, **more}
    total = same + numbers["differ"] + numbers["only_ours"]
    connection.execute(sa.insert(ops_shadow_day).values(flow="orders", day=day, would_make=total, same=same, **numbers))


def deeds(connection: sa.Connection, action: str = "go-live*") -> list[sa.Row]:
    log = ops_audit.c
    wanted = log.action.startswith(action[:-1]) if action.endswith("*") else log.action == action
    return list(connection.execute(sa.select(ops_audit).where(wanted).order_by(log.id)))


def test_a_difference_is_red_and_what_has_no_counterpart_waits(connection: sa.Connection) -> None:
    compared(connection, "2026-11-28", differ=1, fields={"ShippingTaxAmount": 1})
    found = gate(page(connection), "validate")
    assert found.state is State.RED
    assert "5 as you did, 1 differs in ShippingTaxAmount" in found.sentence
    compared(connection, "2026-11-29", only_ours=2)
    assert gate(page(connection), "validate").state is State.WAITING


def test_three_days_without_a_difference_are_green(connection: sa.Connection) -> None:
    compared(connection, "2026-11-25", differ=1)
    for day, state in (("26", State.WAITING), ("27", State.WAITING), ("28", State.GREEN)):
        compared(connection, f"2026-11-{day}")
        assert gate(page(connection), "validate").state is state


def test_the_preview_counts_what_goes_and_what_stays(connection: sa.Connection) -> None:
    held(connection, {"2026-11-28": 4, "2026-11-29": 2, "2026-11-30": 3})
    assert readiness.held(connection, VIEWER, "orders").days == (
        (date(2026, 11, 30), 3), (date(2026, 11, 29), 2), (date(2026, 11, 28), 4),
    )  # fmt: skip
    would = readiness.preview(connection, VIEWER, "orders", date(2026, 11, 29), 2)
    assert (would.records, would.stay, would.go, would.first) == (9, 4, 5, 2)
    for number, (day, verdict) in enumerate((("28", "only_ours"), ("29", "only_ours"), ("30", "same"))):
        connection.execute(
            sa.insert(ops_shadow_record).values(
                flow="orders", day=f"2026-11-{day}", name=str(number), key=str(number), verdict=verdict
            )
        )
    assert readiness.preview(connection, VIEWER, "orders", date(2026, 11, 29), 2).unmatched == 1
    would = readiness.preview(connection, VIEWER, "orders", date(2026, 12, 1), None)
    assert (would.records, would.stay, would.go, would.first, would.unmatched) == (9, 9, 0, 0, 0)
    with pytest.raises(ConfigError, match="lets nothing through"):
        readiness.preview(connection, VIEWER, "orders", date(2026, 12, 1), 0)


def test_a_launch_past_a_gate_that_is_not_green_needs_a_reason(connection: sa.Connection, in_force: Using) -> None:
    day = date(2026, 12, 1)
    with pytest.raises(NotAllowed):
        readiness.launch(connection, CLERK, "orders", day, 20, "now")
    with pytest.raises(ConfigError, match="connect is not begun, map is not begun, validate is not begun"):
        readiness.launch(connection, ANALYST, "orders", day, 20)
    readiness.launch(connection, ANALYST, "orders", day, 20, "the old system is gone")
    with in_force():
        found = row(page(connection))
    assert (found.mode.shadow, found.mode.since, found.mode.cap) == (False, day, 20)
    assert [one.detail for one in deeds(connection)] == [
        {"from": "2026-12-01", "cap": 20, "note": "the old system is gone"}
    ]
    assert "the old system is gone" in configuration.log(connection)[0].message


def test_a_launch_with_green_gates_needs_none(connection: sa.Connection) -> None:
    right(connection)
    for day in ("2026-11-26", "2026-11-27", "2026-11-28"):
        compared(connection, day)
    assert readiness.launch(connection, ANALYST, "orders", date(2026, 12, 1), None).not_green == ()


def test_whoever_works_here_puts_a_flow_back_at_once_and_without_anybodys_consent(
    connection: sa.Connection, in_force: Using, monkeypatch: pytest.MonkeyPatch
) -> None:
    strict = msgspec.structs.replace(settings.console(), consent=("*",))
    monkeypatch.setattr(settings, "console", lambda: strict)
    with pytest.raises(NotAllowed):
        readiness.back(connection, VIEWER, ("orders",), "wrong tax")
    with pytest.raises(ConfigError, match="reason"):
        readiness.back(connection, CLERK, ("orders",), "")
    readiness.back(connection, CLERK, ("orders",), "wrong tax")
    with in_force():
        found = page(connection)
        assert row(found).mode.shadow
        assert gate(found, "launch").state is State.NOT_BEGUN
        assert len(found.live) == len(go_live.changeable()) - 1
        readiness.back(connection, CLERK, (), "everything stops")
    with in_force():
        assert page(connection).live == ()
        assert not row(page(connection), "payouts").mode.shadow
    assert {one.who for one in deeds(connection)} == {"ada"}
    assert len(deeds(connection)) == len(go_live.changeable())


def test_a_cap_that_is_reached_waits_for_a_person(connection: sa.Connection, in_force: Using) -> None:
    readiness.launch(connection, ANALYST, "orders", date(2026, 12, 1), 2, "a test")
    for key in "ab":
        connection.execute(sa.insert(ops_admitted).values(flow="orders", key=key))
    with in_force():
        found = gate(page(connection), "launch")
        assert found.state is State.WAITING
        assert "2 of the first 2" in found.sentence
        go_live.release(connection, ANALYST, "orders")
    with in_force():
        assert gate(page(connection), "launch").state is State.GREEN


def test_a_comparison_is_taken_as_a_file_and_that_is_on_record(connection: sa.Connection) -> None:
    compared(connection, "2026-11-28", differ=1)
    differs = [{"field": "ShippingTaxAmount", "ours": "1.20", "theirs": "=cmd|'x'"}]
    connection.execute(
        sa.insert(ops_shadow_record).values(
            flow="orders", day="2026-11-28", name="1", key="1", their_id="SO-1", verdict="differs",
            matched_by="reference", differences=differs,
        )
    )  # fmt: skip
    day = date(2026, 11, 28)
    assert [one.key for one in readiness.compared(connection, VIEWER, "orders", day).records] == ["1"]
    assert readiness.file(connection, VIEWER, "orders", day) == "shadow-orders-2026-11-28.csv"
    text = "".join(readiness.as_csv(connection, name="orders", day=day))
    assert "ShippingTaxAmount" in text
    assert ",=cmd" not in text
    assert deeds(connection, readiness.TAKEN)[0].who == "bob"
    with pytest.raises(ConfigError, match="not compared"):
        readiness.compared(connection, VIEWER, "orders", date(2026, 11, 1))


def would_be(connection: sa.Connection, key: str, number: int = 0, flow: str = "orders", **more: Any) -> None:
    row = {
        "flow": flow, "idempotency_key": f"{key}:{number}", "entity": "sales_order", "operation": "create", "key": key,
        "row": key, "system": "tims", "method": "POST", "path": "/api/v1/sales-orders", "batch_id": 1, **more,
    }  # fmt: skip
    connection.execute(sa.insert(ops_would_be).values(row))


def test_what_would_be_sent_is_shown_without_personal_data(connection: sa.Connection) -> None:
    document = {
        "ExternalOrderID": "7", "TotalAmount": "12.50", "Nobody named this": "Ada",
        "ShippingAddress": {"Name": "Ada Lovelace", "CountryCode": "GB"},
    }  # fmt: skip
    would_be(connection, "7", document=document)
    would_be(connection, "7", 1, operation="update", body='{"Name": "Ada"}')
    would_be(connection, "7", flow="prices", entity="channel_price", system="channel_advisor", body='{"Price": 9.99}')
    first, second = readiness.requests(connection, VIEWER, "orders", "7")
    shown = {part.path: part.value for part in first.parts}
    assert shown["TotalAmount"] == "12.50"
    assert shown["ShippingAddress.CountryCode"] == "GB"
    assert shown["ShippingAddress.Name"] == shown["Nobody named this"] == personal.MASK
    assert second.parts == ()
    (offer,) = readiness.requests(connection, VIEWER, "prices", "7")
    assert [(part.path, part.value) for part in offer.parts] == [("Price", "9.99")]
    with pytest.raises(ConfigError, match="Nothing of this record"):
        readiness.requests(connection, VIEWER, "orders", "8")


def test_records_that_are_kept_are_listed_page_by_page(connection: sa.Connection) -> None:
    for number in range(readiness.PAGE + 3):
        would_be(connection, f"k{number:03}")
    would_be(connection, "k000", 1, operation="update")
    page_ = readiness.kept(connection, VIEWER, "orders")
    assert page_.rows[0].operations == ("create", "update")
    rest = readiness.kept(connection, VIEWER, "orders", page_.after)
    assert [one.key for one in (*page_.rows, *rest.rows)] == [f"k{number:03}" for number in range(readiness.PAGE + 3)]
    assert rest.after is None
