"""The registry of columns follows the mappings, and keeps the order in which documents were hashed."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from crossdock import settings
from crossdock.mapping import columns, editing, language
from crossdock.mapping.table import FieldMap
from crossdock.store import registry
from crossdock.store.tables import stage_invoice


@pytest.mark.parametrize("name", columns.registered())
def test_the_registry_is_what_the_mappings_say(name: str) -> None:
    mapping = language.load(name)
    assert columns.derived(mapping) == columns.registered()[name]
    assert list(columns.findings(mapping)) == []


def test_what_is_mapped_newly_goes_to_the_end_and_has_a_column_already() -> None:
    mapping = language.load("invoice")
    before = list(columns.registered()["invoice"]["fields"])
    more = replace(mapping, fields=(FieldMap("DueDate", 7, constant="2011-01-01"), *reversed(mapping.fields)))
    assert list(columns.derived(more)["fields"]) == [*before, "DueDate"]
    assert list(columns.findings(more)) == []


def test_a_field_without_a_column_is_named_until_it_has_one(monkeypatch: pytest.MonkeyPatch) -> None:
    mapping = language.load("invoice")
    own = {part: columns.registered()["invoice"][part] for part in (columns.FIELDS, columns.LINES)}
    without = {**columns.registered(), "invoice": own}
    monkeypatch.setattr(columns, "registered", lambda: without)
    more = replace(mapping, fields=(FieldMap("DueDate", 7, constant="2011-01-01"), *mapping.fields))
    (found,) = columns.findings(more)
    assert found.line == 7
    assert "crossdock db revision -m 'DueDate of invoice'" in found.message


def test_what_is_mapped_no_more_keeps_its_column_as_a_free_one() -> None:
    mapping = language.load("price")
    fewer = replace(mapping, fields=mapping.fields[1:])
    derived = columns.derived(fewer)
    assert mapping.fields[0].target not in derived["fields"]
    assert mapping.fields[0].target in derived["free fields"]
    assert list(columns.findings(fewer)) == []


@pytest.mark.parametrize("name", columns.registered())
def test_every_value_of_a_target_has_a_column(name: str) -> None:
    document = language.load(name).target_document
    assert set(document.leaves) <= columns.columns_of(name, "fields").keys()


def test_a_free_column_is_staged_and_hashed_once_a_mapping_fills_it(tmp_path: Path) -> None:
    paths = registry.fields(stage_invoice)
    assert "DueDate" in stage_invoice.c
    assert list(paths) == list(columns.registered()["invoice"]["fields"])
    root = shutil.copytree(settings.config_dir(), tmp_path / "config")
    file = root / "mappings" / "invoice.yaml"
    file.write_text(editing.add_line(file.read_text(), "fields", {"target": "DueDate", "from": "PostingDate"}))
    with settings.using(root):
        assert list(paths) == [*columns.registered()["invoice"]["fields"], "DueDate"]
        assert len(paths) == len([*paths])
    assert "DueDate" not in paths


def test_types_are_those_of_the_target_contract() -> None:
    order, product = columns.registered()["sales_order"], columns.registered()["product"]
    assert (order["fields"]["TotalAmount"], order["fields"]["PricesIncludeTax"]) == ("money", "boolean")
    assert (order["lines"]["Quantity"], order["fields"]["OrderDate"], product["fields"]["Images"]) == (
        "integer", "text", "json",
    )  # fmt: skip
