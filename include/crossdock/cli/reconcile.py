"""Both systems compared, printed.

In: subjects. Out: differences with cause and age; exit code 7 where nothing explains one. Never: a repair.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.padding import Padding
from rich.text import Text

from crossdock.cli import context
from crossdock.cli.context import AsJson
from crossdock.cli.output import SHOWN, err, out, print_json, print_table, writing
from crossdock.safe import safe

if TYPE_CHECKING:
    from crossdock.watch.reconcile import Outcome

app = typer.Typer()

UNEXPLAINED = 7


@app.command("reconcile")
def reconcile_command(
    subject: Annotated[list[str] | None, typer.Option(help="Only this subject; repeat for several.")] = None,
    report: Annotated[Path | None, typer.Option(help="File for the report, HTML.")] = None,
    as_json: AsJson = False,
) -> None:
    """Read both systems and compare them; each difference with its cause and age. Exit code 7 where nothing explains
    one."""
    from crossdock.watch.reconcile import reconcile, results

    if report:
        with writing(report):
            report.open("a").close()  # a mistake ends the command before anything is read
    with context.runtime() as runtime:
        with err.status("Reconciling …") as status:
            outcome = reconcile(
                runtime,
                subject or (),
                run_id=context.run_id(),
                say=lambda text: status.update(f"Reconciling: {text} …"),
            )
        with runtime.engine.connect() as connection:
            found = results.differences(connection, outcome.id, limit=1_000_000 if as_json else SHOWN)
            page = results.page(connection, outcome.id) if report else None
    if report and page:
        with writing(report):
            report.write_text(page, encoding="utf-8")
    if as_json:
        counts = {name: asdict(each) for name, each in outcome.counts.items()}
        hidden = {"id", "run", "place", "age"}
        reported = [{name: value for name, value in row.items() if name not in hidden} for row in found]
        print_json({"run": outcome.id, "unexplained": outcome.unexplained, "subjects": counts, "differences": reported})
    else:
        print_reconciled(outcome, found)
        if report:
            out.print(safe(f"Written: {report}"), soft_wrap=True)
    if outcome.unexplained:
        raise typer.Exit(UNEXPLAINED)


def print_reconciled(outcome: Outcome, found: Sequence[dict[str, Any]]) -> None:
    """Counts by subject; what differs and not by rule, and what to do where nothing explains it."""
    from crossdock.comparison.subject import BY_RULE, CAUSES
    from crossdock.watch.reconcile.subjects import SUBJECTS

    causes = [cause for cause in CAUSES if any(cause in each.causes for each in outcome.counts.values())]
    columns = ("subject", "channel_advisor", "tims", "equal", *causes)
    counted = [{"subject": name, **vars(each), **each.causes} for name, each in outcome.counts.items()]
    print_table(f"Reconciliation {outcome.id}", columns, counted)
    for name, counts in outcome.counts.items():
        rows = [row for row in found if row["subject"] == name and row["cause"] != BY_RULE]
        if not rows:
            continue
        out.print(Text(SUBJECTS[name].title, "bold"))
        for row in rows:
            out.print(Padding(Text(safe(_difference(row))), (0, 0, 0, 4)))
        if counts.causes.get("unexplained"):
            out.print(Padding(Text(f"→ {SUBJECTS[name].do}", "green"), (0, 0, 0, 4)))
    for name, counts in outcome.counts.items():
        if counts.passed:
            out.print(Text(f"{SUBJECTS[name].title}: {counts.passed:,} records could not be compared", "bold"))
            for one in counts.such_as:
                out.print(Padding(Text(safe(one)), (0, 0, 0, 4)))
    out.print(f"{outcome.unexplained:,} unexplained." if outcome.unexplained else "Every difference is explained.")


def _difference(row: dict[str, Any]) -> str:
    """One difference in words, with its cause and age."""
    from crossdock.comparison.subject import SIDES
    from crossdock.watch.reconcile.report import words

    if row["missing"]:
        what = f"is not in {SIDES[row['missing']]}"
    elif row["channel_advisor"] is None and row["tims"] is None:
        what = f"{row['field']} differs"
    else:
        values = (f"{row[side] or 'nothing'} in {name}" for side, name in SIDES.items())
        what = f"{row['field']}: {', '.join(values)}"
    why = f": {row['why']}" if row["why"] else ""
    return f"{row['key']} {what}. {row['cause'].capitalize()}{why} ({words(row['age'])})."
