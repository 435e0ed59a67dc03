"""Every shipped configuration file: one misspelt word, one missing word that is needed, or one value of another type
is an error that names the file and the line."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from crossdock import flows
from crossdock.errors import ConfigError
from crossdock.settings import PROJECT
from crossdock.watch import configuration

SHIPPED = PROJECT / "include" / "config"
FILES = sorted(str(one.relative_to(SHIPPED)) for one in SHIPPED.rglob("*.yaml"))
Place = tuple[str, ...]

# Words that people choose: the names of sites, sources, categories, events, ...; ids are no words at all.
CHOSEN = {
    "accounts.yaml": ["*"],
    "catalog.yaml": ["sites.*"],
    "console.yaml": ["roles.*", "people.*"],
    "payouts.yaml": ["sources.*"],
    "posting.yaml": ["events.*"],
    "prices.yaml": ["categories.*", "sites.*"],
    "sites.yaml": ["sites.*"],
    "stock.yaml": ["sources.*"],
    "stock_offers.yaml": ["locations.*"],
    "checks/*": ["given.*.*"],  # columns of the flow, which the rules may or may not look at
}
NEEDED = {
    "accounts.yaml": ["Clearing.default"],
    "catalog.yaml": ["profile_currency"],
    "console.yaml": ["roles"],
    "flows.yaml": ["defaults", "defaults.*"],
    "intake.yaml": ["*"],
    "payouts.yaml": [f"sources.*.{word}" for word in ("channel", "format", "currency", "zone")],
    "posting.yaml": [
        "documents", "documents.*", "documents.*.nothing.*.*", "events.*.lines.*.amount", "events.*.lines.*.debit",
        *(f"documents.*.{word}" for word in ("type", "id", "date", "currency")),
        *(f"events.*.{word}" for word in ("document", "key", "description", "lines")),
    ],
    "prices.yaml": ["currency"],
    "sites.yaml": [],
    "stock.yaml": ["sources.*.format", "sources.*.zone", "sources.amazon_*.location"],
    "stock_offers.yaml": ["locations"],
    "systems.yaml": ["channel_advisor", "tims"],
    "tims.yaml": [],
    "tolerances.yaml": ["*", "*.*"],
    "checks/*": [
        "suite", "target", "key", "given", "contract", "head_rules", "contract.missing.*", "contract.too_long.*",
        *(f"{part}_rules.*.{word}" for part in ("head", "line") for word in ("expect", "column", "rule", "says", "do")),
    ],
    "mappings/*": [
        "mapping", "source", "target", "fields", "fields.*.target", "children.*", "children.fields.*.target",
    ],
}  # fmt: skip


def of_file(table: dict[str, list[str]], name: str) -> list[str]:
    return next((places for pattern, places in table.items() if fnmatchcase(name, pattern)), [])


def fits(place: Place, patterns: list[str]) -> bool:
    parts = (pattern.split(".") for pattern in patterns)
    return any(len(one) == len(place) and all(map(fnmatchcase, place, one)) for one in parts)


def nodes(node: yaml.Node, place: Place = ()) -> Iterator[tuple[Place, yaml.Node | None, yaml.Node]]:
    """(place, key or None, value) of everything in the file, aliases where they are written first."""
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            yield (*place, key.value), key, value
            yield from nodes(value, (*place, key.value))
    elif isinstance(node, yaml.SequenceNode):
        for position, value in enumerate(node.value):
            yield (*place, str(position)), None, value
            yield from nodes(value, (*place, str(position)))


TREES = {name: yaml.compose((SHIPPED / name).read_text("utf-8"), Loader=yaml.SafeLoader) for name in FILES}
EVERY = {
    name: list({(id(key), id(value)): (place, key, value) for place, key, value in nodes(tree)}.values())
    for name, tree in TREES.items()
}


@cache
def misspellings(name: str) -> list[tuple[Place, Any, Any]]:
    chosen = of_file(CHOSEN, name)
    return [(place, key, value) for place, key, value in EVERY[name] if key is not None and not fits(place, chosen)]


@cache
def removals(name: str) -> list[tuple[Place, Any, Any]]:
    needed = of_file(NEEDED, name)
    return [(place, key, value) for place, key, value in EVERY[name] if key is not None and fits(place, needed)]


def changed(text: str, start: int, end: int, new: str) -> str:
    return text[:start] + new + text[end:]


def of_another_type(node: yaml.Node, text: str) -> tuple[int, int, str]:
    """What to write in the place of a value: pairs for one value, one value for a list, a list for pairs."""
    start, end = node.start_mark.index, node.end_mark.index
    if isinstance(node, yaml.ScalarNode):
        return start, end, " {wrong: [type]}" if start == end else "{wrong: [type]}"
    new = "[wrong type]" if isinstance(node, yaml.MappingNode) else "wrong type"
    body = text[start:end]
    if body.startswith(("[", "{")):
        return start, end, new
    kept = len(body.rstrip()) - len(body)  # a block ends where the next thing begins
    return start, (end + kept if kept else end), new


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    made = tmp_path_factory.mktemp("config") / "config"
    shutil.copytree(SHIPPED, made)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CROSSDOCK_CONFIG_DIR", str(made))
        yield made


def error_text(folder: Path, name: str, text: str) -> list[str]:
    path = folder / name
    before = path.read_bytes()
    path.write_text(text, "utf-8")
    try:
        return configuration.check_file(name)
    finally:
        path.write_bytes(before)


def names_file_and_line(found: list[str], name: str, line: int) -> bool:
    return any(re.search(rf"{re.escape(name)}:{line}: ", one) for one in found)


few = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def test_every_file_has_somebody_who_looks_at_it_and_none_has_a_mistake(folder: Path):
    assert set(FILES) <= set(configuration.parts())
    assert configuration.check() == []


@few
@given(data=st.data())
def test_a_misspelt_word_is_an_error_with_file_and_line(folder: Path, data: st.DataObject):
    name = data.draw(st.sampled_from([one for one in FILES if misspellings(one)]))
    place, key, _ = data.draw(st.sampled_from(misspellings(name)), label="word")
    word = key.value
    at = data.draw(st.integers(0, len(word) - 1), label="at")
    replaced = [f"{word[:at]}Q{word[at + 1 :]}"] if len(word) > 2 else []  # of two letters one says nothing
    wrong = data.draw(st.sampled_from([word[:at] + "x" + word[at:], f"{word}s", *replaced]))
    text = (SHIPPED / name).read_text("utf-8")
    found = error_text(folder, name, changed(text, key.start_mark.index, key.end_mark.index, wrong))
    assert names_file_and_line(found, name, key.start_mark.line + 1), (place, wrong, found)


@few
@given(data=st.data())
def test_a_missing_word_that_is_needed_is_an_error_that_names_it(folder: Path, data: st.DataObject):
    name = data.draw(st.sampled_from([one for one in FILES if removals(one)]))
    place, _, _ = data.draw(st.sampled_from(removals(name)), label="word")
    text = (SHIPPED / name).read_text("utf-8")
    tree = yaml.compose(text, Loader=yaml.SafeLoader)
    taken_out(tree, place)
    found = error_text(folder, name, yaml.serialize(tree, allow_unicode=True))
    assert any(re.search(rf"{re.escape(name)}:[0-9]+: ", one) and place[-1] in one for one in found), (place, found)


def taken_out(tree: yaml.Node, place: Place) -> None:
    for part in place[:-1]:
        if isinstance(tree, yaml.MappingNode):
            tree = next(value for key, value in tree.value if key.value == part)
        else:
            tree = tree.value[int(part)]
    tree.value = [(key, value) for key, value in tree.value if key.value != place[-1]]


@few
@given(data=st.data())
def test_a_value_of_another_type_is_an_error_with_file_and_line(folder: Path, data: st.DataObject):
    name = data.draw(st.sampled_from(FILES))
    written = [one for one in EVERY[name] if one[1] is None or one[1].start_mark.index < one[2].start_mark.index]
    place, key, value = data.draw(st.sampled_from(written), label="value")
    text = (SHIPPED / name).read_text("utf-8")
    broken = changed(text, *of_another_type(value, text))
    found = error_text(folder, name, broken)
    lines = range((key or value).start_mark.line + 1, value.end_mark.line + 2)
    assert any(names_file_and_line(found, name, line) for line in lines), (place, found)


def test_a_flow_does_not_run_by_the_defaults_because_its_name_is_misspelt(folder: Path):
    path = folder / "flows.yaml"
    before = path.read_text("utf-8")
    path.write_text(before.replace("\nreturns:", "\nretruns:"), "utf-8")
    try:
        with pytest.raises(ConfigError, match=r"flows\.yaml:\d+: there is no flow 'retruns'; did you mean 'returns'\?"):
            flows.get("returns")
    finally:
        path.write_text(before, "utf-8")
    assert flows.get("returns").name == "returns"
