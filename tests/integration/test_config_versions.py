"""Versions of the configuration: published, consented to, taken back, merged with what a deploy ships, and used by the
next task. With a real Postgres and real files."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa
from typer.testing import CliRunner

from crossdock import cli, settings
from crossdock.config import BESIDE, tree
from crossdock.errors import ConfigError, NotAllowed, Transient
from crossdock.mapping import lookups
from crossdock.rules import price_settings
from crossdock.runtime import Runtime
from crossdock.services import approvals as services_approvals
from crossdock.services import configuration
from crossdock.services.configuration import DraftRefused
from crossdock.services.people import Person, Role, begin
from crossdock.settings import PROJECT
from crossdock.store import approvals, batches, database
from crossdock.store.tables import ops_config_version
from integration.environment import fresh_database

ANNA, BEN = (Person(name, frozenset({Role.ANALYST}), "10.0.0.7") for name in ("anna", "ben"))
CARRIERS, PRICES, POSTING = "lookups/carriers.csv", "prices.yaml", "posting.yaml"
DRONE = "Drone,Fast,Drone,Air\n"


class Office:
    """A database, the shipped files of a machine, and people who change configuration."""

    def __init__(self, url: str, base: Path) -> None:
        self.url, self.base = url, base
        self.engine = database.engine(url)
        with self.engine.connect() as connection:  # rows of it stay for good
            self.audited = connection.execute(sa.text("SELECT coalesce(max(id), 0) FROM ops.audit")).scalar_one()

    def shipped(self, path: str) -> str:
        return (self.base / path).read_bytes().decode()

    def propose(self, changed: configuration.Files, who: Person = ANNA, **more: object) -> configuration.Version:
        with self.engine.begin() as connection:
            begin(connection, who)
            return configuration.propose(connection, who, changed, "A change for a test", **more)  # type: ignore[arg-type]

    def publish(self, changed: configuration.Files, who: Person = ANNA) -> configuration.Version:
        version = self.propose(changed, who)
        with self.engine.begin() as connection:
            return configuration.publish(connection, who, version.number)

    def status(self) -> configuration.Status:
        with self.engine.begin() as connection:
            return configuration.status(connection)

    def carriers(self) -> set[str]:
        """The carriers that a task knows which begins now."""
        with Runtime(self.url):
            return {key.partition(BESIDE)[0] for key in lookups.read("carriers", keys=2).rows}

    def rows(self, table: str) -> int:
        with self.engine.connect() as connection:
            return connection.execute(sa.text(f"SELECT count(*) FROM ops.{table}")).scalar_one()

    def audit(self) -> list[sa.Row]:
        """What this test has left in the audit log."""
        with self.engine.connect() as connection:
            statement = sa.text("SELECT * FROM ops.audit WHERE id > :seen ORDER BY id")
            return list(connection.execute(statement, {"seen": self.audited}))


@pytest.fixture(scope="module")
def url(postgres_url: str) -> Iterator[str]:
    with fresh_database(postgres_url, "config_versions") as url:
        yield url


@pytest.fixture
def office(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Office]:
    base = shutil.copytree(PROJECT / "include" / "config", tmp_path / "base")
    monkeypatch.setenv("CROSSDOCK_CONFIG_DIR", str(base))
    monkeypatch.setenv("CROSSDOCK_RUN_DIR", str(tmp_path / "run"))
    owner = database.engine(url, role=None)
    with owner.begin() as connection:
        connection.execute(
            sa.text("TRUNCATE ops.config_version, ops.config_file, ops.config_text, ops.alert RESTART IDENTITY")
        )
    owner.dispose()
    made = Office(url, base)
    yield made
    made.engine.dispose()


def test_a_published_text_is_used_by_the_next_task_and_taken_back(office: Office):
    assert "Drone" not in office.carriers()
    version = office.publish({CARRIERS: office.shipped(CARRIERS) + DRONE})
    assert (version.state, version.files, version.author) == ("in force", (CARRIERS,), "anna")
    assert "Drone" in office.carriers()
    with office.engine.begin() as connection:
        back = configuration.rollback(connection, BEN, configuration.SHIPPED)
    assert (back.state, back.parent) == ("in force", version.number)
    assert "Drone" not in office.carriers()
    with office.engine.begin() as connection:
        again = configuration.rollback(connection, BEN, version.number)
        assert [one.number for one in configuration.log(connection)] == [again.number, back.number, version.number]
        assert [one.number for one in configuration.log(connection, after=back.number)] == [version.number]
    assert "Drone" in office.carriers()
    assert [(row.who, row.action, row.subject) for row in office.audit()] == [
        ("anna", "configuration propose", "version 1"),
        ("anna", "configuration publish", "version 1"),
        ("ben", "configuration rollback", "version 2"),
        ("ben", "configuration rollback", "version 3"),
    ]
    assert office.audit()[0].address == "10.0.0.7"


def test_a_batch_and_a_task_know_their_version(office: Office):
    with Runtime(office.url):
        assert settings.version() is None
    office.publish({PRICES: office.shipped(PRICES).replace("margin: 48", "margin: 49")})
    with Runtime(office.url) as runtime:
        assert settings.version() == 1
        assert price_settings.load().default.margin == 4900
        office.publish({PRICES: office.shipped(PRICES).replace("margin: 48", "margin: 47")})
        assert settings.version() == 1  # what has begun goes on as it began
        with runtime.engine.begin() as connection:
            opened = batches.open_batch(connection, "orders", "scheduled")
    with Runtime(office.url) as runtime:
        assert (settings.version(), price_settings.load().default.margin) == (2, 4700)
        with runtime.engine.begin() as connection:
            assert batches.get(connection, opened).config_version == 1
    with settings.using(office.base), Runtime(office.url):
        assert settings.version() is None  # a draft stays in use
        assert price_settings.load().default.margin == 4800
    assert settings.root() is None


# ---- who may, and a second person ----------------------------------------------------------------------------------


def test_only_who_may_publish_does(office: Office):
    clerk = Person("cleo", frozenset({Role.CLERK}))
    changed = {CARRIERS: office.shipped(CARRIERS) + DRONE}
    with pytest.raises(NotAllowed):
        office.propose(changed, clerk)
    version = office.propose(changed)
    for act in (configuration.publish, configuration.consent, configuration.withdraw, configuration.rollback):
        with pytest.raises(NotAllowed), office.engine.begin() as connection:
            act(connection, clerk, version.number)
    assert office.rows("config_version") == 1
    assert office.status().number == configuration.SHIPPED


def test_a_file_that_needs_a_second_person_waits_for_one(office: Office):
    text = office.shipped(POSTING).replace("marketplace_tax: memo\n", "marketplace_tax: wash\n")
    assert text != office.shipped(POSTING)
    version = office.publish({POSTING: text, CARRIERS: office.shipped(CARRIERS) + DRONE})
    assert (version.state, version.waits_for) == ("proposed", (POSTING,))
    assert office.status().proposals == (version,)
    assert "Drone" not in office.carriers()
    for author in (ANNA, Person("Anna ", frozenset(Role))):
        with pytest.raises(ConfigError, match="second person"), office.engine.begin() as connection:
            configuration.consent(connection, author, version.number)
    with office.engine.begin() as connection:
        consented = configuration.consent(connection, BEN, version.number)
    assert (consented.state, consented.consent_by, consented.author) == ("in force", "ben", "anna")
    assert "Drone" in office.carriers()
    for act in (configuration.consent, configuration.publish, configuration.withdraw):
        with pytest.raises(ConfigError, match="no proposal any more"), office.engine.begin() as connection:
            act(connection, BEN, version.number)
    assert [row.action for row in office.audit()] == ["configuration propose", "configuration consent"]


# ---- whose prices they are -----------------------------------------------------------------------------------------


def ask_for_prices(office: Office, *skus: str) -> list[int]:
    """Puts questions about prices, as the load of a task does that begins now."""
    with Runtime(office.url) as runtime, runtime.engine.begin() as connection:
        approvals.ask(connection, [
            {"flow": "prices", "key": sku, "target": sku, "site_id": 0, "from_price": Decimal(1),
             "to_price": Decimal(2), "promotion_price": None, "cost": Decimal(1), "currency_code": "GBP", "why": "Why."}
            for sku in skus
        ])  # fmt: skip
        rows = connection.execute(sa.text("SELECT id FROM ops.approval WHERE key = ANY(:skus)"), {"skus": list(skus)})
        return sorted(row.id for row in rows)


def put_under_consent(office: Office, *paths: str) -> None:
    console = office.base / "console.yaml"
    console.write_text(
        console.read_text().replace("consent: [posting.yaml", f"consent: [{', '.join(paths)}, posting.yaml")
    )


def other_margin(office: Office, margin: int) -> str:
    return re.sub(r"margin: [0-9]+", f"margin: {margin}", office.shipped(PRICES), count=1)


def agree_to(office: Office, changed: configuration.Files, author: Person, second: Person) -> int:
    version = office.propose(changed, author)
    with office.engine.begin() as connection:
        return configuration.consent(connection, second, version.number).number


BOTH = frozenset({Role.ANALYST, Role.CLERK})


@pytest.fixture
def no_approvals(office: Office) -> Iterator[None]:
    yield
    with office.engine.begin() as connection:
        connection.execute(sa.text("DELETE FROM ops.approval"))


@pytest.mark.usefixtures("no_approvals")
def test_who_made_a_price_rule_does_not_approve_its_prices(office: Office):
    put_under_consent(office, PRICES)
    (shipped,) = ask_for_prices(office, "SHIPPED")
    number = agree_to(office, {PRICES: other_margin(office, 61)}, ANNA, BEN)
    anna, ben = (Person(name, BOTH) for name in (" Anna", "ben"))
    first, second = ask_for_prices(office, "ONE", "TWO")
    office.publish({CARRIERS: office.shipped(CARRIERS) + DRONE}, BEN)  # another file: the rule is anna's as before
    (third,) = ask_for_prices(office, "THREE")
    with office.engine.begin() as connection:
        found = services_approvals.changes(connection, anna, services_approvals.Filter())
        assert [one.own_rule for one in found.rows] == ["", *[f"{PRICES} (version {number})"] * 3]
        assert {
            one.own_rule for one in services_approvals.changes(connection, ben, services_approvals.Filter()).rows
        } == {""}
    with office.engine.begin() as connection:
        tried = services_approvals.decide(connection, anna, approved=True, numbers=[first, third])
    assert (tried.numbers, tried.late, list(tried.own)) == ((), 0, [first, third])
    with pytest.raises(NotAllowed, match=f"a price rule of your own, {PRICES} .version {number}.") as refused:
        tried.require_some()
    assert "somebody else" in str(refused.value.do)
    assert [(row.action, row.subject, row.who) for row in office.audit()][-2:] == [
        ("prices own rule", str(first), " Anna"), ("prices own rule", str(third), " Anna"),
    ]  # fmt: skip
    with office.engine.begin() as connection:
        all_of_it = {"wanted": services_approvals.Filter(), "newest": third}
        some = services_approvals.decide(connection, anna, approved=True, **all_of_it)
        assert (some.numbers, sorted(some.own)) == ((shipped,), [first, second, third])
        some.require_some()
        refused_by_her = services_approvals.decide(connection, anna, approved=False, note="too dear", numbers=[second])
        assert refused_by_her.numbers == (second,), "refusing is no approval of one's own"
        others = services_approvals.decide(connection, ben, approved=True, **all_of_it)
        assert (others.numbers, others.own) == ((first, third), {}), "the second person did not make the rule"


@pytest.mark.usefixtures("no_approvals")
def test_the_rule_counts_by_which_a_price_was_asked_for(office: Office):
    number = office.publish({PRICES: other_margin(office, 61)}, ANNA).number
    (unasked,) = ask_for_prices(office, "ONE")

    def own(who: str, *ids: int) -> set[int]:
        with office.engine.begin() as connection:
            return set(approvals.own(connection, "prices", ids, who))

    assert own("anna", unasked) == set(), "nobody asks for a second person on prices"
    put_under_consent(office, "price*", "lookups/*")
    assert own("anna", unasked) == {unasked}
    later = agree_to(office, {PRICES: other_margin(office, 62)}, BEN, ANNA)
    (second,) = ask_for_prices(office, "TWO")
    assert own("anna", unasked, second) == {unasked}
    assert own("ben", unasked, second) == {second}
    with office.engine.begin() as connection:
        connection.execute(sa.text("UPDATE ops.approval SET config_version = NULL"))  # as of before it was kept
    assert own("anna", unasked, second) == {unasked}
    assert own("ben", unasked, second) == {second}
    with office.engine.begin() as connection:
        connection.execute(
            sa.text("UPDATE ops.approval SET config_version = :number WHERE id = :id"), {"number": later, "id": unasked}
        )
        configuration.rollback(connection, ANNA, configuration.SHIPPED)
    (third,) = ask_for_prices(office, "THREE")
    assert own("anna", third) == own("ben", third) == set(), "the shipped rule is nobody's"
    assert own("ben", unasked) == {unasked}
    assert number < later


def test_nobody_agrees_to_what_needs_no_consent_and_a_withdrawn_proposal_stays_withdrawn(office: Office):
    version = office.propose({CARRIERS: office.shipped(CARRIERS) + DRONE})
    assert version.state == "proposed"
    assert "Drone" not in office.carriers()
    with pytest.raises(ConfigError, match="nobody's consent"), office.engine.begin() as connection:
        configuration.consent(connection, BEN, version.number)
    with office.engine.begin() as connection:
        assert configuration.withdraw(connection, BEN, version.number).state == "withdrawn"
    with pytest.raises(ConfigError, match="withdrawn"), office.engine.begin() as connection:
        configuration.publish(connection, ANNA, version.number)
    with pytest.raises(ConfigError, match="never been in force"), office.engine.begin() as connection:
        configuration.rollback(connection, ANNA, version.number)


# ---- several people at once ----------------------------------------------------------------------------------------


def at_once(*calls: object) -> list[object]:
    """Runs calls at the same moment; what each gives, or raises."""
    together = threading.Barrier(len(calls), timeout=60)

    def run(call: object) -> object:
        together.wait()
        try:
            return call()  # type: ignore[operator]
        except ConfigError as error:
            return error

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(run, calls))


def test_of_two_who_publish_the_same_file_at_once_the_second_is_told(office: Office):
    mine = office.propose({CARRIERS: office.shipped(CARRIERS) + DRONE}, ANNA)
    yours = office.propose({CARRIERS: office.shipped(CARRIERS) + "Balloon,,Balloon,Air\n"}, BEN)

    def publish(who: Person, number: int) -> configuration.Version:
        with office.engine.begin() as connection:
            return configuration.publish(connection, who, number)

    found = at_once(lambda: publish(ANNA, mine.number), lambda: publish(BEN, yours.number))
    (error,) = (one for one in found if isinstance(one, ConfigError))
    (won,) = (one for one in found if isinstance(one, configuration.Version))
    assert f"{CARRIERS} has been changed meanwhile: version {won.number} of {won.author}" in str(error)
    assert len(office.carriers() & {"Drone", "Balloon"}) == 1
    assert office.status().number == won.number


def test_two_who_publish_different_files_at_once_both_succeed(office: Office):
    mine = office.propose({CARRIERS: office.shipped(CARRIERS) + DRONE}, ANNA)
    yours = office.propose({PRICES: office.shipped(PRICES).replace("margin: 48", "margin: 47")}, BEN)

    def publish(who: Person, number: int) -> configuration.Version:
        with office.engine.begin() as connection:
            return configuration.publish(connection, who, number)

    found = at_once(lambda: publish(ANNA, mine.number), lambda: publish(BEN, yours.number))
    assert [one for one in found if isinstance(one, ConfigError)] == []
    with Runtime(office.url):
        assert price_settings.load().default.margin == 4700
    assert "Drone" in office.carriers()
    assert office.status().replaced == (CARRIERS, PRICES)


def test_who_has_seen_an_older_text_is_told_before_anything_is_proposed(office: Office):
    first = office.publish({CARRIERS: office.shipped(CARRIERS) + DRONE})
    with pytest.raises(ConfigError, match="changed meanwhile"):
        office.propose(
            {CARRIERS: office.shipped(CARRIERS) + "Balloon,,Balloon,Air\n"}, BEN, parent=configuration.SHIPPED
        )
    other = office.propose(
        {PRICES: office.shipped(PRICES).replace("margin: 48", "margin: 47")}, BEN, parent=configuration.SHIPPED
    )
    assert other.parent == first.number
    assert office.rows("config_version") == 2


def test_what_changes_nothing_is_no_version(office: Office):
    with pytest.raises(ConfigError, match="changes nothing"):
        office.propose({CARRIERS: office.shipped(CARRIERS), PRICES: None})
    with pytest.raises(ConfigError, match="changes nothing"), office.engine.begin() as connection:
        configuration.rollback(connection, ANNA, configuration.SHIPPED)
    first = office.publish({CARRIERS: office.shipped(CARRIERS) + DRONE})
    twin = office.propose({CARRIERS: office.shipped(CARRIERS)})  # back to the shipped text: that is a change
    assert twin.files == (CARRIERS,)
    with pytest.raises(ConfigError, match="changes nothing"):
        office.propose({CARRIERS: office.shipped(CARRIERS) + DRONE})
    assert office.rows("config_version") == 2
    assert office.status().number == first.number


# ---- what is refused -----------------------------------------------------------------------------------------------

BROKEN = {
    "mappings/sales_order.yaml": ("convert: to text", "convert: to txt", "to text"),
    "lookups/carriers.csv": ("Chronopost,Express,", "Chronopost,Express,Too,Many,", "put quotes around commas"),
    "prices.yaml": ("margin: 48", "margin: much", "a percentage"),
    "posting.yaml": ("debit: Bank", "debit: Bonk", "Bank"),
    "checks/sales_order.yaml": ("expect: ", "expect: no_", "no_"),
    "sites.yaml": ("import_rule: hold", "import_rule: held", "hold"),
}


def test_a_broken_draft_is_refused_with_file_and_line_and_nothing_is_written(office: Office):
    for path in BROKEN:
        refused_with_its_line(office, path)
    assert (office.rows("config_version"), office.rows("config_file"), office.rows("config_text")) == (0, 0, 0)
    assert office.audit() == []


def refused_with_its_line(office: Office, path: str) -> None:
    before, after, message = BROKEN[path]
    text = office.shipped(path)
    at = text.index(before)
    line = text.count("\n", 0, at) + 1
    broken = text[:at] + after + text[at + len(before) :]
    with pytest.raises(DraftRefused) as caught:
        office.propose(
            {path: broken, "lookups/countries.csv": office.shipped("lookups/countries.csv") + "Elbonia,XE\n"}
        )
    assert any(one.path == path and one.line == line and message in one.text for one in caught.value.problems)
    assert f"{path}:{line}: " in str(caught.value)
    assert str(office.base) not in str(caught.value)
    assert "run/config" not in str(caught.value)
    with office.engine.begin() as connection:
        assert configuration.check(connection, {path: broken}) == tuple(
            one for one in caught.value.problems if one.path == path
        )


def test_every_file_that_can_be_replaced_is_held_against_something(office: Office):
    """A text that is no table and no settings is refused in each of them."""
    with office.engine.begin() as connection:
        every = [one.path for one in configuration.files(connection) if not one.refused]
        assert len(every) > 40
        tables = {path for path in every if path.startswith("lookups/")}
        apart = {POSTING, "accounts.yaml"}  # the posting table is held against the accounts
        for paths in (tables, {*every} - tables - apart, *({path} for path in apart)):
            found = configuration.check(connection, dict.fromkeys(paths, "nonsense: [\n"))
            assert paths - {one.path for one in found} == set()


HOSTILE = {
    "out of the folder": ("../outside.yaml", "a: 1\n", "leads out"),
    "out of the folder, later": ("lookups/../../outside.csv", "a,b\n", "leads out"),
    "absolute": ("/etc/passwd", "a: 1\n", "leads out"),
    "of a home": ("~/x.yaml", "a: 1\n", "leads out"),
    "backslashes": ("lookups\\..\\x.csv", "a,b\n", "leads out"),
    "an empty part": ("lookups//carriers.csv", "a,b\n", "leads out"),
    "no name": ("", "a: 1\n", "no name of a configuration file"),
    "a line in the name": ("lookups/a\nb.csv", "a,b\n", "no name of a configuration file"),
    "U+0000 in the name": ("lookups/\0.csv", "a,b\n", "no name of a configuration file"),
    "letters of another alphabet": ("lookups/\u0441arriers.csv", "a,b\n", "no name of a configuration file"),
    "nobody reads it": ("lookups/Carriers.CSV", "a,b\n", "nothing reads a file"),
    "who may do what": ("console.yaml", "roles: {Viewer: [analyst]}\n", "comes with the code only"),
    "statements": ("controls/suspense.sql", "DELETE FROM ops.batch\n", "comes with the code only"),
    "a new statement": ("controls/mine.sql", "DELETE FROM ops.batch\n", "comes with the code only"),
    "pools": ("pools.json", "{}\n", "comes with the code only"),
    "U+0000": (CARRIERS, "a,b\nc,\0\n", "carriers.csv:2: the character U+0000"),
    "no UTF-8": (CARRIERS, b"a,b\n\xff,c\n", "carriers.csv:2: this is not UTF-8"),
    "half a character": (CARRIERS, "a,b\n\ud800,c\n", "carriers.csv:2: this is not UTF-8"),
    "huge": (CARRIERS, "x" * (tree.MOST_BYTES + 1), "16,777,216 are allowed"),
    "a bomb of aliases": (PRICES, "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
        f"{chr(98 + n)}: &{chr(98 + n)} [{','.join(['*' + chr(97 + n)] * 9)}]\n" for n in range(9)), "prices.yaml:"),
    "nested too deep": (PRICES, "a: " + "[" * 5000 + "]" * 5000 + "\n", "prices.yaml:"),
    "an object": (PRICES, "!!python/object/apply:os.system ['true']\n", "prices.yaml:1"),
}  # fmt: skip


def test_hostile_content_is_refused_in_words(office: Office):
    for case, (path, text, message) in HOSTILE.items():
        with pytest.raises(DraftRefused) as caught:
            office.propose({path: text})
        assert message in str(caught.value), case
    assert office.rows("config_version") == 0


def test_a_version_says_why(office: Office):
    for message in ("", "  \n ", "\0", "x" * 2001):
        with pytest.raises(ConfigError, match="message"), office.engine.begin() as connection:
            configuration.propose(connection, ANNA, {CARRIERS: office.shipped(CARRIERS) + DRONE}, message)


def test_the_database_refuses_a_change_of_a_text_that_a_version_has(office: Office):
    office.publish({CARRIERS: office.shipped(CARRIERS) + DRONE})
    for statement in ("UPDATE ops.config_text SET content = ''", "DELETE FROM ops.config_text"):
        with pytest.raises(sa.exc.ProgrammingError, match="permission denied"), office.engine.begin() as connection:
            connection.execute(sa.text(statement))


# ---- a deploy brings new shipped files -----------------------------------------------------------------------------


def deploy(office: Office, path: str, text: str) -> None:
    (office.base / path).write_bytes(text.encode())


def test_new_shipped_files_are_merged_with_a_published_version_by_themselves(office: Office):
    shipped = office.shipped(CARRIERS)
    published = office.publish({CARRIERS: shipped + DRONE})
    header = shipped.index("tims_carrier,")
    deploy(office, CARRIERS, shipped[:header] + "# More words about carriers.\n" + shipped[header:])
    deploy(office, PRICES, office.shipped(PRICES).replace("margin: 48", "margin: 46"))
    with Runtime(office.url):
        assert settings.version() == published.number + 1
        assert price_settings.load().default.margin == 4600
        text = (settings.config_dir() / CARRIERS).read_text("utf-8")
    assert text == office.shipped(CARRIERS) + DRONE
    found = office.status()
    assert found.version is not None
    assert (found.number, found.version.author, found.version.parent) == (2, "crossdock", published.number)
    assert (found.replaced, found.conflicts, found.problems) == ((CARRIERS,), (), ())
    assert [row.action for row in office.audit()][-1] == "configuration merge"
    assert alerts(office) == []
    with Runtime(office.url):  # once merged, it stays so
        assert settings.version() == 2
    assert office.rows("config_version") == 2


def test_a_change_that_has_been_shipped_needs_no_version_any_more(office: Office):
    text = office.shipped(CARRIERS) + DRONE
    office.publish({CARRIERS: text})
    deploy(office, CARRIERS, text)
    assert "Drone" in office.carriers()
    assert office.status().replaced == ()
    with Runtime(office.url):
        assert settings.config_dir() == office.base


def test_the_same_lines_changed_on_both_sides_keep_what_is_in_force_and_raise_an_alert(office: Office):
    mine = office.shipped(PRICES).replace("margin: 48", "margin: 40")
    theirs = office.shipped(PRICES).replace("margin: 48", "margin: 45")
    office.publish({PRICES: mine, CARRIERS: office.shipped(CARRIERS) + DRONE})
    before = office.shipped(PRICES)
    deploy(office, PRICES, theirs)
    for _ in range(2):
        with Runtime(office.url):
            assert settings.version() == 2
            assert price_settings.load().default.margin == 4000
        assert "Drone" in office.carriers()
    (alert,) = alerts(office)
    assert PRICES in alert.title
    assert CARRIERS not in alert.title
    assert "crossdock config status" in alert.body
    found = office.status()
    assert found.version is not None
    assert (found.version.state, found.version.conflict, found.version.files) == ("in force", True, ())
    (conflict,) = found.conflicts
    assert (conflict.path, conflict.clean) == (PRICES, False)
    assert (conflict.ours, conflict.shipped_before, conflict.shipped_now) == (mine, before, theirs)
    assert "<<<<<<< published\n  margin: 40\n=======\n  margin: 45\n>>>>>>> shipped\n" in conflict.both
    with office.engine.begin() as connection:
        assert configuration.conflicts(connection) == found.conflicts

    other = office.publish({"lookups/countries.csv": office.shipped("lookups/countries.csv") + "Elbonia,XE,\n"})
    assert [one.path for one in office.status().conflicts] == [PRICES]  # another file resolves nothing
    resolved = office.publish({PRICES: theirs.replace("margin: 45", "margin: 43")})
    assert (resolved.parent, office.status().conflicts) == (other.number, ())
    with Runtime(office.url):
        assert price_settings.load().default.margin == 4300


def test_a_conflict_is_resolved_by_taking_what_is_shipped(office: Office):
    office.publish({PRICES: office.shipped(PRICES).replace("margin: 48", "margin: 40")})
    deploy(office, PRICES, office.shipped(PRICES).replace("margin: 48", "margin: 45"))
    assert len(office.status().conflicts) == 1
    version = office.publish({PRICES: None})
    assert (version.files, office.status().conflicts, office.status().replaced) == ((PRICES,), (), ())
    with Runtime(office.url):
        assert price_settings.load().default.margin == 4500


def test_a_merge_that_the_checks_refuse_is_not_taken(office: Office):
    """Both sides change other lines, and together they are wrong: a carrier stands there twice."""
    shipped = office.shipped(CARRIERS)
    line = shipped.index("tims_carrier,")
    end = shipped.index("\n", line) + 1
    office.publish({CARRIERS: shipped + DRONE})
    deploy(office, CARRIERS, shipped[:end] + DRONE + shipped[end:])
    with Runtime(office.url):
        assert settings.version() == 2
        assert (settings.config_dir() / CARRIERS).read_text("utf-8") == shipped + DRONE
    found = office.status()
    assert [(one.path, "a second time" in one.text) for one in found.problems] == [(CARRIERS, True)]
    assert [(one.path, one.clean) for one in found.conflicts] == [(CARRIERS, True)]
    (alert,) = alerts(office)
    assert f"{CARRIERS}:" in alert.body


def test_a_file_that_is_shipped_no_more_is_a_conflict_unless_it_is_as_it_was(office: Office):
    office.publish({"lookups/drones.csv": "drone,carrier\nA,B\n"})
    deploy(office, "lookups/drones.csv", "drone,carrier\nC,D\n")
    (conflict,) = office.status().conflicts
    assert (conflict.path, conflict.shipped_before) == ("lookups/drones.csv", None)
    with Runtime(office.url):
        assert (settings.config_dir() / "lookups/drones.csv").read_text("utf-8") == "drone,carrier\nA,B\n"
    (office.base / "lookups/drones.csv").unlink()
    assert office.status().conflicts == ()
    with office.engine.begin() as connection:
        configuration.rollback(connection, ANNA, configuration.SHIPPED)
    with Runtime(office.url):
        assert not (settings.config_dir() / "lookups/drones.csv").exists()


def test_many_workers_that_find_new_shipped_files_at_once_merge_them_once(office: Office):
    office.publish({CARRIERS: office.shipped(CARRIERS) + DRONE})
    deploy(office, PRICES, office.shipped(PRICES).replace("margin: 48", "margin: 46"))

    def work() -> tuple[int | None, int, set[str]]:
        with Runtime(office.url):
            carriers = {key.partition(BESIDE)[0] for key in lookups.read("carriers", keys=2).rows}
            return settings.version(), price_settings.load().default.margin, carriers & {"Drone"}

    assert at_once(*[work] * 6) == [(2, 4600, {"Drone"})] * 6
    assert office.rows("config_version") == 2


def test_two_releases_beside_each_other_do_not_take_turns(
    office: Office, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Old and new workers, while a deploy goes on, and a person who publishes in the middle of it."""
    new = shutil.copytree(office.base, tmp_path / "new")
    (new / PRICES).write_text(office.shipped(PRICES).replace("margin: 48", "margin: 46"))
    published = office.publish({CARRIERS: office.shipped(CARRIERS) + DRONE}).number

    def task(release: Path) -> tuple[int | None, int, bool]:
        monkeypatch.setenv("CROSSDOCK_CONFIG_DIR", str(release))
        with Runtime(office.url):
            found = {key.partition(BESIDE)[0] for key in lookups.read("carriers", keys=2).rows}
            return settings.version(), price_settings.load().default.margin, "Balloon" in found

    for _ in range(3):
        assert task(office.base) == (published, 4800, False)
        assert task(new) == (published + 1, 4600, False)
    office.publish({CARRIERS: office.shipped(CARRIERS) + DRONE + "Balloon,,Balloon,Air\n"})  # from the new release
    for _ in range(3):
        assert task(office.base) == (published + 3, 4800, True)
        assert task(new) == (published + 2, 4600, True)
    assert office.rows("config_version") == 4
    assert alerts(office) == []


