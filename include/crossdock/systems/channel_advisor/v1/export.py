"""ProductExport: all products of a profile by one file, where a list would be thousands of pages.

In: the properties that are wanted. Out: v1's entities as JSON, one after another. Never: the file in memory; a login
sent to another server than the API's; a job that is waited for without end.

A job is asked for, looked at until it is done, its ZIP fetched into a temporary file, and the table in it read row by
row. A fetch that breaks off begins again; the job itself is not asked for twice.
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
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any, BinaryIO

from crossdock.errors import BadResponse, CrossdockError, Transient
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


def entities(client: Client, profile: int, names: Sequence[str], where: str = "") -> Iterator[bytes]:
    """The products of a profile with these properties, as JSON of v1's entity. `where`: a `$filter`. Transient for a
    job that does not end, BadResponse for one that fails or whose file is no table of these properties."""
    kinds = _kinds(names)
    with tempfile.TemporaryFile(prefix="product-export-") as file:
        client.download(_finished(client, _begun(client, profile, names, where)), file)
        count = 0
        for row in _rows(client, file):
            yield encode({name: _value(client, kinds[name], row.get(name.lower(), "")) for name in names})
            count += 1
            if count % TOLD == 0:
                log.info("ProductExport: %s products are read.", f"{count:,}")
        log.info("ProductExport: %s products are read, all.", f"{count:,}")


def _kinds(names: Sequence[str]) -> dict[str, str]:
    """The type of each property by the schema."""
    document = contracts.document("channel_advisor_v1", "Product")
    return {name: document.fields[name].type for name in names}


# ---- the job -------------------------------------------------------------------------------------------------------


def _begun(client: Client, profile: int, names: Sequence[str], where: str) -> str:
    """Asks for a job; its token."""
    query = {"profileid": profile or None, "$filter": where or None}
    columns, headers = ", ".join(names).encode(), {"Content-Type": "text/plain"}
    job = client.call("POST", "/ProductExport", columns, query, headers=headers, changes=False)
    token = job.get("Token") if isinstance(job, dict) else None
    if not token:
        raise _bad(client, "it gives no token for the file")
    log.info("ProductExport: a file was asked for.")
    return str(token)


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
