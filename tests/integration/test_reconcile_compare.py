"""The comparison in the database: small rows in, differences with causes and ages out; and the page made of them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from html.parser import HTMLParser
from types import SimpleNamespace
from typing import Any

import pytest
import sqlalchemy as sa

from crossdock.comparison.explain import FOUND, because
from crossdock.comparison.subject import (
    CHANNEL_ADVISOR,
    TIMS,
    Excuse,
    Explanation,
    Lists,
    PassedOver,
    Row,
    Side,
    Subject,
)
from crossdock.errors import ConfigError
from crossdock.services import reconciliation
from crossdock.store import database
from crossdock.store.tables import ops_reconcile_run
from crossdock.watch.reconcile import read, report
from crossdock.watch.reconcile.compare import Counts, compare
from crossdock.watch.reconcile.subjects import SUBJECTS
from integration.environment import fresh_database

BEGAN = datetime(2011, 1, 5, 12, tzinfo=UTC)
CLOCKS = {CHANNEL_ADVISOR: BEGAN, TIMS: BEGAN}
BEFORE, AFTER = "2011-01-05T11:59:59.9999999Z", "2011-01-05T12:00:00Z"
LIST = Lists(TIMS, "things", ("ID",))


@pytest.fixture(scope="module")
def engine(postgres_url: str) -> Iterator[sa.Engine]:
    with fresh_database(postgres_url, "comparing") as url:
        made = database.engine(url)
        yield made
        made.dispose()


def row(key: str, version: str = BEFORE, part: str = "", excuse: Excuse | None = None, **facts: Any) -> Row:
    return Row(key, facts, version, part, excuse)


def run(engine: sa.Engine, subject: Subject, previous: int | None = None, **sides: Sequence[Row]) -> Any:
    """Compares rows of `channel_advisor`, `tims`, `names` and `alias` (of TIMS); the counts and the differences."""
    runtime: Any = SimpleNamespace(engine=engine)
    for name, rows in sides.items():
        side = Side(TIMS if name == "alias" else name, LIST, lambda *_: (), alias=name == "alias")
        read._keep(runtime, [read._sound(subject, side, each) for each in rows], PassedOver())
    with engine.begin() as connection:
        number = connection.scalar(sa.insert(ops_reconcile_run).values(run_id="t").returning(ops_reconcile_run.c.id))
        counts = compare(connection, subject, number, previous, CLOCKS)
        read.forget(connection)
        rows = connection.execute(
            sa.text("SELECT * FROM ops.reconcile_difference WHERE run = :run ORDER BY key, field"), {"run": number}
        ).all()
    return SimpleNamespace(counts=counts, rows=rows, number=number)


def a_subject(**more: Any) -> Subject:
    return Subject("orders", "Orders", "order", (), **more)


def reported(found: Any) -> list[tuple[Any, ...]]:
    return [(r.key, r.field, r.missing, r.channel_advisor, r.tims, r.cause) for r in found.rows]


def test_equal_keys_are_counted_and_each_fact_that_differs_is_a_row(engine: sa.Engine) -> None:
    found = run(
        engine, a_subject(),
        channel_advisor=[row("1", a=1, b="x"), row("2", a=Decimal("12.50")), row("3", a=1, b="x"), row("4", a=1)],
        tims=[row("1", a=1, b="x"), row("2", a=Decimal("12.5")), row("3", a=2, b="y"), row("5", a=1)],
    )  # fmt: skip
    assert reported(found) == [
        ("3", "a", "", "1", "2", "unexplained"),
        ("3", "b", "", "x", "y", "unexplained"),
        ("4", "", "tims", None, None, "unexplained"),
        ("5", "", "channel_advisor", None, None, "unexplained"),
    ]
    found.counts.seconds = 0.0
    assert found.counts == Counts(4, 4, compared=5, equal=2, causes={"unexplained": 3})


def test_none_says_nothing_and_0_and_the_empty_text_are_values(engine: sa.Engine) -> None:
    found = run(
        engine, a_subject(),
        channel_advisor=[row("1", a=None, b=1), row("2", a=0), row("3", a=""), row("4", a=1)],
        tims=[row("1", a=7, b=None), row("2", a=""), row("3", a=""), row("4")],
    )  # fmt: skip
    assert reported(found) == [("2", "a", "", "0", "", "unexplained"), ("4", "a", "", "1", None, "unexplained")]


def test_of_a_record_that_came_twice_the_newer_one_counts(engine: sa.Engine) -> None:
    later = "2011-01-05T11:59:59.99999999Z"  # the same once it is cut: then the one that came later
    found = run(
        engine, a_subject(),
        channel_advisor=[row("1", a=2), row("1", "2011-01-05T10:00:00Z", a=1), row("2", a=1), row("2", later, a=2)],
        tims=[row("1", a=2), row("2", a=2)],
    )  # fmt: skip
    assert reported(found) == []
    assert found.counts.channel_advisor == 2


def test_which_keys_count_is_the_subjects_to_say(engine: sa.Engine) -> None:
    rows: dict[str, Any] = {"channel_advisor": [row("1", a=1), row("2", a=1)], "tims": [row("1", a=1), row("3", a=1)]}
    assert [r.key for r in run(engine, a_subject(keys="all"), **rows).rows] == ["2", "3"]
    assert run(engine, a_subject(keys="both"), **rows).counts.compared == 1
    assert [r.key for r in run(engine, a_subject(keys="channel_advisor"), **rows).rows] == ["2"]


def test_parts_of_a_key_are_added_up_under_the_name_that_another_list_gives_them(engine: sa.Engine) -> None:
    found = run(
        engine, a_subject(keys="both", summed=frozenset({"worth"})),
        channel_advisor=[row("7", worth=Decimal("10.30"), units=3), row("8", worth=Decimal("1.00"), units=1)],
        names=[row("7", part="SO-7"), row("8", part="SO-8")],
        tims=[row("7", units=3), row("8", units=1)],
        alias=[row("SO-7", part="I1", worth=Decimal("10.10")), row("SO-7", part="I2", worth=Decimal("0.20")),
               row("SO-8", part="I3", worth=Decimal("0.90")), row("SO-9", part="I4", worth=Decimal("5.00"))],
    )  # fmt: skip
    assert reported(found) == [("8", "worth", "", "1.00", "0.90", "unexplained")]
    assert found.counts.equal == 1


def test_of_the_keys_of_one_name_only_the_last_is_compared_where_the_subject_says_so(engine: sa.Engine) -> None:
    rows: dict[str, Any] = {
        "channel_advisor": [row("1", mail="old"), row("2", mail="new")],
        "names": [row("1", part="C", at="2011-01-01"), row("2", part="C", at="2011-01-02")],
        "alias": [row("C", mail="new")],
    }
    assert reported(run(engine, a_subject(keys="both", last_only=True), **rows)) == []
    assert [r.key for r in run(engine, a_subject(keys="both"), **rows).rows] == ["1"]


def test_what_changed_since_the_read_began_is_never_unexplained(engine: sa.Engine) -> None:
    found = run(
        engine, a_subject(),
        channel_advisor=[row("1", AFTER, a=1), row("2", a=1), row("3", a=1)],
        tims=[row("1", a=2), row("2", AFTER, a=2), row("3", a=2)],
    )  # fmt: skip
    assert [(r.key, r.cause) for r in found.rows] == [
        ("1", "changed since"), ("2", "changed since"), ("3", "unexplained"),
    ]  # fmt: skip


def test_an_excuse_explains_that_the_other_side_lacks_a_key_and_nothing_else(engine: sa.Engine) -> None:
    excuse = Excuse("by rule", "cancelled before it was loaded")
    found = run(
        engine, a_subject(),
        channel_advisor=[row("1", excuse=excuse, a=1), row("2", excuse=excuse, a=1)], tims=[row("2", a=2)],
    )  # fmt: skip
    assert [(r.key, r.cause, r.why) for r in found.rows] == [
        ("1", "by rule", "cancelled before it was loaded"), ("2", "unexplained", None),
    ]  # fmt: skip


def test_the_first_explanation_decides_and_a_key_has_its_worst_cause(engine: sa.Engine) -> None:
    def named(cause: str, why: str, key: str) -> Explanation:
        return Explanation(because(cause, why).where(FOUND.c.key == key, FOUND.c.field == "a"))

    as_text = "SELECT d.id, 'in flight' AS cause, 'second' AS why FROM found d WHERE d.key = '2' AND d.field = 'a'"
    subject = a_subject(
        explained=(named("dead letter", "first", "1"), named("in flight", "second", "1"), Explanation(sa.text(as_text)))
    )
    found = run(
        engine, subject, channel_advisor=[row("1", a=1, b=1), row("2", a=1)], tims=[row("1", a=2, b=2), row("2", a=2)]
    )
    assert [(r.key, r.field, r.cause, r.why) for r in found.rows] == [
        ("1", "a", "dead letter", "first"), ("1", "b", "unexplained", None), ("2", "a", "in flight", "second"),
    ]  # fmt: skip
    assert found.counts.causes == {"unexplained": 1, "in flight": 1}


def test_a_difference_keeps_its_age_and_personal_data_never_reaches_a_row(engine: sa.Engine) -> None:
    sides: dict[str, Any] = {"channel_advisor": [row("1", mail="a@b.c")], "tims": [row("1", mail="x@y.z")]}
    subject = a_subject(private=True)
    first = run(engine, subject, **sides)
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE ops.reconcile_difference SET since = since - interval '9 days'")
    second = run(engine, subject, first.number, **sides)
    assert (first.rows[0].since - second.rows[0].since).days == 9
    assert (second.rows[0].channel_advisor, second.rows[0].tims) == (None, None)
    assert run(engine, subject, None, **sides).rows[0].since > second.rows[0].since


def test_every_explanation_of_every_subject_is_sql_that_postgres_takes(engine: sa.Engine) -> None:
    for subject in SUBJECTS.values():
        found = run(engine, subject, channel_advisor=[row("1", status=1)], tims=[row("1", status=2)])
        assert found.counts.causes in ({"unexplained": 1}, {}), subject.name


# ---- the page --------------------------------------------------------------------------------------------------------


class Elements(HTMLParser):
    """Names of elements, their attributes, and all text of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.names: set[str] = set()
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.add(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        self.text += data


def kept(engine: sa.Engine, found: Any, **counts: Any) -> str:
    """The page of a run, after what it found was kept as a run keeps it."""
    with engine.begin() as connection:
        connection.execute(
            sa.update(ops_reconcile_run)
            .where(ops_reconcile_run.c.id == found.number)
            .values(finished_at=sa.func.now(), counts={"orders": vars(found.counts), **counts}, unexplained=1)
        )
        return report.page(connection, found.number)


HOSTILE = "<script>alert(1)</script>"


def test_the_page_tells_everything_and_escapes_what_it_was_given(engine: sa.Engine) -> None:
    found = run(
        engine, a_subject(),
        channel_advisor=[row(HOSTILE, status=HOSTILE), row("2", excuse=Excuse("waiting", "<b>pending</b>"), a=1)],
        tims=[row(HOSTILE, status='"><img src=x onerror=alert(1)>')],
    )  # fmt: skip
    page = kept(engine, found)
    elements = Elements(page)
    assert not {"script", "img", "iframe", "link", "object", "b" * 2} & elements.names
    assert not [name for name, _ in elements.attributes if name.startswith("on")]
    for words in (HOSTILE, "<b>pending</b>", '"><img src=x onerror=alert(1)>', "unexplained", "waiting", "Orders"):
        assert words in elements.text
    assert page.count("<svg") == 3


def test_the_page_stands_within_the_consoles_frame_without_a_style_of_its_own(engine: sa.Engine) -> None:
    found = run(
        engine, a_subject(),
        channel_advisor=[row(' style="fill: red"<main></main>', a=1), row("2", a=1)], tims=[row("2", a=2)],
    )  # fmt: skip
    page = kept(engine, found)
    part = reconciliation.as_part(page)
    elements = Elements(part)
    assert not [name for name, _ in elements.attributes if name == "style"]
    assert not {"style", "html", "head", "body", "main", "title"} & elements.names
    assert ' style="fill: red"<main></main>' in elements.text
    assert part.count("<svg xmlns") == page.count("<svg") == 3
    assert 'fill="#c0352b"' in part, "the colour of what is unexplained"
    assert report.INK not in part, "ink is the colour of the page's text"


def test_the_page_needs_no_network_and_its_plots_share_no_id(engine: sa.Engine) -> None:
    page = kept(engine, run(engine, a_subject(), channel_advisor=[row("1", a=1)], tims=[row("1", a=2)]))
    addresses = set(re.findall(r'https?://[^"\s<]+', page))
    assert {address for address in addresses if not address.startswith("http://www.w3.org/")} == set()
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    for name in re.findall(r'(?:href="#|url\(#)([^")]+)', page):
        assert name in ids


def test_a_page_of_nothing_and_one_of_a_run_that_is_not_there(engine: sa.Engine) -> None:
    page = kept(engine, run(engine, a_subject()))
    assert "0</b>keys compared" in page
    with engine.connect() as connection, pytest.raises(ConfigError, match="no reconciliation 999999"):
        report.page(connection, 999_999)


def test_the_trend_joins_only_runs_of_the_same_subjects(engine: sa.Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    with engine.begin() as connection:
        connection.execute(sa.delete(ops_reconcile_run))
    one = {"orders": vars(Counts(1, 1, 1, 1))}
    numbers = []
    for n, counts in enumerate([one, one | {"prices": one["orders"]}, one, {"prices": one["orders"]}]):
        with engine.begin() as connection:
            numbers.append(connection.scalar(
                sa.insert(ops_reconcile_run)
                .values(run_id=str(n), counts=counts, finished_at=sa.func.now()).returning(ops_reconcile_run.c.id)
            ))  # fmt: skip
    drawn: list[list[int]] = []
    monkeypatch.setattr(report, "_history", lambda _, past: drawn.append([run["id"] for run in past]))
    with engine.connect() as connection:
        page = report.page(connection, numbers[2])
        report.page(connection, numbers[1])
    assert drawn == [[numbers[0], numbers[2]], [numbers[1]]]
    assert "Runs that looked at orders." in Elements(page).text
    assert "orders, prices" in Elements(page).text, "the list of runs names all of them, with their subjects"
