"""Documents that no frame can hold join the others as dead rows."""

from __future__ import annotations

import pandas as pd

from crossdock.flows import unreadable
from crossdock.mapping import problems
from crossdock.mapping.frames import ROW
from crossdock.mapping.parse import read_documents


def test_a_document_that_cannot_be_read_is_a_dead_row_with_its_reasons_and_the_values_that_it_must_have():
    parsed = read_documents([b'{"OrderItems": 5}', b'{"ChannelAdvisorOrderID": 7}'], "channel_advisor", "Order",
                            lines="OrderItems")  # fmt: skip
    assert parsed.kept == [1]
    header = pd.DataFrame(
        {"key": ["7"], "state": ["staged"], "cancelled": [True], "Notes": ["x"], "Count": [3]}
    ).astype({"key": "str"})
    joined, found = unreadable.joined(header, problems.empty(), parsed, ["broken", "7"], cancelled=False)
    assert joined["key"].tolist() == ["7", "broken"]
    assert joined["state"].tolist() == ["staged", "dead"]
    assert joined["cancelled"].tolist() == [True, False]
    assert joined["cancelled"].dtype == bool
    assert pd.isna(joined["Notes"].iloc[1])
    assert joined["Count"].tolist() == [3, pd.NA], "a whole number that is missing is none"
    assert set(found[ROW]) == {1}
