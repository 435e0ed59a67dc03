"""What a survey of real records has found.

In: nothing. Out: `Finding`, and what a person has decided about one. Never: personal data, neither as value nor in a
sentence.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from crossdock.services.gates import Decision

State = Literal["open", "note", "decided"]


@dataclass(frozen=True)
class Proposal:
    """What may be added to a file of the configuration: a row of a lookup, or lines. Cells that a person must fill in
    are empty. `sure`: nothing is left to decide but whether it is meant."""

    path: str
    text: str
    sure: bool = False


@dataclass(frozen=True)
class Finding:
    """One thing about the records of a list. `name`: stable from survey to survey. Open: a person must decide; decided:
    somebody has said that it stays as it is, and `why`; a note needs nobody. `records`: how many of those that were
    read."""

    name: str
    state: State
    list: str  # channel_advisor.orders
    field: str
    value: str
    records: int
    found: str
    do: str = ""
    where: str = ""
    proposal: Proposal | None = None
    why: str = ""


def with_decisions(findings: Sequence[Finding], decisions: Mapping[str, Decision]) -> list[Finding]:
    """The findings, open ones that somebody has decided as decided."""
    made = []
    for one in findings:
        decision = decisions.get(one.name) if one.state == "open" else None
        made.append(replace(one, state="decided", why=f"{decision.why} ({decision.by})") if decision else one)
    return made
