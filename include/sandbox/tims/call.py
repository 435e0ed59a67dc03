"""One call of a handler: the request, its transaction, and the handlers' common work on documents.

In: a request inside a transaction. Out: documents with versions and stamps, list pages. Never: a write without a stamp.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Protocol
from urllib.parse import quote

from sandbox.kernel import clock, contract
from sandbox.kernel.http import Answer, Refusal, Request
from sandbox.kernel.store import Id, Row, Transaction
from sandbox.kernel.system import Page, raw
from sandbox.tims.problems import Errors, not_found


class System(Protocol):
    """What a handler asks of the system that it belongs to."""

    def page(self, request: Request, tx: Transaction, kind: str, where: Mapping[str, Sequence[Any]]) -> Page: ...

    def item_status(self, tx: Transaction, sku: str) -> str | None: ...


@dataclass
class Call:
    system: System
    tx: Transaction
    request: Request

    @property
    def now(self) -> int:
        return stamp(self.request.now)

    @property
    def body(self) -> Any:
        return self.request.body

    def row(self, kind: str, what: str, id: Id) -> Row:
        """The row that the path names; 404, and 412 when If-Match names another version."""
        row = self.tx.get(kind, id)
        if row is None:
            raise not_found(what, id)
        wanted = self.request.headers.get("if-match")
        if wanted is not None and wanted != etag(row.doc):
            version = row.doc["RowVersion"]
            text = f"If-Match was {wanted[:40]}, the resource has version {version}."
            raise Refusal(412, "STALE_VERSION", text, CurrentRowVersion=version)
        return row

    def errors(self, document: str) -> Errors:
        """The body's violations of the operation's schema; `document` names the schema of the whole resource."""
        errors = Errors()
        errors.take(contract.findings(self.request.operation.body, self.body), _never_missing(document))
        return errors

    def page(self, kind: str, where: Mapping[str, Sequence[Any]]) -> Answer:
        """A page of stored documents as they are."""
        page = self.system.page(self.request, self.tx, kind, where)
        return self.listed([raw(row) for row in page.rows], page.next, page.listed)

    def listed(self, items: list[Any], following: str | None, listed: tuple[str, list[Id]]) -> Answer:
        now = clock.text(self.now)
        return Answer(200, {"Items": items, "NextCursor": following, "ServerTime": now}, listed=listed)

    def where(self, *names: str) -> dict[str, Sequence[Any]]:
        """The filters of the query that are terms of the same name."""
        found: dict[str, Sequence[Any]] = {}
        for name in names:
            value = self.request.query.get(name)
            if value is not None:
                found[name] = value if isinstance(value, list) else [value]
        return found


@cache
def _never_missing(document: str) -> frozenset[str]:
    """Names that are required anywhere in a document."""
    return frozenset(_required(contract.load("tims").schema(document)))


def _required(schema: Any) -> list[str]:
    if not isinstance(schema, dict):
        return []
    below = [*schema.get("properties", {}).values(), schema.get("items")]
    return [*schema.get("required", []), *(name for each in below for name in _required(each))]


def stamp(ticks: int) -> int:
    """TIMS keeps microseconds."""
    return ticks - ticks % clock.MICROSECOND


def etag(doc: dict[str, Any]) -> str:
    return f'"{doc["RowVersion"]}"'


def shown(doc: dict[str, Any], status: int = 200, location: str = "") -> Answer:
    """A document with its ETag; a new one with its Location."""
    return Answer(status, doc, {"ETag": etag(doc)} | ({"Location": location} if location else {}))


def found(row: Row) -> Answer:
    return Answer(200, raw(row), {"ETag": etag(row.doc)})


def location(path: str, id: Id) -> str:
    return f"/api/v1/{path}/{quote(str(id), safe='')}"


def save(tx: Transaction, kind: str, id: Id, doc: dict[str, Any], at: int, extra: dict[str, Any] | None = None) -> None:
    """Write a document as its next version."""
    moment = clock.text(stamp(at))
    doc["RowVersion"] = doc.get("RowVersion", 0) + 1
    doc.setdefault("CreatedAt", moment)
    doc["ModifiedAt"] = moment
    tx.put(kind, id, doc, modified=stamp(at), extra=extra)


def reference(body: Any, name: str) -> str | None:
    """The permanent key (Source, reference) of a document; None when either is not given as text."""
    if not isinstance(body, dict) or not isinstance(body.get("Source"), str) or not isinstance(body.get(name), str):
        return None
    return f"{body['Source']}\x00{body[name]}"


def patched(old: Any, patch: Any) -> Any:
    """JSON merge patch (RFC 7396)."""
    if not isinstance(patch, dict):
        return patch
    result = dict(old) if isinstance(old, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = patched(result.get(key), value)
    return result
