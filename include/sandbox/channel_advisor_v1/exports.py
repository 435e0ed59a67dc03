"""ProductExport: all products of a profile as one file.

In: a list of columns, a `$filter`. Out: a job, and once it is done the address of a ZIP with one tab-separated text.
Never: a job that is done at the first poll; more than ten jobs a minute.

Columns are properties of Product, in any case; without a list all of them, and the attributes as pairs of columns
`Attribute1Name`, `Attribute1Value`. Moments are written `M/D/YYYY h:mm:ss AM`, UTC.
"""

from __future__ import annotations

import csv
import io
import secrets
import zipfile
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sandbox.channel_advisor_v1 import options
from sandbox.channel_advisor_v1.bodies import bad
from sandbox.channel_advisor_v1.face import Beside, Face, Path, query_value
from sandbox.channel_advisor_v1.nodes import Node
from sandbox.channel_advisor_v1.schema import Property, entities
from sandbox.channel_advisor_v1.sets import SOURCES, Ask, Finder
from sandbox.kernel import clock, limits
from sandbox.kernel.http import Answer, Refusal
from sandbox.kernel.system import Call

STEPS = ("Pending", "InProgressQueuedforProcessing", "Complete")  # at each poll one further
FILES = "/exports/"
ATTRIBUTES = 141  # pairs of columns
PER_MINUTE = 10


@dataclass
class Job:
    """One export. `polls`: how often it was asked for."""

    token: str
    ask: Ask
    columns: list[Property]
    with_attributes: bool
    started: int
    polls: int = 0
    file: bytes = b""


class Exports:
    """The jobs of this server; a restart forgets them."""

    def __init__(self, face: Face) -> None:
        self.face = face
        self.jobs: dict[str, Job] = {}
        each = max(PER_MINUTE, face.system.limiter.per_minute * PER_MINUTE // 2_000)
        self.limiter = limits.Limiter(each, 1)

    def begin(self, call: Call, path: Path) -> Answer:
        covered = call.access.profiles
        text = query_value(call, "profileid")
        profile = int(text) if text and text.isdigit() else covered[0] if not text and len(covered) == 1 else None
        if profile not in covered:
            raise bad("The request is invalid. profileid must name a profile of the token.")
        try:
            self.limiter.count([str(profile)])
        except limits.Exceeded:
            raise Refusal(429, "rate_limited", "") from None
        chosen = options.read(call.raw_query, entities()["Product"])
        columns = _columns(call.body.decode("utf-8", "replace"))
        ask = Ask((profile,), call.access.client, chosen)
        job = Job(secrets.token_hex(12), ask, columns or _every(), not columns, call.now)
        self.jobs[job.token] = job
        return Answer(200, self._shown(job, call))

    def poll(self, call: Call, path: Path) -> Answer:
        job = self.jobs.get(query_value(call, "token") or "")
        if job is None or not set(job.ask.profiles) <= set(call.access.profiles):
            raise bad("The request is invalid. There is no export with this token.")
        job.polls += 1
        if self._status(job) == "Complete" and not job.file:
            job.file = self._made(job)
        return Answer(200, self._shown(job, call))

    def file(self, call: Call) -> Answer:
        """The ZIP of a job, without a login, as its address is a secret."""
        job = self.jobs.get(call.raw_path.removeprefix(FILES).removesuffix(".zip"))
        if job is None or not job.file:
            raise Refusal(404, "not_found", "There is no such file.")
        return Answer(200, job.file, {"Content-Type": "application/zip"}, media="application/zip")

    @staticmethod
    def _status(job: Job) -> str:
        return STEPS[min(job.polls, len(STEPS) - 1)]

    def _shown(self, job: Job, call: Call) -> dict[str, Any]:
        status = self._status(job)
        return {
            "$id": "1",
            "Token": job.token,
            "Status": status,
            "StartedOnUtc": clock.text(job.started),
            "ResponseFileUrl": f"{call.base_url}{FILES}{job.token}.zip" if status == "Complete" else None,
        }

    def _made(self, job: Job) -> bytes:
        text = io.StringIO(newline="")
        writer = csv.writer(text, "excel-tab", lineterminator="\r\n")
        names = [column.name for column in job.columns]
        pairs = [f"Attribute{n}{part}" for n in range(1, ATTRIBUTES + 1) for part in ("Name", "Value")]
        writer.writerow(names + (pairs if job.with_attributes else []))
        with self.face.system.store.read() as tx:
            finder, source = Finder(tx, self.face.memory), SOURCES["products"]
            for root, key in finder.matches(source, job.ask, self.face.system.store.version):
                node = finder.node(source, root, key)
                if node is not None:
                    writer.writerow(_row(node, job))
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as folder:
            folder.writestr(f"ProductExport_{job.token}.txt", text.getvalue().encode())
        return packed.getvalue()


def add(face: Face) -> None:
    exports = Exports(face)
    face.whole["POST", "ProductExport"] = exports.begin
    face.whole["GET", "ProductExport"] = exports.poll
    face.beside[FILES] = Beside(exports.file, is_open=True)


def _columns(text: str) -> list[Property]:
    """The columns that a body names. Refusal 400 for one that is none."""
    names = [name.strip() for name in text.replace("\n", ",").split(",") if name.strip()]
    properties = entities()["Product"].properties
    for name in names:
        if name.lower() not in properties:
            raise bad(f"The request is invalid. There is no column {name}.")
    return [properties[name.lower()] for name in names]


def _every() -> list[Property]:
    return list(entities()["Product"].properties.values())


def _row(node: Node, job: Job) -> list[str]:
    cells = [_cell(column, node.values[column.name]) for column in job.columns]
    if job.with_attributes:
        pairs = [(each.values["Name"], each.values["Value"] or "") for each in node.link("Attributes")][:ATTRIBUTES]
        cells += [text for pair in pairs for text in pair] + [""] * 2 * (ATTRIBUTES - len(pairs))
    return cells


def _cell(column: Property, value: Any) -> str:
    if value is None:
        return ""
    if column.kind == "DateTimeOffset":
        return _american(clock.parse(value))
    return str(value)


def _american(ticks: int) -> str:
    at = datetime.fromtimestamp(ticks // clock.SECOND, UTC)
    hour = at.hour % 12 or 12
    return f"{at.month}/{at.day}/{at.year} {hour}:{at:%M:%S} {'AM' if at.hour < 12 else 'PM'}"
