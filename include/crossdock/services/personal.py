"""Personal data: which fields of a document hold them, and a document without them.

In: a document as it came, and its contract. Out: a copy in which every value that may be about a person is MASK.
Never: a value of a field that the contract does not name, for nobody knows what it holds.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from crossdock.mapping import contracts
from crossdock.mapping.contracts import Document

MASK = "•••"
# By name: of a person, or of an address. Names of goods are Title, of sites SiteName.
PERSONAL = frozenset(
    {
        "Name", "FirstName", "LastName", "Company", "CustomerInfo.CustomerID", "Line1", "Line2", "City", "Region",
        "PostalCode", "Phone", "Email", "SpecialInstructions", "Notes", "Comment", "Message", "RefusedValue",
    }
)  # fmt: skip
_INDEX = re.compile(r"\[[0-9]+\]")
OF_NOBODY = frozenset({"Item", "Account", "Product", "Listing", "Site", "DistributionCenter", "Company", "Period"})


def is_personal(document: str, path: str) -> bool:
    """Whether a field of a document (its schema's name) may hold personal data."""
    plain = _INDEX.sub("", path)
    return document not in OF_NOBODY and (plain in PERSONAL or plain.rpartition(".")[2] in PERSONAL)


def masked(value: Any, contract: str, document: str) -> Any:
    """The document without personal data and without what the contract does not name."""
    return _masked(value, contracts.document(contract, document), "", document not in OF_NOBODY)


def _masked(value: Any, document: Document, path: str, people: bool) -> Any:
    if isinstance(value, Mapping):
        return {
            name: _masked(part, document, f"{path}.{name}" if path else str(name), people)
            for name, part in value.items()
        }
    if isinstance(value, list):
        field = document.fields.get(path)
        below = field.items if field and field.items else None
        if below is not None:
            return [_masked(part, below, "", people) for part in value]
        return [_masked(part, document, path, people) for part in value]
    if value is None:
        return None
    hidden = path not in document.fields or (people and (path in PERSONAL or path.rpartition(".")[2] in PERSONAL))
    return MASK if hidden else value
