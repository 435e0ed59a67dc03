"""A settlement file as a table of text: encoding, delimiter, header, rows.

In: bytes. Out: a frame of text columns by normalised header name, blanks trimmed, "" where a cell is empty; `_row` is
the number of the row in the file. Never: a type guessed; a row that lacks a column taken as whole.
"""

from __future__ import annotations

import codecs
import csv
import io
import re

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from crossdock.config.suggest import nearest
from crossdock.systems.settlements.shape import FOLDER, RETRY_ADVICE, Refused

PREAMBLE = 30  # lines above the header, at most
DELIMITERS = ("\t", ",", ";", "|")
_LINE_END = re.compile(r"\r\n|\n|\r")
_MARKS = (b"\xff\xfe", b"\xfe\xff")


def text_of(data: bytes, encoding: str = "") -> str:
    """The file as text: UTF-16 or UTF-8 by its mark; else as its source says; where it says nothing, UTF-16 by its
    zeros, UTF-8 where it is valid, otherwise Windows' western encoding. Raises Refused where it is not as it says."""
    if data[:2] in _MARKS:
        return data.decode("utf-16", "replace")
    if encoding:
        try:
            return _decoded(data, encoding)
        except UnicodeDecodeError as error:
            raise Refused(
                "wrong_encoding",
                f"The file is no {encoding}: byte {error.start + 1} cannot be read.",
                "Fetch the file again, as it is; if it stays, correct the encoding of its source in the configuration.",
                encoding,
            ) from None
    if wide := _utf16_without_mark(data):
        return data.decode(wide, "replace")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        try:
            return data.decode("cp1252")
        except UnicodeDecodeError:
            return data.decode("latin-1")


# Encodings of which Windows has a larger one under the same name, and that is what programs write.
_LARGER = {"shift_jis": "cp932", "euc_kr": "cp949", "gb2312": "gb18030", "iso8859-1": "cp1252", "iso8859-9": "cp1254"}


def _decoded(data: bytes, encoding: str) -> str:
    if data[:3] == b"\xef\xbb\xbf":
        return data.decode("utf-8-sig")
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError:
        larger = _LARGER.get(codecs.lookup(encoding).name)
        if not larger:
            raise
        text = data.decode(larger)
    return text


def _utf16_without_mark(data: bytes) -> str:
    """The kind of UTF-16 whose zeros stand beside plain letters all over the beginning; "" for other files."""
    begin = data[:400]
    half = len(begin) // 2
    for first, name in ((1, "utf-16-le"), (0, "utf-16-be")):
        if half and begin[first::2].count(0) > 0.9 * half and not begin[1 - first :: 2].count(0):
            return name
    return ""


def name_of(header: str) -> str:
    """A header cell in the one spelling that readers use: lower case, plain hyphens, single blanks, no quotes."""
    plain = re.sub(r"[\u2010-\u2015\u2212]", "-", header)
    plain = re.sub(r"[\"'\u2018-\u201f]", "", plain)
    return " ".join(plain.replace("\u00a0", " ").split()).lower()


def read(
    data: bytes,
    delimiter: str,
    needed: tuple[str, ...],
    *,
    quotes: bool | None,
    same: dict[str, str],
    encoding: str = "",
) -> pd.DataFrame:
    """The table whose header holds every column of `needed`; `same`: other spellings of a column. `delimiter` is that
    of the format; where no header is found with it, the program that saved the file may have put another. `quotes`:
    whether quotes around a cell are no part of it; None where the format has none, but a program may have put them
    there: then the file tells.

    Raises Refused for a file without that header, and for a row with too few or too many cells.
    """
    if not data.strip():
        raise Refused("empty_file", "The file is empty.", RETRY_ADVICE)
    if b"\0" in data[:4096] and data[:2] not in _MARKS and not _utf16_without_mark(data):
        raise Refused(
            "unreadable_file", "The file is no text; it may be packed.", "Unpack it and put the text into the inbox."
        )
    return _read(text_of(data, encoding), delimiter, needed, quotes, same)


