"""Clean text, before any other rule looks at it.

In: the frames of a batch. Out: the same frames with all text cleaned, and a warning for each value that held control
characters. Never: another change. Only control characters go (U+0000 to U+001F, U+007F to U+009F, zero-width
characters, byte order marks, marks of writing direction), blanks around the value go, and the rest is put into
Unicode NFC. The original stays in raw.

None stays None; "" stays ""; a value of nothing but blanks becomes "".
"""

from __future__ import annotations

import re
import unicodedata

import numpy as np
import pandas as pd

from crossdock.mapping import problems
from crossdock.mapping.frames import Frames
from crossdock.rules.uniques import TEXT

CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u206f\ufeff]")
NOTES_LENGTH = 500


def clean_text(text: str) -> str:
    """One text without control characters and blanks around it, in NFC."""
    if text.isascii() and text.isprintable():
        return text.strip()
    return unicodedata.normalize("NFC", CONTROL.sub("", text)).strip()


def clean(frames: Frames) -> tuple[Frames, pd.DataFrame]:
    """Clean every text column of head and lines. Returns (frames, warnings)."""
    head, head_warnings = _clean(frames.head, np.arange(len(frames.head)), "")
    row = frames.lines["_row"].to_numpy(dtype=np.int64)
    lines, line_warnings = _clean(frames.lines, row, "OrderItems.")
    return Frames(head=head, lines=lines), problems.concat([*head_warnings, *line_warnings])


def _clean(frame: pd.DataFrame, row: np.ndarray, prefix: str) -> tuple[pd.DataFrame, list[pd.DataFrame]]:
    changed: dict[str, pd.Series] = {}
    warnings = []
    for name in frame.columns:
        if not isinstance(frame[name].dtype, pd.StringDtype):
            continue
        codes, different = pd.factorize(frame[name])
        before = different.tolist()
        after = [clean_text(v) for v in before]
        if after == before:
            continue
        changed[name] = pd.Series(pd.array(after, dtype=TEXT).take(codes, allow_fill=True), index=frame.index)
        dirty = {n: found for n, v in enumerate(before) if (found := CONTROL.findall(v))}
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
                    says=[
                        f"{prefix}{name} held characters that nobody can see ({f}); they were removed." for f in found
                    ],
                    do="Nothing; correct the text on the channel if it reads wrong.",
                    line=ids,
                )
            )
    return frame.assign(**changed) if changed else frame, warnings


def _line_ids(lines: pd.DataFrame, at: np.ndarray) -> list[str]:
    return [str(v) for v in lines["OrderItemID"].to_numpy()[at]]


def shorten(text: str, length: int = NOTES_LENGTH) -> str:
    """Free text that identifies nobody, cut at a word and ended with "…" if it is longer than `length`."""
    if len(text) <= length:
        return text
    head = text[: length - 1]
    cut = head if text[length - 1] == " " else head.rpartition(" ")[0] or head
    return cut.rstrip() + "…"
