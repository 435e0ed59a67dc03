"""Words of a YAML file are changed as its text, and a form shows what the file and its remarks say."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossdock.config import forms, yaml_text
from crossdock.config.forms import Field
from crossdock.config.nodes import plain
from crossdock.errors import ConfigError
from crossdock.settings import base_dir
from crossdock.watch import schemas

FILES = sorted(path for path in base_dir().rglob("*.yaml") if "mappings" not in path.parts)


def relative(path: Path) -> str:
    return path.relative_to(base_dir()).as_posix()


def read(name: str) -> str:
    return (base_dir() / name).read_text()


def form(name: str, text: str | None = None) -> Field:
    schema = schemas.of(name)
    assert schema
    return forms.form(text or read(name), schema.kind)


def every(one: Field) -> Iterator[Field]:
    yield one
    for inner in one.fields:
        yield from every(inner)


def at(one: Field, *place: str | int) -> Field:
    return next(found for found in every(one) if found.place == place)


def set_(name: str, place: tuple[str | int, ...], value: Any, text: str | None = None) -> str:
    schema = schemas.of(name)
    assert schema
    kind = forms.kind_at(schema.kind, place)
    return yaml_text.changed(text or read(name), place, value, as_text=forms.is_text(kind))


@pytest.mark.parametrize("path", FILES, ids=relative)
def test_every_value_of_a_shipped_file_stays_byte_by_byte(path: Path) -> None:
    """What stands there, written again, changes nothing."""
    text = path.read_bytes().decode()
    shown = 0
    for one in every(form(relative(path), text)):
        if one.form in ("value", "list") and one.line and len(one.place) <= 4:
            again = one.value if one.form == "value" else list(one.entries)
            assert set_(relative(path), one.place, again, text) == text, one.place
            shown += 1
    assert shown


@pytest.mark.parametrize("path", FILES, ids=relative)
def test_a_form_knows_every_word_of_a_shipped_file(path: Path) -> None:
    for one in every(form(relative(path))):
        assert one.why_text != "The file has no such word.", one.place


def lines(before: str, after: str) -> tuple[list[str], list[str]]:
    """The lines that have gone, and those that have come."""
    old, new = before.splitlines(), after.splitlines()
    return [line for line in old if line not in new], [line for line in new if line not in old]


@pytest.mark.parametrize(
    ("name", "place", "value", "gone", "come"),
    [
        ("prices.yaml", ("defaults", "margin"), "52", ["  margin: 48"], ["  margin: 52"]),
        ("prices.yaml", ("defaults", "step"), "0.05", [], ["  step: 0.05"]),
        ("prices.yaml", ("defaults", "charm"), ["0.45", "0.99"], ["  charm: [0.45, 0.95]"], ["  charm: [0.45, 0.99]"]),
        ("prices.yaml", ("categories", "Toys", "margin"), "40", [], ["  Toys:", "    margin: 40"]),
        ("prices.yaml", ("categories", "Vouchers", "most"), "120",
         ['  "Vouchers": {margin: 0, map: 100, charm: []}'],
         ['  "Vouchers": {margin: 0, map: 100, charm: [], most: 120}']),
        ("prices.yaml", ("defaults", "charm_from"), None, ["  charm_from: 4.00"], []),
        ("flows.yaml", ("orders", "stale_minutes"), "10", ["orders: {}"], ["orders: {stale_minutes: 10}"]),
        ("flows.yaml", ("defaults", "start"), "2011-01-01", ["  start:"], ["  start: 2011-01-01"]),
        ("stock_offers.yaml", ("defaults", "cap"), "10", ["  cap:"], ["  cap: 10"]),
        ("sites.yaml", ("sites", "587", "country"), "NO", [], ["    country: 'NO'"]),
        ("sites.yaml", ("defaults", "prepaid"), "yes", ["  prepaid: no"], ["  prepaid: yes"]),
        ("accounts.yaml", ("Clearing", "Amazon US"), "1101", [], ["  Amazon US: 1101"]),
        ("posting.yaml", ("options", "marketplace_tax"), "wash",
         ["  marketplace_tax: memo"], ["  marketplace_tax: wash"]),
    ],
)  # fmt: skip
def test_a_change_touches_its_own_lines(name: str, place: tuple, value: Any, gone: list[str], come: list[str]) -> None:
    assert lines(read(name), set_(name, place, value)) == (gone, come)


def test_the_last_word_of_a_section_leaves_an_empty_one() -> None:
    text = "a:\n  b: 1  # why\nc: 2\n"
    assert yaml_text.changed(text, ("a", "b"), None) == "a: {}  # why\nc: 2\n"
    assert yaml_text.changed("a: {b: 1, c: 2}\n", ("a", "b"), None) == "a: {c: 2}\n"
    assert yaml_text.changed("a: {b: 1, c: 2}\n", ("a", "c"), None) == "a: {b: 1}\n"


def test_entries_of_a_list_stay_with_their_remarks() -> None:
    text = "names:\n  # the first\n  - one\n  - two  # of them\n  - three\nmore: 1\n"
    changed = yaml_text.changed(text, ("names",), ["one", "two", "four: 4", "three"], as_text=True)
    assert changed == "names:\n  # the first\n  - one\n  - two  # of them\n  - 'four: 4'\n  - three\nmore: 1\n"
    shorter = yaml_text.changed(text, ("names",), ["two", "three"], as_text=True)
    assert shorter == "names:\n  # the first\n  - two  # of them\n  - three\nmore: 1\n"
    assert plain_of(yaml_text.changed(text, ("names",), [])) == {"names": [], "more": 1}


def plain_of(text: str) -> Any:
    root = yaml_text.root(text)
    assert root
    return plain(root)


def test_what_an_alias_shares_is_changed_by_hand() -> None:
    text = "ledger_invoices: &ledger\n  stale_minutes: 1560\nledger_payments: *ledger\n"
    with pytest.raises(ConfigError, match="by an alias"):
        set_("flows.yaml", ("ledger_payments", "stale_minutes"), "10", text)
    assert at(form("flows.yaml", text), "ledger_invoices").why_text == "Others are as this one, by an alias."
    assert at(form("flows.yaml", text), "ledger_payments").why_text == "As ledger_invoices, by an alias."


@pytest.mark.parametrize("text", ["a: |\n  long\n  text\n", "a: [1, {b: 2}]\n", "a: {b: 1}\n"])
def test_what_is_no_single_value_is_changed_by_hand(text: str) -> None:
    with pytest.raises(ConfigError):
        yaml_text.changed(text, ("a",), "1")


def test_no_yaml_is_told_with_its_line() -> None:
    with pytest.raises(ConfigError, match="Line 3 is wrong"):
        yaml_text.changed("a: 1\nb: [\n", ("a",), "2")


TEXTS = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), min_size=1, max_size=20)


@given(TEXTS, st.booleans())
def test_any_text_is_read_as_it_was_written(value: str, flow: bool) -> None:
    text = "a: {b: 1, c: x}  # remark\n" if flow else "a:\n  b: 1  # remark\n  c: x\n"
    try:
        changed = yaml_text.changed(text, ("a", "c"), value, as_text=True)
    except ConfigError:  # a character that no YAML can hold as it is
        assert any(ord(one) < 0xA0 or 0xFFFE <= ord(one) <= 0xFFFF or one == "\ufeff" for one in value)
        return
    assert plain_of(changed) == {"a": {"b": 1, "c": value}}
    assert "# remark" in changed


def test_the_form_says_what_the_remarks_say() -> None:
    shown = form("prices.yaml")
    assert at(shown, "defaults", "margin").help.startswith("percent of the selling price that is not cost; the item's")
    assert at(shown, "approval", "change").help.startswith("percent of the price at the channel")
    assert at(form("flows.yaml"), "defaults", "sweep_days").help == "How far back the nightly sweep reads."
    guests = at(form("sites.yaml"), "defaults", "guests").help
    assert "per_order (a customer for each order) or account (the site's guest_account)" in guests
    assert at(form("stock_offers.yaml"), "defaults", "buffer").help == "units that are held back"
    assert forms.intro(read("prices.yaml")).startswith("What an item costs on the channels")
    assert "margin " not in forms.intro(read("prices.yaml")).splitlines()[0]


def test_the_form_says_what_to_write() -> None:
    shown = form("sites.yaml")
    rule = at(shown, "defaults", "import_rule")
    assert (rule.form, rule.value, rule.choices) == ("value", "hold", ("hold", "always", "only_paid"))
    assert at(shown, "sites", "640", "import_rule").line == 0
    assert at(shown, "sites").takes == "the number of a site"
    assert at(shown, "defaults", "prepaid").choices == ("yes", "no")
    assert {one.name for one in at(shown, "sites").new[0].fields} >= {"channel", "import_rule", "country"}
