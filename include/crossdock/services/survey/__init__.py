"""Real records of both systems beside contracts, lookups and settings: the second gate, *map*.

In: clients of both systems. Out: findings, open ones among them that a person must decide, with proposals; what was
decided. Never: a request that changes something; a record that is kept.
"""

from __future__ import annotations

from collections.abc import Sequence

from crossdock.services.survey import fields, values
from crossdock.services.survey.drafts import files
from crossdock.services.survey.findings import Finding, Proposal, State, with_decisions
from crossdock.services.survey.records import Sample, samples
from crossdock.systems.tims import Tims

__all__ = ["Finding", "Proposal", "Sample", "State", "files", "findings", "samples", "with_decisions"]

ORDER = {"open": 0, "decided": 1, "note": 2}


def findings(read: Sequence[Sample], tims: Tims | None = None) -> list[Finding]:
    """All that is found in samples, open ones first. `tims`: who is asked for sold items; None: they are not looked
    up. Raises ConfigError where a file of the configuration cannot be read."""
    found = [
        Finding(
            f"unreadable:{one.name}", "open", one.name, "", "", 0, f"It could not be read: {one.error}",
            "Run `crossdock connect`: it says what is to be done.",
        )
        for one in read
        if one.error
    ]  # fmt: skip
    found += [finding for one in read for finding in fields.of(one)]
    found += values.of({one.name: one for one in read}, tims)
    return sorted(found, key=lambda one: (ORDER[one.state], one.list, one.name))