def test_an_earlier_version_is_put_on_the_files_that_are_shipped_now(office: Office):
    first = office.publish({CARRIERS: office.shipped(CARRIERS) + DRONE})
    with office.engine.begin() as connection:
        configuration.rollback(connection, ANNA, configuration.SHIPPED)
    shipped = office.shipped(CARRIERS)
    deploy(office, CARRIERS, "# Newer words.\n" + shipped)
    with office.engine.begin() as connection:
        back = configuration.rollback(connection, ANNA, first.number)
        assert configuration.text(connection, CARRIERS) == "# Newer words.\n" + shipped + DRONE
    assert back.files == (CARRIERS,)
    with office.engine.begin() as connection:
        configuration.rollback(connection, ANNA, configuration.SHIPPED)
    deploy(office, CARRIERS, shipped + "Zeppelin,,Zeppelin,Air\n")
    with pytest.raises(ConfigError, match=r"other shipped files.*carriers\.csv"), office.engine.begin() as connection:
        configuration.rollback(connection, ANNA, first.number)


def test_a_proposal_from_before_a_deploy_is_published_unless_its_file_was_shipped_anew(office: Office):
    mine = office.propose({CARRIERS: office.shipped(CARRIERS) + DRONE})
    late = office.propose({PRICES: office.shipped(PRICES).replace("margin: 48", "margin: 40")}, BEN)
    deploy(office, PRICES, office.shipped(PRICES).replace("margin: 48", "margin: 46"))
    with office.engine.begin() as connection:
        assert configuration.publish(connection, ANNA, mine.number).state == "in force"
    with Runtime(office.url):
        assert (settings.version(), price_settings.load().default.margin) == (mine.number, 4600)
    with pytest.raises(ConfigError, match="changed meanwhile"), office.engine.begin() as connection:
        configuration.publish(connection, BEN, late.number)


