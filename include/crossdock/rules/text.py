"""Cleans text before any other rule reads it.

In: the frames of a batch. Out: the same frames with all text cleaned, and a warning for each value that held control
characters. Never: another change; two words joined. A tab or a break of line or page, with the blanks around it,
becomes one blank; in a street it stays a break, for the street has a second line (`addresses.spread_street`). Control
characters are removed (U+0000 to U+001F, U+007F to U+009F, zero-width characters, byte order marks, marks of writing
direction), and so are blanks around the value. The rest is brought into Unicode NFC. The original stays in raw.

None stays None; "" stays ""; a value of nothing but blanks becomes "".
"""

from __future__ import annotations

import re
import unicodedata

import numpy as np
import pandas as pd

from crossdock.mapping import problems
from crossdock.mapping.frames import Frames
from crossdock.mapping.registry import EVERYTHING, Columns, rule
from crossdock.rules.vectorize import TEXT

_BREAKS = "\t-\r\x85\u2028\u2029"  # tab, line feed, line and page breaks, carriage return
BREAK = re.compile(f"[{_BREAKS}]")
_BREAK_BETWEEN_BLANKS = re.compile(f" *[{_BREAKS}][ {_BREAKS}]*")
CONTROL = re.compile("[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f\u200b-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u206f\ufeff]")
_UNSEEN = re.compile(f"{BREAK.pattern}|{CONTROL.pattern}")
STREETS = frozenset(f"{a}.{line}" for a in ("ShippingAddress", "BillingAddress") for line in ("Line1", "Line2"))
NOTES_LENGTH = 500


def clean_text(text: str, between: str = " ") -> str:
    """One text in NFC without control characters and outer blanks; `between` replaces each break or tab."""
    if text.isascii() and text.isprintable():
        return text.strip()
    plain = _BREAK_BETWEEN_BLANKS.sub(between, CONTROL.sub("", text))
    return unicodedata.normalize("NFC", plain).strip()


@rule("clean_text", reads=[EVERYTHING], writes=[EVERYTHING])
def clean(frames: Frames, context: object) -> Columns:
    """Every text of the order in Unicode NFC, without control characters and outer blanks. A break or a tab becomes one
    blank; in a street it stays a break."""
    header, head_warnings = _clean(frames.header, np.arange(len(frames.header)), "")
    row = frames.lines["_row"].to_numpy(dtype=np.int64)
    lines, line_warnings = _clean(frames.lines, row, "OrderItems.")
    return Columns(header, lines, warnings=problems.concat([*head_warnings, *line_warnings]))


def _clean(frame: pd.DataFrame, row: np.ndarray, prefix: str) -> tuple[pd.DataFrame | None, list[pd.DataFrame]]:
    """The columns that change, and a warning for each value with invisible characters."""
    changed: dict[str, pd.Series] = {}
    warnings = []
    for name in frame.columns:
        if not isinstance(frame[name].dtype, pd.StringDtype):
            continue
        codes, different = pd.factorize(frame[name])
        before = different.tolist()
        between = "\n" if name in STREETS else " "
        after = [clean_text(v, between) for v in before]
        dirty = {n: found for n, v in enumerate(before) if (found := _UNSEEN.findall(v))}
        if after == before and not dirty:
            continue
        changed[name] = pd.Series(pd.array(after, dtype=TEXT).take(codes, allow_fill=True), index=frame.index)
        if dirty:
            at = np.flatnonzero(np.isin(codes, list(dirty)))
            found = [" ".join(f"U+{ord(c):04X}" for c in dirty[n]) for n in codes[at]]
            ids = _line_ids(frame, at) if prefix else ""
            warnings.append(
                problems.make(
                    row[at],
                    field=prefix + name,
                    rule="control_characters",
                    value=found,
                    message=[
                        f"{prefix}{name} held characters that nobody can see ({f}); a break or tab is a blank now, "
                        "others are gone."
                        for f in found
                    ],
                    do="Nothing; correct the text on the channel if it reads wrong.",
                    line=ids,
                )
            )
    return pd.DataFrame(changed) if changed else None, warnings


def _line_ids(lines: pd.DataFrame, at: np.ndarray) -> list[str]:
    return [str(v) for v in lines["OrderItemID"].to_numpy()[at]]


def shorten(text: str, length: int = NOTES_LENGTH) -> str:
    """Cuts free text at a word and ends it with "…" if it is longer than `length`. Not for texts that identify
    something."""
    if len(text) <= length:
        return text
    header = text[: length - 1]
    shortened = header if text[length - 1] == " " else header.rpartition(" ")[0] or header
    return shortened.rstrip() + "…"
