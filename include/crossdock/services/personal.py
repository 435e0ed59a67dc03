"""Personal data: which fields of a document hold them, and a document without them.

In: a document as it came, and its contract. Out: a copy in which every value that may be about a person is MASK.
Never: a value of a field that the contract does not name, for nobody knows what it holds.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from crossdock.mapping import contracts
from crossdock.mapping.contracts import Document

MASK = "•••"
# By name: of a person, or of an address. Names of goods are Title, of sites SiteName.
PERSONAL = frozenset(
    {
        "Name", "FirstName", "LastName", "Company", "CustomerInfo.CustomerID", "Line1", "Line2", "City", "Region",
        "PostalCode", "Phone", "Email", "SpecialInstructions", "Notes", "Comment", "Message", "RefusedValue",
        # Of the channel's API v1, which has no objects.
        "BuyerUserId", "BuyerEmailAddress", "PublicNotes", "PrivateNotes", "GiftMessage", "GiftNotes",
        "PaymentTransactionID", "PaymentPaypalAccountID", "PaymentCreditCardLast4", "PaymentMerchantReferenceNumber",
        *(
            f"{kind}{name}"
            for kind in ("Shipping", "Billing")
            for name in (
                "Title", "FirstName", "LastName", "Suffix", "CompanyName", "CompanyJobTitle", "DaytimePhone",
                "EveningPhone", "AddressLine1", "AddressLine2", "City", "StateOrProvince", "StateOrProvinceName",
                "PostalCode",
            )
        ),
    }
)  # fmt: skip
_COUNTRY = re.compile(r"[^\W\d_][^\d_@,;:/\\]{0,39}")
_INDEX = re.compile(r"\[[0-9]+\]")
OF_NOBODY = frozenset({"Item", "Account", "Product", "Listing", "Site", "DistributionCenter", "Company", "Period"})


def is_plain(documents: Iterable[Document], path: str) -> bool:
    """Whether what is said of a field of these documents holds no personal data: it is one value that a contract
    names, and not of a person. A whole object, or a field that nobody names, may hold anything."""
    plain = _INDEX.sub("", path)
    named = [one for one in documents if _has_leaf(one, plain)]
    return bool(named) and all(one.name in OF_NOBODY or not _of_a_person(plain) for one in named)


def _has_leaf(document: Document, path: str) -> bool:
    if path in document.leaves:
        return True
    lists = (field for field in document.fields.values() if field.items is not None)
    return any(
        path.startswith(f"{field.path}.") and _has_leaf(field.items, path.removeprefix(f"{field.path}."))
        for field in lists
        if field.items is not None
    )


def is_country(text: str) -> bool:
    """Whether a text may name a country, and nothing else: people write a whole address there."""
    return bool(_COUNTRY.fullmatch(text))


def _of_a_person(path: str) -> bool:
    return path in PERSONAL or path.rpartition(".")[2] in PERSONAL


def hidden(value: Any) -> Any:
    """A copy without any value: nobody says what its fields hold."""
    if isinstance(value, Mapping):
        return {name: hidden(part) for name, part in value.items()}
    if isinstance(value, list):
        return [hidden(part) for part in value]
    return None if value is None else MASK


def masked(value: Any, contract: str, document: str) -> Any:
    """The document without personal data and without what the contract does not name."""
    return _masked(value, contracts.document(contract, document), "", document not in OF_NOBODY)


def _masked(value: Any, document: Document, path: str, people: bool) -> Any:
    field = document.fields.get(path)
    if isinstance(value, Mapping | list) and field is not None and field.type not in ("object", "array"):
        return MASK  # where the contract has one value; what it may be about is not known
    if isinstance(value, Mapping):
        return {
            name: _masked(part, document, f"{path}.{name}" if path else str(name), people)
            for name, part in value.items()
        }
    if isinstance(value, list):
        below = field.items if field and field.items else None
        if below is not None:
            return [_masked(part, below, "", people) for part in value]
        return [_masked(part, document, path, people) for part in value]
    if value is None:
        return None
    hidden = field is None or field.type == "object" or (people and _of_a_person(path))
    if people and path.rpartition(".")[2] == "Country":
        hidden |= not is_country(str(value))
    return MASK if hidden else value
