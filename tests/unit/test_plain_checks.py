"""What `plain` says of an expectation is what Great Expectations says of it, row by row."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from crossdock.steps import plain, suites
from crossdock.steps.suites import Rule

texts = st.one_of(
    st.none(),
    st.sampled_from(["", " ", "GB", "gb", "GBP", "x" * 61, "a\nb", "1", "🛒", "nan", "None"]),
    st.text(max_size=8),
)
numbers = st.one_of(st.none(), st.integers(-3, 3), st.integers(-(10**17), 10**17))
bounds = st.fixed_dictionaries(
    {},
    optional={
        "min_value": st.integers(-3, 0), "max_value": st.integers(0, 3), "strict_min": st.booleans(),
        "strict_max": st.booleans(),
    },
).filter(lambda one: "min_value" in one or "max_value" in one)  # fmt: skip
sets = st.lists(st.sampled_from(["GB", "GBP", "", "1"]), min_size=1, max_size=3, unique=True)
rules = st.one_of(
    st.tuples(st.just("column_values_to_be_between"), bounds),
    st.tuples(st.just("column_value_lengths_to_be_between"), bounds),
    st.tuples(st.just("column_values_to_be_in_set"), st.fixed_dictionaries({"value_set": sets})),
    st.tuples(st.just("column_values_to_not_be_in_set"), st.fixed_dictionaries({"value_set": sets})),
    st.tuples(
        st.just("column_values_to_match_regex"),
        st.fixed_dictionaries({"regex": st.sampled_from(["^GB", "P$", "^(?:GB|GBP)$", r"\S", r"^\d+$", "."])}),
    ),
    st.tuples(st.just("column_values_to_be_null"), st.just({})),
    st.tuples(st.just("column_values_to_not_be_null"), st.just({})),
)


def columns(values: list[Any], expect: str) -> list[pd.Series]:
    """The values in each type of column that a suite may look at."""
    if expect == "column_values_to_be_between":
        whole = [0 if one is None else one for one in values]
        return [pd.Series(values, dtype="Int64"), pd.Series(whole, dtype="int64")]
    return [pd.Series(values, dtype="str")]


def by_great_expectations(expect: str, arguments: dict[str, Any], values: pd.Series) -> list[int]:
    rule = Rule(expect, "one", "a rule", "one", "one", False, "It is wrong.", "Mend it.", arguments, 1)
    source = suites._context().data_sources.add_pandas("crossdock")
    suite = suites.load("sales_order")
    keys = np.array([str(number) for number in range(len(values))], dtype=object)
    _, failing = suites._validate(source, suite, "head", pd.DataFrame({"one": values}), (rule,), keys)
    return sorted(failing[0][1].tolist()) if failing else []


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(rules, st.data())
def test_both_refuse_the_same_rows(rule: tuple[str, dict[str, Any]], data: st.DataObject) -> None:
    expect, arguments = rule
    kind = numbers if expect == "column_values_to_be_between" else texts
    values = data.draw(st.lists(kind, min_size=1, max_size=12))
    for column in columns(values, expect):
        found = plain.refused(expect, arguments, column)
        assert found is not None
        assert np.flatnonzero(found).tolist() == by_great_expectations(expect, arguments, column)


@pytest.mark.parametrize(
    ("expect", "arguments", "values"),
    [
        ("column_values_to_be_between", {"min_value": 1, "mostly": 0.9}, pd.Series([1], dtype="int64")),
        ("column_values_to_be_between", {"min_value": "a"}, pd.Series(["b"], dtype="str")),
        ("column_values_to_be_between", {"min_value": 0.5}, pd.Series([1], dtype="int64")),
        ("column_values_to_be_in_set", {"value_set": [1]}, pd.Series([1], dtype="int64")),
        ("column_values_to_match_regex", {"regex": "1"}, pd.Series([1], dtype="int64")),
        ("column_values_to_be_unique", {}, pd.Series([1], dtype="int64")),
    ],
)
def test_what_it_cannot_say_is_left_to_great_expectations(
    expect: str, arguments: dict[str, Any], values: pd.Series
) -> None:
    assert plain.refused(expect, arguments, values) is None