def test_a_proposal_to_take_what_is_shipped_takes_what_is_shipped_when_it_is_published(office: Office):
    shipped = office.shipped(CARRIERS)
    office.publish({CARRIERS: shipped + DRONE})
    back = office.propose({CARRIERS: None})
    deploy(office, CARRIERS, "# Newer words.\n" + shipped)
    with pytest.raises(ConfigError, match="changed meanwhile"), office.engine.begin() as connection:
        configuration.publish(connection, ANNA, back.number)  # the merge has changed it
    again = office.publish({CARRIERS: None})
    assert (again.files, office.status().replaced) == ((CARRIERS,), ())
    with Runtime(office.url):
        assert (settings.config_dir() / CARRIERS).read_text("utf-8") == "# Newer words.\n" + shipped


def alerts(office: Office) -> list[sa.Row]:
    with office.engine.connect() as connection:
        return list(connection.execute(sa.text("SELECT * FROM ops.alert WHERE kind = 'configuration_conflict'")))


# ---- trees on this machine -----------------------------------------------------------------------------------------

TASK = """
import sys
from crossdock.runtime import Runtime
from crossdock import settings
sys.stdin.readline()
with Runtime(sys.argv[1]):
    text = (settings.config_dir() / "lookups/carriers.csv").read_text("utf-8")
    print(settings.version(), text.count("Drone,Fast"), len(list(settings.config_dir().rglob("*.*"))))
"""


