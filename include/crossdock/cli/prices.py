"""Price changes that wait for a person.

In: numbers of questions. Out: decisions on record. Never: a price of its own.
"""

from __future__ import annotations

from typing import Annotated

import typer

from crossdock.cli import context
from crossdock.cli.context import AsJson
from crossdock.cli.output import out, print_json, print_table, say
from crossdock.errors import ConfigError

app = typer.Typer(no_args_is_help=True, help="Price changes that wait for a person.")
Questions = Annotated[list[int] | None, typer.Argument(help="Numbers of questions.")]
AllOpen = Annotated[bool, typer.Option("--all", help="All open ones.")]


@app.command("approvals")
def list_approvals(
    state: Annotated[str, typer.Option(help="open, approved, refused, withdrawn, all.")] = "open",
    as_json: AsJson = False,
) -> None:
    """Price changes that wait for a person, oldest first: what, from, to, and why."""
    from crossdock.store import approvals

    context.one_of(state, ("open", "approved", "refused", "withdrawn", "all"), "--state")
    with context.runtime() as runtime, runtime.engine.begin() as connection:
        rows = approvals.listed(connection, "prices", None if state == "all" else state)
    if as_json:
        print_json([dict(row._mapping) for row in rows])
        return
    shown = [dict(row._mapping) | {"from": row.from_price, "to": row.to_price, "currency": row.currency_code,
                                   "promotion": row.promotion_price} for row in rows]  # fmt: skip
    named = ("id", "key", "target", "from", "to", "promotion", "currency", "why")
    print_table("Price changes", named if state == "open" else (*named, "state", "decided_by", "note"), shown)
    out.print(f"Price changes: {len(rows)}.")


@app.command("approve")
def approve_prices(
    which: Questions = None,
    everything: AllOpen = False,
    note: Annotated[str, typer.Option(help="Why; kept.")] = "",
    as_json: AsJson = False,
) -> None:
    """Let these prices go to the channel with the next run, exactly as they were asked for."""
    _decide(which, everything, note, as_json, approved=True)


@app.command("refuse")
def refuse_prices(
    which: Questions = None,
    everything: AllOpen = False,
    why: Annotated[str, typer.Option(help="Why; kept.")] = "",
    as_json: AsJson = False,
) -> None:
    """Keep these prices from the channel until the rule makes other ones."""
    if not why:
        raise ConfigError("A refusal needs a reason.", do='Give --why "...".')
    _decide(which, everything, why, as_json, approved=False)


def _decide(which: list[int] | None, everything: bool, note: str, as_json: bool, *, approved: bool) -> None:
    from crossdock.store import approvals

    if bool(which) == everything:
        raise ConfigError("It was not said which changes.", do="Give their numbers, or --all.")
    with context.runtime() as runtime, runtime.engine.begin() as connection:
        ids = which or [row.id for row in approvals.listed(connection, "prices")]
        own = approvals.own(connection, "prices", ids, context.who()) if approved else {}
        decided = approvals.decide(connection, "prices", ids, approved=approved, who=context.who(), note=note)
    if own and not decided:
        raise approvals.refused_as_own(own)
    word = "approved" if approved else "refused"
    late = len(ids) - len(decided) - len(own)
    words = f"{word.capitalize()} {len(decided)}." + (f" {late} had been decided or withdrawn before." if late else "")
    words += f" {len(own)} come from a price rule of your own and stay open for somebody else." if own else ""
    say({word: decided} | ({"own": list(own)} if own else {}), words, as_json)
