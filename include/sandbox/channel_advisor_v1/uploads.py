"""ProductUpload: products from a file.

In: a table (tabs or commas, plain or in a ZIP) whose columns are properties of Product, `Attribute1Name` and
`Attribute1Value` among them. Out: a job whose ZIP tells what became of each SKU. Never: a row that stops another one.

`importtype`: AddUpdate, UpdateOnly, AddOnly. An empty cell changes nothing. At most 128 MB.
"""

from __future__ import annotations

import csv
import io
import re
import zipfile
from collections.abc import Iterator
from decimal import Decimal, InvalidOperation
from functools import partial
from typing import Any

from sandbox.channel_advisor import repository
from sandbox.channel_advisor.rules import Conflict, Document
from sandbox.channel_advisor.values import Refused, whole
from sandbox.channel_advisor_v1 import bodies, products
from sandbox.channel_advisor_v1.bodies import bad
from sandbox.channel_advisor_v1.face import Face, Path, query_value
from sandbox.channel_advisor_v1.jobs import Jobs, profile_of
from sandbox.channel_advisor_v1.schema import Property, entities
from sandbox.kernel.http import Answer, Refusal
from sandbox.kernel.system import Call

TYPES = ("AddUpdate", "UpdateOnly", "AddOnly")
_ATTRIBUTE = re.compile(r"attribute(\d+)(name|value)", re.IGNORECASE)


def add(face: Face, jobs: Jobs) -> None:
    face.whole["POST", "ProductUpload"] = partial(begin, face, jobs)
    face.whole["GET", "ProductUpload"] = jobs.poll


def begin(face: Face, jobs: Jobs, call: Call, path: Path) -> Answer:
    profile, kind = profile_of(call), query_value(call, "importtype") or TYPES[0]
    if kind not in TYPES:
        raise bad(f"The request is invalid. importtype is one of {', '.join(TYPES)}.")
    rows = list(_rows(call.body))
    return jobs.begin(call, profile, partial(_results, face, call, profile, kind, rows))


def _rows(body: bytes) -> Iterator[dict[str, str]]:
    """The rows of a file by column. Refusal 400 for what is no table."""
    try:
        if body.startswith(b"PK"):
            with zipfile.ZipFile(io.BytesIO(body)) as folder:
                body = folder.read(folder.namelist()[0])
        text = body.decode("utf-8-sig")
    except (zipfile.BadZipFile, IndexError, UnicodeDecodeError):
        raise bad("The file cannot be read.") from None
    columns = text.partition("\n")[0]
    table = csv.DictReader(io.StringIO(text, newline=""), dialect="excel-tab" if "\t" in columns else "excel")
    properties = entities()["Product"].properties
    names = [name or "" for name in table.fieldnames or ()]
    for name in names:
        if name.lower() not in properties and not _ATTRIBUTE.fullmatch(name):
            raise bad(f"The file has the column '{name}', which is no property of a product.")
    if "sku" not in [name.lower() for name in names]:
        raise bad("The file has no column Sku.")
    for row in table:
        yield {name: cell or "" for name, cell in row.items() if name}


def _results(face: Face, call: Call, profile: int, kind: str, rows: list[dict[str, str]]) -> str:
    text = io.StringIO(newline="")
    writer = csv.writer(text, "excel-tab", lineterminator="\r\n")
    writer.writerow(["Sku", "Status", "Message"])
    for row in rows:
        sku = next((cell for name, cell in row.items() if name.lower() == "sku"), "")
        try:
            _write(face, call, profile, kind, sku, row)
        except (Refused, Conflict, Refusal) as error:
            writer.writerow([sku, "Error", error.message if isinstance(error, Refusal) else str(error)])
        else:
            writer.writerow([sku, "Complete", ""])
    return text.getvalue()


def _write(face: Face, call: Call, profile: int, kind: str, sku: str, row: dict[str, str]) -> None:
    """Write one row, or nothing of it."""
    sent = bodies.of(entities()["Product"], _document(row))
    with face.system.store.write() as tx:
        existing = repository.product(tx, profile, sku)
        if existing is None and kind == "UpdateOnly":
            raise bad(f"There is no product {sku}.")
        if existing is not None and kind == "AddOnly":
            raise bad(f"A product with the Sku '{sku}' already exists.")
        if existing is None:
            made = products.new(face, tx, call, sent | {"ProfileID": profile})
        else:
            sent.pop("Sku", None)
            made = products.changed(face, tx, existing, sent)
        for name, value in _attributes(row):
            made = products.with_entry(face, tx, made, "Attributes", {"Name": name, "Value": value})


def _document(row: dict[str, str]) -> Document:
    properties = entities()["Product"].properties
    cells = ((properties.get(name.lower()), cell) for name, cell in row.items())
    return {prop.name: _value(prop, cell) for prop, cell in cells if prop is not None and cell != ""}


def _value(prop: Property, text: str) -> Any:
    """A cell as JSON would have it. Refusal 400."""
    if prop.kind == "Boolean":
        return {"true": True, "false": False}.get(text.lower(), text)
    if prop.kind in ("String", "Enum", "DateTimeOffset"):
        return text
    try:
        return whole(Decimal(text))
    except (InvalidOperation, ValueError):
        raise bad(f"Cannot convert '{text}' of {prop.name} to {prop.kind}.") from None


def _attributes(row: dict[str, str]) -> Iterator[tuple[str, str]]:
    found: dict[str, dict[str, str]] = {}
    for name, cell in row.items():
        if match := _ATTRIBUTE.fullmatch(name):
            found.setdefault(match[1], {})[match[2].lower()] = cell
    yield from ((pair["name"], pair.get("value", "")) for pair in found.values() if pair.get("name"))
