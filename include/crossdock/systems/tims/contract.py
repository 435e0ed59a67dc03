"""The contract of TIMS as its clients need it: operations, their documents, what a document is found by.

In: include/contracts/tims.yaml. Out: operations by id and by path, fields by document. Never: how an installation
calls them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

from crossdock.mapping import contracts
from crossdock.mapping.contracts import Document, Field

SYSTEM, API = "tims", "/api/v1"
_KINDS = re.compile(r"(?<=.)(Create|Patch|Write)$")
_METHODS = ("get", "post", "put", "patch")
# What a document is found by where that is not its ExternalReference: the filter, and where it stands in the body.
_FOUND_BY = {"SalesOrder": "ExternalOrderID", "Customer": "ExternalID"}
_KEYS = {"Item": "SKU", "Quantity": "SKU", "Account": "AccountCode", "Period": "Period"}
# Which flows stand still without an operation.
FLOWS = {
    "createCustomer": "orders", "updateCustomer": "orders", "createSalesOrder": "orders", "updateSalesOrder": "orders",
    "cancelSalesOrder": "orders", "cancelSalesOrderLine": "orders", "holdSalesOrder": "orders",
    "releaseSalesOrder": "orders", "createShipment": "orders", "listShipments": "shipments",
    "createInvoice": "invoices", "createCreditMemo": "returns", "createAdjustment": "returns and stock_adjustments",
    "createPayment": "payments", "createEntry": "ledger", "reverseEntry": "ledger", "listItems": "catalog and prices",
    "listQuantities": "inventory",
}  # fmt: skip


@dataclass(frozen=True)
class Operation:
    """One operation. `path`: below /api/v1, with {places}; `takes` and `gives`: the schemas of its documents, "" for
    none; `gives` of a list is that of a row."""

    id: str
    method: str
    path: str
    takes: str
    gives: str
    is_list: bool
    parameters: tuple[str, ...]

    @property
    def key(self) -> str:
        """The field by which its documents are told apart."""
        return _KEYS.get(self.gives, f"{self.gives}ID")

    @property
    def flow(self) -> str:
        """The flows that stand still without it."""
        return FLOWS.get(self.id, "")


@cache
def operations() -> dict[str, Operation]:
    """The operations by id."""
    found = {}
    for path, methods in contracts.load(SYSTEM)["paths"].items():
        for method, stated in methods.items():
            if method not in _METHODS or not path.startswith(API):
                continue
            given = [_target(one) for one in [*methods.get("parameters", ()), *stated.get("parameters", ())]]
            answer: dict[str, Any] = next(
                (one for status, one in stated["responses"].items() if str(status).startswith("2")), {}
            )
            gives, is_list = _gives(_target(answer))
            found[stated["operationId"]] = Operation(
                stated["operationId"],
                method.upper(),
                path.removeprefix(f"{API}/"),
                _schema(_content(stated.get("requestBody", {}))),
                gives,
                is_list,
                tuple(one["name"] for one in given if one["in"] == "query"),
            )
    return found


def _target(node: dict[str, Any]) -> dict[str, Any]:
    """A node behind its reference."""
    found: Any = contracts.load(SYSTEM)
    for part in node["$ref"].removeprefix("#/").split("/") if "$ref" in node else ():
        found = found[part]
    return found if "$ref" in node else node


def _content(node: dict[str, Any]) -> dict[str, Any]:
    """The schema of a body or an answer; {} where there is none."""
    kinds = list(node.get("content", {}).values())
    return kinds[0].get("schema", {}) if kinds else {}


def _schema(node: dict[str, Any]) -> str:
    """The name of a schema that is referred to."""
    return str(node.get("$ref", "")).rpartition("/")[2]


def _gives(answer: dict[str, Any]) -> tuple[str, bool]:
    """The schema of an answer's document, or of its rows and True."""
    schema = _content(answer)
    for part in schema.get("allOf", ()):
        if "Items" in part.get("properties", {}):
            return _schema(part["properties"]["Items"]["items"]), True
    return _schema(schema), False


@cache
def _by_path() -> list[tuple[str, list[str], Operation]]:
    """Paths in parts, those with the fewest {places} first."""
    listed = [(one.method, one.path.split("/"), one) for one in operations().values()]
    return sorted(listed, key=lambda each: each[2].path.count("{"))