@pytest.mark.slow
def test_processes_that_need_a_tree_at_once_make_it_once_and_whole(office: Office, tmp_path: Path):
    office.publish({CARRIERS: office.shipped(CARRIERS) + DRONE})
    shutil.rmtree(tmp_path / "run")
    tasks = [
        subprocess.Popen(
            [sys.executable, "-c", TASK, office.url], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            cwd=PROJECT / "include",
        )
        for _ in range(4)
    ]  # fmt: skip
    for one in tasks:  # all are past their imports when they read
        assert one.stdin is not None
        one.stdin.write("\n")
        one.stdin.flush()
    found = {one.communicate(timeout=120)[0] for one in tasks}
    count = len(list(office.base.rglob("*.*")))
    assert found == {f"1 1 {count}\n"}
    assert len(list((tmp_path / "run" / "config").iterdir())) == 1


def test_what_a_killed_process_left_is_no_tree_and_old_trees_go(office: Office, tmp_path: Path):
    cache = tmp_path / "run" / "config"
    office.publish({CARRIERS: office.shipped(CARRIERS) + DRONE})
    assert "Drone" in office.carriers()
    (used,) = (one for one in cache.iterdir() if not one.name.startswith("draft-"))
    assert used.stat().st_mode & 0o077 == 0  # nobody else may read it
    half = cache / ".new-killed"
    half.mkdir()
    (half / PRICES).write_text("half")
    before = set(cache.iterdir())
    for one in before:
        os.utime(one, (0, 0))
    assert "Drone" in office.carriers()  # it is in use, so it stays
    office.publish({CARRIERS: office.shipped(CARRIERS) + DRONE + "Balloon,,Balloon,Air\n"})
    assert before & set(cache.iterdir()) == {used}
    assert "Balloon" in office.carriers()
    os.utime(used, (0, 0))
    with office.engine.begin() as connection:
        assert configuration.check(connection, {PRICES: office.shipped(PRICES) + "\n"}) == ()
    assert not used.exists()