def _read(
    text: str, delimiter: str, needed: tuple[str, ...], quotes: bool | None, same: dict[str, str]
) -> pd.DataFrame:
    used, names, first, body = _header(text, delimiter, needed, quotes is not False, same)
    unsure = quotes is None and used == delimiter
    quotes = bool(quotes) or used != delimiter or (unsure and _all_quoted(text, delimiter))
    delimiter = used
    whole = text.endswith(("\n", "\r"))
    broken: list[tuple[int | None, int, int]] = []

    def note(row: pa.csv.InvalidRow) -> str:
        broken.append((row.number, row.expected_columns, row.actual_columns))
        return "skip"

    table = pa.table({name: pa.array([], pa.string()) for name in names})
    if body.strip():
        table = pa.csv.read_csv(
            io.BytesIO(body.encode("utf-8", "replace")),
            pa.csv.ReadOptions(column_names=names, use_threads=False, block_size=8 << 20),
            pa.csv.ParseOptions(
                delimiter=delimiter,
                quote_char='"' if quotes else False,
                double_quote=quotes,
                newlines_in_values=quotes,
                invalid_row_handler=note,
            ),
            pa.csv.ConvertOptions(column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=False),
        )
    if broken:
        if unsure and not quotes and _some_quoted(text, delimiter):
            return _read(text, delimiter, needed, True, same)
        number, expected, actual = broken[0]
        if actual < expected and len(broken) == 1 and not whole:
            raise Refused(
                "half_written",
                f"The last row has {actual} of {expected} cells: the file ends in the middle.",
                RETRY_ADVICE,
            )
        where = f"Row {first + number - 1}" if number else "A row"
        raise Refused("broken_row", f"{where} has {actual} cells; the header has {expected}.", RETRY_ADVICE)
    frame = pd.DataFrame(
        {name: pd.Series(pd.array(pc.utf8_trim_whitespace(table[name]), dtype="str")) for name in names}
    )
    if unsure and not quotes and any(frame[name].str.fullmatch(_QUOTED).any() for name in needed):
        frame = frame.apply(_unquoted)  # no value of these columns has quotes of its own
    frame.insert(0, "_row", range(first, first + len(frame)))
    return frame


_QUOTED = r'"(?:[^"]|"")*"'


def _unquoted(cells: pd.Series) -> pd.Series:
    """Cells that stand in quotes without them."""
    bare = cells.str.slice(1, -1).str.replace('""', '"').str.strip()
    return cells.mask(cells.str.fullmatch(_QUOTED), bare)


def _all_quoted(text: str, delimiter: str) -> bool:
    """Whether every cell of the first line stands in quotes."""
    first = _LINE_END.split(text, maxsplit=1)[0].split(delimiter)
    return all(len(cell) > 1 and cell[0] == cell[-1] == '"' for cell in first)


def _some_quoted(text: str, delimiter: str) -> bool:
    """Whether some cell stands in quotes because it holds a delimiter."""
    cell = rf'^(?:[^\r\n]*{delimiter})?"[^"\r\n]*{delimiter}(?:[^"\r\n]|"")*"(?:{delimiter}|$)'
    return re.search(cell, text, re.MULTILINE) is not None


def column(frame: pd.DataFrame, name: str) -> pd.Series:
    """The column, or one of nothing: a file leaves out columns that it does not use."""
    return frame[name] if name in frame else pd.Series("", index=frame.index, dtype="str")


def single(values: pd.Series, rule: str, what: str) -> str:
    """The one value other than "" that a column holds, "" if none. Raises Refused where there are several."""
    found = [text for text in pd.unique(values) if text]
    if len(found) > 1:
        raise Refused(
            rule,
            f"The file holds several {what}: {', '.join(found[:5])}.",
            "Fetch one file for each settlement; nothing of this one was booked.",
            found[1],
        )
    return found[0] if found else ""


def _header(
    text: str, delimiter: str, needed: tuple[str, ...], quotes: bool, same: dict[str, str]
) -> tuple[str, list[str], int, str]:
    """The delimiter, the header's names, the number of the row below it, and the text from there on."""
    best: list[str] = []
    at = 0
    for number in range(1, PREAMBLE + 1):
        end = _LINE_END.search(text, at)
        row = text[at : end.start() if end else len(text)]
        for mark in (delimiter, *(other for other in DELIMITERS if other != delimiter)):
            cells = _cells(row, mark, quotes or mark != delimiter)
            names = [same.get(name, name) for name in map(name_of, cells)]
            if set(needed) <= set(names):
                twice = sorted({name for name in names if name and names.count(name) > 1})
                if twice:
                    raise Refused(
                        "unknown_header", f"The header names {', '.join(twice)} twice.", RETRY_ADVICE, twice[0]
                    )
                below = text[end.end() :] if end else ""
                return mark, [name or f"_{n}" for n, name in enumerate(names)], number + 1, below
            if len(set(needed) & set(names)) > len(set(needed) & set(best)) or len(names) > 1 >= len(best):
                best = names
        if end is None:
            break
        at = end.end()
    missing = [name for name in needed if name not in best]
    near = nearest(missing[0], best)
    raise Refused(
        "unknown_header",
        f"No header of this format: {', '.join(missing)} is missing." + (f' There is "{near}".' if near else ""),
        FOLDER,
        missing[0],
    )


def _cells(line: str, delimiter: str, quotes: bool) -> list[str]:
    if not quotes:
        return line.split(delimiter)
    return next(csv.reader([line], delimiter=delimiter), [])
