"""Changes of mapping files as text: every byte that was not meant stays, and what is taken back is as if never done."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from crossdock.config.nodes import plain
from crossdock.errors import ConfigError
from crossdock.mapping import editing
from crossdock.settings import PROJECT

SHIPPED = sorted((PROJECT / "include" / "config" / "mappings").glob("*.yaml"))
TEXTS = {path.stem: path.read_bytes().decode() for path in SHIPPED}


def content(text: str) -> Any:
    node = yaml.compose(text, Loader=yaml.CSafeLoader)
    assert node is not None
    return plain(node)


def lines_of(text: str) -> list[tuple[editing.Part, dict[str, Any]]]:
    whole = content(text)
    below = (whole.get("children") or {}).get("fields") or []
    return [("fields", one) for one in whole["fields"]] + [("children", one) for one in below]


def as_words(line: dict[str, Any]) -> dict[str, Any]:
    """A line as `editing` takes it."""
    words = dict(line)
    if "convert" in words:
        steps = words["convert"] if isinstance(words["convert"], list) else [words["convert"]]
        words["convert"] = [(one, None) if isinstance(one, str) else next(iter(one.items())) for one in steps]
    return words


EVERY_LINE = [(name, part, line["target"]) for name, text in TEXTS.items() for part, line in lines_of(text)]


@pytest.mark.parametrize(("name", "part", "target"), EVERY_LINE)
def test_a_word_taken_away_and_said_again_changes_no_byte(name: str, part: editing.Part, target: str):
    text = TEXTS[name]
    line = next(one for where, one in lines_of(text) if (where, one["target"]) == (part, target))
    for word, value in as_words(line).items():
        if word == "target":
            continue
        without = editing.change_line(text, part, target, {word: None})
        assert content(without) != content(text)
        assert editing.change_line(without, part, target, {word: value}) == text
        assert editing.change_line(text, part, target, {word: value}) == text


@pytest.mark.parametrize("name", TEXTS)
def test_a_line_removed_takes_only_its_own_rows(name: str):
    text = TEXTS[name]
    for part, line in lines_of(text):
        made = editing.remove_line(text, part, line["target"])
        kept, gone = made.splitlines(), text.splitlines()
        step = editing.splice(text, made)
        assert step.undone(made) == text
        if "fields: []" not in made[: step.start + 20][-40:]:
            at = next((at for at, (a, b) in enumerate(zip(kept, gone, strict=False)) if a != b), len(kept))
            count = len(gone) - len(kept)
            assert kept == gone[:at] + gone[at + count :], "other rows stay as they are"


@pytest.mark.parametrize("name", TEXTS)
def test_a_line_added_and_removed_changes_no_byte(name: str):
    text = TEXTS[name]
    parts: list[editing.Part] = ["fields", "children"] if "children" in content(text) else ["fields"]
    for part in parts:
        for target in ("Fresh", "ShippingAddress.Fresh"):
            words = {"target": target, "from": ["A.B", "C"], "convert": [("trim", None), ("shorten to", 5)]}
            made = editing.add_line(text, part, words)
            assert editing.remove_line(made, part, target) == text
            noted = editing.add_line(text, part, {**words, "note": "Why: because # it is."})
            assert editing.remove_line(noted, part, target) == text


@pytest.mark.parametrize("name", TEXTS)
@pytest.mark.parametrize("ends", ["\n", "\r\n"])
def test_a_file_saved_by_another_editor_is_changed_and_keeps_its_mark_and_line_ends(name: str, ends: str):
    """A byte order mark stands before the first word; the loader's places do not count it."""
    plain = TEXTS[name]
    text = editing.BYTE_ORDER_MARK + plain.replace("\n", ends)
    words = {"target": "Fresh", "from": ["A.B"]}
    changes: list[Any] = [
        lambda given: editing.add_line(given, "fields", words),
        lambda given: editing.add_rule(given, "fresh_rule"),
        lambda given: editing.set_not_sent(given, "Fresh", "Not now."),
        *(
            lambda given, part=part, line=line: editing.change_line(given, part, line["target"], {"note": "Why"})
            for part, line in lines_of(plain)
        ),
        *(
            lambda given, part=part, line=line: editing.remove_line(given, part, line["target"])
            for part, line in lines_of(plain)
        ),
    ]
    for change in changes:
        assert change(text) == editing.BYTE_ORDER_MARK + change(plain).replace("\n", ends)
    part, line = next(iter(lines_of(plain)))
    assert editing.line_text(text, part, line["target"]) == editing.line_text(plain, part, line["target"])


@pytest.mark.parametrize("name", TEXTS)
def test_rules_and_fields_not_sent_come_and_go_without_a_trace(name: str):
    text = TEXTS[name]
    assert editing.remove_rule(editing.add_rule(text, "fresh_rule"), "fresh_rule") == text
    assert editing.set_not_sent(editing.set_not_sent(text, "Fresh", "Not now: later."), "Fresh", None) == text


# ---- any texts, any changes ----------------------------------------------------------------------------------------

