"""Questions to a person, inside Airflow: what waits for an approval, put as a task that waits for an answer.

In: a flow whose changes wait (`ops.approval`). Out: a table to decide on, the answer written onto each change in the
name of whoever gave it. Never: a change decided that was not in the table; an answer where there is none.
"""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

from airflow.providers.standard.operators.hitl import HITLOperator
from airflow.sdk import Param, task

from crossdock_airflow.connections import runtime

APPROVE, REFUSE, LATER = "Approve", "Refuse", "Later"
SHOWN = 200  # changes that one question shows; the rest is in the next one
PATIENCE = timedelta(hours=12)


@task.short_circuit
def open_changes(flow: str) -> dict[str, Any] | None:
    """The open changes: their numbers, and a table for a person. None ends the run: there is nothing to decide."""
    from crossdock.store import approvals

    with runtime() as opened, opened.engine.begin() as connection:
        rows = approvals.listed(connection, flow)
    if not rows:
        return None
    return {"ids": [row.id for row in rows[:SHOWN]], "table": table(rows[:SHOWN], len(rows))}


def table(rows: list[Any], total: int) -> str:
    """The changes as a table of Markdown."""
    lines = ["| No. | SKU | goes to | from | to | change | why |", "|--:|---|---|--:|--:|--:|---|"]
    for row in rows:
        new = row.to_price if row.promotion_price is None else row.promotion_price
        change = f"{(new / row.from_price - 1) * 100:+.0f} %" if row.from_price else "new"
        where = _cell(row.target) if not row.site_id else f"site {row.site_id}, listing {_cell(row.target)}"
        before = f"{row.from_price:.2f}" if row.from_price is not None else ""
        lines.append(
            f"| {row.id} | {_cell(row.key)} | {where} | {before} | {new:.2f} {row.currency_code} | {change} | "
            f"{_cell(row.why)} |"
        )
    if total > len(rows):
        lines += ["", f"The first {len(rows)} of {total}; the others are asked next."]
    return "\n".join(lines)


def numbers(shown: str) -> list[int]:
    """The numbers of the changes that a table shows."""
    return [int(found) for found in re.findall(r"^\| ([0-9]+) \|", shown, re.MULTILINE)]


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def ask(task_id: str, *, subject: str, changes: str) -> HITLOperator:
    """Waits for an answer to the table that the task `changes` has made."""
    return HITLOperator(
        task_id=task_id,
        subject=subject,
        body=f"{{{{ ti.xcom_pull(task_ids='{changes}')['table'] }}}}",
        options=[APPROVE, REFUSE, LATER],
        defaults=[LATER],
        response_timeout=PATIENCE,
        params={
            "only": Param("", type="string", title="Only", description="Numbers of changes, e.g. 12 15; empty: all"),
            "note": Param("", type="string", title="Why", description="Kept with the decision; needed to refuse"),
        },
    )


@task
def answered(flow: str, changes: Any, answer: Any) -> dict[str, Any]:
    """Writes the answer onto the changes, in the name of the user who gave it. `changes`: what `open_changes` returned;
    `answer`: what the task that asked did. Raises NotAllowed where all of them come from a rule of that user's own;
    some of them stay open, and are asked again."""
    from crossdock.errors import ConfigError
    from crossdock.store import approvals

    (choice,) = answer["chosen_options"]
    if choice == LATER:
        return {"approved": [], "refused": []}
    given = answer["params_input"] or {}
    words = str(given.get("only") or "").replace(",", " ").split()
    requested = set(changes["ids"])
    if wrong := [word for word in words if not word.isdecimal() or int(word) not in requested]:
        raise ConfigError(
            f"{', '.join(wrong)} is no number of the table; nothing was decided.",
            do="Clear the task decide and answer again: numbers with blanks between, or nothing for all.",
        )
    user = answer.get("responded_by_user") or {}
    ids, who = [int(word) for word in words] or sorted(requested), user.get("name") or user.get("id") or "airflow"
    with runtime() as opened, opened.engine.begin() as connection:
        own = approvals.own(connection, flow, ids, who) if choice == APPROVE else {}
        decided = approvals.decide(
            connection, flow, ids, approved=choice == APPROVE, who=who, note=str(given.get("note") or "")
        )
    if own and not decided:
        raise approvals.refused_as_own(own)
    left = {"own": sorted(own)} if own else {}
    return {"approved": decided if choice == APPROVE else [], "refused": decided if choice == REFUSE else [], **left}
