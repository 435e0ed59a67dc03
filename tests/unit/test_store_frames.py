"""Frames on their way to COPY."""

from __future__ import annotations

import io

import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pytest

from crossdock.store import database
from crossdock.store.tables import stage_credit_memo


def test_a_frame_put_together_from_an_empty_one_and_another_is_written_as_it_is():
    empty = pd.DataFrame({"key": pd.Series([], dtype="str"), "refund_total": pd.Series([], dtype="Int64")})
    full = pd.DataFrame(
        {
            "key": pd.Series(["7000042", "7000047"], dtype="str"),
            "refund_total": pd.Series([483_800, None], dtype="Int64"),
        }
    )
    table = database._arrow(pd.concat([empty, full], ignore_index=True), stage_credit_memo)
    written = io.BytesIO()
    pa.csv.write_csv(table, written, pa.csv.WriteOptions(include_header=False))
    assert written.getvalue() == b'"7000042",48.3800\n"7000047",\n'


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("a\0b", "ab"),
        ("\0", ""),
        ("\\u0000", "\\u0000"),
        ("\\\0\\\\u0000\0\0\\", "\\\\\\u0000\\"),
        ("half\ud800", "half?"),
    ],
)
def test_json_for_the_database_holds_what_jsonb_can_and_stays_json(text: str, kept: str):
    assert database.from_json(database.to_json({text: [text, {"a": text}]})) == {kept: [kept, {"a": kept}]}