def find(method: str, path: str) -> tuple[Operation, dict[str, str]] | None:
    """The operation of a path below /api/v1, with the texts of its places as they stand in the path."""
    parts = path.removeprefix(API).strip("/").split("/")
    for wanted, template, operation in _by_path():
        if wanted == method and len(template) == len(parts):
            pairs = list(zip(template, parts, strict=True))
            if all(there.startswith("{") or there == given for there, given in pairs):
                return operation, {there[1:-1]: given for there, given in pairs if there.startswith("{")}
    return None


# ---- documents -------------------------------------------------------------------------------------------------------


def base_name(schema: str) -> str:
    """`SalesOrderCreate` and `SalesOrderPatch` are parts of `SalesOrder`: their fields have one name each."""
    return _KINDS.sub("", schema)


@cache
def documents() -> dict[str, tuple[str, ...]]:
    """The documents that operations take and give, with the schemas of each."""
    found: dict[str, list[str]] = {}
    for operation in operations().values():
        for schema in (operation.takes, operation.gives):
            if schema and not schema.startswith(("Bulk", "Subscription")):
                same = found.setdefault(base_name(schema), [])
                same += [schema] if schema not in same else []
    return {name: tuple(schemas) for name, schemas in sorted(found.items())}


@cache
def fields(document: str) -> tuple[tuple[str, Field], ...]:
    """The fields of a document by their path, those of lists below them: `LineItems.SKU`."""
    found: dict[str, Field] = {}
    for schema in documents()[document]:
        for path, field in _fields(contracts.document(SYSTEM, schema)):
            found.setdefault(path, field)
    return tuple(found.items())


def _fields(document: Document, prefix: str = "") -> Iterator[tuple[str, Field]]:
    for path, field in document.fields.items():
        yield prefix + path, field
        if field.items is not None:
            yield from _fields(field.items, f"{prefix}{path}.")


@cache
def codes(word: str) -> tuple[str, ...]:
    """The codes of all fields of this name."""
    every = (field for name in documents() for path, field in fields(name) if path.rpartition(".")[2] == word)
    return tuple(dict.fromkeys(code for field in every for code in field.codes))


@cache
def parameters() -> tuple[str, ...]:
    """The names of all parameters of lists."""
    return tuple(dict.fromkeys(name for one in operations().values() for name in one.parameters))


@cache
def error_codes() -> tuple[str, ...]:
    stated = contracts.load(SYSTEM)["components"]["schemas"]["ErrorCode"]["oneOf"]
    return tuple(one["const"] for one in stated)


# ---- what a document is found by -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Reference:
    """What a document is found by that was sent once: the list, the filter of it, and both parts of its key."""

    list: Operation
    filter: str
    source: str
    value: str

    @property
    def name(self) -> str:
        return f"{self.list.path}:{self.source}:{self.value}"

    @property
    def id_field(self) -> str:
        """The field with the id that TIMS gave."""
        return self.list.key

    def is_of(self, document: dict[str, Any]) -> bool:
        """Whether a document of TIMS has this key."""
        if self.filter == "ExternalID":
            return {"Source": self.source, "ID": self.value} in (document.get("ExternalIDs") or ())
        return document.get("Source") == self.source and document.get(self.filter) == self.value


def reference_of(operation: Operation, body: Any) -> Reference | None:
    """The key under which a body makes its document; None of an action, which makes none."""
    lists = _lists()
    if operation.gives not in lists or not isinstance(body, dict):
        return None
    name = _FOUND_BY.get(operation.gives, "ExternalReference")
    if name == "ExternalID":
        first: dict[str, Any] = next(iter(body.get("ExternalIDs") or ()), {})
        source, value = first.get("Source"), first.get("ID")
    else:
        source, value = body.get("Source"), body.get(name)
    if not (isinstance(source, str) and isinstance(value, str)):
        return None
    return Reference(lists[operation.gives], name, source, value)


@cache
def _lists() -> dict[str, Operation]:
    """The list of each document's rows."""
    return {one.gives: one for one in operations().values() if one.is_list}
