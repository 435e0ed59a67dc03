"""The close of a month, printed.

In: a period. Out: trial balance, controls, open items; exit code 6 where a control does not hold. Never: a posting.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.padding import Padding
from rich.text import Text

from crossdock.cli import context
from crossdock.cli.context import AsJson
from crossdock.cli.output import SHOWN, cell_text, err, out, print_json, print_table, writing
from crossdock.safe import safe

if TYPE_CHECKING:
    from crossdock.ledger.close import Balance, Closing
    from crossdock.ledger.controls import Control

app = typer.Typer()

CONTROL_FAILED = 6


@app.command("close")
def close_command(
    period: Annotated[str, typer.Option(help="Month to close, YYYY-MM.")],
    export: Annotated[
        Path | None, typer.Option(help="Folder for the ledger as CSV and as a beancount journal.")
    ] = None,
    full_refresh: Annotated[
        bool, typer.Option(help="Read all of TIMS's documents once more, not only what changed.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Close a month: trial balance, controls, open items by age. Exit code 6 where a control does not hold."""
    from crossdock.ledger.close import close, last_day, require_month
    from crossdock.services import money

    last_day(period)  # a mistake ends the command before anything is read
    if export:
        with writing(export):
            export.mkdir(parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=export).close()
    with context.runtime() as runtime, err.status(f"Closing {period} …"):
        require_month(runtime, period)
        closing = close(runtime, period, export=export, full_refresh=full_refresh, run_id=context.run_id())
        if closing.files:
            with runtime.engine.begin() as connection:
                money.note_export(connection, context.who(), period, Path(closing.files[0]).name)
    if as_json:
        print_json(closing.as_dict())
    else:
        print_closing(closing)
    if closing.failed:
        raise typer.Exit(CONTROL_FAILED)


def print_closing(closing: Closing) -> None:
    """Trial balance, controls, open items, and what to do where a control does not hold."""
    for currency in dict.fromkeys(one.currency for one in closing.balances):
        _print_balances(closing.period, currency, [one for one in closing.balances if one.currency == currency])
    rows = [
        {"holds": "yes" if one.holds else "NO", "control": one.name, "of": one.subject,
         "expected": _as_number(one.expected), "actual": _as_number(one.actual)}
        for one in closing.controls
    ]  # fmt: skip
    print_table("Controls", ("holds", "control", "of", "expected", "actual"), rows)
    open_items = [{**vars(one), "amount": one.amount or None} for one in closing.open_items]
    print_table("Open items", ("kind", "currency", "age", "count", "amount"), open_items)
    for path in closing.files:
        out.print(safe(f"Written: {path}"), soft_wrap=True)
    for name in dict.fromkeys(one.name for one in closing.failed):
        _print_failed([one for one in closing.failed if one.name == name])
    held = len(closing.controls) - len(closing.failed)
    out.print(
        f"All {held} controls hold." if not closing.failed else f"{held} of {len(closing.controls)} controls hold."
    )


def _print_balances(period: str, currency: str, balances: Sequence[Balance]) -> None:
    """The trial balance of one currency, with its totals; a side without an amount stays empty."""
    rows = [{**vars(one), "debit": one.debit or None, "credit": one.credit or None} for one in balances]
    total = {"name": "Total", "debit": sum(b.debit for b in balances), "credit": sum(b.credit for b in balances)}
    print_table(f"Trial balance, end of {period}, {currency}", ("account", "name", "debit", "credit"), [*rows, total])


def _print_failed(controls: Sequence[Control]) -> None:
    """A control that does not hold: where, by how much, which documents, and what to do."""
    out.print(Text.assemble((controls[0].name, "bold red"), f" does not hold. {safe(controls[0].message)}"))
    for advice in dict.fromkeys(one.do for one in controls):
        for one in [one for one in controls if one.do == advice][:SHOWN]:
            expected, actual = (cell_text(_as_number(text)) for text in (one.expected, one.actual))
            reported = f"{one.subject}: expected {expected}, it is {actual}"
            out.print(Padding(Text(safe(f"{reported}. {_named(one.documents)}".rstrip())), (0, 0, 0, 4)))
        out.print(Padding(Text(safe(f"→ {advice}"), "green"), (0, 0, 0, 4)))


def _named(documents: Sequence[str]) -> str:
    return f"Look at {', '.join(documents[:10])}{' and more' if len(documents) > 10 else ''}." if documents else ""


def _as_number(text: str) -> Decimal | str:
    """An expected or actual value, as a number where it is an amount."""
    return Decimal(text) if re.fullmatch(r"-?[0-9]+\.[0-9]{2}", text) else text