def test_a_machine_whose_run_folder_cannot_be_written_to_uses_the_temporary_one(
    office: Office, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("CROSSDOCK_RUN_DIR", str(tmp_path / "file"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    office.publish({CARRIERS: office.shipped(CARRIERS) + DRONE})
    assert "Drone" in office.carriers()
    assert sum(not one.name.startswith("draft-") for one in tmp_path.glob("crossdock-config-*/*")) == 1


def test_a_disk_without_room_is_a_fault_that_passes_and_leaves_no_half_of_a_tree(
    office: Office, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    office.publish({CARRIERS: office.shipped(CARRIERS) + DRONE})
    cache = tmp_path / "run" / "config"
    shutil.rmtree(cache)
    whole = tree.Tree.write

    def write(made: tree.Tree, folder: Path) -> None:
        whole(tree.Tree(dict(list(made.files.items())[:3])), folder)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(tree.Tree, "write", write)
        with pytest.raises(Transient, match="No space left"), Runtime(office.url):
            pass
    assert list(cache.iterdir()) == []
    assert "Drone" in office.carriers()


# ---- drafts, differences, exchange ---------------------------------------------------------------------------------


def test_a_draft_is_read_where_it_is_used_and_nowhere_else(office: Office):
    text = office.shipped(PRICES).replace("margin: 48", "margin: 30")
    with office.engine.begin() as connection:
        with configuration.draft(connection, {PRICES: text, CARRIERS: office.shipped(CARRIERS)}) as made:
            assert (made.files, made.problems) == ((PRICES,), ())
            assert price_settings.load().default.margin == 3000
            with Runtime(office.url):
                assert price_settings.load().default.margin == 3000
        assert price_settings.load().default.margin == 4800
        with configuration.draft(connection, {PRICES: "margin: [\n"}) as made:
            assert made.problems[0].path == PRICES
    assert office.rows("config_version") == 0


def test_what_differs_between_any_two_versions(office: Office):
    shipped = office.shipped(CARRIERS)
    one = office.publish({CARRIERS: shipped + DRONE}).number
    two = office.publish({PRICES: office.shipped(PRICES).replace("margin: 48", "margin: 40")}).number
    three = office.publish({CARRIERS: shipped + DRONE + "Balloon,,Balloon,Air"}).number
    with office.engine.begin() as connection:
        (own,) = configuration.diff(connection, three)
        assert (own.path, own.before, own.after) == (
            CARRIERS,
            shipped + DRONE,
            shipped + DRONE + "Balloon,,Balloon,Air",
        )
        assert own.diff.endswith("+Balloon,,Balloon,Air\n\\ No newline at end of file\n")
        assert f"+++ version-{three}/{CARRIERS}\n" in own.diff
        assert [change.path for change in configuration.diff(connection, three, one)] == [CARRIERS, PRICES]
        assert [change.path for change in configuration.diff(connection, one, two)] == [PRICES]
        assert [change.path for change in configuration.diff(connection, two, configuration.SHIPPED)] == [
            CARRIERS, PRICES,
        ]  # fmt: skip
        assert configuration.diff(connection, two, two) == ()
        assert configuration.text(connection, CARRIERS, one) == shipped + DRONE
        assert configuration.text(connection, PRICES, one) == office.shipped(PRICES)
        assert configuration.text(connection, "lookups/none.csv", one) is None
        with pytest.raises(ConfigError, match="no version 99"):
            configuration.diff(connection, 99)
        held = {info.path: info for info in configuration.files(connection)}
    assert held[CARRIERS].replaced
    assert not held["sites.yaml"].replaced
    assert held[POSTING].consent
    assert "who may change" in held["console.yaml"].refused


BYTES = {
    "carriage returns": lambda text: text.replace("\n", "\r\n"),
    "no line feed at the end": lambda text: text.rstrip("\n"),
    "a byte order mark": lambda text: "\ufeff" + text,
    "signs of many alphabets": lambda text: text + "# \u202e \u00e4 \u0e44 \U0001f69a\n",
    "blanks and tabs": lambda text: text + "#   \t \n\n\n",
}


def test_what_is_exported_and_imported_again_is_the_same_to_the_byte(office: Office, tmp_path: Path):
    for case, change in BYTES.items():
        text = change(office.shipped(CARRIERS) + DRONE)
        folder = tmp_path / case / "include" / "config"
        version = office.publish({CARRIERS: text, "lookups/drones.csv": f"drone,carrier\nA,{case}\n"})
        with office.engine.begin() as connection:
            written = configuration.export_tree(connection, ANNA, folder)
            assert sorted(written) == sorted(tree.read(folder).files)
            assert configuration.export_tree(connection, ANNA, folder) == []
            with pytest.raises(ConfigError, match="changes nothing"):
                configuration.import_tree(connection, ANNA, tmp_path / case, "The same")
        assert (folder / CARRIERS).read_bytes() == text.encode()
        assert tree.read(folder).hash == version_tree(office, version.number)
        with office.engine.begin() as connection:
            configuration.rollback(connection, ANNA, configuration.SHIPPED)
            taken = configuration.import_tree(connection, BEN, tmp_path / case, "Of the checkout")
            configuration.publish(connection, BEN, taken.number)
        assert version_tree(office, taken.number) == version_tree(office, version.number)
        with Runtime(office.url):
            assert (settings.config_dir() / CARRIERS).read_bytes() == text.encode()
    (folder / "lookups/drones.csv").unlink()  # what was added can be removed, what is shipped cannot
    with office.engine.begin() as connection:
        gone = configuration.import_tree(connection, BEN, folder, "Without drones")
        configuration.publish(connection, BEN, gone.number)
        assert configuration.text(connection, "lookups/drones.csv") is None


def test_a_checkout_with_other_line_ends_differs_in_what_was_changed_alone(office: Office, tmp_path: Path):
    """As git on Windows makes one, with a mark at the beginning as its editors put it."""
    folder = shutil.copytree(office.base, tmp_path / "checkout")
    for path in tree.paths(folder):
        path.write_bytes(tree.MARK + path.read_bytes().replace(b"\n", b"\r\n"))
    with office.engine.begin() as connection, pytest.raises(ConfigError, match="changes nothing"):
        configuration.import_tree(connection, ANNA, folder, "The same in another room")
    text = (folder / CARRIERS).read_bytes().decode() + DRONE.replace("\n", "\r\n")
    (folder / CARRIERS).write_bytes(text.encode())
    with office.engine.begin() as connection:
        taken = configuration.import_tree(connection, ANNA, folder, "The drone carrier")
        assert taken.files == (CARRIERS,)
        configuration.publish(connection, ANNA, taken.number)
    assert "Drone" in office.carriers()
    header = office.shipped(CARRIERS).index("tims_carrier,")
    shipped = office.shipped(CARRIERS)
    deploy(office, CARRIERS, shipped[:header] + "# More words about carriers.\n" + shipped[header:])
    assert "Drone" in office.carriers()
    found = office.status()
    assert (found.number, found.conflicts) == (taken.number + 1, ())
    with office.engine.begin() as connection:
        text_now = configuration.text(connection, CARRIERS)
    assert text_now == ("\ufeff" + (office.shipped(CARRIERS) + DRONE).replace("\n", "\r\n"))


def version_tree(office: Office, number: int) -> str:
    with office.engine.connect() as connection:
        statement = sa.select(ops_config_version.c.tree).where(ops_config_version.c.id == number)
        return connection.execute(statement).scalar_one()


def test_a_tree_that_is_not_whole_or_leads_elsewhere_is_not_taken_in(office: Office, tmp_path: Path):
    def take(folder: Path) -> None:
        with office.engine.begin() as connection:
            configuration.import_tree(connection, ANNA, folder, "A checkout")

    with pytest.raises(ConfigError, match="is no folder"):
        take(tmp_path / "nowhere")
    with pytest.raises(ConfigError, match=r"not a whole configuration: it lacks accounts\.yaml"):
        take(tmp_path)
    folder = shutil.copytree(office.base, tmp_path / "checkout")
    (folder / CARRIERS).write_bytes(b"a,b\n\xff,c\n")
    with pytest.raises(DraftRefused, match=r"carriers\.csv:2: this is not UTF-8"):
        take(folder)
    (folder / CARRIERS).unlink()
    (folder / CARRIERS).symlink_to("/etc/passwd")
    with pytest.raises(ConfigError, match="a link to another place"):
        take(folder)
    (folder / CARRIERS).unlink()
    with (folder / CARRIERS).open("wb") as file:
        file.truncate(tree.MOST_BYTES * 100)
    with pytest.raises(DraftRefused, match="are allowed"):
        take(folder)
    shutil.copy(office.base / CARRIERS, folder / CARRIERS)
    (folder / "console.yaml").write_text("roles: {Viewer: [analyst]}\n")
    with pytest.raises(DraftRefused, match=r"console\.yaml comes with the code only"):
        take(folder)
    assert office.rows("config_version") == 0


def test_an_export_follows_no_link(office: Office, tmp_path: Path):
    outside = tmp_path / "outside"
    outside.mkdir()
    folder = tmp_path / "export"
    folder.mkdir()
    (folder / "lookups").symlink_to(outside)
    with pytest.raises(ConfigError, match="a link to another place"), office.engine.begin() as connection:
        configuration.export_tree(connection, ANNA, folder)
    assert list(outside.iterdir()) == []


# ---- the command line ----------------------------------------------------------------------------------------------


def test_mapping_check_looks_at_what_is_in_force_or_at_what_it_is_told(
    office: Office, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("AIRFLOW_CONN_CROSSDOCK", office.url)
    monkeypatch.setattr(cli.context, "who", lambda: "anna")

    def check(*words: str, code: int = 0) -> str:
        done = CliRunner().invoke(cli.app, ["mapping", "check", *words])
        if isinstance(done.exception, ConfigError):
            assert code == 2
            return str(done.exception)
        assert done.exit_code == code, done.output
        return " ".join(done.output.split())

    assert "Looked at: the shipped files, which are in force." in check()
    office.publish({CARRIERS: office.shipped(CARRIERS) + DRONE})
    assert "Looked at: version 1, which is in force." in check()
    holds = "mappings/holds.yaml"
    proposed = office.propose({holds: office.shipped(holds).replace("How a", "How any")})
    assert f"Looked at: what version {proposed.number} changes, with version 1" in check(
        "--version", str(proposed.number)
    )
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text(office.shipped(holds).replace("target: OrderStatus", "target: OrderStates"))
    found = check(f"{holds}={wrong}", code=2)
    assert "OrderStates" in found
    assert "with version 1, which is in force" in found
    assert "is no name" in check(f"no file={wrong}", code=2) or "nothing reads" in check(f"no file={wrong}", code=2)
    assert "no version 77" in check("--version", "77", code=2)
    assert "exclude each other" in check("--version", "1", "--files", str(office.base), code=2)
    assert "is no configuration" in check("--files", str(tmp_path), code=2)
    checkout = shutil.copytree(office.base, tmp_path / "checkout")
    shutil.copy(wrong, checkout / holds)
    assert "OrderStates" in check("--files", str(checkout), code=2), "the files of a checkout"
    assert json.loads(CliRunner().invoke(cli.app, ["mapping", "check", "--json"]).output) == [], "not of a checkout"
    assert check(), "what is in force is right"
    shutil.copy(wrong, office.base / holds)
    assert "OrderStates" in check(code=2), "a shipped file that nobody replaces is in force with its mistake"


def test_the_command_line_does_the_same(office: Office, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("AIRFLOW_CONN_CROSSDOCK", office.url)
    monkeypatch.setattr(cli.context, "who", lambda: "anna")
    new = tmp_path / "new.csv"
    new.write_text(office.shipped(CARRIERS) + DRONE)

    def run(*words: str, code: int = 0, **more: object) -> str:
        done = CliRunner().invoke(cli.app, ["config", *words], **more)  # type: ignore[arg-type]
        if isinstance(done.exception, ConfigError):
            assert code == 2
            return str(done.exception)
        assert done.exit_code == code, done.output
        return done.output

    assert "the shipped files" in run("status")
    assert "no version" in run("log")
    assert "needs a message" in run("publish", f"{CARRIERS}={new}", code=2)
    assert "NAME=FILE" in run("publish", CARRIERS, "-m", "x", code=2)
    assert "cannot be read" in run("publish", f"{CARRIERS}={tmp_path / 'none'}", "-m", "x", code=2)
    output = run("publish", f"{CARRIERS}={new}", "-m", "The drone", "--yes")
    assert "Shipments: documents: 0 of 0 records of Shipments would come to another document" in output
    assert "Version 1 is in force (lookups/carriers.csv)" in output
    assert "Drone" in office.carriers()
    assert "version 1 of anna" in run("status")
    assert json.loads(run("log", "--json"))[0]["message"] == "The drone"
    assert "+Drone,Fast,Drone,Air" in run("show", "1")
    assert "+Drone,Fast,Drone,Air" in run("diff")
    assert "changes nothing" in run("publish", f"{CARRIERS}=-", "-m", "x", code=2, input=new.read_text())
    assert "Version 2 is in force" in run("rollback", "0")
    assert "Drone" not in office.carriers()
    assert "Nothing differs." in run("diff", "2", "0")
    text = office.shipped(POSTING).replace("marketplace_tax: memo\n", "marketplace_tax: wash\n")
    assert "crossdock config consent 3" in run("publish", f"{POSTING}=-", "-m", "Tax", "--yes", input=text)
    assert "second person" in run("consent", "3", code=2)
    assert "posting.yaml needs a second person's consent" in run("status")
    monkeypatch.setattr(cli.context, "who", lambda: "ben")
    assert "nobody is there to agree" in run("consent", "3", "--json", code=2)
    assert json.loads(run("consent", "3", "--json", "--yes"))["state"] == "in force"
    assert "crossdock config publish 4" in run("publish", f"{CARRIERS}={new}", "-m", "Again", "--propose")
    assert "is withdrawn" in run("withdraw", "4")
    folder = tmp_path / "out"
    assert str(json.loads(run("export", str(folder), "--json"))["folder"]) == str(folder)
    (folder / CARRIERS).write_text(new.read_text())
    assert "Version 5 is in force" in run("import", str(folder), "-m", "From git", "--yes")
    assert "Drone" in office.carriers()
    (folder / CARRIERS).write_text(office.shipped(CARRIERS))  # a checkout from before
    output = run("import", str(folder), "-m", "From an older branch", "--propose")
    assert f"another text in {folder}: {CARRIERS} (version 5 of ben)." in output
    assert POSTING not in output


def test_the_command_line_shows_what_would_change_and_asks(
    office: Office, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("AIRFLOW_CONN_CROSSDOCK", office.url)
    monkeypatch.setattr(cli.context, "who", lambda: "anna")
    monkeypatch.setattr("crossdock.cli.config._attended", lambda: True)
    new = tmp_path / "new.csv"
    new.write_text(office.shipped(CARRIERS) + DRONE)

    def publish(answer: str) -> Any:
        return CliRunner().invoke(
            cli.app, ["config", "publish", f"{CARRIERS}={new}", "-m", "The drone"], input=answer
        )  # fmt: skip

    no = publish("n\n")
    assert "would come to another document" in no.output
    assert "Publish it?" in no.output
    assert "Nothing was published" in str(no.exception)
    assert "Drone" not in office.carriers()
    bound = settings.console()
    large = msgspec.structs.replace(bound, large=settings.LargeChange(0, 0))
    monkeypatch.setattr(settings, "console", lambda: large)
    wrong = publish("7\n")
    assert "This is a large change." in wrong.output
    assert "was not confirmed" in str(wrong.exception)
    assert "Drone" not in office.carriers()
    assert "is in force" in publish("0\n").output
    assert "Drone" in office.carriers()
