"""Configuration is read in one way: every mistake has a file, a line, what is wrong and what to write instead."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Literal

import pytest
from msgspec import Meta, field

from crossdock import config
from crossdock.config import SiteID, Struct, Text, Written
from crossdock.errors import ConfigError


class Inner(Struct, frozen=True):
    channel: Text
    rule: Literal["hold", "always"] = "hold"
    share: Annotated[float, Meta(gt=0, le=1)] = 1.0
    price: Decimal | None = None

    def problems(self) -> Iterator[tuple[str, str]]:
        if self.rule == "always" and self.channel == "None":
            yield "rule", "None has no rule"


class Whole(Struct, frozen=True):
    count: Annotated[int, Meta(ge=1, le=500)]
    prepaid: bool = False
    start: datetime | None = None
    since: date | None = None
    names: tuple[Text, ...] = ()
    sites: dict[SiteID, Inner] = field(default_factory=dict)
    code: Written = ""
    codes: dict[str, Written | dict[str, Written]] = field(default_factory=dict)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "settings.yaml"


def findings(path: Path, text: str | bytes) -> list[str]:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return [f"{one.line}: {one.message}" for one in config.read(path, Whole).findings]


def test_a_file_becomes_typed_values(path: Path):
    path.write_text(
        "count: 5\nprepaid: yes\nstart: 2011-01-04\nsince: 2011-01-05\nnames: [a, b]\ncode: 0100\n"
        "codes: {Bank: 1000, Clearing: {US: 1101}}\nsites:\n  7: {channel: Seven, price: 0.10}\n  8: {channel: '8'}\n"
    )
    made = config.load(path, Whole)
    assert made == Whole(
        count=5, prepaid=True, start=datetime(2011, 1, 4, tzinfo=UTC), since=date(2011, 1, 5),
        names=("a", "b"), code="0100",
        sites={7: Inner("Seven", price=Decimal("0.10")), 8: Inner("8")},
        codes={"Bank": "1000", "Clearing": {"US": "1101"}},
    )  # fmt: skip
    assert str(made.sites[7].price) == "0.10"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        # names
        ("count: 5\ncuont: 6\n", "2: the file has no word 'cuont'; did you mean 'count'?"),
        ("prepaid: yes\n", "1: the file does not say its `count`; add a whole number from 1 to 500"),
        ("prepaid: yes\ncout: 5\n", "2: the file has no word 'cout'; did you mean 'count'?"),
        ("count: 5\nsites:\n  7: {chanel: X}\n", "3: sites.7 has no word 'chanel'; did you mean 'channel'?"),
        ("count: 5\nsites:\n  seven: {}\n", "3: sites has 'seven'; write the number of a site"),
        ("count: 5\nnames: [a]\ncount: 6\n", "3: 'count' stands here a second time; remove one of the two"),
        ("count: 5\nsites: {7: {channel: A}, 7: {channel: B}}\n", "2: '7' stands here a second time; remove one"),
        ("count: 5\n? [a]\n: 5\n", "2: the file has a word that is no text, and here is a list"),
        # types
        ("count: '5'\n", "1: count is '5'; write a whole number from 1 to 500, without quotes"),
        ("count: 501\n", "1: count is 501; write a whole number from 1 to 500"),
        ("count: 5.0\n", "1: count is 5.0; write a whole number from 1 to 500"),
        ("count: 0x10\n", "1: count is 0x10; write a whole number"),
        ("count: 1:30\n", "1: count is 1:30; write a whole number"),
        ("count: yes\n", "1: count is yes; write a whole number"),
        ("count:\n", "1: count is empty; write a whole number"),
        ("count: [5]\n", "1: count should be a whole number from 1 to 500, and here is a list"),
        ("count: 5\nprepaid: 'yes'\n", "2: prepaid is 'yes'; write yes or no, without quotes"),
        ("count: 5\nprepaid: maybe\n", "2: prepaid is 'maybe'; write yes or no"),
        ("count: 5\nstart: 2011-02-30\n", "2: start is 2011-02-30; write a day or a moment, such as"),
        ("count: 5\nstart: soon\n", "2: start is 'soon'; write a day or a moment, such as"),
        ("count: 5\nsince: 2011-02-30\n", "2: since is 2011-02-30; write a day such as 2011-01-31"),
        ("count: 5\nsince: 2011-01-31T09:00Z\n", "2: since is '2011-01-31T09:00Z'; write a day such as 2011-01-31"),
        ("count: 5\nnames: a\n", "2: names should be a list, each entry beginning with `-`, and here is 'a'"),
        ("count: 5\nnames:\n  - a\n  - no\n", "4: names.1 is no; put it in quotes to be a text: 'no'"),
        ("count: 5\nnames: ['']\n", "2: names.0 is ''; write a text"),
        ("count: 5\nsites: [7]\n", "2: sites should be `word: value` pairs, and here is a list"),
        ("count: 5\nsites: {7: x}\n", "2: sites.7 should be `word: value` pairs, and here is 'x'; its words are `ch"),
        (
            "count: 5\nsites: {7: {channel: A, rule: hodl}}\n",
            "2: sites.7.rule is 'hodl'; did you mean 'hold'? It",
        ),
        ("count: 5\nsites: {7: {channel: A, rule: xyz}}\n", "2: sites.7.rule is 'xyz'; write one of hold, always"),
        ("count: 5\nsites: {7: {channel: A, share: 1.5}}\n", "2: sites.7.share is 1.5; write a number"),
        ("count: 5\nsites: {7: {channel: A, share: .nan}}\n", "2: sites.7.share is .nan; write a number"),
        ("count: 5\nsites: {7: {channel: A, price: .inf}}\n", "2: sites.7.price is .inf; write a number"),
        ("count: 5\nsites: {7: {channel: A, price: '1'}}\n", "2: sites.7.price is '1'; write a number, without quotes"),
        ("count: 5\nsites:\n  7:\n    channel: None\n    rule: always\n", "5: sites.7: None has no rule"),
        ("", "1: the file does not say its `count`"),
        ("# nothing\n", "1: the file does not say its `count`"),
        ("- 5\n", "1: the file should be `word: value` pairs, and here is a list"),
        ("five\n", "1: the file should be `word: value` pairs, and here is 'five'"),
    ],
)
def test_each_mistake_is_told_with_its_line_and_what_to_write(path: Path, text: str, message: str):
    (found,) = findings(path, text)
    assert found.startswith(message)


def test_all_mistakes_of_a_file_are_told_at_once_in_the_order_of_its_lines(path: Path):
    found = findings(path, "count: many\nnames: [5]\nsites:\n  7: {chanel: A, rule: no}\nprepayd: yes\n")
    assert [one.partition(":")[0] for one in found] == ["1", "2", "4", "4", "5"]
    with pytest.raises(ConfigError) as caught:
        config.load(path, Whole)
    assert caught.value.message.splitlines()[0] == f"{path}:1: count is 'many'; write a whole number from 1 to 500."
    assert len(caught.value.message.splitlines()) == 5
    assert caught.value.do


def test_a_long_list_of_mistakes_is_cut_and_counted(path: Path):
    path.write_text("count: 5\n" + "".join(f"wrong{number}: 1\n" for number in range(50)))
    with pytest.raises(ConfigError) as caught:
        config.load(path, Whole)
    assert caught.value.message.splitlines()[-1] == "And 30 more."


@pytest.mark.parametrize(
    ("content", "line", "message"),
    [
        (b"count: 5\n\tprepaid: yes\n", 2, "the line begins with a tab. Indent it with spaces"),
        (b"sites:\n  7:\n\t channel: A\n", 3, "the line begins with a tab. Indent it with spaces"),
        (b"count: [\n", 2, "this is not YAML"),
        (b"count: 'x\n", 2, "this is not YAML"),
        (b"count: 5\n---\ncount: 6\n", 2, "this is not YAML: but found another document"),
        (b"count: 5\nnames: [\xfcber]\n", 2, "the byte 0xfc is not UTF-8. Save the file as UTF-8"),
        ("count: 5\n".encode("utf-16"), 1, "is not UTF-8. Save the file as UTF-8"),
        (b"count: 5\nnames: [\x00]\n", 2, "the character U+0000 stands here. Remove it"),
        (b"count: *five\n", 1, "found undefined alias"),
        (b"count: 5\nnames: &n [*n]\n", 2, "this holds itself by an alias"),
        (b"count: !!python/object:os.system 5\n", 1, "the tag !!python/object:os.system means nothing here"),
        (b"count: !!set {5}\n", 1, "the tag !!set means nothing here"),
        (b"count: 5\nnames: " + b"[" * 60 + b"]" * 60, 2, "this is nested too deep"),
        (b"count: 5\nnames: " + b"[" * 1_500 + b"]" * 1_500, 2, "this is nested too deep"),
        (b"count: 5\nnames: " + b"[" * 50_000 + b"]" * 50_000, 1, "this is nested too deep"),
        (b"- " * 50_000, 1, "this is nested too deep"),
    ],
)
def test_what_cannot_be_read_at_all_is_one_sentence_with_its_line(path: Path, content: bytes, line: int, message: str):
    path.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        config.load(path, Whole)
    assert str(caught.value).startswith(f"{path}:")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(f"{path}:{line}: ") or message.startswith("this is nested")


def test_aliases_that_explode_are_refused_at_once(path: Path):
    layers = ["count: 5", "a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    layers += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    path.write_text("\n".join(layers))
    with pytest.raises(ConfigError, match=r"yaml:\d+: this is more than 100,000 values, its aliases written out"):
        config.load(path, Whole)


def test_anchors_and_merges_are_read_where_they_are_meant(path: Path):
    path.write_text(
        "count: 5\nsites:\n  7: &seven {channel: A, rule: always}\n  8: *seven\n  9:\n    <<: *seven\n    channel: B\n"
    )
    sites = config.load(path, Whole).sites
    assert sites == {7: Inner("A", "always"), 8: Inner("A", "always"), 9: Inner("B", "always")}


def test_a_byte_order_mark_and_windows_line_ends_change_nothing(path: Path):
    path.write_bytes("\ufeffcount: 5\r\nnames: [ä]\r\n".encode())
    assert config.load(path, Whole) == Whole(5, names=("ä",))


def test_a_missing_file_and_a_folder_say_so(path: Path):
    with pytest.raises(ConfigError, match=r"settings\.yaml is missing\. Restore it"):
        config.load(path, Whole)
    path.mkdir()
    with pytest.raises(ConfigError, match=r"settings\.yaml cannot be read: Is a directory"):
        config.load(path, Whole)


def test_a_file_is_read_again_when_it_has_changed_and_only_then(path: Path):
    path.write_text("count: 5\n")
    first = config.read(path, Whole)
    assert config.read(path, Whole) is first
    path.write_text("count: 50\n")
    assert config.load(path, Whole).count == 50


def test_what_is_right_stays_readable_beside_what_is_wrong(path: Path):
    path.write_text("count: 5\nsites:\n  7: {channel: A}\n  8: {channel: A, rule: hodl}\n  9: {}\n")
    file = config.read(path, Whole)
    assert file.value == Whole(5, sites={7: Inner("A"), 8: Inner("A")})
    assert (file.has("sites", 7, "channel"), file.has("sites", 7, "rule")) == (True, False)
    assert [file.line("sites"), file.line("sites", 8, "rule"), file.line("sites", 9, "channel")] == [2, 4, 5]
