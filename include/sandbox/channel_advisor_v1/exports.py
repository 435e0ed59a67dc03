"""ProductExport: all products of a profile as one file.

In: a list of columns, a `$filter`. Out: a job whose ZIP holds one tab-separated text. Never: more than ten jobs a
minute.

Columns are properties of Product, in any case; without a list all of them, and the attributes as pairs of columns
`Attribute1Name`, `Attribute1Value`. Moments are written `M/D/YYYY h:mm:ss AM`, UTC.
"""

from __future__ import annotations

import csv
import io
from datetime import UTC, datetime
from functools import partial
from typing import Any

from sandbox.channel_advisor_v1 import options
from sandbox.channel_advisor_v1.bodies import bad
from sandbox.channel_advisor_v1.face import Face, Path
from sandbox.channel_advisor_v1.jobs import Jobs, profile_of
from sandbox.channel_advisor_v1.nodes import Node
from sandbox.channel_advisor_v1.schema import Property, entities
from sandbox.channel_advisor_v1.sets import SOURCES, Ask, Finder
from sandbox.kernel import clock, limits
from sandbox.kernel.http import Answer, Refusal
from sandbox.kernel.system import Call

ATTRIBUTES = 141  # pairs of columns
PER_MINUTE = 10


def add(face: Face, jobs: Jobs) -> None:
    each = max(PER_MINUTE, face.system.limiter.per_minute * PER_MINUTE // 2_000)
    limiter = limits.Limiter(each, 1)
    face.whole["POST", "ProductExport"] = partial(begin, face, jobs, limiter)
    face.whole["GET", "ProductExport"] = jobs.poll


def begin(face: Face, jobs: Jobs, limiter: limits.Limiter, call: Call, path: Path) -> Answer:
    profile = profile_of(call)
    try:
        limiter.count([str(profile)])
    except limits.Exceeded:
        raise Refusal(429, "rate_limited", "") from None
    columns = _columns(call.body.decode("utf-8", "replace"))
    ask = Ask((profile,), call.access.client, options.read(call.raw_query, entities()["Product"]))
    return jobs.begin(call, profile, partial(_table, face, ask, columns))


def _table(face: Face, ask: Ask, columns: list[Property]) -> str:
    """The text of the file; all columns and the attributes where none is named."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, "excel-tab", lineterminator="\r\n")
    chosen = columns or list(entities()["Product"].properties.values())
    pairs = [f"Attribute{n}{part}" for n in range(1, ATTRIBUTES + 1) for part in ("Name", "Value")]
    writer.writerow([column.name for column in chosen] + ([] if columns else pairs))
    with face.system.store.read() as tx:
        finder, source = Finder(tx, face.memory), SOURCES["products"]
        for root, key in finder.matches(source, ask, face.system.store.version):
            node = finder.node(source, root, key)
            if node is not None:
                cells = [_cell(column, node.values[column.name]) for column in chosen]
                writer.writerow(cells + ([] if columns else _attributes(node)))
    return text.getvalue()


def _columns(text: str) -> list[Property]:
    """The columns that a body names. Refusal 400 for one that is none."""
    names = [name.strip() for name in text.replace("\n", ",").split(",") if name.strip()]
    properties = entities()["Product"].properties
    for name in names:
        if name.lower() not in properties:
            raise bad(f"The request is invalid. There is no column {name}.")
    return [properties[name.lower()] for name in names]


def _attributes(node: Node) -> list[str]:
    found = [(each.values["Name"], each.values["Value"] or "") for each in node.link("Attributes")][:ATTRIBUTES]
    return [text for pair in found for text in pair] + [""] * 2 * (ATTRIBUTES - len(found))


def _cell(column: Property, value: Any) -> str:
    if value is None:
        return ""
    return _american(clock.parse(value)) if column.kind == "DateTimeOffset" else str(value)


def _american(ticks: int) -> str:
    at = datetime.fromtimestamp(ticks // clock.SECOND, UTC)
    return f"{at.month}/{at.day}/{at.year} {at.hour % 12 or 12}:{at:%M:%S} {'AM' if at.hour < 12 else 'PM'}"
