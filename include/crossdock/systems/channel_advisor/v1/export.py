"""ProductExport: all products of a profile by one file, where a list would be thousands of pages.

In: the properties that are wanted. Out: v1's entities as JSON, one after another. Never: the file in memory; a login
sent to another server than the API's; a job that is waited for without end.

A job is asked for, looked at until it is done, its ZIP fetched into a temporary file, and the table in it read row by
row. A fetch that breaks off begins again; the job itself is not asked for twice, also not by another process after one
that is gone.
"""

from __future__ import annotations

import csv
import io
import logging
import re
import tempfile
import time
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any, BinaryIO

from crossdock.errors import BadResponse, CrossdockError, RecordRejected, Transient
from crossdock.mapping import contracts
from crossdock.systems import failures, times
from crossdock.systems.channel_advisor.v1.client import Client, encode

log = logging.getLogger(__name__)

WHAT = "POST /v1/ProductExport"
DONE = ("Complete", "CompleteWithErrors")
FAILED = (
    "Aborted", "AbortedAcknowledged", "CompleteWithSystemicErrors", "DeletedReadyForRemoval", "FailedValidation",
    "SystemicFailure",
)  # fmt: skip
POLL_SECONDS = 15.0  # ten requests a minute are allowed
LONGEST_SECONDS = 3_600.0  # of a job
TOLD = 50_000  # rows between two lines of the log
_AMERICAN = "%m/%d/%Y %I:%M:%S %p"  # how the file writes dates


@dataclass(frozen=True)
class Job:
    """A job. `began`: the server's clock when it was asked for; `was_there`: by a process before this one."""

    name: str
    token: str
    began: datetime
    was_there: bool = False


def products(client: Client, profile: int, names: Sequence[str], where: str = "") -> tuple[datetime, Iterator[bytes]]:
    """The products of a profile with these properties, as JSON of v1's entity, and the server's clock before they were
    written down. `where`: a `$filter`. Raises Transient for a job that does not end, BadResponse for one that fails or
    whose file is no table of these properties."""
    job = _job(client, profile, names, where)
    return job.began, _entities(client, job, profile, names, where)


def _entities(client: Client, job: Job, profile: int, names: Sequence[str], where: str) -> Iterator[bytes]:
    kinds = _kinds(names)
    with tempfile.TemporaryFile(prefix="product-export-") as file:
        try:
            job = _fetched(client, job, file)
        except _Gone:
            log.info("ProductExport: the job that was under way is there no more.")
            job = _fetched(client, _begun(client, profile, names, where, job.name), file)
        count = 0
        try:
            for row in _rows(client, file):
                yield encode({name: _value(client, kinds[name], row.get(name.lower(), "")) for name in names})
                count += 1
                if count % TOLD == 0:
                    log.info("ProductExport: %s products are read.", f"{count:,}")
        finally:  # whoever reads no further begins anew; only of a process that is gone a job stays
            _forget(client, job)
        log.info("ProductExport: %s products are read, all.", f"{count:,}")


def _kinds(names: Sequence[str]) -> dict[str, str]:
    """The type of each property by the schema."""
    document = contracts.document("channel_advisor_v1", "Product")
    return {name: document.fields[name].type for name in names}


# ---- the job -------------------------------------------------------------------------------------------------------


class _Gone(Exception):
    """The server knows a job of an earlier process no more."""


def _job(client: Client, profile: int, names: Sequence[str], where: str) -> Job:
    """The job of a process that is gone, if it was asked for lately; else a new one."""
    name = f"ProductExport {profile} {','.join(names)} {where}".strip()
    found = client.jobs.find(name, timedelta(seconds=LONGEST_SECONDS)) if client.jobs else None
    if found is None:
        return _begun(client, profile, names, where, name)
    log.info("ProductExport: a file was asked for before; it is waited for.")
    return Job(name, *found, was_there=True)


