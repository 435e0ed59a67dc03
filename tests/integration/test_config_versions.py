"""Versions of the configuration: published, consented to, taken back, merged with what a deploy ships, and used by the
next task. With a real Postgres and real files."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import sqlalchemy as sa

from crossdock import settings
from crossdock.config import BESIDE, tree
from crossdock.errors import ConfigError, NotAllowed
from crossdock.mapping import lookups
from crossdock.rules import price_settings
from crossdock.runtime import Runtime
from crossdock.services import configuration
from crossdock.services.configuration import DraftRefused
from crossdock.services.people import Person, Role, begin
from crossdock.settings import PROJECT
from crossdock.store import batches, database
from integration.environment import fresh_database

ANNA, BEN = (Person(name, frozenset({Role.ANALYST}), "10.0.0.7") for name in ("anna", "ben"))
CARRIERS, PRICES, POSTING = "lookups/carriers.csv", "prices.yaml", "posting.yaml"
DRONE = "Drone,Fast,Drone,Air\n"


class Office:
    """A database, the shipped files of a machine, and people who change configuration."""

    def __init__(self, url: str, base: Path) -> None:
        self.url, self.base = url, base
        self.engine = database.engine(url)

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
        with self.engine.connect() as connection:
            return list(
                connection.execute(sa.text("SELECT who, action, subject, detail, address FROM ops.audit ORDER BY id"))
            )


@pytest.fixture
def office(
    postgres_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> Iterator[Office]:
    base = shutil.copytree(PROJECT / "include" / "config", tmp_path / "base")
    monkeypatch.setenv("CROSSDOCK_CONFIG_DIR", str(base))
    monkeypatch.setenv("CROSSDOCK_RUN_DIR", str(tmp_path / "run"))
    with fresh_database(postgres_url, "config_versions") as url:
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


@pytest.mark.parametrize("path", BROKEN)
def test_a_broken_draft_is_refused_with_file_and_line_and_nothing_is_written(office: Office, path: str):
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
    assert (office.rows("config_version"), office.rows("config_file"), office.rows("config_text")) == (0, 0, 0)
    assert office.audit() == []


def test_every_file_that_can_be_replaced_is_held_against_something(office: Office):
    """A text that is no table and no settings is refused in each of them."""
    with office.engine.begin() as connection:
        every = [one.path for one in configuration.files(connection) if not one.refused]
        assert len(every) > 40
        for path in every:
            found = configuration.check(connection, {path: "nonsense: [\n"})
            assert [one for one in found if one.path.startswith(path.split("/")[0])], path


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


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_content_is_refused_in_words(office: Office, case: str):
    path, text, message = HOSTILE[case]
    with pytest.raises(DraftRefused) as caught:
        office.propose({path: text})
    assert message in str(caught.value)
    assert office.rows("config_version") == 0


@pytest.mark.parametrize("message", ["", "  \n ", "\0", "x" * 2001])
def test_a_version_says_why(office: Office, message: str):
    with pytest.raises(ConfigError, match="message"), office.engine.begin() as connection:
        configuration.propose(connection, ANNA, {CARRIERS: office.shipped(CARRIERS) + DRONE}, message)


def test_the_database_refuses_a_change_of_a_text_that_a_version_has(office: Office):
    office.publish({CARRIERS: office.shipped(CARRIERS) + DRONE})
    for statement in ("UPDATE ops.config_text SET content = ''", "DELETE FROM ops.config_text"):
        with pytest.raises(sa.exc.ProgrammingError, match="permission denied"), office.engine.begin() as connection:
            connection.execute(sa.text(statement))
