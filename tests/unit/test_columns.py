"""The registry of columns follows the mappings, and keeps the order in which documents were hashed."""

from __future__ import annotations

from dataclasses import replace

import pytest

from crossdock.mapping import columns, language
from crossdock.mapping.table import FieldMap


@pytest.mark.parametrize("name", columns.registered())
def test_the_registry_is_what_the_mappings_say(name: str) -> None:
    mapping = language.load(name)
    assert columns.derived(mapping) == columns.registered()[name]
    assert list(columns.findings(mapping)) == []


def test_what_is_mapped_newly_goes_to_the_end_and_is_named_until_it_has_a_column() -> None:
    mapping = language.load("invoice")
    before = list(columns.registered()["invoice"]["fields"])
    more = replace(mapping, fields=(FieldMap("DueDate", 7, constant="2011-01-01"), *reversed(mapping.fields)))
    assert list(columns.derived(more)["fields"]) == [*before, "DueDate"]
    (found,) = columns.findings(more)
    assert found.line == 7
    assert "crossdock db revision -m 'DueDate of invoice'" in found.message


def test_what_is_mapped_no_more_leaves_the_registry_with_the_next_revision() -> None:
    mapping = language.load("price")
    fewer = replace(mapping, fields=mapping.fields[1:])
    assert mapping.fields[0].target not in columns.derived(fewer)["fields"]
    assert list(columns.findings(fewer)) == []


def test_types_are_those_of_the_target_contract() -> None:
    order, product = columns.registered()["sales_order"], columns.registered()["product"]
    assert (order["fields"]["TotalAmount"], order["fields"]["PricesIncludeTax"]) == ("money", "boolean")
    assert (order["lines"]["Quantity"], order["fields"]["OrderDate"], product["fields"]["Images"]) == (
        "integer", "text", "json",
    )  # fmt: skip
