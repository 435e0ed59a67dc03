"""Dead letters: look, mend, replay, dismiss.

In: numbers or ids of records. Out: reasons, payloads, replayed records. Never: a record delivered twice.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import msgspec
import sqlalchemy as sa
import typer
from rich.padding import Padding
from rich.text import Text

from crossdock import flows
from crossdock.cli import context
from crossdock.cli.context import AsJson
from crossdock.cli.output import err, held_as_json, out, print_held, print_json, print_table, say
from crossdock.errors import ConfigError
from crossdock.safe import safe, safe_json
from crossdock.services import letters, payloads, people
from crossdock.steps import records
from crossdock.store import batches, database, dead_letters, runs

app = typer.Typer(no_args_is_help=True, help="Refused records: look, mend, replay, dismiss.")
AGAIN_BY_ITSELF = "Have the record mended in its system; the next run reads it and closes the dead letter."
Which = Annotated[str, typer.Argument(help="Number of the dead letter, or the record's id.")]


@app.command("list")
def list_letters(
    flow: Annotated[str | None, typer.Option(help="Only this flow.")] = None,
    state: Annotated[
        str, typer.Option(help="open (with edited), edited, replayed, resolved, dismissed, all.")
    ] = "open",
    rule: Annotated[str | None, typer.Option(help="Only those that break this rule.")] = None,
    as_json: AsJson = False,
) -> None:
    """Refused records with their reasons, oldest first; the rules that refuse most below."""
    context.check_flow(flow)
    context.one_of(state, ("open", "edited", "replayed", "resolved", "dismissed", "all"), "--state")
    with context.runtime() as runtime, runtime.engine.begin() as connection:
        rows = dead_letters.listed(connection, flow=flow, state=None if state == "all" else state, rule=rule)
    if as_json:
        print_json([_letter(row, payload=False) for row in rows])
        return
    for row in rows:
        _print_letter(row, most=3)
    out.print(f"Dead letters: {len(rows)}.")
    rules: dict[str, int] = {}
    for row in rows:
        for name in {reason["rule"] for reason in row.reasons}:
            rules[name] = rules.get(name, 0) + 1
    print_table("By rule", ("rule", "records"),
           [{"rule": r, "records": n} for r, n in sorted(rules.items(), key=lambda item: -item[1])])  # fmt: skip


@app.command("show")
def show_letter(which: Which, as_json: AsJson = False) -> None:
    """One dead letter whole: reasons, and the record as it came (personal data)."""
    with context.runtime() as runtime, runtime.engine.begin() as connection:
        row = dead_letters.find(connection, which)
    if as_json:
        print_json(_letter(row, payload=True))
        return
    _print_letter(row)
    payload = database.to_json(row.edited_payload if row.state == "edited" else row.payload)
    out.print(safe_json(msgspec.json.format(payload, indent=2)), soft_wrap=True)


def _print_letter(row: sa.Row, most: int | None = None) -> None:
    """What is wrong with a record, the first `most` reasons; reasons that are mended alike share what to do."""
    refused = f"in {row.step}, {row.created_at:%d %b %H:%M}, {row.state}"
    out.print(Text.assemble((f"{row.id}  {row.flow} {safe(row.key)}", "bold"), f"  {refused}"), soft_wrap=True)
    by_advice: dict[str, list[dict]] = {}
    for reason in row.reasons[:most]:
        by_advice.setdefault(reason["do"], []).append(reason)
    for advice, reasons in by_advice.items():
        for reason in reasons:
            where = " ".join(filter(None, (reason["field"], reason.get("line") and f"(line {reason['line']})")))
            reported = Text.assemble(
                (safe(f"{where}: ") if where else "", "dim"), safe(reason["says"]), (f" ({reason['rule']})", "dim")
            )
            out.print(Padding(reported, (0, 0, 0, 4)))
        out.print(Padding(Text(safe(f"→ {advice}"), "green"), (0, 0, 0, 4)))
    if most and len(row.reasons) > most:
        out.print(f"    … and {len(row.reasons) - most} more: crossdock dead-letters show {row.id}")


@app.command("edit")
def edit_letter(
    which: Which,
    values: Annotated[
        list[str] | None, typer.Option("--set", help="path=value, e.g. ShippingAddress.Country=GB")
    ] = None,
    file: Annotated[Path | None, typer.Option(help="JSON file with the whole payload.")] = None,
    as_json: AsJson = False,
) -> None:
    """Change the payload of a refused record: by --set, from a file, or in $EDITOR. Then replay it."""
    with context.runtime() as runtime:
        with runtime.engine.begin() as connection:
            row = dead_letters.find(connection, which)
        _is_delivered(row)
        before = row.edited_payload if row.state == "edited" else row.payload
        if file:
            after = _json_file(file)
        elif values:
            after = payloads.changed(before, dict(_assignment(value) for value in values))
        else:
            after = _in_editor(before)
        if not isinstance(after, dict):
            raise ConfigError("The payload must be a JSON object.", do="Nothing was changed; edit it again.")
        with runtime.engine.begin() as connection:
            letters.keep(connection, people.on_this_machine(context.who()), row, after)
    say(
        {"id": row.id, "state": "edited"},
        f"Dead letter {row.id} edited. Now: crossdock dead-letters replay {row.id}",
        as_json,
    )


@app.command("replay")
def replay_letters(
    which: Annotated[list[str] | None, typer.Argument(help="Numbers or record ids.")] = None,
    flow: Annotated[str | None, typer.Option(help="Only of this flow.")] = None,
    rule: Annotated[str | None, typer.Option(help="All that break this rule.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="All open ones.")] = False,
    as_json: AsJson = False,
) -> None:
    """Send refused records through all steps again; what goes through is delivered once."""
    from crossdock.steps.extract import Window, extract
    from crossdock.steps.run_batches import run_batches

    if not (which or rule or everything):
        raise ConfigError("Nothing to replay was named.", do="Give numbers, --rule RULE or --all.")
    context.check_flow(flow)
    total = batches.Counts()
    with context.runtime() as runtime, err.status("replaying …"):
        with runtime.engine.begin() as connection:
            rows = (
                [dead_letters.find(connection, each) for each in which]
                if which
                else dead_letters.listed(connection, flow=flow, rule=rule, limit=100_000)
            )
        left = [row for row in rows if row.flow == records.REFERENCE]
        if which or flow == records.REFERENCE:
            for row in left:
                _is_delivered(row)
        rows = [row for row in rows if row.flow != records.REFERENCE]
        closed = [row for row in rows if row.state not in dead_letters.OPEN]
        if closed:
            raise ConfigError(f"Dead letter {closed[0].id} is {closed[0].state}.", do="Only open ones are replayed.")
        run, held = context.run_id(), []
        with runs.at_work(runtime.engine, run):
            for name in sorted({row.flow for row in rows}):
                keys = [row.key for row in rows if row.flow == name]
                ids = extract(runtime, flows.get(name), Window(), kind="replay", run_id=run, keys=keys)
                total += run_batches(runtime, flows.get(name), ids, run_id=run)
                with runtime.engine.begin() as connection:
                    held += batches.held(connection, name, run)
    say(asdict(total) | held_as_json(held), f"Replayed {len(rows)}: {total}.", as_json)
    if not as_json:
        print_held(held)
        if left:
            out.print(f"Left {len(left)} of reference: {AGAIN_BY_ITSELF}")
    if total.dead:
        raise typer.Exit(1)


def _is_delivered(row: sa.Row) -> None:
    """ConfigError for a record that is only looked up: it is not delivered, and the next read takes a good version."""
    if row.flow == records.REFERENCE:
        raise ConfigError(f"{row.key} is only looked up, so it cannot be edited or replayed.", do=AGAIN_BY_ITSELF)


@app.command("dismiss")
def dismiss_letter(
    which: Annotated[list[str], typer.Argument(help="Numbers or record ids.")],
    note: Annotated[str, typer.Option(help="Why it need not be delivered; kept.")] = "",
    as_json: AsJson = False,
) -> None:
    """Decide that records need not be delivered, and say why."""
    if not note:
        raise ConfigError("A dismissal needs a reason.", do='Give --note "why".')
    with context.runtime() as runtime, runtime.engine.begin() as connection:
        for each in which:
            dead_letters.dismiss(connection, dead_letters.find(connection, each).id, who=context.who(), note=note)
    say({"dismissed": which}, f"Dismissed {len(which)}.", as_json)


@app.command("reopen")
def reopen_letter(
    which: Annotated[list[str], typer.Argument(help="Numbers or record ids.")], as_json: AsJson = False
) -> None:
    """Take dismissals back: the records are open again."""
    with context.runtime() as runtime, runtime.engine.begin() as connection:
        numbers = [dead_letters.find(connection, each).id for each in which]
        letters.reopen(connection, people.on_this_machine(context.who()), numbers)
    say({"open": which}, f"Open again: {len(which)}.", as_json)


def _letter(row: sa.Row, *, payload: bool) -> dict[str, Any]:
    hidden = set() if payload else {"payload", "edited_payload", "edited_from"}
    return {name: value for name, value in row._mapping.items() if name not in hidden}


def _assignment(text: str) -> tuple[str, str]:
    """`ShippingAddress.Country=GB`, `OrderItems[0].SKU=22423`: the path and the new value."""
    path, equals, value = text.partition("=")
    if not equals:
        raise ConfigError(f"--set {text!r} has no '='.", do="Write it like ShippingAddress.Country=GB.")
    return path, value


def _json_file(path: Path) -> Any:
    try:
        return database.from_json(path.read_bytes())
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read as JSON: {error}.", do="Nothing was changed.") from error


def _in_editor(payload: dict) -> Any:
    with tempfile.NamedTemporaryFile("w+", suffix=".json", delete=False, encoding="utf-8") as file:
        file.write(msgspec.json.format(database.to_json(payload), indent=2))
    path = Path(file.name)
    try:
        subprocess.run([*os.environ.get("EDITOR", "vi").split(), str(path)], check=True)  # noqa: S603 (the user's editor)
        return _json_file(path)
    except (OSError, subprocess.CalledProcessError) as error:
        raise ConfigError(f"The editor failed: {error}.", do="Set EDITOR, or use --set or --file.") from error
    finally:
        path.unlink()