SCALARS = st.one_of(
    st.text(min_size=1, max_size=20),
    st.sampled_from(["yes", "no", "null", "~", "0x10", "1.50", "2011-01-04", "- a", "a: b", "#", "{a}", "[", "*x", "&y",
                     "!z", "a #b", " a", "a ", "\u202e", "\u2028", "|", ">", "'", '"', "=", "<<", "@", "`", "%", "🙂"]),
)  # fmt: skip
VALUES = {
    "from": st.one_of(SCALARS, st.lists(SCALARS, min_size=1, max_size=3)),
    "rule": SCALARS,
    "convert": st.lists(
        st.tuples(SCALARS, st.one_of(st.none(), SCALARS, st.integers(-5, 500))), min_size=1, max_size=3
    ),
    "lookup": SCALARS,
    "missing": st.sampled_from(["problem", "default"]),
    "default": st.one_of(SCALARS, st.integers(-(10**18), 10**18), st.booleans()),
    "constant": st.one_of(SCALARS, st.integers(), st.booleans()),
    "required": st.sampled_from([True, False, "later"]),
    "note": SCALARS,
}
WORDS = st.fixed_dictionaries({}, optional=VALUES)


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_random_changes_and_their_inverses_restore_every_byte(data: st.DataObject):
    text = before = TEXTS[data.draw(st.sampled_from(sorted(TEXTS)))]
    if data.draw(st.booleans()):
        text = before = text.replace("\n", "\r\n")
    if data.draw(st.booleans()):
        text = before = text.rstrip("\r\n")
    done: list[editing.Splice] = []
    for _ in range(data.draw(st.integers(1, 5))):
        held = lines_of(text)
        what = data.draw(st.sampled_from(["add", "change", "remove"] if held else ["add"]))
        old = content(text)
        if what == "add":
            words = {"target": data.draw(SCALARS), **data.draw(WORDS)}
            if not words["target"].strip() or any(one["target"] == words["target"] for _, one in held):
                continue
            made = editing.add_line(text, "fields", words)
            (new,) = [one for one in content(made)["fields"] if one["target"] == words["target"]]
            assert set(new) == {word for word, value in words.items() if value not in ("", [])}
        else:
            part, line = data.draw(st.sampled_from(held))
            if what == "remove":
                made = editing.remove_line(text, part, line["target"])
                assert len(lines_of(made)) == len(held) - 1
            else:
                words = data.draw(WORDS)
                made = editing.change_line(text, part, line["target"], words)
                (now,) = [one for where, one in lines_of(made) if (where, one["target"]) == (part, line["target"])]
                for word, value in words.items():
                    if isinstance(value, (str, bool, int)):
                        assert now[word] == value
                        assert type(now[word]) is type(value)
                for word in line.keys() - words.keys():
                    assert now[word] == line[word]
        for word in old.keys() - {"fields", "children"}:
            assert content(made)[word] == old[word]
        comments = [row.strip() for row in text.splitlines() if row.strip().startswith("#")]
        assert [row.strip() for row in made.splitlines() if row.strip().startswith("#")] == comments
        done.append(editing.splice(text, made))
        assert done[-1].applied(text) == made
        text = made
    for step in reversed(done):
        text = step.undone(text)
    assert text == before


# ---- ways in which people write ------------------------------------------------------------------------------------


def test_what_a_person_wrote_in_another_way_keeps_it():
    text = (
        "mapping: M  # the title\n"
        "fields:\n"
        "- target: A   # first\n"
        "  from:\n"
        "    - x   # one\n"
        "    - y\n"
        "  note: >\n"
        "    long\n"
        "    words\n"
        "\n"
        "# between\n"
        "- {target: B,   from: z}   # second\n"
    )
    made = editing.change_line(text, "fields", "A", {"note": "short"})
    assert made == text.replace("note: >\n    long\n    words\n", "note: short\n")
    made = editing.change_line(text, "fields", "A", {"lookup": "codes"})
    assert made == text.replace("    - y\n", "    - y\n  lookup: codes\n")
    made = editing.change_line(text, "fields", "B", {"from": "w", "default": "0"})
    assert made == text.replace("{target: B,   from: z}", '{target: B,   from: w, default: "0"}')
    made = editing.add_line(text, "fields", {"target": "C", "constant": True})
    assert made == text + "- {target: C, constant: yes}\n"
    assert editing.remove_line(text, "fields", "B").endswith("# between\n")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("fields: [{target: A, from: x}]\n", "stands in one line"),
        ("fields:\n  - &a {target: A, from: x}\n  - {target: B, <<: *a}\n", "anchor or a tag"),
        ("fields:\n  - {target: A, from: x\n", "no YAML"),
        ("- a\n", "no mapping file"),
        ("mapping: M\n", "has no `fields`"),
        ("fields:\n  - from: x\n", "no `target`"),
    ],
)
def test_what_cannot_be_changed_safely_is_left_to_a_person(text: str, words: str):
    with pytest.raises(ConfigError, match=words) as raised:
        editing.change_line(text, "fields", "A", {"from": "y"})
    assert raised.value.do


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda text: editing.add_line(text, "fields", {"target": "Notes", "from": "x"}), "mapped already"),
        (lambda text: editing.remove_line(text, "fields", "Nots"), "is not mapped"),
        (lambda text: editing.add_line(text, "fields", {"from": "x"}), "without a target"),
        (lambda text: editing.change_line(text, "fields", "Notes", {"form": "x"}), "no word 'form'"),
        (lambda text: editing.change_line(text, "fields", "Notes", {"default": 1.5}), "a text, a whole number"),
        (lambda text: editing.remove_rule(text, "nobody"), "not among the rules"),
    ],
)
def test_a_change_that_makes_no_sense_is_refused_in_words(change: Any, words: str):
    with pytest.raises(ConfigError, match=words):
        change(TEXTS["sales_order"])


def test_no_shipped_file_is_left_out():
    assert len(SHIPPED) >= 11
    assert all(isinstance(path, Path) and "\r" not in TEXTS[path.stem] for path in SHIPPED)