def _begun(client: Client, profile: int, names: Sequence[str], where: str, name: str) -> Job:
    """Asks for a job, and keeps it."""
    began = client.server_time()
    query = {"profileid": profile or None, "$filter": where or None}
    columns, headers = ", ".join(names).encode(), {"Content-Type": "text/plain"}
    answer = client.call("POST", "/ProductExport", columns, query, headers=headers, changes=False)
    token = answer.get("Token") if isinstance(answer, dict) else None
    if not token:
        raise _bad(client, "it gives no token for the file")
    log.info("ProductExport: a file was asked for.")
    job = Job(name, str(token), began)
    if client.jobs:
        client.jobs.keep(job.name, job.token, job.began)
    return job


def _forget(client: Client, job: Job) -> None:
    if client.jobs:
        client.jobs.forget(job.name, job.token)


def _fetched(client: Client, job: Job, file: BinaryIO) -> Job:
    """Waits for a job and writes its file; a job that fails is forgotten. _Gone for one of an earlier process that the
    server does not know any more."""
    try:
        client.download(_finished(client, job.token), file)
    except (RecordRejected, BadResponse):
        _forget(client, job)
        if job.was_there:
            raise _Gone from None
        raise
    return job


def _finished(client: Client, token: str) -> str:
    """Waits for a job; the address of its file."""
    until, pause = time.monotonic() + LONGEST_SECONDS, client.limits.first_pause_seconds
    while True:
        job = client.get("/ProductExport", {"token": token})
        if not isinstance(job, dict):
            raise _bad(client, "it does not say how far the file is")
        status = str(job.get("Status"))
        if status in DONE and job.get("ResponseFileUrl"):
            if status != DONE[0]:
                log.warning("ProductExport: the file was made, but not without errors (%s).", status)
            return str(job["ResponseFileUrl"])
        if status in DONE or status in FAILED:
            raise _bad(client, f"the file was not made: {status}")
        if time.monotonic() > until:
            raise Transient(
                f"Channel Advisor has not made the file of products in {LONGEST_SECONDS / 60:.0f} minutes: {status}.",
                do="Nothing to do if it passes; else ask its support about ProductExport.",
                system=client.connection.name,
            )
        log.info("ProductExport: %s.", status)
        pause = min(pause * 2, POLL_SECONDS)
        time.sleep(pause)


# ---- the file ------------------------------------------------------------------------------------------------------


def _rows(client: Client, file: BinaryIO) -> Iterator[Mapping[str, str]]:
    """The rows of the table in the ZIP, by the names of its columns in small letters."""
    try:
        with zipfile.ZipFile(file) as folder:
            (name,) = (one for one in folder.namelist() if not one.endswith("/"))
            with folder.open(name) as raw, io.TextIOWrapper(raw, "utf-8-sig", newline="") as text:
                table = csv.reader(text, "excel-tab")
                columns = [one.strip().lower() for one in next(table, [])]
                for cells in table:
                    if len(cells) != len(columns):
                        raise ValueError("a row has another number of cells than the header")
                    yield dict(zip(columns, cells, strict=True))
    except (zipfile.BadZipFile, ValueError, csv.Error) as wrong:  # a UnicodeDecodeError is a ValueError
        raise _bad(client, f"the file of products cannot be read ({type(wrong).__name__})") from None


def _value(client: Client, kind: str, text: str) -> Any:
    """A cell as its property has it in JSON; an empty one is null."""
    if not text:
        return None
    try:
        if kind == "integer":
            return int(text)
        if kind in ("number", "double"):
            return Decimal(text)
        if kind == "boolean":
            return {"true": True, "false": False}[text.lower()]
        return times.write(_moment(text)) if kind == "moment" else text
    except (ValueError, KeyError, InvalidOperation):
        raise _bad(client, f"the file of products has a cell that is no {kind}") from None


def _moment(text: str) -> datetime:
    try:
        return times.read(text)
    except ValueError:
        return datetime.strptime(re.sub(r"\s+", " ", text.strip()), _AMERICAN).replace(tzinfo=UTC)


def _bad(client: Client, detail: str) -> CrossdockError:
    error = failures.make("not_contract", client.connection, WHAT, detail=detail)
    assert isinstance(error, BadResponse)
    return error
