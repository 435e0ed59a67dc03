"""The pages of documents in their own systems, by the templates of `console.yaml`.

In: a document by its system and its name in the contract, its number. Out: an address to go to, or none. Never: another
scheme than http and https; a number that is more than a part of the address.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast
from urllib.parse import quote

from crossdock import settings
from crossdock.settings import Linked
from crossdock.systems.failures import NAMES


@dataclass(frozen=True)
class Outside:
    """A page in another system. `title`: whose document it is, e.g. "SO-1 in TIMS"."""

    title: str
    address: str


def page_of(document: str, number: str) -> Outside | None:
    """The page of a document such as "tims.SalesOrder"; None where no address is given."""
    template = settings.console().links.get(cast("Linked", document), "")
    if not template or not number:
        return None
    system = document.partition(".")[0]
    return Outside(f"{number} in {NAMES.get(system, system)}", template.replace("{id}", quote(number, safe="")))
