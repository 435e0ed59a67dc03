"""What the commands print: tables, sentences, JSON.

In: rows and facts. Out: text that does nothing to a terminal, whole names and numbers. Never: text read as markup.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import asdict
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from crossdock.errors import ConfigError
from crossdock.safe import safe, safe_json
from crossdock.store import batches, database

SENTENCE = 12  # the least width of a column of sentences
SHOWN = 20  # differences of one control that are printed; --json has all
# No text is parsed as markup: our own colours are Text objects, and foreign text goes through `safe`.
out, err = (Console(stderr=stderr, markup=False, emoji=False, highlight=False) for stderr in (False, True))


def print_table(title: str, columns: Sequence[str], rows: Sequence[dict[str, Any]]) -> None:
    """Rows as a table. Names, numbers and dates are cut nowhere, for a half of one is of no use to whoever looks for
    it; sentences fold. Where that does not fit the terminal, each row is a block of lines."""
    if not rows:
        return
    cells = [[cell_text(row.get(column)) for column in columns] for row in rows]
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    needed = 0
    for at, column in enumerate(columns):
        header, found = column.replace("_", " "), [row[at] for row in cells]
        number = any(isinstance(row.get(column), int | Decimal) for row in rows)
        whole = not any(isinstance(row.get(column), str) and _is_sentence(row[column]) for row in rows)
        width = max(len(text) for text in ([*header.split(), *found] if whole else [*header.split(), " " * SENTENCE]))
        needed += width + 3
        table.add_column(
            header, justify="right" if number else "left", overflow="fold", min_width=width if whole else None
        )
    if needed - 3 > out.width:
        _print_blocks(title, [column.replace("_", " ") for column in columns], cells)
        return
    for row in cells:
        table.add_row(*row)
    out.print(table)
    out.print()


def _print_blocks(title: str, heads: Sequence[str], cells: Sequence[Sequence[str]]) -> None:
    """Each row as lines of name and value; what is empty is left out."""
    out.print(Text(title, "italic"))
    for row in cells:
        grid = Table.grid(padding=(0, 2))
        grid.add_column(style="dim", no_wrap=True)
        grid.add_column(overflow="fold")
        for header, value in zip(heads, row, strict=True):
            if value:
                grid.add_row(header, value)
        out.print(Padding(grid, (0, 0, 1, 2)))


def _is_sentence(text: str) -> bool:
    return len(text) > 2 * SENTENCE or " " in text


def cell_text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M}"
    return f"{value:,.2f}" if isinstance(value, Decimal) else safe(value)


def say(facts: Any, sentence: str, as_json: bool) -> None:
    print_json(facts) if as_json else out.print(safe(sentence), soft_wrap=True)


def print_json(value: Any) -> None:
    sys.stdout.write(safe_json(database.to_json(value)) + "\n")


def print_held(held: Sequence[batches.HeldBatch]) -> None:
    for one in held:
        out.print(Text(safe(str(one)), "yellow"))


def held_as_json(held: Sequence[batches.HeldBatch]) -> dict[str, list[dict[str, Any]]]:
    """Held batches for JSON, with ages in seconds."""
    return {
        "in_other_hands": [
            asdict(one) | {"age": one.age.total_seconds(), "silent": one.silent.total_seconds()} for one in held
        ]
    }


@contextmanager
def writing(path: Path) -> Any:
    """Turns an error of the file system into a sentence."""
    try:
        yield
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be written: {error.strerror or type(error).__name__}.",
            do="Name a place that this user may write to.",
        ) from error
